//! The compiled policy and the decision.
//!
//! Always holds: a decision is two hash lookups and one `Arc` clone; all texts of a grant are made when the policy is compiled.
//! `exchange` decides once per request and again when a grant has expired.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::facts::FactTable;
use super::grant::{Cell, Grant, Rows, data_view};
use super::rows::{Conditions, Rules};
use super::spec::{CategorySpec, EVERY, Line, PolicySpec, PurposeSpec, RecipientSpec};
use super::{Level, check};
use crate::base::{CallerName, CategoryName, PurposeName};

/// Dense index of a category in the policy's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CategoryId(pub u16);

/// One mistake in the policy, or one thing worth a second look ([`Policy::warnings`]).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PolicyError {
    /// Where.
    pub line: Line,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// Why no grant is given. `Display` is for the client: names only, never a value, and never what others may use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// 403 `purpose-missing`: none declared, and the caller has more than one.
    #[error("no purpose declared: add the header Data-Purpose ({caller} may use {allowed})")]
    Missing {
        /// Who asked.
        caller: CallerName,
        /// What it may declare.
        allowed: String,
    },
    /// 403 `purpose-refused`: not one of the caller's purposes, or a DPV id that names several of them.
    #[error("{caller} may use {allowed}")]
    NotAllowed {
        /// Who asked.
        caller: CallerName,
        /// What it may declare; `no purpose` if nothing.
        allowed: String,
    },
    /// 403 `purpose-refused`: the caller has purposes, and its token is for none of them.
    #[error("{caller} may use no purpose with this token: ask its issuer for one that names a purpose of the caller")]
    NoneNamed {
        /// Who asked.
        caller: CallerName,
    },
}

/// The compiled policy: caller × purpose → a dense table of levels.
#[derive(Debug)]
pub struct Policy {
    pub(super) spec: PolicySpec,
    pub(super) callers: HashMap<CallerName, Desk>,
    pub(super) facts: FactTable,
    category_ids: HashMap<Box<str>, CategoryId>,
    warnings: Vec<PolicyError>,
}

/// What one caller may declare.
#[derive(Debug, Default)]
pub(super) struct Desk {
    /// In the order of the file.
    pub(super) cells: Vec<Arc<Cell>>,
    /// By purpose name and by DPV id; a name has no `:`, so they never collide.
    /// A DPV id may be that of several of the caller's purposes.
    declared: HashMap<Box<str>, Vec<Arc<Cell>>>,
}

impl Policy {
    /// Checks the whole policy and compiles it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, in the order of the lines: names, unknown categories, a `never` that is hit (also through DPV
    /// kinds), tests that name what is not there.
    pub fn compile(spec: PolicySpec) -> Result<Self, Vec<PolicyError>> {
        let warnings = check::check(&spec)?;
        Ok(Self::assemble(spec, warnings))
    }

    /// Compiles what was checked, or what is only looked at.
    pub(super) fn assemble(spec: PolicySpec, warnings: Vec<PolicyError>) -> Self {
        let category_ids = spec
            .categories
            .iter()
            .zip(0_u16..)
            .map(|(category, id)| (Box::from(category.name.as_str()), CategoryId(id)))
            .collect();
        let facts = FactTable::of(&spec);
        let mut callers: HashMap<CallerName, Desk> = HashMap::new();
        for purpose in &spec.purposes {
            for caller in &purpose.callers {
                let recipient = spec.recipients.iter().find(|recipient| recipient.name == *caller);
                let cell = Arc::new(cell(&spec, &facts, purpose, caller, recipient));
                callers.entry(caller.clone()).or_default().add(cell, purpose.dpv.as_deref());
            }
        }
        Self { spec, callers, facts, category_ids, warnings }
    }

    /// Decides. `declared` is the header's text: a purpose name, compared exactly, or a `dpv:` id that names exactly one of the
    /// caller's purposes. None: a caller with exactly one purpose needs none. `now_ms` is the time the grant counts from.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that names only what this caller may use.
    pub fn decide(&self, caller: &CallerName, declared: Option<&str>, now_ms: u64) -> Result<Grant, Refusal> {
        let nothing = || Refusal::NotAllowed { caller: caller.clone(), allowed: "no purpose".to_owned() };
        let desk = self.callers.get(caller).ok_or_else(nothing)?;
        let cell = match (declared, desk.cells.as_slice()) {
            (None, [only]) => only,
            (None, []) => return Err(nothing()),
            (None, _) => return Err(Refusal::Missing { caller: caller.clone(), allowed: desk.allowed() }),
            (Some(text), _) => match desk.declared.get(text).map(Vec::as_slice) {
                Some([cell]) => cell,
                Some(_several) => return Err(ambiguous(caller, &desk.allowed(), text)),
                None => return Err(Refusal::NotAllowed { caller: caller.clone(), allowed: desk.allowed() }),
            },
        };
        Ok(Grant::new(Arc::clone(cell), now_ms))
    }

    /// As [`Policy::decide`], but only among the purposes that the caller's identity names, by name or DPV id; `None`: it names
    /// none, and the policy alone decides. What the policy does not allow the caller is not allowed by being named.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] that names only what this caller may use with this identity.
    pub fn decide_among(
        &self,
        caller: &CallerName,
        named: Option<&[Box<str>]>,
        declared: Option<&str>,
        now_ms: u64,
    ) -> Result<Grant, Refusal> {
        let Some(named) = named else { return self.decide(caller, declared, now_ms) };
        let nothing = || Refusal::NotAllowed { caller: caller.clone(), allowed: "no purpose".to_owned() };
        let desk = self.callers.get(caller).ok_or_else(nothing)?;
        let usable: Vec<Arc<Cell>> =
            desk.cells.iter().filter(|cell| named.iter().any(|text| desk.is_called(cell, text))).cloned().collect();
        let meant: Vec<&Arc<Cell>> =
            usable.iter().filter(|cell| declared.is_none_or(|text| desk.is_called(cell, text))).collect();
        match (meant.as_slice(), declared) {
            ([cell], _) => Ok(Grant::new(Arc::clone(cell), now_ms)),
            _ if usable.is_empty() && desk.cells.is_empty() => Err(nothing()),
            _ if usable.is_empty() => Err(Refusal::NoneNamed { caller: caller.clone() }),
            ([], _) => Err(Refusal::NotAllowed { caller: caller.clone(), allowed: allowed(&usable) }),
            (_, None) => Err(Refusal::Missing { caller: caller.clone(), allowed: allowed(&usable) }),
            (_, Some(text)) => Err(ambiguous(caller, &allowed(&usable), text)),
        }
    }

    /// The index of a category, by its name.
    pub fn category(&self, name: &str) -> Option<CategoryId> {
        self.category_ids.get(name).copied()
    }

    /// All categories; [`CategoryId`] indexes them.
    pub fn categories(&self) -> &[CategorySpec] {
        &self.spec.categories
    }

    /// Scopes in which any category is at [`Level::Pseudonym`]: each needs a pseudonym key in the ring. A scope is the purpose's
    /// name, or the recipient's where the caller is one; of an exception likewise. Sorted.
    pub fn pseudonym_scopes(&self) -> Vec<String> {
        let cells = self.callers.values().flat_map(|desk| &desk.cells);
        let has = |cell: &&Arc<Cell>| match &cell.conditions {
            Some(conditions) => conditions.rules().may_be_pseudonym(),
            None => cell.row.levels().contains(&Level::Pseudonym),
        };
        let opened = self.spec.exceptions.iter().flat_map(|exception| self.pseudonym_scopes_of(exception));
        let scopes: BTreeSet<&str> = cells.filter(has).map(|cell| &*cell.scope).chain(opened).collect();
        scopes.into_iter().map(str::to_owned).collect()
    }

    /// Purposes this caller may declare, in the order of the file (for messages).
    pub fn purposes_of(&self, caller: &CallerName) -> Vec<PurposeName> {
        self.callers.get(caller).into_iter().flat_map(|desk| &desk.cells).map(|cell| cell.purpose.clone()).collect()
    }

    /// Everyone the policy lets declare a purpose, sorted.
    pub fn callers(&self) -> Vec<&CallerName> {
        let sorted: BTreeSet<&CallerName> = self.callers.keys().collect();
        sorted.into_iter().collect()
    }

    /// All purposes, in the order of the file, also those without callers.
    pub fn purposes(&self) -> &[PurposeSpec] {
        &self.spec.purposes
    }

    /// The facts it knows.
    pub fn facts(&self) -> &FactTable {
        &self.facts
    }

    /// As the file says it.
    pub fn spec(&self) -> &PolicySpec {
        &self.spec
    }

    /// `policy.id`.
    pub fn id(&self) -> &str {
        &self.spec.id
    }

    /// `policy.version`.
    pub fn version(&self) -> u64 {
        self.spec.version
    }

    /// What is allowed but worth a second look: a purpose without callers or that does nothing, a recipient that no purpose
    /// lists, two purposes of one caller with one DPV id, a purpose broader than what a `never` names.
    pub fn warnings(&self) -> &[PolicyError] {
        &self.warnings
    }

    /// The recipient's entry of a caller outside the controller.
    pub(super) fn recipient(&self, caller: &CallerName) -> Option<&RecipientSpec> {
        self.spec.recipients.iter().find(|recipient| recipient.name == *caller)
    }
}

impl Desk {
    fn add(&mut self, cell: Arc<Cell>, dpv: Option<&str>) {
        for text in std::iter::once(cell.purpose.as_str()).chain(dpv) {
            self.declared.entry(Box::from(text)).or_default().push(Arc::clone(&cell));
        }
        self.cells.push(cell);
    }

    fn is_called(&self, cell: &Arc<Cell>, text: &str) -> bool {
        self.declared.get(text).is_some_and(|cells| cells.iter().any(|called| Arc::ptr_eq(called, cell)))
    }

    fn allowed(&self) -> String {
        allowed(&self.cells)
    }
}

fn allowed(cells: &[Arc<Cell>]) -> String {
    let names: Vec<&str> = cells.iter().map(|cell| cell.purpose.as_str()).collect();
    names.join(", ")
}

fn ambiguous(caller: &CallerName, allowed: &str, text: &str) -> Refusal {
    let allowed = format!("{allowed} ({text} names more than one of them: declare one by its name)");
    Refusal::NotAllowed { caller: caller.clone(), allowed }
}

/// What one list says of one category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) level: Level,
    pub(super) line: Line,
    /// By [`EVERY`], not by the category's own entry.
    pub(super) by_star: bool,
}

/// The level of a category in a list: its own entry, else that of [`EVERY`]. Should it stand twice, the lower bound holds.
pub(super) fn said(list: &[(CategoryName, Level, Line)], category: &CategoryName) -> Option<Said> {
    let look = |name: &str, by_star| {
        list.iter()
            .filter(|(listed, _, _)| listed.as_str() == name)
            .map(|(_, level, line)| Said { level: *level, line: *line, by_star })
            .reduce(|first, next| Said { level: first.level.meet(next.level), ..first })
    };
    look(category.as_str(), false).or_else(|| look(EVERY, true))
}

fn cell(
    spec: &PolicySpec,
    facts: &FactTable,
    purpose: &PurposeSpec,
    caller: &CallerName,
    recipient: Option<&RecipientSpec>,
) -> Cell {
    let rules = Rules::of(spec, facts, purpose, recipient);
    let rows = if rules.relevant() == 0 { Rows::Alike } else { Rows::MayDiffer };
    let name_of = |at| spec.categories.get(at).map(|category: &CategorySpec| category.name.to_string());
    let data_view = data_view(&purpose.name, None, rules.ceiling().levels(), rows, name_of);
    let scope = recipient.map_or(purpose.name.as_str(), |recipient| recipient.name.as_str());
    let place = |name: &CategoryName| spec.categories.iter().zip(0_u16..).find(|(category, _)| category.name == *name);
    let required = purpose.collects.required.iter().filter_map(place).map(|(_, at)| CategoryId(at)).collect();
    Cell {
        caller: caller.clone(),
        purpose: purpose.name.clone(),
        row: rules.floor(),
        required,
        conditions: Conditions::of(rules),
        scope: Box::from(scope),
        data_view,
        exception: None,
    }
}

/// Groups names that stand more than once; for the checks.
pub(super) fn repeated<'a, T: Ord>(items: impl Iterator<Item = (T, Line)> + 'a) -> Vec<(T, Line, Line)> {
    let mut first: BTreeMap<T, Line> = BTreeMap::new();
    let mut again = Vec::new();
    for (item, line) in items {
        match first.get(&item) {
            Some(before) => again.push((item, *before, line)),
            None => {
                first.insert(item, line);
            }
        }
    }
    again
}
