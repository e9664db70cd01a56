//! A fault at each numbered step of a destruction, and at each step of the writes it makes: the ring is readable, nothing goes without its
//! receipt, and the command is run again.

use super::*;

#[test]
fn a_fault_at_any_step_leaves_a_ring_that_opens_and_never_a_destruction_without_its_receipt() {
    let mut faults = 0;
    for step in [Step::Prove, Step::Intent, Step::RecordIntent, Step::RecordDone, Step::Name] {
        for dies in [false, true] {
            let what = format!("{step:?}, dies: {dies}");
            let shop = Shop::new();
            let (kid, written) = shop.ready(&LineName::Seal);
            let mut events = Events::new();
            if dies {
                assert!(fault::dying_at(step, || drop(shop.run(&written, &mut events))), "{what}: never got there");
            } else {
                let error = fault::failing_at(step, || shop.run(&written, &mut events)).unwrap_err();
                let gone = matches!(step, Step::RecordDone | Step::Name);
                assert_eq!(matches!(error, DestroyError::Unfinished(_)), gone, "{what}: {error}");
            }
            let gone = shop.state(kid) == State::Destroyed;
            assert_eq!(gone, matches!(step, Step::RecordDone | Step::Name), "{what}");
            if gone {
                assert!(events.contains(&(Stage::Intended, vec![kid])), "{what}: not recorded before");
                let intent = receipts(&shop.config).unwrap().remove(0);
                assert!(shop.verify(&intent).unwrap().is_sound(), "{what}: nothing to tell by");
            }
            // A request that has expired meanwhile still finishes what was begun, for the keys are gone.
            if gone {
                shop.later(ms(VALID));
            }
            let report = shop.run(&written, &mut events).unwrap_or_else(|error| panic!("{what}, run again: {error}"));
            assert_eq!(shop.state(kid), State::Destroyed, "{what}");
            assert!(shop.verify(&report.receipt).unwrap().is_sound(), "{what}");
            assert_eq!(events.last(), Some(&(Stage::Done, vec![kid])), "{what}");
            assert_eq!(shop.evidence().len(), 2, "{what}: left behind: {:?}", shop.evidence());
            faults += 1;
        }
    }
    assert_eq!(faults, 10);
}

/// The same for each step of the ring's own write, once the intent is recorded; and of the intent's, which goes through the same hands.
#[test]
fn a_full_disk_or_a_death_in_any_write_of_it_is_run_again() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::super::files::Step as FileStep;
    use super::super::super::files::fault::{Fault, plan};
    let mut faults = 0;
    for of_ring in [true, false] {
        for step in FileStep::ALL.into_iter().skip_while(|step| *step != FileStep::Clear) {
            for fault in [Fault::Fails, Fault::Dies] {
                let what = format!("{step:?}, of the ring: {of_ring}, dies: {}", matches!(fault, Fault::Dies));
                let shop = Shop::new();
                let (kid, written) = shop.ready(&LineName::Seal);
                let mut events = Events::new();
                if !of_ring {
                    plan(Some((step, fault)));
                }
                let run = || {
                    shop.run_with(&written, &mut events, &mut |stage| {
                        if stage == Stage::Intended {
                            plan(Some((step, fault)));
                        }
                    })
                };
                let ended = catch_unwind(AssertUnwindSafe(run));
                plan(None);
                assert!(!matches!(ended, Ok(Ok(_))), "{what}: never got there");
                let gone = shop.state(kid) == State::Destroyed;
                assert_eq!(gone, step == FileStep::SyncFolder && of_ring, "{what}");
                assert!(!gone || events.contains(&(Stage::Intended, vec![kid])), "{what}: not recorded before");
                let report = shop.run(&written, &mut events).unwrap_or_else(|error| panic!("{what}, run again: {error}"));
                assert!(shop.verify(&report.receipt).unwrap().is_sound(), "{what}");
                assert_eq!(shop.evidence().len(), 2, "{what}: left behind: {:?}", shop.evidence());
                faults += 1;
            }
        }
    }
    assert_eq!(faults, 28);
}
