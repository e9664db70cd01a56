//! One thing that is recorded of a data subject, or of an exception.
//!
//! Always holds: `Debug` shows neither whom it is about nor what it rests on (T13); what this release does not know does not read. Made by
//! `posted`; stored by `row` (`docs/format.md`); applied by `people` and `exception`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::exception::Step;
use crate::base::RecordId;
use crate::crypto::sha256_of;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Chosen by who records it, so that sending it again changes nothing.
    pub id: String,
    /// When it was said or became so, in milliseconds since 1970. 0 until it is placed: then it is now.
    pub at: u64,
    /// Who records it.
    pub by: Recorder,
    /// What.
    pub what: What,
}

/// Who records an entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recorder {
    /// A caller of the configuration.
    Caller(String),
    /// A person, by hand.
    Operator(String),
}

/// What is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// A yes or a no to a purpose or a recipient. Withdrawing is saying no.
    Choice {
        /// Who chose.
        subject: Subject,
        /// What about.
        about: About,
        /// Yes or no.
        says: Says,
        /// What it rests on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
    },
    /// Whether somebody is under each of the ages that the policy asks about. No date of birth is kept.
    Age {
        /// Whose.
        subject: Subject,
        /// One for each.
        under: Vec<Under>,
        /// What it rests on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
    },
    /// A fact that the policy declares begins to hold, or ceases to.
    Fact {
        /// Of whom.
        subject: Subject,
        /// Its name in the policy.
        name: String,
        /// It holds.
        holds: bool,
        /// Until then, in milliseconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
        /// What it rests on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
    },
    /// Somebody was told of a version of the policy, and so of all before it.
    Told {
        /// Who.
        subject: Subject,
        /// Of which.
        version: u64,
        /// What it rests on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
    },
    /// Somebody accepted a version of the policy, and so was told of it.
    Accepted {
        /// Who.
        subject: Subject,
        /// Which.
        version: u64,
        /// What it rests on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
    },
    /// A step in the life of an exception.
    Exception {
        /// Which.
        step: Box<Step>,
    },
}

/// What a choice is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// A purpose, by its name.
    Purpose(String),
    /// A recipient, by the name of the caller.
    Recipient(String),
}

/// A choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// Yes.
    Given,
    /// No.
    Refused,
}

/// Whether somebody is younger than so many years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Under {
    /// So many.
    pub years: u8,
    /// They are until then, in milliseconds since 1970; none: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

/// Whom an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(pub RecordId);

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        RecordId::from_text(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// What an entry rests on, in words: a form, a letter, a check box and where it stood. May be personal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Evidence(pub String);

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evidence({} bytes)", self.0.len())
    }
}

impl Recorder {
    /// Their name.
    pub fn name(&self) -> &str {
        match self {
            Self::Caller(name) | Self::Operator(name) => name,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Caller(_) => "caller",
            Self::Operator(_) => "operator",
        }
    }
}

impl What {
    /// Whom it is about; none for a step of an exception, which may be about several.
    pub fn subject(&self) -> Option<&RecordId> {
        match self {
            Self::Choice { subject, .. }
            | Self::Age { subject, .. }
            | Self::Fact { subject, .. }
            | Self::Told { subject, .. }
            | Self::Accepted { subject, .. } => Some(&subject.0),
            Self::Exception { .. } => None,
        }
    }

    /// In a few words, without whom it is about: for the audit log and for people.
    pub fn says(&self) -> String {
        let about = |about: &About| match about {
            About::Purpose(name) => name.clone(),
            About::Recipient(name) => format!("recipient {name}"),
        };
        match self {
            Self::Choice { about: to, says: Says::Given, .. } => format!("consent to {}", about(to)),
            Self::Choice { about: to, says: Says::Refused, .. } => format!("refusal of {}", about(to)),
            Self::Age { .. } => "age".to_owned(),
            Self::Fact { name, holds: true, .. } => name.clone(),
            Self::Fact { name, holds: false, .. } => format!("no {name}"),
            Self::Told { version, .. } => format!("told of version {version}"),
            Self::Accepted { version, .. } => format!("acceptance of version {version}"),
            Self::Exception { .. } => "exception".to_owned(),
        }
    }
}

impl Entry {
    /// Under what it is found again: who records, and their id for it.
    pub(super) fn place(&self) -> [u8; 16] {
        let digest = sha256_of(&[&crate::base::enc(&[self.by.kind().as_bytes(), self.by.name().as_bytes(), self.id.as_bytes()])]);
        digest.first_chunk().copied().unwrap_or_default()
    }

    /// Tells another entry under the same id from this one sent again, whatever the time it says.
    pub(super) fn fingerprint(&self) -> u64 {
        let text = serde_json::to_vec(&self.what).unwrap_or_default();
        sha256_of(&[&text]).first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}
