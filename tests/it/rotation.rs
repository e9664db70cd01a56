//! Keys that operators move while requests run: nothing fails, nothing is lost, and what is compromised is shown to nobody. The commands
//! as processes: killed at any moment, and on a disk that is full.
//!
//! `SUDARE_KEY_KILLS` sets how often a command is killed (60 if not set); the counts are printed.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;
use sudare::base::{Kid, SystemClock};
use sudare::config;
use sudare::keys::{self, Change, KeyRing, LineName, Scope, State, Successor};
use tokio::task::JoinSet;

use crate::support::{CLEAR, PERSON, Proxy, Setup, SlowDatabase};

const CLIENTS: u64 = 4;
/// Documents of one client; every client reads those of all.
const DOCUMENTS: u64 = 3;

/// Past the test harness, which would keep back what `eprintln` says.
#[expect(clippy::explicit_write, reason = "this is how it gets past")]
fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

fn change<T>(file: &Path, act: impl FnOnce(&Change<'_>) -> T) -> T {
    let settings = config::load(file).unwrap();
    act(&Change { config: &settings.keys, clock: &SystemClock, at_revision: None })
}

fn ring(file: &Path) -> KeyRing {
    KeyRing::open(&config::load(file).unwrap().keys).unwrap()
}

fn active_in(ring: &KeyRing, line: &LineName) -> Kid {
    ring.versions().into_iter().find(|version| version.line == *line && version.state == State::Active).unwrap().kid
}

impl Proxy {
    fn reload(&self) {
        self.running.as_ref().unwrap().reload(&self.file).unwrap();
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.running.as_ref().unwrap().metrics().encode();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0)
    }
}

fn kids_in(document: &Value) -> Vec<Kid> {
    let members = document.as_object().unwrap().values().filter_map(Value::as_str).filter(|text| text.starts_with("sdr1."));
    members.map(|envelope| envelope.split('.').nth(2).unwrap().parse().unwrap()).collect()
}

/// What clients do without pause: each writes its own documents, and reads one of anybody's after every write.
struct Load {
    stop: AtomicBool,
    /// Whole rounds over all its documents, of each client.
    rounds: Vec<AtomicU64>,
    requests: AtomicU64,
}

impl Load {
    async fn client(self: Arc<Self>, address: std::net::SocketAddr, number: u64) -> Vec<String> {
        let mut failed = Vec::new();
        let credential = Proxy::credential("shop");
        let headers =
            [("sudare-credential", credential.as_str()), ("data-purpose", "account"), ("content-type", "application/json")];
        let mut written = 0_u64;
        while !self.stop.load(Ordering::Relaxed) {
            for document in 0..DOCUMENTS {
                written += 1;
                let path = format!("/customers/r{number}-{document}");
                let value = format!("value {written}");
                let body = format!(r#"{{"id":"r{number}-{document}","name":"{value}","id_card":"{value}"}}"#);
                let answer = crate::support::send(address, Method::PUT, &path, &headers, body).await.unwrap();
                if !answer.status.is_success() {
                    failed.push(format!("PUT {path}: {:?}", answer.outcome()));
                }
                for (owner, of) in [(number, document), ((number + written) % CLIENTS, written % DOCUMENTS)] {
                    let just_written = (owner, of) == (number, document);
                    let path = format!("/customers/r{owner}-{of}");
                    let answer = crate::support::send(address, Method::GET, &path, &headers[..2], "").await.unwrap();
                    match answer.status.as_u16() {
                        200 if !just_written || answer.json()["name"] == value.as_str() => {}
                        // It is not there yet.
                        404 if !just_written => {}
                        _ => failed.push(format!("GET {path}: {:?} {}", answer.outcome(), answer.text())),
                    }
                }
                self.requests.fetch_add(3, Ordering::Relaxed);
            }
            self.rounds[usize::try_from(number).unwrap()].fetch_add(1, Ordering::Relaxed);
        }
        failed
    }

    /// Until every client has gone over all its documents twice since now: what it began before is then over.
    async fn gone_round(&self) {
        let before: Vec<u64> = self.rounds.iter().map(|rounds| rounds.load(Ordering::Relaxed)).collect();
        let gone = async {
            while self.rounds.iter().zip(&before).any(|(rounds, before)| rounds.load(Ordering::Relaxed) < before + 2) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(2), gone).await.expect("the load goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t19_rotate_activate_deactivate_and_compromise_under_load_fail_no_request() {
    let proxy = Setup::embedded().deterministic().start().await;
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let load = Arc::new(Load {
        stop: AtomicBool::new(false),
        rounds: (0..CLIENTS).map(|_| AtomicU64::new(0)).collect(),
        requests: AtomicU64::new(0),
    });
    let mut clients: JoinSet<Vec<String>> = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(Arc::clone(&load).client(proxy.address, number));
    }
    load.gone_round().await;
    let first = ring(&proxy.file);
    for line in [LineName::Seal, LineName::Lookup] {
        // At once, as on one node.
        let one = active_in(&ring(&proxy.file), &line);
        change(&proxy.file, |change| change.rotate(&line)).unwrap();
        proxy.reload();
        load.gone_round().await;
        // In two steps, as on several.
        let two = active_in(&ring(&proxy.file), &line);
        let waits = change(&proxy.file, |change| change.publish(&line)).unwrap().kid;
        proxy.reload();
        load.gone_round().await;
        change(&proxy.file, |change| change.activate(waits)).unwrap();
        proxy.reload();
        load.gone_round().await;
        let report = change(&proxy.file, |change| change.deactivate(two, Scope::Keep)).unwrap();
        assert_eq!(report.moved[0].to, State::Deactivated, "activating did it");
        // What the first version sealed still opens; what it and the second sealed is then compromised, which no request under way meets.
        let read = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
        assert_eq!(read.status, 200, "{}", read.text());
        load.gone_round().await;
        change(&proxy.file, |change| change.compromise(&[two], Successor::MustBeThere)).unwrap();
        proxy.reload();
        load.gone_round().await;
        assert_eq!(proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await.status, 200);
        assert_ne!(one, two);
    }
    assert_eq!(proxy.metric("sudare_compromised_values_total{collection=\"customers\"}"), 0);

    // The first seal version, on which the one old document hangs: nobody sees it until it is written anew.
    let old = active_in(&first, &LineName::Seal);
    let stored = proxy.database(Method::GET, "/customers/c-1", "").await.json();
    assert!(kids_in(&stored).contains(&old));
    change(&proxy.file, |change| change.compromise(&[old], Successor::MustBeThere)).unwrap();
    proxy.reload();
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!(answer.outcome(), (500, "key-compromised".to_owned()));
    assert!(
        CLEAR.iter().all(|clear| !answer.text().contains(clear)) && !answer.text().contains(old.as_str()),
        "{}",
        answer.text()
    );
    let masked = proxy.ask("mailer", "marketing", Method::GET, "/customers/c-1", "").await;
    assert_eq!(masked.outcome(), (500, "key-compromised".to_owned()), "a masked form shows of it, too");
    let sealed = proxy.ask("auditor", "custody", Method::GET, "/customers/c-1", "").await;
    assert_eq!((sealed.status.as_u16(), &sealed.json()), (200, &stored), "nothing is opened for it");
    assert_eq!(proxy.metric("sudare_compromised_values_total{collection=\"customers\"}"), 2);
    assert_eq!(proxy.metric("sudare_bad_values_total{collection=\"customers\"}"), 0);
    let written = proxy.ask("shop", "account", Method::PUT, "/customers/c-1", PERSON).await;
    assert!(written.status.is_success(), "{}", written.text());
    let read = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!((read.status.as_u16(), &read.json()["name"]), (200, &"Mei Tanaka".into()));
    let now = ring(&proxy.file);
    let stored = proxy.database(Method::GET, "/customers/c-1", "").await.json();
    assert!(
        kids_in(&stored).iter().all(|kid| [active_in(&now, &LineName::Seal), active_in(&now, &LineName::Lookup)].contains(kid))
    );

    // An Active one, replaced while requests run. What was sealed under it a moment ago is not to be read until it is written anew, so
    // here nothing reads.
    load.stop.store(true, Ordering::Relaxed);
    let failed: Vec<String> = clients.join_all().await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{} failed: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    let requests = load.requests.load(Ordering::Relaxed);
    let active = active_in(&now, &LineName::Seal);
    let report = change(&proxy.file, |change| change.compromise(&[active], Successor::Make)).unwrap();
    proxy.reload();
    assert_eq!(
        proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await.outcome(),
        (500, "key-compromised".to_owned())
    );
    assert!(proxy.ask("shop", "account", Method::PUT, "/customers/c-1", PERSON).await.status.is_success());
    let stored = proxy.database(Method::GET, "/customers/c-1", "").await.json();
    assert!(kids_in(&stored).contains(&report.made[0].1));
    assert_eq!(proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await.status, 200);

    let alarms: Vec<_> =
        proxy.events(&sudare::audit::Filter::default()).into_iter().filter(|event| event.kind == "alarm").collect();
    assert_eq!(alarms.len(), 3, "{alarms:?}");
    for alarm in &alarms {
        assert_eq!((alarm.code.as_deref(), alarm.collection.as_deref()), (Some("key-compromised"), Some("customers")));
    }
    tell(&format!("rotation: {requests} requests under 10 changes of the ring, 0 failed"));
}

/// A reply that began before a reload brings what was written after it; and what was marked meanwhile is not shown any more.
#[tokio::test]
async fn t19_a_reply_under_way_uses_the_newest_keys() {
    let database = SlowDatabase::start().await;
    let proxy = Arc::new(Setup::rest(database.address).start().await);
    let read = async || {
        let proxy = Arc::clone(&proxy);
        let reading = tokio::task::spawn(async move { proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await });
        (reading, database.asked().await)
    };
    let sealed = async || {
        let proxy = Arc::clone(&proxy);
        let writing =
            tokio::task::spawn(async move { proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await });
        let asked = database.asked().await;
        let body = asked.body.clone();
        asked.answer(201, "{}").await;
        assert_eq!(writing.await.unwrap().status, 201);
        body
    };
    let before = sealed().await;
    let (reading, asked) = read().await;
    let old = change(&proxy.file, |change| change.rotate(&LineName::Seal)).unwrap().deactivated.unwrap();
    proxy.reload();
    let after = sealed().await;
    assert!(before.contains(old.as_str()) && !after.contains(old.as_str()));
    asked.answer(200, &after).await;
    let answer = reading.await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["name"], "Mei Tanaka");

    let (reading, asked) = read().await;
    change(&proxy.file, |change| change.compromise(&[old], Successor::MustBeThere)).unwrap();
    proxy.reload();
    asked.answer(200, &before).await;
    assert_eq!(reading.await.unwrap().outcome(), (500, "key-compromised".to_owned()));
}

/// With `on_bad_value = "withhold"` a list goes on without them; a write that carries one back is kept. Both are alarms.
#[tokio::test]
async fn values_under_a_compromised_key_are_left_out_of_lists_and_kept_by_writes_with_an_alarm() {
    let proxy = Setup::embedded().start().await;
    let text = fs::read_to_string(&proxy.file).unwrap();
    fs::write(&proxy.file, text.replace("subject = \"{id}\"", "subject = \"{id}\"\non_bad_value = \"withhold\"")).unwrap();
    proxy.reload();
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    let old = active_in(&ring(&proxy.file), &LineName::Seal);
    change(&proxy.file, |change| change.compromise(&[old], Successor::Make)).unwrap();
    proxy.reload();
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON.replace("c-1", "c-2")).await;
    let list = proxy.ask("shop", "account", Method::GET, "/customers", "").await;
    assert_eq!(list.status, 200, "{}", list.text());
    let list = list.json();
    let rows = list["items"].as_array().or(list.as_array()).unwrap();
    assert_eq!(rows.iter().filter(|row| row["name"] == "Mei Tanaka").count(), 1, "{list}");
    assert!(rows.iter().any(|row| row["id"] == "c-1" && row.get("name").is_none()), "{list}");
    let counter = "sudare_compromised_values_total{collection=\"customers\"}";
    assert_eq!(proxy.metric(counter), 4);

    let stored = proxy.database(Method::GET, "/customers/c-1", "").await;
    let back = proxy.ask("shop", "account", Method::PUT, "/customers/c-1", stored.text()).await;
    assert!(back.status.is_success(), "{}", back.text());
    assert_eq!(proxy.database(Method::GET, "/customers/c-1", "").await.json(), stored.json());
    // Four kept, and four left out of the answer to the write.
    assert_eq!(proxy.metric(counter), 4 + 4 + 4);
    let alarms = proxy.audit_text().matches("\"code\":\"key-compromised\"").count();
    assert_eq!(alarms, 3);
}

/// One command as a process of its own.
fn sudare(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sudare"));
    command.current_dir(folder).args(words.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn sound(file: &Path) -> KeyRing {
    let ring = ring(file);
    for line in LineName::FIXED {
        let active = ring.versions().into_iter().filter(|version| version.line == line && version.state == State::Active).count();
        assert_eq!(active, 1, "{line}");
    }
    ring
}

#[test]
fn a_command_killed_at_any_moment_leaves_a_ring_that_opens_and_is_run_again() {
    let (folder, file) = Setup::embedded().files();
    let kills: u32 = std::env::var("SUDARE_KEY_KILLS").map_or(60, |count| count.parse().unwrap());
    let (mut dice, mut killed, mut done, mut kept) = (7_u64, 0, 0, 0);
    let mut whole = Duration::ZERO;
    for number in 0..kills {
        let before = sound(&file);
        let seal = active_in(&before, &LineName::Seal);
        let waits = before.versions().into_iter().find(|version| version.state == State::PreActive).map(|version| version.kid);
        let words = match (number % 5, waits) {
            (0, _) => "keys rotate".to_owned(),
            (1, _) => format!("keys compromise {seal} --replace"),
            (2, None) => "keys rotate --line lookup --publish-only".to_owned(),
            (2 | 3, Some(waits)) => format!("keys activate {waits}"),
            (3, None) => "keys rotate --line audit".to_owned(),
            _ => "keys init".to_owned(),
        };
        let mut child = sudare(folder.path(), &words).spawn().unwrap();
        if whole.is_zero() {
            assert!(child.wait().unwrap().success());
        } else {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let share = u32::try_from((dice >> 33) % 1000).unwrap();
            std::thread::sleep(whole * share / 1000);
            let _too_late = child.kill();
            if child.wait().unwrap().success() { done += 1 } else { killed += 1 }
        }
        let after = sound(&file);
        assert!(after.revision() - before.revision() <= 1, "{words}");
        assert!(before.versions().iter().all(|was| after.versions().iter().any(|now| now.kid == was.kid)), "{words}");
        kept += u32::from(after.revision() == before.revision());
        let started = Instant::now();
        let again = sudare(folder.path(), &words).stderr(Stdio::piped()).output().unwrap();
        whole = started.elapsed();
        assert!(again.status.success(), "{words}: {}", String::from_utf8_lossy(&again.stderr));
        sound(&file);
    }
    assert!(!folder.path().join("keys/ring.json.new").exists());
    tell(&format!("keys: {killed} commands killed, {done} over before; the old ring stayed {kept} times"));
    assert!(killed > 0, "none was killed in time");
}

#[test]
fn on_a_full_disk_a_command_changes_nothing_and_says_why() {
    let (folder, file) = Setup::embedded().files();
    let full = |words: &str, blocks: u32| -> Output {
        let mut command = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {words}");
        command.current_dir(folder.path()).arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_sudare")).output().unwrap()
    };
    let path = folder.path().join("keys/ring.json");
    let seal = active_in(&sound(&file), &LineName::Seal);
    let waits = change(&file, |change| change.publish(&LineName::Seal)).unwrap().kid;
    let before = fs::read(&path).unwrap();
    // A block is 512 bytes: not one byte of the new ring, and not the whole of it.
    for blocks in [0, 1, 4] {
        for words in [
            "keys rotate".to_owned(),
            "keys rotate --line lookup --publish-only".to_owned(),
            format!("keys activate {waits}"),
            format!("keys compromise {waits}"),
            format!("keys compromise {seal} --replace"),
        ] {
            let ended = full(&words, blocks);
            let said = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(ended.status.code(), Some(1), "{words}: {said}");
            assert!(
                said.contains("keys/ring.json.new: cannot be written") && said.contains("a disk with room"),
                "{words}: {said}"
            );
            assert!(ended.stdout.is_empty(), "{words}");
            assert_eq!(fs::read(&path).unwrap(), before, "{words}");
            let mut names: Vec<_> =
                fs::read_dir(folder.path().join("keys")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, ["kek", "ring.json", "ring.json.lock"], "{words}");
        }
    }
    // With room again, the same command does it.
    assert!(sudare(folder.path(), &format!("keys compromise {seal} --replace")).status().unwrap().success());
    assert_eq!(sound(&file).revision(), 3);

    // A first ring that does not fit is not there at all; nor is a KEK.
    fs::remove_dir_all(folder.path().join("keys")).unwrap();
    for blocks in [0, 1] {
        let ended = full("keys init", blocks);
        assert_eq!(ended.status.code(), Some(1));
        assert!(!path.exists());
        assert_eq!(folder.path().join("keys/kek").exists(), blocks > 0, "a KEK of 44 bytes fits in a block");
    }
    assert!(sudare(folder.path(), "keys init").status().unwrap().success());
    let _: KeyRing = sound(&file);
    assert_eq!(keys::verify(&config::load(&file).unwrap().keys).unwrap().revision, 1);
}

/// An older ring comes back from a backup: refused, whoever asks, until an operator has raised it above what the node remembers.
#[tokio::test]
async fn a_ring_put_back_from_a_backup_is_refused_until_it_is_raised_above_the_mark() {
    let proxy = Setup::embedded().start().await;
    let backup = fs::read(proxy.folder.path().join("keys/ring.json")).unwrap();
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    for _ in 0..2 {
        change(&proxy.file, |change| change.rotate(&LineName::Seal)).unwrap();
    }
    proxy.reload();
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON.replace("c-1", "c-2")).await;
    assert_eq!(answer.status, 201);
    fs::write(proxy.folder.path().join("keys/ring.json"), backup).unwrap();
    let reload = || proxy.running.as_ref().unwrap().reload(&proxy.file).map_err(|error| error.to_string());
    let said = reload().unwrap_err();
    assert!(said.contains("revision 1 is older than 3, which this node has already used"), "{said}");
    let read = async |id: &str| proxy.ask("shop", "account", Method::GET, &format!("/customers/{id}"), "").await.outcome();
    assert_eq!((read("c-1").await.0, read("c-2").await.0), (200, 200), "what is in force stays");
    // Its operator goes on from the backup: two changes reach the mark with another ring of that number, a third passes it.
    for revision in 2..=4 {
        assert_eq!(change(&proxy.file, |change| change.rotate(&LineName::Seal)).unwrap().revision, revision);
        assert_eq!(reload().is_ok(), revision > 3, "{revision}");
    }
    assert_eq!(read("c-1").await.0, 200);
    assert_eq!(read("c-2").await, (500, "value-not-authentic".to_owned()), "its version is lost");
}
