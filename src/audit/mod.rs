//! Tamper-evident record of every write, reveal and refusal; durable before the revealed bytes leave (T25).
//!
//! The log is a folder of segments, one event a line, each line carrying the hash of the line before it and a MAC under the
//! ring's audit key; `head.json` vouches for how far the log goes (`docs/format.md`, "Audit log"). Edits, insertions, moves,
//! removals and a cut end are found by [`verify`]; so is a log put back or rewritten as a whole, by checkpoints kept elsewhere.
//!
//! Always holds: a [`Recorded`] exists only after the event's line was synced to disk; an event never holds a value, and data
//! subjects only as pseudonyms; one process writes one log; a line that failed half way is taken back before the next one.
//!
//! `exchange` records through [`Log`], `app` opens and closes it, `cli/audit` reads with [`verify`], [`tail`] and [`report`].
//!
//! Where to look: `event` what a line says · `chain` how lines, headers and the head are spelled and linked · `writer` the
//! thread that makes them durable · `queue` what waits for it · `disk` files · `walk` reading back with every check · `report` questions to the log · `combined` what callers may have put together · `tree`,
//! `note`, `checkpoint` the log's Merkle tree, how its root is signed, and the log held against what was signed.

mod chain;
mod checkpoint;
mod combined;
mod disk;
mod event;
mod note;
mod queue;
mod recover;
mod report;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

use crate::base::{CallerName, CategoryName, CollectionName, Controller, ExceptionId, Kid, PurposeName, RecordId, ShownPath};
use crate::purpose::Level;

pub use chain::Key;
pub use checkpoint::{CheckpointFinding, Checkpoints, Disagreement, Given, checkpoint, verifier_keys, verify_as_outsider};
pub use combined::{Combinations, Combined, Source};
pub use event::{Counts, Destruction, Entry, Shown};
pub use note::{VerifierKey, VerifierKeyError};
pub use report::{Filter, report, tail};
pub use walk::{Finding, VerifyError, VerifyReport, What, verify};
pub use writer::{Lag, Log};

/// `[audit]` as run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the log, made with mode 0700.
    pub dir: PathBuf,
    /// Whose data the log is about; written into every segment.
    pub controller: Controller,
    /// Longest wait for an event to be durable.
    pub durable_timeout: Duration,
    /// A segment that has reached this size, in bytes, is followed by a new one.
    pub segment_bytes: u64,
    /// How often a checkpoint is stored, while events come in.
    pub checkpoint_every: Duration,
}

/// Where what operators do to the key ring is recorded: a log of its own, below that of the proxy in `dir`, for each log has one writer, and
/// `sudare serve` is that of its own as long as it runs.
pub fn operators_dir(dir: &std::path::Path) -> PathBuf {
    dir.join("operators")
}

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The log was opened. [`Log::open`] writes it.
    Start,
    /// Values were protected and sent to the database.
    Write,
    /// Values are about to leave.
    Reveal,
    /// A request was refused.
    Refused,
    /// Something that must be looked at: a value that does not authenticate, a gap in the log.
    Alarm,
    /// How an exchange ended.
    Close,
    /// Another configuration was put in force.
    Configuration,
    /// What the leak guard found since it last said so: once a day at most, one event a collection.
    LeakGuard,
    /// Versions of the key ring are destroyed: what is about to happen, then what has.
    Destruction,
    /// Something was recorded of data subjects in the ledger of facts.
    Fact,
    /// A step of an exception was recorded: it was asked for, agreed to, revoked, told of or reviewed.
    Exception,
    /// The log was closed. [`Log::close`] writes it; a start without a stop before it tells of a crash.
    Stop,
}

impl Kind {
    /// The word in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Write => "write",
            Self::Reveal => "reveal",
            Self::Refused => "refused",
            Self::Alarm => "alarm",
            Self::Close => "close",
            Self::Configuration => "configuration",
            Self::LeakGuard => "leak-guard",
            Self::Destruction => "destruction",
            Self::Fact => "fact",
            Self::Exception => "exception",
            Self::Stop => "stop",
        }
    }
}

/// What happened. Subjects are given in clear and written as pseudonyms (`psn1_…` under the audit line).
#[derive(Debug, Clone)]
pub struct Event {
    /// What kind of thing.
    pub kind: Kind,
    /// Joins the events of one request.
    pub exchange: u64,
    /// Who asked.
    pub caller: Option<CallerName>,
    /// Who did it by hand, where no caller did: the operator's account.
    pub operator: Option<String>,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// For what; under an exception, its name in the policy.
    pub purpose: Option<PurposeName>,
    /// The version of the policy that allowed it.
    pub policy: Option<u64>,
    /// Under which exception.
    pub exception: Option<ExceptionId>,
    /// Of which collection.
    pub collection: Option<CollectionName>,
    /// Method and route pattern, never a raw target (T14).
    pub route: Option<String>,
    /// Whom the documents are about.
    pub subjects: Vec<RecordId>,
    /// How many values of a category leave at which level.
    pub shown: Vec<(CategoryName, Level, u32)>,
    /// How many values of a category were protected.
    pub protected: Vec<(CategoryName, u32)>,
    /// How many stored values a write leaves as they are.
    pub kept: u32,
    /// How many values that look personal were written at a path that is no field, in the sample that was looked at: path, category, count.
    pub unmapped: Vec<(ShownPath, &'static str, u32)>,
    /// What was recorded of data subjects, in a few words without whom it is about, and how often.
    pub recorded: Vec<(String, u32)>,
    /// The status sent.
    pub status: Option<u16>,
    /// The error code sent, as in `docs/errors.md`.
    pub code: Option<String>,
    /// Which configuration: policy and version, hash of the files, revision of the ring.
    pub configuration: Option<String>,
    /// Which key versions are destroyed, and on whose word.
    pub destruction: Option<Destruction>,
}

impl Event {
    /// An event of which nothing more is known yet; fill in what is.
    pub fn new(kind: Kind, exchange: u64) -> Self {
        Self {
            kind,
            exchange,
            caller: None,
            operator: None,
            reason: None,
            purpose: None,
            policy: None,
            exception: None,
            collection: None,
            route: None,
            subjects: Vec::new(),
            shown: Vec::new(),
            protected: Vec::new(),
            kept: 0,
            unmapped: Vec::new(),
            recorded: Vec::new(),
            status: None,
            code: None,
            configuration: None,
            destruction: None,
        }
    }
}

/// Given once an event is durable; a window of revealed rows leaves only with it.
#[derive(Debug)]
pub struct Recorded(());

/// Why an event is not durable, or the log cannot be opened or read. Names files and lines, never a value.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Another process writes this log.
    #[error("{path}: written by another process: give each its own [audit] dir", path = .0.display())]
    InUse(PathBuf),
    /// The system refused.
    #[error("{path}: cannot be {doing}: {why}: [audit] dir must belong to the account that runs Sudare, on a disk with room", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// `read`, `opened`, …
        doing: &'static str,
        /// What the system says.
        why: String,
    },
    /// Nothing was ever recorded here, or all of it is gone.
    #[error("{dir}: no audit log here: `sudare serve` makes it when it first starts. If it has run before, the log was moved or removed: put it back, or correct [audit] dir", dir = .0.display())]
    NoLog(PathBuf),
    /// An event could not be written or synced. The log is as it was before.
    #[error("the audit log cannot be written: {0}: nothing is revealed until it can")]
    Write(String),
    /// No answer from the disk in time.
    #[error("the audit log was not durable within {0:?}: nothing is revealed without it")]
    Timeout(Duration),
    /// Too many events wait already.
    #[error("the audit log has too many events waiting: the disk is too slow")]
    Overloaded,
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
    /// No key to write under.
    #[error("the key ring has no active audit key: see `sudare keys list`")]
    NoKey,
    /// The log was written under a key that was not given.
    #[error("{path}: written under audit key {kid}, which the key ring does not have: put the newest ring.json back from your backup", path = .path.display())]
    KeyMissing {
        /// The file.
        path: PathBuf,
        /// The key.
        kid: Kid,
    },
    /// The end of the log is not as it was left. It is not continued, so that the evidence stays.
    #[error("{dir}: the audit log was tampered with: {found}: keep the folder as evidence, see `sudare audit verify`, and name a new [audit] dir", dir = .dir.display())]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// What was found.
        found: Finding,
    },
}

impl AuditError {
    fn io(path: &std::path::Path, doing: &'static str, error: &std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), doing, why: error.to_string() }
    }
}
