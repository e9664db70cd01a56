//! Who may see what, and why: the policy, compiled, and the grant it yields. Pure.
//!
//! INTERFACE SKETCH: bodies to be written. Layout to come: level.rs, grant.rs, policy.rs (spec → compiled), explain.rs, test.rs

use crate::base::{CallerName, CategoryName, PurposeName};

/// How much of a value is shown. A lattice: `Clear > Masked > Generalised > Sealed > Absent` and `Clear > Pseudonym > Sealed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level { Absent, Sealed, Pseudonym, Generalised, Masked, Clear }
impl Level {
    /// Greatest lower bound.
    #[must_use] pub fn meet(self, _other: Level) -> Level { todo!() }
    pub fn as_str(self) -> &'static str { todo!() }
    pub fn parse(_word: &str) -> Option<Self> { todo!() }
    pub const ALL: [Level; 6] = [Level::Absent, Level::Sealed, Level::Pseudonym, Level::Generalised, Level::Masked, Level::Clear];
}

/// Dense index of a category in the policy's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CategoryId(pub u16);

/// Where a rule stands in the policy file, for `explain`: 1-based line.
pub type Line = u32;

/// The policy as the file says it, names not yet resolved. `config` makes it; [`Policy::compile`] takes it.
#[derive(Debug, Clone, Default)]
pub struct PolicySpec {
    pub id: String, pub version: u64,
    pub categories: Vec<CategorySpec>, pub purposes: Vec<PurposeSpec>, pub recipients: Vec<RecipientSpec>, pub nevers: Vec<NeverSpec>, pub tests: Vec<TestSpec>,
}
#[derive(Debug, Clone)]
pub struct CategorySpec { pub name: CategoryName, pub line: Line, pub dpv: String, pub nature: Nature, pub mask: Option<String>, pub generalise: Option<String>, pub clauses: Vec<String> }
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature { Identifying, Linkable, Neither }
#[derive(Debug, Clone)]
pub struct PurposeSpec {
    pub name: PurposeName, pub line: Line, pub dpv: Option<String>, pub basis: Option<String>, pub callers: Vec<CallerName>,
    /// (category, level, line); `*` is expanded by config.
    pub reveal: Vec<(CategoryName, Level, Line)>,
    /// None: the categories revealed clear (docs/decisions/0003). Some: exactly these.
    pub writes: Option<Vec<CategoryName>>,
    pub delete: bool, pub clauses: Vec<String>,
}
#[derive(Debug, Clone)]
pub struct RecipientSpec { pub name: CallerName, pub line: Line, pub kind: String, pub at_most: Vec<(CategoryName, Level, Line)>, pub clauses: Vec<String> }
#[derive(Debug, Clone)]
pub struct NeverSpec { pub name: String, pub line: Line, pub purposes: Vec<String>, pub clauses: Vec<String> }
#[derive(Debug, Clone)]
pub struct TestSpec { pub name: String, pub line: Line, pub caller: CallerName, pub purpose: PurposeName, pub expect: Vec<(CategoryName, Level, Line)> }

/// The compiled policy: caller × purpose → a dense table of levels.
#[derive(Debug)]
pub struct Policy { /* … */ }
impl Policy {
    /// The error lists everything that is wrong (a `never` hit, also through DPV descendants; an unknown category ...).
    pub fn compile(_spec: PolicySpec) -> Result<Self, Vec<PolicyError>> { todo!() }
    /// Decides. `declared` is the header's text: a purpose name or a `dpv:` id. None: a caller with exactly one purpose needs none.
    pub fn decide(&self, _caller: &CallerName, _declared: Option<&str>, _now_ms: u64) -> Result<Grant, Refusal> { todo!() }
    pub fn category(&self, _name: &str) -> Option<CategoryId> { todo!() }
    pub fn categories(&self) -> &[CategorySpec] { todo!() }
    /// Purposes in which any category is at Level::Pseudonym: each needs a pseudonym key of that scope in the ring.
    pub fn pseudonym_scopes(&self) -> Vec<String> { todo!() }
    /// Purposes this caller may declare (for messages).
    pub fn purposes_of(&self, _caller: &CallerName) -> Vec<PurposeName> { todo!() }
}
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PolicyError { pub line: Line, pub message: String, pub remedy: String }

/// Why no grant is given. `Display` is for the client: names only, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// 403 `purpose-missing`
    #[error("no purpose declared: add the header Data-Purpose ({caller} may use {allowed})")]
    Missing { caller: CallerName, allowed: String },
    /// 403 `purpose-refused`
    #[error("{caller} may use {allowed}")]
    NotAllowed { caller: CallerName, allowed: String },
}

/// What the policy allows this request. Only [`Policy::decide`] makes one.
#[derive(Debug, Clone)]
pub struct Grant { /* Arc<compiled>, decided_ms */ }
impl Grant {
    /// The level of a category; Absent for one the table does not have.
    pub fn level(&self, _category: CategoryId) -> Level { todo!() }
    pub fn may_write(&self, _category: CategoryId) -> bool { todo!() }
    pub fn may_delete(&self) -> bool { todo!() }
    pub fn purpose(&self) -> &PurposeName { todo!() }
    pub fn caller(&self) -> &CallerName { todo!() }
    /// The pseudonym scope: the recipient's name if the caller is one, else the purpose.
    pub fn scope(&self) -> &str { todo!() }
    /// The value of `Data-View` (RFC 9651): `purpose=delivery, clear=(name phone), masked=(id-card), per-row` with the levels in the order clear, masked, generalised, pseudonym, sealed; empty ones and absent left out.
    pub fn data_view(&self) -> &str { todo!() }
    /// True once older than `base::limits::GRANT_LIFETIME_MS`, or if the clock went back.
    pub fn expired(&self, _now_ms: u64) -> bool { todo!() }
}

/// What an opening key is handed out against.
#[derive(Debug, Clone, Copy)]
pub enum Permit<'a> {
    /// To show it, or part of it, to the holder of this grant.
    Reveal(&'a Grant),
    /// To keep house: verify or rewrap. No clear text leaves `field` on it.
    Upkeep(&'a Upkeep),
}
/// Proof that the opening is upkeep. Call sites are allow-listed by `tests/it/upkeep.rs`.
#[derive(Debug)]
pub struct Upkeep(());
impl Upkeep {
    /// `why` is for the reader of the code.
    pub fn dangerous_for(_why: &'static str) -> Self { Self(()) }
}
