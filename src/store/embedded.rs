//! The embedded kind: one redb file, held by one process at a time.
//!
//! Always holds: what is answered as stored is on disk; one thread writes (`writer`), and readers see what is committed only, on
//! threads where they may wait for the disk. After the disk failed, the file is opened anew, so that what was transient passes.
//! Called by [`super::Store`].

mod apply;
mod writer;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageError, TableDefinition, TableHandle};
use tokio::sync::{Semaphore, watch};

use super::rows::{self, Answer, Change, Claim, Claimed, Row, Rows, Swap, Swapped, Table};
use super::schema::{self, Opening};
use super::watch::{Changes, Topics};
use super::{Named, StoreError, make_whole};
use writer::{Done, Work, Writer};

/// Bytes of the file that are kept in memory at most.
const CACHE_BYTES: usize = 64 << 20;
/// Readers at once, each on a thread.
const READERS: usize = 64;

/// Name of a thing that only grows → the highest number of it this node has seen.
const HIGH_WATER: TableDefinition<'_, &str, u64> = TableDefinition::new("high-water");
/// "version" → that of the schema.
const SCHEMA: TableDefinition<'_, &str, u64> = TableDefinition::new("schema");

/// Key → value and marks.
type RowsOf<'a> = TableDefinition<'a, &'static [u8], (&'static [u8], Vec<&'static [u8]>)>;
/// Mark → key.
type MarksOf<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

fn rows_of(table: Table) -> RowsOf<'static> {
    TableDefinition::new(table.as_str())
}

fn marks_of(table: Table) -> MarksOf<'static> {
    TableDefinition::new(match table {
        Table::Token => "token-mark",
        Table::TokenRef => "token-ref-mark",
        Table::Ring => "ring-mark",
        Table::Fact => "fact-mark",
    })
}

/// The store.
#[derive(Debug)]
pub(super) struct Embedded {
    file: Arc<File>,
    writer: Writer,
    readers: Arc<Semaphore>,
    topics: watch::Sender<Topics>,
}

/// The file, open but for moments.
struct File {
    path: PathBuf,
    /// Read by readers for as long as they read; written to open the file anew.
    database: RwLock<Option<Database>>,
    open: fn(&Path) -> Result<Database, StoreError>,
}

impl Embedded {
    /// Opens the file, and makes it (mode 0600, in a folder of mode 0700) where there is none.
    pub(super) fn open(path: &Path, opening: Opening) -> Result<Self, StoreError> {
        Self::open_by(path, opening, open_file)
    }

    fn open_by(path: &Path, opening: Opening, open: fn(&Path) -> Result<Database, StoreError>) -> Result<Self, StoreError> {
        if opening == Opening::Read {
            match fs::metadata(path) {
                // Opening it would make a store of it.
                Ok(found) if found.is_file() && found.len() == 0 => return Err(StoreError::Absent(path.display().to_string())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(StoreError::Absent(path.display().to_string()));
                }
                Err(error) => return Err(StoreError::Open(path.to_path_buf(), error.to_string())),
                Ok(_) => {}
            }
        }
        let file = File { path: path.to_path_buf(), database: RwLock::new(Some(open(path)?)), open };
        let file = Arc::new(file);
        file.prepare(opening)?;
        let writer = Writer::start(Arc::clone(&file)).map_err(|error| StoreError::Open(path.to_path_buf(), error.to_string()))?;
        Ok(Self { file, writer, readers: Arc::new(Semaphore::new(READERS)), topics: watch::Sender::default() })
    }

    pub(super) fn at(&self) -> String {
        self.file.at()
    }

    /// Of the schema.
    pub(super) async fn version(&self) -> Result<u64, StoreError> {
        Ok(self.reading(version).await?.unwrap_or(0))
    }

    pub(super) fn high_water(&self, name: &str) -> Result<u64, StoreError> {
        self.file.with(|transaction| apply::high_water(transaction, name))
    }

    pub(super) async fn raise(&self, name: &str, seen: u64) -> Result<u64, StoreError> {
        match self.writer.apply(Work::Raise(name.to_owned(), seen)).await? {
            Done::Raised(after) => Ok(after),
            Done::Claimed(_) | Done::Changed | Done::Swapped(_) => Err(self.file.failed("another answer than asked for")),
        }
    }

    pub(super) fn high_waters(&self) -> Answer<'_, Vec<(String, u64)>> {
        Box::pin(self.reading(apply::high_waters))
    }

    /// There is no other node: word goes round in this process.
    pub(super) fn announce(&self, topic: &str) {
        self.topics.send_modify(|topics| *topics.entry(topic.to_owned()).or_default() += 1);
    }

    pub(super) fn watch(&self, topic: &str) -> Changes {
        let receiver = self.topics.subscribe();
        let seen = receiver.borrow().get(topic).copied().unwrap_or(0);
        Changes::of(topic, seen, receiver)
    }

    /// Blocks until it is durable.
    pub(super) fn raise_high_water(&self, name: &str, seen: u64) -> Result<u64, StoreError> {
        // A read costs no fsync, and nearly every call finds the mark where it should be.
        let mark = self.high_water(name)?;
        if mark >= seen {
            return Ok(mark);
        }
        match self.writer.blocking(Work::Raise(name.to_owned(), seen))? {
            Done::Raised(after) => Ok(after),
            Done::Claimed(_) | Done::Changed | Done::Swapped(_) => Err(self.file.failed("another answer than asked for")),
        }
    }

    pub(super) fn marks(&self, table: Table, after: Option<Vec<u8>>, most: usize) -> Answer<'_, Vec<Named>> {
        Box::pin(self.reading(move |read| apply::marks(read, table, after.as_deref(), most)))
    }

    /// Blocks.
    pub(super) fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.file.with(|read| apply::read(read, table, &[key.to_vec()]))?;
        Ok(found.into_iter().next().flatten())
    }

    /// Reads on a thread that may wait for the disk.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = Arc::clone(&self.file);
        let readers = Arc::clone(&self.readers);
        let place = readers.acquire_owned().await.map_err(|_closed| self.file.failed("it was closed"))?;
        let done = tokio::task::spawn_blocking(move || {
            // Until it is done, also where the caller gives up: of a disk that hangs no more readers wait than may.
            let _place = place;
            file.with(read)
        });
        let done = done.await;
        done.unwrap_or_else(|_panicked| Err(self.file.failed("a reader broke off")))
    }
}

impl Rows for Embedded {
    fn claim(&self, table: Table, claims: Vec<Claim>) -> Answer<'_, Vec<Claimed>> {
        Box::pin(async move {
            let claims = rows::checked_claims(table, claims)?;
            let work = Work::Claim(table, claims);
            let place = self.writer.place(work.places()).await?;
            // Most rows are there: what is committed is durable, so it is an answer, without a transaction that writes.
            let look = move |read: &ReadTransaction| {
                let found = if let Work::Claim(_, claims) = &work { apply::all_found(read, table, claims)? } else { None };
                Ok((place, work, found))
            };
            let (place, work, found) = self.reading(look).await?;
            if let Some(found) = found {
                return Ok(found);
            }
            match self.writer.apply_in(place, work).await? {
                Done::Claimed(claimed) => Ok(claimed),
                Done::Raised(_) | Done::Changed | Done::Swapped(_) => Err(self.file.failed("another answer than asked for")),
            }
        })
    }

    fn read(&self, table: Table, keys: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        Box::pin(self.reading(move |read| apply::read(read, table, &keys)))
    }

    fn find(&self, table: Table, marks: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        Box::pin(self.reading(move |read| apply::find(read, table, &marks)))
    }

    fn list(&self, table: Table, prefix: Vec<u8>, after: Option<Vec<u8>>, most: usize) -> Answer<'_, Vec<Row>> {
        Box::pin(self.reading(move |read| apply::list(read, table, &prefix, after.as_deref(), most)))
    }

    fn change(&self, table: Table, changes: Vec<Change>) -> Answer<'_, ()> {
        Box::pin(async move {
            let changes = rows::checked_changes(changes)?;
            if changes.is_empty() {
                return Ok(());
            }
            self.writer.apply(Work::Change(table, changes)).await.map(|_done| ())
        })
    }

    fn swap(&self, table: Table, swaps: Vec<Swap>) -> Answer<'_, Vec<Swapped>> {
        Box::pin(async move {
            let swaps = rows::checked_swaps(swaps)?;
            if swaps.is_empty() {
                return Ok(Vec::new());
            }
            match self.writer.apply(Work::Swap(table, swaps)).await? {
                Done::Swapped(swapped) => Ok(swapped),
                Done::Claimed(_) | Done::Raised(_) | Done::Changed => Err(self.file.failed("another answer than asked for")),
            }
        })
    }
}

impl File {
    fn at(&self) -> String {
        self.path.display().to_string()
    }

    fn failed(&self, why: &str) -> StoreError {
        StoreError::Failed(self.at(), why.to_owned())
    }

    /// What an error of redb means.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library has many kinds, and only room is told apart")]
    fn error(&self, error: &redb::Error) -> StoreError {
        use std::io::ErrorKind;
        match error {
            redb::Error::Io(io)
                if matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) =>
            {
                StoreError::Full(self.at())
            }
            other => StoreError::Failed(self.at(), format!("{other}: check the disk")),
        }
    }

    /// Reads what is committed.
    fn with<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.held(|database| {
            let transaction = database.begin_read()?;
            read(&transaction)
        })
    }

    /// Does something with the open file; after an error of the disk redb refuses everything, and it is opened anew for the next one.
    fn held<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.open_again()?;
        let done = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            match &*database {
                Some(database) => work(database),
                None => return Err(StoreError::Failed(self.at(), "its disk failed: check the disk".to_owned())),
            }
        };
        done.map_err(|error| {
            if matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed) {
                drop(self.database.write().unwrap_or_else(PoisonError::into_inner).take());
            }
            self.error(&error)
        })
    }

    /// Opens the file if it was given up.
    fn open_again(&self) -> Result<(), StoreError> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            *database = Some((self.open)(&self.path)?);
        }
        Ok(())
    }

    /// Brings a file that is new, or of a release without versions, to today's schema; others must have it.
    fn prepare(&self, opening: Opening) -> Result<(), StoreError> {
        let found = self.with(version)?;
        // A file without a version has high-water marks at most, which stay as they are; anything else is another program's, or the
        // embedded database.
        if found.is_none() && self.with(has_other_tables)? {
            return Err(StoreError::Foreign(self.path.clone()));
        }
        let opening = if opening == Opening::Read { Opening::Use } else { opening };
        if schema::is_ready(&self.at(), found, opening)? {
            return Ok(());
        }
        self.held(apply::migrate)
    }
}

fn version(transaction: &ReadTransaction) -> Result<Option<u64>, redb::Error> {
    apply::number(transaction, SCHEMA, "version")
}

fn has_other_tables(transaction: &ReadTransaction) -> Result<bool, redb::Error> {
    let more = transaction.list_multimap_tables()?.next().is_some();
    Ok(more || transaction.list_tables()?.any(|table| table.name() != HIGH_WATER.name()))
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

fn open_file(path: &Path) -> Result<Database, StoreError> {
    if !path.exists() {
        make_folder_of(path)?;
        make_whole(path, |fresh| opened(path, builder().create(fresh)).map(drop).map_err(Making::Store)).map_err(|error| {
            match error {
                Making::Store(error) => error,
                Making::System(error) => StoreError::Open(path.to_path_buf(), error.to_string()),
            }
        })?;
    }
    let file = private_file(path)?;
    opened(path, FileBackend::new(file).and_then(|backend| builder().create_with_backend(backend)))
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn opened(path: &Path, database: Result<Database, DatabaseError>) -> Result<Database, StoreError> {
    database.map_err(|error| {
        let is_other =
            |error: &StorageError| matches!(error, StorageError::Io(io) if io.kind() == std::io::ErrorKind::InvalidData);
        if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
            StoreError::InUse(path.to_path_buf())
        } else if matches!(&error, DatabaseError::Storage(storage) if is_other(storage)) {
            StoreError::Foreign(path.to_path_buf())
        } else {
            StoreError::Open(path.to_path_buf(), error.to_string())
        }
    })
}

/// Opens the file or makes it; others than its owner must not be able to read it.
fn private_file(path: &Path) -> Result<fs::File, StoreError> {
    let failed = |error: std::io::Error| StoreError::Open(path.to_path_buf(), error.to_string());
    make_folder_of(path)?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Exposed(path.to_path_buf(), mode));
    }
    Ok(file)
}

/// Makes the folder of a file with mode 0700 where it is absent; one that is there stays as it is.
fn make_folder_of(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| StoreError::Open(path.to_path_buf(), error.to_string()))
}

/// Why a new file was not made.
enum Making {
    Store(StoreError),
    System(std::io::Error),
}

impl From<std::io::Error> for Making {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

#[cfg(test)]
mod tests;
