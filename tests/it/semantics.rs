//! HTTP semantics (RFC 9110): what a client may expect of us whichever version it speaks, and of old clients.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::http2::Http2;
use crate::support::{PERSON, Proxy, Setup, SlowDatabase, Stub, StubReply, exchange_raw, send};

const SOON: Duration = Duration::from_secs(30);

/// A client that writes and reads HTTP/1.1 by hand.
struct Hand(TcpStream);

impl Hand {
    async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until the text has this in it.
    async fn read_to(&mut self, wanted: &str) -> String {
        let mut bytes = Vec::new();
        let read = async {
            while !String::from_utf8_lossy(&bytes).contains(wanted) {
                let count = self.0.read_buf(&mut bytes).await.unwrap();
                assert!(count > 0, "it closed without {wanted:?}: {}", String::from_utf8_lossy(&bytes));
            }
        };
        tokio::time::timeout(SOON, read).await.unwrap_or_else(|_| panic!("{wanted:?} within {SOON:?}"));
        String::from_utf8(bytes).unwrap()
    }

    /// Reads until the other side closes.
    async fn read_to_end(&mut self) -> String {
        let mut bytes = Vec::new();
        let _reset = tokio::time::timeout(SOON, self.0.read_to_end(&mut bytes)).await.expect("it closes");
        String::from_utf8(bytes).unwrap()
    }
}

fn ours(caller: &str, purpose: &str) -> String {
    format!("Host: x\r\nSudare-Credential: {}\r\nData-Purpose: {purpose}\r\n", Proxy::credential(caller))
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_only_where_its_body_is_wanted() {
    let stub = Stub::start(|seen| StubReply::json(201, seen.body.to_vec())).await;
    let proxy = Setup::rest(stub.address).start().await;
    let length = PERSON.len();
    let expecting = |target: &str, head: &str| {
        format!(
            "POST {target} HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: {length}\r\nExpect: 100-Continue\r\n\r\n"
        )
    };
    for target in ["/customers", "/orders"] {
        let mut client = Hand::connect(proxy.address).await;
        client.write(&expecting(target, &ours("shop", "registration"))).await;
        let interim = client.read_to("\r\n\r\n").await;
        assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n", "{target}");
        client.write(PERSON).await;
        let reply = client.read_to("\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 201"), "{target}: {reply}");
    }
    assert!(stub.seen().iter().all(|seen| !seen.headers.contains_key("expect")));
    let before = stub.seen().len();
    // Refused by its head: the final status at once, and no word of going on.
    for (target, head, status) in [
        ("/customers", "Host: x\r\n".to_owned(), "401"),
        ("/customers", ours("mailer", "registration"), "403"),
        ("/customers", ours("shop", "no-such"), "403"),
        ("//customers", ours("shop", "registration"), "400"),
    ] {
        let mut client = Hand::connect(proxy.address).await;
        client.write(&expecting(target, &head)).await;
        let reply = client.read_to("\r\n\r\n").await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {reply}");
        // Whether the client sends the body now nobody knows, so the connection carries no further request.
        client.write("GET /orders HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let rest = client.read_to_end().await;
        assert!(!rest.contains("HTTP/1.1 "), "{target}: {rest}");
    }
    assert_eq!(stub.seen().len(), before, "the database was not asked");
}

#[tokio::test]
async fn an_expectation_that_nobody_knows_is_417() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let proxy = Setup::rest(stub.address).start().await;
    let client = Http2::connect(proxy.address).await;
    for expect in ["200-ok", "100-continue, x", "x=y", ""] {
        for target in ["/customers", "/orders"] {
            let one = send(proxy.address, Method::GET, target, &[("expect", expect)], "").await.unwrap();
            let two = client.send(Method::GET, target, &[("expect", expect)], "").await.unwrap();
            for answer in [one, two] {
                assert_eq!(answer.outcome(), (417, "expectation-unknown".to_owned()), "{expect:?} {target}");
            }
        }
    }
    assert!(stub.seen().is_empty());
    // Without a body there is nothing to wait for; and over HTTP/2 the body comes anyway.
    for body in ["", "x"] {
        let two = client.send(Method::POST, "/orders", &[("expect", "100-continue")], body).await.unwrap();
        assert_eq!(two.status, 200);
    }
    assert!(stub.seen().iter().all(|seen| !seen.headers.contains_key("expect")));
}

#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks_and_the_end_of_the_connection() {
    let rows = format!("[{}]", "{\"id\":\"c-1\",\"tier\":\"gold\"},".repeat(20_000).trim_end_matches(','));
    let body = rows.clone();
    let stub = Stub::start(move |_| StubReply::json(200, rows.clone())).await;
    let proxy = Setup::rest(stub.address).start().await;
    for (target, head) in [("/customers", ours("shop", "account")), ("/orders", String::new())] {
        let mut client = Hand::connect(proxy.address).await;
        client.write(&format!("GET {target} HTTP/1.0\r\n{head}Expect: 100-continue\r\n\r\n")).await;
        let reply = client.read_to_end().await;
        let (head, came) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
        assert_eq!(came.len(), body.len(), "{target}");
    }
    assert_eq!(stub.seen()[0].headers["via"], "1.0 sudare");
    // Unless it asks for more.
    let mut client = Hand::connect(proxy.address).await;
    client.write("HEAD /orders HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
    let reply = client.read_to("\r\n\r\n").await;
    assert!(reply.to_lowercase().contains("connection: keep-alive"), "{reply}");
    client.write("GET /customers/none HTTP/1.0\r\n\r\n").await;
    assert!(client.read_to_end().await.contains(" 401 "));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_close_is_close() {
    let stub = Stub::start(|seen| StubReply::json(200, seen.target.clone())).await;
    let proxy = Setup::rest(stub.address).start().await;
    let mut client = Hand::connect(proxy.address).await;
    let requests: Vec<_> = (0..50).map(|n| format!("GET /orders/{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
    let requests = requests.concat();
    client.write(&format!("{requests}GET /orders/last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n{requests}")).await;
    let replies = client.read_to_end().await;
    let bodies: Vec<_> =
        replies.split("HTTP/1.1 200 OK\r\n").skip(1).map(|reply| reply.split("\r\n\r\n").nth(1).unwrap()).collect();
    let wanted: Vec<_> = (0..50).map(|n| format!("/orders/{n}")).chain(["/orders/last".to_owned()]).collect();
    assert_eq!(bodies, wanted);
    assert_eq!(stub.seen().len(), 51, "what comes behind close is not read");
    assert!(replies.rsplit("HTTP/1.1 200 OK").next().unwrap().to_lowercase().contains("connection: close"));
}

#[tokio::test]
async fn head_says_what_get_says_without_a_body() {
    let stub = Stub::start(|_| StubReply {
        status: 200,
        headers: vec![
            ("content-type", "application/json".to_owned()),
            ("etag", "\"7\"".to_owned()),
            ("accept-ranges", "bytes".to_owned()),
            ("last-modified", "Sat, 29 Oct 1994 19:43:31 GMT".to_owned()),
        ],
        body: b"{\"id\":\"c-1\"}".to_vec(),
    })
    .await;
    let proxy = Setup::rest(stub.address).start().await;
    let credential = Proxy::credential("shop");
    let headers = [("sudare-credential", credential.as_str()), ("data-purpose", "account")];
    let client = Http2::connect(proxy.address).await;
    for (path, length) in [("/customers/c-1", None), ("/orders/7", Some("12"))] {
        let one = send(proxy.address, Method::HEAD, path, &headers, "").await.unwrap();
        let two = client.send(Method::HEAD, path, &headers, "").await.unwrap();
        for answer in [one, two] {
            assert_eq!((answer.status.as_u16(), answer.headers["etag"].to_str().unwrap()), (200, "\"7\""), "{path}");
            assert!(answer.body.is_empty() && answer.headers.contains_key("date"));
            let told = answer.headers.get("content-length").map(|length| length.to_str().unwrap());
            assert_eq!(told, length, "{path}: the stored length says nothing of the view");
            assert_eq!(answer.headers.contains_key("accept-ranges"), length.is_some(), "{path}");
        }
    }
    assert!(stub.seen().iter().all(|seen| seen.method == Method::HEAD));
}

#[tokio::test]
async fn t11_conditions_and_ranges_are_the_databases_outside_and_ours_within() {
    let stub = Stub::start(|seen| {
        if seen.headers.contains_key("range") {
            let headers = vec![("content-range", "bytes 0-1/9".to_owned()), ("content-type", "text/plain".to_owned())];
            return StubReply { status: 206, headers, body: b"ab".to_vec() };
        }
        if seen.headers.contains_key("if-none-match") {
            return StubReply { status: 304, headers: vec![("etag", "\"7\"".to_owned())], body: Vec::new() };
        }
        StubReply {
            headers: vec![("etag", "\"7\"".to_owned()), ("content-type", "application/json".to_owned())],
            ..StubReply::json(200, "[]")
        }
    })
    .await;
    let proxy = Setup::rest(stub.address).start().await;
    let credential = Proxy::credential("shop");
    let client = Http2::connect(proxy.address).await;
    for (path, field, value, status) in [
        ("/orders/7", "range", "bytes=0-1", 206),
        ("/orders/7", "if-none-match", "\"7\"", 304),
        ("/customers/c-1", "range", "bytes=0-1", 403),
        ("/customers/c-1", "if-none-match", "\"7\"", 200),
        ("/customers/c-1", "if-none-match", "*", 200),
    ] {
        let headers = [("sudare-credential", credential.as_str()), ("data-purpose", "account"), (field, value)];
        for method in [Method::GET, Method::HEAD] {
            if method == Method::HEAD && status == 206 {
                continue;
            }
            let one = send(proxy.address, method.clone(), path, &headers, "").await.unwrap();
            let two = client.send(method.clone(), path, &headers, "").await.unwrap();
            assert_eq!((one.status.as_u16(), two.status.as_u16()), (status, status), "{method} {path} {field}");
            assert_eq!(one.headers.get("content-range"), two.headers.get("content-range"));
        }
    }
}

#[tokio::test]
async fn options_and_trace() {
    let stub =
        Stub::start(|_| StubReply { headers: vec![("allow", "GET, OPTIONS".to_owned())], ..StubReply::json(200, "") }).await;
    let proxy = Setup::rest(stub.address).start().await;
    let client = Http2::connect(proxy.address).await;
    for path in ["/orders", "/customers", "/customers/c-1"] {
        let one = send(proxy.address, Method::OPTIONS, path, &[], "").await.unwrap();
        let two = client.send(Method::OPTIONS, path, &[], "").await.unwrap();
        for answer in [&one, &two] {
            assert_eq!((answer.status.as_u16(), answer.headers["allow"].to_str().unwrap()), (200, "GET, OPTIONS"), "{path}");
        }
        let with_body =
            send(proxy.address, Method::OPTIONS, path, &[("content-type", "application/json")], PERSON).await.unwrap();
        assert_eq!(with_body.status.as_u16(), if path == "/orders" { 200 } else { 400 }, "{path}");
    }
    let reply = exchange_raw(proxy.address, b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", SOON).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    let reply = exchange_raw(proxy.address, b"TRACE /orders HTTP/1.1\r\nHost: x\r\nCookie: secret\r\n\r\n", SOON).await;
    assert!(reply.starts_with("HTTP/1.1 400") && !reply.contains("secret"), "{reply}");
    assert!(stub.seen().iter().all(|seen| seen.method == Method::OPTIONS), "{:?}", stub.seen());
    assert_eq!(stub.seen().iter().filter(|seen| !seen.body.is_empty()).count(), 1, "a body reaches what is not protected only");
}

/// A database that answers every connection with these bytes.
async fn saying(bytes: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await;
            let _gone = stream.write_all(bytes.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn interim_replies_of_the_database_stay_with_us() {
    let address = saying(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </name>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]",
    )
    .await;
    let proxy = Setup::rest(address).start().await;
    let credential = Proxy::credential("shop");
    let headers = [("sudare-credential", credential.as_str()), ("data-purpose", "account")];
    for path in ["/customers", "/orders"] {
        let one = send(proxy.address, Method::GET, path, &headers, "").await.unwrap();
        let two = Http2::connect(proxy.address).await.send(Method::GET, path, &headers, "").await.unwrap();
        for answer in [one, two] {
            assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "[]"), "{path}");
            assert!(!answer.headers.contains_key("link"));
        }
    }
    // A switch of protocols nobody asked for is a fault of the database.
    let address = saying("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").await;
    let proxy = Setup::rest(address).start().await;
    for path in ["/customers", "/orders"] {
        let one = send(proxy.address, Method::GET, path, &headers, "").await.unwrap();
        let two = Http2::connect(proxy.address).await.send(Method::GET, path, &headers, "").await.unwrap();
        assert_eq!((one.status.as_u16(), two.status.as_u16()), (502, 502), "{path}");
    }
}

#[tokio::test]
async fn trailers_of_the_database_stay_with_us() {
    let address = saying(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n[]\r\n0\r\nX-Late: Mei\r\n\r\n",
    )
    .await;
    let proxy = Setup::rest(address).start().await;
    let credential = Proxy::credential("shop");
    for path in ["/customers", "/orders"] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nSudare-Credential: {credential}\r\nData-Purpose: account\r\nConnection: close, TE\r\n\r\n"
        );
        let one = exchange_raw(proxy.address, head.as_bytes(), SOON).await;
        assert!(one.starts_with("HTTP/1.1 200") && one.contains("[]") && !one.to_lowercase().contains("late"), "{one}");
        let headers = [("sudare-credential", credential.as_str()), ("data-purpose", "account"), ("te", "trailers")];
        let two = Http2::connect(proxy.address).await.send(Method::GET, path, &headers, "").await.unwrap();
        assert_eq!(two.text(), "[]");
        assert!(!two.headers.contains_key("trailer") && !two.headers.contains_key("x-late"), "{:?}", two.headers);
    }
}

#[tokio::test]
async fn a_body_goes_with_whichever_method_it_came() {
    let stub = Stub::start(|seen| StubReply::json(200, seen.body.to_vec())).await;
    let proxy = Setup::rest(stub.address).start().await;
    for method in ["GET", "DELETE", "POST", "OPTIONS", "REPORT"] {
        for framing in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
            let request = format!("{method} /orders/_find HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{framing}");
            let reply = exchange_raw(proxy.address, request.as_bytes(), SOON).await;
            assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("hello"), "{method} {framing:?}: {reply}");
        }
        let client = Http2::connect(proxy.address).await;
        let two = client.send(method.parse().unwrap(), "/orders/_find", &[], "hello").await.unwrap();
        assert_eq!(two.text(), "hello", "{method}");
    }
}

#[tokio::test]
async fn heads_as_long_as_is_allowed_arrive_whole() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let proxy = Setup::rest(stub.address).start().await;
    let names: Vec<_> = (0..70).map(|n| format!("x-{n}")).collect();
    let value = "v".repeat(400);
    let headers: Vec<_> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    let target = format!("/orders?q={}", "a".repeat(600));
    let one = send(proxy.address, Method::GET, &target, &headers, "").await.unwrap();
    let two = Http2::connect(proxy.address).await.send(Method::GET, &target, &headers, "").await.unwrap();
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200), "{} {}", one.text(), two.text());
    for seen in stub.seen() {
        assert_eq!(seen.target, target);
        assert!(names.iter().all(|name| seen.headers[name.as_str()] == value.as_str()));
    }
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_with_it() {
    let database = SlowDatabase::start().await;
    let proxy = Setup::rest(database.address).start().await;
    let mut client = Hand::connect(proxy.address).await;
    client.write("GET /orders HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let waiting = database.asked().await;
    drop(client);
    // Another is served, and nobody waits for the first.
    let other = send(proxy.address, Method::GET, "/orders/7", &[], "");
    let (other, ()) = tokio::join!(other, async { database.asked().await.answer(200, "[]").await });
    assert_eq!(other.unwrap().status, 200);
    drop(waiting);
}
