//! PATCH on `rest`: what a merge patch (RFC 7396) and a JSON Patch (RFC 6902) may do, and what the database then gets.

use http::Method;
use serde_json::{Value, json};

use crate::support::{CLEAR, Proxy, Setup, Stub, StubReply};

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
