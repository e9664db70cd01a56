//! What a `[[test]]` of the policy asks and expects, as the file says it; part of [`super::PolicySpec`].

use super::rules::Always;
use super::spec::{LevelList, Line};
use crate::base::{CallerName, CategoryName, PurposeName};

/// One `[[test]]`.
#[derive(Debug, Clone, Default)]
pub struct TestSpec {
    /// What it shows, in words.
    pub name: String,
    /// Where it stands.
    pub line: Line,
    /// The question; None: it only looks at what is always and never.
    pub ask: Option<Ask>,
    /// The levels that must come out; a category not listed is not looked at.
    pub expect: LevelList,
    /// Exactly the categories by which it may search; None: not looked at.
    pub search: Option<Vec<CategoryName>>,
    /// Exactly the categories it may store; None: not looked at.
    pub writes: Option<Vec<CategoryName>>,
    /// Exactly the categories without which nothing new is stored; None: not looked at.
    pub required: Option<Vec<CategoryName>>,
    /// Within what its pseudonyms are the same; None: not looked at.
    pub scope: Option<String>,
    /// Where what it stores comes from; None: not looked at.
    pub source: Option<String>,
    /// What must be promised for everything.
    pub always: Vec<Always>,
    /// What a `never` must forbid.
    pub forbidden: Option<Forbidden>,
}

/// Who asks for what.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who asks.
    pub caller: CallerName,
    /// For a purpose, or under an exception.
    pub under: Under,
    /// What holds of the data subject.
    pub facts: Vec<(String, Line)>,
    /// The data subject's age in years; facts of `[age]` follow from it.
    pub age: Option<u8>,
}

/// What the question is asked under.
#[derive(Debug, Clone)]
pub enum Under {
    /// A purpose; `holds`: the categories that the reply has, None for all.
    Purpose {
        /// Its name.
        purpose: PurposeName,
        /// What stands in the reply.
        holds: Option<Vec<CategoryName>>,
    },
    /// An exception, as it was approved.
    Exception {
        /// Its name.
        exception: String,
        /// What it was approved for.
        categories: Vec<CategoryName>,
        /// What is on record.
        evidence: Vec<String>,
        /// How many have agreed.
        approvers: u8,
        /// Hours since.
        hours: u32,
    },
}

/// Something that must not be possible: a purpose of this kind, for a recipient of this kind, that shows this category.
#[derive(Debug, Clone, Default)]
pub struct Forbidden {
    /// DPV id of the purpose.
    pub purpose: Option<String>,
    /// Kind of the recipient.
    pub recipient: Option<String>,
    /// The category.
    pub category: Option<CategoryName>,
}
