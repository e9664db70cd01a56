//! One request, one answer: of the database, or of ours where the exchange failed.
//!
//! Always holds: a panic ends one exchange, not the process; what was refused is recorded. Called by [`super::connection`].

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Collected};
use hyper::body::Incoming;

use super::ending::Ending;
use super::reply;
use crate::exchange::{Error, Exchange, Failure, Peer, ReplyBody};

type Outcome = Result<Response<ReplyBody>, Box<Failure>>;

/// The head and the body of the answer to a request that was not read, for there is no memory for it; over HTTP/1.1, as the last one on
/// its connection.
pub(super) async fn full(exchange: &Exchange) -> (Vec<u8>, Bytes) {
    let failure = exchange.full();
    let problem = reply::problem(&failure.error);
    exchange.shed(&failure.error, &failure.context, problem.status.as_u16(), problem.code);
    let (parts, body) = reply::response(&exchange.state(), &problem).into_parts();
    // It is ours and whole.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).into_bytes();
    for (name, value) in &parts.headers {
        head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    head.extend(format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()).into_bytes());
    (head, body)
}

/// One request, one answer; also after a panic.
pub(super) async fn answer(exchange: Arc<Exchange>, request: Request<Incoming>, peer: Peer) -> Response<ReplyBody> {
    // HTTP/2 ends the stream, not the connection.
    let body_follows = request.version() < Version::HTTP_2 && !request.body().is_end_stream();
    let mut handled: Pin<Box<dyn Future<Output = Outcome> + Send>> =
        Box::pin(Arc::clone(&exchange).handle(request.map(Ending::new), peer));
    let outcome = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| handled.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(outcome)) => Poll::Ready(outcome),
        Err(_panic) => Poll::Ready(Err(Box::new(Failure::panicked()))),
    })
    .await;
    let failure = match outcome {
        Ok(response) => return response,
        Err(failure) => failure,
    };
    let problem = reply::problem(&failure.error);
    let (status, code) = (problem.status.as_u16(), problem.code);
    if failure.error.is_shed() {
        exchange.shed(&failure.error, &failure.context, status, code);
    } else {
        if problem.status.is_server_error() || matches!(failure.error, Error::Internal(_)) {
            tracing::error!(exchange = %failure.context.number(), code, error = %failure.error, "an exchange failed");
        }
        exchange.refused(&failure.context, status, code, problem.alarm).await;
    }
    let mut response = reply::response(&exchange.state(), &problem);
    if body_follows && failure.error.may_leave_body_unread() {
        // Told, so that the client does not send its next request behind what nobody reads.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    exchange.stamp(&failure.context, &mut response);
    response
}
