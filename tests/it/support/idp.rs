//! An identity provider that serves its key set, or whatever else a test tells it to.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::Files;

/// What it answers to whoever asks for its keys.
#[derive(Clone)]
pub(crate) enum Says {
    Status(u16),
    Text(String),
    To(String),
    /// It takes the request and says nothing.
    Nothing,
}

/// On a free loopback port; ends with the runtime of the test.
#[derive(Clone)]
pub(crate) struct Idp {
    pub(crate) address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
}

impl Idp {
    pub(crate) async fn start(says: Says) -> Self {
        Self::behind(says, None).await
    }

    /// With a certificate it speaks TLS.
    pub(crate) async fn behind(says: Says, files: Option<&Files>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idp = Self { address: listener.local_addr().unwrap(), says: Arc::new(Mutex::new(says)), asked: Arc::default() };
        let acceptor = files.map(|files| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let certificates = sudare::net::tls::pem::certificates(&files.certificate).unwrap();
            let key = sudare::net::tls::pem::private_key(&files.key).unwrap();
            let config = builder.with_no_client_auth().with_single_cert(certificates, key).unwrap();
            tokio_rustls::TlsAcceptor::from(Arc::new(config))
        });
        let told = idp.clone();
        tokio::task::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (idp, acceptor) = (told.clone(), acceptor.clone());
                tokio::task::spawn(async move {
                    let service = service_fn(move |_request| {
                        let idp = idp.clone();
                        async move { Ok::<_, Infallible>(idp.answer().await) }
                    });
                    let server = http1::Builder::new();
                    match acceptor {
                        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                drop(server.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        idp
    }

    async fn answer(&self) -> Response<Full<Bytes>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let says = self.says.lock().unwrap().clone();
        let response = Response::builder();
        match says {
            Says::Status(status) => response.status(status).body(Full::new(Bytes::from("{\"keys\":[]}"))).unwrap(),
            Says::Text(text) => response.body(Full::new(Bytes::from(text))).unwrap(),
            Says::To(place) => response.status(302).header("location", place).body(Full::default()).unwrap(),
            Says::Nothing => {
                tokio::time::sleep(Duration::from_hours(1)).await;
                response.body(Full::default()).unwrap()
            }
        }
    }

    pub(crate) fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}
