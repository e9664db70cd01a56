//! Takes connections and serves HTTP/1.1 on them until told to drain.
//!
//! Always holds: at most `connections` at a time; a head, a body and an unread reply each have a time limit; a panic
//! ends one exchange, not the process; nothing of one request stays on the connection for the next.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{reply, wire};
use crate::exchange::{Error, Exchange, Failure, PassBody, Peer};
use crate::metrics::Metrics;

/// Bounds on connections and heads.
#[derive(Debug, Clone)]
pub struct Config {
    /// Connections open at a time; more wait in the system's queue.
    pub connections: usize,
    /// Largest head, in bytes.
    pub header_bytes: usize,
    /// Most header lines.
    pub headers: usize,
    /// Longest time a head may take to arrive, from its first byte.
    pub header_timeout: Duration,
    /// Longest time a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Counts connections and refusals on the wire.
    pub metrics: Arc<Metrics>,
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket; the peer's user id is known.
    Unix(UnixListener),
}

/// Accepts until `drain`; then lets the exchanges under way finish. Connections run on `tasks`.
pub async fn serve(listener: Listener, exchange: Arc<Exchange>, config: Config, drain: CancellationToken, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(config.connections));
    loop {
        let slot = tokio::select! {
            () = drain.cancelled() => return,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return };
        let accepted = tokio::select! {
            () = drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Usually no file descriptor is free: those in use must end first, so hammering does not help.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (exchange, config, drain) = (Arc::clone(&exchange), config.clone(), drain.clone());
        tasks.spawn(async move {
            match stream {
                Stream::Tcp(stream) => connection(stream, peer, exchange, config, drain).await,
                Stream::Unix(stream) => connection(stream, peer, exchange, config, drain).await,
            }
            drop(slot);
        });
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Listener {
    async fn accept(&self) -> std::io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Peer::default()))
            }
            Self::Unix(listener) => {
                let (stream, _address) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                Ok((Stream::Unix(stream), Peer { uid: Some(uid) }))
            }
        }
    }
}

async fn connection<S>(stream: S, peer: Peer, exchange: Arc<Exchange>, config: Config, drain: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = Arc::clone(&config.metrics);
    let _counted = metrics.connected();
    let limits = wire::Limits { head_bytes: config.header_bytes, headers: config.headers };
    let guard = wire::Guard::new(stream, limits)
        .head_within(config.header_timeout)
        .observed_by(Arc::new(move |reason| metrics.wire_refused(reason.code())));
    let service = service_fn(move |request: Request<Incoming>| {
        let exchange = Arc::clone(&exchange);
        async move { Ok::<_, Infallible>(answer(exchange, request, peer).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // The guard hands over whole heads, so for hyper the wait for a head is the time between requests.
        .header_read_timeout(config.idle_timeout.max(config.header_timeout))
        .max_headers(config.headers)
        .max_buf_size(config.header_bytes.max(8192))
        .serve_connection(TokioIo::new(guard), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = drain.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        // Peers break off all the time; the reason never holds payload.
        tracing::debug!(%error, "a connection ended early");
    }
}

type Outcome = Result<Response<PassBody>, Box<Failure>>;

/// One request, one answer; also after a panic.
async fn answer(exchange: Arc<Exchange>, request: Request<Incoming>, peer: Peer) -> Response<PassBody> {
    let request = request.map(|body| body.map_err(|error| Box::new(error).into()).boxed_unsync());
    let mut handled: Pin<Box<dyn Future<Output = Outcome> + Send>> = Box::pin(Arc::clone(&exchange).handle(request, peer));
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
    let (exchange_number, code) = (failure.context.exchange, problem.code);
    if problem.status.is_server_error() || matches!(failure.error, Error::Internal(_)) {
        tracing::error!(exchange = exchange_number, code, error = %failure.error, "an exchange failed");
    } else {
        tracing::info!(exchange = exchange_number, code, "an exchange was refused");
    }
    exchange.refused(&failure.context, problem.status.as_u16(), problem.code, problem.alarm).await;
    reply::response(&exchange.state(), &problem)
}
