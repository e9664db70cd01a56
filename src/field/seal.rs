//! Seals the values of one body: one draw of randomness, one key look-up per field, one row key per (row, field).
//!
//! Deterministic values need no nonce and go their own way at once.
//!
//! Always holds: no nonce comes twice under one key. A row has a nonce of its own (24 random bytes); its values share the first half and
//! count up the last one, at most [`VALUES_PER_DRAW`] times, then the row draws again. Nothing of it outlives the body (T18).

use std::sync::Arc;

use zeroize::Zeroizing;

use super::envelope::{Envelope, Suite};
use super::index::Indexer;
use super::open::Opener;
use super::plan::{Collection, Field, Plan, Protection};
use super::protect::WriteError;
use super::rewrap::line_of;
use super::tokens::Tokens;
use super::{NotCanonical, deterministic, envelope, tokens};
use crate::base::limits::MAX_PLAINTEXT_BYTES;
use crate::crypto::{NONCE_HALF_BYTES, RowKey, fill_random, random};
use crate::document::write_string;
use crate::keys::{FieldKey, KeyRing, LookupKey, Rings, State};
use crate::purpose::{Permit, Upkeep};

/// Values sealed under one draw.
const VALUES_PER_DRAW: u16 = 256;
const NONCE_BYTES: usize = 2 * NONCE_HALF_BYTES;
type Half = [u8; NONCE_HALF_BYTES];

/// Seals the values of one body of `rows` rows.
pub(super) struct Sealer<'a> {
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    tokens: Option<&'a Tokens>,
    rows: usize,
    /// A nonce per row and how many values were sealed under it; drawn when the first value comes.
    draws: Vec<([u8; NONCE_BYTES], u16)>,
    fields: Vec<Slot<'a>>,
    aad: Vec<u8>,
    room: Vec<u8>,
    /// Clear text, with its padding, that is sealed again.
    padded: Zeroizing<Vec<u8>>,
    /// Sees every value that is sealed here; is told of those that stay as they are.
    pub(super) indexer: Indexer<'a>,
}

/// What is kept of a field while a body is sealed.
struct Slot<'a> {
    /// The one ring that its values are sealed under; None if it is not held.
    ring: Option<&'a KeyRing>,
    key: Option<Arc<FieldKey>>,
    lookup: Option<Arc<LookupKey>>,
    /// Only for fields that may stand in a row more than once.
    row: Option<Box<(Half, RowKey)>>,
}

impl<'a> Sealer<'a> {
    pub(super) fn new(collection: &'a Collection, plan: &'a Plan, keys: &'a Rings, rows: usize) -> Self {
        let slot = |field: &Field| Slot { ring: keys.find(&field.ring), key: None, lookup: None, row: None };
        let fields = collection.fields.iter().map(slot).collect();
        Self {
            collection,
            plan,
            keys,
            tokens: None,
            rows,
            draws: Vec::new(),
            fields,
            aad: Vec::with_capacity(256),
            room: Vec::with_capacity(256),
            padded: Zeroizing::default(),
            indexer: Indexer::new(collection, plan, keys, rows),
        }
    }

    /// The same, with what the vault made.
    pub(super) fn with(self, tokens: Option<&'a Tokens>) -> Self {
        Self { tokens, ..self }
    }

    /// Seals `value` of a field in a row and appends the envelope as a JSON string to `out`. `id` is empty where the bind is Field
    /// or the field is deterministic. For a token it says whom the value is about, and is empty where that is not known.
    pub(super) fn seal(&mut self, field: usize, row: usize, id: &str, value: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        let (Some(config), Some(slot)) = (self.collection.fields.get(field), self.fields.get(field)) else {
            return Err(WriteError::Layout);
        };
        if slot.ring.is_none() {
            return Err(WriteError::not_held(config));
        }
        if value.len() > MAX_PLAINTEXT_BYTES {
            return Err(WriteError::TooLong { field: config.name.clone() });
        }
        self.indexer.add(row, field, value)?;
        match &config.protection {
            Protection::Seal => {}
            Protection::Deterministic => return self.seal_deterministic(field, config, value, out),
            Protection::Token(kind) => {
                let vault = self.tokens.ok_or(WriteError::TokensWanted)?;
                match vault.make(tokens::wish(config, kind, value, id)?)? {
                    Some(token) => write_string(token, out),
                    // What is made of the body is given up anyway.
                    None => out.extend_from_slice(b"null"),
                }
                return Ok(());
            }
        }
        self.seal_random(field, row, id, value, config.pad, out)
    }

    /// Seals again what was opened here: in the same suite, to the same length, and as it was, also where today's rules would spell it
    /// otherwise. `len` is the length it was sealed with, its padding included. The indexer is told nothing.
    pub(super) fn seal_again(
        &mut self,
        (field, row, id): (usize, usize, &str),
        suite: Suite,
        opened: &[u8],
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        if suite == Suite::D {
            return self.write_deterministic(field, opened, out);
        }
        let mut padded = std::mem::take(&mut self.padded);
        padded.clear();
        padded.extend_from_slice(opened);
        padded.resize(len.max(opened.len()), b' ');
        let sealed = self.seal_random(field, row, id, &padded, 0, out);
        self.padded = padded;
        sealed
    }

    /// Are there versions, other than the Active ones, on which values of this field may hang? Cheap: nearly every write asks.
    pub(super) fn has_old(&self, field: usize) -> bool {
        self.fields.get(field).and_then(|slot| slot.ring).is_some_and(KeyRing::has_old)
    }

    /// A stored envelope that stays in a row, as it is to be stored from now on: sealed anew if it hangs on an old version that may still
    /// show something. None where it stays byte for byte: under the Active version; under a compromised one, which proves nothing, so that
    /// it is not made like any other in silence; and where it does not open.
    pub(super) fn renewed(&mut self, (field, row, id): (usize, usize, &str), text: &str) -> Result<Option<Vec<u8>>, WriteError> {
        let ring = self.fields.get(field).and_then(|slot| slot.ring);
        let Some(ring) = ring.filter(|ring| ring.has_old()) else { return Ok(None) };
        let Ok(envelope) = Envelope::parse(text) else { return Ok(None) };
        let (suite, kid) = (envelope.suite, envelope.kid);
        let line = line_of(suite);
        let old = ring.active(&line) != Some(kid) && ring.state_of(&line, kid).is_some_and(State::opens_to_reveal);
        if !old {
            return Ok(None);
        }
        let upkeep = Upkeep::dangerous_for("a value that a write carries along is sealed anew at once under the active version");
        let mut opening = Opener::new(self.collection, self.plan, self.keys);
        let Ok(opened) = opening.open(field, text, id, Permit::Upkeep(&upkeep)) else { return Ok(None) };
        let mut out = Vec::new();
        self.seal_again((field, row, id), suite, opened, envelope.sealed_len(), &mut out)?;
        Ok(Some(out))
    }

    /// Suite `x`, padded with spaces to a multiple of `pad`.
    fn seal_random(
        &mut self,
        field: usize,
        row: usize,
        id: &str,
        value: &[u8],
        pad: u16,
        out: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        let (Some(config), Some(planned)) = (self.collection.fields.get(field), self.plan.fields.get(field)) else {
            return Err(WriteError::Layout);
        };
        let (prefix, suffix) = self.nonce(row)?;
        let Some(slot) = self.fields.get_mut(field) else { return Err(WriteError::Layout) };
        let key = match &slot.key {
            Some(key) => key,
            None => slot.key.insert(slot.ring.ok_or_else(|| WriteError::not_held(config))?.seal_key(&config.place)?),
        };
        let once;
        let row_key = if planned.repeats {
            match &mut slot.row {
                Some(kept) if kept.0 == prefix => &kept.1,
                stale => &stale.insert(Box::new((prefix, key.xaes.row_key(&prefix)))).1,
            }
        } else {
            once = key.xaes.row_key(&prefix);
            &once
        };
        let aad = planned.context.aad(key.kid, id, &mut self.aad);
        envelope::write(row_key, key.kid, planned.context.bind(), (&prefix, &suffix), aad, value, pad, &mut self.room, out)
            .map_err(|_too_long| WriteError::TooLong { field: config.name.clone() })
    }

    fn seal_deterministic(&mut self, field: usize, config: &Field, value: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        let text = deterministic::canonical(value).map_err(|why| match why {
            NotCanonical::TooLong => WriteError::TooLong { field: config.name.clone() },
            NotCanonical::Type | NotCanonical::Number => WriteError::NotCanonical { field: config.name.clone(), why },
        })?;
        self.write_deterministic(field, &text, out)
    }

    fn write_deterministic(&mut self, field: usize, text: &[u8], out: &mut Vec<u8>) -> Result<(), WriteError> {
        let (Some(config), Some(planned), Some(slot)) =
            (self.collection.fields.get(field), self.plan.fields.get(field), self.fields.get_mut(field))
        else {
            return Err(WriteError::Layout);
        };
        let key = match &slot.lookup {
            Some(key) => key,
            None => slot.lookup.insert(slot.ring.ok_or_else(|| WriteError::not_held(config))?.lookup_key(&config.place)?),
        };
        let aad = planned.deterministic.aad(key.kid, "", &mut self.aad);
        deterministic::write(key, aad, text, &mut self.room, out);
        Ok(())
    }

    /// The next nonce of a row, in halves.
    fn nonce(&mut self, row: usize) -> Result<(Half, Half), WriteError> {
        if self.draws.is_empty() {
            self.draw_all()?;
        }
        let Some((nonce, used)) = self.draws.get_mut(row) else { return Err(WriteError::Layout) };
        if *used >= VALUES_PER_DRAW {
            (*nonce, *used) = (random()?, 0);
        }
        let [prefix, base] = nonce.as_chunks::<NONCE_HALF_BYTES>().0 else { return Err(WriteError::Layout) };
        let suffix = plus(base, *used);
        *used += 1;
        Ok((*prefix, suffix))
    }

    /// One call to the operating system for all rows.
    fn draw_all(&mut self) -> Result<(), WriteError> {
        if self.rows == 1 {
            self.draws.push((random()?, 0));
            return Ok(());
        }
        let mut bytes = vec![0; self.rows * NONCE_BYTES];
        fill_random(&mut bytes)?;
        self.draws.extend(bytes.as_chunks::<NONCE_BYTES>().0.iter().map(|nonce| (*nonce, 0)));
        Ok(())
    }
}

/// `base + count` as 96-bit big-endian numbers, from the highest back to zero.
fn plus(base: &Half, count: u16) -> Half {
    let mut wide = [0_u8; 16];
    wide.iter_mut().skip(4).zip(base).for_each(|(to, from)| *to = *from);
    let sum = u128::from_be_bytes(wide) + u128::from(count);
    sum.to_be_bytes().last_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::plus;

    #[test]
    fn t18_suffixes_count_up_as_96_bit_numbers() {
        assert_eq!(plus(&[0; 12], 0), [0; 12]);
        assert_eq!(plus(&[0; 12], 255), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255]);
        assert_eq!(plus(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 255], 1), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(plus(&[0xff; 12], 0), [0xff; 12]);
        assert_eq!(plus(&[0xff; 12], 1), [0; 12]);
        assert_eq!(plus(&[0xff; 12], 3), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    }
}
