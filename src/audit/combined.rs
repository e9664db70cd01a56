//! What a caller may have put together from several replies: data that identify from one, data that do so only in combination from another.
//!
//! In one reply the proxy sees to it; across replies nobody can take back what has left, so the log is asked. It says *may have*: an event
//! names whom a window was about and how many values of a category it showed, not which value was whose.
//!
//! Always holds: what one exchange showed at once is not reported, for there the limit was applied; linkable data
//! count where they were shown for a purpose that a limit covers, for the others may combine. Called by `cli`, entry by entry, in the order of the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::event::Entry;
use crate::base::{CategoryName, PurposeName};
use crate::purpose::{EVERY, Level, Nature, Policy, facts};

/// Data subjects that are named in a finding at most; all are counted.
const NAMED: usize = 100;
/// So many pairs of caller and data subject are kept before those that are too old are let go.
const KEPT: usize = 1 << 20;

/// One limit with `when = "linkable-with-identifying"`.
#[derive(Debug)]
struct Limit {
    name: String,
    purposes: Vec<PurposeName>,
    identifying: BTreeSet<CategoryName>,
    /// With the most that is seen of each beside data that identify.
    linkable: BTreeMap<CategoryName, Level>,
}

/// What was seen last of one data subject by one caller, under one limit.
#[derive(Debug, Default)]
struct Seen {
    identifying: Option<Arc<Sight>>,
    linkable: Option<Arc<Sight>>,
}

#[derive(Debug)]
struct Sight {
    at_ms: i64,
    exchange: String,
    purpose: String,
    categories: Vec<String>,
}

/// What one caller may have put together, by the purposes and categories that it came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Who.
    pub caller: String,
    /// Against which limit.
    pub limit: String,
    /// For which purpose it was shown what identifies.
    pub identifying_purpose: String,
    /// What that was.
    pub identifying: Vec<String>,
    /// For which purpose it was shown what identifies in combination only.
    pub linkable_purpose: String,
    /// What that was.
    pub linkable: Vec<String>,
}

/// How often, and of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combined {
    /// Distinct data subjects.
    pub subjects: u64,
    /// The first of them, as pseudonyms of the log.
    pub named: Vec<String>,
    /// When the later of two replies left, for the first time.
    pub first: String,
    /// And for the last time.
    pub last: String,
}

/// Looks through a log.
#[derive(Debug)]
pub struct Combinations {
    limits: Vec<Limit>,
    within_ms: i64,
    seen: HashMap<(usize, String, String), Seen>,
    found: BTreeMap<Source, (BTreeSet<String>, Combined)>,
}

impl Combinations {
    /// By the limits of a policy; two replies count together if no more than `within_ms` lie between them.
    pub fn of(policy: &Policy, within_ms: i64) -> Self {
        let spec = policy.spec();
        let combining = spec.limits.iter().filter(|limit| limit.when.iter().any(|(fact, _)| fact == facts::COMBINED));
        let limits = combining.map(|limit| {
            let cap = |category: &CategoryName| {
                let said = |name: &str| limit.at_most.iter().find(|(listed, ..)| listed.as_str() == name);
                said(category.as_str()).or_else(|| said(EVERY)).map(|(_, level, _)| *level)
            };
            let of = |nature| spec.categories.iter().filter(move |category| category.nature == nature);
            let linkable = of(Nature::Linkable).filter_map(|category| Some((category.name.clone(), cap(&category.name)?)));
            Limit {
                name: limit.name.clone(),
                purposes: spec.purposes.iter().map(|purpose| &purpose.name).filter(|name| limit.covers(name)).cloned().collect(),
                identifying: of(Nature::Identifying).map(|category| category.name.clone()).collect(),
                linkable: linkable.collect(),
            }
        });
        Self { limits: limits.collect(), within_ms, seen: HashMap::new(), found: BTreeMap::new() }
    }

    /// True if the policy says nothing of combinations, so that there is nothing to look for.
    pub fn is_idle(&self) -> bool {
        self.limits.is_empty()
    }

    /// Takes the next entry of the log.
    pub fn add(&mut self, entry: &Entry) {
        let (Some(caller), Some(purpose), Some(exchange)) = (&entry.caller, &entry.purpose, &entry.exchange) else { return };
        if entry.shown.is_empty() {
            return;
        }
        let Ok(at) = entry.time.parse::<Timestamp>() else { return };
        let at_ms = at.as_millisecond();
        if self.seen.len() > KEPT {
            let oldest = at_ms.saturating_sub(self.within_ms);
            self.seen
                .retain(|_, seen| [&seen.identifying, &seen.linkable].into_iter().flatten().any(|sight| sight.at_ms >= oldest));
        }
        for (index, limit) in self.limits.iter().enumerate() {
            let sight = |categories: Vec<String>| {
                let (exchange, purpose) = (exchange.clone(), purpose.clone());
                (!categories.is_empty()).then(|| Arc::new(Sight { at_ms, exchange, purpose, categories }))
            };
            let covered = limit.purposes.iter().any(|covered| covered.as_str() == purpose);
            let linkable = if covered { sight(limit.linkable_in(entry)) } else { None };
            let identifying = sight(limit.identifying_in(entry));
            if identifying.is_none() && linkable.is_none() {
                continue;
            }
            for subject in &entry.subjects {
                let seen = self.seen.entry((index, caller.clone(), subject.clone())).or_default();
                let pairs = [identifying.as_ref().zip(seen.linkable.as_ref()), seen.identifying.as_ref().zip(linkable.as_ref())];
                for (identifying, linkable) in pairs.into_iter().flatten() {
                    let apart = identifying.at_ms.abs_diff(linkable.at_ms);
                    if identifying.exchange != linkable.exchange
                        && i64::try_from(apart).is_ok_and(|apart| apart <= self.within_ms)
                    {
                        let source = source(caller, limit, identifying, linkable);
                        note(&mut self.found, source, subject, &entry.time);
                    }
                }
                seen.identifying = identifying.clone().or(seen.identifying.take());
                seen.linkable = linkable.clone().or(seen.linkable.take());
            }
        }
    }

    /// What was found, in order of who.
    pub fn found(&self) -> impl Iterator<Item = (&Source, &Combined)> {
        self.found.iter().map(|(source, (_, combined))| (source, combined))
    }
}

impl Limit {
    fn identifying_in(&self, entry: &Entry) -> Vec<String> {
        let tells = [Level::Clear, Level::Masked, Level::Generalised];
        shown(entry, |category, level| self.identifying.contains(category) && tells.contains(&level))
    }

    /// What was shown above what it would be cut to; at the limit's own level there is nothing to put together.
    fn linkable_in(&self, entry: &Entry) -> Vec<String> {
        shown(entry, |category, level| self.linkable.get(category).is_some_and(|cap| level.meet(*cap) != level))
    }
}

fn shown(entry: &Entry, counts: impl Fn(&CategoryName, Level) -> bool) -> Vec<String> {
    let all = entry.shown.iter().filter_map(|(level, counts)| Some((Level::parse(level)?, counts)));
    let names: BTreeSet<String> = all
        .flat_map(|(level, list)| list.0.iter().map(move |(name, count)| (name, level, *count)))
        .filter(|(name, level, count)| *count > 0 && counts(&CategoryName::new(name), *level))
        .map(|(name, ..)| name.clone())
        .collect();
    names.into_iter().collect()
}

fn source(caller: &str, limit: &Limit, identifying: &Sight, linkable: &Sight) -> Source {
    Source {
        caller: caller.to_owned(),
        limit: limit.name.clone(),
        identifying_purpose: identifying.purpose.clone(),
        identifying: identifying.categories.clone(),
        linkable_purpose: linkable.purpose.clone(),
        linkable: linkable.categories.clone(),
    }
}

fn note(found: &mut BTreeMap<Source, (BTreeSet<String>, Combined)>, source: Source, subject: &str, time: &str) {
    let (subjects, combined) = found.entry(source).or_insert_with(|| {
        let combined = Combined { subjects: 0, named: Vec::new(), first: time.to_owned(), last: time.to_owned() };
        (BTreeSet::new(), combined)
    });
    time.clone_into(&mut combined.last);
    if subjects.insert(subject.to_owned()) {
        combined.subjects += 1;
        if combined.named.len() < NAMED {
            combined.named.push(subject.to_owned());
        }
    }
}
