//! The one thread that writes: it takes every change that waits, applies them in order in one transaction, commits it to
//! disk and answers all of them, so that a disk flush serves every caller who waited for one.
//!
//! Always holds: an answer is sent after its commit; a failed commit is an error for every change in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use redb::{Database, ReadableTable};
use tokio::sync::{mpsc, oneshot};

use super::super::UpstreamError;
use super::{COUNTERS, DOCUMENTS};
use crate::base::limits::STACK_BYTES;

/// Changes in one commit at most.
const BATCH: usize = 256;
/// Changes that wait at most; after that callers wait to queue.
const QUEUE: usize = 1024;

/// A handle on the thread, which ends with the last handle.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Job>,
    failed: Arc<AtomicBool>,
}

/// What to do.
#[derive(Debug)]
pub(super) enum Change {
    Store { collection: String, id: String, document: Bytes, expect: Option<Expect> },
    Remove { collection: String, id: String, expect: Option<Expect> },
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// Stored under this revision; `new`: nothing was there before.
    Stored {
        revision: u64,
        new: bool,
    },
    Removed,
    /// Nothing: what is there is not what was expected, or nothing is there to remove.
    Otherwise {
        present: bool,
    },
}

/// What must be there for a change to be made: `If-Match` and `If-None-Match` (RFC 9110 section 13.1).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Expect {
    any_of: Option<Match>,
    none_of: Option<Match>,
}

#[derive(Debug, PartialEq, Eq)]
enum Match {
    /// `*`: whatever is there.
    Any,
    /// These revisions; tags that are not ours match nothing.
    Revisions(Vec<u64>),
}

impl Match {
    fn parse<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> Option<Self> {
        let mut seen = false;
        let mut revisions = Vec::new();
        for tag in values.flat_map(|value| value.to_str().unwrap_or_default().split(',')) {
            seen = true;
            match tag.trim() {
                "*" => return Some(Self::Any),
                tag => revisions.extend(
                    tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|tag| u64::from_str_radix(tag, 16).ok()),
                ),
            }
        }
        seen.then_some(Self::Revisions(revisions))
    }

    fn matches(&self, present: Option<u64>) -> bool {
        match (self, present) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Revisions(revisions), Some(revision)) => revisions.contains(&revision),
        }
    }
}

impl Expect {
    /// Nothing is there.
    pub(super) fn absent() -> Self {
        Self { any_of: None, none_of: Some(Match::Any) }
    }

    /// What the headers expect, if anything.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let expect = Self {
            any_of: Match::parse(headers.get_all(header::IF_MATCH).iter()),
            none_of: Match::parse(headers.get_all(header::IF_NONE_MATCH).iter()),
        };
        (expect != Self::default()).then_some(expect)
    }

    /// One of the tags of one header value is there.
    pub(super) fn parse(value: &HeaderValue) -> Self {
        Self { any_of: Match::parse(std::iter::once(value)), none_of: None }
    }

    /// Is what is there as expected?
    pub(super) fn holds(&self, present: Option<u64>) -> bool {
        self.any_of.as_ref().is_none_or(|tags| tags.matches(present))
            && !self.none_of.as_ref().is_some_and(|tags| tags.matches(present))
    }
}

struct Job {
    change: Change,
    answer: oneshot::Sender<Result<Done, String>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(database: Arc<Database>) -> std::io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let failed = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&failed);
        std::thread::Builder::new()
            .name("documents".into())
            .stack_size(STACK_BYTES)
            .spawn(move || run(&database, jobs, &flag))?;
        Ok(Self { queue, failed })
    }

    /// Makes one change durably.
    pub(super) async fn apply(&self, change: Change) -> Result<Done, UpstreamError> {
        let (answer, done) = oneshot::channel();
        let stopped = || UpstreamError::Store("the document store has stopped writing; restart".into());
        self.queue.send(Job { change, answer }).await.map_err(|_closed| stopped())?;
        done.await.map_err(|_dropped| stopped())?.map_err(UpstreamError::Store)
    }

    /// False once the thread is gone or its last commit failed.
    pub(super) fn alive(&self) -> bool {
        !self.queue.is_closed() && !self.failed.load(Ordering::Acquire)
    }
}

fn run(database: &Database, mut jobs: mpsc::Receiver<Job>, failed: &AtomicBool) {
    let mut batch = Vec::with_capacity(BATCH);
    while jobs.blocking_recv_many(&mut batch, BATCH) > 0 {
        let (changes, answers): (Vec<_>, Vec<_>) = batch.drain(..).map(|job| (job.change, job.answer)).unzip();
        let outcome = commit(database, &changes).map_err(|error| format!("the document store did not take a write: {error}"));
        failed.store(outcome.is_err(), Ordering::Release);
        let outcomes = match outcome {
            Ok(done) => done.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => answers.iter().map(|_| Err(error.clone())).collect(),
        };
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Who no longer waits for the answer needs none; the change is made all the same.
            drop(answer.send(outcome));
        }
    }
}

fn commit(database: &Database, changes: &[Change]) -> Result<Vec<Done>, redb::Error> {
    let transaction = database.begin_write()?;
    let done = {
        let mut documents = transaction.open_table(DOCUMENTS)?;
        let mut counters = transaction.open_table(COUNTERS)?;
        let mut last = counters.get("")?.map_or(0, |last| last.value());
        let mut done = Vec::with_capacity(changes.len());
        for change in changes {
            let (Change::Store { collection, id, expect, .. } | Change::Remove { collection, id, expect }) = change;
            let key = (collection.as_str(), id.as_str());
            let present = documents.get(key)?.map(|stored| stored.value().0);
            if expect.as_ref().is_some_and(|expect| !expect.holds(present)) {
                done.push(Done::Otherwise { present: present.is_some() });
                continue;
            }
            match change {
                Change::Store { document, .. } => {
                    last += 1;
                    documents.insert(key, (last, document.as_ref()))?;
                    done.push(Done::Stored { revision: last, new: present.is_none() });
                }
                Change::Remove { .. } if present.is_some() => {
                    documents.remove(key)?;
                    done.push(Done::Removed);
                }
                Change::Remove { .. } => done.push(Done::Otherwise { present: false }),
            }
        }
        counters.insert("", last)?;
        done
    };
    transaction.commit()?;
    Ok(done)
}
