//! What nodes that share a store tell each other about key rings: which there are, and which revision each holds; and what a node may do
//! that is behind the others.
//!
//! A node registers under an id that is new at every start, and says what it holds ([`About`]) every few seconds. What it says is not
//! authenticated: whoever keeps the store can make an operator wait, or a node stop writing, and nothing else by it.
//!
//! Always holds: whether a node is there is decided by the store's clock; a node protects nothing while it knows that others protect under
//! a version that it does not have, or have marked compromised what it protects under; it goes on reading. `app` keeps a node
//! registered; `cli/keys` waits for the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use serde::{Deserialize, Serialize};

use super::{Config, KeyError, LineName, State, manifest};
use crate::base::Kid;
use crate::crypto;
use crate::store::NodeRow;

/// How often a node says that it is there.
pub const BEAT: Duration = Duration::from_secs(3);
/// A node that has not said so for this long is gone. One that is frozen finds on waking that it has been silent for as long, and looks
/// before it writes ([`Standing`]).
pub const GONE_AFTER: Duration = Duration::from_secs(15);
/// So long one that is gone is given to come back, before it is passed over: after the store itself was away all are gone at first.
pub const LAST_CALL: Duration = Duration::from_secs(7);
/// So long a node has for taking a new ring, before it stops writing for want of it.
pub const GRACE: Duration = Duration::from_secs(5);
/// Of what a node says of itself more is not read: a ring takes some hundred bytes, and more where much is compromised.
const MAX_ABOUT_BYTES: usize = 1 << 20;

/// A revision of a ring in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its number.
    pub revision: u64,
    /// First 16 hexadecimal characters of the SHA-256 of the manifest: which states its versions have follows from it.
    pub digest: String,
    /// The Active version of each line.
    pub active: BTreeMap<String, String>,
    /// Versions that somebody else may know.
    pub compromised: BTreeSet<String>,
}

impl Summary {
    /// Of these versions.
    pub(super) fn of<'v>(revision: u64, seen: &[u8; 32], versions: impl Iterator<Item = (&'v LineName, Kid, State)>) -> Self {
        let digest = short(seen);
        let (mut active, mut compromised) = (BTreeMap::new(), BTreeSet::new());
        for (line, kid, state) in versions {
            match state {
                State::Active => drop(active.insert(line.to_string(), kid.to_string())),
                State::Compromised => drop(compromised.insert(kid.to_string())),
                State::PreActive | State::Deactivated | State::Destroyed => {}
            }
        }
        Self { revision, digest, active, compromised }
    }

    /// What the bytes of a manifest say of it, unproven.
    pub fn unproven(bytes: &[u8]) -> Option<Self> {
        manifest::summary_of(bytes)
    }

    /// By what manifests of one revision are told apart.
    pub fn digest_of(bytes: &[u8]) -> String {
        short(&crypto::sha256(bytes))
    }

    /// What the holder of this one, with `known` versions, lacks to protect as `newer` says.
    pub fn lacks(&self, known: &BTreeSet<String>, newer: &Self) -> Option<String> {
        if newer.revision <= self.revision {
            return None;
        }
        let unknown = newer.active.iter().find(|(_, kid)| !known.contains(*kid));
        if let Some((line, kid)) = unknown {
            return Some(format!("in which {kid} of line {line}, a version it does not have, is active"));
        }
        let marked = self.active.iter().find(|(_, kid)| newer.compromised.contains(*kid));
        marked.map(|(line, kid)| format!("in which {kid} of line {line}, under which it protects, is compromised"))
    }
}

fn short(sha256: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(sha256.get(..8).unwrap_or_default())
}

/// What a node says of itself. Members may be added; those that are not known are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct About {
    /// The machine's name.
    #[serde(default)]
    pub host: String,
    /// Where applications connect.
    #[serde(default)]
    pub address: String,
    /// Of the process.
    #[serde(default)]
    pub pid: u32,
    /// The controller whose rings it holds.
    #[serde(default)]
    pub controller: String,
    /// The rings it holds, by name; none while it starts.
    #[serde(default)]
    pub rings: BTreeMap<String, Summary>,
}

impl About {
    /// As the store keeps it.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Self {
        let small = Some(bytes).filter(|bytes| bytes.len() <= MAX_ABOUT_BYTES);
        small.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
    }
}

/// A node that is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id, new at every start.
    pub id: String,
    /// What it says of itself.
    pub about: About,
    /// How long ago it came, by the store's clock.
    pub started_ago: Duration,
    /// How long ago it was last there, by the store's clock.
    pub seen_ago: Duration,
}

/// What a node has of a revision that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It, or a later one.
    It,
    /// An older one, of this number.
    Older(u64),
    /// Another one of the same number.
    Another,
    /// None: it is starting, or says nothing that can be read.
    Nothing,
}

impl Node {
    /// What the store has of nodes, those of this controller.
    pub fn all(rows: Vec<NodeRow>, controller: &str) -> Vec<Self> {
        let node = |row: NodeRow| Self {
            about: About::read(&row.about),
            id: row.id,
            started_ago: row.started_ago,
            seen_ago: row.seen_ago,
        };
        // One that says nothing that can be read may be one of ours.
        let ours = |node: &Self| node.about.controller.is_empty() || node.about.controller == controller;
        rows.into_iter().map(node).filter(ours).collect()
    }

    /// It has not been seen for so long that it is not counted on.
    pub fn is_gone(&self) -> bool {
        self.seen_ago >= GONE_AFTER
    }

    /// What it has of this ring.
    pub fn holds(&self, ring: &str, wanted: &Summary) -> Holds {
        match self.about.rings.get(ring) {
            None => Holds::Nothing,
            Some(held) if held.revision > wanted.revision => Holds::It,
            Some(held) if held.revision < wanted.revision => Holds::Older(held.revision),
            Some(held) if held.digest == wanted.digest => Holds::It,
            Some(_) => Holds::Another,
        }
    }
}

/// A node's id: 8 characters, drawn anew at every start, so that what one process says is never taken for what another does.
///
/// # Errors
///
/// No randomness.
pub fn new_id() -> Result<String, KeyError> {
    Ok(Kid::from_random(crypto::random()?).to_string())
}

/// The nodes that share the ring's store; none: it is not shared, so there is one. Blocks.
///
/// # Errors
///
/// [`KeyError::Store`].
pub fn nodes(config: &Config) -> Result<Option<Vec<Node>>, KeyError> {
    let Some(shared) = config.ring.shared() else { return Ok(None) };
    Ok(Some(Node::all(shared.store()?.nodes_blocking()?, config.controller.as_str())))
}

/// What the ring is at, authenticated. Blocks.
///
/// # Errors
///
/// As opening it.
pub fn newest(config: &Config) -> Result<Summary, KeyError> {
    let opened = manifest::open(config)?;
    Ok(opened.manifest.summary(&opened.seen))
}

/// How long, and without whom.
#[derive(Debug, Clone)]
pub struct Patience {
    /// After that it is given up.
    pub limit: Duration,
    /// Ids of nodes that need not have it.
    pub without: Vec<String>,
}

/// Who has a revision, and who has not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roll {
    /// Nodes that have it.
    pub have: Vec<Node>,
    /// Nodes that are there and do not have it, with what they have.
    pub missing: Vec<(Node, Holds)>,
    /// Nodes that did not have it and have not been seen for [`GONE_AFTER`].
    pub gone: Vec<Node>,
    /// Nodes that do not have it, and that the operator goes on without.
    pub passed_over: Vec<Node>,
}

impl Roll {
    /// Of these nodes.
    pub fn call(nodes: Vec<Node>, ring: &str, wanted: &Summary, without: &[String]) -> Self {
        let mut roll = Self::default();
        for node in nodes {
            match node.holds(ring, wanted) {
                Holds::It if node.is_gone() => {}
                Holds::It => roll.have.push(node),
                Holds::Older(_) | Holds::Another | Holds::Nothing if without.contains(&node.id) => roll.passed_over.push(node),
                Holds::Older(_) | Holds::Another | Holds::Nothing if node.is_gone() => roll.gone.push(node),
                holds @ (Holds::Older(_) | Holds::Another | Holds::Nothing) => roll.missing.push((node, holds)),
            }
        }
        roll
    }
}

/// Waits until every node that is there has the revision, or the patience ends; for one that is gone, [`LAST_CALL`]. `told` hears of each look that found something else than
/// the one before. Blocks.
///
/// # Errors
///
/// [`KeyError::Store`]: the store went away while it was waited for.
pub fn await_all(config: &Config, wanted: &Summary, patience: &Patience, told: &mut dyn FnMut(&Roll)) -> Result<Roll, KeyError> {
    /// Between two looks.
    const PAUSE: Duration = Duration::from_millis(250);
    let begun = Instant::now();
    let mut last: Option<Vec<String>> = None;
    loop {
        let nodes = nodes(config)?.unwrap_or_default();
        let roll = Roll::call(nodes, config.ring_name(), wanted, &patience.without);
        let left = patience.limit.saturating_sub(begun.elapsed());
        let called = roll.gone.is_empty() || begun.elapsed() >= LAST_CALL;
        if (roll.missing.is_empty() && called) || left.is_zero() {
            return Ok(roll);
        }
        let missing: Vec<String> =
            roll.missing.iter().map(|(node, _)| node).chain(&roll.gone).map(|node| node.id.clone()).collect();
        if last.as_ref() != Some(&missing) {
            told(&roll);
            last = Some(missing);
        }
        std::thread::sleep(PAUSE.min(left));
    }
}

/// Whether this node may protect, by what it knows of the others. Asked for every write.
#[derive(Debug)]
pub struct Standing {
    behind: ArcSwapOption<Behind>,
    begun: Instant,
    /// When the node last began to look at the store, or found that it is away: milliseconds since `begun`. The largest number: it has no others.
    looked: AtomicU64,
}

/// What a node lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The revision in use here,
    pub held: u64,
    /// and elsewhere.
    pub newest: u64,
    /// What is lacking.
    pub why: String,
}

impl Default for Standing {
    fn default() -> Self {
        Self::alone()
    }
}

impl Standing {
    /// Of a node that has no others.
    pub fn alone() -> Self {
        Self { behind: ArcSwapOption::empty(), begun: Instant::now(), looked: AtomicU64::new(u64::MAX) }
    }

    /// May it protect?
    ///
    /// # Errors
    ///
    /// [`KeyError::Outdated`]; [`KeyError::NotLooked`] after it stood still, until it has looked.
    pub fn may_protect(&self) -> Result<(), KeyError> {
        // In this order: what a look found is set before it is said that it was made. Asked the other way round, a node that wakes could
        // hear that nothing is lacking from before the look, and that it has looked from after it.
        let silent = self.silent();
        if let Some(Behind { held, newest, why }) = self.behind.load().as_deref().cloned() {
            return Err(KeyError::Outdated { held, newest, why });
        }
        if silent >= GONE_AFTER { Err(KeyError::NotLooked) } else { Ok(()) }
    }

    /// What it lacks, for `/readyz`.
    pub fn behind(&self) -> Option<Behind> {
        self.behind.load().as_deref().cloned()
    }

    /// It lacks this, or nothing.
    pub fn set(&self, behind: Option<Behind>) {
        self.behind.store(behind.map(std::sync::Arc::new));
    }

    /// It has looked, or tried to, and began with it then. A store that is away stops nobody.
    pub fn looked_at(&self, then: Instant) {
        let since = then.saturating_duration_since(self.begun).as_millis();
        self.looked.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// How long it has not looked.
    pub fn silent(&self) -> Duration {
        match self.looked.load(Ordering::Acquire) {
            u64::MAX => Duration::ZERO,
            looked => self.begun.elapsed().saturating_sub(Duration::from_millis(looked)),
        }
    }
}

#[cfg(test)]
mod tests;
