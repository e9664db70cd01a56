//! Calls to the store: how long they took, and why they failed.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Labels, Word, registered, short_times};

/// What is asked of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreCall {
    /// Rows are made or found.
    Claim,
    /// Rows are read by their keys.
    Read,
    /// Rows are looked up by their marks.
    Find,
    /// Rows are listed.
    List,
    /// Rows are changed.
    Change,
    /// Rows are changed if nobody was faster.
    Swap,
}

impl StoreCall {
    fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Read => "read",
            Self::Find => "find",
            Self::List => "list",
            Self::Change => "change",
            Self::Swap => "swap",
        }
    }
}

/// The metrics of the store.
#[derive(Debug)]
pub(super) struct StoreCalls {
    times: Family<Labels<1>, Histogram, fn() -> Histogram>,
    failures: Family<Labels<2>, Counter>,
}

impl StoreCalls {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        let times = Family::<Labels<1>, Histogram, fn() -> Histogram>::new_with_constructor(short_times);
        registry.register_with_unit("store", "Time of a call to the store that succeeded, by call", Unit::Seconds, times.clone());
        let failures = registered(registry, "store_failures", "Calls to the store that failed, by call and kind of failure");
        Self { times, failures }
    }

    /// `failure` is the kind of its error.
    pub(super) fn called(&self, call: StoreCall, took: Duration, failure: Option<&'static str>) {
        let call = ("call", Word::Fixed(call.as_str()));
        match failure {
            None => self.times.get_or_create(&[call]).observe(took.as_secs_f64()),
            Some(kind) => {
                self.failures.get_or_create(&[call, ("kind", Word::Fixed(kind))]).inc();
            }
        }
    }
}
