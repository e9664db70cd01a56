//! The newest rings, for a command that runs for long: what operators change meanwhile holds for what it does next.
//!
//! Always holds: a ring older than the one at hand is refused; a ring is opened again only if its bytes are others, for opening one costs
//! as much as its provider does. Called by `cli`.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Config, KeyError, KeyRing, Other, Rings, place};
use crate::base::RingName;
use crate::crypto;

/// Rings that are looked at again and again.
#[derive(Debug)]
pub struct Follow {
    not_held: Vec<RingName>,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    main: One,
    others: Vec<One>,
    all: Arc<Rings>,
}

#[derive(Debug, Clone)]
struct One {
    config: Config,
    hash: [u8; 32],
    ring: Arc<KeyRing>,
}

impl Follow {
    /// Opens the rings that are held. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Rings::open`].
    pub fn open(main: Config, others: &[Other]) -> Result<Self, KeyError> {
        let not_held: Vec<RingName> =
            others.iter().filter(|other| other.held().is_none()).map(|other| other.name().clone()).collect();
        let main = One::open(main)?;
        let others = others.iter().filter_map(Other::held).cloned().map(One::open).collect::<Result<Vec<One>, _>>()?;
        let held = Held::of(main, others, &not_held)?;
        Ok(Self { not_held, held: Mutex::new(held) })
    }

    /// The rings as they are now. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Rings::open`]; [`KeyError::RolledBack`].
    pub fn newest(&self) -> Result<Arc<Rings>, KeyError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let main = held.main.newest()?;
        let others = held.others.iter().map(One::newest).collect::<Result<Vec<One>, _>>()?;
        let is_same = |(now, before): (&One, &One)| Arc::ptr_eq(&now.ring, &before.ring);
        if is_same((&main, &held.main)) && others.iter().zip(&held.others).all(is_same) {
            // Wrapped otherwise at most.
            (held.main, held.others) = (main, others);
        } else {
            *held = Held::of(main, others, &self.not_held)?;
        }
        Ok(Arc::clone(&held.all))
    }
}

impl Held {
    fn of(main: One, others: Vec<One>, not_held: &[RingName]) -> Result<Self, KeyError> {
        let rings = others.iter().map(|other| Arc::clone(&other.ring)).collect();
        let all = Arc::new(Rings::of_rings(Arc::clone(&main.ring), rings, not_held.to_vec())?);
        Ok(Self { main, others, all })
    }
}

impl One {
    fn open(config: Config) -> Result<Self, KeyError> {
        // Looked at before it is opened: if it is replaced in between, the next look opens it again.
        let hash = hash(&config)?;
        let ring = Arc::new(KeyRing::open(&config)?);
        Ok(Self { config, hash, ring })
    }

    fn newest(&self) -> Result<Self, KeyError> {
        let hash = hash(&self.config)?;
        if hash == self.hash {
            return Ok(self.clone());
        }
        let ring = KeyRing::open(&self.config)?;
        let (found, newest) = (ring.revision(), self.ring.revision());
        if found < newest {
            return Err(KeyError::RolledBack { found, newest }.of_ring(&self.config.name));
        }
        // The same revision is the same ring, wrapped otherwise at most.
        let ring = if found > newest { Arc::new(ring) } else { Arc::clone(&self.ring) };
        Ok(Self { config: self.config.clone(), hash, ring })
    }
}

/// Of the ring's bytes, wherever they are.
fn hash(config: &Config) -> Result<[u8; 32], KeyError> {
    place::read(config).map(|bytes| crypto::sha256(&bytes))
}
