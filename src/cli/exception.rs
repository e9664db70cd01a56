//! `sudare exception request · approve · revoke · told · review · list · show`: openings of the policy that people ask for and agree to.
//!
//! Always holds: what an operator signs is said in words first; a private key never leaves its file; nothing is overwritten. The ledger is
//! that of the store, where no proxy holds it, or that of a running one (`--via`).

pub(super) mod door;
mod print;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::operators::{make, read, signature_beside};
use super::{Trouble, failed, words, wrong};
use crate::base::{Clock as _, ExceptionId, SystemClock};
use crate::config::Settings;
use crate::crypto::{self, SigningKey};
use crate::keys::{self, Detached};
use crate::subject::exception::{Asked, Case, ExceptionError, Noted, Step, What, Wish};
use door::Door;

/// What the command takes.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Ask for an exception of the policy: for a caller, categories and people that you name
    ///
    /// Signed with your operator's key, recorded, and written to a file, which others can sign on machines of their own. Opens nothing yet.
    Request(RequestOptions),
    /// Agree to one: with its id, sign and record it; with its request's file, only sign, on any machine
    ///
    /// Says in words what it opens first. Without --key and --signature it is only said. With a file it needs no configuration.
    Approve(ApproveOptions),
    /// End one now, for good
    Revoke(NoteOptions),
    /// Say that the people whom one names were told of it; what was withheld then stands in their report
    Told(NoteOptions),
    /// Say that you looked at what was done under one that is over
    Review(NoteOptions),
    /// Every exception: how far it is, and what is still to be done about it
    List {
        #[command(flatten)]
        door: door::Options,
        #[command(flatten)]
        format: words::Format,
    },
    /// All about one, with the people it names and what is on record
    Show {
        /// Its id
        id: ExceptionId,
        /// Also write its request to a new file, to be signed elsewhere
        #[arg(long, value_name = "FILE")]
        request: Option<PathBuf>,
        #[command(flatten)]
        door: door::Options,
        #[command(flatten)]
        format: words::Format,
    },
}

/// What `request` takes.
#[derive(Debug, Args)]
pub(super) struct RequestOptions {
    /// Its name in the policy, [exception.NAME]
    name: String,
    /// Who is to use it
    #[arg(long)]
    caller: String,
    /// In which collection
    #[arg(long)]
    collection: String,
    /// A category; once for each
    #[arg(long, value_name = "NAME", required = true)]
    category: Vec<String>,
    /// The id of a person, as it stands in documents; once for each
    #[arg(long, value_name = "ID", required = true)]
    subject: Vec<String>,
    /// What is on record: each word that the policy asks for, with its text
    #[arg(long, value_name = "WORD=TEXT", value_parser = evidence)]
    evidence: Vec<(String, String)>,
    /// For how long, once it is open; as long as the policy lets it if not given
    #[arg(long)]
    hours: Option<u32>,
    /// Your private key, as `sudare keys operator` made it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where the request is put: a new file; ID.request.json if not given
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    #[command(flatten)]
    door: door::Options,
    #[command(flatten)]
    format: words::Format,
}

/// What `approve` takes.
#[derive(Debug, Args)]
pub(super) struct ApproveOptions {
    /// The exception's id, or the file of its request
    what: String,
    /// Your private key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A signature that was made with the request's file; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    signature: Vec<PathBuf>,
    /// With a request's file: where the signature is put, a new file; beside the request, with the key's name in it, if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    door: door::Options,
    #[command(flatten)]
    format: words::Format,
}

/// What `revoke`, `told` and `review` take.
#[derive(Debug, Args)]
pub(super) struct NoteOptions {
    /// The exception's id
    id: ExceptionId,
    /// Why, or how, in one sentence; kept with it, and part of what the person may be given
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Your private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    door: door::Options,
    #[command(flatten)]
    format: words::Format,
}

/// Runs.
pub(super) fn run(command: &Command, out: &mut dyn Write) -> Result<u8, Trouble> {
    match command {
        Command::Request(options) => request(options, out),
        Command::Approve(options) => match options.what.parse() {
            Ok(id) => approve(&id, options, out),
            Err(error) if ExceptionId::is_meant(&options.what) && !Path::new(&options.what).exists() => {
                Err(wrong(format!("{:?}: {error}", options.what)))
            }
            Err(_a_file) => sign(Path::new(&options.what), options, out),
        },
        Command::Revoke(options) => note(What::Revoke, options, out),
        Command::Told(options) => note(What::Told, options, out),
        Command::Review(options) => note(What::Review, options, out),
        Command::List { door, format } => list(door, format, out),
        Command::Show { id, request, door, format } => show(id, request.as_deref(), door, format, out),
    }
}

fn request(options: &RequestOptions, out: &mut dyn Write) -> Result<u8, Trouble> {
    let key = keys::operator_key(&options.key).map_err(failed)?;
    let settings = options.door.settings()?;
    let asked_by = operator(&settings, &key)?;
    let mut on_record = BTreeMap::new();
    for (word, text) in &options.evidence {
        if on_record.insert(word.clone(), text.clone()).is_some() {
            return Err(wrong(format!("--evidence {word}: is given twice")));
        }
    }
    let wish = Wish {
        controller: settings.controller.to_string(),
        exception: options.name.clone(),
        caller: options.caller.clone(),
        collection: options.collection.clone(),
        categories: options.category.clone(),
        subjects: options.subject.clone(),
        evidence: on_record,
        hours: options.hours,
        asked_by,
    };
    let asked = wish
        .write(&settings.policy, &door::collections(&settings), SystemClock.now_ms())
        .map_err(|wrong_all| wrong(all(&wrong_all)))?;
    let door = Door::open(&options.door, settings)?;
    let file = options.request.clone().unwrap_or_else(|| PathBuf::from(format!("{}.request.json", asked.id)));
    make(&file, asked.text.as_bytes())?;
    let step = Step::Request { signature: Detached::sign(&asked.text, &key), text: asked.text.clone() };
    let taken = door.take(step).inspect_err(|_not_recorded| {
        // A request that stands nowhere else would only mislead.
        fs::remove_file(&file).ok();
    })?;
    if options.format.format == words::Kind::Json {
        return print::taken_json(&taken, &door, Some(&file), out).map(|()| 0).map_err(failed);
    }
    print::request(&asked, out).map_err(failed)?;
    let (id, file, operators) = (&asked.id, file.display(), door.others(&asked.request.asked_by));
    write!(
        out,
        "recorded as {id}, and written to {file}. Nothing is open yet. {} of {operators} agree:\n  \
         sudare exception approve {id} --key FILE\n\
         or, on a machine without this configuration, sudare exception approve {file} --key FILE, and then here:\n  \
         sudare exception approve {id} --signature FILE\n",
        asked.request.approvers
    )
    .map_err(failed)?;
    Ok(0)
}

fn approve(id: &ExceptionId, options: &ApproveOptions, out: &mut dyn Write) -> Result<u8, Trouble> {
    if options.out.is_some() {
        return Err(wrong("--out is for a request's file; with an id the signature is recorded"));
    }
    let signer = options.key.as_deref().map(keys::operator_key).transpose().map_err(failed)?;
    let door = Door::open(&options.door, options.door.settings()?)?;
    let case = door.case(id)?;
    let json = options.format.format == words::Kind::Json;
    let mut signatures = Vec::new();
    for path in &options.signature {
        let read = Detached::read(&read(path)?);
        signatures.push(read.ok_or_else(|| failed(ExceptionError::NotASignature(path.display().to_string())))?);
    }
    if !json && signatures.is_empty() {
        print::asked(&case, out).map_err(failed)?;
    }
    signatures.extend(signer.map(|key| Detached::sign(case.text(), &key)));
    if signatures.is_empty() {
        writeln!(out, "Nothing was signed: give --key FILE to agree, or --signature FILE.").map_err(failed)?;
        return Ok(0);
    }
    for signature in signatures {
        let taken = door.take(Step::Approval { exception: id.clone(), signature })?;
        if json { print::taken_json(&taken, &door, None, out) } else { print::agreed(&taken, &door, out) }.map_err(failed)?;
    }
    Ok(0)
}

fn sign(request: &Path, options: &ApproveOptions, out: &mut dyn Write) -> Result<u8, Trouble> {
    if !options.signature.is_empty() {
        return Err(wrong("--signature is recorded for an exception, not for a file: name it by its id"));
    }
    let asked = Asked::read(&read(request)?).map_err(|error| failed(format!("{}: {error}", request.display())))?;
    print::request(&asked, out).map_err(failed)?;
    let Some(key) = &options.key else {
        writeln!(out, "Nothing was signed: give --key FILE to sign it.").map_err(failed)?;
        return Ok(0);
    };
    let signer = keys::operator_key(key).map_err(failed)?;
    let to = options.out.clone().unwrap_or_else(|| signature_beside(request, key));
    make(&to, Detached::sign(&asked.text, &signer).to_text().as_bytes())?;
    let (public, to) = (crypto::base64url(&signer.public().0), to.display());
    write!(
        out,
        "signed with the key {public}: {to}\nIt counts once it is recorded: sudare exception approve {} --signature {to}\n",
        asked.id
    )
    .map_err(failed)?;
    Ok(0)
}

fn note(what: What, options: &NoteOptions, out: &mut dyn Write) -> Result<u8, Trouble> {
    let key = keys::operator_key(&options.key).map_err(failed)?;
    let settings = options.door.settings()?;
    let by = operator(&settings, &key)?;
    let door = Door::open(&options.door, settings)?;
    let case = door.case(&options.id)?;
    let noted = Noted::new(&case, what, &options.reason, &by, SystemClock.now_ms()).map_err(wrong)?;
    let step = Step::Note { signature: Detached::sign(&noted.text, &key), text: noted.text };
    let taken = door.take(step)?;
    if options.format.format == words::Kind::Json {
        print::taken_json(&taken, &door, None, out).map_err(failed)?;
    } else {
        print::noted(&taken, what, &door, out).map_err(failed)?;
    }
    Ok(0)
}

fn list(options: &door::Options, format: &words::Format, out: &mut dyn Write) -> Result<u8, Trouble> {
    let door = Door::open(options, options.settings()?)?;
    let cases = door.cases();
    if format.format == words::Kind::Json {
        let all: Vec<_> = cases.iter().map(|case| print::case_json(case, &door)).collect();
        writeln!(out, "{:#}", serde_json::Value::from(all)).map_err(failed)?;
    } else {
        print::list(&cases, &door, out).map_err(failed)?;
    }
    Ok(0)
}

fn show(
    id: &ExceptionId,
    request: Option<&Path>,
    options: &door::Options,
    format: &words::Format,
    out: &mut dyn Write,
) -> Result<u8, Trouble> {
    let door = Door::open(options, options.settings()?)?;
    let case = door.case(id)?;
    if let Some(file) = request {
        make(file, case.text().as_bytes())?;
    }
    if format.format == words::Kind::Json {
        writeln!(out, "{:#}", print::case_json(&case, &door)).map_err(failed)?;
    } else {
        print::show(&case, &door, out).map_err(failed)?;
    }
    Ok(0)
}

/// Exceptions as a person whom they name may be told of them.
pub(super) struct Openings(Door);

/// The way to the ledger, for `sudare audit report`.
pub(super) fn door(file: words::File, via: Option<String>, credential: Option<String>) -> door::Options {
    door::Options { file, via, credential }
}

impl Openings {
    pub(super) fn open(options: &door::Options) -> Result<Self, Trouble> {
        let settings = options.settings()?;
        Door::open(options, settings).map(Self)
    }

    /// What may be said of one; None: nothing.
    pub(super) fn explain(&self, id: &str) -> Option<super::audit::Explained> {
        let case = id.parse().ok().and_then(|id| self.0.case(&id).ok())?;
        case.may_be_told(self.0.operators(), self.0.now()).then(|| print::explained(&case, &self.0))
    }
}

/// The name under which the configuration knows a key.
fn operator(settings: &Settings, key: &SigningKey) -> Result<String, Trouble> {
    let mut owners = settings.operators.iter().filter(|operator| operator.public == key.public());
    owners
        .next()
        .map(|operator| operator.name.clone())
        .ok_or_else(|| failed(ExceptionError::UnknownOperator(crypto::base64url(&key.public().0))))
}

fn all(errors: &[ExceptionError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn evidence(text: &str) -> Result<(String, String), String> {
    let (word, said) = text.split_once('=').ok_or("write WORD=TEXT, for instance case-number=K-17/2026")?;
    Ok((word.to_owned(), said.to_owned()))
}

/// One word of a person for one of several.
fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// How far a case is, by a door.
fn standing(case: &Case, door: &Door) -> crate::subject::exception::Standing {
    case.standing(door.operators(), door.now())
}
