//! How many connections each address has open.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use crate::exchange::network;

/// Counts connections by address (IPv6: by network). As large as there are connections.
#[derive(Debug, Clone)]
pub(super) struct Crowd {
    most: NonZeroU32,
    open: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

impl Crowd {
    pub(super) fn new(most: NonZeroU32) -> Self {
        Self { most, open: Arc::default() }
    }

    /// Counts a connection until what is returned is dropped; `None` if the address has as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<OneOf> {
        let address = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_insert(0);
        if *count >= self.most.get() {
            return None;
        }
        *count += 1;
        drop(open);
        Some(OneOf { crowd: self.clone(), address })
    }
}

/// One connection of a crowd.
#[derive(Debug)]
pub(super) struct OneOf {
    crowd: Crowd,
    address: IpAddr,
}

impl Drop for OneOf {
    fn drop(&mut self) {
        let mut open = self.crowd.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = open.entry(self.address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t24_each_address_has_its_own_count_and_none_is_left_behind() {
        let crowd = Crowd::new(NonZeroU32::new(2).unwrap());
        let [one, two]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let open = [crowd.enter(one), crowd.enter(one), crowd.enter(two)];
        assert!(open.iter().all(Option::is_some));
        assert!(crowd.enter(one).is_none());
        drop(open);
        assert!(crowd.open.lock().unwrap().is_empty());
        assert!(crowd.enter(one).is_some());
    }
}
