//! `sudare keys rewrap`, as a process beside running proxies: searches that never miss, writers that never lose, kills, faults, forgeries.
//!
//! The database is a double that checks `_rev` and answers `_find`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use sudare::base::{Kid, SystemClock};
use sudare::config;
use sudare::keys::{Change, KeyRing, LineName, State, Successor};

use crate::support::{Proxy, Setup, Stub, StubReply, decoded, take_one};

const POLICY: &str = r#"
policy = { id = "shop", version = 1 }
[category]
name    = { dpv = "pd:Name", nature = "identifying" }
email   = { dpv = "pd:EmailAddress", nature = "identifying" }
phone   = { dpv = "pd:TelephoneNumber", nature = "identifying" }
id-card = { dpv = "pd:OfficialID", nature = "identifying" }
[purpose.registration]
callers = ["shop"]
reveal  = {}
writes  = ["name", "email", "phone", "id-card"]
[purpose.account]
callers = ["shop"]
reveal  = { "*" = "clear" }
delete  = true
[purpose.support]
callers = ["helpdesk"]
reveal  = { name = "masked", phone = "clear" }
writes  = ["phone"]
"#;

const FIELDS: &str = r#"
subject = "{id}"
[collection.customers.field]
name    = "$.name"
email   = { at = "$.email", index = { at = "$.email_ix", normalise = "email" } }
phone   = { at = "$.phones[*]" }
id-card = { at = "$.id_card", protect = "deterministic" }
"#;

/// Values and terms of one document.
const HANGING: u64 = 6;

#[derive(Default)]
struct Couch {
    documents: Mutex<BTreeMap<String, Value>>,
    /// Everything that was written, as it came.
    written: Mutex<Vec<u8>>,
    /// Somebody else is faster than so many of the bulk writes.
    races: AtomicU64,
    /// Bulk writes that fail before anything is stored.
    failures: AtomicU64,
    /// Bulk writes are said to be stored, and are not.
    lies: AtomicBool,
    /// Bulk writes are answered with something else.
    nonsense: AtomicBool,
    /// The next search says that it came, and looks only when it is told to.
    held: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

/// As Mango compares, as far as these tests ask.
fn fits(document: &Value, selector: &Value) -> bool {
    selector.as_object().unwrap().iter().all(|(name, condition)| match (name.as_str(), condition) {
        ("$and", Value::Array(all)) => all.iter().all(|each| fits(document, each)),
        (_, Value::Object(operators)) => operators.iter().all(|(operator, operand)| match operator.as_str() {
            "$in" => document.get(name).is_some_and(|value| operand.as_array().unwrap().contains(value)),
            "$eq" => document.get(name) == Some(operand),
            other => panic!("the test's database does not know {other}"),
        }),
        _ => document.get(name) == Some(condition),
    })
}

impl Couch {
    fn put(&self, mut document: Value) -> Result<Value, Value> {
        let mut documents = self.documents.lock().unwrap();
        let id = document["_id"].as_str().unwrap().to_owned();
        let there = documents.get(&id).map(|there| there["_rev"].as_str().unwrap().to_owned());
        if there.as_deref() != document.get("_rev").and_then(Value::as_str) {
            return Err(json!({"id": id, "error": "conflict", "reason": "Document update conflict."}));
        }
        let generation: u64 = there.map_or(0, |rev| rev.split_once('-').unwrap().0.parse().unwrap());
        let rev = format!("{}-{generation:032x}", generation + 1);
        document["_rev"] = json!(rev);
        documents.insert(id.clone(), document);
        Ok(json!({"ok": true, "id": id, "rev": rev}))
    }

    fn race(&self, id: &str) {
        let mut document = self.documents.lock().unwrap()[id].clone();
        document["count"] = json!(document["count"].as_u64().unwrap() + 1);
        self.put(document).unwrap();
    }

    fn answer(&self, method: &Method, target: &str, body: &[u8]) -> StubReply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(decoded);
        if *method == Method::PUT || path.ends_with("/_bulk_docs") {
            self.written.lock().unwrap().extend_from_slice(body);
        }
        let documents = || self.documents.lock().unwrap();
        let json_body = || serde_json::from_slice::<Value>(body).unwrap();
        match (method.as_str(), path) {
            ("GET", "/customers") => StubReply::json(200, json!({"doc_count": documents().len()}).to_string()),
            ("GET", "/customers/_all_docs") => {
                let from: Option<String> = parameter("startkey").map(|key| serde_json::from_str(&key).unwrap());
                let limit: usize = parameter("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
                let documents = documents();
                let rows = documents.iter().filter(|(id, _)| from.as_ref().is_none_or(|from| *id >= from)).take(limit);
                let rows: Vec<Value> = rows
                    .map(|(id, document)| json!({"id": id, "key": id, "value": {"rev": document["_rev"]}, "doc": document}))
                    .collect();
                StubReply::json(200, json!({"total_rows": documents.len(), "offset": 0, "rows": rows}).to_string())
            }
            ("POST", "/customers/_find") => {
                let held = self.held.lock().unwrap().take();
                if let Some((came, go_on)) = held {
                    came.send(()).unwrap();
                    tokio::task::block_in_place(|| go_on.recv().unwrap());
                }
                let query = json_body();
                let found: Vec<Value> =
                    documents().values().filter(|document| fits(document, &query["selector"])).cloned().collect();
                StubReply::json(200, json!({"docs": found, "bookmark": "nil"}).to_string())
            }
            ("POST", "/customers/_bulk_docs") => {
                if take_one(&self.failures) {
                    return StubReply::json(503, "{\"error\":\"overloaded\"}");
                }
                if self.nonsense.load(Ordering::SeqCst) {
                    return StubReply::json(201, "[{\"ok\":true,\"id\":\"c-0000\",\"rev\":\"1-a\"}]");
                }
                let docs = json_body()["docs"].as_array().unwrap().clone();
                if take_one(&self.races) {
                    self.race(docs[0]["_id"].as_str().unwrap());
                }
                let lies = self.lies.load(Ordering::SeqCst);
                let done = docs.into_iter().map(|document| {
                    if lies {
                        return json!({"ok": true, "id": document["_id"], "rev": "9-a"});
                    }
                    self.put(document).unwrap_or_else(|conflict| conflict)
                });
                StubReply::json(201, Value::Array(done.collect()).to_string())
            }
            ("PUT", _) => {
                let mut document = json_body();
                document["_id"] = json!(decoded(path.strip_prefix("/customers/").unwrap()));
                match self.put(document) {
                    Ok(done) => StubReply::json(201, done.to_string()),
                    Err(_) => StubReply::json(409, "{\"error\":\"conflict\",\"reason\":\"Document update conflict.\"}"),
                }
            }
            ("GET", _) => match documents().get(&decoded(path.strip_prefix("/customers/").unwrap())) {
                Some(document) => StubReply::json(200, document.to_string()),
                None => StubReply::json(404, "{\"error\":\"not_found\",\"reason\":\"missing\"}"),
            },
            _ => StubReply::json(405, "{\"error\":\"method_not_allowed\"}"),
        }
    }

    fn text(&self) -> String {
        serde_json::to_string(&*self.documents.lock().unwrap()).unwrap()
    }

    fn document(&self, id: &str) -> Value {
        self.documents.lock().unwrap()[id].clone()
    }
}

fn id_of(number: usize) -> String {
    format!("c-{number:04}")
}

fn customer(number: usize) -> Value {
    json!({
        "name": format!("Canary Name {number}"), "email": format!("canary-{number}@mail.example"),
        "phones": [format!("+81 Canary {number}"), null, "+81 Canary"], "id_card": format!("CANARY{number}"),
        "count": 0, "tier": "CONTROL",
    })
}

async fn started(count: usize) -> (Arc<Couch>, Proxy) {
    let couch = Arc::new(Couch::default());
    let ours = Arc::clone(&couch);
    let stub = Stub::start(move |seen| ours.answer(&seen.method, &seen.target, &seen.body)).await;
    let setup = Setup { policy: POLICY.to_owned(), ..Setup::couchdb(stub.address) };
    let proxy = setup.collections(&format!("[collection.customers]\nmatch = \"customers\"\n{FIELDS}")).start().await;
    for number in 0..count {
        let (path, body) = (format!("/customers/{}", id_of(number)), customer(number).to_string());
        let answer = proxy.ask("shop", "registration", Method::PUT, &path, body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    (couch, proxy)
}

fn change<T>(file: &Path, act: impl FnOnce(&Change<'_>) -> T) -> T {
    let settings = config::load(file).unwrap();
    act(&Change { config: &settings.keys, clock: &SystemClock, at_revision: None })
}

fn ring(file: &Path) -> KeyRing {
    KeyRing::open(&config::load(file).unwrap().keys).unwrap()
}

fn active(file: &Path, line: &LineName) -> Kid {
    ring(file).active(line).unwrap()
}

/// Versions that are not active any more, of the lines that values hang on.
fn old(file: &Path) -> Vec<String> {
    let versions = ring(file).versions().into_iter();
    let versions = versions.filter(|version| matches!(version.line, LineName::Seal | LineName::Lookup | LineName::Token));
    versions.filter(|version| version.state != State::Active).map(|version| version.kid.to_string()).collect()
}

fn rotate(proxy: &Proxy, lines: &[LineName]) {
    for line in lines {
        change(&proxy.file, |change| change.rotate(line)).unwrap();
    }
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
}

fn command(file: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sudare"));
    command.args(["keys", "rewrap", "-c"]).arg(file).args(more);
    command
}

/// Runs it to its end. What it said must hold no value.
async fn rewrap(file: &Path, more: &[&str]) -> (i32, String, String) {
    let mut command = command(file, more);
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let (out, errors) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    for said in [&out, &errors] {
        assert!(!said.to_lowercase().contains("canary") && !said.contains("sdr1."), "{said}");
    }
    (status.code().unwrap(), out, errors)
}

async fn found(proxy: &Proxy, selector: Value) -> Vec<String> {
    let query = json!({ "selector": selector }).to_string();
    let answer = proxy.ask("shop", "account", Method::POST, "/customers/_find", query).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let docs = answer.json()["docs"].as_array().unwrap().clone();
    docs.iter().map(|document| document["_id"].as_str().unwrap().to_owned()).collect()
}

/// Reads a document and writes it back with one more count, until it is not too late.
async fn count_up(proxy: &Proxy, id: &str) {
    let path = format!("/customers/{id}");
    for _ in 0..100 {
        let answer = proxy.ask("shop", "account", Method::GET, &path, "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut document = answer.json();
        document["count"] = json!(document["count"].as_u64().unwrap() + 1);
        let answer = proxy.ask("shop", "account", Method::PUT, &path, document.to_string()).await;
        if answer.status == 201 {
            return;
        }
        assert_eq!(answer.status, 409, "{}", answer.text());
    }
    panic!("a writer that never gets through");
}

fn number(from: &AtomicU64, below: usize) -> usize {
    // Spread over all, in an order of its own.
    let next = from.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    usize::try_from(next).unwrap() % below
}

/// The whole story: both lines are rotated, the sweep is killed again and again and begun again, and rotated once more under way, while
/// clients read, write and search.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sweep_that_is_killed_and_resumed_loses_nothing_and_no_search_misses() {
    const DOCUMENTS: usize = 240;
    let (couch, proxy) = started(DOCUMENTS).await;
    rotate(&proxy, &[LineName::Seal, LineName::Lookup]);
    let proxy = Arc::new(proxy);
    let stop = Arc::new(AtomicBool::new(false));
    let (searches, writes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let (proxy, stop, searches) = (Arc::clone(&proxy), Arc::clone(&stop), Arc::clone(&searches));
        clients.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let n = number(&searches, DOCUMENTS);
                assert_eq!(found(&proxy, json!({"id_card": format!("CANARY{n}")})).await, [id_of(n)], "missed by its card");
                assert_eq!(
                    found(&proxy, json!({"email": format!("Canary-{n}@MAIL.example")})).await,
                    [id_of(n)],
                    "missed by its term"
                );
            }
        });
    }
    let counting = {
        let (proxy, stop, writes) = (Arc::clone(&proxy), Arc::clone(&stop), Arc::clone(&writes));
        tokio::task::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                count_up(&proxy, &id_of(number(&writes, DOCUMENTS))).await;
            }
        })
    };
    let mut killed = 0;
    for run in 0..4_u64 {
        let mut sweep = command(&proxy.file, &["--rate", "60", "--parallel", "2"]);
        let mut sweep = sweep.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(700 + 150 * run)).await;
        if run == 2 {
            // Somebody rotates while it runs: from the next page on it seals under the newest.
            rotate(&proxy, &[LineName::Seal]);
            tokio::time::sleep(Duration::from_millis(600)).await;
        }
        sweep.kill().unwrap();
        killed += u32::from(sweep.wait().unwrap().code().is_none());
    }
    assert!(killed > 1, "only {killed} sweeps were killed in the middle");
    // Once more, or on a fast machine the clients' writes have left nothing to resume.
    rotate(&proxy, &[LineName::Seal]);
    let old = old(&proxy.file);
    assert_eq!(old.len(), 4);
    let under_way = couch.text();
    assert!(old.iter().any(|kid| under_way.contains(kid)), "nothing was left to resume");
    let (code, out, errors) = rewrap(&proxy.file, &["--rate", "400"]).await;
    assert_eq!(code, 0, "{out}{errors}");
    stop.store(true, Ordering::SeqCst);
    counting.await.unwrap();
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    // Nothing hangs on an old version.
    let stored = couch.text();
    assert!(old.iter().all(|kid| !stored.contains(kid)), "{out}");
    for kid in &old {
        let line = out.lines().find(|line| line.starts_with(kid.as_str())).unwrap();
        assert!(line.ends_with("  0"), "{out}");
    }
    // No write was lost, everything reads as it was written, and nothing clear was ever sent; the control shows that it would be seen.
    let counts: u64 = couch.documents.lock().unwrap().values().map(|document| document["count"].as_u64().unwrap()).sum();
    assert_eq!(counts, writes.load(Ordering::SeqCst), "a newer document was overwritten");
    for n in 0..DOCUMENTS {
        let mut document = proxy.ask("shop", "account", Method::GET, &format!("/customers/{}", id_of(n)), "").await.json();
        for member in ["_id", "_rev", "count"] {
            document.as_object_mut().unwrap().remove(member);
        }
        let mut expected = customer(n);
        expected.as_object_mut().unwrap().remove("count");
        assert_eq!(document, expected);
    }
    let written = String::from_utf8(couch.written.lock().unwrap().clone()).unwrap();
    assert!(written.contains("CONTROL") && !written.to_lowercase().contains("canary"));
    let (searches, writes) = (searches.load(Ordering::SeqCst), writes.load(Ordering::SeqCst));
    assert!(searches > 20 && writes > 10, "{searches} searches, {writes} writes: hardly any");
}

/// The database takes its time over a search; when it looks, the document has a term that nobody had yet when it was asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_search_under_way_finds_what_was_made_anew_meanwhile() {
    let (couch, proxy) = started(3).await;
    for member in ["email", "id_card"] {
        let (came, asked) = mpsc::channel();
        let (go_on, told) = mpsc::channel();
        *couch.held.lock().unwrap() = Some((came, told));
        let meanwhile = async {
            tokio::task::spawn_blocking(move || asked.recv().unwrap()).await.unwrap();
            rotate(&proxy, &[LineName::Lookup]);
            assert_eq!(rewrap(&proxy.file, &[]).await.0, 0);
            go_on.send(()).unwrap();
        };
        let (ids, ()) = tokio::join!(found(&proxy, json!({ member: customer(1)[member] })), meanwhile);
        assert_eq!(ids, [id_of(1)], "{member}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_counts_and_writes_nothing() {
    let (couch, proxy) = started(5).await;
    let before = active(&proxy.file, &LineName::Seal);
    let (code, out, _) = rewrap(&proxy.file, &["--dry-run"]).await;
    assert_eq!((code, out.contains("customers: 5 documents, 0 values hang")), (0, true), "{out}");
    rotate(&proxy, &[LineName::Seal, LineName::Lookup]);
    let stored = couch.text();
    let written = couch.written.lock().unwrap().len();
    let (code, out, errors) = rewrap(&proxy.file, &["--dry-run"]).await;
    assert_eq!(code, 0, "{errors}");
    assert!(out.contains(&format!("customers: 5 documents, {} values hang", 5 * HANGING)), "{out}");
    assert!(out.contains(&format!("{before}  seal    deactivated  20")), "{out}");
    assert_eq!((couch.text(), couch.written.lock().unwrap().len()), (stored, written));
    let (code, out, _) = rewrap(&proxy.file, &["--format", "json"]).await;
    let said: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &said["complete"], &said["parts"][0]["anew"]), (0, &json!(true), &json!(5 * HANGING)), "{said}");
    assert_eq!(said["versions"].as_array().unwrap().iter().map(|version| version["left"].as_u64().unwrap()).sum::<u64>(), 0);
    // One line only.
    rotate(&proxy, &[LineName::Seal, LineName::Lookup]);
    let (code, out, _) = rewrap(&proxy.file, &["--line", "lookup", "--collection", "customers"]).await;
    assert!(code == 0 && out.contains("with 10 values sealed anew"), "{out}");
    // Wrong words are said so.
    let (code, _, errors) = rewrap(&proxy.file, &["--collection", "custommers"]).await;
    assert!(code == 2 && errors.contains("no such collection; it has customers"), "{errors}");
    assert_eq!(rewrap(&proxy.file, &["--line", "audit"]).await.0, 2);
    assert_eq!(rewrap(&proxy.file, &["--names", "/nowhere/names"]).await.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_forged_is_named_before_it_is_like_any_other() {
    let (couch, proxy) = started(3).await;
    let lost = active(&proxy.file, &LineName::Seal);
    change(&proxy.file, |change| change.compromise(&[lost], Successor::Make)).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    let get = async |id: &str| proxy.ask("shop", "account", Method::GET, &format!("/customers/{id}"), "").await.outcome();
    assert_eq!(get("c-0001").await, (500, "key-compromised".to_owned()));
    // Without a place for the names it does not go on.
    let stored = couch.text();
    let (code, _, errors) = rewrap(&proxy.file, &[]).await;
    assert!(code == 1 && errors.contains("--names FILE") && errors.contains(&lost.to_string()), "{errors}");
    assert_eq!(couch.text(), stored);
    // One of them is spliced from another document: it does not open, and is left.
    let mut spliced = couch.document("c-0002");
    spliced["name"] = couch.document("c-0001")["name"].clone();
    couch.put(spliced.clone()).unwrap();
    let names = proxy.folder.path().join("names.tsv");
    let (code, out, errors) = rewrap(&proxy.file, &["--names", names.to_str().unwrap()]).await;
    assert_eq!(code, 1, "{out}{errors}");
    assert!(out.contains("ALARM customers: 11 values hung on a compromised version"), "{out}");
    assert!(out.contains("value-not-authentic: 1 values that do not open"), "{out}");
    assert!(out.contains(&format!("{lost}  seal    compromised  1")) && out.contains("not all is done"), "{out}");
    let kept = fs::read_to_string(&names).unwrap();
    let line = |id: &str, field: &str, code: &str| format!("customers\t\"{id}\"\t{field}\t{code}\t{lost}\n");
    assert_eq!(kept.matches("key-compromised").count(), 11, "{kept}");
    assert!(
        kept.contains(&line("c-0001", "name", "key-compromised")) && kept.contains(&line("c-0002", "email", "key-compromised"))
    );
    assert!(kept.contains(&line("c-0002", "name", "value-not-authentic")) && !kept.to_lowercase().contains("canary"), "{kept}");
    assert_eq!(fs::metadata(&names).unwrap().permissions().mode() & 0o777, 0o600);
    // What was sealed anew is shown again; what does not belong there is not.
    assert_eq!(get("c-0001").await.0, 200);
    assert_eq!(get("c-0002").await.0, 500);
    assert_eq!(couch.document("c-0002")["name"], spliced["name"]);
    // Once somebody has mended it, the same command has nothing left to do.
    let mut mended = couch.document("c-0002");
    mended["name"] = Value::Null;
    couch.put(mended).unwrap();
    assert_eq!(rewrap(&proxy.file, &["--names", names.to_str().unwrap()]).await.0, 0);
    assert_eq!(get("c-0002").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_conflicts_fails_or_lies_is_not_believed() {
    let (couch, proxy) = started(450).await;
    rotate(&proxy, &[LineName::Seal]);
    let kid = old(&proxy.file).remove(0);
    // Conflicts and failures come again in the next pass, on what was written meanwhile.
    couch.races.store(2, Ordering::SeqCst);
    couch.failures.store(1, Ordering::SeqCst);
    let (code, out, errors) = rewrap(&proxy.file, &["--parallel", "1"]).await;
    assert_eq!(code, 0, "{out}{errors}");
    assert!(out.contains(" 2 conflicts tried again") && errors.contains("503") && errors.contains("come again"), "{out}{errors}");
    assert!(!couch.text().contains(&kid));
    let counts: u64 = couch.documents.lock().unwrap().values().map(|document| document["count"].as_u64().unwrap()).sum();
    assert_eq!(counts, 2, "what the others wrote is there");
    // It says that it stored, and did not: the next pass looks, and so on, until it gives up and says so.
    rotate(&proxy, &[LineName::Seal]);
    let stored = couch.text();
    couch.lies.store(true, Ordering::SeqCst);
    let (code, out, _) = rewrap(&proxy.file, &[]).await;
    assert!(code == 1 && out.contains("20 passes") && out.contains("not all is done"), "{out}");
    assert_eq!(couch.text(), stored);
    couch.lies.store(false, Ordering::SeqCst);
    couch.nonsense.store(true, Ordering::SeqCst);
    let (code, _, errors) = rewrap(&proxy.file, &[]).await;
    assert!(code == 1 && errors.contains("is not what its API says"), "{errors}");
    couch.nonsense.store(false, Ordering::SeqCst);
    // A ring that is not to be had.
    let ring_file = config::load(&proxy.file).unwrap().keys.ring.shown().to_path_buf();
    let bytes = fs::read(&ring_file).unwrap();
    fs::write(&ring_file, &bytes[..bytes.len() / 2]).unwrap();
    let (code, _, errors) = rewrap(&proxy.file, &[]).await;
    assert!(code == 1 && errors.contains("ring.json"), "{errors}");
    fs::write(&ring_file, &bytes).unwrap();
    assert_eq!(rewrap(&proxy.file, &[]).await.0, 0);
    assert!(old(&proxy.file).iter().all(|kid| !couch.text().contains(kid)));
}

const TOKENS: &str = r#"
[collection.customers]
match   = "/customers/{id}"
rows    = ["$", "$[*]"]
subject = "{id}"
[collection.customers.field]
name    = "$.name"
email   = { at = "$.email", index = { at = "$.email_ix", normalise = "email" } }
phone   = { at = "$.phone", protect = "token", consistent = false }
id-card = { at = "$.id_card", protect = "token" }
[collection.orders]
match   = "/orders/{id}"
rows    = ["$", "$[*]"]
subject = "{id}"
[collection.orders.field]
name    = "$.name"
"#;

/// The embedded store and the embedded vault: both belong to one process, so the proxy stands still meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_documents_and_tokens_are_made_anew_while_the_proxy_stands_still() {
    let mut proxy = Setup { policy: POLICY.to_owned(), ..Setup::embedded() }.collections(TOKENS).start().await;
    let person = |n: usize| {
        json!({
            "id": id_of(n), "name": format!("Canary {n}"), "email": format!("canary{n}@mail.example"),
            "phone": format!("Canary {n}"), "id_card": format!("CANARY{}", n % 3),
        })
    };
    for n in 0..7 {
        let answer = proxy.ask("shop", "registration", Method::POST, "/customers", person(n).to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let order = r#"{"id":"o-1","name":"Canary order"}"#;
    assert_eq!(proxy.ask("shop", "registration", Method::POST, "/orders", order).await.status, 201);
    let tokens = async |proxy: &Proxy| {
        let mut all = Vec::new();
        for n in 0..7 {
            let stored = proxy.database(Method::GET, &format!("/customers/{}", id_of(n)), "").await.json();
            all.push((stored["id_card"].clone(), stored["phone"].clone()));
        }
        all
    };
    let before = tokens(&proxy).await;
    rotate(&proxy, &[LineName::Seal, LineName::Lookup, LineName::Token]);
    // The proxy holds both, and it says what to do.
    let (code, _, errors) = rewrap(&proxy.file, &[]).await;
    assert!(code == 1 && errors.contains("stop `sudare serve`"), "{errors}");
    proxy.stop().await;
    let (code, out, errors) = rewrap(&proxy.file, &["--dry-run"]).await;
    assert_eq!(code, 0, "{errors}");
    // Seven fresh tokens and three consistent ones; the latter hang on both lines.
    assert!(out.contains("(vault): 10 rows, 13 values hang"), "{out}");
    let (code, out, errors) = rewrap(&proxy.file, &[]).await;
    assert_eq!(code, 0, "{out}{errors}");
    assert!(out.contains("customers: 7 documents, 7 written with 21 values sealed anew"), "{out}");
    assert!(out.contains("orders: 1 document, 1 written with 1 value sealed anew"), "{out}");
    assert!(out.contains("(vault): 10 rows, 10 made anew"), "{out}");
    let (code, out, _) = rewrap(&proxy.file, &["--line", "token"]).await;
    assert!(code == 0 && out.contains("(vault): 10 rows, 0 made anew"), "{out}");
    let check = Command::new(env!("CARGO_BIN_EXE_sudare")).args(["store", "check", "-c"]).arg(&proxy.file).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    // The same tokens stand for the same values, and are found again.
    proxy.running = Some(sudare::app::start(config::load(&proxy.file).unwrap()).unwrap_or_else(|error| panic!("{error}")));
    let config::Endpoint::Tcp(address) = *proxy.running.as_ref().unwrap().address() else { panic!("TCP expected") };
    proxy.address = address;
    assert_eq!(tokens(&proxy).await, before);
    for n in 0..7 {
        let answer = proxy.ask("shop", "account", Method::GET, &format!("/customers/{}", id_of(n)), "").await;
        let mut document = answer.json();
        document.as_object_mut().unwrap().retain(|name, _| !name.starts_with('_'));
        assert_eq!(document, person(n), "{}", answer.text());
    }
    let found = proxy.ask("shop", "account", Method::GET, "/customers?email=CANARY5@mail.example", "").await;
    assert_eq!(found.json()[0]["id"], id_of(5), "{}", found.text());
    proxy.ask("shop", "registration", Method::POST, "/customers", person(8).to_string()).await;
    let again = proxy.database(Method::GET, "/customers/c-0008", "").await.json();
    assert_eq!(again["id_card"], before[2].0, "an equal value has the same token");
}

/// Documents are in a database of their own, so only the vault waits for the proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_a_proxy_holds_does_not_hold_up_the_documents() {
    let couch = Arc::new(Couch::default());
    let ours = Arc::clone(&couch);
    let stub = Stub::start(move |seen| ours.answer(&seen.method, &seen.target, &seen.body)).await;
    let fields = FIELDS.replace("protect = \"deterministic\"", "protect = \"token\"");
    let setup = Setup { policy: POLICY.to_owned(), ..Setup::couchdb(stub.address) };
    let mut proxy = setup.collections(&format!("[collection.customers]\nmatch = \"customers\"\n{fields}")).start().await;
    let answer = proxy.ask("shop", "registration", Method::PUT, "/customers/c-0001", customer(1).to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    rotate(&proxy, &[LineName::Seal, LineName::Token]);
    let (code, out, errors) = rewrap(&proxy.file, &[]).await;
    assert!(code == 1 && out.contains("customers: 1 document, 1 written with 4 values"), "{out}{errors}");
    assert!(out.contains("the vault was not looked at") && out.contains("stop it, run the same command again"), "{out}");
    proxy.stop().await;
    let (code, out, errors) = rewrap(&proxy.file, &["--collection", "customers"]).await;
    assert!(code == 0 && out.contains("(vault): 1 row, 1 made anew"), "{out}{errors}");
}

/// A write carries what its caller does not see, and leaves nothing of it on an old version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_write_carries_is_sealed_under_the_active_version() {
    let (couch, proxy) = started(1).await;
    rotate(&proxy, &[LineName::Seal, LineName::Lookup]);
    let seen = proxy.ask("helpdesk", "support", Method::GET, "/customers/c-0000", "").await;
    let mut document = seen.json();
    document["phones"][0] = json!("+81 Canary new");
    let answer = proxy.ask("helpdesk", "support", Method::PUT, "/customers/c-0000", document.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert!(old(&proxy.file).iter().all(|kid| !couch.text().contains(kid)), "{}", couch.text());
    let read = proxy.ask("shop", "account", Method::GET, "/customers/c-0000", "").await.json();
    assert_eq!(
        (&read["name"], &read["id_card"], &read["phones"][0]),
        (&json!("Canary Name 0"), &json!("CANARY0"), &json!("+81 Canary new"))
    );
    assert_eq!(found(&proxy, json!({"email": "canary-0@mail.example"})).await, ["c-0000"]);
}
