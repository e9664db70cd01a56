//! Runs the policy's own tests.
//!
//! A request that is refused reveals nothing, so it counts as `absent` in every category; the outcome says that it was refused.
//! Called by `policy test`, by `check` to tell how many fail, and by `coverage` to see which rules they hold.

use super::asked::{Ask, TestSpec, Under};
use super::check::forbids;
use super::explain::{Circumstances, Rule};
use super::facts::{self, Facts};
use super::opening::Opening;
use super::policy::{Policy, said};
use super::spec::Line;
use super::{CategoryId, Level};
use crate::base::CategoryName;

/// How one `[[test]]` came out.
#[derive(Debug, Clone)]
pub struct TestOutcome {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub line: Line,
    /// Why the request is refused, if it is.
    pub refusal: Option<String>,
    /// Where it differs.
    pub differences: Vec<Difference>,
    /// Categories by which a search is allowed and should not be (true), or should be and is not (false).
    pub searches: Vec<(CategoryName, bool)>,
    /// What else differs, each in words: `writes: expected name, got nothing`.
    pub others: Vec<String>,
}

/// One category that came out otherwise.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The category.
    pub category: CategoryName,
    /// Where the expectation stands.
    pub line: Line,
    /// What the test expects.
    pub expected: Level,
    /// What the policy gives.
    pub got: Level,
    /// The rules that give it; none if the request is refused.
    pub rules: Vec<Rule>,
}

impl TestOutcome {
    /// True if everything came out as expected.
    pub fn passed(&self) -> bool {
        self.differences.is_empty() && self.searches.is_empty() && self.others.is_empty()
    }
}

/// What the policy answers, whatever it was asked under.
#[derive(Debug, Default)]
struct Answer {
    refusal: Option<String>,
    /// Of each category: level, may store, may search, why. Empty if refused.
    categories: Vec<(CategoryName, Level, bool, bool, Vec<Rule>)>,
    required: Vec<CategoryName>,
    scope: Option<String>,
    source: Option<String>,
}

impl Policy {
    /// Runs every `[[test]]`, in the order of the file.
    pub fn run_tests(&self) -> Vec<TestOutcome> {
        self.spec.tests.iter().map(|test| self.run_test(test)).collect()
    }

    /// Runs one test, of this policy or of one like it.
    pub fn run_test(&self, test: &TestSpec) -> TestOutcome {
        let answer = test.ask.as_ref().map_or_else(Answer::default, |ask| self.answer(ask));
        let found = |name: &CategoryName| answer.categories.iter().find(|(category, ..)| category == name);
        let differences = self.categories().iter().filter_map(|category| {
            let expected = said(&test.expect, &category.name)?;
            let found = found(&category.name);
            let got = found.map_or(Level::Absent, |(_, level, ..)| *level);
            (got != expected.level).then(|| Difference {
                category: category.name.clone(),
                line: expected.line,
                expected: expected.level,
                got,
                rules: found.map_or_else(Vec::new, |(.., rules)| rules.clone()),
            })
        });
        let differences = differences.collect();
        let searchable = |name: &CategoryName| found(name).is_some_and(|(_, _, _, may, _)| *may);
        let searches = self.categories().iter().filter_map(|category| {
            let (expected, got) = (test.search.as_ref()?.contains(&category.name), searchable(&category.name));
            (expected != got).then(|| (category.name.clone(), got))
        });
        let searches = searches.collect();
        let others = self.others(test, &answer);
        TestOutcome { name: test.name.clone(), line: test.line, refusal: answer.refusal, differences, searches, others }
    }

    fn others(&self, test: &TestSpec, answer: &Answer) -> Vec<String> {
        let mut others = Vec::new();
        let writable = answer.categories.iter().filter(|(_, _, may, ..)| *may).map(|(name, ..)| name.clone());
        differ("writes", test.writes.as_deref(), &writable.collect::<Vec<_>>(), &mut others);
        differ("required", test.required.as_deref(), &answer.required, &mut others);
        for (what, expected, got) in [("scope", &test.scope, &answer.scope), ("source", &test.source, &answer.source)] {
            if expected.is_some() && expected != got {
                let word = |word: &Option<String>| word.clone().unwrap_or_else(|| "none".to_owned());
                others.push(format!("{what}: expected {}, got {}", word(expected), word(got)));
            }
        }
        for what in &test.always {
            if !self.spec.always.iter().any(|rule| rule.what == *what) {
                others.push(format!("always: {} is not promised", what.as_str()));
            }
        }
        if let Some(asked) = &test.forbidden {
            let (purpose, recipient) = (asked.purpose.as_deref(), asked.recipient.as_deref());
            if !self.spec.nevers.iter().any(|never| forbids(never, purpose, recipient, asked.category.as_ref())) {
                others.push("forbidden: no never forbids it".to_owned());
            }
        }
        // A category that is expected and is not there any more differs, whatever is expected of it.
        let missing = test.expect.iter().map(|(name, ..)| name).filter(|name| name.as_str() != super::EVERY);
        others.extend(
            missing.filter(|name| self.category(name.as_str()).is_none()).map(|name| format!("there is no category {name}")),
        );
        others
    }

    fn answer(&self, ask: &Ask) -> Answer {
        match &ask.under {
            Under::Purpose { purpose, holds } => {
                let ids = |names: &Vec<CategoryName>| names.iter().filter_map(|name| self.category(name.as_str())).collect();
                let known = Circumstances { facts: self.facts_of(ask), holds: holds.as_ref().map(ids) };
                match self.explain_for(&ask.caller, Some(purpose.as_str()), &known) {
                    Ok(explained) => Answer {
                        refusal: None,
                        categories: explained
                            .categories
                            .into_iter()
                            .map(|found| (found.category, found.level, found.writable, found.searchable, found.rules))
                            .collect(),
                        required: explained.required,
                        scope: Some(explained.scope),
                        source: explained.source,
                    },
                    Err(refusal) => Answer { refusal: Some(refusal.to_string()), ..Answer::default() },
                }
            }
            Under::Exception { exception, categories, evidence, approvers, hours } => {
                let opening =
                    Opening { caller: &ask.caller, exception, categories, evidence, approvers: *approvers, hours: *hours };
                match self.open(&opening) {
                    Ok(opened) => {
                        let line = self.exception(exception).map_or(0, |exception| exception.line);
                        let rule = Rule { line, says: format!("exception {exception} opens what was approved, no more") };
                        let each = self.categories().iter().zip(0_u16..).map(|(category, id)| {
                            let (level, collects) = (opened.level(CategoryId(id)), opened.may_collect(CategoryId(id)));
                            (category.name.clone(), level, collects, level == Level::Clear, vec![rule.clone()])
                        });
                        Answer { categories: each.collect(), ..Answer::default() }
                    }
                    Err(why) => Answer { refusal: Some(why.to_string()), ..Answer::default() },
                }
            }
        }
    }

    /// What holds in a test: the facts it names, and those that follow from the age.
    fn facts_of(&self, ask: &Ask) -> Facts {
        let named = ask.facts.iter().filter_map(|(name, _)| self.facts.id(name));
        let combined = self.facts.id(facts::COMBINED);
        let aged = ask.age.map_or(Facts::NONE, |years| self.facts_at_age(years));
        named.filter(|fact| Some(*fact) != combined).fold(aged, Facts::with)
    }

    /// The facts of `[age]` that hold of somebody who is this old.
    pub fn facts_at_age(&self, years: u8) -> Facts {
        let younger = self.spec.ages.iter().filter(|age| years < age.under);
        younger.filter_map(|age| self.facts.id(&age.name)).fold(Facts::NONE, Facts::with)
    }
}

fn differ(what: &str, expected: Option<&[CategoryName]>, got: &[CategoryName], others: &mut Vec<String>) {
    let Some(expected) = expected else { return };
    let mut wanted: Vec<&CategoryName> = expected.iter().collect();
    let mut found: Vec<&CategoryName> = got.iter().collect();
    wanted.sort();
    found.sort();
    if wanted != found {
        let words = |names: &[&CategoryName]| {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            if names.is_empty() { "nothing".to_owned() } else { names.join(" ") }
        };
        others.push(format!("{what}: expected {}, got {}", words(&wanted), words(&found)));
    }
}
