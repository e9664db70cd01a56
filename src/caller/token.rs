//! Callers known by a signed JWT (RFC 7519, RFC 9068). `jsonwebtoken` reads it, `crypto` verifies its signature; what is asked
//! of it stands here (T22).
//!
//! Always holds: the key comes from the issuer's own set and the algorithm from the issuer's own list, never from what the token
//! brings along (`jku`, `jwk`, `x5u`, `x5c` are not looked at); `iss`, `aud`, `exp` and `nbf` are there and right; the token's
//! bytes are neither kept nor shown. The client hears one sentence for every reason; the reason is the operator's.

mod claims;
mod keys;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

pub use jsonwebtoken::Algorithm;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Header, Validation};

pub use keys::{IssuerKeys, KeySet, KeySetError};

use claims::{Claims, SaysIssuer};

use super::{Caller, Certificate, How, Unknown};
use crate::base::limits::MAX_TOKEN_BYTES;
use crate::base::{CallerName, IssuerName};

/// `[jwt.NAME]` as run: somebody who signs tokens, and what must hold of them.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its name in the configuration.
    pub name: IssuerName,
    /// `iss`, compared exactly.
    pub issuer: Box<str>,
    /// `aud` holds one of these.
    pub audience: Vec<Box<str>>,
    /// The only algorithms of signatures.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks may differ, in seconds.
    pub leeway_s: u64,
    /// Longest time from `iat` (or `nbf`) to `exp`, in seconds.
    pub max_lifetime_s: Option<u64>,
    /// The header's `typ`; if it is not given, `JWT`, `at+jwt` or nothing.
    pub typ: Option<Box<str>>,
    /// Whether tokens without a certificate are taken.
    pub bound: Bound,
    /// The claim that names purposes.
    pub purpose_claim: Box<str>,
    /// Who names purposes, if the token says nothing of them.
    pub unnamed: Unnamed,
    /// What it signs with.
    pub keys: Arc<IssuerKeys>,
}

/// Whether a token must be bound to the client's certificate. One that is bound is checked in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Both kinds are taken.
    Optional,
    /// Only tokens with `cnf.x5t#S256`.
    Required,
}

/// What a token may be used for that says nothing of purposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unnamed {
    /// Nothing.
    Nothing,
    /// Whatever the policy allows the caller.
    FromPolicy,
}

/// Why a token is not taken. The words are for the operator; the client hears [`super::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Over [`MAX_TOKEN_BYTES`].
    TooLong,
    /// Not a JWS of three parts, or with JSON that is not accepted.
    Malformed,
    /// Another `typ`, or one token in another.
    Type,
    /// `crit`, `b64` or `zip`: asks for what is not supported.
    Critical,
    /// An algorithm that is not allowed: at all, or with the key the token names.
    Algorithm,
    /// There are no keys of the issuer at present.
    NoKeys,
    /// A `kid` that is not in the issuer's set.
    UnknownKey,
    /// No `kid`, but several keys that fit.
    KeyNotNamed,
    /// The signature is not one of the key.
    Signature,
    /// `iss` is another one.
    Issuer,
    /// `aud` names others.
    Audience,
    /// `aud`, `exp` or `nbf` is not there.
    ClaimMissing,
    /// A claim has another type than it should.
    ClaimMalformed,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` lies ahead.
    NotYet,
    /// Good for longer than is allowed.
    Lifetime,
    /// Must be bound to a certificate, and is not.
    NotBound,
    /// Bound to another certificate than the connection's, or the connection has none.
    Certificate,
    /// Bound in a way that is not supported, such as DPoP.
    Confirmation,
    /// Good, but no caller is known by it.
    NoCaller,
}

impl Fault {
    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::Malformed => "malformed",
            Self::Type => "type",
            Self::Critical => "critical",
            Self::Algorithm => "algorithm",
            Self::NoKeys => "no-keys",
            Self::UnknownKey => "unknown-key",
            Self::KeyNotNamed => "key-not-named",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::ClaimMissing => "claim-missing",
            Self::ClaimMalformed => "claim-malformed",
            Self::Expired => "expired",
            Self::NotYet => "not-yet",
            Self::Lifetime => "lifetime",
            Self::NotBound => "not-bound",
            Self::Certificate => "certificate",
            Self::Confirmation => "confirmation",
            Self::NoCaller => "no-caller",
        }
    }
}

/// What a verified token vouches for, as long as it does.
#[derive(Clone, PartialEq, Eq)]
pub struct Vouched {
    issuer: IssuerName,
    key: [u8; 32],
    /// The claim by which the caller is known.
    value: Box<str>,
    until_ms: u64,
    purposes: Option<Box<[Box<str>]>>,
}

impl Vouched {
    /// The end of the token, with the leeway, in milliseconds since 1970.
    pub fn until_ms(&self) -> u64 {
        self.until_ms
    }

    /// The purposes it is for, by their names or DPV ids; `None` if it leaves them to the policy.
    pub fn purposes(&self) -> Option<&[Box<str>]> {
        self.purposes.as_deref()
    }
}

impl fmt::Debug for Vouched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouched").field("issuer", &self.issuer).field("until_ms", &self.until_ms).finish_non_exhaustive()
    }
}

/// An issuer, and who is known by its tokens.
#[derive(Debug)]
struct Desk {
    issuer: Issuer,
    /// The claim that tells them apart.
    claim: Box<str>,
    callers: HashMap<Box<str>, CallerName>,
}

/// All issuers with their callers.
#[derive(Debug, Default)]
pub(super) struct Desks(Vec<Desk>);

/// Why a caller cannot be known by a token.
pub(super) enum Clash {
    /// There is no such issuer.
    NoIssuer,
    /// Somebody else could be known by the same token.
    Same(CallerName),
}

impl Desks {
    pub(super) fn new(issuers: Vec<Issuer>) -> Self {
        Self(issuers.into_iter().map(|issuer| Desk { issuer, claim: Box::default(), callers: HashMap::new() }).collect())
    }

    /// Adds a caller. All callers of an issuer are known by one claim, so that a token cannot be that of two.
    pub(super) fn add(&mut self, name: &CallerName, issuer: &IssuerName, claim: &str, equals: &str) -> Result<(), Clash> {
        let desk = self.0.iter_mut().find(|desk| desk.issuer.name == *issuer).ok_or(Clash::NoIssuer)?;
        if let Some(other) = desk.callers.values().next().filter(|_| *desk.claim != *claim) {
            return Err(Clash::Same(other.clone()));
        }
        desk.claim = claim.into();
        match desk.callers.insert(equals.into(), name.clone()) {
            Some(other) => Err(Clash::Same(other)),
            None => Ok(()),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The token of an `Authorization` header, if it says to be from one of our issuers. Nothing of it is verified.
    pub(super) fn claimed<'h>(&self, authorization: &'h [u8]) -> Option<&'h str> {
        let (scheme, token) = std::str::from_utf8(authorization).ok()?.trim().split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && self.said_issuer(token).is_some()).then_some(token)
    }

    fn said_issuer(&self, token: &str) -> Option<&Desk> {
        let said: SaysIssuer = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        self.0.iter().find(|desk| said.0.iter().any(|issuer| **issuer == *desk.issuer.issuer))
    }

    /// Whose token it is.
    pub(super) fn identify(&self, token: &str, certificate: Option<&Certificate>, now_ms: u64) -> Result<Caller, Unknown> {
        let desk = self.said_issuer(token).ok_or(Unknown::None)?;
        desk.identify(token, certificate, now_ms).map_err(|fault| Unknown::Token { issuer: desk.issuer.name.clone(), fault })
    }

    /// Does what a token vouched for still hold? Its time has not passed, its key has not been withdrawn, its caller is the same.
    pub(super) fn still(&self, name: &CallerName, vouched: &Vouched, now_ms: u64) -> bool {
        let Some(desk) = self.0.iter().find(|desk| desk.issuer.name == vouched.issuer) else { return false };
        let key_holds = desk.issuer.keys.current().is_some_and(|keys| keys.holds(&vouched.key));
        now_ms < vouched.until_ms && key_holds && desk.callers.get(&vouched.value) == Some(name)
    }
}

impl Desk {
    fn identify(&self, token: &str, certificate: Option<&Certificate>, now_ms: u64) -> Result<Caller, Fault> {
        let issuer = &self.issuer;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Fault::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_may_quote| Fault::Malformed)?;
        issuer.check_header(&header)?;
        let keys = issuer.keys.current().ok_or(Fault::NoKeys)?;
        let key = keys.find(header.kid.as_deref(), header.alg).inspect_err(|fault| {
            if *fault == Fault::UnknownKey {
                issuer.keys.key_is_unknown();
            }
        })?;
        let verified = jsonwebtoken::decode::<Claims>(token, &key.decoding, &signature_only(header.alg));
        let claims = match verified {
            Ok(verified) => verified.claims,
            Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => return Err(Fault::Signature),
            Err(_may_quote) => return Err(Fault::Malformed),
        };
        let until = claims.check(issuer, certificate, now_ms / 1000)?;
        let value = claims.text(&self.claim)?.ok_or(Fault::NoCaller)?;
        let (value, name) = self.callers.get_key_value(value).ok_or(Fault::NoCaller)?;
        let purposes = claims.purposes(&issuer.purpose_claim)?;
        let purposes = match issuer.unnamed {
            Unnamed::FromPolicy => purposes,
            Unnamed::Nothing => Some(purposes.unwrap_or_default()),
        };
        let until_ms = until.saturating_mul(1000);
        let vouched = Vouched { issuer: issuer.name.clone(), key: key.thumbprint, value: value.clone(), until_ms, purposes };
        Ok(Caller { name: name.clone(), how: How::Token, vouched: Some(Arc::new(vouched)) })
    }
}

impl Issuer {
    fn check_header(&self, header: &Header) -> Result<(), Fault> {
        // RFC 7515, section 4.1.11: what is critical must be understood. Of RFC 7797 (b64) nothing is.
        if header.crit.is_some() || header.zip.is_some() || header.enc.is_some() || header.extras.inner().contains_key("b64") {
            return Err(Fault::Critical);
        }
        let typ = header.typ.as_deref().map(|typ| strip_ascii_prefix(typ, "application/"));
        let fits = match (&self.typ, typ) {
            (Some(wanted), Some(typ)) => strip_ascii_prefix(wanted, "application/").eq_ignore_ascii_case(typ),
            (Some(_), None) => false,
            (None, Some(typ)) => typ.eq_ignore_ascii_case("jwt") || typ.eq_ignore_ascii_case("at+jwt"),
            (None, None) => true,
        };
        if !fits || header.cty.is_some() {
            return Err(Fault::Type);
        }
        if self.algorithms.contains(&header.alg) { Ok(()) } else { Err(Fault::Algorithm) }
    }
}

fn strip_ascii_prefix<'t>(text: &'t str, prefix: &str) -> &'t str {
    match text.split_at_checked(prefix.len()) {
        Some((begin, rest)) if begin.eq_ignore_ascii_case(prefix) => rest,
        _ => text,
    }
}

/// The library checks the signature under this one algorithm. The claims are ours to check: by our clock, and every one required.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
}
