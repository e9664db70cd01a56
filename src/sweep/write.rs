//! Documents go back into the database, each on the very revision that was read.
//!
//! Always holds: a newer document is never overwritten, for the database compares revisions itself (`_rev` in `_bulk_docs`, `ETag` and
//! `If-Match`); a write is sent once, and where no answer comes the next pass sees what is stored; nothing is written but [`ProtectedBody`].
//!
//! `migrate` and `rewrap` say what a document is to become ([`Remake`]) and count what became of it ([`Wrote`]).

use std::future::Future;

use bytes::Bytes;

use super::SweepError;
use super::database::{self, Answer, Database, check};
use super::pace::Pace;
use crate::base::{RecordId, RecordIdError};
use crate::dialect::sweep::{Outcome, Sweep, WriteBack};
use crate::document::{self, Layout, Rules};
use crate::field::{self, Plan, ProtectedBody, SealedRow};

/// Bytes of documents written at once; servers have bounds on bodies.
const WRITE_BYTES: usize = 512 << 10;

/// How documents go back.
pub(super) enum Writing {
    Bulk { target: String, open: &'static str, close: &'static str },
    Each { collection: String, plan: Plan },
}

/// A document as it is to be.
pub(super) struct ToWrite<T> {
    pub(super) id: RecordId,
    pub(super) sealed: SealedRow,
    /// What is counted once it is written.
    pub(super) of: T,
}

/// What became of some documents.
pub(super) enum Wrote<T> {
    /// It is stored.
    Written(T),
    /// Somebody was faster.
    Conflict,
    /// It stays as it is: id, code, sentence.
    Refused(String, &'static str, &'static str),
    /// No answer for so many of them, and why.
    Unanswered(usize, String),
}

/// A document made anew from what was read a moment ago.
pub(super) struct Remade<T> {
    pub(super) id: Option<Result<RecordId, RecordIdError>>,
    /// `None` if nothing is to be written (any more).
    pub(super) sealed: Option<(SealedRow, T)>,
}

/// Says what the documents of a body are to become.
pub(super) trait Remake: Sync {
    /// What is counted of a document once it is written.
    type Of: Send;

    /// Makes them, in the order of the rows.
    fn remake(
        &self,
        plan: &Plan,
        body: &Bytes,
        layout: &Layout,
    ) -> impl Future<Output = Result<Vec<Remade<Self::Of>>, SweepError>> + Send;
}

impl Writing {
    /// As the dialect does it.
    pub(super) fn of(sweep: &dyn Sweep, collection: &field::Collection) -> Result<Self, SweepError> {
        Ok(match sweep.write_back() {
            WriteBack::Bulk { target, open, close } => Self::Bulk { target, open, close },
            WriteBack::Each { collection: path, rows } => {
                let plan = Plan::compile(collection, &rows).map_err(|errors| SweepError::Plan(errors.join("; ")))?;
                Self::Each { collection: path, plan }
            }
        })
    }

    /// Waits until so many documents may be written, where many are written at once. Single ones wait one by one.
    pub(super) async fn turn(&self, pace: &Pace, documents: usize) {
        if let Self::Bulk { .. } = self {
            pace.wait(documents).await;
        }
    }

    /// Writes them, once it is their [`Self::turn`]. `remake` is asked again where the database guards single documents.
    pub(super) async fn write<R: Remake>(
        &self,
        (database, sweep, pace): (&Database, &dyn Sweep, &Pace),
        rows: Vec<ToWrite<R::Of>>,
        remake: &R,
        wrote: &mut (dyn FnMut(Wrote<R::Of>) + Send),
    ) -> Result<(), SweepError> {
        match self {
            Self::Bulk { target, open, close } => bulk(database, sweep, (target, open, close), rows, wrote).await,
            Self::Each { collection, plan } => {
                for row in rows {
                    pace.wait(1).await;
                    wrote(one(database, (collection, plan), &row.id, remake).await?);
                }
                Ok(())
            }
        }
    }
}

/// Many documents, in requests of a bounded size.
async fn bulk<T: Send>(
    database: &Database,
    sweep: &dyn Sweep,
    (target, open, close): (&str, &'static str, &'static str),
    rows: Vec<ToWrite<T>>,
    wrote: &mut (dyn FnMut(Wrote<T>) + Send),
) -> Result<(), SweepError> {
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let (mut batch, mut ids, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(row) = rows.next_if(|row| bytes == 0 || bytes + row.sealed.as_bytes().len() <= WRITE_BYTES) {
            bytes += row.sealed.as_bytes().len();
            batch.push(row.sealed);
            ids.push((row.id, row.of));
        }
        let doing = "documents are written";
        let body = ProtectedBody::of_rows(open, &batch, close);
        let answer = match database.write(http::Method::POST, target, None, body).await {
            Ok(answer) => answer,
            Err(error) => {
                wrote(Wrote::Unanswered(ids.len(), error.to_string()));
                continue;
            }
        };
        let Answer::Whole { status, body, .. } = answer else { return Err(SweepError::NotUnderstood(doing)) };
        if status >= 500 || status == 429 || status == 408 {
            wrote(Wrote::Unanswered(ids.len(), format!("the database answers {status} when {doing}")));
            continue;
        }
        check(status, doing)?;
        let outcomes = sweep.outcomes(&body).ok_or(SweepError::NotUnderstood(doing))?;
        if outcomes.len() != ids.len() {
            return Err(SweepError::NotUnderstood(doing));
        }
        for ((id, of), outcome) in ids.into_iter().zip(outcomes) {
            wrote(wrote_of(&outcome, &id, of));
        }
    }
    Ok(())
}

/// One document, read again with its validator.
async fn one<R: Remake>(
    database: &Database,
    (collection, plan): (&str, &Plan),
    id: &RecordId,
    remake: &R,
) -> Result<Wrote<R::Of>, SweepError> {
    let target = format!("{collection}/{}", crate::base::encode_segment(id.as_str()));
    let doing = "a document is read";
    let (body, etag) = match database.ask(database::get(&target)).await {
        // It is gone: the next pass does not see it.
        Ok(Answer::Whole { status: 404, .. }) => return Ok(Wrote::Conflict),
        Ok(Answer::Whole { status: 200, body, etag: Some(etag) }) => (body, etag),
        Ok(Answer::Whole { status, .. }) => {
            check(status, doing)?;
            return Err(SweepError::NotUnderstood(doing));
        }
        Ok(Answer::TooLarge) => return Err(SweepError::NotUnderstood(doing)),
        Err(error) => return Ok(Wrote::Unanswered(1, error.to_string())),
    };
    let layout = document::walk(&plan.map, Rules::reply(), &body).map_err(|_no_document| SweepError::NotUnderstood(doing))?;
    let Some(Remade { id: now, sealed: Some((sealed, of)) }) = remake.remake(plan, &body, &layout).await?.into_iter().next()
    else {
        // It changed since it was listed; the next pass looks at it.
        return Ok(Wrote::Conflict);
    };
    if now != Some(Ok(id.clone())) {
        let sentence = "at the path of its id stands a document with another id; it is left as it is";
        return Ok(Wrote::Refused(text(id), "id-mismatch", sentence));
    }
    let body = ProtectedBody::of_rows("", &[sealed], "");
    let outcome = match database.write(http::Method::PUT, &target, Some(etag), body).await {
        Ok(Answer::Whole { status: 200..=299, .. }) => Outcome::Written,
        Ok(Answer::Whole { status: 404 | 409 | 412, .. }) => Outcome::Conflict,
        Ok(Answer::Whole { status: 500.., .. } | Answer::TooLarge) => {
            return Ok(Wrote::Unanswered(1, "the database did not take a document".to_owned()));
        }
        Ok(Answer::Whole { status, .. }) => {
            check(status, "documents are written")?;
            Outcome::Refused { id: text(id) }
        }
        Err(error) => return Ok(Wrote::Unanswered(1, error.to_string())),
    };
    Ok(wrote_of(&outcome, id, of))
}

fn wrote_of<T>(outcome: &Outcome, id: &RecordId, of: T) -> Wrote<T> {
    match outcome {
        Outcome::Written => Wrote::Written(of),
        Outcome::Conflict => Wrote::Conflict,
        Outcome::Refused { .. } => {
            let sentence = "the database does not take this document with its values sealed: look at its validation rules";
            Wrote::Refused(text(id), "route-refused", sentence)
        }
    }
}

pub(super) fn text(id: &RecordId) -> String {
    id.as_str().to_owned()
}
