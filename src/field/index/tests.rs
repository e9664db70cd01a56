use super::super::testing::*;
use super::super::*;
use super::*;
use crate::base::Intent;
use crate::document::Selector;
use crate::keys::{LineName, Rings, State};
use crate::purpose::Level;

const OLD: &str = "100k0000";
const NEW: &str = "100k0001";

pub(in crate::field) fn index(at: &str, steps: &[&str], bits: u16) -> Index {
    let steps = steps.iter().map(|step| step.parse().unwrap()).collect();
    Index::new(selector(at), Normaliser::new(steps).unwrap(), bits).unwrap()
}

/// `email` and `phones`, each with an index, `name` with two, and an address without.
pub(in crate::field) fn people() -> Collection {
    let email = Field { indexes: vec![index("$.email_ix", &["email"], 64)], ..field("email", "$.contact.email", "note") };
    let phone = Field { indexes: vec![index("$.phones_ix", &["phone:HK"], 64)], ..field("phone", "$.phones[*]", "phone") };
    let by_name = vec![index("$.name_ix", &["text"], 64), index("$.name_px", &["text", "prefix:3"], 32)];
    let name = Field { indexes: by_name, ..field("name", "$.name", "name") };
    collection(vec![email, phone, name, field("address", "$.address", "address")])
}

pub(in crate::field) fn ring_of(lookups: &[(&str, State)]) -> Rings {
    let lookup = lookups.iter().map(|(text, state)| (LineName::Lookup, kid(text), *state, [text.as_bytes()[7]; 32]));
    ring_with([(LineName::Seal, kid("7k3m9qpa"), State::Active, [1; 32])].into_iter().chain(lookup).collect())
}

pub(in crate::field) fn ring() -> Rings {
    ring_of(&[(OLD, State::Active)])
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

fn terms(collection: &Collection, ring: &Rings, at: (usize, usize), values: &[&str]) -> Result<Vec<String>, TermError> {
    let values: Vec<Vec<u8>> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
    index_terms(collection, ring, at, &values, crate::purpose::Permit::Reveal(&all_at(Level::Absent))).map(|probe| probe.terms)
}

const MEI: &str = r#"{"id":"c-1","name":"Mei  CHAN","contact":{"email":"Mei@Example.org"},"phones":["+852 2345 6789","2345 6780","2345-6789"],"address":"x"}"#;

#[test]
fn a_write_gets_its_terms_and_every_other_byte_stays() {
    let (collection, ring) = (people(), ring());
    let stored = stored(&collection, &ring, MEI);
    let value = json(&stored);
    assert_eq!(value["email_ix"], terms(&collection, &ring, (0, 0), &["\"mei@example.org\""]).unwrap()[0]);
    let mut both = terms(&collection, &ring, (1, 0), &["\"+85223456789\"", "\"+85223456780\""]).unwrap();
    both.sort();
    assert_eq!(value["phones_ix"], serde_json::json!(both), "once each, in the order of the terms");
    assert_eq!(value["name_ix"], terms(&collection, &ring, (2, 0), &["\"mei chan\""]).unwrap()[0]);
    assert_eq!(value["name_px"], terms(&collection, &ring, (2, 1), &["\"MEI\""]).unwrap()[0]);
    assert!(stored.starts_with(r#"{"id":"c-1","name":"sdr1.x."#) && !stored.contains("Mei"), "{stored}");
    // 64 bits are 13 characters, 32 are 7.
    let length = |member: &str| value[member].as_str().unwrap().len();
    assert_eq!((length("email_ix"), length("name_px")), (4 + 8 + 1 + 13, 4 + 8 + 1 + 7));
}

#[test]
fn what_has_no_form_has_no_term_and_is_stored() {
    let (collection, ring) = (people(), ring());
    for (body, members) in [
        (r#"{"id":"c-1"}"#, vec![]),
        (r#"{"id":"c-1","name":null,"phones":[]}"#, vec![]),
        (r#"{"id":"c-1","name":" \u200b "}"#, vec![]),
        (r#"{"id":"c-1","phones":["call me",true,"2345 6789"]}"#, vec!["phones_ix"]),
        (r#"{"id":"c-1","name":12,"contact":{"email":"none"}}"#, vec!["name_ix", "name_px"]),
        (r#"{"id":"c-1","name":{"first":"Mei"}}"#, vec![]),
    ] {
        let value = json(&stored(&collection, &ring, body));
        let found: Vec<&String> =
            value.as_object().unwrap().keys().filter(|name| name.ends_with("_ix") || name.ends_with("_px")).collect();
        assert_eq!(found, members, "{body}");
    }
    assert_eq!(stored(&collection, &ring, "[{ },{ \"id\" : \"c\" , \"name\":\"x\" }]").matches("_ix\":").count(), 1);
}

#[test]
fn a_search_for_what_has_no_form_is_refused() {
    let (collection, ring) = (people(), ring());
    for (at, value) in
        [((0, 0), "\"none\""), ((1, 0), "\"\""), ((2, 0), "\" \""), ((2, 0), "1.5"), ((2, 0), "true"), ((1, 0), "[]")]
    {
        let error = terms(&collection, &ring, at, &[value]).unwrap_err();
        assert_eq!(error.code(), "not-searchable");
        assert!(!error.to_string().contains("none"), "{error}");
    }
    assert_eq!(terms(&collection, &ring, (3, 0), &["\"x\""]).unwrap_err().code(), "internal-error");
    assert_eq!(terms(&collection, &ring_with(vec![]), (0, 0), &["\"a@b.c\""]).unwrap_err().code(), "keys-unavailable");
}

#[test]
fn terms_of_another_field_collection_chain_or_length_never_match() {
    let ring = ring();
    let of = |collection: &Collection| terms(collection, &ring, (0, 0), &["\"a@b.c\""]).unwrap()[0].clone();
    let with = |change: &dyn Fn(&mut Collection)| {
        let mut collection = people();
        change(&mut collection);
        of(&collection)
    };
    let first = of(&people());
    let others = [
        with(&|collection| collection.fields[0].place = place("shop", "customers", "mail")),
        with(&|collection| collection.fields[0].place = place("shop", "orders", "email")),
        with(&|collection| collection.fields[0].indexes = vec![index("$.email_ix", &["text"], 64)]),
        with(&|collection| collection.fields[0].indexes = vec![index("$.email_ix", &["email", "prefix:60"], 64)]),
    ];
    assert!(others.iter().all(|other| *other != first && other.len() == first.len()), "{first} {others:?}");
    let longer = with(&|collection| collection.fields[0].indexes = vec![index("$.email_ix", &["email"], 128)]);
    assert!(longer.len() > first.len());
}

#[test]
fn members_that_cannot_be_an_index_are_refused() {
    let new =
        |at: &str, bits| Index::new(Selector::parse(at).unwrap(), Normaliser::new(vec!["text".parse().unwrap()]).unwrap(), bits);
    for at in ["$", "$.a.b", "$.a[*]", "$[0]", "$.*"] {
        assert_eq!(new(at, 64).unwrap_err(), IndexError::Member, "{at}");
    }
    for bits in [0, 8, 15, 20, 136] {
        assert_eq!(new("$.a", bits).unwrap_err(), IndexError::Bits, "{bits}");
    }
}

#[test]
fn index_members_of_clients_are_refused_wherever_they_stand() {
    let (collection, ring) = (people(), ring());
    for body in [
        r#"{"id":"c-1","email_ix":"ix1.100k0000.0000000000000"}"#,
        r#"{"id":"c-1","email_ix":null}"#,
        r#"{"id":"c-1","email\u005fix":{"a":1}}"#,
        r#"[{"id":"c-1"},{"id":"c-2","phones_ix":[]}]"#,
    ] {
        let error = protect_as(&collection, &ring, &all_at(Level::Clear), Intent::Create, body, None).unwrap_err();
        assert_eq!(error.code(), "index-member", "{body}");
    }
    // Elsewhere the name is the application's.
    assert!(stored(&collection, &ring, r#"{"id":"c-1","more":{"email_ix":"mine"}}"#).contains("mine"));
}

#[test]
fn terms_never_leave_at_any_level() {
    let (collection, ring) = (people(), ring());
    let stored = stored(&collection, &ring, &format!("[{MEI}]"));
    for level in [Level::Clear, Level::Masked, Level::Generalised, Level::Pseudonym, Level::Sealed, Level::Absent] {
        let shown = shown(&collection, &ring, &all_at(level), &stored);
        assert!(!shown.contains("ix1.") && !shown.contains("_ix\"") && !shown.contains("_px\""), "{level}: {shown}");
    }
    assert!(stored.contains("ix1."), "the control");
    // Whatever stands there.
    let odd = r#"{"id":"c-1","email_ix":{"a":["ix1.x"]},"phones_ix":7}"#;
    assert_eq!(shown(&collection, &ring, &all_at(Level::Clear), odd), r#"{"id":"c-1"}"#);
}

#[test]
fn values_that_stay_keep_their_terms_and_a_rotation_makes_them_anew() {
    let (collection, old_ring) = (people(), ring());
    let before = stored(&collection, &old_ring, MEI);
    let rotated = ring_of(&[(OLD, State::Deactivated), (NEW, State::Active)]);
    // Somebody who sees the names masked and nothing else, and changes a member that is not protected.
    let grant = grant(&[("name", Level::Masked)], Some(&[]));
    let seen = shown(&collection, &old_ring, &grant, &before).replace("\"c-1\"", "\"c-1\",\"tier\":\"gold\"");
    for (ring, kid) in [(&old_ring, OLD), (&rotated, NEW)] {
        let after = json(&replace_over(&collection, ring, &grant, &before, &seen).unwrap());
        let expected = json(&stored(&collection, ring, MEI));
        for member in ["email_ix", "phones_ix", "name_ix", "name_px"] {
            assert_eq!(after[member], expected[member], "{member}");
            assert!(after[member].to_string().contains(kid), "{member}");
        }
        assert_eq!(after["name"], json(&before)["name"], "the envelope stays");
    }
    // Removing the value removes the term; a new value brings its own.
    let all = all_at(Level::Clear);
    let after = json(&replace_over(&collection, &old_ring, &all, &before, r#"{"id":"c-1","name":"Yu","phones":[]}"#).unwrap());
    let expected = json(&stored(&collection, &old_ring, r#"{"id":"c-1","name":"Yu"}"#));
    assert_eq!((&after["name_ix"], after.get("email_ix"), after.get("phones_ix")), (&expected["name_ix"], None, None));
    // An envelope that is sent back as it is stored brings its term, too.
    let sealed = all_at(Level::Sealed);
    let seen = shown(&collection, &old_ring, &sealed, &before);
    let after = json(&replace_over(&collection, &rotated, &sealed, &before, &seen).unwrap());
    assert_eq!(after["name_ix"], json(&stored(&collection, &rotated, MEI))["name_ix"]);
}

#[test]
fn a_term_pasted_onto_a_document_goes_with_the_next_write() {
    let (collection, ring) = (people(), ring());
    let mei = json(&stored(&collection, &ring, MEI));
    let mut yu = json(&stored(&collection, &ring, r#"{"id":"c-2","name":"Yu"}"#));
    yu["name_ix"] = mei["name_ix"].clone();
    yu["email_ix"] = mei["email_ix"].clone();
    let grant = grant(&[], Some(&[]));
    let after = json(&replace_over(&collection, &ring, &grant, &yu.to_string(), r#"{"id":"c-2"}"#).unwrap());
    let expected = json(&stored(&collection, &ring, r#"{"id":"c-2","name":"Yu"}"#));
    assert_eq!((&after["name_ix"], after.get("email_ix")), (&expected["name_ix"], None));
}

#[test]
fn searches_ask_for_the_terms_of_every_live_version() {
    let collection = people();
    let ring = ring_of(&[
        ("100k0002", State::Deactivated),
        ("100k0003", State::Active),
        ("100k0004", State::PreActive),
        ("100k0005", State::Compromised),
        ("100k0006", State::Destroyed),
    ]);
    let terms = terms(&collection, &ring, (0, 0), &["\"a@b.c\"", "\"A@B.C\"", "\"d@b.c\""]).unwrap();
    let kids: Vec<&str> = terms.iter().map(|term| term.get(4..12).unwrap()).collect();
    assert_eq!(kids, ["100k0003", "100k0004", "100k0002", "100k0003", "100k0004", "100k0002"], "equal values are asked for once");
}

#[test]
fn patches_bring_the_terms_of_what_they_give_and_take() {
    use crate::base::PatchFormat;
    let (collection, ring) = (people(), ring());
    let plan = plan_with(&collection, &["$"]);
    let patch = |format, text: &str| {
        let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
        let layout = layout_of(&plan, text);
        let of = Patched { id: &id("c-1"), subject: None, tokens: None };
        protect_patch(&collection, &plan, &ring, &all_at(Level::Clear), format, &bytes, &layout, of)
            .map(|protected| serde_json::from_slice::<serde_json::Value>(&protected.body.into_bytes()).unwrap())
            .map_err(|error| error.code())
    };
    let merge = |text: &str| patch(PatchFormat::Merge, text);
    let mei = json(&stored(&collection, &ring, MEI));
    let given = merge(r#"{"name":"mei chan","contact":{"email":"MEI@example.org"},"phones":["2345 6789"],"tier":1}"#).unwrap();
    assert_eq!((&given["name_ix"], &given["name_px"], &given["email_ix"]), (&mei["name_ix"], &mei["name_px"], &mei["email_ix"]));
    assert_eq!(given["phones_ix"].as_array().unwrap().len(), 1);
    let removed = merge(r#"{"name":null,"contact":null,"phones":[]}"#).unwrap();
    let null = serde_json::Value::Null;
    assert!(
        ["name_ix", "name_px", "email_ix", "phones_ix"].iter().all(|member| removed.get(*member) == Some(&null)),
        "{removed}"
    );
    assert_eq!(merge(r#"{"tier":1}"#).unwrap(), json(r#"{"tier":1}"#));
    assert_eq!(merge(r#"{"email_ix":"ix1.a.b"}"#), Err("index-member"));
    assert_eq!(merge(r#"{"email_ix":null}"#), Err("index-member"));

    let operations = |text: &str| patch(PatchFormat::Json, text);
    let done = operations(r#"[{"op":"replace","path":"/name","value":"Mei Chan"},{"op":"remove","path":"/contact/email"},{"op":"add","path":"/phones","value":["2345 6789","2345 6780"]},{"op":"add","path":"/tier","value":1}]"#).unwrap();
    let paths: Vec<&str> = done.as_array().unwrap().iter().map(|operation| operation["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/name", "/name_ix", "/name_px", "/contact/email", "/email_ix", "/phones", "/phones_ix", "/tier"]);
    assert_eq!(
        (&done[1]["value"], &done[2]["value"], &done[4]["value"], &done[6]["value"]),
        (&mei["name_ix"], &mei["name_px"], &null, &mei["phones_ix"])
    );
    assert!(done[0]["value"].as_str().unwrap().starts_with("sdr1."));
    let whole = operations(r#"[{"op":"add","path":"/contact","value":{"email":"mei@example.org","x":1}}]"#).unwrap();
    assert_eq!((&whole[1]["path"], &whole[1]["value"]), (&serde_json::json!("/email_ix"), &mei["email_ix"]));
    for (text, code) in [
        (r#"[{"op":"add","path":"/phones/-","value":"2345 6789"}]"#, "patch-refused"),
        (r#"[{"op":"remove","path":"/phones/0"}]"#, "patch-refused"),
        (r#"[{"op":"add","path":"/email_ix","value":"ix1.a.b"}]"#, "index-member"),
        (r#"[{"op":"test","path":"/phones_ix/0","value":"ix1.a.b"}]"#, "index-member"),
        (r#"[{"op":"move","path":"/x","from":"/email_ix"}]"#, "index-member"),
        (r#"[{"op":"copy","path":"/x","from":"/phones_ix/0"}]"#, "index-member"),
        (r#"[{"op":"remove","path":"/name_px"}]"#, "index-member"),
    ] {
        assert_eq!(operations(text), Err(code), "{text}");
    }
}

#[test]
fn a_list_by_names_is_not_patched_in_part() {
    let mut collection = people();
    collection.fields =
        vec![Field { indexes: vec![index("$.people_ix", &["text"], 64)], ..field("name", "$.people.*.name", "name") }];
    let plan = plan_with(&collection, &["$"]);
    let ring = ring();
    let patch = |text: &str| {
        let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
        let of = Patched { id: &id("c-1"), subject: None, tokens: None };
        let layout = layout_of(&plan, text);
        protect_patch(&collection, &plan, &ring, &all_at(Level::Clear), crate::base::PatchFormat::Merge, &bytes, &layout, of)
            .map(|_protected| ())
            .map_err(|error| error.code())
    };
    assert_eq!(patch(r#"{"people":{"a":{"name":"x"}}}"#), Err("patch-refused"));
    assert_eq!(patch(r#"{"people":{"a":null}}"#), Err("patch-refused"));
    assert_eq!(patch(r#"{"people":null}"#), Ok(()));
    assert_eq!(patch(r#"{"tier":1}"#), Ok(()));
}

#[test]
fn upkeep_makes_terms_where_they_lack_or_are_old() {
    let (collection, ring) = (people(), ring());
    let plan = plan_of(&collection);
    let pass = |ring: &Rings, body: &str| {
        let rows =
            seal_clear(&collection, &plan, ring, body.as_bytes(), &layout_of(&plan, body), StandIns::Refuse, None).unwrap();
        rows.into_iter().next().unwrap().sealed.unwrap().map(|row| String::from_utf8(row.as_bytes().to_vec()).unwrap())
    };
    let sealed = pass(&ring, MEI).unwrap();
    assert_eq!(json(&sealed)["phones_ix"], json(&stored(&collection, &ring, MEI))["phones_ix"]);
    assert_eq!(pass(&ring, &sealed), None, "nothing is left to do");
    let mut without = json(&sealed);
    without.as_object_mut().unwrap().remove("email_ix");
    assert_eq!(json(&pass(&ring, &without.to_string()).unwrap())["email_ix"], json(&sealed)["email_ix"]);
    let rotated = ring_of(&[(OLD, State::Deactivated), (NEW, State::Active)]);
    let anew = pass(&rotated, &sealed).unwrap();
    assert_eq!(json(&anew)["name_ix"], json(&stored(&collection, &rotated, MEI))["name_ix"]);
    assert_eq!(json(&anew)["name"], json(&sealed)["name"]);
    let upkeep = crate::purpose::Upkeep::dangerous_for("test");
    let opened = open_by_hand(&collection, &plan, &ring, sealed.as_bytes(), &layout_of(&plan, &sealed), &upkeep, None).unwrap();
    assert_eq!(json(&String::from_utf8(opened.bytes).unwrap()), json(MEI), "terms are of no use outside");
}

#[test]
fn members_that_overlap_with_an_index_are_refused() {
    let errors = |change: &dyn Fn(&mut Collection)| {
        let mut collection = people();
        change(&mut collection);
        Plan::compile(&collection, &crate::document::RowSet { rows: vec![selector("$")], ..Default::default() })
            .unwrap_err()
            .join("\n")
    };
    let with =
        |at: &'static str| move |collection: &mut Collection| collection.fields[0].indexes = vec![index(at, &["email"], 64)];
    assert!(errors(&with("$.name")).contains("the index member of field email ($.name)"), "{}", errors(&with("$.name")));
    assert!(errors(&with("$.id")).contains("the id ($.id)"));
    assert!(errors(&with("$.phones_ix")).contains("the index member of field phone"));
    assert!(errors(&with("$.contact")).contains("field email ($.contact.email)"));
}
