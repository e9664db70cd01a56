//! Connections that do nothing give up their memory, and so many at once that there is not enough for all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::http2::Http2;
use crate::support::{Answer, PERSON, Process, Proxy, Setup, Stub, StubReply, try_send};

/// However slow the machine is.
const LONG: Duration = Duration::from_mins(2);
const GET: &str = "GET /orders HTTP/1.1\r\nHost: x\r\n\r\n";
/// Room for 16 connections that are awake.
const SMALLEST: &str = "[limits]\nmemory_bytes = 1048576\n";

fn metrics(proxy: &Proxy) -> String {
    proxy.running.as_ref().unwrap().metrics().encode()
}

async fn until(proxy: &Proxy, line: &str) {
    let waits = async {
        while !metrics(proxy).lines().any(|printed| printed == line) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LONG, waits).await.unwrap_or_else(|_| panic!("no {line}: {}", metrics(proxy)));
}

/// The head of the next reply, whose body is read too.
async fn reply(stream: &mut TcpStream) -> String {
    let reads = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
        stream.read_exact(&mut vec![0; length]).await?;
        Ok::<_, std::io::Error>(head)
    };
    tokio::time::timeout(LONG, reads).await.expect("in time").expect("a whole reply")
}

async fn served(stream: &mut TcpStream) {
    stream.write_all(GET.as_bytes()).await.unwrap();
    let head = reply(stream).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

async fn orders() -> Stub {
    Stub::start(|_| StubReply::json(200, "[]")).await
}

#[tokio::test]
async fn a_used_connection_rests_and_serves_again_whatever_came_before() {
    let stub = orders().await;
    let proxy = Setup::rest(stub.address).start().await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    until(&proxy, "sudare_connections 1").await;
    assert!(metrics(&proxy).contains("sudare_connections_awake 0\n"), "nothing has come");
    for _ in 0..2 {
        served(&mut stream).await;
        assert!(metrics(&proxy).contains("sudare_connections_awake 1\n"));
        until(&proxy, "sudare_connections_awake 0").await;
        // Two at once, then one in two parts.
        stream.write_all(GET.repeat(2).as_bytes()).await.unwrap();
        assert!(reply(&mut stream).await.starts_with("http/1.1 200") && reply(&mut stream).await.starts_with("http/1.1 200"));
        until(&proxy, "sudare_connections_awake 0").await;
        stream.write_all(&GET.as_bytes()[..20]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(metrics(&proxy).contains("sudare_connections_awake 0\n"), "part of a head wakes nobody");
        stream.write_all(&GET.as_bytes()[20..]).await.unwrap();
        assert!(reply(&mut stream).await.starts_with("http/1.1 200"));
        until(&proxy, "sudare_connections_awake 0").await;
    }
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    assert!(reply(&mut stream).await.starts_with("http/1.1 400"), "what began as HTTP/1.1 stays it");
}

#[tokio::test]
async fn t24_the_idle_timeout_counts_from_the_last_request_of_a_connection_at_rest() {
    let stub = orders().await;
    let proxy = Setup::rest(stub.address).more("[limits]\nidle_timeout_ms = 2500\nheader_timeout_ms = 400\n").start().await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    for _ in 0..2 {
        served(&mut stream).await;
        until(&proxy, "sudare_connections_awake 0").await;
    }
    let started = Instant::now();
    served(&mut stream).await;
    let ended = tokio::time::timeout(LONG, stream.read(&mut [0])).await.expect("an end").unwrap();
    assert_eq!(ended, 0, "without a word");
    assert!(started.elapsed() >= Duration::from_millis(2500), "{:?}", started.elapsed());
    until(&proxy, "sudare_connections 0").await;
}

#[tokio::test]
async fn a_drain_ends_connections_at_rest_at_once() {
    let stub = orders().await;
    let mut proxy = Setup::rest(stub.address).start().await;
    let mut all = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        served(&mut stream).await;
        all.push(stream);
    }
    until(&proxy, "sudare_connections_awake 0").await;
    let started = Instant::now();
    proxy.stop().await;
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    for mut stream in all {
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_more_connections_that_ask_at_once_than_there_is_memory_for_wait_or_are_503() {
    // A slow database, so that not all have their turn within a second.
    let stub = Stub::start(|_| {
        std::thread::sleep(Duration::from_millis(10));
        StubReply::json(200, "[]")
    })
    .await;
    let proxy = Setup::rest(stub.address).more(SMALLEST).start().await;
    let mut all = Vec::new();
    for _ in 0..400 {
        all.push(TcpStream::connect(proxy.address).await.unwrap());
    }
    until(&proxy, "sudare_connections 400").await;
    let mut asked = JoinSet::new();
    for mut stream in all {
        asked.spawn(async move {
            stream.write_all(GET.as_bytes()).await.unwrap();
            let head = reply(&mut stream).await;
            let (ok, full) = (head.starts_with("http/1.1 200"), head.starts_with("http/1.1 503"));
            assert!(ok || full, "{head}");
            if full {
                assert!(head.contains("\r\nretry-after: ") && head.contains("\r\nconnection: close"), "{head}");
            } else {
                served_again(&mut stream).await;
            }
            ok
        });
    }
    let mut most = 0;
    let mut done = 0;
    while let Some(ok) = asked.join_next().await {
        done += usize::from(ok.unwrap());
        let text = metrics(&proxy);
        let awake = text.lines().find_map(|line| line.strip_prefix("sudare_connections_awake ")).unwrap().parse::<u32>().unwrap();
        most = most.max(awake);
    }
    assert!(done >= 16 && most <= 16, "{done} served, {most} awake at a time");
    assert_eq!(try_send(proxy.address, Method::GET, "/orders", &[], "").await.unwrap().status, 200);
}

/// A connection that was served is served again, if not at once.
async fn served_again(stream: &mut TcpStream) {
    stream.write_all(GET.as_bytes()).await.unwrap();
    let head = reply(stream).await;
    assert!(head.starts_with("http/1.1 200") || head.starts_with("http/1.1 503"), "{head}");
}

#[tokio::test]
async fn t24_connections_over_http2_make_room_for_others_once_they_do_nothing() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let proxy = Setup::rest(stub.address).more(SMALLEST).start().await;
    let mut all = Vec::new();
    // Room for eight.
    for _ in 0..12 {
        let client = Http2::connect(proxy.address).await;
        let answer = client.send(Method::GET, "/orders", &[], "").await.expect("served once an idle one has left");
        assert_eq!(answer.status, 200);
        all.push(client);
    }
    let gone = all.iter().filter(|client| client.ended.is_finished()).count();
    assert!((4..12).contains(&gone), "{gone}");
    for client in all {
        if client.ended.is_finished() {
            client.ended.await.unwrap().expect("told in good order");
        }
    }
}

#[tokio::test]
async fn t24_feeds_have_a_bound() {
    let database = crate::support::SlowDatabase::start().await;
    let proxy = Setup::couchdb(database.address).more(SMALLEST).start().await;
    let path = "/customers/_changes?feed=continuous";
    let mut open = Vec::new();
    for _ in 0..8 {
        let begin = async {
            let mut waiting = database.asked().await;
            waiting.begin("application/json").await;
            waiting
        };
        let (live, waiting) = tokio::join!(proxy.open("shipping", "delivery", Method::GET, path, ""), begin);
        assert_eq!(live.status, 200);
        open.push((live, waiting));
    }
    let full = proxy.ask("shipping", "delivery", Method::GET, path, "").await;
    assert_eq!(full.outcome(), (503, "overloaded".to_owned()));
    assert!(full.headers.contains_key("retry-after"));
    assert!(metrics(&proxy).contains("sudare_shed_total{used_up=\"feeds\"} 1\n"));
    drop(open.pop());
    until(&proxy, "sudare_feeds_under_way 7").await;
    let begin = async {
        let mut waiting = database.asked().await;
        waiting.begin("application/json").await;
        waiting
    };
    let (live, _waiting) = tokio::join!(proxy.open("shipping", "delivery", Method::GET, path, ""), begin);
    assert_eq!(live.status, 200);
}

/// Stores documents of 1 MiB, and small ones; reads lists of 1 MB. Everybody comes again when told to. Counts what was done and turned away.
async fn load(address: SocketAddr, until: Instant) -> (usize, usize) {
    let mut all = JoinSet::new();
    for number in 0..24_usize {
        all.spawn(async move {
            let credential = Proxy::credential("shop");
            let large = format!(r#"{{"id":"c-{number}","name":"Mei Tanaka","tier":"{}"}}"#, "g".repeat(1 << 20));
            let (mut done, mut shed) = (0, 0);
            while Instant::now() < until {
                let (method, path, purpose, body) = match number % 3 {
                    0 => (Method::POST, "/customers", "registration", large.as_str()),
                    1 => (Method::POST, "/customers", "registration", PERSON),
                    _ => (Method::GET, "/customers", "account", ""),
                };
                let mut headers = vec![("sudare-credential", credential.as_str()), ("data-purpose", purpose)];
                if !body.is_empty() {
                    headers.push(("content-type", "application/json"));
                }
                let answer: Answer =
                    try_send(address, method, path, &headers, body.to_owned()).await.expect("a whole answer, whatever it is");
                match answer.status.as_u16() {
                    200..=299 => done += 1,
                    503 => {
                        assert_eq!(answer.code(), "overloaded");
                        shed += 1;
                        let seconds = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
                        tokio::time::sleep(Duration::from_secs(seconds)).await;
                    }
                    other => panic!("{other}: {}", answer.text()),
                }
            }
            (done, shed)
        });
    }
    all.join_all().await.into_iter().fold((0, 0), |(a, b), (done, shed)| (a + done, b + shed))
}

/// So that the test itself may have as many.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s8_used_connections_that_do_nothing_and_load_fit_into_64_mebibytes() {
    const IDLE: usize = 3000;
    raise_descriptors();
    let row = r#"{"id":"c-1","tier":"gold"}"#;
    let list = Arc::new(format!("[{}{row}]", format!("{row},").repeat(40_000)));
    let stub = Stub::start(move |seen| match (&seen.method, seen.target.as_str()) {
        (&Method::POST, _) => StubReply::json(201, r#"{"ok":true}"#),
        (_, "/orders") => StubReply::json(200, "[]"),
        _ => StubReply::json(200, list.as_bytes()),
    })
    .await;
    // As docs/configuration.md has it for a limit of 64 MiB.
    let (_folder, file) = Setup::rest(stub.address).more("[limits]\nmemory_bytes = 8388608\nidle_timeout_ms = 600000\n").files();
    // Of private memory that can be written (RLIMIT_DATA): what is over it is refused to the process, which would be its end.
    let mut process = Process::start(&file, "ulimit -d 65536;");
    let address: SocketAddr = process.address.parse().unwrap();
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        let mut stream = TcpStream::connect(address).await.unwrap();
        served(&mut stream).await;
        idle.push(stream);
    }
    let (done, shed) = load(address, Instant::now() + Duration::from_secs(4)).await;
    assert!(done > 0, "{done} done, {shed} turned away");
    assert!(process.child.try_wait().unwrap().is_none(), "it lives");
    for stream in &mut idle {
        served(stream).await;
    }
    // All at once.
    let mut all = JoinSet::new();
    for mut stream in idle {
        all.spawn(async move {
            stream.write_all(GET.as_bytes()).await.unwrap();
            let head = reply(&mut stream).await;
            let shed = head.starts_with("http/1.1 503") && head.contains("\r\nretry-after: ");
            assert!(shed || head.starts_with("http/1.1 200"), "{head}");
        });
    }
    all.join_all().await;
    assert!(process.child.try_wait().unwrap().is_none(), "it lives");
}
