//! Who is let in, and how much at a time: a seat for each request, room for large bodies, and what each caller may ask.
//!
//! Always holds: a request over a limit is turned away before it costs much, with a time after which to come again; room is
//! reserved before memory grows, so a flood of bodies ends in `503` and never in the process being out of memory; what is
//! held is given back when the reply has left, whatever way it ends.
//!
//! Room is counted in KiB by a semaphore, which hands it out in the order in which it was asked for, so that a large body is
//! not passed over for ever. Bodies of at most [`SMALL`] bytes reserve nothing: the seats bound them.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::CallerName;
use crate::base::limits::MAX_REQUEST_BODY_BYTES;
use crate::metrics::{Counted, Metrics, Reserved};

use super::Error;

/// Bodies and windows of so many bytes reserve no room.
pub(super) const SMALL: usize = 16 << 10;
/// A request body of n bytes takes up to so many times n: as it came, what was found in it, and as it leaves.
pub(super) const REQUEST_TIMES: usize = 3;
/// A window of a reply of n bytes takes up to so many times n: as it came, as it leaves, and the one before it on its way out.
pub(super) const WINDOW_TIMES: usize = 4;
/// A reply of several windows takes at least so much.
pub(super) const STREAM_BYTES: usize = 1 << 20;
/// What a request takes beside a large body: the buffers of both connections, and a small body ([`SMALL`]) as it comes and leaves.
const SEAT_BYTES: usize = 64 << 10;
/// What is too late to be turned away goes on without room up to so many bytes: no honest reply to a write, which has a body of at most as
/// many, holds back more at a time.
const OVERDRAWN_BYTES: usize = MAX_REQUEST_BODY_BYTES;
/// Room is waited for so long before the request is turned away.
const PATIENCE: Duration = Duration::from_secs(1);
/// Refusals of callers that are not known are recorded so often in a minute; all are counted. An audit log that strangers can fill
/// is one that they can stop.
const STRANGERS: u64 = 120;
/// Addresses are counted in so many slots; those that share one are counted together.
const SLOTS: usize = 4096;

/// What one caller may ask at most. `None`: as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallerLimits {
    /// Requests a second in the long run.
    pub rate: Option<NonZeroU32>,
    /// Requests at once after a pause; as many as `rate` if not given.
    pub burst: Option<NonZeroU32>,
    /// Requests under way at a time.
    pub concurrency: Option<NonZeroU32>,
    /// Values a minute that searches may ask for, in the long run and at once: each is a guess, right or not (T16).
    pub searches: Option<NonZeroU32>,
}

/// The limits of every caller that has some.
#[derive(Debug, Default)]
pub struct Gates {
    requests: HashMap<CallerName, Arc<Gate>>,
    searches: HashMap<CallerName, Arc<Searches>>,
}

/// GCRA of one kind.
type Limiter = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// What one caller has searched.
#[derive(Debug)]
struct Searches {
    per_minute: NonZeroU32,
    limiter: Limiter,
}

/// One caller's limits, with what it has used of them.
#[derive(Debug)]
pub(super) struct Gate {
    limits: CallerLimits,
    rate: Option<Limiter>,
    under_way: AtomicU32,
}

impl Gates {
    /// A caller whose limits are as they were `before` goes on from what it has used.
    pub fn new(limits: impl IntoIterator<Item = (CallerName, CallerLimits)>, before: Option<&Self>) -> Self {
        let mut gates = Self::default();
        for (name, limits) in limits {
            if let Some(per_minute) = limits.searches {
                let same = before.and_then(|before| before.searches.get(&name)).filter(|kept| kept.per_minute == per_minute);
                gates.searches.insert(name.clone(), same.cloned().unwrap_or_else(|| Arc::new(Searches::new(per_minute))));
            }
            // Who searches only is counted there only.
            let limits = CallerLimits { searches: None, ..limits };
            if limits != CallerLimits::default() {
                let same = before.and_then(|before| before.requests.get(&name)).filter(|gate| gate.limits == limits);
                gates.requests.insert(name, same.cloned().unwrap_or_else(|| Arc::new(Gate::new(limits))));
            }
        }
        gates
    }

    /// Lets this caller search for so many values, or says why not.
    pub(super) fn search(&self, caller: &CallerName, values: usize) -> Result<(), Error> {
        let asked = u32::try_from(values).unwrap_or(u32::MAX);
        match (self.searches.get(caller), NonZeroU32::new(asked)) {
            (Some(searches), Some(asked)) => searches.ask(asked),
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// Lets a request of this caller in, or says why not.
    pub(super) fn enter(&self, caller: &CallerName) -> Result<Option<Place>, Error> {
        self.requests.get(caller).map(Gate::enter).transpose()
    }
}

impl Searches {
    fn new(per_minute: NonZeroU32) -> Self {
        Self { per_minute, limiter: RateLimiter::direct_with_clock(Quota::per_minute(per_minute), MonotonicClock) }
    }

    fn ask(&self, values: NonZeroU32) -> Result<(), Error> {
        let limited = |wait| Err(Error::RateLimited { limit: "searches", wait });
        match self.limiter.check_n(values) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(early)) => limited(early.wait_time_from(MonotonicClock.now())),
            // More at once than a minute has; waiting does not help, fewer values do.
            Err(_more_than_all) => limited(Duration::from_mins(1)),
        }
    }
}

impl Gate {
    fn new(limits: CallerLimits) -> Self {
        let quota = |rate| Quota::per_second(rate).allow_burst(limits.burst.unwrap_or(rate));
        let rate = limits.rate.map(|rate| RateLimiter::direct_with_clock(quota(rate), MonotonicClock));
        Self { limits, rate, under_way: AtomicU32::new(0) }
    }

    fn enter(self: &Arc<Self>) -> Result<Place, Error> {
        let place = self.place()?;
        if let Some(rate) = &self.rate
            && let Err(early) = rate.check()
        {
            let wait = early.wait_time_from(MonotonicClock.now());
            return Err(Error::RateLimited { limit: "rate", wait });
        }
        Ok(place)
    }

    fn place(self: &Arc<Self>) -> Result<Place, Error> {
        let before = self.under_way.fetch_add(1, Ordering::AcqRel);
        let place = Place(Arc::clone(self));
        match self.limits.concurrency {
            Some(most) if before >= most.get() => Err(Error::RateLimited { limit: "concurrency", wait: Duration::from_secs(1) }),
            Some(_) | None => Ok(place),
        }
    }
}

/// One of the requests that a caller may have under way; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Gate>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The memory that all bodies under way may take together.
#[derive(Debug)]
pub struct Budget {
    room: Arc<Semaphore>,
    kib: u32,
    metrics: Arc<Metrics>,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize, metrics: Arc<Metrics>) -> Self {
        let kib = kib(bytes);
        Self { room: Arc::new(Semaphore::new(usize::try_from(kib).unwrap_or(Semaphore::MAX_PERMITS))), kib, metrics }
    }

    /// Requests, and connections on which there is one, that may be under way at a time, at 64 KiB each.
    pub fn seats(&self) -> usize {
        usize::try_from(self.kib).unwrap_or(usize::MAX) / (SEAT_BYTES >> 10)
    }

    /// Waits a short time for room.
    async fn reserve(&self, bytes: usize) -> Option<Room> {
        // What is larger than the whole budget may come when it is alone.
        let kib = kib(bytes).min(self.kib);
        let permit = tokio::time::timeout(PATIENCE, Arc::clone(&self.room).acquire_many_owned(kib)).await.ok()?.ok()?;
        Some(Room { _permit: permit, _counted: self.metrics.reserved(kib) })
    }

    /// Takes room if there is some, and nobody waits for it.
    fn reserve_at_once(&self, bytes: usize) -> Option<Room> {
        let kib = kib(bytes).min(self.kib);
        let permit = Arc::clone(&self.room).try_acquire_many_owned(kib).ok()?;
        Some(Room { _permit: permit, _counted: self.metrics.reserved(kib) })
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

/// Reserved room; given back when dropped.
#[derive(Debug)]
struct Room {
    _permit: OwnedSemaphorePermit,
    _counted: Reserved,
}

/// What a request holds until its reply has left. Clones share it; most requests hold nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(std::sync::OnceLock<Arc<Holdings>>);

#[derive(Debug, Default)]
struct Holdings {
    place: Mutex<Option<Place>>,
    feed: Mutex<Option<Counted>>,
    rooms: Mutex<Vec<Growing>>,
}

impl Held {
    pub(super) fn place(&self, place: Place) {
        *self.holdings().place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// Keeps a feed counted until it has ended.
    pub(super) fn feed(&self, feed: Counted) {
        *self.holdings().feed.lock().unwrap_or_else(PoisonError::into_inner) = Some(feed);
    }

    /// Keeps room until the reply has left.
    pub(super) fn room(&self, room: Growing) {
        if !room.rooms.is_empty() {
            self.holdings().rooms.lock().unwrap_or_else(PoisonError::into_inner).push(room);
        }
    }

    fn holdings(&self) -> &Arc<Holdings> {
        self.0.get_or_init(Arc::default)
    }
}

/// Room for something that grows; given back when dropped.
#[derive(Debug)]
pub(super) struct Growing {
    times: usize,
    /// How many bytes it may have before more is reserved.
    has: usize,
    rooms: Vec<Room>,
    /// Goes on without room where there is none after the wait.
    overdraws: bool,
}

impl Growing {
    /// Something of which n bytes take up to n × `times`.
    pub(super) fn new(times: usize) -> Self {
        Self { times, has: SMALL, rooms: Vec::new(), overdraws: false }
    }

    /// From now on it waits for room, but goes on if none comes: it is too late to be turned away. Not for ever, or a database could take
    /// all memory by what it answers.
    pub(super) fn overdraw(&mut self) {
        self.overdraws = true;
    }

    /// Reserves for `bytes` bytes in all, or some more, so that what comes in small pieces does not ask for each.
    ///
    /// # Errors
    ///
    /// [`Error::Overloaded`]: there was no room for a second; what is overdrawn, [`OVERDRAWN_BYTES`].
    pub(super) async fn grow(&mut self, bytes: usize, budget: &Budget) -> Result<(), Error> {
        if bytes <= self.has {
            return Ok(());
        }
        self.grow_exactly(bytes.max(self.has.saturating_mul(2)), budget).await
    }

    /// As [`Self::grow`], where it is known that it will not grow further.
    pub(super) async fn grow_exactly(&mut self, bytes: usize, budget: &Budget) -> Result<(), Error> {
        if bytes <= self.has {
            return Ok(());
        }
        match budget.reserve(self.more(bytes)).await {
            Some(room) => self.rooms.push(room),
            None if self.overdraws && self.has < OVERDRAWN_BYTES => {}
            None => return Err(Error::Overloaded("memory")),
        }
        self.has = bytes;
        Ok(())
    }

    /// As [`Self::grow_exactly`], but without waiting: false if there is no room now.
    pub(super) fn grow_at_once(&mut self, bytes: usize, budget: &Budget) -> bool {
        if bytes <= self.has {
            return true;
        }
        let Some(room) = budget.reserve_at_once(self.more(bytes)) else { return false };
        self.rooms.push(room);
        self.has = bytes;
        true
    }

    /// What it takes to come to so many bytes.
    fn more(&self, bytes: usize) -> usize {
        let before = if self.rooms.is_empty() { 0 } else { self.has };
        bytes.saturating_sub(before).saturating_mul(self.times)
    }
}

/// Counts credentials that were refused, by the address that sent them, in a table that never grows.
#[derive(Debug)]
pub(super) struct Failures {
    /// Each slot: the minute (upper half) and the count in it.
    slots: Box<[AtomicU64]>,
    /// Random, so that nobody can choose an address that shares a slot with another's.
    hasher: RandomState,
}

impl Failures {
    pub(super) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }

    /// Has this address failed `most` times in this minute?
    pub(super) fn too_many(&self, address: IpAddr, most: NonZeroU32, now_ms: u64) -> Result<(), Error> {
        let (minute, count) = self.slot(address).map_or((0, 0), |slot| halves(slot.load(Ordering::Acquire)));
        if minute == minute_of(now_ms) && count >= u64::from(most.get()) {
            let left = 60_000 - now_ms % 60_000;
            return Err(Error::RateLimited { limit: "failures", wait: Duration::from_millis(left) });
        }
        Ok(())
    }

    /// Notes one more.
    pub(super) fn count(&self, address: IpAddr, now_ms: u64) {
        if let Some(slot) = self.slot(address) {
            one_more(slot, now_ms);
        }
    }

    fn slot(&self, address: IpAddr) -> Option<&AtomicU64> {
        let hash = self.hasher.hash_one(network(address)) % u64::try_from(SLOTS).ok()?;
        self.slots.get(usize::try_from(hash).ok()?)
    }
}

/// Says yes at most every ten seconds: for log lines about what happens a thousand times a second.
#[derive(Debug, Default)]
pub(super) struct Seldom(AtomicU64);

impl Seldom {
    pub(super) fn due(&self, now_ms: u64) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        // Also where the clock was set back.
        let due = last == 0 || now_ms.abs_diff(last) >= 10_000;
        due && self.0.compare_exchange(last, now_ms.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// Counts what strangers do, so that no more than a few a minute end up on the disk.
#[derive(Debug, Default)]
pub(super) struct Strangers(AtomicU64);

impl Strangers {
    /// Is this one of the first [`STRANGERS`] of its minute?
    pub(super) fn is_recorded(&self, now_ms: u64) -> bool {
        one_more(&self.0, now_ms) < STRANGERS
    }
}

/// How many there were in this minute before this one.
fn one_more(slot: &AtomicU64, now_ms: u64) -> u64 {
    let minute = minute_of(now_ms);
    let in_this = |value| {
        let (before, count) = halves(value);
        if before == minute { count } else { 0 }
    };
    let more = |value| Some(minute << 32 | (in_this(value) + 1).min(u64::from(u32::MAX)));
    slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).map_or(0, in_this)
}

/// What one sender has: an IPv4 address, or the 64 bits of an IPv6 address that name a network.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn minute_of(now_ms: u64) -> u64 {
    (now_ms / 60_000) & u64::from(u32::MAX)
}

fn halves(value: u64) -> (u64, u64) {
    (value >> 32, value & u64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;

    use super::*;

    fn budget(bytes: usize) -> (Budget, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new(std::time::Duration::ZERO));
        (Budget::new(bytes, Arc::clone(&metrics)), metrics)
    }

    fn limits(rate: u32, burst: u32, concurrency: u32) -> CallerLimits {
        CallerLimits {
            rate: NonZeroU32::new(rate),
            burst: NonZeroU32::new(burst),
            concurrency: NonZeroU32::new(concurrency),
            searches: None,
        }
    }

    fn limit(outcome: Result<Option<Place>, Error>) -> &'static str {
        match outcome {
            Err(Error::RateLimited { limit, .. }) => limit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let shop = CallerName::new("shop");
        let gates = Gates::new([(shop.clone(), limits(1, 3, 0))], None);
        for _ in 0..3 {
            assert!(gates.enter(&shop).unwrap().is_some());
        }
        let Err(Error::RateLimited { limit: "rate", wait }) = gates.enter(&shop) else { panic!() };
        assert!(wait <= Duration::from_secs(1) && !wait.is_zero());
        assert!(gates.enter(&CallerName::new("helpdesk")).unwrap().is_none(), "others have no limit");
    }

    #[test]
    fn a_reload_keeps_what_was_used_of_limits_that_stay() {
        let (shop, helpdesk) = (CallerName::new("shop"), CallerName::new("helpdesk"));
        let both = |rate| [(shop.clone(), limits(1, 1, 0)), (helpdesk.clone(), limits(rate, rate, 0))];
        let gates = Gates::new(both(1), None);
        assert!(gates.enter(&shop).is_ok() && gates.enter(&helpdesk).is_ok());
        let gates = Gates::new(both(2), Some(&gates));
        assert_eq!(limit(gates.enter(&shop)), "rate");
        assert!(gates.enter(&helpdesk).is_ok(), "a new limit begins anew");
    }

    #[test]
    fn places_are_given_back() {
        let shop = CallerName::new("shop");
        let gates = Gates::new([(shop.clone(), limits(0, 0, 2))], None);
        let held = Held::default();
        held.place(gates.enter(&shop).unwrap().unwrap());
        let second = gates.enter(&shop).unwrap();
        let shared = held.clone();
        assert_eq!(limit(gates.enter(&shop)), "concurrency");
        drop(held);
        assert_eq!(limit(gates.enter(&shop)), "concurrency", "a clone still holds it");
        drop(shared);
        let first = gates.enter(&shop).unwrap();
        assert_eq!(limit(gates.enter(&shop)), "concurrency");
        drop((first, second));
    }

    #[tokio::test]
    async fn t24_room_at_once_is_neither_waited_for_nor_taken_from_those_who_wait() {
        let (budget, metrics) = budget(1 << 20);
        let mut first = Growing::new(1);
        assert!(first.grow_at_once(SMALL, &budget) && first.grow_at_once(600 << 10, &budget));
        assert!(metrics.encode().contains("memory_reserved_kibibytes 600"));
        let mut second = Growing::new(1);
        assert!(!second.grow_at_once(500 << 10, &budget));
        assert!(metrics.encode().contains("memory_reserved_kibibytes 600"), "nothing is kept of what did not fit");
        let mut waits = Growing::new(1);
        let mut waiting = std::pin::pin!(waits.grow_exactly(500 << 10, &budget));
        let begun = std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_ready()));
        assert!(!begun.await);
        assert!(!second.grow_at_once(100 << 10, &budget), "somebody waits for it");
        drop(first);
        waiting.await.unwrap();
        assert!(second.grow_at_once(500 << 10, &budget));
    }

    #[tokio::test]
    async fn t24_room_that_is_overdrawn_has_an_end() {
        let (budget, _metrics) = budget(1 << 20);
        let mut all = Growing::new(1);
        all.grow_exactly(1 << 20, &budget).await.unwrap();
        let mut reply = Growing::new(WINDOW_TIMES);
        reply.overdraw();
        reply.grow_exactly(OVERDRAWN_BYTES, &budget).await.unwrap();
        assert!(matches!(reply.grow(OVERDRAWN_BYTES + 1, &budget).await, Err(Error::Overloaded("memory"))));
    }

    #[tokio::test]
    async fn t24_room_is_waited_for_and_then_refused() {
        let (budget, metrics) = budget(1 << 20);
        let mut first = Growing::new(2);
        first.grow(SMALL, &budget).await.unwrap();
        assert!(metrics.encode().contains("memory_reserved_kibibytes 0"), "what is small reserves nothing");
        first.grow_exactly(300 << 10, &budget).await.unwrap();
        assert!(metrics.encode().contains("memory_reserved_kibibytes 600"));
        let held = Held::default();
        held.room(first);
        let mut growing = Growing::new(1);
        growing.grow(100 << 10, &budget).await.unwrap();
        growing.grow(101 << 10, &budget).await.unwrap();
        assert!(metrics.encode().contains("memory_reserved_kibibytes 800"), "in steps of what it has");
        let late = growing.grow(500 << 10, &budget).await.unwrap_err();
        assert!(matches!(late, Error::Overloaded("memory")));
        let waits = growing.grow(500 << 10, &budget);
        let (came, ()) = tokio::join!(waits, async { drop(held) });
        came.unwrap();
        growing.overdraw();
        growing.grow(1 << 20, &budget).await.unwrap();
        drop(growing);
        assert!(metrics.encode().contains("memory_reserved_kibibytes 0"));
        Growing::new(1).grow(1 << 30, &budget).await.unwrap();
    }

    #[test]
    fn a_warning_comes_at_most_every_ten_seconds() {
        let seldom = Seldom::default();
        let due: Vec<bool> = [50_000, 50_001, 59_999, 60_000, 60_001, 1_000].map(|now| seldom.due(now)).into();
        assert_eq!(due, [true, false, false, true, false, true]);
    }

    #[test]
    fn strangers_are_recorded_a_few_times_a_minute() {
        let strangers = Strangers::default();
        let recorded = |now_ms| (0..1000).filter(|_| strangers.is_recorded(now_ms)).count();
        assert_eq!([recorded(60_000), recorded(119_999), recorded(120_000)], [120, 0, 120]);
    }

    #[test]
    fn failures_are_counted_by_network_and_minute() {
        let failures = Failures::new();
        let most = NonZeroU32::new(2).unwrap();
        let [one, two]: [IpAddr; 2] = ["2001:db8::1".parse().unwrap(), "2001:db8::ffff".parse().unwrap()];
        failures.count(one, 60_000);
        assert!(failures.too_many(one, most, 60_001).is_ok());
        failures.count(two, 60_002);
        let Err(Error::RateLimited { limit: "failures", wait }) = failures.too_many(one, most, 90_000) else { panic!() };
        assert_eq!(wait, Duration::from_secs(30));
        assert!(failures.too_many(one, most, 120_000).is_ok(), "the next minute");
        failures.count(one, 120_000);
        assert!(failures.too_many(one, most, 120_000).is_ok(), "counted anew");
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1".parse::<IpAddr>().unwrap());
    }
}
