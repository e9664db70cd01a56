//! Every step that the ledger has, folded into cases; and whether one is open, now and to whom.
//!
//! Always holds: folding asks nothing but the step itself, so every node comes to the same cases; whose keys count is asked each time, of
//! the configuration in force; the clock that counts is the latest time this node has seen, so one that goes back revives nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::text::{Asked, Noted, Request, What};
use super::{Closed, ExceptionError, Step};
use crate::base::{CallerName, ExceptionId};
use crate::crypto::PublicKey;
use crate::keys::{Detached, Operator};
use crate::purpose::{Grant, Named, Opening, Policy, Tell};

/// The cases. Cheap to ask; whoever reads the ledger folds what it reads.
#[derive(Debug, Default)]
pub struct Register {
    cases: ArcSwap<BTreeMap<ExceptionId, Arc<Case>>>,
    /// The latest time that this node has seen.
    latest: AtomicU64,
}

/// A signature that fits, and when it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// Whose.
    pub key: PublicKey,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// One exception: what was asked, and what became of it.
#[derive(Clone)]
pub struct Case {
    asked: Asked,
    by: Signed,
    named: Arc<Named>,
    /// In the order of the ledger, each key once, none of it the asker's.
    approvals: Vec<Signed>,
    /// As the ledger has them, those that count.
    steps: Vec<(u64, Step)>,
    told: Option<(Signed, String)>,
    revoked: Option<(Signed, String)>,
    reviewed: Option<(Signed, String)>,
}

/// Without the notes.
impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case").field("asked", &self.asked).finish_non_exhaustive()
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Others have to agree.
    Requested {
        /// How many have.
        have: u8,
    },
    /// Enough agreed; the people have to be told first.
    ToTell,
    /// It may be used.
    Open {
        /// Since when.
        since: u64,
        /// Until when; at that millisecond it is over.
        until: u64,
    },
    /// It was signed by somebody who is no operator any more.
    Void,
    /// It was not agreed to in time.
    Lapsed,
    /// Somebody ended it.
    Revoked {
        /// When.
        at: u64,
        /// It had been open.
        was_open: bool,
    },
    /// Its time is over.
    Over {
        /// Since when.
        at: u64,
    },
}

impl Standing {
    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::ToTell => "to-tell",
            Self::Open { .. } => "open",
            Self::Void => "void",
            Self::Lapsed => "lapsed",
            Self::Revoked { .. } => "revoked",
            Self::Over { .. } => "over",
        }
    }

    /// Was it open, and is no more?
    pub fn is_past(self) -> bool {
        matches!(self, Self::Over { .. } | Self::Revoked { was_open: true, .. })
    }
}

/// What somebody still has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Tell the people.
    Tell,
    /// Look at what was done under it.
    Review,
}

impl Due {
    /// In one word, which is also the command that says it is done.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tell => "told",
            Self::Review => "review",
        }
    }
}

/// What a request is given that uses an exception.
#[derive(Debug)]
pub struct Use {
    /// What it allows.
    pub grant: Grant,
    /// The people whom it names.
    pub named: Arc<Named>,
    /// In which collection.
    pub collection: String,
    /// Until when, in milliseconds since 1970.
    pub until: u64,
}

impl Register {
    /// Takes a step that the ledger has. What does nothing says why: it stays in the ledger, and opens nothing.
    ///
    /// # Errors
    ///
    /// [`ExceptionError`]: its text cannot be read, or its signature does not fit.
    pub fn fold(&self, at: u64, step: &Step) -> Result<(), ExceptionError> {
        self.see(at);
        let mut cases = BTreeMap::clone(&self.cases.load());
        match step {
            Step::Request { text, signature } => {
                let asked = Asked::read(text.as_bytes())?;
                fits(signature, text)?;
                let by = Signed { key: signature.public(), at };
                let first = || Arc::new(Case::new(asked.clone(), by, step.clone()));
                cases.entry(asked.id.clone()).or_insert_with(first);
            }
            Step::Approval { exception, signature } => {
                let case = cases.get_mut(exception).ok_or_else(|| ExceptionError::NoSuchCase(exception.clone()))?;
                fits(signature, &case.asked.text)?;
                Arc::make_mut(case).approved(Signed { key: signature.public(), at }, step);
            }
            Step::Note { text, signature } => {
                let Noted { note, .. } = Noted::read(text.as_bytes())?;
                fits(signature, text)?;
                let case = cases.get_mut(&note.exception).ok_or_else(|| ExceptionError::NoSuchCase(note.exception.clone()))?;
                let case = Arc::make_mut(case);
                let place = match note.what {
                    What::Revoke => &mut case.revoked,
                    What::Told => &mut case.told,
                    What::Review => &mut case.reviewed,
                };
                if place.is_none() {
                    *place = Some((Signed { key: signature.public(), at }, note.reason));
                    case.steps.push((at, step.clone()));
                }
            }
        }
        self.cases.store(Arc::new(cases));
        Ok(())
    }

    /// Every case, in order of when it was asked for.
    pub fn cases(&self) -> Vec<Arc<Case>> {
        let mut all: Vec<Arc<Case>> = self.cases.load().values().cloned().collect();
        all.sort_by(|one, other| (one.by.at, &one.asked.id).cmp(&(other.by.at, &other.asked.id)));
        all
    }

    /// One case.
    pub fn case(&self, id: &ExceptionId) -> Option<Arc<Case>> {
        self.cases.load().get(id).cloned()
    }

    /// The people whom an exception names; nobody where there is none.
    pub fn named(&self, id: &ExceptionId) -> Arc<Named> {
        self.case(id).map(|case| Arc::clone(&case.named)).unwrap_or_default()
    }

    /// The time that counts: the latest that was seen.
    pub fn see(&self, now: u64) -> u64 {
        self.latest.fetch_max(now, Ordering::SeqCst).max(now)
    }

    /// What an exception allows a caller now.
    ///
    /// # Errors
    ///
    /// [`Closed`]; one that is somebody else's is told from one that does not exist by nothing.
    pub fn grant(
        &self,
        id: &ExceptionId,
        caller: &CallerName,
        policy: &Policy,
        operators: &[Operator],
        now: u64,
    ) -> Result<Use, Closed> {
        let unknown = || Closed::Unknown { id: id.clone(), caller: caller.clone() };
        let case = self.case(id).filter(|case| case.asked.request.caller == caller.as_str()).ok_or_else(unknown)?;
        let until = case.open_until(operators, self.see(now))?;
        let request = &case.asked.request;
        let rule = policy.exception(&request.exception);
        if rule.is_some_and(|rule| (rule.opens, rule.tell_subject) != (request.opens, request.tell_subject)) {
            return Err(Closed::PolicyChanged(id.clone()));
        }
        let (categories, words) = (request.category_names(), request.evidence.keys().cloned().collect::<Vec<_>>());
        let opening = Opening {
            caller,
            exception: &request.exception,
            categories: &categories,
            evidence: &words,
            approvers: u8::try_from(case.agreed(operators)).unwrap_or(u8::MAX),
            hours: request.hours,
        };
        let grant = policy.decide_exception(id, &opening, now).map_err(|why| Closed::ByPolicy { id: id.clone(), why })?;
        Ok(Use { grant, named: Arc::clone(&case.named), collection: request.collection.clone(), until })
    }

    /// Until when an exception that was granted is open still.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn still_open(&self, id: &ExceptionId, operators: &[Operator], now: u64) -> Result<u64, Closed> {
        let case = self.case(id).ok_or_else(|| Closed::State { id: id.clone(), state: "void" })?;
        case.open_until(operators, self.see(now))
    }
}

impl Case {
    fn new(asked: Asked, by: Signed, step: Step) -> Self {
        let named = Arc::new(Named::new(asked.request.record_ids()));
        let steps = vec![(by.at, step)];
        Self { asked, by, named, approvals: Vec::new(), steps, told: None, revoked: None, reviewed: None }
    }

    fn approved(&mut self, signed: Signed, step: &Step) {
        let late = signed.at >= self.asked.request.expires;
        if !late && signed.key != self.by.key && self.approvals.iter().all(|there| there.key != signed.key) {
            self.approvals.push(signed);
            self.steps.push((signed.at, step.clone()));
        }
    }

    /// Its id.
    pub fn id(&self) -> &ExceptionId {
        &self.asked.id
    }

    /// What was asked.
    pub fn request(&self) -> &Request {
        &self.asked.request
    }

    /// The very text of that, which is what operators sign.
    pub fn text(&self) -> &str {
        &self.asked.text
    }

    /// The steps that made it what it is, and when each was recorded.
    pub fn steps(&self) -> &[(u64, Step)] {
        &self.steps
    }

    /// Who asked.
    pub fn asked_by(&self) -> Signed {
        self.by
    }

    /// Who agreed.
    pub fn approvals(&self) -> &[Signed] {
        &self.approvals
    }

    /// When a note was recorded, by whom, and what it says.
    pub fn noted(&self, what: What) -> Option<&(Signed, String)> {
        match what {
            What::Revoke => self.revoked.as_ref(),
            What::Told => self.told.as_ref(),
            What::Review => self.reviewed.as_ref(),
        }
    }

    /// How many operators have agreed: each once, and not who asked, neither by name nor by key.
    pub fn agreed(&self, operators: &[Operator]) -> usize {
        let mut names: Vec<&str> = self
            .approvals
            .iter()
            .filter_map(|signed| owner(signed.key, operators))
            .filter(|name| *name != self.asked.request.asked_by)
            .collect();
        names.sort_unstable();
        names.dedup();
        names.len()
    }

    /// How far it is at a time.
    pub fn standing(&self, operators: &[Operator], now: u64) -> Standing {
        let request = &self.asked.request;
        let needed = usize::from(request.approvers);
        // With the signature that makes them enough; the ledger has an order, clocks of several nodes do not.
        let enough = self.approvals.get(..needed).and_then(|first| first.iter().map(|signed| signed.at).max());
        let told = self.told.as_ref().map(|(signed, _)| signed.at).filter(|at| *at < request.expires);
        let since = match (request.tell_subject, enough, told) {
            (_, None, _) | (Tell::Before, Some(_), None) => None,
            (Tell::Before, Some(enough), Some(told)) => Some(enough.max(told)),
            (Tell::After | Tell::Withheld, Some(enough), _) => Some(enough),
        };
        let until = since.map(|since| since.saturating_add(request.open_ms()));
        if let Some((signed, _)) = &self.revoked
            && until.is_none_or(|until| signed.at < until)
        {
            return Standing::Revoked { at: signed.at, was_open: since.is_some_and(|since| since <= signed.at) };
        }
        match since.zip(until) {
            Some((_, until)) if now >= until => Standing::Over { at: until },
            Some((since, until)) if self.is_vouched_for(operators) => Standing::Open { since, until },
            Some(_) => Standing::Void,
            None if now >= request.expires => Standing::Lapsed,
            None if owner(self.by.key, operators) != Some(request.asked_by.as_str()) => Standing::Void,
            None if enough.is_some() => Standing::ToTell,
            None => Standing::Requested { have: u8::try_from(self.agreed(operators)).unwrap_or(u8::MAX) },
        }
    }

    /// What somebody still has to do about it.
    pub fn due(&self, operators: &[Operator], now: u64) -> Vec<Due> {
        let past = self.standing(operators, now).is_past();
        let mut due = Vec::new();
        if past && self.told.is_none() && self.asked.request.tell_subject != Tell::Withheld {
            due.push(Due::Tell);
        }
        if past && self.reviewed.is_none() {
            due.push(Due::Review);
        }
        due
    }

    /// May it stand in what the person is given?
    pub fn may_be_told(&self, operators: &[Operator], now: u64) -> bool {
        self.told.is_some()
            || match self.asked.request.tell_subject {
                Tell::Before => true,
                Tell::After => self.standing(operators, now).is_past(),
                Tell::Withheld => false,
            }
    }

    /// Everybody whose signature it needs is an operator still.
    fn is_vouched_for(&self, operators: &[Operator]) -> bool {
        let request = &self.asked.request;
        let teller = |(signed, _): &(Signed, String)| owner(signed.key, operators).is_some();
        owner(self.by.key, operators) == Some(request.asked_by.as_str())
            && self.agreed(operators) >= usize::from(request.approvers)
            && (request.tell_subject != Tell::Before || self.told.as_ref().is_some_and(teller))
    }

    fn open_until(&self, operators: &[Operator], now: u64) -> Result<u64, Closed> {
        match self.standing(operators, now) {
            Standing::Open { until, .. } => Ok(until),
            state @ (Standing::Requested { .. }
            | Standing::ToTell
            | Standing::Void
            | Standing::Lapsed
            | Standing::Revoked { .. }
            | Standing::Over { .. }) => Err(Closed::State { id: self.asked.id.clone(), state: state.word() }),
        }
    }
}

/// The operator whose key it is; none, too, where two have it.
pub(super) fn owner(key: PublicKey, operators: &[Operator]) -> Option<&str> {
    let mut owners = operators.iter().filter(|operator| operator.public == key);
    owners.next().filter(|_| owners.next().is_none()).map(|operator| operator.name.as_str())
}

fn fits(signature: &Detached, text: &str) -> Result<(), ExceptionError> {
    if !signature.is_about(text) {
        Err(ExceptionError::OtherText)
    } else if !signature.fits(text) {
        Err(ExceptionError::Forged)
    } else {
        Ok(())
    }
}
