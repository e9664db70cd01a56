use http::HeaderMap;
use proptest::prelude::*;

use super::super::fixtures::{ask, brief, classified, disguised, documents, refusal, route, walked};
use super::*;
use crate::dialect::Flow;
use crate::document::Framing;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn couch() -> CouchDb {
    CouchDb::new(vec![route("customers", "$._id"), route("eu/guests", "$._id")]).unwrap()
}

fn shapes(headers: &[(&'static str, &str)], table: &[(&str, &str)]) {
    for (request, expected) in table {
        assert_eq!(brief(&ask(&couch(), request, headers)), *expected, "{request}");
    }
}

#[test]
fn documents_lists_and_the_database_have_their_shapes() {
    shapes(
        JSON,
        &[
            ("GET /customers", "neutral"),
            ("GET /customers/", "neutral"),
            ("HEAD /customers", "neutral"),
            ("PUT /customers", "neutral"),
            ("PUT /customers?q=2&n=1", "neutral"),
            ("OPTIONS /customers/c-1", "neutral"),
            ("DELETE /customers", "DELETE /{db} Delete"),
            ("POST /customers", "POST /{db} Create"),
            ("POST /customers/?batch=ok", "POST /{db} Create"),
            ("GET /customers/c-1", "GET /{db}/{docid} Read c-1"),
            (
                "GET /customers/c-1?rev=1-a&revs=true&conflicts=true&revs_info=true&attachments=false",
                "GET /{db}/{docid} Read c-1",
            ),
            ("HEAD /customers/c-1", "HEAD /{db}/{docid} Read c-1"),
            ("GET /customers/a%2Fb%20c%2B%C3%A9", "GET /{db}/{docid} Read a/b c+é"),
            ("GET /eu%2Fguests/g-1", "GET /{db}/{docid} Read g-1"),
            ("PUT /customers/c-1", "PUT /{db}/{docid} Create c-1"),
            ("PUT /customers/c-1?rev=1-a", "PUT /{db}/{docid} Replace c-1"),
            ("PUT /customers/c-1?new_edits=true", "PUT /{db}/{docid} Create c-1"),
            ("DELETE /customers/c-1?rev=1-a", "DELETE /{db}/{docid} Delete c-1"),
            ("POST /customers/_bulk_docs", "POST /{db}/_bulk_docs PerRow"),
            ("GET /customers/_all_docs", "GET /{db}/_all_docs Read"),
            (
                "GET /customers/_all_docs?include_docs=true&startkey=%22a%22&endkey=%22b%22&limit=3&skip=1&descending=true",
                "GET /{db}/_all_docs Read",
            ),
            ("HEAD /customers/_all_docs", "HEAD /{db}/_all_docs Read"),
            ("POST /customers/_all_docs?include_docs=true", "POST /{db}/_all_docs Read"),
            ("POST /customers/_bulk_get?latest=true", "POST /{db}/_bulk_get Read"),
            ("POST /customers/_bulk_get?revs=false", "POST /{db}/_bulk_get Read"),
            ("POST /customers/_bulk_get?revs=true&latest=true", "POST /{db}/_bulk_get Read whole"),
            ("POST /customers/_compact", "neutral"),
            ("POST /customers/_compact/views", "neutral"),
            ("POST /customers/_ensure_full_commit", "neutral"),
            ("POST /customers/_view_cleanup", "neutral"),
            ("GET /customers/_revs_limit", "neutral"),
            ("PUT /customers/_revs_limit", "neutral"),
            ("GET /customers/_security", "neutral"),
            ("GET /customers/_shards/c-1", "neutral"),
        ],
    );
    let if_match = [("content-type", "application/json"), ("if-match", "1-a")];
    shapes(
        &if_match,
        &[("PUT /customers/c-1", "PUT /{db}/{docid} Replace c-1"), ("DELETE /customers/c-1", "DELETE /{db}/{docid} Delete c-1")],
    );
}

#[test]
fn t5_everything_else_on_a_protected_database_is_refused_by_name() {
    for (request, named) in [
        ("GET /customers/_local_docs", "_local_docs"),
        ("POST /customers/_design/x/_update/y/c-1", "_update"),
        ("PUT /customers/_design/x/_update/y/c-1", "_update"),
        ("GET /customers/_design/x/_show/y/c-1", "_show"),
        ("GET /customers/_design/x/_list/y/z", "_list"),
        ("GET /customers/_design/x/_rewrite/y", "_rewrite"),
        ("GET /customers/_design/x/_search/y?q=name:Mei", "text searches"),
        ("GET /customers/_design/x/_nouveau/y?q=Mei", "text searches"),
        ("GET /customers/_design/x/logo.png", "attachments"),
        ("GET /customers/_design%2Fx/logo.png", "attachments"),
        ("GET /customers/_design/x/_view/y?list=Mei", "number 1"),
        ("GET /customers/_design/x/_view/y?attachments=true", "attachments"),
        ("GET /customers/_design/x/_view", "_view"),
        ("DELETE /customers/_design/x/_view/y", "_view"),
        ("COPY /customers/_design/x", "GET, HEAD, PUT, DELETE"),
        ("GET /customers/_find", "POST"),
        ("PUT /customers/_explain", "POST"),
        ("PUT /customers/_index", "_index"),
        ("DELETE /customers/_index/x/text/y", "_index"),
        ("GET /customers/_all_docs/queries", "POST"),
        ("PUT /customers/_security", "_security"),
        ("POST /customers/_temp_view", "_temp_view"),
        ("GET /customers/_partition/p/_all_docs", "_partition"),
        ("GET /customers/_compact", "_compact"),
        ("COPY /customers/c-1", "COPY"),
        ("GET /customers/c-1/photo.jpg", "attachments"),
        ("PUT /customers/c-1/photo.jpg?rev=1-a", "attachments"),
        ("DELETE /customers/c-1/a/b", "attachments"),
        ("POST /customers/c-1", "GET, HEAD, PUT, DELETE"),
        ("PATCH /customers/c-1", "GET, HEAD, PUT, DELETE"),
        ("PATCH /customers", "GET, HEAD, PUT, POST, DELETE"),
        ("PUT /customers/_all_docs", "_all_docs"),
        ("GET /customers/_bulk_docs", "_bulk_docs"),
        ("GET /customers/_bulk_get", "_bulk_get"),
        ("POST /customers/_new_route_of_couchdb_4", "not known"),
        ("POST /customers/_BULK_DOCS", "not known"),
        ("GET /customers/c-1/", "slash"),
        ("GET /customers/c-1?attachments=true", "attachments"),
        ("GET /customers/c-1?atts_since=%5B%221-a%22%5D", "atts_since"),
        ("POST /customers/_bulk_docs?new_edits=false", "new_edits"),
        ("GET /customers/_all_docs?attachments=true&include_docs=true", "attachments"),
        ("POST /customers/_bulk_get?attachments=true", "attachments"),
        ("GET /customers/c-1?mei.tanaka@shop.example", "number 1"),
        ("PUT /customers/c-1?rev=1-a&x=Mei", "number 2"),
    ] {
        let refused = refusal(ask(&couch(), request, JSON));
        assert_eq!((refused.code, refused.collection), (RefusedCode::Route, Some(0)), "{request}");
        assert!(refused.detail.contains(named), "{request}: {}", refused.detail);
        assert!(!refused.detail.contains("Mei") && !refused.detail.contains("tanaka"), "{request}: {}", refused.detail);
    }
    shapes(
        JSON,
        &[
            ("GET /customers/c-1?rev=1-a&rev=2-b", "refused malformed-request"),
            ("GET /customers/a+b", "refused malformed-request"),
        ],
    );
}

#[test]
fn t32_routes_that_span_databases_are_refused() {
    shapes(
        JSON,
        &[
            ("POST /_replicate", "refused route-refused"),
            ("GET /_replicate", "refused route-refused"),
            ("PUT /_replicator/job", "refused route-refused"),
            ("POST /_replicator", "refused route-refused"),
            ("POST /_replicator/_bulk_docs", "refused route-refused"),
            ("DELETE /_replicator/job?rev=1-a", "refused route-refused"),
            ("GET /_replicator/job", "outside"),
            ("GET /_replicator/_all_docs", "outside"),
            ("POST /_search_all", "refused route-refused"),
            ("POST /_search_analyze", "refused route-refused"),
            ("GET /_REPLICATE", "refused route-refused"),
            ("GET /_dbs/customers", "refused route-refused"),
            ("GET /_node/_local/_dbs/customers", "refused route-refused"),
            ("GET /_node/_local/shards%2F00000000-7fffffff%2Fcustomers.1/c-1", "refused route-refused"),
            ("GET /shards%2F00000000-7fffffff%2Fcustomers.1/c-1", "refused route-refused"),
            ("GET /shards%252F00000000-7fffffff%252Fcustomers.1/c-1", "refused route-refused"),
            ("GET /Shards%5C00000000-7fffffff%2Fcustomers.1/c-1", "refused route-refused"),
            ("GET /shards/c-1", "outside"),
            ("POST /%255Freplicate", "refused route-refused"),
            ("POST /_Replicate", "refused route-refused"),
            ("GET /products/_design/x/_rewrite/..%2F..%2Fcustomers", "refused route-refused"),
            ("GET /products/_design%2Fx/_rewrite/a", "refused route-refused"),
        ],
    );
    let overridden = ask(&couch(), "GET /_replicator/job", &[("x-http-method-override", "PUT")]);
    assert_eq!(brief(&overridden), "refused route-refused");
}

#[test]
fn system_routes_and_other_databases_pass() {
    for request in [
        "GET /",
        "GET /_all_dbs",
        "GET /_up",
        "GET /_uuids?count=3",
        "POST /_session",
        "DELETE /_session",
        "GET /_utils/",
        "GET /_utils/index.html",
        "GET /_active_tasks",
        "GET /_membership",
        "POST /_dbs_info",
        "GET /_db_updates",
        "PUT /_users/org.couchdb.user:x",
        "GET /_users",
        "GET /favicon.ico",
        "GET /_node/_local/_stats",
        "PUT /_node/_local/_config/log/level",
        "GET /_scheduler/jobs",
        "OPTIONS *",
        "PUT /products",
        "POST /products/_find",
        "PUT /products/p-1/photo.jpg",
        "GET /products/_changes?feed=continuous",
        "GET /products/_design/x/_view/y?name=Mei",
        "COPY /products/p-1",
        "POST /products/_bulk_docs",
        "GET /customers2/c-1",
        "GET /a+b/c",
        "GET /eu/other",
    ] {
        assert_eq!(brief(&ask(&couch(), request, &[])), "outside", "{request}");
    }
    let nothing = CouchDb::new(Vec::new()).unwrap();
    for request in ["POST /_replicate", "PUT /_replicator/x", "GET /_anything"] {
        assert_eq!(brief(&ask(&nothing, request, &[])), "outside", "{request}");
    }
}

#[test]
fn t6_a_client_cannot_change_what_a_request_means() {
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        for request in ["POST /customers/c-1", "POST /customers", "GET /customers", "POST /customers/_bulk_docs"] {
            let shape = ask(&couch(), request, &[("content-type", "application/json"), (name, "PUT")]);
            assert_eq!(brief(&shape), "refused route-refused", "{request}");
        }
    }
    for request in [
        "PUT /customers/c-1",
        "POST /customers",
        "POST /customers/_bulk_docs",
        "POST /customers/_all_docs",
        "POST /customers/_bulk_get",
    ] {
        for types in [
            &[("content-type", "text/plain")][..],
            &[("content-type", "multipart/related; boundary=x")],
            &[("content-type", "application/x-www-form-urlencoded")],
        ] {
            assert_eq!(brief(&ask(&couch(), request, types)), "refused not-json", "{request} {types:?}");
        }
        // Without a type it is JSON to CouchDB and nothing to PouchDB Server; we say which.
        let untyped = documents(ask(&couch(), request, &[]));
        assert_eq!(untyped.set_headers, [head::json_accept(), head::json_content_type()], "{request}");
        assert_eq!(documents(ask(&couch(), request, JSON)).set_headers, [head::json_accept()], "{request}");
    }
}

#[test]
fn t11_ranges_of_rewritten_bodies_are_refused() {
    for request in ["GET /customers/c-1", "GET /customers/_all_docs", "POST /customers/_bulk_get"] {
        let refused = refusal(ask(&couch(), request, &[("content-type", "application/json"), ("range", "bytes=0-9")]));
        assert_eq!(refused.code, RefusedCode::Route, "{request}");
    }
}

#[test]
fn t31_other_spellings_of_a_protected_database_are_refused() {
    shapes(
        JSON,
        &[
            ("PUT /Customers/c-1", "refused route-refused"),
            ("GET /CUSTOMERS", "refused route-refused"),
            ("PUT /customers%2Fc-1", "refused route-refused"),
            ("PUT /customers%5Cc-1", "refused route-refused"),
            ("PUT /%2563ustomers/c-1", "refused route-refused"),
            ("PUT /%2Fcustomers/c-1", "refused route-refused"),
            ("PUT /x%2F..%2Fcustomers/c-1", "refused route-refused"),
            ("PUT /cu%C5%BFtomers/c-1", "refused route-refused"),
            ("PUT /customers%3Bx/c-1", "refused route-refused"),
            ("GET /eu/guests", "refused route-refused"),
            ("GET /EU%2FGuests/g-1", "refused route-refused"),
            ("GET /customers/%FF", "refused malformed-request"),
        ],
    );
}

fn row(id: Option<&'static str>, peeks: &[(usize, &'static str)]) -> RowFacts<'static> {
    let peeks = peeks.iter().map(|(index, text)| (*index, text.as_bytes())).collect();
    RowFacts { whole: b"{}", id: id.map(str::as_bytes), peeks }
}

/// One document by this request; `Ok((intent, assign_id))` or the code.
fn judged(request: &str, row: RowFacts<'static>) -> Result<(Intent, bool), RefusedCode> {
    let documents = documents(ask(&couch(), request, JSON));
    let intents =
        couch().judge(&documents, &BodyFacts { rows: vec![row], ..BodyFacts::default() }).map_err(|refused| refused.code)?;
    assert_eq!(intents.len(), 1);
    Ok((intents[0].intent, intents[0].assign_id))
}

#[test]
fn what_a_document_says_decides_what_a_write_does() {
    let rev = (REV, "\"1-a\"");
    for (request, row, expected) in [
        ("PUT /customers/c-1", row(None, &[]), (Intent::Create, false)),
        ("PUT /customers/c-1", row(Some("\"c-1\""), &[]), (Intent::Create, false)),
        ("PUT /customers/c-1", row(Some("\"c\\u002d1\""), &[rev]), (Intent::Replace, false)),
        ("PUT /customers/c-1?rev=1-a", row(None, &[]), (Intent::Replace, false)),
        ("PUT /customers/c-1?rev=1-a", row(None, &[(DELETED, "true")]), (Intent::Delete, false)),
        ("PUT /customers/c-1", row(None, &[rev, (DELETED, "false")]), (Intent::Replace, false)),
        ("PUT /customers/c-1", row(None, &[rev, (DELETED, "true")]), (Intent::Delete, false)),
        ("POST /customers", row(None, &[]), (Intent::Create, true)),
        ("POST /customers", row(Some("\"c-1\""), &[]), (Intent::Create, false)),
        ("POST /customers", row(Some("\"c-1\""), &[rev]), (Intent::Replace, false)),
        ("POST /customers", row(Some("\"c-1\""), &[rev, (DELETED, "true")]), (Intent::Delete, false)),
        ("POST /customers/_bulk_docs", row(None, &[]), (Intent::Create, true)),
        ("POST /customers/_bulk_docs", row(Some("\"c-1\""), &[rev]), (Intent::Replace, false)),
        ("POST /customers/_bulk_docs", row(Some("\"c-1\""), &[rev, (DELETED, "true")]), (Intent::Delete, false)),
        (
            "POST /customers/_bulk_docs",
            row(Some("\"c-1\""), &[(ATTACHMENTS, r#"{"a":{"stub":true,"length":3}}"#)]),
            (Intent::Create, false),
        ),
        ("POST /customers/_bulk_docs", row(Some("\"c-1\""), &[(ATTACHMENTS, "{}")]), (Intent::Create, false)),
    ] {
        assert_eq!(judged(request, row), Ok(expected), "{request}");
    }
}

#[test]
fn t5_documents_that_say_two_things_or_are_no_documents_are_refused() {
    let rev = (REV, "\"1-a\"");
    for request in ["PUT /customers/c-1", "POST /customers", "POST /customers/_bulk_docs"] {
        for (row, code) in [
            (row(Some("7"), &[]), RefusedCode::Malformed),
            (row(Some("\"\\u005flocal/x\""), &[]), RefusedCode::Route),
            (row(Some("\"c-1\""), &[(REV, "null")]), RefusedCode::Malformed),
            (row(Some("\"c-1\""), &[(REV, "\"\"")]), RefusedCode::Malformed),
            (row(Some("\"c-1\""), &[(REV, "1")]), RefusedCode::Malformed),
            (row(Some("\"c-1\""), &[(DELETED, "1")]), RefusedCode::Malformed),
            (row(Some("\"c-1\""), &[(DELETED, "null")]), RefusedCode::Malformed),
            (row(Some("\"c-1\""), &[(DELETED, "\"true\"")]), RefusedCode::Malformed),
        ] {
            assert_eq!(judged(request, row), Err(code), "{request}");
        }
    }
    assert_eq!(judged("PUT /customers/c-1", row(Some("\"c-2\""), &[])), Err(RefusedCode::Malformed));
    assert_eq!(judged("POST /customers", row(None, &[rev])), Err(RefusedCode::Malformed));
    assert_eq!(judged("POST /customers/_bulk_docs", row(None, &[(DELETED, "true")])), Err(RefusedCode::Malformed));
}

#[test]
fn t40_inline_attachments_are_refused() {
    for attachments in [
        r#"{"a.txt":{"content_type":"text/plain","data":"TWVp"}}"#,
        r#"{"a.txt":{"stub":true},"b.txt":{"data":""}}"#,
        r#"{"a.txt":{"stub":true,"data":"TWVp"}}"#,
        r#"{"a.txt":{"stub":true,"follows":true}}"#,
        r#"{"a.txt":{"follows":true,"length":3}}"#,
        r#"{"a.txt":{"stub":1}}"#,
        r#"{"a.txt":{}}"#,
        r#"{"a.txt":"TWVp"}"#,
        "[]",
        "null",
        "\"x\"",
    ] {
        for request in ["PUT /customers/c-1", "POST /customers", "POST /customers/_bulk_docs"] {
            assert_eq!(
                judged(request, row(Some("\"c-1\""), &[(ATTACHMENTS, attachments)])),
                Err(RefusedCode::Route),
                "{request} {attachments}"
            );
        }
    }
}

#[test]
fn t5_options_in_bodies_are_judged_too() {
    let body = |list: &[(usize, &'static str)]| BodyFacts {
        body: list.iter().map(|(index, text)| (*index, text.as_bytes())).collect(),
        rows: vec![row(Some("\"c-1\""), &[])],
        ..BodyFacts::default()
    };
    let code = |request: &str, list: &[(usize, &'static str)]| {
        couch().judge(&documents(ask(&couch(), request, JSON)), &body(list)).map_err(|refused| refused.code)
    };
    for (request, list, expected) in [
        ("POST /customers/_bulk_docs", [(0, "null")], RefusedCode::Malformed),
        ("POST /customers/_bulk_docs", [(0, "false")], RefusedCode::Malformed),
        ("POST /customers/_bulk_docs", [(1, "true")], RefusedCode::Route),
    ] {
        assert_eq!(code(request, &list), Err(expected), "{request} {list:?}");
    }
    assert_eq!(code("POST /customers/_bulk_docs", &[(0, "true"), (1, "false")]).unwrap().len(), 1);
    assert_eq!(code("DELETE /customers/c-1?rev=1-a", &[]), Ok(Vec::new()));
}

#[test]
fn t5_a_body_of_options_holds_nothing_else() {
    let code = |request: &str, whole: &'static str| {
        let facts = BodyFacts { whole: whole.as_bytes(), ..BodyFacts::default() };
        couch().judge(&documents(ask(&couch(), request, JSON)), &facts).map_err(|refused| refused.code)
    };
    for (request, body) in [
        ("POST /customers/_all_docs", r#"{"keys":["c-1","c-2"],"include_docs":true,"limit":5}"#),
        ("POST /customers/_all_docs", r#"{"attachments":false}"#),
        ("POST /customers/_all_docs", "{}"),
        ("POST /customers/_bulk_get", r#"{"docs":[{"id":"c-1"},{"id":"c-2","rev":"1-a","atts_since":["1-a"]}]}"#),
    ] {
        assert_eq!(code(request, body), Ok(Vec::new()), "{request} {body}");
    }
    for (request, body) in [
        ("POST /customers/_all_docs", r#"{"queries":[]}"#),
        ("POST /customers/_all_docs", r#"{"attachments":true}"#),
        ("POST /customers/_all_docs", r#"{"keys":["c-1"],"name":"Mei"}"#),
        ("POST /customers/_all_docs", r#"{"keys":[{"name":"Mei"}]}"#),
        ("POST /customers/_all_docs", r#"{"limit":{"name":"Mei"}}"#),
        ("POST /customers/_all_docs", r#"["Mei"]"#),
        ("POST /customers/_bulk_get", r#"{"docs":[{"id":"c-1","name":"Mei"}]}"#),
        ("POST /customers/_bulk_get", r#"{"docs":["c-1"]}"#),
        ("POST /customers/_bulk_get", r#"{"attachments":"true"}"#),
    ] {
        assert_eq!(code(request, body), Err(RefusedCode::Route), "{request} {body}");
    }
}

#[test]
fn feeds_have_their_framing() {
    for (request, expected) in [
        ("GET /customers/_changes", Flow::Whole),
        ("GET /customers/_changes?feed=normal&since=now&limit=3&descending=true&style=all_docs", Flow::Whole),
        ("POST /customers/_changes?filter=_doc_ids", Flow::Whole),
        (
            "GET /customers/_changes?feed=longpoll&heartbeat=10000&timeout=60000&seq_interval=100&update_seq=true",
            Flow::Feed(Framing::Document),
        ),
        (
            "GET /customers/_changes?feed=continuous&include_docs=true&conflicts=true&attachments=false",
            Flow::Feed(Framing::Lines),
        ),
        ("GET /customers/_changes?feed=eventsource&last-event-id=3-x", Flow::Feed(Framing::Events)),
        ("GET /customers/_changes?feed=continuous&filter=app/by_tier&tier=gold", Flow::Feed(Framing::Lines)),
        ("GET /customers/_changes?filter=_view&view=app/by_tier", Flow::Whole),
        ("GET /customers/_changes?filter=_doc_ids&doc_ids=%5B%22c-1%22%5D", Flow::Whole),
        ("GET /customers/_changes?filter=_design", Flow::Whole),
    ] {
        let documents = documents(ask(&couch(), request, JSON));
        assert_eq!((documents.flow, documents.intent, documents.needs_whole_view), (expected, Intent::Read, false), "{request}");
        let (_, names) =
            walked(&couch().row_sets(0)[documents.reply], "$._id", r#"{"results":[{"doc":{"name":"x"}},{"id":"c-1"}]}"#);
        assert_eq!(names, 1, "{request}");
        let (_, names) = walked(&couch().row_sets(0)[documents.reply], "$._id", r#"{"seq":1,"doc":{"name":"x"}}"#);
        assert_eq!(names, 1, "{request}");
    }
    shapes(
        JSON,
        &[
            ("HEAD /customers/_changes", "refused route-refused"),
            ("GET /customers/_changes?feed=live", "refused malformed-request"),
            ("GET /customers/_changes?feed=normal&feed=continuous", "refused malformed-request"),
            ("GET /customers/_changes?filter=by_tier", "refused malformed-request"),
            ("GET /customers/_changes?filter=/", "refused malformed-request"),
            ("GET /customers/_changes?tier=gold", "refused route-refused"),
            ("GET /customers/_changes?filter=_doc_ids&tier=gold", "refused route-refused"),
            ("GET /customers/_changes?include_docs=true&attachments=true", "refused route-refused"),
            // A function may be given what it likes, but no protected member (T14).
            ("GET /customers/_changes?filter=app/by&name=Mei", "refused not-searchable"),
            ("GET /customers/_changes?filter=app/by&n%2561me=Mei", "refused not-searchable"),
            ("GET /customers/_changes?filter=app/by&idCard=1", "refused not-searchable"),
            ("GET /customers/_changes?filter=_view&view=app/by&sort=phone", "refused not-searchable"),
        ],
    );
}

#[test]
fn what_replicators_ask_has_its_shape() {
    shapes(
        JSON,
        &[
            ("POST /customers/_revs_diff", "POST /{db}/_revs_diff Read"),
            ("POST /customers/_missing_revs", "POST /{db}/_missing_revs Read"),
            ("GET /customers/_revs_diff", "refused route-refused"),
            ("POST /customers/_purge", "POST /{db}/_purge Delete"),
            ("GET /customers/_purge", "refused route-refused"),
            ("GET /customers/_purged_infos", "GET /{db}/_purged_infos Read"),
            ("GET /customers/_local/a.b_c%3D%3D", "GET /{db}/_local/{id} Read _local/a.b_c=="),
            ("GET /customers/_local%2Fab", "GET /{db}/_local/{id} Read _local/ab"),
            ("PUT /customers/_local/ab", "PUT /{db}/_local/{id} Replace _local/ab"),
            ("DELETE /customers/_local/ab?rev=0-1", "DELETE /{db}/_local/{id} Replace"),
            ("COPY /customers/_local/ab", "refused route-refused"),
            ("PUT /customers/_local/Mei%20Tanaka", "refused route-refused"),
            ("PUT /customers/_local/a+b", "refused route-refused"),
            ("PUT /customers/_local%2Fa%2Fb", "refused route-refused"),
            ("PUT /customers/_local/", "refused route-refused"),
            ("PUT /customers/_local/a/b.txt", "refused route-refused"),
            ("GET /customers/_local/ab?attachments=true", "refused route-refused"),
            ("GET /customers/c-1?open_revs=all&revs=true&latest=true", "GET /{db}/{docid}?open_revs Read c-1 whole"),
            ("GET /customers/c-1?open_revs=%5B%221-a%22%5D", "GET /{db}/{docid}?open_revs Read c-1 whole"),
            ("GET /customers/c-1?open_revs=%5B%22Mei%22%5D", "refused malformed-request"),
            ("GET /customers/c-1?open_revs=some", "refused malformed-request"),
            ("PUT /customers/c-1?new_edits=false", "PUT /{db}/{docid} Replace c-1 whole"),
            ("PUT /customers/c-1?new_edits=no", "refused malformed-request"),
            ("POST /customers/_bulk_docs?new_edits=true", "POST /{db}/_bulk_docs PerRow"),
        ],
    );
    let leaves = documents(ask(&couch(), "GET /customers/c-1?open_revs=all", &[])).reply;
    for body in [r#"[{"ok":{"_id":"c-1","name":"x"}},{"missing":"1-a"}]"#, r#"{"_id":"c-1","name":"x"}"#] {
        assert_eq!(walked(&couch().row_sets(0)[leaves], "$._id", body).1, 1, "{body}");
    }
}

#[test]
fn t26_copies_made_elsewhere_are_told_apart() {
    let judge = |request: &str, body: &str| {
        let couch = couch();
        let documents = documents(ask(&couch, request, JSON));
        let RequestBody::Documents { row_set } = documents.request else { panic!("{request}") };
        let (facts, _) = walked(&couch.row_sets(0)[row_set], "$._id", body);
        let rows = couch.judge(&documents, &facts).map_err(|refused| refused.code)?;
        Ok(rows.iter().map(|row| (row.intent, row.assign_id, row.made_elsewhere)).collect::<Vec<_>>())
    };
    let copies = r#"{"docs":[{"_id":"a","_rev":"1-a"},{"_id":"b","_revisions":{"start":1,"ids":["a"]}},{"_id":"c","_rev":"2-b","_deleted":true}],"new_edits":false}"#;
    let elsewhere = |intent| (intent, false, true);
    assert_eq!(
        judge("POST /customers/_bulk_docs", copies),
        Ok(vec![elsewhere(Intent::Replace), elsewhere(Intent::Replace), elsewhere(Intent::Delete)])
    );
    assert_eq!(judge("PUT /customers/a?new_edits=false", r#"{"_rev":"1-a"}"#), Ok(vec![elsewhere(Intent::Replace)]));
    assert_eq!(judge("PUT /customers/a", r#"{"_rev":"1-a"}"#), Ok(vec![(Intent::Replace, false, false)]));
    for (request, body) in [
        ("POST /customers/_bulk_docs", r#"{"docs":[{"_id":"a"}],"new_edits":false}"#),
        ("POST /customers/_bulk_docs", r#"{"docs":[{"_rev":"1-a"}],"new_edits":false}"#),
        ("POST /customers/_bulk_docs", r#"{"docs":[{"_id":"a","_rev":"1-a"}],"new_edits":0}"#),
        ("PUT /customers/a?new_edits=false", "{}"),
    ] {
        assert_eq!(judge(request, body), Err(RefusedCode::Malformed), "{request} {body}");
    }
}

#[test]
fn t40_attachments_have_a_shape_only_where_they_pass() {
    let passing = CouchDb::new(vec![Route { attachments: Attachments::Pass, ..route("customers", "$._id") }]).unwrap();
    for (request, expected) in [
        ("GET /customers/c-1/photo.jpg", "GET /{db}/{docid}/{attachment} Read c-1"),
        ("HEAD /customers/c-1/a/b.txt?rev=1-a", "HEAD /{db}/{docid}/{attachment} Read c-1"),
        ("PUT /customers/c-1/photo.jpg?rev=1-a", "PUT /{db}/{docid}/{attachment} Replace c-1"),
        ("DELETE /customers/c-1/photo.jpg?rev=1-a", "DELETE /{db}/{docid}/{attachment} Replace c-1"),
        ("POST /customers/c-1/photo.jpg", "refused route-refused"),
        ("GET /customers/c-1/a+b.jpg", "refused malformed-request"),
        ("GET /customers/c-1/", "refused route-refused"),
        ("GET /customers/_design/x/a.js", "refused route-refused"),
        ("GET /customers/c-1/photo.jpg?x=Mei", "refused route-refused"),
        ("GET /customers/c-1?attachments=true&atts_since=%5B%5D", "GET /{db}/{docid} Read c-1"),
        ("GET /customers/_all_docs?attachments=true&include_docs=true", "GET /{db}/_all_docs Read"),
        ("GET /customers/_changes?attachments=true&include_docs=true", "GET /{db}/_changes Read"),
        ("POST /customers/_bulk_get?attachments=true", "POST /{db}/_bulk_get Read"),
    ] {
        assert_eq!(brief(&ask(&passing, request, JSON)), expected, "{request}");
    }
    let written = documents(ask(&passing, "PUT /customers/c-1", JSON));
    let inline = BodyFacts { rows: vec![row(None, &[(ATTACHMENTS, r#"{"a.txt":{"data":"TWVp"}}"#)])], ..BodyFacts::default() };
    assert!(passing.judge(&written, &inline).is_ok());
}

#[test]
fn row_sets_are_where_couchdb_puts_documents() {
    let couch = couch();
    let shown = |set: usize| couch.row_sets(0)[set].rows.iter().map(ToString::to_string).collect::<Vec<_>>();
    let of = |request: &str| {
        let documents = documents(ask(&couch, request, JSON));
        let written = match documents.request {
            RequestBody::None => None,
            RequestBody::Plain { row_set }
            | RequestBody::Query { row_set }
            | RequestBody::Documents { row_set }
            | RequestBody::Patch { row_set, .. } => Some(shown(row_set)),
        };
        (written, shown(documents.reply))
    };
    let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(of("GET /customers/c-1"), (None, list(&["$"])));
    assert_eq!(of("PUT /customers/c-1"), (Some(list(&["$"])), list(&[])));
    assert_eq!(of("POST /customers"), (Some(list(&["$"])), list(&[])));
    assert_eq!(of("POST /customers/_bulk_docs"), (Some(list(&["$.docs[*]"])), list(&[])));
    assert_eq!(of("GET /customers/_all_docs"), (None, list(&["$.rows[*].doc", "$.results[*].rows[*].doc"])));
    assert_eq!(of("POST /customers/_all_docs").0, Some(list(&[])));
    assert_eq!(of("POST /customers/_bulk_get"), (Some(list(&[])), list(&["$.results[*].docs[*].ok"])));
    assert_eq!(of("DELETE /customers"), (None, list(&[])));
}

/// A whole request body as it comes from the wire: its intents, or the code it is refused with.
fn judged_body(request: &str, body: &str) -> Result<String, RefusedCode> {
    let couch = couch();
    let documents = documents(ask(&couch, request, JSON));
    let (RequestBody::Plain { row_set } | RequestBody::Query { row_set } | RequestBody::Documents { row_set }) =
        documents.request
    else {
        panic!("{request} takes no body")
    };
    let (facts, _) = walked(&couch.row_sets(0)[row_set], "$._id", body);
    let facts = BodyFacts { whole: body.as_bytes(), ..facts };
    let intents = couch.judge(&documents, &facts).map_err(|refused| refused.code)?;
    Ok(intents
        .iter()
        .map(|row| format!("{:?}{}", row.intent, if row.assign_id { "+id" } else { "" }))
        .collect::<Vec<_>>()
        .join(" "))
}

#[test]
fn t5_whole_bodies_are_judged_by_what_the_walker_finds() {
    for (request, body, expected) in [
        ("PUT /customers/c-1", r#"{"name":"x"}"#, Ok("Create")),
        ("PUT /customers/c-1", r#"{"_rev":"1-a","name":"x"}"#, Ok("Replace")),
        ("PUT /customers/c-1", r#"{"_r\u0065v":"1-a","_delet\u0065d":true}"#, Ok("Delete")),
        ("PUT /customers/c-1", "{}", Ok("Create")),
        ("PUT /customers/c-1", r#"[{"name":"x"}]"#, Ok("")),
        ("PUT /customers/c-1", "null", Ok("")),
        ("POST /customers", r#"{"name":"x"}"#, Ok("Create+id")),
        ("POST /customers", r#"{"_id":"_design/x","views":{}}"#, Ok("Create")),
        ("POST /customers", r#"{"_id":"_design/x","lists":{}}"#, Err(RefusedCode::ViewUnsafe)),
        // The document is the body itself, whatever it has in a member `docs`.
        ("POST /customers", r#"{"_id":"_design/x","docs":[{}],"lists":{}}"#, Err(RefusedCode::ViewUnsafe)),
        ("PUT /customers/c-1", r#"{"_id":"_design/x","views":{}}"#, Err(RefusedCode::Route)),
        (
            "POST /customers/_bulk_docs",
            r#"{"docs":[{"_id":"a","name":"x"},{"_id":"_design/x","_rev":"1-a","views":{"v":{"map":"function (doc) { emit(doc.tier) }"}}}]}"#,
            Ok("Create Create"),
        ),
        (
            "POST /customers/_bulk_docs",
            r#"{"docs":[{"_id":"a"},{"_id":"_des\u0069gn/x","views":{"v":{"map":"function (doc) { emit(doc.name) }"}}}]}"#,
            Err(RefusedCode::ViewUnsafe),
        ),
        ("POST /customers/_bulk_docs", r#"{"docs":[{"_id":"_design/x","name":"Mei"}]}"#, Err(RefusedCode::ViewUnsafe)),
        ("POST /customers/_bulk_docs", r#"{"docs":[{"_id":"_design/x","_rev":"1-a","_deleted":true}]}"#, Ok("Delete")),
        (
            "POST /customers/_bulk_docs",
            r#"{"docs":[{"_id":"_design/x","_attachments":{"a":{"data":"eA=="}}}]}"#,
            Err(RefusedCode::Route),
        ),
        ("POST /customers", r#"{"_attachments":{"a":{"data":"eA=="}}}"#, Err(RefusedCode::Route)),
        (
            "POST /customers/_bulk_docs",
            r#"{"docs":[{"name":"x"},{"_id":"a"},{"_id":"b","_rev":"1-a","docs":[{"name":"y"}]},{"_id":"c","_rev":"1-a","_deleted":true}],"new_edits":true}"#,
            Ok("Create+id Create Replace Delete"),
        ),
        ("POST /customers/_bulk_docs", r#"{"docs":[{"_id":"a"}],"new_edits":false}"#, Err(RefusedCode::Malformed)),
        ("POST /customers/_bulk_docs", r#"{"new_edits":true,"docs":[{"_id":"a"},{"_id":"_local/x"}]}"#, Err(RefusedCode::Route)),
        ("POST /customers/_bulk_docs", r#"{"docs":{"_id":"a"}}"#, Ok("")),
        ("POST /customers/_bulk_docs", r#"[{"_id":"a"}]"#, Ok("")),
        ("POST /customers/_bulk_docs", r#"{"docs":[]}"#, Ok("")),
        ("POST /customers/_all_docs", r#"{"keys":["a","b"]}"#, Ok("")),
        ("POST /customers/_all_docs", r#"{"queries":[{"keys":["a"]}]}"#, Err(RefusedCode::Route)),
        ("POST /customers/_bulk_get", r#"{"docs":[{"id":"a","rev":"1-a"}]}"#, Ok("")),
    ] {
        assert_eq!(judged_body(request, body), expected.map(str::to_string), "{request} {body}");
    }
}

#[test]
fn protected_members_of_every_reply_are_found() {
    let couch = couch();
    for (request, body, expected) in [
        ("GET /customers/c-1", r#"{"_id":"c-1","_rev":"1-a","name":"x"}"#, 1),
        (
            "GET /customers/_all_docs",
            r#"{"total_rows":3,"offset":0,"rows":[{"id":"a","key":"a","value":{"rev":"1-a"},"doc":{"_id":"a","name":"x"}},{"key":"b","error":"not_found"},{"id":"c","key":"c","value":{"rev":"2-b","deleted":true},"doc":null}]}"#,
            1,
        ),
        ("POST /customers/_all_docs", r#"{"rows":[{"doc":{"name":"x"}},{"doc":{"name":"y"}}]}"#, 2),
        ("POST /customers/_all_docs", r#"{"results":[{"rows":[{"doc":{"name":"x"}}]},{"rows":[{"doc":{"name":"y"}}]}]}"#, 2),
        (
            "POST /customers/_bulk_get",
            r#"{"results":[{"id":"a","docs":[{"ok":{"_id":"a","name":"x"}},{"ok":{"_id":"a","name":"y"}}]},{"id":"b","docs":[{"error":{"id":"b","error":"not_found"}}]}]}"#,
            2,
        ),
        ("POST /customers", r#"{"ok":true,"id":"a","rev":"1-a"}"#, 0),
    ] {
        let documents = documents(ask(&couch, request, JSON));
        let (_, names) = walked(&couch.row_sets(0)[documents.reply], "$._id", body);
        assert_eq!(names, expected, "{request} {body}");
    }
}

#[test]
fn wrong_database_names_are_all_reported() {
    let new = |names: &[&str]| CouchDb::new(names.iter().map(|name| route(name, "$._id")).collect());
    for name in ["", "/customers", "customers/", "_users", "1st", "a b", "a%2Fb", "a//b", "kundé", "{id}"] {
        let errors = new(&[name]).unwrap_err();
        assert_eq!((errors.len(), errors[0].0), (1, 0), "{name}: {errors:?}");
    }
    for pair in [["customers", "customers"], ["customers", "Customers"], ["eu", "eu/guests"], ["eu/guests", "eu"]] {
        assert_eq!(new(&pair).unwrap_err()[0].0, 1, "{pair:?}");
    }
    assert_eq!(new(&["_x", "ok", "9"]).unwrap_err().iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2]);
    assert!(new(&["a", "b_1$(x)+-", "Mixed"]).is_ok());
}

#[test]
fn errors_have_couchdbs_shape() {
    for (status, name) in [
        (400, "bad_request"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "not_found"),
        (409, "conflict"),
        (413, "too_large"),
        (415, "bad_content_type"),
        (422, "doc_validation"),
        (431, "bad_request"),
        (500, "internal_server_error"),
        (502, "bad_gateway"),
        (503, "service_unavailable"),
        (504, "gateway_timeout"),
    ] {
        let (media_type, body) = couch().error(status, "route-refused", "say \"please\"");
        assert_eq!(media_type, "application/json");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"error": name, "reason": "route-refused: say \"please\"", "type": "docs/errors.md#route-refused"})
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn t31_no_spelling_of_a_protected_database_is_outside(
        method in prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "COPY"]),
        target in prop_oneof![disguised("/customers"), disguised("/customers/c-1"), disguised("/customers/_bulk_docs"), disguised("/customers/c-1/a.txt")],
    ) {
        if let Some(shape) = classified(&couch(), method, &target) {
            prop_assert!(!matches!(shape, Shape::Outside), "{method} {target}");
        }
    }

    #[test]
    fn t5_below_a_protected_database_nothing_is_outside(method in "[A-Z]{1,7}", rest in "(/[a-zA-Z0-9_.~!$&'()*+,=:@%-]{0,12}){0,4}", query in proptest::option::of("[a-z_]{1,9}=[a-z]{0,5}")) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let path = format!("/customers{rest}");
        let shape = couch().classify(Head { method: &method, path: &path, query: query.as_deref(), headers: &HeaderMap::new() });
        prop_assert!(!matches!(shape, Shape::Outside), "{method} {path}");
    }

    #[test]
    fn classify_never_panics(method in "[A-Za-z]{1,8}", path in ".{0,48}", query in proptest::option::of(".{0,48}")) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for path in [path.clone(), format!("/customers/{path}"), format!("/customers{path}"), format!("/_{path}")] {
            let _ = brief(&couch().classify(Head { method: &method, path: &path, query: query.as_deref(), headers: &HeaderMap::new() }));
        }
    }
}
