//! Documents that are read, changed and written back by callers that see a part of them.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use sudare::audit::{Filter, Kind};

use crate::support::{Answer, CLEAR, PERSON, Proxy, Setup, Stub, StubReply};

const CALLERS: [(&str, &str); 6] = [
    ("shipping", "delivery"),
    ("helpdesk", "support"),
    ("mailer", "marketing"),
    ("analyst", "statistics"),
    ("auditor", "custody"),
    ("carrier", "delivery"),
];

async fn register(proxy: &Proxy, body: &str) {
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", body.to_owned()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn put(proxy: &Proxy, caller: &str, purpose: &str, body: &Value) -> Answer {
    proxy.ask(caller, purpose, Method::PUT, "/customers/c-1", body.to_string()).await
}

async fn stored(proxy: &Proxy) -> Value {
    proxy.database(Method::GET, "/customers/c-1", "").await.json()
}

/// No clear value of [`PERSON`] stands in it.
fn nothing_clear(text: &str) {
    for value in CLEAR {
        assert!(!text.contains(value), "{text}");
    }
}

#[tokio::test]
async fn t26_every_caller_saves_its_view_back_and_nothing_is_lost() {
    let proxy = Setup::embedded().start().await;
    register(&proxy, PERSON).await;
    let mut expected = stored(&proxy).await;
    for (caller, purpose) in CALLERS {
        let mut view = proxy.ask(caller, purpose, Method::GET, "/customers/c-1", "").await.json();
        view["tier"] = json!(caller);
        let answer = put(&proxy, caller, purpose, &view).await;
        assert!(answer.status.is_success(), "{caller}: {}", answer.text());
        expected["tier"] = json!(caller);
        assert_eq!(stored(&proxy).await, expected, "{caller}: every value is the very envelope it was");
        // The reply to the write shows no more than a read.
        assert_eq!(answer.json(), view, "{caller}");
        // What it does not know of it leaves out.
        let answer = put(&proxy, caller, purpose, &json!({"id": "c-1", "tier": caller})).await;
        assert!(answer.status.is_success(), "{caller}: {}", answer.text());
        assert_eq!(stored(&proxy).await, expected, "{caller}");
    }
    // Whoever may write what it does not see adds to it and erases with null.
    let answer = put(&proxy, "shop", "registration", &json!({"id": "c-1", "phone": "110", "id_card": null})).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let whole = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await.json();
    assert_eq!(whole, json!({"id":"c-1","name":"Mei Tanaka","address":"101-0047 Uchikanda","phone":"110","id_card":null}));
    nothing_clear(&stored(&proxy).await.to_string());
    // The log says that values stayed, and reveals none by it.
    let writes: Vec<_> =
        proxy.events(&Filter::default()).into_iter().filter(|event| event.kind == Kind::Write.as_str()).collect();
    let helpdesk = writes.iter().find(|event| event.caller.as_deref() == Some("helpdesk")).unwrap();
    assert_eq!(helpdesk.kept, 4, "{helpdesk}");
    assert!(helpdesk.to_string().contains("4 kept as stored"), "{helpdesk}");
    nothing_clear(&proxy.audit_text());
}

#[tokio::test]
async fn t26_what_a_caller_may_not_change_is_refused_and_stays() {
    let proxy = Setup::embedded().start().await;
    register(&proxy, PERSON).await;
    let before = stored(&proxy).await;
    for (caller, purpose) in CALLERS {
        let view = proxy.ask(caller, purpose, Method::GET, "/customers/c-1", "").await.json();
        for (field, value) in
            [("name", json!("Ken")), ("phone", json!(null)), ("address", json!(["x"])), ("id_card", json!("••••0000"))]
        {
            let mut changed = view.clone();
            changed[field] = value;
            let answer = put(&proxy, caller, purpose, &changed).await;
            assert_eq!(answer.outcome(), (403, "not-writable".to_owned()), "{caller} {field}: {}", answer.text());
            nothing_clear(&answer.text());
        }
    }
    // A guess that is right is answered as one that is wrong (T16).
    for guess in ["+81355501234", "+81355501235"] {
        let answer = put(&proxy, "helpdesk", "support", &json!({"id": "c-1", "phone": guess})).await;
        assert_eq!(answer.outcome(), (403, "not-writable".to_owned()));
    }
    assert_eq!(stored(&proxy).await, before);
    // A stored value that does not authenticate is an alarm, as in a read.
    let name = before["name"].as_str().unwrap();
    let flipped = format!("{}{}", &name[..name.len() - 1], if name.ends_with('A') { 'B' } else { 'A' });
    let mut bad = before.clone();
    bad["name"] = json!(flipped);
    proxy.database(Method::PUT, "/customers/c-1", bad.to_string()).await;
    let answer = put(&proxy, "helpdesk", "support", &json!({"id": "c-1", "tier": "silver"})).await;
    assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()), "{}", answer.text());
    assert_eq!(stored(&proxy).await, bad);
    let alarms = proxy.events(&Filter::default()).into_iter().filter(|event| event.kind == Kind::Alarm.as_str()).count();
    assert_eq!(alarms, 1);
}

#[tokio::test]
async fn t35_the_member_that_values_are_bound_to_does_not_change_under_them() {
    let collections = r#"
[collection.orders]
match   = "/customers/{id}"
rows    = ["$"]
subject = "$.customer"
[collection.orders.field]
name    = "$.name"
phone   = "$.phone"
"#;
    let proxy = Setup::embedded().collections(collections).start().await;
    register(&proxy, r#"{"id":"c-1","customer":"p-1","name":"Mei Tanaka","phone":"+81355501234"}"#).await;
    let before = stored(&proxy).await;
    for (caller, purpose) in [("helpdesk", "support"), ("mailer", "marketing"), ("shop", "registration")] {
        let mut view = proxy.ask(caller, purpose, Method::GET, "/customers/c-1", "").await.json();
        view["customer"] = json!("p-2");
        let answer = put(&proxy, caller, purpose, &view).await;
        assert_eq!(answer.outcome(), (422, "subject-changed".to_owned()), "{caller}: {}", answer.text());
        assert!(answer.text().contains("$.customer"));
    }
    assert_eq!(stored(&proxy).await, before);
    // In clear, by one who may write it, it is sealed for the new one.
    let whole = json!({"id":"c-1","customer":"p-2","name":"Mei Tanaka","phone":"+81355501234"});
    assert!(put(&proxy, "shop", "account", &whole).await.status.is_success());
    assert_eq!(proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await.json(), whole);
}

#[tokio::test]
async fn t41_values_of_people_in_a_list_stay_with_their_person() {
    let collections = r#"
[collection.orders]
match   = "/customers/{id}"
rows    = ["$"]
subject = "{id}"
[collection.orders.field]
name    = { at = "$.guests[*].name", subject = "$.guests[*].id" }
phone   = { at = "$.guests[*].phone", subject = "$.guests[*].id" }
"#;
    let proxy = Setup::embedded().collections(collections).start().await;
    register(
        &proxy,
        r#"{"id":"c-1","guests":[{"id":7,"name":"Mei Tanaka","phone":"+81355501234"},{"id":8,"name":"Ken","phone":"110"}]}"#,
    )
    .await;
    let before = stored(&proxy).await;
    let support = ("helpdesk", "support");
    let mut view = proxy.ask(support.0, support.1, Method::GET, "/customers/c-1", "").await.json();
    view["guests"].as_array_mut().unwrap().reverse();
    let answer = put(&proxy, support.0, support.1, &view).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    assert_eq!(stored(&proxy).await["guests"], json!([before["guests"][1], before["guests"][0]]));
    // One person's masked number, or envelope, in another one's place.
    let mut mixed = view.clone();
    mixed["guests"][0]["phone"] = view["guests"][1]["phone"].clone();
    let answer = put(&proxy, support.0, support.1, &mixed).await;
    assert_eq!(answer.outcome(), (403, "not-writable".to_owned()));
    let mut mixed = before.clone();
    mixed["guests"][0]["phone"] = before["guests"][1]["phone"].clone();
    let answer = put(&proxy, "shop", "account", &mixed).await;
    assert_eq!(answer.outcome(), (422, "foreign-envelope".to_owned()));
    // Somebody who may not write their names does not remove them.
    view["guests"].as_array_mut().unwrap().pop();
    let answer = put(&proxy, support.0, support.1, &view).await;
    assert_eq!(answer.outcome(), (403, "not-writable".to_owned()));
}

/// A database with entity tags: one document, and what happens before each request.
#[derive(Default)]
struct Tagged {
    version: usize,
    document: Option<Value>,
    /// Changes the document before so many of the next PUTs: somebody else comes in between.
    others: usize,
    weak: bool,
    deny_reads: bool,
}

impl Tagged {
    fn etag(&self) -> String {
        if self.weak { format!("W/\"{}\"", self.version) } else { format!("\"{}\"", self.version) }
    }

    fn answer(&mut self, method: &Method, headers: &http::HeaderMap, body: &[u8]) -> StubReply {
        let plain = |status| StubReply::json(status, "{}");
        match (method.as_str(), &self.document) {
            ("GET", _) if self.deny_reads => plain(401),
            ("GET", None) => plain(404),
            ("GET", Some(document)) => {
                let mut reply = StubReply::json(200, document.to_string());
                reply.headers.push(("etag", self.etag()));
                reply
            }
            ("PUT", _) => {
                if self.others > 0 {
                    self.others -= 1;
                    self.version += 1;
                    if let Some(document) = &mut self.document {
                        document["seen"] = json!(self.version);
                    }
                }
                let fits = |tag: &str| self.document.is_some() && (tag == "*" || tag == self.etag());
                let matches = headers.get("if-match").is_none_or(|tag| fits(tag.to_str().unwrap()));
                let none_match = headers.get("if-none-match").is_none_or(|tag| !fits(tag.to_str().unwrap()));
                if !matches || !none_match {
                    return plain(412);
                }
                self.version += 1;
                self.document = Some(serde_json::from_slice(body).unwrap());
                plain(200)
            }
            _ => {
                self.version += 1;
                self.document = Some(serde_json::from_slice(body).unwrap());
                plain(201)
            }
        }
    }
}

const TAGGED: &str = r#"
[collection.customers]
match    = "/customers/{id}"
rows     = ["$"]
subject  = "{id}"
revision = "etag"
[collection.customers.field]
name    = "$.name"
address = "$.address"
phone   = "$.phone"
id-card = "$.id_card"
"#;

async fn tagged(collections: &str) -> (Proxy, Stub, Arc<Mutex<Tagged>>) {
    let database: Arc<Mutex<Tagged>> = Arc::default();
    let held = Arc::clone(&database);
    let stub = Stub::start(move |seen| held.lock().unwrap().answer(&seen.method, &seen.headers, &seen.body)).await;
    let proxy = Setup::rest(stub.address).collections(collections).start().await;
    register(&proxy, PERSON).await;
    (proxy, stub, database)
}

fn support_body() -> Value {
    json!({"id": "c-1", "tier": "silver", "name": "Mei Tanaka", "phone": "••••1234"})
}

#[tokio::test]
async fn t29_a_write_that_was_overtaken_is_read_and_judged_anew() {
    let (proxy, stub, database) = tagged(TAGGED).await;
    let before = database.lock().unwrap().document.clone().unwrap();
    database.lock().unwrap().others = 1;
    let answer = put(&proxy, "helpdesk", "support", &support_body()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let methods: Vec<String> = stub.seen()[1..]
        .iter()
        .map(|seen| format!("{} {}", seen.method, seen.headers.get("if-match").map_or("-", |tag| tag.to_str().unwrap())))
        .collect();
    assert_eq!(methods, ["GET -", "PUT \"1\"", "GET -", "PUT \"2\""]);
    let after = database.lock().unwrap().document.clone().unwrap();
    assert_eq!((&after["name"], &after["id_card"], &after["tier"]), (&before["name"], &before["id_card"], &json!("silver")));

    // Never more than four times; then the client is told, with a status that it does not retry by itself.
    database.lock().unwrap().others = 100;
    let count = stub.seen().len();
    let answer = put(&proxy, "helpdesk", "support", &support_body()).await;
    assert_eq!(answer.outcome(), (409, "write-conflict".to_owned()), "{}", answer.text());
    assert_eq!(stub.seen().len() - count, 8);
}

#[tokio::test]
async fn a_condition_of_the_client_is_kept() {
    let (proxy, stub, database) = tagged(TAGGED).await;
    let send = async |tag: &str| {
        let body = support_body().to_string();
        proxy.ask_with("helpdesk", "support", Method::PUT, "/customers/c-1", &[("if-match", tag)], body).await.unwrap()
    };
    assert_eq!(send("\"7\"").await.outcome(), (412, "write-conflict".to_owned()));
    assert!(stub.seen().iter().all(|seen| seen.method != Method::PUT), "nothing was written");
    assert_eq!(send("\"7\", \"1\"").await.status, 200);
    // It raced and lost: the client named a state, so the answer is the database's.
    database.lock().unwrap().others = 1;
    let puts = stub.seen().iter().filter(|seen| seen.method == Method::PUT).count();
    assert_eq!(send("\"2\"").await.status, 412);
    assert_eq!(stub.seen().iter().filter(|seen| seen.method == Method::PUT).count(), puts + 1);
    // That there is one is no state.
    database.lock().unwrap().others = 1;
    assert_eq!(send("*").await.status, 200);
    database.lock().unwrap().document = None;
    assert_eq!(send("*").await.outcome(), (412, "write-conflict".to_owned()));
}

#[tokio::test]
async fn a_condition_that_ours_would_override_is_not_sent_beside_it() {
    let (proxy, stub, database) = tagged(TAGGED).await;
    let send = async |caller: &str, purpose: &str| {
        let headers = [("if-unmodified-since", "Sat, 21 Nov 2026 00:00:00 GMT")];
        let body = json!({"id": "c-1", "tier": "silver"}).to_string();
        proxy.ask_with(caller, purpose, Method::PUT, "/customers/c-1", &headers, body).await.unwrap()
    };
    // Beside If-Match a server must not look at it (RFC 9110 section 13.1.4), and would replace what changed since.
    let answer = send("helpdesk", "support").await;
    assert_eq!(answer.outcome(), (412, "write-conflict".to_owned()), "{}", answer.text());
    assert!(stub.seen().iter().all(|seen| seen.method != Method::PUT));
    // Where we send none it is the database's to judge.
    assert_eq!(send("shop", "account").await.status, 200);
    assert!(stub.seen().pop().unwrap().headers.contains_key("if-unmodified-since"));
    drop(database);
}

#[tokio::test]
async fn t26_what_is_not_there_is_created_and_only_created() {
    let (proxy, stub, database) = tagged(TAGGED).await;
    let stored = database.lock().unwrap().document.take().unwrap();
    let answer = put(&proxy, "helpdesk", "support", &json!({"id": "c-1", "tier": "new"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let last = stub.seen().pop().unwrap();
    assert_eq!(last.headers["if-none-match"], "*");
    assert!(!last.headers.contains_key("if-match"));
    // What it may not write it may not create.
    database.lock().unwrap().document = None;
    assert_eq!(put(&proxy, "helpdesk", "support", &support_body()).await.outcome(), (403, "not-writable".to_owned()));
    drop(stored);
}

#[tokio::test]
async fn t26_where_nothing_guards_the_document_it_is_not_replaced_in_part() {
    let (proxy, stub, database) = tagged(TAGGED).await;
    let refused = async |what: &str| {
        let answer = put(&proxy, "helpdesk", "support", &json!({"id": "c-1", "tier": "silver"})).await;
        assert_eq!(answer.outcome(), (422, "would-erase".to_owned()), "{what}: {}", answer.text());
        answer.text()
    };
    database.lock().unwrap().weak = true;
    assert!(refused("a weak tag").await.contains("strong ETag"));
    database.lock().unwrap().weak = false;
    let answer = proxy.ask("helpdesk", "support", Method::PUT, "/customers/c-1?verbose=1", r#"{"id":"c-1"}"#).await;
    assert_eq!(answer.outcome(), (422, "would-erase".to_owned()));
    database.lock().unwrap().deny_reads = true;
    let answer = put(&proxy, "helpdesk", "support", &json!({"id": "c-1"})).await;
    assert_eq!(answer.outcome(), (401, "not-read".to_owned()));
    assert!(stub.seen().iter().all(|seen| seen.method != Method::PUT));
    database.lock().unwrap().deny_reads = false;

    // Who sees and may write everything is not slowed down: nothing is read.
    let asked = stub.seen().len();
    let answer = put(&proxy, "shop", "account", &json!({"id": "c-1", "name": "Mei Sato"})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(stub.seen().len(), asked + 1);

    // Not configured: refused, and says what to configure.
    let (proxy, stub, _database) = tagged(&TAGGED.replace("revision = \"etag\"", "")).await;
    let answer = put(&proxy, "helpdesk", "support", &json!({"id": "c-1", "tier": "silver"})).await;
    assert_eq!(answer.outcome(), (422, "would-erase".to_owned()));
    assert!(answer.text().contains("`revision`") && answer.text().contains("support"), "{}", answer.text());
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn a_revision_may_be_a_member_that_the_database_compares() {
    let (proxy, stub, database) = tagged(&TAGGED.replace("\"etag\"", "\"$.meta.version\"")).await;
    database.lock().unwrap().document.as_mut().unwrap()["meta"] = json!({"version": 3});
    let with = |version: Value| json!({"id": "c-1", "tier": "silver", "meta": {"version": version}});
    assert_eq!(put(&proxy, "helpdesk", "support", &with(json!(2))).await.outcome(), (409, "write-conflict".to_owned()));
    let answer = put(&proxy, "helpdesk", "support", &json!({"id": "c-1"})).await;
    assert_eq!(answer.outcome(), (422, "would-erase".to_owned()));
    assert!(answer.text().contains("$.meta.version"), "{}", answer.text());
    let answer = put(&proxy, "helpdesk", "support", &with(json!(3))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let last = stub.seen().pop().unwrap();
    assert!(!last.headers.contains_key("if-match"));
    assert!(serde_json::from_slice::<Value>(&last.body).unwrap()["name"].as_str().unwrap().starts_with("sdr1."));
}

/// A CouchDB of one database: every revision of every document, as `_id` and `_rev` say.
#[derive(Default)]
struct Couch {
    revisions: Vec<Value>,
}

impl Couch {
    fn newest(&self, id: &str) -> Option<&Value> {
        self.revisions.iter().rev().find(|document| document["_id"] == id)
    }

    fn find(&self, id: &str, rev: &str) -> Option<&Value> {
        self.revisions.iter().find(|document| document["_id"] == id && document["_rev"] == rev)
    }

    fn write(&mut self, mut document: Value) -> Value {
        let id = document["_id"].as_str().unwrap().to_owned();
        let newest = self.newest(&id).map(|newest| newest["_rev"].clone());
        if newest.as_ref() != document.get("_rev") {
            return json!({"id": id, "error": "conflict", "reason": "Document update conflict."});
        }
        let rev = format!("{}-x", self.revisions.len() + 1);
        document["_rev"] = json!(rev);
        self.revisions.push(document);
        json!({"ok": true, "id": id, "rev": rev})
    }

    fn answer(&mut self, method: &Method, target: &str, body: &[u8]) -> StubReply {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let id = path.rsplit('/').next().unwrap();
        match (method.as_str(), id) {
            ("POST", "_bulk_docs") => {
                let results: Vec<Value> = body["docs"].as_array().unwrap().iter().map(|row| self.write(row.clone())).collect();
                StubReply::json(201, json!(results).to_string())
            }
            ("POST", "_bulk_get") => {
                let one = |asked: &Value| {
                    let (id, rev) = (asked["id"].as_str().unwrap(), asked["rev"].as_str().unwrap());
                    let found = self.find(id, rev).map_or_else(
                        || json!({"error": {"id": id, "rev": rev, "error": "not_found", "reason": "missing"}}),
                        |document| json!({"ok": document}),
                    );
                    json!({"id": id, "docs": [found]})
                };
                let results: Vec<Value> = body["docs"].as_array().unwrap().iter().map(one).collect();
                StubReply::json(200, json!({"results": results}).to_string())
            }
            ("GET", id) => match self.find(id, query.trim_start_matches("rev=")) {
                Some(document) => StubReply::json(200, document.to_string()),
                None => StubReply::json(404, r#"{"error":"not_found","reason":"missing"}"#),
            },
            (_, id) => {
                let mut document = body.clone();
                if !path.ends_with("/customers") {
                    document["_id"] = json!(id);
                }
                let result = self.write(document);
                StubReply::json(if result.get("ok").is_some() { 201 } else { 409 }, result.to_string())
            }
        }
    }
}

async fn couch() -> (Proxy, Stub, Arc<Mutex<Couch>>) {
    couch_of(|setup| setup).await
}

async fn couch_of(setup: impl FnOnce(Setup) -> Setup) -> (Proxy, Stub, Arc<Mutex<Couch>>) {
    let database: Arc<Mutex<Couch>> = Arc::default();
    let held = Arc::clone(&database);
    let stub = Stub::start(move |seen| held.lock().unwrap().answer(&seen.method, &seen.target, &seen.body)).await;
    (setup(Setup::couchdb(stub.address)).start().await, stub, database)
}

fn person(id: &str) -> String {
    PERSON.replace(r#""id":"c-1""#, &format!(r#""_id":"{id}""#))
}

#[tokio::test]
async fn t26_couchdb_what_is_carried_over_is_of_the_revision_it_builds_on() {
    let (proxy, stub, database) = couch().await;
    register(&proxy, &person("c-1")).await;
    let first = database.lock().unwrap().revisions[0].clone();
    let body = json!({"_id": "c-1", "_rev": "1-x", "tier": "silver"});
    let answer = put(&proxy, "helpdesk", "support", &body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(stub.seen()[1].target, "/customers/c-1?rev=1-x");
    let second = database.lock().unwrap().revisions[1].clone();
    let mut expected = first.clone();
    expected["tier"] = json!("silver");
    expected["_rev"] = json!("2-x");
    assert_eq!(second, expected);

    // The revision can be named in three ways, but only one.
    for (path, headers, rev) in [
        ("/customers/c-1?rev=2-x", &[][..], None),
        ("/customers/c-1", &[("if-match", "\"2-x\"")][..], None),
        ("/customers/c-1?rev=2-x", &[("if-match", "2-x")][..], Some("2-x")),
    ] {
        let mut body = json!({"tier": "bronze"});
        if let Some(rev) = rev {
            body["_rev"] = json!(rev);
        }
        let asked = stub.seen().len();
        let answer = proxy.ask_with("helpdesk", "support", Method::PUT, path, headers, body.to_string()).await.unwrap();
        // The stub itself knows `_rev` in the body only.
        assert_eq!(answer.status, if rev.is_some() { 201 } else { 409 }, "{path} {headers:?}: {}", answer.text());
        assert_eq!(stub.seen()[asked].target, "/customers/c-1?rev=2-x");
        let sent: Value = serde_json::from_slice(&stub.seen()[asked + 1].body).unwrap();
        assert_eq!(sent["id_card"], first["id_card"]);
    }
    let asked = stub.seen().len();
    let answer = proxy.ask("helpdesk", "support", Method::PUT, "/customers/c-1?rev=1-x", r#"{"_rev":"2-x"}"#).await;
    assert_eq!(answer.outcome(), (400, "malformed-request".to_owned()));
    assert_eq!(stub.seen().len(), asked);
    nothing_clear(&database.lock().unwrap().revisions.iter().map(Value::to_string).collect::<String>());
}

#[tokio::test]
async fn couchdb_a_revision_that_is_gone_is_a_conflict_in_its_own_words() {
    let (proxy, stub, database) = couch().await;
    register(&proxy, &person("c-1")).await;
    let answer = put(&proxy, "helpdesk", "support", &json!({"_id": "c-1", "_rev": "9-y", "tier": "silver"})).await;
    assert_eq!(answer.outcome(), (409, "write-conflict".to_owned()));
    let said = answer.json();
    assert_eq!((&said["error"], &said["reason"]), (&json!("conflict"), &json!("Document update conflict.")));
    assert_eq!(stub.seen().len(), 2, "nothing was written");
    // A revision that is still there but not the newest: the database says so.
    let answer = put(&proxy, "helpdesk", "support", &json!({"_id": "c-1", "_rev": "1-x"})).await;
    assert_eq!(answer.status, 201);
    let answer = put(&proxy, "helpdesk", "support", &json!({"_id": "c-1", "_rev": "1-x"})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (409, &json!("conflict")));
    assert_eq!(database.lock().unwrap().revisions.len(), 2);
}

#[tokio::test]
async fn couchdb_rows_of_a_bulk_write_are_judged_one_by_one() {
    let (proxy, stub, database) = couch().await;
    for id in ["c-1", "c-2", "c-3"] {
        register(&proxy, &person(id)).await;
    }
    let first = database.lock().unwrap().revisions.clone();
    let bulk = async |body: &str| proxy.ask("helpdesk", "support", Method::POST, "/customers/_bulk_docs", body.to_owned()).await;
    let body = r#"{ "docs" : [ {"_id":"c-1","_rev":"9-y","tier":"a"} , {"_id":"c-2","_rev":"2-x","tier":"b"}, {"_id":"new","tier":"c"} ,{"_id":"c-3","_rev":"8-y"} ] }"#;
    let answer = bulk(body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let conflict = |id: &str| json!({"id": id, "error": "conflict", "reason": "Document update conflict."});
    assert_eq!(
        answer.json(),
        json!([conflict("c-1"), {"ok": true, "id": "c-2", "rev": "4-x"}, {"ok": true, "id": "new", "rev": "5-x"}, conflict("c-3")])
    );
    let sent = stub.seen().pop().unwrap();
    let sent = String::from_utf8(sent.body.to_vec()).unwrap();
    assert!(sent.starts_with("{ \"docs\" : [ {") && sent.ends_with("}, {\"_id\":\"new\",\"tier\":\"c\"} ] }"), "{sent}");
    let second = database.lock().unwrap().newest("c-2").unwrap().clone();
    assert_eq!((&second["name"], &second["tier"]), (&first[1]["name"], &json!("b")));

    // All of them: nothing is sent.
    let asked = stub.seen().len();
    let answer = bulk(r#"{"docs":[{"_id":"c-1","_rev":"9-y"},{"_id":"c-2","_rev":"9-y"}]}"#).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (201, json!([conflict("c-1"), conflict("c-2")])));
    assert_eq!(stub.seen().len(), asked + 1);
    // One of them alone is read by its path, and answered in the same way.
    let answer = bulk(r#"{"docs":[{"_id":"c-1","_rev":"9-y"}]}"#).await;
    assert_eq!((answer.status.as_u16(), answer.json()), (201, json!([conflict("c-1")])));
    // What one row may not do refuses the whole request, as everywhere.
    let answer = bulk(r#"{"docs":[{"_id":"c-1","_rev":"1-x"},{"_id":"c-2","_rev":"4-x","phone":"110"}]}"#).await;
    assert_eq!(answer.outcome(), (403, "not-writable".to_owned()));
    let answer = bulk(r#"{"docs":[{"_id":"c-1","_rev":"1-x"},{"_id":"c-1","_rev":"1-x"}]}"#).await;
    assert_eq!(answer.outcome(), (400, "malformed-request".to_owned()));
    assert_eq!(database.lock().unwrap().revisions.len(), 5);
}

/// Tokens in `_bulk_docs`: made for new values, kept where a row does not change them, refused where they belong to another document.
#[tokio::test]
async fn t26_couchdb_tokens_of_a_bulk_write_are_made_and_carried_row_by_row() {
    let collections = r#"
[collection.customers]
match   = "customers"
subject = "{id}"
[collection.customers.field]
name    = { at = "$.name", protect = "token", consistent = false }
address = "$.address"
phone   = { at = "$.phone", mask = "keep-last:4", protect = "token", format = "digits" }
id-card = { at = "$.id_card", protect = "token" }
"#;
    let (proxy, _stub, database) = couch_of(|setup| setup.collections(collections)).await;
    for id in ["c-1", "c-2"] {
        register(&proxy, &person(id)).await;
    }
    let newest = |id: &str| database.lock().unwrap().newest(id).unwrap().clone();
    let bulk = async |caller: &str, purpose: &str, docs: Value| {
        let body = json!({"docs": docs}).to_string();
        proxy.ask(caller, purpose, Method::POST, "/customers/_bulk_docs", body).await
    };
    let before = [newest("c-1"), newest("c-2")];
    assert_eq!((&before[0]["id_card"], &before[0]["phone"]), (&before[1]["id_card"], &before[1]["phone"]));
    assert!(before[0]["phone"].as_str().unwrap().starts_with("+0"), "{}", before[0]);
    let docs = json!([
        {"_id": "c-1", "_rev": "1-x", "tier": "a", "name": "Mei Tanaka", "phone": "••••1234"},
        {"_id": "c-2", "_rev": "2-x", "tier": "b"},
        {"_id": "new", "tier": "c"},
    ]);
    let answer = bulk("helpdesk", "support", docs).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    for (id, before) in ["c-1", "c-2"].iter().zip(&before) {
        let after = newest(id);
        for member in ["name", "address", "phone", "id_card"] {
            assert_eq!(after[member], before[member], "{id} {member}");
        }
    }
    let docs = json!([
        {"_id": "c-1", "_rev": "3-x", "id_card": "123456789018", "name": "Mei"},
        {"_id": "other", "id_card": "123456789018", "name": "Mei"},
    ]);
    let answer = bulk("shop", "account", docs).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let (one, other) = (newest("c-1"), newest("other"));
    assert_eq!((&one["id_card"], &other["id_card"]), (&before[0]["id_card"], &before[0]["id_card"]));
    assert_ne!(one["name"], other["name"], "fresh");
    for foreign in [&before[0]["name"], &before[0]["id_card"]] {
        let docs = json!([{"_id": "x-1", "name": "Ken"}, {"_id": "x-2", "name": foreign}]);
        let answer = bulk("shop", "account", docs).await;
        assert_eq!(answer.outcome(), (422, "foreign-token".to_owned()), "{}", answer.text());
    }
    assert!(database.lock().unwrap().newest("x-1").is_none());
}
