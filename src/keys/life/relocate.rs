//! A ring from a file into the store, or back; and a copy of it for safe-keeping.
//!
//! Always holds: the ring stands whole in its new place, and was read back and opened there, before it is taken out of the old one; there
//! it is a revision later, so that nodes refuse what is left of the old one and commands notice it; a file is renamed, never removed. A
//! command that was killed is run again and goes on. Called by `cli/keys`.

use std::path::Path;

use super::super::manifest::{self, Opened};
use super::super::place::{self, Held};
use super::super::{Config, KeyError, files};
use super::{VerifyReport, verify};
use crate::base::Clock;

/// What [`relocate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relocated {
    /// It was there already, and nowhere else: there was nothing to do.
    pub before: bool,
    /// The ring's revision now.
    pub revision: u64,
}

/// Moves the ring of `from` to where `to` keeps it; the two differ in nothing else.
///
/// # Errors
///
/// [`KeyError::Occupied`]: in the new place is something else. [`KeyError::Overtaken`]: somebody changed the ring meanwhile. Everything
/// that opening and writing refuse. The old place is as it was, but for an error while it is cleared ([`KeyError::Unconfirmed`]).
pub fn relocate(from: &Config, to: &Config, clock: &dyn Clock, at_revision: Option<u64>) -> Result<Relocated, KeyError> {
    if let Some(path) = to.ring.as_file() {
        files::make_folder_of(path)?;
    }
    if from.ring.as_file().is_some_and(|path| matches!(path.try_exists(), Ok(false))) {
        return arrived(to, KeyError::Missing(from.ring.shown().to_path_buf()));
    }
    let old = Held::take(from)?;
    let source = match manifest::open(from) {
        Ok(source) => source,
        Err(missing) if missing.is_absent() => return arrived(to, missing),
        Err(other) => return Err(other),
    };
    let new = Held::take(to)?;
    let (revision, made) = match manifest::open(to) {
        // An earlier run got this far, or this is another copy of the file that was moved.
        Ok(there) if is_next(&source, &there) => (there.manifest.revision, None),
        Ok(_) => {
            old.open_at(at_revision)?;
            return Err(KeyError::Occupied { path: to.ring.shown().to_path_buf() });
        }
        Err(missing) if missing.is_absent() => {
            let mut moved = old.open_at(at_revision)?;
            new.create(&mut moved, clock.now_ms())?;
            (moved.manifest.revision, Some(moved))
        }
        Err(other) => return Err(other),
    };
    sound(to, revision)?;
    old.remove(&source, revision).inspect_err(|error| {
        // The ring went on in its old place, so what was just made here is nobody's.
        if let (KeyError::Overtaken(_), Some(_)) = (error, &made) {
            let removed = manifest::open(to).and_then(|opened| new.remove(&opened, revision));
            drop(removed);
        }
    })?;
    Ok(Relocated { before: false, revision })
}

/// Writes the ring's bytes, as they are, into a new file: for a backup.
///
/// # Errors
///
/// Everything that opening refuses; [`KeyError::Io`], also where the file is there.
pub fn copy(config: &Config, to: &Path) -> Result<VerifyReport, KeyError> {
    let report = verify(config)?;
    let bytes = place::read(config)?;
    files::make_folder_of(to)?;
    files::create_private(to, &bytes)?;
    Ok(report)
}

/// Nothing is in the old place: fine if it is in the new one, whole.
fn arrived(to: &Config, missing: KeyError) -> Result<Relocated, KeyError> {
    match verify(to) {
        Ok(report) if report.sound() => Ok(Relocated { before: true, revision: report.revision }),
        Ok(_) => Err(missing),
        Err(other) if other.is_absent() => Err(missing),
        Err(other) => Err(other),
    }
}

/// Was it left by a run that was killed before the old place was cleared, and has the ring not changed there since?
fn is_next(source: &Opened, there: &Opened) -> bool {
    there.manifest.revision == source.manifest.revision + 1 && there.manifest.is_of_same_ring(&source.manifest)
}

/// Is it there, as it was written, and does every version open?
fn sound(to: &Config, revision: u64) -> Result<(), KeyError> {
    let report = verify(to)?;
    let bad = report.versions.iter().find_map(|(version, found)| found.err().map(|why| (version, why)));
    match bad {
        None if report.revision == revision => Ok(()),
        None => Err(KeyError::Overtaken(to.ring.shown().to_path_buf())),
        Some((version, why)) => {
            Err(KeyError::BadVersion { path: to.ring.shown().to_path_buf(), line: version.line.clone(), kid: version.kid, why })
        }
    }
}
