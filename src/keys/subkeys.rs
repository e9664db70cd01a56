//! Keys of fields, derived once and kept: one entry per (key version, field), bounded.
//!
//! A hit costs one hash over the names, no allocation and no lock beyond one shard's read lock, which is gone before the call
//! returns. What may be opened is not decided here: the ring asks a version's state first, on every call, so an entry never
//! outlives what its version may do; and a new revision of the ring is a new [`Subkeys`] (T19).

use std::borrow::Borrow;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

use crate::base::{FieldPlace, Kid};

/// Entries kept before the map is emptied and filled anew. An entry is about 600 bytes, so this bounds it at about 40 MB; a
/// configuration with 1,000 fields and 60 versions in use stays below.
pub(super) const MAX_SUBKEYS: usize = 65_536;

/// The cache of one kind of key.
pub(super) struct Subkeys<K> {
    entries: DashMap<Entry, Kept<K>, BuildHasherDefault<NameHasher>>,
    most: usize,
    misses: AtomicU64,
    /// Of entries that are gone.
    past_hits: AtomicU64,
}

struct Kept<K> {
    key: Arc<K>,
    /// Beside the key whose reference count a hit raises anyway, so that counting costs no further cache line.
    hits: AtomicU64,
}

/// How well the keys of fields are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// Keys that are kept.
    pub entries: usize,
    /// Times that a key was found.
    pub hits: u64,
    /// Times that one had to be derived.
    pub misses: u64,
}

impl std::ops::Add for CacheUse {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { entries: self.entries + other.entries, hits: self.hits + other.hits, misses: self.misses + other.misses }
    }
}

impl<K> Subkeys<K> {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: DashMap::default(), most, misses: AtomicU64::new(0), past_hits: AtomicU64::new(0) }
    }

    /// The key kept for this version and field, or the one `derive` makes, which is then kept.
    pub(super) fn of(&self, kid: Kid, place: &FieldPlace, derive: impl FnOnce() -> K) -> Arc<K> {
        let asked: &dyn Named = &(kid, place);
        if let Some(kept) = self.entries.get(asked) {
            kept.hits.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(&kept.key);
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let made = Arc::new(derive());
        // Emptied whole rather than entry by entry: no order of use to keep up on every hit, and deriving all again is paid
        // once per `most` misses. Threads that miss at the same moment may overshoot by one entry each.
        if self.entries.len() >= self.most {
            self.past_hits.fetch_add(self.hits(), Ordering::Relaxed);
            self.entries.clear();
        }
        let kept = Kept { key: Arc::clone(&made), hits: AtomicU64::new(0) };
        self.entries.insert(Entry { kid, place: place.clone() }, kept);
        made
    }

    fn hits(&self) -> u64 {
        self.entries.iter().map(|entry| entry.hits.load(Ordering::Relaxed)).sum()
    }

    /// How well the cache does.
    pub(super) fn usage(&self) -> CacheUse {
        let hits = self.hits() + self.past_hits.load(Ordering::Relaxed);
        CacheUse { entries: self.entries.len(), hits, misses: self.misses.load(Ordering::Relaxed) }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The owned form of a name; cloning a place only counts up three references.
#[derive(Debug)]
struct Entry {
    kid: Kid,
    place: FieldPlace,
}

/// What owned and borrowed names have in common, so that looking one up does not make an owned one.
trait Named {
    fn kid(&self) -> Kid;
    fn place(&self) -> &FieldPlace;
}

impl Named for Entry {
    fn kid(&self) -> Kid {
        self.kid
    }
    fn place(&self) -> &FieldPlace {
        &self.place
    }
}

impl Named for (Kid, &FieldPlace) {
    fn kid(&self) -> Kid {
        self.0
    }
    fn place(&self) -> &FieldPlace {
        self.1
    }
}

impl<'a> Borrow<dyn Named + 'a> for Entry {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl Hash for dyn Named + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kid().hash(state);
        self.place().hash(state);
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.kid() == other.kid() && self.place() == other.place()
    }
}

impl Eq for dyn Named + '_ {}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let named: &dyn Named = self;
        named.hash(state);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.place == other.place
    }
}

impl Eq for Entry {}

/// A fast hash without a key. Safe here: names come from the configuration and ids from the ring, never from a client, so
/// nobody can choose them to collide.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct NameHasher(u64);

impl NameHasher {
    /// Odd, with its bits spread evenly (2^64 divided by the golden ratio).
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

    fn take(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(Self::SPREAD);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in words.by_ref() {
            self.take(word.first_chunk::<8>().map_or(0, |word| u64::from_le_bytes(*word)));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            self.take(rest.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.take(u64::from(byte));
    }

    fn write_usize(&mut self, number: usize) {
        self.take(u64::try_from(number).unwrap_or(u64::MAX));
    }

    fn finish(&self) -> u64 {
        // The map takes its shard from the high bits and its slot from the low ones; both must depend on every byte.
        (self.0 ^ (self.0 >> 32)).wrapping_mul(Self::SPREAD)
    }
}
