//! Spans over OTLP, with the feature `otlp`: what a collector is sent, and that nobody waits for one.

use std::time::{Duration, Instant};

use http::Method;
use sudare::crypto;

use crate::support::{CLEAR, PERSON, Proxy, Seen, Setup, Stub, StubReply};

const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

async fn collector() -> Stub {
    Stub::start(|_| StubReply {
        status: 200,
        headers: vec![("content-type", "application/x-protobuf".to_owned())],
        body: Vec::new(),
    })
    .await
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

/// All that the collector was sent.
fn spans(seen: &[Seen]) -> Vec<u8> {
    for one in seen {
        assert_eq!((&one.method, one.target.as_str()), (&Method::POST, "/v1/traces"));
        assert_eq!(one.headers["content-type"], "application/x-protobuf");
    }
    seen.iter().flat_map(|seen| seen.body.to_vec()).collect()
}

async fn proxy(database: &Stub, collector: &str, more: &str) -> Proxy {
    let table = format!("[otlp]\nendpoint = \"{collector}\"\nservice_name = \"shop-proxy\"\n{more}");
    Setup::rest(database.address).more(&table).start().await
}

#[tokio::test]
async fn t13_a_span_has_names_and_numbers_and_no_value() {
    let collector = collector().await;
    let database = Stub::start(|seen| match seen.method {
        Method::POST => StubReply::json(201, "{}"),
        _ => StubReply::json(404, r#"{"error":"canary-reply"}"#),
    })
    .await;
    let mut proxy = proxy(&database, &format!("http://{}", collector.address), "").await;
    let trace = [("traceparent", SENT), ("x-canary", "canary-header"), ("tracestate", "x=canary-state")];
    let answer = proxy.ask_with("shop", "registration", Method::POST, "/customers", &trace, PERSON).await.unwrap();
    assert_eq!(answer.status, 201);
    proxy.ask("shop", "account", Method::GET, "/customers/canary-path?tier=canary-query", "").await;
    proxy.ask("shop", "account", Method::GET, "/orders/canary-order", "").await;
    let refused = proxy.ask("mailer", "account", Method::GET, "/customers/canary-path", "").await;
    assert_eq!(refused.status, 403);
    // The database sees our span as its parent, in the caller's trace.
    let forwarded = database.seen()[0].headers["traceparent"].to_str().unwrap().to_owned();
    assert!(forwarded.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && forwarded.ends_with("-01"), "{forwarded}");
    assert_ne!(&forwarded[36..52], "00f067aa0ba902b7");
    // Its own trace where the caller has none.
    let own = database.seen()[1].headers["traceparent"].to_str().unwrap().to_owned();
    proxy.stop().await;
    let sent = spans(&collector.seen());
    for known in [&hex(&forwarded[3..35]), &hex(&forwarded[36..52]), &hex("00f067aa0ba902b7"), &hex(&own[36..52])] {
        assert!(has(&sent, known), "{known:?}");
    }
    for name in [
        "shop-proxy",
        "POST documents",
        "GET documents",
        "GET outside",
        "customers",
        "registration",
        "account",
        "shop",
        "purpose-refused",
        "http.response.status_code",
        "sudare.exchange",
    ] {
        assert!(has(&sent, name.as_bytes()), "{name}");
    }
    let secret = crypto::base64url(&crypto::sha256(b"shop"));
    for canary in CLEAR.into_iter().chain(["canary", "sdr1.", "c-1", "tier", secret.as_str()]) {
        assert!(!has(&sent, canary.as_bytes()), "{canary}");
    }
}

#[tokio::test]
async fn what_is_not_sampled_is_not_sent() {
    let collector = collector().await;
    let database = Stub::start(|_| StubReply::json(200, "[]")).await;
    let mut proxy = proxy(&database, &format!("http://{}", collector.address), "sample_per_mille = 0\n").await;
    let unsampled = SENT.replace("-01", "-00");
    for trace in [&[][..], &[("traceparent", unsampled.as_str())]] {
        proxy.ask_with("shop", "account", Method::GET, "/customers", trace, "").await.unwrap();
    }
    assert_eq!(database.seen()[1].headers["traceparent"], unsampled, "it passes as it came");
    assert!(!database.seen()[0].headers.contains_key("traceparent"));
    proxy.ask_with("shop", "account", Method::GET, "/customers", &[("traceparent", SENT)], "").await.unwrap();
    proxy.stop().await;
    let sent = spans(&collector.seen());
    assert_eq!(sent.windows(13).filter(|window| window == b"GET documents").count(), 1, "the one whose trace asks for it");
}

#[tokio::test]
async fn a_collector_that_is_gone_or_silent_costs_nobody_anything() {
    let database = Stub::start(|_| StubReply::json(200, "[]")).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for collector in [silent.local_addr().unwrap(), gone] {
        let mut proxy = proxy(&database, &format!("http://{collector}"), "").await;
        for _ in 0..20 {
            assert_eq!(proxy.ask("shop", "account", Method::GET, "/customers", "").await.status, 200);
        }
        if collector == gone {
            let started = Instant::now();
            while !proxy.running.as_ref().unwrap().metrics().encode().contains("sudare_spans_dropped_total{reason=\"not-taken\"}")
            {
                assert!(started.elapsed() < Duration::from_mins(1), "it says what it dropped");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let started = Instant::now();
        proxy.stop().await;
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    }
}
