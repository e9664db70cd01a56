//! Bytes and transactions that must outlive the process: today the high-water marks of key rings, in one embedded file.
//!
//! Always holds: a mark never falls; what a call returned as stored is on disk; the file can be read by its owner only.
//! `keys` asks it whether a ring was put back to an older revision; `app` opens it once.

mod rows;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableError};

pub use rows::{Answer, Change, Claim, Claimed, MAX_KEY_BYTES, Row, Rows, Table};

/// Name of a thing that only grows → the highest number of it this node has seen.
const HIGH_WATER: TableDefinition<'_, &str, u64> = TableDefinition::new("high-water");

/// The embedded store: one redb file, held by one process at a time.
pub struct Store {
    path: PathBuf,
    database: Database,
}

/// Why the store cannot serve. Names the file, never its content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error("{path}: held by another process: stop it, or give this one a store of its own", path = .0.display())]
    InUse(PathBuf),
    /// Others than its owner may read or write it.
    #[error("{path}: open to others (mode {mode:04o}): chmod 600 {path}", path = .0.display(), mode = .1)]
    Exposed(PathBuf, u32),
    /// The file, or its folder, cannot be made or opened.
    #[error("{path}: cannot be opened: {why}: [store] url must name a place where the account that runs Sudare may write", path = .0.display(), why = .1)]
    Open(PathBuf, String),
    /// A transaction did not take place.
    #[error("{path}: the store failed: {why}: check the disk", path = .0.display(), why = .1)]
    Failed(PathBuf, String),
}

impl Store {
    /// Opens the store, and makes it (mode 0600, in a folder of mode 0700) where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`], [`StoreError::Exposed`], or [`StoreError::Open`] for everything the system or redb says.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |error: &dyn std::error::Error| StoreError::Open(path.to_path_buf(), error.to_string());
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            make_private_folder(folder).map_err(|error| failed(&error))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed(&error))?;
        let mode = file.metadata().map_err(|error| failed(&error))?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Exposed(path.to_path_buf(), mode));
        }
        let opened = FileBackend::new(file).and_then(|backend| Database::builder().create_with_backend(backend));
        match opened {
            Ok(database) => Ok(Self { path: path.to_path_buf(), database }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(StoreError::InUse(path.to_path_buf())),
            Err(other) => Err(failed(&other)),
        }
    }

    /// The highest number this node has seen of `name`; 0 if it never saw one.
    pub fn high_water(&self, name: &str) -> Result<u64, StoreError> {
        let read = || -> Result<u64, redb::Error> {
            let table = match self.database.begin_read()?.open_table(HIGH_WATER) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(0),
                Err(other) => return Err(other.into()),
            };
            let mark = table.get(name)?.map_or(0, |mark| mark.value());
            Ok(mark)
        };
        read().map_err(|error| self.failed(&error))
    }

    /// Raises the mark of `name` to `seen`, durably, unless it stands higher. Returns where it stands afterwards, so an
    /// answer above `seen` means that `seen` is older than what this node already met.
    pub fn raise_high_water(&self, name: &str, seen: u64) -> Result<u64, StoreError> {
        // A read costs no fsync, and nearly every call finds the mark where it should be.
        let mark = self.high_water(name)?;
        if mark >= seen {
            return Ok(mark);
        }
        let write = || -> Result<u64, redb::Error> {
            let transaction = self.database.begin_write()?;
            let after = {
                let mut table = transaction.open_table(HIGH_WATER)?;
                let before = table.get(name)?.map_or(0, |mark| mark.value());
                if seen > before {
                    table.insert(name, seen)?;
                }
                before.max(seen)
            };
            transaction.commit()?;
            Ok(after)
        };
        write().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &redb::Error) -> StoreError {
        StoreError::Failed(self.path.clone(), error.to_string())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Makes `folder` with mode 0700 where it is absent; one that is there stays as it is.
fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_mark_only_rises_and_survives_reopening() {
        let dir = folder();
        let path = dir.path().join("data/sudare.redb");
        {
            let store = Store::open(&path).unwrap();
            assert_eq!(store.high_water("ring:main:shop").unwrap(), 0);
            assert_eq!(store.raise_high_water("ring:main:shop", 7).unwrap(), 7);
            assert_eq!(store.raise_high_water("ring:main:shop", 3).unwrap(), 7, "a lower number is answered with the mark");
            assert_eq!(store.raise_high_water("ring:main:other", 1).unwrap(), 1);
        }
        let store = Store::open(&path).unwrap();
        assert_eq!(store.high_water("ring:main:shop").unwrap(), 7);
        assert_eq!(store.high_water("ring:main:other").unwrap(), 1);
        assert_eq!(store.high_water("unknown").unwrap(), 0);
    }

    #[test]
    fn racing_raises_end_at_the_highest() {
        let dir = folder();
        let store = Arc::new(Store::open(&dir.path().join("s.redb")).unwrap());
        std::thread::scope(|scope| {
            for start in 0..4_u64 {
                let store = Arc::clone(&store);
                scope.spawn(move || {
                    for n in 1..=10_u64 {
                        let seen = n * 4 + start;
                        assert!(store.raise_high_water("r", seen).unwrap() >= seen);
                    }
                });
            }
        });
        assert_eq!(store.high_water("r").unwrap(), 43);
    }

    #[test]
    fn the_file_is_private_and_an_exposed_one_is_refused_with_the_remedy() {
        let dir = folder();
        let path = dir.path().join("s.redb");
        drop(Store::open(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let said = Store::open(&path).unwrap_err().to_string();
        assert_eq!(said, format!("{0}: open to others (mode 0640): chmod 600 {0}", path.display()));
    }

    #[test]
    fn a_second_holder_and_a_foreign_file_are_refused() {
        let dir = folder();
        let path = dir.path().join("s.redb");
        let held = Store::open(&path).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::InUse(_))), "two holders");
        drop(held);
        fs::write(&path, b"this is not a database, whatever its name says").unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Open(..))));
    }
}
