//! `sudare keys rewrap`: seals anew, under the active versions, what hangs on others; in the database and in the vault, while clients go on.
//!
//! Always holds: no value is printed; a document is told by its id only in the file of `--names`. The summary goes to standard output,
//! progress (on a terminal) and what is wrong to standard error.

mod print;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{Args, ValueEnum};

use crate::cli::meter::Meter;
use crate::cli::{self, FAILED, Trouble, failed, wrong};
use crate::config::{self, Settings};
use crate::field::{Lines, Protection};
use crate::keys::{Follow, LineName, Rings};
use crate::store::{Store, StoreError};
use crate::sweep::{Counts, Ended, Name, Names, NewestRings, Progress, Rewrap, VaultRewrap, rewrap, rewrap_vault};
use crate::upstream::{Endpoint, Upstream};
use crate::vault::{Scope, Vault, Which};

use print::{Looked, Part, Summary};

/// Names that are held at most until they are kept; what is left is found again by the next run.
const MOST_NAMES: usize = 100_000;
/// What stands for the vault where a collection is named.
const VAULT: &str = "(vault)";

/// What the command takes.
#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    pub(in crate::cli) file: cli::File,
    /// Only this collection, and the tokens of its fields; may be given several times
    #[arg(long, value_name = "NAME")]
    collection: Vec<String>,
    /// Only what hangs on versions of this line; may be given several times
    #[arg(long, value_name = "LINE")]
    line: Vec<Line>,
    /// Documents (then rows of the vault) written a second at most; no bound if not given
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Pages of documents in work at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    /// Only count; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Where to name documents and fields that do not open, or hung on a compromised version; added to if it is there
    ///
    /// Never a value, but keep it like the ids. Without it a value that hangs on a compromised version is not sealed anew: it may be forged,
    /// and nobody could tell it from others afterwards.
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    #[command(flatten)]
    format: cli::Format,
}

/// The lines on which stored values hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Line {
    Seal,
    Lookup,
    Token,
}

/// Runs.
pub(in crate::cli) fn run(options: &Options, out: &mut dyn Write) -> Result<u8, Trouble> {
    let mut settings = config::load(&options.file.config).map_err(wrong)?;
    for name in &options.collection {
        cli::collection_index(&settings, name)?;
    }
    let follow = Arc::new(Follow::open(settings.keys.clone(), &settings.other_rings).map_err(failed)?);
    holds_all(&settings, options, &*follow.newest().map_err(failed)?)?;
    let names = options.names.as_deref().map(NamesFile::open).transpose()?;
    let runtime = cli::runtime().map_err(failed)?;
    let mut run = Run {
        options,
        rings: {
            let follow = Arc::clone(&follow);
            Arc::new(move || follow.newest())
        },
        names,
        told: Told::default(),
        parts: Vec::new(),
        undone: Vec::new(),
        vault: Vaults::LookedAt,
    };
    let vault = run.vault(&settings)?;
    let ended = run.all(&mut settings, vault, &runtime);
    let json = options.format.format == cli::Kind::Json;
    if let Err(trouble) = ended {
        if !json {
            out.write_all(print::parts(&run.parts, options.dry_run).as_bytes()).map_err(failed)?;
        }
        return Err(trouble);
    }
    let Run { parts, undone, told, vault, .. } = run;
    let rings = follow.newest().map_err(failed)?;
    let looked = |line: &LineName| match line {
        _ if !options.takes_name(line) => Looked::Never,
        LineName::Token if vault == Vaults::NotLookedAt => Looked::NotThisTime,
        LineName::Seal | LineName::Lookup | LineName::Token | LineName::Audit | LineName::Pseudonym(_) => Looked::Through,
    };
    let summary = Summary::of(parts, undone, &rings, &looked, &options.collection, options.dry_run);
    let text = if json { summary.json() } else { summary.text(&told.totals()) };
    out.write_all(text.as_bytes()).map_err(failed)?;
    Ok(if summary.is_complete() || options.dry_run { 0 } else { FAILED })
}

/// Of a collection that is meant, every value can be made anew: every ring of it is held.
fn holds_all(settings: &Settings, options: &Options, rings: &Rings) -> Result<(), Trouble> {
    let collections = settings.collections.iter().map(|collection| &collection.field_map);
    collections
        .filter(|collection| options.takes_collection(collection.name.as_str()))
        .try_for_each(|collection| cli::holds_all(collection, rings))
}

impl Options {
    fn takes(&self, line: Line) -> bool {
        self.line.is_empty() || self.line.contains(&line)
    }

    fn takes_name(&self, line: &LineName) -> bool {
        match line {
            LineName::Seal => self.takes(Line::Seal),
            LineName::Lookup => self.takes(Line::Lookup),
            LineName::Token => self.takes(Line::Token),
            LineName::Audit | LineName::Pseudonym(_) => false,
        }
    }

    fn takes_collection(&self, name: &str) -> bool {
        self.collection.is_empty() || self.collection.iter().any(|chosen| chosen == name)
    }
}

/// Those of the chosen collections; None for all of the vault.
type Scopes = Option<Vec<Scope>>;

/// One run of the command.
struct Run<'o> {
    options: &'o Options,
    rings: NewestRings,
    names: Option<NamesFile>,
    told: Told,
    parts: Vec<Part>,
    /// What could not be looked at, and what to do.
    undone: Vec<String>,
    vault: Vaults,
}

/// Is what hangs on the token line known?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vaults {
    LookedAt,
    NotLookedAt,
}

impl Run<'_> {
    fn lines(&self) -> Lines {
        Lines { seal: self.options.takes(Line::Seal), lookup: self.options.takes(Line::Lookup) }
    }

    /// The vault and the scopes in it that are meant, if any are. A store that a running proxy holds is no reason to leave the documents.
    fn vault(&mut self, settings: &Settings) -> Result<Option<(Store, Scopes)>, Trouble> {
        let which = self.which();
        let chosen = settings.collections.iter().map(|collection| &collection.field_map);
        let chosen = chosen.filter(|collection| self.options.takes_collection(collection.name.as_str()));
        let mut scopes: Vec<Scope> = Vec::new();
        for field in chosen.flat_map(|collection| &collection.fields) {
            if let Protection::Token(kind) = &field.protection
                && !scopes.contains(&kind.scope)
            {
                scopes.push(kind.scope.clone());
            }
        }
        if !(which.token || which.lookup) {
            return Ok(None);
        }
        let asked = self.options.line.contains(&Line::Token) && self.options.collection.is_empty();
        if scopes.is_empty() && !asked {
            return Ok(self.vault_by_the_way());
        }
        let config = config::load_store_only(&self.options.file.config).map_err(wrong)?;
        match Store::open(&config, None) {
            Ok(store) => Ok(Some((store, (!self.options.collection.is_empty()).then_some(scopes)))),
            Err(StoreError::InUse(path)) => {
                self.vault = Vaults::NotLookedAt;
                self.undone.push(format!(
                    "the vault was not looked at: a running `sudare serve` holds {}: stop it, run the same command again, and start it",
                    path.display()
                ));
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// No field that is meant has tokens, but rows may be there of fields that had some. If the store is not to be had now, that is said and
    /// holds up nothing.
    fn vault_by_the_way(&mut self) -> Option<(Store, Scopes)> {
        self.vault = Vaults::NotLookedAt;
        if !self.options.collection.is_empty() {
            return None;
        }
        match Store::existing(&config::load_store_only(&self.options.file.config).ok()?) {
            Ok(store) => {
                self.vault = Vaults::LookedAt;
                Some((store, None))
            }
            Err(StoreError::Absent(_)) => {
                self.vault = Vaults::LookedAt;
                None
            }
            Err(_not_now) => None,
        }
    }

    /// Collections, then the vault; the first that cannot be done ends it.
    fn all(
        &mut self,
        settings: &mut Settings,
        vault: Option<(Store, Scopes)>,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<(), Trouble> {
        if self.lines().seal || self.lines().lookup {
            // One for all: of embedded documents there is only one.
            let upstream = runtime.block_on(async { Upstream::new(&settings.upstream) }).map_err(|error| {
                if matches!(settings.upstream.endpoint, Endpoint::Embedded(_)) {
                    failed(format!("{error}: one process at a time writes it; stop `sudare serve`, rewrap, and start it again"))
                } else {
                    failed(error)
                }
            })?;
            for index in 0..settings.collections.len() {
                self.documents(settings, index, &upstream, runtime)?;
            }
        }
        let Some((vault, scopes)) = vault else { return Ok(()) };
        self.rows(vault, scopes, runtime)?;
        // An empty vault that nobody asked about is not worth a line.
        if self.options.line.is_empty() {
            self.parts.retain(|part| part.name != VAULT || part.ended.last.looked > 0);
        }
        Ok(())
    }

    fn which(&self) -> Which {
        Which { token: self.options.takes(Line::Token), lookup: self.options.takes(Line::Lookup) }
    }

    fn documents(
        &mut self,
        settings: &mut Settings,
        index: usize,
        upstream: &Upstream,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<(), Trouble> {
        let Some(name) = settings.collections.get(index).map(|collection| collection.field_map.name.to_string()) else {
            return Ok(());
        };
        if !self.options.takes_collection(&name) {
            return Ok(());
        }
        let embedded = matches!(settings.upstream.endpoint, Endpoint::Embedded(_));
        let listed = if !embedded && settings.dialect.name() == "rest" {
            Err(
                "a database behind the dialect rest cannot be listed in a way that is known here: send each document through the proxy, whose writes seal anew what they carry",
            )
        } else {
            settings.dialect.sweep(index).ok_or("its path names single documents only, so it cannot be listed")
        };
        let sweep = match listed {
            Ok(sweep) => sweep,
            Err(why) => {
                self.undone.push(format!("{name} was not looked at: {why}"));
                return Ok(());
            }
        };
        let collection = take_collection(settings, index)?;
        let (lines, rate, parallel) = (self.lines(), self.options.rate, usize::from(self.options.parallel));
        let (rings, dry_run) = (Arc::clone(&self.rings), self.options.dry_run);
        let names = self.names.as_ref().map(|names| names.of(&name));
        self.told.part(&name);
        let ended = runtime.block_on(async {
            let upstream = upstream.clone();
            let work = Rewrap { upstream, sweep, collection, rings, lines, names, rate, parallel, dry_run };
            rewrap(work, &mut self.told).await.map_err(failed)
        });
        self.ends(&name, "documents", ended)
    }

    fn rows(&mut self, store: Store, scopes: Scopes, runtime: &tokio::runtime::Runtime) -> Result<(), Trouble> {
        let ring = (self.rings)().map_err(failed)?;
        let work = VaultRewrap {
            vault: Vault::new(Arc::new(store), ring),
            scopes,
            rings: Arc::clone(&self.rings),
            which: self.which(),
            names: self.names.as_ref().map(|names| names.of(VAULT)),
            rate: self.options.rate,
            dry_run: self.options.dry_run,
        };
        self.told.part(VAULT);
        let ended = runtime.block_on(async { rewrap_vault(work, &mut self.told).await.map_err(failed) });
        self.ends(VAULT, "rows", ended)
    }

    fn ends(&mut self, name: &str, of: &'static str, ended: Result<Ended, Trouble>) -> Result<(), Trouble> {
        self.told.clear();
        let kept = self.names.as_ref().map(|names| names.of(name));
        self.told.end(kept.as_deref())?;
        let pace = self.told.pace(ended.as_ref().map_or(0, |ended| ended.total.written));
        self.parts.push(Part { name: name.to_owned(), of, pace, ended: ended? });
        Ok(())
    }
}

/// Takes a collection's fields; another with none of them stays in its place, so that the others keep theirs.
fn take_collection(settings: &mut Settings, index: usize) -> Result<crate::field::Collection, Trouble> {
    let slot = settings.collections.get_mut(index).ok_or_else(|| failed("no such collection"))?;
    let old = &mut slot.field_map;
    let fields = std::mem::take(&mut old.fields);
    Ok(crate::field::Collection {
        name: old.name.clone(),
        bind: old.bind,
        strict: old.strict,
        on_bad_value: old.on_bad_value,
        id: old.id.clone(),
        subject: old.subject.clone(),
        fields,
    })
}

/// The file of `--names`, shared by the parts of a run.
#[derive(Debug)]
struct NamesFile(Arc<Mutex<File>>);

/// The names of one part.
#[derive(Debug)]
struct PartNames {
    part: String,
    file: Arc<Mutex<File>>,
}

impl NamesFile {
    fn open(path: &Path) -> Result<Self, Trouble> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|error| wrong(format!("--names {}: cannot be opened: {error}", path.display())))?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    fn of(&self, part: &str) -> Arc<dyn Names> {
        Arc::new(PartNames { part: part.to_owned(), file: Arc::clone(&self.0) })
    }
}

/// One line a name: part, id as JSON, field, code, key version.
impl Names for PartNames {
    fn keep(&self, names: &[Name]) -> Result<(), String> {
        let mut lines = String::new();
        for Name { id, field, code, kid } in names {
            let id = id.as_deref().map_or(serde_json::Value::Null, serde_json::Value::from);
            let field = field.as_ref().map_or("-", |field| field.as_str());
            let kid = kid.map_or_else(|| "-".to_owned(), |kid| kid.to_string());
            lines.extend([&self.part, "\t", &id.to_string(), "\t", field, "\t", code, "\t", &kid, "\n"]);
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(lines.as_bytes()).and_then(|()| file.sync_data()).map_err(|error| format!("--names: {error}: make room"))
    }
}

/// What an operator is told while it goes.
struct Told {
    terminal: bool,
    meter: Meter,
    /// Told in the pass under way: each pass meets the same values again.
    pass: Vec<Name>,
    /// How many, by code.
    pass_codes: BTreeMap<&'static str, u64>,
    /// By code, over all parts, of their last passes.
    codes: BTreeMap<&'static str, u64>,
}

impl Default for Told {
    fn default() -> Self {
        let terminal = io::stderr().is_terminal();
        Self {
            terminal,
            meter: Meter::new("rewrap", None, terminal),
            pass: Vec::new(),
            pass_codes: BTreeMap::new(),
            codes: BTreeMap::new(),
        }
    }
}

impl Told {
    fn part(&mut self, _name: &str) {
        self.meter = Meter::new("rewrap", None, self.terminal);
        self.forget();
    }

    fn clear(&mut self) {
        self.meter.clear();
    }

    fn forget(&mut self) {
        self.pass.clear();
        self.pass_codes.clear();
    }

    fn pace(&self, written: u64) -> String {
        self.meter.pace_of(written)
    }

    /// Names of what was left go where names are kept.
    fn end(&mut self, names: Option<&dyn Names>) -> Result<(), Trouble> {
        for (code, count) in &self.pass_codes {
            *self.codes.entry(code).or_default() += count;
        }
        match names {
            Some(names) if !self.pass.is_empty() => names.keep(&self.pass).map_err(failed)?,
            _ => {}
        }
        self.forget();
        Ok(())
    }

    fn totals(&self) -> BTreeMap<&'static str, u64> {
        self.codes.clone()
    }
}

impl Progress for Told {
    fn begins(&mut self, _pass: u32, total: Option<u64>) {
        self.meter.clear();
        self.meter.expects(total);
        self.forget();
    }

    fn told(&mut self, name: Name) {
        *self.pass_codes.entry(name.code).or_default() += 1;
        if self.pass.len() < MOST_NAMES {
            self.pass.push(name);
        }
    }

    fn again(&mut self, sentence: &str) {
        self.meter.clear();
        cli::complain(&sentence);
    }

    fn moved(&mut self, counts: &Counts) {
        self.meter.moved(counts.looked, None);
    }
}
