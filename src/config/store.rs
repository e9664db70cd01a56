//! Reads `[store]`: a file of this node, or a PostgreSQL database that any number of nodes share.
//!
//! Always holds: a password stands in no configuration file and in no finding; without a word to the contrary nothing leaves this
//! machine in clear. Called by [`super::build`].

use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;
use zeroize::Zeroizing;

use super::Environment;
use super::report::{Draft, Report};
use super::service::{count, millis, path_behind, variable_fits};
use super::tree::{Node, Section, Text};
use super::upstream_tls;
use crate::net::tls::client::{Client, system_authorities};
use crate::net::tls::pem;
use crate::store::{Address, AddressError, Config, Listening, Password, PostgresConfig};

const EXPECTED: &str = "redb: and a path, or postgres://USER@HOST/DATABASE";
const EXAMPLE: &str = "write \"redb:data/sudare.redb\", or \"postgres://sudare@db.internal/sudare\"";
/// More of a file is no password.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// `[store]`, and where its URL stands.
pub(super) fn store(root: &Section<'_>, folder: &Path, environment: Environment<'_>) -> Option<(Config, Range<usize>)> {
    let section = root.required_table("store", "[store] with url = \"redb:data/sudare.redb\"")?;
    let report = section.report();
    let url = section.required("url", "url = \"redb:data/sudare.redb\"").and_then(|node| node.text());
    let Some(url) = url else {
        section.finish_but(|name| MEMBERS.contains(&name));
        return None;
    };
    if let Some(path) = url.value.strip_prefix("redb:") {
        for name in MEMBERS {
            if let Some(node) = section.optional(name) {
                report.push(
                    Draft::error(&node.span, format!("`{name}` has a meaning for a store in PostgreSQL only"))
                        .remedy("remove the line: an embedded store is a file of this node"),
                );
            }
        }
        section.finish();
        return Some((Config::Embedded(path_behind(report, &url, path, folder)?), url.span));
    }
    if !url.value.starts_with("postgres://") && !url.value.starts_with("postgresql://") {
        report.push(
            Draft::error(&url.span, "this URL is of no kind that Sudare can keep its store in")
                .expected(EXPECTED)
                .remedy(EXAMPLE),
        );
        section.finish_but(|name| MEMBERS.contains(&name));
        return None;
    }
    let config = postgres(&section, &url, folder, environment);
    section.finish();
    Some((Config::Postgres(Box::new(config?)), url.span))
}

/// Those that only a store in PostgreSQL has.
const MEMBERS: [&str; 8] =
    ["password", "tls", "pool", "connect_timeout_ms", "statement_timeout_ms", "wait_timeout_ms", "poll_ms", "listen"];

fn postgres(section: &Section<'_>, url: &Text, folder: &Path, environment: Environment<'_>) -> Option<PostgresConfig> {
    let mut files = Vec::new();
    let address = address(section.report(), url);
    let password = password(section, folder, environment, &mut files);
    let tls = tls(section, url, address.as_ref(), folder, environment);
    let pool = count(section, "pool", 1..=1_000, 8, "connections");
    let connect_timeout = millis(section, "connect_timeout_ms", 10..=60_000, 2_000);
    let statement_timeout = millis(section, "statement_timeout_ms", 10..=60_000, 2_000);
    let wait_timeout = millis(section, "wait_timeout_ms", 10..=60_000, 1_000);
    let every = millis(section, "poll_ms", 50..=60_000, 1_000);
    let listen = section.optional("listen").map_or(Some(true), |node| node.boolean());
    let (address, password, tls) = (address?, password?, tls?);
    files.extend(tls.iter().flat_map(|tls| tls.files().to_vec()));
    Some(PostgresConfig {
        address,
        password,
        tls,
        pool: pool?,
        connect_timeout: connect_timeout?,
        statement_timeout: statement_timeout?,
        wait_timeout: wait_timeout?,
        poll: every?,
        listen: if listen? { Listening::Used } else { Listening::Off },
        files,
    })
}

fn address(report: &Report<'_>, url: &Text) -> Option<Address> {
    match Address::parse(&url.value) {
        Ok(address) => Some(address),
        Err(error) => {
            let remedy = match error {
                AddressError::Password => {
                    report.hide(&url.span);
                    "remove it from the URL and add password = \"env:STORE_PASSWORD\" or password = \"file:store.password\""
                }
                AddressError::Parameters => "remove them: TLS, timeouts and password are members of [store]",
                AddressError::Malformed => {
                    // Whatever it is may hold a password in a form we do not know.
                    report.hide(&url.span);
                    "write \"postgres://sudare@db.internal:5432/sudare\", or \"postgres://sudare@/sudare?host=/run/postgresql\""
                }
            };
            report.push(Draft::error(&url.span, error.to_string()).expected("postgres://USER@HOST:PORT/DATABASE").remedy(remedy));
            None
        }
    }
}

/// `password = "env:VAR"` or `"file:PATH"`. Outer `None`: something is wrong. Inner: not configured.
#[expect(clippy::option_option, reason = "wrong, absent and present are three things")]
fn password(
    section: &Section<'_>,
    folder: &Path,
    environment: Environment<'_>,
    files: &mut Vec<PathBuf>,
) -> Option<Option<Password>> {
    let Some(node) = section.optional("password") else { return Some(None) };
    let report = section.report();
    if !node.is_text() {
        report.hide(&node.span);
    }
    let text = node.text()?;
    let wrong = |message: String, remedy: &str| {
        report.push(Draft::error(&text.span, message).remedy(remedy));
        None
    };
    let (variable, path) = (text.value.strip_prefix("env:").filter(|name| variable_fits(name)), text.value.strip_prefix("file:"));
    let read: Zeroizing<String> = match (variable, path.filter(|path| !path.is_empty())) {
        (Some(variable), _) => {
            let (Environment::Read(read) | Environment::StoreOnly(read)) = environment else { return Some(None) };
            match read(variable).filter(|secret| !secret.is_empty()) {
                Some(secret) => secret,
                None => {
                    return wrong(
                        format!("the environment variable {variable} is not set"),
                        "set it to the password of the account before starting Sudare",
                    );
                }
            }
        }
        (None, Some(path)) => {
            if matches!(environment, Environment::Ignored) {
                return Some(None);
            }
            let path = folder.join(path);
            files.push(path.clone());
            match password_file(&path) {
                Ok(secret) => secret,
                Err(why) => {
                    let remedy = "name a file that only its owner may read (chmod 600), with the password and nothing else";
                    return wrong(format!("{}: {why}", path.display()), remedy);
                }
            }
        }
        (None, None) => {
            report.hide(&text.span);
            report.push(
                Draft::error(&text.span, "the password of the store must not stand in this file")
                    .expected("env: and the name of an environment variable, or file: and a path")
                    .remedy("write \"env:STORE_PASSWORD\" and put the password into that variable"),
            );
            return None;
        }
    };
    if read.chars().any(char::is_control) {
        return wrong(
            "the password holds a line end or another control character".to_owned(),
            "remove it: a file that is read into a variable often ends with one",
        );
    }
    Some(Some(Password::new(read)))
}

/// A file's content without one line end.
fn password_file(path: &Path) -> Result<Zeroizing<String>, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let facts = file.metadata().map_err(|error| error.to_string())?;
    if !facts.is_file() {
        return Err("it is no file".to_owned());
    }
    let mode = facts.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!("it is open to others (mode {mode:04o})"));
    }
    let mut text = Zeroizing::new(String::new());
    let read = file.take(MAX_PASSWORD_BYTES + 1).read_to_string(&mut text);
    if read.is_err() || u64::try_from(text.len()).unwrap_or(u64::MAX) > MAX_PASSWORD_BYTES {
        return Err("it holds no password: text of up to 4096 bytes".to_owned());
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() { Err("it is empty".to_owned()) } else { Ok(Zeroizing::new(line.to_owned())) }
}

/// Outer `None`: something is wrong. Inner: in clear.
#[expect(clippy::option_option, reason = "wrong, off and on are three things")]
fn tls(
    section: &Section<'_>,
    url: &Text,
    address: Option<&Address>,
    folder: &Path,
    environment: Environment<'_>,
) -> Option<Option<Client>> {
    let report = section.report();
    if let Some(node) = section.optional("tls").filter(Node::is_text) {
        node.word(&[("off", ())])?;
        if let Some(address) = address.filter(|address| !address.is_local()) {
            report.push(
                Draft::warning(
                    &node.span,
                    format!("what goes to the store at {} leaves this machine unencrypted", address.host()),
                )
                .remedy("remove tls = \"off\" if the server speaks TLS, or protect the way there"),
            );
        }
        return Some(None);
    }
    let written = upstream_tls::written(section, "[store] tls");
    let wrong = written.is_none() && section.has("tls");
    let address = address?;
    if let (Some(written), crate::store::Place::Folder(_)) = (&written, &address.place) {
        written.refuse("a Unix socket, which has no TLS", "postgres://USER@HOST/DATABASE", "remove tls, or name a host in url");
        return None;
    }
    if wrong {
        return None;
    }
    if (written.is_none() && address.is_local()) || matches!(environment, Environment::Ignored) {
        return Some(None);
    }
    upstream_tls::client(written.as_ref(), url, address.host(), folder, section).map(Some)
}

/// A store named on the command line: a URL of `[store]`, or a `sudare.toml` whose `[store]` is meant. Of a PostgreSQL server in a URL
/// `password` (`env:` or `file:`) and `ca` may be given; it is reached over TLS, unless it is on this machine and `ca` is not given.
///
/// # Errors
///
/// What is wrong, without the URL if a password may stand in it.
pub fn store_at(text: &str, password: Option<&str>, ca: Option<&Path>) -> Result<Config, String> {
    if let Some(path) = text.strip_prefix("redb:") {
        return if path.is_empty() { Err("redb: needs a path".to_owned()) } else { Ok(Config::Embedded(path.into())) };
    }
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        let path = Path::new(text);
        return if path.extension().is_some_and(|extension| extension == "toml") {
            super::load_store_only(path).map_err(|findings| findings.to_string())
        } else {
            Err("a store is named by redb:PATH, postgres://USER@HOST/DATABASE, or a sudare.toml".to_owned())
        };
    }
    let mut config = PostgresConfig::new(Address::parse(text).map_err(|error| match error {
        AddressError::Password => format!("{error}: give it with --password env:VARIABLE"),
        AddressError::Parameters | AddressError::Malformed => format!("{error}: write postgres://USER@HOST:PORT/DATABASE"),
    })?);
    config.password = password.map(given_password).transpose()?;
    if ca.is_some() || !config.address.is_local() {
        let roots = match ca {
            Some(path) => pem::authorities(path).map_err(|error| error.to_string())?,
            None => system_authorities()?,
        };
        let name = ServerName::try_from(config.address.host().to_owned())
            .map_err(|_other| "the host is not a name that a certificate can be for".to_owned())?;
        config.tls = Some(Client::new(roots, name, None, Vec::new()).map_err(|error| error.to_string())?);
    }
    Ok(Config::Postgres(Box::new(config)))
}

fn given_password(place: &str) -> Result<Password, String> {
    let read = if let Some(variable) = place.strip_prefix("env:") {
        let read = std::env::var(variable).map(Zeroizing::new);
        read.map_err(|_unset| format!("--password: the environment variable {variable} is not set"))?
    } else if let Some(path) = place.strip_prefix("file:") {
        password_file(Path::new(path)).map_err(|why| format!("--password: {path}: {why}"))?
    } else {
        return Err("--password takes env:VARIABLE or file:PATH, not the password itself".to_owned());
    };
    Ok(Password::new(read))
}
