//! Secrets that are known by their hash alone and name nobody: the operators' bearer tokens.

use crate::crypto::{constant_time_eq, sha256};

/// SHA-256 hashes of secrets, any of which is good.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<[u8; 32]>);

impl Secrets {
    /// Of these hashes.
    pub fn new(hashes: Vec<[u8; 32]>) -> Self {
        Self(hashes)
    }

    /// True if there is none, so that nothing matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if `secret` is one of them. Takes the same time whichever it is, and whether it is (T23).
    pub fn know(&self, secret: &[u8]) -> bool {
        let hash = sha256(secret);
        self.0.iter().fold(false, |known, one| known | constant_time_eq(one, &hash))
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_secrets_is_known_and_nothing_else() {
        let secrets = Secrets::new(vec![sha256(b"one"), sha256(b"two")]);
        assert!(secrets.know(b"one") && secrets.know(b"two"));
        assert!(!secrets.know(b"three") && !secrets.know(b"") && !Secrets::default().know(b""));
        assert_eq!(format!("{secrets:?}"), "Secrets(2)");
    }
}
