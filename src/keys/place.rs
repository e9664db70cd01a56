//! Where a ring's manifest is kept: in a file, or in the store that the nodes share.
//!
//! Always holds: either holds the same bytes, authenticated in the same way, so that whoever keeps them changes nothing unnoticed; of two
//! who change a ring at once one does it, and the other is told ([`KeyError::Overtaken`]); a ring is replaced whole or not at all. Beside
//! a ring in the store a file of this machine remembers the newest revision it has met ([`super::marks`]), for whoever keeps the store
//! keeps the marks in it, too. Called by `manifest` (read) and `life` (change).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::files::{self, Lock};
use super::manifest::{self, MAX_MANIFEST_BYTES, Opened};
use super::{Config, KeyError, marks};
use crate::base::enc;
use crate::store::{self, Store, StoreError, Supersede, Table};

/// What is put behind the name of a file whose ring is in the store now, with its last revision.
const MOVED: &str = ".moved-";

/// Where the manifest is.
#[derive(Debug, Clone)]
pub struct Place {
    kind: Kind,
    /// The file, or what people call its place in the store.
    shown: PathBuf,
    shared: Option<Shared>,
}

#[derive(Debug, Clone)]
enum Kind {
    File,
    /// With the file of this machine that remembers revisions.
    Store {
        marks: PathBuf,
    },
}

/// The store that nodes share, opened when it is first needed.
#[derive(Debug, Clone)]
pub struct Shared {
    config: Arc<store::Config>,
    open: Arc<OnceLock<Arc<Store>>>,
}

impl Shared {
    /// One that is reached like this.
    pub fn new(config: store::Config) -> Self {
        Self { config: Arc::new(config), open: Arc::default() }
    }

    /// It is open already, for this process.
    pub fn provide(&self, store: &Arc<Store>) {
        // If it was opened before, that one serves as well.
        let _known = self.open.set(Arc::clone(store));
    }

    /// It. Blocks where it is not open yet.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn store(&self) -> Result<Arc<Store>, StoreError> {
        if let Some(store) = self.open.get() {
            return Ok(Arc::clone(store));
        }
        let store = Arc::new(Store::open(&self.config, None)?);
        Ok(Arc::clone(self.open.get_or_init(|| store)))
    }
}

impl Place {
    /// A file. Nodes that use it may share a store all the same.
    pub fn file(path: PathBuf, shared: Option<Shared>) -> Self {
        Self { kind: Kind::File, shown: path, shared }
    }

    /// In the store, under this name; `marks` is the file of this machine that remembers revisions.
    pub fn store(ring: &str, shared: Shared, marks: PathBuf) -> Self {
        let shown = PathBuf::from(format!("ring {ring} in {}", shared.config.place()));
        Self { kind: Kind::Store { marks }, shown, shared: Some(shared) }
    }

    /// The file, or what people call its place in the store.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// The file, if it is one.
    pub fn as_file(&self) -> Option<&Path> {
        match self.kind {
            Kind::File => Some(&self.shown),
            Kind::Store { .. } => None,
        }
    }

    /// The file of this machine beside which lies what belongs to the ring: the ring itself, or the file that remembers a ring in the store.
    pub fn companion(&self) -> &Path {
        self.marks().unwrap_or(&self.shown)
    }

    /// Is it in the store?
    pub fn is_store(&self) -> bool {
        self.as_file().is_none()
    }

    /// The store that the nodes share, if they do.
    pub fn shared(&self) -> Option<&Shared> {
        self.shared.as_ref()
    }

    /// The file that remembers revisions, beside a ring in the store.
    pub(super) fn marks(&self) -> Option<&Path> {
        match &self.kind {
            Kind::File => None,
            Kind::Store { marks } => Some(marks),
        }
    }

    fn opened_store(&self) -> Option<&Arc<Store>> {
        self.shared.as_ref().and_then(|shared| shared.open.get())
    }

    fn store_of_ring(&self) -> Result<Arc<Store>, KeyError> {
        let Some(shared) = &self.shared else { return Err(KeyError::Missing(self.shown.clone())) };
        Ok(shared.store()?)
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::file(path, None)
    }
}

/// Tests look at the file.
#[cfg(test)]
impl AsRef<Path> for Place {
    fn as_ref(&self) -> &Path {
        &self.shown
    }
}

#[cfg(test)]
impl std::ops::Deref for Place {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.shown
    }
}

/// As people call it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown.display().fmt(f)
    }
}

impl Config {
    /// The name of the ring's mark.
    pub(super) fn mark(&self) -> String {
        mark_of(self.ring_name(), self.controller.as_str())
    }

    /// The topic by which changes of a ring in the store are announced: the mark's name.
    pub fn topic(&self) -> String {
        self.mark()
    }

    /// The key of the ring's row in the store.
    pub fn row_key(&self) -> Vec<u8> {
        enc(&[self.controller.as_str().as_bytes(), self.ring_name().as_bytes()])
    }
}

pub(super) fn mark_of(ring: &str, controller: &str) -> String {
    format!("ring:{ring}:{controller}")
}

/// The bytes of the ring, as they are now. Nothing of them is authenticated.
///
/// # Errors
///
/// [`KeyError::Missing`], [`KeyError::MovedAway`], [`KeyError::Vanished`]; what the system or the store says.
pub(super) fn read(config: &Config) -> Result<Vec<u8>, KeyError> {
    if let Some(path) = config.ring.as_file() {
        return files::read(path, MAX_MANIFEST_BYTES).map_err(|error| match (&error, files::aside(path, MOVED)) {
            (KeyError::Missing(_), Some(aside)) => KeyError::MovedAway { path: path.to_path_buf(), aside },
            _ => error,
        });
    }
    let store = config.ring.store_of_ring()?;
    let Some(bytes) = store.value(Table::Ring, &config.row_key())? else {
        let path = config.ring.shown.clone();
        return Err(match store.high_water(&config.mark())? {
            0 => KeyError::Missing(path),
            newest => KeyError::Vanished { path, newest },
        });
    };
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= MAX_MANIFEST_BYTES) {
        Ok(bytes)
    } else {
        Err(KeyError::malformed(&config.ring.shown, format!("it is longer than {MAX_MANIFEST_BYTES} bytes")))
    }
}

/// A ring that is about to be changed. For a file others wait meanwhile; in the store they do not, and lose if they are later.
pub(super) struct Held<'c> {
    config: &'c Config,
    by: By,
}

enum By {
    File(#[expect(dead_code, reason = "the lock goes when it is dropped")] Lock),
    Store(Arc<Store>),
}

impl<'c> Held<'c> {
    /// Of a ring that is there, or not yet.
    ///
    /// # Errors
    ///
    /// [`KeyError::Locked`], [`KeyError::Store`].
    pub(super) fn take(config: &'c Config) -> Result<Self, KeyError> {
        let by = match config.ring.as_file() {
            Some(path) => By::File(Lock::take(path)?),
            None => By::Store(config.ring.store_of_ring()?),
        };
        Ok(Self { config, by })
    }

    /// Reads and authenticates it; one that is older than what the store or this machine has met is refused, for it is not what others
    /// use.
    ///
    /// # Errors
    ///
    /// As [`manifest::open`]; [`KeyError::Older`].
    pub(super) fn open(&self) -> Result<Opened, KeyError> {
        self.open_at(None)
    }

    /// As [`Self::open`], but it must be at the revision that an operator names. Who names one has looked at it, so it may also be older than
    /// one that is lost.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]; [`KeyError::MovedOn`].
    pub(super) fn open_at(&self, revision: Option<u64>) -> Result<Opened, KeyError> {
        // Before the ring is read: somebody may write it at this very moment, and raise the mark with it.
        let newest = if revision.is_none() { self.newest()? } else { 0 };
        let opened = manifest::open(self.config)?;
        let found = opened.manifest.revision;
        match revision {
            Some(expected) if expected != found => {
                Err(KeyError::MovedOn { path: self.config.ring.shown.clone(), found, expected })
            }
            None if newest > found => Err(KeyError::Older { path: self.config.ring.shown.clone(), found, newest }),
            Some(_) | None => Ok(opened),
        }
    }

    /// Refuses to make a ring where there has been one.
    ///
    /// # Errors
    ///
    /// [`KeyError::Vanished`].
    pub(super) fn was_never_there(&self) -> Result<(), KeyError> {
        match self.newest()? {
            0 => Ok(()),
            newest => Err(KeyError::Vanished { path: self.config.ring.shown.clone(), newest }),
        }
    }

    /// The newest revision that is known of; 0 if none is. Of a file only where the store is at hand anyway.
    fn newest(&self) -> Result<u64, KeyError> {
        let name = self.config.mark();
        let in_store = match (&self.by, self.config.ring.opened_store()) {
            (By::Store(store), _) | (By::File(_), Some(store)) => store.high_water(&name)?,
            (By::File(_), None) => 0,
        };
        let here = self.config.ring.marks().map_or(Ok(0), |path| marks::read(path, &name))?;
        Ok(in_store.max(here))
    }

    /// Writes the ring's first revision.
    ///
    /// # Errors
    ///
    /// [`KeyError::Overtaken`] if another one is there by now. [`KeyError::Io`], [`KeyError::Store`].
    pub(super) fn create(&self, opened: &mut Opened, now_ms: u64) -> Result<(), KeyError> {
        let bytes = opened.next_revision(&self.config.ring.shown, now_ms)?;
        match &self.by {
            By::File(_) => files::create_private(&self.config.ring.shown, &bytes),
            By::Store(store) => self.supersede(store, None, Some(&bytes), opened.manifest.revision),
        }
    }

    /// The bytes of the next revision, which [`Self::replace`] puts in place.
    pub(super) fn next(&self, opened: &mut Opened, now_ms: u64) -> Result<Vec<u8>, KeyError> {
        opened.next_revision(&self.config.ring.shown, now_ms)
    }

    /// Puts the bytes of a new revision in the place of what `opened` was read from.
    ///
    /// # Errors
    ///
    /// [`KeyError::Overtaken`] if that has been replaced; [`KeyError::Io`], [`KeyError::Store`]: nothing was changed.
    /// [`KeyError::Unconfirmed`]: it was, or may have been.
    pub(super) fn replace(&self, opened: &Opened, bytes: &[u8]) -> Result<(), KeyError> {
        match &self.by {
            By::File(_) => files::replace(&self.config.ring.shown, bytes, &opened.seen),
            By::Store(store) => self.supersede(store, Some(&opened.bytes), Some(bytes), opened.manifest.revision),
        }
    }

    /// Takes it away: it is somewhere else, at `revision`.
    pub(super) fn remove(&self, opened: &Opened, revision: u64) -> Result<(), KeyError> {
        match &self.by {
            By::File(_) => {
                if let Some(store) = self.config.ring.opened_store() {
                    store.raise_high_water(&self.config.mark(), revision)?;
                }
                files::set_aside(&self.config.ring.shown, &opened.seen, &format!("{MOVED}{}", opened.manifest.revision)).map(drop)
            }
            By::Store(store) => self.supersede(store, Some(&opened.bytes), None, revision),
        }
    }

    fn supersede(&self, store: &Store, seen: Option<&[u8]>, new: Option<&[u8]>, revision: u64) -> Result<(), KeyError> {
        let (shown, key) = (&self.config.ring.shown, self.config.row_key());
        let wanted = Supersede {
            table: Table::Ring,
            key: key.clone(),
            seen: seen.map(<[u8]>::to_vec),
            new: new.map(<[u8]>::to_vec),
            name: self.config.mark(),
            mark: revision,
        };
        let done = store.supersede(wanted).or_else(|error| {
            // The server may have done it and could not say so.
            match store.value(Table::Ring, &key) {
                Ok(now) if now.as_deref() == new => Ok(true),
                Ok(_) => Err(KeyError::Store(error)),
                Err(_away) => Err(KeyError::Untold { path: shown.clone(), why: error.to_string() }),
            }
        })?;
        if !done {
            return Err(KeyError::Overtaken(shown.clone()));
        }
        if let Some(path) = self.config.ring.marks() {
            // The change is made; whoever opens the ring next on this machine remembers it as well.
            drop(marks::raise(path, &self.config.mark(), revision));
        }
        Ok(())
    }
}
