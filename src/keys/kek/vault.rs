//! A root under a key of the secrets engine *transit*, in HashiCorp Vault or OpenBao, over its HTTP API.
//!
//! The binding goes along as `associated_data`, and as `context`, which a key made with `derived=true` needs and every other ignores.
//! A token comes from a file or a variable, or from a login with AppRole; it is renewed when half to three quarters of its time are over,
//! at a random moment between, and asked for anew where it cannot be.
//!
//! Always holds: a 403 is taken for a refusal of the key only once the token has been shown to be good, or is fresh; after a login or a
//! token that was read anew a question is asked once more, and no more than that; nothing that the server sent stands in an error but
//! its status and which of a few known sentences it said. Called through [`Provider`].

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::provider::{Binding, Provider, ProviderError, ProviderName, Wrapped};
use super::remote::{self, secret_body};
use super::source::{Refused, Source};
use crate::crypto::Secret;
use crate::net::fetch::{Reply, Service};

/// Which key, where, and who we are there. Paths are without slashes at their ends.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server.
    pub service: Service,
    /// The namespace, for servers that have them.
    pub namespace: Option<String>,
    /// Where the engine is mounted.
    pub mount: String,
    /// The key's name.
    pub key: String,
    /// Who we are.
    pub login: Login,
}

/// Who we are to the server.
#[derive(Debug, Clone)]
pub enum Login {
    /// Somebody else gets us a token: an agent, an operator.
    Token(Source),
    /// A role of ours.
    AppRole {
        /// Where the method is mounted, `approle` if not said otherwise.
        mount: String,
        /// Its id, which is not secret by itself.
        role_id: Source,
        /// What proves that we are it; none for roles that are bound by address only.
        secret_id: Option<Source>,
    },
}

/// The provider `vault-transit`.
pub struct Transit {
    config: Config,
    /// `mount/key`, as the manifest says it.
    name: String,
    session: Mutex<Option<Session>>,
    refused: Refused,
}

/// A login that was refused is tried again after this, or with another secret id: servers lock out who goes on.
const LOGIN_AGAIN: Duration = Duration::from_mins(10);

/// A token, and how long it is good.
struct Session {
    token: Zeroizing<String>,
    /// When to renew it; none if it need not or cannot be.
    renew: Option<Instant>,
}

impl Transit {
    /// Asks nothing yet.
    pub fn new(config: Config) -> Self {
        let name = format!("{}/{}", config.mount, config.key);
        Self { config, name, session: Mutex::new(None), refused: Refused::new(Some(LOGIN_AGAIN)) }
    }

    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question about the key, with the token that we have or get.
    fn asked<T: for<'a> Deserialize<'a>>(&self, doing: &str, question: &impl Serialize) -> Result<T, ProviderError> {
        let path = format!("/v1/{}/{doing}/{}", self.config.mount, self.config.key);
        let body = json(question)?;
        let had = self.session().as_ref().map(|session| session.token.clone());
        let fresh = had.is_none();
        let token = had.map_or_else(|| self.log_in(), Ok)?;
        let reply = self.send(Method::POST, &path, Some(&token), &body)?;
        if reply.status != StatusCode::FORBIDDEN {
            return answer(&reply);
        }
        // Is it the token or the key that is refused? A fresh login settles it; so does asking about the token.
        if fresh && matches!(self.config.login, Login::AppRole { .. }) {
            return answer(&reply);
        }
        *self.session() = None;
        let again = self.log_in()?;
        if !fresh && (matches!(self.config.login, Login::AppRole { .. }) || *again != *token) {
            let reply = self.send(Method::POST, &path, Some(&again), &body)?;
            if reply.status != StatusCode::FORBIDDEN {
                return answer(&reply);
            }
        }
        let itself = self.send(Method::GET, "/v1/auth/token/lookup-self", Some(&again), &no_body())?;
        match itself.status {
            StatusCode::FORBIDDEN => {
                *self.session() = None;
                Err(ProviderError::Credentials(
                    "the token is not valid (any more): put a new one in its place, and give it a period or renew it".to_owned(),
                ))
            }
            // A token without the policy `default` may not look itself up, but then the server says so in another way.
            _ => answer(&reply),
        }
    }

    /// Gets a token, and finds out how long it is good.
    fn log_in(&self) -> Result<Zeroizing<String>, ProviderError> {
        let session = match &self.config.login {
            Login::Token(source) => {
                let token = source.read()?;
                let found = self.send(Method::GET, "/v1/auth/token/lookup-self", Some(&token), &no_body())?;
                // What may not look itself up may still do what it is for; it is then not renewed by us.
                let about = if found.status == StatusCode::OK { parsed::<Data<About>>(&found)?.data } else { About::default() };
                Session { token, renew: renewal(about.ttl) }
            }
            Login::AppRole { mount, role_id, secret_id } => {
                let role_id = role_id.read()?;
                let secret_id = secret_id.as_ref().map(Source::read).transpose()?;
                let both = Zeroizing::new(format!("{}\n{}", *role_id, secret_id.as_ref().map_or("", |id| id.as_str())));
                if self.refused.is(&both) {
                    return Err(not_taken());
                }
                let body = json(&RoleLogin { role_id: &role_id, secret_id: secret_id.as_ref().map(|id| id.as_str()) })?;
                let reply = self.send(Method::POST, &format!("/v1/auth/{mount}/login"), None, &body)?;
                if matches!(reply.status, StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN) {
                    self.refused.note(&both);
                    return Err(not_taken());
                }
                session_of(&reply)?
            }
        };
        let token = session.token.clone();
        *self.session() = Some(session);
        Ok(token)
    }

    fn send(&self, method: Method, path: &str, token: Option<&str>, body: &Bytes) -> Result<Reply, ProviderError> {
        let secret = |text: &str| {
            let mut value = HeaderValue::from_str(text)
                .map_err(|_not_ascii| ProviderError::Local("the token cannot be sent: it is not ASCII text".to_owned()))?;
            value.set_sensitive(true);
            Ok::<_, ProviderError>(value)
        };
        let mut request = Request::builder().method(method).uri(path).header("x-vault-request", "true");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(namespace) = &self.config.namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = token {
            request = request.header("x-vault-token", secret(token)?);
        }
        let request = request.body(body.clone());
        let request =
            request.map_err(|_invalid| ProviderError::Local("the name of the key or its mount cannot be sent".to_owned()))?;
        remote::ask(&self.config.service, request)
    }
}

impl Provider for Transit {
    fn name(&self) -> ProviderName {
        ProviderName::VaultTransit
    }

    fn key(&self) -> &str {
        &self.name
    }

    fn may_have_wrapped(&self, wrapped: &Wrapped) -> bool {
        wrapped.key == self.name
    }

    fn wrap(&self, binding: &Binding, root: &Secret) -> Result<Wrapped, ProviderError> {
        let (bound, plaintext) = (BASE64.encode(&binding.aad()), Zeroizing::new(BASE64.encode(root.expose())));
        let question = Wrapping { plaintext: &plaintext, associated_data: &bound, context: &bound };
        let Ciphertext { ciphertext } = self.asked::<Data<Ciphertext>>("encrypt", &question)?.data;
        if !ciphertext.starts_with("vault:v") {
            return Err(ProviderError::Lied("it wrapped the root to something that is no ciphertext of transit"));
        }
        Ok(Wrapped { key: self.name.clone(), root: ciphertext })
    }

    fn unwrap(&self, binding: &Binding, wrapped: &Wrapped) -> Result<Secret, ProviderError> {
        let bound = BASE64.encode(&binding.aad());
        let question = Unwrapping { ciphertext: &wrapped.root, associated_data: &bound, context: &bound };
        let plaintext = Zeroizing::new(self.asked::<Data<Plaintext>>("decrypt", &question)?.data.plaintext);
        root_of(&plaintext)
    }

    fn tend(&self) -> Result<Option<Duration>, ProviderError> {
        let (token, renew) = match self.session().as_ref() {
            Some(Session { token, renew: Some(renew) }) => (token.clone(), *renew),
            Some(Session { renew: None, .. }) | None => return Ok(None),
        };
        let left = renew.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Ok(Some(left));
        }
        let reply = self.send(Method::POST, "/v1/auth/token/renew-self", Some(&token), &Bytes::from_static(b"{}"))?;
        match reply.status {
            StatusCode::OK => {
                let session = session_of(&reply)?;
                let next = session.renew.map(|renew| renew.saturating_duration_since(Instant::now()));
                *self.session() = Some(session);
                Ok(next)
            }
            // It has come to its end, or was taken back: the next question begins with another.
            StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                *self.session() = None;
                self.log_in()?;
                let session = self.session();
                let renew = session.as_ref().and_then(|session| session.renew);
                Ok(renew.map(|renew| renew.saturating_duration_since(Instant::now()).max(Duration::from_secs(1))))
            }
            other => Err(remote::outage(other, known(&reply))),
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        // Credentials are not among them: they are read anew when they are needed.
        self.config.service.files().to_vec()
    }
}

impl fmt::Debug for Transit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transit").field("service", &self.config.service).field("name", &self.name).finish_non_exhaustive()
    }
}

fn not_taken() -> ProviderError {
    ProviderError::Credentials(
        "the login with AppRole is refused: its secret id may have expired or been used up, or this address is not one the role is bound to".to_owned(),
    )
}

/// The 32 bytes of a root in standard base64.
pub(super) fn root_of(text: &str) -> Result<Secret, ProviderError> {
    const WRONG: ProviderError = ProviderError::Lied("what it unwrapped is not 32 bytes, as every root is");
    let bytes = BASE64.decode(text.as_bytes()).map(Zeroizing::new).map_err(|_spelling| WRONG)?;
    let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_length| WRONG)?;
    Ok(Secret::from_bytes(*bytes))
}

fn json(question: &impl Serialize) -> Result<Bytes, ProviderError> {
    let text = serde_json::to_string(question);
    text.map(|text| secret_body(Zeroizing::new(text)))
        .map_err(|_never| ProviderError::Local("the question cannot be written".to_owned()))
}

fn no_body() -> Bytes {
    Bytes::new()
}

fn parsed<T: for<'a> Deserialize<'a>>(reply: &Reply) -> Result<T, ProviderError> {
    // What serde says may quote what was sent.
    serde_json::from_slice(&reply.body)
        .map_err(|_may_quote| ProviderError::Lied("it is not what the API of Vault answers to this question"))
}

fn session_of(reply: &Reply) -> Result<Session, ProviderError> {
    if reply.status != StatusCode::OK {
        return answer::<Auth>(reply).map(|_never| Session { token: Zeroizing::default(), renew: None });
    }
    let Granted { client_token, lease_duration } = parsed::<Auth>(reply)?.auth;
    Ok(Session { token: Zeroizing::new(client_token), renew: renewal(lease_duration) })
}

/// When a token that is good for so many seconds is renewed: between half and three quarters of that. One that cannot be renewed is
/// replaced then: a new login comes before the old one ends.
fn renewal(ttl: u64) -> Option<Instant> {
    // Zero is for ever. A server's word for centuries is not added to any time.
    let ttl = Duration::from_secs(ttl.min(10 * 365 * 24 * 3600));
    if ttl.is_zero() { None } else { Instant::now().checked_add(ttl.mul_f64(remote::share(0.5, 0.75))) }
}

/// The answer to a question about the key.
fn answer<T: for<'a> Deserialize<'a>>(reply: &Reply) -> Result<T, ProviderError> {
    match reply.status {
        StatusCode::OK => parsed(reply),
        StatusCode::FORBIDDEN => Err(ProviderError::Denied(
            "permission denied: the policy of our token lacks `update` on the paths encrypt/KEY and decrypt/KEY of the engine, or was taken away".to_owned(),
        )),
        StatusCode::NOT_FOUND => {
            Err(ProviderError::Denied("there is no such engine, key or namespace (HTTP 404): see `mount`, `key` and `namespace`".to_owned()))
        }
        StatusCode::BAD_REQUEST => match known(reply) {
            "" => Err(ProviderError::Outage("it answered 400: it takes our question for malformed, or cannot say why not".to_owned())),
            why @ ("encryption key not found" | "too old") => {
                let why = if why == "too old" {
                    "the version of the key that wrapped this root is below its min_decryption_version"
                } else {
                    "there is no such key"
                };
                Err(ProviderError::Denied(why.to_owned()))
            }
            "message authentication failed" | "invalid ciphertext" => Err(ProviderError::NotOurs),
            why => Err(ProviderError::Outage(format!("it answered 400 ({why}): the key must be of a type with associated data, aes256-gcm96 or chacha20-poly1305"))),
        },
        other => Err(remote::outage(other, known(reply))),
    }
}

/// Which of the sentences that the server is known to say stands in its answer; what else it says is not repeated.
fn known(reply: &Reply) -> &'static str {
    const KNOWN: [&str; 9] = [
        "message authentication failed",
        "invalid ciphertext",
        "encryption key not found",
        "too old",
        "associated_data",
        "context",
        "Vault is sealed",
        "rate limit",
        "permission denied",
    ];
    let said: Errors = serde_json::from_slice(&reply.body).unwrap_or_default();
    KNOWN.into_iter().find(|known| said.errors.iter().any(|error| error.contains(known))).unwrap_or("")
}

#[derive(Serialize)]
struct Wrapping<'a> {
    plaintext: &'a str,
    associated_data: &'a str,
    context: &'a str,
}

#[derive(Serialize)]
struct Unwrapping<'a> {
    ciphertext: &'a str,
    associated_data: &'a str,
    context: &'a str,
}

#[derive(Serialize)]
struct RoleLogin<'a> {
    role_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_id: Option<&'a str>,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct Ciphertext {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Plaintext {
    plaintext: String,
}

#[derive(Deserialize, Default)]
struct About {
    #[serde(default)]
    ttl: u64,
}

#[derive(Deserialize)]
struct Auth {
    auth: Granted,
}

#[derive(Deserialize)]
struct Granted {
    client_token: String,
    #[serde(default)]
    lease_duration: u64,
}

#[derive(Deserialize, Default)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}
