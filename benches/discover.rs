//! What it costs to look for personal data: one body in the sample of the leak guard, and one document of `sudare discover`.
//!
//! `cargo bench --bench discover`. The document has 708 bytes and some thirty members, six of them personal. A body outside of the sample
//! costs the guard one addition and no more; the thread of the guard does what is measured here.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up is of no use")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::Criterion;
use sudare::discover::{Paths, guard};
use sudare::document::{Map, Role, Rules, Scope, Selector, Target, Walker};

const DOCUMENT: &str = r#"{"id":"c-100482","name":"Mei Tanaka","email":"mei.tanaka@example.com","phone":"+81355501234","address":"101-0047 Tokyo, Chiyoda-ku, Uchikanda 2-14-9","national_id":"123456789018","birth":"1990-04-17","tier":"gold","locale":"ja-JP","currency":"JPY","created":"2023-05-11T09:31:22Z","updated":"2026-10-02T17:05:48Z","orders":128,"returns":3,"points":40250,"balance":1250.75,"newsletter":false,"tags":["repeat","gift-wrap","evening-delivery","points-card"],"last_order":{"id":"o-77120394","total":18420,"items":4,"status":"delivered","carrier":"yamato","placed":"2026-09-28T11:42:03Z"},"settings":{"theme":"dark","notify":["order","delivery"],"page_size":50,"compact":true},"note":"prefers the loading bay doo"}"#;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let target = Target { selector: Selector::parse("$.name").unwrap(), role: Role::Value, scope: Scope::Row };
    let map = Arc::new(Map::compile(&[Selector::parse("$").unwrap()], &[target]).unwrap());
    criterion.bench_function("guard, copying and queueing one body", |bencher| {
        let (queue, bodies) = std::sync::mpsc::sync_channel(4);
        bencher.iter(|| {
            queue.try_send(black_box(DOCUMENT.as_bytes()).to_vec()).unwrap();
            bodies.recv().unwrap()
        });
    });
    criterion.bench_function("guard, looking at one body", |bencher| {
        bencher.iter(|| {
            let mut walker = Walker::new(Arc::clone(&map), Rules::reply());
            walker.feed(black_box(DOCUMENT.as_bytes())).unwrap();
            walker.finish().unwrap();
            let window = walker.window().unwrap();
            let mapped: Vec<_> = window.layout.found.iter().map(|found| found.value.clone()).collect();
            let mut hits = 0;
            guard::look(&window.bytes, window.layout.rows.first().unwrap().range.clone(), &mapped, |_, _, _| hits += 1);
            hits
        });
    });
    criterion.bench_function("discover, one document", |bencher| {
        let mut paths = Paths::default();
        bencher.iter(|| paths.add(black_box(DOCUMENT.as_bytes())).unwrap());
    });
    criterion.final_summary();
}
