//! `sudare policy explain · test · coverage · diff · schema`: who sees what, which rule says so, whether the policy keeps its promises.
//!
//! Always holds: needs a compiled policy and nothing else, no keys and no network; what is printed names rules and levels, never
//! a value. `main` opens the file, calls these with standard output and turns the answer into an exit code.

mod coverage;
mod diff;
mod page;
mod schema;

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::base::{CallerName, CategoryName, PurposeName};
use crate::purpose::{
    Asks, CategoryExplanation, Circumstances, Explanation, Facts, Level, Policy, Refusal, Rule, TestOutcome, facts,
};

pub use coverage::{CoverageFormat, CoverageOptions, coverage};
pub use diff::{DiffOptions, diff};
pub use schema::schema;

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// So many categories that a purpose does not list are told one by one.
const TOLD_ONE_BY_ONE: usize = 4;

/// What `policy explain` was asked.
#[derive(Debug, Clone, Copy)]
pub struct ExplainOptions<'a> {
    /// The policy file as the reader knows it; stands before every line number.
    pub file: &'a str,
    /// Only this caller.
    pub caller: Option<&'a str>,
    /// Only this purpose, by name or `dpv:` id.
    pub purpose: Option<&'a str>,
    /// What holds of the data subject.
    pub facts: &'a [String],
    /// How old the data subject is.
    pub age: Option<u8>,
    /// The categories in the reply; empty: all.
    pub holds: &'a [String],
    /// How to print.
    pub format: Format,
}

/// What `policy test` was asked.
#[derive(Debug, Clone, Copy)]
pub struct TestOptions<'a> {
    /// The policy file as the reader knows it; stands before every line number.
    pub file: &'a str,
    /// How to print.
    pub format: Format,
}

/// Why nothing could be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyCommandError {
    /// Exit code 2.
    #[error("the policy has no {what} {name}; it has {known}")]
    Unknown {
        /// `caller`, `purpose`, `fact` or `category`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Exit code 1.
    #[error("cannot print the answer: {0}")]
    Print(#[from] io::Error),
}

/// One caller × purpose: what it sees, or why it sees nothing.
struct Answer {
    caller: CallerName,
    purpose: String,
    outcome: Result<Explanation, Refusal>,
}

/// Prints who sees what and which rule says so: for a caller and a purpose, every category with its rules; with one of the two,
/// each pair that is allowed; with neither, one line per pair.
///
/// A pair that exists but is not allowed is answered too: with the refusal a request would get.
///
/// # Errors
///
/// A caller or purpose that the policy does not have; output that cannot be written.
pub fn explain(policy: &Policy, options: &ExplainOptions<'_>, out: &mut dyn Write) -> Result<(), PolicyCommandError> {
    let answers = answers(policy, options)?;
    match options.format {
        Format::Json => {
            let answers: Vec<Value> = answers.iter().map(answer_json).collect();
            let all = json!({ "policy": policy.id(), "version": policy.version(), "file": options.file, "answers": answers });
            writeln!(out, "{all:#}")?;
        }
        Format::Table if options.caller.is_none() && options.purpose.is_none() => overview(policy, &answers, out)?,
        Format::Table => {
            for (at, answer) in answers.iter().enumerate() {
                if at > 0 {
                    writeln!(out)?;
                }
                explain_table(options.file, options.holds, answer, out)?;
            }
        }
    }
    Ok(())
}

/// Runs the tests of the policy and prints how they came out. False if any failed: exit code 1.
///
/// # Errors
///
/// Output that cannot be written.
pub fn test(policy: &Policy, options: &TestOptions<'_>, out: &mut dyn Write) -> Result<bool, PolicyCommandError> {
    let outcomes = policy.run_tests();
    let failed = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    let passed = outcomes.len() - failed;
    match options.format {
        Format::Json => {
            let tests: Vec<Value> = outcomes.iter().map(outcome_json).collect();
            let all = json!({ "policy": policy.id(), "version": policy.version(), "file": options.file, "passed": passed, "failed": failed, "tests": tests });
            writeln!(out, "{all:#}")?;
        }
        Format::Table if outcomes.is_empty() => writeln!(out, "no tests: add [[test]] tables to {}", options.file)?,
        Format::Table => {
            for outcome in &outcomes {
                test_table(options.file, outcome, out)?;
            }
            writeln!(
                out,
                "{} {}, {passed} passed, {failed} failed",
                outcomes.len(),
                if outcomes.len() == 1 { "test" } else { "tests" }
            )?;
        }
    }
    Ok(failed == 0)
}

fn answers(policy: &Policy, options: &ExplainOptions<'_>) -> Result<Vec<Answer>, PolicyCommandError> {
    let callers = callers(policy, options.caller)?;
    let purposes = purposes(policy, options.purpose)?;
    let known = circumstances(policy, options)?;
    let answer = |caller: &CallerName, declared: &str| Answer {
        caller: caller.clone(),
        purpose: declared.to_owned(),
        outcome: policy.explain_for(caller, Some(declared), &known),
    };
    // A pair that was asked for is answered even if it is refused.
    if let (Some(_), Some(declared)) = (options.caller, options.purpose) {
        return Ok(callers.iter().map(|caller| answer(caller, declared)).collect());
    }
    let allowed = callers.iter().flat_map(|caller| {
        let own = policy.purposes_of(caller);
        own.into_iter()
            .filter(|purpose| purposes.contains(purpose))
            .map(|purpose| answer(caller, purpose.as_str()))
            .collect::<Vec<_>>()
    });
    Ok(allowed.collect())
}

/// What the command line says is known.
fn circumstances(policy: &Policy, options: &ExplainOptions<'_>) -> Result<Circumstances, PolicyCommandError> {
    let table = policy.facts();
    let mut facts = options.age.map_or(Facts::NONE, |years| policy.facts_at_age(years));
    for name in options.facts {
        let Some(fact) = table.id(name).filter(|_| name != facts::COMBINED) else {
            let names: Vec<&str> = table.names().filter(|name| *name != facts::COMBINED).collect();
            return Err(unknown("fact", name, &names));
        };
        facts = facts.with(fact);
    }
    let mut holds = Vec::new();
    for name in options.holds {
        let names = || policy.categories().iter().map(|category| category.name.as_str()).collect::<Vec<_>>();
        holds.push(policy.category(name).ok_or_else(|| unknown("category", name, &names()))?);
    }
    Ok(Circumstances { facts, holds: (!holds.is_empty()).then_some(holds) })
}

fn callers(policy: &Policy, asked: Option<&str>) -> Result<Vec<CallerName>, PolicyCommandError> {
    let all = policy.callers();
    let Some(name) = asked else { return Ok(all.into_iter().cloned().collect()) };
    match all.iter().find(|caller| caller.as_str() == name) {
        Some(caller) => Ok(vec![(*caller).clone()]),
        None => Err(unknown("caller", name, &all.iter().map(|caller| caller.as_str()).collect::<Vec<_>>())),
    }
}

fn purposes(policy: &Policy, asked: Option<&str>) -> Result<Vec<PurposeName>, PolicyCommandError> {
    let matches = |name: &str, dpv: Option<&str>| asked.is_none_or(|asked| asked == name || Some(asked) == dpv);
    let all = policy.purposes();
    let found: Vec<_> = all
        .iter()
        .filter(|purpose| matches(purpose.name.as_str(), purpose.dpv.as_deref()))
        .map(|purpose| purpose.name.clone())
        .collect();
    match asked {
        Some(name) if found.is_empty() => {
            Err(unknown("purpose", name, &all.iter().map(|purpose| purpose.name.as_str()).collect::<Vec<_>>()))
        }
        _ => Ok(found),
    }
}

fn unknown(what: &'static str, name: &str, known: &[&str]) -> PolicyCommandError {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    PolicyCommandError::Unknown { what, name: name.to_owned(), known }
}

fn explain_table(file: &str, holds: &[String], answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    let explanation = match &answer.outcome {
        Ok(explanation) => explanation,
        Err(refusal) => return writeln!(out, "{} for {}: refused. {refusal}.", answer.caller, answer.purpose),
    };
    let mut about: Vec<String> = explanation.dpv.iter().cloned().collect();
    about.extend(explanation.basis.iter().map(|basis| format!("basis {basis}")));
    about.extend(explanation.recipient.iter().map(|kind| format!("{} is a recipient: {kind}", explanation.caller)));
    let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
    writeln!(out, "{} for {}{about}", explanation.caller, explanation.purpose)?;
    let mut rows = Vec::new();
    let in_reply = |name: &str| holds.is_empty() || holds.iter().any(|category| category == name);
    let unlisted: Vec<&str> = explanation
        .categories
        .iter()
        .filter(|category| !category.listed && in_reply(category.category.as_str()))
        .map(|category| category.category.as_str())
        .collect();
    let together = unlisted.len() > TOLD_ONE_BY_ONE;
    let told = |category: &&CategoryExplanation| in_reply(category.category.as_str()) && (category.listed || !together);
    for category in explanation.categories.iter().filter(told) {
        let mut head = [category.category.to_string(), category.level.to_string()];
        for rule in &category.rules {
            let [name, level] = std::mem::take(&mut head);
            rows.push(vec![name, level, place(file, rule), rule.says.clone()]);
        }
    }
    if together {
        let rest = format!("{} does not list {}", explanation.purpose, unlisted.join(", "));
        let first = explanation.categories.iter().find(|category| !category.listed).and_then(|category| category.rules.first());
        let place = first.map_or_else(String::new, |rule| place(file, rule));
        rows.push(vec!["the rest".to_owned(), Level::Absent.to_string(), place, rest]);
    }
    columns("  ", &rows, out)?;
    let writable: Vec<&str> =
        explanation.categories.iter().filter(|category| category.writable).map(|category| category.category.as_str()).collect();
    let writable = if writable.is_empty() { "nothing".to_owned() } else { writable.join(" ") };
    let searchable: Vec<&str> =
        explanation.categories.iter().filter(|category| category.searchable).map(|category| category.category.as_str()).collect();
    let searchable = if searchable.is_empty() { "nothing".to_owned() } else { searchable.join(" ") };
    writeln!(out)?;
    let mut rows = vec![
        vec!["writes".to_owned(), writable, place(file, &explanation.writes), explanation.writes.says.clone()],
        vec!["deletes".to_owned(), if explanation.delete { "yes" } else { "no" }.to_owned()],
        vec!["replies".to_owned(), format!("Data-View: {}", explanation.data_view)],
    ];
    if let Some(rule) = &explanation.searches {
        rows.insert(1, vec!["searches".to_owned(), searchable, place(file, rule), rule.says.clone()]);
    }
    if explanation.categories.iter().any(|category| category.level == Level::Pseudonym) {
        rows.push(vec!["pseudonyms".to_owned(), format!("the same within {}, unlinkable outside", explanation.scope)]);
    }
    if !explanation.required.is_empty() {
        let names: Vec<&str> = explanation.required.iter().map(CategoryName::as_str).collect();
        rows.push(vec!["requires".to_owned(), names.join(" ")]);
    }
    if let Some(source) = &explanation.source {
        rows.push(vec!["comes from".to_owned(), source.clone()]);
    }
    if !explanation.clauses.is_empty() {
        rows.push(vec!["clauses".to_owned(), explanation.clauses.join(" ")]);
    }
    columns("  ", &rows, out)?;
    if explanation.conditions.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n  depends on what is known of each person:")?;
    let rows: Vec<Vec<String>> = explanation
        .conditions
        .iter()
        .map(|condition| {
            let state = match (condition.asks == Asks::Limit, condition.narrows) {
                (true, true) => "applies",
                (true, false) => "does not apply",
                (false, true) => "not met",
                (false, false) => "met",
            };
            vec![state.to_owned(), place(file, &condition.rule), condition.rule.says.clone()]
        })
        .collect();
    columns("    ", &rows, out)
}

/// One line per caller × purpose, a column per category.
fn overview(policy: &Policy, answers: &[Answer], out: &mut dyn Write) -> io::Result<()> {
    let mut head = vec!["caller".to_owned(), "purpose".to_owned()];
    head.extend(policy.categories().iter().map(|category| category.name.to_string()));
    head.push("writes".to_owned());
    let explained = || answers.iter().filter_map(|answer| answer.outcome.as_ref().ok());
    let depends = explained().any(|explanation| !explanation.conditions.is_empty());
    if depends {
        head.push("depends on".to_owned());
    }
    let mut rows = vec![head];
    for explanation in explained() {
        let mut row = vec![explanation.caller.to_string(), explanation.purpose.to_string()];
        row.extend(
            explanation
                .categories
                .iter()
                .map(|category| if category.at_most == Level::Absent { "–".to_owned() } else { category.at_most.to_string() }),
        );
        let most = policy.decide(&explanation.caller, Some(explanation.purpose.as_str()), 0).map(|grant| grant.at_most());
        let may_write = |name: &CategoryName| {
            policy.category(name.as_str()).zip(most.as_ref().ok()).is_some_and(|(category, row)| row.may_write(category))
        };
        let names = explanation.categories.iter().map(|category| &category.category);
        let writable: Vec<&str> = names.filter(|name| may_write(name)).map(CategoryName::as_str).collect();
        row.push(if writable.is_empty() { "–".to_owned() } else { writable.join(" ") });
        if depends {
            let conditions: Vec<&str> = explanation.conditions.iter().map(|condition| condition.short.as_str()).collect();
            row.push(conditions.join(", "));
        }
        rows.push(row);
    }
    columns("", &rows, out)?;
    if depends {
        writeln!(out, "\nLevels are the most that is shown; what a row depends on: --caller, --purpose, --fact")?;
    }
    Ok(())
}

fn test_table(file: &str, outcome: &TestOutcome, out: &mut dyn Write) -> io::Result<()> {
    if outcome.passed() {
        return writeln!(out, "ok      {}", outcome.name);
    }
    writeln!(out, "FAILED  {}  {file}:{}", outcome.name, outcome.line)?;
    let mut rows = Vec::new();
    for difference in &outcome.differences {
        let expected = format!("expected {}, got {}", difference.expected, difference.got);
        rows.push(vec![difference.category.to_string(), expected, format!("{file}:{}", difference.line), "the test".to_owned()]);
        rows.extend(difference.rules.iter().map(|rule| vec![String::new(), String::new(), place(file, rule), rule.says.clone()]));
    }
    rows.extend(outcome.searches.iter().map(|(category, got)| {
        let says = if *got { "expected no search, got one" } else { "expected a search, got none" };
        vec![category.to_string(), says.to_owned(), format!("{file}:{}", outcome.line), "the test".to_owned()]
    }));
    columns("        ", &rows, out)?;
    for other in &outcome.others {
        writeln!(out, "        {other}")?;
    }
    if let Some(refusal) = &outcome.refusal {
        writeln!(out, "        the request is refused: {refusal}")?;
    }
    Ok(())
}

fn place(file: &str, rule: &Rule) -> String {
    format!("{file}:{}", rule.line)
}

/// Writes rows with columns two spaces apart, each as wide as its widest cell; the last cell of a row is not padded.
fn columns(indent: &str, rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        // A row's last cell may run on; it makes no column wider.
        rows.iter()
            .filter(|row| row.len() > at + 1)
            .filter_map(|row| row.get(at))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    for row in rows {
        let mut line = indent.to_owned();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            line.push_str(cell);
            if at + 1 < row.len() {
                line.push_str(&" ".repeat(width.saturating_sub(cell.chars().count()) + 2));
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn answer_json(answer: &Answer) -> Value {
    let explanation = match &answer.outcome {
        Ok(explanation) => explanation,
        Err(refusal) => {
            return json!({ "caller": answer.caller.as_str(), "purpose": answer.purpose, "refused": refusal.to_string() });
        }
    };
    let categories: Vec<Value> = explanation
        .categories
        .iter()
        .map(|category| {
            json!({
                "category": category.category.as_str(),
                "level": category.level.as_str(),
                "at_most": category.at_most.as_str(),
                "writable": category.writable,
                "searchable": category.searchable,
                "rules": rules_json(&category.rules),
            })
        })
        .collect();
    json!({
        "caller": explanation.caller.as_str(),
        "purpose": explanation.purpose.as_str(),
        "line": explanation.line,
        "dpv": explanation.dpv,
        "basis": explanation.basis,
        "recipient": explanation.recipient,
        "scope": explanation.scope,
        "categories": categories,
        "writes": rule_json(&explanation.writes),
        "searches": explanation.searches.as_ref().map(rule_json),
        "delete": explanation.delete,
        "conditions": explanation.conditions.iter().map(|condition| json!({
            "line": condition.rule.line,
            "says": condition.rule.says,
            "in_the_way": condition.narrows,
        })).collect::<Vec<_>>(),
        "required": explanation.required.iter().map(CategoryName::as_str).collect::<Vec<_>>(),
        "source": explanation.source,
        "data_view": explanation.data_view,
        "clauses": explanation.clauses,
    })
}

fn outcome_json(outcome: &TestOutcome) -> Value {
    let differences: Vec<Value> = outcome
        .differences
        .iter()
        .map(|difference| {
            json!({
                "category": difference.category.as_str(),
                "line": difference.line,
                "expected": difference.expected.as_str(),
                "got": difference.got.as_str(),
                "rules": rules_json(&difference.rules),
            })
        })
        .collect();
    json!({
        "name": outcome.name,
        "line": outcome.line,
        "passed": outcome.passed(),
        "refused": outcome.refusal,
        "differences": differences,
        "searches": outcome.searches.iter().map(|(category, got)| json!({ "category": category.as_str(), "got": got })).collect::<Vec<_>>(),
        "others": outcome.others,
    })
}

fn rules_json(rules: &[Rule]) -> Vec<Value> {
    rules.iter().map(rule_json).collect()
}

fn rule_json(rule: &Rule) -> Value {
    json!({ "line": rule.line, "says": rule.says })
}

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod tests;
