//! Rows that hang on old key versions are made anew: sealed under the Active version of the token line, marked under every live version of
//! the lookup line.
//!
//! Always holds: a row keeps its token and its scope, and what opened under that context is sealed under the same; a row that somebody
//! changed or removed meanwhile is left (the store compares); one that does not open, or is marked as another value, is left and told. A
//! value is found by its marks at every moment: marks of live versions are only added. Marks of a compromised or destroyed version go: they
//! recognise nothing any more.
//!
//! `sweep` goes through the pages: [`Vault::rewrap`] looks at one, [`Renewal::write`] stores it.

use std::collections::{BTreeMap, HashMap, HashSet};

use zeroize::Zeroizing;

use super::row::{self, Opened, Sealer};
use super::{Scope, Vault, VaultError};
use crate::base::{Kid, RingName, enc};
use crate::crypto::random;
use crate::keys::{KeyError, KeyRing, LineName, Rings};
use crate::purpose::{Permit, Upkeep};
use crate::store::{Row, Swap, Swapped, Table};

/// What of the rows is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which {
    /// What they are sealed under.
    pub token: bool,
    /// What they are found by.
    pub lookup: bool,
}

/// Why a row is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It does not open where it stands, or is no row of the vault; it is left.
    NotAuthentic,
    /// It is marked as another value; it is left.
    Mark,
    /// It was sealed under a version that somebody else may know, so anybody may have made it. It is sealed anew, and from then on is
    /// like any other.
    Compromised(Kid),
    /// Its value has another token, too, and is found by that one; this one goes on standing for it.
    Second,
}

/// A row that is told. A token says nothing of its value, but leads to the documents that hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its scope; empty if the row has none.
    pub scope: String,
    /// Its token; empty if the row has none.
    pub token: String,
    /// Why.
    pub trouble: Trouble,
}

/// What some rows were, and what became of them.
#[derive(Debug, Default)]
pub struct Rewrapped {
    /// Rows that were looked at.
    pub rows: u64,
    /// Rows that were made anew; in [`Renewal::count`], that would be.
    pub anew: u64,
    /// Rows that somebody changed meanwhile; they come again in another pass.
    pub changed: u64,
    /// Rows that hung on a version which is not the Active one.
    pub hung: BTreeMap<(LineName, Kid), u64>,
    /// Rows that are told.
    pub told: Vec<Told>,
}

/// Some rows that were looked at. Nothing is stored yet.
pub struct Renewal<'a> {
    vault: &'a Vault,
    done: Rewrapped,
    next: Option<Vec<u8>>,
    anew: Vec<Anew>,
    /// Rows that want a mark which another row of these gets.
    seconds: Vec<Anew>,
}

/// A row that is to change.
struct Anew {
    scope: Scope,
    token: String,
    swap: Swap,
}

impl Vault {
    /// Looks at rows, of all scopes or of one, at most `most` of those after a key, and makes anew what needs it.
    ///
    /// # Errors
    ///
    /// [`VaultError`]: no answer of the store, no key.
    pub async fn rewrap(
        &self,
        scope: Option<&Scope>,
        after: Option<Vec<u8>>,
        most: usize,
        which: Which,
    ) -> Result<Renewal<'_>, VaultError> {
        let controller = self.keys.controller().as_str().as_bytes();
        let prefix = scope.map_or_else(|| enc(&[controller]), |scope| enc(&[controller, scope.as_str().as_bytes()]));
        let rows = self.rows.list(Table::Token, prefix, after, most).await?;
        let next = rows.last().filter(|_| rows.len() == most).map(|row| row.key.clone());
        let live = self.keys.held().map(|ring| {
            let of_lookup = ring.versions().into_iter().filter(|version| version.line == LineName::Lookup);
            let live = of_lookup.filter(|version| version.state.opens_to_reveal()).map(|version| version.kid);
            (ring.name().clone(), live.collect())
        });
        let live = live.collect();
        let mut look =
            Look { keys: &self.keys, which, live, sealers: HashMap::new(), done: Rewrapped::default(), marks: HashSet::new() };
        let (mut anew, mut seconds) = (Vec::new(), Vec::new());
        for row in rows {
            look.done.rows += 1;
            let Some(row) = look.at(row)? else { continue };
            // The store takes one row for a mark, so of two that want it the second comes after the first is stored.
            let to = if row.swap.marks.iter().any(|mark| look.marks.contains(mark)) { &mut seconds } else { &mut anew };
            look.marks.extend(row.swap.marks.iter().cloned());
            to.push(row);
        }
        Ok(Renewal { vault: self, done: look.done, next, anew, seconds })
    }
}

impl Renewal<'_> {
    /// Rows that are to be written.
    pub fn writes(&self) -> usize {
        self.anew.len() + self.seconds.len()
    }

    /// After this key the next rows come; None after the last.
    pub fn next(&self) -> Option<Vec<u8>> {
        self.next.clone()
    }

    /// Rows that are told, so that they can be kept before anything is written.
    pub fn told(&self) -> &[Told] {
        &self.done.told
    }

    /// What there is, where nothing is to be written.
    pub fn count(mut self) -> Rewrapped {
        self.done.anew = u64::try_from(self.writes()).unwrap_or(u64::MAX);
        self.done
    }

    /// Stores the rows that nobody changed meanwhile.
    ///
    /// # Errors
    ///
    /// [`VaultError`]: no answer of the store.
    pub async fn write(mut self) -> Result<Rewrapped, VaultError> {
        let swaps: Vec<Swap> = self.anew.iter().map(|row| row.swap.clone()).collect();
        let outcomes = if swaps.is_empty() { Vec::new() } else { self.vault.rows.swap(Table::Token, swaps).await? };
        if outcomes.len() != self.anew.len() {
            return Err(VaultError::Answer);
        }
        for (row, outcome) in std::mem::take(&mut self.anew).into_iter().zip(outcomes) {
            match outcome {
                Swapped::Done => self.done.anew += 1,
                Swapped::Changed => self.done.changed += 1,
                Swapped::MarkTaken => self.seconds.push(row),
            }
        }
        for row in std::mem::take(&mut self.seconds) {
            self.second(row).await?;
        }
        Ok(self.done)
    }

    /// A row whose mark is another's: its value got a second token when no mark of the first one was asked for any more. Documents hold this
    /// one, so it goes on standing for the value, as a token of its own.
    async fn second(&mut self, row: Anew) -> Result<(), VaultError> {
        let keys = &self.vault.keys;
        let upkeep = Upkeep::dangerous_for("a row that was just opened is sealed anew as a token of its own");
        let Some(opened) = row::open(keys, &row.scope, &row.token, &row.swap.seen.value, Permit::Upkeep(&upkeep))? else {
            self.done.changed += 1;
            return Ok(());
        };
        let other = match self.vault.find(&[(row.scope.clone(), opened.json.to_vec())]).await {
            Ok(found) => found.into_iter().next().flatten().filter(|token| *token != row.token),
            Err(VaultError::NotAuthentic { .. }) => {
                self.done.told.push(Told { scope: row.scope.to_string(), token: row.token, trouble: Trouble::Mark });
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if other.is_none() {
            self.done.changed += 1;
            return Ok(());
        }
        let sealer = Sealer::new(keys, &row.scope)?;
        let value = sealer.seal(keys.controller(), &row.token, false, &opened.json, random()?)?;
        let swap = Swap { seen: row.swap.seen.clone(), value, marks: Vec::new() };
        match self.vault.rows.swap(Table::Token, vec![swap]).await?.as_slice() {
            [Swapped::Done] => {
                self.done.anew += 1;
                self.done.told.push(Told { scope: row.scope.to_string(), token: row.token, trouble: Trouble::Second });
            }
            _ => self.done.changed += 1,
        }
        Ok(())
    }
}

/// Looks at rows.
struct Look<'a> {
    keys: &'a Rings,
    which: Which,
    /// Versions of the lookup line that recognise values, of each ring.
    live: HashMap<RingName, HashSet<Kid>>,
    sealers: HashMap<Scope, Sealer>,
    done: Rewrapped,
    /// Those of the rows that are to be written.
    marks: HashSet<Vec<u8>>,
}

impl Look<'_> {
    /// The row as it is to be; None if it stays as it is.
    fn at(&mut self, seen: Row) -> Result<Option<Anew>, VaultError> {
        let Some((_, scope, token)) = row::read_key(&seen.key) else {
            self.done.told.push(Told { scope: String::new(), token: String::new(), trouble: Trouble::NotAuthentic });
            return Ok(None);
        };
        let (kid, consistent) = (row::kid_of(&seen.value), seen.value.first() == Some(&1));
        // A row says which ring it is of by the key that it hangs on.
        let ring = match kid.map(|kid| self.keys.of_kid(kid)) {
            Some(Some(ring)) => ring,
            // It may be of a ring that is not held here, and is for who holds that.
            Some(None) if !self.keys.not_held().is_empty() => return Ok(None),
            Some(None) | None => self.keys.main(),
        };
        let scope = Scope::named(&scope).in_ring(ring.name().clone());
        let seals = self.which.token && kid.is_some_and(|kid| ring.active(&LineName::Token) != Some(kid));
        let marks = self.which.lookup && consistent && self.wants_marks(ring, &seen.marks);
        if kid.is_some() && !seals && !marks {
            return Ok(None);
        }
        let sealed_under = kid.filter(|kid| seals && ring.state_of(&LineName::Token, *kid).is_some());
        let found_by = found_by(ring, &seen.marks).filter(|_| marks);
        let hangs = [sealed_under.map(|kid| (LineName::Token, kid)), found_by.map(|kid| (LineName::Lookup, kid))];
        for hangs in hangs.into_iter().flatten() {
            *self.done.hung.entry(hangs).or_default() += 1;
        }
        let upkeep = Upkeep::dangerous_for("a row that hangs on an old key version is sealed and marked anew at once");
        let trouble = match row::open(self.keys, &scope, &token, &seen.value, Permit::Upkeep(&upkeep))? {
            None => Trouble::NotAuthentic,
            Some(opened) if belong(ring, &seen.marks, &scope, &opened)? => {
                if let Some(kid) = kid.filter(|kid| seals && ring.is_compromised(*kid)) {
                    let trouble = Trouble::Compromised(kid);
                    self.done.told.push(Told { scope: scope.to_string(), token: token.clone(), trouble });
                }
                let swap = self.made(seen, &scope, &token, &opened, (seals, marks))?;
                return Ok(Some(Anew { scope, token, swap }));
            }
            Some(_) => Trouble::Mark,
        };
        self.done.told.push(Told { scope: scope.to_string(), token, trouble });
        Ok(None)
    }

    fn made(
        &mut self,
        seen: Row,
        scope: &Scope,
        token: &str,
        opened: &Opened,
        (seals, marks): (bool, bool),
    ) -> Result<Swap, VaultError> {
        if !self.sealers.contains_key(scope) {
            self.sealers.insert(scope.clone(), Sealer::new(self.keys, scope)?);
        }
        let sealer = self.sealers.get_mut(scope).ok_or(VaultError::Answer)?;
        let json: &Zeroizing<Vec<u8>> = &opened.json;
        let value = if seals {
            sealer.seal(self.keys.controller(), token, opened.consistent, json, random()?)?
        } else {
            seen.value.clone()
        };
        let marks = if marks { sealer.marks(self.keys, json)? } else { seen.marks.clone() };
        Ok(Swap { seen, value, marks })
    }

    /// Is a consistent row with these marks to be marked anew? So if one of a live version is not there, or one that recognises nothing is.
    fn wants_marks(&self, ring: &KeyRing, marks: &[Vec<u8>]) -> bool {
        let kids: Option<HashSet<Kid>> = marks.iter().map(|mark| row::kid_of_mark(mark)).collect();
        kids.is_none_or(|kids| self.live.get(ring.name()) != Some(&kids))
    }
}

/// The version by which a row is found that has no mark of the Active one.
fn found_by(ring: &KeyRing, marks: &[Vec<u8>]) -> Option<Kid> {
    let kids = || marks.iter().filter_map(|mark| row::kid_of_mark(mark));
    let active = ring.active(&LineName::Lookup);
    let known = |kid: &Kid| ring.state_of(&LineName::Lookup, *kid).is_some();
    if kids().any(|kid| Some(kid) == active) { None } else { kids().find(known) }
}

/// Is each of the marks, as far as can be told, that of the value?
fn belong(ring: &KeyRing, marks: &[Vec<u8>], scope: &Scope, opened: &Opened) -> Result<bool, VaultError> {
    if !opened.consistent {
        return Ok(marks.is_empty());
    }
    for mark in marks {
        let Some(kid) = row::kid_of_mark(mark) else { return Ok(false) };
        match ring.fingerprint_key(kid, scope.as_str()) {
            Ok(Some(key)) if row::mark(kid, &key, &opened.json) == *mark => {}
            // Under a version whose secret is gone nothing can be told.
            Ok(None) => {}
            Ok(Some(_)) | Err(KeyError::UnknownKid(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
