//! Why a version is not destroyed: what stands in the way, and the way out.

use std::path::PathBuf;

use super::super::super::{KeyError, LineName};
use super::super::census::NotZero;
use super::SIGNERS;
use crate::base::Kid;
use crate::crypto;

/// Why a version is not destroyed. Names versions, operators and files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestroyError {
    /// The ring cannot be read, or not be written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An audit version.
    #[error(
        "{0} is of the line audit: the lines of the audit log and the names of data subjects in it and in the store hang on it for as long as they are kept, and cannot be counted to zero; it is not destroyed"
    )]
    AuditLine(Kid),
    /// It is gone.
    #[error("{0} is destroyed already; `sudare keys receipt` shows by whom")]
    Destroyed(Kid),
    /// Something hangs on it, or may.
    #[error("{kid} of line {line} is not destroyed: {why}")]
    NotZero {
        /// Its line.
        line: LineName,
        /// Its id.
        kid: Kid,
        /// What is not proved.
        why: NotZero,
    },
    /// Nothing hangs on it, but not for long enough.
    #[error(
        "{kid} of line {line} is not destroyed: nothing hangs on it since {since}, but backups are kept for {days} days ([backups] keep_days), and one from before would need it: wait until {until}, then run `sudare keys census` again"
    )]
    TooSoon {
        /// Its line.
        line: LineName,
        /// Its id.
        kid: Kid,
        /// Since when, RFC 3339.
        since: String,
        /// The window.
        days: u64,
        /// Until when, RFC 3339.
        until: String,
    },
    /// The last census is too old to ask on.
    #[error("the last census ended {0}: run `sudare keys census` again, so that those who sign see what holds now")]
    Stale(String),
    /// Nobody could sign.
    #[error(
        "it takes {SIGNERS} operators to destroy a key, and the configuration names {0}: `sudare keys operator NAME` makes a key for each and prints the lines for sudare.toml"
    )]
    TooFewOperators(usize),
    /// Not a request's file.
    #[error("not a request to destroy keys as `sudare keys destroy KID --request FILE` writes it")]
    NotARequest,
    /// Not a signature's file.
    #[error("{0}: not a signature as `sudare keys sign` writes it")]
    NotASignature(String),
    /// Not a receipt's file.
    #[error("not a receipt as `sudare keys destroy` writes it")]
    NotAReceipt,
    /// A receipt that was changed.
    #[error("this receipt was changed after it was signed, or is none: nothing in it is to be believed")]
    ForgedReceipt,
    /// Of another ring.
    #[error("this is about {what} \"{found}\", not \"{expected}\": use the configuration it was written with")]
    Foreign {
        /// `controller` or `ring`.
        what: &'static str,
        /// In the file.
        found: String,
        /// In the configuration.
        expected: String,
    },
    /// Its time is over.
    #[error("the request expired {0}: write a new one with `sudare keys destroy KID --request FILE` and have it signed")]
    Expired(String),
    /// Its time has not begun.
    #[error("the request is of {0}, which is in the future by this machine's clock: set the clock right")]
    NotYet(String),
    /// The ring has changed since.
    #[error(
        "the request is for revision {asked} of the ring, which is at {found}: keys were moved since it was signed. Write a new one with `sudare keys destroy KID --request FILE` and have it signed"
    )]
    OldRequest {
        /// In the request.
        asked: u64,
        /// The ring's.
        found: u64,
    },
    /// What it says of a version is not so.
    #[error(
        "what the request says of {0} is not what the ring says: write a new one with `sudare keys destroy KID --request FILE`"
    )]
    OtherVersion(Kid),
    /// The configuration is not the one that was signed for.
    #[error(
        "collection {0} was counted when this was signed for, and is not any more: put it back into the configuration, or write a new request and have it signed"
    )]
    NotCounted(String),
    /// A signature of another request.
    #[error("{0}: signs another request: have this one signed with `sudare keys sign`")]
    OtherRequest(String),
    /// A signature of a key that no operator has.
    #[error(
        "{file}: signed with a key that no operator has (public_key = \"{public_key}\"): [operator.NAME] in sudare.toml says whose key is whose"
    )]
    UnknownOperator {
        /// The signature's file.
        file: String,
        /// Its key.
        public_key: String,
    },
    /// It does not fit.
    #[error("{0}: the signature does not fit the request: one of the two was changed")]
    Forged(String),
    /// Two operators with one key.
    #[error(
        "the operators {one} and {other} have one key, so it cannot be told who signed: give each a key of their own with `sudare keys operator NAME`"
    )]
    SharedKey {
        /// One.
        one: String,
        /// The other.
        other: String,
    },
    /// One operator twice.
    #[error("operator {0} signed twice; it takes two different operators")]
    SignedTwice(String),
    /// Not enough signatures.
    #[error(
        "{0} of {SIGNERS} signatures: each operator runs `sudare keys sign REQUEST --key FILE`; give the files with --signature"
    )]
    TooFew(usize),
    /// The last census is not the one that was made for this.
    #[error("the ring or its evidence changed while the census ran, so nothing was destroyed: run the same command again")]
    Overtaken,
    /// It cannot be recorded.
    #[error("the audit log of operators cannot be written: {0}: nothing is destroyed unrecorded")]
    NotRecorded(String),
    /// The secrets are gone, the record of it is not whole.
    #[error("the keys are destroyed, but {0}: run the same command again, which finishes the receipt")]
    Unfinished(String),
    /// No private key, or not one that was asked for.
    #[error("{path}: {why}", path = .path.display())]
    OperatorKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: crypto::PrivateKeyError,
    },
}
