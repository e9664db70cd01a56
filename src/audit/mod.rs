//! Tamper-evident record of every write, reveal and refusal; durable before the revealed bytes leave (T25).
//!
//! INTERFACE SKETCH. To come: event.rs, chain.rs, writer.rs (own thread, group commit), verify.rs, report.rs

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::{CallerName, CategoryName, Clock, CollectionName, Controller, Kid, PurposeName, RecordId};
use crate::crypto::MacKey;
use crate::purpose::Level;

/// `[audit]` as run.
#[derive(Debug, Clone)]
pub struct Config { pub dir: PathBuf, pub controller: Controller, pub durable_timeout: Duration, pub segment_bytes: u64 }

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind { Start, Write, Reveal, Refused, Alarm, Close, Stop }
/// What happened. Subjects are given in clear and written as pseudonyms (`psn1_…` under the audit line).
#[derive(Debug, Clone)]
pub struct Event {
    pub kind: Kind,
    /// Joins the events of one request.
    pub exchange: u64,
    pub caller: Option<CallerName>, pub purpose: Option<PurposeName>, pub collection: Option<CollectionName>,
    /// Method and route pattern, never a raw target.
    pub route: Option<String>,
    pub subjects: Vec<RecordId>,
    pub shown: Vec<(CategoryName, Level, u32)>,
    pub protected: Vec<(CategoryName, u32)>,
    pub status: Option<u16>, pub code: Option<String>,
}
/// Given once an event is durable; a window of revealed rows leaves only with it.
#[derive(Debug)]
pub struct Recorded(());

/// The log: a handle on its writer thread.
#[derive(Debug, Clone)]
pub struct Log { /* … */ }
impl Log {
    /// Opens (mode 0700), verifies the tail, continues the chain; takes an advisory lock so that two processes never write one log.
    pub fn open(_config: &Config, _keys: Vec<(Kid, Arc<MacKey>)>, _clock: Arc<dyn Clock>) -> Result<Self, AuditError> { todo!() }
    /// Waits until the event is on disk (one fdatasync serves all waiting), at most `durable_timeout`.
    pub async fn record(&self, _event: Event) -> Result<Recorded, AuditError> { todo!() }
    /// Queues without waiting (closing events); bounded, dropping is counted and the count is itself recorded.
    pub fn note(&self, _event: Event) { todo!() }
    /// True while events can be made durable, for /readyz.
    pub fn healthy(&self) -> bool { todo!() }
    /// Writes what is queued and a Stop event, ends the thread.
    pub async fn close(&self) { todo!() }
}
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError { #[error("placeholder")] Placeholder }
// pub fn verify(dir, keys) -> Result<VerifyReport{events, segments, head checked}, VerifyError{segment, line, seq, what}>
// pub fn tail(dir, n) -> …; pub fn report(dir, keys, &Filter{subject: Option<RecordId>, caller, purpose, since, until}) -> …
