//! What of CouchDB's API is mapped, refused by name or let pass, in tables. Parent: `couchdb.rs`, which alone reads them.
//!
//! The first place to look when a release of CouchDB brings a route or a parameter: what stands in no table is refused.

use http::Method;

/// Row sets, the same for every database: one document as written ...
pub(super) const DOCUMENT: usize = 0;
/// ... `_bulk_docs` as written ...
pub(super) const BULK: usize = 1;
/// ... a body of ids and options ...
pub(super) const OPTIONS: usize = 2;
/// ... replies: one document ...
pub(super) const ONE: usize = 3;
/// ... rows of `_all_docs` ...
pub(super) const LIST: usize = 4;
/// ... results of `_bulk_get` ...
pub(super) const FETCHED: usize = 5;
/// ... and nothing but ids and revisions.
pub(super) const NOTHING: usize = 6;
/// Feeds of changes, whichever way they are framed ...
pub(super) const FEED: usize = 7;
/// ... several revisions of one document ...
pub(super) const REVISIONS_READ: usize = 8;
/// ... bodies of ids with revisions ...
pub(super) const REVISION_LISTS: usize = 9;
/// ... of what a replicator remembers ...
pub(super) const CHECKPOINT: usize = 10;
/// ... and of what a feed is filtered by.
pub(super) const FILTER: usize = 11;

/// Peeks of a written document, in this order.
pub(super) const DOCUMENT_PEEKS: [&str; 4] = ["$._rev", "$._deleted", "$._attachments", "$._revisions"];
pub(super) const REV: usize = 0;
pub(super) const DELETED: usize = 1;
pub(super) const ATTACHMENTS: usize = 2;
pub(super) const REVISIONS: usize = 3;
/// Peeks of the body of `_bulk_docs`, in this order.
pub(super) const BULK_PEEKS: [&str; 2] = ["$.new_edits", "$.all_or_nothing"];

/// Rows, row peeks and body peeks of each row set.
pub(super) const ROW_SETS: [(&[&str], &[&str], &[&str]); 12] = [
    (&["$"], &DOCUMENT_PEEKS, &[]),
    (&["$.docs[*]"], &DOCUMENT_PEEKS, &BULK_PEEKS),
    (&[], &[], &[]),
    (&["$"], &[], &[]),
    // The second is the shape of several queries at once, which are refused; no reply may show what it holds all the same.
    (&["$.rows[*].doc", "$.results[*].rows[*].doc"], &[], &[]),
    (&["$.results[*].docs[*].ok"], &[], &[]),
    (&[], &[], &[]),
    (&["$.results[*].doc", "$.doc"], &[], &[]),
    // The first is the answer of a server that does not know several revisions.
    (&["$", "$[*].ok"], &[], &[]),
    (&[], &[], &[]),
    (&[], &[], &[]),
    (&[], &[], &[]),
];

/// Routes of a protected database that carry no documents, and their methods. OPTIONS is neutral everywhere.
pub(super) const NEUTRAL: &[(&str, &[Method])] = &[
    ("_compact", &[Method::POST]),
    ("_ensure_full_commit", &[Method::POST]),
    ("_view_cleanup", &[Method::POST]),
    ("_revs_limit", &[Method::GET, Method::HEAD, Method::PUT]),
    ("_purged_infos_limit", &[Method::GET, Method::HEAD, Method::PUT]),
    ("_security", &[Method::GET, Method::HEAD]),
    ("_shards", &[Method::GET, Method::HEAD]),
    ("_sync_shards", &[Method::POST]),
];

/// Routes of a protected database that are refused by name, and what to do instead.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("_local_docs", "local documents are what replicators remember; each reads its own by id"),
    ("_nouveau_cleanup", "search indexes are not mapped yet"),
    ("_partition", "partitions are not mapped yet; list documents with _all_docs"),
    ("_search_cleanup", "search indexes are not mapped yet"),
    ("_temp_view", "views are stored in design documents; searches are made with _find"),
    ("_security", "who may use a protected database is set on the database directly, not through the proxy"),
];

/// System routes that pass, by the first segment of the path. Databases of the system among them pass whole.
#[rustfmt::skip] // one name a line would hide the rest
pub(super) const SYSTEM: &[&str] = &[
    "_active_tasks", "_all_dbs", "_cluster_setup", "_config", "_db_updates", "_dbs_info", "_log", "_membership", "_prometheus",
    "_reshard", "_scheduler", "_session", "_stats", "_up", "_users", "_utils", "_uuids", "_global_changes",
];
/// What of `/_node/{name}` passes. Other things below it reach the shards of protected databases.
pub(super) const NODE: &[&str] = &["_config", "_prometheus", "_stats", "_system", "_versions"];

#[rustfmt::skip] // one name a line would hide the rest
pub(super) const DOCUMENT_READ: &[&str] = &[
    "rev", "revs", "revs_info", "conflicts", "deleted_conflicts", "local_seq", "latest", "meta", "attachments",
    "att_encoding_info", "atts_since", "open_revs", "_nonce",
];
pub(super) const DOCUMENT_WRITE: &[&str] = &["rev", "batch", "new_edits"];
pub(super) const DOCUMENT_DELETE: &[&str] = &["rev", "batch"];
pub(super) const DOCUMENT_POST: &[&str] = &["batch"];
#[rustfmt::skip] // one name a line would hide the rest
pub(super) const ALL_DOCS: &[&str] = &[
    "include_docs", "limit", "skip", "descending", "inclusive_end", "key", "keys", "startkey", "start_key", "endkey", "end_key",
    "startkey_docid", "start_key_doc_id", "endkey_docid", "end_key_doc_id", "conflicts", "update_seq", "stable", "stale",
    "update", "sorted", "reduce", "attachments", "att_encoding_info", "_nonce",
];
pub(super) const BULK_GET: &[&str] = &["revs", "latest", "attachments", "att_encoding_info", "_nonce"];
#[rustfmt::skip] // one name a line would hide the rest
pub(super) const CHANGES: &[&str] = &[
    "feed", "include_docs", "since", "limit", "descending", "heartbeat", "timeout", "style", "filter", "view", "doc_ids",
    "last-event-id", "seq_interval", "conflicts", "update_seq", "attachments", "att_encoding_info", "_nonce",
];
pub(super) const ATTACHMENT: &[&str] = &["rev", "_nonce"];
/// Those of [`LIMITED`] that are free where attachments pass.
pub(super) const ABOUT_ATTACHMENTS: &[&str] = &["attachments", "att_encoding_info", "atts_since"];

/// Parameters that are refused by name unless they have the one harmless value, and why.
pub(super) const LIMITED: &[(&str, Option<&str>, &str)] = &[
    (
        "attachments",
        Some("false"),
        "attachments are not protected, so they are not served from a protected database; leave it out",
    ),
    ("att_encoding_info", Some("false"), "attachments are not protected; leave it out"),
    ("atts_since", None, "attachments are not protected, so they are not served from a protected database; leave it out"),
];

/// CouchDB's own words for a status.
pub(super) fn error_name(status: u16) -> &'static str {
    match status {
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        405 => "method_not_allowed",
        406 => "not_acceptable",
        408 => "timeout",
        409 => "conflict",
        412 => "precondition_failed",
        413 => "too_large",
        415 => "bad_content_type",
        416 => "requested_range_not_satisfiable",
        417 => "expectation_failed",
        422 => "doc_validation",
        429 => "too_many_requests",
        501 => "not_implemented",
        502 => "bad_gateway",
        503 => "service_unavailable",
        504 => "gateway_timeout",
        500.. => "internal_server_error",
        _ => "bad_request",
    }
}
