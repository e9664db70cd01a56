//! A real hyper server that gives up and begins anew, and clients that come at the wrong moment. The clock stands still unless all wait.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::super::Limits;
use super::*;

const KEPT: Duration = Duration::from_secs(1);
/// A moment before it has passed, and the same of the other times.
const NEARLY_KEPT: Duration = Duration::from_millis(999);
const NEARLY_IDLE: Duration = Duration::from_millis(29_999);
const NEARLY_A_HEAD: Duration = Duration::from_millis(19_999);
const IDLE: Duration = Duration::from_secs(30);
const HEAD: Duration = Duration::from_secs(20);
const MS: Duration = Duration::from_millis(1);
const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

/// The server's side of a connection.
#[derive(Debug, Default)]
struct Server {
    /// How often hyper was begun, and how often it was given up.
    begun: AtomicUsize,
    rested: AtomicUsize,
    crowded: AtomicBool,
}

impl Server {
    fn counts(&self) -> (usize, usize) {
        (self.begun.load(Ordering::SeqCst), self.rested.load(Ordering::SeqCst))
    }

    /// As `serve_http1` does; echoes what it is asked.
    async fn serve(self: Arc<Self>, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let crowd = Arc::clone(&self);
        let crowded: Crowded = Arc::new(move || crowd.crowded.load(Ordering::SeqCst));
        let mut guard = Guard::new(io, Limits::default()).head_within(HEAD).rests_after(KEPT, crowded);
        while guard.begun(IDLE).await {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
                let line = format!("{} {} ", request.method(), request.uri());
                let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from([line.as_bytes(), &body].concat()))))
            });
            let mut served = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(guard), service);
            let ended = (&mut served).await;
            let parts = served.into_parts();
            guard = parts.io.into_inner();
            if ended.is_err() || !guard.rested() {
                return;
            }
            assert_eq!(parts.read_buf, "", "nothing is left in hyper's hands");
            self.rested.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// A client, and the server it speaks to.
struct Talk {
    client: DuplexStream,
    server: Arc<Server>,
    ended: JoinHandle<()>,
}

impl Talk {
    fn begin() -> Self {
        Self::over(duplex(1 << 16))
    }

    fn over((client, io): (DuplexStream, DuplexStream)) -> Self {
        let server = Arc::new(Server::default());
        Self { client, server: Arc::clone(&server), ended: TaskTracker::new().spawn(server.serve(io)) }
    }

    async fn write(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    /// The body of the next reply.
    async fn reply(&mut self) -> String {
        let mut came = Vec::new();
        while !came.ends_with(b"\r\n\r\n") {
            came.push(self.client.read_u8().await.expect("a reply"));
        }
        let head = String::from_utf8(came).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let mut body = vec![0; length];
        self.client.read_exact(&mut body).await.unwrap();
        String::from_utf8(body).unwrap()
    }

    async fn ask(&mut self, text: &str) -> String {
        self.write(text).await;
        self.reply().await
    }

    /// How long it takes until the server ends the connection, without a word.
    async fn until_closed(mut self) -> Duration {
        let started = Instant::now();
        let mut rest = Vec::new();
        self.client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(String::from_utf8(rest).unwrap(), "");
        self.ended.await.unwrap();
        started.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_connection_gives_hyper_up_after_a_second_and_serves_again() {
    let mut talk = Talk::begin();
    for round in 1..4 {
        assert_eq!(talk.ask(GET).await, "GET /a ");
        tokio::time::sleep(NEARLY_KEPT).await;
        assert_eq!(talk.server.counts(), (round, round - 1));
        tokio::time::sleep(2 * MS).await;
        assert_eq!(talk.server.counts(), (round, round), "given up, with nobody's help");
        tokio::time::sleep(KEPT * 3).await;
        assert_eq!(talk.server.counts(), (round, round));
    }
    let post = "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(talk.ask(post).await, "POST /b hello");
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_request_now_and_then_keeps_hyper() {
    let mut talk = Talk::begin();
    for _ in 0..20 {
        assert_eq!(talk.ask(GET).await, "GET /a ");
        tokio::time::sleep(NEARLY_KEPT).await;
    }
    assert_eq!(talk.server.counts(), (1, 0));
    talk.server.crowded.store(true, Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(talk.ask(GET).await, "GET /a ");
        tokio::time::sleep(MS).await;
    }
    assert_eq!(talk.server.counts(), (20, 20), "but not where there is no room");
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_all_served_before_hyper_is_given_up() {
    for crowded in [false, true] {
        let mut talk = Talk::begin();
        talk.server.crowded.store(crowded, Ordering::SeqCst);
        let post = "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        for round in 1..3 {
            talk.write(&format!("{GET}{post}{GET}")).await;
            assert_eq!([talk.reply().await, talk.reply().await, talk.reply().await], ["GET /a ", "POST /b abc", "GET /a "]);
            tokio::time::sleep(2 * KEPT).await;
            assert_eq!(talk.server.counts(), (round, round));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_in_two_parts_is_whole_whenever_hyper_is_given_up_between_them() {
    let (one, two) = GET.split_at(GET.len() / 2);
    let moments = [Duration::from_millis(998), NEARLY_KEPT, KEPT, KEPT + MS, 3 * KEPT];
    for (first, gap) in moments.into_iter().flat_map(|first| [MS, 2 * MS, 3 * MS, KEPT, NEARLY_A_HEAD].map(|gap| (first, gap))) {
        let mut talk = Talk::begin();
        assert_eq!(talk.ask(GET).await, "GET /a ");
        tokio::time::sleep(first).await;
        talk.write(one).await;
        tokio::time::sleep(gap).await;
        assert_eq!(talk.ask(two).await, "GET /a ", "{first:?} {gap:?}");
        // Begun in time and not finished, it ends the connection as ever.
        tokio::time::sleep(first).await;
        talk.write(one).await;
        assert_eq!(talk.until_closed().await, HEAD, "{first:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_while_hyper_is_given_up_is_served() {
    // Given up at once, in the very turns in which the client reads the reply and sends the next request.
    for yields in 0..12 {
        let mut talk = Talk::begin();
        talk.server.crowded.store(true, Ordering::SeqCst);
        for _ in 0..30 {
            assert_eq!(talk.ask(GET).await, "GET /a ");
            for _ in 0..yields {
                tokio::task::yield_now().await;
            }
        }
        assert!(talk.server.counts().0 > 1, "{yields}");
    }
    // And at the moment the alarm goes off.
    let mut talk = Talk::begin();
    for _ in 0..30 {
        assert_eq!(talk.ask(GET).await, "GET /a ");
        tokio::time::sleep(KEPT).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_not_read_keeps_hyper_until_it_is() {
    let mut talk = Talk::over(duplex(16));
    talk.server.crowded.store(true, Ordering::SeqCst);
    let post = format!("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 300\r\n\r\n{}", "x".repeat(300));
    talk.write(&post).await;
    tokio::time::sleep(10 * KEPT).await;
    assert_eq!(talk.server.counts(), (1, 0));
    assert_eq!(talk.reply().await, format!("POST /b {}", "x".repeat(300)));
    tokio::time::sleep(MS).await;
    assert_eq!(talk.server.counts(), (1, 1));
}

/// As TLS: takes what is written and keeps it until it is flushed, which takes a while.
struct Late {
    io: DuplexStream,
    kept: Vec<u8>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Late {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Late {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        self.kept.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        if this.kept.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let alarm = this.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(2 * KEPT)));
        ready!(alarm.as_mut().poll(cx));
        this.alarm = None;
        let kept = std::mem::take(&mut this.kept);
        let Poll::Ready(written) = Pin::new(&mut this.io).poll_write(cx, &kept) else { panic!("there is room") };
        assert_eq!(written.unwrap(), kept.len());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_written_and_not_flushed_keeps_hyper() {
    for crowded in [false, true] {
        let (client, io) = duplex(1 << 16);
        let server = Arc::new(Server::default());
        server.crowded.store(crowded, Ordering::SeqCst);
        let late = Late { io, kept: Vec::new(), alarm: None };
        let mut talk = Talk { client, server: Arc::clone(&server), ended: TaskTracker::new().spawn(server.serve(late)) };
        for round in 1..4 {
            assert_eq!(talk.ask(GET).await, "GET /a ");
            tokio::time::sleep(5 * KEPT).await;
            assert_eq!(talk.server.counts(), (round, round));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn t24_the_idle_timeout_counts_from_the_last_reply() {
    assert_eq!(Talk::begin().until_closed().await, IDLE);
    let mut talk = Talk::begin();
    tokio::time::sleep(NEARLY_IDLE).await;
    for pause in [Duration::ZERO, KEPT / 2, 2 * KEPT, NEARLY_IDLE] {
        tokio::time::sleep(pause).await;
        assert_eq!(talk.ask(GET).await, "GET /a ");
    }
    // A millisecond for the wheel of timers, which rounds up.
    let waited = talk.until_closed().await;
    assert!(waited.abs_diff(IDLE) <= 2 * MS, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_its_connection_rests_is_noticed() {
    let mut talk = Talk::begin();
    assert_eq!(talk.ask(GET).await, "GET /a ");
    tokio::time::sleep(2 * KEPT).await;
    talk.client.shutdown().await.unwrap();
    assert_eq!(talk.until_closed().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn t10_what_comes_after_a_rest_is_judged_as_ever() {
    for (bad, reason) in [
        ("GET / HTTP/1.1\r\n\r\n", "host-missing"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http-version"),
        ("\u{16}\u{3}\u{1}", "tls-on-plain-port"),
    ] {
        let mut talk = Talk::begin();
        assert_eq!(talk.ask(GET).await, "GET /a ");
        tokio::time::sleep(2 * KEPT).await;
        talk.write(bad).await;
        let mut reply = String::new();
        talk.client.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 400") && reply.ends_with(&format!("framing-refused: {reason}\n")), "{reply}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_head_is_not_held_without_a_place() {
    let (mut client, io) = duplex(1 << 16);
    let mut guard = Guard::new(io, Limits::default()).head_within(HEAD);
    client.write_all(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(3 * PIECE)).as_bytes()).await.unwrap();
    assert!(guard.begun(IDLE).await, "before it is whole");
    assert!(guard.held.len() <= 2 * PIECE, "{}", guard.held.len());
    let mut talk = Talk::begin();
    talk.write(&format!("GET /l HTTP/1.1\r\nX: {}", "x".repeat(3 * PIECE))).await;
    tokio::time::sleep(KEPT).await;
    assert_eq!(talk.ask("\r\nHost: h\r\n\r\n").await, "GET /l ");
}

#[tokio::test(start_paused = true)]
async fn t24_a_request_that_is_turned_away_reads_why() {
    let reply = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\n";
    for (sent, expected) in [
        (GET.to_owned(), format!("{reply}full")),
        (GET.replace("GET", "HEAD"), reply.to_owned()),
        (format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n{}", "x".repeat(50_000)), format!("{reply}full")),
        (
            GET.replace("Host", "H"),
            String::from_utf8(super::super::reply_to(super::super::Reason::HostMissing).to_vec()).unwrap(),
        ),
    ] {
        let (mut client, io) = duplex(1 << 16);
        let mut guard = Guard::new(io, Limits::default());
        client.write_all(sent.as_bytes()).await.unwrap();
        assert!(guard.begun(IDLE).await);
        guard.turn_away(reply.as_bytes(), b"full").await;
        drop(guard);
        let mut came = String::new();
        client.read_to_string(&mut came).await.unwrap();
        assert_eq!(came, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// However the bytes are cut, whatever pauses lie between them, and whenever there is room: the same replies in the same order.
    #[test]
    fn rests_change_no_reply(
        requests in prop::collection::vec((0..3_usize, 0..40_usize), 1..8),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0..1_600_u32, any::<bool>()), 0..12),
    ) {
        let mut stream = String::new();
        let mut expected = Vec::new();
        for (number, (kind, bytes)) in requests.into_iter().enumerate() {
            let body = "y".repeat(bytes);
            let framed = if bytes == 0 { String::new() } else { format!("\r\n{body}\r\n0") };
            let (head, rest) = match kind {
                0 => ("GET", "\r\n".to_owned()),
                1 => ("PUT", format!("Content-Length: {bytes}\r\n\r\n{body}")),
                _ => ("PUT", format!("Transfer-Encoding: chunked\r\n\r\n{bytes:x}{framed}\r\n\r\n")),
            };
            write!(stream, "{head} /{number} HTTP/1.1\r\nHost: h\r\n{rest}").unwrap();
            expected.push(if kind == 0 { format!("GET /{number} ") } else { format!("PUT /{number} {body}") });
        }
        let mut cuts: Vec<_> = cuts.into_iter().map(|(at, pause, crowded)| (at.index(stream.len()), pause, crowded)).collect();
        cuts.sort_unstable();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let came = runtime.block_on(async {
            let Talk { client, server, ended: _ended } = Talk::begin();
            let (reader, mut writer) = tokio::io::split(client);
            let writes = async {
                let mut from = 0;
                for (at, pause, crowded) in cuts {
                    writer.write_all(&stream.as_bytes()[from..at]).await.unwrap();
                    from = at;
                    tokio::time::sleep(pause * MS).await;
                    server.crowded.store(crowded, Ordering::SeqCst);
                }
                writer.write_all(&stream.as_bytes()[from..]).await.unwrap();
                tokio::time::sleep(2 * KEPT).await;
                writer.shutdown().await.unwrap();
            };
            let mut reader = reader;
            let mut replies = String::new();
            tokio::join!(writes, async { reader.read_to_string(&mut replies).await.unwrap() });
            replies
        });
        let bodies: Vec<_> = came.split("HTTP/1.1 200 OK\r\n").skip(1).map(|reply| reply.split_once("\r\n\r\n").unwrap().1).collect();
        prop_assert_eq!(bodies, expected);
    }
}
