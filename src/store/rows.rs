//! What a shared store does for the modules above it: keep rows of bytes, in transactions. It knows nothing of what they mean.
//!
//! Always holds: an answer that says something is stored is given when it is durable; a call takes place whole or not at all; a mark
//! names one row of its table at most, whoever asks at the same time. Each call is one round trip where nobody races.
//! Called by `vault` and `subject`; kept by the embedded store and by PostgreSQL, which one suite holds to the same (`tests/it`).

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use super::StoreError;

/// What a call will answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Most bytes of a key, a mark, or a link. Indexes of databases have bounds of their own, above twice this.
pub const MAX_KEY_BYTES: usize = 1024;

/// Most bytes of a key that a link makes: `enc` of two.
const MAX_LINKED_BYTES: usize = 2 * MAX_KEY_BYTES + 8;

/// A kind of rows. The set is part of the schema: a new one is a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Table {
    /// Tokens and what they stand for.
    Token,
    /// Whom the rows of [`Self::Token`] are about: keys only.
    TokenRef,
    /// Key rings: manifests, byte for byte. Written by [`Store::supersede`](super::Store::supersede) only, and copied like all others.
    Ring,
    /// The ledger of facts: rows numbered without a gap, sealed and chained by `subject`.
    Fact,
}

impl Table {
    /// All there are.
    pub const ALL: &[Self] = &[Self::Token, Self::TokenRef, Self::Ring, Self::Fact];

    /// What operators see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::TokenRef => "token-ref",
            Self::Ring => "ring",
            Self::Fact => "fact",
        }
    }
}

/// A row that is wanted.
#[derive(Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its key, if it has to be made.
    pub key: Vec<u8>,
    /// What it holds, if it has to be made.
    pub value: Vec<u8>,
    /// What names it beside its key, each at most one row of the table; all are taken together with it. If one of them
    /// names a row already, that row is the answer. Empty: a row of its own in any case.
    pub marks: Vec<Vec<u8>>,
    /// Of the row that is made or found: a row of another table that is to be there, too, its key `enc(key, link)`, without a value.
    /// All links of one call go into one table.
    pub link: Option<(Table, Vec<u8>)>,
}

/// What became of a [`Claim`].
#[derive(Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The row was made.
    Made,
    /// A mark names this row already.
    Found {
        /// Its key.
        key: Vec<u8>,
        /// What it holds; nothing if the mark leads nowhere, which only damage can do.
        value: Vec<u8>,
    },
    /// No mark names a row, but another one has the key; nothing was stored for this claim. Try another key.
    Taken,
}

/// A row as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Vec<u8>,
    /// What it holds.
    pub value: Vec<u8>,
    /// What names it beside its key, in order of the bytes.
    pub marks: Vec<Vec<u8>>,
}

/// A change of one row, whatever is there.
#[derive(Clone, PartialEq, Eq)]
pub enum Change {
    /// The row is to be this, marks included: one that is there under the key is replaced.
    Put(Row),
    /// The row is to be gone, with its marks.
    Remove(Vec<u8>),
}

/// A row that is to hold something else, if it still is what was seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Swap {
    /// The row as it was listed.
    pub seen: Row,
    /// What it is to hold.
    pub value: Vec<u8>,
    /// What is to name it.
    pub marks: Vec<Vec<u8>>,
}

/// What became of a [`Swap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swapped {
    /// The row holds the new value, and has the new marks.
    Done,
    /// It is not what was seen any more, or is gone; nothing was stored for this swap.
    Changed,
    /// A new mark names another row; nothing was stored for this swap.
    MarkTaken,
}

/// Keeps rows.
pub trait Rows: Send + Sync + Debug {
    /// Makes or finds rows, all in one transaction. `answer[i]` belongs to `claims[i]`. Two claims of one call with a mark in common
    /// are a mistake of the caller; of two with one key the later one is [`Claimed::Taken`], unless a mark of it names a row.
    fn claim(&self, table: Table, claims: Vec<Claim>) -> Answer<'_, Vec<Claimed>>;

    /// What the rows with these keys hold, in the order asked.
    fn read(&self, table: Table, keys: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>>;

    /// Which rows these marks name, in the order asked.
    fn find(&self, table: Table, marks: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>>;

    /// At most `most` rows whose keys begin with `prefix`, those after `after` only, in order of their keys.
    fn list(&self, table: Table, prefix: Vec<u8>, after: Option<Vec<u8>>, most: usize) -> Answer<'_, Vec<Row>>;

    /// Changes rows, all in one transaction; of two changes of one row the later one counts. A mark that names a row which is not
    /// among them is [`StoreError::MarkTaken`].
    fn change(&self, table: Table, changes: Vec<Change>) -> Answer<'_, ()>;

    /// Changes rows that still are what was seen, value and marks, all in one transaction; each is judged by itself. `answer[i]` belongs
    /// to `swaps[i]`. A row that is gone stays gone. Two swaps of one call with a row or a new mark in common are a mistake of the caller.
    fn swap(&self, table: Table, swaps: Vec<Swap>) -> Answer<'_, Vec<Swapped>>;
}

/// Without the bytes (T13).
impl Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("marks", &self.marks.len()).finish_non_exhaustive()
    }
}

/// Without the bytes (T13).
impl Debug for Claimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Made => "Made",
            Self::Found { .. } => "Found",
            Self::Taken => "Taken",
        })
    }
}

/// Without the bytes (T13).
impl Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("marks", &self.marks.len()).finish_non_exhaustive()
    }
}

/// Without the bytes (T13).
impl Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Put(_) => "Put",
            Self::Remove(_) => "Remove",
        })
    }
}

/// Without the bytes (T13).
impl Debug for Swap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swap").field("marks", &self.marks.len()).finish_non_exhaustive()
    }
}

/// Puts claims in order: marks sorted, each once; or says what is wrong with them.
pub(super) fn checked_claims(table: Table, mut claims: Vec<Claim>) -> Result<Vec<Claim>, StoreError> {
    for claim in &mut claims {
        claim.marks.sort_unstable();
        claim.marks.dedup();
        let lengths = claim.marks.iter().chain([&claim.key]).chain(claim.link.as_ref().map(|(_, link)| link));
        within(lengths, MAX_KEY_BYTES)?;
        if claim.link.as_ref().is_some_and(|(other, _)| *other == table) {
            return Err(StoreError::Misuse("a link into the row's own table"));
        }
    }
    let mut links = claims.iter().filter_map(|claim| claim.link.as_ref().map(|(other, _)| *other));
    if links.next().is_some_and(|first| links.any(|other| other != first)) {
        return Err(StoreError::Misuse("links into several tables"));
    }
    all_differ(claims.iter().flat_map(|claim| &claim.marks))?;
    Ok(claims)
}

/// What each key is to be in the end, in order of the keys, marks sorted; or what is wrong with the changes.
pub(super) fn checked_changes(changes: Vec<Change>) -> Result<BTreeMap<Vec<u8>, Option<Row>>, StoreError> {
    let mut last = BTreeMap::new();
    for change in changes {
        match change {
            Change::Put(mut row) => {
                row.marks.sort_unstable();
                row.marks.dedup();
                within(row.marks.iter(), MAX_KEY_BYTES)?;
                last.insert(row.key.clone(), Some(row));
            }
            Change::Remove(key) => {
                last.insert(key, None);
            }
        }
    }
    within(last.keys(), MAX_LINKED_BYTES)?;
    all_differ(last.values().flatten().flat_map(|row| &row.marks))?;
    Ok(last)
}

/// Puts swaps in order: marks sorted, each once; or says what is wrong with them.
pub(super) fn checked_swaps(mut swaps: Vec<Swap>) -> Result<Vec<Swap>, StoreError> {
    let mut keys = HashSet::new();
    for swap in &mut swaps {
        for marks in [&mut swap.marks, &mut swap.seen.marks] {
            marks.sort_unstable();
            marks.dedup();
        }
        within(swap.marks.iter(), MAX_KEY_BYTES)?;
    }
    if !swaps.iter().all(|swap| keys.insert(&swap.seen.key)) {
        return Err(StoreError::Misuse("two swaps of one row"));
    }
    all_differ(swaps.iter().flat_map(|swap| &swap.marks))?;
    Ok(swaps)
}

fn within<'a>(mut parts: impl Iterator<Item = &'a Vec<u8>>, most: usize) -> Result<(), StoreError> {
    if parts.any(|part| part.len() > most) { Err(StoreError::Misuse("a key, mark or link is too long")) } else { Ok(()) }
}

fn all_differ<'a>(marks: impl Iterator<Item = &'a Vec<u8>>) -> Result<(), StoreError> {
    let mut seen = HashSet::new();
    for mark in marks {
        if !seen.insert(mark) {
            return Err(StoreError::Misuse("two rows of one call with a mark in common"));
        }
    }
    Ok(())
}
