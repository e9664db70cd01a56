//! What looks like personal data: by the names of members and by their values, in some fifteen languages.
//!
//! Two users. `sudare discover` ([`Paths`], [`propose`]) reads sample documents and proposes a field map; the leak guard of `exchange`
//! ([`guard`]) looks at a sample of what is written for members that nobody mapped. Neither decides anything: people do.
//!
//! Always holds: only counts are kept and given out, never a value, nor a member's name that looks like one (`paths::is_value`); memory is
//! bounded whatever the documents are; no text makes it panic. `docs/discovery.md` says how often it is right, as measured.
//!
//! Pure: no runtime, no sockets, no files. `signs` looks at one value, with `contact`, `checks`, `dates`, `address`, `person` on the small lists of
//! `lists`; `member` reads a member's name; `paths` counts; `proposal` judges.

mod address;
mod category;
mod checks;
mod contact;
mod dates;
pub mod guard;
mod lists;
mod member;
mod paths;
mod person;
mod proposal;
mod signs;
#[cfg(test)]
mod tests;
mod text;

pub use category::{CATEGORIES, Category, Suggestion};
pub use member::{Telling, telling};
pub use paths::{MAX_PATHS, NotADocument, Paths};
pub use proposal::{Evidence, Found, Proposal, WORTH_TELLING, propose};
