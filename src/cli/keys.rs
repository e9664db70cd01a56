//! `sudare keys init · list · rotate · verify`: what operators do to the key ring, and what they are told.
//!
//! Always holds: no secret is printed, in any format; what is not done is an error, never a line of output. The command line
//! calls these with standard output and turns the answer into an exit code: an error is 1, `false` (unsound) is 1, else 0.

use std::io::{self, Write};
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::policy::Format;
use crate::base::Clock;
use crate::keys::{self, Config, Kek, KeyError, LineName, ParseLineError, VerifyReport, VersionInfo};

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
    let ring = config.ring.display();
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

/// Lists lines and versions.
///
/// # Errors
///
/// As [`keys::verify`]; output that cannot be written.
pub fn list(config: &Config, format: Format, out: &mut dyn Write) -> Result<(), KeysCommandError> {
    let report = keys::verify(config)?;
    match format {
        Format::Json => writeln!(out, "{:#}", as_json(&report, false))?,
        Format::Table => {
            headline(&report, &config.ring, out)?;
            table(&report, false, out)?;
        }
    }
    Ok(())
}

/// Gives a line (`seal`, `lookup`, `token`, `audit`, `pseudonym/<scope>`) a new Active version.
///
/// # Errors
///
/// A word that is no line; as [`keys::rotate`]; output that cannot be written.
pub fn rotate(
    config: &Config,
    line: &str,
    clock: &dyn Clock,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), KeysCommandError> {
    let name: LineName = line.parse().map_err(|error| KeysCommandError::Line { word: line.to_string(), error })?;
    let report = keys::rotate(config, &name, clock)?;
    if format == Format::Json {
        let deactivated = report.deactivated.map(|kid| kid.to_string());
        let all = json!({ "line": name.to_string(), "active": report.active.to_string(), "deactivated": deactivated, "revision": report.revision });
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
    let (active, revision) = (report.active, report.revision);
    writeln!(out, "{name}: {active} is active; {} revision {revision}", config.ring.display())?;
    if let Some(old) = report.deactivated {
        writeln!(out, "{name}: {old} is deactivated and still opens what it protected")?;
    }
    match name {
        LineName::Pseudonym(scope) => {
            writeln!(out, "Pseudonyms of {scope} change: those given out from now on do not link to those given out before.")?;
        }
        LineName::Audit => writeln!(out, "The audit log begins a new segment under it at the next start.")?,
        LineName::Seal | LineName::Lookup | LineName::Token => {}
    }
    writeln!(out, "A running `sudare serve` learns of it by SIGHUP or a restart.")?;
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
            table(&report, true, out)?;
            let all = report.versions.len();
            let bad = report.versions.iter().filter(|(_, found)| found.is_err()).count();
            if bad == 0 {
                writeln!(out, "sound: the manifest is authentic, {all} of {all} versions unwrap and match their commitments")?;
            } else {
                writeln!(out, "NOT sound: {bad} of {all} versions. No node opens this ring; put it back from your backup")?;
            }
        }
    }
    Ok(report.sound())
}

fn headline(report: &VerifyReport, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    let VerifyReport { controller, ring, revision, written_ms, .. } = report;
    writeln!(
        out,
        "{}: controller {controller}, ring {ring}, revision {revision}, written {}",
        path.display(),
        time(Some(*written_ms))
    )
}

fn table(report: &VerifyReport, checked: bool, out: &mut dyn Write) -> io::Result<()> {
    let width = report.versions.iter().map(|(version, _)| version.line.to_string().len()).max().unwrap_or(0).max(4);
    let last = if checked { "found" } else { "" };
    writeln!(
        out,
        "{}",
        format!(
            "{:width$}  {:8}  {:11}  {:24}  {:24}  {:24}  {last}",
            "line", "kid", "state", "created", "activated", "deactivated"
        )
        .trim_end()
    )?;
    for (version, found) in &report.versions {
        let VersionInfo { line, kid, state, created_ms, activated_ms, deactivated_ms, .. } = version;
        let (created, activated, deactivated) = (time(Some(*created_ms)), time(*activated_ms), time(*deactivated_ms));
        let last = match found {
            Ok(()) if checked => "ok",
            Ok(()) => "",
            Err(why) => why,
        };
        let kid = kid.as_str();
        writeln!(
            out,
            "{}",
            format!("{line:width$}  {kid:8}  {state:11}  {created:24}  {activated:24}  {deactivated:24}  {last}").trim_end()
        )?;
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

/// RFC 3339 in UTC; a dash for what has not happened.
fn time(ms: Option<u64>) -> String {
    let time = ms.and_then(|ms| i64::try_from(ms).ok()).and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "–".to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Controller, FixedClock};

    const NOON: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z

    fn config(dir: &Path) -> Config {
        Config {
            controller: Controller::new("shop"),
            ring: dir.join("ring.json"),
            kek: Kek::File(dir.join("kek")),
            min_revision: 0,
        }
    }

    /// What a command prints, with the folder taken out and each key id named after its place in `versions`.
    fn printed(dir: &Path, run: impl FnOnce(&Config, &mut dyn Write)) -> String {
        let mut out = Vec::new();
        run(&config(dir), &mut out);
        let mut text = String::from_utf8(out).unwrap().replace(&format!("{}/", dir.display()), "");
        for (number, (version, _)) in keys::verify(&config(dir)).unwrap().versions.iter().enumerate() {
            text = text.replace(version.kid.as_str(), &format!("kid0000{number}"));
        }
        text
    }

    #[test]
    fn an_operator_reads_what_was_done() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let clock = FixedClock::at(NOON);
        let first = printed(dir, |config, out| init(config, &["marketing".to_string()], &clock, Format::Table, out).unwrap());
        assert_eq!(
            first,
            "made kek: the key-encryption key. Back it up, apart from the ring: without it no value can be opened.\n\
             made ring.json, revision 1:\n  kid00000  seal\n  kid00001  lookup\n  kid00002  token\n  kid00003  audit\n  kid00004  pseudonym/marketing\n"
        );
        let second = printed(dir, |config, out| init(config, &[], &clock, Format::Table, out).unwrap());
        assert_eq!(second, "ring.json has every line already; revision 1 stays.\n");
        clock.set(NOON + 90_500);
        let rotated = printed(dir, |config, out| rotate(config, "seal", &clock, Format::Table, out).unwrap());
        assert_eq!(
            rotated,
            "seal: kid00001 is active; ring.json revision 2\nseal: kid00000 is deactivated and still opens what it protected\n\
             A running `sudare serve` learns of it by SIGHUP or a restart.\n"
        );
        let listed = printed(dir, |config, out| list(config, Format::Table, out).unwrap());
        let lines: Vec<&str> = listed.lines().collect();
        assert_eq!(lines.first(), Some(&"ring.json: controller shop, ring main, revision 2, written 2026-11-22T12:01:30.5Z"));
        assert_eq!(
            lines.get(1..4).unwrap(),
            [
                "line                 kid       state        created                   activated                 deactivated",
                "seal                 kid00000  deactivated  2026-11-22T12:00:00Z      2026-11-22T12:00:00Z      2026-11-22T12:01:30.5Z",
                "seal                 kid00001  active       2026-11-22T12:01:30.5Z    2026-11-22T12:01:30.5Z    –",
            ]
        );
        let verified = printed(dir, |config, out| assert!(verify(config, Format::Table, out).unwrap()));
        assert!(
            verified.ends_with("sound: the manifest is authentic, 6 of 6 versions unwrap and match their commitments\n"),
            "{verified}"
        );
        assert_eq!(verified.matches("  ok\n").count(), 6);
    }

    #[test]
    fn json_says_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let clock = FixedClock::at(NOON);
        let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let made = json(printed(dir, |config, out| init(config, &[], &clock, Format::Json, out).unwrap()));
        assert_eq!((&made["kek_made"], &made["revision"], &made["added"][3]["line"]), (&true.into(), &1.into(), &"audit".into()));
        let rotated = json(printed(dir, |config, out| rotate(config, "audit", &clock, Format::Json, out).unwrap()));
        assert_eq!(rotated, json!({ "line": "audit", "active": "kid00004", "deactivated": "kid00003", "revision": 2 }));
        let listed = json(printed(dir, |config, out| list(config, Format::Json, out).unwrap()));
        assert_eq!((&listed["versions"][4]["state"], &listed["versions"][4]["destroyed"]), (&"active".into(), &Value::Null));
        assert!(listed.get("sound").is_none());
        let verified = json(printed(dir, |config, out| assert!(verify(config, Format::Json, out).unwrap())));
        assert_eq!((&verified["sound"], &verified["versions"][0]["found"]), (&true.into(), &"ok".into()));
    }

    #[test]
    fn a_word_that_is_no_line_is_a_mistake_of_usage() {
        let dir = tempfile::tempdir().unwrap();
        let error = rotate(&config(dir.path()), "seals", &FixedClock::at(NOON), Format::Table, &mut Vec::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"seals\" is not a line of a key ring: use seal, lookup, token, audit or pseudonym/<scope>"
        );
        assert!(matches!(error, KeysCommandError::Line { .. }));
    }
}
