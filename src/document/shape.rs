//! The names of the last object at each level, to foresee those of the next one.
//!
//! The objects of a list mostly have the same names in the same order. As long as an object begins with the very bytes of the one before,
//! its names need not be read, compared with one another or looked up again: that was done. At the first difference the ordinary way takes
//! over. `names` keeps and asks these; a shape says nothing about values.

use super::map::NodeId;

/// Most names of a shape. Below the number from which an object's names are kept in a set.
const MAX_NAMES: usize = 48;
/// Longest name of a shape, in bytes with its quotes and colon.
const MAX_NAME_BYTES: usize = 64;
/// Most bytes compared in one go.
const BLOCK: usize = 16;

/// What is known of a name that was foreseen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foreseen {
    /// Its bytes, from the quote on: the name in its quotes and, if `colon`, the colon.
    pub(super) length: usize,
    /// Its fingerprint.
    pub(super) print: u32,
    /// Something may be found at the member's value.
    pub(super) hot: bool,
    /// The colon follows at once.
    pub(super) colon: bool,
}

#[derive(Debug)]
struct Name {
    /// The first bytes, and which bits of them count.
    head: u128,
    mask: u128,
    /// What is longer than a block, else empty.
    text: Box<[u8]>,
    known: Foreseen,
}

/// Of one level of nesting: the names of the last object, in order, none of them escaped, all different.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// What the map looks for in objects of this shape.
    nodes: Vec<NodeId>,
    names: Vec<Name>,
    /// How many such objects have begun.
    objects: u32,
}

impl Shape {
    /// An object begins. What was learned from one in which other things are looked for is forgotten. True if it is worth while to go on: from
    /// the second object on.
    #[inline]
    pub(super) fn begin(&mut self, nodes: &[NodeId]) -> bool {
        if self.nodes == nodes {
            self.objects = self.objects.saturating_add(1);
        } else {
            self.nodes.clear();
            self.nodes.extend_from_slice(nodes);
            self.names.clear();
            self.objects = 1;
        }
        self.objects > 1
    }

    /// The name with ordinal `index`, if it stands at `at` in `buf` as it stood in the last object and all before it did.
    #[inline]
    pub(super) fn foresee(&mut self, buf: &[u8], at: usize, index: usize) -> Option<Foreseen> {
        let name = self.names.get(index)?;
        let rest = buf.get(at..).unwrap_or_default();
        let same = match rest.first_chunk::<BLOCK>() {
            Some(block) => {
                (u128::from_le_bytes(*block) ^ name.head) & name.mask == 0
                    && (name.text.is_empty() || rest.starts_with(&name.text))
            }
            None => false,
        };
        if same {
            return Some(name.known);
        }
        self.names.truncate(index);
        None
    }

    /// Learns the name with ordinal `index`, which stands at `at` in `buf`, is not escaped and stood in no place before. Names that do not
    /// follow on what is known already are left out.
    #[inline(never)]
    pub(super) fn learn(&mut self, buf: &[u8], at: usize, index: usize, mut known: Foreseen) {
        if index != self.names.len() || index >= MAX_NAMES || known.length >= MAX_NAME_BYTES {
            return;
        }
        known.colon = buf.get(at + known.length) == Some(&b':');
        known.length += usize::from(known.colon);
        let Some(bytes) = buf.get(at..at + known.length) else {
            return;
        };
        let (mut head, mut mask) = ([0; BLOCK], [0; BLOCK]);
        for ((head, mask), byte) in head.iter_mut().zip(&mut mask).zip(bytes) {
            (*head, *mask) = (*byte, 0xff);
        }
        let text = if bytes.len() > BLOCK { bytes.into() } else { Box::default() };
        self.names.push(Name { head: u128::from_le_bytes(head), mask: u128::from_le_bytes(mask), text, known });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_foreseen_up_to_the_first_difference() {
        let known = |length| Foreseen { length, print: 7, hot: false, colon: false };
        let first = br#""a":1,"b" :2,"a name of some length":3 and more bytes"#;
        let mut shape = Shape::default();
        assert!(!shape.begin(&[3]) && shape.begin(&[3]));
        for (index, (at, length)) in [(0, 3), (6, 3), (13, 23)].into_iter().enumerate() {
            assert!(shape.foresee(first, at, index).is_none());
            shape.learn(first, at, index, known(length));
        }
        let lengths = |shape: &mut Shape, buf: &[u8]| {
            [0, 6, 13]
                .into_iter()
                .enumerate()
                .map_while(|(index, at)| shape.foresee(buf, at, index))
                .map(|name| name.length)
                .collect::<Vec<_>>()
        };
        assert!(shape.begin(&[3]));
        assert_eq!(lengths(&mut shape, first), [4, 3, 24]);
        assert_eq!(lengths(&mut shape, br#""a":1,"b" :2,"a name of some lengtH":3 and more bytes"#), [4, 3]);
        assert_eq!(lengths(&mut shape, first), [4, 3]);
        // Not all there yet: the ordinary way.
        assert_eq!(lengths(&mut shape, &first[..17]), [4]);
        assert!(!shape.begin(&[4]));
        assert_eq!(lengths(&mut shape, first), [0; 0]);
    }
}
