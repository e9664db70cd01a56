//! What nodes that share a store leave in it for each other, and for the operator's commands: that they are there, and what they hold;
//! and rows that only one of several writers may replace.
//!
//! Always holds: when a node was last seen is told by the store's clock, never by the node's. An embedded store has one node, which
//! leaves nothing. Called by `keys`.

use std::time::Duration;

use super::rows::Table;
use super::{Kind, Store, StoreError};

/// A node as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Its id.
    pub id: String,
    /// How long ago it came, by the store's clock.
    pub started_ago: Duration,
    /// How long ago it was last there, by the store's clock.
    pub seen_ago: Duration,
    /// What it says of itself.
    pub about: Vec<u8>,
}

/// A row that is to be made, replaced or removed, if it still is what was seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Supersede {
    /// Its table.
    pub table: Table,
    /// Its key.
    pub key: Vec<u8>,
    /// What it holds; none: there is no such row.
    pub seen: Option<Vec<u8>>,
    /// What it is to hold; none: it is to be gone.
    pub new: Option<Vec<u8>>,
    /// The high-water mark that rises with it, and the topic that is announced with it.
    pub name: String,
    /// Where the mark rises to.
    pub mark: u64,
}

impl Store {
    /// This node is there and says this of itself. The first time it is registered by it.
    pub async fn beat(&self, node: &str, about: Vec<u8>) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(()),
            Kind::Postgres(store) => store.beat(node, about).await,
        }
    }

    /// As [`Self::beat`], for who may block.
    pub fn beat_blocking(&self, node: &str, about: Vec<u8>) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(()),
            Kind::Postgres(store) => store.beat_blocking(node, about),
        }
    }

    /// This node will be there no more.
    pub async fn leave(&self, node: &str) -> Result<(), StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(()),
            Kind::Postgres(store) => store.leave(node).await,
        }
    }

    /// All nodes that were there within the hour, in the order they came.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(Vec::new()),
            Kind::Postgres(store) => store.nodes().await,
        }
    }

    /// As [`Self::nodes`], for who may block.
    pub fn nodes_blocking(&self) -> Result<Vec<NodeRow>, StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Ok(Vec::new()),
            Kind::Postgres(store) => store.nodes_blocking(),
        }
    }

    /// What the row with this key holds. Blocks.
    pub fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.kind {
            Kind::Embedded(store) => store.value(table, key),
            Kind::Postgres(store) => store.value(table, key),
        }
    }

    /// Makes, replaces or removes a row, raises a mark and announces it, all in one transaction; false: the row is not what was seen, and
    /// nothing was done. Of several at once one does it. Blocks.
    ///
    /// # Errors
    ///
    /// [`StoreError`]. After one that tells of a connection that broke, or of no answer in time, it may have been done: look.
    pub fn supersede(&self, supersede: Supersede) -> Result<bool, StoreError> {
        match &self.kind {
            Kind::Embedded(_) => Err(StoreError::Misuse("a row for several writers in a store that is held by one")),
            Kind::Postgres(store) => store.supersede(supersede),
        }
    }
}

/// Without the bytes (T13).
impl std::fmt::Debug for Supersede {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supersede").field("table", &self.table).field("mark", &self.mark).finish_non_exhaustive()
    }
}
