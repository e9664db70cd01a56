//! A root under a key of AWS Key Management Service, over its JSON API. Only with the feature `aws-kms`.
//!
//! The binding is the *encryption context* `{"controller": …, "ring": …}`, so that a policy of IAM can demand it, and CloudTrail shows it.
//! Requests are signed with SigV4 by `aws-sigv4`; who we are: [`credentials`].
//!
//! Always holds: the key that unwraps must be the one that the ring says wrapped it, by the full name that KMS answers with; a token that
//! ends in between is replaced and the question asked once more, and no more than that; of what the service sent nothing stands in an error
//! but which of its known exceptions it was. Called through [`Provider`].

mod credentials;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use data_encoding::BASE64;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::provider::{Binding, Provider, ProviderError, ProviderName, Wrapped};
use super::remote::{self, secret_body};
use super::vault::root_of;
use crate::base::Clock;
use crate::crypto::{self, Secret};
use crate::net::fetch::{Reply, Service};
pub use credentials::{Environment, Known, WhoWeAre};

/// Which key, where, and who we are there.
#[derive(Debug, Clone)]
pub struct Config {
    /// The service's endpoint, with its scheme.
    pub service: Service,
    /// `http` or `https`: part of what is signed is only the host, but it must be a whole URI.
    pub scheme: &'static str,
    /// The region that requests are signed for.
    pub region: String,
    /// The key: its ARN, its id, or an alias.
    pub key: String,
    /// Where credentials come from.
    pub who: WhoWeAre,
}

/// The provider `aws-kms`.
pub struct Kms {
    config: Config,
    clock: Arc<dyn Clock>,
    known: Mutex<Option<Known>>,
}

/// What KMS said, so far as it matters.
enum Said {
    Good(Reply),
    /// The credentials have ended, or are not known (any more).
    NotKnown(&'static str),
    Bad(ProviderError),
}

impl Kms {
    /// Asks nothing yet.
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, known: Mutex::new(None) }
    }

    fn credentials(&self) -> Result<Known, ProviderError> {
        let kept = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now_ms = self.clock.now_ms();
        if let Some(known) = kept.filter(|known| known.holds_at(now_ms)) {
            return Ok(known);
        }
        let known = self.config.who.find(now_ms)?;
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        Ok(known)
    }

    fn forget(&self) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn asked<T: for<'a> Deserialize<'a>>(&self, operation: &str, question: &impl Serialize) -> Result<T, ProviderError> {
        let text = serde_json::to_string(question).map(Zeroizing::new);
        let text = text.map_err(|_never| ProviderError::Local("the question cannot be written".to_owned()))?;
        let body = secret_body(text);
        let mut said = self.send(operation, &body)?;
        if let Said::NotKnown(_) = said {
            self.forget();
            said = self.send(operation, &body)?;
        }
        match said {
            Said::Good(reply) => serde_json::from_slice(&reply.body)
                .map_err(|_may_quote| ProviderError::Lied("it is not what the API of KMS answers to this question")),
            Said::NotKnown(exception) => {
                self.forget();
                Err(ProviderError::Credentials(format!("{exception}: see that they are of this account, and not expired")))
            }
            Said::Bad(error) => Err(error),
        }
    }

    fn send(&self, operation: &str, body: &Bytes) -> Result<Said, ProviderError> {
        let known = self.credentials()?;
        let now_ms = self.clock.now_ms();
        let request = Request::post(format!("{}://{}/", self.config.scheme, self.config.service.authority()))
            .header(header::HOST, self.config.service.authority())
            .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
            .header("x-amz-target", format!("TrentService.{operation}"))
            .body(body.clone());
        let mut request = request.map_err(|_invalid| ProviderError::Local("the endpoint cannot be sent".to_owned()))?;
        signed(&mut request, &known, &self.config.region, now_ms)?;
        *request.uri_mut() = Uri::from_static("/");
        let reply = remote::ask(&self.config.service, request)?;
        Ok(if reply.status == StatusCode::OK { Said::Good(reply) } else { understood(&reply, now_ms) })
    }
}

impl Provider for Kms {
    fn name(&self) -> ProviderName {
        ProviderName::AwsKms
    }

    fn key(&self) -> &str {
        &self.config.key
    }

    fn may_have_wrapped(&self, wrapped: &Wrapped) -> bool {
        // An alias or an id may lead to any key: that is found out when it answers. Two full names are compared.
        !is_full_name(&self.config.key) || wrapped.key == self.config.key
    }

    fn wrap(&self, binding: &Binding, root: &Secret) -> Result<Wrapped, ProviderError> {
        let plaintext = Zeroizing::new(BASE64.encode(root.expose()));
        let question = Encrypt { key_id: &self.config.key, plaintext: &plaintext, encryption_context: context(binding) };
        let Encrypted { key_id, ciphertext_blob } = self.asked("Encrypt", &question)?;
        let blob = BASE64.decode(ciphertext_blob.as_bytes()).ok().filter(|blob| !blob.is_empty());
        let blob = blob.ok_or(ProviderError::Lied("it wrapped the root to something that is not base64"))?;
        if !key_id.starts_with("arn:") {
            return Err(ProviderError::Lied("it does not say by its full name (ARN) which key it wrapped the root under"));
        }
        Ok(Wrapped { key: key_id, root: crypto::base64url(&blob) })
    }

    fn unwrap(&self, binding: &Binding, wrapped: &Wrapped) -> Result<Secret, ProviderError> {
        let blob = crypto::from_base64url(wrapped.root.as_bytes()).map_err(|_spelling| ProviderError::NotOurs)?;
        let blob = BASE64.encode(&blob);
        // The key that the ring names, not the alias: that may lead elsewhere by now.
        let question = Decrypt { key_id: &wrapped.key, ciphertext_blob: &blob, encryption_context: context(binding) };
        let Decrypted { key_id, plaintext } = self.asked("Decrypt", &question)?;
        let plaintext = Zeroizing::new(plaintext);
        if key_id != wrapped.key {
            return Err(ProviderError::Lied("it unwrapped the root under another key than the one that wrapped it"));
        }
        root_of(&plaintext)
    }

    fn files(&self) -> Vec<PathBuf> {
        self.config.service.files().to_vec()
    }
}

impl fmt::Debug for Kms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kms").field("service", &self.config.service).field("key", &self.config.key).finish_non_exhaustive()
    }
}

fn is_full_name(key: &str) -> bool {
    key.starts_with("arn:") && key.contains(":key/")
}

fn context(binding: &Binding) -> BTreeMap<&'static str, String> {
    BTreeMap::from([("controller", binding.controller.clone()), ("ring", binding.ring.clone())])
}

/// Signs a request as it stands.
fn signed(request: &mut Request<Bytes>, known: &Known, region: &str, now_ms: u64) -> Result<(), ProviderError> {
    // What the library says may quote a header.
    let unsigned = || ProviderError::Local("the request to KMS cannot be signed".to_owned());
    let identity = known.identity();
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(now_ms)).ok_or_else(unsigned)?;
    let params = v4::SigningParams::builder().identity(&identity).region(region).name("kms").time(time);
    let params = params.settings(SigningSettings::default()).build().map_err(|_incomplete| unsigned())?.into();
    let headers: Vec<(&str, &str)> =
        request.headers().iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let uri = request.uri().to_string();
    let signable = SignableRequest::new("POST", uri, headers.into_iter(), SignableBody::Bytes(request.body()));
    let signable = signable.map_err(|_may_quote| unsigned())?;
    let (instructions, _signature) = sign(signable, &params).map_err(|_may_quote| unsigned())?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

/// What an error of the service means.
fn understood(reply: &Reply, now_ms: u64) -> Said {
    #[derive(Deserialize, Default)]
    struct Exception {
        #[serde(rename = "__type", default)]
        name: String,
    }
    let exception: Exception = serde_json::from_slice(&reply.body).unwrap_or_default();
    let name = exception.name.rsplit('#').next().filter(|name| !name.is_empty());
    // What stands before the service answers in XML, whatever was asked.
    let in_xml = || std::str::from_utf8(&reply.body).ok().and_then(|text| credentials::between(text, "<Code>", "</Code>"));
    let name = name.or_else(in_xml).unwrap_or_default();
    let denied = |why: &str| Said::Bad(ProviderError::Denied(why.to_owned()));
    match name {
        "ExpiredTokenException" | "ExpiredToken" => Said::NotKnown("the session has expired"),
        "UnrecognizedClientException" | "InvalidClientTokenId" => Said::NotKnown("the access key is not known"),
        "MissingAuthenticationTokenException" | "IncompleteSignature" | "IncompleteSignatureException" => {
            Said::NotKnown("the signature is not complete")
        }
        // Both are also what it says to a signature of another time.
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestExpired" | "RequestTimeTooSkewed" => {
            match apart(&reply.headers, now_ms) {
                Some(apart) => Said::Bad(ProviderError::Clock(apart)),
                None => Said::NotKnown("the signature does not fit: the secret access key may be wrong"),
            }
        }
        "AccessDeniedException" | "AccessDenied" => denied(
            "AccessDenied: the policies of the key and of our role must allow kms:Encrypt and kms:Decrypt on it, with this encryption context",
        ),
        "DisabledException" => denied("it is disabled"),
        "KMSInvalidStateException" => denied("it is pending deletion or import, or its key store is not connected"),
        "NotFoundException" => denied("there is no such key in this account and region"),
        "InvalidKeyUsageException" => denied("it is not for encryption"),
        "InvalidCiphertextException" | "IncorrectKeyException" => Said::Bad(ProviderError::NotOurs),
        "ThrottlingException" => Said::Bad(remote::outage(reply.status, "Throttling")),
        "KeyUnavailableException" => Said::Bad(remote::outage(reply.status, "KeyUnavailable")),
        "DependencyTimeoutException" => Said::Bad(remote::outage(reply.status, "DependencyTimeout")),
        "KMSInternalException" => Said::Bad(remote::outage(reply.status, "KMSInternal")),
        "ValidationException" => Said::Bad(remote::outage(reply.status, "Validation: it takes the name of the key for none")),
        _ if reply.status == StatusCode::FORBIDDEN => denied("403 without a reason that is known"),
        _ => Said::Bad(remote::outage(reply.status, "")),
    }
}

/// How far the clocks are apart, by the service's `Date`, if that is more than a signature bears (five minutes).
fn apart(headers: &HeaderMap, now_ms: u64) -> Option<String> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
    let ours = i64::try_from(now_ms / 1000).ok()?;
    let minutes = (ours - theirs).abs() / 60;
    let way = if ours > theirs { "ahead of" } else { "behind" };
    (minutes >= 5).then(|| format!("ours is {minutes} minutes {way} the service's: set the clock of this machine (NTP)"))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypt<'a> {
    key_id: &'a str,
    plaintext: &'a str,
    encryption_context: BTreeMap<&'static str, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Encrypted {
    key_id: String,
    ciphertext_blob: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypt<'a> {
    key_id: &'a str,
    ciphertext_blob: &'a str,
    encryption_context: BTreeMap<&'static str, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Decrypted {
    key_id: String,
    plaintext: String,
}
