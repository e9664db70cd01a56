//! The command line: one file per command; this one knows their words and nothing of what they do.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. Data goes to standard output, everything else to
//! standard error.

pub mod audit;
mod caller;
pub mod check;
mod demo;
mod discover;
pub mod init;
pub mod keys;
mod leakage;
mod meter;
pub mod policy;
mod seal;
mod serve;
mod store;
mod sweep;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::limits::STACK_BYTES;
use crate::base::{CallerName, CategoryName, Kid, PurposeName, RecordId, SystemClock};
use crate::config::{self, Environment};
use crate::keys::{Change, KeyError, Scope, Successor};
use crate::store::{Store, StoreError};
use crate::vault::Vault;

/// A screen between an application and its database: protects personal fields in JSON on write, reveals them by purpose.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.
#[derive(Debug, Parser)]
#[command(name = "sudare", version, arg_required_else_help = true)]
struct Words {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See the whole idea work: a proxy, an embedded database, five callers; nothing to set up
    Demo(demo::Options),
    /// Write a commented sudare.toml, policy.toml and a key ring to start from
    Init {
        /// Folder to write to; made if it is not there
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
    /// Check both files completely; every mistake at once. Without any: what each field tells whoever holds the database
    Check {
        #[command(flatten)]
        file: File,
        /// Only what each field tells, once nothing is wrong; with --format json one object a field
        #[arg(long)]
        leakage: bool,
        #[command(flatten)]
        format: Format,
    },
    /// Run the proxy; SIGHUP reloads, SIGTERM drains
    Serve {
        #[command(flatten)]
        file: File,
    },
    /// Propose a field map from sample documents: what in them looks personal
    ///
    /// By the names of members and by their values, in some fifteen languages. Prints paths, categories and counts, never a value; needs no
    /// configuration and no keys. Lines that are no JSON object are reported and left out; the exit code is then 1.
    Discover(discover::Options),
    /// Seal a file of documents as the proxy would: JSON Lines in, JSON Lines out
    ///
    /// Sealed values are kept, so a file may be sealed twice. A line that cannot be sealed is reported and left out, and without --skip-bad
    /// no file is made (on standard output good lines leave as they come; the exit code is 1). Progress stands on standard error, on a terminal only.
    Seal(seal::Options),
    /// Open a file of sealed documents, recorded in the audit log with your reason
    ///
    /// The way out of Sudare, or of a backup. The output holds clear text: keep it like the key. The log must be free, so `sudare serve`
    /// does not run with the same [audit] dir.
    Open {
        #[command(flatten)]
        options: seal::Options,
        /// Why; kept in the audit log with your user id, so name no person in it
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Upkeep of a whole collection in its database: migrate
    #[command(subcommand)]
    Sweep(SweepCommand),
    /// Callers: who may ask
    #[command(subcommand)]
    Caller(CallerCommand),
    /// The key ring: make, list, rotate, mark compromised, verify
    #[command(subcommand)]
    Keys(KeysCommand),
    /// The policy: explain, test, schema
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The audit log: read, prove, query
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The store of tokens and high-water marks: migrate, check, copy
    #[command(subcommand)]
    Store(store::Command),
}

#[derive(Debug, Subcommand)]
enum SweepCommand {
    /// Seal what is still clear in a collection, while the proxy serves it with strict = false
    ///
    /// Documents are written on the revision they were read with, so a newer one is never overwritten; sealed values are left alone, so a
    /// sweep that was broken off is begun again. Exit code 0 once a whole pass has found nothing clear.
    Migrate(sweep::Options),
}

#[derive(Debug, Subcommand)]
enum CallerCommand {
    /// Make a credential, print it once, and the lines for sudare.toml
    Add {
        /// Name of the caller, e.g. helpdesk
        name: String,
        #[command(flatten)]
        file: File,
        /// Append the lines to sudare.toml
        #[arg(long)]
        write: bool,
    },
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make the ring and the key file where they are absent; nothing is overwritten
    Init {
        #[command(flatten)]
        file: File,
    },
    /// List lines and versions
    List {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
    /// Make a new version of a line and seal under it from now on; older ones still open
    Rotate {
        #[command(flatten)]
        changing: Changing,
        /// seal, lookup, token, audit, or pseudonym/SCOPE
        #[arg(long, default_value = "seal")]
        line: String,
        /// Only publish the new version, so that every node has it before any seals under it; `activate` follows
        #[arg(long)]
        publish_only: bool,
    },
    /// Seal under a published version from now on; the one before it is deactivated
    Activate {
        #[command(flatten)]
        changing: Changing,
        /// The version's id, as `sudare keys list` prints it
        kid: Kid,
    },
    /// Let a version protect nothing more; activating another does that by itself
    ///
    /// A line always has an active version, so this is refused for it; what is left is to end a pseudonym scope.
    Deactivate {
        #[command(flatten)]
        changing: Changing,
        /// The version's id, as `sudare keys list` prints it
        kid: Kid,
        /// Of a line pseudonym/SCOPE: show no pseudonym of it any more
        #[arg(long)]
        end_scope: bool,
    },
    /// Somebody else may know these versions: what they protect is shown to nobody until it is written anew
    ///
    /// All in one write, or none. There is no way back.
    Compromise {
        #[command(flatten)]
        changing: Changing,
        /// Their ids, as `sudare keys list` prints them
        #[arg(required = true, value_name = "KID")]
        kids: Vec<Kid>,
        /// Make and activate a new version in place of one that is active
        #[arg(long)]
        replace: bool,
    },
    /// Check the ring: seal of the manifest, every wrapped key, every commitment
    Verify {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Who sees what, and which rule says so
    Explain {
        #[command(flatten)]
        file: File,
        /// Caller; all if not given
        #[arg(long)]
        caller: Option<String>,
        /// Purpose, by name or dpv id; all the caller has if not given
        #[arg(long)]
        purpose: Option<String>,
        #[command(flatten)]
        format: Format,
    },
    /// Run the [[test]] tables of the policy
    Test {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
    /// Print the JSON Schema of policy.toml
    Schema,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// The last events
    Tail {
        #[command(flatten)]
        file: File,
        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: usize,
        #[command(flatten)]
        format: Format,
    },
    /// Prove that nothing was edited, reordered, cut off or removed, and that the log still is what its checkpoints say
    Verify {
        #[command(flatten)]
        file: File,
        /// Also hold it against a checkpoint that was kept elsewhere; may be given several times
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
        /// Also believe this verifier key, as `sudare audit key` printed it; may be given several times
        #[arg(long, value_name = "KEY")]
        key: Vec<crate::audit::VerifierKey>,
        /// For outsiders: a copy of the audit folder, held against its checkpoints by --key alone; needs no file and no key ring
        #[arg(long, value_name = "DIR", requires = "key", conflicts_with = "config")]
        dir: Option<PathBuf>,
        #[command(flatten)]
        format: Format,
    },
    /// Prove the log and print a signed checkpoint of it: keep it where nobody who can write the log can
    Checkpoint {
        #[command(flatten)]
        file: File,
    },
    /// Print what anybody can check the log's checkpoints with
    Key {
        #[command(flatten)]
        file: File,
        #[command(flatten)]
        format: Format,
    },
    /// Who saw what of whom, for what; all that is given must fit
    Report {
        #[command(flatten)]
        file: File,
        /// Only about this data subject: its id as it stands in the documents
        #[arg(long)]
        subject: Option<String>,
        /// Only this caller
        #[arg(long)]
        caller: Option<String>,
        /// Only this purpose, by its name in the policy
        #[arg(long)]
        purpose: Option<String>,
        /// Only where values of this category were shown or protected
        #[arg(long)]
        category: Option<String>,
        /// From this time on: RFC 3339, or a date, which is its midnight in UTC
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
        /// Before this time: RFC 3339, or a date, which is its midnight in UTC
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Args)]
struct File {
    /// The engineers' file; policy.toml is named in it
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "sudare.toml")]
    config: PathBuf,
}

/// What every command takes that changes the ring.
#[derive(Debug, Args)]
struct Changing {
    #[command(flatten)]
    file: File,
    /// Do it only if the ring is still at this revision, as `sudare keys list` printed it
    #[arg(long, value_name = "N")]
    at_revision: Option<u64>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
struct Format {
    /// How data is printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Kind,
}

impl Changing {
    fn of<'a>(&self, config: &'a crate::keys::Config) -> Change<'a> {
        Change { config, clock: &SystemClock, at_revision: self.at_revision }
    }
}

impl From<Format> for policy::Format {
    fn from(format: Format) -> Self {
        if format.format == Kind::Json { Self::Json } else { Self::Table }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Table,
    Json,
}

/// Exit code: something failed.
const FAILED: u8 = 1;
/// Exit code: wrong usage or configuration.
const USAGE: u8 = 2;

/// Runs the command line; the process ends with what comes back.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words = match Words::try_parse_from(arguments) {
        Ok(words) => words,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            return ExitCode::from(if error.print().is_ok() { code } else { FAILED });
        }
    };
    let mut out = io::stdout().lock();
    let code = match command(words.command, &mut out) {
        Ok(code) => code,
        Err(Trouble { code, sentence }) => {
            complain(&sentence);
            code
        }
    };
    ExitCode::from(if out.flush().is_ok() { code } else { FAILED })
}

/// A command that did not do what it was asked.
struct Trouble {
    code: u8,
    sentence: String,
}

fn failed(error: impl std::fmt::Display) -> Trouble {
    Trouble { code: FAILED, sentence: error.to_string() }
}

fn wrong(error: impl std::fmt::Display) -> Trouble {
    Trouble { code: USAGE, sentence: error.to_string() }
}

fn command(command: Command, out: &mut dyn Write) -> Result<u8, Trouble> {
    match command {
        Command::Demo(options) => Ok(demo::run(&options, out)),
        Command::Init { dir } => init::run(&dir, &SystemClock, out).map(|()| 0).map_err(failed),
        Command::Check { file, leakage, format } => {
            let format = if format.format == Kind::Json { check::Format::Json } else { check::Format::Text };
            let environment = |name: &str| std::env::var(name).ok().map(zeroize::Zeroizing::new);
            if leakage {
                return check::leakage(&file.config, Environment::Read(&environment), format, out).map_err(failed);
            }
            check::run(&file.config, format, out).map_err(failed)
        }
        Command::Serve { file } => Ok(serve::run(&file.config, out)),
        Command::Discover(options) => discover::run(&options, out),
        Command::Seal(options) => seal::seal(&options, out),
        Command::Open { options, reason } => seal::open(&options, &reason, out),
        Command::Sweep(SweepCommand::Migrate(options)) => sweep::run(&options, out),
        Command::Caller(CallerCommand::Add { name, file, write }) => caller::add(&name, &file.config, write, out).map(|()| 0),
        Command::Keys(command) => keys_command(command, out),
        Command::Policy(command) => policy_command(command, out),
        Command::Audit(command) => audit_command(command, out),
        Command::Store(command) => store::run(&command, out),
    }
}

fn keys_command(command: KeysCommand, out: &mut dyn Write) -> Result<u8, Trouble> {
    let (KeysCommand::Init { file }
    | KeysCommand::List { file, .. }
    | KeysCommand::Verify { file, .. }
    | KeysCommand::Rotate { changing: Changing { file, .. }, .. }
    | KeysCommand::Activate { changing: Changing { file, .. }, .. }
    | KeysCommand::Deactivate { changing: Changing { file, .. }, .. }
    | KeysCommand::Compromise { changing: Changing { file, .. }, .. }) = &command;
    let settings = config::load_with(&file.config, Environment::Ignored).map_err(wrong)?;
    let ring = &settings.keys;
    let done = match command {
        KeysCommand::Init { .. } => {
            keys::init(ring, &settings.policy.pseudonym_scopes(), &SystemClock, policy::Format::Table, out)
        }
        KeysCommand::List { format, .. } => keys::list(ring, format.into(), out),
        KeysCommand::Rotate { line, publish_only: true, changing } => {
            keys::publish(&changing.of(ring), &line, changing.format.into(), out)
        }
        KeysCommand::Rotate { line, publish_only: false, changing } => {
            keys::rotate(&changing.of(ring), &line, changing.format.into(), out)
        }
        KeysCommand::Activate { kid, changing } => keys::activate(&changing.of(ring), kid, changing.format.into(), out),
        KeysCommand::Deactivate { kid, end_scope, changing } => {
            let scope = if end_scope { Scope::End } else { Scope::Keep };
            keys::deactivate(&changing.of(ring), kid, scope, changing.format.into(), out)
        }
        KeysCommand::Compromise { kids, replace, changing } => {
            let successor = if replace { Successor::Make } else { Successor::MustBeThere };
            keys::compromise(&changing.of(ring), &kids, successor, changing.format.into(), out)
        }
        KeysCommand::Verify { format, .. } => {
            return keys::verify(ring, format.into(), out).map(|sound| if sound { 0 } else { FAILED }).map_err(failed);
        }
    };
    done.map(|()| 0).map_err(|error| match error {
        keys::KeysCommandError::Line { .. }
        | keys::KeysCommandError::Key(KeyError::NoSuchLine(_) | KeyError::NoSuchVersion(_) | KeyError::NoScopeToEnd(_)) => {
            wrong(error)
        }
        keys::KeysCommandError::Key(_) | keys::KeysCommandError::Print(_) => failed(error),
    })
}

fn audit_command(command: AuditCommand, out: &mut dyn Write) -> Result<u8, Trouble> {
    let (AuditCommand::Tail { file, .. }
    | AuditCommand::Verify { file, .. }
    | AuditCommand::Checkpoint { file }
    | AuditCommand::Key { file, .. }
    | AuditCommand::Report { file, .. }) = &command;
    if let AuditCommand::Verify { checkpoint, key, dir: Some(dir), format, .. } = command {
        let sound = audit::verify_as_outsider(&dir, &given(&checkpoint, key)?, format.into(), out).map_err(failed)?;
        return Ok(if sound { 0 } else { FAILED });
    }
    let settings = config::load_with(&file.config, Environment::Ignored).map_err(wrong)?;
    let dir = settings.audit.dir.as_path();
    let keys = || crate::keys::KeyRing::open(&settings.keys).and_then(|ring| ring.audit_keys()).map_err(failed);
    let sound = match command {
        AuditCommand::Tail { lines, format, .. } => audit::tail(dir, lines, format.into(), out).map(|()| true),
        AuditCommand::Verify { checkpoint, key, format, .. } => {
            audit::verify(dir, &keys()?, &given(&checkpoint, key)?, format.into(), out)
        }
        AuditCommand::Checkpoint { .. } => audit::checkpoint(dir, &keys()?, out).map(|()| true),
        AuditCommand::Key { format, .. } => audit::key(dir, &keys()?, format.into(), out).map(|()| true),
        AuditCommand::Report { subject, caller, purpose, category, since, until, format, .. } => {
            let filter = crate::audit::Filter {
                subject: subject
                    .map(|id| RecordId::from_text(&id))
                    .transpose()
                    .map_err(|error| wrong(format!("--subject: {error}")))?,
                caller: caller.as_deref().map(CallerName::new),
                purpose: purpose.as_deref().map(PurposeName::new),
                category: category.as_deref().map(CategoryName::new),
                since_ms: since.map(|time| time_ms("--since", &time)).transpose()?,
                until_ms: until.map(|time| time_ms("--until", &time)).transpose()?,
            };
            if filter.since_ms.zip(filter.until_ms).is_some_and(|(since, until)| since >= until) {
                return Err(wrong("--since is not before --until: no event can fit"));
            }
            note_unknown(&settings, &filter);
            audit::report(dir, &keys()?, &filter, format.into(), out)
        }
    };
    sound.map(|sound| if sound { 0 } else { FAILED }).map_err(failed)
}

/// What was kept elsewhere, and what to check it with.
fn given(files: &[PathBuf], verifiers: Vec<crate::audit::VerifierKey>) -> Result<crate::audit::Given, Trouble> {
    let read = |path: &PathBuf| {
        let place = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| wrong(format!("--checkpoint {place}: cannot be read: {error}")))?;
        Ok((place, bytes))
    };
    Ok(crate::audit::Given { checkpoints: files.iter().map(read).collect::<Result<_, Trouble>>()?, verifiers })
}

/// A name that the configuration does not have fits nothing; it may have had it once, so this is a note and no mistake.
fn note_unknown(settings: &config::Settings, filter: &crate::audit::Filter) {
    let note = |what: &str, name: &str, known: Vec<&str>| {
        if !known.contains(&name) {
            complain(&format!("note: the configuration has no {what} {name} (now); it has {}", known.join(", ")));
        }
    };
    if let Some(caller) = &filter.caller {
        note("caller", caller.as_str(), settings.callers.names().into_iter().map(CallerName::as_str).collect());
    }
    if let Some(purpose) = &filter.purpose {
        note("purpose", purpose.as_str(), settings.policy.purposes().iter().map(|purpose| purpose.name.as_str()).collect());
    }
    if let Some(category) = &filter.category {
        note("category", category.as_str(), settings.policy.categories().iter().map(|category| category.name.as_str()).collect());
    }
}

/// A time of RFC 3339, or a date for its midnight in UTC, in milliseconds since 1970.
fn time_ms(option: &str, text: &str) -> Result<u64, Trouble> {
    const LIKE: &str = "write a time like 2026-11-22T16:00:00Z, or a date like 2026-11-22";
    let complain = |why: &dyn std::fmt::Display| wrong(format!("{option} {text:?}: {why}; {LIKE}"));
    // A date has ten characters; a longer text is a time and must name its offset from UTC.
    let time = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time: jiff::Timestamp = time.parse().map_err(|error| complain(&error))?;
    u64::try_from(time.as_millisecond()).map_err(|_before_1970| complain(&"before 1970"))
}

fn policy_command(command: PolicyCommand, out: &mut dyn Write) -> Result<u8, Trouble> {
    match command {
        PolicyCommand::Explain { file, caller, purpose, format } => {
            let loaded = config::load_policy_only(&file.config).map_err(wrong)?;
            let options = policy::ExplainOptions {
                file: &loaded.policy_file.display().to_string(),
                caller: caller.as_deref(),
                purpose: purpose.as_deref(),
                format: format.into(),
            };
            policy::explain(&loaded.policy, &options, out).map(|()| 0).map_err(policy_trouble)
        }
        PolicyCommand::Test { file, format } => {
            let loaded = config::load_policy_only(&file.config).map_err(wrong)?;
            let options = policy::TestOptions { file: &loaded.policy_file.display().to_string(), format: format.into() };
            policy::test(&loaded.policy, &options, out).map(|passed| if passed { 0 } else { FAILED }).map_err(policy_trouble)
        }
        PolicyCommand::Schema => policy::schema(out).map(|()| 0).map_err(failed),
    }
}

fn policy_trouble(error: policy::PolicyCommandError) -> Trouble {
    if matches!(error, policy::PolicyCommandError::Unknown { .. }) { wrong(error) } else { failed(error) }
}

/// The place of a collection in the settings, by its name.
fn collection_index(settings: &config::Settings, name: &str) -> Result<usize, Trouble> {
    let names: Vec<&str> = settings.collections.iter().map(|collection| collection.field_map.name.as_str()).collect();
    names.iter().position(|known| *known == name).ok_or_else(|| {
        wrong(format!("--collection {name:?}: the configuration has no such collection; it has {}", names.join(", ")))
    })
}

/// The vault, if values of the collection are in it. Its store may be held by a running proxy.
fn vault(
    file: &std::path::Path,
    collection: &crate::field::Collection,
    keys: &Arc<crate::keys::KeyRing>,
) -> Result<Option<Vault>, Trouble> {
    if !collection.has_tokens() {
        return Ok(None);
    }
    // The store's password is asked for only where it is used.
    let config = config::load_store_only(file).map_err(wrong)?;
    let store = Store::open(&config, None).map_err(|error| {
        if let StoreError::InUse(path) = &error {
            failed(format!(
                "{}: a running `sudare serve` holds this store, and collection {} has tokens in it: stop it meanwhile, or send the documents through it",
                path.display(),
                collection.name
            ))
        } else {
            failed(error)
        }
    })?;
    Ok(Some(Vault::new(Arc::new(store), Arc::clone(keys))))
}

/// The runtime of commands that serve: one worker per core.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(|error| format!("no runtime can be started: {error}"))
}

/// Tells the operator, on standard error.
fn complain(what: &dyn std::fmt::Display) {
    let text = what.to_string();
    let mut out = io::stderr().lock();
    // Nobody is left to tell if this fails.
    let _told = writeln!(out, "{}", text.trim_end());
}
