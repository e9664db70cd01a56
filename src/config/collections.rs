//! Reads `[collection.*]`: which documents are protected, and which of their members.
//!
//! Always holds: every selector parses; no field overlaps with another, with a row position or with a member that binds
//! (id, subject); what a dialect does not have is refused. Called by [`super::load`], which then builds plans of it.

use std::ops::Range;

use super::index::{self, WrittenIndex};
use super::methods::{parse_generalise, parse_mask, parse_pad};
use super::names::check_name;
use super::report::{Draft, Report};
use super::tokens;
use super::tree::{Node, Section, Text, shorten};
use super::upstream::DialectName;
use crate::base::Bind;
use crate::dialect::{Attachments, Revision, TermSpelling, Views};
use crate::document::{Map, MapError, Role, Scope, Selector, Step, Target};
use crate::field::{Generalise, Mask, OnBadValue, Protection, Subject};

/// A selector with its place.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) selector: Selector,
    pub(super) span: Range<usize>,
}

/// A collection as read.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) name: Text,
    /// The header, for findings about the whole.
    pub(super) span: Range<usize>,
    pub(super) matches: Option<Text>,
    pub(super) rows: Vec<Placed>,
    pub(super) id: Placed,
    pub(super) query: Option<Vec<Text>>,
    pub(super) revision: Option<Revision>,
    pub(super) revision_span: Option<Range<usize>>,
    /// How several terms of a search are written to the API.
    pub(super) terms: TermSpelling,
    pub(super) subject: Subject,
    pub(super) subject_span: Option<Range<usize>>,
    pub(super) bind: Bind,
    pub(super) strict: bool,
    pub(super) on_bad_value: OnBadValue,
    pub(super) attachments: Attachments,
    pub(super) views: Views,
    pub(super) fields: Vec<WrittenField>,
    /// Nothing was wrong with it.
    pub(super) complete: bool,
}

/// A field as read.
#[derive(Debug)]
pub(super) struct WrittenField {
    pub(super) name: Text,
    pub(super) at: Placed,
    /// The category, and where it is said (the field's name if it is the default).
    pub(super) category: Text,
    pub(super) protection: Protection,
    /// Where its keys are, if that is not the main ring.
    pub(super) ring: Option<Text>,
    pub(super) mask: Option<Mask>,
    pub(super) generalise: Option<Generalise>,
    pub(super) pad: Option<u16>,
    pub(super) seal_null: bool,
    pub(super) subject: Option<Placed>,
    pub(super) indexes: Vec<WrittenIndex>,
}

impl Written {
    /// Names by which a query could refer to a protected member.
    pub(super) fn protected_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for field in &self.fields {
            let last = field.at.selector.last_member().map(str::to_owned);
            let terms = field.indexes.iter().map(|index| index.at.selector.last_member().map(str::to_owned));
            // Only in their own spelling are they rewritten.
            let params = field.indexes.iter().map(|index| Some(index.param.value.clone()));
            for name in [Some(field.name.value.clone()), last].into_iter().chain(terms).chain(params).flatten() {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }
}

/// Reads every `[collection.NAME]`, in the order of the file.
pub(super) fn read(root: &Section<'_>, dialect: Option<DialectName>) -> Vec<Written> {
    let example = "[collection.NAME] with match, and [collection.NAME.field] below it: without one nothing is protected";
    let Some(table) = root.required_table("collection", example) else { return Vec::new() };
    let mut written: Vec<Written> = Vec::new();
    for (name, node) in table.entries() {
        let named = check_name(root.report(), &name, "a collection");
        let Some(entry) = node.table_named(format!("[collection.{}]", shorten(&name.value))) else { continue };
        let Some(mut collection) = read_collection(&entry, &name, dialect) else { continue };
        collection.complete &= named;
        if let Some(matches) = &collection.matches
            && let Some(twin) =
                written.iter().find(|other| other.matches.as_ref().is_some_and(|other| other.value == matches.value))
        {
            root.report().push(
                Draft::error(
                    &matches.span,
                    format!("collection \"{}\" already has \"{}\"", twin.name.value, shorten(&matches.value)),
                )
                .remedy("put the fields of both under one collection"),
            );
            collection.complete = false;
        }
        written.push(collection);
    }
    tokens::check_scopes(root.report(), &mut written);
    if table.entries().is_empty() {
        root.report()
            .push(Draft::error(&table.span, "there is no collection, so nothing is protected").remedy(format!("add {example}")));
    }
    written
}

fn read_collection(entry: &Section<'_>, name: &Text, dialect: Option<DialectName>) -> Option<Written> {
    let report = entry.report();
    let rest = dialect != Some(DialectName::CouchDb);
    let example = if rest { "match = \"/customers/{id}\"" } else { "match = \"customers\": the name of the database" };
    let matches = entry.required("match", example).and_then(|node| node.text());
    let matches = matches.filter(|matches| match_fits(report, matches, dialect));
    let only_rest = |node: Node<'_>, key: &str, why: &str| {
        report.push(
            Draft::error(&node.span, format!("`{key}` has a meaning for the dialect rest only: {why}")).remedy("remove the line"),
        );
    };
    let mut selectors_fit = true;
    let mut rows = Vec::new();
    if dialect == Some(DialectName::CouchDb) {
        entry.optional("rows").into_iter().for_each(|node| only_rest(node, "rows", "couchdb itself says where documents stand"));
        entry.optional("id").into_iter().for_each(|node| only_rest(node, "id", "in couchdb it is always $._id"));
        entry.optional("query").into_iter().for_each(|node| only_rest(node, "query", "in couchdb the parameters are known"));
        entry.optional("terms").into_iter().for_each(|node| only_rest(node, "terms", "couchdb asks for several at once"));
        entry.optional("revision").into_iter().for_each(|node| only_rest(node, "revision", "in couchdb it is always _rev"));
    } else if let Some(node) = entry.required("rows", "rows = [\"$\", \"$[*]\"]: where documents stand in bodies") {
        let texts = node.texts();
        if texts.as_ref().is_some_and(Vec::is_empty) && node.is_empty_list() {
            report.push(
                Draft::error(&node.span, "`rows` is empty, so no document would be found")
                    .remedy("write rows = [\"$\", \"$[*]\"]"),
            );
        }
        let texts = texts.unwrap_or_default();
        rows = texts.iter().filter_map(|text| selector(report, text)).collect();
        selectors_fit &= !rows.is_empty() && rows.len() == texts.len();
    } else {
        selectors_fit = false;
    }
    let of_rest = |key| if rest { entry.optional(key) } else { None };
    let (id, query, revision) = (of_rest("id"), of_rest("query"), of_rest("revision"));
    let terms = of_rest("terms").map_or(Some(TermSpelling::Repeat), |node| term_spelling(&node));
    let revision_span = revision.as_ref().map(|node| node.span.clone());
    let revision = revision.map(|node| revision_of(&node));
    let id = match id {
        Some(node) => node.text().and_then(|text| selector(report, &text)),
        None => Selector::parse(if rest { "$.id" } else { "$._id" })
            .ok()
            .map(|selector| Placed { selector, span: entry.span.clone() }),
    };
    let query = query.and_then(|node| node.texts());
    let (subject, subject_span) = subject(entry);
    let bind = bind(entry, subject.as_ref());
    let strict = entry.optional("strict").map_or(Some(true), |node| {
        let strict = node.boolean()?;
        if !strict {
            report.push(
                Draft::warning(
                    &node.span,
                    "strict = false: a clear value found in the database is accepted as if it had been sealed there",
                )
                .remedy("remove the line as soon as every stored value is sealed"),
            );
        }
        Some(strict)
    });
    let words = [("refuse", OnBadValue::Refuse), ("withhold", OnBadValue::Withhold)];
    let on_bad_value = entry.optional("on_bad_value").map_or(Some(OnBadValue::Refuse), |node| node.word(&words));
    let attachments = attachments(entry, rest);
    let views = views(entry, rest);
    let (fields, fields_fit) = fields(entry, name);
    entry.refuse_later(&[("dangerous_passthrough", "routes that pass unprotected are not built in yet")]);
    entry.finish();
    let written = Written {
        name: name.clone(),
        span: entry.span.clone(),
        complete: selectors_fit
            && fields_fit
            && matches.is_some()
            && strict.is_some()
            && on_bad_value.is_some()
            && attachments.is_some()
            && views.is_some()
            && bind.is_some()
            && subject.is_some()
            && terms.is_some()
            && revision != Some(None),
        matches,
        rows,
        id: id?,
        query,
        revision: revision.flatten(),
        revision_span,
        terms: terms.unwrap_or_default(),
        subject: subject.unwrap_or(Subject::None),
        subject_span,
        bind: bind.unwrap_or(Bind::Document),
        strict: strict.unwrap_or(true),
        on_bad_value: on_bad_value.unwrap_or(OnBadValue::Refuse),
        attachments: attachments.unwrap_or_default(),
        views: views.unwrap_or_default(),
        fields,
    };
    Some(check_conflicts(report, written, rest))
}

/// `terms`. `None`: it is wrong.
fn term_spelling(node: &Node<'_>) -> Option<TermSpelling> {
    node.word(&[
        ("repeat", TermSpelling::Repeat),
        ("comma", TermSpelling::Comma),
        ("postgrest", TermSpelling::PostgRest),
        ("kinto", TermSpelling::Kinto),
    ])
}

/// `attachments`. `None`: it is wrong.
fn attachments(entry: &Section<'_>, rest: bool) -> Option<Attachments> {
    let Some(node) = entry.optional("attachments") else { return Some(Attachments::Refuse) };
    if rest {
        entry
            .report()
            .push(Draft::error(&node.span, "`attachments` has a meaning for the dialect couchdb only").remedy("remove the line"));
        return None;
    }
    let attachments = node.word(&[("refuse", Attachments::Refuse), ("pass", Attachments::Pass)])?;
    if attachments == Attachments::Pass {
        entry.report().push(
            Draft::warning(&node.span, "attachments = \"pass\": attachments are stored and served as they are, unprotected")
                .remedy("keep files that hold personal data in a database of their own, or encrypted by the application"),
        );
    }
    Some(attachments)
}

fn match_fits(report: &Report<'_>, matches: &Text, dialect: Option<DialectName>) -> bool {
    let slash = matches.value.starts_with('/');
    let wrong = match dialect {
        Some(DialectName::Rest) if !slash => {
            ("\"match\" is a path for the dialect rest", format!("write \"/{}/{{id}}\"", shorten(&matches.value)))
        }
        Some(DialectName::CouchDb) if slash => {
            let name = matches.value.trim_matches('/').split('/').next().unwrap_or("customers");
            ("\"match\" is the name of a database for the dialect couchdb", format!("write \"{}\"", shorten(name)))
        }
        Some(DialectName::Rest | DialectName::CouchDb) | None => return true,
    };
    report.push(Draft::error(&matches.span, wrong.0).remedy(wrong.1));
    false
}

/// Parses a selector; points at the character where it goes wrong.
fn selector(report: &Report<'_>, text: &Text) -> Option<Placed> {
    match Selector::parse(&text.value) {
        Ok(selector) => Some(Placed { selector, span: text.span.clone() }),
        Err(error) => {
            // Without escapes the text stands in the file as it is, behind one quotation mark.
            let plain = text.span.len() == text.value.len() + 2;
            let at = text.span.start + 1 + error.at.min(text.value.len());
            let span = if plain { at..(at + 1).min(text.span.end) } else { text.span.clone() };
            let remedy = match Selector::parse(&format!("$.{}", text.value.trim_start_matches(['$', '.']))) {
                Ok(better) => format!("write \"{better}\""),
                Err(_still_wrong) => {
                    "write the path of a member, such as \"$.name\", \"$.phones[*]\" or \"$.guests[*].name\"".to_owned()
                }
            };
            report.push(Draft::error(&span, format!("\"{}\" is not a selector: {error}", shorten(&text.value))).remedy(remedy));
            None
        }
    }
}

/// `subject`: `{id}`, a selector, or nothing. `None`: it is wrong.
fn subject(entry: &Section<'_>) -> (Option<Subject>, Option<Range<usize>>) {
    let Some(node) = entry.optional("subject") else { return (Some(Subject::None), None) };
    let Some(text) = node.text() else { return (None, None) };
    if text.value == "{id}" {
        return (Some(Subject::DocumentId), Some(text.span));
    }
    if text.value.starts_with('{') || !text.value.starts_with('$') {
        entry
            .report()
            .push(Draft::error(&text.span, format!("\"{}\" does not say who the document is about", shorten(&text.value))).remedy(
            "write \"{id}\" if the document's own id is the person's, or the member that names them, such as \"$.customer_id\"",
        ));
        return (None, None);
    }
    let placed = selector(entry.report(), &text);
    (placed.map(|placed| Subject::At(placed.selector)), Some(text.span))
}

/// `revision`: `etag`, or the member that the database compares. None: it is wrong.
fn revision_of(node: &Node<'_>) -> Option<Revision> {
    let text = node.text()?;
    if text.value == "etag" {
        return Some(Revision::Etag);
    }
    let remedy = "write \"etag\" if the database sends strong entity tags and heeds If-Match, or the member that it compares, such as \"$.version\"";
    if !text.value.starts_with('$') {
        node.report().push(Draft::error(&text.span, format!("\"{}\" is no revision", shorten(&text.value))).remedy(remedy));
        return None;
    }
    let placed = selector(node.report(), &text)?;
    let steps = placed.selector.steps();
    if steps.is_empty() || steps.iter().any(|step| matches!(step, Step::AnyMember | Step::AnyElement)) {
        node.report().push(Draft::error(&text.span, "`revision` must name one member of a document").remedy(remedy));
        return None;
    }
    Some(Revision::Member(placed.selector))
}

fn bind(entry: &Section<'_>, subject: Option<&Subject>) -> Option<Bind> {
    let report = entry.report();
    let has_subject = entry.has("subject");
    let Some(node) = entry.optional("bind") else { return Some(if has_subject { Bind::Subject } else { Bind::Document }) };
    let bind = node.word(&[("subject", Bind::Subject), ("document", Bind::Document), ("field", Bind::Field)])?;
    match bind {
        Bind::Subject if matches!(subject, Some(Subject::None)) => {
            report.push(
                Draft::error(&node.span, "values are bound to the subject, but nothing says who that is")
                    .remedy("add subject = \"{id}\" or subject = \"$.customer_id\", or write bind = \"document\""),
            );
            None
        }
        Bind::Field => {
            report.push(
                Draft::warning(&node.span, "bind = \"field\": a stored value opens in every document of the collection")
                    .remedy("bind to the subject or the document, unless values must be movable between documents"),
            );
            Some(bind)
        }
        Bind::Subject | Bind::Document => Some(bind),
    }
}

/// `views`: whether the functions of design documents are judged. `None`: it is wrong.
fn views(entry: &Section<'_>, rest: bool) -> Option<Views> {
    let Some(node) = entry.optional("views") else { return Some(Views::Checked) };
    if rest {
        entry.report().push(
            Draft::error(&node.span, "`views` has a meaning for the dialect couchdb only: rest has no views")
                .remedy("remove the line"),
        );
        return None;
    }
    let views = node.word(&[("checked", Views::Checked), ("reviewed", Views::Reviewed)])?;
    if views == Views::Reviewed {
        entry.report().push(
            Draft::warning(&node.span, "views = \"reviewed\": what the functions of design documents emit is not judged")
                .remedy("read every view, and let nobody but trusted people write design documents; or write \"checked\""),
        );
    }
    Some(views)
}

/// The fields, and whether all of them are right.
fn fields(entry: &Section<'_>, collection: &Text) -> (Vec<WrittenField>, bool) {
    let title = entry.title.trim_end_matches(']').to_owned() + ".field]";
    let example = format!("{title} with name = \"$.name\": without a field nothing is protected");
    let Some(node) = entry.required("field", &example) else { return (Vec::new(), false) };
    let Some(table) = node.table_named(title) else { return (Vec::new(), false) };
    let report = entry.report();
    let entries = table.entries();
    if entries.is_empty() {
        report.push(
            Draft::error(&table.span, format!("{} lists no field, so nothing is protected", table.title))
                .remedy("add name = \"$.name\""),
        );
    }
    let mut fields = Vec::new();
    let total = entries.len();
    for (name, node) in entries {
        let named = check_name(report, &name, "a field");
        let field = read_field(&name, &node, &table.title, collection);
        fields.extend(field.filter(|_| named));
    }
    let complete = total > 0 && fields.len() == total;
    (fields, complete)
}

fn read_field(name: &Text, node: &Node<'_>, table: &str, collection: &Text) -> Option<WrittenField> {
    let report = node.report();
    if node.is_text() {
        let at = member(report, &node.text()?)?;
        return Some(WrittenField {
            name: name.clone(),
            at,
            category: name.clone(),
            protection: Protection::Seal,
            ring: None,
            mask: None,
            generalise: None,
            pad: None,
            seal_null: false,
            subject: None,
            indexes: Vec::new(),
        });
    }
    if !node.is_table() {
        return node.wrong_type("a selector or a table", "write \"$.name\", or { at = \"$.name\", … }");
    }
    let entry = node.table_named(format!("field `{}` of {table}", shorten(&name.value)))?;
    let before = report.errors();
    let at = entry
        .required("at", "at = \"$.name\": where the value stands")
        .and_then(|node| node.text())
        .and_then(|text| member(report, &text));
    let category = entry.optional("category").map_or_else(|| Some(name.clone()), |node| node.text());
    let ring_node = entry.optional("ring");
    let ring = ring_node.as_ref().and_then(Node::text);
    let protect = entry.optional("protect");
    let is_token = protect.as_ref().is_some_and(tokens::is_meant);
    let protection = if is_token {
        tokens::read(&entry, collection, name, ring.as_ref()).map(Protection::Token)
    } else {
        tokens::refuse(&entry);
        protect.as_ref().map_or(Some(Protection::Seal), protection)
    };
    let mask = entry.optional("mask").and_then(|node| node.text()).and_then(|text| parse_mask(report, &text));
    let generalise = entry.optional("generalise").and_then(|node| node.text()).and_then(|text| parse_generalise(report, &text));
    let pad_node = entry.optional("pad");
    let pad = pad_node.as_ref().and_then(|node| parse_pad(report, node));
    let seal_null_node = entry.optional("seal_null");
    let seal_null = seal_null_node.as_ref().and_then(Node::boolean).unwrap_or(false);
    let pad_node = pad_node.filter(|_| pad.is_some_and(|bucket| bucket > 0));
    let seal_null_node = seal_null_node.filter(|_| seal_null);
    match (&protection, &protect) {
        (Some(Protection::Deterministic), Some(node)) => deterministic(name, node, pad_node, seal_null_node),
        (Some(Protection::Token(kind)), Some(node)) => tokens::judge(name, kind, node, pad_node, seal_null_node),
        _ => {}
    }
    let subject = entry.optional("subject").and_then(|node| node.text()).and_then(|text| selector(report, &text));
    let indexes = entry.optional("index").map_or(Some(Vec::new()), |node| index::read(&node, name, protection.as_ref()));
    entry.finish();
    if report.errors() > before {
        return None;
    }
    let (at, category, protection, indexes) = (at?, category?, protection?, indexes?);
    Some(WrittenField { name: name.clone(), at, category, protection, ring, mask, generalise, pad, seal_null, subject, indexes })
}

/// A selector that names a member, not the whole document.
pub(super) fn member(report: &Report<'_>, text: &Text) -> Option<Placed> {
    let placed = selector(report, text)?;
    if placed.selector.is_root() {
        report.push(
            Draft::error(&text.span, "\"$\" is the whole document; a field is one of its members")
                .remedy("write the path of the member, such as \"$.name\""),
        );
        return None;
    }
    Some(placed)
}

fn protection(node: &Node<'_>) -> Option<Protection> {
    if !node.is_text() {
        return node.wrong_type("text", "write protect = \"seal\", or remove it");
    }
    let text = node.text()?;
    if text.value == "format-preserving" {
        node.report().push(
            Draft::error(&text.span, format!("the protection \"{}\" is not built in yet", text.value))
                .expected("\"seal\", \"deterministic\" or \"token\"")
                .remedy("write \"seal\" or remove it; what is sealed now can be read by later releases"),
        );
        return None;
    }
    let deterministic = node.word(&[("seal", false), ("deterministic", true), ("token", false)])?;
    Some(if deterministic { Protection::Deterministic } else { Protection::Seal })
}

/// What deterministic protection shows, and what does not go with it: `pad` and `seal_null`, given where they are asked for.
fn deterministic(name: &Text, protect: &Node<'_>, pad: Option<Node<'_>>, seal_null: Option<Node<'_>>) {
    let report = protect.report();
    let name = shorten(&name.value);
    if let Some(pad) = pad {
        report.push(
            Draft::error(&pad.span, format!("field \"{name}\" is protected deterministically, and such values are never padded"))
                .remedy("remove `pad`, or write protect = \"seal\""),
        );
    }
    if let Some(seal_null) = seal_null {
        report.push(
            Draft::error(
                &seal_null.span,
                format!(
                    "field \"{name}\" is protected deterministically: every null would be the same value, and known at sight"
                ),
            )
            .remedy("remove `seal_null`, so that null stays null, or write protect = \"seal\""),
        );
    }
    report.push(
        Draft::warning(
            &protect.span,
            format!("field \"{name}\" shows equality: whoever reads the database sees which documents share a value, how often, and how long it is"),
        )
        .remedy("keep \"deterministic\" only if the field must be searched, and only for values that are many and rarely repeat"),
    );
}

/// Reports fields that overlap with one another, with row positions or with members that bind.
fn check_conflicts(report: &Report<'_>, mut written: Written, rest: bool) -> Written {
    let before = report.errors();
    let target = |selector: &Selector, role: Role| Target { selector: selector.clone(), role, scope: Scope::Row };
    let root: Vec<Selector> = Selector::parse("$").into_iter().collect();
    let clash =
        |one: &Selector, two: &Selector, role: Role| Map::compile(&root, &[target(one, Role::Value), target(two, role)]).is_err();
    let rows: Vec<Selector> = written.rows.iter().map(|row| row.selector.clone()).collect();
    for (index, field) in written.fields.iter().enumerate() {
        let (name, at) = (&field.name.value, &field.at);
        if !rest && first_member_is_reserved(&at.selector) {
            report.push(
                Draft::error(&at.span, format!("field \"{name}\": members that begin with _ belong to CouchDB itself"))
                    .remedy("protect a member of your own"),
            );
            continue;
        }
        for other in written.fields.iter().take(index) {
            if clash(&other.at.selector, &at.selector, Role::Value) {
                let place = format!("field \"{}\" on line {}", other.name.value, report.source.line_of(other.name.span.start));
                report.push(
                    Draft::error(&at.span, format!("field \"{name}\" and {place} can name the same value"))
                        .expected("fields that do not overlap")
                        .remedy("let one of them name the value, and remove the other"),
                );
                break;
            }
        }
        if clash(&at.selector, &written.id.selector, Role::Peek) {
            report.push(
                Draft::error(&at.span, format!("field \"{name}\" protects the document's id ({})", written.id.selector))
                    .remedy("leave the id unprotected: values are bound to it; use ids that say nothing about a person"),
            );
        }
        if let Some(Revision::Member(revision)) = &written.revision
            && clash(&at.selector, revision, Role::Peek)
        {
            report.push(
                Draft::error(
                    written.revision_span.as_ref().unwrap_or(&at.span),
                    format!("`revision` names a member that field \"{name}\" protects"),
                )
                .remedy("name an unprotected member: the database compares it"),
            );
        }
        if let Subject::At(subject) = &written.subject
            && *subject != written.id.selector
            && clash(&at.selector, subject, Role::Peek)
        {
            report.push(
                Draft::error(
                    written.subject_span.as_ref().unwrap_or(&at.span),
                    format!("`subject` names a member that field \"{name}\" protects"),
                )
                .remedy(
                    "name an unprotected member: values are bound to the subject, so it must be readable without opening one",
                ),
            );
        }
        for other in &written.fields {
            if let Some(subject) = &other.subject
                && clash(&at.selector, &subject.selector, Role::Peek)
            {
                report.push(
                    Draft::error(
                        &subject.span,
                        format!("the subject of field \"{}\" is a member that field \"{name}\" protects", other.name.value),
                    )
                    .remedy("name an unprotected member, such as the person's id"),
                );
            }
        }
        if let Err(errors) = Map::compile(&rows, &[target(&at.selector, Role::Value)])
            && let Some(MapError::RowInTarget { row, .. }) =
                errors.iter().find(|error| matches!(error, MapError::RowInTarget { .. }))
        {
            let row = rows.get(*row).map(ToString::to_string).unwrap_or_default();
            report.push(
                Draft::error(&at.span, format!("field \"{name}\" protects a value that holds documents: rows lists {row}"))
                    .remedy("protect members of those documents instead, or remove the row position"),
            );
        }
    }
    index::check(report, &written, rest);
    written.complete &= report.errors() == before;
    written
}

fn first_member_is_reserved(selector: &Selector) -> bool {
    let text = selector.to_string();
    text.starts_with("$._") || text.starts_with("$[\"_")
}
