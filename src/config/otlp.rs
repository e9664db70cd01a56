//! Reads `[otlp]`: where spans of requests go. Only with the feature `otlp`; without it the table is refused.
//!
//! Called by [`super::build`].

use super::report::Draft;
use super::tree::{Section, shorten};

/// `[otlp]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// Where the collector takes traces: the endpoint with `/v1/traces`.
    pub traces: String,
    /// `service.name` of the spans.
    pub service_name: String,
    /// How many of a thousand requests without a trace of their own get a span.
    pub sample_per_mille: u16,
}

/// `[otlp]`, optional: nothing is exported without it. `Err` for one with a mistake.
pub(super) fn otlp(root: &Section<'_>) -> Result<Option<Otlp>, ()> {
    let Some(node) = root.optional("otlp") else { return Ok(None) };
    if !cfg!(feature = "otlp") {
        node.report().push(
            Draft::error(&node.span, "[otlp] has no effect: this program was built without the feature `otlp`")
                .remedy("build it with `cargo build --release --features otlp`, or remove [otlp]"),
        );
        return Err(());
    }
    let section = node.table().ok_or(())?;
    let traces =
        section.required("endpoint", "endpoint = \"http://127.0.0.1:4318\": the collector, OTLP over HTTP").and_then(|node| {
            let text = node.text()?;
            let traces = traces(&text.value);
            if traces.is_none() {
                node.report().push(
                    Draft::error(&node.span, format!("{} is \"{}\"", node.title, shorten(&text.value)))
                        .expected("http://HOST:PORT, without user, query and fragment")
                        .remedy("name a collector that is near, over http; one near can send on over TLS"),
                );
            }
            traces
        });
    let service_name = match section.optional("service_name") {
        Some(node) => node.text().map(|text| text.value),
        None => Some("sudare".to_owned()),
    };
    let sample_per_mille = match section.optional("sample_per_mille") {
        Some(node) => node.integer(0..=1_000, "of a thousand").and_then(|share| u16::try_from(share).ok()),
        None => Some(1_000),
    };
    section.finish();
    let (Some(traces), Some(service_name), Some(sample_per_mille)) = (traces, service_name, sample_per_mille) else {
        return Err(());
    };
    Ok(Some(Otlp { traces, service_name, sample_per_mille }))
}

fn traces(endpoint: &str) -> Option<String> {
    let uri: http::Uri = endpoint.parse().ok()?;
    let plain = uri.scheme() == Some(&http::uri::Scheme::HTTP)
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@') && !authority.host().is_empty())
        && uri.query().is_none()
        && !endpoint.contains('#');
    plain.then(|| format!("{}/v1/traces", endpoint.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_http_and_nothing_else() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("http://[::1]:4318/otlp", "http://[::1]:4318/otlp/v1/traces"),
        ] {
            assert_eq!(traces(endpoint).as_deref(), Some(expected));
        }
        for wrong in
            ["https://collector:4318", "collector:4318", "http://a:b@c:4318", "http://c:4318?x", "http://c:4318/#x", "/x", ""]
        {
            assert_eq!(traces(wrong), None, "{wrong}");
        }
    }
}
