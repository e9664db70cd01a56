//! What a service or a device that holds a KEK does for us, whichever it is; and why it may not.
//!
//! Always holds: the KEK never leaves the provider. What it wraps is one root key of 32 random bytes, bound to a controller and a
//! ring; everything else of the ring hangs on that root. No error has a byte of what a provider sent, of a token or of a key. Calls
//! block: nobody makes one on a runtime thread.
//!
//! Implemented in `vault`, `aws` and `pkcs11`; called by `kek` and `custody`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::base::enc;
use crate::crypto::Secret;

/// Longest wrapped root that is read or written, in characters. An AWS one has about 250, one of Vault about 90.
pub(in crate::keys) const MAX_WRAPPED: usize = 8192;

/// The kinds of providers, by their word in the configuration and in the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderName {
    /// HashiCorp Vault or OpenBao, secrets engine `transit`.
    VaultTransit,
    /// AWS Key Management Service.
    AwsKms,
    /// A hardware security module, or another token, behind a PKCS#11 library.
    Pkcs11,
}

impl ProviderName {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VaultTransit => "vault-transit",
            Self::AwsKms => "aws-kms",
            Self::Pkcs11 => "pkcs11",
        }
    }
}

/// What a root is bound to: it unwraps for this controller and this ring only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// Whose ring it is.
    pub controller: String,
    /// Its name.
    pub ring: String,
}

impl Binding {
    /// As associated data, for providers that take bytes (`docs/format.md`, "Key ring manifest").
    pub fn aad(&self) -> Vec<u8> {
        enc(&[b"sudare-ring/1", b"root", self.controller.as_bytes(), self.ring.as_bytes()])
    }
}

/// A root under a provider's key, as the manifest keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped {
    /// Which key of the provider, in the provider's words; nothing secret.
    pub key: String,
    /// The wrapped root, as the provider or we spell it: printable ASCII without quotes, at most 8192 characters.
    pub root: String,
}

impl Wrapped {
    /// Can it stand in a manifest?
    pub(in crate::keys) fn is_sound(&self) -> bool {
        let plain = |text: &str| {
            !text.is_empty() && text.len() <= MAX_WRAPPED && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
        };
        plain(&self.root) && plain(&self.key)
    }
}

/// Wraps and unwraps roots. Every call may take as long as the provider's time-out, and blocks.
pub trait Provider: fmt::Debug + Send + Sync {
    /// Which kind it is.
    fn name(&self) -> ProviderName;

    /// The key as configured, for people.
    fn key(&self) -> &str;

    /// Can this root have been wrapped under the configured key, as far as one can tell without asking?
    fn may_have_wrapped(&self, wrapped: &Wrapped) -> bool;

    /// Wraps a root.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    fn wrap(&self, binding: &Binding, root: &Secret) -> Result<Wrapped, ProviderError>;

    /// Unwraps one.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    fn unwrap(&self, binding: &Binding, wrapped: &Wrapped) -> Result<Secret, ProviderError>;

    /// Does what keeps our access alive (a token that must be renewed), and says when to come again; None: never.
    ///
    /// # Errors
    ///
    /// [`ProviderError`]. Nothing is lost by it: the next call tries to log in anew.
    fn tend(&self) -> Result<Option<Duration>, ProviderError> {
        Ok(None)
    }

    /// The files it was configured from, for whoever watches them.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// Why a provider did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProviderError {
    /// It cannot be asked, or is not in service.
    #[error("{0}")]
    Outage(String),
    /// It says no to this key: disabled, deleted, or nothing we are allowed to use.
    #[error("it refuses to use this key: {0}")]
    Denied(String),
    /// It does not take us for anybody it knows.
    #[error("it does not accept our credentials: {0}")]
    Credentials(String),
    /// The root does not unwrap.
    #[error(
        "it cannot unwrap what stands in the ring: that was wrapped under another key, or for another controller or ring, or was changed"
    )]
    NotOurs,
    /// It contradicts itself or what stands in the ring.
    #[error(
        "its answer cannot be true: {0}: nothing of it is believed; find out what answers at this address before you change anything"
    )]
    Lied(&'static str),
    /// Its clock and ours are too far apart.
    #[error("it refuses our signature because the clocks are apart: {0}")]
    Clock(String),
    /// Something of ours is missing: a variable, a file.
    #[error("{0}")]
    Local(String),
}

impl ProviderError {
    /// A fixed word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Outage(_) => "outage",
            Self::Denied(_) => "denied",
            Self::Credentials(_) => "credentials",
            Self::NotOurs => "not-ours",
            Self::Lied(_) => "lied",
            Self::Clock(_) => "clock",
            Self::Local(_) => "local",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_of_different_rings_never_give_the_same_bytes() {
        let bound = |controller: &str, ring: &str| Binding { controller: controller.into(), ring: ring.into() }.aad();
        assert_eq!(bound("shop", "main"), [&b"\0\0\0\x0dsudare-ring/1\0\0\0\x04root\0\0\0\x04shop\0\0\0\x04main"[..]].concat());
        assert_ne!(bound("shopm", "ain"), bound("shop", "main"));
    }

    #[test]
    fn what_cannot_stand_in_a_manifest_is_not_sound() {
        let sound = |key: &str, root: &str| Wrapped { key: key.into(), root: root.into() }.is_sound();
        assert!(sound("transit/sudare", "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w=="));
        for bad in ["", "a\"b", "a\\b", "a b", "a\nb", "é", &"x".repeat(MAX_WRAPPED + 1)] {
            assert!(!sound("key", bad) && !sound(bad, "root"), "{bad}");
        }
    }
}
