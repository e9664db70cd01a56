//! What can be wrong with the policy's own tests.

use super::super::asked::{Ask, TestSpec, Under};
use super::super::dpv;
use super::super::facts;
use super::super::spec::Line;
use super::Findings;

impl Findings<'_> {
    pub(super) fn tests(&mut self) {
        let spec = self.spec;
        for test in &spec.tests {
            let label = format!("test {:?}", test.name);
            if let Some(ask) = &test.ask {
                self.ask(&label, ask, test.line);
            }
            let about_ask = !test.expect.is_empty()
                || test.search.is_some()
                || test.writes.is_some()
                || test.required.is_some()
                || test.scope.is_some()
                || test.source.is_some();
            if test.ask.is_none() && about_ask {
                self.error(
                    test.line,
                    format!("{label} expects something of nobody"),
                    "add ask = { caller = \"…\", purpose = \"…\" }",
                );
            }
            if !about_ask && (test.ask.is_some() || (test.always.is_empty() && test.forbidden.is_none())) {
                self.error(
                    test.line,
                    format!("{label} expects nothing"),
                    "list levels in expect, for instance expect = { name = \"clear\" }",
                );
            }
            self.level_list(&label, &test.expect);
            self.test_forbidden(&label, test);
        }
        self.twice("test", spec.tests.iter().map(|test| (format!("{:?}", test.name), test.line)).collect());
    }

    fn ask(&mut self, label: &str, ask: &Ask, line: Line) {
        let spec = self.spec;
        match &ask.under {
            Under::Purpose { purpose, .. } if !spec.purposes.iter().any(|known| known.name == *purpose) => {
                self.error(line, format!("{label} asks for purpose {purpose}, which is not there"), "correct the name");
            }
            Under::Exception { exception, .. } if !spec.exceptions.iter().any(|known| known.name == *exception) => {
                self.error(line, format!("{label} asks under exception {exception}, which is not there"), "correct the name");
            }
            Under::Purpose { .. } | Under::Exception { .. } => {}
        }
        let callers = spec.purposes.iter().flat_map(|purpose| &purpose.callers);
        let others = spec.exceptions.iter().flat_map(|exception| &exception.callers);
        let outside = spec.recipients.iter().map(|recipient| &recipient.name);
        if !callers.chain(others).chain(outside).any(|caller| *caller == ask.caller) {
            let message = format!("{label} asks as {}, which is a caller of no purpose", ask.caller);
            self.error(line, message, "correct the name, or list it under a purpose's callers");
        }
        for (fact, at) in &ask.facts {
            if fact == facts::COMBINED {
                let message = format!("{label} sets {fact}, which follows from what the reply holds");
                self.error(*at, message, "list the categories of the reply in holds");
            } else {
                self.known_fact(label, fact, *at);
            }
        }
    }

    fn test_forbidden(&mut self, label: &str, test: &TestSpec) {
        let Some(forbidden) = &test.forbidden else { return };
        if let Some(id) = forbidden.purpose.as_deref().filter(|id| dpv::known(id) == dpv::Known::Unknown) {
            self.error(test.line, super::unknown(&format!("{label} forbids"), id), super::nearest(id));
        }
        if let Some(category) = &forbidden.category {
            self.known_category(label, category.as_str(), test.line);
        }
    }
}
