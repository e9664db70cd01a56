//! `sudare keys init · list · verify`, and the commands that move versions (`change`), count what hangs on them (`census`) and end them
//! (`ending`): what operators do to the key ring, and what they are told.
//!
//! Always holds: no secret is printed, in any format; what is not done is an error, never a line of output. The command line
//! calls these with standard output and turns the answer into an exit code: an error is 1, `false` (unsound) is 1, else 0.

pub(super) mod census;
mod change;
mod change_kek;
pub(super) mod ending;
mod fleet;
mod relocate;
pub(super) mod rewrap;
mod several;
pub(super) mod table;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
#[cfg(test)]
use std::path::Path;

use serde_json::{Value, json};

use super::policy::Format;
use crate::base::Clock;
use crate::keys::{self, Config, Kek, KeyError, ParseLineError, Place, State, VerifyReport, VersionInfo};

pub use change::{activate, compromise, deactivate, publish, rotate};
pub use change_kek::change_kek;
pub use fleet::{activate_everywhere, compromise_everywhere, nodes, rotate_everywhere};
pub use relocate::{copy, relocate};
pub use several::{Several, note_of};
pub use table::Versions;
use table::{table, time};

/// Why a key command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysCommandError {
    /// Exit code 2.
    #[error("{word:?} is {error}")]
    Line {
        /// What was written.
        word: String,
        /// What should have been.
        error: ParseLineError,
    },
    /// Exit code 1.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Exit code 1: some node does not have the version, so it was not activated.
    #[error("{0}")]
    NotEverywhere(String),
    /// Exit code 1: the ring is changed, and some node does not have it yet.
    #[error("{0}")]
    NotInForce(String),
    /// Exit code 1.
    #[error("cannot print the answer: {0}")]
    Print(#[from] io::Error),
}

/// Makes what is absent and says what that was.
///
/// # Errors
///
/// As [`keys::init`]; output that cannot be written.
pub fn init(
    config: &Config,
    scopes: &[String],
    clock: &dyn Clock,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), KeysCommandError> {
    let report = keys::init(config, scopes, clock)?;
    let ring = &config.ring;
    if format == Format::Json {
        let added: Vec<Value> =
            report.added.iter().map(|(line, kid)| json!({ "line": line.to_string(), "kid": kid.to_string() })).collect();
        let all =
            json!({ "kek_made": report.kek_made, "ring_made": report.ring_made, "revision": report.revision, "added": added });
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
    if let (true, Kek::File(kek)) = (report.kek_made, &config.kek) {
        writeln!(
            out,
            "made {}: the key-encryption key. Back it up, apart from the ring: without it no value can be opened.",
            kek.display()
        )?;
    }
    if report.added.is_empty() {
        writeln!(out, "{ring} has every line already; revision {} stays.", report.revision)?;
        return Ok(());
    }
    writeln!(out, "{} {ring}, revision {}:", if report.ring_made { "made" } else { "added to" }, report.revision)?;
    for (line, kid) in &report.added {
        writeln!(out, "  {kid}  {line}")?;
    }
    Ok(())
}

/// Lists lines and versions; in JSON always all of them.
///
/// # Errors
///
/// As [`keys::verify`]; output that cannot be written.
pub fn list(config: &Config, which: Versions, format: Format, out: &mut dyn Write) -> Result<(), KeysCommandError> {
    let report = keys::verify(config)?;
    match format {
        Format::Json => writeln!(out, "{:#}", as_json(&report, false))?,
        Format::Table => {
            headline(&report, &config.ring, out)?;
            table(&report, which, false, out)?;
        }
    }
    Ok(())
}

/// Checks the ring and every version of it. True if all is sound.
///
/// # Errors
///
/// As [`keys::verify`]; output that cannot be written.
pub fn verify(config: &Config, format: Format, out: &mut dyn Write) -> Result<bool, KeysCommandError> {
    let report = keys::verify(config)?;
    match format {
        Format::Json => writeln!(out, "{:#}", as_json(&report, true))?,
        Format::Table => {
            headline(&report, &config.ring, out)?;
            table(&report, Versions::All, true, out)?;
            let all = report.versions.len();
            let bad = report.versions.iter().filter(|(_, found)| found.is_err()).count();
            if bad == 0 {
                writeln!(out, "sound: the manifest is authentic, {all} of {all} versions unwrap and match their commitments")?;
                notes(&report, out)?;
            } else {
                writeln!(out, "NOT sound: {bad} of {all} versions. No node opens this ring; put it back from your backup")?;
            }
        }
    }
    Ok(report.sound())
}

fn headline(report: &VerifyReport, place: &Place, out: &mut dyn Write) -> io::Result<()> {
    let VerifyReport { controller, ring, revision, written_ms, .. } = report;
    writeln!(out, "{place}: controller {controller}, ring {ring}, revision {revision}, written {}", time(Some(*written_ms)))
}

/// What is sound and still waits for somebody.
fn notes(report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    let in_state = |state| {
        let versions = report.versions.iter().map(|(version, _)| version).filter(move |version| version.state == state);
        versions.map(|version| format!("{} ({})", version.kid, version.line)).collect::<Vec<_>>().join(", ")
    };
    let (waiting, compromised) = (in_state(State::PreActive), in_state(State::Compromised));
    if !waiting.is_empty() {
        writeln!(out, "note: published and not active yet: {waiting}")?;
    }
    if !compromised.is_empty() {
        writeln!(out, "note: compromised: {compromised}; what they protect is shown to nobody until it is written anew")?;
    }
    Ok(())
}

fn as_json(report: &VerifyReport, checked: bool) -> Value {
    let version = |(version, found): &(VersionInfo, Result<(), &'static str>)| {
        let stamp = |ms: Option<u64>| ms.map(|ms| time(Some(ms)));
        let mut json = json!({
            "line": version.line.to_string(),
            "kid": version.kid.to_string(),
            "state": version.state.to_string(),
            "protects": version.state.protects(),
            "opens": version.state.opens_to_reveal(),
            "opens_for_upkeep": version.state.opens_for_upkeep(),
            "created": stamp(Some(version.created_ms)),
            "activated": stamp(version.activated_ms),
            "deactivated": stamp(version.deactivated_ms),
            "compromised": stamp(version.compromised_ms),
            "destroyed": stamp(version.destroyed_ms),
        });
        if let (true, Some(members)) = (checked, json.as_object_mut()) {
            members.insert("found".to_string(), found.map_or_else(Value::from, |()| Value::from("ok")));
        }
        json
    };
    let versions: Vec<Value> = report.versions.iter().map(version).collect();
    let mut all = json!({
        "controller": report.controller,
        "ring": report.ring,
        "revision": report.revision,
        "written": time(Some(report.written_ms)),
        "versions": versions,
    });
    if let (true, Some(members)) = (checked, all.as_object_mut()) {
        members.insert("sound".to_string(), report.sound().into());
    }
    all
}
