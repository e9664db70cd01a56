//! Five published policies, kept by a running proxy: the acceptance checks of the register of their clauses, end to end.
//!
//! Each policy is that of `examples/policies`, word for word; in front of it stand a file with the callers it names, on a Unix socket (which
//! nothing in clear passes), and an embedded database behind it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};
use sudare::app::{self, Running};
use sudare::base::SystemClock;
use sudare::config::{self, Endpoint};
use sudare::{crypto, keys};

use crate::support::{Answer, Proxy, send_on};

const POLICIES: [&str; 5] = ["000", "001", "002", "003", "004"];
/// Who may record whatever is known of people.
const PLATFORM: &str = "platform";

/// A shop that published a policy.
struct Shop {
    _folder: tempfile::TempDir,
    running: Running,
}

/// The files of a shop: its folder, and its sudare.toml.
fn files(name: &str, change: impl Fn(String) -> String) -> (tempfile::TempDir, PathBuf) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies").join(name);
    let folder = tempfile::tempdir().unwrap();
    let policy = change(fs::read_to_string(example.join("policy.toml")).unwrap());
    fs::write(folder.path().join("policy.toml"), policy).unwrap();
    let service = fs::read_to_string(example.join("sudare.toml")).unwrap();
    let callers = service.lines().filter_map(|line| line.strip_prefix("[caller.")?.strip_suffix(']'));
    let (_, fields) = service.split_once("[collection.customers.field]").unwrap();
    let mut text = format!(
        r#"controller = "shop-{name}"
policy = "policy.toml"
[listen]
address = "unix:proxy.sock"
admin = "127.0.0.1:0"
[upstream]
url = "embedded:data/documents.redb"
dialect = "rest"
[keys]
ring = "keys/ring.json"
kek = {{ provider = "file", path = "keys/kek" }}
[store]
url = "redb:data/sudare.redb"
[audit]
dir = "data/audit"
durable_timeout_ms = 10000
[collection.customers]
match   = "/customers/{{id}}"
rows    = ["$", "$[*]", "$.items[*]"]
subject = "{{id}}"
strict  = true
[collection.customers.field]{fields}
"#
    );
    let policy: toml::Table = fs::read_to_string(folder.path().join("policy.toml")).unwrap().parse().unwrap();
    let facts = policy.get("fact").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys).map(String::as_str);
    let recorded: Vec<String> = ["consent", "objection", "age", "notice", "acceptance"]
        .into_iter()
        .chain(facts)
        .map(|word| format!("\"{word}\""))
        .collect();
    for caller in callers.chain([PLATFORM]) {
        let credential = Proxy::credential(caller);
        let (_, secret) = credential.split_once('.').unwrap();
        let hash = data_encoding::HEXLOWER.encode(&crypto::sha256(secret.as_bytes()));
        writeln!(text, "[caller.{caller}]\ncredential_sha256 = \"{hash}\"").unwrap();
        if caller == PLATFORM {
            writeln!(text, "records = [{}]", recorded.join(", ")).unwrap();
        }
    }
    let file = folder.path().join("sudare.toml");
    fs::write(&file, text).unwrap();
    (folder, file)
}

impl Shop {
    async fn open(name: &str) -> Self {
        Self::open_with(name, |policy| policy).await
    }

    #[expect(clippy::unused_async, reason = "only to be called on a runtime")]
    async fn open_with(name: &str, change: impl Fn(String) -> String) -> Self {
        let (folder, file) = files(name, change);
        let settings = config::load(&file).unwrap_or_else(|findings| panic!("{name}: {findings}"));
        keys::init(&settings.keys, &settings.policy.pseudonym_scopes(), &SystemClock).unwrap();
        let running = app::start(config::load(&file).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { _folder: folder, running }
    }

    async fn ask(&self, caller: &str, purpose: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let Endpoint::Unix(socket) = self.running.address() else { panic!("a Unix socket expected") };
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        let credential = Proxy::credential(caller);
        let mut headers = vec![("sudare-credential", credential.as_str()), ("data-purpose", purpose)];
        if body.is_some() {
            headers.push(("content-type", "application/json"));
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        send_on(stream, method, path, &headers, body.into()).await.expect("a whole reply")
    }

    async fn read(&self, caller: &str, purpose: &str, id: &str) -> Value {
        let answer = self.ask(caller, purpose, Method::GET, &format!("/customers/{id}"), None).await;
        assert_eq!(answer.status, 200, "{caller} for {purpose}: {}", answer.text());
        answer.json()
    }

    async fn write(&self, caller: &str, purpose: &str, id: &str, mut document: Value) -> (u16, String) {
        document["id"] = id.into();
        self.ask(caller, purpose, Method::PUT, &format!("/customers/{id}"), Some(document)).await.outcome()
    }

    /// A caller changes what it sees of a document, and saves it.
    async fn add(&self, caller: &str, purpose: &str, id: &str, more: Value) -> (u16, String) {
        let mut document = self.read(caller, purpose, id).await;
        for (name, value) in more.as_object().unwrap() {
            document[name] = value.clone();
        }
        self.write(caller, purpose, id, document).await
    }

    /// Records what is known of somebody, as a consent platform does.
    async fn record(&self, facts: Value) {
        let Some(Endpoint::Tcp(admin)) = self.running.admin() else { panic!("TCP expected") };
        let credential = Proxy::credential(PLATFORM);
        let headers = [("sudare-credential", credential.as_str()), ("content-type", "application/json")];
        let stream = tokio::net::TcpStream::connect(admin).await.unwrap();
        let answer = send_on(stream, Method::POST, "/facts", &headers, facts.to_string().into()).await.unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

/// 1. What nobody was told of is done for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_purpose_that_was_not_published_is_refused() {
    for name in POLICIES {
        let shop = Shop::open(name).await;
        let policy = fs::read_to_string(format!("{}/examples/policies/{name}/sudare.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let callers: Vec<&str> = policy.lines().filter_map(|line| line.strip_prefix("[caller.")?.strip_suffix(']')).collect();
        assert!(callers.len() > 5, "{name}");
        for caller in callers {
            for purpose in ["resale", "dpv:SellDataToThirdParties", "dpv:AnyPurpose"] {
                let answer = shop.ask(caller, purpose, Method::GET, "/customers/c-1", None).await;
                assert_eq!(answer.outcome(), (403, "purpose-refused".to_owned()), "{name}: {caller} for {purpose}");
            }
        }
    }
}

/// The members of a document but for its id, sorted.
fn members(document: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = document.as_object().unwrap().keys().map(String::as_str).filter(|name| *name != "id").collect();
    names.sort_unstable();
    names
}

/// A person of the marketplace, of whom everything is known that its callers store.
async fn marketplace_person(shop: &Shop, id: &str) {
    shop.record(json!([
        { "subject": id, "record": "fact", "fact": "device-permission" },
        { "subject": id, "record": "fact", "fact": "open-shipment" },
        { "subject": id, "record": "fact", "fact": "open-ticket" },
        { "subject": id, "record": "age", "born": "1990-04-01" },
    ]))
    .await;
    let account = json!({ "account": format!("{id}-account"), "email": format!("{id}@example.com"), "phone": "+85255501234", "password": "hash" });
    assert_eq!(shop.write("account-service", "registration", id, account).await.0, 201);
    for (caller, purpose, patch) in [
        ("order-service", "order", json!({ "name": "Mei Tanaka", "address": "101-0047 Uchikanda", "order": "2 lamps" })),
        ("shipping", "delivery", json!({ "id_card": "123456789018" })),
        ("carrier", "shipment-status", json!({ "shipment": "at customs" })),
        ("payment-body", "payment-status", json!({ "payment": "4000123412341234" })),
        ("helpdesk", "support", json!({ "messages": "where is it?" })),
        (
            "app-gateway",
            "device-intake",
            json!({ "device": "d-77", "ip": "203.0.113.9", "queries": "lamps", "history": "/lamps" }),
        ),
        ("recommender", "personalisation", json!({ "tags": "home" })),
    ] {
        let stored = shop.add(caller, purpose, id, patch).await;
        assert!(matches!(stored.0, 200 | 204), "{purpose}: {stored:?}");
    }
}

/// 2. One row, four views; each has what its purpose lists, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn one_row_has_as_many_views_as_purposes() {
    let shop = Shop::open("003").await;
    marketplace_person(&shop, "c-1").await;
    let delivery = shop.read("shipping", "delivery", "c-1").await;
    let support = shop.read("helpdesk", "support", "c-1").await;
    let marketing = shop.read("recommender", "personalisation", "c-1").await;
    let statistics = shop.read("analyst", "analysis", "c-1").await;
    assert_eq!(members(&delivery), ["address", "id_card", "name", "phone", "shipment"]);
    assert_eq!(members(&support), ["email", "messages", "name", "order", "payment", "phone", "shipment"]);
    assert_eq!(members(&marketing), ["account", "device", "history", "queries", "tags"]);
    assert_eq!(members(&statistics), ["account", "address", "order"]);
    assert_eq!((&delivery["phone"], &delivery["id_card"]), (&json!("+85255501234"), &json!("••••9018")));
    assert_eq!((&support["phone"], &support["payment"]), (&json!("••••1234"), &json!("••••1234")));
    assert!(
        marketing["account"].as_str().unwrap().starts_with("psn1_") && statistics["order"].as_str().unwrap().starts_with("psn1_")
    );
    assert_eq!(marketing["tags"], "home");
    assert!(statistics["address"].as_str().unwrap().starts_with("101") && statistics["address"] != "101-0047 Uchikanda");
}

/// 3. Marketing sees nothing before the opt-in, and nothing after the withdrawal.
#[tokio::test(flavor = "multi_thread")]
async fn marketing_waits_for_consent_and_ends_with_it() {
    let shop = Shop::open("001").await;
    shop.record(json!({ "subject": "c-1", "record": "age", "born": "1990-04-01" })).await;
    let account =
        json!({ "name": "Mei Tanaka", "address": "Uchikanda", "email": "mei@example.com", "account": "mei", "password": "hash" });
    assert_eq!(shop.write("account-service", "registration", "c-1", account).await.0, 201);
    assert!(members(&shop.read("mailer", "marketing", "c-1").await).is_empty());
    shop.record(json!({ "subject": "c-1", "record": "acceptance", "version": 1 })).await;
    assert!(members(&shop.read("mailer", "marketing", "c-1").await).is_empty(), "to go on is no consent (C06)");
    shop.record(json!({ "subject": "c-1", "record": "consent", "purpose": "marketing" })).await;
    assert_eq!(
        shop.read("mailer", "marketing", "c-1").await,
        json!({ "id": "c-1", "name": "Mei Tanaka", "email": "mei@example.com" })
    );
    assert!(members(&shop.read("mailer", "newsletter", "c-1").await).is_empty(), "consent is to one purpose");
    shop.record(json!({ "subject": "c-1", "record": "withdrawal", "purpose": "marketing" })).await;
    assert!(members(&shop.read("mailer", "marketing", "c-1").await).is_empty());
}

/// 4. Where marketing is promised never to be, a policy with it does not load.
#[test]
fn what_is_never_done_cannot_be_loaded() {
    for (dpv, never) in [("dpv:DirectMarketing", "marketing"), ("dpv:ServiceUsageAnalytics", "analysis")] {
        let more = format!(
            "[purpose.more]\ndpv = \"{dpv}\"\nbasis = \"dpv:Consent\"\nconsent = \"opt-in\"\ncallers = [\"mailer\"]\nreveal = {{ email = \"clear\" }}\nwrites = []\n"
        );
        let (_folder, file) =
            files("004", |policy| policy.replacen("[purpose.delivery]", &format!("{more}\n[purpose.delivery]"), 1));
        let findings = config::load(&file).unwrap_err().to_string();
        assert!(findings.contains(&format!("never.{never}")), "{findings}");
    }
    let (_folder, file) = files("004", |policy| policy);
    config::load(&file).unwrap_or_else(|findings| panic!("the control: {findings}"));
}

/// 5. What links a device to a person is not shown beside what names the person.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_clear_alone_and_a_pseudonym_beside_its_owner() {
    let shop = Shop::open("003").await;
    marketplace_person(&shop, "c-1").await;
    let together = shop.read("pusher", "push", "c-1").await;
    assert_eq!(together["email"], "c-1@example.com");
    for name in ["device", "tags"] {
        assert!(together[name].as_str().unwrap().starts_with("psn1_"), "{together}");
    }
    // The same person without an address to be named by.
    assert!(shop.add("personal-centre", "personal-centre", "c-1", json!({ "email": null })).await.0 < 300);
    let alone = shop.read("pusher", "push", "c-1").await;
    assert_eq!((&alone["device"], &alone["tags"]), (&json!("d-77"), &json!("home")), "{alone}");
}

/// 7. No data of children; those of minors with a guardian's consent, and never for marketing.
#[tokio::test(flavor = "multi_thread")]
async fn data_of_minors_are_not_taken() {
    let shop = Shop::open("001").await;
    let account = json!({ "name": "Ren", "email": "ren@example.com", "account": "ren", "password": "hash" });
    shop.record(json!({ "subject": "c-1", "record": "age", "years": 12 })).await;
    assert_eq!(shop.write("account-service", "registration", "c-1", account.clone()).await, (403, "not-writable".to_owned()));
    shop.record(json!({ "subject": "c-2", "record": "age", "years": 30 })).await;
    assert_eq!(shop.write("account-service", "registration", "c-2", account).await.0, 201);

    let shop = Shop::open("003").await;
    let account = json!({ "account": "ren", "email": "ren@example.com", "phone": "+85255501234", "password": "hash" });
    shop.record(json!({ "subject": "c-1", "record": "age", "years": 12 })).await;
    assert_eq!(shop.write("account-service", "registration", "c-1", account.clone()).await, (403, "not-writable".to_owned()));
    shop.record(json!([
        { "subject": "c-1", "record": "fact", "fact": "guardian-consent" },
        { "subject": "c-1", "record": "fact", "fact": "device-permission" },
    ]))
    .await;
    assert_eq!(shop.write("account-service", "registration", "c-1", account).await.0, 201);
    assert_eq!(shop.read("account-service", "registration", "c-1").await["email"], "ren@example.com");
    for (caller, purpose) in [("pusher", "push"), ("recommender", "personalisation")] {
        assert!(members(&shop.read(caller, purpose, "c-1").await).is_empty(), "{purpose}");
    }
}

/// 9. A purpose that a later version brought sleeps until the person was told.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_purpose_sleeps_until_the_person_was_told() {
    let shop = Shop::open("000").await;
    shop.record(json!({ "subject": "c-1", "record": "fact", "fact": "open-trade" })).await;
    let document =
        json!({ "name": "Mei Tanaka", "address": "Uchikanda", "birth_date": "1990-04-01", "id_document": "123456789018" });
    assert_eq!(shop.write("compliance", "resale-identity-check", "c-1", document).await.0, 201);
    assert!(members(&shop.read("shop", "buy-back", "c-1").await).is_empty());
    shop.record(json!({ "subject": "c-1", "record": "notice", "version": 1 })).await;
    assert!(members(&shop.read("shop", "buy-back", "c-1").await).is_empty(), "told of the first version");
    shop.record(json!({ "subject": "c-1", "record": "notice", "version": 2 })).await;
    assert_eq!(shop.read("shop", "buy-back", "c-1").await["name"], "Mei Tanaka");
    assert!(members(&shop.read("shop", "buy-back", "c-1").await) == ["name"], "and nobody else's");
}

/// 11. Two who get pseudonyms of one person cannot compare them.
#[tokio::test(flavor = "multi_thread")]
async fn two_recipients_cannot_join_what_they_got() {
    let shop = Shop::open("003").await;
    marketplace_person(&shop, "c-1").await;
    let first = shop.read("recommender", "personalisation", "c-1").await;
    let second = shop.read("analyst", "analysis", "c-1").await;
    for seen in [&first, &second] {
        assert!(seen["account"].as_str().unwrap().starts_with("psn1_"), "{seen}");
    }
    assert_ne!(first["account"], second["account"]);
    assert_eq!(
        first["account"],
        shop.read("recommender", "personalisation", "c-1").await["account"],
        "the control: one scope, one pseudonym"
    );
    let (device, partner) = (&first["device"], shop.read("risk-partner", "partner-signals", "c-1").await);
    assert!(partner["device"].as_str().unwrap().starts_with("psn1_"));
    assert_ne!(device, &partner["device"]);
}

/// 13. A stored value that was changed, or put in another place, is shown to nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_changed_or_moved_is_refused() {
    let shop = Shop::open("000").await;
    for id in ["c-1", "c-2"] {
        shop.record(
            json!([{ "subject": id, "record": "fact", "fact": "open-trade" }, { "subject": id, "record": "notice", "version": 2 }]),
        )
        .await;
        let document = json!({ "name": format!("Mei {id}"), "address": "Uchikanda", "birth_date": "1990-04-01", "id_document": "123456789018" });
        assert_eq!(shop.write("compliance", "resale-identity-check", id, document).await.0, 201);
    }
    let (first, second) = (shop.stored("c-1").await, shop.stored("c-2").await);
    let sealed = first["name"].as_str().unwrap();
    let at = sealed.len() - 10;
    let other = if &sealed[at..=at] == "A" { "B" } else { "A" };
    let changed = format!("{}{other}{}", &sealed[..at], &sealed[at + 1..]);
    for (what, name) in [
        ("changed", json!(changed)),
        ("of another field", first["address"].clone()),
        ("of another person", second["name"].clone()),
    ] {
        let mut document = first.clone();
        document["name"] = name;
        shop.store("c-1", &document).await;
        let answer = shop.ask("compliance", "resale-identity-check", Method::GET, "/customers/c-1", None).await;
        assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()), "{what}");
        assert!(!answer.text().contains("Mei"));
    }
    shop.store("c-1", &first).await;
    assert_eq!(shop.read("compliance", "resale-identity-check", "c-1").await["name"], "Mei c-1", "the control");
}

impl Shop {
    /// What the database has.
    async fn stored(&self, id: &str) -> Value {
        super::support::ask_upstream(&self.running, Method::GET, &format!("/customers/{id}"), "").await.json()
    }

    /// Puts it there behind the proxy's back.
    async fn store(&self, id: &str, document: &Value) {
        let answer =
            super::support::ask_upstream(&self.running, Method::PUT, &format!("/customers/{id}"), document.to_string()).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
}
