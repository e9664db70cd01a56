//! Is a text a postal address, or the street of one? As written in Japan, China, the United States, Germany, Vietnam and Arabia.
//!
//! A town alone is none: every rule wants a number of a house, or two parts of an address of which one is a road.

use super::lists::{ARABIC_PLACES, GERMAN_STREETS, PREFECTURES, STREETS, VIETNAMESE_PLACES};
use super::text::{is_arabic, is_han};

/// Longest address that is looked at, in bytes.
const MAX_ADDRESS: usize = 400;

/// Looks at a text (as [`super::text::plain`] leaves it) as an address.
pub(super) fn is_address(text: &str) -> bool {
    let enough = text.chars().count() >= 5 && text.len() <= MAX_ADDRESS;
    if !enough || text.contains('@') || text.contains("://") {
        return false;
    }
    let digit = text.bytes().any(|byte| byte.is_ascii_digit());
    if text.chars().any(is_han) {
        return japanese(text, digit) || chinese(text, digit);
    }
    if text.chars().any(is_arabic) && digit && ARABIC_PLACES.iter().any(|place| text.contains(place)) {
        return true;
    }
    digit && (english(text) || german(text) || vietnamese(text))
}

fn japanese(text: &str, digit: bool) -> bool {
    let prefecture = PREFECTURES.iter().any(|name| text.contains(name));
    let place = text.contains(['市', '区', '町', '村', '郡']);
    let house = text.contains("丁目") || text.contains("番") || text.contains('号') || text.matches('-').count() > 0;
    digit && place && (prefecture || house) && (house || text.bytes().any(|byte| byte.is_ascii_digit()))
}

fn chinese(text: &str, digit: bool) -> bool {
    let region = text.contains(['省', '市', '县', '區', '区', '州', '乡', '镇']);
    let road = text.contains(['路', '街', '道', '巷', '弄', '里', '村']);
    let house = text.contains(['号', '號', '座', '室', '栋', '楼', '单']);
    road && (region && (digit || house) || digit && house || house && text.chars().count() <= 12)
}

/// `35 Oak Lane Apt. 2`, `PO Box 12`, `… Donaldburgh, NC 59947`.
fn english(text: &str) -> bool {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).collect();
    let number = |word: &str| word.len() <= 6 && word.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    let begins = words.first().is_some_and(|first| number(first));
    let is_street = |word: &&&str| {
        let lower = word.trim_end_matches('.').to_lowercase();
        word.chars().next().is_some_and(char::is_uppercase) && STREETS.contains(lower.as_str())
    };
    let street = words.iter().skip(2).any(|word| is_street(&word));
    let zip = |word: &str| {
        let (five, four) = word.split_once('-').unwrap_or((word, "0000"));
        five.len() == 5 && four.len() == 4 && (five.to_owned() + four).bytes().all(|byte| byte.is_ascii_digit())
    };
    let state = |word: &str| word.len() == 2 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let ends = words.windows(2).next_back().is_some_and(|pair| matches!(pair, [one, two] if state(one) && zip(two)));
    let lower = text.to_lowercase();
    let post_box =
        lower.starts_with("po box") || lower.starts_with("p.o. box") || lower.starts_with("psc ") || lower.starts_with("unit ");
    (begins && street && words.len() <= 14) || (ends && words.len() > 3) || post_box
}

/// `Strohweg 57/84`, `Hauptstr. 5a, 21682 Höxter`.
fn german(text: &str) -> bool {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).collect();
    let number = |word: &str| {
        word.len() <= 9
            && word.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'/' || byte == b'-')
    };
    let is_street = |word: &str| {
        let lower = word.to_lowercase();
        GERMAN_STREETS.iter().any(|end| lower.ends_with(end))
    };
    let house = words.windows(2).any(|pair| matches!(pair, [street, house] if is_street(street) && number(house)));
    // `Am Alten Markt 3\n12345 Berlin`: a house number, then a postcode with a town behind it.
    let postcode = words.windows(3).any(|three| {
        matches!(three, [house, postcode, town] if number(house) && postcode.len() == 5 && postcode.bytes().all(|byte| byte.is_ascii_digit()) && town.chars().next().is_some_and(char::is_uppercase))
    });
    house || postcode && words.len() >= 4
}

/// `Số 4/61 Hẻm 55 2 Tháng 9 Xã Diên Hồng Lào Cai`.
fn vietnamese(text: &str) -> bool {
    let lower = text.to_lowercase();
    let is_whole = |place: &&&str| {
        lower.match_indices(**place).any(|(at, _)| {
            let before = lower.get(..at).and_then(|before| before.chars().next_back());
            let after = lower.get(at + place.len()..).and_then(|after| after.chars().next());
            before.is_none_or(|c| !c.is_alphanumeric()) && after.is_none_or(|c| !c.is_alphanumeric())
        })
    };
    VIETNAMESE_PLACES.iter().any(|place| is_whole(&place))
}

/// A postcode as written in one of many countries. Worth something only under a telling name.
pub(super) fn is_postcode(text: &str) -> bool {
    let text = text.trim_start_matches('〒');
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = text.split(['-', ' ']).collect();
    match parts.as_slice() {
        [one] if digits(one) => (4..=7).contains(&one.len()),
        [one, two] if digits(one) && digits(two) => matches!((one.len(), two.len()), (3 | 5, 4) | (2 | 5, 3) | (3, 2)),
        // Britain, Canada, the Netherlands.
        [one, two] => {
            let mixed = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
            (2..=4).contains(&one.len())
                && (2..=3).contains(&two.len())
                && mixed(one)
                && mixed(two)
                && text.bytes().any(|byte| byte.is_ascii_digit())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_six_countries() {
        for text in [
            "愛媛県横浜市金沢区手岡29丁目2番6号 上吉羽ハイツ758",
            "東京都千代田区内神田2-14-9",
            "陕西省宁德县淄川王街h座 575858",
            "辽宁省秀华市锡山王路D座 420075",
            "南京路m座",
            "54814 Torres Union Apt. 247\nLake Brandon, PA 70431",
            "PSC 0395, Box 4762\nAPO AE 84167",
            "067 James Ridge",
            "1 Main St.",
            "Imke-Girschner-Weg 6137\n84719 Hamburg",
            "Strohweg 57/84\n21682 Höxter",
            "Heydrichstr. 11/55\n84744 Stadtroda",
            "Am Alten Markt 3\n12345 Berlin",
            "1/89 Hẻm 49 đường 95 Xã Hòa Thành TP. Cần Thơ",
            "6 Phố Bạch Đằng",
            "شارع الملك فهد 12، الرياض 11564",
        ] {
            assert!(is_address(text), "{text}");
        }
    }

    #[test]
    fn towns_and_other_texts_are_none() {
        for text in [
            "",
            "国立市",
            "潜江市",
            "長生郡睦沢町",
            "Lake Brandon",
            "Hamburg",
            "84719 Hamburg",
            "Thành phố Đà Nẵng",
            "Paris, TX",
            "الرياض",
            "Desk lamp 40 W",
            "v1.2.3-beta 4",
            "12 Angry Men",
            "https://example.com/street/1",
            "a@b",
            "2024-01-01 12:00",
            "100 % cotton",
            "第3章",
        ] {
            assert!(!is_address(text), "{text}");
        }
    }

    #[test]
    fn postcodes() {
        for good in ["560-4107", "〒101-0047", "727380", "07597", "07597-1234", "94526", "SW1A 1AA", "1012 AB"] {
            assert!(is_postcode(good), "{good}");
        }
        for wrong in ["", "123", "12345678", "abc", "1-2", "12 34 56", "AB CDE"] {
            assert!(!is_postcode(wrong), "{wrong}");
        }
    }
}
