//! What a key version may do at each point of its life, and which moves there are.
//!
//! Source: NIST SP 800-57 Part 1 Rev. 5, section 7, without Suspended. Used by the ring (may this version act?), by the
//! manifest (is what it says possible?) and by the operator's commands: [`State::on`] is the whole table of what each does
//! to a version in each state.

use std::fmt;
use std::str::FromStr;

/// The state of one key version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Published ahead so that a whole fleet has it: opens, does not protect yet.
    PreActive,
    /// Protects and opens. Exactly one a line; none in a pseudonym line whose scope has ended.
    Active,
    /// Opens; waits until nothing hangs on it any more.
    Deactivated,
    /// Somebody else may know it: opens only for upkeep, so that its values can be sealed anew.
    Compromised,
    /// The secret is gone for ever; the id stays taken.
    Destroyed,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 5] = [Self::PreActive, Self::Active, Self::Deactivated, Self::Compromised, Self::Destroyed];

    /// The word in the manifest and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreActive => "pre-active",
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::Compromised => "compromised",
            Self::Destroyed => "destroyed",
        }
    }

    /// May new values be protected under it?
    pub fn protects(self) -> bool {
        self == Self::Active
    }

    /// May stored values be opened under it, to be shown to a caller?
    pub fn opens_to_reveal(self) -> bool {
        match self {
            Self::PreActive | Self::Active | Self::Deactivated => true,
            Self::Compromised | Self::Destroyed => false,
        }
    }

    /// May stored values be opened under it, to keep house?
    pub fn opens_for_upkeep(self) -> bool {
        self != Self::Destroyed
    }

    /// Is there such a move? An Active version is never destroyed directly: values sealed a moment ago hang on it, so it is
    /// deactivated first. A compromised one never comes back.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::PreActive => matches!(next, Self::Active | Self::Compromised | Self::Destroyed),
            Self::Active => matches!(next, Self::Deactivated | Self::Compromised),
            Self::Deactivated => matches!(next, Self::Compromised | Self::Destroyed),
            Self::Compromised => next == Self::Destroyed,
            Self::Destroyed => false,
        }
    }
}

/// What an operator asks of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Protect from now on, in place of the line's Active version.
    Activate,
    /// Cease to protect.
    Deactivate,
    /// Somebody else may know it.
    Compromise,
    /// Its secret is to be gone for ever. What proves that nothing hangs on it is not the table's business.
    Destroy,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 4] = [Self::Activate, Self::Deactivate, Self::Compromise, Self::Destroy];

    /// The command's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Deactivate => "deactivate",
            Self::Compromise => "compromise",
            Self::Destroy => "destroy",
        }
    }
}

/// What an [`Operation`] does to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It moves there.
    Becomes(State),
    /// It moves there once another version of its line is Active, in the same revision: a line is never without one.
    AfterSuccessor(State),
    /// It is there already. A command that is run again ends well.
    Stays,
    /// There is no such move.
    Refused(Refusal),
}

/// Why there is no such move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A version that ceased to protect does not begin again.
    NoWayBack,
    /// A version that never protected has nothing to cease.
    NeverActive,
    /// A compromised version protects nothing and opens less than a deactivated one.
    Compromised,
    /// Its secret is gone.
    Destroyed,
    /// It protects: what was sealed a moment ago hangs on it.
    StillActive,
}

impl State {
    /// What an operation does to a version in this state: the whole table.
    pub fn on(self, operation: Operation) -> Step {
        match (self, operation) {
            (Self::PreActive, Operation::Activate) => Step::Becomes(Self::Active),
            (Self::PreActive, Operation::Deactivate) => Step::Refused(Refusal::NeverActive),
            (Self::PreActive | Self::Deactivated, Operation::Compromise) => Step::Becomes(Self::Compromised),
            (Self::Active, Operation::Activate)
            | (Self::Deactivated, Operation::Deactivate)
            | (Self::Compromised, Operation::Compromise)
            | (Self::Destroyed, Operation::Destroy) => Step::Stays,
            (Self::Active, Operation::Deactivate) => Step::AfterSuccessor(Self::Deactivated),
            (Self::Active, Operation::Compromise) => Step::AfterSuccessor(Self::Compromised),
            (Self::Deactivated, Operation::Activate) => Step::Refused(Refusal::NoWayBack),
            (Self::Compromised, Operation::Activate | Operation::Deactivate) => Step::Refused(Refusal::Compromised),
            (Self::Destroyed, Operation::Activate | Operation::Deactivate | Operation::Compromise) => {
                Step::Refused(Refusal::Destroyed)
            }
            (Self::PreActive | Self::Deactivated | Self::Compromised, Operation::Destroy) => Step::Becomes(Self::Destroyed),
            (Self::Active, Operation::Destroy) => Step::Refused(Refusal::StillActive),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word is not a state of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a key state: use pre-active, active, deactivated, compromised or destroyed")]
pub struct ParseStateError;

impl FromStr for State {
    type Err = ParseStateError;
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or(ParseStateError)
    }
}

/// A line of versions: what its keys are for. Lines rotate on their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LineName {
    /// Values at rest, suite `x`.
    Seal,
    /// Equality-preserving values, index terms, fingerprints.
    Lookup,
    /// Rows of the token vault.
    Token,
    /// The audit log: its lines, its head, the data subjects named in it.
    Audit,
    /// Pseudonyms of one scope (a purpose or a recipient). An independent key each, so that a scope can end alone.
    Pseudonym(String),
}

impl LineName {
    /// The lines every ring has.
    pub const FIXED: [Self; 4] = [Self::Seal, Self::Lookup, Self::Token, Self::Audit];

    /// The line of a pseudonym scope.
    ///
    /// # Errors
    ///
    /// [`ParseLineError`] if the scope is empty, over 128 bytes, or holds white space or control characters.
    pub fn pseudonym(scope: &str) -> Result<Self, ParseLineError> {
        let fits = (1..=128).contains(&scope.len()) && !scope.chars().any(|c| c.is_whitespace() || c.is_control());
        if fits { Ok(Self::Pseudonym(scope.to_string())) } else { Err(ParseLineError) }
    }

    /// Does it protect the values of fields? Only such lines does a ring have that is not the main one.
    pub fn protects_values(&self) -> bool {
        matches!(self, Self::Seal | Self::Lookup | Self::Token)
    }

    /// Must this line always have an Active version?
    pub fn needs_active(&self) -> bool {
        !matches!(self, Self::Pseudonym(_))
    }
}

impl fmt::Display for LineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seal => f.pad("seal"),
            Self::Lookup => f.pad("lookup"),
            Self::Token => f.pad("token"),
            Self::Audit => f.pad("audit"),
            Self::Pseudonym(scope) => f.pad(&format!("pseudonym/{scope}")),
        }
    }
}

/// The word is not a line of a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a line of a key ring: use seal, lookup, token, audit or pseudonym/<scope>")]
pub struct ParseLineError;

impl FromStr for LineName {
    type Err = ParseLineError;
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "seal" => Ok(Self::Seal),
            "lookup" => Ok(Self::Lookup),
            "token" => Ok(Self::Token),
            "audit" => Ok(Self::Audit),
            other => other.strip_prefix("pseudonym/").ok_or(ParseLineError).and_then(Self::pseudonym),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Active, Compromised, Deactivated, Destroyed, PreActive};

    #[test]
    fn every_move_is_allowed_or_refused_as_in_the_table() {
        let allowed = [
            (PreActive, Active),
            (PreActive, Compromised),
            (PreActive, Destroyed),
            (Active, Deactivated),
            (Active, Compromised),
            (Deactivated, Compromised),
            (Deactivated, Destroyed),
            (Compromised, Destroyed),
        ];
        for from in State::ALL {
            for to in State::ALL {
                assert_eq!(from.may_become(to), allowed.contains(&(from, to)), "{from} to {to}");
            }
        }
    }

    #[test]
    fn every_state_may_do_what_the_format_says() {
        // (state, protects, opens to reveal, opens for upkeep)
        let table = [
            (PreActive, false, true, true),
            (Active, true, true, true),
            (Deactivated, false, true, true),
            (Compromised, false, false, true),
            (Destroyed, false, false, false),
        ];
        for (state, protects, reveal, upkeep) in table {
            assert_eq!(
                (state.protects(), state.opens_to_reveal(), state.opens_for_upkeep()),
                (protects, reveal, upkeep),
                "{state}"
            );
        }
    }

    #[test]
    fn every_operation_does_in_every_state_what_the_table_says() {
        use Operation::{Activate, Compromise, Deactivate, Destroy};
        use Step::{AfterSuccessor, Becomes, Refused, Stays};
        let table = [
            (PreActive, Activate, Becomes(Active)),
            (PreActive, Deactivate, Refused(Refusal::NeverActive)),
            (PreActive, Compromise, Becomes(Compromised)),
            (PreActive, Destroy, Becomes(Destroyed)),
            (Active, Activate, Stays),
            (Active, Deactivate, AfterSuccessor(Deactivated)),
            (Active, Compromise, AfterSuccessor(Compromised)),
            (Active, Destroy, Refused(Refusal::StillActive)),
            (Deactivated, Activate, Refused(Refusal::NoWayBack)),
            (Deactivated, Deactivate, Stays),
            (Deactivated, Compromise, Becomes(Compromised)),
            (Deactivated, Destroy, Becomes(Destroyed)),
            (Compromised, Activate, Refused(Refusal::Compromised)),
            (Compromised, Deactivate, Refused(Refusal::Compromised)),
            (Compromised, Compromise, Stays),
            (Compromised, Destroy, Becomes(Destroyed)),
            (Destroyed, Activate, Refused(Refusal::Destroyed)),
            (Destroyed, Deactivate, Refused(Refusal::Destroyed)),
            (Destroyed, Compromise, Refused(Refusal::Destroyed)),
            (Destroyed, Destroy, Stays),
        ];
        let pairs: Vec<_> = State::ALL.into_iter().flat_map(|state| Operation::ALL.map(|operation| (state, operation))).collect();
        assert_eq!(table.map(|(state, operation, _)| (state, operation)).to_vec(), pairs, "every pair, once");
        for (state, operation, step) in table {
            assert_eq!(state.on(operation), step, "{} {state}", operation.as_str());
            if let Becomes(next) | AfterSuccessor(next) = step {
                assert!(state.may_become(next), "{state} to {next}");
                assert_eq!(next.on(operation), Stays, "run again it changes nothing");
            }
            // Only the Active version of a line has a successor to wait for, and nothing but Activate makes one.
            let waits = state == Active && matches!(operation, Deactivate | Compromise);
            assert_eq!(matches!(step, AfterSuccessor(_)), waits);
            assert_eq!(step == Becomes(Destroyed), operation == Destroy && !matches!(state, Active | Destroyed));
            assert_eq!(step == Becomes(Active), operation == Activate && state == PreActive);
        }
    }

    #[test]
    fn no_path_leads_back_from_compromised_or_destroyed() {
        let reachable = |from: State| {
            let mut seen = vec![from];
            let mut at = 0;
            while let Some(state) = seen.get(at).copied() {
                seen.extend(
                    State::ALL.into_iter().filter(|next| state.may_become(*next) && !seen.contains(next)).collect::<Vec<_>>(),
                );
                at += 1;
            }
            seen
        };
        assert_eq!(reachable(Compromised), [Compromised, Destroyed]);
        assert_eq!(reachable(Destroyed), [Destroyed]);
        assert_eq!(reachable(PreActive).len(), 5);
    }

    #[test]
    fn words_are_read_back_and_others_refused() {
        for state in State::ALL {
            assert_eq!(state.to_string().parse::<State>().unwrap(), state);
        }
        for line in LineName::FIXED.into_iter().chain([LineName::pseudonym("marketing").unwrap()]) {
            assert_eq!(line.to_string().parse::<LineName>().unwrap(), line);
        }
        for wrong in ["", "Active", "suspended", "active "] {
            assert!(wrong.parse::<State>().is_err(), "{wrong}");
        }
        for wrong in ["", "seals", "pseudonym", "pseudonym/", "pseudonym/a b", "pseudonym/a\n"] {
            assert!(wrong.parse::<LineName>().is_err(), "{wrong}");
        }
    }
}
