//! Reads `[limits]`: bounds on connections, sizes and times, all optional, with the defaults stated here.
//!
//! Called by [`super::build`].

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::http2;
use super::report::Draft;
use super::service::{count, millis};
use super::tree::Section;
use crate::base::limits::MAX_REQUEST_BODY_BYTES;
use crate::exchange::CallerLimits;

/// `[limits]`, all optional in the file.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections accepted at once.
    pub connections: usize,
    /// Connections accepted at once from one address.
    pub connections_per_address: Option<NonZeroU32>,
    /// Requests under way at once.
    pub requests: usize,
    /// What all bodies under way may take together.
    pub memory_bytes: usize,
    /// Refused credentials a minute after which an address is not listened to.
    pub failures_per_minute: Option<NonZeroU32>,
    /// Largest head of a request.
    pub header_bytes: usize,
    /// Most headers of a request.
    pub headers: usize,
    /// Largest request body on a protected collection.
    pub body_bytes: usize,
    /// Most bytes that a compressed body may come to for each one that came.
    pub decompress_ratio: usize,
    /// Longest wait for a whole head.
    pub header_timeout: Duration,
    /// Longest TLS handshake.
    pub handshake_timeout: Duration,
    /// Longest wait for the next piece of a request body.
    pub body_timeout: Duration,
    /// Beyond that a body has a second for so many bytes that came; 0 for as long as it likes.
    pub body_rate: u32,
    /// How long a client may leave what was written to it unread.
    pub write_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Longest exchange on a protected collection, from the head to the end of the reply.
    pub total_timeout: Duration,
    /// Longest body of any other.
    pub outside_timeout: Duration,
    /// How long a shutdown waits for running exchanges.
    pub drain_timeout: Duration,
    /// Bounds on connections that speak HTTP/2.
    pub http2: crate::front::http::http2::Config,
    /// For each caller that has none of its own.
    pub caller: CallerLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            connections_per_address: None,
            requests: 1_024,
            memory_bytes: 256 << 20,
            failures_per_minute: None,
            header_bytes: 32 << 10,
            headers: 100,
            body_bytes: MAX_REQUEST_BODY_BYTES,
            decompress_ratio: 100,
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            body_rate: 500,
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(1),
            total_timeout: Duration::from_mins(5),
            outside_timeout: Duration::from_hours(1),
            drain_timeout: Duration::from_secs(30),
            http2: crate::front::http::http2::Config::default(),
            caller: CallerLimits::default(),
        }
    }
}

/// `[limits]`, all optional.
pub(super) fn limits(root: &Section<'_>) -> Option<Limits> {
    let Some(node) = root.optional("limits") else { return Some(Limits::default()) };
    let section = node.table()?;
    let default = Limits::default();
    let connections = count(&section, "connections", 1..=1_000_000, default.connections, "connections");
    let connections_per_address = most(&section, "connections_per_address", 1..=1_000_000, "connections");
    let requests = count(&section, "requests", 1..=1_000_000, default.requests, "requests");
    let memory_bytes = count(&section, "memory_bytes", 1 << 20..=1 << 40, default.memory_bytes, "bytes");
    let failures_per_minute = most(&section, "failures_per_minute", 1..=1_000_000, "refused credentials");
    let header_bytes = count(&section, "header_bytes", 1 << 10..=1 << 20, default.header_bytes, "bytes");
    let headers = count(&section, "headers", 8..=1_000, default.headers, "headers");
    let body_bytes = count(
        &section,
        "body_bytes",
        1 << 10..=u64::try_from(MAX_REQUEST_BODY_BYTES).unwrap_or(u64::MAX),
        default.body_bytes,
        "bytes",
    );
    let decompress_ratio = count(&section, "decompress_ratio", 1..=10_000, default.decompress_ratio, "times");
    let timeout = |key: &'static str, default: Duration| {
        millis(&section, key, 10..=3_600_000, u64::try_from(default.as_millis()).unwrap_or(u64::MAX))
    };
    let header_timeout = timeout("header_timeout_ms", default.header_timeout);
    let handshake_timeout = timeout("handshake_timeout_ms", default.handshake_timeout);
    let body_timeout = timeout("body_timeout_ms", default.body_timeout);
    let idle_timeout = timeout("idle_timeout_ms", default.idle_timeout);
    let total_timeout = timeout("total_timeout_ms", default.total_timeout);
    let body_rate = match section.optional("body_bytes_per_second") {
        Some(node) => node.integer(0..=1 << 20, "bytes").and_then(|rate| u32::try_from(rate).ok()),
        None => Some(default.body_rate),
    };
    let write_timeout = timeout("write_timeout_ms", default.write_timeout);
    let outside_timeout = millis(&section, "outside_timeout_ms", 10..=86_400_000, 3_600_000);
    let caller = match section.optional_table("caller") {
        Some(table) => of_caller(&table, CALLER),
        None => Some(CALLER),
    };
    let drain_timeout = timeout("drain_timeout_ms", default.drain_timeout);
    let http2 = http2::http2(&section);
    section.finish();
    Some(Limits {
        connections: connections?,
        connections_per_address: NonZeroU32::new(connections_per_address?),
        requests: requests?,
        memory_bytes: memory_bytes?,
        failures_per_minute: NonZeroU32::new(failures_per_minute?),
        header_bytes: header_bytes?,
        headers: headers?,
        body_bytes: body_bytes?,
        decompress_ratio: decompress_ratio?,
        header_timeout: header_timeout?,
        handshake_timeout: handshake_timeout?,
        body_timeout: body_timeout?,
        body_rate: body_rate?,
        write_timeout: write_timeout?,
        idle_timeout: idle_timeout?,
        total_timeout: total_timeout?,
        outside_timeout: outside_timeout?,
        drain_timeout: drain_timeout?,
        http2: http2?,
        caller: caller?,
    })
}

/// What a caller may ask where nothing is said: as much as it likes, but twenty values a second to search for.
const CALLER: CallerLimits = CallerLimits { rate: None, burst: None, concurrency: None, searches: NonZeroU32::new(1_200) };

/// What one caller may ask: `rate`, `burst`, `concurrency`, `searches_per_minute`. What is not given is as in `default`.
pub(super) fn of_caller(section: &Section<'_>, default: CallerLimits) -> Option<CallerLimits> {
    let rate = most(section, "rate", 1..=1_000_000, "requests a second");
    let burst = most(section, "burst", 1..=1_000_000, "requests");
    let concurrency = most(section, "concurrency", 1..=1_000_000, "requests");
    let searches = match section.optional("searches_per_minute") {
        None => Some(default.searches),
        Some(node) => node.integer(0..=1_000_000, "values").and_then(|most| u32::try_from(most).ok()).map(NonZeroU32::new),
    };
    section.finish();
    let [rate, own_burst, concurrency] = [rate?, burst?, concurrency?].map(NonZeroU32::new);
    if own_burst.is_some() && rate.or(default.rate).is_none() {
        section.report().push(
            Draft::error(&section.span, format!("{} has a burst but no rate, so it limits nothing", section.title))
                .remedy("add rate = 100 (requests a second in the long run), or remove burst"),
        );
        return None;
    }
    // A burst belongs to the rate that it stands beside.
    let burst = own_burst.or(default.burst.filter(|_| rate.is_none()));
    Some(CallerLimits {
        rate: rate.or(default.rate),
        burst,
        concurrency: concurrency.or(default.concurrency),
        searches: searches?,
    })
}

/// A bound that there is none of where it is not given: 0.
fn most(section: &Section<'_>, key: &'static str, range: RangeInclusive<u64>, unit: &str) -> Option<u32> {
    match section.optional(key) {
        Some(node) => u32::try_from(node.integer(range, unit)?).ok(),
        None => Some(0),
    }
}
