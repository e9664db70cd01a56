//! Who may see what, and why: the policy, compiled, and the grant it yields. Pure.
//!
//! `config` reads `policy.toml` into a [`PolicySpec`]; [`Policy::compile`] checks it whole and makes a dense table of levels per
//! caller × purpose; [`Policy::decide`] yields a [`Grant`] or a [`Refusal`] for one request. The effective level is the greatest
//! lower bound of every rule that applies: `purpose.reveal` (not listed = absent), the recipient's `at_most`, and every limit that
//! the facts of the data subject bring to bear ([`Grant::row`]). A policy that would do what a `never` names does not load.
//!
//! Always holds: a grant comes from [`Policy::decide`], or [`Policy::decide_exception`], alone; adding any rule but a purpose or an exception, or removing a line of
//! `reveal`, never reveals more, and no exception opens what a `never` closes (property tests). To change what a level means, go to
//! `field`; to change which level wins, to [`Level::meet`].
//!
//! | file | holds |
//! |---|---|
//! | `spec`, `rules`, `asked` | the policy as the file says it |
//! | `check` | everything that can be wrong with it |
//! | `policy`, `grant`, `rows`, `rights`, `facts` | compiled: the decision, and what one row shows |
//! | `opening` | what an approved exception opens |
//! | `explain`, `test` | why; and whether it is what was promised |
//! | `inventory`, `register`, `coverage` | rule by rule; the published clauses; which clause is kept by which rule and test |
//! | `diff` | what each caller gains and loses between two versions |

mod asked;
mod check;
mod coverage;
mod diff;
pub mod dpv;
mod explain;
pub mod facts;
mod grant;
mod inventory;
mod level;
mod opening;
mod policy;
mod register;
mod rights;
mod rows;
mod rules;
mod spec;
mod test;
#[cfg(test)]
pub(crate) mod tests;

pub use asked::{Ask, Forbidden, TestSpec, Under};
pub use coverage::{Clause, Coverage, Flaw, FlawKind, Status, Weight, cover};
pub use diff::{Change, Effect, diff};
pub use explain::{Asks, CategoryExplanation, Circumstances, Condition, Explanation, Rule};
pub use facts::{FactId, FactTable, Facts, Known};
pub use grant::{Grant, Permit, Upkeep};
pub use inventory::{Kind, Listed};
pub use level::Level;
pub use opening::{Named, Opened, Opening, StaysClosed};
pub use policy::{CategoryId, Policy, PolicyError, Refusal};
pub use register::{Class, ClauseKind, ClauseSpec, Later, Question, Register};
pub use rights::{Beside, Rights};
pub(crate) use rows::Kinds;
pub use rows::Row;
pub use rules::{
    AgeSpec, Always, AlwaysSpec, ChangeGate, ChangeSpec, Collects, Consent, ExceptionSpec, FactSpec, LimitSpec, NeverSpec, Opens,
    Tell, Terms,
};
pub use spec::{CategorySpec, EVERY, LevelList, Line, Nature, PolicySpec, PurposeSpec, RecipientSpec};
pub use test::{Difference, TestOutcome};
