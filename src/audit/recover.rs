//! Where to go on writing: reads the end of a log at start, and cuts off what a crash left unfinished.
//!
//! Always holds: what the head vouches for must be there, byte for byte at its last line, or the log is not continued; lines
//! after the head are believed by their own MACs and chain; only an unfinished last line after the head is ever cut off, and
//! nobody was told that it was durable.

use std::path::Path;

use super::chain::{self, Head, Header, Key, Link};
use super::disk::{self, Disk, Folder};
use super::tree::Tree;
use super::walk::{Finding, Line, Lines, Walker, What};
use super::{AuditError, chain::HeadError, note};
use crate::base::{Controller, Kid};

/// The end of a log, ready to be continued.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) segment: u64,
    /// Lines in it.
    pub(super) line: u64,
    /// Bytes in it.
    pub(super) len: u64,
    pub(super) link: Link,
    /// Of all events.
    pub(super) tree: Tree,
    /// The log's name.
    pub(super) origin: String,
    /// The key it is written under; `None` if that key is gone.
    pub(super) kid: Option<Kid>,
    /// Bytes of an unfinished line that were cut off.
    pub(super) torn: Option<u64>,
}

/// Finds the end of the log in `dir` and leaves `folder` appending there. `None`: there is no log yet.
///
/// Takes as long as reading the last segment, not the log (the first start with a log that an earlier release wrote reads it
/// all). Before the head it is read for the tree's sake only: [`super::verify`] is what checks it.
pub(super) fn recover(dir: &Path, folder: &mut Folder, keys: &[Key]) -> Result<Option<End>, AuditError> {
    let segments = disk::segments(dir)?;
    let damaged =
        |segment, what| AuditError::Damaged { dir: dir.to_path_buf(), found: Finding { segment, line: None, seq: None, what } };
    let failed = |error: std::io::Error| AuditError::io(dir, "continued", &error);
    let Some(head) = disk::read_head(dir)? else {
        // Without a head there may be the first segment, if the very first start died before it wrote one. It has no event:
        // the head is durable before the first event is written.
        return match segments.as_slice() {
            [] => Ok(None),
            [1] if !has_event(dir)? => folder.remove(1).map(|()| None).map_err(failed),
            _ => Err(damaged(None, What::HeadMissing)),
        };
    };
    let head = match Head::read(&head, keys) {
        Ok(head) => head,
        Err(HeadError::UnknownKey(kid)) => return Err(AuditError::KeyMissing { path: disk::head_path(dir), kid }),
        Err(HeadError::Forged) => return Err(damaged(None, What::HeadForged)),
    };
    if let Some((missing, _)) = (1..).zip(&segments).find(|(expected, there)| expected != *there) {
        return Err(damaged(Some(missing), What::SegmentMissing));
    }
    let last = segments.last().copied().unwrap_or(0);
    if last < head.segment {
        return Err(damaged(Some(last + 1), What::SegmentMissing));
    }
    let kid = vouched_line(dir, &head, &damaged)?;
    let origin = origin(dir, &damaged)?;
    let mut walker = Walker::resume(keys, &head, kid, tree_at(dir, &head, &damaged)?);
    let mut end = End { segment: head.segment, line: head.line, len: head.bytes, torn: None, ..End::of(&walker, &origin) };
    for segment in head.segment..=last {
        let offset = if segment == head.segment { head.bytes } else { 0 };
        if segment != head.segment {
            walker.enter(segment);
        }
        let mut lines = Lines::open(dir, segment, offset)?;
        loop {
            match lines.next()? {
                Line::Whole(text) => {
                    // Past the head a line's own MAC is all there is, so a segment without a key cannot be continued there.
                    let taken = walker
                        .accept(text)
                        .and_then(|_| if walker.keyed() { Ok(()) } else { Err(walker.found(What::Unvouched)) });
                    taken.map_err(|found| AuditError::Damaged { dir: dir.to_path_buf(), found })?;
                    end = End { segment, line: walker.line, len: lines.offset, torn: None, ..End::of(&walker, &origin) };
                }
                Line::Torn(bytes) if segment == last => {
                    end.torn = Some(bytes);
                    break;
                }
                Line::End => break,
                Line::Torn(_) | Line::TooLong => {
                    return Err(AuditError::Damaged { dir: dir.to_path_buf(), found: walker.found(What::NotALine) });
                }
            }
        }
    }
    if end.segment < last {
        folder.remove(last).map_err(failed)?; // not even its header was finished
    }
    folder.resume(end.segment).map_err(failed)?;
    if end.torn.is_some() && end.segment == last {
        folder.cut(end.len).and_then(|()| folder.sync()).map_err(failed)?;
    }
    Ok(Some(end))
}

impl End {
    /// What a walker knows of where it stands.
    fn of(walker: &Walker<'_>, origin: &str) -> Self {
        let (link, tree, kid) = (walker.link, walker.tree.clone(), walker.kid());
        Self { segment: walker.segment, line: walker.line, len: 0, link, tree, origin: origin.to_owned(), kid, torn: None }
    }
}

type Damaged<'d> = &'d dyn Fn(Option<u64>, What) -> AuditError;

/// The log's name, by its first line.
fn origin(dir: &Path, damaged: Damaged<'_>) -> Result<String, AuditError> {
    let mut lines = Lines::open(dir, 1, 0)?;
    let Line::Whole(text) = lines.next()? else { return Err(damaged(Some(1), What::NotALine)) };
    let (header, _) = Header::read(text).ok_or_else(|| damaged(Some(1), What::NotALine))?;
    Ok(note::origin(&Controller::new(&header.controller), &chain::hash(text)))
}

/// The tree of all events up to the one the head vouches for: from the last header that says what was before it, and the lines
/// since.
fn tree_at(dir: &Path, head: &Head, damaged: Damaged<'_>) -> Result<Tree, AuditError> {
    let not_a_line = |segment| damaged(Some(segment), What::NotALine);
    let mut first = head.segment;
    let mut tree = loop {
        let mut lines = Lines::open(dir, first, 0)?;
        let Line::Whole(text) = lines.next()? else { return Err(not_a_line(first)) };
        match Header::read(text).ok_or_else(|| not_a_line(first))?.0.tree() {
            Some(tree) => break tree,
            None if first > 1 => first -= 1,
            None => return Err(not_a_line(first)),
        }
    };
    for segment in first..=head.segment {
        let mut lines = Lines::open(dir, segment, 0)?;
        let mut line = 0;
        while segment < head.segment || line < head.line {
            match lines.next()? {
                Line::Whole(_) if line == 0 => {}
                Line::Whole(text) => tree.push(text),
                Line::End if segment < head.segment => break,
                Line::Torn(_) | Line::TooLong | Line::End => return Err(not_a_line(segment)),
            }
            line += 1;
        }
    }
    // As many lines as there are events, or one was added or removed.
    if tree.size() == head.link.seq { Ok(tree) } else { Err(damaged(Some(head.segment), What::NotAsVouched)) }
}

/// Checks that the line the head vouches for is there, and returns the key id of its segment.
fn vouched_line(dir: &Path, head: &Head, damaged: Damaged<'_>) -> Result<Kid, AuditError> {
    let mut lines = Lines::open(dir, head.segment, 0)?;
    let kid = match lines.next()? {
        Line::Whole(text) => Header::read(text).map(|(_, kid)| kid),
        Line::Torn(_) | Line::TooLong | Line::End => None,
    };
    let kid = kid.ok_or_else(|| damaged(Some(head.segment), What::NotALine))?;
    let mut lines = Lines::open(dir, head.segment, head.from)?;
    let there = match lines.next()? {
        Line::Whole(text) => chain::hash(text) == head.link.hash,
        Line::Torn(_) | Line::TooLong | Line::End => false,
    };
    if there && lines.offset == head.bytes {
        return Ok(kid);
    }
    Err(AuditError::Damaged {
        dir: dir.to_path_buf(),
        found: Finding { segment: Some(head.segment), line: Some(head.line), seq: Some(head.link.seq), what: What::NotAsVouched },
    })
}

fn has_event(dir: &Path) -> Result<bool, AuditError> {
    let mut lines = Lines::open(dir, 1, 0)?;
    let header = matches!(lines.next()?, Line::Whole(_));
    Ok(header && !matches!(lines.next()?, Line::End | Line::Torn(_)))
}
