//! Lines of an event stream (`text/event-stream`; WHATWG HTML, section 9.2.6), as a feed of changes sends them.
//!
//! Stricter than browsers read it, so that both see the same lines: a line ends with LF or CR LF (a CR alone would begin a new line for
//! the reader and none for us), its field is `data`, `id`, `event` or `retry`, or it is a comment; all but `data` are printable ASCII.
//!
//! Called by the machine in `walk`, which reads what stands in `data` as JSON.

use super::scan::Fault;

/// A line, by how it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Too little of it has come to tell.
    Unknown,
    /// An empty one; the next starts here.
    Blank(usize),
    /// `data:`, and its JSON text, or nothing, from here.
    Data(usize),
    /// Anything else; its text from here.
    Text(usize),
}

/// Bytes of the longest name of a field, `event` or `retry`.
const LONGEST_NAME: usize = 5;

/// The line that starts at `at`.
pub(super) fn line(buf: &[u8], at: usize) -> Result<Line, Fault> {
    let rest = buf.get(at..).unwrap_or_default();
    let wrong = Err(Fault::Syntax { at, expected: "a field of an event stream (data, id, event, retry) or a comment" });
    let Some(end) = rest.iter().take(LONGEST_NAME + 1).position(|byte| matches!(byte, b':' | b'\n' | b'\r')) else {
        return if rest.len() > LONGEST_NAME { wrong } else { Ok(Line::Unknown) };
    };
    let (name, after) = (rest.get(..end).unwrap_or_default(), rest.get(end..).unwrap_or_default());
    match (name, after) {
        (b"", [b'\n', ..]) => Ok(Line::Blank(at + 1)),
        (b"", [b'\r', b'\n', ..]) => Ok(Line::Blank(at + 2)),
        (b"", [b'\r']) => Ok(Line::Unknown),
        (b"data", [b':', ..]) => Ok(Line::Data(at + end + 1)),
        (b"" | b"id" | b"event" | b"retry", [b':', ..]) => Ok(Line::Text(at + end + 1)),
        // A field without a value.
        (b"data" | b"id" | b"event" | b"retry", [b'\n' | b'\r', ..]) => Ok(Line::Text(at + end)),
        _ => wrong,
    }
}

/// Reads on in a line of text: `(where the reading stopped, the line has ended)`.
pub(super) fn text(buf: &[u8], at: usize) -> Result<(usize, bool), Fault> {
    let rest = buf.get(at..).unwrap_or_default();
    let length = rest.iter().position(|byte| !matches!(byte, b' '..=b'~' | b'\t')).unwrap_or(rest.len());
    let at = at + length;
    match rest.get(length..).unwrap_or_default() {
        [] | [b'\r'] => Ok((at, false)),
        [b'\n', ..] => Ok((at + 1, true)),
        [b'\r', b'\n', ..] => Ok((at + 2, true)),
        _ => Err(Fault::Syntax { at, expected: "printable ASCII, or the end of the line" }),
    }
}
