//! A request inside a protected database: which route it is, and whether it may be asked that way. Parent: `couchdb.rs`.
//!
//! Routes of one kind stand in files of their own beside this one (`attachment`, `feed`, `lookup`, `replicate`); `tables.rs` has
//! the parameters each takes.

use http::{HeaderName, HeaderValue, Method};

use super::tables::{
    ABOUT_ATTACHMENTS, ALL_DOCS, BULK, BULK_GET, DOCUMENT, DOCUMENT_DELETE, DOCUMENT_POST, DOCUMENT_READ, DOCUMENT_WRITE,
    FETCHED, LIMITED, LIST, NEUTRAL, NOTHING, ONE, OPTIONS, REFUSED,
};
use super::{Attachments, Database};
use crate::base::{Intent, RecordId};
use crate::dialect::head::{self, Parameter, Untyped, refused};
use crate::dialect::{Documents, Flow, Head, Refused, RefusedCode, RequestBody, Search, Shape};

/// A request inside a protected database.
pub(super) struct Inside<'a> {
    pub(super) at: usize,
    pub(super) database: &'a Database,
    pub(super) head: Head<'a>,
    pub(super) parameters: Vec<Parameter>,
}

impl Inside<'_> {
    pub(super) fn refuse(&self, code: RefusedCode, detail: String) -> Refused {
        refused(Some(self.at), code, detail)
    }

    pub(super) fn not_mapped(&self, what: &str, methods: &str) -> Refused {
        self.refuse(
            RefusedCode::Route,
            format!("this method is not mapped on {what} of a protected database; {methods} and OPTIONS are"),
        )
    }

    /// `/{db}`
    pub(super) fn database(&self) -> Result<Shape, Refused> {
        match *self.head.method {
            Method::GET | Method::HEAD | Method::PUT => Ok(Shape::Neutral { collection: self.at }),
            Method::DELETE => self.documents("DELETE /{db}", Intent::Delete, None, RequestBody::None, NOTHING),
            Method::POST => {
                self.check_parameters(DOCUMENT_POST)?;
                self.documents("POST /{db}", Intent::Create, None, RequestBody::Documents { row_set: DOCUMENT }, NOTHING)
            }
            _ => Err(self.not_mapped("the root", "GET, HEAD, PUT, POST, DELETE")),
        }
    }

    /// `/{db}/{docid}`
    pub(super) fn document(&self, id: &str) -> Result<Shape, Refused> {
        if self.head.path.split('/').nth(2).unwrap_or_default().contains('+') {
            let detail =
                "the id in the path holds a plus sign, which CouchDB reads as a space and others do not; write %2B or %20";
            return Err(self.refuse(RefusedCode::Malformed, detail.into()));
        }
        RecordId::from_text(id).map_err(|error| self.refuse(RefusedCode::Malformed, format!("the id in the path: {error}")))?;
        let id = Some(id.to_string());
        match *self.head.method {
            Method::GET if self.parameter("open_revs").is_some() => self.open_revisions(id),
            Method::GET => {
                self.check_parameters(DOCUMENT_READ)?;
                self.documents("GET /{db}/{docid}", Intent::Read, id, RequestBody::None, ONE)
            }
            Method::HEAD => {
                self.check_parameters(DOCUMENT_READ)?;
                self.documents("HEAD /{db}/{docid}", Intent::Read, id, RequestBody::None, ONE)
            }
            Method::PUT => {
                self.check_parameters(DOCUMENT_WRITE)?;
                let made_elsewhere = self.is_true_or_false("new_edits")? == Some(false);
                let rev = self.parameter("rev").is_some() || self.head.headers.contains_key(http::header::IF_MATCH);
                let intent = if rev || made_elsewhere { Intent::Replace } else { Intent::Create };
                let request = RequestBody::Documents { row_set: DOCUMENT };
                let documents = self.carrying("PUT /{db}/{docid}", intent, id, request, NOTHING)?;
                Ok(Shape::Documents(Documents { needs_whole_view: made_elsewhere, ..documents }))
            }
            Method::DELETE => {
                self.check_parameters(DOCUMENT_DELETE)?;
                self.documents("DELETE /{db}/{docid}", Intent::Delete, id, RequestBody::None, NOTHING)
            }
            _ if self.head.method.as_str() == "COPY" => {
                let detail = "COPY is not mapped: a copy's values would be bound to the document they came from; read the document and PUT it under the new id";
                Err(self.refuse(RefusedCode::Route, detail.into()))
            }
            _ => Err(self.not_mapped("a document", "GET, HEAD, PUT, DELETE")),
        }
    }

    pub(super) fn all_docs(&self) -> Result<Shape, Refused> {
        let (route, request) = match *self.head.method {
            Method::GET => ("GET /{db}/_all_docs", RequestBody::None),
            Method::HEAD => ("HEAD /{db}/_all_docs", RequestBody::None),
            Method::POST => ("POST /{db}/_all_docs", RequestBody::Plain { row_set: OPTIONS }),
            _ => return Err(self.not_mapped("_all_docs", "GET, HEAD, POST")),
        };
        self.check_parameters(ALL_DOCS)?;
        self.documents(route, Intent::Read, None, request, LIST)
    }

    pub(super) fn bulk_docs(&self) -> Result<Shape, Refused> {
        if self.head.method != Method::POST {
            return Err(self.not_mapped("_bulk_docs", "POST"));
        }
        self.check_parameters(&["new_edits"])?;
        if self.is_true_or_false("new_edits")? == Some(false) {
            let detail =
                "new_edits=false in the query of _bulk_docs is read by some servers and not by others; write it in the body";
            return Err(self.refuse(RefusedCode::Route, detail.into()));
        }
        self.documents("POST /{db}/_bulk_docs", Intent::PerRow, None, RequestBody::Documents { row_set: BULK }, NOTHING)
    }

    pub(super) fn bulk_get(&self) -> Result<Shape, Refused> {
        if self.head.method != Method::POST {
            return Err(self.not_mapped("_bulk_get", "POST"));
        }
        self.check_parameters(BULK_GET)?;
        let request = RequestBody::Plain { row_set: OPTIONS };
        let documents = self.carrying("POST /{db}/_bulk_get", Intent::Read, None, request, FETCHED)?;
        // With their history the documents are read to be stored elsewhere.
        let needs_whole_view = self.is_true_or_false("revs")? == Some(true);
        Ok(Shape::Documents(Documents { needs_whole_view, ..documents }))
    }

    /// Routes of the database that start with an underscore and carry no documents we know.
    pub(super) fn special(&self, name: &str, rest: &[&str]) -> Result<Shape, Refused> {
        let methods = NEUTRAL.iter().find(|(neutral, _)| *neutral == name).map(|(_, methods)| *methods);
        // `_compact/{design}` and `_shards/{docid}` go one deeper.
        let deep_enough = rest.is_empty() || (rest.len() == 1 && matches!(name, "_compact" | "_shards"));
        if deep_enough && methods.is_some_and(|methods| methods.contains(self.head.method)) {
            return Ok(Shape::Neutral { collection: self.at });
        }
        // `_design%2Fx` is `_design/x`.
        let first = name.split('/').next().unwrap_or_default();
        let detail = match (REFUSED.iter().find(|(refused, _)| *refused == first), methods) {
            (Some((known, why)), _) => format!("/{{db}}/{known}: {why}"),
            (None, Some(_)) => format!("/{{db}}/{first}: this method is not mapped on a protected database"),
            (None, None) => {
                "this route is not known on a protected database; use documents, _all_docs, _bulk_docs, _bulk_get or _changes"
                    .into()
            }
        };
        Err(self.refuse(RefusedCode::Route, detail))
    }

    pub(super) fn documents(
        &self,
        route: &'static str,
        intent: Intent,
        url_id: Option<String>,
        request: RequestBody,
        reply: usize,
    ) -> Result<Shape, Refused> {
        self.carrying(route, intent, url_id, request, reply).map(Shape::Documents)
    }

    pub(super) fn carrying(
        &self,
        route: &'static str,
        intent: Intent,
        url_id: Option<String>,
        request: RequestBody,
        reply: usize,
    ) -> Result<Documents, Refused> {
        let headers = self.head.headers;
        if intent == Intent::Read {
            head::check_range(headers).map_err(|detail| self.refuse(RefusedCode::Route, detail))?;
        }
        // Asked for anything else, CouchDB answers as text/plain or in MIME parts.
        let mut set_headers: Vec<(HeaderName, HeaderValue)> = vec![head::json_accept()];
        if request != RequestBody::None {
            // CouchDB reads a body without a type as JSON; PouchDB Server drops it.
            let typed =
                head::check_json_body(headers, Untyped::IsJson).map_err(|detail| self.refuse(RefusedCode::NotJson, detail))?;
            if !typed {
                set_headers.push(head::json_content_type());
            }
        }
        let (flow, needs_whole_view) = (Flow::Whole, false);
        Ok(Documents {
            collection: self.at,
            route,
            intent,
            url_id,
            request,
            reply,
            set_headers,
            flow,
            needs_whole_view,
            view: None,
            search: Search::default(),
            lookup: None,
        })
    }

    /// The value of a parameter, the first if it stands twice.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|parameter| parameter.name == name).map(|parameter| parameter.value.as_str())
    }

    pub(super) fn is_true_or_false(&self, name: &'static str) -> Result<Option<bool>, Refused> {
        match self.parameter(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.refuse(RefusedCode::Malformed, format!("the query parameter {name} must be true or false"))),
        }
    }

    /// Only parameters of the list, each once; those of [`LIMITED`] with their harmless value only.
    pub(super) fn check_parameters(&self, allowed: &[&str]) -> Result<(), Refused> {
        let attachments_pass = self.database.attachments == Attachments::Pass;
        for (number, parameter) in (1..).zip(&self.parameters) {
            let name = parameter.name.as_str();
            let again = self.parameters.iter().filter(|other| other.name == name).count() > 1;
            if let Some((known, harmless, why)) = LIMITED.iter().find(|(limited, ..)| *limited == name)
                && !(attachments_pass && ABOUT_ATTACHMENTS.contains(&name))
                && (*harmless != Some(parameter.value.as_str()) || !allowed.contains(&name))
            {
                return Err(self.refuse(RefusedCode::Route, format!("the query parameter {known}: {why}")));
            }
            if !allowed.contains(&name) {
                let detail = format!(
                    "the query parameter number {number} is not mapped on this route of a protected database; mapped are: {}",
                    allowed.join(", ")
                );
                return Err(self.refuse(RefusedCode::Route, detail));
            }
            if again {
                return Err(self
                    .refuse(RefusedCode::Malformed, format!("the query parameter number {number} stands twice; send it once")));
            }
        }
        Ok(())
    }
}
