//! Reads `[limits]`: bounds on connections, sizes and times, all optional, with the defaults stated here.
//!
//! Called by [`super::build`].

use std::time::Duration;

use super::service::{count, millis};
use super::tree::Section;
use crate::base::limits::MAX_REQUEST_BODY_BYTES;

/// `[limits]`, all optional in the file.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections accepted at once.
    pub connections: usize,
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
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Longest exchange, from the head to the end of the reply.
    pub total_timeout: Duration,
    /// How long a shutdown waits for running exchanges.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            header_bytes: 32 << 10,
            headers: 100,
            body_bytes: MAX_REQUEST_BODY_BYTES,
            decompress_ratio: 100,
            header_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(1),
            total_timeout: Duration::from_mins(5),
            drain_timeout: Duration::from_secs(30),
        }
    }
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
    let drain_timeout = timeout("drain_timeout_ms", default.drain_timeout);
    section.finish();
    Some(Limits {
        connections: connections?,
        header_bytes: header_bytes?,
        headers: headers?,
        body_bytes: body_bytes?,
        decompress_ratio: decompress_ratio?,
        header_timeout: header_timeout?,
        handshake_timeout: handshake_timeout?,
        body_timeout: body_timeout?,
        idle_timeout: idle_timeout?,
        total_timeout: total_timeout?,
        drain_timeout: drain_timeout?,
    })
}
