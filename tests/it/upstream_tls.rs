//! T21: the database over TLS. Whom the proxy believes, what it presents, how a reply ends, and what a reload changes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, SupportedProtocolVersion};
use sudare::net::tls::pem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::{Answer, Files, PERSON, Pki, Process, Proxy, Setup, send};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// How a reply's connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Not at all: the next request is read.
    Stays,
    /// As TLS wants it.
    Closes,
    /// The TCP connection ends, and TLS is not told: an attacker on the way can do as much.
    Cut,
}

/// A database that speaks TLS and says what it is told to.
struct TlsDatabase {
    address: SocketAddr,
    /// The last of them again and again.
    says: Arc<Mutex<VecDeque<(String, End)>>>,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    heard: Arc<Mutex<Vec<String>>>,
    /// Connections that came so far, and those of them whose peer has ended them.
    came: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
}

impl TlsDatabase {
    async fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let database = Self {
            address: listener.local_addr().unwrap(),
            says: Arc::new(Mutex::new([(OK.to_owned(), End::Stays)].into())),
            config: Arc::new(Mutex::new(Arc::new(config))),
            heard: Arc::default(),
            came: Arc::default(),
            ended: Arc::default(),
        };
        let (says, config, heard) = (Arc::clone(&database.says), Arc::clone(&database.config), Arc::clone(&database.heard));
        let (came, ended) = (Arc::clone(&database.came), Arc::clone(&database.ended));
        tokio::task::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                came.fetch_add(1, Ordering::SeqCst);
                let acceptor = TlsAcceptor::from(Arc::clone(&config.lock().unwrap()));
                let (says, heard, ended) = (Arc::clone(&says), Arc::clone(&heard), Arc::clone(&ended));
                tokio::task::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, &says, &heard).await;
                    }
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        database
    }

    fn says(&self, text: &str, end: End) {
        self.says_in_turn(&[(text, end)]);
    }

    fn says_in_turn(&self, texts: &[(&str, End)]) {
        *self.says.lock().unwrap() = texts.iter().map(|(text, end)| ((*text).to_owned(), *end)).collect();
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

async fn converse(mut stream: TlsStream<TcpStream>, says: &Mutex<VecDeque<(String, End)>>, heard: &Mutex<Vec<String>>) {
    while let Some(request) = read_request(&mut stream).await {
        heard.lock().unwrap().push(request);
        let (text, end) = {
            let mut says = says.lock().unwrap();
            if says.len() > 1 { says.pop_front().unwrap() } else { says[0].clone() }
        };
        if stream.write_all(text.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        match end {
            End::Stays => {}
            End::Closes => return drop(stream.shutdown().await),
            End::Cut => return,
        }
    }
}

async fn read_request(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
    }
}

fn server(files: &Files, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(pem::certificates(&files.certificate).unwrap(), pem::private_key(&files.key).unwrap())
        .unwrap()
}

/// As [`server`], for clients only whose certificate the authority of this file signed.
fn exclusive(files: &Files, clients: &Path, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(pem::authorities(clients).unwrap());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(pem::certificates(&files.certificate).unwrap(), pem::private_key(&files.key).unwrap())
        .unwrap()
}

fn believing(ca: &Path) -> String {
    format!("tls = {{ ca = \"{}\" }}", ca.display())
}

async fn proxy(database: &TlsDatabase, tls: &str) -> Proxy {
    Setup::at(database.url()).upstream(tls).start().await
}

async fn pass(proxy: &Proxy, path: &str) -> Result<Answer, hyper::Error> {
    send(proxy.address, Method::GET, path, &[], "").await
}

/// What `/readyz` says, of the database.
async fn readiness(proxy: &Proxy) -> (u16, String) {
    let Some(sudare::config::Endpoint::Tcp(admin)) = proxy.running.as_ref().unwrap().admin().cloned() else {
        panic!("an admin listener")
    };
    let answer = send(admin, Method::GET, "/readyz", &[], "").await.unwrap();
    (answer.status.as_u16(), answer.text())
}

/// The proxy does not ask this database anything, and says why: the client in general, the operator in full.
async fn refuses(what: &str, database: &TlsDatabase, tls: &str, why: &str) {
    let proxy = proxy(database, tls).await;
    for path in ["/customers/c-1", "/other"] {
        let answer = proxy.ask("shop", "account", Method::GET, path, "").await;
        assert_eq!(answer.outcome(), (502, "database-unavailable".to_owned()), "{what}: {}", answer.text());
        assert!(!answer.text().contains("certificate"), "{what}: {}", answer.text());
    }
    let (status, text) = readiness(&proxy).await;
    assert!(status == 503 && text.contains(why), "{what}: {text} should say: {why}");
    assert!(database.heard.lock().unwrap().is_empty(), "{what}: no request was sent");
}

#[tokio::test]
async fn t21_a_database_that_is_trusted_is_asked_over_tls_of_either_version() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path(), "db");
    let ca = folder.path().join("db-ca.pem");
    let cases = [
        (pki.server("ip", &["127.0.0.1"]), String::new()),
        (pki.server("named", &["db.internal"]), ", server_name = \"db.internal\"".to_owned()),
    ];
    for (files, name) in &cases {
        for version in BOTH {
            let database = TlsDatabase::start(server(files, &[version])).await;
            let proxy = proxy(&database, &format!("tls = {{ ca = \"{}\"{name} }}", ca.display())).await;
            database.says("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", End::Stays);
            let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
            database.says(OK, End::Stays);
            for _ in 0..3 {
                assert_eq!(pass(&proxy, "/other").await.unwrap().text(), "{}");
            }
            assert_eq!(database.came.load(Ordering::SeqCst), 1, "connections are kept");
            assert!(!database.heard.lock().unwrap()[0].contains("Mei Tanaka"));
            assert_eq!(readiness(&proxy).await, (200, "ready\n".to_owned()));
        }
    }
}

#[tokio::test]
async fn t21_a_database_that_is_not_trusted_is_asked_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (pki, other) = (Pki::new(folder.path(), "db"), Pki::new(folder.path(), "other"));
    let ca = folder.path().join("db-ca.pem");
    let params = |names: &[&str]| {
        let mut params = rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params
    };
    let mut expired = params(&["127.0.0.1"]);
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let mut early = params(&["127.0.0.1"]);
    early.not_before = rcgen::date_time_ymd(3000, 1, 1);
    let mut nameless = params(&[]);
    nameless.distinguished_name.push(rcgen::DnType::CommonName, "127.0.0.1");
    let mut for_clients = params(&["127.0.0.1"]);
    for_clients.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    // A certificate that signed itself, of the right name.
    let alone = {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params(&["127.0.0.1"]).self_signed(&key).unwrap();
        let files = Files { certificate: folder.path().join("alone.pem"), key: folder.path().join("alone.key") };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    };
    for (what, files, why) in [
        ("another address", pki.server("elsewhere", &["127.0.0.2"]), "not for 127.0.0.1, but for"),
        ("another name", pki.server("name", &["localhost"]), "set server_name in [upstream] tls"),
        ("another authority", other.server("foreign", &["127.0.0.1"]), "no authority that is believed signed its certificate"),
        ("its own authority", alone, "no authority that is believed signed its certificate"),
        ("expired", pki.issue("expired", &expired), "its certificate has expired"),
        ("not yet valid", pki.issue("early", &early), "its certificate is not valid yet"),
        ("a common name only", pki.issue("nameless", &nameless), "a common name does not count"),
        ("a client's certificate", pki.issue("for-clients", &for_clients), "its certificate is not for servers"),
    ] {
        for version in BOTH {
            let database = TlsDatabase::start(server(&files, &[version])).await;
            refuses(what, &database, &believing(&ca), why).await;
        }
    }
    // Right in all but the name that is asked for.
    let database = TlsDatabase::start(server(&pki.server("right", &["127.0.0.1"]), BOTH)).await;
    let tls = format!("tls = {{ ca = \"{}\", server_name = \"db.internal\" }}", ca.display());
    refuses("server_name", &database, &tls, "not for db.internal, but for").await;
}

#[tokio::test]
async fn t21_what_is_not_tls_is_told_and_sent_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let _pki = Pki::new(folder.path(), "db");
    let ca = folder.path().join("db-ca.pem");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    tokio::task::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let log = Arc::clone(&log);
            tokio::task::spawn(async move {
                let mut bytes = vec![0; 4096];
                let count = stream.read(&mut bytes).await.unwrap_or(0);
                log.lock().unwrap().extend_from_slice(&bytes[..count]);
                let _sent = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
                let _gone = stream.read(&mut bytes).await;
            });
        }
    });
    let proxy = Setup::at(format!("https://{address}")).upstream(&believing(&ca)).start().await;
    let answer = proxy.ask("shop", "account", Method::PUT, "/customers/c-1", PERSON).await;
    assert_eq!(answer.outcome(), (502, "database-unavailable".to_owned()), "{}", answer.text());
    let (_, why) = readiness(&proxy).await;
    assert!(why.contains("does not speak TLS"), "{why}");
    assert!(!String::from_utf8_lossy(&heard.lock().unwrap()).contains("HTTP"), "nothing but the beginning of a handshake");

    // One that says nothing at all is given up in time.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let proxy = Setup::at(url).upstream(&format!("connect_timeout_ms = 200\n{}", believing(&ca))).start().await;
    let asked = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "");
    let answer = tokio::time::timeout(Duration::from_secs(30), asked).await.expect("the handshake has a limit");
    assert_eq!(answer.outcome(), (502, "database-unavailable".to_owned()));
}

#[tokio::test]
async fn t21_a_database_that_wants_a_certificate_gets_ours_or_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (pki, other) = (Pki::new(folder.path(), "db"), Pki::new(folder.path(), "other"));
    let ca = folder.path().join("db-ca.pem");
    let files = pki.server("server", &["127.0.0.1"]);
    let ours = pki.client("ours", &[], "Shop", "sudare");
    let foreign = other.client("foreign", &[], "Shop", "sudare");
    let with = |files: &Files| {
        format!(
            "tls = {{ ca = \"{}\", certificate = \"{}\", key = \"{}\" }}",
            ca.display(),
            files.certificate.display(),
            files.key.display()
        )
    };
    for version in BOTH {
        let database = TlsDatabase::start(exclusive(&files, &ca, &[version])).await;
        refuses("no certificate of ours", &database, &believing(&ca), "set `certificate` and `key` in [upstream] tls").await;
        refuses("one it does not accept", &database, &with(&foreign), "in [upstream] tls").await;
        let proxy = proxy(&database, &with(&ours)).await;
        assert_eq!(pass(&proxy, "/other").await.unwrap().text(), "{}");
        assert_eq!(readiness(&proxy).await.0, 200);
    }
}

/// An end of TCP that TLS was not told of may be an attacker's: where nothing else says how long a body is, it is no end.
#[tokio::test]
async fn t21_a_body_that_is_cut_over_tls_is_never_whole() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path(), "db");
    let database = TlsDatabase::start(server(&pki.server("server", &["127.0.0.1"]), BOTH)).await;
    let proxy = proxy(&database, &believing(&folder.path().join("db-ca.pem"))).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for (what, rest, end, whole) in [
        ("no length, closed as TLS wants it", "Connection: close\r\n\r\n[1,2]", End::Closes, true),
        ("no length, cut", "Connection: close\r\n\r\n[1,2]", End::Cut, false),
        ("a length, closed before", "Content-Length: 9\r\n\r\n[1,2]", End::Closes, false),
        ("a length, cut before", "Content-Length: 9\r\n\r\n[1,2]", End::Cut, false),
        ("chunks, closed before their end", "Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n", End::Closes, false),
        ("chunks, cut before their end", "Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n", End::Cut, false),
        ("a length, cut after it", "Content-Length: 5\r\n\r\n[1,2]", End::Cut, true),
        ("chunks, cut after their end", "Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n0\r\n\r\n", End::Cut, true),
    ] {
        database.says(&format!("{head}{rest}"), end);
        let passed = pass(&proxy, "/other").await;
        assert_eq!(passed.as_ref().is_ok_and(|answer| answer.text() == "[1,2]"), whole, "{what}: {passed:?}");
        assert!(whole || passed.is_err(), "{what}: it had begun, so it is reset: {passed:?}");
        let read = proxy.ask_with("shop", "account", Method::GET, "/customers", &[], "").await;
        let read_whole = read.as_ref().is_ok_and(|answer| answer.status == 200);
        assert!(!read_whole || whole, "{what}: {read:?}");
        database.says(OK, End::Stays);
        assert_eq!(pass(&proxy, "/other").await.unwrap().text(), "{}", "after {what}");
    }
}

#[tokio::test]
async fn t29_over_tls_only_a_read_whose_pooled_connection_was_closed_goes_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path(), "db");
    let ca = folder.path().join("db-ca.pem");
    for version in BOTH {
        for (method, sent) in [(Method::GET, 3), (Method::POST, 2), (Method::PUT, 2), (Method::DELETE, 2)] {
            let database = TlsDatabase::start(server(&pki.server("server", &["127.0.0.1"]), &[version])).await;
            let proxy = proxy(&database, &believing(&ca)).await;
            pass(&proxy, "/other").await.unwrap();
            // The next one on this connection is read, and not a byte of a reply comes.
            database.says_in_turn(&[("", End::Cut), (OK, End::Stays)]);
            let answer = send(proxy.address, method.clone(), "/other", &[], "").await.unwrap();
            let heard = database.heard.lock().unwrap().len();
            let status = if sent == 3 { 200 } else { 502 };
            assert_eq!((answer.status.as_u16(), heard), (status, sent), "{method}");
        }
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waited).await.unwrap_or_else(|_| panic!("{what}"));
}

/// The same path with another content is another database as far as trust goes.
#[tokio::test]
async fn t30_a_reload_takes_new_authorities_and_certificates_from_the_same_paths() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Pki::new(folder.path(), "old"), Pki::new(folder.path(), "new"));
    let ca = folder.path().join("ca.pem");
    std::fs::copy(folder.path().join("old-ca.pem"), &ca).unwrap();
    let ours = old.client("ours", &[], "Shop", "sudare");
    let database =
        TlsDatabase::start(exclusive(&old.server("server", &["127.0.0.1"]), &folder.path().join("old-ca.pem"), BOTH)).await;
    let tls = format!(
        "tls = {{ ca = \"{}\", certificate = \"{}\", key = \"{}\" }}",
        ca.display(),
        ours.certificate.display(),
        ours.key.display()
    );
    let mut proxy = proxy(&database, &tls).await;
    assert_eq!(pass(&proxy, "/other").await.unwrap().status, 200);
    let settings = sudare::config::load(&proxy.file).unwrap();
    assert_eq!(settings.upstream.files(), [ca.clone(), ours.certificate.clone(), ours.key.clone()]);

    // Nothing changed: connections are kept.
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    assert_eq!(pass(&proxy, "/other").await.unwrap().status, 200);
    assert_eq!((database.came.load(Ordering::SeqCst), database.ended.load(Ordering::SeqCst)), (1, 0));

    // A certificate of ours that is half replaced is refused, and the old state stays.
    let renewed = new.client("renewed", &[], "Shop", "sudare");
    std::fs::copy(&renewed.certificate, &ours.certificate).unwrap();
    let error = proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap_err().to_string();
    assert!(error.contains("the key does not belong to the certificate"), "{error}");
    assert_eq!(pass(&proxy, "/other").await.unwrap().status, 200);
    assert_eq!(database.came.load(Ordering::SeqCst), 1);

    // Both sides move to the new authority; an exchange under way ends as it began.
    database.says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst", End::Stays);
    let mut slow = proxy.open("shop", "account", Method::GET, "/other", "").await;
    assert_eq!(slow.next(Duration::from_secs(30)).await, crate::support::Came::Text("first".to_owned()));
    std::fs::copy(&renewed.key, &ours.key).unwrap();
    std::fs::copy(folder.path().join("new-ca.pem"), &ca).unwrap();
    *database.config.lock().unwrap() =
        Arc::new(exclusive(&new.server("server2", &["127.0.0.1"]), &folder.path().join("new-ca.pem"), BOTH));
    database.says(OK, End::Stays);
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    assert_eq!(pass(&proxy, "/other").await.unwrap().text(), "{}");
    assert_eq!(database.came.load(Ordering::SeqCst), 2, "a new connection");
    assert_eq!(slow.next(Duration::from_millis(50)).await, crate::support::Came::Nothing, "still under way");
    drop(slow);
    until("the old connection ends with its exchange", || database.ended.load(Ordering::SeqCst) == 1).await;

    // The old authority is not believed any more.
    *database.config.lock().unwrap() = Arc::new(server(&old.server("server3", &["127.0.0.1"]), BOTH));
    database.says(OK, End::Closes);
    assert_eq!(pass(&proxy, "/other").await.unwrap().text(), "{}");
    until("the connection ends", || database.ended.load(Ordering::SeqCst) == 2).await;
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
    assert_eq!(answer.outcome(), (502, "database-unavailable".to_owned()));
    proxy.stop().await;
}

#[test]
fn certificates_of_tests_are_what_they_say() {
    use sudare::net::tls::dates::Dates;
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path(), "db");
    let mut params = rcgen::CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2010, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let files = pki.issue("old", &params);
    let certificate = pem::certificates(&files.certificate).unwrap().remove(0);
    let at = |year: u64| Dates::of(&certificate, (year - 1970) * 31_557_600_000);
    assert_eq!(at(2015), Dates::Valid);
    assert_eq!(at(2022), Dates::Expired("2020-01-01T00:00:00Z".to_owned()));
    assert_eq!(at(2005), Dates::NotYet("2010-01-01T00:00:00Z".to_owned()));
    assert_eq!(Dates::of(&CertificateDer::from(vec![1, 2]), 0), Dates::Unreadable);
}

/// Without `ca` the authorities of the system are believed, and only they.
#[tokio::test]
async fn t21_the_systems_authorities_are_believed_where_no_other_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path(), "system");
    let database = TlsDatabase::start(server(&pki.server("server", &["127.0.0.1"]), BOTH)).await;
    let (_files, file) = Setup::at(database.url()).files();
    for (authority, status) in [("system", 200), ("another", 502)] {
        let _other = (authority != "system").then(|| Pki::new(folder.path(), authority));
        let believed = folder.path().join(format!("{authority}-ca.pem"));
        let process = Process::start(&file, &format!("export SSL_CERT_FILE='{}';", believed.display()));
        let answer = send(process.address.parse().unwrap(), Method::GET, "/other", &[], "").await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}
