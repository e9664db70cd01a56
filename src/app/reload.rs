//! Another configuration while requests are served: all of it or nothing (T30).
//!
//! Asked for by SIGHUP, or noticed: the contents of all files are compared every `[reload] poll_ms`, and what has changed is
//! taken once it has stayed the same for [`SETTLED`], so that a file is not read half-written. What was refused is not tried
//! again until it changes. A ring in the store is taken as soon as it is announced (`fleet`). Called by [`super::Running`].

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::jwks::Fetching;
use super::{Running, StartError, build};
use crate::admin::Access;
use crate::audit::{Event, Kind};
use crate::config::{self, Endpoint, Fingerprint, Settings};
use crate::keys::{KeyError, Rings};
use crate::metrics::Loaded;

/// How long a change must have stood still, unless the files are looked at more often than that.
const SETTLED: Duration = Duration::from_secs(1);

/// What a reload may not change: with a difference here nothing is reloaded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    listen: Endpoint,
    admin: Option<Endpoint>,
    http2: bool,
    tls: bool,
    socket_mode: u32,
    audit_dir: PathBuf,
    /// Where it is, not how it is reached.
    store: String,
    controller: crate::base::Controller,
}

impl Fixed {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            listen: settings.listen.address.clone(),
            admin: settings.listen.admin.clone(),
            http2: settings.listen.http2,
            tls: settings.listen.tls.is_some(),
            socket_mode: settings.listen.socket_mode,
            audit_dir: settings.audit.dir.clone(),
            store: settings.store.place(),
            controller: settings.controller.clone(),
        }
    }

    fn difference(&self, other: &Self) -> Option<&'static str> {
        [
            (self.listen != other.listen, "[listen] address"),
            (self.admin != other.admin, "[listen] admin"),
            (self.http2 != other.http2, "[listen] http2"),
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
pub(super) struct AtStart {
    limits: config::Limits,
    proxy_protocol: Vec<ipnet::IpNet>,
    store: crate::store::Config,
    durable_timeout: Duration,
    segment_bytes: u64,
    checkpoint_every: Duration,
    drain_delay: Duration,
    log: config::Log,
    otlp: Option<config::Otlp>,
}

impl AtStart {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            limits: settings.limits.clone(),
            proxy_protocol: settings.listen.proxy_protocol.clone(),
            store: settings.store.clone(),
            durable_timeout: settings.audit.durable_timeout,
            segment_bytes: settings.audit.segment_bytes,
            checkpoint_every: settings.audit.checkpoint_every,
            drain_delay: settings.listen.drain_delay,
            log: settings.log,
            otlp: settings.otlp.clone(),
        }
    }

    fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (ours, theirs) = (&self.limits, &other.limits);
        [
            (ours.connections != theirs.connections, "[limits] connections"),
            (ours.connections_per_address != theirs.connections_per_address, "[limits] connections_per_address"),
            (ours.memory_bytes != theirs.memory_bytes, "[limits] memory_bytes"),
            (ours.header_bytes != theirs.header_bytes, "[limits] header_bytes"),
            (ours.headers != theirs.headers, "[limits] headers"),
            (ours.header_timeout != theirs.header_timeout, "[limits] header_timeout_ms"),
            (ours.handshake_timeout != theirs.handshake_timeout, "[limits] handshake_timeout_ms"),
            (ours.idle_timeout != theirs.idle_timeout, "[limits] idle_timeout_ms"),
            (ours.write_timeout != theirs.write_timeout, "[limits] write_timeout_ms (of connections)"),
            (ours.drain_timeout != theirs.drain_timeout, "[limits] drain_timeout_ms"),
            (ours.http2 != theirs.http2, "[limits.http2]"),
            (self.proxy_protocol != other.proxy_protocol, "[listen] proxy_protocol"),
            (self.store != other.store, "[store] (how it is reached)"),
            (self.durable_timeout != other.durable_timeout, "[audit] durable_timeout_ms"),
            (self.segment_bytes != other.segment_bytes, "[audit] segment_bytes"),
            (self.checkpoint_every != other.checkpoint_every, "[audit] checkpoint_minutes"),
            (self.drain_delay != other.drain_delay, "[listen] drain_delay_ms"),
            (self.log.level != other.log.level, "[log] level"),
            (self.log.format != other.log.format, "[log] format"),
            (self.otlp != other.otlp, "[otlp]"),
        ]
        .into_iter()
        .filter_map(|(differs, name)| differs.then_some(name))
        .collect()
    }
}

/// So long after a reload that failed because the provider of the KEK was away the same is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// The files as they were last looked at.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// What is in force, or was refused: nothing to do until it differs.
    done: Fingerprint,
    /// ... or until then, where what refused it may pass by itself.
    again: Option<Instant>,
    poll: Duration,
}

impl Watch {
    pub(super) fn of(settings: &Settings) -> Self {
        Self { files: settings.files(), done: settings.fingerprint, again: None, poll: settings.poll }
    }
}

impl Running {
    /// Puts the files' present content in force, all of it or nothing. What comes back changed too, but is read at start only
    /// (`docs/configuration.md`, "restart"): it waits for the next one. Two at the same time come one after the other.
    ///
    /// # Errors
    ///
    /// Why nothing was changed.
    pub fn reload(&self, path: &Path) -> Result<Vec<&'static str>, StartError> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = Fingerprint::of(&watch.files);
        let outcome = self.take(path, &mut watch);
        match &outcome {
            Ok(_) => self.metrics.reloaded(),
            Err(error) => {
                if let Some(fleet) = &self.fleet {
                    fleet.refused(&error.to_string());
                }
                watch.done = seen;
                let away = matches!(error, StartError::Keys(KeyError::Provider { .. }));
                watch.again = away.then(|| Instant::now() + AGAIN);
                // Files that the refused configuration named count too: one of them is what will be repaired.
                if let StartError::Config(findings) = error {
                    let named = findings.iter().map(|finding| PathBuf::from(&finding.file));
                    for file in named {
                        if !watch.files.contains(&file) {
                            watch.files.push(file);
                            watch.done = Fingerprint::of(&watch.files);
                        }
                    }
                }
                self.metrics.reload_refused();
            }
        }
        outcome
    }

    fn take(&self, path: &Path, watch: &mut Watch) -> Result<Vec<&'static str>, StartError> {
        let mut settings = config::load(path).map_err(StartError::Config)?;
        if let Some(name) = self.fixed.difference(&Fixed::of(&settings)) {
            return Err(StartError::NeedsRestart(name));
        }
        let waiting = self.at_start.differences(&AtStart::of(&settings));
        let (in_force, ring) = (self.exchange.state(), settings.keys.clone());
        let keys = build::keys(&settings, &self.store, Some(&in_force.keys))?;
        let versions: Vec<_> = build::key_versions(&keys).collect();
        let (next, loaded) = (Watch::of(&settings), loaded(&settings, &keys, self.clock.now_ms()));
        let access = access(&settings);
        let records = settings.records.clone();
        let tls = settings.listen.tls.clone();
        let fetched_keys = std::mem::take(&mut settings.fetched_keys);
        let opened = Arc::clone(&keys);
        let ledger_keys = keys.main().ledger_keys();
        let state = build::state(settings, keys, Arc::clone(&self.rows), &self.ledger, self.fleet.as_deref(), Some(&in_force))?;
        let fetching = Fetching::prepare(fetched_keys, &self.fetching.load(), &self.metrics, &self.clock);
        // Nothing fails from here on. The callers come first: a connection that is accepted anew is judged by them.
        self.exchange.replace_state(state);
        self.ledger.take_keys(ledger_keys);
        if let Some(fleet) = &self.fleet {
            fleet.taken(&ring);
        }
        self.fetching.store(fetching.begin(&self.tasks));
        self.keepers.follow(&opened, &self.tasks);
        if let (Some(current), Some(tls)) = (&self.tls, tls) {
            self.certificate_until.store(tls.until, Ordering::Relaxed);
            let server = Arc::new(tls.server.following(&current.load()));
            current.swap(Arc::clone(&server)).retire_for(&server);
        }
        self.access.store(access.into());
        self.records.store(Arc::new(records));
        self.metrics.key_versions(versions);
        let event = Event { configuration: Some(loaded.to_string()), ..Event::new(Kind::Configuration, 0) };
        self.audit.note(event);
        self.metrics.loaded(loaded);
        *watch = next;
        Ok(waiting)
    }

    /// Reloads, and tells the operator how it went.
    pub(super) fn reload_and_tell(&self, path: &Path) {
        match self.reload(path) {
            Ok(waiting) if waiting.is_empty() => tracing::info!("reloaded"),
            Ok(waiting) => tracing::warn!("reloaded, but for what takes a restart: {}", waiting.join(", ")),
            Err(error) => tracing::error!("not reloaded, the old configuration stays in force:\n{error}"),
        }
    }

    /// Waits until the files differ from what is in force, and have come to rest, or the ring in the store does.
    pub(super) async fn changed(&self) {
        let ring_changed = async {
            match &self.fleet {
                Some(fleet) => fleet.news().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.files_changed() => {}
            () = ring_changed => {}
        }
    }

    /// For ever if they are not to be looked at.
    async fn files_changed(&self) {
        loop {
            let (poll, done, again, files) = {
                let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
                (watch.poll, watch.done, watch.again, watch.files.clone())
            };
            if poll.is_zero() {
                return std::future::pending().await;
            }
            tokio::time::sleep(poll).await;
            if again.is_some_and(|again| Instant::now() >= again) {
                return;
            }
            let mut seen = look(files.clone()).await;
            if seen.is_none_or(|seen| seen == done) {
                continue;
            }
            loop {
                tokio::time::sleep(poll.min(SETTLED)).await;
                let again = look(files.clone()).await;
                if again == seen {
                    break;
                }
                seen = again;
            }
            if seen.is_some_and(|seen| seen != done) {
                return;
            }
        }
    }
}

/// Reads files where that may take its time.
async fn look(files: Vec<PathBuf>) -> Option<Fingerprint> {
    tokio::task::spawn_blocking(move || Fingerprint::of(&files)).await.ok()
}

/// By what the operator tells this configuration from others.
pub(super) fn loaded(settings: &Settings, keys: &Rings, now_ms: u64) -> Loaded {
    Loaded {
        policy: settings.policy.id().to_owned(),
        version: settings.policy.version(),
        sha256: settings.short_hash.clone(),
        key_revisions: keys.held().map(|ring| (ring.name().clone(), ring.revision())).collect(),
        at: Duration::from_millis(now_ms),
    }
}

/// Who may see the metrics.
pub(super) fn access(settings: &Settings) -> Access {
    Access { secrets: settings.admin.secrets.clone(), uids: settings.admin.uids.clone() }
}
