//! A stub of Vault's (OpenBao's) HTTP API, as far as `transit`, AppRole and tokens go: paths, members, statuses and error texts are those of
//! the published API pages. On a thread of its own, for those who ask it block.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Files;

/// How it behaves towards questions about the key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mood {
    Serves,
    /// 503, as it says while it is sealed.
    Sealed,
    /// 403, whatever the token.
    Denied,
    /// It takes the question and says nothing.
    Silent,
    Text(String),
    /// Longer than anything meant.
    Huge,
    /// 307, as a standby does.
    Redirects,
    /// It unwraps everything to these bytes.
    Gives(Vec<u8>),
}

/// One question.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) token: String,
    pub(crate) namespace: String,
    pub(crate) body: Value,
}

pub(crate) struct State {
    pub(crate) mood: Mood,
    /// Tokens it takes, with the seconds that each is good for; 0 is for ever.
    pub(crate) tokens: BTreeMap<String, u64>,
    /// The secret id that a login needs, and the seconds that the token of one is good for.
    pub(crate) secret_id: String,
    pub(crate) ttl: u64,
    pub(crate) asked: Vec<Asked>,
    /// Associated data and plaintext of each ciphertext.
    kept: Vec<(String, String)>,
    logins: u32,
}

#[derive(Clone)]
pub(crate) struct Keeper {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

pub(crate) const TOKEN: &str = "hvs.CAESIJk3canary0token";

impl Keeper {
    /// Takes [`TOKEN`]. With a certificate it speaks TLS.
    pub(crate) fn start(files: Option<&Files>) -> Self {
        let acceptor = files.map(|files| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let certificates = sudare::net::tls::pem::certificates(&files.certificate).unwrap();
            let key = sudare::net::tls::pem::private_key(&files.key).unwrap();
            let config = builder.with_no_client_auth().with_single_cert(certificates, key).unwrap();
            tokio_rustls::TlsAcceptor::from(Arc::new(config))
        });
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Serves,
            tokens: BTreeMap::from([(TOKEN.to_owned(), 0)]),
            secret_id: "841771dc-canary-secret-id".to_owned(),
            ttl: 1200,
            asked: Vec::new(),
            kept: Vec::new(),
            logins: 0,
        }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let keeper = Self { address: listener.local_addr().unwrap(), state };
        let told = keeper.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (keeper, acceptor) = (told.clone(), acceptor.clone());
                    tokio::task::spawn(async move {
                        let service = service_fn(move |request| {
                            let keeper = keeper.clone();
                            async move { Ok::<_, Infallible>(keeper.answer(request).await) }
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
        });
        keeper
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn feels(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// How often a path that ends so was asked for.
    pub(crate) fn asked(&self, end: &str) -> usize {
        self.state().asked.iter().filter(|asked| asked.path.ends_with(end)).count()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let (token, namespace) = (header("x-vault-token"), header("x-vault-namespace"));
        let bytes = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let path = head.uri.path().to_owned();
        let mood = {
            let mut state = self.state();
            state.asked.push(Asked { path: path.clone(), token: token.clone(), namespace, body: body.clone() });
            state.mood.clone()
        };
        let about_the_key = path.starts_with("/v1/transit/");
        match mood {
            Mood::Silent => {
                tokio::time::sleep(Duration::from_hours(1)).await;
                return reply(503, &json!({}));
            }
            Mood::Sealed => return reply(503, &json!({"errors": ["Vault is sealed"]})),
            Mood::Redirects => {
                return Response::builder().status(307).header("location", "http://127.0.0.1:1/").body(Full::default()).unwrap();
            }
            Mood::Huge if about_the_key => return Response::new(Full::new(Bytes::from(vec![b'['; 1 << 20]))),
            Mood::Text(text) if about_the_key => return Response::new(Full::new(Bytes::from(text))),
            Mood::Denied if about_the_key => return denied(),
            Mood::Serves | Mood::Denied | Mood::Text(_) | Mood::Huge | Mood::Gives(_) => {}
        }
        let (status, answer) = self.served(head.method.as_str(), &path, &token, &body, &mood);
        reply(status, &answer)
    }

    fn served(&self, method: &str, path: &str, token: &str, body: &Value, mood: &Mood) -> (u16, Value) {
        let mut state = self.state();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        if path == "/v1/auth/approle/login" {
            if text("role_id") != "db02de05-fa39" || text("secret_id") != state.secret_id {
                return (400, json!({"errors": ["invalid role or secret ID"]}));
            }
            state.logins += 1;
            let (token, ttl) = (format!("hvs.canary-login-{}", state.logins), state.ttl);
            state.tokens.insert(token.clone(), ttl);
            let auth = json!({"renewable": true, "lease_duration": ttl, "token_policies": ["default", "sudare"], "accessor": "fd6c9a00", "client_token": token});
            return (
                200,
                json!({"auth": auth, "warnings": null, "wrap_info": null, "data": null, "lease_duration": 0, "renewable": false, "lease_id": ""}),
            );
        }
        let Some(ttl) = state.tokens.get(token).copied() else {
            return (403, json!({"errors": ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}));
        };
        match (method, path) {
            ("GET", "/v1/auth/token/lookup-self") => (
                200,
                json!({"data": {"accessor": "8609694a", "id": token, "ttl": ttl, "renewable": ttl > 0, "policies": ["default", "sudare"]}}),
            ),
            ("POST", "/v1/auth/token/renew-self") => {
                (200, json!({"auth": {"client_token": token, "policies": ["sudare"], "lease_duration": ttl, "renewable": true}}))
            }
            ("POST", "/v1/transit/encrypt/sudare") => {
                state.kept.push((text("associated_data"), text("plaintext")));
                let ciphertext = format!("vault:v1:{}", BASE64.encode(format!("{:08}", state.kept.len() - 1).as_bytes()));
                (200, json!({"request_id": "6c5a", "data": {"ciphertext": ciphertext, "key_version": 1}, "wrap_info": null}))
            }
            ("POST", "/v1/transit/decrypt/sudare") => {
                if let Mood::Gives(bytes) = mood {
                    return (200, json!({"data": {"plaintext": BASE64.encode(bytes)}}));
                }
                let number = text("ciphertext").strip_prefix("vault:v1:").and_then(|text| BASE64.decode(text.as_bytes()).ok());
                let number = number.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<usize>().ok());
                let Some((bound, plaintext)) = number.and_then(|number| state.kept.get(number)) else {
                    return (400, json!({"errors": ["invalid ciphertext: could not decode base64"]}));
                };
                if *bound == text("associated_data") {
                    (200, json!({"data": {"plaintext": plaintext}}))
                } else {
                    (400, json!({"errors": ["cipher: message authentication failed"]}))
                }
            }
            _ => (404, json!({"errors": []})),
        }
    }
}

fn denied() -> Response<Full<Bytes>> {
    reply(403, &json!({"errors": ["1 error occurred:\n\t* permission denied\n\n"]}))
}

fn reply(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from(body.to_string()));
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}
