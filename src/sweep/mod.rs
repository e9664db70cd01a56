//! Upkeep of a whole collection in its database while clients go on.
//!
//! Pages are read one after the other; what is done with each is a work of its own, and several are in work at once. Always holds: a document
//! is written only on the revision that was read, so a newer one is never overwritten; nothing is written but
//! [`ProtectedBody`](crate::field::ProtectedBody).
//!
//! Where to look: `pages` the way through a collection · `migrate` seals what is clear · `rewrap` values under a newer key, `vault` the rows of the
//! vault · `census` counts what hangs on which key · `write` the way back · `database` asks and writes ·
//! `pace` how fast. Called by `cli`.

mod census;
mod database;
mod migrate;
mod pace;
mod pages;
mod rewrap;
mod vault;
mod write;

use crate::field::WriteError;
use crate::keys::KeyError;
use crate::upstream::UpstreamError;
use crate::vault::VaultError;

use database::Database;
use pace::Pace;

pub use census::{CountWatch, Counted, Counting, InCollection, count};
pub use migrate::{Migrated, Migration, Pass, Watch, migrate};
pub use rewrap::{Counts, Ended, Name, Names, NewestRings, Progress, Rewrap, rewrap};
pub use vault::{VaultRewrap, rewrap_vault};

/// Passes at most: with so many conflicts in every one of them somebody else writes what is to be swept away.
const MAX_PASSES: u32 = 20;

/// Why a sweep ends before its time. Begun again, it goes on where it stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// The database is not to be reached.
    #[error("{0}: tried several times; begin again once it answers, what is sealed stays sealed")]
    Upstream(#[from] UpstreamError),
    /// It refuses.
    #[error("the database answers {status} when {doing}: {remedy}")]
    Status {
        /// Its status.
        status: u16,
        /// What was asked.
        doing: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// It says something else than its API.
    #[error("the database's answer when {0} is not what its API says: is [upstream] dialect the right one?")]
    NotUnderstood(&'static str),
    /// The collection cannot be looked at.
    #[error("{0}")]
    Plan(String),
    /// Nothing can be sealed at all.
    #[error(transparent)]
    Seal(#[from] WriteError),
    /// The store does not take tokens.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The ring is not to be had.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Names cannot be kept.
    #[error("{0}")]
    Names(String),
    /// A mistake of ours.
    #[error("a task of this sweep ended in a panic; please report it")]
    Panicked,
}
