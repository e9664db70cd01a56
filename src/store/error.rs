//! Why the store cannot serve.
//!
//! Always holds: an error names the file or the server, what happened and what to do, never a byte of what is stored; what a
//! server says of a statement is told by its code only, for its sentences may quote values (T13).

use std::path::PathBuf;
use std::time::Duration;

/// Why the store cannot serve.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has it open.
    #[error("{path}: held by another process: stop it, or give this one a store of its own", path = .0.display())]
    InUse(PathBuf),
    /// Others than its owner may read or write it.
    #[error("{path}: open to others (mode {mode:04o}): chmod 600 {path}", path = .0.display(), mode = .1)]
    Exposed(PathBuf, u32),
    /// The file, or its folder, cannot be made or opened.
    #[error("{path}: cannot be opened: {why}: [store] url must name a place where the account that runs Sudare may write", path = .0.display(), why = .1)]
    Open(PathBuf, String),
    /// The server does not answer, or the way to it broke.
    #[error("{0}: cannot be reached: {1}: see that it runs, and that [store] url is right")]
    Unreachable(String, String),
    /// The server does not talk to us, or we not to it: login, rights, certificate.
    #[error("{0}: {1}")]
    Refused(String, String),
    /// No answer in time.
    #[error(
        "{0}: no answer within {1:?}: look at its load and its locks; [store] statement_timeout_ms and connect_timeout_ms are the bounds"
    )]
    Slow(String, Duration),
    /// Every connection was in use for too long.
    #[error("{0}: every connection was in use for {1:?}: raise [store] pool, or look why the store is slow")]
    Busy(String, Duration),
    /// No room.
    #[error("{0}: its disk is full: make room; nothing of the call was stored")]
    Full(String),
    /// Others changed the same rows each time it was tried.
    #[error("{0}: others changed the same rows in each of {1} attempts; nothing was stored")]
    Contended(String, u32),
    /// A transaction did not take place.
    #[error("{0}: the store failed: {1}")]
    Failed(String, String),
    /// There is none.
    #[error("{0}: there is no store: see that this is where it is; `sudare serve` makes one at its first start")]
    Absent(String),
    /// The file is something else.
    #[error("{path}: is not a store of Sudare but something else: name another file", path = .0.display())]
    Foreign(PathBuf),
    /// It was made by a later release.
    #[error("{at}: its schema is version {found}, and this program knows {known}: upgrade Sudare")]
    Newer {
        /// The file or the server.
        at: String,
        /// Its version.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// It was made by an earlier release.
    #[error("{at}: its schema is version {found}, and this program needs {known}: run `sudare store migrate`")]
    Older {
        /// The file or the server.
        at: String,
        /// Its version.
        found: u64,
        /// Ours.
        known: u64,
    },
    /// A mark of a row that was to be put names another row. Nothing was stored.
    #[error("a mark names another row already; nothing was stored")]
    MarkTaken,
    /// A mistake of the caller. Nothing was stored.
    #[error("the store was asked wrongly: {0}")]
    Misuse(&'static str),
}

impl StoreError {
    /// In one word, for metrics and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InUse(_) => "in-use",
            Self::Exposed(..) => "exposed",
            Self::Open(..) | Self::Failed(..) => "failed",
            Self::Unreachable(..) => "unreachable",
            Self::Refused(..) => "refused",
            Self::Slow(..) => "slow",
            Self::Busy(..) => "busy",
            Self::Full(_) => "full",
            Self::Contended(..) => "contended",
            Self::Newer { .. } | Self::Older { .. } | Self::Absent(_) | Self::Foreign(_) => "schema",
            Self::MarkTaken => "mark-taken",
            Self::Misuse(_) => "misuse",
        }
    }
}
