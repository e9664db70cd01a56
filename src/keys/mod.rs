//! Key ring: lines of key versions, what each may do, the file manifest, KEK providers.
//!
//! INTERFACE SKETCH. To come: ring.rs (snapshot, subkeys), manifest.rs (file format, HMAC, atomic write), kek.rs (provider file), life.rs (rotate …)

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::{Controller, FieldPlace, Kid};
use crate::crypto::{MacKey, XaesKey};
use crate::purpose::Permit;

/// `[keys]` as run.
#[derive(Debug, Clone)]
pub struct Config { pub controller: Controller, pub ring: PathBuf, pub kek: Kek, pub min_revision: u64 }
#[derive(Debug, Clone)]
pub enum Kek {
    /// A file with 32 bytes as base64url text, mode 0600; refused when others may read it.
    File(PathBuf),
    /// Argon2id over a passphrase taken from this environment variable; salt and parameters stand in the manifest.
    Passphrase { env: String },
}

/// NIST SP 800-57 part 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State { PreActive, Active, Deactivated, Compromised, Destroyed }

/// One of `seal`, `lookup`, `token`, `audit`, or `pseudonym/<scope>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LineName { Seal, Lookup, Token, Audit, Pseudonym(String) }

/// An opened ring: immutable snapshot of one manifest revision, with a bounded cache of subkeys (dashmap).
#[derive(Debug)]
pub struct KeyRing { /* … */ }
impl KeyRing {
    /// Reads, authenticates and unwraps. Refuses: bad HMAC, foreign controller, commitment mismatch, revision below `min_revision`, two Active in a line.
    pub fn open(_config: &Config) -> Result<Self, KeyError> { todo!() }
    pub fn revision(&self) -> u64 { todo!() }
    /// The XAES key of the Active seal version for this field (subkey = HKDF(version secret, enc("sudare/v1","seal",controller,collection,field))).
    pub fn seal_key(&self, _place: &FieldPlace) -> Result<Arc<FieldKey>, KeyError> { todo!() }
    /// The key a stored value names. Refused: unknown kid, Destroyed, Compromised under Permit::Reveal.
    pub fn open_key(&self, _kid: Kid, _place: &FieldPlace, _permit: Permit<'_>) -> Result<Arc<FieldKey>, KeyError> { todo!() }
    /// The pseudonym key of a scope; only under Permit::Reveal is it used.
    pub fn pseudonym_key(&self, _scope: &str, _permit: Permit<'_>) -> Result<Arc<MacKey>, KeyError> { todo!() }
    /// For subject pseudonyms in the audit log and its head; all versions that open, Active first.
    pub fn audit_keys(&self) -> Result<Vec<(Kid, Arc<MacKey>)>, KeyError> { todo!() }
    pub fn has_pseudonym_scope(&self, _scope: &str) -> bool { todo!() }
    /// For `keys list` and metrics: line, kid, state, created_ms, activated_ms …
    pub fn versions(&self) -> Vec<VersionInfo> { todo!() }
}
#[derive(Debug, Clone)]
pub struct VersionInfo { pub line: LineName, pub kid: Kid, pub state: State, pub created_ms: u64, pub activated_ms: Option<u64>, pub deactivated_ms: Option<u64> }

/// A prepared key for one field under one version.
pub struct FieldKey { pub kid: Kid, pub xaes: XaesKey }

// Operator functions (used by cli/keys.rs): 
// pub fn init(config:&Config, scopes:&[String], clock:&dyn Clock) -> Result<InitReport, KeyError>   makes KEK file + ring where absent; adds missing pseudonym scopes to an existing ring (revision+1); overwrites nothing
// pub fn rotate(config:&Config, line:&LineName, clock) -> Result<RotateReport, KeyError>             new version Active, old Deactivated (one node); holds an advisory lock; write-new + fsync + rename + fsync dir
// pub fn verify(config:&Config) -> Result<VerifyReport, KeyError>                                    everything open() checks, per version

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError { #[error("placeholder")] Placeholder }
