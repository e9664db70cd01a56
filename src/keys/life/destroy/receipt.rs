//! The receipt of a destruction: what was destroyed, by whose signatures, on what proof; signed by the ring.
//!
//! It is written before the secrets go, as the intent, and becomes the receipt when they are gone. So no destruction is without one, and
//! what it says is held against the ring: [`verify`]. Always holds: it names the exact bytes of the ring without the secrets, and holds the
//! request and the operators' signatures whole, so that it can be checked by itself.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::super::spelled;
use super::request::{Signed, Written};
use super::{DestroyError, SIGNERS};
use crate::base::Kid;
use crate::crypto::{self, PublicKey, SigningKey};

const FORMAT: &str = "sudare-destroy-receipt/1";
/// What stands before and after the 86 characters of the signature; the bytes before them are what is signed.
const BEFORE: &str = ",\n  \"signature\": \"";
const AFTER: &str = "\"\n}\n";
const SIGNATURE_CHARS: usize = 86;

/// A receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    pub(super) format: String,
    /// Whose ring.
    pub controller: String,
    /// Its name.
    pub ring: String,
    /// Its first revision without the secrets.
    pub revision: u64,
    /// SHA-256 of the bytes of that revision.
    #[serde(with = "spelled::hash")]
    pub ring_sha256: [u8; 32],
    /// When, in milliseconds since 1970.
    #[serde(with = "spelled::time")]
    pub destroyed: u64,
    /// SHA-256 of the line of the census that was made right before.
    #[serde(with = "spelled::hash")]
    pub census: [u8; 32],
    /// The request, byte for byte.
    pub request: String,
    /// Who signed it.
    pub signatures: Vec<Signed>,
    /// The version of the audit line whose key signs this.
    #[serde(with = "spelled::text")]
    pub audit_kid: Kid,
    /// What to check that with.
    #[serde(with = "spelled::bytes")]
    pub audit_public_key: [u8; 32],
}

/// What a receipt is made of beside the request.
pub(super) struct Facts {
    pub(super) revision: u64,
    pub(super) ring_sha256: [u8; 32],
    pub(super) destroyed: u64,
    pub(super) census: [u8; 32],
}

impl Receipt {
    pub(super) fn new(written: &Written, signatures: Vec<Signed>, facts: &Facts, (kid, signer): (Kid, &SigningKey)) -> Self {
        let &Facts { revision, ring_sha256, destroyed, census } = facts;
        Self {
            format: FORMAT.to_owned(),
            controller: written.request.controller.clone(),
            ring: written.request.ring.clone(),
            revision,
            ring_sha256,
            destroyed,
            census,
            request: written.text.clone(),
            signatures,
            audit_kid: kid,
            audit_public_key: signer.public().0,
        }
    }

    /// Its text, signed.
    pub(super) fn sign(&self, signer: &SigningKey) -> Result<String, DestroyError> {
        let text = serde_json::to_string_pretty(self).map_err(|_never| DestroyError::NotAReceipt)?;
        let covered = text.strip_suffix("\n}").ok_or(DestroyError::NotAReceipt)?;
        Ok(format!("{covered}{BEFORE}{}{AFTER}", crypto::base64url(&signer.sign(covered.as_bytes()))))
    }

    /// Reads a receipt and checks all that it can answer for by itself: that nothing in it was changed since it was signed under the key
    /// that it names, and that at least two keys signed the request. Whose keys these are it cannot answer for.
    ///
    /// # Errors
    ///
    /// [`DestroyError::NotAReceipt`], [`DestroyError::ForgedReceipt`].
    pub fn read(bytes: &[u8]) -> Result<(Self, Written), DestroyError> {
        let rest = bytes.strip_suffix(AFTER.as_bytes());
        let parts = rest.and_then(|rest| rest.split_at_checked(rest.len().checked_sub(SIGNATURE_CHARS)?));
        let (covered, signature) = parts.ok_or(DestroyError::NotAReceipt)?;
        let covered = covered.strip_suffix(BEFORE.as_bytes()).ok_or(DestroyError::NotAReceipt)?;
        let signature = crypto::from_base64url(signature).map_err(|_spelling| DestroyError::NotAReceipt)?;
        let receipt: Self = serde_json::from_slice(&[covered, b"\n}"].concat()).map_err(|_other| DestroyError::NotAReceipt)?;
        let written = Written::read(receipt.request.as_bytes())?;
        let mut keys: Vec<[u8; 32]> = receipt.signatures.iter().map(|signed| signed.public_key).collect();
        keys.sort_unstable();
        keys.dedup();
        let by_all = receipt
            .signatures
            .iter()
            .all(|signed| PublicKey(signed.public_key).verify(receipt.request.as_bytes(), &signed.signature));
        let of_request = written.request.controller == receipt.controller
            && written.request.ring == receipt.ring
            && written.request.revision.checked_add(1) == Some(receipt.revision);
        let sound = receipt.format == FORMAT
            && PublicKey(receipt.audit_public_key).verify(covered, &signature)
            && by_all
            && keys.len() == receipt.signatures.len()
            && keys.len() >= SIGNERS
            && of_request;
        if sound { Ok((receipt, written)) } else { Err(DestroyError::ForgedReceipt) }
    }

    /// What the audit log says of it.
    pub fn noted(&self, text: &str) -> Noted {
        let written = Written::read(self.request.as_bytes()).ok();
        Noted {
            receipt: HEXLOWER.encode(&crypto::sha256(text.as_bytes())),
            kids: written.iter().flat_map(|written| &written.request.versions).map(|asked| asked.kid).collect(),
            signers: self.signatures.iter().map(|signed| signed.operator.clone()).collect(),
            census: HEXLOWER.encode(&self.census),
            revision: self.revision,
        }
    }
}

/// What is recorded of a destruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// SHA-256 of the receipt, in hex.
    pub receipt: String,
    /// What goes.
    pub kids: Vec<Kid>,
    /// Who signed.
    pub signers: Vec<String>,
    /// SHA-256 of the census' line, in hex.
    pub census: String,
    /// The ring's first revision without the secrets.
    pub revision: u64,
}
