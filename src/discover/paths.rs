//! The paths of many documents and, for each, how many of its values bear which sign. Memory is bounded, whatever the documents are.
//!
//! Array elements of one array are one path (`[*]`). Members are paths of their own, but where names are data: an object with very many
//! different names is a map, and a name that itself looks like a value (an e-mail address, a number) is never kept; both become `.*`.
//! Always holds: nothing of a value is kept, and at most [`MAX_PATHS`] paths are; what did not fit is counted.

use std::collections::HashMap;

use super::signs::{self, SIGNS, Sign, Signs};
use crate::document::{elements, is_one_value, members, unescape};

/// Most paths that are counted.
pub const MAX_PATHS: usize = 4096;
/// An object with more names than this is a map.
const MAX_MEMBERS: usize = 256;
/// Longest name that is kept, in bytes.
const MAX_NAME: usize = 64;
/// With so many names, of which each is rare, an object is a map.
const MANY_NAMES: usize = 20;

/// What was seen at one path.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Texts and numbers that were looked at; empty texts are not.
    pub(super) values: u64,
    /// How many of them were numbers.
    pub(super) numbers: u64,
    /// How many objects and arrays stood there.
    pub(super) containers: u64,
    /// How many bore each sign.
    pub(super) signs: [u64; SIGNS],
    /// Decades that dates were of, as bits.
    pub(super) decades: u32,
}

impl Counts {
    /// How many bore this sign.
    pub(super) fn of(&self, sign: Sign) -> u64 {
        self.signs.get(sign.index()).copied().unwrap_or(0)
    }

    fn add(&mut self, signs: Signs) {
        self.values += 1;
        self.decades |= signs.decade;
        for at in signs.indexes() {
            self.signs.get_mut(at).into_iter().for_each(|count| *count += 1);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.values += other.values;
        self.numbers += other.numbers;
        self.containers += other.containers;
        self.decades |= other.decades;
        self.signs.iter_mut().zip(other.signs).for_each(|(count, more)| *count += more);
    }
}

/// A value's place, and what stands below it.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// What was seen here.
    pub(super) counts: Counts,
    /// Members by name, in the order in which they came.
    pub(super) members: Vec<(Box<str>, Node)>,
    index: HashMap<Box<str>, usize>,
    /// Members whose names are data.
    pub(super) any_member: Option<Box<Node>>,
    /// Elements.
    pub(super) elements: Option<Box<Node>>,
    /// How often a member stood here.
    occurrences: u64,
    /// All names are data.
    is_map: bool,
}

/// The paths of the documents seen so far.
#[derive(Debug, Default)]
pub struct Paths {
    /// The document.
    pub(super) root: Node,
    /// How many documents.
    pub documents: u64,
    /// Values that stood at paths there was no room for.
    pub left_out: u64,
    nodes: usize,
}

/// The text is not one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotADocument;

impl Paths {
    /// Looks at one document.
    ///
    /// # Errors
    ///
    /// [`NotADocument`] for what is not one JSON object by the rules of [`crate::document`]; nothing of it is counted.
    pub fn add(&mut self, document: &[u8]) -> Result<(), NotADocument> {
        let document = document.trim_ascii();
        if document.first() != Some(&b'{') || !is_one_value(document) {
            return Err(NotADocument);
        }
        self.documents += 1;
        let Self { root, nodes, left_out, .. } = self;
        Room { nodes, left_out }.visit(root, document, 0..document.len());
        Ok(())
    }

    /// Does a member of this name stand at the top of some document? Names that are data are not kept, so not found.
    pub fn has_at_top(&self, name: &str) -> bool {
        self.root.index.contains_key(name)
    }

    /// Makes maps of the objects whose names turned out to be data. Called once, at the end.
    pub fn settle(&mut self) {
        settle(&mut self.root);
    }
}

struct Room<'p> {
    nodes: &'p mut usize,
    left_out: &'p mut u64,
}

impl Room<'_> {
    /// Goes down a value of a document that was walked, so no deeper than [`crate::base::limits::MAX_JSON_DEPTH`].
    fn visit(&mut self, node: &mut Node, text: &[u8], span: std::ops::Range<usize>) {
        match text.get(span.start) {
            Some(b'{') => {
                node.counts.containers += 1;
                for member in members(text, span) {
                    node.occurrences += 1;
                    match self.child(node, &member.name) {
                        Some(child) => self.visit(child, text, member.value),
                        None => *self.left_out += 1,
                    }
                }
            }
            Some(b'[') => {
                node.counts.containers += 1;
                let pair = is_pair(text, span.clone());
                if pair {
                    node.counts.add(signs::of_text("0.001,0.001"));
                }
                if node.elements.is_none() {
                    if *self.nodes >= MAX_PATHS {
                        *self.left_out += 1;
                        return;
                    }
                    *self.nodes += 1;
                }
                let below = node.elements.get_or_insert_with(Box::default);
                for element in elements(text, span) {
                    self.visit(below, text, element);
                }
            }
            Some(b'"') => {
                let text = text.get(span).and_then(unescape).unwrap_or_default();
                if !text.trim().is_empty() {
                    node.counts.add(signs::of_text(&text));
                }
            }
            Some(b'-' | b'0'..=b'9') => {
                let text = text.get(span).and_then(|number| std::str::from_utf8(number).ok()).unwrap_or("");
                node.counts.add(signs::of_number(text));
                node.counts.numbers += 1;
            }
            _ => {}
        }
    }

    /// Where the values of a member are counted; None if there is no room.
    fn child<'n>(&mut self, node: &'n mut Node, name: &str) -> Option<&'n mut Node> {
        if !node.index.contains_key(name) {
            if node.members.len() >= MAX_MEMBERS {
                node.fold();
            }
            let is_data = name.len() > MAX_NAME || is_value(name) || node.is_map;
            if is_data && node.any_member.is_some() {
                return node.any_member.as_deref_mut();
            }
            if *self.nodes >= MAX_PATHS {
                return None;
            }
            *self.nodes += 1;
            if is_data {
                return Some(node.any_member.get_or_insert_default());
            }
            node.index.insert(name.into(), node.members.len());
            node.members.push((name.into(), Node::default()));
        }
        let at = node.index.get(name)?;
        node.members.get_mut(*at).map(|(_, child)| child)
    }
}

/// Would a member's name be personal data as a value? Then it is not kept, and never shown.
pub(super) fn is_value(name: &str) -> bool {
    let signs = signs::of_text(name);
    let telling = [
        Sign::Email,
        Sign::PhoneInternational,
        Sign::PhoneNational,
        Sign::PhoneDigits,
        Sign::Card,
        Sign::Iban,
        Sign::ResidentId,
        Sign::CheckedId,
        Sign::ShapedId,
        Sign::Ip,
        Sign::Mac,
        Sign::Uuid,
        Sign::Degrees,
        Sign::DegreePair,
        Sign::Address,
        Sign::Date,
    ];
    let named = name.contains(' ') && signs.has(Sign::NameShape) && signs.has(Sign::NameKnown) && super::telling(name).is_none();
    let number = !name.is_empty() && name.chars().all(|c| !c.is_alphabetic());
    named || number || telling.into_iter().any(|sign| signs.has(sign))
}

/// Two degrees in an array, as in GeoJSON; a third number is a height.
fn is_pair(text: &[u8], span: std::ops::Range<usize>) -> bool {
    let mut count = 0;
    for element in elements(text, span).take(4) {
        let number = text.get(element).and_then(|number| std::str::from_utf8(number).ok()).unwrap_or("");
        if count < 2 && !super::contact::is_degrees(number) {
            return false;
        }
        count += 1;
    }
    (2..=3).contains(&count)
}

impl Node {
    /// All members become one.
    fn fold(&mut self) {
        self.is_map = true;
        self.index.clear();
        let mut any = self.any_member.take().unwrap_or_default();
        for (_, member) in std::mem::take(&mut self.members) {
            any.merge(member);
        }
        self.any_member = Some(any);
    }

    fn merge(&mut self, other: Self) {
        if other.is_map && !self.is_map {
            self.fold();
        }
        self.counts.merge(&other.counts);
        self.occurrences += other.occurrences;
        for (name, member) in other.members {
            if let Some((_, there)) = self.index.get(&name).and_then(|at| self.members.get_mut(*at)) {
                there.merge(member);
            } else if self.is_map {
                self.any_member.get_or_insert_default().merge(member);
            } else {
                self.index.insert(name.clone(), self.members.len());
                self.members.push((name, member));
                if self.members.len() > MAX_MEMBERS {
                    self.fold();
                }
            }
        }
        for (mine, theirs) in [(&mut self.any_member, other.any_member), (&mut self.elements, other.elements)] {
            if let Some(theirs) = theirs {
                mine.get_or_insert_default().merge(*theirs);
            }
        }
    }
}

fn settle(node: &mut Node) {
    let names = u64::try_from(node.members.len()).unwrap_or(u64::MAX);
    // Each name stands in fewer than one object in twenty.
    let rare = node.members.len() >= MANY_NAMES && node.occurrences < names.saturating_mul(node.counts.containers) / 20;
    let mixed = node.any_member.as_ref().is_some_and(|any| {
        let data = any.counts.values + any.counts.containers;
        data.saturating_mul(10) > node.occurrences
    });
    if rare || mixed && !node.members.is_empty() {
        node.fold();
    } else if !node.members.is_empty() {
        // A few names among many that looked like values: a selector could not name them without naming the others.
        node.any_member = None;
    }
    let below = node.members.iter_mut().map(|(_, member)| member);
    let wild = [node.any_member.as_deref_mut(), node.elements.as_deref_mut()];
    below.chain(wild.into_iter().flatten()).for_each(settle);
}
