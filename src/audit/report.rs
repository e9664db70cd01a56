//! Questions to the log: the last events; who saw which field of whom, and why.

use std::collections::{HashSet, VecDeque};
use std::path::Path;

use jiff::Timestamp;

use super::chain::Key;
use super::checkpoint::Given;
use super::disk;
use super::event::{Counts, Entry, pseudonym};
use super::walk::{Line, Lines, VerifyError, VerifyReport, walk};
use super::{AuditError, Finding, What};
use crate::base::{CallerName, CategoryName, PurposeName, RecordId};
use crate::purpose::Level;

/// Which events to show; all of what is given must fit.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// About this data subject. Its pseudonym is worked out under every audit key that is there, so events from before a
    /// rotation are found too.
    pub subject: Option<RecordId>,
    /// Asked by this caller.
    pub caller: Option<CallerName>,
    /// For this purpose.
    pub purpose: Option<PurposeName>,
    /// In which values of this category were protected, or left at any level but absent.
    pub category: Option<CategoryName>,
    /// At or after this time, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// Before this time, in milliseconds since 1970.
    pub until_ms: Option<u64>,
}

/// Shows each event that fits, in order, while the whole log is verified. The answer says whether what was shown is all there
/// ever was.
///
/// # Errors
///
/// As [`super::verify`]. Events shown before the place of the finding are authentic; after it none is shown.
pub fn report(dir: &Path, keys: &[Key], filter: &Filter, show: &mut dyn FnMut(&Entry)) -> Result<VerifyReport, VerifyError> {
    let names =
        filter.subject.as_ref().map(|subject| keys.iter().map(|(_, key, _)| pseudonym(key, subject)).collect::<HashSet<_>>());
    let (report, _) = walk(dir, keys, &Given::default(), &mut |entry| {
        if filter.fits(names.as_ref(), entry) {
            show(entry);
        }
    })?;
    Ok(report)
}

impl Filter {
    fn fits(&self, names: Option<&HashSet<String>>, entry: &Entry) -> bool {
        let same =
            |asked: Option<&str>, there: Option<&String>| asked.is_none_or(|asked| there.is_some_and(|there| there == asked));
        let about = names.is_none_or(|names| entry.subjects.iter().any(|subject| names.contains(subject)));
        about
            && same(self.caller.as_ref().map(CallerName::as_str), entry.caller.as_ref())
            && same(self.purpose.as_ref().map(PurposeName::as_str), entry.purpose.as_ref())
            && self.category.as_ref().is_none_or(|category| concerns(entry, category.as_str()))
            && self.in_time(&entry.time)
    }

    fn in_time(&self, time: &str) -> bool {
        if self.since_ms.is_none() && self.until_ms.is_none() {
            return true;
        }
        let Ok(time) = time.parse::<Timestamp>() else { return false };
        let ms = u64::try_from(time.as_millisecond()).unwrap_or(0);
        self.since_ms.is_none_or(|since| ms >= since) && self.until_ms.is_none_or(|until| ms < until)
    }
}

fn concerns(entry: &Entry, category: &str) -> bool {
    let has = |counts: &Counts| counts.0.iter().any(|(name, count)| name == category && *count > 0);
    has(&entry.protected) || entry.shown.iter().any(|(level, counts)| level != Level::Absent.as_str() && has(counts))
}

/// The last `count` events, oldest first. Needs no key and checks nothing: for looking at, not for proving.
///
/// # Errors
///
/// What the system refuses; [`AuditError::NoLog`]; [`AuditError::Damaged`] for a line that is none.
pub fn tail(dir: &Path, count: usize) -> Result<Vec<Entry>, AuditError> {
    let segments = disk::segments(dir)?;
    let damaged =
        |segment, line, what| AuditError::Damaged { dir: dir.to_path_buf(), found: Finding { segment, line, seq: None, what } };
    if segments.is_empty() {
        return Err(AuditError::NoLog(dir.to_path_buf()));
    }
    let mut last: VecDeque<Entry> = VecDeque::new();
    for segment in segments.into_iter().rev() {
        let mut lines = Lines::open(dir, segment, 0)?;
        let mut number = 0;
        let room = count.saturating_sub(last.len());
        let mut here = VecDeque::new();
        loop {
            number += 1;
            match lines.next()? {
                Line::Whole(_) if number == 1 => {}
                Line::Whole(text) => {
                    here.push_back(Entry::read(text).ok_or_else(|| damaged(Some(segment), Some(number), What::NotALine))?);
                    if here.len() > room {
                        here.pop_front();
                    }
                }
                Line::TooLong => return Err(damaged(Some(segment), Some(number), What::NotALine)),
                Line::Torn(_) | Line::End => break,
            }
        }
        while let Some(entry) = here.pop_back() {
            last.push_front(entry);
        }
        if last.len() >= count {
            break;
        }
    }
    Ok(last.into())
}
