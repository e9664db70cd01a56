//! Nodes, and rows for several writers, of which one wins.
//!
//! Always holds: as every call, one statement, which takes place whole or not at all.

use std::time::Duration;

use tokio_postgres::types::Type;

use super::super::rows::{Answer, Table};
use super::super::{NodeRow, StoreError, Supersede};
use super::fault::Repeat;
use super::sql::Superseding;
use super::{Inner, Listening, Parameters, Postgres, sql};

impl Postgres {
    pub(in crate::store) fn beat(&self, node: &str, about: Vec<u8>) -> Answer<'_, ()> {
        let node = node.to_owned();
        self.call(|inner| async move { inner.beat(node, about).await })
    }

    pub(in crate::store) fn beat_blocking(&self, node: &str, about: Vec<u8>) -> Result<(), StoreError> {
        let node = node.to_owned();
        self.blocking(|inner| async move { inner.beat(node, about).await })
    }

    pub(in crate::store) fn leave(&self, node: &str) -> Answer<'_, ()> {
        let parameters: Parameters = vec![Box::new(node.to_owned())];
        self.call(|inner| async move {
            inner.query(Repeat::Always, sql::LEAVE, &[Type::TEXT], parameters).await?;
            Ok(())
        })
    }

    pub(in crate::store) fn nodes(&self) -> Answer<'_, Vec<NodeRow>> {
        self.call(|inner| async move { inner.nodes().await })
    }

    pub(in crate::store) fn nodes_blocking(&self) -> Result<Vec<NodeRow>, StoreError> {
        self.blocking(|inner| async move { inner.nodes().await })
    }

    pub(in crate::store) fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key.to_vec();
        self.blocking(move |inner| async move {
            let found = inner.look_up(&inner.of(table)?.read, vec![key]).await?;
            Ok(found.into_iter().next().flatten())
        })
    }

    pub(in crate::store) fn supersede(&self, supersede: Supersede) -> Result<bool, StoreError> {
        self.blocking(move |inner| async move { inner.supersede(supersede).await })
    }
}

impl Inner {
    async fn beat(&self, node: String, about: Vec<u8>) -> Result<(), StoreError> {
        let parameters: Parameters = vec![Box::new(node), Box::new(about)];
        self.query(Repeat::Always, sql::BEAT, &[Type::TEXT, Type::BYTEA], parameters).await?;
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let rows = self.query(Repeat::Always, sql::NODES, &[], Vec::new()).await?;
        let node = |row: &tokio_postgres::Row| {
            Ok(NodeRow {
                id: self.column(row, 0)?,
                started_ago: ago(self.column(row, 1)?),
                seen_ago: ago(self.column(row, 2)?),
                about: self.column(row, 3)?,
            })
        };
        let nodes: Vec<NodeRow> = rows.iter().map(node).collect::<Result<_, StoreError>>()?;
        if nodes.iter().any(|node| node.seen_ago > Duration::from_hours(1)) {
            self.query(Repeat::Always, sql::FORGET, &[], Vec::new()).await?;
        }
        Ok(nodes.into_iter().filter(|node| node.seen_ago <= Duration::from_hours(1)).collect())
    }

    async fn supersede(&self, supersede: Supersede) -> Result<bool, StoreError> {
        let Supersede { table, key, seen, new, name, mark } = supersede;
        let kind = match (&seen, &new) {
            (None, Some(_)) => Superseding::Made,
            (Some(_), Some(_)) => Superseding::Replaced,
            (Some(_), None) => Superseding::Removed,
            (None, None) => return Err(StoreError::Misuse("a row that is not there and is to be gone")),
        };
        let mark = i64::try_from(mark).map_err(|_larger| StoreError::Misuse("a mark beyond 2^63"))?;
        let types = [Type::BYTEA, Type::BYTEA, Type::BYTEA, Type::TEXT, Type::INT8];
        let topic = name.clone();
        let parameters: Parameters = vec![
            Box::new(key),
            Box::new(seen.unwrap_or_default()),
            Box::new(new.unwrap_or_default()),
            Box::new(name),
            Box::new(mark),
        ];
        let done = self.query(Repeat::NothingDone, &sql::supersede(table, kind), &types, parameters).await?;
        if done.is_empty() {
            return Ok(false);
        }
        if self.config.listen == Listening::Used {
            // Who is not notified looks.
            let parameters: Parameters = vec![Box::new(topic)];
            drop(self.query(Repeat::NothingDone, sql::NOTIFY, &[Type::TEXT], parameters).await);
        }
        Ok(true)
    }
}

/// A clock that was set back makes nothing of the future.
fn ago(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default()
}
