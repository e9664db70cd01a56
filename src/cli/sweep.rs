//! `sudare sweep migrate`: seals what is still clear in a live collection.
//!
//! The summary goes to standard output; progress (on a terminal) and what is wrong with single documents go to standard error, or with
//! their ids to the file of `--errors`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;

use super::meter::{Meter, thousands};
use super::{FAILED, Trouble, failed, wrong};
use crate::batch::new_report;
use crate::config;
use crate::sweep::{Migrated, Migration, Pass, Watch, migrate};
use crate::upstream::{Endpoint, Upstream};

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    file: super::File,
    /// Which collection: its name under [collection.NAME]
    #[arg(long, value_name = "NAME")]
    collection: String,
    /// Documents written a second at most; no bound if not given
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Only count what is clear; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Pages of documents in work at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
    /// Where to name the documents that cannot be sealed (id, code, sentence; never a value); keep it like the ids
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
}

/// Runs.
pub(super) fn run(options: &Options, out: &mut dyn Write) -> Result<u8, Trouble> {
    let mut settings = config::load(&options.file.config).map_err(wrong)?;
    let index = super::collection_index(&settings, &options.collection)?;
    let embedded = matches!(settings.upstream.endpoint, Endpoint::Embedded(_));
    if !embedded && settings.dialect.name() == "rest" {
        return Err(wrong(
            "a database behind the dialect rest cannot be listed in a way that is known here: seal an export with `sudare seal`, or write each document once through the proxy (docs/migration.md)",
        ));
    }
    let sweep = settings.dialect.sweep(index).ok_or_else(|| {
        wrong(format!(
            "[collection.{}] match: the path names single documents only, so the collection cannot be listed",
            options.collection
        ))
    })?;
    let collection = settings.collections.swap_remove(index).field_map;
    let strict = collection.strict;
    let keys = super::rings_of(&settings, &collection)?;
    let vault = super::vault(&options.file.config, &collection, &keys)?;
    let report = options.errors.as_deref().map(new_report).transpose().map_err(failed)?;
    let runtime = super::runtime().map_err(failed)?;
    let meter = Meter::new("migrate", None, io::stderr().is_terminal());
    let mut told = Told { report, meter, refused: BTreeMap::new() };
    let ended = runtime.block_on(async {
        let upstream = Upstream::new(&settings.upstream).map_err(|error| {
            if embedded {
                failed(format!("{error}: one process at a time writes it; stop `sudare serve`, sweep, and start it again"))
            } else {
                failed(error)
            }
        })?;
        let migration = Migration {
            upstream,
            sweep,
            collection,
            keys,
            vault,
            rate: options.rate,
            parallel: usize::from(options.parallel),
            dry_run: options.dry_run,
        };
        migrate(migration, &mut told).await.map_err(failed)
    });
    told.meter.clear();
    let migrated = ended?;
    if options.errors.is_none() {
        for ((code, sentence), count) in &told.refused {
            super::complain(&format!("{}: {code}: {sentence}; --errors FILE names them", documents(*count)));
        }
    }
    out.write_all(summary(options, &migrated, strict, &told.meter).as_bytes()).map_err(failed)?;
    Ok(if migrated.is_complete() || options.dry_run { 0 } else { FAILED })
}

fn summary(options: &Options, migrated: &Migrated, strict: bool, meter: &Meter) -> String {
    let Migrated { passes, total, last } = migrated;
    let name = &options.collection;
    let [written, values, conflicts] = [total.written, total.sealed_values, total.conflicts].map(thousands);
    let all = documents(total.documents);
    let passes = if *passes == 1 { "1 pass".to_owned() } else { format!("{passes} passes") };
    let mut lines = if options.dry_run {
        vec![format!(
            "{name}: {all}, {} with {} clear values, {} values sealed already; nothing was written",
            thousands(last.clear_documents),
            thousands(last.clear_values),
            thousands(last.kept)
        )]
    } else {
        vec![format!(
            "{name}: {all}, {written} written with {values} values sealed, {conflicts} conflicts tried again, {passes}{}",
            meter.pace_of(total.written)
        )]
    };
    if last.refused > 0 {
        lines.push(format!("cannot be sealed as stored: {}", documents(last.refused)));
    }
    if migrated.is_complete() {
        lines.push(format!("0 clear values left in {name}"));
        if !strict {
            lines.push(format!(
                "next: set strict = true in [collection.{name}] and reload the proxy (SIGHUP), so that a clear value is refused from now on"
            ));
        }
        lines.push("still clear: old revisions until the database is compacted, and backups, logs and replicas from before (docs/migration.md)".to_owned());
    } else if options.dry_run {
        lines.push("next: the same without --dry-run seals what can be sealed".to_owned());
    } else {
        lines.push(format!(
            "not all sealed: {}; what is sealed stays so, and the same command goes on from there",
            documents(last.clear_documents.max(last.refused))
        ));
    }
    if last.conflicted > 0 {
        lines.push(format!(
            "with conflicting revisions beside the current one: {}; those revisions stay clear: resolve the conflicts",
            documents(last.conflicted)
        ));
    }
    lines.join("\n") + "\n"
}

fn documents(number: u64) -> String {
    if number == 1 { "1 document".to_owned() } else { format!("{} documents", thousands(number)) }
}

struct Told {
    report: Option<File>,
    meter: Meter,
    /// Code and sentence: how many, in the last pass.
    refused: BTreeMap<(&'static str, String), u64>,
}

impl Watch for Told {
    fn begins(&mut self, pass: u32, total: Option<u64>) {
        self.meter.clear();
        self.meter.expects(total);
        // Each pass meets the same documents again.
        self.refused.clear();
        if let (Some(report), true) = (&mut self.report, pass > 1)
            && let Err(error) = report.set_len(0).and_then(|()| io::Seek::rewind(report))
        {
            super::complain(&format!("--errors: {error}"));
        }
    }

    fn refused(&mut self, id: Option<&str>, code: &'static str, sentence: &str) {
        *self.refused.entry((code, sentence.to_owned())).or_default() += 1;
        if let Some(report) = &mut self.report {
            let id = id.map_or(serde_json::Value::Null, serde_json::Value::from);
            if let Err(error) = writeln!(report, "{id}\t{code}\t{sentence}") {
                super::complain(&format!("--errors: {error}"));
            }
        }
    }

    fn again(&mut self, sentence: &str) {
        self.meter.clear();
        super::complain(&sentence);
    }

    fn moved(&mut self, pass: &Pass) {
        self.meter.moved(pass.documents, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_says_what_is_left_and_what_comes_next() {
        let last = Pass { documents: 2, clear_documents: 1, clear_values: 3, refused: 1, ..Pass::default() };
        let migrated = Migrated { passes: 1, total: last, last };
        let said = |dry_run| {
            let options = Options {
                file: crate::cli::File { config: PathBuf::new() },
                collection: "customers".to_owned(),
                rate: None,
                dry_run,
                parallel: 1,
                errors: None,
            };
            summary(&options, &migrated, false, &Meter::new("migrate", None, false))
        };
        assert_eq!(
            said(true),
            "customers: 2 documents, 1 with 3 clear values, 0 values sealed already; nothing was written\n\
             cannot be sealed as stored: 1 document\nnext: the same without --dry-run seals what can be sealed\n"
        );
        assert!(
            said(false)
                .ends_with("not all sealed: 1 document; what is sealed stays so, and the same command goes on from there\n")
        );
    }
}
