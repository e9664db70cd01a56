//! Goes through every row of a store and says what does not fit: marks and rows, links and rows, keys that are none.
//!
//! Always holds: a finding names the table and a place in the order of its keys, never a byte of what is stored; nothing is changed.
//! Called by `cli/store`, with a [`Verify`] of who knows what values mean.

use super::rows::{Row, Rows as _, Table};
use super::{Named, Store, StoreError};
use crate::base::parts;

/// Rows of a page.
const PAGE: usize = 500;

/// Knows what the values of a table mean.
pub trait Verify: Send + Sync {
    /// Says what is wrong with a row, in fixed words.
    fn verify(&self, table: Table, row: &Row) -> Result<(), &'static str>;
}

/// Something that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// In this table,
    pub table: Table,
    /// the row or mark at this place in the order of its key, the first being 1.
    pub place: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What was gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// In this table
    pub table: Table,
    /// so many rows
    pub rows: u64,
    /// and so many marks.
    pub marks: u64,
}

/// Checks everything; tells each finding to `found`.
///
/// # Errors
///
/// [`StoreError`]: the store cannot be read.
pub async fn check(
    store: &Store,
    verify: Option<&dyn Verify>,
    found: &mut (dyn FnMut(Finding) + Send),
) -> Result<Vec<Counted>, StoreError> {
    let mut counted = Vec::new();
    for table in Table::ALL {
        let (rows, sound) = check_rows(store, *table, verify, found).await?;
        let marks = check_marks(store, *table, sound, found).await?;
        counted.push(Counted { table: *table, rows, marks });
    }
    Ok(counted)
}

/// How many rows there are, and how many of their marks name them.
async fn check_rows(
    store: &Store,
    table: Table,
    verify: Option<&dyn Verify>,
    found: &mut (dyn FnMut(Finding) + Send),
) -> Result<(u64, u64), StoreError> {
    let (mut rows, mut sound) = (0, 0);
    let mut after = None;
    loop {
        let page = store.list(table, Vec::new(), after, PAGE).await?;
        let Some(last) = page.last() else { return Ok((rows, sound)) };
        after = Some(last.key.clone());
        let marks: Vec<Vec<u8>> = page.iter().flat_map(|row| row.marks.iter().cloned()).collect();
        let mut named = store.find(table, marks).await?.into_iter();
        let linked = linked_rows(store, table, &page).await?;
        for (row, linked) in page.iter().zip(linked) {
            rows += 1;
            let mut tell = |what| found(Finding { table, place: rows, what });
            if !well_formed(&row.key) {
                tell("its key is not parts with their lengths");
            }
            if linked == Some(false) {
                tell("the row that it links to is not there");
            }
            if !row.marks.is_sorted_by(|one, next| one < next) {
                tell("its marks are not in order, or one stands twice");
            }
            for _ in &row.marks {
                match named.next().flatten() {
                    None => tell("a mark of it is not there"),
                    Some(key) if key != row.key => tell("a mark of it names another row"),
                    Some(_) => sound += 1,
                }
            }
            if let Some(Err(what)) = verify.map(|verify| verify.verify(table, row)) {
                tell(what);
            }
        }
    }
}

/// For each row of a table that links: is what it links to there? None for others.
async fn linked_rows(store: &Store, table: Table, page: &[Row]) -> Result<Vec<Option<bool>>, StoreError> {
    let target = match table {
        Table::Token | Table::Ring | Table::Fact => return Ok(vec![None; page.len()]),
        Table::TokenRef => Table::Token,
    };
    // A key that is none is told as such.
    let keys: Vec<Option<Vec<u8>>> =
        page.iter().map(|row| parts(&row.key).and_then(|parts| parts.first().map(|key| key.to_vec()))).collect();
    let values = store.read(target, keys.iter().flatten().cloned().collect()).await?;
    let mut there = values.into_iter().map(|value| value.is_some());
    Ok(keys.iter().map(|key| key.as_ref().and_then(|_| there.next())).collect())
}

/// How many marks there are; those beyond the `sound` ones, which name rows that have them, are findings.
async fn check_marks(
    store: &Store,
    table: Table,
    sound: u64,
    found: &mut (dyn FnMut(Finding) + Send),
) -> Result<u64, StoreError> {
    let mut marks = 0;
    let mut strays = 0;
    let mut after = None;
    loop {
        let page = store.marks(table, after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        let rows = store.read(table, page.iter().map(|(_, key)| key.clone()).collect()).await?;
        for row in rows {
            marks += 1;
            if row.is_none() {
                strays += 1;
                found(Finding { table, place: marks, what: "a mark names a row that is not there" });
            }
        }
    }
    // Every mark of a row was looked up, so there are more only if some name rows that do not have them.
    if marks > sound + strays {
        strange_marks(store, table, found).await?;
    }
    Ok(marks)
}

/// Marks of rows that do not know them: looked for one by one, for it hardly ever happens.
async fn strange_marks(store: &Store, table: Table, found: &mut (dyn FnMut(Finding) + Send)) -> Result<(), StoreError> {
    let mut place = 0;
    let mut after = None;
    loop {
        let page: Vec<Named> = store.marks(table, after, PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for (mark, key) in page {
            place += 1;
            let row = store.list(table, key.clone(), None, 1).await?.pop().filter(|row| row.key == key);
            if row.is_some_and(|row| !row.marks.contains(&mark)) {
                found(Finding { table, place, what: "a mark names a row that does not have it" });
            }
        }
    }
}

/// Keys are parts, at least two: a token's row has controller, scope and token, a reference the row's key and whom it is about, a ring
/// controller and name, a row of the ledger controller and number.
fn well_formed(key: &[u8]) -> bool {
    parts(key).is_some_and(|parts| parts.len() >= 2 && parts.iter().all(|part| !part.is_empty()))
}
