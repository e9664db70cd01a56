//! What the fuzz targets check: one function a target, which panics when something does not hold that must hold for every input.
//!
//! `fuzz_targets/NAME.rs` runs one of them under libFuzzer (`scripts/fuzz`), `tests/corpus.rs` replays every file of `corpus/NAME`
//! through the same function with the ordinary tests. To add a target: a function here and in [`TARGETS`], five lines in
//! `fuzz_targets`, a `[[bin]]` in `Cargo.toml`, and some first inputs in `corpus`.
//!
//! Inputs are texts that can be read and written by hand, but for compressed bodies; each function says how. What a check compares with is kept apart from the
//! code it checks: `oracle` reads JSON with serde_json, `liberal` reads paths as the most careless server would.

mod configuration;
mod dialect;
mod discover;
mod document;
mod encoding;
mod envelope;
mod field;
mod liberal;
mod normalise;
mod oracle;
mod scene;
mod target;
mod vault;

pub use configuration::configuration;
pub use dialect::{couchdb, rest};
pub use discover::discover;
pub use document::{document, lines};
pub use encoding::encoding;
pub use envelope::envelope;
pub use field::{protect, reveal};
pub use normalise::normalise;
pub use target::target;

/// One target's check.
pub type Check = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Check)] = &[
    ("configuration", configuration),
    ("couchdb", couchdb),
    ("discover", discover),
    ("document", document),
    ("encoding", encoding),
    ("envelope", envelope),
    ("lines", lines),
    ("normalise", normalise),
    ("protect", protect),
    ("rest", rest),
    ("reveal", reveal),
    ("target", target),
];

/// Inputs longer than this are passed over: they find nothing that shorter ones do not, and take their time.
const LONGEST: usize = 16 << 10;
