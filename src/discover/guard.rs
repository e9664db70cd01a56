//! What the leak guard looks for in documents that are written: values that look personal for certain, at paths nobody mapped.
//!
//! Only detectors that are cheap and that chance rarely passes: e-mail syntax, numbers with `+` (E.164), Chinese resident ids, IBANs, cards.
//! Always holds: a path that is given out is safe to show: array elements and members whose names are no short plain words are `[*]` and
//! `?`, so a name that is itself personal is not among them.

use std::ops::Range;

use super::contact::{self, Phone};
use super::paths::is_value;
use super::text::grouped_digits;
use super::{Category, checks};
use crate::document::{elements, members, unescape};

/// Shorter texts are none of what is looked for, and longer ones are not either.
const TEXTS: Range<usize> = 6..255;
/// Values looked at in one document.
const MAX_VALUES: usize = 1000;
/// Deepest path that is told apart.
const MAX_STEPS: usize = 8;
/// Longest member name that is shown.
const MAX_NAME: usize = 32;

/// What was seen at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saw {
    /// A value that looks personal.
    Personal,
    /// A number of a card's length that is none. One such number in ten passes the check by chance, so where these outnumber the others,
    /// no cards are kept.
    NoCard,
}

/// Looks at the document at `row` of a text that was walked. `mapped` are the values that the configuration knows, in order; they are not
/// looked at. Every value that looks personal is told with its path.
pub fn look(text: &[u8], row: Range<usize>, mapped: &[Range<usize>], mut tell: impl FnMut(&str, Category, Saw)) {
    let mut path = String::from("$");
    let mut left = MAX_VALUES;
    visit(text, row, mapped, &mut path, 0, &mut left, &mut tell);
}

fn visit(
    text: &[u8],
    span: Range<usize>,
    mapped: &[Range<usize>],
    path: &mut String,
    depth: usize,
    left: &mut usize,
    tell: &mut impl FnMut(&str, Category, Saw),
) {
    if *left == 0 || mapped.binary_search_by_key(&span.start, |value| value.start).is_ok() {
        return;
    }
    let length = path.len();
    match text.get(span.start) {
        Some(b'{') => {
            for member in members(text, span) {
                if depth < MAX_STEPS {
                    path.push('.');
                    path.push_str(shown(&member.name));
                }
                visit(text, member.value, mapped, path, depth + 1, left, tell);
                path.truncate(length);
            }
        }
        Some(b'[') => {
            if depth < MAX_STEPS {
                path.push_str("[*]");
            }
            for element in elements(text, span) {
                visit(text, element, mapped, path, depth + 1, left, tell);
            }
            path.truncate(length);
        }
        Some(b'"') if TEXTS.contains(&(span.end - span.start)) => {
            *left -= 1;
            if let Some((category, saw)) = text.get(span).and_then(unescape).and_then(|text| certain(text.trim())) {
                tell(path, category, saw);
            }
        }
        Some(b'1'..=b'9') if TEXTS.contains(&(span.end - span.start)) => {
            *left -= 1;
            let number = text.get(span).and_then(|number| std::str::from_utf8(number).ok());
            if let Some((category, saw)) = number.and_then(certain) {
                tell(path, category, saw);
            }
        }
        _ => {}
    }
}

/// What a value is for certain, if anything.
fn certain(text: &str) -> Option<(Category, Saw)> {
    // One look at the bytes spares most texts the rest.
    if text.contains('@') {
        return contact::is_email(text).then_some((Category::Email, Saw::Personal));
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits < 8 || text.len() > 42 || digits * 2 < text.len() {
        return None;
    }
    if text.starts_with('+') {
        return (contact::phone(text) == Some(Phone::International)).then_some((Category::Phone, Saw::Personal));
    }
    if checks::chinese_resident_id(text) {
        return Some((Category::OfficialId, Saw::Personal));
    }
    if let Some(digits) = grouped_digits(text) {
        let saw = if checks::card(&digits) { Saw::Personal } else { Saw::NoCard };
        return (13..=19).contains(&digits.len()).then_some((Category::Card, saw));
    }
    checks::iban(&text.replace(' ', "")).then_some((Category::BankAccount, Saw::Personal))
}

/// A member's name as it may be shown.
pub fn shown(name: &str) -> &str {
    let plain =
        (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if plain && !is_value(name) { name } else { "?" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, mapped: &[Range<usize>]) -> Vec<String> {
        let mut told = Vec::new();
        look(text.as_bytes(), 0..text.len(), mapped, |path, category, saw| {
            let no = if saw == Saw::NoCard { "no " } else { "" };
            told.push(format!("{path} {no}{}", category.as_str()));
        });
        told
    }

    #[test]
    fn what_looks_personal_is_told_with_a_path_that_may_be_shown() {
        let text = r#"{"note":"mei@example.com","a":{"b":[{"call":"+81 3-5550-1234"},"DE89 3704 0044 0532 0130 00"]},"n":4111111111111111,
            "mei@example.com":"11010519491231002X","ünicode":"a@example.com","x y":"b@example.com","090-1234-5678":["c@example.com"]}"#;
        assert_eq!(
            told(text, &[]),
            [
                "$.note email",
                "$.a.b[*].call phone",
                "$.a.b[*] bank-account",
                "$.n card",
                "$.? official-id",
                "$.? email",
                "$.? email",
                "$.?[*] email"
            ]
        );
    }

    #[test]
    fn what_is_mapped_and_what_is_something_else_is_not() {
        let text = r#"{"email":"mei@example.com","sealed":"sdr1.x.7k2m9q4t.abcdef","date":"2024-01-02T03:04:05Z","id":"0001234567890123","at":"a@b",
            "uuid":"123e4567-e89b-12d3-a456-426614174000","price":12345678.5,"version":"1.2.3","none":null,"yes":true}"#;
        let at = text.find("\"mei").unwrap();
        assert_eq!(told(text, std::slice::from_ref(&(at..at + 17))), ["$.id no card"]);
        assert_eq!(told(text, &[]), ["$.email email", "$.id no card"]);
    }

    #[test]
    fn work_is_bounded() {
        let text = format!("[{}]", vec!["\"a@example.com\""; 5000].join(","));
        assert_eq!(told(&text, &[]).len(), MAX_VALUES);
        let deep = format!("{}\"a@example.com\"{}", "{\"a\":".repeat(50), "}".repeat(50));
        assert_eq!(told(&deep, &[]), [format!("${} email", ".a".repeat(MAX_STEPS))]);
    }
}
