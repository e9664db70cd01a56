//! `sudare keys copy · move`: a copy of the ring for safe-keeping, and the ring from a file into the store or back.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::{Format, KeysCommandError};
use crate::base::Clock;
use crate::keys::{self, Config};

/// Writes the ring, byte for byte, into a new file.
///
/// # Errors
///
/// As [`keys::copy`]; output that cannot be written.
pub fn copy(config: &Config, to: &Path, format: Format, out: &mut dyn Write) -> Result<(), KeysCommandError> {
    let report = keys::copy(config, to)?;
    match format {
        Format::Json => writeln!(out, "{:#}", json!({ "file": to, "revision": report.revision }))?,
        Format::Table => {
            writeln!(out, "{}: a copy of {} at revision {}. Its KEK is not in it.", to.display(), config.ring, report.revision)?;
        }
    }
    Ok(())
}

/// Moves the ring to where `to` keeps it.
///
/// # Errors
///
/// As [`keys::relocate`]; output that cannot be written.
pub fn relocate(
    from: &Config,
    to: &Config,
    clock: &dyn Clock,
    at_revision: Option<u64>,
    format: Format,
    out: &mut dyn Write,
) -> Result<(), KeysCommandError> {
    let moved = keys::relocate(from, to, clock, at_revision)?;
    let revision = moved.revision;
    if format == Format::Json {
        let all =
            json!({ "from": from.ring.to_string(), "to": to.ring.to_string(), "moved": !moved.before, "revision": revision });
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
    if moved.before {
        writeln!(out, "{} is where the ring is already, at revision {revision}: there was nothing to do.", to.ring)?;
    } else {
        writeln!(out, "{}: the ring is there, at revision {revision}, read back and opened.", to.ring)?;
        match from.ring.as_file() {
            Some(path) => writeln!(
                out,
                "{} is renamed to {}.moved-{}: keep it until a backup of the store exists.",
                path.display(),
                path.display(),
                revision.saturating_sub(1)
            )?,
            None => writeln!(out, "{} is no more.", from.ring)?,
        }
    }
    let word = to.ring.as_file().map_or_else(|| "store".to_owned(), |path| path.display().to_string());
    writeln!(
        out,
        "Now write ring = \"{word}\" into [keys] of every node's sudare.toml; a running `sudare serve` takes that at SIGHUP, or by itself. Until then it goes on with the ring it has, and nobody can change that."
    )?;
    Ok(())
}
