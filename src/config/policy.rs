//! Reads `policy.toml`: categories, purposes, recipients; what narrows and opens in `policy/rules.rs`, tests in `policy/asked.rs`.
//!
//! Always holds: the [`PolicySpec`] names only categories, purposes, callers and facts that exist; what does not is reported here
//! with its place and left out. Called by [`super::load`].

mod asked;
pub(super) mod kept;
mod rules;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::methods::{parse_generalise, parse_mask};
use super::names::{check_dpv, check_name, checked_clauses};
use super::report::{Draft, Report};
use super::tree::{Node, Section, Text, shorten};
use crate::base::{CallerName, CategoryName, PurposeName};
use crate::field::{Generalise, Mask};
use crate::purpose::{
    CategorySpec, ChangeGate, ChangeSpec, Collects, EVERY, Level, LevelList, Line, Nature, PolicySpec, PurposeSpec, RecipientSpec,
};

/// The levels, most revealing first.
const LEVELS: &[(&str, Level)] = &[
    ("clear", Level::Clear),
    ("masked", Level::Masked),
    ("generalised", Level::Generalised),
    ("pseudonym", Level::Pseudonym),
    ("sealed", Level::Sealed),
    ("absent", Level::Absent),
];

/// Why a rule of a later release is refused.
const LATER: &str = "it arrives with a later release, and must not be relied on before";

/// Where values can come from.
const SOURCES: &[(&str, &str)] = &[
    ("subject-form", "subject-form"),
    ("device", "device"),
    ("own-records", "own-records"),
    ("counterparty", "counterparty"),
    ("payment-body", "payment-body"),
    ("carrier", "carrier"),
    ("partner", "partner"),
    ("self-published", "self-published"),
    ("public-source", "public-source"),
];

/// A policy as read.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) spec: PolicySpec,
    pub(super) categories: BTreeMap<String, Category>,
    /// Callers of purposes and recipients, where each stands; they must exist in `sudare.toml`.
    pub(super) callers: Vec<Text>,
    /// Where a purpose, by name, stands.
    pub(super) purposes: Vec<Text>,
    /// Every `category = level` of every purpose, also those from `"*"`.
    pub(super) reveals: Vec<Reveal>,
    /// Every `category = level` of every recipient.
    pub(super) caps: Vec<Reveal>,
    /// The `[category]` table could be read, so that its names are all there are.
    pub(super) categories_known: bool,
    pub(super) purposes_known: bool,
    /// Ids that compile errors may be about: the line of the rule, the id, where it stands.
    pub(super) ids: Vec<(Line, Text)>,
    /// Rules with a finding that a compile error on this line would only repeat.
    pub(super) said: Vec<Line>,
    /// A list of callers could not be read whole.
    pub(super) callers_unsure: bool,
    /// Every test: its line, and all of its text.
    pub(super) tests: Vec<(Line, Range<usize>)>,
    /// Every exception: where it stands, its name, how many must agree to it.
    pub(super) exceptions: Vec<(Range<usize>, String, u8)>,
    /// Every clause that a rule names.
    pub(super) clauses: Vec<Text>,
    /// What is promised for everything, and where.
    pub(super) always: Vec<(crate::purpose::Always, Range<usize>)>,
}

/// `category = "level"` pairs as read.
#[derive(Debug, Default)]
struct Levels {
    /// As written; [`EVERY`] stands for the rest.
    list: LevelList,
    /// With the rest spelled out, and where each stands.
    each: Vec<(String, Level, Range<usize>)>,
}

/// What the fields of a category inherit.
#[derive(Debug)]
pub(super) struct Category {
    pub(super) nature: Nature,
    pub(super) mask: Option<Mask>,
    pub(super) generalise: Option<Generalise>,
    /// `generalise` stands there, right or wrong.
    pub(super) says_generalise: bool,
}

/// One level that a purpose gives, or a recipient is capped to.
#[derive(Debug)]
pub(super) struct Reveal {
    /// Who says so, as shown: `purpose "statistics"`.
    pub(super) by: String,
    pub(super) category: String,
    pub(super) level: Level,
    pub(super) span: Range<usize>,
}

/// Reads the whole file.
pub(super) fn read(root: &Section<'_>) -> Written {
    let mut written = Written::default();
    if let Some(policy) = root.required_table("policy", "policy = { id = \"your-policy\", version = 1 }") {
        let id = policy.required("id", "id = \"your-policy\"").and_then(|node| node.text());
        let version = policy.required("version", "version = 1").and_then(|node| node.integer(1..=u64::MAX >> 1, ""));
        let change = policy.optional("change");
        let gates = [("publication", ChangeGate::Publication), ("notice", ChangeGate::Notice), ("consent", ChangeGate::Consent)];
        let gate = change.as_ref().and_then(|node| node.word(&gates));
        let clauses = clauses(&policy, &mut written);
        written.spec.change = ChangeSpec {
            gate: gate.unwrap_or_default(),
            line: change.map_or(0, |node| line(root.report(), &node.span)),
            clauses,
        };
        policy.finish();
        if let Some(id) = id.filter(|id| check_name(policy.report(), id, "a policy")) {
            written.spec.id = id.value;
        }
        written.spec.version = version.unwrap_or_default();
    }
    rules::read_facts(root, &mut written);
    read_categories(root, &mut written);
    read_purposes(root, &mut written);
    read_recipients(root, &mut written);
    rules::read_limits(root, &mut written);
    rules::read_nevers(root, &mut written);
    rules::read_always(root, &mut written);
    rules::read_exceptions(root, &mut written);
    asked::read_tests(root, &mut written);
    root.refuse_later(&[("retention", LATER), ("rights", LATER)]);
    root.finish();
    written
}

fn line(report: &Report<'_>, span: &Range<usize>) -> Line {
    report.source.line_of(span.start)
}

fn read_categories(root: &Section<'_>, written: &mut Written) {
    let Some(table) = root.required_table("category", "[category] with name = { dpv = \"pd:Name\", nature = \"identifying\" }")
    else {
        return;
    };
    let report = root.report();
    written.categories_known = true;
    for (name, node) in table.entries() {
        check_name(report, &name, "a category");
        let entry = node.table_named(format!("category `{}`", shorten(&name.value)));
        let spec = entry.as_ref().map(|entry| read_category(entry, &name, written));
        let unknown = Category { nature: Nature::Identifying, mask: None, generalise: None, says_generalise: true };
        let (category, spec) = spec.unwrap_or((unknown, None));
        written.categories.insert(name.value.clone(), category);
        // A category with a mistake still exists, so that its name is not reported again wherever it is used.
        if spec.is_none() {
            written.said.push(line(report, &name.span));
        }
        let spec = spec.unwrap_or_else(|| CategorySpec {
            name: CategoryName::new(&name.value),
            line: line(report, &name.span),
            dpv: String::new(),
            nature: Nature::Identifying,
            mask: None,
            generalise: None,
            clauses: Vec::new(),
        });
        written.spec.categories.push(spec);
    }
}

fn read_category(entry: &Section<'_>, name: &Text, written: &mut Written) -> (Category, Option<CategorySpec>) {
    let report = entry.report();
    let dpv = entry.required("dpv", "dpv = \"pd:Name\": its id in the Data Privacy Vocabulary").and_then(|node| node.text());
    let dpv = dpv.filter(|dpv| check_dpv(report, dpv, "pd:Name"));
    let natures = [("identifying", Nature::Identifying), ("linkable", Nature::Linkable), ("neither", Nature::Neither)];
    let nature =
        entry.required("nature", "nature = \"identifying\", \"linkable\" or \"neither\"").and_then(|node| node.word(&natures));
    let mask = entry.optional("mask").and_then(|node| node.text()).and_then(|text| Some((parse_mask(report, &text)?, text)));
    let says_generalise = entry.has("generalise");
    let generalise =
        entry.optional("generalise").and_then(|node| node.text()).and_then(|text| Some((parse_generalise(report, &text)?, text)));
    let clauses = clauses(entry, written);
    entry.finish();
    let (mask, mask_text) = mask.map_or((None, None), |(mask, text)| (Some(mask), Some(text.value)));
    let (generalise, generalise_text) = generalise.map_or((None, None), |(how, text)| (Some(how), Some(text.value)));
    let category = Category { nature: nature.unwrap_or(Nature::Identifying), mask, generalise, says_generalise };
    let spec = dpv.zip(nature).map(|(dpv, nature)| CategorySpec {
        name: CategoryName::new(&name.value),
        line: line(report, &name.span),
        dpv: dpv.value,
        nature,
        mask: mask_text,
        generalise: generalise_text,
        clauses,
    });
    (category, spec)
}

fn read_purposes(root: &Section<'_>, written: &mut Written) {
    let Some(table) = root.required_table("purpose", "[purpose.NAME] with callers and reveal: who may see what, and why") else {
        return;
    };
    let report = root.report();
    written.purposes_known = true;
    for (name, node) in table.entries() {
        check_name(report, &name, "a purpose");
        let title = format!("[purpose.{}]", shorten(&name.value));
        let entry = node.table_named(title);
        written.purposes.push(name.clone());
        let Some(entry) = entry else { continue };
        let at = line(report, &name.span);
        let before = report.errors();
        let dpv = entry.optional("dpv").and_then(|node| node.text()).filter(|dpv| check_dpv(report, dpv, "dpv:DeliveryOfGoods"));
        if report.errors() > before {
            written.said.push(at);
        }
        written.ids.extend(dpv.iter().map(|dpv| (at, dpv.clone())));
        let basis = entry
            .optional("basis")
            .and_then(|node| node.text())
            .filter(|basis| check_dpv(report, basis, "dpv:ContractPerformance"));
        let before = report.errors();
        let callers = entry.optional("callers").and_then(|node| node.texts()).unwrap_or_default();
        written.callers_unsure |= report.errors() > before;
        let callers = without_repeats(report, callers, "caller");
        let reveal_node = entry.optional("reveal");
        let reveal = reveal_node.as_ref().and_then(Node::table);
        let levels = reveal.map(|table| read_levels(&table, written)).unwrap_or_default();
        let writes_node = entry.optional("writes");
        let writes = writes_node.as_ref().map(|node| categories(node, written));
        let search_node = entry.optional("search");
        let search = search_node.as_ref().map(|node| categories(node, written)).unwrap_or_default();
        let delete = entry.optional("delete").and_then(|node| node.boolean()).unwrap_or(false);
        let mut terms = rules::terms(&entry, written);
        terms.since = rules::since(&entry);
        let required_node = entry.optional("required");
        let required = required_node.as_ref().map(|node| categories(node, written)).unwrap_or_default();
        let source = entry.optional("source").and_then(|node| node.word(SOURCES)).map(str::to_owned);
        let clauses = clauses(&entry, written);
        entry.refuse_later(&[("retention", LATER)]);
        entry.finish();
        let line_of = |node: &Option<Node<'_>>| node.as_ref().map_or(0, |node| line(report, &node.span));
        written.reveals.extend(reveals(&format!("purpose \"{}\"", shorten(&name.value)), levels.each));
        written.spec.purposes.push(PurposeSpec {
            name: PurposeName::new(&name.value),
            line: at,
            dpv: dpv.map(|dpv| dpv.value),
            basis: basis.map(|basis| basis.value),
            callers: callers.iter().map(|caller| CallerName::new(&caller.value)).collect(),
            reveal: levels.list,
            reveal_line: line_of(&reveal_node),
            writes,
            writes_line: line_of(&writes_node),
            search,
            search_line: line_of(&search_node),
            delete,
            terms,
            collects: Collects { required, required_line: line_of(&required_node), source },
            clauses,
        });
        written.callers.extend(callers);
    }
}

fn reveals(by: &str, levels: Vec<(String, Level, Range<usize>)>) -> Vec<Reveal> {
    levels.into_iter().map(|(category, level, span)| Reveal { by: by.to_owned(), category, level, span }).collect()
}

/// Reports names that stand in a list twice, and leaves them out.
fn without_repeats(report: &Report<'_>, names: Vec<Text>, what: &str) -> Vec<Text> {
    let mut seen = HashSet::new();
    let mut kept: Vec<Text> = Vec::new();
    for name in names {
        if seen.insert(name.value.clone()) {
            kept.push(name);
        } else {
            report.push(
                Draft::error(&name.span, format!("{what} \"{}\" stands here twice", shorten(&name.value)))
                    .remedy("keep one of the two"),
            );
        }
    }
    kept
}

fn read_levels(table: &Section<'_>, written: &Written) -> Levels {
    let report = table.report();
    let mut levels = Levels::default();
    let entries = table.entries();
    for (name, node) in &entries {
        let level = node.word(LEVELS);
        if name.value != EVERY && !known_category(report, name, written) {
            continue;
        }
        let Some(level) = level else { continue };
        levels.list.push((CategoryName::new(&name.value), level, line(report, &name.span)));
        if name.value == EVERY {
            let others = written.spec.categories.iter().map(|category| category.name.as_str());
            let others = others.filter(|category| !entries.iter().any(|(name, _)| name.value == *category));
            levels.each.extend(others.map(|category| (category.to_owned(), level, name.span.clone())));
        } else {
            levels.each.push((name.value.clone(), level, name.span.clone()));
        }
    }
    levels
}

fn categories(node: &Node<'_>, written: &Written) -> Vec<CategoryName> {
    let names = without_repeats(node.report(), node.texts().unwrap_or_default(), "category");
    names.iter().filter(|name| known_category(node.report(), name, written)).map(|name| CategoryName::new(&name.value)).collect()
}

/// Reports a category that does not exist.
pub(super) fn known_category(report: &Report<'_>, name: &Text, written: &Written) -> bool {
    if written.categories.contains_key(&name.value) {
        return true;
    }
    if written.categories_known && !report.source.has_lost(&name.value) {
        let names: Vec<&str> = written.categories.keys().map(String::as_str).collect();
        let remedy = format!("define it under [category], or use one of: {}", names.join(", "));
        report.push(
            Draft::error(&name.span, format!("there is no category \"{}\"", shorten(&name.value)))
                .near(&name.value, names)
                .remedy(remedy),
        );
    }
    false
}

/// What a recipient is to the controller.
const KINDS: &[(&str, &str)] = &[
    ("processor", "processor"),
    ("controller", "controller"),
    ("joint-controller", "joint-controller"),
    ("authority", "authority"),
    ("third-party", "third-party"),
];

fn read_recipients(root: &Section<'_>, written: &mut Written) {
    let Some(table) = root.optional_table("recipient") else { return };
    let report = root.report();
    for (name, node) in table.entries() {
        let Some(entry) = node.table_named(format!("recipient `{}`", shorten(&name.value))) else { continue };
        let kind = entry
            .required("kind", "kind = \"processor\" (or controller, joint-controller, authority, third-party)")
            .and_then(|node| node.word(KINDS));
        let at_most = entry.optional_table("at_most").map(|table| read_levels(&table, written)).unwrap_or_default();
        let terms = rules::terms(&entry, written);
        let country = entry.optional("country").and_then(|node| node.text()).and_then(|text| country(report, text));
        let clauses = clauses(&entry, written);
        entry.finish();
        written.caps.extend(reveals(&format!("recipient \"{}\"", shorten(&name.value)), at_most.each));
        if let Some(kind) = kind {
            written.spec.recipients.push(RecipientSpec {
                name: CallerName::new(&name.value),
                line: line(report, &name.span),
                kind: kind.to_owned(),
                at_most: at_most.list,
                terms,
                country,
                clauses,
            });
        }
        written.callers.push(name);
    }
}

/// A country by its two letters.
fn country(report: &Report<'_>, text: Text) -> Option<String> {
    if text.value.len() == 2 && text.value.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Some(text.value);
    }
    report.push(
        Draft::error(&text.span, format!("\"{}\" is not the code of a country", shorten(&text.value)))
            .expected("two capital letters (ISO 3166-1)")
            .remedy("write it like \"JP\""),
    );
    None
}

fn clauses(entry: &Section<'_>, written: &mut Written) -> Vec<String> {
    let Some(texts) = entry.optional("clauses").and_then(|node| node.texts()) else { return Vec::new() };
    written.clauses.extend(texts.iter().cloned());
    checked_clauses(entry.report(), texts)
}
