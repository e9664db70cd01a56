//! `sudare keys census`: how many stored values hang on each key version, counted in the database and in the store.
//!
//! Always holds: nothing is written but the census itself, beside the ring; what could not be looked at is said, kept with the census, and
//! never taken for zero; documents are named by their ids, to whom asks for it, and nothing of a value is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::super::meter::{Meter, thousands};
use super::super::{FAILED, Trouble, complain, failed, runtime, words, wrong};
use super::table::{columns, time};
use crate::base::{Clock as _, Kid, SystemClock};
use crate::batch::new_report;
use crate::config::{self, Settings};
use crate::keys::{
    self, Census, CollectionSeen, Config, InDocuments, KeyRing, LineName, MAIN_RING, Rings, State, StoreSeen, UnknownCount,
    VersionCount, VersionInfo,
};
use crate::store::{Store, StoreError};
use crate::sweep::{CountWatch, Counted, Counting, count};
use crate::upstream::{Endpoint, Upstream};
use crate::vault::{RowsCounted, Vault};

/// Documents that are named on standard error at most.
const MAX_TOLD: u64 = 20;

/// What the command takes.
#[derive(Debug, Args)]
pub(in super::super) struct Options {
    #[command(flatten)]
    pub(super) file: words::File,
    /// What hangs on the versions of this ring: main, or NAME of a table [keys.NAME]
    #[arg(long, value_name = "NAME", default_value = MAIN_RING)]
    ring: String,
    /// Only this collection; may be given several times. Such a census is not whole, so no key is destroyed on it
    #[arg(long, value_name = "NAME")]
    collection: Vec<String>,
    #[command(flatten)]
    pub(super) way: Way,
    /// Where to name the documents that hang on a version that is not active (collection, id, key, how many; never a value)
    #[arg(long, value_name = "FILE")]
    documents: Option<PathBuf>,
    #[command(flatten)]
    format: words::Format,
}

/// How fast.
#[derive(Debug, Args)]
pub(super) struct Way {
    /// Documents looked at a second at most; no bound if not given
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Pages of documents in work at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
}

/// Runs.
pub(super) fn run(options: &Options, out: &mut dyn Write) -> Result<u8, Trouble> {
    let settings = config::load(&options.file.config).map_err(wrong)?;
    let names: Vec<&str> = settings.collections.iter().map(|collection| collection.field_map.name.as_str()).collect();
    if let Some(unknown) = options.collection.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(wrong(format!(
            "--collection {unknown:?}: the configuration has no such collection; it has {}",
            names.join(", ")
        )));
    }
    let (ring, kept_for) = (settings.ring(&options.ring).map_err(wrong)?.clone(), settings.backups_kept);
    let report = options.documents.as_deref().map(new_report).transpose().map_err(failed)?;
    let taken = take(settings, &ring, &options.collection, &options.way, report)?;
    let kept = keys::kept(&ring, taken.rings.main()).map_err(failed)?;
    let census = &taken.census;
    if options.format.format == words::Kind::Json {
        let versions = zeroes(&taken, &kept, kept_for);
        let zero: Vec<_> = versions
            .into_iter()
            .map(|(count, since, from)| {
                json!({ "line": count.line.to_string(), "kid": count.kid.as_str(), "since": time(Some(since)), "destroyable_from": time(Some(from)) })
            })
            .collect();
        let all = json!({ "census": census, "sha256": data_encoding::HEXLOWER.encode(&taken.hash), "whole": census.is_whole(), "zero": zero });
        writeln!(out, "{all:#}").map_err(failed)?;
    } else {
        print(&taken, &kept, kept_for, out).map_err(failed)?;
    }
    Ok(if census.is_whole() { 0 } else { FAILED })
}

/// A census that was kept.
pub(super) struct Taken {
    pub(super) census: Census,
    hash: [u8; 32],
    rings: Arc<Rings>,
    versions: Vec<VersionInfo>,
    pace: String,
}

/// Counts everything, and keeps what was found of the versions of one ring. The proof of it is under the audit line, which the main ring has.
pub(super) fn take(
    settings: Settings,
    ring: &Config,
    only: &[String],
    way: &Way,
    report: Option<File>,
) -> Result<Taken, Trouble> {
    let rings = Arc::new(Rings::open(&settings.keys, &settings.other_rings).map_err(failed)?);
    let keys = rings.of(&ring.name).map_err(failed)?;
    let versions = keys.versions();
    let states = versions.iter().map(|version| (version.kid, version.state)).collect();
    let mut told = Told {
        meter: Meter::new("census", None, io::stderr().is_terminal()),
        report,
        collection: String::new(),
        states,
        on_stderr: 0,
        before: 0,
    };
    let begun = SystemClock.now_ms();
    let runtime = runtime().map_err(failed)?;
    let store = in_store(&settings, &rings, &runtime);
    let (collections, by_collection) = in_documents(settings, only, way, &runtime, &mut told);
    told.meter.clear();
    let ended = SystemClock.now_ms();
    let mut census = put_together(keys.revision(), (begun, ended), &versions, collections, &by_collection, store);
    census.unknown.retain(|unknown| rings.of_kid(unknown.kid).is_none_or(|other| *other.name() == ring.name));
    let hash = keys::keep(ring, rings.main(), &census).map_err(failed)?;
    Ok(Taken { census, hash, rings: Arc::clone(&rings), versions, pace: told.meter.pace_of(told.before) })
}

/// By collection: what was looked at, what was found.
type Found = (Vec<CollectionSeen>, Vec<(String, Counted)>);

fn in_documents(settings: Settings, only: &[String], way: &Way, runtime: &tokio::runtime::Runtime, told: &mut Told) -> Found {
    let Settings { upstream, dialect, collections, .. } = settings;
    let embedded = matches!(upstream.endpoint, Endpoint::Embedded(_));
    let listable = embedded || dialect.name() != "rest";
    // To open one that is not there would make it.
    let absent = match &upstream.endpoint {
        Endpoint::Embedded(path) if !path.exists() => Some(format!("{}: there is no database", path.display())),
        Endpoint::Embedded(_) | Endpoint::Http { .. } | Endpoint::Unix(_) => None,
    };
    let upstream = if absent.is_none() { Some(runtime.block_on(async { Upstream::new(&upstream) })) } else { None };
    let (mut seen, mut found) = (Vec::new(), Vec::new());
    for (index, collection) in collections.into_iter().enumerate() {
        let name = collection.field_map.name.to_string();
        let sweep = dialect.sweep(index);
        let missing = |why: String| CollectionSeen { collection: name.clone(), documents: 0, conflicts: 0, missing: Some(why) };
        let (upstream, sweep) = match (&upstream, sweep) {
            _ if !only.is_empty() && !only.contains(&name) => {
                seen.push(missing("it was left out (--collection)".to_owned()));
                continue;
            }
            _ if !listable => {
                seen.push(missing("a database behind the dialect rest cannot be listed in a way that is known here".to_owned()));
                continue;
            }
            (_, None) => {
                seen.push(missing("its `match` names single documents only, so it cannot be listed".to_owned()));
                continue;
            }
            (Some(Err(error)), _) if embedded => {
                seen.push(missing(format!("{error}: a running `sudare serve` holds it; stop it meanwhile")));
                continue;
            }
            (Some(Err(error)), _) => {
                seen.push(missing(error.to_string()));
                continue;
            }
            (Some(Ok(upstream)), Some(sweep)) => (upstream.clone(), sweep),
            (None, _) => {
                seen.push(missing(absent.clone().unwrap_or_default()));
                continue;
            }
        };
        told.collection.clone_from(&name);
        let counting =
            Counting { upstream, sweep, collection: collection.field_map, rate: way.rate, parallel: usize::from(way.parallel) };
        match runtime.block_on(count(counting, told)) {
            Ok(counted) => {
                let why = (counted.unread > 0).then(|| format!("{} could not be looked at", documents(counted.unread)));
                let (documents, conflicts) = (counted.documents, counted.conflicts);
                told.before += documents;
                seen.push(CollectionSeen { collection: name.clone(), documents, conflicts, missing: why });
                found.push((name, counted));
            }
            Err(error) => seen.push(missing(error.to_string())),
        }
    }
    (seen, found)
}

/// The vault's rows; or why they could not be counted.
fn in_store(settings: &Settings, rings: &Arc<Rings>, runtime: &tokio::runtime::Runtime) -> Result<RowsCounted, String> {
    let store = match Store::existing(&settings.store) {
        Ok(store) => store,
        Err(StoreError::InUse(path)) => {
            return Err(format!(
                "{}: a running `sudare serve` holds it; stop it meanwhile, or keep the store in PostgreSQL",
                path.display()
            ));
        }
        Err(error) => return Err(error.to_string()),
    };
    let vault = Vault::new(Arc::new(store), Arc::clone(rings));
    runtime.block_on(vault.count_rows(&mut |_| {})).map_err(|error| error.to_string())
}

fn put_together(
    revision: u64,
    (begun, ended): (u64, u64),
    versions: &[VersionInfo],
    collections: Vec<CollectionSeen>,
    by_collection: &[(String, Counted)],
    store: Result<RowsCounted, String>,
) -> Census {
    let (rows, store) = match store {
        Ok(rows) => {
            let missing = (rows.damaged > 0)
                .then(|| format!("{} of its rows are damaged: see `sudare store check`", thousands(rows.damaged)));
            let seen = StoreSeen { rows: rows.rows, missing };
            (rows, seen)
        }
        Err(why) => (RowsCounted::default(), StoreSeen { rows: 0, missing: Some(why) }),
    };
    let live = versions.iter().filter(|version| version.state != State::Destroyed);
    let mut counts: Vec<VersionCount> = live.map(VersionCount::none).collect();
    let mut unknown = Vec::new();
    for (collection, counted) in by_collection {
        for (kid, found) in &counted.by_key {
            let here = InDocuments {
                values: found.now.values,
                terms: found.now.terms,
                elsewhere: found.now.elsewhere,
                conflicts: found.conflicts,
            };
            match counts.iter_mut().find(|count| count.kid == *kid) {
                _ if here.total() == 0 => {}
                Some(count) => {
                    count.documents.insert(collection.clone(), here);
                }
                None => unknown.push(UnknownCount { kid: *kid, collection: Some(collection.clone()), count: here.total() }),
            }
        }
    }
    for (kid, number) in &rows.sealed {
        match counts.iter_mut().find(|count| count.kid == *kid) {
            Some(count) => count.rows = *number,
            None => unknown.push(UnknownCount { kid: *kid, collection: None, count: *number }),
        }
    }
    for (kid, number) in &rows.found_by {
        if let Some(count) = counts.iter_mut().find(|count| count.kid == *kid) {
            count.fingerprints = *number;
        }
    }
    Census { revision, begun, ended, collections, store, versions: counts, unknown }
}

/// Versions that nothing hangs on: since when, and from when on they may be destroyed.
fn zeroes<'t>(taken: &'t Taken, kept: &[keys::Kept], kept_for: Duration) -> Vec<(&'t VersionCount, u64, u64)> {
    let window = u64::try_from(kept_for.as_millis()).unwrap_or(u64::MAX);
    let counted = taken.census.versions.iter().filter(|count| counts(&count.line));
    let since = |count: &VersionCount| {
        let version = taken.versions.iter().find(|version| version.kid == count.kid)?;
        keys::zero_since(version, kept, SystemClock.now_ms()).ok()
    };
    counted.filter_map(|count| since(count).map(|zero| (count, zero.since, zero.since.saturating_add(window)))).collect()
}

/// Is anything of this line stored where it can be counted?
fn counts(line: &LineName) -> bool {
    matches!(line, LineName::Seal | LineName::Lookup | LineName::Token)
}

fn print(taken: &Taken, kept: &[keys::Kept], kept_for: Duration, out: &mut dyn Write) -> io::Result<()> {
    let Census { revision, collections, store, versions, unknown, .. } = &taken.census;
    let zeroes: BTreeMap<Kid, (u64, u64)> =
        zeroes(taken, kept, kept_for).into_iter().map(|(count, since, from)| (count.kid, (since, from))).collect();
    for seen in collections {
        let conflicts =
            if seen.conflicts > 0 { format!(" and {} conflicting revisions", thousands(seen.conflicts)) } else { String::new() };
        let missing = seen.missing.as_ref().map_or_else(String::new, |why| format!("; NOT whole: {why}"));
        writeln!(out, "{}: {}{conflicts}{missing}", seen.collection, documents(seen.documents))?;
    }
    let missing = store.missing.as_ref().map_or_else(String::new, |why| format!("; NOT whole: {why}"));
    writeln!(out, "vault: {} rows{missing}", thousands(store.rows))?;
    let row = |count: &VersionCount| {
        vec![count.line.to_string(), count.kid.to_string(), count.state.to_string(), hangs(count, &zeroes)]
    };
    columns(&["line", "kid", "state", "what hangs on it"], &versions.iter().map(row).collect::<Vec<_>>(), out)?;
    for UnknownCount { kid, collection, count } in unknown {
        let state = taken.versions.iter().find(|version| version.kid == *kid).map(|version| version.state);
        let what = match state {
            Some(_) => "which is destroyed; nobody can open them",
            None if taken.rings.not_held().is_empty() => "which this ring does not have; nobody can open them",
            None => "which is in no ring that this node holds",
        };
        let place = collection.as_deref().unwrap_or("vault");
        writeln!(out, "{place}: {} hang on key {kid}, {what}", thousands(*count))?;
    }
    let others = taken.rings.held().skip(1).map(KeyRing::name).chain(taken.rings.not_held());
    for other in others {
        writeln!(
            out,
            "ring {other}: of its versions this census says nothing; it is of the ring main, and so is `sudare keys destroy`"
        )?;
    }
    let whole = if taken.census.is_whole() { "whole" } else { "NOT whole, so it proves nothing of what it did not see" };
    writeln!(out, "ring revision {revision}; this census is {whole}, and kept as {}{}", short(&taken.hash), taken.pace)?;
    writeln!(
        out,
        "not counted: deleted documents and old revisions until the database is compacted, attachments, other databases, backups, logs"
    )
}

/// What hangs on a version, in words.
fn hangs(count: &VersionCount, zeroes: &BTreeMap<Kid, (u64, u64)>) -> String {
    let some = |number: u64, one: &str, many: &str| {
        (number > 0).then(|| format!("{} {}", thousands(number), if number == 1 { one } else { many }))
    };
    let mut places: Vec<String> = Vec::new();
    for (collection, found) in &count.documents {
        let parts = [
            some(found.values, "value", "values"),
            some(found.terms, "term", "terms"),
            some(found.elsewhere, "elsewhere", "elsewhere"),
            some(found.conflicts, "in conflicts", "in conflicts"),
        ];
        places.push(format!("{collection}: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    }
    let parts = [some(count.rows, "row", "rows"), some(count.fingerprints, "fingerprint", "fingerprints")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if !parts.is_empty() {
        places.push(format!("vault: {}", parts.join(", ")));
    }
    match (&count.line, zeroes.get(&count.kid)) {
        _ if !places.is_empty() => places.join("; "),
        (LineName::Audit, _) => "the audit log, which is not counted".to_owned(),
        (LineName::Pseudonym(_), _) => "nothing is stored under it".to_owned(),
        (_, Some((since, from))) => {
            format!("nothing since {}; may be destroyed from {}", time(Some(*since)), time(Some(*from)))
        }
        (_, None) if count.state == State::Active => "nothing yet".to_owned(),
        (_, None) => "nothing was found, which is not proved".to_owned(),
    }
}

fn short(hash: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(hash.first_chunk::<8>().unwrap_or(&[0; 8]))
}

fn documents(number: u64) -> String {
    if number == 1 { "1 document".to_owned() } else { format!("{} documents", thousands(number)) }
}

struct Told {
    meter: Meter,
    report: Option<File>,
    collection: String,
    states: BTreeMap<Kid, State>,
    on_stderr: u64,
    /// Documents of the collections that are done.
    before: u64,
}

impl Told {
    fn name(&mut self, id: Option<&str>, what: &str) {
        self.on_stderr += 1;
        self.meter.clear();
        let id = id.map_or_else(|| "a document without an id".to_owned(), |id| format!("document {id:?}"));
        match self.on_stderr {
            ..=MAX_TOLD => complain(&format!("{}: {id}: {what}", self.collection)),
            told if told == MAX_TOLD + 1 => complain(&"more documents are not named here; --documents FILE has them all"),
            _ => {}
        }
    }
}

impl CountWatch for Told {
    fn begins(&mut self, total: Option<u64>) {
        self.meter.clear();
        self.meter.expects(total);
    }

    fn found(&mut self, id: Option<&str>, kid: Kid, count: u64) {
        let state = self.states.get(&kid).copied();
        if state == Some(State::Active) || count == 0 {
            return;
        }
        if let Some(report) = &mut self.report {
            let id = id.map_or(serde_json::Value::Null, serde_json::Value::from);
            if let Err(error) = writeln!(report, "{}\t{id}\t{kid}\t{count}", self.collection) {
                complain(&format!("--documents: {error}"));
            }
        }
        match state {
            None => self.name(id, &format!("{count} under key {kid}, which this ring does not have")),
            Some(State::Destroyed) => self.name(id, &format!("{count} under key {kid}, which is destroyed")),
            Some(State::PreActive | State::Active | State::Deactivated | State::Compromised) => {}
        }
    }

    fn unread(&mut self, id: Option<&str>, why: &str) {
        self.name(id, &format!("not looked at: {why}"));
    }

    fn again(&mut self, sentence: &str) {
        self.meter.clear();
        complain(&sentence);
    }

    fn moved(&mut self, documents: u64) {
        self.meter.moved(documents, None);
    }
}
