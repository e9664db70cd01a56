//! Copies a store into another one, of any kind: from one machine to a cluster, or back.
//!
//! Always holds: rows are copied in order of their keys, so what the target holds of an earlier run is the beginning of the source, and
//! the copy goes on behind it; a target that holds anything else is refused before anything is written; at the end both sides are read
//! whole and compared. Nothing else may write either side meanwhile; if something does, the comparison says so. Called by `cli/store`.

use super::rows::{Change, Rows as _, Table};
use super::{Store, StoreError};
use crate::base::enc;
use crate::crypto::sha256_of;

/// Rows of a page, and of a transaction.
const PAGE: usize = 500;

/// Why a store was not copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// One of the two failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Both are one.
    #[error("{0}: this is the store to copy from, too")]
    Same(String),
    /// The target is in use, or was.
    #[error("{at}: row {place} of table {table} is not of the store to copy from; nothing was written: name an empty store, or one that an earlier run of this copy began", table = .table.as_str())]
    OtherRows {
        /// The target.
        at: String,
        /// Its table.
        table: Table,
        /// In order of the keys, the first being 1.
        place: u64,
    },
    /// The target has seen what the source has not.
    #[error(
        "{0}: it has a high-water mark that the store to copy from does not have, or has lower; nothing was written: name an empty store"
    )]
    OtherMarks(String),
    /// They differ at the end.
    #[error(
        "the copy differs from what was copied ({0}): something else writes one of the two; stop it and run the copy again into an empty store"
    )]
    Differs(&'static str),
}

/// What a store holds of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The table.
    pub table: Table,
    /// Its rows.
    pub rows: u64,
    /// Their marks.
    pub marks: u64,
    /// A chain of SHA-256 over all of it, in order.
    digest: [u8; 32],
}

/// How a copy went.
#[derive(Debug)]
pub struct Copied {
    /// What both hold now.
    pub content: Vec<Content>,
    /// Rows that an earlier run had copied.
    pub before: u64,
    /// High-water marks.
    pub high_waters: u64,
}

/// What a copy is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It reads what the target holds.
    Compare,
    /// It copies.
    Copy,
    /// It reads both.
    Verify,
}

/// Told of progress: the step, and rows gone through in it.
pub type Progress<'a> = dyn FnMut(Step, u64) + Send + 'a;

/// Copies, and compares.
///
/// # Errors
///
/// [`CopyError`]; what was copied until then stays, and another run goes on behind it.
pub async fn copy(from: &Store, to: &Store, progress: &mut Progress<'_>) -> Result<Copied, CopyError> {
    if from.at() == to.at() {
        return Err(CopyError::Same(to.at()));
    }
    let high_waters = from.high_waters().await?;
    for (name, mark) in to.high_waters().await? {
        if !high_waters.iter().any(|(known, highest)| *known == name && mark <= *highest) {
            return Err(CopyError::OtherMarks(to.at()));
        }
    }
    let mut before = 0;
    let mut behind = Vec::new();
    for table in Table::ALL {
        let last = beginning(from, to, *table, &mut |rows| progress(Step::Compare, before + rows)).await?;
        before += last.as_ref().map_or(0, |(_, rows)| *rows);
        behind.push((*table, last.map(|(key, _)| key)));
    }
    let mut copied = before;
    for (table, mut after) in behind {
        loop {
            let page = from.list(table, Vec::new(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            copied += count(&page);
            to.change(table, page.into_iter().map(Change::Put).collect()).await?;
            progress(Step::Copy, copied);
        }
    }
    for (name, mark) in &high_waters {
        to.raise(name, *mark).await?;
    }
    let mut read = 0;
    let mut content = Vec::new();
    for table in Table::ALL {
        let ours = content_of(from, *table, &mut |rows| progress(Step::Verify, read + rows)).await?;
        read += ours.rows;
        let theirs = content_of(to, *table, &mut |rows| progress(Step::Verify, read + rows)).await?;
        read += theirs.rows;
        if ours != theirs {
            return Err(CopyError::Differs(table.as_str()));
        }
        content.push(ours);
    }
    if from.high_waters().await? != to.high_waters().await? {
        return Err(CopyError::Differs("high-water marks"));
    }
    Ok(Copied { content, before, high_waters: u64::try_from(high_waters.len()).unwrap_or(u64::MAX) })
}

/// The last key and the number of rows of the target, if they are those that the source begins with. None: it has none.
async fn beginning(
    from: &Store,
    to: &Store,
    table: Table,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<Option<(Vec<u8>, u64)>, CopyError> {
    let mut last: Option<(Vec<u8>, u64)> = None;
    loop {
        let after = last.as_ref().map(|(key, _)| key.clone());
        let held = to.list(table, Vec::new(), after.clone(), PAGE).await?;
        if held.is_empty() {
            return Ok(last);
        }
        let mut expected = from.list(table, Vec::new(), after, held.len()).await?.into_iter();
        for row in held {
            let place = last.as_ref().map_or(0, |(_, rows)| *rows) + 1;
            if expected.next().as_ref() != Some(&row) {
                return Err(CopyError::OtherRows { at: to.at(), table, place });
            }
            last = Some((row.key, place));
        }
        progress(last.as_ref().map_or(0, |(_, rows)| *rows));
    }
}

/// Reads a table whole.
async fn content_of(store: &Store, table: Table, progress: &mut (dyn FnMut(u64) + Send)) -> Result<Content, StoreError> {
    let mut content = Content { table, rows: 0, marks: 0, digest: [0; 32] };
    let mut after = None;
    loop {
        let page = store.list(table, Vec::new(), after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        content.rows += count(&page);
        for row in &page {
            let marks: Vec<&[u8]> = row.marks.iter().map(Vec::as_slice).collect();
            content.digest = sha256_of(&[&content.digest, &enc(&[&row.key, &row.value, &enc(&marks)])]);
        }
        progress(content.rows);
    }
    let mut after = None;
    loop {
        let page = store.marks(table, after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(content) };
        after = Some(last.clone());
        content.marks += count(&page);
        for (mark, key) in &page {
            content.digest = sha256_of(&[&content.digest, &enc(&[mark, key])]);
        }
    }
}

fn count<T>(page: &[T]) -> u64 {
    u64::try_from(page.len()).unwrap_or(u64::MAX)
}
