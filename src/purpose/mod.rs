//! Who may see what, and why: the policy, compiled, and the grant it yields. Pure.
//!
//! `config` reads `policy.toml` into a [`PolicySpec`]; [`Policy::compile`] checks it whole and makes a dense table of levels per
//! caller × purpose; [`Policy::decide`] yields a [`Grant`] or a [`Refusal`] for one request. The effective level is the greatest
//! lower bound of every rule that applies: `purpose.reveal` (not listed = absent) and the recipient's `at_most`. A policy that
//! would do what a `never` names does not load.
//!
//! Always holds: a grant comes from [`Policy::decide`] alone; adding a cap or a `never`, or removing a line of `reveal`, never
//! reveals more (property test). To change what a level means, go to `field`; to change which level wins, to [`Level::meet`].

mod check;
pub mod dpv;
mod explain;
mod grant;
mod level;
mod policy;
mod spec;
mod test;
#[cfg(test)]
pub(crate) mod tests;

pub use explain::{CategoryExplanation, Explanation, Rule};
pub use grant::{Grant, Permit, Upkeep};
pub use level::Level;
pub use policy::{CategoryId, Policy, PolicyError, Refusal};
pub use spec::{CategorySpec, EVERY, LevelList, Line, Nature, NeverSpec, PolicySpec, PurposeSpec, RecipientSpec, TestSpec};
pub use test::{Difference, TestOutcome};
