//! The table of versions that `keys list` and `keys verify` print: one line each, a column for a time only where it is needed.

use std::io::{self, Write};

use jiff::Timestamp;

use super::super::meter::thousands;
use crate::keys::{LineName, State, VerifyReport, VersionInfo};

/// One column: its head, and what stands in it for a version.
type Column = (&'static str, fn(&VersionInfo) -> String);

const ALWAYS: [Column; 7] = [
    ("line", |version| version.line.to_string()),
    ("kid", |version| version.kid.to_string()),
    ("state", |version| version.state.to_string()),
    ("may", |version| may(version.state).to_owned()),
    ("created", |version| time(Some(version.created_ms))),
    ("activated", |version| time(version.activated_ms)),
    ("deactivated", |version| time(version.deactivated_ms)),
];
const COMPROMISED: Column = ("compromised", |version| time(version.compromised_ms));
const DESTROYED: Column = ("destroyed", |version| time(version.destroyed_ms));

/// What a version in this state may do, in the words of the table.
fn may(state: State) -> &'static str {
    match state {
        State::Active => "protect, open",
        State::PreActive | State::Deactivated => "open",
        State::Compromised => "upkeep only",
        State::Destroyed => "nothing",
    }
}

/// Which versions are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Those that open something, or protect: what an operator can still do something about. Destroyed ones are counted.
    Live,
    /// Every one.
    All,
}

/// Prints it; with what was found of each version if `checked`.
pub(super) fn table(report: &VerifyReport, which: Versions, checked: bool, out: &mut dyn Write) -> io::Result<()> {
    let shown: Vec<_> = report
        .versions
        .iter()
        .filter(|(version, found)| which == Versions::All || version.state != State::Destroyed || found.is_err())
        .collect();
    let versions = || shown.iter().map(|(version, _)| version);
    let mut columns = ALWAYS.to_vec();
    if versions().any(|version| version.compromised_ms.is_some()) {
        columns.push(COMPROMISED);
    }
    if versions().any(|version| version.destroyed_ms.is_some()) {
        columns.push(DESTROYED);
    }
    let columns: Vec<(&str, Vec<String>)> =
        columns.into_iter().map(|(head, cell)| (head, versions().map(cell).collect())).collect();
    let widths: Vec<usize> =
        columns.iter().map(|(head, cells)| cells.iter().map(|cell| cell.chars().count()).fold(head.len(), usize::max)).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>, last: &str| {
        let mut cells: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.push(last.to_owned());
        writeln!(out, "{}", cells.join("  ").trim_end())
    };
    line(&mut columns.iter().map(|(head, _)| *head), if checked { "found" } else { "" })?;
    for (row, (_, found)) in shown.iter().enumerate() {
        let last = match found {
            Ok(()) if checked => "ok",
            Ok(()) => "",
            Err(why) => why,
        };
        line(&mut columns.iter().map(|(_, cells)| cells.get(row).map_or("", String::as_str)), last)?;
    }
    summed_up(report, report.versions.len() - shown.len(), out)
}

/// The destroyed versions that are not shown: how many of each line, and when the last one went.
fn summed_up(report: &VerifyReport, hidden: usize, out: &mut dyn Write) -> io::Result<()> {
    if hidden == 0 {
        return Ok(());
    }
    let gone = || report.versions.iter().map(|(version, _)| version).filter(|version| version.state == State::Destroyed);
    let mut lines: Vec<(&LineName, u64)> = Vec::new();
    for version in gone() {
        match lines.iter_mut().find(|(line, _)| **line == version.line) {
            Some((_, count)) => *count += 1,
            None => lines.push((&version.line, 1)),
        }
    }
    let lines: Vec<String> = lines.into_iter().map(|(line, count)| format!("{line} {}", thousands(count))).collect();
    let last = gone().filter_map(|version| version.destroyed_ms).max();
    writeln!(out, "destroyed, not shown: {} (the last one {}); --all shows them", lines.join(", "), time(last))
}

/// Rows in columns as wide as they need.
pub(in super::super) fn columns(heads: &[&str], rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
    let width = |column: usize, head: &str| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).fold(head.len(), usize::max)
    };
    let widths: Vec<usize> = heads.iter().enumerate().map(|(column, head)| width(column, head)).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())
    };
    line(&mut heads.iter().copied())?;
    rows.iter().try_for_each(|row| line(&mut row.iter().map(String::as_str)))
}

/// RFC 3339 in UTC; a dash for what has not happened.
pub(in super::super) fn time(ms: Option<u64>) -> String {
    let time = ms.and_then(|ms| i64::try_from(ms).ok()).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "–".to_string(), |time| time.to_string())
}
