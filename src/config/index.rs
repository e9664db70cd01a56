//! Reads `index` of a field: in which members its search terms stand, and what makes spellings of a value one.
//!
//! Always holds: an index stands in a member of its own, at the top of the document; the names by which clients search are distinct. Called by
//! [`super::collections`]; `docs/search.md` is the operator's account of the same.

use std::ops::Range;

use super::collections::{Placed, Written, WrittenField, member};
use super::report::{Draft, Report};
use super::tree::{Node, Section, Text, shorten};
use crate::document::{Map, Role, Scope, Selector, Step, Target};
use crate::field::{DEFAULT_TERM_BITS, Protection, TERM_BITS};
use crate::normalise::{Normaliser, Step as NormaliserStep};

/// One index as read.
#[derive(Debug, Clone)]
pub(super) struct WrittenIndex {
    pub(super) at: Placed,
    pub(super) normaliser: Normaliser,
    pub(super) bits: u16,
    /// The name by which clients search.
    pub(super) param: Text,
    /// The file says so; else it is the field's name.
    pub(super) named: bool,
}

const EXAMPLE: &str = "write index = { at = \"$.email_ix\", normalise = \"email\" }";

/// Reads one index, or a list of them. `None`: something is wrong with it.
pub(super) fn read(node: &Node<'_>, field: &Text, protection: Option<&Protection>) -> Option<Vec<WrittenIndex>> {
    let report = node.report();
    let title = format!("index of field `{}`", shorten(&field.value));
    let itself = match protection {
        Some(Protection::Deterministic) => Some("its deterministic values are found by themselves"),
        Some(Protection::Token(kind)) if kind.consistent => Some("its tokens are found by themselves"),
        Some(Protection::Token(_)) => Some("fresh tokens are kept apart, which terms would undo"),
        Some(Protection::Seal) | None => None,
    };
    if let Some(itself) = itself {
        report.push(
            Draft::error(&node.span, format!("field \"{}\" has an index, but {itself}", shorten(&field.value)))
                .remedy("remove `index`; or write protect = \"seal\", so that the index alone shows which values are equal"),
        );
        return None;
    }
    if node.is_text() {
        return node.wrong_type("a table, or a list of tables", EXAMPLE);
    }
    let tables = if node.is_table() { vec![node.table_named(title.clone())?] } else { of_list(node, &title)? };
    if tables.is_empty() {
        report.push(Draft::error(&node.span, "`index` is an empty list").remedy(EXAMPLE));
        return None;
    }
    let total = tables.len();
    let indexes: Vec<WrittenIndex> =
        tables.iter().enumerate().filter_map(|(number, table)| read_one(table, field, number == 0)).collect();
    if indexes.len() < total {
        return None;
    }
    report.push(
        Draft::warning(
            &node.span,
            format!(
                "the index of field \"{}\" shows equality: whoever reads the database sees which documents share a normalised value, and how often",
                shorten(&field.value)
            ),
        )
        .remedy("keep it only if the field must be searched, and only for values that are many and rarely repeat"),
    );
    Some(indexes)
}

fn of_list<'a>(node: &Node<'a>, title: &str) -> Option<Vec<Section<'a>>> {
    let items = node.items("index = [{ at = \"$.name_ix\", normalise = \"text\" }]")?;
    items.iter().map(|item| item.table_named(title.to_owned())).collect()
}

fn read_one(entry: &Section<'_>, field: &Text, first: bool) -> Option<WrittenIndex> {
    let report = entry.report();
    let before = report.errors();
    let at = entry
        .required("at", "at = \"$.email_ix\": the member that holds the term")
        .and_then(|node| node.text())
        .and_then(|text| member(report, &text));
    let at = at.filter(|at| {
        let fits = matches!(at.selector.steps(), [Step::Member(_)]);
        if !fits {
            report.push(
                Draft::error(
                    &at.span,
                    "an index stands in a member at the top of the document, also that of a value deeper in it",
                )
                .expected("a member at the top, such as \"$.email_ix\"")
                .remedy("name a member that the application does not use"),
            );
        }
        fits
    });
    let normaliser = entry
        .required("normalise", "normalise = \"text\", \"email\", \"phone:HK\", \"digits\" or \"date\"")
        .and_then(|node| normaliser(&node));
    let bits = match entry.optional("bits") {
        None => Some(DEFAULT_TERM_BITS),
        Some(node) => bits(&node),
    };
    let named = entry.has("param");
    let param = match entry.optional("param") {
        None if first => Some(field.clone()),
        None => {
            report.push(
                Draft::error(&entry.span, "of several indexes only the first is meant by the field's own name")
                    .remedy("add param = \"…\": the name by which clients search this one"),
            );
            None
        }
        Some(node) => node.text().filter(|text| is_param(report, text)),
    };
    entry.finish();
    if report.errors() > before {
        return None;
    }
    Some(WrittenIndex { at: at?, normaliser: normaliser?, bits: bits?, param: param?, named })
}

fn is_param(report: &Report<'_>, text: &Text) -> bool {
    let fits = !text.value.is_empty()
        && text.value.len() <= 64
        && text.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && !text.value.starts_with('_');
    if !fits {
        report.push(
            Draft::error(&text.span, format!("\"{}\" is no name for a search", shorten(&text.value)))
                .expected("1 to 64 letters, digits, - and _, not beginning with _")
                .remedy("write param = \"email\""),
        );
    }
    fits
}

fn bits(node: &Node<'_>) -> Option<u16> {
    let (least, most) = (*TERM_BITS.start(), *TERM_BITS.end());
    let value = node.integer(u64::from(least)..=u64::from(most), "bits")?;
    let bits = u16::try_from(value).ok().filter(|bits| bits.is_multiple_of(8));
    if bits.is_none() {
        node.report().push(
            Draft::error(&node.span, format!("`bits` is {value}"))
                .expected("16 to 128, in steps of 8")
                .remedy("write 64, or remove the line to use it"),
        );
    }
    bits
}

/// `"email"`, or a chain: `["nfkc", "casefold", "strip:-. "]`.
fn normaliser(node: &Node<'_>) -> Option<Normaliser> {
    let report = node.report();
    let texts = if node.is_text() { vec![node.text()?] } else { node.texts()? };
    let mut steps: Vec<NormaliserStep> = Vec::new();
    for text in &texts {
        match text.value.parse() {
            Ok(step) => steps.push(step),
            Err(error) => {
                let names = ["text", "email", "phone", "digits", "date", "nfc", "nfkc", "casefold", "trim", "collapse"];
                let written = text.value.split(':').next().unwrap_or_default();
                let draft = Draft::error(&text.span, format!("\"{}\" cannot normalise: {error}", shorten(&text.value)));
                let known = names.contains(&written);
                report.push(if known { draft } else { draft.near(written, names) }.remedy(
                    "write \"text\", \"email\", \"phone:HK\", \"digits\", \"date\", or a list of steps (docs/search.md)",
                ));
                return None;
            }
        }
    }
    match Normaliser::new(steps) {
        Ok(normaliser) => Some(normaliser),
        Err(error) => {
            report.push(Draft::error(&node.span, format!("`normalise`: {error}")).remedy("write normalise = \"text\""));
            None
        }
    }
}

/// Reports index members that overlap with anything else of the collection, and names that two searches share.
pub(super) fn check(report: &Report<'_>, written: &Written, rest: bool) {
    let mut names: Vec<(&str, Range<usize>)> = Vec::new();
    let mut members: Vec<(&Placed, &WrittenField)> = Vec::new();
    for (field, index) in written.fields.iter().flat_map(|field| field.indexes.iter().map(move |index| (field, index))) {
        let (name, at) = (shorten(&field.name.value), &index.at);
        let clash = |what: String| {
            report.push(
                Draft::error(&at.span, format!("the index member of field \"{name}\" ({}) is also {what}", at.selector))
                    .expected("a member of its own")
                    .remedy("name a member that neither the application nor another field uses"),
            );
        };
        if !rest && at.selector.to_string().trim_start_matches(['$', '.', '[', '"']).starts_with('_') {
            report.push(
                Draft::error(&at.span, "members that begin with _ belong to CouchDB itself")
                    .remedy("name it otherwise, such as \"$.email_ix\""),
            );
            continue;
        }
        if let Some(other) = written.fields.iter().find(|other| overlap(&at.selector, &other.at.selector, Role::Value)) {
            clash(format!("a place of field \"{}\"", shorten(&other.name.value)));
        } else if overlap(&at.selector, &written.id.selector, Role::Peek) {
            clash("the document's id".to_owned());
        } else if let crate::field::Subject::At(subject) = &written.subject
            && overlap(&at.selector, subject, Role::Peek)
        {
            clash("the document's `subject`".to_owned());
        } else if let Some(crate::dialect::Revision::Member(revision)) = &written.revision
            && overlap(&at.selector, revision, Role::Peek)
        {
            clash("the document's `revision`".to_owned());
        } else if let Some(other) = written
            .fields
            .iter()
            .find(|other| other.subject.as_ref().is_some_and(|subject| overlap(&at.selector, &subject.selector, Role::Peek)))
        {
            clash(format!("on the way to the subject of field \"{}\"", shorten(&other.name.value)));
        } else if let Some(row) = written.rows.iter().find(|row| overlap(&at.selector, &row.selector, Role::Peek)) {
            clash(format!("on the way to documents (rows lists {})", row.selector));
        } else if let Some((_, other)) = members.iter().find(|(other, _)| other.selector == at.selector) {
            clash(format!("the index member of field \"{}\"", shorten(&other.name.value)));
        }
        members.push((at, field));
        let param = index.param.value.as_str();
        if names.iter().any(|(other, _)| *other == param) {
            report.push(
                Draft::error(&index.param.span, format!("two indexes are searched by the name \"{param}\""))
                    .remedy("give one of them another name: param = \"…\""),
            );
        }
        names.push((param, index.param.span.clone()));
        if written.query.iter().flatten().any(|listed| listed.value == *param) {
            report.push(
                Draft::error(&index.param.span, format!("`query` lists \"{param}\", by which field \"{name}\" is searched"))
                    .remedy("take it out of `query`: a search by an index is allowed without"),
            );
        }
    }
}

/// Can both name the same value, or one something inside the other?
fn overlap(at: &Selector, other: &Selector, role: Role) -> bool {
    let target = |selector: &Selector, role: Role| Target { selector: selector.clone(), role, scope: Scope::Row };
    let root: Vec<Selector> = Selector::parse("$").into_iter().collect();
    Map::compile(&root, &[target(at, Role::Value), target(other, role)]).is_err()
}
