//! Keys of deterministic values: their derivation, and what each state of a version allows.

use super::*;

/// HKDF(secret, enc("sudare/v1", "deterministic", controller, collection, field)), 64 bytes, under the lookup line only.
#[test]
fn lookup_keys_are_derived_as_the_format_says() {
    let versions = vec![
        (LineName::Seal, kid("00000001"), State::Active, [3; 32]),
        (LineName::Lookup, kid("00000002"), State::Active, [3; 32]),
    ];
    let ring = KeyRing::with_versions(Controller::new("shop"), versions);
    let siv = |key: &crate::crypto::SivKey| key.seal_in_place(b"", &mut b"x".to_vec());
    let label = |name: &[u8]| crate::base::enc(&[b"sudare/v1", b"deterministic", b"shop", b"customers", name]);
    let by_hand = crate::crypto::SivKey::derive(&Secret::from_bytes([3; 32]), &label(b"name"));
    let of_name = ring.lookup_key(&place("customers", "name")).unwrap();
    assert_eq!((of_name.kid, siv(&of_name.siv)), (kid("00000002"), siv(&by_hand)));
    for other in [place("customers", "phone"), place("orders", "name"), place("customersn", "ame")] {
        assert_ne!(siv(&ring.lookup_key(&other).unwrap().siv), siv(&by_hand));
    }
    let market = FieldPlace { controller: Controller::new("market"), ..place("customers", "name") };
    assert!(matches!(ring.lookup_key(&market), Err(KeyError::ForeignPlace { .. })));
    assert!(matches!(ring.lookup_keys(&market, Permit::Upkeep(&upkeep())), Err(KeyError::ForeignPlace { .. })));
    let seal = ring.open_lookup_key(kid("00000001"), &place("customers", "name"), Permit::Upkeep(&upkeep()));
    assert!(matches!(seal, Err(KeyError::UnknownKid(_))), "a key of another line opens no value");
    assert_eq!(format!("{of_name:?}"), "LookupKey { kid: Kid(00000002), .. }");
}

#[test]
fn lookup_versions_do_what_their_state_allows() {
    let states = [1, 2, 3, 4, 5].map(|n: u8| (State::ALL[usize::from(n) - 1], Kid::from_random([n; 5])));
    let versions = states.map(|(state, kid)| (LineName::Lookup, kid, state, [1; 32]));
    let ring = KeyRing::with_versions(Controller::new("shop"), versions.to_vec());
    let name = place("customers", "name");
    for (state, kid) in states {
        let found = ring.open_lookup_key(kid, &name, Permit::Upkeep(&upkeep()));
        assert_eq!(found.is_ok(), state.opens_for_upkeep(), "{state}");
    }
    let upkeep = upkeep();
    let all: Vec<Kid> = ring.lookup_keys(&name, Permit::Upkeep(&upkeep)).unwrap().iter().map(|key| key.kid).collect();
    assert_eq!(all, [states[1].1, states[3].1, states[2].1, states[0].1], "the Active one, then newest first");
    let none = KeyRing::with_versions(Controller::new("shop"), vec![]);
    assert!(matches!(none.lookup_key(&name), Err(KeyError::NoActive(LineName::Lookup))));
    assert!(matches!(none.lookup_keys(&name, Permit::Upkeep(&upkeep)), Err(KeyError::NoActive(LineName::Lookup))));
    assert!(matches!(none.open_lookup_key(states[0].1, &name, Permit::Upkeep(&upkeep)), Err(KeyError::UnknownKid(_))));
}
