//! What is stored and what is shown: protect and reveal, against each other and against the places that serde_json sees.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use sudare::document::{Change, Found, Insert, Layout, Rules, splice, walk};
use sudare::field::{OnBadValue, Plan, token_term};
use sudare::purpose::Level;

use super::LONGEST;
use super::oracle::{self, Node, places, same_but};
use super::scene::{IndexMember, Scene, assigned_id};

/// The scene and the body: the first line and the rest.
fn read(input: &[u8]) -> Option<(Scene, Plan, &[u8], String)> {
    if input.len() > LONGEST {
        return None;
    }
    let at = input.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&input[..at]).ok()?;
    let scene = Scene::read(line)?;
    let plan = scene.plan()?;
    Some((scene, plan, &input[at + 1..], line.to_owned()))
}

/// The values of fields among what was found, as `protect` and `reveal` see them: those of the first targets that are no peeks.
fn values<'l>(scene: &Scene, root: &Node, layout: &'l Layout) -> Vec<&'l Found> {
    let places: HashSet<Range<usize>> =
        scene.fields.iter().flat_map(|field| places(root, &scene.rows, field)).map(|node| node.span.clone()).collect();
    layout.found.iter().filter(|found| !found.misfit && places.contains(&found.value)).collect()
}

fn string(text: &[u8]) -> Option<String> {
    serde_json::from_slice(text).ok()
}

fn is_envelope(text: &[u8]) -> bool {
    string(text).is_some_and(|text| text.starts_with("sdr1.x."))
}

/// Is a text sealed, as an envelope or, in a token field, as a token?
fn is_sealed(scene: &Scene, field: usize, text: &[u8]) -> bool {
    let is_token = |token: &str| {
        let kind = scene.tokens_of(field)?;
        Some(kind.format.is_token(token) == Some(true) || scene.vault.value(&kind.scope, token).is_some())
    };
    is_envelope(text) || string(text).is_some_and(|text| is_token(&text) == Some(true))
}

/// Every value at a protected place of `body`, as serde_json sees it, with the number of its field.
fn protected<'n>(scene: &Scene, root: &'n Node) -> Vec<(usize, &'n Node)> {
    scene
        .fields
        .iter()
        .enumerate()
        .flat_map(|(n, field)| places(root, &scene.rows, field).into_iter().map(move |node| (n, node)))
        .collect()
}

/// What must be so of every body that may be stored. Gives it.
fn check_stored(scene: &Scene, plan: &Plan, body: &[u8], line: &str) -> Option<Vec<u8>> {
    let layout = walk(&plan.map, Rules::request(), body).ok()?;
    let root = oracle::parse(body).expect("the walker accepts what serde_json refuses");
    let stored = match scene.protect(plan, body, &layout) {
        Ok(protected) => protected,
        Err(error) => {
            let text = error.to_string();
            assert!(
                !error.code().is_empty() && (!text.contains("canary") || line.contains("canary")),
                "a refusal shows a value: {text}"
            );
            return None;
        }
    };
    let kept = stored.tally.kept;
    let out = stored.body.into_bytes().to_vec();
    let stored_root = oracle::parse(&out).expect("what is stored is JSON");
    for (field, node) in protected(scene, &stored_root) {
        let text = node.text(&out);
        assert!(is_sealed(scene, field, text) || (text == b"null" && !scene.seals_null()), "a value is stored in clear");
    }
    // Everything else left as it came.
    let stored_layout = walk(&plan.map, Rules::request(), &out).expect("what is stored is read again");
    let (before, after) = (values(scene, &root, &layout), values(scene, &stored_root, &stored_layout));
    assert_eq!(before.len(), after.len());
    let mut changes = vec![Change::Keep; layout.found.len()];
    for (before, after) in before.iter().zip(&after) {
        let place = layout.found.iter().position(|found| std::ptr::eq(found, *before)).unwrap();
        changes[place] = Change::Replace(out[after.value.clone()].to_vec());
    }
    let inserts = inserts(scene, &layout);
    let spliced = |changes: &[Change]| {
        let mut spliced = Vec::new();
        splice(body, &layout, changes, &inserts, &mut spliced);
        spliced
    };
    assert!(spliced(&changes) == without_terms(scene, &stored_root, &stored_layout, &out), "other bytes changed");
    check_nonces(&before, &after, body, &out);
    // And opens, and comes back as it was sent; but an envelope that was kept was not clear before.
    let shown =
        scene.reveal(plan, &out, &[Level::Clear; 6]).expect("what is stored is read again").expect("what is stored opens");
    if kept == 0 {
        assert!(shown.bytes == spliced(&in_one_spelling(scene, &root, &layout, body)), "what is revealed is not what was sent");
        check_terms(scene, (body, &layout, &root), (&out, &stored_layout));
        check_places(scene, plan, &after, &out);
        check_moved(&Scene::read(line).unwrap().moved(&scene.vault), &out);
    }
    Some(out)
}

/// The number of the field whose value stands at each place.
fn fields(scene: &Scene, root: &Node) -> HashMap<Range<usize>, usize> {
    protected(scene, root).into_iter().map(|(field, node)| (node.span.clone(), field)).collect()
}

/// The places of index members.
fn index_places(scene: &Scene, root: &Node) -> HashSet<Range<usize>> {
    let at =
        |index: &IndexMember| places(root, &scene.rows, &index.at).into_iter().map(|node| node.span.clone()).collect::<Vec<_>>();
    scene.indexes.iter().flat_map(at).collect()
}

/// What is stored, less its index members.
fn without_terms(scene: &Scene, root: &Node, layout: &Layout, stored: &[u8]) -> Vec<u8> {
    let places = index_places(scene, root);
    let change = |found: &Found| if places.contains(&found.value) { Change::Remove } else { Change::Keep };
    let changes: Vec<Change> = layout.found.iter().map(change).collect();
    let mut out = Vec::new();
    splice(stored, layout, &changes, &[], &mut out);
    out
}

/// Of equal values with one token the first spelling comes back: the canonical one.
fn in_one_spelling(scene: &Scene, root: &Node, layout: &Layout, body: &[u8]) -> Vec<Change> {
    let fields = fields(scene, root);
    let change = |found: &Found| {
        let field = *fields.get(&found.value).filter(|_| !found.misfit)?;
        scene.tokens_of(field).filter(|kind| kind.consistent)?;
        let value = &body[found.value.clone()];
        let (_, canonical) = token_term(&scene.collection, field, value).ok()??;
        (value != b"null").then_some(Change::Replace(canonical))
    };
    layout.found.iter().map(|found| change(found).unwrap_or(Change::Keep)).collect()
}

/// Every row has the terms of its values, no others, in their own order; and no value stands in one.
fn check_terms(scene: &Scene, (body, layout, root): (&[u8], &Layout, &Node), (stored, stored_layout): (&[u8], &Layout)) {
    let fields = fields(scene, root);
    for (number, row) in stored_layout.rows.iter().enumerate() {
        let document: serde_json::Value = serde_json::from_slice(&stored[row.range.clone()]).unwrap();
        for index in &scene.indexes {
            let of_row = |found: &&Found| {
                found.row.is_some_and(|row| row as usize == number) && fields.get(&found.value) == Some(&index.field)
            };
            let values = layout.found.iter().filter(of_row).map(|found| &body[found.value.clone()]);
            let mut terms: Vec<String> = values.flat_map(|value| scene.terms(index, value)).collect();
            terms.sort();
            terms.dedup();
            let expected = match (terms.len(), scene.repeats(index.field)) {
                (0, _) => None,
                (_, true) => Some(serde_json::json!(terms)),
                (_, false) => Some(serde_json::json!(terms[0])),
            };
            assert_eq!(document.get(&index.member), expected.as_ref(), "a row has other terms than those of its values");
        }
    }
}

/// The ids that the proxy gives.
fn inserts(scene: &Scene, layout: &Layout) -> Vec<Insert> {
    if !scene.assign {
        return vec![];
    }
    let text = |row: usize, empty: bool| format!("\"id\":\"{}\"{}", assigned_id(row), if empty { "" } else { "," });
    layout
        .rows
        .iter()
        .enumerate()
        .map(|(n, row)| Insert { at: row.range.start + 1, text: text(n, row.empty).into_bytes() })
        .collect()
}

/// No nonce comes twice in what was sealed now.
fn check_nonces(before: &[&Found], after: &[&Found], body: &[u8], out: &[u8]) {
    let mut nonces = HashSet::new();
    for (before, after) in before.iter().zip(after) {
        let (sent, stored) = (&body[before.value.clone()], &out[after.value.clone()]);
        if sent != stored && is_envelope(stored) {
            let text = string(stored).unwrap();
            let payload = data_encoding::BASE64URL_NOPAD.decode(text.rsplit('.').next().unwrap().as_bytes()).unwrap();
            assert!(nonces.insert(payload[1..25].to_vec()), "a nonce comes twice");
        }
    }
}

/// Two envelopes of different fields that change places do not open.
fn check_places(scene: &Scene, plan: &Plan, sealed: &[&Found], stored: &[u8]) {
    let sealed: Vec<_> = sealed.iter().filter(|found| is_envelope(&stored[found.value.clone()])).collect();
    let Some(other) = sealed.iter().position(|found| found.target != sealed[0].target) else { return };
    let (one, other) = (sealed[0].value.clone(), sealed[other].value.clone());
    let exchanged =
        [&stored[..one.start], &stored[other.clone()], &stored[one.end..other.start], &stored[one.clone()], &stored[other.end..]]
            .concat();
    // An id may itself be a protected member; then who the row is about changed with it.
    let shown = scene.reveal(plan, &exchanged, &[Level::Clear; 6]);
    assert!(
        !matches!(shown, Some(Ok(shown)) if scene.collection.on_bad_value == OnBadValue::Refuse && !shown.bytes.is_empty()),
        "an envelope opens in another field"
    );
}

/// What was stored in one collection does not open in another.
fn check_moved(scene: &Scene, stored: &[u8]) {
    let plan = scene.plan().unwrap();
    let root = oracle::parse(stored).unwrap();
    let sealed = protected(scene, &root).iter().filter(|(_, node)| is_envelope(node.text(stored))).count();
    match scene.reveal(&plan, stored, &[Level::Clear; 6]).unwrap() {
        Ok(shown) => assert_eq!(usize::try_from(shown.tally.bad).unwrap(), sealed, "an envelope opens in another collection"),
        Err(error) => assert!(sealed > 0, "{error}"),
    }
}

/// Protecting a body. Input: a line that describes a collection and a request (`scene.rs`), then the body.
pub fn protect(input: &[u8]) {
    let Some((scene, plan, body, line)) = read(input) else { return };
    check_stored(&scene, &plan, body, &line);
}

/// Revealing a reply. Input: as for `protect`; the body is what the database answers, and once more what was stored before.
pub fn reveal(input: &[u8]) {
    let Some((scene, plan, body, line)) = read(input) else { return };
    check_shown(&scene, &plan, body, None, &line);
    let Some(stored) = check_stored(&scene, &plan, body, &line) else { return };
    check_shown(&scene, &plan, &stored, Some(body), &line);
    check_damage(&scene, &plan, &stored);
}

/// What must be so of every reply. `sent` is what was protected to give `stored`, if it was.
fn check_shown(scene: &Scene, plan: &Plan, stored: &[u8], sent: Option<&[u8]>, line: &str) {
    let Some(shown) = scene.reveal(plan, stored, &scene.levels) else { return };
    let shown = match shown {
        Ok(shown) => shown.bytes,
        Err(error) => {
            let text = error.to_string();
            assert!(
                !error.code().is_empty() && (!text.contains("canary") || line.contains("canary")),
                "a refusal shows a value: {text}"
            );
            return;
        }
    };
    let root = oracle::parse(stored).expect("the walker accepts what serde_json refuses");
    let shown_root = oracle::parse(&shown).expect("what is shown is JSON");
    for (field, node) in protected(scene, &shown_root) {
        let text = node.text(&shown);
        let ok = match scene.level(field) {
            Level::Absent => text == b"null",
            Level::Sealed => text == b"null" || is_sealed(scene, field, text),
            Level::Pseudonym => text == b"null" || string(text).is_some_and(|text| text.starts_with("psn1_")),
            Level::Masked => text == b"null" || string(text).is_some(),
            Level::Generalised => text == b"null" || !is_envelope(text),
            Level::Clear => !scene.collection.strict || text == b"null" || !is_envelope(text) || sent.is_some(),
        };
        assert!(ok, "field {field} is not shown at its level");
    }
    assert!(index_places(scene, &shown_root).is_empty(), "terms leave");
    // Everything else left as it came.
    let terms = index_places(scene, &root);
    let marks = |body: &[u8]| -> Vec<Range<usize>> {
        let layout = walk(&plan.map, Rules::reply(), body).expect("what is shown is read again");
        let root = oracle::parse(body).unwrap();
        let misfits = layout.found.iter().filter(|found| found.misfit).map(|found| found.value.clone());
        let values = values(scene, &root, &layout).into_iter().map(|found| found.value.clone());
        values.chain(misfits).collect()
    };
    let stored_marks: Vec<Range<usize>> = marks(stored).into_iter().chain(terms).collect();
    assert!(same_but((&root, stored, &stored_marks), (&shown_root, &shown, &marks(&shown))), "other members changed");
    if let Some(sent) = sent {
        check_clear(scene, sent, &shown);
    }
}

/// A value that nobody may see does not stand anywhere in what is shown, unless it also stands where it is not protected.
fn check_clear(scene: &Scene, sent: &[u8], shown: &[u8]) {
    let root = oracle::parse(sent).unwrap();
    let protected = protected(scene, &root);
    let seen: Vec<&Node> =
        protected.iter().filter(|(field, _)| scene.level(*field) == Level::Clear).map(|(_, node)| *node).collect();
    for (field, node) in &protected {
        let text = node.text(sent);
        let hidden = matches!(scene.level(*field), Level::Absent | Level::Sealed | Level::Pseudonym);
        // An envelope that was sent is kept, and is what the level sealed shows.
        if !hidden || text.len() < 12 || is_envelope(text) {
            continue;
        }
        let others =
            |span: &Range<usize>| protected.iter().any(|(_, node)| node.span.start <= span.start && span.end <= node.span.end);
        let elsewhere = |at: usize| {
            let span = at..at + text.len();
            !others(&span) || seen.iter().any(|node| node.span.start <= span.start && span.end <= node.span.end)
        };
        let allowed = (0..=sent.len() - text.len()).any(|at| &sent[at..at + text.len()] == text && elsewhere(at));
        assert!(allowed || !shown.windows(text.len()).any(|window| window == text), "a hidden value of field {field} is shown");
    }
}

/// An envelope with one character changed does not open.
fn check_damage(scene: &Scene, plan: &Plan, stored: &[u8]) {
    let Some((which, place)) = scene.damage else { return };
    let root = oracle::parse(stored).unwrap();
    let sealed: Vec<_> = protected(scene, &root).into_iter().filter(|(_, node)| is_envelope(node.text(stored))).collect();
    if sealed.is_empty() || !scene.collection.strict {
        // While migrating, a text that has lost its prefix is a clear value, and shown.
        return;
    }
    let (_, node) = &sealed[which % sealed.len()];
    let at = node.span.start + 1 + place % (node.span.len() - 2);
    for byte in *b"Ab0-." {
        let mut damaged = stored.to_vec();
        if std::mem::replace(&mut damaged[at], byte) == byte {
            continue;
        }
        if let Some(Ok(shown)) = scene.reveal(plan, &damaged, &[Level::Clear; 6]) {
            assert!(scene.collection.on_bad_value == OnBadValue::Withhold, "a changed envelope is shown");
            assert!(shown.tally.bad + shown.tally.clear_found > 0, "a changed envelope is not counted");
        }
    }
}
