//! Connections to the services behind us: TCP, TLS and Unix sockets, made for hyper's pooled client.
//!
//! Always holds: a connection carries nothing of the caller whose request it was made for, neither here nor in what hyper
//! keeps beside it (T28); TCP connections have `TCP_NODELAY` set; making one, its TLS handshake included, takes at most the time
//! it was given. [`Traffic`] tells what went over a connection, so that its owner can say whether a reply had begun when it
//! broke; over TLS it counts what was sealed in it, so that a peer's handshake or tickets are not taken for a reply.
//!
//! Called by `upstream`, `store` and the key providers.

pub mod fetch;
pub mod tls;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// Longest wait for the last word of a service that was probed.
const PARTING: Duration = Duration::from_secs(1);

/// Where a service listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host (name or IP address, IPv6 in brackets) and port, as `host:port`.
    Tcp(String),
    /// The same, over TLS.
    Tls(String, tls::client::Client),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// Makes connections to one address. Cheap to clone; a [`tower_service::Service`] for hyper's client, which asks it for
/// every new connection whatever the URI of the request says.
#[derive(Debug, Clone)]
pub struct Connector {
    address: Arc<Address>,
    timeout: Duration,
}

impl Connector {
    /// A connector to `address` that gives up on a connection after `timeout`.
    pub fn new(address: Address, timeout: Duration) -> Self {
        Self { address: Arc::new(address), timeout }
    }

    /// Makes one connection.
    ///
    /// # Errors
    ///
    /// What the operating system said of the last address tried, or [`io::ErrorKind::TimedOut`].
    pub async fn connect(&self) -> io::Result<Stream> {
        let socket = self.in_time(open(&self.address)).await?;
        Ok(Stream { socket, traffic: Traffic::default() })
    }

    /// Makes a connection and ends it in good order, to see whether the service would have us.
    ///
    /// # Errors
    ///
    /// As [`Self::connect`]; also what a service says that refuses our certificate, which it may do after the handshake.
    pub async fn probe(&self) -> io::Result<()> {
        match self.connect().await?.socket {
            // One that waits for a request all the same would have us.
            Socket::Tls(stream) => match tokio::time::timeout(PARTING, tls::client::part(*stream)).await {
                Ok(parted) => parted,
                Err(_elapsed) => Ok(()),
            },
            Socket::Tcp(_) | Socket::Unix(_) => Ok(()),
        }
    }

    async fn in_time<T>(&self, made: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        tokio::time::timeout(self.timeout, made)
            .await
            .map_err(|_elapsed| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {:?}", self.timeout)))?
    }
}

impl tower_service::Service<http::Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: http::Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

/// What went over a connection, counted while it lives. Clones share the counts; hyper hands one out with its errors.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// How often sending began after nothing or after receiving: the number of requests on HTTP/1.1 without pipelining.
    requests: AtomicU64,
    /// Bytes received since sending last began.
    reply_bytes: AtomicU64,
    condemned: AtomicBool,
}

impl Traffic {
    /// Requests sent, the one under way included.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Acquire)
    }

    /// Bytes of the reply to the last request received so far.
    pub fn reply_bytes(&self) -> u64 {
        self.0.reply_bytes.load(Ordering::Acquire)
    }

    /// The connection must not be used again, whatever its pool thinks: from now on sending and receiving fail.
    pub fn condemn(&self) {
        self.0.condemned.store(true, Ordering::Release);
    }

    fn allowed(&self) -> io::Result<()> {
        if self.0.condemned.load(Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "given up after a reply that breaks HTTP"));
        }
        Ok(())
    }

    fn sent(&self, bytes: usize) {
        // A connection is driven by one task, so a load and a store cannot lose a count.
        if bytes > 0 && (self.reply_bytes() > 0 || self.requests() == 0) {
            self.0.reply_bytes.store(0, Ordering::Release);
            self.0.requests.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn received(&self, bytes: usize) {
        self.0.reply_bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}

/// A connection to a service.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    traffic: Traffic,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    /// What has gone over it.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.traffic.clone())
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.traffic.allowed()?;
        let before = buf.filled().len();
        let polled = match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        self.traffic.received(buf.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.traffic.allowed()?;
        let polled = match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.count(polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.traffic.allowed()?;
        let polled = match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Stream {
    fn count(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &polled {
            self.traffic.sent(*bytes);
        }
        polled
    }
}

/// Opens a socket; of a host with several addresses, the first that answers in the order the resolver gave.
async fn open(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Tcp(authority) => tcp(authority).await.map(Socket::Tcp),
        Address::Tls(authority, client) => Ok(Socket::Tls(Box::new(client.secure(tcp(authority).await?).await?))),
        Address::Unix(path) => UnixStream::connect(path).await.map(Socket::Unix),
    }
}

async fn tcp(authority: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    const SOON: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn traffic_counts_requests_and_the_bytes_of_the_last_reply() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().to_string());
        let (ours, theirs) = tokio::join!(async { Connector::new(address, SOON).connect().await.unwrap() }, listener.accept());
        let (mut ours, mut theirs) = (ours, theirs.unwrap().0);
        assert!(matches!(&ours.socket, Socket::Tcp(stream) if stream.nodelay().unwrap()));
        assert_eq!((ours.traffic().requests(), ours.traffic().reply_bytes()), (0, 0));
        ours.write_all(b"ab").await.unwrap();
        ours.write_all(b"cd").await.unwrap();
        theirs.write_all(b"xyz").await.unwrap();
        ours.read_exact(&mut [0; 3]).await.unwrap();
        assert_eq!((ours.traffic().requests(), ours.traffic().reply_bytes()), (1, 3));
        ours.write_all(b"e").await.unwrap();
        assert_eq!((ours.traffic().requests(), ours.traffic().reply_bytes()), (2, 0));
    }

    #[tokio::test]
    async fn unix_sockets_connect_and_a_missing_one_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let missing = Connector::new(Address::Unix(path.clone()), SOON).connect().await.unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let _listener = UnixListener::bind(&path).unwrap();
        assert!(Connector::new(Address::Unix(path), SOON).connect().await.is_ok());
    }

    #[tokio::test]
    async fn a_connection_that_is_not_made_in_time_is_given_up() {
        let connector = Connector::new(Address::Tcp("127.0.0.1:1".into()), Duration::ZERO);
        // Refused at once or timed out at once: never a wait.
        let error = connector.connect().await.unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused), "{error}");
    }
}
