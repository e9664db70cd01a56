//! PATCH on `rest`: what a merge patch (RFC 7396) and a JSON Patch (RFC 6902) may do, and what the database then gets.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use crate::support::{CLEAR, Proxy, Seen, Setup, Stub, StubReply};

const MERGE: &str = "application/merge-patch+json";
const OPERATIONS: &str = "application/json-patch+json";

/// A database that says what it got, as a document.
async fn behind_stub() -> (Proxy, Stub) {
    let stub = Stub::start(|seen| match seen.method {
        Method::PATCH if seen.headers["content-type"] == MERGE => {
            let mut document: Value = serde_json::from_slice(&seen.body).unwrap();
            document["id"] = json!("c-1");
            StubReply::json(200, document.to_string())
        }
        _ => StubReply::json(200, r#"{"id":"c-1"}"#),
    })
    .await;
    (Setup::rest(stub.address).start().await, stub)
}

async fn patch(proxy: &Proxy, (caller, purpose): (&str, &str), format: &str, body: &str) -> crate::support::Answer {
    let kind = [("content-type", format)];
    proxy.ask_with(caller, purpose, Method::PATCH, "/customers/c-1", &kind, body.to_owned()).await.unwrap()
}

const SHOP: (&str, &str) = ("shop", "registration");

#[tokio::test]
async fn a_merge_patch_reaches_the_database_sealed_and_its_answer_is_rewritten() {
    let (proxy, stub) = behind_stub().await;
    let sent = r#"{ "name":"Mei Tanaka", "tier" : 1.0, "phone":null }"#;
    let answer = patch(&proxy, SHOP, MERGE, sent).await;
    assert_eq!(answer.status, 200);
    // Registration writes and sees nothing; the database's echo is rewritten like any other reply.
    assert_eq!(answer.json(), json!({"id": "c-1", "tier": 1.0}));
    let got = String::from_utf8(stub.seen()[0].body.to_vec()).unwrap();
    let (before, rest) = got.split_once("\"sdr1.x.").unwrap();
    assert_eq!((before, rest.split_once('"').unwrap().1), ("{ \"name\":", ", \"tier\" : 1.0, \"phone\":null }"));
    let writes = proxy.audit_text();
    assert!(writes.contains("PATCH /{collection}/{id}") && writes.contains("\"write\""), "{writes}");
}

#[tokio::test]
async fn a_json_patch_reaches_the_database_sealed() {
    let (proxy, stub) = behind_stub().await;
    let sent = r#"[{"op":"replace","path":"/name","value":"Mei Tanaka"},{"op":"add","path":"/tier","value":"gold"}]"#;
    assert_eq!(patch(&proxy, SHOP, OPERATIONS, sent).await.status, 200);
    let got: Value = serde_json::from_slice(&stub.seen()[0].body).unwrap();
    assert!(got[0]["value"].as_str().unwrap().starts_with("sdr1.x."));
    assert_eq!(got[1], json!({"op": "add", "path": "/tier", "value": "gold"}));
    assert_eq!(stub.seen()[0].headers["content-type"], OPERATIONS);
}

#[tokio::test]
async fn t5_a_patch_that_slips_by_reaches_no_database() {
    let (proxy, stub) = behind_stub().await;
    for (format, body, expected) in [
        (OPERATIONS, r#"[{"op":"test","path":"/name","value":"Mei Tanaka"}]"#, (422, "patch-refused")),
        (OPERATIONS, r#"[{"op":"copy","from":"/name","path":"/tier"}]"#, (422, "patch-refused")),
        (OPERATIONS, r#"[{"op":"add","path":"/name/first","value":"Mei Tanaka"}]"#, (422, "patch-refused")),
        (OPERATIONS, r#"[{"op":"add","path":"","value":{"name":"Mei Tanaka"}}]"#, (422, "patch-refused")),
        (OPERATIONS, r#"[{"op":"add","path":"/x","value":1,"value":"Mei Tanaka"}]"#, (400, "malformed-json")),
        (OPERATIONS, r#"{"name":"Mei Tanaka"}"#, (422, "patch-refused")),
        (MERGE, r#"[{"name":"Mei Tanaka"}]"#, (422, "no-document")),
        (MERGE, r#"{"id":"c-2","name":"Mei Tanaka"}"#, (422, "id-mismatch")),
        (MERGE, r#"{"name":"Mei•"}"#, (422, "masked-value")),
        ("application/json", r#"{"name":"Mei Tanaka"}"#, (415, "not-json")),
    ] {
        let (status, code) = patch(&proxy, SHOP, format, body).await.outcome();
        assert_eq!((status, code.as_str()), expected, "{format} {body}");
    }
    assert!(stub.seen().is_empty());
    assert!(CLEAR.iter().all(|value| !proxy.audit_text().contains(value)));
}

#[tokio::test]
async fn t26_a_patch_by_a_caller_with_a_partial_view_erases_nothing() {
    let (proxy, stub) = behind_stub().await;
    let shipping = ("shipping", "delivery");
    assert_eq!(patch(&proxy, shipping, MERGE, r#"{"name":"Someone Else"}"#).await.outcome(), (403, "not-writable".to_owned()));
    assert_eq!(patch(&proxy, shipping, MERGE, r#"{"phone":null}"#).await.outcome(), (403, "not-writable".to_owned()));
    let removed = patch(&proxy, shipping, OPERATIONS, r#"[{"op":"remove","path":"/name"}]"#).await;
    assert_eq!(removed.outcome(), (403, "not-writable".to_owned()));
    assert!(stub.seen().is_empty());
    assert_eq!(patch(&proxy, shipping, MERGE, r#"{"tier":"silver"}"#).await.status, 200);
    assert_eq!(stub.seen()[0].body, r#"{"tier":"silver"}"#.as_bytes());
}

/// An order of a customer, whom its values are about.
const ORDERS: &str = r#"
[collection.orders]
match    = "/customers/{id}"
rows     = ["$"]
subject  = "$.customer_id"
revision = "etag"
[collection.orders.field]
name     = "$.name"
phone    = "$.phone"
"#;

/// A database with entity tags and one document, whose tag is what it was changed last to.
#[derive(Default)]
struct Tagged {
    version: usize,
    document: Option<Value>,
    /// Gives the document to another customer before so many of the next patches: somebody else comes in between.
    others: usize,
    weak: bool,
}

impl Tagged {
    fn answer(&mut self, seen: &Seen) -> StubReply {
        if seen.method == Method::PATCH && self.others > 0 {
            self.others -= 1;
            self.version += 1;
            self.document = Some(json!({"id": "c-1", "customer_id": format!("q-{}", self.version)}));
        }
        let tag = format!("{}\"{}\"", if self.weak { "W/" } else { "" }, self.version);
        if seen.headers.get("if-match").is_some_and(|asked| asked != "*" && *asked != tag) {
            return StubReply::json(412, "{}");
        }
        let Some(document) = &mut self.document else { return StubReply::json(404, "{}") };
        if seen.method == Method::PATCH {
            self.version += 1;
            let patch: Value = serde_json::from_slice(&seen.body).unwrap();
            for operation in patch.as_array().into_iter().flatten() {
                document[operation["path"].as_str().unwrap().trim_start_matches('/')] = operation["value"].clone();
            }
            for (name, value) in patch.as_object().into_iter().flatten() {
                document[name] = value.clone();
            }
        }
        let mut reply = StubReply::json(200, document.to_string());
        reply.headers.push(("etag", format!("{}\"{}\"", if self.weak { "W/" } else { "" }, self.version)));
        reply
    }
}

async fn tagged(collections: &str) -> (Proxy, Stub, Arc<Mutex<Tagged>>) {
    let document = json!({"id": "c-1", "customer_id": "p-1", "tier": "gold"});
    let database = Arc::new(Mutex::new(Tagged { document: Some(document), ..Tagged::default() }));
    let held = Arc::clone(&database);
    let stub = Stub::start(move |seen| held.lock().unwrap().answer(seen)).await;
    (Setup::rest(stub.address).collections(collections).start().await, stub, database)
}

/// Of each request, its method and its condition.
fn conditions(stub: &Stub) -> Vec<String> {
    let tag = |seen: &Seen| seen.headers.get("if-match").map_or("-", |tag| tag.to_str().unwrap()).to_owned();
    stub.seen().iter().map(|seen| format!("{} {}", seen.method, tag(seen))).collect()
}

async fn whole(proxy: &Proxy) -> Value {
    proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await.json()
}

#[tokio::test]
async fn t35_a_patch_is_bound_to_the_subject_that_the_stored_document_names() {
    let (proxy, stub, database) = tagged(ORDERS).await;
    let answer = patch(&proxy, SHOP, MERGE, r#"{"name":"Mei Tanaka"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(conditions(&stub), ["GET -", "PATCH \"0\""]);
    let answer = patch(&proxy, SHOP, OPERATIONS, r#"[{"op":"add","path":"/phone","value":"110"}]"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(conditions(&stub)[2..], ["GET -", "PATCH \"1\""]);
    assert_eq!(stub.seen()[3].headers["content-type"], OPERATIONS);
    // What was stored opens under that subject, and under no other.
    let expected = json!({"id": "c-1", "customer_id": "p-1", "tier": "gold", "name": "Mei Tanaka", "phone": "110"});
    assert_eq!(whole(&proxy).await, expected);
    database.lock().unwrap().document.as_mut().unwrap()["customer_id"] = json!("p-2");
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()));
    // A patch that touches nothing bound needs no look.
    let asked = stub.seen().len();
    assert_eq!(
        patch(&proxy, ("shipping", "delivery"), OPERATIONS, r#"[{"op":"add","path":"/seen","value":1}]"#).await.status,
        500
    );
    assert_eq!(conditions(&stub)[asked..], ["PATCH -"], "its answer holds the value that does not open");
    assert!(CLEAR.iter().all(|value| !proxy.audit_text().contains(value)));
}

#[tokio::test]
async fn t35_a_patch_does_not_change_whom_stored_values_are_about() {
    let (proxy, stub, database) = tagged(ORDERS).await;
    let before = database.lock().unwrap().document.clone();
    for body in [r#"{"customer_id":"p-2","name":"Mei Tanaka"}"#, r#"{"customer_id":"p-2"}"#, r#"{"customer_id":null}"#] {
        assert_eq!(patch(&proxy, SHOP, MERGE, body).await.outcome(), (422, "subject-changed".to_owned()), "{body}");
    }
    let operation = r#"[{"op":"replace","path":"/customer_id","value":"p-2"}]"#;
    assert_eq!(patch(&proxy, SHOP, OPERATIONS, operation).await.outcome(), (422, "subject-changed".to_owned()));
    assert!(stub.seen().iter().all(|seen| seen.method == Method::GET));
    assert_eq!(database.lock().unwrap().document, before);
    // The same one changes nothing.
    assert_eq!(patch(&proxy, SHOP, MERGE, r#"{"customer_id":"p-1","name":"Mei Tanaka"}"#).await.status, 200);
    assert_eq!(whole(&proxy).await["name"], "Mei Tanaka");
    // Whoever reads nobody there binds to nobody.
    database.lock().unwrap().document = Some(json!({"id": "c-1"}));
    let patches = |stub: &Stub| stub.seen().iter().filter(|seen| seen.method == Method::PATCH).count();
    let sent = patches(&stub);
    for body in [r#"{"name":"Mei Tanaka"}"#, r#"{"customer_id":"p-2","name":"Mei Tanaka"}"#] {
        assert_eq!(patch(&proxy, SHOP, MERGE, body).await.outcome(), (422, "subject-missing".to_owned()), "{body}");
    }
    database.lock().unwrap().document = None;
    assert_eq!(patch(&proxy, SHOP, MERGE, r#"{"name":"Mei Tanaka"}"#).await.outcome(), (404, "not-read".to_owned()));
    assert_eq!(patches(&stub), sent);
}

#[tokio::test]
async fn t29_a_patch_that_was_overtaken_is_bound_anew() {
    let (proxy, stub, database) = tagged(ORDERS).await;
    database.lock().unwrap().others = 1;
    let answer = patch(&proxy, SHOP, MERGE, r#"{"name":"Mei Tanaka"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(conditions(&stub), ["GET -", "PATCH \"0\"", "GET -", "PATCH \"1\""]);
    assert_eq!(whole(&proxy).await, json!({"id": "c-1", "customer_id": "q-1", "name": "Mei Tanaka"}));
    database.lock().unwrap().others = 100;
    let asked = stub.seen().len();
    let answer = patch(&proxy, SHOP, MERGE, r#"{"name":"Mei Tanaka"}"#).await;
    assert_eq!(answer.outcome(), (409, "write-conflict".to_owned()));
    assert_eq!(stub.seen().len() - asked, 8);
    // A client that names a state gets the database's answer, or ours where it is another one already.
    let named = async |tag: &str| {
        let headers = [("content-type", MERGE), ("if-match", tag)];
        proxy.ask_with("shop", "registration", Method::PATCH, "/customers/c-1", &headers, r#"{"name":"Mei"}"#).await.unwrap()
    };
    let version = database.lock().unwrap().version;
    assert_eq!(named("\"77\"").await.outcome(), (412, "write-conflict".to_owned()));
    assert_eq!(named(&format!("\"{version}\"")).await.status, 412);
    database.lock().unwrap().others = 0;
    let version = database.lock().unwrap().version;
    assert_eq!(named(&format!("\"{version}\"")).await.status, 200);
}

#[tokio::test]
async fn t35_where_nothing_guards_the_document_a_patch_is_bound_to_nobody() {
    let name = r#"{"name":"Mei Tanaka"}"#;
    let (proxy, stub, _database) = tagged(&ORDERS.replace("revision = \"etag\"", "")).await;
    for body in [name, r#"{"customer_id":"p-2"}"#, r#"{"customer_id":"p-2","name":"Mei Tanaka"}"#] {
        let answer = patch(&proxy, SHOP, MERGE, body).await;
        assert_eq!(answer.outcome(), (422, "subject-missing".to_owned()), "{body}: {}", answer.text());
        assert!(answer.text().contains("`revision`") && answer.text().contains("PUT the whole document"), "{}", answer.text());
    }
    assert!(stub.seen().is_empty());
    // What is bound to nobody passes as before.
    assert_eq!(patch(&proxy, SHOP, MERGE, r#"{"tier":"silver"}"#).await.status, 200);
    assert_eq!(conditions(&stub), ["PATCH -"]);

    let (proxy, stub, database) = tagged(ORDERS).await;
    database.lock().unwrap().weak = true;
    let answer = patch(&proxy, SHOP, MERGE, name).await;
    assert_eq!(answer.outcome(), (422, "subject-missing".to_owned()));
    assert!(answer.text().contains("strong ETag"), "{}", answer.text());
    assert_eq!(conditions(&stub), ["GET -"]);

    // A member that the database compares must be sent, so only a merge patch can.
    let (proxy, stub, database) = tagged(&ORDERS.replace("\"etag\"", "\"$.version\"")).await;
    database.lock().unwrap().document.as_mut().unwrap()["version"] = json!(3);
    assert_eq!(patch(&proxy, SHOP, MERGE, name).await.outcome(), (422, "subject-missing".to_owned()));
    let operation = r#"[{"op":"add","path":"/name","value":"Mei Tanaka"}]"#;
    assert_eq!(patch(&proxy, SHOP, OPERATIONS, operation).await.outcome(), (422, "subject-missing".to_owned()));
    let old = patch(&proxy, SHOP, MERGE, r#"{"version":2,"name":"Mei Tanaka"}"#).await;
    assert_eq!(old.outcome(), (409, "write-conflict".to_owned()));
    assert_eq!(patch(&proxy, SHOP, MERGE, r#"{"version":3,"name":"Mei Tanaka"}"#).await.status, 200);
    assert_eq!(conditions(&stub), ["GET -", "GET -", "PATCH -"]);
    assert_eq!(whole(&proxy).await["name"], "Mei Tanaka");
}
