//! Bytes and transactions that must outlive the process: rows of tables ([`Rows`]), high-water marks of key rings, which nodes there are,
//! and word of changes from node to node. Kept in an embedded file by one node, or in PostgreSQL by any number.
//!
//! Always holds: a mark never falls; what a call returned as stored is durable; a store of another schema is refused. What waits is
//! bounded by the configuration. `app` opens it once; `keys` asks it whether a ring was put back to an older revision; `vault` keeps
//! tokens in it; `cli/store` migrates, checks and copies it.

pub mod check;
pub mod copy;
mod embedded;
mod error;
mod nodes;
mod postgres;
mod rows;
mod schema;
mod watch;
mod whole;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use embedded::Embedded;
pub use error::StoreError;
pub use nodes::{NodeRow, Supersede};
use postgres::Postgres;
pub use postgres::{Address, AddressError, Config as PostgresConfig, Listening, Password, Place};
pub use rows::{Answer, Change, Claim, Claimed, MAX_KEY_BYTES, Row, Rows, Swap, Swapped, Table};
pub use schema::Opening;
pub use watch::Changes;
pub use whole::make_whole;

use crate::metrics::{Metrics, StoreCall};

/// A mark, and the key of the row it names.
pub(crate) type Named = (Vec<u8>, Vec<u8>);

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// A file, for one process.
    Embedded(PathBuf),
    /// A database, for any number.
    Postgres(Box<PostgresConfig>),
}

impl Config {
    /// The files beside the configuration that it was read from.
    pub fn files(&self) -> &[PathBuf] {
        match self {
            Self::Embedded(_) => &[],
            Self::Postgres(config) => &config.files,
        }
    }

    /// The store itself, without how it is reached. Two nodes, or two configurations, that name one store have one.
    pub fn place(&self) -> String {
        match self {
            Self::Embedded(path) => format!("redb:{}", path.display()),
            Self::Postgres(config) => config.address.to_string(),
        }
    }
}

/// The store of a node.
#[derive(Debug)]
pub struct Store {
    kind: Kind,
    metrics: Option<Arc<Metrics>>,
}

#[derive(Debug)]
enum Kind {
    Embedded(Embedded),
    Postgres(Postgres),
}

impl Store {
    /// Opens the store; one that is new is made at once. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it cannot be reached or opened, or it has a schema that this program does not use.
    pub fn open(config: &Config, metrics: Option<Arc<Metrics>>) -> Result<Self, StoreError> {
        Self::open_for(config, Opening::Use, metrics)
    }

    /// Opens the embedded kind.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn embedded(path: &Path) -> Result<Self, StoreError> {
        Self::open(&Config::Embedded(path.to_path_buf()), None)
    }

    /// Brings the store to the schema of this program, whatever other nodes do at the same time, and opens it. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], but for an older schema.
    pub fn migrate(config: &Config) -> Result<Self, StoreError> {
        Self::open_for(config, Opening::Migrate, None)
    }

    /// Opens a store that is there. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]; [`StoreError::Absent`] if there is none.
    pub fn existing(config: &Config) -> Result<Self, StoreError> {
        Self::open_for(config, Opening::Read, None)
    }

    fn open_for(config: &Config, opening: Opening, metrics: Option<Arc<Metrics>>) -> Result<Self, StoreError> {
        let kind = match config {
            Config::Embedded(path) => Kind::Embedded(Embedded::open(path, opening)?),
            Config::Postgres(config) => Kind::Postgres(Postgres::open(config, opening)?),
        };
        Ok(Self { kind, metrics })
    }

    /// The file or the server, for people.
    pub fn at(&self) -> String {
        match &self.kind {
            Kind::Embedded(store) => store.at(),
            Kind::Postgres(store) => store.at().to_owned(),
        }
    }

    /// True if other nodes may use it at the same time.
    pub fn is_shared(&self) -> bool {
        matches!(self.kind, Kind::Postgres(_))
    }

    /// The version of its schema.
    pub async fn version(&self) -> Result<u64, StoreError> {
        match &self.kind {
            Kind::Embedded(store) => store.version().await,
            Kind::Postgres(store) => store.version().await,
        }
    }

    /// Asks a server whether it answers.
    pub async fn reachable(&self) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(()),
            Kind::Postgres(store) => store.reachable().await,
        }
    }

    /// The highest number that was ever seen of `name`; 0 if none was. Blocks, and so not for threads of the runtime that serve.
    pub fn high_water(&self, name: &str) -> Result<u64, StoreError> {
        match &self.kind {
            Kind::Embedded(store) => store.high_water(name),
            Kind::Postgres(store) => store.high_water(name),
        }
    }

    /// Raises the mark of `name` to `seen`, durably, unless it stands higher. Returns where it stands afterwards, so an
    /// answer above `seen` means that `seen` is older than what was already met. Blocks, as [`Self::high_water`] does.
    pub fn raise_high_water(&self, name: &str, seen: u64) -> Result<u64, StoreError> {
        match &self.kind {
            Kind::Embedded(store) => store.raise_high_water(name, seen),
            Kind::Postgres(store) => store.raise_high_water(name, seen),
        }
    }

    /// As [`Self::raise_high_water`], for who is on a runtime.
    pub async fn raise(&self, name: &str, seen: u64) -> Result<u64, StoreError> {
        match &self.kind {
            Kind::Embedded(store) => store.raise(name, seen).await,
            Kind::Postgres(store) => store.raise(name, seen).await,
        }
    }

    /// All marks, in order of their names.
    pub async fn high_waters(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let mut marks = match &self.kind {
            Kind::Embedded(store) => store.high_waters().await,
            Kind::Postgres(store) => store.high_waters().await,
        }?;
        marks.sort();
        Ok(marks)
    }

    /// Tells every node that `topic`, a name, has changed in the store.
    pub async fn announce(&self, topic: &str) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Embedded(store) => {
                store.announce(topic);
                Ok(())
            }
            Kind::Postgres(store) => store.announce(topic).await,
        }
    }

    /// What is announced of `topic` from now on.
    pub async fn watch(&self, topic: &str) -> Result<Changes, StoreError> {
        match &self.kind {
            Kind::Embedded(store) => Ok(store.watch(topic)),
            Kind::Postgres(store) => store.watch(topic).await,
        }
    }

    /// Marks of a table in order, those after `after` only, with what they name.
    pub(crate) async fn marks(&self, table: Table, after: Option<Vec<u8>>, most: usize) -> Result<Vec<Named>, StoreError> {
        match &self.kind {
            Kind::Embedded(store) => store.marks(table, after, most).await,
            Kind::Postgres(store) => store.marks(table, after, most).await,
        }
    }

    fn rows(&self) -> &dyn Rows {
        match &self.kind {
            Kind::Embedded(store) => store,
            Kind::Postgres(store) => store,
        }
    }

    /// Counts how it went, and how long it took.
    fn told<'a, T: 'a>(&'a self, call: StoreCall, answer: Answer<'a, T>) -> Answer<'a, T> {
        let Some(metrics) = &self.metrics else { return answer };
        let begun = Instant::now();
        Box::pin(async move {
            let outcome = answer.await;
            metrics.store_call(call, begun.elapsed(), outcome.as_ref().err().map(StoreError::kind));
            outcome
        })
    }
}

impl Rows for Store {
    fn claim(&self, table: Table, claims: Vec<Claim>) -> Answer<'_, Vec<Claimed>> {
        self.told(StoreCall::Claim, self.rows().claim(table, claims))
    }

    fn read(&self, table: Table, keys: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        self.told(StoreCall::Read, self.rows().read(table, keys))
    }

    fn find(&self, table: Table, marks: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        self.told(StoreCall::Find, self.rows().find(table, marks))
    }

    fn list(&self, table: Table, prefix: Vec<u8>, after: Option<Vec<u8>>, most: usize) -> Answer<'_, Vec<Row>> {
        self.told(StoreCall::List, self.rows().list(table, prefix, after, most))
    }

    fn change(&self, table: Table, changes: Vec<Change>) -> Answer<'_, ()> {
        self.told(StoreCall::Change, self.rows().change(table, changes))
    }

    fn swap(&self, table: Table, swaps: Vec<Swap>) -> Answer<'_, Vec<Swapped>> {
        self.told(StoreCall::Swap, self.rows().swap(table, swaps))
    }
}

#[cfg(test)]
mod tests;
