//! Dates: only spellings that can be read in one way.

use jiff::civil::Date;

use super::digits::to_ascii_digit;
use super::{NoForm, text};

/// `YYYY-MM-DD` of `2000-2-28`, `2000/02/28`, `2000.2.28`, `20000228`, `28.2.2000`, `2000年2月28日`, `2000-02-28T…`. Not `02/03/2000`, which is
/// February to some and March to others; not two digits for a year.
pub(super) fn iso(value: &str) -> Result<String, NoForm> {
    let folded = text::nfkc(value.trim());
    let value: String = folded.chars().map(|c| to_ascii_digit(c).unwrap_or(c)).collect();
    let (year, month, day) = parts(&value).ok_or(NoForm::Date)?;
    let fits = year.len() == 4 && (1..=2).contains(&month.len()) && (1..=2).contains(&day.len());
    let numbers = (year.parse::<i16>(), month.parse::<i8>(), day.parse::<i8>());
    let (true, (Ok(year), Ok(month), Ok(day))) = (fits, numbers) else { return Err(NoForm::Date) };
    let date = Date::new(year, month, day).map_err(|_no_such_day| NoForm::Date)?;
    Ok(date.to_string())
}

/// Year, month and day, as digits.
fn parts(value: &str) -> Option<(&str, &str, &str)> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if value.len() == 8 && digits(value) {
        let (year, rest) = value.split_at_checked(4)?;
        let (month, day) = rest.split_at_checked(2)?;
        return Some((year, month, day));
    }
    if let Some((year, rest)) = value.split_once('年') {
        let (month, day) = rest.split_once('月')?;
        return Some((year.trim(), month.trim(), day.trim_end().trim_end_matches(['日', '号']).trim()))
            .filter(|(year, month, day)| digits(year) && digits(month) && digits(day));
    }
    // What stands behind the day is the time of it.
    let day = value.split_once(['T', 't']).map_or(value, |(day, _time)| day).trim();
    let separator = day.chars().find(|c| matches!(c, '-' | '/' | '.'))?;
    let mut list = day.split(separator);
    let (first, second, third) = (list.next()?, list.next()?, list.next()?);
    if list.next().is_some() || ![first, second, third].iter().all(|part| digits(part)) {
        return None;
    }
    match (first.len(), third.len(), separator) {
        (4, 1 | 2, _) => Some((first, second, third)),
        // Written so in German, Russian and other languages, and read so only.
        (1 | 2, 4, '.') => Some((third, second, first)),
        _ => None,
    }
}
