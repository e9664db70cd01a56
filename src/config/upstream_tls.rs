//! Reads `[upstream] tls` and `[store] tls`: whom a database's certificate must come from, which name it must have, what we present to
//! it.
//!
//! Always holds: there is no member that turns verification off; what a file holds is never quoted. Called by
//! [`super::upstream`] and [`super::store`].

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};

use super::report::Draft;
use super::tree::{Section, Text, shorten};
use crate::base::{Clock as _, SystemClock};
use crate::net::tls::client::{Client, Presented, system_authorities};
use crate::net::tls::dates::Dates;
use crate::net::tls::pem;

/// `tls` as it stands in the file.
#[derive(Debug)]
pub(super) struct Written<'a> {
    section: Section<'a>,
    ca: Option<Text>,
    server_name: Option<Text>,
    certificate: Option<Text>,
    key: Option<Text>,
    /// A member is of the wrong type.
    wrong: bool,
}

/// Reads the table, which has this title in findings; no file yet.
pub(super) fn written<'a>(of: &Section<'a>, title: &str) -> Option<Written<'a>> {
    let section = of.optional("tls")?.table_named(title)?;
    let before = section.report().errors();
    let text = |key| section.optional(key).and_then(|node| node.text());
    let (ca, server_name, certificate, key) = (text("ca"), text("server_name"), text("certificate"), text("key"));
    let wrong = section.report().errors() > before;
    section.finish();
    Some(Written { section, ca, server_name, certificate, key, wrong })
}

impl Written<'_> {
    /// For a database that is not reached over TLS.
    pub(super) fn refuse(&self, beside: &str, expected: &str, remedy: &str) {
        let message = format!("`tls` stands beside {beside}");
        self.section.report().push(Draft::error(&self.section.span, message).expected(expected).remedy(remedy));
    }
}

/// How connections to `host`, of the URL `url`, are secured.
pub(super) fn client(
    written: Option<&Written<'_>>,
    url: &Text,
    host: &str,
    folder: &Path,
    upstream: &Section<'_>,
) -> Option<Client> {
    if written.is_none() && upstream.has("tls") {
        return None;
    }
    let report = upstream.report();
    let mut files = Vec::new();
    let mut path = |text: &Text| {
        let path = folder.join(&text.value);
        files.push(path.clone());
        path
    };
    let roots = match written.and_then(|written| written.ca.as_ref()) {
        Some(text) => authorities(upstream, text, &path(text)),
        None if written.is_some_and(|written| written.wrong) => None,
        None => match system_authorities() {
            Ok(roots) => Some(roots),
            Err(why) => {
                report.push(Draft::error(&url.span, why).remedy(
                    "install the package ca-certificates, or name the authority of the database: tls = { ca = \"tls/db-ca.pem\" }",
                ));
                None
            }
        },
    };
    let name_text = written.and_then(|written| written.server_name.as_ref());
    let name = ServerName::try_from(name_text.map_or(host, |text| &text.value).to_owned()).ok();
    if name.is_none() {
        let (span, shown) = name_text.map_or((&url.span, host), |text| (&text.span, text.value.as_str()));
        report.push(
            Draft::error(span, format!("\"{}\" is not a name that a certificate can be for", shorten(shown)))
                .expected("a DNS name or an IP address, without port")
                .remedy("write the name in the certificate of the database: server_name = \"db.internal\""),
        );
    }
    let presented = match written {
        None => Some(None),
        Some(written) => presented(written, &mut path),
    };
    let (roots, name, presented) = (roots?, name?, presented?);
    match Client::new(roots, name, presented, files) {
        Ok(client) => Some(client),
        Err(error) => {
            let span = written.and_then(|written| written.key.as_ref()).map_or(&url.span, |key| &key.span);
            let message = if matches!(error, rustls::Error::InconsistentKeys(_)) {
                "the key does not belong to the certificate".to_owned()
            } else {
                format!("the key cannot be used: {error}")
            };
            report.push(Draft::error(span, message).remedy("name the key that the certificate was issued for; the certificate's file begins with ours, then those that signed it"));
            None
        }
    }
}

/// The authorities of a file, without those that have expired: a bundle keeps old ones for a while.
fn authorities(upstream: &Section<'_>, text: &Text, path: &Path) -> Option<RootCertStore> {
    let report = upstream.report();
    let wrong = |message: String, remedy: &str| {
        report.push(Draft::error(&text.span, message).remedy(remedy));
        None
    };
    let certificates = match pem::certificates(path) {
        Ok(certificates) => certificates,
        Err(error) => {
            return wrong(error.to_string(), "name a PEM file with the certificate of the authority that signed the database's");
        }
    };
    let mut roots = RootCertStore::empty();
    let mut expired = None;
    for certificate in certificates {
        if let Dates::Expired(when) = Dates::of(&certificate, SystemClock.now_ms()) {
            expired = Some(when);
        } else if let Err(error) = roots.add(certificate) {
            return wrong(
                format!("{}: a certificate in it cannot be an authority: {error}", path.display()),
                "leave only certificates of authorities in it",
            );
        }
    }
    match expired {
        Some(when) if roots.is_empty() => wrong(
            format!("{}: the authority in it expired on {when}", path.display()),
            "put the authority's new certificate into it; the database may need a new one too",
        ),
        Some(when) => {
            report.push(
                Draft::warning(&text.span, format!("{}: an authority in it expired on {when} and is left out", path.display()))
                    .remedy("remove it from the file"),
            );
            Some(roots)
        }
        None => Some(roots),
    }
}

/// What we present. Outer `None`: something is wrong. Inner: not configured.
#[expect(clippy::option_option, reason = "wrong, absent and present are three things")]
fn presented(written: &Written<'_>, path: &mut impl FnMut(&Text) -> PathBuf) -> Option<Option<Presented>> {
    let report = written.section.report();
    let (certificate, key) = match (&written.certificate, &written.key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => return (!written.wrong).then_some(None),
        (Some(text), None) | (None, Some(text)) => {
            if !written.wrong {
                report.push(
                    Draft::error(&text.span, "`certificate` and `key` come together, and one is missing")
                        .remedy("write both: certificate = \"tls/sudare.pem\", key = \"tls/sudare.key\""),
                );
            }
            return None;
        }
    };
    let chain = pem::certificates(&path(certificate)).map_err(|error| {
        report.push(
            Draft::error(&certificate.span, error.to_string())
                .remedy("name a PEM file with our certificate, followed by those that signed it"),
        );
    });
    let private = pem::private_key(&path(key)).map_err(|error| {
        report.push(
            Draft::error(&key.span, error.to_string()).remedy("name the PEM file of the key, not encrypted, readable by us"),
        );
    });
    let (chain, private) = (chain.ok()?, private.ok()?);
    warn_of_dates(written, certificate, &chain);
    Some(Some((chain, private)))
}

/// Time passes, and a proxy that did not start for it would be worse; the database refuses, and says so.
fn warn_of_dates(written: &Written<'_>, text: &Text, chain: &[CertificateDer<'_>]) {
    let Some(ours) = chain.first() else { return };
    let (message, remedy) = match Dates::of(ours, SystemClock.now_ms()) {
        Dates::Expired(when) => (format!("this certificate expired on {when}: the database will refuse it"), "renew it"),
        Dates::NotYet(when) => {
            (format!("this certificate is not valid before {when}: the database will refuse it"), "see that the clock is right")
        }
        Dates::Valid | Dates::Unreadable => return,
    };
    written.section.report().push(Draft::warning(&text.span, message).remedy(remedy));
}
