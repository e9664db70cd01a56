//! S1, S2 and S9: what it costs to protect, to reveal and to rewrap one customer document in process, beside a serde_json round trip of it.
//!
//! `cargo bench --bench field` prints criterion's times, then ratios from rounds in which the three are measured in turn, because times
//! drift on shared machines. The document has 708 bytes and six personal members, all sealed or all revealed clear; beside it the same with all
//! of them deterministic. Walking the body is part of each.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up is of no use, and it is there to be read"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use sudare::field::Protection;

use setup::baseline::Baseline;
use setup::{DOCUMENT_BYTES, FIELDS, Scene, Shape};

#[expect(dead_code, reason = "shared with other benches, which use the rest")]
mod setup;

/// Time of one call, from a batch of them.
fn time<T>(mut call: impl FnMut() -> T) -> Duration {
    const BATCH: u32 = 2_000;
    let start = Instant::now();
    for _ in 0..BATCH {
        black_box(call());
    }
    start.elapsed() / BATCH
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Ratios to the serde_json round trip, each the median of rounds measured in turn.
fn ratios(setup: &Scene, deterministic: &Scene) {
    const ROUNDS: usize = 41;
    let baseline = Baseline::new(setup);
    let mut rounds = [const { Vec::new() }; 11];
    for _ in 0..ROUNDS {
        let serde = time(|| setup.round_trip());
        let calls = [
            serde,
            time(|| setup.protect()),
            time(|| setup.reveal()),
            time(|| setup.walk_clear()),
            time(|| setup.walk_stored()),
            time(|| deterministic.protect()),
            time(|| deterministic.reveal()),
            time(|| setup.rewrap()),
            time(|| deterministic.rewrap()),
            time(|| baseline.protect()),
            time(|| baseline.reveal()),
        ];
        for (times, one) in rounds.iter_mut().zip(calls) {
            times.push((one.as_secs_f64(), one.as_secs_f64() / serde.as_secs_f64()));
        }
    }
    let names = [
        "serde_json Value round trip",
        "S1 protect, 6 fields sealed",
        "S2 reveal, 6 fields clear",
        "  of S1: walk",
        "  of S2: walk",
        "protect, 6 deterministic",
        "reveal, 6 deterministic",
        "S9 rewrap, 6 values",
        "rewrap, 6 deterministic",
        "protect over a Value",
        "reveal over a Value",
    ];
    println!("\n{DOCUMENT_BYTES} bytes; medians of {ROUNDS} rounds; goal of S1 and S2: at most 0.35");
    for (name, times) in names.iter().zip(rounds) {
        let (seconds, ratios) = times.into_iter().unzip();
        println!("{name:30} {:7.2} µs  ratio {:.2}", median(seconds) * 1e6, median(ratios));
    }
}

fn main() {
    let setup = Scene::new(&Shape::default());
    let deterministic = Scene::new(&Shape { protection: Protection::Deterministic, ..Shape::default() });
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("serde_json round trip", |bencher| bencher.iter(|| setup.round_trip()));
    criterion.bench_function("S1 protect 6 fields", |bencher| bencher.iter(|| setup.protect()));
    criterion.bench_function("S2 reveal 6 fields", |bencher| bencher.iter(|| setup.reveal()));
    criterion.bench_function("protect 6 fields deterministically", |bencher| bencher.iter(|| deterministic.protect()));
    criterion.bench_function("reveal 6 deterministic fields", |bencher| bencher.iter(|| deterministic.reveal()));
    assert_eq!((setup.rewrap(), deterministic.rewrap()), (FIELDS.len(), FIELDS.len()));
    criterion.bench_function("S9 rewrap 6 values", |bencher| bencher.iter(|| setup.rewrap()));
    criterion.final_summary();
    ratios(&setup, &deterministic);
}
