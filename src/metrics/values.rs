//! What was done with values: shown, protected, kept; and those that are not as they should be.

use std::sync::OnceLock;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Labels, Metrics, Word, registered};
use crate::base::{CategoryName, CollectionName, ShownPath};

/// What became of a body in the sample of the leak guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// It was looked at.
    Looked,
    /// Too many waited already.
    PassedOver,
}

/// The metrics of values.
#[derive(Debug)]
pub(super) struct Values {
    shown: Family<Labels<2>, Counter>,
    protected: Family<Labels<1>, Counter>,
    kept: Counter,
    clear_found: Family<Labels<1>, Counter>,
    bad: Family<Labels<1>, Counter>,
    unmapped: Family<Labels<3>, Counter>,
    leak_guard: Family<Labels<1>, Counter>,
    compromised: Family<Labels<1>, Counter>,
    strays: Family<Labels<1>, Counter>,
    not_held: Family<Labels<1>, Counter>,
}

impl Values {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        Self {
            shown: registered(registry, "values_shown", "Values in replies, by data category and level"),
            protected: registered(registry, "values_protected", "Values sealed, by data category"),
            kept: registered(registry, "values_kept", "Values of writes that kept what is stored"),
            clear_found: registered(registry, "clear_found", "Clear values found where protected ones should be, by collection"),
            bad: registered(
                registry,
                "bad_values",
                "Stored values that did not authenticate, by collection: look into every one",
            ),
            unmapped: registered(
                registry,
                "unmapped_personal",
                "Values written that look personal at paths that are no field, in the sample of the leak guard",
            ),
            leak_guard: registered(registry, "leak_guard_bodies", "Bodies in the sample of the leak guard, by outcome"),
            compromised: registered(
                registry,
                "compromised_values",
                "Stored values under a compromised key that were withheld, or kept by a write, by collection",
            ),
            not_held: registered(
                registry,
                "values_not_held",
                "Stored values that were left out because this node is not given their key ring, by collection",
            ),
            strays: registered(
                registry,
                "strays",
                "Documents that a search found by a term, and left out as they do not have what was searched, by collection",
            ),
        }
    }
}

/// The counters of one category, looked up by their labels once: each request counts several. Made where a configuration is.
#[derive(Debug, Default)]
pub struct OfCategory {
    /// By level, in the order in which levels came up.
    shown: [OnceLock<(&'static str, Counter)>; 6],
    protected: OnceLock<Counter>,
}

impl Metrics {
    /// Values of a category went out at a level, given by its fixed word. `known` is that category's.
    pub fn values_shown(&self, known: &OfCategory, category: &CategoryName, level: &'static str, count: u32) {
        let found = || {
            self.values
                .shown
                .get_or_create_owned(&[("category", Word::Category(category.clone())), ("level", Word::Fixed(level))])
        };
        let mut known = known.shown.iter().map(|place| place.get_or_init(|| (level, found())));
        let counter = known.find(|(there, _)| *there == level);
        // There are as many places as levels.
        counter.map_or_else(found, |(_, counter)| counter.clone()).inc_by(count.into());
    }

    /// Values of a category were sealed. `known` is that category's.
    pub fn values_protected(&self, known: &OfCategory, category: &CategoryName, count: u32) {
        let found = || self.values.protected.get_or_create_owned(&[("category", Word::Category(category.clone()))]);
        known.protected.get_or_init(found).inc_by(count.into());
    }

    /// Values of a write kept what is stored.
    pub fn values_kept(&self, count: u32) {
        self.values.kept.inc_by(count.into());
    }

    /// Clear values were found where protected ones should be (T4).
    pub fn clear_found(&self, collection: &CollectionName, count: u32) {
        self.values.clear_found.get_or_create(&[("collection", Word::Collection(collection.clone()))]).inc_by(count.into());
    }

    /// Documents that a search found by a term do not have what was searched, and were left out.
    pub fn strays(&self, collection: &CollectionName, count: u32) {
        self.values.strays.get_or_create(&[("collection", Word::Collection(collection.clone()))]).inc_by(count.into());
    }

    /// Stored values were left out because their ring is not held.
    pub fn values_not_held(&self, collection: &CollectionName, count: u32) {
        self.values.not_held.get_or_create(&[("collection", Word::Collection(collection.clone()))]).inc_by(count.into());
    }

    /// Stored values did not authenticate.
    pub fn bad_values(&self, collection: &CollectionName, count: u32) {
        self.values.bad.get_or_create(&[("collection", Word::Collection(collection.clone()))]).inc_by(count.into());
    }

    /// The leak guard found values that look personal at a path that is no field. `category` is a fixed word.
    pub fn unmapped_personal(&self, collection: &CollectionName, path: ShownPath, category: &'static str, count: u64) {
        let labels = [
            ("collection", Word::Collection(collection.clone())),
            ("path", Word::Path(path)),
            ("category", Word::Fixed(category)),
        ];
        self.values.unmapped.get_or_create(&labels).inc_by(count);
    }

    /// A body was in the sample of the leak guard.
    pub fn leak_guard(&self, looked: Looked) {
        let outcome = match looked {
            Looked::Looked => "looked-at",
            Looked::PassedOver => "passed-over",
        };
        self.values.leak_guard.get_or_create(&[("outcome", Word::Fixed(outcome))]).inc();
    }

    /// Stored values hang on a compromised key.
    pub fn compromised_values(&self, collection: &CollectionName, count: u32) {
        self.values.compromised.get_or_create(&[("collection", Word::Collection(collection.clone()))]).inc_by(count.into());
    }
}
