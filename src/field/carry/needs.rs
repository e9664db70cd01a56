//! Which rows of a write can be judged only beside the documents they replace, and why. It is asked of the rights and levels of the least row
//! first, so that whoever sees and writes everything pays nothing.

use crate::base::Intent;
use crate::document::{Found, Kind, Layout, Selector, Step, unescape};
use crate::field::by_row::level_of;
use crate::field::plan::{Collection, Meaning, Plan, Protection};
use crate::field::protect::RowWrite;
use crate::field::stored::found_in;
use crate::keys::Rings;
use crate::purpose::{CategoryId, Grant, Level};
use crate::vault;

/// The rows of a write that [`crate::field::protect_over`] judges only beside the documents they replace, in order. None for a caller that sees and may
/// write everything: then nothing is looked at but its grant.
///
/// Where rows differ it goes by the least of them: what the caller was shown may have been less than it would be shown now.
pub fn rows_that_need_the_stored(
    collection: &Collection,
    plan: &Plan,
    keys: &Rings,
    grant: &Grant,
    bytes: &[u8],
    layout: &Layout,
    rows: &[RowWrite],
) -> Vec<usize> {
    let replaced = rows.iter().enumerate().filter(|(_, row)| !matches!(row.intent, Intent::Create | Intent::Delete));
    replaced
        .filter(|(row, _)| needs_the_stored(collection, plan, keys, grant, bytes, layout, *row).is_some())
        .map(|(row, _)| row)
        .collect()
}

/// The first field for which it does, and why.
pub(in crate::field) fn needs_the_stored(
    collection: &Collection,
    plan: &Plan,
    keys: &Rings,
    grant: &Grant,
    bytes: &[u8],
    layout: &Layout,
    row: usize,
) -> Option<(usize, &'static str)> {
    let found = layout.rows.get(row).map_or(&[][..], |row| found_in(layout, &row.range));
    let mut has = |index| {
        // Null is what stands for an element by number that is not shown, so it says nothing of it.
        let unseen = collection.fields.get(index).is_some_and(|field| level_of(grant.least(), field) == Level::Absent);
        let says = |found: &Found| !(unseen && found.by_position && found.kind == Kind::Null);
        found.iter().any(|found| plan.meaning(found) == Some(Meaning::Field(index)) && says(found))
    };
    let mut sends_token = |index, kind: &vault::Kind, level| {
        let strings =
            found.iter().filter(|found| found.kind == Kind::String && plan.meaning(found) == Some(Meaning::Field(index)));
        // Where only the vault can tell, whoever is shown tokens sends tokens, and whoever sees values sends values.
        let may_be = |text: &str| kind.format.is_reserved(text) || kind.format.is_token(text).unwrap_or(level == Level::Sealed);
        strings.filter_map(|found| unescape(bytes.get(found.value.clone())?)).any(|text| may_be(&text))
    };
    needs(collection, keys, grant, &mut has, &mut sends_token)
}

/// Can the rules tell what a replacement of this row does without the stored document? `has` says whether the row holds a value of the field
/// with an index. Every field is asked about by its right and its level first, so that whoever sees and writes everything pays nothing.
fn needs(
    collection: &Collection,
    keys: &Rings,
    grant: &Grant,
    has: &mut dyn FnMut(usize) -> bool,
    sends_token: &mut dyn FnMut(usize, &vault::Kind, Level) -> bool,
) -> Option<(usize, &'static str)> {
    for (index, field) in collection.fields.iter().enumerate() {
        if !grant.may_write(field.category) {
            return Some((index, "may not write"));
        }
        // Whether it has to be there is said of documents that are new.
        if grant.required().contains(&field.category) && !has_category(collection, field.category, has) {
            return Some((index, "must give a new document"));
        }
        if !keys.holds(&field.ring) {
            return Some((index, "finds no keys at this proxy for"));
        }
        // A token is taken only where it is stored already.
        if let Protection::Token(kind) = &field.protection
            && sends_token(index, kind, level_of(grant.least(), field))
        {
            return Some((index, "sends a token of"));
        }
        let level = level_of(grant.least(), field);
        if grant.differs_by_row() && level != Level::Clear {
            return Some((index, "may not see all of"));
        }
        match level {
            // Of a value that is not sealed yet nothing is shown.
            Level::Sealed if !collection.strict => return Some((index, "does not see all of")),
            Level::Generalised => return Some((index, "does not see all of")),
            Level::Masked | Level::Pseudonym if has(index) => return Some((index, "sees a stand-in of")),
            Level::Absent if !is_one_place(&field.at) || !has(index) => return Some((index, "does not see")),
            Level::Clear | Level::Sealed | Level::Masked | Level::Pseudonym | Level::Absent => {}
        }
    }
    None
}

fn has_category(collection: &Collection, category: CategoryId, has: &mut dyn FnMut(usize) -> bool) -> bool {
    collection.fields.iter().enumerate().any(|(index, field)| field.category == category && has(index))
}

/// True where a caller that sends a value of the field has said all there is to say: one member, or one list of values.
fn is_one_place(at: &Selector) -> bool {
    let wildcards = at.steps().iter().filter(|step| matches!(step, Step::AnyMember | Step::AnyElement)).count();
    wildcards == 0 || (wildcards == 1 && at.steps().last() == Some(&Step::AnyElement))
}
