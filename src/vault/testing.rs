//! What tests of the vault share: a store in memory that keeps what [`Rows`] promises and counts its calls, and rings with known keys.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::base::{Controller, Kid};
use crate::keys::{KeyRing, LineName, Rings, State};
use crate::store::{Answer, Swap, Swapped};

/// Keeps rows in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    tables: Mutex<BTreeMap<(Table, Vec<u8>), Row>>,
    pub(crate) claims: AtomicUsize,
    pub(crate) reads: AtomicUsize,
    pub(crate) others: AtomicUsize,
    /// Every key counts as taken.
    pub(crate) full: AtomicBool,
    pub(crate) down: AtomicBool,
}

impl Memory {
    /// Claims, reads and other calls since the last time.
    pub(crate) fn calls(&self) -> (usize, usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::Relaxed);
        (take(&self.claims), take(&self.reads), take(&self.others))
    }

    pub(crate) fn all(&self, table: Table) -> Vec<Row> {
        self.tables.lock().unwrap().iter().filter(|((of, _), _)| *of == table).map(|(_, row)| row.clone()).collect()
    }

    /// The rows that tokens stand for.
    pub(crate) fn tokens(&self) -> Vec<Row> {
        self.all(Table::Token)
    }

    /// Changes rows by hand.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut BTreeMap<(Table, Vec<u8>), Row>)) {
        edit(&mut self.tables.lock().unwrap());
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        count: &AtomicUsize,
        work: impl FnOnce(&mut BTreeMap<(Table, Vec<u8>), Row>) -> T,
    ) -> Answer<'a, T> {
        count.fetch_add(1, Ordering::Relaxed);
        if self.down.load(Ordering::Relaxed) {
            return Box::pin(async { Err(StoreError::Failed("memory".to_owned(), "down".to_owned())) });
        }
        let done = work(&mut self.tables.lock().unwrap());
        Box::pin(async move { Ok(done) })
    }
}

impl Rows for Memory {
    fn claim(&self, table: Table, claims: Vec<Claim>) -> Answer<'_, Vec<Claimed>> {
        let full = self.full.load(Ordering::Relaxed);
        self.answer(&self.claims, |rows| {
            let one = |claim: Claim| {
                let marked = |row: &&Row| row.marks.iter().any(|mark| claim.marks.contains(mark));
                let found = rows.iter().filter(|((of, _), _)| *of == table).map(|(_, row)| row).find(marked);
                let answer = match found {
                    Some(row) => Claimed::Found { key: row.key.clone(), value: row.value.clone() },
                    None if full || rows.contains_key(&(table, claim.key.clone())) => return Claimed::Taken,
                    None => {
                        let row = Row { key: claim.key.clone(), value: claim.value, marks: claim.marks };
                        rows.insert((table, claim.key.clone()), row);
                        Claimed::Made
                    }
                };
                if let Some((other, link)) = claim.link {
                    let key = if let Claimed::Found { key, .. } = &answer { key } else { &claim.key };
                    let key = crate::base::enc(&[key, &link]);
                    rows.insert((other, key.clone()), Row { key, value: Vec::new(), marks: Vec::new() });
                }
                answer
            };
            claims.into_iter().map(one).collect()
        })
    }

    fn read(&self, table: Table, keys: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        self.answer(&self.reads, |rows| {
            keys.into_iter().map(|key| rows.get(&(table, key)).map(|row| row.value.clone())).collect()
        })
    }

    fn find(&self, table: Table, marks: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        self.answer(&self.others, |rows| {
            let named = |mark| rows.iter().find(|((of, _), row)| *of == table && row.marks.contains(mark));
            marks.iter().map(|mark| named(mark).map(|(_, row)| row.key.clone())).collect()
        })
    }

    fn list(&self, table: Table, prefix: Vec<u8>, after: Option<Vec<u8>>, most: usize) -> Answer<'_, Vec<Row>> {
        self.answer(&self.others, |rows| {
            let in_range = |row: &&Row| row.key.starts_with(&prefix) && after.as_ref().is_none_or(|after| row.key > *after);
            rows.iter().filter(|((of, _), _)| *of == table).map(|(_, row)| row).filter(in_range).take(most).cloned().collect()
        })
    }

    fn swap(&self, table: Table, swaps: Vec<Swap>) -> Answer<'_, Vec<Swapped>> {
        self.answer(&self.others, |rows| {
            let one = |swap: Swap| {
                let key = (table, swap.seen.key.clone());
                if rows.get(&key).is_none_or(|row| *row != swap.seen) {
                    return Swapped::Changed;
                }
                let other = |((of, at), row): (&(Table, Vec<u8>), &Row)| {
                    *of == table && *at != swap.seen.key && row.marks.iter().any(|mark| swap.marks.contains(mark))
                };
                if rows.iter().any(other) {
                    return Swapped::MarkTaken;
                }
                rows.insert(key, Row { key: swap.seen.key, value: swap.value, marks: swap.marks });
                Swapped::Done
            };
            swaps.into_iter().map(one).collect()
        })
    }

    fn change(&self, table: Table, changes: Vec<Change>) -> Answer<'_, ()> {
        self.answer(&self.others, |rows| {
            for change in changes {
                match change {
                    Change::Put(row) => rows.insert((table, row.key.clone()), row),
                    Change::Remove(key) => rows.remove(&(table, key)),
                };
            }
        })
    }
}

pub(crate) fn kid(n: u8) -> Kid {
    Kid::from_random([n; 5])
}

/// A ring with one Active version of every line that the vault needs.
pub(crate) fn ring(controller: &str) -> Arc<KeyRing> {
    ring_of(controller, &[(LineName::Token, 1, State::Active), (LineName::Lookup, 2, State::Active)])
}

/// A set of that ring.
pub(crate) fn rings(controller: &str) -> Arc<Rings> {
    Arc::new(ring(controller).into())
}

/// A set of one with these versions.
pub(crate) fn rings_of(controller: &str, versions: &[(LineName, u8, State)]) -> Arc<Rings> {
    Arc::new(ring_of(controller, versions).into())
}

/// A ring with other versions; each number is an id and a secret.
pub(crate) fn ring_of(controller: &str, versions: &[(LineName, u8, State)]) -> Arc<KeyRing> {
    let audit = (LineName::Audit, kid(3), State::Active, [3; 32]);
    let versions = versions.iter().map(|(line, n, state)| (line.clone(), kid(*n), *state, [*n; 32])).chain([audit]);
    Arc::new(KeyRing::with_versions(Controller::new(controller), versions.collect()))
}
