//! Makes a new file beside its place and puts it there whole: one whose maker died half way would be nobody's, and nobody could open it.
//!
//! Always holds: under its name stands nothing or a whole file; of two who make it at once one comes second, and leaves the other's. Called by
//! the embedded store and by the embedded database (`upstream`).

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::crypto;

/// Makes the file at `path` by `fill`, which is given another name: an empty file with mode 0600.
///
/// # Errors
///
/// What `fill` says, and what the system refuses.
pub fn make_whole<E: From<io::Error>>(path: &Path, fill: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let [a, b, c, d] = crypto::random().map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = OsString::from(path);
    name.push(format!(".{a:02x}{b:02x}{c:02x}{d:02x}.new"));
    let fresh = PathBuf::from(name);
    let empty = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let filled = fill(&fresh).and_then(|()| empty.sync_all().map_err(E::from));
    let placed = filled.map(|()| fs::hard_link(&fresh, path));
    fs::remove_file(&fresh).ok();
    match placed? {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.redb");
        let failed = make_whole(&path, |fresh| fs::write(fresh, "half").and(Err(io::Error::other("no space"))));
        assert_eq!(failed.unwrap_err().to_string(), "no space");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        make_whole(&path, |fresh| {
            assert!(!path.exists());
            fs::write(fresh, "first")
        })
        .unwrap();
        make_whole(&path, |fresh| fs::write(fresh, "second")).unwrap();
        assert_eq!((content(&path).as_str(), fs::read_dir(folder.path()).unwrap().count()), ("first", 1));
    }
}
