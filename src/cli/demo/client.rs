//! The demo's applications: plain HTTP over a real socket, one connection a request.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// The body as JSON; `Null` if it is not JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The stable code of an error of Sudare's, or an empty text.
    pub(super) fn code(&self) -> String {
        let kind = self.json().get("type").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
        kind.rsplit('#').next().unwrap_or_default().to_owned()
    }

    /// The sentence of an error of Sudare's, or an empty text.
    pub(super) fn detail(&self) -> String {
        self.json().get("detail").and_then(|detail| detail.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Who asks, for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct As<'a> {
    pub(super) credential: Option<&'a str>,
    pub(super) purpose: Option<&'a str>,
}

/// Asks the proxy at `address`.
pub(super) async fn ask(
    address: std::net::SocketAddr,
    who: As<'_>,
    method: Method,
    path: &str,
    body: Option<&str>,
) -> Result<Answer, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("cannot connect to {address}: {error}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, address.to_string());
    if let Some(credential) = who.credential {
        request = request.header("sudare-credential", credential);
    }
    if let Some(purpose) = who.purpose {
        request = request.header("data-purpose", purpose);
    }
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let request = request
        .body(Full::new(Bytes::copy_from_slice(body.unwrap_or_default().as_bytes())))
        .map_err(|error| error.to_string())?;
    let mut exchange = std::pin::pin!(async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    });
    tokio::select! {
        answer = &mut exchange => answer,
        // What came before the end is still there to be taken: an answer that came with `Connection: close`, or none.
        _ended = connection => exchange.await,
    }
}
