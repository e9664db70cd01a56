//! What operators may do to versions, in every state; that a change is one revision or none; that two of them get along.

mod faults;

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::{Kek, KeyRing, VersionInfo};
use super::change::{Write, asked, place_of, shift};
use super::*;
use crate::base::{Controller, FixedClock, RingName};
use crate::keys::{Operation, Refusal, Step};

const NOON: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z

/// A folder with a ring of the four fixed lines and the scope `marketing`.
fn made() -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        controller: Controller::new("shop"),
        name: RingName::main(),
        ring: dir.path().join("ring.json").into(),
        kek: Kek::File(dir.path().join("kek")),
        min_revision: 0,
    };
    init(&config, &["marketing".to_string()], &FixedClock::at(NOON)).unwrap();
    (dir, config)
}

/// Changes at a time.
fn at<'a>(config: &'a Config, clock: &'a FixedClock) -> Change<'a> {
    Change { config, clock, at_revision: None }
}

fn versions(config: &Config) -> Vec<VersionInfo> {
    KeyRing::open(config).unwrap().versions()
}

fn state_of(config: &Config, kid: Kid) -> State {
    versions(config).into_iter().find(|version| version.kid == kid).unwrap().state
}

fn active_in(config: &Config, line: &LineName) -> Kid {
    versions(config).into_iter().find(|version| version.line == *line && version.state == State::Active).unwrap().kid
}

fn marketing() -> LineName {
    LineName::pseudonym("marketing").unwrap()
}

/// What must hold of every ring, whatever was done to it.
fn check(config: &Config) -> KeyRing {
    let ring = KeyRing::open(config).unwrap();
    let kids: HashSet<Kid> = ring.versions().iter().map(|version| version.kid).collect();
    assert_eq!(kids.len(), ring.versions().len(), "an id stands twice");
    for line in LineName::FIXED.into_iter().chain([marketing()]) {
        let active = ring.versions().iter().filter(|version| version.line == line && version.state == State::Active).count();
        assert!(active == 1 || (active == 0 && !line.needs_active()), "{line} has {active} active versions");
    }
    assert!(verify(config).unwrap().sound());
    ring
}

#[test]
fn a_version_is_published_then_activated_and_the_old_one_gives_way_in_the_same_revision() {
    let (_dir, config) = made();
    let old = active_in(&config, &LineName::Seal);
    let clock = FixedClock::at(NOON + 1000);
    let published = at(&config, &clock).publish(&LineName::Seal).unwrap();
    assert_eq!((published.made, published.revision, state_of(&config, published.kid)), (true, 2, State::PreActive));
    assert_eq!(active_in(&config, &LineName::Seal), old);
    let again = at(&config, &clock).publish(&LineName::Seal).unwrap();
    assert_eq!(again, PublishReport { made: false, ..published.clone() }, "one that waits is enough");

    clock.set(NOON + 2000);
    let report = at(&config, &clock).activate(published.kid).unwrap();
    let moves: Vec<_> = report.moved.iter().map(|moved| (moved.kid, moved.from, moved.to)).collect();
    assert_eq!(moves, [(old, State::Active, State::Deactivated), (published.kid, State::PreActive, State::Active)]);
    assert_eq!((report.revision, report.made.len()), (3, 0));
    let times = |kid| {
        let version = versions(&config).into_iter().find(|version| version.kid == kid).unwrap();
        (version.created_ms, version.activated_ms, version.deactivated_ms)
    };
    assert_eq!(times(old), (NOON, Some(NOON), Some(NOON + 2000)));
    assert_eq!(times(published.kid), (NOON + 1000, Some(NOON + 2000), None));
    // Run again, it ends well and changes nothing.
    let again = at(&config, &clock).activate(published.kid).unwrap();
    assert_eq!((again.revision, again.moved[0].from, again.moved[0].to), (3, State::Active, State::Active));
    let again = at(&config, &clock).deactivate(old, Scope::Keep).unwrap();
    assert_eq!((again.revision, again.moved[0].to), (3, State::Deactivated));
}

#[test]
fn a_rotation_makes_a_fresh_version_and_names_the_one_that_waits() {
    let (_dir, config) = made();
    let clock = FixedClock::at(NOON);
    let waits = at(&config, &clock).publish(&LineName::Seal).unwrap().kid;
    let report = at(&config, &clock).rotate(&LineName::Seal).unwrap();
    assert_ne!(report.active, waits);
    assert_eq!((report.waiting, state_of(&config, waits)), (vec![waits], State::PreActive));
}

#[test]
fn an_active_version_is_neither_deactivated_nor_compromised_without_a_successor() {
    let (_dir, config) = made();
    let clock = FixedClock::at(NOON);
    for line in LineName::FIXED.into_iter().chain([marketing()]) {
        let active = active_in(&config, &line);
        let error = at(&config, &clock).deactivate(active, Scope::Keep).unwrap_err();
        let expected = NotMoved { line: line.clone(), kid: active, operation: Operation::Deactivate, refusal: None };
        assert!(matches!(&error, KeyError::NotMoved(found) if *found == expected), "{error}");
        assert_eq!(error.to_string().contains("--end-scope"), line == marketing(), "{error}");
        let error = at(&config, &clock).compromise(&[active], Successor::MustBeThere).unwrap_err();
        assert!(error.to_string().contains(&format!("`sudare keys compromise {active} --replace`")), "{error}");
    }
    assert_eq!(check(&config).revision(), 1, "nothing was written");
    let active = active_in(&config, &LineName::Seal);
    assert!(matches!(at(&config, &clock).deactivate(active, Scope::End), Err(KeyError::NoScopeToEnd(LineName::Seal))));
}

#[test]
fn a_scope_ends_by_deactivating_its_version_and_begins_anew_by_rotating() {
    let (_dir, config) = made();
    let clock = FixedClock::at(NOON + 5);
    let kid = active_in(&config, &marketing());
    let report = at(&config, &clock).deactivate(kid, Scope::End).unwrap();
    assert_eq!((report.revision, state_of(&config, kid)), (2, State::Deactivated));
    assert!(check(&config).has_pseudonym_scope("marketing"));
    assert_eq!(at(&config, &clock).deactivate(kid, Scope::End).unwrap().revision, 2, "run again");
    let begun = at(&config, &clock).rotate(&marketing()).unwrap();
    assert_eq!(begun.deactivated, None);
    assert_eq!(active_in(&config, &marketing()), begun.active);
}

#[test]
fn a_compromised_active_version_is_replaced_by_a_fresh_one_in_the_same_write() {
    let (_dir, config) = made();
    let clock = FixedClock::at(NOON + 7);
    let waits = at(&config, &clock).publish(&LineName::Seal).unwrap().kid;
    let [seal, lookup] = [LineName::Seal, LineName::Lookup].map(|line| active_in(&config, &line));
    // All in one revision, or none.
    let unknown: Kid = "00000000".parse().unwrap();
    assert!(matches!(
        at(&config, &clock).compromise(&[seal, unknown], Successor::Make),
        Err(KeyError::NoSuchVersion(kid)) if kid == unknown
    ));
    assert_eq!(check(&config).revision(), 2);
    let report = at(&config, &clock).compromise(&[seal, waits, lookup], Successor::Make).unwrap();
    assert_eq!(report.revision, 3);
    assert_eq!(
        report.moved.iter().map(|moved| (moved.kid, moved.to)).collect::<Vec<_>>(),
        [(seal, State::Compromised), (waits, State::Compromised), (lookup, State::Compromised)]
    );
    let lines: Vec<_> = report.made.iter().map(|(line, _)| line.clone()).collect();
    assert_eq!(lines, [LineName::Seal, LineName::Lookup]);
    for (line, kid) in &report.made {
        assert_eq!(active_in(&config, line), *kid);
        assert!(![seal, waits, lookup].contains(kid));
    }
    check(&config);
    let again = at(&config, &clock).compromise(&[seal, waits, lookup], Successor::Make).unwrap();
    assert_eq!((again.revision, again.made.len()), (3, 0), "run again, it replaces nothing");
    // The same one named twice is one.
    let token = active_in(&config, &LineName::Token);
    let report = at(&config, &clock).compromise(&[token, token], Successor::Make).unwrap();
    assert_eq!((report.made.len(), report.revision), (1, 4));
}

#[test]
fn every_refusal_names_the_version_and_what_to_do() {
    let (_dir, config) = made();
    let clock = FixedClock::at(NOON);
    let change = at(&config, &clock);
    let waits = change.publish(&LineName::Seal).unwrap().kid;
    let deactivated = change.rotate(&LineName::Seal).unwrap().deactivated.unwrap();
    let compromised = change.compromise(&[change.rotate(&LineName::Seal).unwrap().deactivated.unwrap()], Successor::MustBeThere);
    let compromised = compromised.unwrap().moved[0].kid;
    let destroyed = change.rotate(&LineName::Seal).unwrap().deactivated.unwrap();
    let mut opened = manifest::open(&config).unwrap();
    let versions = opened.manifest.lines.iter_mut().flat_map(|line| line.versions.iter_mut());
    versions.into_iter().find(|version| version.kid == destroyed).unwrap().shift(State::Destroyed, NOON).unwrap();
    std::fs::write(&config.ring, opened.next_revision(&config.ring, NOON).unwrap()).unwrap();

    let revision = check(&config).revision();
    let said = |result: Result<MoveReport, KeyError>, kid: Kid| result.unwrap_err().to_string().replace(kid.as_str(), "KID");
    let activate = |kid| said(change.activate(kid), kid);
    let deactivate = |kid| said(change.deactivate(kid, Scope::Keep), kid);
    assert_eq!(
        activate(deactivated),
        "KID of line seal is deactivated, and what has ceased to protect does not begin again: make a new version with `sudare keys rotate --line seal`"
    );
    assert_eq!(
        activate(compromised),
        "KID of line seal is compromised, so nothing may be protected under it again: make a new version with `sudare keys rotate --line seal`"
    );
    assert_eq!(
        activate(destroyed),
        "KID of line seal is destroyed, and its secret is gone: make a new version with `sudare keys rotate --line seal`"
    );
    assert_eq!(
        deactivate(waits),
        "KID of line seal is pre-active: it protects nothing yet, so it may stay as it is; if somebody else may know it, `sudare keys compromise KID`"
    );
    assert_eq!(
        deactivate(compromised),
        "KID of line seal is compromised: it protects nothing and opens less than a deactivated version, so nothing is left to do"
    );
    assert_eq!(deactivate(destroyed), "KID of line seal is destroyed: it neither protects nor opens, so nothing is left to do");
    assert_eq!(
        said(change.compromise(&[destroyed], Successor::Make), destroyed),
        "KID of line seal is destroyed: nothing opens under it any more. If its secret was known to others before, so is what it protected, in backups too"
    );
    let refusal = change.activate(compromised).unwrap_err();
    assert!(matches!(refusal, KeyError::NotMoved(NotMoved { refusal: Some(Refusal::Compromised), .. })));
    assert_eq!(check(&config).revision(), revision, "nothing was written");
}

#[test]
fn of_two_operators_who_looked_at_the_same_revision_one_loses_cleanly() {
    let (_dir, config) = made();
    let old = active_in(&config, &LineName::Seal);
    let done: Vec<_> = std::thread::scope(|scope| {
        let run = |number: u64| {
            let config = &config;
            scope.spawn(move || {
                let clock = FixedClock::at(NOON + number);
                let change = Change { config, clock: &clock, at_revision: Some(1) };
                if number.is_multiple_of(2) {
                    change.rotate(&LineName::Seal).map(|report| report.revision)
                } else {
                    change.compromise(&[old], Successor::Make).map(|report| report.revision)
                }
            })
        };
        let threads: Vec<_> = (0..6).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(done.iter().filter(|result| matches!(result, Ok(2))).count(), 1, "{done:?}");
    let lost = done.iter().filter(|result| matches!(result, Err(KeyError::MovedOn { found: 2, expected: 1, .. }))).count();
    assert_eq!(lost, 5, "{done:?}");
    assert_eq!(check(&config).revision(), 2);
}

/// The clock may jump: what was written is readable, and the order of revisions does not hang on it.
#[test]
fn a_clock_that_goes_back_an_hour_changes_nothing_but_the_times() {
    let (_dir, config) = made();
    let clock = FixedClock::at(NOON - 3_600_000);
    let waits = at(&config, &clock).publish(&LineName::Seal).unwrap().kid;
    clock.set(NOON - 7_200_000);
    at(&config, &clock).activate(waits).unwrap();
    clock.set(0);
    at(&config, &clock).compromise(&[waits], Successor::Make).unwrap();
    assert_eq!(check(&config).revision(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any operations in any order, on any version: the ring is sound after each, no id is used twice or lost, and every state
    /// is one that its last could become.
    #[test]
    fn no_order_of_commands_breaks_a_ring(commands in proptest::collection::vec((0..7_u8, any::<prop::sample::Index>()), 1..40)) {
        let (_dir, config) = made();
        let clock = FixedClock::at(NOON);
        for (command, index) in commands {
            let before = check(&config);
            let versions = before.versions();
            let version = index.get(&versions);
            let change = at(&config, &clock);
            let (line, kid) = (&version.line, version.kid);
            let done = match command {
                0 => change.rotate(line).map(|report| report.revision),
                1 => change.publish(line).map(|report| report.revision),
                2 => change.activate(kid).map(|report| report.revision),
                3 => change.deactivate(kid, if line.needs_active() { Scope::Keep } else { Scope::End }).map(|report| report.revision),
                4 => change.compromise(&[kid], Successor::MustBeThere).map(|report| report.revision),
                // What proves that it may is tested in `destroy`.
                5 => change
                    .make_noting(
                        |opened, now_ms| match asked(line, kid, place_of(opened, kid)?.1, Operation::Destroy)? {
                            Step::Becomes(to) => Ok((drop(shift(opened, line, kid, to, now_ms)?), Write::Revision)),
                            Step::Stays | Step::AfterSuccessor(_) | Step::Refused(_) => Ok(((), Write::Nothing)),
                        },
                        |(), _, _| Ok::<(), KeyError>(()),
                    )
                    .map(|((), revision)| revision),
                _ => change.compromise(&[kid], Successor::Make).map(|report| report.revision),
            };
            let after = check(&config);
            match done {
                Ok(revision) => prop_assert_eq!(revision, after.revision()),
                Err(error) => {
                    prop_assert!(matches!(error, KeyError::NotMoved(_)), "{}", error);
                    prop_assert_eq!(before.revision(), after.revision());
                }
            }
            prop_assert!(after.revision() - before.revision() <= 1);
            for was in versions {
                let now = after.versions().into_iter().find(|version| version.kid == was.kid).unwrap();
                prop_assert!(now.state != State::Destroyed || was.state == State::Destroyed || command == 5);
                let by_way_of_active = was.state == State::PreActive && now.state == State::Deactivated;
                prop_assert!(was.state == now.state || was.state.may_become(now.state) && !by_way_of_active);
                prop_assert_eq!(was.line, now.line);
            }
        }
    }
}
