//! Sends requests to the database: pooled HTTP/1.1 over TCP, TLS or a Unix socket, or the embedded document store.
//!
//! Always holds: a request goes out once (T29; the one exception is told at [`Upstream::send`]); nothing of one request
//! stays on a connection for the next (T28); a reply that is cut short or whose length is ambiguous is an error, never a
//! clean end; every wait has a limit. A body for a protected collection is a [`ProtectedBody`], which only `field` makes.
//!
//! Called by `exchange`; `config` makes the [`Config`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

use crate::field::ProtectedBody;
use crate::net::tls::client::Client as Tls;

pub mod circuit;
pub mod embedded;
mod hop;
mod http;

pub use hop::{remove_all, remove_hop_by_hop};

/// A body that passes through untouched, or a reply of the database.
pub type PassBody = UnsyncBoxBody<Bytes, BodyError>;
/// Why a body broke off. A reply's is an [`UpstreamError`].
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Longest wait for a connection, unless configured.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the head of a reply, unless configured.
pub const REPLY_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest silence inside the body of a reply, unless configured.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest silence of a feed, before its head and inside its body, unless configured: twice the time after which CouchDB ends
/// one that asks for no heartbeat.
pub const FEED_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a connection rests in the pool, unless configured: servers on Node.js close theirs after 5 s, and a request
/// that crosses the close is lost.
pub const POOL_IDLE: Duration = Duration::from_millis(3_500);
/// Connections that rest in the pool at most, unless configured.
pub const MAX_IDLE: usize = 256;

/// `[upstream]` as run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which database.
    pub endpoint: Endpoint,
    /// Value of `Authorization` for the database, in place of whatever the caller sent there. Mark it sensitive.
    pub authorization: Option<::http::HeaderValue>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the head of a reply while the database has all it needs.
    pub reply_timeout: Duration,
    /// Longest silence inside the body of a reply.
    pub idle_timeout: Duration,
    /// In place of both: longest silence of a feed. A heartbeat breaks it.
    pub feed_timeout: Duration,
    /// How long a connection rests in the pool.
    pub pool_idle: Duration,
    /// Connections that rest in the pool at most.
    pub max_idle: usize,
    /// Requests under way at most; others wait, no longer than for a connection. `None`: as many as there are.
    pub max_connections: Option<usize>,
    /// When to stop asking a database that is away. `None`: never.
    pub circuit: Option<circuit::Config>,
}

impl Config {
    /// The defaults for an endpoint, without a credential.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            authorization: None,
            connect_timeout: CONNECT_TIMEOUT,
            reply_timeout: REPLY_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            feed_timeout: FEED_TIMEOUT,
            pool_idle: POOL_IDLE,
            max_idle: MAX_IDLE,
            max_connections: None,
            circuit: None,
        }
    }

    /// The files beside the configuration that it was read from.
    pub fn files(&self) -> &[PathBuf] {
        match &self.endpoint {
            Endpoint::Http { tls: Some(tls), .. } => tls.files(),
            Endpoint::Http { tls: None, .. } | Endpoint::Unix(_) | Endpoint::Embedded(_) => &[],
        }
    }
}

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// HTTP over TCP, or over TLS.
    Http {
        /// `host` or `host:port`.
        authority: String,
        /// Put before every path. No trailing slash; usually empty.
        base_path: String,
        /// How connections are secured; `None` for `http://`.
        tls: Option<Tls>,
    },
    /// HTTP over a Unix socket.
    Unix(PathBuf),
    /// The embedded document store in this file.
    Embedded(PathBuf),
}

/// What is sent along.
#[derive(Debug)]
pub enum Outgoing {
    /// No body.
    Empty,
    /// Outside and neutral requests only: streams, with the length the headers tell, else in chunks.
    Passed(PassBody),
    /// An attachment of a protected collection that lets them pass, for a caller that was decided on: streams likewise.
    Attachment(PassBody),
    /// On a protected collection: leaves with its exact length.
    Protected(ProtectedBody),
}

/// How long the database may keep us waiting.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For the head of its reply.
    head: Duration,
    /// For each piece of the body.
    piece: Duration,
    /// Is silence until then a sign that the database is away?
    telling: bool,
}

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Upstream {
    kind: Kind,
    config: Config,
}

#[derive(Debug, Clone)]
enum Kind {
    Http(Arc<http::HttpDatabase>),
    Embedded(embedded::Documents),
}

impl Upstream {
    /// Makes ready to send. No connection is made yet; an embedded store is opened, or created where it is absent.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Endpoint`] for an authority or base path that is none, [`UpstreamError::Store`] where the
    /// embedded store does not open.
    pub fn new(config: &Config) -> Result<Self, UpstreamError> {
        let kind = match &config.endpoint {
            Endpoint::Embedded(path) => Kind::Embedded(embedded::Documents::open(path)?),
            Endpoint::Http { .. } | Endpoint::Unix(_) => Kind::Http(Arc::new(http::HttpDatabase::new(config)?)),
        };
        Ok(Self { kind, config: config.clone() })
    }

    /// The same database, with its open connections, if `config` says the same; else as [`Self::new`]. For a reload.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn or_new(&self, config: &Config) -> Result<Self, UpstreamError> {
        if self.config == *config { Ok(self.clone()) } else { Self::new(config) }
    }

    /// Sends a request and waits for the head of the reply. The reply's hop-by-hop fields and trailers are gone.
    ///
    /// `parts.uri` is origin-form. Hop-by-hop headers are already gone. A GET or HEAD without body is tried once more if
    /// a pooled connection turns out closed before a byte of the reply came; nothing else is ever retried (T29).
    ///
    /// # Errors
    ///
    /// Every variant of [`UpstreamError`] but `Endpoint`. After the head, errors are those of the reply's body.
    pub async fn send(&self, parts: ::http::request::Parts, body: Outgoing) -> Result<::http::Response<PassBody>, UpstreamError> {
        let patience = Patience { head: self.config.reply_timeout, piece: self.config.idle_timeout, telling: true };
        self.send_with(parts, body, patience).await
    }

    /// As [`Self::send`], for a reply that comes piece by piece as things happen, perhaps for days.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub async fn feed(&self, parts: ::http::request::Parts, body: Outgoing) -> Result<::http::Response<PassBody>, UpstreamError> {
        let patience = Patience { head: self.config.feed_timeout, piece: self.config.feed_timeout, telling: false };
        self.send_with(parts, body, patience).await
    }

    async fn send_with(
        &self,
        parts: ::http::request::Parts,
        body: Outgoing,
        patience: Patience,
    ) -> Result<::http::Response<PassBody>, UpstreamError> {
        match &self.kind {
            Kind::Http(database) => database.send(parts, body, patience).await,
            Kind::Embedded(documents) => documents.send(parts, body).await,
        }
    }

    /// Can a connection be made, and would requests be sent? For /readyz.
    ///
    /// # Errors
    ///
    /// Why not.
    pub async fn reachable(&self) -> Result<(), UpstreamError> {
        match &self.kind {
            Kind::Http(database) => database.reachable().await,
            Kind::Embedded(documents) if documents.reachable() => Ok(()),
            Kind::Embedded(_) => Err(UpstreamError::Store("the document store cannot be read".to_owned())),
        }
    }

    /// True while requests are refused because the database failed too often in a row.
    pub fn circuit_open(&self) -> bool {
        match &self.kind {
            Kind::Http(database) => database.circuit_open(),
            Kind::Embedded(_) => false,
        }
    }

    /// The embedded store, where that is the database.
    pub fn documents(&self) -> Option<&embedded::Documents> {
        match &self.kind {
            Kind::Http(_) => None,
            Kind::Embedded(documents) => Some(documents),
        }
    }
}

/// Why there is no reply, or why one broke off. Never holds anything of a request or a reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// Where, and what the operating system says.
    #[error("the database at {0} does not accept connections: {1}")]
    Connect(String, String),
    /// Where, and why one side does not trust the other.
    #[error("no TLS connection to the database at {0}: {1}")]
    Tls(String, String),
    /// It failed too often in a row, and is asked again after this time. Nothing was sent.
    #[error("the database failed too often in a row; it is asked again in {0:?}")]
    CircuitOpen(Duration),
    /// As many requests as it may be asked at once were under way for this long. Nothing was sent.
    #[error("as many requests to the database as [upstream] max_connections allows were under way for {0:?}")]
    Busy(Duration),
    /// The wait it exceeded.
    #[error("the database did not answer within {0:?}")]
    Timeout(Duration),
    /// How.
    #[error("the database broke off its reply: {0}")]
    Broken(String),
    /// The body that was being passed on broke off: the caller's doing, not the database's. The source is that body's error.
    #[error("the caller broke off the body of the request")]
    RequestBody(#[source] BodyError),
    /// What of the endpoint cannot be used.
    #[error("[upstream] url: {0}")]
    Endpoint(String),
    /// What the embedded store says.
    #[error("{0}")]
    Store(String),
}

impl UpstreamError {
    /// What the error of a reply's body says: a database that falls silent is told from one that breaks off.
    pub(crate) fn of_body(error: BodyError) -> Self {
        error.downcast().map_or_else(|other| Self::Broken(other.to_string()), |ours| *ours)
    }

    fn store(path: &Path, error: impl std::fmt::Display) -> Self {
        Self::Store(format!("the document store {}: {error}", path.display()))
    }
}
