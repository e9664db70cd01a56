//! A row of the vault as it stands in the store: its key, its value, its marks, and who uses it (`docs/format.md`).
//!
//! Always holds: the value is sealed under the scope's key and bound to controller, scope and token, so that it opens in its own row only;
//! a mark is a keyed fingerprint (T17). `super` calls it.

use zeroize::Zeroizing;

use super::Scope;
use crate::base::{Controller, Kid, RecordId, enc, parts};
use crate::crypto::{MacKey, NONCE_HALF_BYTES, SealError, TAG_BYTES};
use crate::keys::{KeyError, Rings, TokenKey};
use crate::purpose::Permit;

use super::{Reference, VaultError};

/// First part of every context.
const LABEL: &[u8] = b"sudare/vault/v1";
/// Bytes of a value before the ciphertext: kind, kid, nonce.
const HEAD_BYTES: usize = 1 + 8 + 2 * NONCE_HALF_BYTES;
const NONCE_BYTES: usize = 2 * NONCE_HALF_BYTES;
/// Sealed text is padded with spaces to a multiple of so many bytes, so that the store does not tell how long a value is.
const PAD: usize = 32;

/// What a row holds.
pub(super) struct Opened {
    pub(super) json: Zeroizing<Vec<u8>>,
    pub(super) consistent: bool,
}

/// The key of a token's row.
pub(super) fn key(controller: &Controller, scope: &Scope, token: &str) -> Vec<u8> {
    enc(&[controller.as_str().as_bytes(), scope.as_str().as_bytes(), token.as_bytes()])
}

/// Controller, scope and token of a row's key; None if it is no such key.
pub(super) fn read_key(key: &[u8]) -> Option<(String, String, String)> {
    let [controller, scope, token] = parts(key)?.try_into().ok()?;
    let text = |part: &[u8]| String::from_utf8(part.to_vec()).ok();
    Some((text(controller)?, text(scope)?, text(token)?))
}

/// The key under which it is kept that a subject uses a row.
pub(super) fn reference_key(key: &[u8], reference: &Reference) -> Vec<u8> {
    enc(&[key, reference])
}

/// What those keys of a row begin with.
pub(super) fn reference_prefix(key: &[u8]) -> Vec<u8> {
    enc(&[key])
}

/// The name of a data subject: the first 16 bytes of HMAC-SHA-256(audit key, enc("audit", id)), as in the audit log.
pub(super) fn reference(key: &MacKey, subject: &RecordId) -> Reference {
    let mac = key.mac(&enc(&[b"audit", subject.as_str().as_bytes()]));
    mac.first_chunk().copied().unwrap_or_default()
}

/// The mark of a value under one version of the lookup line: kid ‖ HMAC-SHA-256(fingerprint key of the scope, enc(value)).
pub(super) fn mark(kid: Kid, key: &MacKey, json: &[u8]) -> Vec<u8> {
    [kid.as_bytes().as_slice(), &key.mac(&enc(&[json]))].concat()
}

pub(super) fn marks(keys: &[(Kid, MacKey)], json: &[u8]) -> Vec<Vec<u8>> {
    keys.iter().map(|(kid, key)| mark(*kid, key, json)).collect()
}

/// Under which version a value is sealed; None if it is no value of a row.
pub(super) fn kid_of(value: &[u8]) -> Option<Kid> {
    Kid::from_text(value.get(1..)?.first_chunk::<8>()?).ok()
}

/// Under which version a mark was made.
pub(super) fn kid_of_mark(mark: &[u8]) -> Option<Kid> {
    Kid::from_text(mark.first_chunk::<8>()?).ok()
}

/// Under which version of the token line a row is sealed; None if it is no row.
pub(super) fn kid_of_value(value: &[u8]) -> Option<Kid> {
    let (head, _) = value.split_first_chunk::<HEAD_BYTES>()?;
    let (0 | 1, rest) = head.split_first()? else { return None };
    Kid::from_text(rest.first_chunk::<8>()?).ok()
}

fn context(consistent: u8, kid: Kid, controller: &Controller, scope: &Scope, token: &str) -> Vec<u8> {
    let (controller, scope) = (controller.as_str().as_bytes(), scope.as_str().as_bytes());
    enc(&[LABEL, &[consistent], kid.as_bytes(), controller, scope, token.as_bytes()])
}

/// Seals the new rows of one scope.
pub(super) struct Sealer {
    scope: Scope,
    key: TokenKey,
    /// Asked for with the first consistent value.
    fingerprints: Option<Vec<(Kid, MacKey)>>,
}

impl Sealer {
    pub(super) fn new(keys: &Rings, scope: &Scope) -> Result<Self, KeyError> {
        Ok(Self { scope: scope.clone(), key: keys.of(scope.ring())?.token_key(scope.as_str())?, fingerprints: None })
    }

    /// The marks of a value, of every live version.
    pub(super) fn marks(&mut self, keys: &Rings, json: &[u8]) -> Result<Vec<Vec<u8>>, KeyError> {
        let fingerprints = match &self.fingerprints {
            Some(known) => known,
            None => self.fingerprints.insert(keys.of(self.scope.ring())?.fingerprint_keys(self.scope.as_str())?),
        };
        Ok(marks(fingerprints, json))
    }

    /// The value of a row: kind (0 fresh, 1 consistent) ‖ kid (8) ‖ nonce (24) ‖ ciphertext ‖ tag (16). The nonce is never to come again.
    pub(super) fn seal(
        &self,
        controller: &Controller,
        token: &str,
        consistent: bool,
        json: &[u8],
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Vec<u8>, VaultError> {
        let kind = u8::from(consistent);
        let mut value = Vec::with_capacity(HEAD_BYTES + json.len().next_multiple_of(PAD) + TAG_BYTES);
        value.push(kind);
        value.extend_from_slice(self.key.kid.as_bytes());
        value.extend_from_slice(&nonce);
        value.extend_from_slice(json);
        value.resize(HEAD_BYTES + json.len().next_multiple_of(PAD), b' ');
        let [prefix, suffix] = nonce.as_chunks::<NONCE_HALF_BYTES>().0 else { return Err(VaultError::Answer) };
        let aad = context(kind, self.key.kid, controller, &self.scope, token);
        let sealed = value.get_mut(HEAD_BYTES..).unwrap_or_default();
        let tag = self.key.xaes.row_key(prefix).seal_in_place(suffix, &aad, sealed).map_err(|SealError| VaultError::Answer)?;
        value.extend_from_slice(&tag);
        Ok(value)
    }
}

/// Opens the value of a row under the token and scope it is asked by. None for every way in which it does not authenticate (T23), among
/// them the id of a key of another ring than the scope's.
///
/// # Errors
///
/// [`KeyError::RingNotHeld`], [`KeyError::Compromised`] where it is not tried; another where the ring cannot be asked at all.
pub(super) fn open(
    keys: &Rings,
    scope: &Scope,
    token: &str,
    value: &[u8],
    permit: Permit<'_>,
) -> Result<Option<Opened>, KeyError> {
    let ring = keys.of(scope.ring())?;
    let Some((head, sealed)) = value.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let Some((consistent, rest)) = head.split_first() else { return Ok(None) };
    let Some((kid, nonce)) = rest.split_first_chunk::<8>() else { return Ok(None) };
    let [prefix, suffix] = nonce.as_chunks::<NONCE_HALF_BYTES>().0 else { return Ok(None) };
    let (0 | 1, Ok(kid)) = (*consistent, Kid::from_text(kid)) else { return Ok(None) };
    let key = match ring.open_token_key(kid, scope.as_str(), permit) {
        Ok(key) => key,
        Err(error) => {
            let of_value = matches!(error, KeyError::UnknownKid(_) | KeyError::Destroyed(_));
            return if of_value { Ok(None) } else { Err(error) };
        }
    };
    let mut room = Zeroizing::new(sealed.to_vec());
    let aad = context(*consistent, kid, keys.controller(), scope, token);
    let Ok(opened) = key.xaes.row_key(prefix).open_in_place(suffix, &aad, &mut room) else { return Ok(None) };
    let padding = opened.iter().rev().take_while(|byte| **byte == b' ').count();
    let len = opened.len() - padding;
    room.truncate(len);
    Ok(Some(Opened { json: room, consistent: *consistent == 1 }))
}
