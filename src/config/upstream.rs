//! Reads `[upstream]`: where the database is, how it is reached, and the credential it wants.
//!
//! Always holds: no secret has been put into a finding. Called by [`super::build`].

use std::path::Path;
use std::time::Duration;

use super::Environment;
use super::report::Draft;
use super::service::{count, millis, path_behind, variable_fits};
use super::tree::{Node, Section, Text};
use super::upstream_tls;
use crate::upstream::{self, circuit};

/// What the reader of `[upstream]` found.
#[derive(Debug)]
pub(super) struct Upstream {
    /// `None` if anything was wrong.
    pub(super) config: Option<upstream::Config>,
    /// `None` if missing or unknown.
    pub(super) dialect: Option<DialectName>,
    pub(super) outside: crate::dialect::Outside,
}

/// The database APIs this release speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialectName {
    Rest,
    CouchDb,
}

/// `[upstream]`.
pub(super) fn upstream(root: &Section<'_>, folder: &Path, environment: Environment<'_>) -> Option<Upstream> {
    use crate::dialect::Outside;
    let section = root.required_table("upstream", "[upstream] with url and dialect: where the database is")?;
    let report = section.report();
    let url = section
        .required("url", "url = \"http://127.0.0.1:5984\" (or \"https://…\", \"unix:…\", \"embedded:data/documents.redb\")")
        .and_then(|node| node.text());
    let dialect_node = section.required("dialect", "dialect = \"rest\" or \"couchdb\"");
    let dialect =
        dialect_node.as_ref().and_then(|node| node.word(&[("rest", DialectName::Rest), ("couchdb", DialectName::CouchDb)]));
    let outside_node = section.optional("outside");
    let outside = outside_node.as_ref().map(|node| node.word(&[("pass", Outside::Pass), ("refuse", Outside::Refuse)]));
    if let (Some(node), Some(DialectName::CouchDb)) = (&outside_node, dialect) {
        report.push(Draft::error(&node.span, "`outside` has a meaning for the dialect rest only").remedy(
            "remove the line: with couchdb, databases without a collection pass, and routes that span databases are refused",
        ));
    }
    let authorization = authorization(&section, environment);
    let connect_timeout = millis(&section, "connect_timeout_ms", 1..=60_000, 5_000);
    let reply_timeout = millis(&section, "reply_timeout_ms", 10..=600_000, 30_000);
    let idle_timeout = millis(&section, "idle_timeout_ms", 10..=600_000, 30_000);
    let feed_timeout = millis(&section, "feed_timeout_ms", 10..=3_600_000, 120_000);
    let pool_idle = millis(&section, "pool_idle_ms", 0..=600_000, 15_000);
    let max_idle = count(&section, "max_idle", 0..=10_000, 64, "connections");
    let max_connections = match section.optional("max_connections") {
        None => Some(None),
        Some(_) => count(&section, "max_connections", 1..=1_000_000, 0, "requests").map(Some),
    };
    let circuit = circuit(&section);
    let tls = upstream_tls::written(&section, "[upstream] tls");
    section.refuse_later(&[("dangerous_passthrough", "routes that pass unprotected are not built in yet")]);
    section.finish();
    let endpoint = url.as_ref().and_then(|url| database(&section, url, folder, tls.as_ref(), environment));
    if let (Some(url), Some(upstream::Endpoint::Embedded(_)), Some(DialectName::CouchDb)) = (&url, &endpoint, dialect) {
        report.push(
            Draft::error(&url.span, "the embedded store speaks the dialect rest, not couchdb")
                .remedy("write dialect = \"rest\", or the URL of a CouchDB server"),
        );
    }
    let config = || {
        Some(upstream::Config {
            endpoint: endpoint?,
            authorization: authorization?,
            connect_timeout: connect_timeout?,
            reply_timeout: reply_timeout?,
            idle_timeout: idle_timeout?,
            feed_timeout: feed_timeout?,
            pool_idle: pool_idle?,
            max_idle: max_idle?,
            max_connections: max_connections?,
            circuit: circuit?,
        })
    };
    Some(Upstream { config: config(), dialect, outside: outside.flatten().unwrap_or(Outside::Pass) })
}

/// `circuit = { failures = 10, open_ms = 1000 }`. Outer `None`: something is wrong. Inner: switched off.
#[expect(clippy::option_option, reason = "wrong, off and on are three things")]
fn circuit(section: &Section<'_>) -> Option<Option<circuit::Config>> {
    const FAILURES: usize = 10;
    const OPEN_MS: u64 = 1_000;
    let longest_ms = u64::try_from(circuit::LONGEST.as_millis()).unwrap_or(u64::MAX);
    let default = || Some((FAILURES, Duration::from_millis(OPEN_MS)));
    let read = |node: Node<'_>| {
        let table = node.table_named("[upstream] circuit")?;
        let failures = count(&table, "failures", 0..=100_000, FAILURES, "failures in a row; 0 switches it off");
        let open = millis(&table, "open_ms", 10..=longest_ms, OPEN_MS);
        table.finish();
        Some((failures?, open?))
    };
    let (failures, open) = section.optional("circuit").map_or_else(default, read)?;
    let failures = u32::try_from(failures).ok()?;
    Some((failures > 0).then_some(circuit::Config { failures, open }))
}

fn database(
    section: &Section<'_>,
    url: &Text,
    folder: &Path,
    tls: Option<&upstream_tls::Written<'_>>,
    environment: Environment<'_>,
) -> Option<upstream::Endpoint> {
    const EXPECTED: &str = "http://host:port, https://host:port, unix:path or embedded:path";
    let report = section.report();
    let text = url.value.as_str();
    if let (Some(tls), false) = (tls, text.starts_with("https://")) {
        tls.refuse(
            "a URL that does not use TLS",
            "https://host:port",
            "write https:// in url if the database speaks TLS, or remove tls",
        );
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return path_behind(report, url, path, folder).map(upstream::Endpoint::Unix);
    }
    if let Some(path) = text.strip_prefix("embedded:") {
        return path_behind(report, url, path, folder).map(upstream::Endpoint::Embedded);
    }
    let secure = text.starts_with("https://");
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        report.push(
            Draft::error(&url.span, "this URL is of no kind that Sudare can forward to")
                .expected(EXPECTED)
                .remedy("write \"http://127.0.0.1:5984\""),
        );
        return None;
    };
    if rest.split('/').next().is_some_and(|authority| authority.contains('@')) {
        report.hide(&url.span);
        report.push(
            Draft::error(&url.span, "a name and password stand in the URL").remedy(
                "remove them from the URL and add auth = { basic = \"env:DATABASE_AUTH\" }, with name:password in that environment variable",
            ),
        );
        return None;
    }
    let parsed = text.parse::<http::Uri>().ok();
    let authority =
        parsed.as_ref().and_then(http::Uri::authority).filter(|authority| !authority.host().is_empty() && port_fits(authority));
    let (Some(uri), Some(authority)) = (&parsed, authority) else {
        report.push(Draft::error(&url.span, "this is not a URL").expected(EXPECTED).remedy("write \"http://127.0.0.1:5984\""));
        return None;
    };
    if uri.query().is_some() || rest.contains('#') {
        report.push(
            Draft::error(&url.span, "the URL of the database has a query or a fragment")
                .remedy("end it after the host, port and path"),
        );
        return None;
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !loopback && !secure {
        report.push(
            Draft::warning(&url.span, format!("requests to {host} leave this machine unencrypted"))
                .remedy("write https:// if the database speaks TLS, run Sudare on its machine, or protect the way between them"),
        );
    }
    let tls = match environment {
        Environment::Read(_) if secure => Some(upstream_tls::client(tls, url, host, folder, section)?),
        // Who only wants the policy needs no certificates.
        Environment::Read(_) | Environment::StoreOnly(_) | Environment::Ignored => None,
    };
    Some(upstream::Endpoint::Http {
        authority: authority.to_string(),
        base_path: uri.path().trim_end_matches('/').to_owned(),
        tls,
    })
}

/// True if no port is given, or one that exists.
pub(super) fn port_fits(authority: &http::uri::Authority) -> bool {
    let written = authority.as_str().strip_prefix(authority.host()).unwrap_or("");
    written.is_empty() || authority.port_u16().is_some_and(|port| port > 0)
}

/// `auth = { basic = "env:VAR" }` or `{ bearer = "env:VAR" }`. Outer `None`: something is wrong. Inner: not configured.
#[expect(clippy::option_option, reason = "wrong, absent and present are three things")]
fn authorization(section: &Section<'_>, environment: Environment<'_>) -> Option<Option<http::HeaderValue>> {
    let Some(node) = section.optional("auth") else { return Some(None) };
    let report = section.report();
    if !node.is_table() {
        report.hide(&node.span);
    }
    let auth = node.table_named("[upstream] auth")?;
    let basic = auth.optional("basic");
    let bearer = auth.optional("bearer");
    auth.finish();
    let (node, basic) = match (basic, bearer) {
        (Some(node), None) => (node, true),
        (None, Some(node)) => (node, false),
        (Some(_), Some(node)) => {
            report.push(Draft::error(&node.span, "`auth` has both basic and bearer").remedy("keep the one the database expects"));
            return None;
        }
        (None, None) => {
            if !report.has_error_in(&auth.span) {
                report.push(
                    Draft::error(&auth.span, "`auth` says neither basic nor bearer")
                        .remedy("write auth = { basic = \"env:DATABASE_AUTH\" }"),
                );
            }
            return None;
        }
    };
    let text = node.text()?;
    let Some(variable) = text.value.strip_prefix("env:").filter(|name| variable_fits(name)) else {
        report.hide(&text.span);
        report.push(
            Draft::error(&text.span, "the database's credential must not stand in this file")
                .expected("env: and the name of an environment variable")
                .remedy("write \"env:DATABASE_AUTH\" and put the credential into that variable"),
        );
        return None;
    };
    let Environment::Read(read) = environment else { return Some(None) };
    let wrong = |message: String, remedy: &str| {
        report.push(Draft::error(&text.span, message).remedy(remedy));
        None
    };
    let Some(secret) = read(variable).filter(|secret| !secret.is_empty()) else {
        let content = if basic { "name:password" } else { "the token" };
        return wrong(
            format!("the environment variable {variable} is not set"),
            &format!("set it to {content} of the database before starting Sudare"),
        );
    };
    if secret.chars().any(char::is_control) {
        return wrong(
            format!("the environment variable {variable} holds a line end or another control character"),
            "remove it: a file that is read into a variable often ends with one",
        );
    }
    let value = if basic {
        if !secret.contains(':') {
            return wrong(
                format!("the environment variable {variable} does not hold name:password"),
                "put a colon between name and password",
            );
        }
        zeroize::Zeroizing::new(format!("Basic {}", data_encoding::BASE64.encode(secret.as_bytes())))
    } else {
        zeroize::Zeroizing::new(format!("Bearer {}", secret.as_str()))
    };
    let Ok(mut value) = http::HeaderValue::try_from(value.as_str()) else {
        return wrong(
            format!("the environment variable {variable} holds a character that no header may have"),
            "use the token as the database gave it",
        );
    };
    value.set_sensitive(true);
    Some(Some(value))
}
