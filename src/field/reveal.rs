//! Reveals one window of a reply: every configured value leaves at the level its category has under the grant, or not at all.
//!
//! Always holds: a value is opened only under the place where it stands and only at a level that needs it (nothing is opened at sealed
//! and absent); every failure to authenticate is one error (T23); a clear value where an envelope should be is refused, or counted while
//! migrating (T4); what cannot be shown at its level is left out, never shown at a higher one. `exchange` calls it.

use std::fmt;
use std::sync::Arc;

use super::by_row::{ByRow, Company, Extent, level_of};
use super::envelope::{self, Suite};
use super::ids::{Ids, Subjects};
use super::open::{NotOpened, Opener};
use super::plan::{Collection, Field, Meaning, OnBadValue, Plan, Protection};
use super::tokens::Tokens;
use super::{Mask, Sought, Tally, pseudonym};
use crate::base::{FieldName, Kid, RecordId, RingName};
use crate::crypto::MacKey;
use crate::document::{self, Change, Kind, Layout, splice, unescape, write_string};
use crate::keys::{KeyError, Rings};
use crate::purpose::{Grant, Level, Permit, Rights, Row};
use crate::vault;

/// What [`reveal`] gives.
pub struct Revealed {
    /// What to send.
    pub bytes: Vec<u8>,
    /// Counts.
    pub tally: Tally,
    /// Who the documents are about: distinct, in order.
    pub subjects: Vec<RecordId>,
}

/// Without the bytes, which hold clear values (T13).
impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revealed")
            .field("bytes", &self.bytes.len())
            .field("tally", &self.tally)
            .field("subjects", &self.subjects.len())
            .finish()
    }
}

/// A stored value that cannot be shown. `Display` is for the operator; the client is told less (`front/http/reply.rs`).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevealError {
    /// 500 and an alarm: changed, moved, bound otherwise, or under a key that is not there.
    #[error("a stored value of field {field} does not authenticate{}", if *kid_known { "" } else { ", and it names no key of its ring" })]
    NotAuthentic {
        /// Where.
        field: FieldName,
        /// Has the ring the key that the value names? For the operator only.
        kid_known: bool,
    },
    /// 500 and an alarm: not sealed at all, although the collection is strict (T4).
    #[error("a stored value of field {field} is not sealed; while migrating set strict = false")]
    ClearFound {
        /// Where.
        field: FieldName,
    },
    /// 500 and an alarm: under a key that somebody else may know, so that it may be anybody's.
    #[error(
        "a stored value of field {field} is sealed under {kid}, which is compromised: it is not shown until it is written anew"
    )]
    KeyCompromised {
        /// Where.
        field: FieldName,
        /// The version.
        kid: Kid,
    },
    /// 403, without an alarm: under a ring that this node is not given, so that nothing can be told of it.
    #[error(
        "field {field} is sealed under the key ring {ring}, which this proxy is not given: ask one that is, or for a purpose that does not show it"
    )]
    RingNotHeld {
        /// Where.
        field: FieldName,
        /// Its ring.
        ring: RingName,
    },
    /// 503: a key cannot be had.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// 404: the one document that a search by an index found does not have what was searched.
    #[error("no document has what was searched: the one that was found by its term holds another value")]
    Stray,
    /// 502: what a search by an index found cannot be told apart.
    #[error("among the documents that were found stand others than elements of one list, so that none can be left out")]
    Unsifted,
    /// 500: the layout is not this window's; a mistake of ours.
    #[error("the window's layout does not fit the window")]
    Layout,
}

impl RevealError {
    /// The stable code, an anchor of `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAuthentic { .. } | Self::ClearFound { .. } => "value-not-authentic",
            Self::KeyCompromised { .. } => "key-compromised",
            Self::RingNotHeld { .. } => "ring-not-held",
            Self::Keys(error) => error.code(),
            Self::Stray => "no-match",
            Self::Unsifted => "reply-unreadable",
            Self::Layout => "internal-error",
        }
    }
}

/// How the documents of a window were found.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found<'a> {
    /// Indexes of the fields whose value was searched for: every row shows it, whether or not the member is there.
    pub searched: &'a [usize],
    /// Row peeks that were asked for by the proxy alone, and are left out.
    pub strip: &'a [usize],
    /// What the vault knows of the tokens that [`super::tokens_shown`] lists.
    pub tokens: Option<&'a Tokens>,
    /// Fields that were, to be compared.
    pub strip_fields: &'a [usize],
    /// What a search by an index asked for: rows without it are left out, and so are those of people by whose values the caller may not
    /// search.
    pub sought: Option<&'a Sought>,
    /// Is it all of the reply?
    pub extent: Extent,
}

/// [`reveal_found`], of documents that were not searched for.
///
/// # Errors
///
/// [`RevealError`]; nothing of the window may then be sent.
#[expect(
    clippy::too_many_arguments,
    reason = "the window, what was found in it, and under which rules it is shown: each comes from another module"
)]
pub fn reveal<'a>(
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    rights: impl Into<Rights<'a>>,
    bytes: &[u8],
    layout: &Layout,
    url_id: Option<&RecordId>,
    now_ms: u64,
) -> Result<Revealed, RevealError> {
    reveal_found(collection, plan, keys, rights, bytes, layout, url_id, now_ms, Found::default())
}

/// Rewrites one window of a reply under the grant. `url_id` is the id of a document that stands alone
/// (`$`, `$.data`), also against the body; `now_ms` is the time in milliseconds since 1970, for levels that depend on the day.
///
/// # Errors
///
/// [`RevealError`]; nothing of the window may then be sent.
#[expect(
    clippy::too_many_arguments,
    reason = "the window, what was found in it, and under which rules it is shown: each comes from another module"
)]
pub fn reveal_found<'a>(
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    rights: impl Into<Rights<'a>>,
    bytes: &[u8],
    layout: &Layout,
    url_id: Option<&RecordId>,
    now_ms: u64,
    how: Found<'_>,
) -> Result<Revealed, RevealError> {
    window(collection, plan, keys, rights.into(), bytes, layout, url_id, now_ms, how)
}

#[expect(clippy::too_many_arguments, reason = "as `reveal_found`")]
fn window(
    collection: &Collection,
    plan: &Plan,
    keys: &Rings,
    rights: Rights<'_>,
    bytes: &[u8],
    layout: &Layout,
    url_id: Option<&RecordId>,
    now_ms: u64,
    how: Found<'_>,
) -> Result<Revealed, RevealError> {
    let ids = Ids::of_reply(plan, bytes, layout, url_id);
    let company = Company::Shown { searched: how.searched, extent: how.extent };
    let by_row = ByRow::of(collection, plan, rights, &ids, &layout.found, 0..layout.rows.len(), company);
    let mut window = Window::new(collection, plan, keys, rights.grant(), bytes, &ids, by_row, now_ms).with(how.tokens);
    let mut matches = match how.sought {
        Some(sought) => sought.matches(collection, plan, keys, &ids, bytes, layout, &mut window.tally)?,
        None => Vec::new(),
    };
    if rights.alike().is_none() && !how.searched.is_empty() {
        window.only_searchable(how.searched, layout, how.sought.is_some(), &mut matches)?;
    }
    let left_out = |row: usize| matches.get(row) == Some(&false);
    let mut changes = vec![Change::Keep; layout.found.len()];
    let mut subjects = Subjects::default();
    for row in (0..layout.rows.len()).filter(|row| !left_out(*row)) {
        subjects.add(ids.row(row).and_then(|row| row.about(collection)));
        for field in how.searched {
            let field = collection.fields.get(*field).ok_or(RevealError::Layout)?;
            window.tally.show(field.category, Level::Clear);
        }
    }
    // What was changed already decides everything inside it; only a misfit holds other findings.
    let mut decided_until = 0;
    for (found, change) in layout.found.iter().zip(&mut changes) {
        if found.row.and_then(|row| usize::try_from(row).ok()).is_some_and(left_out) {
            continue;
        }
        let index = match plan.meaning(found) {
            Some(Meaning::Field(index)) if !how.strip_fields.contains(&index) => index,
            Some(Meaning::RowPeek(peek)) if !how.strip.contains(&peek) => continue,
            // No term leaves, at any level, nor does what was asked for by the proxy alone.
            Some(Meaning::Field(_) | Meaning::Index(..) | Meaning::RowPeek(_)) => {
                *change = Change::Remove;
                continue;
            }
            _ => continue,
        };
        let field = collection.fields.get(index).ok_or(RevealError::Layout)?;
        if field.subject.is_some() {
            subjects.add(ids.subject(collection, plan, index, found));
        }
        if found.value.start < decided_until {
            continue;
        }
        let level = if found.misfit { window.misfit_level(index, found, field) } else { window.level(index, found, field) };
        *change = window.change(index, field, found, level)?;
        if !matches!(change, Change::Keep) {
            decided_until = found.value.end;
        }
    }
    let tally = window.tally;
    let mut out = Vec::with_capacity(bytes.len());
    match how.sought {
        Some(sought) => sought.sift(plan, bytes, layout, &changes, &matches, &mut out)?,
        None => splice(bytes, layout, &changes, &[], &mut out),
    }
    Ok(Revealed { bytes: out, tally, subjects: subjects.into_list() })
}

/// One window on its way; also what is stored before a write replaces it (`carry`), to know what of it the caller would be shown.
pub(super) struct Window<'a> {
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    grant: &'a Grant,
    bytes: &'a [u8],
    ids: &'a Ids,
    by_row: ByRow<'a>,
    now_ms: u64,
    pub(super) opener: Opener<'a>,
    pseudonyms: Option<Arc<MacKey>>,
    tally: Tally,
    tokens: Option<&'a Tokens>,
}

impl<'a> Window<'a> {
    #[expect(clippy::too_many_arguments, reason = "as `reveal_found`")]
    pub(super) fn new(
        collection: &'a Collection,
        plan: &'a Plan,
        keys: &'a Rings,
        grant: &'a Grant,
        bytes: &'a [u8],
        ids: &'a Ids,
        by_row: ByRow<'a>,
        now_ms: u64,
    ) -> Self {
        let opener = Opener::new(collection, plan, keys);
        let (pseudonyms, tally, tokens) = (None, Tally::default(), None);
        Self { collection, plan, keys, grant, bytes, ids, by_row, now_ms, opener, pseudonyms, tally, tokens }
    }

    /// The same, with what the vault knows.
    pub(super) fn with(self, tokens: Option<&'a Tokens>) -> Self {
        Self { tokens, ..self }
    }

    /// A misfit is reported for one of the fields it hides: the least level of all that it may hide. Where it is refused anyway, the one
    /// field decides, so that a mistake is not passed over because a neighbour is absent.
    fn misfit_level(&self, index: usize, found: &document::Found, field: &Field) -> Level {
        let own = self.level(index, found, field);
        if self.collection.strict {
            return own;
        }
        let fields = self.plan.neighbours(index).iter().filter_map(|at| Some((*at, self.collection.fields.get(*at)?)));
        fields.fold(own, |level, (at, field)| level.meet(self.level(at, found, field)))
    }

    /// What goes for a value of a field.
    fn row(&self, index: usize, found: &document::Found) -> &'a Row {
        self.by_row.of_value(self.plan, self.collection, self.ids, index, found)
    }

    /// The level at which a value of a field is shown.
    pub(super) fn level(&self, index: usize, found: &document::Found, field: &Field) -> Level {
        level_of(self.row(index, found), field)
    }

    /// Leaves out the rows of people by whose values the caller may not search: that they were found tells what they hold.
    fn only_searchable(
        &mut self,
        searched: &[usize],
        layout: &Layout,
        can_sift: bool,
        matches: &mut Vec<bool>,
    ) -> Result<(), RevealError> {
        matches.resize(layout.rows.len(), true);
        let category = |index: usize| self.collection.fields.get(index).map(|field| field.category).ok_or(RevealError::Layout);
        let mut hidden = vec![false; layout.rows.len()];
        for index in searched {
            let category = category(*index)?;
            for (row, hidden) in hidden.iter_mut().enumerate() {
                *hidden |= !self.by_row.row(row).may_search(category);
            }
            // Of other people in a row any may be the one who was found.
            for found in layout.found.iter().filter(|found| self.plan.meaning(found) == Some(Meaning::Field(*index))) {
                let row = found.row.and_then(|row| usize::try_from(row).ok());
                if let Some(hidden) = row.and_then(|row| hidden.get_mut(row)) {
                    *hidden |= !self.row(*index, found).may_search(category);
                }
            }
        }
        // The frame of a list is no document.
        let holds = |row: usize| {
            let of_row = |found: &&document::Found| found.row.and_then(|at| usize::try_from(at).ok()) == Some(row);
            let values =
                |found: &document::Found| matches!(self.plan.meaning(found), Some(Meaning::Field(_) | Meaning::Index(..)));
            layout.found.iter().filter(of_row).any(values)
        };
        for (row, (at, matches)) in layout.rows.iter().zip(matches.iter_mut()).enumerate() {
            if !hidden.get(row).copied().unwrap_or(true) || !*matches {
                continue;
            }
            match (self.plan.is_sole_row(at.set), can_sift) {
                (true, _) if !holds(row) => {}
                (true, _) => return Err(RevealError::Stray),
                (false, false) => return Err(RevealError::Unsifted),
                (false, true) => *matches = false,
            }
        }
        Ok(())
    }

    /// What becomes of one stored value: it stays (null, an envelope), its form at that level takes its place, or it is left out.
    pub(super) fn change(
        &mut self,
        index: usize,
        field: &Field,
        found: &document::Found,
        level: Level,
    ) -> Result<Change, RevealError> {
        let stored = self.bytes.get(found.value.clone()).ok_or(RevealError::Layout)?;
        if found.kind == Kind::Null {
            return Ok(if level == Level::Absent { Change::Remove } else { Change::Keep });
        }
        let text = if found.kind == Kind::String && !found.misfit {
            let text = unescape(stored).ok_or(RevealError::Layout)?;
            text.starts_with(envelope::PREFIX).then_some(text)
        } else {
            None
        };
        let Some(text) = text else {
            return match &field.protection {
                Protection::Token(kind) if found.kind == Kind::String && !found.misfit => {
                    self.token(index, field, kind, stored, level)
                }
                Protection::Token(_) | Protection::Seal | Protection::Deterministic => {
                    self.clear_found(index, field, stored, level)
                }
            };
        };
        match level {
            Level::Absent => Ok(Change::Remove),
            Level::Sealed if self.opener.is_envelope(index, &text) => {
                self.tally.show(field.category, level);
                Ok(Change::Keep)
            }
            Level::Sealed => self.bad(field, false),
            Level::Clear | Level::Masked | Level::Generalised | Level::Pseudonym if !self.opener.holds(index) => {
                self.not_held(field)
            }
            Level::Clear | Level::Masked | Level::Generalised | Level::Pseudonym => {
                let id = match Suite::named_by(&text) {
                    Suite::X => self.ids.binding(self.collection, self.plan, index, found),
                    Suite::D => Ok(""),
                };
                let Ok(id) = id else { return self.bad(field, true) };
                let opened = match self.opener.open(index, &text, id, Permit::Reveal(self.grant)) {
                    Ok(opened) => opened,
                    Err(NotOpened::Bad { kid_known }) => return self.bad(field, kid_known),
                    Err(NotOpened::Compromised(kid)) => return self.compromised(field, kid),
                    Err(NotOpened::NotHeld) => return self.not_held(field),
                    Err(NotOpened::Keys(error)) => return Err(RevealError::Keys(error)),
                };
                if level == Level::Clear {
                    let change = Change::Replace(opened.to_vec());
                    self.tally.show(field.category, level);
                    return Ok(change);
                }
                let opened = opened.to_vec();
                self.show(field, &opened, level)
            }
        }
    }

    /// A text that stands at a token field and is no envelope.
    fn token(
        &mut self,
        index: usize,
        field: &Field,
        kind: &vault::Kind,
        stored: &[u8],
        level: Level,
    ) -> Result<Change, RevealError> {
        if level == Level::Absent {
            return Ok(Change::Remove);
        }
        let text = unescape(stored).ok_or(RevealError::Layout)?;
        let at_sight = kind.format.is_token(&text);
        let known = self.tokens.and_then(|tokens| tokens.of(&kind.scope, &text));
        if !self.opener.holds(index) {
            // What its row says is not to be read, so there is no telling what else it may be.
            let is_token = at_sight == Some(true) || matches!(known, Some(vault::Known::NotHeld));
            if level != Level::Sealed || !is_token {
                return self.not_held(field);
            }
            self.tally.show(field.category, level);
            return Ok(Change::Keep);
        }
        let is_clear = match at_sight {
            Some(is_token) => !is_token,
            // Of a shape that no token has nobody asked.
            None => kind.format.check(&text).is_err() || matches!(known, Some(vault::Known::Not)),
        };
        if is_clear {
            // What is spelled almost as a token was one, or never.
            let reserved = kind.format.is_reserved(&text);
            return if reserved { self.bad(field, false) } else { self.clear_found(index, field, stored, level) };
        }
        if level == Level::Sealed && (at_sight.is_some() || known.is_some()) {
            self.tally.show(field.category, level);
            return Ok(Change::Keep);
        }
        match known {
            None => Err(RevealError::Layout),
            Some(vault::Known::Not) => self.bad(field, false),
            Some(vault::Known::Bad) => self.bad(field, true),
            Some(vault::Known::Compromised(version)) => self.compromised(field, *version),
            Some(vault::Known::NotHeld) => self.not_held(field),
            Some(vault::Known::Value(json)) if level == Level::Clear => {
                self.tally.show(field.category, level);
                Ok(Change::Replace(json.to_vec()))
            }
            Some(vault::Known::Value(json)) => self.show(field, json, level),
        }
    }

    /// Is a stored text sealed, by the looks of an envelope or a token?
    pub(super) fn is_sealed(&mut self, index: usize, text: &str) -> bool {
        if text.starts_with(envelope::PREFIX) {
            return self.opener.is_envelope(index, text);
        }
        match self.collection.fields.get(index).map(|field| &field.protection) {
            Some(Protection::Token(kind)) => self.tokens.is_some_and(|tokens| tokens.is_token(kind, text)),
            Some(Protection::Seal | Protection::Deterministic) | None => false,
        }
    }

    /// A value that does not authenticate.
    fn bad(&mut self, field: &Field, kid_known: bool) -> Result<Change, RevealError> {
        match self.collection.on_bad_value {
            OnBadValue::Refuse => Err(RevealError::NotAuthentic { field: field.name.clone(), kid_known }),
            OnBadValue::Withhold => {
                self.tally.bad = self.tally.bad.saturating_add(1);
                Ok(Change::Remove)
            }
        }
    }

    /// A value under a key that somebody else may know.
    fn compromised(&mut self, field: &Field, kid: Kid) -> Result<Change, RevealError> {
        match self.collection.on_bad_value {
            OnBadValue::Refuse => Err(RevealError::KeyCompromised { field: field.name.clone(), kid }),
            OnBadValue::Withhold => {
                self.tally.compromised = self.tally.compromised.saturating_add(1);
                Ok(Change::Remove)
            }
        }
    }

    /// A value whose ring is not held. It may be sound; nothing of it is shown, and nobody is accused.
    fn not_held(&mut self, field: &Field) -> Result<Change, RevealError> {
        match self.collection.on_bad_value {
            OnBadValue::Refuse => Err(RevealError::RingNotHeld { field: field.name.clone(), ring: field.ring.clone() }),
            OnBadValue::Withhold => {
                self.tally.not_held = self.tally.not_held.saturating_add(1);
                Ok(Change::Remove)
            }
        }
    }

    /// A clear value where an envelope should be (T4).
    fn clear_found(&mut self, index: usize, field: &Field, stored: &[u8], level: Level) -> Result<Change, RevealError> {
        self.tally.clear_found = self.tally.clear_found.saturating_add(1);
        match (level, self.collection.strict, self.collection.on_bad_value) {
            // Of a clear value there is no sealed form to show.
            (Level::Absent, _, _) | (_, true, OnBadValue::Withhold) | (Level::Sealed, false, _) => Ok(Change::Remove),
            (_, true, OnBadValue::Refuse) => Err(RevealError::ClearFound { field: field.name.clone() }),
            // It is on its way under the ring, and is not for a node without it.
            _ if !self.opener.holds(index) => self.not_held(field),
            (Level::Clear, false, _) => {
                self.tally.show(field.category, level);
                Ok(Change::Keep)
            }
            (Level::Masked | Level::Generalised | Level::Pseudonym, false, _) => self.show(field, stored, level),
        }
    }

    /// The form of a value's JSON text at a level between clear and sealed.
    fn show(&mut self, field: &Field, json: &[u8], level: Level) -> Result<Change, RevealError> {
        if json == b"null" {
            // That a sealed null is one is a revelation, too (T25).
            self.tally.show(field.category, level);
            return Ok(Change::Replace(json.to_vec()));
        }
        let string = unescape(json);
        let mut shown = Vec::new();
        match level {
            Level::Masked => {
                let masked = string.map_or_else(|| Mask::whole().to_string(), |text| field.mask.apply(&text));
                write_string(&masked, &mut shown);
            }
            Level::Pseudonym => {
                let key = match &self.pseudonyms {
                    Some(key) => Arc::clone(key),
                    None => Arc::clone(
                        self.pseudonyms.insert(self.keys.main().pseudonym_key(self.grant.scope(), Permit::Reveal(self.grant))?),
                    ),
                };
                let canonical = match &string {
                    Some(text) => pseudonym::canonical_text(text),
                    None => String::from_utf8_lossy(json).into_owned(),
                };
                write_string(&pseudonym::pseudonym(&key, &field.name, &canonical), &mut shown);
            }
            Level::Generalised => {
                let value = serde_json::from_slice(json).ok();
                let coarse = field.generalise.as_ref().and_then(|form| form.apply(&value?, self.now_ms));
                match coarse.map(|coarse| serde_json::to_vec(&coarse)) {
                    Some(Ok(text)) => shown = text,
                    Some(Err(_)) | None => return Ok(Change::Remove),
                }
            }
            Level::Absent | Level::Sealed | Level::Clear => return Ok(Change::Remove),
        }
        self.tally.show(field.category, level);
        Ok(Change::Replace(shown))
    }
}

#[cfg(test)]
mod tests;
