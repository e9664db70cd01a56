//! Questions and writes of a sweep, each whole or not at all.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, header};
use http_body_util::BodyExt as _;

use super::SweepError;
use crate::dialect::Ask;
use crate::field::ProtectedBody;
use crate::upstream::{Outgoing, Upstream, UpstreamError};

/// Most that is held of one answer.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// How long to wait before a question is asked again, and how often.
const PATIENCE: [Duration; 5] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(5), Duration::from_secs(10)];

/// What the database said.
pub(super) enum Answer {
    /// All of it.
    Whole { status: u16, body: Bytes, etag: Option<HeaderValue> },
    /// More than is held.
    TooLarge,
}

pub(super) struct Database {
    upstream: Upstream,
}

/// A plain question for a document.
pub(super) fn get(target: &str) -> Ask {
    let accept = (header::ACCEPT, HeaderValue::from_static("application/json"));
    Ask { method: Method::GET, target: target.to_owned(), set_headers: vec![accept], body: Vec::new() }
}

impl Database {
    pub(super) fn new(upstream: Upstream) -> Self {
        Self { upstream }
    }

    /// Asks until there is an answer that is not a passing failure; a question changes nothing.
    pub(super) async fn ask_patiently<F: FnMut(&str) + ?Sized>(&self, ask: Ask, again: &mut F) -> Result<Answer, UpstreamError> {
        for wait in PATIENCE {
            match self.ask(ask.clone()).await {
                Ok(Answer::Whole { status: status @ (408 | 429 | 500..), .. }) => {
                    again(&format!("the database answers {status}; asking again in {wait:?}"));
                }
                Err(error) => again(&format!("{error}; asking again in {wait:?}")),
                Ok(answer) => return Ok(answer),
            }
            tokio::time::sleep(wait).await;
        }
        self.ask(ask).await
    }

    /// A question without a body.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answer, UpstreamError> {
        let mut parts = parts(ask.method, &ask.target)?;
        parts.headers.extend(ask.set_headers.into_iter().map(|(name, value)| (Some(name), value)));
        self.send(parts, Outgoing::Empty).await
    }

    /// A write, on the condition that nothing has changed. Sent once; where no answer comes the next pass sees what is stored.
    pub(super) async fn write(
        &self,
        method: Method,
        target: &str,
        if_match: Option<HeaderValue>,
        body: ProtectedBody,
    ) -> Result<Answer, UpstreamError> {
        let mut parts = parts(method, target)?;
        parts.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(etag) = if_match {
            parts.headers.insert(header::IF_MATCH, etag);
        }
        self.send(parts, Outgoing::Protected(body)).await
    }

    async fn send(&self, parts: http::request::Parts, body: Outgoing) -> Result<Answer, UpstreamError> {
        let (parts, mut body) = self.upstream.send(parts, body).await?.into_parts();
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| UpstreamError::Broken(error.to_string()))?;
            let Ok(piece) = frame.into_data() else { continue };
            if whole.len() + piece.len() > MAX_ANSWER_BYTES {
                return Ok(Answer::TooLarge);
            }
            whole.extend_from_slice(&piece);
        }
        let etag = parts.headers.get(header::ETAG).cloned();
        Ok(Answer::Whole { status: parts.status.as_u16(), body: whole.freeze(), etag })
    }
}

fn parts(method: Method, target: &str) -> Result<http::request::Parts, UpstreamError> {
    let request = http::Request::builder().method(method).uri(target).body(());
    request.map(|request| request.into_parts().0).map_err(|error| UpstreamError::Endpoint(error.to_string()))
}

/// A status that means what was asked was done.
pub(super) fn check(status: u16, doing: &'static str) -> Result<(), SweepError> {
    let remedy = match status {
        200..=299 => return Ok(()),
        401 | 403 => "it wants an account with the right to it; name one as [upstream] auth",
        404 => "there is no such collection; look at `match` and [upstream] url",
        413 => "it takes no documents of this size; raise its limit",
        _ => "look at its log",
    };
    Err(SweepError::Status { status, doing, remedy })
}
