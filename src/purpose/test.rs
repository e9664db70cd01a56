//! Runs the policy's own tests.
//!
//! A request that is refused reveals nothing, so it counts as `absent` in every category; the outcome says that it was refused.
//! Called by `policy test`, and by `check` to tell how many fail.

use super::explain::Rule;
use super::policy::{Policy, Refusal, said};
use super::spec::{Line, TestSpec};
use super::{CategoryExplanation, Level};
use crate::base::CategoryName;

/// How one `[[test]]` came out.
#[derive(Debug, Clone)]
pub struct TestOutcome {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub line: Line,
    /// Why the request is refused, if it is.
    pub refusal: Option<Refusal>,
    /// Where it differs; empty = passed.
    pub differences: Vec<Difference>,
    /// Categories by which a search is allowed and should not be (true), or should be and is not (false).
    pub searches: Vec<(CategoryName, bool)>,
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
        self.differences.is_empty() && self.searches.is_empty()
    }
}

impl Policy {
    /// Runs every `[[test]]`, in the order of the file.
    pub fn run_tests(&self) -> Vec<TestOutcome> {
        self.spec.tests.iter().map(|test| self.run_test(test)).collect()
    }

    fn run_test(&self, test: &TestSpec) -> TestOutcome {
        let (refusal, explained) = match self.explain(&test.caller, Some(test.purpose.as_str())) {
            Ok(explanation) => (None, explanation.categories),
            Err(refusal) => (Some(refusal), Vec::new()),
        };
        let differences = self
            .categories()
            .iter()
            .filter_map(|category| {
                let expected = said(&test.expect, &category.name)?;
                let found: Option<&CategoryExplanation> = explained.iter().find(|explained| explained.category == category.name);
                let got = found.map_or(Level::Absent, |found| found.level);
                (got != expected.level).then(|| Difference {
                    category: category.name.clone(),
                    line: expected.line,
                    expected: expected.level,
                    got,
                    rules: found.map_or_else(Vec::new, |found| found.rules.clone()),
                })
            })
            .collect();
        let searchable = |name: &CategoryName| explained.iter().any(|found| found.category == *name && found.searchable);
        let searches = self.categories().iter().filter_map(|category| {
            let (expected, got) = (test.search.as_ref()?.contains(&category.name), searchable(&category.name));
            (expected != got).then(|| (category.name.clone(), got))
        });
        let searches = searches.collect();
        TestOutcome { name: test.name.clone(), line: test.line, refusal, differences, searches }
    }
}
