//! Why an exception is not recorded, or not open: what stands in the way, and the way out. Names rules, operators and ids; never a person
//! whom an exception names, and never what is on record.

use crate::base::{CallerName, ExceptionId};
use crate::keys::KeyError;
use crate::purpose::StaysClosed;

/// Why a step is not recorded. For operators.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExceptionError {
    /// No such rule.
    #[error("the policy has no exception {name}; it has {known}")]
    NoSuchException {
        /// As asked.
        name: String,
        /// What there is.
        known: String,
    },
    /// Of somebody else.
    #[error("exception {exception} is not for {caller}; it is for {known}")]
    NotTheirs {
        /// Which.
        exception: String,
        /// As asked.
        caller: String,
        /// Who may.
        known: String,
    },
    /// No such collection.
    #[error("there is no collection {name}; there are {known}")]
    NoSuchCollection {
        /// As asked.
        name: String,
        /// What there is.
        known: String,
    },
    /// No such category.
    #[error("there is no category {name}; there are {known}")]
    NoSuchCategory {
        /// As asked.
        name: String,
        /// What there is.
        known: String,
    },
    /// The rule, or a never, keeps it closed.
    #[error(
        "exception {exception} does not open {category}: leave it out, or see `sudare policy explain` and [never] in the policy"
    )]
    NotOpened {
        /// Which.
        exception: String,
        /// What is asked for.
        category: String,
    },
    /// Nothing is asked for.
    #[error("no category is named: give --category NAME, once for each")]
    NoCategory,
    /// Nobody is named.
    #[error("nobody is named: give --subject ID, once for each person")]
    NoSubject,
    /// Too many people.
    #[error("{0} people are named; one exception is for at most 500: ask for several")]
    ManySubjects(usize),
    /// An id that is none.
    #[error("the {0}. --subject is no id of a person: 1 to 512 bytes, as it stands in documents")]
    BadSubject(usize),
    /// The same twice.
    #[error("a {0} is named twice")]
    Twice(&'static str),
    /// Something is not on record.
    #[error("exception {exception} needs on record: {missing}. Give --evidence WORD=TEXT for each")]
    Evidence {
        /// Which.
        exception: String,
        /// What is missing.
        missing: String,
    },
    /// A word that nobody asks for.
    #[error("exception {exception} has no evidence {word}; it asks for {known}")]
    NotEvidence {
        /// Which.
        exception: String,
        /// As given.
        word: String,
        /// What it asks for.
        known: String,
    },
    /// What is on record is nothing.
    #[error("what is on record for {0} is empty, longer than 1,000 bytes, or of several lines")]
    EvidenceText(String),
    /// Too long.
    #[error("exception {exception} is open for at most {most} h; asked are {asked}")]
    Hours {
        /// Which.
        exception: String,
        /// As asked.
        asked: u32,
        /// The policy's.
        most: u32,
    },
    /// Another policy is in force than it was asked for under.
    #[error("the policy has changed what exception {0} needs since this was asked for: ask anew")]
    PolicyChanged(String),
    /// Not a request.
    #[error("not a request for an exception as `sudare exception request` writes it")]
    NotARequest,
    /// Not a note.
    #[error("not a note on an exception as `sudare exception` writes it")]
    NotANote,
    /// Not a signature.
    #[error("{0}: not a signature as `sudare exception approve` writes it")]
    NotASignature(String),
    /// No reason.
    #[error("the reason is empty, longer than 1,000 bytes, or of several lines: say it in one sentence, without a name")]
    Reason,
    /// There is none.
    #[error("there is no exception {0}: `sudare exception list` shows what there is")]
    NoSuchCase(ExceptionId),
    /// Of another controller.
    #[error("this is about the data of controller \"{found}\", not \"{expected}\": use the configuration it was written with")]
    Foreign {
        /// In the text.
        found: String,
        /// In the configuration.
        expected: String,
    },
    /// A signature of something else.
    #[error("the signature is one of another text: sign this request with `sudare exception approve`")]
    OtherText,
    /// It does not fit.
    #[error("the signature does not fit: it, or what it signs, was changed")]
    Forged,
    /// Nobody's key.
    #[error(
        "signed with a key that no operator has (public_key = \"{0}\"): [operator.NAME] in sudare.toml says whose key is whose"
    )]
    UnknownOperator(String),
    /// It says that somebody else asks.
    #[error("it says that {says} speaks, and is signed by {signer}: sign what you say yourself")]
    OtherAsker {
        /// In the text.
        says: String,
        /// By the signature.
        signer: String,
    },
    /// Nobody can agree.
    #[error("{needed} others must agree, and the configuration names {others}: `sudare keys operator NAME` makes a key for each")]
    TooFewOperators {
        /// How many must.
        needed: u8,
        /// How many there are.
        others: usize,
    },
    /// It is there.
    #[error("exception {0} was asked for already; `sudare exception show {0}`")]
    AskedAlready(ExceptionId),
    /// Too late.
    #[error("the request was not agreed to in time: ask anew with `sudare exception request`")]
    Expired,
    /// Too early.
    #[error("the request lies in the future by this machine's clock: set the clock right")]
    NotYet,
    /// One's own.
    #[error("{0} asked for it, so others have to agree")]
    OwnRequest(String),
    /// Twice.
    #[error("{0} has agreed already; it takes another operator")]
    ApprovedTwice(String),
    /// Nobody else is needed.
    #[error("enough have agreed to {0} already")]
    Enough(ExceptionId),
    /// It is past.
    #[error("exception {id} is {state}: nothing can be done about it any more; ask anew with `sudare exception request`")]
    Ended {
        /// Which.
        id: ExceptionId,
        /// How it is.
        state: &'static str,
    },
    /// Said before.
    #[error("exception {id} was {done} already; `sudare exception show {id}` says by whom")]
    NotedAlready {
        /// Which.
        id: ExceptionId,
        /// What was done.
        done: &'static str,
    },
    /// It opens nothing yet.
    #[error("nothing was opened under {0} yet, so there is nothing to tell")]
    NothingToTell(ExceptionId),
    /// It goes on.
    #[error("exception {id} is {state}: it is reviewed once it was open and is over")]
    NotOver {
        /// Which.
        id: ExceptionId,
        /// How it is.
        state: &'static str,
    },
    /// One's own.
    #[error("{0} asked for it, so somebody else looks at what was done")]
    OwnReview(String),
    /// No randomness.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// Why an exception is not open to whoever wants to use it. For the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// There is none, or it is somebody else's.
    #[error("there is no exception {id} for {caller}")]
    Unknown {
        /// As asked.
        id: ExceptionId,
        /// Who asked.
        caller: CallerName,
    },
    /// What was declared is no id.
    #[error("what is declared begins like the id of an exception and is none")]
    NoId,
    /// The caller's token is for something else.
    #[error("this token is not for exception {0}: ask its issuer for one that names it")]
    NotInToken(ExceptionId),
    /// It is not open.
    #[error("exception {id} is {state}")]
    State {
        /// Which.
        id: ExceptionId,
        /// How it is, in one word.
        state: &'static str,
    },
    /// The policy in force opens less.
    #[error("exception {id} is not open by the policy in force: {why}")]
    ByPolicy {
        /// Which.
        id: ExceptionId,
        /// Why.
        why: StaysClosed,
    },
    /// The policy in force asks for something else.
    #[error("exception {0} was agreed to under a policy that opened something else, or told people at another time: ask anew")]
    PolicyChanged(ExceptionId),
    /// Another collection.
    #[error("exception {0} is not for this collection")]
    OtherCollection(ExceptionId),
    /// It opens something else.
    #[error("exception {id} opens {opens} alone: {not}")]
    Not {
        /// Which.
        id: ExceptionId,
        /// What it opens.
        opens: &'static str,
        /// What it does not open, in a sentence.
        not: &'static str,
    },
}
