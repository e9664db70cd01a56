//! Suite `d`: values that are stored equal when they are equal, so that a database can find them (`docs/format.md`).
//!
//! ```text
//! sdr1.d.<kid>.<base64url(bind 1 = 0 ‖ siv 16 ‖ ciphertext)>
//! ```
//!
//! Always holds: what is sealed is canonical text, so that one value has one envelope; it is bound to its field only, whatever the
//! collection binds to, and never padded. Whoever reads the database sees which documents share a value, and how long it is. `seal` and
//! `open` call it for values, a dialect's query asks [`deterministic_terms`].

use unicode_normalization::UnicodeNormalization;

use super::Probe;
use super::envelope::{Context, Envelope, EnvelopeError, Suite};
use super::index::NoProbe;
use super::plan::{Collection, Plan, Protection};
use crate::base::limits::MAX_PLAINTEXT_BYTES;
use crate::base::{Bind, FieldName, FieldPlace, RingName, is_canonical_integer};
use crate::crypto::{OpenError, SIV_BYTES, base64url_append, base64url_decode_into};
use crate::document::{is_one_value, unescape, write_string};
use crate::keys::{KeyError, LookupKey, Rings};
use crate::normalise::NoForm;
use crate::purpose::Permit;

/// Bytes of a payload before the ciphertext: bind, synthetic IV.
const HEAD_BYTES: usize = 1 + SIV_BYTES;

/// Why a value has no canonical text. Names the type at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// `true`, `null`, an object or an array.
    #[error("it is neither text nor an integer")]
    Type,
    /// Another number, or another spelling.
    #[error("the number is not an integer below 2^53 written without fraction and exponent")]
    Number,
    /// Longer than a value may be.
    #[error("it is longer than {MAX_PLAINTEXT_BYTES} bytes of JSON")]
    TooLong,
}

/// The one JSON text of a value: of a string, its text in Unicode normalization form C with as few escapes as JSON allows; of an integer,
/// its digits.
///
/// # Errors
///
/// [`NotCanonical`] for every other value. `true`, `null` and the like have so few values that equality would tell them.
pub(super) fn canonical(json: &[u8]) -> Result<Vec<u8>, NotCanonical> {
    let text = match json.first() {
        Some(b'"') => {
            let text: String = unescape(json).ok_or(NotCanonical::Type)?.nfc().collect();
            let mut out = Vec::new();
            write_string(&text, &mut out);
            out
        }
        Some(b'-' | b'0'..=b'9') => {
            let text = std::str::from_utf8(json).map_err(|_not_digits| NotCanonical::Number)?;
            if !is_canonical_integer(text) {
                return Err(NotCanonical::Number);
            }
            json.to_vec()
        }
        _ => return Err(NotCanonical::Type),
    };
    if text.len() > MAX_PLAINTEXT_BYTES { Err(NotCanonical::TooLong) } else { Ok(text) }
}

/// Seals canonical text and appends the envelope as a JSON string with its quotes to `out`. `room` is used for the payload.
pub(super) fn write(key: &LookupKey, aad: &[u8], canonical: &[u8], room: &mut Vec<u8>, out: &mut Vec<u8>) {
    room.clear();
    room.extend_from_slice(&[0; HEAD_BYTES]);
    room.extend_from_slice(canonical);
    let siv = key.siv.seal_in_place(aad, room.get_mut(HEAD_BYTES..).unwrap_or_default());
    let head = [Bind::Field.byte()].into_iter().chain(siv);
    room.iter_mut().zip(head).for_each(|(to, from)| *to = from);
    out.reserve(room.len() * 4 / 3 + 24);
    out.extend_from_slice(b"\"sdr1.d.");
    out.extend_from_slice(key.kid.as_bytes());
    out.push(b'.');
    base64url_append(room, out);
    out.push(b'"');
}

/// A decoded payload.
#[derive(Debug)]
pub(super) struct Payload<'a> {
    siv: [u8; SIV_BYTES],
    sealed: &'a mut [u8],
}

/// Decodes the payload of an envelope of suite `d` into `room`, whose content goes.
pub(super) fn decode<'b>(envelope: &Envelope<'_>, room: &'b mut Vec<u8>) -> Result<Payload<'b>, EnvelopeError> {
    base64url_decode_into(envelope.payload, room).map_err(|_not_canonical| EnvelopeError::Malformed)?;
    let (head, sealed) = room.split_first_chunk_mut::<HEAD_BYTES>().ok_or(EnvelopeError::Malformed)?;
    let (bound, siv) = head.split_first().ok_or(EnvelopeError::Malformed)?;
    let siv = *siv.first_chunk::<SIV_BYTES>().ok_or(EnvelopeError::Malformed)?;
    match Bind::from_byte(*bound) {
        Some(Bind::Field) if !sealed.is_empty() => Ok(Payload { siv, sealed }),
        Some(Bind::Subject | Bind::Document) => Err(EnvelopeError::Bind),
        Some(Bind::Field) | None => Err(EnvelopeError::Malformed),
    }
}

impl<'a> Payload<'a> {
    /// Opens the payload in place. Returns the canonical text.
    ///
    /// # Errors
    ///
    /// [`OpenError`] for every reason, also if what was sealed is not exactly one string or number.
    pub(super) fn open(self, key: &LookupKey, aad: &[u8]) -> Result<&'a [u8], OpenError> {
        key.siv.open_in_place(aad, &self.siv, self.sealed)?;
        // Not compared with its canonical form: a later version of Unicode may compose what this one did not know.
        let scalar = matches!(self.sealed.first(), Some(b'"' | b'-' | b'0'..=b'9'));
        let ends = self.sealed.last().is_some_and(|last| !last.is_ascii_whitespace());
        if scalar && ends && is_one_value(self.sealed) { Ok(self.sealed) } else { Err(OpenError) }
    }
}

/// Why a value cannot be searched for. `Display` is fit for the client: it names the field, never the value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TermError {
    /// Equal values of this field are not stored equal.
    #[error(
        "field {field} is sealed so that equal values cannot be found; only a field with protect = \"deterministic\" can be searched"
    )]
    Sealed {
        /// Which.
        field: FieldName,
    },
    /// Nothing that was stored deterministically can be equal to it.
    #[error("field {field} cannot be searched for this value: {why}")]
    NotCanonical {
        /// Which.
        field: FieldName,
        /// Why.
        why: NotCanonical,
    },
    /// Nothing that has a term can be equal to it.
    #[error("field {field} cannot be searched for this value: {why}")]
    NoForm {
        /// Which.
        field: FieldName,
        /// Why.
        why: NoForm,
    },
    /// The field's ring is not held.
    #[error("field {field} cannot be searched here: this proxy is not given its key ring, {ring}; ask one that is")]
    RingNotHeld {
        /// Which.
        field: FieldName,
        /// Its ring.
        ring: RingName,
    },
    /// The ring has no key to search with.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// No such field; a mistake of ours.
    #[error("the search asks for a field that the collection does not have")]
    NoField,
}

impl TermError {
    /// The stable code, an anchor of `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Sealed { .. } | Self::NotCanonical { .. } | Self::NoForm { .. } => "not-searchable",
            Self::RingNotHeld { .. } => "ring-not-held",
            Self::Keys(error) => error.code(),
            Self::NoField => "internal-error",
        }
    }
}

/// Can a field be searched by a value here? Asked before anything is looked up for it.
///
/// # Errors
///
/// [`TermError::RingNotHeld`].
pub fn may_be_searched(collection: &Collection, keys: &Rings, field: usize) -> Result<(), TermError> {
    let config = collection.fields.get(field).ok_or(TermError::NoField)?;
    if keys.holds(&config.ring) {
        return Ok(());
    }
    Err(TermError::RingNotHeld { field: config.name.clone(), ring: config.ring.clone() })
}

/// The envelopes under which a value of a deterministic field may be stored, one for each version of the lookup line that the permit opens,
/// the Active one first and then newest first. A query for the value asks for any of them (`$in`).
///
/// `json` is the JSON text of a string or an integer. A `null` needs no term: it is stored as it is.
///
/// # Errors
///
/// [`TermError`]: a field that is not deterministic, a value that has no canonical text, no key.
pub fn deterministic_terms(
    collection: &Collection,
    plan: &Plan,
    keys: &Rings,
    field: usize,
    json: &[u8],
    permit: Permit<'_>,
) -> Result<Vec<String>, TermError> {
    let (Some(config), Some(planned)) = (collection.fields.get(field), plan.fields.get(field)) else {
        return Err(TermError::NoField);
    };
    if config.protection != Protection::Deterministic {
        return Err(TermError::Sealed { field: config.name.clone() });
    }
    let text = canonical(json).map_err(|why| TermError::NotCanonical { field: config.name.clone(), why })?;
    let (mut aad, mut room) = (Vec::new(), Vec::new());
    let term = |key: &LookupKey| {
        let mut out = Vec::new();
        write(key, planned.deterministic.aad(key.kid, "", &mut aad), &text, &mut room, &mut out);
        // ASCII by its alphabet, between two quotes.
        String::from_utf8_lossy(&out).trim_matches('"').to_owned()
    };
    Ok(keys.of(&config.ring)?.lookup_keys(&config.place, permit)?.iter().map(|key| &**key).map(term).collect())
}

/// What a search asks for to find one of `values`, which are JSON texts, by an index of a field: terms under every version of the lookup line that
/// the permit opens, and what is compared with the values that are found.
///
/// # Errors
///
/// [`TermError`]: no such index, a value without normalised form, no key.
pub fn index_terms(
    collection: &Collection,
    keys: &Rings,
    (field, index): (usize, usize),
    values: &[Vec<u8>],
    permit: Permit<'_>,
) -> Result<Probe, TermError> {
    let config = collection.fields.get(field).ok_or(TermError::NoField)?;
    let by = config.indexes.get(index).ok_or(TermError::NoField)?;
    by.probe((field, index), config, keys, values, permit).map_err(|why| match why {
        NoProbe::Form(why) => TermError::NoForm { field: config.name.clone(), why },
        NoProbe::Keys(error) => TermError::Keys(error),
    })
}

/// Opens one envelope of suite `d` with a key that is already at hand. For vectors, and for tools that check stored values.
///
/// # Errors
///
/// [`OpenError`] for every reason: no such envelope, another key, another place, changed bytes.
pub fn open_deterministic_envelope(key: &LookupKey, place: &FieldPlace, text: &str) -> Result<Vec<u8>, OpenError> {
    let envelope = Envelope::parse(text).map_err(|_not_an_envelope| OpenError)?;
    if envelope.suite != Suite::D || envelope.kid != key.kid {
        return Err(OpenError);
    }
    let (mut room, mut aad) = (Vec::new(), Vec::new());
    let payload = decode(&envelope, &mut room).map_err(|_not_an_envelope| OpenError)?;
    payload.open(key, Context::deterministic(place).aad(key.kid, "", &mut aad)).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests;
