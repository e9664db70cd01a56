//! Protects or reveals the values of one body, row by row: envelope, mask, generalise, pseudonym. Sync.
//!
//! A [`Collection`] says what is protected; a [`Plan`] is compiled from it for one row set of the dialect; [`protect`] makes the only body
//! that may go to the database ([`protect_over`] beside what is stored), [`reveal`] rewrites one window of what it answers. `exchange` calls both between `document` (which says
//! what stands where) and `upstream`.
//!
//! Where to look: `envelope` how a value is stored · `deterministic` values that can be found · `seal` nonces and keys of a body · `open`
//! one value under its place · `tokens` values that are in the vault · `index` terms beside values, `matching` what a search by them found · `ids` what it is bound to · `mask`, `generalise`, `pseudonym` the levels between clear and sealed · `protect`,
//! `reveal` the rules · `stored`, `carry`, `pairs` a document that is written back in part · `upkeep` rows in an operator's hand, `rewrap` values under a newer key
//! · `hanging` what hangs on which key.
//!
//! Always holds: the keys of a field come from its ring and no other ([`Field::ring`]), and without it nothing of its values is opened, sealed
//! or removed; no clear text leaves this module but in [`Revealed`], at the level of the grant or from [`open_by_hand`].

mod by_row;
mod carry;
mod deterministic;
mod envelope;
mod gaps;
mod generalise;
mod hanging;
mod ids;
mod index;
mod mask;
mod matching;
mod open;
mod pairs;
mod plan;
mod protect;
mod pseudonym;
mod reveal;
mod rewrap;
#[cfg(test)]
#[path = "rings/tests.rs"]
mod rings;
mod seal;
mod stored;
mod tally;
#[cfg(test)]
mod testing;
mod tokens;
mod upkeep;

pub use by_row::Extent;
pub use carry::rows_that_need_the_stored;
pub use deterministic::{
    NotCanonical, TermError, deterministic_terms, index_terms, may_be_searched, open_deterministic_envelope,
};
pub use envelope::open_envelope;
pub use generalise::{Generalise, ParseGeneraliseError};
pub use hanging::{Hanging, RowHangs, anywhere, hanging};
pub use index::{DEFAULT_TERM_BITS, Index, IndexError, Probe, TERM_BITS};
pub use mask::{Mask, ParseMaskError};
pub use matching::Sought;
pub use plan::{Collection, Field, OnBadValue, Plan, Protection, Subject, facts};
pub use protect::{
    Patched, Protected, ProtectedBody, RowWrite, WriteError, may_remove, patch_needs_subject, protect, protect_over,
    protect_patch, stays_closed,
};
pub use reveal::{Found, RevealError, Revealed, reveal, reveal_found};
pub use rewrap::{Hangs, Lines, RewrapRow, Trouble, rewrap};
pub use stored::{Before, Stored, StoredRow};
pub use tally::Tally;
pub use tokens::{Tokens, bytes_shown, token_term, tokens_of_write, tokens_shown, tokens_stored};
pub use upkeep::{SealedRow, StandIns, UpkeepRow, open_by_hand, seal_clear};
