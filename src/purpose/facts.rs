//! What is known of a data subject, as bits: so that a row is decided by a look-up, however many rules there are.
//!
//! Always holds: a policy knows at most [`MAX_FACTS`] facts; a name stands for one bit as long as the compiled policy lives, and no longer.
//! Made from a [`PolicySpec`] by [`FactTable::of`]; whoever decides a row fills in a [`Facts`].

use super::spec::PolicySpec;
use crate::base::RecordId;

/// Facts a policy may know, those that are built in among them.
pub const MAX_FACTS: usize = 64;

/// The data subject agreed to this purpose.
pub const CONSENT: &str = "consent";
/// The data subject said no to this purpose.
pub const OBJECTION: &str = "objection";
/// The data subject agreed that this recipient gets their data.
pub const CONSENT_TO_RECIPIENT: &str = "consent-to-recipient";
/// The data subject said no to this recipient.
pub const OBJECTION_TO_RECIPIENT: &str = "objection-to-recipient";
/// The data subject accepted the policy, if only by going on.
pub const ACCEPTANCE: &str = "acceptance";
/// The data subject's age is not known.
pub const AGE_UNKNOWN: &str = "age-unknown";
/// What is answered shows identifying and linkable data of one data subject; told by the proxy, not by a ledger.
pub const COMBINED: &str = "linkable-with-identifying";
/// Before a version: the data subject was told of it.
pub const TOLD: &str = "told-of-version-";

/// The built-in facts, and what is so when each holds.
pub const BUILT_IN: [(&str, &str); 7] = [
    (CONSENT, "the person has agreed to this purpose"),
    (OBJECTION, "the person has said no to this purpose"),
    (CONSENT_TO_RECIPIENT, "the person has agreed that this recipient gets the data"),
    (OBJECTION_TO_RECIPIENT, "the person has said no to this recipient"),
    (ACCEPTANCE, "the person has accepted the policy, if only by going on"),
    (AGE_UNKNOWN, "the person's age is not known"),
    (COMBINED, "the reply has data that identify beside data that do so only in combination"),
];

/// One fact of a compiled policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FactId(u8);

impl FactId {
    /// In a grant of an exception, which knows no other: the data subject is one of those whom it names.
    pub(super) const NAMED: Self = Self(0);

    /// [`COMBINED`], whose place is that in [`BUILT_IN`].
    pub(super) const COMBINED: Self = Self(6);

    pub(super) fn at(place: u8) -> Self {
        Self(place)
    }

    pub(super) fn bit(self) -> u64 {
        1_u64.checked_shl(u32::from(self.0)).unwrap_or(0)
    }
}

/// What holds of one data subject, for one caller and purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Facts(u64);

impl Facts {
    /// Nothing is known.
    pub const NONE: Self = Self(0);

    /// These facts and one more.
    #[must_use]
    pub fn with(self, fact: FactId) -> Self {
        Self(self.0 | fact.bit())
    }

    /// Does it hold?
    pub fn has(self, fact: FactId) -> bool {
        self.0 & fact.bit() != 0
    }

    /// These facts, in a reply that shows identifying and linkable data of them: [`COMBINED`].
    #[must_use]
    pub fn combined(self) -> Self {
        self.with(FactId::COMBINED)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    #[cfg(test)]
    pub(super) fn of_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// Says what holds of data subjects, for the caller and purpose of one grant. Nothing here waits: what is known is in memory.
pub trait Known: Send + Sync + std::fmt::Debug {
    /// What holds of one; `None` where a document does not say whom it is about. [`COMBINED`] is not among it.
    fn facts(&self, subject: Option<&RecordId>) -> Facts;
}

/// The facts a policy knows, by name.
#[derive(Debug, Clone, Default)]
pub struct FactTable {
    names: Vec<Box<str>>,
}

impl FactTable {
    /// The facts of a policy: those built in, those that follow from versions and ages, and those it declares. A name that stands twice is
    /// one fact; the checks report it.
    pub fn of(spec: &PolicySpec) -> Self {
        let mut table = Self::default();
        for (name, _) in BUILT_IN {
            table.add(name);
        }
        for purpose in &spec.purposes {
            if let Some((version, _)) = purpose.terms.since {
                table.add(&told_of(version));
            }
        }
        for age in &spec.ages {
            table.add(&age.name);
        }
        for fact in &spec.facts {
            table.add(&fact.name);
        }
        table
    }

    /// The fact of that name.
    pub fn id(&self, name: &str) -> Option<FactId> {
        let at = self.names.iter().position(|known| **known == *name)?;
        u8::try_from(at).ok().filter(|at| usize::from(*at) < MAX_FACTS).map(FactId)
    }

    /// The name of a fact.
    pub fn name(&self, fact: FactId) -> &str {
        self.names.get(usize::from(fact.0)).map_or("", |name| name)
    }

    /// Every name, those built in first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    fn add(&mut self, name: &str) {
        if !self.names.iter().any(|known| **known == *name) {
            self.names.push(Box::from(name));
        }
    }
}

/// The fact that a data subject was told of a version.
pub fn told_of(version: u64) -> String {
    format!("{TOLD}{version}")
}
