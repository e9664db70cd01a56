//! Tests of the log as its callers see it: format, crashes, keys, questions. `failure`: durability and the disk's failures;
//! `tamper`: every kind of tampering; `checkpoints`: the log held against what was signed of it.

mod checkpoints;
mod failure;
mod tamper;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use data_encoding::HEXLOWER;

use super::chain::Key;
use super::tree::Tree;
use super::*;
use crate::base::FixedClock;
use crate::crypto::{MacKey, Secret, SigningKey, sha256};

const NOON: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z

fn key(byte: u8) -> Key {
    let signer = SigningKey::new(&Secret::from_bytes([byte ^ 0xff; 32]));
    (Kid::from_random([byte; 5]), Arc::new(MacKey::new(&Secret::from_bytes([byte; 32]))), Arc::new(signer))
}

fn config(dir: &Path) -> Config {
    Config {
        dir: dir.join("audit"),
        controller: Controller::new("shop"),
        durable_timeout: Duration::from_secs(20),
        segment_bytes: 1 << 20,
        checkpoint_every: Duration::from_mins(10),
    }
}

fn open(config: &Config) -> Result<Log, AuditError> {
    Log::open(config, vec![key(1)], Arc::new(FixedClock::at(NOON)))
}

fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

fn subject(id: &str) -> RecordId {
    RecordId::from_text(id).unwrap()
}

fn reveal(exchange: u64) -> Event {
    let category = CategoryName::new;
    Event {
        caller: Some(CallerName::new("shipping")),
        purpose: Some(PurposeName::new("delivery")),
        collection: Some(CollectionName::new("customers")),
        route: Some("GET /customers/{id}".to_string()),
        subjects: vec![subject("c-1")],
        shown: vec![
            (category("name"), Level::Clear, 1),
            (category("address"), Level::Clear, 1),
            (category("phone"), Level::Clear, 2),
            (category("id-card"), Level::Masked, 1),
        ],
        status: Some(200),
        ..Event::new(Kind::Reveal, exchange)
    }
}

/// A closed log of `events` reveals in segments of about three events, and its folder.
fn closed_log(events: u64) -> (tempfile::TempDir, Config) {
    closed_log_of(events, 1500)
}

fn closed_log_of(events: u64, segment_bytes: u64) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes, ..config(dir.path()) };
    block(async {
        let log = open(&config).unwrap();
        for exchange in 1..=events {
            log.record(reveal(exchange)).await.unwrap();
        }
        log.close().await;
    });
    (dir, config)
}

/// Segments and head; checkpoints are a matter of their own.
type Files = BTreeMap<String, Vec<u8>>;

fn files(dir: &Path) -> Files {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| !path.ends_with(".lock") && !path.ends_with("checkpoints"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_string(), fs::read(&path).unwrap()))
        .collect()
}

fn put(dir: &Path, files: &Files) {
    fs::remove_dir_all(dir).unwrap();
    fs::create_dir(dir).unwrap();
    for (name, bytes) in files {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

/// What verify finds in `files`, put in a folder of their own.
fn found(files: &Files) -> Result<VerifyReport, Finding> {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), files);
    verify(dir.path(), &[key(1)], &Given::default()).map_err(|error| match error {
        VerifyError::Found(finding) => finding,
        other @ (VerifyError::Checkpoints(_) | VerifyError::NoCheckpoint | VerifyError::Unreadable(_)) => panic!("{other}"),
    })
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// The tree over a log's events, from its files.
fn tree(files: &Files) -> Tree {
    let mut tree = Tree::default();
    for (_, bytes) in files.iter().filter(|(name, _)| *name != "head.json") {
        lines(bytes).iter().skip(1).for_each(|line| tree.push(line.strip_suffix(b"\n").unwrap()));
    }
    tree
}

#[test]
fn a_log_is_written_chained_private_and_verified() {
    let (_dir, config) = closed_log(7);
    assert_eq!(fs::metadata(&config.dir).unwrap().mode() & 0o7777, 0o700);
    let files = files(&config.dir);
    assert!(files.len() > 3, "several segments and the head");
    for name in files.keys() {
        assert_eq!(fs::metadata(config.dir.join(name)).unwrap().mode() & 0o7777, 0o600, "{name}");
    }
    let report = verify(&config.dir, &[key(1)], &Given::default()).unwrap();
    assert_eq!((report.events, report.after_head, report.torn_bytes), (9, 0, 0), "start, seven reveals, stop");
    assert_eq!(usize::try_from(report.segments).unwrap(), files.len() - 1);
    // The chain by other means: plain JSON and SHA-256.
    let mut prev = HEXLOWER.encode(&[0; 32]);
    let mut seq = 0;
    for line in files.iter().filter(|(name, _)| *name != "head.json").flat_map(|(_, bytes)| lines(bytes)) {
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(json["prev"], prev);
        if json["seq"].is_u64() {
            seq += 1;
            assert_eq!(json["seq"], seq);
            assert_eq!(json["time"], "2026-11-22T12:00:00Z");
        } else {
            assert_eq!(
                (&json["format"], &json["after"], &json["controller"]),
                (&"sudare-audit/1".into(), &seq.into(), &"shop".into())
            );
        }
        prev = HEXLOWER.encode(&sha256(line.strip_suffix(b"\n").unwrap()));
    }
    assert_eq!(seq, 9);
    let head: serde_json::Value = serde_json::from_slice(&files["head.json"]).unwrap();
    assert_eq!((&head["hash"], &head["seq"]), (&prev.into(), &9.into()));
}

#[test]
fn an_event_stands_in_the_log_as_documented() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    block(async {
        let log = open(&config).unwrap();
        log.record(reveal(26)).await.unwrap();
        log.close().await;
    });
    let second = String::from_utf8(lines(&files(&config.dir)["00000001.jsonl"])[2].clone()).unwrap();
    let start = second.find("\"time\"").unwrap();
    let end = second.find(",\"mac\"").unwrap();
    let pseudonym = event::pseudonym(&key(1).1, &subject("c-1"));
    assert_eq!((pseudonym.len(), pseudonym.starts_with("psn1_")), (31, true));
    assert_eq!(
        second.get(start..end).unwrap(),
        format!(
            "\"time\":\"2026-11-22T12:00:00Z\",\"kind\":\"reveal\",\"exchange\":\"000000000000001a\",\"caller\":\"shipping\",\"purpose\":\"delivery\",\"collection\":\"customers\",\"route\":\"GET /customers/{{id}}\",\"subjects\":[\"{pseudonym}\"],\"shown\":{{\"clear\":{{\"name\":1,\"address\":1,\"phone\":2}},\"masked\":{{\"id-card\":1}}}},\"status\":200"
        )
    );
}

#[test]
fn what_the_leak_guard_found_stands_by_category_and_path() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    block(async {
        let log = open(&config).unwrap();
        let path = ShownPath::new;
        let unmapped = vec![(path("$.note"), "email", 4), (path("$.calls[*].to"), "phone", 2), (path("$.x y\n"), "email", 3)];
        log.note(Event { collection: Some(CollectionName::new("customers")), unmapped, ..Event::new(Kind::LeakGuard, 0) });
        log.close().await;
    });
    let mut entries = Vec::new();
    report(&config.dir, &[key(1)], &Filter::default(), &mut |entry| entries.push(entry.clone())).unwrap();
    let found = entries.iter().find(|entry| entry.kind == "leak-guard").unwrap();
    assert_eq!(
        found.to_string(),
        "#2 2026-11-22T12:00:00Z leak-guard; $.note (4), $.x?y? (3) look like email; $.calls[*].to (2) look like phone"
    );
    let line = String::from_utf8(lines(&files(&config.dir)["00000001.jsonl"])[2].clone()).unwrap();
    let members = r#""collection":"customers","unmapped":{"email":{"$.note":4,"$.x?y?":3},"phone":{"$.calls[*].to":2}},"mac":"#;
    assert!(line.contains(members), "{line}");
    // Entries of earlier releases have no such member, and are written as they were.
    assert!(entries.iter().filter(|entry| entry.kind != "leak-guard").all(|entry| entry.unmapped.is_empty()));
    assert_eq!(String::from_utf8_lossy(&files(&config.dir)["00000001.jsonl"]).matches("unmapped").count(), 1);
}

#[test]
fn a_line_reads_like_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut several = reveal(2);
    several.subjects.extend(["c-2", "c-3", "c-1"].map(subject));
    several.shown = Vec::new();
    let write = Event {
        caller: Some(CallerName::new("shop")),
        purpose: Some(PurposeName::new("registration")),
        protected: vec![(CategoryName::new("name"), 1), (CategoryName::new("phone"), 1), (CategoryName::new("name"), 1)],
        ..Event::new(Kind::Write, 3)
    };
    let refused = Event {
        caller: Some(CallerName::new("helpdesk")),
        status: Some(403),
        code: Some("purpose-refused".to_string()),
        ..Event::new(Kind::Refused, 4)
    };
    block(async {
        let log = open(&config).unwrap();
        for event in [reveal(1), several, write, refused] {
            log.record(event).await.unwrap();
        }
        log.close().await;
    });
    let start = event::pseudonym(&key(1).1, &subject("c-1")).get(..9).unwrap().to_string();
    let said: Vec<String> =
        tail(&config.dir, 100).unwrap().iter().map(|entry| entry.to_string().replace(&start, "psn1_abcd")).collect();
    assert_eq!(
        said,
        [
            "#1 2026-11-22T12:00:00Z start",
            "#2 2026-11-22T12:00:00Z shipping for delivery psn1_abcd…: name, address, phone clear; id-card masked",
            "#3 2026-11-22T12:00:00Z shipping for delivery psn1_abcd… and 2 more: nothing shown",
            "#4 2026-11-22T12:00:00Z shop for registration: name, phone protected",
            "#5 2026-11-22T12:00:00Z helpdesk: refused; 403 purpose-refused",
            "#6 2026-11-22T12:00:00Z stop",
        ]
    );
    assert_eq!(tail(&config.dir, 2).unwrap().iter().map(|entry| entry.seq).collect::<Vec<_>>(), [5, 6]);
}

#[test]
fn tail_reaches_over_segments() {
    let (_dir, config) = closed_log(9);
    for count in 0..=12 {
        let seqs: Vec<u64> = tail(&config.dir, count).unwrap().iter().map(|entry| entry.seq).collect();
        let expected: Vec<u64> = (1..=11).skip(11_usize.saturating_sub(count)).collect();
        assert_eq!(seqs, expected);
    }
}

#[test]
fn one_process_writes_one_log_and_closing_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    block(async {
        let log = open(&config).unwrap();
        assert!(matches!(open(&config), Err(AuditError::InUse(_))));
        log.close().await;
        log.close().await;
        assert!(matches!(log.record(reveal(1)).await, Err(AuditError::Closed)));
        assert!(!log.healthy());
        log.note(reveal(2));
        let again = open(&config).unwrap();
        again.record(reveal(3)).await.unwrap();
        again.note(reveal(4));
        drop(again);
        let asked = Instant::now();
        let third = loop {
            match open(&config) {
                Err(AuditError::InUse(_)) if asked.elapsed() < Duration::from_secs(10) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => break other.unwrap(),
            }
        };
        third.close().await;
    });
    let kinds: Vec<_> = tail(&config.dir, 20).unwrap().into_iter().map(|entry| entry.body.kind).collect();
    assert_eq!(kinds, ["start", "stop", "start", "reveal", "reveal", "stop", "start", "stop"]);
    verify(&config.dir, &[key(1)], &Given::default()).unwrap();
    assert!(matches!(
        Log::open(&config, Vec::new(), Arc::new(FixedClock::at(NOON))),
        Err(AuditError::NoKey | AuditError::KeyMissing { .. })
    ));
}

#[test]
fn a_torn_last_line_is_cut_off_and_recorded_wherever_it_was_torn() {
    let (_dir, config) = closed_log(2);
    let sound = files(&config.dir);
    let (last, bytes) = sound.iter().rfind(|(name, _)| *name != "head.json").unwrap();
    let line = lines(bytes).pop().unwrap();
    for torn in (1..line.len()).filter(|torn| torn % 13 == 1 || torn + 2 >= line.len()) {
        let mut crashed = sound.clone();
        crashed.get_mut(last).unwrap().extend_from_slice(&line[..torn]);
        put(&config.dir, &crashed);
        let seen = verify(&config.dir, &[key(1)], &Given::default()).unwrap();
        assert_eq!(usize::try_from(seen.torn_bytes).unwrap(), torn, "verify tells of it without being alarmed");
        block(async { open(&config).unwrap().close().await });
        let told = tail(&config.dir, 3).unwrap();
        let said: Vec<_> = told.iter().map(|entry| (entry.kind.as_str(), entry.code.as_deref(), entry.count)).collect();
        assert_eq!(
            said,
            [
                ("alarm", Some("torn-line-cut-off"), Some(u64::try_from(torn).unwrap())),
                ("start", None, None),
                ("stop", None, None)
            ]
        );
        assert_eq!(verify(&config.dir, &[key(1)], &Given::default()).unwrap().events, 7);
    }
}

#[test]
fn a_log_longer_than_its_head_is_continued_from_its_own_macs() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 1500, ..config(dir.path()) };
    let mut heads = Vec::new();
    block(async {
        let log = open(&config).unwrap();
        heads.push(fs::read(config.dir.join("head.json")).unwrap());
        for exchange in 0..8 {
            log.record(reveal(exchange)).await.unwrap();
            heads.push(fs::read(config.dir.join("head.json")).unwrap());
        }
        log.close().await;
    });
    let full = files(&config.dir);
    for (lost, head) in heads.iter().rev().enumerate() {
        let mut crashed = full.clone();
        crashed.insert("head.json".into(), head.clone());
        put(&config.dir, &crashed);
        let report = verify(&config.dir, &[key(1)], &Given::default()).unwrap();
        assert_eq!(usize::try_from(report.after_head).unwrap(), lost + 1);
        block(async { open(&config).unwrap().close().await });
        let report = verify(&config.dir, &[key(1)], &Given::default()).unwrap();
        assert_eq!((report.events, report.after_head), (12, 0));
    }
    // What is appended after an old head without the key is not taken for a crash.
    let mut forged = full;
    forged.insert("head.json".into(), heads[0].clone());
    let last = forged.keys().rfind(|name| *name != "head.json").unwrap().clone();
    let line = String::from_utf8(lines(&forged[&last]).pop().unwrap()).unwrap();
    forged.get_mut(&last).unwrap().extend_from_slice(line.replace("\"seq\":10", "\"seq\":11").as_bytes());
    assert_eq!(found(&forged).unwrap_err().what, What::Changed);
    put(&config.dir, &forged);
    assert!(matches!(open(&config), Err(AuditError::Damaged { .. })));
}

#[test]
fn a_start_that_died_before_its_first_event_begins_again() {
    let (_dir, config) = closed_log(1);
    let sound = files(&config.dir);
    let header = lines(&sound["00000001.jsonl"])[0].clone();
    for cut in [0, 1, header.len() - 1, header.len()] {
        put(&config.dir, &Files::from([("00000001.jsonl".to_string(), header[..cut].to_vec())]));
        block(async { open(&config).unwrap().close().await });
        assert_eq!(verify(&config.dir, &[key(1)], &Given::default()).unwrap().events, 2);
    }
}

#[test]
fn a_crash_at_the_turn_of_a_segment_is_survived() {
    let (_dir, config) = closed_log(2);
    let sound = files(&config.dir);
    let next = format!("{:08}.jsonl", sound.len());
    let header = lines(&sound["00000001.jsonl"])[0].clone();
    for cut in [0, 1, header.len() - 1] {
        let mut crashed = sound.clone();
        crashed.insert(next.clone(), header[..cut].to_vec());
        put(&config.dir, &crashed);
        verify(&config.dir, &[key(1)], &Given::default()).unwrap();
        block(async { open(&config).unwrap().close().await });
        let told = u64::from(cut > 0);
        assert_eq!(verify(&config.dir, &[key(1)], &Given::default()).unwrap().events, 6 + told, "what was cut off is recorded");
    }
}

#[test]
fn rotating_the_audit_key_begins_a_segment_and_old_subjects_are_still_found() {
    let (_dir, config) = closed_log(2);
    let both = vec![key(2), key(1)];
    block(async {
        let log = Log::open(&config, both.clone(), Arc::new(FixedClock::at(NOON + 5_000))).unwrap();
        let mut other = reveal(8);
        other.subjects = vec![subject("c-2")];
        log.record(reveal(7)).await.unwrap();
        log.record(other).await.unwrap();
        log.close().await;
    });
    let report_all = verify(&config.dir, &both, &Given::default()).unwrap();
    assert_eq!((report_all.events, report_all.by_chain_only.len()), (8, 0));
    let mut seen = Vec::new();
    let filter = Filter { subject: Some(subject("c-1")), ..Filter::default() };
    report(&config.dir, &both, &filter, &mut |entry| seen.push((entry.seq, entry.subjects.clone()))).unwrap();
    assert_eq!(seen.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2, 3, 6]);
    assert_ne!(seen[0].1, seen[2].1, "another key, another pseudonym");

    // The old key destroyed: its segments are held by the chain alone, and a change in them is still found.
    let only_new = verify(&config.dir, &both[..1], &Given::default()).unwrap();
    assert_eq!((only_new.events, only_new.by_chain_only.first()), (8, Some(&1)));
    let sound = files(&config.dir);
    for at in (0..sound["00000001.jsonl"].len()).step_by(5) {
        let mut changed = sound["00000001.jsonl"].clone();
        changed[at] ^= 2;
        fs::write(config.dir.join("00000001.jsonl"), changed).unwrap();
        assert!(verify(&config.dir, &both[..1], &Given::default()).is_err(), "byte {at}");
    }
    put(&config.dir, &sound);
    // The new key missing: the head cannot be checked.
    let error = verify(&config.dir, &both[1..], &Given::default()).unwrap_err();
    assert!(error.to_string().contains("written under audit key"), "{error}");
    assert!(matches!(open(&config), Err(AuditError::KeyMissing { .. })));
}

#[test]
fn questions_are_answered_by_subject_caller_purpose_category_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let clock = Arc::new(FixedClock::at(NOON));
    block(async {
        let log = Log::open(&config, vec![key(1)], clock.clone()).unwrap();
        for (n, (who, why, whom)) in (1_u64..).zip([
            ("shipping", "delivery", "c-1"),
            ("helpdesk", "support", "c-1"),
            ("shipping", "delivery", "c-2"),
            ("shipping", "returns", "c-1"),
        ]) {
            clock.set(NOON + n * 1000);
            let category = CategoryName::new;
            let event = Event {
                caller: Some(CallerName::new(who)),
                purpose: Some(PurposeName::new(why)),
                subjects: vec![subject(whom)],
                shown: match why {
                    "delivery" => vec![(category("name"), Level::Clear, 1), (category("phone"), Level::Absent, 1)],
                    _ => vec![(category("phone"), Level::Masked, 1)],
                },
                protected: if why == "returns" { vec![(category("address"), 1)] } else { Vec::new() },
                ..Event::new(Kind::Reveal, n)
            };
            log.record(event).await.unwrap();
        }
        log.close().await;
    });
    let ask = |filter: Filter| {
        let mut seen = Vec::new();
        report(&config.dir, &[key(1)], &filter, &mut |entry| seen.push(entry.seq)).unwrap();
        seen
    };
    let none = Filter::default;
    assert_eq!(ask(none()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(ask(Filter { subject: Some(subject("c-1")), ..none() }), [2, 3, 5]);
    assert_eq!(ask(Filter { subject: Some(subject("c-9")), ..none() }), [0_u64; 0]);
    assert_eq!(ask(Filter { caller: Some(CallerName::new("shipping")), ..none() }), [2, 4, 5]);
    assert_eq!(ask(Filter { subject: Some(subject("c-1")), purpose: Some(PurposeName::new("delivery")), ..none() }), [2]);
    let category = |name| Filter { category: Some(CategoryName::new(name)), ..none() };
    assert_eq!(ask(category("name")), [2, 4]);
    assert_eq!(ask(category("phone")), [3, 5], "absent is not shown");
    assert_eq!(ask(category("address")), [5], "protected");
    assert_eq!(ask(category("iban")), [0_u64; 0]);
    let all = Filter { subject: Some(subject("c-1")), caller: Some(CallerName::new("shipping")), ..category("phone") };
    assert_eq!(ask(Filter { since_ms: Some(NOON), until_ms: Some(NOON + 9000), ..all.clone() }), [5]);
    assert_eq!(ask(Filter { until_ms: Some(NOON + 4000), ..all }), [0_u64; 0]);
    assert_eq!(ask(Filter { since_ms: Some(NOON + 2000), until_ms: Some(NOON + 4000), ..none() }), [3, 4]);
}

#[test]
fn very_many_subjects_take_several_lines_and_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut event = reveal(1);
    event.subjects = (0..=event::MAX_SUBJECTS * 2).map(|n| subject(&format!("c-{n}"))).collect();
    block(async {
        let log = open(&config).unwrap();
        log.record(event).await.unwrap();
        log.close().await;
    });
    let all = tail(&config.dir, 9).unwrap();
    let sizes: Vec<usize> = all.iter().map(|entry| entry.subjects.len()).collect();
    assert_eq!(sizes, [0, 4096, 4096, 1, 0]);
    assert!(all[1].exchange == all[3].exchange && !all[1].shown.is_empty() && all[2].shown.is_empty() && all[3].shown.is_empty());
    let filter = Filter { subject: Some(subject("c-8192")), ..Filter::default() };
    let mut seen = 0;
    report(&config.dir, &[key(1)], &filter, &mut |_| seen += 1).unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn verify_while_the_log_grows_is_never_alarmed() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 4000, ..config(dir.path()) };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let log = open(&config).unwrap();
        let reader = scope.spawn(|| {
            let mut runs = 0;
            while !done.load(Ordering::SeqCst) || runs == 0 {
                verify(&config.dir, &[key(1)], &Given::default()).unwrap();
                runs += 1;
            }
            runs
        });
        block(async {
            for exchange in 0..300 {
                log.record(reveal(exchange)).await.unwrap();
            }
            log.close().await;
        });
        done.store(true, Ordering::SeqCst);
        assert!(reader.join().unwrap() > 0);
    });
}

#[test]
fn t13_a_data_subject_is_nowhere_in_the_log_or_in_what_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let mut event = reveal(1);
    event.subjects = vec![subject("mei.tanaka@mail.example")];
    let printed = format!("{event:?}");
    let log_printed = block(async {
        let log = open(&config).unwrap();
        log.record(event).await.unwrap();
        log.close().await;
        format!("{log:?}")
    });
    let mut bytes: Vec<u8> = files(&config.dir).into_values().flatten().collect();
    bytes.extend_from_slice(printed.as_bytes());
    bytes.extend_from_slice(log_printed.as_bytes());
    let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    for id in ["mei.tanaka", "mail.example", &HEXLOWER.encode(b"mei.tanaka"), "bWVpLnRhbmFrY"] {
        assert!(!contains(id), "{id}");
    }
    assert!(contains("psn1_") && contains("RecordId(23 bytes)"), "the scan sees both");
}
