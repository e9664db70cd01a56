//! What a verified client certificate says of its holder.

use std::fmt;

/// The names in a client certificate whose chain has been verified, made once for each connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its only URI name, where that is a SPIFFE id (`spiffe://trust-domain/path`).
    pub spiffe: Option<Box<str>>,
    /// Its subject as RFC 4514 writes it; `None` where it is empty.
    pub subject: Option<Box<str>>,
    /// SHA-256 of the certificate in DER, which tokens bound to it name (RFC 8705, `x5t#S256`).
    pub sha256: [u8; 32],
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}
