//! What replicators ask of a database besides documents and changes: which revisions it lacks, several revisions of a document,
//! and the small local documents in which they remember how far they came. Also purging, whose bodies look the same.
//!
//! Bodies here carry no documents, so what they may hold is told exactly: whatever else stood in them would be stored or logged
//! in clear (T5).

use http::Method;
use serde_json::{Map, Value};

use super::Inside;
use super::tables::{CHECKPOINT, DOCUMENT_READ, NOTHING, REVISION_LISTS, REVISIONS_READ};
use crate::base::Intent;
use crate::base::limits::MAX_ID_BYTES;
use crate::dialect::{Documents, Refused, RefusedCode, RequestBody, Shape};

impl Inside<'_> {
    /// `_revs_diff` and `_missing_revs`
    pub(super) fn revisions(&self, route: &'static str, name: &'static str) -> Result<Shape, Refused> {
        if self.head.method != Method::POST {
            return Err(self.not_mapped(name, "POST"));
        }
        self.check_parameters(&["_nonce"])?;
        self.documents(route, Intent::Read, None, RequestBody::Plain { row_set: REVISION_LISTS }, NOTHING)
    }

    /// `/{db}/{docid}?open_revs=`: leaves of a document, or all of them.
    pub(super) fn open_revisions(&self, id: Option<String>) -> Result<Shape, Refused> {
        self.check_parameters(DOCUMENT_READ)?;
        let fits = match self.parameter("open_revs") {
            Some("all") => true,
            Some(list) => serde_json::from_str::<Vec<String>>(list).is_ok_and(|list| list.iter().all(|rev| is_revision(rev))),
            None => false,
        };
        if !fits {
            let detail = "the query parameter open_revs must be all, or a list of revisions, such as [\"1-a\"]";
            return Err(self.refuse(RefusedCode::Malformed, detail.into()));
        }
        let route = "GET /{db}/{docid}?open_revs";
        let documents = self.carrying(route, Intent::Read, id, RequestBody::None, REVISIONS_READ)?;
        Ok(Shape::Documents(Documents { needs_whole_view: true, ..documents }))
    }

    /// `_local/{id}`. Not a row, for a protected member may well be called `history`.
    pub(super) fn local(&self, id: &str) -> Result<Shape, Refused> {
        if !is_word(id, 128) || self.head.path.contains('+') {
            let detail = "the id of a local document is that of a replication: letters, digits and . _ = ~ - only, at most 128";
            return Err(self.refuse(RefusedCode::Route, detail.into()));
        }
        let id = Some(format!("_local/{id}"));
        match *self.head.method {
            Method::GET => {
                self.check_parameters(&["rev", "_nonce"])?;
                self.documents("GET /{db}/_local/{id}", Intent::Read, id, RequestBody::None, NOTHING)
            }
            Method::HEAD => {
                self.check_parameters(&["rev", "_nonce"])?;
                self.documents("HEAD /{db}/_local/{id}", Intent::Read, id, RequestBody::None, NOTHING)
            }
            Method::PUT => {
                self.check_parameters(&["rev", "batch"])?;
                let request = RequestBody::Plain { row_set: CHECKPOINT };
                self.documents("PUT /{db}/_local/{id}", Intent::Replace, id, request, NOTHING)
            }
            // Nobody's document goes, so this takes no right to delete.
            Method::DELETE => {
                self.check_parameters(&["rev", "batch"])?;
                self.documents("DELETE /{db}/_local/{id}", Intent::Replace, None, RequestBody::None, NOTHING)
            }
            _ => Err(self.not_mapped("a local document", "GET, HEAD, PUT, DELETE")),
        }
    }

    /// `_purge`: removes revisions as if they had never been.
    pub(super) fn purge(&self) -> Result<Shape, Refused> {
        if self.head.method != Method::POST {
            return Err(self.not_mapped("_purge", "POST"));
        }
        self.check_parameters(&[])?;
        self.documents("POST /{db}/_purge", Intent::Delete, None, RequestBody::Plain { row_set: REVISION_LISTS }, NOTHING)
    }

    /// `_purged_infos`: ids and revisions.
    pub(super) fn purged(&self) -> Result<Shape, Refused> {
        if self.head.method != Method::GET {
            return Err(self.not_mapped("_purged_infos", "GET"));
        }
        self.check_parameters(&[])?;
        self.documents("GET /{db}/_purged_infos", Intent::Read, None, RequestBody::None, NOTHING)
    }
}

/// `{"id": ["1-a", …], …}`
pub(super) fn check_revision_lists(body: &[u8]) -> Result<(), &'static str> {
    let revisions = |value: &Value| {
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        value.is_array() && list.iter().all(|rev| rev.as_str().is_some_and(is_revision))
    };
    let fits = serde_json::from_slice::<Map<String, Value>>(body)
        .is_ok_and(|members| members.iter().all(|(id, list)| id.len() <= MAX_ID_BYTES && revisions(list)));
    if fits {
        Ok(())
    } else {
        Err("this route takes ids with lists of revisions, such as {\"c-1\": [\"1-a\"]}, and nothing else")
    }
}

/// The ids in such a body.
pub(super) fn named(body: &[u8]) -> Vec<String> {
    serde_json::from_slice::<Map<String, Value>>(body)
        .map(|members| members.into_iter().map(|(id, _)| id).collect())
        .unwrap_or_default()
}

/// A checkpoint as CouchDB and PouchDB write it. `id` is that of the path.
pub(super) fn check_checkpoint(body: &[u8], id: Option<&str>) -> Result<(), &'static str> {
    const WRONG: &str = "a local document may hold only what replicators remember (session_id, last_seq, source_last_seq, replicator, version, history …), in their form; keep anything else in a database that is not protected";
    let Ok(members) = serde_json::from_slice::<Map<String, Value>>(body) else { return Err(WRONG) };
    let fits = members.iter().all(|(name, value)| match (name.as_str(), value) {
        ("_id", Value::String(text)) => Some(text.as_str()) == id,
        ("_rev", Value::String(text)) => is_revision(text),
        ("_deleted", Value::Bool(_)) => true,
        ("replicator", Value::String(text)) => is_word(text, 32),
        ("history", Value::Array(steps)) => {
            steps.len() <= 1_000
                && steps
                    .iter()
                    .all(|step| step.as_object().is_some_and(|step| step.iter().all(|(name, value)| is_remembered(name, value))))
        }
        (name, value) => is_remembered(name, value),
    });
    if fits { Ok(()) } else { Err(WRONG) }
}

/// One thing a replicator remembers of a session.
fn is_remembered(name: &str, value: &Value) -> bool {
    match name {
        "session_id" => value.as_str().is_some_and(|text| is_word(text, 64)),
        "last_seq" | "source_last_seq" | "start_last_seq" | "end_last_seq" | "recorded_seq" => {
            value.is_number() || value.is_null() || value.as_str().is_some_and(is_sequence)
        }
        "start_time" | "end_time" => value.as_str().is_some_and(is_http_date),
        "version"
        | "replication_id_version"
        | "missing_checked"
        | "missing_found"
        | "docs_read"
        | "docs_written"
        | "doc_write_failures"
        | "bulk_get_docs"
        | "bulk_get_attempts" => value.is_number(),
        _ => false,
    }
}

/// `1-…`: a generation and a hash, which some servers write their own way.
fn is_revision(text: &str) -> bool {
    text.split_once('-').is_some_and(|(generation, hash)| {
        (1..=10).contains(&generation.len()) && generation.bytes().all(|byte| byte.is_ascii_digit()) && is_word(hash, 128)
    })
}

/// A sequence of changes: a number, alone or before an opaque text in base64, which is the longer the more shards there are.
fn is_sequence(text: &str) -> bool {
    let (number, opaque) = text.split_once('-').unwrap_or((text, "0"));
    number.bytes().all(|byte| byte.is_ascii_digit()) && !number.is_empty() && is_word(opaque, 8 << 10)
}

/// `Sun, 22 Nov 2026 19:02:47 GMT` (RFC 9110, section 5.6.7).
fn is_http_date(text: &str) -> bool {
    const PATTERN: &[u8] = b"Aaa, 00 Aaa 0000 00:00:00 GMT";
    text.len() == PATTERN.len()
        && text.bytes().zip(PATTERN).all(|(byte, pattern)| match pattern {
            b'0' => byte.is_ascii_digit(),
            b'A' if byte.is_ascii_uppercase() => true,
            b'a' => byte.is_ascii_lowercase(),
            other => byte == *other,
        })
}

fn is_word(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._=~-".contains(&byte))
}
