//! S1, S2 and S9: what it costs to protect, to reveal and to rewrap one customer document in process, beside a serde_json round trip of it.
//!
//! `cargo bench --bench field` prints criterion's times, then ratios from rounds in which the three are measured in turn, because times
//! drift on shared machines. The document has 708 bytes and six personal members, all sealed or all revealed clear; beside it the same with all
//! of them deterministic. Walking the body is part of each.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up is of no use, and it is there to be read"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::Criterion;
use sudare::base::{
    Bind, CallerName, CategoryName, CollectionName, Controller, FieldName, FieldPlace, Intent, Kid, PurposeName, RingName,
};
use sudare::document::{RowSet, Rules, Selector, walk};
use sudare::field::{Collection, Field, Lines, Mask, OnBadValue, Plan, Protection, RowWrite, Subject, protect, reveal, rewrap};
use sudare::keys::{KeyRing, LineName, Rings, State};
use sudare::purpose::{CategoryId, CategorySpec, Collects, Grant, Level, Nature, Policy, PolicySpec, PurposeSpec, Terms};

const DOCUMENT: &str = r#"{"id":"c-100482","name":"Mei Tanaka","email":"mei.tanaka@example.com","phone":"+81355501234","address":"101-0047 Tokyo, Chiyoda-ku, Uchikanda 2-14-9","national_id":"123456789018","birth":"1990-04-17","tier":"gold","locale":"ja-JP","currency":"JPY","created":"2023-05-11T09:31:22Z","updated":"2026-10-02T17:05:48Z","orders":128,"returns":3,"points":40250,"balance":1250.75,"newsletter":false,"tags":["repeat","gift-wrap","evening-delivery","points-card"],"last_order":{"id":"o-77120394","total":18420,"items":4,"status":"delivered","carrier":"yamato","placed":"2026-09-28T11:42:03Z"},"settings":{"theme":"dark","notify":["order","delivery"],"page_size":50,"compact":true},"note":"prefers the loading bay doo"}"#;
const FIELDS: [&str; 6] = ["name", "email", "phone", "address", "national_id", "birth"];
const DOCUMENT_BYTES: usize = 708;

struct Setup {
    collection: Collection,
    plan: Plan,
    ring: Rings,
    /// The same after both lines were rotated.
    rotated: Rings,
    grant: Grant,
    clear: Bytes,
    stored: Bytes,
}

impl Setup {
    fn new(protection: &Protection) -> Self {
        assert_eq!(DOCUMENT.len(), DOCUMENT_BYTES);
        let controller = Controller::new("shop");
        let fields = FIELDS.iter().zip(0_u16..).map(|(name, index)| Field {
            name: FieldName::new(name),
            at: Selector::parse(&format!("$.{name}")).unwrap(),
            place: FieldPlace {
                controller: controller.clone(),
                collection: CollectionName::new("customers"),
                field: FieldName::new(name),
            },
            ring: RingName::main(),
            category: CategoryId(index),
            category_name: CategoryName::new(&name.replace('_', "-")),
            protection: protection.clone(),
            mask: Mask::All,
            generalise: None,
            pad: 32,
            seal_null: false,
            subject: None,
            indexes: Vec::new(),
        });
        let collection = Collection {
            name: CollectionName::new("customers"),
            bind: Bind::Subject,
            strict: true,
            on_bad_value: OnBadValue::Refuse,
            id: Selector::parse("$.id").unwrap(),
            subject: Subject::DocumentId,
            fields: fields.collect(),
        };
        let rows = RowSet { rows: vec![Selector::parse("$").unwrap()], ..RowSet::default() };
        let plan = Plan::compile(&collection, &rows).unwrap();
        let version = |line, n: u8, state| (line, Kid::from_random([n; 5]), state, [n; 32]);
        let versions = |first, second| {
            let (seal, lookup) = (|| LineName::Seal, || LineName::Lookup);
            vec![version(seal(), 1, first), version(seal(), 2, second), version(lookup(), 3, first), version(lookup(), 4, second)]
        };
        let ring = KeyRing::with_versions(controller.clone(), versions(State::Active, State::PreActive)).into();
        let rotated = KeyRing::with_versions(controller, versions(State::Deactivated, State::Active)).into();
        let grant = grant();
        let clear = Bytes::from_static(DOCUMENT.as_bytes());
        let mut setup = Self { collection, plan, ring, rotated, grant, stored: clear.clone(), clear };
        setup.stored = setup.protect();
        assert_eq!(setup.reveal(), DOCUMENT.as_bytes());
        setup
    }

    fn protect(&self) -> Bytes {
        let layout = walk(&self.plan.map, Rules::request(), &self.clear).unwrap();
        let rows = [RowWrite { intent: Intent::Create, assigned_id: None }];
        let protected =
            protect(&self.collection, &self.plan, &self.ring, &self.grant, &self.clear, &layout, &rows, None, "id").unwrap();
        protected.body.into_bytes()
    }

    fn reveal(&self) -> Vec<u8> {
        let layout = walk(&self.plan.map, Rules::reply(), &self.stored).unwrap();
        reveal(&self.collection, &self.plan, &self.ring, &self.grant, &self.stored, &layout, None, 0).unwrap().bytes
    }

    fn rewrap(&self) -> usize {
        let layout = walk(&self.plan.map, Rules::reply(), &self.stored).unwrap();
        let lines = Lines { seal: true, lookup: true };
        let rows = rewrap(&self.collection, &self.plan, &self.rotated, lines, &self.stored, &layout).unwrap();
        rows.iter().map(|row| row.anew.len()).sum()
    }

    /// What all are measured against: it encrypts nothing.
    fn round_trip(&self) -> Vec<u8> {
        let value: serde_json::Value = serde_json::from_slice(&self.clear).unwrap();
        serde_json::to_vec(&value).unwrap()
    }

    fn walk_clear(&self) -> usize {
        walk(&self.plan.map, Rules::request(), &self.clear).unwrap().found.len()
    }

    fn walk_stored(&self) -> usize {
        walk(&self.plan.map, Rules::reply(), &self.stored).unwrap().found.len()
    }
}

/// All six fields clear, all may be written.
fn grant() -> Grant {
    let caller = CallerName::new("shop");
    let names: Vec<CategoryName> = FIELDS.iter().map(|name| CategoryName::new(&name.replace('_', "-"))).collect();
    let category = |name: &CategoryName| CategorySpec {
        name: name.clone(),
        line: 1,
        dpv: "pd:Name".to_string(),
        nature: Nature::Identifying,
        mask: None,
        generalise: None,
        clauses: vec![],
    };
    let purpose = PurposeSpec {
        name: PurposeName::new("registration"),
        line: 1,
        dpv: None,
        basis: None,
        callers: vec![caller.clone()],
        reveal: names.iter().map(|name| (name.clone(), Level::Clear, 1)).collect(),
        reveal_line: 1,
        writes: None,
        writes_line: 1,
        search: Vec::new(),
        search_line: 0,
        delete: false,
        terms: Terms::default(),
        collects: Collects::default(),
        clauses: vec![],
    };
    let spec = PolicySpec {
        id: "bench".to_string(),
        version: 1,
        categories: names.iter().map(category).collect(),
        purposes: vec![purpose],
        ..PolicySpec::default()
    };
    Policy::compile(spec).unwrap().decide(&caller, None, 0).unwrap()
}

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
fn ratios(setup: &Setup, deterministic: &Setup) {
    const ROUNDS: usize = 41;
    let mut rounds = [const { Vec::new() }; 9];
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
    ];
    println!("\n{DOCUMENT_BYTES} bytes; medians of {ROUNDS} rounds; goal of S1 and S2: at most 0.35");
    for (name, times) in names.iter().zip(rounds) {
        let (seconds, ratios) = times.into_iter().unzip();
        println!("{name:30} {:7.2} µs  ratio {:.2}", median(seconds) * 1e6, median(ratios));
    }
}

fn main() {
    let (setup, deterministic) = (Setup::new(&Protection::Seal), Setup::new(&Protection::Deterministic));
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
