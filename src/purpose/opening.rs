//! What an approved exception opens: for categories and a data subject that were named, on evidence, for a time.
//!
//! Always holds (property test): what a `never` closes stays closed; an exception that is not approved as the policy says opens nothing; one
//! that lets values be collected shows none. Limits and recipients' caps do not bind it: it is asked for where they stand in the way.

use super::check::forbids;
use super::policy::{Policy, said};
use super::rules::{ExceptionSpec, Opens};
use super::{CategoryId, Level};
use crate::base::{CallerName, CategoryName};

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

    pub(super) fn exception(&self, name: &str) -> Option<&ExceptionSpec> {
        self.spec.exceptions.iter().find(|exception| exception.name == name)
    }
}
