//! Asks small questions over `https://`, or over `http://` on this machine: the key sets of token issuers ([`Document`]), and the
//! services that hold keys ([`Service`], for `keys`).
//!
//! Always holds: the server is verified (T21); redirects are not followed, and for a document nothing but 200 is an answer; time and
//! size have an end. A connection of its own each time: such questions are asked every few minutes.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::tls::client::Client;
use super::{Address, Connector};

/// Why there is no document. `Display` is for the operator, and holds nothing that the server sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No connection, or it broke off.
    #[error("no connection to its server: {0}")]
    Connect(io::Error),
    /// The server could not be verified.
    #[error("TLS with its server failed: {0}")]
    Tls(io::Error),
    /// Longer than allowed.
    #[error("its server did not answer within {0:?}")]
    Timeout(Duration),
    /// Something other than 200.
    #[error("its server answered {}", .0.as_u16())]
    Status(StatusCode),
    /// More than allowed.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// Not HTTP, or broken off.
    #[error("its server broke off, or does not speak HTTP/1.1")]
    Broken,
}

impl FetchError {
    /// A fixed word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge(_) => "too-large",
            Self::Broken => "broken",
        }
    }
}

/// A document, and how its server is reached and verified.
#[derive(Clone)]
pub struct Document {
    service: Service,
    path: String,
}

impl Document {
    /// The document at `url`, of which the host is there. `tls`: how its server is verified, for `https://`.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL.
    pub fn new(url: &Uri, tls: Option<Client>, timeout: Duration) -> Result<Self, &'static str> {
        let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok(Self { service: Service::new(url, tls, timeout)?, path })
    }

    /// Fetches it, at most `max` bytes.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn fetch(&self, max: usize) -> Result<Bytes, FetchError> {
        let request = Request::get(&self.path)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Bytes::new())
            .map_err(|_invalid| FetchError::Broken)?;
        let reply = self.service.ask(request, Statuses::OnlyOk, max).await?;
        Ok(reply.body)
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = &self.service.authority;
        f.debug_struct("Document").field("authority", authority).field("path", &self.path).finish_non_exhaustive()
    }
}

/// Which replies are worth reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statuses {
    /// Nothing but 200; anything else is [`FetchError::Status`], and its body is not read.
    OnlyOk,
    /// All of them: what the service says of an error matters to who asks.
    All,
}

/// What a service answered.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its head.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
}

/// A service that is asked small questions, and how it is reached and verified.
#[derive(Clone)]
pub struct Service {
    connector: Connector,
    tls: Option<Client>,
    authority: String,
    timeout: Duration,
}

impl Service {
    /// The service at `url`, of which the host is there and the path is not looked at. `tls`: how its server is verified, for
    /// `https://`.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL.
    pub fn new(url: &Uri, tls: Option<Client>, timeout: Duration) -> Result<Self, &'static str> {
        let authority = url.authority().ok_or("it has no host")?;
        let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self {
            connector: Connector::new(Address::Tcp(format!("{}:{port}", authority.host())), timeout),
            tls,
            authority: authority.to_string(),
            timeout,
        })
    }

    /// The service that listens at an address of this machine, in clear.
    pub fn nearby(address: Address, timeout: Duration) -> Self {
        Self { connector: Connector::new(address, timeout), tls: None, authority: "localhost".to_owned(), timeout }
    }

    /// The value of `Host` in its requests.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The files that its server is verified by.
    pub fn files(&self) -> &[std::path::PathBuf] {
        self.tls.as_ref().map(Client::files).unwrap_or_default()
    }

    /// Sends a request, which has its path as target, and reads the reply of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn ask(&self, request: Request<Bytes>, statuses: Statuses, max: usize) -> Result<Reply, FetchError> {
        let asked = self.connected(request, statuses, max);
        tokio::time::timeout(self.timeout, asked).await.map_err(|_elapsed| FetchError::Timeout(self.timeout))?
    }

    async fn connected(&self, request: Request<Bytes>, statuses: Statuses, max: usize) -> Result<Reply, FetchError> {
        let stream = self.connector.connect().await.map_err(FetchError::Connect)?;
        match &self.tls {
            None => self.over(stream, request, statuses, max).await,
            // Refusals are told in rustls' words: those of `secure` speak of the table of the database.
            Some(tls) => self.over(tls.handshake(stream).await.map_err(FetchError::Tls)?, request, statuses, max).await,
        }
    }

    async fn over<S>(&self, stream: S, request: Request<Bytes>, statuses: Statuses, max: usize) -> Result<Reply, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |_may_quote| FetchError::Broken;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let (mut head, body) = request.into_parts();
        let authority = HeaderValue::from_str(&self.authority).map_err(|_invalid| FetchError::Broken)?;
        head.headers.insert(header::HOST, authority);
        head.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let request = Request::from_parts(head, Full::new(body));
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            if statuses == Statuses::OnlyOk && response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let (head, mut body) = response.into_parts();
            let mut whole = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let piece = frame.map_err(broken)?.into_data().unwrap_or_default();
                if whole.len() + piece.len() > max {
                    return Err(FetchError::TooLarge(max));
                }
                whole.extend_from_slice(&piece);
            }
            Ok(Reply { status: head.status, headers: head.headers, body: whole.freeze() })
        };
        // Once the connection has ended, what came over it may still be read.
        let driven = async {
            let _ended = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = answer => answer,
            () = driven => Err(FetchError::Broken),
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("authority", &self.authority).finish_non_exhaustive()
    }
}
