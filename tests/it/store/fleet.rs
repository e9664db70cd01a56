//! Two proxies, each a process of its own, over one PostgreSQL and one database: what one makes the other knows at once, and one that is
//! killed in the middle of a batch leaves nothing half done.
//!
//! `SUDARE_FLEET_KILLS` sets how often one is killed (5 if not set); the long form is
//! `SUDARE_FLEET_KILLS=60 cargo test --test it store::fleet`. The counts are printed.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use sudare::config;
use sudare::keys::KeyRing;
use sudare::store::Store;
use sudare::vault::{Scope, Vault};

use super::server::Database;
use super::{by_chance, checked_by_command, tell};
use crate::support::{Answer, Process, Proxy, Seen, Setup, Stub, StubReply, try_send};

/// Documents of a batch; each has two consistent tokens and a fresh one.
const BATCH: usize = 500;

const COLLECTIONS: &str = r#"
[collection.customers]
match   = "customers"
subject = "{id}"
[collection.customers.field]
name    = "$.name"
address = { at = "$.address", protect = "token", consistent = false }
phone   = { at = "$.phone", protect = "token", format = "digits" }
id-card = { at = "$.id_card", protect = "token" }
"#;

/// What CouchDB does with documents, as far as it matters here.
#[derive(Default)]
pub(super) struct Couch {
    pub(super) documents: BTreeMap<String, Value>,
    written: u64,
}

impl Couch {
    fn write(&mut self, mut document: Value) -> Value {
        let id = document["_id"].as_str().unwrap().to_owned();
        if self.documents.get(&id).map(|stored| &stored["_rev"]) != document.get("_rev") {
            return json!({"id": id, "error": "conflict", "reason": "Document update conflict."});
        }
        self.written += 1;
        let rev = format!("{}-x", self.written);
        document["_rev"] = json!(rev);
        self.documents.insert(id.clone(), document);
        json!({"ok": true, "id": id, "rev": rev})
    }

    pub(super) fn answer(&mut self, seen: &Seen) -> StubReply {
        let path = seen.target.split('?').next().unwrap();
        let Ok(body) =
            serde_json::from_slice::<Value>(&seen.body).or(if seen.method == Method::GET { Ok(Value::Null) } else { Err(()) })
        else {
            // Of a request that broke off nothing is done.
            return StubReply::json(400, r#"{"error":"bad_request","reason":"invalid UTF-8 JSON"}"#);
        };
        match (seen.method.as_str(), path.rsplit('/').next().unwrap()) {
            ("POST", "_bulk_docs") => {
                let results: Vec<Value> = body["docs"].as_array().unwrap().iter().map(|row| self.write(row.clone())).collect();
                StubReply::json(201, json!(results).to_string())
            }
            ("POST", "_bulk_get") => {
                let one =
                    |asked: &Value| json!({"id": asked["id"], "docs": [{"ok": self.documents[asked["id"].as_str().unwrap()]}]});
                let results: Vec<Value> = body["docs"].as_array().unwrap().iter().map(one).collect();
                StubReply::json(200, json!({"results": results}).to_string())
            }
            ("POST", "_find") => {
                let (member, value) = body["selector"].as_object().unwrap().iter().next().unwrap();
                let wanted = value.get("$eq").unwrap_or(value);
                let found: Vec<&Value> = self.documents.values().filter(|document| document[member] == *wanted).collect();
                StubReply::json(200, json!({"docs": found, "bookmark": "nil"}).to_string())
            }
            ("GET", id) => match self.documents.get(id) {
                Some(document) => StubReply::json(200, document.to_string()),
                None => StubReply::json(404, r#"{"error":"not_found","reason":"missing"}"#),
            },
            (_, id) => {
                let mut document = body;
                document["_id"] = json!(id);
                let result = self.write(document);
                StubReply::json(if result.get("ok").is_some() { 201 } else { 409 }, result.to_string())
            }
        }
    }
}

/// Two sets of files with one key ring, one store and one database.
struct Fleet {
    couch: Arc<Mutex<Couch>>,
    store: Database,
    files: [PathBuf; 2],
    _folders: [tempfile::TempDir; 2],
    _stub: Stub,
}

impl Fleet {
    async fn new() -> Option<Self> {
        let store = Database::new()?;
        let couch: Arc<Mutex<Couch>> = Arc::default();
        let held = Arc::clone(&couch);
        let stub = Stub::start(move |seen| held.lock().unwrap().answer(seen)).await;
        let url = format!("postgres://sudare@127.0.0.1:{}/{}", store.server.port, store.name);
        let setup = || {
            let bounds = "pool = 4\nstatement_timeout_ms = 20000\nconnect_timeout_ms = 20000";
            Setup::couchdb(stub.address).collections(COLLECTIONS).store(&format!("url = \"{url}\"\n{bounds}")).files()
        };
        let ((one, first), (other, second)) = (setup(), setup());
        for name in ["keys/ring.json", "keys/kek"] {
            fs::copy(one.path().join(name), other.path().join(name)).unwrap();
        }
        Some(Self { couch, store, files: [first, second], _folders: [one, other], _stub: stub })
    }

    fn start(&self, which: usize) -> Node {
        Node::of(Process::start(&self.files[which], ""))
    }

    /// What the database has of a document.
    fn stored(&self, id: &str) -> Option<Value> {
        self.couch.lock().unwrap().documents.get(id).cloned()
    }

    /// Waits until store and database have done what one that was killed had asked of them.
    async fn settled(&self) {
        let written = || self.couch.lock().unwrap().written;
        let mut last = None;
        while last.replace(written()) != Some(written()) {
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        let busy = "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' \
            and pid <> pg_backend_pid()";
        while self.store.number(busy) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The tokens that the store has for these people's telephones and id cards, without making any.
    async fn tokens(&self, people: &[Value]) -> Vec<Option<String>> {
        let settings = config::load(&self.files[1]).unwrap();
        let store = Store::open(&settings.store, None).unwrap();
        let vault = Vault::new(Arc::new(store), KeyRing::open(&settings.keys).unwrap().into());
        let asked = people.iter().flat_map(|person| {
            [("phone", "phone"), ("id-card", "id_card")]
                .map(|(field, member)| (Scope::named(&format!("customers.{field}")), person[member].to_string().into_bytes()))
        });
        vault.find(&asked.collect::<Vec<_>>()).await.unwrap()
    }

    /// The same of what the database has.
    fn tokens_stored(&self, people: &[Value]) -> Vec<Option<String>> {
        let of = |person: &Value| {
            let document = self.stored(person["_id"].as_str().unwrap()).unwrap();
            ["phone", "id_card"].map(|member| document[member].as_str().map(str::to_owned))
        };
        people.iter().flat_map(of).collect()
    }

    /// Everything fits, values and marks included, and there are `consistent` tokens that a value leads to.
    fn is_sound(&self, consistent: i64) {
        let (code, out, said) = checked_by_command(&self.files[1]);
        assert!(code == Some(0) && out.contains("everything fits\n"), "{out}{said}");
        assert_eq!(self.store.number("select count(*) from sudare_token_mark"), consistent, "{out}");
    }
}

struct Node {
    process: Process,
    address: SocketAddr,
}

impl Node {
    fn of(process: Process) -> Self {
        Self { address: process.address.parse().unwrap(), process }
    }

    async fn ask(&self, purpose: &str, method: Method, path: &str, body: String) -> Answer {
        ask(self.address, purpose, method, path, body).await.expect("an answer")
    }

    async fn bulk(&self, purpose: &str, people: &[Value]) {
        let answer = self.ask(purpose, Method::POST, "/customers/_bulk_docs", json!({"docs": people}).to_string()).await;
        assert!(is_done(&answer, people.len()), "{}", answer.text());
    }

    /// Every one of these is there, and is what was sent.
    async fn shows(&self, people: &[Value]) {
        let asked: Vec<Value> = people.iter().map(|person| json!({"id": person["_id"]})).collect();
        let answer = self.ask("account", Method::POST, "/customers/_bulk_get", json!({"docs": asked}).to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let results = answer.json()["results"].as_array().unwrap().clone();
        assert_eq!(results.len(), people.len());
        for (mut result, person) in results.into_iter().zip(people) {
            assert_eq!(shown(result["docs"][0]["ok"].take()), *person);
        }
    }
}

pub(super) async fn ask(address: SocketAddr, purpose: &str, method: Method, path: &str, body: String) -> Option<Answer> {
    let credential = Proxy::credential("shop");
    let headers = [("sudare-credential", credential.as_str()), ("data-purpose", purpose), ("content-type", "application/json")];
    let headers = if body.is_empty() { &headers[..2] } else { &headers[..] };
    try_send(address, method, path, headers, body).await
}

/// Every document of the batch was written.
fn is_done(answer: &Answer, documents: usize) -> bool {
    let text = answer.text();
    answer.status == 201 && text.matches("\"ok\":true").count() == documents && !text.contains("\"error\"")
}

/// Person `n`, in a document of this name.
fn person(id: &str, n: usize) -> Value {
    json!({"_id": id, "name": format!("Mei Tanaka {n}"), "address": format!("101-0047 Uchikanda {n}"),
        "phone": format!("+81-90-{:04}-{:04}", n / 10_000, n % 10_000), "id_card": format!("card {n}")})
}

fn batch(name: &str, from: usize) -> Vec<Value> {
    (0..BATCH).map(|n| person(&format!("{name}-{n}"), from + n)).collect()
}

/// A document as it was sent.
fn shown(mut document: Value) -> Value {
    document.as_object_mut().unwrap().remove("_rev");
    document
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_proxy_makes_the_other_opens_and_finds_at_once() {
    let Some(fleet) = Fleet::new().await else { return };
    let nodes = [fleet.start(0), fleet.start(1)];
    let begun = Instant::now();
    // Both tokenise the same values at the same time, the other one from the end.
    let (ours, mut theirs) = (batch("a", 0), batch("b", 0));
    theirs.reverse();
    tokio::join!(nodes[0].bulk("registration", &ours), nodes[1].bulk("registration", &theirs));
    theirs.reverse();
    let tokens = fleet.tokens_stored(&ours);
    assert_eq!(tokens, fleet.tokens_stored(&theirs), "one value, one token");
    assert!(tokens.iter().flatten().all(|token| token.starts_with("tok1_") || token.starts_with("+0")), "{tokens:?}");
    assert_eq!(fleet.tokens(&ours).await, tokens);
    fleet.is_sound(2 * i64::try_from(BATCH).unwrap());
    let raced = begun.elapsed();
    // No wait in between: one writes, the other reads and finds, in turn.
    let pairs = 50;
    for n in 0..pairs {
        let (one, other) = (&nodes[n % 2], &nodes[(n + 1) % 2]);
        let sent = person(&format!("c-{n}"), 100_000 + n);
        let path = format!("/customers/c-{n}");
        let answer = one.ask("registration", Method::PUT, &path, sent.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(shown(other.ask("account", Method::GET, &path, String::new()).await.json()), sent);
        for member in ["id_card", "phone"] {
            let query = json!({"selector": {member: sent[member]}}).to_string();
            let found = other.ask("account", Method::POST, "/customers/_find", query).await;
            assert_eq!(found.status, 200, "{}", found.text());
            let documents: Vec<Value> = found.json()["docs"].as_array().unwrap().iter().cloned().map(shown).collect();
            assert_eq!(documents, std::slice::from_ref(&sent), "by {member}");
        }
    }
    // A value of both batches is found in both documents, whichever is asked.
    for node in &nodes {
        let found =
            node.ask("account", Method::POST, "/customers/_find", r#"{"selector":{"id_card":"card 7"}}"#.to_owned()).await;
        let ids: Vec<Value> = found.json()["docs"].as_array().unwrap().iter().map(|document| document["_id"].clone()).collect();
        assert_eq!(ids, ["a-7", "b-7"]);
        // The control: what nobody has is not found.
        let none = node.ask("account", Method::POST, "/customers/_find", r#"{"selector":{"id_card":"card x"}}"#.to_owned()).await;
        assert_eq!(none.json()["docs"], json!([]));
    }
    tell(&format!(
        "two proxies over one PostgreSQL tokenised the same {} values at the same time in {raced:.1?}: one token each; {pairs} documents \
         written by one were read and found by the other at once",
        2 * BATCH
    ));
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waited).await.expect("the batch gets there");
}

/// What became of killed batches.
#[derive(Debug, Default)]
struct Killed {
    /// No token of it was made.
    before: u32,
    /// Tokens were made, and no document was written.
    between: u32,
    /// The database has it, and the client was not told.
    untold: u32,
    /// The client was told.
    told: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_killed_in_the_middle_of_a_batch_leaves_nothing_half_done() {
    let Some(fleet) = Fleet::new().await else { return };
    let other = fleet.start(1);
    let kills: usize = std::env::var("SUDARE_FLEET_KILLS").map_or(5, |count| count.parse().unwrap());
    let begun = Instant::now();
    // How long it takes, unkilled.
    let one = fleet.start(0);
    one.bulk("registration", &batch("w", 900_000)).await;
    let started = Instant::now();
    one.bulk("registration", &batch("v", 800_000)).await;
    let whole = u64::try_from(started.elapsed().as_micros()).unwrap();
    drop(one);
    let mut killed = Killed::default();
    for kill in 0..kills {
        let people = batch(&format!("k{kill}"), kill * BATCH);
        let one = fleet.start(0);
        let sent = json!({"docs": people}).to_string();
        let asked = tokio::spawn(ask(one.address, "registration", Method::POST, "/customers/_bulk_docs", sent));
        // At any time; as soon as its tokens are in the store; as soon as its documents are in the database.
        let written = fleet.couch.lock().unwrap().written;
        let marks = i64::try_from((2 + kill) * 2 * BATCH).unwrap();
        match kill % 3 {
            0 => tokio::time::sleep(Duration::from_micros(by_chance(whole + whole / 8))).await,
            1 => until(async || fleet.store.number("select count(*) from sudare_token_mark") > marks).await,
            _ => until(async || fleet.couch.lock().unwrap().written > written).await,
        }
        drop(one.process);
        let told = asked.await.unwrap();
        fleet.settled().await;

        // All of it or nothing, in the store and in the database.
        let tokens = fleet.tokens(&people).await;
        let made = tokens.iter().flatten().count();
        assert!(made == 0 || made == 2 * BATCH, "{made} tokens of one batch");
        let written = people.iter().filter(|person| fleet.stored(person["_id"].as_str().unwrap()).is_some()).count();
        assert!(written == 0 || (written == BATCH && made > 0), "{written} documents of one batch, {made} tokens");
        match (&told, written, made) {
            (Some(answer), ..) => {
                assert!(is_done(answer, BATCH) && written == BATCH, "{}", answer.text());
                killed.told += 1;
            }
            (None, BATCH, _) => killed.untold += 1,
            (None, _, 0) => killed.before += 1,
            (None, ..) => killed.between += 1,
        }
        fleet.is_sound(i64::try_from((2 + kill) * 2 * BATCH + made).unwrap());
        if written > 0 {
            other.shows(&people).await;
        }
        // The client writes it again, through the other one, over what is there.
        let mut again = people.clone();
        for person in &mut again {
            if let Some(stored) = fleet.stored(person["_id"].as_str().unwrap()) {
                person["_rev"] = stored["_rev"].clone();
            }
        }
        other.bulk("account", &again).await;
        let stored = fleet.tokens_stored(&people);
        assert!(made == 0 || stored == tokens, "the same tokens");
    }
    fleet.is_sound(i64::try_from((2 + kills) * 2 * BATCH).unwrap());
    let killed_ones = (0..kills).map(|kill| batch(&format!("k{kill}"), kill * BATCH));
    for people in [batch("w", 900_000), batch("v", 800_000)].into_iter().chain(killed_ones) {
        other.shows(&people).await;
    }
    // The control: a token that is none does not open.
    fleet.couch.lock().unwrap().documents.get_mut("w-1").unwrap()["address"] = json!("tok1_00000000000000000000000000");
    let answer = other.ask("account", Method::GET, "/customers/w-1", String::new()).await;
    assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()));
    tell(&format!(
        "killed a proxy {kills} times in the middle of {BATCH} documents (of {whole} µs): {} before a token was made, {} before a document \
         was written, {} after that and before the client was told, {} when all was done; nothing half done; every batch written again \
         with the same tokens; {:.1?}",
        killed.before,
        killed.between,
        killed.untold,
        killed.told,
        begun.elapsed()
    ));
}
