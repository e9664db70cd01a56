//! `kill -9` under write load, of the proxy and of the database behind it. After every restart each write that was acknowledged
//! is readable with its value, one that was not is there whole or not at all, no clear value stands in any file, and the audit log
//! verifies and agrees with every checkpoint kept on the way.
//!
//! `SUDARE_KILLS` sets how often each is killed (100 if not set); the counts are printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use sudare::{audit, config, keys};
use tokio::task::JoinSet;

use crate::canary::spellings;
use crate::support::{Answer, Process, Proxy, Setup, events, try_send};

/// Every protected value begins with it, so that one search finds any of them.
const CANARY: &str = "Kästner/Zq+";
/// Stands in an unprotected member of every document: the same search must find it.
const CONTROL: &str = "Kontrolle/Zq+ünprotected";
const CLIENTS: u64 = 6;
/// Documents of one client; it writes over them again and again.
const DOCUMENTS: u64 = 8;
/// After how many kills the whole log is verified and a checkpoint of it is kept.
const EVERY: u64 = 10;

fn kills() -> u64 {
    std::env::var("SUDARE_KILLS").map_or(100, |count| count.parse().unwrap())
}

/// Past the test harness, which would keep back what `eprintln` says.
#[expect(clippy::explicit_write, reason = "this is how it gets past")]
fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

/// Chance comes from the machine: where the load is when the signal arrives. These only have to differ.
struct Dice(u64);

impl Dice {
    fn up_to(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a document may be: what the last acknowledged write made of it, or a later write of which nobody knows.
#[derive(Default, Clone)]
struct Known {
    sure: Option<String>,
    perhaps: Vec<Option<String>>,
}

/// One client: its documents are written by nobody else.
struct Client {
    number: u64,
    dice: Dice,
    written: u64,
    known: BTreeMap<String, Known>,
    touched: BTreeSet<String>,
    acknowledged: u64,
    /// Answers that were neither yes nor a reset, with how often.
    refusals: BTreeMap<(u16, String), u64>,
}

impl Client {
    fn new(number: u64) -> Self {
        let (dice, known, touched, refusals) = (Dice(number), BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { number, dice, written: 0, known, touched, acknowledged: 0, refusals }
    }

    async fn ask(address: SocketAddr, method: Method, path: &str, body: String) -> Option<Answer> {
        let credential = Proxy::credential("shop");
        let headers =
            [("sudare-credential", credential.as_str()), ("data-purpose", "account"), ("content-type", "application/json")];
        let headers = if body.is_empty() { &headers[..2] } else { &headers[..] };
        try_send(address, method, path, headers, body).await
    }

    /// Writes one document after the other until told to stop, or until the proxy does not answer.
    async fn load(&mut self, address: SocketAddr, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let id = format!("k{}-{}", self.number, self.dice.up_to(DOCUMENTS));
            let path = format!("/customers/{id}");
            self.written += 1;
            let value = format!("{CANARY}{}-{}", self.number, self.written);
            let body = format!(r#"{{"id":"{id}","name":"{value}","phone":"{value}","tier":"{CONTROL}"}}"#);
            let (method, path, body, makes) = match self.dice.up_to(8) {
                0 => (Method::DELETE, path.as_str(), String::new(), None),
                1 => (Method::POST, "/customers", body, Some(value)),
                _ => (Method::PUT, path.as_str(), body, Some(value)),
            };
            self.touched.insert(id.clone());
            let known = self.known.entry(id).or_default();
            known.perhaps.push(makes.clone());
            let Some(answer) = Self::ask(address, method, path, body).await else { return };
            match answer.outcome() {
                (200 | 201 | 204, _) => {
                    *known = Known { sure: makes, perhaps: Vec::new() };
                    self.acknowledged += 1;
                }
                // It was there already, or is not there: the database did nothing.
                (404 | 409, _) => drop(known.perhaps.pop()),
                // The circuit is open: it was not sent.
                refusal if refusal.0 == 503 && refusal.1 == "database-unavailable" => {
                    known.perhaps.pop();
                    *self.refusals.entry(refusal).or_default() += 1;
                }
                refusal => *self.refusals.entry(refusal).or_default() += 1,
            }
        }
    }

    /// Reads what was written since the last check; from now on what is there is known.
    async fn check(&mut self, address: SocketAddr) {
        for id in std::mem::take(&mut self.touched) {
            let answer = Self::ask(address, Method::GET, &format!("/customers/{id}"), String::new()).await.expect("an answer");
            let found = match answer.status.as_u16() {
                404 => None,
                200 => {
                    let document = answer.json();
                    assert_eq!((&document["name"], &document["id"]), (&document["phone"], &id.as_str().into()), "half a write");
                    Some(document["name"].as_str().unwrap().to_owned())
                }
                other => panic!("{id}: {other} {}", answer.text()),
            };
            let known = self.known.get_mut(&id).unwrap();
            assert!(found == known.sure || known.perhaps.contains(&found), "{id}: {found:?}, not {:?}", known.sure);
            *known = Known { sure: found, perhaps: Vec::new() };
        }
    }

    /// Waits for the end of the circuit that the last kill opened: the first probe that is answered closes it.
    async fn served_again(address: SocketAddr) {
        let asked = async {
            while Self::ask(address, Method::GET, "/customers/nobody", String::new()).await.expect("an answer").status == 503 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), asked).await.expect("served again");
    }

    async fn check_all(&mut self, address: SocketAddr) {
        self.touched = self.known.keys().cloned().collect();
        self.check(address).await;
    }
}

/// Runs every client until `stop`, which is after `life`; then `kill` is called, and the clients are given back when all have seen it.
async fn under_load(mut clients: Vec<Client>, address: SocketAddr, life: Duration, kill: impl FnOnce()) -> Vec<Client> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for mut client in clients.drain(..) {
        let stop = Arc::clone(&stop);
        tasks.spawn(async move {
            client.load(address, &stop).await;
            client
        });
    }
    tokio::time::sleep(life).await;
    kill();
    tokio::time::sleep(Duration::from_millis(5)).await;
    stop.store(true, Ordering::Relaxed);
    let mut clients = tasks.join_all().await;
    clients.sort_by_key(|client| client.number);
    clients
}

/// The audit log as an operator proves it, and the checkpoints kept on the way.
struct Auditor {
    dir: std::path::PathBuf,
    keys: Vec<audit::Key>,
    kept: audit::Given,
}

impl Auditor {
    fn of(file: &Path) -> Self {
        let settings = config::load(file).unwrap();
        let keys = keys::KeyRing::open(&settings.keys).unwrap().audit_keys().unwrap();
        Self { dir: settings.audit.dir, keys, kept: audit::Given::default() }
    }

    fn verify(&mut self, when: &str) -> audit::VerifyReport {
        let report = audit::verify(&self.dir, &self.keys, &self.kept).unwrap_or_else(|error| panic!("{when}: {error}"));
        self.kept.checkpoints.push((when.to_owned(), audit::checkpoint(&self.dir, &self.keys).unwrap().into_bytes()));
        report
    }

    fn count(&self, kind: &str) -> u64 {
        let events = events(&self.dir, &self.keys, &audit::Filter::default());
        u64::try_from(events.iter().filter(|event| event.kind == kind).count()).unwrap()
    }
}

/// Which files under `folder` hold `value` in any spelling.
fn holding(folder: &Path, value: &str) -> Vec<String> {
    let finders: Vec<_> = spellings(value).into_iter().map(|form| memchr::memmem::Finder::new(&form).into_owned()).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, value));
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            if finders.iter().any(|finder| finder.find(&bytes).is_some()) {
                found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

fn no_clear_value(folder: &Path) {
    assert_eq!(holding(folder, CANARY), [""; 0], "a clear value was written");
    assert_eq!(holding(folder, CONTROL), ["documents.redb"], "the search finds what is there");
    // And it would find a value in every other file, were it there.
    fs::write(folder.join("planted"), sudare::crypto::base64url(format!("..{CANARY}").as_bytes())).unwrap();
    assert_eq!(holding(folder, CANARY), ["planted"]);
    fs::remove_file(folder.join("planted")).unwrap();
}

fn sum(clients: &[Client]) -> u64 {
    clients.iter().map(|client| client.acknowledged).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t25_the_proxy_is_killed_again_and_again_and_nothing_acknowledged_is_lost() {
    let (folder, file) = Setup::embedded().files();
    let log = folder.path().join("log");
    let mut auditor = Auditor::of(&file);
    let mut clients: Vec<Client> = (0..CLIENTS).map(Client::new).collect();
    let (mut dice, began, kills) = (Dice(0x5eed), Instant::now(), kills());
    for kill in 1..=kills {
        let process = Process::logging(&file, &log);
        let address = process.address.parse().unwrap();
        for client in &mut clients {
            client.check(address).await;
        }
        let life = Duration::from_millis(5 + dice.up_to(120));
        clients = under_load(clients, address, life, || drop(process)).await;
        if kill % EVERY == 0 {
            auditor.verify(&format!("after kill {kill}"));
        }
    }
    let process = Process::logging(&file, &log);
    for client in &mut clients {
        client.check_all(process.address.parse().unwrap()).await;
        assert!(client.refusals.is_empty(), "{:?}", client.refusals);
    }
    drop(process);
    let report = auditor.verify("at the end");
    let acknowledged = sum(&clients);
    assert!(auditor.count("write") >= acknowledged, "every acknowledged write is on record");
    assert_eq!(auditor.count("start"), kills + 1);
    no_clear_value(folder.path());
    tell(&format!(
        "killed the proxy {kills} times under write load: {acknowledged} acknowledged writes, none lost; {} events verified against \
         {} checkpoints; no clear value in any file; {:.1?}",
        report.events,
        report.checkpoints.stored + report.checkpoints.given,
        began.elapsed()
    ));
    assert!(acknowledged > kills, "the load was none");
}

/// The database is a process of its own: a second `sudare serve` that protects nothing in front of its embedded store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_is_killed_again_and_again_and_nobody_is_told_that_a_lost_write_was_made() {
    let plain =
        "[collection.nothing]\nmatch = \"/nothing/{id}\"\nrows = [\"$\"]\n[collection.nothing.field]\nname = \"$.name\"\n";
    let (database, database_file) = Setup::embedded().collections(plain).files();
    replace(&database_file, "\"127.0.0.1:0\"", "\"unix:db.sock\"");
    let circuit = "circuit = { failures = 10, open_ms = 50 }";
    let (folder, file) = Setup::rest("127.0.0.1:9".parse().unwrap()).upstream(circuit).files();
    replace(&file, "http://127.0.0.1:9", &format!("unix:{}", database.path().join("db.sock").display()));
    let log = folder.path().join("log");
    let proxy = Process::logging(&file, &log);
    let address: SocketAddr = proxy.address.parse().unwrap();

    let mut clients: Vec<Client> = (0..CLIENTS).map(Client::new).collect();
    let (mut dice, began, kills) = (Dice(0xdb), Instant::now(), kills());
    for _ in 0..kills {
        let process = Process::logging(&database_file, &database.path().join("log"));
        Client::served_again(address).await;
        for client in &mut clients {
            client.check(address).await;
        }
        let life = Duration::from_millis(5 + dice.up_to(120));
        clients = under_load(clients, address, life, || drop(process)).await;
    }
    let process = Process::logging(&database_file, &database.path().join("log"));
    Client::served_again(address).await;
    let mut refused = BTreeMap::new();
    for client in &mut clients {
        client.check_all(address).await;
        for (refusal, count) in &client.refusals {
            *refused.entry(refusal.clone()).or_insert(0) += count;
        }
    }
    drop(process);
    let allowed = |(status, _): &(u16, String)| matches!(status, 502..=504);
    assert!(!refused.is_empty() && refused.keys().all(allowed), "{refused:?}");
    drop(proxy);
    Auditor::of(&file).verify("at the end");
    no_clear_value(database.path());
    assert_eq!(holding(folder.path(), CANARY), [""; 0], "a clear value was written");
    let acknowledged = sum(&clients);
    tell(&format!(
        "killed the database {kills} times under write load: {acknowledged} acknowledged writes, none lost; told instead: {refused:?}; \
         no clear value in any file; {:.1?}",
        began.elapsed()
    ));
    assert!(acknowledged > kills, "the load was none");
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}
