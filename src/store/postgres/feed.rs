//! Announcements: counters in a table, which every node looks at when it is notified, and now and then in any case.
//!
//! Always holds: without LISTEN, or while its connection is down, what was announced is still learned of within the poll interval.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_postgres::types::Type;

use super::connect::Connector;
use super::fault::Repeat;
use super::{Inner, Listening, Parameters, Postgres, sql, unsigned};
use crate::store::rows::Answer;
use crate::store::watch::{Changes, Topics};
use crate::store::{MAX_KEY_BYTES, StoreError};

/// Between two attempts to listen, the first of which did not succeed.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// After a connection that listened was lost.
const AFTER_LOSS: Duration = Duration::from_millis(200);

/// What this node has seen of all topics; someone looks only once somebody waits.
#[derive(Debug, Default)]
pub(in crate::store) struct Feed {
    topics: watch::Sender<Topics>,
    started: Mutex<bool>,
}

impl Postgres {
    /// Tells every node that the topic has changed; it is durable when this returns.
    pub(in crate::store) fn announce(&self, topic: &str) -> Answer<'_, ()> {
        let topic = topic.to_owned();
        self.call(|inner| async move {
            if topic.len() > MAX_KEY_BYTES {
                return Err(StoreError::Misuse("a topic is too long"));
            }
            let parameter = |topic: &String| -> Parameters { vec![Box::new(topic.clone())] };
            inner.query(Repeat::NothingDone, sql::ANNOUNCE, &[Type::TEXT], parameter(&topic)).await?;
            if inner.config.listen == Listening::Used {
                // Who is not notified looks.
                drop(inner.query(Repeat::NothingDone, sql::NOTIFY, &[Type::TEXT], parameter(&topic)).await);
            }
            Ok(())
        })
    }

    /// What is announced of the topic from now on.
    pub(in crate::store) fn watch(&self, topic: &str) -> Answer<'_, Changes> {
        let topic = topic.to_owned();
        self.call(|inner| async move {
            let topics = inner.topics().await?;
            let seen = topics.get(&topic).copied().unwrap_or(0);
            let receiver = inner.feed.topics.subscribe();
            let mut started = inner.feed.started.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::replace(&mut *started, true) {
                tokio::runtime::Handle::current().spawn(follow(Arc::downgrade(&inner)));
            }
            drop(started);
            Ok(Changes::of(&topic, seen, receiver))
        })
    }
}

impl Inner {
    async fn topics(&self) -> Result<Topics, StoreError> {
        let rows = self.query(Repeat::Always, sql::TOPICS, &[], Vec::new()).await?;
        rows.iter().map(|row| Ok((self.column(row, 0)?, unsigned(self.column(row, 1)?)))).collect()
    }

    /// What is there now, for all who wait.
    async fn look(&self) {
        // Looked for again soon; calls tell that the store is away.
        if let Ok(topics) = self.topics().await {
            self.feed.topics.send_if_modified(|known| {
                let news = *known != topics;
                *known = topics;
                news
            });
        }
    }

    /// A connection that listens; `notified` ends with it.
    async fn listen(&self) -> Option<(tokio_postgres::Client, mpsc::Receiver<()>)> {
        let connector = Connector { tls: self.config.tls.clone(), statement_timeout: self.config.statement_timeout };
        let (sender, notified) = mpsc::channel(1);
        let driver = self.config.driver();
        let ready = async {
            let (client, _task) = connector.ready(&driver, Some(sender)).await.ok()?;
            client.batch_execute(sql::LISTEN).await.ok()?;
            Some((client, notified))
        };
        // With a server that says no more, or whoever listens would not look either.
        tokio::time::timeout(self.config.connect_timeout, ready).await.ok()?
    }
}

/// Looks until the store is closed.
async fn follow(store: std::sync::Weak<Inner>) {
    let mut listening = None;
    let mut since = None;
    loop {
        let Some(inner) = store.upgrade() else { return };
        let due = since.is_none_or(|since: tokio::time::Instant| since.elapsed() >= LISTEN_AGAIN);
        if listening.is_none() && inner.config.listen == Listening::Used && due {
            listening = inner.listen().await;
            since = Some(tokio::time::Instant::now());
        }
        // After the connection listens, or what came in between would be missed until the next look.
        inner.look().await;
        let (poll, used) = (inner.config.poll, inner.config.listen == Listening::Used);
        drop(inner);
        let Some((_client, notified)) = &mut listening else {
            tokio::time::sleep(if used { poll.min(LISTEN_AGAIN) } else { poll }).await;
            continue;
        };
        tokio::select! {
            () = tokio::time::sleep(poll) => {}
            note = notified.recv() => if note.is_none() {
                (listening, since) = (None, None);
                tokio::time::sleep(AFTER_LOSS).await;
            },
        }
    }
}
