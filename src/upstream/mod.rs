//! Sends requests to the database: pooled HTTP/1.1 over TCP or a Unix socket, or the embedded document store.
//!
//! INTERFACE SKETCH. To come: http.rs, embedded.rs (redb)

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

use crate::field::ProtectedBody;

/// A body that passes through untouched, or a reply of the database.
pub type PassBody = UnsyncBoxBody<Bytes, BodyError>;
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Clone)]
pub struct Config { pub endpoint: Endpoint, /** Value of `Authorization` for the database. */ pub authorization: Option<http::HeaderValue>, pub connect_timeout: Duration, pub reply_timeout: Duration, pub idle_timeout: Duration, pub pool_idle: Duration, pub max_idle: usize }
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint { Http { authority: String, /** no trailing slash; usually empty */ base_path: String }, Unix(PathBuf), Embedded(PathBuf) }

/// What is sent along.
#[derive(Debug)]
pub enum Outgoing { Empty, /** Outside and neutral requests only. */ Passed(PassBody), /** On a protected collection. */ Protected(ProtectedBody) }

#[derive(Debug, Clone)]
pub struct Upstream { /* … */ }
impl Upstream {
    pub fn new(_config: &Config) -> Result<Self, UpstreamError> { todo!() }
    /// `parts.uri` is origin-form. Hop-by-hop headers are already gone. A GET or HEAD without body is tried once more if a pooled connection
    /// turns out closed before a byte of the reply came; nothing else is ever retried (T29).
    pub async fn send(&self, _parts: http::request::Parts, _body: Outgoing) -> Result<http::Response<PassBody>, UpstreamError> { todo!() }
    /// Can a connection be made? For /readyz.
    pub async fn reachable(&self) -> bool { todo!() }
}
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    #[error("the database at {0} does not accept connections: {1}")] Connect(String, String),
    #[error("the database did not answer within {0:?}")] Timeout(Duration),
    #[error("the database broke off its reply: {0}")] Broken(String),
    #[error("{0}")] Store(String),
}
