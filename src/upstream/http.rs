//! HTTP/1.1 to the database over hyper's pooled client.
//!
//! Always holds: the reply handed on has one unambiguous length and no hop-by-hop field; a body that stops early ends in an
//! error; connections know nothing of callers (T28); no request is sent twice but a GET or HEAD without body whose pooled
//! connection had been closed by the server (T29).
//!
//! Called by [`super::Upstream`].

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, Sleep};

use super::{BodyError, Config, Endpoint, Outgoing, PassBody, Patience, UpstreamError};
use crate::net::{Address, Connector, Traffic};

/// A database that speaks HTTP/1.1.
#[derive(Debug)]
pub(super) struct HttpDatabase {
    client: Client<Connector, SendBody>,
    connector: Connector,
    /// For messages.
    place: String,
    authority: Authority,
    base_path: String,
    authorization: Option<HeaderValue>,
}

impl HttpDatabase {
    /// See [`super::Upstream::new`].
    pub(super) fn new(config: &Config) -> Result<Self, UpstreamError> {
        let (address, authority, base_path, place) = match &config.endpoint {
            Endpoint::Http { authority, base_path } => {
                let (authority, host_and_port) = parse_authority(authority)?;
                check_base_path(base_path)?;
                (Address::Tcp(host_and_port.clone()), authority, base_path.clone(), host_and_port)
            }
            // The authority of a Unix socket only fills a Host field that the caller did not send.
            Endpoint::Unix(path) => {
                (Address::Unix(path.clone()), Authority::from_static("localhost"), String::new(), path.display().to_string())
            }
            Endpoint::Embedded(path) => {
                return Err(UpstreamError::Endpoint(format!("{} is not reached over HTTP", path.display())));
            }
        };
        let connector = Connector::new(address, config.connect_timeout);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(config.pool_idle)
            .pool_max_idle_per_host(config.max_idle)
            .retry_canceled_requests(false)
            .build(connector.clone());
        Ok(Self { client, connector, place, authority, base_path, authorization: config.authorization.clone() })
    }

    /// See [`super::Upstream::send`].
    pub(super) async fn send(
        &self,
        parts: request::Parts,
        body: Outgoing,
        patience: Patience,
    ) -> Result<Response<PassBody>, UpstreamError> {
        // The database's own credential is lent to requests that were decided on, never to what passes untouched.
        let lent = self.authorization.as_ref().filter(|_| !matches!(body, Outgoing::Passed(_)));
        let (body, progress) = match body {
            Outgoing::Empty => (SendBody::Empty, None),
            Outgoing::Protected(body) => (SendBody::Whole(Some(body.into_bytes())), None),
            Outgoing::Passed(body) | Outgoing::Attachment(body) => {
                let progress = Progress::start();
                (SendBody::Passed { body, progress: progress.clone() }, Some(progress))
            }
        };
        let request = self.request(parts, body, lent)?;
        // Only these may be sent again, so only these pay for a copy of their headers.
        let spare = (matches!(request.body(), SendBody::Empty) && matches!(*request.method(), Method::GET | Method::HEAD))
            .then(|| copy_of(&request));
        let reply = match (self.attempt(request, patience.head, progress.as_ref()).await, spare) {
            (Err(Failure::ClosedBeforeReply(_)), Some(spare)) => self.attempt(spare, patience.head, None).await,
            (outcome, _) => outcome,
        };
        match (reply, progress.and_then(|progress| progress.fault())) {
            (Ok(reply), _) => accept(reply, patience.piece),
            (Err(_consequence), Some(fault)) => Err(UpstreamError::RequestBody(fault)),
            (Err(failure), None) => Err(failure.into_error()),
        }
    }

    /// See [`super::Upstream::reachable`].
    pub(super) async fn reachable(&self) -> bool {
        self.connector.connect().await.is_ok()
    }

    /// The request as it leaves: our authority, the credential that is lent, a body length that is exactly one of told, known or chunked.
    fn request(
        &self,
        mut parts: request::Parts,
        body: SendBody,
        lent: Option<&HeaderValue>,
    ) -> Result<Request<SendBody>, UpstreamError> {
        parts.uri = self.target(&parts.uri)?;
        parts.version = Version::HTTP_11;
        // What the front hung on the request is not for the connection (T28).
        parts.extensions.clear();
        let headers = &mut parts.headers;
        // The caller removed what is hop-by-hop; these would change the framing, so they go whatever the caller did (T10).
        for name in [header::TRANSFER_ENCODING, header::TE, header::TRAILER, header::UPGRADE, header::CONNECTION, header::EXPECT]
        {
            headers.remove(name);
        }
        match &body {
            // hyper sends no body with GET and HEAD unless it is told to.
            SendBody::Passed { body, .. } if !headers.contains_key(header::CONTENT_LENGTH) && !body.is_end_stream() => {
                headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            SendBody::Passed { .. } => {}
            SendBody::Whole(_) => {
                headers.remove(header::CONTENT_LENGTH);
            }
            SendBody::Empty => {
                headers.remove(header::CONTENT_LENGTH);
                if matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
                }
            }
        }
        if let Some(authorization) = lent {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        Ok(Request::from_parts(parts, body))
    }

    fn target(&self, uri: &Uri) -> Result<Uri, UpstreamError> {
        let given = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let path = if self.base_path.is_empty() {
            given
        } else {
            PathAndQuery::try_from(format!("{}{given}", self.base_path))
                .map_err(|_too_long| UpstreamError::Endpoint("with this path before it, the target is too long".into()))?
        };
        let mut parts = ::http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).map_err(|error| UpstreamError::Endpoint(error.to_string()))
    }

    async fn attempt(
        &self,
        request: Request<SendBody>,
        patience: Duration,
        progress: Option<&Progress>,
    ) -> Result<Response<Incoming>, Failure> {
        let reply = self.client.request(request);
        tokio::select! {
            biased;
            reply = reply => reply.map_err(|error| self.failure(&error)),
            () = overdue(patience, progress) => Err(Failure::Other(UpstreamError::Timeout(patience))),
        }
    }

    fn failure(&self, error: &legacy::Error) -> Failure {
        if error.is_connect() {
            return Failure::Other(UpstreamError::Connect(self.place.clone(), causes(error)));
        }
        let from_hyper = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
        let broken = UpstreamError::Broken(causes(error));
        let traffic = error.connect_info().and_then(traffic_of);
        // Cancelled: hyper never began to send it. Otherwise the pool's connection must have died without a reply byte.
        let never_sent = from_hyper.is_some_and(hyper::Error::is_canceled);
        let closed = from_hyper
            .is_some_and(|cause| cause.is_incomplete_message() || cause.source().is_some_and(<dyn Error>::is::<std::io::Error>));
        match traffic {
            Some(traffic) if never_sent || (closed && traffic.requests() > 1 && traffic.reply_bytes() == 0) => {
                Failure::ClosedBeforeReply(broken)
            }
            _ => Failure::Other(broken),
        }
    }
}

/// Checks the head of a reply and takes from it what belongs to the connection.
fn accept(reply: Response<Incoming>, idle_timeout: Duration) -> Result<Response<PassBody>, UpstreamError> {
    let (mut parts, body) = reply.into_parts();
    let traffic = parts.extensions.remove::<Traffic>();
    if let Err(why) = check_framing(parts.status, &parts.headers) {
        // Where this reply ends is not known, so neither is what follows on the connection.
        if let Some(traffic) = traffic {
            traffic.condemn();
        }
        return Err(UpstreamError::Broken(why.into()));
    }
    remove_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;
    let body = ReplyBody { body, idle_timeout, alarm: None, waiting: false };
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// Why an attempt gave no reply.
enum Failure {
    /// The connection came from the pool and was closed before a byte of the reply.
    ClosedBeforeReply(UpstreamError),
    Other(UpstreamError),
}

impl Failure {
    fn into_error(self) -> UpstreamError {
        match self {
            Self::ClosedBeforeReply(error) | Self::Other(error) => error,
        }
    }
}

fn traffic_of(info: &legacy::connect::Connected) -> Option<Traffic> {
    let mut extras = ::http::Extensions::new();
    info.get_extras(&mut extras);
    extras.remove::<Traffic>()
}

/// An error with its causes. hyper's name kinds of faults and operating system errors, never bytes of a message.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// `host[:port]` as an authority, and as `host:port` for the resolver.
fn parse_authority(text: &str) -> Result<(Authority, String), UpstreamError> {
    let wrong = || UpstreamError::Endpoint(format!("{text:?} is not a host with an optional port"));
    let authority: Authority = text.parse().map_err(|_syntax| wrong())?;
    if text.contains('@') || authority.host().is_empty() {
        return Err(wrong());
    }
    // A port that is no u16 is one that `port_u16` does not see.
    let host_and_port = match (text.strip_prefix(authority.host()), authority.port_u16()) {
        (Some(""), None) => format!("{text}:80"),
        (Some(_), Some(_)) => text.to_string(),
        (Some(_) | None, _) => return Err(wrong()),
    };
    Ok((authority, host_and_port))
}

fn check_base_path(path: &str) -> Result<(), UpstreamError> {
    let usable = path.is_empty()
        || (path.starts_with('/') && !path.ends_with('/') && !path.contains(['?', '#']) && path.parse::<PathAndQuery>().is_ok());
    if usable {
        Ok(())
    } else {
        Err(UpstreamError::Endpoint(format!("{path:?} is not a path that starts with / and does not end with it")))
    }
}

fn copy_of(request: &Request<SendBody>) -> Request<SendBody> {
    let mut copy = Request::new(SendBody::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// Where a reply ends must have one answer for every reader of it. Stricter than RFC 9112 section 6.3, which lets a
/// reader repair some of these.
fn check_framing(status: StatusCode, headers: &HeaderMap) -> Result<(), &'static str> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("it switches protocols, which was not asked for");
    }
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err("it tells its length twice");
    }
    if length.is_some_and(|length| length.is_empty() || !length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return Err("its length is not a number");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next(), length) {
        (None, ..) => Ok(()),
        (Some(_), _, Some(_)) => Err("it has both Content-Length and Transfer-Encoding"),
        (Some(coding), None, None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), ..) => Err("its Transfer-Encoding is not exactly chunked"),
    }
}

/// Takes what belongs to the connection between the database and us (RFC 9110 section 7.6.1).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<header::HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Never the length, or a reply would lose its end (T10).
        .filter(|name| *name != header::CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::TE, header::TRAILER, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// Ends once the database has kept us waiting for `limit`. Time in which we wait for the caller's body does not count:
/// the front limits that.
async fn overdue(limit: Duration, progress: Option<&Progress>) {
    let mut wait = limit;
    loop {
        tokio::time::sleep(wait).await;
        match progress.map(Progress::owed_for) {
            None => return,
            Some(None) => wait = limit,
            Some(Some(owed)) if owed >= limit => return,
            Some(Some(owed)) => wait = limit.saturating_sub(owed),
        }
    }
}

/// How a streaming body fares, shared between the body and the task that waits for the reply.
#[derive(Debug, Clone)]
struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// Milliseconds after `start` since which the database owes the next step, or [`Progress::CALLER`].
    since_ms: AtomicU64,
    /// Why the body broke off.
    fault: Mutex<Option<BodyError>>,
}

impl Progress {
    /// In place of a time: the caller owes the next step.
    const CALLER: u64 = u64::MAX;

    fn start() -> Self {
        Self(Arc::new(Shared { start: Instant::now(), since_ms: AtomicU64::new(0), fault: Mutex::new(None) }))
    }

    fn caller_owes(&self) {
        self.0.since_ms.store(Self::CALLER, Ordering::Release);
    }

    fn database_owes(&self) {
        let now_ms = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(Self::CALLER - 1);
        self.0.since_ms.store(now_ms, Ordering::Release);
    }

    fn owed_for(&self) -> Option<Duration> {
        let since_ms = self.0.since_ms.load(Ordering::Acquire);
        (since_ms != Self::CALLER).then(|| self.0.start.elapsed().saturating_sub(Duration::from_millis(since_ms)))
    }

    fn broke_off(&self, error: BodyError) {
        *self.0.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn fault(&self) -> Option<BodyError> {
        self.0.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The body of a request on its way to the database, without trailers.
#[derive(Debug)]
enum SendBody {
    Empty,
    Whole(Option<Bytes>),
    Passed { body: PassBody, progress: Progress },
}

impl Body for SendBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed { body, progress } => {
                let polled = Pin::new(body).poll_frame(cx);
                if polled.is_pending() {
                    progress.caller_owes();
                    return Poll::Pending;
                }
                progress.database_owes();
                match ready!(polled) {
                    // Trailers come after the data, so this is the end (T10).
                    Some(Ok(frame)) if frame.is_trailers() => Poll::Ready(None),
                    Some(Err(error)) => {
                        progress.broke_off(error);
                        Poll::Ready(Some(Err("the caller broke off the body".into())))
                    }
                    other => Poll::Ready(other),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Whole(None) => true,
            Self::Whole(Some(_)) => false,
            Self::Passed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Whole(None) => SizeHint::with_exact(0),
            Self::Whole(Some(bytes)) => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            Self::Passed { body, .. } => body.size_hint(),
        }
    }
}

/// The body of a reply, without trailers. The alarm is set only while a frame is awaited.
#[derive(Debug)]
struct ReplyBody {
    body: Incoming,
    idle_timeout: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.waiting = false;
                Poll::Ready(match frame {
                    Some(Ok(frame)) if frame.is_trailers() => None,
                    Some(Ok(frame)) => Some(Ok(frame)),
                    Some(Err(error)) => Some(Err(UpstreamError::Broken(causes(&error)).into())),
                    None => None,
                })
            }
            Poll::Pending => {
                let timeout = this.idle_timeout;
                let alarm = this.alarm.get_or_insert_with(|| {
                    this.waiting = true;
                    Box::pin(tokio::time::sleep(timeout))
                });
                if !this.waiting {
                    this.waiting = true;
                    alarm.as_mut().reset(Instant::now() + timeout);
                }
                ready!(alarm.as_mut().poll(cx));
                Poll::Ready(Some(Err(UpstreamError::Timeout(timeout).into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
