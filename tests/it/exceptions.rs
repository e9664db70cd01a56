//! Exceptions, end to end: asked for and agreed to with the commands, used through the proxy, ended on time and by hand, and what the person is
//! told. Acceptance check 8 of the register of clauses: a police grant opens only the people and fields it names, dies at its time, is in the
//! audit, and does not appear in the person's report while it is withheld.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use sudare::audit::Filter;
use sudare::base::{Clock, FixedClock, RecordId, SystemClock};
use sudare::config::{self, Endpoint};
use sudare::{app, crypto, keys};

use crate::support::{Came, PERSON, Proxy, Setup, SlowDatabase};

const EXCEPTIONS: &str = r#"
[exception.police-demand]
dpv          = "dpv:LegalCompliance"
callers      = ["auditor"]
reveal       = { "*" = "clear", id-card = "masked" }
evidence     = ["case-number", "law"]
approvers    = 2
ttl          = "72h"
tell_subject = "withheld"
[exception.collect-for-health]
opens        = "collection"
dpv          = "dpv:PublicBenefit"
callers      = ["helpdesk"]
reveal       = { name = "clear" }
evidence     = ["law"]
approvers    = 1
ttl          = "4h"
tell_subject = "after"
"#;
const SOON: Duration = Duration::from_secs(3);
const DEMAND: [&str; 19] = [
    "police-demand",
    "--caller",
    "auditor",
    "--collection",
    "customers",
    "--category",
    "name",
    "--category",
    "id-card",
    "--subject",
    "c-1",
    "--evidence",
    "case-number=K-17/2026",
    "--evidence",
    "law=Criminal Procedure Act 9",
    "--hours",
    "2",
    "--key",
    "anna",
];

/// A proxy, operators with keys, and a caller that may hand in exceptions.
struct Office {
    proxy: Proxy,
    desk: tempfile::TempDir,
}

/// What a command said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {} {}", self.out, self.err))
    }
}

impl Office {
    async fn open(setup: Setup, clock: Arc<dyn Clock>) -> Self {
        let desk = tempfile::tempdir().unwrap();
        let secret = crypto::base64url(&crypto::sha256(b"console"));
        let hash = data_encoding::HEXLOWER.encode(&crypto::sha256(secret.as_bytes()));
        let mut more = format!("[caller.console]\ncredential_sha256 = \"{hash}\"\nrecords = [\"exception\"]\n");
        for name in ["anna", "bruno", "chen"] {
            let public = keys::make_operator(&desk.path().join(format!("{name}.operator.pem"))).unwrap();
            more += &format!("[operator.{name}]\npublic_key = \"{}\"\n", crypto::base64url(&public.0));
        }
        fs::write(desk.path().join("credential"), format!("console.{secret}\n")).unwrap();
        let policy = setup.policy.clone() + EXCEPTIONS;
        let (folder, file) = Setup { policy, ..setup }.more(&more).files();
        let settings = config::load(&file).unwrap_or_else(|findings| panic!("{findings}"));
        let running = app::start_with(settings, clock).unwrap_or_else(|error| panic!("{error}"));
        let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
        tokio::task::yield_now().await;
        Self { proxy: Proxy { folder, file, address, running: Some(running) }, desk }
    }

    /// Runs `sudare exception …` on a machine of an operator, through the running proxy. `--key NAME` is that operator's.
    async fn run(&self, words: &[&str]) -> Said {
        let Some(Endpoint::Tcp(admin)) = self.proxy.running.as_ref().and_then(|running| running.admin().cloned()) else {
            panic!("an admin listener expected")
        };
        let via = format!("http://{admin}");
        let credential = self.desk.path().join("credential").display().to_string();
        self.run_with(&[&["exception"], words, &["--via", &via, "--credential", &credential]].concat()).await
    }

    async fn run_with(&self, words: &[&str]) -> Said {
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        if let Some(at) = words.iter().position(|word| word == "--key") {
            words[at + 1] = format!("{}.operator.pem", words[at + 1]);
        }
        words.extend(["-c".to_owned(), self.proxy.file.display().to_string()]);
        let folder: PathBuf = self.desk.path().to_owned();
        let said = tokio::task::spawn_blocking(move || {
            Command::new(env!("CARGO_BIN_EXE_sudare")).args(words).current_dir(folder).output().unwrap()
        });
        let said = said.await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said { code: said.status.code(), out: text(said.stdout), err: text(said.stderr) }
    }

    /// Asks for an exception; its id.
    async fn request(&self, words: &[&str]) -> String {
        let said = self.run(&[&["request"], words, &["--format", "json"]].concat()).await;
        assert_eq!(said.code, Some(0), "{}", said.err);
        said.json()["id"].as_str().unwrap().to_owned()
    }

    async fn state(&self, id: &str) -> Value {
        self.run(&["show", id, "--format", "json"]).await.json()
    }

    /// The police grant, agreed to.
    async fn demand(&self) -> String {
        let id = self.request(&DEMAND).await;
        for key in ["bruno", "chen"] {
            let said = self.run(&["approve", &id, "--key", key]).await;
            assert_eq!(said.code, Some(0), "{}", said.err);
        }
        id
    }

    async fn fill(&self) {
        for id in ["c-1", "c-2"] {
            let person = PERSON.replace("c-1", id);
            let answer = self.proxy.ask("shop", "registration", Method::PUT, &format!("/customers/{id}"), person).await;
            assert!(answer.status.is_success(), "{}", answer.text());
        }
    }
}

fn members(person: &Value) -> [Option<&str>; 4] {
    ["name", "address", "phone", "id_card"].map(|member| person[member].as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_police_grant_opens_only_whom_and_what_it_names_and_ends_by_hand() {
    let office = Office::open(Setup::embedded(), Arc::new(SystemClock)).await;
    office.fill().await;
    let id = office.request(&DEMAND).await;
    let read = async |caller: &'static str, path: &'static str| office.proxy.ask(caller, &id, Method::GET, path, "").await;
    let closed = async |caller: &'static str, why: &str| {
        let answer = read(caller, "/customers/c-1").await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        let text = answer.text();
        assert!(text.contains("exception-closed") && text.contains(why) && !text.contains("c-1"), "{text}");
    };
    closed("auditor", "is requested").await;
    assert!(office.run(&["approve", &id, "--key", "anna"]).await.err.contains("anna asked for it, so others have to agree"));
    assert!(office.run(&["approve", &id, "--key", "bruno"]).await.out.contains("bruno agrees: 1 of 2. Nothing is open yet."));
    assert!(office.run(&["approve", &id, "--key", "bruno"]).await.err.contains("bruno has agreed already"));
    closed("auditor", "is requested").await;
    let said = office.run(&["approve", &id, "--key", "chen"]).await;
    assert!(
        said.out.contains("chen agrees: 2 of 2. Open until") && said.out.contains(&format!("Data-Purpose: {id}")),
        "{}",
        said.out
    );

    let answer = read("auditor", "/customers/c-1").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let view = answer.headers["data-view"].to_str().unwrap().to_owned();
    assert_eq!(view, format!("purpose=police-demand, exception={id}, clear=(name), masked=(id-card), per-row"));
    assert_eq!(members(&answer.json()), [Some("Mei Tanaka"), None, None, Some("••••9018")]);
    // Whom it does not name it shows to nobody, and to nobody else whom it names.
    assert_eq!(members(&read("auditor", "/customers/c-2").await.json()), [None; 4]);
    let list = read("auditor", "/customers").await.json();
    let shown: Vec<bool> = list.as_array().unwrap().iter().map(|person| members(person)[0].is_some()).collect();
    assert_eq!(shown, [true, false], "{list}");
    closed("helpdesk", &format!("there is no exception {id} for helpdesk")).await;
    for (method, path, body) in
        [(Method::PUT, "/customers/c-1", PERSON), (Method::POST, "/customers", PERSON), (Method::DELETE, "/customers/c-1", "")]
    {
        let answer = office.proxy.ask("auditor", &id, method, path, body).await;
        assert!(answer.status == 403 && answer.text().contains("exception-closed"), "{}", answer.text());
    }
    for other in ["ex_", "ex_00000000000000000000000000"] {
        let answer = office.proxy.ask("auditor", other, Method::GET, "/customers/c-1", "").await;
        assert!(answer.status == 403 && answer.text().contains("exception-closed"), "{}", answer.text());
    }

    let said = office.run(&["revoke", &id, "--key", "bruno", "--reason", "the case was closed"]).await;
    assert!(said.code == Some(0) && said.out.contains("Still to be done: review"), "{} {}", said.out, said.err);
    closed("auditor", "is revoked").await;
    assert!(office.run(&["told", &id, "--key", "anna", "--reason", "by letter"]).await.out.contains("were told"));
    assert!(office.run(&["review", &id, "--key", "anna", "--reason", "nothing odd"]).await.err.contains("somebody else looks"));
    assert_eq!(office.run(&["review", &id, "--key", "chen", "--reason", "nothing odd"]).await.code, Some(0));
    let case = office.state(&id).await;
    assert_eq!((case["state"].as_str(), case["due"].as_array().map(Vec::len)), (Some("revoked"), Some(0)), "{case}");

    // In the audit, from the first word to the last.
    let mut office = office;
    office.proxy.stop().await;
    let events = office.proxy.events(&Filter { subject: RecordId::from_text("c-1").ok(), ..Filter::default() });
    let under: Vec<(&str, Option<&str>)> = events
        .iter()
        .filter(|event| event.exception.as_deref() == Some(&id))
        .map(|event| (event.kind.as_str(), event.code.as_deref()))
        .collect();
    let steps: Vec<&str> = under.iter().filter(|(kind, _)| *kind == "exception").filter_map(|(_, code)| *code).collect();
    assert_eq!(steps, ["requested", "approved", "opened", "revoked", "told", "reviewed"]);
    assert_eq!(under.iter().filter(|(kind, _)| *kind == "reveal").count(), 2, "the document, and the list: {under:?}");
    for secret in ["K-17", "Criminal", "letter", "c-1"] {
        assert!(!office.proxy.audit_text().contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_dies_on_the_millisecond_under_a_feed_and_a_clock_that_goes_back_revives_nothing() {
    let database = SlowDatabase::start().await;
    let clock = Arc::new(FixedClock::at(SystemClock.now_ms()));
    let office = Office::open(Setup::couchdb(database.address), Arc::clone(&clock) as Arc<dyn Clock>).await;
    let person = PERSON.replace("\"id\":\"c-1\"", "\"_id\":\"c-1\"");
    let write = async {
        let waiting = database.asked().await;
        let body = waiting.body.clone();
        waiting.answer(201, r#"{"ok":true}"#).await;
        body
    };
    let (_, stored) = tokio::join!(office.proxy.ask("shop", "registration", Method::PUT, "/customers/c-1", person), write);
    let row = format!("{{\"seq\":1,\"id\":\"c-1\",\"changes\":[{{\"rev\":\"1-a\"}}],\"doc\":{stored}}}\n");
    let opened = clock.now_ms();
    let id = office.demand().await;
    let begin = async {
        let mut waiting = database.asked().await;
        waiting.begin("application/json").await;
        waiting
    };
    let feed = office.proxy.open("auditor", &id, Method::GET, "/customers/_changes?feed=continuous&include_docs=true", "");
    let (mut live, mut waiting) = tokio::join!(feed, begin);
    assert_eq!(live.status, 200);
    waiting.say(&row).await;
    let Came::Text(text) = live.next(SOON).await else { panic!("a row expected") };
    assert!(text.contains("Mei Tanaka") && !text.contains("Uchikanda"), "{text}");
    clock.set(opened + 2 * 3_600_000 - 1);
    waiting.say(&row).await;
    assert!(matches!(live.next(SOON).await, Came::Text(text) if text.contains("Mei Tanaka")));
    clock.set(opened + 2 * 3_600_000);
    waiting.say(&row).await;
    assert_eq!(live.next(SOON).await, Came::Broken);
    for now in [opened + 2 * 3_600_000, opened] {
        clock.set(now);
        let answer = office.proxy.ask("auditor", &id, Method::GET, "/customers/c-1", "").await;
        assert!(answer.status == 403 && answer.text().contains("is over"), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_ends_when_it_is_revoked() {
    let database = SlowDatabase::start().await;
    let office = Office::open(Setup::couchdb(database.address), Arc::new(SystemClock)).await;
    let id = office.demand().await;
    let begin = async {
        let mut waiting = database.asked().await;
        waiting.begin("application/json").await;
        waiting
    };
    let feed = office.proxy.open("auditor", &id, Method::GET, "/customers/_changes?feed=continuous&include_docs=true", "");
    let (mut live, mut waiting) = tokio::join!(feed, begin);
    let row = "{\"seq\":1,\"id\":\"c-9\",\"changes\":[],\"doc\":{\"_id\":\"c-9\"}}\n";
    waiting.say(row).await;
    assert!(matches!(live.next(SOON).await, Came::Text(_)));
    assert_eq!(office.run(&["revoke", &id, "--key", "chen", "--reason", "a mistake"]).await.code, Some(0));
    waiting.say(row).await;
    assert_eq!(live.next(SOON).await, Came::Broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_that_collects_stores_new_documents_and_shows_nothing() {
    let office = Office::open(Setup::embedded(), Arc::new(SystemClock)).await;
    office.fill().await;
    let words = [
        "collect-for-health",
        "--caller",
        "helpdesk",
        "--collection",
        "customers",
        "--category",
        "name",
        "--subject",
        "c-3",
        "--subject",
        "c-1",
        "--evidence",
        "law=Public Health Act 4",
        "--key",
        "anna",
    ];
    let id = office.request(&words).await;
    let said = office.run(&["approve", &id, "--key", "bruno"]).await;
    assert!(said.out.contains("may store name of 2 people in new documents"), "{}", said.out);
    let ask = async |method, path: &'static str, body: &'static str| office.proxy.ask("helpdesk", &id, method, path, body).await;
    let stored = ask(Method::POST, "/customers", r#"{"id":"c-3","name":"Kai Berg"}"#).await;
    assert!(stored.status.is_success() && !stored.text().contains("Kai"), "{}", stored.text());
    for (method, path, body, why) in [
        (Method::POST, "/customers", r#"{"id":"c-4","name":"Nobody"}"#, "not-writable"),
        (Method::POST, "/customers", r#"{"id":"c-3","name":"Kai","phone":"+81355501234"}"#, "not-writable"),
        (Method::PUT, "/customers/c-1", r#"{"id":"c-1","name":"Other"}"#, "exception-closed"),
        (Method::GET, "/customers/c-3", "", "exception-closed"),
        (Method::DELETE, "/customers/c-3", "", "exception-closed"),
    ] {
        let answer = ask(method, path, body).await;
        assert!(answer.status == 403 && answer.text().contains(why), "{path} {}: {}", answer.status, answer.text());
    }
    let seen = office.proxy.ask("shop", "account", Method::GET, "/customers/c-3", "").await.json();
    assert_eq!(seen["name"], "Kai Berg");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_withheld_does_not_stand_in_what_the_person_is_given_until_it_is_released() {
    let mut office = Office::open(Setup::embedded(), Arc::new(SystemClock)).await;
    office.fill().await;
    let id = office.demand().await;
    office.proxy.ask("auditor", &id, Method::GET, "/customers/c-1", "").await;
    office.proxy.ask("shipping", "delivery", Method::GET, "/customers/c-1", "").await;
    office.proxy.stop().await;
    let report = async |office: &Office, more: &[&str]| {
        let said = office.run_with(&[&["audit", "report", "--subject", "c-1"], more].concat()).await;
        assert_eq!(said.code, Some(0), "{}", said.err);
        said
    };
    let own = report(&office, &["--for-subject"]).await;
    assert!(own.out.contains("shipping for delivery") && !own.out.contains("ex_") && !own.out.contains("police"), "{}", own.out);
    assert!(own.err.contains("1 exception is left out"), "{}", own.err);
    assert!(!report(&office, &["--for-subject", "--format", "json"]).await.out.contains("police"));
    // The operators' own shows all.
    assert!(report(&office, &[]).await.out.contains(&format!("auditor for police-demand (policy 1) under {id}")));
    // On the store itself now, which nobody holds.
    let said = office.run_with(&["exception", "told", &id, "--key", "bruno", "--reason", "the court released it"]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let own = report(&office, &["--for-subject"]).await;
    for word in
        [&format!("{id} is the exception police-demand for auditor, of name, id-card"), "case-number: K-17/2026", "law: Criminal"]
    {
        assert!(own.out.contains(word), "{word}: {}", own.out);
    }
    assert!(!own.out.contains("bruno") && !own.out.contains("anna") && own.err.is_empty(), "{} {}", own.out, own.err);
    let operators = office.run_with(&["audit", "tail", "--operators"]).await;
    assert!(operators.out.contains("told") && operators.out.contains("bruno"), "{} {}", operators.out, operators.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_on_two_machines_agree_by_files() {
    let office = Office::open(Setup::embedded(), Arc::new(SystemClock)).await;
    let id = office.request(&DEMAND).await;
    let file = format!("{id}.request.json");
    // The other machine has the request and a key, and no configuration.
    let away = tempfile::tempdir().unwrap();
    for name in [file.as_str(), "bruno.operator.pem", "chen.operator.pem"] {
        fs::copy(office.desk.path().join(name), away.path().join(name)).unwrap();
    }
    let sign = |words: &[&str]| {
        let said = Command::new(env!("CARGO_BIN_EXE_sudare"))
            .args(["exception", "approve"])
            .args(words)
            .current_dir(away.path())
            .output()
            .unwrap();
        (said.status.code(), String::from_utf8(said.stdout).unwrap() + &String::from_utf8(said.stderr).unwrap())
    };
    let (code, said) = sign(&[&file]);
    assert!(
        code == Some(0) && said.contains("on record, case-number: K-17/2026") && said.contains("Nothing was signed"),
        "{said}"
    );
    for name in ["bruno", "chen"] {
        let (code, said) = sign(&[&file, "--key", &format!("{name}.operator.pem")]);
        assert!(
            code == Some(0) && said.contains(&format!("sudare exception approve {id} --signature {file}.{name}.sig")),
            "{said}"
        );
    }
    assert!(sign(&[&file, "--key", "chen.operator.pem"]).1.contains("is there already, and nothing is overwritten"));
    let signature = |name: &str| away.path().join(format!("{file}.{name}.sig")).display().to_string();
    let said = office.run(&["approve", &id, "--signature", &signature("bruno"), "--signature", &signature("chen")]).await;
    assert!(
        said.out.contains("bruno agrees: 1 of 2") && said.out.contains("chen agrees: 2 of 2. Open until"),
        "{} {}",
        said.out,
        said.err
    );
    // A request that was changed on the way, and a signature of another one.
    let changed = fs::read_to_string(office.desk.path().join(&file)).unwrap().replace("\"c-1\"", "\"c-2\"");
    fs::write(away.path().join("changed.json"), changed).unwrap();
    sign(&["changed.json", "--key", "bruno.operator.pem"]);
    let other = office.request(&DEMAND).await;
    for wrong in [away.path().join("changed.json.bruno.sig").display().to_string(), signature("bruno")] {
        let said = office.run(&["approve", &other, "--signature", &wrong]).await;
        assert!(said.code == Some(1) && said.err.contains("the signature is one of another text"), "{} {}", said.out, said.err);
    }
    assert_eq!(office.state(&other).await["state"], "requested");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_the_way_out() {
    let office = Office::open(Setup::embedded(), Arc::new(SystemClock)).await;
    let id = office.request(&DEMAND).await;
    let replaced = |from: &str, to: &'static str| DEMAND.map(|word| if word == from { to } else { word });
    let before = fs::read_dir(office.desk.path()).unwrap().count();
    for (words, code, why) in [
        (
            [&["request"][..], &replaced("police-demand", "police")].concat(),
            2,
            "the policy has no exception police; it has police-demand, collect-for-health",
        ),
        ([&["request"][..], &replaced("auditor", "mailer")].concat(), 2, "is not for mailer; it is for auditor"),
        ([&["request"][..], &replaced("2", "73")].concat(), 2, "open for at most 72 h; asked are 73"),
        ([&["request"][..], &DEMAND[..11], &DEMAND[15..]].concat(), 2, "needs on record: case-number, law"),
        (vec!["approve", "ex_1"], 2, "the id of an exception is ex_ and 26 characters"),
        (vec!["approve", "nothing.json"], 1, "nothing.json: cannot be read"),
        (
            vec!["approve", "ex_00000000000000000000000000", "--key", "bruno"],
            1,
            "there is no exception ex_00000000000000000000000000",
        ),
        (vec!["approve", &id, "--signature", "credential"], 1, "credential: not a signature"),
        (vec!["review", &id, "--key", "bruno", "--reason", "x"], 1, "is requested: it is reviewed once it was open and is over"),
        (vec!["revoke", &id, "--key", "bruno", "--reason", " "], 2, "the reason is empty"),
    ] {
        let said = office.run(&words).await;
        assert!(said.code == Some(code) && said.err.contains(why), "{words:?}: {:?} {} {}", said.code, said.out, said.err);
    }
    assert_eq!(fs::read_dir(office.desk.path()).unwrap().count(), before, "no file is left of what was refused");
    // The store is held, and a credential that may not.
    let direct = office.run_with(&["exception", "list"]).await;
    assert!(direct.code == Some(1) && direct.err.contains("give --via with the address of its admin listener"), "{}", direct.err);
    fs::write(office.desk.path().join("credential"), Proxy::credential("shop")).unwrap();
    assert!(office.run(&["list"]).await.err.contains("records"), "{}", office.run(&["list"]).await.err);
    let listed = |path: &Path| path.join(format!("{id}.request.json")).exists();
    assert!(listed(office.desk.path()));
}
