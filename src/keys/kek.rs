//! Where the key-encryption key (KEK) comes from: a private file, or a passphrase.
//!
//! Always holds: a KEK is never printed, never written except once by `init`, and never made anew where a ring already hangs
//! on the old one. Called by `manifest` (open) and `life` (init).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::{Kek, KeyError, files};
use crate::crypto::{self, PassphraseParams, Secret};

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
}

impl KekRef {
    /// The provider's word in the manifest.
    pub(super) fn provider(&self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Passphrase { .. } => "passphrase",
        }
    }
}

impl Kek {
    /// Loads the KEK that the ring at `ring` says it hangs on.
    pub(super) fn load(&self, ring: &Path, named: &KekRef) -> Result<Secret, KeyError> {
        match (self, named) {
            (Self::File(path), KekRef::File) => from_file(path, ring),
            (Self::Passphrase { env }, KekRef::Passphrase { salt, cost }) => derive(&passphrase(env)?, salt, *cost),
            (Self::File(_), KekRef::Passphrase { .. }) | (Self::Passphrase { .. }, KekRef::File) => {
                Err(KeyError::OtherProvider {
                    path: ring.to_path_buf(),
                    found: named.provider(),
                    configured: match self {
                        Self::File(_) => "file",
                        Self::Passphrase { .. } => "passphrase",
                    },
                })
            }
        }
    }

    /// The KEK for a ring that is about to be made: the file that is there, or a new one (then the last part is true).
    /// A passphrase gets a fresh salt and `cost`.
    pub(super) fn load_or_make(&self, ring: &Path, cost: PassphraseParams) -> Result<(Secret, KekRef, bool), KeyError> {
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
        }
    }
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
