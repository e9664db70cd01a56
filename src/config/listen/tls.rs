//! Reads `[listen] tls`: our certificate and key, and whose certificates clients may present.
//!
//! Always holds: what is returned accepts connections as it stands, for the files have been read, belong together and hold now; so a
//! reload with files that do not keeps those in force. Called by [`super::listen`].

use std::ops::Range;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::super::Environment;
use super::super::report::{Draft, Report};
use super::super::tree::{Node, Section, Text};
use crate::base::{Clock as _, SystemClock};
use crate::front::http::PROTOCOLS;
use crate::net::tls::pem::{self, PemError};
use crate::net::tls::server::{Clients, Identity, Server, ServerError, Validity, Without};

/// `[listen] tls` as run.
#[derive(Debug, Clone)]
pub struct Tls {
    /// What accepts connections.
    pub server: Server,
    /// The files it was read from.
    pub files: Vec<PathBuf>,
    /// Until when our certificate holds, in seconds since 1970.
    pub until: u64,
}

/// The members, with the paths resolved.
struct Files {
    certificate: File,
    key: File,
    authorities: Option<File>,
    revoked: Option<File>,
    without: Without,
}

struct File {
    path: PathBuf,
    span: Range<usize>,
}

/// Reads the table. Outer `None`: something is wrong. Inner: the files were not asked for.
#[expect(clippy::option_option, reason = "wrong, not read and read are three things")]
pub(super) fn read(section: &Section<'_>, http2: bool, folder: &Path, environment: Environment<'_>) -> Option<Option<Tls>> {
    let files = files(section, folder)?;
    match environment {
        // Who reads the policy need not be able to read the key.
        Environment::StoreOnly(_) | Environment::Ignored => Some(None),
        Environment::Read(_) => load(section.report(), files, http2).map(Some),
    }
}

fn files(section: &Section<'_>, folder: &Path) -> Option<Files> {
    let certificate = section.required("certificate", "certificate = \"tls/server.pem\"").and_then(|node| path(&node));
    let key = section.required("key", "key = \"tls/server.key\"").and_then(|node| path(&node));
    let authorities = section.optional("client_ca").map(|node| path(&node));
    let revoked = section.optional("client_crl").map(|node| path(&node));
    let without = section.optional("clients");
    section.finish();
    if authorities.is_none() {
        let lonely = [("clients", without.as_ref().map(|node| &node.span)), ("client_crl", span_of(revoked.as_ref()))];
        for (name, span) in lonely {
            if let Some(span) = span {
                section.report().push(
                    Draft::error(span, format!("`{name}` without `client_ca`: no client certificate would be taken"))
                        .remedy("add client_ca = \"tls/clients.pem\", the authorities whose certificates clients present, or remove the line"),
                );
            }
        }
    }
    let without = match without {
        None => Some(Without::Refused),
        Some(node) => node.word(&[("required", Without::Refused), ("optional", Without::Taken)]),
    };
    let file = |text: Text| File { path: folder.join(text.value), span: text.span };
    let present = |text: Option<Option<Text>>| match text {
        None => Some(None),
        Some(text) => text.map(|text| Some(file(text))),
    };
    let (authorities, revoked) = (present(authorities), present(revoked));
    Some(Files {
        certificate: file(certificate?),
        key: file(key?),
        authorities: authorities?,
        revoked: revoked?,
        without: without?,
    })
}

/// The path of a file, and not its content.
fn path(node: &Node<'_>) -> Option<Text> {
    let text = node.text()?;
    if text.value.contains("-----BEGIN") {
        node.report().hide(&text.span);
        node.report().push(
            Draft::error(&text.span, format!("{} is the content of a file", node.title))
                .expected("its path")
                .remedy("put it into a file that only the account of Sudare can read, and name that file here"),
        );
        return None;
    }
    Some(text)
}

fn span_of(text: Option<&Option<Text>>) -> Option<&Range<usize>> {
    text.and_then(Option::as_ref).map(|text| &text.span)
}

/// Reads the files, all of them, so that every mistake is found at once.
fn load(report: &Report<'_>, files: Files, http2: bool) -> Option<Tls> {
    let Files { certificate, key, authorities, revoked, without } = files;
    let chain =
        found(report, &certificate, pem::certificates(&certificate.path), "our certificate, then those up to its authority");
    let private = found(report, &key, pem::private_key(&key.path), "the key of the certificate, not encrypted");
    warn_of_open_key(report, &key);
    let trusted = authorities.as_ref().map(|file| {
        found(report, file, pem::authorities(&file.path), "the certificates of the authorities that sign those of clients")
    });
    let lists = revoked
        .as_ref()
        .map(|file| found(report, file, pem::revocations(&file.path), "a revocation list of every one of these authorities"));
    let chain = chain.filter(|chain| {
        let validity = chain.first().and_then(Validity::of_certificate);
        holds_now(report, &certificate, validity, "certificate")
    });
    // Once a list is overdue, nothing says that a certificate has not been revoked, and no client is let in.
    let lists = lists.zip(revoked.as_ref()).map(|(lists, file)| {
        lists.filter(|lists| {
            lists.iter().map(Validity::of_list).all(|validity| holds_now(report, file, validity, "revocation list"))
        })
    });
    let clients = match (trusted, lists) {
        (None, _) => None,
        (Some(authorities), lists) => {
            Some(Clients { authorities: authorities?, revoked: lists.unwrap_or_else(|| Some(Vec::new()))?, without })
        }
    };
    let until =
        chain.as_ref().and_then(|chain| chain.first()).and_then(Validity::of_certificate).map_or(0, |validity| validity.until);
    let protocols = PROTOCOLS.get(usize::from(!http2)..).unwrap_or_default();
    let server = Server::new(Identity { chain: chain?, key: private? }, clients, protocols);
    let server = server.map_err(|error| report.push(unusable(&error, &certificate, &key, authorities.as_ref())));
    let files = [Some(certificate), Some(key), authorities, revoked].into_iter().flatten().map(|file| file.path).collect();
    Some(Tls { server: server.ok()?, files, until })
}

fn found<T>(report: &Report<'_>, file: &File, read: Result<T, PemError>, expected: &str) -> Option<T> {
    read.map_err(|error| {
        report.push(
            Draft::error(&file.span, error.to_string())
                .expected(expected)
                .remedy("name a file in PEM form that the account of Sudare can read; docs/tls.md shows how to make one"),
        );
    })
    .ok()
}

fn unusable(error: &ServerError, certificate: &File, key: &File, authorities: Option<&File>) -> Draft {
    let (file, remedy) = match error {
        ServerError::KeyMismatch => (key, "name the key of the first certificate in the file of `certificate`"),
        ServerError::Clients(_) => {
            (authorities.unwrap_or(certificate), "name the authorities that sign the certificates of clients")
        }
        ServerError::Identity(_) => (certificate, "name a certificate with an ECDSA, Ed25519 or RSA key, and that key"),
    };
    Draft::error(&file.span, format!("{}: {error}", file.path.display())).remedy(remedy)
}

/// What the file holds is good today. Warns in the last tenth of its life.
fn holds_now(report: &Report<'_>, file: &File, validity: Option<Validity>, what: &str) -> bool {
    let path = file.path.display();
    let Some(Validity { from, until }) = validity else {
        report.push(
            Draft::error(&file.span, format!("{path}: the dates of the {what} cannot be read"))
                .remedy("have it made anew, with a first and a last date"),
        );
        return false;
    };
    let now = SystemClock.now_ms() / 1000;
    let date = |seconds: u64| {
        let stamp = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        stamp.map_or_else(|| "a date out of range".to_owned(), |stamp| stamp.to_string())
    };
    let renew = "renew it, and send SIGHUP once the new file is in place";
    if now > until {
        let message = format!("{path}: the {what} has expired; it held until {}", date(until));
        report.push(Draft::error(&file.span, message).remedy(renew));
        return false;
    }
    if now < from {
        report.push(
            Draft::error(&file.span, format!("{path}: the {what} does not hold before {}", date(from)))
                .remedy("use one that holds already, or set the clock of this machine"),
        );
        return false;
    }
    if until - now < (until - from) / 10 {
        report.push(Draft::warning(&file.span, format!("{path}: the {what} holds until {} only", date(until))).remedy(renew));
    }
    true
}

fn warn_of_open_key(report: &Report<'_>, key: &File) {
    let others = std::fs::metadata(&key.path).is_ok_and(|metadata| metadata.permissions().mode() & 0o007 != 0);
    if others {
        report.push(
            Draft::warning(&key.span, format!("{}: every user of this machine can read or change the key", key.path.display()))
                .remedy("chmod o= its file, or whoever reads it can pass for this proxy"),
        );
    }
}
