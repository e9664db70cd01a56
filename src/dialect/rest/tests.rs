use proptest::prelude::*;

use super::super::fixtures::{ask, brief, classified, disguised, documents, refusal, route};
use super::*;
use crate::document::RowFacts;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn rest() -> Rest {
    Rest::new(
        vec![route("/customers/{id}", "$.id"), route("/api/v1/guests", "$.id"), route("/orders/{id}/address", "$.id")],
        Outside::Pass,
    )
    .unwrap()
}

fn shapes(dialect: &Rest, headers: &[(&'static str, &str)], table: &[(&str, &str)]) {
    for (request, expected) in table {
        assert_eq!(brief(&ask(dialect, request, headers)), *expected, "{request}");
    }
}

#[test]
fn t5_every_method_and_path_has_one_shape() {
    shapes(
        &rest(),
        JSON,
        &[
            ("GET /customers", "GET /{collection} Read"),
            ("HEAD /customers", "HEAD /{collection} Read"),
            ("POST /customers", "POST /{collection} Create"),
            ("GET /customers/c-1", "GET /{collection}/{id} Read c-1"),
            ("HEAD /customers/c-1", "HEAD /{collection}/{id} Read c-1"),
            ("PUT /customers/c-1", "PUT /{collection}/{id} Replace c-1"),
            ("DELETE /customers/c-1", "DELETE /{collection}/{id} Delete c-1"),
            ("GET /customers/%C3%A9%20x", "GET /{collection}/{id} Read é x"),
            ("GET /customers/a@b.example", "GET /{collection}/{id} Read a@b.example"),
            ("GET /customers/c%251", "GET /{collection}/{id} Read c%1"),
            ("OPTIONS /customers", "neutral"),
            ("OPTIONS /customers/c-1", "neutral"),
            ("OPTIONS *", "outside"),
            ("GET *", "refused malformed-request"),
            ("PATCH /customers/c-1", "refused not-json"),
            ("PATCH /customers", "refused route-refused"),
            ("PUT /customers", "refused route-refused"),
            ("DELETE /customers", "refused route-refused"),
            ("POST /customers/c-1", "refused route-refused"),
            ("TRACE /customers/c-1", "refused route-refused"),
            ("COPY /customers/c-1", "refused route-refused"),
            ("QUERY /customers", "refused route-refused"),
            ("get /customers", "refused route-refused"),
            ("PROPFIND /customers", "refused route-refused"),
            ("GET /customers/c-1/orders", "refused route-refused"),
            ("POST /customers/c-1/orders", "refused route-refused"),
            ("POST /customers/_bulk/x", "refused route-refused"),
            // Without {id} there are no documents of its own.
            ("GET /api/v1/guests", "GET /{collection} Read"),
            ("POST /api/v1/guests", "POST /{collection} Create"),
            ("GET /api/v1/guests/1", "refused route-refused"),
            ("PUT /api/v1/guests", "refused route-refused"),
            // With {id} in the middle there is no collection.
            ("GET /orders/7/address", "GET /{collection}/{id} Read 7"),
            ("PUT /orders/7/address", "PUT /{collection}/{id} Replace 7"),
            ("GET /orders/7", "outside"),
            ("POST /orders", "outside"),
            ("GET /orders/7/address/x", "refused route-refused"),
            // Elsewhere nothing is looked at.
            ("PATCH /products/1", "outside"),
            ("GET /", "outside"),
            ("GET /api/v1", "outside"),
            ("GET /api/v1/guestbook", "outside"),
            ("GET /customersupport", "outside"),
            ("GET /v2/customers", "outside"),
        ],
    );
}

#[test]
fn put_creates_when_it_may_not_replace() {
    let headers = [("content-type", "application/json"), ("if-none-match", "*")];
    shapes(&rest(), &headers, &[("PUT /customers/c-1", "PUT /{collection}/{id} Create c-1")]);
    let headers = [("content-type", "application/json"), ("if-none-match", "\"3\"")];
    shapes(&rest(), &headers, &[("PUT /customers/c-1", "PUT /{collection}/{id} Replace c-1")]);
}

#[test]
fn t5_a_patch_is_of_a_format_that_says_what_it_does() {
    for ok in ["application/merge-patch+json", "Application/JSON-Patch+JSON; charset=utf-8"] {
        shapes(&rest(), &[("content-type", ok)], &[("PATCH /customers/c-1", "PATCH /{collection}/{id} Replace c-1")]);
        shapes(&rest(), &[("content-type", ok)], &[("PUT /customers/c-1", "refused not-json")]);
    }
    for wrong in [
        "application/json",
        "text/plain",
        "application/strategic-merge-patch+json",
        "application/json-patch+json; charset=utf-16",
    ] {
        shapes(&rest(), &[("content-type", wrong)], &[("PATCH /customers/c-1", "refused not-json")]);
    }
    shapes(&rest(), &[], &[("PATCH /customers/c-1", "refused not-json")]);
    let refused = refusal(ask(&rest(), "PATCH /customers/c-1", JSON));
    assert_eq!(refused.collection, Some(0));
    assert!(refused.detail.ends_with("send application/merge-patch+json (RFC 7396) or application/json-patch+json (RFC 6902)"));
}

#[test]
fn t6_a_client_cannot_change_what_a_request_means() {
    for (name, value) in [("x-http-method-override", "GET"), ("x-http-method", "MERGE"), ("x-method-override", "PATCH")] {
        for request in ["POST /customers", "GET /customers/c-1", "OPTIONS /customers"] {
            let shape = ask(&rest(), request, &[("content-type", "application/json"), (name, value)]);
            assert_eq!(brief(&shape), "refused route-refused", "{request} {name}");
        }
    }
    for request in [
        "POST /customers?_method=PUT",
        "POST /customers?limit=1&_METHOD=PATCH",
        "GET /customers/c-1?x=1;_method=DELETE",
        "POST /customers?%5Fmethod=PUT",
    ] {
        assert_eq!(brief(&ask(&rest(), request, JSON)), "refused route-refused", "{request}");
    }
    for types in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/merge-patch+json")]] {
        for request in ["POST /customers", "PUT /customers/c-1"] {
            assert_eq!(brief(&ask(&rest(), request, types)), "refused not-json", "{request} {types:?}");
        }
    }
    // What carries no body needs no type.
    shapes(
        &rest(),
        &[],
        &[("GET /customers", "GET /{collection} Read"), ("DELETE /customers/c-1", "DELETE /{collection}/{id} Delete c-1")],
    );
}

#[test]
fn t11_ranges_of_rewritten_bodies_are_refused() {
    for request in ["GET /customers", "GET /customers/c-1", "HEAD /customers/c-1"] {
        let refused = refusal(ask(&rest(), request, &[("range", "bytes=0-99")]));
        assert_eq!(refused.code, RefusedCode::Route);
        assert!(refused.detail.contains("Range"), "{}", refused.detail);
    }
    assert_eq!(brief(&ask(&rest(), "GET /products", &[("range", "bytes=0-99")])), "outside");
}

#[test]
fn t14_protected_members_are_not_searched_by() {
    for request in [
        "GET /customers?name=Mei",
        "GET /customers?name_like=M",
        "GET /customers?phone[]=1",
        "GET /customers?idCard=1",
        "GET /customers?sort=-name",
        "GET /customers?fields=id,phone",
        "GET /customers?filter%5Bname%5D=Mei",
        "GET /customers?$filter=name%20eq%20'Mei'",
        "HEAD /customers?NAME=x",
        "DELETE /customers/c-1?name=x",
        "POST /customers?on_conflict=phone",
    ] {
        let refused = refusal(ask(&rest(), request, JSON));
        assert_eq!(refused.code, RefusedCode::NotSearchable, "{request}");
        assert!(!refused.detail.contains("Mei") && refused.detail.contains("protected member"), "{}", refused.detail);
    }
    shapes(&rest(), JSON, &[("GET /customers?_page=2&_limit=10&tier=gold&_sort=tier", "GET /{collection} Read")]);
}

#[test]
fn t14_with_a_list_only_its_parameters_pass() {
    let mut listed = route("/customers/{id}", "$.id");
    listed.query = Some(["limit", "sort", "first_name"].map(str::to_string).into());
    let rest = Rest::new(vec![listed.clone()], Outside::Pass).unwrap();
    for fine in ["GET /customers?limit=3&sort=tier", "GET /customers?first_name=x"] {
        assert_eq!(brief(&ask(&rest, fine, &[])), "GET /{collection} Read", "{fine}");
    }
    for (request, remedy) in [
        ("GET /customers?mei.tanaka@shop.example", "allowed: limit, sort, first_name"),
        ("GET /customers?sort=name", "\"name\""),
        ("GET /customers?LIMIT=3", "allowed"),
    ] {
        let refused = refusal(ask(&rest, request, &[]));
        assert_eq!(refused.code, RefusedCode::NotSearchable, "{request}");
        assert!(refused.detail.contains(remedy) && !refused.detail.contains("tanaka"), "{}", refused.detail);
    }
    listed.query = Some(["limit", "Name"].map(str::to_string).into());
    let errors = Rest::new(vec![listed], Outside::Pass).unwrap_err();
    assert!(errors.len() == 1 && errors[0].1.contains("\"Name\" would search by the protected member \"name\""), "{errors:?}");
}

#[test]
fn t31_other_spellings_of_a_protected_path_are_refused() {
    shapes(
        &rest(),
        JSON,
        &[
            ("GET /Customers", "refused route-refused"),
            ("POST /CUSTOMERS", "refused route-refused"),
            ("GET /customers/", "refused route-refused"),
            ("GET /customers/c-1/", "refused route-refused"),
            ("GET /customers.json", "refused route-refused"),
            ("POST /customers%2F", "refused route-refused"),
            ("PUT /customers%2Fc-1", "refused route-refused"),
            ("PUT /customers%5Cc-1", "refused route-refused"),
            ("PUT /%2563ustomers/c-1", "refused route-refused"),
            ("PUT /x%2F..%2Fcustomers/c-1", "refused route-refused"),
            ("GET /cu%C5%BFtomers", "refused route-refused"),
            ("GET /customers%3Bv=1/c-1", "refused route-refused"),
            ("GET /API/v1/guests", "refused route-refused"),
            ("GET /Orders/7/address", "refused route-refused"),
            // Ids that servers cut differently.
            ("GET /customers/a%2Fb", "refused malformed-request"),
            ("GET /customers/a%5Cb", "refused malformed-request"),
            ("GET /customers/%252E%252E", "refused malformed-request"),
            ("GET /customers/%FF", "refused malformed-request"),
        ],
    );
    let long = format!("GET /customers/{}", "x".repeat(513));
    assert_eq!(brief(&ask(&rest(), &long, &[])), "refused malformed-request");
}

#[test]
fn t31_headers_of_gateways_do_not_lead_to_protected_paths() {
    for name in ["x-original-url", "x-rewrite-url", "x-original-uri"] {
        for value in [
            "/customers",
            "/Customers/c-1?x=1",
            "http://backend/customers",
            "/%63ustomers",
            // No host stands behind these.
            "/customers/http://x",
            "\\customers\\x://y/z",
            "customers/c-1",
        ] {
            assert_eq!(brief(&ask(&rest(), "POST /public", &[(name, value)])), "refused route-refused", "{name}: {value}");
        }
        assert_eq!(brief(&ask(&rest(), "POST /public", &[(name, "/public")])), "outside");
        assert_eq!(brief(&ask(&rest(), "GET /customers", &[(name, "/admin")])), "refused route-refused");
        assert_eq!(brief(&ask(&rest(), "GET /customers", &[(name, "/customers?x=1")])), "GET /{collection} Read");
    }
}

#[test]
fn t32_no_request_brings_a_protected_collection_along() {
    for request in [
        "GET /orders?_expand=customer",
        "GET /orders/7?include=items,customers",
        "GET /products?populate[]=guest",
        "GET /customers?_embed=guests",
    ] {
        assert_eq!(brief(&ask(&rest(), request, &[])), "refused route-refused", "{request}");
    }
    for request in ["GET /orders?_expand=product", "GET /orders?customer=c-1"] {
        assert_eq!(brief(&ask(&rest(), request, &[])), "outside", "{request}");
    }
}

#[test]
fn outside_can_be_refused() {
    let rest = Rest::new(vec![route("/customers/{id}", "$.id")], Outside::Refuse).unwrap();
    shapes(&rest, JSON, &[("GET /products", "refused route-refused"), ("GET /customers", "GET /{collection} Read")]);
}

#[test]
fn replies_are_asked_for_in_json() {
    let set = |headers: &[(&'static str, &str)]| documents(ask(&rest(), "GET /customers", headers)).set_headers;
    assert_eq!(set(&[("accept", "text/csv")]), [head::json_accept()]);
    assert!(set(&[]).is_empty() && set(&[("accept", "application/vnd.pgrst.object+json")]).is_empty());
}

#[test]
fn wrong_routes_are_all_reported() {
    let wrong =
        |list: &[&str]| Rest::new(list.iter().map(|matches| route(matches, "$.id")).collect(), Outside::Pass).unwrap_err();
    for matches in [
        "",
        "customers",
        "/",
        "/customers/",
        "//customers",
        "/a//b",
        "/{id}",
        "/a/{id}/{id}",
        "/a/{name}",
        "/a/../b",
        "/a?x=1",
        "/%63ustomers",
        "/a;b",
        "/é",
    ] {
        let errors = wrong(&[matches]);
        assert_eq!((errors.len(), errors[0].0), (1, 0), "{matches}: {errors:?}");
    }
    for (pair, what) in [
        (["/customers/{id}", "/customers"], "same collection"),
        (["/customers/{id}", "/customers/archive"], "a document's path is a collection's"),
        (["/customers", "/Customers/{id}"], "case"),
        (["/a/{id}/b", "/a/x/{id}"], "crossing"),
    ] {
        let errors = wrong(&pair);
        assert_eq!((errors.len(), errors[0].0), (1, 1), "{what}: {errors:?}");
        assert!(errors[0].1.contains("collection number 1"), "{errors:?}");
    }
    assert_eq!(wrong(&["/x/", "/ok", "/{id}", "/ok/{id}"]).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 2, 3]);
    assert!(
        Rest::new(
            vec![route("/orders/{id}", "$.id"), route("/orders/{id}/customer", "$.id"), route("/orders/{id}/items/x", "$.id")],
            Outside::Pass
        )
        .is_ok()
    );
}

#[test]
fn a_route_below_another_is_its_own_collection() {
    let rest = Rest::new(vec![route("/orders/{id}", "$.id"), route("/orders/{id}/customer", "$.id")], Outside::Pass).unwrap();
    for (request, collection) in [("GET /orders/1", 0), ("GET /orders/1/customer", 1)] {
        assert_eq!(documents(ask(&rest, request, &[])).collection, collection);
    }
    assert_eq!(brief(&ask(&rest, "GET /orders/1/items", &[])), "refused route-refused");
}

#[test]
fn a_replacement_is_one_document() {
    let mut listed = route("/customers/{id}", "$.id");
    listed.rows = ["$", "$[*]", "$.items[*]", "$[\"a*b\"]"].map(super::super::fixtures::selector).into();
    let rest = Rest::new(vec![listed], Outside::Pass).unwrap();
    let shown = |set: usize| rest.row_sets(0)[set].rows.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(ALL), ["$", "$[*]", "$.items[*]", "$[\"a*b\"]"]);
    assert_eq!(shown(ONE), ["$", "$[\"a*b\"]"]);
    assert!(rest.row_sets(7).is_empty());
    let documents = documents(ask(&rest, "PUT /customers/c-1", JSON));
    assert_eq!((documents.request, documents.reply), (RequestBody::Documents { row_set: ONE }, ALL));
    // Two rows, two intents; none, no write.
    let facts = BodyFacts { rows: vec![RowFacts::default(), RowFacts::default()], ..BodyFacts::default() };
    assert_eq!(
        rest.judge(&documents, &facts).unwrap(),
        [RowIntent { intent: Intent::Replace, assign_id: false, made_elsewhere: false, defines: false }; 2]
    );
    assert_eq!(
        rest.judge(&documents, &BodyFacts::default()).unwrap(),
        [],
        "a write without a row is refused where it is protected"
    );
}

#[test]
fn errors_are_problem_details() {
    let (media_type, body) = rest().error(403, "route-refused", "PATCH is \"not\" mapped");
    assert_eq!(media_type, "application/problem+json");
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({"type": "docs/errors.md#route-refused", "title": "Route refused", "status": 403, "detail": "PATCH is \"not\" mapped"});
    assert_eq!(body, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn t31_no_spelling_of_a_protected_path_is_outside(
        method in prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "COPY"]),
        target in prop_oneof![disguised("/customers"), disguised("/customers/c-1"), disguised("/api/v1/guests"), disguised("/orders/7/address")],
    ) {
        if let Some(shape) = classified(&rest(), method, &target) {
            prop_assert!(!matches!(shape, Shape::Outside), "{method} {target}");
        }
    }

    #[test]
    fn classify_never_panics(method in "[A-Za-z]{1,8}", path in ".{0,48}", query in proptest::option::of(".{0,48}"), name in "[a-z-]{1,12}", value in "[ -~]{0,24}") {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(&value).unwrap());
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for path in [path.clone(), format!("/customers/{path}"), format!("/customers{path}")] {
            let _ = brief(&rest().classify(Head { method: &method, path: &path, query: query.as_deref(), headers: &headers }));
        }
    }
}
