//! The way through a collection: page after page in the order of the ids, several in work at once.
//!
//! What is done with a page is a [`Work`]: to migrate, to rewrap, to count. Always holds: every document that is there from the beginning of a
//! way to its end is in one of its pages, whatever else is written meanwhile; one that cannot be read comes alone, so that the others go on.
//!
//! Called by `migrate`, `rewrap` and whoever else looks at every document.

use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::SweepError;
use super::database::{Answer, Database, check};
use crate::dialect::sweep::Sweep;
use crate::document::{self, Layout, Rules, WalkError};
use crate::field::{self, Plan};

/// Documents asked for at once.
const PAGE: usize = 200;

/// Documents of a page where so many may be written a second: what was read is not to lie about for long.
pub(super) fn most(rate: Option<NonZeroU32>) -> usize {
    rate.map_or(PAGE, |rate| usize::try_from(rate.get()).map_or(PAGE, |rate| rate.min(PAGE)))
}

/// A collection that is gone through.
pub(super) struct Pages {
    pub(super) database: Database,
    pub(super) sweep: Box<dyn Sweep>,
    /// Made of the collection's fields and [`Sweep::page_rows`].
    pub(super) plan: Plan,
    /// Documents of a page at most.
    pub(super) most: usize,
    /// Pages in work at once.
    pub(super) parallel: usize,
}

/// Some documents, as the database gave them.
pub(super) struct Page {
    pub(super) bytes: Bytes,
    /// An error only if it holds one document at most.
    pub(super) layout: Result<Layout, WalkError>,
    /// Of each entry, those without a document too.
    pub(super) ids: Vec<String>,
}

/// What is done with each page.
pub(super) trait Work: Send + Sync + 'static {
    /// What it came to.
    type Report: Send + 'static;

    /// Does it. Pages are done in any order, and at the same time.
    fn page(&self, page: Page) -> impl Future<Output = Result<Self::Report, SweepError>> + Send;
}

/// What is told on the way.
pub(super) enum Event<'a, R> {
    /// A question is asked again.
    Again(&'a str),
    /// A page is done.
    Done(R),
}

impl Pages {
    /// How many documents of a page have conflicting revisions beside the current one.
    pub(super) fn conflicted(&self, bytes: &[u8], layout: &Layout) -> u64 {
        field::facts(&self.plan, bytes, layout).rows.iter().filter(|row| !row.peeks.is_empty()).map(|_| 1).sum()
    }

    /// How many documents there are; only for looking at.
    pub(super) async fn total(&self) -> Option<u64> {
        match self.database.ask(self.sweep.total()?).await.ok()? {
            Answer::Whole { status: 200, body, .. } => self.sweep.read_total(&body),
            Answer::Whole { .. } | Answer::TooLarge => None,
        }
    }

    /// Goes through all of them once.
    pub(super) async fn each<W: Work>(
        &self,
        work: &Arc<W>,
        tell: &mut dyn FnMut(Event<'_, W::Report>),
    ) -> Result<(), SweepError> {
        let mut running: JoinSet<Result<W::Report, SweepError>> = JoinSet::new();
        let mut after: Option<String> = None;
        let most = self.most.max(1);
        let mut limit = most;
        loop {
            let doing = "its documents are listed";
            let ask = self.sweep.page(after.as_deref(), limit);
            let bytes = match self.database.ask_patiently(ask, &mut |why| tell(Event::Again(why))).await? {
                // One page too large to be held, for all its documents are small enough.
                Answer::TooLarge if limit > 1 => {
                    limit = (limit / 4).max(1);
                    continue;
                }
                Answer::TooLarge => return Err(SweepError::NotUnderstood(doing)),
                Answer::Whole { status, body, .. } => {
                    check(status, doing)?;
                    body
                }
            };
            let ids = self.sweep.ids(&bytes).ok_or(SweepError::NotUnderstood(doing))?;
            let (count, last) = (ids.len(), ids.last().cloned());
            if after.is_some() && last == after {
                // It begins every page anew, and would do so for ever.
                return Err(SweepError::NotUnderstood(doing));
            }
            let layout = document::walk(&self.plan.map, Rules::reply(), &bytes);
            if limit > 1 && layout.is_err() {
                // One document is at fault; it is found alone, and the others go on.
                limit = (limit / 4).max(1);
                continue;
            }
            while running.len() >= self.parallel.max(1) {
                joined::<W>(running.join_next().await, tell)?;
            }
            let (work, page) = (Arc::clone(work), Page { bytes, layout, ids });
            running.spawn(async move { work.page(page).await });
            if count < limit || last.is_none() {
                break;
            }
            (after, limit) = (last, most.min(limit * 2));
        }
        while let Some(done) = running.join_next().await {
            joined::<W>(Some(done), tell)?;
        }
        Ok(())
    }
}

fn joined<W: Work>(
    done: Option<Result<Result<W::Report, SweepError>, tokio::task::JoinError>>,
    tell: &mut dyn FnMut(Event<'_, W::Report>),
) -> Result<(), SweepError> {
    let Some(done) = done else { return Ok(()) };
    tell(Event::Done(done.map_err(|_panicked| SweepError::Panicked)??));
    Ok(())
}
