//! The one thread that writes: it takes every call that waits, applies them in order in one transaction, commits it to disk and
//! answers all of them, so that a disk flush serves every caller who waited for one.
//!
//! Always holds: an answer is sent after its commit; a failed commit is an error for every call in it, and the file is opened anew;
//! a caller that no longer waits changes nothing of what its call does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::super::StoreError;
use super::super::rows::{Claim, Claimed, Row, Table};
use super::{File, apply};

/// Calls in one commit at most.
const BATCH: usize = 256;
/// Calls that wait at most; after that callers wait to queue.
const QUEUE: usize = 1024;

/// What to do.
pub(super) enum Work {
    Claim(Table, Vec<Claim>),
    Change(Table, BTreeMap<Vec<u8>, Option<Row>>),
    Raise(String, u64),
}

/// What was done.
pub(super) enum Done {
    Claimed(Vec<Claimed>),
    Changed,
    Raised(u64),
}

type Outcome = Result<Done, StoreError>;

struct Job {
    work: Work,
    answer: Box<dyn FnOnce(Outcome) + Send>,
}

/// A handle on the thread, which ends with it.
#[derive(Debug)]
pub(super) struct Writer {
    at: String,
    /// None only while it is dropped.
    queue: Option<mpsc::UnboundedSender<Job>>,
    room: Semaphore,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(file: Arc<File>) -> std::io::Result<Self> {
        let at = file.at();
        let (queue, jobs) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || run(&file, jobs))?;
        Ok(Self { at, queue: Some(queue), room: Semaphore::new(QUEUE), thread: Some(thread) })
    }

    /// Does it durably.
    pub(super) async fn apply(&self, work: Work) -> Outcome {
        let _place = self.room.acquire().await.map_err(|_closed| self.stopped())?;
        let (answer, done) = oneshot::channel();
        self.send(work, move |outcome| drop(answer.send(outcome)))?;
        done.await.map_err(|_dropped| self.stopped())?
    }

    /// The same for who may block.
    pub(super) fn blocking(&self, work: Work) -> Outcome {
        let (answer, done) = std::sync::mpsc::sync_channel(1);
        self.send(work, move |outcome| drop(answer.send(outcome)))?;
        done.recv().map_err(|_dropped| self.stopped())?
    }

    pub(super) fn send(&self, work: Work, answer: impl FnOnce(Outcome) + Send + 'static) -> Result<(), StoreError> {
        let job = Job { work, answer: Box::new(answer) };
        self.queue.as_ref().and_then(|queue| queue.send(job).ok()).ok_or_else(|| self.stopped())
    }

    fn stopped(&self) -> StoreError {
        StoreError::Failed(self.at.clone(), "its thread has ended; restart".to_owned())
    }
}

/// Waits for the thread, so that the file is free afterwards.
impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // If it panicked, its callers have been told.
            drop(thread.join());
        }
    }
}

fn run(file: &File, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut batch = Vec::new();
    while jobs.blocking_recv_many(&mut batch, BATCH) > 0 {
        let (work, answers): (Vec<_>, Vec<_>) = batch.drain(..).map(|job| (job.work, job.answer)).unzip();
        let outcomes = match commit(file, &work) {
            Ok(outcomes) => outcomes,
            Err(error) => answers.iter().map(|_| Err(error.clone())).collect(),
        };
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            answer(outcome);
        }
    }
}

fn commit(file: &File, work: &[Work]) -> Result<Vec<Outcome>, StoreError> {
    file.held(|database| {
        let transaction = database.begin_write()?;
        let mut outcomes = Vec::with_capacity(work.len());
        for work in work {
            outcomes.push(match work {
                Work::Claim(table, claims) => Ok(Done::Claimed(apply::claim(&transaction, *table, claims)?)),
                Work::Change(table, changes) => apply::change(&transaction, *table, changes)?.map(|()| Done::Changed),
                Work::Raise(name, seen) => Ok(Done::Raised(apply::raise(&transaction, name, *seen)?)),
            });
        }
        transaction.commit()?;
        Ok(outcomes)
    })
}
