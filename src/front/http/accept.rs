//! Takes connections until told to drain: the loop, the bounds, the listening sockets.
//!
//! Always holds: at most `connections` at a time. What happens on a connection is `super::connection`'s.

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use ipnet::IpNet;
use rustix::net::sockopt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Front};
use super::crowd::Crowd;
use super::http2;
use super::unread::Unread;
use crate::exchange::{Exchange, Peer};
use crate::metrics::Metrics;
use crate::net::tls::server::Server;

/// Connections that wait to be accepted; the system has its own bound (`net.core.somaxconn`).
const QUEUE: i32 = 4096;
/// A connection silent for so long is probed.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// After a failure to accept.
const PAUSE: Duration = Duration::from_millis(50);

/// Bounds on connections and heads.
#[derive(Debug, Clone)]
pub struct Config {
    /// TLS: a connection takes what stands here when it begins, so that a reload is for new ones. In clear without.
    pub tls: Option<Arc<ArcSwap<Server>>>,
    /// Longest time a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Longest time an answer under way has left once the certificate of its client is no longer good.
    pub last_answer: Duration,
    /// Connections open at a time; more wait in the system's queue.
    pub connections: usize,
    /// Connections over HTTP/1.1 on which requests may be under way at a time; half as many may speak HTTP/2. Others wait.
    pub awake: usize,
    /// Connections open at a time from one address; more are closed.
    pub per_address: Option<NonZeroU32>,
    /// Largest head, in bytes.
    pub header_bytes: usize,
    /// Most header lines.
    pub headers: usize,
    /// Longest time a head may take to arrive, from its first byte.
    pub header_timeout: Duration,
    /// Longest time a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Bounds on HTTP/2; `None`: it is not spoken.
    pub http2: Option<http2::Config>,
    /// Senders that must begin with a PROXY header (version 2), and are believed for whom they connect.
    pub proxy_from: Arc<[IpNet]>,
    /// Longest time a peer may leave unread what was written to it.
    pub write_timeout: Duration,
    /// Counts connections and refusals on the wire.
    pub metrics: Arc<Metrics>,
}

impl Config {
    /// When a peer that does not read is given up. Replies that are recorded give up by themselves at `write_timeout`, and say so
    /// in the audit log; this is for all others.
    pub(super) fn longest_unread(&self) -> Duration {
        self.write_timeout.mul_f32(1.5)
    }
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
///
/// Over `connections` the next ones wait in the system's queue: to take them in order to refuse them would cost what the limit
/// is there to save. Over `per_address` they are closed, or one address would hold up the queue for all.
pub async fn serve(listener: Listener, exchange: Arc<Exchange>, config: Config, drain: CancellationToken, tasks: TaskTracker) {
    listener.prepare(config.write_timeout);
    let slots = Arc::new(Semaphore::new(config.connections));
    let crowd = config.per_address.map(Crowd::new);
    let front = Arc::new(Front::new(exchange, config, drain.clone(), tasks.clone()));
    let config = &front.config;
    let mut failures = Failures::default();
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
            Ok(Some(accepted)) => accepted,
            // The peer was gone before it was served.
            Ok(None) => continue,
            Err(error) => {
                // No file descriptor or no memory is free: those in use must end first, so hammering does not help. The connection
                // stays in the queue.
                config.metrics.accept_failed();
                failures.tell(&error);
                tokio::select! {
                    () = drain.cancelled() => return,
                    () = tokio::time::sleep(PAUSE) => {}
                }
                continue;
            }
        };
        let one_of = match (&crowd, peer.address) {
            // A load balancer is not one client.
            (Some(crowd), Some(address)) if connection::proxied(&peer, config).is_none() => {
                let Some(one_of) = crowd.enter(address) else {
                    config.metrics.connection_refused("address");
                    continue;
                };
                Some(one_of)
            }
            (Some(_) | None, _) => None,
        };
        let (front, longest, metrics) = (Arc::clone(&front), config.longest_unread(), Arc::clone(&config.metrics));
        tasks.spawn(async move {
            match stream {
                Stream::Tcp(stream) => connection::serve(Unread::new(stream, longest, metrics, reset), peer, front).await,
                // What a Unix socket holds goes with it.
                Stream::Unix(stream) => connection::serve(Unread::new(stream, longest, metrics, |_| {}), peer, front).await,
            }
            drop((slot, one_of));
        });
    }
}

/// Tells of failures to accept, at most every ten seconds: they come twenty times a second while they last.
#[derive(Debug, Default)]
struct Failures {
    told: Option<Instant>,
}

impl Failures {
    fn tell(&mut self, error: &std::io::Error) {
        if self.told.is_none_or(|told| told.elapsed() >= Duration::from_secs(10)) {
            self.told = Some(Instant::now());
            tracing::warn!(%error, "connections cannot be accepted; they wait until files or connections are closed");
        }
    }
}

/// Lets the closing of a connection throw away what its peer has not taken, and tell it so.
pub(super) fn reset(stream: &tokio::net::TcpStream) {
    if let Err(error) = sockopt::set_socket_linger(stream, Some(Duration::ZERO)) {
        tracing::debug!(%error, "a connection could not be set to be reset");
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Listener {
    /// Makes the queue long, and lets the system find out about peers that are gone without a word: probes on a connection that is
    /// silent, and a limit on what they leave unacknowledged. Connections have it from the socket that they were accepted on.
    fn prepare(&self, unacknowledged: Duration) {
        let prepared = match self {
            Self::Tcp(listener) => rustix::net::listen(listener, QUEUE)
                .and_then(|()| sockopt::set_socket_keepalive(listener, true))
                .and_then(|()| sockopt::set_tcp_keepidle(listener, KEEPALIVE))
                .and_then(|()| sockopt::set_tcp_keepintvl(listener, KEEPALIVE / 3))
                .and_then(|()| user_timeout(listener, unacknowledged)),
            Self::Unix(listener) => rustix::net::listen(listener, QUEUE),
        };
        if let Err(error) = prepared {
            tracing::warn!(%error, "the listening socket could not be set up fully; peers that vanish are noticed later");
        }
    }

    /// The next connection; none if its peer is gone already.
    async fn accept(&self) -> std::io::Result<Option<(Stream, Peer)>> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) if gone(&error) => return Ok(None),
                    Err(error) => return Err(error),
                };
                let peer = Peer { address: Some(address.ip()), ..Peer::default() };
                Ok(stream.set_nodelay(true).is_ok().then_some((Stream::Tcp(stream), peer)))
            }
            Self::Unix(listener) => {
                let (stream, _address) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) if gone(&error) => return Ok(None),
                    Err(error) => return Err(error),
                };
                let Ok(credentials) = stream.peer_cred() else { return Ok(None) };
                Ok(Some((Stream::Unix(stream), Peer { uid: Some(credentials.uid()), ..Peer::default() })))
            }
        }
    }
}

/// An error of the connection that would have been accepted, not of accepting.
fn gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

#[cfg(target_os = "linux")]
fn user_timeout(listener: &TcpListener, longest: Duration) -> rustix::io::Result<()> {
    sockopt::set_tcp_user_timeout(listener, u32::try_from(longest.as_millis()).unwrap_or(u32::MAX))
}

#[cfg(not(target_os = "linux"))]
fn user_timeout(_listener: &TcpListener, _longest: Duration) -> rustix::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn t24_accepted_connections_notice_peers_that_vanish() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::Tcp(listener);
        listener.prepare(Duration::from_secs(30));
        let _client = tokio::net::TcpStream::connect(address).await.unwrap();
        let Some((Stream::Tcp(stream), peer)) = listener.accept().await.unwrap() else { panic!() };
        assert_eq!(peer.address, Some(address.ip()));
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), KEEPALIVE);
        #[cfg(target_os = "linux")]
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 30_000);
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_already_is_no_failure_to_accept() {
        let listener = Listener::Tcp(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let Listener::Tcp(socket) = &listener else { panic!() };
        let client = tokio::net::TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        drop(client);
        // Handed over or left out, depending on the system; but never an error.
        assert!(listener.accept().await.is_ok());
    }
}
