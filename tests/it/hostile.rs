//! What a hostile client, or a database that lies, tries beyond the plain shapes of each trap.

use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{PERSON, Proxy, Setup, Stub, StubReply, exchange_raw, send};

/// A stub that answers everything with this.
async fn says(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Stub {
    let headers: Vec<(&'static str, String)> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Stub::start(move |_| StubReply { status, headers: headers.clone(), body: body.as_bytes().to_vec() }).await
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn t26_couchdb_revisions_are_a_revision_too() {
    let stub = says(201, &[JSON], r#"{"ok":true,"id":"c-1","rev":"2-b"}"#).await;
    let proxy = Setup::couchdb(stub.address).start().await;
    // CouchDB takes the parent revision from `_revisions` where there is no `_rev`: these replace, whatever they say.
    let document = r#"{"_id":"c-1","_revisions":{"start":1,"ids":["967a00dff5e02add41819138abb3284d"]},"tier":"silver"}"#;
    let escaped = document.replace("_revisions", "_revision\\u0073");
    for body in [document.to_owned(), escaped] {
        for (method, path, body) in [
            (Method::PUT, "/customers/c-1", body.clone()),
            (Method::POST, "/customers", body.clone()),
            (Method::POST, "/customers/_bulk_docs", format!(r#"{{"docs":[{body}]}}"#)),
        ] {
            let answer = proxy.ask("helpdesk", "support", method.clone(), path, body).await;
            assert_eq!(answer.outcome(), (422, "would-erase".to_owned()), "{method} {path}: {}", answer.text());
        }
    }
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn t26_only_an_unambiguous_if_none_match_star_creates() {
    let stub = says(200, &[JSON], "{}").await;
    let proxy = Setup::rest(stub.address).start().await;
    let body = r#"{"id":"c-1","tier":"silver"}"#;
    // A database may read two of them, or both conditions, in another way than we do, and replace.
    let ambiguous: [&[(&str, &str)]; 3] = [
        &[("if-none-match", "\"x\""), ("if-none-match", "*")],
        &[("if-none-match", "*"), ("if-none-match", "*")],
        &[("if-none-match", "*"), ("if-match", "\"7\"")],
    ];
    for headers in ambiguous {
        let answer = proxy.ask_with("helpdesk", "support", Method::PUT, "/customers/c-1", headers, body).await.unwrap();
        assert_eq!(answer.outcome(), (422, "would-erase".to_owned()), "{headers:?}: {}", answer.text());
    }
    assert!(stub.seen().is_empty());
    let one = [("if-none-match", "*")];
    let answer = proxy.ask_with("helpdesk", "support", Method::PUT, "/customers/c-1", &one, body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(stub.seen()[0].headers["if-none-match"], "*");
}

#[tokio::test]
async fn t5_a_create_that_asks_to_be_merged_into_what_is_there_is_refused() {
    let stub = says(201, &[JSON], "{}").await;
    let proxy = Setup::rest(stub.address).start().await;
    for prefer in [
        "resolution=merge-duplicates",
        "return=representation, Resolution=\"merge-duplicates\"",
        "return=minimal,resolution=ignore-duplicates",
    ] {
        let headers = [("prefer", prefer)];
        let answer = proxy.ask_with("shop", "registration", Method::POST, "/customers", &headers, PERSON).await.unwrap();
        assert_eq!(answer.outcome(), (403, "route-refused".to_owned()), "{prefer}: {}", answer.text());
    }
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers?on_conflict=id", PERSON).await;
    assert_eq!(answer.outcome(), (403, "route-refused".to_owned()), "{}", answer.text());
    assert!(stub.seen().is_empty());
    let headers = [("prefer", "return=representation")];
    let answer = proxy.ask_with("shop", "registration", Method::POST, "/customers", &headers, PERSON).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn t6_headers_with_underscores_are_those_with_hyphens_to_some_servers() {
    let stub = says(200, &[JSON], "{}").await;
    let proxy = Setup::rest(stub.address).start().await;
    for header in ["x_http_method_override", "x-http_method-override", "x_http_method", "x_method_override"] {
        let headers = [(header, "DELETE")];
        let answer = proxy.ask_with("shop", "registration", Method::POST, "/customers", &headers, PERSON).await.unwrap();
        assert_eq!(answer.outcome(), (403, "route-refused".to_owned()), "{header}: {}", answer.text());
    }
    for header in ["x_original_url", "x_rewrite_url"] {
        let answer = send(proxy.address, Method::POST, "/orders", &[(header, "/customers")], PERSON).await.unwrap();
        assert_eq!(answer.outcome(), (403, "route-refused".to_owned()), "{header}: {}", answer.text());
    }
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn t31_what_stands_behind_the_collections_name_is_still_about_it() {
    let stub = says(200, &[JSON], "{}").await;
    let proxy = Setup::rest(stub.address).start().await;
    for path in [
        "/customers:batchCreate",
        "/customers(17)",
        "/customers('c-1')",
        "/customers,orders",
        "/customers=c-1",
        "/customers@2",
        "/customers%20",
        "/customers$count",
        "/customers+orders",
        "/customers%3Fx",
        "/customers%23",
    ] {
        let answer = send(proxy.address, Method::POST, path, &[], PERSON).await.unwrap();
        assert_eq!(answer.outcome(), (403, "route-refused".to_owned()), "{path}: {}", answer.text());
    }
    assert!(stub.seen().is_empty());
    for path in ["/customers-archive", "/customers_old", "/customers2"] {
        assert_eq!(send(proxy.address, Method::GET, path, &[], "").await.unwrap().status, 200, "{path} is another one");
    }
}

#[tokio::test]
async fn t5_a_database_cannot_send_the_client_past_the_proxy() {
    for location in
        ["http://10.0.0.9:5984/customers/c-1", "//10.0.0.9/customers", "https://customers.example.evil/", "http:\\\\10.0.0.9/"]
    {
        for status in [301, 302, 307, 308] {
            let stub =
                Stub::start(move |_| StubReply { status, headers: vec![("location", location.to_owned())], body: Vec::new() })
                    .await;
            let proxy = Setup::rest(stub.address).start().await;
            let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
            assert_eq!(answer.outcome(), (502, "reply-unreadable".to_owned()), "{status} {location}: {:?}", answer.headers);
            assert!(!answer.headers.contains_key("location") && !answer.text().contains("10.0.0.9"), "{}", answer.text());
        }
    }
    // Back through the proxy is fine, and so is the address of what was created.
    for (status, location) in
        [(303, "/customers/c-1"), (307, "http://customers.example/customers/c-1"), (201, "http://10.0.0.9/customers/c-1")]
    {
        let stub =
            Stub::start(move |_| StubReply { status, headers: vec![("location", location.to_owned())], body: Vec::new() }).await;
        let proxy = Setup::rest(stub.address).start().await;
        let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[tokio::test]
async fn t5_options_on_a_protected_collection_carries_no_body_either_way() {
    let stub = says(200, &[JSON, ("allow", "GET, POST")], r#"{"id":"c-1","name":"Mei Tanaka"}"#).await;
    for proxy in [Setup::rest(stub.address).start().await, Setup::couchdb(stub.address).start().await] {
        let answer = send(proxy.address, Method::OPTIONS, "/customers/c-1", &[JSON], PERSON).await.unwrap();
        assert_eq!(answer.outcome(), (400, "malformed-request".to_owned()), "{}", answer.text());
        assert!(stub.seen().iter().all(|seen| seen.body.is_empty()));
        let answer = send(proxy.address, Method::OPTIONS, "/customers/c-1", &[], "").await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, ""), "what a method list needs stands in the head");
        assert_eq!(answer.headers["allow"], "GET, POST");
    }
}

#[tokio::test]
async fn t12_no_header_of_the_database_lets_a_shared_cache_keep_a_reply() {
    let stub = says(
        200,
        &[
            JSON,
            ("cache-control", "public, max-age=600"),
            ("cdn-cache-control", "max-age=600"),
            ("cloudflare-cdn-cache-control", "max-age=600"),
            ("surrogate-control", "max-age=600"),
            ("x-accel-expires", "600"),
        ],
        r#"{"id":"c-1"}"#,
    )
    .await;
    let proxy = Setup::rest(stub.address).start().await;
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    let kept: Vec<_> = answer.headers.iter().filter(|(_, value)| value.to_str().unwrap().contains("600")).collect();
    assert!(kept.is_empty(), "{kept:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
}

/// A database that answers with these raw bytes, then with `more` again and again until the other side is gone.
async fn raw_database(head: String, more: Vec<u8>, pause: Duration) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (head, more) = (head.clone(), more.clone());
            tokio::task::spawn(async move {
                let mut bin = [0; 4096];
                let _asked = stream.read(&mut bin).await;
                let _sent = stream.write_all(head.as_bytes()).await;
                while !more.is_empty() && stream.write_all(&more).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                std::future::pending::<()>().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn an_empty_chunked_reply_is_an_empty_reply() {
    let head = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned();
    let database = raw_database(head, Vec::new(), Duration::ZERO).await;
    let proxy = Setup::rest(database).start().await;
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (201, ""), "{}", answer.text());
}

#[tokio::test]
async fn t24_a_reply_that_trickles_for_ever_ends_with_the_exchange() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n".to_owned();
    let database = raw_database(head, b"1\r\n \r\n".to_vec(), Duration::from_millis(20)).await;
    let mut proxy = Setup::rest(database).more("[limits]\ntotal_timeout_ms = 600\n").start().await;
    let started = std::time::Instant::now();
    let answer = proxy.ask("shop", "account", Method::GET, "/customers", "");
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await.expect("an end");
    assert_eq!(answer.outcome(), (504, "database-timeout".to_owned()), "{}", answer.text());
    assert!(started.elapsed() < Duration::from_secs(5));
    proxy.stop().await;
}

#[tokio::test]
async fn t27_a_reply_given_up_for_a_slow_client_is_not_ended_cleanly() {
    let rows = format!("{{\"id\":\"c-1\",\"tier\":\"{}\"}},", "g".repeat(200)).repeat(200_000);
    let stub = Stub::start(move |_| StubReply::json(200, format!("[{rows}{{}}]"))).await;
    let proxy = Setup::rest(stub.address).more("[limits]\nwrite_timeout_ms = 300\n").start().await;
    let mut slow = TcpStream::connect(proxy.address).await.unwrap();
    let head = format!(
        "GET /customers HTTP/1.1\r\nHost: x\r\nSudare-Credential: {}\r\nData-Purpose: account\r\n\r\n",
        Proxy::credential("shop")
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // Reads nothing for longer than the proxy waits, then everything.
    let gone = async {
        while !proxy.audit_text().contains("client-too-slow") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), gone).await.expect("given up");
    let mut all = Vec::new();
    let _ended = tokio::time::timeout(Duration::from_secs(30), slow.read_to_end(&mut all)).await.expect("closed");
    assert!(all.starts_with(b"HTTP/1.1 200"), "the reply had begun");
    assert!(!all.ends_with(b"]\r\n0\r\n\r\n"), "it was not whole");
    assert!(!all.ends_with(b"\r\n0\r\n\r\n"), "a reply that is not whole must not look whole");
}

#[tokio::test]
async fn null_rows_and_odd_replies_do_not_break_a_list() {
    let stub = says(
        200,
        &[JSON],
        r#"{"total_rows":1,"rows":[{"id":"c-1","value":{"deleted":true},"doc":null},{"key":"x","error":"not_found"}]}"#,
    )
    .await;
    let proxy = Setup::couchdb(stub.address).start().await;
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/_all_docs?include_docs=true", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let raw = exchange_raw(
        proxy.address,
        b"GET /customers/c-1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Duration::from_millis(300),
    )
    .await;
    assert!(raw.starts_with("HTTP/1.1 401"), "{raw}");
}

#[tokio::test]
async fn t33_a_right_to_write_that_is_withdrawn_under_way_is_gone() {
    let stub = says(201, &[JSON], "{}").await;
    let proxy = Setup::rest(stub.address).start().await;
    let head = format!(
        "POST /customers HTTP/1.1\r\nHost: x\r\nSudare-Credential: {}\r\nData-Purpose: registration\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{{",
        Proxy::credential("shop"),
        PERSON.len()
    );
    let mut slow = TcpStream::connect(proxy.address).await.unwrap();
    slow.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let policy = proxy.folder.path().join("policy.toml");
    let old = std::fs::read_to_string(&policy).unwrap();
    let new = old.replace(r#"writes  = ["name", "address", "phone", "id-card"]"#, "writes  = []");
    assert_ne!(new, old);
    std::fs::write(&policy, new).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    tokio::time::sleep(Duration::from_millis(sudare::base::limits::GRANT_LIFETIME_MS + 200)).await;
    slow.write_all(&PERSON.as_bytes()[1..]).await.unwrap();
    let mut reply = [0; 4096];
    let count = slow.read(&mut reply).await.unwrap();
    let reply = String::from_utf8_lossy(&reply[..count]).into_owned();
    assert!(reply.starts_with("HTTP/1.1 403") && reply.contains("grant-ended"), "{reply}");
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn t24_a_body_of_countless_tiny_documents_is_refused() {
    let stub = says(201, &[JSON], "[]").await;
    let proxy = Setup::couchdb(stub.address).start().await;
    let body = format!("{{\"docs\":[{}{{}}]}}", "{},".repeat(sudare::base::limits::MAX_ROWS));
    let answer = proxy.ask("helpdesk", "support", Method::POST, "/customers/_bulk_docs", body).await;
    assert_eq!(answer.outcome(), (413, "too-large".to_owned()), "{}", answer.text());
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn the_databases_own_credential_is_lent_only_to_what_was_decided() {
    let stub = says(200, &[JSON], "[]").await;
    let lending = "auth = { basic = \"env:SUDARE_TEST_DATABASE_AUTH\" }";
    let (_folder, file) = Setup::couchdb(stub.address).files();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("dialect = \"couchdb\"", &format!("dialect = \"couchdb\"\n{lending}"), 1)).unwrap();
    let found = |_: &str| Some(zeroize::Zeroizing::new("admin:secret".to_owned()));
    let settings = sudare::config::load_with(&file, sudare::config::Environment::Read(&found)).unwrap();
    let running = sudare::app::start(settings).unwrap();
    let sudare::config::Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
    let credential = Proxy::credential("mailer");
    for (method, path, lent) in [
        (Method::GET, "/customers/c-1", true),
        (Method::GET, "/customers", true),
        (Method::PUT, "/customers", false),
        (Method::PUT, "/customers/_revs_limit", false),
        (Method::GET, "/_users/_all_docs", false),
        (Method::PUT, "/orders/o-1", false),
    ] {
        let headers = [
            ("sudare-credential", credential.as_str()),
            ("authorization", "Basic bWluZTptaW5l"),
            ("content-type", "application/json"),
        ];
        let body = if method == Method::PUT { "1" } else { "" };
        let answer = crate::support::send(address, method.clone(), path, &headers, body).await.unwrap();
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        let sent = stub.seen().pop().unwrap().headers["authorization"].to_str().unwrap().to_owned();
        assert_eq!(sent == "Basic YWRtaW46c2VjcmV0", lent, "{method} {path}: {sent}");
    }
    let unknown = [("authorization", "Basic bWluZTptaW5l")];
    crate::support::send(address, Method::GET, "/customers", &unknown, "").await.unwrap();
    assert_eq!(stub.seen().pop().unwrap().headers["authorization"], "Basic bWluZTptaW5l", "nothing is lent to somebody unknown");
}
