use super::super::super::fixtures::{ask, brief, documents, refusal, route};
use super::*;
use crate::dialect::{Dialect as _, RequestBody};
use crate::document::BodyFacts;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn couch(views: Views) -> CouchDb {
    CouchDb::new(vec![crate::dialect::Route { views, ..route("customers", "$._id") }]).unwrap()
}

#[test]
fn searches_indexes_design_documents_and_views_have_their_shapes() {
    for (request, expected) in [
        ("POST /customers/_find", "POST /{db}/_find Read"),
        ("POST /customers/_explain", "POST /{db}/_explain Read"),
        ("GET /customers/_index", "GET /{db}/_index Read"),
        ("POST /customers/_index", "POST /{db}/_index Create"),
        ("POST /customers/_index/_bulk_delete", "POST /{db}/_index/_bulk_delete Delete"),
        ("DELETE /customers/_index/_design%2Fx/json/by-tier", "DELETE /{db}/_index/{ddoc}/json/{name} Delete"),
        ("DELETE /customers/_index/_design/x/json/by-tier", "DELETE /{db}/_index/{ddoc}/json/{name} Delete"),
        ("GET /customers/_design_docs?include_docs=true", "GET /{db}/_design_docs Read"),
        ("POST /customers/_design_docs", "POST /{db}/_design_docs Read"),
        ("POST /customers/_design_docs/queries", "POST /{db}/_design_docs/queries Read"),
        ("POST /customers/_all_docs/queries", "POST /{db}/_all_docs/queries Read"),
        ("GET /customers/_design/x", "GET /{db}/_design/{ddoc} Read"),
        ("HEAD /customers/_design/x", "HEAD /{db}/_design/{ddoc} Read"),
        ("GET /customers/_design%2Fx?rev=1-a", "GET /{db}/_design/{ddoc} Read"),
        ("PUT /customers/_design/x", "PUT /{db}/_design/{ddoc} Create _design/x"),
        ("PUT /customers/_design/a%2Fb?rev=1-a", "PUT /{db}/_design/{ddoc} Create _design/a/b"),
        ("DELETE /customers/_design/x?rev=1-a", "DELETE /{db}/_design/{ddoc} Delete"),
        ("GET /customers/_design/x/_info", "GET /{db}/_design/{ddoc}/_info Read"),
        ("GET /customers/_design/x/_view/y", "GET /{db}/_design/{ddoc}/_view/{view} Read"),
        (
            "GET /customers/_design/x/_view/y?reduce=true&group=true&group_level=2&startkey=%5B1%5D&include_docs=true",
            "GET /{db}/_design/{ddoc}/_view/{view} Read",
        ),
        ("POST /customers/_design/x/_view/y?reduce=false", "POST /{db}/_design/{ddoc}/_view/{view} Read"),
        ("POST /customers/_design/x/_view/y/queries", "POST /{db}/_design/{ddoc}/_view/{view}/queries Read"),
        ("PUT /customers/_design/a+b", "refused malformed-request"),
        ("PUT /customers/_design/", "refused malformed-request"),
    ] {
        assert_eq!(brief(&ask(&couch(Views::Checked), request, JSON)), expected, "{request}");
    }
}

#[test]
fn t40_a_view_is_read_before_it_is_asked_unless_it_was_reviewed() {
    for (request, target, name) in [
        ("GET /customers/_design/x/_view/y", "/customers/_design/x", "y"),
        ("POST /customers/_design/a%2Fb/_view/c%20d", "/customers/_design/a%2Fb", "c d"),
        ("GET /customers/_design%2Fx/_view/y", "/customers/_design%2Fx", "y"),
        ("POST /customers/_design/x/_view/y/queries", "/customers/_design/x", "y"),
    ] {
        let asked = documents(ask(&couch(Views::Checked), request, JSON)).view.unwrap();
        assert_eq!((asked.definition.target.as_str(), asked.name.as_str()), (target, name), "{request}");
        let reviewed = documents(ask(&couch(Views::Reviewed), request, JSON));
        assert!(reviewed.view.is_none(), "{request}");
        assert_eq!(reviewed.reply, VIEW, "{request}");
    }
}

#[test]
fn t40_what_a_stored_view_emits_says_how_its_rows_are_read() {
    let couch = couch(Views::Checked);
    let asked = documents(ask(&couch, "GET /customers/_design/x/_view/y", JSON));
    let judged = |map: &str, reduce: &str| {
        let design = serde_json::json!({"views": {"y": {"map": map}, "other": {"map": "function (doc) { emit(doc.name) }"}}, "lists": {"l": "x"}});
        let mut design = design;
        if !reduce.is_empty() {
            design["views"]["y"]["reduce"] = reduce.into();
        }
        couch.judge_view(&asked, Some(design.to_string().as_bytes())).map_err(|refused| refused.code)
    };
    assert_eq!(judged("function (doc) { emit(doc.tier, 1) }", "_sum"), Ok(LIST));
    assert_eq!(judged("function (doc) { emit(doc.tier, doc) }", ""), Ok(VIEW));
    assert_eq!(judged("function (doc) { emit(doc.tier, doc) }", "_count"), Ok(VIEW));
    assert_eq!(judged("function (doc) { emit(doc.tier, doc) }", "_sum"), Err(RefusedCode::ViewUnsafe));
    assert_eq!(judged("function (doc) { emit(doc.name) }", ""), Err(RefusedCode::ViewUnsafe));
    assert_eq!(couch.judge_view(&asked, None).unwrap(), VIEW);
    for odd in ["", "[]", "{\"views\":[]}", "null"] {
        let outcome = couch.judge_view(&asked, Some(odd.as_bytes()));
        assert!(outcome.is_err() || outcome.is_ok_and(|reply| reply == LIST), "{odd}");
    }
    let mango = br#"{"language":"query","views":{"y":{"map":{"fields":{"tier":"asc"}},"reduce":"_count"}}}"#;
    assert_eq!(couch.judge_view(&asked, Some(mango)).map_err(|refused| refused.code), Err(RefusedCode::ViewUnsafe));
}

#[test]
fn t5_bodies_of_these_routes_hold_what_they_should_and_nothing_else() {
    let couch = couch(Views::Checked);
    let code = |request: &str, body: &str| {
        let documents = documents(ask(&couch, request, JSON));
        assert!(matches!(documents.request, RequestBody::Plain { .. }), "{request}");
        couch
            .judge(&documents, &BodyFacts { whole: body.as_bytes(), ..BodyFacts::default() })
            .map(|_| ())
            .map_err(|refused| refused.code)
    };
    for (request, body) in [
        ("POST /customers/_design/x/_view/y", r#"{"keys":["a",1,["x",null],{"y":1}]}"#),
        ("POST /customers/_design/x/_view/y", r#"{"startkey":["a"],"endkey":["b",{}],"reduce":false,"limit":5}"#),
        ("POST /customers/_design/x/_view/y/queries", r#"{"queries":[{"keys":["a"]},{"limit":1}]}"#),
        ("POST /customers/_all_docs/queries", r#"{"queries":[{"keys":["a"],"include_docs":true}]}"#),
        ("POST /customers/_index/_bulk_delete", r#"{"docids":["_design/x"]}"#),
        ("POST /customers/_index", r#"{"index":{"fields":["tier"]}}"#),
        ("PUT /customers/_design/x", r#"{"_id":"_design/x","language":"javascript","views":{}}"#),
        (
            "PUT /customers/_design/x",
            r#"{"language":"query","views":{"v":{"map":{"fields":{"tier":"asc"},"partial_filter_selector":{}},"reduce":"_count","options":{"def":{"fields":["tier"]}}}}}"#,
        ),
    ] {
        assert_eq!(code(request, body), Ok(()), "{request} {body}");
    }
    for (request, body, expected) in [
        ("POST /customers/_design/x/_view/y", r#"{"name":"Mei"}"#, RefusedCode::Route),
        ("POST /customers/_design/x/_view/y", r#"{"keys":"a"}"#, RefusedCode::Route),
        ("POST /customers/_design/x/_view/y", r#"{"attachments":true}"#, RefusedCode::Route),
        ("POST /customers/_design/x/_view/y", "[]", RefusedCode::Malformed),
        ("POST /customers/_all_docs/queries", r#"{"queries":[{"docs":[{"name":"Mei"}]}]}"#, RefusedCode::Route),
        ("POST /customers/_all_docs/queries", r#"{"queries":[],"docs":[]}"#, RefusedCode::Malformed),
        ("POST /customers/_all_docs/queries", r#"{"queries":{}}"#, RefusedCode::Malformed),
        ("POST /customers/_index/_bulk_delete", r#"{"docids":[1]}"#, RefusedCode::Malformed),
        ("POST /customers/_index/_bulk_delete", r#"{"docids":["a"],"docs":[]}"#, RefusedCode::Malformed),
        ("POST /customers/_index", r#"{"index":{"fields":["name"]}}"#, RefusedCode::NotSearchable),
        ("PUT /customers/_design/x", r#"{"_id":"_design/y"}"#, RefusedCode::Malformed),
        ("PUT /customers/_design/x", r#"{"_deleted":true}"#, RefusedCode::Malformed),
        ("PUT /customers/_design/x", r#"{"views":{"v":{"map":"function(doc){emit(doc.name)}"}}}"#, RefusedCode::ViewUnsafe),
        ("PUT /customers/_design/x", r#"{"updates":{"u":"function(doc){return [doc,1]}"}}"#, RefusedCode::ViewUnsafe),
        (
            "PUT /customers/_design/x",
            r#"{"language":"query","views":{"v":{"map":{"fields":{"name":"asc"}}}}}"#,
            RefusedCode::ViewUnsafe,
        ),
        (
            "PUT /customers/_design/x",
            r#"{"language":"erlang","views":{"v":{"map":"fun({Doc}) -> ok end."}}}"#,
            RefusedCode::ViewUnsafe,
        ),
    ] {
        assert_eq!(code(request, body), Err(expected), "{request} {body}");
    }
}

#[test]
fn t13_refusals_of_functions_say_nothing_of_them() {
    let couch = couch(Views::Checked);
    let documents = documents(ask(&couch, "PUT /customers/_design/x", JSON));
    let body = r#"{"views":{"Mei":{"map":"function(doc){ var Tanaka = doc['name']; emit(Tanaka) }"}}}"#;
    let refused = couch.judge(&documents, &BodyFacts { whole: body.as_bytes(), ..BodyFacts::default() }).unwrap_err();
    assert!(!refused.detail.contains("Mei") && !refused.detail.contains("Tanaka"), "{}", refused.detail);
    assert!(refused.detail.contains("reviewed"), "{}", refused.detail);
    assert_eq!(refusal(Shape::Refused(refused)).collection, Some(0));
}

#[test]
fn many_design_documents_in_one_request_take_no_longer_than_their_sum() {
    let couch = couch(Views::Checked);
    let write = documents(ask(&couch, "POST /customers/_bulk_docs", JSON));
    let text = |n: usize| format!(r#"{{"_id":"_design/{n}","note":"{}"}}"#, "x".repeat(900));
    let rows: Vec<String> = (0..3_000).map(text).collect();
    let body = format!(r#"{{"docs":[{}]}}"#, rows.join(","));
    let ids: Vec<String> = (0..rows.len()).map(|n| format!("\"_design/{n}\"")).collect();
    let row = |(row, id)| RowFacts { whole: str::as_bytes(row), id: Some(str::as_bytes(id)), ..RowFacts::default() };
    let facts = BodyFacts {
        whole: body.as_bytes(),
        rows: rows.iter().zip(&ids).map(|(row, id)| (row.as_str(), id.as_str())).map(row).collect(),
        ..BodyFacts::default()
    };
    let started = std::time::Instant::now();
    assert_eq!(couch.judge(&write, &facts).unwrap().len(), rows.len());
    assert!(started.elapsed().as_secs() < 3, "{:?}", started.elapsed());
}
