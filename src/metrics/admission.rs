//! What was turned away, given up or is held back, by fixed words: the counters of limits.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Counted, Labels, Metrics, Word, registered};

/// Counters of limits.
#[derive(Debug)]
pub(super) struct Admission {
    shed: Family<Labels<1>, Counter>,
    limited: Family<Labels<1>, Counter>,
    given_up: Family<Labels<1>, Counter>,
    connections_refused: Family<Labels<1>, Counter>,
    accept_failures: Counter,
    feeds: Gauge,
    memory: Gauge,
}

impl Admission {
    pub(super) fn registered(registry: &mut Registry) -> Self {
        Self {
            shed: registered(registry, "shed", "Requests turned away because the proxy was full, by what was used up"),
            limited: registered(registry, "limited", "Requests turned away because their sender asks too much, by limit"),
            given_up: registered(registry, "peers_given_up", "Clients that were too slow, by what they were too slow at"),
            connections_refused: registered(registry, "connections_refused", "Connections closed unserved, by limit"),
            accept_failures: registered(registry, "accept_failures", "Connections that the system could not hand over"),
            feeds: registered(registry, "feeds_under_way", "Feeds of changes of protected collections that are open"),
            memory: registered(registry, "memory_reserved_kibibytes", "Room that bodies and replies have reserved"),
        }
    }
}

impl Metrics {
    /// A request was turned away. `used_up` is a fixed word: `requests`, `memory`, `feeds`.
    pub fn shed(&self, used_up: &'static str) {
        self.admission.shed.get_or_create(&[("used_up", Word::Fixed(used_up))]).inc();
    }

    /// A request was turned away for what its sender asks beside it. `limit` is a fixed word: `rate`, `concurrency`, `failures`.
    pub fn limited(&self, limit: &'static str) {
        self.admission.limited.get_or_create(&[("limit", Word::Fixed(limit))]).inc();
    }

    /// A client was too slow. `at` is a fixed word: `head`, `body`, `reply`.
    pub fn peer_given_up(&self, at: &'static str) {
        self.admission.given_up.get_or_create(&[("at", Word::Fixed(at))]).inc();
    }

    /// A connection was closed unserved. `limit` is a fixed word: `address`, `memory`.
    pub fn connection_refused(&self, limit: &'static str) {
        self.admission.connections_refused.get_or_create(&[("limit", Word::Fixed(limit))]).inc();
    }

    /// The system could not hand over a connection.
    pub fn accept_failed(&self) {
        self.admission.accept_failures.inc();
    }

    /// A request began, unless `most` are under way; it is counted until the returned value is dropped.
    #[must_use]
    pub fn begun(&self, most: usize) -> Option<Counted> {
        let before = self.under_way.inc();
        let counted = Counted(self.under_way.clone());
        usize::try_from(before).is_ok_and(|before| before < most).then_some(counted)
    }

    /// A feed began, unless `most` are open; it is counted until the returned value is dropped.
    #[must_use]
    pub fn feed_begun(&self, most: usize) -> Option<Counted> {
        let before = self.admission.feeds.inc();
        let counted = Counted(self.admission.feeds.clone());
        usize::try_from(before).is_ok_and(|before| before < most).then_some(counted)
    }

    /// Room was reserved, in KiB; it is counted until the returned value is dropped.
    #[must_use]
    pub fn reserved(&self, kib: u32) -> Reserved {
        self.admission.memory.inc_by(kib.into());
        Reserved { gauge: self.admission.memory.clone(), kib }
    }
}

/// Holds the gauge of reserved room up while it lives.
#[derive(Debug)]
pub struct Reserved {
    gauge: Gauge,
    kib: u32,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.gauge.dec_by(self.kib.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_turned_away_is_told() {
        let metrics = Metrics::new(std::time::Duration::ZERO);
        metrics.shed("memory");
        metrics.limited("rate");
        metrics.limited("rate");
        metrics.peer_given_up("reply");
        metrics.connection_refused("address");
        metrics.accept_failed();
        let room = metrics.reserved(64);
        let first = metrics.begun(1);
        assert!(first.is_some() && metrics.begun(1).is_none(), "one at a time");
        let text = metrics.encode();
        for line in [
            r#"sudare_shed_total{used_up="memory"} 1"#,
            r#"sudare_limited_total{limit="rate"} 2"#,
            r#"sudare_peers_given_up_total{at="reply"} 1"#,
            r#"sudare_connections_refused_total{limit="address"} 1"#,
            "sudare_accept_failures_total 1",
            "sudare_memory_reserved_kibibytes 64",
            "sudare_requests_under_way 1",
        ] {
            assert!(text.lines().any(|printed| printed == line), "no {line} in\n{text}");
        }
        drop((room, first));
        let text = metrics.encode();
        assert!(text.contains("sudare_memory_reserved_kibibytes 0") && text.contains("sudare_requests_under_way 0"), "{text}");
    }
}
