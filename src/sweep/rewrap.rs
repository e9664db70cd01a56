//! Rewrap: what hangs on a key version that is not the Active one is sealed anew under the Active one, pass after pass, until one finds nothing.
//!
//! Always holds: the ring is looked at anew for every page and again when its turn to be written has come, so that nothing is sealed under a
//! version which was known to be compromised; a value that does not open in its place is left and told, and so is one that is clear; a
//! value from under a compromised version is named, durably, before it is written, for afterwards nobody can tell it from others. What is
//! done is done: a sweep that was broken off is begun again and writes only what still hangs on old versions.
//!
//! Called by `cli/keys/rewrap.rs`; the rows of the vault go by `vault`.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::pages::{Event, Page, Pages, Work, most};
use super::write::{Remade, Remake, ToWrite, Writing, Wrote, text};
use super::{Database, MAX_PASSES, Pace, SweepError};
use crate::base::{FieldName, Kid};
use crate::dialect::sweep::Sweep;
use crate::document::Layout;
use crate::field::{self, Hangs, Lines, Plan, RewrapRow};
use crate::keys::{KeyError, Rings};
use crate::upstream::Upstream;

/// How long to wait before the ring is read again, and how often: it may be in the middle of being copied here.
const PATIENCE: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// Gives the newest rings. May block.
pub type NewestRings = Arc<dyn Fn() -> Result<Arc<Rings>, KeyError> + Send + Sync>;

/// Keeps the names of values that may be forged, durably, before they are sealed anew.
pub trait Names: Send + Sync + fmt::Debug {
    /// Keeps them. May block.
    ///
    /// # Errors
    ///
    /// A sentence for the operator; nothing is then written.
    fn keep(&self, names: &[Name]) -> Result<(), String>;
}

/// Something that is told by its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The document's id; of a row of the vault, its token. None if it has none.
    pub id: Option<String>,
    /// The field; of a row of the vault, its scope. None if the whole document is meant.
    pub field: Option<FieldName>,
    /// An anchor of `docs/errors.md`.
    pub code: &'static str,
    /// The key version it names.
    pub kid: Option<Kid>,
}

/// What is to be done with a collection.
pub struct Rewrap {
    /// Where the collection is.
    pub upstream: Upstream,
    /// How it is listed and written.
    pub sweep: Box<dyn Sweep>,
    /// What is protected in it.
    pub collection: field::Collection,
    /// What it is sealed with.
    pub rings: NewestRings,
    /// Of which lines.
    pub lines: Lines,
    /// Keeps names; without, what hangs on a compromised version ends the sweep.
    pub names: Option<Arc<dyn Names>>,
    /// Documents written a second at most.
    pub rate: Option<NonZeroU32>,
    /// Pages in work at once.
    pub parallel: usize,
    /// Only counts.
    pub dry_run: bool,
}

/// What a pass found and did: documents with their values and terms, or rows of the vault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Documents, or rows, looked at.
    pub looked: u64,
    /// Those that were written.
    pub written: u64,
    /// Values and terms that were made anew in them.
    pub anew: u64,
    /// Those of them that came from under a compromised version.
    pub compromised: u64,
    /// Documents that changed meanwhile; the next pass sees them again.
    pub conflicts: u64,
    /// Documents that were not written because the database did not answer; the next pass sees them again.
    pub unanswered: u64,
    /// Documents that the database does not take, or that cannot be read.
    pub refused: u64,
    /// Values that are not sealed at all.
    pub clear: u64,
    /// Values that do not open where they stand.
    pub bad: u64,
    /// Documents with conflicting revisions beside the current one, which a sweep does not see.
    pub conflicted: u64,
    /// What hangs, as it was found, on versions that are not the Active one.
    pub hung: BTreeMap<Hangs, u64>,
}

/// What a rewrap tells the world while it goes.
pub trait Progress {
    /// A pass begins; `total` documents, where that is known.
    fn begins(&mut self, pass: u32, total: Option<u64>);
    /// Something is told by its name.
    fn told(&mut self, name: Name);
    /// Something is tried again.
    fn again(&mut self, sentence: &str);
    /// A page is done.
    fn moved(&mut self, counts: &Counts);
}

/// What a whole rewrap came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How many passes.
    pub passes: u32,
    /// What was written in all of them.
    pub total: Counts,
    /// The last one.
    pub last: Counts,
}

impl Ended {
    /// True if the last pass found nothing that hangs on an old version. What a pass wrote is believed only once another one has looked.
    pub fn is_complete(&self) -> bool {
        self.last.hung.is_empty() && self.last.refused == 0
    }
}

/// Rewraps a collection, pass after pass.
///
/// # Errors
///
/// [`SweepError`]; what was sealed anew by then stays so.
pub async fn rewrap(rewrap: Rewrap, progress: &mut dyn Progress) -> Result<Ended, SweepError> {
    let Rewrap { upstream, sweep, collection, rings, lines, names, rate, parallel, dry_run } = rewrap;
    let plan = Plan::compile(&collection, sweep.page_rows()).map_err(|errors| SweepError::Plan(errors.join("; ")))?;
    let writing = Writing::of(&*sweep, &collection)?;
    let pages = Arc::new(Pages { database: Database::new(upstream), sweep, plan, most: most(rate), parallel });
    let work = Arc::new(Rewrapping {
        pages: Arc::clone(&pages),
        writing,
        pace: Pace::new(rate),
        dry_run,
        rows: Rows { collection, rings, lines, names },
    });
    let mut passes = 0;
    let mut total = Counts::default();
    loop {
        passes += 1;
        progress.begins(passes, pages.total().await);
        let mut last = Counts::default();
        let mut tell = |event: Event<'_, Report>| match event {
            Event::Again(sentence) => progress.again(sentence),
            Event::Done(report) => report.tell(&mut last, progress),
        };
        pages.each(&work, &mut tell).await?;
        total.gather(&last);
        if ends(&last, passes, dry_run) {
            return Ok(Ended { passes, total, last });
        }
    }
}

/// Does this pass end it? So if nothing was to be written, or nothing will be.
pub(super) fn ends(last: &Counts, passes: u32, dry_run: bool) -> bool {
    dry_run || passes == MAX_PASSES || (last.written == 0 && last.conflicts == 0 && last.unanswered == 0)
}

/// The newest ring, with some patience.
pub(super) async fn newest(rings: &NewestRings) -> Result<Arc<Rings>, SweepError> {
    let once = || {
        let rings = Arc::clone(rings);
        async move { tokio::task::spawn_blocking(move || rings()).await.map_err(|_panicked| SweepError::Panicked) }
    };
    for wait in PATIENCE {
        if let Ok(ring) = once().await? {
            return Ok(ring);
        }
        tokio::time::sleep(wait).await;
    }
    Ok(once().await??)
}

/// Keeps the names of values that may be forged.
pub(super) async fn keep(names: Option<&Arc<dyn Names>>, forged: Vec<Name>) -> Result<(), SweepError> {
    let Some(first) = forged.first() else { return Ok(()) };
    let Some(names) = names else {
        let kid = first.kid.map_or_else(String::new, |kid| format!(" {kid}"));
        return Err(SweepError::Names(format!(
            "values hang on the compromised version{kid}: anybody who knows it may have made them, and once they are sealed anew nobody can tell: \
             give --names FILE, in which their documents and fields are kept, so that you can compare"
        )));
    };
    let names = Arc::clone(names);
    let kept = tokio::task::spawn_blocking(move || names.keep(&forged)).await.map_err(|_panicked| SweepError::Panicked)?;
    kept.map_err(SweepError::Names)
}

/// Rewraps a page, and writes what is anew.
struct Rewrapping {
    pages: Arc<Pages>,
    writing: Writing,
    pace: Pace,
    dry_run: bool,
    rows: Rows,
}

/// Rewraps documents.
struct Rows {
    collection: field::Collection,
    rings: NewestRings,
    lines: Lines,
    names: Option<Arc<dyn Names>>,
}

/// What is counted of a document once it is written.
struct Of {
    anew: u64,
    compromised: u64,
}

/// A page's part of a pass, and what is to be told of it.
#[derive(Default)]
struct Report {
    counts: Counts,
    told: Vec<Name>,
    again: Vec<String>,
}

impl Work for Rewrapping {
    type Report = Report;

    async fn page(&self, page: Page) -> Result<Report, SweepError> {
        let mut report = Report::default();
        let layout = match page.layout {
            Ok(layout) => layout,
            Err(_unreadable) => {
                report.counts.looked += 1;
                report.refuse(page.ids.into_iter().next(), "reply-unreadable");
                return Ok(report);
            }
        };
        let plan = &self.pages.plan;
        report.counts.conflicted = self.pages.conflicted(&page.bytes, &layout);
        let mut ring = newest(&self.rows.rings).await?;
        let mut rows = self.rows.anew(&ring, plan, &page.bytes, &layout)?;
        if !self.dry_run {
            let count = rows.iter().filter(|row| row.sealed.is_some()).count();
            self.writing.turn(&self.pace, count).await;
            // What was sealed before it waited is not written if the ring has changed: its version may be compromised by now.
            let now = newest(&self.rows.rings).await?;
            if !Arc::ptr_eq(&ring, &now) {
                ring = now;
                rows = self.rows.anew(&ring, plan, &page.bytes, &layout)?;
            }
        }
        let mut sealed = Vec::new();
        let mut forged = Vec::new();
        for row in rows {
            sealed.extend(report.judge(&*self.pages.sweep, row, &mut forged));
        }
        if self.dry_run {
            report.told.extend(forged);
            return Ok(report);
        }
        if let Writing::Bulk { .. } = self.writing {
            keep(self.rows.names.as_ref(), forged).await?;
        }
        let to = (&self.pages.database, &*self.pages.sweep, &self.pace);
        self.writing.write(to, sealed, &self.rows, &mut |wrote| report.wrote(wrote)).await?;
        Ok(report)
    }
}

impl Rows {
    fn anew(&self, rings: &Rings, plan: &Plan, body: &Bytes, layout: &Layout) -> Result<Vec<RewrapRow>, SweepError> {
        Ok(field::rewrap(&self.collection, plan, rings, self.lines, body, layout)?)
    }
}

/// For databases that guard single documents: each is read again, and names are kept then.
impl Remake for Rows {
    type Of = Of;

    async fn remake(&self, plan: &Plan, body: &Bytes, layout: &Layout) -> Result<Vec<Remade<Of>>, SweepError> {
        let ring = newest(&self.rings).await?;
        let mut rows = self.anew(&ring, plan, body, layout)?;
        let forged = rows.iter().flat_map(forged).collect();
        keep(self.names.as_ref(), forged).await?;
        let remade = |row: &mut RewrapRow| {
            let of = Of::row(row);
            Remade { id: row.id.clone(), sealed: row.sealed.take().map(|sealed| (sealed, of)) }
        };
        Ok(rows.iter_mut().map(remade).collect())
    }
}

impl Of {
    fn row(row: &RewrapRow) -> Self {
        let compromised = row.troubles.iter().filter(|trouble| trouble.may_be_forged()).map(|_| 1).sum();
        Self { anew: u64::try_from(row.anew.len()).unwrap_or(u64::MAX), compromised }
    }
}

/// The names of values that anybody may have made, and that are sealed anew.
fn forged(row: &RewrapRow) -> impl Iterator<Item = Name> {
    let id = row.id.as_ref().and_then(|id| id.as_ref().ok()).map(text);
    row.troubles.iter().filter(|trouble| trouble.may_be_forged()).map(move |trouble| named(id.clone(), trouble))
}

fn named(id: Option<String>, trouble: &field::Trouble) -> Name {
    Name { id, field: Some(trouble.field.clone()), code: trouble.code, kid: trouble.kid }
}

impl Report {
    fn refuse(&mut self, id: Option<String>, code: &'static str) {
        self.counts.refused += 1;
        self.told.push(Name { id, field: None, code, kid: None });
    }

    /// A document that is to be written. Of what else there is, the counts and names tell.
    fn judge(&mut self, sweep: &dyn Sweep, row: RewrapRow, forged_here: &mut Vec<Name>) -> Option<ToWrite<Of>> {
        let id = row.id.as_ref().and_then(|id| id.as_ref().ok()).cloned();
        let counts = &mut self.counts;
        counts.looked += 1;
        counts.clear += u64::from(row.clear);
        for hangs in &row.hung {
            *counts.hung.entry(hangs.clone()).or_default() += 1;
        }
        for trouble in row.troubles.iter().filter(|trouble| !trouble.may_be_forged()) {
            counts.bad += 1;
            self.told.push(named(id.as_ref().map(text), trouble));
        }
        let of = Of::row(&row);
        let forged: Vec<Name> = forged(&row).collect();
        let sealed = row.sealed?;
        let Some(id) = id else {
            self.refuse(None, "subject-missing");
            return None;
        };
        if !sweep.is_document(id.as_str()) {
            self.refuse(Some(text(&id)), "route-refused");
            return None;
        }
        forged_here.extend(forged);
        Some(ToWrite { id, sealed, of })
    }

    fn wrote(&mut self, wrote: Wrote<Of>) {
        match wrote {
            Wrote::Written(of) => {
                let counts = &mut self.counts;
                counts.written += 1;
                counts.anew += of.anew;
                counts.compromised += of.compromised;
            }
            Wrote::Conflict => self.counts.conflicts += 1,
            Wrote::Refused(id, code, _sentence) => self.refuse(Some(id), code),
            Wrote::Unanswered(documents, why) => {
                self.counts.unanswered += u64::try_from(documents).unwrap_or(u64::MAX);
                self.again.push(format!("{why}; {documents} documents come again in the next pass"));
            }
        }
    }

    fn tell(self, counts: &mut Counts, progress: &mut dyn Progress) {
        counts.add(&self.counts);
        for name in self.told {
            progress.told(name);
        }
        for sentence in &self.again {
            progress.again(sentence);
        }
        progress.moved(counts);
    }
}

impl Counts {
    /// Another page of the same pass.
    pub(super) fn add(&mut self, other: &Self) {
        self.looked += other.looked;
        self.clear += other.clear;
        self.bad += other.bad;
        self.conflicted += other.conflicted;
        self.refused += other.refused;
        for (hangs, count) in &other.hung {
            *self.hung.entry(hangs.clone()).or_default() += count;
        }
        self.sum(other);
    }

    /// Another pass: what was done adds up, what is there is as the last one saw it.
    pub(super) fn gather(&mut self, last: &Self) {
        let before = std::mem::replace(self, last.clone());
        self.sum(&before);
    }

    fn sum(&mut self, other: &Self) {
        self.written += other.written;
        self.anew += other.anew;
        self.compromised += other.compromised;
        self.conflicts += other.conflicts;
        self.unanswered += other.unanswered;
    }
}
