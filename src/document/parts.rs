//! The members of an object and the elements of an array, as spans of a text that was walked before.
//!
//! For the few documents that have to be compared with one another (`field`, before a write replaces what is stored). Nothing is copied but
//! names with escapes; whoever looks for a path goes down one container at a time. The text must be one that [`super::walk`] accepted: of
//! any other the answer is some span, never a panic.

use std::borrow::Cow;
use std::ops::Range;

use super::scan::{self, Resume};
use super::selector::Step;
use super::text::unescape;

/// One member of an object.
#[derive(Clone)]
pub struct Member<'a> {
    /// Its name, unescaped.
    pub name: Cow<'a, str>,
    /// Its value's JSON text, without surrounding white space.
    pub value: Range<usize>,
}

/// The members of the object at `object`, in order; none if another type stands there.
pub fn members(text: &[u8], object: Range<usize>) -> impl Iterator<Item = Member<'_>> {
    let mut at = inside(text, &object, b'{');
    std::iter::from_fn(move || {
        let quote = next(text, at?, object.end).filter(|at| text.get(*at) == Some(&b'"'));
        let end = quote.and_then(|quote| end_of_string(text, quote));
        let (Some(quote), Some(end)) = (quote, end) else {
            at = None;
            return None;
        };
        let name = unescape(text.get(quote..end)?)?;
        let start = next(text, end, object.end)?;
        let value = start..end_of_value(text, start, object.end);
        at = Some(value.end);
        Some(Member { name, value })
    })
}

/// The value of the member `name` of the object at `object`.
pub fn member(text: &[u8], object: Range<usize>, name: &str) -> Option<Range<usize>> {
    members(text, object).find(|member| member.name == name).map(|member| member.value)
}

/// The elements of the array at `array`, in order; none if another type stands there.
pub fn elements(text: &[u8], array: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = inside(text, &array, b'[');
    std::iter::from_fn(move || {
        let start = next(text, at?, array.end).filter(|start| text.get(*start).is_some_and(|byte| !matches!(byte, b']' | b'}')));
        let value = start.map(|start| start..end_of_value(text, start, array.end));
        at = value.as_ref().map(|value| value.end);
        value
    })
}

/// The one value that a path without wildcards leads to, from the value at `span`.
pub fn at(text: &[u8], span: Range<usize>, path: &[Step]) -> Option<Range<usize>> {
    path.iter().try_fold(span, |span, step| match step {
        Step::Member(name) => member(text, span, name),
        Step::Element(n) => elements(text, span).nth(usize::try_from(*n).ok()?),
        Step::AnyMember | Step::AnyElement => None,
    })
}

/// Behind the bracket, if that is what stands there.
fn inside(text: &[u8], span: &Range<usize>, bracket: u8) -> Option<usize> {
    (text.get(span.start) == Some(&bracket)).then(|| span.start + 1)
}

/// The next byte that is neither white space nor a comma or colon.
fn next(text: &[u8], from: usize, end: usize) -> Option<usize> {
    let rest = text.get(from..end)?;
    rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':')).map(|skipped| from + skipped)
}

fn end_of_string(text: &[u8], quote: usize) -> Option<usize> {
    scan::string(text, quote, &mut Resume::default()).ok().flatten()
}

/// The end of the value that starts at `start`.
fn end_of_value(text: &[u8], start: usize, end: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(byte) = text.get(at).filter(|_| at < end) {
        match byte {
            b'"' => match end_of_string(text, at) {
                Some(after) => {
                    at = after;
                    if depth == 0 {
                        return at;
                    }
                    continue;
                }
                None => return end,
            },
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return if depth == 0 { at } else { at + 1 },
            b'}' | b']' => depth -= 1,
            b' ' | b'\t' | b'\r' | b'\n' | b',' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    end
}
