//! What can be wrong with facts, ages, limits, exceptions and what is asked of data subjects.

use std::collections::BTreeSet;

use super::super::Level;
use super::super::dpv::{self, Known};
use super::super::facts::{self, FactTable, MAX_FACTS};
use super::super::policy::said;
use super::super::rows::{MAX_RELEVANT, Rules, touches};
use super::super::rules::{LimitSpec, Opens, Terms};
use super::super::spec::{Line, PurposeSpec};
use super::{Findings, at, forbids, nearest, unknown};

impl Findings<'_> {
    pub(super) fn facts(&mut self) {
        let spec = self.spec;
        let declared: Vec<(&str, Line)> = spec
            .facts
            .iter()
            .map(|fact| (fact.name.as_str(), fact.line))
            .chain(spec.ages.iter().map(|age| (age.name.as_str(), age.line)))
            .collect();
        for (name, line) in &declared {
            self.name("fact", name, *line);
            if facts::BUILT_IN.iter().any(|(known, _)| known == name) || name.starts_with(facts::TOLD) {
                let message = format!("the fact {name} is built in");
                self.error(*line, message, "remove it; it may be used without being declared");
            }
            if !self.uses(name) {
                self.warn(*line, format!("no rule asks for the fact {name}"), "use it in when, unless or needs, or remove it");
            }
        }
        self.twice("fact", declared);
        let count = FactTable::of(spec).len();
        if count > MAX_FACTS {
            let message = format!("the policy knows {count} facts, and {MAX_FACTS} are the most it can");
            self.error(0, message, "join facts that always hold together");
        }
    }

    fn uses(&self, fact: &str) -> bool {
        let spec = self.spec;
        let named = |list: &[(String, Line)]| list.iter().any(|(name, _)| name == fact);
        spec.purposes.iter().any(|purpose| named(&purpose.terms.needs))
            || spec.recipients.iter().any(|recipient| named(&recipient.terms.needs))
            || spec.limits.iter().any(|limit| named(&limit.when) || named(&limit.unless))
    }

    pub(super) fn known_fact(&mut self, whose: &str, name: &str, line: Line) {
        if FactTable::of(self.spec).id(name).is_some() {
            return;
        }
        if name.starts_with(facts::TOLD) {
            let message = format!("{whose} names the fact {name}, and no purpose came with that version");
            return self.error(line, message, "correct the version, or give the purpose that came with it its since");
        }
        self.error(
            line,
            format!("{whose} names the fact {name}, which [fact] does not have"),
            "correct the name, or declare the fact",
        );
    }

    /// What a purpose or a recipient asks of the data subject.
    pub(super) fn terms(&mut self, whose: &str, terms: &Terms, line: Line) {
        for (name, at) in &terms.needs {
            if name == facts::COMBINED {
                self.error(*at, format!("{whose} needs {name}, which only narrows"), "use it in when of a limit");
            } else {
                self.known_fact(&format!("{whose}, needs"), name, *at);
            }
        }
        self.twice(&format!("in {whose}, the fact"), terms.needs.clone());
        if let Some((version, since)) = terms.since
            && !(2..=self.spec.version).contains(&version)
        {
            let message = format!("{whose} is there since version {version}, and the policy is version {}", self.spec.version);
            self.error(
                at(since, line),
                message,
                "name the version that brought it, 2 or later; remove it for what was there from the start",
            );
        }
    }

    pub(super) fn limits(&mut self) {
        let spec = self.spec;
        for limit in &spec.limits {
            let label = format!("limit.{}", limit.name);
            self.name("limit", &limit.name, limit.line);
            for (fact, line) in limit.when.iter().chain(&limit.unless) {
                self.known_fact(&label, fact, *line);
            }
            for (purpose, line) in limit.purposes.iter().chain(&limit.except) {
                if !spec.purposes.iter().any(|known| known.name == *purpose) {
                    let message = format!("{label} names the purpose {purpose}, which is not there");
                    self.error(*line, message, "correct the name");
                }
            }
            if let Some((_, line)) = limit.unless.iter().find(|(fact, _)| fact == facts::COMBINED) {
                let message =
                    format!("{label} does not apply where {} holds, so a fuller reply would show more", facts::COMBINED);
                self.error(*line, message, "use it in when");
            }
            self.level_list(&format!("{label}, at_most"), &limit.at_most);
            if limit.at_most.is_empty() {
                self.error(
                    limit.line,
                    format!("{label} narrows nothing"),
                    "list levels in at_most, for instance { \"*\" = \"absent\" }",
                );
            } else {
                self.reached(limit, &label);
            }
        }
        self.twice("limit", spec.limits.iter().map(|limit| (limit.name.as_str(), limit.line)).collect());
    }

    /// A rule that never comes to bear is a promise that nobody keeps.
    fn reached(&mut self, limit: &LimitSpec, label: &str) {
        let all_unless = |list: &[(String, Line)]| list.iter().all(|(fact, _)| limit.unless.iter().any(|(name, _)| name == fact));
        if !limit.when.is_empty() && all_unless(&limit.when) {
            let message = format!("{label} is never reached: every fact in when is also in unless");
            return self.error(limit.line, message, "remove the fact from one of the two");
        }
        let spec = self.spec;
        let covered: Vec<&PurposeSpec> = spec.purposes.iter().filter(|purpose| limit.covers(&purpose.name)).collect();
        if covered.is_empty() {
            let message = format!("{label} is never reached: it is left with no purpose");
            return self.error(limit.line, message, "correct purposes and except, or remove the limit");
        }
        if !covered.iter().any(|purpose| touches(spec, limit, purpose)) {
            let message = format!("{label} changes nothing: no purpose it covers shows or stores more");
            self.warn(limit.line, message, "lower its levels, or remove it");
        }
    }

    pub(super) fn exceptions(&mut self) {
        let spec = self.spec;
        let names_purposes = spec.nevers.iter().find(|never| !never.purposes.is_empty());
        for exception in &spec.exceptions {
            let label = format!("exception.{}", exception.name);
            let line = exception.line;
            self.name("exception", &exception.name, line);
            if let Some(purpose) = spec.purposes.iter().find(|purpose| purpose.name.as_str() == exception.name) {
                let message = format!("{label} has the name of a purpose (line {})", purpose.line);
                self.error(line, message, "rename one: who reads the audit log must not take one for the other");
            }
            match (exception.dpv.as_deref().map(|id| (id, dpv::known(id))), names_purposes) {
                (None | Some((_, Known::Foreign)), Some(never)) => {
                    let message = format!("{label} has no dpv: id, so never.{} cannot be checked against it", never.name);
                    self.error(line, message, "give it the dpv: id that fits it best, for instance dpv:LegalCompliance");
                }
                (Some((id, Known::Unknown)), _) => self.error(line, unknown(&format!("{label} is"), id), nearest(id)),
                (Some((id, Known::Root)), _) => {
                    self.error(line, format!("{label} is {id}, which means any purpose"), "name what it is for");
                }
                _ => {}
            }
            for caller in &exception.callers {
                self.name("caller", caller.as_str(), line);
            }
            if exception.callers.is_empty() {
                self.warn(line, format!("nobody may use {label}"), "list its callers, or remove it");
            }
            self.level_list(&format!("{label}, reveal"), &exception.reveal);
            if exception.reveal.iter().all(|(_, level, _)| *level == Level::Absent) {
                self.error(line, format!("{label} opens nothing"), "list in reveal the most that it may open");
            }
            if exception.evidence.is_empty() {
                let message = format!("{label} asks for nothing on record");
                self.error(line, message, "list in evidence what must be written down, for instance [\"case-number\", \"law\"]");
            }
            self.twice(&format!("in {label}, evidence"), exception.evidence.iter().map(|word| (word.clone(), line)).collect());
            self.opened_though_never(exception, &label);
        }
        self.twice("exception", spec.exceptions.iter().map(|exception| (exception.name.as_str(), exception.line)).collect());
    }

    fn opened_though_never(&mut self, exception: &super::super::rules::ExceptionSpec, label: &str) {
        let spec = self.spec;
        let mut kinds: BTreeSet<Option<&str>> = exception
            .callers
            .iter()
            .map(|caller| {
                spec.recipients.iter().find(|recipient| recipient.name == *caller).map(|recipient| recipient.kind.as_str())
            })
            .collect();
        if kinds.is_empty() {
            kinds.insert(None);
        }
        for never in &spec.nevers {
            let hit = kinds.iter().any(|kind| {
                forbids(never, exception.dpv.as_deref(), *kind, None)
                    || spec.categories.iter().any(|category| {
                        let shown = said(&exception.reveal, &category.name).is_some_and(|said| said.level != Level::Absent);
                        shown
                            && exception.opens == Opens::Disclosure
                            && forbids(never, exception.dpv.as_deref(), *kind, Some(&category.name))
                    })
            });
            if hit {
                let remedy = match never.categories.first() {
                    Some(category) => format!("write {category} = \"absent\" in its reveal; a never is not opened by anything"),
                    None => "remove the exception; a never is not opened by anything".to_owned(),
                };
                self.error(
                    exception.line,
                    format!("{label} opens what never.{} (line {}) forbids", never.name, never.line),
                    remedy,
                );
            }
        }
    }

    /// Rows are looked up by the facts that matter, so there is a bound on how many may.
    pub(super) fn facts_of_each(&mut self) {
        let spec = self.spec;
        let table = FactTable::of(spec);
        for purpose in &spec.purposes {
            let callers = purpose.callers.iter().map(|caller| spec.recipients.iter().find(|recipient| recipient.name == *caller));
            let most = callers.map(|recipient| Rules::of(spec, &table, purpose, recipient).relevant().count_ones()).max();
            if let Some(most) = most.filter(|most| usize::try_from(*most).is_ok_and(|most| most > MAX_RELEVANT)) {
                let message = format!("purpose {} depends on {most} facts, and {MAX_RELEVANT} are the most it can", purpose.name);
                self.error(purpose.line, message, "join facts, or say with purposes or except which limits are not about it");
            }
        }
    }
}
