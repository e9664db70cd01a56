//! Values that are stored as tokens, end to end: what the database holds, what the vault is asked, and what happens when it does not answer.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use sudare::app;
use sudare::base::SystemClock;
use sudare::config::{self, Endpoint};
use sudare::keys::{self, LineName};
use sudare::store::{Answer, Change, Claim, Claimed, Row, Rows, StoreError, Swap, Swapped, Table};

use crate::canary::spellings;
use crate::support::{Proxy, Setup, Stub, StubReply};

const TOKENS: &str = r#"
[collection.customers]
match   = "/customers/{id}"
rows    = ["$", "$[*]"]
subject = "{id}"
[collection.customers.field]
name    = "$.name"
address = { at = "$.address", protect = "token", consistent = false }
phone   = { at = "$.phone", protect = "token", format = "digits" }
id-card = { at = "$.id_card", protect = "token", scope = "people" }
[collection.orders]
match   = "/orders/{id}"
rows    = ["$", "$[*]"]
subject = "$.customer"
bind    = "document"
[collection.orders.field]
buyer   = { at = "$.buyer", category = "id-card", protect = "token", scope = "people" }
"#;

const PERSON: &str =
    r#"{"id":"c-1","name":"Mei Tanaka","address":"101-0047 Uchikanda","phone":"+81-3-5550-1234","id_card":"123456789018"}"#;

/// The store of a proxy, in the hands of a test.
#[derive(Debug)]
pub(crate) struct Watched {
    inner: Arc<dyn Rows>,
    claims: AtomicUsize,
    reads: AtomicUsize,
    down: AtomicBool,
    slow: AtomicBool,
}

impl Watched {
    fn around(inner: Arc<dyn Rows>) -> Arc<Self> {
        let (claims, reads) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { inner, claims, reads, down: AtomicBool::new(false), slow: AtomicBool::new(false) })
    }

    /// Claims and reads since the last time.
    pub(crate) fn calls(&self) -> (usize, usize) {
        (self.claims.swap(0, Ordering::Relaxed), self.reads.swap(0, Ordering::Relaxed))
    }

    fn pass<'a, T: Send + 'a>(&'a self, answer: Answer<'a, T>) -> Answer<'a, T> {
        if self.slow.load(Ordering::Relaxed) {
            return Box::pin(async move {
                tokio::time::sleep(Duration::from_mins(1)).await;
                answer.await
            });
        }
        if self.down.load(Ordering::Relaxed) {
            return Box::pin(async { Err(StoreError::Failed("the test".to_owned(), "down".to_owned())) });
        }
        answer
    }
}

impl Rows for Watched {
    fn claim(&self, table: Table, claims: Vec<Claim>) -> Answer<'_, Vec<Claimed>> {
        self.claims.fetch_add(1, Ordering::Relaxed);
        self.pass(self.inner.claim(table, claims))
    }

    fn read(&self, table: Table, keys: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.pass(self.inner.read(table, keys))
    }

    fn find(&self, table: Table, marks: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        self.pass(self.inner.find(table, marks))
    }

    fn list(&self, table: Table, prefix: Vec<u8>, after: Option<Vec<u8>>, most: usize) -> Answer<'_, Vec<Row>> {
        self.pass(self.inner.list(table, prefix, after, most))
    }

    fn change(&self, table: Table, changes: Vec<Change>) -> Answer<'_, ()> {
        self.pass(self.inner.change(table, changes))
    }

    fn swap(&self, table: Table, swaps: Vec<Swap>) -> Answer<'_, Vec<Swapped>> {
        self.pass(self.inner.swap(table, swaps))
    }
}

/// A proxy whose store is watched. `share` is the store of another one, whose keys it then has.
pub(crate) fn watched(setup: Setup, share: Option<(&Path, Arc<Watched>)>) -> (Proxy, Arc<Watched>) {
    let (folder, file) = setup.files();
    if let Some((keys, _)) = &share {
        for name in ["ring.json", "kek"] {
            fs::copy(keys.join(name), folder.path().join("keys").join(name)).unwrap();
        }
    }
    let mut watched = None;
    let running = app::start_over(config::load(&file).unwrap(), Arc::new(SystemClock), |own| {
        let inner: Arc<dyn Rows> = match share {
            Some((_, other)) => other,
            None => own,
        };
        let rows = Watched::around(inner);
        watched = Some(Arc::clone(&rows));
        rows
    });
    let running = running.unwrap_or_else(|error| panic!("{error}"));
    let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
    (Proxy { folder, file, address, running: Some(running) }, watched.unwrap())
}

async fn stored(proxy: &Proxy, path: &str) -> Value {
    proxy.database(Method::GET, path, "").await.json()
}

async fn create(proxy: &Proxy, path: &str, document: impl ToString) {
    let answer = proxy.ask("shop", "registration", Method::POST, path, document.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn read(proxy: &Proxy, path: &str) -> Value {
    let answer = proxy.ask("shop", "account", Method::GET, path, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn values_are_tokens_in_the_database_and_join_across_collections() {
    let mut proxy = Setup::embedded().collections(TOKENS).start().await;
    create(&proxy, "/customers", PERSON).await;
    create(&proxy, "/customers", PERSON.replace("c-1", "c-2")).await;
    create(&proxy, "/orders", r#"{"id":"o-1","customer":"c-1","buyer":"123456789018"}"#).await;
    let [one, two, order] =
        [stored(&proxy, "/customers/c-1").await, stored(&proxy, "/customers/c-2").await, stored(&proxy, "/orders/o-1").await];
    assert!(one["id_card"].as_str().unwrap().starts_with("tok1_"), "{one}");
    assert!(one["phone"].as_str().unwrap().starts_with("+0"), "{one}");
    assert_eq!((&one["id_card"], &one["phone"]), (&two["id_card"], &two["phone"]));
    assert_eq!(one["id_card"], order["buyer"], "one scope: joins go on");
    assert_ne!(one["address"], two["address"], "fresh");
    for (caller, purpose, expected) in [
        (
            "shop",
            "account",
            json!({"id": "c-1", "name": "Mei Tanaka", "address": "101-0047 Uchikanda", "phone": "+81-3-5550-1234", "id_card": "123456789018"}),
        ),
        (
            "shipping",
            "delivery",
            json!({"id": "c-1", "name": "Mei Tanaka", "address": "101-0047 Uchikanda", "phone": "+81-3-5550-1234", "id_card": "••••9018"}),
        ),
        ("helpdesk", "support", json!({"id": "c-1", "name": "Mei Tanaka", "phone": "••••1234"})),
        ("auditor", "custody", one.clone()),
    ] {
        let answer = proxy.ask(caller, purpose, Method::GET, "/customers/c-1", "").await;
        assert_eq!(answer.json(), expected, "{caller}");
    }
    let coarse = proxy.ask("analyst", "statistics", Method::GET, "/customers/c-1", "").await.json();
    assert_eq!(coarse["address"], "101");
    let metrics = proxy.running.as_ref().unwrap().metrics().encode();
    for line in [r#"sudare_vault_seconds_count{call="tokenise"} 3"#, r#"sudare_vault_seconds_count{call="detokenise"}"#] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    proxy.stop().await;
    let audit = proxy.audit_text();
    assert!(audit.contains(r#""protected":{"name":1,"address":1,"phone":1,"id-card":1}"#), "{audit}");
    assert!(audit.contains(r#""shown":{"clear":{"name":1,"address":1,"phone":1,"id-card":1}}"#), "{audit}");
}

#[tokio::test]
async fn a_hundred_tokens_of_a_body_are_one_claim_and_one_read() {
    let (proxy, store) = watched(Setup::embedded().collections(TOKENS), None);
    let card = |n: usize| json!({"id": format!("c-{n}"), "id_card": format!("card {n}"), "address": format!("street {n}")});
    let all: Vec<Value> = (0..50).map(card).collect();
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", json!(all).to_string()).await;
    // The embedded database takes one document at a time; what it thinks of the body does not matter here.
    assert!(!answer.text().contains("store-unavailable"), "{}", answer.text());
    assert_eq!(store.calls().0, 1);
    create(&proxy, "/customers", PERSON).await;
    assert_eq!(store.calls(), (1, 1), "digits are looked up before they are taken for values");
    read(&proxy, "/customers/c-1").await;
    assert_eq!(store.calls(), (0, 1));
    proxy.ask("mailer", "marketing", Method::GET, "/customers/c-1", "").await;
    assert_eq!(store.calls(), (0, 0), "nothing of it is shown");
    proxy.ask("auditor", "custody", Method::GET, "/customers/c-1", "").await;
    assert_eq!(store.calls(), (0, 1), "whether digits are a token only the vault can tell");
}

#[tokio::test]
async fn t20_while_the_store_does_not_answer_nothing_is_stored_and_nothing_revealed() {
    let stub = Stub::start(|_| StubReply::json(201, "{}")).await;
    let (proxy, store) = watched(Setup::rest(stub.address).collections(TOKENS), None);
    for (fault, most) in [(&store.down, Duration::from_secs(2)), (&store.slow, Duration::from_secs(20))] {
        fault.store(true, Ordering::Relaxed);
        let started = std::time::Instant::now();
        let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
        assert_eq!(answer.outcome(), (503, "store-unavailable".to_owned()), "{}", answer.text());
        assert!(answer.headers.contains_key("retry-after") && !answer.text().contains("Mei") && started.elapsed() < most);
        assert!(stub.seen().is_empty(), "nothing went upstream");
        fault.store(false, Ordering::Relaxed);
    }
    create(&proxy, "/customers", PERSON).await;
    let body = String::from_utf8(stub.seen()[0].body.to_vec()).unwrap();
    assert!(body.contains("tok1_") && !body.contains("123456789018"), "{body}");
    let metrics = proxy.running.as_ref().unwrap().metrics().encode();
    for line in [
        r#"sudare_vault_failures_total{call="detokenise",kind="failed"} 1"#,
        r#"sudare_vault_failures_total{call="detokenise",kind="slow"} 1"#,
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn t25_a_reply_waits_for_the_store_and_says_so() {
    let (proxy, store) = watched(Setup::embedded().collections(TOKENS), None);
    create(&proxy, "/customers", PERSON).await;
    store.down.store(true, Ordering::Relaxed);
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!(answer.outcome(), (503, "store-unavailable".to_owned()), "{}", answer.text());
    // Who sees no value of it needs no vault.
    let collections = TOKENS.replace(", format = \"digits\"", "");
    let (proxy, store) = watched(Setup::embedded().collections(&collections), None);
    create(&proxy, "/customers", PERSON).await;
    store.down.store(true, Ordering::Relaxed);
    assert_eq!(proxy.ask("mailer", "marketing", Method::GET, "/customers/c-1", "").await.json()["name"], "M••• T•••");
    assert_eq!(proxy.ask("auditor", "custody", Method::GET, "/customers/c-1", "").await.status, 200);
}

#[tokio::test]
async fn two_proxies_over_one_store_make_one_token_and_open_each_others() {
    let (one, store) = watched(Setup::embedded().collections(TOKENS), None);
    let keys = one.folder.path().join("keys");
    let (two, _) = watched(Setup::embedded().collections(TOKENS), Some((&keys, Arc::clone(&store))));
    let bodies: Vec<String> = (0..8).map(|n| PERSON.replace("c-1", &format!("c-{n}"))).collect();
    let mut running = tokio::task::JoinSet::new();
    let (one, two) = (Arc::new(one), Arc::new(two));
    for (n, body) in bodies.iter().cloned().enumerate() {
        let proxy = if n % 2 == 0 { Arc::clone(&one) } else { Arc::clone(&two) };
        running.spawn(async move { create(&proxy, "/customers", body).await });
    }
    running.join_all().await;
    let mut cards = Vec::new();
    for n in 0..8 {
        let proxy = if n % 2 == 0 { &one } else { &two };
        cards.push(stored(proxy, &format!("/customers/c-{n}")).await["id_card"].clone());
    }
    cards.dedup();
    assert_eq!(cards.len(), 1, "{cards:?}");
    // The very document of one, in the database of the other; what is sealed is bound to the same names.
    let document = stored(&one, "/customers/c-0").await;
    assert!(two.database(Method::PUT, "/customers/c-0", document.to_string()).await.status.is_success());
    assert_eq!(read(&two, "/customers/c-0").await["address"], "101-0047 Uchikanda");
}

#[tokio::test]
async fn t01_a_token_of_another_field_or_one_that_is_none_is_not_shown() {
    let proxy = Setup::embedded().collections(TOKENS).start().await;
    create(&proxy, "/customers", PERSON).await;
    let whole = stored(&proxy, "/customers/c-1").await;
    for (member, value) in [
        ("id_card", whole["address"].clone()),
        ("address", whole["id_card"].clone()),
        ("phone", json!("+81-3-5550-1234")),
        ("phone", whole["id_card"].clone()),
        ("id_card", json!("123456789018")),
        ("id_card", json!("tok1_00000000000000000000000000")),
        ("name", whole["id_card"].clone()),
    ] {
        let mut changed = whole.clone();
        changed[member] = value;
        assert!(proxy.database(Method::PUT, "/customers/c-1", changed.to_string()).await.status.is_success());
        let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
        assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()), "{changed}");
        // Beside a value that is not shown there is nothing to compare; it stays, as an envelope would.
        if matches!(member, "phone" | "name") {
            let put = proxy.ask("helpdesk", "support", Method::PUT, "/customers/c-1", r#"{"id":"c-1","tier":"x"}"#).await;
            assert_eq!(put.outcome(), (500, "value-not-authentic".to_owned()), "{changed}: {}", put.text());
        }
    }
}

/// A token is short and what it stands for may not be, so a small document could stand for gigabytes.
#[tokio::test]
async fn t24_tokens_do_not_stand_for_more_than_may_be_held() {
    let collections = r#"
[collection.customers]
match   = "/customers/{id}"
rows    = ["$", "$[*]"]
subject = "{id}"
[collection.customers.field]
phone   = { at = "$.tags[*]", protect = "token" }
address = { at = "$.address", protect = "token", consistent = false }
"#;
    let proxy = Setup::embedded().collections(collections).start().await;
    let document = |length: usize| json!({"id": "c-1", "tags": ["x"], "address": "a".repeat(length - 2)}).to_string();
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", document((64 << 10) + 1)).await;
    assert_eq!(answer.outcome(), (413, "value-too-long".to_owned()), "{}", answer.text());
    create(&proxy, "/customers", document(64 << 10)).await;
    let stored = stored(&proxy, "/customers/c-1").await;
    let text = json!({"id": "c-2", "tags": ["y".repeat(60_000)]});
    create(&proxy, "/customers", text).await;
    let token = self::stored(&proxy, "/customers/c-2").await["tags"][0].clone();
    let many = |count: usize| json!({"id": "c-1", "tags": vec![token.clone(); count], "address": stored["address"]}).to_string();
    proxy.database(Method::PUT, "/customers/c-1", many(100)).await;
    assert_eq!(read(&proxy, "/customers/c-1").await["address"].as_str().map(str::len), Some((64 << 10) - 2), "the control");
    proxy.database(Method::PUT, "/customers/c-1", many(1200)).await;
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!(answer.outcome(), (502, "reply-unreadable".to_owned()), "{}", answer.text());
}

/// More values than the store is asked for at once.
#[tokio::test]
async fn a_body_of_many_tokens_is_asked_for_in_parts() {
    let collections = r#"
[collection.customers]
match   = "/customers/{id}"
rows    = ["$", "$[*]"]
subject = "{id}"
[collection.customers.field]
name    = { at = "$.names[*]", protect = "token" }
"#;
    let (proxy, store) = watched(Setup::embedded().collections(collections), None);
    let names: Vec<String> = (0..5000).map(|n| format!("name {n}")).collect();
    create(&proxy, "/customers", json!({"id": "c-1", "names": names})).await;
    assert_eq!(store.calls().0, 2);
    assert_eq!(read(&proxy, "/customers/c-1").await["names"], json!(names));
    assert_eq!(store.calls(), (0, 2));
}

#[tokio::test]
async fn t26_every_caller_saves_its_view_back_and_nothing_is_lost() {
    let proxy = Setup::embedded().collections(TOKENS).start().await;
    create(&proxy, "/customers", PERSON).await;
    let before = stored(&proxy, "/customers/c-1").await;
    for (caller, purpose) in [
        ("shipping", "delivery"),
        ("helpdesk", "support"),
        ("mailer", "marketing"),
        ("analyst", "statistics"),
        ("auditor", "custody"),
        ("carrier", "delivery"),
    ] {
        let mut view = proxy.ask(caller, purpose, Method::GET, "/customers/c-1", "").await.json();
        view["tier"] = json!(caller);
        for body in [view.clone(), json!({"id": "c-1", "tier": caller})] {
            let answer = proxy.ask(caller, purpose, Method::PUT, "/customers/c-1", body.to_string()).await;
            assert!(answer.status.is_success(), "{caller}: {}", answer.text());
            let mut after = stored(&proxy, "/customers/c-1").await;
            after.as_object_mut().unwrap().remove("tier");
            assert_eq!(after, before, "{caller}");
        }
    }
    // Of one who sees and writes all, equal values keep their token, and fresh ones get another one.
    let whole = read(&proxy, "/customers/c-1").await;
    assert!(proxy.ask("shop", "account", Method::PUT, "/customers/c-1", whole.to_string()).await.status.is_success());
    let after = stored(&proxy, "/customers/c-1").await;
    assert_eq!((&after["id_card"], &after["phone"]), (&before["id_card"], &before["phone"]));
    assert_ne!(after["address"], before["address"]);
    // Tokens of others are no values, whoever sends them.
    create(&proxy, "/customers", r#"{"id":"c-2","id_card":"77","phone":"080-8765-4321"}"#).await;
    let other = stored(&proxy, "/customers/c-2").await;
    for member in ["id_card", "phone"] {
        let body = json!({"id": "c-1", member: other[member]});
        let answer = proxy.ask("shop", "account", Method::PUT, "/customers/c-1", body.to_string()).await;
        assert_eq!(answer.outcome(), (422, "foreign-token".to_owned()), "{body}: {}", answer.text());
        let answer = proxy
            .ask("shop", "registration", Method::POST, "/customers", json!({"id": "c-9", member: other[member]}).to_string())
            .await;
        assert_eq!(answer.outcome(), (422, "foreign-token".to_owned()), "{}", answer.text());
        assert!(!answer.text().contains(other[member].as_str().unwrap()), "T13");
    }
}

/// A database that takes patches as they come.
#[tokio::test]
async fn a_patch_gives_tokens_for_values() {
    let last = Arc::new(Mutex::new(Value::Null));
    let seen = Arc::clone(&last);
    let stub = Stub::start(move |request| {
        *seen.lock().unwrap() = serde_json::from_slice(&request.body).unwrap_or_default();
        StubReply::json(200, r#"{"id":"c-1"}"#)
    })
    .await;
    let (proxy, store) = watched(Setup::rest(stub.address).collections(TOKENS), None);
    let patch = |media: &'static str, body: Value| {
        let proxy = &proxy;
        async move {
            let more = [("content-type", media)];
            proxy.ask_with("shop", "account", Method::PATCH, "/customers/c-1", &more, body.to_string()).await.unwrap()
        }
    };
    let (merge, json_patch) = ("application/merge-patch+json", "application/json-patch+json");
    let answer = patch(merge, json!({"phone": "+81-3-5550-1234", "id_card": "7"})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let merged = last.lock().unwrap().clone();
    assert!(
        merged["phone"].as_str().unwrap().starts_with("+0") && merged["id_card"].as_str().unwrap().starts_with("tok1_"),
        "{merged}"
    );
    store.calls();
    let operations = json!([
        {"op": "replace", "path": "/id_card", "value": "7"},
        {"op": "add", "path": "/phone", "value": "+81-3-5550-1234"},
    ]);
    let answer = patch(json_patch, operations).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let patched = last.lock().unwrap().clone();
    assert_eq!((&patched[0]["value"], &patched[1]["value"]), (&merged["id_card"], &merged["phone"]));
    assert_eq!(store.calls().0, 1);
    for body in [json!({"phone": merged["phone"]}), json!({"id_card": merged["id_card"]})] {
        let answer = patch(merge, body.clone()).await;
        assert_eq!(answer.outcome(), (422, "foreign-token".to_owned()), "{body}: {}", answer.text());
    }
    let operations = json!([{"op": "replace", "path": "/phone", "value": merged["phone"]}]);
    assert_eq!(patch(json_patch, operations).await.outcome(), (422, "foreign-token".to_owned()));
    let answer = patch(merge, json!({"phone": "12"})).await;
    assert_eq!(answer.outcome(), (422, "token-format".to_owned()), "{}", answer.text());
    // Whom an order is about says the stored order: it is read, and the token is kept for that person.
    let stub = Stub::start(|request| match request.method {
        Method::GET => StubReply::json(200, r#"{"id":"o-1","customer":"c-1"}"#),
        _ => StubReply::json(200, r#"{"id":"o-1"}"#),
    })
    .await;
    let (proxy, _) = watched(Setup::rest(stub.address).collections(TOKENS), None);
    let more = [("content-type", merge), ("if-match", "*")];
    let answer = proxy.ask_with("shop", "account", Method::PATCH, "/orders/o-1", &more, r#"{"buyer":"7"}"#).await.unwrap();
    // This database gives no ETag, so the proxy cannot guard what it read.
    assert_eq!(answer.outcome(), (422, "subject-missing".to_owned()), "{}", answer.text());
}

#[tokio::test]
async fn lines_rotate_and_tokens_stay() {
    let proxy = Setup::embedded().collections(TOKENS).start().await;
    create(&proxy, "/customers", PERSON).await;
    let before = stored(&proxy, "/customers/c-1").await;
    let settings = config::load(&proxy.file).unwrap();
    for (number, line) in [LineName::Lookup, LineName::Token, LineName::Seal, LineName::Audit].iter().enumerate() {
        keys::rotate(&settings.keys, line, &SystemClock).unwrap();
        proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
        assert_eq!(read(&proxy, "/customers/c-1").await["id_card"], "123456789018", "{line}");
        let id = format!("c-1{number}");
        create(&proxy, "/customers", PERSON.replace("c-1", &id)).await;
        let after = stored(&proxy, &format!("/customers/{id}")).await;
        assert_eq!((&after["id_card"], &after["phone"]), (&before["id_card"], &before["phone"]), "{line}");
    }
}

/// What was sealed before opens in its place; saved anew it is a token.
#[tokio::test]
async fn the_protection_of_a_field_may_change_to_tokens() {
    let proxy = Setup::embedded().start().await;
    create(&proxy, "/customers", PERSON).await;
    let text = fs::read_to_string(&proxy.file).unwrap();
    let changed = text.replace(r#"id-card = "$.id_card""#, r#"id-card = { at = "$.id_card", protect = "token" }"#);
    assert_ne!(text, changed);
    fs::write(&proxy.file, changed).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    let whole = read(&proxy, "/customers/c-1").await;
    assert_eq!(whole["id_card"], "123456789018");
    assert!(proxy.ask("shop", "account", Method::PUT, "/customers/c-1", whole.to_string()).await.status.is_success());
    assert!(stored(&proxy, "/customers/c-1").await["id_card"].as_str().unwrap().starts_with("tok1_"));
    assert_eq!(read(&proxy, "/customers/c-1").await, whole);
}

/// T13: nothing of the values in any file of the proxy but the database's own sealed form, in any spelling.
#[tokio::test]
async fn t13_no_value_is_in_the_store_or_the_log() {
    let mut proxy = Setup::embedded().collections(TOKENS).start().await;
    let (canary, card, control) = ("cänary/0001+Zq7919 street", "cänary/0002+Zq15838", "control-ünprotected-7c1e");
    create(&proxy, "/customers", json!({"id": "c-1", "tier": control, "address": canary, "id_card": card})).await;
    read(&proxy, "/customers/c-1").await;
    proxy.stop().await;
    let mut files = Vec::new();
    let mut folders = vec![proxy.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push((path.clone(), fs::read(&path).unwrap())) }
        }
    }
    let holding = |value: &str| {
        let forms = spellings(value);
        files.iter().filter(|(_, bytes)| forms.iter().any(|form| memchr::memmem::find(bytes, form).is_some())).count()
    };
    assert!(files.iter().any(|(path, bytes)| path.ends_with("data/sudare.redb") && !bytes.is_empty()));
    assert_eq!((holding(canary), holding(card)), (0, 0));
    assert!(holding(control) > 0, "the search finds what is there");
}

#[tokio::test]
async fn a_search_on_couchdb_finds_the_token_of_a_known_value() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let stub = Stub::start(move |request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        if request.target.ends_with("/_find") {
            log.lock().unwrap().push(body["selector"].clone());
            return StubReply::json(200, r#"{"docs":[],"bookmark":"nil"}"#);
        }
        log.lock().unwrap().push(body);
        StubReply::json(201, r#"{"ok":true,"rev":"1-a"}"#)
    })
    .await;
    let collections = r#"
[collection.customers]
match   = "customers"
subject = "{id}"
[collection.customers.field]
name    = { at = "$.name", protect = "token", consistent = false }
id-card = { at = "$.id_card", protect = "token" }
"#;
    let proxy = Setup::couchdb(stub.address).collections(collections).start().await;
    let written = proxy.ask("shop", "registration", Method::PUT, "/customers/c-1", r#"{"name":"Mei","id_card":"77"}"#).await;
    assert_eq!(written.status, 201, "{}", written.text());
    let token = asked.lock().unwrap()[0]["id_card"].clone();
    let find = |selector: Value| {
        let proxy = &proxy;
        async move { proxy.ask("shop", "account", Method::POST, "/customers/_find", json!({"selector": selector}).to_string()).await }
    };
    for (selector, sent) in [
        (json!({"id_card": "77"}), json!({"id_card": token})),
        (json!({"id_card": {"$in": ["77", "nobody", null]}}), json!({"id_card": {"$in": [null, token]}})),
        (json!({"id_card": "nobody"}), json!({"id_card": {"$in": []}})),
        (json!({"id_card": token}), json!({"id_card": {"$in": []}})),
    ] {
        let answer = find(selector.clone()).await;
        assert_eq!(answer.status, 200, "{selector}: {}", answer.text());
        let last = asked.lock().unwrap().last().cloned().unwrap();
        assert_eq!(
            last["id_card"].get("$eq").unwrap_or(&last["id_card"]),
            sent["id_card"].get("$eq").unwrap_or(&sent["id_card"]),
            "{selector}"
        );
    }
    for refused in [json!({"name": "Mei"}), json!({"id_card": {"$gt": "7"}}), json!({"id_card": true})] {
        let answer = find(refused.clone()).await;
        assert_eq!(answer.status, 400, "{refused}: {}", answer.text());
    }
}

/// `sudare store check` opens what the vault keeps, and says which row is not what it was.
#[tokio::test(flavor = "multi_thread")]
async fn store_check_finds_rows_of_the_vault_that_were_changed() {
    let mut proxy = Setup::embedded().collections(TOKENS).start().await;
    create(&proxy, "/customers", PERSON).await;
    proxy.stop().await;
    let check = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sudare"));
        let out = command.args(["store", "check", "-c"]).arg(&proxy.file).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (code, out, said) = check();
    assert!(code == Some(0) && out.contains("3 rows, 2 marks") && out.contains("everything fits\n"), "{out}{said}");
    let path = proxy.folder.path().join("data/sudare.redb");
    let edit = |edit: fn(&mut [Row])| {
        let path = path.clone();
        async move {
            let store = sudare::store::Store::embedded(&path).unwrap();
            let mut rows = store.list(Table::Token, Vec::new(), None, 10).await.unwrap();
            edit(&mut rows);
            store.change(Table::Token, rows.into_iter().map(Change::Put).collect()).await.unwrap();
        }
    };
    let flip: fn(&mut [Row]) = |rows| rows[0].value[60] ^= 1;
    edit(flip).await;
    let (code, out, said) = check();
    assert_eq!(code, Some(1), "{out}{said}");
    assert!(said.contains("it does not open: it was changed, or moved") && !said.contains("tok1_"), "{said}");
    edit(flip).await;
    assert_eq!(check().0, Some(0), "put right");
    edit(|rows| rows.iter_mut().for_each(|row| row.marks.clear())).await;
    let (code, _, said) = check();
    assert!(code == Some(1) && said.matches("it has no mark").count() == 2, "{said}");
}
