//! What calls do to the file: in a transaction of the writer, or in one that reads.
//!
//! Always holds: a call that is refused has changed nothing, so the others in its transaction are committed without it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use redb::{Database, ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};

use super::super::rows::{Claim, Claimed, Row, Swap, Swapped, Table};
use super::super::schema::KNOWN;
use super::super::{Named, StoreError};
use super::{HIGH_WATER, SCHEMA, marks_of, rows_of};
use crate::base::enc;

/// A row as the file has it.
type Stored<'a> = (&'a [u8], Vec<&'a [u8]>);

/// Makes today's tables and writes their version; what is there stays.
pub(super) fn migrate(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for table in Table::ALL {
        transaction.open_table(rows_of(*table))?;
        transaction.open_table(marks_of(*table))?;
    }
    transaction.open_table(HIGH_WATER)?;
    transaction.open_table(SCHEMA)?.insert("version", KNOWN)?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn claim(transaction: &WriteTransaction, table: Table, claims: &[Claim]) -> Result<Vec<Claimed>, redb::Error> {
    let mut rows = transaction.open_table(rows_of(table))?;
    let mut marks = transaction.open_table(marks_of(table))?;
    let linked: BTreeSet<Table> = claims.iter().filter_map(|claim| claim.link.as_ref().map(|(other, _)| *other)).collect();
    let mut links = BTreeMap::new();
    for other in linked {
        links.insert(other, transaction.open_table(rows_of(other))?);
    }
    let mut answer = Vec::with_capacity(claims.len());
    for claim in claims {
        let claimed = match first_named(&marks, &claim.marks)? {
            Some(key) => found(&rows, key)?,
            None if rows.get(claim.key.as_slice())?.is_some() => Claimed::Taken,
            None => {
                rows.insert(claim.key.as_slice(), stored(&claim.value, &claim.marks))?;
                for mark in &claim.marks {
                    marks.insert(mark.as_slice(), claim.key.as_slice())?;
                }
                Claimed::Made
            }
        };
        if let Some((other, key)) = link_of(claim, &claimed)
            && let Some(links) = links.get_mut(&other)
            && links.get(key.as_slice())?.is_none()
        {
            links.insert(key.as_slice(), stored(&[], &[]))?;
        }
        answer.push(claimed);
    }
    Ok(answer)
}

/// The answer to all claims, if nothing has to be written for it.
pub(super) fn all_found(read: &ReadTransaction, table: Table, claims: &[Claim]) -> Result<Option<Vec<Claimed>>, redb::Error> {
    let (rows, marks) = (read.open_table(rows_of(table))?, read.open_table(marks_of(table))?);
    let mut answer = Vec::with_capacity(claims.len());
    for claim in claims {
        let Some(key) = first_named(&marks, &claim.marks)? else { return Ok(None) };
        let claimed = found(&rows, key)?;
        if let Some((other, key)) = link_of(claim, &claimed)
            && read.open_table(rows_of(other))?.get(key.as_slice())?.is_none()
        {
            return Ok(None);
        }
        answer.push(claimed);
    }
    Ok(Some(answer))
}

fn first_named(
    held: &impl ReadableTable<&'static [u8], &'static [u8]>,
    marks: &[Vec<u8>],
) -> Result<Option<Vec<u8>>, redb::Error> {
    for mark in marks {
        if let Some(key) = held.get(mark.as_slice())? {
            return Ok(Some(key.value().to_vec()));
        }
    }
    Ok(None)
}

fn found(rows: &impl ReadableTable<&'static [u8], Stored<'static>>, key: Vec<u8>) -> Result<Claimed, redb::Error> {
    let value = rows.get(key.as_slice())?.map_or_else(Vec::new, |row| row.value().0.to_vec());
    Ok(Claimed::Found { key, value })
}

/// The row of the other table that is to be there after a claim.
fn link_of(claim: &Claim, claimed: &Claimed) -> Option<(Table, Vec<u8>)> {
    let (other, link) = claim.link.as_ref()?;
    let key = match claimed {
        Claimed::Made => &claim.key,
        Claimed::Found { key, .. } => key,
        Claimed::Taken => return None,
    };
    Some((*other, enc(&[key, link])))
}

fn stored<'a>(value: &'a [u8], marks: &'a [Vec<u8>]) -> Stored<'a> {
    (value, marks.iter().map(Vec::as_slice).collect())
}

/// Inner error: refused, and nothing was changed.
pub(super) fn change(
    transaction: &WriteTransaction,
    table: Table,
    changes: &BTreeMap<Vec<u8>, Option<Row>>,
) -> Result<Result<(), StoreError>, redb::Error> {
    let mut rows = transaction.open_table(rows_of(table))?;
    let mut marks = transaction.open_table(marks_of(table))?;
    for mark in changes.values().flatten().flat_map(|row| &row.marks) {
        if let Some(key) = marks.get(mark.as_slice())?
            && !changes.contains_key(key.value())
        {
            return Ok(Err(StoreError::MarkTaken));
        }
    }
    for key in changes.keys() {
        let before: Vec<Vec<u8>> = match rows.remove(key.as_slice())? {
            Some(row) => row.value().1.into_iter().map(<[u8]>::to_vec).collect(),
            None => Vec::new(),
        };
        for mark in before {
            marks.remove(mark.as_slice())?;
        }
    }
    for row in changes.values().flatten() {
        rows.insert(row.key.as_slice(), stored(&row.value, &row.marks))?;
        for mark in &row.marks {
            marks.insert(mark.as_slice(), row.key.as_slice())?;
        }
    }
    Ok(Ok(()))
}

pub(super) fn swap(transaction: &WriteTransaction, table: Table, swaps: &[Swap]) -> Result<Vec<Swapped>, redb::Error> {
    let mut rows = transaction.open_table(rows_of(table))?;
    let mut marks = transaction.open_table(marks_of(table))?;
    let mut answer = Vec::with_capacity(swaps.len());
    for Swap { seen, value, marks: wanted } in swaps {
        let key = seen.key.as_slice();
        let as_seen = rows.get(key)?.is_some_and(|row| {
            let (value, marks) = row.value();
            value == seen.value.as_slice() && marks.iter().copied().eq(seen.marks.iter().map(Vec::as_slice))
        });
        if !as_seen {
            answer.push(Swapped::Changed);
            continue;
        }
        let mut taken = false;
        for mark in wanted {
            taken |= marks.get(mark.as_slice())?.is_some_and(|named| named.value() != key);
        }
        if taken {
            answer.push(Swapped::MarkTaken);
            continue;
        }
        for mark in seen.marks.iter().filter(|mark| !wanted.contains(mark)) {
            marks.remove(mark.as_slice())?;
        }
        for mark in wanted.iter().filter(|mark| !seen.marks.contains(mark)) {
            marks.insert(mark.as_slice(), key)?;
        }
        rows.insert(key, stored(value, wanted))?;
        answer.push(Swapped::Done);
    }
    Ok(answer)
}

pub(super) fn raise(transaction: &WriteTransaction, name: &str, seen: u64) -> Result<u64, redb::Error> {
    let mut table = transaction.open_table(HIGH_WATER)?;
    let before = table.get(name)?.map_or(0, |mark| mark.value());
    if seen > before {
        table.insert(name, seen)?;
    }
    Ok(before.max(seen))
}

pub(super) fn high_water(read: &ReadTransaction, name: &str) -> Result<u64, redb::Error> {
    Ok(number(read, HIGH_WATER, name)?.unwrap_or(0))
}

pub(super) fn high_waters(read: &ReadTransaction) -> Result<Vec<(String, u64)>, redb::Error> {
    let mut all = Vec::new();
    for entry in read.open_table(HIGH_WATER)?.iter()? {
        let (name, mark) = entry?;
        all.push((name.value().to_owned(), mark.value()));
    }
    Ok(all)
}

pub(super) fn number(
    read: &ReadTransaction,
    table: TableDefinition<'_, &str, u64>,
    name: &str,
) -> Result<Option<u64>, redb::Error> {
    let table = match read.open_table(table) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(other) => return Err(other.into()),
    };
    Ok(table.get(name)?.map(|number| number.value()))
}

pub(super) fn read(read: &ReadTransaction, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, redb::Error> {
    let rows = read.open_table(rows_of(table))?;
    keys.iter().map(|key| Ok(rows.get(key.as_slice())?.map(|row| row.value().0.to_vec()))).collect()
}

pub(super) fn find(read: &ReadTransaction, table: Table, marks: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, redb::Error> {
    let held = read.open_table(marks_of(table))?;
    marks.iter().map(|mark| Ok(held.get(mark.as_slice())?.map(|key| key.value().to_vec()))).collect()
}

pub(super) fn list(
    read: &ReadTransaction,
    table: Table,
    prefix: &[u8],
    after: Option<&[u8]>,
    most: usize,
) -> Result<Vec<Row>, redb::Error> {
    let rows = read.open_table(rows_of(table))?;
    // What stands before the prefix does not begin with it.
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        Some(_) | None => Bound::Included(prefix),
    };
    let mut page = Vec::new();
    for entry in rows.range::<&[u8]>((from, Bound::Unbounded))?.take(most) {
        let (key, row) = entry?;
        if !key.value().starts_with(prefix) {
            break;
        }
        let (value, marks) = row.value();
        page.push(Row {
            key: key.value().to_vec(),
            value: value.to_vec(),
            marks: marks.into_iter().map(<[u8]>::to_vec).collect(),
        });
    }
    Ok(page)
}

/// Marks and what they name, in order of the marks.
pub(super) fn marks(read: &ReadTransaction, table: Table, after: Option<&[u8]>, most: usize) -> Result<Vec<Named>, redb::Error> {
    let held = read.open_table(marks_of(table))?;
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut page = Vec::new();
    for entry in held.range::<&[u8]>((from, Bound::Unbounded))?.take(most) {
        let (mark, key) = entry?;
        page.push((mark.value().to_vec(), key.value().to_vec()));
    }
    Ok(page)
}
