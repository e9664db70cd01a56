//! Live migration: seals what is still clear in a collection, pass after pass, until one finds nothing clear.
//!
//! Always holds: what is sealed already is left alone, so a sweep that was broken off is simply begun again; nothing is opened but to see
//! that an envelope is at home.
//!
//! Called by `cli/sweep.rs`.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;

use super::pages::{Event, Page, Pages, Work, most};
use super::write::{Remade, Remake, ToWrite, Writing, Wrote, text};
use super::{Database, MAX_PASSES, Pace, SweepError};
use crate::dialect::sweep::Sweep;
use crate::document::Layout;
use crate::field::{self, Plan, StandIns, Tokens, UpkeepRow, WriteError};
use crate::keys::Rings;
use crate::upstream::Upstream;
use crate::vault::Vault;

/// What is to be done.
#[derive(Debug)]
pub struct Migration {
    /// Where the collection is.
    pub upstream: Upstream,
    /// How it is listed and written.
    pub sweep: Box<dyn Sweep>,
    /// What is protected in it.
    pub collection: field::Collection,
    /// What it is sealed with.
    pub keys: Arc<Rings>,
    /// Where its tokens are; None if it has none.
    pub vault: Option<Vault>,
    /// Documents written a second at most.
    pub rate: Option<NonZeroU32>,
    /// Pages in work at once.
    pub parallel: usize,
    /// Only counts.
    pub dry_run: bool,
}

/// What one pass found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Documents looked at.
    pub documents: u64,
    /// Those with a clear value.
    pub clear_documents: u64,
    /// Their clear values.
    pub clear_values: u64,
    /// Documents written.
    pub written: u64,
    /// Values sealed in them.
    pub sealed_values: u64,
    /// Values that were sealed already.
    pub kept: u64,
    /// Documents that changed while they were sealed; the next pass sees them again.
    pub conflicts: u64,
    /// Documents that cannot be sealed, or that the database does not take.
    pub refused: u64,
    /// Documents that were not written because the database did not answer; the next pass sees them again.
    pub unanswered: u64,
    /// Documents with conflicting revisions beside the current one, which a sweep does not see.
    pub conflicted: u64,
}

/// What a migration came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// How many passes.
    pub passes: u32,
    /// All of them together; `documents` is that of the last pass.
    pub total: Pass,
    /// The last one.
    pub last: Pass,
}

impl Migrated {
    /// True if the last pass found every value sealed.
    pub fn is_complete(&self) -> bool {
        self.last.clear_documents == 0 && self.last.refused == 0
    }
}

/// What a migration tells the world while it goes.
pub trait Watch {
    /// A pass begins; `total` documents, where that is known.
    fn begins(&mut self, pass: u32, total: Option<u64>);
    /// A document cannot be sealed. `code` is an anchor of `docs/errors.md`; no value, but the id is told: `None` if it has none.
    fn refused(&mut self, id: Option<&str>, code: &'static str, sentence: &str);
    /// Something is tried again.
    fn again(&mut self, sentence: &str);
    /// A page is done.
    fn moved(&mut self, pass: &Pass);
}

/// Seals what is clear in a collection, pass after pass.
///
/// # Errors
///
/// [`SweepError`]; what was sealed by then stays sealed.
pub async fn migrate(migration: Migration, watch: &mut dyn Watch) -> Result<Migrated, SweepError> {
    let Migration { upstream, sweep, collection, keys, vault, rate, parallel, dry_run } = migration;
    let plan = Plan::compile(&collection, sweep.page_rows()).map_err(|errors| SweepError::Plan(errors.join("; ")))?;
    let writing = Writing::of(&*sweep, &collection)?;
    let pages = Arc::new(Pages { database: Database::new(upstream), sweep, plan, most: most(rate), parallel });
    let work = Arc::new(Sealing {
        pages: Arc::clone(&pages),
        writing,
        pace: Pace::new(rate),
        dry_run,
        rows: Rows { collection, keys, vault, dry_run },
    });
    let mut total = Pass::default();
    let mut passes = 0;
    loop {
        passes += 1;
        watch.begins(passes, pages.total().await);
        let mut last = Pass::default();
        let mut tell = |event: Event<'_, Report>| match event {
            Event::Again(sentence) => watch.again(sentence),
            Event::Done(report) => report.tell(&mut last, watch),
        };
        pages.each(&work, &mut tell).await?;
        total.add(&last);
        total.documents = last.documents;
        total.conflicted = last.conflicted;
        let stuck = last.written == 0 && last.conflicts == 0 && last.unanswered == 0;
        if last.clear_documents == 0 || dry_run || stuck || passes == MAX_PASSES {
            return Ok(Migrated { passes, total, last });
        }
    }
}

/// Seals a page, and writes what was not sealed.
struct Sealing {
    pages: Arc<Pages>,
    writing: Writing,
    pace: Pace,
    dry_run: bool,
    rows: Rows,
}

/// Seals documents.
struct Rows {
    collection: field::Collection,
    keys: Arc<Rings>,
    vault: Option<Vault>,
    dry_run: bool,
}

/// A page's part of a pass, and what is to be told of it.
#[derive(Default)]
struct Report {
    pass: Pass,
    refused: Vec<(Option<String>, &'static str, String)>,
    again: Vec<String>,
}

impl Work for Sealing {
    type Report = Report;

    async fn page(&self, page: Page) -> Result<Report, SweepError> {
        let mut report = Report::default();
        let layout = match page.layout {
            Ok(layout) => layout,
            Err(error) => {
                report.pass.documents += 1;
                report.refuse(page.ids.into_iter().next(), "reply-unreadable", error.to_string());
                return Ok(report);
            }
        };
        let plan = &self.pages.plan;
        report.pass.conflicted = self.pages.conflicted(&page.bytes, &layout);
        let mut sealed = Vec::new();
        for row in self.rows.seal(plan, &page.bytes, &layout).await? {
            report.pass.documents += 1;
            sealed.extend(judge(&*self.pages.sweep, row, &mut report));
        }
        if !self.dry_run {
            self.writing.turn(&self.pace, sealed.len()).await;
            let to = (&self.pages.database, &*self.pages.sweep, &self.pace);
            self.writing.write(to, sealed, &self.rows, &mut |wrote| report.wrote(wrote)).await?;
        }
        Ok(report)
    }
}

impl Rows {
    /// Seals the rows of a body; their tokens are asked for at once.
    async fn seal(&self, plan: &Plan, body: &Bytes, layout: &Layout) -> Result<Vec<UpkeepRow>, SweepError> {
        let seal =
            |tokens: Option<&Tokens>| field::seal_clear(&self.collection, plan, &self.keys, body, layout, StandIns::Seal, tokens);
        let Some(vault) = &self.vault else { return Ok(seal(None)?) };
        let mut tokens = Tokens::default();
        let stored = field::tokens_stored(&self.collection, plan, body, layout);
        let known = vault.recognise(&stored).await?;
        tokens.learn(stored, known);
        match seal(Some(&tokens)) {
            Err(WriteError::TokensWanted) => {}
            done => return Ok(done?),
        }
        let wishes = tokens.wishes();
        // Where nothing is written nothing is made.
        let made = if self.dry_run { vec![String::new(); wishes.len()] } else { vault.tokenise(&wishes).await? };
        tokens.give(wishes, made);
        Ok(seal(Some(&tokens))?)
    }
}

impl Remake for Rows {
    type Of = u32;

    async fn remake(&self, plan: &Plan, body: &Bytes, layout: &Layout) -> Result<Vec<Remade<u32>>, SweepError> {
        let rows = self.seal(plan, body, layout).await?;
        let remade = |row: UpkeepRow| Remade { id: row.id, sealed: row.sealed.ok().flatten().map(|sealed| (sealed, row.clear)) };
        Ok(rows.into_iter().map(remade).collect())
    }
}

/// A row that is to be written. Of what else there is, the report tells.
fn judge(sweep: &dyn Sweep, row: UpkeepRow, report: &mut Report) -> Option<ToWrite<u32>> {
    let id = row.id.and_then(Result::ok);
    report.pass.kept += u64::from(row.kept);
    report.pass.clear_values += u64::from(row.clear);
    match row.sealed {
        Ok(None) => None,
        Ok(Some(_)) if id.as_ref().is_some_and(|id| !sweep.is_document(id.as_str())) => {
            report.pass.clear_documents += 1;
            let sentence = "a design document has a member of a protected field's name; it is left as it is: rename the member";
            report.refuse(id.as_ref().map(text), "route-refused", sentence.to_owned());
            None
        }
        Ok(Some(sealed)) => {
            report.pass.clear_documents += 1;
            let Some(id) = id else {
                report.refuse(None, "subject-missing", "the document has no id that is one".to_owned());
                return None;
            };
            Some(ToWrite { id, sealed, of: row.clear })
        }
        Err(error) => {
            report.pass.clear_documents += u64::from(row.clear > 0);
            report.refuse(id.as_ref().map(text), error.code(), error.to_string());
            None
        }
    }
}

impl Report {
    fn refuse(&mut self, id: Option<String>, code: &'static str, sentence: String) {
        self.pass.refused += 1;
        self.refused.push((id, code, sentence));
    }

    fn wrote(&mut self, wrote: Wrote<u32>) {
        match wrote {
            Wrote::Written(values) => {
                self.pass.written += 1;
                self.pass.sealed_values += u64::from(values);
            }
            Wrote::Conflict => self.pass.conflicts += 1,
            Wrote::Refused(id, code, sentence) => self.refuse(Some(id), code, sentence.to_owned()),
            Wrote::Unanswered(documents, why) => {
                self.pass.unanswered += u64::try_from(documents).unwrap_or(u64::MAX);
                self.again.push(format!("{why}; {documents} documents come again in the next pass"));
            }
        }
    }

    fn tell(self, pass: &mut Pass, watch: &mut dyn Watch) {
        pass.add(&self.pass);
        for (id, code, sentence) in &self.refused {
            watch.refused(id.as_deref(), code, sentence);
        }
        for sentence in &self.again {
            watch.again(sentence);
        }
        watch.moved(pass);
    }
}

impl Pass {
    fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        self.clear_documents += other.clear_documents;
        self.clear_values += other.clear_values;
        self.written += other.written;
        self.sealed_values += other.sealed_values;
        self.kept += other.kept;
        self.conflicts += other.conflicts;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.conflicted += other.conflicted;
    }
}
