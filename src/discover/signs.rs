//! One value looked at by every detector: a set of signs.
//!
//! Always holds: nothing of the value is kept, only which signs it bears. Used by `paths`, which counts them.

use super::contact::{self, Phone};
use super::lists::GENDERS;
use super::text::{grouped_digits, plain};
use super::{address, checks, dates, person};

/// Longest text that is looked at, in bytes; a longer one bears no sign.
const MAX_TEXT: usize = 512;

/// What can be seen in one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// Syntax of an e-mail address.
    Email,
    /// `+` and digits.
    PhoneInternational,
    /// Digits grouped as a country does.
    PhoneNational,
    /// Digits enough for a phone number.
    PhoneDigits,
    /// Card prefix, length and check digit.
    Card,
    /// Country, length and check digits of an IBAN.
    Iban,
    /// Region, date and check digit of a Chinese resident id.
    ResidentId,
    /// Check digit or fixed parts of another state's id.
    CheckedId,
    /// The shape of an id without a check digit.
    ShapedId,
    /// Letters and digits as in passports.
    Passport,
    /// An IP address.
    Ip,
    /// A MAC address.
    Mac,
    /// A UUID.
    Uuid,
    /// Fifteen digits with a check digit: an IMEI, or one number in ten.
    Imei,
    /// A number that may be degrees.
    Degrees,
    /// Two of them.
    DegreePair,
    /// A postal address.
    Address,
    /// The shape of a postcode.
    Postcode,
    /// A date.
    Date,
    /// A date without a time, long enough ago for a birth.
    Birth,
    /// A gender, written out.
    Gender,
    /// Written as people's names are.
    NameShape,
    /// A frequent name.
    NameKnown,
    /// A firm.
    Company,
}

/// How many signs there are.
pub(super) const SIGNS: usize = 24;

/// The signs that one value bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Signs {
    bits: u32,
    /// Decade of its date, from 1900 on, as a bit.
    pub(super) decade: u32,
}

impl Sign {
    /// Its place among the counters of a path.
    #[expect(clippy::as_conversions, reason = "a variant without fields, for its place among the variants")]
    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl Signs {
    /// Does it bear this one?
    pub(super) fn has(self, sign: Sign) -> bool {
        self.bits >> sign.index() & 1 == 1
    }

    /// The places of those it bears.
    pub(super) fn indexes(self) -> impl Iterator<Item = usize> {
        (0..SIGNS).filter(move |at| self.bits >> at & 1 == 1)
    }

    fn add(&mut self, sign: Sign, there: bool) {
        self.bits |= u32::from(there) << sign.index();
    }
}

/// Looks at the text of a string.
pub(super) fn of_text(text: &str) -> Signs {
    let mut signs = Signs::default();
    if text.is_empty() || text.len() > MAX_TEXT {
        return signs;
    }
    let text = plain(text);
    let text = text.as_ref();
    signs.add(Sign::Email, contact::is_email(text));
    of_digits(text, &mut signs);
    signs.add(Sign::Iban, checks::iban(&text.replace(' ', "")));
    signs.add(Sign::ResidentId, checks::chinese_resident_id(&text.to_uppercase()));
    signs.add(Sign::ShapedId, checks::us_ssn(text));
    signs.add(Sign::Passport, is_passport(text));
    signs.add(Sign::Ip, contact::is_ip(text));
    signs.add(Sign::Mac, contact::is_mac(text));
    signs.add(Sign::Uuid, contact::is_uuid(text));
    signs.add(Sign::DegreePair, contact::is_pair_of_degrees(text));
    signs.add(Sign::Degrees, contact::is_degrees(text));
    signs.add(Sign::Address, address::is_address(text));
    signs.add(Sign::Postcode, address::is_postcode(text));
    if let Some(day) = dates::day(text) {
        signs.add(Sign::Date, true);
        signs.add(Sign::Birth, day.could_be_a_birth());
        signs.decade = 1_u32.checked_shl(day.decade()).unwrap_or(0);
    }
    signs.add(Sign::Gender, GENDERS.contains(text.to_lowercase().as_str()));
    let person = person::look(text);
    signs.add(Sign::NameShape, person.shape);
    signs.add(Sign::NameKnown, person.known);
    signs.add(Sign::Company, person.company);
    signs
}

/// Looks at the text of a number.
pub(super) fn of_number(text: &str) -> Signs {
    let mut signs = Signs::default();
    if text.len() > 24 {
        return signs;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        of_digits(text, &mut signs);
        signs.add(Sign::Postcode, address::is_postcode(text));
        signs.add(Sign::Date, checks::is_compact_date(text));
    } else {
        signs.add(Sign::Degrees, contact::is_degrees(text));
    }
    signs
}

/// What long numbers can be.
fn of_digits(text: &str, signs: &mut Signs) {
    match contact::phone(text) {
        Some(Phone::International) => signs.add(Sign::PhoneInternational, true),
        Some(Phone::National) => signs.add(Sign::PhoneNational, true),
        Some(Phone::Digits) => signs.add(Sign::PhoneDigits, true),
        None => {}
    }
    let Some(digits) = grouped_digits(text) else { return };
    signs.add(Sign::Card, checks::card(&digits));
    signs.add(Sign::Imei, digits.len() == 15 && checks::luhn(&digits));
    let checked = checks::my_number(&digits)
        || checks::german_tax_id(&digits)
        || checks::vietnamese_id(&digits)
        || checks::saudi_id(&digits);
    signs.add(Sign::CheckedId, checked);
}

/// One to three letters and six to eight digits, or nine letters and digits of which most are digits.
fn is_passport(text: &str) -> bool {
    let letters = text.bytes().take_while(u8::is_ascii_uppercase).count();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let all = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    all && digits >= 6
        && ((1..=3).contains(&letters) && letters + digits == text.len() && digits <= 8 || text.len() == 9 && letters > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_bears_its_signs() {
        for (text, sign) in [
            ("mei@example.com", Sign::Email),
            ("+81355501234", Sign::PhoneInternational),
            ("０９０－１２３４－５６７８", Sign::PhoneNational),
            ("4111 1111 1111 1111", Sign::Card),
            ("DE89 3704 0044 0532 0130 00", Sign::Iban),
            ("11010519491231002x", Sign::ResidentId),
            ("1234 5678 9018", Sign::CheckedId),
            ("078-05-1120", Sign::ShapedId),
            ("TK1234567", Sign::Passport),
            ("203.0.113.7", Sign::Ip),
            ("1990-04-17", Sign::Birth),
            ("Weiblich", Sign::Gender),
        ] {
            assert!(of_text(text).has(sign), "{text}");
        }
        assert!(of_number("13812345678").has(Sign::PhoneNational) && of_number("4111111111111111").has(Sign::Card));
        assert!(
            of_number("139.6917").has(Sign::Degrees)
                && of_number("19900417").has(Sign::Date)
                && of_number("-1e5") == Signs::default()
        );
        assert_eq!(Sign::Company.index() + 1, SIGNS);
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "\\PC{0,80}", digits in "[0-9٠-٩０-９ +()./:@,年月日A-Z-]{0,40}") {
            let _any = (of_text(&text), of_text(&digits), of_number(&digits));
        }
    }
}
