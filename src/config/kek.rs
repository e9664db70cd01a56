//! Reads `kek`, `next_kek` and what belongs to them in `[keys]` and `[keys.NAME]`: where the key-encryption key is, and for how long a provider's word is
//! good.
//!
//! Always holds: no credential stands in the file or in a finding, only where it is read; a provider is reached over TLS that is
//! verified, unless it is on this machine. Called by [`super::keys`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;

use super::report::Draft;
use super::service::{millis, variable_fits};
use super::tree::{Node, Section, Text, shorten};
use crate::keys::kek::{Source, vault};
use crate::keys::{CustodyLimits, Denied, Kek};
use crate::net::fetch::Service;
use crate::net::tls::client::{Client, system_authorities};
use crate::net::tls::pem;

/// The tables of `[keys]` that are no rings.
pub(super) const TABLES: [&str; 2] = ["kek", "next_kek"];

/// Reads them, of one ring. `example` is where its KEK might be.
pub(super) fn kek(keys: &Section<'_>, folder: &Path, example: &str) -> Option<Kek> {
    let report = keys.report();
    let limits = limits(keys);
    let example = format!("kek = {{ provider = \"file\", path = \"{example}\" }}");
    let now = keys.required("kek", &example).and_then(|node| node.table());
    let now = now.as_ref().map(|section| (section, one(section, folder, limits)));
    let next = keys.optional_table("next_kek");
    let next = next.as_ref().map(|section| (section, one(section, folder, limits)));
    let has_provider = |kek: &Option<(&Section<'_>, Option<Kek>)>| {
        kek.as_ref().is_none_or(|(_, kek)| !matches!(kek, Some(Kek::File(_) | Kek::Passphrase { .. })))
    };
    if !has_provider(&now) && (next.is_none() || !has_provider(&next)) {
        for name in ["soft_limit_s", "hard_limit_s", "on_denied"] {
            if let Some(node) = keys.optional(name) {
                report.push(
                    Draft::error(&node.span, format!("`{name}` has a meaning for a KEK that a provider keeps only"))
                        .remedy("remove the line: a file or a passphrase is read at start and on reload, and never taken back"),
                );
            }
        }
    }
    let (_, now) = now?;
    let Some((section, next)) = next else { return now };
    let (now, next) = (now?, next?);
    if let (Kek::File(now), Kek::File(next)) = (&now, &next)
        && now == next
    {
        report.push(
            Draft::error(&section.span, "`kek` and `next_kek` name the same file")
                .remedy("give the new KEK a file of its own; `sudare keys change-kek` makes it"),
        );
        return None;
    }
    Some(Kek::Changing { from: Box::new(now), to: Box::new(next) })
}

/// `None` where something is wrong.
fn limits(keys: &Section<'_>) -> Option<CustodyLimits> {
    let default = CustodyLimits::default();
    let seconds = |key, default: Duration| match keys.optional(key) {
        Some(node) => node.integer(1..=7 * 24 * 3600, "seconds").map(Duration::from_secs),
        None => Some(default),
    };
    let (soft, hard) = (seconds("soft_limit_s", default.soft), seconds("hard_limit_s", default.hard));
    let denied = match keys.optional("on_denied") {
        Some(node) => node.word(&[("drop", Denied::Drops), ("wait", Denied::Waits)]),
        None => Some(default.denied),
    };
    let (soft, hard) = (soft?, hard?);
    if soft >= hard {
        let node = keys.optional("hard_limit_s").or_else(|| keys.optional("soft_limit_s"));
        let span = node.map_or_else(|| keys.span.clone(), |node| node.span);
        keys.report().push(
            Draft::error(
                &span,
                format!("the hard limit ({} s) is not after the soft one ({} s)", hard.as_secs(), soft.as_secs()),
            )
            .remedy("between the two the provider may be away without a request failing: leave it room, such as 900 and 3600"),
        );
        return None;
    }
    Some(CustodyLimits { soft, hard, denied: denied? })
}

#[derive(Clone, Copy)]
enum Word {
    File,
    Passphrase,
    Vault,
    Aws,
    Pkcs11,
}

fn one(kek: &Section<'_>, folder: &Path, limits: Option<CustodyLimits>) -> Option<Kek> {
    let words = [
        ("file", Word::File),
        ("passphrase", Word::Passphrase),
        ("vault-transit", Word::Vault),
        ("aws-kms", Word::Aws),
        ("pkcs11", Word::Pkcs11),
    ];
    let provider = kek.required("provider", "provider = \"file\", \"passphrase\", \"vault-transit\", \"aws-kms\" or \"pkcs11\"");
    let Some(word) = provider.as_ref().and_then(|node| node.word(&words)) else {
        // What else the table must hold depends on the provider.
        kek.finish_but(|_name| provider.is_some());
        return None;
    };
    let built: Option<Kek> = match word {
        Word::File => {
            let path = kek.required("path", "path = \"keys/kek\"").and_then(|node| node.text());
            path.map(|path| Kek::File(folder.join(path.value)))
        }
        Word::Passphrase => passphrase(kek),
        Word::Vault => {
            let config = vault_transit(kek, folder);
            let provider = config.map(|config| Arc::new(vault::Transit::new(config)));
            provider.zip(limits).map(|(provider, limits)| Kek::Provider { provider, limits })
        }
        #[cfg(feature = "aws-kms")]
        Word::Aws => super::kek_aws::aws(kek, folder).zip(limits).map(|(provider, limits)| Kek::Provider { provider, limits }),
        #[cfg(not(feature = "aws-kms"))]
        Word::Aws => return not_built_in(kek, provider.as_ref(), "aws-kms"),
        #[cfg(feature = "pkcs11")]
        Word::Pkcs11 => pkcs11(kek, folder).zip(limits).map(|(provider, limits)| Kek::Provider { provider, limits }),
        #[cfg(not(feature = "pkcs11"))]
        Word::Pkcs11 => return not_built_in(kek, provider.as_ref(), "pkcs11"),
    };
    kek.finish();
    built
}

#[cfg(not(all(feature = "pkcs11", feature = "aws-kms")))]
fn not_built_in(kek: &Section<'_>, provider: Option<&Node<'_>>, feature: &str) -> Option<Kek> {
    let span = provider.map_or_else(|| kek.span.clone(), |node| node.span.clone());
    kek.report().push(
        Draft::error(&span, format!("the key provider \"{feature}\" is not built into this binary"))
            .remedy(format!("build with `cargo build --release --features {feature}`, or name another provider")),
    );
    None
}

fn passphrase(kek: &Section<'_>) -> Option<Kek> {
    let report = kek.report();
    let text = kek
        .required("env", "env = \"SUDARE_PASSPHRASE\": the environment variable that holds the passphrase")
        .and_then(|node| node.text())?;
    let name = text.value.strip_prefix("env:").unwrap_or(&text.value);
    if !variable_fits(name) {
        report.hide(&text.span);
        report.push(
            Draft::error(&text.span, "this is not the name of an environment variable").expected("A-Z, 0-9 and _").remedy(
                "write the name of the variable, for example \"SUDARE_PASSPHRASE\"; the passphrase itself stays out of the file",
            ),
        );
        return None;
    }
    Some(Kek::Passphrase { env: name.to_owned() })
}

fn vault_transit(kek: &Section<'_>, folder: &Path) -> Option<vault::Config> {
    let service = service(kek, "url", "url = \"https://vault.internal:8200\"", folder);
    let mount = name_or(kek, "mount", "transit");
    let key = kek.required("key", "key = \"sudare\": the name of the transit key").and_then(|node| path_part(&node));
    let namespace = match kek.optional("namespace") {
        Some(node) => path_part(&node).map(Some),
        None => Some(None),
    };
    let login = match (kek.optional("token"), kek.optional_table("approle")) {
        (Some(node), None) => source(&node, folder).map(vault::Login::Token),
        (None, Some(role)) => approle(&role, folder),
        (token, role) => {
            let span = token.filter(|_| role.is_some()).map_or_else(|| kek.span.clone(), |node| node.span);
            if !kek.has("approle") || role.is_some() {
                kek.report().push(
                    Draft::error(&span, "who Sudare is to Vault is said once, by `token` or by `approle`").remedy(
                        "write token = \"file:keys/vault-token\", or approle = { role_id = \"env:ROLE_ID\", secret_id = \"file:keys/secret-id\" }",
                    ),
                );
            }
            None
        }
    };
    Some(vault::Config { service: service?, namespace: namespace?, mount: mount?, key: key?, login: login? })
}

fn approle(role: &Section<'_>, folder: &Path) -> Option<vault::Login> {
    let mount = name_or(role, "mount", "approle");
    let role_id = role.required("role_id", "role_id = \"env:ROLE_ID\"").and_then(|node| source(&node, folder));
    let secret_id = match role.optional("secret_id") {
        Some(node) => source(&node, folder).map(Some),
        None => Some(None),
    };
    role.finish();
    Some(vault::Login::AppRole { mount: mount?, role_id: role_id?, secret_id: secret_id? })
}

fn name_or(section: &Section<'_>, key: &'static str, default: &str) -> Option<String> {
    match section.optional(key) {
        Some(node) => path_part(&node),
        None => Some(default.to_owned()),
    }
}

/// What stands in the path of a URL as it is.
fn path_part(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let name = text.value.trim_matches('/');
    let fits = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if name.split('/').all(fits) {
        return Some(name.to_owned());
    }
    node.report().push(
        Draft::error(&text.span, format!("{} is \"{}\"", node.title, shorten(&text.value)))
            .expected("letters, digits, -, _ and ., in parts between slashes")
            .remedy("write it as `vault secrets list` and `vault list transit/keys` show it"),
    );
    None
}

/// `"env:NAME"` or `"file:PATH"`: where a credential is read each time it is needed.
pub(super) fn source(node: &Node<'_>, folder: &Path) -> Option<Source> {
    let report = node.report();
    if !node.is_text() {
        report.hide(&node.span);
    }
    let text = node.text()?;
    let (variable, path) = (text.value.strip_prefix("env:").filter(|name| variable_fits(name)), text.value.strip_prefix("file:"));
    match (variable, path.filter(|path| !path.is_empty())) {
        (Some(variable), _) => Some(Source::Env(variable.to_owned())),
        (None, Some(path)) => Some(Source::File(folder.join(path))),
        (None, None) => {
            report.hide(&text.span);
            report.push(
                Draft::error(&text.span, "a credential must not stand in this file")
                    .expected("env: and the name of an environment variable, or file: and a path")
                    .remedy("write \"file:keys/vault-token\" and put it into that file (chmod 600), or \"env:VAULT_TOKEN\""),
            );
            None
        }
    }
}

/// The server at a URL, with `ca` and `timeout_ms` beside it.
pub(super) fn service(kek: &Section<'_>, key: &'static str, example: &str, folder: &Path) -> Option<Service> {
    let url = kek.required(key, example).and_then(|node| node.text());
    let (ca, timeout) = (ca(kek), millis(kek, "timeout_ms", 100..=60_000, 5_000));
    let (url, ca, timeout) = (url?, ca?, timeout?);
    service_at(kek, &url, ca.as_ref(), timeout, folder)
}

#[expect(clippy::option_option, reason = "wrong, absent and present are three things")]
pub(super) fn ca(kek: &Section<'_>) -> Option<Option<Text>> {
    match kek.optional("ca") {
        Some(node) => node.text().map(Some),
        None => Some(None),
    }
}

/// The server at a URL that is written somewhere, or made from what is.
pub(super) fn service_at(kek: &Section<'_>, url: &Text, ca: Option<&Text>, timeout: Duration, folder: &Path) -> Option<Service> {
    const NOT_SO: &str = "write its address, such as https://vault.internal:8200";
    let report = kek.report();
    let wrong = |message: &str, remedy: &str| {
        report.push(Draft::error(&url.span, message).expected("an https:// URL without a path").remedy(remedy));
        None
    };
    let uri = url.value.parse::<http::Uri>().ok();
    let parts = uri.as_ref().and_then(|uri| Some((uri, uri.scheme_str()?, uri.authority()?)));
    let Some((uri, scheme, authority)) = parts.filter(|(_, _, authority)| !authority.host().is_empty()) else {
        return wrong("this is not a URL", NOT_SO);
    };
    if authority.as_str().contains('@') {
        report.hide(&url.span);
        return wrong("a name and password stand in the URL", "remove them");
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return wrong("a path stands behind the address", NOT_SO);
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let tls = match (scheme, ca) {
        ("https", ca) => Some(tls(kek, url, ca, host, folder)?),
        ("http", None) if loopback => None,
        ("http", Some(ca)) if loopback => {
            report.push(
                Draft::error(&ca.span, "`ca` is for https://, and this URL is http://").remedy("remove it, or write https://"),
            );
            return None;
        }
        ("http", _) => {
            return wrong(
                "whoever is between Sudare and this URL could read the root of the key ring",
                "write https://; http:// is for a server on this machine",
            );
        }
        _ => return wrong("this URL is of no kind that a key provider can be asked at", NOT_SO),
    };
    match Service::new(uri, tls, timeout) {
        Ok(service) => Some(service),
        Err(why) => wrong(&format!("this URL cannot be used: {why}"), NOT_SO),
    }
}

fn tls(kek: &Section<'_>, url: &Text, ca: Option<&Text>, host: &str, folder: &Path) -> Option<Client> {
    let report = kek.report();
    let mut files: Vec<PathBuf> = Vec::new();
    let roots = match ca {
        None => system_authorities().map_err(|why| {
            let remedy = "install the package ca-certificates, or name the provider's authority with `ca`";
            report.push(Draft::error(&url.span, why).remedy(remedy));
        }),
        Some(ca) => {
            let path = folder.join(&ca.value);
            files.push(path.clone());
            pem::authorities(&path).map_err(|error| {
                let remedy = "name a PEM file with the authority that signed the certificate of the provider's server";
                report.push(Draft::error(&ca.span, error.to_string()).remedy(remedy));
            })
        }
    };
    let roots = roots.ok()?;
    let name = ServerName::try_from(host.to_owned()).map_err(|_invalid| "its host is no name of a server".to_owned());
    let client = name.and_then(|name| Client::new(roots, name, None, files).map_err(|error| error.to_string()));
    client
        .map_err(|why| {
            report.push(
                Draft::error(&url.span, format!("this URL cannot be used: {why}")).remedy("write the server's https:// address"),
            );
        })
        .ok()
}

#[cfg(feature = "pkcs11")]
fn pkcs11(kek: &Section<'_>, folder: &Path) -> Option<Arc<crate::keys::kek::pkcs11::Token>> {
    use crate::keys::kek::pkcs11::{Config, Token, Which};
    let text = |key: &'static str, example: &str| kek.required(key, example).and_then(|node| node.text());
    let module = text("module", "module = \"/usr/lib/softhsm/libsofthsm2.so\": the library of the device");
    let key = text("key", "key = \"sudare\": the label of the AES key on the token");
    let pin = kek.required("pin", "pin = \"file:keys/pin\" or \"env:HSM_PIN\"").and_then(|node| source(&node, folder));
    let timeout = millis(kek, "timeout_ms", 100..=60_000, 5_000);
    let (label, serial) = (kek.optional("token"), kek.optional("serial"));
    let which = match (label, serial) {
        (Some(label), None) => label.text().map(|text| Which::Label(text.value)),
        (None, Some(serial)) => serial.text().map(|text| Which::Serial(text.value)),
        (label, _) => {
            let span = label.map_or_else(|| kek.span.clone(), |node| node.span);
            kek.report().push(
                Draft::error(&span, "which token it is is said once, by `token` (its label) or by `serial`").remedy(
                    "write token = \"sudare\"; `pkcs11-tool --list-token-slots` and `softhsm2-util --show-slots` show both",
                ),
            );
            None
        }
    };
    let fits = key.filter(|text| {
        let fits = text.value.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        if !fits {
            kek.report().push(
                Draft::error(&text.span, "this label of a key cannot stand in a key ring")
                    .expected("ASCII without spaces, quotes and backslashes")
                    .remedy("give the key another label"),
            );
        }
        fits
    });
    let config = Config { module: folder.join(module?.value), which: which?, key: fits?.value, pin: pin?, timeout: timeout? };
    Some(Arc::new(Token::new(config)))
}
