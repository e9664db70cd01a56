//! Puts a step into the ledger: judged by what this node has read up to now, placed, and folded before it is answered.

use std::sync::Arc;

use super::super::{AppendError, Entry, Ledger, LedgerError, Recorder};
use super::admit::House;
use super::{Case, ExceptionError, Standing, Step};

/// A step that was recorded.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The exception, with the step in it.
    pub case: Arc<Case>,
    /// Who signed the step.
    pub signer: String,
    /// What was done, in one word: `requested`, `approved`, `opened` if that was the last thing it needed, `revoked`, `told`, `reviewed`.
    pub done: &'static str,
    /// How far it is now.
    pub standing: Standing,
}

/// Why a step was not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// It may not be.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Refused(Vec<ExceptionError>),
    /// The ledger cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] AppendError),
}

impl Ledger {
    /// Records a step of an exception.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]; nothing was recorded, but where the store did not say.
    pub async fn take_step(self: &Arc<Self>, step: Step, house: &House<'_>) -> Result<Taken, NotTaken> {
        self.read().await.map_err(AppendError::from)?;
        let register = self.exceptions();
        let signer = register.admit(&step, house).map_err(NotTaken::Refused)?;
        let standing = |case: &Case| case.standing(house.operators, register.see(house.now));
        let id = step.exception();
        let before = id.as_ref().and_then(|id| register.case(id)).map(|case| standing(&case));
        let (key, word) = (step.key(), step.word());
        let what = super::super::What::Exception { step: Box::new(step) };
        self.append(vec![Entry { id: key, at: 0, by: Recorder::Operator(signer.clone()), what }]).await?;
        let case = id.and_then(|id| register.case(&id)).ok_or(AppendError::Ledger(LedgerError::Ended))?;
        let standing = standing(&case);
        let is_open = |standing: Standing| matches!(standing, Standing::Open { .. });
        let opened = is_open(standing) && !before.is_some_and(is_open);
        Ok(Taken { case, signer, done: if opened { "opened" } else { word }, standing })
    }
}
