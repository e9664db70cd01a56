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
pub mod sweep;
mod target;

use crate::base::{CollectionName, Condition, FieldName, Intent, PatchFormat};
use crate::document::{BodyFacts, Framing, RowSet, Selector};

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
    /// couchdb only: what becomes of attachments.
    pub attachments: Attachments,
    /// rest: by what the database tells one state of a document from the next; None = it cannot.
    pub revision: Option<Revision>,
    /// rest: how a search for several terms is written.
    pub terms: TermSpelling,
}

/// How a search for one of several terms is written in a query, `email_ix` being the index member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TermSpelling {
    /// `email_ix=a&email_ix=b`
    #[default]
    Repeat,
    /// `email_ix=a,b`
    Comma,
    /// `email_ix=in.(a,b)`; of a list `email_ix=ov.{a,b}`. Clients write `email=eq.VALUE`.
    PostgRest,
    /// `in_email_ix=a,b`; of a list `contains_any_email_ix=["a","b"]`.
    Kinto,
}

/// What becomes of the attachments of documents, which are never protected (T40).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attachments {
    /// None is stored or served.
    #[default]
    Refuse,
    /// They pass as they are, for callers with a purpose.
    Pass,
}

/// By what a database tells one state of a document from the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// A strong `ETag`, and `If-Match` (RFC 9110 section 13.1.1).
    Etag,
    /// A member of the document, which the database compares when the document is replaced.
    Member(Selector),
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
    /// Members with terms by which its values are found; the first is meant where a search names the member itself.
    pub indexes: Vec<MemberIndex>,
}

/// A member that holds search terms.
#[derive(Debug, Clone)]
pub struct MemberIndex {
    /// Its name, at the top of a document.
    pub member: String,
    /// The name by which clients search.
    pub param: String,
    /// The configuration gives it that name, so that it also names the index where members are named by their paths.
    pub named: bool,
    /// It holds a list of terms.
    pub list: bool,
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
    /// Carries one attachment of a document, in or out, as it is.
    Attachment(Attachment),
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
#[derive(Debug, Clone)]
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
    /// How the reply comes.
    pub flow: Flow,
    /// It reads or writes whole copies, revisions included, as replication does: only for callers that see every protected
    /// member clear, or every one sealed. Any other copy would lack what its reader may not see and, written back, erase it.
    pub needs_whole_view: bool,
    /// The view that is asked, if it must be read and judged first ([`Dialect::judge_view`]).
    pub view: Option<Box<View>>,
    /// What the search means for the reply, once [`Dialect::query`] has said so.
    pub search: Search,
    /// A search in the query of the target, which is sent in place of the client's.
    pub lookup: Option<Box<Query>>,
}

impl Documents {
    /// May it turn out to search by a protected member? Only such a request is kept, to be asked again.
    pub fn may_search(&self) -> bool {
        self.lookup.is_some() || self.view.is_some() || matches!(self.request, RequestBody::Query { .. })
    }
}

/// How a reply comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// As one JSON text, as fast as the database can.
    Whole,
    /// Row by row as things happen, perhaps for days, kept alive by what means nothing in this framing.
    Feed(Framing),
}

/// A request about one attachment.
#[derive(Debug)]
pub struct Attachment {
    /// Index into the routes.
    pub collection: usize,
    /// Method and route pattern; never the raw target.
    pub route: &'static str,
    /// Read, or Replace for what stores or removes it.
    pub intent: Intent,
    /// Unescaped id of its document.
    pub document: String,
}

/// What a search means for the reply.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Indexes of protected members of which equal values are searched: to find one is to see it.
    pub searched: Vec<usize>,
    /// Row peeks of the reply's row set that the client did not ask for: put in for the proxy, left out of the reply.
    pub strip: Vec<usize>,
    /// Protected members that it did not ask for: put in to be compared, left out.
    pub strip_members: Vec<usize>,
    /// What must hold of the terms for a row to be what was searched; terms are numbered as they come in [`Query::pieces`], those of
    /// deterministic members not counted. `None`: no search by an index.
    pub condition: Option<Condition>,
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
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// The body to send, in pieces.
    pub pieces: Vec<Piece>,
    /// Indexes of protected members that are asked whether they are there.
    pub presence: Vec<usize>,
    /// What it means for the reply.
    pub search: Search,
}

/// A part of a rewritten body.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Bytes(Vec<u8>),
    /// The stored forms of values.
    Terms(Terms),
}

/// Values to search for, each to be replaced by every form in which it may be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Terms {
    /// Index of the protected member.
    pub member: usize,
    /// By which of its indexes it is searched; `None`: by itself, as equal values are stored equal.
    pub index: Option<usize>,
    /// JSON texts of the client; `null` stands for itself.
    pub values: Vec<Vec<u8>>,
    /// How a form is written.
    pub quote: Quote,
    /// What to write around the one form, if there is only one; `None`: a list all the same.
    pub alone: Option<&'static str>,
    /// What to write before and after the list of forms.
    pub list: (&'static str, &'static str),
}

/// How the stored forms of values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quote {
    /// As JSON, with commas between them.
    Json,
    /// As they are, for a query, with this between them.
    Bare {
        /// For instance `,`.
        between: String,
    },
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

/// How the documents that a write replaces are read first.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Index into the routes.
    pub collection: usize,
    /// The question.
    pub ask: Ask,
    /// Index into [`Dialect::row_sets`]: where documents stand in the answer ...
    pub row_set: usize,
    /// ... and in the question, which has none.
    pub no_rows: usize,
    /// The documents asked for.
    pub wanted: Vec<Wanted>,
    /// What keeps another write from coming in between.
    pub guard: Guard,
}

/// A document that a row of a write builds on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Index of the row in the write.
    pub row: usize,
    /// The document's id.
    pub id: String,
    /// The state it builds on, as the dialect writes it; None: whatever is stored.
    pub revision: Option<String>,
}

/// What keeps another write from coming in between a reading and a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The database compares the revision that the write itself names.
    Revision,
    /// The proxy sends the `ETag` of what it read back as `If-Match`.
    Etag,
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
    /// A change of the document in the URL, written down as a patch; a document in it stands by this row set.
    Patch {
        /// Index into [`Dialect::row_sets`].
        row_set: usize,
        /// How it is written down.
        format: PatchFormat,
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
    /// It is a copy with the revision it has elsewhere, which the database stores beside whatever is there: nothing may be carried
    /// over into it, and its writer must have seen the document whole ([`Documents::needs_whole_view`]).
    pub made_elsewhere: bool,
    /// It stores what acts on the documents of others: a design document, an index.
    pub defines: bool,
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

    /// Ids of the documents that a body without documents ([`RequestBody::Plain`]) removes, for the record. `body` has been judged.
    fn removed(&self, _documents: &Documents, _body: &[u8]) -> Vec<String> {
        Vec::new()
    }

    /// How to read what `rows` of a write replace, where that must be known to judge them. `facts` are those of the write, its head is
    /// prepared for the database.
    ///
    /// # Errors
    ///
    /// [`RefusedCode::WouldErase`] where it cannot be read, or not so that another write cannot come in between; says the remedy.
    fn reading(&self, documents: &Documents, head: Head<'_>, facts: &BodyFacts<'_>, rows: &[usize]) -> Result<Reading, Refused>;

    /// Which document of the answer is each one [`Reading::wanted`]; None: the database has no such state any more.
    fn answers(&self, reading: &Reading, answer: &BodyFacts<'_>) -> Vec<Option<usize>>;

    /// What a reply that tells how each row of a write went says of one whose document has changed meanwhile; None where a reply tells
    /// of the whole write only.
    fn conflict(&self, documents: &Documents, id: &str) -> Option<Vec<u8>>;

    /// How upkeep goes through a whole collection; `None` where it has no path of its own to be listed at.
    fn sweep(&self, collection: usize) -> Option<Box<dyn sweep::Sweep>>;

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

    /// The search that a request for a view is, whose definition was judged and whose keys are terms; `query` is that of the target, in whose
    /// place it is sent. `None` of every other view.
    ///
    /// # Errors
    ///
    /// A request that could not be answered without showing terms.
    fn view_lookup(
        &self,
        _documents: &Documents,
        _definition: Option<&[u8]>,
        _query: Option<&str>,
    ) -> Result<Option<Query>, Refused> {
        Ok(None)
    }

    /// Member that [`RowIntent::assign_id`] inserts, e.g. `_id`.
    fn id_member(&self) -> &'static str;

    /// An error of ours in the database's own shape: media type and body. `code` is the anchor in docs/errors.md.
    fn error(&self, status: u16, code: &str, sentence: &str) -> (&'static str, Vec<u8>);
}

#[cfg(test)]
mod fixtures;
