//! `docs/rotation.md` is true: every command of it is run, in the page's order in one folder, and prints what the page says.
//!
//! Key ids and times are the page's own: an id stands for the first one met in its place, and for that one from then on. `…` on a line of
//! its own stands for lines that are left out. A command without output on the page only has to succeed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Folder;

/// One `$ …` of a block, with the lines after it.
struct Step {
    command: String,
    says: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.trim_start() {
            "```console" => inside = true,
            "```" => inside = false,
            text if inside => match text.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.to_owned(), says: Vec::new() }),
                None => steps.last_mut().unwrap().says.push(text.to_owned()),
            },
            _ => {}
        }
    }
    steps
}

/// Words as a shell splits them, as far as the page goes: double quotes.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    let split = |(index, part): (usize, &str)| {
        if index % 2 == 1 { vec![part.to_owned()] } else { part.split_whitespace().map(str::to_owned).collect() }
    };
    parts.flat_map(split).collect()
}

fn is_kid(word: &str) -> bool {
    word.parse::<sudare::base::Kid>().is_ok()
}

/// The line in words that can be compared: times are all one, and columns are as wide as they like.
fn plain(line: &str) -> Vec<String> {
    let is_time = |word: &&str| word.starts_with("20") && word.ends_with('Z') && word.contains('T');
    line.split_whitespace().map(|word| Some(word).filter(is_time).map_or(word, |_| "TIME").to_owned()).collect()
}

/// The page's ids, with what they are called here.
#[derive(Default)]
struct Ids(BTreeMap<String, String>);

impl Ids {
    /// Ids of the page that are known, replaced.
    fn here(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (page, here)| text.replace(page, here))
    }

    /// Do two lines say the same? Ids that are met for the first time are learnt.
    fn same(&mut self, page: &str, here: &str) -> bool {
        let (page, here) = (plain(&self.here(page)), plain(here));
        page.len() == here.len()
            && page.iter().zip(&here).all(|(page, here)| {
                let parts = |word: &str| word.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_owned).collect::<Vec<_>>();
                let (page_parts, here_parts) = (parts(page), parts(here));
                page == here
                    || page_parts.len() == here_parts.len()
                        && page_parts.iter().zip(&here_parts).all(|(page, here)| {
                            let known = |kid: &String| self.0.values().any(|known| known == kid);
                            let new = is_kid(page) && is_kid(here) && !known(page) && !known(here);
                            page == here || new && self.0.insert(page.clone(), here.clone()).is_none()
                        })
            })
    }

    fn check(&mut self, step: &Step, said: &str) {
        let mut lines = said.lines();
        let mut skipping = false;
        for expected in &step.says {
            if expected == "…" {
                skipping = true;
                continue;
            }
            let found = if skipping { lines.find(|line| self.same(expected, line)) } else { lines.next() };
            assert!(found.is_some(), "$ {}\nnever says {expected:?}:\n{said}", step.command);
            let found = found.unwrap();
            assert!(skipping || self.same(expected, found), "$ {}\nthe page: {expected}\nit says:  {found}", step.command);
            skipping = false;
        }
        assert!(skipping || step.says.is_empty() || lines.next().is_none(), "$ {}\nsays more:\n{said}", step.command);
    }
}

#[test]
fn the_commands_of_rotation_md_print_what_the_page_says() {
    let (folder, _) = Folder::made();
    fs::write(folder.path("clear"), "{\"id\":\"c-1\",\"name\":\"Mei Tanaka\",\"phone\":\"+81355501234\"}\n").unwrap();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rotation.md")).unwrap();
    let mut ids = Ids::default();
    let (mut run, mut compared) = (0, 0);
    for step in steps(&page) {
        let mut words = words(&ids.here(&step.command));
        if words.remove(0) != "sudare" {
            continue;
        }
        if step.command.starts_with("sudare keys compromise") && !folder.path("dump.jsonl").exists() {
            // Documents as they stand in the database by then.
            folder.run("seal --collection customers clear dump.jsonl").done();
        }
        if step.command == "sudare keys change-kek" && !folder.path("keys/kek-2").exists() {
            // As the page says before it.
            let now = "{ provider = \"file\", path = \"keys/kek\" }";
            folder.edit("sudare.toml", now, &format!("{now}\nnext_kek = {}", now.replace("keys/kek", "keys/kek-2")));
        }
        let output = folder.command().args(&words).output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        if step.says.is_empty() {
            assert!(output.status.success(), "$ {}\n{out}{err}", step.command);
        }
        ids.check(&step, &if step.says.is_empty() { String::new() } else { out + &err });
        run += 1;
        compared += step.says.len();
    }
    assert!(run >= 12 && compared >= 30, "{run} commands, {compared} lines: the page was not read");

    // What was sealed under the compromised version was opened by hand, with an alarm, and hangs on the new one.
    let (before, anew) = ["dump.jsonl", "anew.jsonl"].map(|name| fs::read_to_string(folder.path(name)).unwrap()).into();
    assert_ne!(before, anew);
    let active = super::kids(&folder, "seal", "active");
    let kid = |text: &str| text.split('.').nth(2).unwrap().to_owned();
    assert!(super::kids(&folder, "seal", "deactivated").contains(&kid(&anew)) || active.contains(&kid(&anew)));
    assert_eq!(fs::read_to_string(folder.path("clear.jsonl")).unwrap(), fs::read_to_string(folder.path("clear")).unwrap());
    folder.run("audit tail").done().says(&["alarm; ", "key-compromised"]);
    folder
        .run("open --collection customers --reason again dump.jsonl again.jsonl")
        .wrong(0, &["note: 2 of the values hang on a compromised key", "Seal what you trust anew"]);
}

/// A page that says something else is noticed, or the test above proves nothing.
#[test]
fn a_page_that_is_wrong_is_noticed() {
    let step = |says: &str| Step { command: "sudare x".to_owned(), says: says.lines().map(str::to_owned).collect() };
    let said = "seal: 7k3m9qpa is active\nring revision 2\nmore\n";
    for right in
        ["seal: 00000001 is active\nring revision 2\nmore", "seal: 00000001 is active\n…", "…\nmore", "…\nring revision 2\n…"]
    {
        Ids::default().check(&step(right), said);
    }
    let wrong = [
        "seal: 00000001 is active\nring revision 3\nmore",
        "seal: 00000001 is active\nring revision 2",
        "seal: 00000001 is active\nmore\n…",
        "…\nmuch more",
        "seal: latest is active\n…",
    ];
    for wrong in wrong {
        assert!(std::panic::catch_unwind(|| Ids::default().check(&step(wrong), said)).is_err(), "{wrong}");
    }
    // One id of the page is one id here.
    let mut ids = Ids::default();
    assert!(
        ids.same("a 00000001", "a 7k3m9qpa") && !ids.same("a 00000001", "a 7k3m9qpb") && !ids.same("b 00000002", "b 7k3m9qpa")
    );
}
