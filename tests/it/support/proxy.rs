//! A whole proxy in a temporary folder: the same files, check, keys and start as an operator's.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Method;
use sudare::app::{self, Running};
use sudare::base::SystemClock;
use sudare::config::{self, Endpoint};
use sudare::{audit, crypto, keys};

use super::{Answer, send};

const POLICY: &str = include_str!("policy.toml");

/// What stands behind the proxy.
pub(crate) enum Database {
    /// The embedded store.
    Embedded,
    /// Something that listens.
    At(SocketAddr, &'static str),
    /// A URL, whose API is `rest`.
    Url(String),
}

/// How a proxy is set up; the defaults are those of most tests.
pub(crate) struct Setup {
    pub(crate) database: Database,
    /// Replaces `[collection.customers]` and below.
    pub(crate) collections: String,
    /// More lines at the top level, e.g. `[limits]`.
    pub(crate) more: String,
    /// More lines of `[upstream]`.
    pub(crate) upstream: String,
    /// Replaces the policy.
    pub(crate) policy: String,
    /// The lines of `[store]`.
    pub(crate) store: String,
}

const COLLECTIONS: &str = r#"
[collection.customers]
match   = "/customers/{id}"
rows    = ["$", "$[*]", "$.items[*]"]
subject = "{id}"
[collection.customers.field]
name    = "$.name"
address = "$.address"
phone   = { at = "$.phone", mask = "keep-last:4" }
id-card = "$.id_card"
"#;

const COUCH_COLLECTIONS: &str = r#"
[collection.customers]
match   = "customers"
subject = "{id}"
[collection.customers.field]
name    = "$.name"
address = "$.address"
phone   = { at = "$.phone", mask = "keep-last:4" }
id-card = "$.id_card"
"#;

impl Setup {
    /// `rest` in front of the embedded store.
    pub(crate) fn embedded() -> Self {
        Self {
            database: Database::Embedded,
            collections: COLLECTIONS.to_owned(),
            more: String::new(),
            upstream: String::new(),
            policy: POLICY.to_owned(),
            store: "url = \"redb:data/sudare.redb\"".to_owned(),
        }
    }

    /// `rest` in front of a stub.
    pub(crate) fn rest(address: SocketAddr) -> Self {
        Self { database: Database::At(address, "rest"), ..Self::embedded() }
    }

    /// `rest` in front of a database at this URL.
    pub(crate) fn at(url: String) -> Self {
        Self { database: Database::Url(url), ..Self::embedded() }
    }

    /// `couchdb` in front of a stub.
    pub(crate) fn couchdb(address: SocketAddr) -> Self {
        Self { database: Database::At(address, "couchdb"), collections: COUCH_COLLECTIONS.to_owned(), ..Self::embedded() }
    }

    pub(crate) fn collections(mut self, collections: &str) -> Self {
        collections.clone_into(&mut self.collections);
        self
    }

    /// `id-card` is protected deterministically.
    pub(crate) fn deterministic(mut self) -> Self {
        let (sealed, deterministic) = (r#""$.id_card""#, r#"{ at = "$.id_card", protect = "deterministic" }"#);
        assert!(self.collections.contains(sealed));
        self.collections = self.collections.replace(sealed, deterministic);
        self
    }

    pub(crate) fn upstream(mut self, upstream: &str) -> Self {
        upstream.clone_into(&mut self.upstream);
        self
    }

    /// Writes the files and makes the keys, but starts nothing.
    pub(crate) fn files(self) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = write_files(folder.path(), &self);
        let settings = config::load(&file).unwrap_or_else(|findings| panic!("{findings}"));
        for ring in settings.held_rings() {
            keys::init(ring, &settings.policy.pseudonym_scopes(), &SystemClock).unwrap();
        }
        (folder, file)
    }

    pub(crate) fn store(mut self, store: &str) -> Self {
        store.clone_into(&mut self.store);
        self
    }

    pub(crate) fn more(mut self, more: &str) -> Self {
        more.clone_into(&mut self.more);
        self
    }

    pub(crate) async fn start(self) -> Proxy {
        let (folder, file) = self.files();
        Proxy::start(folder, file).await
    }
}

impl Proxy {
    /// Starts on files that [`Setup::files`] has written.
    #[expect(clippy::unused_async, reason = "only to be called on a runtime")]
    pub(crate) async fn start(folder: tempfile::TempDir, file: PathBuf) -> Self {
        let running = app::start(config::load(&file).unwrap()).unwrap_or_else(|error| panic!("{error}"));
        let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
        Self { folder, file, address, running: Some(running) }
    }
}

/// The secret of a caller in tests: made from its name, so that files can be written without a generator.
fn secret(caller: &str) -> String {
    crypto::base64url(&crypto::sha256(caller.as_bytes()))
}

fn write_files(folder: &Path, setup: &Setup) -> PathBuf {
    let (url, dialect) = match &setup.database {
        Database::Embedded => ("embedded:data/documents.redb".to_owned(), "rest"),
        Database::At(address, dialect) => (format!("http://{address}"), *dialect),
        Database::Url(url) => (url.clone(), "rest"),
    };
    let mut callers = String::new();
    for caller in ["shop", "shipping", "helpdesk", "mailer", "analyst", "carrier", "auditor"] {
        let hash = data_encoding::HEXLOWER.encode(&crypto::sha256(secret(caller).as_bytes()));
        writeln!(callers, "[caller.{caller}]\ncredential_sha256 = \"{hash}\"").unwrap();
    }
    let text = format!(
        r#"controller = "marketplace-hk"
policy = "policy.toml"
[listen]
address = "127.0.0.1:0"
admin = "127.0.0.1:0"
[upstream]
url = "{url}"
dialect = "{dialect}"
{}
[keys]
ring = "keys/ring.json"
kek = {{ provider = "file", path = "keys/kek" }}
[store]
{}
[audit]
dir = "data/audit"
durable_timeout_ms = 10000
{callers}
{}
{}
"#,
        setup.upstream, setup.store, setup.collections, setup.more
    );
    let file = folder.join("sudare.toml");
    fs::write(&file, text).unwrap();
    fs::write(folder.join("policy.toml"), &setup.policy).unwrap();
    file
}

/// A running proxy. Dropping it without `stop` leaves its tasks to the runtime of the test.
pub(crate) struct Proxy {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) file: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) running: Option<Running>,
}

impl Proxy {
    pub(crate) fn credential(caller: &str) -> String {
        format!("{caller}.{}", secret(caller))
    }

    /// Asks as `caller` for `purpose`; JSON if there is a body.
    pub(crate) async fn ask(&self, caller: &str, purpose: &str, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        self.ask_with(caller, purpose, method, path, &[], body).await.expect("a whole reply")
    }

    pub(crate) async fn ask_with(
        &self,
        caller: &str,
        purpose: &str,
        method: Method,
        path: &str,
        more: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, hyper::Error> {
        let body = body.into();
        let credential = Self::credential(caller);
        let mut headers = vec![("sudare-credential", credential.as_str()), ("data-purpose", purpose)];
        if !body.is_empty() && !more.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json"));
        }
        headers.extend_from_slice(more);
        send(self.address, method, path, &headers, body).await
    }

    /// Asks the database behind the proxy itself.
    pub(crate) async fn database(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        ask_upstream(self.running.as_ref().unwrap(), method, path, body).await
    }

    pub(crate) fn audit_dir(&self) -> PathBuf {
        self.folder.path().join("data/audit")
    }

    pub(crate) fn audit_keys(&self) -> Vec<audit::Key> {
        let settings = config::load(&self.file).unwrap();
        keys::KeyRing::open(&settings.keys).unwrap().audit_keys().unwrap()
    }

    /// The events that fit, in order; panics if the log does not verify.
    pub(crate) fn events(&self, filter: &audit::Filter) -> Vec<audit::Entry> {
        events(&self.audit_dir(), &self.audit_keys(), filter)
    }

    /// The whole audit log as text.
    pub(crate) fn audit_text(&self) -> String {
        let mut files: Vec<_> = fs::read_dir(self.audit_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
    }

    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }
}

/// The events of a log that fit, in order; panics if it does not verify.
pub(crate) fn events(dir: &Path, keys: &[audit::Key], filter: &audit::Filter) -> Vec<audit::Entry> {
    let mut found = Vec::new();
    audit::report(dir, keys, filter, &mut |entry| found.push(entry.clone())).unwrap_or_else(|error| panic!("{error}"));
    found
}

/// Asks the database behind a proxy itself.
pub(crate) async fn ask_upstream(running: &Running, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
    use http_body_util::{BodyExt as _, Full};
    use sudare::upstream::Outgoing;
    let body: Bytes = body.into();
    let request =
        http::Request::builder().method(method).uri(path).header("host", "db").header("content-type", "application/json");
    let (parts, ()) = request.header("content-length", body.len()).body(()).unwrap().into_parts();
    let outgoing = if body.is_empty() {
        Outgoing::Empty
    } else {
        Outgoing::Passed(Full::new(body).map_err(|never| match never {}).boxed_unsync())
    };
    let reply = running.upstream().send(parts, outgoing).await.unwrap();
    let (parts, body) = reply.into_parts();
    Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
}
