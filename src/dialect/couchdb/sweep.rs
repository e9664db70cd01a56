//! Upkeep of one database: pages of `_all_docs` with their documents, written back by `_bulk_docs` on the `_rev` they came with.

use serde::Deserialize;

use super::super::sweep::{Outcome, Sweep, WriteBack};
use super::super::{Ask, head};
use crate::base::encode_segment;
use crate::document::RowSet;

/// One database.
#[derive(Debug)]
pub(super) struct Database {
    path: String,
    rows: RowSet,
}

impl Database {
    /// `None` only if our own selectors were wrong.
    pub(super) fn new(name: &str) -> Option<Self> {
        // What `conflicts=true` adds to a document is not part of it.
        let rows = RowSet {
            rows: super::selectors(&["$.rows[*].doc"]).ok()?,
            row_peeks: super::selectors(&["$._conflicts"]).ok()?,
            body_peeks: Vec::new(),
            below: None,
        };
        Some(Self { path: format!("/{}", encode_segment(name)), rows })
    }
}

impl Sweep for Database {
    fn page_rows(&self) -> &RowSet {
        &self.rows
    }

    fn page(&self, after: Option<&str>, limit: usize) -> Ask {
        // Ids are ordered by their bytes, so nothing stands between an id and the same with U+0000 at its end.
        let from = after.map_or_else(String::new, |id| {
            let key = serde_json::Value::String(format!("{id}\0")).to_string();
            format!("&startkey={}", encode_segment(&key))
        });
        get(format!("{}/_all_docs?include_docs=true&conflicts=true&limit={limit}{from}", self.path))
    }

    fn ids(&self, page: &[u8]) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct Page {
            rows: Vec<Row>,
        }
        #[derive(Deserialize)]
        struct Row {
            id: String,
        }
        let page: Page = serde_json::from_slice(page).ok()?;
        Some(page.rows.into_iter().map(|row| row.id).collect())
    }

    fn revision(&self, id: &str, revision: &str) -> Option<Ask> {
        // The one slash of a design document's id stands for itself.
        let id =
            id.strip_prefix("_design/").map_or_else(|| encode_segment(id), |name| format!("_design/{}", encode_segment(name)));
        Some(get(format!("{}/{id}?rev={}", self.path, encode_segment(revision))))
    }

    fn total(&self) -> Option<Ask> {
        Some(get(self.path.clone()))
    }

    fn read_total(&self, answer: &[u8]) -> Option<u64> {
        #[derive(Deserialize)]
        struct Information {
            doc_count: u64,
        }
        serde_json::from_slice::<Information>(answer).ok().map(|information| information.doc_count)
    }

    fn is_document(&self, id: &str) -> bool {
        !id.starts_with('_')
    }

    fn write_back(&self) -> WriteBack {
        WriteBack::Bulk { target: format!("{}/_bulk_docs", self.path), open: "{\"docs\":[", close: "]}" }
    }

    fn outcomes(&self, answer: &[u8]) -> Option<Vec<Outcome>> {
        #[derive(Deserialize)]
        struct Row {
            #[serde(default)]
            id: String,
            error: Option<serde_json::Value>,
            status: Option<u16>,
        }
        let rows: Vec<Row> = serde_json::from_slice(answer).ok()?;
        let outcome = |row: Row| match row.error {
            None => Outcome::Written,
            // PouchDB Server says `true` and a status where CouchDB says the word.
            Some(error) if error == "conflict" || row.status == Some(409) => Outcome::Conflict,
            Some(_) => Outcome::Refused { id: row.id },
        };
        Some(rows.into_iter().map(outcome).collect())
    }
}

fn get(target: String) -> Ask {
    Ask { method: http::Method::GET, target, set_headers: vec![head::json_accept()], body: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_begin_after_an_id_whatever_stands_in_it() {
        let database = Database::new("a/b").unwrap();
        assert_eq!(database.page(None, 3).target, "/a%2Fb/_all_docs?include_docs=true&conflicts=true&limit=3");
        let next = database.page(Some("x&\"y"), 3).target;
        assert!(next.ends_with("limit=3&startkey=%22x%26%5C%22y%5Cu0000%22"), "{next}");
        assert_eq!(
            database.ids(br#"{"total_rows":2,"offset":0,"rows":[{"id":"a","doc":null},{"id":"b","value":{}}]}"#).unwrap(),
            ["a", "b"]
        );
        assert_eq!(database.ids(b"{\"error\":\"x\"}"), None);
        assert_eq!(database.read_total(b"{\"doc_count\":7,\"update_seq\":\"9-x\"}"), Some(7));
        let revision = |id| database.revision(id, "2-a&b").unwrap().target;
        assert_eq!(revision("x/y"), "/a%2Fb/x%2Fy?rev=2-a%26b");
        assert_eq!(revision("_design/x"), "/a%2Fb/_design/x?rev=2-a%26b");
        assert!(database.is_document("design") && !database.is_document("_design/x"));
    }

    #[test]
    fn only_a_stored_document_counts_as_written() {
        let database = Database::new("a").unwrap();
        let answer =
            br#"[{"ok":true,"id":"a","rev":"2-x"},{"id":"b","error":"conflict","reason":"."},{"id":"c","error":"forbidden"},
            {"status":409,"name":"conflict","message":".","error":true}]"#;
        let refused = Outcome::Refused { id: "c".to_owned() };
        assert_eq!(database.outcomes(answer).unwrap(), [Outcome::Written, Outcome::Conflict, refused, Outcome::Conflict]);
        assert_eq!(database.outcomes(b"{\"error\":\"unauthorized\"}"), None);
    }
}
