//! The ledger of facts in a running proxy: what is posted, who may, what is refused, what a restart finds.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use sudare::config::{self, Endpoint};
use sudare::store::{Change, Rows as _, Store, Table};

use crate::support::{Answer, Proxy, Setup, send};

const FACTS: &str = "[fact]\nopen-ticket = \"a ticket is open\"\n[age]\nminor = { under = 18 }\n";

/// The shop may record consent and tickets; the helpdesk nothing.
pub(crate) fn setup() -> Setup {
    let mut setup = Setup::embedded();
    setup.policy = format!("{}\n{FACTS}", setup.policy);
    setup
}

/// Files in which the shop has `records`.
pub(crate) fn files(setup: Setup) -> (tempfile::TempDir, std::path::PathBuf) {
    let (folder, file) = setup.files();
    let text = fs::read_to_string(&file).unwrap();
    let table = "[caller.shop]\n";
    let records = format!("{table}records = [\"consent\", \"open-ticket\"]\n");
    fs::write(&file, text.replace(table, &records)).unwrap();
    (folder, file)
}

async fn started(setup: Setup) -> Proxy {
    let (folder, file) = files(setup);
    Proxy::start(folder, file).await
}

pub(crate) fn admin(proxy: &Proxy) -> SocketAddr {
    let Some(Endpoint::Tcp(admin)) = proxy.running.as_ref().unwrap().admin() else { panic!("TCP expected") };
    *admin
}

pub(crate) async fn post(admin: SocketAddr, caller: &str, path: &str, body: &str) -> Answer {
    let credential = Proxy::credential(caller);
    let headers = [("sudare-credential", credential.as_str()), ("content-type", "application/json")];
    send(admin, Method::POST, path, &headers, body.to_owned()).await.unwrap()
}

fn outcome(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn what_a_caller_may_record_is_recorded_and_nothing_else() {
    let mut proxy = started(setup()).await;
    let admin = admin(&proxy);
    let consent = r#"{"id":"1","subject":"c-1","record":"consent","purpose":"marketing","evidence":"secret-evidence"}"#;
    let refused = async |caller: &str, body: &str| outcome(&post(admin, caller, "/facts", body).await);
    assert_eq!(refused("nobody", consent).await, (401, "caller-unknown".to_owned()));
    assert_eq!(refused("helpdesk", consent).await, (403, "records-refused".to_owned()));
    let age = r#"{"subject":"c-1","record":"age","over":18}"#;
    assert_eq!(refused("shop", age).await, (403, "records-refused".to_owned()));
    assert_eq!(refused("shop", "nonsense").await, (400, "malformed-json".to_owned()));
    assert_eq!(refused("shop", "").await, (400, "malformed-json".to_owned()));
    // One is wrong, so none is recorded; each is told.
    let both = format!("[{consent}, {}]", r#"{"subject":"c-2","record":"fact","fact":"open-tiket"}"#);
    assert_eq!(refused("shop", &both).await, (403, "records-refused".to_owned()), "an unknown fact is nobody's to record");
    let both = format!("{consent}\n{}\n", r#"{"subject":"c-2","record":"consent","purpose":"marketin"}"#);
    let answer = post(admin, "shop", "/facts", &both).await;
    assert_eq!(outcome(&answer), (422, "entries-refused".to_owned()));
    assert_eq!(answer.json()["entries"][0]["entry"], 1);
    assert!(answer.text().contains("did you mean \\\"marketing\\\"?"), "{}", answer.text());
    let ledger = Arc::clone(proxy.running.as_ref().unwrap().ledger());
    assert_eq!(ledger.entries(), 0);

    let answer = post(admin, "shop", "/facts", consent).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let receipt = answer.json()["receipts"][0].clone();
    assert_eq!((&receipt["record"]["row"], &receipt["record"]["subject_known_before"]), (&json!(1), &json!(false)));
    let again = post(admin, "shop", "/facts", consent).await;
    assert_eq!((again.status.as_u16(), &again.json()["recorded"]), (200, &json!(0)));
    assert_eq!(again.json()["receipts"][0]["record"]["row"], 1);
    let other = consent.replace("consent", "withdrawal");
    assert_eq!(refused("shop", &other).await, (409, "id-reused".to_owned()));
    let withdrawn = post(admin, "shop", "/facts", &other.replace("\"1\"", "\"2\"")).await;
    assert_eq!(withdrawn.status, 201, "{}", withdrawn.text());
    let shown = post(admin, "shop", "/facts/read", r#"{"subject":"c-1"}"#).await.json();
    assert_eq!((&shown["known"], &shown["statements"][0]["holds"]), (&json!(true), &json!(false)), "{shown}");
    assert_eq!(post(admin, "helpdesk", "/facts/read", r#"{"subject":"c-1"}"#).await.status, 403);

    let ready = send(admin, Method::GET, "/readyz", &[("accept", "application/json")], "").await.unwrap().json();
    assert_eq!(ready["parts"]["facts"]["state"], "ready", "{ready}");
    let metrics = send(admin, Method::GET, "/metrics", &[], "").await.unwrap().text();
    assert!(metrics.contains("sudare_facts_total 2\n") && metrics.contains("sudare_facts_stale 0"), "{metrics}");
    proxy.stop().await;
    // Recorded, by whom and of what kind, without the person or what it rests on.
    let log = fs::read_to_string(proxy.audit_dir().join("00000001.jsonl")).unwrap();
    let events: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).filter(|line: &Value| line["kind"] == "fact").collect();
    let said: Vec<(&Value, &Value)> = events.iter().map(|event| (&event["caller"], &event["recorded"])).collect();
    let (shop, yes, no) = (json!("shop"), json!({ "consent to marketing": 1 }), json!({ "refusal of marketing": 1 }));
    assert_eq!(said, [(&shop, &yes), (&shop, &yes), (&shop, &no)]);
    assert!(!names_somebody(&log) && !log.contains("secret-evidence"), "{log}");
    assert!(events[0]["subjects"][0].as_str().is_some_and(|name| name.starts_with("psn1_")));
}

#[tokio::test]
async fn t24_a_body_is_bounded() {
    let mut proxy = started(setup()).await;
    let admin = admin(&proxy);
    assert_eq!(post(admin, "shop", "/facts", &" ".repeat(1 << 21)).await.status, 413);
    let many = r#"{"subject":"c-1","record":"consent","purpose":"marketing"}"#.to_owned() + "\n";
    assert_eq!(outcome(&post(admin, "shop", "/facts", &many.repeat(1_001)).await), (400, "malformed-json".to_owned()));
    assert_eq!(post(admin, "shop", "/facts", &many.repeat(1_000)).await.status, 201);
    proxy.stop().await;
}

/// `sudare subject` on these files.
fn subject(file: &Path, words: &str) -> (Option<i32>, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_sudare")).arg("subject").args(words.split(' ')).arg("-c").arg(file).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_records_by_hand_and_through_a_running_proxy() {
    let (folder, file) = files(setup());
    let done = |words: &str, says: &str| {
        let (code, out, complained) = subject(&file, words);
        assert!(code == Some(0) && out.contains(says), "{words}: {code:?} {out} {complained}");
    };
    let wrong = |words: &str, ends: i32, says: &str| {
        let (code, out, complained) = subject(&file, words);
        assert!(code == Some(ends) && complained.contains(says) && out.is_empty(), "{words}: {code:?} {out} {complained}");
    };
    done(
        "consent c-1 --purpose marketing --entry-id a",
        "recorded: consent to marketing of c-1 (row 1 of the ledger); nothing was known",
    );
    done(
        "consent c-1 --purpose marketing --entry-id a",
        "was recorded before, nothing changed: consent to marketing of c-1 (row 1",
    );
    done("age c-1 --born 2020-02-29", "recorded: age of c-1 (row 2");
    done("withdraw c-1 --purpose marketing --operator ann", "recorded: refusal of marketing of c-1 (row 3");
    done("show c-1", "purpose marketing: no, said ");
    done("show c-2", "nothing is known of c-2");
    wrong("withdraw c-1 --purpose marketing --entry-id a", 1, "an id was used before for something else");
    wrong("consent c-1 --purpose marketng", 2, "did you mean \"marketing\"?");
    wrong("consent c-1", 2, "--purpose <NAME>|--recipient <NAME>");
    wrong("age c-1", 2, "--born <DATE>|--years <N>|--over <N>");
    wrong("fact c-1 open-tiket", 2, "did you mean \"open-ticket\"?");
    wrong("consent c-1 --purpose marketing --at 2999-01-01T00:00:00Z", 1, "more than 5 minutes ahead");
    let lines = folder.path().join("lines");
    let name = lines.display();
    fs::write(&lines, "{\"subject\":\"i-1\",\"record\":\"consent\",\"purpose\":\"marketing\"}\n\n{\"subject\":\"i-2\"}\nno\n")
        .unwrap();
    wrong(&format!("import {name}"), 1, "line 3: record: expected one of");
    wrong(&format!("import {name}"), 1, "line 4: expected one JSON object\nnothing was recorded");
    fs::write(&lines, "{\"subject\":\"i-1\",\"record\":\"consent\",\"purpose\":\"marketing\"}\n".repeat(2)).unwrap();
    done(&format!("import {name}"), "1 of 2 lines recorded; 1 were recorded before, and changed nothing");
    done(&format!("import {name}"), "0 of 2 lines recorded; 2 were recorded before");
    let log = fs::read_to_string(folder.path().join("data/audit/operators/00000001.jsonl")).unwrap();
    assert!(log.contains("\"operator\":\"ann\"") && log.contains("sudare subject") && !names_somebody(&log), "{log}");

    let mut proxy = Proxy::start(folder, file.clone()).await;
    wrong("show c-1", 1, "a running `sudare serve` holds this store: give --via");
    let (via, credential) = (admin(&proxy), proxy.folder.path().join("credential"));
    fs::write(&credential, Proxy::credential("shop")).unwrap();
    let through = format!("--via http://{via} --credential {}", credential.display());
    done(&format!("show c-1 {through}"), "purpose marketing: no, said ");
    done(&format!("fact c-1 open-ticket {through}"), "recorded: open-ticket of c-1 (row 5");
    wrong(&format!("age c-1 --over 18 {through}"), 1, "this caller may record consent, open-ticket");
    fs::write(&credential, Proxy::credential("nobody")).unwrap();
    wrong(&format!("show c-1 {through}"), 1, "the proxy does not know this credential");
    proxy.stop().await;
    done("show c-1", "fact open-ticket: yes");
}

#[tokio::test]
async fn a_ledger_that_is_not_whole_is_refused_at_start() {
    let mut proxy = started(setup()).await;
    for n in 1..=3 {
        let body = format!(r#"{{"id":"{n}","subject":"c-{n}","record":"consent","purpose":"marketing"}}"#);
        assert_eq!(post(admin(&proxy), "shop", "/facts", &body).await.status, 201);
    }
    proxy.stop().await;
    let settings = || config::load(&proxy.file).unwrap();
    let store = || Store::open(&settings().store, None).unwrap();
    let rows = store().list(Table::Fact, Vec::new(), None, 10).await.unwrap();
    assert_eq!(rows.len(), 3);
    let start = async |changes: Vec<Change>| {
        store().change(Table::Fact, changes).await.unwrap();
        sudare::app::start(settings()).map(drop).unwrap_err().to_string()
    };
    let last = rows[2].clone();
    let why = start(vec![Change::Remove(last.key.clone())]).await;
    assert!(why.contains("ends at row 2, and 3 were in use"), "{why}");
    let why = start(vec![Change::Put(last.clone()), Change::Remove(rows[0].key.clone())]).await;
    assert!(why.contains("row 1: it is missing"), "{why}");
    let mut changed = rows[1].clone();
    changed.value[50] ^= 1;
    let why = start(vec![Change::Put(rows[0].clone()), Change::Put(changed)]).await;
    assert!(why.contains("row 2: it does not open in its place"), "{why}");
    // And as it was, it starts.
    store().change(Table::Fact, vec![Change::Put(rows[1].clone())]).await.unwrap();
    let folder = std::mem::replace(&mut proxy.folder, tempfile::tempdir().unwrap());
    let mut again = Proxy::start(folder, proxy.file.clone()).await;
    assert_eq!(again.running.as_ref().unwrap().ledger().entries(), 3);
    again.stop().await;
}

/// Is the data subject of these tests in a log by its id? Not within a word, where a MAC may have it by chance.
fn names_somebody(log: &str) -> bool {
    ["\"c-1", " c-1", "/c-1"].iter().any(|id| log.contains(id))
}
