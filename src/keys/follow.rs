//! The newest ring, for a command that runs for long: what operators change meanwhile holds for what it does next.
//!
//! Always holds: a ring older than the one at hand is refused; the file is read again only if it is another one. Called by `cli`.

use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Config, KeyError, KeyRing};

/// Which file it is, and which state of it: a ring is written under another name and renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    len: u64,
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
        // The stamp is that of the file before it was read: if it is replaced in between, the next look reads it again.
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
    let file = match std::fs::metadata(&config.ring) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(KeyError::Missing(config.ring.clone())),
        Err(error) => return Err(KeyError::io(&config.ring, "read", &error)),
    };
    Ok(Stamp { device: file.dev(), inode: file.ino(), modified: (file.mtime(), file.mtime_nsec()), len: file.len() })
}
