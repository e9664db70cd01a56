//! Texts: what is not seen goes, and what is written in several ways becomes one.

use unicode_normalization::UnicodeNormalization;

use super::NoForm;
use super::digits::to_ascii_digit;

/// Folding and normalization each may undo a little of the other; a text is stable after two or three rounds.
const ROUNDS: usize = 8;

/// Without characters that are not seen: those that Unicode calls default-ignorable (zero-width and bidirectional controls, soft
/// hyphens, variation selectors, tags). Other control characters than white space are no spelling of anything.
///
/// # Errors
///
/// [`NoForm::Control`].
pub(super) fn visible(value: &str) -> Result<String, NoForm> {
    if value.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return Err(NoForm::Control);
    }
    Ok(value.chars().filter(|c| !is_ignorable(*c)).collect())
}

/// `Default_Ignorable_Code_Point` of Unicode.
fn is_ignorable(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x34F | 0x61C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F | 0x200B..=0x200F | 0x202A..=0x202E
        | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFF8 | 0x1_BCA0..=0x1_BCA3
        | 0x1_D173..=0x1_D17A | 0xE_0000..=0xE_0FFF)
}

/// `text`: everything of this file, and digits of every script as ASCII.
pub(super) fn text(value: &str) -> String {
    collapse(&alike(value))
}

/// Letters and digits that differ in compatibility form, composition or case only, made the same.
pub(super) fn alike(value: &str) -> String {
    let digits: String = value.chars().map(|c| to_ascii_digit(c).unwrap_or(c)).collect();
    stable(&digits, |text| nfkc(&caseless::default_case_fold_str(&nfkc(text))))
}

pub(super) fn nfc(value: &str) -> String {
    value.nfc().collect()
}

/// Compatibility forms may hold what is not seen (U+3164 in a wide form), so that goes once more.
pub(super) fn nfkc(value: &str) -> String {
    value.nfkc().filter(|c| !is_ignorable(*c)).collect()
}

pub(super) fn casefold(value: &str) -> String {
    stable(value, |text| caseless::default_case_fold_str(text).nfc().collect())
}

/// White space at the ends goes, runs of it become one space.
pub(super) fn collapse(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn stable(value: &str, round: impl Fn(&str) -> String) -> String {
    let mut before = round(value);
    for _ in 0..ROUNDS {
        let after = round(&before);
        if after == before {
            break;
        }
        before = after;
    }
    before
}
