//! Counts of what was done to the values of a body, for audit and metrics. Never a value.

use crate::purpose::{CategoryId, Level};

/// Counts per category and level.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// How many values were shown, at which level. What was left out is not in it; a null shows nothing.
    pub shown: Vec<(CategoryId, Level, u32)>,
    /// How many values were protected anew.
    pub protected: Vec<(CategoryId, u32)>,
    /// Envelopes of a write that were kept as they were.
    pub kept: u32,
    /// Clear values found where an envelope should be (T4), whatever was then done with them.
    pub clear_found: u32,
    /// Values that did not authenticate and were withheld.
    pub bad: u32,
    /// Values under a compromised key: withheld from a reader, kept as a write sent them, or opened by hand.
    pub compromised: u32,
    /// Values that were left out because their ring is not held.
    pub not_held: u32,
    /// Documents that a search by an index found and that do not have what was searched; they were left out.
    pub strays: u32,
}

impl Tally {
    /// Adds what another body counted.
    pub fn add(&mut self, other: &Self) {
        for (category, level, count) in &other.shown {
            match self.shown.iter_mut().find(|(of, at, _)| of == category && at == level) {
                Some((_, _, sum)) => *sum = sum.saturating_add(*count),
                None => self.shown.push((*category, *level, *count)),
            }
        }
        for (category, count) in &other.protected {
            match self.protected.iter_mut().find(|(of, _)| of == category) {
                Some((_, sum)) => *sum = sum.saturating_add(*count),
                None => self.protected.push((*category, *count)),
            }
        }
        self.kept = self.kept.saturating_add(other.kept);
        self.clear_found = self.clear_found.saturating_add(other.clear_found);
        self.bad = self.bad.saturating_add(other.bad);
        self.compromised = self.compromised.saturating_add(other.compromised);
        self.not_held = self.not_held.saturating_add(other.not_held);
        self.strays = self.strays.saturating_add(other.strays);
    }

    pub(super) fn show(&mut self, category: CategoryId, level: Level) {
        match self.shown.iter_mut().find(|(of, at, _)| *of == category && *at == level) {
            Some((_, _, count)) => *count = count.saturating_add(1),
            None => self.shown.push((category, level, 1)),
        }
    }

    pub(super) fn protect(&mut self, category: CategoryId) {
        match self.protected.iter_mut().find(|(of, _)| *of == category) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => self.protected.push((category, 1)),
        }
    }
}
