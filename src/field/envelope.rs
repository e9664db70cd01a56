//! The envelope: how one sealed value is spelled in somebody else's database (`docs/format.md`).
//!
//! ```text
//! sdr1.x.<kid>.<base64url(bind 1 ‖ nonce 24 ‖ ciphertext ‖ tag 16)>
//! ```
//!
//! This is suite `x`; the payload of suite `d` is read and written in `deterministic.rs`.
//!
//! Always holds: one envelope has one spelling; the context (AAD) names suite, key, controller, collection, field, bind and id, so an
//! envelope opens only where it was sealed (T1); what is opened is exactly one JSON value. What an existing prefix means never changes.
//! `protect` and `reveal` call it through `seal.rs` and `open.rs`.

use crate::base::{Bind, FieldPlace, Kid, RecordId, enc};
use crate::crypto::{NONCE_HALF_BYTES, OpenError, RowKey, SealError, TAG_BYTES, base64url_append, base64url_decode_into};
use crate::document::is_one_value;
use crate::keys::FieldKey;

/// What every envelope begins with, whatever its suite.
pub(crate) const PREFIX: &str = "sdr1.";
/// Bytes of a payload before the ciphertext: bind, nonce.
const HEAD_BYTES: usize = 1 + 2 * NONCE_HALF_BYTES;

/// Characters of a key id.
const KID_CHARS: usize = 8;

/// How a value is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// XAES-256-GCM: equal values differ.
    X,
    /// AEAD_AES_SIV_CMAC_512: equal values are equal.
    D,
}

impl Suite {
    /// The suite that decides what an envelope is bound to. A text that is none at all counts as `x` and does not open later.
    pub(super) fn named_by(text: &str) -> Self {
        if text.starts_with("sdr1.d.") { Self::D } else { Self::X }
    }

    /// enc(`sdr1`, suite), with which every context begins.
    fn context_head(self) -> &'static [u8] {
        match self {
            Self::X => b"\0\0\0\x04sdr1\0\0\0\x01x",
            Self::D => b"\0\0\0\x04sdr1\0\0\0\x01d",
        }
    }
}

/// A text that is spelled as an envelope. Its payload is not yet decoded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope<'a> {
    pub(crate) suite: Suite,
    pub(crate) kid: Kid,
    pub(super) payload: &'a [u8],
}

/// Why a text that begins with [`PREFIX`] is not an envelope we open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    /// Missing parts, a bad key id, base64url that is not canonical, a payload that is too short.
    #[error("not spelled as an envelope")]
    Malformed,
    /// A suite of another release (`xs`, …).
    #[error("an envelope of a suite that this release does not open; only x and d are known")]
    Suite,
    /// Bound otherwise than the collection is configured.
    #[error("an envelope that is bound otherwise than this collection says (`bind`)")]
    Bind,
}

/// A decoded payload; `sealed` is ciphertext ‖ tag.
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    pub(crate) prefix: [u8; NONCE_HALF_BYTES],
    suffix: [u8; NONCE_HALF_BYTES],
    sealed: &'a mut [u8],
}

impl<'a> Envelope<'a> {
    /// Reads the parts of an envelope.
    pub(crate) fn parse(text: &'a str) -> Result<Self, EnvelopeError> {
        Self::parse_expecting(text, None)
    }

    /// The same, faster where the key is the one expected.
    pub(crate) fn parse_expecting(text: &'a str, expected: Option<Kid>) -> Result<Self, EnvelopeError> {
        let text = text.strip_prefix(PREFIX).ok_or(EnvelopeError::Malformed)?;
        let (suite, kid, payload) = usual_parts(text).or_else(|| parts(text)).ok_or(EnvelopeError::Malformed)?;
        let suite = match suite {
            "x" => Suite::X,
            "d" => Suite::D,
            "" => return Err(EnvelopeError::Malformed),
            _ => return Err(EnvelopeError::Suite),
        };
        let kid = match expected {
            Some(known) if known.as_bytes() == kid.as_bytes() => known,
            _ => Kid::from_text(kid.as_bytes()).map_err(|_not_a_kid| EnvelopeError::Malformed)?,
        };
        Ok(Self { suite, kid, payload: payload.as_bytes() })
    }

    /// The length of what is sealed in suite `x`, padding included; 0 if it is too short to be one.
    pub(super) fn sealed_len(&self) -> usize {
        (self.payload.len() * 3 / 4).saturating_sub(HEAD_BYTES + TAG_BYTES)
    }

    /// Decodes the payload of suite `x` into `room` (whose content goes) and checks the bind byte against the configuration. A value that is bound
    /// otherwise is refused here and never tried.
    pub(crate) fn decode<'b>(&self, bind: Bind, room: &'b mut Vec<u8>) -> Result<Payload<'b>, EnvelopeError> {
        base64url_decode_into(self.payload, room).map_err(|_not_canonical| EnvelopeError::Malformed)?;
        let (head, sealed) = room.split_first_chunk_mut::<HEAD_BYTES>().ok_or(EnvelopeError::Malformed)?;
        if sealed.len() < TAG_BYTES {
            return Err(EnvelopeError::Malformed);
        }
        let (bound, nonce) = head.split_first().ok_or(EnvelopeError::Malformed)?;
        let (prefix, suffix) = nonce.split_first_chunk::<NONCE_HALF_BYTES>().ok_or(EnvelopeError::Malformed)?;
        let suffix = suffix.first_chunk::<NONCE_HALF_BYTES>().ok_or(EnvelopeError::Malformed)?;
        if Bind::from_byte(*bound).ok_or(EnvelopeError::Malformed)? != bind {
            return Err(EnvelopeError::Bind);
        }
        Ok(Payload { prefix: *prefix, suffix: *suffix, sealed })
    }
}

/// Suite, key id and payload, where they stand in the suites that we open. A point inside of the key id makes it none, here as there.
fn usual_parts(text: &str) -> Option<(&str, &str, &str)> {
    let (suite, rest) = text.split_at_checked(1).filter(|(suite, _)| matches!(*suite, "x" | "d"))?;
    let (kid, rest) = rest.strip_prefix('.')?.split_at_checked(KID_CHARS)?;
    Some((suite, kid, rest.strip_prefix('.')?))
}

/// The same, wherever the points stand.
fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let (suite, rest) = text.split_once('.')?;
    let (kid, payload) = rest.split_once('.')?;
    Some((suite, kid, payload))
}

impl<'a> Payload<'a> {
    /// Opens the payload in place. Returns the JSON text without its padding.
    ///
    /// # Errors
    ///
    /// [`OpenError`] for every reason, also if what was sealed is not exactly one JSON value.
    pub(crate) fn open(self, key: &RowKey, aad: &[u8]) -> Result<&'a [u8], OpenError> {
        let opened = key.open_in_place(&self.suffix, aad, self.sealed)?;
        let padding = opened.iter().rev().take_while(|byte| **byte == b' ').count();
        let text = opened.get(..opened.len() - padding).unwrap_or_default();
        // White space around a value is allowed where JSON is read, but nothing that we seal has any but the padding.
        if is_one_value(text) && text.trim_ascii() == text { Ok(text) } else { Err(OpenError) }
    }
}

/// The context of one field, encoded but for the key and the id.
#[derive(Debug)]
pub(crate) struct Context {
    suite: Suite,
    /// enc(controller, collection, field, bind).
    middle: Box<[u8]>,
    bind: Bind,
}

impl Context {
    pub(crate) fn new(place: &FieldPlace, bind: Bind) -> Self {
        Self::of(Suite::X, place, bind)
    }

    /// The context of suite `d`, which binds to the field only.
    pub(crate) fn deterministic(place: &FieldPlace) -> Self {
        Self::of(Suite::D, place, Bind::Field)
    }

    fn of(suite: Suite, place: &FieldPlace, bind: Bind) -> Self {
        let parts = [
            place.controller.as_str().as_bytes(),
            place.collection.as_str().as_bytes(),
            place.field.as_str().as_bytes(),
            &[bind.byte()],
        ];
        Self { suite, middle: enc(&parts).into_boxed_slice(), bind }
    }

    pub(crate) fn bind(&self) -> Bind {
        self.bind
    }

    /// Puts the whole context into `room`, in place of what it held: enc(`sdr1`, suite, kid, controller, collection, field, bind, id).
    /// `id` is empty where the bind is Field.
    pub(crate) fn aad<'b>(&self, kid: Kid, id: &str, room: &'b mut Vec<u8>) -> &'b [u8] {
        room.clear();
        room.extend_from_slice(self.suite.context_head());
        room.extend_from_slice(&[0, 0, 0, 8]);
        room.extend_from_slice(kid.as_bytes());
        room.extend_from_slice(&self.middle);
        // At most MAX_ID_BYTES by the type of ids.
        room.extend_from_slice(&u32::try_from(id.len()).unwrap_or(u32::MAX).to_be_bytes());
        room.extend_from_slice(id.as_bytes());
        room
    }
}

/// Seals `value`, a member's JSON text, and appends the envelope as a JSON string with its quotes to `out`.
///
/// `pad` is the bucket in bytes, 0 for none; `nonce` must not come twice with one key. `room` is used for the payload.
#[expect(clippy::too_many_arguments, reason = "the parts of one envelope; a struct for one caller would only rename them")]
pub(crate) fn write(
    key: &RowKey,
    kid: Kid,
    bind: Bind,
    nonce: (&[u8; NONCE_HALF_BYTES], &[u8; NONCE_HALF_BYTES]),
    aad: &[u8],
    value: &[u8],
    pad: u16,
    room: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    room.clear();
    room.push(bind.byte());
    room.extend_from_slice(nonce.0);
    room.extend_from_slice(nonce.1);
    room.extend_from_slice(value);
    if pad > 0 {
        room.resize(HEAD_BYTES + value.len().next_multiple_of(usize::from(pad)), b' ');
    }
    let tag = key.seal_in_place(nonce.1, aad, room.get_mut(HEAD_BYTES..).unwrap_or_default())?;
    room.extend_from_slice(&tag);
    out.reserve(room.len() * 4 / 3 + 24);
    out.extend_from_slice(b"\"sdr1.x.");
    out.extend_from_slice(kid.as_bytes());
    out.push(b'.');
    base64url_append(room, out);
    out.push(b'"');
    Ok(())
}

/// Opens one envelope of suite `x` with a key that is already at hand. For vectors, and for tools that check stored values.
///
/// `key` comes from [`crate::keys::KeyRing`] against a permit, or is built from a secret by whoever holds it. `id` is None where `bind` is
/// [`Bind::Field`]. Returns the member's JSON text.
///
/// # Errors
///
/// [`OpenError`] for every reason: no envelope, another key, another place, another bind, changed bytes.
pub fn open_envelope(
    key: &FieldKey,
    place: &FieldPlace,
    bind: Bind,
    id: Option<&RecordId>,
    text: &str,
) -> Result<Vec<u8>, OpenError> {
    let id = match (bind, id) {
        (Bind::Field, None) => "",
        (Bind::Subject | Bind::Document, Some(id)) => id.as_str(),
        (Bind::Field, Some(_)) | (Bind::Subject | Bind::Document, None) => return Err(OpenError),
    };
    let envelope = Envelope::parse(text).map_err(|_not_an_envelope| OpenError)?;
    if envelope.suite != Suite::X || envelope.kid != key.kid {
        return Err(OpenError);
    }
    let (mut room, mut aad) = (Vec::new(), Vec::new());
    let payload = envelope.decode(bind, &mut room).map_err(|_not_an_envelope| OpenError)?;
    let row = key.xaes.row_key(&payload.prefix);
    payload.open(&row, Context::new(place, bind).aad(envelope.kid, id, &mut aad)).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests;
