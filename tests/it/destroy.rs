//! A key version from its rotation to its end, while a proxy runs: counted, signed for by two operators, destroyed, with a receipt; every
//! way in which it is refused; and a command that is killed at any moment.
//!
//! `SUDARE_DESTROY_KILLS` sets how often `keys destroy` is killed (12 if not set); the counts are printed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use sudare::base::Kid;
use sudare::config;
use sudare::keys::{KeyRing, LineName, State};

use crate::support::{PERSON, Proxy, Setup, Stub, StubReply};

const COLLECTIONS: &str = r#"
[collection.customers]
match   = "customers"
subject = "{id}"
[collection.customers.field]
name    = "$.name"
address = "$.address"
phone   = { at = "$.phone", mask = "keep-last:4" }
id-card = { at = "$.id_card", protect = "deterministic" }
"#;

/// As much of CouchDB as the proxy and a census ask.
#[derive(Default)]
struct Couch {
    documents: Mutex<BTreeMap<String, Value>>,
    /// Revisions that lost, by document and revision.
    conflicts: Mutex<BTreeMap<(String, String), Value>>,
    away: Mutex<bool>,
}

impl Couch {
    fn put(&self, id: &str, mut document: Value) -> String {
        let mut documents = self.documents.lock().unwrap();
        let generation = documents
            .get(id)
            .map_or(0, |there| there["_rev"].as_str().unwrap().split_once('-').unwrap().0.parse::<u64>().unwrap());
        let rev = format!("{}-{generation:032x}", generation + 1);
        (document["_id"], document["_rev"]) = (json!(id), json!(rev));
        documents.insert(id.to_owned(), document);
        rev
    }

    fn of(&self, id: &str) -> Value {
        self.documents.lock().unwrap()[id].clone()
    }

    fn answer(&self, method: &Method, target: &str, body: &[u8]) -> StubReply {
        if *self.away.lock().unwrap() {
            return StubReply::json(401, "{\"error\":\"unauthorized\",\"reason\":\"Name or password is incorrect.\"}");
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        let missing = || StubReply::json(404, "{\"error\":\"not_found\",\"reason\":\"missing\"}");
        match (method.as_str(), path) {
            ("GET", "/customers") => StubReply::json(200, json!({"doc_count": self.documents.lock().unwrap().len()}).to_string()),
            ("GET", "/customers/_all_docs") => {
                // Ids of the tests need no escapes: %22 id \u0000 %22.
                let from = parameter("startkey").map(|key| key.replace("%22", "").split("%5C").next().unwrap().to_owned());
                let limit: usize = parameter("limit").unwrap().parse().unwrap();
                let (documents, conflicts) = (self.documents.lock().unwrap(), self.conflicts.lock().unwrap());
                let rows = documents.iter().filter(|(id, _)| from.as_ref().is_none_or(|from| *id > from)).take(limit).map(
                    |(id, document)| {
                        let mut document = document.clone();
                        let lost: Vec<&str> = conflicts.keys().filter(|(of, _)| of == id).map(|(_, rev)| rev.as_str()).collect();
                        if !lost.is_empty() {
                            document["_conflicts"] = json!(lost);
                        }
                        json!({"id": id, "key": id, "value": {"rev": document["_rev"]}, "doc": document})
                    },
                );
                let rows: Vec<Value> = rows.collect();
                StubReply::json(200, json!({"total_rows": documents.len(), "offset": 0, "rows": rows}).to_string())
            }
            ("POST", "/customers/_bulk_docs") => {
                let body: Value = serde_json::from_slice(body).unwrap();
                let done = body["docs"].as_array().unwrap().iter().map(|document| {
                    let id = document["_id"].as_str().unwrap();
                    json!({"ok": true, "id": id, "rev": self.put(id, document.clone())})
                });
                StubReply::json(201, Value::Array(done.collect()).to_string())
            }
            ("PUT", _) => {
                let id = path.strip_prefix("/customers/").unwrap();
                let rev = self.put(id, serde_json::from_slice(body).unwrap());
                StubReply::json(201, json!({"ok": true, "id": id, "rev": rev}).to_string())
            }
            ("GET", _) => {
                let id = path.strip_prefix("/customers/").unwrap();
                let found = match parameter("rev") {
                    Some(rev) => self.conflicts.lock().unwrap().get(&(id.to_owned(), rev.to_owned())).cloned(),
                    None => self.documents.lock().unwrap().get(id).cloned(),
                };
                found.map_or_else(missing, |document| StubReply::json(200, document.to_string()))
            }
            _ => StubReply::json(405, "{\"error\":\"method_not_allowed\"}"),
        }
    }
}

/// A shop whose operators have keys, and what they run.
struct Shop {
    couch: Arc<Couch>,
    proxy: Proxy,
}

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    #[track_caller]
    fn refused(self, code: i32, sentence: &str) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(self.err.contains(sentence), "expected {sentence:?}, it says {:?}", self.err);
        assert!(self.out.is_empty(), "{}", self.out);
    }
}

impl Shop {
    async fn open(keep_days: u64) -> Self {
        Self::open_over(COLLECTIONS, &format!("[backups]\nkeep_days = {keep_days}\n")).await
    }

    async fn open_over(collections: &str, more: &str) -> Self {
        let couch = Arc::new(Couch::default());
        let ours = Arc::clone(&couch);
        let stub = Stub::start(move |seen| ours.answer(&seen.method, &seen.target, &seen.body)).await;
        let proxy = Setup::couchdb(stub.address).collections(collections).more(more).start().await;
        let shop = Self { couch, proxy };
        for name in ["alice", "bob", "carol"] {
            let lines = shop.run(&format!("keys operator {name}")).done();
            if name != "carol" {
                let (_, lines) = lines.split_once("\n\n").unwrap();
                fs::OpenOptions::new().append(true).open(&shop.proxy.file).unwrap().write_all(lines.as_bytes()).unwrap();
            }
        }
        shop
    }

    fn folder(&self) -> &Path {
        self.proxy.folder.path()
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sudare"));
        command.current_dir(self.folder()).args(words.split_whitespace());
        command
    }

    fn run(&self, words: &str) -> Said {
        self.command(words).output().unwrap().into()
    }

    fn ring(&self) -> KeyRing {
        KeyRing::open(&config::load(&self.proxy.file).unwrap().keys).unwrap()
    }

    fn state(&self, kid: &str) -> State {
        let kid: Kid = kid.parse().unwrap();
        self.ring().versions().into_iter().find(|version| version.kid == kid).unwrap().state
    }

    fn active(&self, line: &LineName) -> String {
        let versions = self.ring().versions().into_iter();
        versions
            .filter(|version| version.line == *line && version.state == State::Active)
            .map(|version| version.kid.to_string())
            .next()
            .unwrap()
    }

    /// A client saves a customer.
    async fn save(&self, id: &str) {
        let body = PERSON.replace("c-1", id).replacen("\"id\"", "\"_id\"", 1);
        let answer = self.proxy.ask("shop", "account", Method::PUT, &format!("/customers/{id}"), body).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }

    async fn read(&self, id: &str) -> (u16, String) {
        self.proxy.ask("shop", "account", Method::GET, &format!("/customers/{id}"), "").await.outcome()
    }

    fn reload(&self) {
        self.proxy.running.as_ref().unwrap().reload(&self.proxy.file).unwrap();
    }

    /// Rotates a line; the version before.
    fn rotate(&self, line: &LineName) -> String {
        let before = self.active(line);
        self.run(&format!("keys rotate --line {line}")).done();
        self.reload();
        before
    }

    /// Writes a request and has it signed.
    fn signed(&self, kid: &str, request: &str) {
        self.run(&format!("keys destroy {kid} --request {request}")).done();
        for name in ["alice", "bob"] {
            self.run(&format!("keys sign {request} --key {name}.operator.pem")).done();
        }
    }
}

fn destroy(request: &str) -> String {
    format!("keys destroy --request {request} --signature {request}.alice.sig --signature {request}.bob.sig")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_rotated_away_counted_signed_for_and_destroyed_while_the_proxy_runs() {
    let shop = Shop::open(0).await;
    for id in ["c-1", "c-2", "c-3"] {
        shop.save(id).await;
    }
    let backup = shop.couch.of("c-1");
    let (seal, lookup) = (shop.active(&LineName::Seal), shop.active(&LineName::Lookup));
    assert_eq!(shop.rotate(&LineName::Seal), seal);

    // Everything hangs on it still.
    let said = shop.run("keys census");
    // The vault is in a file that the proxy holds, which matters to what is found by it only.
    assert_eq!(said.code, Some(1), "{}", said.err);
    let line = |said: &str, kid: &str| {
        said.lines().find(|line| line.contains(kid)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line(&said.out, &seal), format!("seal {seal} deactivated customers: 9 values"));
    assert_eq!(line(&said.out, &lookup), format!("lookup {lookup} active customers: 3 values"));
    assert!(
        said.out.contains("customers: 3 documents\n")
            && said.out.contains("vault: 0 rows; NOT whole: ")
            && said.out.contains("a running `sudare serve` holds it"),
        "{}",
        said.out
    );
    shop.run(&format!("keys destroy {seal} --request r0"))
        .refused(1, "9 values, terms or rows hang on it by the last census: `sudare keys rewrap` seals them anew");

    // Written anew, but for a copy at a member that is no field, one in a revision that lost, and one that nobody can tell the place of.
    for id in ["c-1", "c-2", "c-3"] {
        shop.save(id).await;
    }
    let mut copied = shop.couch.of("c-2");
    copied["history"] = json!([{ "was": backup["name"] }]);
    shop.couch.put("c-2", copied);
    shop.couch.conflicts.lock().unwrap().insert(("c-3".to_owned(), "1-aa".to_owned()), backup.clone());
    let said = shop.run("keys census --documents hanging.tsv");
    assert_eq!(line(&said.out, &seal), format!("seal {seal} deactivated customers: 1 elsewhere, 3 in conflicts"));
    assert!(said.out.contains("customers: 3 documents and 1 conflicting revisions"), "{}", said.out);
    let named = fs::read_to_string(shop.folder().join("hanging.tsv")).unwrap();
    let mut named: Vec<&str> = named.lines().collect();
    named.sort_unstable();
    assert_eq!(named, [format!("customers\t\"c-2\"\t{seal}\t1"), format!("customers\t\"c-3\"\t{seal}\t3")]);
    shop.run(&format!("keys destroy {seal} --request r0")).refused(1, "4 values, terms or rows hang on it");
    shop.save("c-2").await;
    let mut clean = shop.couch.of("c-2");
    clean.as_object_mut().unwrap().remove("history");
    shop.couch.put("c-2", clean);
    shop.couch.conflicts.lock().unwrap().clear();

    // A database that cannot be reached proves nothing.
    *shop.couch.away.lock().unwrap() = true;
    let said = shop.run("keys census");
    assert!(said.code == Some(1) && said.out.contains("NOT whole: the database answers 401"), "{}", said.out);
    shop.run(&format!("keys destroy {seal} --request r0")).refused(1, "does not prove that nothing hangs on it");
    *shop.couch.away.lock().unwrap() = false;
    let said = shop.run("keys census --format json");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["whole"], &json["zero"][0]["kid"]), (&false.into(), &seal.as_str().into()), "{json:#}");
    shop.run("keys census --collection customers");
    let one = shop.run("keys census --collection nothing");
    one.refused(2, "the configuration has no such collection; it has customers");

    // Asked for, shown, signed by two of them.
    let said = shop.run(&format!("keys destroy {seal} --request r1")).done();
    assert!(
        said.contains(&format!("  {seal} of line seal, deactivated: nothing hangs on it since "))
            && said.contains("Nothing is destroyed yet."),
        "{said}"
    );
    let shown = shop.run("keys sign r1").done();
    assert!(shown.contains("This asks to destroy for ever") && shown.contains("Nothing was signed: give --key FILE"), "{shown}");
    for name in ["alice", "bob", "carol"] {
        let shown = shop.run(&format!("keys sign r1 --key {name}.operator.pem")).done();
        assert!(shown.contains(&seal) && shown.contains(&format!("r1.{name}.sig")), "{shown}");
    }
    shop.run("keys destroy --request r1 --signature r1.alice.sig").refused(1, "1 of 2 signatures");
    shop.run("keys destroy --request r1 --signature r1.alice.sig --signature r1.alice.sig")
        .refused(1, "operator alice signed twice");
    shop.run("keys destroy --request r1 --signature r1.alice.sig --signature r1.carol.sig")
        .refused(1, "signed with a key that no operator has");
    shop.run(&format!("keys destroy {seal} --request r1")).refused(1, "is there already");
    assert_eq!(shop.state(&seal), State::Deactivated);

    // Done, with the proxy running and its audit log held.
    let revision = shop.ring().revision();
    let said = shop.run(&destroy("r1")).done();
    assert!(said.contains(&format!("seal: {seal} is destroyed")) && said.contains("signed for by alice and bob"), "{said}");
    assert_eq!((shop.state(&seal), shop.ring().revision()), (State::Destroyed, revision + 1));
    assert!(shop.run(&destroy("r1")).done().contains("there was nothing to do"));
    shop.reload();
    assert_eq!(shop.read("c-1").await.0, 200);
    // A backup from before: nobody opens it any more.
    shop.couch.put("c-9", backup.clone());
    let (status, code) = shop.read("c-9").await;
    assert_eq!((status, code.as_str()), (500, "value-not-authentic"));
    let said = shop.run("keys census");
    assert!(said.out.contains(&format!("3 hang on key {seal}, which is destroyed; nobody can open them")), "{}", said.out);
    assert!(said.err.contains(&format!("customers: document \"c-9\": 3 under key {seal}, which is destroyed")), "{}", said.err);

    what_is_left(&shop, &seal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_of_the_ring_of_a_field_group_ends_like_one_of_the_main_ring() {
    let collections = COLLECTIONS.replace("\"$.name\"", "{ at = \"$.name\", ring = \"identity\" }");
    let more = "[keys.identity]\nring = \"keys/identity.json\"\nkek = { provider = \"file\", path = \"keys/identity.kek\" }\n[backups]\nkeep_days = 0\n";
    let shop = Shop::open_over(&collections, more).await;
    let identity = || {
        let settings = config::load(&shop.proxy.file).unwrap();
        KeyRing::open(settings.ring("identity").unwrap()).unwrap().versions()
    };
    let old = identity().into_iter().find(|version| version.line == LineName::Seal).unwrap().kid.to_string();
    let state = || identity().into_iter().find(|version| version.kid.as_str() == old).unwrap().state;
    let main = shop.active(&LineName::Seal);
    shop.save("c-1").await;
    shop.run("keys rotate --ring identity --line seal").done();
    shop.reload();
    let counted =
        |words: &str| -> Value { serde_json::from_str(&shop.run(&format!("keys census {words} --format json")).out).unwrap() };
    let kids = |census: &Value| -> Vec<String> {
        census["census"]["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|version| version["kid"].as_str().unwrap().to_owned())
            .collect()
    };
    let (of_main, of_identity) = (counted(""), counted("--ring identity"));
    assert!(kids(&of_main).contains(&main) && !kids(&of_main).contains(&old), "{of_main:#}");
    assert!(kids(&of_identity).contains(&old) && !kids(&of_identity).contains(&main), "{of_identity:#}");
    assert!(
        of_main["census"]["unknown"].as_array().unwrap().is_empty()
            && of_identity["census"]["unknown"].as_array().unwrap().is_empty()
    );
    let ask = format!("keys destroy {old} --ring identity --request r1");
    shop.run(&ask).refused(1, "1 values, terms or rows hang on it");
    shop.run(&format!("keys destroy {old} --request r1")).refused(2, &old);
    shop.run("keys census --ring identty").refused(2, "identty");

    shop.save("c-1").await;
    shop.run("keys census --ring identity");
    shop.run(&ask).done();
    assert!(shop.run("keys sign r1").done().contains("in ring identity of controller"));
    for name in ["alice", "bob"] {
        shop.run(&format!("keys sign r1 --key {name}.operator.pem")).done();
    }
    // Of a main ring that is moved meanwhile it does not matter; of its own it does.
    shop.rotate(&LineName::Lookup);
    let said = shop.run(&destroy("r1")).done();
    assert!(said.contains(&format!("seal: {old} is destroyed")) && said.contains("identity.json"), "{said}");
    assert_eq!((state(), shop.state(&main)), (State::Destroyed, State::Active));
    assert!(shop.run(&destroy("r1")).done().contains("there was nothing to do"));
    let receipt = shop.run("keys receipt").done();
    assert!(
        receipt.contains(&format!("{old} (seal) destroyed ")) && !receipt.contains("NOT") && !receipt.contains("note"),
        "{receipt}"
    );
    assert!(shop.folder().join("keys/identity.json.evidence/census.jsonl").exists());
    shop.reload();
    assert_eq!(shop.read("c-1").await.0, 200);
}

/// Of a version that is destroyed: a line in the list, a receipt, two events.
fn what_is_left(shop: &Shop, seal: &str) {
    let listed = shop.run("keys list").done();
    assert!(!listed.contains(seal) && listed.contains("destroyed, not shown: seal 1 (the last one "), "{listed}");
    assert!(shop.run("keys list --all").done().contains(seal));
    shop.run("keys verify").done();
    let receipt = shop.run("keys receipt").done();
    assert!(
        receipt.contains(&format!("{seal} (seal) destroyed ")) && !receipt.contains("NOT") && !receipt.contains("note"),
        "{receipt}"
    );
    let events = shop.run("audit tail --operators").done();
    assert!(
        events.matches("destruction; ").count() == 2 && events.contains("; intended\n") && events.contains("; done\n"),
        "{events}"
    );
    let proved = shop.run("audit verify --operators").done();
    assert!(proved.contains("chain intact") && proved.contains("checkpoints agree"), "{proved}");
    assert!(shop.run("audit verify").done().contains("`sudare audit verify --operators`"));
    let hash: String = events.split("receipt ").nth(1).unwrap().chars().take(16).collect();
    let file = fs::read_dir(shop.folder().join("keys/ring.json.evidence")).unwrap().map(|entry| entry.unwrap().path());
    let file: PathBuf = file.into_iter().find(|path| path.to_string_lossy().ends_with(".receipt.json")).unwrap();
    let digest = data_encoding::HEXLOWER.encode(&sudare::crypto::sha256(&fs::read(&file).unwrap()));
    assert!(digest.starts_with(&hash), "the audit log names the receipt that is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rewrapped_values_leave_nothing_behind_and_a_line_of_the_vault_takes_a_census_that_sees_it() {
    let mut shop = Shop::open(0).await;
    for id in ["c-1", "c-2"] {
        shop.save(id).await;
    }
    let (seal, lookup) = (shop.rotate(&LineName::Seal), shop.rotate(&LineName::Lookup));
    let before = shop.couch.of("c-1");
    shop.proxy.stop().await;
    shop.run(&format!("keys destroy {lookup} --request r")).refused(1, "there is no census yet");
    let counted = shop.run("keys census").done();
    assert!(counted.contains("customers: 6 values") && counted.contains("customers: 2 values"), "{counted}");
    shop.run("keys rewrap").done();
    assert_ne!(shop.couch.of("c-1")["name"], before["name"]);
    let counted = shop.run("keys census").done();
    assert_eq!(counted.matches("; may be destroyed from ").count(), 2, "{counted}");
    // Both in one revision, by one request.
    let revision = shop.ring().revision();
    shop.signed(&format!("{seal} {lookup}"), "r");
    shop.run(&destroy("r")).done();
    assert_eq!((shop.state(&seal), shop.state(&lookup)), (State::Destroyed, State::Destroyed));
    assert_eq!(shop.ring().revision(), revision + 1);
    assert!(shop.run("keys census").done().contains("this census is whole"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_the_vault_belongs_to_waits_while_a_proxy_holds_its_file() {
    let shop = Shop::open(0).await;
    shop.save("c-1").await;
    let old = shop.rotate(&LineName::Lookup);
    shop.save("c-1").await;
    shop.run("keys census");
    shop.run(&format!("keys destroy {old} --request r")).refused(1, "a running `sudare serve` holds it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_destroyed_yet_or_ever_is_refused_with_the_way_to_it() {
    let shop = Shop::open(30).await;
    shop.save("c-1").await;
    let active = shop.active(&LineName::Seal);
    shop.run(&format!("keys destroy {active} --request r")).refused(1, "is the active version of line seal");
    let audit = shop.active(&LineName::Audit);
    shop.run(&format!("keys destroy {audit} --request r")).refused(1, "is of the line audit");
    shop.run("keys destroy 00000000 --request r").refused(2, "the key ring has no version 00000000");
    let kid = shop.rotate(&LineName::Seal);
    shop.run(&format!("keys destroy {kid} --request r")).refused(1, "there is no census yet");
    shop.save("c-1").await;
    shop.run("keys census");
    shop.run(&format!("keys destroy {kid} --request r")).refused(1, "backups are kept for 30 days ([backups] keep_days)");
    assert!(!shop.folder().join("r").exists());
    for (words, code, sentence) in [
        ("keys destroy --request nowhere", 1, "nowhere: cannot be read"),
        ("keys destroy --request sudare.toml", 1, "not a request to destroy keys"),
        ("keys sign sudare.toml", 1, "not a request to destroy keys"),
        ("keys operator Alice", 2, "cannot be the name of an operator"),
        ("keys operator alice", 1, "nothing is overwritten"),
        ("keys receipt nowhere", 1, "nowhere: cannot be read"),
        ("audit verify --operators", 1, "operators have done nothing by hand yet"),
    ] {
        shop.run(words).refused(code, sentence);
    }
    assert!(shop.run("keys receipt").done().contains("no key of "));

    // Who can write to the folder but not to the ring forges no evidence.
    let list = shop.folder().join("keys/ring.json.evidence/census.jsonl");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.replace("\"begun\":\"20", "\"begun\":\"19")).unwrap();
    shop.run(&format!("keys destroy {kid} --request r")).refused(1, "line 1 is not as `sudare keys census` wrote it");
    fs::write(&list, text).unwrap();

    // With no operators nobody can sign.
    let toml = fs::read_to_string(&shop.proxy.file).unwrap();
    let (without, _) = toml.split_once("[operator.alice]").unwrap();
    fs::write(&shop.proxy.file, without.replace("keep_days = 30", "keep_days = 0")).unwrap();
    shop.run(&format!("keys destroy {kid} --request r"))
        .refused(2, "it takes 2 operators to destroy a key, and the configuration names 0");
    let checked = shop.run("check").done();
    assert!(checked.contains("keep_days = 0") && checked.contains("no backup is ever put back"), "{checked}");
}

/// Past the test harness, which would keep back what `eprintln` says.
#[expect(clippy::explicit_write, reason = "this is how it gets past")]
fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destruction_killed_at_any_moment_is_run_again_and_never_without_its_receipt() {
    let shop = Shop::open(0).await;
    let kills: u32 = std::env::var("SUDARE_DESTROY_KILLS").map_or(12, |count| count.parse().unwrap());
    let (mut dice, mut killed, mut before, mut between) = (11_u64, 0, 0, 0);
    let mut whole = Duration::ZERO;
    for number in 0..kills {
        let kid = shop.rotate(&LineName::Seal);
        shop.run("keys census");
        let request = format!("r{number}");
        shop.signed(&kid, &request);
        let started = Instant::now();
        let mut child = shop.command(&destroy(&request)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        if whole.is_zero() {
            assert!(child.wait().unwrap().success());
            whole = started.elapsed();
        } else {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(whole * u32::try_from((dice >> 33) % 1000).unwrap() / 1000);
            let _too_late = child.kill();
            killed += u32::from(!child.wait().unwrap().success());
        }
        let gone = shop.state(&kid) == State::Destroyed;
        let folder = shop.folder().join("keys/ring.json.evidence");
        let names: Vec<String> =
            fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mention = |path: &Path| fs::read_to_string(path).unwrap().contains(&kid);
        let receipts = names.iter().filter(|name| name.ends_with(".receipt.json") || name.ends_with(".intent.json"));
        let there = receipts.filter(|name| mention(&folder.join(name))).count();
        if gone {
            assert_eq!(there, 1, "{names:?}");
            assert!(mention(&shop.folder().join("data/audit/operators/00000001.jsonl")), "not recorded before");
            between += u32::from(names.iter().any(|name| name.ends_with(".intent.json")));
        } else {
            before += 1;
        }
        let again = shop.run(&destroy(&request));
        assert_eq!(again.code, Some(0), "{}{}", again.out, again.err);
        assert_eq!(shop.state(&kid), State::Destroyed);
    }
    let receipts = shop.run("keys receipt").done();
    assert_eq!(receipts.matches("signed for by alice and bob").count(), usize::try_from(kills).unwrap(), "{receipts}");
    assert!(shop.run("audit verify --operators").done().contains("chain intact"));
    tell(&format!("destroy: {killed} of {kills} killed, {before} before the keys went, {between} before the receipt was whole"));
    assert!(killed > 0, "none was killed in time");
}
