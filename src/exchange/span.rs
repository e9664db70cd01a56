//! Spans: what is told of a request once it is over, for those who follow requests through several programs.
//!
//! Always holds: a span has names of the configuration, fixed words and numbers, never anything of a target, a header or a body
//! (T13, T14), but for the ids of the trace it belongs to, which have the shape of random ones. Nobody waits for a span.
//!
//! Who takes them is `app`'s choice ([`Spans`]); without anybody nothing here runs.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::Context;
use super::log::{self, Ended};
use crate::crypto;

/// Takes spans of requests that are over. Must neither wait nor fail.
pub trait Spans: fmt::Debug + Send + Sync {
    /// How many of a thousand requests that come without a trace get one. Others follow the flag of theirs.
    fn per_mille(&self) -> u16;

    /// A request is over.
    fn ended(&self, span: Span<'_>);
}

/// Which span of which trace a request is (W3C Trace Context).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The trace, the caller's if it has one.
    pub trace: [u8; 16],
    /// This span.
    pub span: [u8; 8],
    /// The span of whoever asked.
    pub parent: Option<[u8; 8]>,
}

/// A request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Span<'s> {
    /// Where it belongs.
    pub ids: Ids,
    /// Names, as the audit has them.
    pub context: &'s Context,
    /// The method, where it is a usual one.
    pub method: &'static str,
    /// What the client got.
    pub status: u16,
    /// The code of our own error, or how the reply was broken off; empty where all went well.
    pub code: &'s str,
    /// From the head of the request to the end of the reply.
    pub took: Duration,
}

/// Begins a span where the request's trace wants one, or chance does. The database then sees this span as its parent.
///
/// `trace` is the request's `traceparent`, which has been checked.
pub(super) fn begin(spans: &dyn Spans, headers: &mut HeaderMap, trace: Option<&HeaderValue>) -> Option<Ids> {
    let ids = match trace.and_then(|trace| sent(trace.as_bytes())) {
        Some((_, _, flags)) if flags & 1 == 0 => return None,
        Some((trace, parent, _)) => Ids { trace, span: crypto::random().ok()?, parent: Some(parent) },
        None => {
            if spans.per_mille() < 1_000 {
                let [a, b, c, d] = crypto::random::<4>().ok()?;
                if u32::from_be_bytes([a, b, c, d]) % 1_000 >= u32::from(spans.per_mille()) {
                    return None;
                }
            }
            Ids { trace: crypto::random().ok()?, span: crypto::random().ok()?, parent: None }
        }
    };
    let mut text = *b"00-................................-................-01";
    for (bytes, at) in [(&ids.trace[..], 3..35), (&ids.span[..], 36..52)] {
        if let Some(room) = text.get_mut(at) {
            log::hex(bytes, room);
        }
    }
    headers.insert(log::TRACE_PARENT, HeaderValue::from_bytes(&text).ok()?);
    Some(ids)
}

/// Trace, parent and flags of a `traceparent` that is one.
fn sent(text: &[u8]) -> Option<([u8; 16], [u8; 8], u8)> {
    let part = |from: usize, to: usize| data_encoding::HEXLOWER.decode(text.get(from..to)?).ok();
    Some((part(3, 35)?.try_into().ok()?, part(36, 52)?.try_into().ok()?, *part(53, 55)?.first()?))
}

/// Tells of a request that is over, if it has a span.
pub(super) fn end(spans: Option<&dyn Spans>, context: &Context, ended: Ended<'_>) {
    if let (Some(spans), Some(ids)) = (spans, context.span) {
        let method = context.about.method();
        spans.ended(Span { ids, context, method, status: ended.status, code: ended.code, took: ended.took });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Share(u16);

    impl Spans for Share {
        fn per_mille(&self) -> u16 {
            self.0
        }

        fn ended(&self, _span: Span<'_>) {}
    }

    #[test]
    fn a_trace_decides_for_itself_and_its_parent_is_replaced() {
        let sent = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            let mut headers = HeaderMap::from_iter([(log::TRACE_PARENT, value.clone())]);
            (begin(&Share(0), &mut headers, Some(&value)), headers[log::TRACE_PARENT].to_str().unwrap().to_owned())
        };
        let (ids, forwarded) = sent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let ids = ids.unwrap();
        assert_eq!(ids.parent, Some([0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]));
        let span = data_encoding::HEXLOWER.encode(&ids.span);
        assert_eq!(forwarded, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01"));
        let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        assert_eq!(sent(unsampled), (None, unsampled.to_owned()));
    }

    #[test]
    fn chance_decides_where_nobody_has() {
        let count = |share| (0..2_000).filter(|_| begin(&Share(share), &mut HeaderMap::new(), None).is_some()).count();
        assert_eq!((count(0), count(1_000)), (0, 2_000));
        // 100 are expected; that it is under 20 or over 300 happens once in more than 10^15 runs.
        assert!((20..300).contains(&count(50)));
    }
}
