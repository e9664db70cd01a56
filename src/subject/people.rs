//! What follows from the ledger: of each data subject what holds now. In memory, on every node.
//!
//! Always holds: of two statements of one kind the one with the later `at` counts, at one instant a refusal, else that which the ledger has
//! last; so what follows does not depend on when entries arrive but in that last case. To ask costs one look-up and a bit for each fact.
//! Filled by `ledger`, asked by `question`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use dashmap::DashMap;

use super::entry::{About, Entry, Says, What};
use crate::base::RecordId;

/// Kinds of statements whose state stands in a bit; further ones are looked up.
const BITS: u16 = 128;
/// A time that never comes.
const NEVER: u64 = u64::MAX;

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// A choice.
    Choice(About),
    /// Being younger than so many years.
    Under(u8),
    /// A fact of the policy, by name.
    Fact(String),
}

/// A topic's number, for as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TopicId(u16);

impl TopicId {
    /// None where it has none.
    fn bit(self) -> u128 {
        if self.0 < BITS { 1_u128.checked_shl(u32::from(self.0)).unwrap_or(0) } else { 0 }
    }
}

/// How one thing stands with somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Yes,
    /// It was said that it does not, or it is over.
    No,
}

/// What was last said of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Of what.
    pub topic: Topic,
    /// How it stands.
    pub standing: Standing,
    /// Since when it was said.
    pub at: u64,
    /// Until then it holds, if it ends by itself.
    pub until: Option<u64>,
    /// The ledger's row that says so.
    pub row: u64,
}

/// What is known of everybody.
#[derive(Debug, Default)]
pub struct People {
    known: DashMap<RecordId, Person>,
    topics: RwLock<HashMap<Topic, TopicId>>,
    statements: AtomicU64,
}

/// What is known of one.
#[derive(Debug, Default)]
pub(super) struct Person {
    /// What holds.
    yes: u128,
    /// What was said not to hold, or is over.
    no: u128,
    /// Until then both are right.
    next_ms: u64,
    /// The newest version they were told of, and the newest they accepted; 0: none.
    pub(super) told: u64,
    pub(super) accepted: u64,
    /// The last statement of each topic, in their order.
    said: Vec<Said>,
}

#[derive(Debug, Clone, Copy)]
struct Said {
    topic: TopicId,
    holds: bool,
    at: u64,
    until: u64,
    row: u64,
}

impl Said {
    fn standing(&self, now_ms: u64) -> Standing {
        if self.holds && now_ms < self.until { Standing::Yes } else { Standing::No }
    }
}

impl People {
    /// How many are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Nobody is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Is anything known of them?
    pub fn knows(&self, subject: &RecordId) -> bool {
        self.known.contains_key(subject)
    }

    /// Takes an entry of the ledger's row with this number.
    pub fn apply(&self, entry: &Entry, row: u64) {
        let at = entry.at;
        match &entry.what {
            What::Choice { subject, about, says, .. } => {
                let topic = self.topic(&Topic::Choice(about.clone()));
                self.person(&subject.0, |person| {
                    person.say(Said { topic, holds: *says == Says::Given, at, until: NEVER, row }, Tie::Refusal);
                });
            }
            What::Age { subject, under, .. } => {
                let said: Vec<Said> = under
                    .iter()
                    .map(|under| {
                        let topic = self.topic(&Topic::Under(under.years));
                        Said { topic, holds: under.until.is_some(), at, until: under.until.unwrap_or(NEVER), row }
                    })
                    .collect();
                self.person(&subject.0, |person| said.into_iter().for_each(|said| person.say(said, Tie::Later)));
            }
            What::Fact { subject, name, holds, until, .. } => {
                let topic = self.topic(&Topic::Fact(name.clone()));
                let until = until.unwrap_or(NEVER);
                self.person(&subject.0, |person| person.say(Said { topic, holds: *holds, at, until, row }, Tie::Later));
            }
            What::Told { subject, version, .. } => {
                self.person(&subject.0, |person| person.told = person.told.max(*version));
            }
            What::Accepted { subject, version, .. } => self.person(&subject.0, |person| {
                person.told = person.told.max(*version);
                person.accepted = person.accepted.max(*version);
            }),
            What::Exception { .. } => {}
        }
        self.statements.fetch_add(1, Ordering::Relaxed);
    }

    /// What is known of one, in the order of the topics, and the versions they were told of and accepted (0: none).
    pub fn all_of(&self, subject: &RecordId, now_ms: u64) -> Option<(Vec<Statement>, u64, u64)> {
        let person = self.known.get(subject)?;
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let name = |id: TopicId| topics.iter().find(|(_, known)| **known == id).map(|(topic, _)| topic.clone());
        let mut statements: Vec<Statement> = person
            .said
            .iter()
            .filter_map(|said| {
                Some(Statement {
                    topic: name(said.topic)?,
                    standing: said.standing(now_ms),
                    at: said.at,
                    until: Some(said.until).filter(|until| *until != NEVER),
                    row: said.row,
                })
            })
            .collect();
        statements.sort_by(|one, other| one.topic.cmp(&other.topic));
        Some((statements, person.told, person.accepted))
    }

    /// The number of a topic, also of one that nobody has said anything about yet.
    pub(super) fn topic(&self, topic: &Topic) -> TopicId {
        if let Some(known) = self.topics.read().unwrap_or_else(PoisonError::into_inner).get(topic) {
            return *known;
        }
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let next = TopicId(u16::try_from(topics.len()).unwrap_or(u16::MAX));
        *topics.entry(topic.clone()).or_insert(next)
    }

    /// What somebody knows of one, without a copy.
    pub(super) fn with<T>(&self, subject: &RecordId, look: impl FnOnce(&Person) -> T) -> Option<T> {
        self.known.get(subject).map(|person| look(&person))
    }

    fn person(&self, subject: &RecordId, change: impl FnOnce(&mut Person)) {
        if let Some(mut person) = self.known.get_mut(subject) {
            change(&mut person);
            return;
        }
        change(&mut self.known.entry(subject.clone()).or_default());
    }
}

/// Which of two statements of one instant counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tie {
    /// The refusing one.
    Refusal,
    /// That which the ledger has last.
    Later,
}

impl Person {
    /// What holds and what does not, as bits, at a time.
    pub(super) fn bits(&self, now_ms: u64) -> (u128, u128) {
        if now_ms < self.next_ms { (self.yes, self.no) } else { self.worked_out(now_ms).0 }
    }

    /// How a topic stands, given the bits of that time.
    pub(super) fn standing(&self, topic: TopicId, (yes, no): (u128, u128), now_ms: u64) -> Option<Standing> {
        let bit = topic.bit();
        if bit == 0 {
            let at = self.said.binary_search_by_key(&topic, |said| said.topic).ok()?;
            return self.said.get(at).map(|said| said.standing(now_ms));
        }
        match (yes & bit != 0, no & bit != 0) {
            (true, _) => Some(Standing::Yes),
            (false, true) => Some(Standing::No),
            (false, false) => None,
        }
    }

    fn say(&mut self, new: Said, tie: Tie) {
        match self.said.binary_search_by_key(&new.topic, |said| said.topic) {
            Err(at) => self.said.insert(at, new),
            Ok(at) => {
                let Some(old) = self.said.get_mut(at) else { return };
                let counts = match new.at.cmp(&old.at) {
                    std::cmp::Ordering::Greater => true,
                    std::cmp::Ordering::Less => false,
                    std::cmp::Ordering::Equal => tie == Tie::Later || !new.holds,
                };
                if counts {
                    *old = new;
                }
            }
        }
        // As of the beginning of time: what ends later is found by `next_ms`.
        let ((yes, no), next_ms) = self.worked_out(0);
        (self.yes, self.no, self.next_ms) = (yes, no, next_ms);
    }

    /// The bits at a time, and until when they are right.
    fn worked_out(&self, now_ms: u64) -> ((u128, u128), u64) {
        let (mut yes, mut no, mut next) = (0, 0, NEVER);
        for said in &self.said {
            match said.standing(now_ms) {
                Standing::Yes => {
                    yes |= said.topic.bit();
                    next = next.min(said.until);
                }
                Standing::No => no |= said.topic.bit(),
            }
        }
        ((yes, no), next)
    }
}
