//! A request to destroy key versions, and what operators sign it with.
//!
//! The request is a file that says everything: which versions of which ring at which revision, what proves that nothing hangs on them, until
//! when it holds. A signature is a file of its own, over the very bytes of the request. Always holds: what is signed is what is carried out,
//! for a request is known by the SHA-256 of its bytes; nothing in it is secret. Bytes only; no files.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::super::super::{LineName, State};
use super::super::signature::Detached;
use super::super::spelled;
use super::{DestroyError, Operator};
use crate::base::Kid;
use crate::crypto::{self, SigningKey};

const FORMAT: &str = "sudare-destroy-request/1";
/// Longest request that is read.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub(super) format: String,
    /// Whose ring.
    pub controller: String,
    /// Its name.
    pub ring: String,
    /// The revision it was at. At any other the request is void.
    pub revision: u64,
    /// When it was written, in milliseconds since 1970.
    #[serde(with = "spelled::time")]
    pub made: u64,
    /// When it ceases to hold.
    #[serde(with = "spelled::time")]
    pub expires: u64,
    /// For how many days backups are kept, as the configuration said.
    pub backups_kept_days: u64,
    /// The collections that the last census went through.
    pub collections: Vec<String>,
    /// What is to be destroyed.
    pub versions: Vec<Asked>,
    /// Random, so that no two requests are alike.
    #[serde(with = "spelled::bytes")]
    pub(super) nonce: [u8; 16],
}

/// One version that is to be destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Its line.
    #[serde(with = "spelled::text")]
    pub line: LineName,
    /// Its id.
    #[serde(with = "spelled::text")]
    pub kid: Kid,
    /// Its state.
    #[serde(with = "spelled::text")]
    pub state: State,
    /// SHA-256 of its secret, as in the manifest.
    #[serde(with = "spelled::hash")]
    pub commitment: [u8; 32],
    /// Since when nothing hangs on it; None for a pseudonym scope, of which nothing is stored.
    pub zero: Option<Zero>,
}

/// What proves that nothing hangs on a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zero {
    /// When the first census began that found nothing under it, with none after it that did.
    #[serde(with = "spelled::time")]
    pub since: u64,
    /// When the last one ended.
    #[serde(with = "spelled::time")]
    pub latest: u64,
    /// SHA-256 of the line of the last one.
    #[serde(with = "spelled::hash")]
    pub census: [u8; 32],
}

/// A request with the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What it says.
    pub request: Request,
    /// The very bytes, which are what is signed.
    pub text: String,
    /// Their SHA-256.
    pub hash: [u8; 32],
}

impl Written {
    pub(super) fn new(request: Request) -> Result<Self, DestroyError> {
        let text = serde_json::to_string_pretty(&request).map_err(|_never| DestroyError::NotARequest)? + "\n";
        let hash = crypto::sha256(text.as_bytes());
        Ok(Self { request, text, hash })
    }

    /// Reads a request. Nothing in it is proved by that.
    ///
    /// # Errors
    ///
    /// [`DestroyError::NotARequest`].
    pub fn read(bytes: &[u8]) -> Result<Self, DestroyError> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_BYTES).ok_or(DestroyError::NotARequest)?;
        let request: Request = serde_json::from_str(text).map_err(|_other| DestroyError::NotARequest)?;
        if request.format != FORMAT || request.versions.is_empty() {
            return Err(DestroyError::NotARequest);
        }
        Ok(Self { request, text: text.to_owned(), hash: crypto::sha256(bytes) })
    }

    /// Its SHA-256 in hex, as `sha256sum` prints it.
    pub fn hash_text(&self) -> String {
        HEXLOWER.encode(&self.hash)
    }

    /// Signs it: the text of a signature file.
    pub fn sign(&self, key: &SigningKey) -> String {
        Detached::sign(&self.text, key).to_text()
    }
}

impl Request {
    pub(super) fn format() -> String {
        FORMAT.to_owned()
    }
}

/// A signature that was found good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The operator's name in the configuration.
    pub operator: String,
    /// Their key.
    #[serde(with = "spelled::bytes")]
    pub public_key: [u8; 32],
    /// Ed25519 over the request's bytes.
    #[serde(with = "spelled::bytes")]
    pub signature: [u8; 64],
}

/// Who signed a request: two operators at least, each with a key of their own.
///
/// # Errors
///
/// A file that is no signature, one of another request, of a key that no operator has, or that does not fit; fewer than two operators;
/// operators who share a key.
pub(super) fn signers(
    written: &Written,
    signatures: &[(String, Vec<u8>)],
    operators: &[Operator],
) -> Result<Vec<Signed>, DestroyError> {
    let mut signed: Vec<Signed> = Vec::new();
    for (file, bytes) in signatures {
        let file = || file.clone();
        let signature = Detached::read(bytes).ok_or_else(|| DestroyError::NotASignature(file()))?;
        if !signature.is_about_hash(&written.hash) {
            return Err(DestroyError::OtherRequest(file()));
        }
        let mut owners = operators.iter().filter(|operator| operator.public.0 == signature.public_key);
        let owner = owners.next().ok_or_else(|| DestroyError::UnknownOperator {
            file: file(),
            public_key: crypto::base64url(&signature.public_key),
        })?;
        if let Some(other) = owners.next() {
            return Err(DestroyError::SharedKey { one: owner.name.clone(), other: other.name.clone() });
        }
        if !signature.fits(&written.text) {
            return Err(DestroyError::Forged(file()));
        }
        if signed.iter().any(|there| there.operator == owner.name || there.public_key == signature.public_key) {
            return Err(DestroyError::SignedTwice(owner.name.clone()));
        }
        let Detached { public_key, bytes, .. } = signature;
        signed.push(Signed { operator: owner.name.clone(), public_key, signature: bytes });
    }
    if signed.len() < super::SIGNERS { Err(DestroyError::TooFew(signed.len())) } else { Ok(signed) }
}
