//! The newest ring, for a command that runs for long: what operators change meanwhile holds for what it does next.
//!
//! Always holds: a ring older than the one at hand is refused; a ring is opened again only if its bytes are others, for opening one costs
//! as much as its provider does. Called by `cli`.

use std::sync::{Arc, Mutex, PoisonError};

use super::{Config, KeyError, KeyRing, place};
use crate::crypto;

/// A ring that is looked at again and again.
#[derive(Debug)]
pub struct Follow {
    config: Config,
    held: Mutex<([u8; 32], Arc<KeyRing>)>,
}

impl Follow {
    /// Opens the ring. Blocks.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::open`].
    pub fn open(config: Config) -> Result<Self, KeyError> {
        // Looked at before it is opened: if it is replaced in between, the next look opens it again.
        let hash = hash(&config)?;
        let ring = Arc::new(KeyRing::open(&config)?);
        Ok(Self { config, held: Mutex::new((hash, ring)) })
    }

    /// The ring as it is now. Blocks.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::open`]; [`KeyError::RolledBack`].
    pub fn newest(&self) -> Result<Arc<KeyRing>, KeyError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = hash(&self.config)?;
        if now == held.0 {
            return Ok(Arc::clone(&held.1));
        }
        let ring = KeyRing::open(&self.config)?;
        let (found, newest) = (ring.revision(), held.1.revision());
        if found < newest {
            return Err(KeyError::RolledBack { found, newest });
        }
        held.0 = now;
        // The same revision is the same ring, wrapped otherwise at most.
        if found > newest {
            held.1 = Arc::new(ring);
        }
        Ok(Arc::clone(&held.1))
    }
}

/// Of the ring's bytes, wherever they are.
fn hash(config: &Config) -> Result<[u8; 32], KeyError> {
    place::read(config).map(|bytes| crypto::sha256(&bytes))
}
