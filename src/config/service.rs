//! The parts of `sudare.toml` that are about the proxy itself: controller, keys, audit log; and what the readers of tables share.
//!
//! Always holds: what is returned is complete and in range, paths are resolved against the folder of the file, and no secret
//! has been put into a finding. Called by [`super::load`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::names::check_name;
use super::report::{Draft, Report};
use super::tree::{Section, Text, shorten};
use crate::base::Controller;
use crate::{audit, keys};

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

/// A path behind `unix:`, `embedded:` or `redb:`.
pub(super) fn path_behind(report: &Report<'_>, text: &Text, path: &str, folder: &Path) -> Option<PathBuf> {
    if path.trim().is_empty() {
        report.push(
            Draft::error(&text.span, format!("no path stands behind \"{}\"", text.value))
                .remedy("add the path of the file, relative to this file"),
        );
        return None;
    }
    Some(folder.join(path))
}

pub(super) fn variable_fits(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The word in place of a path for a ring that is kept in the store.
const IN_STORE: &str = "store";

/// `[keys]`. The controller's name is put in by the caller. `store` is that of `[store]`, if nothing is wrong with it.
pub(super) fn keys(
    root: &Section<'_>,
    folder: &Path,
    controller: &Controller,
    store: Option<&crate::store::Config>,
) -> Option<keys::Config> {
    let section = root.required_table("keys", "[keys] with ring and kek: where the key ring is and what it is wrapped under")?;
    let report = section.report();
    let ring = section.required("ring", "ring = \"keys/ring.json\"").and_then(|node| node.text());
    let kek = section.required("kek", "kek = { provider = \"file\", path = \"keys/kek\" }").and_then(|node| node.table());
    let kek = kek.as_ref().and_then(|kek| key_encryption_key(kek, folder));
    let marks = marks(&section, folder, ring.as_ref());
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
    let place = ring.and_then(|ring| place(report, folder, &ring, store, marks.clone().unwrap_or_default()));
    marks?;
    if let (Some(place), Some(keys::Kek::File(kek))) = (&place, &kek)
        && place.as_file() == Some(kek)
    {
        report.push(Draft::error(&section.span, "`ring` and `kek` name the same file").remedy("give each a file of its own"));
    }
    Some(keys::Config { controller: controller.clone(), ring: place?, kek: kek?, min_revision: min_revision? })
}

/// `marks`: where a machine remembers the revisions of a ring in the store.
fn marks(section: &Section<'_>, folder: &Path, ring: Option<&Text>) -> Option<PathBuf> {
    let Some(node) = section.optional("marks") else { return Some(folder.join("keys/ring.marks")) };
    let text = node.text()?;
    if ring.is_some_and(|ring| ring.value != IN_STORE) {
        section.report().push(
            Draft::error(&node.span, "`marks` has a meaning for a ring in the store only")
                .remedy("remove the line: of a ring in a file the store remembers the revision"),
        );
        return None;
    }
    Some(folder.join(text.value))
}

/// Where the ring is.
fn place(
    report: &Report<'_>,
    folder: &Path,
    ring: &Text,
    store: Option<&crate::store::Config>,
    marks: PathBuf,
) -> Option<keys::Place> {
    let shared = match store {
        Some(config @ crate::store::Config::Postgres(_)) => Some(keys::Shared::new(config.clone())),
        Some(crate::store::Config::Embedded(_)) | None => None,
    };
    match (ring.value.as_str(), shared, store) {
        (IN_STORE, Some(shared), _) => Some(keys::Place::store(keys::MAIN_RING, shared, marks)),
        (IN_STORE, None, Some(_)) => {
            report.push(
                Draft::error(&ring.span, "a ring can be kept in a store that nodes share, and [store] is a file of one node")
                    .expected("a path, or \"store\" with a store in PostgreSQL")
                    .remedy("name a file, for example ring = \"keys/ring.json\", or a store postgres://USER@HOST/DATABASE in [store] url"),
            );
            None
        }
        // What is wrong with the store has been said.
        (IN_STORE, None, None) => None,
        (path, shared, _) => Some(keys::Place::file(folder.join(path), shared)),
    }
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

/// `[audit]`.
pub(super) fn audit(root: &Section<'_>, folder: &Path, controller: &Controller) -> Option<audit::Config> {
    let section = root.required_table("audit", "[audit] with dir = \"data/audit\": no audit, no reveal")?;
    let dir = section.required("dir", "dir = \"data/audit\"").and_then(|node| node.text());
    let durable_timeout = millis(&section, "durable_timeout_ms", 1..=10_000, 2_000);
    let segment_bytes = match section.optional("segment_bytes") {
        Some(node) => node.integer(1 << 16..=1 << 30, "bytes"),
        None => Some(64 << 20),
    };
    let checkpoint_minutes = match section.optional("checkpoint_minutes") {
        Some(node) => node.integer(1..=1440, "minutes"),
        None => Some(10),
    };
    section.finish();
    Some(audit::Config {
        dir: folder.join(dir?.value),
        controller: controller.clone(),
        durable_timeout: durable_timeout?,
        segment_bytes: segment_bytes?,
        checkpoint_every: Duration::from_secs(60 * checkpoint_minutes?),
    })
}

/// A time in milliseconds with a default.
pub(super) fn millis(
    section: &Section<'_>,
    key: &'static str,
    range: std::ops::RangeInclusive<u64>,
    default: u64,
) -> Option<Duration> {
    let value = match section.optional(key) {
        Some(node) => node.integer(range, "milliseconds")?,
        None => default,
    };
    Some(Duration::from_millis(value))
}

/// A number of things with a default.
pub(super) fn count(
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
