//! Cryptography: the only files that name `aes`, `aes-gcm`, `aes-siv`, `ring`, `argon2` and `data-encoding`.
//!
//! Always holds: a secret has no `Clone`, `PartialEq` or `Serialize`, its `Debug` shows no bytes, and what this module allocates for it is
//! overwritten when it is dropped (`ring` keeps its expanded key schedules without doing so). Every failure to authenticate is the one
//! [`OpenError`] (T23). Randomness comes from the operating system at each call; no random state lives in the process (T18).
//!
//! Called by `keys` (wrapping, derivation), `field` (values), `caller` (hashes of credentials, signatures of tokens) and `audit` (chains, checkpoints); `keys` also for what operators sign. Pure but for randomness.

mod aead;
mod jws;
mod kdf;
mod random;
mod secret;
mod sign;
mod siv;
mod text;
mod wrap;

pub use aead::{NONCE_HALF_BYTES, OpenError, RowKey, SealError, TAG_BYTES, XaesKey};
pub use jws::verify_tokens_with_ring;
pub use kdf::{MacKey, PassphraseError, PassphraseParams, constant_time_eq, hkdf, kek_from_passphrase, sha256, sha256_of};
pub use random::{RandomError, fill_random, random};
pub use secret::Secret;
pub use sign::{PrivateKeyError, PublicKey, SigningKey, signing_key_pem};
pub use siv::{SIV_BYTES, SivKey};
pub use text::{
    TextError, base32_crockford, base64url, base64url_append, base64url_decode_into, from_base32_crockford, from_base64url,
};
pub use wrap::{WRAPPED_BYTES, unwrap, wrap};
