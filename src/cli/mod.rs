//! The command line: one file per command, `words.rs` for what is read; this one knows which is which and nothing of what they do.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. Data goes to standard output, everything else to
//! standard error.

pub mod audit;
mod caller;
pub mod check;
mod combined;
mod demo;
mod discover;
mod exception;
pub mod init;
pub mod keys;
mod leakage;
mod meter;
mod operators;
pub mod policy;
mod seal;
mod serve;
mod store;
mod subject;
mod sweep;
mod words;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;

use words::{
    AuditCommand, CallerCommand, Changing, Command, File, Format, KeysCommand, KeysWords, Kind, PolicyCommand, SweepCommand,
    Times, Words,
};

use crate::base::limits::STACK_BYTES;
use crate::base::{CallerName, CategoryName, PurposeName, RecordId, SystemClock};
use crate::config::{self, Environment};
use crate::keys::{KeyError, Onto, Rings, Scope, Successor};
use crate::store::{Store, StoreError};
use crate::vault::Vault;

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
        Command::Keys(KeysWords::Ring(command)) => keys_command(command, out),
        Command::Keys(KeysWords::Ending(command)) => keys::ending::run(&command, out),
        Command::Policy(command) => policy_command(command, out),
        Command::Exception(command) => exception::run(&command, out),
        Command::Audit(command) => audit_command(command, out),
        Command::Store(command) => store::run(&command, out),
        Command::Subject(command) => subject::run(command, out),
    }
}

fn keys_command(command: KeysCommand, out: &mut dyn Write) -> Result<u8, Trouble> {
    let (KeysCommand::Init { file, .. }
    | KeysCommand::List { file, .. }
    | KeysCommand::Verify { file, .. }
    | KeysCommand::Rotate { changing: Changing { file, .. }, .. }
    | KeysCommand::Activate { changing: Changing { file, .. }, .. }
    | KeysCommand::Deactivate { changing: Changing { file, .. }, .. }
    | KeysCommand::Compromise { changing: Changing { file, .. }, .. }
    | KeysCommand::ChangeKek { changing: Changing { file, .. }, .. }
    | KeysCommand::Nodes { file, .. }
    | KeysCommand::Copy { file, .. }
    | KeysCommand::Move { changing: Changing { file, .. }, .. }
    | KeysCommand::Rewrap(keys::rewrap::Options { file, .. })) = &command;
    let folder = file.config.parent().unwrap_or(Path::new("")).to_owned();
    let settings = load_for_keys(&file.config, &command)?;
    let name = match &command {
        KeysCommand::Init { ring, .. } | KeysCommand::List { ring, .. } | KeysCommand::Verify { ring, .. } => ring.ring.as_ref(),
        KeysCommand::Rotate { changing, .. }
        | KeysCommand::Activate { changing, .. }
        | KeysCommand::Deactivate { changing, .. }
        | KeysCommand::Compromise { changing, .. }
        | KeysCommand::ChangeKek { changing, .. }
        | KeysCommand::Move { changing, .. } => Some(&changing.ring),
        KeysCommand::Copy { ring, .. } => Some(ring),
        KeysCommand::Nodes { .. } | KeysCommand::Rewrap(_) => None,
    };
    let ring = name.map_or(Ok(&settings.keys), |name| settings.ring(name)).map_err(wrong)?;
    let shown = if name.is_some() { keys::Several::one(ring) } else { keys::Several::of(&settings) };
    if !ring.name.is_main() {
        apart(&settings, ring, &command)?;
    }
    let done = match command {
        KeysCommand::Init { .. } => shown.init(&settings.policy.pseudonym_scopes(), &SystemClock, out),
        KeysCommand::List { all, format, .. } => {
            let which = if all { keys::Versions::All } else { keys::Versions::Live };
            shown.list(which, format.into(), out)
        }
        KeysCommand::Rotate { line, publish_only: true, changing, .. } => {
            keys::publish(&changing.of(ring), &line, changing.format.into(), out)
        }
        KeysCommand::Rotate { line, publish_only: false, changing, patience } => {
            keys::rotate_everywhere(&changing.of(ring), &line, &patience.into(), changing.format.into(), out)
        }
        KeysCommand::Activate { kid, changing, patience } => {
            keys::activate_everywhere(&changing.of(ring), kid, &patience.into(), changing.format.into(), out)
        }
        KeysCommand::Nodes { format, .. } => keys::nodes(ring, format.into(), out),
        KeysCommand::Copy { to, format, .. } => keys::copy(ring, &to, format.into(), out),
        KeysCommand::Move { changing, to } => {
            let target = crate::keys::Config { ring: moved_to(ring, &to, &folder)?, ..ring.clone() };
            keys::relocate(ring, &target, &SystemClock, changing.at_revision, changing.format.into(), out)
        }
        KeysCommand::Deactivate { kid, end_scope, changing } => {
            let scope = if end_scope { Scope::End } else { Scope::Keep };
            keys::deactivate(&changing.of(ring), kid, scope, changing.format.into(), out)
        }
        KeysCommand::Compromise { kids, replace, changing, wait } => {
            let successor = if replace { Successor::Make } else { Successor::MustBeThere };
            let limit = std::time::Duration::from_secs(wait);
            keys::compromise_everywhere(&changing.of(ring), &kids, successor, limit, changing.format.into(), out)
        }
        KeysCommand::ChangeKek { same, changing } => {
            let onto = if same { Onto::Same } else { Onto::Next };
            keys::change_kek(&changing.of(ring), onto, changing.format.into(), out)
        }
        KeysCommand::Rewrap(options) => return keys::rewrap::run(&options, out),
        KeysCommand::Verify { format, .. } => {
            return shown.verify(format.into(), out).map(|sound| if sound { 0 } else { FAILED }).map_err(failed);
        }
    };
    done.map(|()| 0).map_err(|error| {
        let note = keys::note_of(&settings, ring, &error);
        let trouble = match error {
            keys::KeysCommandError::Line { .. }
            | keys::KeysCommandError::Key(
                KeyError::NoSuchLine(_)
                | KeyError::NoSuchVersion(_)
                | KeyError::NoScopeToEnd(_)
                | KeyError::NoNextKek(_)
                | KeyError::NotRewrapped { .. },
            ) => wrong(error),
            keys::KeysCommandError::Key(_)
            | keys::KeysCommandError::NotEverywhere(_)
            | keys::KeysCommandError::NotInForce(_)
            | keys::KeysCommandError::Print(_) => failed(error),
        };
        Trouble { sentence: trouble.sentence + &note, ..trouble }
    })
}

/// Nodes tell each other of the main ring alone, and it alone can be in the store they share: what that means for a command about another.
fn apart(settings: &config::Settings, ring: &crate::keys::Config, command: &KeysCommand) -> Result<(), Trouble> {
    let name = &ring.name;
    if matches!(command, KeysCommand::Move { .. }) {
        return Err(wrong(format!(
            "--ring {name}: only the ring main can be moved into the store; that of a group of fields stays in a file, which is brought to the nodes that hold it"
        )));
    }
    if settings.keys.ring.shared().is_none() {
        return Ok(());
    }
    let look = "sudare_key_ring_revision in its /metrics says what it holds";
    match command {
        KeysCommand::Rotate { publish_only: false, line, .. } => Err(wrong(format!(
            "--ring {name}: nodes share this store, and for this ring none is waited for, so a version cannot be made and activated at once: \
             `sudare keys rotate --ring {name} --line {line} --publish-only`, bring {} to every node that holds the ring, see that each has it ({look}), then `sudare keys activate --ring {name} KID`",
            ring.ring
        ))),
        KeysCommand::Activate { .. } => {
            complain(&format!(
                "note: for the ring {name} no node is waited for: one that does not have the version yet cannot open what is sealed under it ({look})"
            ));
            Ok(())
        }
        KeysCommand::Compromise { .. } => {
            complain(&format!(
                "note: for the ring {name} no node is waited for: bring {} to every node that holds the ring, and see that each has it ({look}); until then it goes on showing what hangs on these versions",
                ring.ring
            ));
            Ok(())
        }
        KeysCommand::Init { .. }
        | KeysCommand::List { .. }
        | KeysCommand::Rotate { .. }
        | KeysCommand::Deactivate { .. }
        | KeysCommand::Nodes { .. }
        | KeysCommand::Copy { .. }
        | KeysCommand::Move { .. }
        | KeysCommand::ChangeKek { .. }
        | KeysCommand::Rewrap(_)
        | KeysCommand::Verify { .. } => Ok(()),
    }
}

/// The configuration, with what the store needs if the command asks it: where the ring is in it, and where other nodes are to be heard.
fn load_for_keys(path: &Path, command: &KeysCommand) -> Result<config::Settings, Trouble> {
    let settings = config::load_with(path, Environment::Ignored).map_err(wrong)?;
    let asks = match command {
        KeysCommand::Rotate { publish_only, .. } => !publish_only,
        KeysCommand::Activate { .. } | KeysCommand::Compromise { .. } | KeysCommand::Nodes { .. } | KeysCommand::Move { .. } => {
            true
        }
        KeysCommand::Init { .. }
        | KeysCommand::List { .. }
        | KeysCommand::Verify { .. }
        | KeysCommand::Deactivate { .. }
        | KeysCommand::ChangeKek { .. }
        | KeysCommand::Copy { .. }
        | KeysCommand::Rewrap(_) => false,
    };
    if settings.keys.ring.is_store() || (asks && settings.keys.ring.shared().is_some()) {
        config::load_with(path, config::STORE_ONLY).map_err(wrong)
    } else {
        Ok(settings)
    }
}

/// The configuration for commands that open the ring and need no other credential: that of the store only if the ring is in it.
fn load_with_ring(path: &Path) -> Result<config::Settings, Trouble> {
    let settings = config::load_with(path, Environment::Ignored).map_err(wrong)?;
    if settings.keys.ring.is_store() { config::load_with(path, config::STORE_ONLY).map_err(wrong) } else { Ok(settings) }
}

/// Where `keys move` is to put the ring.
fn moved_to(ring: &crate::keys::Config, to: &Path, folder: &Path) -> Result<crate::keys::Place, Trouble> {
    let shared = ring.ring.shared();
    if to != Path::new("store") {
        if ring.ring.as_file().is_some() {
            return Err(wrong("--to: the ring is in a file; move a file, and name it in [keys] ring, or write --to store"));
        }
        return Ok(crate::keys::Place::file(to.to_owned(), shared.cloned()));
    }
    match shared {
        _ if ring.ring.is_store() => Err(wrong("--to store: [keys] ring says that the ring is in the store already")),
        Some(shared) => Ok(crate::keys::Place::store(ring.ring_name(), shared.clone(), folder.join("keys/ring.marks"))),
        None => Err(wrong(
            "--to store: a ring can be kept in a store that nodes share, and [store] is a file of one node: name one in PostgreSQL in [store] url",
        )),
    }
}

fn audit_command(command: AuditCommand, out: &mut dyn Write) -> Result<u8, Trouble> {
    let (AuditCommand::Tail { file, which, .. }
    | AuditCommand::Verify { file, which, .. }
    | AuditCommand::Checkpoint { file, which }
    | AuditCommand::Key { file, which, .. }
    | AuditCommand::Report { file, which, .. }
    | AuditCommand::Combined { file, which, .. }) = &command;
    let of_operators = which.operators;
    if let AuditCommand::Verify { checkpoint, key, dir: Some(dir), format, .. } = command {
        let sound = audit::verify_as_outsider(&dir, &given(&checkpoint, key)?, format.into(), out).map_err(failed)?;
        return Ok(if sound { 0 } else { FAILED });
    }
    let settings = load_with_ring(&file.config)?;
    let apart = crate::audit::operators_dir(&settings.audit.dir);
    let dir = if of_operators { apart.as_path() } else { settings.audit.dir.as_path() };
    if of_operators && !apart.exists() {
        return Err(failed(format!("{}: operators have done nothing by hand yet, so there is no log of it", apart.display())));
    }
    let keys = || crate::keys::KeyRing::open(&settings.keys).and_then(|ring| ring.audit_keys()).map_err(failed);
    let sound = match command {
        AuditCommand::Tail { lines, format, .. } => audit::tail(dir, lines, format.into(), out).map(|()| true),
        AuditCommand::Verify { checkpoint, key, format, .. } => {
            let table = format.format == Kind::Table;
            let sound = audit::verify(dir, &keys()?, &given(&checkpoint, key)?, format.into(), out).map_err(failed)?;
            if table && !of_operators && apart.exists() {
                let said =
                    writeln!(out, "what operators did by hand stands in a log of its own: `sudare audit verify --operators`");
                said.map_err(failed)?;
            }
            Ok(sound)
        }
        AuditCommand::Checkpoint { .. } => audit::checkpoint(dir, &keys()?, out).map(|()| true),
        AuditCommand::Key { format, .. } => audit::key(dir, &keys()?, format.into(), out).map(|()| true),
        AuditCommand::Report {
            file, subject, for_subject, via, credential, caller, purpose, category, times, format, ..
        } => {
            let filter = filter(subject, caller.as_deref(), purpose.as_deref(), category.as_deref(), times)?;
            note_unknown(&settings, &filter);
            if for_subject {
                let openings = exception::Openings::open(&exception::door(file, via, credential))?;
                let explain = |id: &str| openings.explain(id);
                audit::handed_out(dir, &keys()?, &filter, &explain, format.into(), out)
            } else {
                audit::report(dir, &keys()?, &filter, format.into(), out)
            }
        }
        AuditCommand::Combined { within, caller, times, format, .. } => {
            let filter = filter(None, caller.as_deref(), None, None, times)?;
            note_unknown(&settings, &filter);
            let within_ms = i64::from(within).saturating_mul(3_600_000);
            combined::combined(dir, &keys()?, &settings.policy, &filter, within_ms, format.into(), out)
        }
    };
    sound.map(|sound| if sound { 0 } else { FAILED }).map_err(failed)
}

/// Which events are asked for.
fn filter(
    subject: Option<String>,
    caller: Option<&str>,
    purpose: Option<&str>,
    category: Option<&str>,
    Times { since, until }: Times,
) -> Result<crate::audit::Filter, Trouble> {
    let filter = crate::audit::Filter {
        subject: subject.map(|id| RecordId::from_text(&id)).transpose().map_err(|error| wrong(format!("--subject: {error}")))?,
        caller: caller.map(CallerName::new),
        purpose: purpose.map(PurposeName::new),
        category: category.map(CategoryName::new),
        since_ms: since.map(|time| time_ms("--since", &time)).transpose()?,
        until_ms: until.map(|time| time_ms("--until", &time)).transpose()?,
    };
    if filter.since_ms.zip(filter.until_ms).is_some_and(|(since, until)| since >= until) {
        return Err(wrong("--since is not before --until: no event can fit"));
    }
    Ok(filter)
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
        PolicyCommand::Explain { file, caller, purpose, fact, age, holds, format } => {
            let loaded = config::load_policy_only(&file.config).map_err(wrong)?;
            let options = policy::ExplainOptions {
                file: &loaded.policy_file.display().to_string(),
                caller: caller.as_deref(),
                purpose: purpose.as_deref(),
                facts: &fact,
                age,
                holds: &holds,
                format: format.into(),
            };
            policy::explain(&loaded.policy, &options, out).map(|()| 0).map_err(policy_trouble)
        }
        PolicyCommand::Test { file, format } => {
            let loaded = config::load_policy_only(&file.config).map_err(wrong)?;
            let options = policy::TestOptions { file: &loaded.policy_file.display().to_string(), format: format.into() };
            policy::test(&loaded.policy, &options, out).map(|passed| if passed { 0 } else { FAILED }).map_err(policy_trouble)
        }
        PolicyCommand::Coverage { file, format, audit } => {
            let loaded = config::load_policy_only(&file.config).map_err(wrong)?;
            let folder = loaded.policy_file.parent().unwrap_or(std::path::Path::new(""));
            let Some(register) = &loaded.register else {
                let place = folder.join("clauses.toml");
                return Err(wrong(format!(
                    "there is no {}: write the register of your published policy there (docs/policy.md), one line for each clause",
                    place.display()
                )));
            };
            let seen = match audit {
                Some(dir) => audit::purposes(&dir).map_err(failed)?,
                None => Vec::new(),
            };
            let file = loaded.policy_file.display().to_string();
            let options = policy::CoverageOptions { file: &file, folder, seen: &seen, format: format.into() };
            let good = policy::coverage(&loaded.policy, register, &options, out).map_err(failed)?;
            Ok(if good { 0 } else { FAILED })
        }
        PolicyCommand::Diff { old, new, format } => {
            let before = config::load_policy_file(&old).map_err(wrong)?;
            let after = config::load_policy_file(&new).map_err(wrong)?;
            let (old, new) = (old.display().to_string(), new.display().to_string());
            let options = policy::DiffOptions { old_file: &old, new_file: &new, format: format.into() };
            let gains = policy::diff(&before, &after, &options, out).map_err(failed)?;
            Ok(if gains { FAILED } else { 0 })
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

/// Opens the rings that this node holds, for work on whole documents of a collection: that takes all of its rings.
fn rings_of(settings: &config::Settings, collection: &crate::field::Collection) -> Result<Arc<Rings>, Trouble> {
    let rings = Rings::open(&settings.keys, &settings.other_rings).map_err(failed)?;
    holds_all(collection, &rings)?;
    Ok(Arc::new(rings))
}

fn holds_all(collection: &crate::field::Collection, rings: &Rings) -> Result<(), Trouble> {
    let Some(field) = collection.not_held(rings) else { return Ok(()) };
    let (collection, field, ring) = (&collection.name, &field.name, &field.ring);
    Err(wrong(format!(
        "field {field} of collection {collection} has its keys in the ring {ring}, which this node does not hold: run this where every ring of the collection is held"
    )))
}

/// The vault, if values of the collection are in it. Its store may be held by a running proxy.
fn vault(file: &std::path::Path, collection: &crate::field::Collection, keys: &Arc<Rings>) -> Result<Option<Vault>, Trouble> {
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
