//! What the command says at its end.

use std::collections::BTreeMap;

use super::print::{Looked, Part, Summary};
use crate::base::{Controller, Kid};
use crate::keys::{KeyRing, LineName, State};
use crate::sweep::{Counts, Ended};

fn kid(n: u8) -> Kid {
    Kid::from_random([n; 5])
}

fn summary(total: Counts, last: Counts, undone: &[&str], dry_run: bool) -> Summary {
    let versions = [
        (LineName::Seal, kid(1), State::Deactivated),
        (LineName::Seal, kid(2), State::Active),
        (LineName::Lookup, kid(3), State::Active),
        (LineName::Token, kid(4), State::Compromised),
        (LineName::Token, kid(5), State::Destroyed),
    ];
    let versions = versions.map(|(line, kid, state)| (line, kid, state, [7; 32]));
    let rings = KeyRing::with_versions(Controller::new("shop"), versions.to_vec()).into();
    let ended = Ended { passes: 2, total, last };
    let parts = vec![Part { name: "customers".to_owned(), of: "documents", pace: "; 1.0 s, 3/s".to_owned(), ended }];
    let looked = |line: &LineName| match line {
        LineName::Lookup => Looked::Never,
        LineName::Token if undone.is_empty() => Looked::Through,
        LineName::Token => Looked::NotThisTime,
        LineName::Seal | LineName::Audit | LineName::Pseudonym(_) => Looked::Through,
    };
    let only: &[String] = if undone.is_empty() { &[] } else { &["customers".to_owned()] };
    Summary::of(parts, undone.iter().map(|text| (*text).to_owned()).collect(), &rings, &looked, only, dry_run)
}

#[test]
fn what_is_done_what_is_left_and_what_comes_next() {
    let total = Counts { looked: 1_200, written: 3, anew: 1, conflicts: 2, ..Counts::default() };
    let done = summary(total.clone(), Counts { looked: 1_200, ..Counts::default() }, &[], false);
    assert!(done.is_complete());
    assert_eq!(
        done.text(&BTreeMap::new()),
        format!(
            "customers: 1,200 documents, 3 written with 1 value sealed anew, 2 conflicts tried again, 2 passes; 1.0 s, 3/s\n\
             version   line    state        values left\n\
             {}  seal    deactivated  0\n\
             {}  token   compromised  0\n\
             next: `sudare keys census` counts again, in everything; when it says 0 and the backup window is over: `sudare keys destroy`\n",
            kid(1),
            kid(4)
        )
    );
    // Something is left, of a version that is gone, too.
    let hung = BTreeMap::from([((LineName::Seal, kid(1)), 2), ((LineName::Token, kid(5)), 1)]);
    let last = Counts { looked: 1_200, clear: 4, bad: 3, conflicted: 1, hung, ..Counts::default() };
    let total = Counts { compromised: 5, ..total };
    let left = summary(total, last, &["the vault was not looked at"], false);
    assert!(!left.is_complete());
    let text = left.text(&BTreeMap::from([("value-not-authentic", 3), ("second-token", 1)]));
    for part in [
        "customers: 4 values not sealed at all, and left so",
        "customers: 1 document with conflicting revisions",
        "ALARM customers: 5 values hung on a compromised version",
        "the vault was not looked at\n",
        "value-not-authentic: 3 values that do not open where they stand; they are left as they are; --names FILE names them",
        "second-token: 1 tokens",
        "seal    deactivated  2\n",
        "token   compromised  not looked at\n",
        "token   destroyed    1\n",
        "only customers was looked at; others may hang on these versions, too\n",
        "not all is done: what is sealed anew stays so, and the same command goes on from there\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&left.json()).unwrap();
    assert_eq!(
        (&json["complete"], &json["parts"][0]["hung"], &json["versions"][0]["left"]),
        (&false.into(), &3.into(), &2.into())
    );
}
