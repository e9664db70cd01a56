//! Dates, and which of them could be a birth.
//!
//! No clock: what is still to come is judged by a fixed last year, so that one file gives one answer for ever.

use super::text::plain;

/// Nobody alive was born before.
const FIRST_BIRTH: u32 = 1900;
/// Later dates are taken for what an application noted itself.
const LAST_BIRTH: u32 = 2012;
/// Last year that an id may name as that of a birth.
const LAST_YEAR: u32 = 2099;

/// What a text says of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    /// Its year.
    pub(super) year: u32,
    /// A time of day stands behind it.
    pub(super) timed: bool,
}

impl Day {
    /// A day without a time, long enough ago.
    pub(super) fn could_be_a_birth(self) -> bool {
        !self.timed && (FIRST_BIRTH..=LAST_BIRTH).contains(&self.year)
    }

    /// Its decade, from 1900 on.
    pub(super) fn decade(self) -> u32 {
        self.year.saturating_sub(FIRST_BIRTH) / 10
    }
}

/// The day a text begins with: `1990-04-17`, `1990/04/17`, `17.04.1990`, `04/17/1990`, `1990年4月17日`, with or without a time. Eight digits
/// without separators are no date by themselves.
pub(super) fn day(text: &str) -> Option<Day> {
    let text = plain(text);
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.len() > 40 {
        return None;
    }
    let date_end = text.find(['T', ' ']).filter(|end| *end >= 8).unwrap_or(text.len());
    let (date, time) = text.split_at_checked(date_end)?;
    let parts: Vec<&str> = date.split(['-', '/', '.', '年', '月']).map(|part| part.trim_end_matches('日')).collect();
    let [first, second, third] = parts.as_slice() else { return None };
    let number = |part: &str| if part.len() <= 4 { part.parse::<u32>().ok() } else { None };
    let (a, b, c) = (number(first)?, number(second)?, number(third)?);
    let year = if first.len() == 4 && is_day(a, b, c) {
        a
    } else if third.len() == 4 && (is_day(c, b, a) || is_day(c, a, b)) {
        c
    } else {
        return None;
    };
    Some(Day {
        year,
        timed: time.bytes().any(|byte| byte.is_ascii_digit()) && !time.trim_matches(['T', ' ', 'Z']).starts_with("00:00"),
    })
}

/// Is there such a day?
pub(super) fn is_day(year: u32, month: u32, day: u32) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    year >= 1 && (1..=days).contains(&day)
}

/// Is there such a day, in a year that an id may name?
pub(super) fn is_past_birth(year: u32, month: u32, day: u32) -> bool {
    (1880..=LAST_YEAR).contains(&year) && is_day(year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_every_order_that_is_written() {
        for text in [
            "1990-04-17",
            "1990/4/17",
            "17.04.1990",
            "17/04/1990",
            "04/17/1990",
            "1990年4月17日",
            "１９９０－04-17",
            "1990-04-17T00:00:00Z",
        ] {
            assert!(day(text).is_some_and(|day| day.year == 1990 && day.could_be_a_birth()), "{text}");
        }
        assert!(day("1990-04-17T11:00:00Z").is_some_and(|day| !day.could_be_a_birth()));
        assert!(day("2020-02-29").is_some_and(|day| !day.could_be_a_birth()));
        for wrong in [
            "",
            "1990",
            "1990-13-01",
            "2019-02-29",
            "90-04-17",
            "1990-04",
            "1.2.3",
            "10.4.12.1990",
            "19900417",
            "1990-04-17-1",
            "２年",
        ] {
            assert_eq!(day(wrong), None, "{wrong}");
        }
    }
}
