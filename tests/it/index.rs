//! Search indexes, end to end: what the database is asked and holds, who finds what, what is left out, what it costs to guess.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use sudare::audit;
use sudare::base::SystemClock;
use sudare::config;
use sudare::keys::{self, LineName};

use crate::support::{Answer, Database, Proxy, Seen, Setup, Stub, StubReply};

const POLICY: &str = r#"
policy = { id = "shop", version = 1 }
[category]
name  = { dpv = "pd:Name", nature = "identifying" }
email = { dpv = "pd:EmailAddress", nature = "identifying" }
phone = { dpv = "pd:TelephoneNumber", nature = "identifying" }
[purpose.registration]
callers = ["shop"]
reveal  = {}
writes  = ["name", "email", "phone"]
[purpose.account]
callers = ["shop"]
reveal  = { "*" = "clear" }
delete  = true
[purpose.support]
callers = ["helpdesk"]
reveal  = { name = "masked" }
search  = ["email", "phone", "name"]
writes  = []
[purpose.marketing]
callers = ["mailer"]
reveal  = { name = "clear", email = "sealed" }
writes  = []
"#;

const FIELDS: &str = r#"
subject = "{id}"
[collection.customers.field]
name  = { at = "$.name", index = [{ at = "$.name_ix", normalise = "text" }, { at = "$.name_px", normalise = ["text", "prefix:3"], param = "name-prefix" }] }
email = { at = "$.email", index = { at = "$.email_ix", normalise = "email" } }
phone = { at = "$.phones[*]", index = { at = "$.phones_ix", normalise = "phone:HK", bits = 96, param = "phone" } }
"#;

pub(super) fn rest(more: &str) -> Setup {
    let head = "[collection.customers]\nmatch = \"/customers/{id}\"\nrows = [\"$\", \"$[*]\", \"$.items[*]\"]\n";
    Setup { policy: POLICY.to_owned(), ..Setup::embedded() }.collections(&format!("{head}{more}{FIELDS}"))
}

const CLEAR: [&str; 5] = ["Mei Chan", "mei@example.org", "Mei@Example.org", "2345 6789", "23456789"];

async fn create(proxy: &Proxy, document: &Value) {
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", document.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

pub(super) async fn customers(proxy: &Proxy) {
    create(proxy, &json!({"id": "c-1", "name": "Mei Chan", "email": "Mei@Example.org", "phones": ["2345 6789", "2345 6780"], "tier": "gold"})).await;
    create(proxy, &json!({"id": "c-2", "name": "Yu", "email": "yu@example.org", "phones": ["2345 6780"], "tier": "gold"})).await;
    create(proxy, &json!({"id": "c-3", "name": "mei  chan", "tier": "silver"})).await;
}

pub(super) async fn get(proxy: &Proxy, who: (&str, &str), target: &str) -> Answer {
    proxy.ask(who.0, who.1, Method::GET, target, "").await
}

pub(super) fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let list = answer.json();
    let rows = list.as_array().or_else(|| list["docs"].as_array()).unwrap().clone();
    rows.iter().map(|row| row.get("id").or_else(|| row.get("_id")).unwrap().as_str().unwrap().to_owned()).collect()
}

pub(super) const SUPPORT: (&str, &str) = ("helpdesk", "support");
pub(super) const ACCOUNT: (&str, &str) = ("shop", "account");

#[tokio::test]
async fn every_spelling_finds_who_has_the_value_also_for_a_purpose_that_does_not_see_it() {
    let mut proxy = rest("").start().await;
    customers(&proxy).await;
    for (query, expected) in [
        ("email=mei@example.org", vec!["c-1"]),
        ("email=MEI%40EXAMPLE.ORG", vec!["c-1"]),
        ("email=%EF%BC%ADei@example.org.", vec!["c-1"]),
        ("email=m%E2%80%8Bei@example.org", vec!["c-1"]),
        ("email=yu@example.org&email=mei@example.org", vec!["c-1", "c-2"]),
        ("email=nobody@example.org", vec![]),
        ("phone=%2B852+2345-6789", vec!["c-1"]),
        ("phone=%D9%A2%D9%A3%D9%A4%D9%A5%D9%A6%D9%A7%D9%A8%D9%A0", vec!["c-1", "c-2"]),
        ("name=MEI%20CHAN", vec!["c-1", "c-3"]),
        ("name-prefix=me%C3%AF", vec![]),
        ("name-prefix=Mei", vec!["c-1", "c-3"]),
        ("name=mei%20chan&tier=silver", vec!["c-3"]),
        ("name=mei%20chan&email=mei@example.org", vec!["c-1"]),
        ("limit=1&name=mei%20chan", vec!["c-1"]),
    ] {
        for who in [SUPPORT, ACCOUNT] {
            let answer = get(&proxy, who, &format!("/customers?{query}")).await;
            assert_eq!(ids(&answer), expected, "{query} {who:?}");
            assert!(!answer.text().contains("ix1.") && !answer.text().contains("_ix\""), "{}", answer.text());
        }
    }
    let found = get(&proxy, SUPPORT, "/customers?email=mei@example.org").await;
    assert_eq!(found.json(), json!([{"id": "c-1", "name": "••••", "phones": [], "tier": "gold"}]));
    assert_eq!(get(&proxy, ACCOUNT, "/customers/c-1").await.json()["email"], "Mei@Example.org");
    // To find by a value is to learn it, and is recorded so.
    let events = proxy.events(&audit::Filter::default());
    let by_support = events.iter().rev().filter(|event| event.body.caller.as_deref() == Some("helpdesk"));
    let last = by_support.into_iter().find(|event| !event.body.shown.is_empty()).unwrap();
    assert_eq!(serde_json::to_value(&last.body.shown).unwrap()["clear"]["email"], 1, "{:?}", last.body.shown);
    let stored = proxy.database(Method::GET, "/customers/c-1", "").await.text();
    assert!(CLEAR.iter().all(|value| !stored.contains(value)) && stored.contains("gold"), "{stored}");
    proxy.stop().await;
    assert!(CLEAR.iter().all(|value| !proxy.audit_text().contains(value)));
}

#[tokio::test]
async fn t14_the_clear_value_of_a_search_never_reaches_the_database() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    for (terms, expected) in [
        ("", "/customers?a=b&email_ix=TERM&email_ix=TERM&c=d"),
        ("terms = \"comma\"\n", "/customers?a=b&email_ix=TERM,TERM&c=d"),
        ("terms = \"kinto\"\n", "/customers?a=b&in_email_ix=TERM,TERM&c=d"),
    ] {
        let proxy = Setup { database: Database::At(stub.address, "rest"), ..rest(terms) }.start().await;
        let answer = get(&proxy, SUPPORT, "/customers?a=b&email=Mei@Example.org&email=yu@example.org&c=d").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let target = stub.seen().last().unwrap().target.clone();
        let plain: Vec<String> = target
            .split(['=', '&', ','])
            .map(|part| if part.starts_with("ix1.") { "TERM".to_owned() } else { part.to_owned() })
            .collect();
        let wanted: Vec<&str> = expected.split(['=', '&', ',']).collect();
        assert_eq!(plain, wanted, "{target}");
    }
    let proxy = Setup { database: Database::At(stub.address, "rest"), ..rest("terms = \"postgrest\"\n") }.start().await;
    assert_eq!(get(&proxy, SUPPORT, "/customers?email=eq.mei@example.org&phone=eq.23456789&order=id").await.status, 200);
    let target = stub.seen().last().unwrap().target.clone();
    assert!(
        target.contains("email_ix=in.(ix1.") && target.contains("phones_ix=ov.%7Bix1.") && target.ends_with("&order=id"),
        "{target}"
    );
    for wrong in ["email=mei@example.org", "email=like.mei*", "email=eq.a@b.c&email=eq.d@b.c"] {
        assert_eq!(
            get(&proxy, SUPPORT, &format!("/customers?{wrong}")).await.outcome(),
            (400, "not-searchable".to_owned()),
            "{wrong}"
        );
    }
    for seen in stub.seen() {
        assert!(!seen.target.to_lowercase().contains("example"), "{}", seen.target);
    }
    // An API that repeats the query in its links.
    let echo = Stub::start(|seen| {
        let mut reply = StubReply::json(200, json!({"next": seen.target, "items": []}).to_string());
        reply.headers.extend([("next-page", seen.target.clone()), ("x-other", "stays".to_owned())]);
        reply
    })
    .await;
    let proxy = Setup { database: Database::At(echo.address, "rest"), ..rest("") }.start().await;
    let answer = get(&proxy, SUPPORT, "/customers?email=mei@example.org&page=1").await;
    assert_eq!(answer.json(), json!({"next": "/customers?email_ix=-&page=1", "items": []}));
    assert!(!answer.headers.contains_key("next-page") && answer.headers.contains_key("x-other"));
}

#[tokio::test]
async fn what_cannot_be_searched_is_refused_with_a_reason_and_without_the_value() {
    let proxy = rest("").start().await;
    customers(&proxy).await;
    for (who, target, status, code) in [
        (("mailer", "marketing"), "/customers?email=mei@example.org", 403, "search-refused"),
        (("shop", "registration"), "/customers?name=Mei", 403, "search-refused"),
        (SUPPORT, "/customers?email=", 400, "not-searchable"),
        (SUPPORT, "/customers?email=mei", 400, "not-searchable"),
        (SUPPORT, "/customers?phone=call-me", 400, "not-searchable"),
        // To every server a space; without it, it is a number of Hong Kong.
        (SUPPORT, "/customers?phone=+81355501234", 400, "not-searchable"),
        (SUPPORT, "/customers?name=%E2%80%8B", 400, "not-searchable"),
        (SUPPORT, "/customers?email_like=mei", 400, "not-searchable"),
        (SUPPORT, "/customers?email_ix=ix1.a.b", 400, "not-searchable"),
        (SUPPORT, "/customers?sort=email_ix", 400, "not-searchable"),
        (SUPPORT, "/customers?email=a@b.c;tier=gold", 400, "not-searchable"),
        (SUPPORT, "/customers/c-1?email=mei@example.org", 400, "not-searchable"),
        (SUPPORT, "/customers?email=%FF@b.c", 400, "not-searchable"),
    ] {
        let answer = get(&proxy, who, target).await;
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{target}: {}", answer.text());
        assert!(!answer.text().contains("mei@") && !answer.text().contains("call-me"), "{}", answer.text());
    }
    let head = proxy.ask("helpdesk", "support", Method::HEAD, "/customers?email=mei@example.org", "").await;
    assert_eq!(head.status, 400);
    let many = (0..31).fold(String::new(), |mut text, number| {
        write!(text, "email=a{number}@b.c&").unwrap();
        text
    });
    assert_eq!(get(&proxy, SUPPORT, &format!("/customers?{many}")).await.outcome(), (400, "not-searchable".to_owned()));
}

#[tokio::test]
async fn index_members_of_clients_are_refused() {
    let proxy = rest("").start().await;
    customers(&proxy).await;
    let term = proxy.database(Method::GET, "/customers/c-1", "").await.json()["email_ix"].clone();
    for (method, path, body) in [
        (Method::POST, "/customers", json!({"id": "c-9", "email_ix": term})),
        (Method::PUT, "/customers/c-2", json!({"id": "c-2", "name": "Yu", "email_ix": term})),
        (Method::PUT, "/customers/c-2", json!({"id": "c-2", "name": "Yu", "phones_ix": null})),
        (Method::POST, "/customers", json!({"id": "c-9", "ESCAPED": term})),
        (Method::POST, "/customers", json!([{"id": "c-9"}, {"id": "c-8", "name_px": [term]}])),
        (Method::POST, "/customers", json!({"items": [{"id": "c-9", "name_ix": {"a": term}}]})),
    ] {
        let body = body.to_string().replace("ESCAPED", "email\\u005Fix");
        let answer = proxy.ask("shop", "account", method, path, body).await;
        assert_eq!(answer.outcome(), (422, "index-member".to_owned()), "{}", answer.text());
        assert!(!answer.text().contains("ix1."), "{}", answer.text());
    }
    // Into another member, or into its own, by a patch.
    for (kind, body) in [
        ("merge", json!({"email_ix": term})),
        ("merge", json!({"email_ix": null})),
        ("json", json!([{"op": "copy", "from": "/email_ix", "path": "/note"}])),
        ("json", json!([{"op": "move", "from": "/phones_ix/0", "path": "/note"}])),
        ("json", json!([{"op": "test", "path": "/email_ix", "value": term}])),
        ("json", json!([{"op": "add", "path": "/phones_ix/-", "value": term}])),
        ("json", json!([{"op": "remove", "path": "/name_px"}])),
    ] {
        let kind = format!("application/{kind}-patch+json");
        let more = [("content-type", kind.as_str())];
        let answer = proxy.ask_with("shop", "account", Method::PATCH, "/customers/c-1", &more, body.to_string()).await.unwrap();
        assert_eq!(answer.outcome(), (422, "index-member".to_owned()), "{body}: {}", answer.text());
    }
    let whole = json!([{"op": "copy", "from": "", "path": "/note"}]).to_string();
    let more = [("content-type", "application/json-patch+json")];
    let answer = proxy.ask_with("shop", "account", Method::PATCH, "/customers/c-1", &more, whole).await.unwrap();
    assert!(answer.status.is_client_error(), "{}", answer.text());
}

#[tokio::test]
async fn t16_a_term_pasted_onto_another_document_finds_nothing() {
    let mut proxy = rest("").start().await;
    customers(&proxy).await;
    let mei = proxy.database(Method::GET, "/customers/c-1", "").await.json();
    let mut yu = proxy.database(Method::GET, "/customers/c-2", "").await.json();
    yu["email_ix"] = mei["email_ix"].clone();
    yu["phones_ix"] = mei["phones_ix"].clone();
    assert!(proxy.database(Method::PUT, "/customers/c-2", yu.to_string()).await.status.is_success());
    for query in ["email=mei@example.org", "phone=23456789"] {
        assert_eq!(ids(&get(&proxy, SUPPORT, &format!("/customers?{query}")).await), ["c-1"], "{query}");
    }
    // Her own address is not found by the wrong term either, until the next write makes it anew.
    assert_eq!(ids(&get(&proxy, SUPPORT, "/customers?email=yu@example.org").await), Vec::<String>::new());
    let seen = get(&proxy, ACCOUNT, "/customers/c-2").await.json();
    assert!(proxy.ask("shop", "account", Method::PUT, "/customers/c-2", seen.to_string()).await.status.is_success());
    assert_eq!(ids(&get(&proxy, SUPPORT, "/customers?email=yu@example.org").await), ["c-2"]);
    let stray: Vec<audit::Entry> = proxy
        .events(&audit::Filter::default())
        .into_iter()
        .filter(|entry| entry.body.code.as_deref() == Some("stray-term"))
        .collect();
    assert_eq!(stray.len(), 2);
    // The value moved along with its term is an alarm, not a find.
    yu["email"] = mei["email"].clone();
    assert!(proxy.database(Method::PUT, "/customers/c-2", yu.to_string()).await.status.is_success());
    assert_eq!(get(&proxy, SUPPORT, "/customers?email=mei@example.org").await.outcome(), (500, "value-not-authentic".to_owned()));
    proxy.stop().await;
}

#[tokio::test]
async fn a_rotation_of_the_lookup_line_loses_nothing_before_during_and_after() {
    let proxy = rest("").start().await;
    customers(&proxy).await;
    let rotate = || {
        let settings = config::load(&proxy.file).unwrap();
        keys::rotate(&settings.keys, &LineName::Lookup, &SystemClock).unwrap();
        proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    };
    let found = async || ids(&get(&proxy, SUPPORT, "/customers?name=mei%20chan").await);
    assert_eq!(found().await, ["c-1", "c-3"]);
    rotate();
    assert_eq!(found().await, ["c-1", "c-3"]);
    let kid = async |id: &str| {
        let stored = proxy.database(Method::GET, &format!("/customers/{id}"), "").await.json();
        stored["name_ix"].as_str().unwrap()[4..12].to_owned()
    };
    let before = kid("c-1").await;
    // Saved by somebody who sees all, and created anew: terms of both versions are there.
    let seen = get(&proxy, ACCOUNT, "/customers/c-1").await.json();
    assert!(proxy.ask("shop", "account", Method::PUT, "/customers/c-1", seen.to_string()).await.status.is_success());
    create(&proxy, &json!({"id": "c-4", "name": "Mei Chan"})).await;
    assert_ne!(kid("c-1").await, before);
    assert_eq!((kid("c-3").await, kid("c-4").await), (before, kid("c-1").await));
    assert_eq!(found().await, ["c-1", "c-3", "c-4"]);
    rotate();
    assert_eq!(found().await, ["c-1", "c-3", "c-4"]);
}

#[tokio::test]
async fn t16_guesses_use_up_a_budget_of_each_callers_own() {
    let more = "[limits.caller]\nsearches_per_minute = 40\n[caller.shop.limits]\nsearches_per_minute = 0\n";
    let proxy = rest("").more(more).start().await;
    customers(&proxy).await;
    let guess = (0..20).fold(String::new(), |mut text, number| {
        write!(text, "&email=guess{number}@example.org").unwrap();
        text
    });
    for _ in 0..2 {
        assert_eq!(ids(&get(&proxy, SUPPORT, &format!("/customers?{}", &guess[1..])).await), Vec::<String>::new());
    }
    let refused = get(&proxy, SUPPORT, "/customers?email=mei@example.org").await;
    assert_eq!(refused.outcome(), (429, "rate-limited".to_owned()), "{}", refused.text());
    assert!(refused.headers.contains_key("retry-after"));
    // What is no search goes on, and so do others.
    assert_eq!(get(&proxy, SUPPORT, "/customers/c-1").await.status, 200);
    for _ in 0..5 {
        assert_eq!(ids(&get(&proxy, ACCOUNT, &format!("/customers?{}", &guess[1..])).await), Vec::<String>::new());
    }
}

#[tokio::test]
async fn every_write_keeps_terms_in_step_with_values() {
    let proxy = rest("").start().await;
    customers(&proxy).await;
    let put = async |id: &str, body: Value| {
        proxy.ask("shop", "account", Method::PUT, &format!("/customers/{id}"), body.to_string()).await
    };
    let by_email = async |email: &str| ids(&get(&proxy, SUPPORT, &format!("/customers?email={email}")).await);
    assert!(put("c-1", json!({"id": "c-1", "name": "Mei Chan", "email": "new@example.org"})).await.status.is_success());
    assert_eq!((by_email("mei@example.org").await, by_email("new@example.org").await), (vec![], vec!["c-1".to_owned()]));
    assert!(put("c-1", json!({"id": "c-1", "name": "Mei Chan"})).await.status.is_success());
    assert_eq!(by_email("new@example.org").await, Vec::<String>::new());
    let stored = proxy.database(Method::GET, "/customers/c-1", "").await.json();
    assert_eq!((stored.get("email_ix"), stored.get("phones_ix")), (None, None));
    // A partial view saved back keeps what it does not see, terms included.
    let before = proxy.database(Method::GET, "/customers/c-2", "").await.json();
    let mut seen = get(&proxy, ("mailer", "marketing"), "/customers/c-2").await.json();
    seen["tier"] = json!("silver");
    let saved = proxy.ask("mailer", "marketing", Method::PUT, "/customers/c-2", seen.to_string()).await;
    assert!(saved.status.is_success(), "{}", saved.text());
    let after = proxy.database(Method::GET, "/customers/c-2", "").await.json();
    for member in ["email", "email_ix", "phones", "phones_ix", "name", "name_ix", "name_px"] {
        assert_eq!(before[member], after[member], "{member}");
    }
    assert_eq!(after["tier"], "silver");
}

/// As Mango compares: top-level members, implicit equality, `$eq`, `$in`, `$elemMatch`, `$and`, `$or`, `$exists`.
fn fits(document: &Value, selector: &Value) -> bool {
    selector.as_object().unwrap().iter().all(|(name, condition)| match name.as_str() {
        "$and" => condition.as_array().unwrap().iter().all(|each| fits(document, each)),
        "$or" => condition.as_array().unwrap().iter().any(|each| fits(document, each)),
        _ => holds(document.get(name), condition),
    })
}

fn holds(value: Option<&Value>, condition: &Value) -> bool {
    match condition.as_object() {
        None => value == Some(condition),
        Some(operators) => operators.iter().all(|(operator, operand)| match operator.as_str() {
            "$eq" => value == Some(operand),
            "$in" => value.is_some_and(|value| operand.as_array().unwrap().contains(value)),
            "$exists" => value.is_some() == *operand,
            "$elemMatch" => {
                value.and_then(Value::as_array).is_some_and(|list| list.iter().any(|each| holds(Some(each), operand)))
            }
            other => panic!("the test's database does not know {other}"),
        }),
    }
}

pub(super) type Documents = Arc<Mutex<BTreeMap<String, Value>>>;

const BY_EMAIL: &str = "function (doc) { if (doc.email_ix) { emit(doc.email_ix, null); } }";

fn couch(documents: &Documents, seen: &Seen) -> StubReply {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').skip(1).collect();
    let body = || serde_json::from_slice::<Value>(&seen.body).unwrap();
    let mut documents = documents.lock().unwrap();
    let people = documents.values().filter(|document| !document["_id"].as_str().unwrap().starts_with('_'));
    match (&seen.method, parts.as_slice()) {
        (&Method::POST, ["_find"]) => {
            let query = body();
            let project = |document: &Value| match query["fields"].as_array() {
                None => document.clone(),
                Some(fields) => document
                    .as_object()
                    .unwrap()
                    .iter()
                    .filter(|(name, _)| fields.contains(&json!(name)))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            };
            let found: Vec<Value> = people.filter(|document| fits(document, &query["selector"])).map(project).collect();
            StubReply::json(200, json!({"docs": found, "bookmark": "nil"}).to_string())
        }
        (&Method::GET, ["_design", "people", "_view", "by-email"]) => {
            let keys = query
                .split('&')
                .find_map(|pair| pair.strip_prefix("keys="))
                .unwrap()
                .replace("%5B", "[")
                .replace("%5D", "]")
                .replace("%22", "\"");
            let keys: Vec<Value> = serde_json::from_str(&keys).unwrap();
            let rows = keys.iter().flat_map(|key| documents.values().filter(move |document| document["email_ix"] == *key));
            let rows: Vec<Value> = rows
                .map(|document| json!({"id": document["_id"], "key": document["email_ix"], "value": null, "doc": document}))
                .collect();
            StubReply::json(200, json!({"total_rows": 9, "offset": 0, "rows": rows}).to_string())
        }
        (&Method::PUT, id) => {
            let id = id.join("/");
            let mut document = body();
            document["_id"] = json!(id);
            document["_rev"] = json!("1-a");
            documents.insert(id, document);
            StubReply::json(201, r#"{"ok":true,"rev":"1-a"}"#)
        }
        (&Method::GET, ["_all_docs"]) => {
            let rows: Vec<Value> = people
                .map(|document| json!({"id": document["_id"], "key": document["_id"], "value": {"rev": "1-a"}, "doc": document}))
                .collect();
            StubReply::json(200, json!({"total_rows": 9, "offset": 0, "rows": rows}).to_string())
        }
        (&Method::GET, ["_changes"]) => {
            let rows: Vec<Value> =
                people.map(|document| json!({"seq": 1, "id": document["_id"], "changes": [], "doc": document})).collect();
            StubReply::json(200, json!({"results": rows, "last_seq": 9}).to_string())
        }
        (&Method::POST, ["_bulk_get"]) => {
            let rows: Vec<Value> = people.map(|document| json!({"id": document["_id"], "docs": [{"ok": document}]})).collect();
            StubReply::json(200, json!({"results": rows}).to_string())
        }
        (&Method::GET, id) => match documents.get(&id.join("/")) {
            Some(document) => StubReply::json(200, document.to_string()),
            None => StubReply::json(404, r#"{"error":"not_found","reason":"missing"}"#),
        },
        _ => StubReply::json(200, r#"{"ok":true}"#),
    }
}

pub(super) async fn couch_with_customers() -> (Proxy, Stub, Documents) {
    let documents = Documents::default();
    let stub = {
        let documents = Arc::clone(&documents);
        Stub::start(move |seen| couch(&documents, seen)).await
    };
    let setup = Setup { policy: POLICY.to_owned(), ..Setup::couchdb(stub.address) };
    let proxy = setup.collections(&format!("[collection.customers]\nmatch = \"customers\"\n{FIELDS}")).start().await;
    for (id, document) in [
        ("c-1", json!({"name": "Mei Chan", "email": "Mei@Example.org", "phones": ["2345 6789", "2345 6780"], "tier": "gold"})),
        ("c-2", json!({"name": "Yu", "email": "yu@example.org", "phones": ["2345 6780"], "tier": "gold"})),
        ("c-3", json!({"name": "mei  chan", "tier": "silver"})),
    ] {
        let answer = proxy.ask("shop", "registration", Method::PUT, &format!("/customers/{id}"), document.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    (proxy, stub, documents)
}

pub(super) async fn find(proxy: &Proxy, who: (&str, &str), query: &Value) -> Answer {
    proxy.ask(who.0, who.1, Method::POST, "/customers/_find", query.to_string()).await
}

#[tokio::test]
async fn selectors_by_a_clear_member_are_asked_by_terms() {
    let (proxy, stub, documents) = couch_with_customers().await;
    for (selector, expected) in [
        (json!({"email": "MEI@example.org"}), vec!["c-1"]),
        (json!({"email": {"$eq": "mei@example.org"}}), vec!["c-1"]),
        (json!({"email": {"$in": ["yu@example.org", "mei@example.org"]}}), vec!["c-1", "c-2"]),
        (json!({"name": "mei chan", "tier": "silver"}), vec!["c-3"]),
        (json!({"name-prefix": "MEI"}), vec!["c-1", "c-3"]),
        (json!({"phones": {"$elemMatch": {"$eq": "+852 2345 6780"}}}), vec!["c-1", "c-2"]),
        (json!({"phones": {"$in": ["23456789"]}}), vec!["c-1"]),
        (json!({"phone": "23456780", "email": "yu@example.org"}), vec!["c-2"]),
        (json!({"$and": [{"name": "mei chan"}, {"email": "mei@example.org"}]}), vec!["c-1"]),
        (json!({"$or": [{"email": "yu@example.org"}, {"name": "mei chan", "tier": "silver"}]}), vec!["c-2", "c-3"]),
        (json!({"$or": [{"tier": "silver"}, {"tier": "iron"}], "name": "Mei Chan"}), vec!["c-3"]),
    ] {
        for who in [SUPPORT, ACCOUNT] {
            let answer = find(&proxy, who, &json!({"selector": selector})).await;
            assert_eq!(ids(&answer), expected, "{selector}: {}", answer.text());
            assert!(!answer.text().contains("ix1."), "{}", answer.text());
        }
    }
    // Present or not: the member itself is asked.
    assert_eq!(ids(&find(&proxy, ACCOUNT, &json!({"selector": {"email": {"$exists": false}}})).await), ["c-3"]);
    for seen in stub.seen() {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        assert!(CLEAR.iter().all(|value| !body.contains(value)), "{body}");
    }
    assert!(documents.lock().unwrap()["c-1"].to_string().contains("gold"), "the control");
}

#[tokio::test]
async fn t34_what_is_compared_is_asked_for_and_taken_away_again() {
    let (proxy, stub, _) = couch_with_customers().await;
    let answer = find(&proxy, ACCOUNT, &json!({"selector": {"email": "mei@example.org"}, "fields": ["tier"]})).await;
    assert_eq!(answer.json()["docs"], json!([{"tier": "gold"}]), "{}", answer.text());
    let asked: Value = serde_json::from_slice(&stub.seen().last().unwrap().body).unwrap();
    assert_eq!(asked["fields"], json!(["tier", "_id", "email"]));
    let answer = find(&proxy, SUPPORT, &json!({"selector": {"phones": {"$in": ["23456789"]}}, "fields": ["tier"]})).await;
    assert_eq!(answer.outcome(), (400, "not-searchable".to_owned()), "{}", answer.text());
    let answer =
        find(&proxy, ACCOUNT, &json!({"selector": {"phones": {"$in": ["23456789"]}}, "fields": ["tier", "phones"]})).await;
    assert_eq!(answer.json()["docs"], json!([{"phones": ["2345 6789", "2345 6780"], "tier": "gold"}]));
}

#[tokio::test]
async fn other_operators_and_ways_past_the_comparison_are_refused() {
    let (proxy, _stub, _) = couch_with_customers().await;
    for selector in [
        json!({"email": {"$gt": "a"}}),
        json!({"email": {"$regex": "mei"}}),
        json!({"email": {"$ne": "mei@example.org"}}),
        json!({"email": {"$eq": "mei@example.org", "$exists": true}}),
        json!({"email": {"$not": {"$eq": "mei@example.org"}}}),
        json!({"$not": {"email": "mei@example.org"}}),
        json!({"$nor": [{"email": "mei@example.org"}]}),
        json!({"$or": [{"email": "mei@example.org"}, {"tier": "silver"}]}),
        json!({"email": null}),
        json!({"email": ["mei@example.org"]}),
        json!({"email": {"$in": []}}),
        json!({"email": "mei"}),
        json!({"email.x": "mei"}),
        json!({"email_ix": "ix1.a.b"}),
        json!({"email_ix": {"$exists": true}}),
        json!({"phones_ix": {"$elemMatch": {"$eq": "ix1.a.b"}}}),
        json!({"phones": {"$all": ["23456789"]}}),
        json!({"phones": {"$in": ["23456789"]}, "phone": "23456780"}),
        json!({"email": {"$in": (0..101).map(|number| format!("a{number}@b.c")).collect::<Vec<_>>()}}),
    ] {
        let answer = find(&proxy, ACCOUNT, &json!({"selector": selector})).await;
        assert_eq!(answer.outcome(), (400, "not-searchable".to_owned()), "{selector}: {}", answer.text());
        assert!(!answer.text().contains("mei@"), "{}", answer.text());
    }
    for query in [
        json!({"selector": {"tier": "gold"}, "sort": ["email_ix"]}),
        json!({"selector": {"tier": "gold"}, "fields": ["_id", "email_ix"]}),
    ] {
        assert_eq!(find(&proxy, ACCOUNT, &query).await.outcome(), (400, "not-searchable".to_owned()), "{query}");
    }
    let explained =
        proxy.ask("shop", "account", Method::POST, "/customers/_explain", r#"{"selector":{"email":"mei@example.org"}}"#).await;
    assert_eq!(explained.outcome(), (400, "not-searchable".to_owned()));
    assert_eq!(
        find(&proxy, ("mailer", "marketing"), &json!({"selector": {"email": "mei@example.org"}})).await.outcome(),
        (403, "search-refused".to_owned())
    );
    // An index of the database's own finds terms, and is named by them.
    for (field, status) in [("email_ix", 200), ("email", 400)] {
        let body = json!({"index": {"fields": [field]}, "name": "by-email"});
        assert_eq!(
            proxy.ask("shop", "account", Method::POST, "/customers/_index", body.to_string()).await.status,
            status,
            "{field}"
        );
    }
}

#[tokio::test]
async fn t16_a_pasted_term_finds_nothing_on_couchdb_either() {
    let (proxy, _stub, documents) = couch_with_customers().await;
    let term = documents.lock().unwrap()["c-1"]["email_ix"].clone();
    documents.lock().unwrap().get_mut("c-2").unwrap()["email_ix"] = term;
    let answer = find(&proxy, SUPPORT, &json!({"selector": {"email": "mei@example.org"}})).await;
    assert_eq!(ids(&answer), ["c-1"]);
    assert_eq!(answer.json()["bookmark"], "nil");
}

#[tokio::test]
async fn a_view_whose_keys_are_terms_is_asked_by_values() {
    let (proxy, stub, documents) = couch_with_customers().await;
    let design =
        |map: &str| json!({"language": "javascript", "views": {"by-email": {"map": map, "reduce": "_count"}}}).to_string();
    let stored = proxy.ask("shop", "account", Method::PUT, "/customers/_design/people", design(BY_EMAIL)).await;
    assert!(stored.status.is_success(), "{}", stored.text());
    let view = "/customers/_design/people/_view/by-email";
    for (query, expected) in [
        ("key=%22MEI@example.org%22&include_docs=true", vec!["c-1"]),
        ("include_docs=true&reduce=false&keys=%5B%22yu@example.org%22,%22mei@example.org%22%5D", vec!["c-2", "c-1"]),
        ("key=%22nobody@example.org%22&include_docs=true&limit=5", vec![]),
    ] {
        let answer = get(&proxy, SUPPORT, &format!("{view}?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        let rows: Vec<String> =
            answer.json()["rows"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(rows, expected, "{query}: {}", answer.text());
        assert!(!answer.text().contains("ix1."), "{}", answer.text());
        assert!(!stub.seen().last().unwrap().target.contains("example"));
    }
    let one = get(&proxy, ACCOUNT, &format!("{view}?key=%22mei@example.org%22&include_docs=true")).await.json();
    assert_eq!(one["rows"][0]["doc"]["email"], "Mei@Example.org");
    let term = documents.lock().unwrap()["c-1"]["email_ix"].clone();
    documents.lock().unwrap().get_mut("c-2").unwrap()["email_ix"] = term;
    let answer = get(&proxy, SUPPORT, &format!("{view}?key=%22mei@example.org%22&include_docs=true")).await.json();
    assert_eq!(answer["rows"].as_array().unwrap().len(), 1, "T16: {answer}");
    for query in [
        "",
        "include_docs=true",
        "key=%22mei@example.org%22",
        "startkey=%22a%22&include_docs=true",
        "key=%22a@b.c%22&include_docs=true&descending=true",
        "key=%22a@b.c%22&include_docs=true&reduce=true",
        "key=7&include_docs=true",
        "key=nothing&include_docs=true",
        "keys=%5B%5D&include_docs=true",
        "key=%22+mei@example.org%22&include_docs=true",
    ] {
        let answer = get(&proxy, ACCOUNT, &format!("{view}?{query}")).await;
        assert_eq!(answer.outcome(), (400, "not-searchable".to_owned()), "{query}: {}", answer.text());
    }
    let posted = proxy.ask("shop", "account", Method::POST, view, r#"{"keys":["mei@example.org"]}"#).await;
    assert_eq!(posted.outcome(), (400, "not-searchable".to_owned()));
    assert_eq!(
        get(&proxy, ("mailer", "marketing"), &format!("{view}?key=%22mei@example.org%22&include_docs=true")).await.outcome(),
        (403, "search-refused".to_owned())
    );
    for map in [
        "function (doc) { emit(doc.tier, doc.email_ix); }",
        "function (doc) { emit(doc.email_ix, doc); }",
        "function (doc) { emit(doc.email_ix); emit(doc.tier); }",
        "function (doc) { emit(doc.email_ix); emit(doc.name_ix); }",
        "function (doc) { emit([doc.email_ix]); }",
        "function (doc) { emit(doc.email_ix + 'x'); }",
        "function (doc) { emit(doc.email_ix.length); }",
        "function (doc) { var x = doc.email_ix; emit(x); }",
        "function (doc) { emit(doc.phones_ix); }",
        "function (doc) { emit(doc['email_ix']); }",
        "function (doc) { var x = {if: function (v) { emit(v, v); }}; x.if(doc.email_ix); }",
        // Who has an address is for those to ask who may know.
        "function (doc) { if (doc.email_ix) { emit(doc._id, null); } }",
        "function (doc) { if (doc.email_ix) { emit(doc._id, doc); } }",
        "function (doc) { if (doc.name_ix) { emit(doc.email_ix, null); } }",
    ] {
        let stored = proxy.ask("shop", "account", Method::PUT, "/customers/_design/other", design(map)).await;
        assert_eq!(stored.outcome(), (403, "view-unsafe".to_owned()), "{map}");
    }
}

#[tokio::test]
async fn terms_leave_on_no_route() {
    let (proxy, _stub, documents) = couch_with_customers().await;
    assert!(documents.lock().unwrap()["c-1"].to_string().contains("ix1."), "the control");
    for who in [SUPPORT, ACCOUNT, ("mailer", "marketing"), ("shop", "registration")] {
        for (method, path, body) in [
            (Method::GET, "/customers/c-1", ""),
            (Method::GET, "/customers/_all_docs?include_docs=true", ""),
            (Method::GET, "/customers/_changes?include_docs=true", ""),
            (Method::POST, "/customers/_bulk_get", r#"{"docs":[{"id":"c-1"}]}"#),
            (Method::POST, "/customers/_find", r#"{"selector":{"tier":"gold"}}"#),
        ] {
            let answer = proxy.ask(who.0, who.1, method, path, body).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
            assert!(answer.text().contains("gold"), "{path}");
            assert!(
                !answer.text().contains("ix1.") && !answer.text().contains("_ix\"") && !answer.text().contains("_px\""),
                "{path}: {}",
                answer.text()
            );
        }
    }
}

/// Many documents with few distinct values in many spellings, many searches: on both dialects exactly the documents that have the value.
#[tokio::test]
async fn random_searches_find_exactly_what_a_model_finds() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let spelled = |value: usize, how: usize| match how {
        0 => format!("p{value}@example.org"),
        1 => format!("P{value}@Example.ORG"),
        2 => format!(" p{value}@example.org."),
        _ => format!("ｐ{value}@example.org"),
    };
    let embedded = rest("").more("[limits.caller]\nsearches_per_minute = 0\n").start().await;
    let (couch, _stub, documents) = couch_with_customers().await;
    documents.lock().unwrap().clear();
    let mut model: BTreeMap<String, (Option<usize>, usize)> = BTreeMap::new();
    for _ in 0..120 {
        let id = format!("d-{}", next(40));
        let (email, tier) = ((next(5) > 0).then(|| next(8)), next(3));
        let mut document = json!({"tier": format!("t{tier}")});
        if let Some(email) = email {
            document["email"] = json!(spelled(email, next(4)));
        }
        let put = couch.ask("shop", "account", Method::PUT, &format!("/customers/{id}"), document.to_string()).await;
        assert!(put.status.is_success(), "{}", put.text());
        document["id"] = json!(id);
        let put = embedded.ask("shop", "account", Method::PUT, &format!("/customers/{id}"), document.to_string()).await;
        assert!(put.status.is_success(), "{}", put.text());
        model.insert(id, (email, tier));
    }
    for _ in 0..80 {
        let (one, other, tier) = (next(10), next(10), next(4));
        let tiers = (tier < 3).then_some(tier);
        let expected: BTreeSet<String> = model
            .iter()
            .filter(|(_, (email, has))| {
                email.is_some_and(|email| email == one || email == other) && tiers.is_none_or(|tier| *has == tier)
            })
            .map(|(id, _)| id.clone())
            .collect();
        let values = [spelled(one, next(4)), spelled(other, next(4))];
        let mut selector = json!({"email": {"$in": values}});
        let mut query = values.iter().fold(String::from("limit=100"), |text, value| {
            let escaped = value.replace(' ', "%20").replace('ｐ', "%EF%BD%90");
            format!("{text}&email={escaped}")
        });
        if let Some(tier) = tiers {
            selector["tier"] = json!(format!("t{tier}"));
            write!(query, "&tier=t{tier}").unwrap();
        }
        let by_query: BTreeSet<String> =
            ids(&get(&embedded, SUPPORT, &format!("/customers?{query}")).await).into_iter().collect();
        let by_selector: BTreeSet<String> =
            ids(&find(&couch, SUPPORT, &json!({"selector": selector})).await).into_iter().collect();
        assert_eq!((&by_query, &by_selector), (&expected, &expected), "{query}");
    }
}
