//! What operators do to a ring: make it, move its versions (`change`), prove it sound, count what hangs on them (`census`, `evidence`),
//! destroy them (`destroy`). `cli/keys` calls these, and prints what they report.
//!
//! Always holds: nothing is overwritten by `init`; every change is a whole new revision, written under the ring's lock or by
//! compare-and-swap, and leaves either the old one or the new one behind, wherever it ends; an old version keeps opening what it sealed.

mod census;
mod change;
mod destroy;
mod evidence;
mod kek;
mod relocate;
mod signature;
pub(crate) mod spelled;
#[cfg(test)]
mod tests;

pub use census::{
    Census, CollectionSeen, InDocuments, NotZero, Standing, StoreSeen, UnknownCount, VersionCount, ZeroSince, zero_since,
};
pub use change::{Change, MoveReport, Moved, NotMoved, PublishReport, RotateReport, Scope, Successor};
pub use destroy::{
    Approved, Asked, Checked, DestroyError, DestroyReport, Destruction, Noted, Operator, Receipt, ReceiptReport, Record, Request,
    SIGNERS, Signed, Stage, VALID, Written, Zero, make_operator, operator_key, receipts, verify_receipt,
};
pub use evidence::{Kept, keep, kept};
pub use kek::{KekReport, Onto};
pub use relocate::{Relocated, copy, relocate};
pub use signature::Detached;

use super::kek::provider::Binding;
use super::manifest::{self, Opened};
use super::place::Held;
use super::{Config, KeyError, LineName, State, VersionInfo, files};
use crate::base::{Clock, Kid};
use crate::crypto::PassphraseParams;

/// What [`init`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitReport {
    /// The KEK's file was made. Back it up, apart from the ring.
    pub kek_made: bool,
    /// The ring's file was made.
    pub ring_made: bool,
    /// The ring's revision now.
    pub revision: u64,
    /// Versions added, one to each line that was missing.
    pub added: Vec<(LineName, Kid)>,
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// Whose ring it is.
    pub controller: String,
    /// Its name.
    pub ring: String,
    /// Its revision.
    pub revision: u64,
    /// When that was written, in milliseconds since 1970.
    pub written_ms: u64,
    /// Every version, with what is wrong with it.
    pub versions: Vec<(VersionInfo, Result<(), &'static str>)>,
}

impl VerifyReport {
    /// Is every version sound?
    pub fn sound(&self) -> bool {
        self.versions.iter().all(|(_, found)| found.is_ok())
    }
}

/// Makes the KEK's file and the ring where they are absent, and adds the lines that an existing ring lacks: the fixed ones,
/// and one for each pseudonym scope; in a ring other than the main one those that protect values. Doing it twice changes nothing the
/// second time.
///
/// # Errors
///
/// [`KeyError::KekMissing`] if the ring is there and its KEK is not: a new KEK would not open it. Everything that opening
/// refuses.
pub fn init(config: &Config, scopes: &[String], clock: &dyn Clock) -> Result<InitReport, KeyError> {
    init_with(config, scopes, clock, PassphraseParams::default())
}

pub(super) fn init_with(
    config: &Config,
    scopes: &[String],
    clock: &dyn Clock,
    cost: PassphraseParams,
) -> Result<InitReport, KeyError> {
    let scopes = scopes.iter().map(|scope| LineName::pseudonym(scope)).collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = config.ring.as_file() {
        files::make_folder_of(path)?;
    }
    let held = Held::take(config)?;
    let (mut opened, kek_made, ring_made) = match held.open() {
        Ok(opened) => (opened, false, false),
        Err(KeyError::Missing(path)) if path == config.ring.shown() => {
            held.was_never_there()?;
            let binding = Binding { controller: config.controller.as_str().to_owned(), ring: config.ring_name().to_owned() };
            let (kek, named, made) = config.kek.load_or_make(config.ring.shown(), &binding, cost)?;
            (Opened::fresh(config, kek, named)?, made, true)
        }
        Err(other) => return Err(other),
    };
    let now_ms = clock.now_ms();
    let mut added = Vec::new();
    // The log and pseudonyms are not a group of fields, and have their keys in the main ring.
    let main = config.name.is_main();
    let wanted = LineName::FIXED.into_iter().chain(scopes).filter(|line| main || line.protects_values());
    for line in wanted {
        if opened.manifest.lines.iter().all(|there| there.name != line) {
            let kid = opened.add(&line, State::Active, now_ms)?;
            added.push((line, kid));
        }
    }
    if !added.is_empty() {
        if ring_made {
            held.create(&mut opened, now_ms)?;
        } else {
            let bytes = held.next(&mut opened, now_ms)?;
            held.replace(&opened, &bytes)?;
        }
    }
    Ok(InitReport { kek_made, ring_made, revision: opened.manifest.revision, added })
}

/// [`Change::rotate`], whatever the revision. A node learns of it by a reload or a restart.
///
/// # Errors
///
/// As there.
pub fn rotate(config: &Config, name: &LineName, clock: &dyn Clock) -> Result<RotateReport, KeyError> {
    Change { config, clock, at_revision: None }.rotate(name)
}

/// Checks everything that opening checks, and goes on after a bad version to report on each.
///
/// # Errors
///
/// What makes the whole file unbelievable: see [`super::KeyRing::open`].
pub fn verify(config: &Config) -> Result<VerifyReport, KeyError> {
    let opened = manifest::open(config)?;
    let versions = opened.manifest.versions();
    let versions =
        versions.map(|(line, version)| (VersionInfo::of(line, version), opened.secret(line, version).map(|_secret| ())));
    Ok(VerifyReport {
        controller: opened.manifest.controller.clone(),
        ring: opened.manifest.ring.clone(),
        revision: opened.manifest.revision,
        written_ms: opened.manifest.written_ms,
        versions: versions.collect(),
    })
}

impl manifest::Version {
    /// Moves to another state and notes when.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoSuchMove`] where [`State::may_become`] says no.
    pub(super) fn shift(&mut self, next: State, now_ms: u64) -> Result<(), KeyError> {
        if !self.state.may_become(next) {
            return Err(KeyError::NoSuchMove { kid: self.kid, from: self.state, to: next });
        }
        match next {
            State::PreActive => {}
            State::Active => self.times.activated = Some(now_ms),
            State::Deactivated => self.times.deactivated = Some(now_ms),
            State::Compromised => self.times.compromised = Some(now_ms),
            State::Destroyed => {
                self.times.destroyed = Some(now_ms);
                self.wrapped = None;
            }
        }
        self.state = next;
        Ok(())
    }
}
