//! Words for how a value is masked, generalised and padded, the same in both files.
//!
//! Always holds: a word that passed is one that `field` carries out. Used by the readers of both files.

use super::report::{Draft, Report};
use super::tree::{Node, Text, one_of, shorten};
use crate::base::nearest;
use crate::field::{Generalise, Mask};
use crate::purpose::Nature;

const MASKS: &[&str] = &["all", "keep-last:4", "keep-first:1", "email", "phone", "initials"];
const GENERALISATIONS: &[&str] = &["year", "age-band:10", "ip-prefix", "postcode-prefix:3", "grid:0.1", "band:1000"];

/// Reads `keep-last:4`, `initials` and so on.
pub(super) fn parse_mask(report: &Report<'_>, text: &Text) -> Option<Mask> {
    parse(report, text, "mask", MASKS)
}

/// Reads `year`, `postcode-prefix:3` and so on.
pub(super) fn parse_generalise(report: &Report<'_>, text: &Text) -> Option<Generalise> {
    parse(report, text, "generalise", GENERALISATIONS)
}

fn parse<T: std::str::FromStr>(report: &Report<'_>, text: &Text, what: &str, examples: &[&str]) -> Option<T> {
    if let Ok(method) = text.value.parse() {
        return Some(method);
    }
    let written = without_number(&text.value);
    let mut draft = Draft::error(&text.span, format!("\"{}\" is no way to {what}", shorten(&text.value)))
        .remedy(format!("write {}", one_of(examples)));
    let meant = nearest(written, examples.iter().map(|example| without_number(example)));
    draft.nearest = meant
        .and_then(|meant| examples.iter().find(|example| without_number(example) == meant))
        .map(|example| (*example).to_owned());
    report.push(draft);
    None
}

/// Reads `pad`: `"none"`, 32, 64 or 128. 0 means none.
pub(super) fn parse_pad(report: &Report<'_>, node: &Node<'_>) -> Option<u16> {
    if node.is_text() {
        return node.word(&[("none", 0)]);
    }
    let value = node.integer(0..=128, "bytes")?;
    let bucket = u16::try_from(value).ok().filter(|bucket| matches!(bucket, 32 | 64 | 128));
    if bucket.is_none() {
        report.push(
            Draft::error(&node.span, format!("`pad` is {value}"))
                .expected("\"none\", 32, 64 or 128 bytes")
                .remedy("write 32, or remove the line to use the default"),
        );
    }
    bucket
}

/// The bucket of a field that does not say: short identifying values (names, phone numbers) would be told apart by their
/// length, so they are padded to 32 bytes; others are not.
pub(super) fn default_pad(nature: Nature) -> u16 {
    match nature {
        Nature::Identifying => 32,
        Nature::Linkable | Nature::Neither => 0,
    }
}

fn without_number(text: &str) -> &str {
    text.split_once(':').map_or(text, |(word, _)| word)
}
