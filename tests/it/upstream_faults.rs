//! A database that fails: for each fault, what reads, writes and passing requests see of it, that a write is never sent twice,
//! that nothing is shown without a record, and that the next request is not touched. Lies about content are in `liar.rs`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use sudare::audit;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::support::{Answer, CLEAR, PERSON, Proxy, Setup, send};

/// What the database does with a connection.
#[derive(Debug, Clone)]
enum Fault {
    /// Answers each request with these bytes, as it should.
    None(String),
    /// Closes before it reads.
    ClosesAtOnce,
    /// Reads a request, says this and closes.
    SaysAndCloses(String),
    /// Reads a request, says this and resets.
    SaysAndResets(String),
    /// Reads a request, says this and nothing more.
    SaysAndWaits(String),
    /// Reads a request, says the first, and the second again and again, with this pause.
    SaysForEver(String, String, Duration),
    /// Says this when it has the head of a request, and closes without reading the body.
    SaysEarly(String),
}

/// A database with a fault that can be changed, and a proxy in front of it.
struct Faulty {
    proxy: Proxy,
    /// One for each request; the last again and again.
    faults: Arc<Mutex<VecDeque<Fault>>>,
    /// Requests it read, by their first lines.
    heard: Arc<Mutex<Vec<String>>>,
    /// The document of [`PERSON`] as it is stored.
    stored: String,
}

impl Faulty {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let faults = Arc::new(Mutex::new([Fault::SaysAndCloses(whole("201 Created\r\nConnection: close", "{}"))].into()));
        let (heard, bodies) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (script, log, kept) = (Arc::clone(&faults), Arc::clone(&heard), Arc::clone(&bodies));
        tokio::task::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, log, kept) = (Arc::clone(&script), Arc::clone(&log), Arc::clone(&kept));
                tokio::task::spawn(async move { converse(stream, &script, &log, &kept).await });
            }
        });
        let times = "reply_timeout_ms = 500\nidle_timeout_ms = 500\ncircuit = { failures = 0 }";
        let proxy = Setup::rest(address).upstream(times).more("[limits]\ntotal_timeout_ms = 2000\n").start().await;
        let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let stored = bodies.lock().unwrap()[0].clone();
        Self { proxy, faults, heard, stored }
    }

    fn fails(&self, faults: impl IntoIterator<Item = Fault>) {
        *self.faults.lock().unwrap() = faults.into_iter().collect();
    }

    /// As it should, and on a connection that is kept.
    fn honest(&self) -> Fault {
        Fault::None(whole("200 OK", &self.stored))
    }

    /// Asks while the database has this fault: what came, and how many requests the database read.
    async fn ask(&self, fault: &Fault, method: Method, path: &str, body: &str) -> (Result<Answer, hyper::Error>, usize) {
        self.fails([fault.clone()]);
        self.heard.lock().unwrap().clear();
        let purpose = if body.is_empty() { "account" } else { "registration" };
        let asked = self.proxy.ask_with("shop", purpose, method, path, &[], body.to_owned());
        let saw = tokio::time::timeout(Duration::from_mins(1), asked).await.expect("no fault may hang a client");
        (saw, self.heard.lock().unwrap().len())
    }

    /// Whatever happened before, the next requests are served. No connection is kept.
    async fn still_serves(&self, after: &str) {
        let honest = Fault::SaysAndCloses(whole("200 OK\r\nConnection: close", &self.stored));
        for path in ["/customers/c-1", "/other"] {
            let (saw, _) = self.ask(&honest, Method::GET, path, "").await;
            let answer = saw.unwrap_or_else(|error| panic!("after {after}, {path}: {error}"));
            assert_eq!(answer.status, 200, "after {after}, {path}: {}", answer.text());
        }
    }
}

async fn converse(
    mut stream: TcpStream,
    faults: &Mutex<VecDeque<Fault>>,
    heard: &Mutex<Vec<String>>,
    bodies: &Mutex<Vec<String>>,
) {
    if matches!(faults.lock().unwrap()[0], Fault::ClosesAtOnce) {
        return;
    }
    while let Some((head, mut body, length)) = read_head(&mut stream).await {
        heard.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
        let fault = {
            let mut faults = faults.lock().unwrap();
            if faults.len() > 1 { faults.pop_front().unwrap() } else { faults[0].clone() }
        };
        if let Fault::SaysEarly(text) = fault {
            let _sent = stream.write_all(text.as_bytes()).await;
            return;
        }
        while body.len() < length {
            if stream.read_buf(&mut body).await.unwrap_or(0) == 0 {
                return;
            }
        }
        bodies.lock().unwrap().push(String::from_utf8(body).unwrap());
        match fault {
            Fault::ClosesAtOnce | Fault::SaysEarly(_) => return,
            Fault::None(text) => drop(stream.write_all(text.as_bytes()).await),
            Fault::SaysAndCloses(text) => return drop(stream.write_all(text.as_bytes()).await),
            Fault::SaysAndResets(text) => {
                let _sent = stream.write_all(text.as_bytes()).await;
                // The other side has to see what was said before it sees the reset.
                tokio::time::sleep(Duration::from_millis(50)).await;
                return stream.set_zero_linger().unwrap();
            }
            Fault::SaysAndWaits(text) => {
                let _sent = stream.write_all(text.as_bytes()).await;
                let _gone = stream.read(&mut [0; 64]).await;
                return;
            }
            Fault::SaysForEver(first, again, pause) => {
                let _sent = stream.write_all(first.as_bytes()).await;
                while stream.write_all(again.as_bytes()).await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                return;
            }
        }
    }
}

/// Head, what of the body came with it, and the body's length.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<(String, Vec<u8>, usize)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            let head = String::from_utf8(bytes).unwrap();
            let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            return Some((head, body, length.unwrap_or(0)));
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

fn whole(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// What a client may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    Away,
    TimedOut,
    /// The reply had begun, and was broken off.
    Reset,
}
use Sees::{Away, Reset, TimedOut};

impl Sees {
    fn check(self, what: &str, saw: &Result<Answer, hyper::Error>) {
        match (self, saw) {
            (Away, Ok(answer)) => assert_eq!(answer.outcome(), (502, "database-unavailable".to_owned()), "{what}"),
            (TimedOut, Ok(answer)) => assert_eq!(answer.outcome(), (504, "database-timeout".to_owned()), "{what}"),
            (Reset, Err(_)) => {}
            _ => panic!("{what}: {saw:?} instead of {self:?}"),
        }
        if let Ok(answer) = saw {
            assert!(!answer.text().contains("sdr1.") && CLEAR.iter().all(|value| !answer.text().contains(value)), "{what}");
        }
    }
}

/// For each fault, what a read and a write of a document, and a request that only passes, see of it.
#[tokio::test]
async fn a_database_that_fails_is_told_as_it_is_and_writes_are_sent_once() {
    let faulty = Faulty::new().await;
    let at_once = Duration::ZERO;
    let slow = Duration::from_millis(100);
    let half = &faulty.stored[..faulty.stored.len() / 2];
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    let length = format!("{head}Content-Length: {}\r\n\r\n{half}", faulty.stored.len());
    let chunks = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n", half.len());
    let mut countless = "HTTP/1.1 200 OK\r\n".to_owned();
    for number in 0..5_000 {
        write!(countless, "X-{number}: x\r\n").unwrap();
    }
    for (what, fault, protected, passing) in [
        ("closes at once", Fault::ClosesAtOnce, Away, Away),
        ("closes without a word", Fault::SaysAndCloses(String::new()), Away, Away),
        ("resets without a word", Fault::SaysAndResets(String::new()), Away, Away),
        ("dies in the middle of the head", Fault::SaysAndCloses(head.to_owned()), Away, Away),
        ("resets in the middle of the head", Fault::SaysAndResets(head.to_owned()), Away, Away),
        ("dies in the middle of a body of known length", Fault::SaysAndCloses(length.clone()), Away, Reset),
        ("resets in the middle of a body", Fault::SaysAndResets(length.clone()), Away, Reset),
        ("dies between chunks", Fault::SaysAndCloses(chunks.clone()), Away, Reset),
        ("falls silent in the middle of a body", Fault::SaysAndWaits(length.clone()), TimedOut, Reset),
        ("falls silent in the middle of the head", Fault::SaysAndWaits(head.to_owned()), TimedOut, TimedOut),
        ("never answers", Fault::SaysAndWaits(String::new()), TimedOut, TimedOut),
        ("sends nonsense", Fault::SaysAndWaits("\u{1}\u{2}\u{3} nonsense\r\n\r\n".to_owned()), Away, Away),
        ("sends a status that is none", Fault::SaysAndWaits("HTTP/1.1 2x0 OK\r\n\r\n".to_owned()), Away, Away),
        ("sends a header without a name", Fault::SaysAndWaits("HTTP/1.1 200 OK\r\n: x\r\n\r\n".to_owned()), Away, Away),
        (
            "sends a header with a control character",
            Fault::SaysAndWaits("HTTP/1.1 200 OK\r\nX: \u{0}\r\n\r\n".to_owned()),
            Away,
            Away,
        ),
        (
            "sends a length beyond all numbers",
            Fault::SaysAndWaits(format!("{head}Content-Length: {}\r\n\r\n{{", "9".repeat(30))),
            Away,
            Away,
        ),
        ("sends too many headers", Fault::SaysAndWaits(format!("{countless}\r\n")), Away, Away),
        (
            "sends a head that never ends, fast",
            Fault::SaysForEver("HTTP/1.1 200 OK\r\nX: ".to_owned(), "x".repeat(1 << 16), at_once),
            Away,
            Away,
        ),
        (
            "sends a head that never ends, slowly",
            Fault::SaysForEver("HTTP/1.1 200 OK\r\nX: ".to_owned(), "x".to_owned(), slow),
            TimedOut,
            TimedOut,
        ),
        (
            "sends interim replies for ever, slowly",
            Fault::SaysForEver(String::new(), "HTTP/1.1 100 Continue\r\n\r\n".to_owned(), slow),
            TimedOut,
            TimedOut,
        ),
        (
            "sends interim replies for ever, fast",
            Fault::SaysForEver(String::new(), "HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n".repeat(100), at_once),
            TimedOut,
            TimedOut,
        ),
        (
            "switches protocols",
            Fault::SaysAndWaits("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".to_owned()),
            Away,
            Away,
        ),
        ("breaks its chunks", Fault::SaysAndWaits(format!("{chunks}zz\r\n")), Away, Reset),
    ] {
        let once = usize::from(!matches!(fault, Fault::ClosesAtOnce));
        let (saw, times) = faulty.ask(&fault, Method::GET, "/customers/c-1", "").await;
        protected.check(&format!("{what}: a read"), &saw);
        assert_eq!(times, once, "{what}: on a new connection a read is sent once");
        let (saw, times) = faulty.ask(&fault, Method::POST, "/customers", PERSON).await;
        protected.check(&format!("{what}: a write"), &saw);
        assert_eq!(times, once, "{what}: a write is sent once");
        let (saw, _) = faulty.ask(&fault, Method::GET, "/other", "").await;
        passing.check(&format!("{what}: a request that passes"), &saw);
        faulty.still_serves(what).await;
    }
    // What was shown in between, by `still_serves`, was recorded, and nothing else was.
    let events = faulty.proxy.events(&audit::Filter::default());
    let revealed = events.iter().filter(|event| event.kind == "reveal").count();
    assert_eq!(revealed, 23, "one for each read that was answered");
}

/// The database dies between the replies to two requests on one connection: a write that it may have done is not repeated.
#[tokio::test]
async fn t29_a_pooled_connection_that_was_closed_costs_a_write_an_error_and_a_read_nothing() {
    let faulty = Faulty::new().await;
    for (method, path, body, sent, served) in [
        (Method::GET, "/customers/c-1", "", 2, true),
        (Method::GET, "/other", "", 2, true),
        (Method::POST, "/customers", PERSON, 1, false),
        (Method::PUT, "/other", "{}", 1, false),
        (Method::DELETE, "/other", "", 1, false),
    ] {
        // A connection is in the pool; what it does next is to close. A new one serves.
        let (kept, _) = faulty.ask(&faulty.honest(), Method::GET, "/customers/c-1", "").await;
        assert_eq!(kept.unwrap().status, 200);
        faulty.heard.lock().unwrap().clear();
        faulty.fails([Fault::SaysAndCloses(String::new()), faulty.honest()]);
        let purpose = if path == "/customers" { "registration" } else { "account" };
        let answer = faulty.proxy.ask("shop", purpose, method.clone(), path, body).await;
        let heard = faulty.heard.lock().unwrap().len();
        assert_eq!((heard, answer.status == 200), (sent, served), "{method} {path}: {answer:?}");
    }
}

/// An answer that comes before the body was read, and a close: what the database said, or that it broke off; never a hang.
#[tokio::test]
async fn a_reply_before_the_request_was_read_is_a_reply_or_an_error() {
    let faulty = Faulty::new().await;
    let early =
        Fault::SaysEarly(format!("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n{}", "Content-Length: 0\r\n\r\n"));
    let large = PERSON.replacen('{', &format!("{{\"note\":\"{}\",", "x".repeat(3 << 20)), 1);
    for path in ["/customers", "/other"] {
        for body in [large.as_str(), PERSON] {
            let (saw, heard) = faulty.ask(&early, Method::POST, path, body).await;
            if let Ok(answer) = &saw {
                assert!([413, 502].contains(&answer.status.as_u16()), "{path}: {answer:?}");
            }
            assert_eq!(heard, 1, "{path}");
            faulty.still_serves("an early reply").await;
        }
    }
}

#[tokio::test]
async fn a_database_whose_name_does_not_resolve_is_away_and_readiness_says_so() {
    let proxy = Setup::at("http://database.invalid:5984".to_owned()).upstream("connect_timeout_ms = 3000").start().await;
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!(answer.outcome(), (502, "database-unavailable".to_owned()));
    assert!(!answer.text().contains("database.invalid"), "{}", answer.text());
    let (status, text) = admin(&proxy, "/readyz").await;
    assert_eq!(status, 503);
    assert!(text.contains("database.invalid:5984"), "{text}");
}

async fn admin(proxy: &Proxy, path: &str) -> (u16, String) {
    let Some(sudare::config::Endpoint::Tcp(admin)) = proxy.running.as_ref().unwrap().admin().cloned() else {
        panic!("an admin listener")
    };
    let answer = send(admin, Method::GET, path, &[], "").await.unwrap();
    (answer.status.as_u16(), answer.text())
}

async fn circuit_is(proxy: &Proxy, open: bool) {
    let (_, metrics) = admin(proxy, "/metrics").await;
    let line = format!("sudare_upstream_circuit_open {}", u8::from(open));
    assert!(metrics.lines().any(|printed| printed == line), "no {line} in\n{metrics}");
}

/// A server on this socket that answers everything with an empty object.
fn answers<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(mut stream: S, heard: Arc<AtomicUsize>) {
    tokio::task::spawn(async move {
        while read_head(&mut stream).await.is_some() {
            heard.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(whole("200 OK", "{}").as_bytes()).await.is_err() {
                return;
            }
        }
    });
}

/// T20: down, requests fail at once and then are refused; back, the first probe finds out.
#[tokio::test]
async fn t20_a_database_that_is_down_is_refused_for_and_served_again_once_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("db.sock");
    let url = format!("unix:{}", socket.display());
    let proxy = Setup::at(url).upstream("circuit = { failures = 3, open_ms = 100 }").start().await;
    let ask = async || send(proxy.address, Method::GET, "/other", &[], "").await.unwrap();
    for _ in 0..3 {
        circuit_is(&proxy, false).await;
        assert_eq!(ask().await.outcome(), (502, "database-unavailable".to_owned()));
    }
    circuit_is(&proxy, true).await;
    assert_eq!(admin(&proxy, "/readyz").await.0, 503);
    // Refused, but for a probe now and then, which finds it down.
    let outcomes: Vec<u16> = futures_of(50, &ask).await;
    assert!(outcomes.contains(&503) && outcomes.iter().all(|status| [502, 503].contains(status)), "{outcomes:?}");

    let listener = UnixListener::bind(&socket).unwrap();
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    tokio::task::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answers(stream, Arc::clone(&count));
        }
    });
    let back = async {
        while ask().await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), back).await.expect("served again");
    assert_eq!(heard.load(Ordering::SeqCst), 1, "what was refused was not sent");
    circuit_is(&proxy, false).await;
    // What readiness found is told again for a while.
    let ready = async {
        while admin(&proxy, "/readyz").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), ready).await.expect("ready again");
    assert_eq!(ask().await.status, 200);
}

async fn futures_of(times: usize, ask: &impl AsyncFn() -> Answer) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..times {
        statuses.push(ask().await.status.as_u16());
    }
    statuses
}

#[tokio::test]
async fn t24_a_database_that_hangs_is_not_waited_for_by_everybody() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let times = "reply_timeout_ms = 300\nfeed_timeout_ms = 100\ncircuit = { failures = 3, open_ms = 30000 }";
    let proxy = Setup::couchdb(silent.local_addr().unwrap()).upstream(times).start().await;
    let ask = async || proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    for _ in 0..3 {
        // A feed may be silent for long: that says nothing.
        let feed = proxy.ask("shop", "account", Method::GET, "/customers/_changes?feed=longpoll&include_docs=true", "").await;
        assert_eq!(feed.status, 504, "{}", feed.text());
        assert_eq!(ask().await.status, 504);
    }
    let started = Instant::now();
    let answers: Vec<Answer> = [ask().await, ask().await].into();
    assert!(started.elapsed() < Duration::from_secs(10), "not waited for");
    for answer in answers {
        assert_eq!(answer.outcome(), (503, "database-unavailable".to_owned()), "{}", answer.text());
        let after: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=30).contains(&after), "{after}");
    }
    let (status, text) = admin(&proxy, "/readyz").await;
    assert!(status == 503 && text.contains("failed too often in a row"), "{text}");
    circuit_is(&proxy, true).await;
    let (_, metrics) = admin(&proxy, "/metrics").await;
    assert!(metrics.contains("sudare_upstream_failures_total{kind=\"circuit-open\"} 2"), "{metrics}");
    // A reload that changes nothing here does not forget it.
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    assert_eq!(ask().await.status, 503);
}

#[tokio::test]
async fn t24_requests_beyond_max_connections_wait_their_turn_and_are_told_to_come_back() {
    let database = crate::support::SlowDatabase::start().await;
    let limits = "max_connections = 2\nconnect_timeout_ms = 1500";
    let proxy = Arc::new(Setup::rest(database.address).upstream(limits).start().await);
    let ask = |path: &'static str| {
        let proxy = Arc::clone(&proxy);
        tokio::task::spawn(async move { send(proxy.address, Method::GET, path, &[], "").await.unwrap() })
    };
    let (one, two) = (ask("/1"), ask("/2"));
    let (first, mut second) = (database.asked().await, database.asked().await);
    let refused = ask("/3").await.unwrap();
    assert_eq!(refused.outcome(), (503, "database-busy".to_owned()), "{}", refused.text());
    assert_eq!(refused.headers["retry-after"], "1");
    // A reply takes its place until it has ended, not until it has begun.
    second.begin("application/json").await;
    second.say("{").await;
    assert_eq!(ask("/4").await.unwrap().status, 503);
    // One that waits is served when there is room.
    let waits = ask("/5");
    first.answer(200, "{}").await;
    let third = database.asked().await;
    assert_eq!(third.target, "/5");
    third.answer(200, "{}").await;
    assert_eq!(waits.await.unwrap().status, 200);
    second.say("}").await;
    second.end().await;
    assert_eq!((one.await.unwrap().status.as_u16(), two.await.unwrap().text().as_str()), (200, "{}"));
}
