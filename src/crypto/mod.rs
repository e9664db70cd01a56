//! The only files that name aes, aes-gcm, ring, argon2. Secrets here have no Clone, PartialEq, Serialize; Debug shows no bytes; zeroised on drop.
//!
//! INTERFACE SKETCH

use zeroize::Zeroizing;

/// 32 secret bytes.
pub struct Secret(Zeroizing<[u8; 32]>);
// Debug: "Secret(..)". Secret::from_bytes([u8;32]), Secret::random() -> Result<Self, RandomError>, expose(&self) -> &[u8;32] (pub(crate), greppable as `expose`)

/// A key for XAES-256-GCM (C2SP), AES-256 key schedule and CMAC subkey prepared.
pub struct XaesKey { /* … */ }
/// The AES-256-GCM key derived from an XaesKey for one 12-byte nonce prefix: share it over the values of a row.
pub struct RowKey { /* ring LessSafeKey + prefix */ }
// impl XaesKey { new(&Secret) ; row_key(&self, prefix: &[u8;12]) -> RowKey }
// impl RowKey { seal_in_place(&self, suffix:&[u8;12], aad:&[u8], buf:&mut Vec<u8> from offset) ; open_in_place(...) -> Result<&[u8], OpenError> }
/// One error for every way to fail (T23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value does not authenticate")]
pub struct OpenError;

/// HMAC-SHA-256 key.
pub struct MacKey { /* ring::hmac::Key */ }
// MacKey::new(&Secret); mac(&self, &[u8]) -> [u8;32]; verify(&self, &[u8], &[u8]) -> bool (constant time)

// pub fn hkdf(secret:&Secret, info:&[u8]) -> Secret                 HKDF-SHA-256, empty salt (RFC 5869)
// pub fn sha256(bytes:&[u8]) -> [u8;32]
// pub fn random<const N: usize>() -> Result<[u8;N], RandomError>     operating system
// pub fn fill_random(&mut [u8]) -> Result<(), RandomError>           one call for a whole body
// pub fn constant_time_eq(&[u8], &[u8]) -> bool
// pub fn wrap(kek:&Secret, aad:&[u8], secret:&Secret) -> Result<Vec<u8>, RandomError>    nonce 24 ‖ ct ‖ tag (XAES via aes-gcm crate)
// pub fn unwrap(kek:&Secret, aad:&[u8], wrapped:&[u8]) -> Result<Secret, OpenError>
// pub fn kek_from_passphrase(pass:&[u8], salt:&[u8;16], params) -> Result<Secret, …>     Argon2id, RFC 9106
// base64url(bytes)->String / from_base64url (canonical only), base32_crockford(bytes)->String
