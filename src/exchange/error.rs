//! Why an exchange ends without the database's answer. `front/http/reply.rs` alone turns this into a status.

use std::time::Duration;

use crate::audit::AuditError;
use crate::base::{CategoryName, PurposeName};
use crate::caller::Unknown;
use crate::dialect::{Refused, TargetError};
use crate::document::WalkError;
use crate::encoding::{CODINGS, DecodeError};
use crate::field::{RevealError, TermError, WriteError};
use crate::keys::KeyError;
use crate::purpose::{Level, Refusal};
use crate::subject::exception::Closed;
use crate::upstream::UpstreamError;
use crate::vault::VaultError;

use super::Context;

/// An error with what was known when it happened.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// Names for the audit.
    pub context: Context,
}

impl Failure {
    /// For an exchange that ended in a panic: a defect of ours, contained.
    pub fn panicked() -> Self {
        Self { error: Error::Internal("an exchange panicked"), context: Context::default() }
    }
}

/// What went wrong, by the step it happened in. No variant holds a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The head of the request is ambiguous.
    #[error("{0}")]
    Head(&'static str),
    /// The client expects what we do not know.
    #[error("the header Expect may say 100-continue only; leave anything else out")]
    Expectation,
    /// The target is not canonical (T31).
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The dialect does not let this request through.
    #[error("{}", .0.detail)]
    Dialect(Refused),
    /// The caller is not known.
    #[error(transparent)]
    Caller(#[from] Unknown),
    /// The policy grants nothing.
    #[error(transparent)]
    Purpose(#[from] Refusal),
    /// An exception is declared in place of a purpose, and is not open to this request.
    #[error(transparent)]
    Exception(#[from] Closed),
    /// A whole copy is asked for, or sent, by a caller that does not see every protected member alike.
    #[error(
        "replication copies documents whole, but {purpose} sees {category} {level}: a copy would lack what it does not see. Replicate for a purpose that sees every protected member clear, or every one sealed"
    )]
    ViewNotWhole {
        /// The purpose granted.
        purpose: PurposeName,
        /// The first category that differs from the first one, or is neither clear nor sealed.
        category: CategoryName,
        /// How it is seen.
        level: Level,
    },
    /// A stored value of a whole copy cannot be shown.
    #[error(
        "replication copies documents whole, but a stored value of one cannot be shown as the collection stands; an alarm names the collection"
    )]
    CopyNotWhole,
    /// The terms of the purpose are not met for whom the document is about.
    #[error("{purpose} may not have attachments of this document: {why}")]
    AttachmentWithheld {
        /// The purpose granted.
        purpose: PurposeName,
        /// Which rule is in the way.
        why: String,
    },
    /// The purpose may write nothing of the collection.
    #[error("{purpose} may write no protected category of this collection, so it may not store {what} in it either")]
    NothingWritable {
        /// The purpose granted.
        purpose: PurposeName,
        /// `attachments`, `design documents or indexes`.
        what: &'static str,
    },
    /// A feed ends because the configuration it began with is no longer in force, or the proxy stops.
    #[error("the feed ends because the proxy was reloaded or stops; ask again from where it ended")]
    FeedEnded,
    /// To find by a value is to see it, and this purpose does not see it.
    #[error("{purpose} sees {category} {level}, so it may not {what}")]
    SearchRefused {
        /// The purpose granted.
        purpose: PurposeName,
        /// What is searched.
        category: CategoryName,
        /// How it is seen.
        level: Level,
        /// `search by it`, `ask whether it is there`.
        what: &'static str,
    },
    /// Nothing stored can be equal to what is searched.
    #[error(transparent)]
    Term(TermError),
    /// The request body is larger than the limit.
    #[error("a body on a protected collection may have at most {max} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The request body comes in a coding that is not decoded, or in several.
    #[error(
        "a body on a protected collection comes as it is or in one Content-Encoding of {CODINGS}; what cannot be read cannot be protected"
    )]
    CodingUnknown,
    /// The request body cannot be decoded.
    #[error("the body cannot be decoded: {0}")]
    Coding(DecodeError),
    /// The request body did not arrive in time.
    #[error("the body arrived too slowly: nothing more within {ms} ms, or too little of it in all")]
    BodyTimeout {
        /// Longest wait for a piece, in milliseconds.
        ms: u128,
    },
    /// The proxy is full: seats or memory are used up.
    #[error("the proxy is at its limit of {0}; come again")]
    Overloaded(&'static str),
    /// Who asks, asks too much.
    #[error("this caller is at its limit ({limit}); come again later")]
    RateLimited {
        /// `rate`, `concurrency`, `failures`, `searches`.
        limit: &'static str,
        /// After this it may be let in again.
        wait: Duration,
    },
    /// The client broke off its body.
    #[error("the body broke off")]
    BodyBroken,
    /// A body where the route takes none.
    #[error("this route takes no body")]
    BodyUnexpected,
    /// The request body is not acceptable JSON.
    #[error(transparent)]
    RequestJson(WalkError),
    /// The write may not be stored as given.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What a write builds on is not what is stored.
    #[error("{0}")]
    Conflict(Conflict),
    /// The document that a write replaces could not be read.
    #[error("the document that this write replaces could not be read: the database answered {status}")]
    NotRead {
        /// What it answered.
        status: u16,
    },
    /// The database could not be asked.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The database's reply cannot be read.
    #[error("the database answered {status} with a body that cannot be checked ({why}); it is withheld")]
    ReplyUnreadable {
        /// Status of the database's reply.
        status: u16,
        /// What is wrong with the body; never its text.
        why: String,
    },
    /// A stored value cannot be shown.
    #[error(transparent)]
    Reveal(#[from] RevealError),
    /// The policy or the caller changed while the reply was under way.
    #[error("what this caller may see changed while the reply was under way; ask again")]
    GrantEnded,
    /// What is known of data subjects may be out of date, and the grant turns on it.
    #[error(
        "what people have agreed to may be out of date on this node, so nothing that turns on it is shown or stored; ask another one, or again in a moment"
    )]
    FactsStale,
    /// The token vault does not serve.
    #[error(transparent)]
    Vault(VaultError),
    /// A key is not to be had.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The node's ring lacks what others protect under.
    #[error(transparent)]
    Outdated(KeyError),
    /// Nothing can be recorded, so nothing is revealed.
    #[error("the audit log is unavailable, so nothing is revealed or stored: {0}")]
    Audit(#[from] AuditError),
    /// A defect of ours, found by a check.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        if error == DecodeError::Memory { Self::Internal("there is no memory for a decoder") } else { Self::Coding(error) }
    }
}

impl Error {
    /// Turned away for there being too much, whatever it was: counted, but neither recorded nor logged one by one, or a flood
    /// would fill the disk.
    pub fn is_shed(&self) -> bool {
        matches!(self, Self::Overloaded(_) | Self::RateLimited { .. })
    }

    /// The request's body may not have been read to its end, so that nothing can follow it on its connection.
    pub fn may_leave_body_unread(&self) -> bool {
        self.is_shed()
            || matches!(
                self,
                Self::Head(_)
                    | Self::Expectation
                    | Self::Target(_)
                    | Self::Dialect(_)
                    | Self::Caller(_)
                    | Self::Purpose(_)
                    | Self::Exception(_)
                    | Self::ViewNotWhole { .. }
                    | Self::NothingWritable { .. }
                    | Self::AttachmentWithheld { .. }
                    | Self::CodingUnknown
                    | Self::BodyTooLarge { .. }
                    | Self::BodyTimeout { .. }
                    | Self::BodyBroken
                    | Self::BodyUnexpected
                    // Where the body passes.
                    | Self::Upstream(_)
            )
    }
}

/// Why a write conflicts with what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The revision it names is not there any more.
    #[error("the document has changed since it was read; read it again, and write again")]
    Revision,
    /// `If-Match` or `If-Unmodified-Since` names another state.
    #[error(
        "the document is not the one that If-Match or If-Unmodified-Since names; read it again, and write again with If-Match"
    )]
    Condition,
    /// The write named none, and others kept coming in between.
    #[error("the document was changed by others whenever it was about to be replaced; read it again, and write again")]
    Contended,
}
