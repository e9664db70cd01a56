//! What the facts of a row cost: one look-up among the people of whom something is known, and a row of the policy.
//!
//! `cargo bench --bench facts`. `SUDARE_BENCH_PEOPLE` sets how many people are known (1,000,000).

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up is of no use, and it is there to be read"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use sudare::base::{CallerName, CategoryName, PurposeName, RecordId};
use sudare::purpose::{
    CategorySpec, Collects, Consent, FactSpec, Known as _, Level, LimitSpec, Nature, Policy, PolicySpec, PurposeSpec, Terms,
};
use sudare::subject::{About, Entry, People, Question, Recorder, Says, Subject, What};

const NOW: u64 = 1_800_000_000_000;

/// An opt-in purpose with so many limits, over ten facts.
fn policy(limits: usize) -> Policy {
    let category = CategorySpec {
        name: CategoryName::new("name"),
        line: 1,
        dpv: "pd:Name".to_owned(),
        nature: Nature::Identifying,
        mask: None,
        generalise: None,
        clauses: Vec::new(),
    };
    let purpose = PurposeSpec {
        name: PurposeName::new("recommend"),
        line: 1,
        dpv: None,
        basis: None,
        callers: vec![CallerName::new("shop-web")],
        reveal: vec![(CategoryName::new("name"), Level::Clear, 1)],
        reveal_line: 1,
        writes: None,
        writes_line: 0,
        search: Vec::new(),
        search_line: 0,
        delete: false,
        terms: Terms { consent: Consent::OptIn, ..Terms::default() },
        collects: Collects::default(),
        clauses: Vec::new(),
    };
    let fact = |n: usize| format!("fact-{}", n % 10);
    let limit = |n: usize| LimitSpec {
        name: format!("limit-{n}"),
        line: 1,
        when: vec![(fact(n), 1)],
        at_most: vec![(CategoryName::new("name"), Level::Masked, 1)],
        ..LimitSpec::default()
    };
    let facts = (0..10).map(|n| FactSpec { name: fact(n), line: 1, means: "so".to_owned() }).collect();
    let spec = PolicySpec {
        id: "bench".to_owned(),
        version: 1,
        categories: vec![CategorySpec { mask: Some("initials".to_owned()), ..category }],
        purposes: vec![purpose],
        limits: (0..limits).map(limit).collect(),
        facts,
        ..PolicySpec::default()
    };
    Policy::compile(spec).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn id(n: usize) -> RecordId {
    RecordId::from_text(&format!("customer-{n:08}")).unwrap()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0)
}

fn rows(criterion: &mut Criterion) {
    let count: usize = std::env::var("SUDARE_BENCH_PEOPLE").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let before = resident_kib();
    let people = Arc::new(People::default());
    for n in 0..count {
        let entry = |what| Entry { id: String::new(), at: NOW, by: Recorder::Caller("crm".to_owned()), what };
        let about = About::Purpose("recommend".to_owned());
        let says = if n % 3 == 0 { Says::Refused } else { Says::Given };
        people.apply(&entry(What::Choice { subject: Subject(id(n)), about, says, evidence: None }), 1);
        let (name, until) = (format!("fact-{}", n % 10), Some(NOW * 2));
        people.apply(&entry(What::Fact { subject: Subject(id(n)), name, holds: true, until, evidence: None }), 2);
        people.apply(&entry(What::Told { subject: Subject(id(n)), version: 1, evidence: None }), 3);
    }
    println!("{count} people with three statements each: {} MiB", resident_kib().saturating_sub(before) >> 10);
    // Everybody, in an order that no cache foresees.
    let ids: Vec<RecordId> = (0..count).map(|n| id(n.wrapping_mul(7_919) % count)).collect();
    for limits in [1, 10, 100, 1_000] {
        let policy = policy(limits);
        let grant = policy.decide(&CallerName::new("shop-web"), None, NOW).unwrap();
        let question = Question::new(&people, &policy, &grant, NOW);
        let category = policy.category("name").unwrap();
        let mut at = 0;
        criterion.bench_function(&format!("row/{limits} limits/anybody"), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % count;
                black_box(grant.row(question.facts(ids.get(at))).level(category))
            });
        });
        criterion.bench_function(&format!("row/{limits} limits/one person"), |bencher| {
            bencher.iter(|| black_box(grant.row(question.facts(black_box(ids.first()))).level(category)));
        });
        criterion.bench_function(&format!("row/{limits} limits/somebody unknown"), |bencher| {
            let nobody = RecordId::from_text("nobody").unwrap();
            bencher.iter(|| black_box(grant.row(question.facts(black_box(Some(&nobody)))).level(category)));
        });
        criterion.bench_function(&format!("question/{limits} limits"), |bencher| {
            bencher.iter(|| black_box(Question::new(&people, &policy, &grant, NOW)));
        });
    }
}

criterion_group!(benches, rows);
criterion_main!(benches);
