//! What an approved exception opens: for categories and a data subject that were named, on evidence, for a time.
//!
//! Always holds (property test): what a `never` closes stays closed; an exception that is not approved as the policy says opens nothing; one
//! that lets values be collected shows none. Limits and recipients' caps do not bind it: it is asked for where they stand in the way.

use std::collections::HashSet;
use std::sync::Arc;

use super::check::forbids;
use super::facts::{FactId, Facts, Known};
use super::grant::{Cell, Grant, Rows, data_view};
use super::policy::{Policy, said};
use super::rows::{Conditions, Rules};
use super::rules::{ExceptionSpec, Opens};
use super::{CategoryId, Level};
use crate::base::{CallerName, CategoryName, ExceptionId, PurposeName, RecordId};

/// An exception as it was asked for and approved.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Who uses it.
    pub caller: &'a CallerName,
    /// Which one.
    pub exception: &'a str,
    /// What it was approved for.
    pub categories: &'a [CategoryName],
    /// What is on record.
    pub evidence: &'a [String],
    /// How many others have agreed.
    pub approvers: u8,
    /// Hours since.
    pub hours: u32,
}

/// What it opens. By [`CategoryId`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    levels: Box<[Level]>,
    collects: Box<[bool]>,
}

impl Opened {
    /// The level of a category; Absent for one that was not named.
    pub fn level(&self, category: CategoryId) -> Level {
        self.levels.get(usize::from(category.0)).copied().unwrap_or(Level::Absent)
    }

    /// May values of the category be collected without the data subject's agreement?
    pub fn may_collect(&self, category: CategoryId) -> bool {
        self.collects.get(usize::from(category.0)).copied().unwrap_or(false)
    }
}

/// The data subjects whom an exception names: they alone are known in a grant of [`Policy::decide_exception`].
#[derive(Debug, Clone, Default)]
pub struct Named(HashSet<RecordId>);

impl Named {
    /// These.
    pub fn new(subjects: impl IntoIterator<Item = RecordId>) -> Self {
        Self(subjects.into_iter().collect())
    }
}

impl Known for Named {
    fn facts(&self, subject: Option<&RecordId>) -> Facts {
        if subject.is_some_and(|subject| self.0.contains(subject)) { Facts::NONE.with(FactId::NAMED) } else { Facts::NONE }
    }
}

/// Why it opens nothing. `Display` names rules and words of the policy, never what is on record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StaysClosed {
    /// There is none of that name.
    #[error("there is no exception {0}")]
    Unknown(String),
    /// Of somebody else.
    #[error("exception {exception} is not for {caller}")]
    NotTheirs {
        /// Which.
        exception: String,
        /// Who asked.
        caller: CallerName,
    },
    /// Something is not on record.
    #[error("exception {exception} needs {missing} on record")]
    Evidence {
        /// Which.
        exception: String,
        /// The first that is missing.
        missing: String,
    },
    /// Too few have agreed.
    #[error("exception {exception} needs {needed} who agree, and has {have}")]
    Approvers {
        /// Which.
        exception: String,
        /// How many.
        needed: u8,
        /// How many have.
        have: u8,
    },
    /// It was for a time.
    #[error("exception {exception} is over: it is for {hours} h")]
    Over {
        /// Which.
        exception: String,
        /// For how long.
        hours: u32,
    },
}

impl Policy {
    /// What an exception opens, as it was approved.
    ///
    /// # Errors
    ///
    /// [`StaysClosed`], for the first reason that there is.
    pub fn open(&self, opening: &Opening<'_>) -> Result<Opened, StaysClosed> {
        let name = || opening.exception.to_owned();
        let found = self.exception(opening.exception).ok_or_else(|| StaysClosed::Unknown(name()))?;
        if !found.callers.contains(opening.caller) {
            return Err(StaysClosed::NotTheirs { exception: name(), caller: opening.caller.clone() });
        }
        if let Some(missing) = found.evidence.iter().find(|word| !opening.evidence.contains(word)) {
            return Err(StaysClosed::Evidence { exception: name(), missing: missing.clone() });
        }
        if opening.approvers < found.approvers {
            return Err(StaysClosed::Approvers { exception: name(), needed: found.approvers, have: opening.approvers });
        }
        if opening.hours > found.ttl_hours {
            return Err(StaysClosed::Over { exception: name(), hours: found.ttl_hours });
        }
        let kind = self.recipient(opening.caller).map(|recipient| recipient.kind.as_str());
        let levels: Box<[Level]> = self
            .categories()
            .iter()
            .map(|category| {
                // The checks refuse such a policy; a never holds whoever made the policy.
                let closed =
                    self.spec.nevers.iter().any(|never| forbids(never, found.dpv.as_deref(), kind, Some(&category.name)));
                let level = said(&found.reveal, &category.name).map_or(Level::Absent, |said| said.level);
                if closed || !opening.categories.contains(&category.name) { Level::Absent } else { level }
            })
            .collect();
        let none = |_level: &Level| false;
        Ok(match found.opens {
            Opens::Disclosure => Opened { collects: levels.iter().map(none).collect(), levels },
            Opens::Collection => Opened {
                collects: levels.iter().map(|level| *level != Level::Absent).collect(),
                levels: levels.iter().map(|_level| Level::Absent).collect(),
            },
        })
    }

    /// The grant of an exception, as it was approved under this id. Every row is closed, but for those whom a [`Named`] knows. It is used in
    /// place of a purpose, and no rule of a purpose is in it; nothing is searched by or removed, and nothing written but what is collected.
    ///
    /// # Errors
    ///
    /// As [`Policy::open`].
    pub fn decide_exception(&self, id: &ExceptionId, opening: &Opening<'_>, now_ms: u64) -> Result<Grant, StaysClosed> {
        let Opened { levels, collects } = self.open(opening)?;
        let opens = self.exception(opening.exception).map(|found| found.opens).unwrap_or_default();
        let rules = Rules::of_exception(&levels, &collects);
        let name_of = |at: usize| self.categories().get(at).map(|category| category.name.to_string());
        let purpose = PurposeName::new(opening.exception);
        let data_view = data_view(&purpose, Some(id), &levels, Rows::MayDiffer, name_of);
        let cell = Cell {
            caller: opening.caller.clone(),
            row: rules.floor(),
            required: Box::default(),
            conditions: Conditions::of(rules),
            scope: Box::from(self.scope_of(opening.exception, opening.caller)),
            data_view,
            exception: Some((id.clone(), opens)),
            purpose,
        };
        Ok(Grant::new(Arc::new(cell), now_ms))
    }

    /// Scopes in which an exception may show a pseudonym.
    pub(super) fn pseudonym_scopes_of<'p>(&'p self, exception: &'p ExceptionSpec) -> impl Iterator<Item = &'p str> {
        let shows =
            exception.opens == Opens::Disclosure && exception.reveal.iter().any(|(_, level, _)| *level == Level::Pseudonym);
        exception.callers.iter().filter(move |_| shows).map(|caller| self.scope_of(&exception.name, caller))
    }

    /// The recipient's name, where the caller is one.
    fn scope_of<'p>(&'p self, exception: &'p str, caller: &CallerName) -> &'p str {
        self.recipient(caller).map_or(exception, |recipient| recipient.name.as_str())
    }

    /// What the policy says of an exception.
    pub fn exception(&self, name: &str) -> Option<&ExceptionSpec> {
        self.spec.exceptions.iter().find(|exception| exception.name == name)
    }
}
