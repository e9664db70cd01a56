//! What hangs on which key in a whole collection: goes through every document once and writes nothing.
//!
//! Always holds: a document that could not be looked at is counted as such, so that nobody takes what is left for everything. Conflicting
//! revisions are asked for one by one where the database names them. Not seen by this, and said so in `docs/rotation.md`: deleted documents and old
//! revisions until the database is compacted, attachments, replicas, backups.
//!
//! Called by `cli/keys/census.rs`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::database::Answer;
use super::pages::{Event, Page, Pages, Work, most};
use super::{Database, Pace, SweepError};
use crate::base::Kid;
use crate::dialect::sweep::Sweep;
use crate::field::{self, Hanging, Plan};
use crate::upstream::Upstream;

/// What is to be counted.
#[derive(Debug)]
pub struct Counting {
    /// Where the collection is.
    pub upstream: Upstream,
    /// How it is listed.
    pub sweep: Box<dyn Sweep>,
    /// What is protected in it.
    pub collection: field::Collection,
    /// Documents looked at a second at most.
    pub rate: Option<NonZeroU32>,
    /// Pages in work at once.
    pub parallel: usize,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Documents looked at.
    pub documents: u64,
    /// Conflicting revisions looked at.
    pub conflicts: u64,
    /// Documents and conflicting revisions that could not be.
    pub unread: u64,
    /// What hangs on each key.
    pub by_key: BTreeMap<Kid, InCollection>,
}

/// What hangs on one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InCollection {
    /// In documents as they are now.
    pub now: Hanging,
    /// In conflicting revisions beside them.
    pub conflicts: u64,
}

/// What a count tells the world while it goes.
pub trait CountWatch {
    /// It begins; `total` documents, where that is known.
    fn begins(&mut self, total: Option<u64>);
    /// This hangs on that key in a document; no value, but the id is told: `None` if it has none.
    fn found(&mut self, id: Option<&str>, kid: Kid, count: u64);
    /// A document could not be looked at.
    fn unread(&mut self, id: Option<&str>, why: &str);
    /// Something is tried again.
    fn again(&mut self, sentence: &str);
    /// So many documents are done.
    fn moved(&mut self, documents: u64);
}

/// Counts what hangs on each key in a collection.
///
/// # Errors
///
/// [`SweepError`]: nothing is known then.
pub async fn count(counting: Counting, watch: &mut dyn CountWatch) -> Result<Counted, SweepError> {
    let Counting { upstream, sweep, collection, rate, parallel } = counting;
    let plan = Plan::compile(&collection, sweep.page_rows()).map_err(|errors| SweepError::Plan(errors.join("; ")))?;
    let pages = Arc::new(Pages { database: Database::new(upstream), sweep, plan, most: most(rate), parallel });
    let work = Arc::new(Looking { pages: Arc::clone(&pages), pace: Pace::new(rate) });
    watch.begins(pages.total().await);
    let mut counted = Counted::default();
    let mut tell = |event: Event<'_, Report>| match event {
        Event::Again(sentence) => watch.again(sentence),
        Event::Done(report) => {
            for (id, why) in &report.unread {
                watch.unread(id.as_deref(), why);
            }
            for (id, kid, count) in &report.named {
                watch.found(id.as_deref(), *kid, *count);
            }
            counted.add(&report.counted);
            watch.moved(counted.documents);
        }
    };
    pages.each(&work, &mut tell).await?;
    Ok(counted)
}

/// Looks at a page.
struct Looking {
    pages: Arc<Pages>,
    pace: Pace,
}

/// What one page came to.
#[derive(Default)]
struct Report {
    counted: Counted,
    named: Vec<(Option<String>, Kid, u64)>,
    unread: Vec<(Option<String>, String)>,
}

impl Work for Looking {
    type Report = Report;

    async fn page(&self, page: Page) -> Result<Report, SweepError> {
        let mut report = Report::default();
        self.pace.wait(page.ids.len()).await;
        let plan = &self.pages.plan;
        let layout = match page.layout {
            Ok(layout) => layout,
            Err(error) => {
                // Only a page of one document comes here. What it is shaped like can be counted all the same.
                let id = page.ids.into_iter().next();
                report.counted.documents += 1;
                report.add(id.as_deref(), &field::anywhere(&page.bytes));
                report.unread(id, error.to_string());
                return Ok(report);
            }
        };
        let facts = field::facts(plan, &page.bytes, &layout);
        for row in field::hanging(plan, &page.bytes, &layout) {
            let of_row = row.row.and_then(|row| facts.rows.get(row));
            let id = of_row.and_then(|row| row.id).and_then(|id| serde_json::from_slice::<String>(id).ok());
            report.counted.documents += u64::from(row.row.is_some());
            report.add(id.as_deref(), &row.by_key);
            for (_, revisions) in of_row.iter().flat_map(|row| &row.peeks) {
                self.conflicts(id.as_deref(), revisions, &mut report).await?;
            }
        }
        Ok(report)
    }
}

impl Looking {
    /// Revisions that lost, and are kept until somebody resolves the conflict.
    async fn conflicts(&self, id: Option<&str>, revisions: &[u8], report: &mut Report) -> Result<(), SweepError> {
        let named = || id.map(str::to_owned);
        let Ok(revisions) = serde_json::from_slice::<Vec<String>>(revisions) else {
            report.unread(named(), "its conflicting revisions are not named as the API says".to_owned());
            return Ok(());
        };
        for revision in revisions {
            let Some(ask) = id.and_then(|id| self.pages.sweep.revision(id, &revision)) else {
                report.unread(named(), "a conflicting revision of it cannot be asked for".to_owned());
                continue;
            };
            self.pace.wait(1).await;
            match self.pages.database.ask_patiently(ask, &mut |_| {}).await? {
                Answer::Whole { status: 200, body, .. } => {
                    report.counted.conflicts += 1;
                    for (kid, found) in field::anywhere(&body) {
                        report.counted.by_key.entry(kid).or_default().conflicts += found.elsewhere;
                        report.named.push((named(), kid, found.elsewhere));
                    }
                }
                // Resolved since it was listed.
                Answer::Whole { status: 404, .. } => {}
                Answer::Whole { status, .. } => {
                    report.unread(named(), format!("the database answers {status} when a conflicting revision is read"));
                }
                Answer::TooLarge => report.unread(named(), "a conflicting revision of it is too large".to_owned()),
            }
        }
        Ok(())
    }
}

impl Report {
    fn add(&mut self, id: Option<&str>, by_key: &BTreeMap<Kid, Hanging>) {
        for (kid, found) in by_key {
            self.counted.by_key.entry(*kid).or_default().now.add(found);
            self.named.push((id.map(str::to_owned), *kid, found.total()));
        }
    }

    fn unread(&mut self, id: Option<String>, why: String) {
        self.counted.unread += 1;
        self.unread.push((id, why));
    }
}

impl Counted {
    fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.conflicts += other.conflicts;
        self.unread += other.unread;
        for (kid, found) in &other.by_key {
            let sum = self.by_key.entry(*kid).or_default();
            sum.now.add(&found.now);
            sum.conflicts += found.conflicts;
        }
    }
}
