//! Upkeep of one collection that can be listed as the embedded store does it: `?limit=` and `?after=`, in the order of the ids.

use serde::Deserialize;

use super::super::sweep::{Outcome, Sweep, WriteBack};
use super::super::{Ask, head};
use crate::base::encode_segment;
use crate::document::{RowSet, Selector};

/// One collection.
#[derive(Debug)]
pub(super) struct Collection {
    path: String,
    list: RowSet,
    one: RowSet,
}

impl Collection {
    /// `None` only if our own selectors were wrong.
    pub(super) fn new(path: String) -> Option<Self> {
        let rows = |text| Some(RowSet { rows: vec![Selector::parse(text).ok()?], ..RowSet::default() });
        Some(Self { path, list: rows("$[*]")?, one: rows("$")? })
    }
}

impl Sweep for Collection {
    fn page_rows(&self) -> &RowSet {
        &self.list
    }

    fn page(&self, after: Option<&str>, limit: usize) -> Ask {
        let after = after.map_or_else(String::new, |id| format!("&after={}", encode_segment(id)));
        let target = format!("{}?limit={limit}{after}", self.path);
        Ask { method: http::Method::GET, target, set_headers: vec![head::json_accept()], body: Vec::new() }
    }

    fn ids(&self, page: &[u8]) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct Row {
            id: serde_json::Value,
        }
        let rows: Vec<Row> = serde_json::from_slice(page).ok()?;
        let text = |row: Row| match row.id {
            serde_json::Value::String(id) => Some(id),
            serde_json::Value::Number(id) => Some(id.to_string()),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                None
            }
        };
        rows.into_iter().map(text).collect()
    }

    fn total(&self) -> Option<Ask> {
        None
    }

    fn read_total(&self, _answer: &[u8]) -> Option<u64> {
        None
    }

    fn is_document(&self, _id: &str) -> bool {
        true
    }

    fn write_back(&self) -> WriteBack {
        WriteBack::Each { collection: self.path.clone(), rows: self.one.clone() }
    }

    fn outcomes(&self, _answer: &[u8]) -> Option<Vec<Outcome>> {
        None
    }
}
