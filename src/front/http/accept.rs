//! Takes connections until told to drain: the loop, the bounds, the listening sockets.
//!
//! Always holds: at most `connections` at a time. What happens on a connection is [`super::connection`]'s.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection;
use crate::exchange::{Exchange, Peer};
use crate::metrics::Metrics;
use crate::net::tls::server::Server;

/// How connections are taken, and their bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// TLS: a connection takes what stands here when it begins, so that a reload is for new ones. In clear without.
    pub tls: Option<Arc<ArcSwap<Server>>>,
    /// Longest time a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Connections open at a time; more wait in the system's queue.
    pub connections: usize,
    /// Largest head, in bytes.
    pub header_bytes: usize,
    /// Most header lines.
    pub headers: usize,
    /// Longest time a head may take to arrive, from its first byte.
    pub header_timeout: Duration,
    /// Longest time a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Senders that must begin with a PROXY header (version 2), and are believed for whom they connect.
    pub proxy_from: Arc<[IpNet]>,
    /// Counts connections and refusals on the wire.
    pub metrics: Arc<Metrics>,
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket; the peer's user id is known.
    Unix(UnixListener),
}

/// Accepts until `drain`; then lets the exchanges under way finish. Connections run on `tasks`.
pub async fn serve(listener: Listener, exchange: Arc<Exchange>, config: Config, drain: CancellationToken, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(config.connections));
    loop {
        let slot = tokio::select! {
            () = drain.cancelled() => return,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return };
        let accepted = tokio::select! {
            () = drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Usually no file descriptor is free: those in use must end first, so hammering does not help.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (exchange, config, drain) = (Arc::clone(&exchange), config.clone(), drain.clone());
        tasks.spawn(async move {
            match stream {
                Stream::Tcp(stream) => connection::serve(stream, peer, exchange, config, drain).await,
                Stream::Unix(stream) => connection::serve(stream, peer, exchange, config, drain).await,
            }
            drop(slot);
        });
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer { address: Some(address.ip()), ..Peer::default() }))
            }
            Self::Unix(listener) => {
                let (stream, _address) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Stream::Unix(stream), Peer { uid: Some(uid), ..Peer::default() }))
            }
        }
    }
}
