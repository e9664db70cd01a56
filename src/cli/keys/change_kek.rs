//! `sudare keys change-kek`: what the ring hangs on now, and what is left to do.

use std::io::Write;

use serde_json::json;

use super::{Format, KeysCommandError};
use crate::keys::{Change, KekReport, Onto};

/// Wraps the ring under another KEK.
///
/// # Errors
///
/// As [`Change::change_kek`]; output that cannot be written.
pub fn change_kek(change: &Change<'_>, onto: Onto, format: Format, out: &mut dyn Write) -> Result<(), KeysCommandError> {
    let KekReport { from, to, stayed, kek_made, revision } = change.change_kek(onto)?;
    let ring = &change.config.ring;
    if format == Format::Json {
        let all = json!({ "from": from, "to": to, "changed": !stayed, "kek_made": kek_made, "revision": revision });
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
    if stayed {
        writeln!(out, "{ring} hangs on {to} already; revision {revision} stays: there was nothing to do.")?;
        writeln!(out, "{AFTER}")?;
        return Ok(());
    }
    if kek_made {
        writeln!(
            out,
            "made {to}: the new key-encryption key. Back it up, apart from the ring: without it no value can be opened."
        )?;
    }
    writeln!(out, "{ring} hangs on {to} now; revision {revision}, opened whole under it before it was put in place")?;
    match onto {
        Onto::Next => {
            writeln!(
                out,
                "{from} opens older copies of {ring} and nothing newer: keep it, locked away, as long as you keep those."
            )?;
            writeln!(out, "{AFTER}")?;
        }
        Onto::Same => writeln!(out, "Versions of that key from before may be retired once no backup of {ring} hangs on them.")?,
    }
    writeln!(out, "Back up {ring} now.")?;
    Ok(())
}

const AFTER: &str =
    "Then, on every node: write the new one as `kek` in [keys], remove `next_kek`, reload. Until then a node takes either.";
