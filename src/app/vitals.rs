//! What operators look at: is every part ready, and how is the process.
//!
//! Always holds: nothing here waits longer than [`PROBE`] for each of the database and the store, and however often it is asked,
//! they are asked at most once in [`FRESH`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::facts;
use super::fleet::Fleet;
use super::jwks::Fetching;
use super::log;
use crate::admin::{Condition, Part, Readiness};
use crate::audit;
use crate::base::{Clock, IssuerName};
use crate::exchange::Exchange;
use crate::keys::custody::Standing;
use crate::keys::fleet::Behind;
use crate::keys::{KeyRing, LineName, Rings};
use crate::metrics::{Metrics, Vitals};
use crate::store::Store;
use crate::subject::Ledger;

/// So long an answer of the database or the store counts.
const FRESH: Duration = Duration::from_secs(1);
/// Longest wait for either.
const PROBE: Duration = Duration::from_secs(2);
/// With less room than this the operator is warned, in bytes.
const LITTLE_ROOM: u64 = 256 << 20;

/// Before a certificate expires the operator is warned for so long, in seconds.
const SOON: u64 = 72 * 3600;

/// Where the parts are that are looked at.
#[derive(Clone)]
pub(super) struct Watched {
    /// Weak, for the pages must not keep a stopped proxy's files open.
    pub(super) exchange: Weak<Exchange>,
    pub(super) audit: audit::Log,
    pub(super) audit_dir: PathBuf,
    pub(super) store: Weak<Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) leaving: CancellationToken,
    pub(super) clock: Arc<dyn Clock>,
    /// In seconds since 1970; 0 without a certificate.
    pub(super) certificate_until: Arc<AtomicU64>,
    /// The keys of token issuers.
    pub(super) fetching: Arc<ArcSwap<Fetching>>,
    /// The nodes that share the store, if others may.
    pub(super) fleet: Option<Arc<Fleet>>,
    /// What is known of data subjects. Weak, for the same reason.
    pub(super) ledger: Weak<Ledger>,
}

/// Says how each part is.
pub(super) fn readiness(watched: Watched) -> Readiness {
    let (database, store) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(None)));
    Arc::new(move || {
        let (watched, database, store) = (watched.clone(), Arc::clone(&database), Arc::clone(&store));
        Box::pin(async move {
            let Some(exchange) = watched.exchange.upgrade() else {
                return vec![Part { name: "draining", condition: Condition::NotReady(String::new()) }];
            };
            let mut parts = Vec::new();
            if watched.leaving.is_cancelled() {
                parts.push(Part { name: "draining", condition: Condition::NotReady(String::new()) });
            }
            parts.push(Part { name: "audit", condition: audit_condition(&watched) });
            parts.push(Part { name: "keys", condition: keys_condition(&exchange, watched.fleet.as_deref()) });
            if let Some(condition) = certificate_condition(&watched) {
                parts.push(Part { name: "certificate", condition });
            }
            if let Some(condition) = issuers_condition(&watched) {
                parts.push(Part { name: "issuers", condition });
            }
            if let Some(ledger) = watched.ledger.upgrade() {
                parts.push(Part { name: "facts", condition: facts::condition(&exchange, &ledger) });
            }
            if let Some(condition) = store_condition(&watched, &store).await {
                parts.push(Part { name: "store", condition });
            }
            parts.push(Part { name: "database", condition: database_condition(&exchange, &database).await });
            parts
        })
    })
}

fn audit_condition(watched: &Watched) -> Condition {
    if !watched.audit.healthy() {
        return Condition::NotReady("events cannot be made durable".to_owned());
    }
    match free_bytes(&watched.audit_dir) {
        Some(free) if free < LITTLE_ROOM => Condition::Warning(format!("{} MiB left on its disk", free >> 20)),
        _ => Condition::Ready,
    }
}

/// A ring that lacks what others protect under, or that could not be replaced by that in the store.
fn keys_condition(exchange: &Exchange, fleet: Option<&Fleet>) -> Condition {
    let keys = &exchange.state().keys;
    let protects =
        |ring: &KeyRing, line: &LineName| ring.versions().iter().any(|version| version.line == *line && version.state.protects());
    let mut missing: Vec<String> = Vec::new();
    for ring in keys.held() {
        // Only the main ring records.
        for line in [LineName::Seal, LineName::Audit].iter().filter(|line| ring.name().is_main() || line.protects_values()) {
            if !protects(ring, line) {
                missing.push(if ring.name().is_main() { line.to_string() } else { format!("{line} of ring {}", ring.name()) });
            }
        }
    }
    if !missing.is_empty() {
        return Condition::NotReady(format!("no active version in line {}", missing.join(", ")));
    }
    let custody = custody_condition(keys);
    match fleet.map(Fleet::complaint).unwrap_or_default() {
        _ if matches!(custody, Condition::NotReady(_)) => custody,
        (Some(Behind { held, newest, why }), refused) => {
            let refused = refused.map(|why| format!(". It was refused: {why}")).unwrap_or_default();
            Condition::NotReady(format!(
                "holds revision {held} and not revision {newest}, {why}: it reads, and writes nothing{refused}"
            ))
        }
        (None, Some(why)) => Condition::Warning(format!("what is in the store was not taken: {why}")),
        (None, None) => custody,
    }
}

/// Whether the providers that keep KEKs, if any do, still say that they are ours to use; the worst of it.
fn custody_condition(keys: &Rings) -> Condition {
    let (mut dropped, mut unconfirmed) = (Vec::new(), Vec::new());
    for ring in keys.held() {
        let of = if ring.name().is_main() { String::new() } else { format!("ring {}: ", ring.name()) };
        match ring.standing() {
            Some(Standing::Dropped { why }) => dropped.push(format!("{of}dropped: {why}")),
            Some(Standing::Unconfirmed { why, ago, left }) => unconfirmed.push(format!(
                "{of}their KEK has not been confirmed for {} s ({why}); they are dropped in {} s",
                ago.as_secs(),
                left.as_secs()
            )),
            Some(Standing::Confirmed { .. }) | None => {}
        }
    }
    if !dropped.is_empty() {
        Condition::NotReady(dropped.join("; "))
    } else if !unconfirmed.is_empty() {
        Condition::Warning(unconfirmed.join("; "))
    } else {
        Condition::Ready
    }
}

/// None where there is no certificate: the listener is in clear.
fn certificate_condition(watched: &Watched) -> Option<Condition> {
    let until = watched.certificate_until.load(Ordering::Relaxed);
    let now = watched.clock.now_ms() / 1000;
    match until {
        0 => None,
        _ if now > until => Some(Condition::NotReady("has expired".to_owned())),
        _ if until - now < SOON => Some(Condition::Warning(format!("expires in {} hours", (until - now) / 3600))),
        _ => Some(Condition::Ready),
    }
}

/// None where no keys are fetched. Keys that became too old are a warning only: to take every proxy out of service would turn
/// away the callers that have nothing to do with the issuer.
fn issuers_condition(watched: &Watched) -> Option<Condition> {
    let fetching = watched.fetching.load();
    let names = |issuers: Vec<IssuerName>| issuers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (never, without) = (names(fetching.never_fetched()), names(fetching.without_keys()));
    match () {
        () if fetching.is_empty() => None,
        () if !never.is_empty() => Some(Condition::NotReady(format!("the keys of {never} have not been fetched yet"))),
        () if !without.is_empty() => Some(Condition::Warning(format!("the keys of {without} are too old"))),
        () => Some(Condition::Ready),
    }
}

/// What was last answered, and when.
type Last = Mutex<Option<(Instant, Condition)>>;

/// None where the store is a file: calls to it tell how it is.
async fn store_condition(watched: &Watched, last: &Last) -> Option<Condition> {
    let store = watched.store.upgrade().filter(|store| store.is_shared())?;
    Some(probed(last, async move { store.reachable().await }).await)
}

async fn database_condition(exchange: &Exchange, last: &Last) -> Condition {
    let upstream = exchange.state().upstream.clone();
    probed(last, async move { upstream.reachable().await }).await
}

/// Those who ask at the same time wait for one answer.
async fn probed<E: std::fmt::Display>(last: &Last, asked: impl Future<Output = Result<(), E>>) -> Condition {
    let mut last = last.lock().await;
    if let Some((at, condition)) = &*last
        && at.elapsed() < FRESH
    {
        return condition.clone();
    }
    let condition = match tokio::time::timeout(PROBE, asked).await {
        Ok(Ok(())) => Condition::Ready,
        Ok(Err(why)) => Condition::NotReady(why.to_string()),
        Err(_elapsed) => Condition::NotReady(format!("does not answer within {PROBE:?}")),
    };
    *last = Some((Instant::now(), condition.clone()));
    condition
}

/// Bytes that an account without privileges may still write on the file's disk.
fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// The text of `/metrics`, with what is looked up when it is asked for.
pub(super) fn metrics(watched: Watched) -> Arc<dyn Fn() -> String + Send + Sync> {
    Arc::new(move || {
        let lag = watched.audit.lag();
        let keys = watched.exchange.upgrade().map(|exchange| Arc::clone(&exchange.state().keys));
        let cache = keys.map(|keys| keys.cache()).unwrap_or_default();
        watched.metrics.look(Vitals {
            audit_waiting: lag.waiting,
            audit_oldest: lag.oldest,
            audit_durable: Duration::from_millis(lag.durable_ms),
            audit_events: lag.events,
            audit_commits: lag.commits,
            audit_free_bytes: free_bytes(&watched.audit_dir),
            field_keys: cache.entries,
            field_key_hits: cache.hits,
            field_key_misses: cache.misses,
            log_dropped: log::dropped(),
            fleet: watched.fleet.as_ref().and_then(|fleet| fleet.counted()),
            facts: watched.ledger.upgrade().map(|ledger| facts::counted(&ledger)),
            certificate_until: Some(watched.certificate_until.load(Ordering::Relaxed)).filter(|until| *until > 0),
        });
        watched.metrics.encode()
    })
}
