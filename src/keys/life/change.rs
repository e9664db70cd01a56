//! How an operator moves versions: rotate, publish, activate, deactivate, compromise.
//!
//! Always holds: what may move where is [`State::on`]'s table; a change is one revision, or none where there is nothing to do,
//! so a command that is run again ends well; no revision leaves a line without an Active version (but a pseudonym scope that is
//! ended on purpose) or with two; nothing is written when any part of what was asked is refused. Called by `cli/keys`.

use std::fmt;

use super::super::manifest::{Line, Opened};
use super::super::place::{self, Held};
use super::super::state::{Operation, Refusal, Step};
use super::super::{Config, KeyError, LineName, State};
use crate::base::{Clock, Kid};

/// One operator's wish to change a ring.
pub struct Change<'a> {
    /// Which ring.
    pub config: &'a Config,
    /// What its times are taken from.
    pub clock: &'a dyn Clock,
    /// The revision the operator looked at. If the ring has moved on, nothing is done. None: whatever it is now.
    pub at_revision: Option<u64>,
}

/// What [`Change::rotate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotateReport {
    /// The line.
    pub line: LineName,
    /// The version that protects from now on.
    pub active: Kid,
    /// The version that did until now; it goes on opening.
    pub deactivated: Option<Kid>,
    /// Versions of the line that were published and wait still.
    pub waiting: Vec<Kid>,
    /// The ring's revision now.
    pub revision: u64,
}

/// What [`Change::publish`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishReport {
    /// The line.
    pub line: LineName,
    /// Its version that waits to be activated.
    pub kid: Kid,
    /// It was made now; otherwise it was waiting already.
    pub made: bool,
    /// The ring's revision now.
    pub revision: u64,
}

/// One version that moved, or stayed where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its line.
    pub line: LineName,
    /// Its id.
    pub kid: Kid,
    /// Where it was.
    pub from: State,
    /// Where it is; the same if there was nothing to do.
    pub to: State,
}

/// What became of the versions an operator named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveReport {
    /// Them, and the Active versions that made room for them, in the order of the moves.
    pub moved: Vec<Moved>,
    /// Versions made in their place; each is Active.
    pub made: Vec<(LineName, Kid)>,
    /// The ring's revision now.
    pub revision: u64,
}

/// What to do about an Active version that is to be marked compromised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Successor {
    /// Its line has another Active version, or nothing is done.
    MustBeThere,
    /// Make and activate a fresh one in the same revision. Never one that was published before: who came to know the Active
    /// version may have seen that one in the same file.
    Make,
}

/// What to do about a pseudonym scope whose Active version is to be deactivated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// It goes on.
    Keep,
    /// It ends: no pseudonym of it is shown any more.
    End,
}

/// Why a version does not move, with the way to get what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotMoved {
    /// Its line.
    pub line: LineName,
    /// Its id.
    pub kid: Kid,
    /// What was asked.
    pub operation: Operation,
    /// Why not; None: it is Active, and nothing takes its place.
    pub refusal: Option<Refusal>,
}

impl std::error::Error for NotMoved {}

impl fmt::Display for NotMoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, kid, operation, refusal } = self;
        let scope = matches!(line, LineName::Pseudonym(_));
        match (operation, refusal) {
            (Operation::Activate, Some(refusal)) => {
                let why = match refusal {
                    Refusal::Compromised => "is compromised, so nothing may be protected under it again",
                    Refusal::Destroyed => "is destroyed, and its secret is gone",
                    Refusal::NoWayBack | Refusal::NeverActive | Refusal::StillActive => {
                        "is deactivated, and what has ceased to protect does not begin again"
                    }
                };
                write!(f, "{kid} of line {line} {why}: make a new version with `sudare keys rotate --line {line}`")
            }
            (Operation::Deactivate, Some(Refusal::Compromised)) => {
                write!(
                    f,
                    "{kid} of line {line} is compromised: it protects nothing and opens less than a deactivated version, so nothing is left to do"
                )
            }
            (Operation::Deactivate, Some(Refusal::Destroyed)) => {
                write!(f, "{kid} of line {line} is destroyed: it neither protects nor opens, so nothing is left to do")
            }
            (Operation::Deactivate, Some(Refusal::NeverActive | Refusal::NoWayBack | Refusal::StillActive)) => write!(
                f,
                "{kid} of line {line} is pre-active: it protects nothing yet, so it may stay as it is; if somebody else may know it, `sudare keys compromise {kid}`"
            ),
            (Operation::Deactivate, None) => {
                write!(
                    f,
                    "{kid} is the active version of line {line}, which would be left without one: activate another with `sudare keys activate KID`, or make one with `sudare keys rotate --line {line}`; either deactivates {kid}"
                )?;
                if scope { f.write_str(". To show no pseudonym of this scope any more, give --end-scope") } else { Ok(()) }
            }
            (Operation::Compromise, None) => write!(
                f,
                "{kid} is the active version of line {line}, which would be left without one: `sudare keys compromise {kid} --replace` makes and activates a new version in the same write"
            ),
            (Operation::Compromise, Some(_)) => write!(
                f,
                "{kid} of line {line} is destroyed: nothing opens under it any more. If its secret was known to others before, so is what it protected, in backups too"
            ),
            (Operation::Activate, None) => write!(f, "{kid} of line {line} cannot be activated"),
            (Operation::Destroy, _) => write!(
                f,
                "{kid} is the active version of line {line}, and what was sealed a moment ago hangs on it: `sudare keys rotate --line {line}` first, then rewrap and count"
            ),
        }
    }
}

/// Does the ring have to be written?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Revision,
    /// The same, but only once what is to be written opens, whole, under the KEK that it is to hang on.
    Proved,
    Nothing,
}

impl Change<'_> {
    /// Gives a line a fresh Active version and deactivates the one before it, in one revision. A version that was published
    /// before goes on waiting. No stored value changes; what the old version sealed still opens.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoSuchLine`]; everything that opening and writing refuse.
    pub fn rotate(&self, name: &LineName) -> Result<RotateReport, KeyError> {
        let ((active, deactivated, waiting), revision) = self.make(|opened, now_ms| {
            line_of(opened, name)?;
            let (active, deactivated) = succeed(opened, name, State::Deactivated, now_ms)?;
            Ok(((active, deactivated, waiting(line_of(opened, name)?)), Write::Revision))
        })?;
        Ok(RotateReport { line: name.clone(), active, deactivated, waiting, revision })
    }

    /// Gives a line a version that opens and does not protect yet, so that every node has it before any uses it. One that
    /// waits already is enough.
    ///
    /// # Errors
    ///
    /// As [`Self::rotate`].
    pub fn publish(&self, name: &LineName) -> Result<PublishReport, KeyError> {
        let ((kid, made), revision) = self.make(|opened, now_ms| match waiting(line_of(opened, name)?).last() {
            Some(kid) => Ok(((*kid, false), Write::Nothing)),
            None => Ok(((opened.add(name, State::PreActive, now_ms)?, true), Write::Revision)),
        })?;
        Ok(PublishReport { line: name.clone(), kid, made, revision })
    }

    /// Gives a line a fresh version that opens and does not protect yet, also if another one waits.
    ///
    /// # Errors
    ///
    /// As [`Self::rotate`].
    pub fn publish_anew(&self, name: &LineName) -> Result<PublishReport, KeyError> {
        let (kid, revision) = self.make(|opened, now_ms| {
            line_of(opened, name)?;
            Ok((opened.add(name, State::PreActive, now_ms)?, Write::Revision))
        })?;
        Ok(PublishReport { line: name.clone(), kid, made: true, revision })
    }

    /// Lets a published version protect; the Active one of its line is deactivated in the same revision.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoSuchVersion`], [`KeyError::NotMoved`]; everything that opening and writing refuse.
    pub fn activate(&self, kid: Kid) -> Result<MoveReport, KeyError> {
        self.moving(|opened, report, now_ms| {
            let (line, from) = place_of(opened, kid)?;
            match asked(&line, kid, from, Operation::Activate)? {
                Step::Becomes(to) => {
                    if let Some(active) = active_of(opened, &line) {
                        report.moved.push(shift(opened, &line, active, State::Deactivated, now_ms)?);
                    }
                    report.moved.push(shift(opened, &line, kid, to, now_ms)?);
                }
                Step::Stays | Step::AfterSuccessor(_) | Step::Refused(_) => report.moved.push(stayed(line, kid, from)),
            }
            Ok(())
        })
    }

    /// Lets a version cease to protect. For an Active one that takes a successor, which activating or rotating provides; all
    /// that is left for this is to end a pseudonym scope.
    ///
    /// # Errors
    ///
    /// As [`Self::activate`].
    pub fn deactivate(&self, kid: Kid, scope: Scope) -> Result<MoveReport, KeyError> {
        self.moving(|opened, report, now_ms| {
            let (line, from) = place_of(opened, kid)?;
            if scope == Scope::End && line.needs_active() {
                return Err(KeyError::NoScopeToEnd(line));
            }
            match asked(&line, kid, from, Operation::Deactivate)? {
                Step::AfterSuccessor(to) | Step::Becomes(to) if scope == Scope::End => {
                    report.moved.push(shift(opened, &line, kid, to, now_ms)?);
                }
                Step::AfterSuccessor(_) | Step::Becomes(_) => {
                    return Err(NotMoved { line, kid, operation: Operation::Deactivate, refusal: None }.into());
                }
                Step::Stays | Step::Refused(_) => report.moved.push(stayed(line, kid, from)),
            }
            Ok(())
        })
    }

    /// Marks versions that somebody else may know, all of them in one revision. From then on nothing they protect is shown.
    ///
    /// # Errors
    ///
    /// As [`Self::activate`]; an Active version is refused unless its successor is to be made.
    pub fn compromise(&self, kids: &[Kid], successor: Successor) -> Result<MoveReport, KeyError> {
        self.moving(|opened, report, now_ms| {
            for kid in kids {
                let (line, from) = place_of(opened, *kid)?;
                match asked(&line, *kid, from, Operation::Compromise)? {
                    Step::Becomes(to) => report.moved.push(shift(opened, &line, *kid, to, now_ms)?),
                    Step::AfterSuccessor(to) if successor == Successor::Make => {
                        let (made, _) = succeed(opened, &line, to, now_ms)?;
                        report.moved.push(Moved { line: line.clone(), kid: *kid, from, to });
                        report.made.push((line, made));
                    }
                    Step::AfterSuccessor(_) => {
                        return Err(NotMoved { line, kid: *kid, operation: Operation::Compromise, refusal: None }.into());
                    }
                    Step::Stays | Step::Refused(_) => report.moved.push(stayed(line, *kid, from)),
                }
            }
            Ok(())
        })
    }

    fn moving(
        &self,
        act: impl FnOnce(&mut Opened, &mut MoveReport, u64) -> Result<(), KeyError>,
    ) -> Result<MoveReport, KeyError> {
        let (mut report, revision) = self.make(|opened, now_ms| {
            let mut report = MoveReport { moved: Vec::new(), made: Vec::new(), revision: 0 };
            act(opened, &mut report, now_ms)?;
            let all_stayed = report.moved.iter().all(|moved| moved.from == moved.to);
            Ok((report, if all_stayed { Write::Nothing } else { Write::Revision }))
        })?;
        report.revision = revision;
        Ok(report)
    }

    /// Reads the ring, lets `act` change it, and writes it, all under the ring's lock. Returns the revision it is at then.
    pub(super) fn make<T>(
        &self,
        act: impl FnOnce(&mut Opened, u64) -> Result<(T, Write), KeyError>,
    ) -> Result<(T, u64), KeyError> {
        self.make_noting(act, |_result, _opened, _bytes| Ok(()))
    }

    /// As [`Self::make`]; `note` is called with the bytes of the new revision before they are in force, and an error of it leaves the old one.
    pub(super) fn make_noting<T, E: From<KeyError>>(
        &self,
        act: impl FnOnce(&mut Opened, u64) -> Result<(T, Write), E>,
        note: impl FnOnce(&mut T, &Opened, &[u8]) -> Result<(), E>,
    ) -> Result<(T, u64), E> {
        // Before the lock, which would leave a file of its own beside a ring that is not there, or complain of its folder.
        if self.config.ring.as_file().is_some_and(|path| matches!(path.try_exists(), Ok(false))) {
            place::read(self.config)?;
        }
        let held = Held::take(self.config)?;
        let mut opened = held.open_at(self.at_revision)?;
        let now_ms = self.clock.now_ms();
        let (mut result, write) = act(&mut opened, now_ms)?;
        if write != Write::Nothing {
            let bytes = held.next(&mut opened, now_ms)?;
            if write == Write::Proved {
                super::kek::prove(self.config, &bytes)?;
            }
            note(&mut result, &opened, &bytes)?;
            held.replace(&opened, &bytes)?;
        }
        Ok((result, opened.manifest.revision))
    }
}

fn line_of<'o>(opened: &'o Opened, name: &LineName) -> Result<&'o Line, KeyError> {
    opened.manifest.lines.iter().find(|line| line.name == *name).ok_or_else(|| KeyError::NoSuchLine(name.clone()))
}

fn waiting(line: &Line) -> Vec<Kid> {
    line.versions.iter().filter(|version| version.state == State::PreActive).map(|version| version.kid).collect()
}

fn active_of(opened: &Opened, name: &LineName) -> Option<Kid> {
    let of_line = opened.manifest.versions().filter(|(line, _)| *line == name);
    of_line.map(|(_, version)| version).find(|version| version.state == State::Active).map(|version| version.kid)
}

pub(super) fn place_of(opened: &Opened, kid: Kid) -> Result<(LineName, State), KeyError> {
    let found = opened.manifest.versions().find(|(_, version)| version.kid == kid);
    found.map(|(line, version)| (line.clone(), version.state)).ok_or(KeyError::NoSuchVersion(kid))
}

/// What the table says, with a refusal as an error.
pub(super) fn asked(line: &LineName, kid: Kid, state: State, operation: Operation) -> Result<Step, KeyError> {
    match state.on(operation) {
        Step::Refused(refusal) => Err(NotMoved { line: line.clone(), kid, operation, refusal: Some(refusal) }.into()),
        step @ (Step::Becomes(_) | Step::AfterSuccessor(_) | Step::Stays) => Ok(step),
    }
}

fn stayed(line: LineName, kid: Kid, state: State) -> Moved {
    Moved { line, kid, from: state, to: state }
}

pub(super) fn shift(opened: &mut Opened, line: &LineName, kid: Kid, next: State, now_ms: u64) -> Result<Moved, KeyError> {
    let versions = opened.manifest.lines.iter_mut().flat_map(|line| line.versions.iter_mut());
    let version = versions.into_iter().find(|version| version.kid == kid).ok_or(KeyError::NoSuchVersion(kid))?;
    let from = version.state;
    version.shift(next, now_ms)?;
    Ok(Moved { line: line.clone(), kid, from, to: next })
}

/// A fresh Active version for a line; the one before it goes to `next`.
fn succeed(opened: &mut Opened, line: &LineName, next: State, now_ms: u64) -> Result<(Kid, Option<Kid>), KeyError> {
    let before = active_of(opened, line);
    if let Some(before) = before {
        shift(opened, line, before, next, now_ms)?;
    }
    Ok((opened.add(line, State::Active, now_ms)?, before))
}
