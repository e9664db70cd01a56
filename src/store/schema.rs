//! Which version of the schema a store has, and whether it may be used.
//!
//! Always holds: a store of a later release is never opened; one of an earlier release is changed by `sudare store migrate` only; a
//! new one is made at once. Called by both kinds of store, which know how to migrate.

use super::StoreError;

/// What this program reads and writes. 1: tokens, whom they are about, topics, high-water marks. 2: and key rings, and nodes.
/// 3: and the ledger of facts.
pub(super) const KNOWN: u64 = 3;

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// To be used: it must have today's schema, or be new.
    Use,
    /// To be brought to today's schema, if it is older.
    Migrate,
    /// As [`Self::Use`], but it must be there.
    Read,
}

/// True if it can be used as it is, false if it is to be migrated first. `found` is its version, none if it has no schema.
pub(super) fn is_ready(at: &str, found: Option<u64>, opening: Opening) -> Result<bool, StoreError> {
    match found {
        Some(found) if found > KNOWN => Err(StoreError::Newer { at: at.to_owned(), found, known: KNOWN }),
        Some(found) if found == KNOWN => Ok(true),
        Some(found) if opening != Opening::Migrate => Err(StoreError::Older { at: at.to_owned(), found, known: KNOWN }),
        None if opening == Opening::Read => Err(StoreError::Absent(at.to_owned())),
        Some(_) | None => Ok(false),
    }
}
