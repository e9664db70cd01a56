//! Private files: read only if nobody else can, made or replaced whole or not at all, changed by one process at a time.
//!
//! Used by the KEK providers and the manifest. Every error names the file and the remedy, never a byte of it. Whatever ends a
//! change at any [`Step`] leaves the old file or the new one (`life/tests/faults.rs` ends it at each).

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::KeyError;
use crate::crypto;

/// The steps of a change, in their order: a test makes each fail, and dies at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// 1: the ring's lock is taken.
    Lock,
    /// 2: the ring is read.
    Read,
    /// 3: what a process that died left beside it is removed.
    Clear,
    /// 4: the new file is made beside it.
    Create,
    /// 5: half of it is written.
    Write,
    /// 6: it is made durable.
    Sync,
    /// 7: the file in place is compared with what was read.
    Compare,
    /// 8: the new file takes its place.
    Place,
    /// 9: its name is made durable.
    SyncFolder,
}

#[cfg(test)]
impl Step {
    pub(super) const ALL: [Self; 9] = [
        Self::Lock,
        Self::Read,
        Self::Clear,
        Self::Create,
        Self::Write,
        Self::Sync,
        Self::Compare,
        Self::Place,
        Self::SyncFolder,
    ];
}

/// Where a test lets a step fail; nothing in the product.
#[cfg_attr(not(test), expect(clippy::unnecessary_wraps, reason = "only a test makes a step fail"))]
fn reach(step: Step) -> io::Result<()> {
    #[cfg(test)]
    return fault::reach(step);
    #[cfg(not(test))]
    {
        let _: Step = step;
        Ok(())
    }
}

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
    reach(Step::Read).map_err(|error| KeyError::io(path, "read", &error))?;
    read_limited(path, &open(path)?, limit)
}

/// The same for a file that is none of the ring's.
#[cfg(feature = "aws-kms")]
pub(super) fn read_other(path: &Path, limit: u64) -> Result<Vec<u8>, KeyError> {
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

/// Makes a new file with mode 0600, durably: it is there whole or not at all. It is written beside its place and then linked
/// into it, for a link, unlike a rename, overwrites nothing.
///
/// # Errors
///
/// [`KeyError::Io`], also where the name is taken: nothing is ever overwritten. [`KeyError::Unconfirmed`].
pub(super) fn create_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    // A name of its own: two rings may share the KEK that both are about to make, and each has a lock of its own.
    let [a, b, c, d] = crypto::random()?;
    let fresh = beside(path, &format!(".{a:02x}{b:02x}{c:02x}{d:02x}.new"));
    write_new(&fresh, bytes)?;
    let placed = reach(Step::Place).and_then(|()| fs::hard_link(&fresh, path));
    fs::remove_file(&fresh).ok();
    placed.map_err(|error| KeyError::io(path, "made", &error))?;
    confirm(path)
}

/// Puts `bytes` in place of the file, so that a reader, or a machine that loses power, finds the old content or the new one,
/// never a part: a new file beside it (mode 0600), fsync, rename, fsync of the folder. The caller holds [`Lock`]; `seen` is the
/// SHA-256 of what it read, for a lock does not reach everybody (another machine, a lock file that was removed).
///
/// # Errors
///
/// [`KeyError::Io`], [`KeyError::Overtaken`]: nothing was changed. [`KeyError::Unconfirmed`]: it was.
pub(super) fn replace(path: &Path, bytes: &[u8], seen: &[u8; 32]) -> Result<(), KeyError> {
    let fresh = beside(path, ".new");
    match reach(Step::Clear).and_then(|()| fs::remove_file(&fresh)) {
        Ok(()) => {} // left by a process that died half way, under the lock we now hold
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(KeyError::io(&fresh, "removed", &error)),
    }
    write_new(&fresh, bytes)?;
    let placed = is_as_seen(path, seen).and_then(|()| {
        let placed = reach(Step::Place).and_then(|()| fs::rename(&fresh, path));
        placed.map_err(|error| KeyError::io(path, "replaced", &error))
    });
    if placed.is_err() {
        fs::remove_file(&fresh).ok();
    }
    placed?;
    confirm(path)
}

/// Renames the file, so that nobody takes it for what it was: it stays, for people.
///
/// # Errors
///
/// As [`replace`].
pub(super) fn set_aside(path: &Path, seen: &[u8; 32], suffix: &str) -> Result<PathBuf, KeyError> {
    let aside = beside(path, suffix);
    is_as_seen(path, seen)?;
    reach(Step::Place).and_then(|()| fs::rename(path, &aside)).map_err(|error| KeyError::io(path, "renamed", &error))?;
    confirm(path)?;
    Ok(aside)
}

/// A file that [`set_aside`] renamed, if there is one.
pub(super) fn aside(path: &Path, suffix: &str) -> Option<PathBuf> {
    let begins = beside(path, suffix);
    let begins = begins.file_name()?.as_encoded_bytes();
    let names = fs::read_dir(folder_of(path)).ok()?.flatten();
    names
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(begins)))
        .max()
}

fn is_as_seen(path: &Path, seen: &[u8; 32]) -> Result<(), KeyError> {
    let now = reach(Step::Compare).and_then(|()| fs::read(path)).map_err(|error| KeyError::io(path, "read again", &error))?;
    if crypto::sha256(&now) == *seen { Ok(()) } else { Err(KeyError::Overtaken(path.to_path_buf())) }
}

/// Writes a new file with mode 0600 and makes its content durable. What could not be written whole (a full disk) is removed.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let failed = |error: io::Error| KeyError::io(path, "written", &error);
    reach(Step::Create).map_err(failed)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = write_all(&mut file, bytes).and_then(|()| reach(Step::Sync)).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // The name was free, so what is removed is ours.
        fs::remove_file(path).ok();
        failed(error)
    })
}

fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
    reach(Step::Write)?;
    #[cfg(test)]
    let bytes = bytes.get(bytes.len() / 2..).unwrap_or_default();
    file.write_all(bytes)
}

/// The new name is made durable. It is in place already, so a failure here says something else than the others.
fn confirm(path: &Path) -> Result<(), KeyError> {
    reach(Step::SyncFolder)
        .and_then(|()| sync_folder(path))
        .map_err(|error| KeyError::Unconfirmed { path: path.to_path_buf(), why: error.to_string() })
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path)).and_then(|folder| folder.sync_all())
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
        let file = reach(Step::Lock)
            .and_then(|()| OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&name))
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

/// Faults for tests: of the thread that asks for them only.
#[cfg(test)]
pub(super) mod fault {
    use std::cell::Cell;
    use std::io;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::Step;

    #[derive(Clone, Copy)]
    pub(in super::super) enum Fault {
        Fails,
        Dies,
    }

    thread_local! {
        static PLANNED: Cell<Option<(Step, Fault)>> = const { Cell::new(None) };
    }

    pub(super) fn reach(step: Step) -> io::Result<()> {
        match PLANNED.get().filter(|(at, _)| *at == step) {
            None => Ok(()),
            Some((_, Fault::Fails)) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some((_, Fault::Dies)) => std::panic::panic_any("killed"),
        }
    }

    /// What happens when a step is reached from now on; None: nothing. For a step that is reached several times.
    pub(in super::super) fn plan(fault: Option<(Step, Fault)>) {
        PLANNED.set(fault);
    }

    /// Every time the step is reached, the disk is full.
    pub(in super::super) fn failing_at<T>(step: Step, run: impl FnOnce() -> T) -> T {
        PLANNED.set(Some((step, Fault::Fails)));
        let result = run();
        PLANNED.set(None);
        result
    }

    /// The process dies when it reaches the step: nothing after it is done, but its locks go. None if it never gets there.
    pub(in super::super) fn dying_at(step: Step, run: impl FnOnce()) -> Option<()> {
        PLANNED.set(Some((step, Fault::Dies)));
        let died = catch_unwind(AssertUnwindSafe(run)).is_err();
        PLANNED.set(None);
        died.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_there_whole_or_not_at_all_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek");
        let names = || fs::read_dir(dir.path()).unwrap().count();
        for step in [Step::Create, Step::Write, Step::Sync, Step::Place] {
            let full = fault::failing_at(step, || create_private(&path, b"whole"));
            assert!(matches!(full, Err(KeyError::Io { .. })), "{step:?}: {full:?}");
            assert_eq!(names(), 0, "{step:?}: nothing is left behind");
        }
        create_private(&path, b"whole").unwrap();
        assert!(create_private(&path, b"other").is_err(), "nothing is overwritten");
        assert_eq!((fs::read(&path).unwrap(), names()), (b"whole".to_vec(), 1));
    }

    #[test]
    fn what_others_replaced_in_between_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ring.json");
        create_private(&path, b"one").unwrap();
        let seen = crypto::sha256(b"one");
        fs::write(&path, b"two").unwrap();
        assert!(matches!(replace(&path, b"three", &seen), Err(KeyError::Overtaken(_))));
        assert_eq!((fs::read(&path).unwrap(), fs::read_dir(dir.path()).unwrap().count()), (b"two".to_vec(), 1));
        replace(&path, b"three", &crypto::sha256(b"two")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
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
