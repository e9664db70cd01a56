//! The table of versions that `keys list` and `keys verify` print: one line each, a column for a time only where it is needed.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::keys::{State, VerifyReport, VersionInfo};

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

/// Prints it; with what was found of each version if `checked`.
pub(super) fn table(report: &VerifyReport, checked: bool, out: &mut dyn Write) -> io::Result<()> {
    let versions = || report.versions.iter().map(|(version, _)| version);
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
    for (row, (_, found)) in report.versions.iter().enumerate() {
        let last = match found {
            Ok(()) if checked => "ok",
            Ok(()) => "",
            Err(why) => why,
        };
        line(&mut columns.iter().map(|(_, cells)| cells.get(row).map_or("", String::as_str)), last)?;
    }
    Ok(())
}

/// RFC 3339 in UTC; a dash for what has not happened.
pub(super) fn time(ms: Option<u64>) -> String {
    let time = ms.and_then(|ms| i64::try_from(ms).ok()).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "–".to_string(), |time| time.to_string())
}
