//! Private files: read only if nobody else can, replaced whole or not at all, changed by one process at a time.
//!
//! Used by the KEK providers and the manifest. Every error names the file and the remedy, never a byte of it.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::KeyError;

/// How often, and how far apart, a held lock is asked for again: 10 s in all, longer than any key operation takes.
const LOCK_TRIES: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Reads a file that holds a secret, at most `limit` bytes. A symbolic link is followed (secrets are mounted that way); what
/// counts is the file it leads to.
///
/// # Errors
///
/// [`KeyError::Missing`]; [`KeyError::Exposed`] if group or others have any right to it, [`KeyError::Owned`] if its owner is
/// neither this process nor root (both checked on the open file, so a swap of the name in between does not help);
/// [`KeyError::Malformed`] if it is longer.
pub(super) fn read_secret(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = open(path)?;
    let found = file.metadata().map_err(|error| KeyError::io(path, "looked at", &error))?;
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_path_buf(), mode });
    }
    // Mode 0600 keeps out everybody but the owner, so a process that may read everything (root) must look at who that is.
    if ![0, rustix::process::geteuid().as_raw()].contains(&found.uid()) {
        return Err(KeyError::Owned { path: path.to_path_buf(), uid: found.uid() });
    }
    read_limited(path, &file, limit).map(Zeroizing::new)
}

/// Reads a file that may be read by others, at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, KeyError> {
    read_limited(path, &open(path)?, limit)
}

fn open(path: &Path) -> Result<File, KeyError> {
    File::open(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            KeyError::Missing(path.to_path_buf())
        } else {
            KeyError::io(path, "opened", &error)
        }
    })
}

fn read_limited(path: &Path, file: &File, limit: u64) -> Result<Vec<u8>, KeyError> {
    // Full capacity at once: a growing buffer would leave copies of a secret behind in freed memory.
    let mut bytes = Vec::with_capacity(usize::try_from(limit.min(1 << 16)).unwrap_or(0).saturating_add(1));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| KeyError::io(path, "read", &error))?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= limit) {
        Ok(bytes)
    } else {
        Err(KeyError::malformed(path, format!("it is longer than {limit} bytes")))
    }
}

/// Makes the folder of `path` with mode 0700 where it is absent.
pub(super) fn make_folder_of(path: &Path) -> Result<(), KeyError> {
    let folder = folder_of(path);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| KeyError::io(folder, "made", &error))
}

/// Writes a new file with mode 0600, durably.
///
/// # Errors
///
/// [`KeyError::Io`], also where the name is taken: nothing is ever overwritten. What could not be written whole (a full disk)
/// is removed, so that the next attempt does not take the piece for a damaged key or ring.
pub(super) fn create_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    create_with(path, |file| file.write_all(bytes))
}

fn create_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), KeyError> {
    let failed = |error: io::Error| KeyError::io(path, "written", &error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    if let Err(error) = write(&mut file).and_then(|()| file.sync_all()) {
        // The name was free, so what is removed is ours.
        fs::remove_file(path).ok();
        return Err(failed(error));
    }
    sync_folder(path)
}

/// Puts `bytes` in place of the file, so that a reader, or a machine that loses power, finds the old content or the new one,
/// never a part: a new file beside it (mode 0600), fsync, rename, fsync of the folder. The caller holds [`Lock`].
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let fresh = beside(path, ".new");
    match fs::remove_file(&fresh) {
        Ok(()) => {} // left by a process that died half way, under the lock we now hold
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(KeyError::io(&fresh, "removed", &error)),
    }
    create_private(&fresh, bytes)?;
    fs::rename(&fresh, path).map_err(|error| KeyError::io(path, "replaced", &error))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), KeyError> {
    let folder = folder_of(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| KeyError::io(folder, "synced", &error))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// An advisory lock on a ring, held until dropped. It lives on a file of its own, `<ring>.lock`, because the ring's file is
/// replaced by every write.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the lock goes when the file is closed")] File);

impl Lock {
    /// Waits up to ten seconds.
    ///
    /// # Errors
    ///
    /// [`KeyError::Locked`] after that.
    pub(super) fn take(path: &Path) -> Result<Self, KeyError> {
        let name = beside(path, ".lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&name)
            .map_err(|error| KeyError::io(&name, "opened", &error))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(KeyError::io(&name, "locked", &error)),
            }
        }
        Err(KeyError::Locked(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_whole_is_not_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek");
        let full = create_with(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(matches!(full, Err(KeyError::Io { doing: "written", .. })), "{full:?}");
        assert!(!path.exists());
        create_private(&path, b"whole").unwrap();
        assert!(create_private(&path, b"other").is_err(), "nothing is overwritten");
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_secret_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek");
        create_private(&path, b"secret").unwrap();
        assert_eq!(*read_secret(&path, 128).unwrap(), b"secret");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(*read_secret(&link, 128).unwrap(), b"secret");
        // Only root can give a file away.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            for name in [&path, &link] {
                let said = read_secret(name, 128).unwrap_err().to_string();
                assert_eq!(
                    said,
                    format!("{0}: belongs to another user (id 12345), who can read it: chown it to this one", name.display())
                );
            }
        }
    }
}
