//! Compressed bodies: what comes in is decoded before it is checked, what the database compressed unasked before it is revealed.
//!
//! Always holds: what goes upstream is what was checked, uncompressed; decoding is bounded while it goes on (T24), and long decoding
//! keeps no thread of the runtime from other work. Revealed replies are not compressed (docs/decisions/0013).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Response, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;

use super::admission::{Budget, Growing, REQUEST_TIMES};
use super::{Context as Known, Error, Exchange, State};
use crate::encoding::{self, Coding, DecodeError, Decoder, Limits, Progress};
use crate::upstream::{BodyError, PassBody, UpstreamError};

/// Text that compresses very well becomes so many times as long.
const EXPECTED_RATIO: usize = 64;

/// The coding of a request's body.
///
/// # Errors
///
/// [`Error::CodingUnknown`], also for a header that servers which read `_` as `-` would take for `Content-Encoding` (T6).
pub(super) fn of_request(headers: &HeaderMap) -> Result<Option<Coding>, Error> {
    if headers.contains_key("content_encoding") {
        return Err(Error::CodingUnknown);
    }
    of(headers).map_err(|encoding::Unknown| Error::CodingUnknown)
}

fn of(headers: &HeaderMap) -> Result<Option<Coding>, encoding::Unknown> {
    encoding::coding(headers.get_all(header::CONTENT_ENCODING).iter().map(http::HeaderValue::as_bytes))
}

impl Exchange {
    /// Reads the body of a request whole, and decodes it.
    pub(super) async fn read_body(
        &self,
        state: &State,
        known: &Known,
        body: PassBody,
        coding: Option<Coding>,
    ) -> Result<Bytes, Error> {
        let bytes = self.read_whole(state, known, body).await?;
        let Some(coding) = coding else { return Ok(bytes) };
        let limits = Limits { bytes: state.limits.body_bytes, ratio: state.limits.decompress_ratio };
        // Each of them may become many.
        let work = bytes.len().saturating_mul(EXPECTED_RATIO);
        let decode = || encoding::decode(coding, limits, &bytes);
        let mut room = Growing::new(REQUEST_TIMES);
        let attempt = self.heavy.work(work, || decode().map(|decoded| fitting(decoded, &mut room, &self.budget))).await?;
        let decoded = match attempt {
            Ok(decoded) => decoded,
            Err(length) => {
                room.grow_exactly(length, &self.budget).await?;
                self.heavy.work(work, decode).await?
            }
        };
        known.held.room(room);
        Ok(Bytes::from(decoded))
    }
}

/// What was decoded, if there is room for it at once; else only how long it is. While it is decoded its turn bounds it, but many that
/// wait for room with what they came to would take the memory that they wait for (T24); to decode it again costs less.
fn fitting(decoded: Vec<u8>, room: &mut Growing, budget: &Budget) -> Result<Vec<u8>, usize> {
    if room.grow_at_once(decoded.len(), budget) { Ok(decoded) } else { Err(decoded.len()) }
}

/// A reply of the database as if it had not been compressed. Identity was asked for, but a cache or a server may not care.
///
/// # Errors
///
/// [`Error::ReplyUnreadable`] for a coding that is not known.
pub(super) fn plain_reply(state: &State, response: Response<PassBody>) -> Result<Response<PassBody>, Error> {
    if !response.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let unknown = |encoding::Unknown| Error::ReplyUnreadable {
        status,
        why: "it has another Content-Encoding than gzip, br or zstd, though identity was asked for".to_owned(),
    };
    let coding = of(response.headers()).map_err(unknown)?;
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_ENCODING);
    let Some(coding) = coding.filter(|_| !body.is_end_stream()) else { return Ok(Response::from_parts(parts, body)) };
    parts.headers.remove(header::CONTENT_LENGTH);
    // A reply may have any length: it is revealed as it comes.
    let limits = Limits { bytes: usize::MAX, ratio: state.limits.decompress_ratio };
    let decoder = Decoder::new(coding, limits)?;
    let body = Decoded { body, decoder, piece: Bytes::new(), more: false, ended: false };
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// What an error of a reply's body means: the database fell silent, broke off, or sent what does not decode.
pub(super) fn reply_error(status: u16, error: BodyError) -> Error {
    match error.downcast::<DecodeError>() {
        Ok(why) => Error::ReplyUnreadable { status, why: format!("it is compressed, though identity was asked for, and {why}") },
        Err(other) => Error::Upstream(UpstreamError::of_body(other)),
    }
}

/// A body that is decoded step by step as it comes, so that a frame is never longer than a step.
struct Decoded {
    body: PassBody,
    decoder: Decoder,
    /// What came and is not decoded yet.
    piece: Bytes,
    /// The decoder has more to give.
    more: bool,
    ended: bool,
}

impl Decoded {
    fn decode(&mut self) -> Result<Bytes, DecodeError> {
        let (mut rest, mut out) = (&self.piece[..], Vec::new());
        self.more = self.decoder.step(&mut rest, &mut out)? == Progress::More;
        let used = self.piece.len() - rest.len();
        self.piece.advance(used);
        Ok(Bytes::from(out))
    }
}

impl Body for Decoded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while !self.ended {
            let outcome = if self.more {
                self.decode().map(Some).map_err(BodyError::from)
            } else {
                match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        // Trailers speak of the bytes that came, and are not forwarded anyway (T10).
                        self.piece = frame.into_data().unwrap_or_default();
                        self.more = !self.piece.is_empty();
                        continue;
                    }
                    Some(Err(error)) => Err(error),
                    None => self.decoder.finish().map(|()| None).map_err(BodyError::from),
                }
            };
            match outcome {
                Ok(Some(bytes)) if bytes.is_empty() => {}
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
