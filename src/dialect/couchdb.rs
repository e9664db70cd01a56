//! The CouchDB HTTP API (1.x to 3.x, PouchDB Server): `match` is the name of a protected database.
//!
//! Of a protected database these carry documents: `/{db}` POST, `/{db}/{docid}`, `_bulk_docs`, `_all_docs`, `_bulk_get`, and
//! DELETE of the database; the feed of changes (`feed.rs`) and what replicators ask for (`replicate.rs`); attachments where the
//! operator lets them pass (`attachment.rs`). A few routes about the database as a whole carry none (neutral). Every other
//! route is refused by name. Databases that are not protected pass untouched, system routes by an allow-list: what moves
//! documents between databases behind the proxy's back (`_replicate`, writing to `_replicator`, shards, rewrites) is refused (T32).
//! `docs/couchdb.md` is the operator's account of the same.
//!
//! Searches (`query`) and views (`design`) are judged by what they could show or mistake.
//!
//! Documents get their `_id` from the proxy where a client leaves the choice to the database: values are bound to it.

mod attachment;
mod before;
mod design;
mod feed;
mod inside;
mod lookup;
mod query;
mod replicate;
mod sweep;
mod tables;

use http::Method;
use serde_json::Value;

use self::design::Guarded;
use self::inside::Inside;
use self::query::Searches;
use self::tables::{
    ALL_DOCS, ATTACHMENTS, BULK, CHECKPOINT, DELETED, FILTER, NODE, NOTHING, REV, REVISION_LISTS, REVISIONS, ROW_SETS, SYSTEM,
    error_name,
};
use super::head::{self, refused};
use super::names::Names;
use super::rest::about_the_server;
use super::sweep::Sweep;
use super::target::{decode_segment, fold_case, loose_segments};
use super::{
    Attachments, Dialect, Documents, Head, Query, Reading, Refused, RefusedCode, RequestBody, Route, RowIntent, Shape, Views,
};
use crate::base::{Intent, RecordId};
use crate::document::{BodyFacts, RowFacts, RowSet, Selector, unescape};

/// A design document or an index that stands alone in its request.
const DEFINITION: RowIntent = RowIntent { intent: Intent::Create, assign_id: false, made_elsewhere: false, defines: true };

/// The dialect `couchdb`.
#[derive(Debug)]
pub struct CouchDb {
    databases: Vec<Database>,
}

#[derive(Debug)]
struct Database {
    name: String,
    /// The name's segments as the most liberal server could read them.
    loose: Vec<String>,
    /// By which a query could refer to protected members.
    names: Names,
    attachments: Attachments,
    row_sets: Vec<RowSet>,
    searches: Searches,
    guarded: Guarded,
    views: Views,
}

impl CouchDb {
    /// Checks the names of the databases and compiles the row sets.
    ///
    /// # Errors
    ///
    /// All mistakes: index of the route and what is wrong with it.
    pub fn new(routes: Vec<Route>) -> Result<Self, Vec<(usize, String)>> {
        let mut errors = Vec::new();
        let mut databases: Vec<Database> = Vec::new();
        for (at, route) in routes.into_iter().enumerate() {
            let searches = Searches::new(&route);
            let row_sets = row_sets(&searches);
            errors.extend(row_sets.as_ref().err().map(|error| (at, error.clone())));
            let database =
                Database {
                    loose: loose_segments(&route.matches),
                    name: route.matches,
                    row_sets: row_sets.unwrap_or_default(),
                    searches,
                    guarded: Guarded::new(route.protected.iter().map(|member| (member.field.as_str(), &member.at))).and_terms(
                        route.protected.iter().enumerate().flat_map(|(number, member)| {
                            member.indexes.iter().enumerate().map(move |(at, index)| {
                                (member.field.as_str(), (index.member.clone(), !index.list, (number, at)))
                            })
                        }),
                    ),
                    views: route.views,
                    names: Names::new(route.protected_names.iter().map(String::as_str)),
                    attachments: route.attachments,
                };
            if let Err(error) = check_database_name(&database.name) {
                errors.push((at, error));
            } else if let Some(earlier) = databases.iter().position(|other| {
                !other.loose.is_empty() && (other.loose.starts_with(&database.loose) || database.loose.starts_with(&other.loose))
            }) {
                errors.push((at, format!("the database is also that of collection number {}, or cannot be told from it in every spelling; protect each database once", earlier + 1)));
            }
            databases.push(database);
        }
        if errors.is_empty() { Ok(Self { databases }) } else { Err(errors) }
    }

    /// Routes that belong to no protected database.
    fn outside(&self, head: Head<'_>, segments: &[String]) -> Result<Shape, Refused> {
        let refuse = |collection, detail: &str| Err(refused(collection, RefusedCode::Route, detail));
        let loose = loose_segments(head.path);
        if let Some(at) = self.databases.iter().position(|database| loose.starts_with(&database.loose)) {
            return refuse(
                Some(at),
                "the path differs from that of a protected database only in spelling (letter case, escapes, slashes); use the database's name as configured",
            );
        }
        let reads = matches!(*head.method, Method::GET | Method::HEAD | Method::OPTIONS)
            && head::check_method_override(head.headers, &[]).is_ok();
        let below: Vec<&str> = segments.iter().skip(1).map(String::as_str).collect();
        match segments.first().map(String::as_str).unwrap_or_default() {
            _ if self.databases.is_empty() => Ok(Shape::Outside),
            // Escaped twice, say, so that it is one only to a server behind a careless gateway.
            name if loose.first().is_some_and(|loose| loose != name && (loose.starts_with('_') || loose == "shards")) => refuse(
                None,
                "the path begins as a system route or a shard does, in another spelling; shards hold the documents of protected databases, and system routes are served only as CouchDB spells them",
            ),
            _ if below.iter().any(|part| fold_case(part) == "_rewrite") => {
                refuse(None, "rewrites may lead to protected databases; send the request to the path they lead to")
            }
            "_replicator" if reads => Ok(Shape::Outside),
            "_replicate" | "_replicator" => refuse(
                None,
                "such a replication runs behind the proxy and would carry clear values past it; run it on the application's side, with this address and the headers of a caller",
            ),
            "_node" => match below.get(1) {
                None if reads => Ok(Shape::Outside),
                Some(part) if NODE.contains(part) => Ok(Shape::Outside),
                _ => refuse(
                    None,
                    "of a node only _config, _prometheus, _stats, _system and _versions are served; other routes reach the shards of protected databases",
                ),
            },
            system if SYSTEM.contains(&system) => Ok(Shape::Outside),
            system if system.starts_with('_') => refuse(
                None,
                "this system route is not known, and could reach protected databases; use the database directly if you need it",
            ),
            _ => Ok(Shape::Outside),
        }
    }

    fn inside(at: usize, database: &Database, head: Head<'_>, below: &[String]) -> Result<Shape, Refused> {
        let route = Inside { at, database, head, parameters: head::parameters(head.query) };
        let overridden = head::check_method_override(head.headers, &route.parameters);
        overridden.map_err(|detail| route.refuse(RefusedCode::Route, detail))?;
        if head.method == Method::OPTIONS {
            return Ok(Shape::Neutral { collection: at });
        }
        let below: Vec<&str> = below.iter().map(String::as_str).collect();
        match below.as_slice() {
            [] => route.database(),
            ["_all_docs"] => route.all_docs(),
            ["_bulk_docs"] => route.bulk_docs(),
            ["_bulk_get"] => route.bulk_get(),
            ["_changes"] => route.changes(),
            ["_revs_diff"] => route.revisions("POST /{db}/_revs_diff", "_revs_diff"),
            ["_missing_revs"] => route.revisions("POST /{db}/_missing_revs", "_missing_revs"),
            ["_purge"] => route.purge(),
            ["_purged_infos"] => route.purged(),
            ["_local", id] => route.local(id),
            // As clients write it that escape the whole id.
            [id] if id.starts_with("_local/") => route.local(id.strip_prefix("_local/").unwrap_or_default()),
            ["_all_docs", "queries"] => route.lookups("POST /{db}/_all_docs/queries"),
            ["_find"] => route.find("POST /{db}/_find", lookup::FOUND),
            ["_explain"] => route.find("POST /{db}/_explain", NOTHING),
            ["_index", rest @ ..] => route.index(rest),
            ["_design_docs"] => route.design_documents(),
            ["_design_docs", "queries"] => route.lookups("POST /{db}/_design_docs/queries"),
            ["_design", name, rest @ ..] => route.design(name, rest),
            // As clients write it that escape the whole id.
            [id, rest @ ..] if id.starts_with("_design/") => route.design(id.strip_prefix("_design/").unwrap_or_default(), rest),
            [name, rest @ ..] if name.starts_with('_') => route.special(name, rest),
            ["", ..] | [_, ""] => Err(route.refuse(RefusedCode::Route, "the path ends with a slash; leave it out".into())),
            [id] => route.document(id),
            [id, ..] => route.attachment(id),
        }
    }

    /// One row of a request that writes.
    fn judge_row(
        &self,
        documents: &Documents,
        row: &RowFacts<'_>,
        made_elsewhere: bool,
    ) -> Result<RowIntent, (RefusedCode, &'static str)> {
        let peek = |which| row.peeks.iter().find(|(index, _)| *index == which).map(|(_, text)| *text);
        let malformed = |detail| Err((RefusedCode::Malformed, detail));
        let id = match row.id {
            None => None,
            Some(text) => match unescape(text) {
                Some(id) => Some(id),
                None => return malformed("_id must be a string"),
            },
        };
        if id.as_deref().is_some_and(|id| id.starts_with('_')) {
            return Err((
                RefusedCode::Route,
                "an _id that starts with an underscore is a design or local document, which are not mapped on a protected database",
            ));
        }
        if let (Some(url_id), Some(id)) = (&documents.url_id, &id)
            && url_id != id
        {
            return malformed("the _id in the body is not the id in the path; databases disagree on which one counts");
        }
        let has_revision = match peek(REV).map(unescape) {
            None => false,
            Some(Some(rev)) if !rev.is_empty() => true,
            Some(_) => return malformed("_rev must be a revision as the database gave it; leave it out for a new document"),
        };
        // Where there is no `_rev` CouchDB takes the parent revision from `_revisions`, so that the write replaces (T26).
        let has_revision = has_revision || peek(REVISIONS).is_some();
        let deletes = match peek(DELETED) {
            None | Some(b"false") => false,
            Some(b"true") => true,
            Some(_) => return malformed("_deleted must be true or false"),
        };
        if let Some(attachments) = peek(ATTACHMENTS)
            && !self.passes_attachments(documents)
            && !are_stubs(attachments)
        {
            return Err((
                RefusedCode::Route,
                "a document carries an attachment, which cannot be protected; keep attachments in a database that is not protected, or let them pass as they are with attachments = \"pass\"",
            ));
        }
        let has_id = id.is_some() || documents.url_id.is_some();
        if made_elsewhere && !(has_id && has_revision) {
            return malformed("with new_edits=false a document needs the _id and the _rev that it has elsewhere");
        }
        if !has_id && (has_revision || deletes) {
            return malformed("a document with _rev or _deleted needs its _id");
        }
        let intent = match (deletes, has_revision || documents.intent == Intent::Replace) {
            (true, _) => Intent::Delete,
            (false, true) => Intent::Replace,
            (false, false) => Intent::Create,
        };
        Ok(RowIntent { intent, assign_id: !has_id, made_elsewhere, defines: false })
    }

    fn passes_attachments(&self, documents: &Documents) -> bool {
        self.databases.get(documents.collection).is_some_and(|database| database.attachments == Attachments::Pass)
    }
}

impl Dialect for CouchDb {
    fn name(&self) -> &'static str {
        "couchdb"
    }

    fn row_sets(&self, collection: usize) -> &[RowSet] {
        self.databases.get(collection).map_or(&[], |database| &database.row_sets)
    }

    fn classify(&self, head: Head<'_>) -> Shape {
        if head.path == "*" {
            return about_the_server(head.method);
        }
        let raw: Vec<&str> = head.path.strip_prefix('/').unwrap_or_default().split('/').collect();
        let decoded: Option<Vec<String>> = raw.iter().map(|segment| decode_segment(segment)).collect();
        let Some(mut segments) = decoded else {
            return Shape::Refused(refused(
                None,
                RefusedCode::Malformed,
                "the path is not UTF-8; percent-encode its UTF-8 bytes",
            ));
        };
        // `/db/` is `/db`, as some clients send it.
        if segments.len() == 2 && segments.last().is_some_and(String::is_empty) {
            segments.pop();
        }
        let plain = !raw.first().copied().unwrap_or_default().contains('+');
        let protected = segments.split_first().and_then(|(name, below)| {
            let (at, database) = self.databases.iter().enumerate().find(|(_, database)| database.name == *name && plain)?;
            Some((at, database, below))
        });
        let shape = match protected {
            Some((at, database, below)) => Self::inside(at, database, head, below),
            None => self.outside(head, &segments),
        };
        shape.unwrap_or_else(Shape::Refused)
    }

    fn judge(&self, documents: &Documents, facts: &BodyFacts<'_>) -> Result<Vec<RowIntent>, Refused> {
        let refuse = |code, detail: &str| refused(Some(documents.collection), code, detail);
        let peek = |which| facts.body.iter().find(|(index, _)| *index == which).map(|(_, text)| *text);
        let mut made_elsewhere = documents.needs_whole_view;
        match documents.request {
            RequestBody::None | RequestBody::Patch { .. } | RequestBody::Query { .. } => return Ok(Vec::new()),
            RequestBody::Plain { row_set } if row_set >= ROW_SETS.len() => {
                let defines = (documents.intent == Intent::Create).then_some(DEFINITION);
                return self.judge_lookup(documents, row_set, facts.whole).map(|()| defines.into_iter().collect());
            }
            RequestBody::Plain { row_set } => {
                let checked = match row_set {
                    REVISION_LISTS => replicate::check_revision_lists(facts.whole).map_err(str::to_owned),
                    CHECKPOINT => replicate::check_checkpoint(facts.whole, documents.url_id.as_deref()).map_err(str::to_owned),
                    FILTER => feed::check_filter(facts.whole).map_err(str::to_owned),
                    _ => check_options(facts.whole, self.passes_attachments(documents)),
                };
                return checked.map(|()| Vec::new()).map_err(|detail| refuse(RefusedCode::Route, &detail));
            }
            RequestBody::Documents { row_set: BULK } => {
                made_elsewhere = match peek(0) {
                    None | Some(b"true") => false,
                    Some(b"false") => true,
                    Some(_) => return Err(refuse(RefusedCode::Malformed, "new_edits must be true or false")),
                };
                if peek(1).is_some_and(|text| text != b"false") {
                    return Err(refuse(RefusedCode::Route, "all_or_nothing is not mapped; leave it out"));
                }
            }
            RequestBody::Documents { .. } => {}
        }
        let judge = |row: &RowFacts<'_>| match self.judge_design_row(documents, row) {
            Some(judged) => judged,
            None => self.judge_row(documents, row, made_elsewhere).map_err(|(code, detail)| refuse(code, detail)),
        };
        facts.rows.iter().map(judge).collect()
    }

    fn removed(&self, documents: &Documents, body: &[u8]) -> Vec<String> {
        if documents.intent == Intent::Delete { replicate::named(body) } else { Vec::new() }
    }

    fn reading(&self, documents: &Documents, head: Head<'_>, facts: &BodyFacts<'_>, rows: &[usize]) -> Result<Reading, Refused> {
        before::reading(
            self.databases.get(documents.collection).map_or("", |database| &database.name),
            documents,
            head,
            facts,
            rows,
        )
    }

    fn answers(&self, reading: &Reading, answer: &BodyFacts<'_>) -> Vec<Option<usize>> {
        before::answers(reading, answer)
    }

    fn conflict(&self, documents: &Documents, id: &str) -> Option<Vec<u8>> {
        before::conflict(documents, id)
    }

    fn sweep(&self, collection: usize) -> Option<Box<dyn Sweep>> {
        let database = sweep::Database::new(&self.databases.get(collection)?.name)?;
        Some(Box::new(database))
    }

    fn query(&self, documents: &Documents, body: &[u8]) -> Result<Query, Refused> {
        let refuse = |(code, detail)| refused(Some(documents.collection), code, detail);
        let query = self.database(documents)?.searches.query(body).map_err(refuse)?;
        if query.search.condition.is_some() && documents.route.ends_with("_explain") {
            let detail = "a search by an index is not explained: the answer would show its terms; explain it with the index member in place of the field on the database itself";
            return Err(refuse((RefusedCode::NotSearchable, detail.to_owned())));
        }
        Ok(query)
    }

    fn judge_view(&self, documents: &Documents, definition: Option<&[u8]>) -> Result<usize, Refused> {
        self.judge_stored_view(documents, definition)
    }

    fn view_lookup(
        &self,
        documents: &Documents,
        definition: Option<&[u8]>,
        query: Option<&str>,
    ) -> Result<Option<Query>, Refused> {
        self.search_of_view(documents, definition, query)
    }

    fn id_member(&self) -> &'static str {
        "_id"
    }

    /// `{"error", "reason"}` as CouchDB sends them, and our stable `type`.
    fn error(&self, status: u16, code: &str, sentence: &str) -> (&'static str, Vec<u8>) {
        // Client libraries know this one by its words.
        let reason = if code == "write-conflict" { before::CONFLICT.to_owned() } else { format!("{code}: {sentence}") };
        let error = serde_json::json!({
            "error": error_name(status),
            "reason": reason,
            "type": format!("docs/errors.md#{code}"),
        });
        ("application/json", error.to_string().into_bytes())
    }
}

/// A body that carries no documents: nothing but the known options with values of the known kind, for whatever else stood in it
/// would reach the database in clear (T5).
fn check_options(body: &[u8], attachments_pass: bool) -> Result<(), String> {
    let Ok(options) = serde_json::from_slice::<serde_json::Map<String, Value>>(body) else {
        return Err("this route takes an object with options, such as {\"keys\": [...]}".to_owned());
    };
    for (name, value) in &options {
        let fits = match (name.as_str(), value) {
            ("queries", _) => return Err("several queries in one request are not mapped; send them one by one".to_owned()),
            ("attachments", Value::Bool(asked)) if attachments_pass || !asked => true,
            ("attachments", _) => {
                return Err(
                    "attachments are not protected, so they are not served from a protected database; leave it out".to_owned()
                );
            }
            ("keys", Value::Array(keys)) => keys.iter().all(Value::is_string),
            ("docs", Value::Array(docs)) => docs.iter().all(is_revision_of_a_document),
            (name, value) => {
                ALL_DOCS.contains(&name) && (value.is_string() || value.is_number() || value.is_boolean() || value.is_null())
            }
        };
        if !fits {
            return Err("the body may hold only ids, revisions and options of this route; leave everything else out".to_owned());
        }
    }
    Ok(())
}

/// One entry of `_bulk_get`: which document, which revision.
fn is_revision_of_a_document(entry: &Value) -> bool {
    let only_ids = |entry: &serde_json::Map<String, Value>| {
        entry.iter().all(|(name, value)| match name.as_str() {
            "id" | "rev" => value.is_string(),
            "atts_since" => value.as_array().is_some_and(|revisions| revisions.iter().all(Value::is_string)),
            _ => false,
        })
    };
    entry.as_object().is_some_and(only_ids)
}

/// Is every attachment one that the database has already, named only (`"stub": true`)?
fn are_stubs(attachments: &[u8]) -> bool {
    let Ok(attachments) = serde_json::from_slice::<serde_json::Map<String, Value>>(attachments) else { return false };
    attachments.values().all(|attachment| {
        attachment.get("stub") == Some(&Value::Bool(true))
            && attachment.get("data").is_none()
            && attachment.get("follows").is_none()
    })
}

fn check_database_name(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    if !chars.next().is_some_and(|first| first.is_ascii_alphabetic())
        || !chars.all(|c| c.is_ascii_alphanumeric() || "_$()+-/".contains(c))
    {
        return Err("a database name starts with a letter and holds letters, digits and _ $ ( ) + - / only; write it plainly, without slash before or escapes".into());
    }
    if name.ends_with('/') || name.contains("//") {
        return Err("a database name neither ends with a slash nor holds two in a row".into());
    }
    Ok(())
}

/// The row sets of a database: those of the tables, then those of searches and views.
fn row_sets(searches: &Searches) -> Result<Vec<RowSet>, String> {
    let fixed = ROW_SETS.iter().chain(lookup::ROW_SETS).map(|(rows, row_peeks, body_peeks)| {
        Ok(RowSet { rows: selectors(rows)?, row_peeks: selectors(row_peeks)?, body_peeks: selectors(body_peeks)?, below: None })
    });
    let mut row_sets = fixed.collect::<Result<Vec<_>, String>>()?;
    if let Some(found) = row_sets.get_mut(lookup::FOUND) {
        found.row_peeks = searches.row_peeks()?;
    }
    if let Some(by_term) = row_sets.get_mut(lookup::BY_TERM) {
        by_term.below = selectors(&[lookup::BY_TERM_BELOW])?.pop();
    }
    Ok(row_sets)
}

fn selectors(texts: &[&str]) -> Result<Vec<Selector>, String> {
    texts.iter().map(|text| Selector::parse(text).map_err(|error| format!("{text}: {error}"))).collect()
}

#[cfg(test)]
mod tests;
