//! Builds everything once, reloads it whole, shuts it down in order.
//!
//! Start: settings → keys → audit → upstream → exchange → listeners; a failure at any step ends with what is wrong and
//! what to do. Reload (`reload`): SIGHUP or files that changed. Shutdown (SIGTERM, SIGINT): say so at `/readyz`, stop
//! accepting, finish the exchanges under way, close the audit log.

mod build;
mod custody;
mod descriptors;
pub(crate) mod desk;
mod facts;
mod fleet;
mod jwks;
mod listen;
pub mod log;
mod memory;
pub(crate) mod openings;
#[cfg(feature = "otlp")]
mod otlp;
mod reload;
mod vitals;

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::audit::{self, AuditError};
use crate::base::{Clock, SystemClock};
use crate::config::{self, Endpoint, Findings, Settings};
use crate::exchange::{Budget, Exchange};
use crate::front::http::accept;
use crate::keys::KeyError;
use crate::metrics::Metrics;
use crate::net::tls::server::Server;
use crate::store::{Rows, StoreError};
use crate::subject::{Ledger, LedgerError};
use crate::upstream::UpstreamError;
use fleet::Fleet;
pub use memory::settle_allocator;
use reload::{AtStart, Fixed, Watch};
use vitals::Watched;

/// Why the proxy does not start or reload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The files have mistakes.
    #[error("{0}")]
    Config(Findings),
    /// The ring cannot be opened.
    #[error("{0}")]
    Keys(#[from] KeyError),
    /// The policy needs pseudonym keys that the ring does not have.
    #[error("the key ring has no pseudonym key for {0}, which the policy needs: run `sudare keys init`, which adds it")]
    PseudonymScope(String),
    /// The store cannot be opened.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The ledger of facts cannot be read, or is not believed.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// The audit log cannot be opened.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// The database's address is not usable.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    /// A listener cannot be opened.
    #[error(
        "cannot listen on {0}: {1}: another process may hold it, or the account that runs Sudare may not take it; change [listen]"
    )]
    Listen(String, std::io::Error),
    /// Spans cannot be exported.
    #[error("[otlp]: {0}")]
    Otlp(String),
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
    /// A reload changes what only a restart can change.
    #[error("{0} changed; that takes a restart, so nothing was reloaded: restart, or change it back")]
    NeedsRestart(&'static str),
}

/// A proxy that is listening.
#[derive(Debug)]
pub struct Running {
    exchange: Arc<Exchange>,
    audit: audit::Log,
    metrics: Arc<Metrics>,
    store: Arc<crate::store::Store>,
    rows: Arc<dyn Rows>,
    clock: Arc<dyn Clock>,
    /// What new connections are accepted with.
    tls: Option<Arc<ArcSwap<Server>>>,
    /// Until when our certificate holds, in seconds since 1970; 0 without one.
    certificate_until: Arc<AtomicU64>,
    fixed: Fixed,
    at_start: AtStart,
    /// Held while a reload is under way.
    watch: Mutex<Watch>,
    access: Arc<ArcSwap<admin::Access>>,
    /// What callers may record of data subjects.
    records: Arc<ArcSwap<desk::Records>>,
    address: Endpoint,
    admin: Option<Endpoint>,
    /// A stop was asked for.
    leaving: CancellationToken,
    /// No connection is accepted any more.
    drain: CancellationToken,
    /// The admin listener, too, has nothing left to tell.
    #[expect(dead_code, reason = "cancels when dropped")]
    gone: DropGuard,
    tasks: TaskTracker,
    #[cfg(feature = "otlp")]
    exporting: Option<otlp::Exporting>,
    drain_delay: Duration,
    drain_timeout: Duration,
    fetching: Arc<ArcSwap<jwks::Fetching>>,
    keepers: custody::Keepers,
    /// The nodes that share the store, if others may.
    fleet: Option<Arc<Fleet>>,
    /// What is known of data subjects.
    ledger: Arc<Ledger>,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every exchange was answered, and the audit log is closed.
    Whole,
    /// Something was still under way at the end.
    BrokenOff,
}

/// Longest wait for the disk when the audit log is closed.
const LAST_SYNC: Duration = Duration::from_secs(10);

/// The signals an operator sends, waiting for [`Running::until_signalled`]. Made before anybody is told that the proxy listens:
/// until then a SIGHUP ends the process, and a SIGTERM does so without draining.
#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals wait instead of ending the process. Needs a runtime that is entered.
    ///
    /// # Errors
    ///
    /// [`StartError::Signals`].
    pub fn catch() -> Result<Self, StartError> {
        let catch = |kind| signal(kind).map_err(StartError::Signals);
        Ok(Self {
            hangup: catch(SignalKind::hangup())?,
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }
}

/// Starts with checked settings and the machine's clock, on the runtime that is entered. Returns once every listener is open.
pub fn start(settings: Settings) -> Result<Running, StartError> {
    start_with(settings, Arc::new(SystemClock))
}

/// As [`start`], with a clock of the caller's.
pub fn start_with(settings: Settings, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    start_over(settings, clock, |store| store)
}

/// The same, with the store's rows behind something of the caller's: for tests of what the proxy does when they fail.
#[doc(hidden)]
pub fn start_over(
    mut settings: Settings,
    clock: Arc<dyn Clock>,
    rows: impl FnOnce(Arc<dyn Rows>) -> Arc<dyn Rows>,
) -> Result<Running, StartError> {
    let (fixed, at_start, watch) = (Fixed::of(&settings), AtStart::of(&settings), Watch::of(&settings));
    let metrics = Arc::new(Metrics::new(Duration::from_millis(clock.now_ms())));
    let store = Arc::new(crate::store::Store::open(&settings.store, Some(Arc::clone(&metrics)))?);
    let rows = rows(store.clone());
    let gone = CancellationToken::new();
    let fleet = Fleet::join(&settings, &store, gone.child_token())?;
    let keys = build::keys(&settings, &store, None)?;
    if let Some(fleet) = &fleet {
        fleet.compare(keys.main())?;
    }
    let audit = audit::Log::open(&settings.audit, keys.main().audit_keys()?, Arc::clone(&clock))?;
    let audit_dir = settings.audit.dir.clone();
    let (leaving, drain) = (CancellationToken::new(), CancellationToken::new());
    let tasks = TaskTracker::new();
    let budget = Budget::new(settings.limits.memory_bytes, Arc::clone(&metrics));
    let tls = settings.listen.tls.as_ref().map(|tls| Arc::new(ArcSwap::from_pointee(tls.server.clone())));
    let certificate_until = Arc::new(AtomicU64::new(settings.listen.tls.as_ref().map_or(0, |tls| tls.until)));
    let front_config = front(&settings, tls.clone(), &budget, &metrics);
    metrics.key_versions(build::key_versions(&keys));
    metrics.loaded(reload::loaded(&settings, &keys, clock.now_ms()));
    let (drain_delay, drain_timeout) = (settings.listen.drain_delay, settings.limits.drain_timeout);
    let listen = settings.listen.clone();
    let access = Arc::new(ArcSwap::from_pointee(reload::access(&settings)));
    let records = Arc::new(ArcSwap::from_pointee(settings.records.clone()));
    #[cfg(feature = "otlp")]
    let (spans, exporting) = match &settings.otlp {
        Some(config) => {
            let started = otlp::start(config, Arc::clone(&metrics), Arc::clone(&clock));
            let (spans, exporting) = started.map_err(|error| StartError::Otlp(error.to_string()))?;
            (Some(spans), Some(exporting))
        }
        None => (None, None),
    };
    #[cfg(not(feature = "otlp"))]
    let spans = None;
    let fetched_keys = std::mem::take(&mut settings.fetched_keys);
    let fetching = jwks::Fetching::prepare(fetched_keys, &jwks::Fetching::default(), &metrics, &clock);
    let keepers = custody::Keepers::begin(&keys, custody::Told::new(&metrics, &audit, &clock), &tasks);
    let ledger = facts::open(&settings, &keys, Arc::clone(&rows), &store, &clock)?;
    facts::follow(&ledger, &store, &tasks, drain.clone());
    let state = build::state(settings, keys, Arc::clone(&rows), &ledger, fleet.as_deref(), None)?;
    let exchange = Exchange::new(state, audit.clone(), Arc::clone(&metrics), Arc::clone(&clock), tasks.clone(), budget);
    let exchange = Arc::new(exchange.followed_by(spans));

    let (listener, address) = listen::front(&listen.address, listen.socket_mode)?;
    let serving = accept::serve(listener, Arc::clone(&exchange), front_config, drain.clone(), tasks.clone());
    tasks.spawn(serving);
    if let Some(fleet) = &fleet {
        fleet.begin(&exchange, address.to_string());
    }
    let fetching = Arc::new(ArcSwap::new(fetching.begin(&tasks)));
    let watched = Watched {
        exchange: Arc::downgrade(&exchange),
        audit: audit.clone(),
        audit_dir,
        store: Arc::downgrade(&store),
        metrics: Arc::clone(&metrics),
        leaving: leaving.clone(),
        clock: Arc::clone(&clock),
        certificate_until: Arc::clone(&certificate_until),
        fetching: Arc::clone(&fetching),
        fleet: fleet.clone(),
        ledger: Arc::downgrade(&ledger),
    };
    let admin_address = serve_operators(&listen, watched, &access, &records, &gone)?;
    Ok(Running {
        exchange,
        audit,
        metrics,
        store,
        rows,
        tls,
        certificate_until,
        clock,
        fixed,
        at_start,
        watch: Mutex::new(watch),
        access,
        records,
        address,
        admin: admin_address,
        leaving,
        drain,
        gone: gone.drop_guard(),
        tasks,
        #[cfg(feature = "otlp")]
        exporting,
        drain_delay,
        drain_timeout,
        fetching,
        keepers,
        fleet,
        ledger,
    })
}

/// Opens the operator's listener, if there is one.
fn serve_operators(
    listen: &config::Listen,
    watched: Watched,
    access: &Arc<ArcSwap<admin::Access>>,
    records: &Arc<ArcSwap<desk::Records>>,
    gone: &CancellationToken,
) -> Result<Option<Endpoint>, StartError> {
    let Some(endpoint) = &listen.admin else { return Ok(None) };
    let (listener, address) = listen::admin(endpoint, listen.socket_mode)?;
    let taking = desk::Taking {
        exchange: watched.exchange.clone(),
        ledger: watched.ledger.clone(),
        audit: watched.audit.clone(),
        clock: Arc::clone(&watched.clock),
        records: Arc::clone(records),
    };
    let pages = admin::Pages {
        desk: desk::desk(taking),
        metrics: vitals::metrics(watched.clone()),
        readiness: vitals::readiness(watched),
        access: Arc::clone(access),
    };
    admin::spawn(listener, pages, gone.clone()).map_err(|error| StartError::Listen(endpoint.to_string(), error))?;
    Ok(Some(address))
}

/// What connections are accepted with.
fn front(settings: &Settings, tls: Option<Arc<ArcSwap<Server>>>, budget: &Budget, metrics: &Arc<Metrics>) -> accept::Config {
    accept::Config {
        tls,
        handshake_timeout: settings.limits.handshake_timeout,
        last_answer: settings.limits.drain_timeout,
        connections: descriptors::suffice_for(settings.limits.connections, settings.limits.requests),
        awake: budget.seats(),
        per_address: settings.limits.connections_per_address,
        header_bytes: settings.limits.header_bytes,
        headers: settings.limits.headers,
        header_timeout: settings.limits.header_timeout,
        idle_timeout: settings.limits.idle_timeout,
        http2: settings.listen.http2.then(|| settings.limits.http2.clone()),
        proxy_from: settings.listen.proxy_protocol.as_slice().into(),
        write_timeout: settings.limits.write_timeout,
        metrics: Arc::clone(metrics),
    }
}

impl Running {
    /// Where applications connect; with the real port if port 0 was asked for.
    pub fn address(&self) -> &Endpoint {
        &self.address
    }

    /// Where operators look.
    pub fn admin(&self) -> Option<&Endpoint> {
        self.admin.as_ref()
    }

    /// The database behind the proxy, for those who want to see what it holds.
    pub fn upstream(&self) -> crate::upstream::Upstream {
        self.exchange.state().upstream.clone()
    }

    /// What is known of data subjects.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves until SIGTERM or SIGINT, reloading `path` on SIGHUP and where its files have changed; then drains. Another of
    /// these signals breaks off what is still under way.
    pub async fn until_signalled(self, path: &Path, signals: Signals) -> Drained {
        let Signals { mut hangup, mut terminate, mut interrupt } = signals;
        loop {
            // One after the other, so no reload meets another.
            tokio::select! {
                _ = hangup.recv() => self.reload_and_tell(path),
                () = self.changed() => self.reload_and_tell(path),
                () = self.keepers.moved_on() => self.reload_and_tell(path),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        tracing::info!("draining");
        self.stop_unless(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        })
        .await
    }

    /// Drains, however long that may take within its limits.
    pub async fn stop(self) -> Drained {
        self.stop_unless(std::future::pending()).await
    }

    /// Says that it is leaving and goes on accepting for `drain_delay`; then stops accepting, ends feeds, waits for the other
    /// exchanges under way (at most `drain_timeout`), closes the audit log. With `hurry` it waits no longer.
    async fn stop_unless(self, hurry: impl Future<Output = ()>) -> Drained {
        let mut hurry = pin!(hurry);
        self.leaving.cancel();
        self.exchange.leave();
        let mut hurried = false;
        if !self.drain_delay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(self.drain_delay) => {}
                () = hurry.as_mut() => hurried = true,
            }
        }
        self.drain.cancel();
        self.exchange.end_feeds();
        self.fetching.store(Arc::default());
        self.keepers.end();
        self.tasks.close();
        let mut drained = Drained::Whole;
        let finished = tokio::time::timeout(if hurried { Duration::ZERO } else { self.drain_timeout }, self.tasks.wait());
        tokio::select! {
            finished = finished => if finished.is_err() {
                tracing::warn!("exchanges were still under way after {:?} and are broken off", self.drain_timeout);
                drained = Drained::BrokenOff;
            },
            () = hurry, if !hurried => {
                tracing::warn!("exchanges were still under way at the second signal and are broken off");
                drained = Drained::BrokenOff;
            }
        }
        #[cfg(feature = "otlp")]
        if let Some(exporting) = &self.exporting {
            exporting.finish().await;
        }
        if let Some(fleet) = &self.fleet {
            fleet.leave().await;
        }
        // What was handed in is recorded before the log closes, as far as the store lets it.
        tokio::time::timeout(LAST_SYNC, self.ledger.settle()).await.ok();
        self.exchange.record_leaks();
        if tokio::time::timeout(LAST_SYNC, self.audit.close()).await.is_err() {
            tracing::error!(
                "the disk did not take the end of the audit log within {LAST_SYNC:?}; the next start will tell of it"
            );
            drained = Drained::BrokenOff;
        }
        if let Endpoint::Unix(path) = &self.address {
            listen::remove_socket(path);
        }
        if let Some(Endpoint::Unix(path)) = &self.admin {
            listen::remove_socket(path);
        }
        drained
    }
}
