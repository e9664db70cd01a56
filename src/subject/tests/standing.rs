//! What follows from entries, and which facts that makes.

use proptest::prelude::*;

use super::*;
use crate::purpose::{Facts, Known as _};

const DAY: u64 = 86_400_000;
const NOTHING: [&str; 0] = [];

fn people(entries: &[Entry]) -> Arc<People> {
    let people = People::default();
    for (entry, row) in entries.iter().zip(1..) {
        people.apply(entry, row);
    }
    Arc::new(people)
}

/// The facts that hold, by name, of those that the grant turns on.
fn facts(people: &Arc<People>, caller: &str, purpose: &str, subject: Option<&str>, now: u64) -> Vec<String> {
    let policy = policy();
    let grant = policy.decide(&CallerName::new(caller), Some(purpose), now).unwrap();
    let question = Question::new(people, &policy, &grant, now);
    let held: Facts = question.facts(subject.map(id).as_ref());
    grant.turns_on().filter(|fact| held.has(*fact)).map(|fact| policy.facts().name(fact).to_owned()).collect()
}

fn of(subject: &str, what: fn(Subject) -> What) -> Entry {
    entry("x", NOW, what(Subject(id(subject))))
}

#[test]
fn the_latest_choice_counts_whatever_comes_first() {
    let shown = |entries: &[Entry]| facts(&people(entries), "shop-web", "recommend", Some("c-1"), NOW);
    assert_eq!(shown(&[]), NOTHING);
    assert_eq!(shown(&[given("1", "c-1", 5)]), ["consent"]);
    assert_eq!(shown(&[given("1", "c-1", 5), refused("2", "c-1", 6)]), NOTHING);
    assert_eq!(shown(&[refused("2", "c-1", 6), given("1", "c-1", 5)]), NOTHING, "it came late");
    assert_eq!(shown(&[refused("1", "c-1", 5), given("2", "c-1", 6)]), ["consent"]);
    assert_eq!(shown(&[given("1", "c-2", 5)]), NOTHING, "somebody else's");
    assert_eq!(shown(&[choice("1", "c-1", "support", Says::Given, 5)]), NOTHING, "another purpose");
}

#[test]
fn of_two_choices_at_one_instant_the_refusal_counts() {
    let shown = |entries: &[Entry]| facts(&people(entries), "shop-web", "recommend", Some("c-1"), NOW);
    assert_eq!(shown(&[given("1", "c-1", 5), refused("2", "c-1", 5)]), NOTHING);
    assert_eq!(shown(&[refused("2", "c-1", 5), given("1", "c-1", 5)]), NOTHING);
}

#[test]
fn a_recipient_is_agreed_to_apart_from_the_purpose() {
    let to_insurer = |says| {
        let about = About::Recipient("insurer".to_owned());
        entry("r", 9, What::Choice { subject: Subject(id("c-1")), about, says, evidence: None })
    };
    let shown = |entries: &[Entry]| facts(&people(entries), "insurer", "recommend", Some("c-1"), NOW);
    assert_eq!(shown(&[given("1", "c-1", 5)]), ["consent"]);
    assert_eq!(shown(&[to_insurer(Says::Given)]), ["consent-to-recipient"]);
    assert_eq!(shown(&[given("1", "c-1", 5), to_insurer(Says::Given)]), ["consent", "consent-to-recipient"]);
    assert_eq!(shown(&[given("1", "c-1", 5), to_insurer(Says::Refused)]), ["consent"]);
}

#[test]
fn facts_hold_until_they_end_or_are_ended() {
    let ticket = |name: &str, holds, until, at| {
        let (name, fact) = (name, "open-ticket".to_owned());
        entry(name, at, What::Fact { subject: Subject(id("c-1")), name: fact, holds, until, evidence: None })
    };
    let at = |entries: &[Entry], now| {
        facts(&people(entries), "helpdesk", "support", Some("c-1"), now).contains(&"open-ticket".to_owned())
    };
    assert!(at(&[ticket("1", true, None, 5)], NOW));
    assert!(!at(&[ticket("1", true, None, 5), ticket("2", false, None, 6)], NOW));
    assert!(at(&[ticket("1", true, None, 5), ticket("2", false, None, 4)], NOW), "the closing came first");
    assert!(
        at(&[ticket("1", true, Some(NOW), 5)], NOW - 1) && !at(&[ticket("1", true, Some(NOW), 5)], NOW),
        "to the millisecond"
    );
    assert!(
        !at(&[ticket("1", true, None, 5), ticket("2", false, None, 5)], NOW),
        "of one instant that which the ledger has last"
    );
}

#[test]
fn an_age_is_unknown_until_every_age_of_the_policy_is_settled() {
    let aged = |under: Vec<Under>| entry("a", 5, What::Age { subject: Subject(id("c-1")), under, evidence: None });
    let shown = |entries: &[Entry], now| facts(&people(entries), "helpdesk", "support", Some("c-1"), now);
    assert_eq!(shown(&[], NOW), ["age-unknown"]);
    assert_eq!(facts(&people(&[]), "helpdesk", "support", None, NOW), ["age-unknown"], "a document that names nobody");
    let (minor, adult) = (Under { years: 18, until: Some(NOW + DAY) }, Under { years: 18, until: None });
    let child = Under { years: 13, until: None };
    assert_eq!(shown(&[aged(vec![minor])], NOW), ["age-unknown", "minor"], "13 is not settled");
    assert_eq!(shown(&[aged(vec![minor, child])], NOW), ["minor"]);
    assert_eq!(shown(&[aged(vec![minor, child])], NOW + DAY), NOTHING, "grown up");
    assert_eq!(shown(&[aged(vec![adult, child])], NOW), NOTHING);
}

#[test]
fn who_was_told_of_a_version_was_told_of_those_before_it() {
    let shown = |entry: Entry| facts(&people(&[entry]), "mailer", "news", Some("c-1"), NOW);
    assert_eq!(shown(of("c-1", |subject| What::Told { subject, version: 2, evidence: None })), NOTHING);
    assert_eq!(shown(of("c-1", |subject| What::Told { subject, version: 3, evidence: None })), ["told-of-version-3"]);
    assert_eq!(shown(of("c-1", |subject| What::Told { subject, version: 4, evidence: None })), ["told-of-version-3"]);
    assert_eq!(shown(of("c-1", |subject| What::Accepted { subject, version: 3, evidence: None })), ["told-of-version-3"]);
    assert_eq!(shown(of("c-2", |subject| What::Told { subject, version: 3, evidence: None })), NOTHING);
}

#[test]
fn topics_beyond_the_bits_are_looked_up() {
    let many: Vec<Entry> = (0..200).map(|n| choice(&n.to_string(), "c-1", &format!("purpose-{n}"), Says::Given, 5)).collect();
    let mut all = many.clone();
    all.push(given("last", "c-1", 5));
    assert_eq!(facts(&people(&all), "shop-web", "recommend", Some("c-1"), NOW), ["consent"]);
    all.push(refused("really last", "c-1", 6));
    assert_eq!(facts(&people(&all), "shop-web", "recommend", Some("c-1"), NOW), NOTHING);
}

proptest! {
    /// Choices are found the same in whatever order nodes learn of them.
    #[test]
    fn order_does_not_matter_to_choices(times in prop::collection::vec((0_u64..4, any::<bool>()), 1..8), seed in any::<u64>()) {
        let entries: Vec<Entry> = times
            .iter()
            .zip(0..)
            .map(|((at, yes), n): (_, u32)| if *yes { given(&n.to_string(), "c-1", *at) } else { refused(&n.to_string(), "c-1", *at) })
            .collect();
        let mut shuffled = entries.clone();
        let len = u64::try_from(shuffled.len()).unwrap();
        for n in 0..shuffled.len() {
            let other = usize::try_from(seed.wrapping_mul(u64::try_from(n).unwrap() + 1) % len).unwrap();
            shuffled.swap(n, other);
        }
        let last = times.iter().map(|(at, _)| *at).max().unwrap();
        let expected = times.iter().filter(|(at, _)| *at == last).all(|(_, yes)| *yes);
        for entries in [entries, shuffled] {
            let shown = facts(&people(&entries), "shop-web", "recommend", Some("c-1"), NOW);
            prop_assert_eq!(shown == ["consent"], expected);
        }
    }
}
