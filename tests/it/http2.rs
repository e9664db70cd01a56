//! HTTP/2: what passes as over HTTP/1.1, what is refused, and what hostile clients get (T38). Each attack is written frame by
//! frame, and beside each a client that keeps the rules is served.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use sudare::app::{self, Running};
use sudare::config::{self, Endpoint};
use sudare::net::tls::pem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::http2::{
    CANCEL, DATA, END_HEADERS, END_STREAM, End, GOAWAY, HEADERS, Http2, INTERNAL_ERROR, NO_ERROR, PING, PROTOCOL_ERROR,
    REFUSED_STREAM, RST_STREAM, WINDOW_UPDATE, Wire, frame, get, hpack,
};
use crate::support::{PERSON, Pki, Proxy, Setup, SlowDatabase, Stub, StubReply, exchange_raw};

mod hostile;

/// Name and value, whatever bytes they are.
type Field<'a> = (&'a [u8], &'a [u8]);

async fn proxy(more: &str) -> (Proxy, Stub) {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    (Setup::rest(stub.address).more(more).start().await, stub)
}

async fn still_serves(proxy: &Proxy) {
    let client = Http2::connect(proxy.address).await;
    assert_eq!(client.ask("shop", "account", Method::GET, "/customers", "").await.status, 200);
}

fn refused(proxy: &Proxy, reason: &str) -> u64 {
    let metrics = proxy.running.as_ref().unwrap().metrics().encode();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("sudare_wire_refusals_total{{reason=\"{reason}\"}} ")));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_request_over_http_2_is_what_it_is_over_http_1_1() {
    let (proxy, stub) = (Setup::embedded().start().await, Stub::start(|seen| StubReply::json(207, seen.body.to_vec())).await);
    let client = Http2::connect(proxy.address).await;
    let stored = client.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    assert_eq!(stored.status, 201, "{}", stored.text());
    for (caller, purpose, path) in [
        ("shop", "account", "/customers/c-1"),
        ("helpdesk", "support", "/customers/c-1"),
        ("shop", "account", "/customers"),
        ("shop", "account", "/customers/none"),
        ("shop", "no-such-purpose", "/customers/c-1"),
        ("shop", "account", "/customers?name=Mei"),
        ("shop", "account", "/elsewhere"),
    ] {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE] {
            if method == Method::DELETE && path == "/customers/c-1" {
                continue;
            }
            let two = client.ask(caller, purpose, method.clone(), path, "").await;
            let one = proxy.ask(caller, purpose, method.clone(), path, "").await;
            assert_eq!((two.status, &two.body), (one.status, &one.body), "{method} {path}");
            let fields = |answer: &crate::support::Answer| {
                let mut names: Vec<_> = answer.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
                // Where there is no body, hyper tells a length over HTTP/1.1 only, which RFC 9110 leaves open.
                names.retain(|(name, _)| {
                    !["date", "transfer-encoding", "x-request-id"].contains(&name.as_str())
                        && (!answer.body.is_empty() || name != "content-length")
                });
                names.sort();
                names
            };
            assert_eq!(fields(&two), fields(&one), "{method} {path}");
            assert!(method != Method::HEAD || two.body.is_empty());
        }
    }
    let outside = Setup::rest(stub.address).start().await;
    let client = Http2::connect(outside.address).await;
    let headers = [("x-mine", "1"), ("range", "bytes=0-1"), ("sudare-credential", "shop.x"), ("te", "trailers")];
    let body = vec![b'x'; 300_000];
    let answer = client.send(Method::PUT, "/orders/7?a=%20b", &headers, body.clone()).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (207, body.len()));
    let seen = &stub.seen()[0];
    assert_eq!((seen.target.as_str(), seen.body.len()), ("/orders/7?a=%20b", body.len()));
    assert_eq!(seen.headers["host"], "customers.example");
    assert_eq!((&seen.headers["x-mine"], &seen.headers["range"]), (&"1".parse().unwrap(), &"bytes=0-1".parse().unwrap()));
    assert_eq!(seen.headers["via"], "2.0 sudare");
    assert!(!seen.headers.contains_key("te") && !seen.headers.contains_key("sudare-credential"));
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let (proxy, stub) = proxy("").await;
    let client = Http2::connect(proxy.address).await;
    let asked = (0..500).map(|n| {
        let client = &client;
        async move { client.ask("shop", "account", Method::GET, &format!("/customers/c-{n}"), "").await.status }
    });
    for status in futures(asked).await {
        assert_eq!(status, 200);
    }
    assert_eq!(stub.seen().len(), 500);
}

/// All at once.
async fn futures<F: Future>(list: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut list: Vec<_> = list.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in &mut list {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *output = Some(value);
            }
        }
        if list.iter().all(|(_, output)| output.is_some()) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    list.into_iter().map(|(_, output)| output.unwrap()).collect()
}

#[tokio::test]
async fn t31_the_path_has_one_spelling_over_http_2_too() {
    let (proxy, stub) = proxy("").await;
    let credential = Proxy::credential("shop");
    let ours = [("sudare-credential", credential.as_str()), ("data-purpose", "account")];
    for path in [
        "",
        "*",
        "customers",
        "//customers",
        "/%63ustomers",
        "/customers/../customers",
        "/customers;v=1",
        "/customers\\c-1",
        "/customers%2fc-1",
        "http://db.example/customers",
        "/Customers/c-1",
        "/customers/",
        "/customers c-1",
        "/custömers",
        "?x",
    ] {
        let mut wire = Wire::open(proxy.address).await;
        wire.request(1, &get(path, &ours)).await;
        let end = wire.end_of(1).await;
        assert!(matches!(end, End::Answered(400 | 403) | End::Reset(PROTOCOL_ERROR)), "{path:?}: {end:?}");
    }
    assert!(stub.seen().is_empty(), "{:?}", stub.seen());
    // h2 drops a fragment before anybody sees it: what is classified and forwarded is what stands before it.
    let mut wire = Wire::open(proxy.address).await;
    wire.request(1, &get("/customers/c-1#/../../orders", &ours)).await;
    assert_eq!(wire.end_of(1).await, End::Answered(200));
    assert_eq!(stub.seen()[0].target, "/customers/c-1");
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn t38_heads_that_http_1_1_could_not_carry_are_refused_and_the_database_sees_nothing() {
    let (proxy, stub) = proxy("").await;
    let bad: &[(&str, &[Field])] = &[
        ("CR LF in a value", &[(b"x", b"a\r\nsmuggled: 1")]),
        ("LF in a value", &[(b"x", b"a\nsmuggled: 1")]),
        ("CR in a value", &[(b"x", b"a\rb")]),
        ("NUL in a value", &[(b"x", b"a\0b")]),
        ("DEL in a value", &[(b"x", b"a\x7fb")]),
        ("a colon in a name", &[(b"x: y", b"1")]),
        ("CR LF in a name", &[(b"x: y\r\nsmuggled", b"1")]),
        ("a space in a name", &[(b"transfer-encoding ", b"chunked")]),
        ("no name", &[(b"", b"1")]),
        ("NUL in a name", &[(b"x\0", b"1")]),
        ("an upper-case name", &[(b"X-Mine", b"1")]),
        ("a name outside ASCII", &[(b"x\xe9", b"1")]),
        ("an unknown pseudo-header field", &[(b":smuggled", b"1")]),
        ("a pseudo-header field after a field", &[(b"x", b"1"), (b":path", b"/orders")]),
        ("a path twice", &[(b":path", b"/orders")]),
        ("a method twice", &[(b":method", b"GET")]),
        ("an authority twice", &[(b":authority", b"b")]),
        ("a status", &[(b":status", b"200")]),
        ("connection", &[(b"connection", b"close")]),
        ("keep-alive", &[(b"keep-alive", b"1")]),
        ("proxy-connection", &[(b"proxy-connection", b"close")]),
        ("transfer-encoding", &[(b"transfer-encoding", b"chunked")]),
        ("upgrade", &[(b"upgrade", b"h2c")]),
        ("te", &[(b"te", b"gzip")]),
        ("te with more", &[(b"te", b"trailers, chunked")]),
        ("a length that is no number", &[(b"content-length", b"0x0")]),
        ("a length with a sign", &[(b"content-length", b"+0")]),
        ("a list of lengths", &[(b"content-length", b"0, 0")]),
        ("two lengths", &[(b"content-length", b"0"), (b"content-length", b"1")]),
        ("a length without a body", &[(b"content-length", b"5")]),
    ];
    let start: [Field; 4] =
        [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/orders"), (b":authority", b"customers.example")];
    for (what, fields) in bad {
        let mut wire = Wire::open(proxy.address).await;
        let block = hpack(&[&start[..], fields].concat());
        wire.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
        let end = wire.end_of(1).await;
        assert!(matches!(end, End::Reset(PROTOCOL_ERROR) | End::GoneAway(_)), "{what}: {end:?}");
    }
    // In the pseudo-header fields themselves, and without one of them.
    for (at, value) in [
        (0, &b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\nGET"[..]),
        (0, b"GE T"),
        (0, b""),
        (1, b"http://db.example/x?"),
        (1, b"http\r\n"),
        (1, b""),
        (2, b"/orders HTTP/1.1\r\nsmuggled: 1\r\n\r\n"),
        (2, b"/orders\0"),
        (2, b"/or ders"),
        (3, b"a\r\nsmuggled: 1"),
        (3, b"a b"),
        (3, b"a, b"),
        (3, b"user@a"),
        (3, b"a/b"),
    ] {
        let mut fields = start;
        fields[at].1 = value;
        let mut wire = Wire::open(proxy.address).await;
        wire.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &hpack(&fields))).await;
        let end = wire.end_of(1).await;
        assert!(matches!(end, End::Reset(PROTOCOL_ERROR) | End::GoneAway(_) | End::Answered(400)), "{at} {value:?}: {end:?}");
    }
    for missing in 0..4 {
        let mut fields = start.to_vec();
        fields.remove(missing);
        let mut wire = Wire::open(proxy.address).await;
        wire.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &hpack(&fields))).await;
        let end = wire.end_of(1).await;
        assert!(matches!(end, End::Reset(PROTOCOL_ERROR) | End::Answered(400)), "{missing}: {end:?}");
    }
    assert!(stub.seen().is_empty(), "{:?}", stub.seen());
    // The control: the same head without a fault arrives.
    let mut wire = Wire::open(proxy.address).await;
    wire.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &hpack(&start))).await;
    assert_eq!(wire.end_of(1).await, End::Answered(200));
    assert_eq!(stub.seen().len(), 1);
    still_serves(&proxy).await;
}

#[tokio::test]
async fn t10_what_only_we_refuse_is_answered_and_the_other_streams_go_on() {
    let (proxy, stub) = proxy("").await;
    for (reason, fields) in [
        ("authority-differs-from-host", get("/orders", &[("host", "db.example")])),
        ("host-repeated", get("/orders", &[("host", "customers.example"), ("host", "customers.example")])),
        ("content-length-repeated", get("/orders", &[("content-length", "0"), ("content-length", "0")])),
        ("framing-field-lookalike", get("/orders", &[("content_length", "5")])),
        ("header-value-padded", get("/orders", &[("x", " 1")])),
        ("header-value-padded", get("/orders", &[("x", "1\t")])),
        ("host-missing", vec![(":method", "GET"), (":scheme", "http"), (":path", "/orders")]),
        ("scheme", vec![(":method", "GET"), (":scheme", "ftp"), (":path", "/orders"), (":authority", "a")]),
        ("method", vec![(":method", "TRACE"), (":scheme", "http"), (":path", "/orders"), (":authority", "a")]),
        ("method", vec![(":method", "CONNECT"), (":authority", "db.example:5984")]),
    ] {
        let before = refused(&proxy, reason);
        let mut wire = Wire::open(proxy.address).await;
        wire.request(1, &fields).await;
        assert_eq!(wire.end_of(1).await, End::Answered(400), "{reason}");
        assert_eq!(refused(&proxy, reason), before + 1, "{reason}");
        wire.request(3, &get("/orders/control", &[])).await;
        let next = wire.read_until(|frame| frame.stream == 3).await.unwrap();
        assert_eq!((next.kind, next.status()), (HEADERS, 200), "{reason}: the connection is still good");
    }
    // Extended CONNECT is not offered (RFC 8441), so h2 refuses the field.
    let mut wire = Wire::open(proxy.address).await;
    let websocket =
        [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    wire.request(1, &websocket).await;
    assert_eq!(wire.end_of(1).await, End::Reset(PROTOCOL_ERROR));
    assert!(stub.seen().iter().all(|seen| seen.target == "/orders/control"), "{:?}", stub.seen());
}

#[tokio::test]
async fn cookies_that_come_one_by_one_arrive_as_one() {
    let (proxy, stub) = proxy("").await;
    let mut wire = Wire::open(proxy.address).await;
    wire.request(1, &get("/orders", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")])).await;
    assert_eq!(wire.end_of(1).await, End::Answered(200));
    let seen = stub.seen();
    assert_eq!(seen[0].headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
}

#[tokio::test]
async fn t10_a_body_is_as_long_as_it_says_or_no_body() {
    let (proxy, stub) = proxy("").await;
    let credential = Proxy::credential("shop");
    for path in ["/orders", "/customers"] {
        for (length, body, end_stream) in [("3", "{\"a\":1}", true), ("9", "{\"a\":1}", true), ("3", "{\"a\":1}", false)] {
            let mut wire = Wire::open(proxy.address).await;
            let fields = [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", path),
                (":authority", "customers.example"),
                ("content-length", length),
                ("content-type", "application/json"),
                ("sudare-credential", credential.as_str()),
                ("data-purpose", "registration"),
            ];
            wire.write(&frame(HEADERS, END_HEADERS, 1, &hpack(&fields))).await;
            wire.write(&frame(DATA, u8::from(end_stream), 1, body.as_bytes())).await;
            let end = wire.end_of(1).await;
            assert!(matches!(end, End::Reset(_) | End::Answered(400)), "{path} {length}: {end:?}");
        }
    }
    // Where the body passes as it comes, the database may see its beginning, never an end.
    assert!(stub.seen().is_empty(), "{:?}", stub.seen());
    still_serves(&proxy).await;
}

#[tokio::test]
async fn t10_trailers_of_a_request_go_nowhere() {
    let (proxy, stub) = proxy("").await;
    let mut wire = Wire::open(proxy.address).await;
    let fields =
        [(":method", "POST"), (":scheme", "http"), (":path", "/orders"), (":authority", "a"), ("trailer", "data-purpose")];
    wire.write(&frame(HEADERS, END_HEADERS, 1, &hpack(&fields))).await;
    wire.write(&frame(DATA, 0, 1, b"body")).await;
    wire.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &hpack(&[("data-purpose", "account"), ("x-late", "1")]))).await;
    assert_eq!(wire.end_of(1).await, End::Answered(200));
    let seen = stub.seen();
    assert_eq!(seen[0].body, "body");
    for gone in ["x-late", "data-purpose", "trailer"] {
        assert!(!seen[0].headers.contains_key(gone), "{gone}");
    }
    // Pseudo-header fields have no place there, and mean nothing.
    let mut wire = Wire::open(proxy.address).await;
    wire.write(&frame(HEADERS, END_HEADERS, 1, &hpack(&fields))).await;
    wire.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &hpack(&[(":path", "/customers"), (":method", "DELETE")]))).await;
    wire.end_of(1).await;
    assert!(stub.seen().iter().all(|seen| (seen.method.as_str(), seen.target.as_str()) == ("POST", "/orders")));
}

#[tokio::test]
async fn more_streams_than_the_limit_are_refused_one_by_one() {
    let database = SlowDatabase::start().await;
    let proxy = Setup::rest(database.address).more("[limits.http2]\nstreams = 3\n").start().await;
    let mut wire = Wire::open(proxy.address).await;
    for stream in [1, 3, 5, 7, 9] {
        wire.request(stream, &get("/orders", &[])).await;
    }
    for stream in [7, 9] {
        assert_eq!(wire.end_of(stream).await, End::Reset(REFUSED_STREAM));
    }
    // The client may send them again as soon as there is room.
    for _ in 0..3 {
        database.asked().await.answer(200, "[]").await;
    }
    let mut answered = 0;
    while answered < 3 {
        let frame = wire.read().await.expect("the connection goes on");
        answered += usize::from(frame.kind == HEADERS);
    }
    wire.request(11, &get("/orders", &[])).await;
    database.asked().await.answer(200, "[]").await;
    assert!(wire.read_until(|frame| frame.stream == 11 && frame.kind == HEADERS).await.is_some());
}

#[tokio::test]
async fn t24_a_client_that_opens_no_window_loses_its_stream_and_what_it_held_is_freed() {
    // A database that sends without end until its connection is closed.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (gone, mut closed) = tokio::sync::mpsc::unbounded_channel();
    tokio::task::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let gone = gone.clone();
            tokio::task::spawn(async move {
                let mut head = [0; 1024];
                let _read = stream.read(&mut head).await;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n[{}";
                let mut result = stream.write_all(head.as_bytes()).await;
                while result.is_ok() {
                    result = stream.write_all(b",{\"id\":\"c-1\",\"tier\":\"gold\"}".repeat(300).as_slice()).await;
                }
                gone.send(()).unwrap();
            });
        }
    });
    let proxy = Setup::rest(address).more("[limits]\nwrite_timeout_ms = 300\n").start().await;
    let credential = Proxy::credential("shop");
    let ours = [("sudare-credential", credential.as_str()), ("data-purpose", "account")];
    for (path, window) in [("/orders", 0), ("/orders", 1), ("/orders", 70_000), ("/customers", 0), ("/customers", 100)] {
        // SETTINGS_INITIAL_WINDOW_SIZE.
        let mut wire = Wire::with(proxy.address, &[(4, window)]).await;
        wire.request(1, &get(path, &ours)).await;
        let end = wire.end_of(1).await;
        assert_eq!(end, End::Reset(CANCEL), "{path} {window}");
        tokio::time::timeout(Duration::from_secs(30), closed.recv()).await.expect("the database is let go").unwrap();
    }
}

#[tokio::test]
async fn t24_the_unread_end_of_a_reply_does_not_keep_a_connection_open() {
    // The database is done, and so are we: h2 holds the last bytes for a client that does not open its window.
    let (proxy, _stub) = proxy("[limits]\nidle_timeout_ms = 300\nheader_timeout_ms = 300\n").await;
    let mut wire = Wire::with(proxy.address, &[(4, 1)]).await;
    wire.request(1, &get("/orders", &[])).await;
    assert_eq!(wire.read_until(|frame| frame.kind == DATA).await.expect("one byte").payload, b"[");
    assert_eq!(wire.end().await, End::GoneAway(NO_ERROR));
}

#[tokio::test]
async fn t24_an_idle_connection_gets_goaway_and_an_unanswered_ping_ends_one() {
    let (proxy, _stub) = proxy("[limits]\nidle_timeout_ms = 400\nheader_timeout_ms = 400\n").await;
    let mut wire = Wire::open(proxy.address).await;
    wire.request(1, &get("/orders", &[])).await;
    assert_eq!(wire.end_of(1).await, End::Answered(200));
    let goaway = wire.read_until(|frame| frame.kind == GOAWAY).await.expect("GOAWAY");
    assert_eq!(goaway.error(), NO_ERROR);
    // The client says nothing more; the connection closes all the same.
    wire.end().await;
    let client = Http2::connect(proxy.address).await;
    assert_eq!(client.ask("shop", "account", Method::GET, "/customers", "").await.status, 200);
    tokio::time::timeout(Duration::from_secs(30), client.ended).await.expect("closed").unwrap().unwrap();

    // With a stream open it is not idle; but who does not answer is gone.
    let database = SlowDatabase::start().await;
    let more = "[limits.http2]\nping_interval_ms = 200\nping_timeout_ms = 300\n";
    let proxy = Setup::rest(database.address).more(more).start().await;
    let mut wire = Wire::open(proxy.address).await;
    wire.request(1, &get("/orders", &[])).await;
    let _waiting = database.asked().await;
    assert!(wire.read_until(|frame| frame.kind == PING && frame.flags == 0).await.is_some(), "it is asked");
    wire.end().await;
    assert_eq!(proxy.running.as_ref().unwrap().metrics().encode().matches("sudare_requests_under_way 0").count(), 1);
}

#[tokio::test]
async fn a_drain_says_goaway_and_finishes_what_is_under_way() {
    let database = SlowDatabase::start().await;
    let mut proxy = Setup::rest(database.address).start().await;
    let client = Http2::connect(proxy.address).await;
    let address = proxy.address;
    let ask = client.ask("shop", "account", Method::GET, "/customers/c-1", "");
    let answer = async {
        let waiting = database.asked().await;
        let stopping = async { proxy.stop().await };
        let answering = async {
            // Nobody else is let in before the reply goes out.
            while TcpStream::connect(address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            waiting.answer(200, "{\"id\":\"c-1\",\"tier\":\"gold\"}").await;
        };
        tokio::join!(stopping, answering)
    };
    let (answer, _) = tokio::join!(ask, answer);
    assert_eq!((answer.status.as_u16(), answer.json()["tier"].as_str()), (200, Some("gold")));
    tokio::time::timeout(Duration::from_secs(30), client.ended).await.expect("closed").unwrap().unwrap();
}

#[tokio::test]
async fn t27_a_reply_that_breaks_off_is_reset_and_the_others_go_on() {
    let database = SlowDatabase::start().await;
    let proxy = Setup::rest(database.address).start().await;
    let credential = Proxy::credential("shop");
    let ours = [("sudare-credential", credential.as_str()), ("data-purpose", "account")];
    for path in ["/orders", "/customers"] {
        let mut wire = Wire::with(proxy.address, &[(4, 1 << 20)]).await;
        wire.write(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes())).await;
        wire.request(1, &get(path, &ours)).await;
        let mut dies = database.asked().await;
        wire.request(3, &get("/orders/7", &ours)).await;
        let lives = database.asked().await;
        dies.begin("application/json").await;
        dies.say(&format!("[{}", "{\"id\":\"c-1\",\"tier\":\"gold\"},".repeat(5_000))).await;
        wire.read_until(|frame| frame.stream == 1 && frame.kind == DATA).await.expect("the reply has begun");
        drop(dies);
        let end = wire.read_until(|frame| frame.stream == 1 && (frame.flags & END_STREAM != 0 || frame.kind == RST_STREAM)).await;
        let end = end.expect("the connection goes on");
        assert_eq!((end.kind, end.payload.len()), (RST_STREAM, 4), "{path}: never ended cleanly");
        assert_eq!(end.error(), INTERNAL_ERROR, "{path}");
        lives.answer(200, "[]").await;
        assert!(wire.read_until(|frame| frame.stream == 3 && frame.flags & END_STREAM != 0).await.is_some(), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_says_goaway_still_gets_its_replies() {
    let database = SlowDatabase::start().await;
    let proxy = Setup::rest(database.address).start().await;
    let mut wire = Wire::open(proxy.address).await;
    wire.request(1, &get("/orders", &[])).await;
    let waiting = database.asked().await;
    wire.write(&frame(GOAWAY, 0, 0, &[0; 8])).await;
    waiting.answer(200, "[]").await;
    assert_eq!(wire.end_of(1).await, End::Answered(200));
    assert_eq!(wire.end().await, End::GoneAway(NO_ERROR));
}

/// Starts a proxy of the same files with a change of them.
fn restarted(file: &Path, from: &str, to: &str) -> (Running, SocketAddr) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
    let settings = config::load(file).unwrap_or_else(|findings| panic!("{findings}"));
    let running = app::start(settings).unwrap_or_else(|error| panic!("{error}"));
    let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
    (running, address)
}

#[tokio::test]
async fn http_2_can_be_switched_off() {
    let (mut proxy, _stub) = proxy("").await;
    proxy.stop().await;
    let (_running, address) = restarted(&proxy.file, "[listen]\n", "[listen]\nhttp2 = false\n");
    let reply = exchange_raw(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Duration::from_secs(5)).await;
    assert!(reply.starts_with("HTTP/1.1 400") && reply.contains("http-version"), "{reply}");
}

#[tokio::test]
async fn over_tls_the_client_chooses_by_alpn() {
    for (switch, offered, agreed) in [
        ("", &["h2", "http/1.1"][..], Some("h2")),
        ("", &["http/1.1", "h2"], Some("h2")),
        ("", &["http/1.1"], Some("http/1.1")),
        ("", &[], None),
        ("http2 = false\n", &["h2", "http/1.1"], Some("http/1.1")),
    ] {
        let (folder, file) = Setup::embedded().files();
        let pki = Pki::new(folder.path(), "server");
        pki.server("server", &["localhost"]);
        let tls = format!("[listen]\n{switch}tls = {{ certificate = \"server.pem\", key = \"server.key\" }}\n");
        let (_running, address) = restarted(&file, "[listen]\n", &tls);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let authorities = pem::authorities(&folder.path().join("server-ca.pem")).unwrap();
        let mut client = client.with_root_certificates(authorities).with_no_client_auth();
        client.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes), "{offered:?}");
        if agreed == Some("h2") {
            let client = Http2::over(stream).await;
            assert_eq!(client.ask("shop", "registration", Method::POST, "/customers", PERSON).await.status, 201);
            let read = client.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
            assert_eq!(read.json()["name"], "Mei Tanaka");
        } else {
            // What was not agreed on is not spoken: the preface is no request of HTTP/1.1.
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            assert!(reply.starts_with("HTTP/1.1 400") && reply.contains("http-version"), "{reply}");
        }
    }
}

#[tokio::test]
async fn another_choice_of_versions_takes_a_restart() {
    let (proxy, _stub) = proxy("").await;
    let running = proxy.running.as_ref().unwrap();
    let text = fs::read_to_string(&proxy.file).unwrap();
    fs::write(&proxy.file, text.replacen("[listen]\n", "[listen]\nhttp2 = false\n", 1)).unwrap();
    assert!(running.reload(&proxy.file).unwrap_err().to_string().contains("[listen] http2"));
    fs::write(&proxy.file, format!("{text}\n[limits.http2]\nstreams = 5\n")).unwrap();
    assert_eq!(running.reload(&proxy.file).unwrap(), ["[limits.http2]"]);
}
