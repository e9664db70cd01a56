//! Bytes and transactions that must outlive the process: rows of tables ([`Rows`]) and high-water marks of key rings.
//!
//! Always holds: a mark never falls; what a call returned as stored is durable; an embedded file can be read by its owner only.
//! `app` opens it once; `keys` asks it whether a ring was put back to an older revision; `vault` keeps tokens in it.

mod embedded;
mod error;
mod rows;
mod schema;

use std::path::Path;

use embedded::Embedded;
pub use error::StoreError;
pub use rows::{Answer, Change, Claim, Claimed, MAX_KEY_BYTES, Row, Rows, Table};
pub use schema::Opening;

/// What stands in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Rows.
    pub rows: u64,
    /// Marks that name them.
    pub marks: u64,
}

/// A mark, and the key of the row it names.
pub(crate) type Named = (Vec<u8>, Vec<u8>);

/// The store of a node.
#[derive(Debug)]
pub struct Store {
    kind: Embedded,
}

impl Store {
    /// Opens the embedded kind, and makes the file (mode 0600, in a folder of mode 0700) where there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`], [`StoreError::Exposed`], [`StoreError::Newer`], [`StoreError::Older`], or [`StoreError::Open`] for
    /// everything the system or redb says.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { kind: Embedded::open(path, Opening::Use)? })
    }

    /// The highest number this node has seen of `name`; 0 if it never saw one. Blocks.
    pub fn high_water(&self, name: &str) -> Result<u64, StoreError> {
        self.kind.high_water(name)
    }

    /// Raises the mark of `name` to `seen`, durably, unless it stands higher. Returns where it stands afterwards, so an
    /// answer above `seen` means that `seen` is older than what this node already met. Blocks.
    pub fn raise_high_water(&self, name: &str, seen: u64) -> Result<u64, StoreError> {
        self.kind.raise_high_water(name, seen)
    }
}

impl Rows for Store {
    fn claim(&self, table: Table, claims: Vec<Claim>) -> Answer<'_, Vec<Claimed>> {
        self.kind.claim(table, claims)
    }

    fn read(&self, table: Table, keys: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        self.kind.read(table, keys)
    }

    fn find(&self, table: Table, marks: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        self.kind.find(table, marks)
    }

    fn list(&self, table: Table, prefix: Vec<u8>, after: Option<Vec<u8>>, most: usize) -> Answer<'_, Vec<Row>> {
        self.kind.list(table, prefix, after, most)
    }

    fn change(&self, table: Table, changes: Vec<Change>) -> Answer<'_, ()> {
        self.kind.change(table, changes)
    }
}

#[cfg(test)]
mod tests;
