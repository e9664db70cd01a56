//! One connection, from the accepted socket to its last reply.
//!
//! Always holds: a head, a body and an unread reply each have a time limit; nothing of one request stays on the connection
//! for the next (T28). Called by [`super::accept`].

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use bytes::BytesMut;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::Config;
use super::{answer, http2, wire};
use crate::exchange::{Exchange, PassBody, Peer};

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1, or HTTP/2 if the first bytes say so and it is configured: nothing was negotiated.
    Open,
}

/// Serves a connection until it ends, or `drain` is cancelled and what is under way has been answered. Streams of HTTP/2 run
/// on `tasks`.
pub(super) async fn serve<S>(
    stream: S,
    protocol: Protocol,
    peer: Peer,
    exchange: Arc<Exchange>,
    config: Config,
    drain: CancellationToken,
    tasks: TaskTracker,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _counted = config.metrics.connected();
    let answer = move |request: Request<Incoming>| answer::answer(Arc::clone(&exchange), request, peer.clone());
    let begun = match protocol {
        Protocol::Open => serve_http1(stream, config.http2.is_some(), answer.clone(), &config, &drain).await,
    };
    if let (Some((stream, begun)), Some(http2)) = (begun, &config.http2) {
        http2::serve(stream, begun, answer, (&config, http2), drain, tasks).await;
    }
}

/// Serves HTTP/1.1. Gives the connection back, with the bytes that came, if it begins as HTTP/2.
async fn serve_http1<S, A, F>(
    stream: S,
    may_be_http2: bool,
    answer: A,
    config: &Config,
    drain: &CancellationToken,
) -> Option<(S, BytesMut)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<PassBody>> + Send + 'static,
{
    let metrics = Arc::clone(&config.metrics);
    let limits = wire::Limits { head_bytes: config.header_bytes, headers: config.headers };
    let guard = wire::Guard::new(stream, limits)
        .head_within(config.header_timeout)
        .observed_by(Arc::new(move |reason| metrics.wire_refused(reason.code())))
        .may_be_http2(may_be_http2);
    let service = service_fn(|request: Request<Incoming>| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        // The guard hands over whole heads, so for hyper the wait for a head is the time between requests.
        .header_read_timeout(config.idle_timeout.max(config.header_timeout))
        .max_headers(config.headers)
        .max_buf_size(config.header_bytes.max(8192))
        .serve_connection(TokioIo::new(guard), service);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = drain.cancelled() => {
            std::pin::Pin::new(&mut served).graceful_shutdown();
            (&mut served).await
        }
    };
    let http2 = served.into_parts().io.into_inner().into_http2();
    if let Err(error) = ended
        && http2.is_none()
    {
        // Peers break off all the time; the reason never holds payload.
        tracing::debug!(%error, "a connection ended early");
    }
    http2
}
