//! Dated openings: the steps of their life, and which are open.
//!
//! Steps are entries of the ledger, so that every node learns of them in one order.

use serde::{Deserialize, Serialize};

/// A step in the life of an exception. This release makes none, and refuses to read one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {}

/// Why a step does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExceptionError {}

/// The exceptions there are, folded from their steps.
#[derive(Debug, Default)]
pub struct Register {}

impl Register {
    /// Takes the next step. `at` is when the ledger's row was placed.
    ///
    /// # Errors
    ///
    /// [`ExceptionError`]: it does not count.
    pub fn fold(&self, _at: u64, step: &Step) -> Result<(), ExceptionError> {
        match *step {}
    }
}
