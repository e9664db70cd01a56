//! Where rows stand and what is looked for in them, compiled to one trie.
//!
//! Every row position and every target is a full path from the body's root. A value of the body is at a *set* of trie nodes, because `.a`
//! and `.*` can both lead to it; the walker carries the set down. Selectors that would make one value belong to two targets are refused
//! here, so the walker never has to choose.

use std::collections::HashMap;

use super::names::{bit_of, fingerprint};
use super::selector::{MAX_WILDCARDS, Selector, Step};
use super::{Role, Scope, Target};

/// Compiled: where rows stand and what is looked for in them. One trie for all.
#[derive(Debug)]
pub struct Map {
    nodes: Vec<Node>,
}

/// Why selectors cannot be compiled. Numbers are indexes into the lists given to [`Map::compile`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// Two targets, at least one of them a `Value`, can match the same value or one inside the other. `first` equals `second` when one
    /// target can match inside itself by way of two row positions.
    #[error("targets {first} and {second} can match the same value")]
    Overlap {
        /// The lower index.
        first: usize,
        /// The higher index.
        second: usize,
    },
    /// A whole document would be protected as one value.
    #[error("row position {row} lies at or inside target {target}")]
    RowInTarget {
        /// Index of the row position.
        row: usize,
        /// Index of the `Value` target.
        target: usize,
    },
    /// There are more targets or row positions than can be numbered.
    #[error("more than {max} selectors in one map")]
    TooMany {
        /// The most there may be.
        max: usize,
    },
}

/// Most targets, and most row positions, of one map.
const MAX_SELECTORS: usize = 60_000;

impl Map {
    /// Compiles row positions and targets.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: two `Value` targets that can match the same value or one inside the other; a `Peek` inside or at a `Value`
    /// target; a row position at or inside a `Value` target. `$`, `$[*]` and `$.items[*]` may all be rows; two `Peek`s may share a selector.
    pub fn compile(rows: &[Selector], targets: &[Target]) -> Result<Map, Vec<MapError>> {
        if rows.len().max(targets.len()) > MAX_SELECTORS {
            return Err(vec![MapError::TooMany { max: MAX_SELECTORS }]);
        }
        let paths = Path::all(rows, targets);
        let errors = conflicts(rows, &paths);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut map = Map { nodes: vec![Node::default()] };
        for (set, row) in (0..).zip(rows) {
            map.insert_row(set, row.steps());
        }
        for path in &paths {
            map.insert_path(path);
        }
        map.nodes.iter_mut().for_each(Node::seal);
        Ok(map)
    }

    /// A map that looks for nothing.
    pub(super) fn empty() -> Map {
        Map { nodes: vec![Node::default()] }
    }

    #[inline]
    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id)
    }

    fn insert_row(&mut self, set: u16, steps: &[Step]) {
        let mut at = ROOT;
        for step in steps {
            if let Some(node) = self.nodes.get_mut(at) {
                let leads = if step.is_into_object() { &mut node.rows_in_object } else { &mut node.rows_in_array };
                *leads = true;
            }
            at = self.child(at, step);
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.row = Some(node.row.map_or(set, |other| other.min(set)));
        }
    }

    fn insert_path(&mut self, path: &Path<'_>) {
        let terminal = path.terminal();
        let mut at = ROOT;
        for (depth, step) in path.steps.iter().enumerate() {
            // A row position itself is an object or no row at all; only below it a wrong type hides a target.
            let hides = terminal.value && terminal.row_depth.is_none_or(|row| depth > row);
            if let Some(node) = self.nodes.get_mut(at).filter(|_| hides) {
                let needs = if step.is_into_object() { &mut node.needs_object } else { &mut node.needs_array };
                if needs.is_none_or(|other| terminal.target < other.target) {
                    *needs = Some(terminal);
                }
            }
            at = self.child(at, step);
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.terminals.push(terminal);
        }
    }

    fn child(&mut self, at: NodeId, step: &Step) -> NodeId {
        let new = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else {
            return ROOT;
        };
        let child = match step {
            Step::Member(name) => known(&mut node.members, name.as_bytes().into(), new),
            Step::Element(n) => known(&mut node.elements, *n, new),
            Step::AnyMember => *node.any_member.get_or_insert(new),
            Step::AnyElement => *node.any_element.get_or_insert(new),
        };
        if child == new {
            self.nodes.push(Node::default());
        }
        child
    }
}

/// The child that `step` leads to; `new` if there was none.
fn known<T: PartialEq>(children: &mut Vec<(T, NodeId)>, step: T, new: NodeId) -> NodeId {
    let old = children.iter().find(|(other, _)| *other == step).map(|(_, child)| *child);
    old.unwrap_or_else(|| {
        children.push((step, new));
        new
    })
}

/// Index of a node; 0 is the root.
pub(super) type NodeId = usize;
pub(super) const ROOT: NodeId = 0;

/// What the selectors say about one place of a body.
#[derive(Debug, Default)]
pub(super) struct Node {
    members: Vec<(Box<[u8]>, NodeId)>,
    /// Fingerprints of `members`, in the same order.
    prints: Vec<u32>,
    /// `members` by name, where there are many.
    by_name: HashMap<Box<[u8]>, NodeId>,
    /// The [`bit_of`] all `prints`; all bits if any member leads on.
    pub(super) mask: u64,
    any_member: Option<NodeId>,
    elements: Vec<(u32, NodeId)>,
    any_element: Option<NodeId>,
    /// An object here is a row of this set.
    pub(super) row: Option<u16>,
    /// Rows stand further down, through an object or an array.
    pub(super) rows_in_object: bool,
    pub(super) rows_in_array: bool,
    /// The first `Value` target that is reached only if an object, or an array, stands here.
    pub(super) needs_object: Option<Terminal>,
    pub(super) needs_array: Option<Terminal>,
    /// What is found here.
    pub(super) terminals: Vec<Terminal>,
}

/// Above this many members a node is searched by hash.
const MANY_MEMBERS: usize = 32;

impl Node {
    fn seal(&mut self) {
        self.prints = self.members.iter().map(|(name, _)| fingerprint(name)).collect();
        self.mask =
            if self.any_member.is_some() { u64::MAX } else { self.prints.iter().fold(0, |mask, print| mask | bit_of(*print)) };
        if self.members.len() > MANY_MEMBERS {
            self.by_name = self.members.iter().cloned().collect();
        }
    }

    /// Appends the nodes that the member `name` leads to. `print` is the name's [`fingerprint`].
    #[inline]
    pub(super) fn member(&self, name: &[u8], print: u32, found: &mut Vec<NodeId>) {
        if self.by_name.is_empty() {
            for (_, (known, child)) in self.prints.iter().zip(&self.members).filter(|(known, _)| **known == print) {
                if **known == *name {
                    found.push(*child);
                }
            }
        } else if let Some(child) = self.by_name.get(name) {
            found.push(*child);
        }
        found.extend(self.any_member);
    }

    /// Appends the nodes that element `n` leads to.
    #[inline]
    pub(super) fn element(&self, n: u32, found: &mut Vec<NodeId>) {
        found.extend(self.elements.iter().filter(|(known, _)| *known == n).map(|(_, child)| *child));
        found.extend(self.any_element);
    }

    /// True if something is looked for inside an object, or an array, that stands here.
    pub(super) fn goes_into(&self, object: bool) -> bool {
        if object {
            !self.members.is_empty() || self.any_member.is_some()
        } else {
            !self.elements.is_empty() || self.any_element.is_some()
        }
    }
}

/// The end of one target's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terminal {
    pub(super) target: u16,
    /// A `Value` rather than a `Peek`.
    pub(super) value: bool,
    /// How deep the row of it lies; None for targets of the body.
    pub(super) row_depth: Option<usize>,
    /// At which depth the container stands whose ordinal each wildcard of the selector matches, in order.
    pub(super) wildcards: [Option<usize>; MAX_WILDCARDS],
    /// The last step is `[n]`.
    pub(super) by_position: bool,
}

/// A target seen from the root, by way of one row position.
struct Path<'a> {
    steps: Vec<&'a Step>,
    target: usize,
    role: Role,
    row_depth: Option<usize>,
}

impl<'a> Path<'a> {
    fn all(rows: &'a [Selector], targets: &'a [Target]) -> Vec<Path<'a>> {
        let mut paths = Vec::new();
        for (target, Target { selector, role, scope }) in targets.iter().enumerate() {
            match scope {
                Scope::Body => {
                    paths.push(Path { steps: selector.steps().iter().collect(), target, role: *role, row_depth: None });
                }
                // Rows are objects, so a path that starts with an element finds nothing in them.
                Scope::Row if selector.steps().first().is_some_and(|step| !step.is_into_object()) => {}
                Scope::Row => paths.extend(rows.iter().map(|row| Path {
                    steps: row.steps().iter().chain(selector.steps()).collect(),
                    target,
                    role: *role,
                    row_depth: Some(row.steps().len()),
                })),
            }
        }
        paths
    }

    fn terminal(&self) -> Terminal {
        let mut wildcards = [None; MAX_WILDCARDS];
        let own = self.steps.iter().enumerate().skip(self.row_depth.unwrap_or(0)).filter(|(_, step)| step.is_wildcard());
        for (slot, (depth, _)) in wildcards.iter_mut().zip(own) {
            *slot = Some(depth);
        }
        Terminal {
            target: u16::try_from(self.target).unwrap_or(u16::MAX),
            value: self.role == Role::Value,
            row_depth: self.row_depth,
            wildcards,
            by_position: matches!(self.steps.last(), Some(Step::Element(_))),
        }
    }
}

/// All pairs of selectors that can meet and must not.
fn conflicts(rows: &[Selector], paths: &[Path<'_>]) -> Vec<MapError> {
    let mut errors = Vec::new();
    for (i, path) in paths.iter().enumerate() {
        for other in paths.iter().skip(i + 1).filter(|other| clash(path, other)) {
            let (first, second) = (path.target.min(other.target), path.target.max(other.target));
            errors.push(MapError::Overlap { first, second });
        }
        if path.role == Role::Value {
            for (row, selector) in rows.iter().enumerate() {
                if selector.steps().len() >= path.steps.len() && meet(selector.steps().iter(), path.steps.iter().copied()) {
                    errors.push(MapError::RowInTarget { row, target: path.target });
                }
            }
        }
    }
    let mut distinct: Vec<MapError> = Vec::with_capacity(errors.len());
    for error in &errors {
        // A target with a row in it also meets itself, by way of that row: that is one mistake.
        let follows = matches!(error, MapError::Overlap { first, second } if first == second
            && errors.iter().any(|other| matches!(other, MapError::RowInTarget { target, .. } if target == first)));
        if !follows && !distinct.contains(error) {
            distinct.push(error.clone());
        }
    }
    distinct
}

fn clash(a: &Path<'_>, b: &Path<'_>) -> bool {
    let forbidden = match (a.role, b.role) {
        (Role::Peek, Role::Peek) => false,
        // One target by way of two row positions that name the same row is found once.
        (Role::Value, Role::Value) => a.target != b.target || a.steps.len() != b.steps.len(),
        (Role::Value, Role::Peek) => b.steps.len() >= a.steps.len(),
        (Role::Peek, Role::Value) => a.steps.len() >= b.steps.len(),
    };
    forbidden && meet(a.steps.iter().copied(), b.steps.iter().copied())
}

/// True if one path can lead to, or through, a value that the other leads to.
fn meet<'a>(a: impl Iterator<Item = &'a Step>, b: impl Iterator<Item = &'a Step>) -> bool {
    a.zip(b).all(|(a, b)| a.meets(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(rows: &[&str], values: &[&str], peeks: &[&str]) -> Result<(), Vec<MapError>> {
        let selector = |text: &&str| Selector::parse(text).unwrap();
        let rows: Vec<_> = rows.iter().map(selector).collect();
        let target = |role| move |text: &&str| Target { selector: selector(text), role, scope: Scope::Row };
        let targets: Vec<_> = values.iter().map(target(Role::Value)).chain(peeks.iter().map(target(Role::Peek))).collect();
        Map::compile(&rows, &targets).map(|_| ())
    }

    #[test]
    fn overlapping_selectors_are_refused() {
        let overlap = |first, second| Err(vec![MapError::Overlap { first, second }]);
        assert_eq!(compile(&["$"], &["$.a", "$.a"], &[]), overlap(0, 1));
        assert_eq!(compile(&["$"], &["$.a", "$.a.b"], &[]), overlap(0, 1));
        assert_eq!(compile(&["$"], &["$.*", "$.a.b"], &[]), overlap(0, 1));
        assert_eq!(compile(&["$"], &["$.a[*]", "$.a[3]"], &[]), overlap(0, 1));
        assert_eq!(compile(&["$"], &["$.*.x", "$.a.*"], &[]), overlap(0, 1));
        assert_eq!(compile(&["$"], &["$.a"], &["$.a"]), overlap(0, 1));
        assert_eq!(compile(&["$"], &["$.a"], &["$.a.b"]), overlap(0, 1));
        assert_eq!(compile(&["$", "$.x[*]"], &["$.name", "$.x[*].name"], &[]), overlap(0, 1));
    }

    #[test]
    fn disjoint_selectors_are_compiled() {
        assert_eq!(compile(&["$"], &["$.a[*]", "$.a.b", "$.b[0]", "$.b[1]"], &[]), Ok(()));
        assert_eq!(compile(&["$"], &["$.a.b"], &["$.a", "$.a", "$.a.c"]), Ok(()));
        assert_eq!(compile(&["$", "$[*]", "$.items[*]"], &["$.name", "$.phones[*]"], &["$.id"]), Ok(()));
        assert_eq!(compile(&["$.a[*]", "$.*[*]"], &["$.name"], &[]), Ok(()));
    }

    #[test]
    fn rows_in_targets_are_refused() {
        assert_eq!(compile(&["$.a"], &["$"], &[]), Err(vec![MapError::RowInTarget { row: 0, target: 0 }]));
        assert_eq!(compile(&["$", "$.items[*]"], &["$.items"], &[]), Err(vec![MapError::RowInTarget { row: 1, target: 0 }]));
        assert!(matches!(
            compile(&["$", "$.items[*]"], &["$.*"], &[]).unwrap_err()[..],
            [MapError::RowInTarget { row: 1, target: 0 }, ..]
        ));
    }

    #[test]
    fn every_mistake_is_reported_once() {
        let errors = compile(&["$", "$[*]"], &["$.a", "$.a", "$.b", "$.b.c"], &["$"]).unwrap_err();
        assert_eq!(errors, [MapError::Overlap { first: 0, second: 1 }, MapError::Overlap { first: 2, second: 3 }]);
    }
}
