//! Signatures that anybody can check: Ed25519 (RFC 8032).

use std::fmt;

use data_encoding::BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::Secret;

/// What stands before the seed of an Ed25519 key in PKCS#8 (RFC 8410, section 7): version 1, the algorithm, a string in a string.
const PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// A key that signs.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key whose seed is `secret`.
    ///
    /// # Panics
    ///
    /// Never.
    #[expect(clippy::expect_used, reason = "every 32 bytes are a seed (RFC 8032, section 5.1.5)")]
    pub fn new(secret: &Secret) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(secret.expose()).expect("32 bytes"))
    }

    /// Reads a private key in a file as `openssl genpkey -algorithm ed25519` makes it: PKCS#8 (RFC 5958, RFC 8410) in PEM.
    ///
    /// # Errors
    ///
    /// [`PrivateKeyError`] for everything else, also for a key of another kind or one that is protected by a password.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PrivateKeyError> {
        let text = std::str::from_utf8(pem).map_err(|_not_text| PrivateKeyError)?;
        let inner = text.trim().strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END)).ok_or(PrivateKeyError)?;
        let base64: Zeroizing<Vec<u8>> = Zeroizing::new(inner.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
        let der = Zeroizing::new(BASE64.decode(&base64).map_err(|_not_base64| PrivateKeyError)?);
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map(Self).map_err(|_no_such_key| PrivateKeyError)
    }

    /// What others check its signatures with.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.0.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(bytes)
    }

    /// The 64 bytes of the signature of `message`; always the same ones.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// The text of a file for the key whose seed is `secret`: what [`SigningKey::from_pem`] reads, and OpenSSL.
pub fn signing_key_pem(secret: &Secret) -> Zeroizing<String> {
    let der = Zeroizing::new([PKCS8_HEAD.as_slice(), secret.expose()].concat());
    let base64 = Zeroizing::new(BASE64.encode(&der));
    Zeroizing::new(format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", *base64))
}

/// Not a private key that signs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a private key: expected Ed25519 in PKCS#8 as PEM text without a password, as `sudare keys operator` makes it")]
pub struct PrivateKeyError;

/// What a signature is checked with. Not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// True if `signature` is one of this key over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// RFC 8032, section 7.1, tests 1 to 3.
    #[test]
    fn ed25519_of_rfc_8032() {
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ] {
            let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
            let key = SigningKey::new(&Secret::from_bytes(hex(seed).try_into().unwrap()));
            let (message, signature) = (hex(message), hex(signature));
            assert_eq!(HEXLOWER.encode(&key.public().0), public);
            assert_eq!(key.sign(&message), signature);
            assert!(key.public().verify(&message, &signature));
            assert!(!key.public().verify(b"other", &signature));
            assert!(!key.public().verify(&message, &signature[..63]));
            assert_eq!(format!("{key:?}"), "SigningKey(..)");
        }
    }

    /// The private key of RFC 8410, section 10.3, and the public key that stands in section 10.1.
    #[test]
    fn private_keys_are_read_and_written_as_rfc_8410_says() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
        let seed = HEXLOWER.decode(b"d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842").unwrap();
        let secret = Secret::from_bytes(seed.try_into().unwrap());
        assert_eq!(signing_key_pem(&secret).as_str(), pem);
        let public = "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";
        for text in [pem.to_owned(), pem.replace('\n', "\r\n"), format!("\n{pem}\n")] {
            assert_eq!(HEXLOWER.encode(&SigningKey::from_pem(text.as_bytes()).unwrap().public().0), public);
        }
        let wrong = [
            String::new(),
            "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC".to_owned(),
            pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
            pem.replace("MC4C", "MC5C"),
            pem.replace("VhC\n", "\n"),
            pem.replace("K2Vw", "K2Vu"),
        ];
        for text in wrong {
            assert!(matches!(SigningKey::from_pem(text.as_bytes()), Err(PrivateKeyError)), "{text}");
        }
        assert!(SigningKey::from_pem(&[0xff; 8]).is_err());
    }
}
