//! How the token vault answers, by fixed words.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Labels, Metrics, Word, registered, short_times};

/// Calls of the vault.
#[derive(Debug)]
pub(super) struct Vault {
    calls: Family<Labels<1>, Histogram, fn() -> Histogram>,
    failures: Family<Labels<2>, Counter>,
}

impl Vault {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let calls = Family::<Labels<1>, Histogram, fn() -> Histogram>::new_with_constructor(short_times);
        let help = "From asking the token vault for all tokens of a body or window to its answer, by call";
        registry.register_with_unit("vault", help, Unit::Seconds, calls.clone());
        Self {
            calls,
            failures: registered(registry, "vault_failures", "Calls of the token vault that failed, by call and kind of failure"),
        }
    }
}

impl Metrics {
    /// The vault answered `after` it was asked. `call` is a fixed word: `tokenise`, `detokenise`, `find`.
    pub fn vault_answered(&self, call: &'static str, after: Duration) {
        self.vault.calls.get_or_create(&[("call", Word::Fixed(call))]).observe(after.as_secs_f64());
    }

    /// The vault did not do what it was asked. `kind` is a fixed word: those of the store, `exhausted`, `not-authentic`, `keys`,
    /// `internal`.
    pub fn vault_failed(&self, call: &'static str, kind: &'static str) {
        self.vault.failures.get_or_create(&[("call", Word::Fixed(call)), ("kind", Word::Fixed(kind))]).inc();
    }
}
