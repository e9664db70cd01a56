//! Driving the walk: over a body that arrives in pieces ([`Walker`]), over a whole one ([`walk`]), over a single value ([`is_one_value`]).

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::map::Map;
use super::scan::{self, Resume};
use super::walk::{Machine, Stop};
use super::{Duplicates, Framing, Layout, Rules, WalkError, Window};

/// A piece is taken in parts of this many bytes, so that the bytes after a window, which are moved when it is cut, stay few.
const PART_BYTES: usize = 64 << 10;

/// Reads a body that arrives in pieces and gives it out again in windows.
///
/// The windows do not depend on how the body was cut into pieces, except that inside parts in which nothing is looked for a window may end
/// at any token. Holds one window and the row after it, not the body.
pub struct Walker {
    map: Arc<Map>,
    rules: Rules,
    machine: Machine,
    /// The bytes that are not in a window yet.
    buf: Vec<u8>,
    ready: VecDeque<Window>,
    failed: Option<WalkError>,
    finished: bool,
}

impl Walker {
    /// A walker at the start of a body.
    pub fn new(map: Arc<Map>, rules: Rules) -> Self {
        let (buf, ready) = (Vec::new(), VecDeque::new());
        Walker { map, rules, machine: Machine::new(rules), buf, ready, failed: None, finished: false }
    }

    /// Takes the next piece, of any size, also empty.
    ///
    /// # Errors
    ///
    /// What makes the body unacceptable. It stays: every further call gives the same error, and no further window is given out.
    pub fn feed(&mut self, piece: &[u8]) -> Result<(), WalkError> {
        for part in piece.chunks(PART_BYTES) {
            self.check()?;
            self.buf.extend_from_slice(part);
            self.run()?;
        }
        self.check()
    }

    /// Says that the body has ended.
    ///
    /// # Errors
    ///
    /// As [`Walker::feed`]; [`WalkError::Ended`] when the JSON text is not whole.
    pub fn finish(&mut self) -> Result<(), WalkError> {
        self.check()?;
        if !self.finished {
            self.finished = true;
            self.run()?;
            if !self.buf.is_empty() {
                self.cut(self.buf.len())?;
            }
        }
        Ok(())
    }

    /// The next window. None while there is no full one: `window_rows` whole rows, or `window_bytes` of whole rows and what is around them.
    /// After [`Walker::finish`] gives the rest, then None. The bytes of all windows joined are the body.
    pub fn window(&mut self) -> Option<Window> {
        self.ready.pop_front()
    }

    /// Was the last window given out after the end of the body?
    pub fn is_through(&self) -> bool {
        self.finished && self.ready.is_empty()
    }

    /// What is ready now even if it does not fill a window, for feeds; None if nothing is.
    pub fn flush(&mut self) -> Option<Window> {
        let whole = self.machine.anchor();
        if self.ready.is_empty() && self.failed.is_none() && whole > 0 {
            // An error is kept for the next call.
            self.cut(whole).ok()?;
        }
        self.ready.pop_front()
    }

    fn check(&self) -> Result<(), WalkError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn run(&mut self) -> Result<(), WalkError> {
        loop {
            let stop = self.machine.run(&self.map, &self.buf, self.finished).map_err(|error| self.fail(error))?;
            if stop == Stop::Full || self.machine.is_full() {
                self.cut(self.machine.anchor())?;
            }
            if stop == Stop::More {
                return Ok(());
            }
        }
    }

    fn cut(&mut self, count: usize) -> Result<(), WalkError> {
        let layout = self.machine.cut(&self.buf, count).map_err(|error| self.fail(error))?;
        let rest = self.buf.split_off(count.min(self.buf.len()));
        let bytes = std::mem::replace(&mut self.buf, rest);
        self.ready.push_back(Window { bytes, layout });
        Ok(())
    }

    fn fail(&mut self, error: WalkError) -> WalkError {
        self.ready.clear();
        self.buf = Vec::new();
        self.failed.insert(error).clone()
    }
}

/// Without the bytes, which may be anybody's data.
impl fmt::Debug for Walker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walker")
            .field("rules", &self.rules)
            .field("held_bytes", &self.buf.len())
            .field("ready", &self.ready)
            .field("failed", &self.failed)
            .field("finished", &self.finished)
            .finish_non_exhaustive()
    }
}

/// Walks a whole body at once: one layout for all of it. `window_rows` and `window_bytes` of the rules do not matter.
///
/// # Errors
///
/// What makes the body unacceptable; the same as a [`Walker`] gives for it.
pub fn walk(map: &Map, rules: Rules, body: &[u8]) -> Result<Layout, WalkError> {
    let mut machine = Machine::new(Rules { window_rows: usize::MAX, window_bytes: usize::MAX, ..rules });
    machine.run(map, body, true)?;
    machine.cut(body, body.len())
}

/// True if the bytes are exactly one JSON value (white space around it allowed) by the rules for requests, of any size.
pub fn is_one_value(text: &[u8]) -> bool {
    if text.first() == Some(&b'"') {
        // What most protected values are.
        let mut resume = Resume::default();
        return match scan::string(text, 0, &mut resume) {
            Ok(Some(end)) => text.iter().skip(end).all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')),
            Ok(None) | Err(_) => false,
        };
    }
    let rules = Rules {
        framing: Framing::Document,
        duplicates: Duplicates::RefuseEverywhere,
        max_row_bytes: usize::MAX,
        window_rows: usize::MAX,
        window_bytes: usize::MAX,
    };
    walk(&Map::empty(), rules, text).is_ok()
}
