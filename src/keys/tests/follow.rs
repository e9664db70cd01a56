//! The newest ring for commands that run for long, and what it says of its versions.

use super::*;

#[test]
fn what_operators_change_meanwhile_is_seen_and_an_older_ring_is_refused() {
    let (_dir, config) = made();
    let follow = Follow::open(config.clone(), &[]).unwrap();
    let first = follow.newest().unwrap();
    assert!(Arc::ptr_eq(&first, &follow.newest().unwrap()), "read once");
    let first = first.main();
    assert!(!first.has_old());
    let old = first.active(&LineName::Seal).unwrap();
    let bytes = fs::read(&config.ring).unwrap();
    let report = rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap();
    let second = follow.newest().unwrap();
    let second = second.main();
    assert_eq!((second.revision(), second.active(&LineName::Seal)), (first.revision() + 1, Some(report.active)));
    assert!(second.has_old());
    assert_eq!(second.state_of(&LineName::Seal, old), Some(State::Deactivated));
    assert_eq!(second.state_of(&LineName::Lookup, old), None, "of another line");
    // Half a file, and an old one.
    fs::write(&config.ring, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(follow.newest(), Err(KeyError::Malformed { .. })));
    fs::write(&config.ring, &bytes).unwrap();
    assert!(matches!(follow.newest(), Err(KeyError::RolledBack { .. })));
    fs::remove_file(&config.ring).unwrap();
    assert!(matches!(follow.newest(), Err(KeyError::Missing(_))));
    assert_eq!(second.active(&LineName::Token), first.active(&LineName::Token));
    assert!(first.active(&LineName::pseudonym("marketing").unwrap()).is_some());
}
