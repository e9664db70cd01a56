//! Imports point down: a module may name only what its row of the table in ARCHITECTURE.md lists.
//!
//! Reads every `crate::x` path of `src/`, also inside braces, and compares it with [`TABLE`].

#![expect(clippy::unwrap_used, clippy::string_slice, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, and what it may import of ours. Order is the order of the layers, lowest first.
const TABLE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("metrics", &["base"]),
    ("crypto", &["base"]),
    ("document", &["base"]),
    ("encoding", &[]),
    ("normalise", &[]),
    ("net", &["base"]),
    ("store", &["base", "metrics", "crypto", "net"]),
    ("dialect", &["base", "document"]),
    ("discover", &["base", "document"]),
    ("caller", &["base", "crypto"]),
    ("purpose", &["base", "caller"]),
    ("keys", &["base", "crypto", "purpose", "store", "net"]),
    ("vault", &["base", "crypto", "purpose", "store", "keys"]),
    ("subject", &["base", "crypto", "purpose", "store", "keys"]),
    ("field", &["base", "normalise", "crypto", "purpose", "document", "keys", "vault"]),
    ("audit", &["base", "crypto", "purpose", "store"]),
    ("upstream", &["base", "net", "store", "field"]),
    (
        "exchange",
        &[
            "base",
            "metrics",
            "crypto",
            "document",
            "encoding",
            "normalise",
            "store",
            "dialect",
            "discover",
            "caller",
            "purpose",
            "keys",
            "vault",
            "subject",
            "field",
            "audit",
            "upstream",
        ],
    ),
    ("batch", &["base", "crypto", "document", "purpose", "keys", "vault", "field", "audit"]),
    ("sweep", &["base", "document", "dialect", "keys", "vault", "field", "upstream"]),
    ("front", &["base", "metrics", "net", "caller", "exchange"]),
    ("admin", &["base", "metrics", "net", "caller", "purpose", "keys", "audit"]),
    ("config", &["*"]),
    ("app", &["*"]),
    ("cli", &["*"]),
];

/// Modules that are fuzzed as they stand: no runtime, no sockets, no files.
const PURE: &[&str] = &["base", "document", "encoding", "normalise", "dialect", "discover", "caller", "purpose", "crypto"];
const IMPURE_WORDS: &[&str] = &["tokio", "hyper::", "hyper_util", "std::fs", "std::net::Tcp", "redb"];

fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            out.push(path);
        }
    }
}

/// The code of a file without line comments.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// First names after `crate::`, also those in `crate::{a, b::c}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut name = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 || (depth == 1 && c == ',') {
                    found.insert(name.trim().split("::").next().unwrap_or("").to_string());
                    name.clear();
                } else {
                    name.push(c);
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            found.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    found.remove("");
    found
}

fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "main" | "lib")).then(|| name.to_string())
}

#[test]
fn imports_point_down() {
    let mut files = Vec::new();
    rust_files(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    let modules: BTreeSet<&str> = TABLE.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    let mut arrows = 0;
    for file in &files {
        let Some(module) = module_of(file) else { continue };
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: module {module} stands in no row of the table", file.display()));
            continue;
        };
        let code = code_of(file);
        for import in imports(&code).iter().filter(|name| modules.contains(name.as_str())) {
            arrows += 1;
            if *import != module && !allowed.contains(&"*") && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: {module} must not import {import}", file.display()));
            }
        }
        if PURE.contains(&module.as_str()) {
            let product = code.split("#[cfg(test)]").next().unwrap_or("");
            wrong.extend(
                IMPURE_WORDS
                    .iter()
                    .filter(|word| product.contains(**word))
                    .map(|word| format!("{}: {module} is pure, but names {word}", file.display())),
            );
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(arrows > 20, "only {arrows} imports seen: the scan does not work");
}

#[test]
fn the_table_itself_points_down() {
    for (at, (module, allowed)) in TABLE.iter().enumerate() {
        for import in allowed.iter().filter(|name| **name != "*") {
            let below = TABLE.iter().position(|(name, _)| name == import);
            assert!(below.is_some_and(|below| below < at), "{module} imports {import}, which does not stand above it");
        }
    }
}

#[test]
fn the_table_of_architecture_md_is_this_one() {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/ARCHITECTURE.md")).unwrap();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<String>>();
    let rows = text.lines().skip_while(|line| !line.starts_with("| module | may import")).skip(2);
    let mut written: Vec<(String, BTreeSet<String>)> = Vec::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let allowed = match cells[2] {
            "everything" => BTreeSet::from(["*".to_owned()]),
            "everything above but `net`" => {
                written.iter().map(|(module, _)| module.clone()).filter(|module| module != "net").collect()
            }
            listed => names(listed),
        };
        written.extend(names(cells[1]).into_iter().map(|module| (module, allowed.clone())));
    }
    let set = |allowed: &[&str]| allowed.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    let mut expected: Vec<_> = TABLE.iter().map(|(module, allowed)| ((*module).to_owned(), set(allowed))).collect();
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
}

#[test]
fn the_scan_sees_every_spelling() {
    let code = "use crate::keys::KeyRing; use crate::{base::{Kid, enc}, field, crypto::Secret}; fn f(_: &crate::audit::Log) {}";
    let expected: BTreeSet<String> = ["keys", "base", "field", "crypto", "audit"].map(String::from).into();
    assert_eq!(imports(code), expected);
}
