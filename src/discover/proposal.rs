//! From counts to a proposal: which category the values of a path are of, how sure that is, and why.
//!
//! A detector's word is worth the share of values it took, times what it is worth when it takes every value ([`by_values`]). A member's name is
//! worth less where the values can be checked and do not pass. The two are joined as independent hints. Every number here was set by hand and
//! measured afterwards (`docs/discovery.md`).

use std::fmt::Write as _;

use super::category::{CATEGORIES, Category};
use super::member::{Telling, speaks_against, telling};
use super::paths::{Counts, Node, Paths};
use super::signs::Sign;
use crate::document::{MAX_WILDCARDS, Selector};

/// A path whose values look personal.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// Where, relative to a document.
    pub at: Selector,
    /// What the values are.
    pub category: Category,
    /// 0 to 1.
    pub confidence: f64,
    /// Why.
    pub evidence: Evidence,
}

/// Why a path is proposed: counts, never a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Values that were looked at.
    pub seen: u64,
    /// How many of them a detector of the category took.
    pub matched: u64,
    /// The member's name says it.
    pub name: Option<Telling>,
}

/// What was found, and what could not be.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// By path, as documents name them. No two can name the same value.
    pub proposals: Vec<Proposal>,
    /// How many more there are whose confidence is below what was asked for, but [`WORTH_TELLING`].
    pub below: usize,
    /// Paths with more wildcards than a selector may have.
    pub too_deep: usize,
}

/// Below this confidence a path is not even counted among those that were left out.
pub const WORTH_TELLING: f64 = 0.3;
/// A detector that takes fewer of the values than this has taken them by chance.
const CHANCE: f64 = 0.2;
/// What is left of a detector's word under a name that says that the values are nobody's.
const AGAINST_NAME: f64 = 0.6;
/// A member's name alone, where values of the category have no certain form.
const NAME_ALONE: f64 = 0.72;
/// A member's name alone, where values of the category can be checked and did not pass.
const NAME_AGAINST_VALUES: f64 = 0.3;

/// Judges every path; those with a confidence below `least` are only counted.
pub fn propose(paths: &Paths, least: f64) -> Found {
    let mut found = Found::default();
    Walk { least, found: &mut found }.down(&paths.root, &mut String::from("$"), None, 0);
    found
}

struct Walk<'f> {
    least: f64,
    found: &'f mut Found,
}

impl Walk<'_> {
    /// `name` is that of the nearest member above.
    fn down(&mut self, node: &Node, path: &mut String, name: Option<&str>, wildcards: usize) {
        if let Some((category, confidence, evidence)) = judge(&node.counts, name)
            && path.len() > 1
        {
            match Selector::parse(path) {
                _ if confidence < self.least => self.found.below += usize::from(confidence >= WORTH_TELLING),
                Ok(at) if wildcards <= MAX_WILDCARDS => {
                    self.found.proposals.push(Proposal { at, category, confidence, evidence });
                    // What stands below belongs to it: a selector for it would name the same value.
                    return;
                }
                _ => self.found.too_deep += 1,
            }
        }
        let length = path.len();
        for (member, below) in &node.members {
            write_member(path, member);
            self.down(below, path, Some(member), wildcards);
            path.truncate(length);
        }
        for (step, below) in [(".*", &node.any_member), ("[*]", &node.elements)] {
            if let Some(below) = below {
                path.push_str(step);
                self.down(below, path, name, wildcards + 1);
                path.truncate(length);
            }
        }
    }
}

/// As [`Selector`] writes it.
fn write_member(path: &mut String, name: &str) {
    let mut quoted = Vec::new();
    crate::document::write_string(name, &mut quoted);
    // Both forms parse; the plain one is for people.
    let bare = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    let written = if bare { write!(path, ".{name}") } else { write!(path, "[{}]", String::from_utf8_lossy(&quoted)) };
    written.unwrap_or_default();
}

/// The best category for what was seen at a path, under a member of this name.
fn judge(counts: &Counts, name: Option<&str>) -> Option<(Category, f64, Evidence)> {
    let seen = counts.values;
    if seen == 0 {
        return None;
    }
    let told = name.and_then(telling);
    let against = name.is_some_and(speaks_against);
    let mut best: Option<(Category, f64, Evidence)> = None;
    for category in CATEGORIES {
        let name = told.filter(|(told, _)| *told == category).map(|(_, telling)| telling);
        let Values { worth, matched, support } = by_values(category, counts, name.is_some());
        let worth = if against && is_often_something_else(category) { worth * AGAINST_NAME } else { worth };
        let by_name = match name {
            None => 0.0,
            Some(telling) => {
                let full = if telling == Telling::Whole { 1.0 } else { 0.6 };
                full * if support { NAME_ALONE } else { NAME_AGAINST_VALUES }
            }
        };
        let confidence = 1.0 - (1.0 - worth) * (1.0 - by_name);
        if confidence > 0.05 && best.is_none_or(|(_, most, _)| confidence > most) {
            best = Some((category, confidence, Evidence { seen, matched, name }));
        }
    }
    best
}

/// Things bear these forms too: brands and products names, warehouses addresses, firms dates, vouchers numbers, software versions.
fn is_often_something_else(category: Category) -> bool {
    matches!(category, Category::Name | Category::Address | Category::BirthDate | Category::Card | Category::Ip)
}

struct Values {
    /// How sure the values alone make it.
    worth: f64,
    /// How many values fit.
    matched: u64,
    /// The values do not speak against a name that says so.
    support: bool,
}

fn by_values(category: Category, counts: &Counts, named: bool) -> Values {
    // One value more than was seen: little was seen is little known.
    let share = |count: u64| ratio(count, counts.values.max(counts.containers) + 1);
    let of = |sign| counts.of(sign);
    let checked = |worths: &[(Sign, f64)]| {
        let matched = worths.iter().map(|(sign, _)| of(*sign)).sum::<u64>().min(counts.values);
        let worth: f64 = worths.iter().map(|(sign, worth)| worth * share(of(*sign))).sum();
        (if share(matched) < CHANCE { 0.0 } else { worth.min(0.98) }, matched)
    };
    let plain = |worths: &[(Sign, f64)], support: bool| {
        let (worth, matched) = checked(worths);
        Values { worth, matched, support: support || share(matched) >= 0.3 }
    };
    match category {
        Category::Email => plain(&[(Sign::Email, 0.98)], false),
        Category::Card => plain(&[(Sign::Card, 0.95)], false),
        Category::BankAccount => plain(&[(Sign::Iban, 0.98)], false),
        Category::OfficialId => plain(
            &[(Sign::ResidentId, 0.98), (Sign::CheckedId, 0.88), (Sign::ShapedId, 0.75)],
            !counts_look_like(counts, Sign::Email),
        ),
        Category::Passport => plain(&[(Sign::Passport, 0.35)], true),
        Category::Phone => {
            let mut worths = vec![(Sign::PhoneInternational, 0.96), (Sign::PhoneNational, 0.85)];
            if named {
                worths.push((Sign::PhoneDigits, 0.5));
            }
            plain(&worths, false)
        }
        Category::Ip => plain(&[(Sign::Ip, 0.92)], false),
        Category::Coordinates => {
            let degrees = if named { 0.7 } else { 0.3 };
            plain(&[(Sign::DegreePair, 0.85), (Sign::Degrees, degrees)], false)
        }
        Category::Device => plain(&[(Sign::Mac, 0.85), (Sign::Uuid, 0.4), (Sign::Imei, 0.5)], true),
        Category::Address => plain(&[(Sign::Address, 0.92)], counts.numbers == 0),
        Category::Postcode => plain(&[(Sign::Postcode, 0.3)], false),
        Category::BirthDate => {
            // Dates of five decades are of people's lives.
            let worth = if counts.decades.count_ones() >= 5 { 0.72 } else { 0.45 };
            let dates = share(of(Sign::Date)) >= 0.3;
            plain(&[(Sign::Birth, worth)], dates)
        }
        Category::Gender => plain(&[(Sign::Gender, 0.8)], true),
        Category::Name => person(counts),
    }
}

/// Do most values bear this sign?
fn counts_look_like(counts: &Counts, sign: Sign) -> bool {
    ratio(counts.of(sign), counts.values) > 0.5
}

/// Names are judged by how many are written as names are and how many are frequent ones; firms among them speak against.
fn person(counts: &Counts) -> Values {
    let total = counts.values + 1;
    let (shape, known) = (ratio(counts.of(Sign::NameShape), total), ratio(counts.of(Sign::NameKnown), total));
    let firms = ratio(counts.of(Sign::Company), total);
    let worth = if firms > 0.1 {
        0.2 * known
    } else if shape >= 0.5 {
        (1.6 * known).min(0.92) * shape.sqrt()
    } else {
        known.min(0.85)
    };
    let worth = if known < CHANCE { 0.0 } else { worth };
    Values { worth, matched: counts.of(Sign::NameKnown), support: counts.numbers == 0 && firms <= 0.3 }
}

fn ratio(part: u64, of: u64) -> f64 {
    // Counts of values: exact far beyond what a file holds.
    let float = |count: u64| u32::try_from(count).map_or(f64::from(u32::MAX), f64::from);
    if of == 0 { 0.0 } else { float(part) / float(of) }
}
