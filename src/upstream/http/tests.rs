//! Against a server that answers with exact bytes, one script per connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use super::super::{BodyError, Config, Upstream};
use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What a connection of the server does for each request it reads.
type Script = Vec<Step>;
#[derive(Clone)]
enum Step {
    Reply(&'static str),
    /// Reads the request, sends nothing, waits until the client is gone.
    Silence,
    /// Sends this, then waits until the client is gone.
    ReplyThenSilence(&'static str),
    /// Reads the request and closes.
    Close,
    /// Closes before reading.
    CloseUnread,
}

/// A server whose n-th connection plays the n-th script. Every request it reads comes out of the channel.
fn server(scripts: Vec<Script>) -> (String, mpsc::Receiver<(usize, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (requests, seen) = mpsc::channel();
    thread::spawn(move || {
        for (at, script) in scripts.into_iter().enumerate() {
            let Ok((stream, _)) = listener.accept() else { return };
            let requests = requests.clone();
            thread::spawn(move || play(stream, at, script, &requests));
        }
    });
    (address, seen)
}

fn play(mut stream: TcpStream, at: usize, script: Script, requests: &mpsc::Sender<(usize, String)>) {
    for step in script {
        if matches!(step, Step::CloseUnread) {
            return;
        }
        let Some(request) = read_request(&mut stream) else { return };
        requests.send((at, request)).unwrap();
        match step {
            Step::Reply(bytes) => stream.write_all(bytes.as_bytes()).unwrap(),
            Step::ReplyThenSilence(bytes) => {
                stream.write_all(bytes.as_bytes()).unwrap();
                let _gone = stream.read(&mut [0; 16]);
                return;
            }
            Step::Silence => {
                let _gone = stream.read(&mut [0; 16]);
                return;
            }
            Step::Close | Step::CloseUnread => return,
        }
    }
    let _until_the_client_is_gone = stream.read(&mut [0; 16]);
}

/// One request: its head, and its body by length or chunks.
fn read_request(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let mut one = [0];
    let done = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        if head.contains("transfer-encoding: chunked") {
            return text.ends_with("\r\n0\r\n\r\n");
        }
        let length = head.split("content-length: ").nth(1).map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
        body.len() >= length
    };
    while !done(&bytes) {
        if stream.read(&mut one).ok()? == 0 {
            return None;
        }
        bytes.push(one[0]);
    }
    Some(String::from_utf8(bytes).unwrap())
}

fn config(authority: &str) -> Config {
    let mut config = Config::new(Endpoint::Http { authority: authority.into(), base_path: String::new(), tls: None });
    config.connect_timeout = Duration::from_secs(2);
    config.reply_timeout = Duration::from_secs(5);
    config.idle_timeout = Duration::from_secs(5);
    config
}

fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn passed(frames: Vec<Result<Frame<Bytes>, BodyError>>) -> Outgoing {
    Outgoing::Passed(Frames(frames.into_iter()).boxed_unsync())
}

struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, BodyError>>);
impl Body for Frames {
    type Data = Bytes;
    type Error = BodyError;
    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.next())
    }
}

async fn text(reply: Response<PassBody>) -> String {
    String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn requests_leave_as_they_came_but_for_host_and_credential() {
    let (address, seen) = server(vec![vec![Step::Reply(OK)]]);
    let mut config = config(&address);
    config.endpoint = Endpoint::Http { authority: address.clone(), base_path: "/base".into(), tls: None };
    config.authorization = Some(HeaderValue::from_static("Basic c2VjcmV0"));
    let database = Upstream::new(&config).unwrap();
    let request = parts(
        "GET",
        "/db/a%20b?x=%2F&y",
        &[
            ("host", "shop.example"),
            ("authorization", "Bearer callers"),
            ("te", "trailers"),
            ("x-request-id", "a-1"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ],
    );
    let reply = database.send(request, Outgoing::Empty).await.unwrap();
    assert_eq!(reply.status(), 200);
    assert_eq!(text(reply).await, "ok");
    let (_, sent) = seen.recv().unwrap();
    assert!(sent.starts_with("GET /base/db/a%20b?x=%2F&y HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains("host: shop.example\r\n") && sent.contains("x-request-id: a-1\r\n"), "{sent}");
    assert!(sent.contains("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"), "{sent}");
    assert!(sent.contains("authorization: Basic c2VjcmV0\r\n") && !sent.contains("Bearer") && !sent.contains("te:"), "{sent}");
}

#[tokio::test]
async fn t28_nothing_of_one_caller_stays_on_the_connection_for_the_next() {
    let (address, seen) = server(vec![vec![Step::Reply(OK), Step::Reply(OK)]]);
    let database = Upstream::new(&config(&address)).unwrap();
    let first = parts("GET", "/1", &[("cookie", "session=one"), ("authorization", "Bearer one"), ("host", "one.example")]);
    assert_eq!(text(database.send(first, Outgoing::Empty).await.unwrap()).await, "ok");
    assert_eq!(text(database.send(parts("GET", "/2", &[]), Outgoing::Empty).await.unwrap()).await, "ok");
    let (one, two) = (seen.recv().unwrap(), seen.recv().unwrap());
    assert_eq!((one.0, two.0), (0, 0), "both on the first connection");
    assert_eq!(two.1, format!("GET /2 HTTP/1.1\r\nhost: {address}\r\n\r\n"));
}

#[tokio::test]
async fn bodies_keep_their_told_length_or_go_in_chunks_without_trailers() {
    let (address, seen) = server(vec![vec![Step::Reply(OK), Step::Reply(OK), Step::Reply(OK), Step::Reply(OK)]]);
    let database = Upstream::new(&config(&address)).unwrap();
    let data = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
    text(database.send(parts("PUT", "/1", &[("content-length", "5")]), passed(vec![data("he"), data("llo")])).await.unwrap())
        .await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-late", HeaderValue::from_static("1"));
    let with_trailers = passed(vec![data("he"), data("llo"), Ok(Frame::trailers(trailers))]);
    text(database.send(parts("PUT", "/2", &[("trailer", "x-late")]), with_trailers).await.unwrap()).await;
    text(
        database
            .send(parts("POST", "/3", &[("content-length", "7"), ("transfer-encoding", "chunked")]), Outgoing::Empty)
            .await
            .unwrap(),
    )
    .await;
    let sent: Vec<String> = (0..3).map(|_| seen.recv().unwrap().1).collect();
    assert_eq!(sent[0], format!("PUT /1 HTTP/1.1\r\ncontent-length: 5\r\nhost: {address}\r\n\r\nhello"));
    assert_eq!(
        sent[1],
        format!("PUT /2 HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
    );
    assert_eq!(sent[2], format!("POST /3 HTTP/1.1\r\ncontent-length: 0\r\nhost: {address}\r\n\r\n"));
}

#[tokio::test]
async fn t11_a_whole_body_leaves_with_its_exact_length() {
    let (address, seen) = server(vec![vec![Step::Reply(OK)]]);
    let Upstream { kind, .. } = Upstream::new(&config(&address)).unwrap();
    let super::super::Kind::Http(database) = &kind else { panic!() };
    let stale = parts("PUT", "/1", &[("content-length", "9999")]);
    let request = database.request(stale, SendBody::Whole(Some(Bytes::from_static(b"sealed"))), None).unwrap();
    assert!(database.attempt(request, Duration::from_secs(5), None).await.is_ok());
    assert!(seen.recv().unwrap().1.ends_with("content-length: 6\r\n\r\nsealed"));
}

#[tokio::test]
async fn t29_only_a_read_without_body_on_a_closed_pooled_connection_goes_out_again() {
    // A GET whose pooled connection closes on it is sent once more, on a new connection.
    let (address, seen) = server(vec![vec![Step::Reply(OK), Step::Close], vec![Step::Reply(OK)]]);
    let database = Upstream::new(&config(&address)).unwrap();
    for target in ["/1", "/2"] {
        assert_eq!(text(database.send(parts("GET", target, &[("x", "1")]), Outgoing::Empty).await.unwrap()).await, "ok");
    }
    let seen: Vec<(usize, String)> = seen.try_iter().collect();
    assert_eq!(seen.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 0, 1]);
    assert_eq!(seen[1].1, seen[2].1);

    // Everything else is sent once. (method, body, what the second exchange on the connection does)
    let cases: [(&str, Option<&str>, Step); 6] = [
        ("POST", Some("x"), Step::Close),
        ("PUT", Some("x"), Step::Close),
        ("DELETE", None, Step::Close),
        ("POST", None, Step::Close),
        ("GET", Some("x"), Step::Close),
        ("GET", None, Step::Reply("HTTP/1.1 2")),
    ];
    for (method, body, step) in cases {
        let (address, seen) = server(vec![vec![Step::Reply(OK), step, Step::CloseUnread], vec![Step::Reply(OK)]]);
        let database = Upstream::new(&config(&address)).unwrap();
        text(database.send(parts("GET", "/", &[]), Outgoing::Empty).await.unwrap()).await;
        let length = [("content-length", "1")];
        let outcome = match body {
            None => database.send(parts(method, "/", &[]), Outgoing::Empty).await,
            Some(body) => {
                database
                    .send(parts(method, "/", &length), passed(vec![Ok(Frame::data(Bytes::from_static(body.as_bytes())))]))
                    .await
            }
        };
        assert!(matches!(outcome, Err(UpstreamError::Broken(_))), "{method} {body:?}");
        assert_eq!(seen.try_iter().count(), 2, "{method} {body:?}");
    }

    // A new connection that closes is no reason to try again.
    let (address, seen) = server(vec![vec![Step::Close], vec![Step::Reply(OK)]]);
    let outcome = Upstream::new(&config(&address)).unwrap().send(parts("GET", "/", &[]), Outgoing::Empty).await;
    assert!(matches!(outcome, Err(UpstreamError::Broken(_))));
    assert_eq!(seen.try_iter().count(), 1);
}

#[tokio::test]
async fn t10_replies_of_ambiguous_length_are_errors_and_end_their_connection() {
    let cases = [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok",
        "nonsense\r\n\r\n",
    ];
    for case in cases {
        let (address, seen) = server(vec![vec![Step::Reply(case), Step::Reply(OK)], vec![Step::Reply(OK)]]);
        let database = Upstream::new(&config(&address)).unwrap();
        let outcome = database.send(parts("GET", "/1", &[]), Outgoing::Empty).await;
        assert!(matches!(outcome, Err(UpstreamError::Broken(_))), "{case}");
        assert_eq!(text(database.send(parts("GET", "/2", &[]), Outgoing::Empty).await.unwrap()).await, "ok", "{case}");
        assert_eq!(seen.try_iter().map(|(at, _)| at).collect::<Vec<_>>(), [0, 1], "{case}");
    }
}

#[tokio::test]
async fn a_reply_that_is_cut_short_ends_in_an_error() {
    for cut in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok",
    ] {
        let (address, _seen) = server(vec![vec![Step::Reply(cut), Step::CloseUnread]]);
        let reply = Upstream::new(&config(&address)).unwrap().send(parts("GET", "/", &[]), Outgoing::Empty).await.unwrap();
        let error = reply.into_body().collect().await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(UpstreamError::Broken(_))), "{cut}: {error}");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_and_trailers_of_a_reply_stay_behind() {
    let reply = "HTTP/1.1 200 Fine\r\nconnection: x-hop, content-length\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\ntrailer: x-late\r\netag: \"1\"\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-late: 1\r\n\r\n";
    let (address, _seen) = server(vec![vec![Step::Reply(reply)]]);
    let reply = Upstream::new(&config(&address)).unwrap().send(parts("GET", "/", &[]), Outgoing::Empty).await.unwrap();
    assert_eq!(reply.headers().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["etag"]);
    let collected = reply.into_body().collect().await.unwrap();
    assert!(collected.trailers().is_none());
    assert_eq!(collected.to_bytes(), "ok");
}

#[tokio::test]
async fn t24_every_wait_for_the_database_has_a_limit() {
    let limit = Duration::from_millis(60);
    let (address, _seen) =
        server(vec![vec![Step::Silence], vec![Step::ReplyThenSilence("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")]]);
    let mut config = config(&address);
    (config.reply_timeout, config.idle_timeout) = (limit, limit);
    let database = Upstream::new(&config).unwrap();
    let silent = database.send(parts("GET", "/", &[]), Outgoing::Empty).await;
    assert!(matches!(silent, Err(UpstreamError::Timeout(waited)) if waited == limit));
    let stalled = database.send(parts("GET", "/", &[]), Outgoing::Empty).await.unwrap();
    let error = stalled.into_body().collect().await.unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(UpstreamError::Timeout(_))), "{error}");
}

#[tokio::test]
async fn time_the_caller_takes_over_a_body_is_not_the_databases() {
    struct Slow(u8, Option<Pin<Box<Sleep>>>);
    impl Body for Slow {
        type Data = Bytes;
        type Error = BodyError;
        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            let sleep = self.1.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(150))));
            ready!(sleep.as_mut().poll(cx));
            self.1 = None;
            self.0 += 1;
            Poll::Ready((self.0 < 4).then(|| Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }
    let (address, _seen) = server(vec![vec![Step::Reply(OK)]]);
    let mut config = config(&address);
    config.reply_timeout = Duration::from_millis(100);
    let body = Outgoing::Passed(Slow(0, None).boxed_unsync());
    assert!(Upstream::new(&config).unwrap().send(parts("POST", "/", &[]), body).await.is_ok());
}

#[tokio::test]
async fn a_body_the_caller_breaks_off_is_told_apart_and_keeps_its_reason() {
    let (address, _seen) = server(vec![vec![Step::Reply(OK)]]);
    let body = passed(vec![Ok(Frame::data(Bytes::from_static(b"x"))), Err("framing-refused".into())]);
    let outcome = Upstream::new(&config(&address)).unwrap().send(parts("POST", "/", &[]), body).await;
    assert!(matches!(outcome, Err(UpstreamError::RequestBody(why)) if why.to_string() == "framing-refused"));
}

#[tokio::test]
async fn no_listener_is_a_connect_error_and_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let database = Upstream::new(&config(&free)).unwrap();
    assert!(matches!(database.reachable().await, Err(UpstreamError::Connect(place, _)) if place == free));
    let error = database.send(parts("GET", "/", &[]), Outgoing::Empty).await.unwrap_err();
    assert!(matches!(&error, UpstreamError::Connect(place, _) if *place == free), "{error}");
}

#[tokio::test]
async fn a_unix_socket_serves_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = thread::spawn(move || {
        let (mut probe, _) = listener.accept().unwrap();
        assert_eq!(probe.read(&mut [0; 1]).unwrap(), 0);
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_request(&mut stream).unwrap();
        stream.write_all(OK.as_bytes()).unwrap();
        request
    });
    let database = Upstream::new(&Config::new(Endpoint::Unix(path))).unwrap();
    database.reachable().await.unwrap();
    assert_eq!(text(database.send(parts("GET", "/x", &[]), Outgoing::Empty).await.unwrap()).await, "ok");
    assert_eq!(served.join().unwrap(), "GET /x HTTP/1.1\r\nhost: localhost\r\n\r\n");
}

#[tokio::test]
async fn endpoints_that_are_none_are_refused() {
    for (authority, base_path) in [("", ""), ("a b", ""), ("u@h", ""), ("h:99999", ""), ("h", "/x/"), ("h", "x"), ("h", "/a?b")] {
        let outcome =
            Upstream::new(&Config::new(Endpoint::Http { authority: authority.into(), base_path: base_path.into(), tls: None }));
        assert!(matches!(outcome, Err(UpstreamError::Endpoint(_))), "{authority} {base_path}");
    }
    for authority in ["localhost", "127.0.0.1:5984", "[::1]:5984"] {
        assert!(
            Upstream::new(&Config::new(Endpoint::Http { authority: authority.into(), base_path: "/db".into(), tls: None }))
                .is_ok(),
            "{authority}"
        );
    }
}

#[tokio::test]
async fn a_large_reply_streams_through() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8388608\r\n\r\n").unwrap();
        let block = vec![7_u8; 65536];
        (0..128).for_each(|_| stream.write_all(&block).unwrap());
    });
    let reply = Upstream::new(&config(&address)).unwrap().send(parts("GET", "/", &[]), Outgoing::Empty).await.unwrap();
    let mut body = reply.into_body();
    let (mut sum, mut largest) = (0, 0);
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.iter().all(|byte| *byte == 7));
        sum += data.len();
        largest = largest.max(data.len());
    }
    assert_eq!(sum, 8 << 20);
    assert!(largest <= 1 << 20, "{largest}");
}
