//! Searches by people who want to know more than they may: what is told without a record, what passes in clear, what a view gives away.

use http::Method;
use serde_json::json;

use super::index::{ACCOUNT, SUPPORT, couch_with_customers, customers, find, get, ids, rest};
use crate::support::{Database, Setup, Stub, StubReply};

/// Browsers ask with OPTIONS before they search, and gateways copy targets into headers.
#[tokio::test]
async fn t14_the_value_of_a_search_passes_in_no_other_spelling_and_no_header() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let searches = rest("").collections(
        r#"[collection.customers]
match = "/customers/{id}"
rows = ["$", "$[*]"]
subject = "{id}"
[collection.customers.field]
email = { at = "$.email", index = { at = "$.email_ix", normalise = "email", param = "address" } }
"#,
    );
    let proxy = Setup { database: Database::At(stub.address, "rest"), ..searches }.start().await;
    let options = proxy.ask("shop", "account", Method::OPTIONS, "/customers?address=mei@example.org&a=b", "").await;
    assert_eq!(options.status, 200, "{}", options.text());
    assert_eq!(stub.seen().last().unwrap().target, "/customers");
    for header in ["x-original-url", "x-original-uri", "x_original_uri", "x-forwarded-uri", "x-envoy-original-path"] {
        let target = "/customers?address=mei@example.org";
        let answer = proxy.ask_with("shop", "account", Method::GET, target, &[(header, target)], "").await.unwrap();
        assert_eq!(answer.status, 200, "{header}: {}", answer.text());
    }
    for query in
        ["Address=mei@example.org", "address[]=mei@example.org", "address_like=mei@example.org", "filter=address:mei@example.org"]
    {
        let answer = get(&proxy, ACCOUNT, &format!("/customers?{query}")).await;
        assert_eq!(answer.outcome(), (400, "not-searchable".to_owned()), "{query}");
    }
    assert_eq!(stub.seen().len(), 6);
    for seen in stub.seen() {
        let head = format!("{} {:?}", seen.target, seen.headers);
        assert!(!head.contains("mei"), "{head}");
    }
    assert!(stub.seen().iter().skip(1).all(|seen| seen.target.contains("email_ix=ix1.")), "the control");
}

/// What was searched is compared with what is found, so it must be in what is found.
#[tokio::test]
async fn a_search_that_asks_for_parts_of_documents_is_refused_rather_than_empty() {
    let proxy = rest("").start().await;
    customers(&proxy).await;
    for query in ["select=id", "fields=id,tier", "_fields=id", "fields[customers]=tier", "exclude=tier"] {
        let answer = get(&proxy, SUPPORT, &format!("/customers?email=mei@example.org&{query}")).await;
        assert_eq!(answer.outcome(), (400, "not-searchable".to_owned()), "{query}: {}", answer.text());
        assert!(answer.text().contains("parts of documents"), "{}", answer.text());
    }
}

/// The bookmark of a page that passes over a document names it all the same, and statistics count it.
#[tokio::test]
async fn t25_a_search_tells_of_no_document_that_is_not_recorded() {
    let (proxy, _stub, _documents) = couch_with_customers().await;
    for more in [json!({"skip": 1}), json!({"limit": 0}), json!({"execution_stats": true})] {
        let mut query = json!({"selector": {"email": "mei@example.org"}});
        query.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = find(&proxy, SUPPORT, &query).await;
        assert_eq!(answer.outcome(), (400, "not-searchable".to_owned()), "{query}: {}", answer.text());
        query["selector"] = json!({"tier": "gold"});
        assert_eq!(find(&proxy, SUPPORT, &query).await.status, 200, "{query}");
    }
    let usual = json!({"selector": {"email": "mei@example.org"}, "skip": 0, "limit": 1, "execution_stats": false});
    assert_eq!(ids(&find(&proxy, SUPPORT, &usual).await), ["c-1"]);
    let past = json!({"selector": {"$elemMatch": {"email_ix": {"$gt": null}}}});
    assert_eq!(find(&proxy, SUPPORT, &past).await.outcome(), (400, "not-searchable".to_owned()));
}
