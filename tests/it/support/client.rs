//! Clients.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// The stable code of an error of ours.
    pub(crate) fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        json["type"].as_str().unwrap_or_default().rsplit('#').next().unwrap_or_default().to_owned()
    }

    /// Status and code at once, for asserts that show both.
    pub(crate) fn outcome(&self) -> (u16, String) {
        (self.status.as_u16(), self.code())
    }
}

/// One request on a connection of its own. The error is that of hyper's client: the reply broke off.
pub(crate) async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, hyper::Error> {
    send_on(TcpStream::connect(address).await.unwrap(), method, path, headers, body.into()).await
}

/// As [`send`], to a server that may be dead or die under way: `None` without a whole reply. It must not hang.
pub(crate) async fn try_send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Option<Answer> {
    let asked = async { send_on(TcpStream::connect(address).await.ok()?, method, path, headers, body.into()).await.ok() };
    tokio::time::timeout(Duration::from_secs(30), asked).await.expect("an answer or an end")
}

/// As [`send`], on a connection that is there.
pub(crate) async fn send_on(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Answer, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::task::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "customers.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::new(body)).unwrap()).await?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    driver.abort();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// Writes raw bytes and reads until the other side closes or stays silent for `patience`.
pub(crate) async fn exchange_raw(address: SocketAddr, bytes: &[u8], patience: Duration) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other side may refuse and close before all is written.
    let _written = stream.write_all(bytes).await;
    let mut out = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(Ok(count)) = tokio::time::timeout(patience, stream.read(&mut piece)).await {
        if count == 0 {
            break;
        }
        out.extend_from_slice(&piece[..count]);
    }
    String::from_utf8_lossy(&out).into_owned()
}
