//! Several rings on one node: each in a file and with a mark of its own, none in another's place, and no key of one for a field of another.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::base::{CollectionName, FieldName, FieldPlace, FixedClock};
use crate::keys::{Change, Kek, LineName, State, init};
use crate::purpose::{Permit, Upkeep};

const NOON: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z

fn identity() -> RingName {
    RingName::new("identity")
}

fn config(dir: &Path, name: RingName) -> Config {
    let (ring, kek) = (dir.join(format!("{name}.json")), Kek::File(dir.join(format!("{name}.kek"))));
    Config { controller: Controller::new("shop"), name, ring: ring.into(), kek, min_revision: 0 }
}

/// Two rings in a folder, as `sudare keys init` makes them.
fn made() -> (tempfile::TempDir, Config, Config) {
    let dir = tempfile::tempdir().unwrap();
    let (main, other) = (config(dir.path(), RingName::main()), config(dir.path(), identity()));
    for one in [&main, &other] {
        init(one, &["marketing".to_owned()], &FixedClock::at(NOON)).unwrap();
    }
    (dir, main, other)
}

fn place() -> FieldPlace {
    FieldPlace {
        controller: Controller::new("shop"),
        collection: CollectionName::new("customers"),
        field: FieldName::new("name"),
    }
}

#[test]
fn a_ring_of_a_field_group_has_the_lines_that_protect_values_and_no_others() {
    let (_dir, main, other) = made();
    let lines = |config: &Config| {
        let versions = KeyRing::open(config).unwrap().versions();
        versions.into_iter().map(|version| version.line.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&main), ["seal", "lookup", "token", "audit", "pseudonym/marketing"]);
    assert_eq!(lines(&other), ["seal", "lookup", "token"]);
    let again = init(&other, &["carrier".to_owned()], &FixedClock::at(NOON)).unwrap();
    assert!(again.added.is_empty(), "{again:?}");
}

#[test]
fn a_field_has_the_keys_of_its_ring() {
    let (_dir, main, other) = made();
    let rings = Rings::open(&main, &[Other::Held(other.clone())]).unwrap();
    let seals = |ring: &RingName| rings.of(ring).unwrap().seal_key(&place()).unwrap().kid;
    assert_ne!(seals(&RingName::main()), seals(&identity()));
    assert_eq!(rings.of_kid(seals(&identity())).unwrap().name(), &identity());
    assert_eq!(rings.held().map(KeyRing::name).cloned().collect::<Vec<_>>(), [RingName::main(), identity()]);

    let without = Rings::open(&main, &[Other::NotHeld(identity())]).unwrap();
    assert!(!without.holds(&identity()) && without.holds(&RingName::main()));
    assert_eq!(without.not_held(), [identity()]);
    let error = without.of(&identity()).unwrap_err();
    assert_eq!(error.code(), "ring-not-held");
    assert_eq!(
        error.to_string(),
        "this node does not hold the key ring identity, so nothing under it is opened, sealed or searched here: ask a node that holds it, or give this one the ring in [keys.identity]"
    );
    assert!(without.of_kid(seals(&identity())).is_none());
    // A name that the configuration never had, or has no more.
    assert_eq!(without.of(&RingName::new("identiy")).unwrap_err().code(), "ring-not-held");
    // What is asked of a ring that is not held is not missed; what a held one lacks is, with its name.
    assert!(without.needs(&identity(), |ring| ring.lookup_key(&place())).is_ok());
    let bare = KeyRing::with_versions(Controller::new("shop"), Vec::new()).named(identity());
    let bare = Rings::of_rings(KeyRing::open(&main).unwrap(), vec![bare], Vec::new()).unwrap();
    let error = bare.needs(&identity(), |ring| ring.lookup_key(&place())).unwrap_err();
    assert!(error.to_string().starts_with("ring identity: the key ring's line lookup has no active version"), "{error}");
}

/// The name is bound into the manifest's MAC and every wrapped secret: no file stands in for another, also under one KEK.
#[test]
fn a_ring_does_not_open_in_the_place_of_another() {
    let (dir, main, other) = made();
    let said =
        |config: &Config| KeyRing::open(config).unwrap_err().to_string().replace(&format!("{}/", dir.path().display()), "");
    let own = fs::read_to_string(&other.ring).unwrap();
    fs::copy(&main.ring, &other.ring).unwrap();
    fs::copy(dir.path().join("main.kek"), dir.path().join("identity.kek")).unwrap();
    assert_eq!(
        said(&other),
        "identity.json: belongs to ring \"main\", not \"identity\": name the right file in [keys.identity] ring"
    );
    // Renamed by hand, it is not what was written.
    let text = fs::read_to_string(&main.ring).unwrap();
    let renamed = text.replace("\"ring\": \"main\"", "\"ring\": \"identity\"");
    assert_ne!(text, renamed);
    fs::write(&other.ring, renamed).unwrap();
    assert_eq!(
        said(&other),
        "identity.json: does not open under this KEK or passphrase: it is another one, or the file was changed: restore both from one backup"
    );
    fs::write(&main.ring, own).unwrap();
    assert_eq!(said(&main), "main.json: belongs to ring \"identity\", not \"main\": name the right file in [keys] ring");
}

#[test]
fn a_key_id_in_two_rings_is_refused() {
    let kid: Kid = "7k3m9qpa".parse().unwrap();
    let ring = |state, byte| KeyRing::with_versions(Controller::new("shop"), vec![(LineName::Seal, kid, state, [byte; 32])]);
    for state in State::ALL {
        let rings = Rings::of_rings(ring(State::Active, 1), vec![ring(state, 2).named(identity())], Vec::new());
        assert_eq!(
            rings.unwrap_err().to_string(),
            "the key id 7k3m9qpa stands in the rings main and identity, so that a value does not say which key it hangs on: a ring was made from a copy of the other; put the right file of each back from your backup"
        );
    }
    let others = vec![KeyRing::with_versions(Controller::new("shop"), Vec::new()).named(identity())];
    assert!(Rings::of_rings(ring(State::Active, 1), others, Vec::new()).is_ok());
}

#[test]
fn each_ring_is_rotated_and_remembered_alone() {
    let (dir, main, other) = made();
    let store = Store::open(&crate::store::Config::Embedded(dir.path().join("store.redb")), None).unwrap();
    let open = || Rings::open(&main, &[Other::Held(other.clone())]).unwrap();
    let before = (fs::read(&main.ring).unwrap(), fs::read(&other.ring).unwrap());
    open().check_rollback(&store).unwrap();
    Change { config: &other, clock: &FixedClock::at(NOON), at_revision: None }.rotate(&LineName::Seal).unwrap();
    assert_eq!(fs::read(&main.ring).unwrap(), before.0, "the other ring is as it was");
    open().check_rollback(&store).unwrap();
    assert_eq!(open().held().map(KeyRing::revision).collect::<Vec<_>>(), [1, 2]);
    fs::write(&other.ring, &before.1).unwrap();
    let error = open().check_rollback(&store).unwrap_err().to_string();
    assert!(error.starts_with("ring identity: the key ring's revision 1 is older than 2"), "{error}");
    Rings::open(&main, &[Other::NotHeld(identity())]).unwrap().check_rollback(&store).unwrap();
}

#[test]
fn a_long_command_sees_a_change_of_any_ring_and_refuses_an_older_one() {
    let (_dir, main, other) = made();
    let follow =
        crate::keys::Follow::open(main.clone(), &[Other::Held(other.clone()), Other::NotHeld(RingName::new("pay"))]).unwrap();
    let first = follow.newest().unwrap();
    assert!(Arc::ptr_eq(&first, &follow.newest().unwrap()), "read once");
    assert_eq!(first.not_held(), [RingName::new("pay")]);
    let bytes = fs::read(&other.ring).unwrap();
    let clock = FixedClock::at(NOON);
    Change { config: &other, clock: &clock, at_revision: None }.rotate(&LineName::Seal).unwrap();
    let second = follow.newest().unwrap();
    let revisions = |rings: &Rings| rings.held().map(KeyRing::revision).collect::<Vec<_>>();
    assert_eq!((revisions(&first), revisions(&second)), (vec![1, 1], vec![1, 2]));
    assert!(first.each().zip(second.each()).map(|(a, b)| Arc::ptr_eq(a, b)).eq([true, false]), "only that one was opened again");
    fs::write(&other.ring, &bytes).unwrap();
    let error = follow.newest().unwrap_err().to_string();
    assert!(error.starts_with("ring identity: "), "{error}");
}

proptest! {
    /// Whatever ids and states the rings have, and whatever is asked: a ring gives keys of its own versions only.
    #[test]
    fn no_ring_gives_a_key_of_another(
        lines in proptest::collection::vec((0..3_usize, 0..2_usize, 0..5_usize), 1..12),
        asked in 0..16_u8,
    ) {
        // (which ring, line, state); the id is the place in the list, and every secret is the same.
        let line = [LineName::Seal, LineName::Lookup, LineName::Token];
        let kid = |n: u8| Kid::from_random([n; 5]);
        let of = |ring: usize| {
            let mine = lines.iter().zip(0_u8..).filter(|((_, of, _), _)| *of == ring);
            let versions = mine.map(|((name, _, state), n)| (line[*name].clone(), kid(n), State::ALL[*state], [7; 32]));
            KeyRing::with_versions(Controller::new("shop"), versions.collect())
        };
        let rings = Rings::of_rings(of(0), vec![of(1).named(identity())], Vec::new()).unwrap();
        let upkeep = Upkeep::dangerous_for("a test");
        for (ring, name) in [(0, RingName::main()), (1, identity())] {
            let version = lines.get(usize::from(asked)).filter(|(_, of, _)| *of == ring);
            let opens = |wanted: usize| version.is_some_and(|(name, _, state)| *name == wanted && State::ALL[*state].opens_for_upkeep());
            let ring = rings.of(&name).unwrap();
            let permit = Permit::Upkeep(&upkeep);
            prop_assert_eq!(ring.open_key(kid(asked), &place(), permit).is_ok(), opens(0));
            prop_assert_eq!(ring.open_lookup_key(kid(asked), &place(), permit).is_ok(), opens(1));
            prop_assert_eq!(ring.open_token_key(kid(asked), "ids", permit).is_ok(), opens(2));
            if let Ok(keys) = ring.lookup_keys(&place(), permit) {
                prop_assert!(keys.iter().all(|key| ring.knows(key.kid)));
            }
            prop_assert_eq!(ring.knows(kid(asked)), version.is_some());
        }
    }
}
