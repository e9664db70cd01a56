//! How one database's API carries documents, ids, queries and errors. Pure.
//!
//! A dialect puts every request into exactly one [`Shape`]; what it does not know on a protected collection is refused (T5).
//! INTERFACE SKETCH. To come: target.rs (canonical targets, T31), rest.rs, couchdb.rs

use crate::base::Intent;
use crate::document::{BodyFacts, RowSet, Selector};

/// The head of a request, target already canonical.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> { pub method: &'a http::Method, pub path: &'a str, pub query: Option<&'a str>, pub headers: &'a http::HeaderMap }

/// One protected collection, as the dialect needs it.
#[derive(Debug, Clone)]
pub struct Route {
    pub collection: crate::base::CollectionName,
    /// rest: `/customers/{id}`; couchdb: the database name.
    pub matches: String,
    /// rest only: where documents stand in bodies.
    pub rows: Vec<Selector>,
    /// rest only: selector of the document's id, default `$.id`. couchdb: `$._id`.
    pub id: Selector,
    /// Names by which a query could refer to a protected member: last member names of the selectors and the fields' logical names.
    pub protected_names: Vec<String>,
    /// rest: query parameters allowed; None = any that names no protected member.
    pub query: Option<Vec<String>>,
}

/// What a request is.
#[derive(Debug)]
pub enum Shape {
    /// Not a protected collection: streamed both ways untouched.
    Outside,
    /// On a protected collection, but carries no documents: streamed both ways untouched. `collection` indexes the routes.
    Neutral { collection: usize },
    /// Carries documents, in or out.
    Documents(Documents),
    Refused(Refused),
}
/// 403 `route-refused`, 400 `not-searchable`, … ; `detail` names routes and parameters, never values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused { pub collection: Option<usize>, pub code: RefusedCode, pub detail: String }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedCode { /** 403 */ Route, /** 400 */ NotSearchable, /** 400 */ Malformed, /** 422 */ WouldErase, /** 415 */ NotJson }

#[derive(Debug)]
pub struct Documents {
    pub collection: usize,
    /// Method and route pattern for logs, audit and metrics, e.g. `PUT /{db}/{docid}`; never the raw target.
    pub route: &'static str,
    pub intent: Intent,
    /// Unescaped document id of the URL.
    pub url_id: Option<String>,
    pub request: RequestBody,
    /// Index into [`Dialect::row_sets`] for the reply.
    pub reply: usize,
    /// Headers to set on the forwarded request (e.g. `Accept: application/json`).
    pub set_headers: Vec<(http::HeaderName, http::HeaderValue)>,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// The request must have no body.
    None,
    /// JSON without documents (a list of keys), strictly checked, forwarded byte for byte. May be absent.
    Plain { row_set: usize },
    /// Documents, by this row set.
    Documents { row_set: usize },
}

/// What one row of a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowIntent { pub intent: Intent, /** The proxy gives it an id (member name in [`Dialect::id_member`]). */ pub assign_id: bool }

/// One database API.
pub trait Dialect: Send + Sync + std::fmt::Debug {
    fn name(&self) -> &'static str;
    /// The row sets of a collection; [`Documents::reply`] and [`RequestBody`] index them.
    fn row_sets(&self, collection: usize) -> &[RowSet];
    fn classify(&self, head: Head<'_>) -> Shape;
    /// Looks at what the body says; one intent per row. `facts.rows` has every row of the body.
    fn judge(&self, documents: &Documents, facts: &BodyFacts<'_>) -> Result<Vec<RowIntent>, Refused>;
    /// Member that [`RowIntent::assign_id`] inserts, e.g. `_id`.
    fn id_member(&self) -> &'static str;
    /// An error of ours in the database's own shape: media type and body. `code` is the anchor in docs/errors.md.
    fn error(&self, status: u16, code: &str, sentence: &str) -> (&'static str, Vec<u8>);
}
// pub fn canonical_target(uri: &http::Uri) -> Result<(&str path, Option<&str> query), TargetError>     T31
// rest::Rest::new(routes, outside: Outside::{Pass,Refuse}) -> Result<Rest, Vec<(usize, String)>>; couchdb::CouchDb::new(routes)
