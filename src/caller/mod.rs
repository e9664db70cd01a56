//! Who is asking. Pure.
//!
//! INTERFACE SKETCH

use crate::base::CallerName;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller { pub name: CallerName, pub how: How }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How { Credential, PeerUid }

/// `[caller.*]` as run.
#[derive(Debug, Default)]
pub struct Callers { /* by name → sha256; by uid → name */ }
/// One entry as configured.
#[derive(Debug, Clone)]
pub enum Means { CredentialSha256([u8; 32]), Uid(u32) }
impl Callers {
    /// Two callers with one uid, or one credential hash, are refused.
    pub fn new(_entries: Vec<(CallerName, Means)>) -> Result<Self, CallerConfigError> { todo!() }
    /// `credentials`: every `Sudare-Credential` header value of the request (two = malformed). A wrong credential is never replaced by the peer uid.
    /// Constant time in the secret; an unknown name costs the same as a wrong secret.
    pub fn identify(&self, _credentials: &[&[u8]], _peer_uid: Option<u32>) -> Result<Caller, Unknown> { todo!() }
    pub fn names(&self) -> Vec<&CallerName> { todo!() }
}
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallerConfigError { #[error("callers {0} and {1} cannot be told apart")] Same(CallerName, CallerName) }
/// 401. One sentence for every reason but a malformed header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("no caller known: send Sudare-Credential: name.secret")] None,
    #[error("the credential is not known")] Refused,
    #[error("send one Sudare-Credential header, as name.secret")] Malformed,
}
// pub fn new_credential(name:&CallerName) -> Result<(String /*header value, shown once*/, [u8;32]), RandomError>    secret: 32 random bytes as base64url
