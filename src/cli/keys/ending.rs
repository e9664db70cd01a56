//! `sudare keys census · operator · sign · destroy · receipt`: how a key version ends.
//!
//! Always holds: what an operator signs is said in words first; nothing is destroyed before everything was counted anew, two operators'
//! signatures fit, and it stands in the audit log of operators, which is free while `sudare serve` writes its own. A private key never
//! leaves its file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::super::operators::{self, account, make, read, signature_beside};
use super::super::{FAILED, Trouble, complain, failed, runtime, words, wrong};
use super::census::{self, Way};
use super::table::time;
use crate::audit::{self, AuditError, Event, Kind};
use crate::base::{Kid, SystemClock};
use crate::config::{self, Environment, Settings};
use crate::crypto;
use crate::keys::{
    self, Approved, Checked, Config, DestroyError, DestroyReport, Destruction, KeyError, KeyRing, MAIN_RING, Noted, Receipt,
    ReceiptReport, Stage, Written,
};

/// What ends a version.
#[derive(Debug, Subcommand)]
pub(in super::super) enum Command {
    /// Count what hangs on each version, in the database and in the store; reads only, and keeps what it found
    ///
    /// While the proxy runs. Exit code 0 if everything was looked at. No version is destroyed before a census has found nothing on it, and
    /// again once every backup from before that is gone ([backups] keep_days).
    Census(census::Options),
    /// Make a key pair for an operator who may sign for the destruction of keys
    ///
    /// Run by that person, on a machine of theirs: the private half stays in its file and goes to nobody. Needs no configuration.
    Operator(OperatorOptions),
    /// Say in words what a request asks for, and sign it with an operator's key
    ///
    /// Needs no configuration. Without --key it is only said.
    Sign(SignOptions),
    /// Destroy versions for ever: write a request, then, with the signatures of two operators, carry it out
    ///
    /// `sudare keys destroy KID --request FILE` writes the request; `sudare keys destroy --request FILE --signature A --signature B` counts
    /// everything once more and destroys. Whatever ends it, the same command is run again. There is no way back, and no help
    /// for what was protected under it.
    Destroy(DestroyOptions),
    /// Check receipts of destroyed versions; all that stand beside the ring if none is named
    Receipt(ReceiptOptions),
}

/// What `operator` takes.
#[derive(Debug, Args)]
pub(in super::super) struct OperatorOptions {
    /// The operator's name, as it will stand in [operator.NAME]
    name: String,
    /// Where the private key is put: a new file with mode 0600; NAME.operator.pem if not given
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    format: words::Format,
}

/// What `sign` takes.
#[derive(Debug, Args)]
pub(in super::super) struct SignOptions {
    /// The request
    request: PathBuf,
    /// The operator's private key; the request is only shown without it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where the signature is put: a new file; beside the request, with the key's name in it, if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What `destroy` takes.
#[derive(Debug, Args)]
pub(in super::super) struct DestroyOptions {
    #[command(flatten)]
    file: words::File,
    /// Versions to write a request for: their ids, as `sudare keys list` prints them
    #[arg(value_name = "KID", conflicts_with = "signature")]
    kids: Vec<Kid>,
    /// The ring of KID: main, or NAME of a table [keys.NAME]; a request says it by itself
    #[arg(long, value_name = "NAME", default_value = MAIN_RING, conflicts_with = "signature")]
    ring: String,
    /// The request: written anew with KID, carried out without
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    /// A signature as `sudare keys sign` wrote it; two operators' at least
    #[arg(long, value_name = "FILE")]
    signature: Vec<PathBuf>,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    format: words::Format,
}

/// What `receipt` takes.
#[derive(Debug, Args)]
pub(in super::super) struct ReceiptOptions {
    #[command(flatten)]
    file: words::File,
    /// The receipts
    receipts: Vec<PathBuf>,
    #[command(flatten)]
    format: words::Format,
}

/// Runs.
pub(in super::super) fn run(command: &Command, out: &mut dyn Write) -> Result<u8, Trouble> {
    match command {
        Command::Census(options) => census::run(options, out),
        Command::Operator(options) => operator(options, out),
        Command::Sign(options) => sign(options, out),
        Command::Destroy(options) if options.kids.is_empty() => destroy(options, out),
        Command::Destroy(options) => request(options, out),
        Command::Receipt(options) => receipts(options, out),
    }
}

fn operator(options: &OperatorOptions, out: &mut dyn Write) -> Result<u8, Trouble> {
    let OperatorOptions { name, key, format } = options;
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !fits {
        return Err(wrong(format!(
            "{name:?} cannot be the name of an operator: a-z, then a-z, 0-9 and -, at most 64 characters"
        )));
    }
    let path = key.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.operator.pem")));
    if path.exists() {
        return Err(failed(format!(
            "{}: is there already, and nothing is overwritten: name another file with --key",
            path.display()
        )));
    }
    let public = crypto::base64url(&keys::make_operator(&path).map_err(failed)?.0);
    if format.format == words::Kind::Json {
        let all = json!({ "operator": name, "public_key": public, "key": path.display().to_string() });
        writeln!(out, "{all:#}").map_err(failed)?;
        return Ok(0);
    }
    write!(
        out,
        "made {}: the private key of operator {name}. Keep it where only {name} can read it; who has it can sign as {name}.\n\
         For sudare.toml:\n\n[operator.{name}]\npublic_key = \"{public}\"\n",
        path.display()
    )
    .map_err(failed)?;
    Ok(0)
}

fn sign(options: &SignOptions, out: &mut dyn Write) -> Result<u8, Trouble> {
    let SignOptions { request, key, out: to } = options;
    let written = Written::read(&read(request)?).map_err(|error| failed(format!("{}: {error}", request.display())))?;
    in_words(&written, out).map_err(failed)?;
    let Some(key) = key else {
        writeln!(out, "Nothing was signed: give --key FILE to sign it.").map_err(failed)?;
        return Ok(0);
    };
    let signer = keys::operator_key(key).map_err(failed)?;
    let to = to.clone().unwrap_or_else(|| signature_beside(request, key));
    let text = written.sign(&signer);
    make(&to, text.as_bytes())?;
    writeln!(out, "signed with the key {}: {}", crypto::base64url(&signer.public().0), to.display()).map_err(failed)?;
    Ok(0)
}

/// What a request asks for, for somebody who is about to sign it.
fn in_words(written: &Written, out: &mut dyn Write) -> std::io::Result<()> {
    let request = &written.request;
    writeln!(
        out,
        "This asks to destroy for ever, in ring {} of controller {} at revision {}:",
        request.ring, request.controller, request.revision
    )?;
    for asked in &request.versions {
        let proof = match &asked.zero {
            Some(zero) => {
                format!("nothing hangs on it since {} by every census until {}", time(Some(zero.since)), time(Some(zero.latest)))
            }
            None => "nothing is stored under it; its pseudonyms can never be made or linked again".to_owned(),
        };
        writeln!(out, "  {} of line {}, {}: {proof}", asked.kid, asked.line, asked.state)?;
    }
    if request.versions.iter().any(|asked| asked.zero.is_some()) {
        writeln!(
            out,
            "Counted were the collections {} and the vault; nothing else was looked at.",
            request.collections.join(", ")
        )?;
    }
    writeln!(
        out,
        "Whatever is still protected under it, in any backup too, can then be opened by nobody. Backups are kept for {} days by the configuration.",
        request.backups_kept_days
    )?;
    writeln!(
        out,
        "Written {}, holds until {}, SHA-256 {}",
        time(Some(request.made)),
        time(Some(request.expires)),
        written.hash_text()
    )
}

/// A destruction by these settings.
fn destruction<'a>(settings: &'a Settings, ring: &'a Config, main: &'a KeyRing) -> Destruction<'a> {
    Destruction { config: ring, main, clock: &SystemClock, operators: &settings.operators, backups_kept: settings.backups_kept }
}

fn request(options: &DestroyOptions, out: &mut dyn Write) -> Result<u8, Trouble> {
    let settings = config::load_with(&options.file.config, Environment::Ignored).map_err(wrong)?;
    let main = KeyRing::open(&settings.keys).map_err(failed)?;
    let ring = settings.ring(&options.ring).map_err(wrong)?;
    let written = destruction(&settings, ring, &main).request(&options.kids).map_err(trouble)?;
    make(&options.request, written.text.as_bytes())?;
    let path = options.request.display();
    if options.format.format == words::Kind::Json {
        let all = json!({ "request": path.to_string(), "sha256": written.hash_text(), "expires": time(Some(written.request.expires)), "revision": written.request.revision });
        writeln!(out, "{all:#}").map_err(failed)?;
        return Ok(0);
    }
    in_words(&written, out).map_err(failed)?;
    let names: Vec<&str> = settings.operators.iter().map(|operator| operator.name.as_str()).collect();
    write!(
        out,
        "made {path}. Nothing is destroyed yet. Two of the operators {} sign it:\n  sudare keys sign {path} --key FILE\n\
         then: sudare keys destroy --request {path} --signature A --signature B\n",
        names.join(", ")
    )
    .map_err(failed)?;
    Ok(0)
}

fn destroy(options: &DestroyOptions, out: &mut dyn Write) -> Result<u8, Trouble> {
    let settings = config::load(&options.file.config).map_err(wrong)?;
    let bytes = read(&options.request)?;
    let mut signatures = Vec::new();
    for path in &options.signature {
        signatures.push((path.display().to_string(), read(path)?));
    }
    let main = KeyRing::open(&settings.keys).map_err(failed)?;
    // What is no request is said to be none below.
    let named = Written::read(&bytes).map_or_else(|_| MAIN_RING.to_owned(), |written| written.request.ring);
    let ring = settings.ring(&named).map_err(failed)?;
    let destruction = destruction(&settings, ring, &main);
    let (report, done) = match destruction.check(&bytes, &signatures).map_err(trouble)? {
        Checked::Done(receipt) => {
            let receipt = receipt.display();
            if options.format.format == words::Kind::Json {
                writeln!(out, "{:#}", json!({ "destroyed": [], "receipt": receipt.to_string() })).map_err(failed)?;
            } else {
                writeln!(out, "was carried out already: {receipt}; there was nothing to do.").map_err(failed)?;
            }
            return Ok(0);
        }
        Checked::Unfinished(approved) => {
            (finish(&destruction, &settings, &approved)?, "were gone already; the receipt is finished")
        }
        Checked::ToDo(approved) => {
            // Counted by settings of their own: a census takes the collections with it.
            let again = config::load(&options.file.config).map_err(wrong)?;
            let stored = approved.request().versions.iter().any(|asked| asked.zero.is_some());
            if stored {
                let taken = census::take(again, ring, &[], &options.way, None)?;
                if !taken.census.is_whole() {
                    complain(&format!("the census was not whole: {}", taken.census.missing().join("; ")));
                }
            }
            (carry_out(&destruction, &settings, &approved)?, "destroyed")
        }
    };
    let DestroyReport { moved, signers, revision, receipt } = report;
    let (ring, receipt) = (&ring.ring, receipt.display());
    if options.format.format == words::Kind::Json {
        let kids: Vec<_> =
            moved.iter().map(|moved| json!({ "line": moved.line.to_string(), "kid": moved.kid.as_str() })).collect();
        let all = json!({ "destroyed": kids, "signers": signers, "revision": revision, "receipt": receipt.to_string() });
        writeln!(out, "{all:#}").map_err(failed)?;
        return Ok(0);
    }
    for moved in &moved {
        writeln!(out, "{}: {} is {done}", moved.line, moved.kid).map_err(failed)?;
    }
    write!(
        out,
        "{ring} revision {revision}, signed for by {}; receipt {receipt}\n\
         Older copies of {ring} still have the key, for whoever has the KEK: destroy them, or the KEK they hang on (docs/rotation.md).\n\
         A running `sudare serve` takes it at SIGHUP, or by itself within seconds (unless [reload] poll_ms is 0).\n",
        signers.join(" and ")
    )
    .map_err(failed)?;
    Ok(0)
}

fn carry_out(destruction: &Destruction<'_>, settings: &Settings, approved: &Approved) -> Result<DestroyReport, Trouble> {
    recorded(settings, |record, (kid, signer)| destruction.carry_out(approved, (kid, signer), record))
}

fn finish(destruction: &Destruction<'_>, settings: &Settings, approved: &Approved) -> Result<DestroyReport, Trouble> {
    recorded(settings, |record, _| destruction.finish(approved, record))
}

/// With the operators' audit log at hand. It is a log of its own, below that of the proxy, which a running `sudare serve` holds.
fn recorded(
    settings: &Settings,
    act: impl FnOnce(keys::Record<'_>, (Kid, &crypto::SigningKey)) -> Result<DestroyReport, DestroyError>,
) -> Result<DestroyReport, Trouble> {
    let keys = KeyRing::open(&settings.keys).and_then(|ring| ring.audit_keys()).map_err(failed)?;
    let (kid, signer) =
        keys.first().map(|(kid, _, signer)| (*kid, Arc::clone(signer))).ok_or_else(|| failed(AuditError::NoKey))?;
    let runtime = runtime().map_err(failed)?;
    let log = operators::log(settings, &keys)?;
    let mut record = |stage: Stage, noted: &Noted| {
        let Noted { receipt, kids, signers, census, revision } = noted.clone();
        let event = Event {
            operator: Some(account()),
            route: Some("sudare keys destroy".to_owned()),
            code: Some(if stage == Stage::Intended { "intended" } else { "done" }.to_owned()),
            destruction: Some(audit::Destruction {
                kids: kids.iter().map(ToString::to_string).collect(),
                signers,
                revision,
                census,
                receipt,
            }),
            ..Event::new(Kind::Destruction, 1)
        };
        runtime.block_on(log.record(event)).map(|_recorded| ()).map_err(|error| error.to_string())
    };
    let ended = act(&mut record, (kid, &signer));
    runtime.block_on(log.close());
    ended.map_err(trouble)
}

fn receipts(options: &ReceiptOptions, out: &mut dyn Write) -> Result<u8, Trouble> {
    let settings = config::load_with(&options.file.config, Environment::Ignored).map_err(wrong)?;
    let main = KeyRing::open(&settings.keys).map_err(failed)?;
    let mut paths = options.receipts.clone();
    if paths.is_empty() {
        for ring in settings.held_rings() {
            paths.extend(keys::receipts(ring).map_err(failed)?);
        }
    }
    let json = options.format.format == words::Kind::Json;
    let (mut all_sound, mut all) = (true, Vec::new());
    for path in &paths {
        let bytes = read(path)?;
        let unfinished = path.to_string_lossy().ends_with(".intent.json");
        let named = Receipt::read(&bytes).ok().map(|(receipt, _)| receipt.ring);
        let ring = settings.held_rings().find(|ring| named.as_deref() == Some(ring.name.as_str())).unwrap_or(&settings.keys);
        let found = keys::verify_receipt(ring, &settings.operators, &main, &bytes);
        all_sound &= found.as_ref().is_ok_and(ReceiptReport::is_sound) && !unfinished;
        if json {
            all.push(match &found {
                Ok(report) => as_json(path, report, unfinished),
                Err(error) => json!({ "receipt": path.display().to_string(), "sound": false, "found": error.to_string() }),
            });
        } else {
            told(path, found.as_ref(), unfinished, out).map_err(failed)?;
        }
    }
    if json {
        writeln!(out, "{:#}", json!({ "sound": all_sound, "receipts": all })).map_err(failed)?;
    } else if paths.is_empty() {
        let rings: Vec<String> = settings.held_rings().map(|ring| ring.ring.to_string()).collect();
        writeln!(out, "no key of {} was ever destroyed", rings.join(", ")).map_err(failed)?;
    }
    Ok(if all_sound { 0 } else { FAILED })
}

fn told(path: &Path, found: Result<&ReceiptReport, &DestroyError>, unfinished: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let place = path.display();
    let report = match found {
        Ok(report) => report,
        Err(error) => return writeln!(out, "{place}: NOT sound: {error}"),
    };
    let Receipt { revision, destroyed, .. } = &report.receipt;
    let kids: Vec<String> = report.request.versions.iter().map(|asked| format!("{} ({})", asked.kid, asked.line)).collect();
    let signers: Vec<&str> = report.receipt.signatures.iter().map(|signed| signed.operator.as_str()).collect();
    writeln!(
        out,
        "{place}: {} destroyed {} with ring revision {revision}, signed for by {}",
        kids.join(", "),
        time(Some(*destroyed)),
        signers.join(" and ")
    )?;
    for problem in problems(report, unfinished) {
        writeln!(out, "{place}: NOT sound: {problem}")?;
    }
    if !report.changed_operators.is_empty() {
        let names = report.changed_operators.join(", ");
        writeln!(out, "{place}: note: {names} signed with a key that the configuration does not have, or no longer has")?;
    }
    if !report.census_kept {
        writeln!(out, "{place}: note: the census it names is not among those that are kept")?;
    }
    Ok(())
}

fn problems(report: &ReceiptReport, unfinished: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if !report.still_there.is_empty() {
        let kids: Vec<String> = report.still_there.iter().map(Kid::to_string).collect();
        let why = if unfinished { "it was only intended, and never carried out" } else { "an older ring was put back" };
        problems.push(format!("the ring still has {}: {why}", kids.join(", ")));
    } else if unfinished {
        problems.push("the keys are gone, the receipt is not finished: run the same `sudare keys destroy` again".to_owned());
    }
    if report.unknown_signer {
        problems.push("it is signed under an audit key that this ring does not have".to_owned());
    }
    problems
}

fn as_json(path: &Path, report: &ReceiptReport, unfinished: bool) -> serde_json::Value {
    let versions: Vec<_> = report
        .request
        .versions
        .iter()
        .map(|asked| json!({ "line": asked.line.to_string(), "kid": asked.kid.as_str() }))
        .collect();
    let signers: Vec<&str> = report.receipt.signatures.iter().map(|signed| signed.operator.as_str()).collect();
    json!({
        "receipt": path.display().to_string(),
        "sound": report.is_sound() && !unfinished,
        "found": problems(report, unfinished),
        "versions": versions,
        "destroyed": time(Some(report.receipt.destroyed)),
        "revision": report.receipt.revision,
        "signers": signers,
        "changed_operators": report.changed_operators,
        "census_kept": report.census_kept,
    })
}

fn trouble(error: DestroyError) -> Trouble {
    if matches!(error, DestroyError::Key(KeyError::NoSuchVersion(_)) | DestroyError::TooFewOperators(_)) {
        wrong(error)
    } else {
        failed(error)
    }
}
