//! Rows of one body that differ: by what is known of whom they are about, and by what a reply shows of one person.

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::super::testing::*;
use super::super::*;
use super::Extent;
use crate::base::{CallerName, CategoryName, Condition, Intent, RecordId};
use crate::document::{Rules, walk};
use crate::purpose::{
    AgeSpec, Consent, FactSpec, Facts, Grant, Known, Level, LimitSpec, Nature, Policy, PolicySpec, PurposeSpec, Rights, facts,
};

const FACTS: [&str; 4] = ["vip", "guardian-consent", "minor", "consent"];
const LEVELS: [Level; 6] = [Level::Clear, Level::Masked, Level::Generalised, Level::Pseudonym, Level::Sealed, Level::Absent];

/// What is known, in place of a ledger.
#[derive(Debug, Default)]
struct Told(HashMap<RecordId, Facts>);

impl Known for Told {
    fn facts(&self, subject: Option<&RecordId>) -> Facts {
        subject.and_then(|subject| self.0.get(subject)).copied().unwrap_or_default()
    }
}

/// A policy with its grant and what is known of people.
struct Desk {
    grant: Grant,
    known: Told,
}

impl Desk {
    fn rights(&self) -> Rights<'_> {
        Rights::new(&self.grant, &self.known)
    }

    /// With what is known of these.
    fn knowing(spec: PolicySpec, people: &[(&str, &[&str])]) -> Self {
        let policy = Policy::compile(spec).unwrap();
        let grant = policy.decide(&CallerName::new("helpdesk"), None, NOW_MS).unwrap();
        let facts = |names: &[&str]| names.iter().filter_map(|name| policy.facts().id(name)).fold(Facts::NONE, Facts::with);
        let known = Told(people.iter().map(|(person, names)| (id(person), facts(names))).collect());
        Self { grant, known }
    }
}

/// Notes are linkable; everything else identifies. All is shown clear and may be written.
fn spec() -> PolicySpec {
    let all = |level| CATEGORIES.iter().map(|name| (CategoryName::new(name), level, 5)).collect();
    let mut purpose = purpose_of(PURPOSE);
    purpose.reveal = all(Level::Clear);
    purpose.writes = Some(CATEGORIES.iter().map(|name| CategoryName::new(name)).collect());
    purpose.delete = true;
    let mut spec = PolicySpec { id: "test".to_owned(), version: 1, purposes: vec![purpose], ..PolicySpec::default() };
    spec.categories = categories();
    spec.categories.last_mut().unwrap().nature = Nature::Linkable;
    spec.facts = ["vip", "guardian-consent"]
        .iter()
        .map(|name| FactSpec { name: (*name).to_owned(), line: 2, means: "x".to_owned() })
        .collect();
    spec.ages = vec![AgeSpec { name: "minor".to_owned(), line: 3, under: 18, clauses: Vec::new() }];
    spec
}

fn purpose_mut(spec: &mut PolicySpec) -> &mut PurposeSpec {
    spec.purposes.first_mut().unwrap()
}

fn limit(name: &str, when: &[&str], unless: &[&str], at_most: &[(&str, Level)]) -> LimitSpec {
    let named = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 9)).collect();
    LimitSpec {
        name: name.to_owned(),
        line: 9,
        when: named(when),
        unless: named(unless),
        at_most: at_most.iter().map(|(name, level)| (CategoryName::new(name), *level, 9)).collect(),
        ..LimitSpec::default()
    }
}

/// `note` falls to a pseudonym beside what identifies the same person.
fn combination() -> PolicySpec {
    PolicySpec { limits: vec![limit("combination", &[facts::COMBINED], &[], &[("note", Level::Pseudonym)])], ..spec() }
}

/// Nothing without consent, nothing of minors without their guardian's.
fn consented() -> PolicySpec {
    let mut spec = spec();
    purpose_mut(&mut spec).terms.consent = Consent::OptIn;
    spec.limits = vec![limit("minors", &["minor"], &["guardian-consent"], &[("*", Level::Absent)])];
    spec
}

/// Name, address (with a coarse form), note; guests, who are other people.
fn orders(subject: Subject) -> Collection {
    let address = Field { generalise: Some(Generalise::PostcodePrefix(3)), ..field("address", "$.address", "address") };
    let guest = Field { subject: Some(selector("$.guests[*].id")), ..field("guest", "$.guests[*].name", "name") };
    let tag = Field { subject: Some(selector("$.guests[*].id")), ..field("tag", "$.guests[*].tag", "note") };
    let fields = vec![field("name", "$.name", "name"), address, field("note", "$.note", "note"), guest, tag];
    Collection { subject, ..collection(fields) }
}

fn without_guests(subject: Subject) -> Collection {
    let mut orders = orders(subject);
    orders.fields.truncate(3);
    orders
}

fn reveal_with(collection: &Collection, rights: Rights<'_>, body: &str, how: Found<'_>) -> Result<Value, RevealError> {
    let plan = plan_of(collection);
    let layout = walk(&plan.map, Rules::reply(), body.as_bytes()).unwrap();
    reveal_found(collection, &plan, &ring(), rights, body.as_bytes(), &layout, None, NOW_MS, how)
        .map(|revealed| serde_json::from_slice(&revealed.bytes).unwrap())
}

fn view(collection: &Collection, rights: Rights<'_>, body: &str) -> Value {
    reveal_with(collection, rights, body, Found::default()).unwrap()
}

fn part(collection: &Collection, rights: Rights<'_>, body: &str) -> Value {
    reveal_with(collection, rights, body, Found { extent: Extent::Part, ..Found::default() }).unwrap()
}

fn kept(collection: &Collection, body: &Value) -> String {
    stored(collection, &ring(), &body.to_string())
}

fn is_pseudonym(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.starts_with("psn1_"))
}

fn write(collection: &Collection, rights: Rights<'_>, intent: Intent, body: &Value) -> Result<Protected, WriteError> {
    let (plan, text) = (plan_of(collection), body.to_string());
    let layout = layout_of(&plan, &text);
    let rows: Vec<RowWrite> = layout.rows.iter().map(|_| RowWrite { intent, assigned_id: None }).collect();
    protect(collection, &plan, &ring(), rights, &Bytes::from(text), &layout, &rows, None, "id")
}

fn replace(collection: &Collection, rights: Rights<'_>, old: &str, body: &Value) -> Result<Value, WriteError> {
    let (plan, text) = (plan_of(collection), body.to_string());
    let layout = layout_of(&plan, &text);
    let rows: Vec<RowWrite> = layout.rows.iter().map(|_| RowWrite { intent: Intent::Replace, assigned_id: None }).collect();
    let stored = Stored::read(&plan, Bytes::copy_from_slice(old.as_bytes()), None).unwrap();
    let needed = rows_that_need_the_stored(collection, &plan, &ring(), rights.grant(), text.as_bytes(), &layout, &rows);
    let before = Before {
        rows: (0..rows.len()).map(|row| needed.contains(&row).then(|| stored.row(row).unwrap())).collect(),
        now_ms: NOW_MS,
        tokens: None,
    };
    protect_over(collection, &plan, &ring(), rights, &Bytes::from(text), &layout, &rows, None, "id", &before)
        .map(|done| serde_json::from_slice(&done.body.into_bytes()).unwrap())
}

#[test]
fn each_row_of_a_list_goes_by_its_own_person() {
    let collection = without_guests(Subject::DocumentId);
    let body =
        kept(&collection, &json!([{"id":"a","name":"Mei"},{"id":"b","name":"Yu"},{"id":"c","name":"Lu"},{"id":"d","name":"Bo"}]));
    let people: &[(&str, &[&str])] =
        &[("a", &["consent"]), ("b", &[]), ("c", &["consent", "minor"]), ("d", &["consent", "minor", "guardian-consent"])];
    let desk = Desk::knowing(consented(), people);
    assert_eq!(
        view(&collection, desk.rights(), &body),
        json!([{"id":"a","name":"Mei"},{"id":"b"},{"id":"c"},{"id":"d","name":"Bo"}])
    );
    // Whoever does not say what is known of people shows the least.
    assert_eq!(view(&collection, Rights::from(&desk.grant), &body), json!([{"id":"a"},{"id":"b"},{"id":"c"},{"id":"d"}]));
}

#[test]
fn other_people_in_a_document_go_by_what_is_known_of_them() {
    let collection = orders(Subject::DocumentId);
    let body = kept(&collection, &json!({"id":"a","name":"Mei","guests":[{"id":"b","name":"Yu"},{"id":"c","name":"Lu"}]}));
    let desk = Desk::knowing(consented(), &[("b", &["consent"])]);
    assert_eq!(view(&collection, desk.rights(), &body), json!({"id":"a","guests":[{"id":"b","name":"Yu"},{"id":"c"}]}));
}

#[test]
fn a_document_that_does_not_say_whom_it_is_about_shows_the_least() {
    let mut collection = without_guests(Subject::At(selector("$.who")));
    collection.bind = crate::base::Bind::Field;
    let body =
        kept(&collection, &json!([{"id":"1","who":"a","name":"Mei"},{"id":"2","name":"Yu"},{"id":"3","who":1.5,"name":"Lu"}]));
    // Everybody is known not to be a minor; of nobody nothing is known.
    let limits = vec![limit("minors", &["minor"], &[], &[("*", Level::Absent)])];
    let desk = Desk::knowing(PolicySpec { limits, ..spec() }, &[]);
    assert_eq!(
        view(&collection, desk.rights(), &body),
        json!([{"id":"1","who":"a","name":"Mei"},{"id":"2"},{"id":"3","who":1.5}])
    );
}

#[test]
fn what_links_falls_beside_what_identifies_the_same_person_and_no_other() {
    let collection = without_guests(Subject::DocumentId);
    let desk = Desk::knowing(combination(), &[]);
    let both =
        kept(&collection, &json!([{"id":"a","note":"device"},{"id":"b","name":"Yu"},{"id":"c","name":"Lu","note":"device"}]));
    for view in [view(&collection, desk.rights(), &both), part(&collection, desk.rights(), &both)] {
        assert_eq!(view[0]["note"], "device", "alone it passes");
        assert_eq!(view[1]["name"], "Yu");
        assert!(is_pseudonym(&view[2]["note"]), "{view}");
        assert_eq!(view[2]["name"], "Lu");
    }
    // A null shows nothing beside which anything could combine.
    let null = kept(&collection, &json!({"id":"a","name":null,"note":"device"}));
    assert_eq!(view(&collection, desk.rights(), &null)["note"], "device");
    // To be found by a name shows the name.
    let alone = kept(&collection, &json!([{"id":"a","note":"device"}]));
    let sought = Sought::new(Vec::new(), Condition::All(Vec::new()));
    let how = Found { searched: &[0], sought: Some(&sought), ..Found::default() };
    assert!(is_pseudonym(&reveal_with(&collection, desk.rights(), &alone, how).unwrap()[0]["note"]));
}

#[test]
fn rows_of_one_person_are_taken_together() {
    let collection = without_guests(Subject::At(selector("$.who")));
    let desk = Desk::knowing(combination(), &[]);
    let list =
        json!([{"id":"1","who":"a","note":"device"},{"id":"2","who":"b","note":"device"},{"id":"3","who":"a","name":"Mei"}]);
    let body = kept(&collection, &list);
    let whole = view(&collection, desk.rights(), &body);
    assert!(is_pseudonym(&whole[0]["note"]), "another row has the name: {whole}");
    assert_eq!(whole[1]["note"], "device");
    // Of a part there is no telling what the rest has of them.
    let parts = part(&collection, desk.rights(), &kept(&collection, &json!([{"id":"2","who":"b","note":"device"}])));
    assert!(is_pseudonym(&parts[0]["note"]));
}

#[test]
fn a_guest_in_one_row_is_the_person_of_another() {
    let collection = orders(Subject::DocumentId);
    let desk = Desk::knowing(combination(), &[]);
    let list =
        json!([{"id":"a","name":"Mei","guests":[{"id":"b","tag":"device"},{"id":"c","tag":"device"}]},{"id":"b","name":"Yu"}]);
    let view = view(&collection, desk.rights(), &kept(&collection, &list));
    assert!(is_pseudonym(&view[0]["guests"][0]["tag"]), "{view}");
    assert_eq!(view[0]["guests"][1]["tag"], "device");
}

#[test]
fn rows_by_which_one_may_not_search_are_left_out_as_if_not_found() {
    let collection = without_guests(Subject::DocumentId);
    let body = kept(&collection, &json!([{"id":"a","name":"Mei"},{"id":"b","name":"Mei"},{"id":"c","name":"Mei"}]));
    let desk = Desk::knowing(consented(), &[("b", &["consent"])]);
    let sought = Sought::new(Vec::new(), Condition::All(Vec::new()));
    let how = Found { searched: &[0], sought: Some(&sought), ..Found::default() };
    assert_eq!(reveal_with(&collection, desk.rights(), &body, how).unwrap(), json!([{"id":"b","name":"Mei"}]));
    // Where nothing can be left out, nothing is shown.
    let how = Found { searched: &[0], ..Found::default() };
    assert!(matches!(reveal_with(&collection, desk.rights(), &body, how), Err(RevealError::Unsifted)));
    let one = kept(&collection, &json!({"id":"a","name":"Mei"}));
    let how = Found { searched: &[0], sought: Some(&sought), ..Found::default() };
    assert!(matches!(reveal_with(&collection, desk.rights(), &one, how), Err(RevealError::Stray)));
}

#[test]
fn writes_go_by_the_person_and_say_which_rule_is_in_the_way() {
    let collection = without_guests(Subject::DocumentId);
    let desk = Desk::knowing(consented(), &[("a", &["consent"]), ("m", &["consent", "minor"])]);
    let new = |id: &str| json!({"id": id, "name": "Mei"});
    let create = |id: &str| write(&collection, desk.rights(), Intent::Create, &new(id));
    assert!(create("a").is_ok());
    let refused = create("b").unwrap_err();
    assert_eq!(refused.code(), "not-writable");
    assert_eq!(
        refused.to_string(),
        "support may neither read nor write name: for this person it needs consent, of which nothing is on record"
    );
    assert_eq!(
        create("m").unwrap_err().to_string(),
        "support may neither read nor write name: for this person limit minors applies"
    );
    // One row of several is refused with the body, as any other refusal.
    assert!(write(&collection, desk.rights(), Intent::Create, &json!([new("a"), new("b")])).is_err());
    let delete = |id: &str| write(&collection, desk.rights(), Intent::Delete, &json!({"id": id})).map(|_| ());
    assert!(delete("a").is_ok());
    assert_eq!(
        delete("b").unwrap_err().to_string(),
        "support may not delete this document: for this person it needs consent, of which nothing is on record"
    );
    assert!(may_remove(&collection, desk.rights(), Some(&id("a"))).is_ok());
    assert!(may_remove(&collection, desk.rights(), Some(&id("b"))).is_err());
    assert!(stays_closed(&collection, desk.rights(), Some(&id("a"))).is_none());
    assert!(stays_closed(&collection, desk.rights(), None).is_some());
}

#[test]
fn what_was_hidden_when_it_was_read_is_not_erased_once_it_is_shown() {
    let collection = without_guests(Subject::DocumentId);
    let old = kept(&collection, &json!({"id":"a","name":"Mei","address":"100 Central","tier":1}));
    let before = Desk::knowing(consented(), &[]);
    let mut read = view(&collection, before.rights(), &old);
    assert_eq!(read, json!({"id":"a","tier":1}));
    // Meanwhile they agree.
    read["tier"] = json!(2);
    let after = Desk::knowing(consented(), &[("a", &["consent"])]);
    let written = replace(&collection, after.rights(), &old, &read).unwrap();
    assert_eq!(
        view(&collection, after.rights(), &written.to_string()),
        json!({"id":"a","name":"Mei","address":"100 Central","tier":2})
    );
    // Null removes, for who sees and writes it.
    read["name"] = Value::Null;
    let written = replace(&collection, after.rights(), &old, &read).unwrap();
    assert_eq!(view(&collection, after.rights(), &written.to_string())["name"], Value::Null);
    let written = replace(&collection, before.rights(), &old, &read);
    assert_eq!(written.unwrap_err().code(), "not-writable");
}

#[test]
fn what_was_shown_coarse_when_it_was_read_is_not_stored_for_the_value() {
    let collection = without_guests(Subject::DocumentId);
    let limits = vec![limit("strangers", &[], &["vip"], &[("address", Level::Generalised)])];
    let of = |people: &[(&str, &[&str])]| Desk::knowing(PolicySpec { limits: limits.clone(), ..spec() }, people);
    let old = kept(&collection, &json!({"id":"a","address":"100001"}));
    let (before, after) = (of(&[]), of(&[("a", &["vip"])]));
    let read = view(&collection, before.rights(), &old);
    assert_ne!(read["address"], "100001");
    for desk in [&before, &after] {
        let written = replace(&collection, desk.rights(), &old, &read).unwrap().to_string();
        assert_eq!(view(&collection, after.rights(), &written)["address"], "100001");
    }
    // What is seen clear, and changed.
    let written = replace(&collection, after.rights(), &old, &json!({"id":"a","address":"200002"})).unwrap().to_string();
    assert_eq!(view(&collection, after.rights(), &written)["address"], "200002");
}

#[test]
fn a_new_document_has_what_is_required_or_is_told_all_that_it_lacks() {
    let collection = without_guests(Subject::DocumentId);
    let mut spec = consented();
    purpose_mut(&mut spec).collects.required = vec![CategoryName::new("name"), CategoryName::new("note")];
    let desk = Desk::knowing(spec, &[("a", &["consent"])]);
    let create = |body: Value| write(&collection, desk.rights(), Intent::Create, &body);
    let refused = create(json!({"id":"a","name":null,"tier":1})).unwrap_err();
    assert_eq!(
        (refused.code(), &*refused.to_string()),
        ("category-required", "support stores no new document without name and note: send a value, not null")
    );
    assert!(create(json!({"id":"a","name":"Mei","note":"x"})).is_ok());
    // What may not be stored of somebody is not required of them.
    assert!(create(json!({"id":"b","tier":1})).is_ok());
    // A replacement that lacks it must know whether it is one.
    assert_eq!(
        write(&collection, desk.rights(), Intent::Replace, &json!({"id":"a","name":"Mei"})).unwrap_err().code(),
        "would-erase"
    );
}

#[test]
fn a_patch_goes_by_whom_the_stored_document_is_about() {
    let collection = without_guests(Subject::At(selector("$.who")));
    let desk = Desk::knowing(consented(), &[("a", &["consent"])]);
    let (plan, body) = (plan_of(&collection), Bytes::from_static(br#"{"name":"Yu"}"#));
    let layout = layout_of(&plan, r#"{"name":"Yu"}"#);
    let patch = |subject: Option<&RecordId>| {
        let of = Patched { id: &id("1"), subject, tokens: None };
        let format = crate::base::PatchFormat::Merge;
        protect_patch(&collection, &plan, &ring(), desk.rights(), format, &body, &layout, of).map(|_| ())
    };
    assert!(patch(Some(&id("a"))).is_ok());
    assert_eq!(patch(Some(&id("b"))).unwrap_err().code(), "not-writable");
    assert_eq!(patch(None).unwrap_err().code(), "subject-missing");
}

/// A value in a list of documents: by whom it is about, its category, and where it stands.
fn values(list: &Value) -> Vec<(String, &'static str, String)> {
    let mut all = Vec::new();
    for (at, row) in list.as_array().unwrap().iter().enumerate() {
        let own = row["id"].as_str().unwrap().to_owned();
        for (member, category) in [("name", "name"), ("address", "address"), ("note", "note")] {
            if row.get(member).is_some() {
                all.push((own.clone(), category, format!("/{at}/{member}")));
            }
        }
        for (guest, person) in row["guests"].as_array().unwrap().iter().enumerate() {
            let own = person["id"].as_str().unwrap().to_owned();
            all.push((own, "name", format!("/{at}/guests/{guest}/name")));
        }
    }
    all
}

prop_compose! {
    fn a_limit()(
        when in subsequence(vec!["vip", "minor", facts::COMBINED], 0..=2),
        unless in subsequence(vec!["guardian-consent"], 0..=1),
        category in select(vec!["name", "address", "note", "*"]),
        level in select(LEVELS.to_vec()),
        number in 0_u32..1_000_000,
    ) -> LimitSpec {
        limit(&format!("l-{number}"), &when, &unless, &[(category, level)])
    }
}

prop_compose! {
    fn a_row()(
        person in select(vec!["a", "b", "c"]),
        members in subsequence(vec!["name", "address", "note"], 0..=3),
        guests in subsequence(vec!["a", "b", "c"], 0..=2),
    ) -> Value {
        let mut row = json!({"id": person, "guests": guests.iter().map(|id| json!({"id": id, "name": "Yu Chan"})).collect::<Vec<_>>()});
        for member in members {
            row[member] = json!(format!("100 {member}"));
        }
        row
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Every value leaves exactly as a purpose would show it that shows everything at the level of that person's row; and one more limit
    /// never shows more.
    #[test]
    fn every_value_is_shown_as_its_persons_row_says(
        limits in prop::collection::vec(a_limit(), 0..4),
        one_more in a_limit(),
        consent in any::<bool>(),
        of_each in prop::collection::vec(subsequence(FACTS.to_vec(), 0..=4), 3),
        rows in prop::collection::vec(a_row(), 1..5),
    ) {
        let collection = orders(Subject::DocumentId);
        let list = Value::Array(rows);
        let body = kept(&collection, &list);
        let people: Vec<(&str, &[&str])> = ["a", "b", "c"].into_iter().zip(of_each.iter().map(Vec::as_slice)).collect();
        let with = |limits: Vec<LimitSpec>| {
            let mut spec = PolicySpec { limits, ..spec() };
            spec.limits.dedup_by(|one, other| one.name == other.name);
            if consent {
                purpose_mut(&mut spec).terms.consent = Consent::OptIn;
            }
            Policy::compile(spec.clone()).ok().map(|_| Desk::knowing(spec, &people))
        };
        let mut longer = limits.clone();
        longer.push(one_more);
        let (Some(desk), Some(narrower)) = (with(limits), with(longer)) else { return Ok(()) };
        let at: HashMap<Level, Value> = LEVELS.into_iter()
            .map(|level| (level, view(&collection, Rights::from(&all_at(level)), &body)))
            .collect();
        let values = values(&list);
        let level = |desk: &Desk, person: &str, category: &str| {
            let held = values.iter().filter(|(of, ..)| of == person).map(|(_, category, _)| category_id(category));
            let facts = desk.known.facts(Some(&id(person)));
            let facts = if desk.grant.combines(held) { facts.combined() } else { facts };
            desk.grant.row(facts).level(category_id(category))
        };
        let (shown, narrowed) = (view(&collection, desk.rights(), &body), view(&collection, narrower.rights(), &body));
        for (person, category, place) in &values {
            let (wide, narrow) = (level(&desk, person, category), level(&narrower, person, category));
            prop_assert_eq!(narrow.meet(wide), narrow, "a limit shows more of {}", place);
            prop_assert_eq!(shown.pointer(place), at[&wide].pointer(place), "{} at {:?}", place, wide);
            prop_assert_eq!(narrowed.pointer(place), at[&narrow].pointer(place), "{} at {:?}", place, narrow);
        }
    }
}
