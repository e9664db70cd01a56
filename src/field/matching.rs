//! Compares what a search by an index found with what it asked for, and leaves the rest out of the reply.
//!
//! A term that is found says what stands beside the value, not what the value is: it may have been pasted there from another document, it
//! may be cut so short that two values share it, or the API may know no such search and have sent everything. So every value that was
//! searched is opened, and its keyed digest, at full length, compared with those that were asked for, in constant time (T16).
//!
//! Always holds: a row that does not have what was searched is not in the reply, nor counted as shown; commas are as in a list that
//! never had it. `reveal` calls it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroizing;

use super::ids::Ids;
use super::index::{Probe, TERM_PREFIX, envelope_of};
use super::open::{NotOpened, Opener, compromised};
use super::plan::{Collection, Meaning, OnBadValue, Plan};
use super::reveal::RevealError;
use super::{Tally, envelope::Suite};
use crate::base::{Condition, Kid};
use crate::crypto::constant_time_eq;
use crate::document::{Change, Found, Kind, Layout, splice};
use crate::keys::Rings;
use crate::purpose::{Permit, Upkeep};

/// What one search asked for, for the reply to it.
pub struct Sought {
    probes: Vec<Probe>,
    condition: Condition,
    /// A row of the list that is under way has been written, so that the next needs its comma. Windows come one after the other.
    after_row: AtomicBool,
}

/// Without the terms.
impl fmt::Debug for Sought {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sought").field("probes", &self.probes.len()).field("condition", &self.condition).finish_non_exhaustive()
    }
}

impl Sought {
    /// A search whose terms, by their numbers in the condition, are `probes`.
    pub fn new(probes: Vec<Probe>, condition: Condition) -> Self {
        Self { probes, condition, after_row: AtomicBool::new(false) }
    }

    /// Which rows of a window have what was searched.
    ///
    /// # Errors
    ///
    /// A value that does not open in its place, or is clear, where the collection refuses replies with such.
    #[expect(
        clippy::too_many_arguments,
        reason = "the window, what was found in it, and under which rules it is compared: each comes from another module"
    )]
    pub(super) fn matches(
        &self,
        collection: &Collection,
        plan: &Plan,
        keys: &Rings,
        ids: &Ids,
        bytes: &[u8],
        layout: &Layout,
        tally: &mut Tally,
    ) -> Result<Vec<bool>, RevealError> {
        let mut compare = Compare { collection, plan, keys, ids, bytes, opener: Opener::new(collection, plan, keys), tally };
        let mut found = layout.found.iter().filter(|found| found.row.is_some()).peekable();
        let mut matches = Vec::with_capacity(layout.rows.len());
        for row in &layout.rows {
            let mut of_row = Vec::new();
            while let Some(found) = found.next_if(|found| found.value.start < row.range.end) {
                of_row.push(found);
            }
            let holds_values =
                of_row.iter().any(|found| matches!(plan.meaning(found), Some(Meaning::Field(_) | Meaning::Index(..))));
            if plan.is_sole_row(row.set) && !holds_values {
                // The frame of a list, or an answer that is no document.
                matches.push(true);
                continue;
            }
            let has = compare.has(&self.probes, &of_row)?;
            let holds = self.condition.holds(&mut |term| has.get(term).copied().unwrap_or(false));
            if !holds {
                compare.tally.strays = compare.tally.strays.saturating_add(1);
                if plan.is_sole_row(row.set) {
                    return Err(RevealError::Stray);
                }
            }
            matches.push(holds);
        }
        Ok(matches)
    }

    /// Writes a window with only the rows that match.
    ///
    /// # Errors
    ///
    /// [`RevealError::Unsifted`] where rows stand otherwise than as elements of a list, or other things among them.
    pub(super) fn sift(
        &self,
        plan: &Plan,
        bytes: &[u8],
        layout: &Layout,
        changes: &[Change],
        matches: &[bool],
        out: &mut Vec<u8>,
    ) -> Result<(), RevealError> {
        let mut copied = 0;
        let mut found = layout.found.iter().zip(changes).peekable();
        for (row, keep) in layout.rows.iter().zip(matches) {
            let gap = bytes.get(copied..row.range.start).ok_or(RevealError::Layout)?;
            let bare = gap.trim_ascii();
            copied = row.range.end;
            match bare {
                _ if plan.is_sole_row(row.set) => self.copy(gap, out),
                b"," if *keep && self.after_row.load(Ordering::Relaxed) => out.extend_from_slice(gap),
                b"," | b"" => {}
                _ if bare.ends_with(b"[") && !bare.starts_with(b",") => {
                    self.copy(gap, out);
                    self.after_row.store(false, Ordering::Relaxed);
                }
                _ => return Err(RevealError::Unsifted),
            }
            let (mut own, mut own_changes) = (Layout::default(), Vec::new());
            while let Some((one, change)) = found.next_if(|(one, _)| one.value.start < row.range.end) {
                if one.value.start < row.range.start {
                    continue;
                }
                own.found.push(Found {
                    value: one.value.start - row.range.start..one.value.end - row.range.start,
                    member_start: one.member_start.saturating_sub(row.range.start),
                    ..one.clone()
                });
                own_changes.push(change.clone());
            }
            if *keep {
                let mut written = Vec::with_capacity(row.range.len());
                splice(bytes.get(row.range.clone()).ok_or(RevealError::Layout)?, &own, &own_changes, &[], &mut written);
                self.copy(&written, out);
                self.after_row.store(true, Ordering::Relaxed);
            }
        }
        let tail = bytes.get(copied..).ok_or(RevealError::Layout)?;
        let in_list = layout.rows.last().is_some_and(|row| !plan.is_sole_row(row.set));
        if in_list && tail.trim_ascii().starts_with(b",") {
            return Err(RevealError::Unsifted);
        }
        if tail.trim_ascii().ends_with(b"[") {
            self.after_row.store(false, Ordering::Relaxed);
        }
        self.copy(tail, out);
        Ok(())
    }

    /// Copies what is shown, and what stands around it. Links to the next page may hold the query as it was sent; of a term in them a dash
    /// is left.
    fn copy(&self, text: &[u8], out: &mut Vec<u8>) {
        if memchr::memmem::find(text, TERM_PREFIX.as_bytes()).is_none() {
            out.extend_from_slice(text);
            return;
        }
        let mut text = String::from_utf8_lossy(text).into_owned();
        for term in self.probes.iter().flat_map(|probe| &probe.terms) {
            text = text.replace(term.as_str(), "-");
        }
        out.extend_from_slice(text.as_bytes());
    }
}

/// One window on its way.
struct Compare<'c, 'a> {
    collection: &'a Collection,
    plan: &'a Plan,
    keys: &'a Rings,
    ids: &'a Ids,
    bytes: &'a [u8],
    opener: Opener<'a>,
    tally: &'c mut Tally,
}

impl Compare<'_, '_> {
    /// For each probe: has the row one of the values that it stands for? Every value is opened once, however many are asked for.
    fn has(&mut self, probes: &[Probe], row: &[&Found]) -> Result<Vec<bool>, RevealError> {
        let mut has = vec![false; probes.len()];
        for found in row {
            let Some(Meaning::Field(field)) = self.plan.meaning(found) else { continue };
            if !probes.iter().any(|probe| probe.field == field) {
                continue;
            }
            let Some(clear) = self.clear(field, found)? else { continue };
            let indexes = &self.collection.fields.get(field).ok_or(RevealError::Layout)?.indexes;
            let mut digests: Vec<(usize, Kid, Option<[u8; 32]>)> = Vec::new();
            for (has, probe) in has.iter_mut().zip(probes).filter(|(_, probe)| probe.field == field) {
                let known = digests.iter().find(|(index, kid, _)| *index == probe.index && *kid == probe.key.kid);
                let digest = if let Some((.., digest)) = known {
                    *digest
                } else {
                    let index = indexes.get(probe.index).ok_or(RevealError::Layout)?;
                    let digest = index.normalised(&clear).ok().map(|normalised| probe.key.mac.mac(normalised.as_bytes()));
                    digests.push((probe.index, probe.key.kid, digest));
                    digest
                };
                *has |= digest.is_some_and(|mac| probe.macs.iter().fold(false, |is, asked| is | constant_time_eq(asked, &mac)));
            }
        }
        Ok(has)
    }

    /// The JSON text that a stored value stands for; none of what is nobody's find.
    fn clear(&mut self, field: usize, found: &Found) -> Result<Option<Zeroizing<Vec<u8>>>, RevealError> {
        let config = self.collection.fields.get(field).ok_or(RevealError::Layout)?;
        let stored = self.bytes.get(found.value.clone()).ok_or(RevealError::Layout)?;
        if found.kind == Kind::Null {
            return Ok(None);
        }
        let sealed = if found.misfit { None } else { envelope_of(stored) };
        let Some((text, suite)) = sealed else {
            if !self.collection.strict {
                return Ok(Some(Zeroizing::new(stored.to_vec())));
            }
            self.tally.clear_found = self.tally.clear_found.saturating_add(1);
            return match self.collection.on_bad_value {
                OnBadValue::Refuse => Err(RevealError::ClearFound { field: config.name.clone() }),
                OnBadValue::Withhold => Ok(None),
            };
        };
        let id = match suite {
            Suite::X => self.ids.binding(self.collection, self.plan, field, found),
            Suite::D => Ok(""),
        };
        let upkeep = Upkeep::dangerous_for("has a row that was found what was searched? The value is compared and dropped");
        let opened = match id {
            // Whoever knows the key can have made the value, and it is nobody's find.
            Ok(_) if let Some(kid) = compromised(self.keys, config, &text) => Err(NotOpened::Compromised(kid)),
            Ok(id) => self.opener.open(field, &text, id, Permit::Upkeep(&upkeep)),
            Err(_no_id) => Err(NotOpened::Bad { kid_known: true }),
        };
        match opened {
            Ok(clear) => Ok(Some(Zeroizing::new(clear.to_vec()))),
            Err(NotOpened::Keys(error)) => Err(RevealError::Keys(error)),
            // Such a search is refused before it is sent; the ring was taken away since.
            Err(NotOpened::NotHeld) => Err(RevealError::RingNotHeld { field: config.name.clone(), ring: config.ring.clone() }),
            Err(NotOpened::Bad { kid_known }) if self.collection.on_bad_value == OnBadValue::Refuse => {
                Err(RevealError::NotAuthentic { field: config.name.clone(), kid_known })
            }
            Err(NotOpened::Bad { .. }) => {
                self.tally.bad = self.tally.bad.saturating_add(1);
                Ok(None)
            }
            Err(NotOpened::Compromised(kid)) if self.collection.on_bad_value == OnBadValue::Refuse => {
                Err(RevealError::KeyCompromised { field: config.name.clone(), kid })
            }
            Err(NotOpened::Compromised(_)) => {
                self.tally.compromised = self.tally.compromised.saturating_add(1);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
