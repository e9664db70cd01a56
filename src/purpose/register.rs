//! The register of a published policy: what its text promises, clause by clause, in our words, with the text pinned by its hash.
//!
//! `config` reads it from `clauses.toml` beside the policy; [`super::cover`] holds the policy against it.

use super::spec::Line;

/// The whole register.
#[derive(Debug, Clone, Default)]
pub struct Register {
    /// What the document is called.
    pub title: String,
    /// The file that holds its text, as written; relative to the register.
    pub file: String,
    /// SHA-256 of that file, in hex.
    pub sha256: String,
    /// Clauses that say how long data are kept.
    pub retention: Vec<String>,
    /// Clauses that say whom to turn to.
    pub contact: Vec<String>,
    /// Every clause, in the order of the file.
    pub clauses: Vec<ClauseSpec>,
    /// What the owner of the text must rule on.
    pub questions: Vec<Question>,
}

impl Register {
    /// The clause of that id.
    pub fn clause(&self, id: &str) -> Option<&ClauseSpec> {
        self.clauses.iter().find(|clause| clause.id == id)
    }
}

/// One clause.
#[derive(Debug, Clone)]
pub struct ClauseSpec {
    /// `003-21`.
    pub id: String,
    /// Where it stands.
    pub line: Line,
    /// Where it stands in the published text.
    pub section: String,
    /// What it is.
    pub kind: ClauseKind,
    /// How it can be kept.
    pub class: Class,
    /// What it says, in our words.
    pub says: String,
    /// What of it this release cannot keep.
    pub waits_for: Vec<Later>,
    /// For what no rule keeps: the report or the evidence that shows it.
    pub shown_by: Option<String>,
}

/// What a clause is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClauseKind {
    /// Something is promised.
    Promise,
    /// Something is told: a purpose, a practice.
    Fact,
    /// Something opens a promise.
    Exception,
    /// The firm keeps a right to itself.
    Right,
    /// Something is asked of the customer.
    Duty,
    /// A word is defined.
    Definition,
}

/// How a clause can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// By a rule.
    Rule,
    /// By a report.
    Report,
    /// By people.
    Organisational,
}

/// What this release cannot keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    /// Retention, inactivity, holds.
    Retention,
    /// Access, rectification, restriction, explanation, deadlines.
    Rights,
    /// Erasure.
    Erasure,
    /// Breach scope and notices.
    Breach,
    /// Transfer of the business.
    Transfer,
    /// Requests and complaints.
    Intake,
    /// Derived data.
    Derived,
}

impl Later {
    /// Every word.
    pub const ALL: [Self; 7] =
        [Self::Retention, Self::Rights, Self::Erasure, Self::Breach, Self::Transfer, Self::Intake, Self::Derived];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Rights => "rights",
            Self::Erasure => "erasure",
            Self::Breach => "breach",
            Self::Transfer => "transfer",
            Self::Intake => "intake",
            Self::Derived => "derived-data",
        }
    }
}

/// A contradiction, a damaged sentence, a gap: what the owner of the text must rule on.
#[derive(Debug, Clone)]
pub struct Question {
    /// Where it stands.
    pub line: Line,
    /// Which clauses it is about.
    pub clauses: Vec<String>,
    /// What is open.
    pub asks: String,
    /// What was ruled; None: nothing yet.
    pub decided: Option<String>,
}
