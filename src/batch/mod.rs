//! JSON Lines in, JSON Lines out: seals or opens a file of documents, one a line, of any size.
//!
//! Always holds: a line that cannot be sealed or opened is reported and left out, never passed on as it is; every byte outside protected
//! members leaves as it came; memory is bounded by a window of lines; opened lines leave only with [`Recorded`]. Where the result is a
//! file, it appears under its name only when it is whole (`files.rs`).
//!
//! `cli/seal.rs` calls [`run`].

mod files;
mod line;
mod lines;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::audit::{AuditError, Recorded};
use crate::base::RecordId;
use crate::field::{RevealError, Tally, WriteError};
use crate::vault::VaultError;

pub use files::{Begun, Files, new_report};
pub use line::{LineError, Work};
pub use lines::Lines;

/// How far a run has come. What a resumed run continues with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Lines read, blank and bad ones among them.
    pub lines: u64,
    /// Bytes of them.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Bytes written to the report of bad lines, where that is a file.
    pub bytes_reported: u64,
    /// Lines left out.
    pub bad: u64,
    /// Values sealed, or opened.
    pub values: u64,
    /// Values left as they were: sealed already, or (when opening) clear already.
    pub kept: u64,
}

/// Why a run ends before its input does. Names files and places, never a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The system refuses.
    #[error("{path}: cannot be {doing}: {why}", path = .path.display())]
    Io {
        /// Which file; `-` for a standard stream.
        path: PathBuf,
        /// `read`, `written`, …
        doing: &'static str,
        /// What the system says.
        why: io::Error,
    },
    /// Nothing is ever overwritten.
    #[error("{path}: is there already, and nothing is overwritten: name another file, or remove it", path = .0.display())]
    Exists(PathBuf),
    /// A run that did not end.
    #[error(
        "{part}: a run that did not come to its end left this: continue it with --resume, or remove it and {progress}",
        part = .part.display(), progress = .progress.display()
    )]
    Unfinished {
        /// What it wrote so far.
        part: PathBuf,
        /// How far that is.
        progress: PathBuf,
    },
    /// Nothing to continue.
    #[error("{path}: --resume finds no run to continue: leave it out to begin one", path = .0.display())]
    NothingToResume(PathBuf),
    /// Resuming takes files.
    #[error("--resume takes files for input and output: a stream cannot be read from its middle")]
    Stream,
    /// Somebody works on it.
    #[error("{path}: another run writes this", path = .0.display())]
    Busy(PathBuf),
    /// Another input or another configuration than the run began with.
    #[error("{progress}: the {what} is not the one this run began with: remove {part} and this file to begin again", progress = .progress.display(), part = .part.display())]
    Changed {
        /// What differs.
        what: &'static str,
        /// The note of how far the run came.
        progress: PathBuf,
        /// What it wrote so far.
        part: PathBuf,
    },
    /// Nothing can be sealed at all.
    #[error(transparent)]
    Seal(#[from] WriteError),
    /// Nothing can be opened at all.
    #[error(transparent)]
    Open(#[from] RevealError),
    /// The store of the token vault does not serve.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Nothing leaves unrecorded.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A mistake of ours.
    #[error("a thread of this run ended in a panic; please report it")]
    Panicked,
}

impl BatchError {
    fn io(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |why| Self::Io { path, doing, why }
    }
}

/// What a run tells the world while it goes.
pub trait Watch {
    /// A line is left out. The answer is how many bytes were written about it.
    ///
    /// # Errors
    ///
    /// Where the report cannot be written, the run ends.
    fn bad(&mut self, line: u64, error: &LineError) -> Result<u64, BatchError>;

    /// Clear values are about to leave. Called before they do.
    ///
    /// # Errors
    ///
    /// [`BatchError::Audit`]; then they do not.
    fn record(&mut self, tally: &Tally, subjects: Vec<RecordId>) -> Result<Recorded, BatchError>;

    /// A window is done.
    fn moved(&mut self, done: &Done);
}

/// Where lines go.
pub trait Sink {
    /// Takes whole lines.
    ///
    /// # Errors
    ///
    /// What the system refuses.
    fn write(&mut self, lines: &[u8]) -> Result<(), BatchError>;

    /// Told after each window; may make durable what was written so far.
    ///
    /// # Errors
    ///
    /// What the system refuses.
    fn reached(&mut self, done: &Done) -> Result<(), BatchError>;
}

/// A stream, of which nothing is remembered.
#[derive(Debug)]
pub struct Stream<W>(pub W);

impl<W: Write> Sink for Stream<W> {
    fn write(&mut self, lines: &[u8]) -> Result<(), BatchError> {
        let written = self.0.write_all(lines).and_then(|()| self.0.flush());
        written.map_err(BatchError::io(Path::new("standard output"), "written"))
    }

    fn reached(&mut self, _done: &Done) -> Result<(), BatchError> {
        Ok(())
    }
}

/// Reads `lines` to their end. `done` is where they start: all zeros, or what [`Files`] remembers.
///
/// # Errors
///
/// What ends the run; lines that are bad do not.
pub fn run<R: io::BufRead>(
    work: &Work,
    lines: &mut Lines<R>,
    sink: &mut dyn Sink,
    watch: &mut dyn Watch,
    mut done: Done,
) -> Result<Done, BatchError> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    loop {
        let window = lines.window()?;
        if window.is_empty() {
            return Ok(done);
        }
        let window = work.window(&window, threads)?;
        for (offset, error) in &window.bad {
            done.bytes_reported += watch.bad(done.lines + offset, error)?;
        }
        let recorded = if window.tally.shown.is_empty() { None } else { Some(watch.record(&window.tally, window.subjects)?) };
        done.lines += window.lines;
        done.bytes_in += window.bytes_in;
        done.bytes_out += u64::try_from(window.out.len()).unwrap_or(u64::MAX);
        done.bad += u64::try_from(window.bad.len()).unwrap_or(u64::MAX);
        done.values += window.values;
        done.kept += window.kept;
        leave(sink, &window.out, recorded)?;
        sink.reached(&done)?;
        watch.moved(&done);
    }
}

/// The one door through which lines leave: opened ones bring the proof that they are recorded (T25).
fn leave(sink: &mut dyn Sink, lines: &[u8], _recorded: Option<Recorded>) -> Result<(), BatchError> {
    sink.write(lines)
}
