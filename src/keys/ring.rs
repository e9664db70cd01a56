//! An opened ring: which versions exist, what each may do, and the keys derived from them.
//!
//! A [`KeyRing`] is a snapshot of one manifest revision; a rotation is a new snapshot. All that changes in it is whether it has its
//! secrets: where a provider keeps the KEK they are dropped once its word is too old (`custody`), and come back with it.
//!
//! Always holds: an opening key leaves only against a [`Permit`] that its state allows, checked on every call before any cache is asked
//! (T19); secrets, and all that is derived from them but the keys of audit log and ledger, are dropped together; nothing here prints a secret (T13).

mod tokens;

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};

use super::custody::{Custody, Standing};
use super::fleet::Summary;
use super::subkeys::{CacheUse, MAX_SUBKEYS, NameHasher, Subkeys};
use super::{Config, KeyError, LineName, State, manifest, marks, place};
use crate::base::{Controller, FieldPlace, Kid, RingName, enc};
use crate::crypto::{self, MacKey, Secret, SigningKey, SivKey, XaesKey};
use crate::purpose::Permit;
use crate::store::Store;

pub use tokens::TokenKey;

/// First part of every derivation label (`docs/format.md`).
const LABEL: &[u8] = b"sudare/v1";
/// Where no reason is known.
const GONE: &str = "they are not in memory";

/// An opened ring: snapshot of one manifest revision, with a bounded cache of subkeys.
pub struct KeyRing {
    name: RingName,
    controller: Controller,
    revision: u64,
    /// SHA-256 of the manifest; zeros for a ring that has none.
    seen: [u8; 32],
    versions: HashMap<Kid, Version, BuildHasherDefault<NameHasher>>,
    /// Ids in the manifest's order.
    order: Vec<Kid>,
    active_seal: Option<Kid>,
    active_lookup: Option<Kid>,
    has_old: bool,
    /// Lines of pseudonyms, also those that have ended.
    scopes: HashSet<String>,
    /// Stay when the secrets are dropped: they show nobody anything, and refusals must be recorded then, too.
    audit: Vec<AuditKey>,
    /// Stay for the same time: what they open is in memory as long as the node runs.
    ledger: Vec<LedgerKey>,
    /// `None` once dropped.
    held: ArcSwapOption<Held>,
    /// Where a provider keeps the KEK.
    custody: Option<Custody>,
}

struct Version {
    info: VersionInfo,
}

/// The secrets, and what is derived from them.
struct Held {
    /// Of every version that is not destroyed.
    secrets: HashMap<Kid, Secret, BuildHasherDefault<NameHasher>>,
    /// The Active version of each scope; `None` for one that has ended.
    pseudonyms: HashMap<String, Option<Arc<MacKey>>>,
    sealing: Subkeys<FieldKey>,
    lookups: Subkeys<LookupKey>,
}

/// The secrets as one call finds them; they may be dropped behind it.
struct Holding(Guard<Option<Arc<Held>>>);

/// What became of a ring whose keys were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Regained {
    /// It has them again.
    Whole,
    /// The provider answers, but the ring has a newer revision by now, which must be loaded instead.
    MovedOn,
}

/// One version, without its secret: for `keys list` and metrics. Times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionInfo {
    /// What it is for.
    pub line: LineName,
    /// Its id.
    pub kid: Kid,
    /// What it may do.
    pub state: State,
    /// When it was made.
    pub created_ms: u64,
    /// When it began to protect.
    pub activated_ms: Option<u64>,
    /// When it ceased to protect.
    pub deactivated_ms: Option<u64>,
    /// When somebody else may have come to know it.
    pub compromised_ms: Option<u64>,
    /// When its secret was destroyed.
    pub destroyed_ms: Option<u64>,
}

/// One version of the audit line: the key of the log's lines, and the one that signs its checkpoints.
pub type AuditKey = (Kid, Arc<MacKey>, Arc<SigningKey>);

/// One version of the audit line: the key of rows of the ledger of facts.
pub type LedgerKey = (Kid, Arc<XaesKey>);

/// A prepared key for one field under one version.
pub struct FieldKey {
    /// The version's id, for the envelope.
    pub kid: Kid,
    /// The field's key.
    pub xaes: XaesKey,
}

impl fmt::Debug for FieldKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FieldKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A prepared key for the deterministic values of one field under one version of the lookup line.
pub struct LookupKey {
    /// The version's id, for the envelope.
    pub kid: Kid,
    /// The field's key.
    pub siv: SivKey,
}

impl fmt::Debug for LookupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// A prepared key for the terms of one search index of one field under one version of the lookup line.
pub struct IndexKey {
    /// The version's id, for the term.
    pub kid: Kid,
    /// The index's key.
    pub mac: MacKey,
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl KeyRing {
    /// Reads the ring's file, authenticates it and unwraps its versions.
    ///
    /// # Errors
    ///
    /// Refused: no file; a KEK that is absent, open to others or another one; a foreign controller; a file that is not as
    /// written; two Active versions in a line; a version that does not match its commitment; a revision below
    /// `min_revision`. A node with a store calls [`Self::check_rollback`] next.
    pub fn open(config: &Config) -> Result<Self, KeyError> {
        let opened = manifest::open(config)?;
        let mut versions = Vec::new();
        for (line, version) in opened.manifest.versions() {
            let secret = opened.secret(line, version).map_err(|why| KeyError::BadVersion {
                path: config.ring.shown().to_path_buf(),
                line: line.clone(),
                kid: version.kid,
                why,
            })?;
            versions.push((VersionInfo::of(line, version), secret));
        }
        let custody = opened.entrusted.map(|entrusted| Custody::new(config, entrusted, &opened.kek));
        let ring = Self::from_versions(config.controller.clone(), opened.manifest.revision, versions).named(config.name.clone());
        Ok(Self { seen: opened.seen, custody, ..ring })
    }

    /// The provider's custody of the ring's KEK; none for a file or a passphrase.
    pub fn custody(&self) -> Option<&Custody> {
        self.custody.as_ref()
    }

    /// How its custody stands; none for a file or a passphrase.
    pub fn standing(&self) -> Option<Standing> {
        self.custody.as_ref().map(Custody::standing)
    }

    /// Asks the provider whether the KEK is still ours to use. Blocks. Nothing to ask for a file or a passphrase.
    ///
    /// # Errors
    ///
    /// [`KeyError::Provider`]. The keys stay: when they are dropped is the caller's to decide, by the custody's limits.
    pub fn confirm(&self) -> Result<(), KeyError> {
        self.custody.as_ref().map_or(Ok(()), Custody::confirm)
    }

    /// Drops and overwrites every secret but the audit log's keys; what is under way with one may finish. From now on every use of one is
    /// [`KeyError::Dropped`].
    pub fn drop_keys(&self, why: &'static str) {
        if let Some(custody) = &self.custody {
            // In this order: whoever finds none must find the reason.
            custody.drop_for(why);
            self.held.store(None);
        }
    }

    /// Takes dropped keys back, if the provider gives them. Blocks.
    ///
    /// # Errors
    ///
    /// Those of [`Self::open`].
    pub fn regain(&self) -> Result<Regained, KeyError> {
        let Some(custody) = &self.custody else { return Ok(Regained::Whole) };
        let anew = Self::open(custody.config())?;
        if anew.seen != self.seen {
            return Ok(Regained::MovedOn);
        }
        self.held.store(anew.held.swap(None));
        custody.regained();
        Ok(Regained::Whole)
    }

    /// Refuses a ring older than the newest this node has ever opened, and remembers this one, durably. Without it, putting an
    /// old `ring.json` back would bring back to life what was compromised or destroyed since.
    ///
    /// # Errors
    ///
    /// [`KeyError::RolledBack`], [`KeyError::Store`].
    pub fn check_rollback(&self, store: &Store) -> Result<(), KeyError> {
        let newest = store.raise_high_water(&place::mark_of(self.name.as_str(), self.controller.as_str()), self.revision)?;
        if newest > self.revision { Err(KeyError::RolledBack { found: self.revision, newest }) } else { Ok(()) }
    }

    /// [`Self::check_rollback`], and beside a ring in the store the same with what this machine remembers: whoever keeps the store keeps
    /// its marks as well.
    ///
    /// # Errors
    ///
    /// As there; [`KeyError::NotMarks`], [`KeyError::Io`].
    pub fn remember(&self, config: &Config, store: &Store) -> Result<(), KeyError> {
        self.check_rollback(store)?;
        let Some(path) = config.ring.marks() else { return Ok(()) };
        let newest = marks::raise(path, &config.mark(), self.revision)?;
        if newest > self.revision { Err(KeyError::RolledBack { found: self.revision, newest }) } else { Ok(()) }
    }

    /// May it take the place of the ring in use? What a node has used it does not forget, whatever marks say.
    ///
    /// # Errors
    ///
    /// [`KeyError::RolledBack`], [`KeyError::Forked`].
    pub fn may_follow(&self, used: &Self) -> Result<(), KeyError> {
        match self.revision.cmp(&used.revision) {
            Ordering::Greater => Ok(()),
            Ordering::Less => Err(KeyError::RolledBack { found: self.revision, newest: used.revision }),
            Ordering::Equal if self.seen == used.seen => Ok(()),
            Ordering::Equal => Err(KeyError::Forked { revision: self.revision }),
        }
    }

    /// In short, for other nodes and for the operator.
    pub fn summary(&self) -> Summary {
        let versions = self.order.iter().filter_map(|kid| self.versions.get(kid)).map(|version| &version.info);
        Summary::of(self.revision, &self.seen, versions.map(|version| (&version.line, version.kid, version.state)))
    }

    /// A ring of fresh random keys in memory only, with every line and a pseudonym line for each scope. For tests, benches and
    /// the demo; what is sealed under it cannot be opened once it is dropped.
    ///
    /// # Errors
    ///
    /// [`KeyError::Line`] for a scope that cannot be a line, [`KeyError::Random`].
    pub fn ephemeral(controller: Controller, scopes: &[&str]) -> Result<Self, KeyError> {
        let scopes = scopes.iter().map(|scope| LineName::pseudonym(scope)).collect::<Result<Vec<_>, _>>()?;
        let mut versions = Vec::new();
        for line in LineName::FIXED.into_iter().chain(scopes) {
            let kid = Kid::from_random(crypto::random()?);
            versions.push((VersionInfo::made_up(line, kid, State::Active), Some(Secret::random()?)));
        }
        Ok(Self::from_versions(controller, 0, versions))
    }

    /// A ring of given secrets, in memory only, at revision 0: for golden vectors and tests. Dangerous anywhere else, for it
    /// asks for no KEK and checks nothing.
    #[doc(hidden)]
    pub fn with_versions(controller: Controller, versions: Vec<(LineName, Kid, State, [u8; 32])>) -> Self {
        let version = |(line, kid, state, secret): (LineName, Kid, State, [u8; 32])| {
            (VersionInfo::made_up(line, kid, state), (state != State::Destroyed).then(|| Secret::from_bytes(secret)))
        };
        Self::from_versions(controller, 0, versions.into_iter().map(version).collect())
    }

    fn from_versions(controller: Controller, revision: u64, list: Vec<(VersionInfo, Option<Secret>)>) -> Self {
        let mut ring = Self {
            name: RingName::main(),
            controller,
            revision,
            seen: [0; 32],
            versions: HashMap::default(),
            order: Vec::new(),
            active_seal: None,
            active_lookup: None,
            has_old: false,
            scopes: HashSet::new(),
            audit: Vec::new(),
            ledger: Vec::new(),
            held: ArcSwapOption::empty(),
            custody: None,
        };
        let mut held = Held {
            secrets: HashMap::default(),
            pseudonyms: HashMap::new(),
            sealing: Subkeys::new(MAX_SUBKEYS),
            lookups: Subkeys::new(MAX_SUBKEYS),
        };
        let of_values = |info: &VersionInfo| matches!(info.line, LineName::Seal | LineName::Lookup);
        ring.has_old = list
            .iter()
            .map(|(info, _)| info)
            .any(|info| of_values(info) && info.state.opens_to_reveal() && !info.state.protects());
        for (info, secret) in list {
            let VersionInfo { line, kid, state, .. } = &info;
            let derived =
                |parts: &[&[u8]]| secret.as_ref().map(|secret| Arc::new(MacKey::new(&crypto::hkdf(secret, &ring.label(parts)))));
            match line {
                LineName::Seal if state.protects() => ring.active_seal = Some(*kid),
                LineName::Lookup if state.protects() => ring.active_lookup = Some(*kid),
                // Compromised ones too: what stands in the log was written under them, and reading it shows nobody anything.
                LineName::Audit => {
                    if let (Some(mac), Some(secret)) = (derived(&[b"audit"]), &secret) {
                        let signer = Arc::new(SigningKey::new(&crypto::hkdf(secret, &ring.label(&[b"checkpoint"]))));
                        ring.audit.push((*kid, mac, signer));
                        let ledger = XaesKey::new(&crypto::hkdf(secret, &ring.label(&[b"ledger"])));
                        ring.ledger.push((*kid, Arc::new(ledger)));
                    }
                }
                LineName::Pseudonym(scope) => {
                    let active = if state.protects() { derived(&[b"pseudonym", scope.as_bytes()]) } else { None };
                    let slot = held.pseudonyms.entry(scope.clone()).or_default();
                    *slot = active.or(slot.take());
                    ring.scopes.insert(scope.clone());
                }
                LineName::Seal | LineName::Lookup | LineName::Token => {}
            }
            ring.order.push(*kid);
            held.secrets.extend(secret.map(|secret| (*kid, secret)));
            ring.versions.insert(*kid, Version { info });
        }
        ring.held = ArcSwapOption::from_pointee(held);
        ring
    }

    /// The same under another name than the main ring's. In no key that is derived there is a name, and in no stored value: which ring a
    /// value belongs to is said by the ids of its versions.
    #[must_use]
    pub fn named(self, name: RingName) -> Self {
        Self { name, ..self }
    }

    /// Which of the rings of a configuration it is.
    pub fn name(&self) -> &RingName {
        &self.name
    }

    /// Whose ring it is.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// The manifest's revision; 0 for a ring that has no file.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The key that seals new values of this field: the Active version of the seal line.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoActive`]; [`KeyError::ForeignPlace`].
    pub fn seal_key(&self, place: &FieldPlace) -> Result<Arc<FieldKey>, KeyError> {
        let version = self.active_seal.and_then(|kid| self.versions.get(&kid)).ok_or(KeyError::NoActive(LineName::Seal))?;
        self.field_key(version, place)
    }

    /// The key a stored value names.
    ///
    /// # Errors
    ///
    /// [`KeyError::UnknownKid`], also for the id of another line; [`KeyError::Destroyed`]; [`KeyError::Compromised`] under
    /// [`Permit::Reveal`]; [`KeyError::ForeignPlace`].
    pub fn open_key(&self, kid: Kid, place: &FieldPlace, permit: Permit<'_>) -> Result<Arc<FieldKey>, KeyError> {
        self.field_key(self.permitted(kid, &LineName::Seal, permit)?, place)
    }

    /// The key that protects new values of this field deterministically: the Active version of the lookup line.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoActive`], also if the ring has no lookup line; [`KeyError::ForeignPlace`].
    pub fn lookup_key(&self, place: &FieldPlace) -> Result<Arc<LookupKey>, KeyError> {
        let version = self.active_lookup.and_then(|kid| self.versions.get(&kid)).ok_or(KeyError::NoActive(LineName::Lookup))?;
        self.lookup_key_of(version, place)
    }

    /// The keys under which equal values of this field may be stored: the Active version of the lookup line, then all others that the
    /// permit opens, newest first. A search asks for the terms of all of them, so that it finds what a rotation left behind.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoActive`] if there is none, so that a search is refused rather than finding nothing; [`KeyError::ForeignPlace`].
    pub fn lookup_keys(&self, place: &FieldPlace, permit: Permit<'_>) -> Result<Vec<Arc<LookupKey>>, KeyError> {
        let keys = self.searched(permit).map(|version| self.lookup_key_of(version, place)).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyError::NoActive(LineName::Lookup)) } else { Ok(keys) }
    }

    /// The key a value that is stored deterministically names.
    ///
    /// # Errors
    ///
    /// Those of [`Self::open_key`].
    pub fn open_lookup_key(&self, kid: Kid, place: &FieldPlace, permit: Permit<'_>) -> Result<Arc<LookupKey>, KeyError> {
        self.lookup_key_of(self.permitted(kid, &LineName::Lookup, permit)?, place)
    }

    /// The key for new terms of a search index of this field: the Active version of the lookup line. `chain` names the normaliser, so that
    /// terms of another one never match by accident.
    ///
    /// # Errors
    ///
    /// Those of [`Self::lookup_key`].
    pub fn index_key(&self, place: &FieldPlace, chain: &str) -> Result<IndexKey, KeyError> {
        let version = self.active_lookup.and_then(|kid| self.versions.get(&kid)).ok_or(KeyError::NoActive(LineName::Lookup))?;
        self.index_key_of(version, place, chain)
    }

    /// The keys under which terms of this index may be stored: those of [`Self::lookup_keys`], in the same order.
    ///
    /// # Errors
    ///
    /// Those of [`Self::lookup_keys`].
    pub fn index_keys(&self, place: &FieldPlace, chain: &str, permit: Permit<'_>) -> Result<Vec<IndexKey>, KeyError> {
        let keys = self.searched(permit).map(|version| self.index_key_of(version, place, chain));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(KeyError::NoActive(LineName::Lookup)) } else { Ok(keys) }
    }

    /// The versions of the lookup line that a search asks for: the Active one, then all others that the permit opens, newest first.
    fn searched<'a>(&'a self, permit: Permit<'a>) -> impl Iterator<Item = &'a Version> {
        let of_line = self.order.iter().rev().filter(|kid| Some(**kid) != self.active_lookup);
        let opening = self.active_lookup.iter().chain(of_line).filter_map(|kid| self.versions.get(kid));
        opening.filter(move |version| version.info.line == LineName::Lookup && opens_under(version.info.state, permit))
    }

    /// The version of a line that a stored value names, if its state lets it open under the permit.
    fn permitted(&self, kid: Kid, line: &LineName, permit: Permit<'_>) -> Result<&Version, KeyError> {
        let version = self.versions.get(&kid).filter(|version| version.info.line == *line).ok_or(KeyError::UnknownKid(kid))?;
        if opens_under(version.info.state, permit) {
            Ok(version)
        } else if version.info.state == State::Compromised {
            Err(KeyError::Compromised(kid))
        } else {
            Err(KeyError::Destroyed(kid))
        }
    }

    /// The pseudonym key of a scope, only to show a pseudonym to the holder of a grant of this very scope.
    ///
    /// # Errors
    ///
    /// [`KeyError::OtherScope`] under another grant or [`Permit::Upkeep`]; [`KeyError::NoScope`];
    /// [`KeyError::NoActive`] once the scope has ended.
    pub fn pseudonym_key(&self, scope: &str, permit: Permit<'_>) -> Result<Arc<MacKey>, KeyError> {
        match permit {
            Permit::Reveal(grant) if grant.scope() == scope => {}
            Permit::Reveal(_) | Permit::Upkeep(_) => return Err(KeyError::OtherScope(scope.to_string())),
        }
        let holding = self.holding()?;
        let active = holding.get()?.pseudonyms.get(scope).ok_or_else(|| KeyError::NoScope(scope.to_string()))?;
        active.clone().ok_or_else(|| KeyError::NoActive(LineName::Pseudonym(scope.to_string())))
    }

    /// The audit log's keys: of each version one for its lines and one for its checkpoints. Active first, then all others that are
    /// not destroyed, newest first.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoActive`] if the audit line has no Active version: no audit, no reveal.
    pub fn audit_keys(&self) -> Result<Vec<AuditKey>, KeyError> {
        let active = |(kid, ..): &&AuditKey| self.versions.get(kid).is_some_and(|version| version.info.state.protects());
        let first = self.audit.iter().find(active).ok_or(KeyError::NoActive(LineName::Audit))?;
        let others = self.audit.iter().rev().filter(|(kid, ..)| *kid != first.0);
        Ok(std::iter::once(first).chain(others).cloned().collect())
    }

    /// The keys of the ledger of facts, one of each version of the audit line, which are never destroyed before the log's are. The Active
    /// one seals and comes first; none if there is none.
    pub fn ledger_keys(&self) -> Vec<LedgerKey> {
        let active = |kid: &Kid| self.versions.get(kid).is_some_and(|version| version.info.state.protects());
        let Some(first) = self.ledger.iter().find(|(kid, _)| active(kid)) else { return Vec::new() };
        let others = self.ledger.iter().rev().filter(|(kid, _)| *kid != first.0);
        std::iter::once(first).chain(others).cloned().collect()
    }

    /// The Active version of a line. None of a pseudonym scope that has ended.
    pub fn active(&self, line: &LineName) -> Option<Kid> {
        match line {
            LineName::Seal => return self.active_seal,
            LineName::Lookup => return self.active_lookup,
            LineName::Token | LineName::Audit | LineName::Pseudonym(_) => {}
        }
        let of_line = self.order.iter().filter_map(|kid| self.versions.get(kid)).filter(|version| version.info.line == *line);
        of_line.map(|version| &version.info).find(|info| info.state.protects()).map(|info| info.kid)
    }

    /// Are there versions, other than the Active ones, on which values may hang that are shown? Cheap: nearly every write asks.
    pub fn has_old(&self) -> bool {
        self.has_old
    }

    /// What a version of a line may do; None if the line has no such version.
    pub fn state_of(&self, line: &LineName, kid: Kid) -> Option<State> {
        self.versions.get(&kid).map(|version| &version.info).filter(|info| info.line == *line).map(|info| info.state)
    }

    /// Has the ring a line for this scope? Also true for a scope that has ended.
    pub fn has_pseudonym_scope(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }

    /// How well the keys of fields are kept.
    pub fn cache(&self) -> CacheUse {
        let held = self.held.load();
        held.as_ref().map_or_else(CacheUse::default, |held| held.sealing.usage() + held.lookups.usage())
    }

    /// Is there a version of this id, in any line and state?
    pub fn knows(&self, kid: Kid) -> bool {
        self.versions.contains_key(&kid)
    }

    /// Does this id name a version that somebody else may know?
    pub fn is_compromised(&self, kid: Kid) -> bool {
        self.versions.get(&kid).is_some_and(|version| version.info.state == State::Compromised)
    }

    /// Every version, in the manifest's order.
    pub fn versions(&self) -> Vec<VersionInfo> {
        self.order.iter().filter_map(|kid| self.versions.get(kid)).map(|version| version.info.clone()).collect()
    }

    fn field_key(&self, version: &Version, place: &FieldPlace) -> Result<Arc<FieldKey>, KeyError> {
        let holding = self.holding_for(place)?;
        let (held, (kid, secret)) = (holding.get()?, holding.secret(version)?);
        Ok(held.sealing.of(kid, place, || {
            let label = self.label(&[b"seal", place.collection.as_str().as_bytes(), place.field.as_str().as_bytes()]);
            FieldKey { kid, xaes: XaesKey::new(&crypto::hkdf(secret, &label)) }
        }))
    }

    fn lookup_key_of(&self, version: &Version, place: &FieldPlace) -> Result<Arc<LookupKey>, KeyError> {
        let holding = self.holding_for(place)?;
        let (held, (kid, secret)) = (holding.get()?, holding.secret(version)?);
        Ok(held.lookups.of(kid, place, || {
            let label = self.label(&[b"deterministic", place.collection.as_str().as_bytes(), place.field.as_str().as_bytes()]);
            LookupKey { kid, siv: SivKey::derive(secret, &label) }
        }))
    }

    /// Not kept: it is derived once for a body or a search, at the cost of two HMACs.
    fn index_key_of(&self, version: &Version, place: &FieldPlace, chain: &str) -> Result<IndexKey, KeyError> {
        let holding = self.holding_for(place)?;
        let (kid, secret) = holding.secret(version)?;
        let parts =
            [b"index".as_slice(), place.collection.as_str().as_bytes(), place.field.as_str().as_bytes(), chain.as_bytes()];
        Ok(IndexKey { kid, mac: MacKey::new(&crypto::hkdf(secret, &self.label(&parts))) })
    }

    fn holding_for(&self, place: &FieldPlace) -> Result<Holding, KeyError> {
        if place.controller != self.controller {
            return Err(KeyError::ForeignPlace { ring: self.controller.clone(), asked: place.controller.clone() });
        }
        self.holding()
    }

    /// The secrets, if they are there.
    fn holding(&self) -> Result<Holding, KeyError> {
        let holding = Holding(self.held.load());
        match holding.get() {
            Ok(_) => Ok(holding),
            Err(_) => Err(KeyError::Dropped(self.custody.as_ref().and_then(Custody::dropped).unwrap_or(GONE))),
        }
    }

    /// enc("sudare/v1", use, controller, the other parts); `parts` begins with the use.
    fn label(&self, parts: &[&[u8]]) -> Vec<u8> {
        let (using, others) = parts.split_first().map_or((&b""[..], parts), |(using, others)| (*using, others));
        enc(&[&[LABEL, using, self.controller.as_str().as_bytes()], others].concat())
    }
}

impl Holding {
    fn get(&self) -> Result<&Held, KeyError> {
        self.0.as_deref().ok_or(KeyError::Dropped(GONE))
    }

    /// The secret of a version of the same ring.
    fn secret(&self, version: &Version) -> Result<(Kid, &Secret), KeyError> {
        let kid = version.info.kid;
        // A state that opens without a secret cannot be: the manifest's check refuses it.
        self.get()?.secrets.get(&kid).map(|secret| (kid, secret)).ok_or(KeyError::Destroyed(kid))
    }
}

/// May a version in this state open stored values under the permit?
fn opens_under(state: State, permit: Permit<'_>) -> bool {
    match permit {
        Permit::Reveal(_) => state.opens_to_reveal(),
        Permit::Upkeep(_) => state.opens_for_upkeep(),
    }
}

impl VersionInfo {
    pub(super) fn of(line: &LineName, version: &manifest::Version) -> Self {
        let manifest::Times { created, activated, deactivated, compromised, destroyed } = version.times;
        Self {
            line: line.clone(),
            kid: version.kid,
            state: version.state,
            created_ms: created,
            activated_ms: activated,
            deactivated_ms: deactivated,
            compromised_ms: compromised,
            destroyed_ms: destroyed,
        }
    }

    /// For rings without a file, which have no history.
    fn made_up(line: LineName, kid: Kid, state: State) -> Self {
        Self {
            line,
            kid,
            state,
            created_ms: 0,
            activated_ms: None,
            deactivated_ms: None,
            compromised_ms: None,
            destroyed_ms: None,
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing")
            .field("name", &self.name)
            .field("controller", &self.controller)
            .field("revision", &self.revision)
            .field("versions", &self.versions())
            .finish_non_exhaustive()
    }
}
