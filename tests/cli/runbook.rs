//! `docs/rotation.md` and `docs/exceptions.md` are true: every command of them is run, in the page's order in one folder, and prints what the
//! page says.
//!
//! Key ids and times are the page's own: an id stands for the first one met in its place, and for that one from then on. `…` on a line of
//! its own stands for lines that are left out. A command without output on the page only has to succeed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::Folder;

/// One `$ …` of a block, with the lines after it.
struct Step {
    command: String,
    says: Vec<String>,
}

/// The steps of the blocks that begin with this fence.
fn steps(page: &str, fence: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line.trim_start() {
            text if text == fence => inside = true,
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

/// The id of a key, or what stands behind `ex_` in that of an exception.
fn is_id(word: &str) -> bool {
    word.parse::<sudare::base::Kid>().is_ok() || format!("ex_{word}").parse::<sudare::base::ExceptionId>().is_ok()
}

/// The line in words that can be compared: times are all one, and columns are as wide as they like.
fn plain(line: &str) -> Vec<String> {
    let is_time = |word: &&str| {
        let word = word.trim_end_matches([',', ';', ':', '.']);
        word.starts_with("20") && word.ends_with('Z') && word.contains('T')
    };
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
                            let new = page.len() == here.len() && is_id(page) && is_id(here) && !known(page) && !known(here);
                            page == here
                                || self.0.get(page) == Some(here)
                                || new && self.0.insert(page.clone(), here.clone()).is_none()
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

/// Speaks with the database itself, while no proxy holds it: one request after the other, and the answer to the last.
fn in_database(folder: &Folder, method: &http::Method, requests: &[(String, &str)]) -> String {
    use http_body_util::{BodyExt as _, Full};
    use sudare::upstream::{Outgoing, Upstream};
    let settings = sudare::config::load(&folder.path("sudare.toml")).unwrap();
    let mut answer = String::new();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let upstream = Upstream::new(&settings.upstream).unwrap();
        for (path, body) in requests {
            let body = bytes::Bytes::copy_from_slice(body.as_bytes());
            let request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
            let (parts, ()) = request.header("content-length", body.len()).body(()).unwrap().into_parts();
            let outgoing = Outgoing::Passed(Full::new(body).map_err(|never| match never {}).boxed_unsync());
            let reply = upstream.send(parts, outgoing).await.unwrap();
            assert!(reply.status().is_success(), "{path}: {}", reply.status());
            answer = String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        }
    });
    answer
}

#[test]
fn the_commands_of_rotation_md_print_what_the_page_says() {
    let (folder, _) = Folder::made();
    // As a proxy that has run leaves it: a store, a database.
    folder.run("store migrate").done();
    folder.run("sweep migrate --collection customers --dry-run").done();
    fs::write(folder.path("clear"), "{\"id\":\"c-1\",\"name\":\"Mei Tanaka\",\"phone\":\"+81355501234\"}\n").unwrap();
    // Documents as they stand in the database before the first rotation.
    let three = (1..=3).map(|n| format!("{{\"id\":\"c-{n}\",\"name\":\"Mei Tanaka\",\"phone\":\"+81355501234\"}}\n"));
    fs::write(folder.path("three"), three.collect::<String>()).unwrap();
    folder.run("seal --collection customers three sealed").done();
    let sealed = fs::read_to_string(folder.path("sealed")).unwrap();
    let puts: Vec<_> = sealed.lines().enumerate().map(|(n, document)| (format!("/customers/c-{}", n + 1), document)).collect();
    in_database(&folder, &http::Method::PUT, &puts);
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rotation.md")).unwrap();
    let mut ids = Ids::default();
    let (mut run, mut compared) = (0, 0);
    for step in steps(&page, "```console") {
        let mut words = words(&ids.here(&step.command));
        if words.remove(0) != "sudare" {
            continue;
        }
        if step.command.starts_with("sudare keys compromise") && !folder.path("dump.jsonl").exists() {
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
        if step.command.starts_with("sudare keys operator") {
            // The page says to put the lines there.
            let lines = out.split_once("\n\n").unwrap().1;
            fs::OpenOptions::new().append(true).open(folder.path("sudare.toml")).unwrap().write_all(lines.as_bytes()).unwrap();
        }
        ids.check(&step, &if step.says.is_empty() { String::new() } else { out + &err });
        run += 1;
        compared += step.says.len();
    }
    assert!(run >= 12 && compared >= 30, "{run} commands, {compared} lines: the page was not read");

    // What hung on the compromised version was sealed anew, and named.
    let stored = in_database(&folder, &http::Method::GET, &[("/customers".to_owned(), "")]);
    let compromised = super::kids(&folder, "seal", "compromised");
    assert!(compromised.len() == 2 && stored.contains("sdr1.x.") && !stored.contains("Mei"), "{stored}");
    assert!(compromised.iter().all(|kid| !stored.contains(kid)), "{stored}");
    let named = fs::read_to_string(folder.path("forged.tsv")).unwrap();
    assert_eq!(named.lines().count(), 6, "{named}");
    assert!(named.contains("customers\t\"c-2\"\tphone\tkey-compromised\t"), "{named}");
    // What is opened by hand is an alarm, too.
    folder
        .run("open --collection customers --reason again dump.jsonl again.jsonl")
        .wrong(0, &["note: 2 of the values hang on a compromised key", "Seal what you trust anew"]);
    folder.run("audit tail").done().says(&["alarm; ", "key-compromised"]);
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

/// The page's section on several rings, in a folder with two.
#[test]
fn the_commands_about_several_rings_print_what_the_page_says() {
    let (folder, _) = Folder::made();
    let table =
        "[keys.identity]\nring = \"keys/identity.json\"\nkek  = { provider = \"file\", path = \"keys/identity.kek\" }\n\n[store]";
    folder.edit("sudare.toml", "[store]", table);
    folder.edit("sudare.toml", "\"$.phone\"", "{ at = \"$.phone\", ring = \"identity\" }");
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rotation.md")).unwrap();
    let mut ids = Ids::default();
    let steps = steps(&page, "```console rings");
    assert!(steps.len() >= 5, "{} commands: the page was not read", steps.len());
    for step in steps {
        let words = words(&ids.here(&step.command));
        let output = folder.command().args(words.get(1..).unwrap()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        ids.check(&step, &said);
    }
    let wrong = "the configuration has no key ring identiy; it has main, identity";
    folder.run("keys list --ring identiy").wrong(2, &[wrong]);
    folder.run("keys rotate --ring identity --line audit").wrong(2, &["the key ring has no line audit"]);
    let json = folder.command().args(["keys", "list", "--format", "json"]).output().unwrap();
    let all: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&all["ring"], &all["others"][0]["ring"], &all["others"][1]),
        (&"main".into(), &"identity".into(), &serde_json::Value::Null)
    );
    // A node that is not to have it.
    fs::remove_file(folder.path("keys/identity.json")).unwrap();
    folder.edit("sudare.toml", table, "[keys.identity]\nheld = false\n\n[store]");
    folder.run("keys init").done().says(&["ring.json has every line already", "ring identity: not held by this node"]);
    folder.run("keys verify").done().says(&["sound", "ring identity: not held by this node"]);
    folder.run("keys list --ring identity").wrong(2, &["this node does not hold the key ring identity"]);
    let json = folder.command().args(["keys", "verify", "--format", "json"]).output().unwrap();
    let all: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&all["sound"], &all["others"][0]), (&true.into(), &serde_json::json!({"ring": "identity", "held": false})));
    folder.run("check").done().says(&["Key rings of this node:", "not held: customers.phone"]);
}

#[test]
fn the_commands_of_exceptions_md_print_what_the_page_says() {
    let (folder, _) = Folder::made();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/exceptions.md")).unwrap();
    let append = |name: &str, text: &str| {
        fs::OpenOptions::new().append(true).open(folder.path(name)).unwrap().write_all(text.as_bytes()).unwrap();
    };
    let rule = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    append("policy.toml", &format!("\n{rule}"));
    let mut ids = Ids::default();
    let steps = steps(&page, "```console");
    assert!(steps.len() >= 11, "{} commands: the page was not read", steps.len());
    for step in steps {
        let words = words(&ids.here(&step.command));
        let output = folder.command().args(words.get(1..).unwrap()).output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "$ {}\n{out}{err}", step.command);
        if step.command.starts_with("sudare keys operator") {
            append("sudare.toml", out.split_once("\n\n").unwrap().1);
        }
        ids.check(&step, &(out + &err));
    }
}
