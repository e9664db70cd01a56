//! Fields with keys in rings of their own: on a node with all rings, on one that is not given a ring, and what somebody can do who has only one.
//! Tests alone; the rules stand where values are opened, sealed and written.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::testing::*;
use super::*;
use crate::base::{Intent, Kid, PatchFormat, RingName};
use crate::document::{Rules, walk};
use crate::keys::{KeyRing, LineName, Rings, State};
use crate::purpose::{Grant, Level, Permit, Upkeep};
use crate::vault::testing::Memory;
use crate::vault::{Format, Kind, Scope};

const MEI: &str = r#"{"id":"c-1","name":"Mei Tanaka","card":"A123","phones":["+81355501234","110"],"note":"vip","address":"101-0047 Uchikanda","tier":"gold"}"#;
/// Of ring identity.
const SECRET: [&str; 5] = ["Mei Tanaka", "A123", "+81355501234", "110", "vip"];

fn identity() -> RingName {
    RingName::new("identity")
}

fn of_identity(field: Field) -> Field {
    Field { ring: identity(), ..field }
}

fn token(scope: &str, format: Format) -> Protection {
    Protection::Token(Kind { scope: Scope::named(scope).in_ring(identity()), format, consistent: true })
}

/// `name` sealed with an index, `card` deterministic, `phones` and `note` tokens: all in the ring identity. `address` is in the main ring.
fn people() -> Collection {
    let by = || Index::new(selector("$.name_ix"), crate::normalise::Normaliser::new(vec!["text".parse().unwrap()]).unwrap(), 64);
    let name = Field { indexes: vec![by().unwrap()], ..field("name", "$.name", "name") };
    let card = Field { protection: Protection::Deterministic, pad: 0, ..field("card", "$.card", "id-card") };
    let phones = Field { protection: token("phones", Format::Opaque), pad: 0, ..field("phones", "$.phones[*]", "phone") };
    let note = Field { protection: token("notes", Format::Opaque), pad: 0, ..field("note", "$.note", "note") };
    let secret = [name, card, phones, note].map(of_identity);
    collection(secret.into_iter().chain([field("address", "$.address", "address")]).collect())
}

fn versions(from: u8, byte: u8) -> Vec<(LineName, Kid, State, [u8; 32])> {
    let lines = [LineName::Seal, LineName::Lookup, LineName::Token, LineName::Audit].into_iter().zip(from..);
    lines.map(|(line, n)| (line, Kid::from_random([n; 5]), State::Active, [byte; 32])).collect()
}

fn main_ring() -> KeyRing {
    KeyRing::with_versions(crate::base::Controller::new("shop"), versions(1, 1))
}

fn identity_ring() -> KeyRing {
    KeyRing::with_versions(crate::base::Controller::new("shop"), versions(11, 2)).named(identity())
}

/// A node that holds both.
fn both() -> Rings {
    Rings::of_rings(main_ring(), vec![identity_ring()], Vec::new()).unwrap()
}

/// A node that is not given identity.
fn one() -> Rings {
    Rings::of_rings(main_ring(), Vec::new(), vec![identity()]).unwrap()
}

/// What a node with both rings stores; the thread's vault is then that of a node with one.
fn stored_by_both() -> String {
    let rows = std::sync::Arc::new(Memory::default());
    use_vault(&rows, both());
    let stored = stored(&people(), &both(), MEI);
    use_vault(&rows, one());
    stored
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn clear() -> Grant {
    all_at(Level::Clear)
}

fn kid_of(value: &Value) -> Kid {
    value.as_str().unwrap().split('.').nth(2).unwrap().parse().unwrap()
}

#[test]
fn values_are_sealed_indexed_and_found_under_the_ring_of_their_field() {
    let rows = std::sync::Arc::new(Memory::default());
    use_vault(&rows, both());
    let stored = stored(&people(), &both(), MEI);
    let value = json_of(&stored);
    let (identity_ring, main_ring) = (identity_ring(), main_ring());
    for member in ["name", "card"] {
        assert!(identity_ring.knows(kid_of(&value[member])), "{member}");
    }
    let term: Kid = value["name_ix"].as_str().unwrap().split('.').nth(1).unwrap().parse().unwrap();
    assert!(identity_ring.knows(term));
    assert!(main_ring.knows(kid_of(&value["address"])));
    assert_eq!(json_of(&shown(&people(), &both(), &clear(), &stored)), json_of(MEI));
    let plan = plan_of(&people());
    let upkeep = Upkeep::dangerous_for("a test");
    let terms = deterministic_terms(&people(), &plan, &both(), 1, b"\"A123\"", Permit::Upkeep(&upkeep)).unwrap();
    assert_eq!(terms, [value["card"].as_str().unwrap()], "the terms of one ring");
    for row in rows.tokens() {
        let kid = Kid::from_text(&row.value[1..9]).unwrap();
        assert!(identity_ring.knows(kid), "rows of the vault, too");
        assert!(row.marks.iter().all(|mark| identity_ring.knows(Kid::from_text(&mark[..8]).unwrap())), "and their marks");
    }
}

#[test]
fn without_its_ring_nothing_of_a_field_is_shown_at_any_level_and_nobody_is_accused() {
    let stored = stored_by_both();
    assert_eq!(json_of(&shown(&people(), &one(), &all_at(Level::Sealed), &stored))["name"], json_of(&stored)["name"]);
    let absent = json_of(&shown(&people(), &one(), &all_at(Level::Absent), &stored));
    assert_eq!(absent, json!({"id": "c-1", "phones": [], "tier": "gold"}));
    for level in [Level::Clear, Level::Masked, Level::Generalised, Level::Pseudonym] {
        let grant = all_at(level);
        // No field of these has a form to generalise to, so that level is absent.
        let leaves_out = level == Level::Generalised;
        let refused = reveal_all(&people(), &one(), &grant, &stored, None);
        assert_eq!(refused.map_err(|error| error.code()).err(), (!leaves_out).then_some("ring-not-held"), "{level:?}");
        let withholding = Collection { on_bad_value: OnBadValue::Withhold, ..people() };
        // Pseudonyms of what is in the main ring would need a scope, which these rings do not have.
        if level == Level::Pseudonym {
            continue;
        }
        let revealed = reveal_all(&withholding, &one(), &grant, &stored, None).unwrap();
        let text = String::from_utf8(revealed.bytes).unwrap();
        assert!(SECRET.iter().all(|clear| !text.contains(clear)), "{level:?}: {text}");
        assert!(json_of(&text).get("name").is_none(), "{level:?}: {text}");
        let tally = revealed.tally;
        assert_eq!((tally.bad, tally.compromised, tally.clear_found), (0, 0, 0), "{level:?}");
        assert_eq!(tally.not_held, if leaves_out { 0 } else { 5 }, "{level:?}");
    }
    // The control: where the ring is held, the scan finds them.
    let text = shown_by_both(&stored);
    assert!(SECRET.iter().all(|clear| text.contains(clear)), "{text}");
    let error = reveal_all(&people(), &one(), &clear(), &stored, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "field name is sealed under the key ring identity, which this proxy is not given: ask one that is, or for a purpose that does not show it"
    );
}

/// By a vault with both rings over the rows of this thread's.
fn shown_by_both(stored: &str) -> String {
    with_both(|| shown(&people(), &both(), &clear(), stored))
}

fn with_both<T>(act: impl FnOnce() -> T) -> T {
    let rows = rows_of_thread();
    use_vault(&rows, both());
    let done = act();
    use_vault(&rows, one());
    done
}

/// What is on its way under the ring, in clear still, is not for a node without it; nor is what is no value of the ring at all.
#[test]
fn without_its_ring_a_clear_value_is_not_shown_while_migrating() {
    let lax = || Collection { strict: false, ..people() };
    let grant = clear();
    for body in [MEI.to_owned(), r#"{"id":"c-1","note":7}"#.to_owned()] {
        assert_eq!(reveal_all(&lax(), &one(), &grant, &body, None).unwrap_err().code(), "ring-not-held", "{body}");
        let withholding = Collection { on_bad_value: OnBadValue::Withhold, ..lax() };
        let text = shown(&withholding, &one(), &grant, &body);
        assert!(SECRET.iter().all(|clear| !text.contains(clear)), "{text}");
        assert_eq!(
            replace_over(&lax(), &one(), &grant, &body, r#"{"id":"c-1","tier":"x"}"#).unwrap_err().code(),
            "ring-not-held"
        );
    }
    // Strict, it is what it always was: no key is needed to see that it is not sealed.
    let error = reveal_all(&people(), &one(), &grant, r#"{"id":"c-1","name":"Mei"}"#, None).unwrap_err();
    assert_eq!(error.code(), "value-not-authentic");
}

#[test]
fn without_its_ring_a_value_stays_as_it_is_stored_whatever_is_written() {
    let stored = stored_by_both();
    let (collection, rings) = (people(), one());
    let old = json_of(&stored);
    let write = |grant: &Grant, body: &Value| replace_over(&collection, &rings, grant, &stored, &body.to_string());
    let secret = ["name", "name_ix", "card", "phones", "note"];
    let kept = |text: &str| {
        let new = json_of(text);
        for member in secret {
            assert_eq!(new[member], old[member], "{member} of {text}");
        }
    };
    for grant in [clear(), all_at(Level::Sealed), all_at(Level::Masked), all_at(Level::Absent)] {
        // Carried back untouched, with another member changed. Terms never leave.
        let mut back = old.clone();
        back.as_object_mut().unwrap().remove("name_ix");
        back["tier"] = json!("silver");
        kept(&write(&grant, &back).unwrap());
        // Left out.
        kept(&write(&grant, &json!({"id": "c-1", "address": back["address"], "tier": "silver"})).unwrap());
        // Changed, removed, or put in another's place.
        for (member, value) in [
            ("name", json!("Hanako")),
            ("name", json!(null)),
            ("name", old["card"].clone()),
            ("card", json!("B1")),
            ("card", json!(null)),
            ("phones", json!([])),
            ("phones", json!(["+81355509999"])),
            ("note", json!("new")),
            ("note", old["phones"][0].clone()),
        ] {
            let mut body = back.clone();
            body[member] = value.clone();
            let written = write(&grant, &body);
            // An empty list is filled again.
            if (member, &value) == ("phones", &json!([])) {
                kept(&written.unwrap());
                continue;
            }
            assert_eq!(written.map_err(|error| error.code()), Err("ring-not-held"), "{member}: {value}");
        }
        // Without a look at what is stored nothing is replaced.
        let error = protect_as(&collection, &rings, &grant, Intent::Replace, r#"{"id":"c-1","tier":"x"}"#, None).unwrap_err();
        assert_eq!(error.code(), "would-erase");
    }
    let error = protect_as(&collection, &rings, &clear(), Intent::Replace, r#"{"id":"c-1"}"#, None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "support finds no keys at this proxy for name, so replacing the document could erase or overwrite what is stored there: write through a proxy that is given the key ring identity"
    );
    // What is in the main ring is written as ever.
    let text = write(&clear(), &json!({"id": "c-1", "address": "Kobe"})).unwrap();
    kept(&text);
    let clear_text = shown_by_both(&text);
    assert!(clear_text.contains("Kobe") && SECRET.iter().all(|secret| clear_text.contains(secret)), "{clear_text}");
    // Who may not write says no more than before.
    let reader = grant(&[("address", Level::Clear)], Some(&["address"]));
    assert_eq!(write(&reader, &json!({"id": "c-1", "name": "x"})).unwrap_err().code(), "not-writable");
    // Bound to another person it would never open again.
    assert_eq!(write(&clear(), &json!({"id": "c-2", "address": "Kobe"})).unwrap_err().code(), "subject-changed");
}

#[test]
fn without_its_ring_no_value_is_created() {
    let create = |body: &str| {
        protect_as(&people(), &one(), &clear(), Intent::Create, body, None).map(|_| ()).map_err(|error| error.code())
    };
    let stored = stored_by_both();
    for body in [MEI, &stored.replace("name_ix", "other"), r#"{"id":"c-1","note":"x"}"#, r#"{"id":"c-1","phones":["x"]}"#] {
        assert_eq!(create(body), Err("ring-not-held"), "{body}");
    }
    for body in [r#"{"id":"c-1","address":"Kobe"}"#, r#"{"id":"c-1","name":null,"card":null,"phones":[],"address":"Kobe"}"#] {
        assert_eq!(create(body), Ok(()), "{body}");
    }
    let patch = |format, body: &str| {
        let plan = plan_with(&people(), &["$"]);
        let rules = walk(&plan.map, Rules::request(), body.as_bytes()).unwrap();
        let bytes = Bytes::copy_from_slice(body.as_bytes());
        let of = Patched { id: &id("c-1"), subject: None, tokens: None };
        protect_patch(&people(), &plan, &one(), &clear(), format, &bytes, &rules, of).map(|_| ()).map_err(|error| error.code())
    };
    for (member, value) in
        [("name", json!("Hanako")), ("name", json!(null)), ("name", json_of(&stored)["name"].clone()), ("card", json!("x"))]
    {
        assert_eq!(patch(PatchFormat::Merge, &json!({member: value}).to_string()), Err("ring-not-held"), "{member}");
        let add = json!([{"op": "add", "path": format!("/{member}"), "value": value}]);
        assert_eq!(patch(PatchFormat::Json, &add.to_string()), Err("ring-not-held"), "{add}");
    }
    assert_eq!(patch(PatchFormat::Json, r#"[{"op":"remove","path":"/name"}]"#), Err("ring-not-held"));
    assert_eq!(patch(PatchFormat::Merge, r#"{"address":"Kobe","tier":"x"}"#), Ok(()));
    assert_eq!(patch(PatchFormat::Json, r#"[{"op":"add","path":"/address","value":"Kobe"}]"#), Ok(()));
}

#[test]
fn without_its_ring_a_field_is_neither_searched_nor_swept() {
    let (collection, rings) = (people(), one());
    let plan = plan_of(&collection);
    let upkeep = Upkeep::dangerous_for("a test");
    for field in 0..4 {
        let error = may_be_searched(&collection, &rings, field).unwrap_err();
        assert_eq!(error.code(), "ring-not-held");
        assert!(may_be_searched(&collection, &both(), field).is_ok());
    }
    assert!(may_be_searched(&collection, &rings, 4).is_ok());
    let permit = Permit::Upkeep(&upkeep);
    assert_eq!(deterministic_terms(&collection, &plan, &rings, 1, b"\"A123\"", permit).unwrap_err().code(), "ring-not-held");
    assert_eq!(index_terms(&collection, &rings, (0, 0), &[b"\"Mei\"".to_vec()], permit).unwrap_err().code(), "ring-not-held");
    // Not even a mark of the vault can be made.
    let asked = [(Scope::named("notes").in_ring(identity()), b"\"vip\"".to_vec())];
    stored_by_both();
    let error = vault_of_thread(|vault| now(vault.find(&asked)).unwrap_err());
    assert!(matches!(error, crate::vault::VaultError::Keys(error) if error.is_not_held()));

    assert_eq!(collection.not_held(&rings).unwrap().name.as_str(), "name");
    let plan = plan_with(&collection, &["$"]);
    for body in [MEI.to_owned(), stored_by_both()] {
        let layout = layout_of(&plan, &body);
        let tokens = Tokens::default();
        let sealed = seal_clear(&collection, &plan, &rings, body.as_bytes(), &layout, StandIns::Seal, Some(&tokens)).unwrap();
        assert_eq!(sealed[0].sealed.as_ref().unwrap_err().code(), "ring-not-held");
    }
    let body = stored_by_both();
    let layout = layout_of(&plan, &body);
    let opened = open_by_hand(&collection, &plan, &rings, body.as_bytes(), &layout, &upkeep, Some(&Tokens::default()));
    assert_eq!(opened.unwrap_err().code(), "ring-not-held");
}

/// Both rings with a second version of each line, in these states.
fn turned(main: [State; 2], group: [State; 2]) -> Rings {
    let of = |from: u8, byte: u8, states: [State; 2]| {
        let first = versions(from, byte).into_iter().map(move |(line, kid, _, secret)| (line, kid, states[0], secret));
        let second =
            versions(from + 100, byte + 100).into_iter().map(move |(line, kid, _, secret)| (line, kid, states[1], secret));
        KeyRing::with_versions(crate::base::Controller::new("shop"), first.chain(second).collect())
    };
    Rings::of_rings(of(1, 1, main), vec![of(11, 2, group).named(self::identity())], Vec::new()).unwrap()
}

#[test]
fn values_and_terms_are_sealed_anew_under_the_ring_of_their_field_alone() {
    let rows = std::sync::Arc::new(Memory::default());
    use_vault(&rows, both());
    let old = stored(&people(), &both(), MEI);
    let both_lines = Lines { seal: true, lookup: true };
    let plan = plan_with(&people(), &["$"]);
    let rewrapped = |rings: &Rings, text: &str| {
        rewrap(&people(), &plan, rings, both_lines, text.as_bytes(), &layout_of(&plan, text)).unwrap().remove(0)
    };
    let (first, second) = ([State::Active, State::PreActive], [State::Deactivated, State::Active]);
    assert!(rewrapped(&turned(first, first), &old).sealed.is_none());
    let rings = turned(first, second);
    let row = rewrapped(&rings, &old);
    let new = String::from_utf8(row.sealed.as_ref().unwrap().as_bytes().to_vec()).unwrap();
    let (was, now) = (json_of(&old), json_of(&new));
    for member in ["name", "card"] {
        assert_eq!(rings.of_kid(kid_of(&now[member])).unwrap().name(), &identity(), "{member}");
        assert_ne!(kid_of(&was[member]), kid_of(&now[member]), "{member}");
    }
    assert_ne!(was["name_ix"], now["name_ix"]);
    assert_eq!((&was["address"], &was["phones"]), (&now["address"], &now["phones"]), "main was not rotated, and tokens stay");
    assert_eq!((row.anew.len(), row.hung.len(), row.troubles.len()), (3, 3, 0));
    assert!(rewrapped(&rings, &new).sealed.is_none(), "nothing is left");
    // The other one by one, and a write that carries what hangs on an old version of it.
    let other = turned(second, first);
    use_vault(&rows, turned(second, first));
    let row = rewrapped(&other, &old);
    assert_eq!(row.hung, [(LineName::Seal, kid_of(&was["address"]))]);
    let sent = json!({"id": "c-1", "name": was["name"], "address": was["address"]});
    let carried = json_of(&stored(&people(), &other, &sent.to_string()));
    assert_ne!(kid_of(&carried["address"]), kid_of(&was["address"]));
    assert_eq!(carried["name"], was["name"]);
    // A value of main at a field of identity is no value that can be made anew there, and without the ring nothing is.
    let pasted = json!({"id": "c-1", "name": was["address"]}).to_string();
    let row = rewrapped(&rings, &pasted);
    assert!(row.sealed.is_none() && row.hung.is_empty());
    assert_eq!(row.troubles[0].code, "value-not-authentic");
    let without = rewrap(&people(), &plan, &one(), both_lines, old.as_bytes(), &layout_of(&plan, &old));
    assert_eq!(without.unwrap_err().code(), "ring-not-held");
}

proptest! {
    /// Somebody who holds one ring, and writes to the database what they like, has nothing that opens at a field of another: not with the
    /// right place and id, not with the very secrets, whatever the ids of the keys.
    #[test]
    fn t01_a_value_of_one_ring_opens_at_no_field_of_another(
        value in "[a-zA-Z0-9 ]{1,12}",
        kids in proptest::collection::hash_set(0_u8.., 4),
        same_secret: bool,
        deterministic: bool,
        level in proptest::sample::select(vec![Level::Clear, Level::Masked]),
    ) {
        let kids: Vec<Kid> = kids.into_iter().map(|n| Kid::from_random([n; 5])).collect();
        let ring = |from: usize, byte: u8| {
            let lines = [LineName::Seal, LineName::Lookup].into_iter().zip(&kids[from..from + 2]);
            let versions = lines.map(|(line, kid)| (line, *kid, State::Active, [byte; 32])).collect();
            KeyRing::with_versions(crate::base::Controller::new("shop"), versions)
        };
        let second = if same_secret { 1 } else { 2 };
        let both = Rings::of_rings(ring(0, 1), vec![ring(2, second).named(identity())], Vec::new()).unwrap();
        let protection = || if deterministic { Protection::Deterministic } else { Protection::Seal };
        let at = |ring: RingName| {
            let one = Field { ring, protection: protection(), ..field("name", "$.name", "name") };
            collection(vec![one])
        };
        let body = json!({"id": "c-1", "name": value}).to_string();
        for (own, other) in [(RingName::main(), identity()), (identity(), RingName::main())] {
            // As a node would store it whose field map says the wrong ring.
            let sealed = stored(&at(own.clone()), &both, &body);
            let opened = reveal_all(&at(own), &both, &all_at(Level::Clear), &sealed, None).unwrap();
            prop_assert_eq!(String::from_utf8(opened.bytes).unwrap(), body.clone(), "at home it opens");
            let victim = at(other);
            let error = reveal_all(&victim, &both, &all_at(level), &sealed, None).unwrap_err();
            prop_assert_eq!(error.code(), "value-not-authentic");
            let lax = Collection { strict: false, ..at(victim.fields[0].ring.clone()) };
            prop_assert_eq!(reveal_all(&lax, &both, &all_at(level), &sealed, None).unwrap_err().code(), "value-not-authentic");
            for intent in [Intent::Create, Intent::Replace] {
                let written = protect_as(&victim, &both, &all_at(Level::Clear), intent, &sealed, None);
                prop_assert_eq!(written.unwrap_err().code(), "foreign-envelope");
            }
            let plan = plan_with(&victim, &["$"]);
            let layout = layout_of(&plan, &sealed);
            let swept = seal_clear(&victim, &plan, &both, sealed.as_bytes(), &layout, StandIns::Seal, None).unwrap();
            prop_assert_eq!(swept[0].sealed.as_ref().unwrap_err().code(), "foreign-envelope");
            let upkeep = Upkeep::dangerous_for("a test");
            let by_hand = open_by_hand(&victim, &plan, &both, sealed.as_bytes(), &layout, &upkeep, None);
            prop_assert_eq!(by_hand.unwrap_err().code(), "value-not-authentic");
        }
    }

    /// The same of the vault: a row that a node with one ring makes is no row of a scope in another.
    #[test]
    fn a_row_of_one_ring_is_no_row_of_a_scope_in_another(value in "[a-z]{1,8}", same_secret: bool) {
        let rows = std::sync::Arc::new(Memory::default());
        let second = KeyRing::with_versions(crate::base::Controller::new("shop"), versions(11, if same_secret { 1 } else { 2 }));
        use_vault(&rows, Rings::of_rings(main_ring(), vec![second.named(identity())], Vec::new()).unwrap());
        let in_main = Scope::named("notes");
        let kind = Kind { scope: in_main.clone(), format: Format::Opaque, consistent: true };
        let wish = crate::vault::Wish { kind, json: format!("\"{value}\"").into_bytes(), text: String::new(), subject: None };
        let token = vault_of_thread(|vault| now(vault.tokenise(&[wish])).unwrap()).remove(0);
        let upkeep = Upkeep::dangerous_for("a test");
        let known = |scope: Scope| {
            vault_of_thread(|vault| now(vault.detokenise(&[(scope, token.clone())], Permit::Upkeep(&upkeep))).unwrap()).remove(0)
        };
        prop_assert!(matches!(known(in_main.clone()), crate::vault::Known::Value(_)));
        prop_assert!(matches!(known(in_main.in_ring(identity())), crate::vault::Known::Bad));
    }
}
