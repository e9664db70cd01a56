//! Where to go on writing: reads the end of a log at start, and cuts off what a crash left unfinished.
//!
//! Always holds: what the head vouches for must be there, byte for byte at its last line, or the log is not continued; lines
//! after the head are believed by their own MACs and chain; only an unfinished last line after the head is ever cut off, and
//! nobody was told that it was durable.

use std::path::Path;

use super::chain::{self, Head, Header, Key, Link};
use super::disk::{self, Disk, Folder};
use super::walk::{Finding, Line, Lines, Walker, What};
use super::{AuditError, chain::HeadError};
use crate::base::Kid;

/// The end of a log, ready to be continued.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) segment: u64,
    /// Lines in it.
    pub(super) line: u64,
    /// Bytes in it.
    pub(super) len: u64,
    pub(super) link: Link,
    /// The key it is written under; `None` if that key is gone.
    pub(super) kid: Option<Kid>,
    /// Bytes of an unfinished line that were cut off.
    pub(super) torn: Option<u64>,
}

/// Finds the end of the log in `dir` and leaves `folder` appending there. `None`: there is no log yet.
///
/// Takes as long as reading what was written since the head, not the log.
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
    let mut walker = Walker::resume(keys, &head, kid);
    let mut end = End { segment: head.segment, line: head.line, len: head.bytes, link: head.link, kid: walker.kid(), torn: None };
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
                    let len = lines.offset;
                    end = End { segment, line: walker.line, len, link: walker.link, kid: walker.kid(), torn: None };
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

/// Checks that the line the head vouches for is there, and returns the key id of its segment.
fn vouched_line(dir: &Path, head: &Head, damaged: &dyn Fn(Option<u64>, What) -> AuditError) -> Result<Kid, AuditError> {
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
