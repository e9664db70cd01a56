//! Properties: the walker against serde_json, against the model, against itself in pieces; the splicer against edits of the tree.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult};
use serde::de::{self, Deserialize, Deserializer};

use super::super::*;
use super::model::{At, Findings, Json, find, json, plan};
use super::{joined, lines, map, windows};

/// `count` cases of every day, or as many as `PROPTEST_CASES` asks for.
fn cases(count: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(count);
    Config { cases, failure_persistence: None, max_global_rejects: 100_000, ..Config::default() }
}

/// Reads anything, and fails if a name stands twice in one object.
struct NoDuplicates;

impl<'de> Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = NoDuplicates;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, _: bool) -> Result<NoDuplicates, E> {
                Ok(NoDuplicates)
            }
            fn visit_i64<E>(self, _: i64) -> Result<NoDuplicates, E> {
                Ok(NoDuplicates)
            }
            fn visit_u64<E>(self, _: u64) -> Result<NoDuplicates, E> {
                Ok(NoDuplicates)
            }
            fn visit_f64<E>(self, _: f64) -> Result<NoDuplicates, E> {
                Ok(NoDuplicates)
            }
            fn visit_str<E>(self, _: &str) -> Result<NoDuplicates, E> {
                Ok(NoDuplicates)
            }
            fn visit_unit<E>(self) -> Result<NoDuplicates, E> {
                Ok(NoDuplicates)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<NoDuplicates, A::Error> {
                while seq.next_element::<NoDuplicates>()?.is_some() {}
                Ok(NoDuplicates)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<NoDuplicates, A::Error> {
                let mut names = HashSet::new();
                while let Some((name, NoDuplicates)) = map.next_entry::<String, NoDuplicates>()? {
                    if !names.insert(name) {
                        return Err(de::Error::custom("twice"));
                    }
                }
                Ok(NoDuplicates)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Walker and oracle must agree on `text`, whatever it is.
fn agrees_with_the_oracle(text: &[u8]) -> TestCaseResult {
    let nothing = map(&[], &[]);
    let (any, single) =
        (serde_json::from_slice::<serde_json::Value>(text).is_ok(), serde_json::from_slice::<NoDuplicates>(text).is_ok());
    prop_assert_eq!(walk(&nothing, Rules::reply(), text).is_ok(), any, "reply rules on {:?}", String::from_utf8_lossy(text));
    let strict = walk(&nothing, Rules::request(), text);
    prop_assert_eq!(strict.is_ok(), any && single, "request rules on {:?}: {:?}", String::from_utf8_lossy(text), strict);
    prop_assert_eq!(matches!(strict, Err(WalkError::DuplicateName { .. })) && any, any && !single);
    prop_assert_eq!(is_one_value(text), any && single);
    for size in [1, 3] {
        let pieces = windows(&nothing, Rules::request(), text.chunks(size));
        prop_assert_eq!(pieces.map(|_| ()), strict.clone().map(|_| ()));
    }
    Ok(())
}

/// Small damage to a text.
#[derive(Debug, Clone)]
enum Damage {
    Put(prop::sample::Index, &'static [u8]),
    Overwrite(prop::sample::Index, &'static [u8]),
    Cut(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    End(prop::sample::Index),
}

const SCRAPS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"\\",
    b"\\u",
    b"\\ud83d",
    b"\\ude00",
    b"\\u0061",
    b"0",
    b"1",
    b"-",
    b".",
    b"e",
    b"E+",
    b"9",
    b"e999",
    b"null",
    b"true",
    b"fals",
    b" ",
    b"\n",
    b"\x00",
    b"\x1f",
    b"\x7f",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc3",
    b"\xc0\x80",
    b"\xef\xbb\xbf",
    b"/",
    b"'",
    b"\"a\":1,",
    b"\"\\u0061\":1,",
    b",,",
    b"[[",
    b"\x0b",
    b"\xc2\xa0",
];

fn damage() -> impl Strategy<Value = Damage> {
    let index = || any::<prop::sample::Index>();
    let scrap = prop::sample::select(SCRAPS);
    prop_oneof![
        (index(), scrap.clone()).prop_map(|(at, scrap)| Damage::Put(at, scrap)),
        (index(), scrap).prop_map(|(at, scrap)| Damage::Overwrite(at, scrap)),
        (index(), 1usize..4).prop_map(|(at, n)| Damage::Cut(at, n)),
        (index(), 1usize..12).prop_map(|(at, n)| Damage::Repeat(at, n)),
        index().prop_map(Damage::End),
    ]
}

fn damaged(mut text: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let place = |index: &prop::sample::Index| index.index(text.len() + 1);
        let (from, to, put) = match damage {
            Damage::Put(at, scrap) => (place(at), place(at), scrap.to_vec()),
            Damage::Overwrite(at, scrap) => (place(at), place(at) + scrap.len(), scrap.to_vec()),
            Damage::Cut(at, n) => (place(at), place(at) + n, vec![]),
            Damage::Repeat(at, n) => (place(at), place(at), text[place(at)..text.len().min(place(at) + n)].to_vec()),
            Damage::End(at) => (place(at), text.len(), vec![]),
        };
        text.splice(from..to.min(text.len()), put);
    }
    text
}

/// The layout of `text` must say what the model says of the tree; what stands at an offset is read with serde_json.
fn check_findings(plan: &super::model::Plan, tree: &Json, text: &[u8], layout: &Layout, model: &Findings) -> TestCaseResult {
    prop_assert_eq!(layout.rows.len(), model.rows.len());
    for (row, (at, set)) in layout.rows.iter().zip(&model.rows) {
        let expected = node(tree, at);
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&text[row.range.clone()]).unwrap(), expected.value());
        prop_assert_eq!(row.set, *set);
        prop_assert_eq!(row.empty, *expected == Json::Object(vec![]));
        prop_assert_eq!(text[row.range.start], b'{');
    }
    prop_assert_eq!(layout.odd_rows, model.odd_rows);
    prop_assert!(layout.found.is_sorted_by_key(|found| found.value.start));
    prop_assert_eq!(layout.found.len(), model.hits.len(), "{:?} {:?}", &layout.found, &model.hits);
    let mut found: Vec<_> = layout.found.iter().collect();
    found.sort_by_key(|found| (found.value.start, found.target, found.row));
    let mut containers = std::collections::HashMap::new();
    for (found, hit) in found.iter().zip(&model.hits) {
        let expected = node(tree, &hit.at);
        let raw = &text[found.value.clone()];
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(raw).unwrap(), expected.value());
        prop_assert!(!raw[0].is_ascii_whitespace() && !raw[raw.len() - 1].is_ascii_whitespace());
        prop_assert_eq!(found.kind, expected.kind());
        prop_assert_eq!(
            (found.target, found.misfit, found.by_position, found.wildcards),
            (hit.target, hit.misfit, hit.by_position, hit.wildcards),
            "{:?} {:?} {:?}",
            plan,
            found,
            hit
        );
        prop_assert_eq!(found.row.map(|row| &model.rows[usize::try_from(row).unwrap()].0), hit.row.as_ref());
        match hit.at.split_last() {
            None => prop_assert_eq!(found.container, 0),
            Some((index, parent)) => {
                prop_assert_eq!(usize::try_from(found.index).unwrap(), *index);
                prop_assert_eq!(containers.entry(found.container).or_insert(parent.to_vec()).as_slice(), parent);
                if let Json::Object(members) = node(tree, parent) {
                    let colon = text[found.member_start..found.value.start].iter().rposition(|b| *b == b':').unwrap();
                    let name: String = serde_json::from_slice(&text[found.member_start..found.member_start + colon]).unwrap();
                    prop_assert_eq!(&name, &members[*index].0);
                } else {
                    prop_assert_eq!(found.member_start, found.value.start);
                }
            }
        }
    }
    Ok(())
}

fn node<'a>(tree: &'a Json, at: &[usize]) -> &'a Json {
    at.iter().fold(tree, |json, index| match json {
        Json::Array(elements) => &elements[*index],
        Json::Object(members) => &members[*index].1,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => panic!("no child"),
    })
}

/// The tree with the values at `edits` replaced or (None) removed; deepest and last first, so that places stay valid.
fn edited(tree: &Json, edits: &[(At, Option<Json>)]) -> Json {
    let mut tree = tree.clone();
    let mut edits = edits.to_vec();
    edits.sort_by(|a, b| b.0.cmp(&a.0));
    for (at, replacement) in edits {
        let Some((last, parents)) = at.split_last() else {
            tree = replacement.unwrap();
            continue;
        };
        let parent = parents.iter().fold(&mut tree, |json, index| json.child_mut(*index));
        match (replacement, parent) {
            (Some(json), parent) => *parent.child_mut(*last) = json,
            (None, Json::Array(elements)) => drop(elements.remove(*last)),
            (None, Json::Object(members)) => drop(members.remove(*last)),
            _ => panic!("no child"),
        }
    }
    tree
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn t7_what_serde_json_accepts_and_nothing_else(json in json(), style in any::<[u8; 16]>(), damages in prop::collection::vec(damage(), 0..4)) {
        agrees_with_the_oracle(&damaged(json.text(&style), &damages))?;
    }

    #[test]
    fn t7_scraps_of_json(scraps in prop::collection::vec(prop::sample::select(SCRAPS), 0..12)) {
        agrees_with_the_oracle(&scraps.concat())?;
    }

    #[test]
    fn t7_numbers(text in "-?[0-9]{0,4}(0{0,320})?(\\.[0-9]{0,4})?([eE][-+]?[0-9]{0,4})?") {
        agrees_with_the_oracle(text.as_bytes())?;
        agrees_with_the_oracle(format!("[{text}]").as_bytes())?;
    }

    #[test]
    fn t7_numbers_at_the_border_of_a_double(digits in "1797693134862315[5-9][0-9]{0,6}", point in 1usize..18, off in -2i32..3) {
        let exponent = 308 + 1 - i32::try_from(point).unwrap() + off;
        let (int, fraction) = digits.split_at(point.min(digits.len() - 1));
        agrees_with_the_oracle(format!("{int}.{fraction}e{exponent}").as_bytes())?;
    }

    #[test]
    fn t7_random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        agrees_with_the_oracle(&bytes)?;
    }

    #[test]
    fn t7_duplicates_are_seen_in_rows_that_are_alike(
        rows in prop::collection::vec((0usize..4, prop::option::of((0usize..8, 0usize..9))), 1..12),
        kinds in prop::collection::vec(prop::collection::vec(0usize..9, 0..8), 4..5),
        pieces in 1usize..90,
    ) {
        const NAMES: [&str; 9] = [
            "\"a\"", "\"\\u0061\"", "\"b\" ", "\"name\"", "\"n\\u0061me\"", "\"a name of more than a block\"", "\"a name of more than a Block\"", "\"\"", "\"送貨前請先致電送貨前請先致電\"",
        ];
        // Rows of a few kinds, without duplicates as kinds, some with one name exchanged.
        let (mut texts, mut twice, mut protected) = (Vec::new(), false, 0);
        for (kind, exchange) in rows {
            let mut names = kinds[kind].clone();
            let mut seen = HashSet::new();
            names.retain(|name| seen.insert(serde_json::from_str::<String>(NAMES[*name].trim()).unwrap()));
            if let Some((at, name)) = exchange.filter(|(at, _)| *at < names.len()) {
                names[at] = name;
            }
            let unescaped: Vec<String> = names.iter().map(|name| serde_json::from_str(NAMES[*name].trim()).unwrap()).collect();
            twice |= unescaped.iter().collect::<HashSet<_>>().len() < names.len();
            protected += unescaped.iter().filter(|name| *name == "name").count();
            let members: Vec<String> = names.iter().map(|name| format!("{}:1", NAMES[*name])).collect();
            texts.push(format!("{{{}}}", members.join(",")));
        }
        let text = format!("[{}]", texts.join(","));
        let map = map(&["$[*]"], &["value $.name"]);
        let layout = walk(&map, Rules::reply(), text.as_bytes());
        prop_assert_eq!(matches!(layout, Err(WalkError::DuplicateName { .. })), twice, "{}", text);
        let in_pieces = windows(&map, Rules { window_rows: 1, ..Rules::reply() }, text.as_bytes().chunks(pieces));
        match (layout, in_pieces) {
            (Ok(layout), Ok(windows)) => {
                prop_assert_eq!(layout.found.len(), protected);
                prop_assert_eq!(joined(&windows), (text.into_bytes(), layout));
            }
            (layout, in_pieces) => prop_assert_eq!(layout.map(|_| ()), in_pieces.map(|_| ())),
        }
    }

    #[test]
    fn t9_finds_what_the_model_finds(plan in plan(), tree in json(), style in any::<[u8; 16]>()) {
        let map = Map::compile(&plan.rows, &plan.targets).unwrap();
        let text = tree.text(&style);
        let layout = walk(&map, Rules::reply(), &text);
        match find(&plan, &tree) {
            None => prop_assert!(matches!(layout, Err(WalkError::AmbiguousRows { .. })), "{:?}", layout),
            Some(model) => {
                prop_assert!(layout.is_ok(), "{:?}", layout);
                check_findings(&plan, &tree, &text, &layout.unwrap(), &model)?;
            }
        }
    }

    #[test]
    fn t27_pieces_make_no_difference(
        plan in plan(),
        texts in prop::collection::vec((json(), any::<[u8; 16]>(), prop::collection::vec(damage(), 0..2)), 1..4),
        sizes in prop::collection::vec(0usize..40, 1..6),
        (window_rows, window_bytes, max_row_bytes) in (1usize..4, 1usize..80, prop_oneof![10usize..200, Just(10_000)]),
        by_line in any::<bool>(),
        everywhere in any::<bool>(),
    ) {
        let map = Arc::new(Map::compile(&plan.rows, &plan.targets).unwrap());
        let duplicates = if everywhere { Duplicates::RefuseEverywhere } else { Duplicates::RefuseWhereItMatters };
        let framing = if by_line { Framing::Lines } else { Framing::Document };
        let rules = Rules { framing, duplicates, max_row_bytes, window_rows, window_bytes };
        let mut body = Vec::new();
        for (json, style, damages) in &texts[..if by_line { texts.len() } else { 1 }] {
            let style: Vec<u8> = style.iter().map(|byte| if by_line && (211..=220).contains(byte) { 0 } else { *byte }).collect();
            body.extend(damaged(json.text(&style), damages));
            if by_line {
                body.push(b'\n');
            }
        }
        let whole = walk(&map, rules, &body);
        let mut rest = &body[..];
        let pieces: Vec<&[u8]> = sizes.iter().chain([&usize::MAX]).map(|size| { let (piece, more) = rest.split_at(rest.len().min(*size)); rest = more; piece }).collect();
        for (pieces, flush) in [(vec![&body[..]], false), (pieces, false), (body.chunks(1).collect(), false), (body.chunks(1).collect(), true)] {
            match (&whole, windows_flushed(&map, rules, &pieces, flush)) {
                (Ok(layout), Ok(windows)) => {
                    let (bytes, all) = joined(&windows);
                    prop_assert_eq!(&bytes, &body);
                    prop_assert_eq!(&all, layout);
                    for Window { bytes, layout } in &windows {
                        // A found value of the body may hold many rows and stays whole.
                        let whole = flush || plan.targets.iter().any(|target| target.scope == Scope::Body);
                        prop_assert!(!bytes.is_empty() && (whole || layout.rows.len() <= window_rows));
                    }
                }
                (Err(a), Err(b)) => prop_assert_eq!(a, &b),
                (a, b) => prop_assert!(false, "{:?} but in pieces {:?}", a, b.map(|_| ())),
            }
        }
    }

    #[test]
    fn t7_lines_are_refused_if_one_of_them_is_and_else_found_as_each_is(
        plan in plan(),
        texts in prop::collection::vec((json(), any::<[u8; 16]>(), prop::collection::vec(damage(), 0..2), prop::sample::select(&["\n", "\r\n", "\n \n\t\n"])), 0..5),
        everywhere in any::<bool>(),
        last in any::<bool>(),
    ) {
        let map = Map::compile(&plan.rows, &plan.targets).unwrap();
        let duplicates = if everywhere { Duplicates::RefuseEverywhere } else { Duplicates::RefuseWhereItMatters };
        let rules = Rules { duplicates, ..Rules::reply() };
        let mut body = Vec::new();
        for (json, style, damages, end) in &texts {
            body.extend(damaged(json.text(&style.map(|byte| if (211..=220).contains(&byte) { 0 } else { byte })), damages));
            body.extend_from_slice(end.as_bytes());
        }
        if last && body.last() == Some(&b'\n') {
            body.pop();
        }
        // Each line is a document of its own, read by itself; serde_json, too, has the last word on what is JSON.
        let mut expected = Some(Layout::default());
        let mut start = 0;
        for line in body.split(|byte| *byte == b'\n') {
            let blank = line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
            let layout = if blank { Ok(Layout::default()) } else { walk(&map, rules, line) };
            prop_assert!(blank || layout.is_err() || serde_json::from_slice::<serde_json::Value>(line).is_ok());
            expected = expected.zip(layout.ok()).map(|(mut all, layout)| {
                let rows = u32::try_from(all.rows.len()).unwrap();
                all.rows.extend(layout.rows.iter().map(|row| Row { range: row.range.start + start..row.range.end + start, ..row.clone() }));
                all.found.extend(layout.found.into_iter().map(|found| Found {
                    row: found.row.map(|row| row + rows),
                    value: found.value.start + start..found.value.end + start,
                    member_start: found.member_start + start,
                    ..found
                }));
                all.odd_rows += layout.odd_rows;
                all
            });
            start += line.len() + 1;
        }
        match (walk(&map, lines(rules), &body), expected) {
            (Ok(layout), Some(expected)) => {
                // Containers are numbered through the whole body.
                let apart = |layout: &Layout| Layout { found: layout.found.iter().map(|found| Found { container: 0, ..found.clone() }).collect(), ..layout.clone() };
                prop_assert_eq!(apart(&layout), apart(&expected));
                let distinct = |layout: &Layout| layout.found.iter().map(|found| found.container).collect::<HashSet<_>>().len();
                prop_assert!(distinct(&layout) >= distinct(&expected));
                let mut kept = Vec::new();
                splice(&body, &layout, &[], &[], &mut kept);
                prop_assert_eq!(&kept, &body);
            }
            (layout, expected) => prop_assert!(layout.is_err() && expected.is_none(), "{:?} but each line {:?}", layout, expected),
        }
    }

    #[test]
    fn t8_splice_is_an_edit_of_the_tree(
        plan in plan(),
        tree in json(),
        style in any::<[u8; 16]>(),
        choices in prop::collection::vec((0u8..5, json(), any::<[u8; 16]>()), 1..8),
        (window_rows, window_bytes) in (1usize..4, 1usize..80),
    ) {
        let map = Arc::new(Map::compile(&plan.rows, &plan.targets).unwrap());
        let text = tree.text(&style);
        let Some(model) = find(&plan, &tree) else { return Ok(()) };
        let layout = walk(&map, Rules::reply(), &text).unwrap();
        // Found values in the model's order, and the change of each place.
        let mut order: Vec<usize> = (0..layout.found.len()).collect();
        order.sort_by_key(|i| (layout.found[*i].value.start, layout.found[*i].target, layout.found[*i].row));
        let mut changes = vec![Change::Keep; layout.found.len()];
        let mut edits: Vec<(At, Option<Json>)> = Vec::new();
        let mut places: Vec<(At, usize)> = Vec::new();
        for (i, hit) in order.iter().zip(&model.hits) {
            let choice = places.iter().find(|(at, _)| *at == hit.at).map_or(places.len() % choices.len(), |(_, choice)| *choice);
            places.push((hit.at.clone(), choice));
            let (what, json, style) = &choices[choice];
            // Several found values of one place that differ in what their removal does are not what this test is about.
            let removal = if layout.found.iter().any(|other| other.value == layout.found[*i].value && other.by_position) || hit.at.is_empty() { Some(Json::Null) } else { None };
            let (change, edit) = match what {
                0 | 1 => continue,
                2 if removal.is_none() || layout.found[*i].by_position || hit.at.is_empty() => (Change::Remove, removal),
                _ => (Change::Replace(json.text(style)), Some(json.clone())),
            };
            if edits.iter().any(|(at, _)| hit.at.starts_with(at)) {
                changes[*i] = change;
                continue;
            }
            changes[*i] = change;
            edits.push((hit.at.clone(), edit));
        }
        prop_assume!(layout.found.iter().zip(&changes).all(|(found, change)| !matches!(change, Change::Replace(_)) || !layout.found.iter().any(|other| other.value == found.value && other.by_position != found.by_position)));

        let mut kept = Vec::new();
        splice(&text, &layout, &[], &[], &mut kept);
        prop_assert_eq!(&kept, &text);
        let mut out = Vec::new();
        splice(&text, &layout, &changes, &[], &mut out);
        let expected = edited(&tree, &edits).value();
        let read = serde_json::from_slice::<serde_json::Value>(&out);
        prop_assert!(read.is_ok(), "{} became {}", String::from_utf8_lossy(&text), String::from_utf8_lossy(&out));
        prop_assert_eq!(read.unwrap(), expected.clone(), "{} became {}", String::from_utf8_lossy(&text), String::from_utf8_lossy(&out));

        // Window by window the same values come out.
        let rules = Rules { window_rows, window_bytes, ..Rules::reply() };
        let (mut out, mut used) = (Vec::new(), 0);
        for Window { bytes, layout } in windows(&map, rules, text.chunks(5)).unwrap() {
            splice(&bytes, &layout, &changes[used..used + layout.found.len()], &[], &mut out);
            used += layout.found.len();
        }
        let read = serde_json::from_slice::<serde_json::Value>(&out);
        prop_assert!(read.is_ok(), "{} became {}", String::from_utf8_lossy(&text), String::from_utf8_lossy(&out));
        prop_assert_eq!(read.unwrap(), expected);
    }
}

fn windows_flushed(map: &Arc<Map>, rules: Rules, pieces: &[&[u8]], flush: bool) -> Result<Vec<Window>, WalkError> {
    if !flush {
        return windows(map, rules, pieces.iter().copied());
    }
    let mut walker = Walker::new(Arc::clone(map), rules);
    let mut windows = Vec::new();
    for piece in pieces {
        walker.feed(piece)?;
        windows.extend(std::iter::from_fn(|| walker.flush()));
    }
    walker.finish()?;
    windows.extend(std::iter::from_fn(|| walker.window()));
    Ok(windows)
}
