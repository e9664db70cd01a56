//! Decimal digits of every script.

use super::NoForm;

/// The zeros of Unicode's decimal digits (category `Nd`, Unicode 16); nine digits follow each.
#[rustfmt::skip] // one number a line would hide the rest
const ZEROS: &[u32] = &[
    0x0030, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6, 0x0E50, 0x0ED0,
    0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900,
    0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x10D40, 0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450,
    0x114D0, 0x11650, 0x116C0, 0x116D0, 0x116DA, 0x11730, 0x118E0, 0x11950, 0x11BF0, 0x11C50, 0x11D50, 0x11DA0, 0x11F50, 0x16130,
    0x16A60, 0x16AC0, 0x16B50, 0x16D70, 0x1CCF0, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E5F1,
    0x1E950, 0x1FBF0,
];

/// `٣` as `3`; `None` for what is no decimal digit.
pub(super) fn to_ascii_digit(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    let code = u32::from(c);
    let zero = ZEROS.get(ZEROS.partition_point(|zero| *zero <= code).checked_sub(1)?)?;
    char::from_digit(code - zero, 10)
}

/// The digits alone. White space, dashes and other punctuation separate; letters, also those of an id with a check letter, are refused,
/// or ids that differ in them would be one.
pub(super) fn only_digits(value: &str) -> Result<String, NoForm> {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match to_ascii_digit(c) {
            Some(digit) => out.push(digit),
            None if c.is_alphanumeric() => return Err(NoForm::Digits),
            None => {}
        }
    }
    if out.is_empty() && !value.trim().is_empty() { Err(NoForm::Digits) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_in_order_and_apart() {
        assert!(ZEROS.iter().zip(ZEROS.iter().skip(1)).all(|(one, next)| one + 10 <= *next));
        assert!(ZEROS.iter().all(|zero| char::from_u32(*zero).is_some_and(char::is_numeric)));
    }

    #[test]
    fn digits_of_every_script_are_read() {
        for (c, digit) in [('٣', '3'), ('۷', '7'), ('９', '9'), ('०', '0'), ('𝟗', '9'), ('5', '5')] {
            assert_eq!(to_ascii_digit(c), Some(digit), "{c}");
        }
        for c in ['a', '²', '½', '①', '三', ' ', '٫'] {
            assert_eq!(to_ascii_digit(c), None, "{c}");
        }
    }
}
