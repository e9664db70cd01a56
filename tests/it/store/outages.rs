//! What clients see while the store is away, slow or full, and that all is well once it is not, without a restart.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use super::checked_by_command;
use super::postgres::fail;
use super::server::Database;
use crate::support::{Answer, Process, Proxy, Setup, Stub, StubReply, send};

const COLLECTIONS: &str = r#"
[collection.customers]
match   = "/customers/{id}"
rows    = ["$"]
subject = "{id}"
[collection.customers.field]
name    = "$.name"
address = { at = "$.address", protect = "token", consistent = false }
phone   = { at = "$.phone", protect = "token", format = "digits" }
id-card = { at = "$.id_card", protect = "token" }
[collection.notes]
match   = "/notes/{id}"
rows    = ["$"]
subject = "{id}"
[collection.notes.field]
author  = { at = "$.author", category = "name" }
"#;

/// Longest time for an answer: five seconds are what the store has, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// A proxy as a process of its own, whose database keeps what it gets, and its store.
struct Scene {
    process: Process,
    front: SocketAddr,
    stub: Stub,
    file: PathBuf,
    folder: tempfile::TempDir,
}

fn person(id: &str) -> Value {
    json!({"id": id, "name": "Mei Tanaka", "address": "101-0047 Uchikanda", "phone": "+81-3-5550-1234", "id_card": "123456789018"})
}

impl Scene {
    /// With one customer, and one note.
    async fn with(store: &str) -> Self {
        let documents: Mutex<BTreeMap<String, Value>> = Mutex::default();
        let stub = Stub::start(move |seen| {
            let mut documents = documents.lock().unwrap();
            if seen.method == Method::POST {
                let document: Value = serde_json::from_slice(&seen.body).unwrap();
                let path = format!("{}/{}", seen.target, document["id"].as_str().unwrap());
                let reply = StubReply::json(201, document.to_string());
                documents.insert(path, document);
                return reply;
            }
            match documents.get(&seen.target) {
                Some(document) => StubReply::json(200, document.to_string()),
                None => StubReply::json(404, "{}"),
            }
        })
        .await;
        let (folder, file) = Setup::rest(stub.address).collections(COLLECTIONS).store(store).files();
        let process = Process::start(&file, "trap '' XFSZ;");
        let scene = Self { front: process.address.parse().unwrap(), process, stub, file, folder };
        assert_eq!(scene.write("/customers", &person("c-1")).await.status, 201);
        assert_eq!(scene.read("/customers/c-1").await.json(), person("c-1"));
        scene
    }

    async fn over(database: &Database) -> Self {
        let bounds = "pool = 4\nstatement_timeout_ms = 1000\nconnect_timeout_ms = 2000\nwait_timeout_ms = 2000";
        let url = format!("postgres://sudare@127.0.0.1:{}/{}", database.server.port, database.name);
        Self::with(&format!("url = \"{url}\"\n{bounds}")).await
    }

    async fn write(&self, path: &str, document: &Value) -> Answer {
        ask(self.front, "registration", Method::POST, path.to_owned(), document.to_string()).await
    }

    async fn read(&self, path: &str) -> Answer {
        ask(self.front, "account", Method::GET, path.to_owned(), String::new()).await
    }

    async fn ready(&self) -> (u16, String) {
        let answer = send(self.process.admin.parse().unwrap(), Method::GET, "/readyz", &[], "").await.unwrap();
        (answer.status.as_u16(), answer.text())
    }

    /// A write that wants tokens fails in time, says why without a value, and nothing goes upstream.
    async fn write_is_refused(&self) {
        let sent = self.stub.seen().len();
        let begun = Instant::now();
        is_unavailable(&self.write("/customers", &person("c-2")).await);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        assert_eq!(self.stub.seen().len(), sent, "nothing went upstream");
    }

    /// So does a read that would show what tokens stand for.
    async fn read_is_refused(&self) {
        let begun = Instant::now();
        is_unavailable(&self.read("/customers/c-1").await);
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    }

    /// Nobody else notices: collections without tokens, and callers who see none of what tokens stand for.
    async fn the_rest_is_served(&self, id: &str) {
        let begun = Instant::now();
        let note = json!({"id": id, "author": "Mei Tanaka", "text": "hello"});
        assert_eq!(self.write("/notes", &note).await.status, 201);
        assert!(!String::from_utf8_lossy(&self.stub.seen().last().unwrap().body).contains("Mei"), "it is sealed");
        assert_eq!(self.read(&format!("/notes/{id}")).await.json(), note);
        let credential = Proxy::credential("mailer");
        let headers = [("sudare-credential", credential.as_str()), ("data-purpose", "marketing")];
        let masked = send(self.front, Method::GET, "/customers/c-1", &headers, "").await.unwrap();
        assert_eq!(masked.json(), json!({"id": "c-1", "name": "M••• T•••"}));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    /// As before, without a restart, and with the tokens there were.
    async fn all_is_well(&self, id: &str) {
        until("it is ready", async || self.ready().await.0 == 200).await;
        assert_eq!(self.read("/customers/c-1").await.json(), person("c-1"));
        let answer = self.write("/customers", &person(id)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(self.read(&format!("/customers/{id}")).await.json(), person(id));
        let tokens: Vec<Value> = self.written("/customers").iter().map(|document| document["id_card"].clone()).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0] && token.as_str().unwrap().starts_with("tok1_")), "{tokens:?}");
    }

    /// The documents that the database got, in order.
    fn written(&self, path: &str) -> Vec<Value> {
        let writes = self.stub.seen().into_iter().filter(|seen| seen.method == Method::POST && seen.target == path);
        writes.map(|seen| serde_json::from_slice(&seen.body).unwrap()).collect()
    }

    async fn failures(&self, kind: &str) -> bool {
        let page = send(self.process.admin.parse().unwrap(), Method::GET, "/metrics", &[], "").await.unwrap().text();
        page.lines().any(|line| line.starts_with("sudare_store_failures_total") && line.contains(&format!("kind=\"{kind}\"")))
    }
}

async fn ask(front: SocketAddr, purpose: &'static str, method: Method, path: String, body: String) -> Answer {
    let credential = Proxy::credential("shop");
    let headers = [("sudare-credential", credential.as_str()), ("data-purpose", purpose), ("content-type", "application/json")];
    let headers = if body.is_empty() { &headers[..2] } else { &headers[..] };
    send(front, method, &path, headers, body).await.unwrap()
}

fn is_unavailable(answer: &Answer) {
    assert_eq!(answer.outcome(), (503, "store-unavailable".to_owned()), "{}", answer.text());
    assert!(answer.headers.contains_key("retry-after"));
    for value in ["Mei", "Uchikanda", "5550", "123456789018", "tok1_"] {
        assert!(!answer.text().contains(value), "{}", answer.text());
    }
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t20_clients_while_the_server_is_stopped_and_once_it_is_started() {
    let Some(database) = Database::alone() else { return };
    let scene = Scene::over(&database).await;
    for round in 0..2 {
        database.server.stop();
        scene.write_is_refused().await;
        scene.read_is_refused().await;
        scene.the_rest_is_served(&format!("n-{round}")).await;
        until("it says so", async || scene.ready().await.0 == 503).await;
        let (_, said) = scene.ready().await;
        assert!(said.contains("store: ") && said.contains("127.0.0.1") && !said.contains("database: "), "{said}");
        // Who starts now does not.
        let started = Command::new(env!("CARGO_BIN_EXE_sudare")).args(["serve", "-c"]).arg(&scene.file).output().unwrap();
        assert!(!started.status.success());
        database.server.start();
        scene.all_is_well(&format!("c-1{round}")).await;
    }
    assert!(scene.failures("unreachable").await);
    assert_eq!(checked_by_command(&scene.file).0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t20_clients_while_the_server_hangs_and_once_it_goes_on() {
    let Some(database) = Database::alone() else { return };
    let scene = Scene::over(&database).await;
    for round in 0..2 {
        database.server.freeze();
        scene.write_is_refused().await;
        scene.read_is_refused().await;
        scene.the_rest_is_served(&format!("n-{round}")).await;
        until("it says so", async || scene.ready().await.0 == 503).await;
        // Many at once wait no longer than one.
        let begun = Instant::now();
        let mut asked = tokio::task::JoinSet::new();
        for n in 0..12 {
            let body = person(&format!("x-{n}")).to_string();
            asked.spawn(ask(scene.front, "registration", Method::POST, "/customers".to_owned(), body));
        }
        for answer in asked.join_all().await {
            is_unavailable(&answer);
        }
        assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
        database.server.thaw();
        scene.all_is_well(&format!("c-1{round}")).await;
    }
    assert_eq!(scene.written("/customers").len(), 3, "nothing was written late");
    assert!(scene.failures("slow").await);
    assert_eq!(checked_by_command(&scene.file).0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t20_clients_while_the_server_has_no_room() {
    let Some(database) = Database::new() else { return };
    let scene = Scene::over(&database).await;
    fail(&database, "53100", 1_000_000);
    scene.write_is_refused().await;
    // What is there is shown.
    assert_eq!(scene.read("/customers/c-1").await.json(), person("c-1"));
    scene.the_rest_is_served("n-1").await;
    database.sql("drop trigger fail on sudare_token");
    scene.all_is_well("c-2").await;
    assert!(scene.failures("full").await);
    assert_eq!(checked_by_command(&scene.file).0, Some(0));
}

/// A limit of the system on the size of files stands for a full disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t20_clients_while_the_file_of_the_store_cannot_grow() {
    let scene = Scene::with("url = \"redb:data/sudare.redb\"").await;
    let limit = |bytes: &str| {
        let pid = scene.process.child.id().to_string();
        let done =
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}")]).status().expect("prlimit of util-linux");
        assert!(done.success());
    };
    let size = std::fs::metadata(scene.folder.path().join("data/sudare.redb")).unwrap().len();
    limit(&format!("{size}:unlimited"));
    let large = |n: usize| {
        let mut large = person(&format!("l-{n}"));
        large["address"] = json!("101-0047 Uchikanda ".repeat(2_000));
        large
    };
    let mut stored = 0;
    while scene.write("/customers", &large(stored)).await.status == 201 {
        stored += 1;
        assert!(stored < 2_000, "the file grows");
    }
    let sent = scene.stub.seen().len();
    is_unavailable(&scene.write("/customers", &large(stored)).await);
    assert_eq!(scene.stub.seen().len(), sent, "nothing went upstream");
    assert_eq!(scene.read("/customers/c-1").await.json(), person("c-1"));
    scene.the_rest_is_served("n-1").await;
    limit("unlimited:unlimited");
    assert_eq!(scene.write("/customers", &large(stored)).await.status, 201);
    for n in 0..=stored {
        assert_eq!(scene.read(&format!("/customers/l-{n}")).await.json(), large(n));
    }
    scene.all_is_well("c-2").await;
    assert!(scene.failures("full").await);
    let Scene { process, file, folder: _folder, .. } = scene;
    drop(process);
    let (code, out, said) = checked_by_command(&file);
    assert!(code == Some(0), "{out}{said}");
}
