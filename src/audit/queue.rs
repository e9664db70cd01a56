//! What waits for the log's writer: events with who waits for them, and when the thread that writes them is woken.
//!
//! To wake a thread is a call to the system and a change of thread, and so is each sync; so events become durable together where they can
//! (docs/decisions/0035, 0039). Notes, for which nobody waits, wait for an event that somebody waits for, 10 ms at most. An event that somebody
//! waits for goes with whatever else is ready on its thread of the runtime: the first of a turn undertakes to say that the batch is due.
//!
//! Always holds: whatever was pushed is taken soon after the [`Call`] that came with it is dropped, at the end of the thread's doze if there
//! was none; after the end nothing is taken in.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::AuditError;

/// Events that may wait to be durable at one time; more than the proxy has connections.
const MAX_RECORDS: usize = 16_384;
/// Notes that may wait; beyond it they are counted, and the count is recorded.
pub(super) const MAX_NOTES: usize = 4_096;
/// Room that is kept between batches: bytes of text, and events.
const MAX_SPARE_BYTES: usize = 256 << 10;
const MAX_SPARE_JOBS: usize = 1024;
/// Notes, for which nobody waits, may wait so long for an event that somebody waits for, and then become durable with it
/// (docs/decisions/0035).
const NOTES_WAIT: Duration = Duration::from_millis(10);

/// Tells whoever waits how it went.
pub(super) type Tell = oneshot::Sender<Result<(), AuditError>>;

/// Events on their way to the writer's thread.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    batch: Batch,
    /// The events that the thread is at.
    taken: usize,
    notes: usize,
    /// What the thread is doing while it has no batch.
    rest: Rest,
    /// The batch is due: somebody waits for an event in it, and whatever was to go with that is here.
    due: bool,
    /// The thread on which somebody has undertaken to say so.
    called_by: Option<ThreadId>,
    /// Since when the thread is at a batch.
    busy_since: Option<Instant>,
    /// Notes that found no room since the last commit.
    dropped: u64,
    /// Told when the thread has ended.
    closing: Vec<oneshot::Sender<()>>,
    /// No more jobs are taken.
    closed: bool,
    ended: bool,
}

/// To wake a thread is a call to the system and a change of thread, so it is woken only when it must.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// It looks at the queue again by itself.
    #[default]
    Awake,
    /// It has just been at a batch and waits for [`NOTES_WAIT`]: a batch that is due wakes it, a note does not.
    Dozing,
    /// Everything wakes it.
    Asleep,
}

/// Says that the batch is due when it is dropped, also if whoever had undertaken it gives up.
pub(super) struct Call<'s>(&'s Queue);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let sleeps = {
            let mut queue = self.0.lock();
            (queue.due, queue.called_by) = (true, None);
            std::mem::take(&mut queue.rest) != Rest::Awake
        };
        if sleeps {
            self.0.wake.notify_one();
        }
    }
}

/// Events in the order in which they came. Their text stands in one place that the thread gives back, so that neither side frees what the
/// other allocated: the allocator would make them wait for each other.
#[derive(Default)]
pub(super) struct Batch {
    /// The lines, ready but for number, link and time, each with a line end.
    text: String,
    pub(super) jobs: Vec<Job>,
}

pub(super) struct Job {
    /// Where its lines are.
    lines: Range<usize>,
    /// Who waits; `None` for a note.
    pub(super) tell: Option<Tell>,
    /// An alarm: it is true whether or not somebody still waits, and is written as soon as the disk takes it.
    pub(super) lasting: bool,
}

impl Batch {
    fn push(&mut self, bodies: &[String], tell: Option<Tell>, lasting: bool) {
        let start = self.text.len();
        for body in bodies {
            self.text.push_str(body);
            self.text.push('\n');
        }
        self.jobs.push(Job { lines: start..self.text.len(), tell, lasting });
    }

    pub(super) fn text_of(&self, job: &Job) -> &str {
        self.text.get(job.lines.clone()).unwrap_or_default()
    }

    /// Empty again, with room for one like it.
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.text.shrink_to(MAX_SPARE_BYTES);
        self.jobs.clear();
        self.jobs.shrink_to(MAX_SPARE_JOBS);
    }
}

impl Queue {
    /// A thread that panicked while it held the lock left no half-made state: every change is one push or one take.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues. What is returned calls the thread when it is dropped, which must be soon.
    pub(super) fn push(&self, bodies: &[String], tell: Option<Tell>, lasting: bool) -> Result<Option<Call<'_>>, AuditError> {
        let calls = {
            let caller = Some(thread::current().id());
            let mut queue = self.lock();
            if queue.closed {
                return Err(AuditError::Closed);
            }
            let records = queue.batch.jobs.len().saturating_sub(queue.notes);
            if tell.is_some() && records >= MAX_RECORDS {
                return Err(AuditError::Overloaded);
            }
            if tell.is_none() {
                if queue.notes >= MAX_NOTES {
                    queue.dropped += 1;
                    return Err(AuditError::Overloaded);
                }
                queue.notes += 1;
            }
            // A note calls only where nothing else would take it in time.
            let calls = (tell.is_some() || queue.rest == Rest::Asleep) && !queue.due && queue.called_by != caller;
            queue.batch.push(bodies, tell, lasting);
            if calls {
                // Once for each thread is enough: none must wait for what another is busy with.
                queue.called_by = caller;
            }
            calls
        };
        Ok(calls.then(|| Call(self)))
    }

    /// Waits to be woken, at most for `pause`. True if it was that long.
    fn wait<'q>(&self, queue: MutexGuard<'q, Waiting>, pause: Option<Duration>) -> (MutexGuard<'q, Waiting>, bool) {
        let Some(pause) = pause else { return (self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner), false) };
        let (queue, waited) = self.wake.wait_timeout(queue, pause).unwrap_or_else(PoisonError::into_inner);
        (queue, waited.timed_out())
    }

    /// Waits for events or for the end, at most `longest`, and takes what is there into `batch`, which is empty. Are these the last, and how
    /// many notes found no room?
    pub(super) fn take(&self, batch: &mut Batch, longest: Option<Duration>) -> (bool, u64) {
        let mut queue = self.lock();
        (queue.busy_since, queue.taken) = (None, 0);
        let mut doze = true;
        while !queue.due && !queue.closed {
            // What is here after a doze is not asked for yet, or notes alone; it has waited for company long enough.
            if !doze && !queue.batch.jobs.is_empty() {
                break;
            }
            let pause = if doze { Some(longest.map_or(NOTES_WAIT, |longest| longest.min(NOTES_WAIT))) } else { longest };
            queue.rest = if doze { Rest::Dozing } else { Rest::Asleep };
            let timed_out;
            (queue, timed_out) = self.wait(queue, pause);
            queue.rest = Rest::Awake;
            if timed_out && !std::mem::take(&mut doze) {
                break;
            }
        }
        (queue.notes, queue.due, queue.called_by) = (0, false, None);
        (queue.busy_since, queue.taken) = (Some(Instant::now()), queue.batch.jobs.len());
        std::mem::swap(batch, &mut queue.batch);
        (queue.closed, std::mem::take(&mut queue.dropped))
    }

    /// How many events are not durable yet, and how long the thread has been at the oldest of them.
    pub(super) fn behind(&self) -> (usize, Duration) {
        let queue = self.lock();
        (queue.batch.jobs.len() + queue.taken, queue.busy_since.map(|since| since.elapsed()).unwrap_or_default())
    }

    /// Takes nothing in any more. Tells when the thread has ended; `None` if it has.
    pub(super) fn close(&self) -> Option<oneshot::Receiver<()>> {
        let told = {
            let mut queue = self.lock();
            if queue.ended {
                return None;
            }
            let (tell, told) = oneshot::channel();
            queue.closing.push(tell);
            queue.closed = true;
            told
        };
        self.wake.notify_one();
        Some(told)
    }

    /// Takes nothing in any more, and nobody waits for the thread to end.
    pub(super) fn abandon(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// The thread has ended.
    pub(super) fn end(&self) {
        let mut queue = self.lock();
        (queue.closed, queue.ended) = (true, true);
        queue.batch = Batch::default();
        for tell in queue.closing.drain(..) {
            tell.send(()).ok();
        }
    }

    /// How many wait to be taken.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().batch.jobs.len()
    }

    /// Does the thread wait to be called?
    #[cfg(test)]
    pub(super) fn sleeps(&self) -> bool {
        self.lock().rest == Rest::Asleep
    }
}
