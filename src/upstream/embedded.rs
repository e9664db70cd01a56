//! The embedded document store: JSON documents in one redb file behind a small REST API, for people without a database.
//!
//! | request | does |
//! |---|---|
//! | `POST /{collection}` | stores a document under its member `id`: 201 with `Location`, 409 where there is one |
//! | `GET /{collection}?limit=&after=` | the documents in the order of their ids as a JSON array, from after the id `after` |
//! | `GET /{collection}?tier=gold&tier=silver` | those of which a member at the top is one of these texts, or a list that holds one; all are looked at |
//! | `GET /{collection}/{id}` | the document, byte for byte as sent, with a strong `ETag` |
//! | `PUT /{collection}/{id}` | stores in place of what is there: 201 or 200; `If-Match`, `If-None-Match` |
//! | `DELETE /{collection}/{id}` | removes: 204; `If-Match` |
//!
//! Always holds: a write is on disk before it is answered; documents are stored as the bytes that came; ids are strings or
//! canonical integers (T36), and `1` and `"1"` are one id; memory for a list is bounded whatever its length; redb's calls,
//! which block, run on tokio's blocking threads or on the one writer thread, which commits what waits in one go. Errors are
//! RFC 9457 problem details that repeat nothing of the request.
//!
//! The file may be read by another process, or through [`read_raw`], while the store is open.
//!
//! Called by [`super::Upstream`]; [`read_raw`] by the demo and by tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use redb::{ConcurrencyMode, Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use self::target::{Page, Target};
use self::writer::{Change, Done, Expect, Writer};
use super::{Outgoing, PassBody, UpstreamError};
use crate::base::limits::MAX_REQUEST_BODY_BYTES;
use crate::base::{RecordId, encode_segment};
use crate::store::make_whole;

mod list;
mod target;
mod writer;

/// (collection, id) → (revision, document). A revision is never used twice in a file, so it is a strong validator.
const DOCUMENTS: TableDefinition<(&str, &str), (u64, &[u8])> = TableDefinition::new("documents");
/// The last revision given, under the empty name.
const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("counters");

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An open document store. Clones share it; the file is closed with the last one.
#[derive(Debug, Clone)]
pub struct Documents {
    store: Arc<Store>,
}

#[derive(Debug)]
struct Store {
    path: PathBuf,
    database: Arc<Database>,
    writer: Writer,
}

/// A document and its revision.
type Found = (u64, Bytes);

impl Documents {
    /// Opens the store in `path`, or makes one where no file is.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Store`]: no such folder, not a store, or written by another process.
    pub fn open(path: &Path) -> Result<Self, UpstreamError> {
        if !path.exists() {
            // With mode 0600: documents have more than their protected fields, and others than its owner need not read a new file.
            let made = make_whole(path, |fresh| builder().create(fresh).map(drop).map_err(std::io::Error::other));
            made.map_err(|error| UpstreamError::store(path, error))?;
        }
        let database = builder().create(path).map_err(|error| UpstreamError::store(path, error))?;
        let database = Arc::new(database);
        let writer = Writer::start(Arc::clone(&database)).map_err(|error| UpstreamError::store(path, error))?;
        Ok(Self { store: Arc::new(Store { path: path.to_path_buf(), database, writer }) })
    }

    /// The stored bytes of a document. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`UpstreamError::Store`].
    pub fn read_raw(&self, collection: &str, id: &str) -> Result<Option<Bytes>, UpstreamError> {
        Ok(self.store.read(collection, id)?.map(|(_revision, document)| document))
    }

    /// See [`super::Upstream::send`]. The body is read whole, at most [`MAX_REQUEST_BODY_BYTES`].
    pub(super) async fn send(&self, parts: request::Parts, body: Outgoing) -> Result<Response<PassBody>, UpstreamError> {
        match self.answer(&parts, body).await {
            Ok(reply) => Ok(reply),
            Err(Refused::Problem(problem)) => Ok(problem.into_reply()),
            Err(Refused::Upstream(error)) => Err(error),
        }
    }

    /// See [`super::Upstream::reachable`].
    pub(super) fn reachable(&self) -> bool {
        self.store.writer.alive()
    }

    async fn answer(&self, parts: &request::Parts, body: Outgoing) -> Result<Response<PassBody>, Refused> {
        let target = Target::parse(&parts.uri).map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why))?;
        match (&parts.method, target) {
            (_, Target::None) => {
                Err(Problem::new(StatusCode::NOT_FOUND, "documents stand under /{collection} and /{collection}/{id}").into())
            }
            (&Method::GET | &Method::HEAD, Target::Collection { name, page }) => self.list(&parts.method, name, page).await,
            (&Method::POST, Target::Collection { name, .. }) => self.create(name, &parts.headers, body).await,
            (_, Target::Collection { .. }) => Err(Problem::not_allowed("GET, HEAD, POST").into()),
            (&Method::GET | &Method::HEAD, Target::Document { collection, id }) => {
                self.read(&parts.method, collection, id, &parts.headers).await
            }
            (&Method::PUT, Target::Document { collection, id }) => self.replace(collection, id, &parts.headers, body).await,
            (&Method::DELETE, Target::Document { collection, id }) => self.delete(collection, id, &parts.headers).await,
            (_, Target::Document { .. }) => Err(Problem::not_allowed("GET, HEAD, PUT, DELETE").into()),
        }
    }

    async fn list(&self, method: &Method, collection: String, page: Page) -> Result<Response<PassBody>, Refused> {
        let body = if *method == Method::HEAD {
            empty()
        } else {
            self.blocking(move |store| list::body(&store.begin_read()?, store, collection, page)).await?
        };
        let mut reply = Response::new(body);
        reply.headers_mut().insert(header::CONTENT_TYPE, JSON);
        Ok(reply)
    }

    async fn read(
        &self,
        method: &Method,
        collection: String,
        id: String,
        headers: &HeaderMap,
    ) -> Result<Response<PassBody>, Refused> {
        let (revision, document) = self.blocking(move |store| store.read(&collection, &id)).await?.ok_or_else(no_document)?;
        let unchanged = headers.get(header::IF_NONE_MATCH).is_some_and(|given| Expect::parse(given).holds(Some(revision)));
        let mut reply = if unchanged {
            let mut reply = Response::new(empty());
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
            reply
        } else {
            let length = document.len();
            let mut reply = document_reply(StatusCode::OK, if *method == Method::HEAD { Bytes::new() } else { document });
            reply.headers_mut().insert(header::CONTENT_LENGTH, length.into());
            reply
        };
        reply.headers_mut().insert(header::ETAG, etag(revision));
        Ok(reply)
    }

    async fn create(&self, collection: String, headers: &HeaderMap, body: Outgoing) -> Result<Response<PassBody>, Refused> {
        let document = document_of(headers, body).await?;
        let id = id_of(&document)?;
        let location = location(&collection, &id)?;
        let change = Change::Store { collection, id, document: document.clone(), expect: Some(Expect::absent()) };
        match self.store.writer.apply(change).await? {
            Done::Stored { revision, .. } => {
                let mut reply = document_reply(StatusCode::CREATED, document);
                reply.headers_mut().insert(header::LOCATION, location);
                reply.headers_mut().insert(header::ETAG, etag(revision));
                Ok(reply)
            }
            Done::Otherwise { .. } | Done::Removed => {
                Err(Problem::new(StatusCode::CONFLICT, "there is a document with this id; PUT replaces it").into())
            }
        }
    }

    async fn replace(
        &self,
        collection: String,
        id: String,
        headers: &HeaderMap,
        body: Outgoing,
    ) -> Result<Response<PassBody>, Refused> {
        let expect = Expect::of(headers);
        let document = document_of(headers, body).await?;
        if id_of(&document)? != id {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "the member id of the document is not the id in the URL").into());
        }
        let location = location(&collection, &id)?;
        let change = Change::Store { collection, id, document: document.clone(), expect };
        match self.store.writer.apply(change).await? {
            Done::Stored { revision, new } => {
                let mut reply = document_reply(if new { StatusCode::CREATED } else { StatusCode::OK }, document);
                if new {
                    reply.headers_mut().insert(header::LOCATION, location);
                }
                reply.headers_mut().insert(header::ETAG, etag(revision));
                Ok(reply)
            }
            Done::Otherwise { .. } | Done::Removed => Err(precondition_failed()),
        }
    }

    async fn delete(&self, collection: String, id: String, headers: &HeaderMap) -> Result<Response<PassBody>, Refused> {
        match self.store.writer.apply(Change::Remove { collection, id, expect: Expect::of(headers) }).await? {
            Done::Removed => {
                let mut reply = Response::new(empty());
                *reply.status_mut() = StatusCode::NO_CONTENT;
                Ok(reply)
            }
            Done::Otherwise { present: false } => Err(no_document().into()),
            Done::Otherwise { present: true } | Done::Stored { .. } => Err(precondition_failed()),
        }
    }

    async fn blocking<T, F>(&self, work: F) -> Result<T, UpstreamError>
    where
        T: Send + 'static,
        F: FnOnce(&Arc<Store>) -> Result<T, UpstreamError> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let path = store.path.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.map_err(|error| UpstreamError::store(&path, error))?
    }
}

/// The stored bytes of a document, read from the file alone: another handle, with no proxy between. The store may be open
/// in this process or another one. Blocks on the disk.
///
/// # Errors
///
/// [`UpstreamError::Store`], also where the file is missing.
pub fn read_raw(path: &Path, collection: &str, id: &str) -> Result<Option<Bytes>, UpstreamError> {
    let database = builder().open_read_only(path).map_err(|error| UpstreamError::store(path, error))?;
    let transaction = database.begin_read().map_err(|error| UpstreamError::store(path, error))?;
    Ok(find(&transaction, path, collection, id)?.map(|(_revision, document)| document))
}

impl Store {
    fn error(&self, error: impl std::fmt::Display) -> UpstreamError {
        UpstreamError::store(&self.path, error)
    }

    fn begin_read(&self) -> Result<ReadTransaction, UpstreamError> {
        self.database.begin_read().map_err(|error| self.error(error))
    }

    fn read(&self, collection: &str, id: &str) -> Result<Option<Found>, UpstreamError> {
        find(&self.begin_read()?, &self.path, collection, id)
    }
}

/// One writer, and readers beside it in this and other processes.
fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    builder.set_concurrency_mode(ConcurrencyMode::SingleWriter).set_cache_size(64 << 20);
    builder
}

fn find(transaction: &ReadTransaction, path: &Path, collection: &str, id: &str) -> Result<Option<Found>, UpstreamError> {
    let table = match transaction.open_table(DOCUMENTS) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(UpstreamError::store(path, error)),
    };
    let found = ReadableTable::get(&table, (collection, id)).map_err(|error| UpstreamError::store(path, error))?;
    Ok(found.map(|stored| {
        let (revision, document) = stored.value();
        (revision, Bytes::copy_from_slice(document))
    }))
}

/// Why a request is not answered as asked: with a problem, or not at all.
enum Refused {
    Problem(Problem),
    Upstream(UpstreamError),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<UpstreamError> for Refused {
    fn from(error: UpstreamError) -> Self {
        Self::Upstream(error)
    }
}

/// A refusal as RFC 9457 problem details. Fixed words only.
struct Problem {
    status: StatusCode,
    detail: &'static str,
    allow: Option<HeaderValue>,
}

impl Problem {
    fn new(status: StatusCode, detail: &'static str) -> Self {
        Self { status, detail, allow: None }
    }

    fn not_allowed(methods: &'static str) -> Self {
        Self {
            allow: Some(HeaderValue::from_static(methods)),
            ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method; Allow names those that work here")
        }
    }

    fn into_reply(self) -> Response<PassBody> {
        let title = self.status.canonical_reason().unwrap_or_default();
        let body =
            serde_json::json!({ "type": "about:blank", "title": title, "status": self.status.as_u16(), "detail": self.detail });
        let mut reply = Response::new(whole(Bytes::from(body.to_string())));
        *reply.status_mut() = self.status;
        reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(methods) = self.allow {
            reply.headers_mut().insert(header::ALLOW, methods);
        }
        reply
    }
}

fn no_document() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no document with this id")
}

fn precondition_failed() -> Refused {
    Problem::new(StatusCode::PRECONDITION_FAILED, "the document is not the one If-Match or If-None-Match expects; read it again")
        .into()
}

/// The bytes of a JSON object that came as one, uncompressed.
async fn document_of(headers: &HeaderMap, body: Outgoing) -> Result<Bytes, Refused> {
    // A body without a type is taken for what it can only be here.
    let is_json = headers.get(header::CONTENT_TYPE).is_none_or(|value| {
        let media_type = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        media_type.eq_ignore_ascii_case("application/json") || media_type.to_ascii_lowercase().ends_with("+json")
    });
    let is_plain = headers.get(header::CONTENT_ENCODING).is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if !is_json || !is_plain {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a document comes as application/json without Content-Encoding",
        )
        .into());
    }
    let bytes = match body {
        Outgoing::Empty => Bytes::new(),
        Outgoing::Protected(body) => body.into_bytes(),
        Outgoing::Passed(mut body) | Outgoing::Attachment(mut body) => {
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(UpstreamError::RequestBody)?;
                bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
                if bytes.len() > MAX_REQUEST_BODY_BYTES {
                    return Err(too_large());
                }
            }
            bytes.into()
        }
    };
    if bytes.len() > MAX_REQUEST_BODY_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

fn too_large() -> Refused {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "a document has at most 16 MiB").into()
}

/// The id a document carries.
fn id_of(document: &[u8]) -> Result<String, Refused> {
    let bad = |why| Refused::from(Problem::new(StatusCode::BAD_REQUEST, why));
    let value: serde_json::Value = serde_json::from_slice(document).map_err(|_syntax| bad("the body is not JSON"))?;
    let serde_json::Value::Object(members) = value else { return Err(bad("a document is a JSON object")) };
    let id = match members.get("id") {
        Some(serde_json::Value::String(text)) => RecordId::from_text(text),
        Some(serde_json::Value::Number(number)) => RecordId::from_number(&number.to_string()),
        _ => return Err(bad("a document has a member id, a string or an integer")),
    };
    id.map(|id| id.as_str().to_string())
        .map_err(|_why| bad("an id has 1 to 512 bytes; a number is an integer below 2^53 without fraction or exponent"))
}

fn location(collection: &str, id: &str) -> Result<HeaderValue, Refused> {
    let location = format!("/{collection}/{}", encode_segment(id));
    HeaderValue::try_from(location).map_err(|error| UpstreamError::Store(error.to_string()).into())
}

fn etag(revision: u64) -> HeaderValue {
    // Digits and quotes are always a valid value.
    HeaderValue::try_from(format!("\"{revision:016x}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn document_reply(status: StatusCode, document: Bytes) -> Response<PassBody> {
    let mut reply = Response::new(whole(document));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, JSON);
    reply
}

fn whole(bytes: Bytes) -> PassBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn empty() -> PassBody {
    whole(Bytes::new())
}

#[cfg(test)]
mod tests;
