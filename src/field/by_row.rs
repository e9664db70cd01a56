//! What each row of a body, and each other person in it, is shown and allowed: looked up once for each data subject.
//!
//! Always holds: where the rows of a grant are all alike, nothing is looked at or kept. A value of whom nobody says whose it is goes by the
//! least of the rows, if rows turn on what is known of people. That data of one person combine is told of what the reply holds of them in
//! all its rows; where it comes in parts and they may have rows in several, of what it could hold. `reveal`, `protect`, `carry` ask it.

use std::collections::HashMap;
use std::ops::Range;

use super::ids::{Ids, Place};
use super::plan::{Collection, Field, Meaning, Plan, Subject};
use crate::base::RecordId;
use crate::document::{Found, Kind};
use crate::purpose::{Beside, Kinds, Level, Rights, Row};

/// How much of a reply is looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    #[default]
    Whole,
    /// A part of it. What else it has of somebody is not known.
    Part,
}

/// What may stand beside a value, and is shown with it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Company<'s> {
    /// Nothing is shown.
    Nobody,
    /// What was found in the rows. That rows were found by these fields shows the values of these.
    Shown { searched: &'s [usize], extent: Extent },
}

impl Company<'_> {
    /// A document, whole.
    pub(super) const DOCUMENT: Self = Self::Shown { searched: &[], extent: Extent::Whole };
}

/// The rows of one body.
#[derive(Debug)]
pub(super) struct ByRow<'a> {
    rights: Rights<'a>,
    alike: Option<&'a Row>,
    /// The first of the rows that were looked up.
    first: usize,
    rows: Vec<&'a Row>,
    /// Of other people than the rows'.
    people: HashMap<RecordId, &'a Row>,
}

/// Whose data are taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whom<'i> {
    Person(&'i RecordId),
    /// Whoever a row is about that does not say so.
    Row(usize),
}

impl<'a> ByRow<'a> {
    /// Looks up these rows of a body, in which that was found.
    pub(super) fn of(
        collection: &Collection,
        plan: &Plan,
        rights: Rights<'a>,
        ids: &Ids,
        found: &[Found],
        rows: Range<usize>,
        company: Company<'_>,
    ) -> Self {
        let mut all = Self { rights, alike: rights.alike(), first: rows.start, rows: Vec::new(), people: HashMap::new() };
        if all.alike.is_some() {
            return all;
        }
        let together = Together::of(collection, plan, rights, ids, found, company);
        let mut looked_up: HashMap<Whom<'_>, &'a Row> = HashMap::new();
        let mut look = |whom| {
            *looked_up.entry(whom).or_insert_with(|| {
                let about = if let Whom::Person(id) = whom { Some(id) } else { None };
                rights.row(about, together.beside(whom))
            })
        };
        all.rows = rows.map(|row| look(whose_row(collection, ids, row))).collect();
        for id in ids.people() {
            let row = look(Whom::Person(id));
            all.people.insert(id.clone(), row);
        }
        all
    }

    /// What goes for a place of a field, whether or not a value stands there.
    pub(super) fn at(&self, plan: &Plan, collection: &Collection, ids: &Ids, field: usize, place: Place) -> &'a Row {
        if let Some(row) = self.alike {
            return row;
        }
        if plan.has_own_subject(field) {
            let about = ids.subject_at(collection, plan, field, place).and_then(|id| id.as_ref().ok());
            return match about.map(|id| (id, self.people.get(id))) {
                Some((_, Some(row))) => row,
                Some((id, None)) => self.rights.row(Some(id), Beside::Combined),
                None => self.rights.row(None, Beside::Combined),
            };
        }
        place.0.and_then(|row| usize::try_from(row).ok()).map_or_else(|| self.rights.least(), |row| self.row(row))
    }

    /// The same of a value.
    pub(super) fn of_value(&self, plan: &Plan, collection: &Collection, ids: &Ids, field: usize, found: &Found) -> &'a Row {
        self.at(plan, collection, ids, field, (found.row, found.wildcards))
    }

    /// What goes for a whole row.
    pub(super) fn row(&self, row: usize) -> &'a Row {
        let looked_up = || row.checked_sub(self.first).and_then(|at| self.rows.get(at)).copied();
        self.alike.or_else(looked_up).unwrap_or_else(|| self.rights.least())
    }
}

/// The level at which a row shows a field. Without a form to generalise to, that level shows nothing.
pub(super) fn level_of(row: &Row, field: &Field) -> Level {
    match row.level(field.category) {
        Level::Generalised if field.generalise.is_none() => Level::Absent,
        level @ (Level::Absent | Level::Sealed | Level::Pseudonym | Level::Generalised | Level::Masked | Level::Clear) => level,
    }
}

/// Whom a row is about, where the collection says where that stands.
pub(super) fn about<'i>(collection: &Collection, ids: &'i Ids, row: usize) -> Option<&'i RecordId> {
    if collection.subject == Subject::None {
        return None;
    }
    ids.row(row)?.about(collection)?.as_ref().ok()
}

/// Whom a value, or a place without one, is about.
pub(super) fn about_value<'i>(
    plan: &Plan,
    collection: &Collection,
    ids: &'i Ids,
    field: usize,
    place: Place,
) -> Option<&'i RecordId> {
    if plan.has_own_subject(field) {
        return ids.subject_at(collection, plan, field, place)?.as_ref().ok();
    }
    about(collection, ids, usize::try_from(place.0?).ok()?)
}

fn whose_row<'i>(collection: &Collection, ids: &'i Ids, row: usize) -> Whom<'i> {
    about(collection, ids, row).map_or(Whom::Row(row), Whom::Person)
}

/// Of whom a reply has data that combine.
enum Together<'i> {
    Nobody,
    Everybody,
    These(HashMap<Whom<'i>, Kinds>, Kinds),
}

impl<'i> Together<'i> {
    fn of(collection: &Collection, plan: &Plan, rights: Rights<'_>, ids: &'i Ids, found: &[Found], company: Company<'_>) -> Self {
        let Company::Shown { searched, extent } = company else { return Self::Nobody };
        if !rights.grant().turns_on_combination() {
            return Self::Nobody;
        }
        let kinds = |field: usize| collection.fields.get(field).map(|field| rights.kinds(field.category)).unwrap_or_default();
        // A document that is its own data subject has all of their data in its one row.
        let apart = collection.subject == Subject::DocumentId && collection.fields.iter().all(|field| field.subject.is_none());
        if extent == Extent::Part && !apart {
            let all = (0..collection.fields.len()).fold(Kinds::default(), |all, field| all.and(kinds(field)));
            return if all.combine() { Self::Everybody } else { Self::Nobody };
        }
        let mut of_each: HashMap<Whom<'_>, Kinds> = HashMap::new();
        let mut add = |field: usize, found: &Found, more: Kinds| {
            let Some(row) = found.row.and_then(|row| usize::try_from(row).ok()) else { return };
            let place = (found.row, found.wildcards);
            let whom = about_value(plan, collection, ids, field, place).map_or(Whom::Row(row), Whom::Person);
            let all = of_each.entry(whom).or_default();
            *all = all.and(more);
        };
        for found in found {
            let Some(Meaning::Field(field)) = plan.meaning(found) else { continue };
            if found.misfit {
                // It may hide any of these.
                for field in plan.neighbours(field) {
                    add(*field, found, kinds(*field));
                }
            } else if found.kind != Kind::Null {
                add(field, found, kinds(field));
            }
        }
        let searched = searched.iter().fold(Kinds::default(), |all, field| all.and(kinds(*field)));
        Self::These(of_each, searched)
    }

    fn beside(&self, whom: Whom<'i>) -> Beside {
        let combine = match self {
            Self::Nobody => false,
            Self::Everybody => true,
            Self::These(of_each, searched) => of_each.get(&whom).copied().unwrap_or_default().and(*searched).combine(),
        };
        if combine { Beside::Combined } else { Beside::Apart }
    }
}

#[cfg(test)]
mod tests;
