//! Certificates, keys and authorities from PEM files.
//!
//! Errors name the file and what is wrong with it, never its content.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct PemError {
    /// The file.
    pub path: String,
    /// What is wrong with it, and what is expected.
    pub why: String,
}

fn wrong(path: &Path, why: impl Into<String>) -> PemError {
    PemError { path: path.display().to_string(), why: why.into() }
}

fn unreadable(path: &Path, error: &pem::Error, expected: &str) -> PemError {
    // The library's other errors may quote a line of the file.
    if let pem::Error::Io(error) = error {
        wrong(path, error.to_string())
    } else if matches!(error, pem::Error::NoItemsFound) {
        wrong(path, format!("it holds no {expected} in PEM form"))
    } else {
        wrong(path, format!("it is not PEM that can be read; a {expected} is expected"))
    }
}

/// Every certificate of a file: a chain, its end entity first.
///
/// # Errors
///
/// [`PemError`] for a file that cannot be read or holds none.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(path, &error, "certificate"))?;
    if certificates.is_empty() { Err(unreadable(path, &pem::Error::NoItemsFound, "certificate")) } else { Ok(certificates) }
}

/// The first private key of a file: PKCS#8, PKCS#1 or SEC1, not encrypted.
///
/// # Errors
///
/// [`PemError`] for a file that cannot be read or holds none.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(path, &error, "private key"))
}

/// The certificate authorities of a file.
///
/// # Errors
///
/// [`PemError`] for a file that cannot be read, holds no certificate, or one that cannot be an authority.
pub fn authorities(path: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(path, format!("a certificate in it cannot be an authority: {error}")))?;
    }
    Ok(roots)
}

/// What authorities have revoked: every list of a file.
///
/// # Errors
///
/// [`PemError`] for a file that cannot be read or holds none.
pub fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    let read = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let lists = read.map_err(|error| unreadable(path, &error, "certificate revocation list"))?;
    if lists.is_empty() { Err(unreadable(path, &pem::Error::NoItemsFound, "certificate revocation list")) } else { Ok(lists) }
}
