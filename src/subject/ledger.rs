//! The ledger: rows of the store in one order, without a gap, appended by any node and read by all.
//!
//! Whoever appends claims the number behind the last row it knows; if another node has it, it reads on and tries the next. What waits while
//! a row is written goes into the next one together.
//!
//! Always holds: a row is answered as placed when it is durable; a row is applied to the people here before it is answered; whoever has read
//! up to a number has everything up to it. A row that is not believed stops the reading: from then on the facts are stale. After a store
//! that did not say whether it wrote, the ledger is read before anything else is written. Called by `app` and `cli/subject`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::entry::Entry;
use super::exception::Register;
use super::people::People;
use super::row::{self, Digest, Why};
use super::{AHEAD_MS, FRESH_MS};
use crate::base::{Clock, Controller};
use crate::keys::LedgerKey;
use crate::store::{Changes, Claim, Claimed, Rows, Store, StoreError, Table};

/// Rows of a page.
const PAGE: usize = 256;
/// Entries of a row at most, but for those of one call, which stay together.
const GROUP: usize = 512;
/// Entries that may wait.
const MOST_WAITING: usize = 65_536;
/// For how long other numbers are tried, where other nodes took the one before: a node with much to write takes several in a row.
const TRY_FOR: Duration = Duration::from_secs(10);

/// Why the ledger cannot be read, or an entry cannot be placed. Never a value.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The store does not do what it was asked.
    #[error("the ledger of facts: {0}")]
    Store(#[from] StoreError),
    /// A row is not what it must be.
    #[error(
        "the ledger of facts is not believed: row {number}: {why}. Put the store back from a backup that has the ledger whole; until then nothing is concluded from it"
    )]
    Row {
        /// Its number.
        number: u64,
        /// What is wrong with it.
        why: Why,
    },
    /// It ends before where it was known to go.
    #[error(
        "the ledger of facts ends at row {found}, and {newest} were in use: rows were taken away, or an old store was put back. Put the newest store back: what people withdrew since would be open again"
    )]
    Short {
        /// The last row.
        found: u64,
        /// The newest known.
        newest: u64,
    },
    /// No key to seal under.
    #[error("the key ring has no active audit key, under which the ledger of facts is sealed: see `sudare keys list`")]
    NoKey,
    /// The operating system gave no randomness.
    #[error("the ledger of facts: no randomness to seal a row with")]
    Random,
    /// Other nodes wrote each time.
    #[error("the ledger of facts: other nodes took the next row for 10 s, each time; nothing was recorded: send it again")]
    Contended,
    /// Too much waits.
    #[error("the ledger of facts: too much waits to be recorded: the store is too slow; nothing was recorded")]
    Full,
    /// The node ends.
    #[error("the ledger of facts: the node ended before it could say whether it was recorded: send it again with the same ids")]
    Ended,
}

/// Why entries are not placed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The ledger cannot be written. What came of it is not known where the store did not say; the same ids can be sent again.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// These entries, counted from 0, have an id under which something else is recorded. Nothing of the call was recorded.
    #[error("an id was used before for something else; nothing was recorded")]
    Reused(Vec<usize>),
    /// These are later than the clock lets be. Nothing of the call was recorded.
    #[error("a time lies more than 5 minutes ahead of this machine's clock; nothing was recorded")]
    Ahead(Vec<usize>),
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The ledger's row.
    pub row: u64,
    /// When it was placed, in milliseconds since 1970.
    pub recorded_ms: u64,
    /// It was there before.
    pub again: bool,
    /// Nothing was known of its data subject before.
    pub first: bool,
}

/// The ledger of one controller, as one node knows it.
pub struct Ledger {
    controller: Controller,
    rows: Arc<dyn Rows>,
    /// For marks and announcements; none in tests that have rows only.
    store: Option<Arc<Store>>,
    clock: Arc<dyn Clock>,
    keys: ArcSwap<Vec<LedgerKey>>,
    people: Arc<People>,
    exceptions: Arc<Register>,
    placed: DashMap<[u8; 16], Seen>,
    /// Held while rows are read or written.
    head: tokio::sync::Mutex<Head>,
    waiting: Mutex<Vec<Waiting>>,
    /// What is being written.
    tasks: TaskTracker,
    begun: Instant,
    /// When this node last knew that it had everything, in milliseconds since `begun`, plus 1; 0: never.
    synced: AtomicU64,
    last: AtomicU64,
    /// When the last row was placed.
    newest_ms: AtomicU64,
    entries: AtomicU64,
    /// Why rows are not believed.
    fault: Mutex<Option<LedgerError>>,
}

/// How far it was read.
#[derive(Debug, Default)]
struct Head {
    last: u64,
    digest: Digest,
    /// When that was placed.
    at: u64,
    /// The store did not say whether the last write took place.
    untold: bool,
}

/// An entry that stands in the ledger.
#[derive(Debug, Clone, Copy)]
struct Seen {
    row: u64,
    recorded_ms: u64,
    fingerprint: u64,
}

struct Waiting {
    entries: Vec<Entry>,
    answer: oneshot::Sender<Result<Vec<Placed>, AppendError>>,
}

impl Ledger {
    /// A ledger of which nothing was read yet; [`Self::read`] is next.
    pub fn new(
        controller: Controller,
        rows: Arc<dyn Rows>,
        store: Option<Arc<Store>>,
        keys: Vec<LedgerKey>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            controller,
            rows,
            store,
            clock,
            keys: ArcSwap::from_pointee(keys),
            people: Arc::default(),
            exceptions: Arc::default(),
            placed: DashMap::new(),
            head: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            tasks: TaskTracker::new(),
            begun: Instant::now(),
            synced: AtomicU64::new(0),
            last: AtomicU64::new(0),
            newest_ms: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            fault: Mutex::default(),
        }
    }

    /// What is known of everybody.
    pub fn people(&self) -> &Arc<People> {
        &self.people
    }

    /// The exceptions there are.
    pub fn exceptions(&self) -> &Arc<Register> {
        &self.exceptions
    }

    /// The last row that was read.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Entries that were read.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// How far this machine's clock stands behind the newest row, in milliseconds: one of the clocks is wrong if it is much.
    pub fn clock_behind_ms(&self) -> u64 {
        self.newest_ms.load(Ordering::Relaxed).saturating_sub(self.clock.now_ms())
    }

    /// From now on it seals and opens with these, of which the first seals.
    pub fn take_keys(&self, keys: Vec<LedgerKey>) {
        self.keys.store(Arc::new(keys));
    }

    /// Why rows are not believed, if they are not.
    pub fn fault(&self) -> Option<LedgerError> {
        self.fault_now().clone()
    }

    /// How long ago this node knew that it had everything, in milliseconds; none if it never did. Of a store that is this node's alone: 0.
    pub fn lag_ms(&self) -> Option<u64> {
        let synced = self.synced.load(Ordering::Acquire);
        if synced == 0 {
            return None;
        }
        let alone = self.store.as_ref().is_some_and(|store| !store.is_shared());
        Some(if alone { 0 } else { self.elapsed().saturating_sub(synced - 1) })
    }

    /// True if nothing may be concluded from what is known here: there may be more, or it is not believed.
    pub fn is_stale(&self) -> bool {
        self.lag_ms().is_none_or(|lag| lag > FRESH_MS) || self.fault_now().is_some()
    }

    /// The topic under which nodes tell each other that there is more, and the name of the mark that remembers how far it went.
    pub fn topic(&self) -> String {
        format!("ledger {}", self.controller)
    }

    /// What is announced from now on; none without a store of its own.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Store`].
    pub async fn watch(&self) -> Result<Option<Changes>, LedgerError> {
        match &self.store {
            Some(store) => Ok(Some(store.watch(&self.topic()).await?)),
            None => Ok(None),
        }
    }

    /// Reads on to the end. When it returns, this node had everything at the moment it was called.
    ///
    /// # Errors
    ///
    /// [`LedgerError`]. A row that is not believed makes the facts stale until a later reading finds it right: its key may be missing for
    /// the moment only.
    pub async fn read(&self) -> Result<(), LedgerError> {
        let begun = self.elapsed();
        let mut head = self.head.lock().await;
        self.catch_up(&mut head).await?;
        drop(head);
        self.synced.fetch_max(begun + 1, Ordering::AcqRel);
        Ok(())
    }

    /// As [`Self::read`], for who may block and is on no runtime of its own: at start. The ledger must go at least as far as this store has
    /// ever known it to.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_blocking(&self) -> Result<(), LedgerError> {
        let failed = |error: std::io::Error| StoreError::Failed("the ledger of facts".to_owned(), error.to_string());
        let read = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
                runtime.block_on(self.read())
            });
            reading.join().unwrap_or(Err(LedgerError::Ended))
        });
        read?;
        if let Some(store) = &self.store {
            let newest = store.high_water(&self.topic())?;
            if newest > self.last() {
                return Err(LedgerError::Short { found: self.last(), newest });
            }
        }
        Ok(())
    }

    /// Places entries, all or none of them; answers in their order. Goes on if the caller goes away.
    ///
    /// # Errors
    ///
    /// [`AppendError`].
    pub async fn append(self: &Arc<Self>, entries: Vec<Entry>) -> Result<Vec<Placed>, AppendError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, placed) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.iter().map(|job| job.entries.len()).sum::<usize>() + entries.len() > MOST_WAITING {
                return Err(LedgerError::Full.into());
            }
            waiting.push(Waiting { entries, answer });
        }
        let ledger = Arc::clone(self);
        self.tasks.spawn(async move { ledger.write().await });
        placed.await.unwrap_or(Err(LedgerError::Ended.into()))
    }

    /// Waits until all that was begun is written.
    pub async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Writes what waits, in rows of several calls each.
    async fn write(&self) {
        let mut head = self.head.lock().await;
        let group = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let mut entries = 0;
            let fits = waiting.iter().take_while(|job| {
                let first = entries == 0;
                entries += job.entries.len();
                first || entries <= GROUP
            });
            let count = fits.count();
            waiting.drain(..count).collect::<Vec<_>>()
        };
        if group.is_empty() {
            return;
        }
        let (calls, answers): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.entries, job.answer)).unzip();
        let placed = self.place(&mut head, calls).await;
        drop(head);
        let outcomes = placed.unwrap_or_else(|error| answers.iter().map(|_| Err(error.clone().into())).collect());
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Who went away does not hear it; what was placed stays.
            answer.send(outcome).ok();
        }
        self.tell().await;
    }

    /// Places the entries of several calls in one row, behind everything that is there.
    async fn place(&self, head: &mut Head, calls: Vec<Vec<Entry>>) -> Result<Vec<Result<Vec<Placed>, AppendError>>, LedgerError> {
        if head.untold || self.fault().is_some() {
            self.catch_up(head).await?;
        }
        let begun = Instant::now();
        while begun.elapsed() < TRY_FOR {
            let drafted = self.draft(head, calls.clone());
            if drafted.fresh.is_empty() {
                return Ok(drafted.outcomes);
            }
            let (number, keys) = (head.last + 1, self.keys.load_full());
            let key = keys.first().ok_or(LedgerError::NoKey)?;
            let sealed = row::seal(key, &self.controller, number, &head.digest, drafted.at, drafted.fresh.clone());
            let value = sealed.ok_or(LedgerError::Random)?;
            let key = row::key(&self.controller, number);
            let digest = row::digest(&key, &value);
            let claim = Claim { key, value, marks: Vec::new(), link: None };
            let claimed = match self.rows.claim(Table::Fact, vec![claim]).await {
                Ok(claimed) => claimed.into_iter().next(),
                Err(error) => {
                    head.untold = true;
                    return Err(error.into());
                }
            };
            if claimed == Some(Claimed::Made) {
                self.apply(head, number, digest, drafted.at, &drafted.fresh);
                return Ok(drafted.outcomes);
            }
            self.catch_up(head).await?;
        }
        Err(LedgerError::Contended)
    }

    /// What each call comes to if the next row holds what is fresh of them.
    fn draft(&self, head: &Head, calls: Vec<Vec<Entry>>) -> Drafted {
        let now = self.clock.now_ms();
        // Time does not go back here, so that what is said now comes behind what was said before, whatever a clock did meanwhile.
        let at = now.max(head.at);
        let row = head.last + 1;
        let mut drafted = Drafted { at, fresh: Vec::new(), outcomes: Vec::new() };
        let mut seen: HashMap<[u8; 16], Seen> = HashMap::new();
        for mut entries in calls {
            let mut faults: BTreeMap<bool, Vec<usize>> = BTreeMap::new();
            let (mut placed, mut fresh, mut mine) = (Vec::new(), Vec::new(), HashMap::new());
            for (place, entry) in entries.iter_mut().enumerate() {
                let (id, fingerprint) = (entry.place(), entry.fingerprint());
                let before = mine.get(&id).or_else(|| seen.get(&id)).copied();
                match before.or_else(|| self.placed.get(&id).map(|seen| *seen)) {
                    Some(before) if before.fingerprint == fingerprint => {
                        placed.push(Placed { row: before.row, recorded_ms: before.recorded_ms, again: true, first: false });
                    }
                    Some(_other) => faults.entry(true).or_default().push(place),
                    None if entry.at > now.saturating_add(AHEAD_MS) => faults.entry(false).or_default().push(place),
                    None => {
                        // Nothing was said later than it is recorded: a yes with a clock that is ahead would outlast the no after it.
                        if entry.at == 0 || entry.at > at {
                            entry.at = at;
                        }
                        let first = entry.what.subject().is_some_and(|subject| !self.people.knows(subject));
                        placed.push(Placed { row, recorded_ms: at, again: false, first });
                        mine.insert(id, Seen { row, recorded_ms: at, fingerprint });
                        fresh.push(entry.clone());
                    }
                }
            }
            drafted.outcomes.push(if let Some(places) = faults.remove(&true) {
                Err(AppendError::Reused(places))
            } else if let Some(places) = faults.remove(&false) {
                Err(AppendError::Ahead(places))
            } else {
                seen.extend(mine);
                drafted.fresh.extend(fresh);
                Ok(placed)
            });
        }
        drafted
    }

    /// Reads on, and remembers whether the rows are believed.
    async fn catch_up(&self, head: &mut Head) -> Result<(), LedgerError> {
        let read = self.read_on(head).await;
        match &read {
            Ok(()) => *self.fault_now() = None,
            Err(LedgerError::Store(_)) => {}
            Err(fault) => *self.fault_now() = Some(fault.clone()),
        }
        read
    }

    /// Reads rows behind the last one, and that one too: it must still be what it was.
    async fn read_on(&self, head: &mut Head) -> Result<(), LedgerError> {
        let keys = self.keys.load_full();
        loop {
            let after = head.last.checked_sub(1).map(|before| row::key(&self.controller, before));
            let page = self.rows.list(Table::Fact, row::prefix(&self.controller), after, PAGE).await?;
            let full = page.len() == PAGE;
            let mut rows = page.into_iter();
            if head.last > 0 {
                let known = rows.next().ok_or(LedgerError::Short { found: 0, newest: head.last })?;
                if row::number(&known.key) != Some(head.last) || row::digest(&known.key, &known.value) != head.digest {
                    return Err(LedgerError::Row { number: head.last, why: "it is another one than this node has read before" });
                }
            }
            for row in rows {
                let number = head.last + 1;
                let fault = |why| LedgerError::Row { number, why };
                if row::number(&row.key) != Some(number) {
                    return Err(fault("it is missing"));
                }
                let content = row::open(&keys, &self.controller, number, &head.digest, &row).map_err(fault)?;
                if content.at < head.at {
                    return Err(fault("it is older than the row before it"));
                }
                self.apply(head, number, row::digest(&row.key, &row.value), content.at, &content.entries);
            }
            if !full {
                head.untold = false;
                return Ok(());
            }
        }
    }

    fn apply(&self, head: &mut Head, number: u64, digest: Digest, at: u64, entries: &[Entry]) {
        for entry in entries {
            self.people.apply(entry, number);
            if let super::What::Exception { step } = &entry.what
                && let Err(why) = self.exceptions.fold(at, step)
            {
                // It opens nothing, and stays for whoever looks into it.
                tracing::warn!(row = number, %why, "a step of an exception in the ledger does not count");
            }
            self.placed.insert(entry.place(), Seen { row: number, recorded_ms: at, fingerprint: entry.fingerprint() });
        }
        (head.last, head.digest, head.at) = (number, digest, at);
        self.last.store(number, Ordering::Relaxed);
        self.newest_ms.store(at, Ordering::Relaxed);
        self.entries.fetch_add(u64::try_from(entries.len()).unwrap_or(0), Ordering::Relaxed);
    }

    /// Other nodes look, and the store remembers how far it went. Neither is needed for what was placed to hold.
    async fn tell(&self) {
        let Some(store) = &self.store else { return };
        let topic = self.topic();
        if let Err(error) = store.announce(&topic).await {
            tracing::warn!(%error, "other nodes were not told of new facts; they look by themselves");
        }
        if let Err(error) = store.raise(&topic, self.last()).await {
            tracing::warn!(%error, "the store was not told how far the ledger of facts goes; the next entry tells it");
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn fault_now(&self) -> MutexGuard<'_, Option<LedgerError>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What calls come to.
struct Drafted {
    /// When the row is placed.
    at: u64,
    fresh: Vec<Entry>,
    outcomes: Vec<Result<Vec<Placed>, AppendError>>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("controller", &self.controller).field("last", &self.last()).finish_non_exhaustive()
    }
}
