//! Values and terms that hang on a key version which is not the Active one of its line, made anew under the Active one.
//!
//! Always holds: what was opened in its place, under its context, is sealed again in the same suite under the same context, but for the
//! key's id, to the same length; a value that does not open there, or is not sealed, stays byte for byte, and is told; clear text does not
//! leave this file. A term is made anew only together with all terms of its member, from values that all opened; until that document is
//! written it is found by the old ones, which searches ask for, too.
//!
//! `sweep` calls it for databases; what a write brings along is sealed anew in [`Sealer::renewed`].

use super::envelope::{self, Envelope, Suite};
use super::ids::Ids;
use super::index::kids_of;
use super::open::{NotOpened, Opener};
use super::plan::{Collection, Meaning, Plan};
use super::protect::WriteError;
use super::seal::Sealer;
use super::upkeep::{SealedRow, binding};
use crate::base::{FieldName, Kid, RecordId, RecordIdError};
use crate::document::{Change, Found, Kind, Layout, Row, splice, unescape};
use crate::keys::{KeyRing, LineName, Rings, State};
use crate::purpose::{Permit, Upkeep};

/// The code of what hung on a compromised version.
const FORGEABLE: &str = "key-compromised";

/// Of which lines old versions are left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// Values of suite `x`.
    pub seal: bool,
    /// Values of suite `d`, and terms.
    pub lookup: bool,
}

/// The version that a value or a term hangs on.
pub type Hangs = (LineName, Kid);

/// Something in a document that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Where.
    pub field: FieldName,
    /// An anchor of `docs/errors.md`. `key-compromised`: it was opened and is sealed anew, but anybody who knows the key may have made it. Any
    /// other: it is left as it is.
    pub code: &'static str,
    /// The key it names, if it names one.
    pub kid: Option<Kid>,
}

impl Trouble {
    /// Was it sealed anew although anybody who knows its old key may have made it?
    pub fn may_be_forged(&self) -> bool {
        self.code == FORGEABLE
    }
}

/// One document.
#[derive(Debug)]
pub struct RewrapRow {
    /// Its id as it was found.
    pub id: Option<Result<RecordId, RecordIdError>>,
    /// Values that are not sealed.
    pub clear: u32,
    /// Values and terms under the Active versions.
    pub current: u32,
    /// What each value and term hangs on that does not hang on an Active version.
    pub hung: Vec<Hangs>,
    /// Those of them that hang on the Active version in `sealed`.
    pub anew: Vec<Hangs>,
    /// What is told of it.
    pub troubles: Vec<Trouble>,
    /// The document with them; None if nothing is to be written.
    pub sealed: Option<SealedRow>,
}

/// Makes anew what hangs on old versions in every row of a body. Members that the plan's row set peeks at are what the database adds to its
/// answers; they are left out of a row that is written anew.
///
/// # Errors
///
/// [`WriteError`] where nothing can be sealed at all: no key, no ring of a field, no randomness.
pub fn rewrap(
    collection: &Collection,
    plan: &Plan,
    keys: &Rings,
    lines: Lines,
    bytes: &[u8],
    layout: &Layout,
) -> Result<Vec<RewrapRow>, WriteError> {
    let mut pass = Pass {
        collection,
        plan,
        keys,
        lines,
        bytes,
        ids: Ids::of(plan, bytes, layout),
        opener: Opener::new(collection, plan, keys),
        sealer: Sealer::new(collection, plan, keys, layout.rows.len()),
        stale: Vec::new(),
    };
    let mut found = layout.found.iter().filter(|found| found.row.is_some()).peekable();
    let mut rows = Vec::with_capacity(layout.rows.len());
    for (index, row) in layout.rows.iter().enumerate() {
        let mut of_row = Vec::new();
        while let Some(found) = found.next_if(|found| found.value.start < row.range.end) {
            of_row.push(found);
        }
        rows.push(pass.row(index, row, &of_row)?);
    }
    Ok(rows)
}

/// One body on its way.
struct Pass<'a> {
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    lines: Lines,
    bytes: &'a [u8],
    ids: Ids,
    opener: Opener<'a>,
    sealer: Sealer<'a>,
    /// Fields of the row that have a term under an old version, and whether all values of the field have opened so far.
    stale: Vec<(usize, bool)>,
}

/// What one value is.
enum What {
    /// A null, or one of a line that is not looked at.
    Other,
    Clear,
    Current,
    /// Sealed anew.
    Anew(Hangs, Vec<u8>),
    /// It stays, and hangs on this if it hangs on a version of the ring.
    Bad(Option<Hangs>, Trouble),
}

impl<'a> Pass<'a> {
    fn row(&mut self, index: usize, row: &Row, found: &[&Found]) -> Result<RewrapRow, WriteError> {
        let id = self.ids.row(index).and_then(|ids| ids.document.clone());
        let mut done =
            RewrapRow { id, clear: 0, current: 0, hung: Vec::new(), anew: Vec::new(), troubles: Vec::new(), sealed: None };
        let mut changes = vec![Change::Keep; found.len()];
        let mut members = self.stale_members(found, &mut done)?;
        for (found, change) in found.iter().zip(&mut changes) {
            match self.plan.meaning(found) {
                Some(Meaning::Field(field)) => match self.value(field, index, found, &mut done.troubles)? {
                    What::Other => {}
                    What::Clear => done.clear = done.clear.saturating_add(1),
                    What::Current => done.current = done.current.saturating_add(1),
                    What::Anew(hangs, text) => {
                        done.hung.push(hangs.clone());
                        done.anew.push(hangs);
                        *change = Change::Replace(text);
                    }
                    What::Bad(hangs, trouble) => {
                        done.hung.extend(hangs);
                        done.troubles.push(trouble);
                    }
                },
                Some(Meaning::RowPeek(_)) => *change = Change::Remove,
                _ => {}
            }
        }
        members.retain(|member| self.stale.contains(&(member.field, true)));
        for Member { at, field, number, kids } in members {
            if let Some(change) = changes.get_mut(at) {
                *change = Change::Replace(self.sealer.indexer.member(index, field, number));
                done.anew.extend(kids);
            }
        }
        if !done.anew.is_empty() {
            done.sealed = Some(self.written(row, found, &changes)?);
        }
        Ok(done)
    }

    /// The index members of a row that have a term under an old version.
    fn stale_members(&mut self, found: &[&Found], done: &mut RewrapRow) -> Result<Vec<Member>, WriteError> {
        self.stale.clear();
        let mut members = Vec::new();
        if !self.lines.lookup {
            return Ok(members);
        }
        for (at, found) in found.iter().enumerate() {
            let Some(Meaning::Index(field, number)) = self.plan.meaning(found) else { continue };
            let text = self.bytes.get(found.value.clone()).ok_or(WriteError::Layout)?;
            // Something else in its place is none of ours; `sweep migrate` writes the member anew.
            let Some(kids) = kids_of(text) else { continue };
            let ring = self.ring(field)?;
            let active = ring.active(&LineName::Lookup);
            let (current, old): (Vec<Kid>, Vec<Kid>) = kids.into_iter().partition(|kid| Some(*kid) == active);
            done.current = done.current.saturating_add(u32::try_from(current.len()).unwrap_or(u32::MAX));
            if old.is_empty() {
                continue;
            }
            let known = |kid: &Kid| ring.state_of(&LineName::Lookup, *kid).is_some();
            let kids: Vec<Hangs> = old.into_iter().filter(known).map(|kid| (LineName::Lookup, kid)).collect();
            done.hung.extend(kids.iter().cloned());
            if !self.stale.contains(&(field, true)) {
                self.stale.push((field, true));
            }
            members.push(Member { at, field, number, kids });
        }
        Ok(members)
    }

    /// One value. Of a field with stale terms it is opened in any case.
    fn value(&mut self, index: usize, row: usize, found: &Found, troubles: &mut Vec<Trouble>) -> Result<What, WriteError> {
        let field = self.collection.fields.get(index).ok_or(WriteError::Layout)?;
        if found.kind == Kind::Null && !field.seal_null {
            return Ok(What::Other);
        }
        let value = self.bytes.get(found.value.clone()).ok_or(WriteError::Layout)?;
        let text = if found.kind == Kind::String && !found.misfit { unescape(value) } else { None };
        let Some(text) = text.filter(|text| text.starts_with(envelope::PREFIX)) else {
            unclean(&mut self.stale, index);
            return Ok(if field.protection.suite().is_some() { What::Clear } else { What::Other });
        };
        let bad = |code, kid| Trouble { field: field.name.clone(), code, kid };
        let Ok(envelope) = Envelope::parse(&text) else {
            unclean(&mut self.stale, index);
            return Ok(What::Bad(None, bad("value-not-authentic", None)));
        };
        let (suite, kid) = (envelope.suite, envelope.kid);
        let line = line_of(suite);
        let chosen = match suite {
            Suite::X => self.lines.seal,
            Suite::D => self.lines.lookup,
        };
        let ring = self.ring(index)?;
        let old = chosen && ring.active(&line) != Some(kid);
        let stale = self.stale.iter().any(|(field, _)| *field == index);
        if !old && !stale {
            return Ok(if chosen { What::Current } else { What::Other });
        }
        let version = ring.state_of(&line, kid);
        let hangs = version.filter(|_| old).map(|_| (line, kid));
        let id = match binding(self.collection, self.plan, &self.ids, suite, index, found) {
            Ok(id) => id,
            Err(error @ WriteError::Layout) => return Err(error),
            Err(error) => {
                unclean(&mut self.stale, index);
                return Ok(What::Bad(hangs, bad(error.code(), Some(kid))));
            }
        };
        let upkeep = Upkeep::dangerous_for("a value that hangs on an old key version is sealed anew at once; so is its term");
        let opened = match self.opener.open(index, &text, id, Permit::Upkeep(&upkeep)) {
            Ok(opened) => opened,
            Err(NotOpened::Keys(error)) => return Err(WriteError::Keys(error)),
            Err(NotOpened::NotHeld) => return Err(WriteError::not_held(field)),
            Err(NotOpened::Bad { .. } | NotOpened::Compromised(_)) => {
                unclean(&mut self.stale, index);
                return Ok(What::Bad(hangs, bad("value-not-authentic", Some(kid))));
            }
        };
        if stale {
            self.sealer.indexer.add(row, index, opened)?;
        }
        let Some(hangs) = hangs else { return Ok(if chosen { What::Current } else { What::Other }) };
        let mut out = Vec::new();
        self.sealer.seal_again((index, row, id), suite, opened, envelope.sealed_len(), &mut out)?;
        if version == Some(State::Compromised) {
            troubles.push(bad(FORGEABLE, Some(kid)));
        }
        Ok(What::Anew(hangs, out))
    }

    /// The one ring that values and terms of a field hang on.
    fn ring(&self, field: usize) -> Result<&'a KeyRing, WriteError> {
        let field = self.collection.fields.get(field).ok_or(WriteError::Layout)?;
        self.keys.find(&field.ring).ok_or_else(|| WriteError::not_held(field))
    }

    /// The document with its changes.
    fn written(&self, row: &Row, found: &[&Found], changes: &[Change]) -> Result<SealedRow, WriteError> {
        let start = row.range.start;
        let shifted = |found: &&Found| Found {
            value: found.value.start - start..found.value.end - start,
            member_start: found.member_start - start,
            ..(*found).clone()
        };
        let own = Layout { rows: Vec::new(), found: found.iter().map(shifted).collect(), odd_rows: 0 };
        let text = self.bytes.get(row.range.clone()).ok_or(WriteError::Layout)?;
        let mut out = Vec::new();
        splice(text, &own, changes, &[], &mut out);
        Ok(SealedRow(out))
    }
}

/// An index member with a term under an old version.
struct Member {
    /// Its place among what was found in the row.
    at: usize,
    field: usize,
    number: usize,
    kids: Vec<Hangs>,
}

/// A value of the field is not to be had, so its terms stay as they are.
fn unclean(stale: &mut [(usize, bool)], index: usize) {
    stale.iter_mut().filter(|(field, _)| *field == index).for_each(|(_, clean)| *clean = false);
}

pub(super) fn line_of(suite: Suite) -> LineName {
    match suite {
        Suite::X => LineName::Seal,
        Suite::D => LineName::Lookup,
    }
}

#[cfg(test)]
mod tests;
