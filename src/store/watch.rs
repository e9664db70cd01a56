//! Tells those who wait that something with a name, a topic, has changed in the store.
//!
//! Always holds: a change that was announced after [`Changes`] were asked for ends a wait, within the store's poll interval at the
//! latest; a wait may end for nothing. Counters, not messages: who was away has missed nothing but the number of times.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::StoreError;

/// Topic → how often it was announced.
pub(super) type Topics = BTreeMap<String, u64>;

/// What somebody waits for.
#[derive(Debug)]
pub struct Changes {
    topic: String,
    seen: u64,
    topics: watch::Receiver<Topics>,
}

impl Changes {
    pub(super) fn of(topic: &str, seen: u64, topics: watch::Receiver<Topics>) -> Self {
        Self { topic: topic.to_owned(), seen, topics }
    }

    /// Waits until the topic is announced again.
    ///
    /// # Errors
    ///
    /// The store was closed.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        loop {
            let now = self.topics.borrow_and_update().get(&self.topic).copied().unwrap_or(0);
            if now > self.seen {
                self.seen = now;
                return Ok(());
            }
            let waited = self.topics.changed().await;
            waited.map_err(|_closed| StoreError::Failed("the store".to_owned(), "it was closed".to_owned()))?;
        }
    }
}
