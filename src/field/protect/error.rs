//! Why a write may not be stored as given, with the code that stands for it. Fit for the client: it names fields, categories and selectors,
//! never a value (T13). Made by everything in `field` that judges writes; `front` gives it a status.

use std::borrow::Cow;

use super::super::NotCanonical;
use super::super::plan::Field;
use super::super::reveal::RevealError;
use crate::base::limits::{MAX_PLAINTEXT_BYTES, MAX_TOKENISED_BYTES};
use crate::base::{CategoryName, FieldName, PurposeName, RecordIdError, RingName};
use crate::crypto::RandomError;
use crate::keys::KeyError;
use crate::purpose::Level;
use crate::vault::Misfit;

/// A write that may not be stored as given. `Display` is fit for the client: it names fields, categories and selectors, never a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The grant has no right to write the category.
    #[error("{}", not_writable(purpose, category, *level, why.as_deref()))]
    NotWritable {
        /// The purpose of the request.
        purpose: PurposeName,
        /// What it may not write.
        category: CategoryName,
        /// What it may read of it.
        level: Level,
        /// The rule about people that is in the way; None: the policy lets this purpose write it of nobody.
        why: Option<String>,
    },
    /// The grant has no right to remove documents.
    #[error("{}", delete_refused(purpose, why.as_deref()))]
    DeleteRefused {
        /// The purpose of the request.
        purpose: PurposeName,
        /// The rule about people that is in the way; None: the policy lets this purpose remove nothing.
        why: Option<String>,
    },
    /// A new document lacks what the purpose must have.
    #[error("{purpose} stores no new document without {}: send a value, not null", listed(categories))]
    CategoryRequired {
        /// The purpose of the request.
        purpose: PurposeName,
        /// All that is missing.
        categories: Vec<CategoryName>,
    },
    /// The field's ring is not held: its values are neither made nor removed here.
    #[error(
        "field {field}: this proxy is not given its key ring, {ring}, so a value is stored only as it was read, sealed, and none is removed; write through a proxy that is given it, or leave the value out of a whole document"
    )]
    RingNotHeld {
        /// Where.
        field: FieldName,
        /// Its ring.
        ring: RingName,
    },
    /// Replacing the document could lose what is stored.
    #[error("{purpose} {reason} {category}, so replacing the document could erase or overwrite what is stored there: {remedy}")]
    WouldErase {
        /// The purpose of the request.
        purpose: PurposeName,
        /// What would be lost.
        category: CategoryName,
        /// `may not write`, `does not see`, `sees a stand-in of`.
        reason: &'static str,
        /// What to do instead.
        remedy: Cow<'static, str>,
    },
    /// A form that readers are shown is not the real value, and it is not the form of the value that is stored here.
    #[error(
        "field {field}: this is a masked or generalised form or a pseudonym, and not the one of the value stored here; send the real value, or the form as it was read"
    )]
    MaskedValue {
        /// Where.
        field: FieldName,
    },
    /// An envelope that was not sealed for this very place.
    #[error(
        "field {field}: a text that begins with \"sdr1.\" is stored only if it is this document's own sealed value; send the clear value"
    )]
    ForeignEnvelope {
        /// Where.
        field: FieldName,
    },
    /// The member that says whose value it is changed under a value that stays (T35).
    #[error(
        "field {field}: its stored value is bound to {selector}, which this write changes; change it with a purpose that sees and writes the field in clear"
    )]
    SubjectChanged {
        /// What would no longer open.
        field: FieldName,
        /// What it is bound to.
        selector: String,
    },
    /// What is stored cannot be compared with, as it could not be read.
    #[error(transparent)]
    Stored(RevealError),
    /// Nobody says which document or data subject the values belong to.
    #[error("field {field} is bound to the {bind}, but {selector} is missing: {remedy}")]
    SubjectMissing {
        /// What could not be bound.
        field: FieldName,
        /// `document` or `data subject`.
        bind: &'static str,
        /// Where the id should stand.
        selector: String,
        /// What to do about it.
        remedy: Cow<'static, str>,
    },
    /// The id cannot be bound (T36).
    #[error("{selector}: {why}")]
    BadId {
        /// Where.
        selector: String,
        /// Why.
        why: RecordIdError,
    },
    /// URL and body name different documents.
    #[error("{selector} in the document is not the id in the URL: make them agree or leave the member out")]
    IdMismatch {
        /// Where in the body.
        selector: String,
    },
    /// Nothing in the body is a document.
    #[error("no document in this request: one JSON object is expected at {positions}")]
    NoRows {
        /// Where documents may stand.
        positions: String,
    },
    /// A value of another JSON type stands on the way to a protected one and would be stored in clear (T9).
    #[error(
        "field {field}: the JSON on the way to {selector} is of another type than the selector needs; its value would be stored in clear"
    )]
    Misfit {
        /// The field that could not be reached.
        field: FieldName,
        /// Its selector.
        selector: String,
    },
    /// A value over [`MAX_PLAINTEXT_BYTES`], or [`MAX_TOKENISED_BYTES`].
    #[error(
        "field {field}: the value is longer than {MAX_PLAINTEXT_BYTES} bytes of JSON, or {MAX_TOKENISED_BYTES} where it is stored as a token"
    )]
    TooLong {
        /// Where.
        field: FieldName,
    },
    /// A value that has no canonical text, for a field whose equal values are stored equal.
    #[error("field {field} is stored so that equal values are equal, and holds text and integers only: {why}")]
    NotCanonical {
        /// Where.
        field: FieldName,
        /// Why.
        why: NotCanonical,
    },
    /// A token, or what is kept for tokens, where no such one is stored.
    #[error("field {field}: this is a token, and not the one that is stored here; send the clear value")]
    ForeignToken {
        /// Where.
        field: FieldName,
    },
    /// A value that the field's tokens cannot stand for.
    #[error("field {field} is stored as a token of a format that this value has none in: {why}")]
    TokenFormat {
        /// Where.
        field: FieldName,
        /// What it lacks.
        why: Misfit,
    },
    /// The write wants tokens, and nobody made them yet. It is to be tried again with them; no client sees this.
    #[error("the write wants tokens that nobody made")]
    TokensWanted,
    /// A client sent a member that holds terms of a search index.
    #[error("the member {selector} is the search index of field {field}; Sudare alone writes it: leave it out")]
    IndexMember {
        /// Whose.
        field: FieldName,
        /// Where.
        selector: String,
    },
    /// A body that should carry no document has one.
    #[error("this route takes no documents, but the body has one")]
    UnexpectedDocument,
    /// The ring has no key to seal with.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Nothing can be sealed without randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// A patch that cannot be protected whatever is stored.
    #[error("field {field}: {why}")]
    PatchRefused {
        /// Which.
        field: FieldName,
        /// What was found and what works instead.
        why: &'static str,
    },
    /// Operations that are no JSON Patch.
    #[error("operation {number} of the JSON Patch: {why}")]
    Operation {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The layout is not this body's; a mistake of ours.
    #[error("the body's layout does not fit the body")]
    Layout,
}

impl WriteError {
    /// Of a field whose ring is not held.
    pub(in crate::field) fn not_held(field: &Field) -> Self {
        Self::RingNotHeld { field: field.name.clone(), ring: field.ring.clone() }
    }

    /// The stable code, an anchor of `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWritable { .. } => "not-writable",
            Self::DeleteRefused { .. } => "delete-refused",
            Self::CategoryRequired { .. } => "category-required",
            Self::WouldErase { .. } => "would-erase",
            Self::MaskedValue { .. } => "masked-value",
            Self::ForeignEnvelope { .. } => "foreign-envelope",
            Self::SubjectChanged { .. } => "subject-changed",
            Self::Stored(error) => error.code(),
            Self::SubjectMissing { .. } => "subject-missing",
            Self::BadId { .. } => "id-malformed",
            Self::IdMismatch { .. } => "id-mismatch",
            Self::NoRows { .. } => "no-document",
            Self::Misfit { .. } => "misfit",
            Self::TooLong { .. } => "value-too-long",
            Self::NotCanonical { .. } => "not-canonical",
            Self::ForeignToken { .. } => "foreign-token",
            Self::TokenFormat { .. } => "token-format",
            Self::IndexMember { .. } => "index-member",
            Self::UnexpectedDocument => "unexpected-document",
            Self::PatchRefused { .. } | Self::Operation { .. } => "patch-refused",
            Self::RingNotHeld { .. } => "ring-not-held",
            Self::Keys(error) => error.code(),
            Self::Random(_) => "randomness-unavailable",
            Self::TokensWanted | Self::Layout => "internal-error",
        }
    }
}

/// Why a purpose may not remove documents, or this one.
pub(crate) fn delete_refused(purpose: &PurposeName, why: Option<&str>) -> String {
    match why {
        Some(why) => format!("{purpose} may not delete this document: {why}"),
        None => format!("{purpose} may not delete documents; the policy allows it with `delete = true`"),
    }
}

fn listed(categories: &[CategoryName]) -> String {
    categories.iter().map(CategoryName::as_str).collect::<Vec<_>>().join(" and ")
}

fn not_writable(purpose: &PurposeName, category: &CategoryName, level: Level, why: Option<&str>) -> String {
    let what = match level {
        Level::Absent => format!("{purpose} may neither read nor write {category}"),
        Level::Sealed | Level::Pseudonym | Level::Generalised | Level::Masked | Level::Clear => {
            format!("{purpose} may read {category} {}, not write it", level.as_str())
        }
    };
    why.map_or_else(|| what.clone(), |why| format!("{what}: {why}"))
}
