//! Where the key-encryption key (KEK) comes from: a private file, a passphrase, or a provider that keeps it and wraps a root under it.
//!
//! What wraps the secrets of a ring is called its *root* here. With a file or a passphrase the KEK itself is the root; a provider's KEK
//! never leaves the provider, and the root is 32 random bytes that it has wrapped (`provider`).
//!
//! Always holds: neither is printed, nor written except once by `init`, nor made anew where a ring already hangs on the old one.
//! Called by `manifest` (open), `life` (init, change of the KEK) and `custody` (is the KEK still ours to use?).

#[cfg(feature = "aws-kms")]
pub mod aws;
#[cfg(feature = "pkcs11")]
pub mod pkcs11;
pub mod provider;
mod remote;
mod source;
pub mod vault;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Kek, KeyError, files};
use crate::crypto::{self, PassphraseParams, Secret};
use provider::{Binding, Provider, ProviderError, ProviderName, Wrapped};
pub use source::Source;

/// Longest KEK file that is read: the text, a line end, and room to say that it is too long.
const MAX_KEK_FILE_BYTES: u64 = 128;
/// Shortest passphrase, in bytes, that a new ring is made with.
const MIN_PASSPHRASE_BYTES: usize = 16;
/// Most that a manifest may ask of this machine to derive its KEK: 1 GiB, 16 times the default ...
const MAX_MEMORY_KIB: u32 = 1 << 20;
/// ... and passes over it.
const MAX_PASSES: u32 = 32;

/// How the manifest names its KEK: enough to find and derive it, nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KekRef {
    /// The file the configuration names.
    File,
    /// Argon2id (RFC 9106) over the passphrase in the variable the configuration names.
    Passphrase { salt: [u8; 16], cost: PassphraseParams },
    /// A root that a provider has wrapped.
    Provider(ProviderName, Wrapped),
}

impl KekRef {
    /// The provider's word in the manifest.
    pub(super) fn provider(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Passphrase { .. } => "passphrase",
            Self::Provider(name, _) => name.as_str(),
        }
    }
}

impl Kek {
    /// Those that a ring may hang on: the one configured, and while it is changed the next one, too.
    pub(super) fn candidates(&self) -> Vec<&Self> {
        match self {
            Self::Changing { from, to } => [from.candidates(), to.candidates()].concat(),
            Self::File(_) | Self::Passphrase { .. } | Self::Provider { .. } => vec![self],
        }
    }

    /// What a ring is to hang on from now on.
    pub(super) fn target(&self) -> &Self {
        match self {
            Self::Changing { to, .. } => to.target(),
            Self::File(_) | Self::Passphrase { .. } | Self::Provider { .. } => self,
        }
    }

    /// Where it is, for people: a file, a variable, a provider with its key. Of two, the one that a ring hung on before.
    pub fn place(&self) -> String {
        match self {
            Self::File(path) => format!("file {}", path.display()),
            Self::Passphrase { env } => format!("passphrase in {env}"),
            Self::Provider { provider, .. } => format!("{} {}", provider.name().as_str(), provider.key()),
            Self::Changing { from, .. } => from.place(),
        }
    }

    /// The word of its provider in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Passphrase { .. } => "passphrase",
            Self::Provider { provider, .. } => provider.name().as_str(),
            Self::Changing { from, .. } => from.word(),
        }
    }

    /// The files it is read from.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::File(path) => vec![path.clone()],
            Self::Passphrase { .. } => Vec::new(),
            Self::Provider { provider, .. } => provider.files(),
            Self::Changing { from, to } => [from.files(), to.files()].concat(),
        }
    }

    /// The root that the ring at `ring` says it hangs on. Of several candidates only one is asked.
    pub(super) fn load(&self, ring: &Path, named: &KekRef, binding: &Binding) -> Result<Secret, KeyError> {
        match (self, named) {
            (Self::File(path), KekRef::File) => from_file(path, ring),
            (Self::Passphrase { env }, KekRef::Passphrase { salt, cost }) => derive(&passphrase(env)?, salt, *cost),
            (Self::Provider { provider, .. }, KekRef::Provider(name, wrapped)) if provider.name() == *name => {
                if !provider.may_have_wrapped(wrapped) {
                    return Err(KeyError::OtherKek {
                        path: ring.to_path_buf(),
                        found: wrapped.key.clone(),
                        configured: provider.key().to_owned(),
                    });
                }
                provider.unwrap(binding, wrapped).map_err(|error| failed(provider.as_ref(), ring, error))
            }
            (
                Self::File(_) | Self::Passphrase { .. } | Self::Provider { .. } | Self::Changing { .. },
                KekRef::File | KekRef::Passphrase { .. } | KekRef::Provider(..),
            ) => Err(KeyError::OtherProvider { path: ring.to_path_buf(), found: named.provider(), configured: self.word() }),
        }
    }

    /// The root for a ring that is about to be made: the KEK's file that is there, or a new one (then the last part is true).
    /// A passphrase gets a fresh salt and `cost`; a provider wraps a fresh root, and must show that it unwraps it again.
    pub(super) fn load_or_make(
        &self,
        ring: &Path,
        binding: &Binding,
        cost: PassphraseParams,
    ) -> Result<(Secret, KekRef, bool), KeyError> {
        match self {
            Self::File(path) => match from_file(path, ring) {
                Ok(secret) => Ok((secret, KekRef::File, false)),
                Err(KeyError::KekMissing { .. }) => {
                    files::make_folder_of(path)?;
                    let secret = Secret::random()?;
                    let text = Zeroizing::new(format!("{}\n", *Zeroizing::new(crypto::base64url(secret.expose()))));
                    files::create_private(path, text.as_bytes())?;
                    Ok((secret, KekRef::File, true))
                }
                Err(other) => Err(other),
            },
            Self::Passphrase { env } => {
                let passphrase = passphrase(env)?;
                if passphrase.len() < MIN_PASSPHRASE_BYTES {
                    return Err(KeyError::PassphraseShort { env: env.clone(), least: MIN_PASSPHRASE_BYTES });
                }
                let salt = crypto::random::<16>()?;
                Ok((derive(&passphrase, &salt, cost)?, KekRef::Passphrase { salt, cost }, false))
            }
            Self::Provider { provider, .. } => {
                let root = Secret::random()?;
                let wrapped = wrap_proved(provider.as_ref(), binding, &root);
                let wrapped = wrapped.map_err(|error| failed(provider.as_ref(), ring, error))?;
                Ok((root, KekRef::Provider(provider.name(), wrapped), false))
            }
            // A new ring has nothing that hangs on the old one.
            Self::Changing { to, .. } => to.load_or_make(ring, binding, cost),
        }
    }
}

/// Wraps a root, and unwraps it once before anything may hang on it: a right to wrap alone would lose the ring.
fn wrap_proved(provider: &dyn Provider, binding: &Binding, root: &Secret) -> Result<Wrapped, ProviderError> {
    let wrapped = provider.wrap(binding, root)?;
    if !wrapped.is_sound() || !provider.may_have_wrapped(&wrapped) {
        return Err(ProviderError::Lied("it wrapped the root under another key than was asked for, or not as it does"));
    }
    let again = provider.unwrap(binding, &wrapped)?;
    if crypto::constant_time_eq(again.expose(), root.expose()) {
        Ok(wrapped)
    } else {
        Err(ProviderError::Lied("it unwraps the root that it has just wrapped to something else"))
    }
}

/// The error of a call that was about this ring.
pub(super) fn failed(provider: &dyn Provider, ring: &Path, error: ProviderError) -> KeyError {
    KeyError::Provider { path: ring.to_path_buf(), provider: provider.name().as_str(), key: provider.key().to_owned(), error }
}

fn from_file(path: &Path, ring: &Path) -> Result<Secret, KeyError> {
    let bytes = match files::read_secret(path, MAX_KEK_FILE_BYTES) {
        Err(KeyError::Missing(kek)) => return Err(KeyError::KekMissing { kek, ring: ring.to_path_buf() }),
        read => read?,
    };
    let not_a_key = || KeyError::NotAKek(path.to_path_buf());
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let raw = Zeroizing::new(crypto::from_base64url(text).map_err(|_spelling| not_a_key())?);
    let raw: &[u8; 32] = raw.as_slice().try_into().map_err(|_wrong_length| not_a_key())?;
    Ok(Secret::from_bytes(*raw))
}

fn passphrase(env: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let text = std::env::var_os(env).map(OsString::into_vec).map(Zeroizing::new);
    text.filter(|text| !text.is_empty()).ok_or_else(|| KeyError::PassphraseUnset(env.to_string()))
}

fn derive(passphrase: &[u8], salt: &[u8; 16], cost: PassphraseParams) -> Result<Secret, KeyError> {
    // The manifest is not authenticated yet when its cost is believed, so a changed one must not exhaust the machine.
    if cost.memory_kib > MAX_MEMORY_KIB || cost.passes > MAX_PASSES {
        return Err(KeyError::Kdf(format!("it asks for more than {MAX_MEMORY_KIB} KiB of memory or {MAX_PASSES} passes")));
    }
    crypto::kek_from_passphrase(passphrase, salt, cost).map_err(|error| KeyError::Kdf(error.to_string()))
}
