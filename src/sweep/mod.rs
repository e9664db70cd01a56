//! Upkeep of a whole collection in its database while clients go on: live migration, which seals what is still clear.
//!
//! Pages are read one after the other, sealed and written back by several tasks; a pass goes through all of them, and passes follow until
//! one finds nothing clear. Always holds: a document is written only on the revision that was read, so a newer one is never overwritten; what
//! is sealed already is left alone, so a sweep that was broken off is simply begun again; nothing is written but [`ProtectedBody`]; nothing
//! is opened but to see that an envelope is at home.
//!
//! Called by `cli/sweep.rs`.

mod database;
mod pace;

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::base::RecordId;
use crate::dialect::sweep::{Outcome, Sweep, WriteBack};
use crate::document::{self, Layout, RowSet, Rules, WalkError};
use crate::field::{self, Plan, ProtectedBody, SealedRow, StandIns, Tokens, UpkeepRow, WriteError};
use crate::keys::Rings;
use crate::upstream::{Upstream, UpstreamError};
use crate::vault::{Vault, VaultError};

use database::{Answer, Database};
use pace::Pace;

/// Documents asked for at once.
const PAGE: usize = 200;
/// Bytes of documents written at once; servers have bounds on bodies.
const WRITE_BYTES: usize = 512 << 10;
/// Passes at most: with so many conflicts in every one of them somebody else writes clear values.
const MAX_PASSES: u32 = 20;

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

/// Why a migration ends before its time. Begun again, it goes on where it stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The database is not to be reached.
    #[error("{0}: tried several times; begin again once it answers, what is sealed stays sealed")]
    Upstream(#[from] UpstreamError),
    /// It refuses.
    #[error("the database answers {status} when {doing}: {remedy}")]
    Status {
        /// Its status.
        status: u16,
        /// What was asked.
        doing: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// It says something else than its API.
    #[error("the database's answer when {0} is not what its API says: is [upstream] dialect the right one?")]
    NotUnderstood(&'static str),
    /// The collection cannot be looked at.
    #[error("{0}")]
    Plan(String),
    /// Nothing can be sealed at all.
    #[error(transparent)]
    Seal(#[from] WriteError),
    /// The store does not take tokens.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A mistake of ours.
    #[error("a task of this sweep ended in a panic; please report it")]
    Panicked,
}

/// Seals what is clear in a collection, pass after pass.
///
/// # Errors
///
/// [`SweepError`]; what was sealed by then stays sealed.
pub async fn migrate(migration: Migration, watch: &mut dyn Watch) -> Result<Migrated, SweepError> {
    let compile =
        |rows: &RowSet| Plan::compile(&migration.collection, rows).map_err(|errors| SweepError::Plan(errors.join("; ")));
    let plan = compile(migration.sweep.page_rows())?;
    let write_back = match migration.sweep.write_back() {
        WriteBack::Bulk { target, open, close } => Writing::Bulk { target, open, close },
        WriteBack::Each { collection, rows } => Writing::Each { collection, plan: compile(&rows)? },
    };
    let Migration { upstream, sweep, collection, keys, vault, rate, parallel, dry_run } = migration;
    let worker = Arc::new(Worker {
        database: Database::new(upstream),
        sweep,
        collection,
        keys,
        vault,
        plan,
        write_back,
        pace: Pace::new(rate),
        dry_run,
    });
    let mut total = Pass::default();
    let mut passes = 0;
    loop {
        passes += 1;
        let last = worker.pass(passes, parallel.max(1), watch).await?;
        total.add(&last);
        total.documents = last.documents;
        total.conflicted = last.conflicted;
        let stuck = last.written == 0 && last.conflicts == 0 && last.unanswered == 0;
        if last.clear_documents == 0 || dry_run || stuck || passes == MAX_PASSES {
            return Ok(Migrated { passes, total, last });
        }
    }
}

struct Worker {
    database: Database,
    sweep: Box<dyn Sweep>,
    collection: field::Collection,
    keys: Arc<Rings>,
    vault: Option<Vault>,
    plan: Plan,
    write_back: Writing,
    pace: Pace,
    dry_run: bool,
}

enum Writing {
    Bulk { target: String, open: &'static str, close: &'static str },
    Each { collection: String, plan: Plan },
}

/// A page's part of a pass, and what is to be told of it.
#[derive(Default)]
struct Report {
    pass: Pass,
    refused: Vec<(Option<String>, &'static str, String)>,
    again: Vec<String>,
}

impl Worker {
    async fn pass(self: &Arc<Self>, number: u32, parallel: usize, watch: &mut dyn Watch) -> Result<Pass, SweepError> {
        watch.begins(number, self.total().await);
        let mut pass = Pass::default();
        let mut running: JoinSet<Result<Report, SweepError>> = JoinSet::new();
        let mut after: Option<String> = None;
        let mut limit = PAGE;
        loop {
            let doing = "its documents are listed";
            let page =
                match self.database.ask_patiently(self.sweep.page(after.as_deref(), limit), &mut |why| watch.again(why)).await? {
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
            let ids = self.sweep.ids(&page).ok_or(SweepError::NotUnderstood(doing))?;
            let (count, last) = (ids.len(), ids.last().cloned());
            if after.is_some() && last == after {
                // It begins every page anew, and would do so for ever.
                return Err(SweepError::NotUnderstood(doing));
            }
            let layout = document::walk(&self.plan.map, Rules::reply(), &page);
            if limit > 1 && layout.is_err() {
                // One document is at fault; it is found alone, and the others go on.
                limit = (limit / 4).max(1);
                continue;
            }
            while running.len() >= parallel {
                Self::merge(running.join_next().await, &mut pass, watch)?;
            }
            let worker = Arc::clone(self);
            running.spawn(async move { worker.page(page, layout, ids).await });
            if count < limit || last.is_none() {
                break;
            }
            (after, limit) = (last, PAGE.min(limit * 2));
        }
        while let Some(done) = running.join_next().await {
            Self::merge(Some(done), &mut pass, watch)?;
        }
        Ok(pass)
    }

    fn merge(
        done: Option<Result<Result<Report, SweepError>, tokio::task::JoinError>>,
        pass: &mut Pass,
        watch: &mut dyn Watch,
    ) -> Result<(), SweepError> {
        let Some(done) = done else { return Ok(()) };
        let report = done.map_err(|_panicked| SweepError::Panicked)??;
        pass.add(&report.pass);
        for (id, code, sentence) in &report.refused {
            watch.refused(id.as_deref(), code, sentence);
        }
        for sentence in &report.again {
            watch.again(sentence);
        }
        watch.moved(pass);
        Ok(())
    }

    /// How many documents there are; only for looking at.
    async fn total(&self) -> Option<u64> {
        match self.database.ask(self.sweep.total()?).await.ok()? {
            Answer::Whole { status: 200, body, .. } => self.sweep.read_total(&body),
            Answer::Whole { .. } | Answer::TooLarge => None,
        }
    }

    /// One page: seals, and writes what was not sealed.
    async fn page(&self, page: Bytes, layout: Result<Layout, WalkError>, ids: Vec<String>) -> Result<Report, SweepError> {
        let mut report = Report::default();
        let layout = match layout {
            Ok(layout) => layout,
            Err(error) => {
                // Only a page of one document comes here.
                report.pass.documents += 1;
                report.refuse(ids.into_iter().next(), "reply-unreadable", error.to_string());
                return Ok(report);
            }
        };
        let facts = field::facts(&self.plan, &page, &layout);
        report.pass.conflicted = u64::try_from(facts.rows.iter().filter(|row| !row.peeks.is_empty()).count()).unwrap_or(0);
        let rows = self.seal(&self.plan, &page, &layout).await?;
        let mut sealed = Vec::new();
        for row in rows {
            report.pass.documents += 1;
            sealed.extend(self.judge(row, &mut report));
        }
        if !self.dry_run {
            match &self.write_back {
                Writing::Bulk { target, open, close } => self.write_bulk(target, open, close, sealed, &mut report).await?,
                Writing::Each { collection, plan } => {
                    for row in sealed {
                        self.write_one(collection, plan, &row, &mut report).await?;
                    }
                }
            }
        }
        Ok(report)
    }

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

    /// A row that is to be written. Of what else there is, the report tells.
    fn judge(&self, row: UpkeepRow, report: &mut Report) -> Option<ToWrite> {
        let id = row.id.and_then(Result::ok);
        report.pass.kept += u64::from(row.kept);
        report.pass.clear_values += u64::from(row.clear);
        match row.sealed {
            Ok(None) => None,
            Ok(Some(_)) if id.as_ref().is_some_and(|id| !self.sweep.is_document(id.as_str())) => {
                report.pass.clear_documents += 1;
                let sentence =
                    "a design document has a member of a protected field's name; it is left as it is: rename the member";
                report.refuse(id.as_ref().map(text), "route-refused", sentence.to_owned());
                None
            }
            Ok(Some(sealed)) => {
                report.pass.clear_documents += 1;
                let Some(id) = id else {
                    report.refuse(None, "subject-missing", "the document has no id that is one".to_owned());
                    return None;
                };
                Some(ToWrite { id, sealed, values: row.clear })
            }
            Err(error) => {
                report.pass.clear_documents += u64::from(row.clear > 0);
                report.refuse(id.as_ref().map(text), error.code(), error.to_string());
                None
            }
        }
    }

    /// Many documents, in requests of a bounded size.
    async fn write_bulk(
        &self,
        target: &str,
        open: &'static str,
        close: &'static str,
        rows: Vec<ToWrite>,
        report: &mut Report,
    ) -> Result<(), SweepError> {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let (mut batch, mut ids, mut bytes) = (Vec::new(), Vec::new(), 0);
            while let Some(row) = rows.next_if(|row| bytes == 0 || bytes + row.sealed.as_bytes().len() <= WRITE_BYTES) {
                bytes += row.sealed.as_bytes().len();
                batch.push(row.sealed);
                ids.push((row.id, row.values));
            }
            self.pace.wait(ids.len()).await;
            let doing = "documents are written";
            let answer =
                match self.database.write(http::Method::POST, target, None, ProtectedBody::of_rows(open, &batch, close)).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        report.unanswered(ids.len(), &error.to_string());
                        continue;
                    }
                };
            let Answer::Whole { status, body, .. } = answer else { return Err(SweepError::NotUnderstood(doing)) };
            if status >= 500 || status == 429 || status == 408 {
                report.unanswered(ids.len(), &format!("the database answers {status} when {doing}"));
                continue;
            }
            check(status, doing)?;
            let outcomes = self.sweep.outcomes(&body).ok_or(SweepError::NotUnderstood(doing))?;
            if outcomes.len() != ids.len() {
                return Err(SweepError::NotUnderstood(doing));
            }
            for ((id, values), outcome) in ids.into_iter().zip(outcomes) {
                report.outcome(&outcome, &id, values);
            }
        }
        Ok(())
    }

    /// One document, read again with its validator.
    async fn write_one(&self, collection: &str, plan: &Plan, row: &ToWrite, report: &mut Report) -> Result<(), SweepError> {
        self.pace.wait(1).await;
        let target = format!("{collection}/{}", crate::base::encode_segment(row.id.as_str()));
        let doing = "a document is read";
        let (body, etag) = match self.database.ask(database::get(&target)).await {
            Ok(Answer::Whole { status: 404, .. }) => return Ok(()),
            Ok(Answer::Whole { status: 200, body, etag: Some(etag) }) => (body, etag),
            Ok(Answer::Whole { status, .. }) => {
                check(status, doing)?;
                return Err(SweepError::NotUnderstood(doing));
            }
            Ok(Answer::TooLarge) => return Err(SweepError::NotUnderstood(doing)),
            Err(error) => {
                report.unanswered(1, &error.to_string());
                return Ok(());
            }
        };
        let layout = document::walk(&plan.map, Rules::reply(), &body).map_err(|_no_document| SweepError::NotUnderstood(doing))?;
        let rows = self.seal(plan, &body, &layout).await?;
        let Some(UpkeepRow { id, clear, sealed: Ok(Some(sealed)), .. }) = rows.into_iter().next() else {
            // It changed since it was listed; the next pass looks at it.
            report.pass.conflicts += 1;
            return Ok(());
        };
        if id != Some(Ok(row.id.clone())) {
            let sentence = "at the path of its id stands a document with another id; it is left as it is";
            report.refuse(Some(text(&row.id)), "id-mismatch", sentence.to_owned());
            return Ok(());
        }
        let body = ProtectedBody::of_rows("", &[sealed], "");
        let outcome = match self.database.write(http::Method::PUT, &target, Some(etag), body).await {
            Ok(Answer::Whole { status: 200..=299, .. }) => Outcome::Written,
            Ok(Answer::Whole { status: 404 | 409 | 412, .. }) => Outcome::Conflict,
            Ok(Answer::Whole { status: 500.., .. } | Answer::TooLarge) => {
                report.unanswered(1, "the database did not take a document");
                return Ok(());
            }
            Ok(Answer::Whole { status, .. }) => {
                check(status, "documents are written")?;
                Outcome::Refused { id: text(&row.id) }
            }
            Err(error) => {
                report.unanswered(1, &error.to_string());
                return Ok(());
            }
        };
        report.outcome(&outcome, &row.id, clear);
        Ok(())
    }
}

struct ToWrite {
    id: RecordId,
    sealed: SealedRow,
    values: u32,
}

impl Report {
    fn refuse(&mut self, id: Option<String>, code: &'static str, sentence: String) {
        self.pass.refused += 1;
        self.refused.push((id, code, sentence));
    }

    fn unanswered(&mut self, documents: usize, why: &str) {
        self.pass.unanswered += u64::try_from(documents).unwrap_or(u64::MAX);
        self.again.push(format!("{why}; {documents} documents come again in the next pass"));
    }

    fn outcome(&mut self, outcome: &Outcome, id: &RecordId, values: u32) {
        match outcome {
            Outcome::Written => {
                self.pass.written += 1;
                self.pass.sealed_values += u64::from(values);
            }
            Outcome::Conflict => self.pass.conflicts += 1,
            Outcome::Refused { .. } => {
                let sentence = "the database does not take this document with its values sealed: look at its validation rules";
                self.refuse(Some(text(id)), "route-refused", sentence.to_owned());
            }
        }
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

fn text(id: &RecordId) -> String {
    id.as_str().to_owned()
}

/// A status that means what was asked was done.
fn check(status: u16, doing: &'static str) -> Result<(), SweepError> {
    let remedy = match status {
        200..=299 => return Ok(()),
        401 | 403 => "it wants an account with the right to it; name one as [upstream] auth",
        404 => "there is no such collection; look at `match` and [upstream] url",
        413 => "it takes no documents of this size; raise its limit",
        _ => "look at its log",
    };
    Err(SweepError::Status { status, doing, remedy })
}
