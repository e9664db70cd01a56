//! The newest ring, for a command that runs for long: what operators change meanwhile holds for what it does next.
//!
//! Always holds: a ring older than the one at hand is refused; it is opened again only if it is another one. Called by `cli`.

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Config, KeyError, KeyRing, place};
use crate::crypto;

/// Which manifest it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stamp {
    /// Which file, and which state of it: a ring is written under another name and renamed.
    File { device: u64, inode: u64, modified: (i64, i64), len: u64 },
    /// The hash of what stands in the store.
    Stored([u8; 32]),
}

/// A ring that is looked at again and again.
#[derive(Debug)]
pub struct Follow {
    config: Config,
    held: Mutex<(Stamp, Arc<KeyRing>)>,
}

impl Follow {
    /// Opens the ring. Blocks.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::open`].
    pub fn open(config: Config) -> Result<Self, KeyError> {
        // The stamp is that of the ring before it was opened: if it is replaced in between, the next look opens it again.
        let stamp = stamp(&config)?;
        let ring = Arc::new(KeyRing::open(&config)?);
        Ok(Self { config, held: Mutex::new((stamp, ring)) })
    }

    /// The ring as it is now. Blocks.
    ///
    /// # Errors
    ///
    /// As [`KeyRing::open`]; [`KeyError::RolledBack`].
    pub fn newest(&self) -> Result<Arc<KeyRing>, KeyError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.config)?;
        if now == held.0 {
            return Ok(Arc::clone(&held.1));
        }
        let ring = KeyRing::open(&self.config)?;
        let (found, newest) = (ring.revision(), held.1.revision());
        if found < newest {
            return Err(KeyError::RolledBack { found, newest });
        }
        held.0 = now;
        if found > newest {
            held.1 = Arc::new(ring);
        }
        Ok(Arc::clone(&held.1))
    }
}

fn stamp(config: &Config) -> Result<Stamp, KeyError> {
    let Some(path) = config.ring.as_file() else { return Ok(Stamp::Stored(crypto::sha256(&place::read(config)?))) };
    let file = match std::fs::metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(KeyError::Missing(path.to_path_buf())),
        Err(error) => return Err(KeyError::io(path, "read", &error)),
    };
    Ok(Stamp::File { device: file.dev(), inode: file.ino(), modified: (file.mtime(), file.mtime_nsec()), len: file.len() })
}
