//! The policy as the file says it, names not yet resolved. `config` fills it; [`super::Policy::compile`] checks it.
//!
//! Every rule carries the line it stands on, so that a finding, an explanation and a failed test can point there. What narrows and
//! opens stands in `rules.rs`, what tests ask in `asked.rs`.

use super::Level;
use super::asked::TestSpec;
use super::rules::{AgeSpec, AlwaysSpec, ChangeSpec, Collects, ExceptionSpec, FactSpec, LimitSpec, NeverSpec, Terms};
use crate::base::{CallerName, CategoryName, PurposeName};

/// Where a rule stands in the policy file: 1-based line. 0 where there is none.
pub type Line = u32;

/// Name that stands for every category not named beside it, in `reveal`, `at_most` and `expect`.
pub const EVERY: &str = "*";

/// Categories with a level and a line, as in `reveal = { name = "clear" }`. [`EVERY`] may stand among them and is resolved by
/// [`super::Policy::compile`]: a category named beside it goes by its own entry.
pub type LevelList = Vec<(CategoryName, Level, Line)>;

/// The whole file. The default is the empty policy, which allows nothing.
#[derive(Debug, Clone, Default)]
pub struct PolicySpec {
    /// `policy.id`.
    pub id: String,
    /// `policy.version`.
    pub version: u64,
    /// `policy.change`: what a purpose that a later version added waits for.
    pub change: ChangeSpec,
    /// `[fact]`.
    pub facts: Vec<FactSpec>,
    /// `[age]`.
    pub ages: Vec<AgeSpec>,
    /// `[category]`, in the order of the file.
    pub categories: Vec<CategorySpec>,
    /// `[purpose.*]`, in the order of the file.
    pub purposes: Vec<PurposeSpec>,
    /// `[recipient]`.
    pub recipients: Vec<RecipientSpec>,
    /// `[limit.*]`.
    pub limits: Vec<LimitSpec>,
    /// `[never]`.
    pub nevers: Vec<NeverSpec>,
    /// `[always]`.
    pub always: Vec<AlwaysSpec>,
    /// `[exception.*]`.
    pub exceptions: Vec<ExceptionSpec>,
    /// `[[test]]`.
    pub tests: Vec<TestSpec>,
}

/// One data category: what the data are.
#[derive(Debug, Clone)]
pub struct CategorySpec {
    /// Its name in the policy.
    pub name: CategoryName,
    /// Where it stands.
    pub line: Line,
    /// Its id in DPV's personal data extension, e.g. `pd:Name`.
    pub dpv: String,
    /// What it can do to a person's anonymity.
    pub nature: Nature,
    /// How `masked` looks unless the field says otherwise; parsed by `field`.
    pub mask: Option<String>,
    /// How `generalised` looks unless the field says otherwise; parsed by `field`.
    pub generalise: Option<String>,
    /// The sentences of the published policy it serves.
    pub clauses: Vec<String>,
}

/// What a category can do to a person's anonymity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Names a person by itself.
    Identifying,
    /// Names a person together with other data.
    Linkable,
    /// Neither.
    Neither,
}

/// One purpose: why data may be used, by whom, and how much of them.
#[derive(Debug, Clone)]
pub struct PurposeSpec {
    /// Its name, declared in `Data-Purpose`.
    pub name: PurposeName,
    /// Where it stands.
    pub line: Line,
    /// Its DPV id, e.g. `dpv:DeliveryOfGoods`. Must be given where the policy has a `[never]`.
    pub dpv: Option<String>,
    /// Its legal basis, e.g. `dpv:ContractPerformance`.
    pub basis: Option<String>,
    /// Who may declare it.
    pub callers: Vec<CallerName>,
    /// The level of each category; not listed = absent.
    pub reveal: LevelList,
    /// Where `reveal` stands; 0 if it is not given.
    pub reveal_line: Line,
    /// None: the categories revealed clear (docs/decisions/0003). Some: exactly these.
    pub writes: Option<Vec<CategoryName>>,
    /// Where `writes` stands; 0 if it is not given.
    pub writes_line: Line,
    /// Categories by which documents may be searched although they are not seen clear; by those that are they may be anyway.
    pub search: Vec<CategoryName>,
    /// Where `search` stands; 0 if it is not given.
    pub search_line: Line,
    /// May documents be removed?
    pub delete: bool,
    /// What must be so of a data subject before it opens anything.
    pub terms: Terms,
    /// What a new document must have, and where its values come from.
    pub collects: Collects,
    /// The sentences of the published policy it serves.
    pub clauses: Vec<String>,
}

/// A caller outside the controller, with its own cap.
#[derive(Debug, Clone)]
pub struct RecipientSpec {
    /// The caller's name.
    pub name: CallerName,
    /// Where it stands.
    pub line: Line,
    /// `processor`, …; for the reader and the reports.
    pub kind: String,
    /// The most it may see of a category; a category not listed is not narrowed.
    pub at_most: LevelList,
    /// What must be so of a data subject before it gets anything; `since` is not used.
    pub terms: Terms,
    /// Where it is, for the reader: `JP`.
    pub country: Option<String>,
    /// The sentences of the published policy it serves.
    pub clauses: Vec<String>,
}
