//! Speed of the JSON walker beside serde_json's, on the same bytes in the same run (goal S3, and what S1 and S2 spend on finding fields).
//!
//! `cargo bench --bench document` prints criterion's figures and then a table of ratios: medians of interleaved rounds, because absolute
//! times drift. `cargo bench --bench document -- --ratios` prints only the table.
#![expect(clippy::expect_used, reason = "a bench that does not set up must stop")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;
use sudare::document::{Map, Role, Rules, Scope, Selector, Target, Walker, splice, walk};

const ROUNDS: usize = 41;
const FIELDS: [&str; 6] = ["$.name", "$.email", "$.phone", "$.address", "$.id_card", "$.born"];

fn map() -> Arc<Map> {
    let selector = |text: &&str| Selector::parse(text).expect("a selector");
    let rows: Vec<_> = ["$", "$[*]", "$.items[*]"].iter().map(selector).collect();
    let targets: Vec<_> =
        FIELDS.iter().map(|text| Target { selector: selector(text), role: Role::Value, scope: Scope::Row }).collect();
    Arc::new(Map::compile(&rows, &targets).expect("disjoint selectors"))
}

/// A map that looks for nothing: what remains is validation.
fn nothing() -> Map {
    Map::compile(&[], &[]).expect("no selectors")
}

/// A customer of 708 bytes with all six fields.
fn customer() -> Vec<u8> {
    let mut text = String::from(
        r#"{"id":"c-2041883","name":"Chan Tai Man","email":"taiman.chan@example.com","phone":"+852 5551 2345","address":{"line1":"Flat 12B, Block 3","line2":"18 Harbour Road","district":"Wan Chai","postcode":"999077","country":"HK"},"id_card":"A123456(3)","born":"1987-04-23","language":"zh-Hant-HK","tier":"gold","points":18340,"newsletter":true,"created":"2023-11-02T08:14:55Z","updated":"2025-01-19T21:03:10Z","tags":["returning","app","no-calls"],"cart":[{"sku":"TEA-OOL-250","qty":2,"price":128.5},{"sku":"CUP-CEL-02","qty":4,"price":64}],"preferences":{"currency":"HKD","delivery":"locker","gift_wrap":false},"last_order":{"id":"o-99812","total":513.0,"status":"delivered"},"notes":"#,
    );
    let fill = 708 - text.len() - 3;
    text.push('"');
    text.extend(std::iter::repeat_n('x', fill));
    text.push_str("\"}");
    text.into_bytes()
}

/// A list of about one megabyte of orders, none of which has a protected member.
fn list(wide: bool) -> Vec<u8> {
    let mut text = String::from("[");
    let mut i = 0;
    while text.len() < 1_000_000 {
        if i > 0 {
            text.push(',');
        }
        let note = if wide {
            "送貨前請先致電，謝謝。Livrez à l'étage s'il vous plaît."
        } else {
            "Please ring the bell twice and leave it with the porter."
        };
        text.extend([format!(
            r#"{{"id":"o-{i:07}","status":"shipped","warehouse":"hk-kwai-chung-2","weight_g":{},"express":false,"lines":[{{"sku":"TEA-OOL-250","qty":2,"price":128.5}},{{"sku":"CUP-CEL-02","qty":4,"price":64}},{{"sku":"TRAY-BAM-L","qty":1,"price":219.9}}],"carrier":{{"code":"SFX","service":"locker","tracking":"SF{i:012}"}},"note":"{note}","created":"2025-01-19T21:03:10Z","updated":"2025-01-20T09:41:33Z","version":{},"source":null}}"#,
            300 + i % 700,
            i % 9
        )]);
        i += 1;
    }
    text.push(']');
    text.into_bytes()
}

fn stream(map: &Arc<Map>, rules: Rules, body: &[u8]) -> usize {
    let mut walker = Walker::new(Arc::clone(map), rules);
    let mut bytes = 0;
    for piece in body.chunks(16 << 10) {
        walker.feed(piece).expect("valid");
        while let Some(window) = walker.window() {
            bytes += window.bytes.len();
        }
    }
    walker.finish().expect("valid");
    while let Some(window) = walker.window() {
        bytes += window.bytes.len();
    }
    bytes
}

type Run<'a> = (&'static str, Box<dyn Fn() + 'a>);

fn timed<'a, T>(run: impl Fn() -> T + 'a) -> Box<dyn Fn() + 'a> {
    Box::new(move || {
        black_box(run());
    })
}

fn runs<'a>(map: &'a Arc<Map>, body: &'a [u8]) -> Vec<Run<'a>> {
    vec![
        ("serde_json IgnoredAny", timed(|| serde_json::from_slice::<IgnoredAny>(black_box(body)).expect("valid"))),
        ("serde_json RawValue", timed(|| serde_json::from_slice::<&RawValue>(black_box(body)).expect("valid"))),
        ("serde_json Value", timed(|| serde_json::from_slice::<Value>(black_box(body)).expect("valid"))),
        ("walk, rules for replies", timed(|| walk(map, Rules::reply(), black_box(body)).expect("valid"))),
        ("walk, rules for requests", timed(|| walk(map, Rules::request(), black_box(body)).expect("valid"))),
        ("walk, nothing looked for", timed(|| walk(&nothing(), Rules::reply(), black_box(body)).expect("valid"))),
        ("walker, 16 KiB pieces, replies", timed(|| stream(map, Rules::reply(), black_box(body)))),
    ]
}

/// Median times of interleaved rounds.
fn medians(runs: &[Run<'_>], times: u32) -> Vec<Duration> {
    let mut taken = vec![Vec::new(); runs.len()];
    for _ in 0..ROUNDS {
        for ((_, run), taken) in runs.iter().zip(&mut taken) {
            let start = Instant::now();
            (0..times).for_each(|_| run());
            taken.push(start.elapsed() / times);
        }
    }
    taken
        .into_iter()
        .map(|mut taken| {
            taken.sort();
            taken.get(ROUNDS / 2).copied().unwrap_or_default()
        })
        .collect()
}

#[expect(clippy::print_stdout, reason = "a bench reports on standard output")]
fn ratios(title: &str, runs: &[Run<'_>], bytes: usize, times: u32) {
    let medians = medians(runs, times);
    let base = medians.first().copied().unwrap_or_default().as_secs_f64();
    println!("\n{title} ({bytes} bytes); time as a ratio to serde_json IgnoredAny, throughput for orientation");
    for ((name, _), time) in runs.iter().zip(&medians) {
        let ratio = time.as_secs_f64() / base;
        #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "a figure to read")]
        let speed = bytes as f64 / time.as_secs_f64() / 1e9;
        println!("  {name:32} {ratio:5.2}   {speed:5.2} GB/s   {time:?}");
    }
}

fn main() {
    let map = map();
    let (list, wide, customer) = (list(false), list(true), customer());
    assert_eq!(customer.len(), 708);
    assert_eq!(walk(&map, Rules::request(), &customer).expect("valid").found.len(), FIELDS.len());
    assert!(walk(&map, Rules::reply(), &list).expect("valid").found.is_empty());
    assert_eq!(stream(&map, Rules::reply(), &wide), wide.len());
    let bodies = [
        ("list without protected members", &list, 1),
        ("the same, not ASCII", &wide, 1),
        ("customer with 6 fields", &customer, 400),
    ];

    if !std::env::args().any(|arg| arg == "--ratios") {
        let mut criterion = Criterion::default().configure_from_args();
        for (title, body, _) in &bodies {
            let mut group = criterion.benchmark_group(*title);
            group.throughput(Throughput::Bytes(u64::try_from(body.len()).expect("small")));
            for (name, run) in runs(&map, body) {
                group.bench_function(name, |bencher| bencher.iter(&run));
            }
            group.finish();
        }
        let layout = walk(&map, Rules::request(), &customer).expect("valid");
        let changes = vec![sudare::document::Change::Replace(vec![b'"'; 120]); FIELDS.len()];
        let mut out = Vec::new();
        criterion.bench_function("splice 6 fields of a customer", |bencher| {
            bencher.iter(|| {
                out.clear();
                splice(black_box(&customer), &layout, &changes, &[], &mut out);
            });
        });
        criterion.final_summary();
    }
    // Not when a profiler looks on.
    let profiled = std::env::args().any(|arg| arg == "--profile-time");
    for (title, body, times) in bodies.into_iter().filter(|_| !profiled) {
        ratios(title, &runs(&map, body), body.len(), times);
    }
}
