//! Start, reload, rotation, drain, and what happens when the audit log cannot be written.

use std::fs;
use std::process::Command;
use std::time::Duration;

use http::Method;
use sudare::base::SystemClock;
use sudare::keys::{self, LineName};
use sudare::{audit, config};

use crate::support::{PERSON, Process, Proxy, Setup, Stub, StubReply, send};

#[tokio::test]
async fn t30_a_reload_takes_everything_or_nothing() {
    let proxy = Setup::embedded().start().await;
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    let policy_file = proxy.folder.path().join("policy.toml");
    let policy = fs::read_to_string(&policy_file).unwrap();
    let running = proxy.running.as_ref().unwrap();
    let name_seen = async || proxy.ask("helpdesk", "support", Method::GET, "/customers/c-1", "").await.json()["name"].clone();

    // A change and a mistake together: neither takes effect.
    let changed = policy
        .replace("reveal  = { name = \"clear\", phone = \"masked\" }", "reveal  = { name = \"masked\", phone = \"masked\" }");
    assert_ne!(changed, policy);
    fs::write(&policy_file, changed.replace("[purpose.marketing]", "[purpose.marketing]\nclallers = [\"mailer\"]")).unwrap();
    let error = running.reload(&proxy.file).unwrap_err().to_string();
    assert!(error.contains("clallers") && error.contains("callers"), "{error}");
    assert_eq!(name_seen().await, "Mei Tanaka");

    fs::write(&policy_file, &changed).unwrap();
    running.reload(&proxy.file).unwrap();
    assert_eq!(name_seen().await, "M••• T•••");

    // What takes a restart is said, and nothing else of that reload takes effect.
    fs::write(&policy_file, &policy).unwrap();
    let service = fs::read_to_string(&proxy.file).unwrap();
    fs::write(&proxy.file, service.replace("dir = \"data/audit\"", "dir = \"data/elsewhere\"")).unwrap();
    let error = running.reload(&proxy.file).unwrap_err().to_string();
    assert!(error.contains("[audit] dir") && error.contains("restart"), "{error}");
    assert_eq!(name_seen().await, "M••• T•••");
}

#[tokio::test]
async fn t19_a_caller_taken_out_is_refused_from_the_reload_on() {
    let proxy = Setup::embedded().start().await;
    let ask = async || proxy.ask("mailer", "marketing", Method::GET, "/customers", "").await.outcome();
    assert_eq!(ask().await.0, 200);
    let service = fs::read_to_string(&proxy.file).unwrap();
    let at = service.find("[caller.mailer]").unwrap();
    let end = at + service[at..].find("[caller.analyst]").unwrap();
    fs::write(&proxy.file, format!("{}{}", &service[..at], &service[end..])).unwrap();
    let policy_file = proxy.folder.path().join("policy.toml");
    let policy = fs::read_to_string(&policy_file).unwrap();
    fs::write(&policy_file, policy.replace("callers = [\"mailer\"]", "callers = []")).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ask().await, (401, "caller-unknown".to_owned()));
}

#[tokio::test]
async fn t19_rotation_seals_anew_and_still_opens_the_old() {
    let proxy = Setup::embedded().start().await;
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    let kid = async |id: &str| {
        let stored = proxy.database(Method::GET, &format!("/customers/{id}"), "").await.json();
        stored["name"].as_str().unwrap().split('.').nth(2).unwrap().to_owned()
    };
    let old = kid("c-1").await;
    let settings = config::load(&proxy.file).unwrap();
    keys::rotate(&settings.keys, &LineName::Seal, &SystemClock).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON.replace("c-1", "c-2")).await;
    let new = kid("c-2").await;
    assert_ne!(old, new);
    for id in ["c-1", "c-2"] {
        let answer = proxy.ask("shipping", "delivery", Method::GET, &format!("/customers/{id}"), "").await;
        assert_eq!(answer.json()["name"], "Mei Tanaka", "{id}");
    }
    // An older ring than this node has seen is refused, and the one in force stays.
    let ring = proxy.folder.path().join("keys/ring.json");
    let current = fs::read(&ring).unwrap();
    let fresh = Setup::embedded().files();
    fs::copy(fresh.0.path().join("keys/ring.json"), &ring).unwrap();
    assert!(proxy.running.as_ref().unwrap().reload(&proxy.file).is_err());
    fs::write(&ring, current).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
}

#[tokio::test]
async fn a_rolled_back_ring_is_refused() {
    let proxy = Setup::embedded().start().await;
    let ring = proxy.folder.path().join("keys/ring.json");
    let before = fs::read(&ring).unwrap();
    let settings = config::load(&proxy.file).unwrap();
    keys::rotate(&settings.keys, &LineName::Seal, &SystemClock).unwrap();
    let running = proxy.running.as_ref().unwrap();
    running.reload(&proxy.file).unwrap();
    fs::write(&ring, before).unwrap();
    let error = running.reload(&proxy.file).unwrap_err().to_string();
    assert!(error.contains("revision"), "{error}");
}

#[tokio::test]
async fn t29_nothing_that_writes_is_ever_sent_twice() {
    // A database that takes each request and closes the connection without a word.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&taken);
    tokio::task::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 8192];
            if tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await.unwrap_or(0) > 0 {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            }
        }
    });
    let proxy = Setup::rest(address).start().await;
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    assert_eq!(answer.outcome(), (502, "database-unavailable".to_owned()));
    assert_eq!(taken.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn t25_no_audit_no_reveal_on_a_full_disk() {
    // 256 rows of different people: an event of some kilobytes each, so that a small limit is soon reached.
    let rows: Vec<String> = (0..256).map(|at| format!(r#"{{"id":"c-{at}","name":null,"phone":null}}"#)).collect();
    let list = format!("[{}]", rows.join(","));
    let store = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let kept = std::sync::Arc::clone(&store);
    let stub = Stub::start(move |seen| match seen.method {
        Method::POST => {
            *kept.lock().unwrap() = String::from_utf8(seen.body.to_vec()).unwrap();
            StubReply::json(201, "[]")
        }
        _ => StubReply::json(200, kept.lock().unwrap().clone()),
    })
    .await;
    let (folder, file) = Setup::rest(stub.address).files();
    // Writes beyond 4 MiB of one file fail, as on a full disk; the signal that goes with it is ignored.
    let process = Process::start(&file, "trap '' XFSZ; ulimit -f 8192;");
    let address = process.address.parse().unwrap();
    let credential = Proxy::credential("shop");
    let headers = |purpose| {
        [("sudare-credential", credential.clone()), ("data-purpose", purpose), ("content-type", "application/json".to_owned())]
    };
    let ask = async |method: Method, purpose: &str, body: String| {
        let owned = headers(purpose.to_owned());
        let headers: Vec<_> = owned.iter().map(|(name, value)| (*name, value.as_str())).collect();
        send(address, method, "/customers", &headers, body).await.unwrap()
    };
    let people = list.replace("null,\"phone\":null", "\"Mei Tanaka\"");
    assert_eq!(ask(Method::POST, "registration", people.clone()).await.status, 201);
    let mut refused = None;
    for _ in 0..3_000 {
        let answer = ask(Method::GET, "account", String::new()).await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
        assert!(answer.text().contains("Mei Tanaka"));
    }
    let refused = refused.expect("the limit is reached");
    assert_eq!(refused.outcome(), (503, "audit-unavailable".to_owned()));
    assert!(!refused.text().contains("Mei"));
    let writes = stub.seen().iter().filter(|seen| seen.method == Method::POST).count();
    assert_eq!(ask(Method::POST, "registration", people).await.outcome(), (503, "audit-unavailable".to_owned()));
    assert_eq!(stub.seen().iter().filter(|seen| seen.method == Method::POST).count(), writes, "nothing unrecorded is stored");

    // What was recorded stays whole.
    let settings = config::load(&file).unwrap();
    let keys = keys::KeyRing::open(&settings.keys).unwrap().audit_keys().unwrap();
    audit::verify(&folder.path().join("data/audit"), &keys, &audit::Given::default()).unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn serve_prints_where_it_listens_reloads_on_hup_and_drains_on_term() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let (folder, file) = Setup::rest(stub.address).files();
    let mut process = Process::start(&file, "");
    let address = process.address.parse().unwrap();
    let credential = Proxy::credential("mailer");
    let ask = async || {
        let headers = [("sudare-credential", credential.as_str()), ("data-purpose", "marketing")];
        send(address, Method::GET, "/customers", &headers, "").await.unwrap()
    };
    assert_eq!(ask().await.headers["data-view"], "purpose=marketing, masked=(name)");
    let policy_file = folder.path().join("policy.toml");
    let policy = fs::read_to_string(&policy_file).unwrap();
    fs::write(&policy_file, policy.replace("reveal  = { name = \"masked\" }", "reveal  = {}")).unwrap();
    let signal =
        |name: &str| assert!(Command::new("kill").args([name, &process.child.id().to_string()]).status().unwrap().success());
    signal("-HUP");
    let mut view = String::new();
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        ask().await.headers["data-view"].to_str().unwrap().clone_into(&mut view);
        if view == "purpose=marketing" {
            break;
        }
    }
    assert_eq!(view, "purpose=marketing");
    signal("-TERM");
    for _ in 0..100 {
        if let Some(status) = process.child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("still running 5 s after SIGTERM");
}

#[tokio::test]
async fn the_admin_listener_tells_health_readiness_and_metrics() {
    let proxy = Setup::embedded().start().await;
    let Some(config::Endpoint::Tcp(admin)) = proxy.running.as_ref().unwrap().admin().cloned() else {
        panic!("an admin listener")
    };
    proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    proxy.ask("shipping", "delivery", Method::GET, "/customers/c-1", "").await;
    let get = async |path: &str| send(admin, Method::GET, path, &[], "").await.unwrap();
    assert_eq!((get("/healthz").await.status.as_u16(), get("/readyz").await.status.as_u16()), (200, 200));
    let metrics = get("/metrics").await.text();
    assert!(metrics.ends_with("# EOF\n"), "OpenMetrics");
    assert!(metrics.lines().any(|line| line.contains("id-card") && line.contains("masked") && line.ends_with(" 1")), "{metrics}");
    assert_eq!(get("/customers/c-1").await.status, 404, "the admin listener is not a way to documents");
    assert_eq!(send(admin, Method::POST, "/metrics", &[], "").await.unwrap().status, 405);
}

#[tokio::test]
async fn over_a_unix_socket_a_caller_is_known_by_its_user_id() {
    let (folder, file) = Setup::embedded().files();
    let socket = folder.path().join("run/proxy.sock");
    let text = fs::read_to_string(&file).unwrap();
    let at = text.find("[caller.helpdesk]").unwrap();
    let line = at + text[at..].find("credential_sha256").unwrap();
    let end = line + text[line..].find('\n').unwrap();
    let uid = rustix::process::getuid().as_raw();
    let text = format!("{}uid = {uid}{}", &text[..line], &text[end..]);
    fs::write(&file, text.replacen("address = \"127.0.0.1:0\"", "address = \"unix:run/proxy.sock\"", 1)).unwrap();
    let running = sudare::app::start(config::load(&file).unwrap_or_else(|findings| panic!("{findings}"))).unwrap();

    let ask = async |purpose: &str, credential: Option<&str>| {
        let stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
        let driver = tokio::task::spawn(connection);
        let mut request = http::Request::get("/customers").header("host", "x").header("data-purpose", purpose);
        if let Some(credential) = credential {
            request = request.header("sudare-credential", credential);
        }
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        let status = sender.send_request(request).await.unwrap().status().as_u16();
        driver.abort();
        status
    };
    assert_eq!(ask("support", None).await, 200, "this process's user id is helpdesk");
    assert_eq!(ask("delivery", None).await, 403, "and helpdesk has no other purpose");
    assert_eq!(ask("delivery", Some(&Proxy::credential("shipping"))).await, 200, "a credential says otherwise");
    assert_eq!(ask("support", Some("helpdesk.wrong")).await, 401, "a wrong credential is not made good by the user id");
    running.stop().await;
    assert!(!socket.exists(), "the socket file is removed");
}
