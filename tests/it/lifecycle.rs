//! Readiness, drains, reloads that nobody asked for, the operator's log and listener, and faults of disks and clocks.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Method;
use sudare::app::{self, Drained};
use sudare::base::{FixedClock, SystemClock};
use sudare::config::{self, Endpoint};
use sudare::{audit, crypto, keys};

use crate::support::{Answer, PERSON, Process, Proxy, Setup, Stub, StubReply, send, try_send};

/// Long enough for any machine; nothing waits for it that goes well.
const GENEROUS: Duration = Duration::from_mins(1);
/// The tests look at files more often than operators need to.
const POLL: &str = "[reload]\npoll_ms = 100\n";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, Method::GET, path, &[], "").await.unwrap()
}

fn admin_of(running: &app::Running) -> SocketAddr {
    let Some(Endpoint::Tcp(admin)) = running.admin().cloned() else { panic!("an admin listener") };
    admin
}

/// Waits until `holds`, which is asked again and again.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(GENEROUS, waited).await.is_ok(), "never: {what}");
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "no {from} in {text}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

/// The value of a metric, all of whose labels are in `name`.
fn metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn a_drain_says_so_first_then_stops_accepting_then_ends() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let (_folder, file) = Setup::rest(stub.address).files();
    replace(&file, "admin = \"127.0.0.1:0\"", "admin = \"127.0.0.1:0\"\ndrain_delay_ms = 3000");
    let mut process = Process::start(&file, "");
    let (front, admin): (SocketAddr, SocketAddr) = (process.address.parse().unwrap(), process.admin.parse().unwrap());
    assert_eq!(get(admin, "/readyz").await.text(), "ready\n");
    let before = get(front, "/elsewhere").await;
    assert!(!before.headers.contains_key("connection"));
    process.signal("-TERM");
    until("readiness says no", async || get(admin, "/readyz").await.status == 503).await;
    assert_eq!(get(admin, "/readyz").await.text(), "draining\n");
    // Whoever still comes is served, and asked to connect elsewhere next time.
    let during = get(front, "/elsewhere").await;
    assert_eq!((during.status.as_u16(), during.headers["connection"].as_bytes()), (200, &b"close"[..]));
    assert_eq!(process.ended().await, Some(0));
}

#[tokio::test]
async fn t24_operators_who_keep_connections_open_do_not_keep_others_from_readiness() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let (_folder, file) = Setup::rest(stub.address).files();
    let process = Process::start(&file, "");
    let admin: SocketAddr = process.admin.parse().unwrap();
    let mut kept = Vec::new();
    let healthy = async |stream: &mut tokio::net::TcpStream| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut reply = [0; 512];
        stream.read(&mut reply).await.unwrap()
    };
    for _ in 0..64 {
        let mut stream = tokio::net::TcpStream::connect(admin).await.unwrap();
        assert!(healthy(&mut stream).await > 0);
        kept.push(stream);
    }
    assert_eq!(get(admin, "/readyz").await.text(), "ready\n");
    // Only the longest had to leave for it; were all waited for, all would be gone.
    let last = kept.last_mut().unwrap();
    assert!(healthy(last).await > 0);
    assert_eq!(tokio::io::AsyncReadExt::read(&mut kept[0], &mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_second_signal_breaks_off_what_is_under_way() {
    let (asked, waiting) = tokio::sync::oneshot::channel::<()>();
    let asked = std::sync::Mutex::new(Some(asked));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let database = listener.local_addr().unwrap();
    tokio::task::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await;
        asked.lock().unwrap().take().unwrap().send(()).unwrap();
        std::future::pending::<()>().await;
    });
    let (_folder, file) = Setup::rest(database).files();
    let mut process = Process::start(&file, "");
    let front = process.address.parse().unwrap();
    let asking = tokio::task::spawn(async move { try_send(front, Method::GET, "/elsewhere", &[], "").await });
    waiting.await.unwrap();
    process.signal("-TERM");
    // The drain has begun once nobody is accepted any more; the request is still under way.
    until("it stops accepting", async || tokio::net::TcpStream::connect(front).await.is_err()).await;
    assert!(process.child.try_wait().unwrap().is_none());
    process.signal("-TERM");
    assert_eq!(process.ended().await, Some(1), "something was broken off, and the exit code says so");
    assert!(asking.await.unwrap().is_none());
}

#[tokio::test]
async fn t30_changed_files_are_taken_once_they_are_whole_and_sound() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let (folder, file) = Setup::rest(stub.address).more(POLL).files();
    let log = folder.path().join("log");
    let process = Process::logging(&file, &log);
    let (front, admin): (SocketAddr, SocketAddr) = (process.address.parse().unwrap(), process.admin.parse().unwrap());
    let credential = Proxy::credential("mailer");
    let view = async || {
        let headers = [("sudare-credential", credential.as_str()), ("data-purpose", "marketing")];
        let answer = send(front, Method::GET, "/customers", &headers, "").await.unwrap();
        answer.headers["data-view"].to_str().unwrap().to_owned()
    };
    let metrics = async || get(admin, "/metrics").await.text();
    let refused = async || metric(&metrics().await, "sudare_config_reloads_total{outcome=\"refused\"}").unwrap_or(0.0);
    let taken = async || metric(&metrics().await, "sudare_config_reloads_total{outcome=\"taken\"}").unwrap_or(0.0);
    let before = view().await;
    let hash = |text: &str| text.lines().find(|line| line.starts_with("sudare_config_info{")).unwrap().to_owned();
    let first = hash(&metrics().await);
    assert!(first.contains("policy=\"") && first.contains("sha256=\""), "{first}");

    // A policy with a mistake, with a change that must not come through.
    let policy = folder.path().join("policy.toml");
    let good = fs::read_to_string(&policy).unwrap();
    let changed = good.replace("reveal  = { name = \"masked\" }", "reveal  = {}");
    assert_ne!(changed, good);
    fs::write(&policy, changed.replace("[purpose.marketing]", "[purpose.marketing]\nclallers = []")).unwrap();
    until("the mistake is seen", async || refused().await >= 1.0).await;
    assert_eq!(view().await, before);
    assert_eq!(metric(&metrics().await, "sudare_config_refused"), Some(1.0));
    assert_eq!(get(admin, "/readyz").await.text(), "ready\n", "what is in force is sound");
    assert_eq!(hash(&metrics().await), first);

    // Half a file is no good either, and nor is none.
    fs::write(&policy, &changed[..changed.len() / 2]).unwrap();
    until("half a policy is refused", async || refused().await >= 2.0).await;
    fs::remove_file(&policy).unwrap();
    until("no policy is refused", async || refused().await >= 3.0).await;
    // A ring that is none, together with a sound policy: neither is taken.
    fs::write(&policy, &changed).unwrap();
    let ring = folder.path().join("keys/ring.json");
    let sound = fs::read(&ring).unwrap();
    fs::write(&ring, b"{}").unwrap();
    until("the broken ring is refused", async || refused().await >= 4.0).await;
    let after_the_ring = taken().await;
    assert_eq!(
        hash(&metrics().await) == first,
        after_the_ring < 1.0,
        "the policy came alone, before the ring was broken, or not at all"
    );
    fs::write(&ring, &sound).unwrap();
    fs::write(&policy, good.replace("reveal  = { name = \"masked\" }", "reveal  = {} # now")).unwrap();
    until("the sound policy is taken", async || view().await == "purpose=marketing").await;
    until("it is in force", async || metric(&metrics().await, "sudare_config_refused") == Some(0.0)).await;
    assert_ne!(hash(&metrics().await), first);

    // A listener cannot move; nothing of the rest is taken with it.
    let (refused_before, taken_before) = (refused().await, taken().await);
    fs::write(&policy, &good).unwrap();
    replace(&file, "address = \"127.0.0.1:0\"", "address = \"127.0.0.1:1\"");
    until("the moved listener is refused", async || refused().await > refused_before).await;
    replace(&file, "address = \"127.0.0.1:1\"", "address = \"127.0.0.1:0\"");
    until("all is well again", async || view().await == before).await;
    until("it is counted", async || taken().await > taken_before).await;

    // What is refused is told once, however often it is looked at.
    fs::write(&policy, "nonsense").unwrap();
    let count = refused().await;
    until("nonsense is refused", async || refused().await > count).await;
    let count = refused().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(refused().await <= count, "it is not tried again");
    let lines = fs::read_to_string(&log).unwrap();
    assert_eq!(lines.matches("not reloaded").count(), usize_of(count), "{lines}");

    // Each configuration that came in force is in the audit log.
    drop(process);
    fs::write(&policy, &good).unwrap();
    let keys = keys::KeyRing::open(&config::load(&file).unwrap().keys).unwrap().audit_keys().unwrap();
    let events = crate::support::events(&folder.path().join("data/audit"), &keys, &audit::Filter::default());
    let told = events.iter().filter(|event| event.kind == "configuration");
    assert!(told.clone().count() >= 2);
    assert!(told.clone().all(|event| event.configuration.as_ref().unwrap().contains("ring revision")));
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::as_conversions, reason = "a small count")]
fn usize_of(count: f64) -> usize {
    count as usize
}

#[tokio::test]
async fn reloads_at_the_same_time_come_one_after_the_other() {
    let proxy = Setup::embedded().start().await;
    let running = proxy.running.as_ref().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| running.reload(&proxy.file).unwrap_or_else(|error| panic!("{error}")));
        }
    });
    assert_eq!(metric(&running.metrics().encode(), "sudare_config_reloads_total{outcome=\"taken\"}"), Some(8.0));
    assert_eq!(proxy.ask("mailer", "marketing", Method::GET, "/customers", "").await.status, 200);
}

#[tokio::test]
async fn the_database_is_asked_once_however_many_ask_for_readiness() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let database = listener.local_addr().unwrap();
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::task::spawn(async move {
        loop {
            let _connection = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let proxy = Setup::rest(database).start().await;
    let admin = admin_of(proxy.running.as_ref().unwrap());
    let began = std::time::Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        asking.spawn(async move { get(admin, "/readyz").await.status });
    }
    assert!(asking.join_all().await.into_iter().all(|status| status == 200));
    let most = 2 + began.elapsed().as_secs();
    assert!(u64::try_from(connections.load(Ordering::SeqCst)).unwrap() <= most, "{connections:?} in {:?}", began.elapsed());
}

#[tokio::test]
async fn readiness_names_the_part_and_the_reason_only_to_operators() {
    // A port that nobody listens on.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hash = data_encoding::HEXLOWER.encode(&crypto::sha256(b"operators-only"));
    let proxy = Setup::rest(nobody).more(&format!("[admin]\ncredential_sha256 = [\"{hash}\"]")).start().await;
    let admin = admin_of(proxy.running.as_ref().unwrap());
    let bearer = [("authorization", "Bearer operators-only")];
    let anybody = get(admin, "/readyz").await;
    assert_eq!((anybody.status.as_u16(), anybody.text().as_str()), (503, "database\n"));
    let operator = send(admin, Method::GET, "/readyz", &bearer, "").await.unwrap();
    assert!(operator.text().starts_with("database: ") && operator.text().len() > 20, "{}", operator.text());
    let json = [("authorization", "Bearer operators-only"), ("accept", "application/json")];
    let json = send(admin, Method::GET, "/readyz", &json, "").await.unwrap().json();
    assert_eq!((&json["ready"], &json["parts"]["audit"]["state"]), (&false.into(), &"ready".into()));
    assert_eq!(json["parts"]["database"]["state"], "not-ready");

    assert_eq!(get(admin, "/healthz").await.status, 200);
    let unknown = get(admin, "/metrics").await;
    assert_eq!((unknown.status.as_u16(), unknown.headers["www-authenticate"].as_bytes()), (401, &b"Bearer"[..]));
    assert!(!unknown.text().contains("sudare_"));
    assert_eq!(send(admin, Method::GET, "/metrics", &[("authorization", "Bearer operators")], "").await.unwrap().status, 401);
    assert_eq!(send(admin, Method::GET, "/metrics", &bearer, "").await.unwrap().status, 200);
    // Another secret on reload; the old one is worth nothing from then on.
    let other = data_encoding::HEXLOWER.encode(&crypto::sha256(b"another"));
    replace(&proxy.file, &hash, &other);
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    assert_eq!(send(admin, Method::GET, "/metrics", &bearer, "").await.unwrap().status, 401);
    assert_eq!(send(admin, Method::GET, "/metrics", &[("authorization", "Bearer another")], "").await.unwrap().status, 200);
}

/// A request without a runtime of ours.
fn get_plainly(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(GENEROUS)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn t24_the_admin_listener_answers_while_no_worker_has_time() {
    let (_folder, file) = Setup::embedded().files();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = {
        let _entered = runtime.enter();
        app::start(config::load(&file).unwrap()).unwrap()
    };
    let admin = admin_of(&running);
    // The only worker is kept busy until we say so, so the front cannot accept anybody.
    let (held, release) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (holds, let_go) = (Arc::clone(&held), Arc::clone(&release));
    let hog = runtime.spawn(async move {
        holds.store(true, Ordering::SeqCst);
        while !let_go.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    while !held.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = get_plainly(admin, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    release.store(true, Ordering::SeqCst);
    runtime.block_on(async {
        hog.await.unwrap();
        assert_eq!(running.stop().await, Drained::Whole);
    });
}

#[tokio::test]
async fn t24_slow_and_many_clients_do_not_keep_the_admin_listener_busy() {
    let proxy = Setup::embedded().start().await;
    let admin = admin_of(proxy.running.as_ref().unwrap());
    // More than it has room for, each with half a head: they are let go after 5 s, and then it answers.
    let mut slow = Vec::new();
    for _ in 0..80 {
        let mut stream = tokio::net::TcpStream::connect(admin).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /healthz HT").await.unwrap();
        slow.push(stream);
    }
    let answer = tokio::time::timeout(GENEROUS, get(admin, "/healthz")).await.expect("an answer");
    assert_eq!(answer.status, 200);
    // A head of 64 KiB is not read to its end.
    let long = "x".repeat(64 << 10);
    let answer = try_send(admin, Method::GET, "/healthz", &[("x-long", &long)], "").await;
    assert!(answer.is_none_or(|answer| answer.status == 431), "refused");
}

#[test]
fn a_log_that_nobody_reads_stops_no_request() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let stub = runtime.block_on(Stub::start(|_| StubReply::json(200, "[]")));
    let (_folder, file) = Setup::rest(stub.address).more("[log]\nrequests = \"all\"\n").files();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sudare"));
    // A pipe of 64 KiB that is never read.
    let mut process = Process::listening(command.args(["serve", "-c"]).arg(&file).stderr(Stdio::piped()));
    let (front, admin): (SocketAddr, SocketAddr) = (process.address.parse().unwrap(), process.admin.parse().unwrap());
    runtime.block_on(async {
        let dropped = async || metric(&get(admin, "/metrics").await.text(), "sudare_log_lines_dropped_total").unwrap();
        let flooded = async {
            // The pipe has room for some hundred lines, the queue for some thousand.
            while dropped().await < 1.0 {
                let mut asking = tokio::task::JoinSet::new();
                for _ in 0..8 {
                    asking.spawn(async move {
                        let (mut sender, connection) = hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(
                            tokio::net::TcpStream::connect(front).await.unwrap(),
                        ))
                        .await
                        .unwrap();
                        let driver = tokio::task::spawn(connection);
                        for _ in 0..200 {
                            let request = http::Request::get("/elsewhere").header("host", "x");
                            let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
                            let answer = sender.send_request(request).await.unwrap();
                            assert_eq!(answer.status(), 200);
                            http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
                        }
                        driver.abort();
                    });
                }
                asking.join_all().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(5), flooded).await.expect("lines are dropped rather than waited for");
        assert_eq!(get(front, "/elsewhere").await.status, 200);
        process.signal("-TERM");
        assert_eq!(process.ended().await, Some(0), "and the end does not wait for the reader either");
    });
}

#[tokio::test]
async fn t14_the_line_of_a_request_has_names_and_numbers_only() {
    let stub = Stub::start(|_| StubReply::json(200, r#"{"id":"c-1","name":null}"#)).await;
    let (folder, file) = Setup::rest(stub.address).more("[log]\nrequests = \"all\"\n").files();
    let log = folder.path().join("log");
    let mut process = Process::logging(&file, &log);
    let front = process.address.parse().unwrap();
    let credential = Proxy::credential("shipping");
    let headers = [
        ("sudare-credential", credential.as_str()),
        ("data-purpose", "delivery"),
        ("x-request-id", "0ac1b6de-5b0f-4a4e-8d2f-1234567890ab"),
        ("traceparent", TRACE),
        ("tracestate", "rojo=1"),
    ];
    let answer = send(front, Method::GET, "/customers/mei.tanaka", &headers, "").await.unwrap();
    assert_eq!(answer.headers["x-request-id"], "0ac1b6de-5b0f-4a4e-8d2f-1234567890ab");
    // One that could be a name is replaced; so is trace context that is none.
    let headers = [("x-request-id", "mei.tanaka@example.com"), ("traceparent", "mei.tanaka")];
    let refused = send(front, Method::GET, "/customers/mei.tanaka?email=mei", &headers, "").await.unwrap();
    assert_eq!(refused.status, 401);
    let ours = refused.headers["x-request-id"].to_str().unwrap().to_owned();
    assert!(ours.len() == 25 && ours.ends_with("-0000000000000002"), "{ours}");
    let seen = stub.seen();
    assert_eq!(seen[0].headers["x-request-id"], "0ac1b6de-5b0f-4a4e-8d2f-1234567890ab");
    assert_eq!(
        (&seen[0].headers["traceparent"], &seen[0].headers["tracestate"]),
        (&TRACE.parse().unwrap(), &"rojo=1".parse().unwrap())
    );
    process.signal("-TERM");
    assert_eq!(process.ended().await, Some(0));

    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.to_lowercase().contains("mei"), "{text}");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = |status: u16| lines.iter().find(|line| line["message"] == "request" && line["status"] == status).unwrap();
    let (good, bad) = (line(200), line(401));
    for (name, value) in [
        ("request_id", "0ac1b6de-5b0f-4a4e-8d2f-1234567890ab"),
        ("exchange", "0000000000000001"),
        ("method", "GET"),
        ("class", "documents"),
        ("collection", "customers"),
        ("caller", "shipping"),
        ("purpose", "delivery"),
        ("protocol", "http/1.1"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("level", "INFO"),
    ] {
        assert_eq!(good[name], value, "{name}: {good}");
    }
    assert!(good["route"].as_str().unwrap().contains("{id}") && good["bytes_out"].as_u64().unwrap() > 0, "{good}");
    assert!(good["ms"].is_u64() && good.get("peer").is_none() && good.get("code").is_none(), "{good}");
    assert_eq!((&bad["code"], &bad["request_id"]), (&"caller-unknown".into(), &ours.into()));
    assert!(bad.get("caller").is_none() && bad.get("trace_id").is_none(), "{bad}");
}

#[tokio::test]
async fn t25_reveals_go_on_once_the_disk_of_the_audit_log_has_room_again() {
    let kept = Arc::new(std::sync::Mutex::new(String::new()));
    let stored = Arc::clone(&kept);
    let stub = Stub::start(move |seen| {
        if seen.method == Method::POST {
            *kept.lock().unwrap() = String::from_utf8(seen.body.to_vec()).unwrap();
        }
        StubReply::json(200, kept.lock().unwrap().clone())
    })
    .await;
    let (folder, file) = Setup::rest(stub.address).files();
    // Writes beyond the limit fail as on a full disk; it is raised again later, as when somebody makes room.
    let process = Process::start(&file, "trap '' XFSZ;");
    let (front, admin): (SocketAddr, SocketAddr) = (process.address.parse().unwrap(), process.admin.parse().unwrap());
    let limit = |bytes: &str| {
        let pid = process.child.id().to_string();
        let done =
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}")]).status().expect("prlimit of util-linux");
        assert!(done.success());
    };
    let credential = Proxy::credential("shipping");
    let headers = [("sudare-credential", credential.as_str()), ("data-purpose", "delivery")];
    let ask = async || send(front, Method::GET, "/customers/c-1", &headers, "").await.unwrap();
    let shop = Proxy::credential("shop");
    let json = [("sudare-credential", shop.as_str()), ("data-purpose", "registration"), ("content-type", "application/json")];
    assert_eq!(send(front, Method::POST, "/customers", &json, PERSON).await.unwrap().status, 200);
    assert!(stored.lock().unwrap().contains("sdr1."), "it is sealed");
    assert_eq!(ask().await.json()["name"], "Mei Tanaka");
    let segment = folder.path().join("data/audit/00000001.jsonl");
    limit(&format!("{}:unlimited", fs::metadata(&segment).unwrap().len()));
    let mut answer = ask().await;
    until("the log is full", async || {
        answer = ask().await;
        answer.status == 503
    })
    .await;
    assert_eq!(answer.outcome(), (503, "audit-unavailable".to_owned()));
    let ready = get(admin, "/readyz").await;
    assert_eq!((ready.status.as_u16(), ready.text().as_str()), (503, "audit: events cannot be made durable\n"));
    assert!(metric(&get(admin, "/metrics").await.text(), "sudare_audit_failures_total").unwrap() >= 1.0);

    limit("unlimited:unlimited");
    until("it is ready again, without a restart", async || get(admin, "/readyz").await.status == 200).await;
    assert_eq!(ask().await.status, 200);
    drop(process);
    let keys = keys::KeyRing::open(&config::load(&file).unwrap().keys).unwrap().audit_keys().unwrap();
    let dir = folder.path().join("data/audit");
    audit::verify(&dir, &keys, &audit::Given::default()).unwrap_or_else(|error| panic!("{error}"));
    let events = crate::support::events(&dir, &keys, &audit::Filter::default());
    assert!(events.iter().any(|event| event.code.as_deref() == Some("log-interrupted")), "the log tells of the gap");
}

#[tokio::test]
async fn a_full_disk_of_the_embedded_store_loses_nothing_that_was_acknowledged() {
    let (folder, file) = Setup::embedded().files();
    let process = Process::start(&file, "trap '' XFSZ;");
    let front: SocketAddr = process.address.parse().unwrap();
    let limit = |bytes: &str| {
        let pid = process.child.id().to_string();
        let done =
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}")]).status().expect("prlimit of util-linux");
        assert!(done.success());
    };
    let credential = Proxy::credential("shop");
    let headers =
        [("sudare-credential", credential.as_str()), ("data-purpose", "registration"), ("content-type", "application/json")];
    let write = async |at: usize| {
        let person = PERSON.replace("c-1", &format!("c-{at}")).replace("gold", &"gold".repeat(5000));
        send(front, Method::POST, "/customers", &headers, person).await.unwrap()
    };
    assert_eq!(write(0).await.status, 201);
    let database = fs::metadata(folder.path().join("data/documents.redb")).unwrap().len();
    limit(&format!("{database}:unlimited"));
    let (mut stored, mut refused) = (vec![0], None);
    for at in 1..2_000 {
        let answer = write(at).await;
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
        stored.push(at);
    }
    let refused = refused.expect("the limit is reached");
    assert_eq!(refused.outcome(), (502, "database-unavailable".to_owned()), "{}", refused.text());
    limit("unlimited:unlimited");
    drop(process);
    // The embedded store gives a restart what it acknowledged.
    let process = Process::start(&file, "");
    let front = process.address.parse().unwrap();
    for at in stored {
        let credential = Proxy::credential("shipping");
        let headers = [("sudare-credential", credential.as_str()), ("data-purpose", "delivery")];
        let answer = send(front, Method::GET, &format!("/customers/c-{at}"), &headers, "").await.unwrap();
        assert_eq!(answer.json()["name"], "Mei Tanaka", "{at}");
    }
}

#[tokio::test]
async fn t33_a_clock_that_is_set_back_lengthens_nothing_and_spoils_no_log() {
    const NOON: u64 = 1_790_000_000_000;
    let (folder, file) = Setup::embedded().files();
    let clock = Arc::new(FixedClock::at(NOON));
    let running = app::start_with(config::load(&file).unwrap(), clock.clone()).unwrap();
    let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
    let proxy = Proxy { folder, file, address, running: Some(running) };
    assert_eq!(proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await.status, 201);
    for step in [NOON - 86_400_000, NOON + 86_400_000, NOON - 1, 0, NOON] {
        clock.set(step);
        let answer = proxy.ask("shipping", "delivery", Method::GET, "/customers/c-1", "").await;
        assert_eq!(answer.json()["name"], "Mei Tanaka", "{step}");
    }
    let mut proxy = proxy;
    proxy.stop().await;
    audit::verify(&proxy.audit_dir(), &proxy.audit_keys(), &audit::Given::default()).unwrap_or_else(|error| panic!("{error}"));
    // In the order in which things happened, whatever the clock said.
    let events = proxy.events(&audit::Filter::default());
    assert!(events.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
    assert!(events.windows(2).any(|pair| pair[0].time > pair[1].time), "the clock did go back");
    // A start with an older clock than the log's goes on with it.
    let running = app::start_with(config::load(&proxy.file).unwrap(), Arc::new(FixedClock::at(NOON - 86_400_000))).unwrap();
    assert_eq!(running.stop().await, Drained::Whole);
    let running = app::start_with(config::load(&proxy.file).unwrap(), Arc::new(SystemClock)).unwrap();
    assert_eq!(running.stop().await, Drained::Whole);
}

#[tokio::test]
async fn the_metrics_are_well_formed() {
    let proxy = Setup::embedded().start().await;
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    proxy.ask("shipping", "delivery", Method::GET, "/customers/c-1", "").await;
    proxy.ask("shipping", "marketing", Method::GET, "/customers/c-1", "").await;
    let text = get(admin_of(proxy.running.as_ref().unwrap()), "/metrics").await.text();
    assert!(well_formed(&text).len() > 25, "{text}");
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "sudare_audit_free_bytes"] {
        assert!(metric(&text, name).unwrap() > 0.0, "{name}");
    }
    assert!(metric(&text, "sudare_field_key_misses_total").unwrap() > 0.0);
}

/// Checks the text as OpenMetrics 1.0 has it, line by line. The families, by their names.
fn well_formed(text: &str) -> std::collections::BTreeSet<String> {
    let (body, end) = text.split_at(text.len() - "# EOF\n".len());
    assert_eq!(end, "# EOF\n");
    let mut families = std::collections::BTreeSet::new();
    let (mut family, mut kind) = (String::new(), String::new());
    let mut samples = std::collections::BTreeSet::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').unwrap();
            let (name, value) = rest.split_once(' ').unwrap();
            match word {
                "HELP" => {
                    assert!(families.insert(name.to_owned()), "{name} twice");
                    assert!(value.len() > 3, "{line}");
                    name.clone_into(&mut family);
                }
                "TYPE" => {
                    assert_eq!(name, family, "{line}");
                    assert!(["counter", "gauge", "histogram", "info"].contains(&value), "{line}");
                    value.clone_into(&mut kind);
                }
                "UNIT" => {
                    assert_eq!(name, family, "{line}");
                    assert!(["seconds", "bytes"].contains(&value) && family.ends_with(&format!("_{value}")), "{line}");
                }
                _ => panic!("{line}"),
            }
            continue;
        }
        let name_end = line.find(['{', ' ']).unwrap();
        let suffix = line[..name_end].strip_prefix(&family).unwrap_or_else(|| panic!("{line} is not of {family}"));
        let allowed: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &["_info"],
        };
        assert!(allowed.contains(&suffix), "{line}: {kind}");
        let rest = &line[name_end..];
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once("} ").unwrap().1,
            None => rest.trim_start(),
        };
        value.parse::<f64>().unwrap_or_else(|error| panic!("{line}: {error}"));
        let sample = line[..line.len() - value.len()].to_owned();
        assert!(samples.insert(sample.clone()), "{sample} twice");
    }
    families
}
