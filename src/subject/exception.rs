//! Exceptions: asked for, agreed to, used, revoked, told of and looked at again. Each of these is a step, signed by an operator over a text
//! that says everything, and an entry of the ledger, so that every node reads the same steps in the same order.
//!
//! Always holds: a step whose signature does not fit its text does nothing; an exception opens with the last thing that it needs, for the
//! time that was signed for, and never again; nothing here says what is shown ([`crate::purpose::Policy::decide_exception`] does, by the
//! policy in force), and nothing prints whom an exception names (T13). No runtime, no sockets, no files. `exchange` uses exceptions,
//! `cli/exception` and `admin` record their steps.
//!
//! | file | holds |
//! |---|---|
//! | `text` | what is signed: the request, and notes on it |
//! | `wish` | a request made of what an operator asks for, and whether the policy has such an exception |
//! | `register` | every step, folded into cases; whether one is open |
//! | `admit`, `record` | whether a step may be recorded, and how it is |

mod admit;
mod error;
mod record;
mod register;
#[cfg(test)]
mod tests;
mod text;
mod wish;

use serde::{Deserialize, Serialize};

use crate::base::ExceptionId;
use crate::crypto;
use crate::keys::Detached;

pub use admit::House;
pub use error::{Closed, ExceptionError};
pub use record::{NotTaken, Taken};
pub use register::{Case, Due, Register, Signed, Standing, Use};
pub use text::{Asked, Note, Noted, Request, What};
pub use wish::Wish;

/// One step of one exception, as the ledger keeps it. When it was recorded stands beside it there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// It is asked for.
    Request {
        /// The text of an [`Asked`].
        text: String,
        /// Of the operator who asks.
        signature: Detached,
    },
    /// An operator agrees.
    Approval {
        /// To which.
        #[serde(with = "crate::keys::spelled::text")]
        exception: ExceptionId,
        /// Over the request's text.
        signature: Detached,
    },
    /// Something else is said of it: it is revoked, the person was told, it was looked at again.
    Note {
        /// The text of a [`Noted`].
        text: String,
        /// Of the operator who says it.
        signature: Detached,
    },
}

/// Without the texts, which name people (T13).
impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("is", &self.word()).field("of", &self.exception()).finish_non_exhaustive()
    }
}

impl Step {
    /// What tells this step from every other: the same one twice is one.
    pub fn key(&self) -> String {
        match self {
            Self::Request { text, .. } => format!("exception-request-{}", text::hash(text)),
            Self::Approval { exception, signature } => {
                format!("exception-approval-{exception}-{}", crypto::base64url(&signature.public().0))
            }
            Self::Note { text, .. } => format!("exception-note-{}", text::hash(text)),
        }
    }

    /// Which exception it is of; None if its text cannot be read.
    pub fn exception(&self) -> Option<ExceptionId> {
        match self {
            Self::Request { text, .. } => Asked::read(text.as_bytes()).ok().map(|asked| asked.id),
            Self::Approval { exception, .. } => Some(exception.clone()),
            Self::Note { text, .. } => Noted::read(text.as_bytes()).ok().map(|noted| noted.note.exception),
        }
    }

    /// What is done, in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Request { .. } => "requested",
            Self::Approval { .. } => "approved",
            Self::Note { text, .. } => Noted::read(text.as_bytes()).map_or("noted", |noted| noted.note.what.done()),
        }
    }
}
