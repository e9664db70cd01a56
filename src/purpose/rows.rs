//! What one row shows: every rule of one caller and purpose, given what is known of the data subject.
//!
//! Always holds: the level of a category is the greatest lower bound of `reveal`, the recipient's cap and every limit that applies; where
//! the terms are not met, nothing is shown, stored, searched by or removed. A row is looked up by the facts that matter to it, so its cost
//! does not grow with the rules: a row is worked out the first time its facts occur. Made by [`super::Policy::compile`].

use std::sync::OnceLock;

use super::facts::{self, FactId, FactTable, Facts};
use super::policy::said;
use super::rules::{ChangeGate, Consent, LimitSpec, Terms};
use super::spec::{CategorySpec, Nature, PolicySpec, PurposeSpec, RecipientSpec};
use super::{CategoryId, Level};

/// Facts that one caller and purpose may depend on; there are as many rows as they have combinations.
pub(super) const MAX_RELEVANT: usize = 12;

/// Of what kinds data of one person are, for [`Conditions::combines`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

impl Kinds {
    /// These and those.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Are both among them, what identifies and what does so in combination?
    pub(crate) fn combine(self) -> bool {
        self.0 == IDENTIFYING | LINKABLE
    }
}

/// Leaves `masked`, `generalised` or clear, and identifies.
const IDENTIFYING: u8 = 1;
/// Leaves in any form that tells something, and identifies in combination.
const LINKABLE: u8 = 2;

/// What one row shows and allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    levels: Box<[Level]>,
    writes: Box<[bool]>,
    searches: Box<[bool]>,
    /// Whoever sees a value clear may search by it.
    by_sight: bool,
    delete: bool,
}

impl Row {
    /// The level of a category; Absent for one the table does not have.
    pub fn level(&self, category: CategoryId) -> Level {
        self.levels.get(usize::from(category.0)).copied().unwrap_or(Level::Absent)
    }

    /// May a new value of the category be stored?
    pub fn may_write(&self, category: CategoryId) -> bool {
        self.writes.get(usize::from(category.0)).copied().unwrap_or(false)
    }

    /// May documents be searched by values of the category? Whoever sees them clear may, and whom the policy lets.
    pub fn may_search(&self, category: CategoryId) -> bool {
        let listed = self.searches.get(usize::from(category.0)).copied().unwrap_or(false);
        listed || (self.by_sight && self.level(category) == Level::Clear)
    }

    /// May documents be removed?
    pub fn may_delete(&self) -> bool {
        self.delete
    }

    pub(super) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The same rights, but for levels.
    pub(super) fn same_rights(&self, other: &Self) -> bool {
        (self.delete, self.by_sight, &self.writes, &self.searches)
            == (other.delete, other.by_sight, &other.writes, &other.searches)
    }

    fn closed(categories: usize) -> Self {
        let none: Box<[bool]> = vec![false; categories].into();
        Self {
            levels: vec![Level::Absent; categories].into(),
            writes: none.clone(),
            searches: none,
            by_sight: false,
            delete: false,
        }
    }
}

/// One limit, for one caller and purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    name: Box<str>,
    /// Any of these must hold; 0: it always applies.
    when: u64,
    /// None of these may hold.
    unless: u64,
    caps: Box<[Level]>,
}

impl Limit {
    fn applies(&self, facts: u64) -> bool {
        applies(self.when, self.unless, facts)
    }
}

fn applies(when: u64, unless: u64, facts: u64) -> bool {
    (when == 0 || facts & when != 0) && facts & unless == 0
}

/// The rules of one caller and purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// All of these must hold.
    needs: u64,
    /// None of these may hold.
    stops: u64,
    limits: Vec<Limit>,
    /// `reveal` and the recipient's cap.
    levels: Box<[Level]>,
    /// As listed; None: what is seen clear.
    writes: Option<Box<[bool]>>,
    searches: Box<[bool]>,
    /// What is seen clear may be searched by.
    by_sight: bool,
    delete: bool,
    /// What the purpose reveals, by kind: for [`Conditions::combines`].
    kinds: Box<[u8]>,
    /// The facts that may matter, by name.
    names: Box<[(u64, Box<str>)]>,
}

/// Where rows may differ: the rules and the rows that were needed so far.
#[derive(Debug)]
pub(super) struct Conditions {
    rules: Rules,
    /// Places of the facts that matter.
    relevant: Box<[u8]>,
    /// By those facts; 2 to the power of how many there are.
    rows: Box<[OnceLock<Box<Row>>]>,
}

impl Rules {
    pub(super) fn of(spec: &PolicySpec, table: &FactTable, purpose: &PurposeSpec, recipient: Option<&RecipientSpec>) -> Self {
        let each = |level: &dyn Fn(&CategorySpec) -> Level| -> Box<[Level]> { spec.categories.iter().map(level).collect() };
        let revealed = |category: &CategorySpec| said(&purpose.reveal, &category.name).map_or(Level::Absent, |said| said.level);
        let cap = |category: &CategorySpec| {
            recipient.and_then(|recipient| said(&recipient.at_most, &category.name)).map_or(Level::Clear, |said| said.level)
        };
        let (mut needs, mut stops) = terms(&purpose.terms, table, facts::CONSENT, facts::OBJECTION);
        if let Some((version, _)) = purpose.terms.since {
            needs |= match spec.change.gate {
                ChangeGate::Publication => 0,
                ChangeGate::Notice => bit(table, &facts::told_of(version)),
                ChangeGate::Consent => bit(table, facts::CONSENT),
            };
        }
        if let Some(recipient) = recipient {
            let (more, other) = terms(&recipient.terms, table, facts::CONSENT_TO_RECIPIENT, facts::OBJECTION_TO_RECIPIENT);
            needs |= more;
            stops |= other;
        }
        let limits = spec.limits.iter().filter(|limit| touches(spec, limit, purpose)).map(|limit| Limit {
            name: Box::from(limit.name.as_str()),
            when: any(&limit.when, table),
            unless: any(&limit.unless, table),
            caps: each(&|category| said(&limit.at_most, &category.name).map_or(Level::Clear, |said| said.level)),
        });
        // To find a document by a value is to learn the value: who may see less of it than everything may not learn it that way.
        let searches =
            spec.categories.iter().map(|category| purpose.search.contains(&category.name) && cap(category) == Level::Clear);
        Self {
            needs,
            stops,
            limits: limits.collect(),
            levels: each(&|category| revealed(category).meet(cap(category))),
            writes: purpose
                .writes
                .as_ref()
                .map(|listed| spec.categories.iter().map(|category| listed.contains(&category.name)).collect()),
            searches: searches.collect(),
            by_sight: true,
            delete: purpose.delete,
            // From what the purpose reveals, whatever narrows it: so that no rule that narrows can undo a combination.
            kinds: spec.categories.iter().map(|category| kind(category.nature, revealed(category))).collect(),
            names: table.names().map(|name| (bit(table, name), Box::from(name))).collect(),
        }
    }

    /// What an exception opens, of those whom it names: nothing is searched by or removed, and what may be stored is exactly `collects`.
    pub(super) fn of_exception(levels: &[Level], collects: &[bool]) -> Self {
        Self {
            needs: FactId::NAMED.bit(),
            stops: 0,
            limits: Vec::new(),
            levels: levels.into(),
            writes: Some(collects.into()),
            searches: collects.iter().map(|_| false).collect(),
            by_sight: false,
            delete: false,
            kinds: levels.iter().map(|_| 0).collect(),
            names: Box::new([(FactId::NAMED.bit(), Box::from("the exception to name them"))]),
        }
    }

    /// The facts that matter.
    pub(super) fn relevant(&self) -> u64 {
        self.limits.iter().fold(self.needs | self.stops, |all, limit| all | limit.when | limit.unless)
    }

    /// The row where these facts hold.
    pub(super) fn row(&self, facts: u64) -> Row {
        if facts & self.needs != self.needs || facts & self.stops != 0 {
            return Row::closed(self.levels.len());
        }
        self.narrowed(|limit| limit.applies(facts))
    }

    /// What every row shows at least: every limit at once, and nothing where anything is asked of the data subject.
    pub(super) fn floor(&self) -> Row {
        if self.needs | self.stops != 0 {
            return Row::closed(self.levels.len());
        }
        self.narrowed(|_limit| true)
    }

    /// What a row shows at most: only what applies to every one.
    pub(super) fn ceiling(&self) -> Row {
        self.narrowed(|limit| limit.when | limit.unless == 0)
    }

    /// Could some row show the category at this level? True at least where one could; it is asked about levels that lie on one way down.
    pub(super) fn may_be(&self, category: CategoryId, level: Level) -> bool {
        let at = usize::from(category.0);
        let most = self.levels.get(at).copied().unwrap_or(Level::Absent);
        most == level
            || (most.meet(level) == level && self.limits.iter().any(|limit| limit.caps.get(at).is_some_and(|cap| *cap == level)))
    }

    pub(super) fn kinds(&self, category: CategoryId) -> Kinds {
        Kinds(self.kinds.get(usize::from(category.0)).copied().unwrap_or(0))
    }

    /// Which rule about people is in the way of storing a new value of the category, or (None) of removing the document.
    pub(super) fn why_not(&self, facts: u64, category: Option<CategoryId>) -> Option<String> {
        let names =
            |bits: u64| -> Vec<&str> { self.names.iter().filter(|(bit, _)| bit & bits != 0).map(|(_, name)| &**name).collect() };
        let missing = names(self.needs & !facts);
        if !missing.is_empty() {
            return Some(format!("for this person it needs {}, of which nothing is on record", missing.join(" and ")));
        }
        let stops = names(self.stops & facts);
        if !stops.is_empty() {
            return Some(format!("for this person there is on record: {}", stops.join(", ")));
        }
        let at = usize::from(category?.0);
        let closes = |limit: &&Limit| limit.applies(facts) && limit.caps.get(at).is_some_and(|cap| *cap != Level::Clear);
        let limits: Vec<&str> = self.limits.iter().filter(closes).map(|limit| &*limit.name).collect();
        (!limits.is_empty()).then(|| format!("for this person limit {} applies", limits.join(" and ")))
    }

    /// True if some row may show a category as a pseudonym.
    pub(super) fn may_be_pseudonym(&self) -> bool {
        let at = |caps: &[Level], at: usize| caps.get(at) == Some(&Level::Pseudonym);
        self.levels.iter().enumerate().any(|(category, level)| {
            *level == Level::Pseudonym || (*level == Level::Clear && self.limits.iter().any(|limit| at(&limit.caps, category)))
        })
    }

    fn narrowed(&self, applies: impl Fn(&Limit) -> bool) -> Row {
        let limits: Vec<&Limit> = self.limits.iter().filter(|limit| applies(limit)).collect();
        let cap =
            |at: usize| limits.iter().filter_map(|limit| limit.caps.get(at)).fold(Level::Clear, |cap, next| cap.meet(*next));
        let levels: Box<[Level]> = self.levels.iter().enumerate().map(|(at, level)| level.meet(cap(at))).collect();
        let listed = |at: usize, level: Level| match &self.writes {
            Some(listed) => listed.get(at).copied().unwrap_or(false),
            None => level == Level::Clear,
        };
        let writes = levels.iter().enumerate().map(|(at, level)| listed(at, *level) && cap(at) != Level::Absent).collect();
        let searches = self.searches.iter().enumerate().map(|(at, may)| *may && cap(at) == Level::Clear).collect();
        Row { levels, writes, searches, by_sight: self.by_sight, delete: self.delete }
    }
}

impl Conditions {
    /// None where every row is the same.
    pub(super) fn of(rules: Rules) -> Option<Self> {
        let bits = rules.relevant();
        if bits == 0 {
            return None;
        }
        let relevant: Box<[u8]> = (0..64_u8).filter(|at| bits & 1_u64.checked_shl(u32::from(*at)).unwrap_or(0) != 0).collect();
        // The checks keep to MAX_RELEVANT.
        let count = 1_usize.checked_shl(u32::try_from(relevant.len()).unwrap_or(u32::MAX)).unwrap_or(1);
        let rows = std::iter::repeat_with(OnceLock::new).take(count).collect();
        Some(Self { rules, relevant, rows })
    }

    /// The facts that matter.
    pub(super) fn relevant(&self) -> impl Iterator<Item = FactId> + '_ {
        self.relevant.iter().map(|place| FactId::at(*place))
    }

    /// The row where these facts hold.
    pub(super) fn row(&self, facts: Facts) -> Option<&Row> {
        let bits = facts.bits();
        let index =
            self.relevant.iter().rev().fold(0_usize, |index, place| {
                (index << 1) | usize::from(bits.checked_shr(u32::from(*place)).unwrap_or(0) & 1 == 1)
            });
        self.rows.get(index).map(|row| &**row.get_or_init(|| Box::new(self.rules.row(bits))))
    }

    /// True if these categories together are identifying and linkable data that the purpose reveals.
    pub(super) fn combines(&self, held: impl IntoIterator<Item = CategoryId>) -> bool {
        let kinds = held.into_iter().filter_map(|category| self.rules.kinds.get(usize::from(category.0)));
        kinds.fold(0, |all, kind| all | kind) == IDENTIFYING | LINKABLE
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }
}

/// Could the limit change anything for the purpose, whoever asks?
pub(super) fn touches(spec: &PolicySpec, limit: &LimitSpec, purpose: &PurposeSpec) -> bool {
    limit.covers(&purpose.name)
        && spec.categories.iter().any(|category| {
            let level = said(&purpose.reveal, &category.name).map_or(Level::Absent, |said| said.level);
            let cap = said(&limit.at_most, &category.name).map_or(Level::Clear, |said| said.level);
            let stores = purpose.writes.as_ref().is_some_and(|listed| listed.contains(&category.name));
            level.meet(cap) != level
                || (cap == Level::Absent && stores)
                || (cap != Level::Clear && purpose.search.contains(&category.name))
        })
}

/// Does the limit apply where these facts hold?
pub(super) fn limit_applies(limit: &LimitSpec, table: &FactTable, facts: Facts) -> bool {
    applies(any(&limit.when, table), any(&limit.unless, table), facts.bits())
}

fn bit(table: &FactTable, name: &str) -> u64 {
    table.id(name).map_or(0, super::facts::FactId::bit)
}

fn any(names: &[(String, u32)], table: &FactTable) -> u64 {
    names.iter().fold(0, |all, (name, _)| all | bit(table, name))
}

fn terms(terms: &Terms, table: &FactTable, consent: &str, objection: &str) -> (u64, u64) {
    let needs = any(&terms.needs, table);
    match terms.consent {
        Consent::None => (needs, 0),
        Consent::OptIn => (needs | bit(table, consent), 0),
        Consent::OptOut => (needs, bit(table, objection)),
    }
}

fn kind(nature: Nature, revealed: Level) -> u8 {
    match (nature, revealed) {
        (Nature::Identifying, Level::Clear | Level::Masked | Level::Generalised) => IDENTIFYING,
        (Nature::Linkable, Level::Clear | Level::Masked | Level::Generalised | Level::Pseudonym) => LINKABLE,
        _ => 0,
    }
}
