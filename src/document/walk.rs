//! The walk over the tokens of a body: what JSON is, and which places are shown to the [`Tracker`].
//!
//! A [`Machine`] is a state machine with an explicit stack (one bit a level), no recursion, and it can stop between any two bytes. What it
//! accepts is what serde_json accepts as a `Value`, less duplicate names. It owns no bytes: it is given the part of the body that is not
//! yet handed out, which grows from call to call, and remembers how far it came in it. [`super::Walker`] and [`super::walk`] drive it.

use super::event::{self, Line};
use super::map::Map;
use super::names::{Names, fingerprint, fingerprint_at};
use super::scan::{self, Fault, Resume};
use super::shape::Foreseen;
use super::text::unescape_inner;
use super::track::{Ambiguous, Tracker};
use super::{Duplicates, Framing, Kind, Layout, Rules, WalkError};
use crate::base::limits::MAX_JSON_DEPTH;

/// Room for the names of objects that are handed out in several windows, at least.
const KEPT_NAMES_BYTES: usize = 1 << 20;

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    FirstElement,
    FirstName,
    Name,
    Colon,
    /// A value has ended.
    After,
    /// The whole text has ended.
    Done,
    /// Before the text of a line ([`Framing::Lines`]).
    LineStart,
    /// After the text of a line.
    LineEnd,
    /// At the start of a line of an event stream ([`Framing::Events`]).
    EventLine,
    /// After `data:`, before its text.
    EventData,
    /// In another line than `data`.
    EventText,
}

/// Why a run stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// All bytes are read.
    More,
    /// A full window stands before [`Machine::anchor`].
    Full,
}

#[derive(Debug)]
pub(super) struct Machine {
    rules: Rules,
    state: State,
    /// Next byte to read, in the buffer; inside an unfinished string or number its start.
    pos: usize,
    resume: Resume,
    /// Bytes of the body before the buffer.
    base: u64,
    depth: usize,
    /// One bit a level, innermost lowest: 1 for an object.
    objects: u128,
    /// Something may be found at the value that comes next.
    hot: bool,
    names: Names,
    tracker: Tracker,
}

impl Machine {
    pub(super) fn new(rules: Rules) -> Self {
        let mut tracker = Tracker::roomy();
        tracker.begin();
        let state = match rules.framing {
            Framing::Document => State::Value,
            Framing::Lines => State::LineStart,
            Framing::Events => State::EventLine,
        };
        Machine {
            rules,
            state,
            pos: 0,
            resume: Resume::default(),
            base: 0,
            depth: 0,
            objects: 0,
            hot: true,
            names: Names::roomy(),
            tracker,
        }
    }

    /// The last place where the body may be cut: bytes before it are read, and all rows and found values in them are whole.
    pub(super) fn anchor(&self) -> usize {
        self.tracker.anchor
    }

    /// True once a window may be made of what stands before the anchor.
    pub(super) fn is_full(&self) -> bool {
        self.anchor() > 0 && self.anchor() >= self.rules.window_bytes
    }

    /// Reads on, to the end of `buf` (at the end of the body too, if `ended`) or until a window is full.
    ///
    /// # Errors
    ///
    /// Whatever makes the body unacceptable, at its offset. The machine must not be run again.
    pub(super) fn run(&mut self, map: &Map, buf: &[u8], ended: bool) -> Result<Stop, WalkError> {
        let max = self.rules.max_row_bytes;
        loop {
            // What lies beyond the largest row that may come is not looked at, so that the verdict does not depend on the pieces.
            let end = buf.len().min(self.limit_from().saturating_add(max));
            let stop = self.tokens(map, buf.get(..end).unwrap_or(buf), ended && end == buf.len())?;
            if self.tracker.overflow {
                return Err(WalkError::TooMany);
            }
            if stop == Stop::Full {
                return Ok(stop);
            }
            if end == buf.len() {
                return if ended && !self.is_complete(end) { Err(WalkError::Ended { at: self.at(buf.len()) }) } else { Ok(stop) };
            }
            if self.limit_from().saturating_add(max) <= end {
                return Err(WalkError::RowTooLarge { max });
            }
        }
    }

    /// Takes what was found before `count`, a place to cut, and forgets those bytes of `buf`.
    ///
    /// # Errors
    ///
    /// [`WalkError::RowTooLarge`] when the names of the objects around rows, which must be kept to be compared, take more than a row may, and
    /// at least [`KEPT_NAMES_BYTES`].
    pub(super) fn cut(&mut self, buf: &[u8], count: usize) -> Result<Layout, WalkError> {
        self.names.shift(buf, count);
        if self.names.kept_bytes() > self.rules.max_row_bytes.max(KEPT_NAMES_BYTES) {
            return Err(WalkError::RowTooLarge { max: self.rules.max_row_bytes });
        }
        self.pos = self.pos.saturating_sub(count);
        self.resume.shift(count);
        self.base = self.at(count);
        Ok(self.tracker.cut(count))
    }

    /// Where the thing starts that must fit in `max_row_bytes`: the open row or found value, or else the token at hand.
    fn limit_from(&self) -> usize {
        match self.tracker.open_from() {
            Some(start) => start,
            None if self.depth > self.tracker.depth() => self.pos,
            None => self.tracker.anchor,
        }
    }

    fn is_complete(&self, end: usize) -> bool {
        matches!(self.state, State::Done | State::LineStart | State::LineEnd)
            || (self.state == State::EventLine && self.pos == end)
    }

    fn at(&self, offset: usize) -> u64 {
        self.base.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX))
    }

    #[cold]
    fn syntax(&self, at: usize, expected: &'static str) -> WalkError {
        WalkError::Syntax { at: self.at(at), expected }
    }

    #[cold]
    fn fault(&self, fault: Fault) -> WalkError {
        match fault {
            Fault::Syntax { at, expected } => self.syntax(at, expected),
            Fault::Utf8 { at } => WalkError::Utf8 { at: self.at(at) },
            Fault::Surrogate { at } => WalkError::Surrogate { at: self.at(at) },
            Fault::NumberRange { at } => WalkError::NumberRange { at: self.at(at) },
        }
    }

    /// The bytes end; `at` is the token at hand.
    fn pause(&mut self, at: usize, state: State) -> Stop {
        self.pos = at;
        self.state = state;
        // Between texts, and inside a container that nobody looks into, every token starts where a cut is possible; and so is the white space
        // before a first element: a feed keeps itself alive with it, also before its first row.
        if self.tracker.is_free() {
            if self.depth == 0 || self.depth > self.tracker.depth() || state == State::FirstElement {
                self.tracker.anchor = at;
            } else if state == State::After {
                self.tracker.settle(at);
            }
        }
        Stop::More
    }

    #[expect(clippy::too_many_lines, reason = "one state machine: to split it would scatter the grammar")]
    fn tokens(&mut self, map: &Map, buf: &[u8], ended: bool) -> Result<Stop, WalkError> {
        let everywhere = self.rules.duplicates == Duplicates::RefuseEverywhere;
        let lines = self.rules.framing != Framing::Document;
        let line_start = if self.rules.framing == Framing::Events { State::EventLine } else { State::LineStart };
        let mut at = self.pos;
        let mut state = self.state;
        // The innermost container is live; it is an object; nothing is open that must stay in one window.
        let mut live = self.depth == self.tracker.depth();
        let mut object = self.objects & 1 == 1;
        let mut free = self.tracker.is_free();

        // The next byte that is not white space.
        macro_rules! next {
            () => {
                loop {
                    match buf.get(at) {
                        Some(byte) if *byte > b' ' => break *byte,
                        Some(b' ' | b'\t' | b'\r') => at += 1,
                        Some(b'\n') if !lines => at += 1,
                        Some(b'\n') => return Err(self.syntax(at, "the rest of the JSON text on the same line")),
                        Some(byte) => break *byte,
                        None => return Ok(self.pause(at, state)),
                    }
                }
            };
        }
        // The end of a token that starts at `at`.
        macro_rules! whole {
            ($token:expr) => {
                match $token {
                    Ok(Some(end)) => end,
                    Ok(None) => return Ok(self.pause(at, state)),
                    Err(fault) => return Err(self.fault(fault)),
                }
            };
        }

        // A turn reads one value (or the start of a container) with its name, then what follows it. The parts of a turn stand in the order
        // in which they follow one another; `state` says where to enter.
        'turn: loop {
            'value: {
                match state {
                    State::Value | State::FirstElement | State::FirstName | State::Name | State::Colon => {}
                    State::After => break 'value,
                    State::Done => {
                        next!();
                        return Err(self.syntax(at, "nothing more after the JSON text"));
                    }
                    State::LineStart | State::LineEnd => {
                        match buf.get(at) {
                            None => return Ok(self.pause(at, state)),
                            Some(b' ' | b'\t' | b'\r') => at += 1,
                            Some(b'\n') => {
                                at += 1;
                                state = line_start;
                            }
                            Some(_) if state == State::LineEnd => return Err(self.syntax(at, "a new line after the JSON text")),
                            Some(_) => state = self.begin_text(at),
                        }
                        continue 'turn;
                    }
                    State::EventLine => {
                        (at, state) = match event::line(buf, at).map_err(|fault| self.fault(fault))? {
                            Line::Unknown => return Ok(self.pause(at, state)),
                            Line::Blank(next) => (next, State::EventLine),
                            Line::Data(next) => (next, State::EventData),
                            Line::Text(next) => (next, State::EventText),
                        };
                        continue 'turn;
                    }
                    State::EventText => {
                        let (next, ended) = event::text(buf, at).map_err(|fault| self.fault(fault))?;
                        if !ended {
                            return Ok(self.pause(next, state));
                        }
                        (at, state) = (next, State::EventLine);
                        continue 'turn;
                    }
                    State::EventData => {
                        match buf.get(at) {
                            None => return Ok(self.pause(at, state)),
                            Some(b' ' | b'\t') => at += 1,
                            // Nothing, as a heartbeat has it.
                            Some(b'\n' | b'\r') => state = State::EventText,
                            Some(_) => state = self.begin_text(at),
                        }
                        continue 'turn;
                    }
                }
                if state == State::FirstElement {
                    if next!() == b']' {
                        at += 1;
                        (live, object, free) = self.close(at, live);
                        state = State::After;
                        break 'value;
                    }
                    if live && free {
                        // As `pause` has it for the white space before, whether or not that came alone.
                        self.tracker.anchor = at;
                    }
                    self.hot = live && self.tracker.element(map);
                    state = State::Value;
                }
                if state == State::FirstName || state == State::Name {
                    let byte = next!();
                    if byte != b'"' {
                        if byte != b'}' || state == State::Name {
                            return Err(self.syntax(at, "a name in quotes"));
                        }
                        at += 1;
                        (live, object, free) = self.close(at, live);
                        state = State::After;
                        break 'value;
                    }
                    if live || everywhere {
                        if let Some(name) = self.names.foresee(buf, at) {
                            if live {
                                self.hot = self.tracker.foreseen(map, buf, name, at);
                            }
                            at += name.length;
                            state = if name.colon { State::Value } else { State::Colon };
                        } else {
                            let end = whole!(scan::string(buf, at, &mut self.resume));
                            self.name(map, buf, at, end, live)?;
                            at = end;
                            state = State::Colon;
                        }
                    } else {
                        at = whole!(scan::string(buf, at, &mut self.resume));
                        state = State::Colon;
                    }
                }
                if state == State::Colon {
                    if next!() != b':' {
                        return Err(self.syntax(at, "a colon"));
                    }
                    at += 1;
                    state = State::Value;
                }
                let byte = next!();
                let (kind, end) = match byte {
                    b'"' => (Kind::String, whole!(scan::string(buf, at, &mut self.resume))),
                    b'{' | b'[' => {
                        object = byte == b'{';
                        live = self.open(map, object, at, live)?;
                        at += 1;
                        free = self.tracker.is_free();
                        if free {
                            self.tracker.begun(live, at);
                        }
                        state = if object { State::FirstName } else { State::FirstElement };
                        continue 'turn;
                    }
                    b'-' | b'0'..=b'9' => (Kind::Number, whole!(scan::number(buf, at, ended, &mut self.resume))),
                    b't' => (Kind::Bool, whole!(scan::word(buf, at, "true"))),
                    b'f' => (Kind::Bool, whole!(scan::word(buf, at, "false"))),
                    b'n' => (Kind::Null, whole!(scan::word(buf, at, "null"))),
                    _ => return Err(self.syntax(at, "a value")),
                };
                if self.hot {
                    self.hot = false;
                    let start = at;
                    self.tracker
                        .scalar(map, kind, start, end)
                        .map_err(|Ambiguous| WalkError::AmbiguousRows { at: self.at(start) })?;
                }
                at = end;
                state = State::After;
            }
            // After a value: up to the next comma, or to the end of the text.
            loop {
                let byte = if self.depth == 0 { b'\n' } else { next!() };
                if live && free && self.tracker.settle(at) && self.fills(at) {
                    self.pos = at;
                    self.state = state;
                    return Ok(Stop::Full);
                }
                if self.depth == 0 {
                    state = if lines { State::LineEnd } else { State::Done };
                    break;
                }
                at += 1;
                if byte == b',' {
                    if object {
                        state = State::Name;
                    } else {
                        self.hot = live && self.tracker.element(map);
                        state = State::Value;
                    }
                    break;
                }
                if byte != if object { b'}' } else { b']' } {
                    return Err(self.syntax(at - 1, if object { "a comma or }" } else { "a comma or ]" }));
                }
                (live, object, free) = self.close(at, live);
            }
        }
    }

    /// A JSON text begins on a line.
    fn begin_text(&mut self, at: usize) -> State {
        self.tracker.begin();
        self.tracker.anchor = at;
        self.hot = true;
        State::Value
    }

    /// True if the bytes and rows before `at` make a window.
    fn fills(&self, at: usize) -> bool {
        at > 0 && (at >= self.rules.window_bytes || self.tracker.rows() >= self.rules.window_rows.max(1))
    }

    /// A container begins. True if it is live.
    #[inline]
    fn open(&mut self, map: &Map, object: bool, at: usize, in_live: bool) -> Result<bool, WalkError> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(WalkError::TooDeep { at: self.at(at) });
        }
        let mut live = false;
        if self.depth == 0 {
            // The white space before the text may be cut off, whether or not it came alone.
            self.tracker.anchor = at;
        }
        if self.hot && in_live {
            self.hot = false;
            live = self.tracker.open(map, object, at).map_err(|Ambiguous| WalkError::AmbiguousRows { at: self.at(at) })?;
        }
        self.objects = self.objects << 1 | u128::from(object);
        self.depth += 1;
        if object && (live || self.rules.duplicates == Duplicates::RefuseEverywhere) {
            self.names.open(if live { self.tracker.element_of() } else { None });
        }
        Ok(live)
    }

    /// The innermost container ends. Gives whether the one around it is live, whether it is an object, whether nothing is open.
    #[inline]
    fn close(&mut self, end: usize, live: bool) -> (bool, bool, bool) {
        if self.objects & 1 == 1 && (live || self.rules.duplicates == Duplicates::RefuseEverywhere) {
            self.names.close();
        }
        self.objects >>= 1;
        self.depth -= 1;
        if live {
            self.tracker.close(end);
        } else if self.depth == self.tracker.depth() {
            self.tracker.close_dead(end);
        }
        (self.depth == self.tracker.depth(), self.objects & 1 == 1, self.tracker.is_free())
    }

    /// A member's name stands from `start` to `end`.
    #[inline]
    fn name(&mut self, map: &Map, buf: &[u8], start: usize, end: usize, live: bool) -> Result<(), WalkError> {
        let spot = (start + 1, end.saturating_sub(1));
        let raw = buf.get(spot.0..spot.1).unwrap_or_default();
        let text;
        let (name, print) = if self.resume.escaped() {
            text = unescape_inner(raw).unwrap_or_default();
            (text.as_bytes(), fingerprint(text.as_bytes()))
        } else {
            (raw, fingerprint_at(buf, spot))
        };
        if !self.names.add(buf, name, print, spot) {
            return Err(WalkError::DuplicateName { at: self.at(start) });
        }
        self.hot = live && self.tracker.member(map, name, print, start);
        if !self.resume.escaped() {
            self.names.learn(buf, start, Foreseen { length: end - start, print, hot: self.hot, colon: false });
        }
        Ok(())
    }
}
