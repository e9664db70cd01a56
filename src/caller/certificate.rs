//! What a verified client certificate says of its holder.
//!
//! Always holds: a certificate has at most one name here. One that carries anything like a SPIFFE id is known by that id alone, or by
//! nothing; only one without is known by its subject. What cannot be read, or could be read in two ways, is no name.

use std::fmt;

use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use crate::crypto::sha256;

/// Longest SPIFFE id (SPIFFE-ID section 2.3) and longest trust domain (section 2.1), in bytes.
const MAX_SPIFFE_BYTES: usize = 2048;
const MAX_TRUST_DOMAIN_BYTES: usize = 255;
const SPIFFE: &str = "spiffe://";

/// The names in a client certificate whose chain has been verified, made once for each connection.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its only URI name, where that is a SPIFFE id (`spiffe://trust-domain/path`).
    pub spiffe: Option<Box<str>>,
    /// Its subject as RFC 4514 writes it; `None` where it is empty, or where a URI name claims to be a SPIFFE id.
    pub subject: Option<Box<str>>,
    /// SHA-256 of the certificate in DER, which tokens bound to it name (RFC 8705, `x5t#S256`).
    pub sha256: [u8; 32],
}

impl Certificate {
    /// Reads the names of a certificate in DER. It must have been verified: nothing is checked here.
    pub fn of(der: &[u8]) -> Self {
        let unnamed = Self { spiffe: None, subject: None, sha256: sha256(der) };
        let Ok(certificate) = x509_cert::Certificate::from_der(der) else { return unnamed };
        let certificate = certificate.tbs_certificate;
        let Ok(names) = certificate.get::<SubjectAltName>() else { return unnamed };
        let names = names.map(|(_critical, names)| names.0).unwrap_or_default();
        let uris: Vec<&str> = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
                GeneralName::OtherName(_)
                | GeneralName::Rfc822Name(_)
                | GeneralName::DnsName(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EdiPartyName(_)
                | GeneralName::IpAddress(_)
                | GeneralName::RegisteredId(_) => None,
            })
            .collect();
        match uris.as_slice() {
            [one] if check_spiffe(one).is_ok() => Self { spiffe: Some(Box::from(*one)), ..unnamed },
            uris if uris.iter().any(|uri| claims_spiffe(uri)) => unnamed,
            _ => Self { subject: subject_of(&certificate.subject), ..unnamed },
        }
    }
}

/// The scheme of a URI does not mind upper case (RFC 3986), so that a claim is a claim in any case.
fn claims_spiffe(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("spiffe"))
}

/// What is wrong with a SPIFFE id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// Another scheme.
    #[error("it does not begin with spiffe://")]
    Scheme,
    /// Too long.
    #[error("it is longer than {MAX_SPIFFE_BYTES} bytes, or its trust domain than {MAX_TRUST_DOMAIN_BYTES}")]
    TooLong,
    /// The part up to the first slash: also a port, a user, an escape.
    #[error("its trust domain is empty, or has other characters than a-z, 0-9, '.', '-' and '_'")]
    TrustDomain,
    /// No workload is named.
    #[error("it has no path, so it names a trust domain and no caller")]
    NoPath,
    /// A segment that is empty, `.` or `..`, or with other characters: also a query, a fragment, an escape.
    #[error("a segment of its path is empty, '.' or '..', or has other characters than letters, digits, '.', '-' and '_'")]
    Path,
}

/// Checks that this is the id of a workload as SPIFFE-ID section 2 spells it, of which there is one spelling.
///
/// # Errors
///
/// [`SpiffeError`], the first thing wrong.
pub fn check_spiffe(text: &str) -> Result<(), SpiffeError> {
    let rest = text.strip_prefix(SPIFFE).ok_or(SpiffeError::Scheme)?;
    let (domain, path) = match rest.split_once('/') {
        None => (rest, None),
        Some((domain, path)) => (domain, Some(path)),
    };
    if text.len() > MAX_SPIFFE_BYTES || domain.len() > MAX_TRUST_DOMAIN_BYTES {
        return Err(SpiffeError::TooLong);
    }
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if domain.is_empty() || !domain.bytes().all(fits) {
        return Err(SpiffeError::TrustDomain);
    }
    let segment_fits = |segment: &str| {
        !matches!(segment, "" | "." | "..") && segment.bytes().all(|byte| fits(byte) || byte.is_ascii_uppercase())
    };
    match path {
        None | Some("") => Err(SpiffeError::NoPath),
        Some(path) if path.split('/').all(segment_fits) => Ok(()),
        Some(_) => Err(SpiffeError::Path),
    }
}

/// The one writing in which subjects are compared: RFC 4514, the most specific name first (`CN=shipping,O=Shop`), short names of
/// attributes in capitals, no spaces around commas. Values are compared to the letter.
///
/// `None` if the text is no subject, or an empty one.
pub fn canonical_subject(text: &str) -> Option<Box<str>> {
    subject_of(&text.parse().ok()?)
}

fn subject_of(name: &Name) -> Option<Box<str>> {
    let text = name.to_string();
    // Only a writing that is read back as the same attributes names one subject and no other.
    let again: Name = text.parse().ok()?;
    let same = again.0.len() == name.0.len()
        && again.0.iter().zip(&name.0).all(|(a, b)| {
            a.0.len() == b.0.len() && a.0.iter().zip(b.0.iter()).all(|(a, b)| a.oid == b.oid && a.to_string() == b.to_string())
        });
    (same && !text.is_empty()).then(|| text.into())
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_has_one_spelling() {
        for good in [
            "spiffe://shop.example/shipping",
            "spiffe://shop.example/ns/default/sa/Shipping_1.x-y",
            "spiffe://a/b",
            "spiffe://1-2_3.x/...",
        ] {
            assert_eq!(check_spiffe(good), Ok(()), "{good}");
        }
        let long = format!("spiffe://shop.example/{}", "a".repeat(MAX_SPIFFE_BYTES));
        let domain = format!("spiffe://{}/a", "a".repeat(MAX_TRUST_DOMAIN_BYTES + 1));
        for (wrong, why) in [
            ("https://shop.example/shipping", SpiffeError::Scheme),
            ("SPIFFE://shop.example/shipping", SpiffeError::Scheme),
            ("spiffe:/shop.example/shipping", SpiffeError::Scheme),
            (&long, SpiffeError::TooLong),
            (&domain, SpiffeError::TooLong),
            ("spiffe:///shipping", SpiffeError::TrustDomain),
            ("spiffe://Shop.example/shipping", SpiffeError::TrustDomain),
            ("spiffe://shop.example:8443/shipping", SpiffeError::TrustDomain),
            ("spiffe://me@shop.example/shipping", SpiffeError::TrustDomain),
            ("spiffe://shop%2eexample/shipping", SpiffeError::TrustDomain),
            ("spiffe://shop.example", SpiffeError::NoPath),
            ("spiffe://shop.example/", SpiffeError::NoPath),
            ("spiffe://shop.example/shipping/", SpiffeError::Path),
            ("spiffe://shop.example//shipping", SpiffeError::Path),
            ("spiffe://shop.example/./shipping", SpiffeError::Path),
            ("spiffe://shop.example/a/../shipping", SpiffeError::Path),
            ("spiffe://shop.example/shipping?x=1", SpiffeError::Path),
            ("spiffe://shop.example/shipping#x", SpiffeError::Path),
            ("spiffe://shop.example/ship%70ing", SpiffeError::Path),
            ("spiffe://shop.example/shipping\0", SpiffeError::Path),
            ("spiffe://shop.example/versand\u{e4}", SpiffeError::Path),
        ] {
            assert_eq!(check_spiffe(wrong), Err(why), "{wrong}");
        }
    }

    #[test]
    fn subjects_are_compared_in_one_writing() {
        for (written, canonical) in [
            ("CN=shipping,O=Shop", "CN=shipping,O=Shop"),
            ("cn=shipping,o=Shop", "CN=shipping,O=Shop"),
            ("commonName=shipping,organizationName=Shop", "CN=shipping,O=Shop"),
            ("2.5.4.3=shipping,2.5.4.10=Shop", "CN=shipping,O=Shop"),
            (r"CN=ship\2cping", r"CN=ship\,ping"),
            (r"CN=Acme\, Inc.,C=HK", r"CN=Acme\, Inc.,C=HK"),
            ("CN=運送,O=Shop", "CN=運送,O=Shop"),
            ("OU=a+CN=b", "CN=b+OU=a"),
            ("CN=b+OU=a", "CN=b+OU=a"),
        ] {
            assert_eq!(canonical_subject(written).as_deref(), Some(canonical), "{written}");
        }
        for different in
            ["CN=Shipping,O=Shop", "O=Shop,CN=shipping", "CN=shipping,O=Shop,C=HK", "CN=shipping", r"CN=shipping\,O\=Shop"]
        {
            assert_ne!(canonical_subject(different).as_deref(), Some("CN=shipping,O=Shop"), "{different}");
        }
        for wrong in ["", "shipping", "CN", "nonsense=shipping", "CN=shipping,", "CN=shipping, O=Shop", "CN = shipping", "CN=#zz"]
        {
            assert_eq!(canonical_subject(wrong), None, "{wrong}");
        }
    }
}
