//! Everything that can be wrong with a policy, found in one go.
//!
//! Always holds: what passes can be compiled without a further check; every finding has a line, says what was found and what to
//! do. `config` adds nearest names of categories and callers, which it knows with their places.

mod rules;
mod tests_of;

use std::collections::BTreeMap;

use super::Level;
use super::dpv::{self, Known};
use super::policy::said;
use super::policy::{PolicyError, repeated};
use super::rules::NeverSpec;
use super::spec::{EVERY, LevelList, Line, PolicySpec, PurposeSpec, RecipientSpec};
use crate::base::{CallerName, CategoryName};

/// Checks the whole policy. Gives the warnings, or everything that is wrong, each in the order of the lines.
pub(super) fn check(spec: &PolicySpec) -> Result<Vec<PolicyError>, Vec<PolicyError>> {
    let mut found = Findings { spec, errors: Vec::new(), warnings: Vec::new() };
    found.categories();
    found.purposes();
    found.recipients();
    found.facts();
    found.limits();
    found.nevers();
    found.exceptions();
    if found.errors.is_empty() {
        found.facts_of_each();
    }
    found.tests();
    let Findings { mut errors, mut warnings, .. } = found;
    errors.sort_by_key(|error| error.line);
    warnings.sort_by_key(|warning| warning.line);
    if errors.is_empty() { Ok(warnings) } else { Err(errors) }
}

struct Findings<'a> {
    spec: &'a PolicySpec,
    errors: Vec<PolicyError>,
    warnings: Vec<PolicyError>,
}

impl Findings<'_> {
    fn error(&mut self, line: Line, message: String, remedy: impl Into<String>) {
        self.errors.push(PolicyError { line, message, remedy: remedy.into() });
    }

    fn warn(&mut self, line: Line, message: String, remedy: impl Into<String>) {
        self.warnings.push(PolicyError { line, message, remedy: remedy.into() });
    }

    /// Names stand in `Data-View` and in key names, so they keep to a form that needs no escapes.
    fn name(&mut self, what: &str, name: &str, line: Line) {
        if !is_name(name) {
            self.error(
                line,
                format!("{what} name {name:?} is not allowed"),
                "use a small letter, then small letters, digits and hyphens",
            );
        }
    }

    fn twice<T: Ord + std::fmt::Display>(&mut self, what: &str, items: Vec<(T, Line)>) {
        for (name, first, line) in repeated(items.into_iter()) {
            self.error(
                line,
                format!("{what} {name} stands here for the second time (first in line {first})"),
                "remove one, or give it another name",
            );
        }
    }

    fn known_category(&mut self, whose: &str, name: &str, line: Line) {
        if !self.spec.categories.iter().any(|category| category.name.as_str() == name) {
            self.error(
                line,
                format!("{whose} names the category {name}, which [category] does not have"),
                "correct the name, or add the category",
            );
        }
    }

    fn level_list(&mut self, whose: &str, list: &LevelList) {
        for (category, _, line) in list {
            if category.as_str() != EVERY {
                self.known_category(whose, category.as_str(), *line);
            }
        }
    }

    fn categories(&mut self) {
        let spec = self.spec;
        for category in &spec.categories {
            self.name("category", category.name.as_str(), category.line);
            if !dpv::is_id(&category.dpv) {
                self.error(
                    category.line,
                    format!("category {} has the DPV id {:?}", category.name, category.dpv),
                    "write it as prefix:Name, for instance pd:Name",
                );
            }
        }
        self.twice("category", spec.categories.iter().map(|category| (category.name.clone(), category.line)).collect());
        if u16::try_from(spec.categories.len()).is_err() {
            self.error(
                0,
                format!("{} categories are more than a table can hold", spec.categories.len()),
                "keep to at most 65535",
            );
        }
    }

    fn purposes(&mut self) {
        let spec = self.spec;
        for purpose in &spec.purposes {
            let name = &purpose.name;
            self.name("purpose", name.as_str(), purpose.line);
            self.purpose_dpv(purpose);
            for caller in &purpose.callers {
                self.name("caller", caller.as_str(), purpose.line);
            }
            self.twice(
                &format!("in purpose {name}, caller"),
                purpose.callers.iter().map(|caller| (caller.clone(), purpose.line)).collect(),
            );
            self.level_list(&format!("purpose {name}, reveal"), &purpose.reveal);
            let writes_line = at(purpose.writes_line, purpose.line);
            for category in purpose.writes.iter().flatten() {
                self.known_category(&format!("purpose {name}, writes"), category.as_str(), writes_line);
            }
            let written: Vec<_> = purpose.writes.iter().flatten().map(|category| (category.clone(), writes_line)).collect();
            self.twice(&format!("in purpose {name}, writes"), written);
            let search_line = at(purpose.search_line, purpose.line);
            for category in &purpose.search {
                self.known_category(&format!("purpose {name}, search"), category.as_str(), search_line);
            }
            let searched: Vec<_> = purpose.search.iter().map(|category| (category.clone(), search_line)).collect();
            self.twice(&format!("in purpose {name}, search"), searched);
            self.terms(&format!("purpose {name}"), &purpose.terms, purpose.line);
            self.required(purpose);
            if purpose.callers.is_empty() {
                self.warn(purpose.line, format!("nobody may use purpose {name}"), "list its callers, or remove it");
            }
            let writes_nothing = purpose.writes.as_ref().is_none_or(Vec::is_empty);
            if purpose.reveal.is_empty() && writes_nothing && purpose.search.is_empty() && !purpose.delete {
                self.warn(
                    purpose.line,
                    format!("purpose {name} reveals nothing and writes nothing"),
                    "add reveal or writes, or remove it",
                );
            }
        }
        self.twice("purpose", spec.purposes.iter().map(|purpose| (purpose.name.clone(), purpose.line)).collect());
        self.shared_dpv();
    }

    fn purpose_dpv(&mut self, purpose: &PurposeSpec) {
        let (name, line) = (&purpose.name, purpose.line);
        let Some(id) = purpose.dpv.as_deref() else {
            if let Some(never) = self.spec.nevers.iter().find(|never| !never.purposes.is_empty()) {
                let message = format!("purpose {name} has no dpv, so never.{} cannot be checked against it", never.name);
                self.error(line, message, "give the purpose the dpv: id that fits it best");
            }
            return;
        };
        match dpv::known(id) {
            Known::Purpose => {}
            Known::Root => {
                self.error(line, format!("purpose {name} is {id}, which means any purpose"), "name what the data are used for");
            }
            Known::Unknown => {
                self.error(line, unknown(&format!("purpose {name} is"), id), nearest(id));
            }
            Known::Malformed => {
                self.error(
                    line,
                    format!("purpose {name} has the DPV id {id:?}"),
                    "write it as dpv:Name, for instance dpv:DeliveryOfGoods",
                );
            }
            Known::Foreign => {
                if let Some(never) = self.spec.nevers.iter().find(|never| !never.purposes.is_empty()) {
                    let message =
                        format!("purpose {name} is {id}, of which never.{} cannot know what it is a kind of", never.name);
                    self.error(line, message, "give the purpose the dpv: id that fits it best");
                }
            }
        }
    }

    /// What must be given must be allowed to be given.
    fn required(&mut self, purpose: &PurposeSpec) {
        let line = at(purpose.collects.required_line, purpose.line);
        for category in &purpose.collects.required {
            let whose = format!("purpose {}, required", purpose.name);
            self.known_category(&whose, category.as_str(), line);
            let clear = said(&purpose.reveal, category).is_some_and(|said| said.level == Level::Clear);
            if !purpose.writes.as_ref().map_or(clear, |listed| listed.contains(category)) {
                self.error(
                    line,
                    format!("{whose} lists {category}, which it may not write"),
                    "add it to writes, or do not require it",
                );
            }
        }
    }

    /// Two purposes of one caller with one DPV id can be declared by name only.
    fn shared_dpv(&mut self) {
        let spec = self.spec;
        let mut by_caller: BTreeMap<&CallerName, Vec<(&str, Line)>> = BTreeMap::new();
        for purpose in &spec.purposes {
            let Some(id) = purpose.dpv.as_deref() else { continue };
            for caller in &purpose.callers {
                by_caller.entry(caller).or_default().push((id, purpose.line));
            }
        }
        for (caller, own) in by_caller {
            for (id, first, line) in repeated(own.into_iter()) {
                let message = format!("{caller} has two purposes that are {id} (the other in line {first})");
                self.warn(line, message, format!("{caller} must declare them by name; or give one a narrower dpv id"));
            }
        }
    }

    fn recipients(&mut self) {
        let spec = self.spec;
        for recipient in &spec.recipients {
            let name = &recipient.name;
            self.name("recipient", name.as_str(), recipient.line);
            self.level_list(&format!("recipient {name}, at_most"), &recipient.at_most);
            if let Some(purpose) = spec.purposes.iter().find(|purpose| purpose.name.as_str() == name.as_str()) {
                let message = format!("recipient {name} has the name of a purpose (line {})", purpose.line);
                self.error(
                    recipient.line,
                    message,
                    "rename one: pseudonyms given to the recipient and for the purpose would be the same",
                );
            }
            self.terms(&format!("recipient {name}"), &recipient.terms, recipient.line);
            let excepted = spec.exceptions.iter().any(|exception| exception.callers.contains(name));
            if !excepted && !spec.purposes.iter().any(|purpose| purpose.callers.contains(name)) {
                self.warn(
                    recipient.line,
                    format!("recipient {name} is a caller of no purpose"),
                    "list it under a purpose's callers, or remove it",
                );
            }
        }
        self.twice("recipient", spec.recipients.iter().map(|recipient| (recipient.name.clone(), recipient.line)).collect());
    }

    fn nevers(&mut self) {
        let spec = self.spec;
        self.twice("never", spec.nevers.iter().map(|never| (never.name.as_str(), never.line)).collect());
        for never in &spec.nevers {
            let label = format!("never.{}", never.name);
            self.name("never", &never.name, never.line);
            if never.purposes.is_empty() && never.categories.is_empty() && never.recipients.is_empty() {
                self.error(never.line, format!("{label} names nothing"), "list the DPV ids in purposes");
            }
            for category in &never.categories {
                self.known_category(&label, category.as_str(), never.line);
            }
            for id in &never.purposes {
                match dpv::known(id) {
                    Known::Purpose | Known::Foreign if !never.categories.is_empty() || !never.recipients.is_empty() => {}
                    Known::Purpose | Known::Foreign => self.never_hit(&label, id, never.line),
                    Known::Root => self.error(
                        never.line,
                        format!("{label} names {id}, which means any purpose"),
                        "name what must not be done",
                    ),
                    Known::Unknown => self.error(never.line, unknown(&format!("{label} names"), id), nearest(id)),
                    Known::Malformed => {
                        self.error(
                            never.line,
                            format!("{label} names {id:?}"),
                            "write a DPV id, for instance dpv:SellDataToThirdParties",
                        );
                    }
                }
            }
            if !never.categories.is_empty() || !never.recipients.is_empty() {
                self.never_shown(never, &label);
            }
        }
    }

    /// A never that names categories or recipients is about what somebody is shown.
    fn never_shown(&mut self, never: &NeverSpec, label: &str) {
        let spec = self.spec;
        for purpose in &spec.purposes {
            let recipients: Vec<Option<&RecipientSpec>> =
                purpose.callers.iter().map(|caller| spec.recipients.iter().find(|recipient| recipient.name == *caller)).collect();
            let recipients = if recipients.is_empty() { vec![None] } else { recipients };
            for recipient in recipients {
                let kind = recipient.map(|recipient| recipient.kind.as_str());
                let level = |name: &CategoryName| {
                    let cap =
                        recipient.and_then(|recipient| said(&recipient.at_most, name)).map_or(Level::Clear, |said| said.level);
                    said(&purpose.reveal, name).map_or(Level::Absent, |said| said.level.meet(cap))
                };
                let shown = spec.categories.iter().find(|category| {
                    level(&category.name) != Level::Absent && forbids(never, purpose.dpv.as_deref(), kind, Some(&category.name))
                });
                if let Some(category) = shown {
                    let to = recipient.map_or_else(String::new, |recipient| format!(" to {}", recipient.name));
                    let message = format!(
                        "purpose {} shows {}{to}, which {label} (line {}) forbids",
                        purpose.name, category.name, never.line
                    );
                    let remedy = format!("make {} absent there; a never is not opened by anything", category.name);
                    self.error(purpose.line, message, remedy);
                    break;
                }
            }
        }
    }

    fn never_hit(&mut self, label: &str, id: &str, never_line: Line) {
        for purpose in &self.spec.purposes {
            let Some(own) = purpose.dpv.as_deref() else { continue };
            if dpv::is_kind_of(own, id) {
                let how = if own == id { String::new() } else { format!(", a kind of {id}") };
                let message = format!("purpose {} is {own}{how}, which {label} (line {never_line}) forbids", purpose.name);
                self.error(purpose.line, message, "remove the purpose; a never is not opened by anything");
            } else if dpv::is_kind_of(id, own) && dpv::known(own) == Known::Purpose {
                let message =
                    format!("purpose {} is {own}, which includes {id} that {label} (line {never_line}) forbids", purpose.name);
                self.warn(purpose.line, message, "give the purpose a narrower dpv id");
            }
        }
    }
}

/// Does a never forbid that a purpose of this kind shows this category to a recipient of this kind? All that the never names must come
/// together; what is not given is not named.
pub(super) fn forbids(never: &NeverSpec, dpv: Option<&str>, recipient: Option<&str>, category: Option<&CategoryName>) -> bool {
    let purposes = || dpv.is_some_and(|id| never.purposes.iter().any(|kind| dpv::is_kind_of(id, kind)));
    let recipients = || recipient.is_some_and(|kind| never.recipients.iter().any(|named| named == kind));
    let categories = || category.is_some_and(|name| never.categories.contains(name));
    (never.purposes.is_empty() || purposes())
        && (never.recipients.is_empty() || recipients())
        && (never.categories.is_empty() || categories())
}

/// `[a-z][a-z0-9-]*`, at most 64 bytes: an RFC 9651 key and token, and part of a key line's name.
fn is_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn unknown(what: &str, id: &str) -> String {
    format!("{what} {id}, which is not a purpose of DPV {}", dpv::VERSION)
}

fn nearest(id: &str) -> String {
    match dpv::nearest(id) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("choose one from https://w3id.org/dpv/{}#vocab-purposes", dpv::VERSION),
    }
}

/// The line of a rule, or of what it stands in where the rule's own is not known.
pub(super) fn at(line: Line, around: Line) -> Line {
    if line == 0 { around } else { line }
}
