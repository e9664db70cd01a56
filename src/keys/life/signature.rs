//! An operator's signature in a file of its own, over the very bytes of a text that says everything: a request to destroy keys, a request
//! for an exception.
//!
//! Always holds: a text begins with its format, so what was signed as one kind of text is never taken for another; a signature names the
//! SHA-256 of its text, so that one beside the wrong text is told apart from one that was changed. Bytes only; no files.

use serde::{Deserialize, Serialize};

use super::destroy::Operator;
use super::spelled;
use crate::crypto::{self, PublicKey, SigningKey};

const FORMAT: &str = "sudare-signature/1";

/// A signature as it stands in its file. Nothing is proved by having one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detached {
    format: String,
    /// SHA-256 of the text.
    #[serde(with = "spelled::hash")]
    request: [u8; 32],
    /// Whose.
    #[serde(with = "spelled::bytes")]
    pub(crate) public_key: [u8; 32],
    /// Ed25519 over the text's bytes.
    #[serde(rename = "signature", with = "spelled::bytes")]
    pub(crate) bytes: [u8; 64],
}

impl Detached {
    /// Signs a text.
    pub fn sign(text: &str, key: &SigningKey) -> Self {
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(key.sign(text.as_bytes())) {
            *to = from;
        }
        Self { format: FORMAT.to_owned(), request: crypto::sha256(text.as_bytes()), public_key: key.public().0, bytes }
    }

    /// Reads a signature's file.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|read: &Self| read.format == FORMAT)
    }

    /// The text of its file.
    pub fn to_text(&self) -> String {
        // Strings always serialize.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Says that it is one of this text.
    pub fn is_about(&self, text: &str) -> bool {
        self.is_about_hash(&crypto::sha256(text.as_bytes()))
    }

    /// The same, of the text with this SHA-256.
    pub fn is_about_hash(&self, hash: &[u8; 32]) -> bool {
        self.format == FORMAT && self.request == *hash
    }

    /// Proves that whoever has its key signed this text.
    pub fn fits(&self, text: &str) -> bool {
        self.is_about(text) && PublicKey(self.public_key).verify(text.as_bytes(), &self.bytes)
    }

    /// Whose it says it is.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.public_key)
    }

    /// The operator whose key it is. None, too, where two have it, for then it cannot be told who signed.
    pub fn operator<'o>(&self, operators: &'o [Operator]) -> Option<&'o Operator> {
        let mut owners = operators.iter().filter(|operator| operator.public == self.public());
        owners.next().filter(|_| owners.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;

    #[test]
    fn a_signature_fits_its_text_and_no_other() {
        let key = |byte| SigningKey::new(&Secret::from_bytes([byte; 32]));
        let signature = Detached::sign("a text", &key(1));
        assert!(signature.fits("a text") && signature.is_about("a text"));
        assert!(!signature.fits("another") && !signature.is_about("another"));
        let forged = Detached { public_key: key(2).public().0, ..signature.clone() };
        assert!(forged.is_about("a text") && !forged.fits("a text"));
        assert_eq!(Detached::read(signature.to_text().as_bytes()), Some(signature.clone()));
        for other in ["", "{}", &signature.to_text().replace("/1", "/2"), &signature.to_text().replace('{', "{\"more\":1,")] {
            assert_eq!(Detached::read(other.as_bytes()), None, "{other}");
        }
        let operator = |name: &str, byte| Operator { name: name.to_owned(), public: key(byte).public() };
        let two = [operator("anna", 1), operator("bruno", 2)];
        assert_eq!(signature.operator(&two).map(|found| found.name.as_str()), Some("anna"));
        assert_eq!(signature.operator(&two[1..]), None);
        assert_eq!(signature.operator(&[operator("anna", 1), operator("twin", 1)]), None);
    }
}
