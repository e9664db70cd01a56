//! Reading a log back with every check: each line's MAC, its place in the chain, its number, the segments, the head.
//!
//! [`verify`] walks all of it; `report` does too, and looks at each event on the way; `recover` walks what lies after the head.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::AuditError;
use super::chain::{self, Head, HeadError, Header, Key, Link};
use super::checkpoint::{Anchors, CheckpointFinding, Checkpoints, Given};
use super::disk::{self, segment_name, segment_path};
use super::event::Entry;
use super::note;
use super::tree::Tree;
use crate::base::{Controller, Kid};

/// Longest line that is read. The longest written has [`MAX_SUBJECTS`](super::event::MAX_SUBJECTS) pseudonyms of 34 bytes.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// A log found sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Events in it.
    pub events: u64,
    /// Segments in it.
    pub segments: u64,
    /// Events after those the head vouches for: written since it was read, or just before a power failure. Each is authentic
    /// by its own MAC.
    pub after_head: u64,
    /// Bytes of an unfinished line at the end, after the head: being written now, or left by a crash. The next start cuts
    /// them off and says so in the log.
    pub torn_bytes: u64,
    /// Segments whose audit key is no longer there: their lines are held by the chain and a later MAC, not by their own.
    pub by_chain_only: Vec<u64>,
    /// The checkpoints it was held against; it agrees with all of them.
    pub checkpoints: Checkpoints,
    /// To somebody without the ring: events after the newest checkpoint, of which nothing can be said.
    pub unproved: u64,
}

/// Why a log is not sound, or could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// It was tampered with, and this is the first place that shows it.
    #[error("{0}")]
    Found(Finding),
    /// In itself it is sound, but it is not, or not any more, the log these checkpoints were made of.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Checkpoints(Vec<CheckpointFinding>),
    /// Without the ring, checkpoints are all there is to hold a log against, and there is none.
    #[error("no checkpoint that is signed under a known key vouches for any of it")]
    NoCheckpoint,
    /// It could not be read.
    #[error(transparent)]
    Unreadable(#[from] AuditError),
}

/// The first place where a log is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The segment; `None` for the head.
    pub segment: Option<u64>,
    /// Line of the segment, from 1, the header being line 1; `None` if it is about a whole segment.
    pub line: Option<u64>,
    /// The event expected or found there.
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A segment is not there.
    SegmentMissing,
    /// The line is not one this log could have written.
    NotALine,
    /// The line's own MAC does not fit: it was edited, or written by somebody without the key.
    Changed,
    /// The line is authentic, but another event belongs here: lines were removed, repeated or moved.
    Misplaced {
        /// The event that stands there.
        found: u64,
        /// The event that belongs there.
        expected: u64,
    },
    /// The line does not carry the hash of the line before it.
    ChainBroken,
    /// The header is not the one of this segment.
    HeaderMisplaced,
    /// The log ends before the event its head vouches for.
    CutOff {
        /// The last event that is there.
        last: u64,
        /// The event the head vouches for.
        vouched: u64,
    },
    /// The line is not the one the head vouches for.
    NotAsVouched,
    /// There is no head.
    HeadMissing,
    /// The head is not one this log's keys have written.
    HeadForged,
    /// The head was written under a key that is not there.
    HeadKeyMissing(Kid),
    /// The end of the log is vouched for by nothing: no key for it, and the head does not reach it.
    Unvouched,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.segment, self.line) {
            (Some(segment), Some(line)) => write!(f, "{}:{line}", segment_name(segment))?,
            (Some(segment), None) => f.write_str(&segment_name(segment))?,
            (None, _) => f.write_str("head.json")?,
        }
        if let Some(seq) = self.seq {
            write!(f, " (event {seq})")?;
        }
        f.write_str(": ")?;
        match &self.what {
            What::SegmentMissing => f.write_str("the segment was removed"),
            What::NotALine => f.write_str("not a line this log wrote"),
            What::Changed => f.write_str("changed, or inserted by somebody without the audit key: its MAC does not fit"),
            What::Misplaced { found, expected } => {
                write!(f, "event {found} stands where event {expected} belongs: lines were removed, repeated or moved")
            }
            What::ChainBroken => f.write_str("does not follow from the line before it, which was changed or replaced"),
            What::HeaderMisplaced => f.write_str("the header of another segment"),
            What::CutOff { last, vouched } => {
                write!(f, "the log ends after event {last}, but its head vouches for event {vouched}: the end was cut off")
            }
            What::NotAsVouched => f.write_str("not the line that head.json vouches for"),
            What::HeadMissing => f.write_str("removed: without it nobody can tell whether the end of the log was cut off"),
            What::HeadForged => f.write_str("not written under the audit key, or changed"),
            What::HeadKeyMissing(kid) => write!(f, "written under audit key {kid}, which the key ring does not have"),
            What::Unvouched => f.write_str("the log ends here, but neither a key nor head.json vouches for the line"),
        }
    }
}

/// Checks a whole log: every line, every segment, the head, and that it still contains what its checkpoints say, the stored
/// ones and those given. Safe while it is being written.
///
/// `keys` are the ring's audit keys. It takes memory for one line and all checkpoints, and about a second for a million events.
///
/// # Errors
///
/// [`VerifyError::Found`] with the first place that is not as it was written; [`VerifyError::Checkpoints`] with every checkpoint
/// that speaks against it; [`AuditError::NoLog`] where there is none.
pub fn verify(dir: &Path, keys: &[Key], given: &Given) -> Result<VerifyReport, VerifyError> {
    walk(dir, keys, given, &mut |_entry| {}).map(|(report, _)| report)
}

/// The end of a log as its head vouches for it: what a checkpoint can be made of, for these lines will never be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Vouched {
    pub(super) origin: String,
    pub(super) tree: Tree,
}

/// As [`verify`], showing each event once its line is checked. An event shown is authentic, or held by the chain alone if its
/// key is gone; whether the log is whole is known at the end only.
pub(super) fn walk(
    dir: &Path,
    keys: &[Key],
    given: &Given,
    visit: &mut dyn FnMut(&Entry),
) -> Result<(VerifyReport, Vouched), VerifyError> {
    // Checkpoints and head first: a log that grows meanwhile is then longer than they say, never shorter.
    let stored = disk::read_checkpoints(dir)?;
    let mut anchors = Anchors::new(&stored, given);
    let head = disk::read_head(dir)?;
    let segments = disk::segments(dir)?;
    let about = |segment, what| VerifyError::Found(Finding { segment, line: None, seq: None, what });
    let head = match head {
        None if segments.is_empty() => return Err(AuditError::NoLog(dir.to_path_buf()).into()),
        None => return Err(about(None, What::HeadMissing)),
        Some(bytes) => Head::read(&bytes, keys).map_err(|error| about(None, error.what()))?,
    };
    let mut walker = Walker::start(keys);
    let mut report = VerifyReport::default();
    let (mut at_head, mut vouched) = (None, false);
    for (expected, segment) in (1..).zip(&segments) {
        if expected != *segment {
            return Err(about(Some(expected), What::SegmentMissing));
        }
        let mut lines = Lines::open(dir, *segment, 0)?;
        walker.enter(*segment);
        report.segments += 1;
        loop {
            let line = lines.next()?;
            let text = match line {
                Line::End => break,
                Line::Whole(text) => text,
                Line::Torn(bytes) if at_head.is_some() && segments.last() == Some(segment) => {
                    report.torn_bytes = bytes;
                    break;
                }
                Line::Torn(_) => return Err(walker.found(What::CutOff { last: walker.link.seq, vouched: head.link.seq }).into()),
                Line::TooLong => return Err(walker.found(What::NotALine).into()),
            };
            let entry = walker.accept(text)?;
            vouched = walker.keyed();
            if at_head.is_none() && *segment == head.segment && lines.offset >= head.bytes {
                if (lines.offset, walker.line, walker.link) != (head.bytes, head.line, head.link) {
                    return Err(walker.found_here(What::NotAsVouched).into());
                }
                (at_head, vouched) = (Some(walker.tree.clone()), true);
            } else if at_head.is_some() && entry.is_some() {
                report.after_head += 1;
            }
            if let Some(entry) = entry {
                report.events += 1;
                anchors.hold_against(&walker.tree, &entry);
                visit(&entry);
            }
        }
        if walker.line > 0 && !walker.keyed() {
            report.by_chain_only.push(*segment);
        }
    }
    let last = segments.last().copied().unwrap_or(0);
    if last < head.segment {
        return Err(about(Some(last + 1), What::SegmentMissing));
    }
    let Some(tree) = at_head else {
        let (last, vouched) = (walker.link.seq, head.link.seq);
        let end =
            if last < vouched { walker.found(What::CutOff { last, vouched }) } else { walker.found_here(What::NotAsVouched) };
        return Err(end.into());
    };
    if !vouched {
        return Err(walker.found_here(What::Unvouched).into());
    }
    report.checkpoints = anchors.outcome(&walker.origin, keys, walker.tree.size()).map_err(VerifyError::Checkpoints)?;
    Ok((report, Vouched { origin: walker.origin, tree }))
}

impl From<Finding> for VerifyError {
    fn from(found: Finding) -> Self {
        Self::Found(found)
    }
}

impl HeadError {
    pub(super) fn what(self) -> What {
        match self {
            Self::Forged => What::HeadForged,
            Self::UnknownKey(kid) => What::HeadKeyMissing(kid),
        }
    }
}

/// Takes a log's lines in order and checks each against the one before it.
pub(super) struct Walker<'k> {
    keys: &'k [Key],
    pub(super) segment: u64,
    /// Lines of the segment taken so far.
    pub(super) line: u64,
    pub(super) link: Link,
    /// Of the events taken so far.
    pub(super) tree: Tree,
    /// The log's name, once its first line is taken.
    pub(super) origin: String,
    key: Option<&'k Key>,
}

impl<'k> Walker<'k> {
    /// Before the first segment.
    pub(super) fn start(keys: &'k [Key]) -> Self {
        Self { keys, segment: 0, line: 0, link: Link::default(), tree: Tree::default(), origin: String::new(), key: None }
    }

    /// After the line a believed head vouches for, in a segment written under `kid`.
    pub(super) fn resume(keys: &'k [Key], head: &Head, kid: Kid, tree: Tree) -> Self {
        let key = keys.iter().find(|(id, ..)| *id == kid);
        Self { keys, segment: head.segment, line: head.line, link: head.link, tree, origin: String::new(), key }
    }

    /// Goes on with the first line of `segment`.
    pub(super) fn enter(&mut self, segment: u64) {
        (self.segment, self.line, self.key) = (segment, 0, None);
    }

    /// Is the segment's key there, so that its lines are held by MACs of their own?
    pub(super) fn keyed(&self) -> bool {
        self.key.is_some()
    }

    /// The id of the segment's key, if it is there.
    pub(super) fn kid(&self) -> Option<Kid> {
        self.key.map(|(kid, ..)| *kid)
    }

    /// Takes the next line, without its line end. `None` for a header.
    pub(super) fn accept(&mut self, text: &[u8]) -> Result<Option<Entry>, Finding> {
        let entry = if self.line == 0 {
            let (header, kid) = Header::read(text).ok_or_else(|| self.found(What::NotALine))?;
            self.key = self.keys.iter().find(|(id, ..)| *id == kid);
            self.check_mac(text)?;
            if header.segment != self.segment || header.after != self.link.seq {
                return Err(self.found(What::HeaderMisplaced));
            }
            if !header.follows(&self.link) || header.tree().is_some_and(|tree| tree != self.tree) {
                return Err(self.found(What::ChainBroken));
            }
            if self.segment == 1 {
                self.origin = note::origin(&Controller::new(&header.controller), &chain::hash(text));
            }
            None
        } else {
            let entry = Entry::read(text).ok_or_else(|| self.found(What::NotALine))?;
            self.check_mac(text)?;
            let expected = self.link.seq.saturating_add(1);
            if entry.seq != expected {
                return Err(self.found(What::Misplaced { found: entry.seq, expected }));
            }
            if !entry.follows(&self.link) {
                return Err(self.found(What::ChainBroken));
            }
            self.link.seq = expected;
            self.tree.push(text);
            Some(entry)
        };
        self.link.hash = chain::hash(text);
        self.line += 1;
        Ok(entry)
    }

    fn check_mac(&self, text: &[u8]) -> Result<(), Finding> {
        match self.key {
            None => Ok(()),
            Some((_, key, _)) => match chain::mac_fits(text, key) {
                Some(true) => Ok(()),
                Some(false) => Err(self.found(What::Changed)),
                None => Err(self.found(What::NotALine)),
            },
        }
    }

    /// A finding at the line that comes next.
    pub(super) fn found(&self, what: What) -> Finding {
        let seq = (self.line > 0).then(|| self.link.seq.saturating_add(1));
        Finding { segment: Some(self.segment), line: Some(self.line + 1), seq, what }
    }

    /// A finding at the line taken last.
    fn found_here(&self, what: What) -> Finding {
        let seq = (self.line > 1).then_some(self.link.seq);
        Finding { segment: Some(self.segment), line: Some(self.line), seq, what }
    }
}

/// The lines of one segment file.
pub(super) struct Lines<'d> {
    dir: &'d Path,
    segment: u64,
    file: BufReader<File>,
    buffer: Vec<u8>,
    /// Where the next line begins.
    pub(super) offset: u64,
}

/// What stands next in a segment.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// A line, without its end.
    Whole(&'a [u8]),
    /// The file ends within a line; this many bytes of it are there.
    Torn(u64),
    /// No line end for over [`MAX_LINE_BYTES`].
    TooLong,
    /// The file ends.
    End,
}

impl<'d> Lines<'d> {
    /// From byte `offset` on.
    pub(super) fn open(dir: &'d Path, segment: u64, offset: u64) -> Result<Self, AuditError> {
        let open = || {
            let mut file = File::open(segment_path(dir, segment))?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(BufReader::with_capacity(1 << 16, file))
        };
        let file = open().map_err(|error: io::Error| AuditError::io(&segment_path(dir, segment), "read", &error))?;
        Ok(Self { dir, segment, file, buffer: Vec::new(), offset })
    }

    pub(super) fn next(&mut self) -> Result<Line<'_>, AuditError> {
        self.buffer.clear();
        let read = (&mut self.file).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|error| AuditError::io(&segment_path(self.dir, self.segment), "read", &error))?;
        let bytes = u64::try_from(read).unwrap_or(u64::MAX);
        Ok(match self.buffer.strip_suffix(b"\n") {
            Some(text) => {
                self.offset += bytes;
                Line::Whole(text)
            }
            None if bytes == 0 => Line::End,
            None if bytes >= MAX_LINE_BYTES => Line::TooLong,
            None => Line::Torn(bytes),
        })
    }
}
