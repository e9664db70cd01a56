//! How much of a value is shown. A lattice:
//!
//! ```text
//!            clear
//!           /     \
//!      masked      |
//!         |     pseudonym
//!   generalised    |
//!           \     /
//!            sealed
//!              |
//!            absent
//! ```
//!
//! Always holds (property tests): `meet` is commutative, associative and idempotent, and its result is at most either side.
//! Rules only ever narrow: the effective level is the meet of all that apply, so no rule can raise what another lowered.

use std::fmt;

/// How much of a value is shown: `Clear > Masked > Generalised > Sealed > Absent` and `Clear > Pseudonym > Sealed`.
///
/// `Pseudonym` compares with neither `Masked` nor `Generalised`, so there is no `Ord`; ask [`Level::is_at_most`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// The member is left out.
    Absent,
    /// The stored envelope: no content, but equal envelopes link.
    Sealed,
    /// A keyed stand-in, stable within one scope.
    Pseudonym,
    /// A coarser value: a year, a region, a band.
    Generalised,
    /// Part of the value, the rest hidden by `•`.
    Masked,
    /// The value.
    Clear,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 6] = [Self::Absent, Self::Sealed, Self::Pseudonym, Self::Generalised, Self::Masked, Self::Clear];

    /// Greatest lower bound: the most that both allow. Masked or generalised with pseudonym gives sealed.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        match (self, other) {
            (level, same) if level == same => level,
            (Self::Clear, level) | (level, Self::Clear) => level,
            (Self::Absent, _) | (_, Self::Absent) => Self::Absent,
            (Self::Sealed | Self::Pseudonym, _) | (_, Self::Sealed | Self::Pseudonym) => Self::Sealed,
            (Self::Masked | Self::Generalised, _) => Self::Generalised,
        }
    }

    /// True if this shows no more than `other` does.
    pub fn is_at_most(self, other: Self) -> bool {
        self.meet(other) == self
    }

    /// The word used in the policy file and in `Data-View`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Sealed => "sealed",
            Self::Pseudonym => "pseudonym",
            Self::Generalised => "generalised",
            Self::Masked => "masked",
            Self::Clear => "clear",
        }
    }

    /// Reads the word; exact, in lower case.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::Level;

    fn any_level() -> impl Strategy<Value = Level> {
        select(Level::ALL.to_vec())
    }

    proptest! {
        #[test]
        fn meet_is_commutative_associative_idempotent_and_never_raises(a in any_level(), b in any_level(), c in any_level()) {
            prop_assert_eq!(a.meet(b), b.meet(a));
            prop_assert_eq!(a.meet(b).meet(c), a.meet(b.meet(c)));
            prop_assert_eq!(a.meet(a), a);
            prop_assert!(a.meet(b).is_at_most(a) && a.meet(b).is_at_most(b));
            // Greatest: whatever is below both is below the meet.
            if c.is_at_most(a) && c.is_at_most(b) {
                prop_assert!(c.is_at_most(a.meet(b)));
            }
            prop_assert_eq!(a.meet(Level::Clear), a);
            prop_assert_eq!(a.meet(Level::Absent), Level::Absent);
        }
    }

    #[test]
    fn the_chains_are_those_of_the_design() {
        use Level::{Absent, Clear, Generalised, Masked, Pseudonym, Sealed};
        for chain in [&[Clear, Masked, Generalised, Sealed, Absent][..], &[Clear, Pseudonym, Sealed, Absent]] {
            for pair in chain.windows(2) {
                assert!(pair[1].is_at_most(pair[0]) && !pair[0].is_at_most(pair[1]), "{pair:?}");
            }
        }
        assert_eq!(Masked.meet(Pseudonym), Sealed);
        assert_eq!(Generalised.meet(Pseudonym), Sealed);
        assert!(!Pseudonym.is_at_most(Masked) && !Masked.is_at_most(Pseudonym));
        assert!(!Pseudonym.is_at_most(Generalised) && !Generalised.is_at_most(Pseudonym));
    }

    #[test]
    fn words_are_read_back_exactly() {
        for level in Level::ALL {
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
        for wrong in ["Clear", "clear ", "", "redacted", "token"] {
            assert_eq!(Level::parse(wrong), None, "{wrong}");
        }
    }
}
