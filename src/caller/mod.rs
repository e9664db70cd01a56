//! Who is asking. Pure.
//!
//! A caller is known in exactly one way: by an API credential, of which the configuration holds only the SHA-256, by a token that
//! a configured issuer has signed, by the client certificate of its connection, or by the uid of the process at the other end of
//! a Unix socket. What a client says of itself in any other header is not looked at.
//!
//! Always holds: what comes first in that order decides alone, so a wrong credential or token is never made good by a certificate,
//! nor an unknown certificate by the peer's uid; a credential and a token together are refused; the comparison
//! takes the same time whatever the secret, and a name that is not known costs what a wrong secret costs (T23). Errors hold
//! neither the name nor the secret that was sent. `front` calls [`Callers::identify`] once per request; `cli` makes credentials.

mod certificate;
mod secrets;
mod token;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

pub use certificate::{Certificate, SpiffeError, canonical_subject, check_spiffe};
pub use secrets::Secrets;
pub use token::{Algorithm, Bound, Fault, Issuer, IssuerKeys, KeySet, KeySetError, Unnamed, Vouched};

use crate::base::{CallerName, IssuerName};
use crate::crypto::{RandomError, base64url, constant_time_eq, random, sha256};

/// Length of a secret in bytes, before it is written as base64url text.
const SECRET_BYTES: usize = 32;
/// Longest header value that is looked at, in bytes. A credential of ours has 44 and the name.
const MAX_CREDENTIAL_BYTES: usize = 512;

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name in the configuration.
    pub name: CallerName,
    /// By what it is known.
    pub how: How,
    /// What its token vouches for, and until when.
    pub vouched: Option<Arc<Vouched>>,
}

/// By what a caller is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The header `Sudare-Credential`.
    Credential,
    /// A client certificate.
    Certificate,
    /// The uid of the peer of a Unix socket, told by the kernel.
    PeerUid,
    /// A JWT that an issuer of the configuration has signed.
    Token,
}

/// What a request, and the connection it came over, tell of who asks. Forwarded-identity headers are no part of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Presented<'r> {
    /// Every value of `Sudare-Credential`.
    pub credentials: &'r [&'r [u8]],
    /// The uid of the peer of a Unix socket, told by the kernel.
    pub uid: Option<u32>,
    /// The client's certificate, after its chain has been verified.
    pub certificate: Option<&'r Certificate>,
    /// The token of the `Authorization` header, if it says to be from one of our issuers ([`Callers::token_in`]).
    pub token: Option<&'r str>,
    /// The time, for tokens.
    pub now_ms: u64,
}

/// One entry as configured.
#[derive(Clone)]
pub enum Means {
    /// SHA-256 of the secret's text, as it stands behind the dot of the header.
    CredentialSha256([u8; 32]),
    /// The SPIFFE id of the client's certificate, as [`check_spiffe`] takes it.
    Spiffe(Box<str>),
    /// The subject of the client's certificate, as [`canonical_subject`] writes it.
    Subject(Box<str>),
    /// The uid of the peer.
    Uid(u32),
    /// A claim of the tokens of an issuer.
    Token {
        /// `[jwt.NAME]`.
        issuer: IssuerName,
        /// The claim, such as `sub`.
        claim: Box<str>,
        /// Its value, compared exactly.
        equals: Box<str>,
    },
}

/// `[caller.*]` as run.
#[derive(Default)]
pub struct Callers {
    /// In the order of the configuration.
    names: Vec<CallerName>,
    /// The same, to ask for one.
    known: HashSet<CallerName>,
    by_name: HashMap<Box<str>, (CallerName, [u8; 32])>,
    by_spiffe: HashMap<Box<str>, CallerName>,
    by_subject: HashMap<Box<str>, CallerName>,
    by_uid: HashMap<u32, CallerName>,
    by_token: token::Desks,
}

/// Two entries that cannot both stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallerConfigError {
    /// One uid, one credential, one SPIFFE id, one subject or one claim for two names.
    #[error("callers {0} and {1} cannot be told apart: give each its own credential, certificate, claim or uid")]
    Same(CallerName, CallerName),
    /// One name with two entries.
    #[error("caller {0} stands twice: exactly one way to be known is allowed")]
    Twice(CallerName),
    /// A token of an issuer that is not configured.
    #[error("caller {0} is known by the tokens of an issuer that is not there: add [jwt.NAME]")]
    NoIssuer(CallerName),
}

/// 401. One sentence for every reason but a malformed header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// Neither a credential nor a certificate nor a known uid.
    #[error("no caller known: send Sudare-Credential: name.secret, or connect with the certificate of a caller")]
    None,
    /// Unknown name or wrong secret; which of the two is not said.
    #[error("the credential is not known")]
    Refused,
    /// A certificate of a trusted authority that no caller is known by.
    #[error("the client certificate is that of no caller: connect with another, or send Sudare-Credential: name.secret")]
    Certificate,
    /// More than one header, or not of the form `name.secret`.
    #[error("send one Sudare-Credential header, as name.secret")]
    Malformed,
    /// A credential and a token: they might be of two callers.
    #[error("send Sudare-Credential or a bearer token, not both")]
    Both,
    /// A token of one of our issuers that is not good. Why is not said to the client.
    #[error("the bearer token is not accepted")]
    Token {
        /// Of whom it says to be.
        issuer: IssuerName,
        /// Why not.
        fault: Fault,
    },
}

impl Callers {
    /// Callers without issuers of tokens.
    ///
    /// # Errors
    ///
    /// As [`Callers::with_issuers`].
    pub fn new(entries: Vec<(CallerName, Means)>) -> Result<Self, CallerConfigError> {
        Self::with_issuers(entries, Vec::new())
    }

    /// # Errors
    ///
    /// Two callers with one uid, credential hash or claim, a name that stands twice, an issuer that is not there.
    pub fn with_issuers(entries: Vec<(CallerName, Means)>, issuers: Vec<Issuer>) -> Result<Self, CallerConfigError> {
        let mut callers = Self { by_token: token::Desks::new(issuers), ..Self::default() };
        let mut by_hash: HashMap<[u8; 32], CallerName> = HashMap::new();
        for (name, means) in entries {
            if !callers.known.insert(name.clone()) {
                return Err(CallerConfigError::Twice(name));
            }
            let same = match means {
                Means::CredentialSha256(hash) => {
                    callers.by_name.insert(Box::from(name.as_str()), (name.clone(), hash));
                    by_hash.insert(hash, name.clone())
                }
                Means::Spiffe(id) => callers.by_spiffe.insert(id, name.clone()),
                Means::Subject(subject) => callers.by_subject.insert(subject, name.clone()),
                Means::Uid(uid) => callers.by_uid.insert(uid, name.clone()),
                Means::Token { issuer, claim, equals } => match callers.by_token.add(&name, &issuer, &claim, &equals) {
                    Ok(()) => None,
                    Err(token::Clash::Same(other)) => Some(other),
                    Err(token::Clash::NoIssuer) => return Err(CallerConfigError::NoIssuer(name)),
                },
            };
            if let Some(first) = same {
                return Err(CallerConfigError::Same(first, name));
            }
            callers.names.push(name);
        }
        Ok(callers)
    }

    /// Finds out who asks.
    ///
    /// # Errors
    ///
    /// [`Unknown`], without a trace of what was sent.
    pub fn identify(&self, presented: &Presented<'_>) -> Result<Caller, Unknown> {
        match (presented.credentials, presented.token, presented.certificate) {
            ([_, ..], Some(_), _) => Err(Unknown::Both),
            ([one], None, _) => self.by_credential(one),
            ([_, _, ..], None, _) => Err(Unknown::Malformed),
            ([], Some(token), certificate) => self.by_token.identify(token, certificate, presented.now_ms),
            ([], None, Some(certificate)) => self.by_certificate(certificate),
            ([], None, None) => {
                let name = presented.uid.and_then(|uid| self.by_uid.get(&uid)).ok_or(Unknown::None)?;
                Ok(Caller { name: name.clone(), how: How::PeerUid, vouched: None })
            }
        }
    }

    /// Is any caller known by a token? If not, `Authorization` is the database's alone.
    pub fn take_tokens(&self) -> bool {
        !self.by_token.is_empty()
    }

    /// The token of an `Authorization` header that says to be from one of our issuers; any other is for the database. Nothing of
    /// it is verified.
    pub fn token_in<'h>(&self, authorization: &'h [u8]) -> Option<&'h str> {
        self.by_token.claimed(authorization)
    }

    /// Does what [`Callers::identify`] found out still hold? For replies that last (T33).
    pub fn still_know(&self, caller: &Caller, now_ms: u64) -> bool {
        let vouched = caller.vouched.as_ref();
        self.known.contains(&caller.name) && vouched.is_none_or(|vouched| self.by_token.still(&caller.name, vouched, now_ms))
    }

    /// All callers, in the order of the configuration.
    pub fn names(&self) -> Vec<&CallerName> {
        self.names.iter().collect()
    }

    fn by_certificate(&self, certificate: &Certificate) -> Result<Caller, Unknown> {
        let by_spiffe = certificate.spiffe.as_deref().and_then(|id| self.by_spiffe.get(id));
        let by_subject = || certificate.subject.as_deref().and_then(|subject| self.by_subject.get(subject));
        let name = by_spiffe.or_else(by_subject).ok_or(Unknown::Certificate)?;
        Ok(Caller { name: name.clone(), how: How::Certificate, vouched: None })
    }

    fn by_credential(&self, credential: &[u8]) -> Result<Caller, Unknown> {
        let (name, secret) = parts(credential).ok_or(Unknown::Malformed)?;
        let known = self.by_name.get(name);
        // The hash of nothing that can be sent: a name that is not known is compared like any other.
        let expected = known.map_or([0; 32], |(_, hash)| *hash);
        let same = constant_time_eq(&sha256(secret), &expected);
        match known {
            Some((name, _)) if same => Ok(Caller { name: name.clone(), how: How::Credential, vouched: None }),
            _ => Err(Unknown::Refused),
        }
    }
}

/// Makes a credential for `name`: the header value `name.secret`, to be shown once, and the SHA-256 for the configuration.
///
/// # Errors
///
/// The operating system gives no randomness.
pub fn new_credential(name: &CallerName) -> Result<(String, [u8; 32]), RandomError> {
    let secret = base64url(&random::<SECRET_BYTES>()?);
    let hash = sha256(secret.as_bytes());
    Ok((format!("{name}.{secret}"), hash))
}

/// Splits `name.secret` at the first dot. Both must be there, in visible ASCII.
fn parts(credential: &[u8]) -> Option<(&str, &[u8])> {
    if credential.len() > MAX_CREDENTIAL_BYTES || !credential.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let (name, secret) = std::str::from_utf8(credential).ok()?.split_once('.')?;
    (!name.is_empty() && !secret.is_empty()).then_some((name, secret.as_bytes()))
}

impl fmt::Debug for Callers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Callers").field(&self.names).finish()
    }
}

impl fmt::Debug for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CredentialSha256(_) => f.write_str("CredentialSha256(..)"),
            Self::Spiffe(id) => f.debug_tuple("Spiffe").field(id).finish(),
            Self::Subject(subject) => f.debug_tuple("Subject").field(subject).finish(),
            Self::Uid(uid) => f.debug_tuple("Uid").field(uid).finish(),
            Self::Token { issuer, claim, .. } => {
                f.debug_struct("Token").field("issuer", issuer).field("claim", claim).finish_non_exhaustive()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";

    fn name(text: &str) -> CallerName {
        CallerName::new(text)
    }

    fn asks<'r>(credentials: &'r [&'r [u8]], uid: Option<u32>) -> Presented<'r> {
        Presented { credentials, uid, ..Presented::default() }
    }

    fn callers() -> Callers {
        Callers::new(vec![
            (name("helpdesk"), Means::CredentialSha256(sha256(SECRET.as_bytes()))),
            (name("shipping"), Means::Uid(1001)),
        ])
        .unwrap()
    }

    #[test]
    fn a_credential_or_a_uid_names_its_caller() {
        let sent = format!("helpdesk.{SECRET}");
        let caller = callers().identify(&asks(&[sent.as_bytes()], None)).unwrap();
        assert_eq!((caller.name.as_str(), caller.how), ("helpdesk", How::Credential));
        let caller = callers().identify(&asks(&[], Some(1001))).unwrap();
        assert_eq!((caller.name.as_str(), caller.how), ("shipping", How::PeerUid));
        assert_eq!(callers().identify(&asks(&[], None)), Err(Unknown::None));
        assert_eq!(callers().identify(&asks(&[], Some(1002))), Err(Unknown::None));
        assert_eq!(callers().names(), [&name("helpdesk"), &name("shipping")]);
    }

    #[test]
    fn a_new_credential_is_known_by_its_hash_alone() {
        let (sent, hash) = new_credential(&name("mailer")).unwrap();
        let (_, secret) = sent.split_once('.').unwrap();
        assert_eq!(secret.len(), 43);
        assert_eq!(crate::crypto::from_base64url(secret.as_bytes()).unwrap().len(), SECRET_BYTES);
        let callers = Callers::new(vec![(name("mailer"), Means::CredentialSha256(hash))]).unwrap();
        assert_eq!(callers.identify(&asks(&[sent.as_bytes()], None)).unwrap().name, name("mailer"));
        assert_ne!(new_credential(&name("mailer")).unwrap().0, sent);
    }

    #[test]
    fn t23_every_wrong_credential_gets_one_answer() {
        let callers = callers();
        let right = format!("helpdesk.{SECRET}");
        let mut wrong = vec![
            format!("nobody.{SECRET}"),
            format!("shipping.{SECRET}"),
            format!("Helpdesk.{SECRET}"),
            format!("helpdesk.{SECRET}="),
            format!("helpdesk..{SECRET}"),
            "helpdesk.x".to_owned(),
            // The comparison value of unknown names is not the hash of this or any text.
            format!("nobody.{}", "0".repeat(64)),
        ];
        for at in "helpdesk.".len()..right.len() {
            let mut bytes = right.clone().into_bytes();
            bytes[at] ^= 1;
            wrong.push(String::from_utf8(bytes).unwrap());
        }
        for sent in wrong {
            assert_eq!(callers.identify(&asks(&[sent.as_bytes()], None)), Err(Unknown::Refused), "{sent}");
        }
    }

    #[test]
    fn t23_an_unknown_name_is_compared_like_a_known_one() {
        // Both go through one hash and one constant-time comparison of 32 bytes; the dummy never matches.
        let none = Callers::default();
        for secret in [SECRET, "", "\0"] {
            assert_ne!(sha256(secret.as_bytes()), [0; 32]);
        }
        assert_eq!(none.identify(&asks(&[format!("helpdesk.{SECRET}").as_bytes()], None)), Err(Unknown::Refused));
        assert_eq!(callers().identify(&asks(&[b"helpdesk.wrong"], None)), Err(Unknown::Refused));
    }

    #[test]
    fn a_wrong_credential_is_not_made_good_by_the_uid() {
        assert_eq!(callers().identify(&asks(&[b"helpdesk.wrong"], Some(1001))), Err(Unknown::Refused));
        assert_eq!(callers().identify(&asks(&[b""], Some(1001))), Err(Unknown::Malformed));
        let sent = format!("helpdesk.{SECRET}");
        assert_eq!(callers().identify(&asks(&[sent.as_bytes(), sent.as_bytes()], Some(1001))), Err(Unknown::Malformed));
    }

    fn certificate(spiffe: Option<&str>, subject: Option<&str>) -> Certificate {
        Certificate { spiffe: spiffe.map(Box::from), subject: subject.map(Box::from), sha256: [0; 32] }
    }

    #[test]
    fn a_certificate_names_its_caller_to_the_letter() {
        let (id, subject) = ("spiffe://shop.example/shipping", "CN=helpdesk,O=Shop");
        let callers = Callers::new(vec![
            (name("shipping"), Means::Spiffe(id.into())),
            (name("helpdesk"), Means::Subject(subject.into())),
            (name("mailer"), Means::Uid(1001)),
        ])
        .unwrap();
        let known = |certificate: Certificate| {
            callers.identify(&Presented { certificate: Some(&certificate), uid: Some(1001), ..Presented::default() })
        };
        let caller = known(certificate(Some(id), None)).unwrap();
        assert_eq!((caller.name.as_str(), caller.how), ("shipping", How::Certificate));
        assert_eq!(known(certificate(None, Some(subject))).unwrap().name.as_str(), "helpdesk");
        // Also where the uid is known: an unknown certificate is not made good by it.
        for wrong in [
            certificate(None, None),
            certificate(Some("spiffe://shop.example/shipping/x"), None),
            certificate(Some("spiffe://other.example/shipping"), None),
            certificate(Some(subject), Some(id)),
            certificate(None, Some("CN=helpdesk")),
            certificate(None, Some("CN=helpdesk,O=shop")),
        ] {
            assert_eq!(known(wrong), Err(Unknown::Certificate));
        }
    }

    #[test]
    fn a_wrong_credential_is_not_made_good_by_a_certificate() {
        let id = "spiffe://shop.example/shipping";
        let sent = format!("helpdesk.{SECRET}");
        let hash = Means::CredentialSha256(sha256(SECRET.as_bytes()));
        let callers = Callers::new(vec![(name("helpdesk"), hash), (name("shipping"), Means::Spiffe(id.into()))]).unwrap();
        let certificate = certificate(Some(id), None);
        let asks = |credentials: &[&[u8]]| {
            callers
                .identify(&Presented { credentials, certificate: Some(&certificate), ..Presented::default() })
                .map(|caller| caller.how)
        };
        assert_eq!(asks(&[]), Ok(How::Certificate));
        assert_eq!(asks(&[sent.as_bytes()]), Ok(How::Credential));
        assert_eq!(asks(&[b"helpdesk.wrong"]), Err(Unknown::Refused));
        assert_eq!(asks(&[b""]), Err(Unknown::Malformed));
    }

    #[test]
    fn malformed_headers_are_told_so() {
        let long = format!("helpdesk.{}", "a".repeat(MAX_CREDENTIAL_BYTES));
        for sent in
            ["helpdesk", ".secret", "helpdesk.", "help desk.secret", "helpdesk.sec\tret", "helpdesk.se\u{e9}", long.as_str()]
        {
            assert_eq!(callers().identify(&asks(&[sent.as_bytes()], None)), Err(Unknown::Malformed), "{sent}");
        }
    }

    #[test]
    fn callers_that_cannot_be_told_apart_are_refused() {
        let hash = Means::CredentialSha256([7; 32]);
        let same = |a, b| Callers::new(vec![(name("a"), a), (name("b"), b)]).unwrap_err();
        assert_eq!(same(hash.clone(), hash.clone()), CallerConfigError::Same(name("a"), name("b")));
        assert_eq!(same(Means::Uid(5), Means::Uid(5)), CallerConfigError::Same(name("a"), name("b")));
        for means in [Means::Spiffe("spiffe://a/b".into()), Means::Subject("CN=a".into())] {
            assert_eq!(same(means.clone(), means), CallerConfigError::Same(name("a"), name("b")));
        }
        let twice = Callers::new(vec![(name("a"), hash), (name("a"), Means::Uid(5))]).unwrap_err();
        assert_eq!(twice, CallerConfigError::Twice(name("a")));
    }

    #[test]
    fn t13_debug_and_errors_show_no_secret() {
        let hash = sha256(SECRET.as_bytes());
        let shown = format!("{:?} {:?}", callers(), Means::CredentialSha256(hash));
        assert_eq!(shown, r#"Callers([CallerName("helpdesk"), CallerName("shipping")]) CredentialSha256(..)"#);
        let error = callers().identify(&asks(&[b"canary-name.canary-secret"], None)).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
