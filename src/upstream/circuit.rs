//! A circuit breaker: a database that is away is not waited for by every request anew.
//!
//! Closed, every request passes, and failures to reach the database are counted until one answers. After so many in a row the
//! circuit is open: requests are refused at once. When its time is over one request passes as a probe, and the rest are
//! refused until it is back: if the database answered, the circuit closes; if not, it stays open for twice as long as before.
//!
//! Always holds: one probe at a time; a probe that is dropped makes room for the next; any answer closes the circuit; no client
//! decides for the others: a body that it sends at its leisure is no probe, and a reply that is long in coming says nothing while
//! the database answers others. While closed, a request costs a few atomic operations. Called by `super::http`.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest time for which it stays open before the next probe.
pub const LONGEST: Duration = Duration::from_secs(30);

/// `[upstream] circuit` as run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Failures in a row after which it opens. At least 1.
    pub failures: u32,
    /// How long it stays open at first; at most [`LONGEST`].
    pub open: Duration,
}

#[derive(Debug)]
pub(super) struct Circuit {
    config: Config,
    /// Failures since the last answer. Below `config.failures` the circuit is closed, and nothing else is looked at.
    in_a_row: AtomicU32,
    /// Answers so far; only whether there have been more is looked at.
    answers: AtomicU32,
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    /// When the next probe may go.
    until: Instant,
    /// What `until` was made of, before chance took its part.
    wait: Duration,
    probing: bool,
}

/// Whether all of a request is at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sends {
    /// What comes of it is up to the database.
    Whole,
    /// Its client may take as long as it likes, and nobody is to wait for that: it passes when a probe is due, but is none.
    Piecewise,
}

/// Leave to ask. Say what came of it by [`Pass::answered`], [`Pass::failed`] or [`Pass::timed_out`]; dropped, it says nothing about
/// the database.
#[derive(Debug)]
pub(super) struct Pass<'c> {
    circuit: &'c Circuit,
    probe: bool,
    /// Answers when it began.
    answers: u32,
}

impl Circuit {
    pub(super) fn new(config: Config) -> Self {
        Self { config, in_a_row: AtomicU32::new(0), answers: AtomicU32::new(0), open: Mutex::new(None) }
    }

    /// Leave to ask, or the time after which to ask for it again.
    pub(super) fn pass(&self, sends: Sends) -> Result<Pass<'_>, Duration> {
        self.pass_at(sends, Instant::now)
    }

    /// The clock is read only where the circuit is not closed.
    fn pass_at(&self, sends: Sends, now: impl FnOnce() -> Instant) -> Result<Pass<'_>, Duration> {
        let mut probe = false;
        if !self.closed()
            && let Some(open) = &mut *self.lock()
        {
            if let Some(again) = open.refuses(now()) {
                return Err(again);
            }
            probe = sends == Sends::Whole;
            open.probing = probe;
        }
        Ok(Pass { circuit: self, probe, answers: self.answers.load(Ordering::Relaxed) })
    }

    /// For how long requests are refused as it stands; `None` if the next one would pass.
    pub(super) fn refuses(&self) -> Option<Duration> {
        if self.closed() { None } else { self.lock().as_ref().and_then(|open| open.refuses(Instant::now())) }
    }

    /// True unless the database failed too often in a row; also while a probe is under way.
    pub(super) fn is_open(&self) -> bool {
        !self.closed()
    }

    fn closed(&self) -> bool {
        self.in_a_row.load(Ordering::Acquire) < self.config.failures
    }

    fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        if self.in_a_row.load(Ordering::Acquire) > 0 {
            let mut open = self.lock();
            self.in_a_row.store(0, Ordering::Release);
            if open.take().is_some() {
                tracing::info!("the database answers again");
            }
        }
    }

    fn failed(&self, probe: bool, now: Instant) {
        if !self.closed()
            && let Some(open) = &mut *self.lock()
        {
            // Also of one that was no probe, but passed when one was due.
            if probe || open.refuses(now).is_none() {
                *open = Open::for_about((open.wait * 2).min(LONGEST), now);
            }
            return;
        }
        let failures = self.in_a_row.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if failures < self.config.failures {
            return;
        }
        let mut open = self.lock();
        // An answer may have come in between.
        if open.is_none() && !self.closed() {
            *open = Some(Open::for_about(self.config.open, now));
            tracing::error!("the database failed {failures} times in a row: requests are refused until it answers a probe");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Half of the wait, and by chance up to all of it, so that many proxies do not probe at once.
    fn for_about(wait: Duration, now: Instant) -> Self {
        let chance = u32::try_from(RandomState::new().hash_one(()) % 1_000).unwrap_or(0);
        let until = now + wait / 2 + wait * chance / 2_000;
        Self { until, wait, probing: false }
    }

    fn refuses(&self, now: Instant) -> Option<Duration> {
        let left = self.until.saturating_duration_since(now);
        (self.probing || !left.is_zero()).then_some(left)
    }
}

impl Pass<'_> {
    /// True if others are refused until this one is back.
    pub(super) fn is_probe(&self) -> bool {
        self.probe
    }

    /// The database answered, whatever it said.
    pub(super) fn answered(mut self) {
        self.probe = false;
        self.circuit.answered();
    }

    /// The database could not be reached.
    pub(super) fn failed(self) {
        self.failed_at(Instant::now());
    }

    /// The database did not answer in time. If it answered others meanwhile, it is this request that takes so long: or whoever
    /// knows a slow one could have everybody refused.
    pub(super) fn timed_out(self) {
        self.timed_out_at(Instant::now());
    }

    fn timed_out_at(self, now: Instant) {
        if self.probe || self.circuit.answers.load(Ordering::Relaxed) == self.answers {
            self.failed_at(now);
        }
    }

    fn failed_at(mut self, now: Instant) {
        self.circuit.failed(std::mem::take(&mut self.probe), now);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe
            && let Some(open) = &mut *self.circuit.lock()
        {
            open.probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(1);

    fn circuit() -> Circuit {
        Circuit::new(Config { failures: 3, open: OPEN })
    }

    fn pass(circuit: &Circuit, now: Instant) -> Result<Pass<'_>, Duration> {
        circuit.pass_at(Sends::Whole, || now)
    }

    fn fail(circuit: &Circuit, times: usize, now: Instant) {
        (0..times).for_each(|_| pass(circuit, now).unwrap().failed_at(now));
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let (circuit, now) = (circuit(), Instant::now());
        fail(&circuit, 2, now);
        pass(&circuit, now).unwrap().answered();
        fail(&circuit, 2, now);
        // What says nothing about the database counts neither way.
        drop(pass(&circuit, now).unwrap());
        assert!(!circuit.is_open() && circuit.refuses().is_none());
        fail(&circuit, 1, now);
        assert!(circuit.is_open() && circuit.refuses().is_some());
        let again = pass(&circuit, now).unwrap_err();
        assert!(again >= OPEN / 2 && again <= OPEN, "{again:?}");
        assert!(pass(&circuit, now + again).unwrap().is_probe());
    }

    #[test]
    fn one_probe_at_a_time_and_its_answer_closes_it() {
        let (circuit, now) = (circuit(), Instant::now());
        fail(&circuit, 3, now);
        let later = now + OPEN;
        let probe = pass(&circuit, later).unwrap();
        assert!(probe.is_probe() && pass(&circuit, later).is_err());
        // One whose caller went away makes room for the next.
        drop(probe);
        let probe = pass(&circuit, later).unwrap();
        assert!(probe.is_probe() && pass(&circuit, later).is_err());
        probe.answered();
        assert!(!circuit.is_open() && !pass(&circuit, later).unwrap().is_probe());
        fail(&circuit, 2, later);
        assert!(!circuit.is_open(), "it counts from the start again");
    }

    #[test]
    fn each_probe_that_fails_doubles_the_time_up_to_a_bound() {
        let (circuit, mut now) = (circuit(), Instant::now());
        fail(&circuit, 3, now);
        let mut wait = OPEN;
        for _ in 0..8 {
            now += wait;
            pass(&circuit, now).unwrap().failed_at(now);
            wait = (wait * 2).min(LONGEST);
            let again = pass(&circuit, now).unwrap_err();
            assert!(again >= wait / 2 && again <= wait, "{again:?} of {wait:?}");
        }
        assert_eq!(wait, LONGEST);
    }

    #[test]
    fn requests_from_before_it_opened_neither_prolong_it_nor_are_lost() {
        let (circuit, now) = (circuit(), Instant::now());
        let (late_failure, late_answer) = (pass(&circuit, now).unwrap(), pass(&circuit, now).unwrap());
        fail(&circuit, 3, now);
        let again = pass(&circuit, now).unwrap_err();
        late_failure.failed_at(now + again / 2);
        assert_eq!(pass(&circuit, now).unwrap_err(), again);
        late_answer.answered();
        assert!(!circuit.is_open(), "an answer is an answer");
    }

    #[test]
    fn t24_a_client_that_knows_a_slow_request_cannot_open_it_for_others() {
        let (circuit, now) = (circuit(), Instant::now());
        let slow: Vec<_> = (0..9).map(|_| pass(&circuit, now).unwrap()).collect();
        pass(&circuit, now).unwrap().answered();
        for slow in slow {
            slow.timed_out_at(now);
        }
        assert!(!circuit.is_open(), "the database answered meanwhile");
        let hung: Vec<_> = (0..3).map(|_| pass(&circuit, now).unwrap()).collect();
        for hung in hung {
            hung.timed_out_at(now);
        }
        assert!(circuit.is_open(), "it answered nobody");
        let probe = pass(&circuit, now + OPEN).unwrap();
        circuit.answers.fetch_add(1, Ordering::Relaxed);
        probe.timed_out_at(now + OPEN);
        assert!(pass(&circuit, now + OPEN).is_err(), "a probe is asked for its own sake");
    }

    #[test]
    fn t24_a_client_that_sends_slowly_cannot_keep_it_open() {
        let (circuit, now) = (circuit(), Instant::now());
        fail(&circuit, 3, now);
        let slowly = |now| circuit.pass_at(Sends::Piecewise, || now);
        assert!(slowly(now).is_err(), "it is refused like any other");
        let later = now + OPEN;
        let slow = slowly(later).unwrap();
        let probe = pass(&circuit, later).unwrap();
        assert!(probe.is_probe() && !slow.is_probe());
        assert!(slowly(later).is_err(), "a probe is under way");
        drop(slow);
        assert!(pass(&circuit, later).is_err(), "and still is");
        drop(probe);
        slowly(later).unwrap().failed_at(later);
        assert!(pass(&circuit, later).is_err(), "it could not reach the database either");
        slowly(later + LONGEST).unwrap().answered();
        assert!(!circuit.is_open());
    }

    #[test]
    fn many_threads_get_one_probe() {
        let circuit = Circuit::new(Config { failures: 1, open: OPEN });
        let mut now = Instant::now();
        for _ in 0..50 {
            pass(&circuit, now).unwrap().failed_at(now);
            now += OPEN;
            let passed: Vec<_> = std::thread::scope(|scope| {
                let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| pass(&circuit, now))).collect();
                asked.into_iter().filter_map(|asked| asked.join().unwrap().ok()).collect()
            });
            assert_eq!(passed.len(), 1);
            passed.into_iter().for_each(Pass::answered);
            assert!(!circuit.is_open());
        }
    }
}
