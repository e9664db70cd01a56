//! JSONTestSuite, all of it, through the walker: what must be accepted is, what must be refused is, and `docs/json.md` lists every file that
//! leaves a choice, or on which we or serde_json do otherwise.
//!
//! The files are another project's, so they are not kept here: `tests/interop/json/run` installs them and runs the ignored test. Cases of
//! the same kinds, written by hand, run with the walker's own tests (`src/document/tests/cases.rs`).

#![expect(clippy::unwrap_used, clippy::panic, reason = "a suite that does not read is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sudare::document::{Map, Rules, WalkError, Walker, is_one_value, splice, walk};

/// Of a table row of `docs/json.md`: what we do, what serde_json does.
type Verdicts = (bool, bool);

/// The files that `docs/json.md` lists: a row `| file.json | accepted | refused | why |` each.
fn listed() -> BTreeMap<String, Verdicts> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md")).unwrap();
    let mut files = BTreeMap::new();
    for line in text.lines().filter(|line| line.contains(".json` |")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [file, ours, oracle, why] = cells.as_slice() else { panic!("not four cells: {line}") };
        let verdict = |cell: &str| match cell {
            "accepted" => true,
            "refused" => false,
            _ => panic!("neither accepted nor refused: {line}"),
        };
        assert!(!why.is_empty(), "no reason: {line}");
        let earlier = files.insert(file.trim_matches('`').to_owned(), (verdict(ours), verdict(oracle)));
        assert!(earlier.is_none(), "listed twice: {line}");
    }
    files
}

/// What we do with a body, however it arrives, as a request.
fn accepts(body: &[u8]) -> bool {
    let nothing = Arc::new(Map::compile(&[], &[]).unwrap());
    let whole = walk(&nothing, Rules::request(), body);
    assert_eq!(is_one_value(body), whole.is_ok());
    for size in [1, 2, 3, 4096] {
        assert_eq!(in_pieces(&nothing, body, size), whole.as_ref().map(|_| body.to_vec()).map_err(Clone::clone));
    }
    if let Ok(layout) = &whole {
        let mut out = Vec::new();
        splice(body, layout, &[], &[], &mut out);
        assert_eq!(out, body, "what is not changed leaves as it came");
    }
    // As a reply a name may stand twice where nothing is looked for.
    let reply = walk(&nothing, Rules::reply(), body);
    assert_eq!(reply.is_ok(), whole.is_ok() || matches!(whole, Err(WalkError::DuplicateName { .. })));
    whole.is_ok()
}

fn in_pieces(map: &Arc<Map>, body: &[u8], size: usize) -> Result<Vec<u8>, WalkError> {
    let mut walker = Walker::new(Arc::clone(map), Rules::request());
    body.chunks(size).try_for_each(|piece| walker.feed(piece))?;
    walker.finish()?;
    Ok(std::iter::from_fn(|| walker.window()).flat_map(|window| window.bytes).collect())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn t7_every_deviation_is_listed_with_its_reason() {
    let listed = listed();
    assert!(listed.len() > 35, "the table is not read");
    for (file, (ours, _)) in listed {
        assert!(!(ours && file.starts_with("n_")), "{file}: what must be refused is refused");
    }
}

#[test]
#[ignore = "needs the files of JSONTestSuite, which tests/interop/json/run installs"]
fn t7_json_test_suite() {
    let folder = PathBuf::from(std::env::var_os("JSON_TEST_SUITE").expect("JSON_TEST_SUITE names the folder of the suite"));
    let listed = listed();
    let (mut failures, mut counts, mut seen) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
    for path in files(&folder.join("parsing")).into_iter().chain(files(&folder.join("transform"))) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let body = fs::read(&path).unwrap();
        let verdicts = (accepts(&body), serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        let expected = match (listed.get(&name), name.get(..2)) {
            (Some(listed), _) => *listed,
            (None, Some("y_")) => (true, true),
            (None, Some("n_")) => (false, false),
            (None, Some("i_")) => {
                failures.push(format!("{name}: not listed; we and serde_json: {verdicts:?}"));
                verdicts
            }
            // A transformation: any reading is allowed, and ours is serde_json's.
            (None, _) => (verdicts.1, verdicts.1),
        };
        if verdicts != expected {
            failures.push(format!("{name}: accepted by us and by serde_json: {verdicts:?}, not {expected:?}"));
        }
        let class = if path.starts_with(folder.join("transform")) { "transform" } else { name.get(..2).unwrap() };
        let count: &mut (usize, usize, usize) = counts.entry(class.to_owned()).or_default();
        *count = (count.0 + 1, count.1 + usize::from(verdicts.0), count.2 + usize::from(listed.contains_key(&name)));
        seen.insert(name);
    }
    for (class, (all, accepted, listed)) in &counts {
        println!(
            "{class:10} {all:4} files, {accepted:3} accepted, {:3} refused, {listed:2} listed in docs/json.md",
            all - accepted
        );
    }
    for name in listed.keys().filter(|name| !seen.contains(*name)) {
        failures.push(format!("{name}: listed in docs/json.md, but not in the suite"));
    }
    for (class, least) in [("y_", 95), ("n_", 188), ("i_", 35), ("transform", 22)] {
        assert!(counts.get(class).is_some_and(|count| count.0 >= least), "files of {class} are missing");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
