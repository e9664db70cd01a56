//! Which id binds a value: of its document, of the data subject the document is about, or of another person in it.
//!
//! Always holds: an id is a string or a canonical integer (T36), otherwise there is none. The id of the URL is the id of a row that
//! stands alone (`$`, `$.data`).

use std::collections::HashMap;

use super::plan::{Collection, Meaning, Plan, Subject};
use crate::base::{Bind, RecordId, RecordIdError};
use crate::document::{Found, Kind, Layout, MAX_WILDCARDS, unescape};

/// An id as it was found.
pub(super) type Id = Result<RecordId, RecordIdError>;

/// Where a value stands: its row, and what the wildcards of its selector match.
pub(super) type Place = (Option<u32>, [u32; MAX_WILDCARDS]);

/// The ids of one window or body.
#[derive(Debug)]
pub(super) struct Ids {
    rows: Vec<RowIds>,
    /// Other people: (row, field, wildcards up to the subject's last one) → id.
    people: HashMap<(u32, usize, [u32; MAX_WILDCARDS]), Id>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct RowIds {
    pub(super) document: Option<Id>,
    pub(super) subject: Option<Id>,
}

/// Why a value has no id to be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoId {
    Missing,
    Bad(RecordIdError),
}

impl Ids {
    /// Reads the ids of every row.
    pub(super) fn of(plan: &Plan, bytes: &[u8], layout: &Layout) -> Self {
        let mut ids = Self { rows: vec![RowIds::default(); layout.rows.len()], people: HashMap::new() };
        for found in layout.found.iter().filter(|found| !found.misfit) {
            let Some(meaning) = plan.meaning(found) else { continue };
            match meaning {
                Meaning::Id => {
                    if let Some(row) = ids.row_mut(found) {
                        row.document = Some(read(bytes, found));
                    }
                }
                Meaning::Subject => {
                    if let Some(row) = ids.row_mut(found) {
                        row.subject = Some(read(bytes, found));
                    }
                }
                Meaning::FieldSubject(field) => {
                    if let Some(key) = person(plan, field, (found.row, found.wildcards)) {
                        ids.people.insert(key, read(bytes, found));
                    }
                }
                Meaning::Field(_) | Meaning::Index(..) | Meaning::RowPeek(_) | Meaning::BodyPeek(_) => {}
            }
        }
        ids
    }

    /// The same of what the database sent: there the id of the URL holds for the row `$`, also against the body.
    pub(super) fn of_reply(plan: &Plan, bytes: &[u8], layout: &Layout, url_id: Option<&RecordId>) -> Self {
        let mut ids = Self::of(plan, bytes, layout);
        if let Some(url_id) = url_id {
            for (index, _) in layout.rows.iter().enumerate().filter(|(_, row)| plan.is_sole_row(row.set)) {
                ids.set_document(index, Ok(url_id.clone()));
            }
        }
        ids
    }

    pub(super) fn row(&self, row: usize) -> Option<&RowIds> {
        self.rows.get(row)
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Other people than those whom rows are about, some perhaps more than once.
    pub(super) fn people(&self) -> impl Iterator<Item = &RecordId> {
        self.people.values().filter_map(|id| id.as_ref().ok())
    }

    /// Sets the document's id, where the URL or the proxy gives it.
    pub(super) fn set_document(&mut self, row: usize, id: Id) {
        if let Some(row) = self.rows.get_mut(row) {
            row.document = Some(id);
        }
    }

    /// Sets whom the document is about, where only the stored document says so.
    pub(super) fn set_subject(&mut self, row: usize, id: Id) {
        if let Some(row) = self.rows.get_mut(row) {
            row.subject = Some(id);
        }
    }

    /// The id that a value of a field is bound to; empty text where it is bound to its field only.
    pub(super) fn binding(&self, collection: &Collection, plan: &Plan, field: usize, found: &Found) -> Result<&str, NoId> {
        self.binding_at(collection, plan, field, (found.row, found.wildcards))
    }

    /// The same for a place where no value stands: its row, and what the selector's wildcards would match.
    pub(super) fn binding_at(&self, collection: &Collection, plan: &Plan, field: usize, place: Place) -> Result<&str, NoId> {
        let id = match collection.bind {
            Bind::Field => return Ok(""),
            Bind::Document => self.row_at(place).and_then(|row| row.document.as_ref()),
            Bind::Subject => self.subject_at(collection, plan, field, place),
        };
        match id {
            Some(Ok(id)) => Ok(id.as_str()),
            Some(Err(error)) => Err(NoId::Bad(*error)),
            None => Err(NoId::Missing),
        }
    }

    /// Who a value of a field is about, as far as the document says.
    pub(super) fn subject(&self, collection: &Collection, plan: &Plan, field: usize, found: &Found) -> Option<&Id> {
        self.subject_at(collection, plan, field, (found.row, found.wildcards))
    }

    /// The same for a place where no value stands.
    pub(super) fn subject_at(&self, collection: &Collection, plan: &Plan, field: usize, place: Place) -> Option<&Id> {
        if plan.fields.get(field)?.subject_wildcards.is_some() {
            return self.people.get(&person(plan, field, place)?);
        }
        self.row_at(place)?.about(collection)
    }

    fn row_at(&self, (row, _): Place) -> Option<&RowIds> {
        self.rows.get(usize::try_from(row?).ok()?)
    }

    fn row_mut(&mut self, found: &Found) -> Option<&mut RowIds> {
        self.rows.get_mut(usize::try_from(found.row?).ok()?)
    }
}

impl RowIds {
    /// Who the document is about.
    pub(super) fn about(&self, collection: &Collection) -> Option<&Id> {
        match collection.subject {
            Subject::At(_) => self.subject.as_ref(),
            Subject::DocumentId | Subject::None => self.document.as_ref(),
        }
    }
}

/// Distinct data subjects, in the order in which they are met.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    list: Vec<RecordId>,
    /// Index of `list`, built once a linear search would be slow.
    seen: std::collections::HashSet<RecordId>,
}

impl Subjects {
    const LINEAR: usize = 16;

    pub(super) fn add(&mut self, id: Option<&Id>) {
        let Some(Ok(id)) = id else { return };
        if self.list.len() < Self::LINEAR {
            if !self.list.contains(id) {
                self.list.push(id.clone());
            }
            return;
        }
        if self.seen.is_empty() {
            self.seen.extend(self.list.iter().cloned());
        }
        if self.seen.insert(id.clone()) {
            self.list.push(id.clone());
        }
    }

    pub(super) fn into_list(self) -> Vec<RecordId> {
        self.list
    }
}

/// The key under which a person is kept: the wildcards that the field and its subject share.
fn person(plan: &Plan, field: usize, (row, mut wildcards): Place) -> Option<(u32, usize, [u32; MAX_WILDCARDS])> {
    let shared = plan.fields.get(field)?.subject_wildcards?;
    wildcards.iter_mut().skip(shared).for_each(|position| *position = 0);
    Some((row?, field, wildcards))
}

fn read(bytes: &[u8], found: &Found) -> Id {
    let text = bytes.get(found.value.clone()).unwrap_or_default();
    match found.kind {
        Kind::String => RecordId::from_text(&unescape(text).ok_or(RecordIdError::NotCanonical)?),
        Kind::Number => RecordId::from_number(std::str::from_utf8(text).map_err(|_not_a_number| RecordIdError::NotCanonical)?),
        Kind::Null | Kind::Bool | Kind::Array | Kind::Object => Err(RecordIdError::NotCanonical),
    }
}
