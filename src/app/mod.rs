//! Builds everything once, reloads it whole, shuts it down in order.
//!
//! Start: settings → keys → audit → upstream → exchange → listeners; a failure at any step ends with what is wrong and
//! what to do. Reload (SIGHUP): the new state is built and checked whole, then swapped once; on any error the old one
//! stays (T30). Shutdown (SIGTERM, SIGINT): stop accepting, finish the exchanges under way, close the audit log.

mod build;
mod jwks;
mod listen;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::audit::{self, AuditError};
use crate::base::{Clock, SystemClock};
use crate::config::{self, Endpoint, Findings, Settings};
use crate::exchange::Exchange;
use crate::front::http::accept;
use crate::keys::KeyError;
use crate::metrics::Metrics;
use crate::net::tls::server::Server;
use crate::store::StoreError;
use crate::upstream::UpstreamError;

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
    /// What new connections are accepted with.
    tls: Option<Arc<ArcSwap<Server>>>,
    fixed: Fixed,
    at_start: AtStart,
    address: Endpoint,
    admin: Option<Endpoint>,
    drain: CancellationToken,
    tasks: TaskTracker,
    drain_timeout: Duration,
    clock: Arc<dyn Clock>,
    fetching: Arc<ArcSwap<jwks::Fetching>>,
}

/// What a reload may not change: with a difference here nothing is reloaded.
#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    listen: Endpoint,
    admin: Option<Endpoint>,
    tls: bool,
    socket_mode: u32,
    audit_dir: PathBuf,
    store: PathBuf,
    controller: crate::base::Controller,
}

impl Fixed {
    fn of(settings: &Settings) -> Self {
        Self {
            listen: settings.listen.address.clone(),
            admin: settings.listen.admin.clone(),
            tls: settings.listen.tls.is_some(),
            socket_mode: settings.listen.socket_mode,
            audit_dir: settings.audit.dir.clone(),
            store: settings.store.clone(),
            controller: settings.controller.clone(),
        }
    }

    fn difference(&self, other: &Self) -> Option<&'static str> {
        [
            (self.listen != other.listen, "[listen] address"),
            (self.admin != other.admin, "[listen] admin"),
            (self.tls != other.tls, "[listen] tls, between with and without,"),
            (self.socket_mode != other.socket_mode, "[listen] socket_mode"),
            (self.audit_dir != other.audit_dir, "[audit] dir"),
            (self.store != other.store, "[store] url"),
            (self.controller != other.controller, "controller"),
        ]
        .into_iter()
        .find_map(|(differs, name)| differs.then_some(name))
    }
}

/// What is read at start only: with a difference here the rest is reloaded, and the operator is told.
#[derive(Debug)]
struct AtStart {
    limits: config::Limits,
    proxy_protocol: Vec<ipnet::IpNet>,
    durable_timeout: Duration,
    segment_bytes: u64,
    checkpoint_every: Duration,
}

impl AtStart {
    fn of(settings: &Settings) -> Self {
        Self {
            limits: settings.limits.clone(),
            proxy_protocol: settings.listen.proxy_protocol.clone(),
            durable_timeout: settings.audit.durable_timeout,
            segment_bytes: settings.audit.segment_bytes,
            checkpoint_every: settings.audit.checkpoint_every,
        }
    }

    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (ours, theirs) = (&self.limits, &other.limits);
        [
            (ours.connections != theirs.connections, "[limits] connections"),
            (ours.header_bytes != theirs.header_bytes, "[limits] header_bytes"),
            (ours.headers != theirs.headers, "[limits] headers"),
            (ours.header_timeout != theirs.header_timeout, "[limits] header_timeout_ms"),
            (ours.handshake_timeout != theirs.handshake_timeout, "[limits] handshake_timeout_ms"),
            (ours.idle_timeout != theirs.idle_timeout, "[limits] idle_timeout_ms (of idle connections)"),
            (ours.drain_timeout != theirs.drain_timeout, "[limits] drain_timeout_ms"),
            (self.proxy_protocol != other.proxy_protocol, "[listen] proxy_protocol"),
            (self.durable_timeout != other.durable_timeout, "[audit] durable_timeout_ms"),
            (self.segment_bytes != other.segment_bytes, "[audit] segment_bytes"),
            (self.checkpoint_every != other.checkpoint_every, "[audit] checkpoint_minutes"),
        ]
        .into_iter()
        .filter_map(|(differs, name)| differs.then_some(name))
        .collect()
    }
}

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
pub fn start_with(mut settings: Settings, clock: Arc<dyn Clock>) -> Result<Running, StartError> {
    let fixed = Fixed::of(&settings);
    let at_start = AtStart::of(&settings);
    let store = Arc::new(crate::store::Store::open(&settings.store)?);
    let keys = build::keys(&settings, &store)?;
    let audit = audit::Log::open(&settings.audit, keys.audit_keys()?, Arc::clone(&clock))?;
    let metrics = Arc::new(Metrics::new());
    let drain = CancellationToken::new();
    let tasks = TaskTracker::new();
    let tls = settings.listen.tls.as_ref().map(|tls| Arc::new(ArcSwap::from_pointee(tls.server.clone())));
    let front_config = accept::Config {
        tls: tls.clone(),
        handshake_timeout: settings.limits.handshake_timeout,
        connections: settings.limits.connections,
        header_bytes: settings.limits.header_bytes,
        headers: settings.limits.headers,
        header_timeout: settings.limits.header_timeout,
        idle_timeout: settings.limits.idle_timeout,
        proxy_from: settings.listen.proxy_protocol.as_slice().into(),
        metrics: Arc::clone(&metrics),
    };
    metrics.key_versions(build::key_versions(&keys));
    let drain_timeout = settings.limits.drain_timeout;
    let listen = settings.listen.clone();
    let fetching =
        jwks::Fetching::prepare(std::mem::take(&mut settings.fetched_keys), &jwks::Fetching::default(), &metrics, &clock);
    let state = build::state(settings, keys, None)?;
    let exchange = Arc::new(Exchange::new(state, audit.clone(), Arc::clone(&metrics), Arc::clone(&clock), tasks.clone()));

    let (listener, address) = listen::front(&listen.address, listen.socket_mode)?;
    let serving = accept::serve(listener, Arc::clone(&exchange), front_config, drain.clone(), tasks.clone());
    tasks.spawn(serving);
    fetching.begin(&tasks);
    let fetching = Arc::new(ArcSwap::from_pointee(fetching));
    let mut admin_address = None;
    if let Some(endpoint) = &listen.admin {
        let (listener, address) = listen::admin(endpoint, listen.socket_mode)?;
        let pages = admin::Pages {
            metrics: Arc::clone(&metrics),
            readiness: readiness(audit.clone(), Arc::clone(&exchange), Arc::clone(&fetching), drain.clone()),
        };
        let serving = admin::serve(listener, pages, drain.clone(), tasks.clone());
        tasks.spawn(serving);
        admin_address = Some(address);
    }
    Ok(Running {
        exchange,
        audit,
        metrics,
        store,
        tls,
        fixed,
        at_start,
        address,
        admin: admin_address,
        drain,
        tasks,
        drain_timeout,
        clock,
        fetching,
    })
}

/// Ready means: events can be made durable, the database accepts connections, there have been keys of every issuer of tokens,
/// and we are not draining.
fn readiness(
    audit: audit::Log,
    exchange: Arc<Exchange>,
    fetching: Arc<ArcSwap<jwks::Fetching>>,
    drain: CancellationToken,
) -> admin::Readiness {
    Arc::new(move || {
        let (audit, exchange, drain) = (audit.clone(), Arc::clone(&exchange), drain.clone());
        let never_fetched = fetching.load().never_fetched();
        Box::pin(async move {
            let mut missing = Vec::new();
            if drain.is_cancelled() {
                missing.push("draining".to_owned());
            }
            if !audit.healthy() {
                missing.push("audit: events cannot be made durable".to_owned());
            }
            missing.extend(never_fetched.iter().map(|issuer| format!("issuer {issuer}: its keys could not be fetched")));
            if let Err(why) = exchange.state().upstream.reachable().await {
                missing.push(format!("database: {why}"));
            }
            missing
        })
    })
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

    /// The counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Puts the files' present content in force, all of it or nothing. What comes back changed too, but is read at start only
    /// (`docs/configuration.md`, "restart"): it waits for the next one.
    pub fn reload(&self, path: &Path) -> Result<Vec<&'static str>, StartError> {
        let mut settings = config::load(path).map_err(StartError::Config)?;
        if let Some(name) = self.fixed.difference(&Fixed::of(&settings)) {
            return Err(StartError::NeedsRestart(name));
        }
        let waiting = self.at_start.differences(&AtStart::of(&settings));
        let keys = build::keys(&settings, &self.store)?;
        let versions: Vec<_> = build::key_versions(&keys).collect();
        let sources = std::mem::take(&mut settings.fetched_keys);
        let tls = settings.listen.tls.clone();
        let state = build::state(settings, keys, Some(&self.exchange.state().upstream))?;
        let fetching = jwks::Fetching::prepare(sources, &self.fetching.load(), &self.metrics, &self.clock);
        // Nothing fails from here on. The callers come first: a connection that is accepted anew is judged by them.
        self.exchange.replace_state(state);
        fetching.begin(&self.tasks);
        self.fetching.store(Arc::new(fetching));
        if let (Some(current), Some(tls)) = (&self.tls, tls) {
            let server = Arc::new(tls.server.following(&current.load()));
            current.swap(Arc::clone(&server)).retire_for(&server);
        }
        self.metrics.key_versions(versions);
        Ok(waiting)
    }

    /// Serves until SIGTERM or SIGINT, reloading `path` on SIGHUP; then drains.
    pub async fn until_signalled(self, path: &Path, signals: Signals) {
        let Signals { mut hangup, mut terminate, mut interrupt } = signals;
        loop {
            tokio::select! {
                _ = hangup.recv() => match self.reload(path) {
                    Ok(waiting) if waiting.is_empty() => tracing::info!("reloaded"),
                    Ok(waiting) => tracing::warn!("reloaded, but for what takes a restart: {}", waiting.join(", ")),
                    Err(error) => tracing::error!("not reloaded, the old configuration stays in force:\n{error}"),
                },
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        self.stop().await;
    }

    /// Stops accepting, ends feeds, waits for the other exchanges under way (at most `drain_timeout`), closes the audit log.
    pub async fn stop(self) {
        self.drain.cancel();
        self.exchange.end_feeds();
        self.fetching.store(Arc::default());
        self.tasks.close();
        if tokio::time::timeout(self.drain_timeout, self.tasks.wait()).await.is_err() {
            tracing::warn!("exchanges were still under way after {:?} and are broken off", self.drain_timeout);
        }
        self.audit.close().await;
        if let Endpoint::Unix(path) = &self.address {
            listen::remove_socket(path);
        }
        if let Some(Endpoint::Unix(path)) = &self.admin {
            listen::remove_socket(path);
        }
    }
}
