//! `sudare subject consent · object · withdraw · age · notice · accept · fact · show · import`: what people agreed to and what is known of
//! them, recorded by hand or from a file.
//!
//! Always holds: what is recorded is in the ledger and in an audit log before the command says so; a file is recorded only if every line of
//! it can be; run again, it changes nothing. The ledger is that of the store, where no proxy holds it, or that of a running one (`--via`).

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exception::door;
use super::meter::thousands;
use super::operators::account;
use super::words::{Format, Kind};
use super::{Trouble, failed, runtime, wrong};
use crate::app::desk;
use crate::base::{Clock as _, RecordId, SystemClock};
use crate::config::Settings;
use crate::crypto;
use crate::subject::{self, Entry, Fault, Posted, Recorder};

/// Mistakes of a file that are told one by one at most.
const MOST_FAULTS: usize = 100;

/// What the command takes.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Somebody agreed to a purpose, or that a recipient gets their data
    Consent(ChoiceOptions),
    /// Somebody said no to a purpose or a recipient
    Object(ChoiceOptions),
    /// Somebody takes their agreement back: from then on it is a no
    Withdraw(ChoiceOptions),
    /// How old somebody is; what is kept is until when they are under each age of the policy, never a date of birth
    Age {
        /// Whom it is about: the id as documents have it
        id: String,
        #[command(flatten)]
        known: AgeOptions,
        #[command(flatten)]
        common: Common,
    },
    /// Somebody was told of a version of the policy, and so of all before it
    Notice(VersionOptions),
    /// Somebody accepted a version of the policy
    Accept(VersionOptions),
    /// A fact that the policy declares holds of somebody, or does not any more
    Fact {
        /// Whom it is about: the id as documents have it
        id: String,
        /// The fact, as [fact] of the policy names it
        name: String,
        /// It holds until then, like 2027-01-31T00:00:00Z
        #[arg(long, value_name = "TIME", conflicts_with = "ends")]
        until: Option<String>,
        /// It does not hold any more
        #[arg(long)]
        ends: bool,
        #[command(flatten)]
        common: Common,
    },
    /// What is known of somebody
    Show {
        /// Whom: the id as documents have it
        id: String,
        #[command(flatten)]
        door: door::Options,
        #[command(flatten)]
        format: Format,
    },
    /// Record every line of a file of JSON Lines (docs/subject.md), or none
    ///
    /// A line without an id gets one that follows from what it says, so that a file that is imported twice changes nothing the second time.
    Import {
        /// The file; - for standard input
        from: PathBuf,
        /// Who records it, for the audit log; your user id if not given
        #[arg(long, value_name = "NAME")]
        operator: Option<String>,
        #[command(flatten)]
        door: door::Options,
        #[command(flatten)]
        format: Format,
    },
}

/// What `consent`, `object` and `withdraw` take.
#[derive(Debug, Args)]
pub(super) struct ChoiceOptions {
    /// Whose choice: the id as documents have it
    id: String,
    #[command(flatten)]
    about: AboutOptions,
    #[command(flatten)]
    common: Common,
}

/// What a choice is about.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct AboutOptions {
    /// The purpose, by its name in the policy
    #[arg(long, value_name = "NAME")]
    purpose: Option<String>,
    /// The recipient, by its name in the policy
    #[arg(long, value_name = "NAME")]
    recipient: Option<String>,
}

/// What is known of an age.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct AgeOptions {
    /// Their date of birth, like 2010-05-31
    #[arg(long, value_name = "DATE")]
    born: Option<String>,
    /// Their age in years, completed
    #[arg(long, value_name = "N")]
    years: Option<u8>,
    /// They are at least so many years old
    #[arg(long, value_name = "N")]
    over: Option<u8>,
}

/// What `notice` and `accept` take.
#[derive(Debug, Args)]
pub(super) struct VersionOptions {
    /// Who: the id as documents have it
    id: String,
    /// Of the policy; the one in force if not given
    #[arg(long, value_name = "N")]
    policy_version: Option<u64>,
    #[command(flatten)]
    common: Common,
}

/// What every one takes that records.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// When it was so, like 2026-11-29T09:30:00Z; now if not given
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Where it can be looked up: a form, a letter, a ticket. Kept in the ledger, not in the audit log
    #[arg(long, value_name = "TEXT")]
    evidence: Option<String>,
    /// An id of yours for it: under the same id it is recorded once
    #[arg(long, value_name = "ID")]
    entry_id: Option<String>,
    /// Who records it, for the audit log; your user id if not given
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
    #[command(flatten)]
    door: door::Options,
    #[command(flatten)]
    format: Format,
}

/// Runs.
pub(super) fn run(command: Command, out: &mut dyn Write) -> Result<u8, Trouble> {
    let (posted, common) = match command {
        Command::Consent(options) => choice("consent", options),
        Command::Object(options) => choice("objection", options),
        Command::Withdraw(options) => choice("withdrawal", options),
        Command::Age { id, known: AgeOptions { born, years, over }, common } => {
            (Posted { born, years, over, ..posted("age", id) }, common)
        }
        Command::Notice(options) => version("notice", options),
        Command::Accept(options) => version("acceptance", options),
        Command::Fact { id, name, until, ends, common } => {
            (Posted { fact: Some(name), until, holds: Some(!ends), ..posted("fact", id) }, common)
        }
        Command::Show { id, door, format } => return show(&id, &door, &format, out),
        Command::Import { from, operator, door, format } => return import(&from, operator, &door, &format, out),
    };
    let Common { at, evidence, entry_id, operator, door, format } = common;
    let posted = Posted { id: entry_id.or_else(desk::new_id), at, evidence, ..posted };
    let settings = door.settings()?;
    let by = operator_of(operator);
    let entries = subject::read(vec![Ok(posted.clone())], &settings.policy, &by, None, SystemClock.now_ms(), || None)
        .map_err(|faults| wrong(told(&faults, Line::Alone)))?;
    let answer = Recording::open(&settings, &door)?.record(&[posted], &entries, &by)?;
    if format.format == Kind::Json {
        writeln!(out, "{answer:#}").map_err(failed)?;
        return Ok(0);
    }
    for receipt in answer.get("receipts").and_then(Value::as_array).into_iter().flatten() {
        writeln!(out, "{}", sentence(receipt)).map_err(failed)?;
    }
    Ok(0)
}

fn posted(record: &str, id: String) -> Posted {
    Posted { record: Some(record.to_owned()), subject: Some(Value::String(id)), ..Posted::default() }
}

fn choice(record: &str, options: ChoiceOptions) -> (Posted, Common) {
    let ChoiceOptions { id, about: AboutOptions { purpose, recipient }, common } = options;
    (Posted { purpose, recipient, ..posted(record, id) }, common)
}

fn version(record: &str, options: VersionOptions) -> (Posted, Common) {
    (Posted { version: options.policy_version, ..posted(record, options.id) }, options.common)
}

fn operator_of(named: Option<String>) -> Recorder {
    Recorder::Operator(named.unwrap_or_else(account))
}

/// `recorded: consent to recommend of c-17 (row 12 of the ledger); nothing was known of them before`
fn sentence(receipt: &Value) -> String {
    let at = |pointer: &str| receipt.pointer(pointer).cloned().unwrap_or_default();
    let text = |pointer: &str| at(pointer).as_str().unwrap_or_default().to_owned();
    let again = at("/record/recorded_before") == Value::Bool(true);
    let (done, row) = (if again { "was recorded before, nothing changed" } else { "recorded" }, at("/record/row"));
    let first = if !again && at("/record/subject_known_before") == Value::Bool(false) {
        "; nothing was known of them before"
    } else {
        ""
    };
    format!("{done}: {} of {} (row {row} of the ledger){first}", text("/events/0/what"), text("/subject"))
}

/// A way to record.
enum Recording<'s> {
    Store {
        settings: &'s Settings,
        ledger: std::sync::Arc<subject::Ledger>,
        log: crate::audit::Log,
        runtime: tokio::runtime::Runtime,
    },
    Proxy {
        service: crate::net::fetch::Service,
        credential: zeroize::Zeroizing<String>,
        runtime: tokio::runtime::Runtime,
    },
}

impl<'s> Recording<'s> {
    fn open(settings: &'s Settings, door: &door::Options) -> Result<Self, Trouble> {
        let runtime = runtime().map_err(failed)?;
        if let Some((service, credential)) = door.proxy()? {
            return Ok(Self::Proxy { service, credential, runtime });
        }
        // The store first: whoever cannot have it is told how to go on. Without a log nothing is recorded.
        let ledger = door::ledger(settings, &runtime)?;
        Ok(Self::Store { settings, ledger, log: door::log(settings)?, runtime })
    }

    /// Records, all or nothing; answers as the admin listener does.
    fn record(&self, posted: &[Posted], entries: &[Entry], by: &Recorder) -> Result<Value, Trouble> {
        match self {
            Self::Proxy { service, credential, runtime } => {
                let body = serde_json::to_vec(posted).map_err(failed)?;
                let answer = runtime.block_on(door::ask(service, credential, "/facts", body))?;
                serde_json::from_slice(&answer).map_err(|_quotes_values| failed("the proxy answered what is no JSON"))
            }
            Self::Store { settings, ledger, log, runtime } => {
                let placed = runtime.block_on(ledger.append(entries.to_vec())).map_err(|error| failed(refused(&error)))?;
                let mut event = desk::recorded(entries);
                event.operator = Some(by.name().to_owned());
                event.route = Some("sudare subject".to_owned());
                let noted = runtime.block_on(log.record(event));
                noted.map_err(|error| failed(format!("recorded, but not in the audit log of operators: {error}")))?;
                let receipt = |(entry, placed)| subject::receipt(&settings.controller, &settings.policy, entry, placed);
                let receipts: Vec<Value> = entries.iter().zip(&placed).map(receipt).collect();
                Ok(json!({ "recorded": placed.iter().filter(|placed| !placed.again).count(), "receipts": receipts }))
            }
        }
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if let Self::Store { log, runtime, .. } = self {
            runtime.block_on(log.close());
        }
    }
}

fn refused(error: &subject::AppendError) -> String {
    let places = match error {
        subject::AppendError::Reused(places) | subject::AppendError::Ahead(places) if places.len() > 1 => {
            let lines: Vec<String> = places.iter().take(MOST_FAULTS).map(|place| (place + 1).to_string()).collect();
            format!(" (entries {} of this part)", lines.join(", "))
        }
        subject::AppendError::Reused(_) | subject::AppendError::Ahead(_) | subject::AppendError::Ledger(_) => String::new(),
    };
    format!("{error}{places}")
}

/// Where a fault is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// In the words of the command.
    Alone,
    /// In a line of a file.
    OfFile,
}

fn told(faults: &[Fault], line: Line) -> String {
    let mut lines: Vec<String> = faults
        .iter()
        .take(MOST_FAULTS)
        .map(|fault| {
            let place = if line == Line::OfFile { format!("line {}: ", fault.place + 1) } else { String::new() };
            let member = if fault.member.is_empty() { String::new() } else { format!("{}: ", fault.member) };
            format!("{place}{member}{}", fault.what)
        })
        .collect();
    if faults.len() > MOST_FAULTS {
        lines.push(format!("and {} more", thousands(u64::try_from(faults.len() - MOST_FAULTS).unwrap_or(u64::MAX))));
    }
    if line == Line::OfFile {
        lines.push("nothing was recorded".to_owned());
    }
    lines.join("\n")
}

fn import(
    from: &Path,
    operator: Option<String>,
    door: &door::Options,
    format: &Format,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    let settings = door.settings()?;
    let mut text = Vec::new();
    let read = if from == Path::new("-") {
        std::io::stdin().read_to_end(&mut text)
    } else {
        std::fs::File::open(from).and_then(|mut file| file.read_to_end(&mut text))
    };
    read.map_err(|error| wrong(format!("{}: {error}", from.display())))?;
    // Line by line, so that a fault has its line; empty ones are passed over, and keep their number.
    let mut posted = Vec::new();
    let mut places = Vec::new();
    for (place, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let object = match serde_json::from_slice::<Box<serde_json::value::RawValue>>(line) {
            Ok(object) => subject::object(place, &object),
            Err(_quotes_values) => {
                Err(Fault { place, member: "", what: "expected one JSON object".to_owned(), forbidden: false })
            }
        };
        let digest = crypto::sha256(line.trim_ascii());
        let id = format!("im_{}", crypto::base32_crockford(digest.first_chunk::<16>().unwrap_or(&[0; 16])));
        posted.push(object.map(|object| Posted { id: object.id.or(Some(id)), ..object }));
        places.push(place);
    }
    let by = operator_of(operator);
    let entries =
        subject::read(posted.clone(), &settings.policy, &by, None, SystemClock.now_ms(), || None).map_err(|faults| {
            let of_line = |fault: Fault| Fault { place: places.get(fault.place).copied().unwrap_or(fault.place), ..fault };
            // Those of lines that are no objects have their line already.
            let faults: Vec<Fault> =
                faults.into_iter().map(|fault| if fault.member.is_empty() { fault } else { of_line(fault) }).collect();
            failed(told(&faults, Line::OfFile))
        })?;
    let posted: Vec<Posted> = posted.into_iter().filter_map(Result::ok).collect();
    let recording = Recording::open(&settings, door)?;
    let (mut recorded, mut done) = (0, 0);
    for (posted, entries) in posted.chunks(subject::MOST).zip(entries.chunks(subject::MOST)) {
        let answer = recording.record(posted, entries, &by).map_err(|trouble| Trouble {
            sentence: format!(
                "{}\n{done} lines were recorded before it; import the file again, which records the rest",
                trouble.sentence
            ),
            ..trouble
        })?;
        recorded += answer.get("recorded").and_then(Value::as_u64).unwrap_or(0);
        done += entries.len();
    }
    if format.format == Kind::Json {
        writeln!(out, "{}", json!({ "lines": done, "recorded": recorded })).map_err(failed)?;
    } else {
        let done = u64::try_from(done).unwrap_or(u64::MAX);
        let before = match done - recorded {
            0 => String::new(),
            before => format!("; {} were recorded before, and changed nothing", thousands(before)),
        };
        writeln!(out, "{} of {} lines recorded{before}", thousands(recorded), thousands(done)).map_err(failed)?;
    }
    Ok(0)
}

fn show(id: &str, door: &door::Options, format: &Format, out: &mut dyn Write) -> Result<u8, Trouble> {
    let record = RecordId::from_text(id).map_err(wrong)?;
    let settings = door.settings()?;
    let runtime = runtime().map_err(failed)?;
    let shown = if let Some((service, credential)) = door.proxy()? {
        let body = json!({ "subject": id }).to_string().into_bytes();
        let answer = runtime.block_on(door::ask(&service, &credential, "/facts/read", body))?;
        serde_json::from_slice(&answer).map_err(|_quotes_values| failed("the proxy answered what is no JSON"))?
    } else {
        desk::shown(&*door::ledger(&settings, &runtime)?, &record, SystemClock.now_ms(), None)
    };
    if format.format == Kind::Json {
        writeln!(out, "{shown:#}").map_err(failed)?;
        return Ok(0);
    }
    if shown.get("known") != Some(&Value::Bool(true)) {
        writeln!(out, "nothing is known of {id}").map_err(failed)?;
        return Ok(0);
    }
    for statement in shown.get("statements").and_then(Value::as_array).into_iter().flatten() {
        writeln!(out, "{}", statement_line(statement)).map_err(failed)?;
    }
    for (member, words) in [("told_of_version", "told of version"), ("accepted_version", "accepted version")] {
        if let Some(version) = shown.get(member).and_then(Value::as_u64) {
            writeln!(out, "{words} {version} of the policy").map_err(failed)?;
        }
    }
    Ok(0)
}

/// `purpose recommend: yes, since 2026-11-29T09:30:00Z (row 12)`
fn statement_line(statement: &Value) -> String {
    let text = |name: &str| statement.get(name).and_then(Value::as_str);
    let holds = statement.get("holds") == Some(&Value::Bool(true));
    let what = if let Some(years) = statement.get("under").and_then(Value::as_u64) {
        format!("under {years}")
    } else {
        let named = ["purpose", "recipient", "fact"].iter().find_map(|kind| Some(format!("{kind} {}", text(kind)?)));
        named.unwrap_or_default()
    };
    let until = text("until").map(|until| format!(", until {until}")).unwrap_or_default();
    let row = statement.get("row").cloned().unwrap_or_default();
    format!("{what}: {}, said {}{until} (row {row})", if holds { "yes" } else { "no" }, text("at").unwrap_or_default())
}
