//! The log's one writer: a thread that takes what waits in the [`Queue`], writes it, syncs once, and then answers all (group commit).
//!
//! Always holds: an answer `Ok` is given after fdatasync only; a batch that fails leaves nothing behind, for the segment is cut
//! back to its last durable length before anything else is written; an event nobody waits for any more is not written, unless
//! it is an alarm.
//!
//! While the disk refuses, events that somebody waits for fail at once, notes and alarms are kept up to a bound, and once a
//! second the thread tries to write an event that tells of the interruption; when that works the log is healthy again.
//!
//! At its start and end, and between them after every `checkpoint_every` in which something happened, the log adds a signed
//! checkpoint to those stored beside it: after the answers are given, so nobody waits for it but a batch that comes in just then.
//! One that cannot be written is an alarm in the log and no outage, for the events themselves are durable.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::chain::{self, Head, Key, Link};
use super::disk::{Disk, Folder, bytes};
use super::event::{bodies, own_body};
use super::queue::{Batch, MAX_NOTES, Queue};
use super::recover::{End, recover};
use super::tree::Tree;
use super::{AuditError, Config, Event, Kind, Recorded, note};
use crate::base::limits::STACK_BYTES;
use crate::base::{Clock, Controller};
use crate::crypto::MacKey;

/// How often an unhealthy log tries the disk again.
const RETRY: Duration = Duration::from_secs(1);
/// The log: a handle on its writer thread. Clones share the thread; it ends with [`Log::close`] or with the last clone.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    /// The Active audit key, for pseudonyms of data subjects.
    key: Arc<MacKey>,
    durable_timeout: Duration,
}

struct Shared {
    queue: Queue,
    healthy: AtomicBool,
    /// When the last batch became durable, in milliseconds since 1970.
    durable_ms: AtomicU64,
    events: AtomicU64,
    commits: AtomicU64,
}

/// How far the log is, and how far behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Events that are not durable yet.
    pub waiting: usize,
    /// How long the oldest batch among them has been with the disk.
    pub oldest: Duration,
    /// When events last became durable, in milliseconds since 1970.
    pub durable_ms: u64,
    /// Events that became durable since the start.
    pub events: u64,
    /// In so many commits, each with one sync.
    pub commits: u64,
}

impl Log {
    /// Opens the log, or begins one: locks its folder, checks that the end is as it was left, cuts off what a crash left
    /// unfinished and says so in the log, and writes a start event, which proves that it can be written.
    ///
    /// `keys` are the ring's audit keys, Active first.
    ///
    /// # Errors
    ///
    /// [`AuditError::Damaged`] if the end was tampered with; [`AuditError::InUse`]; [`AuditError::NoKey`];
    /// [`AuditError::KeyMissing`]; what the system refuses.
    pub fn open(config: &Config, keys: Vec<Key>, clock: Arc<dyn Clock>) -> Result<Self, AuditError> {
        let mut folder = Folder::open(&config.dir)?;
        let end = recover(&config.dir, &mut folder, &keys)?;
        Self::start(config, keys, clock, folder, end)
    }

    pub(super) fn start<D: Disk>(
        config: &Config,
        keys: Vec<Key>,
        clock: Arc<dyn Clock>,
        disk: D,
        end: Option<End>,
    ) -> Result<Self, AuditError> {
        let key = keys.into_iter().next().ok_or(AuditError::NoKey)?;
        let mut writer = Writer::new(config, key.clone(), clock, disk, end)?;
        let mac = key.1;
        let mut first = Vec::new();
        if let Some(torn) = writer.end.torn.take() {
            first.push(own_body(Kind::Alarm, Some("torn-line-cut-off"), Some(torn)));
        }
        first.push(own_body(Kind::Start, None, None));
        writer.commit(first.iter().map(String::as_str))?;
        writer.checkpoint();
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            healthy: AtomicBool::new(true),
            durable_ms: AtomicU64::new(writer.clock.now_ms()),
            events: AtomicU64::new(0),
            commits: AtomicU64::new(0),
        });
        let ours = Arc::clone(&shared);
        let spawned = thread::Builder::new().name("audit".to_string()).stack_size(STACK_BYTES).spawn(move || {
            let guard = Ended(&ours);
            ours.run(writer);
            drop(guard);
        });
        spawned.map_err(|error| AuditError::io(&config.dir, "given a thread", &error))?;
        Ok(Self { handle: Arc::new(Handle { shared, key: mac, durable_timeout: config.durable_timeout }) })
    }

    /// Waits until the event is on disk (one fdatasync serves all waiting), at most `durable_timeout`.
    ///
    /// If the caller stops waiting before its turn, the event is not written. An alarm is, and also later if the disk refuses
    /// it now: a client that leaves, or a disk that stalls, must not keep from the log that a value did not authenticate.
    ///
    /// # Errors
    ///
    /// [`AuditError::Timeout`], [`AuditError::Write`], [`AuditError::Overloaded`], [`AuditError::Closed`]: the event is not
    /// known to be durable, and nothing may leave on it.
    pub async fn record(&self, event: Event) -> Result<Recorded, AuditError> {
        let handle = &self.handle;
        let (tell, told) = oneshot::channel();
        let lasting = event.kind == Kind::Alarm;
        let calls = handle.shared.queue.push(&bodies(&handle.key, &event), Some(tell), lasting)?;
        if let Some(call) = calls {
            // What else is ready on this thread comes first, so that its events go with this one (docs/decisions/0039).
            tokio::task::yield_now().await;
            drop(call);
        }
        match tokio::time::timeout(handle.durable_timeout, told).await {
            Ok(Ok(answer)) => answer.map(|()| Recorded(())),
            Ok(Err(_writer_gone)) => Err(AuditError::Closed),
            Err(_elapsed) => Err(AuditError::Timeout(handle.durable_timeout)),
        }
    }

    /// Queues without waiting (closing events); bounded, dropping is counted and the count is itself recorded.
    #[expect(clippy::needless_pass_by_value, reason = "as record takes it, and as nobody needs it afterwards")]
    pub fn note(&self, event: Event) {
        // Overloaded is counted by `push`; after the end there is no log to count in.
        self.handle.shared.queue.push(&bodies(&self.handle.key, &event), None, true).map(drop).ok();
    }

    /// True while events can be made durable, for /readyz: the last batch was, and none hangs in the disk for longer than
    /// `durable_timeout`. It comes back by itself when the disk does.
    pub fn healthy(&self) -> bool {
        let handle = &self.handle;
        let hangs = || handle.shared.queue.behind().1 > handle.durable_timeout;
        handle.shared.healthy.load(Ordering::Acquire) && !hangs()
    }

    /// How far behind it is, for the metrics.
    pub fn lag(&self) -> Lag {
        let shared = &self.handle.shared;
        let (waiting, oldest) = shared.queue.behind();
        let told = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Lag {
            waiting,
            oldest,
            durable_ms: told(&shared.durable_ms),
            events: told(&shared.events),
            commits: told(&shared.commits),
        }
    }

    /// How many wait for the writer to take them.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.handle.shared.queue.waiting()
    }

    /// Does the writer wait to be called?
    #[cfg(test)]
    pub(super) fn sleeps(&self) -> bool {
        self.handle.shared.queue.sleeps()
    }

    /// Writes what is queued and a stop event, ends the thread and lets go of the folder.
    pub async fn close(&self) {
        let Some(told) = self.handle.shared.queue.close() else { return };
        // An error means that the thread is gone, which is what was asked for.
        told.await.ok();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("healthy", &self.healthy()).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.abandon();
    }
}

/// Tells the others that the thread has ended, also if it panicked: nothing must wait for it, and /readyz must know.
struct Ended<'s>(&'s Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.healthy.store(false, Ordering::Release);
        self.0.queue.end();
    }
}

impl Shared {
    /// The thread's life: batch after batch, until the log is closed and the last one is written.
    fn run<D: Disk>(&self, mut writer: Writer<D>) {
        let mut gap = Gap::default();
        let mut batch = Batch::default();
        loop {
            batch.clear();
            let longest = if gap.interrupted { Some(RETRY) } else { writer.until_checkpoint() };
            let (closing, dropped) = self.queue.take(&mut batch, longest);
            gap.dropped += dropped;
            batch.jobs.retain(|job| job.lasting || job.tell.as_ref().is_none_or(|tell| !tell.is_closed()));
            let first: Vec<String> = gap.bodies().into_iter().chain(writer.alarm()).collect();
            let last = closing.then(|| own_body(Kind::Stop, None, None));
            if batch.jobs.is_empty() && first.is_empty() && !closing {
                writer.checkpoint_if_due();
                continue;
            }
            let before = writer.end.link.seq;
            let events = gap.kept.iter().map(String::as_str).chain(batch.jobs.iter().map(|job| batch.text_of(job)));
            let own = first.iter().map(String::as_str);
            let outcome = writer.commit(own.chain(events.flat_map(str::lines)).chain(last.as_deref()));
            self.healthy.store(outcome.is_ok(), Ordering::Release);
            match &outcome {
                Ok(()) => {
                    self.durable_ms.store(writer.clock.now_ms(), Ordering::Relaxed);
                    self.events.fetch_add(writer.end.link.seq.saturating_sub(before), Ordering::Relaxed);
                    self.commits.fetch_add(1, Ordering::Relaxed);
                    gap = Gap::default();
                    writer.signed.untold = false;
                }
                Err(_) => gap.interrupted = true,
            }
            let mut jobs = std::mem::take(&mut batch.jobs);
            for mut job in jobs.drain(..) {
                if let Some(tell) = job.tell.take() {
                    gap.refused += u64::from(outcome.is_err() && !job.lasting);
                    // One that stopped waiting meanwhile needs no answer.
                    tell.send(outcome.clone()).ok();
                }
                if outcome.is_err() && job.lasting {
                    gap.keep(batch.text_of(&job));
                }
            }
            batch.jobs = jobs;
            if closing {
                writer.checkpoint();
                return;
            }
            if outcome.is_ok() {
                writer.checkpoint_if_due();
            }
        }
    }
}

/// What the log will have to say of itself once it can be written again.
#[derive(Default)]
struct Gap {
    interrupted: bool,
    /// Events that were refused because of it.
    refused: u64,
    /// Notes and alarms that were lost.
    dropped: u64,
    /// The lines of those that were not.
    kept: Vec<String>,
}

impl Gap {
    fn bodies(&self) -> Vec<String> {
        let interrupted = self.interrupted.then(|| own_body(Kind::Alarm, Some("log-interrupted"), Some(self.refused)));
        let dropped = (self.dropped > 0).then(|| own_body(Kind::Alarm, Some("notes-dropped"), Some(self.dropped)));
        interrupted.into_iter().chain(dropped).collect()
    }

    fn keep(&mut self, lines: &str) {
        if self.kept.len() < MAX_NOTES { self.kept.push(lines.to_owned()) } else { self.dropped += 1 }
    }
}

/// The last checkpoint.
struct LastSigned {
    /// Events it vouches for.
    size: u64,
    /// When it was tried to write it.
    at: Instant,
    /// It could not be written,
    failed: bool,
    /// and the log does not say so yet.
    untold: bool,
}

/// Where the log stands, and the disk it is on.
struct Writer<D> {
    disk: D,
    clock: Arc<dyn Clock>,
    controller: Controller,
    key: Key,
    segment_bytes: u64,
    checkpoint_every: Duration,
    signed: LastSigned,
    /// The last durable line.
    end: End,
    /// A failed batch may have left bytes after it.
    dirty: bool,
    buffer: Vec<u8>,
}

impl<D: Disk> Writer<D> {
    /// Continues at `end`, or begins a log. A segment is written under one key, so another key begins another segment.
    fn new(config: &Config, key: Key, clock: Arc<dyn Clock>, disk: D, end: Option<End>) -> Result<Self, AuditError> {
        let begins = end.is_none();
        let (link, tree, origin) = (Link::default(), Tree::default(), String::new());
        let fresh = End { segment: 0, line: 0, len: 0, link, tree, origin, kid: None, torn: None };
        let mut writer = Self {
            disk,
            clock,
            controller: config.controller.clone(),
            key,
            segment_bytes: config.segment_bytes,
            checkpoint_every: config.checkpoint_every,
            signed: LastSigned { size: 0, at: Instant::now(), failed: false, untold: false },
            end: end.unwrap_or(fresh),
            dirty: false,
            buffer: Vec::new(),
        };
        if writer.end.kid != Some(writer.key.0) {
            let time = writer.time();
            writer.next_segment(&time).map_err(failed)?;
        }
        if begins {
            // Before the first event: a start that dies between the two (or finds no room for the head) leaves a header and no
            // event, which the next start takes for what it is.
            writer.vouch(0).map_err(failed)?;
        }
        Ok(writer)
    }

    /// Makes one line of each body durable, all or none of them.
    fn commit<'b>(&mut self, bodies: impl Iterator<Item = &'b str>) -> Result<(), AuditError> {
        self.try_commit(bodies).map_err(failed)
    }

    fn try_commit<'b>(&mut self, bodies: impl Iterator<Item = &'b str>) -> io::Result<()> {
        self.take_back()?;
        let time = self.time();
        if self.end.len >= self.segment_bytes && self.end.line > 1 {
            self.next_segment(&time)?;
        }
        self.buffer.clear();
        let (mut link, mut count, mut from) = (self.end.link, self.end.line, self.end.len);
        let mut tree = self.end.tree.clone();
        for body in bodies {
            from = self.end.len + bytes(&self.buffer);
            chain::push_event(&mut self.buffer, &mut link, &mut tree, &self.key.1, &time, body);
            count += 1;
        }
        let written = self.disk.append(&self.buffer).and_then(|()| self.disk.sync());
        if let Err(error) = written {
            // Also after a failed sync: the system may have dropped the pages and would report success the next time, so
            // nothing of the batch is kept, and what replaces it is written anew.
            self.dirty = true;
            // If this fails too, the next attempt begins with it.
            self.take_back().ok();
            return Err(error);
        }
        let len = self.end.len + bytes(&self.buffer);
        (self.end.link, self.end.line, self.end.len, self.end.tree) = (link, count, len, tree);
        // The lines are durable, but if the head cannot say so, a cut end would not be noticed: nobody is told Ok. (Notes of
        // such a batch are written once more by the next one: better twice than never.)
        self.vouch(from)
    }

    /// Writes the head for the last line, which begins at byte `from`.
    fn vouch(&mut self, from: u64) -> io::Result<()> {
        let End { segment, line, len, link, .. } = self.end;
        let head = Head { segment, line, from, bytes: len, link };
        self.disk.write_head(&head.write(&self.key).ok_or_else(|| io::Error::other("the head does not fit its sector"))?)
    }

    /// How long until the next checkpoint; `None` while nothing has happened since the last one.
    fn until_checkpoint(&self) -> Option<Duration> {
        let happened = self.end.link.seq > self.signed.size;
        happened.then(|| self.checkpoint_every.saturating_sub(self.signed.at.elapsed()))
    }

    fn checkpoint_if_due(&mut self) {
        if self.until_checkpoint().is_some_and(|left| left.is_zero()) {
            self.checkpoint();
        }
    }

    /// Signs the log as it is and stores that. Only durable lines, which are never taken back, are signed.
    fn checkpoint(&mut self) {
        let written = self.disk.add_checkpoint(&note::checkpoint(&self.end.origin, &self.end.tree, &self.key.2));
        self.signed.at = Instant::now();
        match written {
            Ok(()) => (self.signed.size, self.signed.failed) = (self.end.link.seq, false),
            // Told once, however often it fails.
            Err(_) => self.signed.untold = !std::mem::replace(&mut self.signed.failed, true),
        }
    }

    /// What the log has to say of its checkpoints.
    fn alarm(&self) -> Option<String> {
        self.signed.untold.then(|| own_body(Kind::Alarm, Some("checkpoint-not-written"), None))
    }

    /// Cuts off what a failed batch may have left.
    fn take_back(&mut self) -> io::Result<()> {
        if self.dirty {
            self.disk.cut(self.end.len)?;
            self.dirty = false;
        }
        Ok(())
    }

    fn next_segment(&mut self, time: &str) -> io::Result<()> {
        let (segment, mut link) = (self.end.segment + 1, self.end.link);
        let header = chain::header(segment, self.controller.as_str(), &mut link, &self.end.tree, &self.key, time);
        self.disk.create(segment, &header)?;
        (self.end.segment, self.end.line, self.end.len, self.end.link) = (segment, 1, bytes(&header), link);
        self.end.kid = Some(self.key.0);
        if segment == 1 {
            self.end.origin = note::origin(&self.controller, &link.hash);
        }
        Ok(())
    }

    fn time(&self) -> String {
        chain::rfc3339(self.clock.now_ms())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn failed(error: io::Error) -> AuditError {
    AuditError::Write(error.to_string())
}
