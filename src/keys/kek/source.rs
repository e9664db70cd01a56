//! Where a provider's credential is read: a variable of the environment or a private file, anew each time it is needed, so that
//! whoever rotates it there need not tell us.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::super::{KeyError, files};
use super::provider::ProviderError;
use crate::crypto;

/// More of a file is no credential.
const MAX_BYTES: u64 = 16 << 10;

/// `env:NAME` or `file:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Name of an environment variable.
    Env(String),
    /// A file that only its owner may read, with the credential and at most one line end.
    File(PathBuf),
}

impl Source {
    /// What stands there now.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Local`].
    pub(super) fn read(&self) -> Result<Zeroizing<String>, ProviderError> {
        let text = match self {
            Self::Env(name) => {
                let read = std::env::var(name).map(Zeroizing::new);
                read.map_err(|_unset| ProviderError::Local(format!("the environment variable {name} is not set")))?
            }
            Self::File(path) => Self::text_of(path)?,
        };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        // A control character would end the header that it is sent in.
        if line.is_empty() || line.chars().any(char::is_control) {
            return Err(ProviderError::Local(format!("{self} holds no credential: one line of text is expected")));
        }
        Ok(Zeroizing::new(line.to_owned()))
    }
}

impl Source {
    /// All of a private file.
    pub(super) fn text_of(path: &Path) -> Result<Zeroizing<String>, ProviderError> {
        let bytes = files::read_secret(path, MAX_BYTES).map_err(|error| {
            // That it is part of a backup is true of a ring's files only.
            let missing = matches!(error, KeyError::Missing(_));
            ProviderError::Local(if missing { format!("{}: not there", path.display()) } else { error.to_string() })
        })?;
        let text = std::str::from_utf8(&bytes).map(|text| Zeroizing::new(text.to_owned()));
        text.map_err(|_bytes| ProviderError::Local(format!("{}: is not text", path.display())))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A credential that was refused. Many who check them count the refusals, and lock out who goes on.
#[derive(Debug)]
pub(super) struct Refused {
    last: Mutex<Option<([u8; 32], Instant)>>,
    /// After this the same one is worth another try; none: never.
    again: Option<Duration>,
}

impl Refused {
    pub(super) fn new(again: Option<Duration>) -> Self {
        Self { last: Mutex::default(), again }
    }

    /// Is it the one that was refused?
    pub(super) fn is(&self, credential: &str) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|(hash, when)| {
            hash == crypto::sha256(credential.as_bytes()) && self.again.is_none_or(|again| when.elapsed() < again)
        })
    }

    pub(super) fn note(&self, credential: &str) {
        let noted = Some((crypto::sha256(credential.as_bytes()), Instant::now()));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_credential_is_one_line_of_a_private_file_and_is_not_quoted_in_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let put = |text: &[u8], mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Source::File(path.clone()).read()
        };
        assert_eq!(**put(b"hvs.secret\n", 0o600).as_ref().unwrap(), *"hvs.secret");
        assert_eq!(**put(b"hvs.secret\r\n", 0o400).as_ref().unwrap(), *"hvs.secret");
        for (text, mode) in
            [(&b""[..], 0o600), (b"\n", 0o600), (b"hvs.a\nhvs.b\n", 0o600), (b"\xff\xfe", 0o600), (b"hvs.secret", 0o644)]
        {
            let error = put(text, mode).unwrap_err();
            assert!(matches!(&error, ProviderError::Local(why) if why.contains("token") && !why.contains("hvs")), "{error}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(Source::File(path).read(), Err(ProviderError::Local(_))));
        let unset = Source::Env("SUDARE_TEST_NO_SUCH_VARIABLE".into()).read().unwrap_err();
        assert_eq!(unset.to_string(), "the environment variable SUDARE_TEST_NO_SUCH_VARIABLE is not set");
    }

    #[test]
    fn a_refused_credential_is_not_tried_again_until_it_changes() {
        let never = Refused::new(None);
        assert!(!never.is("1234"));
        never.note("1234");
        assert!(never.is("1234") && !never.is("4321"));
        let soon = Refused::new(Some(Duration::ZERO));
        soon.note("1234");
        assert!(!soon.is("1234"));
    }
}
