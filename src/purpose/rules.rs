//! What a policy narrows, forbids, promises for everything, and opens, as the file says it; part of [`super::PolicySpec`].
//!
//! Always holds: nothing here opens anything but an [`ExceptionSpec`], and that only for a data subject and categories that were approved.

use super::spec::{LevelList, Line};
use crate::base::{CallerName, CategoryName, PurposeName};

/// What must be so of a data subject before a purpose or a recipient gets anything of theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// `consent`.
    pub consent: Consent,
    /// Where `consent` stands; 0 if it is not given.
    pub consent_line: Line,
    /// `needs`: facts that must all hold, and where each stands.
    pub needs: Vec<(String, Line)>,
    /// `since`: the policy version that brought the purpose, and where that stands.
    pub since: Option<(u64, Line)>,
}

impl Terms {
    /// True if nothing is asked of the data subject.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether the data subject is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Consent {
    /// Nobody is asked.
    #[default]
    None,
    /// Nothing before they said yes.
    OptIn,
    /// Everything until they said no.
    OptOut,
}

impl Consent {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OptIn => "opt-in",
            Self::OptOut => "opt-out",
        }
    }
}

/// What a purpose takes in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collects {
    /// Categories without which no new document is stored.
    pub required: Vec<CategoryName>,
    /// Where `required` stands; 0 if it is not given.
    pub required_line: Line,
    /// Where the values come from: `subject-form`, `device`, ...; for the reader, the tests and the reports.
    pub source: Option<String>,
}

/// Something that is known of a data subject, or not.
#[derive(Debug, Clone)]
pub struct FactSpec {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub line: Line,
    /// What is so when it holds, in a sentence.
    pub means: String,
}

/// A fact that follows from a data subject's age.
#[derive(Debug, Clone)]
pub struct AgeSpec {
    /// The name of the fact.
    pub name: String,
    /// Where it stands.
    pub line: Line,
    /// It holds of whoever is younger than this, in years.
    pub under: u8,
    /// The sentences of the published policy it serves.
    pub clauses: Vec<String>,
}

/// What a purpose that a later version added waits for, data subject by data subject.
#[derive(Debug, Clone, Default)]
pub struct ChangeSpec {
    /// `policy.change`.
    pub gate: ChangeGate,
    /// Where `change` stands; 0 if it is not given.
    pub line: Line,
    /// The sentences of the published policy it serves.
    pub clauses: Vec<String>,
}

/// What a new purpose waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ChangeGate {
    /// Their consent to it. What holds where the file says nothing.
    #[default]
    Consent,
    /// That they were told of the version.
    Notice,
    /// Nothing: it holds from publication.
    Publication,
}

impl ChangeGate {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Notice => "notice",
            Self::Publication => "publication",
        }
    }
}

/// A rule that narrows.
#[derive(Debug, Clone, Default)]
pub struct LimitSpec {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub line: Line,
    /// It applies where any of these facts holds; none: always.
    pub when: Vec<(String, Line)>,
    /// It does not apply where any of these facts holds.
    pub unless: Vec<(String, Line)>,
    /// Only for these purposes; none: for all.
    pub purposes: Vec<(PurposeName, Line)>,
    /// Not for these purposes.
    pub except: Vec<(PurposeName, Line)>,
    /// The most that is seen of a category. What is absent here is not stored and not searched by either.
    pub at_most: LevelList,
    /// The sentences of the published policy it serves.
    pub clauses: Vec<String>,
}

impl LimitSpec {
    /// True if it speaks of the purpose at all.
    pub fn covers(&self, purpose: &PurposeName) -> bool {
        let names = |list: &[(PurposeName, Line)]| list.iter().any(|(name, _)| name == purpose);
        (self.purposes.is_empty() || names(&self.purposes)) && !names(&self.except)
    }

    /// True if it applies whatever is known of the data subject.
    pub fn is_unconditional(&self) -> bool {
        self.when.is_empty() && self.unless.is_empty()
    }
}

/// What the policy promises never to do; a policy that would do it does not load. All that it names must come together.
#[derive(Debug, Clone, Default)]
pub struct NeverSpec {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub line: Line,
    /// DPV ids; no purpose or exception may be one of these or a kind of it.
    pub purposes: Vec<String>,
    /// Kinds of recipients.
    pub recipients: Vec<String>,
    /// Categories that are not shown.
    pub categories: Vec<CategoryName>,
    /// The sentences of the published policy it serves.
    pub clauses: Vec<String>,
}

/// A promise that holds for everything, whatever the purpose.
#[derive(Debug, Clone)]
pub struct AlwaysSpec {
    /// What is promised.
    pub what: Always,
    /// Where it stands.
    pub line: Line,
    /// The sentences of the published policy it serves.
    pub clauses: Vec<String>,
}

/// What can be promised for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Always {
    /// Who and what the policy does not list is refused.
    Closed,
    /// No value of a field is stored in clear.
    Encrypted,
    /// A value that was changed, or moved to another place, is not shown.
    Intact,
    /// Nothing listens and nothing connects in clear.
    Tls,
    /// Every caller proves who it is; the database's administrator reads nothing.
    Identified,
    /// Every value that leaves is recorded before it does.
    Recorded,
    /// What may not be shown is left out, and the rest is answered.
    Partial,
}

impl Always {
    /// Every word.
    pub const ALL: [Self; 7] =
        [Self::Closed, Self::Encrypted, Self::Intact, Self::Tls, Self::Identified, Self::Recorded, Self::Partial];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Encrypted => "encrypted",
            Self::Intact => "intact",
            Self::Tls => "tls",
            Self::Identified => "identified",
            Self::Recorded => "recorded",
            Self::Partial => "partial",
        }
    }

    /// What it promises, in a sentence.
    pub fn says(self) -> &'static str {
        match self {
            Self::Closed => "who and what is not listed is refused",
            Self::Encrypted => "no value of a field is stored in clear",
            Self::Intact => "a value that was changed or moved is not shown",
            Self::Tls => "nothing listens and nothing connects in clear",
            Self::Identified => "every caller proves who it is",
            Self::Recorded => "every value that leaves is recorded before it does",
            Self::Partial => "what may not be shown is left out, and the rest is answered",
        }
    }
}

/// What an exception opens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Opens {
    /// Values are shown.
    #[default]
    Disclosure,
    /// Values are stored without the data subject's agreement. Shows nothing.
    Collection,
}

impl Opens {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disclosure => "disclosure",
            Self::Collection => "collection",
        }
    }
}

/// When the data subject is told of an exception.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tell {
    /// Before anything is opened.
    Before,
    /// Once it is over.
    #[default]
    After,
    /// When somebody releases it.
    Withheld,
}

impl Tell {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Withheld => "withheld",
        }
    }
}

/// What opens, for data subjects and categories that are named and approved, for a time.
#[derive(Debug, Clone, Default)]
pub struct ExceptionSpec {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub line: Line,
    /// Disclosure or collection.
    pub opens: Opens,
    /// Its DPV id, for what is never done.
    pub dpv: Option<String>,
    /// Who may use it.
    pub callers: Vec<CallerName>,
    /// The most it shows; for a collection, what it may store (every level but absent). Not listed = absent.
    pub reveal: LevelList,
    /// What must be on record before it opens.
    pub evidence: Vec<String>,
    /// How many people must agree, none of them who asked.
    pub approvers: u8,
    /// For how long, in hours.
    pub ttl_hours: u32,
    /// When the data subject is told.
    pub tell_subject: Tell,
    /// The sentences of the published policy it serves.
    pub clauses: Vec<String>,
}
