//! The one thread that writes: it takes every call that waits, applies them in order in one transaction, commits it to disk and
//! answers all of them, so that a disk flush serves every caller who waited for one.
//!
//! Always holds: an answer is sent after its commit; a failed commit is an error for every call in it, and the file is opened anew;
//! a caller that no longer waits changes nothing of what its call does, nor frees its place in the queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::super::StoreError;
use super::super::rows::{Claim, Claimed, Row, Swap, Swapped, Table};
use super::{File, apply};

/// Calls in one commit at most.
const BATCH: usize = 256;
/// Calls that wait at most, of up to [`UNIT`] bytes each; a larger one takes as many places as it has units. After that callers wait to queue.
const QUEUE: u32 = 1024;
/// With it no more than 64 MiB wait, or one call alone.
const UNIT: usize = 64 << 10;

/// What to do.
pub(super) enum Work {
    Claim(Table, Vec<Claim>),
    Change(Table, BTreeMap<Vec<u8>, Option<Row>>),
    Swap(Table, Vec<Swap>),
    Raise(String, u64),
}

/// What was done.
pub(super) enum Done {
    Claimed(Vec<Claimed>),
    Changed,
    Swapped(Vec<Swapped>),
    Raised(u64),
}

type Outcome = Result<Done, StoreError>;

impl Work {
    /// Places that it takes in the queue.
    pub(super) fn places(&self) -> u32 {
        let marks = |marks: &[Vec<u8>]| marks.iter().map(Vec::len).sum::<usize>();
        let row = |row: &Row| row.key.len() + row.value.len() + marks(&row.marks);
        let bytes: usize = match self {
            Self::Claim(_, claims) => claims.iter().map(|claim| claim.key.len() + claim.value.len() + marks(&claim.marks)).sum(),
            Self::Change(_, changes) => changes.iter().map(|(key, change)| key.len() + change.as_ref().map_or(0, row)).sum(),
            Self::Swap(_, swaps) => swaps.iter().map(|swap| row(&swap.seen) + swap.value.len() + marks(&swap.marks)).sum(),
            Self::Raise(name, _) => name.len(),
        };
        u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(QUEUE).clamp(1, QUEUE)
    }
}

struct Job {
    work: Work,
    answer: Box<dyn FnOnce(Outcome) + Send>,
    /// Held until it is answered: a caller that gives up, as callers do when the disk hangs, leaves its work in the queue.
    place: Option<OwnedSemaphorePermit>,
}

/// A handle on the thread, which ends with it.
#[derive(Debug)]
pub(super) struct Writer {
    at: String,
    /// None only while it is dropped.
    queue: Option<mpsc::UnboundedSender<Job>>,
    pub(super) room: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(file: Arc<File>) -> std::io::Result<Self> {
        let at = file.at();
        let (queue, jobs) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || run(&file, jobs))?;
        Ok(Self {
            at,
            queue: Some(queue),
            room: Arc::new(Semaphore::new(usize::try_from(QUEUE).unwrap_or(0))),
            thread: Some(thread),
        })
    }

    /// Does it durably.
    pub(super) async fn apply(&self, work: Work) -> Outcome {
        let place = self.place(work.places()).await?;
        self.apply_in(place, work).await
    }

    /// Places in the queue, once they are free.
    pub(super) async fn place(&self, places: u32) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.room).acquire_many_owned(places).await.map_err(|_closed| self.stopped())
    }

    /// As [`Self::apply`], for who has its places.
    pub(super) async fn apply_in(&self, place: OwnedSemaphorePermit, work: Work) -> Outcome {
        let (answer, done) = oneshot::channel();
        self.send(work, Some(place), move |outcome| drop(answer.send(outcome)))?;
        done.await.map_err(|_dropped| self.stopped())?
    }

    /// The same for who may block.
    pub(super) fn blocking(&self, work: Work) -> Outcome {
        let (answer, done) = std::sync::mpsc::sync_channel(1);
        self.send(work, None, move |outcome| drop(answer.send(outcome)))?;
        done.recv().map_err(|_dropped| self.stopped())?
    }

    pub(super) fn send(
        &self,
        work: Work,
        place: Option<OwnedSemaphorePermit>,
        answer: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<(), StoreError> {
        let job = Job { work, answer: Box::new(answer), place };
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
        let (work, answers): (Vec<_>, Vec<_>) = batch.drain(..).map(|job| (job.work, (job.answer, job.place))).unzip();
        let outcomes = match commit(file, &work) {
            Ok(outcomes) => outcomes,
            Err(error) => answers.iter().map(|_| Err(error.clone())).collect(),
        };
        drop(work);
        for ((answer, _place), outcome) in answers.into_iter().zip(outcomes) {
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
                Work::Swap(table, swaps) => Ok(Done::Swapped(apply::swap(&transaction, *table, swaps)?)),
                Work::Raise(name, seen) => Ok(Done::Raised(apply::raise(&transaction, name, *seen)?)),
            });
        }
        transaction.commit()?;
        Ok(outcomes)
    })
}
