//! The policy rule by rule: which clauses each keeps, and what the policy is without it.
//!
//! Always holds: every rule of a policy is listed once; a mutant differs from the policy in one rule only. Used by `coverage`.

use super::asked::{TestSpec, Under};
use super::policy::said;
use super::rules::{ChangeGate, Consent, FactSpec};
use super::spec::{LevelList, Line, PolicySpec, PurposeSpec};
use super::{EVERY, Level};
use crate::base::{CallerName, CategoryName, PurposeName};

/// What a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[category]`.
    Category,
    /// `[purpose.*]`.
    Purpose,
    /// `[recipient]`.
    Recipient,
    /// `[limit.*]`.
    Limit,
    /// `[never]`.
    Never,
    /// `[always]`.
    Always,
    /// `[exception.*]`.
    Exception,
    /// `[age]`.
    Age,
    /// `policy.change`.
    Change,
}

impl Kind {
    /// True if the rule lets data be used: without a clause it is processing that nobody was told of.
    pub fn lets(self) -> bool {
        matches!(self, Self::Category | Self::Purpose | Self::Recipient | Self::Exception)
    }
}

/// One rule.
#[derive(Debug, Clone)]
pub struct Listed {
    /// As people name it: `purpose.delivery`.
    pub label: String,
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub line: Line,
    /// The clauses it keeps.
    pub clauses: Vec<String>,
}

/// The policy with one rule, or one part of a rule, taken away or made to show more.
pub(super) struct Mutant {
    /// Of which rule.
    pub(super) label: String,
    /// What was done, in words.
    pub(super) what: String,
    pub(super) spec: PolicySpec,
}

impl Mutant {
    /// Could the test come out otherwise? What a rule is not about, it does not change.
    pub(super) fn concerns(&self, test: &TestSpec) -> bool {
        let Some((kind, name)) = self.label.split_once('.') else { return true };
        let under = test.ask.as_ref().map(|ask| &ask.under);
        match kind {
            "purpose" => matches!(under, Some(Under::Purpose { purpose, .. }) if purpose.as_str() == name),
            "exception" => matches!(under, Some(Under::Exception { exception, .. }) if exception == name),
            "recipient" => test.ask.as_ref().is_some_and(|ask| ask.caller.as_str() == name),
            "never" => test.forbidden.is_some() || matches!(under, Some(Under::Exception { .. })),
            "always" => !test.always.is_empty(),
            "age" => test.ask.as_ref().is_some_and(|ask| ask.age.is_some()),
            _ => true,
        }
    }
}

/// Every rule, in the order of the questions they answer.
pub(super) fn list(spec: &PolicySpec) -> Vec<Listed> {
    let mut rules = Vec::new();
    let mut add = |kind, label: String, line, clauses: &[String]| {
        rules.push(Listed { label, kind, line, clauses: clauses.to_vec() });
    };
    if spec.change.line > 0 || !spec.change.clauses.is_empty() {
        add(Kind::Change, "policy.change".to_owned(), spec.change.line, &spec.change.clauses);
    }
    for age in &spec.ages {
        add(Kind::Age, format!("age.{}", age.name), age.line, &age.clauses);
    }
    for category in &spec.categories {
        add(Kind::Category, format!("category.{}", category.name), category.line, &category.clauses);
    }
    for purpose in &spec.purposes {
        add(Kind::Purpose, format!("purpose.{}", purpose.name), purpose.line, &purpose.clauses);
    }
    for recipient in &spec.recipients {
        add(Kind::Recipient, format!("recipient.{}", recipient.name), recipient.line, &recipient.clauses);
    }
    for limit in &spec.limits {
        add(Kind::Limit, format!("limit.{}", limit.name), limit.line, &limit.clauses);
    }
    for never in &spec.nevers {
        add(Kind::Never, format!("never.{}", never.name), never.line, &never.clauses);
    }
    for always in &spec.always {
        add(Kind::Always, format!("always.{}", always.what.as_str()), always.line, &always.clauses);
    }
    for exception in &spec.exceptions {
        add(Kind::Exception, format!("exception.{}", exception.name), exception.line, &exception.clauses);
    }
    rules
}

/// Every policy that differs from this one in one rule and promises less. They have no tests of their own.
pub(super) fn mutants(spec: &PolicySpec) -> Vec<Mutant> {
    let mut base = spec.clone();
    base.tests.clear();
    let mut mutants = Vec::new();
    let mut add = |label: &str, what: &str, change: &mut dyn FnMut(&mut PolicySpec)| {
        let mut spec = base.clone();
        change(&mut spec);
        mutants.push(Mutant { label: label.to_owned(), what: what.to_owned(), spec });
    };
    let gate = if spec.change.gate == ChangeGate::Publication { ChangeGate::Consent } else { ChangeGate::Publication };
    if spec.change.line > 0 {
        add("policy.change", "removed", &mut |spec| spec.change.gate = gate);
    }
    for (at, age) in spec.ages.iter().enumerate() {
        let fact = FactSpec { name: age.name.clone(), line: age.line, means: String::new() };
        add(&format!("age.{}", age.name), "removed", &mut |spec| {
            spec.ages.remove(at);
            spec.facts.push(fact.clone());
        });
    }
    for category in &spec.categories {
        add(&format!("category.{}", category.name), "removed", &mut |spec| without_category(spec, &category.name));
    }
    for (at, purpose) in spec.purposes.iter().enumerate() {
        purpose_mutants(spec, at, purpose, &mut add);
    }
    for (at, recipient) in spec.recipients.iter().enumerate() {
        let label = format!("recipient.{}", recipient.name);
        add(&label, "removed", &mut |spec| drop(spec.recipients.remove(at)));
        let mut change = |what: &str, change: &mut dyn FnMut(&mut super::RecipientSpec)| {
            add(&label, what, &mut |spec| spec.recipients.get_mut(at).into_iter().for_each(&mut *change));
        };
        for (entry, (category, level, _)) in
            recipient.at_most.iter().enumerate().filter(|(_, (_, level, _))| *level != Level::Clear)
        {
            change(&format!("without {category} at most {level}"), &mut |own| drop(own.at_most.remove(entry)));
        }
        if recipient.terms.consent != Consent::None {
            change("without consent", &mut |own| own.terms.consent = Consent::None);
        }
        for (need, (fact, _)) in recipient.terms.needs.iter().enumerate() {
            change(&format!("without needs {fact}"), &mut |own| drop(own.terms.needs.remove(need)));
        }
    }
    for (at, limit) in spec.limits.iter().enumerate() {
        let label = format!("limit.{}", limit.name);
        add(&label, "removed", &mut |spec| drop(spec.limits.remove(at)));
    }
    for (at, never) in spec.nevers.iter().enumerate() {
        add(&format!("never.{}", never.name), "removed", &mut |spec| drop(spec.nevers.remove(at)));
    }
    for (at, always) in spec.always.iter().enumerate() {
        add(&format!("always.{}", always.what.as_str()), "removed", &mut |spec| drop(spec.always.remove(at)));
    }
    for (at, exception) in spec.exceptions.iter().enumerate() {
        let label = format!("exception.{}", exception.name);
        add(&label, "removed", &mut |spec| drop(spec.exceptions.remove(at)));
        let mut change = |what: &str, change: &mut dyn FnMut(&mut super::ExceptionSpec)| {
            add(&label, what, &mut |spec| spec.exceptions.get_mut(at).into_iter().for_each(&mut *change));
        };
        for (word, evidence) in exception.evidence.iter().enumerate() {
            change(&format!("without {evidence} on record"), &mut |own| drop(own.evidence.remove(word)));
        }
        change("without approvers", &mut |own| own.approvers = 0);
        change("without an end", &mut |own| own.ttl_hours = u32::MAX);
    }
    mutants
}

fn purpose_mutants(
    spec: &PolicySpec,
    at: usize,
    purpose: &PurposeSpec,
    add: &mut impl FnMut(&str, &str, &mut dyn FnMut(&mut PolicySpec)),
) {
    let label = format!("purpose.{}", purpose.name);
    add(&label, "removed", &mut |spec| without_purpose(spec, at, &purpose.name));
    let mut change = |what: &str, change: &mut dyn FnMut(&mut PurposeSpec)| {
        add(&label, what, &mut |spec| spec.purposes.get_mut(at).into_iter().for_each(&mut *change));
    };
    if purpose.terms.consent != Consent::None {
        change("without consent", &mut |own| own.terms.consent = Consent::None);
    }
    for (need, (fact, _)) in purpose.terms.needs.iter().enumerate() {
        change(&format!("without needs {fact}"), &mut |own| drop(own.terms.needs.remove(need)));
    }
    if purpose.terms.since.is_some() && spec.change.gate != ChangeGate::Publication {
        change("without since", &mut |own| own.terms.since = None);
    }
    if !purpose.collects.required.is_empty() {
        change("without required", &mut |own| own.collects.required.clear());
    }
    if purpose.collects.source.is_some() {
        change("without source", &mut |own| own.collects.source = None);
    }
    // A category that is shown less than clear, or not at all, shown clear: some caller of it must be tested to see less.
    for category in &spec.categories {
        let level = said(&purpose.reveal, &category.name).map_or(Level::Absent, |said| said.level);
        if level == Level::Clear || closed(spec, purpose, &category.name) {
            continue;
        }
        change(&format!("with {} clear", category.name), &mut |own| {
            own.reveal.retain(|(name, ..)| *name != category.name);
            own.reveal.push((category.name.clone(), Level::Clear, 0));
        });
    }
}

/// True if what else there is keeps the category from every caller of the purpose, so that showing it there shows nobody anything.
fn closed(spec: &PolicySpec, purpose: &PurposeSpec, category: &CategoryName) -> bool {
    let at_most = |list: &LevelList| said(list, category).is_some_and(|said| said.level == Level::Absent);
    let limited =
        spec.limits.iter().any(|limit| limit.is_unconditional() && limit.covers(&purpose.name) && at_most(&limit.at_most));
    let capped =
        |caller: &CallerName| spec.recipients.iter().any(|recipient| recipient.name == *caller && at_most(&recipient.at_most));
    limited || purpose.callers.iter().all(capped)
}

fn without_purpose(spec: &mut PolicySpec, at: usize, name: &PurposeName) {
    spec.purposes.remove(at);
    // A limit on this purpose only is gone with it.
    spec.limits.retain(|limit| limit.purposes.is_empty() || limit.purposes.iter().any(|(other, _)| other != name));
    for limit in &mut spec.limits {
        limit.purposes.retain(|(named, _)| named != name);
        limit.except.retain(|(named, _)| named != name);
    }
}

fn without_category(spec: &mut PolicySpec, name: &CategoryName) {
    spec.categories.retain(|category| category.name != *name);
    let other = |listed: &CategoryName| listed != name || listed.as_str() == EVERY;
    for purpose in &mut spec.purposes {
        purpose.reveal.retain(|(listed, ..)| other(listed));
        purpose.search.retain(other);
        purpose.collects.required.retain(other);
        if let Some(writes) = &mut purpose.writes {
            writes.retain(other);
        }
    }
    for recipient in &mut spec.recipients {
        recipient.at_most.retain(|(listed, ..)| other(listed));
    }
    for limit in &mut spec.limits {
        limit.at_most.retain(|(listed, ..)| other(listed));
    }
    for exception in &mut spec.exceptions {
        exception.reveal.retain(|(listed, ..)| other(listed));
    }
    for never in &mut spec.nevers {
        never.categories.retain(other);
    }
    // A never that named only this category would name everything.
    spec.nevers.retain(|never| !(never.categories.is_empty() && never.purposes.is_empty() && never.recipients.is_empty()));
}
