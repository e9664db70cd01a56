//! What passes, what does not, and in which shape.

use std::time::Duration;

use http::Method;

use crate::support::{PERSON, Proxy, Setup, Stub, StubReply, exchange_raw, send};

#[tokio::test]
async fn outside_protected_collections_the_proxy_is_not_there() {
    let stub = Stub::start(|seen| StubReply {
        status: 207,
        headers: vec![
            ("etag", "\"1\"".to_owned()),
            ("content-type", "text/html".to_owned()),
            ("set-cookie", "a=b".to_owned()),
            ("x-custom", "kept".to_owned()),
        ],
        body: [b"\x00\xffyou sent: ", seen.body.as_ref()].concat(),
    })
    .await;
    let proxy = Setup::rest(stub.address).start().await;
    let headers = [("authorization", "Basic eDp5"), ("if-none-match", "\"1\""), ("range", "bytes=0-1"), ("x-mine", "1")];
    let answer = send(proxy.address, Method::POST, "/orders/7?x=%20y&name=Mei", &headers, "raw \u{1} bytes").await.unwrap();
    assert_eq!(answer.status, 207);
    assert_eq!(answer.body, b"\x00\xffyou sent: raw \x01 bytes".as_ref());
    for (name, value) in [("etag", "\"1\""), ("content-type", "text/html"), ("set-cookie", "a=b"), ("x-custom", "kept")] {
        assert_eq!(answer.headers[name], value);
    }
    assert!(!answer.headers.contains_key("data-view"));
    let seen = &stub.seen()[0];
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/orders/7?x=%20y&name=Mei"));
    for (name, value) in headers {
        assert_eq!(seen.headers[name], value);
    }
    assert_eq!(seen.headers["host"], "customers.example");
}

#[tokio::test]
async fn what_is_ours_never_reaches_the_database() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let proxy = Setup::rest(stub.address).start().await;
    proxy.ask("shop", "account", Method::GET, "/customers", "").await;
    proxy.ask("shop", "account", Method::GET, "/orders", "").await;
    for seen in stub.seen() {
        assert!(
            !seen.headers.contains_key("sudare-credential") && !seen.headers.contains_key("data-purpose"),
            "{:?}",
            seen.headers
        );
    }
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn t10_ambiguous_framing_is_refused_before_it_is_a_request() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let proxy = Setup::rest(stub.address).start().await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    for (what, head) in [
        (
            "length and coding",
            format!(
                "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "coding and length",
            format!(
                "POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{smuggled}"
            ),
        ),
        ("two lengths", format!("POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 41\r\n\r\n{smuggled}")),
        (
            "two equal lengths",
            format!("POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n{smuggled}"),
        ),
        ("a list of lengths", "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n{}".to_owned()),
        ("folded header", "GET /orders HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n".to_owned()),
        ("bare line feeds", "GET /orders HTTP/1.1\nHost: x\n\n".to_owned()),
        ("space before the colon", "POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("another coding", "POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned()),
        ("two codings", "POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned()),
        (
            "trailers",
            "POST /orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nData-Purpose: account\r\n\r\n".to_owned(),
        ),
        ("upgrade", "GET /orders HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".to_owned()),
        ("no host", "GET /orders HTTP/1.1\r\n\r\n".to_owned()),
        ("two hosts", "GET /orders HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".to_owned()),
        ("our header as a hop", "GET /customers HTTP/1.1\r\nHost: x\r\nConnection: sudare-credential\r\n\r\n".to_owned()),
    ] {
        let reply = exchange_raw(proxy.address, head.as_bytes(), Duration::from_millis(400)).await;
        assert!(reply.starts_with("HTTP/1.1 400") || reply.is_empty(), "{what}: {reply}");
        assert!(!reply.contains(" 200 "), "{what}: {reply}");
    }
    assert!(stub.seen().iter().all(|seen| !seen.target.contains("smuggled")), "{:?}", stub.seen());
}

#[tokio::test]
async fn t31_targets_that_can_be_read_in_two_ways_are_refused() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let proxy = Setup::rest(stub.address).start().await;
    for target in [
        "//customers",
        "/%63ustomers",
        "/customers/../customers",
        "/./customers",
        "/x/%2e%2e/customers",
        "/customers;v=1",
        "/customers\\c-1",
        "/customers%2fc-1",
        "http://db.example/customers",
        "/customers/c-1#name",
        "/Customers/c-1",
        "/CUSTOMERS",
        "/customers/",
        "/customers/c-1/",
        "*",
    ] {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nSudare-Credential: {}\r\nData-Purpose: account\r\n\r\n",
            Proxy::credential("shop")
        );
        let reply = exchange_raw(proxy.address, head.as_bytes(), Duration::from_millis(300)).await;
        assert!(reply.starts_with("HTTP/1.1 400") || reply.starts_with("HTTP/1.1 403"), "{target}: {reply}");
    }
    assert!(stub.seen().is_empty(), "{:?}", stub.seen());
}

#[tokio::test]
async fn t11_entity_tags_stay_and_framing_headers_are_made_anew() {
    let stub = Stub::start(|_| StubReply {
        status: 200,
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("etag", "\"7\"".to_owned()),
            ("digest", "sha-256=x".to_owned()),
            ("content-md5", "x".to_owned()),
            ("accept-ranges", "bytes".to_owned()),
        ],
        body: b"{\"id\":\"c-1\",\"tier\":\"gold\"}".to_vec(),
    })
    .await;
    let proxy = Setup::rest(stub.address).start().await;
    let headers =
        [("if-none-match", "\"7\""), ("if-modified-since", "Sat, 29 Oct 1994 19:43:31 GMT"), ("accept-encoding", "gzip")];
    let answer = proxy.ask_with("shop", "account", Method::GET, "/customers/c-1", &headers, "").await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.headers["etag"].to_str().unwrap()), (200, "\"7\""));
    for gone in ["digest", "content-md5", "accept-ranges"] {
        assert!(!answer.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(answer.headers["content-length"], answer.body.len().to_string().as_str());
    let seen = stub.seen().remove(0);
    assert!(!seen.headers.contains_key("if-none-match") && !seen.headers.contains_key("if-modified-since"));
    assert_eq!(seen.headers["accept-encoding"], "identity");

    let put = [("if-match", "\"7\""), ("content-md5", "x"), ("digest", "sha-256=x")];
    proxy.ask_with("shop", "account", Method::PUT, "/customers/c-1", &put, PERSON).await.unwrap();
    let seen = stub.seen().remove(1);
    assert_eq!(seen.headers["if-match"], "\"7\"", "compare-and-swap is the database's");
    assert!(!seen.headers.contains_key("content-md5") && !seen.headers.contains_key("digest"));
    assert_eq!(seen.headers["content-length"], seen.body.len().to_string().as_str());

    let answer = proxy.ask_with("shop", "account", Method::GET, "/customers/c-1", &[("range", "bytes=0-5")], "").await.unwrap();
    assert!(matches!(answer.status.as_u16(), 400 | 403), "ranges of revealed bodies are refused: {}", answer.text());
    let head = proxy.ask("shop", "account", Method::HEAD, "/customers/c-1", "").await;
    assert_eq!(head.status, 200);
    assert!(!head.headers.contains_key("content-length"), "the stored length says nothing of the view");
}

#[tokio::test]
async fn t14_queries_on_protected_members_are_refused_and_nothing_of_a_target_is_logged() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let proxy = Setup::rest(stub.address).start().await;
    for query in [
        "name=Mei",
        "NAME=Mei",
        "filter%5Bname%5D=Mei",
        "name_like=Mei",
        "sort=name",
        "order=phone",
        "select=id_card",
        "id-card=1",
    ] {
        let answer = proxy.ask("shop", "account", Method::GET, &format!("/customers?{query}"), "").await;
        assert_eq!(answer.outcome(), (400, "not-searchable".to_owned()), "{query}");
        assert!(!answer.text().contains("Mei"));
    }
    assert!(stub.seen().is_empty());
    assert_eq!(proxy.ask("shop", "account", Method::GET, "/customers?tier=gold&limit=2", "").await.status, 200);
    proxy.ask("shop", "account", Method::GET, "/customers/mei@tanaka.example", "").await;
    assert!(!proxy.audit_text().contains("tanaka.example"), "routes are logged, never targets");
}

#[tokio::test]
async fn t15_error_bodies_of_the_database_are_rewritten_like_any_other() {
    let stub = Stub::start(|seen| {
        // A database that echoes what it was sent, and one that answers with text.
        if seen.target.contains("text") {
            StubReply {
                status: 500,
                headers: vec![("content-type", "text/plain".to_owned())],
                body: b"duplicate: Mei Tanaka".to_vec(),
            }
        } else {
            StubReply { status: 409, headers: vec![("content-type", "application/json".to_owned())], body: seen.body.to_vec() }
        }
    })
    .await;
    let proxy = Setup::rest(stub.address).start().await;
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    assert_eq!(answer.status, 409);
    assert!(
        !answer.text().contains("sdr1.") && !answer.text().contains("Mei"),
        "registration reveals nothing: {}",
        answer.text()
    );
    assert_eq!(answer.json()["tier"], "gold");
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/text", "").await;
    assert_eq!(answer.outcome(), (500, "reply-unreadable".to_owned()));
    assert!(!answer.text().contains("Mei"));
}

#[tokio::test]
async fn t27_a_reply_that_fails_under_way_is_reset_never_ended_cleanly() {
    let good = r#"{"id":"c-0","tier":"gold"},"#.repeat(2_000);
    let stub = Stub::start(move |_| StubReply::json(200, format!("[{good}{{\"id\":\"c-1\",\"name\":\"clear text\"}}]"))).await;
    let proxy = Setup::rest(stub.address).start().await;
    let outcome = proxy.ask_with("shipping", "delivery", Method::GET, "/customers", &[], "").await;
    assert!(outcome.is_err(), "the client must see that it is incomplete");
    let alarms: Vec<_> =
        proxy.events(&sudare::audit::Filter::default()).into_iter().filter(|event| event.kind == "alarm").collect();
    assert_eq!(alarms.len(), 1, "an alarm wherever in the reply the value stands");
    assert_eq!(alarms[0].code.as_deref(), Some("value-not-authentic"));
    // The same fault in the first window is an error with a status.
    let stub = Stub::start(|_| StubReply::json(200, r#"[{"id":"c-1","name":"clear text"}]"#)).await;
    let proxy = Setup::rest(stub.address).start().await;
    let answer = proxy.ask("shipping", "delivery", Method::GET, "/customers", "").await;
    assert_eq!(answer.outcome(), (500, "value-not-authentic".to_owned()));
}

#[tokio::test]
async fn t28_nothing_of_one_caller_stays_on_a_pooled_connection() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let proxy = Setup::rest(stub.address).start().await;
    proxy
        .ask_with(
            "shop",
            "account",
            Method::GET,
            "/customers",
            &[("authorization", "Basic c2hvcA=="), ("cookie", "who=shop")],
            "",
        )
        .await
        .unwrap();
    proxy.ask("shipping", "delivery", Method::GET, "/customers", "").await;
    let seen = stub.seen();
    assert_eq!(seen[0].headers["authorization"], "Basic c2hvcA==");
    assert!(!seen[1].headers.contains_key("authorization") && !seen[1].headers.contains_key("cookie"));
}

#[tokio::test]
async fn a_database_that_is_away_is_502_and_errors_have_the_dialects_shape() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Setup::couchdb(gone).start().await;
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!((answer.status.as_u16(), answer.code()), (502, "database-unavailable".to_owned()), "{}", answer.text());
    assert!(answer.json()["reason"].is_string() && answer.json()["error"].is_string());
    assert!(!answer.text().contains(&gone.to_string()), "the database's address is the operator's business");
    let proxy = Setup::rest(gone).start().await;
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.json()["status"], 502);
}
