//! What operators sign: the request for an exception, and notes on one.
//!
//! Always holds: a text says everything that it is about, and is kept byte for byte; an exception is known by the hash of its request, so
//! that an id stands for these people and these categories for ever. A text is personal (it names people), and is kept sealed in the ledger.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ExceptionError;
use crate::base::{CategoryName, ExceptionId, RecordId};
use crate::crypto;
use crate::keys::spelled;
use crate::purpose::{Opens, Tell};

const REQUEST: &str = "sudare-exception-request/1";
const NOTE: &str = "sudare-exception-note/1";
/// Longest text that is read.
pub(super) const MAX_BYTES: usize = 64 << 10;
/// For how long a request may be agreed to.
pub(super) const VALID_MS: u64 = 7 * 24 * 3_600_000;
/// Most people whom one exception names.
pub(super) const MAX_SUBJECTS: usize = 500;
/// Longest word of evidence, and longest reason.
pub(super) const MAX_WORDS: usize = 1000;

/// An exception that is asked for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub(super) format: String,
    /// Whose data.
    pub controller: String,
    /// The policy it was asked for under.
    pub policy: String,
    /// Its version.
    pub policy_version: u64,
    /// The exception's name in the policy.
    pub exception: String,
    /// Who may use it.
    pub caller: String,
    /// In which collection.
    pub collection: String,
    /// Which categories.
    pub categories: Vec<String>,
    /// Of whom: their ids as they stand in documents.
    pub subjects: Vec<String>,
    /// Each word that the policy demands, with what is on record for it.
    pub evidence: BTreeMap<String, String>,
    /// For how long, once it is open.
    pub hours: u32,
    /// How many others must agree.
    pub approvers: u8,
    /// Whether values are shown, or stored without the people's agreement.
    #[serde(serialize_with = "opens_to_text", deserialize_with = "opens_from_text")]
    pub opens: Opens,
    /// When those people are told.
    #[serde(serialize_with = "tell_to_text", deserialize_with = "tell_from_text")]
    pub tell_subject: Tell,
    /// The operator who asks.
    pub asked_by: String,
    /// When, in milliseconds since 1970.
    #[serde(with = "spelled::time")]
    pub made: u64,
    /// When it has to be agreed to.
    #[serde(with = "spelled::time")]
    pub expires: u64,
    /// Random, so that no two requests are alike and nobody guesses an id.
    #[serde(with = "spelled::bytes")]
    pub(super) nonce: [u8; 16],
}

/// Without the people and the evidence.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { exception, caller, collection, categories, hours, .. } = self;
        f.debug_struct("Request")
            .field("exception", exception)
            .field("caller", caller)
            .field("collection", collection)
            .field("categories", categories)
            .field("subjects", &self.subjects.len())
            .field("hours", hours)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// Nothing asked yet.
    pub(super) fn blank() -> Self {
        let none = String::new;
        Self {
            format: REQUEST.to_owned(),
            controller: none(),
            policy: none(),
            policy_version: 0,
            exception: none(),
            caller: none(),
            collection: none(),
            categories: Vec::new(),
            subjects: Vec::new(),
            evidence: BTreeMap::new(),
            hours: 0,
            approvers: 0,
            opens: Opens::Disclosure,
            tell_subject: Tell::Before,
            asked_by: none(),
            made: 0,
            expires: 0,
            nonce: [0; 16],
        }
    }

    pub(super) fn with_nonce(self, nonce: [u8; 16]) -> Self {
        Self { nonce, ..self }
    }

    /// The categories.
    pub fn category_names(&self) -> Vec<CategoryName> {
        self.categories.iter().map(|name| CategoryName::new(name)).collect()
    }

    /// The people.
    pub fn record_ids(&self) -> Vec<RecordId> {
        self.subjects.iter().filter_map(|id| RecordId::from_text(id).ok()).collect()
    }

    /// How long it is open, in milliseconds.
    pub(super) fn open_ms(&self) -> u64 {
        u64::from(self.hours).saturating_mul(3_600_000)
    }

    fn is_sound(&self) -> bool {
        let once = |list: &[String]| list.iter().collect::<BTreeSet<_>>().len() == list.len() && !list.is_empty();
        self.format == REQUEST
            && once(&self.categories)
            && once(&self.subjects)
            && self.subjects.len() <= MAX_SUBJECTS
            && self.record_ids().len() == self.subjects.len()
            && !self.evidence.is_empty()
            && self.evidence.values().all(|text| is_plain(text))
            && self.hours > 0
            && self.approvers > 0
            && self.made < self.expires
            && self.expires - self.made <= VALID_MS
    }
}

/// Text that a person can read in one line.
pub(super) fn is_plain(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_WORDS && !text.chars().any(char::is_control)
}

/// A request with the bytes it was read from.
#[derive(Clone, PartialEq, Eq)]
pub struct Asked {
    /// What it says.
    pub request: Request,
    /// The very text, which is what is signed.
    pub text: String,
    /// What it is known by.
    pub id: ExceptionId,
}

/// Without the text, which names people.
impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").field("request", &self.request).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Asked {
    pub(super) fn new(request: &Request) -> Result<Self, ExceptionError> {
        let text = serde_json::to_string_pretty(request).map_err(|_never| ExceptionError::NotARequest)? + "\n";
        Self::read(text.as_bytes())
    }

    /// Reads a request. Nothing in it is proved by that.
    ///
    /// # Errors
    ///
    /// [`ExceptionError::NotARequest`].
    pub fn read(bytes: &[u8]) -> Result<Self, ExceptionError> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_BYTES).ok_or(ExceptionError::NotARequest)?;
        let request: Request = serde_json::from_str(text).map_err(|_other| ExceptionError::NotARequest)?;
        let id = id_of(text).filter(|_| request.is_sound()).ok_or(ExceptionError::NotARequest)?;
        Ok(Self { request, text: text.to_owned(), id })
    }
}

/// The id of the request with this text.
fn id_of(text: &str) -> Option<ExceptionId> {
    let hash = crypto::sha256(text.as_bytes());
    let first: &[u8; 16] = hash.first_chunk()?;
    format!("{}{}", ExceptionId::PREFIX, crypto::base32_crockford(first)).parse().ok()
}

/// The SHA-256 of a text, in hex.
pub(super) fn hash(text: &str) -> String {
    HEXLOWER.encode(&crypto::sha256(text.as_bytes()))
}

/// What a note says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It ends now.
    Revoke,
    /// The people whom it names were told of it; what was withheld is withheld no more.
    Told,
    /// Somebody looked at what was done under it.
    Review,
}

impl What {
    /// What is then done, in one word.
    pub fn done(self) -> &'static str {
        match self {
            Self::Revoke => "revoked",
            Self::Told => "told",
            Self::Review => "reviewed",
        }
    }
}

/// A note on an exception.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    format: String,
    /// Whose data.
    pub controller: String,
    /// On which.
    #[serde(with = "spelled::text")]
    pub exception: ExceptionId,
    /// What it says.
    pub what: What,
    /// Why, or how, in the operator's words.
    pub reason: String,
    /// The operator.
    pub by: String,
    /// When, in milliseconds since 1970.
    #[serde(with = "spelled::time")]
    pub made: u64,
}

/// Without the reason, which may say more than it should.
impl std::fmt::Debug for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Note").field("exception", &self.exception).field("what", &self.what).finish_non_exhaustive()
    }
}

/// A note with the bytes it was read from.
#[derive(Clone, PartialEq, Eq)]
pub struct Noted {
    /// What it says.
    pub note: Note,
    /// The very text, which is what is signed.
    pub text: String,
}

/// Without the text.
impl std::fmt::Debug for Noted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.note.fmt(f)
    }
}

impl Noted {
    /// Writes a note.
    ///
    /// # Errors
    ///
    /// [`ExceptionError::Reason`]: it is empty, too long, or of several lines.
    pub fn new(case: &super::Case, what: What, reason: &str, by: &str, now: u64) -> Result<Self, ExceptionError> {
        if !is_plain(reason) {
            return Err(ExceptionError::Reason);
        }
        let note = Note {
            format: NOTE.to_owned(),
            controller: case.request().controller.clone(),
            exception: case.id().clone(),
            what,
            reason: reason.trim().to_owned(),
            by: by.to_owned(),
            made: now,
        };
        let text = serde_json::to_string_pretty(&note).map_err(|_never| ExceptionError::NotANote)? + "\n";
        Ok(Self { note, text })
    }

    /// Reads a note. Nothing in it is proved by that.
    ///
    /// # Errors
    ///
    /// [`ExceptionError::NotANote`].
    pub fn read(bytes: &[u8]) -> Result<Self, ExceptionError> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_BYTES).ok_or(ExceptionError::NotANote)?;
        let note: Note = serde_json::from_str(text).map_err(|_other| ExceptionError::NotANote)?;
        if note.format != NOTE || !is_plain(&note.reason) {
            return Err(ExceptionError::NotANote);
        }
        Ok(Self { note, text: text.to_owned() })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn opens_to_text<S: Serializer>(opens: &Opens, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(opens.as_str())
}

fn opens_from_text<'d, D: Deserializer<'d>>(from: D) -> Result<Opens, D::Error> {
    let text = String::deserialize(from)?;
    let known = [Opens::Disclosure, Opens::Collection].into_iter().find(|opens| opens.as_str() == text);
    known.ok_or_else(|| serde::de::Error::custom("not disclosure or collection"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn tell_to_text<S: Serializer>(tell: &Tell, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(tell.as_str())
}

fn tell_from_text<'d, D: Deserializer<'d>>(from: D) -> Result<Tell, D::Error> {
    let text = String::deserialize(from)?;
    let known = [Tell::Before, Tell::After, Tell::Withheld].into_iter().find(|tell| tell.as_str() == text);
    known.ok_or_else(|| serde::de::Error::custom("not before, after or withheld"))
}
