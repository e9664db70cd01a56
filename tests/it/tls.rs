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
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SerialNumber, date_time_ymd};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
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

const SHIPPING: &str = "spiffe://shop.example/shipping";
/// Long enough for any machine; nothing waits for it that goes well.
const GENEROUS: Duration = Duration::from_mins(1);

/// A proxy with TLS, its authority, and the authority of its clients.
struct Front {
    folder: tempfile::TempDir,
    file: PathBuf,
    address: SocketAddr,
    running: Running,
    clients: Pki,
}

/// Writes what a proxy with TLS needs. Callers, where clients have certificates: `shipping` by SPIFFE id, `helpdesk` by subject, the others by credential.
fn write(members: &str, more: &str) -> (tempfile::TempDir, PathBuf, Pki) {
    let (folder, file) = Setup::embedded().more(more).files();
    let clients = Pki::new(folder.path(), "clients");
    Pki::new(folder.path(), "server").server("server", &["localhost"]);
    let text = fs::read_to_string(&file).unwrap();
    let text = if members.contains("client_ca") {
        let text = known_by(&text, "shipping", &format!("spiffe = \"{SHIPPING}\""));
        known_by(&text, "helpdesk", "subject = \"CN=helpdesk,O=Shop\"")
    } else {
        text
    };
    let tls = format!("[listen.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n{members}\n[upstream]");
    fs::write(&file, text.replacen("[upstream]", &tls, 1)).unwrap();
    (folder, file, clients)
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
    #[expect(clippy::unused_async, reason = "only to be called on a runtime")]
    async fn start(members: &str, more: &str) -> Self {
        let (folder, file, clients) = write(members, more);
        let settings = config::load(&file).unwrap_or_else(|findings| panic!("{findings}"));
        let running = app::start(settings).unwrap_or_else(|error| panic!("{error}"));
        let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
        Self { folder, file, address, running, clients }
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

    /// The word for a handshake that fails, and how often it has been counted, once it has.
    async fn refused(&self, word: &str) {
        let line = format!("sudare_tls_refusals_total{{reason=\"{word}\"}} 1");
        let counted = async {
            while !self.running.metrics().encode().lines().any(|printed| printed == line) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let counted = tokio::time::timeout(GENEROUS, counted).await;
        assert!(counted.is_ok(), "{word} is not counted: {}", self.running.metrics().encode());
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
    let stream = TcpStream::connect(address).await?;
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
