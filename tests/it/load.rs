//! Too much at once, too slowly, by too many: who is turned away, how, and that all others are served as ever.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::{Answer, Came, Process, Proxy, Setup, SlowDatabase, Stub, StubReply, exchange_raw, send, try_send};

/// However slow the machine is.
const LONG: Duration = Duration::from_mins(2);

fn metrics(proxy: &Proxy) -> String {
    proxy.running.as_ref().unwrap().metrics().encode()
}

fn seconds(headers: &HeaderMap) -> u64 {
    headers.get("retry-after").expect("Retry-After").to_str().unwrap().parse().unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waits = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, waits).await.unwrap_or_else(|_| panic!("{what}"));
}

/// A body of so many bytes that is one new customer.
fn customer(id: &str, bytes: usize) -> String {
    format!(r#"{{"id":"{id}","name":"Mei Tanaka","tier":"{}"}}"#, "g".repeat(bytes))
}

fn post_head(length: &str) -> String {
    let credential = Proxy::credential("shop");
    format!(
        "POST /customers HTTP/1.1\r\nHost: x\r\nSudare-Credential: {credential}\r\nData-Purpose: registration\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn t24_requests_over_the_limit_are_503_until_one_ends_or_its_client_goes() {
    let database = SlowDatabase::start().await;
    let mut proxy = Setup::rest(database.address).more("[limits]\nrequests = 2\n").start().await;
    let address = proxy.address;
    let ask = move || tokio::task::spawn(send(address, Method::GET, "/orders", &[], ""));
    let (first, second) = (ask(), ask());
    let (one, _two) = (database.asked().await, database.asked().await);
    for _ in 0..8 {
        let turned_away = send(address, Method::GET, "/orders", &[], "").await.unwrap();
        assert_eq!(turned_away.outcome(), (503, "overloaded".to_owned()));
        assert!((1..=4).contains(&seconds(&turned_away.headers)));
    }
    assert!(metrics(&proxy).contains(r#"sudare_shed_total{used_up="requests"} 8"#), "{}", metrics(&proxy));
    one.answer(200, "[]").await;
    let ended = tokio::select! { ended = first => ended, ended = second => ended };
    assert_eq!(ended.unwrap().unwrap().status, 200);
    until("a seat is free", || metrics(&proxy).contains("sudare_requests_under_way 1\n")).await;
    let third = ask();
    let _three = database.asked().await;
    assert_eq!(send(address, Method::GET, "/orders", &[], "").await.unwrap().status, 503);
    third.abort();
    until("a client that goes leaves its seat", || metrics(&proxy).contains("sudare_requests_under_way 1\n")).await;
    assert_eq!(proxy.audit_text().matches("overloaded").count(), 0, "a flood must not fill the disk");
    proxy.stop().await;
}

#[tokio::test]
async fn t24_a_reply_counts_until_it_was_read_and_a_feed_until_its_head() {
    let database = SlowDatabase::start().await;
    let proxy = Setup::couchdb(database.address).more("[limits]\nrequests = 1\n").start().await;
    let opening = proxy.open("shop", "account", Method::GET, "/orders/_all_docs", "");
    let reply = async {
        let mut asked = database.asked().await;
        asked.begin("application/json").await;
        asked
    };
    let (mut reading, mut asked) = tokio::join!(opening, reply);
    assert_eq!(reading.status, 200);
    assert_eq!(send(proxy.address, Method::GET, "/orders", &[], "").await.unwrap().status, 503);
    asked.end().await;
    assert_eq!(reading.all(LONG).await.1, Came::End);
    until("the seat is free", || metrics(&proxy).contains("sudare_requests_under_way 0\n")).await;
    let path = "/customers/_changes?feed=continuous&include_docs=true";
    let opening = proxy.open("shop", "account", Method::GET, path, "");
    let reply = async {
        let mut asked = database.asked().await;
        asked.begin("application/json").await;
        asked
    };
    let (feed, _asked) = tokio::join!(opening, reply);
    assert_eq!(feed.status, 200);
    until("a feed holds no seat", || metrics(&proxy).contains("sudare_requests_under_way 0\n")).await;
}

#[tokio::test]
async fn t24_bodies_wait_for_room_and_are_then_503() {
    let database = SlowDatabase::start().await;
    let proxy = Arc::new(Setup::rest(database.address).more("[limits]\nmemory_bytes = 1048576\n").start().await);
    let write = |id: &'static str| {
        let proxy = Arc::clone(&proxy);
        let body = customer(id, 300_000);
        tokio::task::spawn(async move { proxy.ask("shop", "registration", Method::POST, "/customers", body).await })
    };
    let first = write("c-1");
    let asked = database.asked().await;
    assert!(!metrics(&proxy).contains("sudare_memory_reserved_kibibytes 0\n"), "{}", metrics(&proxy));
    let turned_away = write("c-2").await.unwrap();
    assert_eq!(turned_away.outcome(), (503, "overloaded".to_owned()));
    let _seconds = seconds(&turned_away.headers);
    assert!(metrics(&proxy).contains(r#"sudare_shed_total{used_up="memory"} 1"#));
    asked.answer(201, r#"{"ok":true}"#).await;
    assert_eq!(first.await.unwrap().status, 201);
    until("the room is given back", || metrics(&proxy).contains("sudare_memory_reserved_kibibytes 0\n")).await;
    // A body that is larger than all the room there is comes when it is alone.
    let large = write("c-3");
    database.asked().await.answer(201, r#"{"ok":true}"#).await;
    assert_eq!(large.await.unwrap().status, 201);
}

#[tokio::test]
async fn t24_each_caller_has_its_own_limits_and_a_reload_takes_new_ones() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let limits = "[limits.caller]\nrate = 1\nburst = 2\n";
    let proxy = Setup::rest(stub.address).more(limits).start().await;
    let own = |text: &str| {
        let written = std::fs::read_to_string(&proxy.file).unwrap();
        let shop = "[caller.shop]\n";
        assert!(written.contains(shop));
        std::fs::write(&proxy.file, written.replace(shop, &format!("{shop}{text}\n"))).unwrap();
        assert!(proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap().is_empty());
    };
    let ask = |caller: &'static str, purpose: &'static str| proxy.ask(caller, purpose, Method::GET, "/customers", "");
    // Two at once, then one a second: a slow machine may see some more.
    let mut limited = None;
    for _ in 0..200 {
        let answer = ask("shop", "account").await;
        if answer.status != 200 {
            limited = Some(answer);
            break;
        }
    }
    let limited = limited.expect("at some time");
    assert_eq!(limited.outcome(), (429, "rate-limited".to_owned()));
    assert!(limited.text().contains("rate") && seconds(&limited.headers) >= 1);
    assert_eq!(ask("helpdesk", "support").await.status, 200, "another caller has its own");
    own("limits = { rate = 1000000 }");
    for _ in 0..50 {
        assert_eq!(ask("shop", "account").await.status, 200);
    }
    assert!(metrics(&proxy).contains(r#"sudare_limited_total{limit="rate"}"#));
}

#[tokio::test]
async fn t24_a_caller_at_its_concurrency_is_429_while_others_are_served() {
    let database = SlowDatabase::start().await;
    let proxy = Arc::new(Setup::rest(database.address).more("[limits.caller]\nconcurrency = 1\n").start().await);
    let ask = |caller: &'static str, purpose: &'static str| {
        let proxy = Arc::clone(&proxy);
        tokio::task::spawn(async move { proxy.ask(caller, purpose, Method::GET, "/customers", "").await })
    };
    let first = ask("shop", "account");
    let waiting = database.asked().await;
    let second = ask("shop", "account").await.unwrap();
    assert_eq!(second.outcome(), (429, "rate-limited".to_owned()));
    assert_eq!(seconds(&second.headers), 2);
    let other = ask("helpdesk", "support");
    database.asked().await.answer(200, "[]").await;
    assert_eq!(other.await.unwrap().status, 200);
    waiting.answer(200, "[]").await;
    assert_eq!(first.await.unwrap().status, 200);
    until("the place is given back", || metrics(&proxy).contains("sudare_requests_under_way 0\n")).await;
    let again = ask("shop", "account");
    database.asked().await.answer(200, "[]").await;
    assert_eq!(again.await.unwrap().status, 200);
}

#[tokio::test]
async fn t16_an_address_that_guesses_credentials_is_not_listened_to_for_the_rest_of_the_minute() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let proxy = Setup::rest(stub.address).more("[limits]\nfailures_per_minute = 3\n").start().await;
    let guess = || send(proxy.address, Method::GET, "/customers", &[("sudare-credential", "shop.guess")], "");
    // The minute may end between two guesses.
    let mut statuses = Vec::new();
    while statuses.len() < 12 && statuses.last() != Some(&429) {
        statuses.push(guess().await.unwrap().status.as_u16());
    }
    assert!(statuses.len() > 3 && statuses[..3] == [401; 3] && statuses.last() == Some(&429), "{statuses:?}");
    assert_eq!(send(proxy.address, Method::GET, "/orders", &[], "").await.unwrap().status, 200, "what needs no caller passes");
}

#[tokio::test]
async fn t24_an_address_with_too_many_connections_gets_no_more_until_one_is_closed() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let proxy = Setup::rest(stub.address).more("[limits]\nconnections_per_address = 3\n").start().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(TcpStream::connect(proxy.address).await.unwrap());
    }
    until("all are taken", || metrics(&proxy).contains("sudare_connections 3\n")).await;
    assert!(try_send(proxy.address, Method::GET, "/orders", &[], "").await.is_none(), "closed without an answer");
    assert!(metrics(&proxy).contains(r#"sudare_connections_refused_total{limit="address"} 1"#));
    open.pop();
    until("one is gone", || metrics(&proxy).contains("sudare_connections 2\n")).await;
    assert_eq!(send(proxy.address, Method::GET, "/orders", &[], "").await.unwrap().status, 200);
}

#[tokio::test]
async fn t24_a_slow_body_is_408_on_routes_that_pass_too_however_it_is_slow() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let limits = "[limits]\nbody_timeout_ms = 600\nbody_bytes_per_second = 1000\n";
    let proxy = Setup::rest(stub.address).more(limits).start().await;
    for head in ["POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".to_owned(), post_head("100000")] {
        // Stops.
        let reply = exchange_raw(proxy.address, format!("{head}x").as_bytes(), LONG).await;
        assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
        // Trickles: no piece is late, but all of them are too few.
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        let trickled = async {
            loop {
                let mut piece = [0; 1024];
                match tokio::time::timeout(Duration::from_millis(50), stream.read(&mut piece)).await {
                    Ok(Ok(0) | Err(_)) => break,
                    Ok(Ok(count)) => reply.extend_from_slice(&piece[..count]),
                    Err(_nothing_yet) => {
                        let _refused = stream.write_all(b" ").await;
                    }
                }
            }
        };
        tokio::time::timeout(LONG, trickled).await.expect("given up");
        assert!(reply.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&reply));
    }
    assert!(metrics(&proxy).contains(r#"sudare_peers_given_up_total{at="body"} 4"#), "{}", metrics(&proxy));
    assert_eq!(send(proxy.address, Method::GET, "/orders", &[], "").await.unwrap().status, 200);
}

/// Answers every request with a body that never ends, as fast as it is taken.
async fn endless_database() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::task::spawn(async move {
                let mut head = [0; 4096];
                let _head = stream.read(&mut head).await;
                let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(1 << 16));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            });
        }
    });
    address
}

#[tokio::test]
async fn t24_a_client_that_does_not_read_a_reply_that_passes_is_given_up() {
    let proxy = Setup::rest(endless_database().await).more("[limits]\nwrite_timeout_ms = 300\n").start().await;
    let mut slow = TcpStream::connect(proxy.address).await.unwrap();
    slow.write_all(b"GET /orders HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until("given up", || metrics(&proxy).contains(r#"sudare_peers_given_up_total{at="reply"} 1"#)).await;
    until("closed", || metrics(&proxy).contains("sudare_connections 0\n")).await;
    assert!(metrics(&proxy).contains("sudare_requests_under_way 0\n"));
}

#[tokio::test]
async fn t24_a_reply_that_passes_for_ever_is_broken_off() {
    let proxy = Setup::rest(endless_database().await).more("[limits]\noutside_timeout_ms = 500\n").start().await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(b"GET /orders HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut last = Vec::new();
    let reads = async {
        let mut piece = vec![0; 1 << 16];
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            last = piece[..count].to_vec();
        }
    };
    tokio::time::timeout(LONG, reads).await.expect("broken off");
    assert!(!last.ends_with(b"0\r\n\r\n"), "a reply that is not whole must not look whole");
}

/// Processor time and resident memory of a process.
fn used(pid: u32) -> (Duration, usize) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    // A tick is 10 ms on every Linux we know.
    (Duration::from_millis(10 * ticks), kib.unwrap() << 10)
}

#[tokio::test]
async fn t24_without_descriptors_the_proxy_waits_serves_who_is_there_and_recovers() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let (_folder, file) = Setup::rest(stub.address).files();
    let process = Process::start(&file, "");
    let address: SocketAddr = process.address.parse().unwrap();
    let mut there = TcpStream::connect(address).await.unwrap();
    let mut served = async || {
        there.write_all(b"GET /orders HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut reply = [0; 4096];
        let count = tokio::time::timeout(LONG, there.read(&mut reply)).await.unwrap().unwrap();
        assert!(reply[..count].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&reply[..count]));
    };
    // It has its connection to the database now, which it keeps.
    served().await;
    let pid = process.child.id();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = u64::try_from(open).unwrap() + 8;
    let nofile = Rlimit { current: Some(limit), maximum: Some(limit) };
    prlimit(Pid::from_raw(pid.cast_signed()), Resource::Nofile, nofile).unwrap();
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    until("all are used", || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() >= open + 8).await;
    let (before, _) = used(pid);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        served().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let spent = used(pid).0.saturating_sub(before);
    assert!(spent < started.elapsed() / 2, "it must not spin: {spent:?} of {:?}", started.elapsed());
    drop(idle);
    let answer = try_send(address, Method::GET, "/orders", &[], "").await.expect("served once descriptors are free");
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn with_few_descriptors_fewer_connections_are_accepted_so_that_the_database_can_be_reached() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let (_folder, file) = Setup::rest(stub.address).files();
    let process = Process::start(&file, "ulimit -n 200;");
    let address: SocketAddr = process.address.parse().unwrap();
    let mut idle = Vec::new();
    for _ in 0..30 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let mut all = JoinSet::new();
    for _ in 0..100 {
        all.spawn(async move { try_send(address, Method::GET, "/orders", &[], "").await });
    }
    for answer in all.join_all().await {
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

/// Stores customers of 1 MiB from `clients` clients at once; counts the answers that are 2xx and 503.
async fn flood(address: SocketAddr, clients: usize, each: usize) -> (usize, usize) {
    let mut all = JoinSet::new();
    for client in 0..clients {
        all.spawn(async move {
            let credential = Proxy::credential("shop");
            let headers = [
                ("sudare-credential", credential.as_str()),
                ("data-purpose", "registration"),
                ("content-type", "application/json"),
            ];
            let (mut done, mut shed) = (0, 0);
            for number in 0..each {
                let body = customer(&format!("c-{client}-{number}"), 1 << 20);
                let answer: Answer = try_send(address, Method::POST, "/customers", &headers, body)
                    .await
                    .expect("every one gets a whole answer, also one that is turned away in the middle of its body");
                match answer.status.as_u16() {
                    200..=299 => done += 1,
                    503 => {
                        assert_eq!(answer.code(), "overloaded");
                        assert!((1..=4).contains(&seconds(&answer.headers)));
                        shed += 1;
                    }
                    other => panic!("{other}: {}", answer.text()),
                }
            }
            (done, shed)
        });
    }
    all.join_all().await.into_iter().fold((0, 0), |(a, b), (done, shed)| (a + done, b + shed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t24_a_flood_of_large_bodies_ends_in_503_and_memory_stays_bounded() {
    // The database is slow, so that bodies pile up.
    let stub = Stub::start(|_| {
        std::thread::sleep(Duration::from_millis(20));
        StubReply::json(201, r#"{"ok":true}"#)
    })
    .await;
    let limits = "[limits]\nmemory_bytes = 16777216\nrequests = 24\n";
    let (_folder, file) = Setup::rest(stub.address).more(limits).files();
    let process = Process::start(&file, "");
    let address: SocketAddr = process.address.parse().unwrap();
    let (done, shed) = flood(address, 40, 3).await;
    assert_eq!(done + shed, 120);
    assert!(done > 0 && shed > 0, "{done} done, {shed} turned away");
    let (_, resident) = used(process.child.id());
    assert!(resident < 160 << 20, "{resident} bytes are resident");
    let (done, shed) = flood(address, 1, 3).await;
    assert_eq!((done, shed), (3, 0), "afterwards all is as before");
}
