//! What the in-process benches measure on: a collection with six personal fields, a ring, a grant, and a document of 708 bytes.
//!
//! `benches/field.rs`, `benches/scale.rs` and `benches/instructions` set up a [`Scene`] each, so that a figure of one is a figure of the others. The
//! scene checks, before anything is measured, that what is protected is sealed and that revealing gives it back.

pub(crate) mod baseline;

use bytes::Bytes;
use sudare::base::{
    Bind, CallerName, CategoryName, CollectionName, Controller, FieldName, FieldPlace, Intent, Kid, PurposeName, RingName,
};
use sudare::document::{Layout, RowSet, Rules, Selector, walk};
use sudare::field::{
    Collection, Field, Index, Lines, Mask, OnBadValue, Plan, Protection, RowWrite, Subject, protect, reveal, rewrap,
};
use sudare::keys::{KeyRing, LineName, Rings, State};
use sudare::normalise::Normaliser;
use sudare::purpose::{CategoryId, CategorySpec, Collects, Grant, Level, Nature, Policy, PolicySpec, PurposeSpec, Terms};

/// The document that every figure is about.
pub(crate) const DOCUMENT: &str = r#"{"id":"c-100482","name":"Mei Tanaka","email":"mei.tanaka@example.com","phone":"+81355501234","address":"101-0047 Tokyo, Chiyoda-ku, Uchikanda 2-14-9","national_id":"123456789018","birth":"1990-04-17","tier":"gold","locale":"ja-JP","currency":"JPY","created":"2023-05-11T09:31:22Z","updated":"2026-10-02T17:05:48Z","orders":128,"returns":3,"points":40250,"balance":1250.75,"newsletter":false,"tags":["repeat","gift-wrap","evening-delivery","points-card"],"last_order":{"id":"o-77120394","total":18420,"items":4,"status":"delivered","carrier":"yamato","placed":"2026-09-28T11:42:03Z"},"settings":{"theme":"dark","notify":["order","delivery"],"page_size":50,"compact":true},"note":"prefers the loading bay doo"}"#;
/// Its length.
pub(crate) const DOCUMENT_BYTES: usize = 708;
/// One personal member and little else.
pub(crate) const SMALL: &str = r#"{"id":"c-100482","name":"Mei Tanaka"}"#;
/// The personal members of [`DOCUMENT`].
pub(crate) const FIELDS: [&str; 6] = ["name", "email", "phone", "address", "national_id", "birth"];

/// What is measured on. The default is one document with six fields sealed, under a ring with two versions.
pub(crate) struct Shape {
    /// The body.
    pub(crate) body: String,
    /// Where its documents stand.
    pub(crate) rows: &'static str,
    /// How the six fields are protected.
    pub(crate) protection: Protection,
    /// The level at which the reader sees them.
    pub(crate) level: Level,
    /// Does `email` have a search index beside it?
    pub(crate) index: bool,
    /// Categories of the policy, in each of three purposes a rule for each if there are more than the six.
    pub(crate) categories: usize,
    /// Fields of the collection; those beyond the six stand in no document.
    pub(crate) fields: usize,
    /// Versions of each line of the ring.
    pub(crate) versions: u32,
    /// Callers of the purpose.
    pub(crate) callers: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            body: DOCUMENT.to_string(),
            rows: "$",
            protection: Protection::Seal,
            level: Level::Clear,
            index: false,
            categories: FIELDS.len(),
            fields: FIELDS.len(),
            versions: 2,
            callers: 1,
        }
    }
}

impl Shape {
    /// A list of `count` documents, all in one body.
    pub(crate) fn list(count: usize) -> Self {
        let row = |number: usize| DOCUMENT.replace("c-100482", &format!("c-{number:06}"));
        let rows: Vec<String> = (0..count).map(row).collect();
        Self { body: format!("[{}]", rows.join(",")), rows: "$[*]", ..Self::default() }
    }
}

/// A collection, a ring and a grant, with a body clear and as it is stored.
pub(crate) struct Scene {
    pub(crate) collection: Collection,
    pub(crate) plan: Plan,
    pub(crate) ring: Rings,
    /// The same after both lines were rotated.
    pub(crate) rotated: Rings,
    pub(crate) policy: Policy,
    pub(crate) grant: Grant,
    pub(crate) clear: Bytes,
    pub(crate) stored: Bytes,
}

impl Scene {
    pub(crate) fn new(shape: &Shape) -> Self {
        assert_eq!(DOCUMENT.len(), DOCUMENT_BYTES);
        let controller = Controller::new("shop");
        let names = names(shape.fields);
        let collection = Collection {
            name: CollectionName::new("customers"),
            bind: Bind::Subject,
            strict: true,
            on_bad_value: OnBadValue::Refuse,
            id: Selector::parse("$.id").unwrap(),
            subject: Subject::DocumentId,
            fields: names.iter().zip(0_u16..).map(|(name, index)| field(shape, &controller, name, index)).collect(),
        };
        let rows = RowSet { rows: vec![Selector::parse(shape.rows).unwrap()], ..RowSet::default() };
        let plan = Plan::compile(&collection, &rows).unwrap();
        let ring = KeyRing::with_versions(controller.clone(), versions(shape.versions, 0)).into();
        let rotated = KeyRing::with_versions(controller, versions(shape.versions, 1)).into();
        let policy = policy(shape);
        let grant = policy.decide(&caller(0), Some("purpose-0"), 0).unwrap();
        let clear = Bytes::from(shape.body.clone());
        let mut scene = Self { collection, plan, ring, rotated, policy, grant, stored: clear.clone(), clear };
        scene.stored = scene.protect();
        assert!(!contains(&scene.stored, b"Tanaka") && contains(&scene.clear, b"Tanaka"), "what is stored is sealed");
        if shape.level == Level::Clear && !shape.index {
            assert_eq!(scene.reveal(), scene.clear);
        }
        scene
    }

    fn walked(&self, rules: Rules, body: &[u8]) -> Layout {
        walk(&self.plan.map, rules, body).unwrap()
    }

    pub(crate) fn protect(&self) -> Bytes {
        let layout = self.walked(Rules::request(), &self.clear);
        let rows = vec![RowWrite { intent: Intent::Create, assigned_id: None }; layout.rows.len()];
        let protected =
            protect(&self.collection, &self.plan, &self.ring, &self.grant, &self.clear, &layout, &rows, None, "id").unwrap();
        protected.body.into_bytes()
    }

    pub(crate) fn reveal(&self) -> Vec<u8> {
        let layout = self.walked(Rules::reply(), &self.stored);
        reveal(&self.collection, &self.plan, &self.ring, &self.grant, &self.stored, &layout, None, 0).unwrap().bytes
    }

    /// How many values were sealed anew.
    pub(crate) fn rewrap(&self) -> usize {
        let layout = self.walked(Rules::reply(), &self.stored);
        let lines = Lines { seal: true, lookup: true };
        let rows = rewrap(&self.collection, &self.plan, &self.rotated, lines, &self.stored, &layout).unwrap();
        rows.iter().map(|row| row.anew.len()).sum()
    }

    /// What all are measured against: it encrypts nothing.
    pub(crate) fn round_trip(&self) -> Vec<u8> {
        let value: serde_json::Value = serde_json::from_slice(&self.clear).unwrap();
        serde_json::to_vec(&value).unwrap()
    }

    pub(crate) fn walk_clear(&self) -> usize {
        self.walked(Rules::request(), &self.clear).found.len()
    }

    pub(crate) fn walk_stored(&self) -> usize {
        self.walked(Rules::reply(), &self.stored).found.len()
    }
}

/// The name of a caller of the policy.
pub(crate) fn caller(number: usize) -> CallerName {
    CallerName::new(&format!("shop-{number}"))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn names(count: usize) -> Vec<String> {
    let further = (FIELDS.len()..count).map(|number| format!("field_{number}"));
    FIELDS.iter().map(ToString::to_string).chain(further).collect()
}

fn field(shape: &Shape, controller: &Controller, name: &str, index: u16) -> Field {
    let by = |at: &str, step: &str| {
        let normaliser = Normaliser::new(vec![step.parse().unwrap()]).unwrap();
        Index::new(Selector::parse(at).unwrap(), normaliser, 64).unwrap()
    };
    Field {
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
        protection: shape.protection.clone(),
        mask: Mask::All,
        generalise: None,
        pad: 32,
        seal_null: false,
        subject: None,
        indexes: if shape.index && name == "email" { vec![by("$.email_ix", "email")] } else { Vec::new() },
    }
}

/// Both lines with `count` versions, the one Active that was `older` before.
fn versions(count: u32, later: u32) -> Vec<(LineName, Kid, State, [u8; 32])> {
    let state = |number: u32| match number.cmp(&later) {
        std::cmp::Ordering::Less => State::Deactivated,
        std::cmp::Ordering::Equal => State::Active,
        std::cmp::Ordering::Greater => State::PreActive,
    };
    let version = |line, first: u8, number: u32| {
        let [_, b, c, d] = number.to_be_bytes();
        let secret = [first ^ d ^ c.rotate_left(3); 32];
        (line, Kid::from_random([first, b, c, d, 7]), state(number), secret)
    };
    let seal = (0..count).map(|number| version(LineName::Seal, 1, number));
    seal.chain((0..count).map(|number| version(LineName::Lookup, 2, number))).collect()
}

/// A policy in which the first purpose shows and lets write everything, to every caller.
pub(crate) fn policy(shape: &Shape) -> Policy {
    let names: Vec<CategoryName> =
        names(shape.categories.max(shape.fields)).iter().map(|name| CategoryName::new(&name.replace('_', "-"))).collect();
    let category = |name: &CategoryName| CategorySpec {
        name: name.clone(),
        line: 1,
        dpv: "pd:Name".to_string(),
        nature: Nature::Identifying,
        mask: None,
        generalise: None,
        clauses: vec![],
    };
    let purpose = |number: usize| PurposeSpec {
        name: PurposeName::new(&format!("purpose-{number}")),
        line: 1,
        dpv: None,
        basis: None,
        callers: if number == 0 { (0..shape.callers).map(caller).collect() } else { vec![caller(0)] },
        reveal: names.iter().map(|name| (name.clone(), shape.level, 1)).collect(),
        reveal_line: 1,
        writes: Some(names.clone()),
        writes_line: 1,
        search: Vec::new(),
        search_line: 0,
        delete: false,
        terms: Terms::default(),
        collects: Collects::default(),
        clauses: vec![],
    };
    let purposes = if shape.categories > FIELDS.len() { 3 } else { 1 };
    let spec = PolicySpec {
        id: "bench".to_string(),
        version: 1,
        categories: names.iter().map(category).collect(),
        purposes: (0..purposes).map(purpose).collect(),
        ..PolicySpec::default()
    };
    Policy::compile(spec).unwrap()
}
