//! How a whole collection is read page by page and written back while clients go on, for upkeep. Pure.
//!
//! Always holds: pages come in the order of ids, each from after the last id of the one before; a document is written back only on the
//! revision that was read (the database's own compare-and-swap), so a newer one is never overwritten.
//!
//! `sweep` asks and writes; [`super::Dialect::sweep`] gives one.

use std::fmt;

use super::Ask;
use crate::document::RowSet;

/// One collection, as upkeep goes through it.
pub trait Sweep: fmt::Debug + Send + Sync {
    /// Where documents stand in a page. What it peeks at in a row is what the database adds to its answer; it is not written back.
    fn page_rows(&self) -> &RowSet;

    /// Asks for at most `limit` documents after an id.
    fn page(&self, after: Option<&str>, limit: usize) -> Ask;

    /// The ids of a page, one for each of its entries, those without a document too. `None` if it is no page.
    fn ids(&self, page: &[u8]) -> Option<Vec<String>>;

    /// Asks for one revision of a document, where the database keeps several; those that the rows of a page peek at name them.
    fn revision(&self, _id: &str, _revision: &str) -> Option<Ask> {
        None
    }

    /// Asks how many documents there are, where that is cheap to know.
    fn total(&self) -> Option<Ask>;

    /// Reads the answer to [`Self::total`].
    fn read_total(&self, answer: &[u8]) -> Option<u64>;

    /// False for what only looks like a document of the collection (design documents) and is left alone.
    fn is_document(&self, id: &str) -> bool;

    /// How documents are written back.
    fn write_back(&self) -> WriteBack;

    /// What became of each document of a [`WriteBack::Bulk`]; `None` if the answer does not say.
    fn outcomes(&self, answer: &[u8]) -> Option<Vec<Outcome>>;
}

/// How documents are written back.
#[derive(Debug, Clone)]
pub enum WriteBack {
    /// Many at once, each with its revision in it.
    Bulk {
        /// Path, escaped. POST.
        target: String,
        /// Stands before the documents ...
        open: &'static str,
        /// ... and after them.
        close: &'static str,
    },
    /// One by one: read with its `ETag`, written (PUT) with `If-Match`.
    Each {
        /// Path of the collection; a document is one segment below.
        collection: String,
        /// Where the document stands in the answer.
        rows: RowSet,
    },
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Written,
    /// Somebody was faster: there is a newer revision.
    Conflict,
    /// The database does not want it.
    Refused {
        /// Which document.
        id: String,
    },
}
