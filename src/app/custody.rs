//! Keeps asking the providers of KEKs whether the keys are still ours to use: one task for each ring that has one.
//!
//! Always holds: one question at a time; the wait between two is jittered, and grows while there is no answer, so that many nodes do not
//! ask at once when a provider comes back (T20); the keys are dropped at the hard limit whatever a question under way may do; what
//! blocks runs where it may. What a provider says never ends the process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::audit::{self, Event, Kind};
use crate::base::{Clock, RingName};
use crate::crypto;
use crate::keys::custody::Standing;
use crate::keys::{Custody, CustodyLimits, Denied, KeyError, KeyRing, ProviderError, Regained, Rings};
use crate::metrics::Metrics;

/// The first wait after a question that got no good answer; it doubles with each ...
const RETRY: Duration = Duration::from_secs(1);
/// ... up to this, or the soft limit where that is shorter.
const LONGEST_RETRY: Duration = Duration::from_mins(1);
/// A refusal that drops the keys is asked for twice, so far apart.
const SURE: Duration = Duration::from_secs(2);

const TOO_LONG: &str = "their KEK could not be confirmed at its provider before the hard limit; they come back when it answers";
const REFUSED: &str = "their KEK is refused by its provider; they come back when it allows it again";

/// The tasks of the configuration in force.
#[derive(Debug)]
pub(super) struct Keepers {
    current: ArcSwap<Vec<DropGuard>>,
    told: Told,
}

impl Keepers {
    /// Begins to ask about rings that have just been opened.
    pub(super) fn begin(rings: &Rings, told: Told, tasks: &TaskTracker) -> Self {
        Self { current: ArcSwap::from_pointee(spawn_each(rings, &told, tasks)), told }
    }

    /// Leaves the rings that were, and asks about these, which have just been opened.
    pub(super) fn follow(&self, rings: &Rings, tasks: &TaskTracker) {
        self.current.store(Arc::new(spawn_each(rings, &self.told, tasks)));
    }

    /// Asks no more.
    pub(super) fn end(&self) {
        self.current.store(Arc::default());
    }

    /// Waits until a ring is found to have moved on while its keys were dropped: it must be loaded anew.
    pub(super) async fn moved_on(&self) {
        self.told.reload.notified().await;
    }
}

fn spawn_each(rings: &Rings, told: &Told, tasks: &TaskTracker) -> Vec<DropGuard> {
    rings.each().map(|ring| spawn(ring, told, tasks)).collect()
}

/// Dropping what comes back ends the task.
fn spawn(ring: &Arc<KeyRing>, told: &Told, tasks: &TaskTracker) -> DropGuard {
    let end = CancellationToken::new();
    if let Some(custody) = ring.custody() {
        told.held(ring.name());
        tracing::info!(
            ring = ring.name().as_str(),
            provider = custody.provider(),
            "a provider keeps the KEK: it is asked again and again"
        );
        let keeper = Keeper { ring: Arc::clone(ring), limits: custody.limits(), told: told.clone(), failures: 0 };
        let end = end.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = keeper.keep() => {}
            }
        });
    }
    end.drop_guard()
}

/// Whom a task tells.
#[derive(Debug, Clone)]
pub(super) struct Told {
    metrics: Arc<Metrics>,
    audit: audit::Log,
    clock: Arc<dyn Clock>,
    reload: Arc<Notify>,
}

impl Told {
    pub(super) fn new(metrics: &Arc<Metrics>, audit: &audit::Log, clock: &Arc<dyn Clock>) -> Self {
        Self { metrics: Arc::clone(metrics), audit: audit.clone(), clock: Arc::clone(clock), reload: Arc::default() }
    }

    /// The provider's word was good just now.
    fn held(&self, ring: &RingName) {
        self.metrics.kek_asked(ring, "ok");
        self.metrics.kek_confirmed(ring, self.clock.now_ms() / 1000);
    }

    fn dropped(&self, ring: &RingName, why: &'static str) {
        self.metrics.keys_dropped(ring);
        tracing::error!("the keys of the ring {ring} are dropped, and nothing under them is revealed or stored: {why}");
        self.audit.note(Event { code: Some("keys-unavailable".to_owned()), ..Event::new(Kind::Alarm, 0) });
    }
}

struct Keeper {
    ring: Arc<KeyRing>,
    limits: CustodyLimits,
    told: Told,
    failures: u32,
}

impl Keeper {
    /// Never ends.
    async fn keep(mut self) {
        let mut next = Instant::now() + jittered(self.limits.soft);
        loop {
            let tended = self.tend().await;
            let Some(standing) = self.ring.standing() else { return };
            let now = Instant::now();
            match standing {
                Standing::Dropped { .. } => {
                    tokio::time::sleep(self.pause()).await;
                    self.regain().await;
                    next = Instant::now() + if self.failures == 0 { jittered(self.limits.soft) } else { Duration::ZERO };
                }
                Standing::Confirmed { ago } | Standing::Unconfirmed { ago, .. } => {
                    let hard = now + self.limits.hard.saturating_sub(ago);
                    if now >= hard {
                        self.drop_keys(TOO_LONG);
                        continue;
                    }
                    let wake = next.min(hard).min(tended.map_or(hard, |tended| now + tended));
                    tokio::time::sleep(wake.saturating_duration_since(now)).await;
                    if Instant::now() >= next {
                        // A question that takes too long does not keep the keys.
                        let left = hard.saturating_duration_since(Instant::now());
                        if tokio::time::timeout(left, self.confirm()).await.is_err() {
                            continue;
                        }
                        next = Instant::now() + if self.failures == 0 { jittered(self.limits.soft) } else { self.pause() };
                    }
                }
            }
        }
    }

    async fn tend(&self) -> Option<Duration> {
        let ring = Arc::clone(&self.ring);
        let tended = blocking(move || ring.custody().map_or(Ok(None), Custody::tend)).await?;
        tended.unwrap_or_else(|error| {
            tracing::warn!("access to the provider of the KEK could not be renewed: {error}");
            Some(self.pause())
        })
    }

    async fn confirm(&mut self) {
        let ring = Arc::clone(&self.ring);
        let answered = self.asked(move || ring.confirm()).await;
        let denied =
            |answered: &Result<(), KeyError>| matches!(answered, Err(KeyError::Provider { error: ProviderError::Denied(_), .. }));
        match answered {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!("the KEK is confirmed by its provider again");
                }
                self.failures = 0;
                self.told.held(self.ring.name());
            }
            refused if denied(&refused) && self.limits.denied == Denied::Drops => {
                // Permissions spread slowly, and one answer may have come from a server that did not know yet.
                tokio::time::sleep(SURE.min(self.limits.soft)).await;
                let ring = Arc::clone(&self.ring);
                let again = self.asked(move || ring.confirm()).await;
                if denied(&again) {
                    self.drop_keys(REFUSED);
                } else if again.is_ok() {
                    self.failures = 0;
                    self.told.held(self.ring.name());
                }
            }
            Err(_) => {}
        }
    }

    async fn regain(&mut self) {
        let ring = Arc::clone(&self.ring);
        match self.asked(move || ring.regain()).await {
            Ok(Regained::Whole) => {
                tracing::info!("the keys of the ring are back: its provider has confirmed their KEK");
                self.failures = 0;
                self.told.held(self.ring.name());
            }
            Ok(Regained::MovedOn) => {
                tracing::info!("the provider answers again, and the ring has a newer revision: it is loaded");
                self.told.reload.notify_one();
            }
            Err(_) => {}
        }
    }

    /// Runs what blocks, and tells of it if it fails.
    async fn asked<T: Send + 'static>(
        &mut self,
        ask: impl FnOnce() -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, KeyError> {
        let answered = blocking(ask).await.unwrap_or_else(|| Err(KeyError::Dropped("the question broke off")));
        if let Err(error) = &answered {
            self.failures = self.failures.saturating_add(1);
            let word = if let KeyError::Provider { error, .. } = error { error.as_str() } else { "other" };
            self.told.metrics.kek_asked(self.ring.name(), word);
            tracing::warn!(ring = self.ring.name().as_str(), failures = self.failures, "the KEK could not be confirmed: {error}");
        }
        answered
    }

    fn drop_keys(&mut self, why: &'static str) {
        self.ring.drop_keys(why);
        self.told.dropped(self.ring.name(), why);
    }

    fn pause(&self) -> Duration {
        let doubled = RETRY.saturating_mul(1 << self.failures.saturating_sub(1).min(16));
        jittered(doubled.min(LONGEST_RETRY).min(self.limits.soft))
    }
}

async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(run).await.ok()
}

/// About nine tenths of a time to all of it.
fn jittered(time: Duration) -> Duration {
    let byte = crypto::random::<1>().map_or(128, |[byte]| byte);
    time.mul_f64(1.0 - f64::from(byte) / 2560.0)
}
