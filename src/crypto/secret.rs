//! 32 secret bytes. Never printed, never compared, never copied by accident, overwritten when dropped.

use std::fmt;

use zeroize::Zeroizing;

use super::random::{RandomError, fill_random};

/// 32 secret bytes: a key-encryption key, a version secret or a subkey before it is prepared.
pub struct Secret(pub(super) Zeroizing<[u8; 32]>);

impl Secret {
    /// Takes the bytes. The caller overwrites what it copied them from.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A new secret from the operating system.
    ///
    /// # Errors
    ///
    /// [`RandomError`] if the operating system gives no randomness.
    pub fn random() -> Result<Self, RandomError> {
        let mut bytes = Zeroizing::new([0; 32]);
        fill_random(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// The bytes. Spelled so that every use can be found.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_bytes() {
        assert_eq!(format!("{:?}", Secret::from_bytes([0x41; 32])), "Secret(..)");
    }

    #[test]
    fn random_secrets_differ() {
        assert_ne!(Secret::random().unwrap().expose(), Secret::random().unwrap().expose());
    }
}
