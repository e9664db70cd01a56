//! Keeps the keys of token issuers fresh: one task for each URL.
//!
//! Always holds: one fetch at a time; a token with an unknown key brings the next fetch forward, but not more often than every
//! [`BETWEEN`], whatever clients send; keys that could not be fetched anew for `stale_s` are no longer used, by a clock that
//! does not step; a set that cannot be read changes nothing. Times are jittered, so that many proxies do not ask at once (T20).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::limits::MAX_JWKS_BYTES;
use crate::base::{Clock, IssuerName};
use crate::caller::KeySet;
use crate::config::FetchedKeys;
use crate::crypto;
use crate::metrics::Metrics;

/// Shortest time between two fetches that clients can bring about.
const BETWEEN: Duration = Duration::from_secs(10);
/// The first wait after a fetch that failed; it doubles with each, up to `refresh_s`.
const RETRY: Duration = Duration::from_secs(1);

/// The tasks of one configuration. Dropping it ends them.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    issuers: Vec<Arc<Issuer>>,
    end: CancellationToken,
}

#[derive(Debug)]
struct Issuer {
    source: FetchedKeys,
    /// When the keys in use were fetched; of a configuration before this one, if they came with it.
    fetched: Mutex<Option<Instant>>,
    /// There have been keys since the start.
    had: AtomicBool,
    unknown: Notify,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Fetching {
    /// Of new settings. Keys that `before` has fetched from the same place for the same issuer are taken over, so that a reload
    /// does not turn callers away; nothing is fetched yet.
    pub(super) fn prepare(sources: Vec<FetchedKeys>, before: &Self, metrics: &Arc<Metrics>, clock: &Arc<dyn Clock>) -> Self {
        let issuers = sources.into_iter().map(|source| {
            let same = |old: &&Arc<Issuer>| {
                (&old.source.of, &old.source.url, &old.source.algorithms) == (&source.of, &source.url, &source.algorithms)
            };
            let taken = before.issuers.iter().find(same).map(|old| {
                let fetched = old.fetched();
                source.keys.replace(old.source.keys.current());
                (*fetched, old.had.load(Ordering::Relaxed))
            });
            let (fetched, had) = taken.unwrap_or_default();
            Arc::new(Issuer {
                source,
                fetched: Mutex::new(fetched),
                had: AtomicBool::new(had),
                unknown: Notify::new(),
                metrics: Arc::clone(metrics),
                clock: Arc::clone(clock),
            })
        });
        Self { issuers: issuers.collect(), end: CancellationToken::new() }
    }

    /// Begins to fetch, until dropped.
    pub(super) fn begin(self, tasks: &TaskTracker) -> Arc<Self> {
        for issuer in &self.issuers {
            if issuer.source.keys.current().is_none() {
                issuer.metrics.issuer_keys(&issuer.source.issuer, 0, None);
            }
            let told = Arc::downgrade(issuer);
            issuer.source.keys.when_unknown(move || {
                if let Some(issuer) = told.upgrade() {
                    issuer.unknown.notify_one();
                }
            });
            let (issuer, end) = (Arc::clone(issuer), self.end.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = issuer.keep() => {}
                }
            });
        }
        Arc::new(self)
    }

    /// No keys are fetched.
    pub(super) fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Issuers of which there are no keys, so that none of their tokens is accepted.
    pub(super) fn without_keys(&self) -> Vec<IssuerName> {
        let without = self.issuers.iter().filter(|issuer| issuer.source.keys.current().is_none());
        without.map(|issuer| issuer.source.issuer.clone()).collect()
    }

    /// Issuers of which there have been none since the start.
    pub(super) fn never_fetched(&self) -> Vec<IssuerName> {
        let without = self.issuers.iter().filter(|issuer| !issuer.had.load(Ordering::Relaxed));
        without.map(|issuer| issuer.source.issuer.clone()).collect()
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Issuer {
    /// Held while the keys are replaced, so that both are of one fetch.
    fn fetched(&self) -> MutexGuard<'_, Option<Instant>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never ends.
    async fn keep(&self) {
        let source = &self.source;
        let mut failures = 0_u32;
        let now = Instant::now();
        let mut next = (*self.fetched()).map_or(now, |fetched| fetched + jittered(source.refresh));
        // Keys in use were fetched by somebody else, at a time that is not told.
        let mut last = *self.fetched();
        loop {
            self.wait(next, last).await;
            last = Some(Instant::now());
            let after = match self.fetch().await {
                Ok(keys) => {
                    failures = 0;
                    self.take(keys);
                    source.refresh
                }
                Err((word, why)) => {
                    failures = failures.saturating_add(1);
                    self.metrics.issuer_asked(&source.issuer, word);
                    tracing::warn!(issuer = %source.issuer, failures, "the issuer's keys could not be fetched: {why}");
                    RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(source.refresh)
                }
            };
            next = Instant::now() + jittered(after);
        }
    }

    /// Until it is time to fetch: at `next`, or before that when a token named an unknown key, but then [`BETWEEN`] after `last`.
    /// Meanwhile keys may become too old.
    async fn wait(&self, mut next: Instant, last: Option<Instant>) {
        let mut asked = false;
        loop {
            let stale = (*self.fetched()).map(|fetched| fetched + self.source.stale);
            tokio::select! {
                () = tokio::time::sleep_until(next) => return self.drop_stale(),
                () = self.unknown.notified(), if !asked => {
                    asked = true;
                    next = next.min(last.map_or_else(Instant::now, |last| last + BETWEEN));
                }
                () = tokio::time::sleep_until(stale.unwrap_or(next)), if stale.is_some() => self.drop_stale(),
            }
        }
    }

    fn drop_stale(&self) {
        let mut fetched = self.fetched();
        if fetched.is_some_and(|fetched| fetched.elapsed() >= self.source.stale) {
            *fetched = None;
            self.source.keys.replace(None);
            self.metrics.issuer_keys(&self.source.issuer, 0, None);
            tracing::error!(issuer = %self.source.issuer, "the issuer's keys are too old: its tokens are refused until they can be fetched");
        }
    }

    async fn fetch(&self) -> Result<KeySet, (&'static str, String)> {
        let fetched = self.source.document.fetch(MAX_JWKS_BYTES).await;
        let text = fetched.map_err(|error| (error.as_str(), error.to_string()))?;
        KeySet::parse(&text, &self.source.algorithms).map_err(|error| ("not-keys", error.to_string()))
    }

    fn take(&self, keys: KeySet) {
        let name = &self.source.issuer;
        self.metrics.issuer_asked(name, "ok");
        self.metrics.issuer_keys(name, keys.len(), Some(self.clock.now_ms() / 1000));
        let (count, ignored) = (keys.len(), keys.ignored());
        let mut fetched = self.fetched();
        self.source.keys.replace(Some(Arc::new(keys)));
        if fetched.replace(Instant::now()).is_none() {
            tracing::info!(issuer = %name, keys = count, ignored, "the issuer's keys are there");
        }
        self.had.store(true, Ordering::Relaxed);
    }
}

/// About nine tenths of a time to all of it.
fn jittered(time: Duration) -> Duration {
    let byte = crypto::random::<1>().map_or(128, |[byte]| byte);
    time.mul_f64(1.0 - f64::from(byte) / 2560.0)
}
