//! Searches and views on couchdb, before a small database that really searches: what it is asked, what comes back, what is recorded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use sudare::audit;
use sudare::base::{RecordId, SystemClock};
use sudare::config;
use sudare::keys::{self, LineName};

use crate::support::{CLEAR, PERSON, Proxy, Seen, Setup, Stub, StubReply};

type Documents = Arc<Mutex<BTreeMap<String, Value>>>;

/// As Mango compares: top-level members, implicit equality, `$eq`, `$in`, `$exists`.
fn fits(document: &Value, selector: &Value) -> bool {
    selector.as_object().unwrap().iter().all(|(name, condition)| {
        let value = document.get(name);
        match condition.as_object() {
            None => value == Some(condition),
            Some(operators) => operators.iter().all(|(operator, operand)| match operator.as_str() {
                "$eq" => value == Some(operand),
                "$in" => value.is_some_and(|value| operand.as_array().unwrap().contains(value)),
                "$exists" => value.is_some() == *operand,
                other => panic!("the test's database does not know {other}"),
            }),
        }
    })
}

fn find(documents: &Documents, query: &Value) -> Value {
    let project = |document: &Value| match query["fields"].as_array() {
        None => document.clone(),
        Some(fields) => {
            let asked = |name: &String| fields.iter().any(|field| field == name);
            let members = document.as_object().unwrap().iter().filter(|(name, _)| asked(name));
            Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
        }
    };
    let documents = documents.lock().unwrap();
    let found = documents.values().filter(|document| !document["_id"].as_str().unwrap().starts_with('_'));
    let found: Vec<Value> = found.filter(|document| fits(document, &query["selector"])).map(project).collect();
    json!({"docs": found, "bookmark": "nil"})
}

/// `by-tier` has null as value, `whole` the document, `names` the stored name as key.
fn view(documents: &Documents, name: &str) -> Value {
    let documents = documents.lock().unwrap();
    let people = documents.values().filter(|document| !document["_id"].as_str().unwrap().starts_with('_'));
    let rows = people.map(|document| match name {
        "by-tier" => json!({"id": document["_id"], "key": document["tier"], "value": null}),
        "whole" => json!({"id": document["_id"], "key": document["tier"], "value": document}),
        _ => json!({"id": document["_id"], "key": document["name"], "value": null}),
    });
    json!({"total_rows": 2, "offset": 0, "rows": rows.collect::<Vec<_>>()})
}

fn answer(documents: &Documents, seen: &Seen) -> StubReply {
    let path = seen.target.split('?').next().unwrap();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').skip(1).collect();
    let body = || serde_json::from_slice::<Value>(&seen.body).unwrap();
    match (&seen.method, parts.as_slice()) {
        (&Method::POST, ["_find"]) => StubReply::json(200, find(documents, &body()).to_string()),
        (&Method::POST, ["_explain"]) => StubReply::json(200, json!({"selector": body()["selector"], "index": {}}).to_string()),
        (&Method::GET, ["_design", _, "_view", name]) => StubReply::json(200, view(documents, name).to_string()),
        (_, ["_index", ..]) => StubReply::json(200, r#"{"result":"created"}"#),
        (&Method::PUT, id) => {
            let id = id.join("/");
            let mut document = body();
            document["_id"] = json!(id);
            document["_rev"] = json!("1-a");
            documents.lock().unwrap().insert(id, document);
            StubReply::json(201, r#"{"ok":true,"rev":"1-a"}"#)
        }
        (&Method::GET, id) => match documents.lock().unwrap().get(&id.join("/")) {
            Some(document) => StubReply::json(200, document.to_string()),
            None => StubReply::json(404, r#"{"error":"not_found","reason":"missing"}"#),
        },
        _ => StubReply::json(200, r#"{"ok":true}"#),
    }
}

/// A proxy before that database, `id-card` deterministic, with two customers.
async fn with_customers(setup: impl FnOnce(Setup) -> Setup) -> (Proxy, Stub, Documents) {
    let documents = Documents::default();
    let stub = {
        let documents = Arc::clone(&documents);
        Stub::start(move |seen| answer(&documents, seen)).await
    };
    let proxy = setup(Setup::couchdb(stub.address).deterministic()).start().await;
    let person = PERSON.replace(r#""id":"c-1","#, "");
    for (id, card) in [("c-1", "123456789018"), ("c-2", "999")] {
        let body = person.replace("123456789018", card);
        let written = proxy.ask("shop", "registration", Method::PUT, &format!("/customers/{id}"), body).await;
        assert_eq!(written.status, 201, "{}", written.text());
    }
    (proxy, stub, documents)
}

async fn search(proxy: &Proxy, caller: &str, purpose: &str, body: &Value) -> crate::support::Answer {
    proxy.ask(caller, purpose, Method::POST, "/customers/_find", body.to_string()).await
}

#[tokio::test]
async fn a_search_for_a_clear_value_finds_who_has_it_and_the_database_never_sees_it() {
    let (mut proxy, stub, documents) = with_customers(|setup| setup).await;
    for selector in [
        json!({"id_card": "123456789018"}),
        json!({"id_card": {"$eq": "123456789018"}}),
        json!({"id_card": {"$in": ["123456789018", "nobody"]}}),
        json!({"id_card": "123456789018", "tier": "gold"}),
    ] {
        let found = search(&proxy, "shop", "account", &json!({"selector": selector})).await;
        assert_eq!(found.status, 200, "{}", found.text());
        let docs = found.json()["docs"].clone();
        assert_eq!(docs.as_array().unwrap().len(), 1, "{selector}: {docs}");
        assert_eq!((&docs[0]["_id"], &docs[0]["id_card"]), (&json!("c-1"), &json!("123456789018")));
        assert_eq!(docs[0]["name"], "Mei Tanaka");
    }
    let nobody = search(&proxy, "shop", "account", &json!({"selector": {"id_card": "000"}})).await;
    assert_eq!(nobody.json()["docs"], json!([]));
    let stored = documents.lock().unwrap()["c-1"]["id_card"].clone();
    let sent = stub.seen().into_iter().find(|seen| seen.target.ends_with("_find")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap()["selector"]["id_card"], stored);
    let explained =
        proxy.ask("shop", "account", Method::POST, "/customers/_explain", r#"{"selector":{"id_card":"123456789018"}}"#).await;
    assert_eq!(explained.json()["selector"]["id_card"], stored, "what the database was asked");
    for seen in stub.seen() {
        let body = String::from_utf8_lossy(&seen.body).into_owned() + &seen.target;
        assert!(CLEAR.iter().all(|value| !body.contains(value)), "{body}");
    }
    proxy.stop().await;
    assert!(CLEAR.iter().all(|value| !proxy.audit_text().contains(value)));
}

#[tokio::test]
async fn t34_a_projection_is_completed_for_the_proxy_and_trimmed_for_the_client() {
    let (mut proxy, stub, _) = with_customers(|setup| setup).await;
    let found = search(&proxy, "shop", "account", &json!({"selector": {"tier": "gold"}, "fields": ["name", "tier"]})).await;
    let expected = json!({"name": "Mei Tanaka", "tier": "gold"});
    assert_eq!(found.json()["docs"], json!([expected, expected]), "{}", found.text());
    let sent: Value = serde_json::from_slice(&stub.seen().last().unwrap().body).unwrap();
    assert_eq!(sent["fields"], json!(["name", "tier", "_id"]));
    // Of what is not protected nothing is added.
    let plain = search(&proxy, "shop", "account", &json!({"selector": {"tier": "gold"}, "fields": ["tier"]})).await;
    assert_eq!(plain.json()["docs"], json!([{"tier": "gold"}, {"tier": "gold"}]));
    let sent: Value = serde_json::from_slice(&stub.seen().last().unwrap().body).unwrap();
    assert_eq!(sent["fields"], json!(["tier"]));

    // To find somebody by a value is to see it: recorded, with whom it is about, though nothing protected is shown.
    let found = search(&proxy, "shop", "account", &json!({"selector": {"id_card": "123456789018"}, "fields": ["tier"]})).await;
    assert_eq!(found.json()["docs"], json!([{"tier": "gold"}]));
    proxy.stop().await;
    let about = |id: &str| audit::Filter { subject: Some(RecordId::from_text(id).unwrap()), ..Default::default() };
    let of = |id: &str| {
        let events = proxy.events(&about(id)).into_iter();
        events.filter(|event| event.kind == "reveal" && event.route.as_deref() == Some("POST /{db}/_find")).count()
    };
    assert_eq!((of("c-1"), of("c-2")), (2, 1), "both were listed with their names, one was searched");
}

#[tokio::test]
async fn equal_values_are_found_under_every_version_of_the_key() {
    let (proxy, stub, documents) = with_customers(|setup| setup).await;
    let settings = config::load(&proxy.file).unwrap();
    keys::rotate(&settings.keys, &LineName::Lookup, &SystemClock).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    let person = PERSON.replace(r#""id":"c-1","#, "");
    proxy.ask("shop", "registration", Method::PUT, "/customers/c-3", person).await;
    let (old, new) = {
        let documents = documents.lock().unwrap();
        (documents["c-1"]["id_card"].clone(), documents["c-3"]["id_card"].clone())
    };
    assert_ne!(old, new);
    for selector in [
        json!({"id_card": "123456789018"}),
        json!({"id_card": {"$eq": "123456789018"}}),
        json!({"id_card": {"$in": ["123456789018"]}}),
    ] {
        let found = search(&proxy, "shop", "account", &json!({"selector": selector})).await.json();
        let ids: Vec<&Value> = found["docs"].as_array().unwrap().iter().map(|document| &document["_id"]).collect();
        assert_eq!(ids, ["c-1", "c-3"], "{selector}");
        let sent: Value = serde_json::from_slice(&stub.seen().last().unwrap().body).unwrap();
        assert_eq!(sent["selector"], json!({"id_card": {"$in": [new, old]}}), "{selector}");
    }
}

#[tokio::test]
async fn who_does_not_see_a_value_cannot_search_by_it() {
    let (mut proxy, stub, _) = with_customers(|setup| setup).await;
    let before = stub.seen().len();
    let by_card = json!({"selector": {"id_card": "123456789018"}});
    for (caller, purpose) in [
        ("helpdesk", "support"),
        ("shipping", "delivery"),
        ("auditor", "custody"),
        ("analyst", "statistics"),
        ("shop", "registration"),
    ] {
        let refused = search(&proxy, caller, purpose, &by_card).await;
        assert_eq!(refused.outcome(), (403, "search-refused".to_owned()), "{purpose}: {}", refused.text());
        assert!(!refused.text().contains("123456789018"), "{}", refused.text());
    }
    let present = json!({"selector": {"id_card": {"$exists": true}}});
    assert_eq!(search(&proxy, "helpdesk", "support", &present).await.outcome(), (403, "search-refused".to_owned()));
    assert_eq!(stub.seen().len(), before, "nothing of it went on");
    assert_eq!(search(&proxy, "auditor", "custody", &present).await.json()["docs"].as_array().unwrap().len(), 2);
    // Looking for what is not protected is everybody's who has a purpose, each with its own view.
    let gold = search(&proxy, "helpdesk", "support", &json!({"selector": {"tier": "gold"}})).await.json();
    assert_eq!((&gold["docs"][0]["phone"], gold["docs"][0].get("id_card")), (&json!("••••1234"), None));
    proxy.stop().await;
    let refused =
        proxy.events(&audit::Filter::default()).into_iter().filter(|event| event.code.as_deref() == Some("search-refused"));
    assert_eq!(refused.count(), 6);
}

/// An index hands out documents in the order of the stored values, so that who may write a guess would see it beside its equals.
#[tokio::test]
async fn the_order_of_deterministic_values_is_for_those_who_see_them() {
    let (proxy, stub, _) = with_customers(|setup| setup).await;
    let before = stub.seen().len();
    let masked = json!({"selector": {"id_card": {"$exists": true}}, "fields": ["_id"]});
    for body in [masked.clone(), json!({"selector": {"$or": [{"id_card": {"$exists": true}}]}, "use_index": "cards"})] {
        let refused = search(&proxy, "shipping", "delivery", &body).await;
        assert_eq!(refused.outcome(), (403, "search-refused".to_owned()), "{}", refused.text());
    }
    assert_eq!(stub.seen().len(), before, "nothing of it went on");
    // Sealed otherwise, values have no order that says anything; and whoever sees the value or its envelope sees equality, too.
    for (caller, purpose, member) in
        [("analyst", "statistics", "name"), ("shop", "account", "id_card"), ("auditor", "custody", "id_card")]
    {
        let body = json!({"selector": {member: {"$exists": true}}});
        assert_eq!(search(&proxy, caller, purpose, &body).await.status, 200, "{purpose}");
    }
}

#[tokio::test]
async fn what_cannot_be_searched_is_refused_without_naming_it() {
    let (proxy, stub, _) = with_customers(|setup| setup).await;
    let before = stub.seen().len();
    for body in [
        json!({"selector": {"name": "Mei Tanaka"}}),
        json!({"selector": {"id_card": {"$gt": "123456789018"}}}),
        json!({"selector": {"id_card": {"$regex": "123456789018"}}}),
        json!({"selector": {"$not": {"id_card": "123456789018"}}}),
        json!({"selector": {"id_card": 1.5}}),
        json!({"selector": {"tier": "gold"}, "sort": ["name"]}),
        json!({"selector": {"tier": "gold"}, "fields": ["name.Mei Tanaka"]}),
        json!({"selector": {"$text": "Mei Tanaka"}}),
    ] {
        let refused = search(&proxy, "shop", "account", &body).await;
        assert_eq!(refused.outcome(), (400, "not-searchable".to_owned()), "{body}: {}", refused.text());
        assert_eq!(refused.json()["error"], "bad_request");
        assert!(CLEAR.iter().all(|value| !refused.text().contains(value)), "{}", refused.text());
    }
    let twice = r#"{"selector":{"tier":"gold"},"selector":{"name":"Mei Tanaka"}}"#;
    let refused = proxy.ask("shop", "account", Method::POST, "/customers/_find", twice).await;
    assert_eq!(refused.outcome(), (400, "malformed-json".to_owned()));
    for body in ["", r#"{"docs":[{"_id":"c-9","name":"Mei Tanaka"}]}"#] {
        let refused = proxy.ask("shop", "account", Method::POST, "/customers/_find", body).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
    }
    let index = r#"{"index":{"fields":["name"]}}"#;
    let refused = proxy.ask("shop", "account", Method::POST, "/customers/_index", index).await;
    assert_eq!(refused.outcome(), (400, "not-searchable".to_owned()));
    assert_eq!(stub.seen().len(), before, "nothing of it went on");
}

#[tokio::test]
async fn indexes_are_made_listed_and_dropped() {
    let (mut proxy, stub, _) = with_customers(|setup| setup).await;
    let index = r#"{"index":{"fields":["tier","id_card"]},"name":"cards","type":"json"}"#;
    assert_eq!(proxy.ask("shop", "registration", Method::POST, "/customers/_index", index).await.status, 200);
    assert_eq!(stub.seen().last().unwrap().body, index);
    assert_eq!(proxy.ask("shop", "registration", Method::GET, "/customers/_index", "").await.status, 200);
    let path = "/customers/_index/_design%2Fx/json/cards";
    let refused = proxy.ask("shop", "registration", Method::DELETE, path, "").await;
    assert_eq!(refused.outcome(), (403, "delete-refused".to_owned()));
    assert_eq!(proxy.ask("shop", "account", Method::DELETE, path, "").await.status, 200);
    proxy.stop().await;
    let writes = proxy.events(&audit::Filter::default()).into_iter().filter(|event| event.kind == "write");
    let routes: Vec<String> = writes.filter_map(|event| event.route.clone()).filter(|route| route.contains("_index")).collect();
    assert_eq!(routes, ["POST /{db}/_index", "DELETE /{db}/_index/{ddoc}/json/{name}"]);
}

const PLAIN: &str = "function (doc) { emit(doc.tier, null) }";
const WHOLE: &str = "function (doc) { emit(doc.tier, doc) }";
const NAMES: &str = "function (doc) { emit(doc['na' + 'me'], null) }";

fn design(views: &[(&str, &str)]) -> String {
    let views: serde_json::Map<String, Value> =
        views.iter().map(|(name, map)| ((*name).to_owned(), json!({"map": map}))).collect();
    json!({"language": "javascript", "views": views}).to_string()
}

#[tokio::test]
async fn t40_views_show_documents_by_the_callers_purpose_and_sealed_keys_to_nobody() {
    let (mut proxy, stub, _) = with_customers(|setup| setup).await;
    let put = async |proxy: &Proxy, id: &str, views: &[(&str, &str)]| {
        proxy.ask("shop", "account", Method::PUT, &format!("/customers/_design/{id}"), design(views)).await
    };
    assert_eq!(put(&proxy, "good", &[("by-tier", PLAIN), ("whole", WHOLE)]).await.status, 201);
    let refused = put(&proxy, "bad", &[("names", NAMES)]).await;
    assert_eq!(refused.outcome(), (403, "view-unsafe".to_owned()), "{}", refused.text());

    let get = async |proxy: &Proxy, caller: &str, purpose: &str, path: &str| {
        proxy.ask(caller, purpose, Method::GET, &format!("/customers/_design/{path}"), "").await
    };
    let plain = get(&proxy, "helpdesk", "support", "good/_view/by-tier").await;
    assert_eq!(plain.json()["rows"][0], json!({"id": "c-1", "key": "gold", "value": null}));
    let whole = get(&proxy, "helpdesk", "support", "good/_view/whole").await.json();
    assert_eq!(
        (&whole["rows"][0]["value"]["name"], &whole["rows"][0]["value"]["phone"]),
        (&json!("Mei Tanaka"), &json!("••••1234"))
    );
    assert!(whole["rows"][0]["value"].get("id_card").is_none() && !whole.to_string().contains("sdr1."), "{whole}");

    // One that somebody wrote to the database directly: read, judged, never asked.
    proxy.database(Method::PUT, "/customers/_design/bad", design(&[("names", NAMES), ("by-tier", PLAIN)])).await;
    for caller in [("helpdesk", "support"), ("shop", "account")] {
        let refused = get(&proxy, caller.0, caller.1, "bad/_view/names?key=%22x%22").await;
        assert_eq!(refused.outcome(), (403, "view-unsafe".to_owned()), "{}", refused.text());
    }
    assert!(!stub.seen().iter().any(|seen| seen.target.contains("_view/names")), "it was not asked");
    assert_eq!(get(&proxy, "helpdesk", "support", "bad/_view/by-tier").await.status, 200, "each view for itself");
    assert_eq!(get(&proxy, "helpdesk", "support", "none/_view/names").await.status, 200, "the database says what is not there");
    let asked =
        stub.seen().into_iter().filter(|seen| seen.method == Method::GET && seen.target == "/customers/_design/good").count();
    assert_eq!(asked, 2, "once before each view of it");

    let read = get(&proxy, "helpdesk", "support", "good").await;
    assert_eq!(read.json()["views"]["by-tier"]["map"], PLAIN);
    let gone = proxy.ask("helpdesk", "support", Method::DELETE, "/customers/_design/good?rev=1-a", "").await;
    assert_eq!(gone.outcome(), (403, "delete-refused".to_owned()));
    proxy.stop().await;
    let events = proxy.events(&audit::Filter { subject: Some(RecordId::from_text("c-1").unwrap()), ..Default::default() });
    let views = events.iter().filter(|event| event.route.as_deref() == Some("GET /{db}/_design/{ddoc}/_view/{view}")).count();
    assert_eq!(views, 1, "the one that showed documents");
    let designs = proxy.events(&audit::Filter::default());
    assert!(designs.iter().any(|event| event.kind == "write" && event.route.as_deref() == Some("PUT /{db}/_design/{ddoc}")));
}

#[tokio::test]
async fn t7_a_design_document_that_says_two_things_is_not_asked() {
    let two = r#"{"views":{"v":{"map":"function (doc) { emit(doc.name) }"}},"views":{"v":{"map":"function (doc) { emit(doc.tier) }"}}}"#;
    let stub = Stub::start(move |seen| StubReply::json(200, if seen.target.contains("_view") { "{}" } else { two })).await;
    let proxy = Setup::couchdb(stub.address).start().await;
    let refused = proxy.ask("shop", "account", Method::GET, "/customers/_design/d/_view/v", "").await;
    assert_eq!(refused.outcome(), (502, "reply-unreadable".to_owned()), "{}", refused.text());
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn reviewed_views_are_trusted_but_their_documents_are_still_revealed_by_purpose() {
    let reviewed = |setup: Setup| {
        let collections = setup.collections.replace("match   = \"customers\"", "match   = \"customers\"\nviews   = \"reviewed\"");
        setup.collections(&collections)
    };
    let (proxy, stub, _) = with_customers(reviewed).await;
    let body = design(&[("names", NAMES), ("whole", WHOLE)]);
    assert_eq!(proxy.ask("shop", "account", Method::PUT, "/customers/_design/d", body).await.status, 201);
    let names = proxy.ask("helpdesk", "support", Method::GET, "/customers/_design/d/_view/names", "").await;
    assert!(names.json()["rows"][0]["key"].as_str().unwrap().starts_with("sdr1."), "as reviewed: {}", names.text());
    let whole = proxy.ask("helpdesk", "support", Method::GET, "/customers/_design/d/_view/whole", "").await.json();
    assert_eq!(whole["rows"][0]["value"]["name"], "Mei Tanaka");
    assert!(!stub.seen().iter().any(|seen| seen.method == Method::GET && seen.target.ends_with("_design/d")), "not read first");
    let lists = r#"{"lists":{"l":"function () {}"}}"#;
    let refused = proxy.ask("shop", "account", Method::PUT, "/customers/_design/d", lists).await;
    assert_eq!(refused.outcome(), (403, "view-unsafe".to_owned()));
}

/// A validate function that throws would keep everybody from writing: what acts on others' documents is for who may write some.
#[tokio::test]
async fn design_documents_and_indexes_are_for_who_may_write_something() {
    let stub = Stub::start(|_| StubReply::json(201, r#"{"ok":true}"#)).await;
    let proxy = Setup::couchdb(stub.address).start().await;
    let design = r#"{"language":"javascript","validate_doc_update":"function (doc) { throw({forbidden: 'x'}) }"}"#;
    let bulk = format!(r#"{{"docs":[{}]}}"#, design.replacen('{', r#"{"_id":"_design/x","#, 1));
    let index = r#"{"index":{"fields":["tier"]}}"#;
    for (method, path, body) in [
        (Method::PUT, "/customers/_design/x", design),
        (Method::POST, "/customers/_bulk_docs", bulk.as_str()),
        (Method::POST, "/customers/_index", index),
    ] {
        let ask = async |caller: &str, purpose: &str| proxy.ask(caller, purpose, method.clone(), path, body.to_owned()).await;
        assert_eq!(ask("shipping", "delivery").await.outcome(), (403, "not-writable".to_owned()), "{method} {path}");
        assert_eq!(ask("shop", "registration").await.status, 201, "{method} {path}");
    }
    assert_eq!(stub.seen().len(), 3);
}
