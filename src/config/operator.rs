//! Reads `[admin]`, `[reload]`, `[log]` and `[leak_guard]`: what operators may see, how changes are noticed, what is written down, how much
//! of what is written is looked at.
//!
//! Called by [`super::build`].

use std::ops::RangeInclusive;
use std::time::Duration;

use super::report::{Draft, Report};
use super::service::millis;
use super::tree::{Node, Section};
use crate::caller::Secrets;
use crate::exchange::{RequestLog, Requests};

/// How many of a thousand written documents the leak guard looks at unless the file says otherwise.
const LEAK_GUARD: u16 = 10;

/// `[admin]`: who may see more than health and readiness. Nothing in it: everybody who reaches the listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admin {
    /// Known by `Authorization: Bearer SECRET`.
    pub secrets: Secrets,
    /// Known by the user id at the other end of a Unix socket.
    pub uids: Vec<u32>,
}

impl Admin {
    /// True if anybody must say who it is.
    pub fn asks(&self) -> bool {
        !self.secrets.is_empty() || !self.uids.is_empty()
    }
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least that is written; the environment variable `SUDARE_LOG` comes before it.
    pub level: LogLevel,
    /// One JSON object a line, or text.
    pub format: LogFormat,
    /// Which requests get a line, and what stands in it.
    pub requests: RequestLog,
}

/// How much is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what may lead there.
    Warn,
    /// And what happens: requests, reloads.
    Info,
    /// And what is needed to look for a fault.
    Debug,
    /// Everything.
    Trace,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For machines.
    Json,
    /// For people.
    Text,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Json, requests: RequestLog::default() }
    }
}

/// `[leak_guard]`, optional: how many of a thousand written documents are looked at.
pub(super) fn leak_guard(root: &Section<'_>) -> Option<u16> {
    let Some(node) = root.optional("leak_guard") else { return Some(LEAK_GUARD) };
    let section = node.table()?;
    let sample = match section.optional("sample_per_mille") {
        Some(node) => node.integer(0..=1_000, "of a thousand").and_then(|share| u16::try_from(share).ok()),
        None => Some(LEAK_GUARD),
    };
    section.finish();
    sample
}

/// `[admin]`, optional.
pub(super) fn admin(root: &Section<'_>) -> Option<Admin> {
    let Some(node) = root.optional("admin") else { return Some(Admin::default()) };
    let section = node.table()?;
    let report = section.report();
    let mut sound = true;
    let mut hashes = Vec::new();
    if let Some(list) = section.optional("credential_sha256") {
        for text in list.texts()? {
            report.hide(&text.span);
            let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.value.as_bytes()).ok();
            if let Some(hash) = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok()) {
                hashes.push(hash);
            } else {
                sound = false;
                report.push(
                    Draft::error(&text.span, "an entry of `credential_sha256` in [admin] is no SHA-256")
                        .expected("64 hexadecimal characters")
                        .remedy("run `sudare caller add NAME` without --write: it shows a secret once and its hash; put the hash here"),
                );
            }
        }
    }
    let mut uids = Vec::new();
    if let Some(list) = section.optional("uid") {
        for item in list.items("[1000]")? {
            let uid = item.integer(0..=u64::from(u32::MAX) - 1, "").and_then(|uid| u32::try_from(uid).ok());
            sound &= uid.is_some();
            uids.extend(uid);
        }
    }
    section.finish();
    let admin = Admin { secrets: Secrets::new(hashes), uids };
    if sound && !admin.asks() {
        // An empty list looks as if nobody were let in, and would let in everybody.
        report.push(
            Draft::error(&section.span, "[admin] names nobody who may read the metrics")
                .remedy("add credential_sha256 = [\"…\"] or uid = [1000], or remove [admin] to ask for nothing"),
        );
        return None;
    }
    sound.then_some(admin)
}

/// `[reload]`, optional: how often the files are looked at. Zero: never.
pub(super) fn reload(root: &Section<'_>) -> Option<Duration> {
    const EVERY: Duration = Duration::from_secs(5);
    let Some(node) = root.optional("reload") else { return Some(EVERY) };
    let section = node.table()?;
    let every = milliseconds_or_off(&section, "poll_ms", 100..=3_600_000, EVERY);
    section.finish();
    every
}

/// A time in `range`, or 0 for off.
fn milliseconds_or_off(
    section: &Section<'_>,
    key: &'static str,
    range: RangeInclusive<u64>,
    default: Duration,
) -> Option<Duration> {
    let (low, high) = (*range.start(), *range.end());
    let value = millis(section, key, 0..=high, u64::try_from(default.as_millis()).unwrap_or(high))?;
    if value.is_zero() || value >= Duration::from_millis(low) {
        return Some(value);
    }
    if let Some(node) = section.optional(key) {
        complain(section.report(), &node, low);
    }
    None
}

fn complain(report: &Report<'_>, node: &Node<'_>, low: u64) {
    report.push(
        Draft::error(&node.span, format!("{} is too often", node.title))
            .expected(format!("0, which is off, or at least {low} milliseconds"))
            .remedy("change the number, or remove the line to use the default"),
    );
}

/// `[log]`, optional.
pub(super) fn log(root: &Section<'_>) -> Option<Log> {
    let default = Log::default();
    let Some(node) = root.optional("log") else { return Some(default) };
    let section = node.table()?;
    let level = match section.optional("level") {
        None => Some(default.level),
        Some(node) => node.word(&[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ]),
    };
    let format = match section.optional("format") {
        None => Some(default.format),
        Some(node) => node.word(&[("json", LogFormat::Json), ("text", LogFormat::Text)]),
    };
    let which = match section.optional("requests") {
        None => Some(default.requests.which),
        Some(node) => node.word(&[("all", Requests::All), ("errors", Requests::Errors), ("none", Requests::None)]),
    };
    let peer = match section.optional("peer") {
        None => Some(default.requests.peer),
        Some(node) => node.boolean(),
    };
    section.finish();
    Some(Log { level: level?, format: format?, requests: RequestLog { which: which?, peer: peer? } })
}
