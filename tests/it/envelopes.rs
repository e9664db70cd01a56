//! What whoever holds the database may try with the envelopes in it: `value-not-authentic` and an alarm, never a value.

use http::Method;
use serde_json::{Value, json};

use crate::support::{CLEAR, PERSON, Proxy, Setup, Stub, StubReply};

const TWO: &str = r#"
[collection.customers]
match   = "/customers/{id}"
rows    = ["$", "$[*]"]
subject = "{id}"
[collection.customers.field]
name    = "$.name"
address = "$.address"
phone   = "$.phone"
id-card = "$.id_card"
[collection.suppliers]
match   = "/suppliers/{id}"
rows    = ["$", "$[*]"]
subject = "{id}"
[collection.suppliers.field]
name    = "$.name"
address = "$.address"
[collection.guests]
match   = "/guests/{id}"
rows    = ["$", "$[*]"]
subject = "$.host"
bind    = "subject"
[collection.guests.field]
name    = "$.name"
"#;

async fn stored(proxy: &Proxy, path: &str) -> Value {
    proxy.database(Method::GET, path, "").await.json()
}

async fn put_raw(proxy: &Proxy, path: &str, document: &Value) {
    let answer = proxy.database(Method::PUT, path, document.to_string()).await;
    assert!(answer.status.is_success(), "{}", answer.text());
}

/// Reads as shipping and asserts that nothing is shown and an alarm is on record.
async fn not_authentic(proxy: &Proxy, path: &str, what: &str) {
    let alarms = |proxy: &Proxy| proxy.audit_text().matches("value-not-authentic").count();
    let before = alarms(proxy);
    let answer = proxy.ask("shipping", "delivery", Method::GET, path, "").await;
    assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()), "{what}: {}", answer.text());
    assert!(CLEAR.iter().all(|value| !answer.text().contains(value)), "{what}");
    assert!(!answer.text().contains("sdr1."), "{what}: no envelope in an error either");
    assert!(alarms(proxy) > before, "{what}: an alarm is recorded before the answer leaves");
}

#[tokio::test]
async fn t1_an_envelope_opens_in_its_own_place_only() {
    let proxy = Setup::embedded().collections(TWO).start().await;
    for (path, person) in [
        ("/customers", PERSON.to_owned()),
        ("/customers", PERSON.replace("c-1", "c-2")),
        ("/suppliers", r#"{"id":"c-1","name":"Mei Tanaka","address":"Kanda"}"#.to_owned()),
        ("/guests", r#"{"id":"g-1","host":"c-1","name":"Aya"}"#.to_owned()),
        ("/guests", r#"{"id":"g-2","host":"c-2","name":"Ben"}"#.to_owned()),
        ("/guests", r#"{"id":"g-3","host":"c-1","name":"Cho"}"#.to_owned()),
    ] {
        let answer = proxy.ask("shop", "registration", Method::POST, path, person).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let (mine, other) = (stored(&proxy, "/customers/c-1").await, stored(&proxy, "/customers/c-2").await);
    let supplier = stored(&proxy, "/suppliers/c-1").await;
    for (what, name) in [("field", &mine["phone"]), ("document and subject", &other["name"]), ("collection", &supplier["name"])] {
        let mut swapped = mine.clone();
        swapped["name"] = name.clone();
        put_raw(&proxy, "/customers/c-1", &swapped).await;
        not_authentic(&proxy, "/customers/c-1", what).await;
    }
    put_raw(&proxy, "/customers/c-1", &mine).await;
    assert_eq!(proxy.ask("shipping", "delivery", Method::GET, "/customers/c-1", "").await.json()["name"], "Mei Tanaka");

    // Bound to the subject: another document of the same person opens, one of another person does not.
    let (aya, ben, cho) =
        (stored(&proxy, "/guests/g-1").await, stored(&proxy, "/guests/g-2").await, stored(&proxy, "/guests/g-3").await);
    let mut moved = aya.clone();
    moved["name"] = cho["name"].clone();
    put_raw(&proxy, "/guests/g-1", &moved).await;
    assert_eq!(proxy.ask("shipping", "delivery", Method::GET, "/guests/g-1", "").await.json()["name"], "Cho");
    moved["name"] = ben["name"].clone();
    put_raw(&proxy, "/guests/g-1", &moved).await;
    not_authentic(&proxy, "/guests/g-1", "subject").await;
    let mut renamed = aya.clone();
    renamed["host"] = json!("c-2");
    put_raw(&proxy, "/guests/g-1", &renamed).await;
    not_authentic(&proxy, "/guests/g-1", "the binding member changed").await;
}

#[tokio::test]
async fn t1_another_controllers_ring_and_files_open_nothing() {
    let proxy = Setup::embedded().start().await;
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    let foreign = stored(&proxy, "/customers/c-1").await;
    let other = Setup::embedded().start().await;
    other.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    put_raw(&other, "/customers/c-1", &foreign).await;
    not_authentic(&other, "/customers/c-1", "a key that is not in this ring").await;
}

#[tokio::test]
async fn t23_one_flipped_bit_anywhere_gives_one_error() {
    let proxy = Setup::embedded().start().await;
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    let whole = stored(&proxy, "/customers/c-1").await;
    let envelope = whole["name"].as_str().unwrap().to_owned();
    let mut answers = std::collections::BTreeSet::new();
    for at in 0..envelope.len() {
        let mut bytes = envelope.clone().into_bytes();
        // Flip one bit of the character, and keep it a character of JSON text.
        bytes[at] ^= if matches!(bytes[at] ^ 1, b'"' | b'\\') { 2 } else { 1 };
        let mut flipped = whole.clone();
        flipped["name"] = json!(String::from_utf8(bytes).unwrap());
        put_raw(&proxy, "/customers/c-1", &flipped).await;
        let answer = proxy.ask("shipping", "delivery", Method::GET, "/customers/c-1", "").await;
        assert_eq!(answer.status, 500, "character {at}: {}", answer.text());
        answers.insert(answer.text());
    }
    assert_eq!(answers.len(), 1, "every way to fail looks the same: {answers:?}");
}

#[tokio::test]
async fn t4_clear_text_where_an_envelope_belongs_is_refused() {
    let proxy = Setup::embedded().start().await;
    let planted = json!({"id": "c-9", "name": "Planted", "tier": "gold"});
    let answer = proxy.database(Method::POST, "/customers", planted.to_string()).await;
    assert_eq!(answer.status, 201);
    let answer = proxy.ask("shipping", "delivery", Method::GET, "/customers/c-9", "").await;
    assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()));
    assert!(!answer.text().contains("Planted"));
    // At level sealed too: it would be shown as it stands.
    let answer = proxy.ask("auditor", "custody", Method::GET, "/customers/c-9", "").await;
    assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()));
    // A purpose that does not list the category is not hindered.
    let answer = proxy.ask("shop", "registration", Method::GET, "/customers/c-9", "").await;
    assert_eq!((answer.status.as_u16(), answer.json().get("name")), (200, None));

    let lenient = Setup::embedded().collections(&include_str!("support/lenient.toml").replace("STRICT", "false")).start().await;
    lenient.database(Method::POST, "/customers", planted.to_string()).await;
    let answer = lenient.ask("shipping", "delivery", Method::GET, "/customers/c-9", "").await;
    assert_eq!(answer.json()["name"], "Planted", "while migrating");
    let answer = lenient.ask("mailer", "marketing", Method::GET, "/customers/c-9", "").await;
    assert_eq!(answer.json()["name"], "P•••", "the level applies to it all the same");
    let audit = lenient.audit_text();
    assert_eq!(audit.matches("clear-value-found").count(), 2, "each reveal that met it names it");
    assert!(!audit.contains("\"kind\":\"alarm\""), "while migrating it is what is expected: {audit}");
    let metrics = lenient.running.as_ref().unwrap().metrics().encode();
    assert!(
        metrics.lines().any(|line| line.contains("clear") && line.contains("customers") && !line.ends_with(" 0")),
        "{metrics}"
    );
}

#[tokio::test]
async fn t2_and_t3_what_looks_encrypted_is_opened_in_its_place_or_refused() {
    let proxy = Setup::embedded().start().await;
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    let envelope = stored(&proxy, "/customers/c-1").await["name"].as_str().unwrap().to_owned();
    for (what, name) in [
        ("a look-alike", "sdr1.x.00000000.AAAA".to_owned()),
        ("a prefix and clear text", "sdr1.x.Mei Tanaka".to_owned()),
        ("an unknown suite", envelope.replace("sdr1.x.", "sdr1.q.")),
        ("an envelope of another row", envelope.clone()),
    ] {
        let body = json!({"id": "c-3", "name": name}).to_string();
        let answer = proxy.ask("shop", "registration", Method::POST, "/customers", body).await;
        assert_eq!(answer.outcome(), (422, "foreign-envelope".to_owned()), "{what}: {}", answer.text());
    }
    // At a path that is not configured, an envelope is a text like any other: never opened.
    let body = json!({"id": "c-4", "note": envelope}).to_string();
    assert_eq!(proxy.ask("shop", "registration", Method::POST, "/customers", body).await.status, 201);
    let answer = proxy.ask("shipping", "delivery", Method::GET, "/customers/c-4", "").await;
    assert_eq!(answer.json()["note"], envelope.as_str());
    // Nor on a route that is not protected.
    let answer =
        proxy.ask("shop", "registration", Method::POST, "/notes", json!({"id": "n", "name": envelope}).to_string()).await;
    assert_eq!(answer.status, 201);
    assert_eq!(proxy.ask("shipping", "delivery", Method::GET, "/notes/n", "").await.json()["name"], envelope.as_str());
    // In its own place it may be written back as it is.
    let mut whole = stored(&proxy, "/customers/c-1").await;
    whole["tier"] = json!("silver");
    let answer = proxy.ask("shop", "account", Method::PUT, "/customers/c-1", whole.to_string()).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    assert_eq!(stored(&proxy, "/customers/c-1").await["name"], envelope.as_str());
}

/// A limit that the documentation states (T39): nothing in a document tells the newest value of a place from an older one.
#[tokio::test]
async fn t39_an_old_value_replayed_into_its_own_place_is_not_detected() {
    let proxy = Setup::embedded().collections(TWO).start().await;
    let shown =
        async |proxy: &Proxy| proxy.ask("shipping", "delivery", Method::GET, "/customers/c-1", "").await.json()["name"].clone();
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    let old = stored(&proxy, "/customers/c-1").await;
    let newer = PERSON.replace("Mei Tanaka", "Mei Sato");
    assert_eq!(proxy.ask("shop", "account", Method::PUT, "/customers/c-1", newer).await.status, 200);
    assert_eq!(shown(&proxy).await, "Mei Sato");
    put_raw(&proxy, "/customers/c-1", &old).await;
    assert_eq!(shown(&proxy).await, "Mei Tanaka");
    let model = include_str!("../../docs/threat-model.md");
    assert!(model.contains("own place"), "the threat model says so");
}

/// What was stored before protection stays clear in old revisions (T37): once `strict` holds it is never served.
#[tokio::test]
async fn t37_an_old_revision_that_is_still_clear_is_refused() {
    let stub = Stub::start(|seen| {
        let name = if seen.target.contains("rev=1-a") { "Mei Tanaka" } else { "sdr1.x.absent" };
        StubReply::json(200, json!({"_id": "c-1", "_rev": "1-a", "name": name}).to_string())
    })
    .await;
    let proxy = Setup::couchdb(stub.address).start().await;
    not_authentic(&proxy, "/customers/c-1?rev=1-a", "an old revision").await;
}
