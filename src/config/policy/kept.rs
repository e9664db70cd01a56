//! Whether what the policy says can be kept by the other file.

use toml::de::DeTable;

use super::super::collections;
use super::super::report::{Draft, Report};
use super::super::tree::shorten;
use super::Written;
use crate::purpose::Always;

/// What the policy promises for everything must be so in the other file.
pub(in super::super) fn check_always(
    report: &Report<'_>,
    service: &DeTable<'_>,
    collections: &[collections::Written],
    written: &Written,
) {
    let place = |what: Always| written.always.iter().find(|(promised, _)| *promised == what).map(|(_, span)| span);
    if let Some(span) = place(Always::Tls) {
        for way in in_clear(service) {
            report.push(
                Draft::error(span, format!("`tls` is promised for everything, and {way} is in clear"))
                    .remedy("secure it in sudare.toml (docs/tls.md), or do not promise it"),
            );
        }
    }
    if let Some(span) = place(Always::Encrypted) {
        for collection in collections.iter().filter(|collection| !collection.strict) {
            let name = shorten(&collection.name.value);
            report.push(
                Draft::warning(span, format!("`encrypted` is promised, and collection \"{name}\" is still migrating"))
                    .remedy("write strict = true in it once no clear value is left"),
            );
        }
    }
}

/// An exception is opened by operators: one asks, others agree.
pub(in super::super) fn warn_of_operators(report: &Report<'_>, operators: usize, written: &Written) {
    for (span, name, approvers) in &written.exceptions {
        if operators > usize::from(*approvers) {
            continue;
        }
        let name = shorten(name);
        report.push(
            Draft::warning(
                span,
                format!(
                    "[exception.{name}] cannot be opened: {approvers} must agree beside who asks, and sudare.toml names {operators} operators"
                ),
            )
            .remedy("make keys with `sudare keys operator NAME`, and put the lines that it prints into sudare.toml"),
        );
    }
}

/// The ways in and out that are neither secured nor inside this machine.
fn in_clear(service: &DeTable<'_>) -> Vec<&'static str> {
    let table = |name: &str| service.get(name).and_then(|value| value.get_ref().as_table());
    let text = |section: &str, key: &str| table(section)?.get(key)?.get_ref().as_str();
    let inside = |text: &str| ["unix:", "embedded:", "https:"].iter().any(|begin| text.starts_with(begin));
    let secured = table("listen").is_some_and(|listen| listen.contains_key("tls"));
    let mut ways = Vec::new();
    if text("listen", "address").is_some_and(|address| !inside(address)) && !secured {
        ways.push("[listen] address");
    }
    if text("upstream", "url").is_some_and(|url| !inside(url)) {
        ways.push("[upstream] url");
    }
    ways
}
