//! Protects a request body: every configured value leaves sealed, every other byte leaves as it came (T8).
//!
//! Always holds: of a body that carries documents, a [`ProtectedBody`] is made only here, after every configured value was judged under
//! the grant; a text that looks like an envelope is opened under its place or refused, never skipped (T2); a form that a reader was
//! shown never replaces the real value (T26). A refusal names fields, categories and selectors, never a value.
//!
//! A replacement that cannot be judged without the stored document ([`super::rows_that_need_the_stored`]) is refused (`would-erase`) unless
//! `exchange` brings that document along; `carry` then says which of its values stay.

use std::fmt;

use bytes::Bytes;

mod error;
mod out;
mod patch;
mod whom;

pub use error::WriteError;
pub use patch::{Patched, patch_needs_subject, protect_patch};
pub use whom::{may_remove, stays_closed};

use self::out::Out;
use self::whom::{may_delete, name_rows};
use super::by_row::{ByRow, Company, about, about_value, level_of};
use super::carry::{self, Carried};
use super::envelope::{self, Suite};
use super::ids::{Ids, NoId, Subjects};
use super::index::envelope_of;
use super::mask::has_mask_character;
use super::open::{NotOpened, Opener, hangs_on_compromised};
use super::plan::{Collection, Field, Meaning, Plan, Protection, Subject};
use super::seal::Sealer;
use super::stored::{Before, StoredRow};
use super::tokens::{Tokens, settled};
use super::{Tally, pseudonym};
use crate::base::{Bind, CategoryName, Intent, RecordId};
use crate::document::{Found, Kind, Layout, Selector, unescape, write_string};
use crate::keys::Rings;
use crate::purpose::{CategoryId, Level, Permit, Rights, Row, Upkeep};

/// The only body the upstream client takes for a protected collection.
pub struct ProtectedBody(Bytes);

/// Without the bytes, which hold what is not protected (T13).
impl fmt::Debug for ProtectedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProtectedBody({} bytes)", self.0.len())
    }
}

impl ProtectedBody {
    /// The body of a request that has none.
    pub fn none() -> Self {
        Self(Bytes::new())
    }

    /// A body that by its route carries no documents (a list of ids), byte for byte. `layout` is what the walker found in it.
    ///
    /// # Errors
    ///
    /// [`WriteError::UnexpectedDocument`] if a document or a configured value stands in it after all.
    pub fn without_documents(plan: &Plan, bytes: &Bytes, layout: &Layout) -> Result<Self, WriteError> {
        let value = |found: &Found| !matches!(plan.meaning(found), Some(Meaning::BodyPeek(_)));
        if layout.rows.is_empty() && layout.odd_rows == 0 && !layout.found.iter().any(value) {
            Ok(Self(bytes.clone()))
        } else {
            Err(WriteError::UnexpectedDocument)
        }
    }

    /// A body whose every configured value was judged elsewhere in `field`.
    pub(super) fn judged(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The same, to look at.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes to send.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// What one row of a write does, with the new id where the proxy gives one.
#[derive(Debug, Clone)]
pub struct RowWrite {
    /// Create, Replace or Delete. Anything else is judged like Replace, the strictest.
    pub intent: Intent,
    /// The id that is inserted as the row's first member.
    pub assigned_id: Option<String>,
}

/// What [`protect`] gives.
#[derive(Debug)]
pub struct Protected {
    /// What to send.
    pub body: ProtectedBody,
    /// Counts.
    pub tally: Tally,
    /// Who the documents are about: distinct, in order.
    pub subjects: Vec<RecordId>,
}

/// Protects a whole request body. `rows[i]` belongs to `layout.rows[i]`; `url_id` is the id of a document that stands alone (`$`,
/// `$.data`), and must agree with the id in the body; `id_member` is the member that an assigned id is written as.
///
/// # Errors
///
/// [`WriteError`]; nothing of the body may then be sent.
#[expect(
    clippy::too_many_arguments,
    reason = "the body, what was found in it, and under which rules it is judged: each comes from another module"
)]
pub fn protect<'a>(
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    rights: impl Into<Rights<'a>>,
    bytes: &Bytes,
    layout: &Layout,
    rows: &[RowWrite],
    url_id: Option<&RecordId>,
    id_member: &str,
) -> Result<Protected, WriteError> {
    protect_over(collection, plan, keys, rights, bytes, layout, rows, url_id, id_member, &Before::default())
}

/// The same over what is stored: values that are sent back as they were shown, or that the caller may not touch, stay.
///
/// # Errors
///
/// [`WriteError`]; nothing of the body may then be sent.
#[expect(
    clippy::too_many_arguments,
    reason = "the body, what was found in it, and under which rules it is judged: each comes from another module"
)]
pub fn protect_over<'a>(
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    rights: impl Into<Rights<'a>>,
    bytes: &Bytes,
    layout: &Layout,
    rows: &[RowWrite],
    url_id: Option<&RecordId>,
    id_member: &str,
    before: &Before<'_>,
) -> Result<Protected, WriteError> {
    settled(before.tokens, over(collection, plan, keys, rights.into(), bytes, layout, rows, url_id, id_member, before))
}

#[expect(clippy::too_many_arguments, reason = "as `protect_over`")]
fn over(
    collection: &Collection,
    plan: &Plan,
    keys: &Rings,
    rights: Rights<'_>,
    bytes: &Bytes,
    layout: &Layout,
    rows: &[RowWrite],
    url_id: Option<&RecordId>,
    id_member: &str,
    before: &Before<'_>,
) -> Result<Protected, WriteError> {
    if layout.rows.is_empty() || layout.odd_rows > 0 {
        return Err(WriteError::NoRows { positions: plan.row_positions() });
    }
    let mut ids = Ids::of(plan, bytes, layout);
    name_rows(collection, plan, layout, rows, url_id, &mut ids)?;
    let by_row = ByRow::of(collection, plan, rights, &ids, &layout.found, 0..ids.rows(), Company::Nobody);
    let write = Write { collection, plan, keys, rights, by_row, bytes, layout, rows, before, ids };
    write.judge()?;
    let mut sealer = Sealer::new(collection, plan, keys, layout.rows.len()).with(before.tokens);
    let carried = write.carry(&mut sealer)?;
    let (body, tally) = write.seal(id_member, &mut sealer, carried)?;
    let mut subjects = Subjects::default();
    for row in 0..layout.rows.len() {
        subjects.add(write.ids.row(row).and_then(|ids| ids.about(collection)));
    }
    for (_, found, field) in write.values() {
        if collection.fields.get(field).is_some_and(|field| field.subject.is_some()) {
            subjects.add(write.ids.subject(collection, plan, field, found));
        }
    }
    Ok(Protected { body: ProtectedBody(body), tally, subjects: subjects.into_list() })
}

/// One body on its way.
pub(super) struct Write<'a> {
    pub(super) collection: &'a Collection,
    pub(super) plan: &'a Plan,
    pub(super) keys: &'a Rings,
    pub(super) rights: Rights<'a>,
    /// What may be done to what is sent.
    by_row: ByRow<'a>,
    pub(super) bytes: &'a [u8],
    pub(super) layout: &'a Layout,
    rows: &'a [RowWrite],
    before: &'a Before<'a>,
    pub(super) ids: Ids,
}

impl<'a> Write<'a> {
    /// Every value of a field: its index in the layout, itself, its field.
    fn values(&self) -> impl Iterator<Item = (usize, &'a Found, usize)> + use<'a> {
        let plan = self.plan;
        self.layout.found.iter().enumerate().filter_map(move |(at, found)| match plan.meaning(found) {
            Some(Meaning::Field(field)) => Some((at, found, field)),
            _ => None,
        })
    }

    fn field(&self, index: usize) -> Result<&'a Field, WriteError> {
        self.collection.fields.get(index).ok_or(WriteError::Layout)
    }

    /// What the vault knows and made.
    pub(super) fn tokens(&self) -> Option<&'a Tokens> {
        self.before.tokens
    }

    /// May this caller give a value of a field here? Without its ring nobody may: what is stored stays as it is.
    fn may_write(&self, index: usize, field: &Field, found: &Found) -> bool {
        self.row_of(index, found).may_write(field.category) && self.keys.holds(&field.ring)
    }

    /// What goes for whom a value is about.
    fn row_of(&self, index: usize, found: &Found) -> &'a Row {
        self.by_row.of_value(self.plan, self.collection, &self.ids, index, found)
    }

    fn intent(&self, row: usize) -> Intent {
        self.rows.get(row).map_or(Intent::Replace, |row| row.intent)
    }

    /// The document that a row replaces, if it does and was read.
    fn stored(&self, row: usize) -> Option<StoredRow<'a>> {
        let replaces = !matches!(self.intent(row), Intent::Create | Intent::Delete);
        self.before.rows.get(row).copied().flatten().filter(|_| replaces)
    }

    /// May this grant do this to these rows? Looks at which values there are, not at what they say.
    fn judge(&self) -> Result<(), WriteError> {
        self.no_index_members()?;
        for (_, found, index) in self.values() {
            let field = self.field(index)?;
            if found.misfit {
                return Err(WriteError::Misfit { field: field.name.clone(), selector: field.at.to_string() });
            }
            let row = row_index(found)?;
            // Creating with null stores nothing; replacing with null erases.
            let stores_nothing = found.kind == Kind::Null && !field.seal_null && self.intent(row) != Intent::Replace;
            if !self.may_write(index, field, found) && !stores_nothing && self.stored(row).is_none() {
                return Err(self.not_writable(index, field, found));
            }
        }
        for row in 0..self.layout.rows.len() {
            match self.intent(row) {
                Intent::Create => self.has_required(row)?,
                Intent::Delete => may_delete(self.rights, about(self.collection, &self.ids, row))?,
                Intent::Replace | Intent::Read | Intent::PerRow if self.stored(row).is_some() => {}
                Intent::Replace | Intent::Read | Intent::PerRow => {
                    if let Some((index, reason)) = carry::needs_the_stored(
                        self.collection,
                        self.plan,
                        self.keys,
                        self.rights.grant(),
                        self.bytes,
                        self.layout,
                        row,
                    ) {
                        return Err(self.would_erase(self.field(index)?, reason));
                    }
                }
            }
        }
        Ok(())
    }

    /// No row brings its terms along, not even `null`.
    fn no_index_members(&self) -> Result<(), WriteError> {
        for found in &self.layout.found {
            if let Some(Meaning::Index(index, _)) = self.plan.meaning(found) {
                return Err(index_member(self.field(index)?));
            }
        }
        Ok(())
    }

    /// What stays of the documents that rows replace. Whatever else a row holds must be the caller's to write.
    fn carry(&self, sealer: &mut Sealer<'_>) -> Result<Carried, WriteError> {
        let mut carried = Carried::default();
        for row in 0..self.before.rows.len() {
            if let Some(stored) = self.stored(row) {
                carry::carry(self, row, stored, self.before.now_ms, sealer, &mut carried)?;
            }
        }
        for (at, found, index) in self.values() {
            let field = self.field(index)?;
            let stays = carried.kept.contains_key(&at) || self.may_write(index, field, found);
            if !stays && self.stored(row_index(found)?).is_some() {
                return Err(self.not_writable(index, field, found));
            }
        }
        Ok(carried)
    }

    fn not_writable(&self, index: usize, field: &Field, found: &Found) -> WriteError {
        let about = about_value(self.plan, self.collection, &self.ids, index, (found.row, found.wildcards));
        self.refused(self.row_of(index, found), about, field)
    }

    /// Why a row does not let a value of this person be stored or removed.
    pub(super) fn refused(&self, row: &Row, about: Option<&RecordId>, field: &Field) -> WriteError {
        if row.may_write(field.category) {
            return WriteError::not_held(field);
        }
        WriteError::NotWritable {
            purpose: self.rights.grant().purpose().clone(),
            category: field.category_name.clone(),
            level: row.level(field.category),
            why: self.rights.why_not(about, Some(field.category)),
        }
    }

    /// A new document has what the purpose requires, but for what it may not have of this person. All that is missing is said at once.
    fn has_required(&self, row: usize) -> Result<(), WriteError> {
        let required = self.rights.grant().required();
        if required.is_empty() {
            return Ok(());
        }
        let given = |category: CategoryId| {
            self.values().any(|(_, found, index)| {
                let of = self.collection.fields.get(index).map(|field| field.category);
                of == Some(category) && found.kind != Kind::Null && row_index(found).ok() == Some(row)
            })
        };
        let mut missing: Vec<CategoryName> = Vec::new();
        for category in required {
            let field = self.collection.fields.iter().find(|field| field.category == *category);
            let Some(field) = field.filter(|_| self.by_row.row(row).may_write(*category)) else { continue };
            if !given(*category) {
                missing.push(field.category_name.clone());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(WriteError::CategoryRequired { purpose: self.rights.grant().purpose().clone(), categories: missing })
    }

    fn would_erase(&self, field: &Field, reason: &'static str) -> WriteError {
        WriteError::WouldErase {
            purpose: self.rights.grant().purpose().clone(),
            category: field.category_name.clone(),
            reason,
            remedy: if self.keys.holds(&field.ring) {
                "use a purpose that sees and writes all of its fields".into()
            } else {
                format!("write through a proxy that is given the key ring {}", field.ring).into()
            },
        }
    }

    /// Writes the body anew, values sealed straight into it.
    fn seal(&self, id_member: &str, sealer: &mut Sealer<'_>, carried: Carried) -> Result<(Bytes, Tally), WriteError> {
        let mut tally = Tally { kept: carried.count, ..Tally::default() };
        for index in carried.sealed {
            tally.protect(self.field(index)?.category);
        }
        let mut opener = None;
        let mut inserts = self.inserts(id_member, carried.inserts);
        let room = self.bytes.len() + self.bytes.len() / 2 + 128 * self.layout.found.len().min(4096);
        let mut out = Out { bytes: self.bytes, copied: 0, rows: &self.layout.rows, row: 0, text: Vec::with_capacity(room) };
        for (at, found, index) in self.values() {
            let field = self.field(index)?;
            let value = self.bytes.get(found.value.clone()).ok_or(WriteError::Layout)?;
            let mut anew = None;
            if !carried.kept.contains_key(&at) && self.stays(found, index, field, value, &mut opener, &mut tally)? {
                self.index_sealed(sealer, index, field, found, value)?;
                anew = self.renewed(sealer, index, field, found, value)?;
                if anew.is_none() {
                    continue;
                }
            }
            let kept = carried.kept.get(&at).or(anew.as_ref());
            while let Some((at, text)) = inserts.next_if(|(at, _)| *at <= found.value.start) {
                out.copy_to(at, &sealer.indexer)?;
                out.text.extend_from_slice(&text);
            }
            out.copy_to(found.value.start, &sealer.indexer)?;
            if let Some(text) = kept {
                out.text.extend_from_slice(text);
            } else {
                let id = self.binding(field.protection.suite(), index, field, found)?;
                sealer.seal(index, row_index(found)?, id, value, &mut out.text)?;
                tally.protect(field.category);
            }
            out.copied = found.value.end;
        }
        for (at, text) in inserts {
            out.copy_to(at, &sealer.indexer)?;
            out.text.extend_from_slice(&text);
        }
        out.copy_to(self.bytes.len(), &sealer.indexer)?;
        Ok((Bytes::from(out.text), tally))
    }

    /// The term of an envelope that came with the write and stays.
    fn index_sealed(
        &self,
        sealer: &mut Sealer<'_>,
        index: usize,
        field: &Field,
        found: &Found,
        value: &[u8],
    ) -> Result<(), WriteError> {
        if field.indexes.is_empty() {
            return Ok(());
        }
        let Some((text, suite)) = envelope_of(value) else { return Ok(()) };
        let id = self.binding(Some(suite), index, field, found)?;
        Ok(sealer.indexer.add_sealed(row_index(found)?, index, &text, id)?)
    }

    /// An envelope that came with the write, sealed anew if it hangs on an old key version.
    fn renewed(
        &self,
        sealer: &mut Sealer<'_>,
        index: usize,
        field: &Field,
        found: &Found,
        value: &[u8],
    ) -> Result<Option<Vec<u8>>, WriteError> {
        if !sealer.has_old(index) {
            return Ok(None);
        }
        let Some((text, suite)) = envelope_of(value) else { return Ok(None) };
        let id = self.binding(Some(suite), index, field, found)?;
        sealer.renewed((index, row_index(found)?, id), &text)
    }

    /// Members with assigned ids and what is carried over, in order of their place.
    fn inserts(
        &self,
        id_member: &str,
        mut inserts: Vec<(usize, Vec<u8>)>,
    ) -> std::iter::Peekable<std::vec::IntoIter<(usize, Vec<u8>)>> {
        for (row, write) in self.layout.rows.iter().zip(self.rows) {
            if let Some(id) = &write.assigned_id {
                let mut text = Vec::with_capacity(id_member.len() + id.len() + 6);
                write_string(id_member, &mut text);
                text.push(b':');
                write_string(id, &mut text);
                if !row.empty {
                    text.push(b',');
                }
                inserts.push((row.range.start + 1, text));
            }
        }
        inserts.sort_by_key(|(at, _)| *at);
        inserts.into_iter().peekable()
    }

    /// True if the value stays: a null, or an envelope that opens here. An error if it may not be stored at all.
    fn stays(
        &self,
        found: &Found,
        index: usize,
        field: &Field,
        value: &[u8],
        opener: &mut Option<Opener<'a>>,
        tally: &mut Tally,
    ) -> Result<bool, WriteError> {
        match found.kind {
            Kind::Null if !field.seal_null => return Ok(true),
            Kind::String => {
                let text = unescape(value).ok_or(WriteError::Layout)?;
                if text.starts_with(envelope::PREFIX) {
                    let id = self.binding(Some(Suite::named_by(&text)), index, field, found)?;
                    let upkeep =
                        Upkeep::dangerous_for("a write carries an envelope: does it belong here? Its content is dropped at once");
                    let opener = opener.get_or_insert_with(|| Opener::new(self.collection, self.plan, self.keys));
                    return match opener.open(index, &text, id, Permit::Upkeep(&upkeep)) {
                        Ok(_dropped) => {
                            tally.kept = tally.kept.saturating_add(1);
                            if hangs_on_compromised(self.keys, field, &text) {
                                tally.compromised = tally.compromised.saturating_add(1);
                            }
                            Ok(true)
                        }
                        Err(NotOpened::Bad { .. } | NotOpened::Compromised(_)) => {
                            Err(WriteError::ForeignEnvelope { field: field.name.clone() })
                        }
                        Err(NotOpened::NotHeld) => Err(WriteError::not_held(field)),
                        Err(NotOpened::Keys(error)) => Err(WriteError::Keys(error)),
                    };
                }
                if let (Protection::Token(kind), Some(tokens)) = (&field.protection, self.before.tokens)
                    && tokens.is_foreign(kind, &text)
                {
                    return Err(WriteError::ForeignToken { field: field.name.clone() });
                }
                if pseudonym::is_pseudonym(&text) {
                    return Err(WriteError::MaskedValue { field: field.name.clone() });
                }
            }
            Kind::Null | Kind::Bool | Kind::Number | Kind::Array | Kind::Object => {}
        }
        if has_mask_character(value) {
            return Err(WriteError::MaskedValue { field: field.name.clone() });
        }
        // Of a coarse form there is no telling by its looks, unless the value would be made coarser still.
        let replaces = !matches!(self.intent(row_index(found)?), Intent::Create | Intent::Delete);
        if replaces {
            let level = level_of(self.row_of(index, found), field);
            // Whoever sees it clear now is answered by `carry`, which knows what it may have been shown before.
            let was = level != Level::Clear && field.generalise.is_some() && self.rights.grant().may_generalise(field.category);
            if (level == Level::Generalised || was) && !self.is_finer_than_shown(field, value) {
                return Err(WriteError::MaskedValue { field: field.name.clone() });
            }
        }
        Ok(false)
    }

    fn is_finer_than_shown(&self, field: &Field, value: &[u8]) -> bool {
        let value: Option<serde_json::Value> = serde_json::from_slice(value).ok();
        let form = field.generalise.as_ref();
        let coarse = form.zip(value.as_ref()).and_then(|(form, value)| form.apply(value, self.before.now_ms));
        coarse.is_some() && coarse != value
    }

    /// What a value is bound to; of a token, whom it is about.
    fn binding(&self, suite: Option<Suite>, index: usize, field: &Field, found: &Found) -> Result<&str, WriteError> {
        match suite {
            Some(Suite::X) => {
                let bound = self.ids.binding(self.collection, self.plan, index, found);
                bound.map_err(|reason| unbound(self.collection, field, reason))
            }
            Some(Suite::D) => Ok(""),
            None => match self.ids.subject(self.collection, self.plan, index, found) {
                Some(Ok(about)) => Ok(about.as_str()),
                Some(Err(why)) => Err(unbound(self.collection, field, NoId::Bad(*why))),
                None => Err(unbound(self.collection, field, NoId::Missing)),
            },
        }
    }
}

/// Is it bound to whom it is about? A token is bound to nothing, but the vault keeps for whom it is used.
fn by_subject(collection: &Collection, field: &Field) -> bool {
    collection.bind == Bind::Subject || field.protection.suite().is_none()
}

/// The refusal of a member that holds terms.
pub(super) fn index_member(field: &Field) -> WriteError {
    let members: Vec<String> = field.indexes.iter().map(|index| index.at.to_string()).collect();
    WriteError::IndexMember { field: field.name.clone(), selector: members.join(" or ") }
}

/// Why a value has nothing to be bound to.
pub(super) fn unbound(collection: &Collection, field: &Field, reason: NoId) -> WriteError {
    let selector = bound_by(collection, field).to_string();
    match reason {
        NoId::Missing => WriteError::SubjectMissing {
            field: field.name.clone(),
            bind: if by_subject(collection, field) { "data subject" } else { "document" },
            selector,
            remedy: "send it in the document or in the URL".into(),
        },
        NoId::Bad(why) => WriteError::BadId { selector, why },
    }
}

/// The member that a field's values are bound to.
pub(super) fn bound_by<'s>(collection: &'s Collection, field: &'s Field) -> &'s Selector {
    let by_subject = by_subject(collection, field);
    match (&field.subject, &collection.subject) {
        (Some(subject), _) if by_subject => subject,
        (_, Subject::At(subject)) if by_subject => subject,
        _ => &collection.id,
    }
}

fn row_index(found: &Found) -> Result<usize, WriteError> {
    found.row.and_then(|row| usize::try_from(row).ok()).ok_or(WriteError::Layout)
}

#[cfg(test)]
mod tests;
