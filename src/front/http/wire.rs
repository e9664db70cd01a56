//! The guard on the wire of HTTP/1.1: it sees the bytes of every request before hyper does and refuses what has more than
//! one reading (T10), heads that are too large (T24), and upgrades.
//!
//! [`Guard`] wraps an accepted connection and is handed to hyper in its place. hyper stays the one that frames; the guard
//! only refuses. On a refusal hyper gets no further byte, and the client gets `400` (or `431`) with `Connection: close` and
//! a reason such as `framing-refused: content-length-with-transfer-encoding`; then the connection is closed.
//!
//! # Why no byte gets past it as part of a request head that it has not judged
//!
//! The guard and hyper each divide one stream of bytes into heads and bodies. By induction over the requests of a connection
//! both divide it alike, so a head for hyper is a head for the guard:
//!
//! 1. At the first byte both expect a head.
//! 2. *Head.* The guard hands over a head only when it has come whole, up to its empty line, and has been read by
//!    `httparse`, which is also hyper's parser, in the same strict mode; every line ends with CR LF, so what `httparse`
//!    tolerates in line ends does not occur. hyper therefore sees the same fields. Those that decide the length are at most
//!    one `Content-Length` of 1 to 19 digits, or one `Transfer-Encoding: chunked` in HTTP/1.1, or none; `CONNECT` and
//!    `Upgrade`, after which hyper may stop reading HTTP, are refused. For each of the three hyper's rules and the guard's
//!    give the same body.
//! 3. *Body.* By length, both count. In chunks, what the guard lets through is a subset of what hyper accepts with the same
//!    meaning: sizes of at most 16 hexadecimal digits cannot overflow, extensions have no line end in them, trailers are
//!    refused. Both end at the same byte, where both expect the next head.
//! 4. Where hyper is stricter (a target that is no URI, fewer header fields) it answers and stops reading for good, and the
//!    stream has no further requests.
//!
//! # One request at a time
//!
//! Pipelined requests are held back until the reply before them has been written, which the guard sees as well. So a refusal
//! never cuts off the reply to an earlier request, and the guard's own reply never lands inside another.
//!
//! # At rest
//!
//! Between two requests the guard can end hyper without an end of the connection; see `rest`.
//!
//! Called by the accept loop, around plain and TLS connections alike.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use self::framing::{Requests, Step};
use self::replies::Replies;
use self::rest::Rest;

mod framing;
mod replies;
mod rest;

pub use self::framing::{Limits, Reason};
pub(super) use self::framing::{is_host, like};
pub(super) use self::rest::Crowded;

/// Closing while the client still sends would make the system reset the connection, and the client might never read why.
/// So after a refusal, and after an answer that did not wait for the body, what still comes is thrown away, for this long ...
const LINGER: Duration = Duration::from_millis(500);
/// ... and for this many bytes.
const LINGER_BYTES: usize = 16 << 20;

/// A request was refused in the middle of its body. The error that a body's reader gets has this as a cause; where the reply
/// has not begun, the guard answers in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("framing-refused: {}", .0.code())]
pub struct Refused(pub Reason);

/// Told of each refusal, for metrics and the log.
pub type Observer = Arc<dyn Fn(Reason) + Send + Sync>;

/// A connection under guard.
pub struct Guard<Io> {
    io: Io,
    requests: Requests,
    replies: Replies,
    /// A head was handed over whose final reply has not all been written.
    owed: bool,
    /// That reply has no body, for the request was `HEAD`.
    bodiless: bool,
    /// Bytes that came and were not handed over. The first `ready` may be; then comes a head, or nothing.
    held: BytesMut,
    ready: usize,
    /// Who waits until the reply that is owed has been written.
    waiting: Option<Waker>,
    refusal: Option<Refusal>,
    linger: Option<Linger>,
    observer: Option<Observer>,
    /// How long a head may take from its first byte, and the alarm while one is on its way.
    head_within: Option<Duration>,
    head_alarm: Option<Pin<Box<Sleep>>>,
    /// The client speaks HTTP/2: hyper's HTTP/1.1 gets nothing, and the connection stays open for [`Guard::into_http2`].
    http2: bool,
    /// What becomes of the connection while it waits for its next request.
    rest: Rest,
}

struct Refusal {
    reason: Reason,
    in_body: bool,
    /// What is left to write of our own reply; `None` if another had begun.
    reply: Option<Bytes>,
}

/// Until when, and how much, is thrown away.
struct Linger {
    alarm: Pin<Box<Sleep>>,
    discarded: usize,
}

impl<Io> std::fmt::Debug for Guard<Io> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("refused", &self.refused()).finish_non_exhaustive()
    }
}

impl<Io> Guard<Io> {
    /// Puts `io` under guard.
    pub fn new(io: Io, limits: Limits) -> Self {
        Self {
            io,
            requests: Requests::new(limits),
            replies: Replies::new(),
            owed: false,
            bodiless: false,
            held: BytesMut::new(),
            ready: 0,
            waiting: None,
            refusal: None,
            linger: None,
            observer: None,
            head_within: None,
            head_alarm: None,
            http2: false,
            rest: Rest::new(),
        }
    }

    /// Lets a connection begin with the preface of HTTP/2. Then the HTTP/1.1 of it ends without a byte written, and
    /// [`Guard::into_http2`] gives the connection back.
    #[must_use]
    pub fn may_be_http2(mut self, may: bool) -> Self {
        self.requests.may_be_http2 = may;
        self
    }

    /// The connection began as HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.http2
    }

    /// The connection, with the bytes that came, if it began as HTTP/2.
    pub fn into_http2(self) -> Option<(Io, BytesMut)> {
        self.http2.then_some((self.io, self.held))
    }

    /// Gives up a connection whose head, once begun, takes longer than this to arrive (T24).
    #[must_use]
    pub fn head_within(self, time: Duration) -> Self {
        Self { head_within: Some(time), ..self }
    }

    /// Tells `observer` of a refusal as it happens.
    #[must_use]
    pub fn observed_by(self, observer: Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Why the connection was refused, if it was.
    pub fn refused(&self) -> Option<Reason> {
        self.refusal.as_ref().map(|refusal| refusal.reason)
    }

    /// The connection itself.
    pub fn io(&self) -> &Io {
        &self.io
    }

    /// How many of these bytes, which start where the last judgement ended, may be handed over. `true`: those after them
    /// must wait, for more bytes or for a reply; `false` with bytes left over: refused.
    fn judge(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            if rest.is_empty() || (self.owed && self.requests.at_head()) {
                return (passed, true);
            }
            match self.requests.step(rest) {
                Step::Body(bytes) => passed += bytes,
                Step::Head { bytes, bodiless_reply } => {
                    passed += bytes;
                    self.head_alarm = None;
                    self.owed = true;
                    self.bodiless = bodiless_reply;
                }
                Step::Partial => return (passed, true),
                Step::Http2 => {
                    self.http2 = true;
                    return (passed, true);
                }
                Step::Refuse { body, reason } => {
                    self.refuse(reason);
                    return (passed + body, false);
                }
            }
        }
    }

    fn refuse(&mut self, reason: Reason) {
        let in_body = !self.requests.at_head();
        // In a head nothing is owed. In a body our reply takes the place of one that has not begun; hyper's is not sent.
        let reply = (in_body == self.owed && self.replies.between()).then(|| reply_to(reason));
        self.refusal = Some(Refusal { reason, in_body, reply });
        if let Some(observer) = &self.observer {
            observer(reason);
        }
    }

    fn written(&mut self, bytes: &[u8]) {
        let ended = self.replies.written(bytes, self.bodiless);
        self.rest.written(ended);
        if ended {
            self.owed = false;
            if let Some(waiting) = self.waiting.take() {
                waiting.wake();
            }
        }
    }

    /// What hyper writes goes nowhere, for our reply stands in its place.
    fn replaced(&self) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.reply.is_some())
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Guard<Io> {
    fn poll_own_reply(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(reply) = self.refusal.as_mut().and_then(|refusal| refusal.reply.as_mut()) else { return Poll::Ready(Ok(())) };
        while reply.has_remaining() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, reply))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            reply.advance(written.min(reply.len()));
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// While nothing comes: pending, or an error once a head that has begun is overdue.
    fn poll_head_alarm(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let head_begun = !self.held.is_empty() && self.requests.at_head();
        let Some(time) = self.head_within.filter(|_| head_begun) else {
            self.head_alarm = None;
            return Poll::Pending;
        };
        let alarm = self.head_alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        alarm.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Throws away what still comes of a request that will not be read, until the client closes or a limit is reached.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.refusal.is_none() && self.requests.at_head() {
            return Poll::Ready(());
        }
        let begin = || Linger { alarm: Box::pin(tokio::time::sleep(LINGER)), discarded: 0 };
        let linger = self.linger.get_or_insert_with(begin);
        if linger.alarm.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        while linger.discarded < LINGER_BYTES {
            let mut bin = [0; 4096];
            let mut bin = ReadBuf::new(&mut bin);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut bin)) {
                Ok(()) if !bin.filled().is_empty() => linger.discarded += bin.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(())
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.ready > 0 {
                let taken = this.ready.min(buf.remaining());
                buf.put_slice(this.held.get(..taken).unwrap_or_default());
                this.held.advance(taken);
                this.ready -= taken;
                if this.held.is_empty() {
                    this.held = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.http2 || this.rest.is_at_rest() {
                return Poll::Ready(Ok(()));
            }
            if let Some(refusal) = &this.refusal {
                let (reason, in_body) = (refusal.reason, refusal.in_body);
                // At once if the socket takes it, for hyper may take its time; else when it shuts down.
                let _later: Poll<io::Result<()>> = this.poll_own_reply(cx);
                // The end of the stream lets hyper finish in good order; in a body it must be an error.
                return Poll::Ready(if in_body {
                    Err(io::Error::new(io::ErrorKind::InvalidData, Refused(reason)))
                } else {
                    Ok(())
                });
            }
            if !this.held.is_empty() {
                if this.owed && this.requests.at_head() {
                    this.waiting = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                let held = std::mem::take(&mut this.held);
                (this.ready, _) = this.judge(&held);
                this.held = held;
                if this.ready > 0 || this.refusal.is_some() || this.http2 {
                    continue;
                }
            }
            // Straight into hyper's buffer: bodies, and heads that come in one piece, are not copied.
            let before = buf.filled().len();
            match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Ready(read) => read?,
                // At rest: the end of the stream, for hyper.
                Poll::Pending if this.poll_rest(cx).is_ready() => return Poll::Ready(Ok(())),
                Poll::Pending => return this.poll_head_alarm(cx),
            }
            let fresh = buf.filled().get(before..).unwrap_or_default();
            if fresh.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if !this.held.is_empty() {
                this.held.extend_from_slice(fresh);
                buf.set_filled(before);
                continue;
            }
            let (passed, keep) = this.judge(fresh);
            if keep {
                this.held.extend_from_slice(fresh.get(passed..).unwrap_or_default());
            }
            buf.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.replaced() {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.written(buf.get(..written).unwrap_or(buf));
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.replaced() {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let part = buf.get(..left).unwrap_or(buf);
            self.written(part);
            left -= part.len();
            if left == 0 {
                break;
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.flushed(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.http2 || this.rest.is_at_rest() {
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_own_reply(cx))?;
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        this.poll_linger(cx).map(Ok)
    }
}

fn reply_to(reason: Reason) -> Bytes {
    let body = format!("{}\n", Refused(reason));
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
        reason.status().as_u16(),
        reason.status().canonical_reason().unwrap_or_default(),
        body.len(),
    );
    (head + &body).into()
}

#[cfg(test)]
mod tests;
