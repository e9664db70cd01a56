//! What a write may do; nothing slips by unprotected, nothing is erased unseen.

use http::Method;
use serde_json::{Value, json};

use crate::support::{PERSON, Proxy, Setup, Stub, StubReply, send};

async fn behind_stub() -> (Proxy, Stub) {
    let stub = Stub::start(|seen| match seen.method {
        Method::GET => StubReply::json(200, "[]"),
        _ => StubReply::json(201, "{}"),
    })
    .await;
    (Setup::rest(stub.address).start().await, stub)
}

async fn register(proxy: &Proxy, body: &str) -> (u16, String) {
    proxy.ask("shop", "registration", Method::POST, "/customers", body.to_owned()).await.outcome()
}

#[tokio::test]
async fn t8_every_byte_outside_protected_members_leaves_as_it_came() {
    let (proxy, stub) = behind_stub().await;
    let body = "{ \"id\":\"c-1\" ,\n\t\"n\": 1.0e+2, \"big\":12345678901234567890.10, \"name\"  :\"Mei\" , \"esc\":\"\\u00e9\\/\", \"tier\":\"gold\" }\n";
    assert_eq!(register(&proxy, body).await.0, 201);
    let got = String::from_utf8(stub.seen()[0].body.to_vec()).unwrap();
    let (before, rest) = got.split_once("\"sdr1.x.").unwrap();
    let (_, after) = rest.split_once('"').unwrap();
    assert_eq!(before, "{ \"id\":\"c-1\" ,\n\t\"n\": 1.0e+2, \"big\":12345678901234567890.10, \"name\"  :");
    assert_eq!(after, " , \"esc\":\"\\u00e9\\/\", \"tier\":\"gold\" }\n");
}

#[tokio::test]
async fn t9_every_json_type_at_a_protected_path_is_protected() {
    let proxy = Setup::embedded().start().await;
    for (at, value) in [
        json!(17),
        json!(-1.5e300),
        json!(true),
        json!(false),
        json!({"first": "Mei", "last": ["Tanaka"]}),
        json!(["a", 1]),
        json!(""),
        json!({}),
        json!([]),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("t-{at}");
        assert_eq!(register(&proxy, &json!({"id": id, "name": value}).to_string()).await.0, 201, "{value}");
        let stored = proxy.database(Method::GET, &format!("/customers/{id}"), "").await.json();
        assert!(
            stored["name"].as_str().is_some_and(|text| text.starts_with("sdr1.x.")),
            "{value} is stored as {}",
            stored["name"]
        );
        let shown = proxy.ask("shipping", "delivery", Method::GET, &format!("/customers/{id}"), "").await.json();
        assert_eq!(shown["name"], value);
        let masked = proxy.ask("mailer", "marketing", Method::GET, &format!("/customers/{id}"), "").await.json();
        assert_ne!(masked["name"], value, "masked");
    }
    assert_eq!(register(&proxy, r#"{"id":"t-null","name":null}"#).await.0, 201);
    assert_eq!(proxy.database(Method::GET, "/customers/t-null", "").await.json()["name"], Value::Null, "null stays null");
}

#[tokio::test]
async fn t9_a_value_of_another_shape_on_the_way_is_refused() {
    let (proxy, stub) = behind_stub().await;
    drop(proxy);
    let collections = "[collection.customers]\nmatch = \"/customers/{id}\"\nrows = [\"$\"]\n[collection.customers.field]\nphone = \"$.phones[*]\"\nname = \"$.person.name\"\n";
    let proxy = Setup::rest(stub.address).collections(collections).start().await;
    for body in
        [r#"{"id":"c-1","phones":"+81355501234"}"#, r#"{"id":"c-1","phones":{"home":"+81"}}"#, r#"{"id":"c-1","person":["Mei"]}"#]
    {
        assert_eq!(register(&proxy, body).await, (422, "misfit".to_owned()), "{body}");
    }
    for body in [r#"["Mei"]"#, r#"[{"id":"c-1","name":"Mei"}]"#, r#""Mei""#, "17", "[]", "null"] {
        let outcome = register(&proxy, body).await;
        assert_eq!(outcome, (422, "no-document".to_owned()), "{body}: rows stand at $ only");
    }
    assert!(stub.seen().is_empty(), "nothing of it reached the database");
}

#[tokio::test]
async fn t7_bodies_that_two_parsers_read_differently_are_refused() {
    let (proxy, stub) = behind_stub().await;
    let deep = format!(r#"{{"id":"c-1","x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
    let bodies: Vec<Vec<u8>> = vec![
        br#"{"id":"c-1","name":"Mei","name":"Ken"}"#.to_vec(),
        br#"{"id":"c-1","name":"Mei","na\u006de":"Ken"}"#.to_vec(),
        br#"{"id":"c-1","tier":"a","tier":"b"}"#.to_vec(),
        br#"{"id":"c-1","meta":{"a":1,"\u0061":2}}"#.to_vec(),
        b"\xef\xbb\xbf{\"id\":\"c-1\"}".to_vec(),
        b"{\"id\":\"c-1\",\"name\":\"\xff\"}".to_vec(),
        br#"{"id":"c-1","name":"\ud800"}"#.to_vec(),
        br#"{"id":"c-1","x":1e999}"#.to_vec(),
        br#"{"id":"c-1","x":01}"#.to_vec(),
        br#"{"id":"c-1"} {}"#.to_vec(),
        br#"{"id":"c-1","x":NaN}"#.to_vec(),
        br#"{"id":"c-1",}"#.to_vec(),
        b"{\"id\":\"c-1\",\"x\":\"a\nb\"}".to_vec(),
        br#"{"id":"c-1"#.to_vec(),
        deep.into_bytes(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let answer = proxy.ask("shop", "registration", Method::POST, "/customers", body).await;
        assert_eq!(answer.outcome(), (400, "malformed-json".to_owned()), "{shown}: {}", answer.text());
        assert!(!answer.text().contains("Mei"), "an error holds no value: {}", answer.text());
    }
    assert!(stub.seen().is_empty());
    // Names differing in case are different names; nothing is folded.
    assert_eq!(register(&proxy, r#"{"id":"c-1","name":"Mei","Name":"public"}"#).await.0, 201);
}

#[tokio::test]
async fn t5_write_shapes_nobody_mapped_are_refused() {
    let (proxy, stub) = behind_stub().await;
    for (method, path) in [
        (Method::PATCH, "/customers/c-1"),
        (Method::POST, "/customers/c-1"),
        (Method::PUT, "/customers"),
        (Method::DELETE, "/customers"),
        (Method::POST, "/customers/c-1/notes"),
        (Method::PUT, "/customers/c-1/name"),
        (Method::from_bytes(b"MERGE").unwrap(), "/customers/c-1"),
        (Method::from_bytes(b"COPY").unwrap(), "/customers/c-1"),
        (Method::POST, "/Customers"),
        (Method::POST, "/customers/"),
    ] {
        let answer = proxy.ask("shop", "registration", method.clone(), path, PERSON).await;
        assert_eq!(answer.outcome(), (403, "route-refused".to_owned()), "{method} {path}: {}", answer.text());
    }
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn t6_nothing_in_band_turns_protection_off() {
    let (proxy, stub) = behind_stub().await;
    let refused: [&[(&str, &str)]; 8] = [
        &[("x-http-method-override", "PATCH")],
        &[("x-http-method", "DELETE")],
        &[("x-method-override", "GET")],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/merge-patch+json")],
        &[("content-encoding", "gzip")],
        &[("data-purpose", "delivery")],
    ];
    for headers in refused {
        let answer = proxy.ask_with("shop", "registration", Method::POST, "/customers", headers, PERSON).await.unwrap();
        assert!(matches!(answer.status.as_u16(), 400 | 403 | 415), "{headers:?}: {} {}", answer.status, answer.text());
    }
    assert!(stub.seen().is_empty());
    // Identity is never taken from headers that say who one is.
    let pretended =
        [("x-forwarded-user", "shop"), ("x-remote-user", "shop"), ("forwarded", "for=shop"), ("data-purpose", "registration")];
    let answer = send(proxy.address, Method::GET, "/customers/c-1", &pretended, "").await.unwrap();
    assert_eq!(answer.outcome(), (401, "caller-unknown".to_owned()));
}

#[tokio::test]
async fn t26_shown_forms_never_replace_the_real_value() {
    let proxy = Setup::embedded().start().await;
    assert_eq!(register(&proxy, PERSON).await.0, 201);
    let before = proxy.database(Method::GET, "/customers/c-1", "").await.text();
    let put = async |caller: &str, purpose: &str, body: &Value| {
        proxy.ask(caller, purpose, Method::PUT, "/customers/c-1", body.to_string()).await
    };

    // What each caller was shown, saved back: it stays (more in `roundtrips`).
    for (caller, purpose) in
        [("shipping", "delivery"), ("helpdesk", "support"), ("mailer", "marketing"), ("analyst", "statistics")]
    {
        let seen = proxy.ask(caller, purpose, Method::GET, "/customers/c-1", "").await.json();
        let answer = put(caller, purpose, &seen).await;
        assert!(answer.status.is_success(), "{caller}: {}", answer.text());
        let after = proxy.database(Method::GET, "/customers/c-1", "").await.json();
        assert_eq!(after, serde_json::from_str::<Value>(&before).unwrap(), "{caller}");
    }
    let before = proxy.database(Method::GET, "/customers/c-1", "").await.text();
    // A purpose that may write everything, with a masked value or a pseudonym in its hands.
    for shown in ["••••1234", "psn1_0123456789abcdefghjkmnpqrr"] {
        let answer = put("shop", "account", &json!({"id": "c-1", "name": "Mei", "phone": shown})).await;
        assert_eq!(answer.outcome(), (422, "masked-value".to_owned()), "{shown}");
    }
    // Forms that belong to no value stored here.
    for (field, form) in [("phone", "••••9999"), ("name", "Ken Sato"), ("id_card", "••••9018")] {
        let answer = put("helpdesk", "support", &json!({"id": "c-1", field: form})).await;
        assert_eq!(answer.outcome(), (403, "not-writable".to_owned()), "{field}");
    }
    assert_eq!(proxy.database(Method::GET, "/customers/c-1", "").await.text(), before, "nothing changed");

    let answer = proxy.ask("helpdesk", "support", Method::POST, "/customers", r#"{"id":"c-8","name":"New"}"#).await;
    assert_eq!(answer.outcome(), (403, "not-writable".to_owned()));
    // Whole, by one who sees and may write the whole: stored.
    let answer = put("shop", "account", &json!({"id": "c-1", "name": "Mei Sato", "tier": "gold"})).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    assert_eq!(proxy.ask("shipping", "delivery", Method::GET, "/customers/c-1", "").await.json()["name"], "Mei Sato");
}

#[tokio::test]
async fn deleting_needs_the_right_to_delete() {
    let proxy = Setup::embedded().start().await;
    register(&proxy, PERSON).await;
    let answer = proxy.ask("shipping", "delivery", Method::DELETE, "/customers/c-1", "").await;
    assert_eq!(answer.outcome(), (403, "delete-refused".to_owned()));
    let answer = proxy.ask("shop", "account", Method::DELETE, "/customers/c-1", "").await;
    assert!(answer.status.is_success(), "{}", answer.text());
    assert_eq!(proxy.database(Method::GET, "/customers/c-1", "").await.status, 404);
}

#[tokio::test]
async fn t27_a_malformed_tail_is_found_before_the_head_is_forwarded() {
    let (proxy, stub) = behind_stub().await;
    let body = format!(r#"{{"id":"c-1","name":"Mei","filler":"{}"}}]"#, "x".repeat(2_000_000));
    assert_eq!(register(&proxy, &body).await, (400, "malformed-json".to_owned()));
    assert!(stub.seen().is_empty(), "not one byte went upstream");
}

#[tokio::test]
async fn t36_ids_that_databases_rewrite_are_refused() {
    let (proxy, stub) = behind_stub().await;
    for id in ["1e2", "1.0", "9007199254740993", "true", "null", "[1]", "{}", "\"\""] {
        let (status, code) = register(&proxy, &format!(r#"{{"id":{id},"name":"Mei"}}"#)).await;
        assert!(status == 422 && (code == "id-malformed" || code == "subject-missing"), "{id}: {status} {code}");
    }
    assert_eq!(register(&proxy, r#"{"name":"Mei"}"#).await, (422, "subject-missing".to_owned()));
    assert!(stub.seen().is_empty());
    assert_eq!(register(&proxy, r#"{"id":17,"name":"Mei"}"#).await.0, 201, "an integer is an id");
    let answer = proxy.ask("shop", "account", Method::PUT, "/customers/c-2", r#"{"id":"c-1","name":"Mei"}"#).await;
    assert_eq!(answer.outcome(), (422, "id-mismatch".to_owned()));
}

#[tokio::test]
async fn t32_couchdb_routes_that_span_or_are_not_mapped_are_refused() {
    let stub = Stub::start(|_| StubReply::json(200, "{}")).await;
    let proxy = Setup::couchdb(stub.address).start().await;
    for (method, path) in [
        (Method::POST, "/_replicate"),
        (Method::PUT, "/_replicator/job"),
        (Method::POST, "/customers/_temp_view"),
        (Method::PATCH, "/customers/_changes"),
        (Method::GET, "/customers/_local_docs"),
        (Method::GET, "/customers/_design/d/_list/l/v"),
        (Method::PUT, "/customers/_design/d/_update/u"),
        (Method::PUT, "/customers/doc/attachment"),
        (Method::from_bytes(b"COPY").unwrap(), "/customers/c-1"),
        (Method::GET, "/customers/c-1?attachments=true"),
        (Method::GET, "/customers/_changes?filter=_selector"),
    ] {
        let answer = proxy.ask("shop", "account", method.clone(), path, if method == Method::GET { "" } else { "{}" }).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text());
        assert_eq!(answer.json()["error"], "forbidden", "the database's own error shape: {}", answer.text());
    }
    assert!(stub.seen().is_empty());
    // Another database is none of our business.
    assert_eq!(proxy.ask("shop", "account", Method::POST, "/orders/_find", r#"{"selector":{}}"#).await.status, 200);
}
