//! One connection, from the accepted socket to its last reply: TLS where the listener has it, then HTTP.
//!
//! Always holds: a handshake, a head, a body and an unread reply each have a time limit; nothing of one request stays on the connection
//! for the next (T28); a client known by its certificate is so only as long as the certificate holds and its authority is trusted (T19).
//! Called by [`super::accept`].

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

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
use super::proxy_protocol::{self, Fault};
use super::{answer, http2, tls, wire};
use crate::exchange::{Exchange, Peer, ReplyBody};
use crate::net::tls::server::Server;

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// HTTP/1.1, or HTTP/2 if the first bytes say so and it is configured: nothing was negotiated.
    Open,
    /// HTTP/1.1 over TLS, for the client did not ask for anything else.
    Http1,
    /// HTTP/2 over TLS, as was negotiated.
    Http2,
}

/// Serves a connection until it ends, or `drain` is cancelled and what is under way has been answered. Streams of HTTP/2 run
/// on `tasks`.
pub(super) async fn serve<S>(
    mut stream: S,
    mut peer: Peer,
    exchange: Arc<Exchange>,
    config: Config,
    drain: CancellationToken,
    tasks: TaskTracker,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _counted = config.metrics.connected();
    if let Some(sender) = proxied(&peer, &config) {
        let introduced = tokio::select! {
            introduced = introduced(&mut stream, &mut peer, sender, &config) => introduced,
            () = drain.cancelled() => return,
        };
        if !introduced {
            return;
        }
    }
    match config.tls.as_ref().map(|tls| tls.load_full()) {
        None => http(Protocol::Open, stream, peer, exchange, config, drain, tasks).await,
        // In a box of its own, so that connections in clear need no room for it.
        Some(server) => Box::pin(over_tls(&server, stream, peer, exchange, config, drain, tasks)).await,
    }
}

/// The handshake, then HTTP; for a client with a certificate until it is no longer trusted, when what is under way is still answered,
/// but a feed does not go on for ever (T33).
async fn over_tls<S>(
    server: &Server,
    stream: S,
    peer: Peer,
    exchange: Arc<Exchange>,
    config: Config,
    drain: CancellationToken,
    tasks: TaskTracker,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let secured = tokio::select! {
        secured = tls::handshake(server, stream, &config) => secured,
        () = drain.cancelled() => return,
    };
    let Some((stream, client)) = secured else { return };
    let protocol = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
    let Some(tls::Client { certificate, until }) = client else {
        return http(protocol, stream, peer, exchange, config, drain, tasks).await;
    };
    if server.is_superseded() {
        // Verified as it was trusted when the connection came; it has asked for nothing yet.
        tracing::debug!("a connection ends at once, for other client certificates have come to be trusted during its handshake");
        return;
    }
    // All of the last second. A timer has a longest time; who holds a connection for a year can make another.
    let holds = Duration::from_secs(until.saturating_add(1))
        .saturating_sub(Duration::from_millis(exchange.now_ms()))
        .min(Duration::from_hours(8760));
    let peer = Peer { certificate: Some(Arc::new(certificate)), ..peer };
    let end = drain.child_token();
    let mut exchanges = pin!(http(protocol, stream, peer, exchange, config.clone(), end.clone(), tasks));
    tokio::select! {
        () = exchanges.as_mut() => return,
        () = server.superseded() => tracing::debug!("a connection ends, for other client certificates are trusted now"),
        () = tokio::time::sleep(holds) => tracing::debug!("a connection ends, for the client's certificate has expired"),
    }
    end.cancel();
    if tokio::time::timeout(config.last_answer, exchanges).await.is_err() {
        tracing::debug!("and what was under way on it is broken off");
    }
}

/// HTTP, whatever it comes over.
async fn http<S>(
    protocol: Protocol,
    stream: S,
    peer: Peer,
    exchange: Arc<Exchange>,
    config: Config,
    drain: CancellationToken,
    tasks: TaskTracker,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = move |request: Request<Incoming>| answer::answer(Arc::clone(&exchange), request, peer.clone());
    let begun = match protocol {
        Protocol::Open => serve_http1(stream, config.http2.is_some(), answer.clone(), &config, &drain).await,
        Protocol::Http1 => serve_http1(stream, false, answer.clone(), &config, &drain).await,
        Protocol::Http2 => Some((stream, BytesMut::new())),
    };
    if let (Some((stream, begun)), Some(http2)) = (begun, &config.http2) {
        // In a box of its own, so that HTTP/1.1 needs no room for it.
        Box::pin(http2::serve(stream, begun, answer, (&config, http2), drain, tasks)).await;
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
    F: Future<Output = Response<ReplyBody>> + Send + 'static,
{
    let metrics = Arc::clone(&config.metrics);
    let limits = wire::Limits { head_bytes: config.header_bytes, headers: config.headers };
    let mut guard = wire::Guard::new(stream, limits)
        .head_within(config.header_timeout)
        .observed_by(Arc::new(move |reason| metrics.wire_refused(reason.code())))
        .may_be_http2(may_be_http2);
    let idle = config.idle_timeout.max(config.header_timeout);
    let begun = tokio::select! {
        begun = tokio::time::timeout(idle, guard.begun()) => begun.unwrap_or(false),
        () = drain.cancelled() => false,
    };
    if !begun {
        return None;
    }
    let service = service_fn(|request: Request<Incoming>| {
        let answered = answer(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut served = http1::Builder::new()
        .timer(TokioTimer::new())
        // The guard hands over whole heads, so for hyper the wait for a head is the time between requests.
        .header_read_timeout(idle)
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

/// The address of a sender that must say for whom it connects.
pub(super) fn proxied(peer: &Peer, config: &Config) -> Option<IpAddr> {
    let address = peer.address?.to_canonical();
    config.proxy_from.iter().any(|network| network.contains(&address)).then_some(address)
}

/// Takes the PROXY header off a connection and notes for whom it was made. False: the connection is at its end.
async fn introduced(stream: &mut (impl AsyncRead + Unpin), peer: &mut Peer, sender: IpAddr, config: &Config) -> bool {
    let received = tokio::time::timeout(config.header_timeout, proxy_protocol::receive(stream)).await.unwrap_or(Err(Fault::Late));
    match received {
        Ok(Some(address)) => {
            peer.address = address.or(peer.address);
            tracing::debug!(%sender, client = ?address, "a load balancer's connection");
            true
        }
        // Closed without a word, as health checks do.
        Ok(None) => false,
        Err(fault) => {
            config.metrics.wire_refused(fault.code());
            tracing::warn!(%sender, code = fault.code(), "a load balancer's connection is closed: {fault}");
            false
        }
    }
}
