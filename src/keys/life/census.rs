//! What a census found: how many stored values hang on each key version, in which collection, and what was not looked at.
//!
//! A [`Census`] is made by who walks through database and store (`cli/keys/census.rs`); here stands what it says and what may be concluded
//! from it. Always holds: what was not looked at is never taken for zero. Pure but for its spelling; `evidence` keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::{LineName, State, VersionInfo};
use super::evidence::Kept;
use super::spelled;
use crate::base::Kid;

/// One census.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Census {
    /// The ring's revision while it ran.
    pub revision: u64,
    /// When it began, in milliseconds since 1970.
    #[serde(with = "spelled::time")]
    pub begun: u64,
    /// When it ended.
    #[serde(with = "spelled::time")]
    pub ended: u64,
    /// Every collection of the configuration.
    pub collections: Vec<CollectionSeen>,
    /// The vault.
    pub store: StoreSeen,
    /// Every version that is not destroyed.
    pub versions: Vec<VersionCount>,
    /// Envelopes and terms whose key the ring does not have.
    pub unknown: Vec<UnknownCount>,
}

/// What was looked at of a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionSeen {
    /// Its name.
    pub collection: String,
    /// Documents.
    pub documents: u64,
    /// Conflicting revisions beside them.
    pub conflicts: u64,
    /// Why it was not looked at whole; None: it was.
    pub missing: Option<String>,
}

/// What was looked at of the store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSeen {
    /// Rows of the vault.
    pub rows: u64,
    /// Why it was not looked at whole; None: it was.
    pub missing: Option<String>,
}

/// What hangs on one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionCount {
    /// Its line.
    #[serde(with = "spelled::text")]
    pub line: LineName,
    /// Its id.
    #[serde(with = "spelled::text")]
    pub kid: Kid,
    /// Its state while the census ran.
    #[serde(with = "spelled::text")]
    pub state: State,
    /// In documents, by collection; those without any are left out.
    pub documents: BTreeMap<String, InDocuments>,
    /// Rows of the vault that are sealed under it.
    pub rows: u64,
    /// Rows of the vault that are found again by it, and by no newer version.
    pub fingerprints: u64,
}

/// What was found in the documents of a collection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InDocuments {
    /// Envelopes at protected members.
    pub values: u64,
    /// Terms at index members.
    pub terms: u64,
    /// Envelopes and terms anywhere else in a document.
    pub elsewhere: u64,
    /// Envelopes and terms in conflicting revisions.
    pub conflicts: u64,
}

/// What hangs on a key that the ring does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnknownCount {
    /// The key's id as it stands there.
    #[serde(with = "spelled::text")]
    pub kid: Kid,
    /// In this collection; None: in the vault.
    pub collection: Option<String>,
    /// How many.
    pub count: u64,
}

/// What a census says of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Everything that could hang on it was looked at, and nothing does.
    Zero,
    /// So many values, terms and rows hang on it.
    Hanging(u64),
    /// Nothing was found, but not everything was looked at, or not at the right time.
    Unproved(String),
}

impl InDocuments {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.values + self.terms + self.elsewhere + self.conflicts
    }

    /// Adds what was found elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.values += other.values;
        self.terms += other.terms;
        self.elsewhere += other.elsewhere;
        self.conflicts += other.conflicts;
    }
}

impl VersionCount {
    /// A version of which nothing was found yet.
    pub fn none(version: &VersionInfo) -> Self {
        let VersionInfo { line, kid, state, .. } = version;
        Self { line: line.clone(), kid: *kid, state: *state, documents: BTreeMap::new(), rows: 0, fingerprints: 0 }
    }

    /// Everything that hangs on it.
    pub fn total(&self) -> u64 {
        self.documents.values().map(InDocuments::total).sum::<u64>() + self.rows + self.fingerprints
    }
}

impl Census {
    /// Was everything looked at?
    pub fn is_whole(&self) -> bool {
        self.missing().is_empty()
    }

    /// What was not looked at, and why.
    pub fn missing(&self) -> Vec<String> {
        self.missing_for(None)
    }

    /// What of that matters to a line: its values stand in documents, or in the store, or in neither.
    fn missing_for(&self, line: Option<&LineName>) -> Vec<String> {
        let (documents, store) = match line {
            None | Some(LineName::Lookup) => (true, true),
            Some(LineName::Seal) => (true, false),
            Some(LineName::Token) => (false, true),
            Some(LineName::Audit | LineName::Pseudonym(_)) => (false, false),
        };
        let collections = self.collections.iter().filter(|_| documents);
        let of_collections = collections.filter_map(|seen| Some(format!("{}: {}", seen.collection, seen.missing.as_ref()?)));
        let of_store = self.store.missing.iter().filter(|_| store).map(|why| format!("the store: {why}"));
        of_collections.chain(of_store).collect()
    }

    /// What it says of a version.
    pub fn standing(&self, line: &LineName, kid: Kid) -> Standing {
        let Some(count) = self.versions.iter().find(|count| count.kid == kid && count.line == *line) else {
            return Standing::Unproved("it was not in the ring then".to_owned());
        };
        if count.total() > 0 {
            return Standing::Hanging(count.total());
        }
        if count.state == State::Active {
            return Standing::Unproved("it was active then".to_owned());
        }
        match self.missing_for(Some(line)).first() {
            Some(missing) => Standing::Unproved(missing.clone()),
            None => Standing::Zero,
        }
    }
}

/// Since when a version is known to have had nothing under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZeroSince {
    /// When the first census began that found nothing, with none after it that did, in milliseconds since 1970.
    pub since: u64,
    /// When the last one ended.
    pub latest: u64,
    /// SHA-256 of its line.
    pub hash: [u8; 32],
}

/// Why it is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotZero {
    /// There is none.
    #[error("there is no census yet: run `sudare keys census`")]
    NoCensus,
    /// The last one found some.
    #[error(
        "{0} values, terms or rows hang on it by the last census: `sudare keys rewrap` seals them anew; then run `sudare keys census` again"
    )]
    Hanging(u64),
    /// The last one did not look everywhere.
    #[error("the last census does not prove that nothing hangs on it ({0}): see to that, then run `sudare keys census` again")]
    Unproved(String),
    /// The last one began while the version protected.
    #[error("the last census began before it ceased to protect: run `sudare keys census` again")]
    TooEarly,
    /// By the clock of this machine it has not happened yet.
    #[error(
        "the last census lies in the future by this machine's clock: set the clock right, then run `sudare keys census` again"
    )]
    Future,
}

impl Kept {
    /// What it says of a version, if it can be believed at all.
    fn standing(&self, version: &VersionInfo) -> Standing {
        match self.census.standing(&version.line, version.kid) {
            Standing::Zero if self.doubtful => Standing::Unproved(
                "it is kept under an audit version that is compromised, so somebody else may have made it".to_owned(),
            ),
            said @ (Standing::Zero | Standing::Hanging(_) | Standing::Unproved(_)) => said,
        }
    }
}

/// Since when nothing hangs on the version, by the censuses that were kept, oldest first.
///
/// A census that did not look everywhere but found nothing neither proves nor disproves; one that found something begins the time anew, and
/// so does one from before the version ceased to protect, or one that a clock that was set back left out of order.
///
/// # Errors
///
/// [`NotZero`]: the last one says otherwise.
pub fn zero_since(version: &VersionInfo, kept: &[Kept], now: u64) -> Result<ZeroSince, NotZero> {
    // One that never was active has had its whole life to be counted.
    let ceased = match version.activated_ms {
        Some(_) => version.deactivated_ms.or(version.compromised_ms).unwrap_or(u64::MAX),
        None => version.created_ms,
    };
    let mut newest_first = kept.iter().rev();
    let last = newest_first.next().ok_or(NotZero::NoCensus)?;
    match last.standing(version) {
        Standing::Zero => {}
        Standing::Hanging(count) => return Err(NotZero::Hanging(count)),
        Standing::Unproved(why) => return Err(NotZero::Unproved(why)),
    }
    if last.census.begun < ceased {
        return Err(NotZero::TooEarly);
    }
    if last.census.ended > now {
        return Err(NotZero::Future);
    }
    let mut since = last.census.begun;
    for kept in newest_first {
        let census = &kept.census;
        if census.begun > since || census.begun < ceased {
            break;
        }
        match kept.standing(version) {
            Standing::Zero => since = census.begun,
            Standing::Hanging(_) => break,
            Standing::Unproved(_) => {}
        }
    }
    Ok(ZeroSince { since, latest: last.census.ended, hash: last.hash })
}
