//! Writes a window again with some of its found values changed and some texts inserted. All other bytes stay as they came (T8).
//!
//! `field` decides what becomes of each value; this file knows commas. The result of a valid body is valid JSON, whichever values go.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use super::track::NO_CONTAINER;
use super::{Found, Layout};

/// What becomes of one found value.
#[derive(Clone)]
pub enum Change {
    /// It stays as it is.
    Keep,
    /// New JSON text stands in place of the value.
    Replace(Vec<u8>),
    /// The member goes, with its name and one comma; so does an array element. A value that is [`Found::by_position`] becomes `null`, and so
    /// does a value that is the whole text.
    Remove,
}

/// A text to insert at an offset, e.g. a member after a row's `{`.
///
/// After the bracket of an object it ends with a comma unless the object is empty ([`super::Row::empty`]). Should everything else in the
/// object be removed, that comma is left out.
#[derive(Clone)]
pub struct Insert {
    /// Offset into the window's bytes.
    pub at: usize,
    /// What to write there.
    pub text: Vec<u8>,
}

/// Without the text, which may be a clear value.
impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Keep => f.write_str("Keep"),
            Change::Replace(text) => write!(f, "Replace({} bytes)", text.len()),
            Change::Remove => f.write_str("Remove"),
        }
    }
}

/// Without the text.
impl fmt::Debug for Insert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Insert({} bytes at {})", self.text.len(), self.at)
    }
}

/// Appends `bytes` with the changes applied to `out`.
///
/// `changes[i]` belongs to `layout.found[i]`; missing ones are `Keep`. Inserts come in order of `at`. Of several changes to one value (two
/// targets can share a selector) the first that is not `Keep` holds, and changes inside a value that is changed have no effect.
pub fn splice(bytes: &[u8], layout: &Layout, changes: &[Change], inserts: &[Insert], out: &mut Vec<u8>) {
    let added: usize = changes.iter().map(|change| if let Change::Replace(text) = change { text.len() } else { 0 }).sum();
    out.reserve(bytes.len() + added + inserts.iter().map(|insert| insert.text.len()).sum::<usize>());
    let mut writer = Writer { bytes, done: 0, inserts: inserts.iter(), next: None, comma: None, out };
    writer.next = writer.inserts.next();
    // Of each container whose first members went, how many those were.
    let mut heads: HashMap<u32, u32> = HashMap::new();
    for (found, change) in layout.found.iter().zip(changes) {
        // Inside of, or the same as, what was changed already.
        if found.value.start < writer.done {
            continue;
        }
        match change {
            Change::Keep => {}
            Change::Replace(text) => writer.edit(found.value.clone(), text),
            Change::Remove if found.by_position || found.container == NO_CONTAINER => writer.edit(found.value.clone(), b"null"),
            Change::Remove => {
                let first = if found.index == 0 { true } else { heads.get(&found.container) == Some(&found.index) };
                if first {
                    heads.insert(found.container, found.index.saturating_add(1));
                }
                writer.edit(if first { first_member(bytes, found) } else { later_member(bytes, found) }, b"");
            }
        }
    }
    writer.copy_to(bytes.len());
}

/// The span of a member before which nothing is left, with the comma after it, if there is one, and the white space up to the next.
fn first_member(bytes: &[u8], found: &Found) -> Range<usize> {
    let after = skip_space(bytes, found.value.end);
    let end = if bytes.get(after) == Some(&b',') { skip_space(bytes, after + 1) } else { found.value.end };
    found.member_start..end
}

/// The span of a member with the comma before it.
fn later_member(bytes: &[u8], found: &Found) -> Range<usize> {
    let before = bytes.get(..found.member_start).unwrap_or_default();
    let comma = before.iter().rposition(|byte| !is_space(*byte)).filter(|at| bytes.get(*at) == Some(&b','));
    comma.unwrap_or(found.member_start)..found.value.end
}

fn skip_space(bytes: &[u8], from: usize) -> usize {
    bytes.iter().skip(from).position(|byte| !is_space(*byte)).map_or(bytes.len(), |spaces| from + spaces)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

struct Writer<'a> {
    bytes: &'a [u8],
    /// The bytes before this are written or left out.
    done: usize,
    inserts: std::slice::Iter<'a, Insert>,
    next: Option<&'a Insert>,
    /// Where in `out` the comma stands that ends an inserted text, while nothing but white space follows it.
    comma: Option<usize>,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn edit(&mut self, span: Range<usize>, text: &[u8]) {
        self.copy_to(span.start);
        self.write(text);
        self.done = self.done.max(span.end);
    }

    /// Copies up to `end`, with the inserts on the way.
    fn copy_to(&mut self, end: usize) {
        while let Some(insert) = self.next.filter(|insert| insert.at <= end) {
            self.copy_bytes(insert.at);
            self.write(&insert.text);
            if insert.text.last() == Some(&b',') {
                self.comma = self.out.len().checked_sub(1);
            }
            self.next = self.inserts.next();
        }
        self.copy_bytes(end);
    }

    fn copy_bytes(&mut self, end: usize) {
        if let Some(span) = self.bytes.get(self.done..end) {
            self.write(span);
            self.done = end;
        }
    }

    fn write(&mut self, text: &[u8]) {
        if let Some(comma) = self.comma
            && let Some(next) = text.iter().find(|byte| !is_space(**byte))
        {
            if matches!(next, b'}' | b']') {
                self.out.remove(comma);
            }
            self.comma = None;
        }
        self.out.extend_from_slice(text);
    }
}
