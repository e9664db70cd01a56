//! Paths to values of a document, as written in the configuration: `$.address`, `$.phones[*]`, `$["any name"]`.
//!
//! A [`Selector`] always starts at `$` and has at most [`MAX_STEPS`] steps, [`MAX_WILDCARDS`] of them wildcards. Its text form and its
//! parsed form stand for each other one to one. `config` parses them, [`super::Map`] compiles them.

use std::fmt;

use super::text::{unescape, write_string};
use crate::base::limits::MAX_JSON_DEPTH;

/// Most wildcards (`[*]`, `.*`) in one selector; [`super::Found::wildcards`] has room for as many.
pub const MAX_WILDCARDS: usize = 4;
/// Most steps in one selector: no value lies deeper in a document that is read at all.
pub const MAX_STEPS: usize = MAX_JSON_DEPTH;

/// A path to values of a document.
///
/// `$` is the document, `.name` and `["any name"]` a member, `.*` every member of an object, `[n]` one element of an array and `[*]`
/// every element. `.*` does not match array elements, `[*]` does not match members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    steps: Vec<Step>,
}

/// The text is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SelectorError {
    /// Byte offset in the text at which something else was expected.
    pub at: usize,
    /// What was expected there, and how to write it.
    pub message: String,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    ///
    /// [`SelectorError`] with the byte offset of the first place that does not fit.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        Parser { text, at: 0, wildcards: 0 }.selector()
    }

    /// `self` with `below`, which starts at what `self` selects, appended: `$.items[*]` and `$.name` give `$.items[*].name`.
    #[must_use]
    pub fn join(&self, below: &Selector) -> Selector {
        Selector { steps: self.steps.iter().chain(&below.steps).cloned().collect() }
    }

    /// What the first wildcard goes through: `$.phones` for `$.phones[*]`. `None` without one.
    pub fn before_wildcard(&self) -> Option<Selector> {
        let at = self.steps.iter().position(|step| matches!(step, Step::AnyMember | Step::AnyElement))?;
        Some(Selector { steps: self.steps.iter().take(at).cloned().collect() })
    }

    /// The name of the last step that names a member, e.g. `phones` for `$.phones[*]`. None for `$` and `$[*]`.
    pub fn last_member(&self) -> Option<&str> {
        self.steps.iter().rev().find_map(|step| match step {
            Step::Member(name) => Some(&**name),
            Step::AnyMember | Step::Element(_) | Step::AnyElement => None,
        })
    }

    /// True for `$` itself.
    pub fn is_root(&self) -> bool {
        self.steps.is_empty()
    }

    /// The steps down from `$`, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.steps.iter().try_for_each(|step| step.fmt(f))
    }
}

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `.name`
    Member(Box<str>),
    /// `.*`
    AnyMember,
    /// `[n]`
    Element(u32),
    /// `[*]`
    AnyElement,
}

impl Step {
    /// True if the step leads into an object, false if into an array.
    pub(super) fn is_into_object(&self) -> bool {
        matches!(self, Step::Member(_) | Step::AnyMember)
    }

    pub(super) fn is_wildcard(&self) -> bool {
        matches!(self, Step::AnyMember | Step::AnyElement)
    }

    /// True if there is a value that both steps lead to.
    pub(super) fn meets(&self, other: &Step) -> bool {
        match (self, other) {
            (Step::Member(a), Step::Member(b)) => a == b,
            (Step::Element(a), Step::Element(b)) => a == b,
            (Step::AnyMember, _) => other.is_into_object(),
            (_, Step::AnyMember) => self.is_into_object(),
            (Step::AnyElement, _) => !other.is_into_object(),
            (_, Step::AnyElement) => !self.is_into_object(),
            (Step::Member(_), Step::Element(_)) | (Step::Element(_), Step::Member(_)) => false,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Member(name) if !name.is_empty() && name.chars().all(|c| stands_bare(c) && !is_unseen(c)) => {
                write!(f, ".{name}")
            }
            Step::Member(name) => {
                let mut quoted = Vec::with_capacity(name.len() + 2);
                write_string(name, &mut quoted);
                write!(f, "[{}]", String::from_utf8_lossy(&quoted))
            }
            Step::AnyMember => f.write_str(".*"),
            Step::Element(n) => write!(f, "[{n}]"),
            Step::AnyElement => f.write_str("[*]"),
        }
    }
}

/// True for characters of a name that needs no quotes.
fn stands_bare(c: char) -> bool {
    !matches!(c, '.' | '[' | ']' | '"' | '\'' | '*') && !c.is_whitespace() && !c.is_control()
}

/// Characters that are not seen, or turn the reading direction: in quotes, where they can be written as escapes.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    wildcards: usize,
}

impl Parser<'_> {
    fn selector(mut self) -> Result<Selector, SelectorError> {
        if !self.take("$") {
            return self.wrong("a selector starts with `$`, the document itself, e.g. `$.name`");
        }
        let mut steps = Vec::new();
        while !self.rest().is_empty() {
            if steps.len() == MAX_STEPS {
                return self.wrong(&format!("a selector has at most {MAX_STEPS} steps"));
            }
            let from = self.at;
            let step = self.step()?;
            if step.is_wildcard() {
                self.wildcards += 1;
                if self.wildcards > MAX_WILDCARDS {
                    self.at = from;
                    return self.wrong(&format!("a selector has at most {MAX_WILDCARDS} wildcards"));
                }
            }
            steps.push(step);
        }
        Ok(Selector { steps })
    }

    fn step(&mut self) -> Result<Step, SelectorError> {
        if self.take(".") {
            self.bare()
        } else if self.take("[") {
            self.bracket()
        } else {
            self.wrong("expected `.name`, `.*`, `[*]`, `[n]` or `[\"name\"]`")
        }
    }

    /// After a `.`: a bare name or `*`.
    fn bare(&mut self) -> Result<Step, SelectorError> {
        if self.take("*") {
            return match self.rest().chars().next() {
                None | Some('.' | '[') => Ok(Step::AnyMember),
                Some(_) => self.wrong("`.*` stands alone; write a name that has a `*` as [\"name\"]"),
            };
        }
        let name: String = self.rest().chars().take_while(|c| stands_bare(*c)).collect();
        self.at += name.len();
        match self.rest().chars().next() {
            _ if name.is_empty() => {
                self.wrong("expected a name after `.`; names with dots, brackets, quotes or spaces are written [\"like this\"]")
            }
            None | Some('.' | '[') => Ok(Step::Member(name.into())),
            Some(_) => self.wrong("a name with this character is written in brackets and quotes: [\"name\"]"),
        }
    }

    /// After a `[`: `*`, a number or a quoted name, and the `]`.
    fn bracket(&mut self) -> Result<Step, SelectorError> {
        let step = if self.take("*") {
            Step::AnyElement
        } else if self.rest().starts_with('"') {
            self.quoted()?
        } else {
            self.number()?
        };
        if self.take("]") { Ok(step) } else { self.wrong("expected `]`") }
    }

    fn quoted(&mut self) -> Result<Step, SelectorError> {
        let mut escaped = false;
        let closing = self.rest().bytes().enumerate().skip(1).find_map(|(i, b)| {
            let closes = b == b'"' && !escaped;
            escaped = b == b'\\' && !escaped;
            closes.then_some(i)
        });
        let Some(length) = closing.map(|i| i + 1) else {
            return self.wrong("expected the closing quote of the name");
        };
        match self.rest().as_bytes().get(..length).and_then(unescape) {
            Some(name) => {
                let step = Step::Member(name.into());
                self.at += length;
                Ok(step)
            }
            None => self.wrong("a quoted name is a JSON string, with JSON's escapes"),
        }
    }

    fn number(&mut self) -> Result<Step, SelectorError> {
        let digits: String = self.rest().chars().take_while(char::is_ascii_digit).collect();
        if digits.is_empty() {
            return self.wrong("expected `*`, a number from 0 up, or a name in double quotes");
        }
        if digits.len() > 1 && digits.starts_with('0') {
            return self.wrong("an element's number has no leading zeros");
        }
        match digits.parse() {
            Ok(n) => {
                self.at += digits.len();
                Ok(Step::Element(n))
            }
            Err(_) => self.wrong("an element's number is below 4294967296"),
        }
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn wrong<T>(&self, message: &str) -> Result<T, SelectorError> {
        Err(SelectorError { at: self.at, message: message.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> usize {
        Selector::parse(text).expect_err(text).at
    }

    #[test]
    fn selectors_are_shown_as_they_are_written() {
        for text in [
            "$",
            "$.name",
            "$.a.b",
            "$.phones[*]",
            "$[0]",
            "$[10].x",
            "$.*",
            "$.*.id",
            "$[\"any name\"][\"a.b\"]",
            "$[\"\"]",
            "$.名前.é",
            "$[\"q\\\"\\\\\\n\"]",
            "$.a[*][*][*][*]",
        ] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Selector::parse("$[\"name\"]").unwrap(), Selector::parse("$.name").unwrap());
        assert_eq!(Selector::parse("$[\"\\u006eame\"]").unwrap().to_string(), "$.name");
    }

    #[test]
    fn errors_point_at_the_place() {
        assert_eq!(at(""), 0);
        assert_eq!(at("name"), 0);
        assert_eq!(at("$name"), 1);
        assert_eq!(at("$."), 2);
        assert_eq!(at("$.a..b"), 4);
        assert_eq!(at("$.a b"), 3);
        assert_eq!(at("$.a]"), 3);
        assert_eq!(at("$.*x"), 3);
        assert_eq!(at("$.a*"), 3);
        assert_eq!(at("$[01]"), 2);
        assert_eq!(at("$[-1]"), 2);
        assert_eq!(at("$[4294967296]"), 2);
        assert_eq!(at("$[*"), 3);
        assert_eq!(at("$[\"a]"), 2);
        assert_eq!(at("$[\"\\x\"]"), 2);
        assert_eq!(at("$['a']"), 2);
        assert_eq!(at("$.é[x]"), 5);
        assert_eq!(at("$[*][*].*.a[*][*]"), 14);
    }

    #[test]
    fn joins_and_last_members() {
        let row = Selector::parse("$.items[*]").unwrap();
        assert_eq!(row.join(&Selector::parse("$.name").unwrap()).to_string(), "$.items[*].name");
        assert_eq!(row.last_member(), Some("items"));
        assert_eq!(Selector::parse("$[*]").unwrap().last_member(), None);
        assert!(Selector::parse("$").unwrap().is_root() && !row.is_root());
        let list = Selector::parse("$.a.b[*].c[*]").unwrap();
        assert_eq!(list.before_wildcard().unwrap().to_string(), "$.a.b");
        assert_eq!(Selector::parse("$.a[1]").unwrap().before_wildcard(), None);
    }

    #[test]
    fn steps_meet() {
        let step = |text: &str| Selector::parse(text).unwrap().steps[0].clone();
        assert!(step("$.a").meets(&step("$.*")) && step("$.*").meets(&step("$.*")) && step("$[3]").meets(&step("$[*]")));
        assert!(
            !step("$.a").meets(&step("$.b"))
                && !step("$.*").meets(&step("$[*]"))
                && !step("$[1]").meets(&step("$[2]"))
                && !step("$[*]").meets(&step("$.a"))
        );
    }
}
