//! Rows that differ by what is known of people, through a running proxy with its ledger: consent, minors, versions, combination, searches.

use std::fs;

use http::Method;
use serde_json::{Value, json};

use crate::facts::{admin, post};
use crate::support::{Proxy, Setup};

const RULES: &str = r#"
[fact]
guardian-consent = "a guardian agreed"
[age]
minor = { under = 18 }
[limit.minors]
when    = "minor"
unless  = "guardian-consent"
at_most = { "*" = "absent" }
[limit.combination]
when     = "linkable-with-identifying"
purposes = ["account"]
at_most  = { phone = "masked" }
"#;

/// Marketing asks first; statistics began with version 2; the phone is a device, which identifies in combination only.
async fn started() -> Proxy {
    started_with(Setup::embedded().deterministic()).await
}

async fn started_with(mut setup: Setup) -> Proxy {
    let policy = setup.policy.replace("version = 1 }", "version = 2, change = \"notice\" }");
    let policy = policy.replace("[purpose.marketing]\n", "[purpose.marketing]\nconsent = \"opt-in\"\nsearch  = [\"id-card\"]\n");
    let policy = policy.replace("[purpose.statistics]\n", "[purpose.statistics]\nsince   = 2\n");
    let policy = policy.replace("[purpose.registration]\n", "[purpose.registration]\nrequired = [\"name\"]\n");
    let phone = "phone   = { dpv = \"pd:TelephoneNumber\", nature = \"identifying\"";
    assert!(policy.contains(phone));
    setup.policy = policy.replace(phone, "phone   = { dpv = \"pd:TelephoneNumber\", nature = \"linkable\"") + RULES;
    let (folder, file) = setup.files();
    let text = fs::read_to_string(&file).unwrap();
    let table = "[caller.shop]\n";
    let records = format!("{table}records = [\"consent\", \"age\", \"notice\", \"guardian-consent\"]\n");
    fs::write(&file, text.replace(table, &records)).unwrap();
    Proxy::start(folder, file).await
}

async fn known(proxy: &Proxy, entry: Value) {
    let answer = post(admin(proxy), "shop", "/facts", &entry.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn read(proxy: &Proxy, (caller, purpose): (&str, &str), path: &str) -> Value {
    let answer = proxy.ask(caller, purpose, Method::GET, path, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn register(proxy: &Proxy, body: Value) -> (u16, String) {
    proxy.ask("shop", "registration", Method::POST, "/customers", body.to_string()).await.outcome()
}

const MAILER: (&str, &str) = ("mailer", "marketing");

#[tokio::test]
async fn consent_opens_a_row_and_its_withdrawal_closes_it() {
    let mut proxy = started().await;
    for id in ["person-one", "person-two"] {
        assert_eq!(register(&proxy, json!({"id": id, "name": "Mei Tanaka", "id_card": id})).await.0, 201);
    }
    assert_eq!(read(&proxy, MAILER, "/customers/person-one").await, json!({"id": "person-one"}));
    known(&proxy, json!({"subject": "person-one", "record": "consent", "purpose": "marketing"})).await;
    let list = read(&proxy, MAILER, "/customers").await;
    assert_eq!(list, json!([{"id": "person-one", "name": "M••• T•••"}, {"id": "person-two"}]));
    known(&proxy, json!({"subject": "person-one", "record": "withdrawal", "purpose": "marketing"})).await;
    assert_eq!(read(&proxy, MAILER, "/customers/person-one").await, json!({"id": "person-one"}));
    proxy.stop().await;
    // Which version they were stored and shown under is in the log.
    let log = fs::read_to_string(proxy.audit_dir().join("00000001.jsonl")).unwrap();
    let events: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (kept, other): (Vec<&Value>, Vec<&Value>) =
        events.iter().partition(|event| event["kind"] == "write" || event["kind"] == "reveal");
    assert!(kept.len() >= 3 && kept.iter().all(|event| event["policy"] == 2), "{log}");
    assert!(other.iter().all(|event| event.get("policy").is_none()), "{log}");
    // Long enough not to stand in a MAC by chance.
    assert!(!log.contains("person-one"));
}

#[tokio::test]
async fn minors_are_refused_without_their_guardian_and_not_shown_for_marketing() {
    let mut proxy = started().await;
    known(&proxy, json!({"subject": "m-1", "record": "age", "years": 12})).await;
    known(&proxy, json!({"subject": "m-1", "record": "consent", "purpose": "marketing"})).await;
    let (status, text) = register(&proxy, json!({"id": "m-1", "name": "Yu"})).await;
    assert_eq!((status, text.as_str()), (403, "not-writable"), "{text}");
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", r#"{"id":"m-1","name":"Yu"}"#).await;
    assert!(answer.text().contains("for this person limit minors applies"), "{}", answer.text());
    known(&proxy, json!({"subject": "m-1", "record": "fact", "fact": "guardian-consent"})).await;
    assert_eq!(register(&proxy, json!({"id": "m-1", "name": "Yu"})).await.0, 201);
    assert_ne!(read(&proxy, MAILER, "/customers/m-1").await, json!({"id": "m-1"}));
    proxy.stop().await;
}

#[tokio::test]
async fn a_purpose_of_a_later_version_sleeps_until_they_were_told() {
    let mut proxy = started().await;
    assert_eq!(register(&proxy, json!({"id": "c-1", "name": "Mei"})).await.0, 201);
    let analyst = ("analyst", "statistics");
    assert_eq!(read(&proxy, analyst, "/customers/c-1").await, json!({"id": "c-1"}));
    known(&proxy, json!({"subject": "c-1", "record": "notice", "version": 2})).await;
    assert!(read(&proxy, analyst, "/customers/c-1").await["name"].as_str().unwrap().starts_with("psn1_"));
    proxy.stop().await;
}

#[tokio::test]
async fn what_links_falls_beside_what_identifies_one_person() {
    let mut proxy = started().await;
    let people = [
        json!({"id": "a", "phone": "+81355501234"}),
        json!({"id": "b", "name": "Mei", "phone": "+81355501234"}),
        json!({"id": "c", "name": "Yu"}),
    ];
    for person in people {
        let answer = proxy.ask("shop", "account", Method::POST, "/customers", person.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let list = read(&proxy, ("shop", "account"), "/customers").await;
    assert_eq!((&list[0]["phone"], &list[1]["name"], &list[2]["name"]), (&json!("+81355501234"), &json!("Mei"), &json!("Yu")));
    assert!(list[1]["phone"].as_str().unwrap().contains('•'), "{list}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_new_document_without_what_is_required_is_refused() {
    let mut proxy = started().await;
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", r#"{"id":"c-1","name":null}"#).await;
    assert_eq!(answer.outcome(), (422, "category-required".to_owned()), "{}", answer.text());
    assert!(answer.text().contains("without name"), "{}", answer.text());
    proxy.stop().await;
}

#[tokio::test]
async fn a_delete_goes_by_whom_it_is_about() {
    let setup = Setup::embedded();
    let policy = setup.policy.replace("[purpose.account]\n", "[purpose.account]\nconsent = \"opt-in\"\n");
    let mut proxy = started_with(Setup { policy, ..setup }).await;
    assert_eq!(register(&proxy, json!({"id": "c-1", "name": "Mei"})).await.0, 201);
    let delete = async || proxy.ask("shop", "account", Method::DELETE, "/customers/c-1", "").await.outcome();
    assert_eq!(delete().await, (403, "delete-refused".to_owned()));
    known(&proxy, json!({"subject": "c-1", "record": "consent", "purpose": "account"})).await;
    assert!(delete().await.0 < 300);
    proxy.stop().await;
}
