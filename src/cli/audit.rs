//! `sudare audit tail · verify · report · checkpoint · key`: read the log, prove it, ask it, and let others hold it to its word.
//!
//! Always holds: what is printed comes from the log alone and so holds no value and no data subject's id; `report` proves the
//! whole log while it reads, and says at its end whether it is sound. The command line calls these with standard output and
//! turns the answer into an exit code: an error is 1, `false` (not sound) is 1, else 0.
//!
//! JSON output of events is JSON Lines, so that a long answer can be read as it comes; `report` ends with one line that is no
//! event: `{"sound":…}`, as `verify` prints it.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::policy::Format;
use crate::audit::{self, AuditError, CheckpointFinding, Checkpoints, Entry, Filter, Finding, Given, VerifyError, VerifyReport};

/// Why an audit command could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditCommandError {
    /// Exit code 1.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Exit code 1. Nothing is signed that is not sound.
    #[error("{0}: see `sudare audit verify`")]
    NotSound(VerifyError),
    /// Exit code 1.
    #[error("cannot print the answer: {0}")]
    Print(#[from] io::Error),
}

/// Prints the last `count` events, oldest first. Proves nothing and needs no key.
///
/// # Errors
///
/// As [`audit::tail`]; output that cannot be written.
pub fn tail(dir: &Path, count: usize, format: Format, out: &mut dyn Write) -> Result<(), AuditCommandError> {
    for entry in audit::tail(dir, count)? {
        event(&entry, format, out)?;
    }
    Ok(())
}

/// So many events, the newest, are looked at for purposes.
const LOOKED_AT: usize = 1_000_000;

/// Purposes under which something was shown, by the newest events of a log. Proves nothing and needs no key.
///
/// # Errors
///
/// As [`audit::tail`].
pub fn purposes(dir: &Path) -> Result<Vec<String>, AuditCommandError> {
    let shown = audit::tail(dir, LOOKED_AT)?.into_iter().filter(|entry| !entry.shown.is_empty());
    let seen: std::collections::BTreeSet<String> = shown.filter_map(|entry| entry.body.purpose).collect();
    Ok(seen.into_iter().collect())
}

/// Proves a whole log, and holds it against its checkpoints. True if it is sound; what was found otherwise is printed.
///
/// # Errors
///
/// A log that cannot be read; output that cannot be written.
pub fn verify(
    dir: &Path,
    keys: &[audit::Key],
    given: &Given,
    format: Format,
    out: &mut dyn Write,
) -> Result<bool, AuditCommandError> {
    outcome(audit::verify(dir, keys, given), format, out)
}

/// As [`verify`], by verifier keys alone.
///
/// # Errors
///
/// As [`verify`].
pub fn verify_as_outsider(dir: &Path, given: &Given, format: Format, out: &mut dyn Write) -> Result<bool, AuditCommandError> {
    outcome(audit::verify_as_outsider(dir, given), format, out)
}

/// Proves the log and prints a checkpoint of it, to be kept where the log's administrator cannot write.
///
/// # Errors
///
/// [`AuditCommandError::NotSound`]; a log that cannot be read; output that cannot be written.
pub fn checkpoint(dir: &Path, keys: &[audit::Key], out: &mut dyn Write) -> Result<(), AuditCommandError> {
    let note = audit::checkpoint(dir, keys).map_err(AuditCommandError::of)?;
    write!(out, "{note}")?;
    Ok(())
}

/// Proves the log and prints the verifier keys of its checkpoints, that of the Active version first.
///
/// # Errors
///
/// As [`checkpoint`].
pub fn key(dir: &Path, keys: &[audit::Key], format: Format, out: &mut dyn Write) -> Result<(), AuditCommandError> {
    let verifiers = audit::verifier_keys(dir, keys).map_err(AuditCommandError::of)?;
    match format {
        Format::Table => verifiers.iter().try_for_each(|key| writeln!(out, "{key}"))?,
        Format::Json => writeln!(out, "{}", Value::from(verifiers.iter().map(ToString::to_string).collect::<Vec<_>>()))?,
    }
    Ok(())
}

impl AuditCommandError {
    fn of(error: VerifyError) -> Self {
        if let VerifyError::Unreadable(error) = error { Self::Audit(error) } else { Self::NotSound(error) }
    }
}

/// Prints every event that fits, then whether the log is sound. True if it is.
///
/// # Errors
///
/// A log that cannot be read; output that cannot be written.
pub fn report(
    dir: &Path,
    keys: &[audit::Key],
    filter: &Filter,
    format: Format,
    out: &mut dyn Write,
) -> Result<bool, AuditCommandError> {
    let (shown, found) = events(dir, keys, filter, &mut |_entry| true, format, out)?;
    if format == Format::Table {
        writeln!(out, "{}", count(shown, "event fits", "events fit"))?;
    }
    outcome(found, format, out)
}

/// Prints the events that fit and are `wanted`: how many, and whether the log is sound.
fn events(
    dir: &Path,
    keys: &[audit::Key],
    filter: &Filter,
    wanted: &mut dyn FnMut(&Entry) -> bool,
    format: Format,
    out: &mut dyn Write,
) -> Result<(u64, Result<VerifyReport, VerifyError>), AuditCommandError> {
    let (mut shown, mut printed) = (0_u64, Ok(()));
    let found = audit::report(dir, keys, filter, &mut |entry| {
        if wanted(entry) && printed.is_ok() {
            printed = event(entry, format, out);
            shown += 1;
        }
    });
    printed?;
    if let Err(VerifyError::Unreadable(error)) = found {
        return Err(error.into());
    }
    Ok((shown, found))
}

/// What may be said of an exception to a person whom it names.
pub struct Explained {
    /// For people, in lines.
    pub text: String,
    /// For machines.
    pub json: Value,
}

/// As [`report`], to be given to the data subject it is about: `explain` says what may be said of an exception, or that nothing may; then no
/// event under it is shown. What operators did to bring one about is theirs.
///
/// # Errors
///
/// As [`report`].
pub fn handed_out(
    dir: &Path,
    keys: &[audit::Key],
    filter: &Filter,
    explain: &dyn Fn(&str) -> Option<Explained>,
    format: Format,
    out: &mut dyn Write,
) -> Result<bool, AuditCommandError> {
    let mut under: Vec<(String, Option<Explained>)> = Vec::new();
    let mut wanted = |entry: &Entry| {
        let Some(id) = &entry.exception else { return true };
        if !under.iter().any(|(known, _)| known == id) {
            under.push((id.clone(), explain(id)));
        }
        let told = under.iter().any(|(known, told)| known == id && told.is_some());
        told && entry.kind != audit::Kind::Exception.as_str()
    };
    let (shown, found) = events(dir, keys, filter, &mut wanted, format, out)?;
    for Explained { text, json } in under.iter().filter_map(|(_, told)| told.as_ref()) {
        match format {
            Format::Table => writeln!(out, "{text}")?,
            Format::Json => writeln!(out, "{}", json!({ "exception": json }))?,
        }
    }
    if format == Format::Table {
        writeln!(out, "{}", count(shown, "event fits", "events fit"))?;
    }
    let withheld = under.iter().filter(|(_, told)| told.is_none()).count();
    if withheld > 0 {
        // Not on standard output, which is handed out.
        let these = count(u64::try_from(withheld).unwrap_or(u64::MAX), "exception is", "exceptions are");
        super::complain(&format!("note: {these} left out, for it may not be told yet (`sudare exception list`)"));
    }
    outcome(found, format, out)
}

fn event(entry: &Entry, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Table => writeln!(out, "{entry}"),
        Format::Json => {
            serde_json::to_writer(&mut *out, entry)?;
            writeln!(out)
        }
    }
}

pub(super) fn outcome(
    found: Result<VerifyReport, VerifyError>,
    format: Format,
    out: &mut dyn Write,
) -> Result<bool, AuditCommandError> {
    let is_sound = found.is_ok();
    match (found, format) {
        (Ok(report), Format::Table) => sound(&report, out)?,
        (Ok(report), Format::Json) => writeln!(out, "{}", report_json(&report))?,
        (Err(VerifyError::Found(finding)), Format::Table) => {
            writeln!(out, "NOT intact: {finding}. Nothing after this place is to be believed.")?;
        }
        (Err(VerifyError::Found(finding)), Format::Json) => writeln!(out, "{}", finding_json(&finding))?,
        (Err(VerifyError::Checkpoints(findings)), Format::Table) => {
            let accused = findings.iter().any(CheckpointFinding::is_about_the_log);
            for finding in findings {
                writeln!(out, "NOT intact: {finding}")?;
            }
            let judgement = if accused {
                "but it is not what it was: whoever changed it had its keys, or a copy of it."
            } else {
                "and these checkpoints prove nothing of it: look where they come from."
            };
            writeln!(out, "The log is sound in itself, {judgement}")?;
        }
        (Err(VerifyError::Checkpoints(findings)), Format::Json) => writeln!(out, "{}", findings_json(&findings))?,
        (Err(error @ VerifyError::NoCheckpoint), Format::Table) => writeln!(out, "NOT proved: {error}")?,
        (Err(error @ VerifyError::NoCheckpoint), Format::Json) => {
            writeln!(out, "{}", json!({ "sound": false, "found": error.to_string() }))?;
        }
        (Err(VerifyError::Unreadable(error)), _) => return Err(error.into()),
    }
    Ok(is_sound)
}

fn sound(report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    let VerifyReport { events, segments, after_head, torn_bytes, by_chain_only, checkpoints, unproved } = report;
    writeln!(out, "{} in {}, chain intact", count(*events, "event", "events"), count(*segments, "segment", "segments"))?;
    if *after_head > 0 {
        writeln!(
            out,
            "{} after the head: written meanwhile, or just before a power failure; authentic",
            count(*after_head, "event", "events")
        )?;
    }
    if *torn_bytes > 0 {
        writeln!(
            out,
            "{} of an unfinished line at the end: being written, or left by a crash; no event",
            count(*torn_bytes, "byte", "bytes")
        )?;
    }
    if !by_chain_only.is_empty() {
        let these: Vec<String> = by_chain_only.iter().map(u64::to_string).collect();
        writeln!(out, "segments without their key, held by the chain alone: {}", these.join(", "))?;
    }
    held(checkpoints, out)?;
    if *unproved > 0 {
        let these = count(*unproved, "event", "events");
        writeln!(out, "{these} after the newest checkpoint: without the key ring nothing can be said of them")?;
    }
    Ok(())
}

fn held(checkpoints: &Checkpoints, out: &mut dyn Write) -> io::Result<()> {
    let Checkpoints { stored, given, unsigned, newest, unfinished } = checkpoints;
    let all = count(stored + given, "checkpoint agrees", "checkpoints agree");
    if let Some((event, time)) = newest {
        let given = if *given > 0 { format!(", {given} of them given") } else { String::new() };
        writeln!(out, "{all}{given}; the newest is of event {event}, {time}")?;
    }
    if *unsigned > 0 {
        writeln!(out, "{} under keys that are gone: give their verifier keys with --key", count(*unsigned, "is", "are"))?;
    }
    if *unfinished {
        writeln!(out, "an unfinished checkpoint at the end: being written, or left by a crash")?;
    }
    Ok(())
}

fn report_json(report: &VerifyReport) -> Value {
    json!({
        "sound": true,
        "events": report.events,
        "segments": report.segments,
        "after_head": report.after_head,
        "torn_bytes": report.torn_bytes,
        "by_chain_only": report.by_chain_only,
        "checkpoints": {
            "stored": report.checkpoints.stored,
            "given": report.checkpoints.given,
            "unsigned": report.checkpoints.unsigned,
            "newest": report.checkpoints.newest.as_ref().map(|(event, _)| event),
            "unfinished": report.checkpoints.unfinished,
        },
        "unproved": report.unproved,
    })
}

fn findings_json(findings: &[CheckpointFinding]) -> Value {
    let found: Vec<Value> =
        findings.iter().map(|finding| json!({ "checkpoint": finding.place, "found": finding.to_string() })).collect();
    json!({ "sound": false, "checkpoints": found })
}

fn finding_json(finding: &Finding) -> Value {
    json!({ "sound": false, "segment": finding.segment, "line": finding.line, "event": finding.seq, "found": finding.to_string() })
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::audit::{Config, Event, Kind, Log};
    use crate::base::{CallerName, CategoryName, Controller, FixedClock, PurposeName, RecordId};
    use crate::crypto::{MacKey, Secret, SigningKey};
    use crate::purpose::Level;

    fn keys() -> Vec<audit::Key> {
        let (mac, signer) = (Secret::from_bytes([1; 32]), Secret::from_bytes([2; 32]));
        vec![("00000001".parse().unwrap(), Arc::new(MacKey::new(&mac)), Arc::new(SigningKey::new(&signer)))]
    }

    /// A log of a start, two reveals of `c-1` and a stop.
    fn log(dir: &Path) {
        let config = Config {
            dir: dir.to_path_buf(),
            controller: Controller::new("shop"),
            durable_timeout: Duration::from_secs(20),
            segment_bytes: 1 << 20,
            checkpoint_every: Duration::from_mins(10),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let log = Log::open(&config, keys(), Arc::new(FixedClock::at(1_795_348_800_000))).unwrap();
            for (caller, purpose, level) in [("shipping", "delivery", Level::Clear), ("analyst", "statistics", Level::Pseudonym)]
            {
                let event = Event {
                    caller: Some(CallerName::new(caller)),
                    purpose: Some(PurposeName::new(purpose)),
                    subjects: vec![RecordId::from_text("c-1").unwrap()],
                    shown: vec![(CategoryName::new("name"), level, 1)],
                    ..Event::new(Kind::Reveal, 1)
                };
                log.record(event).await.unwrap();
            }
            log.close().await;
        });
    }

    fn printed(run: impl FnOnce(&mut dyn Write)) -> String {
        let mut out = Vec::new();
        run(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_officer_reads_who_saw_what_and_that_the_log_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("audit");
        log(&dir);
        let filter = Filter { subject: Some(RecordId::from_text("c-1").unwrap()), ..Filter::default() };
        let text = printed(|out| assert!(report(&dir, &keys(), &filter, Format::Table, out).unwrap()));
        let start = text.find("psn1_").and_then(|at| text.get(at..at + 9)).unwrap().to_string();
        assert_eq!(
            text.replace(&start, "psn1_abcd"),
            "#2 2026-11-22T12:00:00Z shipping for delivery psn1_abcd…: name clear\n\
             #3 2026-11-22T12:00:00Z analyst for statistics psn1_abcd…: name pseudonym\n\
             2 events fit\n4 events in 1 segment, chain intact\n\
             2 checkpoints agree; the newest is of event 4, 2026-11-22T12:00:00Z\n"
        );
        assert_eq!(
            printed(|out| assert!(verify(&dir, &keys(), &Given::default(), Format::Table, out).unwrap())),
            "4 events in 1 segment, chain intact\n2 checkpoints agree; the newest is of event 4, 2026-11-22T12:00:00Z\n"
        );
        assert_eq!(printed(|out| tail(&dir, 1, Format::Table, out).unwrap()), "#4 2026-11-22T12:00:00Z stop\n");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("audit");
        log(&dir);
        let text = printed(|out| assert!(report(&dir, &keys(), &Filter::default(), Format::Json, out).unwrap()));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 5);
        assert_eq!(
            (&lines[1]["seq"], &lines[1]["caller"], &lines[1]["shown"]["clear"]["name"]),
            (&2.into(), &"shipping".into(), &1.into())
        );
        assert_eq!((&lines[4]["sound"], &lines[4]["events"]), (&true.into(), &4.into()));
    }

    #[test]
    fn a_changed_log_is_said_so_in_both_formats() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("audit");
        log(&dir);
        let path = dir.join("00000001.jsonl");
        let text = fs::read_to_string(&path).unwrap().replace("\"analyst\"", "\"auditor\"");
        fs::write(&path, text).unwrap();
        let text = printed(|out| assert!(!verify(&dir, &keys(), &Given::default(), Format::Table, out).unwrap()));
        assert_eq!(
            text,
            "NOT intact: 00000001.jsonl:4 (event 3): changed, or inserted by somebody without the audit key: its MAC does not fit. \
             Nothing after this place is to be believed.\n"
        );
        let json: Value =
            serde_json::from_str(&printed(|out| assert!(!verify(&dir, &keys(), &Given::default(), Format::Json, out).unwrap())))
                .unwrap();
        assert_eq!(
            (&json["sound"], &json["segment"], &json["line"], &json["event"]),
            (&false.into(), &1.into(), &4.into(), &3.into())
        );
        let text = printed(|out| assert!(!report(&dir, &keys(), &Filter::default(), Format::Table, out).unwrap()));
        assert!(text.contains("2 events fit\nNOT intact"), "{text}");
    }
}
