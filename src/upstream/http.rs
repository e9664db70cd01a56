//! HTTP/1.1 to the database over hyper's pooled client: TCP, TLS or a Unix socket.
//!
//! Always holds: the reply handed on has one unambiguous length and no hop-by-hop field; a body that stops early ends in an
//! error; connections know nothing of callers (T28); no request is sent twice but a GET or HEAD without body whose pooled
//! connection had been closed by the server (T29).
//!
//! Called by [`super::Upstream`].

mod body;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::circuit::{Circuit, Sends};
use super::hop::{remove_all, remove_hop_by_hop};
use super::{Config, Endpoint, Outgoing, PassBody, Patience, UpstreamError};
use crate::net::tls::client::Refused;
use crate::net::{Address, Connector, Traffic};
use body::{Progress, ReplyBody, SendBody, overdue};

/// Would change the framing of a request: they go whatever the caller removed before (T10).
static FRAMING: [header::HeaderName; 6] =
    [header::TRANSFER_ENCODING, header::TE, header::TRAILER, header::UPGRADE, header::CONNECTION, header::EXPECT];

/// A database that speaks HTTP/1.1.
#[derive(Debug)]
pub(super) struct HttpDatabase {
    client: Client<Connector, SendBody>,
    connector: Connector,
    /// For messages.
    place: String,
    /// For a Host field that the caller did not send.
    host: HeaderValue,
    base_path: String,
    scheme: Scheme,
    authorization: Option<HeaderValue>,
    circuit: Option<Circuit>,
    slots: Option<Slots>,
}

/// Room for requests under way.
#[derive(Debug)]
struct Slots {
    free: Arc<Semaphore>,
    patience: Duration,
}

impl HttpDatabase {
    /// See [`super::Upstream::new`].
    pub(super) fn new(config: &Config) -> Result<Self, UpstreamError> {
        let mut scheme = Scheme::HTTP;
        let (address, authority, base_path, place) = match &config.endpoint {
            Endpoint::Http { authority, base_path, tls } => {
                let (authority, host_and_port) = parse_authority(authority, if tls.is_some() { 443 } else { 80 })?;
                check_base_path(base_path)?;
                let place = host_and_port.clone();
                let address = match tls {
                    None => Address::Tcp(host_and_port),
                    Some(tls) => {
                        scheme = Scheme::HTTPS;
                        Address::Tls(host_and_port, tls.clone())
                    }
                };
                (address, authority, base_path.clone(), place)
            }
            // Of a Unix socket, it only fills a Host field that the caller did not send.
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
        Ok(Self {
            client,
            connector,
            place,
            host: host_field(&authority, &scheme)?,
            base_path,
            scheme,
            authorization: config.authorization.clone(),
            circuit: config.circuit.map(Circuit::new),
            slots: config
                .max_connections
                .map(|most| Slots { free: Arc::new(Semaphore::new(most)), patience: config.connect_timeout }),
        })
    }

    /// See [`super::Upstream::send`].
    pub(super) async fn send(
        &self,
        parts: request::Parts,
        body: Outgoing,
        patience: Patience,
    ) -> Result<Response<PassBody>, UpstreamError> {
        let slot = match &self.slots {
            Some(slots) => Some(self.slot(slots).await?),
            None => None,
        };
        let Some(circuit) = &self.circuit else { return self.exchange(parts, body, patience, slot).await };
        let sends = match &body {
            Outgoing::Passed(body) | Outgoing::Attachment(body) if !body.is_end_stream() => Sends::Piecewise,
            Outgoing::Empty | Outgoing::Passed(_) | Outgoing::Attachment(_) | Outgoing::Protected(_) => Sends::Whole,
        };
        let pass = circuit.pass(sends).map_err(UpstreamError::CircuitOpen)?;
        let outcome = self.exchange(parts, body, patience, slot).await;
        match &outcome {
            Ok(_) => pass.answered(),
            Err(UpstreamError::Connect(..) | UpstreamError::Tls(..)) => pass.failed(),
            Err(UpstreamError::Timeout(_)) if patience.telling => pass.timed_out(),
            // Reached, so nobody waits for it; but no sign yet that it has recovered.
            Err(UpstreamError::Broken(_)) if pass.is_probe() => pass.failed(),
            Err(_) => drop(pass),
        }
        outcome
    }

    /// Waits for room.
    async fn slot(&self, slots: &Slots) -> Result<OwnedSemaphorePermit, UpstreamError> {
        if let Ok(slot) = Arc::clone(&slots.free).try_acquire_owned() {
            return Ok(slot);
        }
        if let Some(again) = self.circuit.as_ref().and_then(Circuit::refuses) {
            return Err(UpstreamError::CircuitOpen(again));
        }
        match tokio::time::timeout(slots.patience, Arc::clone(&slots.free).acquire_owned()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(UpstreamError::Busy(slots.patience)),
        }
    }

    /// One exchange. Its slot is free again when the body of the reply has ended or is dropped.
    async fn exchange(
        &self,
        parts: request::Parts,
        body: Outgoing,
        patience: Patience,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Result<Response<PassBody>, UpstreamError> {
        // The database's own credential is lent to requests that were decided on, never to what passes untouched.
        let lent = self.authorization.as_ref().filter(|_| !matches!(body, Outgoing::Passed(_)));
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let (body, progress) = match body {
            Outgoing::Empty => (SendBody::Empty, None),
            Outgoing::Protected(body) => (SendBody::Whole(Some(body.into_bytes())), None),
            Outgoing::Passed(body) | Outgoing::Attachment(body) if reads && body.is_end_stream() => (SendBody::Empty, None),
            Outgoing::Passed(body) | Outgoing::Attachment(body) => {
                let progress = Progress::start();
                (SendBody::Passed { body, progress: progress.clone() }, Some(progress))
            }
        };
        let request = self.request(parts, body, lent)?;
        // Only these may be sent again, so only these pay for a copy of their headers.
        let spare = (reads && matches!(request.body(), SendBody::Empty)).then(|| copy_of(&request));
        let reply = match (self.attempt(request, patience.head, progress.as_ref()).await, spare) {
            (Err(Failure::ClosedBeforeReply(_)), Some(spare)) => self.attempt(spare, patience.head, None).await,
            (outcome, _) => outcome,
        };
        match (reply, progress.and_then(|progress| progress.fault())) {
            (Ok(reply), _) => accept(reply, patience.piece, slot),
            (Err(_consequence), Some(fault)) => Err(UpstreamError::RequestBody(fault)),
            (Err(failure), None) => Err(failure.into_error()),
        }
    }

    /// See [`super::Upstream::reachable`].
    pub(super) async fn reachable(&self) -> Result<(), UpstreamError> {
        self.connector.probe().await.map_err(|error| self.not_connected(&error))?;
        // A connection says that it is there, not that it answers.
        match self.circuit.as_ref().and_then(Circuit::refuses) {
            Some(again) => Err(UpstreamError::CircuitOpen(again)),
            None => Ok(()),
        }
    }

    /// See [`super::Upstream::circuit_open`].
    pub(super) fn circuit_open(&self) -> bool {
        self.circuit.as_ref().is_some_and(Circuit::is_open)
    }

    fn not_connected(&self, error: &(dyn Error + 'static)) -> UpstreamError {
        match Refused::of(error) {
            Some(refused) => UpstreamError::Tls(self.place.clone(), refused.to_string()),
            None => UpstreamError::Connect(self.place.clone(), causes(error)),
        }
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
        remove_all(headers, &FRAMING);
        match &body {
            SendBody::Passed { body, .. } => {
                // Of a GET or HEAD hyper sends a body only if the head announces it; else it would be dropped.
                let bodiless_elsewhere = matches!(parts.method, Method::GET | Method::HEAD);
                if bodiless_elsewhere && !body.is_end_stream() && !headers.contains_key(header::CONTENT_LENGTH) {
                    headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                }
            }
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
        headers.entry(header::HOST).or_insert_with(|| self.host.clone());
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
        parts.scheme = Some(self.scheme.clone());
        // By scheme and authority the client finds its pool, of which there is one: the shorter the sooner, for it hashes them three times
        // for every request. Where the connector connects to is its own affair.
        parts.authority = Some(Authority::from_static("d"));
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
        // A peer may refuse our certificate after the handshake, when the first request is under way.
        if error.is_connect() || Refused::of(error).is_some() {
            return Failure::Other(self.not_connected(error));
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
fn accept(
    reply: Response<Incoming>,
    idle_timeout: Duration,
    slot: Option<OwnedSemaphorePermit>,
) -> Result<Response<PassBody>, UpstreamError> {
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
    let body = ReplyBody::new(body, idle_timeout, slot);
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
fn parse_authority(text: &str, default_port: u16) -> Result<(Authority, String), UpstreamError> {
    let wrong = || UpstreamError::Endpoint(format!("{text:?} is not a host with an optional port"));
    let authority: Authority = text.parse().map_err(|_syntax| wrong())?;
    if text.contains('@') || authority.host().is_empty() {
        return Err(wrong());
    }
    // A port that is no u16 is one that `port_u16` does not see.
    let host_and_port = match (text.strip_prefix(authority.host()), authority.port_u16()) {
        (Some(""), None) => format!("{text}:{default_port}"),
        (Some(_), Some(_)) => text.to_string(),
        (Some(_) | None, _) => return Err(wrong()),
    };
    Ok((authority, host_and_port))
}

/// The Host field: the port only where it is not the scheme's own.
fn host_field(authority: &Authority, scheme: &Scheme) -> Result<HeaderValue, UpstreamError> {
    let usual = if *scheme == Scheme::HTTPS { 443 } else { 80 };
    let text = match authority.port_u16() {
        Some(port) if port == usual => authority.host(),
        _ => authority.as_str(),
    };
    HeaderValue::from_str(text).map_err(|_not_a_field| UpstreamError::Endpoint(format!("{text:?} is not a host")))
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

#[cfg(test)]
mod tests;
