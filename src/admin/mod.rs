//! The operator's listener: health, readiness and metrics. Never the listener that applications use.
//!
//! | path | answer | for |
//! |---|---|---|
//! | `/healthz` | 200 `ok` while the process serves | everybody |
//! | `/readyz` | 200, or 503 with a line for each part that is not ready; JSON where `Accept` asks for it | everybody |
//! | `/metrics` | OpenMetrics text; labels hold configured names and fixed words only | [`Access`] |
//! | `POST /facts`, … | what is recorded of data subjects (`desk`) | callers with `records` |
//!
//! Always holds: it has a thread and a runtime of its own, so it answers while the other one has no time; connections, heads
//! and times are bounded by the constants here. Called by `app`.

mod access;
mod desk;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::base::limits::STACK_BYTES;

pub use access::Access;
pub use desk::{Answer, Desk, Handed};

/// What is read, and never posted to.
const PAGES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// Connections at a time; for one more the longest of them ends.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Header lines of a request.
const MAX_HEADERS: usize = 64;
/// For a whole head, and between two requests.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Longest life of a connection, so that none is held by reading slowly.
const LIFE: Duration = Duration::from_mins(1);
/// What is then left for the reply under way.
const LAST_REPLY: Duration = Duration::from_secs(5);

/// How a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// As it should be.
    Ready,
    /// It works, but somebody should look. The sentence says why.
    Warning(String),
    /// Requests would fail. The sentence says why.
    NotReady(String),
}

/// A part that readiness depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name, one word.
    pub name: &'static str,
    /// How it is.
    pub condition: Condition,
}

impl Part {
    fn keep_to_itself(&mut self) {
        if let Condition::Warning(why) | Condition::NotReady(why) = &mut self.condition {
            why.clear();
        }
    }
}

/// Says how each part is.
pub type Readiness = Arc<dyn Fn() -> futures_core::future::BoxFuture<'static, Vec<Part>> + Send + Sync>;

/// What the pages show.
#[derive(Clone)]
pub struct Pages {
    /// The text of `/metrics`, made anew at each request.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Asked at each `/readyz`.
    pub readiness: Readiness,
    /// Who may see the metrics; replaced on reload.
    pub access: Arc<ArcSwap<Access>>,
    /// Takes what is posted.
    pub desk: Desk,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

/// A socket that listens, not yet on a runtime.
#[derive(Debug)]
pub enum Listener {
    /// TCP; bind it to loopback or a management network.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Serves the pages on a thread of its own until `stop`.
///
/// # Errors
///
/// The system gives no thread or no runtime.
pub fn spawn(listener: Listener, pages: Pages, stop: CancellationToken) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _entered = runtime.enter();
        match listener {
            Listener::Tcp(listener) => Open::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Listener::Unix(listener) => Open::Unix(tokio::net::UnixListener::from_std(listener)?),
        }
    };
    let serve = move || {
        runtime.block_on(serve(listener, pages, stop));
        // Connections still open end with their runtime.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name("admin".to_owned()).stack_size(STACK_BYTES).spawn(serve)?;
    Ok(())
}

enum Open {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream, Option<u32>),
}

impl Open {
    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                Ok(Stream::Unix(stream, uid))
            }
        }
    }
}

async fn serve(listener: Open, pages: Pages, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = tokio_util::task::TaskTracker::new();
    let mut open: VecDeque<oneshot::Sender<()>> = VecDeque::new();
    loop {
        let next = async {
            let accepted = listener.accept().await;
            if slots.available_permits() == 0 {
                // Whoever only keeps connections open must not keep readiness from those who ask.
                open.retain(|leave| !leave.is_closed());
                if let Some(longest) = open.pop_front() {
                    // It may have ended just now, which is as good.
                    let _told = longest.send(());
                }
            }
            (accepted, Arc::clone(&slots).acquire_owned().await)
        };
        let (accepted, slot) = tokio::select! {
            () = stop.cancelled() => return,
            next = next => next,
        };
        if open.len() >= 2 * MAX_CONNECTIONS {
            open.retain(|leave| !leave.is_closed());
        }
        let (leave, leaves) = oneshot::channel();
        open.push_back(leave);
        let pages = pages.clone();
        match accepted {
            Ok(Stream::Tcp(stream)) => drop(connections.spawn(async move {
                connection(TokioIo::new(stream), pages, None, leaves).await;
                drop(slot);
            })),
            Ok(Stream::Unix(stream, uid)) => drop(connections.spawn(async move {
                connection(TokioIo::new(stream), pages, uid, leaves).await;
                drop(slot);
            })),
            Err(error) => {
                tracing::warn!(%error, "an admin connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves a connection for [`LIFE`] at most, or until it `leaves`.
async fn connection<S>(io: S, pages: Pages, uid: Option<u32>, leaves: oneshot::Receiver<()>)
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let pages = pages.clone();
        async move {
            let of_a_page = PAGES.contains(&request.uri().path());
            Ok::<_, Infallible>(if request.method() == Method::POST && !of_a_page {
                desk::answer(&pages.desk, request).await
            } else {
                page(&pages, &request, uid).await
            })
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(io, service);
    let mut served = pin!(served);
    tokio::select! {
        _ended = served.as_mut() => return,
        _told = leaves => {}
        () = tokio::time::sleep(LIFE) => {}
    }
    served.as_mut().graceful_shutdown();
    tokio::time::timeout(LAST_REPLY, served).await.ok();
}

async fn page<B>(pages: &Pages, request: &Request<B>, uid: Option<u32>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => {
            let mut parts = (pages.readiness)().await;
            if !pages.access.load().allows(request.headers(), uid) {
                // A load balancer needs the status only; why is for operators.
                parts.iter_mut().for_each(Part::keep_to_itself);
            }
            let ready = !parts.iter().any(|part| matches!(part.condition, Condition::NotReady(_)));
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            if wants_json(request.headers()) {
                with_type(text(status, as_json(ready, &parts)), "application/json")
            } else {
                text(status, as_lines(ready, &parts))
            }
        }
        "/metrics" if !pages.access.load().allows(request.headers(), uid) => {
            let mut response = text(StatusCode::UNAUTHORIZED, "send Authorization: Bearer SECRET\n".to_owned());
            response.headers_mut().insert(header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
            response
        }
        "/metrics" => {
            with_type(text(StatusCode::OK, (pages.metrics)()), "application/openmetrics-text; version=1.0.0; charset=utf-8")
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "here are /healthz, /readyz and /metrics; POST /facts, /facts/read, /exceptions and /exceptions/read\n".to_owned(),
        ),
    }
}

fn wants_json(headers: &http::HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.split([',', ';']).any(|range| range.trim().eq_ignore_ascii_case("application/json")))
}

/// `ready`, or a line for each part that is not; warnings in either case.
fn as_lines(ready: bool, parts: &[Part]) -> String {
    let mut lines: Vec<String> = ready.then(|| "ready".to_owned()).into_iter().collect();
    lines.extend(parts.iter().filter_map(|part| match &part.condition {
        Condition::Ready => None,
        Condition::NotReady(why) if why.is_empty() => Some(part.name.to_owned()),
        Condition::NotReady(why) => Some(format!("{}: {why}", part.name)),
        Condition::Warning(why) if why.is_empty() => Some(format!("warning: {}", part.name)),
        Condition::Warning(why) => Some(format!("warning: {}: {why}", part.name)),
    }));
    lines.join("\n") + "\n"
}

fn as_json(ready: bool, parts: &[Part]) -> String {
    let parts: serde_json::Map<String, serde_json::Value> = parts
        .iter()
        .map(|part| {
            let value = match &part.condition {
                Condition::Ready => serde_json::json!({ "state": "ready" }),
                Condition::Warning(why) => serde_json::json!({ "state": "warning", "why": why }),
                Condition::NotReady(why) => serde_json::json!({ "state": "not-ready", "why": why }),
            };
            (part.name.to_owned(), value)
        })
        .collect();
    format!("{}\n", serde_json::json!({ "ready": ready, "parts": parts }))
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    with_type(response, "text/plain; charset=utf-8")
}

fn with_type(mut response: Response<Full<Bytes>>, media_type: &'static str) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    response.headers_mut().insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_told_in_lines_and_in_json() {
        let part = |name, condition| Part { name, condition };
        let parts = [
            part("keys", Condition::Ready),
            part("audit", Condition::Warning("5 MiB left".to_owned())),
            part("database", Condition::NotReady("does not accept connections".to_owned())),
        ];
        assert_eq!(as_lines(true, &parts[..2]), "ready\nwarning: audit: 5 MiB left\n");
        assert_eq!(as_lines(false, &parts), "warning: audit: 5 MiB left\ndatabase: does not accept connections\n");
        let json: serde_json::Value = serde_json::from_str(&as_json(false, &parts)).unwrap();
        assert_eq!(json["ready"], false);
        assert_eq!(json["parts"]["keys"]["state"], "ready");
        assert_eq!(json["parts"]["database"]["why"], "does not accept connections");
    }

    #[test]
    fn json_is_for_those_who_ask_for_it() {
        let accepts =
            |value: &'static str| wants_json(&[(header::ACCEPT, http::HeaderValue::from_static(value))].into_iter().collect());
        assert!(accepts("application/json") && accepts("text/html, Application/JSON;q=0.9"));
        assert!(!accepts("*/*") && !accepts("text/plain") && !wants_json(&http::HeaderMap::new()));
    }
}
