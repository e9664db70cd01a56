//! A request made of what an operator asks for: everything that is wrong with it at once, against the policy in force.

use std::collections::{BTreeMap, BTreeSet};

use super::ExceptionError;
use super::text::{Asked, MAX_SUBJECTS, Request, VALID_MS, is_plain};
use crate::base::{CallerName, CategoryName, RecordId};
use crate::crypto;
use crate::keys::KeyError;
use crate::purpose::{Opening, Opens, Policy, Tell};

/// What an operator asks for.
#[derive(Clone)]
pub struct Wish {
    /// Whose data.
    pub controller: String,
    /// The exception's name in the policy.
    pub exception: String,
    /// Who is to use it.
    pub caller: String,
    /// In which collection.
    pub collection: String,
    /// Which categories.
    pub categories: Vec<String>,
    /// Of whom.
    pub subjects: Vec<String>,
    /// Each word of evidence with its text.
    pub evidence: BTreeMap<String, String>,
    /// For how long; None: as long as the policy lets it.
    pub hours: Option<u32>,
    /// The operator who asks.
    pub asked_by: String,
}

/// Without the people and the evidence.
impl std::fmt::Debug for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wish").field("exception", &self.exception).finish_non_exhaustive()
    }
}

impl Wish {
    /// The request, if the policy has such an exception.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn write(self, policy: &Policy, collections: &[&str], now: u64) -> Result<Asked, Vec<ExceptionError>> {
        let rule = policy.exception(&self.exception);
        let (ttl, approvers) = rule.map_or((1, 1), |rule| (rule.ttl_hours, rule.approvers));
        let (opens, tell) = rule.map_or((Opens::Disclosure, Tell::Before), |rule| (rule.opens, rule.tell_subject));
        let request = Request {
            controller: self.controller,
            policy: policy.id().to_owned(),
            policy_version: policy.version(),
            exception: self.exception,
            caller: self.caller,
            collection: self.collection,
            categories: self.categories,
            subjects: self.subjects,
            evidence: self.evidence,
            hours: self.hours.unwrap_or(ttl),
            approvers,
            opens,
            tell_subject: tell,
            asked_by: self.asked_by,
            made: now,
            expires: now.saturating_add(VALID_MS),
            ..Request::blank()
        };
        let wrong = request.against(policy, collections);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let nonce = crypto::random().map_err(|error| vec![ExceptionError::Keys(KeyError::from(error))])?;
        Asked::new(&request.with_nonce(nonce)).map_err(|error| vec![error])
    }
}

impl Request {
    /// Everything in which it is not an exception of this policy.
    pub(super) fn against(&self, policy: &Policy, collections: &[&str]) -> Vec<ExceptionError> {
        let mut wrong = Vec::new();
        let Some(rule) = policy.exception(&self.exception) else {
            let known: Vec<&str> = policy.spec().exceptions.iter().map(|rule| rule.name.as_str()).collect();
            return vec![ExceptionError::NoSuchException { name: self.exception.clone(), known: list(&known) }];
        };
        let name = || self.exception.clone();
        let caller = CallerName::new(&self.caller);
        if !rule.callers.contains(&caller) {
            let known: Vec<&str> = rule.callers.iter().map(CallerName::as_str).collect();
            wrong.push(ExceptionError::NotTheirs { exception: name(), caller: self.caller.clone(), known: list(&known) });
        }
        if !collections.contains(&self.collection.as_str()) {
            wrong.push(ExceptionError::NoSuchCollection { name: self.collection.clone(), known: list(collections) });
        }
        let missing: Vec<&str> =
            rule.evidence.iter().filter(|word| !self.evidence.contains_key(*word)).map(String::as_str).collect();
        if !missing.is_empty() {
            wrong.push(ExceptionError::Evidence { exception: name(), missing: missing.join(", ") });
        }
        for (word, text) in &self.evidence {
            if !rule.evidence.contains(word) {
                wrong.push(ExceptionError::NotEvidence {
                    exception: name(),
                    word: word.clone(),
                    known: rule.evidence.join(", "),
                });
            } else if !is_plain(text) {
                wrong.push(ExceptionError::EvidenceText(word.clone()));
            }
        }
        if self.hours == 0 || self.hours > rule.ttl_hours {
            wrong.push(ExceptionError::Hours { exception: name(), asked: self.hours, most: rule.ttl_hours });
        }
        if self.approvers < rule.approvers || (self.opens, self.tell_subject) != (rule.opens, rule.tell_subject) {
            wrong.push(ExceptionError::PolicyChanged(name()));
        }
        self.people(&mut wrong);
        self.opened(policy, &caller, &mut wrong);
        wrong
    }

    fn people(&self, wrong: &mut Vec<ExceptionError>) {
        if self.subjects.is_empty() {
            wrong.push(ExceptionError::NoSubject);
        }
        if self.subjects.len() > MAX_SUBJECTS {
            wrong.push(ExceptionError::ManySubjects(self.subjects.len()));
        }
        let bad = self.subjects.iter().position(|id| RecordId::from_text(id).is_err());
        wrong.extend(bad.map(|at| ExceptionError::BadSubject(at + 1)));
        for (what, all) in [("subject", &self.subjects), ("category", &self.categories)] {
            if all.iter().collect::<BTreeSet<_>>().len() < all.len() {
                wrong.push(ExceptionError::Twice(what));
            }
        }
    }

    /// Categories that it would not open.
    fn opened(&self, policy: &Policy, caller: &CallerName, wrong: &mut Vec<ExceptionError>) {
        if self.categories.is_empty() {
            wrong.push(ExceptionError::NoCategory);
        }
        let words: Vec<String> = self.evidence.keys().cloned().collect();
        let categories: Vec<CategoryName> = self.category_names();
        let opening = Opening {
            caller,
            exception: &self.exception,
            categories: &categories,
            evidence: &words,
            approvers: self.approvers,
            hours: self.hours,
        };
        // What else is wrong has been said.
        let opened = policy.open(&opening).ok();
        for category in &self.categories {
            match (policy.category(category), &opened) {
                (None, _) => {
                    let known: Vec<&str> = policy.categories().iter().map(|known| known.name.as_str()).collect();
                    wrong.push(ExceptionError::NoSuchCategory { name: category.clone(), known: known.join(", ") });
                }
                (Some(id), Some(opened)) if opened.level(id) == crate::purpose::Level::Absent && !opened.may_collect(id) => {
                    wrong.push(ExceptionError::NotOpened { exception: self.exception.clone(), category: category.clone() });
                }
                (Some(_), _) => {}
            }
        }
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
