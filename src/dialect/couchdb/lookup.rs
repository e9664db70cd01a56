//! The routes of searches, indexes, design documents and views of a protected database. Parent: `couchdb.rs`.
//!
//! What a search or a function may do is judged by [`super::query`] and [`super::design`]; here stands which request is which.

use http::Method;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::design::Emits;
use super::tables::{ALL_DOCS, DELETED, DOCUMENT_DELETE, DOCUMENT_READ, DOCUMENT_WRITE, LIST, NOTHING};
use super::{
    CouchDb, Database, Documents, Inside, Refused, RefusedCode, RequestBody, RowFacts, RowIntent, Shape, Views, refused, tables,
};
use crate::base::{Condition, Intent, RecordId};
use crate::dialect::head::parameters;
use crate::dialect::{Ask, Piece, Query, Quote, Search, Terms, View};
use crate::document::unescape;

/// Row sets that follow those of the tables: documents that a search found ...
pub(super) const FOUND: usize = tables::ROW_SETS.len();
/// ... rows of a view that may hold documents as values ...
pub(super) const VIEW: usize = FOUND + 1;
/// ... and bodies without documents: a search ...
pub(super) const SEARCH: usize = FOUND + 2;
/// ... an index ...
pub(super) const INDEX: usize = FOUND + 3;
/// ... names of indexes ...
pub(super) const INDEX_DROP: usize = FOUND + 4;
/// ... a design document ...
pub(super) const DESIGN: usize = FOUND + 5;
/// ... keys and options of a view ...
pub(super) const VIEW_KEYS: usize = FOUND + 6;
/// ... and several such.
pub(super) const LOOKUPS: usize = FOUND + 7;
/// Rows of a view whose keys are terms, each with its document ...
pub(super) const BY_TERM: usize = FOUND + 8;
/// ... below this.
pub(super) const BY_TERM_BELOW: &str = "$.doc";

/// Rows, row peeks and body peeks of each. The peeks of [`FOUND`] depend on the database.
pub(super) const ROW_SETS: &[(&[&str], &[&str], &[&str])] = &[
    (&["$.docs[*]"], &[], &[]),
    (&["$.rows[*].doc", "$.rows[*].value", "$.results[*].rows[*].doc", "$.results[*].rows[*].value"], &[], &[]),
    (&[], &[], &[]),
    (&[], &[], &[]),
    (&[], &[], &[]),
    (&[], &[], &[]),
    (&[], &[], &[]),
    (&[], &[], &[]),
    (&["$.rows[*]"], &["$.key"], &[]),
];

/// Parameters of a view whose keys are terms, besides `key` and `keys`: nothing that orders, groups or leaves out what is compared.
const OF_TERMS: &[&str] = &["include_docs", "reduce", "limit", "skip", "update", "stable", "stale", "_nonce"];
/// Most keys that such a view is asked for at once.
const MAX_KEYS: usize = 30;

/// Parameters of a view besides those of `_all_docs`.
const OF_VIEWS: &[&str] = &["reduce", "group", "group_level"];

impl Inside<'_> {
    /// `_find` and `_explain`
    pub(super) fn find(&self, route: &'static str, reply: usize) -> Result<Shape, Refused> {
        if self.head.method != Method::POST {
            return Err(self.not_mapped("_find and _explain", "POST"));
        }
        self.check_parameters(&["_nonce"])?;
        self.documents(route, Intent::Read, None, RequestBody::Query { row_set: SEARCH }, reply)
    }

    /// `_index` and below
    pub(super) fn index(&self, rest: &[&str]) -> Result<Shape, Refused> {
        self.check_parameters(&["_nonce"])?;
        match (self.head.method, rest) {
            (&Method::GET, []) => self.documents("GET /{db}/_index", Intent::Read, None, RequestBody::None, NOTHING),
            (&Method::POST, []) => {
                self.documents("POST /{db}/_index", Intent::Create, None, RequestBody::Plain { row_set: INDEX }, NOTHING)
            }
            (&Method::POST, ["_bulk_delete"]) => {
                let request = RequestBody::Plain { row_set: INDEX_DROP };
                self.documents("POST /{db}/_index/_bulk_delete", Intent::Delete, None, request, NOTHING)
            }
            (&Method::DELETE, [_, "json", _] | ["_design", _, "json", _]) => {
                self.documents("DELETE /{db}/_index/{ddoc}/json/{name}", Intent::Delete, None, RequestBody::None, NOTHING)
            }
            _ => {
                let detail = "of indexes GET and POST /{db}/_index, POST /{db}/_index/_bulk_delete and DELETE /{db}/_index/{ddoc}/json/{name} are mapped";
                Err(self.refuse(RefusedCode::Route, detail.into()))
            }
        }
    }

    /// `_design_docs`
    pub(super) fn design_documents(&self) -> Result<Shape, Refused> {
        let (route, request) = match *self.head.method {
            Method::GET => ("GET /{db}/_design_docs", RequestBody::None),
            Method::HEAD => ("HEAD /{db}/_design_docs", RequestBody::None),
            Method::POST => ("POST /{db}/_design_docs", RequestBody::Plain { row_set: tables::OPTIONS }),
            _ => return Err(self.not_mapped("_design_docs", "GET, HEAD, POST")),
        };
        self.check_parameters(ALL_DOCS)?;
        self.documents(route, Intent::Read, None, request, LIST)
    }

    /// Several lists in one request.
    pub(super) fn lookups(&self, route: &'static str) -> Result<Shape, Refused> {
        if self.head.method != Method::POST {
            return Err(self.not_mapped("queries", "POST"));
        }
        self.check_parameters(ALL_DOCS)?;
        self.documents(route, Intent::Read, None, RequestBody::Plain { row_set: LOOKUPS }, LIST)
    }

    /// `_design/{name}` and below
    pub(super) fn design(&self, name: &str, rest: &[&str]) -> Result<Shape, Refused> {
        let id = format!("_design/{name}");
        if name.is_empty() || self.head.path.split('/').skip(2).any(|segment| segment.contains('+')) {
            let detail = "the name of a design document is empty, or the path holds a plus sign, which CouchDB reads as a space and others do not; write %2B or %20";
            return Err(self.refuse(RefusedCode::Malformed, detail.into()));
        }
        RecordId::from_text(&id).map_err(|error| self.refuse(RefusedCode::Malformed, format!("the id in the path: {error}")))?;
        match (self.head.method, rest) {
            (method, []) => self.design_document(method, id),
            (&Method::GET, ["_info"]) => {
                self.check_parameters(&["_nonce"])?;
                self.documents("GET /{db}/_design/{ddoc}/_info", Intent::Read, None, RequestBody::None, NOTHING)
            }
            (&Method::GET, ["_view", view]) => self.view("GET /{db}/_design/{ddoc}/_view/{view}", RequestBody::None, view, 2),
            (&Method::HEAD, ["_view", view]) => self.view("HEAD /{db}/_design/{ddoc}/_view/{view}", RequestBody::None, view, 2),
            (&Method::POST, ["_view", view]) => {
                self.view("POST /{db}/_design/{ddoc}/_view/{view}", RequestBody::Plain { row_set: VIEW_KEYS }, view, 2)
            }
            (&Method::POST, ["_view", view, "queries"]) => {
                self.view("POST /{db}/_design/{ddoc}/_view/{view}/queries", RequestBody::Plain { row_set: LOOKUPS }, view, 3)
            }
            _ => {
                let detail = "of a design document itself GET, HEAD, PUT and DELETE are mapped, below it _info and _view; functions that answer or write (_show, _list, _update, _rewrite), text searches and attachments are not";
                Err(self.refuse(RefusedCode::Route, detail.into()))
            }
        }
    }

    fn design_document(&self, method: &Method, id: String) -> Result<Shape, Refused> {
        let (route, intent, parameters) = match *method {
            Method::GET => ("GET /{db}/_design/{ddoc}", Intent::Read, DOCUMENT_READ),
            Method::HEAD => ("HEAD /{db}/_design/{ddoc}", Intent::Read, DOCUMENT_READ),
            Method::PUT => ("PUT /{db}/_design/{ddoc}", Intent::Create, DOCUMENT_WRITE),
            Method::DELETE => ("DELETE /{db}/_design/{ddoc}", Intent::Delete, DOCUMENT_DELETE),
            _ => return Err(self.not_mapped("a design document", "GET, HEAD, PUT, DELETE")),
        };
        self.check_parameters(parameters)?;
        let (id, request) =
            if *method == Method::PUT { (Some(id), RequestBody::Plain { row_set: DESIGN }) } else { (None, RequestBody::None) };
        self.documents(route, intent, id, request, NOTHING)
    }

    /// `_view/{view}`, whose definition stands `up` segments above.
    fn view(&self, route: &'static str, request: RequestBody, view: &str, up: usize) -> Result<Shape, Refused> {
        let parameters: Vec<&str> = ALL_DOCS.iter().chain(OF_VIEWS).copied().collect();
        self.check_parameters(&parameters)?;
        let shape = self.documents(route, Intent::Read, None, request, VIEW)?;
        let Shape::Documents(mut documents) = shape else { return Ok(shape) };
        if self.database.views == Views::Checked {
            let segments: Vec<&str> = self.head.path.split('/').collect();
            let target = segments.get(..segments.len().saturating_sub(up)).unwrap_or_default().join("/");
            let definition = Ask { method: Method::GET, target, set_headers: Vec::new(), body: Vec::new() };
            documents.view = Some(Box::new(View { name: view.to_owned(), definition, row_set: DESIGN }));
        }
        Ok(Shape::Documents(documents))
    }
}

impl CouchDb {
    pub(super) fn database(&self, documents: &Documents) -> Result<&Database, Refused> {
        let at = documents.collection;
        self.databases.get(at).ok_or_else(|| refused(Some(at), RefusedCode::Route, "there is no such database"))
    }

    /// A body without documents that belongs to a search, an index, a design document or a view.
    pub(super) fn judge_lookup(&self, documents: &Documents, row_set: usize, body: &[u8]) -> Result<(), Refused> {
        let database = self.database(documents)?;
        let judged = match row_set {
            INDEX => database.searches.index(body),
            INDEX_DROP => is_list_of_ids(body),
            DESIGN => object(body).and_then(|design| database.judge_design(&design, documents.url_id.as_deref())),
            VIEW_KEYS => object(body).and_then(|options| are_options(&options)),
            LOOKUPS => are_lookups(body),
            _ => Err((RefusedCode::Route, "this route takes no body".to_owned())),
        };
        judged.map_err(|(code, detail)| refused(Some(documents.collection), code, detail))
    }

    /// A design document among the documents of a write; `None` if the row is none. It holds nothing protected, so nothing of what it
    /// replaces is missed.
    pub(super) fn judge_design_row(&self, documents: &Documents, row: &RowFacts<'_>) -> Option<Result<RowIntent, Refused>> {
        if documents.url_id.is_some() {
            return None;
        }
        let id = row.id.and_then(unescape).filter(|id| id.starts_with("_design/"))?;
        let deletes = row.peeks.iter().any(|(peek, text)| *peek == DELETED && *text == b"true");
        if deletes {
            return Some(Ok(RowIntent { intent: Intent::Delete, assign_id: false, made_elsewhere: false, defines: true }));
        }
        let judged = object(row.whole).and_then(|design| {
            self.database(documents).map_err(|refused| (refused.code, refused.detail))?.judge_design(&design, Some(&id))
        });
        let intent =
            judged.map(|()| RowIntent { intent: Intent::Create, assign_id: false, made_elsewhere: false, defines: true });
        Some(intent.map_err(|(code, detail)| refused(Some(documents.collection), code, detail)))
    }

    pub(super) fn judge_stored_view(&self, documents: &Documents, definition: Option<&[u8]>) -> Result<usize, Refused> {
        let (Some(view), Some(definition)) = (&documents.view, definition) else { return Ok(VIEW) };
        let guarded = &self.database(documents)?.guarded;
        let emits =
            object(definition).and_then(|design| guarded.stored_view(&design, &view.name).map_err(|why| view_unsafe(&why)));
        match emits {
            Ok(Emits::Plain) => Ok(LIST),
            Ok(Emits::Documents) => Ok(VIEW),
            Ok(Emits::Terms(_)) => Ok(BY_TERM),
            Err((code, detail)) => Err(refused(Some(documents.collection), code, detail)),
        }
    }
}

impl CouchDb {
    /// The search that a request for a view is, whose keys are terms: `?key="mei@example.org"&include_docs=true`.
    pub(super) fn search_of_view(
        &self,
        documents: &Documents,
        definition: Option<&[u8]>,
        query: Option<&str>,
    ) -> Result<Option<Query>, Refused> {
        let (Some(view), Some(definition)) = (&documents.view, definition) else { return Ok(None) };
        let database = self.database(documents)?;
        let emits = object(definition).ok().and_then(|design| database.guarded.stored_view(&design, &view.name).ok());
        let Some(Emits::Terms(by)) = emits else { return Ok(None) };
        by_term(by, documents.route, query).map(Some).map_err(|detail| {
            refused(Some(documents.collection), RefusedCode::NotSearchable, format!("the keys of this view are terms: {detail}"))
        })
    }
}

fn by_term(by: (usize, usize), route: &str, query: Option<&str>) -> Result<Query, String> {
    if !route.starts_with("GET ") || route.ends_with("/queries") {
        return Err("ask for it with GET".to_owned());
    }
    let parameters = parameters(query);
    let text = query.unwrap_or_default();
    if text.contains(';') {
        return Err("write & between parameters, not ;".to_owned());
    }
    let (mut pieces, mut values, mut with_documents) = (String::new(), None, false);
    for (piece, parameter) in text.split('&').filter(|piece| !piece.is_empty()).zip(&parameters) {
        match (parameter.name.as_str(), parameter.value.as_str()) {
            (name @ ("key" | "keys"), value) if values.is_none() => {
                let list = if name == "key" { format!("[{value}]") } else { value.to_owned() };
                let list: Vec<&RawValue> = serde_json::from_str(&list).map_err(|_other| "key and keys are JSON".to_owned())?;
                if piece.contains('+') && list.iter().any(|value| value.get().starts_with("\" ")) {
                    return Err("a value begins with +, which is read as a space in a query; write %2B".to_owned());
                }
                values = Some(list.iter().map(|value| value.get().as_bytes().to_vec()).collect::<Vec<_>>());
            }
            ("include_docs", "true") => with_documents = true,
            ("reduce", "false") => {}
            (name, _) if OF_TERMS.contains(&name) && !matches!(name, "include_docs" | "reduce") => {
                pieces.push_str(piece);
                pieces.push('&');
            }
            _ => {
                return Err(
                    "besides one key or keys it takes include_docs=true, reduce=false, limit, skip, update and stable only"
                        .to_owned(),
                );
            }
        }
    }
    let values = values.filter(|values| (1..=MAX_KEYS).contains(&values.len()));
    let values = values.ok_or_else(|| format!("ask for 1 to {MAX_KEYS} values with key or keys"))?;
    if !with_documents {
        return Err("add include_docs=true: what is found is compared with what was searched".to_owned());
    }
    let terms = Terms {
        member: by.0,
        index: Some(by.1),
        values,
        quote: Quote::Bare { between: "%22,%22".to_owned() },
        alone: None,
        list: ("", "%22%5D"),
    };
    let head = format!("{pieces}include_docs=true&reduce=false&keys=%5B%22");
    let search = Search { searched: vec![by.0], strip: vec![0], strip_members: Vec::new(), condition: Some(Condition::Term(0)) };
    Ok(Query { pieces: vec![Piece::Bytes(head.into_bytes()), Piece::Terms(terms)], presence: Vec::new(), search })
}

type Judged = Result<(), (RefusedCode, String)>;

impl Database {
    fn judge_design(&self, design: &Map<String, Value>, id: Option<&str>) -> Judged {
        let malformed = |detail: &str| Err((RefusedCode::Malformed, detail.to_owned()));
        if design.get("_id").is_some_and(|given| given.as_str() != id) {
            return malformed("the _id in the body is not the id in the path; databases disagree on which one counts");
        }
        if design.get("_deleted").is_some_and(|deleted| *deleted != Value::Bool(false)) {
            return malformed("a design document is deleted with DELETE");
        }
        if design.get("_attachments").is_some_and(|attachments| !attachments.as_object().is_some_and(Map::is_empty)) {
            return Err((
                RefusedCode::Route,
                "attachments of design documents are not mapped; serve them from elsewhere".to_owned(),
            ));
        }
        self.guarded.design(design, self.views, |index| self.searches.index_definition(index)).map_err(|why| view_unsafe(&why))
    }
}

fn view_unsafe(why: &str) -> (RefusedCode, String) {
    let remedy = "write it otherwise, or have it read and set views = \"reviewed\" for the collection";
    (RefusedCode::ViewUnsafe, format!("{why}; {remedy}"))
}

fn object(body: &[u8]) -> Result<Map<String, Value>, (RefusedCode, String)> {
    serde_json::from_slice(body).map_err(|_other| (RefusedCode::Malformed, "the body must be an object".to_owned()))
}

fn is_list_of_ids(body: &[u8]) -> Judged {
    let ids = object(body)?;
    let only_ids = |ids: &Value| ids.as_array().is_some_and(|ids| ids.iter().all(Value::is_string));
    match ids.iter().next() {
        Some((name, list)) if ids.len() == 1 && name == "docids" && only_ids(list) => Ok(()),
        _ => Err((RefusedCode::Malformed, "the body must be {\"docids\": [...]}".to_owned())),
    }
}

/// Options of a view or a list, and nothing else. Keys may be anything: they are compared with what is not protected.
fn are_options(options: &Map<String, Value>) -> Judged {
    for (name, value) in options {
        let known = ALL_DOCS.contains(&name.as_str()) || OF_VIEWS.contains(&name.as_str());
        let fits = match name.as_str() {
            "keys" => value.is_array(),
            "attachments" | "att_encoding_info" => *value == Value::Bool(false),
            _ => known,
        };
        if !fits {
            let detail = "the body may hold only keys and options of this route, without attachments; leave everything else out";
            return Err((RefusedCode::Route, detail.to_owned()));
        }
    }
    Ok(())
}

fn are_lookups(body: &[u8]) -> Judged {
    let body = object(body)?;
    let malformed = || (RefusedCode::Malformed, "the body must be {\"queries\": [{...}, ...]}".to_owned());
    let queries = body.get("queries").filter(|_| body.len() == 1).and_then(Value::as_array).ok_or_else(malformed)?;
    queries.iter().try_for_each(|query| are_options(query.as_object().ok_or_else(malformed)?))
}

#[cfg(test)]
mod tests;
