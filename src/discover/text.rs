//! What is done to every text before it is looked at, and which letters it is of.

use std::borrow::Cow;

/// The text without surrounding white space, with full-width, Arabic-Indic and Persian digits and full-width punctuation as ASCII.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(ascii).collect())
}

fn ascii(c: char) -> char {
    let from = |zero: u32, base: u32| char::from_u32(base + (u32::from(c) - zero)).unwrap_or(c);
    match c {
        '０'..='９' => from(0xff10, 0x30),
        'Ａ'..='Ｚ' => from(0xff21, 0x41),
        'ａ'..='ｚ' => from(0xff41, 0x61),
        '٠'..='٩' => from(0x660, 0x30),
        '۰'..='۹' => from(0x6f0, 0x30),
        '＋' => '+',
        '－' | '‐' | '‑' | '−' | '–' => '-',
        '（' => '(',
        '）' => ')',
        '．' => '.',
        '／' => '/',
        '＠' => '@',
        '\u{3000}' | '\u{a0}' => ' ',
        _ => c,
    }
}

/// The digits of a text in which only spaces and hyphens stand beside them.
pub(super) fn grouped_digits(text: &str) -> Option<String> {
    let fits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ' || byte == b'-');
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (fits && digits.len() > 5).then_some(digits)
}

/// Chinese characters, also those that only Japanese uses.
pub(super) fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2fa1f}' | '々')
}

/// Hiragana and katakana.
pub(super) fn is_kana(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9d}')
}

/// Korean syllables.
pub(super) fn is_hangul(c: char) -> bool {
    matches!(c, '\u{ac00}'..='\u{d7a3}')
}

/// Arabic letters and their marks.
pub(super) fn is_arabic(c: char) -> bool {
    matches!(c, '\u{620}'..='\u{65f}' | '\u{670}'..='\u{6d3}' | '\u{750}'..='\u{77f}')
}
