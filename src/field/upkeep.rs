//! Whole collections, by an operator's hand: seals what is still clear, and on the way out of Sudare opens what is sealed.
//!
//! No caller asks here, so no grant decides. Always holds: a sealed value is kept byte for byte if it opens in its place, and refused
//! otherwise, never skipped (T2); a row with a value that cannot be sealed is not given out at all. [`open_by_hand`] is the one function by
//! which clear text leaves `field` without a grant; its caller records each row before it passes it on.
//!
//! `batch` calls it for files, `sweep` for databases.

use std::fmt;

use bytes::Bytes;

use super::envelope::{self, Suite};
use super::ids::{Ids, NoId, Subjects};
use super::mask::has_mask_character;
use super::open::{NotOpened, Opener, hangs_on_compromised};
use super::plan::{Collection, Field, Meaning, Plan, Protection};
use super::protect::{ProtectedBody, WriteError, unbound};
use super::pseudonym::is_pseudonym;
use super::reveal::{RevealError, Revealed};
use super::seal::Sealer;
use super::tally::Tally;
use super::tokens::{Tokens, settled};
use crate::base::{RecordId, RecordIdError};
use crate::document::{Change, Found, Kind, Layout, Row, splice, unescape};
use crate::keys::Rings;
use crate::purpose::{Level, Permit, Upkeep};
use crate::vault::Known;

/// What becomes of a clear value that looks like what a reader was shown: it carries the mask character, or is a pseudonym.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StandIns {
    /// Refused, as in any write: a file may have been read through the proxy.
    Refuse,
    /// Sealed: what a database holds is what there is.
    Seal,
}

/// One row after upkeep.
#[derive(Debug)]
pub struct UpkeepRow {
    /// The document's id as it was found.
    pub id: Option<Result<RecordId, RecordIdError>>,
    /// Envelopes that were there already.
    pub kept: u32,
    /// Values that were clear, and are sealed in `sealed`.
    pub clear: u32,
    /// The row with every value sealed and every index member as it should be; `None` if nothing was to be done. An error if a value
    /// cannot be sealed.
    pub sealed: Result<Option<SealedRow>, WriteError>,
}

/// A document of which every configured value is sealed; or, from [`super::rewrap()`], in which nothing is less sealed than it was stored.
pub struct SealedRow(pub(super) Vec<u8>);

/// Without the bytes, which hold what is not protected (T13).
impl fmt::Debug for SealedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedRow({} bytes)", self.0.len())
    }
}

impl SealedRow {
    /// Its JSON text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl ProtectedBody {
    /// Documents in a frame of the dialect's (`{"docs":[` … `]}`), with commas between them.
    pub fn of_rows(open: &'static str, rows: &[SealedRow], close: &'static str) -> Self {
        let mut body = Vec::with_capacity(rows.iter().map(|row| row.0.len() + 1).sum::<usize>() + open.len() + close.len());
        body.extend_from_slice(open.as_bytes());
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&row.0);
        }
        body.extend_from_slice(close.as_bytes());
        Self::judged(Bytes::from(body))
    }
}

/// Seals what is clear in every row of a body. Members that the plan's row set peeks at are what the database adds to its answers
/// (`_conflicts`); they are left out of a row that is written anew.
///
/// # Errors
///
/// [`WriteError`] where nothing can be sealed at all: no key, no randomness; or [`WriteError::TokensWanted`], for values of token fields
/// that have none yet. What is wrong with one row stands in its [`UpkeepRow::sealed`].
pub fn seal_clear(
    collection: &Collection,
    plan: &Plan,
    keys: &Rings,
    bytes: &[u8],
    layout: &Layout,
    stand_ins: StandIns,
    tokens: Option<&Tokens>,
) -> Result<Vec<UpkeepRow>, WriteError> {
    let mut pass = Pass {
        collection,
        plan,
        bytes,
        ids: Ids::of(plan, bytes, layout),
        stand_ins,
        tokens,
        opener: Opener::new(collection, plan, keys),
        sealer: Sealer::new(collection, plan, keys, layout.rows.len()).with(tokens),
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
    settled(tokens, Ok(rows))
}

/// One body on its way.
struct Pass<'a> {
    collection: &'a Collection,
    plan: &'a Plan,
    bytes: &'a [u8],
    ids: Ids,
    stand_ins: StandIns,
    tokens: Option<&'a Tokens>,
    opener: Opener<'a>,
    sealer: Sealer<'a>,
}

impl Pass<'_> {
    fn row(&mut self, index: usize, row: &Row, found: &[&Found]) -> Result<UpkeepRow, WriteError> {
        let id = self.ids.row(index).and_then(|ids| ids.document.clone());
        let mut done = UpkeepRow { id, kept: 0, clear: 0, sealed: Ok(None) };
        let mut own = Layout { rows: Vec::new(), found: Vec::with_capacity(found.len()), odd_rows: 0 };
        let mut changes = Vec::with_capacity(found.len());
        let mut terms: Vec<&[u8]> = Vec::new();
        for one in found {
            let change = match self.plan.meaning(one) {
                Some(Meaning::Field(field)) => match self.value(field, index, one) {
                    Ok(What::Stays) => Change::Keep,
                    Ok(What::Kept) => {
                        done.kept = done.kept.saturating_add(1);
                        Change::Keep
                    }
                    Ok(What::Sealed(text)) => {
                        done.clear = done.clear.saturating_add(1);
                        Change::Replace(text)
                    }
                    Err(
                        error @ (WriteError::Keys(_) | WriteError::Random(_) | WriteError::TokensWanted | WriteError::Layout),
                    ) => return Err(error),
                    Err(error) => {
                        done.sealed = Err(error);
                        return Ok(done);
                    }
                },
                Some(Meaning::Index(..)) => {
                    terms.push(self.bytes.get(one.value.clone()).ok_or(WriteError::Layout)?);
                    Change::Remove
                }
                Some(Meaning::RowPeek(_)) => Change::Remove,
                _ => Change::Keep,
            };
            changes.push(change);
            let start = row.range.start;
            own.found.push(Found {
                value: one.value.start - start..one.value.end - start,
                member_start: one.member_start - start,
                ..(*one).clone()
            });
        }
        // Also where an index was added to the configuration, or its key or chain is another one now.
        let as_they_should: Vec<Vec<u8>> = self.sealer.indexer.members(index).map(|(_, text)| text).collect();
        let stale = terms.len() != as_they_should.len() || !as_they_should.iter().all(|text| terms.contains(&text.as_slice()));
        if done.clear > 0 || stale {
            let text = self.bytes.get(row.range.clone()).ok_or(WriteError::Layout)?;
            let mut out = Vec::new();
            splice(text, &own, &changes, &[], &mut out);
            if out.pop() != Some(b'}') {
                return Err(WriteError::Layout);
            }
            self.sealer.indexer.write_members(index, &mut out);
            out.push(b'}');
            done.sealed = Ok(Some(SealedRow(out)));
        }
        Ok(done)
    }

    fn value(&mut self, index: usize, row: usize, found: &Found) -> Result<What, WriteError> {
        let field = self.collection.fields.get(index).ok_or(WriteError::Layout)?;
        let value = self.bytes.get(found.value.clone()).ok_or(WriteError::Layout)?;
        if found.misfit {
            return Err(WriteError::Misfit { field: field.name.clone(), selector: field.at.to_string() });
        }
        if found.kind == Kind::Null && !field.seal_null {
            return Ok(What::Stays);
        }
        if found.kind == Kind::String {
            let text = unescape(value).ok_or(WriteError::Layout)?;
            if text.starts_with(envelope::PREFIX) {
                let id = binding(self.collection, self.plan, &self.ids, Suite::named_by(&text), index, found)?;
                let upkeep = Upkeep::dangerous_for(
                    "is a stored envelope at home where it stands? Its content is dropped at once, but for a term",
                );
                return match self.opener.open(index, &text, id, Permit::Upkeep(&upkeep)) {
                    Ok(clear) => {
                        self.sealer.indexer.add(row, index, clear)?;
                        Ok(What::Kept)
                    }
                    Err(NotOpened::Bad { .. } | NotOpened::Compromised(_)) => {
                        Err(WriteError::ForeignEnvelope { field: field.name.clone() })
                    }
                    Err(NotOpened::NotHeld) => Err(WriteError::not_held(field)),
                    Err(NotOpened::Keys(error)) => Err(WriteError::Keys(error)),
                };
            }
            if let (Protection::Token(kind), Some(tokens)) = (&field.protection, self.tokens)
                && (kind.format.is_reserved(&text) || tokens.is_token(kind, &text))
            {
                return match tokens.of(&kind.scope, &text) {
                    Some(Known::Value(_)) => Ok(What::Kept),
                    Some(Known::NotHeld) => Err(WriteError::not_held(field)),
                    Some(Known::Not | Known::Bad | Known::Compromised(_)) | None => {
                        Err(WriteError::ForeignToken { field: field.name.clone() })
                    }
                };
            }
            if self.stand_ins == StandIns::Refuse && is_pseudonym(&text) {
                return Err(WriteError::MaskedValue { field: field.name.clone() });
            }
        }
        if self.stand_ins == StandIns::Refuse && has_mask_character(value) {
            return Err(WriteError::MaskedValue { field: field.name.clone() });
        }
        let id = match field.protection.suite() {
            Some(suite) => binding(self.collection, self.plan, &self.ids, suite, index, found)?,
            None => about(self.collection, self.plan, &self.ids, index, found)?,
        };
        let mut text = Vec::new();
        self.sealer.seal(index, row, id, value, &mut text)?;
        Ok(What::Sealed(text))
    }
}

/// The id that a value of a suite is bound to: `d` binds to its field only.
pub(super) fn binding<'i>(
    collection: &Collection,
    plan: &Plan,
    ids: &'i Ids,
    suite: Suite,
    index: usize,
    found: &Found,
) -> Result<&'i str, WriteError> {
    let field = collection.fields.get(index).ok_or(WriteError::Layout)?;
    match suite {
        Suite::D => Ok(""),
        Suite::X => ids.binding(collection, plan, index, found).map_err(|reason| unbound(collection, field, reason)),
    }
}

/// Whom a value is about, for the vault.
fn about<'i>(collection: &Collection, plan: &Plan, ids: &'i Ids, index: usize, found: &Found) -> Result<&'i str, WriteError> {
    let field = collection.fields.get(index).ok_or(WriteError::Layout)?;
    match ids.subject(collection, plan, index, found) {
        Some(Ok(about)) => Ok(about.as_str()),
        Some(Err(why)) => Err(unbound(collection, field, NoId::Bad(*why))),
        None => Err(unbound(collection, field, NoId::Missing)),
    }
}

/// What was made of one value.
enum What {
    /// A null.
    Stays,
    /// An envelope that is at home.
    Kept,
    /// Its envelope.
    Sealed(Vec<u8>),
}

/// Opens every sealed value of a body for an operator who leaves Sudare or moves data; what is clear stays as it is, and is counted.
///
/// Dangerous: this is the one way by which clear text leaves without a grant. The caller demands a reason and records both before anything
/// of the answer goes anywhere.
///
/// # Errors
///
/// [`RevealError::NotAuthentic`] for a value that does not open in its place; nothing of the body is then given out.
pub fn open_by_hand(
    collection: &Collection,
    plan: &Plan,
    keys: &Rings,
    bytes: &[u8],
    layout: &Layout,
    upkeep: &Upkeep,
    tokens: Option<&Tokens>,
) -> Result<Revealed, RevealError> {
    let ids = Ids::of(plan, bytes, layout);
    let mut opener = Opener::new(collection, plan, keys);
    let mut tally = Tally::default();
    let mut subjects = Subjects::default();
    for row in 0..layout.rows.len() {
        subjects.add(ids.row(row).and_then(|row| row.about(collection)));
    }
    let mut changes = vec![Change::Keep; layout.found.len()];
    for (found, change) in layout.found.iter().zip(&mut changes) {
        let index = match plan.meaning(found) {
            Some(Meaning::Field(index)) => index,
            // Of no use without the ring.
            Some(Meaning::Index(..)) => {
                *change = Change::Remove;
                continue;
            }
            _ => continue,
        };
        let field = collection.fields.get(index).ok_or(RevealError::Layout)?;
        if field.subject.is_some() {
            subjects.add(ids.subject(collection, plan, index, found));
        }
        if found.kind == Kind::Null {
            continue;
        }
        let not_held = || RevealError::RingNotHeld { field: field.name.clone(), ring: field.ring.clone() };
        let bad = |kid_known| RevealError::NotAuthentic { field: field.name.clone(), kid_known };
        let Some(text) = envelope_text(bytes, found)? else {
            match token(field, bytes, found, tokens)? {
                Some(Known::Value(json)) => {
                    *change = Change::Replace(json.to_vec());
                    tally.show(field.category, Level::Clear);
                }
                Some(Known::Bad) => return Err(bad(true)),
                Some(Known::Compromised(kid)) => {
                    return Err(RevealError::KeyCompromised { field: field.name.clone(), kid: *kid });
                }
                Some(Known::NotHeld) => return Err(not_held()),
                Some(Known::Not) => return Err(bad(false)),
                None => tally.clear_found = tally.clear_found.saturating_add(1),
            }
            continue;
        };
        let id = binding(collection, plan, &ids, Suite::named_by(&text), index, found).map_err(|_no_id| bad(true))?;
        let clear = opener.open(index, &text, id, Permit::Upkeep(upkeep)).map_err(|error| match error {
            NotOpened::Bad { kid_known } => bad(kid_known),
            NotOpened::Compromised(kid) => RevealError::KeyCompromised { field: field.name.clone(), kid },
            NotOpened::NotHeld => not_held(),
            NotOpened::Keys(error) => RevealError::Keys(error),
        })?;
        if hangs_on_compromised(keys, field, &text) {
            tally.compromised = tally.compromised.saturating_add(1);
        }
        *change = Change::Replace(clear.to_vec());
        tally.show(field.category, Level::Clear);
    }
    let mut out = Vec::with_capacity(bytes.len());
    splice(bytes, layout, &changes, &[], &mut out);
    Ok(Revealed { bytes: out, tally, subjects: subjects.into_list() })
}

/// What is known of a token, if one stands there; None if it is a clear value.
fn token<'t>(field: &Field, bytes: &[u8], found: &Found, tokens: Option<&'t Tokens>) -> Result<Option<&'t Known>, RevealError> {
    static NOT: Known = Known::Not;
    let Protection::Token(kind) = &field.protection else { return Ok(None) };
    if found.kind != Kind::String || found.misfit {
        return Ok(None);
    }
    let text = unescape(bytes.get(found.value.clone()).ok_or(RevealError::Layout)?).ok_or(RevealError::Layout)?;
    let tokens = tokens.ok_or(RevealError::Layout)?;
    let is_one = kind.format.is_reserved(&text) || tokens.is_token(kind, &text);
    Ok(is_one.then(|| tokens.of(&kind.scope, &text).unwrap_or(&NOT)))
}

fn envelope_text(bytes: &[u8], found: &Found) -> Result<Option<String>, RevealError> {
    if found.kind != Kind::String || found.misfit {
        return Ok(None);
    }
    let value = bytes.get(found.value.clone()).ok_or(RevealError::Layout)?;
    let text = unescape(value).ok_or(RevealError::Layout)?;
    Ok(text.starts_with(envelope::PREFIX).then(|| text.into_owned()))
}

#[cfg(test)]
mod tests;
