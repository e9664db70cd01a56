//! What each caller gains and loses between two versions of a policy, in words.
//!
//! Always holds: two policies that decide alike for everybody differ in nothing here; what is not certainly less is not called a loss.
//! Levels are compared as they are at most; what they depend on is compared rule by rule. Used by `policy diff`.

use std::collections::BTreeSet;

use super::explain::{Asks, Explanation};
use super::inventory::{Kind, Listed, list};
use super::policy::Policy;
use super::{CategoryId, Level, Row};
use crate::base::{CallerName, CategoryName};

/// Whom a change serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The caller sees or may do more.
    Gains,
    /// Neither more nor less, or not to be compared.
    Changes,
    /// The caller sees or may do less.
    Loses,
}

impl Effect {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gains => "gains",
            Self::Changes => "changes",
            Self::Loses => "loses",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose; None: everybody's.
    pub caller: Option<CallerName>,
    /// For which purpose; None: whatever the purpose.
    pub purpose: Option<String>,
    /// Whom it serves.
    pub effect: Effect,
    /// What changes.
    pub says: String,
}

/// Everything that differs: by caller, then what is for everybody.
pub fn diff(old: &Policy, new: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    let callers: BTreeSet<&CallerName> = old.callers().into_iter().chain(new.callers()).collect();
    for caller in callers {
        let purposes: BTreeSet<String> = old
            .purposes_of(caller)
            .into_iter()
            .chain(new.purposes_of(caller))
            .map(|purpose| purpose.as_str().to_owned())
            .collect();
        for purpose in purposes {
            of_pair(old, new, caller, &purpose, &mut changes);
        }
    }
    of_rules(old, new, &mut changes);
    changes
}

fn of_pair(old: &Policy, new: &Policy, caller: &CallerName, purpose: &str, changes: &mut Vec<Change>) {
    let mut add = |effect, says: String| {
        changes.push(Change { caller: Some(caller.clone()), purpose: Some(purpose.to_owned()), effect, says });
    };
    let before = old.explain(caller, Some(purpose)).ok();
    let after = new.explain(caller, Some(purpose)).ok();
    let (was, is) = match (&before, &after) {
        (Some(was), Some(is)) => (was, is),
        (None, Some(_)) => return add(Effect::Gains, format!("may use {purpose}: sees {}", seen(new, caller, purpose))),
        (Some(_), None) => return add(Effect::Loses, format!("may no longer use {purpose}: saw {}", seen(old, caller, purpose))),
        (None, None) => return,
    };
    let (Some(before_row), Some(after_row)) = (row(old, caller, purpose), row(new, caller, purpose)) else { return };
    let names: BTreeSet<&str> = old.categories().iter().chain(new.categories()).map(|category| category.name.as_str()).collect();
    for name in names {
        let (from, to) = (at_most(old, caller, purpose, name), at_most(new, caller, purpose, name));
        if from != to {
            let effect = match (to.is_at_most(from), from.is_at_most(to)) {
                (true, _) => Effect::Loses,
                (_, true) => Effect::Gains,
                _ => Effect::Changes,
            };
            add(effect, format!("{name}: {to} instead of {from}"));
        }
        let id = |policy: &Policy| policy.category(name).unwrap_or(NONE);
        let (had, has) = (before_row.may_write(id(old)), after_row.may_write(id(new)));
        if had != has {
            let effect = if has { Effect::Gains } else { Effect::Loses };
            add(effect, format!("may {}store {name}", if has { "" } else { "no longer " }));
        }
        // Whoever sees a value clear may search by it; then the level has said it.
        let (had, has) = (before_row.may_search(id(old)), after_row.may_search(id(new)));
        if had && !has && from != Level::Clear {
            add(Effect::Loses, format!("may no longer search by {name}"));
        }
        if has && !had && to != Level::Clear {
            add(Effect::Gains, format!("may search by {name}"));
        }
    }
    match (before_row.may_delete(), after_row.may_delete()) {
        (false, true) => add(Effect::Gains, "may remove documents".to_owned()),
        (true, false) => add(Effect::Loses, "may no longer remove documents".to_owned()),
        _ => {}
    }
    if was.scope != is.scope {
        add(Effect::Changes, format!("pseudonyms are the same within {} instead of {}", is.scope, was.scope));
    }
    if was.required != is.required {
        add(Effect::Changes, format!("must give {}, and had to give {}", list_of(&is.required), list_of(&was.required)));
    }
    for (effect, says) in conditions(was, is) {
        add(effect, says);
    }
}

/// What is asked of data subjects now, and what is no longer.
fn conditions(was: &Explanation, is: &Explanation) -> Vec<(Effect, String)> {
    let said = |explained: &Explanation| -> BTreeSet<(bool, String)> {
        explained.conditions.iter().map(|condition| (condition.asks == Asks::Consent, condition.rule.says.clone())).collect()
    };
    let (before, after) = (said(was), said(is));
    // Between opt-out and opt-in, one sentence takes the place of another.
    let whose = |says: &str| says.split(" is opt-").next().unwrap_or_default().to_owned();
    let replaced =
        |says: &str, by: &BTreeSet<(bool, String)>| by.iter().any(|(consent, other)| *consent && whose(other) == whose(says));
    let mut found = Vec::new();
    for (consent, says) in after.difference(&before) {
        let eased = *consent && replaced(says, &before) && says.contains(" is opt-out");
        found.push((if eased { Effect::Gains } else { Effect::Loses }, format!("now: {says}")));
    }
    for (consent, says) in before.difference(&after) {
        if !(*consent && replaced(says, &after)) {
            found.push((Effect::Gains, format!("no longer: {says}")));
        }
    }
    found
}

fn list_of(names: &[CategoryName]) -> String {
    let names: Vec<&str> = names.iter().map(CategoryName::as_str).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
}

/// Indexes no category.
const NONE: CategoryId = CategoryId(u16::MAX);

fn row(policy: &Policy, caller: &CallerName, purpose: &str) -> Option<Row> {
    policy.decide(caller, Some(purpose), 0).ok().map(|grant| grant.at_most())
}

fn at_most(policy: &Policy, caller: &CallerName, purpose: &str, category: &str) -> Level {
    let Some(id) = policy.category(category) else { return Level::Absent };
    policy.decide(caller, Some(purpose), 0).map_or(Level::Absent, |grant| grant.at_most().level(id))
}

fn seen(policy: &Policy, caller: &CallerName, purpose: &str) -> String {
    let Ok(grant) = policy.decide(caller, Some(purpose), 0) else { return "nothing".to_owned() };
    let row = grant.at_most();
    let shown: Vec<String> = policy
        .categories()
        .iter()
        .zip(0_u16..)
        .map(|(category, id)| (category, row.level(CategoryId(id))))
        .filter(|(_, level)| *level != Level::Absent)
        .map(|(category, level)| format!("{} {level}", category.name))
        .collect();
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") }
}

/// What is for everybody: nevers, promises, exceptions, and what a change of the policy waits for.
fn of_rules(old: &Policy, new: &Policy, changes: &mut Vec<Change>) {
    let kept = |kind: Kind| matches!(kind, Kind::Never | Kind::Always | Kind::Exception);
    let (was, is) = (list(old.spec()), list(new.spec()));
    let has = |rules: &[Listed], label: &str| rules.iter().any(|rule| rule.label == label);
    let mut add = |effect, says: String| changes.push(Change { caller: None, purpose: None, effect, says });
    for rule in is.iter().filter(|rule| kept(rule.kind) && !has(&was, &rule.label)) {
        let effect = if rule.kind == Kind::Exception { Effect::Gains } else { Effect::Loses };
        add(effect, format!("{} is new", rule.label));
    }
    for rule in was.iter().filter(|rule| kept(rule.kind) && !has(&is, &rule.label)) {
        let effect = if rule.kind == Kind::Exception { Effect::Loses } else { Effect::Gains };
        add(effect, format!("{} is gone", rule.label));
    }
    for exception in &new.spec().exceptions {
        let Some(before) = old.spec().exceptions.iter().find(|before| before.name == exception.name) else { continue };
        let mut compare = |what: &str, from: String, to: String, effect| {
            if from != to {
                add(effect, format!("exception.{}: {what} {to} instead of {from}", exception.name));
            }
        };
        let more = |more: bool| if more { Effect::Gains } else { Effect::Loses };
        let hours = |hours: u32| format!("{hours} h");
        compare(
            "approvers",
            before.approvers.to_string(),
            exception.approvers.to_string(),
            more(exception.approvers < before.approvers),
        );
        compare("ttl", hours(before.ttl_hours), hours(exception.ttl_hours), more(exception.ttl_hours > before.ttl_hours));
        compare(
            "evidence",
            before.evidence.join(", "),
            exception.evidence.join(", "),
            more(before.evidence.iter().any(|word| !exception.evidence.contains(word))),
        );
        compare(
            "tell_subject",
            before.tell_subject.as_str().to_owned(),
            exception.tell_subject.as_str().to_owned(),
            Effect::Changes,
        );
        let levels = |list: &super::LevelList| {
            list.iter().map(|(name, level, _)| format!("{name} {level}")).collect::<Vec<_>>().join(", ")
        };
        compare("reveal", levels(&before.reveal), levels(&exception.reveal), Effect::Changes);
        let names = |callers: &[CallerName]| callers.iter().map(CallerName::as_str).collect::<Vec<_>>().join(", ");
        compare("callers", names(&before.callers), names(&exception.callers), Effect::Changes);
    }
    if old.spec().change.gate != new.spec().change.gate {
        let (from, to) = (old.spec().change.gate.as_str(), new.spec().change.gate.as_str());
        add(Effect::Changes, format!("a new purpose waits for {to} instead of {from}"));
    }
}
