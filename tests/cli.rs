//! The command line as an operator meets it: the built binary, each command right and wrong once, its exit code and the words
//! that must be there. 0 done, 1 failed, 2 wrong usage or configuration; an error says what, where and the remedy.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

/// A folder in which commands run.
struct Folder(tempfile::TempDir);

/// What a command did.
struct Outcome {
    words: String,
    code: i32,
    out: String,
    err: String,
}

impl Folder {
    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// As `sudare init` leaves it, but listening on Unix sockets; and the credential of `shop`.
    fn made() -> (Self, String) {
        let folder = Self::empty();
        let made = folder.run("init").done();
        let credential = made.out.lines().find_map(|line| line.trim().strip_prefix("shop ")).unwrap().trim().to_owned();
        folder.edit("sudare.toml", "\"127.0.0.1:8080\"", "\"unix:run/proxy.sock\"");
        folder.edit("sudare.toml", "\"127.0.0.1:8081\"", "\"unix:run/admin.sock\"");
        (folder, credential)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        fs::write(self.path(name), text.replacen(from, to, 1)).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sudare"));
        command.current_dir(self.0.path());
        command
    }

    /// Runs `words`, split at spaces.
    fn run(&self, words: &str) -> Outcome {
        let output = self.command().args(words.split_whitespace()).output().unwrap();
        let clean = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&self.0.path().display().to_string(), "DIR");
        Outcome {
            words: words.to_owned(),
            code: output.status.code().expect("an exit code"),
            out: clean(&output.stdout),
            err: clean(&output.stderr),
        }
    }
}

impl Outcome {
    fn done(self) -> Self {
        assert_eq!(self.code, 0, "sudare {}\n{}{}", self.words, self.out, self.err);
        self
    }

    /// Ended with `code`, and says each of `parts` on standard error.
    fn wrong(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "sudare {}\n{}{}", self.words, self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "sudare {} does not say {part:?}:\n{}", self.words, self.err);
        }
        self
    }

    /// Standard output holds each of `parts`.
    fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.out.contains(part), "sudare {} does not say {part:?}:\n{}", self.words, self.out);
        }
        self
    }
}

/// `sudare serve` in a folder, ready. Killed when dropped.
struct Serving {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Serving {
    fn start(folder: &Folder) -> Self {
        let mut child = folder.command().arg("serve").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "listening on unix:run/proxy.sock");
        assert_eq!(lines.next().unwrap().unwrap(), "listening on unix:run/admin.sock (admin)");
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The next line of the log that is about a reload.
    fn reloaded(&mut self) -> String {
        self.signal("HUP");
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "the log ended");
            if line.contains("reloaded") {
                return line;
            }
        }
    }

    fn stop(mut self) -> i32 {
        self.signal("TERM");
        self.child.wait().unwrap().code().unwrap()
    }
}

/// One request over a Unix socket; the whole answer.
fn ask(socket: &Path, method: &str, path: &str, headers: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn usage() {
    let folder = Folder::empty();
    for words in ["--help", "help", "help keys", "keys rotate --help", "--version"] {
        assert!(!folder.run(words).done().out.is_empty());
    }
    folder.run("--help").says(&[
        "demo",
        "init",
        "check",
        "serve",
        "caller",
        "keys",
        "policy",
        "audit",
        "0 done, 1 failed, 2 wrong",
    ]);
    for words in ["", "keys", "caller", "policy", "audit"] {
        folder.run(words).wrong(2, &["Usage: sudare"]);
    }
    folder.run("chekc").wrong(2, &["'chekc'", "'check'"]);
    folder.run("check --format yaml").wrong(2, &["yaml", "table, json"]);
    folder.run("init --force").wrong(2, &["--force"]);
    folder.run("caller add").wrong(2, &["<NAME>"]);
    folder.run("audit tail -n many").wrong(2, &["many"]);
    for words in [
        "serve",
        "keys init",
        "keys list",
        "keys rotate",
        "keys activate 7k3m9qpa",
        "keys deactivate 7k3m9qpa",
        "keys compromise 7k3m9qpa",
        "keys verify",
        "policy explain",
        "policy test",
        "policy coverage",
        "audit tail",
        "audit verify",
        "audit report",
        "audit combined",
        "audit checkpoint",
        "audit key",
    ] {
        folder.run(words).wrong(2, &["there is no file sudare.toml", "sudare init", "-c FILE"]);
    }
    folder.run("check").wrong(2, &[]).says(&["there is no file sudare.toml", "sudare init"]);
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 0, "a command that failed left something behind");
}

#[test]
fn init_and_check() {
    let folder = Folder::empty();
    folder.run("init").done().says(&["Made in .:", "\n  sudare check   ", "Sudare-Credential: analyst."]);
    folder.run("init").wrong(1, &["sudare.toml is already there", "nothing was written", "--dir"]);
    folder.run("init --dir other").done().says(&["sudare serve -c other/sudare.toml"]);
    folder.run("init --dir sudare.toml/x").wrong(1, &["sudare.toml/x cannot be written", "--dir"]);
    for file in ["keys/kek", "keys/ring.json"] {
        assert_eq!(fs::metadata(folder.path(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    folder.run("check").done().says(&["sudare.toml and policy.toml are good: 1 collection with 4 protected fields, 5 callers"]);
    folder
        .run("check")
        .done()
        .says(&["What each field tells whoever holds the database", "seal       yes, null too  in steps of 32"]);
    assert_eq!(folder.run("check --format json").done().out, "[]\n");
    let told = folder.run("check --leakage --format json").done().out;
    assert_eq!(told.matches("\"equality\": \"no\"").count(), 4, "{told}");
    folder.run("check -c keys").wrong(2, &[]).says(&["keys cannot be read", "-c FILE"]);
    folder.edit("sudare.toml", "address =", "adress =");
    folder.edit("policy.toml", "phone = \"masked\"", "phone = \"maskd\"");
    folder.run("check").wrong(2, &[]).says(&[
        "unknown member `adress`",
        "`address`",
        "sudare.toml:13",
        "maskd",
        "policy.toml:58",
        "2 mistakes",
    ]);
    folder.run("serve").wrong(2, &["adress", "maskd", "2 mistakes"]);
    folder.run("check --format json").wrong(2, &[]).says(&["\"nearest\": \"address\""]);
}

#[test]
fn discover() {
    let folder = Folder::empty();
    let customer = r#"{"id":"c-1","name":"Mei Tanaka","mail":"mei.canary@example.com","tier":"gold"}"#.to_owned() + "\n";
    fs::write(folder.path("customers.jsonl"), customer.repeat(20)).unwrap();
    let table = folder.run("discover customers.jsonl").done();
    assert!(!table.out.contains("canary"), "{}", table.out);
    table.says(&[
        "customers.jsonl: 20 documents looked at.",
        "$.mail  email     pd:EmailAddress  seal, mask email, index email",
        "20 of 20 values, name",
    ]);
    folder.run("discover customers.jsonl --format toml --collection shop").done().says(&[
        "[collection.shop.field]",
        "index = { at = \"$.mail_ix\", normalise = \"email\" } }",
        "email = { dpv =",
    ]);
    folder.run("discover customers.jsonl --sample 3").done().says(&["3 documents looked at (--sample)", "3 of 3 values"]);
    folder.run("discover customers.jsonl --least 1").done().says(&["Nothing in them looks personal", "2 paths lie below 1.00"]);
    folder.run("discover").wrong(2, &["<FILE>", "sudare discover"]);
    folder.run("discover nowhere.jsonl").wrong(2, &["nowhere.jsonl cannot be read"]);
    folder.run("discover .").wrong(2, &[". cannot be read"]);
    folder.run("discover customers.jsonl --sample 0").wrong(2, &["--sample"]);
    folder.run("discover customers.jsonl --least 2").wrong(2, &["--least", "a number from 0 to 1"]);
    folder.run("discover customers.jsonl --format yaml").wrong(2, &["table, json, toml"]);
    folder.run("discover customers.jsonl --collection A").wrong(2, &["--collection", "for example \"a\""]);
    fs::write(folder.path("bad.jsonl"), customer.repeat(4) + "mei.canary@example.com\n").unwrap();
    let bad =
        folder.run("discover bad.jsonl").wrong(1, &["line 5 is not a JSON object"]).says(&["4 documents looked at, 1 left out."]);
    assert!(!bad.err.contains("canary"));
    fs::write(folder.path("bad.jsonl"), "hello\n").unwrap();
    folder.run("discover bad.jsonl").wrong(2, &["holds no document", "jq -c .", "docs/json.md"]);
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 2, "a command left something behind");
}

#[test]
fn demo() {
    let folder = Folder::empty();
    folder.run("demo --once --dir d").done().says(&["1 WRITE", "4 SAVED", "7 WHY", "as promised"]);
    folder
        .run("demo --once --dir d")
        .wrong(2, &["d already holds a sudare.toml", "sudare serve -c d/sudare.toml", "empty folder"]);
    fs::create_dir(folder.path("full")).unwrap();
    fs::write(folder.path("full/letter"), "").unwrap();
    folder.run("demo --once --dir full").wrong(2, &["full is not empty", "choose an empty folder"]);
    folder.run("demo --once --dir full/letter/x").wrong(1, &["cannot be written", "--dir"]);
    folder.run("audit verify -c d/sudare.toml").done().says(&["chain intact"]);
}

#[test]
fn caller_add() {
    let (folder, _) = Folder::made();
    let before = fs::read_to_string(folder.path("sudare.toml")).unwrap();
    folder.run("caller add clerk").done().says(&["Sudare-Credential: clerk.", "For sudare.toml:\n[caller.clerk]", "Next:"]);
    assert_eq!(fs::read_to_string(folder.path("sudare.toml")).unwrap(), before);
    folder.run("caller add clerk --write").done().says(&["Added to sudare.toml:\n[caller.clerk]"]);
    folder.run("check").done().says(&["caller \"clerk\" may use no purpose", "6 callers"]);
    folder.run("caller add clerk").wrong(2, &["already has [caller.clerk]", "another name"]);
    folder.run("caller add Clerk").wrong(2, &["\"Clerk\"", "small letters"]);
    // However it is spelt in TOML.
    fs::write(folder.path("inline.toml"), "caller = { guest = { uid = 1 } }\n").unwrap();
    folder.run("caller add guest -c inline.toml").wrong(2, &["already has [caller.guest]"]);
    // No credential is shown that did not get where it was to go.
    let nowhere =
        folder.run("caller add guest --write -c nowhere.toml").wrong(2, &["nowhere.toml cannot be read", "sudare init"]);
    assert_eq!(nowhere.out, "");
    fs::write(folder.path("broken.toml"), "[bad\n").unwrap();
    assert_eq!(folder.run("caller add guest --write -c broken.toml").wrong(2, &["not TOML", "sudare check"]).out, "");
}

/// The ids of versions in a state, in the order of the table.
fn kids(folder: &Folder, line: &str, state: &str) -> Vec<String> {
    let listed = folder.run("keys list").done().out;
    let rows = listed.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.first() == Some(&line) && row.get(2) == Some(&state))
        .map(|row| row.get(1).unwrap().to_string())
        .collect()
}

#[test]
fn keys_are_moved() {
    let (folder, _) = Folder::made();
    let [old] = &kids(&folder, "seal", "active")[..] else { unreachable!() };
    folder.run("keys rotate --publish-only").done().says(&["is published (pre-active)", "sudare keys activate "]);
    let [new] = &kids(&folder, "seal", "pre-active")[..] else { unreachable!() };
    folder.run(&format!("keys activate {new}")).done().says(&[&format!("{new} is active"), &format!("{old} is deactivated")]);
    folder.run(&format!("keys activate {new}")).done().says(&["is active already", "nothing to do"]);
    folder.run(&format!("keys activate {old}")).wrong(1, &["does not begin again", "sudare keys rotate --line seal"]);
    folder.run(&format!("keys deactivate {old}")).done().says(&["is deactivated already"]);
    folder
        .run(&format!("keys deactivate {new}"))
        .wrong(1, &["left without one", "sudare keys activate KID", "rotate --line seal"]);
    folder.run(&format!("keys deactivate {new} --end-scope")).wrong(2, &["--end-scope is for a line pseudonym/<scope>"]);
    folder.run(&format!("keys compromise {new}")).wrong(1, &[&format!("sudare keys compromise {new} --replace")]);
    folder.run(&format!("keys compromise {old} {new}")).wrong(1, &["--replace"]);
    assert_eq!(kids(&folder, "seal", "compromised").len(), 0, "all or none");
    folder
        .run(&format!("keys compromise {old} {new} --replace --at-revision 2"))
        .wrong(1, &["is at revision 3, not 2", "nothing was done", "sudare keys list"]);
    folder.run(&format!("keys compromise {old} {new} --replace --at-revision 3")).done().says(&[
        "is active in its place",
        "key-compromised",
        "SIGHUP",
    ]);
    folder.run(&format!("keys activate {new}")).wrong(1, &["is compromised", "sudare keys rotate"]);
    folder.run("keys list").done().says(&["upkeep only", "compromised", "protect, open"]);
    folder.run("keys list --format json").done().says(&["\"opens_for_upkeep\": true"]);
    folder.run("keys verify").done().says(&["sound: ", "note: compromised: "]);
    folder.run("keys rotate --format json").done().says(&["\"revision\": 5"]);

    folder.run("keys activate").wrong(2, &["<KID>", "Usage: sudare keys activate"]);
    folder.run("keys compromise").wrong(2, &["<KID>"]);
    folder.run("keys activate latest").wrong(2, &["latest", "<KID>"]);
    folder.run("keys compromise 00000000").wrong(2, &["no version 00000000", "sudare keys list"]);
    folder.run("keys activate 00000000 --at-revision soon").wrong(2, &["soon", "--at-revision"]);
}

#[test]
fn keys() {
    let (folder, _) = Folder::made();
    folder.run("keys init").done().says(&["has every line already; revision 1"]);
    folder.run("keys list").done().says(&["seal ", "pseudonym/statistics", "active", "revision 1"]);
    folder.run("keys rotate").done().says(&["seal: ", "is active", "still opens", "SIGHUP"]);
    folder.run("keys rotate --line pseudonym/statistics").done().says(&["Pseudonyms of statistics change"]);
    folder
        .run("keys rotate --line seals")
        .wrong(2, &["\"seals\" is not a line", "seal, lookup, token, audit or pseudonym/<scope>"]);
    folder.run("keys rotate --line pseudonym/nobody").wrong(2, &["no line pseudonym/nobody", "sudare keys list"]);
    folder.run("keys verify").done().says(&["sound: the manifest is authentic, 7 of 7 versions"]);
    folder.run("keys verify --format json").done().says(&["\"sound\": true"]);

    let kek = folder.path("keys/kek");
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o644)).unwrap();
    folder.run("keys verify").wrong(1, &["keys/kek: readable by others (mode 0644)", "chmod 600 keys/kek"]);
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o600)).unwrap();
    let saved = fs::read(&kek).unwrap();
    fs::write(&kek, "short").unwrap();
    folder.run("keys list").wrong(1, &["keys/kek: not a key", "43 characters"]);
    fs::remove_file(&kek).unwrap();
    folder.run("keys init").wrong(1, &["keys/kek: not there, but keys/ring.json needs it", "backup"]);
    fs::write(&kek, saved).unwrap();
    fs::set_permissions(&kek, fs::Permissions::from_mode(0o600)).unwrap();

    folder.edit("keys/ring.json", "\"revision\": 3", "\"revision\": 4");
    folder.run("keys verify").wrong(1, &["keys/ring.json: was changed", "backup"]);
    folder.run("serve").wrong(1, &["keys/ring.json: was changed"]);
    fs::remove_dir_all(folder.path("keys")).unwrap();
    for words in ["keys list", "keys verify", "keys rotate", "keys activate 7k3m9qpa", "keys compromise 7k3m9qpa", "serve"] {
        folder.run(words).wrong(1, &["keys/ring.json: not there", "sudare keys init"]);
    }
    assert!(!folder.path("keys").exists());
}

#[test]
fn policy() {
    let (folder, _) = Folder::made();
    folder.run("policy test").done().says(&["4 tests, 4 passed, 0 failed"]);
    folder.run("policy explain").done().says(&["caller ", "helpdesk  support"]);
    folder
        .run("policy explain --caller helpdesk --purpose support")
        .done()
        .says(&["phone    masked  policy.toml:58", "Data-View"]);
    folder.run("policy explain --caller helpdesk --purpose delivery").done().says(&["refused. helpdesk may use support"]);
    folder.run("policy explain --caller nobody").wrong(2, &["no caller nobody", "helpdesk"]);
    folder.run("policy explain --purpose sale").wrong(2, &["no purpose sale", "delivery"]);
    folder.run("policy explain --caller helpdesk --fact open-tiket").wrong(2, &["no fact open-tiket", "consent"]);
    folder.run("policy explain --caller helpdesk --holds nmae").wrong(2, &["no category nmae", "name"]);
    let schema = folder.run("policy schema").done().out;
    assert!(serde_json::from_str::<serde_json::Value>(&schema).unwrap()["properties"]["purpose"].is_object());
    // Neither keys nor a database are needed; a promise that is broken is 1.
    fs::remove_dir_all(folder.path("keys")).unwrap();
    folder.edit("policy.toml", "phone = \"masked\"", "phone = \"clear\"");
    let failed = folder.run("policy test").wrong(1, &[]);
    failed.says(&["FAILED  the helpdesk sees no address", "phone", "expected masked, got clear", "policy.toml:58", "1 failed"]);
}

#[test]
fn policy_coverage_and_diff() {
    let (folder, _) = Folder::made();
    fs::remove_dir_all(folder.path("keys")).unwrap();
    folder.run("policy coverage").wrong(2, &["there is no clauses.toml", "docs/policy.md"]);
    let sha256 = "0".repeat(64);
    let register = format!(
        "[document]\ntitle = \"Promises\"\nfile = \"policy.txt\"\nsha256 = \"{sha256}\"\n[clause]\n\
         001-01 = {{ section = \"1\", kind = \"promise\", class = \"rule\", says = \"Parcels reach you.\" }}\n\
         001-02 = {{ section = \"2\", kind = \"promise\", class = \"organisational\", says = \"We train our staff.\" }}\n"
    );
    fs::write(folder.path("clauses.toml"), register).unwrap();
    let unmapped = folder.run("policy coverage").wrong(1, &[]);
    unmapped.says(&[
        "001-01  unmapped",
        "001-02  organisational",
        "fault: unmapped: nothing keeps clause 001-01",
        "no clause covers purpose.delivery",
    ]);
    let json = folder.run("policy coverage --format json").wrong(1, &[]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["clauses"].as_array().unwrap().len(), &json["clauses"][0]["status"]), (2, &"unmapped".into()));
    folder.run("policy coverage --format html").wrong(1, &[]).says(&["<!doctype html>", "Parcels reach you."]);
    folder.run("policy coverage --format xml").wrong(2, &["xml", "table, json, markdown, html"]);

    fs::copy(folder.path("policy.toml"), folder.path("new.toml")).unwrap();
    folder.run("policy diff policy.toml new.toml").done().says(&["nobody gains or loses anything"]);
    folder.edit("new.toml", "phone = \"masked\"", "phone = \"clear\"");
    folder
        .run("policy diff policy.toml new.toml")
        .wrong(1, &[])
        .says(&["helpdesk for support", "gains    phone: clear instead of masked"]);
    folder.run("policy diff new.toml policy.toml").done().says(&["loses    phone: masked instead of clear"]);
    folder.run("policy diff policy.toml nowhere.toml").wrong(2, &["nowhere.toml cannot be read", "name a policy.toml"]);
    folder.edit("new.toml", "phone = \"clear\"", "phone = \"cleer\"");
    folder.run("policy diff policy.toml new.toml").wrong(2, &["new.toml:33", "clear"]);
}

#[test]
fn serve_reload_and_audit() {
    let (folder, credential) = Folder::made();
    for words in ["audit tail", "audit verify", "audit report"] {
        let none = folder.run(words).wrong(1, &["data/audit: no audit log here", "sudare serve", "[audit] dir"]);
        assert_eq!(none.out, "");
    }
    let mut serving = Serving::start(&folder);
    let proxy = folder.path("run/proxy.sock");
    let body = r#"{"id":"c-1","name":"Mei Tanaka"}"#;
    let headers = format!("{credential}\r\nData-Purpose: registration\r\nContent-Type: application/json\r\n");
    assert!(ask(&proxy, "POST", "/customers", &headers, body).starts_with("HTTP/1.1 201"));
    assert!(ask(&proxy, "GET", "/customers/c-1", &headers, "").contains("Mei Tanaka"));
    assert!(ask(&folder.path("run/admin.sock"), "GET", "/readyz", "", "").ends_with("ready\n"));
    folder.run("serve").wrong(1, &["data/sudare.redb: held by another process"]);

    // What a reload takes, what waits for a restart, what is refused.
    folder.run("keys rotate").done();
    let line = serving.reloaded();
    assert!(line.contains("\"reloaded\""), "{line}");
    folder.edit("sudare.toml", "[store]", "[limits]\nconnections = 7\n[store]");
    folder.edit("sudare.toml", "dir = \"data/audit\"", "dir = \"data/audit\"\nsegment_bytes = 65536");
    let line = serving.reloaded();
    assert!(line.contains("but for what takes a restart: [limits] connections, [audit] segment_bytes"), "{line}");
    folder.edit("sudare.toml", "proxy.sock", "other.sock");
    let line = serving.reloaded();
    assert!(line.contains("[listen] address changed") && line.contains("nothing was reloaded"), "{line}");
    folder.edit("sudare.toml", "other.sock", "proxy.sock");
    folder.edit("policy.toml", "phone = \"masked\"", "phone = \"maskd\"");
    let line = serving.reloaded();
    assert!(line.contains("the old configuration stays") && line.contains("maskd"), "{line}");
    folder.edit("policy.toml", "phone = \"maskd\"", "phone = \"masked\"");
    assert!(ask(&proxy, "GET", "/customers/c-1", &headers, "").contains("Mei Tanaka"));
    assert!(ask(&proxy, "DELETE", "/customers/c-1", &headers, "").starts_with("HTTP/1.1 204"));
    assert_eq!(serving.stop(), 0);
    assert!(!proxy.exists(), "the socket is removed at the end");

    let report = folder.run("audit report --subject c-1").done().says(&[
        "shop for registration",
        "name protected",
        "name clear",
        "write DELETE /{collection}/{id}",
        "chain intact",
    ]);
    assert!(!report.out.contains("Tanaka") && !report.out.contains("c-1"));
    folder.run("audit combined").done().says(&["the policy has no limit", "chain intact"]);
    folder.run("audit report --subject c-2").done().says(&["0 events fit"]);
    let nobody = folder.run("audit report --caller nobody --purpose dpv:CustomerCare").done().says(&["0 events fit"]);
    nobody.wrong(0, &["no caller nobody", "helpdesk", "no purpose dpv:CustomerCare", "support"]);
    folder.run("audit report --subject c-1 --category name --caller shop --purpose registration").done().says(&["4 events fit"]);
    folder.run("audit report --subject c-1 --category phone").done().says(&["0 events fit"]);
    folder.run("audit report --category nmae").done().wrong(0, &["no category nmae", "name"]);
    folder.run("audit report --subject c-1 --since 2020-01-01 --until 2999-12-31T00:00:00+08:00").done().says(&["5 events fit"]);
    folder.run("audit report --until 2020-01-01").done().says(&["0 events fit"]);
    folder.run("audit report --since 2026-11-23 --until 2026-11-23").wrong(2, &["--since is not before --until"]);
    folder.run("audit report --since yesterday").wrong(2, &["--since \"yesterday\"", "2026-11-22T16:00:00Z", "2026-11-22"]);
    folder.run("audit report --since 2026-13-01").wrong(2, &["--since \"2026-13-01\"", "or a date like"]);
    folder.run("audit report --until 1960-01-01T00:00:00Z").wrong(2, &["--until", "before 1970"]);
    folder.run("audit tail -n 1").done().says(&[" stop\n"]);
    for line in folder.run("audit tail --format json").done().out.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].is_u64());
    }
    folder.edit("data/audit/00000001.jsonl", "\"shop\"", "\"shup\"");
    folder.run("audit verify").wrong(1, &[]).says(&["NOT intact: 00000001.jsonl:3", "MAC does not fit"]);
    folder.run("audit report").wrong(1, &[]).says(&["NOT intact"]);
    fs::remove_file(folder.path("data/audit/head.json")).unwrap();
    folder.run("audit verify --format json").wrong(1, &[]).says(&["\"sound\":false"]);
    folder.run("serve").wrong(1, &["data/audit: the audit log was tampered with", "evidence", "new [audit] dir"]);
}

/// What an operator does against a log that is put back as a whole: keep a checkpoint elsewhere, and ask with it.
#[test]
fn audit_checkpoints() {
    let (folder, _) = Folder::made();
    for words in ["audit checkpoint", "audit key"] {
        folder.run(words).wrong(1, &["data/audit: no audit log here"]);
    }
    assert_eq!(Serving::start(&folder).stop(), 0);
    let first = folder.run("audit checkpoint").done().out;
    let key = folder.run("audit key").done().out.trim().to_owned();
    let origin = first.lines().next().unwrap().to_owned();
    assert!(key.starts_with(&format!("{origin}+")) && first.lines().nth(1) == Some("2"), "{key}\n{first}");
    fs::write(folder.path("first"), &first).unwrap();
    copy(&folder.path("data/audit"), &folder.path("earlier"));

    assert_eq!(Serving::start(&folder).stop(), 0);
    fs::write(folder.path("second"), folder.run("audit checkpoint").done().out).unwrap();
    let both = "audit verify --checkpoint first --checkpoint second";
    folder.run(both).done().says(&["4 events in 1 segment, chain intact", "6 checkpoints agree, 2 of them given", "event 4"]);
    folder.run(&format!("{both} --format json")).done().says(&["\"given\":2", "\"newest\":4", "\"sound\":true"]);
    folder.run("audit report").done().says(&["4 checkpoints agree"]);
    folder.run("audit verify --checkpoint third").wrong(2, &["--checkpoint third: cannot be read"]);
    folder.run("audit verify --key x").wrong(2, &["'x'", "NAME+ID+KEY", "sudare audit key"]);
    let noted = format!("audit verify --checkpoint sudare.toml --key {key}");
    let noted = folder.run(&noted).wrong(1, &[]).says(&["NOT intact: sudare.toml: not a checkpoint", "prove nothing"]);
    assert!(!noted.out.contains("whoever changed it"), "a wrong file accuses nobody: {}", noted.out);

    // Somebody who has a copy of the folder and the verifier key, and nothing else.
    let outside = Folder::empty();
    copy(&folder.path("data/audit"), &outside.path("log"));
    fs::copy(folder.path("first"), outside.path("first")).unwrap();
    let alone = format!("audit verify --dir log --key {key}");
    outside.run(&alone).done().says(&["4 events in 1 segment, chain intact", "4 checkpoints agree; the newest is of event 4"]);
    fs::remove_file(outside.path("log/checkpoints")).unwrap();
    outside.run(&alone).wrong(1, &[]).says(&["NOT proved: no checkpoint that is signed"]);
    let by_one = format!("{alone} --checkpoint first");
    outside.run(&by_one).done().says(&[
        "the newest is of event 2",
        "2 events after the newest checkpoint",
        "nothing can be said",
    ]);
    outside.edit("log/00000001.jsonl", "\"kind\":\"stop\"", "\"kind\":\"stap\"");
    outside.run(&by_one).wrong(1, &[]).says(&["NOT intact: 00000001.jsonl:4", "does not follow"]);
    outside.run("audit verify --dir log").wrong(2, &["--key"]);
    outside.run(&format!("{alone} -c x")).wrong(2, &["--dir", "--config"]);
    outside.run(&format!("audit verify --dir nowhere --key {key}")).wrong(1, &["nowhere: no audit log here"]);

    // After a rotation the old key's checkpoints hold, and the new key comes first.
    folder.run("keys rotate --line audit").done();
    assert_eq!(Serving::start(&folder).stop(), 0);
    folder.run(both).done().says(&["8 checkpoints agree, 2 of them given"]);
    let keys = folder.run("audit key").done().out;
    assert_eq!((keys.lines().count(), keys.lines().nth(1)), (2, Some(key.as_str())));

    // The folder put back as it was, all of it.
    fs::remove_dir_all(folder.path("data/audit")).unwrap();
    copy(&folder.path("earlier"), &folder.path("data/audit"));
    folder.run("audit verify").done().says(&["2 checkpoints agree"]);
    let found = folder
        .run(both)
        .wrong(1, &[])
        .says(&["NOT intact: second: made when the log had 4 events, and now it has 2", "whoever changed it"]);
    assert!(!found.out.contains("first:"), "{}", found.out);
    folder.run(&format!("{both} --format json")).wrong(1, &[]).says(&["\"sound\":false", "\"checkpoint\":\"second\""]);
    folder.edit("data/audit/00000001.jsonl", "\"kind\":\"stop\"", "\"kind\":\"stap\"");
    for words in ["audit checkpoint", "audit key"] {
        let refused = folder.run(words).wrong(1, &["MAC does not fit", "sudare audit verify"]);
        assert_eq!(refused.out, "", "nothing is signed that is not sound");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn serve_that_cannot_start() {
    let (folder, _) = Folder::made();
    // A scope the ring does not have: said with the command that adds it, which then helps.
    folder.edit("policy.toml", "phone = \"masked\"", "phone = \"pseudonym\"");
    folder.run("serve").wrong(1, &["no pseudonym key for support", "sudare keys init"]);
    folder.run("keys init").done().says(&["added to keys/ring.json", "pseudonym/support"]);
    // Another file of the socket's name is not ours to remove.
    fs::create_dir_all(folder.path("run")).unwrap();
    fs::write(folder.path("run/proxy.sock"), "a letter").unwrap();
    folder.run("serve").wrong(1, &["cannot listen on unix:run/proxy.sock", "no socket", "[listen]"]);
    assert_eq!(fs::read_to_string(folder.path("run/proxy.sock")).unwrap(), "a letter");
    fs::remove_file(folder.path("run/proxy.sock")).unwrap();
    // A socket left behind by a process that is gone is.
    drop(std::os::unix::net::UnixListener::bind(folder.path("run/proxy.sock")).unwrap());
    // A signal sent as soon as the proxy says that it listens is taken as one.
    assert_eq!(Serving::start(&folder).stop(), 0);
    // A port that is taken.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    folder.edit("sudare.toml", "unix:run/proxy.sock", &address);
    folder.run("serve").wrong(1, &[&format!("cannot listen on {address}"), "in use", "[listen]"]);
}

#[test]
fn seal_and_open_say_what_they_did_and_what_to_do_instead() {
    let (folder, _) = Folder::made();
    let lines = "{\"id\":\"c-1\",\"name\":\"Canary\"}\n{\"id\":\"c-2\",\"phone\":1.50}\n";
    fs::write(folder.path("in"), lines).unwrap();
    fs::write(folder.path("bad"), format!("{lines}{{\"name\":\"Canary\"}}\nCanary\n")).unwrap();
    folder.run("seal in").wrong(2, &["--collection <NAME>"]);
    folder.run("seal --collection customer in").wrong(2, &["no such collection; it has customers"]);
    folder.run("seal --collection customers nowhere out").wrong(1, &["nowhere: cannot be read"]);
    folder.run("seal --collection customers --resume in out").wrong(1, &["out.progress: --resume finds no run to continue"]);
    folder.run("seal --collection customers --resume in").wrong(2, &["--resume takes files"]);
    folder.run("seal --collection customers in out").wrong(0, &["2 lines, 2 values sealed", "out is made"]);
    folder.run("seal --collection customers in out").wrong(1, &["out: is there already, and nothing is overwritten"]);
    let sealed = fs::read_to_string(folder.path("out")).unwrap();
    assert!(sealed.starts_with("{\"id\":\"c-1\",\"name\":\"sdr1.x.") && !sealed.contains("Canary"), "{sealed}");
    assert_eq!(fs::metadata(folder.path("out")).unwrap().permissions().mode() & 0o777, 0o600);

    let bad = folder.run("seal --collection customers bad half").wrong(
        1,
        &["bad:3: subject-missing: ", "bad:4: malformed-json: ", "2 lines bad", "half is not made", "--resume --skip-bad"],
    );
    assert!(!bad.err.contains("Canary") && !folder.path("half").exists());
    folder.run("seal --collection customers bad half").wrong(1, &["half.part: a run that did not come to its end", "--resume"]);
    folder.run("seal --collection customers --resume --skip-bad bad half").wrong(0, &["half is made"]);
    assert_eq!(fs::read_to_string(folder.path("half")).unwrap().lines().count(), 2);
    let streamed = folder.run("seal --collection customers --skip-bad --errors told bad").done();
    assert_eq!(streamed.out.lines().count(), 2);
    assert!(fs::read_to_string(folder.path("told")).unwrap().starts_with("bad:3: subject-missing"));

    folder.run("open --collection customers out back").wrong(2, &["--reason <TEXT>"]);
    folder.run("open --collection customers --reason leaving out back").wrong(0, &["2 values opened", "back is made"]);
    assert_eq!(fs::read_to_string(folder.path("back")).unwrap(), lines);
    folder.run("audit tail").done().says(&["operator uid ", "because \"leaving\"", "name, phone clear"]);
    folder.run("audit verify").done();
    folder.run("audit report --subject c-2").done().says(&["because \"leaving\""]);

    let serving = Serving::start(&folder);
    folder
        .run("open --collection customers --reason leaving out again")
        .wrong(1, &["a running `sudare serve` writes this audit log", "nothing is opened unrecorded"]);
    assert!(!folder.path("again").exists());
    folder.run("sweep migrate --collection customers").wrong(1, &["stop `sudare serve`, sweep, and start it again"]);
    drop(serving);
    folder
        .run("sweep migrate --collection customers")
        .done()
        .says(&["0 clear values left in customers", "still clear: old revisions"]);
    folder.run("sweep migrate --collection customers --rate 0").wrong(2, &["--rate"]);
    folder.run("sweep migrate").wrong(2, &["--collection <NAME>"]);
}

#[path = "cli/runbook.rs"]
mod runbook;
