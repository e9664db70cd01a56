//! A row of the ledger as it stands in the store: its key, its sealed value, how it follows on the one before it (`docs/format.md`).
//!
//! Always holds: a row opens in its own place only, for it is bound to controller and number; it holds the SHA-256 of the row before it.
//! Called by `ledger`.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::entry::Entry;
use crate::base::{Controller, Kid, enc, parts};
use crate::crypto::{NONCE_HALF_BYTES, TAG_BYTES, random, sha256_of};
use crate::keys::LedgerKey;
use crate::store::Row;

/// First part of every context.
const LABEL: &[u8] = b"sudare/ledger/v1";
/// Bytes of a value before the ciphertext: kid, nonce.
const HEAD_BYTES: usize = 8 + NONCE_BYTES;
const NONCE_BYTES: usize = 2 * NONCE_HALF_BYTES;
/// Sealed text is padded with spaces to a multiple of so many bytes, so that the store does not tell how long a name is.
const PAD: usize = 64;
/// What this release writes and reads.
const VERSION: u8 = 1;

/// SHA-256 of a row; of the one before the first: zeros.
pub(super) type Digest = [u8; 32];

/// What a row says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    v: u8,
    /// When it was placed, in milliseconds since 1970; never before the row before it.
    pub(super) at: u64,
    /// SHA-256 of the row before it, in hex.
    prev: String,
    pub(super) entries: Vec<Entry>,
}

/// The version, read before the rest.
#[derive(Deserialize)]
struct Versioned {
    v: u8,
}

/// Why a row is not believed. In words that name no value.
pub(super) type Why = &'static str;

/// The key of a row.
pub(super) fn key(controller: &Controller, number: u64) -> Vec<u8> {
    enc(&[controller.as_str().as_bytes(), &number.to_be_bytes()])
}

/// What the keys of a controller's rows begin with.
pub(super) fn prefix(controller: &Controller) -> Vec<u8> {
    enc(&[controller.as_str().as_bytes()])
}

/// The number in a key; none if it is no such key.
pub(super) fn number(key: &[u8]) -> Option<u64> {
    let [_controller, number] = parts(key)?.try_into().ok()?;
    <[u8; 8]>::try_from(number).ok().map(u64::from_be_bytes)
}

/// Of a stored row.
pub(super) fn digest(key: &[u8], value: &[u8]) -> Digest {
    sha256_of(&[&enc(&[key, value])])
}

/// The value of the row with this number: kid (8) ‖ nonce (24) ‖ ciphertext ‖ tag (16). None if there is no randomness.
pub(super) fn seal(
    (kid, xaes): &LedgerKey,
    controller: &Controller,
    number: u64,
    prev: &Digest,
    at: u64,
    entries: Vec<Entry>,
) -> Option<Vec<u8>> {
    seal_with((kid, xaes), controller, number, (prev, at), entries, random().ok()?)
}

/// The nonce is never to come again.
pub(super) fn seal_with(
    (kid, xaes): (&Kid, &crate::crypto::XaesKey),
    controller: &Controller,
    number: u64,
    (prev, at): (&Digest, u64),
    entries: Vec<Entry>,
    nonce: [u8; NONCE_BYTES],
) -> Option<Vec<u8>> {
    let content = Content { v: VERSION, at, prev: data_encoding::HEXLOWER.encode(prev), entries };
    let text = Zeroizing::new(serde_json::to_vec(&content).ok()?);
    let padded = text.len().next_multiple_of(PAD);
    let mut value = Vec::with_capacity(HEAD_BYTES + padded + TAG_BYTES);
    value.extend_from_slice(kid.as_bytes());
    value.extend_from_slice(&nonce);
    value.extend_from_slice(&text);
    value.resize(HEAD_BYTES + padded, b' ');
    let [prefix, suffix] = nonce.as_chunks::<NONCE_HALF_BYTES>().0 else { return None };
    let aad = context(*kid, controller, number);
    let tag = xaes.row_key(prefix).seal_in_place(suffix, &aad, value.get_mut(HEAD_BYTES..)?).ok()?;
    value.extend_from_slice(&tag);
    Some(value)
}

/// Opens a row in its place behind another one.
pub(super) fn open(keys: &[LedgerKey], controller: &Controller, number: u64, prev: &Digest, row: &Row) -> Result<Content, Why> {
    let (head, sealed) = row.value.split_first_chunk::<HEAD_BYTES>().ok_or("it is too short to be a row")?;
    let (kid, nonce) = head.split_first_chunk::<8>().ok_or("it is too short to be a row")?;
    let kid = Kid::from_text(kid).map_err(|_none| "it names no key")?;
    let [prefix, suffix] = nonce.as_chunks::<NONCE_HALF_BYTES>().0 else { return Err("it is too short to be a row") };
    let (_, xaes) = keys.iter().find(|(held, _)| *held == kid).ok_or("it is sealed under a key that this node does not have")?;
    let mut room = Zeroizing::new(sealed.to_vec());
    let aad = context(kid, controller, number);
    let text = xaes.row_key(prefix).open_in_place(suffix, &aad, &mut room).map_err(|_error| "it does not open in its place")?;
    let read = serde_json::from_slice::<Versioned>(text).ok().map(|versioned| versioned.v);
    match (read, serde_json::from_slice::<Content>(text)) {
        (Some(VERSION), Ok(content)) if content.prev == data_encoding::HEXLOWER.encode(prev) => Ok(content),
        (Some(VERSION), Ok(_)) => Err("it does not follow on the row before it"),
        (Some(_), _) => Err("it says what this release does not know: upgrade Sudare"),
        (None, _) => Err("it does not read"),
    }
}

fn context(kid: Kid, controller: &Controller, number: u64) -> Vec<u8> {
    enc(&[LABEL, kid.as_bytes(), controller.as_str().as_bytes(), &number.to_be_bytes()])
}
