//! What the policy allows one request, and the permit that keys are handed out against.
//!
//! Always holds: only [`super::Policy::decide`] and [`super::Policy::decide_exception`] make a [`Grant`]; a grant cannot be widened, only expire. It is an `Arc` and a
//! time stamp, so that a request clones it freely. Where rows may differ, what the grant itself says is the least of them: who forgets to
//! ask for a row reveals less. Used by `keys`, `field`, `exchange` and `audit`.

use std::sync::Arc;

use super::facts::{FactId, Facts};
use super::rows::{Conditions, Kinds, Row};
use super::rules::Opens;
use super::{CategoryId, Level};
use crate::base::limits::GRANT_LIFETIME_MS;
use crate::base::{CallerName, ExceptionId, PurposeName};

/// One caller × purpose of the compiled policy.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) caller: CallerName,
    pub(super) purpose: PurposeName,
    /// The least that any row shows and allows.
    pub(super) row: Row,
    /// What a new document must have.
    pub(super) required: Box<[CategoryId]>,
    /// What rows depend on; None: all are the same.
    pub(super) conditions: Option<Conditions>,
    pub(super) scope: Box<str>,
    pub(super) data_view: Box<str>,
    /// The exception it is used under, if it is no purpose.
    pub(super) exception: Option<(ExceptionId, Opens)>,
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

    /// The level of a category; Absent for one the table does not have. Where rows differ: the least of them.
    pub fn level(&self, category: CategoryId) -> Level {
        self.cell.row.level(category)
    }

    /// May this request store a new value of the category? False for one the table does not have.
    pub fn may_write(&self, category: CategoryId) -> bool {
        self.cell.row.may_write(category)
    }

    /// May this request search by values of the category? Whoever sees them clear may, and whom the policy lets. False for one the table
    /// does not have.
    pub fn may_search(&self, category: CategoryId) -> bool {
        self.cell.row.may_search(category)
    }

    /// May this request remove documents?
    pub fn may_delete(&self) -> bool {
        self.cell.row.may_delete()
    }

    /// True if rows may differ by what is known of their data subjects: then ask [`Grant::row`].
    pub fn differs_by_row(&self) -> bool {
        self.cell.conditions.is_some()
    }

    /// The facts that rows differ by.
    pub fn turns_on(&self) -> impl Iterator<Item = FactId> + '_ {
        self.cell.conditions.iter().flat_map(Conditions::relevant)
    }

    /// What a row shows and allows, given what holds of its data subject. A look-up: it costs the same however many rules there are.
    pub fn row(&self, facts: Facts) -> &Row {
        self.cell.conditions.as_ref().and_then(|conditions| conditions.row(facts)).unwrap_or(&self.cell.row)
    }

    /// What a row shows and allows at most: of whom no limit with a condition is about, and who agreed to everything.
    pub fn at_most(&self) -> Row {
        self.cell.conditions.as_ref().map_or_else(|| self.cell.row.clone(), |conditions| conditions.rules().ceiling())
    }

    /// True if a reply with these categories shows identifying and linkable data of one data subject: then the fact
    /// [`super::facts::COMBINED`] holds. It goes by what the purpose reveals, whatever narrows it.
    pub fn combines(&self, held: impl IntoIterator<Item = CategoryId>) -> bool {
        self.cell.conditions.as_ref().is_some_and(|conditions| conditions.combines(held))
    }

    /// The least that any row shows and allows.
    pub fn least(&self) -> &Row {
        &self.cell.row
    }

    /// The one row there is, where none differs from another.
    pub fn alike(&self) -> Option<&Row> {
        self.cell.conditions.is_none().then_some(&self.cell.row)
    }

    /// Do rows differ by anything that is known of people?
    pub fn turns_on_people(&self) -> bool {
        self.turns_on().any(|fact| fact != FactId::COMBINED)
    }

    /// Do rows differ by what a reply shows of one data subject?
    pub fn turns_on_combination(&self) -> bool {
        self.turns_on().any(|fact| fact == FactId::COMBINED)
    }

    /// Could some row show the category in its coarse form?
    pub fn may_generalise(&self, category: CategoryId) -> bool {
        match &self.cell.conditions {
            None => self.cell.row.level(category) == Level::Generalised,
            Some(conditions) => conditions.rules().may_be(category, Level::Generalised),
        }
    }

    /// The categories that a new document must have.
    pub fn required(&self) -> &[CategoryId] {
        &self.cell.required
    }

    /// What a category of a reply adds to what may combine.
    pub(crate) fn kinds(&self, category: CategoryId) -> Kinds {
        self.cell.conditions.as_ref().map(|conditions| conditions.rules().kinds(category)).unwrap_or_default()
    }

    /// Which rule about people keeps a new value of a category from being stored where these facts hold, or (None) the document from being
    /// removed.
    pub(super) fn why_not(&self, facts: Facts, category: Option<CategoryId>) -> Option<String> {
        self.cell.conditions.as_ref()?.rules().why_not(facts.bits(), category)
    }

    /// The purpose that was decided for.
    pub fn purpose(&self) -> &PurposeName {
        &self.cell.purpose
    }

    /// Who asked.
    pub fn caller(&self) -> &CallerName {
        &self.cell.caller
    }

    /// The exception that is used, and what it opens; None for a purpose. [`Grant::purpose`] is then its name in the policy.
    pub fn exception(&self) -> Option<(&ExceptionId, Opens)> {
        self.cell.exception.as_ref().map(|(id, opens)| (id, *opens))
    }

    /// The pseudonym scope: the recipient's name if the caller is one, else the purpose.
    pub fn scope(&self) -> &str {
        &self.cell.scope
    }

    /// The value of `Data-View`, an RFC 9651 dictionary: `purpose=delivery, clear=(name phone), masked=(id-card)`. Levels stand
    /// in the order clear, masked, generalised, pseudonym, sealed, categories in the order of the policy file; what is absent is
    /// left out. It is what the grant allows at most; `per-row` stands last where rows may differ. Under an exception, `exception=ex_…`
    /// stands second.
    pub fn data_view(&self) -> &str {
        &self.cell.data_view
    }

    /// True if the other allows the same: to see, to store, to search, to remove, under the same pseudonyms.
    pub fn allows_the_same(&self, other: &Self) -> bool {
        let rules = |grant: &Self| grant.cell.conditions.as_ref().map(Conditions::rules).cloned();
        self.data_view() == other.data_view()
            && self.scope() == other.scope()
            && self.cell.row.same_rights(&other.cell.row)
            && self.cell.required == other.cell.required
            && rules(self) == rules(other)
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

/// Whether all rows show the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Alike,
    MayDiffer,
}

/// Writes the value of `Data-View`. Names are checked to be RFC 9651 keys (`[a-z][a-z0-9-]*`) before this is called.
pub(super) fn data_view(
    purpose: &PurposeName,
    exception: Option<&ExceptionId>,
    levels: &[Level],
    rows: Rows,
    name_of: impl Fn(usize) -> Option<String>,
) -> Box<str> {
    const ORDER: [Level; 5] = [Level::Clear, Level::Masked, Level::Generalised, Level::Pseudonym, Level::Sealed];
    let mut members = vec![format!("purpose={purpose}")];
    members.extend(exception.map(|id| format!("exception={id}")));
    for level in ORDER {
        let names: Vec<String> =
            levels.iter().enumerate().filter(|(_, shown)| **shown == level).filter_map(|(at, _)| name_of(at)).collect();
        if !names.is_empty() {
            members.push(format!("{level}=({})", names.join(" ")));
        }
    }
    if rows == Rows::MayDiffer {
        members.push("per-row".to_owned());
    }
    members.join(", ").into_boxed_str()
}
