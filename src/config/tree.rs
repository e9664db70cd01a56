//! Typed reading of a TOML tree: every wrong type, unknown key and missing key becomes a finding, and reading goes on.
//!
//! Always holds: a reader that answers `None` for a value that stands in the file has reported why. A [`Section`] knows which
//! keys were asked for, so that [`Section::finish`] can report the others. Used by the readers of both files.

use std::cell::{Cell, RefCell};
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::report::{Draft, Report};

/// Title of the top level.
const ROOT: &str = "the file";

/// Text of the file with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) value: String,
    pub(super) span: Range<usize>,
}

/// One table.
#[derive(Debug)]
pub(super) struct Section<'a> {
    /// As shown in findings: `[listen]`; [`ROOT`] for the top level.
    pub(super) title: String,
    /// The header, or the braces of an inline table.
    pub(super) span: Range<usize>,
    table: &'a DeTable<'a>,
    report: &'a Report<'a>,
    asked: RefCell<Vec<&'static str>>,
    /// Keys of work that is not done: reported in their own words.
    later: RefCell<Vec<&'static str>>,
    /// Required keys that are not there, with an example of each.
    missing: RefCell<Vec<(&'static str, String)>>,
    /// An unknown key was reported.
    unknown: Cell<bool>,
}

/// Any value, not yet of a type.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    /// As shown in findings: `` `address` in [listen] ``.
    pub(super) title: String,
    pub(super) span: Range<usize>,
    value: &'a DeValue<'a>,
    report: &'a Report<'a>,
}

impl<'a> Section<'a> {
    /// The top level of a file.
    pub(super) fn root(table: &'a DeTable<'a>, report: &'a Report<'a>) -> Self {
        Self::new(ROOT.to_owned(), 0..0, table, report)
    }

    fn new(title: String, span: Range<usize>, table: &'a DeTable<'a>, report: &'a Report<'a>) -> Self {
        let asked = RefCell::default();
        Self {
            title,
            span,
            table,
            report,
            asked,
            later: RefCell::default(),
            missing: RefCell::default(),
            unknown: Cell::default(),
        }
    }

    fn is_root(&self) -> bool {
        self.title == ROOT
    }

    /// Where findings of this table go.
    pub(super) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    /// True if the key stands in the table, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value of a key, if it is there.
    pub(super) fn optional(&self, key: &'static str) -> Option<Node<'a>> {
        self.asked.borrow_mut().push(key);
        let (_, value) = self.table.get_key_value(key)?;
        Some(self.node(key, value))
    }

    /// The value of a key that must be there. `example` completes the finding: `address = "127.0.0.1:8080"`.
    pub(super) fn required(&self, key: &'static str, example: &str) -> Option<Node<'a>> {
        let found = self.optional(key);
        if found.is_none() {
            self.missing.borrow_mut().push((key, example.to_owned()));
        }
        found
    }

    /// A table that must be there.
    pub(super) fn required_table(&self, key: &'static str, example: &str) -> Option<Section<'a>> {
        self.required(key, example)?.table()
    }

    /// A table that may be there.
    pub(super) fn optional_table(&self, key: &'static str) -> Option<Section<'a>> {
        self.optional(key)?.table()
    }

    /// Every key with its value, in the order of the file. For tables whose keys are names.
    pub(super) fn entries(&self) -> Vec<(Text, Node<'a>)> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(key, value)| (Text { value: key.get_ref().to_string(), span: key.span() }, self.node(key.get_ref(), value)))
            .collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries
    }

    /// Reports the keys of `later` that are there: they belong to work that is not done, and to ignore them would be unsafe
    /// or misleading.
    pub(super) fn refuse_later(&self, later: &[(&'static str, &str)]) {
        for (key, why) in later {
            self.later.borrow_mut().push(key);
            if let Some((name, _)) = self.table.get_key_value(*key) {
                let place = if self.is_root() { String::new() } else { format!(" in {}", self.title) };
                self.report.push(
                    Draft::error(&name.span(), format!("unknown member `{key}`{place}: {why}"))
                        .remedy("remove it; Sudare refuses to start rather than ignore it"),
                );
            }
        }
    }

    /// Reports every key that was not asked for and every required key that is not there. A slip in the name of a required
    /// key is one finding, not two.
    pub(super) fn finish(&self) {
        self.finish_but(|_name| false);
    }

    /// As [`Section::finish`], but leaves out the keys for which `skip` says yes: they were reported in another way.
    pub(super) fn finish_but(&self, skip: impl Fn(&str) -> bool) {
        let asked = self.asked.borrow();
        let mut explained = Vec::new();
        for (key, value) in self.table {
            let name: &str = key.get_ref();
            if asked.contains(&name) || self.later.borrow().contains(&name) || skip(name) {
                continue;
            }
            // A slip can only mean a key that is not already there.
            let free = asked.iter().copied().filter(|known| !self.table.contains_key(*known));
            let mut valid: Vec<&str> = asked.to_vec();
            valid.sort_unstable();
            valid.dedup();
            let remedy =
                if valid.is_empty() { "remove it".to_owned() } else { format!("remove it; valid here: {}", valid.join(", ")) };
            let message = match (self.is_root(), value.get_ref().is_table()) {
                (true, true) => format!("unknown table [{}]", shorten(name)),
                (true, false) => format!("unknown member `{}` at the top of the file", shorten(name)),
                (false, _) => format!("unknown member `{}` in {}", shorten(name), self.title),
            };
            let draft = Draft::error(&key.span(), message).near(name, free).remedy(remedy);
            self.unknown.set(true);
            explained.extend(draft.nearest.clone());
            self.report.push(draft);
        }
        for (key, example) in self.missing.borrow().iter() {
            if !explained.iter().any(|name| name == key) && !self.report.source.has_lost(key) {
                let place = if self.is_root() { String::new() } else { format!(" in {}", self.title) };
                self.report.push(Draft::error(&self.span, format!("`{key}` is missing{place}")).remedy(format!("add {example}")));
            }
        }
    }

    /// From the header to the end of the last value.
    pub(super) fn extent(&self) -> Range<usize> {
        self.span.start..end_of(self.table).max(self.span.end)
    }

    /// True if [`Section::finish`] reported an unknown key, which may be a slip in the name of a missing one.
    pub(super) fn has_unknown(&self) -> bool {
        self.unknown.get()
    }

    fn node(&self, key: &str, value: &'a Spanned<DeValue<'a>>) -> Node<'a> {
        let title = if self.is_root() { format!("`{}`", shorten(key)) } else { format!("`{}` in {}", shorten(key), self.title) };
        Node { title, span: value.span(), value: value.get_ref(), report: self.report }
    }
}

impl<'a> Node<'a> {
    /// Text that is not empty.
    pub(super) fn text(&self) -> Option<Text> {
        match self.value {
            DeValue::String(text) if text.trim().is_empty() => {
                self.report.push(
                    Draft::error(&self.span, format!("{} is empty", self.title))
                        .remedy("write what it should be, or remove the line"),
                );
                None
            }
            DeValue::String(text) => Some(Text { value: text.to_string(), span: self.span.clone() }),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => self.wrong_type("text", "put it in quotation marks: \"…\""),
        }
    }

    /// True if the value is text, so that [`Node::text`] does not complain about its type.
    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// True for this very text; anything else is left for others to complain about.
    pub(super) fn is(&self, word: &str) -> bool {
        self.value.as_str() == Some(word)
    }

    /// True for `[]`.
    pub(super) fn is_empty_list(&self) -> bool {
        self.value.as_array().is_some_and(|items| items.is_empty())
    }

    /// Where findings of this value go.
    pub(super) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    /// True if the value is a table, so that [`Node::table`] does not complain about its type.
    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        let value = self.value.as_bool();
        if value.is_none() {
            return self.wrong_type("true or false", "write true or false, without quotation marks");
        }
        value
    }

    /// A whole number in `range`; `unit` completes the finding and may be empty.
    pub(super) fn integer(&self, range: RangeInclusive<u64>, unit: &str) -> Option<u64> {
        let (low, high) = (range.start(), range.end());
        let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
        let wanted = format!("a whole number from {low} to {high}{unit}");
        let DeValue::Integer(number) = self.value else {
            return self.wrong_type(&wanted, "write the number without quotation marks, unit and decimal point");
        };
        let value = u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|value| range.contains(value));
        if value.is_none() {
            let found = self.report.source.readable_at(&self.span);
            self.report.push(
                Draft::error(&self.span, format!("{} is {}", self.title, shorten(found)))
                    .expected(wanted)
                    .remedy("change the number, or remove the line to use the default"),
            );
        }
        value
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            // Where there is one word only, the remedy names it already.
            let choice = names.iter().copied().filter(|_| names.len() > 1);
            self.report.push(
                Draft::error(&self.span, format!("{} is \"{}\"", self.title, shorten(&text.value)))
                    .near(&text.value, choice)
                    .remedy(format!("write {}", one_of(&names))),
            );
        }
        found
    }

    /// A table.
    pub(super) fn table(&self) -> Option<Section<'a>> {
        let DeValue::Table(table) = self.value else {
            return self.wrong_type("a table", "write { name = value, … }, or a header [name] with lines below it");
        };
        Some(Section::new(self.table_title(), self.span.clone(), table, self.report))
    }

    /// A table with the title it should have in findings.
    pub(super) fn table_named(&self, title: impl Into<String>) -> Option<Section<'a>> {
        let mut section = self.table()?;
        section.title = title.into();
        Some(section)
    }

    /// A list of texts. What is not text is reported and left out.
    pub(super) fn texts(&self) -> Option<Vec<Text>> {
        Some(self.items("[\"…\", \"…\"]")?.iter().filter_map(Node::text).collect())
    }

    /// A list.
    pub(super) fn items(&self, example: &str) -> Option<Vec<Node<'a>>> {
        let DeValue::Array(items) = self.value else { return self.wrong_type("a list", &format!("write {example}")) };
        Some(self.nodes(items))
    }

    /// Reports that the value has another type than it should. Always `None`, for the caller to return.
    pub(super) fn wrong_type<T>(&self, wanted: &str, remedy: &str) -> Option<T> {
        let found = match self.value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a decimal point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.report.push(Draft::error(&self.span, format!("{} is {found}", self.title)).expected(wanted).remedy(remedy));
        None
    }

    fn nodes(&self, items: &'a DeArray<'a>) -> Vec<Node<'a>> {
        let title = format!("an entry of {}", self.title);
        items
            .iter()
            .map(|item| Node { title: title.clone(), span: item.span(), value: item.get_ref(), report: self.report })
            .collect()
    }

    /// `` `kek` in [keys] `` becomes `[keys] kek`; a top-level `` `listen` `` becomes `[listen]`.
    fn table_title(&self) -> String {
        match self.title.split_once(" in ") {
            Some((name, place)) => format!("{place} {}", name.trim_matches('`')),
            None => format!("[{}]", self.title.trim_matches('`')),
        }
    }
}

fn end_of(table: &DeTable<'_>) -> usize {
    let ends = table.values().map(|value| match value.get_ref() {
        DeValue::Table(table) => end_of(table).max(value.span().end),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => value.span().end,
    });
    ends.max().unwrap_or(0)
}

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`.
pub(super) fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// The text, cut where it would fill the line.
pub(super) fn shorten(text: &str) -> String {
    // Invisible characters and those that turn the direction of writing would make the message say something else.
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut short: String = text.chars().take(60).map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    short
}
