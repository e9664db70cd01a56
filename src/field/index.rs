//! Search indexes: a keyed term beside a sealed value, by which a database finds it without learning it (`docs/format.md`).
//!
//! ```text
//! ix1.<kid>.<base32(first bits of HMAC-SHA-256(index subkey, normalised value))>
//! ```
//!
//! The term stands in a member of its own at the top of the document ([`Index::member`]), a list of terms where the field's selector has
//! wildcards. A write gets it from [`Indexer`], which `seal` fills as values pass; a search asks [`Index::probe`] for terms; `matching` compares what
//! was found with what was asked.
//!
//! Always holds: index members are made here and nowhere else: none comes from a client, none leaves; a term is made anew, under the Active
//! version, with every write of its document; a value without a normalised form has no term. Whoever reads the database sees which documents
//! share a normalised value, and nothing of it without the key.

use std::collections::HashSet;
use std::fmt;

use super::envelope::{self, Suite};
use super::open::{NotOpened, Opener};
use super::plan::{Collection, Field, Plan};
use crate::base::{Kid, is_canonical_integer};
use crate::crypto::base32_crockford;
use crate::document::{Selector, Step, unescape, write_string};
use crate::keys::{IndexKey, KeyError, Rings};
use crate::normalise::{NoForm, Normaliser};
use crate::purpose::{Permit, Upkeep};

/// What every term begins with.
pub(super) const TERM_PREFIX: &str = "ix1.";
/// Fewest and most bits of a term, and what it takes when nothing is said. Always whole bytes.
pub const TERM_BITS: std::ops::RangeInclusive<u16> = 16..=128;
/// Bits of a term where the configuration says nothing.
pub const DEFAULT_TERM_BITS: u16 = 64;

/// One search index of a field, as run. `config` makes it.
#[derive(Debug, Clone)]
pub struct Index {
    /// Where the term, or the list of terms, stands: a member at the top of the document.
    pub(super) at: Selector,
    pub(super) member: Box<str>,
    normaliser: Normaliser,
    bits: u16,
}

/// Why an index cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Deeper, or in a list.
    #[error("an index stands in a member at the top of the document, such as $.email_ix")]
    Member,
    /// Too short to find anything by, too long, or not whole bytes.
    #[error("a term has 16 to 128 bits, in steps of 8")]
    Bits,
}

/// What a search for some values asks for.
pub struct Probe {
    /// Every term under which one of the values may be stored: all values, each under every version that opens.
    pub terms: Vec<String>,
    pub(super) field: usize,
    pub(super) index: usize,
    /// Under this key, at full length, the values themselves are compared: terms are cut, and may be another's.
    pub(super) key: IndexKey,
    pub(super) macs: Vec<[u8; 32]>,
}

/// Without the terms.
impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("field", &self.field).field("terms", &self.terms.len()).finish_non_exhaustive()
    }
}

/// Why a value cannot be searched for by an index.
#[derive(Debug)]
pub(super) enum NoProbe {
    Form(NoForm),
    Keys(KeyError),
}

impl Index {
    /// An index in this member.
    ///
    /// # Errors
    ///
    /// [`IndexError`].
    pub fn new(at: Selector, normaliser: Normaliser, bits: u16) -> Result<Self, IndexError> {
        let [Step::Member(member)] = at.steps() else { return Err(IndexError::Member) };
        if !TERM_BITS.contains(&bits) || !bits.is_multiple_of(8) {
            return Err(IndexError::Bits);
        }
        Ok(Self { member: Box::from(&**member), at, normaliser, bits })
    }

    /// What makes spellings of a value one.
    pub fn normaliser(&self) -> &Normaliser {
        &self.normaliser
    }

    /// What to ask for to find one of `values`, which are JSON texts.
    pub(super) fn probe(
        &self,
        at: (usize, usize),
        field: &Field,
        keys: &Rings,
        values: &[Vec<u8>],
        permit: Permit<'_>,
    ) -> Result<Probe, NoProbe> {
        let ring = keys.of(&field.ring).map_err(NoProbe::Keys)?;
        let keys = ring.index_keys(&field.place, self.normaliser.id(), permit).map_err(NoProbe::Keys)?;
        let (mut terms, mut macs) = (Vec::with_capacity(keys.len() * values.len()), Vec::with_capacity(values.len()));
        for value in values {
            let normalised = self.normalised(value).map_err(NoProbe::Form)?;
            for (number, key) in keys.iter().enumerate() {
                let mac = key.mac.mac(normalised.as_bytes());
                if number == 0 {
                    macs.push(mac);
                }
                terms.push(self.write(key, &mac));
            }
        }
        let mut seen = HashSet::new();
        terms.retain(|term| seen.insert(term.clone()));
        let key = keys.into_iter().next().ok_or(NoProbe::Form(NoForm::Empty))?;
        Ok(Probe { terms, field: at.0, index: at.1, key, macs })
    }

    /// The normalised form of a value's JSON text.
    pub(super) fn normalised(&self, json: &[u8]) -> Result<String, NoForm> {
        match json.first() {
            Some(b'"') => self.normaliser.apply(&unescape(json).ok_or(NoForm::Type)?),
            Some(b'-' | b'0'..=b'9') => {
                let text = std::str::from_utf8(json).ok().filter(|text| is_canonical_integer(text));
                self.normaliser.apply(text.ok_or(NoForm::Type)?)
            }
            _ => Err(NoForm::Type),
        }
    }

    fn term(&self, key: &IndexKey, normalised: &str) -> String {
        self.write(key, &key.mac.mac(normalised.as_bytes()))
    }

    fn write(&self, key: &IndexKey, mac: &[u8; 32]) -> String {
        let cut = mac.get(..usize::from(self.bits / 8)).unwrap_or(mac);
        format!("{TERM_PREFIX}{}.{}", key.kid, base32_crockford(cut))
    }
}

/// The terms of the rows of one body, gathered value by value.
pub(super) struct Indexer<'a> {
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    /// For values that stay sealed as they are: what they say goes into the term and nowhere else.
    opener: Option<Opener<'a>>,
    /// Active keys, by field and index.
    active: Vec<Vec<Option<IndexKey>>>,
    rows: Vec<Vec<Entry>>,
    /// The members are not written into the rows: the caller asks for them.
    apart: bool,
}

/// One index member of a row.
struct Entry {
    field: usize,
    index: usize,
    /// None of a value that has no term, or that is removed.
    terms: Vec<String>,
    /// The member as it is stored, of a field whose ring is not held: no term is made of it, and its values stay as they are.
    stored: Option<Vec<u8>>,
}

impl<'a> Indexer<'a> {
    pub(super) fn new(collection: &'a Collection, plan: &'a Plan, keys: &'a Rings, rows: usize) -> Self {
        let indexed = collection.fields.iter().any(|field| !field.indexes.is_empty());
        let none = |field: &Field| field.indexes.iter().map(|_| None).collect();
        let active = if indexed { collection.fields.iter().map(none).collect() } else { Vec::new() };
        let rows = std::iter::repeat_with(Vec::new).take(if indexed { rows } else { 0 }).collect();
        Self { collection, plan, keys, opener: None, active, rows, apart: false }
    }

    /// From now on [`Self::write_members`] writes nothing.
    pub(super) fn keep_apart(&mut self) {
        self.apart = true;
    }

    /// Has any field an index?
    pub(super) fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Is this field found by an index?
    pub(super) fn indexes(&self, field: usize) -> bool {
        !self.is_idle() && self.collection.fields.get(field).is_some_and(|field| !field.indexes.is_empty())
    }

    /// A value that the row will hold, as clear JSON text.
    pub(super) fn add(&mut self, row: usize, field: usize, json: &[u8]) -> Result<(), KeyError> {
        if !self.indexes(field) || json == b"null" {
            return Ok(());
        }
        let collection = self.collection;
        let Some(config) = collection.fields.get(field) else { return Ok(()) };
        for (index, spec) in config.indexes.iter().enumerate() {
            let Ok(normalised) = spec.normalised(json) else { continue };
            let Some(slot) = self.active.get_mut(field).and_then(|slots| slots.get_mut(index)) else { continue };
            let key = match slot {
                Some(key) => key,
                None => slot.insert(self.keys.of(&config.ring)?.index_key(&config.place, spec.normaliser.id())?),
            };
            let term = spec.term(key, &normalised);
            if let Some(entry) = self.entry(row, field, index) {
                entry.terms.push(term);
            }
        }
        Ok(())
    }

    /// A sealed value that stays as it is in the row. One that does not open in its place has no term: nobody could be shown it.
    pub(super) fn add_sealed(&mut self, row: usize, field: usize, envelope: &str, id: &str) -> Result<(), KeyError> {
        if !self.indexes(field) {
            return Ok(());
        }
        let upkeep =
            Upkeep::dangerous_for("the term of a value that stays sealed is made anew; its clear text is dropped at once");
        let mut opener = self.opener.take().unwrap_or_else(|| Opener::new(self.collection, self.plan, self.keys));
        let added = match opener.open(field, envelope, id, Permit::Upkeep(&upkeep)) {
            Ok(clear) => {
                let clear = zeroize::Zeroizing::new(clear.to_vec());
                self.add(row, field, &clear)
            }
            Err(NotOpened::Bad { .. } | NotOpened::Compromised(_)) => Ok(()),
            Err(NotOpened::NotHeld) => {
                self.collection.fields.get(field).map_or(Ok(()), |field| self.keys.of(&field.ring).map(drop))
            }
            Err(NotOpened::Keys(error)) => Err(error),
        };
        self.opener = Some(opener);
        added
    }

    /// The terms of a field whose ring is not held, as they are stored: of its values none is added and none removed, so that they stay.
    pub(super) fn keep_stored(&mut self, row: usize, field: usize, index: usize, member: &[u8]) {
        if let Some(entry) = self.entry(row, field, index) {
            entry.stored = Some(member.to_vec());
        }
    }

    /// The row says of this field what there is, so that its index members are written even if nothing is: as `null`. For patches.
    pub(super) fn mention(&mut self, row: usize, field: usize) {
        let count = self.collection.fields.get(field).map_or(0, |field| field.indexes.len());
        for index in 0..count {
            let _mentioned = self.entry(row, field, index);
        }
    }

    /// The index members of a row, each with its JSON text.
    pub(super) fn members(&self, row: usize) -> impl Iterator<Item = (&'a str, Vec<u8>)> {
        self.rows.get(row).into_iter().flatten().filter_map(|entry| {
            let member = &*self.collection.fields.get(entry.field)?.indexes.get(entry.index)?.member;
            let list = self.plan.fields.get(entry.field)?.repeats;
            Some((member, entry.text(list)))
        })
    }

    /// The text of one index member of a row; `null` if no value of the row has a term in it.
    pub(super) fn member(&self, row: usize, field: usize, index: usize) -> Vec<u8> {
        let of_row = self.rows.get(row).into_iter().flatten();
        let entry = of_row.into_iter().find(|entry| entry.field == field && entry.index == index);
        let list = self.plan.fields.get(field).is_some_and(|field| field.repeats);
        entry.map_or_else(|| b"null".to_vec(), |entry| entry.text(list))
    }

    /// Appends the index members of a row to `out`, which ends inside of that row's object, before its closing brace.
    pub(super) fn write_members(&self, row: usize, out: &mut Vec<u8>) {
        for (member, text) in self.members(row).filter(|_| !self.apart) {
            if out.iter().rev().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
                out.push(b',');
            }
            write_string(member, out);
            out.push(b':');
            out.extend_from_slice(&text);
        }
    }

    fn entry(&mut self, row: usize, field: usize, index: usize) -> Option<&mut Entry> {
        let entries = self.rows.get_mut(row)?;
        let known = entries.iter().position(|entry| entry.field == field && entry.index == index);
        let at = known.unwrap_or_else(|| {
            entries.push(Entry { field, index, terms: Vec::new(), stored: None });
            entries.len() - 1
        });
        entries.get_mut(at)
    }
}

impl Entry {
    /// A list is in the order of its terms, which says nothing of the order of the values.
    fn text(&self, list: bool) -> Vec<u8> {
        if let Some(stored) = &self.stored {
            return stored.clone();
        }
        let mut terms: Vec<&String> = self.terms.iter().collect();
        terms.sort();
        terms.dedup();
        let mut out = Vec::new();
        match (terms.as_slice(), list) {
            ([], _) => out.extend_from_slice(b"null"),
            (terms, true) => {
                for (at, term) in terms.iter().enumerate() {
                    out.push(if at == 0 { b'[' } else { b',' });
                    write_string(term, &mut out);
                }
                out.push(b']');
            }
            ([term, ..], false) => write_string(term, &mut out),
        }
        out
    }
}

/// Under which version of the lookup line each of the terms was made that stand in an index member; None if something else stands there.
pub(super) fn kids_of(json: &[u8]) -> Option<Vec<Kid>> {
    let of = |text: &str| {
        let (kid, _) = text.strip_prefix(TERM_PREFIX)?.split_once('.')?;
        Kid::from_text(kid.as_bytes()).ok()
    };
    match serde_json::from_slice(json).ok()? {
        serde_json::Value::Null => Some(Vec::new()),
        serde_json::Value::String(term) => Some(vec![of(&term)?]),
        serde_json::Value::Array(terms) => terms.iter().map(|term| of(term.as_str()?)).collect(),
        serde_json::Value::Bool(_) | serde_json::Value::Number(_) | serde_json::Value::Object(_) => None,
    }
}

/// The envelope that a JSON text is, if it is one by its beginning, and whether it is bound to an id.
pub(super) fn envelope_of(json: &[u8]) -> Option<(String, Suite)> {
    let text = unescape(json).filter(|text| text.starts_with(envelope::PREFIX))?;
    let suite = Suite::named_by(&text);
    Some((text.into_owned(), suite))
}

#[cfg(test)]
pub(in crate::field) mod tests;
