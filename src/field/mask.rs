//! The level `masked`: enough of a value to recognise it, not enough to use it.
//!
//! Always holds: a mask works on characters, shows at most half of them, and the number of `•` does not depend on the value, so that its
//! length does not leak. A mask never fails: what it cannot take apart is masked whole. `config` parses masks, `reveal` applies them.

use std::fmt;
use std::str::FromStr;

use memchr::memchr_iter;

/// The mask character, U+2022. A write that carries it is refused, so that a masked value never replaces the real one (T26).
const MASK_CHARACTER: char = '•';
/// What stands for a part of unknown length where one end is shown, and for a whole value.
const HIDDEN: &str = "••••";
/// What stands for the rest of a word.
const REST: &str = "•••";
/// Words of which initials are shown; the rest is hidden as one.
const MAX_INITIALS: usize = 4;
/// Digits of a phone number that are shown at most.
const PHONE_DIGITS: usize = 4;

/// How `masked` looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask {
    /// `keep-last:4`: at most that many last characters, `••••9018`.
    KeepLast(u8),
    /// `keep-first:1`: at most that many first characters, `T••••`.
    KeepFirst(u8),
    /// `email`: first character and domain, `m•••@example.com`.
    Email,
    /// `phone`: the last four digits, `••••1234`.
    Phone,
    /// `initials`: the first character of each word, `M••• T•••`.
    Initials,
    /// `all`: nothing, `••••`.
    All,
}

/// The text is not a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mask is one of keep-last:N, keep-first:N (N from 1 to 255), email, phone, initials, all")]
pub struct ParseMaskError;

impl Mask {
    /// Reads a mask as written in the configuration.
    ///
    /// # Errors
    ///
    /// [`ParseMaskError`] names the accepted forms.
    pub fn parse(text: &str) -> Result<Self, ParseMaskError> {
        match text.split_once(':') {
            Some(("keep-last", count)) => Ok(Self::KeepLast(characters(count)?)),
            Some(("keep-first", count)) => Ok(Self::KeepFirst(characters(count)?)),
            None if text == "email" => Ok(Self::Email),
            None if text == "phone" => Ok(Self::Phone),
            None if text == "initials" => Ok(Self::Initials),
            None if text == "all" => Ok(Self::All),
            _ => Err(ParseMaskError),
        }
    }

    /// The masked form of the text of a string.
    pub(crate) fn apply(&self, text: &str) -> String {
        match self {
            Self::KeepLast(most) => {
                let kept = kept(text.chars().count(), usize::from(*most));
                let shown: String = text.chars().skip(text.chars().count() - kept).collect();
                format!("{HIDDEN}{shown}")
            }
            Self::KeepFirst(most) => {
                let shown: String = text.chars().take(kept(text.chars().count(), usize::from(*most))).collect();
                format!("{shown}{HIDDEN}")
            }
            Self::Email => email(text),
            Self::Phone => {
                let digits: Vec<char> = text.chars().filter(|c| c.is_numeric()).collect();
                let shown: String = digits.iter().skip(digits.len() - kept(digits.len(), PHONE_DIGITS)).collect();
                format!("{HIDDEN}{shown}")
            }
            Self::Initials => initials(text),
            Self::All => Self::whole().to_string(),
        }
    }

    /// The masked form of a value that is no string: the same for every value.
    pub(crate) fn whole() -> &'static str {
        HIDDEN
    }
}

impl FromStr for Mask {
    type Err = ParseMaskError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepLast(count) => write!(f, "keep-last:{count}"),
            Self::KeepFirst(count) => write!(f, "keep-first:{count}"),
            Self::Email => f.write_str("email"),
            Self::Phone => f.write_str("phone"),
            Self::Initials => f.write_str("initials"),
            Self::All => f.write_str("all"),
        }
    }
}

/// 1 to 255, in its shortest spelling.
fn characters(text: &str) -> Result<u8, ParseMaskError> {
    match text.parse::<u8>() {
        Ok(count) if count > 0 && count.to_string() == text => Ok(count),
        _ => Err(ParseMaskError),
    }
}

/// How many of `count` characters are shown: at most `most`, and never more than half.
fn kept(count: usize, most: usize) -> usize {
    most.min(count / 2)
}

/// The last `@` divides, as in RFC 5321: a local part may hold others in quotes.
fn email(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => {
            let first: String = local.chars().take(kept(local.chars().count(), 1)).collect();
            format!("{first}{REST}@{domain}")
        }
        _ => HIDDEN.to_string(),
    }
}

fn initials(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace().take(MAX_INITIALS) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().take(kept(word.chars().count(), 1)));
        out.push_str(REST);
    }
    if out.is_empty() { HIDDEN.to_string() } else { out }
}

/// True if `•` stands anywhere in the JSON text, as itself or escaped (`\u2022`).
pub(super) fn has_mask_character(json: &[u8]) -> bool {
    let mut room = [0; 4];
    let utf8 = MASK_CHARACTER.encode_utf8(&mut room).as_bytes();
    let first = utf8.first().copied().unwrap_or_default();
    if memchr_iter(first, json).any(|at| json.get(at..).is_some_and(|rest| rest.starts_with(utf8))) {
        return true;
    }
    // In JSON a backslash stands only in strings, and every second one of a run is itself escaped.
    let mut unescaped_from = 0;
    memchr_iter(b'\\', json).any(|at| {
        if at < unescaped_from {
            return false;
        }
        unescaped_from = at + 2;
        json.get(at + 1..).is_some_and(|rest| rest.starts_with(b"u2022"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masked(mask: &str, text: &str) -> String {
        Mask::parse(mask).unwrap().apply(text)
    }

    #[test]
    fn masks_look_as_documented() {
        for (mask, text, expected) in [
            ("keep-last:4", "123456789018", "••••9018"),
            ("keep-last:4", "123456", "••••456"),
            ("keep-last:4", "12", "••••2"),
            ("keep-last:4", "1", "••••"),
            ("keep-last:4", "", "••••"),
            ("keep-last:2", "山田太郎", "••••太郎"),
            ("keep-first:1", "Tanaka", "T••••"),
            ("keep-first:3", "ab", "a••••"),
            ("email", "mei.tanaka@example.com", "m•••@example.com"),
            ("email", "\"a@b\"@example.com", "\"•••@example.com"),
            ("email", "m@example.com", "•••@example.com"),
            ("email", "not an address", "••••"),
            ("email", "@example.com", "••••"),
            ("email", "mei@", "••••"),
            ("phone", "+81355501234", "••••1234"),
            ("phone", "+81 3-5550-12 34", "••••1234"),
            ("phone", "110", "••••0"),
            ("phone", "none", "••••"),
            ("initials", "Mei Tanaka", "M••• T•••"),
            ("initials", "  Mei   Tanaka ", "M••• T•••"),
            ("initials", "陳 大文", "••• 大•••"),
            ("initials", "a1 b2 c3 d4 e5 f6", "a••• b••• c••• d•••"),
            ("initials", "", "••••"),
            ("all", "anything", "••••"),
        ] {
            assert_eq!(masked(mask, text), expected, "{mask} of {text}");
        }
    }

    #[test]
    fn parse_and_display_stand_for_each_other() {
        for text in ["keep-last:4", "keep-first:255", "email", "phone", "initials", "all"] {
            assert_eq!(Mask::parse(text).unwrap().to_string(), text);
        }
        for wrong in
            ["", "keep-last", "keep-last:0", "keep-last:256", "keep-last:04", "keep-last: 4", "email:1", "All", "keep-middle:2"]
        {
            assert_eq!(Mask::parse(wrong), Err(ParseMaskError), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn keep_shows_at_most_half_and_hides_the_length(text in "\\PC{0,40}", most in 1_u8..) {
            let count = text.chars().count();
            for (mask, shown) in [
                (Mask::KeepLast(most), Mask::KeepLast(most).apply(&text).strip_prefix(HIDDEN).map(str::to_string)),
                (Mask::KeepFirst(most), Mask::KeepFirst(most).apply(&text).strip_suffix(HIDDEN).map(str::to_string)),
            ] {
                let shown = shown.unwrap();
                prop_assert!(shown.chars().count() <= (count / 2).min(usize::from(most)), "{}", mask);
                prop_assert!(text.contains(&shown));
            }
        }

        #[test]
        fn t26_every_masked_form_carries_the_mask_character(text in any::<String>(), most in 1_u8..) {
            for mask in [Mask::KeepLast(most), Mask::KeepFirst(most), Mask::Email, Mask::Phone, Mask::Initials, Mask::All] {
                prop_assert!(mask.apply(&text).contains(MASK_CHARACTER));
            }
        }
    }
}
