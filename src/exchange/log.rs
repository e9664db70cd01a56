//! The line of a request in the operator's log, and what joins it with other logs: request ids and trace context.
//!
//! Always holds: a line has names of the configuration, fixed words and numbers, never anything of a target, a header or a
//! body (T13, T14). The one text that a client chooses, its request id, is taken only if it has the shape of a random id.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::span::{self, Spans};
use super::{Context, Peer};
use crate::upstream::{BodyError, PassBody};

/// Joins the log lines of everything a request passes through.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");

/// `[log] requests` and `peer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLog {
    /// Which requests get a line.
    pub which: Requests,
    /// The address of the other end stands in it. It may be personal data.
    pub peer: bool,
}

impl Default for RequestLog {
    fn default() -> Self {
        Self { which: Requests::Errors, peer: false }
    }
}

/// Which requests get a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// Every one, when its reply has ended.
    All,
    /// What was refused or failed, here or at the database (5xx).
    Errors,
    /// None but what failed here.
    None,
}

/// Makes request ids: eight digits that tell the process, and the number of the exchange, as in the audit log.
#[derive(Debug)]
pub(super) struct RequestIds {
    process: [u8; 4],
}

impl RequestIds {
    pub(super) fn new(process: [u8; 4]) -> Self {
        Self { process }
    }

    /// The client's own id where it has the shape of one, else a new one.
    pub(super) fn of(&self, headers: &HeaderMap, exchange: u64) -> HeaderValue {
        let mut sent = headers.get_all(REQUEST_ID).iter();
        match (sent.next(), sent.next()) {
            (Some(id), None) if is_random_id(id.as_bytes()) => id.clone(),
            _ => self.make(exchange),
        }
    }

    fn make(&self, exchange: u64) -> HeaderValue {
        let mut text = [b'-'; 25];
        let (process, number) = text.split_at_mut(9);
        hex(&self.process, process);
        hex(&exchange.to_be_bytes(), number);
        HeaderValue::from_bytes(&text).unwrap_or_else(|_never| HeaderValue::from_static("-"))
    }
}

/// Writes two digits a byte, as far as there is room.
pub(super) fn hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
    for (byte, pair) in bytes.iter().zip(out.as_chunks_mut().0) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}

/// A UUID, 32 hexadecimal digits, a ULID, or an id of ours. Anything looser would let phone numbers and names into the logs.
fn is_random_id(id: &[u8]) -> bool {
    let groups = |lengths: &[usize]| {
        let mut parts = id.split(|byte| *byte == b'-');
        lengths
            .iter()
            .all(|length| parts.next().is_some_and(|part| part.len() == *length && part.iter().all(u8::is_ascii_hexdigit)))
            && parts.next().is_none()
    };
    let ulid = || id.len() == 26 && id.iter().all(u8::is_ascii_alphanumeric) && id.iter().any(u8::is_ascii_alphabetic);
    match id.len() {
        36 => groups(&[8, 4, 4, 4, 12]),
        32 => groups(&[32]),
        25 => groups(&[8, 16]),
        _ => ulid(),
    }
}

/// Passes W3C trace context on where it is well-formed, and takes it out where it is not. The trace's id, for the log.
///
/// Source: W3C Trace Context, sections 3.2 and 3.3: `traceparent` is one field, and without it `tracestate` means nothing.
pub(super) fn trace(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut sent = headers.get_all(TRACE_PARENT).iter();
    let Some(first) = sent.next() else {
        if headers.contains_key(TRACE_STATE) {
            headers.remove(TRACE_STATE);
        }
        return None;
    };
    if sent.next().is_some() || !is_trace_parent(first.as_bytes()) {
        headers.remove(TRACE_PARENT);
        headers.remove(TRACE_STATE);
        return None;
    }
    let trace = first.clone();
    if headers.contains_key(TRACE_STATE) && !is_trace_state(headers) {
        headers.remove(TRACE_STATE);
    }
    Some(trace)
}

fn is_trace_parent(value: &[u8]) -> bool {
    let lower_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let part = |from: usize, to: usize| value.get(from..to).filter(|part| lower_hex(part));
    let dashes = [2, 35, 52].iter().all(|at| value.get(*at) == Some(&b'-'));
    let (Some(version), Some(trace), Some(parent), Some(_flags)) = (part(0, 2), part(3, 35), part(36, 52), part(53, 55)) else {
        return false;
    };
    // A later version may have more behind another dash; this one has not.
    let length = value.len() == 55 || (version != b"00" && value.get(55) == Some(&b'-') && value.len() <= 512);
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    dashes && length && version != b"ff" && !zero(trace) && !zero(parent)
}

/// At most 32 members of the form `key=value` and 512 characters, all of them visible (section 3.3.1).
fn is_trace_state(headers: &HeaderMap) -> bool {
    let (mut members, mut length) = (0, 0);
    for value in headers.get_all(TRACE_STATE) {
        length += value.len() + 1;
        for member in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
            members += 1;
            let Some(equals) = member.iter().position(|byte| *byte == b'=') else { return false };
            let (key, rest) = member.split_at(equals);
            let key_fits = !key.is_empty()
                && key.len() <= 256
                && key.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'));
            let value_fits = rest.len() <= 257 && rest.iter().all(|byte| (0x20..0x7f).contains(byte));
            if !key_fits || !value_fits {
                return false;
            }
        }
    }
    members <= 32 && length <= 513
}

/// How a request ended, for its line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended<'e> {
    pub(super) status: u16,
    /// The code of our own error, or how the reply was broken off; empty where all went well.
    pub(super) code: &'e str,
    /// Bytes of the reply's body that went out, where they were counted.
    pub(super) bytes: Option<u64>,
    pub(super) took: Duration,
}

/// What the head of a request says of itself that may stand in a log.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    /// The method, where it is a usual one.
    pub(super) method: Option<Method>,
    pub(super) version: Option<Version>,
    pub(super) request_id: Option<HeaderValue>,
    pub(super) trace: Option<HeaderValue>,
    pub(super) bytes_in: Option<u64>,
    pub(super) peer: Option<std::net::IpAddr>,
}

impl About {
    pub(super) fn of(method: &Method, version: Version, peer: &Peer) -> Self {
        // Any text of a client's choice can be a method.
        let usual = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];
        let method = usual.into_iter().find(|usual| usual == method);
        Self { method, version: Some(version), peer: peer.address, ..Self::default() }
    }

    /// One of a few words.
    pub(super) fn method(&self) -> &'static str {
        let usual = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = self.method.as_ref().map_or("", Method::as_str);
        usual.into_iter().find(|usual| *usual == method).unwrap_or("other")
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "http/1.0",
        Version::HTTP_2 => "h2",
        _ => "http/1.1",
    }
}

/// Writes down a request that was refused, or that failed here.
pub(super) fn refused(context: &Context, status: u16, code: &'static str, log: RequestLog, spans: Option<&dyn Spans>) {
    let ended = Ended { status, code, bytes: None, took: context.took() };
    if log.which != Requests::None {
        line(context, ended, log);
    }
    span::end(spans, context, ended);
}

/// Writes down a request that was answered, once its reply has gone out where all are written down or it has a span.
pub(super) fn answered(
    context: Context,
    response: Response<PassBody>,
    log: RequestLog,
    spans: Option<&Arc<dyn Spans>>,
) -> Response<PassBody> {
    let status = response.status().as_u16();
    let bodiless = context.about.method == Some(Method::HEAD) || response.body().is_end_stream();
    let spans = spans.filter(|_| context.span.is_some());
    if !bodiless && (log.which == Requests::All || spans.is_some()) {
        let (parts, body) = response.into_parts();
        let counted = Counted { body, bytes: 0, ended: false, code: "", status, context, log, spans: spans.cloned() };
        return Response::from_parts(parts, counted.boxed_unsync());
    }
    over(
        &context,
        Ended { status, code: "", bytes: bodiless.then_some(0), took: context.took() },
        log,
        spans.map(|spans| &**spans),
    );
    response
}

/// Writes down a request that is over, if such requests are.
fn over(context: &Context, ended: Ended<'_>, log: RequestLog, spans: Option<&dyn Spans>) {
    match log.which {
        Requests::All => line(context, ended, log),
        Requests::Errors if ended.status >= 500 => line(context, ended, log),
        Requests::Errors | Requests::None => {}
    }
    span::end(spans, context, ended);
}

/// A reply's body that counts its bytes, and tells when it is over.
struct Counted {
    body: PassBody,
    bytes: u64,
    ended: bool,
    code: &'static str,
    status: u16,
    context: Context,
    log: RequestLog,
    spans: Option<Arc<dyn Spans>>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            None => self.ended = true,
            Some(Err(_)) => (self.ended, self.code) = (true, "reply-broken-off"),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.bytes += u64::try_from(length).unwrap_or(u64::MAX);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let code = if self.ended || self.body.is_end_stream() { self.code } else { "client-gone" };
        let ended = Ended { status: self.status, code, bytes: Some(self.bytes), took: self.context.took() };
        over(&self.context, ended, self.log, self.spans.as_deref());
    }
}

/// Writes the line of a request.
fn line(context: &Context, ended: Ended<'_>, log: RequestLog) {
    let about = &context.about;
    let text = |value: &Option<HeaderValue>| value.as_ref().and_then(|value| value.to_str().ok()).map(str::to_owned);
    let trace = text(&about.trace).and_then(|trace| trace.get(3..35).map(str::to_owned));
    let peer = about.peer.filter(|_| log.peer).map(|address| address.to_string());
    let exchange = context.number().to_string();
    macro_rules! write_line {
        ($level:ident) => {
            tracing::$level!(
                request_id = text(&about.request_id),
                exchange,
                method = about.method(),
                route = context.route,
                class = context.class.map(crate::metrics::RouteClass::as_str),
                collection = context.collection.as_ref().map(crate::base::CollectionName::as_str),
                caller = context.caller.as_ref().map(crate::base::CallerName::as_str),
                purpose = context.purpose.as_ref().map(crate::base::PurposeName::as_str),
                status = ended.status,
                code = (!ended.code.is_empty()).then_some(ended.code),
                ms = u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX),
                bytes_in = about.bytes_in,
                bytes_out = ended.bytes,
                protocol = about.version.map(protocol),
                peer,
                trace_id = trace,
                "request"
            )
        };
    }
    if ended.status >= 500 { write_line!(warn) } else { write_line!(info) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn t13_only_what_looks_random_is_taken_for_a_request_id() {
        let ids = RequestIds::new([0xab, 0xcd, 0, 0x12]);
        let ours = "abcd0012-000000000000002a";
        for taken in
            ["0ac1b6de-5b0f-4a4e-8d2f-1234567890ab", "0AC1B6DE5B0F4A4E8D2F1234567890AB", "01ARZ3NDEKTSV4RRFFQ69G5FAV", ours]
        {
            assert_eq!(ids.of(&headers(&[("x-request-id", taken)]), 42), taken);
        }
        for refused in [
            "",
            "mei.tanaka@example.com",
            "+81355501234",
            "123456789018",
            "11010119900307451X",
            "4111111111111111",
            "12345678901234567890123456",
            "0ac1b6de-5b0f-4a4e-8d2f-1234567890ag",
            "0ac1b6de-5b0f-4a4e-8d2f1234567890abcd",
        ] {
            assert_eq!(ids.of(&headers(&[("x-request-id", refused)]), 42), ours, "{refused}");
        }
        let twice = headers(&[("x-request-id", ours), ("x-request-id", ours)]);
        assert_eq!(ids.of(&twice, 1), "abcd0012-0000000000000001");
    }

    #[test]
    fn trace_context_passes_unchanged_or_not_at_all() {
        const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for good in [GOOD, "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like"] {
            let mut sent = headers(&[("traceparent", good), ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")]);
            let before = sent.clone();
            assert_eq!(trace(&mut sent).unwrap(), good);
            assert_eq!(sent, before);
        }
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "mei.tanaka@example.com",
        ] {
            let mut sent = headers(&[("traceparent", bad), ("tracestate", "rojo=1")]);
            assert_eq!(trace(&mut sent), None, "{bad}");
            assert!(sent.is_empty(), "{bad}");
        }
        let mut twice = headers(&[("traceparent", GOOD), ("traceparent", GOOD)]);
        assert_eq!(trace(&mut twice), None);
        assert!(twice.is_empty());
        let mut alone = headers(&[("tracestate", "rojo=1")]);
        assert_eq!(trace(&mut alone), None);
        assert!(alone.is_empty());
        for bad in ["rojo", "=1", "Rojo=1"] {
            let mut sent = headers(&[("traceparent", GOOD), ("tracestate", bad)]);
            assert!(trace(&mut sent).is_some());
            assert_eq!(sent.len(), 1, "{bad}");
        }
    }
}
