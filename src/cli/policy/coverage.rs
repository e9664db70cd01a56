//! `sudare policy coverage`: which clause of the published text is kept by which rule, and which test would notice if it were not.
//!
//! Always holds: every clause of the register is printed, whatever its status. The page for people is made in `page.rs`.

use std::io::{self, Write};
use std::path::Path;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use super::{columns, page};
use crate::crypto;
use crate::purpose::{Clause, Coverage, Flaw, FlawKind, Policy, Register, Status, Weight, cover};

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CoverageFormat {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// To paste into a document.
    Markdown,
    /// A page that stands by itself.
    Html,
}

/// What `policy coverage` was asked.
#[derive(Debug, Clone, Copy)]
pub struct CoverageOptions<'a> {
    /// The policy file as the reader knows it.
    pub file: &'a str,
    /// The folder of the register; the published text is looked for there.
    pub folder: &'a Path,
    /// Purposes that the audit log has seen.
    pub seen: &'a [String],
    /// How to print.
    pub format: CoverageFormat,
}

/// Prints how each clause is kept. False if anything keeps the policy from being what was published: exit code 1.
///
/// # Errors
///
/// Output that cannot be written.
pub fn coverage(policy: &Policy, register: &Register, options: &CoverageOptions<'_>, out: &mut dyn Write) -> io::Result<bool> {
    let text = text(register, options.folder);
    let coverage = cover(policy, register, options.seen, text);
    match options.format {
        CoverageFormat::Json => writeln!(out, "{:#}", document(policy, register, &coverage, options.file))?,
        CoverageFormat::Table => table(policy, register, &coverage, options.file, out)?,
        CoverageFormat::Markdown => page::markdown(policy, register, &coverage, options.file, out)?,
        CoverageFormat::Html => page::html(policy, register, &coverage, options.file, out)?,
    }
    Ok(!coverage.has_faults())
}

/// Is the published text, if it is there, the one that was read?
fn text(register: &Register, folder: &Path) -> Vec<Flaw> {
    let flaw = |weight, message: String, remedy: &str| {
        vec![Flaw { kind: FlawKind::Text, weight, line: 0, clauses: Vec::new(), message, remedy: remedy.to_owned() }]
    };
    let path = folder.join(&register.file);
    match std::fs::read(&path) {
        Ok(bytes) if HEXLOWER.encode(&crypto::sha256(&bytes)) == register.sha256 => Vec::new(),
        Ok(_) => flaw(
            Weight::Fault,
            format!("{} is not the text that the register was made from: its SHA-256 differs", register.file),
            "read what changed, bring the register up to date, then its sha256",
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => flaw(
            Weight::Note,
            format!("{} is not there, so nobody can see here whether the published text changed", register.file),
            "put the text there; it is compared with the sha256 of the register",
        ),
        Err(error) => flaw(Weight::Fault, format!("{} cannot be read: {error}", register.file), "make it readable"),
    }
}

fn document(policy: &Policy, register: &Register, coverage: &Coverage, file: &str) -> Value {
    let counts: serde_json::Map<String, Value> =
        Status::ALL.iter().map(|status| (status.as_str().to_owned(), json!(coverage.count(*status)))).collect();
    let (tried, noticed) = coverage.mutants;
    json!({
        "policy": policy.id(),
        "version": policy.version(),
        "file": file,
        "document": { "title": register.title, "sha256": register.sha256 },
        "counts": counts,
        "mutants": { "tried": tried, "noticed": noticed },
        "clauses": coverage.clauses.iter().map(clause_json).collect::<Vec<_>>(),
        "findings": coverage.flaws.iter().map(flaw_json).collect::<Vec<_>>(),
    })
}

fn clause_json(clause: &Clause) -> Value {
    json!({
        "id": clause.id,
        "section": clause.section,
        "says": clause.says,
        "status": clause.status.as_str(),
        "waits_for": clause.waits,
        "rules": clause.rules,
        "tests": clause.tests,
        "shown_by": clause.shown_by,
    })
}

fn flaw_json(flaw: &Flaw) -> Value {
    json!({
        "kind": flaw.kind.as_str(),
        "severity": severity(flaw.weight),
        "line": if flaw.line == 0 { None } else { Some(flaw.line) },
        "clauses": flaw.clauses,
        "message": flaw.message,
        "remedy": flaw.remedy,
    })
}

pub(super) fn severity(weight: Weight) -> &'static str {
    match weight {
        Weight::Fault => "fault",
        Weight::Note => "note",
    }
}

fn table(policy: &Policy, register: &Register, coverage: &Coverage, file: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: {} version {} ({file})\n", register.title, policy.id(), policy.version())?;
    let mut rows = vec![["clause", "status", "kept by", "tests"].map(str::to_owned).to_vec()];
    for clause in &coverage.clauses {
        rows.push(vec![clause.id.clone(), status(clause), kept_by(clause), tests(clause)]);
    }
    columns("", &rows, out)?;
    if !coverage.flaws.is_empty() {
        writeln!(out)?;
    }
    for flaw in &coverage.flaws {
        let place = if flaw.line == 0 { String::new() } else { format!("{file}:{}: ", flaw.line) };
        writeln!(out, "{}: {}: {place}{}\n      {}", severity(flaw.weight), flaw.kind.as_str(), flaw.message, flaw.remedy)?;
    }
    writeln!(out, "\n{}", summary(coverage))
}

/// The counts in one sentence.
pub(super) fn summary(coverage: &Coverage) -> String {
    let counts: Vec<String> = Status::ALL
        .iter()
        .map(|status| (coverage.count(*status), status.as_str()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, status)| format!("{count} {status}"))
        .collect();
    let (tried, noticed) = coverage.mutants;
    format!(
        "{} clauses: {}. {noticed} of {tried} changes to the rules are noticed by a test.",
        coverage.clauses.len(),
        counts.join(", ")
    )
}

/// The status, as it is printed.
pub(super) fn status(clause: &Clause) -> String {
    clause.status.as_str().to_owned()
}

/// The rules, or what shows it where there is none.
pub(super) fn kept_by(clause: &Clause) -> String {
    match (&clause.shown_by, clause.rules.is_empty()) {
        (Some(shown_by), true) => shown_by.clone(),
        (_, true) => "–".to_owned(),
        _ => clause.rules.join(" "),
    }
}

fn tests(clause: &Clause) -> String {
    match clause.tests.len() {
        0 => "–".to_owned(),
        1 => "1 test".to_owned(),
        count => format!("{count} tests"),
    }
}
