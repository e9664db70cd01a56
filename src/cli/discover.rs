//! `sudare discover FILE`: proposes a field map from sample documents.
//!
//! Always holds: needs no configuration, no keys and no network; changes nothing; what is printed are paths, categories and counts, never a
//! value. Memory is bounded by one document and the paths ([`crate::discover::MAX_PATHS`]). Nothing is decided here: people read the proposal.

mod print;
mod read;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::meter::thousands;
use super::{FAILED, Trouble, complain, failed, wrong};
use crate::discover::{Paths, propose};
use read::{Read, ReadError};

/// Bad lines that are told one by one on standard error.
const MAX_TOLD: usize = 20;

/// What the command takes.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Sample documents: JSON Lines, or one JSON array of documents; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Name of the collection in what is printed; the file's name if not given
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Look at the first N documents only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    sample: Option<u64>,
    /// Least confidence of what is proposed, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.6, value_parser = share)]
    least: f64,
    /// How the proposal is printed; toml: lines for sudare.toml and policy.toml
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Json,
    Toml,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a number from 0 to 1, such as 0.6".to_owned())
}

/// Reads, judges, prints. Exit code 1 if a line was no document: the proposal stands without it.
pub(super) fn run(options: &Options, out: &mut dyn Write) -> Result<u8, Trouble> {
    let collection = match &options.collection {
        Some(name) if print::is_name(name) => name.clone(),
        Some(name) => {
            return Err(wrong(format!(
                "--collection {name:?}: the name of a collection is a-z, then a-z, 0-9 and -; for example \"{}\"",
                print::name_from(name).unwrap_or_else(|| "customers".to_owned())
            )));
        }
        None => print::name_from(&stem(&options.file)).unwrap_or_else(|| "documents".to_owned()),
    };
    let mut paths = Paths::default();
    let read = read::documents(&options.file, options.sample, &mut paths).map_err(|error| match error {
        ReadError::Print(_) => failed(error),
        ReadError::Io { .. } | ReadError::NoDocument { .. } | ReadError::Array { .. } => wrong(error),
    })?;
    paths.settle();
    tell(&read, &paths);
    let found = propose(&paths, options.least);
    let report = print::Report { file: &options.file, collection: &collection, least: options.least, read: &read, paths: &paths };
    match options.format {
        Form::Table => report.table(&found, out),
        Form::Json => report.json(&found, out),
        Form::Toml => report.toml(&found, out),
    }
    .map_err(failed)?;
    Ok(if read.bad == 0 { 0 } else { FAILED })
}

/// What did not go into the proposal, on standard error.
fn tell(read: &Read, paths: &Paths) {
    for line in &read.bad_lines {
        complain(&format!("line {line} is not a JSON object by the rules of docs/json.md; it is left out"));
    }
    let untold = read.bad.saturating_sub(u64::try_from(read.bad_lines.len()).unwrap_or(u64::MAX));
    if untold > 0 {
        complain(&format!("{} more lines are left out", thousands(untold)));
    }
    if paths.left_out > 0 {
        complain(&format!(
            "the documents have more than {} different paths: {} values at others were not looked at. Give documents of one collection, or fewer of them with --sample",
            thousands(u64::try_from(crate::discover::MAX_PATHS).unwrap_or(u64::MAX)),
            thousands(paths.left_out)
        ));
    }
}

fn stem(file: &Path) -> String {
    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// For messages.
fn shown(file: &Path) -> String {
    if file.as_os_str() == "-" { "standard input".to_owned() } else { print::harmless(&file.display().to_string()) }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Print(error)
    }
}
