//! Lines of a stream, a window at a time, each within a bound.

use std::io::{BufRead, Read as _};
use std::path::PathBuf;

use super::BatchError;
use crate::base::limits::MAX_ROW_BYTES;

/// A window is full with this many lines ...
const WINDOW_LINES: usize = 4096;
/// ... or with the line that brings it to this many bytes.
const WINDOW_BYTES: usize = 4 << 20;

/// One line.
#[derive(Debug)]
pub(super) struct RawLine {
    /// As it came, with its end; empty if it is too long to be held.
    pub(super) bytes: Vec<u8>,
    /// How long it was.
    pub(super) len: u64,
}

/// Reads lines.
#[derive(Debug)]
pub struct Lines<R> {
    source: R,
    /// For messages.
    name: PathBuf,
    at_once: usize,
}

impl<R: BufRead> Lines<R> {
    /// Lines of `source`; `name` is what messages call it.
    pub fn new(source: R, name: PathBuf) -> Self {
        Self { source, name, at_once: WINDOW_LINES }
    }

    /// With windows of at most `at_once`.
    #[cfg(test)]
    pub(super) fn in_windows_of(mut self, at_once: usize) -> Self {
        self.at_once = at_once;
        self
    }

    /// The next lines; none at the end.
    pub(super) fn window(&mut self) -> Result<Vec<RawLine>, BatchError> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < self.at_once && bytes < WINDOW_BYTES {
            let Some(line) = self.line().map_err(BatchError::io(&self.name, "read"))? else { break };
            bytes += line.bytes.len();
            lines.push(line);
        }
        Ok(lines)
    }

    fn line(&mut self) -> std::io::Result<Option<RawLine>> {
        let mut bytes = Vec::new();
        let most = u64::try_from(MAX_ROW_BYTES).unwrap_or(u64::MAX).saturating_add(2);
        let mut len = u64::try_from(self.source.by_ref().take(most).read_until(b'\n', &mut bytes)?).unwrap_or(u64::MAX);
        if len == 0 {
            return Ok(None);
        }
        if len == most && bytes.last() != Some(&b'\n') {
            // What cannot be a document is not held.
            bytes = Vec::new();
            len += self.skip_line()?;
        }
        Ok(Some(RawLine { bytes, len }))
    }

    fn skip_line(&mut self) -> std::io::Result<u64> {
        let mut skipped = 0;
        loop {
            let (used, ended) = {
                let held = self.source.fill_buf()?;
                match held.iter().position(|byte| *byte == b'\n') {
                    Some(at) => (at + 1, true),
                    None => (held.len(), held.is_empty()),
                }
            };
            self.source.consume(used);
            skipped += u64::try_from(used).unwrap_or(u64::MAX);
            if ended {
                return Ok(skipped);
            }
        }
    }
}
