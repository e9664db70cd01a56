//! The documentation and the code agree: every stable code has one entry in `docs/errors.md` and every entry a code, links lead
//! somewhere, and the files that are named exist.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where codes are written down: the file, and what begins and ends the part to look at.
const CODES: &[(&str, &str, &str)] = &[
    ("src/front/http/reply.rs", "fn status_and_code(", "\n}\n"),
    ("src/front/http/reply.rs", "fn vault_status_and_code(", "\n}\n"),
    ("src/dialect/mod.rs", "impl RefusedCode {", "\n}\n"),
    ("src/field/protect/error.rs", "pub fn code(", "\n    }\n"),
    ("src/field/reveal.rs", "pub fn code(", "\n    }\n"),
    ("src/field/deterministic.rs", "pub fn code(", "\n    }\n"),
    ("src/batch/line.rs", "pub fn code(", "\n    }\n"),
];
/// The wire's own, which are answered before there is a request: the file that says each.
const OF_THE_WIRE: &[(&str, &str)] = &[("src/front/http/wire.rs", "framing-refused"), ("src/front/http/tls.rs", "tls-expected")];

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Words like `route-refused` between quotation marks.
fn quoted_words(text: &str) -> impl Iterator<Item = String> {
    let is_word = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    text.split('"').skip(1).step_by(2).filter(is_word).map(str::to_owned)
}

fn headings(text: &str) -> Vec<String> {
    let mut code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        code ^= line.starts_with("```");
        if let (false, Some(heading)) = (code, line.strip_prefix('#')) {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            found.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
        }
    }
    found
}

/// Every page of the project, from its root.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "keys/README.md"].map(PathBuf::from).into();
    for folder in ["docs", "docs/decisions", "benches"] {
        let entries = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        found.extend(
            entries.map(|name| Path::new(folder).join(name)).filter(|path| path.extension().is_some_and(|end| end == "md")),
        );
    }
    found
}

#[test]
fn every_code_has_one_entry_and_every_entry_a_code() {
    let mut codes = BTreeSet::new();
    for (file, code) in OF_THE_WIRE {
        assert!(read(file).contains(&format!("{code}: ")), "{file} says {code}");
        codes.insert((*code).to_owned());
    }
    for (file, begin, end) in CODES {
        let text = read(file);
        let (_, part) = text.split_once(begin).unwrap();
        let here: Vec<String> = quoted_words(part.split_once(end).unwrap().0).collect();
        assert!(!here.is_empty(), "{file}");
        codes.extend(here);
    }
    let entries: Vec<String> =
        read("docs/errors.md").lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    let once: BTreeSet<String> = entries.iter().cloned().collect();
    assert_eq!(once.len(), entries.len(), "an entry stands twice in docs/errors.md");
    assert_eq!(codes, once, "left: what the code can say; right: docs/errors.md");
}

#[test]
fn every_metric_has_one_row_and_every_row_a_metric() {
    const UNITS: [&str; 2] = ["_seconds", "_bytes"];
    let bare = |name: &str| UNITS.iter().find_map(|unit| name.strip_suffix(unit)).unwrap_or(name).to_owned();
    let mut made = BTreeSet::new();
    for file in ["mod", "admission", "kek", "store", "values", "vault", "vitals"].map(|name| format!("src/metrics/{name}.rs")) {
        let text = read(file);
        let code: String = text.split("#[cfg(test)]").next().unwrap().split_whitespace().collect();
        let calls = ["registered(registry,\"", "registry.register(\"", "registry.register_with_unit(\""];
        let calls = calls.into_iter().chain(["gauge(&mutout,\"", "counter(&mutout,\"", "encode_descriptor(\""]);
        let names = calls.flat_map(|call| code.split(call).skip(1)).map(|rest| rest.split_once('"').unwrap().0);
        made.extend(names.map(|name| bare(name.strip_prefix("process_").unwrap_or(name))));
    }
    let page = read("docs/metrics.md");
    let rows: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name).collect();
    let named: BTreeSet<String> = rows.iter().map(|name| bare(name.split_once('_').unwrap().1)).collect();
    assert_eq!(named.len(), rows.len(), "a row stands twice in docs/metrics.md");
    assert_eq!(made, named, "left: what /metrics can say; right: docs/metrics.md");
}

#[test]
fn links_and_named_files_are_there() {
    const FOLDERS: &[&str] = &["src/", "docs/", "tests/", "scripts/", "fuzz/", "benches/", "keys/"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut dead = Vec::new();
    for page in pages() {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let is_there = root.join(&target).exists();
            if !is_there || !anchor.is_empty() && !headings(&read(&target)).iter().any(|heading| heading == anchor) {
                dead.push(format!("{}: {link}", page.display()));
            }
        }
        for name in text.split('`').skip(1).step_by(2).filter(|name| FOLDERS.iter().any(|folder| name.starts_with(folder))) {
            let is_path = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
            // What an operator makes does not stand in the repository.
            if is_path && !name.starts_with("keys/") && !root.join(name).exists() {
                dead.push(format!("{}: no {name}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Test functions of a file as cargo names them: modules, then the function. Those of the store's suite are made tests by a macro.
fn tests_of(file: &Path, modules: &str, found: &mut Vec<String>) {
    let text = fs::read_to_string(file).unwrap();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        let suite = line.strip_prefix("pub(super) ").filter(|rest| rest.contains("(place: &Place)"));
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test") || suite.is_some();
        let line = suite.unwrap_or(line);
        let name =
            line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")).and_then(|rest| rest.split(['(', '<']).next());
        if let (true, Some(name)) = (is_test, name) {
            found.push(format!("{modules}{name}"));
            is_test = false;
        }
    }
}

/// Of a folder and those below.
fn tests_below(folder: &Path, modules: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_stem().unwrap().to_str().unwrap();
        if entry.is_dir() {
            tests_below(&entry, &format!("{modules}{name}::"), found);
        } else if entry.extension().is_some_and(|end| end == "rs") {
            let inner = if matches!(name, "main" | "mod" | "lib") { modules.to_owned() } else { format!("{modules}{name}::") };
            tests_of(&entry, &inner, found);
        }
    }
}

#[test]
fn every_fault_of_resilience_md_can_be_repeated() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut rows, mut wrong) = (0, Vec::new());
    for row in read("docs/resilience.md").lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault |")) {
        rows += 1;
        let commands: Vec<&str> =
            row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap().split('`').skip(1).step_by(2).collect();
        if commands.is_empty() || row.matches(" | ").count() != 4 {
            wrong.push(format!("no command, or not five cells: {row}"));
        }
        for command in commands {
            // A variable before the command and the kind of build do not change what is run.
            let words: Vec<&str> = command.split(' ').filter(|word| !word.contains('=') && *word != "--release").collect();
            let mut names = Vec::new();
            let filter = match words.as_slice() {
                ["cargo", "test", "--lib", filter] => {
                    tests_below(&root.join("src"), "", &mut names);
                    *filter
                }
                ["cargo", "test", "--test", "it", filter] => {
                    tests_below(&root.join("tests/it"), "", &mut names);
                    *filter
                }
                ["cargo", "test", "--test", file, filter] => {
                    tests_of(&root.join(format!("tests/{file}.rs")), "", &mut names);
                    *filter
                }
                [script, ..] if root.join(script).is_file() => continue,
                _ => "neither a test nor a script",
            };
            if !names.iter().any(|name| name.contains(filter)) {
                wrong.push(format!("{command}: nothing of that name"));
            }
        }
    }
    assert!(rows > 20 && wrong.is_empty(), "{rows} rows\n{}", wrong.join("\n"));
}
