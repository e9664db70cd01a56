//! Protects a patch: a merge patch (RFC 7396) or a JSON Patch (RFC 6902) of one document.
//!
//! The stored document is not at hand, so a patch may do only what is right whatever is stored: give a new value, or remove one,
//! of a category that the caller may write. What would replace unseen values along with others (an array, an object around
//! them), what would take a form that a reader was shown for the value itself, and what would look at a value (`test`, `copy`,
//! `move`) is refused, with the way that works: PUT the whole document, which is compared with what is stored (T26).
//!
//! Always holds: the binding members (the id, the data subject) are not changed by a patch while a value bound to them stays (T35).

use bytes::Bytes;
use serde_json::Value;

use super::{Before, Protected, ProtectedBody, RowWrite, Write, WriteError, unbound};
use crate::base::{Intent, PatchFormat, RecordId};
use crate::document::{Layout, Selector, Step, Touched, touched};
use crate::field::by_row::{ByRow, Company};
use crate::field::carry::Carried;
use crate::field::ids::{Ids, NoId, Subjects};
use crate::field::plan::{Collection, Field, Plan, Subject};
use crate::field::seal::Sealer;
use crate::field::tokens::{Tokens, settled};
use crate::keys::Rings;
use crate::purpose::{Beside, Level, Rights, Row};

mod operations;

/// Which document is patched.
#[derive(Debug, Clone, Copy)]
pub struct Patched<'a> {
    /// Its id, from the URL.
    pub id: &'a RecordId,
    /// Who it is about, where a member of the stored document says so.
    pub subject: Option<&'a RecordId>,
    /// What the vault knows and made.
    pub tokens: Option<&'a Tokens>,
}

/// Must the stored document be read for its data subject before a patch of this collection can be protected?
pub fn patch_needs_subject(collection: &Collection) -> bool {
    matches!(collection.subject, Subject::At(_)) && collection.fields.iter().any(|field| is_about_it(collection, field))
}

/// Is what is stored of a field bound to the document's data subject, or kept for whom it is used?
fn is_about_it(collection: &Collection, field: &Field) -> bool {
    field.subject.is_none() && (collection.bind == crate::base::Bind::Subject || field.protection.suite().is_none())
}

/// Protects a whole patch. `layout` is what the walker found in it by `plan`, whose rows say where a document stands in a body.
///
/// # Errors
///
/// [`WriteError`]; nothing of the patch may then be sent.
#[expect(
    clippy::too_many_arguments,
    reason = "the patch, what was found in it, and under which rules it is judged: each comes from another module"
)]
pub fn protect_patch<'a>(
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    rights: impl Into<Rights<'a>>,
    format: PatchFormat,
    bytes: &Bytes,
    layout: &Layout,
    of: Patched<'a>,
) -> Result<Protected, WriteError> {
    let rights = rights.into();
    let patch = Patch { collection, plan, keys, rights, of };
    patch.knows_whom()?;
    let outcome = match format {
        PatchFormat::Merge => patch.merge(bytes, layout),
        PatchFormat::Json => patch.operations(bytes),
    };
    settled(of.tokens, outcome)
}

/// Why a list that is searched is not patched in part.
const NOT_IN_PART: &str = "it is searched by an index of all values of the list, so they can only be patched together; give the whole list, or PUT the document";

/// Where the terms of a patch go.
#[derive(Clone, Copy)]
enum Terms<'t> {
    /// Into the rows, as members; of these (row, field) also where there are none, as null.
    Beside(&'t [(usize, usize)]),
    /// To the caller, for the one row there is; of these fields also where there are none.
    Apart(&'t [usize]),
}

/// A member with its JSON text.
type IndexMember = (String, Vec<u8>);

struct Patch<'a> {
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    rights: Rights<'a>,
    of: Patched<'a>,
}

impl Patch<'_> {
    fn merge(&self, bytes: &Bytes, layout: &Layout) -> Result<Protected, WriteError> {
        let mut mentioned = Vec::new();
        for (number, row) in layout.rows.iter().enumerate() {
            let text = bytes.get(row.range.clone()).ok_or(WriteError::Layout)?;
            let piece: Value = serde_json::from_slice(text).map_err(|_walked_before| WriteError::Layout)?;
            self.judge_merge(&piece)?;
            for (index, field) in self.collection.fields.iter().enumerate().filter(|(_, field)| !field.indexes.is_empty()) {
                if Self::says_all_of(field, &piece)? {
                    mentioned.push((number, index));
                }
            }
        }
        let (sealed, _terms) = self.seal(bytes, layout, Terms::Beside(&mentioned))?;
        Ok(Protected { subjects: self.subjects(sealed.subjects), ..sealed })
    }

    /// Does the patch give or remove the value of a field with an index, or all values of a list? Then its index member is written anew.
    /// Of a part of the values, no whole list of terms can be made.
    fn says_all_of(field: &Field, piece: &Value) -> Result<bool, WriteError> {
        let Some(list) = field.at.before_wildcard() else { return Ok(touched(piece, &field.at).any()) };
        let mut here = piece;
        for step in list.steps() {
            match (step, here) {
                (Step::Member(name), Value::Object(members)) => match members.get(&**name) {
                    Some(member) => here = member,
                    None => return Ok(false),
                },
                // Removed, or replaced as a whole.
                _ => return Ok(true),
            }
        }
        if field.at.steps().get(list.steps().len()) == Some(&Step::AnyMember) && here.is_object() {
            return Err(Self::refused(field, NOT_IN_PART));
        }
        Ok(true)
    }

    /// What is allowed turns on whom the document is about, and only the stored one says so.
    fn knows_whom(&self) -> Result<(), WriteError> {
        let Subject::At(selector) = &self.collection.subject else { return Ok(()) };
        let Some(field) = self.collection.fields.first() else { return Ok(()) };
        if self.of.subject.is_some() || self.rights.alike().is_some() || !self.rights.grant().turns_on_people() {
            return Ok(());
        }
        Err(WriteError::SubjectMissing {
            field: field.name.clone(),
            bind: "data subject",
            selector: selector.to_string(),
            remedy: "what this purpose may do turns on it; PUT the whole document, with it".into(),
        })
    }

    /// Whom a field of the patched document is about. Of other people in it a patch may say little, and nobody is taken for another.
    fn about(&self, field: &Field) -> Option<&RecordId> {
        match (&field.subject, &self.collection.subject) {
            (Some(_), _) | (None, Subject::None) => None,
            (None, Subject::DocumentId) => Some(self.of.id),
            (None, Subject::At(_)) => self.of.subject,
        }
    }

    fn row(&self, field: &Field) -> &Row {
        self.rights.row(self.about(field), Beside::Apart)
    }

    fn judge_merge(&self, piece: &Value) -> Result<(), WriteError> {
        let id = touched(piece, &self.collection.id);
        if id.removed || id.replaced {
            return Err(WriteError::IdMismatch { selector: self.collection.id.to_string() });
        }
        if let Subject::At(subject) = &self.collection.subject {
            // Given anew it must be the same; `seal` compares.
            let done = touched(piece, subject);
            if done.removed || done.replaced {
                return Err(self.subject_changed(subject));
            }
        }
        for field in &self.collection.fields {
            let done = touched(piece, &field.at);
            if let Some(subject) = &field.subject {
                // Several people under one name (`$.people.*`) cannot be told apart by shape.
                let apart = !done.any() || subject.to_string().contains(".*");
                if touched(piece, subject).any() && apart {
                    return Err(self.subject_changed(subject));
                }
            }
            self.may(field, done)?;
            if done.merged {
                let why = "an object in a merge patch is merged with the one that is there, but what is stored is sealed whole; PUT the document, or give all of the object in a JSON Patch";
                return Err(Self::refused(field, why));
            }
            if done.removed && field.seal_null {
                return Err(Self::refused(field, "null would remove a member whose nulls are stored sealed"));
            }
        }
        Ok(())
    }

    /// May this grant do this to a field, whatever is stored?
    fn may(&self, field: &Field, done: Touched) -> Result<(), WriteError> {
        if !done.any() {
            return Ok(());
        }
        let row = self.row(field);
        if !row.may_write(field.category) {
            return Err(WriteError::NotWritable {
                purpose: self.rights.grant().purpose().clone(),
                category: field.category_name.clone(),
                level: row.level(field.category),
                why: self.rights.why_not(self.about(field), Some(field.category)),
            });
        }
        if !self.keys.holds(&field.ring) {
            return Err(WriteError::not_held(field));
        }
        let would_erase = |reason| {
            Err(WriteError::WouldErase {
                purpose: self.rights.grant().purpose().clone(),
                category: field.category_name.clone(),
                reason,
                remedy: "PUT the whole document, which is compared with what is stored".into(),
            })
        };
        // The caller may have been shown less than it would be shown now.
        if self.rights.alike().is_none() {
            if done.replaced && self.rights.least().level(field.category) == Level::Absent {
                return would_erase("may not see all of");
            }
            if (done.set || done.replaced) && self.rights.grant().may_generalise(field.category) {
                return would_erase("may see a stand-in of");
            }
        }
        match row.level(field.category) {
            Level::Absent if done.replaced => would_erase("does not see"),
            Level::Masked | Level::Generalised | Level::Pseudonym if done.set || done.replaced => {
                would_erase("sees a stand-in of")
            }
            Level::Clear | Level::Sealed | Level::Absent | Level::Masked | Level::Generalised | Level::Pseudonym => Ok(()),
        }
    }

    fn document_subject(&self) -> Option<&Selector> {
        match &self.collection.subject {
            Subject::At(selector) => Some(selector),
            Subject::DocumentId | Subject::None => None,
        }
    }

    fn refused(field: &Field, why: &'static str) -> WriteError {
        WriteError::PatchRefused { field: field.name.clone(), why }
    }

    /// Of a field with a subject of its own, or of the first that is about the document's.
    fn subject_changed(&self, selector: &Selector) -> WriteError {
        let mut fields = self.collection.fields.iter();
        let own = |field: &&Field| field.subject.as_ref().or(self.document_subject()) == Some(selector);
        match fields.find(own) {
            Some(field) => WriteError::SubjectChanged { field: field.name.clone(), selector: selector.to_string() },
            None => WriteError::Layout,
        }
    }

    /// Seals what a document, or a piece of one, holds; whether it may be given was judged before. Terms that do not stand in the body
    /// come beside it.
    fn seal(&self, bytes: &[u8], layout: &Layout, terms: Terms<'_>) -> Result<(Protected, Vec<IndexMember>), WriteError> {
        if layout.rows.is_empty() || layout.odd_rows > 0 {
            return Err(WriteError::NoRows { positions: self.plan.row_positions() });
        }
        let rows = vec![RowWrite { intent: Intent::Create, assigned_id: None }; layout.rows.len()];
        let before = Before { tokens: self.of.tokens, ..Before::default() };
        let ids = Ids::of(self.plan, bytes, layout);
        let by_row = ByRow::of(self.collection, self.plan, self.rights, &ids, &layout.found, 0..ids.rows(), Company::Nobody);
        let mut write = Write {
            collection: self.collection,
            plan: self.plan,
            keys: self.keys,
            rights: self.rights,
            by_row,
            bytes,
            layout,
            rows: &rows,
            before: &before,
            ids,
        };
        // The id of the URL is the document's, wherever in the body it stands.
        for row in 0..layout.rows.len() {
            match write.ids.row(row).and_then(|ids| ids.document.as_ref()) {
                Some(Ok(id)) if id == self.of.id => {}
                Some(_) => return Err(WriteError::IdMismatch { selector: self.collection.id.to_string() }),
                None => write.ids.set_document(row, Ok(self.of.id.clone())),
            }
            if let Subject::At(selector) = &self.collection.subject {
                match (write.ids.row(row).and_then(|ids| ids.subject.as_ref()), self.of.subject) {
                    (Some(Ok(id)), Some(subject)) if id == subject => {}
                    (Some(_), Some(_)) => return Err(self.subject_changed(selector)),
                    (None, Some(subject)) => write.ids.set_subject(row, Ok(subject.clone())),
                    // What is stored may be bound to another one.
                    (Some(_), None) => self.may_name_subject()?,
                    (None, None) => {}
                }
            }
        }
        write.no_index_members()?;
        for (_, found, index) in write.values() {
            let field = write.field(index)?;
            if found.misfit {
                return Err(WriteError::Misfit { field: field.name.clone(), selector: field.at.to_string() });
            }
        }
        let mut sealer = Sealer::new(self.collection, self.plan, self.keys, layout.rows.len()).with(self.of.tokens);
        match terms {
            Terms::Beside(mentioned) => {
                for (row, field) in mentioned {
                    sealer.indexer.mention(*row, *field);
                }
            }
            Terms::Apart(mentioned) => {
                sealer.indexer.keep_apart();
                for field in mentioned {
                    sealer.indexer.mention(0, *field);
                }
            }
        }
        let (body, tally) = write.seal("", &mut sealer, Carried::default())?;
        let apart = matches!(terms, Terms::Apart(_));
        let members = sealer.indexer.members(0).filter(|_| apart).map(|(member, text)| (member.to_owned(), text)).collect();
        let mut subjects = Subjects::default();
        for (_, found, field) in write.values() {
            subjects.add(write.ids.subject(self.collection, self.plan, field, found));
        }
        Ok((Protected { body: ProtectedBody(body), tally, subjects: subjects.into_list() }, members))
    }

    /// May it be given where the stored one is not known?
    fn may_name_subject(&self) -> Result<(), WriteError> {
        let bound = patch_needs_subject(self.collection);
        let field = self.collection.fields.iter().find(|field| bound && is_about_it(self.collection, field));
        field.map_or(Ok(()), |field| Err(unbound(self.collection, field, NoId::Missing)))
    }

    /// Whom a patch is about: the document's own subject, and the other people whose values it gives.
    fn subjects(&self, others: Vec<RecordId>) -> Vec<RecordId> {
        let document = match self.collection.subject {
            Subject::At(_) => self.of.subject.cloned(),
            Subject::DocumentId | Subject::None => Some(self.of.id.clone()),
        };
        let mut subjects = Subjects::default();
        for id in document.into_iter().chain(others) {
            subjects.add(Some(&Ok(id)));
        }
        subjects.into_list()
    }

    /// Selectors as seen from the body, by each of the places where a document may stand in it; and from the document itself, for many
    /// servers that wrap a document in a reply apply a patch to what is in the wrapping.
    fn in_body<'s>(&'s self, below: &'s Selector) -> impl Iterator<Item = Selector> + use<'s> {
        let wrapped = self.plan.positions().all(|row| !row.steps().is_empty());
        self.plan.positions().map(move |row| row.join(below)).chain(wrapped.then(|| below.clone()))
    }
}

#[cfg(test)]
mod tests;
