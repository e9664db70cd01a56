//! Finds field values in JSON as it arrives, row by row, and splices new ones in.
//!
//! A [`Map`] says where the documents (*rows*) of a body stand and which members of them matter. A [`Walker`] reads a body in pieces of any
//! size against it and gives it out again, byte for byte, in [`Window`]s of whole rows, each with a [`Layout`] of what was found where.
//! [`splice`] writes a window with some of the values replaced or removed; [`members`] and [`elements`] go down a text that was walked. `dialect` says where rows stand ([`RowSet`]), `field` compiles
//! maps and decides about values, `exchange` drives the walker.
//!
//! Always holds: what the walker accepts, serde_json accepts as a `Value`, and both see the same document: duplicate names (also spelled
//! with escapes), bad UTF-8, lone surrogates, a byte order mark, numbers beyond a double, nesting beyond
//! [`MAX_JSON_DEPTH`](crate::base::limits::MAX_JSON_DEPTH) are refused (T7). Bytes that are not changed are never written anew (T8). Where a
//! protected member is configured, every JSON type is found (T9), and a type that hides it is reported ([`Found::misfit`]). Memory is bounded
//! by the window and the largest row, time is linear in the body, whatever the pieces. Errors and `Debug` never show the body.
//!
//! Pure: no runtime, no sockets, no files. `walk` is the token machine on the tokens of `scan` and the lines of `event`, `track` knows rows and targets, `names` the
//! duplicates, `shape` the names to expect.

mod event;
mod map;
mod names;
mod parts;
mod pointer;
mod scan;
mod selector;
mod shape;
mod splice;
mod text;
mod track;
mod walk;
mod walker;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

pub use map::{Map, MapError};
pub use parts::{Member, at, elements, member, members};
pub use pointer::{Meeting, Pointer, Scaffold, Touched, touched};
pub use selector::{MAX_STEPS, MAX_WILDCARDS, Selector, SelectorError, Step};
pub use splice::{Change, Insert, splice};
pub use text::{unescape, write_string};
pub use walker::{Walker, is_one_value, walk};

use crate::base::limits::{MAX_ROW_BYTES, MAX_ROWS, MAX_VALUES, WINDOW_BYTES, WINDOW_ROWS};

/// What a target of a map is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A protected member: reported whole, whatever its JSON type; nothing below it is reported.
    Value,
    /// A member that is only read (an id, a revision): reported where it stands.
    Peek,
}

/// One thing to look for. Its index in the list given to [`Map::compile`] is its id in [`Found::target`].
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it stands.
    pub selector: Selector,
    /// What it is looked for.
    pub role: Role,
    /// Where the selector starts.
    pub scope: Scope,
}

/// Where the selector of a target starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// At each row. Rows are objects, so a selector that starts with an element finds nothing.
    Row,
    /// At the body, whether or not rows stand around it (e.g. `$.new_edits`). What is found has no row.
    Body,
}

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One JSON text.
    Document,
    /// NDJSON: one JSON text a line, to each of which the map applies anew; blank lines allowed (heartbeats). A JSON text that goes over
    /// several lines is refused.
    Lines,
    /// `text/event-stream`: one JSON text, or none, in each `data:` line, to each of which the map applies anew; other lines pass.
    Events,
}

/// In which objects a name that stands twice is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates {
    /// In every object.
    RefuseEverywhere,
    /// In objects that are rows, hold targets or lead to either; all names of such an object are compared.
    RefuseWhereItMatters,
}

/// By which rules a body is read.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// How the body is framed.
    pub framing: Framing,
    /// Where duplicate names are refused.
    pub duplicates: Duplicates,
    /// Largest row, in bytes; also the largest single token or found value outside of rows.
    pub max_row_bytes: usize,
    /// A window is full with this many rows ...
    pub window_rows: usize,
    /// ... or this many bytes.
    pub window_bytes: usize,
}

impl Rules {
    /// For request bodies: one JSON text, duplicate names refused everywhere, because the database may read the other one. A document that
    /// would be too large to be read again is refused.
    pub fn request() -> Self {
        Rules { duplicates: Duplicates::RefuseEverywhere, ..Rules::reply() }
    }

    /// For replies: one JSON text, duplicate names refused where they matter.
    pub fn reply() -> Self {
        Rules {
            framing: Framing::Document,
            duplicates: Duplicates::RefuseWhereItMatters,
            max_row_bytes: MAX_ROW_BYTES,
            window_rows: WINDOW_ROWS,
            window_bytes: WINDOW_BYTES,
        }
    }
}

/// JSON type of a found value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A found value. Offsets are into the window's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Index into the targets of the map.
    pub target: u16,
    /// Index into [`Layout::rows`]; None for [`Scope::Body`].
    pub row: Option<u32>,
    /// The value's JSON text, without surrounding white space.
    pub value: Range<usize>,
    /// Its JSON type.
    pub kind: Kind,
    /// Start of the member (its name's quote), or of the value for an array element.
    pub member_start: usize,
    /// Removal leaves `null` in its place: the value stands in an array at a `[n]` step, where removal would shift others. Also true of array
    /// elements that are misfits or only peeked at, and of a row that is peeked at whole (`$`).
    pub by_position: bool,
    /// Ordinal of the array or object that holds it, unique in the window; 0 if it is the whole text.
    pub container: u32,
    /// Its position in there (0-based, counts all members).
    pub index: u32,
    /// What the selector's wildcards matched, in order (array index, or ordinal of the member for `.*`); the rest is 0. Pairs
    /// `guests[*].name` with `guests[*].id`.
    pub wildcards: [u32; MAX_WILDCARDS],
    /// A value of another JSON type than the path needs stands on the way to this target, e.g. a string where `$.phones[*]` needs an array
    /// (null is fine and not reported). `value` is that value. On a write it would slip by unprotected (T9), so callers refuse it. When it
    /// hides several targets it is reported once, for the one with the lowest index. Only `Value` targets have misfits.
    pub misfit: bool,
}

/// One document of a body: an object at a row position.
///
/// When rows stand in one another (`$` and `$.items[*]` both match), the outer one is a frame around the inner ones and not listed; what
/// was peeked at in it is dropped. If a `Value` was found in the outer one before the first inner one, it is the outer one that is listed. A
/// `Value` in both, or one in the outer after an inner began, is [`WalkError::AmbiguousRows`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its bytes, from `{` to `}`.
    pub range: Range<usize>,
    /// Which row position (index given to [`Map::compile`]) matched; the lowest of several.
    pub set: u16,
    /// True if the object has no member at all (`{}`), for callers that insert the first one.
    pub empty: bool,
}

/// What stands where in one window.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Layout {
    /// In order of where they start; no two overlap.
    pub rows: Vec<Row>,
    /// In order of `value.start`.
    pub found: Vec<Found>,
    /// Values at a row position that are not objects, or that stand, outside any row, where an object or array would have to lead to rows (null not
    /// counted): a write with any is refused.
    pub odd_rows: u32,
}

/// A run of whole rows with the bytes around them.
pub struct Window {
    /// The bytes as they came.
    pub bytes: Vec<u8>,
    /// What stands where in them.
    pub layout: Layout,
}

/// Without the bytes, which may be anybody's data.
impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("bytes", &self.bytes.len()).field("rows", &self.layout.rows.len()).finish_non_exhaustive()
    }
}

/// Why a body is refused. Never holds text of the body; `at` is the byte offset in the whole body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// Something else than JSON has it stands there.
    #[error("not JSON at byte {at}: {expected} expected")]
    Syntax {
        /// Where.
        at: u64,
        /// What JSON has there.
        expected: &'static str,
    },
    /// The body ends before its JSON text does; also an empty body.
    #[error("the JSON text ends too early, at byte {at}")]
    Ended {
        /// The body's length.
        at: u64,
    },
    /// A string or name is not UTF-8.
    #[error("not UTF-8 in the string at byte {at}")]
    Utf8 {
        /// Where its opening quote stands.
        at: u64,
    },
    /// Half of a surrogate pair.
    #[error("the escape at byte {at} is not a Unicode character (lone surrogate)")]
    Surrogate {
        /// Where its backslash stands.
        at: u64,
    },
    /// A number that a double cannot hold, e.g. `1e999`.
    #[error("the number at byte {at} is outside the range of a double")]
    NumberRange {
        /// Where it starts.
        at: u64,
    },
    /// Two members of one object have the same name, after unescaping.
    #[error("a name stands twice in one object, second time at byte {at}")]
    DuplicateName {
        /// Where the second one starts.
        at: u64,
    },
    /// Arrays and objects nested too deep.
    #[error("nested deeper than {} levels at byte {at}", crate::base::limits::MAX_JSON_DEPTH)]
    TooDeep {
        /// Where the first that is too deep starts.
        at: u64,
    },
    /// A row, or a token or found value outside of rows, is larger than [`Rules::max_row_bytes`], perhaps while it is still arriving.
    #[error("one document is larger than {max} bytes")]
    RowTooLarge {
        /// The limit.
        max: usize,
    },
    /// More documents or found values than are held at a time (T24).
    #[error(
        "more than {MAX_ROWS} documents or {MAX_VALUES} values that are protected or read, in one request or one part of a reply"
    )]
    TooMany,
    /// See [`Row`].
    #[error("documents within a document both hold protected members, at byte {at}")]
    AmbiguousRows {
        /// Where the `Value` stands that was one too many.
        at: u64,
    },
}

/// Where rows stand in one kind of body, and what the dialect wants to read of them.
#[derive(Debug, Clone, Default)]
pub struct RowSet {
    /// Row positions.
    pub rows: Vec<Selector>,
    /// Members to read of each row, relative to it, e.g. `$._rev`.
    pub row_peeks: Vec<Selector>,
    /// Members to read of the body, e.g. `$.new_edits`.
    pub body_peeks: Vec<Selector>,
    /// Where in its row a document stands, e.g. `$.doc`; `None`: the row is the document.
    pub below: Option<Selector>,
}

/// What was read of a request body.
#[derive(Default)]
pub struct BodyFacts<'a> {
    /// The whole body, for those without documents.
    pub whole: &'a [u8],
    /// Index into [`RowSet::body_peeks`], JSON text.
    pub body: Vec<(usize, &'a [u8])>,
    /// Every row of the body, in order.
    pub rows: Vec<RowFacts<'a>>,
}

/// What was read of one row.
#[derive(Default)]
pub struct RowFacts<'a> {
    /// The whole row, for those that are compared with what is stored.
    pub whole: &'a [u8],
    /// Index into [`RowSet::row_peeks`], JSON text.
    pub peeks: Vec<(usize, &'a [u8])>,
    /// The id in the body, JSON text.
    pub id: Option<&'a [u8]>,
}

/// Without the texts.
impl fmt::Debug for BodyFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyFacts").field("body", &self.body.len()).field("rows", &self.rows).finish()
    }
}

/// Without the texts.
impl fmt::Debug for RowFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowFacts").field("peeks", &self.peeks.len()).field("id", &self.id.is_some()).finish()
    }
}
