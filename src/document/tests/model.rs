//! A slow model of what the walker must find: a tree, and paths followed in it one by one, without a trie, offsets or windows.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::selector::Step;
use super::super::*;

/// A JSON value that keeps the order of members and the text of numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Where a value stands: the ordinal of the member or element at each level.
pub(super) type At = Vec<usize>;

impl Json {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Json::Null => Kind::Null,
            Json::Bool(_) => Kind::Bool,
            Json::Number(_) => Kind::Number,
            Json::String(_) => Kind::String,
            Json::Array(_) => Kind::Array,
            Json::Object(_) => Kind::Object,
        }
    }

    pub(super) fn child_mut(&mut self, index: usize) -> &mut Json {
        match self {
            Json::Array(elements) => &mut elements[index],
            Json::Object(members) => &mut members[index].1,
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => panic!("no child"),
        }
    }

    pub(super) fn value(&self) -> serde_json::Value {
        match self {
            Json::Null => serde_json::Value::Null,
            Json::Bool(b) => (*b).into(),
            Json::Number(text) => serde_json::from_str(text).unwrap(),
            Json::String(text) => text.as_str().into(),
            Json::Array(elements) => elements.iter().map(Json::value).collect(),
            Json::Object(members) => members.iter().map(|(name, json)| (name.clone(), json.value())).collect(),
        }
    }

    /// As text; `style` says, over and over, where white space and escapes go.
    pub(super) fn text(&self, style: &[u8]) -> Vec<u8> {
        let mut pen = Pen { style: style.iter().cycle(), out: Vec::new() };
        pen.space();
        pen.value(self);
        pen.space();
        pen.out
    }
}

struct Pen<'a> {
    style: std::iter::Cycle<std::slice::Iter<'a, u8>>,
    out: Vec<u8>,
}

impl Pen<'_> {
    fn choice(&mut self) -> u8 {
        self.style.next().copied().unwrap_or(0)
    }

    fn space(&mut self) {
        let space: &[u8] = match self.choice() {
            200..=210 => b" ",
            211..=220 => b"\n  ",
            221..=225 => b"\t\r ",
            _ => b"",
        };
        self.out.extend_from_slice(space);
    }

    fn string(&mut self, text: &str) {
        self.out.push(b'"');
        for c in text.chars() {
            if self.choice() > 230 {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    self.out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            } else {
                let quoted = serde_json::to_vec(&c).unwrap();
                self.out.extend_from_slice(&quoted[1..quoted.len() - 1]);
            }
        }
        self.out.push(b'"');
    }

    fn value(&mut self, json: &Json) {
        match json {
            Json::Null => self.out.extend_from_slice(b"null"),
            Json::Bool(b) => self.out.extend_from_slice(b.to_string().as_bytes()),
            Json::Number(text) => self.out.extend_from_slice(text.as_bytes()),
            Json::String(text) => self.string(text),
            Json::Array(elements) => {
                self.out.push(b'[');
                for (i, element) in elements.iter().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.space();
                    self.value(element);
                    self.space();
                }
                self.space();
                self.out.push(b']');
            }
            Json::Object(members) => {
                self.out.push(b'{');
                for (i, (name, member)) in members.iter().enumerate() {
                    if i > 0 {
                        self.out.push(b',');
                    }
                    self.space();
                    self.string(name);
                    self.space();
                    self.out.push(b':');
                    self.space();
                    self.value(member);
                    self.space();
                }
                self.space();
                self.out.push(b'}');
            }
        }
    }
}

const NAMES: [&str; 6] = ["a", "b", "items", "é", "x y", "a longer name"];

/// Documents with few names, so that selectors hit.
pub(super) fn json() -> impl Strategy<Value = Json> {
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| serde_json::to_string(&n).unwrap()),
        Just("-0".to_owned()),
        Just("1e-400".to_owned()),
        Just("123456789012345678901234567890.5E+7".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        number.prop_map(Json::Number),
        "[a-z\"\\\\é😀\u{1}\u{7f}]{0,12}".prop_map(Json::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        let name = proptest::sample::select(&NAMES[..]).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            prop::collection::vec((name, inner), 0..6).prop_map(|mut members| {
                let mut seen = BTreeSet::new();
                members.retain(|(name, _)| seen.insert(name.clone()));
                Json::Object(members)
            }),
        ]
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::sample::select(&NAMES[..4]).prop_map(|name| Step::Member(name.into())),
        1 => Just(Step::AnyMember),
        3 => Just(Step::AnyElement),
        1 => (0u32..3).prop_map(Step::Element),
    ]
}

fn selector(longest: usize) -> impl Strategy<Value = Selector> {
    prop::collection::vec(step(), 0..=longest).prop_map(|steps| {
        let text: String = std::iter::once("$".to_owned()).chain(steps.iter().map(ToString::to_string)).collect();
        Selector::parse(&text).unwrap()
    })
}

/// Row positions and targets that compile.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) rows: Vec<Selector>,
    pub(super) targets: Vec<Target>,
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let usual = prop::sample::subsequence(vec!["$", "$[*]", "$.items[*]", "$.items[*].a"], 0..4)
        .prop_map(|texts| texts.into_iter().map(|text| Selector::parse(text).unwrap()).collect());
    let rows = prop_oneof![3 => usual, 1 => prop::collection::vec(selector(3), 0..3)];
    let role = prop_oneof![2 => Just(Role::Value), 1 => Just(Role::Peek)];
    let scope = prop_oneof![4 => Just(Scope::Row), 1 => Just(Scope::Body)];
    let target = (selector(3), role, scope).prop_map(|(selector, role, scope)| Target { selector, role, scope });
    (rows, prop::collection::vec(target, 0..7)).prop_map(|(rows, targets)| {
        // Targets that clash with earlier ones are left out.
        let mut plan = Plan { rows, targets: Vec::new() };
        for target in targets {
            plan.targets.push(target);
            if Map::compile(&plan.rows, &plan.targets).is_err() {
                plan.targets.pop();
            }
        }
        plan
    })
}

/// What the model finds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) at: At,
    pub(super) target: u16,
    pub(super) row: Option<At>,
    pub(super) misfit: bool,
    pub(super) by_position: bool,
    pub(super) wildcards: [u32; 4],
}

#[derive(Debug, PartialEq)]
pub(super) struct Findings {
    pub(super) rows: Vec<(At, u16)>,
    pub(super) hits: Vec<Hit>,
    pub(super) odd_rows: u32,
}

struct Visit<'a> {
    json: &'a Json,
    at: At,
    /// Row positions and paths of targets (index of the row position, of the target) whose first steps lead here.
    rows: Vec<usize>,
    paths: Vec<(Option<usize>, usize)>,
}

/// Finds everything; None if the rows are ambiguous.
pub(super) fn find(plan: &Plan, json: &Json) -> Option<Findings> {
    let mut visits = Vec::new();
    let paths = plan.targets.iter().enumerate().flat_map(|(t, target)| match target.scope {
        Scope::Body => vec![(None, t)],
        Scope::Row => (0..plan.rows.len()).map(|r| (Some(r), t)).collect(),
    });
    visit(plan, Visit { json, at: vec![], rows: (0..plan.rows.len()).collect(), paths: paths.collect() }, &mut visits);
    let candidates: Vec<(At, u16)> = visits
        .iter()
        .filter(|v| v.json.kind() == Kind::Object)
        .filter_map(|v| {
            let set = v.rows.iter().filter(|r| plan.rows[**r].steps().len() == v.at.len()).min()?;
            Some((v.at.clone(), u16::try_from(*set).unwrap()))
        })
        .collect();
    let hits = hits(plan, &visits, &candidates);

    // Which candidates are rows.
    let inside = |inner: &At, outer: &At| inner.len() > outer.len() && inner.starts_with(outer);
    let values = |row: &At| {
        hits.iter()
            .filter(|hit| hit.row.as_ref() == Some(row) && plan.targets[usize::from(hit.target)].role == Role::Value)
            .map(|hit| hit.at.clone())
            .collect::<Vec<_>>()
    };
    let mut rows: Vec<(At, u16)> = Vec::new();
    for (at, set) in &candidates {
        if rows.iter().any(|(outer, _)| inside(at, outer)) {
            if !values(at).is_empty() {
                return None;
            }
            continue;
        }
        match candidates.iter().map(|(inner, _)| inner).find(|inner| inside(inner, at)) {
            None => rows.push((at.clone(), *set)),
            Some(first) if values(at).iter().any(|value| value < first) => rows.push((at.clone(), *set)),
            Some(_) if !values(at).is_empty() => return None,
            Some(_) => {}
        }
    }
    let listed = |hit: &Hit| hit.row.as_ref().is_none_or(|row| rows.iter().any(|(at, _)| at == row));
    let hits = hits.iter().filter(|hit| listed(hit)).cloned().collect();

    let odd_rows = visits.iter().filter(|v| is_odd(plan, v, &candidates)).count();
    Some(Findings { rows, hits, odd_rows: u32::try_from(odd_rows).unwrap() })
}

fn is_odd(plan: &Plan, v: &Visit<'_>, candidates: &[(At, u16)]) -> bool {
    let kind = v.json.kind();
    let next = |r: &usize| plan.rows[*r].steps().get(v.at.len());
    let at_row = v.rows.iter().any(|r| next(r).is_none());
    let fits = v.rows.iter().filter_map(next).any(|step| kind == if step.is_into_object() { Kind::Object } else { Kind::Array });
    let in_candidate = candidates.iter().any(|(at, _)| v.at.starts_with(at) && v.at.len() > at.len());
    kind != Kind::Null && !fits && if at_row { kind != Kind::Object } else { !v.rows.is_empty() && !in_candidate }
}

fn full_path<'p>(plan: &'p Plan, path: &(Option<usize>, usize)) -> (usize, Vec<&'p Step>) {
    let row = path.0.map_or(&[][..], |r| plan.rows[r].steps());
    (row.len(), row.iter().chain(plan.targets[path.1].selector.steps()).collect())
}

fn follows(step: &Step, index: usize, name: Option<&str>) -> bool {
    match (step, name) {
        (Step::Member(wanted), Some(name)) => **wanted == *name,
        (Step::AnyMember, Some(_)) | (Step::AnyElement, None) => true,
        (Step::Element(n), None) => usize::try_from(*n).unwrap() == index,
        _ => false,
    }
}

/// All values, in document order, with the paths that lead to them.
fn visit<'a>(plan: &Plan, v: Visit<'a>, out: &mut Vec<Visit<'a>>) {
    let children: Vec<(Option<&str>, &'a Json)> = match v.json {
        Json::Array(elements) => elements.iter().map(|json| (None, json)).collect(),
        Json::Object(members) => members.iter().map(|(name, json)| (Some(name.as_str()), json)).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => vec![],
    };
    let depth = v.at.len();
    let below: Vec<_> = children
        .into_iter()
        .enumerate()
        .map(|(i, (name, json))| Visit {
            json,
            at: v.at.iter().copied().chain([i]).collect(),
            rows: v
                .rows
                .iter()
                .copied()
                .filter(|r| plan.rows[*r].steps().get(depth).is_some_and(|step| follows(step, i, name)))
                .collect(),
            paths: v
                .paths
                .iter()
                .copied()
                .filter(|p| full_path(plan, p).1.get(depth).is_some_and(|step| follows(step, i, name)))
                .collect(),
        })
        .collect();
    out.push(v);
    for child in below {
        visit(plan, child, out);
    }
}

fn hits(plan: &Plan, visits: &[Visit<'_>], candidates: &[(At, u16)]) -> Vec<Hit> {
    let mut hits = BTreeSet::new();
    let mut covered: Vec<At> = Vec::new();
    for v in visits {
        if covered.iter().any(|at| v.at.starts_with(at)) {
            continue;
        }
        let depth = v.at.len();
        let stands_in_row = |path: &(Option<usize>, usize)| {
            path.0.is_none_or(|_| candidates.iter().any(|(at, _)| at.len() == full_path(plan, path).0 && v.at.starts_with(at)))
        };
        let is_value = |path: &&(Option<usize>, usize)| plan.targets[path.1].role == Role::Value;
        let hit = |path: &(Option<usize>, usize), misfit: bool| {
            let (row, steps) = full_path(plan, path);
            let mut wildcards = [0; 4];
            let own = (row..depth).filter(|d| steps[*d].is_wildcard());
            for (slot, d) in wildcards.iter_mut().zip(own) {
                *slot = u32::try_from(v.at[d]).unwrap();
            }
            let element = depth > 0 && !steps[depth - 1].is_into_object();
            let is_row = path.0.is_some() && row == depth;
            let peek = plan.targets[path.1].role == Role::Peek;
            let by_position = is_row || (element && (misfit || peek || matches!(steps[depth - 1], Step::Element(_))));
            Hit {
                at: v.at.clone(),
                target: u16::try_from(path.1).unwrap(),
                row: path.0.map(|_| v.at[..row].to_vec()),
                misfit,
                by_position,
                wildcards,
            }
        };
        let ends: Vec<_> = v.paths.iter().filter(|path| full_path(plan, path).1.len() == depth && stands_in_row(path)).collect();
        for path in &ends {
            hits.insert(hit(path, false));
        }
        if ends.iter().any(is_value) {
            covered.push(v.at.clone());
            continue;
        }
        // Paths to values that go on from here, below their row.
        let on: Vec<_> = v
            .paths
            .iter()
            .filter(is_value)
            .filter(|path| {
                let (row, steps) = full_path(plan, path);
                steps.len() > depth && path.0.is_none_or(|_| depth > row) && stands_in_row(path)
            })
            .collect();
        let is_row = candidates.iter().any(|(at, _)| *at == v.at);
        let kind = v.json.kind();
        let wants = |step: &Step| if step.is_into_object() { Kind::Object } else { Kind::Array };
        let row_fits = v.rows.iter().filter_map(|r| plan.rows[*r].steps().get(depth)).any(|step| wants(step) == kind);
        let value_fits = on.iter().any(|path| wants(full_path(plan, path).1[depth]) == kind);
        if kind != Kind::Null
            && !is_row
            && !row_fits
            && !value_fits
            && let Some(path) = on.iter().min_by_key(|path| path.1)
        {
            hits.insert(hit(path, true));
            covered.push(v.at.clone());
        }
    }
    hits.into_iter().collect()
}
