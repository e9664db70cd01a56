//! Exports a span for each request over OTLP (HTTP, protobuf), with the feature `otlp`.
//!
//! Always holds: a request never waits for it. Spans go into a queue of [`QUEUE`]; what finds it full, or what the collector
//! does not take, is dropped and counted (`sudare_spans_dropped`). Only names and numbers leave ([`Span`]).

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::base::Clock;
use crate::config::Otlp;
use crate::exchange::{Span, Spans};
use crate::metrics::Metrics;

/// Spans that wait at most.
const QUEUE: usize = 4_096;
/// Spans that are sent at once at most ...
const BATCH: usize = 512;
/// ... and how long the first of them waits at most.
const EVERY: Duration = Duration::from_secs(2);
/// Longest wait for the collector, with the exporter's own repeats.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends what waits when the proxy stops.
#[derive(Debug)]
pub(super) struct Exporting {
    stop: CancellationToken,
    task: TaskTracker,
}

impl Exporting {
    /// Sends the spans that wait, and ends. Takes a few seconds at most.
    pub(super) async fn finish(&self) {
        self.stop.cancel();
        self.task.close();
        // One batch may be under way, and one more waits.
        if tokio::time::timeout(PATIENCE, self.task.wait()).await.is_err() {
            tracing::warn!("the collector of [otlp] did not take the last spans in time");
        }
    }
}

/// Begins to export. Needs a runtime that is entered.
///
/// # Errors
///
/// What the exporter has against the configuration.
pub(super) fn start(
    config: &Otlp,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<dyn Spans>, Exporting), opentelemetry_otlp::ExporterBuildError> {
    let mut exporter = SpanExporter::builder().with_http().with_endpoint(config.traces.clone()).with_timeout(PATIENCE).build()?;
    let resource = Resource::builder_empty()
        .with_service_name(config.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    exporter.set_resource(&resource);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (stop, task) = (CancellationToken::new(), TaskTracker::new());
    task.spawn(send_all(exporter, receiver, Arc::clone(&metrics), stop.clone()));
    let scope = InstrumentationScope::builder("sudare").with_version(env!("CARGO_PKG_VERSION")).build();
    let queue = Queue { sender, metrics, clock, scope, per_mille: config.sample_per_mille };
    Ok((Arc::new(queue), Exporting { stop, task }))
}

async fn send_all(exporter: SpanExporter, mut queue: mpsc::Receiver<SpanData>, metrics: Arc<Metrics>, stop: CancellationToken) {
    let mut taken = true;
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            came = queue.recv_many(&mut batch, BATCH) => if came == 0 { break },
            () = stop.cancelled(), if !queue.is_closed() => {
                // What waits is still handed out.
                queue.close();
                continue;
            }
        }
        let full = async {
            let mut room = BATCH - batch.len();
            while room > 0 {
                match queue.recv_many(&mut batch, room).await {
                    0 => break,
                    came => room -= came,
                }
            }
        };
        tokio::select! {
            () = full => {}
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => {}
        }
        let count = batch.len();
        let sent = exporter.export(std::mem::take(&mut batch)).await;
        if let Err(error) = &sent {
            metrics.spans_dropped("not-taken", count);
            // Once, not for every batch of an outage.
            if taken {
                tracing::warn!(%error, "the collector of [otlp] does not take spans; they are dropped until it does");
            }
        }
        taken = sent.is_ok();
    }
}

/// The way into the queue.
#[derive(Debug)]
struct Queue {
    sender: mpsc::Sender<SpanData>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    scope: InstrumentationScope,
    per_mille: u16,
}

impl Spans for Queue {
    fn per_mille(&self) -> u16 {
        self.per_mille
    }

    fn ended(&self, span: Span<'_>) {
        if self.sender.try_send(data(span, self.clock.now_ms(), self.scope.clone())).is_err() {
            self.metrics.spans_dropped("queue-full", 1);
        }
    }
}

/// A span in OpenTelemetry's terms; names of attributes by its semantic conventions where there are such.
fn data(span: Span<'_>, now_ms: u64, scope: InstrumentationScope) -> SpanData {
    let context = span.context;
    let class = context.class.map(crate::metrics::RouteClass::as_str);
    let end_time = UNIX_EPOCH + Duration::from_millis(now_ms);
    let text = |key: &'static str, value: Option<&str>| value.map(|value| KeyValue::new(key, value.to_owned()));
    let attributes = [
        text("http.request.method", Some(span.method)),
        Some(KeyValue::new("http.response.status_code", i64::from(span.status))),
        text("http.route", context.route),
        text("sudare.route_class", class),
        text("sudare.collection", context.collection.as_ref().map(crate::base::CollectionName::as_str)),
        text("sudare.caller", context.caller.as_ref().map(crate::base::CallerName::as_str)),
        text("sudare.purpose", context.purpose.as_ref().map(crate::base::PurposeName::as_str)),
        text("sudare.intent", context.intent.map(crate::metrics::intent_word)),
        text("sudare.code", Some(span.code).filter(|code| !code.is_empty())),
        text("sudare.exchange", Some(&format!("{:016x}", context.exchange))),
    ];
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(span.ids.trace),
            SpanId::from_bytes(span.ids.span),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: span.ids.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.ids.parent.is_some(),
        span_kind: SpanKind::Server,
        name: format!("{} {}", span.method, class.unwrap_or("unclassified")).into(),
        start_time: end_time.checked_sub(span.took).unwrap_or(end_time),
        end_time,
        attributes: attributes.into_iter().flatten().collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if span.status >= 500 { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope,
    }
}
