//! One request, one answer: of the database, or of ours where the exchange failed.
//!
//! Always holds: a panic ends one exchange, not the process; what was refused is recorded. Called by [`super::connection`].

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::ending::Ending;
use super::reply;
use crate::exchange::{Error, Exchange, Failure, Peer, ReplyBody};

type Outcome = Result<Response<ReplyBody>, Box<Failure>>;

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
