//! How key versions are destroyed: asked for in a file, signed by two operators, carried out in one revision, with a receipt.
//!
//! Always holds: no Active version goes, and none on which anything is known to hang, or was within the time that backups are kept; nothing
//! goes without two operators' signatures over exactly this; and nothing goes without its receipt, which is durable beside the ring and in
//! the audit log before the secrets go. Whatever ends it at any [`Step`], the ring is whole and the command is run again (`tests.rs` ends
//! it at each). Called by `cli/keys/destroy.rs`, which counts and records.

mod error;
mod operator;
mod receipt;
mod request;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::files;
use super::super::manifest::{self, Opened};
use super::super::state::{self, Operation};
use super::super::{Config, KeyError, KeyRing, LineName, State, VersionInfo};
use super::census::zero_since;
use super::change::{Change, Moved, Write, asked, place_of, shift};
use super::evidence::{self, Kept};
use crate::base::{Clock, Kid};
use crate::crypto::{self, SigningKey};

pub use error::DestroyError;
pub use operator::{Operator, make_operator, operator_key};
pub use receipt::{Noted, Receipt, ReceiptReport, receipts, verify_receipt};
pub use request::{Asked, Request, Signed, Written, Zero};

/// How many operators must sign.
pub const SIGNERS: usize = 2;
/// How long a request holds.
pub const VALID: Duration = Duration::from_hours(7 * 24);
/// The last census before a request may be this old, or as old as backups are kept if that is longer.
const FRESH: Duration = Duration::from_hours(24);

/// The steps of a destruction beside those of the ring's own write, in their order: a test makes each fail, and dies at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// 1: the ring is read, and everything is proved once more.
    Prove,
    /// 2: the intent is written beside the ring.
    Intent,
    /// 3: it is recorded in the audit log. The ring is written next.
    RecordIntent,
    /// 4: it is recorded that the secrets are gone.
    RecordDone,
    /// 5: the intent is given the name of a receipt.
    Name,
}

/// Where a test lets a step fail; nothing in the product.
#[cfg_attr(not(test), expect(clippy::unnecessary_wraps, reason = "only a test makes a step fail"))]
fn reach(step: Step) -> Result<(), DestroyError> {
    #[cfg(test)]
    return tests::fault::reach(step);
    #[cfg(not(test))]
    {
        let _: Step = step;
        Ok(())
    }
}

/// What destroys: a ring, the operators who may, how long backups are kept.
pub struct Destruction<'a> {
    /// Which ring.
    pub config: &'a Config,
    /// The ring with the audit line, under which censuses are kept.
    pub main: &'a KeyRing,
    /// By which times are judged.
    pub clock: &'a dyn Clock,
    /// Who may sign.
    pub operators: &'a [Operator],
    /// How long a backup of the database or the store may be put back after it was made.
    pub backups_kept: Duration,
}

/// What is to be done about a signed request.
#[derive(Debug)]
pub enum Checked {
    /// It may be carried out, once a new census says the same.
    ToDo(Approved),
    /// The secrets are gone; the receipt wants to be finished.
    Unfinished(Approved),
    /// All is done; where the receipt is.
    Done(PathBuf),
}

/// A request whose signatures fit.
#[derive(Debug)]
pub struct Approved {
    written: Written,
    signed: Vec<Signed>,
    /// When that was found; the census that counts is begun after it.
    at: u64,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestroyReport {
    /// The versions.
    pub moved: Vec<Moved>,
    /// Who signed.
    pub signers: Vec<String>,
    /// The ring's revision now.
    pub revision: u64,
    /// Where the receipt is.
    pub receipt: PathBuf,
}

/// How far a destruction is, for the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Everything is proved and signed; the secrets go next.
    Intended,
    /// They are gone.
    Done,
}

/// Makes a destruction durable in the audit log.
pub type Record<'r> = &'r mut dyn FnMut(Stage, &Noted) -> Result<(), String>;

impl Approved {
    /// What was asked.
    pub fn request(&self) -> &Request {
        &self.written.request
    }

    /// Who signed.
    pub fn signers(&self) -> Vec<&str> {
        self.signed.iter().map(|signed| signed.operator.as_str()).collect()
    }
}

impl Destruction<'_> {
    /// Writes a request to destroy versions.
    ///
    /// # Errors
    ///
    /// [`DestroyError`]: one of them may not be destroyed, now or ever; nobody could sign.
    pub fn request(&self, kids: &[Kid]) -> Result<Written, DestroyError> {
        if self.operators.len() < SIGNERS {
            return Err(DestroyError::TooFewOperators(self.operators.len()));
        }
        let opened = manifest::open(self.config)?;
        let kept = evidence::kept(self.config, self.main)?;
        let now = self.clock.now_ms();
        let mut versions: Vec<Asked> = Vec::new();
        for kid in kids {
            if versions.iter().all(|there| there.kid != *kid) {
                versions.push(prove(&opened, &kept, *kid, self.backups_kept, now)?);
            }
        }
        let oldest = versions.iter().filter_map(|asked| Some(asked.zero?.latest)).min();
        if let Some(latest) = oldest.filter(|latest| now.saturating_sub(*latest) > ms(self.backups_kept.max(FRESH))) {
            return Err(DestroyError::Stale(time(latest)));
        }
        Written::new(Request {
            format: Request::format(),
            controller: opened.manifest.controller.clone(),
            ring: opened.manifest.ring.clone(),
            revision: opened.manifest.revision,
            made: now,
            expires: now.saturating_add(ms(VALID)),
            backups_kept_days: self.backups_kept.as_secs() / 86_400,
            collections: kept.last().map(collections_of).unwrap_or_default(),
            versions,
            nonce: crypto::random().map_err(KeyError::from)?,
        })
    }

    /// Checks a request, its signatures, and once more everything that it says.
    ///
    /// # Errors
    ///
    /// [`DestroyError`].
    pub fn check(&self, request: &[u8], signatures: &[(String, Vec<u8>)]) -> Result<Checked, DestroyError> {
        let written = Written::read(request)?;
        let opened = manifest::open(self.config)?;
        let said = &written.request;
        of_this_ring(&opened, &said.controller, &said.ring)?;
        let now = self.clock.now_ms();
        let signed = request::signers(&written, signatures, self.operators)?;
        let approved = Approved { written, signed, at: now };
        let (intent, receipt) = self.places(&approved.written.hash);
        if receipt.exists() {
            return Ok(Checked::Done(receipt));
        }
        if intent.exists() && is_gone(&opened, &approved.written.request) {
            return Ok(Checked::Unfinished(approved));
        }
        self.judge(&opened, &approved.written.request, now)?;
        Ok(Checked::ToDo(approved))
    }

    /// Destroys what a request asks for. A census of the whole was made since [`Self::check`].
    ///
    /// # Errors
    ///
    /// [`DestroyError`]; nothing was destroyed but for [`DestroyError::Unfinished`].
    pub fn carry_out(
        &self,
        approved: &Approved,
        signer: (Kid, &SigningKey),
        record: Record<'_>,
    ) -> Result<DestroyReport, DestroyError> {
        let Approved { written, signed, at } = approved;
        let (intent, _) = self.places(&written.hash);
        evidence::make_folder(self.config)?;
        let change = Change { config: self.config, clock: self.clock, at_revision: Some(written.request.revision) };
        let mut noted = None;
        let ((moved, ..), revision) = change.make_noting(
            |opened, now| {
                reach(Step::Prove)?;
                let census = self.judge(opened, &written.request, now)?;
                // Made for this, of this very revision: a key that was moved meanwhile may have been written under.
                let fresh = census
                    .as_ref()
                    .is_some_and(|kept| kept.census.begun >= *at && kept.census.revision == written.request.revision);
                let stored = written.request.versions.iter().any(|asked| asked.zero.is_some());
                if stored && !fresh {
                    return Err(DestroyError::Overtaken);
                }
                let mut moved = Vec::new();
                for asked in &written.request.versions {
                    moved.push(shift(opened, &asked.line, asked.kid, State::Destroyed, now)?);
                }
                Ok(((moved, census.map_or([0; 32], |kept| kept.hash), now), Write::Revision))
            },
            |(_, census, now), opened, bytes| {
                let facts = receipt::Facts {
                    revision: opened.manifest.revision,
                    ring_sha256: crypto::sha256(bytes),
                    destroyed: *now,
                    census: *census,
                };
                let receipt = Receipt::new(written, signed.clone(), &facts, signer);
                let text = receipt.sign(signer.1)?;
                reach(Step::Intent)?;
                write_anew(&intent, text.as_bytes())?;
                let said = noted.insert(receipt.noted(&text));
                reach(Step::RecordIntent)?;
                record(Stage::Intended, said).map_err(DestroyError::NotRecorded)
            },
        )?;
        let noted = noted.ok_or(DestroyError::Overtaken)?;
        let receipt = self.conclude(&written.hash, &noted, record)?;
        Ok(DestroyReport { moved, signers: noted.signers, revision, receipt })
    }

    /// Finishes the receipt of a destruction that was broken off after the secrets were gone.
    ///
    /// # Errors
    ///
    /// A receipt that was changed; [`DestroyError::Unfinished`].
    pub fn finish(&self, approved: &Approved, record: Record<'_>) -> Result<DestroyReport, DestroyError> {
        let (intent, _) = self.places(&approved.written.hash);
        let bytes = fs::read(&intent).map_err(|error| KeyError::io(&intent, "read", &error))?;
        let (receipt, _) = Receipt::read(&bytes)?;
        let noted = receipt.noted(&String::from_utf8_lossy(&bytes));
        let place = self.conclude(&approved.written.hash, &noted, record)?;
        let versions = approved.written.request.versions.iter();
        let moved = versions.map(|asked| Moved {
            line: asked.line.clone(),
            kid: asked.kid,
            from: State::Destroyed,
            to: State::Destroyed,
        });
        Ok(DestroyReport { moved: moved.collect(), signers: noted.signers, revision: receipt.revision, receipt: place })
    }

    fn conclude(&self, hash: &[u8; 32], noted: &Noted, record: Record<'_>) -> Result<PathBuf, DestroyError> {
        let unfinished = |why: &dyn std::fmt::Display| DestroyError::Unfinished(why.to_string());
        let (intent, receipt) = self.places(hash);
        reach(Step::RecordDone).map_err(|why| unfinished(&why))?;
        record(Stage::Done, noted).map_err(|why| unfinished(&format!("the audit log of operators cannot be written ({why})")))?;
        reach(Step::Name).map_err(|why| unfinished(&why))?;
        let named = fs::rename(&intent, &receipt).and_then(|()| sync_folder_of(&receipt));
        named.map_err(|error| unfinished(&KeyError::io(&receipt, "written", &error)))?;
        Ok(receipt)
    }

    /// Everything that a request says is so, now; the census it is so by.
    fn judge(&self, opened: &Opened, request: &Request, now: u64) -> Result<Option<Kept>, DestroyError> {
        if now >= request.expires {
            return Err(DestroyError::Expired(time(request.expires)));
        }
        if now < request.made {
            return Err(DestroyError::NotYet(time(request.made)));
        }
        let found = opened.manifest.revision;
        if request.revision != found {
            return Err(DestroyError::OldRequest { asked: request.revision, found });
        }
        let kept = evidence::kept(self.config, self.main)?;
        // Those who signed saw how long backups are kept; less than that it is not.
        let window = self.backups_kept.max(Duration::from_secs(request.backups_kept_days.saturating_mul(86_400)));
        for asked in &request.versions {
            let now_so = prove(opened, &kept, asked.kid, window, now)?;
            let same = Asked { zero: None, ..now_so.clone() } == Asked { zero: None, ..asked.clone() };
            if !same || now_so.zero.is_some() != asked.zero.is_some() {
                return Err(DestroyError::OtherVersion(asked.kid));
            }
        }
        // A collection that was taken out of the configuration since still has what it has.
        let counted = kept.last().map(collections_of).unwrap_or_default();
        let stored = request.versions.iter().any(|asked| asked.zero.is_some());
        match request.collections.iter().find(|name| stored && !counted.contains(name)) {
            Some(name) => Err(DestroyError::NotCounted(name.clone())),
            None => Ok(kept.last().cloned()),
        }
    }

    /// Where the intent of a request is, and where its receipt.
    fn places(&self, hash: &[u8; 32]) -> (PathBuf, PathBuf) {
        let (folder, name) = (evidence::folder(self.config), evidence::short(hash));
        (folder.join(format!("{name}.intent.json")), folder.join(format!("{name}.receipt.json")))
    }
}

fn of_this_ring(opened: &Opened, controller: &str, ring: &str) -> Result<(), DestroyError> {
    for (what, found, expected) in
        [("controller", controller, opened.manifest.controller.as_str()), ("ring", ring, opened.manifest.ring.as_str())]
    {
        if found != expected {
            return Err(DestroyError::Foreign { what, found: found.to_owned(), expected: expected.to_owned() });
        }
    }
    Ok(())
}

/// That a version may be destroyed.
fn prove(opened: &Opened, kept: &[Kept], kid: Kid, window: Duration, now: u64) -> Result<Asked, DestroyError> {
    let (line, from) = place_of(opened, kid)?;
    if line == LineName::Audit {
        return Err(DestroyError::AuditLine(kid));
    }
    match asked(&line, kid, from, Operation::Destroy)? {
        state::Step::Becomes(_) => {}
        state::Step::Stays | state::Step::AfterSuccessor(_) | state::Step::Refused(_) => {
            return Err(DestroyError::Destroyed(kid));
        }
    }
    let version = opened.manifest.versions().map(|(_, version)| version).find(|version| version.kid == kid);
    let version = version.ok_or(KeyError::NoSuchVersion(kid))?;
    let commitment = version.commitment;
    if matches!(line, LineName::Pseudonym(_)) {
        return Ok(Asked { line, kid, state: from, commitment, zero: None });
    }
    let since = zero_since(&VersionInfo::of(&line, version), kept, now);
    let since = since.map_err(|why| DestroyError::NotZero { line: line.clone(), kid, why })?;
    let until = since.since.saturating_add(ms(window));
    if now < until {
        let days = window.as_secs() / 86_400;
        return Err(DestroyError::TooSoon { line, kid, since: time(since.since), days, until: time(until) });
    }
    let zero = Zero { since: since.since, latest: since.latest, census: since.hash };
    Ok(Asked { line, kid, state: from, commitment, zero: Some(zero) })
}

fn collections_of(kept: &Kept) -> Vec<String> {
    kept.census.collections.iter().map(|seen| seen.collection.clone()).collect()
}

/// Are all versions of a request destroyed?
fn is_gone(opened: &Opened, request: &Request) -> bool {
    request.versions.iter().all(|asked| place_of(opened, asked.kid).is_ok_and(|(_, state)| state == State::Destroyed))
}

/// Writes a private file, in place of one that a run before left, whole or in part.
fn write_anew(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let own = path.file_name().and_then(|name| name.to_str()).map(|name| format!("{name}.")).unwrap_or_default();
    let left = |name: &str| name.starts_with(&own);
    let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok());
    for entry in entries.into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(left) {
            // One that stays harms nothing.
            fs::remove_file(entry.path()).ok();
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(KeyError::io(path, "removed", &error)),
        Ok(()) | Err(_) => {}
    }
    files::create_private(path, bytes)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder).and_then(|folder| folder.sync_all()))
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 for messages; times no calendar has are given as they are.
fn time(ms: u64) -> String {
    manifest::rfc3339(ms).unwrap_or_else(|_| format!("{ms} ms after 1970"))
}
