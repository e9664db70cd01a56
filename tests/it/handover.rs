//! A certificate change, policy reloads and a drain under load: no request fails.
//!
//! What "no request fails" means: behind a load balancer that asks `/readyz` and sends nothing new to an instance that says no,
//! every request gets its 200. A request goes out again only where no byte of it was taken: the connection was refused, or was
//! kept from before and had been closed. Requests come at their times whether or not others were answered (an open loop), most
//! of them on kept connections, one in [`FRESH`] on a new one.
//!
//! `SUDARE_RATE=500 cargo test --release --test it handover` is the show; a build for debugging does less, so as not to measure
//! the machine.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sudare::net::tls::pem;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Pki, Process, Proxy, Setup, Stub, StubReply, try_send};

const FRESH: usize = 10;
const RELOADS: usize = 10;

/// One of the instances behind the load balancer.
struct Instance {
    process: Mutex<Process>,
    front: SocketAddr,
    admin: SocketAddr,
    folder: tempfile::TempDir,
    authority: Pki,
    ready: AtomicBool,
    kept: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
}

impl Instance {
    fn start(database: SocketAddr) -> Self {
        let more = "[reload]\npoll_ms = 0\n";
        let (folder, file) = Setup::rest(database).more(more).files();
        let authority = Pki::new(folder.path(), "server");
        authority.server("server", &["localhost"]);
        let text = fs::read_to_string(&file).unwrap();
        let tls = "drain_delay_ms = 2000\ntls = { certificate = \"server.pem\", key = \"server.key\" }\n[upstream]";
        fs::write(&file, text.replacen("[upstream]", tls, 1)).unwrap();
        let process = Process::start(&file, "");
        let (front, admin) = (process.address.parse().unwrap(), process.admin.parse().unwrap());
        Self { process: process.into(), front, admin, folder, authority, ready: AtomicBool::new(true), kept: Mutex::default() }
    }

    /// Renews the certificate, and sees that new connections get it.
    async fn renew(&self, tls: &Arc<ClientConfig>, times: usize) {
        let files = self.authority.server("server", &["localhost"]);
        self.reload(times).await;
        let stream = TcpStream::connect(self.front).await.unwrap();
        let secured = TlsConnector::from(Arc::clone(tls)).connect(ServerName::try_from("localhost").unwrap(), stream);
        let secured = secured.await.unwrap();
        let shown = secured.get_ref().1.peer_certificates().unwrap()[0].clone();
        assert_eq!(shown, pem::certificates(&files.certificate).unwrap()[0]);
    }

    fn signal(&self, name: &str) {
        self.process.lock().unwrap().signal(name);
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = try_send(self.admin, Method::GET, "/metrics", &[], "").await.unwrap().text();
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or(0.0)
    }

    /// Reloads, and waits until that is done.
    async fn reload(&self, times: usize) {
        self.signal("-HUP");
        let wanted = f64::from(u32::try_from(times).unwrap());
        let done = async {
            while self.metric("sudare_config_reloads_total{outcome=\"taken\"}").await < wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), done).await.expect("a reload that is taken");
    }

    async fn connect(&self, tls: &Arc<ClientConfig>) -> std::io::Result<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(self.front).await?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(ServerName::try_from("localhost").unwrap(), stream).await?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        tokio::task::spawn(connection);
        Ok(sender)
    }
}

/// Counts of the clients.
#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    again: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

/// One request through the load balancer.
async fn request(number: usize, instances: &[Instance; 2], tls: &Arc<ClientConfig>, tally: &Tally) {
    for _ in 0..20 {
        let first = &instances[number % 2];
        let instance = if first.ready.load(Ordering::SeqCst) { first } else { &instances[(number + 1) % 2] };
        let kept = if number.is_multiple_of(FRESH) { None } else { instance.kept.lock().unwrap().pop() };
        let was_kept = kept.is_some();
        let mut sender = match kept {
            Some(sender) => sender,
            None => match instance.connect(tls).await {
                Ok(sender) => sender,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    tally.again.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                Err(error) => return tally.failed.lock().unwrap().push(format!("connect: {error}")),
            },
        };
        if sender.ready().await.is_err() && was_kept {
            tally.again.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        let request = Request::get("/customers/c-1")
            .header("host", "localhost")
            .header("sudare-credential", Proxy::credential("mailer"))
            .header("data-purpose", "marketing");
        let answer = match sender.send_request(request.body(Empty::new()).unwrap()).await {
            Ok(answer) => answer,
            // Never sent: the connection was closed while it was kept.
            Err(error) if was_kept && (error.is_canceled() || error.is_closed()) => {
                tally.again.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            Err(error) => {
                return tally.failed.lock().unwrap().push(format!("request on a kept connection ({was_kept}): {error:?}"));
            }
        };
        let (status, closes) = (answer.status(), answer.headers().contains_key("connection"));
        match answer.into_body().collect().await {
            Ok(_) if status == 200 => {}
            outcome => return tally.failed.lock().unwrap().push(format!("{status}: {:?}", outcome.err())),
        }
        tally.answered.fetch_add(1, Ordering::SeqCst);
        if !closes {
            instance.kept.lock().unwrap().push(sender);
        }
        return;
    }
    tally.failed.lock().unwrap().push("refused again and again".to_owned());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_certificates_policies_and_instances_change() {
    let usual = if cfg!(debug_assertions) { 60 } else { 500 };
    let rate: u32 = std::env::var("SUDARE_RATE").ok().and_then(|rate| rate.parse().ok()).unwrap_or(usual);
    let stub = Stub::start(|_| StubReply::json(200, r#"{"id":"c-1","name":null}"#)).await;
    let instances = Arc::new([Instance::start(stub.address), Instance::start(stub.address)]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut trusted = rustls::RootCertStore::empty();
    for instance in instances.iter() {
        trusted.roots.extend(pem::authorities(&instance.folder.path().join("server-ca.pem")).unwrap().roots);
    }
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = Arc::new(builder.with_root_certificates(trusted).with_no_client_auth());

    let (tally, over) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    // The load balancer's probes.
    let (probed, ends) = (Arc::clone(&instances), Arc::clone(&over));
    let balancer = tokio::task::spawn(async move {
        while !ends.load(Ordering::SeqCst) {
            for instance in probed.iter() {
                let answer = TcpStream::connect(instance.admin).await.is_ok();
                let ready = answer
                    && try_send(instance.admin, Method::GET, "/readyz", &[], "").await.is_some_and(|answer| answer.status == 200);
                instance.ready.store(ready, Ordering::SeqCst);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // The clients.
    let (asked, ends, counts, trust) = (Arc::clone(&instances), Arc::clone(&over), Arc::clone(&tally), Arc::clone(&tls));
    let clients = tokio::task::spawn(async move {
        let mut requests = tokio::task::JoinSet::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
        for number in 0.. {
            if ends.load(Ordering::SeqCst) {
                break;
            }
            tick.tick().await;
            let (asked, tls, counts) = (Arc::clone(&asked), Arc::clone(&trust), Arc::clone(&counts));
            requests.spawn(async move { request(number, &asked, &tls, &counts).await });
            while requests.try_join_next().is_some() {}
        }
        requests.join_all().await;
    });

    let began = Instant::now();
    let pause = || tokio::time::sleep(Duration::from_millis(300));
    pause().await;
    for round in 1..=RELOADS {
        for instance in instances.iter() {
            let policy = instance.folder.path().join("policy.toml");
            let text = fs::read_to_string(&policy).unwrap();
            fs::write(&policy, format!("{text}# changed {round}\n")).unwrap();
            instance.reload(round).await;
        }
        pause().await;
    }
    for instance in instances.iter() {
        instance.renew(&tls, RELOADS + 1).await;
        pause().await;
    }
    // One instance goes; the other takes over.
    instances[0].signal("-TERM");
    let code = loop {
        if let Some(status) = instances[0].process.lock().unwrap().child.try_wait().unwrap() {
            break status.code();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(began.elapsed() < Duration::from_mins(5), "it ends");
    };
    assert_eq!(code, Some(0), "it was drained");
    pause().await;
    over.store(true, Ordering::SeqCst);
    clients.await.unwrap();
    balancer.await.unwrap();

    let (answered, again) = (tally.answered.load(Ordering::SeqCst), tally.again.load(Ordering::SeqCst));
    let failed = tally.failed.lock().unwrap();
    let said = format!(
        "{answered} requests answered in {:.1?} at {rate} a second, {again} sent again, {} failed",
        began.elapsed(),
        failed.len()
    );
    assert!(failed.is_empty(), "{said}: {failed:?}");
    assert!(answered > 100, "{said}");
    println!("{said}");
}
