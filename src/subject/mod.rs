//! What is known of data subjects: an append-only ledger in the store, and what follows from it, in memory.
//!
//! People agree, object, grow older, are told of a new policy, accept it; an application knows of an open ticket; operators ask for an
//! exception. Each is an [`Entry`]. The [`Ledger`] puts entries into rows that are numbered without a gap, chained and sealed, and every node
//! applies them in that order to its [`People`]; a [`Question`] asks those for the facts that one caller's purpose turns on.
//!
//! Always holds: whoever has read up to a number has everything up to it; a row that does not open, does not follow on the one before it or
//! says what this release does not know stops the reading, for a withdrawal that is passed over would leave open what a person closed;
//! nothing here prints whom an entry is about, or what it rests on (T13).
//!
//! `app` keeps the ledger read and lets others post to it; `exchange` asks; `cli/subject` is for operators.
//!
//! Where to look: `entry` what is recorded · `people` what follows · `question` the facts of a row · `row` how a row is sealed · `ledger` the
//! order, appending, following · `posted` what others send, checked · `receipt` what they get · `exception` dated openings.

mod entry;
pub mod exception;
mod ledger;
mod people;
mod posted;
mod question;
mod receipt;
mod row;
#[cfg(test)]
mod tests;

pub use entry::{About, Entry, Evidence, Recorder, Says, Subject, Under, What};
pub use ledger::{AppendError, Ledger, LedgerError, Placed};
pub use people::{People, Standing, Statement, Topic};
pub use posted::{Fault, MOST, Posted, RECORDS, object, objects, read};
pub use question::Question;
pub use receipt::{receipt, time};

/// Longest time for which a node's facts are good without having looked whether there are newer ones, in milliseconds.
pub const FRESH_MS: u64 = 5_000;
/// So far ahead of the clock a statement may be, in milliseconds: the clocks of those who post differ.
pub const AHEAD_MS: u64 = 5 * 60 * 1_000;
