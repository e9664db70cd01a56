//! Two nodes over one database, of which one is not given the ring of a group of fields: whatever its policy says, it shows nothing of them,
//! takes no new value for them, and loses none. And what an operator does with rings, one by one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use sudare::base::{Kid, RingName, SystemClock};
use sudare::config::{self, Settings};
use sudare::keys::{Change, KeyRing, LineName, State};

use crate::support::{Proxy, Seen, Setup, Stub, StubReply};

const COLLECTIONS: &str = r#"
[collection.customers]
match   = "customers"
subject = "{id}"
[collection.customers.field]
name    = { at = "$.name", ring = "identity", index = { at = "$.name_ix", normalise = "text" } }
address = "$.address"
phone   = { at = "$.phone", ring = "identity", protect = "token" }
id-card = { at = "$.id_card", ring = "identity", protect = "deterministic" }
"#;

const HELD: &str = r#"
[keys.identity]
ring = "keys/identity.json"
kek  = { provider = "file", path = "keys/identity.kek" }
"#;

const NOT_HELD: &str = "[keys.identity]\nheld = false\n";

const MEI: &str =
    r#"{"name":"Mei Tanaka","address":"101-0047 Uchikanda","phone":"+81355501234","id_card":"123456789018","tier":"gold"}"#;
/// Those of the ring identity.
const SECRET: [&str; 3] = ["Mei Tanaka", "+81355501234", "123456789018"];

/// What CouchDB does with documents, as far as it matters here.
#[derive(Default)]
struct Couch {
    documents: BTreeMap<String, Value>,
    written: u64,
}

impl Couch {
    fn answer(&mut self, seen: &Seen) -> StubReply {
        let path = seen.target.split('?').next().unwrap();
        let body = serde_json::from_slice::<Value>(&seen.body).unwrap_or(Value::Null);
        match (seen.method.as_str(), path.rsplit('/').next().unwrap()) {
            ("POST", "_bulk_get") => {
                let one =
                    |asked: &Value| json!({"id": asked["id"], "docs": [{"ok": self.documents[asked["id"].as_str().unwrap()]}]});
                let results: Vec<Value> = body["docs"].as_array().unwrap().iter().map(one).collect();
                StubReply::json(200, json!({"results": results}).to_string())
            }
            ("POST", "_find") => {
                let (member, value) = body["selector"].as_object().unwrap().iter().next().unwrap();
                let wanted = |stored: &Value| match value.get("$in").and_then(Value::as_array) {
                    Some(any) => any.contains(stored),
                    None => stored == value.get("$eq").unwrap_or(value),
                };
                let found: Vec<&Value> = self.documents.values().filter(|document| wanted(&document[member])).collect();
                StubReply::json(200, json!({"docs": found, "bookmark": "nil"}).to_string())
            }
            ("GET", id) => match self.documents.get(id) {
                Some(document) => StubReply::json(200, document.to_string()),
                None => StubReply::json(404, r#"{"error":"not_found","reason":"missing"}"#),
            },
            (_, id) => {
                if self.documents.get(id).map(|stored| &stored["_rev"]) != body.get("_rev") {
                    return StubReply::json(409, r#"{"error":"conflict","reason":"Document update conflict."}"#);
                }
                self.written += 1;
                let mut document = body;
                (document["_id"], document["_rev"]) = (json!(id), json!(format!("{}-x", self.written)));
                self.documents.insert(id.to_owned(), document);
                StubReply::json(201, json!({"ok": true, "id": id, "rev": format!("{}-x", self.written)}).to_string())
            }
        }
    }
}

/// A database and the two nodes before it: `both` holds both rings, `one` the main ring only.
struct Nodes {
    both: Proxy,
    one: Proxy,
    stub: Stub,
    couch: Arc<Mutex<Couch>>,
}

impl Nodes {
    async fn start() -> Self {
        let couch: Arc<Mutex<Couch>> = Arc::default();
        let held = Arc::clone(&couch);
        let stub = Stub::start(move |seen| held.lock().unwrap().answer(seen)).await;
        let files = |more: &str| Setup::couchdb(stub.address).collections(COLLECTIONS).more(more).files();
        let ((first, first_file), (second, second_file)) = (files(HELD), files(NOT_HELD));
        for name in ["keys/ring.json", "keys/kek"] {
            fs::copy(first.path().join(name), second.path().join(name)).unwrap();
        }
        assert!(!second.path().join("keys/identity.json").exists(), "nobody made a ring that is not held");
        let both = Proxy::start(first, first_file).await;
        let one = Proxy::start(second, second_file).await;
        Self { both, one, stub, couch }
    }

    fn stored(&self, id: &str) -> Value {
        self.couch.lock().unwrap().documents[id].clone()
    }

    async fn store_mei(&self) {
        let written = self.both.ask("shop", "account", Method::PUT, "/customers/c-1", MEI).await;
        assert_eq!(written.status, 201, "{}", written.text());
    }
}

fn settings(file: &Path) -> Settings {
    config::load(file).unwrap_or_else(|findings| panic!("{findings}"))
}

fn active(file: &Path, ring: &str, line: &LineName) -> Kid {
    let settings = settings(file);
    let versions = KeyRing::open(settings.ring(ring).unwrap()).unwrap().versions();
    versions.into_iter().find(|version| version.line == *line && version.state == State::Active).unwrap().kid
}

fn kid_of(value: &Value, part: usize) -> Kid {
    value.as_str().unwrap().split('.').nth(part).unwrap().parse().unwrap()
}

fn metrics(proxy: &Proxy) -> String {
    proxy.running.as_ref().unwrap().metrics().encode()
}

async fn read(proxy: &Proxy, caller: &str, purpose: &str) -> crate::support::Answer {
    proxy.ask(caller, purpose, Method::GET, "/customers/c-1", "").await
}

async fn find(proxy: &Proxy, selector: Value) -> crate::support::Answer {
    proxy.ask("shop", "account", Method::POST, "/customers/_find", json!({"selector": selector}).to_string()).await
}

/// Nothing of the group in what a node said, recorded or counted.
fn tells_nothing(text: &str) {
    for clear in SECRET {
        assert!(!text.contains(clear), "{clear} in {text}");
    }
}

#[tokio::test]
async fn a_node_that_is_not_given_a_ring_shows_nothing_under_it_whatever_the_policy_says() {
    let nodes = Nodes::start().await;
    nodes.store_mei().await;
    let stored = nodes.stored("c-1");
    tells_nothing(&stored.to_string());
    let file = &nodes.both.file;
    assert_eq!(kid_of(&stored["name"], 2), active(file, "identity", &LineName::Seal));
    assert_eq!(kid_of(&stored["id_card"], 2), active(file, "identity", &LineName::Lookup));
    assert_eq!(kid_of(&stored["name_ix"], 1), active(file, "identity", &LineName::Lookup));
    assert_eq!(kid_of(&stored["address"], 2), active(file, "main", &LineName::Seal));

    // The control: where the ring is held, all of it is shown, and found.
    let clear = read(&nodes.both, "shop", "account").await;
    assert_eq!((clear.status.as_u16(), &clear.json()["name"]), (200, &json!("Mei Tanaka")), "{}", clear.text());
    assert!(SECRET.iter().all(|secret| clear.text().contains(secret)));
    for selector in [json!({"name": "mei tanaka"}), json!({"id_card": "123456789018"}), json!({"phone": "+81355501234"})] {
        let found = find(&nodes.both, selector.clone()).await;
        assert_eq!(found.json()["docs"][0]["name"], "Mei Tanaka", "{selector}: {}", found.text());
    }

    // The same policy, the same caller: `account` sees all of it clear, `marketing` the name masked, `statistics` its pseudonym.
    for (caller, purpose) in [("shop", "account"), ("shipping", "delivery"), ("mailer", "marketing"), ("analyst", "statistics")] {
        let answer = read(&nodes.one, caller, purpose).await;
        assert_eq!(answer.outcome(), (403, "ring-not-held".to_owned()), "{purpose}");
        tells_nothing(&answer.text());
        assert!(answer.text().contains("identity"), "it says what is missing: {}", answer.text());
    }
    // Sealed it is shown as it is stored, but for the term, which never leaves.
    let sealed = read(&nodes.one, "auditor", "custody").await.json();
    for member in ["name", "phone", "id_card", "address"] {
        assert_eq!(sealed[member], stored[member], "{member}");
    }
    // Whom nothing of the group is shown does not notice.
    let registration = read(&nodes.one, "shop", "registration").await;
    assert_eq!((registration.status.as_u16(), registration.json().get("name")), (200, None), "{}", registration.text());

    // Searches by them do not even reach the database.
    for selector in
        [json!({"name": "mei tanaka"}), json!({"id_card": {"$in": ["123456789018", null]}}), json!({"phone": "+81355501234"})]
    {
        let before = nodes.stub.seen().len();
        let refused = find(&nodes.one, selector.clone()).await;
        assert_eq!(refused.outcome(), (403, "ring-not-held".to_owned()), "{selector}");
        assert_eq!(nodes.stub.seen().len(), before, "{selector}");
        tells_nothing(&refused.text());
    }
    let by_tier = find(&nodes.one, json!({"tier": "gold"})).await;
    assert_eq!(by_tier.outcome(), (403, "ring-not-held".to_owned()), "what a search finds is shown by the same rules");

    // Left out instead, where the collection says so; and counted.
    let text = fs::read_to_string(&nodes.one.file).unwrap();
    fs::write(&nodes.one.file, text.replace("subject = \"{id}\"", "subject = \"{id}\"\non_bad_value = \"withhold\"")).unwrap();
    nodes.one.running.as_ref().unwrap().reload(&nodes.one.file).unwrap();
    let answer = read(&nodes.one, "shop", "account").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let document = answer.json();
    assert_eq!((&document["address"], &document["tier"]), (&json!("101-0047 Uchikanda"), &json!("gold")));
    assert!(["name", "phone", "id_card", "name_ix"].iter().all(|member| document.get(member).is_none()), "{document}");
    let metrics = metrics(&nodes.one);
    assert!(metrics.contains("sudare_values_not_held_total{collection=\"customers\"} 3\n"), "{metrics}");
    assert!(!metrics.contains("sudare_bad_values_total{") && !metrics.contains("sudare_clear_found_total{"), "{metrics}");
    assert!(metrics.contains("sudare_key_ring_revision{ring=\"main\"} 1\n"), "{metrics}");
    assert!(!metrics.contains("ring=\"identity\""), "{metrics}");
    tells_nothing(&metrics);

    // Nobody was accused of anything.
    let audit = nodes.one.audit_text();
    tells_nothing(&audit);
    assert!(audit.contains("\"code\":\"ring-not-held\"") && !audit.contains("\"kind\":\"alarm\""), "{audit}");
}

#[tokio::test]
async fn a_node_that_is_not_given_a_ring_takes_no_value_for_it_and_loses_none() {
    let nodes = Nodes::start().await;
    nodes.store_mei().await;
    let before = nodes.stored("c-1");
    let rev = || nodes.stored("c-1")["_rev"].clone();
    let writes = || nodes.couch.lock().unwrap().written;

    // New values, removed ones, and sealed ones out of place are refused before anything goes upstream.
    let count = writes();
    let refused = [
        ("PUT", "c-2", json!({"name": "Hanako"})),
        ("PUT", "c-2", json!({"phone": "+81355509999", "address": "Kobe"})),
        ("PUT", "c-2", json!({"name": before["name"]})),
        ("PUT", "c-1", json!({"_rev": rev(), "name": "Hanako", "address": "Kobe"})),
        ("PUT", "c-1", json!({"_rev": rev(), "name": null})),
        ("PUT", "c-1", json!({"_rev": rev(), "id_card": before["name"]})),
        ("PUT", "c-1", json!({"_rev": rev(), "phone": "tok1_00000000000000000000000000"})),
    ];
    for (method, id, body) in refused {
        let method: Method = method.parse().unwrap();
        let answer = nodes.one.ask("shop", "account", method, &format!("/customers/{id}"), body.to_string()).await;
        assert_eq!(answer.outcome(), (403, "ring-not-held".to_owned()), "{body}");
        assert!(!answer.text().contains("Hanako"));
    }
    assert_eq!(writes(), count);
    assert_eq!(nodes.stored("c-1"), before);

    // What is in the main ring is written; the rest stays, whether it is sent back as it is stored or left out.
    let carried = json!({"_rev": rev(), "name": before["name"], "phone": before["phone"], "id_card": before["id_card"], "address": "Kobe", "tier": "silver"});
    let left_out = |rev: Value| json!({"_rev": rev, "address": "Osaka", "tier": "bronze"});
    for (body, address) in [(carried, "Kobe"), (Value::Null, "Osaka")] {
        let body = if body.is_null() { left_out(rev()) } else { body };
        let answer = nodes.one.ask("shop", "account", Method::PUT, "/customers/c-1", body.to_string()).await;
        assert_eq!(answer.status, 201, "{body}: {}", answer.text());
        let stored = nodes.stored("c-1");
        for member in ["name", "name_ix", "phone", "id_card"] {
            assert_eq!(stored[member], before[member], "{member}");
        }
        assert_eq!(kid_of(&stored["address"], 2), active(&nodes.one.file, "main", &LineName::Seal));
        let clear = read(&nodes.both, "shop", "account").await.json();
        assert_eq!((&clear["name"], &clear["address"]), (&json!("Mei Tanaka"), &json!(address)));
        assert_eq!(clear["phone"], "+81355501234");
        // Its term was carried with it.
        let found = find(&nodes.both, json!({"name": "MEI TANAKA"})).await.json();
        assert_eq!(found["docs"].as_array().unwrap().len(), 1, "{found}");
    }
    let created = nodes.one.ask("shop", "account", Method::PUT, "/customers/c-3", r#"{"address":"Kobe","name":null}"#).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert!(!nodes.one.audit_text().contains("\"kind\":\"alarm\""));

    // Files and sweeps are for where all rings of a collection are held.
    let run = |words: &str| {
        let words = words.split_whitespace().map(str::to_owned);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_sudare"))
            .args(words)
            .current_dir(nodes.one.folder.path())
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    fs::write(nodes.one.folder.path().join("in.jsonl"), "{\"_id\":\"c-9\",\"name\":\"Hanako\"}\n").unwrap();
    for words in [
        "seal --collection customers in.jsonl out.jsonl",
        "open --reason test --collection customers in.jsonl out.jsonl",
        "sweep migrate --collection customers",
    ] {
        let (code, said) = run(words);
        let expected = "field name of collection customers has its keys in the ring identity, which this node does not hold: run this where every ring of the collection is held\n";
        assert_eq!((code, said.as_str()), (2, expected), "{words}");
    }
}

/// Who has one ring and can write to the database, or misses `ring` in a field map, puts nothing into a field of another.
#[tokio::test]
async fn t01_what_a_node_seals_under_another_ring_opens_at_no_field_of_this_one() {
    let nodes = Nodes::start().await;
    let text = fs::read_to_string(&nodes.one.file).unwrap();
    fs::write(&nodes.one.file, text.replace(", ring = \"identity\"", "").replace(NOT_HELD, "")).unwrap();
    nodes.one.running.as_ref().unwrap().reload(&nodes.one.file).unwrap();
    let written = nodes.one.ask("shop", "account", Method::PUT, "/customers/c-1", MEI).await;
    assert_eq!(written.status, 201, "{}", written.text());
    let stored = nodes.stored("c-1");
    assert_eq!(
        kid_of(&stored["name"], 2),
        active(&nodes.both.file, "main", &LineName::Seal),
        "a key that the other node has, too"
    );
    assert_eq!(read(&nodes.one, "shop", "account").await.json()["name"], "Mei Tanaka");

    let answer = read(&nodes.both, "shop", "account").await;
    assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()));
    tells_nothing(&answer.text());
    // Nor does a search find by it, nor a write take it.
    let found = find(&nodes.both, json!({"id_card": "123456789018"})).await.json();
    assert_eq!(found["docs"], json!([]), "{found}");
    let back = json!({"_rev": stored["_rev"], "name": stored["name"]}).to_string();
    let answer = nodes.both.ask("shop", "account", Method::PUT, "/customers/c-1", back.clone()).await;
    assert_eq!(answer.outcome(), (422, "foreign-envelope".to_owned()));
    let at_home = nodes.one.ask("shop", "account", Method::PUT, "/customers/c-1", back).await;
    assert_eq!(at_home.status, 201, "where it is of the field's ring, it is taken: {}", at_home.text());
}

#[tokio::test]
async fn rings_are_rotated_one_by_one_and_a_reload_brings_one_or_takes_it_away() {
    let nodes = Nodes::start().await;
    nodes.store_mei().await;
    let main_before = fs::read(nodes.both.folder.path().join("keys/ring.json")).unwrap();
    let (first, lookup) =
        (active(&nodes.both.file, "identity", &LineName::Seal), active(&nodes.both.file, "identity", &LineName::Lookup));
    for line in [LineName::Seal, LineName::Lookup, LineName::Token] {
        let settings = settings(&nodes.both.file);
        let config = settings.ring("identity").unwrap();
        Change { config, clock: &SystemClock, at_revision: None }.rotate(&line).unwrap();
    }
    nodes.both.running.as_ref().unwrap().reload(&nodes.both.file).unwrap();
    assert_eq!(fs::read(nodes.both.folder.path().join("keys/ring.json")).unwrap(), main_before);
    let told = metrics(&nodes.both);
    for line in [
        "sudare_key_ring_revision{ring=\"main\"} 1".to_owned(),
        "sudare_key_ring_revision{ring=\"identity\"} 4".to_owned(),
        format!("sudare_key_version{{line=\"seal\",kid=\"{first}\",state=\"deactivated\",ring=\"identity\"}} 1"),
    ] {
        assert!(told.lines().any(|told| told == line), "no {line} in\n{told}");
    }
    // What the old versions protected opens and is found; what is new hangs on the new ones.
    let second = nodes.both.ask("shop", "account", Method::PUT, "/customers/c-2", MEI).await;
    assert_eq!(second.status, 201, "{}", second.text());
    assert!(nodes.both.audit_text().contains("ring revision 1, ring identity revision 4"), "{}", nodes.both.audit_text());
    let stored = nodes.stored("c-2");
    assert_eq!(kid_of(&stored["name"], 2), active(&nodes.both.file, "identity", &LineName::Seal));
    assert_ne!(kid_of(&stored["name"], 2), first);
    assert_ne!(kid_of(&stored["name_ix"], 1), lookup);
    for selector in [json!({"name": "mei tanaka"}), json!({"id_card": "123456789018"})] {
        assert_eq!(find(&nodes.both, selector.clone()).await.json()["docs"].as_array().unwrap().len(), 2, "{selector}");
    }

    // The other node is given the ring: first the wrong file, which nothing of is taken, then the right one.
    let one = nodes.one.folder.path();
    let reload = || nodes.one.running.as_ref().unwrap().reload(&nodes.one.file).map_err(|error| error.to_string());
    let text = fs::read_to_string(&nodes.one.file).unwrap();
    fs::write(&nodes.one.file, text.replace(NOT_HELD, HELD)).unwrap();
    fs::copy(one.join("keys/ring.json"), one.join("keys/identity.json")).unwrap();
    fs::copy(one.join("keys/kek"), one.join("keys/identity.kek")).unwrap();
    let said = reload().unwrap_err();
    assert!(said.contains("belongs to ring \"main\", not \"identity\": name the right file in [keys.identity] ring"), "{said}");
    assert_eq!(read(&nodes.one, "shop", "account").await.outcome(), (403, "ring-not-held".to_owned()), "the old set stays");
    for name in ["keys/identity.json", "keys/identity.kek"] {
        fs::remove_file(one.join(name)).unwrap();
        fs::copy(nodes.both.folder.path().join(name), one.join(name)).unwrap();
    }
    reload().unwrap();
    assert_eq!(read(&nodes.one, "mailer", "marketing").await.json()["name"], "M••• T•••");
    // And it is taken away again; what it has seen of the ring's revisions it remembers.
    fs::write(&nodes.one.file, &text).unwrap();
    reload().unwrap();
    assert_eq!(read(&nodes.one, "mailer", "marketing").await.outcome(), (403, "ring-not-held".to_owned()));
    assert!(KeyRing::open(settings(&nodes.both.file).ring("identity").unwrap()).unwrap().name() == &RingName::new("identity"));
}
