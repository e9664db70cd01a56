//! The leak guard: counts, per path, members of written documents that nobody mapped and whose values look personal. It never blocks.
//!
//! A sample of the documents that are written is looked at on a thread of its own, after they were protected and recorded: what it sees is what
//! the database gets, so no protected value is among it. It looks for what is personal for certain ([`crate::discover::guard`]).
//!
//! Always holds: a request waits for it never, and pays one addition, for a document in the sample also a copy of at most [`LOOKED`] bytes;
//! at most [`WAITING`] copies wait, what comes then is passed over and counted; a copy is dropped when it was looked at; what is told are
//! counts and paths that may be shown ([`ShownPath`]), of which there are at most [`PATHS`] a collection, each only once it was found
//! [`OFTEN`] times.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::audit::{self, Event, Kind};
use crate::base::{Clock, CollectionName, ShownPath};
use crate::dialect::{Documents, RequestBody};
use crate::discover::guard::{self, Saw};
use crate::document::{Map, Rules, Walker};
use crate::field::ProtectedBody;
use crate::metrics::{Looked, Metrics};

use super::State;

/// How much of a body is looked at: its whole documents among the first bytes.
const LOOKED: usize = 64 << 10;
/// Bodies that wait to be looked at: with [`LOOKED`] a quarter of a MiB, whatever is written.
const WAITING: usize = 4;
/// Paths told apart in one collection; what is found at others is counted at `$.?`.
const PATHS: usize = 64;
/// A path that was found less often is not told: its name may be a slip, and somebody's. Nor is one where fewer than half are what they
/// look like: that is chance.
const OFTEN: u64 = 3;
/// How often it is looked whether the day is over.
const DAY_CHECK: Duration = Duration::from_mins(1);
const DAY_MS: u64 = 86_400_000;

/// Looks at a sample of what is written.
#[derive(Debug)]
pub(super) struct Guard {
    writes: AtomicU64,
    /// Where bodies wait; None where no thread could be had. Begun with the first body.
    queue: OnceLock<Option<SyncSender<Look>>>,
    found: Arc<Found>,
}

/// One body to look at.
struct Look {
    collection: CollectionName,
    map: Arc<Map>,
    /// Which targets of the map are fields.
    fields: Vec<bool>,
    bytes: Vec<u8>,
    /// It has more bytes than were copied.
    cut: bool,
}

/// What was found.
struct Found {
    table: Mutex<Table>,
    metrics: Arc<Metrics>,
    audit: audit::Log,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct Table {
    /// Since 1970.
    day: u64,
    counts: BTreeMap<CollectionName, BTreeMap<(ShownPath, &'static str), Count>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    /// Values that look personal, since the start.
    all: u64,
    /// Values that might have, but do not, since the first that did.
    others: u64,
    /// What of `all` is in the metrics,
    told: u64,
    /// and in the audit log.
    recorded: u64,
}

impl Guard {
    pub(super) fn new(metrics: Arc<Metrics>, audit: audit::Log, clock: Arc<dyn Clock>) -> Self {
        let table = Mutex::new(Table { day: clock.now_ms() / DAY_MS, ..Table::default() });
        let found = Arc::new(Found { table, metrics, audit, clock });
        Self { writes: AtomicU64::new(0), queue: OnceLock::new(), found }
    }

    /// Documents are about to be written; of so many in a thousand as the configuration says, a copy is looked at later.
    pub(super) fn written(&self, state: &State, documents: &Documents, body: &ProtectedBody) {
        let RequestBody::Documents { row_set } = documents.request else { return };
        // The numbers of writes are scattered: an application that writes in turns is not looked at at one turn only.
        if !is_chosen(self.writes.fetch_add(1, Ordering::Relaxed), state.leak_guard_per_mille) {
            return;
        }
        let Some(collection) = state.collections.get(documents.collection) else { return };
        let Some(plan) = collection.plans.get(row_set) else { return };
        let bytes = body.as_bytes();
        let look = Look {
            collection: collection.field_map.name.clone(),
            map: Arc::clone(&plan.map),
            fields: plan.fields_among_targets(),
            bytes: bytes.get(..LOOKED).unwrap_or(bytes).to_vec(),
            cut: bytes.len() > LOOKED,
        };
        let queue = self.queue.get_or_init(|| Found::begin(&self.found));
        if queue.as_ref().is_none_or(|queue| queue.try_send(look).is_err()) {
            self.found.metrics.leak_guard(Looked::PassedOver);
        }
    }

    /// Records what was found since it was last recorded, for a shutdown.
    pub(super) fn record(&self) {
        self.found.record();
    }
}

impl Found {
    fn begin(found: &Arc<Self>) -> Option<SyncSender<Look>> {
        let (queue, bodies) = sync_channel(WAITING);
        let found = Arc::clone(found);
        let thread = std::thread::Builder::new().name("leak-guard".to_owned()).spawn(move || found.run(&bodies));
        thread.is_ok().then_some(queue)
    }

    /// Until the proxy ends.
    fn run(&self, bodies: &Receiver<Look>) {
        loop {
            match bodies.recv_timeout(DAY_CHECK) {
                Ok(look) => self.look(look),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.record_if_the_day_is_over();
        }
    }

    fn look(&self, look: Look) {
        let Look { collection, map, fields, bytes, cut } = look;
        let mut walker = Walker::new(map, Rules::reply());
        let mut hits: Vec<(ShownPath, &'static str, Saw)> = Vec::new();
        // It was walked before; what cannot be walked again is not looked at.
        let read = walker.feed(&bytes).and_then(|()| if cut { Ok(()) } else { walker.finish() });
        drop(bytes);
        if read.is_ok() {
            while let Some(window) = walker.window().or_else(|| if cut { walker.flush() } else { None }) {
                let found = window.layout.found.iter();
                let is_field = |target: u16| fields.get(usize::from(target)).copied().unwrap_or(false);
                let mapped: Vec<_> = found.filter(|found| is_field(found.target)).map(|found| found.value.clone()).collect();
                for row in &window.layout.rows {
                    guard::look(&window.bytes, row.range.clone(), &mapped, |path, category, saw| {
                        hits.push((ShownPath::new(path), category.as_str(), saw));
                    });
                }
            }
        }
        for (path, category, saw) in hits {
            self.count(&collection, path, category, saw);
        }
        self.metrics.leak_guard(Looked::Looked);
    }

    fn count(&self, collection: &CollectionName, path: ShownPath, category: &'static str, saw: Saw) {
        let told = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            let paths = table.counts.entry(collection.clone()).or_default();
            let full = paths.len() >= PATHS && !paths.contains_key(&(path.clone(), category));
            let path = if full { ShownPath::new("$.?") } else { path };
            let key = (path, category);
            if saw == Saw::NoCard {
                paths.get_mut(&key).into_iter().for_each(|count| count.others += 1);
                return;
            }
            let count = paths.entry(key.clone()).or_default();
            count.all += 1;
            count.news().map(|news| (key.0, news))
        };
        if let Some((path, news)) = told {
            self.metrics.unmapped_personal(collection, path, category, news);
        }
    }

    fn record_if_the_day_is_over(&self) {
        let today = self.clock.now_ms() / DAY_MS;
        let before = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut table.day, today)
        };
        if before != today {
            self.record();
        }
    }

    /// One event for each collection in which something was found.
    fn record(&self) {
        let mut events = Vec::new();
        {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            for (collection, paths) in &mut table.counts {
                let mut event = Event { collection: Some(collection.clone()), ..Event::new(Kind::LeakGuard, 0) };
                for ((path, category), count) in paths.iter_mut().filter(|(_, count)| count.told > count.recorded) {
                    let news = count.told - std::mem::replace(&mut count.recorded, count.told);
                    event.unmapped.push((path.clone(), *category, u32::try_from(news).unwrap_or(u32::MAX)));
                }
                if !event.unmapped.is_empty() {
                    events.push(event);
                }
            }
        }
        for event in events {
            self.audit.note(event);
        }
    }
}

impl Count {
    /// What the metrics do not have yet, once it is told at all.
    fn news(&mut self) -> Option<u64> {
        let is_told = self.all >= OFTEN && self.all >= self.others;
        is_told.then(|| self.all - std::mem::replace(&mut self.told, self.all))
    }
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").finish_non_exhaustive()
    }
}

/// True for as many in a thousand writes as are asked for, scattered.
fn is_chosen(write: u64, per_mille: u16) -> bool {
    (write.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 1000 < u64::from(per_mille)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_as_large_as_asked_for_and_not_in_step() {
        for per_mille in [0_u16, 1, 10, 500, 1000] {
            for (step, offset) in [(1, 0), (2, 1), (100, 0), (1000, 7)] {
                let chosen = (0..100_000_u64).filter(|write| is_chosen(write * step + offset, per_mille)).count();
                let wanted = usize::from(per_mille) * 100;
                assert!(chosen.abs_diff(wanted) <= wanted / 10 + 30, "{chosen} for {per_mille} in steps of {step}");
            }
        }
    }
}
