//! Requests of the proxy's own to the database, beside the client's: what is stored, what a view emits.
//!
//! They go out with the client's headers (and so with its right at the database), less what belongs to the client's own
//! request. The answer is read whole and stays inside: nothing of it is shown but through `field`.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::admission::Growing;
use super::{Error, Exchange, State, encoding};
use crate::dialect::Ask;
use crate::document::{self, Rules};
use crate::field::{Plan, ProtectedBody};
use crate::upstream::{Outgoing, UpstreamError};

/// An answer of n bytes takes up to so many times n, with what was found in it.
const ANSWER_COPIES: usize = 2;

/// What the database said.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// As stored: sealed values, and whatever is not protected.
    pub(super) body: Bytes,
    /// For the body.
    pub(super) room: Growing,
}

/// Headers that speak of the client's own request only.
static NOT_FOR_ASKS: [header::HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_UNMODIFIED_SINCE,
    header::ACCEPT,
];

impl Exchange {
    /// Asks and reads the whole answer, at most `max` bytes. `headers` are those of the client's request, prepared for the
    /// database; `nothing` is a plan without rows, by which the body of the question is checked.
    pub(super) async fn ask(
        &self,
        state: &State,
        headers: &HeaderMap,
        nothing: &Plan,
        ask: Ask,
        max: usize,
    ) -> Result<Answer, Error> {
        let uri = ask.target.parse().map_err(|_invalid| Error::Internal("a question with a target that is none"))?;
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = ask.method;
        parts.uri = uri;
        parts.headers = headers.clone();
        for name in &NOT_FOR_ASKS {
            parts.headers.remove(name);
        }
        parts.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in ask.set_headers {
            parts.headers.insert(name, value);
        }
        let outgoing = if ask.body.is_empty() {
            Outgoing::Empty
        } else {
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let bytes = Bytes::from(ask.body);
            let layout = document::walk(&nothing.map, Rules::request(), &bytes).map_err(Error::RequestJson)?;
            Outgoing::Protected(ProtectedBody::without_documents(nothing, &bytes, &layout)?)
        };
        let response = self.forward(state, parts, outgoing).await?;
        let (parts, mut body) = encoding::plain_reply(state, response)?.into_parts();
        let unreadable = |why: &str| Error::ReplyUnreadable { status: parts.status.as_u16(), why: why.to_owned() };
        let deadline = tokio::time::Instant::now() + state.limits.total_timeout;
        let mut whole = BytesMut::new();
        let mut room = Growing::new(ANSWER_COPIES);
        loop {
            let Ok(frame) = tokio::time::timeout_at(deadline, body.frame()).await else {
                return Err(Error::Upstream(UpstreamError::Timeout(state.limits.total_timeout)));
            };
            match frame {
                None => break,
                Some(Err(error)) => return Err(encoding::reply_error(parts.status.as_u16(), error)),
                Some(Ok(frame)) => {
                    let piece = frame.into_data().unwrap_or_default();
                    if whole.len() + piece.len() > max {
                        return Err(unreadable("it is larger than what may be read at once"));
                    }
                    room.grow(whole.len() + piece.len(), &self.budget).await?;
                    whole.extend_from_slice(&piece);
                    if body.is_end_stream() {
                        break;
                    }
                }
            }
        }
        Ok(Answer { status: parts.status, headers: parts.headers, body: whole.freeze(), room })
    }
}
