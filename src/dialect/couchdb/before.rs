//! Reading the revisions that a write builds on. Parent: `couchdb.rs`.
//!
//! A revision never changes, so what is carried over from it is right whatever happens meanwhile; whether it is still the newest the
//! database itself checks when the write comes. One document is read by its path, several by one `_bulk_get`.

use std::collections::{HashMap, HashSet};

use http::{Method, header};
use serde_json::{Value, json};

use super::super::head::{self, refused};
use super::super::{Ask, Documents, Guard, Head, Reading, Refused, RefusedCode, RequestBody, Wanted};
use super::tables::{BULK, FETCHED, NOTHING, ONE};
use crate::base::encode_segment;
use crate::document::{BodyFacts, RowFacts, member, unescape};

/// CouchDB's own words.
pub(super) const CONFLICT: &str = "Document update conflict.";

pub(super) fn reading(
    database: &str,
    documents: &Documents,
    head: Head<'_>,
    facts: &BodyFacts<'_>,
    rows: &[usize],
) -> Result<Reading, Refused> {
    let refuse = |code, detail: &str| refused(Some(documents.collection), code, detail);
    let parameters = head::parameters(head.query);
    let made_elsewhere = parameters.iter().any(|parameter| parameter.name == "new_edits" && parameter.value == "false")
        || member(facts.whole, 0..facts.whole.len(), "new_edits").is_some_and(|value| facts.whole.get(value) == Some(b"false"));
    if made_elsewhere {
        // There the database checks no revision, so nothing keeps another write from coming in between.
        return Err(refuse(
            RefusedCode::WouldErase,
            "leave out new_edits=false, or use a purpose that sees and writes all of its fields",
        ));
    }
    let bulk = documents.request == RequestBody::Documents { row_set: BULK };
    let in_head = if bulk { Vec::new() } else { revisions_of_the_head(&parameters, head) };
    let mut wanted: Vec<Wanted> = Vec::with_capacity(rows.len());
    let mut seen = HashSet::new();
    for row in rows {
        let fact = facts.rows.get(*row);
        let id = documents.url_id.clone().or_else(|| fact.and_then(|fact| text_of(fact, "_id")));
        let mut revisions = in_head.clone();
        revisions.extend(fact.and_then(|fact| text_of(fact, "_rev")));
        // Where both stand, CouchDB builds on `_revisions`; alone it is no revision that a client would know.
        if !revisions.is_empty()
            && let Some(range) = fact.and_then(|fact| member(fact.whole, 0..fact.whole.len(), "_revisions"))
        {
            let text = fact.and_then(|fact| fact.whole.get(range)).unwrap_or_default();
            let newest =
                newest_of(text).ok_or_else(|| refuse(RefusedCode::Malformed, "_revisions cannot be read; leave it out"))?;
            revisions.push(newest);
        }
        revisions.dedup();
        let (id, revision) = match (id, revisions.as_slice()) {
            (Some(id), [revision]) => (id, revision.clone()),
            (_, []) => {
                return Err(refuse(
                    RefusedCode::WouldErase,
                    "send the _rev of the revision it builds on, so that what is stored can be kept",
                ));
            }
            _ => {
                return Err(refuse(
                    RefusedCode::Malformed,
                    "_rev, _revisions, rev and If-Match name different revisions; send one of them",
                ));
            }
        };
        if !seen.insert(id.clone()) {
            return Err(refuse(RefusedCode::Malformed, "a document stands twice in this request; send it once"));
        }
        wanted.push(Wanted { row: *row, id, revision: Some(revision) });
    }
    let database = encode_segment(database);
    let ask = match wanted.as_slice() {
        [Wanted { id, revision: Some(revision), .. }] => Ask {
            method: Method::GET,
            target: format!("/{database}/{}?rev={}", encode_segment(id), encode_segment(revision)),
            set_headers: Vec::new(),
            body: Vec::new(),
        },
        many => {
            let docs: Vec<Value> = many.iter().map(|wanted| json!({ "id": wanted.id, "rev": wanted.revision })).collect();
            Ask {
                method: Method::POST,
                target: format!("/{database}/_bulk_get"),
                set_headers: Vec::new(),
                body: json!({ "docs": docs }).to_string().into_bytes(),
            }
        }
    };
    let row_set = if ask.body.is_empty() { ONE } else { FETCHED };
    Ok(Reading { collection: documents.collection, ask, row_set, no_rows: NOTHING, wanted, guard: Guard::Revision })
}

pub(super) fn answers(reading: &Reading, answer: &BodyFacts<'_>) -> Vec<Option<usize>> {
    let found: HashMap<_, usize> = answer
        .rows
        .iter()
        .enumerate()
        .filter_map(|(at, row)| Some(((text_of(row, "_id")?, text_of(row, "_rev")?), at)))
        .collect();
    let find = |wanted: &Wanted| found.get(&(wanted.id.clone(), wanted.revision.clone()?)).copied();
    reading.wanted.iter().map(find).collect()
}

pub(super) fn conflict(documents: &Documents, id: &str) -> Option<Vec<u8>> {
    let bulk = documents.request == RequestBody::Documents { row_set: BULK };
    bulk.then(|| json!({ "id": id, "error": "conflict", "reason": CONFLICT }).to_string().into_bytes())
}

/// `?rev=` and `If-Match`, which CouchDB reads as the same.
fn revisions_of_the_head(parameters: &[head::Parameter], head: Head<'_>) -> Vec<String> {
    let query = parameters.iter().filter(|parameter| parameter.name == "rev").map(|parameter| parameter.value.clone());
    let matches = head.headers.get_all(header::IF_MATCH).iter();
    let matches = matches.map(|value| String::from_utf8_lossy(value.as_bytes()).trim().trim_matches('"').to_owned());
    query.chain(matches).collect()
}

/// The revision that `{"start": 2, "ids": ["b", "a"]}` ends with.
fn newest_of(revisions: &[u8]) -> Option<String> {
    let revisions: Value = serde_json::from_slice(revisions).ok()?;
    Some(format!("{}-{}", revisions.get("start")?.as_u64()?, revisions.get("ids")?.get(0)?.as_str()?))
}

/// A member of a row that is a string.
fn text_of(row: &RowFacts<'_>, name: &str) -> Option<String> {
    let value = member(row.whole, 0..row.whole.len(), name)?;
    unescape(row.whole.get(value)?).map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::super::super::fixtures::{ask, documents, headers, route};
    use super::super::super::{Dialect, Reading};
    use super::*;

    /// What is asked before `rows` (each a document) are written by `request`; or the refusal.
    fn asked(request: &str, list: &[(&'static str, &str)], rows: &[&str]) -> Result<Reading, &'static str> {
        let couch = super::super::CouchDb::new(vec![route("shop/customers", "$._id")]).unwrap();
        let write = documents(ask(&couch, request, list));
        let (method, target) = request.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let given: HeaderMap = headers(list);
        let head = Head { method: &method.parse().unwrap(), path, query, headers: &given };
        let facts = BodyFacts {
            whole: b"{}",
            rows: rows.iter().map(|row| RowFacts { whole: row.as_bytes(), ..RowFacts::default() }).collect(),
            ..BodyFacts::default()
        };
        let all: Vec<usize> = (0..rows.len()).collect();
        couch.reading(&write, head, &facts, &all).map_err(|refused| refused.code.as_str())
    }

    fn target(request: &str, list: &[(&'static str, &str)], row: &str) -> Result<String, &'static str> {
        asked(request, list, &[row]).map(|reading| format!("{} {}", reading.ask.method, reading.ask.target))
    }

    #[test]
    fn one_document_is_read_by_its_path() {
        let get = |target: &str| Ok(format!("GET /shop%2Fcustomers/{target}"));
        assert_eq!(target("PUT /shop%2Fcustomers/c-1", &[], r#"{"_rev":"1-a"}"#), get("c-1?rev=1-a"));
        assert_eq!(target("PUT /shop%2Fcustomers/a%20b%C3%A9?rev=1-a", &[], "{}"), get("a%20b%C3%A9?rev=1-a"));
        assert_eq!(target("PUT /shop%2Fcustomers/c-1", &[("if-match", "\"1-a\"")], r#"{"_rev":"1-a"}"#), get("c-1?rev=1-a"));
        assert_eq!(target("POST /shop%2Fcustomers", &[], r#"{"_id":"x?/&","_rev":"1-a&x"}"#), get("x%3F%2F%26?rev=1-a%26x"));
        assert_eq!(target("POST /shop%2Fcustomers/_bulk_docs", &[], r#"{"_id":"c-1","_rev":"1-a"}"#), get("c-1?rev=1-a"));
    }

    #[test]
    fn a_write_that_names_no_revision_or_two_is_refused() {
        let put = "PUT /shop%2Fcustomers/c-1";
        assert_eq!(target(put, &[], r#"{"_revisions":{"start":1,"ids":["a"]}}"#), Err("would-erase"));
        assert_eq!(target(put, &[("if-match", "2-b")], r#"{"_rev":"1-a"}"#), Err("malformed-request"));
        assert_eq!(target("PUT /shop%2Fcustomers/c-1?rev=2-b", &[], r#"{"_rev":"1-a"}"#), Err("malformed-request"));
        // CouchDB goes by `_revisions`: what is carried over from the old revision would overwrite the new one.
        let rolled_back = r#"{"_id":"c-1","_rev":"1-a","_revisions":{"start":2,"ids":["b","a"]}}"#;
        for request in [put, "POST /shop%2Fcustomers", "POST /shop%2Fcustomers/_bulk_docs"] {
            assert_eq!(target(request, &[], rolled_back), Err("malformed-request"), "{request}");
        }
        for odd in ["null", "[]", "{}", r#"{"start":1,"ids":[]}"#, r#"{"start":"1","ids":["a"]}"#, r#"{"start":1.0,"ids":["a"]}"#]
        {
            let row = format!(r#"{{"_rev":"1-a","_revisions":{odd}}}"#);
            assert_eq!(target(put, &[], &row), Err("malformed-request"), "{odd}");
        }
        assert!(target(put, &[], r#"{"_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]}}"#).is_ok());
        let bulk = "POST /shop%2Fcustomers/_bulk_docs";
        // There the head names none.
        assert_eq!(target(bulk, &[("if-match", "1-a")], r#"{"_id":"c-1"}"#), Err("would-erase"));
        let twice = [r#"{"_id":"c-1","_rev":"1-a"}"#, r#"{"_id":"c-1","_rev":"2-a"}"#];
        assert_eq!(asked(bulk, &[], &twice).map(|_| ()), Err("malformed-request"));
    }

    #[test]
    fn several_are_read_in_one_go_and_found_by_id_and_revision() {
        let bulk = "POST /shop%2Fcustomers/_bulk_docs";
        let reading = asked(bulk, &[], &[r#"{"_id":"a","_rev":"1-x"}"#, r#"{"_id":"b","_rev":"2-y"}"#]).unwrap();
        assert_eq!((reading.ask.method.as_str(), reading.ask.target.as_str()), ("POST", "/shop%2Fcustomers/_bulk_get"));
        let body: Value = serde_json::from_slice(&reading.ask.body).unwrap();
        assert_eq!(body, json!({"docs": [{"id": "a", "rev": "1-x"}, {"id": "b", "rev": "2-y"}]}));
        let row = |whole: &'static str| RowFacts { whole: whole.as_bytes(), ..RowFacts::default() };
        let rows = vec![row(r#"{"_id":"b","_rev":"2-y"}"#), row(r#"{"_id":"a","_rev":"9-z"}"#)];
        // Another revision than the one asked for is none.
        assert_eq!(answers(&reading, &BodyFacts { rows, ..BodyFacts::default() }), [None, Some(0)]);
    }
}
