//! The fuzz corpus, replayed: every file of `fuzz/corpus/NAME` through the check that `scripts/fuzz` runs as target `NAME`.
//!
//! So what the fuzzer once found stays found on a stable compiler, and a change that breaks one of those properties fails here first.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a corpus that does not read is a failed test")]

#[path = "../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::as_conversions,
    clippy::pedantic,
    reason = "the checks are a crate of their own, and fail by panicking"
)]
mod checks;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Replays a target's corpus and says how many inputs it has.
fn replay(target: &str) -> usize {
    let (_, check) = checks::TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let folder = corpus(target);
    let inputs = names(&folder);
    for name in &inputs {
        let input = fs::read(folder.join(name)).unwrap();
        let passed = std::panic::catch_unwind(|| check(&input)).is_ok();
        assert!(passed, "fuzz/corpus/{target}/{name} fails; see the message above");
    }
    inputs.len()
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(#[test] fn $target() { assert!(replay(stringify!($target)) > 10, "a corpus of hardly any input"); })*

        #[test]
        fn every_target_is_replayed_and_can_be_run() {
            let known: BTreeSet<String> = checks::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(BTreeSet::from([$(stringify!($target).to_owned()),*]), known);
            assert_eq!(names(&corpus("")), known);
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
            assert_eq!(names(&folder).iter().map(|file| file.replace(".rs", "")).collect::<BTreeSet<_>>(), known);
            let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
            for name in known {
                assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
            }
        }
    };
}

replays! { configuration couchdb discover document encoding envelope lines normalise protect rest reveal target }
