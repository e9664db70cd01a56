//! A request body whose last bytes wait for its end.
//!
//! Over HTTP/2 the end of a stream may come in a frame of its own behind the last byte that `content-length` announced. Whoever counts
//! takes the body for read, and the database answers; then the reply would be whole before the request, h2 would reset the stream
//! without an error, as RFC 9113 section 8.1 lets it, and clients that are about to send the end fail (httpx does). Over HTTP/1.1
//! the last byte is the end. Called by `super::answer`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// See the module.
#[derive(Debug)]
pub(super) struct Ending<B> {
    body: B,
    /// The last of what was announced, until the end has come.
    last: Option<Frame<Bytes>>,
}

impl<B> Ending<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body, last: None }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Ending<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            match frame {
                None => return Poll::Ready(self.last.take().map(Ok)),
                // Nothing is awaited behind the last byte but the end; an empty frame before it says nothing.
                Some(Ok(frame)) if self.last.is_some() && frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Some(Ok(frame))
                    if self.last.is_none() && self.body.size_hint().exact() == Some(0) && !self.body.is_end_stream() =>
                {
                    self.last = Some(frame);
                }
                // Trailers are not passed on.
                Some(Ok(frame)) if self.last.is_some() && frame.is_trailers() => {}
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.last.as_ref().and_then(Frame::data_ref) {
            Some(data) => SizeHint::with_exact(u64::try_from(data.len()).unwrap_or(u64::MAX)),
            None => self.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use http_body_util::BodyExt as _;

    use super::*;

    /// A body that comes in these pieces, of a length that is known or not; after `None` nothing comes for a while.
    struct Pieces {
        coming: VecDeque<Option<&'static str>>,
        left: Option<u64>,
        ends_with_data: bool,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.coming.pop_front() {
                None => Poll::Ready(None),
                Some(None) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Some(Some(piece)) => {
                    self.left = self.left.map(|left| left - u64::try_from(piece.len()).unwrap());
                    Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
                }
            }
        }

        fn is_end_stream(&self) -> bool {
            self.ends_with_data && self.coming.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
        }
    }

    fn body(coming: &[Option<&'static str>], left: Option<u64>, ends_with_data: bool) -> Ending<Pieces> {
        Ending::new(Pieces { coming: coming.iter().copied().collect(), left, ends_with_data })
    }

    #[tokio::test]
    async fn the_last_bytes_come_with_the_end_and_not_before() {
        let mut ending = body(&[Some("he"), Some("llo"), None, Some(""), None], Some(5), false);
        let first = ending.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.as_ref(), ending.size_hint().exact(), ending.is_end_stream()), (b"he".as_ref(), Some(3), false));
        // Its length has come, its end has not.
        let waker = std::task::Waker::noop();
        assert!(Pin::new(&mut ending).poll_frame(&mut Context::from_waker(waker)).is_pending());
        assert_eq!((ending.size_hint().exact(), ending.is_end_stream()), (Some(3), false));
        let last = ending.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(last, "llo");
        assert!(ending.frame().await.is_none());
    }

    #[tokio::test]
    async fn bodies_without_a_length_and_those_that_end_with_their_last_byte_come_as_they_are() {
        for (left, ends_with_data) in [(None, false), (None, true), (Some(5), true)] {
            let mut ending = body(&[Some("he"), Some("llo")], left, ends_with_data);
            for piece in ["he", "llo"] {
                let waker = std::task::Waker::noop();
                let polled = Pin::new(&mut ending).poll_frame(&mut Context::from_waker(waker));
                let Poll::Ready(Some(Ok(frame))) = polled else { panic!("{polled:?}") };
                assert_eq!(frame.into_data().unwrap(), piece);
            }
            assert!(ending.frame().await.is_none());
        }
    }
}
