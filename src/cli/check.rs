//! `sudare check`: reads both files and says everything that is wrong with them, or that nothing is; then what each field tells whoever
//! holds the database.
//!
//! Always holds: changes nothing, needs no keys and no network. Called by the command line; the exit code is what it returns.

use std::io;
use std::path::Path;

use super::leakage;
use crate::config::{self, Environment, Findings, Settings};

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people: each finding with its line and a caret.
    #[default]
    Text,
    /// For tools: one JSON array with an object per finding, warnings included; `[]` if there is nothing to say.
    Json,
}

/// Exit code: nothing is wrong (there may be warnings).
pub const GOOD: u8 = 0;
/// Exit code: there are mistakes.
pub const WRONG: u8 = 2;

/// Checks `path` and the policy it names, and writes the findings to `out`.
///
/// Returns the exit code, [`GOOD`] or [`WRONG`].
///
/// # Errors
///
/// Only if `out` cannot be written to.
pub fn run(path: &Path, format: Format, out: &mut dyn io::Write) -> io::Result<u8> {
    report(path, &config::load(path), format, out)
}

/// As [`run`], with another place for environment variables.
///
/// # Errors
///
/// As [`run`].
pub fn run_with(path: &Path, environment: Environment<'_>, format: Format, out: &mut dyn io::Write) -> io::Result<u8> {
    report(path, &config::load_with(path, environment), format, out)
}

/// As [`run_with`], but of files without mistakes it says only what each field tells whoever holds the database; in [`Format::Json`] one
/// array with an object per field.
///
/// # Errors
///
/// As [`run`].
pub fn leakage(path: &Path, environment: Environment<'_>, format: Format, out: &mut dyn io::Write) -> io::Result<u8> {
    let loaded = config::load_with(path, environment);
    let Ok(settings) = &loaded else { return report(path, &loaded, format, out) };
    match format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&leakage::to_json(settings)).map_err(io::Error::other)?;
            writeln!(out, "{json}")?;
        }
        Format::Text => leakage::text(settings, out)?,
    }
    Ok(GOOD)
}

fn report(path: &Path, loaded: &Result<Settings, Findings>, format: Format, out: &mut dyn io::Write) -> io::Result<u8> {
    let (findings, code) = match loaded {
        Ok(settings) => (&settings.warnings, GOOD),
        Err(findings) => (findings, WRONG),
    };
    match format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&findings.to_json()).map_err(io::Error::other)?;
            writeln!(out, "{json}")?;
        }
        Format::Text => {
            if !findings.is_empty() {
                writeln!(out, "{findings}")?;
            }
            if let Ok(settings) = loaded {
                writeln!(out, "{}\n", good(path, settings))?;
                rings(settings, out)?;
                leakage::text(settings, out)?;
            }
        }
    }
    Ok(code)
}

/// What a person wants to see when nothing is wrong: which files, and what they protect.
fn good(path: &Path, settings: &Settings) -> String {
    let fields = settings.collections.iter().map(|collection| collection.field_map.fields.len()).sum();
    format!(
        "{} and {} are good: {} with {}, {}, {}.",
        path.display(),
        settings.policy_file.display(),
        counted(settings.collections.len(), "collection"),
        counted(fields, "protected field"),
        counted(settings.callers.names().len(), "caller"),
        counted(settings.purposes, "purpose"),
    )
}

/// Which fields have their keys in which ring; nothing where there is one.
fn rings(settings: &Settings, out: &mut dyn io::Write) -> io::Result<()> {
    if settings.other_rings.is_empty() {
        return Ok(());
    }
    let main = (&settings.keys.name, Some(&settings.keys));
    let all: Vec<_> =
        std::iter::once(main).chain(settings.other_rings.iter().map(|other| (other.name(), other.held()))).collect();
    let width = all.iter().map(|(name, _)| name.as_str().len()).max().unwrap_or(0);
    writeln!(out, "Key rings of this node:")?;
    for (name, held) in all {
        let of_ring = settings.collections.iter().flat_map(|collection| {
            let map = &collection.field_map;
            map.fields.iter().filter(|field| field.ring == *name).map(|field| format!("{}.{}", map.name, field.name))
        });
        let fields: Vec<String> = of_ring.collect();
        let fields = if fields.is_empty() { "no field".to_owned() } else { fields.join(", ") };
        let place = held.map_or_else(|| "not held".to_owned(), |ring| ring.ring.to_string());
        writeln!(out, "  {:width$}  {place}: {fields}", name.as_str())?;
    }
    writeln!(out)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
