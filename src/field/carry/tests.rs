//! What stays, what goes, what is refused: each rule and each kind of list.

use serde_json::{Value, json};

use super::super::testing::*;
use super::super::*;
use crate::base::Bind;
use crate::purpose::{Grant, Level};

const MEI: &str =
    r#"{"id":"c-1","name":"Mei Tanaka","address":"101-0047 Uchikanda","phones":["+81355501234","110"],"tier":"gold"}"#;

fn clear() -> Grant {
    all_at(Level::Clear)
}

/// Every category at one level, nothing may be written.
fn reader(level: Level) -> Grant {
    let levels: Vec<(&str, Level)> = CATEGORIES.iter().map(|name| (*name, level)).collect();
    grant(&levels, Some(&[]))
}

/// A document and the changes that a caller makes to what it is shown of it.
struct Case {
    collection: Collection,
    old: String,
}

impl Case {
    fn new(collection: Collection, body: &str) -> Self {
        let old = stored(&collection, &ring(), body);
        Self { collection, old }
    }

    fn customer() -> Self {
        Self::new(customers(), MEI)
    }

    fn shown(&self, grant: &Grant) -> Value {
        serde_json::from_str(&shown(&self.collection, &ring(), grant, &self.old)).unwrap()
    }

    /// Reads, changes, writes back; what is stored then.
    fn edit(&self, grant: &Grant, change: impl FnOnce(&mut Value)) -> Result<String, &'static str> {
        let mut document = self.shown(grant);
        change(&mut document);
        self.write(grant, &document.to_string())
    }

    fn write(&self, grant: &Grant, body: &str) -> Result<String, &'static str> {
        replace_over(&self.collection, &ring(), grant, &self.old, body).map_err(|error| error.code())
    }

    /// The same, and what a caller that sees everything is shown of it.
    fn edit_clear(&self, grant: &Grant, change: impl FnOnce(&mut Value)) -> Result<Value, &'static str> {
        self.edit(grant, change).map(|text| self.clear(&text))
    }

    fn clear(&self, text: &str) -> Value {
        serde_json::from_str(&super::super::testing::shown(&self.collection, &ring(), &clear(), text)).unwrap()
    }

    fn old(&self) -> Value {
        serde_json::from_str(&self.old).unwrap()
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn t26_a_partial_view_saved_back_changes_what_was_changed_and_nothing_else() {
    let case = Case::customer();
    for level in Level::ALL {
        for writes in [None, Some(&CATEGORIES[..]), Some(&[][..])] {
            let levels: Vec<(&str, Level)> = CATEGORIES.iter().map(|name| (*name, level)).collect();
            let grant = grant(&levels, writes);
            let after = case.edit(&grant, |document| document["tier"] = json!("silver")).unwrap();
            let mut expected = case.old();
            expected["tier"] = json!("silver");
            // Who sees everything and may write everything is not slowed down by a look at what is stored.
            if level == Level::Clear && writes != Some(&[]) {
                expected = case.clear(&expected.to_string());
                assert_eq!(case.clear(&after), expected);
            } else {
                assert_eq!(parse(&after), expected, "{level:?} {writes:?}: the very envelopes");
            }
        }
    }
}

#[test]
fn whoever_sees_and_writes_everything_needs_no_look_at_what_is_stored() {
    let body = r#"{"id":"c-1","name":"Mei"}"#;
    let collection = customers();
    let plan = plan_of(&collection);
    let layout = layout_of(&plan, body);
    let needs = |grant: &Grant| {
        let rows = [RowWrite { intent: crate::base::Intent::Replace, assigned_id: None }];
        !rows_that_need_the_stored(&collection, &plan, &ring(), grant, body.as_bytes(), &layout, &rows).is_empty()
    };
    assert!(!needs(&clear()) && !needs(&all_at(Level::Sealed)));
    assert!(needs(&reader(Level::Clear)) && needs(&all_at(Level::Absent)) && needs(&all_at(Level::Masked)));
    let sends_no_stand_in =
        grant(&[("name", Level::Clear), ("address", Level::Masked), ("phone", Level::Pseudonym)], Some(&CATEGORIES));
    assert!(!needs(&sends_no_stand_in), "what it saw and left out goes");
}

#[test]
fn rule_1_what_was_shown_or_is_stored_is_kept() {
    let case = Case::customer();
    for level in [Level::Clear, Level::Masked, Level::Pseudonym, Level::Sealed] {
        let after = case.edit(&reader(level), |_| {}).unwrap();
        assert_eq!(parse(&after), case.old(), "{level:?}");
    }
    // The envelope itself, whatever is shown.
    for level in Level::ALL {
        assert_eq!(case.write(&reader(level), &case.old).as_deref(), Ok(case.old.as_str()), "{level:?}");
    }
    // Clients spell strings their own way.
    let body = r#"{"id":"c-1","name":"M\u0065i Tanaka","address":"101-0047 Uchikanda","phones":["+81355501234","110"]}"#;
    assert_eq!(parse(&case.write(&reader(Level::Clear), body).unwrap())["name"], case.old()["name"]);
    let number = Case::new(customers(), r#"{"id":"c-1","name":1.0}"#);
    assert_eq!(parse(&number.write(&reader(Level::Clear), r#"{"id":"c-1","name":1}"#).unwrap()), number.old());
}

#[test]
fn rule_2_what_may_not_be_written_is_carried_over_if_it_is_left_out_and_refused_otherwise() {
    let case = Case::customer();
    for level in Level::ALL {
        let after = case.write(&reader(level), r#"{"id":"c-1","tier":"silver"}"#).unwrap();
        let mut expected = case.old();
        expected["tier"] = json!("silver");
        assert_eq!(parse(&after), expected, "{level:?}");
        for body in [
            r#"{"id":"c-1","name":"Ken"}"#,
            r#"{"id":"c-1","name":null}"#,
            r#"{"id":"c-1","name":"••••"}"#,
            r#"{"id":"c-1","phones":["110"]}"#,
            r#"{"id":"c-1","phones":["+81355501234","110","112"]}"#,
            r#"{"id":"c-1","phones":[null]}"#,
            r#"{"id":"c-1","phones":null}"#,
        ] {
            assert_eq!(case.write(&reader(level), body), Err("not-writable"), "{level:?} {body}");
        }
    }
}

#[test]
fn t16_a_right_guess_is_answered_as_a_wrong_one() {
    let case = Case::customer();
    for level in [Level::Absent, Level::Masked, Level::Generalised, Level::Pseudonym, Level::Sealed] {
        for guess in ["Mei Tanaka", "Ken Tanaka"] {
            let body = json!({"id": "c-1", "name": guess}).to_string();
            assert_eq!(case.write(&reader(level), &body), Err("not-writable"), "{level:?}");
        }
        // Nor does a writer learn it from an envelope that stays.
        let body = json!({"id": "c-1", "name": "Mei Tanaka", "address": "101-0047 Uchikanda", "phones": ["110"]}).to_string();
        let after = case.write(&all_at(level), &body).unwrap();
        assert_ne!(parse(&after)["name"], case.old()["name"], "{level:?}");
    }
}

#[test]
fn rule_3_what_may_be_written_is_protected_anew_or_erased() {
    let case = Case::customer();
    for level in [Level::Masked, Level::Generalised, Level::Pseudonym, Level::Sealed, Level::Absent] {
        let after = case
            .edit_clear(&all_at(level), |document| {
                document["name"] = json!("Ken Sato");
                document["address"] = json!("150-0001 Jingumae");
                document["phones"] = json!(["119"]);
            })
            .unwrap();
        assert_eq!(
            after,
            json!({"id":"c-1","name":"Ken Sato","address":"150-0001 Jingumae","phones":["119"],"tier":"gold"}),
            "{level:?}"
        );
        let after = case
            .edit_clear(&all_at(level), |document| {
                document["name"] = Value::Null;
                document["phones"] = Value::Null;
            })
            .unwrap();
        assert_eq!((&after["name"], &after["phones"]), (&Value::Null, &Value::Null), "{level:?}: null erases");
    }
    // What is seen and left out is removed; what is not seen stays.
    for (level, stays) in [(Level::Masked, false), (Level::Pseudonym, false), (Level::Sealed, false), (Level::Absent, true)] {
        let after = case.write(&all_at(level), r#"{"id":"c-1"}"#).unwrap();
        assert_eq!(parse(&after).get("name").is_some(), stays, "{level:?}");
        assert_eq!(parse(&after).get("phones").is_some(), stays, "{level:?}");
    }
}

#[test]
fn t26_forms_that_match_nothing_stored_are_refused() {
    let case = Case::customer();
    let refused = |level, change: &dyn Fn(&mut Value)| case.edit(&all_at(level), |document| change(document)).unwrap_err();
    assert_eq!(refused(Level::Masked, &|document| document["name"] = json!("K••• S•••")), "masked-value");
    assert_eq!(refused(Level::Masked, &|document| document["name"] = document["phones"][0].clone()), "masked-value");
    assert_eq!(refused(Level::Pseudonym, &|document| document["name"] = document["address"].clone()), "masked-value");
    assert_eq!(refused(Level::Masked, &|document| document["phones"] = json!(["••••1234", "••••1234"])), "masked-value");
    // Of what a coarse form is, only what stands here tells: "150" could be the form of another address.
    let address = |text: &'static str| case.edit(&all_at(Level::Generalised), move |document| document["address"] = json!(text));
    assert!(address("101").is_ok());
    assert_eq!(address("150"), Err("masked-value"));
    assert_eq!(address("nowhere"), Err("masked-value"));
    assert!(address("150-0001 Jingumae").is_ok());
}

#[test]
fn what_a_coarse_level_cannot_show_is_carried_over() {
    let case = Case::new(customers(), r#"{"id":"c-1","address":"nowhere to be found"}"#);
    let grant = all_at(Level::Generalised);
    assert_eq!(case.shown(&grant).get("address"), None);
    assert_eq!(parse(&case.edit(&grant, |_| {}).unwrap()), case.old());
}

#[test]
fn values_of_a_list_are_paired_by_what_was_shown_of_them() {
    let case = Case::new(customers(), r#"{"id":"c-1","phones":["+81355501234","110","+81355509999"]}"#);
    let stored = |text: &str| parse(text)["phones"].as_array().unwrap().clone();
    let old = stored(&case.old);
    let masked = all_at(Level::Masked);
    let after = stored(&case.edit(&masked, |document| document["phones"].as_array_mut().unwrap().reverse()).unwrap());
    assert_eq!(after, [old[2].clone(), old[1].clone(), old[0].clone()]);
    let after = stored(&case.edit(&masked, |document| drop(document["phones"].as_array_mut().unwrap().remove(1))).unwrap());
    assert_eq!(after, [old[0].clone(), old[2].clone()]);
    let after = case.edit(&masked, |document| document["phones"].as_array_mut().unwrap().insert(1, json!("119"))).unwrap();
    assert_eq!(case.clear(&after)["phones"], json!(["+81355501234", "119", "110", "+81355509999"]));
    assert_eq!(stored(&after)[0], old[0]);
    // Who may not write may reorder, for nothing is lost, but neither remove nor add.
    let masked = reader(Level::Masked);
    assert!(case.edit(&masked, |document| document["phones"].as_array_mut().unwrap().reverse()).is_ok());
    assert_eq!(case.edit(&masked, |document| drop(document["phones"].as_array_mut().unwrap().remove(1))), Err("not-writable"));
    // An empty list, or none: what this caller was shown, or does not know of.
    for level in [Level::Absent, Level::Masked] {
        for body in [r#"{"id":"c-1","phones":[]}"#, r#"{"id":"c-1"}"#, r#"{"id":"c-1","phones":[ ]}"#] {
            assert_eq!(stored(&case.write(&reader(level), body).unwrap()), old, "{level:?} {body}");
        }
    }
    assert_eq!(stored(&case.write(&all_at(Level::Absent), r#"{"id":"c-1","phones":[]}"#).unwrap()), old);
    assert_eq!(case.write(&all_at(Level::Masked), r#"{"id":"c-1","phones":[]}"#).unwrap(), r#"{"id":"c-1","phones":[]}"#);
}

#[test]
fn t26_of_values_that_look_the_same_none_is_lost_by_mistake() {
    let case = Case::new(customers(), r#"{"id":"c-1","phones":["+8135550-1234","+4420550-1234"]}"#);
    let masked = all_at(Level::Masked);
    assert_eq!(case.shown(&masked)["phones"], json!(["••••1234", "••••1234"]));
    assert_eq!(case.edit(&masked, |document| drop(document["phones"].as_array_mut().unwrap().pop())), Err("masked-value"));
    let after = case.edit(&masked, |document| document["phones"].as_array_mut().unwrap().insert(0, json!("110"))).unwrap();
    assert_eq!(case.clear(&after)["phones"], json!(["110", "+8135550-1234", "+4420550-1234"]));
    // Two that are the same in clear: it makes no difference which.
    let twins = Case::new(customers(), r#"{"id":"c-1","phones":["110","110"]}"#);
    let pseudonym = all_at(Level::Pseudonym);
    let after = twins.edit_clear(&pseudonym, |document| drop(document["phones"].as_array_mut().unwrap().pop()));
    assert_eq!(after.unwrap()["phones"], json!(["110"]));
}

fn orders(with_subject: bool) -> Collection {
    let guest = |name: &str, at: &str, category: &str| Field {
        subject: with_subject.then(|| selector("$.guests[*].id")),
        ..field(name, at, category)
    };
    collection(vec![guest("guest", "$.guests[*].name", "name"), guest("guest-phone", "$.guests[*].phone", "phone")])
}

const ORDER: &str = r#"{"id":"o-1","guests":[{"id":7,"name":"Mei","phone":"+81355501234","meal":"fish"},{"id":8,"name":"Ken","phone":"110","meal":"rice"}]}"#;

/// Sees names in clear and may write them; phones are nobody's business.
fn host() -> Grant {
    grant(&[("name", Level::Clear)], Some(&["name"]))
}

fn guests(document: &mut Value) -> &mut Vec<Value> {
    document["guests"].as_array_mut().unwrap()
}

#[test]
fn t41_members_of_elements_stay_with_their_person() {
    for with_subject in [true, false] {
        let case = Case::new(orders(with_subject), ORDER);
        let after = case.edit_clear(&host(), |document| guests(document).reverse()).unwrap();
        let whole = parse(ORDER);
        assert_eq!(after["guests"], json!([whole["guests"][1], whole["guests"][0]]), "exchanged, {with_subject}");
        let after = case.edit_clear(&host(), |document| guests(document)[0]["name"] = json!("Mei Tanaka")).unwrap();
        assert_eq!(after["guests"][0], json!({"id":7,"name":"Mei Tanaka","phone":"+81355501234","meal":"fish"}));
        let after = case.edit_clear(&host(), |document| guests(document)[1]["meal"] = json!("soup")).unwrap();
        assert_eq!(after["guests"][1], json!({"id":8,"name":"Ken","phone":"110","meal":"soup"}));
        let after = case.edit_clear(&host(), |document| guests(document).push(json!({"id":9,"name":"Ann"}))).unwrap();
        assert_eq!(after["guests"][2], json!({"id":9,"name":"Ann"}));
        assert_eq!(after["guests"][0], whole["guests"][0]);
        // Their phones may not be erased by this caller, in no way.
        assert_eq!(case.edit(&host(), |document| drop(guests(document).remove(0))), Err("not-writable"));
        assert_eq!(case.edit(&host(), |document| document["guests"] = json!([])), Err("not-writable"));
        assert_eq!(case.edit(&host(), |document| document["guests"] = Value::Null), Err("not-writable"));
        assert_eq!(case.write(&host(), r#"{"id":"o-1"}"#), Err("not-writable"));
    }
}

#[test]
fn who_is_who_is_said_by_a_subject_and_guessed_by_nobody() {
    let edit = |document: &mut Value| {
        guests(document)[0]["meal"] = json!("soup");
        guests(document).push(json!({"id":9,"name":"Ann","meal":"soup"}));
    };
    let named = Case::new(orders(true), ORDER);
    let after = named.edit_clear(&host(), edit).unwrap();
    assert_eq!(after["guests"][0]["phone"], "+81355501234");
    let nameless = Case::new(orders(false), ORDER);
    let mut document = nameless.shown(&host());
    edit(&mut document);
    let error = replace_over(&nameless.collection, &ring(), &host(), &nameless.old, &document.to_string()).unwrap_err();
    assert_eq!(error.code(), "would-erase");
    assert!(error.to_string().contains("`subject`"), "{error}");
}

#[test]
fn t35_an_id_that_values_are_bound_to_cannot_change_under_them() {
    let by_member = Collection { subject: Subject::At(selector("$.customer")), ..customers() };
    let case = Case::new(by_member, r#"{"id":"o-1","customer":"c-1","name":"Mei","address":"101-0047 X","phones":["110"]}"#);
    let moved = |grant: &Grant| case.edit(grant, |document| document["customer"] = json!("c-2"));
    for level in [Level::Clear, Level::Masked, Level::Pseudonym, Level::Absent] {
        assert_eq!(moved(&reader(level)), Err("subject-changed"), "{level:?}");
    }
    for level in [Level::Masked, Level::Pseudonym, Level::Absent] {
        assert_eq!(moved(&all_at(level)), Err("subject-changed"), "{level:?}");
    }
    assert_eq!(moved(&all_at(Level::Sealed)), Err("foreign-envelope"));
    // All of it in clear: sealed anew, for the new id.
    let after = moved(&clear()).unwrap();
    assert_eq!(case.clear(&after)["name"], "Mei");
    // Also where the document was read for another field.
    let mixed = grant(&[("name", Level::Clear), ("address", Level::Clear), ("phone", Level::Absent)], Some(&CATEGORIES));
    assert_eq!(moved(&mixed), Err("subject-changed"));
    let without_phones = Case::new(
        Collection { subject: Subject::At(selector("$.customer")), ..customers() },
        r#"{"id":"o-1","customer":"c-1","name":"Mei"}"#,
    );
    let after = without_phones.edit(&mixed, |document| document["customer"] = json!("c-2")).unwrap();
    assert_eq!(without_phones.clear(&after)["name"], "Mei");
    // No id at all is none either.
    assert_eq!(
        case.edit(&reader(Level::Absent), |document| drop(document.as_object_mut().unwrap().remove("customer"))),
        Err("subject-missing")
    );
    // People in a list: an id that changes is another person.
    let order = Case::new(orders(true), ORDER);
    assert_eq!(order.edit(&host(), |document| guests(document)[0]["id"] = json!(9)), Err("not-writable"));
    // Bound to the document, the member says nothing.
    let by_document = Collection { bind: Bind::Document, subject: Subject::At(selector("$.customer")), ..customers() };
    let case = Case::new(by_document, r#"{"id":"o-1","customer":"c-1","name":"Mei"}"#);
    assert!(case.edit(&reader(Level::Absent), |document| document["customer"] = json!("c-2")).is_ok());
}

#[test]
fn t8_what_is_carried_over_is_put_in_and_nothing_else_moves() {
    let nested = collection(vec![
        field("name", "$.person.name", "name"),
        field("phone", "$.person.home.phone", "phone"),
        field("address", "$.address", "address"),
        field("note", "$.notes[*]", "note"),
    ]);
    let case =
        Case::new(nested, r#"{"id":"c-1","person":{"name":"Mei","home":{"phone":"110"}},"address":"X","notes":["a","b"]}"#);
    let (old, blind) = (case.old(), reader(Level::Absent));
    let sealed = |at: &str| old.pointer(at).unwrap().to_string();
    for (body, expected) in [
        (
            "{ \"id\" : \"c-1\" , \"n\":1.0e+2 }".to_owned(),
            format!(
                "{{\"person\":{{\"name\":{},\"home\":{{\"phone\":{}}}}},\"address\":{},\"notes\":[{},{}], \"id\" : \"c-1\" , \"n\":1.0e+2 }}",
                sealed("/person/name"),
                sealed("/person/home/phone"),
                sealed("/address"),
                sealed("/notes/0"),
                sealed("/notes/1")
            ),
        ),
        (
            "{\"person\": { } ,\"notes\":[ ],\"id\":\"c-1\"}".to_owned(),
            format!(
                "{{\"address\":{},\"person\": {{\"name\":{},\"home\":{{\"phone\":{}}} }} ,\"notes\":[{},{} ],\"id\":\"c-1\"}}",
                sealed("/address"),
                sealed("/person/name"),
                sealed("/person/home/phone"),
                sealed("/notes/0"),
                sealed("/notes/1")
            ),
        ),
    ] {
        assert_eq!(case.write(&blind, &body).unwrap(), expected);
    }
}

#[test]
fn entries_are_paired_by_their_names_and_elements_by_number_by_that() {
    let wild = collection(vec![
        field("phone", "$.phones.*", "phone"),
        field("name", "$.people.*.name", "name"),
        field("note", "$.notes[1]", "note"),
    ]);
    let case = Case::new(
        wild,
        r#"{"id":"c-1","phones":{"home":"110","work":"119"},"people":{"a":{"name":"Mei"},"b":{"name":"Ken"}},"notes":["x","secret","y"]}"#,
    );
    let blind = reader(Level::Absent);
    assert_eq!(case.shown(&blind)["notes"], json!(["x", null, "y"]));
    assert_eq!(parse(&case.edit(&blind, |_| {}).unwrap()), case.old());
    let after = case.edit_clear(&blind, |document| document["people"]["c"] = json!({"age": 3})).unwrap();
    assert_eq!(after["people"]["a"]["name"], "Mei");
    assert_eq!(case.edit(&blind, |document| drop(document["people"].as_object_mut().unwrap().remove("a"))), Err("not-writable"));
    assert_eq!(case.edit(&blind, |document| document["notes"] = json!(["x"])), Err("would-erase"));
    let writer = all_at(Level::Absent);
    let after = case.edit_clear(&writer, |document| document["phones"]["work"] = json!("112")).unwrap();
    assert_eq!(after["phones"], json!({"home":"110","work":"112"}));
    let after = case.edit_clear(&writer, |document| drop(document["people"].as_object_mut().unwrap().remove("a"))).unwrap();
    assert_eq!(after["people"], json!({"b":{"name":"Ken"}}));
}

#[test]
fn t26_null_that_stands_for_an_unseen_element_erases_nothing() {
    let lines = collection(vec![field("address", "$.lines[1]", "address")]);
    let case = Case::new(lines, r#"{"id":"c-1","lines":["Flat 2","Queen's Road 1"],"tier":"gold"}"#);
    let blind = grant(&[], Some(&["address"]));
    assert_eq!(case.shown(&blind)["lines"], json!(["Flat 2", null]));
    let after = case.edit_clear(&blind, |document| document["tier"] = json!("silver")).unwrap();
    assert_eq!(after, json!({"id":"c-1","lines":["Flat 2","Queen's Road 1"],"tier":"silver"}));
    let after = case.edit_clear(&blind, |document| document["lines"][1] = json!("x")).unwrap();
    assert_eq!(after["lines"], json!(["Flat 2", "x"]));
}

#[test]
fn stored_null_is_null_and_sealed_null_stays_sealed() {
    let case = Case::new(customers(), r#"{"id":"c-1","name":null,"phones":[null,"110"]}"#);
    for level in Level::ALL {
        assert_eq!(parse(&case.edit(&reader(level), |_| {}).unwrap()), case.old(), "{level:?}");
    }
    let sealing = collection(vec![Field { seal_null: true, ..field("name", "$.name", "name") }]);
    let case = Case::new(sealing, r#"{"id":"c-1","name":null}"#);
    for level in Level::ALL {
        assert_eq!(parse(&case.edit(&reader(level), |_| {}).unwrap()), case.old(), "{level:?}");
    }
}

#[test]
fn t4_clear_values_are_sealed_on_the_way_while_migrating_and_refused_after() {
    let old = r#"{"id":"c-1","name":"Mei","phones":["110"],"tier":"gold"}"#;
    let lenient = Collection { strict: false, ..customers() };
    for level in Level::ALL {
        let body = shown(&lenient, &ring(), &reader(level), old);
        let after = replace_over(&lenient, &ring(), &reader(level), old, &body).unwrap();
        assert!(!after.contains("Mei") && !after.contains("110"), "{level:?}: {after}");
        let clear: Value = parse(&shown(&lenient, &ring(), &clear(), &after));
        assert_eq!(clear, parse(old), "{level:?}");
        let body = r#"{"id":"c-1","tier":"gold"}"#;
        let error = replace_over(&customers(), &ring(), &reader(level), old, body).unwrap_err();
        assert_eq!(error.code(), "value-not-authentic", "{level:?}");
    }
    // A writer at level sealed does not see them either, so it does not erase them.
    let after = replace_over(&lenient, &ring(), &all_at(Level::Sealed), old, r#"{"id":"c-1"}"#).unwrap();
    assert_eq!(parse(&shown(&lenient, &ring(), &clear(), &after))["name"], "Mei");
    let misfit = r#"{"id":"c-1","phones":"110"}"#;
    assert_eq!(
        replace_over(&lenient, &ring(), &reader(Level::Absent), misfit, r#"{"id":"c-1"}"#).unwrap_err().code(),
        "value-not-authentic"
    );
}

#[test]
fn t2_what_does_not_authenticate_is_neither_compared_with_nor_carried() {
    let case = Case::customer();
    let name = parse(&case.old)["name"].as_str().unwrap().to_owned();
    let flipped = if name.ends_with('A') {
        format!("{}B", &name.get(..name.len() - 1).unwrap())
    } else {
        format!("{}A", name.get(..name.len() - 1).unwrap())
    };
    for (bad, level) in
        [(flipped.as_str(), Level::Masked), (flipped.as_str(), Level::Clear), ("sdr1.x.look-alike", Level::Absent)]
    {
        let old = case.old.replace(&name, bad);
        let error = replace_over(&case.collection, &ring(), &reader(level), &old, r#"{"id":"c-1"}"#).unwrap_err();
        assert_eq!(error.code(), "value-not-authentic", "{level:?}");
    }
}
