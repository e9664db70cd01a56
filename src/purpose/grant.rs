//! What the policy allows one request, and the permit that keys are handed out against.
//!
//! Always holds: only [`super::Policy::decide`] makes a [`Grant`]; a grant cannot be widened, only expire. It is an `Arc` and a
//! time stamp, so that a request clones it freely. Used by `keys`, `field`, `exchange` and `audit`.

use std::sync::Arc;

use super::{CategoryId, Level};
use crate::base::limits::GRANT_LIFETIME_MS;
use crate::base::{CallerName, PurposeName};

/// One caller × purpose of the compiled policy.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) caller: CallerName,
    pub(super) purpose: PurposeName,
    /// By [`CategoryId`]; as long as the policy has categories.
    pub(super) levels: Box<[Level]>,
    /// By [`CategoryId`].
    pub(super) writes: Box<[bool]>,
    /// By [`CategoryId`]: those that the policy lists, whatever is seen of them.
    pub(super) searches: Box<[bool]>,
    pub(super) delete: bool,
    pub(super) scope: Box<str>,
    pub(super) data_view: Box<str>,
}

/// What the policy allows this request. Only [`super::Policy::decide`] makes one.
#[derive(Debug, Clone)]
pub struct Grant {
    cell: Arc<Cell>,
    decided_ms: u64,
}

impl Grant {
    pub(super) fn new(cell: Arc<Cell>, decided_ms: u64) -> Self {
        Self { cell, decided_ms }
    }

    /// The level of a category; Absent for one the table does not have.
    pub fn level(&self, category: CategoryId) -> Level {
        self.cell.levels.get(usize::from(category.0)).copied().unwrap_or(Level::Absent)
    }

    /// May this request store a new value of the category? False for one the table does not have.
    pub fn may_write(&self, category: CategoryId) -> bool {
        self.cell.writes.get(usize::from(category.0)).copied().unwrap_or(false)
    }

    /// May this request search by values of the category? Whoever sees them clear may, and whom the policy lets. False for one the table
    /// does not have.
    pub fn may_search(&self, category: CategoryId) -> bool {
        let listed = self.cell.searches.get(usize::from(category.0)).copied().unwrap_or(false);
        listed || self.level(category) == Level::Clear
    }

    /// May this request remove documents?
    pub fn may_delete(&self) -> bool {
        self.cell.delete
    }

    /// The purpose that was decided for.
    pub fn purpose(&self) -> &PurposeName {
        &self.cell.purpose
    }

    /// Who asked.
    pub fn caller(&self) -> &CallerName {
        &self.cell.caller
    }

    /// The pseudonym scope: the recipient's name if the caller is one, else the purpose.
    pub fn scope(&self) -> &str {
        &self.cell.scope
    }

    /// The value of `Data-View`, an RFC 9651 dictionary: `purpose=delivery, clear=(name phone), masked=(id-card)`. Levels stand
    /// in the order clear, masked, generalised, pseudonym, sealed, categories in the order of the policy file; what is absent is
    /// left out. It is what the grant allows at most. `per-row` is not written: no rule of today differs between rows.
    pub fn data_view(&self) -> &str {
        &self.cell.data_view
    }

    /// True if the other allows the same: to see, to store, to search, to remove, under the same pseudonyms.
    pub fn allows_the_same(&self, other: &Self) -> bool {
        let rights = |grant: &Self| (grant.cell.delete, grant.cell.writes.clone(), grant.cell.searches.clone());
        self.data_view() == other.data_view() && self.scope() == other.scope() && rights(self) == rights(other)
    }

    /// True once older than [`GRANT_LIFETIME_MS`], or if the clock went back since (T19, T33).
    pub fn expired(&self, now_ms: u64) -> bool {
        now_ms.checked_sub(self.decided_ms).is_none_or(|age_ms| age_ms > GRANT_LIFETIME_MS)
    }
}

/// What an opening key is handed out against.
#[derive(Debug, Clone, Copy)]
pub enum Permit<'a> {
    /// To show it, or part of it, to the holder of this grant.
    Reveal(&'a Grant),
    /// To keep house: verify or rewrap. No clear text leaves `field` on it, but by `field::open_by_hand`.
    Upkeep(&'a Upkeep),
}

/// Proof that the opening is upkeep. Call sites are allow-listed by a test.
#[derive(Debug)]
pub struct Upkeep(());

impl Upkeep {
    /// `why` is for the reader of the code.
    pub fn dangerous_for(_why: &'static str) -> Self {
        Self(())
    }
}

/// Writes the value of `Data-View`. Names are checked to be RFC 9651 keys (`[a-z][a-z0-9-]*`) before this is called.
pub(super) fn data_view(purpose: &PurposeName, levels: &[Level], name_of: impl Fn(usize) -> Option<String>) -> Box<str> {
    const ORDER: [Level; 5] = [Level::Clear, Level::Masked, Level::Generalised, Level::Pseudonym, Level::Sealed];
    let mut members = vec![format!("purpose={purpose}")];
    for level in ORDER {
        let names: Vec<String> =
            levels.iter().enumerate().filter(|(_, shown)| **shown == level).filter_map(|(at, _)| name_of(at)).collect();
        if !names.is_empty() {
            members.push(format!("{level}=({})", names.join(" ")));
        }
    }
    members.join(", ").into_boxed_str()
}
