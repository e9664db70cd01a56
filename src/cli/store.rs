//! `sudare store migrate · check · copy`: what operators do to the store, and what they are told.
//!
//! Always holds: nothing of what is stored is printed, only counts and places. Data goes to standard output, progress (on a terminal)
//! and what is wrong to standard error.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::meter::{Meter, thousands};
use super::{FAILED, Trouble, failed, wrong};
use crate::config;
use crate::keys::Rings;
use crate::keys::fleet::Summary;
use crate::store::check::{Finding, Verify, check};
use crate::store::copy::{Step, copy};
use crate::store::{Config, Row, Store, Table};
use crate::vault::Verifier;

/// Findings that are told one by one at most.
const MOST_FINDINGS: u64 = 100;

/// What the command takes.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Bring the store to the schema of this release; a second time it changes nothing, and two nodes may do it at once
    Migrate {
        #[command(flatten)]
        file: super::File,
    },
    /// Go through every row of every table: marks, links, keys; exit code 1 if something does not fit
    Check {
        #[command(flatten)]
        file: super::File,
    },
    /// Copy a store into an empty one of any kind, and compare both
    ///
    /// A copy that was broken off is run again and goes on where it stopped. Stop every proxy on either store first.
    Copy(CopyOptions),
}

/// What `store copy` takes.
#[derive(Debug, Args)]
pub(super) struct CopyOptions {
    /// redb:PATH, postgres://USER@HOST/DATABASE, or a sudare.toml, whose [store] is meant
    from: String,
    /// The same, to copy into
    to: String,
    /// Of the PostgreSQL account in a URL: env:VARIABLE or file:PATH
    #[arg(long, value_name = "WHERE")]
    password: Option<String>,
    /// The authority that signed the certificate of a PostgreSQL server in a URL; without it the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Runs.
pub(super) fn run(command: &Command, out: &mut dyn Write) -> Result<u8, Trouble> {
    match command {
        Command::Migrate { file } => migrate(&config::load_store_only(&file.config).map_err(wrong)?, out),
        Command::Check { file } => {
            let settings = config::load_with(&file.config, config::STORE_ONLY).map_err(wrong)?;
            // Without keys values are counted, not opened.
            let keys = Rings::open(&settings.keys, &settings.other_rings).inspect_err(|error| super::complain(error)).ok();
            let not_held = keys.as_ref().map(|keys| keys.not_held().to_vec()).unwrap_or_default();
            let known = keys.map(|keys| Known(Verifier::new(Arc::new(keys))));
            for ring in not_held {
                super::complain(&format!(
                    "note: this node does not hold the ring {ring}: values under it are counted, not opened"
                ));
            }
            run_check(&settings.store, known.as_ref().map(|known| -> &dyn Verify { known }), out)
        }
        Command::Copy(options) => run_copy(options, out),
    }
}

/// What rows must be: tokens as the vault wrote them, rings as `sudare keys` did.
struct Known(Verifier);

impl Verify for Known {
    fn verify(&self, table: Table, row: &Row) -> Result<(), &'static str> {
        // Who has its KEK proves more: `sudare keys verify`.
        if table == Table::Ring && Summary::unproven(&row.value).is_none() {
            return Err("it is not a key ring as sudare keys writes it");
        }
        Verify::verify(&self.0, table, row)
    }
}

fn migrate(config: &Config, out: &mut dyn Write) -> Result<u8, Trouble> {
    let store = Store::migrate(config).map_err(failed)?;
    let version = super::runtime().map_err(failed)?.block_on(store.version()).map_err(failed)?;
    writeln!(out, "{}: schema version {version}, as this release needs it", store.at()).map_err(failed)?;
    Ok(0)
}

fn run_check(config: &Config, verify: Option<&dyn Verify>, out: &mut dyn Write) -> Result<u8, Trouble> {
    let store = Store::existing(config).map_err(failed)?;
    let mut findings: u64 = 0;
    let mut tell = |finding: Finding| {
        findings += 1;
        if findings <= MOST_FINDINGS {
            let Finding { table, place, what } = finding;
            super::complain(&format!("{}: place {}: {what}", table.as_str(), thousands(place)));
        }
    };
    let runtime = super::runtime().map_err(failed)?;
    let counted = runtime.block_on(check(&store, verify, &mut tell)).map_err(failed)?;
    for counted in counted {
        tell_counts(counted.table.as_str(), counted.rows, counted.marks, out)?;
    }
    let values = if verify.is_some() { "" } else { "; values were not opened" };
    if findings == 0 {
        writeln!(out, "{}: everything fits{values}", store.at()).map_err(failed)?;
        return Ok(0);
    }
    let findings = if findings == 1 { "1 finding".to_owned() } else { format!("{} findings", thousands(findings)) };
    writeln!(out, "{}: {findings}{values}", store.at()).map_err(failed)?;
    Ok(FAILED)
}

fn run_copy(options: &CopyOptions, out: &mut dyn Write) -> Result<u8, Trouble> {
    let side = |text: &str| config::store_at(text, options.password.as_deref(), options.ca.as_deref()).map_err(wrong);
    let (from, to) = (side(&options.from)?, side(&options.to)?);
    if from.place() == to.place() {
        return Err(wrong(format!("{}: this is the store to copy from, too", to.place())));
    }
    let from = Store::existing(&from).map_err(failed)?;
    let to = Store::open(&to, None).map_err(failed)?;
    let mut meters = Meters { at: None, terminal: io::stderr().is_terminal() };
    let runtime = super::runtime().map_err(failed)?;
    let copied = runtime.block_on(copy(&from, &to, &mut |step, rows| meters.moved(step, rows)));
    meters.clear();
    let copied = copied.map_err(failed)?;
    for content in &copied.content {
        tell_counts(content.table.as_str(), content.rows, content.marks, out)?;
    }
    let before = if copied.before == 0 { String::new() } else { format!("; {} rows were there", thousands(copied.before)) };
    writeln!(out, "{} and {} hold the same, with {} high-water marks{before}", from.at(), to.at(), copied.high_waters)
        .map_err(failed)?;
    Ok(0)
}

fn tell_counts(table: &str, rows: u64, marks: u64, out: &mut dyn Write) -> Result<(), Trouble> {
    let (row, mark) = (if rows == 1 { "row" } else { "rows" }, if marks == 1 { "mark" } else { "marks" });
    writeln!(out, "{table:10} {} {row}, {} {mark}", thousands(rows), thousands(marks)).map_err(failed)
}

/// A meter for the step under way.
struct Meters {
    at: Option<(Step, Meter)>,
    terminal: bool,
}

impl Meters {
    fn moved(&mut self, step: Step, rows: u64) {
        if self.at.as_ref().is_none_or(|(at, _)| *at != step) {
            self.clear();
            let verb = match step {
                Step::Compare => "compare",
                Step::Copy => "copy",
                Step::Verify => "verify",
            };
            self.at = Some((step, Meter::new(verb, None, self.terminal)));
        }
        if let Some((_, meter)) = &mut self.at {
            meter.moved(rows, None);
        }
    }

    fn clear(&mut self) {
        if let Some((_, meter)) = &mut self.at {
            meter.clear();
        }
    }
}
