//! A key ring in the store, and the nodes that share it: each a process of its own, over one PostgreSQL and one database.
//!
//! `SUDARE_RING_ROUNDS` sets how often a line is rotated under load (2 if not set), `SUDARE_RING_KILLS` how often a command is killed (12).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use sudare::base::{FixedClock, SystemClock};
use sudare::config::{self, Settings};
use sudare::keys::{self, Change, KeyError, KeyRing, LineName, State};

use super::fleet::{Couch, ask};
use super::server::Database;
use super::{by_chance, checked_by_command, tell};
use crate::support::{Answer, Process, Setup, Stub, send};

const COLLECTIONS: &str = r#"
[collection.customers]
match   = "customers"
subject = "{id}"
[collection.customers.field]
name    = "$.name"
address = "$.address"
phone   = "$.phone"
id-card = { at = "$.id_card", protect = "deterministic" }
"#;

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    #[track_caller]
    fn done(self, says: &[&str]) -> Self {
        self.ended(0, says)
    }

    #[track_caller]
    fn ended(self, code: i32, says: &[&str]) -> Self {
        let Self { out, err, .. } = &self;
        assert_eq!(self.code, Some(code), "{out}{err}");
        for word in says {
            assert!(out.contains(word) || err.contains(word), "{word:?} is not in:\n{out}{err}");
        }
        self
    }
}

/// `sudare keys …` with this configuration.
fn keys_of(file: &Path, words: &str) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_sudare"))
        .arg("keys")
        .args(words.split_whitespace())
        .arg("-c")
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// The versions of a line in a state.
fn kids(file: &Path, line: &str, state: &str) -> Vec<String> {
    let listed: Value = serde_json::from_str(&keys_of(file, "list --format json").done(&[]).out).unwrap();
    let fits = |version: &&Value| version["line"] == line && version["state"] == state;
    listed["versions"].as_array().unwrap().iter().filter(fits).map(|v| v["kid"].as_str().unwrap().to_owned()).collect()
}

fn nodes(file: &Path) -> Vec<Value> {
    let told: Value = serde_json::from_str(&keys_of(file, "nodes --format json").done(&[]).out).unwrap();
    told["nodes"].as_array().unwrap().clone()
}

/// Folders with one store, one database, one KEK; the ring is in the store, or a copy is in each.
struct Scene {
    couch: Arc<Mutex<Couch>>,
    store: Database,
    files: Vec<PathBuf>,
    _folders: Vec<tempfile::TempDir>,
    _stub: Stub,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RingIn {
    Store,
    Files,
}

impl Scene {
    async fn new(nodes: usize, ring: RingIn) -> Option<Self> {
        Self::over(Database::new()?, nodes, ring, "").await
    }

    async fn over(store: Database, nodes: usize, ring: RingIn, more: &str) -> Option<Self> {
        let couch: Arc<Mutex<Couch>> = Arc::default();
        let held = Arc::clone(&couch);
        let stub = Stub::start(move |seen| held.lock().unwrap().answer(seen)).await;
        let url = format!("postgres://sudare@127.0.0.1:{}/{}", store.server.port, store.name);
        let setup = || {
            let bounds = format!("pool = 4\nstatement_timeout_ms = 20000\nconnect_timeout_ms = 20000\n{more}");
            Setup::couchdb(stub.address).collections(COLLECTIONS).store(&format!("url = \"{url}\"\n{bounds}")).files()
        };
        let (folders, files): (Vec<_>, Vec<_>) = (0..nodes).map(|_| setup()).unzip();
        for folder in &folders[1..] {
            for name in ["keys/ring.json", "keys/kek"] {
                fs::copy(folders[0].path().join(name), folder.path().join(name)).unwrap();
            }
        }
        if ring == RingIn::Store {
            keys_of(&files[0], "move --to store").done(&["the ring is there, at revision 2", "ring = \"store\""]);
            for file in &files {
                in_store(file);
            }
        }
        Some(Self { couch, store, files, _folders: folders, _stub: stub })
    }

    fn start(&self, which: usize) -> Node {
        let process = Process::start(&self.files[which], "");
        Node { address: process.address.parse().unwrap(), admin: process.admin.parse().unwrap(), process }
    }

    fn settings(&self) -> Settings {
        config::load(&self.files[0]).unwrap()
    }

    /// The key that a stored name hangs on.
    fn kid(&self, id: &str) -> String {
        let couch = self.couch.lock().unwrap();
        couch.documents[id]["name"].as_str().unwrap().split('.').nth(2).unwrap().to_owned()
    }

    /// The row of the ring, as its hexadecimal digits.
    fn row(&self) -> String {
        self.store.text("select encode(value, 'hex') from sudare_ring")
    }

    fn put_row(&self, hex: &str) {
        self.store.sql(&format!("update sudare_ring set value = decode('{hex}', 'hex')"));
        self.store.sql("update sudare_topic set count = count + 1");
    }
}

/// The file names a ring in the store.
fn in_store(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replace("ring = \"keys/ring.json\"", "ring = \"store\"")).unwrap();
}

struct Node {
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Node {
    async fn write(&self, id: &str) -> Answer {
        let person = json!({"_id": id, "name": format!("Mei {id}"), "address": "101-0047", "phone": "1", "id_card": id});
        ask(self.address, "registration", Method::PUT, &format!("/customers/{id}"), person.to_string()).await.unwrap()
    }

    async fn read(&self, id: &str) -> Answer {
        ask(self.address, "account", Method::GET, &format!("/customers/{id}"), String::new()).await.unwrap()
    }

    async fn shows(&self, id: &str) {
        let answer = self.read(id).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["name"], format!("Mei {id}"));
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = send(self.admin, Method::GET, "/metrics", &[], "").await.unwrap().text();
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    async fn readiness(&self) -> (u16, String) {
        let answer = send(self.admin, Method::GET, "/readyz", &[], "").await.unwrap();
        (answer.status.as_u16(), answer.text())
    }

    async fn has(&self, revision: u32) {
        until("a node takes the ring", async || {
            (self.metric(r#"sudare_key_ring_revision{ring="main"}"#).await - f64::from(revision)).abs() < 0.5
        })
        .await;
    }
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waited).await.unwrap_or_else(|_late| panic!("{what}"));
}

/// Writes on one node, reads on another, until told to end; how many requests, and what failed.
async fn load(addresses: Vec<SocketAddr>, end: Arc<AtomicBool>, number: u64, asked: Arc<AtomicU64>) -> Vec<String> {
    let mut failed = Vec::new();
    let mut n = 0;
    while !end.load(Ordering::Relaxed) {
        let id = format!("l{number}-{n}");
        let node = |offset: u64| addresses[usize::try_from((n + offset) % 3).unwrap()];
        let person = json!({"_id": id, "name": format!("Mei {id}"), "id_card": id}).to_string();
        let path = format!("/customers/{id}");
        match ask(node(0), "registration", Method::PUT, &path, person).await {
            Some(answer) if answer.status == 201 => {}
            other => failed.push(format!("write {id}: {:?}", other.map(|answer| answer.text()))),
        }
        match ask(node(1), "account", Method::GET, &path, String::new()).await {
            Some(answer) if answer.status == 200 && answer.json()["name"] == format!("Mei {id}") => {}
            other => failed.push(format!("read {id}: {:?}", other.map(|answer| answer.text()))),
        }
        asked.fetch_add(2, Ordering::Relaxed);
        n += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_rotate_under_load_and_no_request_fails() {
    let Some(scene) = Scene::new(3, RingIn::Store).await else { return };
    let fleet = [scene.start(0), scene.start(1), scene.start(2)];
    let (end, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let addresses: Vec<SocketAddr> = fleet.iter().map(|node| node.address).collect();
    let clients: Vec<_> =
        (0..4).map(|n| tokio::spawn(load(addresses.clone(), Arc::clone(&end), n, Arc::clone(&asked)))).collect();
    let rounds: u32 = std::env::var("SUDARE_RING_ROUNDS").map_or(2, |count| count.parse().unwrap());
    let mut revision = 2;
    let mut times = Vec::new();
    for _ in 0..rounds {
        for line in ["seal", "lookup"] {
            let (file, begun) = (scene.files[0].clone(), Instant::now());
            let words = format!("rotate --line {line} --wait 60");
            let said = tokio::task::spawn_blocking(move || keys_of(&file, &words)).await.unwrap();
            revision += 2;
            let ring = format!("revision {revision}");
            said.done(&[
                "is published (pre-active)",
                "All 3 nodes have revision",
                "is active",
                &ring,
                "by itself within seconds",
            ]);
            times.push(begun.elapsed());
            for node in &fleet {
                node.has(revision).await;
            }
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    end.store(true, Ordering::Relaxed);
    let mut failed = Vec::new();
    for client in clients {
        failed.extend(client.await.unwrap());
    }
    let asked = asked.load(Ordering::Relaxed);
    assert!(failed.is_empty() && asked > 50, "{} of {asked} failed: {:?}", failed.len(), failed.first());
    // What was written last hangs on the newest version, and every node opens it.
    let active = kids(&scene.files[0], "seal", "active");
    assert_eq!(fleet[2].write("last").await.status, 201);
    assert_eq!([scene.kid("last")], active[..]);
    for node in &fleet {
        node.shows("last").await;
        node.shows("l0-0").await;
        assert_eq!((node.metric("sudare_nodes").await, node.metric("sudare_key_ring_outdated").await), (3.0, 0.0));
    }
    let listed = nodes(&scene.files[1]);
    assert!(listed.len() == 3 && listed.iter().all(|node| node["has_newest"] == true && node["gone"] == false), "{listed:?}");
    let (code, out, said) = checked_by_command(&scene.files[0]);
    assert!(code == Some(0) && out.contains("ring       1 row, 0 marks"), "{out}{said}");
    tell(&format!(
        "three nodes over one PostgreSQL rotated {} times under load, each in {:.1?} at most: {asked} requests, none failed",
        2 * rounds,
        times.iter().max().unwrap()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_node_is_named_and_looks_before_it_writes_when_it_wakes() {
    let Some(scene) = Scene::new(3, RingIn::Store).await else { return };
    let fleet = [scene.start(0), scene.start(1), scene.start(2)];
    let file = &scene.files[0];
    assert_eq!(fleet[1].write("before").await.status, 201);
    let old = scene.kid("before");
    let frozen = nodes(file).into_iter().find(|node| node["pid"] == fleet[1].process.child.id()).unwrap();
    let (id, address) = (frozen["node"].as_str().unwrap().to_owned(), fleet[1].address.to_string());
    fleet[1].process.signal("-STOP");
    let begun = Instant::now();
    let said = keys_of(file, "rotate --wait 2")
        .ended(1, &[&id, &address, "stays pre-active", "1 of 3 nodes does not have revision 3", "holds revision 2"]);
    let waiting = kids(file, "seal", "pre-active");
    let [kid] = &waiting[..] else { panic!("{waiting:?}") };
    assert!(said.err.contains(&format!("`sudare keys activate {kid} --without {id}`")), "{}", said.err);
    keys_of(file, &format!("activate {kid} --wait 1")).ended(1, &[&id, "stays pre-active"]);
    assert_eq!(kids(file, "seal", "active"), std::slice::from_ref(&old), "nothing was activated");
    keys_of(file, &format!("activate {kid} --without nobody --wait 0")).ended(1, &[&id]);
    keys_of(file, &format!("activate {kid} --without {id}")).done(&["is active", "as you asked"]);
    // The others write under it; until the frozen one is gone.
    fleet[0].has(4).await;
    assert_eq!(fleet[0].write("after").await.status, 201);
    assert_eq!(scene.kid("after"), *kid);
    tokio::time::sleep(Duration::from_secs(17).saturating_sub(begun.elapsed())).await;
    assert!(nodes(file).iter().any(|node| node["node"] == id.as_str() && node["gone"] == true));
    // What is gone is waited for no more, and told.
    keys_of(file, "rotate").done(&["All 2 nodes have revision 5", "is taken for gone", &id, "is active"]);
    fleet[1].process.signal("-CONT");
    // In the moment it wakes, and whatever it has not looked at yet, nothing is sealed under what it held.
    let newest = kids(file, "seal", "active");
    for n in 0..40 {
        let answer = fleet[1].write(&format!("woken-{n}")).await;
        match answer.outcome() {
            (201, _) => assert_eq!([scene.kid(&format!("woken-{n}"))], newest[..], "write {n}"),
            refused => assert_eq!(refused, (503, "keys-outdated".to_owned())),
        }
    }
    fleet[1].has(6).await;
    fleet[1].shows("after").await;
}

/// One that cannot take the newest ring reads on and writes nothing, and says why; as soon as it can, it writes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_take_the_newest_ring_stops_writing_and_says_so() {
    let Some(scene) = Scene::new(2, RingIn::Store).await else { return };
    let (well, ill) = (scene.start(0), scene.start(1));
    let file = &scene.files[0];
    assert_eq!(ill.write("before").await.status, 201);
    let policy = scene.files[1].with_file_name("policy.toml");
    let sound = fs::read_to_string(&policy).unwrap();
    fs::write(&policy, format!("{sound}\nnonsense")).unwrap();
    // Published only: it does not have it, and is named; what it protects under is still what the others do.
    keys_of(file, "rotate --wait 2").ended(1, &["1 of 2 nodes", "stays pre-active"]);
    assert_eq!(ill.write("meanwhile").await.status, 201);
    let compromised = scene.kid("before");
    let said = keys_of(file, &format!("compromise {compromised} --replace --wait 8"));
    said.ended(1, &["is compromised", "The ring is changed", "1 of 2 nodes does not have it after 8 s", "holds revision 2"]);
    well.has(4).await;
    until("it stops writing", async || ill.write("late").await.outcome() == (503, "keys-outdated".to_owned())).await;
    let (status, why) = ill.readiness().await;
    assert!(status == 503 && why.contains("keys") && why.contains("writes nothing") && why.contains("refused"), "{status} {why}");
    assert_eq!((ill.metric("sudare_key_ring_outdated").await, ill.metric("sudare_key_ring_newest_revision").await), (1.0, 4.0));
    until("the other one sees it", async || well.metric("sudare_nodes_behind").await > 0.5).await;
    assert_eq!(well.readiness().await.0, 200);
    // It reads what it can.
    assert_eq!(well.write("of-the-other").await.status, 201);
    assert_eq!(ill.read("meanwhile").await.status, 200);
    fs::write(&policy, sound).unwrap();
    ill.has(4).await;
    until("it writes again", async || ill.write("again").await.status == 201).await;
    assert_eq!(ill.readiness().await.0, 200);
    assert_eq!(ill.read("before").await.outcome(), (500, "key-compromised".to_owned()));
    keys_of(file, &format!("compromise {compromised}")).done(&["is compromised already", "All 2 nodes have revision 4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_come_leave_and_are_told_apart() {
    let Some(scene) = Scene::new(2, RingIn::Store).await else { return };
    let file = &scene.files[0];
    keys_of(file, "nodes").done(&["revision 2", "no node is registered"]);
    let (mut one, other) = (scene.start(0), scene.start(1));
    let first = nodes(file);
    assert_eq!(first.len(), 2);
    // Drained, it leaves; restarted, it is another one.
    one.process.signal("-TERM");
    assert_eq!(one.process.ended().await, Some(0));
    assert_eq!(nodes(file).len(), 1);
    let one = scene.start(0);
    let second = nodes(file);
    assert!(second.len() == 2 && second[1]["node"] != first[0]["node"] && second[1]["node"] != first[1]["node"], "{second:?}");
    // Killed, it counts as there until its time is over, by the store's clock.
    drop(other);
    let left = nodes(file);
    assert!(left.len() == 2 && left.iter().all(|node| node["gone"] == false));
    let killed = left.iter().find(|node| node["pid"] != one.process.child.id()).unwrap()["node"].as_str().unwrap().to_owned();
    keys_of(file, "rotate --wait 1").ended(1, &[&killed, "stays pre-active"]);
    scene.store.sql(&format!("update sudare_node set seen = seen - interval '20 s' where node = '{killed}'"));
    keys_of(file, "nodes").done(&["ago: gone"]);
    keys_of(file, "rotate").done(&["The one node that is there has revision 4", "is taken for gone", "is active"]);
    scene.store.sql(&format!("update sudare_node set seen = seen - interval '2 h' where node = '{killed}'"));
    assert_eq!(nodes(file).len(), 1, "nobody asks about it any more");
    one.has(5).await;
}

/// Clocks of nodes an hour apart, either way: when they were seen is the store's business.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_an_hour_apart_change_nothing() {
    let Some(scene) = Scene::new(2, RingIn::Store).await else { return };
    let now = u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let start = |which: usize, clock: u64| {
        sudare::app::start_with(config::load(&scene.files[which]).unwrap(), Arc::new(FixedClock::at(clock))).unwrap()
    };
    let (early, late) = (start(0, now - 3_600_000), start(1, now + 3_600_000));
    let listed = nodes(&scene.files[0]);
    assert!(listed.len() == 2 && listed.iter().all(|node| node["seen_s_ago"].as_u64().unwrap() < 15), "{listed:?}");
    // The operator's clock, too: a later revision may be written at an earlier time.
    let settings = scene.settings();
    let change = |clock| keys::Change { config: &settings.keys, clock, at_revision: None }.publish(&LineName::Seal).unwrap().kid;
    let kid = change(&FixedClock::at(now + 7_200_000));
    for (running, which) in [(&early, 0), (&late, 1)] {
        running.reload(&scene.files[which]).unwrap();
    }
    keys_of(&scene.files[0], &format!("activate {kid}")).done(&["All 2 nodes have revision 3", "is active"]);
    early.stop().await;
    late.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_operators_at_once_one_wins_and_the_others_are_told() {
    let Some(scene) = Scene::new(1, RingIn::Store).await else { return };
    let before = KeyRing::open(&scene.settings().keys).unwrap().revision();
    let (mut won, mut lost) = (0, 0);
    for at_revision in [None, Some(before)] {
        let operators: Vec<_> = (0..6)
            .map(|_| {
                let settings = scene.settings();
                std::thread::spawn(move || {
                    KeyRing::open(&settings.keys).unwrap();
                    let revision = at_revision.map(|_| KeyRing::open(&settings.keys).unwrap().revision());
                    Change { config: &settings.keys, clock: &SystemClock, at_revision: revision }.rotate(&LineName::Seal)
                })
            })
            .collect();
        for operator in operators {
            match operator.join().unwrap() {
                Ok(_) => won += 1,
                Err(error @ (KeyError::Overtaken(_) | KeyError::MovedOn { .. })) => {
                    let said = error.to_string();
                    assert!(said.contains("nothing was") && said.contains("`sudare keys list`"), "{said}");
                    lost += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    let after = KeyRing::open(&scene.settings().keys).unwrap();
    assert_eq!((after.revision(), won + lost), (before + won, 12), "every one that won is a revision, and no other");
    let active =
        after.versions().iter().filter(|version| version.line == LineName::Seal && version.state == State::Active).count();
    assert_eq!(active, 1);
    tell(&format!("of 12 operators at once {won} won and {lost} were told that they lost"));
    // One after the other, with a revision that is over.
    keys_of(&scene.files[0], &format!("rotate --at-revision {before}"))
        .ended(1, &["was changed since you looked", "nothing was done"]);
}

/// Whoever keeps the store puts an older ring back, and lowers what the store remembers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_ring_put_back_into_the_store_is_refused() {
    let Some(scene) = Scene::new(2, RingIn::Store).await else { return };
    let node = scene.start(0);
    let file = &scene.files[0];
    let (old, compromised) = (scene.row(), kids(file, "seal", "active"));
    keys_of(file, &format!("compromise {} --replace", compromised[0])).done(&["The one node that is there has revision 3"]);
    let new = scene.row();
    scene.put_row(&old);
    // The store's own mark is enough for commands and starts.
    keys_of(file, "rotate").ended(1, &["is at revision 2, but 3 has been in use"]);
    until("it says so", async || node.readiness().await.1.contains("already used")).await;
    scene.store.sql("update sudare_high_water set mark = 2");
    // And what this machine remembers, without it.
    keys_of(file, "rotate").ended(1, &["is at revision 2, but 3 has been in use"]);
    keys_of(file, "init").ended(1, &["is at revision 2, but 3 has been in use"]);
    assert_eq!(node.write("under-the-new").await.status, 201);
    assert!(!compromised.contains(&scene.kid("under-the-new")), "the node goes on with what it has");
    let refused = |file: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_sudare")).args(["serve", "-c"]).arg(file).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let other = scene.files[0].clone();
    drop(node);
    let (code, said) = tokio::task::spawn_blocking(move || refused(&other)).await.unwrap();
    assert!(code == Some(1) && said.contains("revision 2 is older than 3"), "{said}");
    // A machine that has met neither cannot know; the operator can say it.
    let text = fs::read_to_string(&scene.files[1]).unwrap();
    fs::write(&scene.files[1], text.replace("ring = \"store\"", "ring = \"store\"\nmin_revision = 3")).unwrap();
    let other = scene.files[1].clone();
    let (code, said) = tokio::task::spawn_blocking(move || refused(&other)).await.unwrap();
    assert!(code == Some(1) && said.contains("min_revision 3"), "{said}");
    scene.put_row(&new);
    scene.start(0).shows("under-the-new").await;
    scene.start(1).shows("under-the-new").await;
}

/// A row that is half written, another's, or gone: nodes go on with what they have, and commands say what it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_not_the_ring_changes_nothing() {
    let Some(scene) = Scene::new(1, RingIn::Store).await else { return };
    let node = scene.start(0);
    let file = &scene.files[0];
    let sound = scene.row();
    let text = String::from_utf8(data_encoding::HEXLOWER.decode(sound.as_bytes()).unwrap()).unwrap();
    let hex = |text: &str| data_encoding::HEXLOWER.encode(text.as_bytes());
    let cases = [
        (sound[..sound.len() / 4 * 2].to_owned(), "not a key ring as `sudare keys` writes it"),
        (hex(&text.replace("marketplace-hk", "other")), "belongs to controller \"other\""),
        (hex(&text.replace("\"ring\": \"main\"", "\"ring\": \"identity\"")), "belongs to ring \"identity\""),
        (hex(&text.replace("\"revision\": 2", "\"revision\": 3")), "was changed after `sudare keys` wrote it"),
        (hex(&text.replace("\"state\": \"active\"", "\"state\": \"deactivated\"")), "was changed after"),
        (String::new(), "not a key ring"),
    ];
    for (row, says) in cases {
        assert_ne!(row, sound, "{says}");
        scene.put_row(&row);
        for command in ["list", "rotate --publish-only", "init", "verify"] {
            keys_of(file, command).ended(1, &[says]);
        }
        assert_eq!(scene.row(), row, "{says}: left as it is, for whoever looks into it");
        until("the node says so", async || node.readiness().await.1.contains("was not taken")).await;
        assert_eq!(node.write(&format!("w{}", by_chance(1 << 40))).await.status, 201, "{says}");
        scene.put_row(&sound);
        until("it is over", async || !node.readiness().await.1.contains("was not taken")).await;
    }
    let (code, out, said) = {
        scene.put_row("00");
        checked_by_command(file)
    };
    assert!(code == Some(1) || said.contains("not a key ring"), "{out}{said}");
    scene.store.sql("delete from sudare_ring");
    keys_of(file, "list").ended(1, &["not there"]);
    keys_of(file, "init").ended(1, &["its revision 2 has been in use", "a new ring would open nothing"]);
    assert_eq!(node.write("still").await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_stops_commands_and_no_node() {
    let Some(store) = Database::alone() else { return };
    let Some(scene) = Scene::over(store, 2, RingIn::Store, "wait_timeout_ms = 500").await else { return };
    let (one, other) = (scene.start(0), scene.start(1));
    let file = &scene.files[0];
    scene.store.server.stop();
    for command in ["rotate", "list", "nodes", "rotate --publish-only"] {
        keys_of(file, command).ended(1, &["cannot be reached"]);
    }
    // Longer than a node that is silent is given.
    tokio::time::sleep(Duration::from_secs(17)).await;
    assert_eq!(one.write("without").await.status, 201);
    other.shows("without").await;
    scene.store.server.start();
    let rotated = async || keys_of(file, "rotate --wait 20").code == Some(0);
    until("the nodes are back", rotated).await;
    let revision = KeyRing::open(&scene.settings().keys).unwrap().revision();
    other.has(u32::try_from(revision).unwrap()).await;
    assert_eq!(other.write("with").await.status, 201);
    one.shows("with").await;
}

/// Without LISTEN, and with an announcement that nobody hears: what is in the store is looked at now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_announces_is_noticed_all_the_same() {
    let Some(store) = Database::new() else { return };
    let Some(scene) = Scene::over(store, 2, RingIn::Store, "listen = false").await else { return };
    let (one, other) = (scene.start(0), scene.start(1));
    let begun = Instant::now();
    keys_of(&scene.files[0], "rotate").done(&["All 2 nodes have revision 3", "is active"]);
    one.has(4).await;
    other.has(4).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// A command is killed anywhere: the ring is the one before or the one after, and the command is simply run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_killed_leaves_the_ring_before_or_after() {
    let Some(scene) = Scene::new(1, RingIn::Store).await else { return };
    let settings = scene.settings();
    let kills: u32 = std::env::var("SUDARE_RING_KILLS").map_or(12, |count| count.parse().unwrap());
    let begun = Instant::now();
    keys_of(&scene.files[0], "rotate").done(&[]);
    let whole = u64::try_from(begun.elapsed().as_micros()).unwrap();
    let (mut before, mut after) = (0, 0);
    for _ in 0..kills {
        let old = KeyRing::open(&settings.keys).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sudare"))
            .args(["keys", "rotate", "-c"])
            .arg(&scene.files[0])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_micros(by_chance(whole))).await;
        command.kill().unwrap();
        command.wait().unwrap();
        // A server finishes what it was asked.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(keys::verify(&settings.keys).unwrap().sound());
        let new = KeyRing::open(&settings.keys).unwrap();
        match new.revision() - old.revision() {
            0 => before += 1,
            1 => after += 1,
            more => panic!("{more} revisions"),
        }
        assert!(old.versions().iter().all(|was| new.versions().iter().any(|now| now.kid == was.kid)));
        let mark = scene.store.number("select mark from sudare_high_water");
        assert_eq!(u64::try_from(mark).unwrap(), new.revision(), "the mark rises with the ring, or not at all");
    }
    keys_of(&scene.files[0], "rotate").done(&["is active"]);
    tell(&format!(
        "killed `keys rotate` over PostgreSQL {kills} times (of {whole} µs): {before} before the write, {after} after it"
    ));
}

/// From a file into the store and back, with nodes that go on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_moves_into_the_store_and_back() {
    let Some(scene) = Scene::new(2, RingIn::Files).await else { return };
    let (one, other) = (scene.start(0), scene.start(1));
    let [first, second] = &scene.files[..] else { panic!() };
    let ring = |file: &Path| file.with_file_name("keys").join("ring.json");
    assert_eq!(one.write("a").await.status, 201);
    // Each has a copy of the file: the operator's is changed, and the other node is waited for.
    let said = keys_of(first, "rotate --wait 15").ended(1, &["1 of 2 nodes does not have revision 2", "stays pre-active"]);
    let kid = kids(first, "seal", "pre-active").pop().unwrap();
    assert!(said.err.contains(&kid));
    fs::copy(ring(first), ring(second)).unwrap();
    keys_of(first, &format!("activate {kid} --wait 30")).done(&["All 2 nodes have revision 2", "is active"]);
    fs::copy(ring(first), ring(second)).unwrap();
    one.has(3).await;
    other.has(3).await;

    let backup = first.with_file_name("backup.json");
    keys_of(first, &format!("copy {}", backup.display())).done(&["at revision 3"]);
    keys_of(first, &format!("copy {}", backup.display())).ended(1, &["File exists"]);
    assert_eq!(fs::read(&backup).unwrap(), fs::read(ring(first)).unwrap());

    keys_of(first, "move --to store --at-revision 2").ended(1, &["is at revision 3, not 2"]);
    keys_of(first, "move --to store").done(&["at revision 4, read back and opened", "ring.json.moved-3"]);
    assert!(!ring(first).exists() && ring(first).with_file_name("ring.json.moved-3").exists());
    keys_of(first, "move --to store").done(&["is where the ring is already"]);
    for command in ["list", "init", "rotate"] {
        keys_of(first, command).ended(1, &["was moved into the store: write ring = \"store\" into [keys]"]);
    }
    // What is left of the old place is noticed.
    keys_of(second, "rotate").ended(1, &["is at revision 3, but 4 has been in use", "moved elsewhere"]);
    keys_of(second, "move --to store").done(&["read back and opened", "ring.json.moved-3"]);
    for file in [first, second] {
        in_store(file);
    }
    one.has(4).await;
    other.has(4).await;
    keys_of(second, "rotate").done(&["All 2 nodes have revision 5", "is active", "revision 6"]);
    assert_eq!(other.write("b").await.status, 201);
    one.shows("b").await;

    let back = ring(first);
    keys_of(first, &format!("move --to {}", back.display())).done(&["at revision 7", "is no more"]);
    keys_of(first, "list").ended(1, &["not there"]);
    keys_of(first, "init").ended(1, &["has been in use"]);
    keys_of(first, &format!("move --to {}", back.display())).done(&["is where the ring is already"]);
    fs::copy(&back, ring(second)).unwrap();
    for file in [first, second] {
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, text.replace("ring = \"store\"", "ring = \"keys/ring.json\"")).unwrap();
    }
    one.has(7).await;
    other.has(7).await;
    one.shows("a").await;
    other.shows("b").await;
}

/// Killed between the new place and the old one, the command is run again; what was changed meanwhile is not lost for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_was_broken_off_goes_on_and_two_rings_are_noticed() {
    let Some(scene) = Scene::new(1, RingIn::Files).await else { return };
    let file = &scene.files[0];
    let ring = file.with_file_name("keys").join("ring.json");
    let old = fs::read(&ring).unwrap();
    keys_of(file, "move --to store").done(&[]);
    // As if the file had not been renamed yet.
    fs::write(&ring, &old).unwrap();
    keys_of(file, "rotate").ended(1, &["is at revision 1, but 2 has been in use"]);
    keys_of(file, "move --to store").done(&["at revision 2, read back and opened"]);
    assert!(!ring.exists());
    // As if somebody had gone on with the old file.
    fs::write(&ring, &old).unwrap();
    keys_of(file, "rotate --publish-only").done(&["revision 2"]);
    keys_of(file, "move --to store").ended(1, &["there is another ring, or another revision of this one: nothing was moved"]);
    assert!(ring.exists());
}

/// Nodes tell each other of the ring main alone: commands about another ring say so, and none of them waits for what never comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_a_field_group_is_brought_to_nodes_by_hand() {
    let Some(scene) = Scene::new(1, RingIn::Store).await else { return };
    let file = &scene.files[0];
    let text = fs::read_to_string(file).unwrap();
    let table = "\n[keys.identity]\nring = \"keys/identity.json\"\nkek = { provider = \"file\", path = \"keys/identity.kek\" }\n";
    fs::write(
        file,
        text.replace("id-card = { at = \"$.id_card\",", "id-card = { at = \"$.id_card\", ring = \"identity\",") + table,
    )
    .unwrap();
    keys_of(file, "init").done(&["identity.json, revision 1"]);
    let node = scene.start(0);
    node.has(2).await;
    assert!((node.metric(r#"sudare_key_ring_revision{ring="identity"}"#).await - 1.0).abs() < 0.5);

    let said = keys_of(file, "rotate --ring identity --line seal");
    said.ended(2, &["for this ring none is waited for", "rotate --ring identity --line seal --publish-only"]);
    let published = keys_of(file, "rotate --ring identity --line seal --publish-only --format json").done(&[]);
    let published: Value = serde_json::from_str(&published.out).unwrap();
    assert_eq!(published["revision"], 2, "the refused one did nothing: {published}");
    let kid = published["pre_active"].as_str().unwrap();
    let said = keys_of(file, &format!("activate --ring identity {kid}"));
    said.done(&["note: for the ring identity no node is waited for", "revision 3"]);
    let said = keys_of(file, &format!("compromise --ring identity --replace {kid}"));
    said.done(&["note: for the ring identity no node is waited for: bring", "revision 4"]);
    keys_of(file, "move --ring identity --to store").ended(2, &["only the ring main can be moved into the store"]);
    let copy = scene.files[0].parent().unwrap().join("identity.copy");
    keys_of(file, &format!("copy --ring identity {}", copy.display())).done(&[]);
    assert_eq!(fs::read(&copy).unwrap(), fs::read(file.parent().unwrap().join("keys/identity.json")).unwrap());
    keys_of(file, &format!("compromise {kid}")).ended(2, &["is a version of the ring identity: say --ring identity"]);
    // The other one goes as ever.
    keys_of(file, "rotate --line seal").done(&["is active"]);
    until("the node has the ring identity", async || {
        (node.metric(r#"sudare_key_ring_revision{ring="identity"}"#).await - 4.0).abs() < 0.5
    })
    .await;
}
