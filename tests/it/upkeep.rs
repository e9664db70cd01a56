//! `Upkeep` opens keys without a grant. Whoever makes one stands on this list, with the reason that no clear text leaves,
//! or why it may.

use std::fs;
use std::path::{Path, PathBuf};

/// File, number of call sites in product code, why.
const ALLOWED: &[(&str, usize, &str)] = &[
    ("src/batch/line.rs", 1, "the named exception: `sudare open`, with a reason; each window is recorded before it leaves"),
    ("src/field/index.rs", 1, "a value that stays sealed is opened for its search term, which is keyed"),
    (
        "src/field/matching.rs",
        1,
        "a value that was found by its term is compared with what was searched; only equal or not leaves",
    ),
    ("src/field/protect.rs", 1, "an envelope in a write is opened to verify its place; it is kept byte for byte"),
    (
        "src/field/rewrap.rs",
        1,
        "a value that hangs on an old key version is sealed anew at once, in its place; so is its term, which is keyed",
    ),
    ("src/field/seal.rs", 1, "a value that a write carries along is sealed anew at once, in its place"),
    ("src/field/upkeep.rs", 1, "an envelope in a stored row is opened to verify its place; it is kept byte for byte"),
    (
        "src/vault/mod.rs",
        2,
        "a row of the vault is compared with the value it was found by, or recognised; its content is dropped at once",
    ),
    (
        "src/vault/rewrap.rs",
        2,
        "a row of the vault that hangs on an old key version is sealed and marked anew at once, as the same token",
    ),
    ("src/vault/verify.rs", 1, "a row of the vault is opened to verify it where it stands; its content is dropped at once"),
];

fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") && path.file_name().is_some_and(|name| name != "tests.rs") {
            out.push(path);
        }
    }
}

#[test]
fn upkeep_is_made_only_where_the_list_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    rust_files(&root.join("src"), &mut files);
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let product = text.split("#[cfg(test)]").next().unwrap();
        let count = product.matches("Upkeep::dangerous_for(").count();
        if count > 0 {
            found.push((file.strip_prefix(root).unwrap().display().to_string(), count));
        }
    }
    found.sort();
    let allowed: Vec<_> = ALLOWED.iter().map(|(file, count, _)| ((*file).to_owned(), *count)).collect();
    assert_eq!(found, allowed);
}
