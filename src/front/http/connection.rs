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
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::Config;
use super::places::Places;
use super::proxy_protocol::{self, Fault};
use super::{answer, http2, tls, wire};
use crate::exchange::{Exchange, Peer};
use crate::net::tls::server::Server;

/// A connection that waits for its next request keeps hyper's buffers for so long, if there is room: one that has a request a second
/// or more does not make them anew for each.
const STAYS_AWAKE: Duration = Duration::from_secs(1);

/// What all connections of a listener have in common; each holds it by one pointer, for there may be many that do nothing.
pub(super) struct Front {
    exchange: Arc<Exchange>,
    pub(super) config: Config,
    /// Cancelled when connections are to end after what is under way on them.
    drain: CancellationToken,
    /// Streams of HTTP/2 run on these.
    tasks: TaskTracker,
    places: Arc<Places>,
    observer: wire::Observer,
    crowded: wire::Crowded,
}

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

impl Front {
    pub(super) fn new(exchange: Arc<Exchange>, config: Config, drain: CancellationToken, tasks: TaskTracker) -> Self {
        let (metrics, places) = (Arc::clone(&config.metrics), Arc::new(Places::new(config.awake)));
        let observer: wire::Observer = Arc::new(move |reason| metrics.wire_refused(reason.code()));
        let shared = Arc::clone(&places);
        let crowded: wire::Crowded = Arc::new(move || shared.crowded());
        Self { exchange, config, drain, tasks, places, observer, crowded }
    }
}

/// Serves a connection until it ends, or the front's drain is cancelled and what is under way has been answered.
///
/// What is rare or short-lived stands in boxes of its own here and below, so that a connection that does nothing has no room for it.
pub(super) async fn serve<S>(mut stream: S, mut peer: Peer, front: Arc<Front>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _counted = front.config.metrics.connected();
    if let Some(sender) = proxied(&peer, &front.config) {
        let introduced = Box::pin(async {
            tokio::select! {
                introduced = introduced(&mut stream, &mut peer, sender, &front.config) => introduced,
                () = front.drain.cancelled() => false,
            }
        });
        if !introduced.await {
            return;
        }
    }
    match front.config.tls.as_ref().map(|tls| tls.load_full()) {
        None => http(Protocol::Open, stream, &peer, &front, &front.drain).await,
        Some(server) => Box::pin(over_tls(server, stream, peer, &front)).await,
    }
}

/// The handshake, then HTTP; for a client with a certificate until it is no longer trusted, when what is under way is still answered,
/// but a feed does not go on for ever (T33).
async fn over_tls<S>(server: Arc<Server>, stream: S, peer: Peer, front: &Front)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let secured = tokio::select! {
        // In a box of its own: it is short, and the connection is long.
        secured = Box::pin(tls::handshake(&server, stream, &front.config)) => secured,
        () = front.drain.cancelled() => return,
    };
    let Some((stream, client)) = secured else { return };
    let protocol = if stream.get_ref().1.alpn_protocol() == Some(b"h2") { Protocol::Http2 } else { Protocol::Http1 };
    let Some(tls::Client { certificate, until }) = client else {
        return http(protocol, stream, &peer, front, &front.drain).await;
    };
    if server.is_superseded() {
        // Verified as it was trusted when the connection came; it has asked for nothing yet.
        tracing::debug!("a connection ends at once, for other client certificates have come to be trusted during its handshake");
        return;
    }
    // All of the last second. A timer has a longest time; who holds a connection for a year can make another.
    let holds = Duration::from_secs(until.saturating_add(1))
        .saturating_sub(Duration::from_millis(front.exchange.now_ms()))
        .min(Duration::from_hours(8760));
    let peer = Peer { certificate: Some(Arc::new(certificate)), ..peer };
    let end = front.drain.child_token();
    let mut exchanges = pin!(http(protocol, stream, &peer, front, &end));
    tokio::select! {
        () = exchanges.as_mut() => return,
        () = server.superseded() => tracing::debug!("a connection ends, for other client certificates are trusted now"),
        () = tokio::time::sleep(holds) => tracing::debug!("a connection ends, for the client's certificate has expired"),
    }
    end.cancel();
    if tokio::time::timeout(front.config.last_answer, exchanges).await.is_err() {
        tracing::debug!("and what was under way on it is broken off");
    }
}

/// HTTP, whatever it comes over.
fn http<S>(
    protocol: Protocol,
    stream: S,
    peer: &Peer,
    front: &Front,
    drain: &CancellationToken,
) -> impl Future<Output = ()> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begins = match protocol {
        Protocol::Open => Ok(guarded(stream, front).may_be_http2(front.config.http2.is_some())),
        Protocol::Http1 => Ok(guarded(stream, front)),
        Protocol::Http2 => Err((stream, BytesMut::new())),
    };
    // On the heap from here on: what is moved from one future into the next takes room in each.
    let begins = begins.map(Box::new).map_err(Box::new);
    async move {
        let begun = match begins {
            Ok(guard) => serve_http1(guard, peer, front, drain).await,
            Err(begun) => Some(begun),
        };
        if let (Some(begun), Some(http2)) = (begun, &front.config.http2) {
            let (exchange, peer) = (Arc::clone(&front.exchange), peer.clone());
            let answer = move |request: Request<Incoming>| answer::answer(Arc::clone(&exchange), request, peer.clone());
            let (stream, begun) = *begun;
            let serves = async {
                let place = tokio::select! {
                    place = front.places.http2(front.config.header_timeout) => place,
                    () = drain.cancelled() => return,
                };
                if let Some(_place) = place {
                    let bounds = (&front.config, http2, &*front.places);
                    http2::serve(stream, begun, answer, bounds, drain.clone(), front.tasks.clone()).await;
                } else {
                    front.config.metrics.connection_refused("memory");
                }
            };
            Box::pin(serves).await;
        }
    }
}

fn guarded<S>(stream: S, front: &Front) -> wire::Guard<S> {
    let Config { header_bytes, headers, header_timeout, .. } = front.config;
    wire::Guard::new(stream, wire::Limits { head_bytes: header_bytes, headers })
        .head_within(header_timeout)
        .observed_by(Arc::clone(&front.observer))
        .rests_after(STAYS_AWAKE.min(longest_wait(front)), Arc::clone(&front.crowded))
}

/// How long a connection may wait for its next request.
fn longest_wait(front: &Front) -> Duration {
    front.config.idle_timeout.max(front.config.header_timeout)
}

/// Serves HTTP/1.1: waits for a request, wakes up for it and those that follow, and rests again. Gives the connection back, with the
/// bytes that came, if it begins as HTTP/2.
async fn serve_http1<S>(
    mut guard: Box<wire::Guard<S>>,
    peer: &Peer,
    front: &Front,
    drain: &CancellationToken,
) -> Option<Box<(S, BytesMut)>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    loop {
        let begun = tokio::select! {
            // In this order, so that a request which has come when a drain begins is served.
            biased;
            begun = guard.begun(longest_wait(front)) => begun,
            () = drain.cancelled() => false,
        };
        if !begun {
            return None;
        }
        if guard.is_http2() {
            return guard.into_http2().map(Box::new);
        }
        let Some(place) = front.places.awake().await else {
            let (head, body) = Box::pin(answer::full(&front.exchange)).await;
            Box::pin(guard.turn_away(&head, &body)).await;
            return None;
        };
        guard = Box::pin(awake(guard, peer, front, drain)).await?;
        drop(place);
    }
}

/// Lets hyper serve requests, until the connection ends, or rests and is given back.
async fn awake<S>(
    guard: Box<wire::Guard<S>>,
    peer: &Peer,
    front: &Front,
    drain: &CancellationToken,
) -> Option<Box<wire::Guard<S>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _counted = front.config.metrics.awake();
    let service = service_fn(|request: Request<Incoming>| {
        let answered = answer::answer(Arc::clone(&front.exchange), request, peer.clone());
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut served = http1::Builder::new()
        // The guard hands over whole heads, and gives up connections that wait for too long.
        .header_read_timeout(None)
        .max_headers(front.config.headers)
        .max_buf_size(front.config.header_bytes.max(8192))
        .serve_connection(TokioIo::new(guard), service);
    let ended = tokio::select! {
        // As above: hyper gives up what it has not begun to read.
        biased;
        ended = &mut served => ended,
        () = drain.cancelled() => {
            Pin::new(&mut served).graceful_shutdown();
            (&mut served).await
        }
    };
    let parts = served.into_parts();
    let mut guard = parts.io.into_inner();
    match ended {
        // Nothing is left in hyper's hands; were there something, the next request would not be whole.
        Ok(()) => (guard.rested() && parts.read_buf.is_empty()).then_some(guard),
        Err(error) => {
            // Peers break off all the time; the reason never holds payload.
            tracing::debug!(%error, "a connection ended early");
            None
        }
    }
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
