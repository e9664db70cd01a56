//! When a certificate is valid, for those who look at files before a peer does.

use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// What the dates of a certificate say at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dates {
    /// It is valid.
    Valid,
    /// It was valid until then.
    Expired(String),
    /// It is valid from then on.
    NotYet(String),
    /// It is no certificate that can be read.
    Unreadable,
}

impl Dates {
    /// Reads them at a time in milliseconds since 1970.
    pub fn of(certificate: &CertificateDer<'_>, now_ms: u64) -> Self {
        let Ok(certificate) = Certificate::from_der(certificate) else { return Self::Unreadable };
        let validity = certificate.tbs_certificate.validity;
        let now = std::time::Duration::from_millis(now_ms);
        if now > validity.not_after.to_unix_duration() {
            Self::Expired(validity.not_after.to_string())
        } else if now < validity.not_before.to_unix_duration() {
            Self::NotYet(validity.not_before.to_string())
        } else {
            Self::Valid
        }
    }
}
