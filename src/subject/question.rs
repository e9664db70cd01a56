//! The facts that one caller's purpose turns on, as statements: made once for a request, asked for each row.
//!
//! Always holds: of whom nothing is known nothing holds, but that their age is unknown. Made by `exchange`.

use std::sync::Arc;

use super::entry::About;
use super::people::{People, Person, Standing, Topic, TopicId};
use crate::base::RecordId;
use crate::purpose::facts::{self, FactId, Facts, Known};
use crate::purpose::{Grant, Policy};

/// Says what holds of data subjects, for the caller and purpose of one grant.
#[derive(Debug)]
pub struct Question {
    people: Arc<People>,
    asks: Box<[(FactId, Ask)]>,
    /// What holds of whom nobody knows anything.
    nobody: Facts,
    now_ms: u64,
}

/// When a fact holds.
#[derive(Debug)]
enum Ask {
    /// The topic does.
    Yes(TopicId),
    /// It was said that the topic does not.
    No(TopicId),
    /// They were told of this version, or a later one.
    Told(u64),
    /// They accepted the policy.
    Accepted,
    /// It is not known of each of these whether it holds.
    Unsettled(Box<[TopicId]>),
}

impl Question {
    /// For a grant of this policy.
    pub fn new(people: &Arc<People>, policy: &Policy, grant: &Grant, now_ms: u64) -> Self {
        let about = |fact: FactId| ask(people, policy, grant, policy.facts().name(fact)).map(|ask| (fact, ask));
        let asks: Box<[(FactId, Ask)]> = grant.turns_on().filter_map(about).collect();
        let unsettled = asks.iter().filter(|(_, ask)| matches!(ask, Ask::Unsettled(_)));
        let nobody = unsettled.fold(Facts::NONE, |facts, (fact, _)| facts.with(*fact));
        Self { people: Arc::clone(people), asks, nobody, now_ms }
    }

    /// Does it turn on nothing that is known of people?
    pub fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }
}

impl Known for Question {
    fn facts(&self, subject: Option<&RecordId>) -> Facts {
        if self.asks.is_empty() {
            return Facts::NONE;
        }
        let look = |person: &Person| {
            let bits = person.bits(self.now_ms);
            let stands = |topic: TopicId| person.standing(topic, bits, self.now_ms);
            let holds = |ask: &Ask| match ask {
                Ask::Yes(topic) => stands(*topic) == Some(Standing::Yes),
                Ask::No(topic) => stands(*topic) == Some(Standing::No),
                Ask::Told(version) => person.told >= *version,
                Ask::Accepted => person.accepted > 0,
                // A policy that names no age settles nobody's.
                Ask::Unsettled(topics) => topics.is_empty() || topics.iter().any(|topic| stands(*topic).is_none()),
            };
            self.asks.iter().fold(Facts::NONE, |facts, (fact, ask)| if holds(ask) { facts.with(*fact) } else { facts })
        };
        subject.and_then(|subject| self.people.with(subject, look)).unwrap_or(self.nobody)
    }
}

/// What a fact asks of the ledger. None for what the ledger does not know.
fn ask(people: &People, policy: &Policy, grant: &Grant, name: &str) -> Option<Ask> {
    let purpose = || people.topic(&Topic::Choice(About::Purpose(grant.purpose().to_string())));
    let recipient = || people.topic(&Topic::Choice(About::Recipient(grant.caller().to_string())));
    let ages = &policy.spec().ages;
    Some(match name {
        facts::CONSENT => Ask::Yes(purpose()),
        facts::OBJECTION => Ask::No(purpose()),
        facts::CONSENT_TO_RECIPIENT => Ask::Yes(recipient()),
        facts::OBJECTION_TO_RECIPIENT => Ask::No(recipient()),
        facts::ACCEPTANCE => Ask::Accepted,
        facts::AGE_UNKNOWN => Ask::Unsettled(ages.iter().map(|age| people.topic(&Topic::Under(age.under))).collect()),
        facts::COMBINED => return None,
        other => match (
            other.strip_prefix(facts::TOLD).and_then(|version| version.parse().ok()),
            ages.iter().find(|age| age.name == other),
        ) {
            (Some(version), _) => Ask::Told(version),
            (None, Some(age)) => Ask::Yes(people.topic(&Topic::Under(age.under))),
            (None, None) => Ask::Yes(people.topic(&Topic::Fact(other.to_owned()))),
        },
    })
}
