use proptest::prelude::*;

use super::super::index::tests::{people, ring};
use super::super::testing::*;
use super::super::*;
use super::*;
use crate::base::Condition::{All, Any, Term};
use crate::document::{Rules, WalkError, Walker, walk};
use crate::purpose::{Grant, Level};
use std::sync::Arc;

/// Field and index, and the values asked for.
type Asked<'a> = ((usize, usize), &'a [&'a str]);

fn sought(collection: &Collection, ring: &crate::keys::Rings, asked: &[Asked<'_>], condition: Condition) -> Sought {
    let probe = |(at, values): &Asked<'_>| {
        let values: Vec<Vec<u8>> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
        index_terms(collection, ring, *at, &values, Permit::Reveal(&all_at(Level::Absent))).unwrap()
    };
    Sought::new(asked.iter().map(probe).collect(), condition)
}

fn found(collection: &Collection, grant: &Grant, body: &str, sought: &Sought) -> Result<Revealed, RevealError> {
    let plan = plan_of(collection);
    let layout = walk(&plan.map, Rules::reply(), body.as_bytes()).unwrap();
    let how = super::super::Found { sought: Some(sought), searched: &[2], ..Default::default() };
    reveal_found(collection, &plan, &ring(), grant, body.as_bytes(), &layout, None, NOW_MS, how)
}

fn text(revealed: Revealed) -> String {
    String::from_utf8(revealed.bytes).unwrap()
}

fn three() -> String {
    let rows = ["Mei", "Yu", "MEI"].iter().enumerate().map(|(at, name)| format!(r#"{{"id":"c-{at}","name":"{name}"}}"#));
    stored(&people(), &ring(), &format!("[{}]", rows.collect::<Vec<_>>().join(" , ")))
}

fn by_name(values: &[&str]) -> Sought {
    sought(&people(), &ring(), &[((2, 0), values)], All(vec![Term(0)]))
}

#[test]
fn only_rows_with_what_was_searched_are_left_with_their_commas() {
    let (people, clear) = (people(), all_at(Level::Clear));
    for (values, expected) in [
        (vec!["\"mei\""], r#"[{"id":"c-0","name":"Mei"} , {"id":"c-2","name":"MEI"}]"#),
        (vec!["\"YU\""], r#"[{"id":"c-1","name":"Yu"}]"#),
        (vec!["\"yu\"", "\"mei\""], r#"[{"id":"c-0","name":"Mei"} , {"id":"c-1","name":"Yu"} , {"id":"c-2","name":"MEI"}]"#),
        (vec!["\"chan\""], "[]"),
    ] {
        let revealed = found(&people, &clear, &three(), &by_name(&values)).unwrap();
        let rows = revealed.subjects.len();
        assert_eq!(revealed.tally.strays, 3 - u32::try_from(rows).unwrap());
        let shown: u32 = revealed.tally.shown.iter().map(|(.., count)| count).sum();
        assert_eq!(shown, 2 * u32::try_from(rows).unwrap(), "what is left out is not counted as shown");
        assert_eq!(text(revealed), expected, "{values:?}");
    }
}

#[test]
fn t16_a_term_pasted_onto_another_document_finds_nothing() {
    let people = people();
    let mut rows: Vec<serde_json::Value> = serde_json::from_str(&three()).unwrap();
    rows[1]["name_ix"] = rows[0]["name_ix"].clone();
    let body = serde_json::to_string(&rows).unwrap();
    // Also for a purpose that does not see it.
    for grant in [all_at(Level::Clear), all_at(Level::Absent), all_at(Level::Sealed)] {
        let revealed = found(&people, &grant, &body, &by_name(&["\"mei\""])).unwrap();
        assert_eq!(revealed.tally.strays, 1);
        assert!(!text(revealed).contains("c-1"));
    }
    // The value moved along with its term does not open there.
    rows[1]["name"] = rows[0]["name"].clone();
    let body = serde_json::to_string(&rows).unwrap();
    let error = found(&people, &all_at(Level::Absent), &body, &by_name(&["\"mei\""])).unwrap_err();
    assert_eq!(error.code(), "value-not-authentic");
    let people = Collection { on_bad_value: OnBadValue::Withhold, ..people };
    let revealed = found(&people, &all_at(Level::Absent), &body, &by_name(&["\"mei\""])).unwrap();
    assert_eq!((revealed.tally.bad, revealed.tally.strays), (1, 1));
}

#[test]
fn values_are_compared_whole_not_by_their_short_terms() {
    // Of 16 bits, some of 2,000 values share a term.
    let mut people = people();
    people.fields[2].indexes = vec![super::super::index::tests::index("$.name_ix", &["text"], 16)];
    let ring = ring();
    let mut seen = std::collections::HashMap::new();
    let twins = (0..2_000).find_map(|number| {
        let probe =
            index_terms(&people, &ring, (2, 0), &[format!("\"n{number}\"").into_bytes()], Permit::Reveal(&all_at(Level::Absent)))
                .unwrap();
        seen.insert(probe.terms[0].clone(), number).map(|other| (other, number))
    });
    let (one, other) = twins.unwrap();
    let body = stored(&people, &ring, &format!(r#"[{{"id":"1","name":"n{one}"}},{{"id":"2","name":"n{other}"}}]"#));
    let sought = sought(&people, &ring, &[((2, 0), &[&format!("\"n{one}\"")])], All(vec![Term(0)]));
    assert_eq!(
        text(found(&people, &all_at(Level::Clear), &body, &sought).unwrap()),
        format!(r#"[{{"id":"1","name":"n{one}"}}]"#)
    );
}

#[test]
fn clear_values_are_found_while_migrating_only() {
    let body = r#"[{"id":"c-0","name":"Mei"},{"id":"c-1","name":"Yu"}]"#;
    let error = found(&people(), &all_at(Level::Clear), body, &by_name(&["\"mei\""])).unwrap_err();
    assert_eq!(error.code(), "value-not-authentic");
    let migrating = Collection { strict: false, ..people() };
    assert_eq!(
        text(found(&migrating, &all_at(Level::Clear), body, &by_name(&["\"mei\""])).unwrap()),
        r#"[{"id":"c-0","name":"Mei"}]"#
    );
}

#[test]
fn a_single_document_that_does_not_match_is_not_there() {
    let people = people();
    let body = stored(&people, &ring(), r#"{"id":"c-0","name":"Yu"}"#);
    assert_eq!(found(&people, &all_at(Level::Clear), &body, &by_name(&["\"mei\""])).unwrap_err().code(), "no-match");
    assert_eq!(text(found(&people, &all_at(Level::Clear), &body, &by_name(&["\"yu\""])).unwrap()), r#"{"id":"c-0","name":"Yu"}"#);
    // What holds no protected member is a frame, or an answer of another kind.
    for other in [r#"{"items":[],"total":0}"#, r#"{"message":"none"}"#, "[]", "null"] {
        assert_eq!(text(found(&people, &all_at(Level::Clear), other, &by_name(&["\"mei\""])).unwrap()), other);
    }
    // In a frame, commas around the list stay.
    let list = format!(r#"{{"items":{},"total":3}}"#, three());
    assert_eq!(
        text(found(&people, &all_at(Level::Clear), &list, &by_name(&["\"yu\""])).unwrap()),
        r#"{"items":[{"id":"c-1","name":"Yu"}],"total":3}"#
    );
}

#[test]
fn terms_around_the_documents_do_not_leave_either() {
    let (people, sought) = (people(), by_name(&["\"yu\""]));
    let term = sought.probes[0].terms[0].clone();
    let list = format!(r#"{{"next":"/people?name_ix={term}&page=2","items":{},"self":"{term}"}}"#, three());
    let shown = text(found(&people, &all_at(Level::Clear), &list, &sought).unwrap());
    assert_eq!(shown, r#"{"next":"/people?name_ix=-&page=2","items":[{"id":"c-1","name":"Yu"}],"self":"-"}"#);
}

#[test]
fn lists_that_cannot_be_sifted_are_refused() {
    let (people, rows) = (people(), three());
    for odd in [rows.replacen(" , ", ", null, ", 1), rows.replace(']', ",7]")] {
        assert_eq!(found(&people, &all_at(Level::Clear), &odd, &by_name(&["\"mei\""])).unwrap_err().code(), "reply-unreadable");
    }
}

#[test]
fn values_of_lists_and_conditions_are_told_apart() {
    let (people, ring) = (people(), ring());
    let body = stored(
        &people,
        &ring,
        r#"[{"id":"1","name":"Mei","phones":["2345 6789","2345 6780"]},{"id":"2","name":"Mei","phones":["2345 6780"]},{"id":"3","name":"Yu","phones":["2345 6789"]}]"#,
    );
    let ids = |condition: Condition| {
        let asked: [Asked<'_>; 2] = [((1, 0), &["\"+852 23456789\""]), ((2, 0), &["\"mei\""])];
        let sought = sought(&people, &ring, &asked, condition);
        let rows: Vec<serde_json::Value> =
            serde_json::from_slice(&found(&people, &all_at(Level::Clear), &body, &sought).unwrap().bytes).unwrap();
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(Term(0)), ["1", "3"]);
    assert_eq!(ids(All(vec![Term(0), Term(1)])), ["1"]);
    assert_eq!(ids(Any(vec![Term(0), Term(1)])), ["1", "2", "3"]);
}

/// The reply in windows of a few bytes, as it streams.
fn in_windows(collection: &Collection, body: &str, sought: &Sought, window_bytes: usize) -> Result<String, WalkError> {
    let plan = plan_of(collection);
    let mut walker = Walker::new(Arc::clone(&plan.map), Rules { window_rows: 1, window_bytes, ..Rules::reply() });
    let mut out = Vec::new();
    let mut drain = |walker: &mut Walker| {
        while let Some(window) = walker.window() {
            let how = super::super::Found { sought: Some(sought), ..Default::default() };
            let grant = all_at(Level::Clear);
            out.extend(
                reveal_found(collection, &plan, &ring(), &grant, &window.bytes, &window.layout, None, NOW_MS, how).unwrap().bytes,
            );
        }
    };
    for piece in body.as_bytes().chunks(7) {
        walker.feed(piece)?;
        drain(&mut walker);
    }
    walker.finish()?;
    drain(&mut walker);
    Ok(String::from_utf8(out).unwrap())
}

const NAMES: [&str; 6] = ["Mei", "MEI ", "Ｍｅｉ", "Yu", "Strasse", "STRAßE"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A database that finds by terms, a search for some names, terms exchanged at will: exactly the rows that have the name and a term that
    /// was asked for, in valid JSON, whatever the windows.
    #[test]
    fn exactly_the_rows_that_match_are_left(
        rows in prop::collection::vec((0..NAMES.len(), prop::option::weighted(0.3, 0..NAMES.len())), 0..12),
        asked in prop::collection::vec(0..NAMES.len(), 1..3),
        window in 1..400_usize,
        everything in any::<bool>(),
    ) {
        let (people, ring) = (people(), ring());
        let plain: Vec<String> = rows.iter().enumerate().map(|(at, (name, _))| format!(r#"{{"id":"c-{at}","name":"{}"}}"#, NAMES[*name])).collect();
        let mut stored_rows: Vec<serde_json::Value> = if rows.is_empty() { Vec::new() } else { serde_json::from_str(&stored(&people, &ring, &format!("[{}]", plain.join(",")))).unwrap() };
        let term = |name: usize| {
            let values = [serde_json::to_vec(NAMES[name]).unwrap()];
            index_terms(&people, &ring, (2, 0), &values, Permit::Reveal(&all_at(Level::Absent))).unwrap().terms[0].clone()
        };
        for (row, (_, pasted)) in stored_rows.iter_mut().zip(&rows) {
            if let Some(pasted) = pasted {
                row["name_ix"] = serde_json::json!(term(*pasted));
            }
        }
        let values: Vec<String> = asked.iter().map(|name| serde_json::to_string(NAMES[*name]).unwrap()).collect();
        let texts: Vec<&str> = values.iter().map(String::as_str).collect();
        let sought = sought(&people, &ring, &[((2, 0), &texts)], Term(0));
        let terms: Vec<String> = asked.iter().map(|name| term(*name)).collect();
        // Or one that knows no such search, and gives everything.
        let found: Vec<&serde_json::Value> = stored_rows.iter().filter(|row| everything || terms.iter().any(|term| row["name_ix"] == **term)).collect();
        let folded = |name: &str| name.trim().replace("Ｍｅｉ", "mei").to_lowercase().replace('ß', "ss");
        let expected: Vec<String> = found
            .iter()
            .filter_map(|row| plain.get(row["id"].as_str()?.get(2..)?.parse::<usize>().ok()?))
            .filter(|row| {
                let row: serde_json::Value = serde_json::from_str(row).unwrap();
                asked.iter().any(|name| folded(NAMES[*name]) == folded(row["name"].as_str().unwrap()))
            })
            .cloned()
            .collect();
        let body = serde_json::to_string(&found).unwrap();
        let shown = in_windows(&people, &body, &sought, window).unwrap();
        let shown: Vec<serde_json::Value> = serde_json::from_str(&shown).expect(&shown);
        let expected: Vec<serde_json::Value> = expected.iter().map(|row| serde_json::from_str(row).unwrap()).collect();
        prop_assert_eq!(shown, expected);
    }
}
