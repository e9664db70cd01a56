//! JSON as serde_json reads it, with the place of every value: what the walker is compared with.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value and where it stands.
pub struct Node {
    /// Its JSON text, in bytes of the body.
    pub span: Range<usize>,
    pub kids: Kids,
}

pub enum Kids {
    None,
    Elements(Vec<Node>),
    Members(Vec<(String, Node)>),
}

/// The members of an object in order, also those that stand twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The tree of `body`; None if serde_json does not accept it as a `Value`.
pub fn parse(body: &[u8]) -> Option<Node> {
    serde_json::from_slice::<serde_json::Value>(body).ok()?;
    let text = std::str::from_utf8(body).ok()?;
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    Some(Node::of(raw, text))
}

impl Node {
    fn of(raw: &RawValue, body: &str) -> Self {
        let text = raw.get();
        let start = text.as_ptr() as usize - body.as_ptr() as usize;
        let kids = match text.as_bytes()[0] {
            b'{' => {
                let Members(members) = serde_json::from_str(text).unwrap();
                Kids::Members(members.into_iter().map(|(name, raw)| (name, Node::of(raw, body))).collect())
            }
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).unwrap();
                Kids::Elements(elements.into_iter().map(|raw| Node::of(raw, body)).collect())
            }
            _ => Kids::None,
        };
        Node { span: start..start + text.len(), kids }
    }

    pub fn text<'b>(&self, body: &'b [u8]) -> &'b [u8] {
        &body[self.span.clone()]
    }

    pub fn is_object(&self) -> bool {
        matches!(self.kids, Kids::Members(_))
    }

    /// True if a name stands twice in some object.
    pub fn has_duplicates(&self) -> bool {
        match &self.kids {
            Kids::None => false,
            Kids::Elements(elements) => elements.iter().any(Node::has_duplicates),
            Kids::Members(members) => {
                let mut names = HashSet::new();
                members.iter().any(|(name, node)| !names.insert(name) || node.has_duplicates())
            }
        }
    }

    /// All values that `path` leads to.
    pub fn at(&self, path: &Path) -> Vec<&Node> {
        path.0.iter().fold(vec![self], |nodes, step| nodes.into_iter().flat_map(|node| node.step(step)).collect())
    }

    fn step(&self, step: &Step) -> Vec<&Node> {
        match (&self.kids, step) {
            (Kids::Members(members), Step::Member(wanted)) => {
                members.iter().filter(|(name, _)| name == wanted).map(|(_, node)| node).collect()
            }
            (Kids::Members(members), Step::AnyMember) => members.iter().map(|(_, node)| node).collect(),
            (Kids::Elements(elements), Step::Element(n)) => elements.get(*n).into_iter().collect(),
            (Kids::Elements(elements), Step::AnyElement) => elements.iter().collect(),
            _ => vec![],
        }
    }
}

/// A selector, read by other code than the proxy's.
pub struct Path(Vec<Step>);

enum Step {
    Member(String),
    AnyMember,
    Element(usize),
    AnyElement,
}

impl Path {
    /// Reads a selector that the proxy accepted.
    pub fn parse(selector: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = selector.strip_prefix('$').unwrap();
        while !rest.is_empty() {
            let (step, more) = if let Some(more) = rest.strip_prefix(".*") {
                (Step::AnyMember, more)
            } else if let Some(more) = rest.strip_prefix("[*]") {
                (Step::AnyElement, more)
            } else if let Some(more) = rest.strip_prefix('.') {
                let end = more.find(['.', '[']).unwrap_or(more.len());
                (Step::Member(more[..end].to_owned()), &more[end..])
            } else if rest.starts_with("[\"") {
                let mut names = serde_json::Deserializer::from_str(&rest[1..]).into_iter::<String>();
                let name = names.next().unwrap().unwrap();
                (Step::Member(name), rest[1 + names.byte_offset()..].strip_prefix(']').unwrap())
            } else {
                let (index, more) = rest.strip_prefix('[').unwrap().split_once(']').unwrap();
                (Step::Element(index.parse().unwrap()), more)
            };
            steps.push(step);
            rest = more;
        }
        Path(steps)
    }
}

/// The places of all values of `field` in all documents at `rows`. A place where documents may stand counts whether or not others stand in it.
pub fn places<'n>(root: &'n Node, rows: &[Path], field: &Path) -> Vec<&'n Node> {
    let documents = rows.iter().flat_map(|row| root.at(row)).filter(|row| row.is_object());
    let mut found: Vec<&Node> = documents.flat_map(|row| row.at(field)).collect();
    found.sort_by_key(|node| (node.span.start, node.span.end));
    found.dedup_by_key(|node| node.span.clone());
    found
}

/// True if both trees are the same but for the values at `marked_a` and `marked_b`, which may be anything or gone.
pub fn same_but(a: (&Node, &[u8], &[Range<usize>]), b: (&Node, &[u8], &[Range<usize>])) -> bool {
    let ((a, body_a, marked_a), (b, body_b, marked_b)) = (a, b);
    if marked_a.contains(&a.span) && marked_b.contains(&b.span) {
        return true;
    }
    let recurse = |a: &Node, b: &Node| same_but((a, body_a, marked_a), (b, body_b, marked_b));
    match (&a.kids, &b.kids) {
        (Kids::None, Kids::None) => a.text(body_a) == b.text(body_b),
        (Kids::Elements(a), Kids::Elements(b)) => {
            let a: Vec<_> = a.iter().filter(|node| !marked_a.contains(&node.span)).collect();
            let b: Vec<_> = b.iter().filter(|node| !marked_b.contains(&node.span)).collect();
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| recurse(a, b))
        }
        (Kids::Members(a), Kids::Members(b)) => {
            let a: Vec<_> = a.iter().filter(|(_, node)| !marked_a.contains(&node.span)).collect();
            let b: Vec<_> = b.iter().filter(|(_, node)| !marked_b.contains(&node.span)).collect();
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && recurse(&a.1, &b.1))
        }
        _ => false,
    }
}
