//! Signatures of tokens (RFC 7518, RFC 8037): what `jsonwebtoken` verifies with, on ring. It never signs.
//!
//! Always holds: an algorithm verifies only with a key of its own type; no MAC is an algorithm here, so a public key can never
//! be taken for a shared secret (T22).

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

/// Makes `jsonwebtoken` verify with ring, once and for the whole process; its provider is a global of its own. Nothing else in
/// this program uses it.
pub fn verify_tokens_with_ring() {
    static PROVIDER: CryptoProvider = CryptoProvider {
        signer_factory: no_signer,
        verifier_factory: verifier,
        // Used for thumbprints and private keys only, and we ask for neither.
        key_utils: KeyUtils::new_unimplemented(),
    };
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _already = PROVIDER.install_default();
    });
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the library calls it so")]
fn no_signer(_algorithm: &Algorithm, _key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the library calls it so")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if algorithm.family() != key.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let key = match (scheme(*algorithm), key.kind()) {
        (Some(Scheme::Rsa(parameters)), DecodingKeyKind::RsaModulusExponent { n, e }) => {
            Key::Rsa { parameters, components: RsaPublicKeyComponents { n: n.clone(), e: e.clone() } }
        }
        (Some(Scheme::Curve(algorithm)), DecodingKeyKind::SecretOrDer(point)) => {
            Key::Curve(UnparsedPublicKey::new(algorithm, point.clone()))
        }
        _ => return Err(ErrorKind::UnsupportedAlgorithm.into()),
    };
    Ok(Box::new(Verifier { algorithm: *algorithm, key }))
}

/// By the name in the header; there is none for a MAC.
const SCHEMES: [(Algorithm, Scheme); 9] = [
    (Algorithm::RS256, Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
    (Algorithm::RS384, Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA384)),
    (Algorithm::RS512, Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA512)),
    (Algorithm::PS256, Scheme::Rsa(&RSA_PSS_2048_8192_SHA256)),
    (Algorithm::PS384, Scheme::Rsa(&RSA_PSS_2048_8192_SHA384)),
    (Algorithm::PS512, Scheme::Rsa(&RSA_PSS_2048_8192_SHA512)),
    // As two numbers of fixed length, not as ASN.1 (RFC 7518, section 3.4).
    (Algorithm::ES256, Scheme::Curve(&ECDSA_P256_SHA256_FIXED)),
    (Algorithm::ES384, Scheme::Curve(&ECDSA_P384_SHA384_FIXED)),
    (Algorithm::EdDSA, Scheme::Curve(&ED25519)),
];

#[derive(Clone, Copy)]
enum Scheme {
    Rsa(&'static RsaParameters),
    Curve(&'static dyn VerificationAlgorithm),
}

fn scheme(algorithm: Algorithm) -> Option<Scheme> {
    SCHEMES.iter().find(|(name, _)| *name == algorithm).map(|(_, scheme)| *scheme)
}

enum Key {
    Rsa { parameters: &'static RsaParameters, components: RsaPublicKeyComponents<Vec<u8>> },
    Curve(UnparsedPublicKey<Vec<u8>>),
}

struct Verifier {
    algorithm: Algorithm,
    key: Key,
}

impl JwtVerifier for Verifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl signature::Verifier<Vec<u8>> for Verifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let verified = match &self.key {
            Key::Rsa { parameters, components } => components.verify(parameters, message, signature),
            Key::Curve(key) => key.verify(message, signature),
        };
        verified.map_err(|_unspecified| signature::Error::new())
    }
}
