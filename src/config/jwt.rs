//! Reads `[jwt.*]`: who signs tokens, where their keys are, what must hold of a token.
//!
//! Always holds: no algorithm with a shared secret can be allowed; keys come over verified TLS, from this machine or from a
//! file; two tables are never about one issuer. Called by [`super::build`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::ServerName;

use super::names::check_name;
use super::report::{Draft, Report};
use super::service::millis;
use super::tree::{Node, Section, Text, shorten};
use super::upstream::port_fits;
use crate::base::IssuerName;
use crate::caller::{Algorithm, Bound, Issuer, IssuerKeys, KeySet, Unnamed};
use crate::net::fetch::Document;
use crate::net::tls::client::{Client, system_authorities};
use crate::net::tls::pem;

const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Keys that are fetched, and kept fresh.
#[derive(Debug, Clone)]
pub struct FetchedKeys {
    /// Whose they are.
    pub issuer: IssuerName,
    /// `iss` of its tokens: another issuer's keys are never its own, whatever the table is called.
    pub of: Box<str>,
    /// The URL as written.
    pub url: String,
    /// Where they are.
    pub document: Document,
    /// How often they are fetched.
    pub refresh: Duration,
    /// How long the last ones serve while they cannot be fetched.
    pub stale: Duration,
    /// The algorithms they are for.
    pub algorithms: Vec<Algorithm>,
    /// Where they are put.
    pub keys: Arc<IssuerKeys>,
}

/// The issuers of the file.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Every name that stands in the file, right or wrong.
    pub(super) names: Vec<Text>,
    /// Those without mistakes.
    pub(super) issuers: Vec<Issuer>,
    pub(super) fetched: Vec<FetchedKeys>,
    /// Files that were read, for whoever watches them.
    pub(super) files: Vec<PathBuf>,
}

/// Reads every `[jwt.NAME]`.
pub(super) fn read(root: &Section<'_>, folder: &Path) -> Written {
    let mut written = Written::default();
    let Some(table) = root.optional_table("jwt") else { return written };
    let report = root.report();
    for (name, node) in table.entries() {
        let named = check_name(report, &name, "an issuer");
        written.names.push(name.clone());
        let Some(entry) = node.table_named(format!("[jwt.{}]", shorten(&name.value))) else { continue };
        let Some((issuer, source)) = issuer(&entry, &name, folder, &mut written.files) else { continue };
        if let Some(twin) = written.issuers.iter().find(|other| other.issuer == issuer.issuer) {
            report.push(
                Draft::error(
                    &name.span,
                    format!("[jwt.{}] and [jwt.{}] are about the same issuer", twin.name, shorten(&name.value)),
                )
                .remedy("make them one table; `audience` and `algorithms` take lists, and several callers may name one issuer"),
            );
        } else if named {
            written.issuers.push(issuer);
            written.fetched.extend(source);
        }
    }
    written
}

fn issuer(entry: &Section<'_>, name: &Text, folder: &Path, files: &mut Vec<PathBuf>) -> Option<(Issuer, Option<FetchedKeys>)> {
    let issuer = entry
        .required("issuer", "issuer = \"https://idp.example.com/\": `iss`, exactly as in its tokens")
        .map(|node| node.text());
    let audience = entry.required("audience", "audience = \"sudare\": what its tokens for this proxy have in `aud`");
    let audience = audience.as_ref().and_then(text_or_texts);
    let allowed = entry.required("algorithms", "algorithms = [\"RS256\"]: those that the issuer signs with");
    let allowed = allowed.as_ref().and_then(algorithms);
    let seconds = |key, range, default| match entry.optional(key) {
        Some(node) => node.integer(range, "seconds"),
        None => Some(default),
    };
    let leeway_s = seconds("leeway_s", 0..=300, 30);
    let max_lifetime_s = match entry.optional("max_lifetime_s") {
        Some(node) => node.integer(1..=31_536_000, "seconds").map(Some),
        None => Some(None),
    };
    let typ = match entry.optional("typ") {
        Some(node) => node.text().map(|text| Some(Box::from(text.value))),
        None => Some(None),
    };
    let bound = match entry.optional("bound") {
        Some(node) => node.word(&[("optional", Bound::Optional), ("required", Bound::Required)]),
        None => Some(Bound::Optional),
    };
    let purpose_claim = match entry.optional("purpose_claim") {
        Some(node) => node.text().map(|text| Box::from(text.value)),
        None => Some(Box::from("purpose")),
    };
    let unnamed = match entry.optional("purposes") {
        Some(node) => node.word(&[("from-token", Unnamed::Nothing), ("from-policy", Unnamed::FromPolicy)]),
        None => Some(Unnamed::Nothing),
    };
    let jwks = entry.required("jwks", "jwks = \"https://idp.example.com/jwks\", or the path of a file");
    let jwks = jwks.and_then(|node| node.text());
    let refresh_s = seconds("refresh_s", 5..=86_400, 300);
    let stale_s = seconds("stale_s", 5..=604_800, 3_600);
    let timeout = millis(entry, "timeout_ms", 10..=60_000, 5_000);
    let ca = entry.optional("ca");
    let of_urls = ["refresh_s", "stale_s", "timeout_ms", "ca"].into_iter().filter(|key| entry.has(key)).collect::<Vec<_>>();
    entry.finish();
    let (jwks, allowed) = (jwks?, allowed?);
    let name = IssuerName::new(&name.value);
    let report = entry.report();
    let (keys, fetched) = if jwks.value.contains("://") {
        let document = url(report, &jwks, ca.as_ref(), folder, timeout?, files)?;
        let (refresh_s, stale_s) = (refresh_s?, stale_s?);
        if stale_s < refresh_s {
            report.push(
                Draft::error(&entry.span, format!("`stale_s` ({stale_s}) in {} is below `refresh_s` ({refresh_s})", entry.title))
                    .remedy("raise stale_s: how long the keys that were fetched last serve while the URL cannot be reached"),
            );
            return None;
        }
        let fetched = FetchedKeys {
            issuer: name.clone(),
            of: issuer.clone()??.value.into(),
            url: jwks.value,
            document,
            refresh: Duration::from_secs(refresh_s),
            stale: Duration::from_secs(stale_s),
            algorithms: allowed.clone(),
            keys: Arc::default(),
        };
        (Arc::clone(&fetched.keys), Some(fetched))
    } else {
        if !of_urls.is_empty() {
            report.push(
                Draft::error(
                    &jwks.span,
                    format!(
                        "`{}` in {} is for keys that are fetched, and these are in a file",
                        of_urls.join("`, `"),
                        entry.title
                    ),
                )
                .remedy("remove it: a file is read at start and on reload"),
            );
        }
        (Arc::new(file(report, &jwks, folder, &allowed, files)?), None)
    };
    let issuer = Issuer {
        name,
        issuer: issuer??.value.into(),
        audience: audience?,
        algorithms: allowed,
        leeway_s: leeway_s?,
        max_lifetime_s: max_lifetime_s?,
        typ: typ?,
        bound: bound?,
        purpose_claim: purpose_claim?,
        unnamed: unnamed?,
        keys,
    };
    Some((issuer, fetched))
}

/// One text, or a list with at least one.
fn text_or_texts(node: &Node<'_>) -> Option<Vec<Box<str>>> {
    if node.is_text() {
        return node.text().map(|text| vec![Box::from(text.value)]);
    }
    let texts = node.texts()?;
    if texts.is_empty() {
        node.report().push(Draft::error(&node.span, format!("{} is empty", node.title)).remedy("name at least one"));
        return None;
    }
    Some(texts.into_iter().map(|text| Box::from(text.value)).collect())
}

fn algorithms(node: &Node<'_>) -> Option<Vec<Algorithm>> {
    let (written, report) = (node.texts()?, node.report());
    let names = ALGORITHMS.map(|(name, _)| name);
    let mut found = Vec::new();
    for text in &written {
        let secret = text.value.to_ascii_uppercase().starts_with("HS") || text.value.eq_ignore_ascii_case("none");
        match ALGORITHMS.iter().find(|(name, _)| *name == text.value) {
            Some((_, algorithm)) => found.push(*algorithm),
            None if secret => report.push(
                Draft::error(
                    &text.span,
                    format!("\"{}\" is never accepted: whoever verifies such a token can make one", shorten(&text.value)),
                )
                .remedy(format!("let the issuer sign with one of: {}", names.join(", "))),
            ),
            None => report.push(
                Draft::error(&text.span, format!("\"{}\" is no algorithm that Sudare verifies", shorten(&text.value)))
                    .near(&text.value, names)
                    .remedy(format!("write one or more of: {}", names.join(", "))),
            ),
        }
    }
    if written.is_empty() {
        report.push(
            Draft::error(&node.span, format!("{} is empty", node.title))
                .remedy("write those that the issuer signs with, such as \"RS256\""),
        );
    }
    (!found.is_empty() && found.len() == written.len()).then_some(found)
}

fn file(report: &Report<'_>, jwks: &Text, folder: &Path, allowed: &[Algorithm], files: &mut Vec<PathBuf>) -> Option<IssuerKeys> {
    let path = folder.join(&jwks.value);
    files.push(path.clone());
    let wrong = |why: String| {
        report.push(
            Draft::error(&jwks.span, format!("the keys in {} cannot be used: {why}", shorten(&jwks.value)))
                .expected("a JWK set (RFC 7517) with public keys")
                .remedy("put the issuer's key set there, or write its https:// URL"),
        );
        None
    };
    match std::fs::read(&path) {
        Err(error) => wrong(error.to_string()),
        Ok(text) => match KeySet::parse(&text, allowed) {
            Err(error) => wrong(error.to_string()),
            Ok(keys) => Some(IssuerKeys::fixed(keys)),
        },
    }
}

fn url(
    report: &Report<'_>,
    jwks: &Text,
    ca: Option<&Node<'_>>,
    folder: &Path,
    timeout: Duration,
    files: &mut Vec<PathBuf>,
) -> Option<Document> {
    const NOT_SO: &str = "write it as the issuer's documentation does (`jwks_uri`)";
    let wrong = |message: &str, remedy: &str| {
        report.push(Draft::error(&jwks.span, message).expected("an https:// URL, or the path of a file").remedy(remedy));
        None
    };
    let uri = jwks.value.parse::<http::Uri>().ok();
    let parts = uri.as_ref().and_then(|uri| Some((uri, uri.scheme_str()?, uri.authority()?)));
    let Some((uri, scheme, authority)) = parts.filter(|(_, _, authority)| !authority.host().is_empty() && port_fits(authority))
    else {
        return wrong("this is not a URL", NOT_SO);
    };
    if authority.as_str().contains('@') {
        report.hide(&jwks.span);
        return wrong("a name and password stand in the URL", "remove them: key sets are public");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let roots = match (scheme, ca) {
        ("https", None) => match system_authorities() {
            Ok(roots) => Some(roots),
            Err(why) => return wrong(&why, "install them (ca-certificates), or name the issuer's with `ca`"),
        },
        ("https", Some(node)) => {
            let path = folder.join(node.text()?.value);
            files.push(path.clone());
            match pem::authorities(&path) {
                Ok(roots) => Some(roots),
                Err(error) => {
                    report.push(
                        Draft::error(&node.span, error.to_string())
                            .remedy("name a PEM file with the authority that signed the certificate of the issuer's server"),
                    );
                    return None;
                }
            }
        }
        ("http", None) if loopback => None,
        ("http", Some(node)) if loopback => {
            report.push(
                Draft::error(&node.span, "`ca` is for https://, and this URL is http://").remedy("remove it, or write https://"),
            );
            return None;
        }
        ("http", _) => {
            return wrong(
                "whoever is between Sudare and this URL could put keys of their own there",
                "write https://; http:// is for a server on this machine",
            );
        }
        _ => return wrong("this URL is of no kind that keys can be fetched from", "write its https:// URL"),
    };
    let tls = match roots.map(|roots| client(roots, host)) {
        None => None,
        Some(Ok(client)) => Some(client),
        Some(Err(why)) => return wrong(&format!("this URL cannot be used: {why}"), NOT_SO),
    };
    match Document::new(uri, tls, timeout) {
        Ok(document) => Some(document),
        Err(why) => wrong(&format!("this URL cannot be used: {why}"), NOT_SO),
    }
}

fn client(roots: RootCertStore, host: &str) -> Result<Client, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_invalid| "its host is no name of a server".to_owned())?;
    Client::new(roots, name, None, Vec::new()).map_err(|error| error.to_string())
}
