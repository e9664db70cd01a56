//! Where applications and consent platforms hand in what they know of data subjects: `POST` with JSON, answered in JSON.
//!
//! Always holds: a body is bounded in size and time before anybody looks at it. What it says is for `app` to judge.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::{text, with_type};

/// Largest body, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Longest time for a body to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// By which a caller is known here.
const CREDENTIAL: &str = "sudare-credential";

/// What was handed in.
#[derive(Clone)]
pub struct Handed {
    /// Where: `/facts`.
    pub path: String,
    /// Every value of `Sudare-Credential`.
    pub credentials: Vec<Vec<u8>>,
    /// The body.
    pub body: Bytes,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub json: serde_json::Value,
}

/// Takes what is handed in.
pub type Desk = Arc<dyn Fn(Handed) -> BoxFuture<'static, Answer> + Send + Sync>;

/// Answers a `POST`.
pub(super) async fn answer(desk: &Desk, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let credentials = parts.headers.get_all(CREDENTIAL).iter().map(|value| value.as_bytes().to_vec()).collect();
    let whole = tokio::time::timeout(BODY_WITHIN, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    let body = match whole {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return text(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("a body may have at most {MAX_BODY_BYTES} bytes: send it in parts\n"),
            );
        }
        Ok(Err(_broken)) => return text(StatusCode::BAD_REQUEST, "the body broke off\n".to_owned()),
        Err(_elapsed) => return text(StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {BODY_WITHIN:?}\n")),
    };
    let Answer { status, json } = desk(Handed { path: parts.uri.path().to_owned(), credentials, body }).await;
    with_type(text(status, format!("{json}\n")), "application/json")
}

/// Without the bytes (T13).
impl std::fmt::Debug for Handed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handed").field("path", &self.path).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}
