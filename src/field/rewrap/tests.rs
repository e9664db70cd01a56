//! Documents under old versions through [`rewrap`], and back through a read.

use proptest::prelude::*;

use super::super::index::tests::{index, people};
use super::super::testing::*;
use super::super::*;
use super::*;
use crate::document::{Rules, walk};
use crate::purpose::Level;

const BOTH: Lines = Lines { seal: true, lookup: true };

/// Two versions of each line that documents hang on: number 1, then number 2.
fn ring_in(seal: [State; 2], lookup: [State; 2]) -> Rings {
    let version = |line, text: &str, state, secret: u8| (line, kid(text), state, [secret; 32]);
    ring_with(vec![
        version(LineName::Seal, "sea10001", seal[0], 11),
        version(LineName::Seal, "sea10002", seal[1], 12),
        version(LineName::Lookup, "100k0001", lookup[0], 21),
        version(LineName::Lookup, "100k0002", lookup[1], 22),
    ])
}

fn before() -> Rings {
    ring_in([State::Active, State::PreActive], [State::Active, State::PreActive])
}

fn after() -> Rings {
    ring_in([State::Deactivated, State::Active], [State::Deactivated, State::Active])
}

/// `people` with an id card that is deterministic.
fn collection_of_all() -> Collection {
    let mut collection = people();
    let card = Field { protection: Protection::Deterministic, pad: 0, ..field("card", "$.card", "id-card") };
    collection.fields.push(card);
    collection
}

fn all(collection: &Collection, ring: &Rings, lines: Lines, body: &str) -> Vec<RewrapRow> {
    let plan = plan_of(collection);
    let layout = walk(&plan.map, Rules::reply(), body.as_bytes()).unwrap();
    rewrap(collection, &plan, ring, lines, body.as_bytes(), &layout).unwrap()
}

fn one(collection: &Collection, ring: &Rings, body: &str) -> RewrapRow {
    all(collection, ring, BOTH, body).remove(0)
}

fn text(row: &RewrapRow) -> String {
    String::from_utf8(row.sealed.as_ref().expect("something hung").as_bytes().to_vec()).unwrap()
}

fn codes(row: &RewrapRow) -> Vec<(&str, &str)> {
    row.troubles.iter().map(|trouble| (trouble.field.as_str(), trouble.code)).collect()
}

const MEI: &str = r#" {"id":"c-1", "name":"Mei  CHAN","contact":{"email":"Mei@Example.org","n":1.50},"phones":["+852 2345 6789","2345 6780",null],"address":{"a" : 1.0},"card":"A123456(7)","x":"\u0041"} "#;

#[test]
fn everything_is_made_anew_and_reads_as_before() {
    let collection = collection_of_all();
    let old = stored(&collection, &before(), MEI);
    let row = one(&collection, &after(), &old);
    // name, email, two phones, address, card; terms: two of name, one of email, two of phones.
    assert_eq!((row.anew.len(), row.hung.len(), row.current, row.clear), (11, 11, 0, 0));
    assert_eq!(codes(&row), []);
    let new = text(&row);
    assert!(!new.contains("0001") && new.matches("sea10002").count() == 5 && new.matches("100k0002").count() == 6, "{new}");
    assert_eq!(new.len(), old.trim().len(), "the padding stays, too");
    let grant = all_at(Level::Clear);
    assert_eq!(shown(&collection, &after(), &grant, &new), shown(&collection, &before(), &grant, old.trim()));
    // Terms and deterministic values are those that a write makes, so that searches for them find it.
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (new_value, fresh) = (value(&new), value(&stored(&collection, &after(), MEI)));
    for member in ["name_ix", "name_px", "email_ix", "phones_ix", "card"] {
        assert_eq!(new_value[member], fresh[member], "{member}");
    }
    assert_ne!(new_value["name"], fresh["name"], "suite x is random");
    // A second time nothing is left to do.
    let again = one(&collection, &after(), &new);
    assert!(again.sealed.is_none() && again.hung.is_empty() && again.current == 11, "{again:?}");
}

#[test]
fn only_the_chosen_line_is_made_anew_and_every_other_byte_stays() {
    let collection = collection_of_all();
    let old = stored(&collection, &before(), MEI);
    let seal = all(&collection, &after(), Lines { seal: true, lookup: false }, &old).remove(0);
    assert!(seal.anew.iter().all(|(line, _)| *line == LineName::Seal) && seal.anew.len() == 5);
    let sealed = text(&seal);
    assert_eq!((sealed.matches("sea10001").count(), sealed.matches("100k0001").count()), (0, 6));
    let lookup = all(&collection, &after(), Lines { seal: false, lookup: true }, &old).remove(0);
    let looked = text(&lookup);
    assert_eq!((looked.matches("sea10001").count(), looked.matches("100k0001").count()), (5, 0));
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&looked)["name"], value(&old)["name"]);
    let none = all(&collection, &after(), Lines { seal: false, lookup: false }, &old).remove(0);
    assert!(none.sealed.is_none() && none.hung.is_empty());
}

#[test]
fn padding_is_kept_though_the_configuration_has_another_bucket_now() {
    let collection = customers();
    let old = stored(&collection, &before(), r#"{"id":"c-1","name":"Mei"}"#);
    let mut narrow = customers();
    narrow.fields[0].pad = 0;
    let new = text(&one(&narrow, &after(), &old));
    assert_eq!(new.len(), old.len());
}

#[test]
fn t1_a_value_from_another_place_is_left_and_told_and_the_others_go_on() {
    let collection = customers();
    let theirs = stored(&collection, &before(), r#"{"id":"c-2","name":"Ken","address":"there"}"#);
    let ours = stored(&collection, &before(), r#"{"id":"c-1","name":"Mei","address":"here"}"#);
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let mut spliced = value(&ours);
    spliced["address"] = value(&theirs)["address"].clone();
    let row = one(&collection, &after(), &spliced.to_string());
    assert_eq!(codes(&row), [("address", "value-not-authentic")]);
    assert_eq!((row.hung.len(), row.anew.len()), (2, 1));
    let new = value(&text(&row));
    assert_eq!(new["address"], spliced["address"], "byte for byte");
    assert_ne!(new["name"], spliced["name"]);
    // Alone, it is no reason to write the document.
    spliced["name"] = serde_json::Value::Null;
    assert!(one(&collection, &after(), &spliced.to_string()).sealed.is_none());
}

#[test]
fn what_is_no_envelope_is_left() {
    let collection = customers();
    for (value, code) in [
        ("\"sdr1.x.sea10001.AAAA\"", Some("value-not-authentic")),
        ("\"sdr1.x.unknwn00.AAAA\"", Some("value-not-authentic")),
        ("\"sdr1.xs.sea10001.AAAA\"", Some("value-not-authentic")),
        ("\"sdr1.\"", Some("value-not-authentic")),
        ("\"sdr1.x.sea10002.AAAA\"", None),
        ("null", None),
    ] {
        let row = one(&collection, &after(), &format!("{{\"id\":\"c-1\",\"name\":{value}}}"));
        assert_eq!(row.troubles.first().map(|trouble| trouble.code), code, "{value}");
        assert!(row.sealed.is_none() && row.clear == 0, "{value}");
    }
    let row = one(&collection, &after(), r#"{"id":"c-1","name":"Mei","address":7,"phones":["1",{"a":1}]}"#);
    assert!(row.sealed.is_none() && row.clear == 4 && row.troubles.is_empty(), "{row:?}");
    // Without an id that is one nothing opens.
    let old = stored(&collection, &before(), r#"{"id":"c-1","name":"Mei"}"#);
    let row = one(&collection, &after(), &old.replace("\"c-1\"", "1.5"));
    assert_eq!((codes(&row), row.hung.len()), (vec![("name", "id-malformed")], 1));
}

#[test]
fn values_of_a_compromised_version_are_made_anew_and_told() {
    let collection = collection_of_all();
    let old = stored(&collection, &before(), MEI);
    let lost = ring_in([State::Compromised, State::Active], [State::Compromised, State::Active]);
    let row = one(&collection, &lost, &old);
    assert_eq!(row.anew.len(), 11);
    let mut told = codes(&row);
    told.sort_unstable();
    let told_of = |field| (field, "key-compromised");
    assert_eq!(told, ["address", "card", "email", "name", "phone", "phone"].map(told_of));
    assert!(row.troubles.iter().all(Trouble::may_be_forged));
    assert_eq!(shown(&collection, &lost, &all_at(Level::Clear), &text(&row)), MEI.trim());
    // One of a version that is gone cannot be had.
    let gone = ring_in([State::Destroyed, State::Active], [State::Destroyed, State::Active]);
    let row = one(&collection, &gone, &old);
    assert!(row.sealed.is_none() && row.troubles.len() == 6 && row.hung.len() == 11, "{row:?}");
}

#[test]
fn terms_stay_whole_while_a_value_of_their_field_is_not_to_be_had() {
    let collection = collection_of_all();
    let old = stored(&collection, &before(), MEI);
    let mut value: serde_json::Value = serde_json::from_str(&old).unwrap();
    value["phones"][1] = "sdr1.x.sea10001.AAAA".into();
    let row = one(&collection, &after(), &value.to_string());
    let new: serde_json::Value = serde_json::from_str(&text(&row)).unwrap();
    assert_eq!(new["phones_ix"], value["phones_ix"], "a search goes on finding it by all of them");
    assert_ne!(new["phones"][0], value["phones"][0]);
    assert_ne!(new["email_ix"], value["email_ix"]);
    // The same where somebody put a clear value in its place.
    value["phones"][1] = "+852 2345 6780".into();
    let row = one(&collection, &after(), &value.to_string());
    let new: serde_json::Value = serde_json::from_str(&text(&row)).unwrap();
    assert_eq!((&new["phones_ix"], &new["phones"][1], row.clear), (&value["phones_ix"], &value["phones"][1], 1));
    // A term of a value that is gone goes, and what is no term is left.
    value["contact"]["email"] = serde_json::Value::Null;
    value["name_ix"] = "Mei".into();
    let row = one(&collection, &after(), &value.to_string());
    let new: serde_json::Value = serde_json::from_str(&text(&row)).unwrap();
    assert_eq!((&new["email_ix"], &new["name_ix"]), (&serde_json::Value::Null, &"Mei".into()));
}

#[test]
fn terms_are_made_anew_though_their_values_are_current() {
    let mixed = ring_in([State::Deactivated, State::Active], [State::Active, State::PreActive]);
    let collection = collection_of_all();
    let old = stored(&collection, &mixed, MEI);
    let row = one(&collection, &after(), &old);
    assert_eq!((row.anew.len(), row.current), (6, 5));
    assert!(text(&row).contains("100k0002") && !text(&row).contains("100k0001"));
}

#[test]
fn a_pre_active_version_is_not_active_either() {
    let collection = customers();
    let put_back = before();
    let old = stored(&collection, &after(), r#"{"id":"c-1","name":"Mei"}"#);
    let row = one(&collection, &put_back, &old);
    assert_eq!(row.anew, [(LineName::Seal, kid("sea10002"))]);
    assert!(text(&row).contains("sea10001"));
}

#[test]
fn no_debug_form_holds_a_value() {
    let collection = collection_of_all();
    let row = one(&collection, &after(), &stored(&collection, &before(), MEI));
    let debug = format!("{row:?}");
    assert!(!debug.contains("Mei") && !debug.contains("sdr1"), "{debug}");
}

/// A write that carries values of old versions seals them anew, whoever may see or write what.
#[test]
fn what_a_write_carries_is_sealed_anew() {
    let collection = collection_of_all();
    let old = stored(&collection, &before(), MEI).trim().to_owned();
    let blind = grant(&[("note", Level::Masked), ("phone", Level::Clear)], Some(&["phone"]));
    let sent = shown(&collection, &after(), &blind, &old);
    let new = replace_over(&collection, &after(), &blind, &old, &sent).unwrap();
    assert!(!new.contains("0001"), "{new}");
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (now, then) = [&new, &old].map(|text| value(&shown(&collection, &after(), &all_at(Level::Clear), text))).into();
    assert_eq!(now, then);
    // Sent as it is stored, by a caller that sees envelopes and writes all.
    let sealed = grant(&CATEGORIES.map(|name| (name, Level::Sealed)), Some(&CATEGORIES));
    let without_terms = |text: &str| {
        let mut value = value(text);
        for member in ["name_ix", "name_px", "email_ix", "phones_ix"] {
            value.as_object_mut().unwrap().remove(member);
        }
        value.to_string()
    };
    let new = replace_over(&collection, &after(), &sealed, &old, &without_terms(&old)).unwrap();
    assert!(!new.contains("0001"), "{new}");
    // Under the Active version every byte stays.
    let again = replace_over(&collection, &after(), &sealed, &new, &without_terms(&new)).unwrap();
    assert_eq!(value(&again), value(&new));
}

#[test]
fn what_a_write_carries_of_a_compromised_version_stays_as_it_is() {
    let collection = customers();
    let old = stored(&collection, &before(), r#"{"id":"c-1","name":"Mei","address":"here"}"#);
    let lost = ring_in([State::Compromised, State::Active], [State::Active, State::PreActive]);
    let blind = grant(&[("name", Level::Sealed), ("address", Level::Absent)], Some(&[]));
    let sent = shown(&collection, &lost, &blind, &old);
    assert_eq!(replace_over(&collection, &lost, &blind, &old, &sent).unwrap().matches("sea10001").count(), 2);
}

proptest! {
    /// Whatever is stored under the old versions reads the same after it was made anew, in one step or in two, and whatever is changed of an
    /// envelope stays as it is.
    #[test]
    fn any_document_reads_as_before(
        name in "\\PC{0,40}", phones in prop::collection::vec("[0-9 +]{0,12}", 0..5), flip in any::<prop::sample::Index>(), in_two: bool,
    ) {
        let collection = collection_of_all();
        let body = serde_json::json!({"id": "c-1", "name": name, "phones": phones, "card": phones.len()}).to_string();
        let old = stored(&collection, &before(), &body);
        let new = if in_two {
            let first = all(&collection, &after(), Lines { seal: true, lookup: false }, &old).remove(0);
            let first = text(&first);
            let second = all(&collection, &after(), Lines { seal: false, lookup: true }, &first).remove(0);
            text(&second)
        } else {
            text(&one(&collection, &after(), &old))
        };
        let grant = all_at(Level::Clear);
        prop_assert_eq!(shown(&collection, &after(), &grant, &new), shown(&collection, &before(), &grant, &old));
        prop_assert!(!new.contains("sea10001") && !new.contains("100k0001"));
        // One character of the name's envelope is another: it is told, and stands there as it did.
        let mut value: serde_json::Value = serde_json::from_str(&old).unwrap();
        let envelope = value["name"].as_str().unwrap().to_owned();
        let at = "sdr1.x.sea10001.".len() + flip.index(envelope.len() - "sdr1.x.sea10001.".len());
        let other = if envelope.as_bytes()[at] == b'A' { "B" } else { "A" };
        let mut changed = envelope;
        changed.replace_range(at..=at, other);
        value["name"] = changed.clone().into();
        let row = one(&collection, &after(), &value.to_string());
        prop_assert_eq!(codes(&row), vec![("name", "value-not-authentic")]);
        if let Some(sealed) = &row.sealed {
            let text = String::from_utf8(sealed.as_bytes().to_vec()).unwrap();
            prop_assert!(text.contains(&changed));
        }
    }
}

#[test]
fn an_index_that_was_added_since_is_left_to_migrate() {
    let plain = collection(vec![field("name", "$.name", "name")]);
    let old = stored(&plain, &before(), r#"{"id":"c-1","name":"Mei"}"#);
    let indexed = collection(vec![Field { indexes: vec![index("$.name_ix", &["text"], 64)], ..field("name", "$.name", "name") }]);
    assert!(!text(&one(&indexed, &after(), &old)).contains("name_ix"));
}
