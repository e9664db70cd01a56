//! `sudare keys rotate · activate · deactivate · compromise`: what changed, what that means, and what is left to do.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Format, KeysCommandError};
use crate::base::Kid;
use crate::keys::{Change, LineName, MoveReport, Moved, Place, Scope, State, Successor};

/// Gives a line (`seal`, `lookup`, `token`, `audit`, `pseudonym/<scope>`) a new Active version.
///
/// # Errors
///
/// A word that is no line; as [`Change::rotate`]; output that cannot be written.
pub fn rotate(change: &Change<'_>, line: &str, format: Format, out: &mut dyn Write) -> Result<(), KeysCommandError> {
    let name = line_name(line)?;
    let report = change.rotate(&name)?;
    if format == Format::Json {
        let all = json!({
            "line": name.to_string(),
            "active": report.active.to_string(),
            "deactivated": report.deactivated.map(|kid| kid.to_string()),
            "revision": report.revision,
        });
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
    let (active, revision) = (report.active, report.revision);
    writeln!(out, "{name}: {active} is active; {} revision {revision}", change.config.ring)?;
    if let Some(old) = report.deactivated {
        writeln!(out, "{name}: {old} is deactivated and still opens what it protected")?;
    }
    for kid in report.waiting {
        writeln!(out, "{name}: {kid}, published before, goes on waiting: `sudare keys activate {kid}{}`", option(change))?;
    }
    after_activation(&name, out)?;
    Ok(serve_learns(&change.config.ring, out)?)
}

/// Gives a line a version that opens and does not protect yet.
///
/// # Errors
///
/// A word that is no line; as [`Change::publish`]; output that cannot be written.
pub fn publish(change: &Change<'_>, line: &str, format: Format, out: &mut dyn Write) -> Result<(), KeysCommandError> {
    let name = line_name(line)?;
    let report = change.publish(&name)?;
    let (kid, revision) = (report.kid, report.revision);
    if format == Format::Json {
        let all = json!({ "line": name.to_string(), "pre_active": kid.to_string(), "made": report.made, "revision": revision });
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
    if report.made {
        let ring = &change.config.ring;
        writeln!(out, "{name}: {kid} is published (pre-active): it opens, and protects nothing yet; {ring} revision {revision}")?;
        serve_learns(&change.config.ring, out)?;
    } else {
        writeln!(out, "{name}: {kid} is published already (pre-active); revision {revision} stays.")?;
    }
    writeln!(out, "Once every node has it: `sudare keys activate {kid}{}`", option(change))?;
    Ok(())
}

/// Lets a published version protect.
///
/// # Errors
///
/// As [`Change::activate`]; output that cannot be written.
pub fn activate(change: &Change<'_>, kid: Kid, format: Format, out: &mut dyn Write) -> Result<(), KeysCommandError> {
    let report = change.activate(kid)?;
    if told(change, &report, format, out)? == Told::Whole {
        return Ok(());
    }
    if let Some(moved) = report.moved.iter().find(|moved| moved.to == State::Active) {
        after_activation(&moved.line, out)?;
    }
    Ok(serve_learns(&change.config.ring, out)?)
}

/// Lets a version cease to protect.
///
/// # Errors
///
/// As [`Change::deactivate`]; output that cannot be written.
pub fn deactivate(
    change: &Change<'_>,
    kid: Kid,
    scope: Scope,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), KeysCommandError> {
    let report = change.deactivate(kid, scope)?;
    if told(change, &report, format, out)? == Told::Whole {
        return Ok(());
    }
    for Moved { line, .. } in &report.moved {
        writeln!(
            out,
            "{line}: the scope has ended: reads that would show a pseudonym of it answer 503 keys-unavailable. `sudare keys rotate --line {line}{}` begins it anew, with other pseudonyms.",
            option(change)
        )?;
    }
    Ok(serve_learns(&change.config.ring, out)?)
}

/// Marks versions that somebody else may know.
///
/// # Errors
///
/// As [`Change::compromise`]; output that cannot be written.
pub fn compromise(
    change: &Change<'_>,
    kids: &[Kid],
    successor: Successor,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), KeysCommandError> {
    let report = change.compromise(kids, successor)?;
    if told(change, &report, format, out)? == Told::Whole {
        return Ok(());
    }
    let mut lines: Vec<&LineName> = Vec::new();
    for moved in report.moved.iter().filter(|moved| moved.from != moved.to) {
        if !lines.contains(&&moved.line) {
            lines.push(&moved.line);
        }
    }
    for line in lines {
        after_compromise(line, out)?;
    }
    writeln!(
        out,
        "Was more in the same hands? Every version of a ring that leaked with its KEK is compromised: name all of them."
    )?;
    Ok(serve_learns(&change.config.ring, out)?)
}

/// What a command about the same ring says besides.
fn option(change: &Change<'_>) -> String {
    let name = &change.config.name;
    if name.is_main() { String::new() } else { format!(" --ring {name}") }
}

pub(super) fn line_name(word: &str) -> Result<LineName, KeysCommandError> {
    word.parse().map_err(|error| KeysCommandError::Line { word: word.to_string(), error })
}

/// Is there more to say?
#[derive(PartialEq, Eq)]
enum Told {
    Whole,
    Moves,
}

/// What moved, and what was there already.
fn told(change: &Change<'_>, report: &MoveReport, format: Format, out: &mut dyn Write) -> io::Result<Told> {
    if format == Format::Json {
        let made: Vec<Value> =
            report.made.iter().map(|(line, kid)| json!({ "line": line.to_string(), "kid": kid.to_string() })).collect();
        let moved = |moved: &Moved| {
            let Moved { line, kid, from, to } = moved;
            json!({ "line": line.to_string(), "kid": kid.to_string(), "from": from.as_str(), "to": to.as_str() })
        };
        let moved: Vec<Value> = report.moved.iter().map(moved).collect();
        writeln!(out, "{:#}", json!({ "moved": moved, "made": made, "revision": report.revision }))?;
        return Ok(Told::Whole);
    }
    let mut changed = false;
    for Moved { line, kid, from, to } in &report.moved {
        let then = if *to == State::Deactivated { " and still opens what it protected" } else { "" };
        if from == to {
            writeln!(out, "{line}: {kid} is {to} already")?;
        } else {
            writeln!(out, "{line}: {kid} is {to}{then}")?;
            changed = true;
        }
    }
    for (line, kid) in &report.made {
        writeln!(out, "{line}: {kid} is active in its place")?;
    }
    let (ring, revision) = (&change.config.ring, report.revision);
    if changed {
        writeln!(out, "{ring} revision {revision}")?;
        return Ok(Told::Moves);
    }
    writeln!(out, "{ring} revision {revision} stays: there was nothing to do.")?;
    Ok(Told::Whole)
}

fn after_activation(line: &LineName, out: &mut dyn Write) -> io::Result<()> {
    match line {
        LineName::Pseudonym(scope) => {
            writeln!(out, "Pseudonyms of {scope} change: those given out from now on do not link to those given out before.")
        }
        LineName::Audit => writeln!(out, "The audit log begins a new segment under it at the next start."),
        LineName::Seal | LineName::Lookup | LineName::Token => Ok(()),
    }
}

fn after_compromise(line: &LineName, out: &mut dyn Write) -> io::Result<()> {
    match line {
        LineName::Seal => writeln!(
            out,
            "seal: what it protects is shown to nobody until it is sealed anew (`sudare keys rewrap --names FILE`): a read answers 500 key-compromised, and the audit log has an alarm."
        ),
        LineName::Token => writeln!(
            out,
            "token: what stands under it in the vault is shown to nobody until it is sealed anew (`sudare keys rewrap --names FILE`): a read answers 500 key-compromised, and the audit log has an alarm."
        ),
        LineName::Lookup => writeln!(
            out,
            "lookup: what it protects is shown to nobody, and no search finds it, until it is sealed anew (`sudare keys rewrap --names FILE`): a read answers 500 key-compromised, and the audit log has an alarm."
        ),
        LineName::Audit => writeln!(
            out,
            "audit: restart `sudare serve` now, for until then it goes on writing under the old version. Against whoever knows that, only checkpoints kept elsewhere prove what stands in the log."
        ),
        LineName::Pseudonym(scope) => writeln!(
            out,
            "Pseudonyms of {scope} change: those given out from now on do not link to those given out before, against which whoever knows the old key can test guesses."
        ),
    }
}

fn serve_learns(ring: &Place, out: &mut dyn Write) -> io::Result<()> {
    if ring.is_store() {
        return writeln!(out, "Every running `sudare serve` takes it by itself within seconds.");
    }
    writeln!(out, "A running `sudare serve` takes it at SIGHUP, or by itself within seconds (unless [reload] poll_ms is 0).")
}
