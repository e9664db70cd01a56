//! Finds field values in JSON as it arrives, row by row, and splices new ones in.
//!
//! INTERFACE SKETCH: bodies to be written. Pure: no tokio, no hyper, no files.

use std::ops::Range;
use std::sync::Arc;

/// A path to values of a document: `$`, `.name`, `["any name"]`, `[*]`, `[n]`, `.*`. At most 4 wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector { /* steps */ }
impl Selector {
    /// Parses; the error has the byte offset in the text and says what was expected.
    pub fn parse(_text: &str) -> Result<Self, SelectorError> { todo!() }
    /// `self` with `below` (which must start at `$`) appended: `$.items[*]` + `$.name` = `$.items[*].name`.
    #[must_use] pub fn join(&self, _below: &Selector) -> Selector { todo!() }
    /// The name of the last member step, e.g. `phones` for `$.phones[*]`. None for `$`, `$[*]`.
    pub fn last_member(&self) -> Option<&str> { todo!() }
    /// True for `$` itself
    pub fn is_root(&self) -> bool { todo!() }
}
// + Display (round trips through parse)

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectorError { pub at: usize, pub message: String }

/// What a target of a map is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A protected member: reported whole, whatever its JSON type; nothing below it is reported.
    Value,
    /// A member that is only read (an id, a revision): reported where it stands.
    Peek,
}

/// One thing to look for. Index in the list given to [`Map::compile`] is its id in [`Found::target`].
#[derive(Debug, Clone)]
pub struct Target { pub selector: Selector, pub role: Role, pub scope: Scope }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The selector is relative to each row.
    Row,
    /// The selector is relative to the body, outside every row (e.g. `$.new_edits`).
    Body,
}

/// Compiled: where rows stand and what is looked for in them. One trie for all.
#[derive(Debug)]
pub struct Map { /* trie */ }
impl Map {
    /// Refuses overlapping selectors: two Value targets that can match the same value or one inside the other; a Peek inside or at a
    /// Value target; a row position at or inside a Value target. (`$` and `$.items[*]` and `$[*]` may all be rows.)
    /// Two Peeks may share a selector (both are reported).
    pub fn compile(_rows: &[Selector], _targets: &[Target]) -> Result<Map, Vec<MapError>> { todo!() }
}
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    #[error("targets {first} and {second} can match the same value")]
    Overlap { first: usize, second: usize },
    #[error("row position {row} lies at or inside target {target}")]
    RowInTarget { row: usize, target: usize },
}

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing { /** One JSON text. */ Document, /** NDJSON: one JSON text a line; blank lines allowed (heartbeats). */ Lines }

/// Whether duplicate names are refused in every object, or only in those that hold or lead to rows or targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplicates { RefuseEverywhere, RefuseWhereItMatters }

#[derive(Debug, Clone, Copy)]
pub struct Rules { pub framing: Framing, pub duplicates: Duplicates, pub max_row_bytes: usize, pub window_rows: usize, pub window_bytes: usize }
// + Rules::request() (Document, RefuseEverywhere, ...) and Rules::reply()

/// JSON type of a found value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind { Null, Bool, Number, String, Array, Object }

/// A found value. Offsets are into the window's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Index into the targets of the map.
    pub target: u16,
    /// Index into [`Layout::rows`]; None for Scope::Body.
    pub row: Option<u32>,
    /// The value's JSON text, without surrounding white space.
    pub value: Range<usize>,
    pub kind: Kind,
    /// Start of the member (its name's quote), or of the value for an array element. Removal starts here or at the comma before.
    pub member_start: usize,
    /// True: the value stands in an array at a `[n]` step (removal would shift others, so it becomes null instead).
    pub by_position: bool,
    /// Ordinal of the array or object that holds it, unique in the window, and its position in there (0-based, counts all members).
    pub container: u32,
    pub index: u32,
    /// What the selector's wildcards matched, in order (array index, or ordinal of the member for `.*`); rest 0. Pairs `guests[*].name` with `guests[*].id`.
    pub wildcards: [u32; 4],
    /// True: a value of another JSON type than the path needs stands on the way to this target, e.g. a string where `$.phones[*]`
    /// needs an array (null is fine and not reported). `value` is that value. On a write it would slip by unprotected (T9), so callers refuse it.
    pub misfit: bool,
}

/// One document of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its bytes; starts at `{`. In a window, may be anything for a frame row (see below): rows are objects only.
    pub range: Range<usize>,
    /// Which row selector (index given to compile) matched.
    pub set: u16,
    /// True if the object has no member at all (`{}`), for callers that insert the first one.
    pub empty: bool,
}

/// What stands where in one window.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Layout {
    pub rows: Vec<Row>,
    /// In order of `value.start`.
    pub found: Vec<Found>,
    /// Values at a row position that are not objects (null not counted): a write with any is refused.
    pub odd_rows: u32,
}

/// A run of whole rows with the bytes around them.
#[derive(Debug)]
pub struct Window { pub bytes: Vec<u8>, pub layout: Layout }

/// Why a body is refused. Never holds text of the body; `at` is the byte offset in the whole body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    #[error("not JSON at byte {at}: {expected} expected")]
    Syntax { at: u64, expected: &'static str },
    #[error("the JSON text ends too early, at byte {at}")]
    Ended { at: u64 },
    #[error("not UTF-8 in the string at byte {at}")]
    Utf8 { at: u64 },
    #[error("the escape at byte {at} is not a Unicode character (lone surrogate)")]
    Surrogate { at: u64 },
    #[error("the number at byte {at} is outside the range of a double")]
    NumberRange { at: u64 },
    #[error("a name stands twice in one object, second time at byte {at}")]
    DuplicateName { at: u64 },
    #[error("nested deeper than {} levels at byte {at}", crate::base::limits::MAX_JSON_DEPTH)]
    TooDeep { at: u64 },
    #[error("one document is larger than {max} bytes")]
    RowTooLarge { max: usize },
    #[error("documents within a document both hold protected members, at byte {at}")]
    AmbiguousRows { at: u64 },
}

/// Reads a body that arrives in pieces.
#[derive(Debug)]
pub struct Walker { /* … */ }
impl Walker {
    pub fn new(_map: Arc<Map>, _rules: Rules) -> Self { todo!() }
    /// Takes the next piece, of any size, also empty.
    pub fn feed(&mut self, _piece: &[u8]) -> Result<(), WalkError> { todo!() }
    /// Says that the body has ended.
    pub fn finish(&mut self) -> Result<(), WalkError> { todo!() }
    /// The next window: None while there is not yet a full one (rows >= window_rows or bytes >= window_bytes of complete rows and frame).
    /// After `finish` gives the rest, then None. The windows' bytes joined are the body, byte for byte.
    pub fn window(&mut self) -> Option<Window> { todo!() }
    /// What is ready now even if not full (for feeds); None if nothing is.
    pub fn flush(&mut self) -> Option<Window> { todo!() }
}

/// Walks a whole body at once.
pub fn walk(_map: &Map, _rules: Rules, _body: &[u8]) -> Result<Layout, WalkError> { todo!() }

/// True if the bytes are exactly one JSON value (white space around it allowed) by the same rules.
pub fn is_one_value(_text: &[u8]) -> bool { todo!() }
/// The text of a JSON string with its quotes, unescaped; borrowed when nothing is escaped. None if it is not a well-formed string.
pub fn unescape(_string: &[u8]) -> Option<std::borrow::Cow<'_, str>> { todo!() }
/// Appends `text` as a JSON string with quotes, minimal escapes.
pub fn write_string(_text: &str, _out: &mut Vec<u8>) { todo!() }

/// What to do with one found value.
#[derive(Debug, Clone)]
pub enum Change {
    Keep,
    /// New JSON text in place of the value.
    Replace(Vec<u8>),
    /// The member (with its name and one comma) or array element goes; a `by_position` one becomes null.
    Remove,
}
/// A text to insert at an offset, e.g. a member after a row's `{`.
#[derive(Debug, Clone)]
pub struct Insert { pub at: usize, pub text: Vec<u8> }

/// Writes `bytes` with the changes applied; all other bytes as they came. `changes[i]` belongs to `layout.found[i]`. Inserts in order of `at`.
pub fn splice(_bytes: &[u8], _layout: &Layout, _changes: &[Change], _inserts: &[Insert], _out: &mut Vec<u8>) { todo!() }

/// Where rows stand in one kind of body, and what the dialect wants to read of them.
#[derive(Debug, Clone, Default)]
pub struct RowSet { pub rows: Vec<Selector>, /** relative to a row, e.g. `$._rev` */ pub row_peeks: Vec<Selector>, /** e.g. `$.new_edits` */ pub body_peeks: Vec<Selector> }

/// What was read of a request body: (index of the peek, JSON text).
#[derive(Debug, Default)]
pub struct BodyFacts<'a> { pub body: Vec<(usize, &'a [u8])>, pub rows: Vec<RowFacts<'a>> }
#[derive(Debug, Default)]
pub struct RowFacts<'a> { pub peeks: Vec<(usize, &'a [u8])>, /** The id in the body, JSON text. */ pub id: Option<&'a [u8]> }
