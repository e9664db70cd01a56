//! Which clause of the published text is kept by which rule, and which test would notice if the rule were gone.
//!
//! A clause has a rule and a test where each rule that names it is held by a test: for every mutant of the rule (the rule gone, or a part
//! of it, or a category shown clear) some test of the policy fails. Always holds: every clause of the register is listed once, whatever its
//! status; what this release does not keep when it serves is never said to be kept. Used by `policy coverage`.

use std::collections::{BTreeMap, BTreeSet};

use super::asked::TestSpec;
use super::inventory::{Kind, Listed, list, mutants};
use super::policy::Policy;
use super::register::{Class, ClauseKind, ClauseSpec, Register};
use super::spec::Line;

/// Words that promise more than anybody can prove.
const ABSOLUTE: &[&str] = &[
    "absolute",
    "absolutely",
    "guarantee",
    "guaranteed",
    "100%",
    "every possible",
    "strictest",
    "strict confidence",
    "any circumstances",
    "wholly",
];

/// How a clause is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// By rules, each of which a test holds.
    RuleAndTest,
    /// By rules, one of which no test holds.
    RuleUntested,
    /// A report shows it.
    Report,
    /// People keep it.
    Organisational,
    /// This release does not keep it.
    NotYet,
    /// Nothing keeps it.
    Unmapped,
}

impl Status {
    /// Every status, best first.
    pub const ALL: [Self; 6] =
        [Self::RuleAndTest, Self::RuleUntested, Self::Report, Self::Organisational, Self::NotYet, Self::Unmapped];

    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RuleAndTest => "rule and test",
            Self::RuleUntested => "rule untested",
            Self::Report => "report",
            Self::Organisational => "organisational",
            Self::NotYet => "not yet",
            Self::Unmapped => "unmapped",
        }
    }
}

/// One clause and what keeps it.
#[derive(Debug, Clone)]
pub struct Clause {
    /// `003-21`.
    pub id: String,
    /// Where it stands in the published text.
    pub section: String,
    /// What it says, in our words.
    pub says: String,
    /// What it is.
    pub kind: ClauseKind,
    /// How it is kept now.
    pub status: Status,
    /// How it will be kept once this release keeps what it waits for; only of what is not yet.
    pub then: Option<Status>,
    /// What it waits for.
    pub waits: Vec<String>,
    /// Rules that name it.
    pub rules: Vec<String>,
    /// Tests that hold those rules.
    pub tests: Vec<String>,
    /// The report or the evidence that shows it.
    pub shown_by: Option<String>,
}

/// Whether a flaw keeps the policy from being what was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Exit code 1.
    Fault,
    /// Worth knowing.
    Note,
}

/// What a flaw is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlawKind {
    /// A clause that nothing keeps.
    Unmapped,
    /// A rule, or a purpose seen in the audit log, that no clause covers.
    Undisclosed,
    /// A test of the policy fails.
    TestFails,
    /// The published text is not the one that was read, or is not there.
    Text,
    /// A purpose without legal basis.
    NoBasis,
    /// A contradiction or an unclear sentence.
    Question,
    /// A rule that no test holds.
    Untested,
    /// A rule that this release does not keep when it serves.
    NotYet,
    /// A word that promises more than can be proved.
    AbsoluteWord,
    /// The text does not say how long data are kept.
    NoRetention,
    /// The text does not say whom to turn to.
    NoContact,
}

impl FlawKind {
    /// As it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unmapped => "unmapped",
            Self::Undisclosed => "undisclosed processing",
            Self::TestFails => "test fails",
            Self::Text => "published text",
            Self::NoBasis => "no legal basis",
            Self::Question => "open question",
            Self::Untested => "rule untested",
            Self::NotYet => "not yet",
            Self::AbsoluteWord => "absolute word",
            Self::NoRetention => "no retention",
            Self::NoContact => "no contact",
        }
    }
}

/// One flaw.
#[derive(Debug, Clone)]
pub struct Flaw {
    /// What it is.
    pub kind: FlawKind,
    /// How much it weighs.
    pub weight: Weight,
    /// Where in the policy file; 0: nowhere there.
    pub line: Line,
    /// The clauses it is about.
    pub clauses: Vec<String>,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// The whole answer.
#[derive(Debug, Clone)]
pub struct Coverage {
    /// Every clause of the register, in its order.
    pub clauses: Vec<Clause>,
    /// What is wrong, the weightiest first.
    pub flaws: Vec<Flaw>,
    /// Number of mutants that were tried, and of those that a test noticed.
    pub mutants: (usize, usize),
}

impl Coverage {
    /// How many clauses have a status.
    pub fn count(&self, status: Status) -> usize {
        self.clauses.iter().filter(|clause| clause.status == status).count()
    }

    /// True if anything keeps the policy from being what was published.
    pub fn has_faults(&self) -> bool {
        self.flaws.iter().any(|flaw| flaw.weight == Weight::Fault)
    }
}

/// What the tests say of one rule.
#[derive(Default)]
struct Held {
    tests: BTreeSet<usize>,
    survivors: Vec<String>,
}

/// Holds the policy against the register. `seen`: purposes that the audit log has seen; `text`: what was found of the published text.
pub fn cover(policy: &Policy, register: &Register, seen: &[String], text: Vec<Flaw>) -> Coverage {
    let rules = list(policy.spec());
    let tests = &policy.spec().tests;
    let (held, counts) = held(policy);
    let clauses: Vec<Clause> = register.clauses.iter().map(|clause| judged(clause, &rules, &held, tests)).collect();
    let mut flaws = text;
    flaws.extend(of_clauses(&clauses, register));
    flaws.extend(of_rules(policy, register, &rules, &held));
    flaws.extend(of_the_log(policy, &rules, seen));
    flaws.extend(of_the_text(register));
    flaws.sort_by_key(|flaw| (flaw.weight, flaw.kind, flaw.line));
    Coverage { clauses, flaws, mutants: counts }
}

/// Tries every mutant against every test that holds for the policy itself.
fn held(policy: &Policy) -> (BTreeMap<String, Held>, (usize, usize)) {
    let tests: Vec<(usize, &TestSpec)> =
        policy.spec().tests.iter().enumerate().filter(|(_, test)| policy.run_test(test).passed()).collect();
    let mut held: BTreeMap<String, Held> = BTreeMap::new();
    let (mut tried, mut noticed) = (0, 0);
    for mutant in mutants(policy.spec()) {
        let tests: Vec<(usize, &TestSpec)> = tests.iter().filter(|(_, test)| mutant.concerns(test)).copied().collect();
        let entry = held.entry(mutant.label).or_default();
        let mutant_policy = Policy::assemble(mutant.spec, Vec::new());
        let before = tests.iter().filter(|(_, test)| !mutant_policy.run_test(test).passed()).map(|(at, _)| *at);
        let failing: Vec<usize> = before.collect();
        tried += 1;
        if failing.is_empty() {
            entry.survivors.push(mutant.what);
        } else {
            noticed += 1;
            entry.tests.extend(failing);
        }
    }
    (held, (tried, noticed))
}

fn judged(clause: &ClauseSpec, rules: &[Listed], held: &BTreeMap<String, Held>, tests: &[TestSpec]) -> Clause {
    let own: Vec<&Listed> = rules.iter().filter(|rule| rule.clauses.contains(&clause.id)).collect();
    let names: BTreeSet<usize> =
        own.iter().filter_map(|rule| held.get(&rule.label)).flat_map(|held| held.tests.clone()).collect();
    let tested = own.iter().all(|rule| held.get(&rule.label).is_some_and(|held| held.survivors.is_empty()));
    let waits: Vec<String> = clause.waits_for.iter().map(|later| (*later).as_str().to_owned()).collect();
    let status = match (own.is_empty(), clause.class) {
        (false, _) if tested => Status::RuleAndTest,
        (false, _) => Status::RuleUntested,
        (true, Class::Organisational) => Status::Organisational,
        (true, Class::Report) => Status::Report,
        (true, Class::Rule) => Status::Unmapped,
    };
    // Something that people keep, or that nothing keeps, does not wait for a rule; but where a later release is named, it does.
    let not_yet = !waits.is_empty();
    let then = (not_yet && clause.waits_for.is_empty()).then_some(status);
    Clause {
        id: clause.id.clone(),
        section: clause.section.clone(),
        says: clause.says.clone(),
        kind: clause.kind,
        status: if not_yet { Status::NotYet } else { status },
        then,
        waits,
        rules: own.iter().map(|rule| rule.label.clone()).collect(),
        tests: names.iter().filter_map(|at| tests.get(*at)).map(|test| test.name.clone()).collect(),
        shown_by: clause.shown_by.clone(),
    }
}

fn of_clauses(clauses: &[Clause], register: &Register) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    for clause in clauses.iter().filter(|clause| clause.status == Status::Unmapped) {
        flaws.push(Flaw {
            kind: FlawKind::Unmapped,
            weight: Weight::Fault,
            line: 0,
            clauses: vec![clause.id.clone()],
            message: format!("nothing keeps clause {} ({}): {}", clause.id, clause.section, clause.says),
            remedy: "name it in clauses of the rule that keeps it, or write one".to_owned(),
        });
    }
    for clause in &register.clauses {
        let says = clause.says.to_lowercase();
        if let Some(word) = ABSOLUTE.iter().find(|word| says.contains(**word)) {
            flaws.push(Flaw {
                kind: FlawKind::AbsoluteWord,
                weight: Weight::Note,
                line: 0,
                clauses: vec![clause.id.clone()],
                message: format!("clause {} promises \"{word}\", which nobody can prove", clause.id),
                remedy: "let the text name the measures instead".to_owned(),
            });
        }
    }
    flaws
}

fn of_rules(policy: &Policy, register: &Register, rules: &[Listed], held: &BTreeMap<String, Held>) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut add = |kind, weight, rule: &Listed, message: String, remedy: &str| {
        let (line, clauses) = (rule.line, rule.clauses.clone());
        flaws.push(Flaw { kind, weight, line, clauses, message, remedy: remedy.to_owned() });
    };
    for rule in rules {
        let label = &rule.label;
        let known = rule.clauses.iter().any(|id| register.clause(id).is_some());
        if !known && rule.kind.lets() {
            let message = format!("no clause covers {label}: data subjects were not told of it");
            add(FlawKind::Undisclosed, Weight::Fault, rule, message, "publish it and name the clause, or remove the rule");
        } else if !known {
            let message = format!("no clause covers {label}");
            add(FlawKind::Undisclosed, Weight::Note, rule, message, "name the clause it keeps, if there is one");
        }
        if let Some(held) = held.get(label).filter(|held| !held.survivors.is_empty()) {
            let message = format!("no test notices {label} {}", held.survivors.join("; "));
            add(FlawKind::Untested, Weight::Note, rule, message, "write a [[test]] that fails then");
        }
    }
    for purpose in policy.purposes().iter().filter(|purpose| purpose.basis.is_none()) {
        flaws.push(Flaw {
            kind: FlawKind::NoBasis,
            weight: Weight::Fault,
            line: purpose.line,
            clauses: purpose.clauses.clone(),
            message: format!("purpose.{} has no legal basis", purpose.name),
            remedy: "add basis = \"dpv:ContractPerformance\", or the one that fits".to_owned(),
        });
    }
    for outcome in policy.run_tests().iter().filter(|outcome| !outcome.passed()) {
        flaws.push(Flaw {
            kind: FlawKind::TestFails,
            weight: Weight::Fault,
            line: outcome.line,
            clauses: Vec::new(),
            message: format!("the test {:?} fails, and so holds no rule", outcome.name),
            remedy: "see `sudare policy test`".to_owned(),
        });
    }
    flaws
}

/// Purposes that somebody declared and that no rule with a clause is about.
fn of_the_log(policy: &Policy, rules: &[Listed], seen: &[String]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    for purpose in seen.iter().collect::<BTreeSet<_>>() {
        let label = format!("purpose.{purpose}");
        if policy.purposes().iter().any(|known| known.name.as_str() == *purpose)
            && rules.iter().any(|rule| rule.kind == Kind::Purpose && rule.label == label)
        {
            // A purpose without a clause was found already.
            continue;
        }
        flaws.push(Flaw {
            kind: FlawKind::Undisclosed,
            weight: Weight::Fault,
            line: 0,
            clauses: Vec::new(),
            message: format!("the audit log has seen the purpose {purpose}, which the policy does not have"),
            remedy: "look it up with `sudare audit report`: an earlier version of the policy let it through".to_owned(),
        });
    }
    flaws
}

fn of_the_text(register: &Register) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut add = |kind, weight, clauses: &[String], message: String, remedy: &str| {
        flaws.push(Flaw { kind, weight, line: 0, clauses: clauses.to_vec(), message, remedy: remedy.to_owned() });
    };
    for question in &register.questions {
        let about = question.clauses.join(", ");
        if let Some(ruling) = &question.decided {
            let message = format!("{about}: {}. Ruled: {ruling}", question.asks);
            add(FlawKind::Question, Weight::Note, &question.clauses, message, "let the next text say so");
        } else {
            let message = format!("{about}: {}. Nobody has ruled on it", question.asks);
            add(FlawKind::Question, Weight::Fault, &question.clauses, message, "write the ruling in decided");
        }
    }
    if register.retention.is_empty() {
        let message = "no clause says how long data are kept".to_owned();
        add(FlawKind::NoRetention, Weight::Note, &[], message, "let the text say so, and name the clause in retention");
    }
    if register.contact.is_empty() {
        let message = "no clause says whom to turn to".to_owned();
        add(FlawKind::NoContact, Weight::Note, &[], message, "let the text say so, and name the clause in contact");
    }
    flaws
}
