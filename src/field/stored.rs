//! What is stored, read back by the proxy before a write replaces it in part.
//!
//! Always holds: what the database answers is walked by the same rules as a reply; nothing of it is opened here, and nothing of it leaves
//! but the sealed bytes that a write carries over. `exchange` reads it, [`super::protect_over`] compares a write with it.

use bytes::Bytes;

use super::ids::Ids;
use super::plan::{Collection, Meaning, Plan, facts};
use super::tokens::Tokens;
use crate::base::RecordId;
use crate::document::{BodyFacts, Duplicates, Found, Layout, Rules, WalkError, walk};

/// An answer of the database that holds documents.
pub struct Stored<'a> {
    plan: &'a Plan,
    bytes: Bytes,
    layout: Layout,
    ids: Ids,
}

/// Without the bytes (T13).
impl std::fmt::Debug for Stored<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("bytes", &self.bytes.len()).field("rows", &self.layout.rows.len()).finish_non_exhaustive()
    }
}

impl<'a> Stored<'a> {
    /// Reads an answer; `plan` says where documents stand in it. `url_id` is the id of the document at `$`, if one was asked for by URL.
    ///
    /// # Errors
    ///
    /// It is not JSON by the rules for replies, or a name stands twice in any of its objects: two documents cannot be compared while
    /// one of them can be read in two ways (T7).
    pub fn read(plan: &'a Plan, bytes: Bytes, url_id: Option<&RecordId>) -> Result<Self, WalkError> {
        let rules = Rules { duplicates: Duplicates::RefuseEverywhere, ..Rules::reply() };
        let layout = walk(&plan.map, rules, &bytes)?;
        let ids = Ids::of_reply(plan, &bytes, &layout, url_id);
        Ok(Self { plan, bytes, layout, ids })
    }

    /// How many documents there are.
    pub fn rows(&self) -> usize {
        self.layout.rows.len()
    }

    /// What the dialect reads of them.
    pub fn facts(&self) -> BodyFacts<'_> {
        facts(self.plan, &self.bytes, &self.layout)
    }

    /// One of the documents; None if there are not that many.
    pub fn row(&self, index: usize) -> Option<StoredRow<'_>> {
        self.layout.rows.get(index)?;
        Some(StoredRow { stored: self, index })
    }
}

/// The document that a row of a write replaces.
#[derive(Debug, Clone, Copy)]
pub struct StoredRow<'a> {
    stored: &'a Stored<'a>,
    index: usize,
}

impl<'a> StoredRow<'a> {
    /// Who the document is about, if it says so.
    pub fn subject(&self, collection: &Collection) -> Option<&'a RecordId> {
        self.stored.ids.row(self.index)?.about(collection)?.as_ref().ok()
    }

    /// Its number among the documents that were read.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn plan(&self) -> &'a Plan {
        self.stored.plan
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        &self.stored.bytes
    }

    pub(super) fn ids(&self) -> &'a Ids {
        &self.stored.ids
    }

    /// From its `{` to its `}`.
    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.stored.layout.rows.get(self.index).map_or(0..0, |row| row.range.clone())
    }

    /// What was found inside `span` of the document.
    pub(super) fn found_in(&self, span: &std::ops::Range<usize>) -> &'a [Found] {
        found_in(&self.stored.layout, span)
    }

    /// The value of a field that stands at an offset.
    pub(super) fn value_at(&self, start: usize, field: usize) -> Option<&'a Found> {
        value_at(self.stored.plan, &self.stored.layout, start, field).map(|(_, found)| found)
    }
}

/// The documents that rows of a write replace, and the time they are looked at.
#[derive(Debug, Default)]
pub struct Before<'a> {
    /// `rows[i]` belongs to `layout.rows[i]`; None, or no such row: not read.
    pub rows: Vec<Option<StoredRow<'a>>>,
    /// Milliseconds since 1970, for levels that depend on the day.
    pub now_ms: u64,
    /// What the vault knows. Without, a collection with token fields takes no value for them.
    pub tokens: Option<&'a Tokens>,
}

/// What was found inside a span of the body, in order.
pub(super) fn found_in<'l>(layout: &'l Layout, span: &std::ops::Range<usize>) -> &'l [Found] {
    let from = layout.found.partition_point(|found| found.value.start < span.start);
    let to = layout.found.partition_point(|found| found.value.start < span.end);
    layout.found.get(from..to).unwrap_or_default()
}

/// The value of a field that stands at an offset, and its index in the layout.
pub(super) fn value_at<'l>(plan: &Plan, layout: &'l Layout, start: usize, field: usize) -> Option<(usize, &'l Found)> {
    let from = layout.found.partition_point(|found| found.value.start < start);
    let here = layout.found.iter().enumerate().skip(from).take_while(|(_, found)| found.value.start == start);
    here.into_iter().find(|(_, found)| plan.meaning(found) == Some(Meaning::Field(field)))
}
