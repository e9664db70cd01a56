//! The coverage of a policy as a page for people: Markdown to paste, HTML to forward.
//!
//! Always holds: the HTML stands by itself (no script, no font, no picture from elsewhere), every text in it is escaped, and it tells
//! nothing by colour alone.

use std::io::{self, Write};

use super::coverage::{kept_by, severity, status, summary};
use crate::purpose::{Clause, ClauseKind, Coverage, Policy, Register, Status, Weight};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.6rem;margin-bottom:.2rem}h2{font-size:1.2rem;margin-top:2.5rem}\
p.about{margin-top:0;opacity:.75}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.45rem .8rem .45rem 0;border-bottom:1px solid #8884}\
th{font-weight:600}td.id{white-space:nowrap;font-variant-numeric:tabular-nums}\
td.status{white-space:nowrap}td.status::before{display:inline-block;width:1.4em}\
.good::before{content:'\\2713'}.half::before{content:'\\25D0'}.later::before{content:'\\25CB'}.bad::before{content:'\\2717'}\
small{opacity:.75}code{font-size:.9em}ul{padding-left:1.2rem}li{margin:.4rem 0}\
ol.counts{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.8rem 2rem}ol.counts b{display:block;font-size:1.6rem}\
@media print{body{max-width:none}tr{break-inside:avoid}}";

/// Writes Markdown.
pub(super) fn markdown(
    policy: &Policy,
    register: &Register,
    coverage: &Coverage,
    file: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "# {}\n", md(&register.title))?;
    writeln!(out, "How `{}` version {} ({}) keeps it.\n\n{}\n", policy.id(), policy.version(), md(file), summary(coverage))?;
    writeln!(out, "| clause | what it says | status | kept by | tests |\n|---|---|---|---|---|")?;
    for clause in &coverage.clauses {
        let tests = clause.tests.join("; ");
        let says = md(&clause.says);
        writeln!(out, "| {} | {says} | {} | {} | {} |", clause.id, status(clause), md(&kept_by(clause)), md(&tests))?;
    }
    if !coverage.flaws.is_empty() {
        writeln!(out, "\n## Findings\n")?;
    }
    for flaw in &coverage.flaws {
        writeln!(out, "- **{}** ({}): {}. {}.", flaw.kind.as_str(), severity(flaw.weight), md(&flaw.message), md(&flaw.remedy))?;
    }
    Ok(())
}

/// Writes a page.
pub(super) fn html(policy: &Policy, register: &Register, coverage: &Coverage, file: &str, out: &mut dyn Write) -> io::Result<()> {
    let title = text(&register.title);
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}: what keeps it</title>\n<style>{STYLE}</style>"
    )?;
    writeln!(
        out,
        "<h1>{title}</h1>\n<p class=\"about\">What keeps each sentence of it: policy <code>{}</code>, version {}, file <code>{}</code>.<br>Published text pinned by SHA-256 <code>{}</code>.</p>",
        text(policy.id()),
        policy.version(),
        text(file),
        text(&register.sha256)
    )?;
    writeln!(out, "<ol class=\"counts\">")?;
    for found in Status::ALL {
        let count = coverage.count(found);
        if count > 0 {
            writeln!(out, "<li><b>{count}</b>{}</li>", found.as_str())?;
        }
    }
    writeln!(out, "</ol>\n<p>{}</p>", text(&summary(coverage)))?;
    findings(coverage, out)?;
    writeln!(
        out,
        "<h2>Clause by clause</h2>\n<table>\n<thead><tr><th>Clause</th><th>What it says, in our words</th><th>Status</th><th>Kept by</th></tr></thead>\n<tbody>"
    )?;
    for clause in &coverage.clauses {
        row(clause, out)?;
    }
    writeln!(out, "</tbody>\n</table>")?;
    writeln!(
        out,
        "<h2>How to read it</h2>\n<ul>\n<li><b>rule and test</b>: a rule of the policy keeps it, and a test fails when the rule, or any part of it, is taken away.</li>\n<li><b>rule untested</b>: a rule keeps it; some part of the rule could be taken away and no test would fail.</li>\n<li><b>report</b>: a report shows that it is kept. <b>organisational</b>: people keep it.</li>\n<li><b>not yet</b>: this release does not keep it. In brackets: what it will be once the release keeps it.</li>\n<li><b>unmapped</b>: nothing keeps it.</li>\n</ul>\n</html>"
    )
}

fn findings(coverage: &Coverage, out: &mut dyn Write) -> io::Result<()> {
    for (weight, head) in [(Weight::Fault, "To repair"), (Weight::Note, "To know")] {
        let mut found = coverage.flaws.iter().filter(|flaw| flaw.weight == weight).peekable();
        if found.peek().is_none() {
            continue;
        }
        writeln!(out, "<h2>{head}</h2>\n<ul>")?;
        for flaw in found {
            let remedy = text(&flaw.remedy);
            writeln!(out, "<li><b>{}</b>: {}.<br><small>{remedy}.</small></li>", flaw.kind.as_str(), text(&flaw.message))?;
        }
        writeln!(out, "</ul>")?;
    }
    Ok(())
}

fn row(clause: &Clause, out: &mut dyn Write) -> io::Result<()> {
    let class = match clause.status {
        Status::RuleAndTest | Status::Report | Status::Organisational => "good",
        Status::RuleUntested => "half",
        Status::NotYet => "later",
        Status::Unmapped => "bad",
    };
    let waits = clause.waits.iter().map(|waits| format!("<br><small>waits for {}</small>", text(waits)));
    let tests = clause.tests.iter().map(|test| format!("<br><small>test: {}</small>", text(test)));
    let kept: String = std::iter::once(text(&kept_by(clause))).chain(waits).chain(tests).collect();
    writeln!(
        out,
        "<tr><td class=\"id\">{}</td><td>{}<br><small>{}, section {}</small></td><td class=\"status {class}\">{}</td><td>{kept}</td></tr>",
        text(&clause.id),
        text(&clause.says),
        kind(clause.kind),
        text(&clause.section),
        text(&status(clause))
    )
}

fn kind(kind: ClauseKind) -> &'static str {
    match kind {
        ClauseKind::Promise => "promise",
        ClauseKind::Fact => "statement",
        ClauseKind::Exception => "exception",
        ClauseKind::Right => "right of the firm",
        ClauseKind::Duty => "duty of the customer",
        ClauseKind::Definition => "definition",
    }
}

/// Text inside HTML.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text inside a cell of Markdown.
fn md(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}
