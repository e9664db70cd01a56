//! The keys an issuer signs with (RFC 7517): read whole, kept by what they may verify, exchanged at once when they rotate.
//!
//! Always holds: a key is used with the algorithms of its type only, and with its own `alg` only where it has one; a `kid` is
//! compared and nothing else; a set that cannot be used as it stands does not replace the one in use.

use std::fmt;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Fault;
use crate::base::enc;
use crate::base::limits::{MAX_JWKS_BYTES, MAX_JWKS_KEYS};
use crate::crypto::{sha256, verify_tokens_with_ring};

const RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];
/// Bytes of an RSA modulus: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Why a key set is not taken. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Over [`MAX_JWKS_BYTES`].
    #[error("it is larger than {MAX_JWKS_BYTES} bytes")]
    TooLarge,
    /// Not JSON, or without `keys`.
    #[error("it is no JSON object with a list `keys` (RFC 7517)")]
    NotKeys,
    /// Over [`MAX_JWKS_KEYS`].
    #[error("it holds more than {MAX_JWKS_KEYS} keys")]
    TooMany,
    /// None that could verify a token under the configured algorithms.
    #[error("none of its keys can verify a signature of the configured algorithms")]
    NoneUsable,
    /// Two of one `kid` and one algorithm: which one is meant could not be told.
    #[error("two of its keys have the same kid and may both be used with one algorithm")]
    SameKid,
}

/// The usable keys of an issuer.
pub struct KeySet {
    keys: Vec<Key>,
    ignored: usize,
}

/// One public key.
pub(super) struct Key {
    kid: Option<Box<str>>,
    algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
    /// SHA-256 of the key itself: what tells it from another.
    pub(super) thumbprint: [u8; 32],
}

impl KeySet {
    /// Reads a JWK set. Keys that cannot be used (of another type, for encryption, too short) are left out, as RFC 7517 has it.
    ///
    /// # Errors
    ///
    /// [`KeySetError`].
    pub fn parse(text: &[u8], allowed: &[Algorithm]) -> Result<Self, KeySetError> {
        #[derive(Deserialize)]
        struct Written<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        if text.len() > MAX_JWKS_BYTES {
            return Err(KeySetError::TooLarge);
        }
        let written: Written<'_> = serde_json::from_slice(text).map_err(|_may_quote| KeySetError::NotKeys)?;
        if written.keys.len() > MAX_JWKS_KEYS {
            return Err(KeySetError::TooMany);
        }
        verify_tokens_with_ring();
        let usable = written.keys.iter().filter_map(|raw| serde_json::from_str::<Jwk>(raw.get()).ok());
        let keys: Vec<Key> = usable.filter_map(|jwk| Key::of(&jwk, allowed)).collect();
        for (at, key) in keys.iter().enumerate() {
            let twin = |other: &Key| other.kid == key.kid && other.algorithms.iter().any(|one| key.algorithms.contains(one));
            if key.kid.is_some() && keys.iter().skip(at + 1).any(twin) {
                return Err(KeySetError::SameKid);
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::NoneUsable);
        }
        Ok(Self { ignored: written.keys.len() - keys.len(), keys })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Never: a set without a usable key is not made.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys were left out.
    pub fn ignored(&self) -> usize {
        self.ignored
    }

    /// The one key that a token with this header may be signed with.
    pub(super) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Result<&Key, Fault> {
        let named = |key: &&Key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let mut fitting = self.keys.iter().filter(named).filter(|key| key.algorithms.contains(&algorithm));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(_), Some(_)) => Err(Fault::KeyNotNamed),
            (None, _) if self.keys.iter().any(|key| named(&key)) => Err(Fault::Algorithm),
            (None, _) => Err(Fault::UnknownKey),
        }
    }

    pub(super) fn holds(&self, thumbprint: &[u8; 32]) -> bool {
        self.keys.iter().any(|key| key.thumbprint == *thumbprint)
    }
}

impl Key {
    fn of(jwk: &Jwk, allowed: &[Algorithm]) -> Option<Self> {
        let common = &jwk.common;
        let signs = common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
        let verifies = common.key_operations.as_ref().is_none_or(|can| can.contains(&KeyOperations::Verify));
        if !signs || !verifies {
            return None;
        }
        // Shared secrets are not among them: they have no place in a set that others can read.
        let of_type: &[Algorithm] = if let AlgorithmParameters::RSA(_) = &jwk.algorithm {
            &RSA
        } else if let AlgorithmParameters::EllipticCurve(key) = &jwk.algorithm {
            if key.curve == EllipticCurve::P256 {
                &[Algorithm::ES256]
            } else if key.curve == EllipticCurve::P384 {
                &[Algorithm::ES384]
            } else {
                return None;
            }
        } else if let AlgorithmParameters::OctetKeyPair(key) = &jwk.algorithm
            && key.curve == EllipticCurve::Ed25519
        {
            &[Algorithm::EdDSA]
        } else {
            return None;
        };
        let own = match common.key_algorithm {
            None => None,
            Some(written) => Some(Algorithm::try_from(written).ok()?),
        };
        let algorithms: Vec<Algorithm> = of_type
            .iter()
            .copied()
            .filter(|algorithm| allowed.contains(algorithm) && own.is_none_or(|own| own == *algorithm))
            .collect();
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        let thumbprint = match decoding.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                // Without leading zeros, as RFC 7518 writes it; so the length is that of the number, to a byte.
                let fits =
                    RSA_BYTES.contains(&n.len()) && n.first().is_some_and(|high| *high >= 0x80 || n.len() > 256 && *high > 0);
                if !fits || e.first().is_none_or(|high| *high == 0) {
                    return None;
                }
                sha256(&enc(&[b"rsa", n, e]))
            }
            DecodingKeyKind::SecretOrDer(point) => {
                let expected = match of_type {
                    [Algorithm::ES256] => 65,
                    [Algorithm::ES384] => 97,
                    _ => 32,
                };
                if point.len() != expected {
                    return None;
                }
                sha256(&enc(&[b"point", point]))
            }
        };
        let kid = common.key_id.as_deref().map(Box::from);
        (!algorithms.is_empty()).then_some(Self { kid, algorithms, decoding, thumbprint })
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys.len()).field("ignored", &self.ignored).finish()
    }
}

/// Where an issuer's keys are at hand: a set that is fixed, or one that somebody keeps fresh. Read for each token, without a lock.
#[derive(Default)]
pub struct IssuerKeys {
    current: ArcSwapOption<KeySet>,
    when_unknown: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl IssuerKeys {
    /// Keys that stay until the configuration is read again.
    pub fn fixed(keys: KeySet) -> Self {
        Self { current: ArcSwapOption::from_pointee(keys), when_unknown: OnceLock::new() }
    }

    /// The keys in use; `None` while there are none, and then no token of the issuer is good.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// Takes other keys, or none, into use. Tokens signed with a key that is gone are no longer good.
    pub fn replace(&self, keys: Option<Arc<KeySet>>) {
        self.current.store(keys);
    }

    /// Whom to tell when a token names a key that is not there. It is called for every such token, so it must be cheap.
    pub fn when_unknown(&self, tell: impl Fn() + Send + Sync + 'static) {
        // Set once, by whoever keeps the set fresh.
        let _first = self.when_unknown.set(Box::new(tell));
    }

    pub(super) fn key_is_unknown(&self) {
        if let Some(tell) = self.when_unknown.get() {
            tell();
        }
    }
}

impl fmt::Debug for IssuerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IssuerKeys").field(&self.current.load().as_deref()).finish()
    }
}
