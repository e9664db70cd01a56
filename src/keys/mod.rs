//! Key ring: which key versions exist and what each may still do.
//!
//! A [`KeyRing`] belongs to one controller and holds keys in lines (seal, lookup, token, audit, one per pseudonym scope), each
//! wrapped in a manifest file under a root, which is the ring's KEK or hangs on it. One version of a line is Active: new values are protected under it.
//! Rotation rewrites nothing. States and moves: [`State`]. Format: `docs/format.md`. Runbooks: `keys/README.md`,
//! `docs/rotation.md`.
//!
//! Always holds: one Active version a line; an id is never used twice; an opening key leaves only against a
//! [`Permit`](crate::purpose::Permit); a ring is believed only whole and authenticated; no secret is printed (T13).
//!
//! A configuration has one ring or several: [`Rings`] is the set that a node holds.
//!
//! `app` opens the rings at start and reload; `field` and `audit` use their keys; `cli/keys` runs [`init`], [`Change`], [`verify`].
//!
//! Where to look: `state` what a version may do · `rings` which ring a field has · `ring` the opened snapshot · `subkeys` its cache ·
//! `manifest` the file · `place` where that is kept · `marks` what this machine remembers of it · `kek` where the KEK comes from, `kek/`
//! its providers · `custody` for how long · `follow` the newest ring for long commands · `life` what operators do, `life/change` the moves,
//! `life/census` and `life/evidence` what hangs on a version, `life/destroy` how one ends, `life/signature` what operators sign with · `fleet` what nodes tell each other · `files`
//! private, atomic, locked.

pub mod custody;
mod files;
pub mod fleet;
mod follow;
pub mod kek;
mod life;
mod manifest;
mod marks;
mod place;
mod ring;
mod rings;
mod state;
mod subkeys;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Controller, Kid, RingName};
use crate::crypto::RandomError;
use crate::store::StoreError;

pub use custody::{Custody, CustodyLimits, Denied};
pub use follow::Follow;
pub use kek::provider::{Provider, ProviderError, ProviderName};
pub(crate) use life::spelled;
pub use life::{
    Approved, Asked, Census, Change, Checked, CollectionSeen, DestroyError, DestroyReport, Destruction, Detached, InDocuments,
    InitReport, KekReport, Kept, MoveReport, Moved, NotMoved, NotZero, Noted, Onto, Operator, PublishReport, Receipt,
    ReceiptReport, Record, Relocated, Request, RotateReport, SIGNERS, Scope, Signed, Stage, Standing, StoreSeen, Successor,
    UnknownCount, VALID, VerifyReport, VersionCount, Written, Zero, ZeroSince, copy, init, keep, kept, make_operator,
    operator_key, receipts, relocate, rotate, verify, verify_receipt, zero_since,
};
pub use place::{Place, Shared};
pub use ring::{AuditKey, FieldKey, IndexKey, KeyRing, LedgerKey, LookupKey, Regained, TokenKey, VersionInfo};
pub use rings::{Other, Rings};
pub use state::{LineName, Operation, ParseLineError, ParseStateError, Refusal, State, Step};
pub use subkeys::CacheUse;

/// The name of the ring that every node holds, and that every field has which names no other.
pub const MAIN_RING: &str = RingName::MAIN;

/// One ring as configured: `[keys]`, or `[keys.NAME]`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whose ring it must be.
    pub controller: Controller,
    /// Which of theirs. It is bound into every wrapped secret and into the manifest's MAC, so that no ring stands in for another.
    pub name: RingName,
    /// Where the manifest is: `ring.json`, or the store.
    pub ring: Place,
    /// What unwraps it.
    pub kek: Kek,
    /// A manifest below this revision is refused.
    pub min_revision: u64,
}

impl Config {
    /// The table it stands in, for messages.
    pub fn table(&self) -> String {
        if self.name.is_main() { "[keys]".to_owned() } else { format!("[keys.{}]", self.name) }
    }

    /// Which of the controller's rings it is.
    pub fn ring_name(&self) -> &str {
        self.name.as_str()
    }
}

/// Where the key-encryption key comes from.
#[derive(Debug, Clone)]
pub enum Kek {
    /// A file with 32 bytes as base64url text, mode 0600; refused when others may read it.
    File(PathBuf),
    /// Argon2id over a passphrase; salt and parameters stand in the manifest.
    Passphrase {
        /// Name of the environment variable that holds the passphrase.
        env: String,
    },
    /// A service or a device keeps it; a root that it has wrapped stands in the manifest.
    Provider {
        /// Who does the wrapping.
        provider: Arc<dyn Provider>,
        /// For how long its answer is good.
        limits: CustodyLimits,
    },
    /// The ring is moving from one to another (`[keys] next_kek`): it may hang on either.
    Changing {
        /// What it hung on.
        from: Box<Kek>,
        /// What it is to hang on.
        to: Box<Kek>,
    },
}

/// Why a ring, or a key of it, cannot be used. Names files, lines and ids; never a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No such file.
    #[error("{path}: not there: put it back from your backup; where nothing was ever sealed, make it with `sudare keys init`", path = .0.display())]
    Missing(PathBuf),
    /// The ring is there, the KEK it hangs on is not.
    #[error("{kek}: not there, but {ring} needs it: put it back from your backup; a new one cannot open this ring", kek = .kek.display(), ring = .ring.display())]
    KekMissing {
        /// The KEK's file.
        kek: PathBuf,
        /// The ring's file.
        ring: PathBuf,
    },
    /// Others than its owner have rights to a secret file.
    #[error("{path}: readable by others (mode {mode:04o}): chmod 600 {path}", path = .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A secret file belongs to somebody else.
    #[error("{path}: belongs to another user (id {uid}), who can read it: chown it to this one", path = .path.display())]
    Owned {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The system refused.
    #[error("{path}: cannot be {doing}: {why}: it must belong to the account that runs Sudare, on a disk with room", path = .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// `read`, `written`, …
        doing: &'static str,
        /// What the system says.
        why: String,
    },
    /// The KEK's file holds something else.
    #[error("{path}: not a key: expected 32 bytes as 43 characters of base64url text", path = .0.display())]
    NotAKek(PathBuf),
    /// No passphrase to derive the KEK from.
    #[error("the environment variable {0} is empty or not set: put the ring's passphrase there")]
    PassphraseUnset(String),
    /// Too short to make a ring with.
    #[error("the passphrase in {env} is too short: take at least {least} bytes, better six random words")]
    PassphraseShort {
        /// The variable.
        env: String,
        /// Fewest bytes.
        least: usize,
    },
    /// The KEK could not be derived.
    #[error("the key-encryption key cannot be derived from the passphrase: {0}")]
    Kdf(String),
    /// The ring hangs on another kind of KEK than configured.
    #[error("{path}: wrapped under a KEK of provider \"{found}\", but the configuration names \"{configured}\": change [keys] kek", path = .path.display())]
    OtherProvider {
        /// The ring's file.
        path: PathBuf,
        /// In the ring.
        found: &'static str,
        /// In the configuration.
        configured: &'static str,
    },
    /// The ring hangs on another key of the provider than configured.
    #[error("{path}: wrapped under the key \"{found}\", but the configuration names \"{configured}\": change `key` in [keys] kek", path = .path.display())]
    OtherKek {
        /// The ring's file.
        path: PathBuf,
        /// In the ring.
        found: String,
        /// In the configuration.
        configured: String,
    },
    /// The provider of the KEK does not do what it was asked.
    #[error("{path}: its KEK is the key \"{key}\" of {provider}, and {error}", path = .path.display())]
    Provider {
        /// The ring's file.
        path: PathBuf,
        /// The provider's word.
        provider: &'static str,
        /// Its key, as configured.
        key: String,
        /// Why not.
        error: ProviderError,
    },
    /// The keys were dropped, since nobody could say any more that they are ours to use.
    #[error("the keys of this ring were dropped: {0}")]
    Dropped(&'static str),
    /// No second KEK to change to.
    #[error("{path}: `change-kek` needs to know the new KEK: write `next_kek = {{ provider = …}}` beside `kek` in [keys] of every node; or, after the key was rotated at its provider, give --same", path = .0.display())]
    NoNextKek(PathBuf),
    /// A file or a passphrase is its own root, which cannot be wrapped anew.
    #[error("{path}: hangs on a KEK of provider \"{provider}\", which cannot be wrapped anew under itself: name another with `next_kek` in [keys]", path = .path.display())]
    NotRewrapped {
        /// The ring's file.
        path: PathBuf,
        /// The provider's word.
        provider: &'static str,
    },
    /// Not a ring's file, or one changed by hand.
    #[error("{path}: not a key ring as `sudare keys` writes it: {why}: put it back from your backup", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// Another controller's ring, or another ring.
    #[error("{path}: belongs to {what} \"{found}\", not \"{expected}\": name the right file in {table} ring", path = .path.display())]
    Foreign {
        /// The ring's file.
        path: PathBuf,
        /// `controller` or `ring`.
        what: &'static str,
        /// In the ring.
        found: String,
        /// In the configuration.
        expected: String,
        /// Where that stands.
        table: String,
    },
    /// The KEK does not open it.
    #[error("{path}: does not open under this KEK or passphrase: it is another one, or the file was changed: restore both from one backup", path = .0.display())]
    WrongKek(PathBuf),
    /// The MAC does not fit the bytes.
    #[error("{path}: was changed after `sudare keys` wrote it: put it back from your backup and find out who did", path = .0.display())]
    NotAuthentic(PathBuf),
    /// Authentic, but it cannot be true.
    #[error("{path}: contradicts itself: {why}: put it back from your backup", path = .path.display())]
    Contradiction {
        /// The ring's file.
        path: PathBuf,
        /// What cannot be.
        why: String,
    },
    /// One version is not what the manifest says.
    #[error("{path}: version {kid} of line {line} is not loaded: {why}: put the file back from your backup", path = .path.display())]
    BadVersion {
        /// The ring's file.
        path: PathBuf,
        /// Its line.
        line: LineName,
        /// Its id.
        kid: Kid,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Below the configured revision.
    #[error("{path}: revision {found} is older than min_revision {least}: an old one was put back; restore the newest", path = .path.display())]
    TooOld {
        /// The ring's file.
        path: PathBuf,
        /// Its revision.
        found: u64,
        /// The lowest accepted.
        least: u64,
    },
    /// Below what this node has opened before.
    #[error(
        "the key ring's revision {found} is older than {newest}, which this node has already used: an old one was put back; restore the newest"
    )]
    RolledBack {
        /// The ring's revision.
        found: u64,
        /// The newest this node has seen.
        newest: u64,
    },
    /// Below what others have used, which an operator's command noticed.
    #[error("{path}: is at revision {found}, but {newest} has been in use: it was moved elsewhere, or an old one was put back, so nothing was done; if the newest is lost for good, say that you know with --at-revision {found}", path = .path.display())]
    Older {
        /// The ring's file, or its place in the store.
        path: PathBuf,
        /// Its revision.
        found: u64,
        /// The newest known.
        newest: u64,
    },
    /// The same revision as the one in use, and something else.
    #[error(
        "the key ring's revision {revision} is not the revision {revision} that this node uses: two copies of one ring were changed apart from each other; put the right one back, on every node"
    )]
    Forked {
        /// The revision of both.
        revision: u64,
    },
    /// There has been a ring, and there is none.
    #[error("{path}: not there, but its revision {newest} has been in use: it was moved elsewhere, or taken away. Name its place in [keys] ring, or put it back from a backup (docs/rotation.md); a new ring would open nothing of the old one", path = .path.display())]
    Vanished {
        /// Its place.
        path: PathBuf,
        /// The newest revision known.
        newest: u64,
    },
    /// There was a file, and it was moved into the store.
    #[error("{path}: was moved into the store: write ring = \"store\" into [keys]. {aside} is what is left of it", path = .path.display(), aside = .aside.display())]
    MovedAway {
        /// The file's name.
        path: PathBuf,
        /// What it is called now.
        aside: PathBuf,
    },
    /// There is a ring where one is to be moved.
    #[error("{path}: there is another ring, or another revision of this one: nothing was moved; look with `sudare keys list` which of the two is right, and take the other one away", path = .path.display())]
    Occupied {
        /// The target.
        path: PathBuf,
    },
    /// The store did not say whether a change took place.
    #[error("{path}: the store went away while it was written ({why}): it may be written or not. Look with `sudare keys list` before you run the command again", path = .path.display())]
    Untold {
        /// The ring's place.
        path: PathBuf,
        /// What happened.
        why: String,
    },
    /// Not a file of marks.
    #[error("{path}: is not what Sudare remembers revisions in: name another file in [keys] marks, or put this one back", path = .0.display())]
    NotMarks(PathBuf),
    /// Other nodes protect under what this one does not have.
    #[error(
        "this node's key ring is at revision {held} and could not take revision {newest}, {why}: it goes on reading and writes nothing until it has it; see /readyz and the log"
    )]
    Outdated {
        /// In use here.
        held: u64,
        /// In use elsewhere.
        newest: u64,
        /// What it lacks.
        why: String,
    },
    /// The node has not looked at the store for long, though it is there.
    #[error(
        "this node stood still for a while and has not yet looked whether its key ring is the newest: it writes again in a moment"
    )]
    NotLooked,
    /// The high-water mark could not be read or raised.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process is changing the ring.
    #[error("{path}: held by another `sudare keys`: wait until it ends", path = .0.display())]
    Locked(PathBuf),
    /// The ring was replaced between reading and writing, in spite of the lock.
    #[error("{path}: was replaced by somebody else while this command ran, so nothing was changed: look with `sudare keys list`, then run it again", path = .0.display())]
    Overtaken(PathBuf),
    /// The ring is not at the revision the operator looked at.
    #[error("{path}: is at revision {found}, not {expected}: it was changed since you looked, so nothing was done; look again with `sudare keys list`", path = .path.display())]
    MovedOn {
        /// The ring's file.
        path: PathBuf,
        /// Its revision.
        found: u64,
        /// The one asked for.
        expected: u64,
    },
    /// The new file is in place, but its name may be lost with power.
    #[error("{path}: is written, but the disk did not confirm that this outlasts a power failure: {why}: look at the disk, then with `sudare keys list` at what holds, before you run it again", path = .path.display())]
    Unconfirmed {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The ring has no such line.
    #[error("the key ring has no line {0}: see `sudare keys list`")]
    NoSuchLine(LineName),
    /// The ring has no such version.
    #[error("the key ring has no version {0}: see `sudare keys list`")]
    NoSuchVersion(Kid),
    /// A version does not move as asked.
    #[error(transparent)]
    NotMoved(#[from] NotMoved),
    /// Only pseudonym lines have a scope.
    #[error("--end-scope is for a line pseudonym/<scope>; the line {0} always has an active version")]
    NoScopeToEnd(LineName),
    /// What is kept beside the ring was written to by somebody else.
    #[error("{path}: line {line} is not as `sudare keys census` wrote it: find out who wrote to it; move the folder away and keep it, then count anew, which begins the time of waiting anew", path = .path.display())]
    ChangedEvidence {
        /// The list of censuses.
        path: PathBuf,
        /// The first line that does not fit.
        line: u64,
    },
    /// Not the name of a line.
    #[error(transparent)]
    Line(#[from] ParseLineError),
    /// A state that cannot follow.
    #[error("version {kid} is {from} and cannot become {to}")]
    NoSuchMove {
        /// The version.
        kid: Kid,
        /// Where it is.
        from: State,
        /// Where it cannot go.
        to: State,
    },
    /// No version of the line protects.
    #[error("the key ring's line {0} has no active version; `sudare keys init` adds a line that is missing")]
    NoActive(LineName),
    /// The node is not given a ring.
    #[error(
        "this node does not hold the key ring {0}, so nothing under it is opened, sealed or searched here: ask a node that holds it, or give this one the ring in [keys.{0}]"
    )]
    RingNotHeld(RingName),
    /// An id that names two keys.
    #[error(
        "the key id {kid} stands in the rings {first} and {second}, so that a value does not say which key it hangs on: a ring was made from a copy of the other; put the right file of each back from your backup"
    )]
    KidTwice {
        /// The id.
        kid: Kid,
        /// One of the rings,
        first: RingName,
        /// and the other.
        second: RingName,
    },
    /// A name that the configuration has for no ring.
    #[error("the configuration has no key ring {name}; it has {known}")]
    NoSuchRing {
        /// What was asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// What is wrong with a ring other than the main one.
    #[error("ring {ring}: {why}")]
    OfRing {
        /// Which.
        ring: RingName,
        /// What it is.
        why: Box<KeyError>,
    },
    /// A value names a key this ring does not have.
    #[error("no key {0} for values like this in the key ring")]
    UnknownKid(Kid),
    /// A value names a key that is gone.
    #[error("key {0} is destroyed")]
    Destroyed(Kid),
    /// A value names a key that somebody else may know.
    #[error("key {0} is compromised: its values open only to be sealed anew")]
    Compromised(Kid),
    /// A key was asked for another controller's field.
    #[error("the key ring of {ring} has no keys for {asked}")]
    ForeignPlace {
        /// The ring's controller.
        ring: Controller,
        /// The field's controller.
        asked: Controller,
    },
    /// No pseudonym line for this scope.
    #[error("the key ring has no pseudonym scope {0}: add it with `sudare keys init`")]
    NoScope(String),
    /// The permit is not for this scope.
    #[error("the pseudonym scope {0} is not the scope of this grant")]
    OtherScope(String),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl KeyError {
    /// The stable code, an anchor of `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        if self.is_not_held() { "ring-not-held" } else { "keys-unavailable" }
    }

    /// Is a ring missing that this node is not given? Then it lasts, and nobody did anything wrong.
    pub fn is_not_held(&self) -> bool {
        matches!(self, Self::RingNotHeld(_))
    }

    /// The same, with the ring it is about, unless that is the main one, of which nothing need be said.
    #[must_use]
    pub fn of_ring(self, ring: &RingName) -> Self {
        if ring.is_main() { self } else { Self::OfRing { ring: ring.clone(), why: Box::new(self) } }
    }

    fn io(path: &Path, doing: &'static str, error: &std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), doing, why: error.to_string() }
    }

    /// Is there no ring, whatever became of it?
    fn is_absent(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::Vanished { .. } | Self::MovedAway { .. })
    }

    fn malformed(path: &Path, why: String) -> Self {
        Self::Malformed { path: path.to_path_buf(), why }
    }
}
