//! The work whose instructions `benches/instructions/run` counts: one case a process, under valgrind.
//!
//! ```text
//! instructions --list              the cases, one a line: name, how often
//! instructions CASE                sets the case up, warms it, and does it that often inside `counted`
//! instructions --time CASE MS      does it for so many milliseconds, and prints how many nanoseconds one took
//! instructions --document           the document of 708 bytes
//! instructions --traffic UPSTREAM PROXY SECRET
//!                                  is the database on port UPSTREAM and a client of the proxy on port PROXY; reads `KIND COUNT` lines
//! ```
//!
//! Always holds: inputs are fixed, so that two counts of one program differ by less than a thousandth (by random keys of hash maps, and by
//! what is drawn for nonces); only what happens inside `counted` counts.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    reason = "a bench that cannot be set up is of no use, and is read"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use sudare::caller::{Callers, Means, Presented};
use sudare::crypto::{MacKey, Secret, XaesKey, sha256};
use sudare::document::{Rules, walk};
use sudare::field::Protection;
use sudare::purpose::Level;

use setup::baseline::Baseline;
use setup::{DOCUMENT, SMALL, Scene, Shape, caller};

#[expect(dead_code, reason = "shared with other benches, which use the rest")]
#[path = "../../setup/mod.rs"]
mod setup;
mod traffic;

/// A case: its name, how often it is done, and what sets it up.
type Case = (&'static str, u32, fn() -> Box<dyn Fn()>);

const CASES: &[Case] = &[
    ("protect-small", 200, || protecting(&Shape { body: SMALL.to_string(), ..Shape::default() })),
    ("protect-typical", 100, || protecting(&Shape::default())),
    ("protect-list-100", 2, || protecting(&Shape::list(100))),
    ("protect-deterministic", 50, || protecting(&deterministic())),
    ("protect-index", 50, || protecting(&Shape { index: true, ..Shape::default() })),
    ("protect-1000-categories", 100, || protecting(&Shape { categories: 1000, ..Shape::default() })),
    ("protect-1000-versions", 100, || protecting(&Shape { versions: 1000, ..Shape::default() })),
    ("reveal-small", 200, || revealing(&Shape { body: SMALL.to_string(), ..Shape::default() })),
    ("reveal-typical", 100, || revealing(&Shape::default())),
    ("reveal-masked", 100, || revealing(&Shape { level: Level::Masked, ..Shape::default() })),
    ("reveal-list-100", 2, || revealing(&Shape::list(100))),
    ("reveal-deterministic", 50, || revealing(&deterministic())),
    ("reveal-1000-categories", 100, || revealing(&Shape { categories: 1000, ..Shape::default() })),
    ("reveal-1000-versions", 100, || revealing(&Shape { versions: 1000, ..Shape::default() })),
    ("walk-request", 200, || walking(&Shape::default(), Rules::request())),
    ("walk-list-100", 10, || walking(&Shape::list(100), Rules::reply())),
    ("walk-untouched-list-100", 10, || walking(&untouched(), Rules::reply())),
    ("validate-list-100 (serde_json)", 10, validating),
    ("round-trip (serde_json)", 100, round_trip),
    ("protect-over-a-value (baseline)", 100, || over_a_value(|baseline| drop(black_box(baseline.protect())))),
    ("reveal-over-a-value (baseline)", 100, || over_a_value(|baseline| drop(black_box(baseline.reveal())))),
    ("rewrap-typical", 100, rewrapping),
    ("decide", 1000, || deciding(1000, 100)),
    ("decide-100000-callers", 1000, || deciding(100_000, 6)),
    ("policy-1000-callers", 1, || compiling(1000)),
    ("policy-10000-callers", 1, || compiling(10_000)),
    ("identify", 1000, || identifying(1)),
    ("identify-100000-callers", 1000, || identifying(100_000)),
    ("seal-32-bytes", 500, sealing),
    ("open-32-bytes", 500, opening),
    ("mac-32-bytes", 500, mac),
];

/// Everything that counts happens in here; `run` tells valgrind its name.
#[inline(never)]
fn counted(times: u32, call: &dyn Fn()) {
    for _ in 0..times {
        call();
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["--list"] => CASES.iter().for_each(|(name, times, _)| println!("{times} {name}")),
        ["--document"] => print!("{DOCUMENT}"),
        ["--time", name, ms] => println!("{:.1}", timed(&*set_up(name), Duration::from_millis(ms.parse().unwrap()))),
        ["--traffic", upstream, proxy, secret] => traffic::run(upstream.parse().unwrap(), proxy.parse().unwrap(), secret),
        [name] => {
            let times = CASES.iter().find(|(case, ..)| case == name).map_or(0, |(_, times, _)| *times);
            counted(times, &*set_up(name));
        }
        _ => println!("benches/instructions/run counts these under valgrind"),
    }
}

/// Keys are derived, and rooms made, at the first time, which is here.
fn set_up(name: &str) -> Box<dyn Fn()> {
    let Some((.., set_up)) = CASES.iter().find(|(case, ..)| *case == name) else { panic!("no case {name}") };
    let call = set_up();
    call();
    call
}

/// Nanoseconds of one call.
fn timed(call: &dyn Fn(), long: Duration) -> f64 {
    let (start, mut calls) = (Instant::now(), 0_u32);
    while start.elapsed() < long {
        counted(16, call);
        calls += 16;
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}

fn deterministic() -> Shape {
    Shape { protection: Protection::Deterministic, ..Shape::default() }
}

/// A list in which nothing is protected, though rows are looked at.
fn untouched() -> Shape {
    let list = Shape::list(100);
    let body = setup::FIELDS.iter().fold(list.body, |body, name| body.replace(&format!("\"{name}\""), &format!("\"no_{name}\"")));
    Shape { body, ..list }
}

fn protecting(shape: &Shape) -> Box<dyn Fn()> {
    let scene = Scene::new(shape);
    Box::new(move || drop(black_box(scene.protect())))
}

fn revealing(shape: &Shape) -> Box<dyn Fn()> {
    let scene = Scene::new(shape);
    Box::new(move || drop(black_box(scene.reveal())))
}

fn walking(shape: &Shape, rules: Rules) -> Box<dyn Fn()> {
    let scene = Scene::new(&if shape.rows == "$" { Shape::default() } else { Shape::list(1) });
    let body = shape.body.clone();
    Box::new(move || drop(black_box(walk(&scene.plan.map, rules, body.as_bytes()).unwrap())))
}

fn validating() -> Box<dyn Fn()> {
    let body = untouched().body;
    Box::new(move || {
        black_box(serde_json::from_slice::<IgnoredAny>(body.as_bytes()).unwrap());
    })
}

fn round_trip() -> Box<dyn Fn()> {
    let scene = Scene::new(&Shape::default());
    Box::new(move || drop(black_box(scene.round_trip())))
}

fn over_a_value(work: fn(&Baseline<'_>)) -> Box<dyn Fn()> {
    // The scene lives as long as the process.
    let baseline = Baseline::new(Box::leak(Box::new(Scene::new(&Shape::default()))));
    Box::new(move || work(&baseline))
}

fn rewrapping() -> Box<dyn Fn()> {
    let scene = Scene::new(&Shape::default());
    Box::new(move || {
        black_box(scene.rewrap());
    })
}

fn deciding(callers: usize, categories: usize) -> Box<dyn Fn()> {
    let scene = Scene::new(&Shape { categories, callers, ..Shape::default() });
    let who = caller(517);
    Box::new(move || drop(black_box(scene.policy.decide(&who, Some("purpose-0"), 0).unwrap())))
}

/// What a reload pays: proportional to what the policy says.
fn compiling(callers: usize) -> Box<dyn Fn()> {
    let shape = Shape { callers, ..Shape::default() };
    Box::new(move || drop(black_box(setup::policy(black_box(&shape)))))
}

/// The last of so many callers by the secret it sends.
fn identifying(callers: usize) -> Box<dyn Fn()> {
    let secret = |number: usize| format!("{number:043}");
    let entry = |number| (caller(number), Means::CredentialSha256(sha256(secret(number).as_bytes())));
    let known = Callers::new((0..callers).map(entry).collect()).unwrap();
    let sent = format!("{}.{}", caller(callers - 1), secret(callers - 1));
    Box::new(move || {
        let presented = Presented { credentials: &[sent.as_bytes()], uid: None, certificate: None, token: None, now_ms: 0 };
        drop(black_box(known.identify(black_box(&presented)).unwrap()));
    })
}

fn sealing() -> Box<dyn Fn()> {
    let key = XaesKey::new(&Secret::from_bytes([7; 32]));
    Box::new(move || {
        let mut data = [b'x'; 32];
        black_box(key.row_key(black_box(&[1; 12])).seal_in_place(&[2; 12], &[3; 90], &mut data).unwrap());
    })
}

fn opening() -> Box<dyn Fn()> {
    let key = XaesKey::new(&Secret::from_bytes([7; 32]));
    let mut data = [b'x'; 32];
    let tag = key.row_key(&[1; 12]).seal_in_place(&[2; 12], &[3; 90], &mut data).unwrap();
    let sealed: Vec<u8> = data.into_iter().chain(tag).collect();
    Box::new(move || {
        let mut room = sealed.clone();
        black_box(key.row_key(black_box(&[1; 12])).open_in_place(&[2; 12], &[3; 90], &mut room).unwrap());
    })
}

fn mac() -> Box<dyn Fn()> {
    let key = MacKey::new(&Secret::from_bytes([7; 32]));
    Box::new(move || {
        black_box(key.mac(black_box(&[3; 32])));
    })
}
