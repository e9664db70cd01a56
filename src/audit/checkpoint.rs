//! Holds a log against checkpoints made of it earlier: those stored beside it, and those that were kept where its administrator
//! cannot write. A log that was put back to an earlier copy, cut or rewritten, its head with it, disagrees with them.
//!
//! Also makes a checkpoint of a log and says what outsiders check it with. Reads files; writes none.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::chain::{Hash, Key};
use super::event::Entry;
use super::note::{self, Note, Signed, VerifierKey};
use super::tree::Tree;
use super::walk::{Finding, Line, Lines, VerifyError, VerifyReport, Walker, What, walk};
use super::{AuditError, disk};

/// What a log is held against besides what stands in its own folder.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Checkpoints kept elsewhere: where each comes from, and its bytes.
    pub checkpoints: Vec<(String, Vec<u8>)>,
    /// Keys to check them with, besides the ring's: of audit versions destroyed since, or of witnesses.
    pub verifiers: Vec<VerifierKey>,
}

/// Checkpoints a log agrees with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoints {
    /// How many of those stored beside the log.
    pub stored: u64,
    /// How many of those given.
    pub given: u64,
    /// How many of the stored ones were signed under keys that are gone: the log agrees with them, but anybody may have made them.
    pub unsigned: u64,
    /// Number and time of the event that the newest signed one ends with.
    pub newest: Option<(u64, String)>,
    /// The file ends in a checkpoint that is not whole: being written now, or left by a crash.
    pub unfinished: bool,
}

/// A checkpoint that speaks against a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointFinding {
    /// Which: the file's name, or the number in the file of the stored ones.
    pub place: String,
    /// Why.
    pub what: Disagreement,
}

impl CheckpointFinding {
    /// True if it says that the log is another than it was; otherwise the checkpoint itself cannot be believed.
    pub fn is_about_the_log(&self) -> bool {
        match self.what {
            Disagreement::OtherLog { .. } | Disagreement::Shorter { .. } | Disagreement::Rewritten { .. } => true,
            Disagreement::NotACheckpoint | Disagreement::Forged | Disagreement::UnknownKey => false,
        }
    }
}

/// How checkpoint and log disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disagreement {
    /// It is none.
    NotACheckpoint,
    /// It has a signature of a key we know, which does not fit.
    Forged,
    /// No key we know has signed it.
    UnknownKey,
    /// It is of another log.
    OtherLog {
        /// Which log it names.
        of: String,
        /// The one it was held against.
        here: String,
    },
    /// The log has fewer events.
    Shorter {
        /// Events the checkpoint vouches for.
        vouched: u64,
        /// Events there are.
        last: u64,
    },
    /// Among the events it vouches for there are others than it saw.
    Rewritten {
        /// Events the checkpoint vouches for.
        vouched: u64,
    },
}

impl fmt::Display for CheckpointFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match &self.what {
            Disagreement::NotACheckpoint => f.write_str("not a checkpoint, or changed"),
            Disagreement::Forged => f.write_str("changed: its signature does not fit"),
            Disagreement::UnknownKey => f.write_str(
                "signed under no key that is known here: give its verifier key with --key, as `sudare audit key` printed it",
            ),
            Disagreement::OtherLog { of, here } => {
                write!(f, "made of the log {of}, and this is {here}: another one was put in its place")
            }
            Disagreement::Shorter { vouched, last } => {
                write!(
                    f,
                    "made when the log had {vouched} events, and now it has {last}: it was cut or put back to an earlier copy"
                )
            }
            Disagreement::Rewritten { vouched } => {
                write!(f, "the first {vouched} events are not those it was made of: the log was rewritten")
            }
        }
    }
}

/// Makes a checkpoint of the log under the Active key, once all of it was verified. Only of what the head vouches for: later lines
/// could still be taken back by the writer, and a log must never sign what it does not keep.
///
/// # Errors
///
/// As [`super::verify`]; [`AuditError::NoKey`].
pub fn checkpoint(dir: &Path, keys: &[Key]) -> Result<String, VerifyError> {
    let (_, _, signer) = keys.first().ok_or(AuditError::NoKey)?;
    let (_, vouched) = walk(dir, keys, &Given::default(), &mut |_entry| {})?;
    Ok(note::checkpoint(&vouched.origin, &vouched.tree, signer))
}

/// What outsiders check the log's checkpoints with: one key for each of `keys`.
///
/// # Errors
///
/// As [`super::verify`]: the log is verified, since its name comes from it.
pub fn verifier_keys(dir: &Path, keys: &[Key]) -> Result<Vec<VerifierKey>, VerifyError> {
    let (_, vouched) = walk(dir, keys, &Given::default(), &mut |_entry| {})?;
    Ok(of_log(&vouched.origin, keys).collect())
}

/// Holds a log against its checkpoints by their verifier keys alone, for somebody who was given a copy and has no key ring. Every
/// event up to the newest checkpoint that a given key has signed is then as it was when that was made; of later ones nothing is
/// known. MACs and head cannot be checked, and need not be: the checkpoint binds every byte of every event.
///
/// # Errors
///
/// As [`super::verify`]; [`VerifyError::NoCheckpoint`].
pub fn verify_as_outsider(dir: &Path, given: &Given) -> Result<VerifyReport, VerifyError> {
    let stored = disk::read_checkpoints(dir)?;
    let mut anchors = Anchors::new(&stored, given);
    let segments = disk::segments(dir)?;
    let last = *segments.last().ok_or_else(|| AuditError::NoLog(dir.to_path_buf()))?;
    let (mut walker, mut report) = (Walker::start(&[]), VerifyReport::default());
    for (expected, segment) in (1..).zip(segments) {
        if expected != segment {
            let what = What::SegmentMissing;
            return Err(Finding { segment: Some(expected), line: None, seq: None, what }.into());
        }
        let mut lines = Lines::open(dir, segment, 0)?;
        walker.enter(segment);
        report.segments += 1;
        loop {
            match lines.next()? {
                Line::Whole(text) => {
                    if let Some(entry) = walker.accept(text)? {
                        report.events += 1;
                        anchors.hold_against(&walker.tree, &entry);
                    }
                }
                Line::End => break,
                Line::Torn(bytes) if segment == last => {
                    report.torn_bytes = bytes;
                    break;
                }
                Line::Torn(_) | Line::TooLong => return Err(walker.found(What::NotALine).into()),
            }
        }
    }
    report.checkpoints = anchors.outcome(&walker.origin, &[], report.events).map_err(VerifyError::Checkpoints)?;
    let (proved, _) = report.checkpoints.newest.as_ref().ok_or(VerifyError::NoCheckpoint)?;
    report.unproved = report.events.saturating_sub(*proved);
    Ok(report)
}

fn of_log<'k>(origin: &'k str, keys: &'k [Key]) -> impl Iterator<Item = VerifierKey> + 'k {
    keys.iter().map(|(_, _, signer)| VerifierKey::new(origin, signer.public()))
}

/// The checkpoints, and what the log showed where each of them ends.
pub(super) struct Anchors<'a> {
    /// Place, whether given, bytes.
    notes: Vec<(String, bool, &'a [u8])>,
    verifiers: &'a [VerifierKey],
    /// Sizes that checkpoints name, with root and time as the log has them.
    sizes: BTreeMap<u64, Option<(Hash, String)>>,
    unfinished: bool,
}

impl<'a> Anchors<'a> {
    /// `stored` is the file of the stored ones.
    pub(super) fn new(stored: &'a [u8], given: &'a Given) -> Self {
        let (whole, bytes) = note::stored(stored);
        let numbered = (1..).zip(whole).map(|(number, note): (u64, _)| (format!("checkpoints, number {number}"), false, note));
        let notes: Vec<_> =
            numbered.chain(given.checkpoints.iter().map(|(place, note)| (place.clone(), true, note.as_slice()))).collect();
        let sizes = notes.iter().filter_map(|(_, _, note)| Some((Note::read(note)?.checkpoint()?.size, None))).collect();
        Self { notes, verifiers: &given.verifiers, sizes, unfinished: bytes < stored.len() }
    }

    /// Notes what the log is like after an event.
    pub(super) fn hold_against(&mut self, tree: &Tree, entry: &Entry) {
        if let Some(seen) = self.sizes.get_mut(&tree.size()) {
            *seen = Some((tree.root(), entry.time.clone()));
        }
    }

    /// Every checkpoint agrees with the log `origin` of `last` events, or those that do not.
    pub(super) fn outcome(&self, origin: &str, keys: &[Key], last: u64) -> Result<Checkpoints, Vec<CheckpointFinding>> {
        let mut agreed = Checkpoints { unfinished: self.unfinished, ..Checkpoints::default() };
        let mut findings = Vec::new();
        for (place, given, bytes) in &self.notes {
            match self.agrees(bytes, *given, origin, keys, last) {
                Ok((newest, signed)) => {
                    *(if *given { &mut agreed.given } else { &mut agreed.stored }) += 1;
                    agreed.unsigned += u64::from(!signed);
                    agreed.newest = agreed.newest.max(newest.filter(|_| signed));
                }
                Err(what) => findings.push(CheckpointFinding { place: place.clone(), what }),
            }
        }
        if findings.is_empty() { Ok(agreed) } else { Err(findings) }
    }

    /// The event it ends with, and whether a known key signed it.
    fn agrees(
        &self,
        bytes: &[u8],
        given: bool,
        origin: &str,
        keys: &[Key],
        last: u64,
    ) -> Result<(Option<(u64, String)>, bool), Disagreement> {
        let note = Note::read(bytes).ok_or(Disagreement::NotACheckpoint)?;
        let said = note.checkpoint().ok_or(Disagreement::NotACheckpoint)?;
        // One of another log is authentic too, if it is signed under that log's name.
        let known: Vec<VerifierKey> = of_log(said.origin, keys).chain(self.verifiers.iter().cloned()).collect();
        let signed = match note.signed_by(&known) {
            Signed::Known => true,
            Signed::Forged => return Err(Disagreement::Forged),
            Signed::Unknown if given => return Err(Disagreement::UnknownKey),
            Signed::Unknown => false,
        };
        if said.origin != origin {
            return Err(Disagreement::OtherLog { of: said.origin.to_owned(), here: origin.to_owned() });
        }
        let vouched = said.size;
        match self.sizes.get(&vouched).and_then(Option::as_ref) {
            Some((root, time)) if *root == said.root => Ok((Some((vouched, time.clone())), signed)),
            Some(_) => Err(Disagreement::Rewritten { vouched }),
            None if vouched == 0 && said.root == Tree::default().root() => Ok((None, signed)),
            None if vouched == 0 => Err(Disagreement::Rewritten { vouched }),
            None => Err(Disagreement::Shorter { vouched, last }),
        }
    }
}
