//! Reads `[limits.http2]`: bounds on connections that speak HTTP/2, all optional, with the defaults of [`Config`].
//!
//! Called by [`super::limits`].

use std::time::Duration;

use super::service::{count, millis};
use super::tree::Section;
use crate::front::http::http2::Config;

/// `[limits.http2]`, all optional.
pub(super) fn http2(limits: &Section<'_>) -> Option<Config> {
    let Some(node) = limits.optional("http2") else { return Some(Config::default()) };
    let section = node.table_named("[limits.http2]")?;
    let default = Config::default();
    let number = |key: &'static str, range, default: u32, unit| {
        let number = count(&section, key, range, usize::try_from(default).unwrap_or(usize::MAX), unit)?;
        u32::try_from(number).ok()
    };
    // Ranges of RFC 9113, section 6.5.2, narrowed to what a proxy has a use for.
    let streams = number("streams", 1..=10_000, default.streams, "streams");
    let stream_window = number("stream_window_bytes", 65_535..=16 << 20, default.stream_window, "bytes");
    let connection_window = number("connection_window_bytes", 65_535..=64 << 20, default.connection_window, "bytes");
    let frame_bytes = number("frame_bytes", 16_384..=1 << 20, default.frame_bytes, "bytes");
    let resets = count(&section, "resets", 1..=1_000_000, default.resets, "streams");
    let time =
        |key, range, default: Duration| millis(&section, key, range, u64::try_from(default.as_millis()).unwrap_or(u64::MAX));
    let ping_interval = time("ping_interval_ms", 100..=3_600_000, default.ping_interval);
    let ping_timeout = time("ping_timeout_ms", 100..=600_000, default.ping_timeout);
    section.finish();
    Some(Config {
        streams: streams?,
        stream_window: stream_window?,
        connection_window: connection_window?,
        frame_bytes: frame_bytes?,
        resets: resets?,
        ping_interval: ping_interval?,
        ping_timeout: ping_timeout?,
    })
}
