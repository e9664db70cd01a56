//! The rings of a node: that of `[keys]`, and one for each group of fields that has keys of its own (`[keys.NAME]`).
//!
//! A field names its ring in the configuration, and has its keys from that ring and no other: the id of a key of another ring is unknown
//! there, so that what a node with one ring seals opens at no field of another, wherever it is put (T1). Of a ring that the node is not given
//! only the name is known, and to ask for its keys is [`KeyError::RingNotHeld`], whatever the policy says.
//!
//! Always holds: a key id stands in one of the rings that are held; the main ring is held, and it alone is asked for the keys of the audit
//! log and of pseudonyms.
//!
//! `app` and the commands open a set; `field` and `vault` ask it by the ring of the field.

use std::collections::HashMap;
use std::sync::Arc;

use super::{CacheUse, Config, KeyError, KeyRing};
use crate::base::{Controller, Kid, RingName};
use crate::store::Store;

/// A ring beside the main one, as configured.
#[derive(Debug, Clone)]
pub enum Other {
    /// The node has it.
    Held(Config),
    /// The node is not given it: `held = false`.
    NotHeld(RingName),
}

impl Other {
    /// Its name.
    pub fn name(&self) -> &RingName {
        match self {
            Self::Held(config) => &config.name,
            Self::NotHeld(name) => name,
        }
    }

    /// Where it is, if the node has it.
    pub fn held(&self) -> Option<&Config> {
        match self {
            Self::Held(config) => Some(config),
            Self::NotHeld(_) => None,
        }
    }
}

/// The rings of a node, each an immutable snapshot of one revision.
#[derive(Debug)]
pub struct Rings {
    main: Arc<KeyRing>,
    /// In the order of the configuration; few.
    others: Vec<Arc<KeyRing>>,
    not_held: Vec<RingName>,
}

impl Rings {
    /// Opens every ring that the node has.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::open`], of any of them; [`KeyError::KidTwice`].
    pub fn open(main: &Config, others: &[Other]) -> Result<Self, KeyError> {
        let opened = KeyRing::open(main)?;
        let (mut held, mut not_held) = (Vec::new(), Vec::new());
        for other in others {
            match other {
                // What is wrong with a file names the file, which stands for its ring.
                Other::Held(config) => held.push(KeyRing::open(config)?),
                Other::NotHeld(name) => not_held.push(name.clone()),
            }
        }
        Self::of_rings(opened, held, not_held)
    }

    /// A set of rings that are open, the main one first, and the names of those that are not held.
    ///
    /// # Errors
    ///
    /// [`KeyError::KidTwice`].
    pub fn of_rings<R: Into<Arc<KeyRing>>>(main: R, others: Vec<R>, not_held: Vec<RingName>) -> Result<Self, KeyError> {
        let rings = Self { main: main.into(), others: others.into_iter().map(Into::into).collect(), not_held };
        let mut seen: HashMap<Kid, &RingName> = HashMap::new();
        for ring in rings.held() {
            for version in ring.versions() {
                if let Some(first) = seen.insert(version.kid, ring.name()).filter(|first| *first != ring.name()) {
                    return Err(KeyError::KidTwice { kid: version.kid, first: first.clone(), second: ring.name().clone() });
                }
            }
        }
        drop(seen);
        Ok(rings)
    }

    /// The ring of the audit log, of pseudonyms, and of every field that names no other.
    pub fn main(&self) -> &KeyRing {
        &self.main
    }

    /// The ring of a field's values. A name that no configuration in force has is that of a ring that is not held.
    ///
    /// # Errors
    ///
    /// [`KeyError::RingNotHeld`].
    pub fn of(&self, ring: &RingName) -> Result<&KeyRing, KeyError> {
        self.find(ring).ok_or_else(|| KeyError::RingNotHeld(ring.clone()))
    }

    /// The same, where there is something to do without it.
    pub fn find(&self, ring: &RingName) -> Option<&KeyRing> {
        // Asked for every field of every body, and nearly always answered here.
        if ring == self.main.name() {
            return Some(&self.main);
        }
        self.others.iter().find(|held| held.name() == ring).map(|held| &**held)
    }

    /// Does the node hold this ring?
    pub fn holds(&self, ring: &RingName) -> bool {
        self.find(ring).is_some()
    }

    /// The ring that a key id stands in: for upkeep that finds an id where no field says which ring it must be.
    pub fn of_kid(&self, kid: Kid) -> Option<&KeyRing> {
        self.held().find(|ring| ring.knows(kid))
    }

    /// Every ring that the node has, the main one first.
    pub fn held(&self) -> impl Iterator<Item = &KeyRing> {
        self.each().map(|ring| &**ring)
    }

    /// The same, to be kept apart from the set.
    pub fn each(&self) -> impl Iterator<Item = &Arc<KeyRing>> {
        std::iter::once(&self.main).chain(&self.others)
    }

    /// Those it is not given.
    pub fn not_held(&self) -> &[RingName] {
        &self.not_held
    }

    /// Whose rings they are.
    pub fn controller(&self) -> &Controller {
        self.main.controller()
    }

    /// [`KeyRing::check_rollback`] of each; every ring has a mark of its own.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn check_rollback(&self, store: &Store) -> Result<(), KeyError> {
        self.held().try_for_each(|ring| ring.check_rollback(store).map_err(|why| why.of_ring(ring.name())))
    }

    /// Asks a field's ring for something that must be there, if the node has it.
    ///
    /// # Errors
    ///
    /// What the ring says, with its name.
    pub fn needs<T>(&self, ring: &RingName, ask: impl FnOnce(&KeyRing) -> Result<T, KeyError>) -> Result<(), KeyError> {
        let asked = self.find(ring).map(ask).transpose();
        asked.map(drop).map_err(|why| why.of_ring(ring))
    }

    /// How well the keys of fields are kept, of all rings.
    pub fn cache(&self) -> CacheUse {
        self.held().map(KeyRing::cache).fold(CacheUse::default(), |sum, one| sum + one)
    }
}

/// A set of one ring.
impl From<KeyRing> for Rings {
    fn from(ring: KeyRing) -> Self {
        Self::from(Arc::new(ring))
    }
}

impl From<Arc<KeyRing>> for Rings {
    fn from(main: Arc<KeyRing>) -> Self {
        Self { main, others: Vec::new(), not_held: Vec::new() }
    }
}

impl From<KeyRing> for Arc<Rings> {
    fn from(ring: KeyRing) -> Self {
        Self::new(ring.into())
    }
}

#[cfg(test)]
mod tests;
