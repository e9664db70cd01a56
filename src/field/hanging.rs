//! What hangs on which key: counts the envelopes and terms of a body by their key ids, without opening any.
//!
//! Before a key is destroyed for ever, everything counts that would be lost with it, also what was copied out of its place: an envelope at a
//! member that is no field, inside a longer text, in a member of a design document. So whatever is shaped like one is counted wherever it
//! stands, at its own place or elsewhere. Always holds: nothing is left out that opens today; a text that only looks like an envelope may be
//! counted, which keeps a key, never loses a value. `sweep` calls it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use memchr::memmem;

use super::envelope;
use super::index::TERM_PREFIX;
use super::plan::{Meaning, Plan};
use crate::base::Kid;
use crate::document::{Kind, Layout};

/// Where what hangs on a key stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hanging {
    /// Envelopes at protected members.
    pub values: u64,
    /// Terms at index members.
    pub terms: u64,
    /// Both, anywhere else.
    pub elsewhere: u64,
}

impl Hanging {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.values + self.terms + self.elsewhere
    }

    /// Adds what hangs on the same key in another place.
    pub fn add(&mut self, other: &Self) {
        self.values += other.values;
        self.terms += other.terms;
        self.elsewhere += other.elsewhere;
    }
}

/// What hangs on each key, by document.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RowHangs {
    /// Where the document stands among those of the body; None: outside of them.
    pub row: Option<usize>,
    /// By key.
    pub by_key: BTreeMap<Kid, Hanging>,
}

/// What hangs on which key in each document of a body, then in what is around them.
pub fn hanging(plan: &Plan, bytes: &[u8], layout: &Layout) -> Vec<RowHangs> {
    let mut rows: Vec<RowHangs> = Vec::with_capacity(layout.rows.len() + 1);
    let mut inside = BTreeMap::<Kid, u64>::new();
    let mut found = layout.found.iter().filter(|found| found.row.is_some()).peekable();
    for (number, row) in layout.rows.iter().enumerate() {
        let mut by_key = anywhere(bytes.get(row.range.clone()).unwrap_or_default());
        for (kid, found) in &by_key {
            *inside.entry(*kid).or_default() += found.elsewhere;
        }
        while let Some(found) = found.next_if(|found| found.value.start < row.range.end) {
            let value = bytes.get(found.value.clone()).unwrap_or_default();
            match plan.meaning(found) {
                Some(Meaning::Field(_)) if found.kind == Kind::String => {
                    // The one that the value is; what stands behind it in the same text is elsewhere.
                    if let Some(kid) = beginning(value) {
                        moved(&mut by_key, kid, 1, |found| &mut found.values);
                    }
                }
                Some(Meaning::Index(..)) => {
                    for (kid, terms) in anywhere(value) {
                        moved(&mut by_key, kid, terms.elsewhere, |found| &mut found.terms);
                    }
                }
                _ => {}
            }
        }
        rows.push(RowHangs { row: Some(number), by_key });
    }
    let mut around = anywhere(bytes);
    for (kid, count) in inside {
        if let Some(found) = around.get_mut(&kid) {
            found.elsewhere = found.elsewhere.saturating_sub(count);
        }
    }
    around.retain(|_, found| found.elsewhere > 0);
    rows.push(RowHangs { row: None, by_key: around });
    rows
}

/// What hangs on which key in any text, all of it counted as elsewhere.
pub fn anywhere(text: &[u8]) -> BTreeMap<Kid, Hanging> {
    let text = plain(text);
    let mut by_key = BTreeMap::<Kid, Hanging>::new();
    for at in memmem::find_iter(&text, envelope::PREFIX).filter_map(|at| text.get(at + envelope::PREFIX.len()..)) {
        if let Some(kid) = suite_and_kid(at) {
            by_key.entry(kid).or_default().elsewhere += 1;
        }
    }
    for at in memmem::find_iter(&text, TERM_PREFIX).filter_map(|at| text.get(at + TERM_PREFIX.len()..)) {
        if let Some(kid) = kid_of(at) {
            by_key.entry(kid).or_default().elsewhere += 1;
        }
    }
    by_key
}

/// The key of the envelope that a JSON string begins with.
fn beginning(value: &[u8]) -> Option<Kid> {
    let text = plain(value);
    suite_and_kid(text.strip_prefix(b"\"")?.strip_prefix(envelope::PREFIX.as_bytes())?)
}

/// Of whatever suite: also one of a later release hangs on its key.
fn suite_and_kid(text: &[u8]) -> Option<Kid> {
    let suite = text.iter().take(8).position(|byte| *byte == b'.')?;
    kid_of(text.get(suite + 1..)?)
}

fn kid_of(text: &[u8]) -> Option<Kid> {
    let (kid, rest) = text.split_first_chunk::<8>()?;
    if rest.first() == Some(&b'.') { Kid::from_text(kid).ok() } else { None }
}

fn moved(by_key: &mut BTreeMap<Kid, Hanging>, kid: Kid, count: u64, to: impl FnOnce(&mut Hanging) -> &mut u64) {
    let found = by_key.entry(kid).or_default();
    found.elsewhere = found.elsewhere.saturating_sub(count);
    *to(found) += count;
}

/// The text with characters of ASCII that are written as `\u0073` in the place of their escapes. A backslash that is itself escaped is not
/// told apart: at worst something more is counted.
fn plain(text: &[u8]) -> Cow<'_, [u8]> {
    if memmem::find(text, b"\\u00").is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memmem::find(rest, b"\\u00") {
        let (before, escape) = rest.split_at_checked(at).unwrap_or((rest, b""));
        out.extend_from_slice(before);
        let digits = escape.get(4..6).and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            out.push(byte);
            rest = escape.get(6..).unwrap_or_default();
        } else {
            out.extend_from_slice(b"\\u00");
            rest = escape.get(4..).unwrap_or_default();
        }
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
