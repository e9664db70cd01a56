//! The newest revisions that this machine has met of rings that are kept elsewhere: a file of lines `ring:NAME:CONTROLLER REVISION`.
//!
//! Whoever keeps the store could put an older ring back and lower the mark beside it; what this file says they cannot change. Always
//! holds: a mark never falls; the file is replaced whole, by one process at a time. Called by `place` and `ring`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::KeyError;
use super::files::{self, Lock};
use crate::crypto;

/// Room for thousands of rings.
const MAX_BYTES: u64 = 1 << 20;

/// The mark of this name; 0 if there is none.
///
/// # Errors
///
/// [`KeyError::Malformed`]: the file is something else. [`KeyError::Io`].
pub(super) fn read(path: &Path, name: &str) -> Result<u64, KeyError> {
    match files::read(path, MAX_BYTES) {
        Ok(bytes) => Ok(parse(path, &bytes)?.get(name).copied().unwrap_or(0)),
        Err(KeyError::Missing(_)) => Ok(0),
        Err(other) => Err(other),
    }
}

/// Raises it to `seen` unless it stands higher, durably. Returns where it stands.
///
/// # Errors
///
/// As [`read`]; [`KeyError::Locked`].
pub(super) fn raise(path: &Path, name: &str, seen: u64) -> Result<u64, KeyError> {
    let before = read(path, name)?;
    if before >= seen {
        return Ok(before);
    }
    files::make_folder_of(path)?;
    let _held = Lock::take(path)?;
    let old = match files::read(path, MAX_BYTES) {
        Ok(bytes) => Some(bytes),
        Err(KeyError::Missing(_)) => None,
        Err(other) => return Err(other),
    };
    let mut marks = parse(path, old.as_deref().unwrap_or_default())?;
    let mark = marks.entry(name.to_owned()).or_default();
    *mark = seen.max(*mark);
    let after = *mark;
    let text = marks.iter().fold(String::new(), |mut text, (name, mark)| {
        // Writing to a string does not fail.
        let _written = writeln!(text, "{name} {mark}");
        text
    });
    match old {
        Some(old) => files::replace(path, text.as_bytes(), &crypto::sha256(&old))?,
        None => files::create_private(path, text.as_bytes())?,
    }
    Ok(after)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, u64>, KeyError> {
    let wrong = || KeyError::NotMarks(path.to_path_buf());
    let text = std::str::from_utf8(bytes).map_err(|_other| wrong())?;
    let line = |line: &str| {
        let (name, mark) = line.rsplit_once(' ')?;
        Some((name.to_owned(), mark.parse().ok()?))
    };
    text.lines().map(|text| line(text).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_rises_and_never_falls_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/ring.marks");
        assert_eq!(read(&path, "ring:main:shop").unwrap(), 0);
        assert_eq!(raise(&path, "ring:main:shop", 3).unwrap(), 3);
        assert_eq!(raise(&path, "ring:main:a shop", 7).unwrap(), 7);
        assert_eq!(raise(&path, "ring:main:shop", 2).unwrap(), 3);
        assert_eq!(raise(&path, "ring:main:shop", 5).unwrap(), 5);
        assert_eq!((read(&path, "ring:main:shop").unwrap(), read(&path, "ring:main:a shop").unwrap()), (5, 7));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ring:main:a shop 7\nring:main:shop 5\n");
    }

    #[test]
    fn a_file_that_is_something_else_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marks");
        for text in [&b"ring:main:shop five\n"[..], b"word\n", b"\xff 1\n", b"ring:main:shop 5\n\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(raise(&path, "ring:main:shop", 9), Err(KeyError::NotMarks(_))), "{text:?}");
            assert_eq!(std::fs::read(&path).unwrap(), text);
        }
    }
}
