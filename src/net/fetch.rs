//! Fetches one small document over `https://`, or over `http://` on this machine: the key sets of token issuers.
//!
//! Always holds: the server is verified (T21); nothing but 200 is an answer, redirects are not followed; time and size have an
//! end. A connection of its own each time: documents like these are asked for every few minutes.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
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
    connector: Connector,
    tls: Option<Client>,
    authority: String,
    path: String,
    timeout: Duration,
}

impl Document {
    /// The document at `url`, of which the host is there. `tls`: how its server is verified, for `https://`.
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
            path: url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
            timeout,
        })
    }

    /// Fetches it, at most `max` bytes.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn fetch(&self, max: usize) -> Result<Bytes, FetchError> {
        tokio::time::timeout(self.timeout, self.connected(max)).await.map_err(|_elapsed| FetchError::Timeout(self.timeout))?
    }

    async fn connected(&self, max: usize) -> Result<Bytes, FetchError> {
        let stream = self.connector.connect().await.map_err(FetchError::Connect)?;
        match &self.tls {
            None => self.ask(stream, max).await,
            // Refusals are told in rustls' words: those of `secure` speak of the table of the database.
            Some(tls) => self.ask(tls.handshake(stream).await.map_err(FetchError::Tls)?, max).await,
        }
    }

    async fn ask<S>(&self, stream: S, max: usize) -> Result<Bytes, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |_may_quote| FetchError::Broken;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = Request::get(&self.path)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|_invalid| FetchError::Broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let (mut body, mut whole) = (response.into_body(), BytesMut::new());
            while let Some(frame) = body.frame().await {
                let piece = frame.map_err(broken)?.into_data().unwrap_or_default();
                if whole.len() + piece.len() > max {
                    return Err(FetchError::TooLarge(max));
                }
                whole.extend_from_slice(&piece);
            }
            Ok(whole.freeze())
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

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("authority", &self.authority).field("path", &self.path).finish_non_exhaustive()
    }
}
