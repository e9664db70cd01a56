//! What may be stored, and what is refused.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::testing::*;
use super::super::*;
use super::has_mask_character;
use crate::base::{Bind, Intent};
use crate::crypto::from_base64url;
use crate::keys::{KeyRing, LineName, Rings, State};
use crate::purpose::Level;

const MEI: &str =
    r#"{"id":"c-1", "name":"Mei Tanaka","address":"101-0047 Uchikanda", "phones":["+81355501234","110"],"tier":"gold"}"#;

fn create(body: &str) -> Result<String, &'static str> {
    write(&all_at(Level::Clear), Intent::Create, body)
}

fn replace(grant: &crate::purpose::Grant, body: &str) -> Result<String, &'static str> {
    write(grant, Intent::Replace, body)
}

/// The stored text, or the code of the refusal.
fn write(grant: &crate::purpose::Grant, intent: Intent, body: &str) -> Result<String, &'static str> {
    match protect_as(&customers(), &ring(), grant, intent, body, None) {
        Ok(protected) => Ok(String::from_utf8(protected.body.into_bytes().to_vec()).unwrap()),
        Err(error) => Err(error.code()),
    }
}

fn envelopes(text: &str) -> Vec<&str> {
    text.split('"').filter(|part| part.starts_with("sdr1.")).collect()
}

fn nonce_of(envelope: &str) -> [u8; 24] {
    let payload = from_base64url(envelope.rsplit('.').next().unwrap().as_bytes()).unwrap();
    payload[1..25].try_into().unwrap()
}

#[test]
fn t8_all_other_bytes_leave_as_they_came() {
    let stored = create(MEI).unwrap();
    let sealed = envelopes(&stored);
    assert_eq!(sealed.len(), 4);
    let mut rest = stored.clone();
    for envelope in &sealed {
        rest = rest.replacen(envelope, "*", 1);
    }
    assert_eq!(rest, r#"{"id":"c-1", "name":"*","address":"*", "phones":["*","*"],"tier":"gold"}"#);
    for envelope in sealed {
        assert!(envelope.starts_with("sdr1.x.7k3m9qpa."));
        assert!(envelope.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')));
    }
}

#[test]
fn t9_every_json_type_is_sealed_and_comes_back_as_sent() {
    for value in [
        "1.0",
        "-0",
        "1e2",
        "true",
        "false",
        r#""""#,
        r#""na\u006de \ud83d\ude00\/""#,
        "[ 1, {\"a\":null} ]",
        "{}",
        r#"{"deep":[[["x"]]]}"#,
        "[]",
    ] {
        let body = format!(r#"{{"id":7,"name":{value}}}"#);
        let stored = create(&body).unwrap();
        assert_eq!(envelopes(&stored).len(), 1, "{value}");
        assert_eq!(shown(&customers(), &ring(), &all_at(Level::Clear), &stored), body);
    }
}

#[test]
fn t9_a_value_of_another_type_on_the_way_is_refused() {
    assert_eq!(create(r#"{"id":"c-1","phones":"+81355501234"}"#), Err("misfit"));
    assert_eq!(create(r#"{"id":"c-1","phones":{"home":"1"}}"#), Err("misfit"));
    assert!(create(r#"{"id":"c-1","phones":null}"#).is_ok());
}

#[test]
fn null_stays_null_unless_it_is_sealed_on_request() {
    assert_eq!(create(r#"{"id":"c-1","name":null}"#).unwrap(), r#"{"id":"c-1","name":null}"#);
    let sealing = collection(vec![Field { seal_null: true, ..field("name", "$.name", "name") }]);
    let stored = stored(&sealing, &ring(), r#"{"id":"c-1","name":null}"#);
    assert_eq!(envelopes(&stored).len(), 1);
    assert_eq!(shown(&sealing, &ring(), &all_at(Level::Clear), &stored), r#"{"id":"c-1","name":null}"#);
}

#[test]
fn padding_hides_the_length_in_buckets() {
    let lengths: HashSet<usize> = ["", "a", "Mei Tanaka", &"x".repeat(30)]
        .iter()
        .map(|name| envelopes(&create(&format!(r#"{{"id":"c-1","name":"{name}"}}"#)).unwrap())[0].len())
        .collect();
    assert_eq!(lengths.len(), 1);
    let longer = create(&format!(r#"{{"id":"c-1","name":"{}"}}"#, "x".repeat(31))).unwrap();
    assert!(!lengths.contains(&envelopes(&longer)[0].len()));
}

#[test]
fn t18_values_of_a_row_share_half_a_nonce_and_no_nonce_comes_twice() {
    let stored = create(MEI).unwrap();
    let nonces: Vec<[u8; 24]> = envelopes(&stored).into_iter().map(nonce_of).collect();
    let first = |nonce: &[u8; 24]| nonce[..12].to_vec();
    let last = |nonce: &[u8; 24]| u128::from_be_bytes([&[0; 4], &nonce[12..]].concat().try_into().unwrap());
    for pair in nonces.windows(2) {
        assert_eq!(first(&pair[0]), first(&pair[1]));
        assert_eq!((last(&pair[0]) + 1) & ((1 << 96) - 1), last(&pair[1]));
    }
    // Another body, another draw.
    assert_ne!(first(&nonce_of(envelopes(&create(MEI).unwrap())[0])), first(&nonces[0]));
}

#[test]
fn t18_rows_draw_apart_and_a_long_row_draws_again() {
    let phones: Vec<String> = (0..600).map(|n| format!("\"{n:05}\"")).collect();
    let row = |id: u32| format!(r#"{{"id":{id},"phones":[{}]}}"#, phones.join(","));
    let body = format!("[{},{}]", row(1), row(2));
    let stored = create(&body).unwrap();
    let nonces: Vec<[u8; 24]> = envelopes(&stored).into_iter().map(nonce_of).collect();
    assert_eq!(nonces.len(), 1200);
    assert_eq!(nonces.iter().collect::<HashSet<_>>().len(), 1200);
    let mut per_prefix = std::collections::HashMap::new();
    for nonce in &nonces {
        *per_prefix.entry(&nonce[..12]).or_insert(0) += 1;
    }
    let mut counts: Vec<i32> = per_prefix.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [88, 88, 256, 256, 256, 256]);
    assert_eq!(shown(&customers(), &ring(), &all_at(Level::Clear), &stored), body);
}

#[test]
fn t2_look_alikes_are_refused_never_skipped() {
    for text in [
        "sdr1.",
        "sdr1.x.7k3m9qpa.",
        "sdr1.x.7k3m9qpa.AAAA",
        "sdr1.x.7k3m9qpa.Mei Tanaka, Uchikanda 101-0047, the whole address in clear text here",
        "sdr1.d.7k3m9qpa.AAAA",
        "sdr1.xs.7k3m9qpa.AAAA",
        "sdr1.x.00000000.AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        r"\u0073dr1.x.7k3m9qpa.AAAA",
    ] {
        assert_eq!(create(&format!(r#"{{"id":"c-1","name":"{text}"}}"#)), Err("foreign-envelope"), "{text}");
    }
    // Not at the start of the whole string: an ordinary value, sealed like any other.
    for value in [r#"" sdr1.x""#, r#"{"a":"sdr1.x.7k3m9qpa.AAAA"}"#, r#""SDR1.x""#] {
        let stored = create(&format!(r#"{{"id":"c-1","name":{value}}}"#)).unwrap();
        assert_eq!(envelopes(&stored).len(), 1, "{value}");
        assert!(envelopes(&stored)[0].starts_with("sdr1.x.7k3m9qpa."), "{value}");
    }
}

#[test]
fn t1_an_envelope_is_kept_at_home_and_refused_elsewhere() {
    let stored = create(r#"{"id":"c-1","name":"Mei","address":"101-0047 X","phones":["1"]}"#).unwrap();
    let sealed = envelopes(&stored);
    let (name, address, phone) = (sealed[0], sealed[1], sealed[2]);
    let protected = protect_as(&customers(), &ring(), &all_at(Level::Clear), Intent::Replace, &stored, None).unwrap();
    assert_eq!(protected.tally.kept, 3);
    assert_eq!(protected.tally.protected, []);
    assert_eq!(protected.body.into_bytes(), stored.as_bytes());
    for body in [
        format!(r#"{{"id":"c-2","name":"{name}"}}"#),
        format!(r#"{{"id":"c-1","name":"{address}"}}"#),
        format!(r#"{{"id":"c-1","address":"{name}"}}"#),
        format!(r#"{{"id":"c-1","phones":["{name}"]}}"#),
        format!(r#"{{"id":"c-1","name":"{}"}}"#, name.get(..name.len() - 1).unwrap()),
        format!(r#"{{"id":"c-1","name":"{name}x"}}"#),
    ] {
        assert_eq!(create(&body), Err("foreign-envelope"), "{body}");
    }
    // Elements of one list and one person may change places: documented (T41).
    assert!(create(&format!(r#"{{"id":"c-1","phones":["2","{phone}"]}}"#)).is_ok());
}

#[test]
fn t1_another_collection_controller_key_or_bind_does_not_open() {
    let stored = create(r#"{"id":"c-1","name":"Mei"}"#).unwrap();
    let refused = |collection: &Collection, ring: &Rings| {
        protect_as(collection, ring, &all_at(Level::Clear), Intent::Create, &stored, None).unwrap_err().code()
    };
    let moved = |controller: &str, name: &str| {
        let mut other = customers();
        other.fields[0].place = place(controller, name, "name");
        other
    };
    let key = |kid_text: &str, state, byte| vec![(LineName::Seal, kid(kid_text), state, [byte; 32])];
    assert_eq!(refused(&moved("shop", "suppliers"), &ring()), "foreign-envelope");
    let other_shop = KeyRing::with_versions(crate::base::Controller::new("rival"), key("7k3m9qpa", State::Active, 1)).into();
    assert_eq!(refused(&moved("rival", "customers"), &other_shop), "foreign-envelope");
    assert_eq!(refused(&customers(), &ring_with(key("7k3m9qpa", State::Active, 9))), "foreign-envelope");
    assert_eq!(refused(&customers(), &ring_with(key("7k3m9qpb", State::Active, 1))), "foreign-envelope");
    assert_eq!(refused(&customers(), &ring_with(key("7k3m9qpa", State::Destroyed, 1))), "foreign-envelope");
    for bind in [Bind::Field, Bind::Document] {
        assert_eq!(refused(&Collection { bind, ..customers() }, &ring()), "foreign-envelope");
    }
}

#[test]
fn t26_what_was_shown_never_replaces_the_real_value() {
    let pseudonym = pseudonym::pseudonym(
        &crate::crypto::MacKey::new(&crate::crypto::Secret::from_bytes([2; 32])),
        &crate::base::FieldName::new("name"),
        "x",
    );
    for value in [
        "\"••••1234\"".to_string(),
        "\"••••1234 and more\"".to_string(),
        r#""\u2022\u2022""#.to_string(),
        r#"["ok",{"deep":"M•••"}]"#.to_string(),
        r#"{"a":["\\\u2022"]}"#.to_string(),
        format!("\"{pseudonym}\""),
        format!("\"\\u0070{}\"", pseudonym.get(1..).unwrap()),
    ] {
        for intent in [Intent::Create, Intent::Replace] {
            let body = format!(r#"{{"id":"c-1","name":{value},"address":"x","phones":["1"]}}"#);
            assert_eq!(write(&all_at(Level::Clear), intent, &body), Err("masked-value"), "{value}");
        }
    }
    for value in [r#""\\u2022""#, r#""psn1_ is no pseudonym""#, r#"["psn1_00000000000000000000000000"]"#, "\"â\""] {
        assert!(create(&format!(r#"{{"id":"c-1","name":{value}}}"#)).is_ok(), "{value}");
    }
}

#[test]
fn t26_a_put_by_a_caller_that_cannot_see_does_not_erase() {
    let whole = r#"{"id":"c-1","name":"Mei","address":"101-0047 X","phones":["1"]}"#;
    let clear_but = |phone: Level, writes: Option<&[&str]>| {
        grant(&[("name", Level::Clear), ("address", Level::Clear), ("phone", phone)], writes)
    };
    assert!(replace(&clear_but(Level::Clear, None), whole).is_ok());
    // Left out although it may see and write it: a deliberate removal.
    assert!(replace(&clear_but(Level::Clear, None), r#"{"id":"c-1","name":"Mei","address":"X"}"#).is_ok());
    let without_phone = r#"{"id":"c-1","name":"Mei","address":"X"}"#;
    for level in [Level::Absent, Level::Masked, Level::Sealed] {
        assert_eq!(replace(&clear_but(level, None), without_phone), Err("would-erase"), "{level:?}");
        assert_eq!(replace(&clear_but(level, None), whole), Err("not-writable"), "{level:?}");
        assert_eq!(replace(&clear_but(level, None), r#"{"id":"c-1","phones":[null]}"#), Err("not-writable"), "null erases too");
    }
    // May write it, but does not see it: leaving it out may be an accident.
    let blind = clear_but(Level::Absent, Some(&CATEGORIES));
    assert_eq!(replace(&blind, without_phone), Err("would-erase"));
    assert!(replace(&blind, whole).is_ok());
    // May write it, but sees a stand-in: what it sends may be one.
    for level in [Level::Masked, Level::Pseudonym] {
        assert_eq!(replace(&clear_but(level, Some(&CATEGORIES)), whole), Err("would-erase"), "{level:?}");
    }
    // Without a form to generalise to nothing is shown, and what it sends is a value.
    for level in [Level::Sealed, Level::Generalised] {
        assert!(replace(&clear_but(level, Some(&CATEGORIES)), whole).is_ok(), "{level:?}");
    }
}

#[test]
fn creating_needs_the_right_to_write_what_it_carries() {
    let support = grant(&[("name", Level::Clear), ("phone", Level::Masked)], None);
    let refusal = |body: &str| protect_as(&customers(), &ring(), &support, Intent::Create, body, None).unwrap_err();
    let error = refusal(r#"{"id":"c-1","name":"Mei","phones":["+81355501234"]}"#);
    assert_eq!(error.code(), "not-writable");
    assert_eq!(error.to_string(), "support may read phone masked, not write it");
    assert_eq!(refusal(r#"{"id":"c-1","address":"x"}"#).to_string(), "support may neither read nor write address");
    assert!(write(&support, Intent::Create, r#"{"id":"c-1","name":"Mei","address":null}"#).is_ok(), "null stores nothing");
    assert!(write(&support, Intent::Create, r#"{"id":"c-1","tier":"gold"}"#).is_ok());
}

#[test]
fn deleting_needs_the_right_to_delete() {
    let body = r#"{"id":"c-1","name":"Mei"}"#;
    let may = |delete| full_grant("cleanup", &[("name", Level::Clear)], None, delete);
    assert_eq!(write(&may(false), Intent::Delete, body), Err("delete-refused"));
    assert_eq!(envelopes(&write(&may(true), Intent::Delete, body).unwrap()).len(), 1);
    assert_eq!(write(&may(true), Intent::Delete, r#"{"id":"c-1","address":"x"}"#), Err("not-writable"));
}

#[test]
fn unclear_intents_are_judged_like_a_replacement() {
    let narrow = grant(&[("name", Level::Clear)], None);
    for intent in [Intent::Read, Intent::PerRow] {
        assert_eq!(write(&narrow, intent, r#"{"id":"c-1","name":"Mei"}"#), Err("would-erase"));
    }
}

#[test]
fn a_write_without_an_id_is_refused_where_the_bind_needs_one() {
    let refusal = |collection: &Collection, body: &str| {
        protect_as(collection, &ring(), &all_at(Level::Clear), Intent::Create, body, None).map(|_| ()).unwrap_err()
    };
    let missing = refusal(&customers(), r#"{"name":"Mei"}"#);
    assert_eq!(missing.code(), "subject-missing");
    assert_eq!(
        missing.to_string(),
        "field name is bound to the data subject, but $.id is missing: send it in the document or in the URL"
    );
    let by_member = Collection { subject: Subject::At(selector("$.customer.id")), ..customers() };
    assert_eq!(refusal(&by_member, r#"{"id":"o-1","customer":{},"name":"Mei"}"#).code(), "subject-missing");
    assert_eq!(refusal(&by_member, r#"{"id":"o-1","customer":"x","name":"Mei"}"#).code(), "subject-missing");
    let by_document = Collection { bind: Bind::Document, ..customers() };
    assert_eq!(refusal(&by_document, r#"{"name":"Mei"}"#).code(), "subject-missing");
    let by_field = Collection { bind: Bind::Field, ..customers() };
    assert!(protect_as(&by_field, &ring(), &all_at(Level::Clear), Intent::Create, r#"{"name":"Mei"}"#, None).is_ok());
    // Nothing to bind, nothing missing.
    assert!(create(r#"{"tier":"gold"}"#).is_ok());
}

#[test]
fn t36_ids_are_strings_or_canonical_integers() {
    for id in [
        "1.0",
        "1e2",
        "1E2",
        "10e-1",
        "-0",
        "0.0",
        "9007199254740992",
        "-9007199254740992",
        "123456789012345678901234567890",
        "true",
        "null",
        "[1]",
        "\"\"",
        "{}",
    ] {
        assert_eq!(create(&format!(r#"{{"id":{id},"name":"Mei"}}"#)), Err("id-malformed"), "{id}");
    }
    for id in ["0", "-3", "9007199254740991", "-9007199254740991", "\"1e2\"", "\"-0\""] {
        let body = format!(r#"{{"id":{id},"name":"Mei"}}"#);
        assert_eq!(shown(&customers(), &ring(), &all_at(Level::Clear), &create(&body).unwrap()), body, "{id}");
    }
    // The number and its text are one id, as they are in a URL.
    let stored = create(r#"{"id":17,"name":"Mei"}"#).unwrap();
    assert!(create(&stored.replacen(r#""id":17"#, r#""id":"17""#, 1)).is_ok());
    assert!(create(r#"{"id":"\u0063-1","name":"Mei"}"#).is_ok());
}

#[test]
fn url_and_body_must_name_one_document() {
    let put = |body: &str, url: &str| {
        protect_as(&customers(), &ring(), &all_at(Level::Clear), Intent::Create, body, Some(url))
            .map(|_| ())
            .map_err(|error| error.code())
    };
    assert_eq!(put(r#"{"id":"c-1","name":"Mei"}"#, "c-1"), Ok(()));
    assert_eq!(put(r#"{"id":17,"name":"Mei"}"#, "17"), Ok(()));
    assert_eq!(put(r#"{"name":"Mei"}"#, "c-1"), Ok(()));
    assert_eq!(put(r#"{"id":"c-2","name":"Mei"}"#, "c-1"), Err("id-mismatch"));
    assert_eq!(put(r#"{"id":null,"name":"Mei"}"#, "c-1"), Err("id-mismatch"));
    assert_eq!(put(r#"{"id":"c-2"}"#, "c-1"), Err("id-mismatch"));
    // The URL names the body, not the rows inside it.
    assert_eq!(put(r#"[{"id":"c-2","name":"Mei"}]"#, "c-1"), Ok(()));
}

#[test]
fn the_url_id_binds() {
    let protected =
        protect_as(&customers(), &ring(), &all_at(Level::Clear), Intent::Create, r#"{"name":"Mei"}"#, Some("c-1")).unwrap();
    assert_eq!(protected.subjects, [id("c-1")]);
    let stored = String::from_utf8(protected.body.into_bytes().to_vec()).unwrap();
    let revealed = reveal_all(&customers(), &ring(), &all_at(Level::Clear), &stored, Some("c-1")).unwrap();
    assert_eq!(revealed.bytes, br#"{"name":"Mei"}"#);
    assert!(reveal_all(&customers(), &ring(), &all_at(Level::Clear), &stored, Some("c-2")).is_err());
}

#[test]
fn an_assigned_id_is_inserted_and_binds() {
    let assign = |body: &str, ids: &[Option<&str>]| {
        let (collection, ring) = (customers(), ring());
        let plan = plan_of(&collection);
        let layout = layout_of(&plan, body);
        let rows: Vec<RowWrite> =
            ids.iter().map(|id| RowWrite { intent: Intent::Create, assigned_id: id.map(str::to_string) }).collect();
        let bytes = bytes::Bytes::copy_from_slice(body.as_bytes());
        protect(&collection, &plan, &ring, &all_at(Level::Clear), &bytes, &layout, &rows, None, "id")
            .map_err(|error| error.code())
    };
    let text = |protected: Protected| String::from_utf8(protected.body.into_bytes().to_vec()).unwrap();
    let protected = assign(r#"{"name":"Mei"}"#, &[Some("a\"1")]).unwrap();
    assert_eq!(protected.subjects, [id("a\"1")]);
    let stored = text(protected);
    assert!(stored.starts_with(r#"{"id":"a\"1","name":"sdr1."#), "{stored}");
    assert_eq!(shown(&customers(), &ring(), &all_at(Level::Clear), &stored), r#"{"id":"a\"1","name":"Mei"}"#);
    assert_eq!(text(assign("{ }", &[Some("a")]).unwrap()), r#"{"id":"a" }"#);
    assert_eq!(
        text(assign(r#"[{"x":1}, {"id":"b"} ,{}]"#, &[Some("a"), None, Some("c")]).unwrap()),
        r#"[{"id":"a","x":1}, {"id":"b"} ,{"id":"c"}]"#
    );
    assert_eq!(assign(r#"{"id":"b","name":"Mei"}"#, &[Some("a")]).map(|_| ()), Err("id-mismatch"));
    assert_eq!(assign(r#"{"name":"Mei"}"#, &[Some("")]).map(|_| ()), Err("id-malformed"));
}

#[test]
fn a_body_without_a_document_is_refused() {
    for body in ["[]", "17", r#"["x"]"#, "null", r#"[{"id":"c-1"},"x"]"#] {
        let error = protect_as(&customers(), &ring(), &all_at(Level::Clear), Intent::Create, body, None).unwrap_err();
        assert_eq!(error.code(), "no-document", "{body}");
        assert_eq!(error.to_string(), "no document in this request: one JSON object is expected at $ or $[*] or $.items[*]");
    }
}

#[test]
fn a_plain_body_must_not_carry_documents() {
    let collection = customers();
    let plan = plan_with(&collection, &["$.docs[*]"]);
    let without = |body: &str| {
        let layout = layout_of(&plan, body);
        ProtectedBody::without_documents(&plan, &bytes::Bytes::copy_from_slice(body.as_bytes()), &layout)
            .map(ProtectedBody::into_bytes)
    };
    assert_eq!(without(r#"{"keys":["a"]}"#).unwrap(), r#"{"keys":["a"]}"#);
    assert_eq!(without(r#"{"docs":[{"name":"Mei"}]}"#).unwrap_err().code(), "unexpected-document");
    assert!(ProtectedBody::none().into_bytes().is_empty());
}

#[test]
fn a_value_that_is_too_long_is_refused() {
    let max = crate::base::limits::MAX_PLAINTEXT_BYTES;
    let of = |bytes: usize| create(&format!(r#"{{"id":"c-1","name":"{}"}}"#, "x".repeat(bytes - 2)));
    assert!(of(max).is_ok());
    assert_eq!(of(max + 1), Err("value-too-long"));
}

#[test]
fn other_people_in_a_document_are_bound_to_themselves() {
    let guest = Field { subject: Some(selector("$.guests[*].id")), ..field("guest", "$.guests[*].name", "name") };
    let bookings = collection(vec![field("name", "$.name", "name"), guest]);
    let body = r#"{"id":"b-1","name":"Mei","guests":[{"id":"g-1","name":"Ann"},{"name":"Bo","id":"g-2"}]}"#;
    let protected = protect_as(&bookings, &ring(), &all_at(Level::Clear), Intent::Create, body, None).unwrap();
    assert_eq!(protected.subjects, [id("b-1"), id("g-1"), id("g-2")]);
    let stored = String::from_utf8(protected.body.into_bytes().to_vec()).unwrap();
    let clear = all_at(Level::Clear);
    let revealed = reveal_all(&bookings, &ring(), &clear, &stored, None).unwrap();
    assert_eq!(revealed.bytes, body.as_bytes());
    assert_eq!(revealed.subjects, [id("b-1"), id("g-1"), id("g-2")]);
    // T41: another person's value does not open.
    let swapped = stored.replace(r#""g-1""#, r#""g-x""#).replace(r#""g-2""#, r#""g-1""#).replace(r#""g-x""#, r#""g-2""#);
    assert!(reveal_all(&bookings, &ring(), &clear, &swapped, None).is_err());
    // A booking may change hands without touching its guests.
    let sealed: Vec<&str> = envelopes(&stored);
    let moved = format!(r#"{{"id":"b-2","guests":[{{"id":"g-1","name":"{}"}}]}}"#, sealed[1]);
    assert_eq!(shown(&bookings, &ring(), &clear, &moved), r#"{"id":"b-2","guests":[{"id":"g-1","name":"Ann"}]}"#);
    let nobody = r#"{"id":"b-1","guests":[{"name":"Ann"}]}"#;
    let error = protect_as(&bookings, &ring(), &clear, Intent::Create, nobody, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "field guest is bound to the data subject, but $.guests[*].id is missing: send it in the document or in the URL"
    );
}

#[test]
fn every_value_of_a_person_is_bound_to_that_person() {
    let phones = Field { subject: Some(selector("$.guests[*].id")), ..field("guest-phone", "$.guests[*].phones[*]", "phone") };
    let bookings = collection(vec![phones]);
    let body = r#"{"id":"b-1","guests":[{"phones":["1","2"],"id":"g-1"},{"id":"g-2","phones":["3","4"]}]}"#;
    let stored = stored(&bookings, &ring(), body);
    assert_eq!(shown(&bookings, &ring(), &all_at(Level::Clear), &stored), body);
    let moved = stored.replace(r#""id":"g-2""#, r#""id":"g-3""#);
    assert!(reveal_all(&bookings, &ring(), &all_at(Level::Clear), &moved, None).is_err());
}

#[test]
fn subjects_are_distinct_and_in_order() {
    let rows: Vec<String> = (0..60).map(|n| format!(r#"{{"id":"c-{}","name":"x"}}"#, n % 25)).collect();
    let protected =
        protect_as(&customers(), &ring(), &all_at(Level::Clear), Intent::Create, &format!("[{}]", rows.join(",")), None).unwrap();
    assert_eq!(protected.subjects, (0..25).map(|n| id(&format!("c-{n}"))).collect::<Vec<_>>());
    assert_eq!(protected.tally.protected.iter().map(|(_, count)| count).sum::<u32>(), 60);
}

#[test]
fn no_error_and_no_debug_form_holds_a_value() {
    let bodies = [
        r#"{"id":"c-1","name":"CANARY •"}"#,
        r#"{"name":"CANARY"}"#,
        r#"{"id":1.5,"name":"CANARY"}"#,
        r#"{"id":"c-1","name":"sdr1.CANARY"}"#,
        r#"{"id":"c-1","phones":"CANARY"}"#,
        r#"["CANARY"]"#,
    ];
    for body in bodies {
        let error = protect_as(&customers(), &ring(), &all_at(Level::Clear), Intent::Create, body, None).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error:?}");
    }
    let protected =
        protect_as(&customers(), &ring(), &all_at(Level::Clear), Intent::Create, r#"{"id":"c-1","x":"CANARY"}"#, None).unwrap();
    assert!(!format!("{protected:?}").contains("CANARY"));
}

#[test]
fn plans_name_what_is_wrong() {
    let errors = |collection: &Collection| {
        let set = crate::document::RowSet { rows: vec![selector("$")], ..Default::default() };
        Plan::compile(collection, &set).unwrap_err()
    };
    let overlap = collection(vec![field("name", "$.name", "name"), field("first", "$.name.first", "name")]);
    assert_eq!(
        errors(&overlap),
        ["field name ($.name) and field first ($.name.first) can match the same value; make the selectors disjoint"]
    );
    let unbound = Collection { subject: Subject::None, ..customers() };
    assert!(errors(&unbound).iter().all(|error| error.contains("needs `subject`")));
    assert_eq!(errors(&unbound).len(), 3);
    let unpaired =
        collection(vec![Field { subject: Some(selector("$.owners[*].id")), ..field("guest", "$.guests[*].name", "name") }]);
    assert!(errors(&unpaired)[0].contains("cannot be paired"), "{:?}", errors(&unpaired));
    let id_inside = Collection { id: selector("$.name.id"), ..customers() };
    assert!(errors(&id_inside)[0].contains("the id ($.name.id)"), "{:?}", errors(&id_inside));
    let many_ids = Collection { id: selector("$.ids[*]"), ..customers() };
    assert!(errors(&many_ids)[0].contains("must name one member"));
    let whole = collection(vec![field("all", "$", "note")]);
    assert!(errors(&whole).iter().any(|error| error.contains("$ is the whole document")), "{:?}", errors(&whole));
}

#[test]
fn facts_give_the_dialect_what_it_asked_for() {
    let collection = customers();
    let set = crate::document::RowSet {
        rows: vec![selector("$.docs[*]")],
        row_peeks: vec![selector("$._rev"), selector("$.id")],
        body_peeks: vec![selector("$.new_edits")],
        below: None,
    };
    let plan = Plan::compile(&collection, &set).unwrap();
    let body = r#"{"new_edits":false,"docs":[{"id":"a","_rev":"1-x","name":"Mei"},{"name":1}]}"#;
    let layout = layout_of(&plan, body);
    let facts = facts(&plan, body.as_bytes(), &layout);
    assert_eq!(facts.body, [(0, &b"false"[..])]);
    assert_eq!(facts.rows.len(), 2);
    let mut peeks = facts.rows[0].peeks.clone();
    peeks.sort_unstable();
    assert_eq!(peeks, [(0, &br#""1-x""#[..]), (1, br#""a""#)]);
    assert_eq!(facts.rows[0].id, Some(&br#""a""#[..]));
    assert!(facts.rows[1].peeks.is_empty() && facts.rows[1].id.is_none());
}

#[test]
fn kids_of_rotated_keys_still_open() {
    let old = ring_with(vec![(LineName::Seal, kid("00000001"), State::Active, [1; 32])]);
    let stored = stored(&customers(), &old, MEI);
    let rotated = ring_with(vec![
        (LineName::Seal, kid("00000001"), State::Deactivated, [1; 32]),
        (LineName::Seal, kid("00000002"), State::Active, [2; 32]),
    ]);
    assert_eq!(shown(&customers(), &rotated, &all_at(Level::Clear), &stored), MEI);
    let anew = super::super::testing::stored(&customers(), &rotated, MEI);
    assert!(envelopes(&anew).iter().all(|envelope| envelope.starts_with("sdr1.x.00000002.")));
    // A write may carry a compromised key's envelope on (it is rewrapped later), a read does not open it.
    let compromised = ring_with(vec![
        (LineName::Seal, kid("00000001"), State::Compromised, [1; 32]),
        (LineName::Seal, kid("00000002"), State::Active, [2; 32]),
    ]);
    let tally = protect_as(&customers(), &compromised, &all_at(Level::Clear), Intent::Replace, &stored, None).unwrap().tally;
    assert_eq!((tally.kept, tally.compromised), (4, 4));
    let tally = protect_as(&customers(), &rotated, &all_at(Level::Clear), Intent::Replace, &stored, None).unwrap().tally;
    assert_eq!((tally.kept, tally.compromised), (4, 0));
    assert!(reveal_all(&customers(), &compromised, &all_at(Level::Clear), &stored, None).is_err());
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        (-1e9_f64..1e9).prop_map(serde_json::Value::from),
        "[^•]*"
            .prop_filter("no pseudonym, no envelope", |text| !text.starts_with("sdr1.") && !text.starts_with("psn1_"))
            .prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::hash_map("[a-z]{0,6}", inner, 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_value_round_trips(name in json_value(), phones in proptest::collection::vec(json_value(), 0..4), key in "\\PC{1,20}") {
        let body = serde_json::json!({"id": key, "name": name, "phones": phones, "rest": [name, key]}).to_string();
        let stored = stored(&customers(), &ring(), &body);
        prop_assert_eq!(envelopes(&stored).len(), 1 + phones.len());
        prop_assert_eq!(shown(&customers(), &ring(), &all_at(Level::Clear), &stored), body);
    }

    #[test]
    fn mask_characters_are_found_as_serde_reads_them(text in "[•u2\\\\x]{0,12}") {
        let json = serde_json::to_vec(&text).unwrap();
        prop_assert_eq!(has_mask_character(&json), text.contains('•'));
        // The same text with every mask character escaped.
        let escaped = String::from_utf8(json).unwrap().replace('•', "\\u2022");
        prop_assert_eq!(has_mask_character(escaped.as_bytes()), text.contains('•'));
    }
}

#[test]
fn the_id_of_the_url_is_that_of_a_document_that_stands_alone() {
    let (customers, ring) = (customers(), ring());
    let plan = plan_with(&customers, &["$.data", "$.items[*]"]);
    let write = |body: &str| {
        let (layout, bytes) = (layout_of(&plan, body), bytes::Bytes::copy_from_slice(body.as_bytes()));
        let rows: Vec<RowWrite> = layout.rows.iter().map(|_| RowWrite { intent: Intent::Create, assigned_id: None }).collect();
        protect(&customers, &plan, &ring, &all_at(Level::Clear), &bytes, &layout, &rows, Some(&id("c-1")), "id")
    };
    assert_eq!(write(r#"{"data":{"name":"Mei"}}"#).unwrap().subjects, [id("c-1")]);
    assert_eq!(write(r#"{"data":{"id":"c-2","name":"Mei"}}"#).unwrap_err().code(), "id-mismatch");
    assert_eq!(write(r#"{"items":[{"name":"Mei"}]}"#).unwrap_err().code(), "subject-missing");
}
