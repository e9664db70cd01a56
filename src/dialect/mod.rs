//! How one database's API carries documents, ids, queries and errors. Pure.
//!
//! A dialect puts every request into exactly one [`Shape`]. What it does not know on a protected collection is refused (T5);
//! what is none of its business it lets alone. It looks at the head first ([`Dialect::classify`]) and, once the body has been
//! walked, at what the body says ([`Dialect::judge`]). Texts made here name routes, headers, parameters of fixed lists and
//! members of the configuration, never anything a client sent (T13).
//!
//! To support another database add one file beside `rest.rs` and `couchdb.rs`; nothing else learns its name but `config`.
//! Called by `config`, which makes a dialect, and by `exchange`, which asks it.

pub mod couchdb;
mod head;
mod names;
pub mod rest;
mod target;

use crate::base::{CollectionName, FieldName, Intent};
use crate::document::{BodyFacts, RowSet, Selector};

pub use couchdb::CouchDb;
pub use rest::{Outside, Rest};
pub use target::{MAX_TARGET_BYTES, Target, TargetError, canonical_target};

/// The head of a request, its target already canonical ([`canonical_target`]).
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The method as sent.
    pub method: &'a http::Method,
    /// Starts with `/`, or is `*`.
    pub path: &'a str,
    /// Still escaped.
    pub query: Option<&'a str>,
    /// All headers of the client.
    pub headers: &'a http::HeaderMap,
}

/// One protected collection, as the dialect needs it.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its logical name.
    pub collection: CollectionName,
    /// rest: `/customers/{id}`; couchdb: the database name.
    pub matches: String,
    /// rest only: where documents stand in bodies.
    pub rows: Vec<Selector>,
    /// rest only: selector of the document's id, default `$.id`. couchdb: `$._id`.
    pub id: Selector,
    /// Names by which a query could refer to a protected member: last member names of the selectors and the fields' logical names.
    pub protected_names: Vec<String>,
    /// What is protected, in the order of the collection's fields.
    pub protected: Vec<ProtectedMember>,
    /// The member that says who a document is about, where one does: values may be bound to it.
    pub subject: Option<Selector>,
    /// couchdb: how the functions of its views are trusted.
    pub views: Views,
    /// rest: query parameters allowed; None = any that names no protected member.
    pub query: Option<Vec<String>>,
}

/// A protected member, as a query may name it.
#[derive(Debug, Clone)]
pub struct ProtectedMember {
    /// The field's logical name.
    pub field: FieldName,
    /// Where it stands, relative to a document.
    pub at: Selector,
    /// Equal values are stored equal, so that a database finds them.
    pub equality: bool,
    /// The member that says who the value is about, where the field has one of its own.
    pub subject: Option<Selector>,
}

/// How the functions of a collection's views are trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Views {
    /// Not: each is judged by its text, when it is stored and when it is asked.
    #[default]
    Checked,
    /// The operator has read them all, and lets nobody but trusted people write them.
    Reviewed,
}

/// What a request is.
#[derive(Debug)]
pub enum Shape {
    /// Not a protected collection: streamed both ways untouched.
    Outside,
    /// On a protected collection, but carries no documents: streamed both ways untouched.
    Neutral {
        /// Index into the routes.
        collection: usize,
    },
    /// Carries documents, in or out.
    Documents(Documents),
    /// Goes no further.
    Refused(Refused),
}

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The protected collection it is about, if it is about one.
    pub collection: Option<usize>,
    /// What kind of refusal.
    pub code: RefusedCode,
    /// What was found and what to do instead. Names routes and parameters, never values.
    pub detail: String,
}

/// Kinds of refusal; each has an entry in `docs/errors.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedCode {
    /// 403: a route or a way of using it that is not mapped on a protected collection.
    Route,
    /// 400: a query by a protected member.
    NotSearchable,
    /// 403: a function that the database runs could show what is protected.
    ViewUnsafe,
    /// 400: a request that says two things, or nothing.
    Malformed,
    /// 422: a write that would lose what is stored.
    WouldErase,
    /// 415: a body that is not plain JSON.
    NotJson,
}

impl RefusedCode {
    /// The stable name: an anchor in `docs/errors.md`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route-refused",
            Self::NotSearchable => "not-searchable",
            Self::ViewUnsafe => "view-unsafe",
            Self::Malformed => "malformed-request",
            Self::WouldErase => "would-erase",
            Self::NotJson => "not-json",
        }
    }
}

/// A request that carries documents.
#[derive(Debug)]
pub struct Documents {
    /// Index into the routes.
    pub collection: usize,
    /// Method and route pattern for logs, audit and metrics, e.g. `PUT /{db}/{docid}`; never the raw target.
    pub route: &'static str,
    /// What the head alone says. Where there is a body with documents, [`Dialect::judge`] has the last word.
    pub intent: Intent,
    /// Unescaped document id of the URL: 1 to [`crate::base::limits::MAX_ID_BYTES`] bytes.
    pub url_id: Option<String>,
    /// What the request's body is.
    pub request: RequestBody,
    /// Index into [`Dialect::row_sets`] for the reply.
    pub reply: usize,
    /// Headers to set on the forwarded request (e.g. `Accept: application/json`), in place of the client's.
    pub set_headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The view that is asked, if it must be read and judged first ([`Dialect::judge_view`]).
    pub view: Option<Box<View>>,
    /// What the search means for the reply, once [`Dialect::query`] has said so.
    pub search: Search,
}

/// What a search means for the reply.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Indexes of protected members of which equal values are searched: to find one is to see it.
    pub searched: Vec<usize>,
    /// Row peeks of the reply's row set that the client did not ask for: put in for the proxy, left out of the reply.
    pub strip: Vec<usize>,
}

/// A view that is asked.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name, unescaped.
    pub name: String,
    /// How to read its definition ...
    pub definition: Ask,
    /// ... and a row set without rows to read it by.
    pub row_set: usize,
}

/// A search, with what only `field` can say left open.
#[derive(Debug, Default)]
pub struct Query {
    /// The body to send, in pieces.
    pub pieces: Vec<Piece>,
    /// Indexes of protected members that are asked whether they are there.
    pub presence: Vec<usize>,
    /// What it means for the reply.
    pub search: Search,
}

/// A part of a rewritten body.
#[derive(PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Bytes(Vec<u8>),
    /// The stored forms of values.
    Terms(Terms),
}

/// Values to search for, each to be replaced by every form in which it may be stored.
#[derive(PartialEq, Eq)]
pub struct Terms {
    /// Index of the protected member.
    pub member: usize,
    /// JSON texts of the client; `null` stands for itself.
    pub values: Vec<Vec<u8>>,
    /// What to write around the one form, if there is only one; `None`: a list all the same.
    pub alone: Option<&'static str>,
    /// What to write before and after the list of forms.
    pub list: (&'static str, &'static str),
}

/// Without the texts, which may be clear values (T13).
impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Terms(terms) => write!(f, "Terms({} of member {})", terms.values.len(), terms.member),
        }
    }
}

/// A request of the proxy's own, beside the client's: to read what is stored before a write replaces it, or what a view emits.
#[derive(Debug, Clone)]
pub struct Ask {
    /// How.
    pub method: http::Method,
    /// Path and query, escaped, as [`Head`] has them.
    pub target: String,
    /// Headers to set, in place of the client's.
    pub set_headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// Ids and revisions as JSON, never a document; empty for none.
    pub body: Vec<u8>,
}

/// What the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// The request must have no body.
    None,
    /// JSON without documents (a list of ids), strictly checked and judged, forwarded byte for byte. May be absent.
    Plain {
        /// Index into [`Dialect::row_sets`].
        row_set: usize,
    },
    /// A search, strictly checked and then rewritten by [`Dialect::query`].
    Query {
        /// Index into [`Dialect::row_sets`].
        row_set: usize,
    },
    /// Documents, by this row set.
    Documents {
        /// Index into [`Dialect::row_sets`].
        row_set: usize,
    },
}

/// What one row of a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowIntent {
    /// Never [`Intent::Read`] or [`Intent::PerRow`].
    pub intent: Intent,
    /// The proxy gives it an id, in the member named by [`Dialect::id_member`].
    pub assign_id: bool,
}

/// One database API.
pub trait Dialect: Send + Sync + std::fmt::Debug {
    /// The word used in the configuration.
    fn name(&self) -> &'static str;

    /// The row sets of a collection; [`Documents::reply`] and [`RequestBody`] index them.
    fn row_sets(&self, collection: usize) -> &[RowSet];

    /// Puts a request into one shape by its head. Never panics, whatever the head holds.
    fn classify(&self, head: Head<'_>) -> Shape;

    /// Looks at what the body says, for [`RequestBody::Documents`] and [`RequestBody::Plain`]. `facts.rows` has every row of
    /// the body; the result has one entry for each, in the same order.
    ///
    /// # Errors
    ///
    /// A body that asks for what is not mapped, or says two things.
    fn judge(&self, documents: &Documents, facts: &BodyFacts<'_>) -> Result<Vec<RowIntent>, Refused>;

    /// Rewrites the body of a search, for [`RequestBody::Query`]. The walker has accepted the body.
    ///
    /// # Errors
    ///
    /// A search that cannot find what it means among sealed values, or is not understood.
    fn query(&self, documents: &Documents, _body: &[u8]) -> Result<Query, Refused> {
        Err(head::refused(Some(documents.collection), RefusedCode::Route, "searches are not mapped"))
    }

    /// Judges the definition of the view that a request asks, as it is stored. `None`: there is no such definition. Returns the row
    /// set of the reply.
    ///
    /// # Errors
    ///
    /// A view that could show what is protected.
    fn judge_view(&self, documents: &Documents, _definition: Option<&[u8]>) -> Result<usize, Refused> {
        Err(head::refused(Some(documents.collection), RefusedCode::Route, "views are not mapped"))
    }

    /// Member that [`RowIntent::assign_id`] inserts, e.g. `_id`.
    fn id_member(&self) -> &'static str;

    /// An error of ours in the database's own shape: media type and body. `code` is the anchor in docs/errors.md.
    fn error(&self, status: u16, code: &str, sentence: &str) -> (&'static str, Vec<u8>);
}

#[cfg(test)]
mod fixtures;
