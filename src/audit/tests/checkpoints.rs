//! Tests of checkpoints: the log held against what was signed of it earlier, here and elsewhere.

use super::*;
use crate::audit::note::{self, Note};

fn stored(config: &Config) -> Vec<String> {
    let bytes = fs::read(config.dir.join("checkpoints")).unwrap();
    let (notes, whole) = note::stored(&bytes);
    assert_eq!(whole, bytes.len());
    notes.into_iter().map(|note| String::from_utf8(note.to_vec()).unwrap()).collect()
}

fn sizes(config: &Config) -> Vec<u64> {
    stored(config).iter().map(|note| Note::read(note.as_bytes()).unwrap().checkpoint().unwrap().size).collect()
}

fn given(notes: &[&str]) -> Given {
    let named = notes.iter().enumerate().map(|(number, note)| (format!("note-{number}"), note.as_bytes().to_vec()));
    Given { checkpoints: named.collect(), verifiers: Vec::new() }
}

/// What speaks against the log in `config`.
fn against(config: &Config, keys: &[Key], given: &Given) -> Vec<Disagreement> {
    match verify(&config.dir, keys, given) {
        Err(VerifyError::Checkpoints(findings)) => findings.into_iter().map(|finding| finding.what).collect(),
        other => panic!("{other:?}"),
    }
}

/// Writes `events` more into a log.
fn go_on(config: &Config, keys: &[Key], events: u64) {
    block(async {
        let log = Log::open(config, keys.to_vec(), Arc::new(FixedClock::at(NOON + 60_000))).unwrap();
        for exchange in 0..events {
            log.record(reveal(100 + exchange)).await.unwrap();
        }
        log.close().await;
    });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_log_stores_checkpoints_at_its_start_and_end_and_agrees_with_them() {
    let (_dir, config) = closed_log(4);
    assert_eq!(sizes(&config), [1, 6]);
    assert_eq!(fs::metadata(config.dir.join("checkpoints")).unwrap().mode() & 0o7777, 0o600);
    go_on(&config, &[key(1)], 3);
    assert_eq!(sizes(&config), [1, 6, 7, 11]);
    let report = verify(&config.dir, &[key(1)], &Given::default()).unwrap().checkpoints;
    let newest = Some((11, "2026-11-22T12:01:00Z".to_owned()));
    assert_eq!(report, Checkpoints { stored: 4, newest, ..Checkpoints::default() });
    // What is printed is what the log stores, and both are over the tree of the lines as they stand in the files.
    let printed = checkpoint(&config.dir, &[key(1)]).unwrap();
    assert_eq!(&printed, stored(&config).last().unwrap());
    assert_eq!(Note::read(printed.as_bytes()).unwrap().checkpoint().unwrap().root, tree(&files(&config.dir)).root());
}

/// By means of nothing but the public key as it is printed, SHA-256 and the definition of the formats.
#[test]
fn an_outsider_checks_a_checkpoint_with_the_printed_key_alone() {
    let (_dir, config) = closed_log(2);
    let printed = verifier_keys(&config.dir, &[key(1)]).unwrap()[0].to_string();
    let note = checkpoint(&config.dir, &[key(1)]).unwrap();
    let (text, signature) = note.split_once("\n\n").unwrap();
    let text = format!("{text}\n");
    let [name, id, public] = printed.splitn(3, '+').collect::<Vec<_>>().try_into().unwrap();
    let base64 = |text: &str| data_encoding::BASE64.decode(text.as_bytes()).unwrap();
    let signature = base64(signature.trim().strip_prefix(&format!("\u{2014} {name} ")).unwrap());
    let public = base64(public);
    assert_eq!(&sha256(&[name.as_bytes(), b"\n", &public].concat())[..4], &signature[..4]);
    assert_eq!(HEXLOWER.encode(&signature[..4]), id);
    let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, &public[1..]);
    key.verify(text.as_bytes(), &signature[4..]).unwrap();
    assert!(key.verify(text.replace('\n', "\n1").as_bytes(), &signature[4..]).is_err());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[1]), (3, name, "4"));
    // The log's name comes from its first line.
    let first = fs::read_to_string(config.dir.join("00000001.jsonl")).unwrap();
    let hash = sha256(first.lines().next().unwrap().as_bytes());
    assert_eq!(name, format!("sudare/shop/{}", HEXLOWER.encode(&hash[..8])));
}

#[test]
fn a_log_put_back_whole_is_found_by_a_checkpoint_kept_elsewhere() {
    let (dir, config) = closed_log(3);
    let earlier = dir.path().join("earlier");
    copy(&config.dir, &earlier);
    go_on(&config, &[key(1)], 5);
    let kept = checkpoint(&config.dir, &[key(1)]).unwrap();
    assert_eq!(verify(&config.dir, &[key(1)], &given(&[&kept])).unwrap().checkpoints.given, 1);
    // Lines, head and checkpoints, all as they once were: nothing in the folder can tell.
    fs::remove_dir_all(&config.dir).unwrap();
    copy(&earlier, &config.dir);
    assert!(verify(&config.dir, &[key(1)], &Given::default()).is_ok());
    assert_eq!(against(&config, &[key(1)], &given(&[&kept])), [Disagreement::Shorter { vouched: 12, last: 5 }]);
    // And continued, until it is as long as it was.
    go_on(&config, &[key(1)], 8);
    assert!(verify(&config.dir, &[key(1)], &Given::default()).is_ok());
    assert_eq!(against(&config, &[key(1)], &given(&[&kept])), [Disagreement::Rewritten { vouched: 12 }]);
}

/// With the audit line's MAC key, but not the signing key: everything in the log is authentic, and it is not what was signed.
#[test]
fn a_log_rewritten_under_its_own_mac_key_is_found_by_its_stored_checkpoints() {
    let (_dir, config) = closed_log(4);
    let checkpoints = fs::read(config.dir.join("checkpoints")).unwrap();
    let header = lines(&files(&config.dir)["00000001.jsonl"]).remove(0);
    // The same first line, so that the log keeps its name; other events.
    fs::remove_dir_all(&config.dir).unwrap();
    fs::create_dir(&config.dir).unwrap();
    let (kid, mac, _) = key(1);
    let others = vec![(kid, mac, key(7).2)];
    block(async {
        let log = Log::open(&config, others.clone(), Arc::new(FixedClock::at(NOON))).unwrap();
        for exchange in 0..4 {
            log.record(Event { caller: Some(CallerName::new("nobody")), ..reveal(exchange) }).await.unwrap();
        }
        log.close().await;
    });
    assert_eq!(lines(&files(&config.dir)["00000001.jsonl"])[0], header);
    // Checkpoints under a key of their own prove nothing, and are not said to.
    let agreed = verify(&config.dir, &[key(1)], &Given::default()).unwrap().checkpoints;
    assert_eq!((agreed.stored, agreed.unsigned), (2, 2));
    fs::write(config.dir.join("checkpoints"), checkpoints).unwrap();
    assert_eq!(against(&config, &[key(1)], &Given::default()), [Disagreement::Rewritten { vouched: 6 }]);
}

#[test]
fn a_checkpoint_of_another_log_or_under_an_unknown_key_is_refused_with_the_reason() {
    let (_dir, config) = closed_log(2);
    let other = tempfile::tempdir().unwrap();
    let other = super::config(other.path());
    block(async {
        Log::open(&other, vec![key(1)], Arc::new(FixedClock::at(NOON + 1))).unwrap().close().await;
    });
    let foreign = checkpoint(&other.dir, &[key(1)]).unwrap();
    let found = against(&config, &[key(1)], &given(&[&foreign]));
    assert!(matches!(found.as_slice(), [Disagreement::OtherLog { .. }]), "{found:?}");
    let origin = foreign.lines().next().unwrap();
    let ours = checkpoint(&config.dir, &[key(1)]).unwrap();
    let forged = note::checkpoint(ours.lines().next().unwrap(), &tree(&files(&config.dir)), &key(3).2);
    let with = |note: &str| against(&config, &[key(1)], &given(&[note]));
    assert_eq!(with(&forged), [Disagreement::UnknownKey]);
    assert_eq!(with(&foreign.replace(origin, "sudare/shop/0")), [Disagreement::UnknownKey]);
    assert_eq!(with(&ours.replacen("\n4\n", "\n3\n", 1)), [Disagreement::Forged]);
    assert_eq!(with("a letter"), [Disagreement::NotACheckpoint]);
    // Each of several is told, by its name.
    let Err(VerifyError::Checkpoints(all)) = verify(&config.dir, &[key(1)], &given(&["x", &ours, &forged])) else { panic!() };
    assert_eq!(all.iter().map(|finding| finding.place.as_str()).collect::<Vec<_>>(), ["note-0", "note-2"]);
}

#[test]
fn after_a_rotation_old_checkpoints_hold_and_after_a_destruction_the_printed_key_does() {
    let (_dir, config) = closed_log(2);
    let old = checkpoint(&config.dir, &[key(1)]).unwrap();
    let verifier = verifier_keys(&config.dir, &[key(1)]).unwrap().remove(0);
    go_on(&config, &[key(2), key(1)], 2);
    let agreed = verify(&config.dir, &[key(2), key(1)], &given(&[&old])).unwrap().checkpoints;
    assert_eq!((agreed.stored, agreed.given, agreed.unsigned), (4, 1, 0));
    // The old key gone: stored ones still have to agree, a given one needs its key.
    let agreed = verify(&config.dir, &[key(2)], &Given::default()).unwrap().checkpoints;
    assert_eq!((agreed.stored, agreed.unsigned), (4, 2));
    assert_eq!(against(&config, &[key(2)], &given(&[&old])), [Disagreement::UnknownKey]);
    let helped = Given { verifiers: vec![verifier], ..given(&[&old]) };
    let agreed = verify(&config.dir, &[key(2)], &helped).unwrap().checkpoints;
    assert_eq!((agreed.stored, agreed.given, agreed.unsigned), (4, 1, 0));
}

/// Any byte of the stored ones: a finding, or (at the very end) an unfinished one, but never one more that agrees.
#[test]
fn no_byte_of_the_stored_checkpoints_can_be_changed() {
    let (_dir, config) = closed_log(2);
    let path = config.dir.join("checkpoints");
    let sound = fs::read(&path).unwrap();
    for at in 0..sound.len() {
        for flip in [1, 2, 16] {
            let mut changed = sound.clone();
            changed[at] ^= flip;
            fs::write(&path, &changed).unwrap();
            match verify(&config.dir, &[key(1)], &Given::default()) {
                Err(VerifyError::Checkpoints(_)) => {}
                Ok(report) => {
                    let Checkpoints { stored, unsigned, unfinished, .. } = report.checkpoints;
                    assert!(stored - unsigned < 2 && (unfinished || unsigned > 0), "byte {at} with {flip}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn an_unfinished_checkpoint_is_no_evidence_and_the_next_start_takes_it_away() {
    let (_dir, config) = closed_log(2);
    let path = config.dir.join("checkpoints");
    let sound = fs::read(&path).unwrap();
    for cut in [1, 60, 150] {
        fs::write(&path, &sound[..sound.len() - cut]).unwrap();
        let report = verify(&config.dir, &[key(1)], &Given::default()).unwrap().checkpoints;
        assert_eq!((report.stored, report.unfinished), (1, true));
    }
    go_on(&config, &[key(1)], 0);
    assert_eq!(sizes(&config), [1, 5, 6]);
}

#[test]
fn a_checkpoint_is_stored_every_so_often_while_events_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { checkpoint_every: Duration::from_millis(50), ..config(dir.path()) };
    block(async {
        let log = open(&config).unwrap();
        log.record(reveal(1)).await.unwrap();
        let patience = Instant::now();
        while sizes(&config).last() != Some(&2) {
            assert!(patience.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Nothing happens, so there is nothing to sign.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(sizes(&config), [1, 2]);
        log.close().await;
    });
    assert_eq!(sizes(&config), [1, 2, 3]);
}

/// The tree of a restart comes from the last header and the lines since; of a log that has no trees in its headers, from all.
#[test]
fn a_restart_knows_the_tree_also_of_a_log_of_an_earlier_release() {
    let (_dir, config) = closed_log(20);
    assert!(files(&config.dir).len() > 6, "several segments");
    go_on(&config, &[key(1)], 1);
    assert_eq!(verify(&config.dir, &[key(1)], &Given::default()).unwrap().checkpoints.stored, 4);
    // Rewritten as if no header had said anything of trees.
    let (mut link, mut old) = (chain::Link::default(), Files::new());
    let (kid, mac, _) = key(1);
    for (name, bytes) in files(&config.dir).iter().filter(|(name, _)| *name != "head.json") {
        let mut out = Vec::new();
        for (number, line) in lines(bytes).iter().enumerate() {
            let text = String::from_utf8(line.clone()).unwrap();
            let (start, rest) = text.split_once("\"prev\":\"").unwrap();
            let start = start.split_once("\"tree\":").map_or(start, |(start, _)| start);
            let rest = rest.split_once('"').unwrap().1.split_once(",\"mac\"").unwrap().0;
            let covered = format!("{start}\"prev\":\"{}\"{rest}", HEXLOWER.encode(&link.hash));
            let text = format!("{covered},\"mac\":\"{}\"}}", crate::crypto::base64url(&mac.mac(covered.as_bytes())));
            link = chain::Link { seq: link.seq + u64::from(number > 0), hash: chain::hash(text.as_bytes()) };
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
        }
        old.insert(name.clone(), out);
    }
    let last = lines(old.last_key_value().unwrap().1);
    let bytes = u64::try_from(old.last_key_value().unwrap().1.len()).unwrap();
    let head = chain::Head {
        segment: u64::try_from(old.len()).unwrap(),
        line: u64::try_from(last.len()).unwrap(),
        from: bytes - u64::try_from(last.last().unwrap().len()).unwrap(),
        bytes,
        link,
    };
    old.insert("head.json".into(), head.write(&(kid, mac, key(1).2)).unwrap().to_vec());
    put(&config.dir, &old);
    assert_eq!(verify(&config.dir, &[key(1)], &Given::default()).unwrap().checkpoints.stored, 0);
    go_on(&config, &[key(1)], 2);
    let report = verify(&config.dir, &[key(1)], &Given::default()).unwrap();
    assert_eq!((report.events, report.checkpoints.stored), (25 + 4, 2));
}

/// Without any key of the ring: every byte of every event up to the checkpoint counts, and what comes after is not vouched for.
#[test]
fn an_outsider_with_a_copy_finds_every_change_up_to_the_checkpoint() {
    let (_dir, config) = closed_log(3);
    let verifiers = verifier_keys(&config.dir, &[key(1)]).unwrap();
    let all = Given { verifiers, ..Given::default() };
    let report = verify_as_outsider(&config.dir, &all).unwrap();
    assert_eq!((report.events, report.unproved, report.checkpoints.stored), (5, 0, 2));
    assert!(matches!(verify_as_outsider(&config.dir, &Given::default()), Err(VerifyError::NoCheckpoint)));
    let sound = files(&config.dir);
    for (name, bytes) in sound.iter().filter(|(name, _)| *name != "head.json") {
        for at in (0..bytes.len()).step_by(3) {
            let mut changed = bytes.clone();
            changed[at] ^= 2;
            fs::write(config.dir.join(name), changed).unwrap();
            assert!(verify_as_outsider(&config.dir, &all).is_err(), "byte {at} of {name}");
        }
        fs::write(config.dir.join(name), bytes).unwrap();
    }
    let last = sound.keys().rfind(|name| *name != "head.json").unwrap();
    let cut: Vec<u8> = lines(&sound[last]).iter().rev().skip(1).rev().flatten().copied().collect();
    fs::write(config.dir.join(last), cut).unwrap();
    let error = verify_as_outsider(&config.dir, &all).unwrap_err();
    assert!(error.to_string().contains("made when the log had 5 events"), "{error}");
}
