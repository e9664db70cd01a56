//! Bodies on their way in and out, with the limits that hold for every one of them, protected or not.
//!
//! Always holds: a client that owes the rest of its body is waited for only so long and so slowly ([`Late`]); what a request
//! holds ([`Held`], its seat) is given back when the last byte of the reply was taken, or nobody takes it any more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::admission::Held;
use crate::metrics::Counted;
use crate::upstream::{BodyError, PassBody};

/// The client was too slow to send its body, or to take its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client was too slow")]
pub(super) struct Late;

/// How long a body may keep us waiting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// For each piece, and for the first bytes.
    pub(super) piece: Duration,
    /// Beyond that, a second for so many bytes that came; 0 for as long as it likes.
    pub(super) bytes_per_second: u32,
    /// In all.
    pub(super) total: Duration,
}

/// A request body. Only the time in which the client owes the next piece counts, not that in which nobody asked for it.
#[derive(Debug)]
pub(super) struct Arriving<B> {
    body: B,
    pace: Pace,
    received: u64,
    waited: Duration,
    /// Since when the next piece is waited for.
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<B> Arriving<B> {
    pub(super) fn new(body: B, pace: Pace) -> Self {
        Self { body, pace, received: 0, waited: Duration::ZERO, since: None, alarm: None }
    }

    /// How long the next piece may take.
    fn patience(&self) -> Duration {
        let Pace { piece, bytes_per_second, total } = self.pace;
        let earned = match bytes_per_second {
            0 => total,
            rate => piece.saturating_add(Duration::from_secs(self.received / u64::from(rate))).min(total),
        };
        earned.saturating_sub(self.waited).min(piece)
    }
}

impl<B> Body for Arriving<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(since) = this.since.take() {
                    this.waited += since.elapsed();
                }
                if let Some(Ok(frame)) = &frame {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    this.received = this.received.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                if this.since.is_none() {
                    let now = Instant::now();
                    this.since = Some(now);
                    let until = now + this.patience();
                    match &mut this.alarm {
                        Some(alarm) => alarm.as_mut().reset(until),
                        None => this.alarm = Some(Box::pin(tokio::time::sleep_until(until))),
                    }
                }
                if let Some(alarm) = &mut this.alarm {
                    ready!(alarm.as_mut().poll(cx));
                }
                Poll::Ready(Some(Err(Late.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a reply, with what its request holds until it has left.
#[derive(Debug)]
pub struct ReplyBody {
    body: PassBody,
    _held: Held,
    /// None for a feed, and for an answer of our own.
    bounds: Option<(Counted, Duration)>,
    /// The first piece was asked for.
    begun: bool,
    /// When the reply is broken off. Set with its second piece, so that a reply of one piece asks no clock.
    deadline: Option<Instant>,
}

impl ReplyBody {
    /// The reply to a request that held `held`, and within `bounds` a seat: it may take so long.
    pub(super) fn new(body: PassBody, held: Held, bounds: Option<(Counted, Duration)>) -> Self {
        Self { body, _held: held, bounds, begun: false, deadline: None }
    }

    fn overdue(&mut self) -> bool {
        let Some((_seat, longest)) = &self.bounds else { return false };
        if !std::mem::replace(&mut self.begun, true) {
            return false;
        }
        let now = Instant::now();
        now >= *self.deadline.get_or_insert(now + *longest)
    }
}

impl From<PassBody> for ReplyBody {
    fn from(body: PassBody) -> Self {
        Self::new(body, Held::default(), None)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.overdue() {
            return Poll::Ready(Some(Err(Late.into())));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::convert::Infallible;
    use tokio::sync::mpsc;

    /// A body that comes as the test sends it.
    struct Sent(mpsc::UnboundedReceiver<&'static [u8]>);

    impl Body for Sent {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece)))))
        }
    }

    fn arriving(piece_ms: u64, bytes_per_second: u32) -> (mpsc::UnboundedSender<&'static [u8]>, Arriving<Sent>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let pace = Pace { piece: Duration::from_millis(piece_ms), bytes_per_second, total: Duration::from_mins(1) };
        (sender, Arriving::new(Sent(receiver), pace))
    }

    #[tokio::test]
    async fn t24_a_body_that_trickles_is_given_up_though_no_piece_is_late() {
        let (sender, mut body) = arriving(400, 1000);
        let trickle = async {
            while sender.send(b"x").is_ok() && !sender.is_closed() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let read = async {
            let mut pieces = 0;
            loop {
                match body.frame().await {
                    Some(Ok(_)) => pieces += 1,
                    Some(Err(error)) => return (pieces, error),
                    None => panic!("it did not end"),
                }
            }
        };
        let (pieces, error) = tokio::select! { () = trickle => panic!(), read = read => read };
        assert!(error.is::<Late>());
        assert!(pieces > 0, "it came in pieces, none of which was late");
    }

    #[tokio::test]
    async fn a_body_at_its_pace_comes_whole_and_time_in_which_nobody_asks_does_not_count() {
        let (sender, mut body) = arriving(2_000, 1);
        for _ in 0..3 {
            sender.send(b"xxxxxxxxxx").unwrap();
            assert!(body.frame().await.unwrap().is_ok());
        }
        assert_eq!(body.waited, Duration::ZERO);
        assert_eq!(body.patience(), Duration::from_secs(2));
        body.waited = Duration::from_secs(31);
        assert_eq!(body.patience(), Duration::from_secs(1), "2 s and one for each of 30 bytes, less what was waited");
        drop(sender);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_piece_that_does_not_come_is_late() {
        let (_sender, mut body) = arriving(30, 0);
        assert!(body.frame().await.unwrap().unwrap_err().is::<Late>());
    }
}
