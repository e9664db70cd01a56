//! What is done to one line, and to a window of them on several threads.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::BatchError;
use super::lines::RawLine;
use crate::base::{RecordId, enc};
use crate::crypto;
use crate::document::{self, Layout, RowSet, Rules, Selector, WalkError};
use crate::field::{self, Plan, RevealError, StandIns, Subject, Tally, Tokens, WriteError};
use crate::keys::Rings;
use crate::purpose::{Permit, Upkeep};
use crate::vault::Vault;

/// Lines that are worth a thread of their own.
const LINES_PER_THREAD: usize = 32;

/// Sealing or opening the lines of one collection.
#[derive(Debug)]
pub struct Work {
    collection: field::Collection,
    plan: Plan,
    keys: Arc<Rings>,
    direction: Direction,
    /// Where tokens are, and what waits for them.
    vault: Option<(Vault, Handle)>,
}

#[derive(Debug)]
enum Direction {
    Seal,
    Open(Upkeep),
}

/// Why a line is left out. `Display` names fields, selectors and offsets in the line, never a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// Not JSON by the strict rules.
    #[error(transparent)]
    Json(#[from] WalkError),
    /// The line is longer than a document may be.
    #[error("the line is longer than {} bytes, the most a document may have", crate::base::limits::MAX_ROW_BYTES)]
    TooLong,
    /// JSON, but no document.
    #[error("not a JSON object: every line is one document")]
    NotADocument,
    /// A value cannot be sealed.
    #[error(transparent)]
    Seal(#[from] WriteError),
    /// A value does not open.
    #[error("{0}: it was changed, moved from another document or sealed under another key ring or collection")]
    Open(#[from] RevealError),
}

impl LineError {
    /// The stable code, an anchor of `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json(WalkError::RowTooLarge { .. } | WalkError::TooMany) | Self::TooLong => "too-large",
            Self::Json(_) => "malformed-json",
            Self::NotADocument => "no-document",
            Self::Seal(error) => error.code(),
            Self::Open(error) => error.code(),
        }
    }
}

/// What became of a window of lines.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) lines: u64,
    pub(super) bytes_in: u64,
    pub(super) out: Vec<u8>,
    /// Which line of the window (from 1), and why.
    pub(super) bad: Vec<(u64, LineError)>,
    pub(super) values: u64,
    pub(super) kept: u64,
    pub(super) tally: Tally,
    pub(super) subjects: Vec<RecordId>,
}

impl Work {
    /// Sealing.
    ///
    /// # Errors
    ///
    /// What keeps single documents of this collection from being read, as [`Plan::compile`] says it.
    pub fn seal(collection: field::Collection, keys: impl Into<Arc<Rings>>) -> Result<Self, Vec<String>> {
        Self::new(collection, keys.into(), Direction::Seal)
    }

    /// Opening, by an operator who said why and is recorded.
    ///
    /// # Errors
    ///
    /// As [`Self::seal`].
    pub fn open(collection: field::Collection, keys: impl Into<Arc<Rings>>) -> Result<Self, Vec<String>> {
        let upkeep = Upkeep::dangerous_for("an operator opens a file, with a reason; each window is recorded before it leaves");
        Self::new(collection, keys.into(), Direction::Open(upkeep))
    }

    fn new(collection: field::Collection, keys: Arc<Rings>, direction: Direction) -> Result<Self, Vec<String>> {
        let root = Selector::parse("$").map_err(|error| vec![error.to_string()])?;
        let plan = Plan::compile(&collection, &RowSet { rows: vec![root], ..RowSet::default() })?;
        Ok(Self { collection, plan, keys, direction, vault: None })
    }

    /// The same with a vault for values that are stored as tokens. `runtime` waits for its store; it is not the one this is called on.
    #[must_use]
    pub fn with_vault(self, vault: Vault, runtime: Handle) -> Self {
        Self { vault: Some((vault, runtime)), ..self }
    }

    /// The configuration that decides what lines become, for a resumed run to compare: names and selectors, hashed.
    pub(super) fn fingerprint(&self) -> String {
        let Self { collection, direction, .. } = self;
        let subject = match &collection.subject {
            Subject::None => String::new(),
            Subject::DocumentId => "{id}".to_owned(),
            Subject::At(selector) => selector.to_string(),
        };
        let direction = match direction {
            Direction::Seal => "seal",
            Direction::Open(_) => "open",
        };
        let mut parts = vec![direction.to_owned(), collection.name.to_string(), collection.id.to_string(), subject];
        parts.push(collection.bind.byte().to_string());
        for field in &collection.fields {
            let own = field.subject.as_ref().map(ToString::to_string).unwrap_or_default();
            parts.extend([field.place.controller.to_string(), field.name.to_string(), field.at.to_string(), own]);
            parts.extend([field.seal_null.to_string(), format!("{:?}", field.protection)]);
            if !field.ring.is_main() {
                parts.push(format!("ring {}", field.ring));
            }
        }
        let parts: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        crypto::sha256(&enc(&parts)).iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
    }

    /// Does a window of lines, on up to `threads` threads, in their order.
    pub(super) fn window(&self, lines: &[RawLine], threads: usize) -> Result<Window, BatchError> {
        let tokens = self.tokens(lines)?;
        let threads = threads.min(lines.len() / LINES_PER_THREAD).max(1);
        let share = lines.len().div_ceil(threads).max(1);
        if threads == 1 {
            return self.share(lines, &tokens);
        }
        let done: Vec<Result<Window, BatchError>> = std::thread::scope(|scope| {
            let tokens = tokens.chunks(share).map(Some).chain(std::iter::repeat(None));
            let shares = lines.chunks(share).zip(tokens);
            let running: Vec<_> =
                shares.map(|(share, tokens)| scope.spawn(move || self.share(share, tokens.unwrap_or_default()))).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or(Err(BatchError::Panicked))).collect()
        });
        let mut whole = Window::default();
        for part in done {
            whole.append(part?);
        }
        Ok(whole)
    }

    /// The tokens of each line, all of a window asked for at once; empty for a collection without.
    fn tokens(&self, lines: &[RawLine]) -> Result<Vec<Tokens>, BatchError> {
        let Some((vault, runtime)) = &self.vault else { return Ok(Vec::new()) };
        let layouts: Vec<Option<Layout>> = lines.iter().map(|line| self.layout(line).ok()).collect();
        let mut tokens: Vec<Tokens> = lines.iter().map(|_| Tokens::default()).collect();
        let stored = |(line, layout): (&RawLine, &Option<Layout>)| match layout {
            Some(layout) => field::tokens_stored(&self.collection, &self.plan, &line.bytes, layout),
            None => Vec::new(),
        };
        let of_lines: Vec<_> = lines.iter().zip(&layouts).map(stored).collect();
        let all = of_lines.concat();
        let known = match &self.direction {
            Direction::Seal => runtime.block_on(vault.recognise(&all)),
            Direction::Open(upkeep) => runtime.block_on(vault.detokenise(&all, Permit::Upkeep(upkeep))),
        };
        let mut known = known?.into_iter();
        for (tokens, stored) in tokens.iter_mut().zip(of_lines) {
            let known = known.by_ref().take(stored.len()).collect();
            tokens.learn(stored, known);
        }
        if matches!(self.direction, Direction::Open(_)) {
            return Ok(tokens);
        }
        let mut wishes = Vec::with_capacity(lines.len());
        for ((line, layout), tokens) in lines.iter().zip(&layouts).zip(&mut tokens) {
            if let Some(layout) = layout {
                // What is wrong with the line is found again when it is its turn.
                drop(self.seal_line(line, layout, Some(tokens)));
            }
            wishes.push(tokens.wishes());
        }
        let mut made = runtime.block_on(vault.tokenise(&wishes.concat()))?.into_iter();
        for (tokens, wishes) in tokens.iter_mut().zip(wishes) {
            let made = made.by_ref().take(wishes.len()).collect();
            tokens.give(wishes, made);
        }
        Ok(tokens)
    }

    /// Where the values of a line stand.
    fn layout(&self, line: &RawLine) -> Result<Layout, LineError> {
        let layout = document::walk(&self.plan.map, Rules::request(), &line.bytes)?;
        if layout.rows.len() != 1 || layout.odd_rows > 0 {
            return Err(LineError::NotADocument);
        }
        Ok(layout)
    }

    fn seal_line(&self, line: &RawLine, layout: &Layout, tokens: Option<&Tokens>) -> Result<Vec<field::UpkeepRow>, WriteError> {
        field::seal_clear(&self.collection, &self.plan, &self.keys, &line.bytes, layout, StandIns::Refuse, tokens)
    }

    fn share(&self, lines: &[RawLine], tokens: &[Tokens]) -> Result<Window, BatchError> {
        let mut window = Window::default();
        let tokens = tokens.iter().map(Some).chain(std::iter::repeat(None));
        for (line, tokens) in lines.iter().zip(tokens) {
            window.lines += 1;
            window.bytes_in += line.len;
            let Err(error) = self.line(line, tokens, &mut window) else { continue };
            match error {
                LineError::Seal(
                    error @ (WriteError::Keys(_) | WriteError::Random(_) | WriteError::TokensWanted | WriteError::Layout),
                ) => {
                    return Err(error.into());
                }
                LineError::Open(error @ (RevealError::Keys(_) | RevealError::Layout)) => return Err(error.into()),
                LineError::Json(_) | LineError::TooLong | LineError::NotADocument | LineError::Seal(_) | LineError::Open(_) => {
                    window.bad.push((window.lines, error));
                }
            }
        }
        Ok(window)
    }

    /// Appends what becomes of a line to the window, all of it or nothing.
    fn line(&self, line: &RawLine, tokens: Option<&Tokens>, window: &mut Window) -> Result<(), LineError> {
        if line.bytes.is_empty() {
            return Err(LineError::TooLong);
        }
        if line.bytes.trim_ascii().is_empty() {
            window.out.extend_from_slice(&line.bytes);
            return Ok(());
        }
        let layout = self.layout(line)?;
        match &self.direction {
            Direction::Seal => {
                let rows = self.seal_line(line, &layout, tokens)?;
                let (Some(row), Some(at)) = (rows.into_iter().next(), layout.rows.first()) else {
                    return Err(LineError::NotADocument);
                };
                match row.sealed? {
                    None => window.out.extend_from_slice(&line.bytes),
                    // What stands around the document in its line (white space, the line's end) stays, too.
                    Some(sealed) => {
                        window.out.extend_from_slice(line.bytes.get(..at.range.start).unwrap_or_default());
                        window.out.extend_from_slice(sealed.as_bytes());
                        window.out.extend_from_slice(line.bytes.get(at.range.end..).unwrap_or_default());
                    }
                }
                window.values += u64::from(row.clear);
                window.kept += u64::from(row.kept);
            }
            Direction::Open(upkeep) => {
                let Self { collection, plan, keys, .. } = self;
                let opened = field::open_by_hand(collection, plan, keys, &line.bytes, &layout, upkeep, tokens)?;
                window.out.extend_from_slice(&opened.bytes);
                window.values += opened.tally.shown.iter().map(|(_, _, count)| u64::from(*count)).sum::<u64>();
                window.kept += u64::from(opened.tally.clear_found);
                window.tally.add(&opened.tally);
                window.subjects.extend(opened.subjects);
            }
        }
        Ok(())
    }
}

impl Window {
    fn append(&mut self, other: Self) {
        self.bad.extend(other.bad.into_iter().map(|(line, error)| (self.lines + line, error)));
        self.lines += other.lines;
        self.bytes_in += other.bytes_in;
        self.out.extend_from_slice(&other.out);
        self.values += other.values;
        self.kept += other.kept;
        self.tally.add(&other.tally);
        self.subjects.extend(other.subjects);
    }
}
