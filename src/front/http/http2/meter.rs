//! What a client costs on one connection: it counts frames that carry nothing and streams that were begun for nothing, and
//! gives up a head that takes too long (T24, T38).
//!
//! h2 bounds what it must remember: streams, heads, windows. It does not bound what it only answers: a client may send SETTINGS
//! and PING for ever, or begin a request and take it back for ever, and each costs us and the database more than the client.
//! [`Meter`] wraps the connection and reads of each frame the length, the kind and the flags, no more: h2 stays the one
//! that frames. Both read the same bytes by the same rule (RFC 9113, section 4.1), and the meter only refuses.
//!
//! Called by [`super::serve`].

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::front::http::wire::{Observer, Reason, Refused};

/// Frames that carry nothing, at once and in a second: what a client may send without a request or a body.
const SPARE: u32 = 1000;
const SPARE_A_SECOND: u32 = 10;
/// A request lets a client send as many more.
const SPARE_A_REQUEST: u32 = 8;
/// A client that opens its windows for every piece of a reply sends two frames for each; the smallest has ten bytes.
const BYTES_FOR_A_WINDOW: usize = 4;
/// One reset in four requests is usual: callers give up, and what stands before us gives up for them.
const REQUESTS_FOR_A_RESET: u32 = 4;
const RESETS_A_SECOND: u32 = 10;

/// `PRI * HTTP/2.0 … SM …` (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;
const FRAME_HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A connection whose client is watched.
pub(super) struct Meter<Io> {
    io: Io,
    /// Bytes that came before, not yet handed over.
    begun: BytesMut,
    frames: Frames,
    head_within: Duration,
    head_alarm: Option<Pin<Box<Sleep>>>,
    observer: Observer,
}

impl<Io> Meter<Io> {
    /// Watches `io`, of which `begun` has been read. A head must come within `head_within`, and so must the beginning of the
    /// connection.
    pub(super) fn new(io: Io, begun: BytesMut, resets: usize, head_within: Duration, observer: Observer) -> Self {
        Self { io, begun, frames: Frames::new(resets), head_within, head_alarm: None, observer }
    }

    fn count(&mut self, bytes: &[u8]) -> io::Result<()> {
        let head_before = self.frames.heads;
        let counted = self.frames.count(bytes, Instant::now);
        if self.frames.heads != head_before {
            self.head_alarm = None;
        }
        counted.map_err(|reason| {
            (self.observer)(reason);
            io::Error::new(io::ErrorKind::InvalidData, Refused(reason))
        })
    }

    /// While nothing comes: pending, or an error once a head that has begun is overdue.
    fn poll_head_alarm(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.frames.owes_head() {
            self.head_alarm = None;
            return Poll::Pending;
        }
        let time = self.head_within;
        let alarm = self.head_alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        alarm.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Meter<Io> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.begun.is_empty() {
            match Pin::new(&mut this.io).poll_read(cx, buf) {
                Poll::Ready(read) => read?,
                Poll::Pending => return this.poll_head_alarm(cx),
            }
        } else {
            let taken = this.begun.len().min(buf.remaining());
            buf.put_slice(this.begun.get(..taken).unwrap_or_default());
            this.begun.advance(taken);
        }
        Poll::Ready(this.count(buf.filled().get(before..).unwrap_or_default()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Meter<Io> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.frames.written(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs))?;
        self.frames.written(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Follows the frames of a client and what they cost.
struct Frames {
    at: At,
    /// A head has begun and not ended; with `last`, it ends with the frame under way.
    head: bool,
    last: bool,
    /// Heads that ended, the beginning of the connection included.
    heads: u64,
    spare: Allowance,
    windows: Allowance,
    resets: Allowance,
}

enum At {
    Preface {
        left: usize,
    },
    /// In the head of a frame, of which so many bytes have come.
    Head {
        bytes: [u8; FRAME_HEAD_BYTES],
        have: usize,
    },
    Payload {
        left: usize,
    },
}

impl At {
    const FRAME: Self = Self::Head { bytes: [0; FRAME_HEAD_BYTES], have: 0 };
}

impl Frames {
    fn new(resets: usize) -> Self {
        let resets = u32::try_from(resets).unwrap_or(u32::MAX).saturating_mul(REQUESTS_FOR_A_RESET);
        Self {
            at: At::Preface { left: PREFACE_BYTES },
            head: false,
            last: false,
            heads: 0,
            spare: Allowance::new(SPARE, SPARE_A_SECOND),
            windows: Allowance::new(SPARE, SPARE_A_SECOND),
            resets: Allowance::new(resets, RESETS_A_SECOND * REQUESTS_FOR_A_RESET),
        }
    }

    /// The client is in the middle of a head, or has yet to begin.
    fn owes_head(&self) -> bool {
        self.head || self.heads == 0
    }

    fn written(&mut self, bytes: usize) {
        self.windows.earn(u32::try_from(bytes / BYTES_FOR_A_WINDOW).unwrap_or(u32::MAX));
    }

    /// `clock` is read only where an allowance is used up.
    fn count(&mut self, mut bytes: &[u8], clock: impl Fn() -> Instant) -> Result<(), Reason> {
        while let Some(rest) = self.step(bytes, &clock)? {
            bytes = rest;
        }
        Ok(())
    }

    /// What is left after a step; `None`: it takes more bytes to go on.
    fn step<'a>(&mut self, bytes: &'a [u8], clock: &impl Fn() -> Instant) -> Result<Option<&'a [u8]>, Reason> {
        match &mut self.at {
            At::Preface { left } | At::Payload { left } if *left > bytes.len() => {
                *left -= bytes.len();
                Ok(None)
            }
            At::Preface { left } => {
                let rest = bytes.get(*left..);
                self.at = At::FRAME;
                Ok(rest)
            }
            At::Payload { left } => {
                let rest = bytes.get(*left..);
                self.at = At::FRAME;
                self.frame_ended();
                Ok(rest)
            }
            At::Head { bytes: head, have } => {
                let taken = bytes.len().min(FRAME_HEAD_BYTES - *have);
                if let (Some(to), Some(from)) = (head.get_mut(*have..*have + taken), bytes.get(..taken)) {
                    to.copy_from_slice(from);
                }
                *have += taken;
                if *have < FRAME_HEAD_BYTES {
                    return Ok(None);
                }
                let [high, middle, low, kind, flags, ..] = *head;
                let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                self.at = At::Payload { left: length };
                self.frame(length, kind, flags, clock)?;
                Ok(bytes.get(taken..))
            }
        }
    }

    fn frame(&mut self, length: usize, kind: u8, flags: u8, clock: &impl Fn() -> Instant) -> Result<(), Reason> {
        let affordable = match kind {
            HEADERS | CONTINUATION => {
                (self.head, self.last) = (true, flags & END_HEADERS != 0);
                if kind == HEADERS {
                    self.spare.earn(SPARE_A_REQUEST);
                    self.resets.earn(1);
                    return Ok(());
                }
                self.spare.spend(1, clock)
            }
            DATA if length > 0 || flags & END_STREAM != 0 => true,
            RST_STREAM if !self.resets.spend(REQUESTS_FOR_A_RESET, clock) => return Err(Reason::Resets),
            RST_STREAM => true,
            WINDOW_UPDATE => self.windows.spend(1, clock),
            // SETTINGS, PING, PRIORITY, empty DATA, and kinds that nobody has defined.
            _ => self.spare.spend(1, clock),
        };
        if affordable { Ok(()) } else { Err(Reason::Flood) }
    }

    fn frame_ended(&mut self) {
        // The first frame must be SETTINGS, which h2 sees to; it belongs to the beginning of the connection.
        if self.heads == 0 && !self.head || self.head && self.last {
            self.heads += 1;
            self.head = false;
        }
    }
}

/// So much at once, and so much more in a second.
struct Allowance {
    left: u32,
    most: u32,
    a_second: u32,
    /// Up to here what comes with time has been given.
    given: Instant,
}

impl Allowance {
    fn new(most: u32, a_second: u32) -> Self {
        Self { left: most, most, a_second, given: Instant::now() }
    }

    fn earn(&mut self, amount: u32) {
        self.left = self.left.saturating_add(amount).min(self.most);
    }

    fn spend(&mut self, amount: u32, clock: &impl Fn() -> Instant) -> bool {
        if self.left < amount {
            let now = clock();
            let due = now.duration_since(self.given).as_millis() * u128::from(self.a_second) / 1000;
            if due > 0 {
                self.earn(u32::try_from(due).unwrap_or(u32::MAX));
                self.given = now;
            }
        }
        let left = self.left.checked_sub(amount);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// Counts without a clock: time stands still.
    fn take(frames: &mut Frames, bytes: &[u8]) -> Result<(), Reason> {
        let now = frames.spare.given;
        frames.count(bytes, || now)
    }

    fn begun(resets: usize) -> Frames {
        let mut frames = Frames::new(resets);
        take(&mut frames, &[&[b'P'; PREFACE_BYTES], frame(4, 0, b"").as_slice()].concat()).unwrap();
        frames
    }

    /// How many of these are let through.
    fn most(frames: &mut Frames, bytes: &[u8]) -> (usize, Reason) {
        (0..100_000).find_map(|n| take(frames, bytes).err().map(|reason| (n, reason))).expect("an end")
    }

    #[test]
    fn t38_frames_that_carry_nothing_have_an_end() {
        for (kind, what) in
            [(4, "SETTINGS"), (6, "PING"), (2, "PRIORITY"), (7, "GOAWAY"), (9, "CONTINUATION"), (0, "DATA"), (200, "?")]
        {
            let (count, reason) = most(&mut begun(100), &frame(kind, 0, b""));
            assert_eq!((count, reason), (999, Reason::Flood), "{what}");
        }
        assert_eq!(most(&mut begun(100), &frame(WINDOW_UPDATE, 0, b"aaaa")), (1000, Reason::Flood));
        assert_eq!(most(&mut begun(7), &frame(RST_STREAM, 0, b"aaaa")), (7, Reason::Resets));
    }

    #[test]
    fn t38_begun_and_taken_back_has_an_end_and_one_in_four_has_none() {
        let request = frame(HEADERS, END_HEADERS, b"x");
        let reset = frame(RST_STREAM, 0, b"aaaa");
        let (count, reason) = most(&mut begun(100), &[request.as_slice(), &reset].concat());
        assert_eq!(reason, Reason::Resets);
        assert!((100..200).contains(&count), "{count}");
        let mut patient = begun(100);
        for _ in 0..10_000 {
            take(&mut patient, &[request.repeat(4), reset.clone()].concat()).unwrap();
        }
    }

    #[test]
    fn what_a_client_needs_it_may_send_for_ever() {
        let mut frames = begun(100);
        let mut now = frames.spare.given;
        for _ in 0..100_000 {
            // The smallest DATA we can send, and a client that opens both windows for it.
            frames.written(10);
            take(&mut frames, &frame(WINDOW_UPDATE, 0, b"aaaa").repeat(2)).unwrap();
        }
        for _ in 0..100_000 {
            take(&mut frames, &frame(DATA, 0, b"body")).unwrap();
        }
        for _ in 0..10_000 {
            now += Duration::from_millis(200);
            frames.count(&frame(6, 0, b"pingping"), || now).unwrap();
        }
        for _ in 0..10_000 {
            take(&mut frames, &frame(HEADERS, END_HEADERS, b"x")).unwrap();
            take(&mut frames, &frame(2, 0, b"prior")).unwrap();
            take(&mut frames, &frame(9, END_HEADERS, b"more")).unwrap();
        }
    }

    #[test]
    fn frames_are_told_apart_however_the_bytes_come() {
        let bytes =
            [vec![b'P'; 24], frame(4, 0, b"123456"), frame(HEADERS, 0, b"abc"), frame(CONTINUATION, END_HEADERS, b"")].concat();
        let bytes = [bytes, frame(DATA, END_STREAM, &[9; 300])].concat();
        for size in [1, 2, 3, 8, 9, 10, 33, 1000] {
            let mut frames = Frames::new(1);
            let mut owed = Vec::new();
            for piece in bytes.chunks(size) {
                take(&mut frames, piece).unwrap();
                owed.push(frames.owes_head());
            }
            assert_eq!(frames.heads, 2, "{size}: the beginning and one head");
            assert!(!frames.owes_head() && matches!(frames.at, At::Head { have: 0, .. }), "{size}");
            if size == 1 {
                let begins = 24 + 15;
                assert!(owed[..begins - 1].iter().all(|owed| *owed) && !owed[begins]);
                assert!(owed[begins + 9..begins + 20].iter().all(|owed| *owed), "{owed:?}");
            }
        }
    }
}
