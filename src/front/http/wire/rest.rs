//! A connection that waits for its next request and keeps next to nothing meanwhile.
//!
//! hyper has two buffers of 8 KiB for each connection, whatever goes on on it. So a connection begins without hyper
//! ([`Guard::begun`]), and one that has waited for its next request for a while gives hyper up again: hyper is told that the stream has
//! ended, which between two requests makes it finish in good order, and what it then shuts down is not the socket. The connection is
//! taken back ([`Guard::rested`]) and waits as it did at first.
//!
//! # Why no byte is lost, and none is written
//!
//! The guard decides while hyper asks it for bytes, after the socket said that there are none; nothing is held, nothing was handed
//! over that hyper has not used, since every request handed over has been answered and hyper reads no body beyond its end. The reply
//! has been written and flushed, after which hyper is between two messages and has nothing left to write. What comes a moment
//! later stays in the socket for [`Guard::begun`].
//!
//! Called by the guard in [`super`] and by whoever serves the connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Guard;

/// Says whether so many connections keep hyper's buffers that one which has nothing to do should not.
pub(in crate::front::http) type Crowded = Arc<dyn Fn() -> bool + Send + Sync>;

/// What is read at a time while there is no hyper. More of a head than this is not waited for without: its bytes take memory too.
const PIECE: usize = 2048;

/// What the guard knows of waiting.
pub(super) struct Rest {
    /// Since when the next request is waited for: the connection was accepted, or a reply was written.
    since: Instant,
    /// How long hyper is kept for it, and whether there is room to; `None`: for ever.
    kept: Option<(Duration, Crowded)>,
    /// All that was written has been flushed, so that hyper is between two messages.
    flushed: bool,
    /// hyper was woken since, to ask for bytes: it does not do so by itself if it asked in vain while the reply was under way.
    woken: bool,
    alarm: Option<Pin<Box<Sleep>>>,
    /// hyper was told that the stream has ended.
    given_up: bool,
}

impl Rest {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), kept: None, flushed: true, woken: false, alarm: None, given_up: false }
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.given_up
    }

    /// Bytes were written. `ended`: the last of a reply.
    pub(super) fn written(&mut self, ended: bool) {
        (self.flushed, self.woken) = (false, false);
        if ended {
            self.since = Instant::now();
        }
    }

    /// Waits until `time` has passed since the wait for a request began. The alarm is set again only when it has gone off too early, so a
    /// connection with one request after the other does not pay for it.
    fn poll_since(&mut self, time: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.since + time;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if alarm.deadline() > due {
            alarm.as_mut().reset(due);
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            if alarm.deadline() >= due {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(due);
        }
    }
}

impl<Io> Guard<Io> {
    /// Lets the connection give hyper up once it has waited for its next request for `time`, or at once while it is crowded.
    #[must_use]
    pub(in crate::front::http) fn rests_after(mut self, time: Duration, crowded: Crowded) -> Self {
        self.rest.kept = Some((time, crowded));
        self
    }

    /// After hyper has ended: does the connection go on, with [`Self::begun`]?
    pub(in crate::front::http) fn rested(&mut self) -> bool {
        std::mem::take(&mut self.rest.given_up)
    }

    /// While nothing comes: ready once hyper is to be given up, of which it is told by the end of the stream.
    pub(super) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.poll_tired(cx));
        self.rest.given_up = true;
        Poll::Ready(())
    }

    /// What was written has been flushed. Sees to it that hyper asks for bytes once it is to be given up.
    pub(super) fn flushed(&mut self, cx: &mut Context<'_>) {
        self.rest.flushed = true;
        if !self.rest.woken && self.poll_tired(cx).is_ready() {
            self.rest.woken = true;
            cx.waker().wake_by_ref();
        }
    }

    /// Waits until hyper has been kept for long enough, if it has nothing to do.
    fn poll_tired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.rest.flushed && !self.owed && self.held.is_empty() && self.requests.at_head() && self.replies.between();
        let Some((time, crowded)) = self.rest.kept.as_ref().filter(|_| idle) else { return Poll::Pending };
        if crowded() {
            return Poll::Ready(());
        }
        let time = *time;
        self.rest.poll_since(time, cx)
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Guard<Io> {
    /// Waits for a head, or the most part of a long one, and holds it until hyper asks for it; false if none will come: the client has
    /// gone, it is silent for longer than `idle` since the connection or its last reply, or it does not finish what it has begun. Also true
    /// for a head that is refused, which hyper's end tells the client, and for the beginning of HTTP/2.
    pub async fn begun(&mut self, idle: Duration) -> bool {
        poll_fn(|cx| self.poll_begun(idle, cx)).await
    }

    /// Answers in hyper's place and ends the connection, also what still comes of the request; where a head is refused, the client is
    /// told that instead.
    pub(in crate::front::http) async fn turn_away(&mut self, head: &[u8], body: &[u8]) {
        let body = if self.bodiless { &[] } else { body };
        // A client that has gone is no loss.
        let _told = match self.refusal {
            None => self.write_all(&[head, body].concat()).await,
            Some(_) => Ok(()),
        };
        let _closed = self.shutdown().await;
    }

    fn poll_begun(&mut self, idle: Duration, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if self.ready > 0 || self.refusal.is_some() || self.http2 || self.held.len() > PIECE {
                return Poll::Ready(true);
            }
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            match Pin::new(&mut self.io).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending if self.held.is_empty() => return self.rest.poll_since(idle, cx).map(|()| false),
                Poll::Pending => return self.poll_head_alarm(cx).map(|_late| false),
            }
            self.held.extend_from_slice(piece.filled());
            let held = std::mem::take(&mut self.held);
            (self.ready, _) = self.judge(&held);
            self.held = held;
        }
    }
}

#[cfg(test)]
mod tests;
