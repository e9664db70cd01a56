//! Numbers that carry their own check: payment cards, bank accounts, ids that states give.
//!
//! Each function takes digits as [`super::text::plain`] leaves them and answers yes only where the length, the check digit and whatever else
//! the scheme fixes (dates, regions, prefixes) are right. How often a random number passes is said at each.

use super::dates::{is_day, is_past_birth};

/// Digits of a text of digits; None if anything else stands in it.
fn digits(text: &str) -> Option<Vec<u32>> {
    text.chars().map(|c| c.to_digit(10)).collect()
}

fn number(text: &str, range: std::ops::Range<usize>) -> Option<u32> {
    text.get(range)?.parse().ok()
}

/// The check of ISO/IEC 7812: payment cards, IMEI, Saudi ids. One random number in ten passes.
pub(super) fn luhn(text: &str) -> bool {
    let Some(digits) = digits(text) else { return false };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, twice) => twice / 10 + twice % 10,
        })
        .sum();
    digits.len() > 1 && digits.iter().any(|digit| *digit > 0) && sum.is_multiple_of(10)
}

/// A payment card: an issuer's prefix, the length that issuer uses, and [`luhn`]. One random number of 16 digits in 35 passes.
pub(super) fn card(text: &str) -> bool {
    let prefix = |length: usize| number(text, 0..length).unwrap_or(0);
    let length = text.len();
    let known = match (prefix(1), prefix(2), prefix(3), prefix(4)) {
        // Visa
        (4, ..) => matches!(length, 13 | 16 | 19),
        // American Express
        (_, 34 | 37, ..) => length == 15,
        // Mastercard
        (_, 51..=55, ..) | (_, _, _, 2221..=2720) => length == 16,
        // Diners Club
        (_, 36 | 38 | 39, ..) | (_, _, 300..=305, _) => (14..=19).contains(&length),
        // Discover, Maestro, UnionPay, JCB, Mir, Troy, RuPay
        (_, 62 | 65, ..) | (_, _, 644..=649, _) | (_, _, _, 6011 | 3528..=3589 | 2200..=2205 | 9792) => {
            (16..=19).contains(&length)
        }
        (_, 50 | 56..=58 | 60 | 63 | 67, ..) => (16..=19).contains(&length),
        _ => false,
    };
    known && luhn(text)
}

/// Countries of the IBAN registry and how long theirs are.
const IBAN: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
];

/// An international bank account number (ISO 13616): country, its length, remainder 1 modulo 97. One random text in some thousands passes.
pub(super) fn iban(text: &str) -> bool {
    let Some((head, rest)) = text.split_at_checked(4) else { return false };
    let Some((country, check)) = head.split_at_checked(2) else { return false };
    let length = IBAN.iter().find(|(known, _)| *known == country).map(|(_, length)| *length);
    if length != Some(text.len()) || !check.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let remainder = rest.chars().chain(head.chars()).try_fold(0_u32, |remainder, c| {
        let digit = c.to_digit(36).filter(|_| !c.is_ascii_lowercase())?;
        Some(if digit < 10 { (remainder * 10 + digit) % 97 } else { (remainder * 100 + digit) % 97 })
    });
    remainder == Some(1)
}

/// First two digits of a Chinese region code (GB/T 2260).
const CHINESE_REGIONS: &[u32] = &[
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63, 64, 65,
    71, 81, 82, 83,
];

/// A Chinese resident id (GB 11643): region, birth date, check by ISO 7064 MOD 11-2. Practically no random number passes.
pub(super) fn chinese_resident_id(text: &str) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let Some((body, check)) = text.split_at_checked(17) else { return false };
    let Some(digits) = digits(body) else { return false };
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| digit * weight).sum();
    let expected = match (12 - sum % 11) % 11 {
        10 => "X".to_owned(),
        digit => digit.to_string(),
    };
    let region = number(text, 0..2).is_some_and(|region| CHINESE_REGIONS.contains(&region));
    let born = number(text, 6..10).zip(number(text, 10..12)).zip(number(text, 12..14));
    region && born.is_some_and(|((year, month), day)| is_past_birth(year, month, day)) && check == expected
}

/// A Japanese individual number (My Number): 12 digits, the last one checks the others. One random number in eleven passes.
pub(super) fn my_number(text: &str) -> bool {
    const WEIGHTS: [u32; 11] = [6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2];
    let Some(digits) = digits(text).filter(|digits| digits.len() == 12) else { return false };
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| digit * weight).sum();
    let expected = match sum % 11 {
        0 | 1 => 0,
        remainder => 11 - remainder,
    };
    digits.iter().any(|digit| *digit > 0) && digits.last() == Some(&expected)
}

/// A German tax id: 11 digits, ISO 7064 MOD 11,10, one of the first ten digits stands twice or three times. About one random number in
/// fifty passes.
pub(super) fn german_tax_id(text: &str) -> bool {
    let Some(digits) = digits(text).filter(|digits| digits.len() == 11 && digits.first() != Some(&0)) else { return false };
    let product = digits.iter().take(10).fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    let expected = (11 - product) % 10;
    let often = |wanted: u32| digits.iter().take(10).filter(|digit| **digit == wanted).count();
    let repeated = (0..10).filter(|digit| often(*digit) > 1).collect::<Vec<_>>();
    digits.last() == Some(&expected) && repeated.len() == 1 && repeated.iter().all(|digit| often(*digit) <= 3)
}

/// A Vietnamese citizen id: 12 digits; province, century and sex, year of birth, number. No check digit: one random number in 25 passes.
pub(super) fn vietnamese_id(text: &str) -> bool {
    let all_digits = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits
        && number(text, 0..3).is_some_and(|province| (1..=96).contains(&province))
        && number(text, 3..4).is_some_and(|sex| sex <= 3)
}

/// A Saudi national id (begins with 1) or residence permit (2): 10 digits and [`luhn`]. One random number in 50 passes.
pub(super) fn saudi_id(text: &str) -> bool {
    text.len() == 10 && text.starts_with(['1', '2']) && luhn(text)
}

/// The shape of a US social security number, `078-05-1120`. It has no check digit, but ranges that are never given out.
pub(super) fn us_ssn(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(area), Some(group), Some(serial), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let part = |text: &str, length: usize| {
        (text.len() == length).then(|| digits(text)).flatten().is_some() && text.bytes().any(|byte| byte != b'0')
    };
    part(area, 3) && area != "666" && !area.starts_with('9') && part(group, 2) && part(serial, 4)
}

/// The eight digits of a date without separators, and nothing else.
pub(super) fn is_compact_date(text: &str) -> bool {
    let date = number(text, 0..4).zip(number(text, 4..6)).zip(number(text, 6..8));
    text.len() == 8 && date.is_some_and(|((year, month), day)| is_day(year, month, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One digit changed, or two neighbours exchanged, never pass where the scheme promises so.
    fn every_changed_digit(good: &str, check: impl Fn(&str) -> bool) {
        assert!(check(good), "{good}");
        for (at, _) in good.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
            for digit in '0'..='9' {
                let mut changed = good.to_owned();
                changed.replace_range(at..=at, &digit.to_string());
                assert!(changed == good || !check(&changed), "{changed} for {good}");
            }
        }
    }

    #[test]
    fn cards_have_a_prefix_a_length_and_a_check_digit() {
        // Numbers that issuers publish for tests.
        for good in [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "30569309025904",
            "6011111111111117",
            "3530111333300000",
            "6200000000000005",
            "6304000000000000",
        ] {
            every_changed_digit(good, card);
        }
        for wrong in [
            "",
            "0",
            "0000000000000000",
            "411111111111111",
            "41111111111111111111",
            "7111111111111119",
            "1234567812345670",
            "４111",
        ] {
            assert!(!card(wrong), "{wrong}");
        }
    }

    #[test]
    fn ibans_have_the_length_of_their_country() {
        // Examples of the registry.
        for good in [
            "DE89370400440532013000",
            "GB29NWBK60161331926819",
            "SA0380000000608010167519",
            "NO9386011117947",
            "FR1420041010050500013M02606",
        ] {
            every_changed_digit(good, iban);
        }
        for wrong in [
            "",
            "DE",
            "DE8937040044053201300",
            "de89370400440532013000",
            "XX89370400440532013000",
            "GB29NWBK6016133192681é",
            "DEÄÄ",
        ] {
            assert!(!iban(wrong), "{wrong}");
        }
    }

    #[test]
    fn chinese_ids_hold_region_birth_and_check() {
        every_changed_digit("11010519491231002X", chinese_resident_id);
        for wrong in
            ["110105194912310021", "11010519491331002X", "990105194912310028", "11010519491231002x", "1101051949123100", "中文"]
        {
            assert!(!chinese_resident_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn other_ids() {
        assert!(my_number("123456789018") && !my_number("000000000000") && !my_number("12345678901"));
        // The example of the German tax office's own test range.
        assert!(
            german_tax_id("86095742719")
                && german_tax_id("65929970489")
                && !german_tax_id("86095742718")
                && !german_tax_id("12345678901")
        );
        assert!(vietnamese_id("001099012345") && !vietnamese_id("097099012345") && !vietnamese_id("001499012345"));
        assert!(saudi_id("1000000008") && !saudi_id("1000000009") && !saudi_id("3000000004"));
        assert!(us_ssn("078-05-1120"));
        for wrong in [
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "123-00-4567",
            "123-45-0000",
            "123-45-678",
            "12-345-6789",
            "123-45-6789-0",
        ] {
            assert!(!us_ssn(wrong), "{wrong}");
        }
    }
}
