//! Counters and histograms, told in OpenMetrics text at `/metrics`.
//!
//! Always holds: labels are fixed words, names of the configuration, key ids and status codes, never anything of a request
//! or a stored value (T13); so the types of this file do not take request text. The one exception is the leak guard's path,
//! which [`ShownPath`] has made fit to be shown. Times are in seconds.
//!
//! Called by `exchange` and `front` with what pure modules counted; `admin` prints [`Metrics::encode`].

mod admission;
mod kek;
mod store;
mod values;
mod vault;
mod vitals;

use std::fmt::{self, Write as _};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::base::{CategoryName, CollectionName, Intent, IssuerName, Kid, RingName, ShownPath};
use admission::Admission;
use store::StoreCalls;
use values::Values;
use vitals::{Board, Process};

pub use admission::Reserved;
pub use store::StoreCall;
pub use values::{Looked, OfCategory};
pub use vitals::{Facts, Fleet, Loaded, Vitals};

/// What the dialect took a request for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RouteClass {
    /// Not a protected collection.
    Outside,
    /// A protected collection, no documents.
    Neutral,
    /// Documents of a protected collection.
    Documents,
    /// A shape that is not served.
    Refused,
    /// Refused before it was classified: malformed, too large, caller unknown.
    Unclassified,
}

/// A part of the life of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The dialect reads its shape.
    Classify,
    /// Who asks, and what the policy allows.
    Decide,
    /// Fields of the request are sealed.
    Protect,
    /// From sending to the head of the reply.
    Forward,
    /// Fields of a window of the reply are revealed.
    Reveal,
    /// The event of a window becomes durable.
    Record,
}

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Labels<4>, Counter>,
    wire_refusals: Family<Labels<1>, Counter>,
    tls_refusals: Family<Labels<1>, Counter>,
    upstream: Histogram,
    upstream_failures: Family<Labels<1>, Counter>,
    upstream_circuit: Gauge,
    spans_dropped: Family<Labels<1>, Counter>,
    phases: Phases,
    audit_commit: Histogram,
    audit_failures: Counter,
    key_versions: Family<Labels<4>, Gauge>,
    key_revisions: Family<Labels<1>, Gauge>,
    tokens_refused: Family<Labels<2>, Counter>,
    issuer_fetches: Family<Labels<2>, Counter>,
    issuer_keys: Family<Labels<1>, Gauge>,
    issuer_keys_fetched: Family<Labels<1>, Gauge>,
    connections: Gauge,
    awake: Gauge,
    under_way: Gauge,
    admission: Admission,
    values: Values,
    store: StoreCalls,
    vault: vault::Vault,
    keks: kek::Keks,
    protocols: Protocols,
    reloads: Family<Labels<1>, Counter>,
    /// 1 while the files say something that was refused.
    refused: Gauge,
    board: Arc<Board>,
}

impl Metrics {
    /// All at zero. `started` is when the process began, since 1970.
    pub fn new(started: Duration) -> Self {
        let mut whole = Registry::default();
        whole.register_collector(Box::new(Process::started(started)));
        let registry = whole.sub_registry_with_prefix("sudare");
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        let board = Arc::new(Board::default());
        registry.register_collector(Box::new(Arc::clone(&board)));
        let phase_times = Family::<Labels<1>, Histogram, fn() -> Histogram>::new_with_constructor(short_times);
        let (upstream, audit_commit) = (short_times(), short_times());
        registry.register_with_unit("phase", "Time of a request in each phase of its life", Unit::Seconds, phase_times.clone());
        registry.register_with_unit(
            "upstream",
            "From sending a request to the head of its reply",
            Unit::Seconds,
            upstream.clone(),
        );
        registry.register_with_unit("audit_commit", "From an event to its being durable", Unit::Seconds, audit_commit.clone());
        Self {
            phases: Phases::of(&phase_times),
            requests: registered(registry, "requests", "Requests answered, by what they were, what they did and how it ended"),
            wire_refusals: registered(
                registry,
                "wire_refusals",
                "Connections ended for a request with more than one reading, by reason",
            ),
            tls_refusals: registered(
                registry,
                "tls_refusals",
                "Connections that ended before their TLS handshake did, by reason",
            ),
            upstream,
            upstream_failures: registered(
                registry,
                "upstream_failures",
                "Requests the database did not answer, by kind of failure",
            ),
            spans_dropped: registered(registry, "spans_dropped", "Spans that did not reach the collector of [otlp], by reason"),
            upstream_circuit: registered(
                registry,
                "upstream_circuit_open",
                "1 while requests are refused because the database failed too often in a row",
            ),
            audit_commit,
            audit_failures: registered(
                registry,
                "audit_failures",
                "Events that were not made durable; nothing was revealed on them",
            ),
            key_versions: registered(
                registry,
                "key_version",
                "Key versions of the rings in use, always 1, by line, id, state and ring",
            ),
            key_revisions: registered(registry, "key_ring_revision", "Revision of the key ring in force, by ring"),
            connections: registered(registry, "connections", "Connections of clients that are open"),
            awake: registered(
                registry,
                "connections_awake",
                "Connections over HTTP/1.1 that keep buffers, for a request is under way on them or was a moment ago",
            ),
            under_way: registered(registry, "requests_under_way", "Requests that are being served"),
            admission: Admission::registered(registry),
            values: Values::registered(registry),
            store: StoreCalls::registered(registry),
            vault: vault::Vault::registered(registry),
            keks: kek::Keks::registered(registry),
            reloads: registered(
                registry,
                "config_reloads",
                "Times that another configuration was to be put in force, by outcome",
            ),
            tokens_refused: registered(registry, "tokens_refused", "Tokens that were not accepted, by issuer and reason"),
            issuer_fetches: registered(
                registry,
                "issuer_key_fetches",
                "Times an issuer's keys were fetched, by issuer and outcome",
            ),
            issuer_keys: registered(registry, "issuer_keys", "Usable keys of an issuer; 0: none of its tokens is accepted"),
            issuer_keys_fetched: registered(
                registry,
                "issuer_keys_fetched_timestamp_seconds",
                "When an issuer's keys were last fetched, in seconds since 1970",
            ),
            refused: registered(
                registry,
                "config_refused",
                "1 while the files hold what was refused and an older configuration is in force",
            ),
            protocols: Protocols::of(&registered(registry, "requests_received", "Requests received, by version of HTTP")),
            board,
            registry: whole,
        }
    }

    /// A request was answered with `status`. `code` is the code of our own error, or empty where the database's reply went out.
    pub fn request(&self, class: RouteClass, intent: Option<Intent>, status: u16, code: &'static str) {
        let labels = [
            ("class", Word::Fixed(class.as_str())),
            ("intent", Word::Fixed(intent.map_or("", intent_word))),
            ("status", Word::Status(status)),
            ("code", Word::Fixed(code)),
        ];
        self.requests.get_or_create(&labels).inc();
    }

    /// A request came over this version of HTTP.
    pub fn protocol(&self, version: http::Version) {
        match version {
            http::Version::HTTP_2 => self.protocols.two.inc(),
            http::Version::HTTP_10 => self.protocols.one_zero.inc(),
            _ => self.protocols.one_one.inc(),
        };
    }

    /// The guard on the wire refused a connection. `code` is one of its fixed codes.
    pub fn wire_refused(&self, code: &'static str) {
        self.wire_refusals.get_or_create(&[("reason", Word::Fixed(code))]).inc();
    }

    /// A TLS handshake failed. `word` is one of a fixed few.
    pub fn tls_refused(&self, word: &'static str) {
        self.tls_refusals.get_or_create(&[("reason", Word::Fixed(word))]).inc();
    }

    /// Spans were given up. `word` is one of a fixed few.
    pub fn spans_dropped(&self, word: &'static str, count: usize) {
        self.spans_dropped.get_or_create(&[("reason", Word::Fixed(word))]).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// The head of a reply came `after` the request was sent.
    pub fn upstream_answered(&self, after: Duration) {
        self.upstream.observe(after.as_secs_f64());
        self.phases.forward.observe(after.as_secs_f64());
    }

    /// The database did not answer. `kind` is a fixed word: `connect`, `tls`, `timeout`, `broken`, `circuit-open`, `busy`,
    /// `store`.
    pub fn upstream_failed(&self, kind: &'static str) {
        self.upstream_failures.get_or_create(&[("kind", Word::Fixed(kind))]).inc();
    }

    /// Are requests refused because the database failed too often in a row? Told with every request, so it writes changes only.
    pub fn upstream_circuit(&self, open: bool) {
        if self.upstream_circuit.get() != i64::from(open) {
            self.upstream_circuit.set(i64::from(open));
        }
    }

    /// A phase took so long. [`Phase::Forward`] is told by [`Self::upstream_answered`], [`Phase::Record`] by
    /// [`Self::audit_committed`].
    pub fn phase(&self, phase: Phase, took: Duration) {
        self.phases.at(phase).observe(took.as_secs_f64());
    }

    /// An event became durable `after` it was handed over.
    pub fn audit_committed(&self, after: Duration) {
        self.audit_commit.observe(after.as_secs_f64());
        self.phases.record.observe(after.as_secs_f64());
    }

    /// An event was not made durable.
    pub fn audit_failed(&self) {
        self.audit_failures.inc();
    }

    /// The key versions of the rings as they stand: ring, line (`seal`, `pseudonym`, …; not the scope), id and state, the last one
    /// as a fixed word. Replaces what was told before.
    pub fn key_versions(&self, versions: impl IntoIterator<Item = (RingName, &'static str, Kid, &'static str)>) {
        self.key_versions.clear();
        for (ring, line, kid, state) in versions {
            let labels =
                [("line", Word::Fixed(line)), ("kid", Word::Kid(kid)), ("state", Word::Fixed(state)), ("ring", Word::Ring(ring))];
            self.key_versions.get_or_create(&labels).set(1);
        }
    }

    /// A token was not accepted. `reason` is a fixed word.
    pub fn token_refused(&self, issuer: &IssuerName, reason: &'static str) {
        self.tokens_refused.get_or_create(&[("issuer", Word::Issuer(issuer.clone())), ("reason", Word::Fixed(reason))]).inc();
    }

    /// An issuer's keys were asked for. `outcome` is a fixed word.
    pub fn issuer_asked(&self, issuer: &IssuerName, outcome: &'static str) {
        self.issuer_fetches.get_or_create(&[("issuer", Word::Issuer(issuer.clone())), ("outcome", Word::Fixed(outcome))]).inc();
    }

    /// So many keys of an issuer are in use; `fetched_s`: since when, in seconds since 1970, where they have just come.
    pub fn issuer_keys(&self, issuer: &IssuerName, keys: usize, fetched_s: Option<u64>) {
        let labels = [("issuer", Word::Issuer(issuer.clone()))];
        self.issuer_keys.get_or_create(&labels).set(i64::try_from(keys).unwrap_or(i64::MAX));
        if let Some(fetched_s) = fetched_s {
            self.issuer_keys_fetched.get_or_create(&labels).set(i64::try_from(fetched_s).unwrap_or(i64::MAX));
        }
    }

    /// A client connected; it is counted until the returned value is dropped.
    #[must_use]
    pub fn connected(&self) -> Counted {
        Counted::on(&self.connections)
    }

    /// A connection makes the buffers that a request needs; it is counted until the returned value is dropped.
    #[must_use]
    pub fn awake(&self) -> Counted {
        Counted::on(&self.awake)
    }

    /// This configuration is in force.
    pub fn loaded(&self, loaded: Loaded) {
        self.key_revisions.clear();
        for (ring, revision) in &loaded.key_revisions {
            let labels = [("ring", Word::Ring(ring.clone()))];
            self.key_revisions.get_or_create(&labels).set(i64::try_from(*revision).unwrap_or(i64::MAX));
        }
        self.board.load(loaded);
    }

    /// A reload took everything.
    pub fn reloaded(&self) {
        self.reloads.get_or_create(&[("outcome", Word::Fixed("taken"))]).inc();
        self.refused.set(0);
    }

    /// A reload took nothing.
    pub fn reload_refused(&self) {
        self.reloads.get_or_create(&[("outcome", Word::Fixed("refused"))]).inc();
        self.refused.set(1);
    }

    /// A call to the store ended; `failure` is the kind of its error.
    pub fn store_call(&self, call: StoreCall, took: Duration, failure: Option<&'static str>) {
        self.store.called(call, took, failure);
    }

    /// What was looked up to be printed next.
    pub fn look(&self, vitals: Vitals) {
        self.board.look(vitals);
    }

    /// Everything in OpenMetrics text, for `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail; were a label to, what was written so far lacks its `# EOF` and is not taken.
        if text::encode(&mut out, &self.registry).is_err() {
            return String::new();
        }
        out
    }
}

/// Holds a gauge up by one while it lives.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    fn on(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A counter per version of HTTP, without a look-up on the way.
#[derive(Debug)]
struct Protocols {
    one_zero: Counter,
    one_one: Counter,
    two: Counter,
}

impl Protocols {
    fn of(family: &Family<Labels<1>, Counter>) -> Self {
        let version = |name| family.get_or_create_owned(&[("protocol", Word::Fixed(name))]);
        Self { one_zero: version("http/1.0"), one_one: version("http/1.1"), two: version("h2") }
    }
}

/// A histogram per phase, without a look-up on the way.
#[derive(Debug)]
struct Phases {
    classify: Histogram,
    decide: Histogram,
    protect: Histogram,
    forward: Histogram,
    reveal: Histogram,
    record: Histogram,
}

impl Phases {
    fn of(family: &Family<Labels<1>, Histogram, fn() -> Histogram>) -> Self {
        let phase = |name| family.get_or_create_owned(&[("phase", Word::Fixed(name))]);
        Self {
            classify: phase("classify"),
            decide: phase("decide"),
            protect: phase("protect"),
            forward: phase("forward"),
            reveal: phase("reveal"),
            record: phase("record"),
        }
    }

    fn at(&self, phase: Phase) -> &Histogram {
        match phase {
            Phase::Classify => &self.classify,
            Phase::Decide => &self.decide,
            Phase::Protect => &self.protect,
            Phase::Forward => &self.forward,
            Phase::Reveal => &self.reveal,
            Phase::Record => &self.record,
        }
    }
}

impl RouteClass {
    /// The word in the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Neutral => "neutral",
            Self::Documents => "documents",
            Self::Refused => "refused",
            Self::Unclassified => "unclassified",
        }
    }
}

/// The word for an intent.
pub(crate) fn intent_word(intent: Intent) -> &'static str {
    match intent {
        Intent::Read => "read",
        Intent::Create => "create",
        Intent::Replace => "replace",
        Intent::Delete => "delete",
        Intent::PerRow => "per-row",
    }
}

type Labels<const N: usize> = [(&'static str, Word); N];

/// All that may stand in a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Word {
    Fixed(&'static str),
    Category(CategoryName),
    Collection(CollectionName),
    Kid(Kid),
    Issuer(IssuerName),
    Ring(RingName),
    Path(ShownPath),
    Status(u16),
}

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Fixed(word) => encoder.write_str(word),
            Self::Category(name) => encoder.write_str(name.as_str()),
            Self::Collection(name) => encoder.write_str(name.as_str()),
            Self::Kid(kid) => encoder.write_str(kid.as_str()),
            Self::Issuer(name) => encoder.write_str(name.as_str()),
            Self::Ring(name) => encoder.write_str(name.as_str()),
            Self::Path(path) => encoder.write_str(path.as_str()),
            // A server may invent codes; they must not become endless labels.
            Self::Status(status @ 100..=599) => write!(encoder, "{status}"),
            Self::Status(_) => encoder.write_str("other"),
        }
    }
}

fn registered<M: Default + Clone + fmt::Debug + prometheus_client::registry::Metric>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// From 1 µs to 16 s, each bucket four times the one before.
fn short_times() -> Histogram {
    Histogram::new(exponential_buckets(1e-6, 4.0, 13))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_told_is_printed() {
        let metrics = Metrics::new(Duration::from_secs(7));
        metrics.request(RouteClass::Documents, Some(Intent::Read), 200, "");
        metrics.request(RouteClass::Documents, Some(Intent::Read), 200, "");
        metrics.request(RouteClass::Unclassified, None, 403, "purpose-missing");
        metrics.request(RouteClass::Outside, None, 999, "");
        metrics.wire_refused("host-missing");
        metrics.tls_refused("expired");
        let of = OfCategory::default();
        metrics.values_shown(&of, &CategoryName::new("phone"), "clear", 1);
        for count in [1, 2] {
            metrics.values_shown(&of, &CategoryName::new("phone"), "masked", count);
        }
        metrics.values_protected(&of, &CategoryName::new("name"), 2);
        metrics.values_kept(4);
        metrics.clear_found(&CollectionName::new("customers"), 1);
        metrics.bad_values(&CollectionName::new("customers"), 5);
        metrics.unmapped_personal(&CollectionName::new("customers"), ShownPath::new("$.a[*].b\"ü"), "email", 6);
        metrics.leak_guard(Looked::Looked);
        metrics.leak_guard(Looked::PassedOver);
        metrics.compromised_values(&CollectionName::new("customers"), 6);
        metrics.strays(&CollectionName::new("customers"), 6);
        metrics.values_not_held(&CollectionName::new("customers"), 3);
        metrics.upstream_answered(Duration::from_millis(2));
        metrics.upstream_failed("timeout");
        metrics.upstream_circuit(true);
        metrics.phase(Phase::Reveal, Duration::from_micros(3));
        metrics.audit_committed(Duration::from_millis(1));
        metrics.audit_failed();
        metrics.key_versions([(RingName::main(), "seal", Kid::from_random([0; 5]), "deactivated")]);
        metrics.key_versions([(RingName::new("identity"), "seal", Kid::from_random([1; 5]), "active")]);
        metrics.token_refused(&IssuerName::new("idp"), "expired");
        metrics.issuer_asked(&IssuerName::new("idp"), "status");
        metrics.issuer_keys(&IssuerName::new("idp"), 2, Some(1_800_000_000));
        metrics.store_call(StoreCall::Claim, Duration::from_millis(3), None);
        metrics.store_call(StoreCall::Read, Duration::from_secs(2), Some("slow"));
        let open = metrics.connected();
        drop(metrics.begun(1));
        let text = metrics.encode();
        for line in [
            r#"sudare_requests_total{class="documents",intent="read",status="200",code=""} 2"#,
            r#"sudare_requests_total{class="unclassified",intent="",status="403",code="purpose-missing"} 1"#,
            r#"sudare_requests_total{class="outside",intent="",status="other",code=""} 1"#,
            r#"sudare_wire_refusals_total{reason="host-missing"} 1"#,
            r#"sudare_tls_refusals_total{reason="expired"} 1"#,
            r#"sudare_values_shown_total{category="phone",level="masked"} 3"#,
            r#"sudare_values_shown_total{category="phone",level="clear"} 1"#,
            r#"sudare_values_protected_total{category="name"} 2"#,
            "sudare_values_kept_total 4",
            r#"sudare_clear_found_total{collection="customers"} 1"#,
            r#"sudare_bad_values_total{collection="customers"} 5"#,
            r#"sudare_unmapped_personal_total{collection="customers",path="$.a[*].b??",category="email"} 6"#,
            r#"sudare_leak_guard_bodies_total{outcome="looked-at"} 1"#,
            r#"sudare_compromised_values_total{collection="customers"} 6"#,
            r#"sudare_strays_total{collection="customers"} 6"#,
            r#"sudare_values_not_held_total{collection="customers"} 3"#,
            "sudare_upstream_seconds_sum 0.002",
            r#"sudare_upstream_failures_total{kind="timeout"} 1"#,
            "sudare_upstream_circuit_open 1",
            r#"sudare_phase_seconds_count{phase="forward"} 1"#,
            r#"sudare_phase_seconds_count{phase="reveal"} 1"#,
            r#"sudare_phase_seconds_bucket{le="0.000004",phase="reveal"} 1"#,
            r#"sudare_phase_seconds_count{phase="record"} 1"#,
            r#"sudare_phase_seconds_count{phase="classify"} 0"#,
            "sudare_audit_commit_seconds_count 1",
            "sudare_audit_failures_total 1",
            &format!(r#"sudare_key_version{{line="seal",kid="{}",state="active",ring="identity"}} 1"#, Kid::from_random([1; 5])),
            r#"sudare_tokens_refused_total{issuer="idp",reason="expired"} 1"#,
            r#"sudare_issuer_key_fetches_total{issuer="idp",outcome="status"} 1"#,
            r#"sudare_issuer_keys{issuer="idp"} 2"#,
            r#"sudare_issuer_keys_fetched_timestamp_seconds{issuer="idp"} 1800000000"#,
            r#"sudare_store_seconds_sum{call="claim"} 0.003"#,
            r#"sudare_store_failures_total{call="read",kind="slow"} 1"#,
            "sudare_connections 1",
            "sudare_requests_under_way 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|printed| printed == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("deactivated"), "the ring as it stood before is not told any more");
        drop(open);
        assert!(metrics.encode().contains("sudare_connections 0"));
    }

    #[test]
    fn t13_names_in_labels_are_escaped() {
        let metrics = Metrics::new(Duration::from_secs(7));
        metrics.values_protected(&OfCategory::default(), &CategoryName::new("a\"b\\c\nd"), 1);
        assert!(metrics.encode().contains(r#"{category="a\"b\\c\nd"} 1"#), "{}", metrics.encode());
    }
}
