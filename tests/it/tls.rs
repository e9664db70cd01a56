//! TLS on the listener: who is let in by which certificate, and what becomes of connections when certificates change.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SerialNumber, date_time_ymd};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sudare::app::{self, Running};
use sudare::base::CallerName;
use sudare::config::{self, Endpoint};
use sudare::net::tls::pem;
use sudare::{audit, keys};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Answer, Files, PERSON, Pki, Process, Proxy, Setup, events, exchange_raw};

mod bound;
mod reload;

const SHIPPING: &str = "spiffe://shop.example/shipping";
/// Long enough for any machine; nothing waits for it that goes well.
const GENEROUS: Duration = Duration::from_mins(2);

/// A proxy with TLS, its authority, and the authority of its clients.
struct Front {
    folder: tempfile::TempDir,
    file: PathBuf,
    address: SocketAddr,
    running: Running,
    clients: Pki,
    server: Pki,
}

/// The files of one that has not started.
struct Ready {
    folder: tempfile::TempDir,
    file: PathBuf,
    clients: Pki,
    server: Pki,
}

/// Writes what a proxy with TLS needs. Callers, where clients have certificates: `shipping` by SPIFFE id, `helpdesk` by subject, the others by credential.
fn write(members: &str, more: &str) -> Ready {
    write_for(Setup::embedded().more(more), members)
}

fn write_for(setup: Setup, members: &str) -> Ready {
    let (folder, file) = setup.files();
    let clients = Pki::new(folder.path(), "clients");
    let server = Pki::new(folder.path(), "server");
    server.server("server", &["localhost"]);
    let text = fs::read_to_string(&file).unwrap();
    let text = if members.contains("client_ca") {
        let text = known_by(&text, "shipping", &format!("spiffe = \"{SHIPPING}\""));
        known_by(&text, "helpdesk", "subject = \"CN=helpdesk,O=Shop\"")
    } else {
        text
    };
    let tls = format!("[listen.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n{members}\n[upstream]");
    fs::write(&file, text.replacen("[upstream]", &tls, 1)).unwrap();
    Ready { folder, file, clients, server }
}

impl Ready {
    /// Changes one place of the configuration.
    fn with(self, from: &str, to: &str) -> Self {
        let text = fs::read_to_string(&self.file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&self.file, text.replacen(from, to, 1)).unwrap();
        self
    }

    #[expect(clippy::unused_async, reason = "only to be called on a runtime")]
    async fn start(self) -> Front {
        let Self { folder, file, clients, server } = self;
        let settings = config::load(&file).unwrap_or_else(|findings| panic!("{findings}"));
        let running = app::start(settings).unwrap_or_else(|error| panic!("{error}"));
        let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
        Front { folder, file, address, running, clients, server }
    }
}

/// Replaces the credential of a caller.
fn known_by(text: &str, caller: &str, means: &str) -> String {
    let at = text.find(&format!("[caller.{caller}]")).unwrap();
    let line = at + text[at..].find("credential_sha256").unwrap();
    let end = line + text[line..].find('\n').unwrap();
    format!("{}{means}{}", &text[..line], &text[end..])
}

const MUTUAL: &str = "client_ca = \"clients-ca.pem\"";
const OPTIONAL: &str = "client_ca = \"clients-ca.pem\"\nclients = \"optional\"";

impl Front {
    async fn start(members: &str, more: &str) -> Self {
        write(members, more).start().await
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn client(&self, files: Option<&Files>) -> Arc<ClientConfig> {
        client(&self.path("server-ca.pem"), files)
    }

    async fn connect(&self, files: Option<&Files>) -> std::io::Result<TlsStream<TcpStream>> {
        connect(self.address, self.client(files)).await
    }

    /// One request with this certificate, on a connection of its own. `None`: there was no answer.
    async fn ask(&self, files: Option<&Files>, purpose: &str, credential: Option<&str>) -> Option<Answer> {
        let mut client = Client::over(self.connect(files).await.ok()?).await?;
        client.ask(purpose, credential).await
    }

    /// Waits until handshakes have failed so often for a reason.
    async fn refused(&self, word: &str, times: u32) {
        let line = format!("sudare_tls_refusals_total{{reason=\"{word}\"}} {times}");
        let counted = async {
            while !self.running.metrics().encode().lines().any(|printed| printed == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let counted = tokio::time::timeout(GENEROUS, counted).await;
        let printed = self.running.metrics().encode();
        let refusals: Vec<_> = printed.lines().filter(|printed| printed.contains("tls_refusals")).collect();
        assert!(counted.is_ok(), "no {line} in {refusals:?}");
    }

    /// Stores [`PERSON`] over a connection with this certificate, as `shop` by its credential.
    async fn store(&self, files: Option<&Files>) {
        let mut client = Client::over(self.connect(files).await.unwrap()).await.unwrap();
        let request = request(Method::POST, "/customers", "registration", Some(&Proxy::credential("shop")), PERSON);
        assert_eq!(client.send(request).await.unwrap().status, 201);
    }
}

fn client(authority: &Path, files: Option<&Files>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(pem::authorities(authority).unwrap());
    Arc::new(match files {
        None => builder.with_no_client_auth(),
        Some(files) => builder
            .with_client_auth_cert(pem::certificates(&files.certificate).unwrap(), pem::private_key(&files.key).unwrap())
            .unwrap(),
    })
}

async fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    handshake(TcpStream::connect(address).await?, config).await
}

async fn handshake(stream: TcpStream, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    tokio::time::timeout(GENEROUS, TlsConnector::from(config).connect(name, stream)).await.expect("a handshake or its end")
}

fn request(method: Method, path: &str, purpose: &str, credential: Option<&str>, body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost").header("data-purpose", purpose);
    if let Some(credential) = credential {
        request = request.header("sudare-credential", credential);
    }
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

/// A connection that is kept.
struct Client {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Client {
    async fn over(stream: TlsStream<TcpStream>) -> Option<Self> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
        let driver = tokio::task::spawn(async move {
            let _ended = connection.await;
        });
        Some(Self { sender, driver })
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Option<Answer> {
        let answered = async {
            self.sender.ready().await.ok()?;
            let (parts, body) = self.sender.send_request(request).await.ok()?.into_parts();
            Some(Answer { status: parts.status, headers: parts.headers, body: body.collect().await.ok()?.to_bytes() })
        };
        tokio::time::timeout(GENEROUS, answered).await.expect("an answer or an end")
    }

    async fn ask(&mut self, purpose: &str, credential: Option<&str>) -> Option<Answer> {
        self.send(request(Method::GET, "/customers/c-1", purpose, credential, "")).await
    }

    /// Waits until the other side has closed it.
    async fn closed(&mut self) {
        let closed = async {
            while self.sender.ready().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(GENEROUS, closed).await.expect("the connection is closed");
    }
}

#[tokio::test]
async fn over_tls_credentials_work_as_in_clear() {
    let front = Front::start("", "").await;
    front.store(None).await;
    let answer = front.ask(None, "account", Some(&Proxy::credential("shop"))).await.unwrap();
    assert_eq!(answer.json()["name"], "Mei Tanaka");
    let answer = front.ask(None, "account", None).await.unwrap();
    assert_eq!(answer.outcome(), (401, "caller-unknown".to_owned()));
    // The guard stands behind TLS as it does in clear.
    let mut stream = front.connect(None).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\nHost: localhost\n\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("framing-refused: bare-line-feed"), "{text}");
}

#[tokio::test]
async fn a_certificate_names_its_caller_end_to_end() {
    let front = Front::start(MUTUAL, "").await;
    let shipping = front.clients.client("shipping", &[SHIPPING], "", "x509 subject of no account");
    let helpdesk = front.clients.client("helpdesk", &[], "Shop", "helpdesk");
    front.store(Some(&shipping)).await;
    let answer = front.ask(Some(&shipping), "delivery", None).await.unwrap();
    assert_eq!((answer.json()["name"].as_str(), answer.json()["id_card"].as_str()), (Some("Mei Tanaka"), Some("••••9018")));
    assert_eq!(front.ask(Some(&helpdesk), "support", None).await.unwrap().json()["name"], "Mei Tanaka");
    // Each has its own purposes and no others.
    let answer = front.ask(Some(&helpdesk), "delivery", None).await.unwrap();
    assert_eq!(answer.outcome(), (403, "purpose-refused".to_owned()));
    // A credential that is sent decides alone.
    let other = front.ask(Some(&shipping), "account", Some(&Proxy::credential("shop"))).await.unwrap();
    assert_eq!(other.json()["id_card"], "123456789018");
    let wrong = front.ask(Some(&shipping), "delivery", Some("shop.wrong")).await.unwrap();
    assert_eq!(wrong.outcome(), (401, "caller-unknown".to_owned()));

    let dir = front.path("data/audit");
    let audit_keys = keys::KeyRing::open(&config::load(&front.file).unwrap().keys).unwrap().audit_keys().unwrap();
    for caller in ["shipping", "helpdesk"] {
        let filter = audit::Filter { caller: Some(CallerName::new(caller)), ..audit::Filter::default() };
        assert!(!events(&dir, &audit_keys, &filter).is_empty(), "{caller} is named in the audit");
    }
}

#[tokio::test]
async fn a_connection_over_tls_rests_and_its_client_is_known_afterwards() {
    let front = Front::start(MUTUAL, "").await;
    let shipping = front.clients.client("shipping", &[SHIPPING], "", "");
    front.store(Some(&shipping)).await;
    let mut client = Client::over(front.connect(Some(&shipping)).await.unwrap()).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.ask("delivery", None).await.unwrap().json()["name"], "Mei Tanaka");
        let rests = async {
            while !front.running.metrics().encode().contains("sudare_connections_awake 0\n") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(GENEROUS, rests).await.expect("it rests");
    }
}

/// A certificate that is wrong in one way, and the word for it.
fn wrong_certificates(clients: &Pki, folder: &Path) -> Vec<(&'static str, Files, &'static str)> {
    let shipping = || Pki::client_params(&[SHIPPING], "Shop", "shipping");
    let with = |file: &str, change: &dyn Fn(&mut CertificateParams)| {
        let mut params = shipping();
        change(&mut params);
        clients.issue(file, &params)
    };
    let key = KeyPair::generate().unwrap();
    let own = Files { certificate: folder.join("own.pem"), key: folder.join("own.key") };
    fs::write(&own.certificate, shipping().self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&own.key, key.serialize_pem()).unwrap();
    vec![
        (
            "of another authority",
            Pki::new(folder, "other").client("foreign", &[SHIPPING], "Shop", "shipping"),
            "unknown-authority",
        ),
        // The same name as the right one, which is what the signature is looked up by.
        ("of an authority of the same name", namesake(folder).client("namesake", &[SHIPPING], "Shop", "shipping"), "certificate"),
        ("self-signed", own, "unknown-authority"),
        ("expired", with("expired", &|params| params.not_after = date_time_ymd(2024, 1, 1)), "expired"),
        ("not valid yet", with("early", &|params| params.not_before = date_time_ymd(4000, 1, 1)), "expired"),
        (
            "for servers only",
            with("server-only", &|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "certificate",
        ),
        (
            "an authority itself",
            with("authority", &|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained)),
            "certificate",
        ),
        ("revoked", with("revoked", &|params| params.serial_number = Some(SerialNumber::from(REVOKED))), "revoked"),
    ]
}

const REVOKED: u64 = 77;

/// Another authority `clients`, in a folder of its own.
fn namesake(folder: &Path) -> Pki {
    let folder = folder.join("namesake");
    fs::create_dir(&folder).unwrap();
    Pki::new(&folder, "clients")
}

/// With certificates optional, too: one that is presented must be right.
#[tokio::test]
async fn wrong_client_certificates_end_the_handshake() {
    for members in [MUTUAL, OPTIONAL] {
        let ready = write(&format!("{members}\nclient_crl = \"clients-crl.pem\""), "");
        ready.clients.revoke("clients-crl", &[REVOKED]);
        let front = ready.start().await;
        let mut counts = std::collections::BTreeMap::new();
        for (what, files, word) in wrong_certificates(&front.clients, front.folder.path()) {
            let answer = front.ask(Some(&files), "delivery", None).await;
            assert!(answer.is_none(), "{what}: {answer:?}");
            *counts.entry(word).or_insert(0) += 1;
            front.refused(word, counts[word]).await;
        }
        let right = front.clients.client("right", &[SHIPPING], "", "");
        assert_eq!(front.ask(Some(&right), "delivery", None).await.unwrap().status, 404, "nothing is stored, but it is known");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_required() {
    let front = Front::start(MUTUAL, "").await;
    assert!(front.ask(None, "account", Some(&Proxy::credential("shop"))).await.is_none());
    front.refused("no-certificate", 1).await;

    let front = Front::start(OPTIONAL, "").await;
    let answer = front.ask(None, "account", Some(&Proxy::credential("shop"))).await.unwrap();
    assert_eq!(answer.status, 404);
    let answer = front.ask(None, "delivery", None).await.unwrap();
    assert_eq!(answer.outcome(), (401, "caller-unknown".to_owned()));
    assert!(answer.text().contains("certificate"), "{}", answer.text());
}

#[tokio::test]
async fn a_verified_certificate_that_names_no_caller_is_401() {
    let front = Front::start(MUTUAL, "").await;
    let other = "spiffe://shop.example/other";
    let cases: [(&str, &[&str], &str, &str); 12] = [
        ("another path", &[other], "", "x"),
        ("a longer path", &["spiffe://shop.example/shipping/x"], "", "x"),
        ("another trust domain", &["spiffe://evil.example/shipping"], "", "x"),
        ("a trust domain with a port", &["spiffe://shop.example:443/shipping"], "", "x"),
        ("another case", &["spiffe://shop.example/Shipping"], "", "x"),
        ("another scheme", &["https://shop.example/shipping"], "", "x"),
        ("two ids", &[SHIPPING, other], "", "x"),
        ("an id and another URI", &[SHIPPING, "https://shop.example/shipping"], "", "x"),
        ("a subject in part", &[], "", "helpdesk"),
        ("a subject that looks like it", &[], "", "helpdesk,O=Shop"),
        ("a subject in another case", &[], "Shop", "Helpdesk"),
        ("a right subject beside an id, which alone counts", &[other], "Shop", "helpdesk"),
    ];
    for (what, uris, organisation, name) in cases {
        let files = front.clients.client("tried", uris, organisation, name);
        for purpose in ["delivery", "support"] {
            let answer = front.ask(Some(&files), purpose, None).await.unwrap();
            assert_eq!(answer.outcome(), (401, "caller-unknown".to_owned()), "{what}");
            assert!(answer.text().contains("certificate"), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn forwarded_certificates_are_not_believed() {
    let front = Front::start(OPTIONAL, "").await;
    let mut client = Client::over(front.connect(None).await.unwrap()).await.unwrap();
    let mut request = request(Method::GET, "/customers/c-1", "delivery", None, "");
    for (name, value) in [
        ("x-forwarded-client-cert", "URI=spiffe://shop.example/shipping"),
        ("x-ssl-client-s-dn", "CN=helpdesk,O=Shop"),
        ("client-cert", ":MIIB:"),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    assert_eq!(client.send(request).await.unwrap().outcome(), (401, "caller-unknown".to_owned()));
}

#[tokio::test]
async fn behind_a_load_balancer_a_certificate_counts_as_without() {
    let front = write(MUTUAL, "").with("[listen]", "[listen]\nproxy_protocol = [\"127.0.0.0/8\"]").start().await;
    let files = front.clients.client("shipping", &[SHIPPING], "", "x");
    // Version 2, PROXY, TCP over IPv4: from 192.0.2.7:5 to 192.0.2.8:6. The header stands before TLS.
    let header = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &[192, 0, 2, 7, 192, 0, 2, 8, 0, 5, 0, 6]].concat();
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(&header).await.unwrap();
    let mut client = Client::over(handshake(stream, front.client(Some(&files))).await.unwrap()).await.unwrap();
    assert_eq!(client.ask("delivery", None).await.unwrap().status, 404);
    assert_eq!(client.ask("support", None).await.unwrap().outcome(), (403, "purpose-refused".to_owned()));
    assert!(front.connect(Some(&files)).await.is_err(), "the load balancer must introduce its clients");
}

#[tokio::test]
async fn t24_a_handshake_that_stops_is_ended() {
    let front = Front::start("", "[limits]\nhandshake_timeout_ms = 300").await;
    // Silence, half a record, and a whole hello whose sender never goes on.
    for (count, bytes) in [(1, &b""[..]), (2, &b"\x16\x03\x01\x02\x00\x01"[..]), (3, &hello(&front)[..])] {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(GENEROUS, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the connection is closed");
        front.refused("timeout", count).await;
    }
}

/// The hello of a client that has the right authority.
fn hello(front: &Front) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(front.client(None), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn versions_before_1_2_are_refused() {
    let front = Front::start("", "").await;
    // A hello of TLS 1.1 as an old client sends it: no extensions, cipher suites that were good then.
    let body = [&[0x03, 0x02][..], &[7; 32], &[0], &[0, 4, 0xc0, 0x13, 0x00, 0x2f], &[1, 0]].concat();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let handshake = [&[1, 0, 0, length(&body)][..], &body].concat();
    let record = [&[22, 3, 1, 0, length(&handshake)][..], &handshake].concat();
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(GENEROUS, stream.read_to_end(&mut answer)).await.expect("an end").unwrap();
    assert_eq!((answer.first(), answer.get(5..)), (Some(&21), Some(&[2, 40][..])), "a fatal alert: handshake_failure");
    front.refused("nothing-in-common", 1).await;

    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let authority = pem::authorities(&front.path("server-ca.pem")).unwrap();
        let config = Arc::new(builder.with_root_certificates(authority).with_no_client_auth());
        let stream = connect(front.address, config).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
    }
}

#[tokio::test]
async fn who_speaks_another_protocol_is_told_so() {
    let front = Front::start("", "").await;
    let answer = exchange_raw(front.address, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", GENEROUS).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 ") && head.contains("Connection: close"), "{answer}");
    assert!(body.starts_with("tls-expected: ") && head.contains(&format!("Content-Length: {}\r\n", body.len())), "{answer}");
    front.refused("http", 1).await;
    assert_eq!(exchange_raw(front.address, b"\0\x01\x02", GENEROUS).await, "");
    front.refused("not-tls", 1).await;
    // A protocol we do not offer.
    let mut config = Arc::unwrap_or_clone(front.client(None));
    config.alpn_protocols = vec![b"spdy/3".to_vec()];
    assert!(connect(front.address, Arc::new(config)).await.is_err());
    front.refused("no-protocol", 1).await;
    // A client that does not know our authority.
    assert!(connect(front.address, client(&front.path("clients-ca.pem"), None)).await.is_err());
    front.refused("refuses-us", 1).await;

    // TLS where none is expected.
    let proxy = Setup::embedded().start().await;
    assert!(connect(proxy.address, front.client(None)).await.is_err());
    let metrics = proxy.running.as_ref().unwrap().metrics().encode();
    assert!(metrics.contains("sudare_wire_refusals_total{reason=\"tls-on-plain-port\"} 1"), "{metrics}");
}

#[tokio::test]
async fn t13_the_log_has_neither_keys_nor_names_of_certificates() {
    let Ready { folder, file, clients, .. } = write(OPTIONAL, "");
    let log = folder.path().join("log");
    let process = Process::logging(&file, &log);
    let address = process.address.parse().unwrap();
    let authority = folder.path().join("server-ca.pem");
    let canary = "spiffe://canary.example/canary-path";
    let unknown = clients.client("unknown", &[canary], "canary-organisation", "canary-name");
    let foreign = Pki::new(folder.path(), "foreign").client("foreign", &[canary], "canary-organisation", "canary-name");
    let known = clients.client("known", &[SHIPPING], "canary-organisation", "canary-name");
    let asked = async |files: &Files| {
        let mut client = Client::over(connect(address, client(&authority, Some(files))).await.ok()?).await?;
        client.ask("delivery", None).await.map(|answer| answer.status.as_u16())
    };
    assert_eq!((asked(&unknown).await, asked(&foreign).await, asked(&known).await), (Some(401), None, Some(404)));
    drop(process);
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("unknown-authority") && log.contains("caller-unknown"), "{log}");
    for file in [&unknown, &foreign, &known] {
        let pem = fs::read_to_string(&file.key).unwrap();
        for line in pem.lines().chain(["canary", "canary.example"]) {
            assert!(!log.contains(line), "{log}");
        }
    }
    let pem = fs::read_to_string(folder.path().join("server.key")).unwrap();
    assert!(pem.lines().all(|line| !log.contains(line)), "{log}");
}
