//! One value, one envelope; everything else is refused. `tests/vectors.rs` opens the golden vectors from outside.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::testing::*;
use super::super::{Field, OnBadValue, WriteError};
use super::*;
use crate::base::Intent;
use crate::document::write_string;
use crate::keys::{LineName, State};
use crate::purpose::{Level, Upkeep};

fn ring_of(lookup: &[(&str, State)]) -> Rings {
    let mut versions = vec![(LineName::Seal, kid("7k3m9qpa"), State::Active, [1; 32])];
    let lookups = lookup.iter().zip(9..).map(|((name, state), byte)| (LineName::Lookup, kid(name), *state, [byte; 32]));
    versions.extend(lookups);
    ring_with(versions)
}

fn ring() -> Rings {
    ring_of(&[("00kp0000", State::Active)])
}

fn deterministic(name: &str, at: &str) -> Field {
    Field { protection: Protection::Deterministic, pad: 0, ..field(name, at, "id-card") }
}

/// `id-card` deterministic, `name` sealed, bound to the data subject.
fn cards() -> Collection {
    collection(vec![deterministic("card", "$.card"), field("name", "$.name", "name")])
}

fn store(collection: &Collection, ring: &Rings, body: &str) -> Result<String, WriteError> {
    let protected = protect_as(collection, ring, &all_at(Level::Clear), Intent::Create, body, None)?;
    Ok(String::from_utf8(protected.body.into_bytes().to_vec()).unwrap())
}

/// The envelope of the value of `card`.
fn card(collection: &Collection, ring: &Rings, value: &str) -> String {
    let stored = stored(collection, ring, &format!(r#"{{"id":"c-1","card":{value}}}"#));
    serde_json::from_str::<serde_json::Value>(&stored).unwrap()["card"].as_str().unwrap().to_string()
}

fn upkeep() -> Upkeep {
    Upkeep::dangerous_for("tests of deterministic values")
}

#[test]
fn canonical_text_is_one_for_one_value() {
    for (json, expected) in [
        (r#""A123""#, r#""A123""#),
        (r#""\u0041123""#, r#""A123""#),
        (r#""e\u0301""#, "\"\u{e9}\""),
        ("\"e\u{301}\"", "\"\u{e9}\""),
        ("\"\u{212a}\"", r#""K""#),
        (r#""a\/b""#, r#""a/b""#),
        (r#""\u0009\u007f\u2028""#, "\"\\t\u{7f}\u{2028}\""),
        (r#""""#, r#""""#),
        ("17", "17"),
        ("-3", "-3"),
        ("9007199254740991", "9007199254740991"),
    ] {
        assert_eq!(String::from_utf8(canonical(json.as_bytes()).unwrap()).unwrap(), expected, "{json}");
    }
    // Case, compatibility forms and the type are kept apart: `17` is not `"17"`.
    assert_ne!(canonical(b"\"a\"").unwrap(), canonical(b"\"A\"").unwrap());
    assert_ne!(canonical("\"\u{ff11}\"".as_bytes()).unwrap(), canonical(b"\"1\"").unwrap());
    assert_ne!(canonical(b"17").unwrap(), canonical(b"\"17\"").unwrap());
}

#[test]
fn t09_everything_else_is_refused() {
    for json in ["true", "false", "null", "[]", "{}", r#"["A123"]"#, "", " 17", "\"a", r#""\ud800""#] {
        assert_eq!(canonical(json.as_bytes()), Err(NotCanonical::Type), "{json}");
    }
    for json in ["1.0", "1e2", "-0", "0.5", "9007199254740992", "-9007199254740992", "1E400"] {
        assert_eq!(canonical(json.as_bytes()), Err(NotCanonical::Number), "{json}");
    }
    // Normalisation may lengthen a text, so what is stored is measured too.
    let long = format!("\"{}\"", "\u{1d160}".repeat(MAX_PLAINTEXT_BYTES / 8));
    assert!(long.len() < MAX_PLAINTEXT_BYTES);
    assert_eq!(canonical(long.as_bytes()), Err(NotCanonical::TooLong));
}

#[test]
fn a_write_says_which_field_and_why_and_never_the_value() {
    for value in ["true", "[\"Z9\"]", "{\"Z9\":1}", "1.5", "12345678901234567890"] {
        let error = store(&cards(), &ring(), &format!(r#"{{"id":"c-1","card":{value}}}"#)).unwrap_err();
        assert_eq!(error.code(), "not-canonical", "{value}");
        let shown = error.to_string();
        assert!(shown.contains("field card") && !shown.contains("Z9") && !shown.contains(value), "{shown}");
    }
    assert_eq!(store(&cards(), &ring(), r#"{"id":"c-1","card":null}"#).unwrap(), r#"{"id":"c-1","card":null}"#);
    let long = format!(r#"{{"id":"c-1","card":"{}"}}"#, "\u{1d160}".repeat(MAX_PLAINTEXT_BYTES / 8));
    assert_eq!(store(&cards(), &ring(), &long).unwrap_err().code(), "value-too-long");
}

#[test]
fn equal_values_are_equal_in_every_document_and_nowhere_else() {
    let (ring, two) = (ring(), collection(vec![deterministic("card", "$.card"), deterministic("passport", "$.passport")]));
    let body = r#"[{"id":"c-1","card":"A123","passport":"A123"},{"id":"c-2","card":"\u0041123"},{"id":"c-3","card":"A124"}]"#;
    let stored: serde_json::Value = serde_json::from_str(&stored(&two, &ring, body)).unwrap();
    let value = |row: usize, name: &str| stored[row][name].as_str().unwrap().to_string();
    assert!(value(0, "card").starts_with("sdr1.d.00kp0000."));
    assert_eq!(value(0, "card"), value(1, "card"));
    assert_ne!(value(0, "card"), value(2, "card"));
    assert_ne!(value(0, "card"), value(0, "passport"), "another field");
    let orders = Collection {
        fields: vec![Field { place: place("shop", "orders", "card"), ..deterministic("card", "$.card") }],
        ..collection(vec![])
    };
    assert_ne!(value(0, "card"), card(&orders, &ring, "\"A123\""), "another collection");
    let market = Collection {
        fields: vec![Field { place: place("market", "customers", "card"), ..deterministic("card", "$.card") }],
        ..collection(vec![])
    };
    let of_market = crate::keys::Rings::from(crate::keys::KeyRing::with_versions(
        crate::base::Controller::new("market"),
        vec![(LineName::Lookup, kid("00kp0000"), State::Active, [9; 32])],
    ));
    assert_ne!(value(0, "card"), card(&market, &of_market, "\"A123\""), "another controller");
}

/// The envelope stands in any document of its collection; in another field it does not open, not even if its text is moved there (T1).
#[test]
fn t01_a_deterministic_value_opens_in_its_field_only() {
    let (ring, collection) = (
        ring(),
        collection(vec![
            deterministic("card", "$.card"),
            deterministic("passport", "$.passport"),
            field("name", "$.name", "name"),
        ]),
    );
    let envelope = card(&collection, &ring, "\"A123\"");
    let clear = all_at(Level::Clear);
    let moved = format!(r#"{{"id":"c-2","card":"{envelope}"}}"#);
    assert_eq!(shown(&collection, &ring, &clear, &moved), r#"{"id":"c-2","card":"A123"}"#);
    for other in ["passport", "name"] {
        let moved = format!(r#"{{"id":"c-1","{other}":"{envelope}"}}"#);
        assert_eq!(reveal_all(&collection, &ring, &clear, &moved, None).unwrap_err().code(), "value-not-authentic", "{other}");
        assert_eq!(store(&collection, &ring, &moved).unwrap_err().code(), "foreign-envelope", "{other}");
    }
    // No id is needed, for nothing is bound to it.
    assert_eq!(shown(&collection, &ring, &clear, &format!(r#"{{"card":"{envelope}"}}"#)), r#"{"card":"A123"}"#);
    assert!(store(&collection, &ring, r#"{"card":"A123"}"#).is_ok());
    assert_eq!(store(&collection, &ring, r#"{"name":"Mei"}"#).unwrap_err().code(), "subject-missing");
}

#[test]
fn every_level_works_on_the_canonical_text() {
    let (ring, cards) = (ring(), cards());
    let stored = stored(&cards, &ring, r#"{"id":"c-1","card":"ABCDE\u0301FGH"}"#);
    let at = |level| shown(&cards, &ring, &all_at(level), &stored);
    assert_eq!(at(Level::Clear), "{\"id\":\"c-1\",\"card\":\"ABCD\u{c9}FGH\"}");
    assert_eq!(at(Level::Masked), "{\"id\":\"c-1\",\"card\":\"••••\u{c9}FGH\"}");
    assert_eq!(at(Level::Sealed), stored);
    assert_eq!(at(Level::Absent), r#"{"id":"c-1"}"#);
    let other = self::stored(&cards, &ring, "{\"id\":\"c-9\",\"card\":\"ABCD\u{c9}FGH\"}");
    let pseudonym = at(Level::Pseudonym);
    assert!(pseudonym.contains("psn1_"));
    assert_eq!(shown(&cards, &ring, &all_at(Level::Pseudonym), &other).replace("c-9", "c-1"), pseudonym);
}

#[test]
fn what_was_read_sealed_is_written_back_as_it_is() {
    let (ring, cards) = (ring(), cards());
    let stored = stored(&cards, &ring, r#"{"id":"c-1","card":"A123"}"#);
    assert_eq!(store(&cards, &ring, &stored).unwrap(), stored);
}

/// Of suite `x` in a field that became deterministic: opens in its own place, as ever. Of suite `d` in a field that is sealed again: bound
/// to less than the field asks for, so only while migrating.
#[test]
fn a_changed_protection_is_opened_where_it_loosens_nothing() {
    let ring = ring();
    let sealed = collection(vec![field("card", "$.card", "id-card")]);
    let now_deterministic = collection(vec![deterministic("card", "$.card")]);
    let clear = all_at(Level::Clear);
    let of_x = stored(&sealed, &ring, r#"{"id":"c-1","card":"A123"}"#);
    assert_eq!(shown(&now_deterministic, &ring, &clear, &of_x), r#"{"id":"c-1","card":"A123"}"#);
    let elsewhere = of_x.replace("c-1", "c-2");
    assert!(reveal_all(&now_deterministic, &ring, &clear, &elsewhere, None).is_err(), "still bound to its subject");

    let of_d = stored(&now_deterministic, &ring, r#"{"id":"c-1","card":"A123"}"#);
    for level in [Level::Clear, Level::Sealed, Level::Masked] {
        let refused = reveal_all(&sealed, &ring, &all_at(level), &of_d, None).unwrap_err();
        assert_eq!(refused.code(), "value-not-authentic", "{level:?}");
    }
    assert_eq!(store(&sealed, &ring, &of_d).unwrap_err().code(), "foreign-envelope");
    let withholding = Collection { on_bad_value: OnBadValue::Withhold, ..collection(vec![field("card", "$.card", "id-card")]) };
    assert_eq!(shown(&withholding, &ring, &clear, &of_d), r#"{"id":"c-1"}"#);
    let migrating = Collection { strict: false, ..collection(vec![field("card", "$.card", "id-card")]) };
    assert_eq!(shown(&migrating, &ring, &clear, &of_d), r#"{"id":"c-1","card":"A123"}"#);
    assert_eq!(shown(&migrating, &ring, &all_at(Level::Sealed), &of_d), of_d);
}

#[test]
fn terms_are_what_is_stored_under_every_version_that_opens_newest_first() {
    let cards = cards();
    let plan = plan_of(&cards);
    let terms = |ring: &Rings, field, json: &str| {
        deterministic_terms(&cards, &plan, ring, field, json.as_bytes(), Permit::Reveal(&all_at(Level::Clear)))
    };
    let all = [
        ("00000001", State::Destroyed),
        ("00000002", State::Deactivated),
        ("00000003", State::Compromised),
        ("00000004", State::Deactivated),
        ("00000005", State::Active),
        ("00000006", State::PreActive),
    ];
    let ring = ring_of(&all);
    let found = terms(&ring, 0, r#""\u0041123""#).unwrap();
    let kids: Vec<&str> = found.iter().map(|term| term.split('.').nth(2).unwrap()).collect();
    assert_eq!(kids, ["00000005", "00000006", "00000004", "00000002"]);
    assert_eq!(found[0], card(&cards, &ring, r#""A123""#));
    // What was stored before a rotation is among the terms after it.
    let mut before = all;
    before[3].1 = State::Active;
    before[4].1 = State::PreActive;
    assert_eq!(found[2], card(&cards, &ring_of(&before), r#""A123""#));
    let upkeep = upkeep();
    let to_rewrap = deterministic_terms(&cards, &plan, &ring, 0, b"17", Permit::Upkeep(&upkeep)).unwrap();
    assert_eq!(to_rewrap.len(), 5, "a compromised version opens for upkeep");

    assert_eq!(terms(&ring, 1, "\"Mei\"").unwrap_err().code(), "not-searchable");
    for json in ["true", "1.5", "null", "{}", "[1]"] {
        let error = terms(&ring, 0, json).unwrap_err();
        assert_eq!(error.code(), "not-searchable", "{json}");
        assert!(!error.to_string().contains(json), "{error}");
    }
    assert_eq!(terms(&ring, 2, "17").unwrap_err().code(), "internal-error");
    assert_eq!(terms(&ring_of(&[]), 0, "17").unwrap_err().code(), "keys-unavailable");
}

#[test]
fn without_a_lookup_line_nothing_is_stored_or_opened() {
    let (with, without, cards) = (ring(), ring_of(&[]), cards());
    let stored = stored(&cards, &with, r#"{"id":"c-1","card":"A123"}"#);
    let error = store(&cards, &without, r#"{"id":"c-1","card":"A123"}"#).unwrap_err();
    assert_eq!(error.code(), "keys-unavailable");
    assert!(error.to_string().contains("line lookup") && error.to_string().contains("sudare keys init"), "{error}");
    let error = reveal_all(&cards, &without, &all_at(Level::Clear), &stored, None).unwrap_err();
    assert_eq!(error.code(), "value-not-authentic");
}

/// A kid of another line, and payloads that are no payloads.
#[test]
fn t02_look_alikes_are_refused() {
    let (ring, cards) = (ring(), cards());
    let envelope = card(&cards, &ring, "\"A123\"");
    let payload = envelope.rsplit('.').next().unwrap();
    let bytes = crate::crypto::from_base64url(payload.as_bytes()).unwrap();
    let bound = |bind: u8| crate::crypto::base64url(&[&[bind], &bytes[1..]].concat());
    for wrong in [
        format!("sdr1.d.7k3m9qpa.{payload}"),
        format!("sdr1.d.zzzzzzzz.{payload}"),
        format!("sdr1.x.00kp0000.{payload}"),
        format!("sdr1.D.00kp0000.{payload}"),
        format!("sdr1.d.00kp0000.{payload}A"),
        format!("sdr1.d.00kp0000.{}", bound(1)),
        format!("sdr1.d.00kp0000.{}", bound(2)),
        format!("sdr1.d.00kp0000.{}", bound(3)),
        format!("sdr1.d.00kp0000.{}", crate::crypto::base64url(&bytes[..17])),
        "sdr1.d.00kp0000.".to_string(),
    ] {
        let body = format!(r#"{{"id":"c-1","card":"{wrong}"}}"#);
        assert_eq!(
            reveal_all(&cards, &ring, &all_at(Level::Clear), &body, None).unwrap_err().code(),
            "value-not-authentic",
            "{wrong}"
        );
        assert_eq!(store(&cards, &ring, &body).unwrap_err().code(), "foreign-envelope", "{wrong}");
    }
}

/// Whoever holds the key could seal anything; what is not one string or number in its own text is refused all the same.
#[test]
fn only_one_scalar_is_opened() {
    let (ring, place) = (ring(), place("shop", "customers", "card"));
    let key = ring.main().lookup_key(&place).unwrap();
    let context = Context::deterministic(&place);
    for (sealed, opens) in [
        ("\"x\"", true),
        ("17", true),
        ("1.5", true),
        ("true", false),
        ("null", false),
        ("[1]", false),
        ("{}", false),
        ("17 ", false),
        (" 17", false),
        ("\"x\"  ", false),
        ("17 18", false),
        ("x", false),
    ] {
        let (mut aad, mut room, mut out) = (Vec::new(), Vec::new(), Vec::new());
        write(&key, context.aad(key.kid, "", &mut aad), sealed.as_bytes(), &mut room, &mut out);
        let text: String = serde_json::from_slice(&out).unwrap();
        let opened = open_deterministic_envelope(&key, &place, &text).ok();
        assert_eq!(opened.as_deref(), opens.then_some(sealed.as_bytes()), "{sealed:?}");
    }
}

fn json_of(text: &str, escaped: &[bool]) -> String {
    let mut out = String::from("\"");
    for (index, unit) in text.chars().enumerate() {
        if escaped.get(index % escaped.len().max(1)).copied().unwrap_or_default() || unit < ' ' || unit == '"' || unit == '\\' {
            let mut units = [0; 2];
            unit.encode_utf16(&mut units).iter().for_each(|unit| write!(out, "\\u{unit:04X}").unwrap());
        } else {
            out.push(unit);
        }
    }
    out.push('"');
    out
}

proptest! {
    #[test]
    fn canonical_text_is_its_own(text: String, escaped in proptest::collection::vec(any::<bool>(), 1..9)) {
        let canon = canonical(json_of(&text, &escaped).as_bytes()).unwrap();
        prop_assert_eq!(canonical(&canon).unwrap(), canon.clone());
        let mut plain = Vec::new();
        write_string(&text, &mut plain);
        prop_assert_eq!(canonical(&plain).unwrap(), canon.clone(), "escapes say nothing");
        let decomposed: String = text.nfd().collect();
        prop_assert_eq!(canonical(json_of(&decomposed, &escaped).as_bytes()).unwrap(), canon, "nor does the form");
    }

    #[test]
    fn equal_values_have_equal_envelopes_and_different_ones_have_not(
        one: String, two: String, escaped in proptest::collection::vec(any::<bool>(), 1..9),
    ) {
        let (ring, cards) = (ring(), cards());
        // What the rules of a write refuse is not what this is about.
        prop_assume!([&one, &two].iter().all(|text| !text.contains('•') && !text.starts_with("sdr1.") && !text.starts_with("psn1_")));
        let decomposed: String = one.nfd().collect();
        let first = card(&cards, &ring, &json_of(&one, &[false]));
        prop_assert_eq!(&first, &card(&cards, &ring, &json_of(&decomposed, &escaped)));
        let equal = one.nfc().eq(two.nfc());
        prop_assert_eq!(first == card(&cards, &ring, &json_of(&two, &escaped)), equal);
        let terms = deterministic_terms(&cards, &plan_of(&cards), &ring, 0, json_of(&one, &escaped).as_bytes(), Permit::Reveal(&all_at(Level::Clear)));
        prop_assert_eq!(terms.unwrap(), [first]);
    }

    #[test]
    fn t01_any_flipped_bit_fails(text in "\\PC{0,30}", bit: prop::sample::Index) {
        prop_assume!(!text.contains('•') && !text.starts_with("sdr1.") && !text.starts_with("psn1_"));
        let (ring, cards) = (ring(), cards());
        let envelope = card(&cards, &ring, &json_of(&text, &[false]));
        let (head, payload) = envelope.rsplit_once('.').unwrap();
        let mut bytes = crate::crypto::from_base64url(payload.as_bytes()).unwrap();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let body = format!(r#"{{"id":"c-1","card":"{head}.{}"}}"#, crate::crypto::base64url(&bytes));
        prop_assert!(reveal_all(&cards, &ring, &all_at(Level::Clear), &body, None).is_err());
    }
}
