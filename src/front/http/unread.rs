//! A connection that is given up when its peer does not read what was written to it.
//!
//! The kernel takes what we write until its buffer is full, and says that there is room again once a good part of it was read; so a
//! peer that reads a byte now and then is one that does not read. Lies under everything else on a connection, TLS included.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::metrics::Metrics;

/// Gives up a write that waits for longer than it may. Costs nothing while the peer reads.
#[derive(Debug)]
pub(super) struct Unread<Io> {
    io: Io,
    longest: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    metrics: Arc<Metrics>,
    reset: fn(&Io),
}

impl<Io> Unread<Io> {
    /// `reset` makes the closing of the socket throw away what it still holds.
    pub(super) fn new(io: Io, longest: Duration, metrics: Arc<Metrics>, reset: fn(&Io)) -> Self {
        Self { io, longest, alarm: None, metrics, reset }
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.alarm = None;
            return polled;
        }
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.longest)));
        if alarm.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.metrics.peer_given_up("reply");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

/// Closed while a write waits, the socket would live on in the kernel, with megabytes for a peer that may never take them; and
/// to the peer a reply that was broken off must not look like one that goes on.
impl<Io> Drop for Unread<Io> {
    fn drop(&mut self) {
        if self.alarm.is_some() {
            (self.reset)(&self.io);
        }
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Unread<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Unread<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, polled)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn t24_a_peer_that_does_not_read_is_given_up_and_one_that_is_slow_is_not() {
        let metrics = Arc::new(Metrics::new(std::time::Duration::ZERO));
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Unread::new(ours, Duration::from_millis(400), Arc::clone(&metrics), |_duplex| {});
        let reader = async {
            let mut bytes = [0; 8];
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(40)).await;
                let _count = theirs.read_exact(&mut bytes).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(ours.write_all(&[0; 170]), reader);
        written.unwrap();
        let error = ours.write_all(&[0; 170]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(metrics.encode().contains(r#"peers_given_up_total{at="reply"} 1"#));
    }

    #[tokio::test]
    async fn t24_a_connection_that_ends_while_its_peer_does_not_read_is_reset() {
        use tokio::net::{TcpListener, TcpStream};
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let metrics = Arc::new(Metrics::new(std::time::Duration::ZERO));
        for reads in [false, true] {
            let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (ours, _) = listener.accept().await.unwrap();
            let mut ours = Unread::new(ours, Duration::from_millis(100), Arc::clone(&metrics), super::super::accept::reset);
            let (sent, mut came) = (vec![0; 8 << 20], Vec::new());
            let outcome = if reads {
                let (outcome, read) =
                    tokio::join!(ours.write_all(&sent[..100]), async { theirs.read_exact(&mut [0; 100]).await });
                read.unwrap();
                outcome
            } else {
                ours.write_all(&sent).await
            };
            assert_eq!(outcome.is_ok(), reads);
            drop(ours);
            // What is left in the peer's own buffer does not hide that the rest is not to come.
            let ended = tokio::time::timeout(Duration::from_mins(1), theirs.read_to_end(&mut came)).await.expect("an end");
            assert_eq!(ended.is_ok(), reads, "{ended:?}");
        }
    }
}
