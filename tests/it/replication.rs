//! Replication through the proxy: whole copies or none, checkpoints, lists of revisions, purging, attachments.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use sudare::audit::Filter;

use crate::support::{CLEAR, PERSON, Proxy, Setup, Stub, StubReply};

/// Sees nothing but envelopes, and may write them back.
const MIRROR: &str = r#"
[purpose.mirror]
callers = ["auditor"]
reveal  = { "*" = "sealed" }
writes  = ["name", "address", "phone", "id-card"]
delete  = true
"#;

/// A database that keeps what `_bulk_docs` brings, and gives it out in the ways replicators ask for.
async fn database() -> Stub {
    let kept: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
    Stub::start(move |seen| {
        let mut kept = kept.lock().unwrap();
        let path = seen.target.split('?').next().unwrap();
        let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        let reply = match (seen.method.as_str(), path) {
            ("POST", "/customers/_bulk_docs") => {
                for doc in body["docs"].as_array().unwrap() {
                    kept.insert(doc["_id"].as_str().unwrap().to_owned(), doc.clone());
                }
                json!([])
            }
            ("POST", "/customers/_bulk_get") => {
                let one = |asked: &Value| json!({"id": asked["id"], "docs": [{"ok": kept.get(asked["id"].as_str().unwrap())}]});
                json!({"results": body["docs"].as_array().unwrap().iter().map(one).collect::<Vec<_>>()})
            }
            ("GET", "/customers/c-1") if seen.target.contains("open_revs") => {
                json!([{"ok": kept.get("c-1")}, {"missing": "9-x"}])
            }
            _ => json!({"ok": true}),
        };
        StubReply::json(200, reply.to_string())
    })
    .await
}

async fn behind(stub: &Stub) -> Proxy {
    let mut setup = Setup::couchdb(stub.address);
    setup.policy += MIRROR;
    setup.start().await
}

/// The customer of most tests as a replicator sends it.
fn person() -> Value {
    let mut person: Value = serde_json::from_str(&PERSON.replace("\"id\":", "\"_id\":")).unwrap();
    person["_rev"] = json!("2-b");
    person["_revisions"] = json!({"start": 2, "ids": ["b", "a"]});
    person
}

fn pushed(docs: &[Value]) -> String {
    json!({"docs": docs, "new_edits": false}).to_string()
}

const PUSH: &str = "/customers/_bulk_docs";
const PULL: &str = "/customers/_bulk_get?revs=true&latest=true";
const LEAVES: &str = "/customers/c-1?open_revs=all&revs=true";

#[tokio::test]
async fn t26_only_those_who_see_documents_whole_may_copy_them() {
    let stub = database().await;
    let proxy = behind(&stub).await;
    let docs = r#"{"docs":[{"id":"c-1"}]}"#;
    for (caller, purpose) in [
        ("shop", "registration"),
        ("shipping", "delivery"),
        ("carrier", "delivery"),
        ("helpdesk", "support"),
        ("mailer", "marketing"),
        ("analyst", "statistics"),
    ] {
        for (method, path, body) in [
            (Method::POST, PUSH, pushed(&[person()])),
            (Method::POST, PUSH, pushed(&[json!({"_id": "c-9", "_rev": "1-a"})])),
            (Method::PUT, "/customers/c-1?new_edits=false", person().to_string()),
            (Method::POST, PULL, docs.to_owned()),
            (Method::GET, LEAVES, String::new()),
        ] {
            let answer = proxy.ask(caller, purpose, method, path, body).await;
            assert_eq!(answer.outcome(), (403, "view-not-whole".to_owned()), "{purpose} {path}");
        }
    }
    assert!(stub.seen().is_empty(), "nothing reached the database");
    // To see every member sealed is to see it whole, but to write it takes the right to.
    let answer = proxy.ask("auditor", "custody", Method::POST, PUSH, pushed(&[person()])).await;
    assert_eq!(answer.outcome(), (403, "not-writable".to_owned()));
    // What a partial view may read as ever it still may.
    for (method, path, body) in [
        (Method::POST, "/customers/_bulk_get", docs),
        (Method::GET, "/customers/_changes?style=all_docs&include_docs=true", ""),
        (Method::POST, "/customers/_revs_diff", r#"{"c-1":["1-a"]}"#),
    ] {
        assert_eq!(proxy.ask("mailer", "marketing", method, path, body).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn clear_copies_are_stored_sealed_and_come_back_clear() {
    let stub = database().await;
    let proxy = behind(&stub).await;
    let answer = proxy.ask("shop", "account", Method::POST, PUSH, pushed(&[person()])).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let stored: Value = serde_json::from_slice(&stub.seen()[0].body).unwrap();
    assert_eq!((&stored["new_edits"], &stored["docs"][0]["_rev"]), (&json!(false), &json!("2-b")));
    assert!(CLEAR.iter().all(|value| !stored.to_string().contains(value)), "{stored}");
    let answer = proxy.ask("shop", "account", Method::POST, PULL, r#"{"docs":[{"id":"c-1","rev":"2-b"}]}"#).await;
    assert_eq!(answer.json()["results"][0]["docs"][0]["ok"], person());
    let answer = proxy.ask_with("shop", "account", Method::GET, LEAVES, &[("accept", "multipart/mixed")], "").await.unwrap();
    assert_eq!(answer.json(), json!([{"ok": person()}, {"missing": "9-x"}]));
    assert_eq!(stub.seen().last().unwrap().headers["accept"], "application/json");
    let write = proxy.events(&Filter::default()).into_iter().find(|event| event.kind == "write").unwrap();
    assert_eq!(write.route.as_deref(), Some("POST /{db}/_bulk_docs"));
}

#[tokio::test]
async fn t1_sealed_copies_come_and_go_byte_for_byte_and_only_to_their_own_place() {
    let stub = database().await;
    let proxy = behind(&stub).await;
    proxy.ask("shop", "account", Method::POST, PUSH, pushed(&[person()])).await;
    let stored: Value = serde_json::from_slice(&stub.seen()[0].body).unwrap();
    let pull = async || {
        let answer = proxy.ask("auditor", "mirror", Method::POST, PULL, r#"{"docs":[{"id":"c-1"}]}"#).await;
        answer.json()["results"][0]["docs"][0]["ok"].clone()
    };
    let copy = pull().await;
    assert_eq!(copy, stored["docs"][0], "envelopes as they are stored");
    let mut changed = copy.clone();
    changed["tier"] = json!("silver");
    changed["_rev"] = json!("3-c");
    assert_eq!(proxy.ask("auditor", "mirror", Method::POST, PUSH, pushed(&[changed.clone()])).await.status, 200);
    assert_eq!(pull().await, changed);
    assert_eq!(pull().await["name"], copy["name"]);
    let mut elsewhere = changed.clone();
    elsewhere["_id"] = json!("c-2");
    let mut swapped = changed.clone();
    swapped["name"] = copy["address"].clone();
    for wrong in [elsewhere, swapped] {
        let answer = proxy.ask("auditor", "mirror", Method::POST, PUSH, pushed(&[wrong])).await;
        assert_eq!(answer.outcome(), (422, "foreign-envelope".to_owned()));
    }
    assert_eq!(proxy.ask("shop", "account", Method::GET, LEAVES, "").await.json()[0]["ok"]["name"], "Mei Tanaka");
}

#[tokio::test]
async fn a_copy_is_whole_or_refused_also_where_a_value_is_bad() {
    let stub =
        Stub::start(|_| StubReply::json(200, r#"{"results":[{"docs":[{"ok":{"_id":"c-1","name":"sdr1.x.qgbbhja7.AAAA"}}]}]}"#))
            .await;
    let collections = r#"
[collection.customers]
match = "customers"
on_bad_value = "withhold"
[collection.customers.field]
name = "$.name"
"#;
    let mut setup = Setup::couchdb(stub.address).collections(collections);
    setup.policy += MIRROR;
    let proxy = setup.start().await;
    let docs = r#"{"docs":[{"id":"c-1"}]}"#;
    let answer = proxy.ask("shop", "account", Method::POST, "/customers/_bulk_get", docs).await;
    assert_eq!((answer.status.as_u16(), answer.json()["results"][0]["docs"][0]["ok"].clone()), (200, json!({"_id": "c-1"})));
    let answer = proxy.ask("shop", "account", Method::POST, PULL, docs).await;
    assert_eq!(answer.outcome(), (403, "view-not-whole".to_owned()));
    assert!(proxy.events(&Filter::default()).iter().any(|event| event.kind == "alarm"));
}

#[tokio::test]
async fn t5_bodies_of_replicators_hold_nothing_else() {
    let stub = database().await;
    let proxy = behind(&stub).await;
    let of_an_app = r#"{"_id":"_local/W6Hc0.x_Q==","_rev":"0-3","session_id":"D8A25D1F-9C1B-4A55-8E0F","history":[{"last_seq":"23-g1AAAA_x","session_id":"D8A2"}],"replicator":"pouchdb","version":1,"last_seq":23}"#;
    let of_a_server = r#"{"_id":"_local/W6Hc0.x_Q==","session_id":"d8a25d1f9c1b4a558e0f","source_last_seq":"23-g1AAAA","replication_id_version":4,"history":[{"session_id":"d8a2","start_time":"Sun, 22 Nov 2026 19:02:47 GMT","end_time":"Sun, 22 Nov 2026 19:02:48 GMT","start_last_seq":0,"end_last_seq":"23-g1AAAA","recorded_seq":"23-g1AAAA","missing_checked":23,"missing_found":2,"docs_read":2,"docs_written":2,"doc_write_failures":0,"bulk_get_docs":2,"bulk_get_attempts":2}]}"#;
    let local = "/customers/_local/W6Hc0.x_Q%3D%3D";
    for body in [of_an_app, of_a_server] {
        let answer = proxy.ask("mailer", "marketing", Method::PUT, local, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(stub.seen().last().unwrap().body, body);
    }
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(proxy.ask("mailer", "marketing", method, local, "").await.status, 200);
    }
    let before = stub.seen().len();
    for body in [
        r#"{"name":"Mei Tanaka"}"#,
        r#"{"session_id":"Mei Tanaka"}"#,
        r#"{"session_id":{"name":"Mei"}}"#,
        r#"{"replicator":"Mei Tanaka"}"#,
        r#"{"last_seq":"Mei Tanaka"}"#,
        r#"{"last_seq":{"name":"Mei"}}"#,
        r#"{"history":[{"name":"Mei"}]}"#,
        r#"{"history":[{"start_time":"Mei Tanaka of Uchikanda 1-2-3 "}]}"#,
        r#"{"history":[["Mei"]]}"#,
        r#"{"history":"Mei"}"#,
        r#"{"version":"Mei"}"#,
        r#"{"_id":"c-1"}"#,
        r#"{"_id":"_local/other"}"#,
        r#"{"_attachments":{}}"#,
        r#"["Mei"]"#,
    ] {
        let answer = proxy.ask("shop", "account", Method::PUT, local, body).await;
        assert_eq!(answer.outcome(), (403, "route-refused".to_owned()), "{body}");
        assert!(!answer.text().contains("Mei"));
    }
    for path in ["/customers/_revs_diff", "/customers/_missing_revs", "/customers/_purge"] {
        for body in [
            r#"{"c-1":"1-a"}"#,
            r#"{"c-1":["Mei Tanaka"]}"#,
            r#"{"c-1":[{"name":"Mei"}]}"#,
            r#"{"c-1":{"name":"Mei"}}"#,
            r#"[{"c-1":["1-a"]}]"#,
        ] {
            let answer = proxy.ask("shop", "account", Method::POST, path, body).await;
            assert_eq!(answer.outcome(), (403, "route-refused".to_owned()), "{path} {body}");
        }
    }
    for body in [r#"{"doc_ids":[{"name":"Mei"}]}"#, r#"{"selector":{"name":"Mei"}}"#, r#"{"name":"Mei"}"#] {
        let answer = proxy.ask("shop", "account", Method::POST, "/customers/_changes?filter=_doc_ids", body).await;
        assert_eq!(answer.outcome(), (403, "route-refused".to_owned()), "{body}");
    }
    assert_eq!(stub.seen().len(), before, "nothing reached the database");
}

#[tokio::test]
async fn what_removes_takes_the_right_to_delete_and_is_on_record() {
    let stub = database().await;
    let proxy = behind(&stub).await;
    let tombstone = json!({"_id": "c-1", "_rev": "3-c", "_deleted": true});
    let purge = r#"{"c-1":["2-b"],"c-2":["1-a"]}"#;
    let writer = MIRROR.replace("mirror", "restock").replace("delete  = true", "");
    let file = proxy.folder.path().join("policy.toml");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + &writer).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    for (path, body) in [("/customers/_purge", purge.to_owned()), (PUSH, pushed(&[tombstone]))] {
        let answer = proxy.ask("auditor", "restock", Method::POST, path, body.clone()).await;
        assert_eq!(answer.outcome(), (403, "delete-refused".to_owned()), "{path}");
        assert_eq!(proxy.ask("auditor", "mirror", Method::POST, path, body).await.status, 200, "{path}");
    }
    let events = proxy.events(&Filter::default());
    let purged =
        events.iter().find(|event| event.route.as_deref() == Some("POST /{db}/_purge") && event.kind == "write").unwrap();
    assert_eq!(purged.subjects.len(), 2);
}

#[tokio::test]
async fn t40_attachments_pass_only_where_the_operator_lets_them() {
    let stub = database().await;
    let refusing = behind(&stub).await;
    let photo = "/customers/c-1/a%2Fphoto.txt";
    assert_eq!(refusing.ask("shop", "account", Method::GET, photo, "").await.outcome(), (403, "route-refused".to_owned()));

    let stub = Stub::start(|seen| StubReply {
        status: 200,
        headers: vec![("content-type", "text/plain".to_owned()), ("cache-control", "max-age=9".to_owned())],
        body: if seen.method == Method::GET { b"\xff\x00 as it is".to_vec() } else { b"{}".to_vec() },
    })
    .await;
    let collections = "[collection.customers]\nmatch = \"customers\"\nattachments = \"pass\"\n[collection.customers.field]\nname = \"$.name\"\n";
    let setup = Setup::couchdb(stub.address).collections(collections);
    let proxy = setup.start().await;
    let answer = proxy.ask("mailer", "marketing", Method::GET, photo, "").await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"\xff\x00 as it is"[..]));
    assert_eq!(
        (answer.headers["cache-control"].to_str().unwrap(), answer.headers.get_all("vary").iter().count()),
        ("no-store", 2)
    );
    let plain = [("content-type", "text/plain")];
    let put = async |caller, purpose| {
        let path = "/customers/c-1/photo.txt?rev=1-a";
        proxy.ask_with(caller, purpose, Method::PUT, path, &plain, "\u{1}Mei").await.unwrap()
    };
    assert_eq!(put("mailer", "marketing").await.outcome(), (403, "not-writable".to_owned()));
    assert_eq!(put("shop", "account").await.status, 200);
    let seen = stub.seen();
    assert_eq!(
        (seen.len(), &seen[1].body[..], seen[1].headers["content-type"].to_str().unwrap()),
        (2, &b"\x01Mei"[..], "text/plain")
    );
    assert!(seen.iter().all(|seen| !seen.headers.contains_key("sudare-credential")));
    let delete = proxy.ask("mailer", "marketing", Method::DELETE, "/customers/c-1/photo.txt?rev=1-a", "").await;
    assert_eq!(delete.outcome(), (403, "not-writable".to_owned()));
    let unknown = crate::support::send(proxy.address, Method::GET, photo, &[], "").await.unwrap();
    assert_eq!(unknown.outcome(), (401, "caller-unknown".to_owned()));
    let kinds: Vec<_> = proxy.events(&Filter::default()).iter().map(|event| (event.kind.clone(), event.subjects.len())).collect();
    for kind in ["reveal", "write"] {
        assert!(kinds.contains(&(kind.to_owned(), 1)), "{kinds:?}");
    }
    let inline = r#"{"_id":"c-1","name":"Mei","_attachments":{"a.txt":{"content_type":"text/plain","data":"TWVp"}}}"#;
    let answer = proxy.ask("shop", "account", Method::PUT, "/customers/c-1", inline).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let stored = String::from_utf8(stub.seen().last().unwrap().body.to_vec()).unwrap();
    assert!(stored.contains("TWVp") && !stored.contains("Mei"), "{stored}");
    let parts = [("content-type", "multipart/related; boundary=x")];
    let answer = proxy.ask_with("shop", "account", Method::PUT, "/customers/c-1", &parts, "--x--").await.unwrap();
    assert_eq!(answer.outcome(), (415, "not-json".to_owned()));
}
