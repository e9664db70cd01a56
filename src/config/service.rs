//! The tables of `sudare.toml` that say where things are: listeners, database, keys, store, audit log, limits.
//!
//! Always holds: what is returned is complete and in range, paths are resolved against the folder of the file, and no secret
//! has been put into a finding. Called by [`super::load`].

use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::names::check_name;
use super::report::{Draft, Report};
use super::tree::{Section, Text, shorten};
use super::{Endpoint, Environment, Limits, Listen};
use crate::base::{Controller, limits};
use crate::{audit, keys, upstream};

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

/// `controller`.
pub(super) fn controller(root: &Section<'_>) -> Option<Controller> {
    let name = root.required("controller", "controller = \"your-organisation\"")?.text()?;
    check_name(root.report(), &name, "a controller").then(|| Controller::new(&name.value))
}

/// `purpose_header`.
pub(super) fn purpose_header(root: &Section<'_>) -> Option<http::HeaderName> {
    /// Headers with a meaning of their own, which a purpose must not take away.
    const TAKEN: &[&str] = &[
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "data-view",
        "expect",
        "forwarded",
        "host",
        "if-match",
        "if-none-match",
        "keep-alive",
        "prefer",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "sudare-credential",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "x-forwarded-for",
        "x-http-method-override",
    ];
    let Some(node) = root.optional("purpose_header") else { return Some(http::HeaderName::from_static("data-purpose")) };
    let text = node.text()?;
    let name = http::HeaderName::try_from(text.value.as_str()).ok().filter(|name| !TAKEN.contains(&name.as_str()));
    if name.is_none() {
        root.report().push(
            Draft::error(&text.span, format!("\"{}\" cannot be the header of the purpose", shorten(&text.value)))
                .expected("a header name that has no other meaning")
                .remedy("remove the line to use Data-Purpose"),
        );
    }
    name
}

/// `[listen]`.
pub(super) fn listen(root: &Section<'_>, folder: &Path) -> Option<Listen> {
    let section = root.required_table("listen", "[listen] with address = \"127.0.0.1:8080\"")?;
    let report = section.report();
    let address = section.required("address", "address = \"127.0.0.1:8080\"").and_then(|node| node.text());
    let admin = section.optional("admin").map(|node| node.text());
    section.finish();
    let endpoint = |text: &Text| endpoint(report, text, folder);
    let address_end = address.as_ref().and_then(endpoint);
    let admin_end = match &admin {
        None => Some(None),
        Some(text) => text.as_ref().and_then(endpoint).map(Some),
    };
    if let (Some(one), Some(Some(two)), Some(Some(text))) = (&address_end, &admin_end, &admin)
        && one == two
        && !matches!(one, Endpoint::Tcp(socket) if socket.port() == 0)
    {
        report.push(
            Draft::error(&text.span, "`admin` is the same as `address`")
                .remedy("give `admin` a port of its own, or remove the line"),
        );
    }
    warn_of_open_listener(
        report,
        address.as_ref(),
        address_end.as_ref(),
        "credentials and revealed values travel unencrypted: TLS is not built in yet",
    );
    let admin_text = admin.as_ref().and_then(Option::as_ref);
    warn_of_open_listener(report, admin_text, admin_end.as_ref().and_then(Option::as_ref), "health and metrics have no login");
    Some(Listen { address: address_end?, admin: admin_end? })
}

fn warn_of_open_listener(report: &Report<'_>, text: Option<&Text>, end: Option<&Endpoint>, why: &str) {
    if let (Some(text), Some(Endpoint::Tcp(socket))) = (text, end)
        && !socket.ip().is_loopback()
    {
        report.push(
            Draft::warning(&text.span, format!("other machines can reach {socket}, and {why}")).remedy(
                "use 127.0.0.1 or unix:…, unless something in front of it (a sidecar mesh, a TLS proxy) protects the way",
            ),
        );
    }
}

fn endpoint(report: &Report<'_>, text: &Text, folder: &Path) -> Option<Endpoint> {
    if let Some(path) = text.value.strip_prefix("unix:") {
        return path_behind(report, text, path, folder).map(Endpoint::Unix);
    }
    match text.value.parse::<SocketAddr>() {
        Ok(socket) => Some(Endpoint::Tcp(socket)),
        Err(_not_an_address) => {
            let port = text.value.rsplit_once(':').map(|(_, port)| port).filter(|port| port.parse::<u16>().is_ok());
            report.push(
                Draft::error(&text.span, format!("\"{}\" is not an address to listen on", shorten(&text.value)))
                    .expected("IP address and port, or unix: and a path")
                    .remedy(format!("write \"127.0.0.1:{}\" or \"unix:run/proxy.sock\"", port.unwrap_or("8080"))),
            );
            None
        }
    }
}

/// A path behind `unix:`, `embedded:` or `redb:`.
fn path_behind(report: &Report<'_>, text: &Text, path: &str, folder: &Path) -> Option<PathBuf> {
    if path.trim().is_empty() {
        report.push(
            Draft::error(&text.span, format!("no path stands behind \"{}\"", text.value))
                .remedy("add the path of the file, relative to this file"),
        );
        return None;
    }
    Some(folder.join(path))
}

/// `[upstream]`.
pub(super) fn upstream(root: &Section<'_>, folder: &Path, environment: Environment<'_>) -> Option<Upstream> {
    use crate::dialect::Outside;
    let section = root.required_table("upstream", "[upstream] with url and dialect: where the database is")?;
    let report = section.report();
    let url = section
        .required("url", "url = \"http://127.0.0.1:5984\" (or \"unix:…\", \"embedded:data/documents.redb\")")
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
    section.refuse_later(&[
        ("tls", "TLS towards the database is not built in yet"),
        ("dangerous_passthrough", "routes that pass unprotected are not built in yet"),
    ]);
    section.finish();
    let endpoint = url.as_ref().and_then(|url| database(report, url, folder));
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
        })
    };
    Some(Upstream { config: config(), dialect, outside: outside.flatten().unwrap_or(Outside::Pass) })
}

fn database(report: &Report<'_>, url: &Text, folder: &Path) -> Option<upstream::Endpoint> {
    const EXPECTED: &str = "http://host:port, unix:path or embedded:path";
    let text = url.value.as_str();
    if let Some(path) = text.strip_prefix("unix:") {
        return path_behind(report, url, path, folder).map(upstream::Endpoint::Unix);
    }
    if let Some(path) = text.strip_prefix("embedded:") {
        return path_behind(report, url, path, folder).map(upstream::Endpoint::Embedded);
    }
    if text.starts_with("https://") {
        report.push(
            Draft::error(&url.span, "TLS towards the database is not built in yet")
                .expected(EXPECTED)
                .remedy("use http:// on loopback, or unix:, with Sudare on the machine of the database"),
        );
        return None;
    }
    let Some(rest) = text.strip_prefix("http://") else {
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
    if !loopback {
        report.push(
            Draft::warning(&url.span, format!("requests to {host} leave this machine unencrypted"))
                .remedy("run Sudare on the machine of the database, or protect the way between them; TLS towards the database is not built in yet"),
        );
    }
    Some(upstream::Endpoint::Http { authority: authority.to_string(), base_path: uri.path().trim_end_matches('/').to_owned() })
}

/// True if no port is given, or one that exists.
fn port_fits(authority: &http::uri::Authority) -> bool {
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

fn variable_fits(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `[keys]`. The controller's name is put in by the caller.
pub(super) fn keys(root: &Section<'_>, folder: &Path, controller: &Controller) -> Option<keys::Config> {
    let section = root.required_table("keys", "[keys] with ring and kek: where the key ring is and what it is wrapped under")?;
    let report = section.report();
    let ring = section.required("ring", "ring = \"keys/ring.json\"").and_then(|node| node.text());
    let kek = section.required("kek", "kek = { provider = \"file\", path = \"keys/kek\" }").and_then(|node| node.table());
    let kek = kek.as_ref().and_then(|kek| key_encryption_key(kek, folder));
    let min_revision = match section.optional("min_revision") {
        Some(node) => node.integer(0..=u64::MAX >> 1, ""),
        None => Some(0),
    };
    let mut rings = Vec::new();
    for (name, node) in section.entries() {
        if node.is_table() && name.value != "kek" {
            report.push(
                Draft::error(
                    &name.span,
                    format!("a second ring, \"{}\": several rings are not built in yet", shorten(&name.value)),
                )
                .remedy("remove the table; all fields use the ring of [keys]"),
            );
            rings.push(name.value);
        }
    }
    section.finish_but(|name| rings.iter().any(|ring| ring == name));
    let ring = ring.map(|text| folder.join(text.value));
    if let (Some(ring), Some(keys::Kek::File(kek))) = (&ring, &kek)
        && ring == kek
    {
        report.push(Draft::error(&section.span, "`ring` and `kek` name the same file").remedy("give each a file of its own"));
    }
    Some(keys::Config { controller: controller.clone(), ring: ring?, kek: kek?, min_revision: min_revision? })
}

fn key_encryption_key(kek: &Section<'_>, folder: &Path) -> Option<keys::Kek> {
    #[derive(Clone, Copy)]
    enum Provider {
        File,
        Passphrase,
        Later,
    }
    let report = kek.report();
    let provider_node = kek.required("provider", "provider = \"file\" or \"passphrase\"");
    let later = ["vault-transit", "aws-kms", "pkcs11"];
    let provider = provider_node.as_ref().and_then(|node| {
        if let Some(text) = node.is_text().then(|| node.text()).flatten()
            && later.contains(&text.value.as_str())
        {
            report.push(
                Draft::error(&text.span, format!("the key provider \"{}\" is not built in yet", text.value))
                    .remedy("use \"file\" or \"passphrase\""),
            );
            return Some(Provider::Later);
        }
        node.word(&[("file", Provider::File), ("passphrase", Provider::Passphrase)])
    });
    let result = match provider {
        Some(Provider::File) => {
            let path = kek.required("path", "path = \"keys/kek\"").and_then(|node| node.text());
            path.map(|path| keys::Kek::File(folder.join(path.value)))
        }
        Some(Provider::Passphrase) => {
            let text = kek
                .required("env", "env = \"SUDARE_PASSPHRASE\": the environment variable that holds the passphrase")
                .and_then(|node| node.text());
            text.and_then(|text| {
                let name = text.value.strip_prefix("env:").unwrap_or(&text.value);
                if !variable_fits(name) {
                    report.hide(&text.span);
                    report.push(
                        Draft::error(&text.span, "this is not the name of an environment variable")
                            .expected("A-Z, 0-9 and _")
                            .remedy("write the name of the variable, for example \"SUDARE_PASSPHRASE\"; the passphrase itself stays out of the file"),
                    );
                    return None;
                }
                Some(keys::Kek::Passphrase { env: name.to_owned() })
            })
        }
        // What else the table must hold depends on the provider.
        Some(Provider::Later) => return None,
        None => {
            kek.finish_but(|_name| true);
            return None;
        }
    };
    kek.finish();
    result
}

/// `[store]`.
pub(super) fn store(root: &Section<'_>, folder: &Path) -> Option<(PathBuf, Range<usize>)> {
    let section = root.required_table("store", "[store] with url = \"redb:data/sudare.redb\"")?;
    let report = section.report();
    let url = section.required("url", "url = \"redb:data/sudare.redb\"").and_then(|node| node.text());
    section.finish();
    let url = url?;
    if let Some(path) = url.value.strip_prefix("redb:") {
        return Some((path_behind(report, &url, path, folder)?, url.span));
    }
    let message = if url.value.starts_with("postgres") {
        report.hide(&url.span);
        "a store in PostgreSQL is not built in yet"
    } else {
        "this URL is of no kind that Sudare can keep its store in"
    };
    report.push(Draft::error(&url.span, message).expected("redb: and a path").remedy("write \"redb:data/sudare.redb\""));
    None
}

/// `[audit]`.
pub(super) fn audit(root: &Section<'_>, folder: &Path, controller: &Controller) -> Option<audit::Config> {
    let section = root.required_table("audit", "[audit] with dir = \"data/audit\": no audit, no reveal")?;
    let dir = section.required("dir", "dir = \"data/audit\"").and_then(|node| node.text());
    let durable_timeout = millis(&section, "durable_timeout_ms", 1..=10_000, 250);
    let segment_bytes = match section.optional("segment_bytes") {
        Some(node) => node.integer(1 << 16..=1 << 30, "bytes"),
        None => Some(64 << 20),
    };
    section.finish();
    Some(audit::Config {
        dir: folder.join(dir?.value),
        controller: controller.clone(),
        durable_timeout: durable_timeout?,
        segment_bytes: segment_bytes?,
    })
}

/// `[limits]`, all optional.
pub(super) fn limits(root: &Section<'_>) -> Option<Limits> {
    let Some(node) = root.optional("limits") else { return Some(Limits::default()) };
    let section = node.table()?;
    let default = Limits::default();
    let connections = count(&section, "connections", 1..=1_000_000, default.connections, "connections");
    let header_bytes = count(&section, "header_bytes", 1 << 10..=1 << 20, default.header_bytes, "bytes");
    let headers = count(&section, "headers", 8..=1_000, default.headers, "headers");
    let body_bytes = count(
        &section,
        "body_bytes",
        1 << 10..=u64::try_from(limits::MAX_REQUEST_BODY_BYTES).unwrap_or(u64::MAX),
        default.body_bytes,
        "bytes",
    );
    let timeout = |key: &'static str, default: Duration| {
        millis(&section, key, 10..=3_600_000, u64::try_from(default.as_millis()).unwrap_or(u64::MAX))
    };
    let header_timeout = timeout("header_timeout_ms", default.header_timeout);
    let body_timeout = timeout("body_timeout_ms", default.body_timeout);
    let idle_timeout = timeout("idle_timeout_ms", default.idle_timeout);
    let total_timeout = timeout("total_timeout_ms", default.total_timeout);
    let drain_timeout = timeout("drain_timeout_ms", default.drain_timeout);
    section.finish();
    Some(Limits {
        connections: connections?,
        header_bytes: header_bytes?,
        headers: headers?,
        body_bytes: body_bytes?,
        header_timeout: header_timeout?,
        body_timeout: body_timeout?,
        idle_timeout: idle_timeout?,
        total_timeout: total_timeout?,
        drain_timeout: drain_timeout?,
    })
}

/// A time in milliseconds with a default.
fn millis(section: &Section<'_>, key: &'static str, range: std::ops::RangeInclusive<u64>, default: u64) -> Option<Duration> {
    let value = match section.optional(key) {
        Some(node) => node.integer(range, "milliseconds")?,
        None => default,
    };
    Some(Duration::from_millis(value))
}

/// A number of things with a default.
fn count(
    section: &Section<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<u64>,
    default: usize,
    unit: &str,
) -> Option<usize> {
    match section.optional(key) {
        Some(node) => usize::try_from(node.integer(range, unit)?).ok(),
        None => Some(default),
    }
}
