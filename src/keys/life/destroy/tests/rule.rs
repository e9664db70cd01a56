//! The rule by which nothing is known to hang on a version, as a property of any list of censuses.

use proptest::prelude::*;

use super::*;
use crate::keys::zero_since;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// By whatever censuses, in whatever order and at whatever times: zero is said only if the last one says so, and only since a moment from
    /// which on none says otherwise.
    #[test]
    fn zero_is_never_said_too_soon(found in proptest::collection::vec((0..4_u8, 0..50_u64), 0..12), ceased in 0..100_u64) {
        let kid: Kid = "00000001".parse().unwrap();
        let version = VersionInfo {
            line: LineName::Seal,
            kid,
            state: State::Deactivated,
            created_ms: 0,
            activated_ms: Some(0),
            deactivated_ms: Some(ceased),
            compromised_ms: None,
            destroyed_ms: None,
        };
        let mut at = 0;
        let list: Vec<Kept> = found.iter().map(|(what, later)| {
            at += later;
            let mut count = VersionCount::none(&version);
            let mut seen = CollectionSeen { collection: "c".to_owned(), documents: 0, conflicts: 0, missing: None };
            match what {
                0 => count.rows = 1,
                1 => seen.missing = Some("away".to_owned()),
                2 => count.state = State::Active,
                _ => {}
            }
            let census = Census {
                revision: 1, begun: at, ended: at, collections: vec![seen], store: StoreSeen::default(),
                versions: vec![count], unknown: Vec::new(),
            };
            Kept { doubtful: false, census, hash: [0; 32] }
        }).collect();
        if let Ok(zero) = zero_since(&version, &list, at) {
            prop_assert!(zero.since >= ceased && zero.since <= at);
            prop_assert_eq!(found.last().unwrap().0, 3);
            for (kept, (what, _)) in list.iter().zip(&found) {
                prop_assert!(kept.census.begun < zero.since || *what != 0 || kept.census.begun == zero.since);
            }
        } else if let Some((3, _)) = found.last() {
            prop_assert!(at < ceased);
        }
    }
}
