//! The leak guard counts what looks personal at paths that nobody mapped, tells it in the metrics and in the audit log, and blocks nothing.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use sudare::app;
use sudare::audit::{Entry, Filter};
use sudare::base::FixedClock;
use sudare::config::{self, Endpoint};

use crate::support::{Proxy, Setup, send};

const ALL: &str = "[leak_guard]\nsample_per_mille = 1000\n";
const CANARY: &str = "canary.person";
/// 2026-11-22T12:00:00Z
const NOON: u64 = 1_795_348_800_000;

fn customer(id: usize, more: &str) -> String {
    format!(r#"{{"id":"c-{id}","name":"Mei Tanaka","phone":"+81355501234","id_card":"11010519491231002X","tier":"gold"{more}}}"#)
}

async fn write(proxy: &Proxy, body: String) {
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

async fn metrics(proxy: &Proxy) -> String {
    let Some(Endpoint::Tcp(admin)) = proxy.running.as_ref().unwrap().admin() else { panic!("no admin listener") };
    send(*admin, Method::GET, "/metrics", &[], "").await.unwrap().text()
}

/// Once so many bodies were looked at or passed over.
async fn metrics_after(proxy: &Proxy, bodies: usize) -> String {
    for _ in 0..500 {
        let text = metrics(proxy).await;
        let counted = text.lines().filter_map(|line| line.strip_prefix("sudare_leak_guard_bodies_total")?.split_once("} "));
        if counted.map(|(_, count)| count.parse::<usize>().unwrap()).sum::<usize>() >= bodies {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the guard has not looked at {bodies} bodies: {}", metrics(proxy).await);
}

fn found(metrics: &str) -> Vec<&str> {
    metrics.lines().filter_map(|line| line.strip_prefix("sudare_unmapped_personal_total")).collect()
}

fn leaks(proxy: &Proxy) -> Vec<Entry> {
    proxy.events(&Filter::default()).into_iter().filter(|event| event.kind == "leak-guard").collect()
}

#[tokio::test]
async fn what_looks_personal_and_is_no_field_is_counted_and_passes() {
    let mut proxy = Setup::embedded().more(ALL).start().await;
    let more = format!(
        r#","note":"{CANARY}@example.com","calls":[{{"to":"+819012345678"}}],"{CANARY}@example.com":"DE89370400440532013000","by canary":"b@example.com""#
    );
    for id in 0..4 {
        write(&proxy, customer(id, &more)).await;
        // One at a time, so that none is passed over.
        metrics_after(&proxy, id + 1).await;
    }
    // Found too seldom to be told: the name of the member may be a slip.
    write(&proxy, customer(9, r#","seldom":"mei@example.com""#)).await;
    let text = metrics_after(&proxy, 5).await;
    let expected = [
        r#"{collection="customers",path="$.calls[*].to",category="phone"} 4"#,
        r#"{collection="customers",path="$.note",category="email"} 4"#,
        r#"{collection="customers",path="$.?",category="bank-account"} 4"#,
        r#"{collection="customers",path="$.?",category="email"} 4"#,
    ];
    let mut told = found(&text);
    told.sort_unstable();
    assert_eq!(told, expected.iter().copied().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>());
    let stored = proxy.database(Method::GET, "/customers/c-1", "").await.text();
    assert!(stored.contains(CANARY) && stored.contains("\"name\":\"sdr1."), "it never blocks: {stored}");

    proxy.stop().await;
    let events = leaks(&proxy);
    assert_eq!(events.len(), 1);
    let sentence = events[0].to_string();
    let parts = ["$.note (4), $.? (4) look like email", "$.calls[*].to (4) look like phone", "$.? (4) look like bank-account"];
    assert!(events[0].collection.as_deref() == Some("customers") && sentence.contains(" leak-guard"), "{sentence}");
    assert!(parts.iter().filter(|part| sentence.contains(**part)).count() >= 2, "{sentence}");
    let log = proxy.audit_text();
    for (what, text) in [("metrics", &text), ("log", &log)] {
        assert!(!text.contains("canary") && !text.contains("example.com") && !text.contains("seldom"), "{what}");
        assert!(text.contains("$.note"), "the scan of {what} finds what is there");
    }
}

#[tokio::test]
async fn once_a_day_it_is_recorded_what_was_found() {
    let clock = Arc::new(FixedClock::at(NOON));
    let (folder, file) = Setup::embedded().more(ALL).files();
    let running = app::start_with(config::load(&file).unwrap(), clock.clone()).unwrap();
    let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
    let mut proxy = Proxy { folder, file, address, running: Some(running) };
    let note = r#","note":"mei@example.com""#;
    for id in 0..5 {
        write(&proxy, customer(id, note)).await;
        metrics_after(&proxy, id + 1).await;
    }
    clock.set(NOON + 86_400_000);
    write(&proxy, customer(5, "")).await;
    metrics_after(&proxy, 6).await;
    write(&proxy, customer(6, note)).await;
    metrics_after(&proxy, 7).await;
    proxy.stop().await;
    let counts: Vec<_> = leaks(&proxy).iter().map(|event| event.unmapped["email"].0.clone()).collect();
    assert_eq!(counts, [[("$.note".to_owned(), 5)], [("$.note".to_owned(), 1)]]);
}

#[tokio::test]
async fn paths_and_bodies_are_bounded_and_it_can_be_turned_off() {
    let (proxy, numbers_too) = (Setup::embedded().more(ALL).start().await, Setup::embedded().more(ALL).start().await);
    let mut many = String::new();
    for n in 0..300 {
        write!(many, r#","m{n}":"mei@example.com""#).unwrap();
    }
    for id in 0..4 {
        write(&proxy, customer(id, &many)).await;
        metrics_after(&proxy, id + 1).await;
    }
    let text = metrics_after(&proxy, 4).await;
    assert_eq!(found(&text).len(), 65, "{text}");
    // Numbers as long as a card's, of which some pass its check by chance, are not told; those that all pass are.
    for id in 0..4 {
        let numbers: Vec<u64> = (0..200).map(|n| 4_000_000_000_000_000 + id * 1_000_000 + n * 7_777).collect();
        write(&numbers_too, customer(id.try_into().unwrap(), &format!(r#","orders":{numbers:?},"card":"4111111111111111""#)))
            .await;
        metrics_after(&numbers_too, usize::try_from(id + 1).unwrap()).await;
    }
    assert_eq!(found(&metrics(&numbers_too).await), [r#"{collection="customers",path="$.card",category="card"} 4"#]);
    // A document larger than what is looked at is written all the same, and counted as looked at.
    let large = format!(r#","note":"mei@example.com","text":"{}""#, "x".repeat(200_000));
    write(&proxy, customer(4, &large)).await;
    let text = metrics_after(&proxy, 5).await;
    assert!(!text.contains("$.note"), "{text}");

    let off = Setup::embedded().more("[leak_guard]\nsample_per_mille = 0\n").start().await;
    for id in 0..5 {
        write(&off, customer(id, &many)).await;
    }
    assert!(!metrics(&off).await.contains("sudare_leak_guard_bodies_total{"));
}
