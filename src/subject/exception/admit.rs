//! Whether a step may be recorded: what an operator is told before anything stands in the ledger for ever.
//!
//! Always holds: what this lets through folds, and counts. What got into the ledger by another way is judged again where it is used.

use super::register::{Case, Register, Standing, owner};
use super::text::{Asked, Noted, What};
use super::{ExceptionError, Step};
use crate::keys::{Detached, Operator};
use crate::purpose::{Policy, Tell};

/// How far a request's time may lie ahead of this machine's.
const AHEAD_MS: u64 = 5 * 60_000;

/// What steps are judged by: the configuration in force, and the time.
#[derive(Debug, Clone, Copy)]
pub struct House<'a> {
    /// Whose data.
    pub controller: &'a str,
    /// Which exceptions there are.
    pub policy: &'a Policy,
    /// Which collections.
    pub collections: &'a [&'a str],
    /// Who may sign.
    pub operators: &'a [Operator],
    /// The time.
    pub now: u64,
}

impl Register {
    /// Judges a step. The answer is who signed it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with a request; the first thing that is wrong with another step.
    pub fn admit(&self, step: &Step, house: &House<'_>) -> Result<String, Vec<ExceptionError>> {
        let one = |error| vec![error];
        match step {
            Step::Request { text, signature } => self.admit_request(text, signature, house),
            Step::Approval { exception, signature } => {
                let case = self.case(exception).ok_or_else(|| one(ExceptionError::NoSuchCase(exception.clone())))?;
                self.admit_approval(&case, signature, house).map_err(one)
            }
            Step::Note { text, signature } => self.admit_note(text, signature, house).map_err(one),
        }
    }

    fn admit_request(&self, text: &str, signature: &Detached, house: &House<'_>) -> Result<String, Vec<ExceptionError>> {
        let one = |error| vec![error];
        let asked = Asked::read(text.as_bytes()).map_err(one)?;
        let request = &asked.request;
        of(&request.controller, house).map_err(one)?;
        let signer = signer(signature, text, house).map_err(one)?;
        if request.asked_by != signer {
            return Err(one(ExceptionError::OtherAsker { says: request.asked_by.clone(), signer }));
        }
        if self.case(&asked.id).is_some() {
            return Err(one(ExceptionError::AskedAlready(asked.id)));
        }
        if house.now >= request.expires {
            return Err(one(ExceptionError::Expired));
        }
        if request.made > house.now.saturating_add(AHEAD_MS) {
            return Err(one(ExceptionError::NotYet));
        }
        let mut wrong = request.against(house.policy, house.collections);
        let others = house.operators.iter().filter(|operator| operator.name != signer).count();
        if others < usize::from(request.approvers) {
            wrong.push(ExceptionError::TooFewOperators { needed: request.approvers, others });
        }
        if wrong.is_empty() { Ok(signer) } else { Err(wrong) }
    }

    fn admit_approval(&self, case: &Case, signature: &Detached, house: &House<'_>) -> Result<String, ExceptionError> {
        of(&case.request().controller, house)?;
        let signer = signer(signature, case.text(), house)?;
        if signature.public() == case.asked_by().key || signer == case.request().asked_by {
            return Err(ExceptionError::OwnRequest(signer));
        }
        let again =
            |signed: &super::Signed| signed.key == signature.public() || owner(signed.key, house.operators) == Some(&signer);
        match case.standing(house.operators, self.see(house.now)) {
            _ if case.approvals().iter().any(again) => Err(ExceptionError::ApprovedTwice(signer)),
            Standing::Requested { .. } => Ok(signer),
            Standing::Lapsed => Err(ExceptionError::Expired),
            Standing::ToTell | Standing::Open { .. } => Err(ExceptionError::Enough(case.id().clone())),
            state @ (Standing::Void | Standing::Revoked { .. } | Standing::Over { .. }) => {
                Err(ExceptionError::Ended { id: case.id().clone(), state: state.word() })
            }
        }
    }

    fn admit_note(&self, text: &str, signature: &Detached, house: &House<'_>) -> Result<String, ExceptionError> {
        let Noted { note, .. } = Noted::read(text.as_bytes())?;
        of(&note.controller, house)?;
        let signer = signer(signature, text, house)?;
        if note.by != signer {
            return Err(ExceptionError::OtherAsker { says: note.by, signer });
        }
        let case = self.case(&note.exception).ok_or(ExceptionError::NoSuchCase(note.exception))?;
        let id = case.id().clone();
        if case.noted(note.what).is_some() {
            return Err(ExceptionError::NotedAlready { id, done: note.what.done() });
        }
        let state = case.standing(house.operators, self.see(house.now));
        let is_too_late = match note.what {
            What::Revoke => matches!(state, Standing::Lapsed | Standing::Revoked { .. } | Standing::Over { .. }),
            What::Told => state == Standing::Lapsed,
            What::Review => false,
        };
        if is_too_late {
            return Err(ExceptionError::Ended { id, state: state.word() });
        }
        let is_asked_for = matches!(state, Standing::Requested { .. } | Standing::ToTell);
        if note.what == What::Told && is_asked_for && case.request().tell_subject != Tell::Before {
            return Err(ExceptionError::NothingToTell(id));
        }
        if note.what == What::Review && !state.is_past() {
            return Err(ExceptionError::NotOver { id, state: state.word() });
        }
        if note.what == What::Review && signer == case.request().asked_by {
            return Err(ExceptionError::OwnReview(signer));
        }
        Ok(signer)
    }
}

fn of(controller: &str, house: &House<'_>) -> Result<(), ExceptionError> {
    if controller == house.controller {
        Ok(())
    } else {
        Err(ExceptionError::Foreign { found: controller.to_owned(), expected: house.controller.to_owned() })
    }
}

/// The operator who signed a text.
fn signer(signature: &Detached, text: &str, house: &House<'_>) -> Result<String, ExceptionError> {
    if !signature.is_about(text) {
        return Err(ExceptionError::OtherText);
    }
    if !signature.fits(text) {
        return Err(ExceptionError::Forged);
    }
    let public_key = || crate::crypto::base64url(&signature.public().0);
    let operator = owner(signature.public(), house.operators);
    operator.map(str::to_owned).ok_or_else(|| ExceptionError::UnknownOperator(public_key()))
}
