//! The receipt of a destruction: what was destroyed, by whose signatures, on what proof; signed by the ring.
//!
//! It is written before the secrets go, as the intent, and becomes the receipt when they are gone. So no destruction is without one, and
//! what it says is held against the ring: [`verify_receipt`]. Always holds: it names the exact bytes of the ring without the secrets, and holds the
//! request and the operators' signatures whole, so that it can be checked by itself.

use std::fs;
use std::io;
use std::path::PathBuf;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::super::super::{AuditKey, Config, KeyError, KeyRing, State, manifest};
use super::super::{evidence, spelled};
use super::request::{Asked, Request, Signed, Written};
use super::{DestroyError, Operator, SIGNERS, of_this_ring};
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

/// The receipts that stand beside a ring, and intents that no receipt was made of, in order of their names.
///
/// # Errors
///
/// What the system refuses.
pub fn receipts(config: &Config) -> Result<Vec<PathBuf>, KeyError> {
    let folder = evidence::folder(config);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| KeyError::io(&folder, "read", &error))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| KeyError::io(&folder, "read", &error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".receipt.json") || name.ends_with(".intent.json") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What a receipt says, and whether the ring says the same.
#[derive(Debug)]
pub struct ReceiptReport {
    /// What it says.
    pub receipt: Receipt,
    /// What was asked.
    pub request: Request,
    /// Versions that are not destroyed although it says so: it was never carried out, or an old ring was put back.
    pub still_there: Vec<Kid>,
    /// The ring that is here does not know the audit version that signed it.
    pub unknown_signer: bool,
    /// Operators who signed and stand otherwise, or not at all, in the configuration now.
    pub changed_operators: Vec<String>,
    /// The census that it names is among those that are kept.
    pub census_kept: bool,
}

impl ReceiptReport {
    /// Does all that proves something agree?
    pub fn is_sound(&self) -> bool {
        self.still_there.is_empty() && !self.unknown_signer
    }
}

/// Holds a receipt against the ring. `main` is the ring with the audit line, whose key signed it.
///
/// # Errors
///
/// [`DestroyError::NotAReceipt`], [`DestroyError::ForgedReceipt`], [`DestroyError::Foreign`]; a ring that cannot be read.
pub fn verify_receipt(
    config: &Config,
    operators: &[Operator],
    main: &KeyRing,
    bytes: &[u8],
) -> Result<ReceiptReport, DestroyError> {
    let (receipt, written) = Receipt::read(bytes)?;
    let opened = manifest::open(config)?;
    of_this_ring(&opened, &receipt.controller, &receipt.ring)?;
    let gone = |asked: &&Asked| {
        let mut versions = opened.manifest.versions();
        !versions.any(|(line, version)| {
            *line == asked.line
                && version.kid == asked.kid
                && version.state == State::Destroyed
                && version.commitment == asked.commitment
        })
    };
    let still_there = written.request.versions.iter().filter(gone).map(|asked| asked.kid).collect();
    let signs = |(kid, _, signer): &AuditKey| *kid == receipt.audit_kid && signer.public().0 == receipt.audit_public_key;
    let unknown_signer = !main.audit_keys()?.iter().any(signs);
    let known = |signed: &&Signed| {
        !operators.iter().any(|operator| operator.name == signed.operator && operator.public.0 == signed.public_key)
    };
    let changed_operators = receipt.signatures.iter().filter(known).map(|signed| signed.operator.clone()).collect();
    let census_kept = receipt.census == [0; 32] || evidence::kept(config, main)?.iter().any(|kept| kept.hash == receipt.census);
    Ok(ReceiptReport { receipt, request: written.request, still_there, unknown_signer, changed_operators, census_kept })
}
