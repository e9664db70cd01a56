//! The parts of `sudare.toml` that are about the proxy itself: controller, audit log; and what the readers of tables share.
//!
//! Always holds: what is returned is complete and in range, paths are resolved against the folder of the file, and no secret
//! has been put into a finding. Called by [`super::load`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::names::check_name;
use super::report::{Draft, Report};
use super::tree::{Section, Text, shorten};
use crate::audit;
use crate::base::Controller;

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
