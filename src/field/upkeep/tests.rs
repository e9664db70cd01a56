//! Rows of every kind through [`seal_clear`] and back through [`open_by_hand`].

use super::super::testing::*;
use super::super::*;
use crate::document::{RowSet, Rules, walk};
use crate::keys::Rings;
use crate::purpose::Upkeep;

/// Rows as `_all_docs` of CouchDB has them, with the one member that is peeked at.
fn list_plan(collection: &Collection) -> Plan {
    let set = RowSet {
        rows: vec![selector("$.rows[*].doc")],
        row_peeks: vec![selector("$._conflicts")],
        body_peeks: vec![],
        below: None,
    };
    Plan::compile(collection, &set).unwrap()
}

fn seal_with(plan: &Plan, ring: &Rings, body: &str, stand_ins: StandIns) -> Vec<UpkeepRow> {
    let layout = walk(&plan.map, Rules::reply(), body.as_bytes()).unwrap();
    seal_clear(&customers(), plan, ring, body.as_bytes(), &layout, stand_ins, None).unwrap()
}

/// What becomes of one document.
fn seal_one(ring: &Rings, document: &str, stand_ins: StandIns) -> UpkeepRow {
    let plan = plan_with(&customers(), &["$"]);
    seal_with(&plan, ring, document, stand_ins).remove(0)
}

fn text(row: UpkeepRow) -> String {
    String::from_utf8(row.sealed.unwrap().expect("something was clear").as_bytes().to_vec()).unwrap()
}

fn opened(ring: &Rings, document: &str) -> Result<Revealed, RevealError> {
    let (collection, upkeep) = (customers(), Upkeep::dangerous_for("a test"));
    let plan = plan_with(&collection, &["$"]);
    let layout = walk(&plan.map, Rules::reply(), document.as_bytes()).unwrap();
    open_by_hand(&collection, &plan, ring, document.as_bytes(), &layout, &upkeep, None)
}

const DOCUMENT: &str =
    r#" { "id" : "c-1","name":"Mei \u0054anaka" , "phones":["1", {"a" : 1.0}, null],"n":1.50, "address":true } "#;

#[test]
fn t8_everything_else_stays_and_opening_gives_it_all_back() {
    let ring = ring();
    let row = seal_one(&ring, DOCUMENT, StandIns::Refuse);
    assert_eq!((row.clear, row.kept), (4, 0));
    assert_eq!(row.id.as_ref().unwrap().as_ref().unwrap().as_str(), "c-1");
    let sealed = text(row);
    for clear in ["Mei", "1.0", "true", r#""1""#] {
        assert!(!sealed.contains(clear), "{clear}: {sealed}");
    }
    assert!(
        sealed.starts_with(r#"{ "id" : "c-1","name":"sdr1.x."#) && sealed.contains(r#"null],"n":1.50, "address""#),
        "{sealed}"
    );
    let back = opened(&ring, &sealed).unwrap();
    assert_eq!(String::from_utf8(back.bytes).unwrap(), DOCUMENT.trim());
    assert_eq!(back.tally.shown.iter().map(|(_, _, count)| count).sum::<u32>(), 4);
    assert_eq!(back.subjects, [id("c-1")]);
}

#[test]
fn what_is_sealed_here_is_kept_byte_for_byte() {
    let ring = ring();
    let sealed = text(seal_one(&ring, DOCUMENT, StandIns::Refuse));
    let again = seal_one(&ring, &sealed, StandIns::Refuse);
    assert!(again.sealed.unwrap().is_none() && (again.clear, again.kept) == (0, 4));
    // One value is clear again: the others stay as they are.
    let (head, tail) = sealed.split_once(r#""address":"sdr1.x."#).unwrap();
    let half = format!(r#"{head}"address":"Kyoto{}"#, tail.trim_start_matches(|c| c != '"'));
    let row = seal_one(&ring, &half, StandIns::Refuse);
    assert_eq!((row.clear, row.kept), (1, 3));
    let mended = text(row);
    assert!(mended.starts_with(head), "the others are the same bytes");
    assert!(!mended.contains("Kyoto"));
}

#[test]
fn t1_t2_an_envelope_of_another_place_is_refused_not_skipped() {
    let ring = ring();
    let sealed = text(seal_one(&ring, DOCUMENT, StandIns::Refuse));
    for foreign in [sealed.replace("c-1", "c-2"), r#"{"id":"c-1","name":"sdr1.x.look alike"}"#.to_owned()] {
        let row = seal_one(&ring, &foreign, StandIns::Seal);
        assert!(matches!(row.sealed, Err(WriteError::ForeignEnvelope { .. })), "{:?}", row.sealed);
        assert!(matches!(opened(&ring, &foreign), Err(RevealError::NotAuthentic { .. })));
    }
    let other = ring_with(vec![(crate::keys::LineName::Seal, kid("7k3m9qpb"), crate::keys::State::Active, [9; 32])]);
    assert!(matches!(seal_one(&other, &sealed, StandIns::Seal).sealed, Err(WriteError::ForeignEnvelope { .. })));
}

#[test]
fn t26_a_stand_in_in_a_file_is_refused_in_a_database_it_is_what_there_is() {
    let ring = ring();
    for stand_in in [r#""M\u2022\u2022""#, "\"M••\"", r#"{"a":["•"]}"#, r#""psn1_00000000000000000000000000""#] {
        let document = format!(r#"{{"id":"c-1","name":{stand_in}}}"#);
        let refused = seal_one(&ring, &document, StandIns::Refuse).sealed;
        assert!(matches!(refused, Err(WriteError::MaskedValue { .. })), "{stand_in}: {refused:?}");
        let sealed = text(seal_one(&ring, &document, StandIns::Seal));
        assert_eq!(opened(&ring, &sealed).unwrap().bytes, document.as_bytes());
    }
}

#[test]
fn one_bad_row_does_not_hold_up_the_others() {
    let ring = ring();
    let plan = list_plan(&customers());
    let body = r#"{"total_rows":6,"rows":[
        {"id":"a","doc":{"id":"a","name":"Ann","_conflicts":["2-x"],"x":{"name":1}}},
        {"id":"b","doc":{"id":"b","phones":"not a list"}},
        {"id":"c","doc":{"name":"no id"}},
        {"id":"d","doc":null},
        {"id":"e","doc":{"id":"e","_conflicts":["2-x"],"name":null}},
        {"id":"f","doc":{"_conflicts":["2-y"],"id":"f","phones":["1"]}}]}"#;
    let mut rows = seal_with(&plan, &ring, body, StandIns::Seal);
    assert_eq!(rows.len(), 5, "null is no row");
    let last = text(rows.pop().unwrap());
    assert!(last.starts_with(r#"{"id":"f","phones":["sdr1.x."#), "what the database added is not written back: {last}");
    assert!(rows.pop().unwrap().sealed.unwrap().is_none(), "nothing to seal");
    assert!(matches!(rows.pop().unwrap().sealed, Err(WriteError::SubjectMissing { .. })));
    assert!(matches!(rows.pop().unwrap().sealed, Err(WriteError::Misfit { .. })));
    let first = text(rows.pop().unwrap());
    assert!(first.starts_with(r#"{"id":"a","name":"sdr1.x."#) && first.ends_with(r#"","x":{"name":1}}"#), "{first}");
}

#[test]
fn rows_in_their_frame() {
    let ring = ring();
    let rows = ["a", "b"]
        .map(|id| seal_one(&ring, &format!(r#"{{"id":"{id}","name":"Ann"}}"#), StandIns::Seal).sealed.unwrap().unwrap());
    let framed = ProtectedBody::of_rows("{\"docs\":[", &rows, "]}").into_bytes();
    let json: serde_json::Value = serde_json::from_slice(&framed).unwrap();
    assert_eq!((json["docs"][0]["id"].as_str(), json["docs"][1]["id"].as_str()), (Some("a"), Some("b")));
    assert!(!format!("{rows:?}").contains("sdr1"));
}

#[test]
fn clear_values_are_counted_when_opening_and_stay() {
    let back = opened(&ring(), r#"{"id":"c-1","name":"Ann","phones":"a misfit","address":null}"#).unwrap();
    assert_eq!((back.tally.clear_found, back.tally.shown.len()), (2, 0));
    assert_eq!(back.bytes, br#"{"id":"c-1","name":"Ann","phones":"a misfit","address":null}"#);
}
