//! HTTP/2 in (RFC 9113). hyper and h2 frame, decompress and keep the state of streams; what stands here is what they leave to
//! the server: when a connection has been idle for too long, how much a client may cost (`meter`), what a head may say
//! (`head`), and how long a reply waits for a client that does not read it (`streams`).
//!
//! Always holds: the exchange sees the same head as over HTTP/1.1, or none; what one stream is refused for does not end the
//! others; nothing a client does or leaves undone keeps a connection open for ever. Called by `super::connection`.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::meter::Meter;
use self::streams::{Paced, Streams};
use super::accept;
use super::places::Places;
use super::wire::{Observer, Reason, Refused};
use crate::exchange::ReplyBody;

mod head;
mod meter;
mod streams;

/// A connection that has had no stream for so long leaves when another wants its place.
const QUIET: Duration = Duration::from_secs(1);

/// Bounds on one connection; `[limits.http2]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Requests under way at a time.
    pub streams: u32,
    /// What may come of one request's body before we have taken it, in bytes.
    pub stream_window: u32,
    /// The same of all requests together.
    pub connection_window: u32,
    /// Largest frame.
    pub frame_bytes: u32,
    /// Streams that may end without a use, by the client's reset or for its mistakes, beyond what is usual.
    pub resets: usize,
    /// After so long without a frame the client is asked whether it is still there ...
    pub ping_interval: Duration,
    /// ... and given up if it has not answered in this time.
    pub ping_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            streams: 128,
            stream_window: 64 << 10,
            connection_window: 256 << 10,
            frame_bytes: 16 << 10,
            resets: 100,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves HTTP/2 on a connection of which `begun` has been read, until it ends or `drain` is cancelled and what is under way
/// has been answered.
pub(super) async fn serve<S, A, F>(
    stream: S,
    begun: BytesMut,
    answer: A,
    (front, config, places): (&accept::Config, &Config, &Places),
    drain: CancellationToken,
    tasks: TaskTracker,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<ReplyBody>> + Send + 'static,
{
    let metrics = Arc::clone(&front.metrics);
    let observer: Observer = Arc::new(move |reason| metrics.wire_refused(reason.code()));
    let meter = Meter::new(stream, begun, config.resets, front.header_timeout, Arc::clone(&observer));
    let streams = Streams::new(tasks, front.longest_unread(), Arc::clone(&front.metrics));
    let (headers, refused) = (front.headers, Arc::clone(&observer));
    let service = service_fn(move |request: Request<Incoming>| {
        let (answer, refused) = (answer.clone(), Arc::clone(&refused));
        async move {
            let bodiless = request.method() == Method::HEAD;
            let (mut parts, body) = request.into_parts();
            let response = match head::settle(&mut parts, headers) {
                Ok(()) => answer(Request::from_parts(parts, body)).await,
                Err(reason) => {
                    refused(reason);
                    refusal(reason)
                }
            };
            Ok::<_, Infallible>(response.map(|body| if bodiless { Paced::empty() } else { Paced::new(body) }))
        }
    });
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams)
        .initial_stream_window_size(config.stream_window)
        .initial_connection_window_size(config.connection_window)
        .max_frame_size(config.frame_bytes)
        .max_header_list_size(u32::try_from(front.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(config.resets)
        .max_local_error_reset_streams(config.resets)
        .keep_alive_interval(config.ping_interval)
        .keep_alive_timeout(config.ping_timeout);
    let mut served = pin!(builder.serve_connection(TokioIo::new(meter), service));
    let mut ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = drain.cancelled() => None,
        () = streams.quiet_for(front.idle_timeout) => None,
        () = in_the_way(&streams, places) => None,
    };
    if ended.is_none() {
        // GOAWAY: what is under way, and what was sent before the client read this, is still answered.
        served.as_mut().graceful_shutdown();
        ended = tokio::select! {
            ended = served.as_mut() => Some(ended),
            () = streams.quiet_for(front.header_timeout) => None,
        };
    }
    match ended {
        Some(Err(error)) => {
            if is_refusal(&error) {
                observer(Reason::Protocol);
            }
            // Peers break off all the time; the reason never holds payload.
            tracing::debug!(%error, "a connection ended early");
        }
        Some(Ok(())) => {}
        None => tracing::debug!("a connection was closed that the client kept open after GOAWAY"),
    }
}

/// Waits until another connection wants the place of this one, which does nothing.
async fn in_the_way(streams: &Streams, places: &Places) {
    loop {
        places.wanted().await;
        if streams.is_quiet_since(QUIET) {
            return;
        }
    }
}

/// We gave the connection up, and not for what the meter has already told of.
fn is_refusal(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|cause| cause.downcast_ref::<h2::Error>())
        .is_some_and(|error| error.is_go_away() && error.is_library())
}

fn refusal(reason: Reason) -> Response<ReplyBody> {
    let text = bytes::Bytes::from(format!("{}\n", Refused(reason)));
    let body = Full::new(text).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(ReplyBody::from(body));
    *response.status_mut() = reason.status();
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(http::header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}
