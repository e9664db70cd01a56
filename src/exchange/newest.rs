//! The newest rings, shared by a configuration and those that follow it.
//!
//! An exchange keeps the configuration it began with, but not its keys: a reply may bring a value that another exchange sealed
//! meanwhile under a version that came with a reload, and what was marked compromised must not be opened once it is known to be
//! (T19). Rings only grow: each knows every version of the one before it, so a newer one opens whatever an older one did, but
//! for what must not be opened any more. A ring that a reload takes away is not held from then on, also by an exchange that began with it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::State;
use crate::keys::Rings;
use crate::vault::Vault;

/// Where a configuration finds the newest rings.
#[derive(Debug)]
pub struct Newest(Arc<ArcSwap<Rings>>);

impl Newest {
    /// For a configuration with these keys that follows another, or none. They are the newest once it is in force.
    pub fn of(keys: &Arc<Rings>, before: Option<&Self>) -> Self {
        Self(before.map_or_else(|| Arc::new(ArcSwap::new(Arc::clone(keys))), |before| Arc::clone(&before.0)))
    }
}

impl State {
    /// The keys to use now. Asked anew for each body and window, and not kept.
    pub(super) fn rings(&self) -> Guard<Arc<Rings>> {
        self.newest.0.load()
    }

    /// The token vault, with the keys to use now.
    pub(super) fn vault(&self) -> Vault {
        Vault::new(Arc::clone(&self.store), Arc::clone(&self.rings()))
    }

    /// From now on its keys are what every configuration uses.
    pub(super) fn bring_keys(&self) {
        self.newest.0.store(Arc::clone(&self.keys));
    }
}
