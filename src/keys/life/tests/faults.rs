//! A fault at each numbered step of every command: the disk is full there, or the process dies there. The ring is readable, has
//! one Active version a line, is at the old revision or the new one, opens what it opened, and the command can be run again.

use std::fs;
use std::path::Path;

use super::super::super::files::Step;
use super::super::super::files::fault::{dying_at, failing_at};
use super::*;

/// A command, and whether the ring is as it should be after it.
struct Command {
    name: &'static str,
    run: fn(&Change<'_>, &Known) -> Result<u64, KeyError>,
    done: fn(&Config, &Known) -> bool,
}

/// Versions of the ring that commands are run on.
struct Known {
    active: Kid,
    waits: Kid,
    scope: Kid,
}

const COMMANDS: [Command; 7] = [
    Command {
        name: "rotate",
        run: |change, _| change.rotate(&LineName::Seal).map(|report| report.revision),
        done: |config, known| state_of(config, known.active) == State::Deactivated,
    },
    Command {
        name: "rotate --publish-only",
        run: |change, _| change.publish(&LineName::Lookup).map(|report| report.revision),
        done: |config, _| {
            let waiting = versions(config).into_iter().filter(|version| version.line == LineName::Lookup);
            waiting.filter(|version| version.state == State::PreActive).count() == 1
        },
    },
    Command {
        name: "activate",
        run: |change, known| change.activate(known.waits).map(|report| report.revision),
        done: |config, known| active_in(config, &LineName::Seal) == known.waits,
    },
    Command {
        name: "deactivate --end-scope",
        run: |change, known| change.deactivate(known.scope, Scope::End).map(|report| report.revision),
        done: |config, known| state_of(config, known.scope) == State::Deactivated,
    },
    Command {
        name: "compromise",
        run: |change, known| change.compromise(&[known.waits], Successor::MustBeThere).map(|report| report.revision),
        done: |config, known| state_of(config, known.waits) == State::Compromised,
    },
    Command {
        name: "compromise --replace",
        run: |change, known| change.compromise(&[known.active], Successor::Make).map(|report| report.revision),
        done: |config, known| state_of(config, known.active) == State::Compromised,
    },
    Command {
        name: "init",
        run: |change, _| init(change.config, &["carrier".to_string()], change.clock).map(|report| report.revision),
        done: |config, _| KeyRing::open(config).unwrap().has_pseudonym_scope("carrier"),
    },
];

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_full_disk_or_a_death_at_any_step_of_any_command_leaves_the_old_ring_or_the_new_one() {
    let clock = FixedClock::at(NOON + 60_000);
    let mut faults = 0;
    for command in &COMMANDS {
        for step in Step::ALL {
            for dies in [false, true] {
                let what = format!("{} at {step:?}, dies: {dies}", command.name);
                let (dir, config) = made();
                let change = at(&config, &clock);
                let waits = change.publish(&LineName::Seal).unwrap().kid;
                let known = Known { active: active_in(&config, &LineName::Seal), waits, scope: active_in(&config, &marketing()) };
                let before = check(&config);
                let mut result = None;
                if dies {
                    assert!(dying_at(step, || drop((command.run)(&change, &known))).is_some(), "{what}: never got there");
                } else {
                    let error = failing_at(step, || (command.run)(&change, &known)).expect_err(&what);
                    assert_eq!(matches!(error, KeyError::Unconfirmed { .. }), step == Step::SyncFolder, "{what}: {error}");
                    result = Some(error.to_string());
                }
                let after = check(&config);
                let written = step == Step::SyncFolder;
                assert_eq!(after.revision(), before.revision() + u64::from(written), "{what}");
                assert_eq!((command.done)(&config, &known), written, "{what}: half done");
                assert!(before.versions().iter().all(|was| after.versions().iter().any(|now| now.kid == was.kid)), "{what}");
                if let Some(said) = result {
                    assert!(said.contains("ring.json"), "{what}: {said}");
                    assert_eq!(names(dir.path()), ["kek", "ring.json", "ring.json.lock"], "{what}: left behind");
                }
                (command.run)(&change, &known).unwrap_or_else(|error| panic!("{what}, run again: {error}"));
                check(&config);
                assert!((command.done)(&config, &known), "{what}, run again");
                assert_eq!(names(dir.path()), ["kek", "ring.json", "ring.json.lock"], "{what}, run again: left behind");
                faults += 1;
            }
        }
    }
    assert_eq!(faults, COMMANDS.len() * Step::ALL.len() * 2);
}

/// The first `init` makes two files; each may be the one that fails.
#[test]
fn a_first_init_that_ends_anywhere_is_simply_run_again() {
    let clock = FixedClock::at(NOON);
    for step in [Step::Lock, Step::Read, Step::Create, Step::Write, Step::Sync, Step::Place, Step::SyncFolder] {
        for (kek_there, dies) in [(false, false), (false, true), (true, false), (true, true)] {
            let what = format!("{step:?}, KEK there: {kek_there}, dies: {dies}");
            let dir = tempfile::tempdir().unwrap();
            let (ring, kek) = (dir.path().join("ring.json"), dir.path().join("kek"));
            let config = Config {
                name: RingName::main(),
                controller: Controller::new("shop"),
                ring: ring.into(),
                kek: Kek::File(kek.clone()),
                min_revision: 0,
            };
            if kek_there {
                init(&Config { ring: dir.path().join("other.json").into(), ..config.clone() }, &[], &clock).unwrap();
            }
            let run = || init(&config, &["marketing".to_string()], &clock);
            let before = fs::read(&kek).ok();
            if dies {
                assert!(dying_at(step, || drop(run())).is_some(), "{what}: never got there");
            } else {
                failing_at(step, run).expect_err(&what);
            }
            // A file that has its name is whole.
            if config.ring.shown().exists() {
                check(&config);
            }
            run().unwrap_or_else(|error| panic!("{what}, run again: {error}"));
            check(&config);
            assert!(before.is_none_or(|before| fs::read(&kek).unwrap() == before), "{what}: another KEK");
        }
    }
}
