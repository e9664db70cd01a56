//! Digits that keep a value's shape and are no real number: no card, no identity number, no account.
//!
//! Sources of the checks: Luhn, ISO/IEC 7812-1 annex B (cards, IMEI); MOD 11-2, ISO/IEC 7064 (resident identity numbers of GB 11643,
//! ORCID, ISNI); the Individual Number of Japan, ordinance 85/2014 of its ministry of internal affairs, article 5; MOD 97-10, ISO 13616
//! (IBAN); country codes of ITU-T E.164, of which none begins with 0.

use super::Misfit;
use super::format::Dice;
use crate::crypto::RandomError;

/// Fewest digits of a value. With fewer there are so few numbers that a token is often somebody else's real one.
pub(super) const MIN_DIGITS: usize = 8;
/// Characters beside ASCII letters and digits that stand in numbers.
const BESIDE: &[u8] = b" +-./()#";

/// Is there a token of this shape?
pub(super) fn check(text: &str) -> Result<(), Misfit> {
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || BESIDE.contains(&byte)) {
        return Err(Misfit::Characters);
    }
    let free = digits(text).count() - usize::from(is_international(text));
    if free < MIN_DIGITS { Err(Misfit::Few) } else { Ok(()) }
}

/// New digits in place of the old ones. A number that begins with `+` gets a 0 behind it, with which no country code begins.
pub(super) fn draw(text: &str, dice: &mut Dice) -> Result<String, RandomError> {
    let mut zero = is_international(text);
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        out.push(if !c.is_ascii_digit() {
            c
        } else if std::mem::take(&mut zero) {
            '0'
        } else {
            char::from(b'0' + dice.digit()?)
        });
    }
    Ok(out)
}

fn is_international(text: &str) -> bool {
    text.starts_with('+')
}

/// Would one of the checks above take it for a real number?
pub(super) fn is_valid_number(text: &str) -> bool {
    let numbers: Vec<u32> = digits(text).collect();
    let compact: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase();
    let all_digits = compact.len() == numbers.len();
    let but_check = compact.strip_suffix('X').is_some_and(|front| front.len() == numbers.len());
    luhn(&numbers)
        || (matches!(compact.len(), 16 | 18) && (all_digits || but_check) && mod_11_2(&numbers, but_check))
        || (all_digits && my_number(&numbers))
        || iban(&compact)
}

fn digits(text: &str) -> impl DoubleEndedIterator<Item = u32> {
    text.chars().filter_map(|c| c.to_digit(10))
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    sum.is_multiple_of(10)
}

/// With the check character last: ten is written X.
fn mod_11_2(digits: &[u32], ends_with_x: bool) -> bool {
    let all = digits.iter().copied().chain(ends_with_x.then_some(10));
    all.fold(0, |sum, digit| (sum * 2 + digit) % 11) == 1
}

/// Twelve digits, the last of which checks the others.
fn my_number(digits: &[u32]) -> bool {
    let Some((check, body)) = digits.split_last().filter(|(_, body)| body.len() == 11) else { return false };
    let sum: u32 = body.iter().rev().zip([2, 3, 4, 5, 6, 7, 2, 3, 4, 5, 6]).map(|(digit, weight)| digit * weight).sum();
    let rest = sum % 11;
    *check == if rest <= 1 { 0 } else { 11 - rest }
}

/// Two letters, two digits, 11 to 30 letters and digits; without blanks and in capitals.
fn iban(compact: &str) -> bool {
    let Some((head, body)) = compact.split_at_checked(4).filter(|(_, body)| (11..=30).contains(&body.len())) else {
        return false;
    };
    let (country, check) = head.split_at(2);
    if !country.bytes().all(|byte| byte.is_ascii_uppercase()) || !check.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let value = |c: char| c.to_digit(36).unwrap_or(0);
    let step = |rest: u32, value: u32| (rest * if value > 9 { 100 } else { 10 } + value) % 97;
    body.chars().chain(head.chars()).map(value).fold(0, step) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that their issuers publish as examples, each with the check that knows it.
    #[test]
    fn real_numbers_are_known_for_what_they_are() {
        for real in [
            "4111 1111 1111 1111",         // a card
            "490154203237518",             // an IMEI
            "11010519491231002X",          // GB 11643
            "0000-0002-1825-0097",         // ORCID
            "123456789018",                // an Individual Number
            "DE89 3704 0044 0532 0130 00", // IBANs
            "GB82 WEST 1234 5698 7654 32",
            "de89370400440532013000",
        ] {
            assert!(is_valid_number(real), "{real}");
        }
        for none in ["4111 1111 1111 1112", "11010519491231003X", "123456789017", "DE88 3704 0044 0532 0130 00", "12345678"] {
            assert!(!is_valid_number(none), "{none}");
        }
    }

    #[test]
    fn tokens_keep_the_shape_and_are_no_real_number() {
        let mut dice = Dice::default();
        for value in
            ["4111 1111 1111 1111", "11010519491231002X", "123456789018", "GB82 WEST 1234 5698 7654 32", "+81 90-1234-5678"]
        {
            assert_eq!(check(value), Ok(()), "{value}");
            for _ in 0..500 {
                let token = super::super::Format::Digits.draw(value, &mut dice).unwrap().unwrap();
                assert!(!is_valid_number(&token) && token != value && token.len() == value.len(), "{token}");
                let kept = |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect::<String>();
                assert_eq!(kept(&token), kept(value));
                assert!(!value.starts_with('+') || token.starts_with("+0"), "{token}");
            }
        }
    }

    #[test]
    fn every_digit_is_drawn() {
        let mut dice = Dice::default();
        let drawn: Vec<String> = (0..200).map(|_| draw("00000000", &mut dice).unwrap()).collect();
        for place in 0..8 {
            for digit in b'0'..=b'9' {
                assert!(drawn.iter().any(|token| token.as_bytes()[place] == digit), "{digit} at {place}");
            }
        }
    }

    #[test]
    fn what_has_too_few_digits_or_other_characters_is_refused() {
        assert_eq!(check("1234567"), Err(Misfit::Few));
        assert_eq!(check("+12345678"), Err(Misfit::Few), "the first one is always 0");
        assert_eq!(check("+123456789"), Ok(()));
        for odd in ["１２３４５６７８", "١٢٣٤٥٦٧٨", "1234\u{200b}5678", "1234_5678", "12345678\n"] {
            assert_eq!(check(odd), Err(Misfit::Characters), "{odd}");
        }
    }
}
