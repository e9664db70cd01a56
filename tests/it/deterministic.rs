//! Values that are protected deterministically, end to end: what the database holds, who may move it, rotation, a changed configuration.

use std::fs;

use http::Method;
use serde_json::{Value, json};
use sudare::base::SystemClock;
use sudare::config;
use sudare::keys::{self, LineName};

use crate::support::{PERSON, Proxy, Setup};

const TWO: &str = r#"
[collection.customers]
match   = "/customers/{id}"
rows    = ["$", "$[*]"]
subject = "{id}"
[collection.customers.field]
name    = "$.name"
address = "$.address"
phone   = { at = "$.phone", protect = "deterministic" }
id-card = { at = "$.id_card", protect = "deterministic" }
[collection.suppliers]
match   = "/suppliers/{id}"
rows    = ["$", "$[*]"]
subject = "$.owner"
[collection.suppliers.field]
id-card = { at = "$.id_card", protect = "deterministic" }
"#;

async fn stored(proxy: &Proxy, path: &str) -> Value {
    proxy.database(Method::GET, path, "").await.json()
}

async fn create(proxy: &Proxy, path: &str, document: impl ToString) {
    let answer = proxy.ask("shop", "registration", Method::POST, path, document.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn put_raw(proxy: &Proxy, path: &str, document: &Value) {
    assert!(proxy.database(Method::PUT, path, document.to_string()).await.status.is_success());
}

async fn read(proxy: &Proxy, path: &str) -> Value {
    let answer = proxy.ask("shop", "account", Method::GET, path, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn kid(document: &Value, member: &str) -> String {
    document[member].as_str().unwrap().split('.').nth(2).unwrap().to_owned()
}

#[tokio::test]
async fn equal_values_are_stored_equal_in_one_field_of_one_collection() {
    let proxy = Setup::embedded().collections(TWO).start().await;
    create(&proxy, "/customers", PERSON).await;
    // The same values, spelled with escapes and decomposed, of another person.
    create(&proxy, "/customers", r#"{"id":"c-2","name":"Mei Tanaka","phone":"Zoe\u0308","id_card":"\u003123456789018"}"#).await;
    create(&proxy, "/customers", "{\"id\":\"c-3\",\"phone\":\"Zo\u{eb}\",\"id_card\":123456789018}").await;
    // Bound to nothing but its field: no subject is asked for.
    create(&proxy, "/suppliers", r#"{"id":"s-1","id_card":"123456789018"}"#).await;
    let [one, two, three] =
        [stored(&proxy, "/customers/c-1").await, stored(&proxy, "/customers/c-2").await, stored(&proxy, "/customers/c-3").await];
    assert!(one["id_card"].as_str().unwrap().starts_with("sdr1.d."), "{one}");
    assert_eq!(one["id_card"], two["id_card"]);
    assert_ne!(one["id_card"], three["id_card"], "a number is not the string of its digits");
    assert_eq!(two["phone"], three["phone"]);
    assert_ne!(one["id_card"], stored(&proxy, "/suppliers/s-1").await["id_card"], "another collection");
    assert_ne!(one["name"], two["name"], "sealed as ever");
    assert_eq!(read(&proxy, "/customers/c-2").await["phone"], "Zo\u{eb}", "revealed in canonical form");
    assert_eq!(read(&proxy, "/customers/c-3").await["id_card"], json!(123_456_789_018_u64));
    let masked = proxy.ask("shipping", "delivery", Method::GET, "/customers/c-2", "").await.json();
    assert_eq!(masked["id_card"], "••••9018");
    let sealed = proxy.ask("auditor", "custody", Method::GET, "/customers/c-2", "").await.json();
    assert_eq!(sealed["id_card"], two["id_card"]);
}

#[tokio::test]
async fn t09_what_has_no_canonical_text_is_refused() {
    let proxy = Setup::embedded().collections(TWO).start().await;
    for value in ["true", "[]", "{\"a\":1}", "1.5", "1e3", "9007199254740992"] {
        let body = format!(r#"{{"id":"c-1","id_card":{value}}}"#);
        let answer = proxy.ask("shop", "registration", Method::POST, "/customers", body).await;
        assert_eq!(answer.outcome(), (422, "not-canonical".to_owned()), "{value}: {}", answer.text());
        assert!(answer.text().contains("id-card") && !answer.text().contains(value), "{}", answer.text());
    }
    create(&proxy, "/customers", r#"{"id":"c-1","id_card":null}"#).await;
    assert_eq!(stored(&proxy, "/customers/c-1").await["id_card"], Value::Null);
}

#[tokio::test]
async fn t01_it_may_stand_in_any_document_of_its_field_and_nowhere_else() {
    let proxy = Setup::embedded().collections(TWO).start().await;
    create(&proxy, "/customers", PERSON).await;
    create(&proxy, "/customers", r#"{"id":"c-2","name":"Ben"}"#).await;
    create(&proxy, "/suppliers", r#"{"id":"s-1","id_card":"77"}"#).await;
    let mine = stored(&proxy, "/customers/c-1").await;
    let mut other = stored(&proxy, "/customers/c-2").await;
    other["id_card"] = mine["id_card"].clone();
    put_raw(&proxy, "/customers/c-2", &other).await;
    assert_eq!(read(&proxy, "/customers/c-2").await["id_card"], "123456789018");
    for (path, member) in [("/customers/c-2", "phone"), ("/customers/c-2", "name"), ("/suppliers/s-1", "id_card")] {
        let before = stored(&proxy, path).await;
        let mut swapped = before.clone();
        swapped[member] = mine["id_card"].clone();
        let written = proxy.ask("shop", "account", Method::PUT, path, swapped.to_string()).await;
        assert_eq!(written.outcome(), (422, "foreign-envelope".to_owned()), "{path} {member}");
        put_raw(&proxy, path, &swapped).await;
        let answer = proxy.ask("shop", "account", Method::GET, path, "").await;
        assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()), "{path} {member}");
        put_raw(&proxy, path, &before).await;
    }
}

#[tokio::test]
async fn t23_one_flipped_bit_anywhere_gives_one_error() {
    let proxy = Setup::embedded().collections(TWO).start().await;
    create(&proxy, "/customers", PERSON).await;
    let whole = stored(&proxy, "/customers/c-1").await;
    let envelope = whole["id_card"].as_str().unwrap().to_owned();
    let mut answers = std::collections::BTreeSet::new();
    for at in 0..envelope.len() {
        let mut bytes = envelope.clone().into_bytes();
        bytes[at] ^= if matches!(bytes[at] ^ 1, b'"' | b'\\') { 2 } else { 1 };
        let mut flipped = whole.clone();
        flipped["id_card"] = json!(String::from_utf8(bytes).unwrap());
        put_raw(&proxy, "/customers/c-1", &flipped).await;
        let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
        assert_eq!(answer.status, 500, "character {at}: {}", answer.text());
        answers.insert(answer.text());
    }
    assert_eq!(answers.len(), 1, "every way to fail looks the same: {answers:?}");
}

#[tokio::test]
async fn the_lookup_line_rotates_on_its_own_and_old_values_open() {
    let proxy = Setup::embedded().collections(TWO).start().await;
    create(&proxy, "/customers", PERSON).await;
    let before = stored(&proxy, "/customers/c-1").await;
    let settings = config::load(&proxy.file).unwrap();
    keys::rotate(&settings.keys, &LineName::Lookup, &SystemClock).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    create(&proxy, "/customers", PERSON.replace("c-1", "c-2")).await;
    let after = stored(&proxy, "/customers/c-2").await;
    assert_eq!(kid(&before, "name"), kid(&after, "name"), "the seal line did not rotate");
    assert_ne!(kid(&before, "id_card"), kid(&after, "id_card"));
    for id in ["c-1", "c-2"] {
        assert_eq!(read(&proxy, &format!("/customers/{id}")).await["id_card"], "123456789018", "{id}");
    }
}

/// Sealed → deterministic: both kinds open. Back again: what is bound to its field only is refused, unless values are being migrated.
#[tokio::test]
async fn the_protection_of_a_field_may_change() {
    let proxy = Setup::embedded().start().await;
    let reload = |from: &str, to: &str| {
        let text = fs::read_to_string(&proxy.file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&proxy.file, text.replace(from, to)).unwrap();
        proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    };
    create(&proxy, "/customers", PERSON).await;
    reload(r#"id-card = "$.id_card""#, r#"id-card = { at = "$.id_card", protect = "deterministic" }"#);
    assert_eq!(read(&proxy, "/customers/c-1").await["id_card"], "123456789018");
    create(&proxy, "/customers", PERSON.replace("c-1", "c-2")).await;
    let whole = read(&proxy, "/customers/c-1").await;
    let answer = proxy.ask("shop", "account", Method::PUT, "/customers/c-1", whole.to_string()).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let (one, two) = (stored(&proxy, "/customers/c-1").await, stored(&proxy, "/customers/c-2").await);
    assert_eq!(one["id_card"], two["id_card"], "saved anew, it is stored as configured");

    reload(r#"protect = "deterministic""#, r#"protect = "seal""#);
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()));
    reload("match   = \"/customers/{id}\"", "match   = \"/customers/{id}\"\nstrict = false");
    let whole = read(&proxy, "/customers/c-1").await;
    assert_eq!(whole["id_card"], "123456789018");
    proxy.ask("shop", "account", Method::PUT, "/customers/c-1", whole.to_string()).await;
    assert!(stored(&proxy, "/customers/c-1").await["id_card"].as_str().unwrap().starts_with("sdr1.x."));
}

#[tokio::test]
async fn it_is_counted_and_recorded_like_any_other_value() {
    let mut proxy = Setup::embedded().collections(TWO).start().await;
    create(&proxy, "/customers", PERSON).await;
    read(&proxy, "/customers/c-1").await;
    let metrics = proxy.running.as_ref().unwrap().metrics().encode();
    let counted =
        |what: &str| metrics.lines().any(|line| line.contains(what) && line.contains("id-card") && line.ends_with(" 1"));
    assert!(counted("protected") && counted("clear"), "{metrics}");
    proxy.stop().await;
    let audit = proxy.audit_text();
    assert!(audit.contains(r#""protected":{"name":1,"address":1,"phone":1,"id-card":1}"#), "{audit}");
    assert!(audit.contains(r#""shown":{"clear":{"name":1,"address":1,"phone":1,"id-card":1}}"#), "{audit}");
}
