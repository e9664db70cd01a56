//! Token fields through [`protect_over`] and [`reveal_found`], beside a vault in memory.

use serde_json::{Value, json};

use super::super::testing::*;
use super::super::*;
use crate::base::Intent;
use crate::purpose::{Grant, Level};
use crate::vault::{Format, Kind, Scope};

fn token(scope: &str, format: Format, consistent: bool) -> Protection {
    Protection::Token(Kind { scope: Scope::named(scope), format, consistent })
}

/// `name` opaque, `phone` digits in a list, `note` fresh; `address` sealed as ever.
fn people() -> Collection {
    let name = Field { mask: Mask::Initials, protection: token("name", Format::Opaque, true), ..field("name", "$.name", "name") };
    let phone = Field { protection: token("phone", Format::Digits, true), ..field("phone", "$.phones[*]", "phone") };
    let note = Field { protection: token("note", Format::Opaque, false), ..field("note", "$.note", "note") };
    collection(vec![name, phone, note, field("address", "$.address", "address")])
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn create(collection: &Collection, body: &Value) -> Value {
    json_of(&stored(collection, &ring(), &body.to_string()))
}

fn show(collection: &Collection, grant: &Grant, stored: &Value) -> Result<Value, RevealError> {
    let revealed = reveal_all(collection, &ring(), grant, &stored.to_string(), None)?;
    Ok(serde_json::from_slice(&revealed.bytes).unwrap())
}

fn replace(collection: &Collection, grant: &Grant, stored: &Value, body: &Value) -> Result<Value, WriteError> {
    replace_over(collection, &ring(), grant, &stored.to_string(), &body.to_string()).map(|text| json_of(&text))
}

fn person() -> Value {
    json!({"id": "c-1", "name": "Mei Tanaka", "phones": ["+81-3-5550-1234", "090-1234-5678"], "note": {"a": [1.0]}, "address": "101-0047 T"})
}

#[test]
fn values_leave_as_tokens_and_come_back_at_every_level() {
    fresh_vault();
    let collection = people();
    let stored = create(&collection, &person());
    assert!(stored["name"].as_str().unwrap().starts_with("tok1_"), "{stored}");
    assert!(stored["note"].as_str().unwrap().starts_with("tok1_"), "{stored}");
    assert!(stored["phones"][0].as_str().unwrap().starts_with("+0"), "{stored}");
    assert!(stored["address"].as_str().unwrap().starts_with("sdr1.x."), "{stored}");
    assert_eq!(show(&collection, &all_at(Level::Clear), &stored).unwrap(), person());
    assert_eq!(show(&collection, &all_at(Level::Sealed), &stored).unwrap(), stored);
    assert_eq!(show(&collection, &all_at(Level::Absent), &stored).unwrap(), json!({"id": "c-1", "phones": []}));
    let masked = show(&collection, &all_at(Level::Masked), &stored).unwrap();
    assert_eq!((&masked["name"], &masked["phones"][1]), (&json!("M••• T•••"), &json!("••••5678")));
    let pseudonym = show(&collection, &all_at(Level::Pseudonym), &stored).unwrap();
    let sealed = collection_sealed();
    let as_sealed = show(&sealed, &all_at(Level::Pseudonym), &create(&sealed, &person())).unwrap();
    assert_eq!(pseudonym["name"], as_sealed["name"], "a pseudonym is of the value, however it is stored");
}

/// The same fields, all sealed.
fn collection_sealed() -> Collection {
    let mut sealed = people();
    for field in &mut sealed.fields {
        field.protection = Protection::Seal;
    }
    sealed
}

#[test]
fn equal_values_of_a_scope_join_and_fresh_ones_do_not() {
    fresh_vault();
    let mut shared = people();
    shared.fields[0].protection = token("ids", Format::Opaque, true);
    shared.fields[3].protection = token("ids", Format::Opaque, true);
    let one = create(&shared, &json!({"id": "c-1", "name": "x", "note": "x"}));
    let two = create(&shared, &json!({"id": "c-2", "address": "x", "note": "x"}));
    assert_eq!(one["name"], two["address"]);
    assert_ne!(one["note"], two["note"]);
    assert_ne!(one["note"], one["name"]);
    // One value in two spellings (T17: NFC and NFD), and one that only looks like it.
    let composed = create(&shared, &json!({"id": "c-3", "name": "Zo\u{eb}"}));
    assert_eq!(create(&shared, &json!({"id": "c-4", "name": "Zoe\u{308}"}))["name"], composed["name"]);
    for other in ["Zo\u{eb}\u{200b}", "zo\u{eb}", "Ｚｏ\u{eb}"] {
        assert_ne!(create(&shared, &json!({"id": "c-4", "name": other}))["name"], composed["name"], "{other}");
    }
    assert_ne!(
        create(&shared, &json!({"id": "c-5", "name": 17}))["name"],
        create(&shared, &json!({"id": "c-5", "name": "17"}))["name"]
    );
}

#[test]
fn a_body_is_one_claim_and_a_window_one_read() {
    let (memory, _) = fresh_vault();
    let mut opaque = people();
    opaque.fields[1].protection = token("phone", Format::Opaque, true);
    let phones: Vec<String> = (0..98).map(|n| format!("phone {n}")).collect();
    let body = json!({"id": "c-1", "name": "n", "note": "n", "phones": phones});
    let stored = create(&opaque, &body);
    assert_eq!(memory.calls(), (1, 0, 0));
    show(&opaque, &all_at(Level::Clear), &stored).unwrap();
    assert_eq!(memory.calls(), (0, 1, 0));
    show(&opaque, &all_at(Level::Sealed), &stored).unwrap();
    assert_eq!(memory.calls(), (0, 0, 0), "nothing is opened to show tokens");
    // Whoever sees all and writes all is not compared with what is stored: one claim, which answers with the rows it found.
    replace(&opaque, &all_at(Level::Clear), &stored, &body).unwrap();
    assert_eq!(memory.calls(), (1, 0, 0));
    // Digits are looked up before they are taken for values.
    create(&people(), &json!({"id": "c-1", "phones": ["11111111", "22222222"]}));
    assert_eq!(memory.calls(), (1, 1, 0));
}

#[test]
fn a_refused_write_makes_nothing() {
    let (memory, _) = fresh_vault();
    let refused = [
        (json!({"id": "c-1", "name": "x", "address": "sdr1.x.7k3m9qpa.AAAA"}), "foreign-envelope"),
        (json!({"id": "c-1", "name": "x", "note": "a•"}), "masked-value"),
        (json!({"id": "c-1", "name": true}), "not-canonical"),
        (json!({"id": "c-1", "phones": ["12345678", "1234567"]}), "token-format"),
        (json!({"id": "c-1", "phones": ["１２３４５６７８"]}), "token-format"),
        (json!({"id": "c-1", "phones": ["1234\u{200b}5678"]}), "token-format"),
        (json!({"id": "c-1", "phones": [12_345_678]}), "token-format"),
        (json!({"name": "x"}), "subject-missing"),
    ];
    for (body, code) in refused {
        let error = protect_as(&people(), &ring(), &all_at(Level::Clear), Intent::Create, &body.to_string(), None).unwrap_err();
        assert_eq!(error.code(), code, "{body}: {error}");
    }
    assert_eq!(memory.calls().0, 0);
}

/// T2 of tokens: nothing that is a token, or could be one, is stored as a value; the one that is stored here stays.
#[test]
fn t02_a_token_is_taken_only_where_it_is_stored() {
    fresh_vault();
    let collection = people();
    let mine = create(&collection, &person());
    let other = create(&collection, &json!({"id": "c-2", "name": "Ben", "phones": ["080-8765-4321"], "note": "b"}));
    let looks = json!("tok1_00000000000000000000000000");
    for (member, foreign) in [
        ("name", other["name"].clone()),
        ("name", mine["note"].clone()),
        ("name", looks),
        ("name", json!("tok1_")),
        ("note", mine["note"].clone()),
        ("phones", other["phones"].clone()),
        ("phones", mine["phones"].clone()),
    ] {
        let mut body = json!({"id": "c-3"});
        body[member] = foreign;
        let refused = protect_as(&collection, &ring(), &all_at(Level::Clear), Intent::Create, &body.to_string(), None);
        assert_eq!(refused.unwrap_err().code(), "foreign-token", "{body}");
    }
    // Digits of another scope are digits.
    let mut elsewhere = people();
    elsewhere.fields[1].protection = token("elsewhere", Format::Digits, true);
    create(&elsewhere, &json!({"id": "c-1", "phones": mine["phones"]}));
    for level in [Level::Sealed, Level::Clear, Level::Masked, Level::Absent] {
        let grant = all_at(level);
        let mut body = mine.clone();
        body["tier"] = json!("gold");
        if matches!(level, Level::Clear | Level::Absent | Level::Masked) {
            // Of digits only who is shown tokens can mean tokens.
            body["phones"] = show(&collection, &grant, &mine).unwrap()["phones"].clone();
        }
        let after = replace(&collection, &grant, &mine, &body).unwrap_or_else(|error| panic!("{level}: {error}"));
        assert_eq!(
            (&after["name"], &after["note"], &after["phones"]),
            (&mine["name"], &mine["note"], &mine["phones"]),
            "{level}"
        );
        body["name"] = other["name"].clone();
        assert_eq!(replace(&collection, &grant, &mine, &body).unwrap_err().code(), "foreign-token", "{level}");
    }
    let mut swapped = mine.clone();
    swapped["phones"] = other["phones"].clone();
    assert_eq!(replace(&collection, &all_at(Level::Sealed), &mine, &swapped).unwrap_err().code(), "foreign-token");
}

#[test]
fn a_stored_text_that_is_no_token_of_its_scope_is_not_shown() {
    let (memory, _) = fresh_vault();
    let collection = people();
    let stored = create(&collection, &person());
    let of_other_scope = stored["note"].clone();
    let bad = [
        ("name", of_other_scope),
        ("name", json!("tok1_00000000000000000000000000")),
        ("name", json!("tok1_0")),
        ("name", json!("Mei Tanaka")),
        ("phones", json!(["090-1234-5678"])),
        ("phones", json!(["12"])),
        ("phones", json!([7])),
    ];
    for (member, value) in bad.clone() {
        let mut changed = stored.clone();
        changed[member] = value;
        let error = show(&collection, &all_at(Level::Clear), &changed).unwrap_err();
        assert_eq!(error.code(), "value-not-authentic", "{changed}");
        let withheld = Collection { on_bad_value: OnBadValue::Withhold, ..people() };
        assert_eq!(show(&withheld, &all_at(Level::Clear), &changed).unwrap()[member].as_str(), None, "{changed}");
    }
    // Where tokens themselves are shown, a clear value that stands in their place is none.
    for (member, value) in [("name", json!("Mei Tanaka")), ("phones", json!(["090-1234-5678"]))] {
        let mut changed = stored.clone();
        changed[member] = value;
        assert!(show(&collection, &all_at(Level::Sealed), &changed).is_err(), "{changed}");
    }
    // While migrating clear values are what is there, but what is kept for tokens is no value.
    let lax = Collection { strict: false, ..people() };
    let clear = json!({"id": "c-1", "name": "Mei Tanaka", "phones": ["090-1234-5678"]});
    assert_eq!(show(&lax, &all_at(Level::Clear), &clear).unwrap(), clear);
    assert!(show(&lax, &all_at(Level::Clear), &json!({"id": "c-1", "name": "tok1_00000000000000000000000000"})).is_err());
    let of_names = grant(&[("name", Level::Masked)], Some(&["phone"]));
    let after = replace(&lax, &of_names, &clear, &json!({"id": "c-1", "name": "M••• T•••"})).unwrap();
    assert!(after["name"].as_str().unwrap().starts_with("tok1_"), "{after}");
    assert_eq!(show(&lax, &all_at(Level::Clear), &after).unwrap(), clear);
    // A row that was changed.
    memory.edit(|rows| rows.values_mut().for_each(|row| row.value.iter_mut().for_each(|byte| *byte ^= 1)));
    assert!(matches!(show(&collection, &all_at(Level::Clear), &stored), Err(RevealError::NotAuthentic { .. })));
}

/// What was sealed before the field's values became tokens opens in its place, and becomes a token when it is written anew.
#[test]
fn the_protection_of_a_field_may_change_to_tokens() {
    fresh_vault();
    let sealed = create(&collection_sealed(), &person());
    let collection = people();
    assert_eq!(show(&collection, &all_at(Level::Clear), &sealed).unwrap(), person());
    let after = replace(&collection, &all_at(Level::Clear), &sealed, &person()).unwrap();
    assert!(after["name"].as_str().unwrap().starts_with("tok1_"), "{after}");
    // Whoever sees nothing of it leaves it as it is.
    let blind = grant(&[], Some(&[]));
    let kept = replace(&collection, &blind, &sealed, &json!({"id": "c-1", "tier": "gold"})).unwrap();
    assert_eq!(kept["name"], sealed["name"]);
    assert_eq!(replace(&collection, &blind, &after, &json!({"id": "c-1"})).unwrap()["name"], after["name"]);
}

/// The vault keeps for whom a token is used, so one stays with whom it is about.
#[test]
fn t35_a_token_stays_with_its_subject() {
    let (_, vault) = fresh_vault();
    let orders = Collection { subject: Subject::At(selector("$.owner")), bind: crate::base::Bind::Document, ..people() };
    let order = json!({"id": "o-1", "owner": "p-1", "name": "Mei"});
    let stored = create(&orders, &order);
    let name = |subject: &str| vault.names_of(&id(subject)).unwrap()[0];
    let uses = |stored: &Value| now(vault.references(&Scope::named("name"), stored["name"].as_str().unwrap())).unwrap();
    assert_eq!(uses(&stored), [name("p-1")]);
    let moved = json!({"id": "o-1", "owner": "p-2", "name": stored["name"]});
    assert_eq!(replace(&orders, &all_at(Level::Sealed), &stored, &moved).unwrap_err().code(), "subject-changed");
    let clear = json!({"id": "o-1", "owner": "p-2", "name": "Mei"});
    assert_eq!(replace(&orders, &all_at(Level::Clear), &stored, &clear).unwrap()["name"], stored["name"]);
    assert_eq!(uses(&stored).len(), 2);
    assert!(patch_needs_subject(&orders));
}

#[test]
fn without_a_vault_nothing_is_stored() {
    let collection = people();
    let plan = plan_of(&collection);
    let body = person().to_string();
    let layout = layout_of(&plan, &body);
    let rows = [RowWrite { intent: Intent::Create, assigned_id: None }];
    let bytes = bytes::Bytes::from(body);
    let refused = protect(&collection, &plan, &ring(), &all_at(Level::Clear), &bytes, &layout, &rows, None, "id").unwrap_err();
    assert!(matches!(refused, WriteError::TokensWanted), "{refused}");
}
