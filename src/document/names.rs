//! The member names of the objects that are open, to refuse a name that stands twice (T7).
//!
//! Names are compared unescaped, byte for byte. Small objects are compared by a fingerprint in a flat list, without allocation; larger
//! ones get a set under a random key, so that nobody can choose names that collide. Of names that were already handed out with a window
//! a copy is kept. The walker calls this for every object whose names must differ.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::map::NodeId;
use super::shape::{Foreseen, Shape};
use super::text::unescape_inner;

/// Up to this many names an object is searched one by one.
const SMALL: usize = 64;
/// A set of more places than this is not kept for reuse: to clear it costs as much as it is large.
const REUSED_PLACES: usize = 4096;

/// Where the text of a name stands, without its quotes.
type Spot = (usize, usize);

/// A name of an open object.
#[derive(Debug)]
struct Entry {
    print: u32,
    spot: Spot,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    /// The names of all open objects, outermost first.
    entries: Vec<Entry>,
    /// Where in that list each open object starts, and what the fields below were for the object around it.
    starts: Vec<(usize, u64, bool)>,
    /// One bit for each fingerprint in the innermost object; see [`bit_of`].
    mask: u64,
    /// The innermost object may have the names of the one before.
    foreseeable: bool,
    /// The texts of the entries before this one are in `kept`, unescaped; the others are in the buffer.
    kept_entries: usize,
    kept: Vec<u8>,
    /// Sets of the open objects that are large, with their level: from the name's hash to its index.
    large: Vec<(usize, HashMap<u64, usize>)>,
    spare: Option<HashMap<u64, usize>>,
    hasher: Option<RandomState>,
    /// By level of nesting among the objects whose names are compared.
    shapes: Vec<Shape>,
}

/// So many names at a time in open objects are kept without a list that grows.
const USUAL: usize = 40;

impl Names {
    /// With room for what most bodies have.
    pub(super) fn roomy() -> Self {
        Self { entries: Vec::with_capacity(USUAL), starts: Vec::with_capacity(8), ..Self::default() }
    }

    /// An object begins. `element_of` is given if it is an element of an array that may hold many of its kind: what the map looks for in it.
    #[inline]
    pub(super) fn open(&mut self, element_of: Option<&[NodeId]>) {
        let level = self.starts.len();
        self.starts.push((self.entries.len(), std::mem::take(&mut self.mask), self.foreseeable));
        self.foreseeable = element_of.is_some_and(|nodes| {
            if self.shapes.len() <= level {
                self.shapes.resize_with(level + 1, Shape::default);
            }
            self.shapes.get_mut(level).is_some_and(|shape| shape.begin(nodes))
        });
    }

    /// The name that starts at `at`, if it is the one that is expected there. Then it is added.
    #[inline]
    pub(super) fn foresee(&mut self, buf: &[u8], at: usize) -> Option<Foreseen> {
        if !self.foreseeable {
            return None;
        }
        let (start, ..) = self.starts.last()?;
        let index = self.entries.len().saturating_sub(*start);
        let name = self.shapes.get_mut(self.starts.len().saturating_sub(1))?.foresee(buf, at, index)?;
        self.mask |= bit_of(name.print);
        let spot = (at + 1, at + name.length - 1 - usize::from(name.colon));
        self.entries.push(Entry { print: name.print, spot });
        Some(name)
    }

    /// Remembers the name that was added last, as one that may be foreseen. It starts at `at` and is not escaped.
    #[inline]
    pub(super) fn learn(&mut self, buf: &[u8], at: usize, name: Foreseen) {
        if self.foreseeable {
            let (start, ..) = self.starts.last().copied().unwrap_or_default();
            let index = self.entries.len().saturating_sub(start + 1);
            if let Some(shape) = self.shapes.get_mut(self.starts.len().saturating_sub(1)) {
                shape.learn(buf, at, index, name);
            }
        }
    }

    /// The innermost object ends.
    #[inline]
    pub(super) fn close(&mut self) {
        if self.large.last().is_some_and(|(level, _)| *level == self.starts.len()) {
            self.spare = self.large.pop().map(|(_, set)| set).filter(|set| set.capacity() <= REUSED_PLACES);
        }
        let start;
        (start, self.mask, self.foreseeable) = self.starts.pop().unwrap_or_default();
        self.entries.truncate(start);
        if self.kept_entries > start {
            self.kept_entries = start;
            self.kept.truncate(start.checked_sub(1).and_then(|last| self.entries.get(last)).map_or(0, |entry| entry.spot.1));
        }
    }

    /// Adds a name to the innermost object. `name` is its text, unescaped, and stands (perhaps escaped) at `spot` in `buf`.
    /// False if the object has that name already.
    #[inline]
    pub(super) fn add(&mut self, buf: &[u8], name: &[u8], print: u32, spot: Spot) -> bool {
        let bit = bit_of(print);
        let fresh = self.mask & bit == 0 || self.is_fresh(buf, name, print);
        self.mask |= bit;
        self.entries.push(Entry { print, spot });
        fresh
    }

    /// The first `count` bytes of the buffer go away.
    pub(super) fn shift(&mut self, buf: &[u8], count: usize) {
        let gone = self.entries.iter().skip(self.kept_entries).take_while(|entry| entry.spot.0 < count).count();
        for Entry { spot, .. } in self.entries.iter_mut().skip(self.kept_entries).take(gone) {
            let start = self.kept.len();
            self.kept.extend_from_slice(&unescaped(buf.get(spot.0..spot.1).unwrap_or_default()));
            *spot = (start, self.kept.len());
        }
        self.kept_entries += gone;
        for Entry { spot, .. } in self.entries.iter_mut().skip(self.kept_entries) {
            *spot = (spot.0.saturating_sub(count), spot.1.saturating_sub(count));
        }
    }

    /// Bytes held for names that are no longer in the buffer.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.len() + self.kept_entries * std::mem::size_of::<Entry>()
    }

    #[inline(never)]
    fn is_fresh(&mut self, buf: &[u8], name: &[u8], print: u32) -> bool {
        let (start, ..) = self.starts.last().copied().unwrap_or_default();
        let before = self.entries.get(start..).unwrap_or_default();
        if before.len() >= SMALL {
            return self.add_large(buf, name, start);
        }
        !(start..).zip(before).any(|(i, entry)| entry.print == print && *self.text(i, buf) == *name)
    }

    fn add_large(&mut self, buf: &[u8], name: &[u8], start: usize) -> bool {
        let level = self.starts.len();
        let hasher = self.hasher.get_or_insert_with(RandomState::new).clone();
        let mut set = match self.large.pop() {
            Some((its, set)) if its == level => set,
            other => {
                self.large.extend(other);
                // From now on every name of the object must come here.
                self.mask = u64::MAX;
                let mut set = self.spare.take().unwrap_or_default();
                set.clear();
                set.extend((start..self.entries.len()).map(|i| (hasher.hash_one(&*self.text(i, buf)), i)));
                set
            }
        };
        let alike = set.insert(hasher.hash_one(name), self.entries.len());
        self.large.push((level, set));
        // Equal hashes of different names do not happen; should they, all names are compared.
        alike.is_none_or(|i| *self.text(i, buf) != *name && !(start..self.entries.len()).any(|i| *self.text(i, buf) == *name))
    }

    fn text<'a>(&'a self, index: usize, buf: &'a [u8]) -> Cow<'a, [u8]> {
        let (start, end) = self.entries.get(index).map(|entry| entry.spot).unwrap_or_default();
        if index < self.kept_entries {
            return Cow::Borrowed(self.kept.get(start..end).unwrap_or_default());
        }
        unescaped(buf.get(start..end).unwrap_or_default())
    }
}

fn unescaped(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    unescape_inner(raw).map_or(Cow::Borrowed(raw), |text| Cow::Owned(text.into_bytes()))
}

/// The bit of a mask that stands for a fingerprint. A mask without it is one of names that are all different from this one.
#[inline]
pub(super) fn bit_of(print: u32) -> u64 {
    1 << (print & 63)
}

/// A quick number for a name; equal names have equal ones. Not secret and not collision-free.
pub(super) fn fingerprint(name: &[u8]) -> u32 {
    let mut padded = [0; 8];
    padded.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    let head = u64::from_le_bytes(padded);
    mixed(head, name.last_chunk::<8>().map_or(head, |tail| u64::from_le_bytes(*tail)), name.len())
}

/// The [`fingerprint`] of the name at `spot` in `buf`. Without branches on its length where eight bytes can be read at its start.
#[inline]
pub(super) fn fingerprint_at(buf: &[u8], (start, end): Spot) -> u32 {
    let length = end.saturating_sub(start);
    let word = |at: usize| buf.get(at..).and_then(<[u8]>::first_chunk::<8>).map(|chunk| u64::from_le_bytes(*chunk));
    let long = length >= 8;
    let mask = if long { u64::MAX } else { (1 << (8 * length)) - 1 };
    match (word(start), word(if long { end - 8 } else { start })) {
        (Some(head), Some(tail)) => mixed(head & mask, tail & mask, length),
        _ => fingerprint(buf.get(start..end).unwrap_or_default()),
    }
}

#[inline]
fn mixed(head: u64, tail: u64, length: usize) -> u32 {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let length = u64::try_from(length).unwrap_or(0);
    let mixed = (head ^ tail.rotate_left(29) ^ length << 56).wrapping_mul(SPREAD);
    u32::try_from(mixed >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(names: &mut Names, buf: &mut Vec<u8>, name: &str) -> bool {
        let start = buf.len();
        buf.extend_from_slice(name.as_bytes());
        let text = unescaped(name.as_bytes()).into_owned();
        names.add(buf, &text, fingerprint(&text), (start, buf.len()))
    }

    #[test]
    fn t7_equal_names_are_seen_in_small_large_and_flushed_objects() {
        for flush_every in [usize::MAX, 1, 7] {
            let (mut names, mut buf) = (Names::default(), Vec::new());
            names.open(None);
            for i in 0..300 {
                assert!(add(&mut names, &mut buf, &format!("name {i} with a common tail")), "{i}");
                // Inner objects come and go.
                names.open(None);
                assert!(
                    add(&mut names, &mut buf, "inner") && add(&mut names, &mut buf, "\\u0061") && !add(&mut names, &mut buf, "a")
                );
                if (i + 1) % flush_every == 0 {
                    names.shift(&buf, buf.len());
                    buf.clear();
                    assert!(!add(&mut names, &mut buf, "inner"));
                }
                names.close();
                if i % 29 == 3 {
                    assert!(!add(&mut names, &mut buf, "name 2 with a common tail"), "{i}");
                }
            }
            assert_eq!(names.kept_bytes() > 0, flush_every != usize::MAX);
            names.close();
            assert_eq!(names.kept_bytes(), 0);
        }
    }

    #[test]
    fn fingerprints_do_not_depend_on_where_the_name_stands() {
        let buf = b"a name of thirty-odd characters, and more";
        for (start, end) in (0..buf.len()).flat_map(|end| (0..=end).map(move |start| (start, end))) {
            assert_eq!(fingerprint_at(buf, (start, end)), fingerprint(&buf[start..end]), "{start}..{end}");
        }
    }

    #[test]
    fn names_with_equal_fingerprints_are_told_apart() {
        let (mut names, mut buf) = (Names::default(), Vec::new());
        names.open(None);
        for i in 0..200 {
            let name = format!("12345678{i:04}12345678");
            assert_eq!(fingerprint(name.as_bytes()), fingerprint(b"12345678000012345678"));
            assert!(add(&mut names, &mut buf, &name), "{i}");
        }
        assert!(!add(&mut names, &mut buf, "12345678000712345678"));
    }
}
