//! `sudare seal` and `sudare open`: JSON Lines in, JSON Lines out.
//!
//! Results go to the output, everything else (progress on a terminal, bad lines, the summary) to standard error. Opening is recorded in
//! the audit log, window by window, before it leaves; without the log nothing is opened.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::meter::{Meter, thousands};
use super::operators::{DURABLE_TIMEOUT, account};
use super::{FAILED, Trouble, failed, wrong};
use crate::audit::{self, Event, Kind, Recorded};
use crate::base::{CategoryName, CollectionName, RecordId, SystemClock};
use crate::batch::{self, BatchError, Begun, Done, Files, LineError, Lines, Stream, Watch, Work};
use crate::config::Settings;
use crate::field::Tally;
use crate::keys::Rings;

/// Bad lines that are told one by one on standard error.
const MAX_TOLD: u64 = 100;
/// Longest reason, in characters.
const MAX_REASON: usize = 200;

/// What both commands take.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: super::File,
    /// Which collection the documents are of: its name under [collection.NAME]
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Leave out lines that are bad and make the output all the same; each is reported
    #[arg(long)]
    skip_bad: bool,
    /// Where to report bad lines (number, code, sentence; never a value); standard error if not given
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
    /// Continue a run that was broken off; input and output are files, and the input is the same
    #[arg(long)]
    resume: bool,
    /// JSON Lines, one document a line; - is standard input
    #[arg(value_name = "IN", default_value = "-")]
    input: PathBuf,
    /// Made when it is whole, never overwritten; - is standard output
    #[arg(value_name = "OUT", default_value = "-")]
    output: PathBuf,
}

/// Seals.
pub(super) fn seal(options: &Options, out: &mut dyn Write) -> Result<u8, Trouble> {
    let mut settings = super::load_with_ring(&options.file.config)?;
    let (collection, rings) = take(&mut settings, options)?;
    let runtime = super::runtime().map_err(failed)?;
    let vault = super::vault(&options.file.config, &collection, &rings)?;
    let mut work = Work::seal(collection, rings).map_err(|errors| wrong(errors.join("\n")))?;
    if let Some(vault) = vault {
        work = work.with_vault(vault, runtime.handle().clone());
    }
    // What is sealed shows nothing; should it ever, it does not leave unrecorded.
    let mut record = |_: &Tally, _: Vec<RecordId>| Err(BatchError::Audit(audit::AuditError::Closed));
    go(&work, options, &mut record, Words { verb: "seal", done: "sealed", kept: "sealed already" }, out)
}

/// Opens, for `reason`.
pub(super) fn open(options: &Options, reason: &str, out: &mut dyn Write) -> Result<u8, Trouble> {
    let reason = reason.trim();
    if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(wrong(format!(
            "--reason: 1 to {MAX_REASON} characters on one line; it is kept in the audit log, so it names no person"
        )));
    }
    let mut settings = super::load_with_ring(&options.file.config)?;
    let (collection, rings) = take(&mut settings, options)?;
    let names: Vec<(crate::purpose::CategoryId, CategoryName)> =
        collection.fields.iter().map(|field| (field.category, field.category_name.clone())).collect();
    let keys = rings.main().audit_keys().map_err(failed)?;
    let runtime = super::runtime().map_err(failed)?;
    let vault = super::vault(&options.file.config, &collection, &rings)?;
    let mut work = Work::open(collection, rings).map_err(|errors| wrong(errors.join("\n")))?;
    if let Some(vault) = vault {
        work = work.with_vault(vault, runtime.handle().clone());
    }
    let audit = audit::Config { durable_timeout: DURABLE_TIMEOUT, ..settings.audit.clone() };
    let log = audit::Log::open(&audit, keys, Arc::new(SystemClock)).map_err(|error| {
        if let audit::AuditError::InUse(dir) = &error {
            failed(format!(
                "{}: a running `sudare serve` writes this audit log, and nothing is opened unrecorded: stop it, or open with a copy of {} that names another [audit] dir",
                dir.display(),
                options.file.config.display()
            ))
        } else {
            failed(error)
        }
    })?;
    let told = |kind| Event {
        operator: Some(account()),
        reason: Some(reason.to_owned()),
        collection: Some(CollectionName::new(&options.collection)),
        route: Some("sudare open".to_owned()),
        ..Event::new(kind, 1)
    };
    let distrusted = Cell::new(0_u32);
    let name = |id| names.iter().find(|(of, _)| *of == id).map(|(_, name)| name.clone());
    let mut record = |tally: &Tally, subjects: Vec<RecordId>| {
        let mut event = told(Kind::Reveal);
        event.subjects = subjects;
        event.shown = tally.shown.iter().filter_map(|(id, level, count)| Some((name(*id)?, *level, *count))).collect();
        if tally.compromised > 0 {
            distrusted.set(distrusted.get().saturating_add(tally.compromised));
            let alarm = Event { code: Some("key-compromised".to_owned()), subjects: event.subjects.clone(), ..told(Kind::Alarm) };
            let _recorded = runtime.block_on(log.record(alarm)).map_err(BatchError::Audit)?;
        }
        runtime.block_on(log.record(event)).map_err(BatchError::Audit)
    };
    let words = Words { verb: "open", done: "opened", kept: "clear already" };
    let ended = go(&work, options, &mut record, words, out);
    if distrusted.get() > 0 {
        super::complain(&format!(
            "note: {} of the values hang on a compromised key: whoever knows it could have made them. Seal what you trust anew",
            thousands(distrusted.get().into())
        ));
    }
    let mut close = told(Kind::Close);
    close.code = (!matches!(ended, Ok(0))).then(|| "incomplete".to_owned());
    log.note(close);
    runtime.block_on(log.close());
    ended
}

/// The collection by its name, and the rings.
fn take(settings: &mut Settings, options: &Options) -> Result<(crate::field::Collection, Arc<Rings>), Trouble> {
    let index = super::collection_index(settings, &options.collection)?;
    let collection = settings.collections.swap_remove(index).field_map;
    let rings = super::rings_of(settings, &collection)?;
    Ok((collection, rings))
}

/// How this command speaks.
#[derive(Clone, Copy)]
struct Words {
    verb: &'static str,
    done: &'static str,
    kept: &'static str,
}

/// Makes durable what is about to leave.
type Record<'r> = &'r mut dyn FnMut(&Tally, Vec<RecordId>) -> Result<Recorded, BatchError>;

fn go(work: &Work, options: &Options, record: Record<'_>, words: Words, out: &mut dyn Write) -> Result<u8, Trouble> {
    let (input, output) = (options.input.as_path(), options.output.as_path());
    let to_file = output != Path::new("-");
    if options.resume && (!to_file || input == Path::new("-")) {
        return Err(wrong(BatchError::Stream));
    }
    if input == Path::new("-") {
        let begun = if to_file {
            Some(Files::begin(output, None, options.errors.as_deref(), work, false).map_err(failed)?)
        } else {
            None
        };
        return through(work, options, io::stdin().lock(), None, begun, record, words, out);
    }
    let file = File::open(input).map_err(|error| failed(format!("{}: cannot be read: {error}", input.display())))?;
    let total = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
    let mut input_file = BufReader::with_capacity(1 << 20, file);
    let begun = if to_file {
        let known = total.map(|_bytes| (input, &mut input_file));
        Some(Files::begin(output, known, options.errors.as_deref(), work, options.resume).map_err(failed)?)
    } else {
        None
    };
    through(work, options, input_file, total, begun, record, words, out)
}

#[expect(clippy::too_many_arguments, reason = "one run: from where, to where, and whom to tell")]
fn through<R: BufRead>(
    work: &Work,
    options: &Options,
    input: R,
    total: Option<u64>,
    begun: Option<Begun>,
    record: Record<'_>,
    words: Words,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    let report = match &begun {
        Some(begun) => begun.files.report().map_err(failed)?,
        None => options.errors.as_deref().map(batch::new_report).transpose().map_err(failed)?,
    };
    let start = begun.as_ref().map(|begun| begun.done).unwrap_or_default();
    let mut meter = Meter::new(words.verb, total, io::stderr().is_terminal());
    meter.starts_at(start.lines, start.bytes_in);
    let mut told = Told { input: options.input.display().to_string(), report, record, meter, on_stderr: 0 };
    let mut lines = Lines::new(input, options.input.clone());
    let mut files = begun.map(|begun| begun.files);
    let ended = match &mut files {
        Some(files) => batch::run(work, &mut lines, files, &mut told, start),
        None => batch::run(work, &mut lines, &mut Stream(out), &mut told, start),
    };
    told.meter.clear();
    let resumable = files.is_some() && total.is_some();
    let done = ended.map_err(|error| {
        let more = if resumable { "; what was done is kept, continue it with --resume" } else { "" };
        failed(format!("{error}{more}"))
    })?;
    let incomplete = done.bad > 0 && !options.skip_bad;
    let made = match files {
        Some(files) if incomplete => {
            let kept = files.keep(&done).map_err(failed)?;
            let again = if resumable {
                format!(
                    "give --resume --skip-bad to do without the bad lines, or mend them, remove {} and begin again",
                    kept.display()
                )
            } else {
                "mend the bad lines, or leave them out with --skip-bad".to_owned()
            };
            format!("{} is not made: {again}", options.output.display())
        }
        Some(files) => {
            files.finish(&done).map_err(failed)?;
            format!("{} is made", options.output.display())
        }
        None if incomplete => "the bad lines are missing in the output".to_owned(),
        None => "done".to_owned(),
    };
    super::complain(&told.summary(&done, words, &made));
    Ok(if incomplete { FAILED } else { 0 })
}

/// Whom this run tells.
struct Told<'r> {
    input: String,
    report: Option<File>,
    record: Record<'r>,
    meter: Meter,
    on_stderr: u64,
}

impl Watch for Told<'_> {
    fn bad(&mut self, line: u64, error: &LineError) -> Result<u64, BatchError> {
        let text = format!("{}:{line}: {}: {error}", self.input, error.code());
        if let Some(report) = &mut self.report {
            let written = report.write_all(format!("{text}\n").as_bytes());
            written.map_err(|why| BatchError::Io { path: "--errors".into(), doing: "written", why })?;
            return Ok(u64::try_from(text.len() + 1).unwrap_or(u64::MAX));
        }
        self.on_stderr += 1;
        self.meter.clear();
        match self.on_stderr {
            ..=MAX_TOLD => super::complain(&text),
            told if told == MAX_TOLD + 1 => super::complain(&"more bad lines are not told here; --errors FILE has them all"),
            _ => {}
        }
        Ok(0)
    }

    fn record(&mut self, tally: &Tally, subjects: Vec<RecordId>) -> Result<Recorded, BatchError> {
        (self.record)(tally, subjects)
    }

    fn moved(&mut self, done: &Done) {
        self.meter.moved(done.lines, Some(done.bytes_in));
    }
}

impl Told<'_> {
    fn summary(&self, done: &Done, words: Words, made: &str) -> String {
        format!(
            "{}: {} lines, {} values {}, {} {}, {} lines bad{}; {made}",
            words.verb,
            thousands(done.lines),
            thousands(done.values),
            words.done,
            thousands(done.kept),
            words.kept,
            thousands(done.bad),
            self.meter.pace(),
        )
    }
}
