//! The bodies of an exchange with the database, and how long each side lets the other wait.
//!
//! Always holds: no trailer passes, either way (T10); a reply's body ends in an error unless it came whole; time in which the
//! caller owes the next piece is not the database's. Called by [`super`].

use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

use super::super::{BodyError, PassBody, UpstreamError};
use super::causes;

/// Ends once the database has kept us waiting for `limit`. Time in which we wait for the caller's body does not count:
/// the front limits that.
pub(super) async fn overdue(limit: Duration, progress: Option<&Progress>) {
    let mut wait = limit;
    loop {
        tokio::time::sleep(wait).await;
        match progress.map(Progress::owed_for) {
            None => return,
            Some(None) => wait = limit,
            Some(Some(owed)) if owed >= limit => return,
            Some(Some(owed)) => wait = limit.saturating_sub(owed),
        }
    }
}

/// How a streaming body fares, shared between the body and the task that waits for the reply.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// Milliseconds after `start` since which the database owes the next step, or [`Progress::CALLER`].
    since_ms: AtomicU64,
    /// Why the body broke off.
    fault: Mutex<Option<BodyError>>,
}

impl Progress {
    /// In place of a time: the caller owes the next step.
    const CALLER: u64 = u64::MAX;

    pub(super) fn start() -> Self {
        Self(Arc::new(Shared { start: Instant::now(), since_ms: AtomicU64::new(0), fault: Mutex::new(None) }))
    }

    fn caller_owes(&self) {
        self.0.since_ms.store(Self::CALLER, Ordering::Release);
    }

    fn database_owes(&self) {
        let now_ms = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(Self::CALLER - 1);
        self.0.since_ms.store(now_ms, Ordering::Release);
    }

    fn owed_for(&self) -> Option<Duration> {
        let since_ms = self.0.since_ms.load(Ordering::Acquire);
        (since_ms != Self::CALLER).then(|| self.0.start.elapsed().saturating_sub(Duration::from_millis(since_ms)))
    }

    fn broke_off(&self, error: BodyError) {
        *self.0.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    pub(super) fn fault(&self) -> Option<BodyError> {
        self.0.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The body of a request on its way to the database, without trailers.
#[derive(Debug)]
pub(super) enum SendBody {
    Empty,
    Whole(Option<Bytes>),
    Passed { body: PassBody, progress: Progress },
}

impl Body for SendBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passed { body, progress } => {
                let polled = Pin::new(body).poll_frame(cx);
                if polled.is_pending() {
                    progress.caller_owes();
                    return Poll::Pending;
                }
                progress.database_owes();
                match ready!(polled) {
                    // Trailers come after the data, so this is the end (T10).
                    Some(Ok(frame)) if frame.is_trailers() => Poll::Ready(None),
                    Some(Err(error)) => {
                        progress.broke_off(error);
                        Poll::Ready(Some(Err("the caller broke off the body".into())))
                    }
                    other => Poll::Ready(other),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Whole(None) => true,
            Self::Whole(Some(_)) => false,
            Self::Passed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Whole(None) => SizeHint::with_exact(0),
            Self::Whole(Some(bytes)) => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            Self::Passed { body, .. } => body.size_hint(),
        }
    }
}

/// The body of a reply, without trailers. The alarm is set only while a frame is awaited; the slot is held until it is dropped.
#[derive(Debug)]
pub(super) struct ReplyBody {
    body: Incoming,
    idle_timeout: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    _slot: Option<OwnedSemaphorePermit>,
}

impl ReplyBody {
    pub(super) fn new(body: Incoming, idle_timeout: Duration, slot: Option<OwnedSemaphorePermit>) -> Self {
        Self { body, idle_timeout, alarm: None, waiting: false, _slot: slot }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.waiting = false;
                Poll::Ready(match frame {
                    Some(Ok(frame)) if frame.is_trailers() => None,
                    Some(Ok(frame)) => Some(Ok(frame)),
                    Some(Err(error)) => Some(Err(UpstreamError::Broken(causes(&error)).into())),
                    None => None,
                })
            }
            Poll::Pending => {
                let timeout = this.idle_timeout;
                let alarm = this.alarm.get_or_insert_with(|| {
                    this.waiting = true;
                    Box::pin(tokio::time::sleep(timeout))
                });
                if !this.waiting {
                    this.waiting = true;
                    alarm.as_mut().reset(Instant::now() + timeout);
                }
                ready!(alarm.as_mut().poll(cx));
                Poll::Ready(Some(Err(UpstreamError::Timeout(timeout).into())))
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
