//! What the providers of key-encryption keys answer, by fixed words and names of rings.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Labels, Metrics, Word, registered};
use crate::base::RingName;

/// Questions to providers, and what came of them.
#[derive(Debug)]
pub(super) struct Keks {
    asked: Family<Labels<2>, Counter>,
    confirmed: Family<Labels<1>, Gauge>,
    held: Family<Labels<1>, Gauge>,
}

impl Keks {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let help = "Times the provider of a ring's KEK was asked to unwrap, by ring and outcome";
        Self {
            asked: registered(registry, "kek_calls", help),
            confirmed: registered(
                registry,
                "kek_confirmed_timestamp_seconds",
                "When the provider of a ring's KEK last confirmed it, in seconds since 1970",
            ),
            held: registered(registry, "keys_held", "1 while the keys of a ring are in memory; 0: they were dropped"),
        }
    }
}

impl Metrics {
    /// A provider was asked. `outcome` is a fixed word: `ok`, or one of `keys::ProviderError`.
    pub fn kek_asked(&self, ring: &RingName, outcome: &'static str) {
        self.keks.asked.get_or_create(&[("ring", Word::Ring(ring.clone())), ("outcome", Word::Fixed(outcome))]).inc();
    }

    /// Its word was good at this time, in seconds since 1970; so the keys are there.
    pub fn kek_confirmed(&self, ring: &RingName, now_s: u64) {
        let labels = [("ring", Word::Ring(ring.clone()))];
        self.keks.confirmed.get_or_create(&labels).set(i64::try_from(now_s).unwrap_or(i64::MAX));
        self.keks.held.get_or_create(&labels).set(1);
    }

    /// The keys were dropped.
    pub fn keys_dropped(&self, ring: &RingName) {
        self.keks.held.get_or_create(&[("ring", Word::Ring(ring.clone()))]).set(0);
    }
}
