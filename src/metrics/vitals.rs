//! What is looked up when somebody asks: the process, the audit log's lag, the caches, the configuration in force.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;

use crate::base::RingName;

/// What `app` finds at the moment.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    /// Events that are not durable yet.
    pub audit_waiting: usize,
    /// How long the oldest of them has been with the disk.
    pub audit_oldest: Duration,
    /// When events last became durable, since 1970.
    pub audit_durable: Duration,
    /// Events that became durable since the start.
    pub audit_events: u64,
    /// Commits that made them durable.
    pub audit_commits: u64,
    /// Room on the disk of the audit log.
    pub audit_free_bytes: Option<u64>,
    /// Keys of fields that are kept.
    pub field_keys: usize,
    /// Times that one was found.
    pub field_key_hits: u64,
    /// Times that one had to be derived.
    pub field_key_misses: u64,
    /// Log lines that nobody read in time.
    pub log_dropped: u64,
    /// Until when the listener's certificate holds, in seconds since 1970.
    pub certificate_until: Option<u64>,
    /// The nodes that share the store; none where it is a file.
    pub fleet: Option<Fleet>,
    /// What is known of data subjects.
    pub facts: Option<Facts>,
}

/// The ledger of facts as this node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Entries that were read.
    pub entries: u64,
    /// Data subjects of whom something is known.
    pub subjects: usize,
    /// How long ago this node knew that it had everything; none if it never did.
    pub lag: Option<Duration>,
    /// Requests that turn on facts are refused.
    pub stale: bool,
}

/// What a node knows of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// Nodes that are there, this one too.
    pub nodes: usize,
    /// Those that hold an older revision of the ring than the newest.
    pub behind: usize,
    /// That.
    pub newest_revision: u64,
    /// This node writes nothing, for it lacks what others protect under.
    pub outdated: bool,
}

/// By what operators tell configurations apart.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The policy's id,
    pub policy: String,
    /// and its version.
    pub version: u64,
    /// First 12 hexadecimal characters of the SHA-256 over `sudare.toml` and the policy.
    pub sha256: String,
    /// Revisions of the key rings that are held, the main one first.
    pub key_revisions: Vec<(RingName, u64)>,
    /// When it was put in force, since 1970.
    pub at: Duration,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy {} version {}, files {}", self.policy, self.version, self.sha256)?;
        self.key_revisions.iter().try_for_each(|(ring, revision)| {
            if ring.is_main() { write!(f, ", ring revision {revision}") } else { write!(f, ", ring {ring} revision {revision}") }
        })
    }
}

/// Prints [`Vitals`] and [`Loaded`].
#[derive(Debug, Default)]
pub(super) struct Board {
    vitals: Mutex<Vitals>,
    loaded: Mutex<Option<Loaded>>,
}

impl Board {
    pub(super) fn look(&self, vitals: Vitals) {
        *self.vitals.lock().unwrap_or_else(PoisonError::into_inner) = vitals;
    }

    pub(super) fn load(&self, loaded: Loaded) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
    }
}

impl Collector for Board {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let vitals = self.vitals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        gauge(&mut out, "audit_waiting", "Events that are not durable yet", None, count(vitals.audit_waiting))?;
        let help = "How long the oldest events that are not durable yet have been with the disk";
        gauge(&mut out, "audit_oldest", help, Some(&Unit::Seconds), vitals.audit_oldest.as_secs_f64())?;
        let help = "When events last became durable, since 1970";
        gauge(&mut out, "audit_durable_timestamp", help, Some(&Unit::Seconds), vitals.audit_durable.as_secs_f64())?;
        counter(&mut out, "audit_events", "Events that became durable", None, vitals.audit_events)?;
        counter(&mut out, "audit_commits", "Commits that made them durable, each with one sync", None, vitals.audit_commits)?;
        if let Some(free) = vitals.audit_free_bytes {
            gauge(&mut out, "audit_free", "Room on the disk of the audit log", Some(&Unit::Bytes), whole(free))?;
        }
        gauge(&mut out, "field_keys", "Derived keys of fields that are kept", None, count(vitals.field_keys))?;
        counter(&mut out, "field_key_hits", "Times that the key of a field was found", None, vitals.field_key_hits)?;
        let help = "Times that the key of a field had to be derived";
        counter(&mut out, "field_key_misses", help, None, vitals.field_key_misses)?;
        let help = "Log lines that nobody read in time";
        counter(&mut out, "log_lines_dropped", help, None, vitals.log_dropped)?;
        if let Some(until) = vitals.certificate_until {
            let help = "Until when the listener's certificate holds, since 1970";
            gauge(&mut out, "tls_certificate_expiry_timestamp", help, Some(&Unit::Seconds), whole(until))?;
        }
        if let Some(fleet) = vitals.fleet {
            let help = "Nodes that share the store and are there, as this one last saw";
            gauge(&mut out, "nodes", help, None, count(fleet.nodes))?;
            let help = "Those of them that hold an older revision of the key ring than the newest";
            gauge(&mut out, "nodes_behind", help, None, count(fleet.behind))?;
            let help = "Newest revision of the key ring that this node knows of";
            gauge(&mut out, "key_ring_newest_revision", help, None, whole(fleet.newest_revision))?;
            let help = "1 while this node writes nothing because its key ring lacks what others protect under";
            gauge(&mut out, "key_ring_outdated", help, None, if fleet.outdated { 1.0 } else { 0.0 })?;
        }
        if let Some(facts) = vitals.facts {
            counter(&mut out, "facts", "Entries of the ledger of facts that this node has read", None, facts.entries)?;
            gauge(&mut out, "fact_subjects", "Data subjects of whom something is known", None, count(facts.subjects))?;
            if let Some(lag) = facts.lag {
                let help = "How long ago this node knew that it had every entry of the ledger of facts";
                gauge(&mut out, "facts_lag", help, Some(&Unit::Seconds), lag.as_secs_f64())?;
            }
            let help = "1 while requests that turn on facts of data subjects are refused, because those may be out of date";
            gauge(&mut out, "facts_stale", help, None, if facts.stale { 1.0 } else { 0.0 })?;
        }
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(loaded) = loaded else { return Ok(()) };
        let info = Info::new(vec![("policy", loaded.policy), ("version", loaded.version.to_string()), ("sha256", loaded.sha256)]);
        info.encode(out.encode_descriptor("config", "The configuration in force", None, info.metric_type())?)?;
        let help = "When the configuration was put in force, since 1970";
        gauge(&mut out, "config_loaded_timestamp", help, Some(&Unit::Seconds), loaded.at.as_secs_f64())
    }
}

/// Prints what the system knows of this process, under the names that every exporter uses.
#[derive(Debug)]
pub(super) struct Process {
    /// Since 1970.
    started: Duration,
}

impl Process {
    pub(super) fn started(started: Duration) -> Self {
        Self { started }
    }
}

impl Collector for Process {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        if let Ok(spent) = Duration::try_from(spent) {
            counter(&mut out, "process_cpu", "Processor time spent", Some(&Unit::Seconds), spent.as_secs_f64())?;
        }
        if let Some(bytes) = resident_bytes() {
            gauge(&mut out, "process_resident_memory", "Memory in use", Some(&Unit::Bytes), whole(bytes))?;
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the folder itself.
            gauge(&mut out, "process_open_fds", "Open file descriptors", None, count(open.count().saturating_sub(1)))?;
        }
        if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            gauge(&mut out, "process_max_fds", "Most file descriptors that may be open", None, whole(most))?;
        }
        let help = "When the process began, since 1970";
        gauge(&mut out, "process_start_time", help, Some(&Unit::Seconds), self.started.as_secs_f64())
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn gauge(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> Result<(), fmt::Error> {
    let metric = ConstGauge::new(value);
    metric.encode(out.encode_descriptor(name, help, unit, metric.metric_type())?)
}

fn counter<N>(out: &mut DescriptorEncoder<'_>, name: &str, help: &str, unit: Option<&Unit>, value: N) -> Result<(), fmt::Error>
where
    N: Copy + prometheus_client::encoding::EncodeCounterValue,
    ConstCounter<N>: EncodeMetric,
{
    let metric = ConstCounter::new(value);
    metric.encode(out.encode_descriptor(name, help, unit, metric.metric_type())?)
}

fn count(number: usize) -> f64 {
    whole(u64::try_from(number).unwrap_or(u64::MAX))
}

/// A whole number as the type of a gauge; exact up to 2^53.
#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "there is no other way to a float")]
fn whole(number: u64) -> f64 {
    number as f64
}
