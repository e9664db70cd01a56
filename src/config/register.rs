//! Reads `clauses.toml` beside the policy: what the published text promises, clause by clause, in our words.
//!
//! Always holds: every clause has an id of its own, and what names a clause names one of these. Called by [`super::load`].

use super::names::checked_clauses;
use super::report::{Draft, Report};
use super::tree::{Node, Section, Text, shorten};
use crate::purpose::{Class, ClauseKind, ClauseSpec, Later, Question, Register};

/// The register's name, in the folder of the policy.
pub(super) const FILE: &str = "clauses.toml";

/// Reads the whole file.
pub(super) fn read(root: &Section<'_>) -> Register {
    let mut register = Register::default();
    let report = root.report();
    read_clauses(root, &mut register);
    let known = |texts: Vec<Text>, register: &Register| {
        let texts = texts.into_iter().filter(|text| known_clause(report, text, register)).collect();
        checked_clauses(report, texts)
    };
    if let Some(document) = root.required_table("document", "[document] with title, file and sha256 of the published text") {
        let text = |key, example: &str| document.required(key, example).and_then(|node| node.text()).map(|text| text.value);
        register.title = text("title", "title = \"Privacy policy\"").unwrap_or_default();
        register.file = text("file", "file = \"published/policy.txt\"").unwrap_or_default();
        let hash = document.required("sha256", "sha256 = \"…\": what `sha256sum` prints").and_then(|node| node.text());
        register.sha256 = hash.and_then(|hash| sha256(report, hash)).unwrap_or_default();
        let list = |key| document.optional(key).and_then(|node| node.texts()).unwrap_or_default();
        register.retention = known(list("retention"), &register);
        register.contact = known(list("contact"), &register);
        document.finish();
    }
    if let Some(node) = root.optional("question") {
        for node in node.items("[[question]] as a header, once for each").unwrap_or_default() {
            let Some(entry) = node.table_named("[[question]]") else { continue };
            let clauses = entry.required("clauses", "clauses = [\"003-21\"]").and_then(|node| node.texts()).unwrap_or_default();
            let asks = entry.required("asks", "asks = \"what is open\"").and_then(|node| node.text());
            let decided = entry.optional("decided").and_then(|node| node.text()).map(|text| text.value);
            entry.finish();
            let line = report.source.line_of(entry.span.start);
            let asks = asks.map(|text| text.value).unwrap_or_default();
            register.questions.push(Question { line, clauses: known(clauses, &register), asks, decided });
        }
    }
    root.finish();
    register
}

fn read_clauses(root: &Section<'_>, register: &mut Register) {
    let Some(table) = root.required_table("clause", "[clause] with 003-01 = { section = \"1\", kind = \"promise\", … }") else {
        return;
    };
    let report = root.report();
    for (id, node) in table.entries() {
        if checked_clauses(report, vec![id.clone()]).is_empty() {
            continue;
        }
        let Some(entry) = node.table_named(format!("clause {}", shorten(&id.value))) else { continue };
        register.clauses.push(read_clause(&entry, &id));
    }
}

fn read_clause(entry: &Section<'_>, id: &Text) -> ClauseSpec {
    let kinds = [
        ("promise", ClauseKind::Promise),
        ("fact", ClauseKind::Fact),
        ("exception", ClauseKind::Exception),
        ("right", ClauseKind::Right),
        ("duty", ClauseKind::Duty),
        ("definition", ClauseKind::Definition),
    ];
    let classes = [("rule", Class::Rule), ("report", Class::Report), ("organisational", Class::Organisational)];
    let text = |key, example: &str| entry.required(key, example).and_then(|node| node.text()).map(|text| text.value);
    let section = text("section", "section = \"II.3\"");
    let says = text("says", "says = \"what it says, in your words\"");
    let kind = entry.required("kind", "kind = \"promise\"").and_then(|node| node.word(&kinds));
    let class =
        entry.required("class", "class = \"rule\", \"report\" or \"organisational\"").and_then(|node| node.word(&classes));
    let waits_for = entry.optional("waits_for").map(|node| later(&node)).unwrap_or_default();
    let shown_by = entry.optional("shown_by").and_then(|node| node.text()).map(|text| text.value);
    entry.finish();
    ClauseSpec {
        id: id.value.clone(),
        line: entry.report().source.line_of(id.span.start),
        section: section.unwrap_or_default(),
        kind: kind.unwrap_or(ClauseKind::Promise),
        class: class.unwrap_or(Class::Rule),
        says: says.unwrap_or_default(),
        waits_for,
        shown_by,
    }
}

fn later(node: &Node<'_>) -> Vec<Later> {
    let words: Vec<(&'static str, Later)> = Later::ALL.into_iter().map(|later| (later.as_str(), later)).collect();
    let items = node.items("[\"erasure\"]").unwrap_or_default();
    items.iter().filter_map(|item| item.word(&words)).collect()
}

fn sha256(report: &Report<'_>, text: Text) -> Option<String> {
    if text.value.len() == 64 && text.value.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return Some(text.value);
    }
    report.push(
        Draft::error(&text.span, "this is not a SHA-256")
            .expected("64 characters of 0-9 and a-f")
            .remedy("write what `sha256sum` prints for the published text"),
    );
    None
}

/// Reports a clause that the register does not have.
pub(super) fn known_clause(report: &Report<'_>, id: &Text, register: &Register) -> bool {
    let known = register.clause(&id.value).is_some() || report.source.has_lost(&id.value);
    if !known {
        let names = register.clauses.iter().map(|clause| clause.id.as_str());
        report.push(
            Draft::error(&id.span, format!("there is no clause \"{}\" in {FILE}", shorten(&id.value)))
                .near(&id.value, names)
                .remedy("correct the id, or add the clause to the register"),
        );
    }
    known
}
