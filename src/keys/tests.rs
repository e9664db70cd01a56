//! Tests of the ring as its callers see it: files, tampering, rotation, states, subkeys.

mod follow;
mod lookup;
mod providers;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use super::kek::KekRef;
use super::life::init_with;
use super::manifest::{self, Opened};
use super::subkeys::Subkeys;
use super::*;
use crate::base::{CollectionName, FieldName, FieldPlace, FixedClock, RingName};
use crate::crypto::{PassphraseParams, Secret, XaesKey};
use crate::purpose::{Grant, Permit, Policy, Upkeep};
use crate::store::Store;

const NOON: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z
const CHEAP: PassphraseParams = PassphraseParams { memory_kib: 64, passes: 1, lanes: 1 };

fn config(dir: &Path) -> Config {
    Config {
        controller: Controller::new("shop"),
        name: RingName::main(),
        ring: dir.join("keys/ring.json").into(),
        kek: Kek::File(dir.join("keys/kek")),
        min_revision: 0,
    }
}

/// A folder with a ring of the four fixed lines and the scope `marketing`.
fn made() -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    init(&config, &["marketing".to_string()], &FixedClock::at(NOON)).unwrap();
    (dir, config)
}

fn place(collection: &str, field: &str) -> FieldPlace {
    FieldPlace { controller: Controller::new("shop"), collection: CollectionName::new(collection), field: FieldName::new(field) }
}

/// Seals with fixed nonces, which is fine for one value a key; for telling keys apart.
fn sealed(key: &FieldKey, text: &str) -> Vec<u8> {
    let mut data = text.as_bytes().to_vec();
    let tag = key.xaes.row_key(&[1; 12]).seal_in_place(&[2; 12], b"here", &mut data).unwrap();
    data.extend_from_slice(&tag);
    data
}

fn opened(key: &FieldKey, sealed: &[u8]) -> Option<String> {
    let mut data = sealed.to_vec();
    let text = key.xaes.row_key(&[1; 12]).open_in_place(&[2; 12], b"here", &mut data).ok()?;
    Some(String::from_utf8(text.to_vec()).unwrap())
}

fn upkeep() -> Upkeep {
    Upkeep::dangerous_for("tests of the key ring")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// The words of an error, with the folder of the test taken out.
fn said(dir: &Path, error: &KeyError) -> String {
    error.to_string().replace(&format!("{}/", dir.display()), "")
}

#[test]
fn init_makes_private_files_and_a_second_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let clock = FixedClock::at(NOON);
    let report = init(&config, &[], &clock).unwrap();
    assert!(report.kek_made && report.ring_made);
    assert_eq!((report.revision, report.added.len()), (1, 4));
    assert_eq!(mode(&config.ring), 0o600);
    assert_eq!(mode(&dir.path().join("keys/kek")), 0o600);
    assert_eq!(mode(&dir.path().join("keys")), 0o700);
    let (ring, kek) = (fs::read(&config.ring).unwrap(), fs::read(dir.path().join("keys/kek")).unwrap());
    assert_eq!(kek.len(), 44, "43 characters and a line end");

    clock.set(NOON + 1000);
    let again = init(&config, &[], &clock).unwrap();
    assert_eq!(again, InitReport { kek_made: false, ring_made: false, revision: 1, added: Vec::new() });
    assert_eq!((fs::read(&config.ring).unwrap(), fs::read(dir.path().join("keys/kek")).unwrap()), (ring, kek));
}

#[test]
fn init_adds_missing_scopes_in_one_revision_and_keeps_every_key() {
    let (_dir, config) = made();
    let before = KeyRing::open(&config).unwrap();
    let value = sealed(&before.seal_key(&place("customers", "name")).unwrap(), "Mei");
    let scopes = ["marketing", "statistics", "carrier"].map(String::from);
    let report = init(&config, &scopes, &FixedClock::at(NOON + 5)).unwrap();
    assert_eq!((report.revision, report.kek_made, report.ring_made), (2, false, false));
    assert_eq!(
        report.added.iter().map(|(line, _)| line.to_string()).collect::<Vec<_>>(),
        ["pseudonym/statistics", "pseudonym/carrier"]
    );
    let after = KeyRing::open(&config).unwrap();
    assert!(scopes.iter().all(|scope| after.has_pseudonym_scope(scope)));
    assert!(!after.has_pseudonym_scope("delivery"));
    assert_eq!(opened(&after.seal_key(&place("customers", "name")).unwrap(), &value).as_deref(), Some("Mei"));
    assert!(matches!(init(&config, &["two words".to_string()], &FixedClock::at(NOON)), Err(KeyError::Line(_))));
}

#[test]
fn a_person_can_read_the_states_in_the_file_and_any_json_tool_can_parse_it() {
    let (_dir, config) = made();
    rotate(&config, &LineName::Seal, &FixedClock::at(NOON + 1500)).unwrap();
    let text = fs::read_to_string(&config.ring).unwrap();
    assert!(text.contains("\"state\": \"deactivated\",\n          \"created\": \"2026-11-22T12:00:00Z\""), "{text}");
    assert!(text.contains("\"deactivated\": \"2026-11-22T12:00:01.5Z\""), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["format"], "sudare-ring/1");
    assert_eq!(json["revision"], 2);
    assert_eq!(json["kek"], serde_json::json!({ "provider": "file" }));
    assert_eq!(json["lines"][0]["line"], "seal");
    assert_eq!(json["mac"].as_str().unwrap().len(), 43);
}

#[test]
fn t19_rotation_seals_under_the_new_version_and_opens_under_both() {
    let (_dir, config) = made();
    let name = place("customers", "name");
    let old_ring = KeyRing::open(&config).unwrap();
    let old = old_ring.seal_key(&name).unwrap();
    let value = sealed(&old, "Mei Tanaka");

    let report = rotate(&config, &LineName::Seal, &FixedClock::at(NOON + 60_000)).unwrap();
    assert_eq!((report.deactivated, report.revision), (Some(old.kid), 2));
    let ring = KeyRing::open(&config).unwrap();
    let new = ring.seal_key(&name).unwrap();
    assert_eq!(new.kid, report.active);
    assert_ne!(new.kid, old.kid);
    assert_eq!(opened(&new, &value), None, "another version is another key");
    let again = ring.open_key(old.kid, &name, Permit::Upkeep(&upkeep())).unwrap();
    assert_eq!(opened(&again, &value).as_deref(), Some("Mei Tanaka"));
    // The snapshot taken before goes on as it was, and does not learn of the new version.
    assert_eq!(old_ring.seal_key(&name).unwrap().kid, old.kid);
    assert!(matches!(old_ring.open_key(new.kid, &name, Permit::Upkeep(&upkeep())), Err(KeyError::UnknownKid(_))));
    // The other lines did not move.
    let kids = |ring: &KeyRing| ring.versions().into_iter().filter(|version| version.line != LineName::Seal).collect::<Vec<_>>();
    assert_eq!(kids(&old_ring), kids(&ring));
    let moved = ring.versions().into_iter().find(|version| version.kid == old.kid).unwrap();
    assert_eq!((moved.state, moved.deactivated_ms, moved.activated_ms), (State::Deactivated, Some(NOON + 60_000), Some(NOON)));
}

#[test]
fn rotating_the_audit_line_keeps_its_old_keys_for_reading() {
    let (_dir, config) = made();
    let first = KeyRing::open(&config).unwrap().audit_keys().unwrap();
    let second = rotate(&config, &LineName::Audit, &FixedClock::at(NOON)).unwrap().active;
    let third = rotate(&config, &LineName::Audit, &FixedClock::at(NOON)).unwrap().active;
    let keys = KeyRing::open(&config).unwrap().audit_keys().unwrap();
    assert_eq!(keys.iter().map(|(kid, ..)| *kid).collect::<Vec<_>>(), [third, second, first[0].0]);
    assert_eq!(keys[2].1.mac(b"m"), first[0].1.mac(b"m"));
    assert_ne!(keys[0].1.mac(b"m"), first[0].1.mac(b"m"));
}

/// A log written under a version that became known to others is still to be read and continued; new lines go under Active.
#[test]
fn a_compromised_audit_version_is_kept_for_reading_and_a_destroyed_one_is_gone() {
    let kids = [Kid::from_random([1; 5]), Kid::from_random([2; 5]), Kid::from_random([3; 5])];
    let states = [State::Compromised, State::Destroyed, State::Active];
    let versions = kids.iter().zip(states).map(|(kid, state)| (LineName::Audit, *kid, state, [7; 32])).collect();
    let keys = KeyRing::with_versions(Controller::new("shop"), versions).audit_keys().unwrap();
    assert_eq!(keys.iter().map(|(kid, ..)| *kid).collect::<Vec<_>>(), [kids[2], kids[0]]);
}

#[test]
fn a_missing_line_cannot_be_rotated() {
    let (_dir, config) = made();
    let error = rotate(&config, &LineName::pseudonym("delivery").unwrap(), &FixedClock::at(NOON)).unwrap_err();
    assert_eq!(error.to_string(), "the key ring has no line pseudonym/delivery: see `sudare keys list`");
}

#[test]
fn racing_rotations_take_turns() {
    let (_dir, config) = made();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..3).for_each(|_| drop(rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap())));
        }
    });
    let ring = KeyRing::open(&config).unwrap();
    assert_eq!(ring.revision(), 13);
    let seal: Vec<_> = ring.versions().into_iter().filter(|version| version.line == LineName::Seal).collect();
    assert_eq!(seal.len(), 13);
    assert_eq!(seal.iter().filter(|version| version.state == State::Active).count(), 1);
}

#[test]
fn a_write_that_died_half_way_is_cleared_by_the_next() {
    let (dir, config) = made();
    fs::write(dir.path().join("keys/ring.json.new"), "{ half a ri").unwrap();
    assert_eq!(rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap().revision, 2);
    assert!(!dir.path().join("keys/ring.json.new").exists());
    assert_eq!(KeyRing::open(&config).unwrap().revision(), 2);
}

#[test]
fn every_changed_byte_and_every_cut_of_the_file_is_refused() {
    let (_dir, config) = made();
    let sound = fs::read(&config.ring).unwrap();
    for at in 0..sound.len() {
        let mut changed = sound.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&config.ring, &changed).unwrap();
        assert!(KeyRing::open(&config).is_err(), "byte {at} changed");
        fs::write(&config.ring, &sound[..at]).unwrap();
        assert!(KeyRing::open(&config).is_err(), "cut at {at}");
    }
    for (from, to) in
        [("\"active\"", "\"pre-active\""), ("\"revision\": 1", "\"revision\": 9"), ("{\n", "{\r\n"), ("}\n", "} \n")]
    {
        fs::write(&config.ring, String::from_utf8(sound.clone()).unwrap().replace(from, to)).unwrap();
        assert!(KeyRing::open(&config).is_err(), "{from} to {to}");
    }
    fs::write(&config.ring, &sound).unwrap();
    assert!(KeyRing::open(&config).is_ok(), "the sound file opens");
}

#[test]
fn errors_say_what_where_and_the_remedy() {
    let (dir, config) = made();
    let dir = dir.path();
    let kek = dir.join("keys/kek");
    let fails = |config: &Config| said(dir, &KeyRing::open(config).unwrap_err());
    let sound = (fs::read(&config.ring).unwrap(), fs::read(&kek).unwrap());

    fs::set_permissions(&kek, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(fails(&config), format!("keys/kek: readable by others (mode 0644): chmod 600 {}", "keys/kek"));
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o620)).unwrap();
    assert!(matches!(KeyRing::open(&config), Err(KeyError::Exposed { mode: 0o620, .. })), "the group may not write it either");
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o600)).unwrap();

    for wrong in ["", "short", "not base64url at all, but long enough.......", &"A".repeat(44), &"x".repeat(5000)] {
        fs::write(&kek, wrong).unwrap();
        assert!(matches!(KeyRing::open(&config), Err(KeyError::NotAKek(_) | KeyError::Malformed { .. })), "{wrong}");
    }
    fs::write(&kek, crypto_text(&[7; 32])).unwrap();
    assert_eq!(
        fails(&config),
        "keys/ring.json: does not open under this KEK or passphrase: it is another one, or the file was changed: restore both from one backup"
    );
    fs::remove_file(&kek).unwrap();
    let missing =
        "keys/kek: not there, but keys/ring.json needs it: put it back from your backup; a new one cannot open this ring";
    assert_eq!(fails(&config), missing);
    assert_eq!(
        said(dir, &init(&config, &[], &FixedClock::at(NOON)).unwrap_err()),
        missing,
        "init makes no new KEK under an old ring"
    );
    assert!(!kek.exists());
    fs::write(&kek, &sound.1).unwrap();
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o600)).unwrap();

    let other = Config { controller: Controller::new("market"), ..config.clone() };
    assert_eq!(
        fails(&other),
        "keys/ring.json: belongs to controller \"shop\", not \"market\": name the right file in [keys] ring"
    );
    let newer = Config { min_revision: 2, ..config.clone() };
    assert_eq!(
        fails(&newer),
        "keys/ring.json: revision 1 is older than min_revision 2: an old one was put back; restore the newest"
    );
    let elsewhere = Config { ring: dir.join("keys/other.json").into(), ..config.clone() };
    assert_eq!(
        fails(&elsewhere),
        "keys/other.json: not there: put it back from your backup; where nothing was ever sealed, make it with `sudare keys init`"
    );
    let phrase = Config { kek: Kek::Passphrase { env: "PATH".into() }, ..config.clone() };
    assert_eq!(
        fails(&phrase),
        "keys/ring.json: wrapped under a KEK of provider \"file\", but the configuration names \"passphrase\": change [keys] kek"
    );
    fs::write(&config.ring, String::from_utf8(sound.0).unwrap().replace("\"revision\": 1", "\"revision\": 2")).unwrap();
    assert_eq!(
        fails(&config),
        "keys/ring.json: was changed after `sudare keys` wrote it: put it back from your backup and find out who did"
    );
    fs::write(&config.ring, "{}").unwrap();
    assert_eq!(
        fails(&config),
        "keys/ring.json: not a key ring as `sudare keys` writes it: its last line is not the one that authenticates it: put it back from your backup"
    );
}

fn crypto_text(bytes: &[u8]) -> String {
    crate::crypto::base64url(bytes)
}

#[test]
fn an_existing_kek_is_used_for_a_new_ring_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let kek = dir.path().join("keys/kek");
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::write(&kek, crypto_text(&[9; 32])).unwrap();
    let exposed = init(&config, &[], &FixedClock::at(NOON));
    assert!(matches!(exposed, Err(KeyError::Exposed { .. })), "{exposed:?}");
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o600)).unwrap();
    let report = init(&config, &[], &FixedClock::at(NOON)).unwrap();
    assert!(report.ring_made && !report.kek_made);
    assert_eq!(fs::read_to_string(&kek).unwrap(), crypto_text(&[9; 32]));
    assert!(KeyRing::open(&config).is_ok());
}

#[test]
fn a_passphrase_ring_opens_with_its_passphrase_only() {
    let dir = tempfile::tempdir().unwrap();
    // Variables that are set wherever cargo runs a test; setting one of our own would race with other tests.
    let with = |env: &str| Config { kek: Kek::Passphrase { env: env.into() }, ..config(dir.path()) };
    let right = with("CARGO_MANIFEST_PATH");
    init_with(&right, &[], &FixedClock::at(NOON), CHEAP).unwrap();
    assert!(!dir.path().join("keys/kek").exists());
    assert_eq!(KeyRing::open(&right).unwrap().revision(), 1);
    rotate(&right, &LineName::Lookup, &FixedClock::at(NOON)).unwrap();
    let text = fs::read_to_string(&right.ring).unwrap();
    assert!(text.contains("\"kdf\": \"argon2id\"") && text.contains("\"memory_kib\": 64"), "{text}");
    assert!(matches!(KeyRing::open(&with("CARGO_PKG_DESCRIPTION")), Err(KeyError::WrongKek(_))));
    assert!(matches!(KeyRing::open(&with("SUDARE_TEST_NO_SUCH_VARIABLE")), Err(KeyError::PassphraseUnset(_))));
    let short = Config { ring: dir.path().join("other/ring.json").into(), ..with("CARGO_PKG_NAME") };
    assert!(matches!(init_with(&short, &[], &FixedClock::at(NOON), CHEAP), Err(KeyError::PassphraseShort { least: 16, .. })));
    // A changed file may not make us spend the machine's memory before it is found out.
    for (sound, costly) in [("\"memory_kib\": 64", "\"memory_kib\": 1048577"), ("\"passes\": 1", "\"passes\": 33")] {
        assert!(text.contains(sound), "{text}");
        fs::write(&right.ring, text.replace(sound, costly)).unwrap();
        assert!(matches!(KeyRing::open(&right), Err(KeyError::Kdf(_))), "{costly}");
    }
}

#[test]
fn a_running_node_takes_no_older_ring_and_no_other_one_of_the_same_revision() {
    let (dir, config) = made();
    let first = fs::read(&config.ring).unwrap();
    let used = KeyRing::open(&config).unwrap();
    used.may_follow(&used).unwrap();
    rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap();
    let newer = KeyRing::open(&config).unwrap();
    newer.may_follow(&used).unwrap();
    assert!(matches!(used.may_follow(&newer), Err(KeyError::RolledBack { found: 1, newest: 2 })));
    // Another operator changes a copy of the same file.
    fs::write(&config.ring, first).unwrap();
    rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap();
    let said = KeyRing::open(&config).unwrap().may_follow(&newer).unwrap_err().to_string();
    assert!(said.contains("revision 2 is not the revision 2 that this node uses"), "{said}");
    drop(dir);
}

#[test]
fn an_older_ring_is_refused_by_a_node_that_saw_a_newer_one() {
    let (dir, config) = made();
    let store = Store::embedded(&dir.path().join("data/sudare.redb")).unwrap();
    let old = fs::read(&config.ring).unwrap();
    KeyRing::open(&config).unwrap().check_rollback(&store).unwrap();
    rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap();
    KeyRing::open(&config).unwrap().check_rollback(&store).unwrap();
    KeyRing::open(&config).unwrap().check_rollback(&store).unwrap();
    fs::write(&config.ring, old).unwrap();
    let error = KeyRing::open(&config).unwrap().check_rollback(&store).unwrap_err();
    assert!(matches!(error, KeyError::RolledBack { found: 1, newest: 2 }), "{error}");
    let other = KeyRing::with_versions(Controller::new("other"), Vec::new());
    other.check_rollback(&store).unwrap();
}

/// Whoever holds the KEK can still not make one key stand in for another: the manifest is rewritten with a valid MAC.
#[test]
fn a_wrapped_key_unwraps_only_as_itself() {
    let swap = |change: &dyn Fn(&mut Vec<manifest::Line>)| {
        let (_dir, config) = made();
        rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap();
        let mut opened = manifest::open(&config).unwrap();
        change(&mut opened.manifest.lines);
        fs::write(&config.ring, opened.next_revision(&config.ring, NOON).unwrap()).unwrap();
        let report = verify(&config).unwrap();
        assert!(!report.sound());
        let found: Vec<_> = report.versions.iter().filter_map(|(_, found)| found.err()).collect();
        (found, KeyRing::open(&config).unwrap_err().to_string())
    };
    // Two versions of one line exchange their secrets.
    let (found, error) = swap(&|lines| {
        let [a, b] = &mut lines[0].versions[..] else { panic!() };
        std::mem::swap(&mut a.wrapped, &mut b.wrapped);
        std::mem::swap(&mut a.commitment, &mut b.commitment);
    });
    assert_eq!(found, ["it does not unwrap under the KEK"; 2]);
    assert!(error.contains("of line seal is not loaded: it does not unwrap"), "{error}");
    // A version moves to another line.
    let (found, _) = swap(&|lines| {
        let version = lines[0].versions.remove(0);
        lines[1].versions.push(version);
    });
    assert_eq!(found, ["it does not unwrap under the KEK"]);
    // The commitment is another one.
    let (found, error) = swap(&|lines| lines[0].versions[1].commitment[31] ^= 1);
    assert_eq!(found, ["it does not match its commitment"]);
    assert!(error.contains("it does not match its commitment"), "{error}");
}

#[test]
fn a_manifest_that_contradicts_itself_is_not_written() {
    let wrong = |change: &dyn Fn(&mut Vec<manifest::Line>)| {
        let (_dir, config) = made();
        rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap();
        let mut opened = manifest::open(&config).unwrap();
        change(&mut opened.manifest.lines);
        match opened.next_revision(&config.ring, NOON) {
            Err(KeyError::Contradiction { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(wrong(&|lines| lines[0].versions[0].state = State::Active), "the line seal has 2 active versions instead of one");
    assert_eq!(wrong(&|lines| drop(lines[0].versions.pop())), "the line seal has 0 active versions instead of one");
    assert!(wrong(&|lines| lines[1].versions[0].kid = lines[0].versions[0].kid).ends_with("stands there twice"));
    assert_eq!(wrong(&|lines| lines[1].name = LineName::Seal), "the line seal stands there twice");
    assert!(wrong(&|lines| lines[0].versions[1].times.activated = None).contains("do not fit its state active"));
    assert!(wrong(&|lines| lines[0].versions[1].wrapped = None).contains("its secret being there or not"));
}

#[test]
fn a_scope_ends_when_its_key_is_destroyed_and_its_id_stays_taken() {
    let (_dir, config) = made();
    let mut opened = manifest::open(&config).unwrap();
    let line = opened.manifest.lines.iter_mut().find(|line| line.name == LineName::Pseudonym("marketing".into())).unwrap();
    let version = &mut line.versions[0];
    let kid = version.kid;
    let refused = version.shift(State::Destroyed, NOON);
    assert!(matches!(refused, Err(KeyError::NoSuchMove { from: State::Active, to: State::Destroyed, .. })), "{refused:?}");
    version.shift(State::Deactivated, NOON).unwrap();
    version.shift(State::Destroyed, NOON + 1).unwrap();
    fs::write(&config.ring, opened.next_revision(&config.ring, NOON).unwrap()).unwrap();
    let ring = KeyRing::open(&config).unwrap();
    let gone = ring.versions().into_iter().find(|version| version.kid == kid).unwrap();
    assert_eq!((gone.state, gone.destroyed_ms), (State::Destroyed, Some(NOON + 1)));
    assert!(ring.has_pseudonym_scope("marketing"));
    assert!(verify(&config).unwrap().sound());
}

fn kid(text: &str) -> Kid {
    text.parse().unwrap()
}

#[test]
fn states_are_enforced_on_opening_for_upkeep() {
    let states = [1, 2, 3, 4, 5].map(|n: u8| (State::ALL[usize::from(n) - 1], Kid::from_random([n; 5])));
    let versions = states.map(|(state, kid)| (LineName::Seal, kid, state, [1; 32]));
    let ring = KeyRing::with_versions(Controller::new("shop"), versions.to_vec());
    for (state, kid) in states {
        let found = ring.open_key(kid, &place("customers", "name"), Permit::Upkeep(&upkeep()));
        if state == State::Destroyed {
            assert!(matches!(found, Err(KeyError::Destroyed(gone)) if gone == kid));
        } else {
            assert_eq!(found.unwrap().kid, kid, "{state}");
        }
    }
    assert_eq!(ring.seal_key(&place("customers", "name")).unwrap().kid, states[1].1);
    let unknown = ring.open_key(kid("zzzzzzzz"), &place("customers", "name"), Permit::Upkeep(&upkeep()));
    assert!(matches!(unknown, Err(KeyError::UnknownKid(_))));
}

#[test]
fn only_an_active_version_seals() {
    for state in [State::PreActive, State::Deactivated, State::Compromised, State::Destroyed] {
        let ring = KeyRing::with_versions(Controller::new("shop"), vec![(LineName::Seal, kid("00000001"), state, [1; 32])]);
        assert!(matches!(ring.seal_key(&place("customers", "name")), Err(KeyError::NoActive(LineName::Seal))), "{state}");
    }
}

#[test]
fn t17_every_place_line_version_and_controller_has_its_own_key() {
    let versions = |secret| {
        vec![
            (LineName::Seal, kid("00000001"), State::Active, [secret; 32]),
            (LineName::Lookup, kid("00000002"), State::Active, [secret; 32]),
        ]
    };
    let shop = KeyRing::with_versions(Controller::new("shop"), versions(1));
    let other_version = KeyRing::with_versions(Controller::new("shop"), versions(2));
    let market = KeyRing::with_versions(Controller::new("market"), versions(1));
    let in_market = FieldPlace { controller: Controller::new("market"), ..place("customers", "name") };
    let seals = [
        sealed(&shop.seal_key(&place("customers", "name")).unwrap(), "x"),
        sealed(&shop.seal_key(&place("customers", "phone")).unwrap(), "x"),
        sealed(&shop.seal_key(&place("orders", "name")).unwrap(), "x"),
        sealed(&shop.seal_key(&place("customersn", "ame")).unwrap(), "x"),
        sealed(&other_version.seal_key(&place("customers", "name")).unwrap(), "x"),
        sealed(&market.seal_key(&in_market).unwrap(), "x"),
    ];
    let distinct: std::collections::HashSet<_> = seals.iter().collect();
    assert_eq!(distinct.len(), seals.len());
    assert!(matches!(shop.seal_key(&in_market), Err(KeyError::ForeignPlace { .. })), "a ring serves its own controller only");
    let lookup = shop.open_key(kid("00000002"), &place("customers", "name"), Permit::Upkeep(&upkeep()));
    assert!(matches!(lookup, Err(KeyError::UnknownKid(_))), "a key of another line opens no sealed value");
}

/// The derivation is a stored format: HKDF(secret, enc("sudare/v1", "seal", controller, collection, field)).
#[test]
fn the_derivation_is_the_one_of_the_format() {
    let ring = KeyRing::with_versions(Controller::new("shop"), vec![(LineName::Seal, kid("00000001"), State::Active, [3; 32])]);
    let label = crate::base::enc(&[b"sudare/v1", b"seal", b"shop", b"customers", b"name"]);
    let by_hand =
        FieldKey { kid: kid("00000001"), xaes: XaesKey::new(&crate::crypto::hkdf(&Secret::from_bytes([3; 32]), &label)) };
    assert_eq!(sealed(&ring.seal_key(&place("customers", "name")).unwrap(), "x"), sealed(&by_hand, "x"));
}

#[test]
fn subkeys_are_made_once_and_bounded() {
    let cache = Subkeys::new(8);
    let made = std::cell::Cell::new(0);
    let key = |byte: u8| FieldKey { kid: kid("00000001"), xaes: XaesKey::new(&Secret::from_bytes([byte; 32])) };
    let ask = |field: &str| cache.of(kid("00000001"), &place("customers", field), || (made.set(made.get() + 1), key(1)).1);
    let first = ask("name");
    assert!(Arc::ptr_eq(&first, &ask("name")), "a hit is the same key");
    assert_eq!(made.get(), 1);
    for field in 0..100 {
        ask(&format!("f{field}"));
        assert!(cache.len() <= 8);
    }
    assert_eq!(made.get(), 101);
    ask("name");
    assert_eq!(made.get(), 102, "it was pushed out and is made again");
}

#[test]
fn subkeys_of_many_threads_are_the_right_ones() {
    let ring = KeyRing::with_versions(
        Controller::new("shop"),
        (1..=4_u8)
            .map(|n| (LineName::Seal, Kid::from_random([n; 5]), if n == 1 { State::Active } else { State::Deactivated }, [n; 32]))
            .collect(),
    );
    let expected: Vec<Vec<u8>> = (0..40_u8)
        .map(|n| {
            sealed(
                &ring
                    .open_key(Kid::from_random([n % 4 + 1; 5]), &place("c", &format!("f{}", n / 4)), Permit::Upkeep(&upkeep()))
                    .unwrap(),
                "v",
            )
        })
        .collect();
    let fresh = KeyRing::with_versions(
        Controller::new("shop"),
        (1..=4_u8).map(|n| (LineName::Seal, Kid::from_random([n; 5]), State::Deactivated, [n; 32])).collect(),
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for (n, expected) in (0..40_u8).zip(&expected) {
                    let key = fresh.open_key(
                        Kid::from_random([n % 4 + 1; 5]),
                        &place("c", &format!("f{}", n / 4)),
                        Permit::Upkeep(&upkeep()),
                    );
                    assert_eq!(&sealed(&key.unwrap(), "v"), expected);
                }
            });
        }
    });
}

#[test]
fn an_ephemeral_ring_has_every_line() {
    let ring = KeyRing::ephemeral(Controller::new("shop"), &["marketing", "carrier"]).unwrap();
    let lines: Vec<_> = ring.versions().into_iter().map(|version| (version.line.to_string(), version.state)).collect();
    let expected = ["seal", "lookup", "token", "audit", "pseudonym/marketing", "pseudonym/carrier"];
    assert_eq!(lines, expected.map(|line| (line.to_string(), State::Active)));
    assert!(ring.seal_key(&place("customers", "name")).is_ok());
    assert_eq!(ring.audit_keys().unwrap().len(), 1);
    assert_eq!(ring.revision(), 0);
    assert!(KeyRing::ephemeral(Controller::new("shop"), &["a b"]).is_err());
}

fn reveal(caller: &str, purpose: &str) -> Grant {
    let policy = Policy::compile(crate::purpose::tests::shop()).unwrap();
    policy.decide(&crate::base::CallerName::new(caller), Some(purpose), NOON).unwrap()
}

#[test]
fn states_are_enforced_on_opening_to_reveal() {
    let grant = reveal("shipping", "delivery");
    let states = [1, 2, 3, 4, 5].map(|n: u8| (State::ALL[usize::from(n) - 1], Kid::from_random([n; 5])));
    let versions = states.map(|(state, kid)| (LineName::Seal, kid, state, [1; 32]));
    let ring = KeyRing::with_versions(Controller::new("shop"), versions.to_vec());
    let name = place("customers", "name");
    // The cache is filled first: what it holds must not answer for a state that forbids it (T19).
    for (state, kid) in states {
        assert_eq!(ring.open_key(kid, &name, Permit::Upkeep(&upkeep())).is_ok(), state != State::Destroyed);
    }
    for (state, kid) in states {
        let found = ring.open_key(kid, &name, Permit::Reveal(&grant));
        match state {
            State::PreActive | State::Active | State::Deactivated => assert_eq!(found.unwrap().kid, kid),
            State::Compromised => assert!(matches!(found, Err(KeyError::Compromised(named)) if named == kid)),
            State::Destroyed => assert!(matches!(found, Err(KeyError::Destroyed(named)) if named == kid)),
        }
    }
}

#[test]
fn a_pseudonym_key_is_given_to_a_grant_of_its_own_scope_only() {
    let ring = KeyRing::ephemeral(Controller::new("shop"), &["statistics", "carrier"]).unwrap();
    let (analyst, carrier) = (reveal("analyst", "statistics"), reveal("carrier", "delivery"));
    assert_eq!((analyst.scope(), carrier.scope()), ("statistics", "carrier"));
    let statistics = ring.pseudonym_key("statistics", Permit::Reveal(&analyst)).unwrap();
    let other = ring.pseudonym_key("carrier", Permit::Reveal(&carrier)).unwrap();
    assert_ne!(statistics.mac(b"Mei"), other.mac(b"Mei"), "scopes do not link");
    assert_eq!(statistics.mac(b"Mei"), ring.pseudonym_key("statistics", Permit::Reveal(&analyst)).unwrap().mac(b"Mei"));
    assert!(matches!(ring.pseudonym_key("carrier", Permit::Reveal(&analyst)), Err(KeyError::OtherScope(_))));
    assert!(matches!(ring.pseudonym_key("statistics", Permit::Upkeep(&upkeep())), Err(KeyError::OtherScope(_))));
    let without = KeyRing::ephemeral(Controller::new("shop"), &[]).unwrap();
    assert!(matches!(without.pseudonym_key("statistics", Permit::Reveal(&analyst)), Err(KeyError::NoScope(_))));
    let line = LineName::pseudonym("statistics").unwrap();
    let ended = KeyRing::with_versions(Controller::new("shop"), vec![(line, kid("00000001"), State::Deactivated, [1; 32])]);
    assert!(matches!(ended.pseudonym_key("statistics", Permit::Reveal(&analyst)), Err(KeyError::NoActive(_))));
}

/// T13: every type that holds a secret is printed, with secrets whose bytes would be recognised in any of these spellings.
#[test]
fn t13_no_secret_in_debug_or_display() {
    let (dir, config) = made();
    let kek_text = fs::read_to_string(dir.path().join("keys/kek")).unwrap();
    let opened: Opened = manifest::open(&config).unwrap();
    let ring = KeyRing::with_versions(
        Controller::new("shop"),
        vec![
            (LineName::Seal, kid("00000001"), State::Active, [0xab; 32]),
            (LineName::Audit, kid("00000002"), State::Active, [0xab; 32]),
        ],
    );
    let key = ring.seal_key(&place("customers", "name")).unwrap();
    let printed = [
        format!("{ring:?} {ring:#?} {key:?} {:?} {:?}", ring.audit_keys().unwrap(), ring.versions()),
        format!("{config:?} {:?} {:?}", opened.manifest, KekRef::File),
        format!("{:?} {:?}", verify(&config).unwrap(), rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap()),
        fs::write(dir.path().join("keys/kek"), "wrong-kek-canary")
            .map(|()| KeyRing::open(&config).unwrap_err())
            .map(|e| format!("{e} {e:?}"))
            .unwrap(),
    ]
    .join("\n");
    for secret in ["abababab", "171, 171, 171, 171", "q6urq6ur", kek_text.trim(), "wrong-kek-canary"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    assert!(printed.contains("00000001") && printed.contains("FieldKey"), "the scan sees what is printed: {printed}");
}
