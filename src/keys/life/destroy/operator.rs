//! Operators' own keys: a private file in the operator's hands, the public half in `sudare.toml`.

use std::path::Path;

use super::super::super::{KeyError, files};
use super::DestroyError;
use crate::crypto::{self, PublicKey, Secret, SigningKey};

/// Longest key file that is read.
const MAX_KEY_FILE_BYTES: u64 = 4096;

/// Who may sign for the destruction of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// Their name, `[operator.NAME]`.
    pub name: String,
    /// What their signatures are checked with.
    pub public: PublicKey,
}

/// Makes a key pair: the private half in a new file with mode 0600. Returns the public half.
///
/// # Errors
///
/// The file is there already, or cannot be written; no randomness.
pub fn make_operator(path: &Path) -> Result<PublicKey, KeyError> {
    let secret = Secret::random()?;
    files::make_folder_of(path)?;
    files::create_private(path, crypto::signing_key_pem(&secret).as_bytes())?;
    Ok(SigningKey::new(&secret).public())
}

/// Reads the private half.
///
/// # Errors
///
/// No such file; one that others may read, or that holds something else.
pub fn operator_key(path: &Path) -> Result<SigningKey, DestroyError> {
    let pem = files::read_secret(path, MAX_KEY_FILE_BYTES)?;
    SigningKey::from_pem(&pem).map_err(|why| DestroyError::OperatorKey { path: path.to_path_buf(), why })
}
