//! The level `generalised`: a coarser value that many people share.
//!
//! Always holds: what cannot be generalised gives nothing, never the value itself. The type of the result is fixed by the form, as
//! [`Generalise`] says. `config` parses, `reveal` applies. Dates are compared with the day in UTC.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use jiff::civil::Date;

/// Older people than this are not told from a mistake.
const MAX_AGE: i16 = 150;
/// From here on, whole numbers are not exact in a double, which is what most readers of JSON use.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// How `generalised` looks. Each says which values it takes; every other value is left out of the reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Generalise {
    /// `year`: of a date string `2001-02-03`, `2001-02-03T04:05:06Z`, `2001-02` or `2001`, as a string `"2001"`.
    Year,
    /// `age-band:10`: of a birth date (a string as for `year`, with a day) or an age (a whole number), as a string `"30-39"`.
    AgeBand(u16),
    /// `ip-prefix`: of an address string, as a string `"203.0.113.0/24"` or `"2001:db8:1::/48"`.
    IpPrefix,
    /// `postcode-prefix:3`: of a string that begins with a postcode (also an address) or a whole number: its first letters and digits.
    /// The words up to the first one without a digit count as postcode and must have more than that many. A string.
    PostcodePrefix(u8),
    /// `grid:0.1`: of a number, the multiple of the step at or below it; of an array or object of at most 8 numbers (`[139.69, 35.68]`,
    /// `{"lat":35.68,"lon":139.69}`), each of them; of a string of numbers between commas, the same as a string.
    Grid(f64),
    /// `band:1000`: of a number, or a string that is one, as a string: `"1000-1999"` for whole numbers from 0, otherwise `"-2.5..0"` (from
    /// the first, below the second).
    Band(f64),
}

/// The text is not a generalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a generalisation is one of year, age-band:N (N from 2 to 100), ip-prefix, postcode-prefix:N (N from 1 to 9), grid:STEP, band:WIDTH (above 0, such as 0.1 or 1000)"
)]
pub struct ParseGeneraliseError;

impl Generalise {
    /// Reads a generalisation as written in the configuration.
    ///
    /// # Errors
    ///
    /// [`ParseGeneraliseError`] names the accepted forms.
    pub fn parse(text: &str) -> Result<Self, ParseGeneraliseError> {
        match text.split_once(':') {
            Some(("age-band", years)) => Ok(Self::AgeBand(whole(years, 2, 100)?)),
            Some(("postcode-prefix", count)) => {
                Ok(Self::PostcodePrefix(u8::try_from(whole(count, 1, 9)?).map_err(|_range| ParseGeneraliseError)?))
            }
            Some(("grid", step)) => Ok(Self::Grid(step_size(step)?)),
            Some(("band", width)) => Ok(Self::Band(step_size(width)?)),
            None if text == "year" => Ok(Self::Year),
            None if text == "ip-prefix" => Ok(Self::IpPrefix),
            _ => Err(ParseGeneraliseError),
        }
    }

    /// The generalised form of a value, as JSON. `now_ms` is the time in milliseconds since 1970. None if the value is not of a kind
    /// this form takes.
    pub(crate) fn apply(&self, value: &serde_json::Value, now_ms: u64) -> Option<serde_json::Value> {
        use serde_json::Value::{Number, String};
        let text = match (self, value) {
            (Self::Year, String(text)) => format!("{:04}", year_of(text)?),
            (Self::AgeBand(years), String(text)) => age_band(age_on(day_of(now_ms)?, date(text)?)?, *years)?,
            (Self::AgeBand(years), Number(age)) => age_band(i16::try_from(age.as_i64()?).ok()?, *years)?,
            (Self::IpPrefix, String(text)) => ip_prefix(text)?,
            (Self::PostcodePrefix(count), String(text)) => postcode_prefix(text, usize::from(*count))?,
            (Self::PostcodePrefix(count), Number(number)) => postcode_prefix(&number.as_u64()?.to_string(), usize::from(*count))?,
            (Self::Grid(step), _) => return grid(value, *step),
            (Self::Band(width), String(text)) => band(number(text)?, *width)?,
            (Self::Band(width), Number(number)) => band(number.as_f64()?, *width)?,
            (Self::Year | Self::AgeBand(_) | Self::IpPrefix | Self::PostcodePrefix(_) | Self::Band(_), _) => return None,
        };
        Some(String(text))
    }
}

impl FromStr for Generalise {
    type Err = ParseGeneraliseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Generalise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Year => f.write_str("year"),
            Self::AgeBand(years) => write!(f, "age-band:{years}"),
            Self::IpPrefix => f.write_str("ip-prefix"),
            Self::PostcodePrefix(count) => write!(f, "postcode-prefix:{count}"),
            Self::Grid(step) => write!(f, "grid:{step}"),
            Self::Band(width) => write!(f, "band:{width}"),
        }
    }
}

fn whole(text: &str, least: u16, most: u16) -> Result<u16, ParseGeneraliseError> {
    match text.parse::<u16>() {
        Ok(number) if (least..=most).contains(&number) && number.to_string() == text => Ok(number),
        _ => Err(ParseGeneraliseError),
    }
}

/// A plain decimal number above 0, up to 15 digits: `0.1`, `1000`. Its spelling says how many decimals results have.
fn step_size(text: &str) -> Result<f64, ParseGeneraliseError> {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && text.starts_with(|c: char| c.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(step) if plain && digits <= 15 && step > 0.0 => Ok(step),
        _ => Err(ParseGeneraliseError),
    }
}

/// The day in UTC.
fn day_of(now_ms: u64) -> Option<Date> {
    let stamp = jiff::Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    Some(jiff::tz::Offset::UTC.to_datetime(stamp).date())
}

/// `YYYY-MM-DD`, alone or before `T` or a space (RFC 3339, ISO 8601).
fn date(text: &str) -> Option<Date> {
    let (day, rest) = text.split_at_checked(10)?;
    if !(rest.is_empty() || rest.starts_with(['T', 't', ' '])) {
        return None;
    }
    let mut parts = day.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() {
        return None;
    }
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn year_of(text: &str) -> Option<i16> {
    match text.split_once('-') {
        None => digits(text, 4),
        Some((year, month)) if month.len() == 2 => {
            let year = digits(year, 4)?;
            (1..=12).contains(&digits(month, 2)?).then_some(year)
        }
        Some(_) => date(text).map(Date::year),
    }
}

/// Exactly `count` ASCII digits.
fn digits(text: &str, count: usize) -> Option<i16> {
    if text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Whole years from `born` to `today`. Who is born on 29 February has a birthday on 1 March in other years.
fn age_on(today: Date, born: Date) -> Option<i16> {
    let had_birthday = (today.month(), today.day()) >= (born.month(), born.day());
    today.year().checked_sub(born.year())?.checked_sub(i16::from(!had_birthday))
}

fn age_band(age: i16, years: u16) -> Option<String> {
    if !(0..=MAX_AGE).contains(&age) {
        return None;
    }
    let age = u16::try_from(age).ok()?;
    let from = age - age.checked_rem(years)?;
    Some(format!("{from}-{}", from + years - 1))
}

fn ip_prefix(text: &str) -> Option<String> {
    let address: IpAddr = text.parse().ok()?;
    // An IPv4 address inside an IPv6 one (::ffff:a.b.c.d) would keep nothing but zeros.
    let address = address.to_canonical();
    let bits = if address.is_ipv4() { 24 } else { 48 };
    Some(IpNet::new(address, bits).ok()?.trunc().to_string())
}

fn postcode_prefix(text: &str, count: usize) -> Option<String> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
    let code: Vec<char> =
        words.take_while(|word| word.contains(char::is_numeric)).flat_map(str::chars).filter(|c| c.is_alphanumeric()).collect();
    (code.len() > count).then(|| code.iter().take(count).collect())
}

/// A finite number from text; JSON's spelling or a plain decimal.
fn number(text: &str) -> Option<f64> {
    let looks_so = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    text.parse::<f64>().ok().filter(|number| looks_so && number.is_finite())
}

/// The multiple of `step` at or below `value`, with as many decimals as `step` has. None where doubles are too coarse for it.
fn floor_to(value: f64, step: f64) -> Option<(f64, usize)> {
    let decimals = step.to_string().split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let mut cell = (value / step).floor();
    // 0.3 / 0.1 is 2.9999999999999996: a value that is a multiple itself stays.
    if ((cell + 1.0) * step - value).abs() <= step * 1e-9 {
        cell += 1.0;
    }
    let floor = cell * step;
    (value.abs() < EXACT && cell.abs() < EXACT).then_some((floor, decimals))
}

fn decimal(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    // No minus before zero.
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.to_string(),
        _ => text,
    }
}

fn band(value: f64, width: f64) -> Option<String> {
    let (from, decimals) = floor_to(value, width)?;
    let to = from + width;
    if from >= 0.0 && value.fract() == 0.0 && width.fract() == 0.0 {
        return Some(format!("{}-{}", decimal(from, 0), decimal(to - 1.0, 0)));
    }
    Some(format!("{}..{}", decimal(from, decimals), decimal(to, decimals)))
}

fn grid(value: &serde_json::Value, step: f64) -> Option<serde_json::Value> {
    use serde_json::Value::{Array, Bool, Null, Number, Object, String};
    const MOST: usize = 8;
    let cell = |number: f64| floor_to(number, step).map(|(floor, decimals)| decimal(floor, decimals));
    let one = |value: &serde_json::Value| match value {
        Number(number) => Some(Number(cell(number.as_f64()?)?.parse().ok()?)),
        Null | Bool(_) | String(_) | Array(_) | Object(_) => None,
    };
    match value {
        Number(_) => one(value),
        Array(items) if (1..=MOST).contains(&items.len()) => items.iter().map(one).collect::<Option<_>>().map(Array),
        Object(members) if (1..=MOST).contains(&members.len()) => {
            members.iter().map(|(name, value)| Some((name.clone(), one(value)?))).collect::<Option<_>>().map(Object)
        }
        String(text) if text.split(',').count() <= MOST => {
            let cells: Option<Vec<_>> = text.split(',').map(|part| cell(number(part.trim())?)).collect();
            Some(String(cells?.join(",")))
        }
        Null | Bool(_) | String(_) | Array(_) | Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// 2026-11-22T00:00:00Z
    const TODAY_MS: u64 = 1_795_305_600_000;

    fn to(form: &str, value: &Value) -> Option<Value> {
        Generalise::parse(form).unwrap().apply(value, TODAY_MS)
    }

    #[test]
    fn today_is_the_day_the_tests_think() {
        assert_eq!(day_of(TODAY_MS).unwrap(), Date::new(2026, 11, 22).unwrap());
        assert_eq!(day_of(TODAY_MS - 1).unwrap(), Date::new(2026, 11, 21).unwrap());
    }

    #[test]
    fn generalised_forms_look_as_documented() {
        for (form, value, expected) in [
            ("year", json!("2001-02-03"), json!("2001")),
            ("year", json!("2001-02-03T04:05:06+09:00"), json!("2001")),
            ("year", json!("2001-02"), json!("2001")),
            ("year", json!("2001"), json!("2001")),
            ("age-band:10", json!("1990-11-22"), json!("30-39")),
            ("age-band:10", json!("1986-11-23"), json!("30-39")),
            ("age-band:10", json!("1986-11-22"), json!("40-49")),
            ("age-band:5", json!(34), json!("30-34")),
            ("age-band:10", json!(0), json!("0-9")),
            ("ip-prefix", json!("203.0.113.77"), json!("203.0.113.0/24")),
            ("ip-prefix", json!("2001:db8:1:2::3"), json!("2001:db8:1::/48")),
            ("ip-prefix", json!("::ffff:203.0.113.77"), json!("203.0.113.0/24")),
            ("postcode-prefix:3", json!("101-0047 Uchikanda"), json!("101")),
            ("postcode-prefix:3", json!("E1 6AN, London"), json!("E16")),
            ("postcode-prefix:3", json!(90210), json!("902")),
            ("grid:0.1", json!(35.6895), json!(35.6)),
            ("grid:0.1", json!(0.3), json!(0.3)),
            ("grid:0.1", json!(-0.05), json!(-0.1)),
            ("grid:0.5", json!([139.6917, 35.6895]), json!([139.5, 35.5])),
            ("grid:0.1", json!({"lat":35.6895,"lon":139.6917}), json!({"lat":35.6,"lon":139.6})),
            ("grid:0.1", json!("35.6895, 139.6917"), json!("35.6,139.6")),
            ("grid:10", json!(35.6), json!(30)),
            ("band:1000", json!(1234), json!("1000-1999")),
            ("band:1000", json!("1234"), json!("1000-1999")),
            ("band:1000", json!(1234.5), json!("1000..2000")),
            ("band:1000", json!(-1), json!("-1000..0")),
            ("band:0.5", json!(1.7), json!("1.5..2.0")),
        ] {
            assert_eq!(to(form, &value), Some(expected), "{form} of {value}");
        }
    }

    #[test]
    fn what_cannot_be_generalised_gives_nothing() {
        for (form, value) in [
            ("year", json!("3 February 2001")),
            ("year", json!("2001-13")),
            ("year", json!("2001-02-30")),
            ("year", json!("20010203")),
            ("year", json!(2001)),
            ("age-band:10", json!("2027-01-01")),
            ("age-band:10", json!("1870-01-01")),
            ("age-band:10", json!("1990")),
            ("age-band:10", json!("1990-01-01x")),
            ("age-band:10", json!(-1)),
            ("age-band:10", json!(34.5)),
            ("age-band:10", json!(1990)),
            ("ip-prefix", json!("203.0.113.77:80")),
            ("ip-prefix", json!("example.com")),
            ("postcode-prefix:3", json!("Uchikanda 101-0047")),
            ("postcode-prefix:3", json!("101")),
            ("postcode-prefix:3", json!("")),
            ("postcode-prefix:3", json!(101)),
            ("postcode-prefix:3", json!(10.25)),
            ("grid:0.1", json!("Tokyo")),
            ("grid:0.1", json!("")),
            ("grid:0.1", json!([1, "x"])),
            ("grid:0.1", json!([])),
            ("grid:0.1", json!([[1.23]])),
            ("grid:0.1", json!({"lat":35.6895,"name":"home"})),
            ("grid:0.1", json!(1e300)),
            ("band:1000", json!("inf")),
            ("band:1000", json!("about 1000")),
            ("band:1000", json!(1e300)),
            ("band:1000", json!([1])),
            ("band:1000", json!(true)),
        ] {
            assert_eq!(to(form, &value), None, "{form} of {value}");
        }
    }

    #[test]
    fn parse_and_display_stand_for_each_other() {
        for text in ["year", "age-band:10", "ip-prefix", "postcode-prefix:3", "grid:0.1", "grid:0.05", "band:1000"] {
            assert_eq!(Generalise::parse(text).unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "year:1",
            "age-band",
            "age-band:1",
            "age-band:101",
            "age-band:010",
            "postcode-prefix:0",
            "postcode-prefix:10",
            "grid:0",
            "grid:-1",
            "grid:1e3",
            "grid:.5",
            "grid:x",
            "grid:inf",
            "band:",
            "band:0.0",
            "ip-prefix:24",
        ] {
            assert_eq!(Generalise::parse(wrong), Err(ParseGeneraliseError), "{wrong}");
        }
    }

    proptest! {
        /// Everybody in one cell gets one answer, and the answer lies at most one step below.
        #[test]
        fn grid_and_band_are_coarse(value in -1e6_f64..1e6, step in prop::sample::select(vec![0.01, 0.1, 0.25, 1.0, 10.0, 1000.0])) {
            let (floor, decimals) = floor_to(value, step).unwrap();
            prop_assert!(floor <= value + step * 1e-8 && value < floor + step * (1.0 + 1e-8));
            let shown: f64 = decimal(floor, decimals).parse().unwrap();
            prop_assert!((shown - floor).abs() <= step * 1e-6);
        }

        #[test]
        fn nothing_panics(text in any::<String>(), number in any::<f64>()) {
            for form in ["year", "age-band:10", "ip-prefix", "postcode-prefix:3", "grid:0.1", "band:1000"] {
                let form = Generalise::parse(form).unwrap();
                let shown = form.apply(&json!(text), TODAY_MS);
                prop_assert!(shown != Some(json!(text)) || matches!(form, Generalise::Year | Generalise::Grid(_)));
                form.apply(&json!(number), TODAY_MS);
            }
        }
    }
}
