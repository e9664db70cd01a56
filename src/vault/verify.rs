//! Is what the store keeps what the vault wrote? For `sudare store check`, which goes through every row.
//!
//! A row says which key it hangs on, and so which ring it is of; what the ring of its scope must be only the configuration says. All its
//! marks must be of the same ring.
//!
//! Always holds: what a row stands for is compared and dropped; no finding names a value or a token.

use std::sync::Arc;

use super::{Scope, row};
use crate::keys::Rings;
use crate::purpose::{Permit, Upkeep};
use crate::store::check::Verify;
use crate::store::{Row, Table};

/// What is wrong with a stored row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unsound {
    /// Its key is not one of ours.
    Key,
    /// It belongs to another controller, whose keys this ring does not have.
    Controller,
    /// It hangs on no key that is at hand, and may hang on one of a ring that this node does not hold.
    NotHeld,
    /// It does not open under its token and scope.
    Value,
    /// A mark is not that of its value.
    Mark,
    /// Nothing marks it, so that its value would get another token.
    Unmarked,
}

impl Unsound {
    /// In fixed words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "its key is not that of a token",
            Self::Controller => "it belongs to another controller than the key ring",
            Self::NotHeld => "its key is in no ring that is held here",
            Self::Value => "it does not open: it was changed, or moved, or its key is not in the ring",
            Self::Mark => "it is marked as another value",
            Self::Unmarked => "it has no mark by which its value would be found",
        }
    }
}

/// Knows what rows of the vault must be.
#[derive(Debug, Clone)]
pub struct Verifier {
    keys: Arc<Rings>,
}

impl Verifier {
    /// Of the rings' controller.
    pub fn new(keys: Arc<Rings>) -> Self {
        Self { keys }
    }

    /// Is this row of [`Table::Token`] as the vault wrote it: does it open where it stands, and do its marks belong to its value?
    ///
    /// # Errors
    ///
    /// [`Unsound`].
    pub fn verify(&self, row: &Row) -> Result<(), Unsound> {
        let (controller, scope, token) = row::read_key(&row.key).ok_or(Unsound::Key)?;
        if controller != self.keys.controller().as_str() {
            return Err(Unsound::Controller);
        }
        let ring = match row::kid_of_value(&row.value).and_then(|kid| self.keys.of_kid(kid)) {
            Some(ring) => ring,
            None if self.keys.not_held().is_empty() => return Err(Unsound::Value),
            None => return Err(Unsound::NotHeld),
        };
        let scope = Scope::named(&scope).in_ring(ring.name().clone());
        let upkeep = Upkeep::dangerous_for("is a row of the vault as it was written? Its content is dropped at once");
        let opened = row::open(&self.keys, &scope, &token, &row.value, Permit::Upkeep(&upkeep));
        let Ok(Some(opened)) = opened else { return Err(Unsound::Value) };
        let mut recognised = false;
        for mark in &row.marks {
            let kid = row::kid_of_mark(mark).ok_or(Unsound::Mark)?;
            match ring.fingerprint_key(kid, scope.as_str()) {
                Ok(Some(key)) if row::mark(kid, &key, &opened.json) == *mark => recognised = true,
                // Under a version whose secret is gone nothing can be told.
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return Err(Unsound::Mark),
            }
        }
        match (opened.consistent, recognised) {
            (true, false) => Err(Unsound::Unmarked),
            (false, true) => Err(Unsound::Mark),
            _ => Ok(()),
        }
    }
}

impl Verify for Verifier {
    /// Of a store that several controllers share, the rows of the others are theirs to verify; and those of a ring are for who holds it.
    fn verify(&self, table: Table, row: &Row) -> Result<(), &'static str> {
        if table != Table::Token {
            return Ok(());
        }
        match Self::verify(self, row) {
            Ok(()) | Err(Unsound::Controller | Unsound::NotHeld) => Ok(()),
            Err(unsound) => Err(unsound.as_str()),
        }
    }
}
