//! What the walker knows about the containers that lead to rows or targets, and what it has found.
//!
//! A container is *live* while something of the map can still be found in it; all containers around a live one are live. The walker tells
//! the tracker of every member and value of live containers. Everything else never gets here.
//!
//! Rows nest, because `$` and `$.items[*]` may both be rows: see [`Standing`]. A place where the body may be cut into windows is where no
//! row and no found value is open and where removal of a found value needs no byte of the window before; `anchor` is the last such place.

use super::map::{Map, NodeId, ROOT, Terminal};
use super::names::bit_of;
use super::shape::Foreseen;
use super::{Found, Kind, Layout, Row};
use crate::base::limits::{MAX_ROWS, MAX_VALUES};

/// Container ordinal of a value that stands in none: the whole text.
pub(super) const NO_CONTAINER: u32 = 0;
/// Marks a found value that was dropped because its row turned out to be a frame.
const DROPPED: u16 = u16::MAX;

/// An open live container. Its index in [`Tracker::live`] is its depth.
#[derive(Debug)]
struct Frame {
    object: bool,
    /// Its nodes in [`Tracker::sets`]; those of its current member or element follow.
    nodes_from: usize,
    nodes_to: usize,
    /// A name whose [`bit_of`] its fingerprint is not among these leads nowhere.
    mask: u64,
    /// How many members or elements have begun.
    begun: u32,
    /// Where the current member starts.
    member_start: usize,
    /// Its ordinal, once something is found in it.
    container: u32,
    /// The last member or element that was found and may go.
    found_index: Option<u32>,
    /// A member or element that stays has begun, so whatever is removed later has a comma before it.
    kept: bool,
    /// It is at a row position; the last of [`Tracker::nested`] belongs to it.
    row: bool,
    /// How many found values were open before it began, and when it had begun; those between are itself.
    opened_before: usize,
    opened_after: usize,
}

impl Frame {
    /// Ordinal of the current member or element.
    fn index(&self) -> u32 {
        self.begun.saturating_sub(1)
    }
}

/// What an open object at a row position is. Only one open row at a time is in [`Layout::rows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A row, as long as no row begins in it.
    Row,
    /// A row that has a `Value`, with rows in it that may have none.
    Outer,
    /// A frame around rows: may hold no `Value`.
    Around,
    /// Inside an [`Standing::Outer`]: not a row, may hold no `Value`.
    Inner,
}

#[derive(Debug)]
struct Nested {
    depth: usize,
    standing: Standing,
    has_value: bool,
    /// The first found value that may belong to it.
    found_from: usize,
}

/// Two documents, one in the other, both hold `Value` targets.
#[derive(Debug)]
pub(super) struct Ambiguous;

/// What [`Tracker::notice`] saw at a value.
struct Noticed {
    /// Where the found values of this value start in [`Layout::found`].
    found_from: usize,
    /// Something may be found inside.
    live: bool,
    row: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tracker {
    live: Vec<Frame>,
    sets: Vec<NodeId>,
    nested: Vec<Nested>,
    /// Open found values, as indexes of [`Layout::found`].
    opened: Vec<usize>,
    /// Where the row that is open and listed starts.
    row_start: Option<usize>,
    pub(super) anchor: usize,
    layout: Layout,
    containers: u32,
    dropped: bool,
    /// More was found than may be held; the walk ends with that.
    pub(super) overflow: bool,
}

impl Tracker {
    /// With room for what most bodies have.
    pub(super) fn roomy() -> Self {
        let layout = Layout { found: Vec::with_capacity(8), ..Layout::default() };
        Self { live: Vec::with_capacity(4), sets: Vec::with_capacity(8), layout, ..Self::default() }
    }

    /// A JSON text begins.
    pub(super) fn begin(&mut self) {
        self.live.clear();
        self.nested.clear();
        self.opened.clear();
        self.sets.clear();
        self.sets.push(ROOT);
    }

    /// How many live containers are open.
    #[inline]
    pub(super) fn depth(&self) -> usize {
        self.live.len()
    }

    /// True if no row and no found value is open.
    #[inline]
    pub(super) fn is_free(&self) -> bool {
        self.row_start.is_none() && self.opened.is_empty()
    }

    /// Where what is open and must stay in one window starts. A found value that is not in a row counts from the anchor, because those before
    /// it may have to stay as well.
    pub(super) fn open_from(&self) -> Option<usize> {
        let found = self.opened.first().and_then(|index| self.layout.found.get(*index));
        match (self.row_start, found) {
            (Some(row), Some(found)) if found.member_start > row => Some(row),
            (_, Some(_)) => Some(self.anchor),
            (row, None) => row,
        }
    }

    /// How many whole rows stand before the anchor, if that is where the walker is.
    pub(super) fn rows(&self) -> usize {
        self.layout.rows.len()
    }

    /// A member of the innermost live object begins. True if something may be found at its value.
    #[inline]
    pub(super) fn member(&mut self, map: &Map, name: &[u8], print: u32, start: usize) -> bool {
        let Some(frame) = self.live.last_mut() else {
            return false;
        };
        frame.begun = frame.begun.saturating_add(1);
        frame.member_start = start;
        frame.mask & bit_of(print) != 0
            && self.step_down(|sets, from, to, _| {
                for at in from..to {
                    if let Some(node) = sets.get(at).and_then(|id| map.node(*id)) {
                        node.member(name, print, sets);
                    }
                }
            })
    }

    /// A member of the innermost live object begins whose name, at `start`, was foreseen. True if something may be found at its value.
    #[inline]
    pub(super) fn foreseen(&mut self, map: &Map, buf: &[u8], name: Foreseen, start: usize) -> bool {
        if name.hot {
            return self.foreseen_target(map, buf, name, start);
        }
        if let Some(frame) = self.live.last_mut() {
            frame.begun = frame.begun.saturating_add(1);
            frame.member_start = start;
        }
        false
    }

    #[inline(never)]
    fn foreseen_target(&mut self, map: &Map, buf: &[u8], name: Foreseen, start: usize) -> bool {
        let end = start + name.length - 1 - usize::from(name.colon);
        self.member(map, buf.get(start + 1..end).unwrap_or_default(), name.print, start)
    }

    /// What is looked for in the innermost live container, if that is an element of an array.
    pub(super) fn element_of(&self) -> Option<&[NodeId]> {
        let [.., around, frame] = &self.live[..] else {
            return None;
        };
        self.sets.get(frame.nodes_from..frame.nodes_to).filter(|_| !around.object)
    }

    /// An element of the innermost live array begins. True if something may be found at it.
    #[inline]
    pub(super) fn element(&mut self, map: &Map) -> bool {
        let Some(frame) = self.live.last_mut() else {
            return false;
        };
        frame.begun = frame.begun.saturating_add(1);
        self.step_down(|sets, from, to, index| {
            for at in from..to {
                if let Some(node) = sets.get(at).and_then(|id| map.node(*id)) {
                    node.element(index, sets);
                }
            }
        })
    }

    /// Puts the nodes of the member or element that has begun after those of its container. True if there are any.
    fn step_down(&mut self, step: impl FnOnce(&mut Vec<NodeId>, usize, usize, u32)) -> bool {
        let Some(frame) = self.live.last() else {
            return false;
        };
        self.sets.truncate(frame.nodes_to);
        step(&mut self.sets, frame.nodes_from, frame.nodes_to, frame.index());
        self.sets.len() > frame.nodes_to
    }

    /// A string, number or word at which something may be found.
    pub(super) fn scalar(&mut self, map: &Map, kind: Kind, start: usize, end: usize) -> Result<(), Ambiguous> {
        let noticed = self.notice(map, kind, start)?;
        for found in self.layout.found.iter_mut().skip(noticed.found_from) {
            found.value.end = end;
        }
        Ok(())
    }

    /// An object or array begins at which something may be found. True if it is live.
    pub(super) fn open(&mut self, map: &Map, object: bool, start: usize) -> Result<bool, Ambiguous> {
        let noticed = self.notice(map, if object { Kind::Object } else { Kind::Array }, start)?;
        let opened_before = self.opened.len();
        self.opened.extend(noticed.found_from..self.layout.found.len());
        if noticed.live {
            let nodes_from = self.live.last().map_or(0, |parent| parent.nodes_to);
            self.live.push(Frame {
                object,
                nodes_from,
                nodes_to: self.sets.len(),
                mask: self
                    .sets
                    .get(nodes_from..)
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|id| map.node(*id))
                    .fold(0, |mask, node| mask | node.mask),
                begun: 0,
                member_start: start,
                container: NO_CONTAINER,
                found_index: None,
                kept: false,
                row: noticed.row,
                opened_before,
                opened_after: self.opened.len(),
            });
        }
        Ok(noticed.live)
    }

    /// A container has begun in the innermost live one, or is it, with nothing open. The walker is at `at`, a place to cut.
    #[inline]
    pub(super) fn begun(&mut self, live: bool, at: usize) {
        let parent = if live { self.live.len().checked_sub(2) } else { self.live.len().checked_sub(1) };
        if let Some(parent) = parent.and_then(|depth| self.live.get_mut(depth)) {
            parent.kept = true;
        }
        self.anchor = at;
    }

    /// The innermost live container ends; `end` is the offset after it.
    pub(super) fn close(&mut self, end: usize) {
        let Some(frame) = self.live.pop() else {
            return;
        };
        self.sets.truncate(frame.nodes_from);
        if frame.row
            && let Some(nested) = self.nested.pop()
            && matches!(nested.standing, Standing::Row | Standing::Outer)
        {
            if let Some(row) = self.layout.rows.last_mut() {
                row.range.end = end;
                row.empty = frame.begun == 0;
            }
            self.row_start = None;
        }
        self.close_found(frame.opened_before, end);
    }

    /// A container that is not live ends in a live one, or as the whole text.
    #[inline]
    pub(super) fn close_dead(&mut self, end: usize) {
        if !self.opened.is_empty() {
            // Found values that are open belong to this value or to live containers around it.
            let around = self.live.last().map_or(0, |frame| frame.opened_after);
            self.close_found(around, end);
        }
    }

    fn close_found(&mut self, keep: usize, end: usize) {
        for index in self.opened.drain(keep..) {
            if let Some(found) = self.layout.found.get_mut(index) {
                found.value.end = end;
            }
        }
    }

    /// A value of the innermost live container, or the whole text, has ended at `at` with nothing open. True if a cut is possible here.
    pub(super) fn settle(&mut self, at: usize) -> bool {
        if let Some(frame) = self.live.last_mut() {
            frame.kept |= frame.found_index != Some(frame.index());
            if !frame.kept {
                return false;
            }
        }
        self.anchor = at;
        true
    }

    fn notice(&mut self, map: &Map, kind: Kind, start: usize) -> Result<Noticed, Ambiguous> {
        let nodes_from = self.live.last().map_or(0, |frame| frame.nodes_to);
        let found_from = self.layout.found.len();
        let (object, array) = (kind == Kind::Object, kind == Kind::Array);
        let mut at = Place::default();
        for node in self.sets.get(nodes_from..).unwrap_or_default().iter().filter_map(|id| map.node(*id)) {
            at.row = min(at.row, node.row);
            at.rows_in_object |= node.rows_in_object;
            at.rows_in_array |= node.rows_in_array;
            at.needs_object = first(at.needs_object, node.needs_object.as_ref());
            at.needs_array = first(at.needs_array, node.needs_array.as_ref());
            at.goes_in |= (object || array) && node.goes_into(object);
        }
        let fits = (object && at.rows_in_object) || (array && at.rows_in_array);
        let row = object && at.row.is_some();
        if let Some(set) = at.row.filter(|_| object) {
            self.begin_row(set, start);
        } else if kind != Kind::Null
            && !fits
            && (at.row.is_some() || (self.nested.is_empty() && (at.rows_in_object || at.rows_in_array)))
        {
            self.layout.odd_rows = self.layout.odd_rows.saturating_add(1);
        }
        let mut whole = false;
        for node in nodes_from..self.sets.len() {
            let terminals = self.sets.get(node).and_then(|id| map.node(*id)).map_or(&[][..], |node| &node.terminals);
            for terminal in terminals {
                whole |= self.found(terminal, kind, start, found_from, false)? && terminal.value;
            }
        }
        if !whole && !fits && kind != Kind::Null {
            let hidden = match kind {
                Kind::Object => at.needs_array.filter(|_| at.needs_object.is_none()),
                Kind::Array => at.needs_object.filter(|_| at.needs_array.is_none()),
                Kind::Null | Kind::Bool | Kind::Number | Kind::String => first(at.needs_object, at.needs_array),
            };
            if let Some(terminal) = hidden.filter(|_| !row) {
                whole = self.found(terminal, kind, start, found_from, true)?;
            }
        }
        Ok(Noticed { found_from, live: !whole && (at.goes_in || row), row })
    }

    /// Lists a found value, unless it is dropped with the frame it stands in. True if it is listed.
    fn found(
        &mut self,
        terminal: &Terminal,
        kind: Kind,
        start: usize,
        found_from: usize,
        misfit: bool,
    ) -> Result<bool, Ambiguous> {
        let mut row = None;
        if let Some(depth) = terminal.row_depth {
            let Some(nested) = self.nested.iter_mut().rev().find(|nested| nested.depth == depth) else {
                return Ok(false);
            };
            match nested.standing {
                Standing::Row | Standing::Outer => nested.has_value |= terminal.value,
                Standing::Around | Standing::Inner if terminal.value => return Err(Ambiguous),
                Standing::Around | Standing::Inner => return Ok(false),
            }
            row = Some(u32::try_from(self.layout.rows.len().saturating_sub(1)).unwrap_or(u32::MAX));
        }
        let seen = self.layout.found.iter().skip(found_from).any(|found| found.target == terminal.target && found.row == row);
        if seen {
            return Ok(true);
        }
        let live = &self.live;
        let wildcards = terminal.wildcards.map(|depth| depth.and_then(|depth| live.get(depth)).map_or(0, Frame::index));
        let (mut member_start, mut container, mut index) = (start, NO_CONTAINER, 0);
        let is_row = terminal.row_depth == Some(self.live.len());
        let mut by_position = is_row;
        if let Some(frame) = self.live.last_mut() {
            if frame.container == NO_CONTAINER {
                self.containers = self.containers.wrapping_add(1).max(1);
                frame.container = self.containers;
            }
            (container, index) = (frame.container, frame.index());
            if frame.object {
                member_start = frame.member_start;
            } else {
                // A misfit may stand at a `[n]` step half way down.
                by_position |= misfit || terminal.by_position || !terminal.value;
            }
            if !by_position {
                frame.found_index = Some(index);
            }
        }
        if self.layout.found.len() >= MAX_VALUES {
            self.overflow = true;
            return Ok(false);
        }
        self.layout.found.push(Found {
            target: terminal.target,
            row,
            value: start..start,
            kind,
            member_start,
            by_position,
            container,
            index,
            wildcards,
            misfit,
        });
        Ok(true)
    }

    fn begin_row(&mut self, set: u16, start: usize) {
        let standing = match self.nested.last_mut() {
            None => Standing::Row,
            Some(outer) => match outer.standing {
                Standing::Around => Standing::Row,
                Standing::Outer | Standing::Inner => Standing::Inner,
                Standing::Row if outer.has_value => {
                    outer.standing = Standing::Outer;
                    Standing::Inner
                }
                Standing::Row => {
                    outer.standing = Standing::Around;
                    let from = outer.found_from;
                    self.drop_row(from);
                    Standing::Row
                }
            },
        };
        self.nested.push(Nested { depth: self.live.len(), standing, has_value: false, found_from: self.layout.found.len() });
        if standing == Standing::Row {
            self.overflow |= self.layout.rows.len() >= MAX_ROWS;
        }
        if standing == Standing::Row && !self.overflow {
            self.layout.rows.push(Row { range: start..start, set, empty: false });
            self.row_start = Some(start);
        }
    }

    /// The last row is a frame after all: neither it nor what was found in it is listed.
    fn drop_row(&mut self, found_from: usize) {
        let row = u32::try_from(self.layout.rows.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.layout.rows.pop();
        for found in self.layout.found.iter_mut().skip(found_from).filter(|found| found.row == Some(row)) {
            found.target = DROPPED;
            self.dropped = true;
        }
        let found = &self.layout.found;
        let mut gone = Vec::new();
        for (place, index) in self.opened.iter().enumerate() {
            if found.get(*index).is_none_or(|found| found.target == DROPPED) {
                gone.push(place);
            }
        }
        for place in gone.into_iter().rev() {
            self.opened.remove(place);
            for frame in &mut self.live {
                frame.opened_before -= usize::from(frame.opened_before > place);
                frame.opened_after -= usize::from(frame.opened_after > place);
            }
        }
        self.row_start = None;
        for frame in &mut self.live {
            frame.kept = true;
        }
    }

    /// Takes what stands before `count`, a place to cut, and forgets those bytes. Ordinals of rows and offsets start anew.
    pub(super) fn cut(&mut self, count: usize) -> Layout {
        let rows = self.layout.rows.partition_point(|row| row.range.start < count);
        let found = self.layout.found.partition_point(|found| found.member_start < count);
        let mut rest = Layout { rows: self.layout.rows.split_off(rows), found: self.layout.found.split_off(found), odd_rows: 0 };
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        for row in &mut rest.rows {
            row.range = row.range.start - count..row.range.end.saturating_sub(count);
        }
        for late in &mut rest.found {
            late.row = late.row.map(|row| row.saturating_sub(rows));
            late.member_start -= count;
            late.value = late.value.start - count..late.value.end.saturating_sub(count);
        }
        for frame in &mut self.live {
            frame.member_start = frame.member_start.saturating_sub(count);
        }
        for nested in &mut self.nested {
            nested.found_from = nested.found_from.saturating_sub(found);
        }
        for index in &mut self.opened {
            *index = index.saturating_sub(found);
        }
        self.row_start = self.row_start.map(|start| start.saturating_sub(count));
        self.anchor = self.anchor.saturating_sub(count);
        let mut layout = std::mem::replace(&mut self.layout, rest);
        if self.dropped {
            layout.found.retain(|found| found.target != DROPPED);
            self.dropped = self.layout.found.iter().any(|found| found.target == DROPPED);
        }
        layout
    }
}

/// What all nodes of a place say together.
#[derive(Default)]
struct Place<'a> {
    row: Option<u16>,
    rows_in_object: bool,
    rows_in_array: bool,
    needs_object: Option<&'a Terminal>,
    needs_array: Option<&'a Terminal>,
    goes_in: bool,
}

fn min(a: Option<u16>, b: Option<u16>) -> Option<u16> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => a.or(b),
    }
}

fn first<'a>(a: Option<&'a Terminal>, b: Option<&'a Terminal>) -> Option<&'a Terminal> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.target < a.target { b } else { a }),
        _ => a.or(b),
    }
}
