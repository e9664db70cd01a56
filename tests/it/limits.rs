//! T24: slow, large and many. Each limit answers or closes, and the next client is served.

use std::time::{Duration, Instant};

use http::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Proxy, Setup, Stub, StubReply, exchange_raw, send};

async fn proxy(limits: &str) -> (Proxy, Stub) {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    (Setup::rest(stub.address).more(limits).start().await, stub)
}

async fn still_serves(proxy: &Proxy) {
    assert_eq!(proxy.ask("shop", "account", Method::GET, "/customers", "").await.status, 200);
}

#[tokio::test]
async fn t24_a_large_body_is_413_before_it_is_read() {
    let (proxy, stub) = proxy("[limits]\nbody_bytes = 65536\n").await;
    let big = format!(r#"{{"id":"c-1","name":"{}"}}"#, "x".repeat(70_000));
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", big).await;
    assert_eq!(answer.outcome(), (413, "too-large".to_owned()));
    let head = format!(
        "POST /customers HTTP/1.1\r\nHost: x\r\nSudare-Credential: {}\r\nData-Purpose: registration\r\nContent-Type: application/json\r\nContent-Length: 9999999999\r\n\r\n{{",
        Proxy::credential("shop")
    );
    let reply = exchange_raw(proxy.address, head.as_bytes(), Duration::from_millis(500)).await;
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
    let chunked = format!(
        "POST /customers HTTP/1.1\r\nHost: x\r\nSudare-Credential: {}\r\nData-Purpose: registration\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n{}\r\n0\r\n\r\n",
        Proxy::credential("shop"),
        " ".repeat(0x11170)
    );
    let reply = exchange_raw(proxy.address, chunked.as_bytes(), Duration::from_millis(500)).await;
    assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
    assert!(stub.seen().is_empty());
    still_serves(&proxy).await;
}

#[tokio::test]
async fn t24_a_slow_body_is_408_and_a_slow_head_is_closed() {
    let (proxy, stub) = proxy("[limits]\nheader_timeout_ms = 300\nbody_timeout_ms = 300\n").await;
    let head = format!(
        "POST /customers HTTP/1.1\r\nHost: x\r\nSudare-Credential: {}\r\nData-Purpose: registration\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        Proxy::credential("shop")
    );
    let started = Instant::now();
    let reply = exchange_raw(proxy.address, head.as_bytes(), Duration::from_secs(5)).await;
    assert!(reply.starts_with("HTTP/1.1 408"), "{reply}");
    assert!(started.elapsed() < Duration::from_secs(3));

    let mut slow = TcpStream::connect(proxy.address).await.unwrap();
    let started = Instant::now();
    slow.write_all(b"GET /orders HTTP/1.1\r\nHost: x\r\nX-").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), slow.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "an unfinished head is given up");
    assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
    assert!(stub.seen().is_empty());
    still_serves(&proxy).await;
}

#[tokio::test]
async fn t24_a_flood_of_headers_is_431() {
    let (proxy, stub) = proxy("[limits]\nheaders = 40\n").await;
    let many = "X-1: 1\r\n".repeat(100);
    let reply =
        exchange_raw(proxy.address, format!("GET /orders HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes(), Duration::from_secs(1))
            .await;
    assert!(reply.starts_with("HTTP/1.1 431"), "{reply}");
    let long = format!("GET /orders HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(200_000));
    let reply = exchange_raw(proxy.address, long.as_bytes(), Duration::from_secs(1)).await;
    assert!(reply.starts_with("HTTP/1.1 431") || reply.is_empty(), "{reply}");
    assert!(stub.seen().is_empty());
    still_serves(&proxy).await;
}

#[tokio::test]
async fn t24_connections_over_the_limit_wait_and_idle_ones_make_room() {
    let (proxy, _stub) = proxy("[limits]\nconnections = 4\nidle_timeout_ms = 1000\nheader_timeout_ms = 400\n").await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(TcpStream::connect(proxy.address).await.unwrap());
    }
    let answer = tokio::time::timeout(Duration::from_secs(5), send(proxy.address, Method::GET, "/orders", &[], "")).await;
    assert_eq!(answer.expect("served once an idle one is closed").unwrap().status, 200);
}

#[tokio::test]
async fn t24_a_database_that_never_answers_is_504() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Setup::rest(silent.local_addr().unwrap()).upstream("reply_timeout_ms = 300").start().await;
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!(answer.outcome(), (504, "database-timeout".to_owned()));
}
