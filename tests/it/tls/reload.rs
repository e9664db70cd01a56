//! What becomes of connections, new and standing, when certificates change.

use std::os::unix::fs::symlink;

use rustls::HandshakeKind;

use super::*;
use crate::support::SlowDatabase;

impl Front {
    fn reload(&self) -> Result<(), String> {
        self.running.reload(&self.file).map(|_waiting| ()).map_err(|error| error.to_string())
    }

    /// The certificate that a new connection is shown.
    async fn presented(&self) -> Vec<u8> {
        let stream = self.connect(None).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    async fn client_with(&self, files: &Files) -> Client {
        Client::over(self.connect(Some(files)).await.unwrap()).await.unwrap()
    }
}

fn der(path: &Path) -> Vec<u8> {
    pem::certificates(path).unwrap()[0].to_vec()
}

/// A folder mounted by Kubernetes: the files are links through `..data`, a link to a folder that is replaced at once.
struct Mount(PathBuf);

impl Mount {
    fn put(&self, version: &str, files: &Files) {
        let folder = self.0.join(version);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(&files.certificate, folder.join("tls.crt")).unwrap();
        fs::copy(&files.key, folder.join("tls.key")).unwrap();
        let fresh = self.0.join("..data_tmp");
        symlink(version, &fresh).unwrap();
        fs::rename(fresh, self.0.join("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            if !self.0.join(name).exists() {
                symlink(Path::new("..data").join(name), self.0.join(name)).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn t30_a_new_certificate_behind_a_link_is_for_new_connections() {
    let ready = write("", "").with("\"server.pem\"", "\"mount/tls.crt\"").with("\"server.key\"", "\"mount/tls.key\"");
    let first = ready.server.server("first", &["localhost"]);
    let mount = Mount(ready.folder.path().join("mount"));
    mount.put("..2025_01", &first);
    let front = ready.start().await;
    let credential = Proxy::credential("shop");
    let mut kept = Client::over(front.connect(None).await.unwrap()).await.unwrap();
    assert_eq!(kept.ask("account", Some(&credential)).await.unwrap().status, 404);
    assert_eq!(front.presented().await, der(&first.certificate));

    let second = front.server.server("second", &["localhost"]);
    mount.put("..2025_02", &second);
    assert_eq!(front.presented().await, der(&first.certificate), "nothing changes before the reload");
    front.reload().unwrap();
    assert_eq!(front.presented().await, der(&second.certificate));
    assert_eq!(kept.ask("account", Some(&credential)).await.unwrap().status, 404, "who is connected stays so");
}

#[tokio::test]
async fn t30_files_that_are_no_good_leave_the_old_certificate() {
    let front = Front::start("", "").await;
    let own = der(&front.path("server.pem"));
    let good = [
        ("server.pem", fs::read(front.path("server.pem")).unwrap()),
        ("server.key", fs::read(front.path("server.key")).unwrap()),
    ];
    let mut expired = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    expired.not_after = date_time_ymd(2024, 1, 1);
    let expired = fs::read(front.server.issue("expired", &expired).certificate).unwrap();
    let other = fs::read(front.server.server("other", &["localhost"]).certificate).unwrap();
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n".to_vec();
    for (file, content, said) in [
        ("server.pem", Some(broken), "server.pem: it is not PEM that can be read"),
        ("server.pem", Some(Vec::new()), "server.pem: it holds no certificate"),
        ("server.pem", Some(other), "the key does not belong to the certificate"),
        ("server.pem", Some(expired), "the certificate has expired"),
        ("server.key", Some(good[0].1.clone()), "server.key: it holds no private key"),
        ("server.key", None, "server.key: "),
    ] {
        match content {
            Some(content) => fs::write(front.path(file), content).unwrap(),
            None => fs::remove_file(front.path(file)).unwrap(),
        }
        let error = front.reload().unwrap_err();
        assert!(error.contains(said), "{error}");
        assert_eq!(front.presented().await, own);
        for (file, content) in &good {
            fs::write(front.path(file), content).unwrap();
        }
    }
    front.reload().unwrap();
}

#[tokio::test]
async fn tls_is_not_turned_off_by_a_reload() {
    let front = Front::start("", "").await;
    let text = fs::read_to_string(&front.file).unwrap();
    let at = text.find("[listen.tls]").unwrap();
    fs::write(&front.file, format!("{}{}", &text[..at], &text[text.find("[upstream]").unwrap()..])).unwrap();
    let error = front.reload().unwrap_err();
    assert!(error.contains("[listen] tls") && error.contains("restart"), "{error}");
    front.presented().await;
}

#[tokio::test]
async fn t19_clients_of_an_authority_that_is_trusted_no_more_are_let_go() {
    let front = Front::start(MUTUAL, "").await;
    let old = front.clients.client("old", &[SHIPPING], "", "x");
    let mut kept = front.client_with(&old).await;
    assert_eq!(kept.ask("delivery", None).await.unwrap().status, 404);
    // A reload that changes nothing of it, and one of the server's certificate.
    front.reload().unwrap();
    front.server.server("server", &["localhost"]);
    front.reload().unwrap();
    assert_eq!(kept.ask("delivery", None).await.unwrap().status, 404);

    let successor = Pki::new(front.folder.path(), "clients");
    let new = successor.client("new", &[SHIPPING], "", "x");
    front.reload().unwrap();
    kept.closed().await;
    assert!(front.ask(Some(&old), "delivery", None).await.is_none());
    assert_eq!(front.ask(Some(&new), "delivery", None).await.unwrap().status, 404);
}

/// On one thread, so that the request is there before the proxy looks at what came of the handshake.
#[tokio::test]
async fn t19_a_handshake_begun_before_a_reload_does_not_outlive_its_authority() {
    let front = Front::start(MUTUAL, "").await;
    let open = || front.running.metrics().encode().lines().any(|line| line == "sudare_connections 1");
    let mut clients = Pki::new(front.folder.path(), "clients");
    front.reload().unwrap();
    for round in 0..8 {
        let old = front.client(Some(&clients.client("old", &[SHIPPING], "", "x")));
        let stream = TcpStream::connect(front.address).await.unwrap();
        let accepted = async {
            while !open() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(GENEROUS, accepted).await.expect("the connection is accepted");
        clients = Pki::new(front.folder.path(), "clients");
        front.reload().unwrap();
        let mut stream = handshake(stream, old).await.expect("it was begun with the old authority");
        stream.write_all(b"GET /customers/c-1 HTTP/1.1\r\nhost: localhost\r\ndata-purpose: delivery\r\n\r\n").await.unwrap();
        let mut said = Vec::new();
        let ended = tokio::time::timeout(GENEROUS, stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok() && said.is_empty(), "round {round}: {}", String::from_utf8_lossy(&said));
        let gone = async {
            while open() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(GENEROUS, gone).await.expect("the connection is over");
    }
}

#[tokio::test]
async fn t19_a_client_that_is_revoked_is_let_go() {
    let ready = write(&format!("{MUTUAL}\nclient_crl = \"crl.pem\""), "");
    ready.clients.revoke("crl", &[]);
    let mut params = Pki::client_params(&[SHIPPING], "", "x");
    params.serial_number = Some(SerialNumber::from(REVOKED));
    let files = ready.clients.issue("client", &params);
    let front = ready.start().await;
    let mut kept = front.client_with(&files).await;
    assert_eq!(kept.ask("delivery", None).await.unwrap().status, 404);
    front.clients.revoke("crl", &[REVOKED]);
    front.reload().unwrap();
    kept.closed().await;
    assert!(front.ask(Some(&files), "delivery", None).await.is_none());
    front.refused("revoked", 1).await;
}

/// A connection, already used, whose client has a certificate for some seconds more; with the certificate and its last second.
async fn short_lived(front: &Front) -> (Client, Files, std::time::SystemTime) {
    // Longer where a machine is too slow to connect in time.
    for seconds in [5, 25, 100] {
        let mut params = Pki::client_params(&[SHIPPING], "", "x");
        let until = std::time::SystemTime::now() + Duration::from_secs(seconds);
        params.not_after = until.into();
        let files = front.clients.issue("short", &params);
        let Ok(stream) = front.connect(Some(&files)).await else { continue };
        let Some(mut kept) = Client::over(stream).await else { continue };
        // No document is asked for: not all tests have a database that would answer.
        if kept.send(request(Method::GET, "/customers/..", "delivery", None, "")).await.is_some() {
            return (kept, files, until);
        }
    }
    panic!("no connection in 100 s");
}

#[tokio::test]
async fn t19_a_connection_does_not_outlive_the_certificate_of_its_client() {
    let front = Front::start(MUTUAL, "").await;
    let (mut kept, files, until) = short_lived(&front).await;
    kept.closed().await;
    // The certificate has whole seconds, and holds for all of its last one.
    assert!(until.elapsed().is_ok() || until.duration_since(std::time::SystemTime::now()).unwrap() < Duration::from_secs(1));
    assert!(front.ask(Some(&files), "delivery", None).await.is_none());
    assert!(front.running.metrics().encode().contains("sudare_tls_refusals_total{reason=\"expired\"}"));
}

#[tokio::test]
async fn t33_a_feed_does_not_outlive_the_certificate_of_its_client() {
    let database = SlowDatabase::start().await;
    let setup = Setup::couchdb(database.address).more("[limits]\ndrain_timeout_ms = 300");
    let front = write_for(setup, MUTUAL).start().await;
    let (mut kept, _files, _until) = short_lived(&front).await;
    let target = "/customers/_changes?feed=continuous&include_docs=true&heartbeat=1000";
    let begin = async {
        let mut waiting = database.asked().await;
        waiting.begin("application/json").await;
        waiting.say("\n").await;
        waiting
    };
    let (reply, mut waiting) = tokio::join!(kept.sender.send_request(request(Method::GET, target, "delivery", None, "")), begin);
    let mut body = reply.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "\n");
    let ended = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::time::timeout(GENEROUS, ended).await.expect("the feed ends");
    assert!(waiting.closed(GENEROUS).await, "towards the database, too");
}

/// How the handshake went of two connections of one client, of which the first has been used.
async fn twice(front: &Front, files: Option<&Files>, between: impl FnOnce()) -> [Option<HandshakeKind>; 2] {
    // Tickets and sessions are kept in the client's configuration.
    let config = front.client(files);
    let mut first = connect(front.address, Arc::clone(&config)).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    first.read_to_end(&mut Vec::new()).await.unwrap();
    between();
    let second = connect(front.address, config).await.unwrap();
    [first.get_ref().1.handshake_kind(), second.get_ref().1.handshake_kind()]
}

#[tokio::test]
async fn sessions_are_resumed_until_a_reload_and_never_with_client_certificates() {
    let full = Some(HandshakeKind::Full);
    let front = Front::start("", "").await;
    assert_eq!(twice(&front, None, || ()).await, [full, Some(HandshakeKind::Resumed)]);
    assert_eq!(twice(&front, None, || front.reload().unwrap()).await, [full, full]);

    for members in [MUTUAL, OPTIONAL] {
        let front = Front::start(members, "").await;
        let files = front.clients.client("client", &[SHIPPING], "", "x");
        assert_eq!(twice(&front, Some(&files), || ()).await, [full, full]);
    }
}

#[tokio::test]
async fn a_drain_lets_go_of_connections_over_tls() {
    let front = Front::start(MUTUAL, "").await;
    let files = front.clients.client("client", &[SHIPPING], "", "x");
    let mut kept = front.client_with(&files).await;
    assert_eq!(kept.ask("delivery", None).await.unwrap().status, 404);
    // One in its handshake, too.
    let mut silent = TcpStream::connect(front.address).await.unwrap();
    silent.write_all(&hello(&front)[..7]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), front.running.stop()).await.expect("less than the 30 s that a drain may take");
    kept.closed().await;
}
