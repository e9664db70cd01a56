//! Telephone numbers, as E.164 writes them: `+85223456789`.
//!
//! What a number is in its country says the crate `phonenumber`, with the numbering plans that Google's libphonenumber publishes. It gets
//! nothing but digits and a plus: separators, digits of other scripts and extensions are dealt with here.

use std::fmt;
use std::str::FromStr;

use phonenumber::Mode;
use phonenumber::country::Id;

use super::digits::to_ascii_digit;
use super::{NoForm, ParseStepError};

/// Most digits that are read as a number: E.164 has 15, before which a prefix of some digits may be dialled.
const MAX_DIGITS: usize = 22;
/// What stands before digits that are no number of E.164, and how many they are.
const DIALLED: &str = "dialled:";
const DIALLED_DIGITS: std::ops::RangeInclusive<usize> = 4..=MAX_DIGITS;
/// Most digits of an extension.
const MAX_EXTENSION: usize = 7;

/// The region that numbers without country code belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region(Id);

impl FromStr for Region {
    type Err = ParseStepError;

    fn from_str(text: &str) -> Result<Self, ParseStepError> {
        if text.len() != 2 || !text.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(ParseStepError::Region);
        }
        text.parse().map(Self).map_err(|_unknown| ParseStepError::Region)
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref())
    }
}

/// The number in E.164. Numbers that no plan knows are taken as they are dialled, so that they are found as well. What cannot be written in
/// E.164 at all, or would be read as another number, keeps the digits that are dialled: `dialled:+4909008`, and without country code those of
/// its region, `dialled:DE:0028677427`.
pub(super) fn e164(value: &str, region: Option<Region>) -> Result<String, NoForm> {
    if is_own_form(value, region) {
        return Ok(value.to_owned());
    }
    if let Ok(number) = in_plan(value, region)
        && in_plan(&number, region).is_ok_and(|again| again == number)
    {
        return Ok(number);
    }
    let (plus, digits) = dialled(value)?;
    match region {
        _ if !DIALLED_DIGITS.contains(&digits.len()) => Err(NoForm::Phone),
        _ if plus => Ok(format!("{DIALLED}+{digits}")),
        Some(region) => Ok(format!("{DIALLED}{region}:{digits}")),
        None => Err(NoForm::Phone),
    }
}

/// Was it made here before?
fn is_own_form(value: &str, region: Option<Region>) -> bool {
    let own = value.strip_prefix(DIALLED).and_then(|rest| {
        let of_region = || rest.strip_prefix(&region?.to_string())?.strip_prefix(':');
        rest.strip_prefix('+').or_else(of_region)
    });
    own.is_some_and(|digits| DIALLED_DIGITS.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn in_plan(value: &str, region: Option<Region>) -> Result<String, NoForm> {
    let (plus, digits) = dialled(value)?;
    let with_plus = format!("+{digits}");
    // In this order; the first that a numbering plan knows.
    let mut spellings = vec![if plus { with_plus.clone() } else { digits.clone() }];
    if let Some(international) = digits.strip_prefix("00").filter(|_| !plus) {
        spellings.push(format!("+{international}"));
    }
    let mut first = None;
    for spelling in &spellings {
        let Some((number, valid)) = read(spelling, region) else { continue };
        if valid {
            return Ok(number);
        }
        if let Some(better) = without_trunk_zero(spelling, region) {
            return Ok(better);
        }
        first.get_or_insert(number);
    }
    first.ok_or(NoForm::Phone)
}

/// `+44 020 7946 0958`: the zero that is dialled inside the country only.
fn without_trunk_zero(spelling: &str, region: Option<Region>) -> Option<String> {
    let digits = spelling.strip_prefix('+')?;
    (1..=3).find_map(|code| {
        let (code, rest) = digits.split_at_checked(code)?;
        let (number, valid) = read(&format!("+{code}{}", rest.strip_prefix('0')?), region)?;
        valid.then_some(number)
    })
}

fn read(spelling: &str, region: Option<Region>) -> Option<(String, bool)> {
    let number = phonenumber::parse(region.map(|region| region.0), spelling).ok()?;
    let text = number.format().mode(Mode::E164).to_string();
    let digits = text.strip_prefix('+')?;
    let fits = (4..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    fits.then(|| (text.clone(), number.is_valid()))
}

/// Whether a plus stands first, and the digits. Without `tel:`, separators, the zero in `+44 (0)20`, and an extension at the end.
fn dialled(value: &str) -> Result<(bool, String), NoForm> {
    let value = value.trim();
    let value =
        value.split_at_checked(4).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("tel:")).map_or(value, |(_, rest)| rest);
    let value = without_extension(value)?;
    let mut plus = false;
    let mut digits = String::new();
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '+' | '\u{ff0b}' if !plus && digits.is_empty() => plus = true,
            c if to_ascii_digit(c).is_some() => digits.extend(to_ascii_digit(c)),
            '(' | '\u{ff08}' if plus => {
                let mut ahead = chars.clone();
                if ahead.next().and_then(to_ascii_digit) == Some('0') && matches!(ahead.next(), Some(')' | '\u{ff09}')) {
                    chars = ahead;
                }
            }
            c if is_separator(c) => {}
            _ => return Err(NoForm::Phone),
        }
    }
    if digits.is_empty() || digits.len() > MAX_DIGITS { Err(NoForm::Phone) } else { Ok((plus, digits)) }
}

/// Cuts `x22915`, `ext. 12`, `;ext=12`, `#12`: who answers is not who is called.
fn without_extension(value: &str) -> Result<&str, NoForm> {
    let Some(at) = value.find(['x', 'X', '#', ';', 'e', 'E']) else { return Ok(value) };
    let (number, rest) = value.split_at_checked(at).ok_or(NoForm::Phone)?;
    let lower = rest.to_ascii_lowercase();
    let words = [";ext=", "extension", "extn", "ext", "x", "#"];
    let extension = words.iter().find_map(|word| lower.strip_prefix(word)).ok_or(NoForm::Phone)?;
    let extension = extension.trim_matches(|c: char| c.is_whitespace() || ".:=".contains(c));
    let count = extension.chars().count();
    let fits = (1..=MAX_EXTENSION).contains(&count) && extension.chars().all(|c| to_ascii_digit(c).is_some());
    if fits { Ok(number) } else { Err(NoForm::Phone) }
}

fn is_separator(c: char) -> bool {
    c.is_whitespace()
        || "-.()/[]~".contains(c)
        || matches!(
            c,
            '\u{2010}'
                ..='\u{2015}'
                    | '\u{2212}'
                    | '\u{30fb}'
                    | '\u{30fc}'
                    | '\u{ff08}'
                    | '\u{ff09}'
                    | '\u{ff0d}'
                    | '\u{ff0e}'
                    | '\u{ff0f}'
                    | '\u{b7}'
        )
}
