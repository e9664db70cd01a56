//! One connection, from the accepted socket to its last reply.
//!
//! Always holds: a head, a body and an unread reply each have a time limit; nothing of one request stays on the connection
//! for the next (T28). Called by [`super::accept`].

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::accept::Config;
use super::proxy_protocol::{self, Fault};
use super::{answer, wire};
use crate::exchange::{Exchange, Peer};

/// Serves HTTP/1.1 on a connection until it ends, or `drain` is cancelled and what is under way has been answered.
pub(super) async fn serve<S>(mut stream: S, mut peer: Peer, exchange: Arc<Exchange>, config: Config, drain: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = Arc::clone(&config.metrics);
    let _counted = metrics.connected();
    if let Some(sender) = proxied(&peer, &config) {
        let introduced = tokio::select! {
            introduced = introduction(&mut stream, &config) => introduced,
            () = drain.cancelled() => return,
        };
        match introduced {
            Ok(Some(address)) => {
                peer.address = address.or(peer.address);
                tracing::debug!(%sender, client = ?address, "a load balancer's connection");
            }
            Ok(None) => return,
            Err(fault) => {
                metrics.wire_refused(fault.code());
                tracing::warn!(%sender, code = fault.code(), "a load balancer's connection is closed: {fault}");
                return;
            }
        }
    }
    let limits = wire::Limits { head_bytes: config.header_bytes, headers: config.headers };
    let guard = wire::Guard::new(stream, limits)
        .head_within(config.header_timeout)
        .observed_by(Arc::new(move |reason| metrics.wire_refused(reason.code())));
    let service = service_fn(move |request: Request<Incoming>| {
        let (exchange, peer) = (Arc::clone(&exchange), peer.clone());
        async move { Ok::<_, Infallible>(answer::answer(exchange, request, peer).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // The guard hands over whole heads, so for hyper the wait for a head is the time between requests.
        .header_read_timeout(config.idle_timeout.max(config.header_timeout))
        .max_headers(config.headers)
        .max_buf_size(config.header_bytes.max(8192))
        .serve_connection(TokioIo::new(guard), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = drain.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        // Peers break off all the time; the reason never holds payload.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The address of a sender that must say for whom it connects.
fn proxied(peer: &Peer, config: &Config) -> Option<IpAddr> {
    let address = peer.address?.to_canonical();
    config.proxy_from.iter().any(|network| network.contains(&address)).then_some(address)
}

/// Takes the PROXY header off a connection. The outer `None`: closed without a word.
async fn introduction(stream: &mut (impl AsyncRead + Unpin), config: &Config) -> Result<Option<Option<IpAddr>>, Fault> {
    tokio::time::timeout(config.header_timeout, proxy_protocol::receive(stream)).await.unwrap_or(Err(Fault::Late))
}
