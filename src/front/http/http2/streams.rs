//! The streams of one connection: how many there are and since when there is none; and what ends a stream whose client
//! does not read (T24).
//!
//! Each stream is a task of hyper's that asks the reply for a piece and waits until the client's window has room for it. A
//! reply that has nothing to say is not the client's fault; a piece that finds no room is. So [`Paced`] notes in the task
//! when it gave a piece away, and the task, which is ours to run, ends if it is not asked for the next in time: the stream is
//! reset, what it held is freed, the others go on.
//!
//! Called by [`super::serve`].

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;

use crate::exchange::ReplyBody;
use crate::metrics::Metrics;

/// A piece of a reply has at most so many bytes. h2 takes pieces whole as soon as there is room for their first byte, and
/// keeps the rest for as long as the client likes; so this bounds what a stream can make it keep.
const PIECE_BYTES: usize = 16 << 10;

tokio::task_local! {
    /// Since when a piece of this stream's reply waits for the client.
    static WAITS: Cell<Option<Instant>>;
}

/// Runs the streams of one connection.
#[derive(Clone)]
pub(super) struct Streams {
    tasks: TaskTracker,
    patience: Duration,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
}

struct Shared {
    open: AtomicUsize,
    /// When the last stream ended, or the connection began.
    ended: Mutex<Instant>,
}

/// One stream that is open.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Streams {
    /// A client may leave a piece of a reply unread for `patience`.
    pub(super) fn new(tasks: TaskTracker, patience: Duration, metrics: Arc<Metrics>) -> Self {
        let shared = Shared { open: AtomicUsize::new(0), ended: Mutex::new(Instant::now()) };
        Self { tasks, patience, metrics, shared: Arc::new(shared) }
    }

    /// Has no stream been open for this long?
    pub(super) fn is_quiet_since(&self, time: Duration) -> bool {
        let ended = *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.open.load(Ordering::Acquire) == 0 && ended.elapsed() >= time
    }

    /// Ends once no stream has been open for `time`, counted from now.
    pub(super) async fn quiet_for(&self, time: Duration) {
        let mut due = Instant::now() + time;
        loop {
            tokio::time::sleep_until(due).await;
            if self.shared.open.load(Ordering::Acquire) > 0 {
                due = Instant::now() + time;
                continue;
            }
            let quiet_until = *self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) + time;
            if quiet_until <= Instant::now() {
                return;
            }
            due = quiet_until;
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.shared.open.fetch_add(1, Ordering::AcqRel);
        let (open, patience, metrics) = (Open(Arc::clone(&self.shared)), self.patience, Arc::clone(&self.metrics));
        self.tasks.spawn(async move {
            if WAITS.scope(Cell::new(None), while_read(stream, patience)).await.is_err() {
                metrics.peer_given_up("reply");
            }
            drop(open);
        });
    }
}

/// The client did not take a piece in time.
struct Unread;

/// Runs a stream to its end, or until a piece of its reply has waited for `patience`.
async fn while_read(stream: impl Future<Output = ()>, patience: Duration) -> Result<(), Unread> {
    let mut stream = pin!(stream);
    let mut alarm: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let Some(since) = WAITS.with(Cell::get) else {
            alarm = None;
            return Poll::Pending;
        };
        let due = since + patience;
        let alarm = alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        alarm.as_mut().poll(cx).map(|()| Err(Unread))
    })
    .await
}

/// A reply in pieces of at most [`PIECE_BYTES`] that tells its task when it gives one away. Bodies of HEAD are `None`.
pub(super) struct Paced {
    body: Option<ReplyBody>,
    /// Of a larger piece.
    rest: Bytes,
}

impl Paced {
    pub(super) fn new(body: ReplyBody) -> Self {
        Self { body: Some(body), rest: Bytes::new() }
    }

    pub(super) fn empty() -> Self {
        Self { body: None, rest: Bytes::new() }
    }

    /// The next piece of `rest`. The last is copied, for h2 may have to keep it and would keep all it was cut from.
    fn cut(&mut self) -> Bytes {
        if self.rest.len() > PIECE_BYTES {
            return self.rest.split_to(PIECE_BYTES);
        }
        Bytes::copy_from_slice(&std::mem::take(&mut self.rest))
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = <ReplyBody as Body>::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let waits = |since| {
            // Outside of a stream of ours nobody waits.
            let _set = WAITS.try_with(|waits| waits.set(since));
        };
        if !self.rest.is_empty() {
            waits(Some(Instant::now()));
            return Poll::Ready(Some(Ok(Frame::data(self.cut()))));
        }
        waits(None);
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let Some(frame) = ready!(Pin::new(body).poll_frame(cx)) else { return Poll::Ready(None) };
        let piece = match frame?.into_data() {
            Ok(piece) => piece,
            // Trailers of the database are not forwarded (T10).
            Err(_trailers) => return Poll::Ready(None),
        };
        waits(Some(Instant::now()));
        if piece.len() <= PIECE_BYTES {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        self.rest = piece;
        let piece = self.cut();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(body) = &self.body else { return SizeHint::with_exact(0) };
        let (inner, rest) = (body.size_hint(), u64::try_from(self.rest.len()).unwrap_or(u64::MAX));
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}
