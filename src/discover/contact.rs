//! E-mail addresses, telephone numbers, network addresses, devices, places on Earth.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::dates;

/// An e-mail address as people have them: a local part of the usual characters, and a domain of at least two labels of which the last is
/// letters. `a@b` is none.
pub(super) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let local_fits = (1..=64).contains(&local.len())
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(|c| c.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c));
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = domain.rsplit('.').next().unwrap_or("");
    let last_fits = last.chars().count() >= 2 && (last.chars().all(char::is_alphabetic) || last.starts_with("xn--"));
    local_fits && domain.len() <= 253 && domain.contains('.') && last_fits && domain.split('.').all(label)
}

/// How a text is a telephone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phone {
    /// `+` and 8 to 15 digits (E.164), however grouped.
    International,
    /// As numbers are written within Japan, China, the United States, Vietnam, Saudi Arabia, Germany and their neighbours.
    National,
    /// 7 to 15 digits that could be one: worth something only under a telling name.
    Digits,
}

/// Looks at a text as a telephone number.
pub(super) fn phone(text: &str) -> Option<Phone> {
    // An extension is no part of the number.
    let number = ["x", "ext.", "ext", "#"]
        .iter()
        .find_map(|mark| {
            text.split_once(mark).filter(|(_, extension)| extension.bytes().all(|byte| byte.is_ascii_digit() || byte == b' '))
        })
        .map_or(text, |(number, _)| number)
        .trim_end();
    if number.len() > 30 || number.matches('+').count() > 1 {
        return None;
    }
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || b" -./()+".contains(&byte));
    if !plain || !number.ends_with(|c: char| c.is_ascii_digit()) || !(7..=16).contains(&digits.len()) {
        return None;
    }
    if number.starts_with('+') {
        let fits = (8..=15).contains(&digits.len()) && !digits.starts_with('0');
        return fits.then_some(Phone::International);
    }
    if dates::day(number).is_some() {
        return None;
    }
    if is_national(number, &digits) { Some(Phone::National) } else { Some(Phone::Digits) }
}

fn is_national(number: &str, digits: &str) -> bool {
    let groups: Vec<usize> = number.split(|c: char| !c.is_ascii_digit()).map(str::len).filter(|length| *length > 0).collect();
    let length = digits.len();
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| digits.starts_with(prefix));
    // With nothing between the digits, only what begins as a number does: a trunk prefix, or China's mobile numbers.
    if groups.len() == 1 {
        return match length {
            9 | 10 => begins(&["02", "03", "04", "05", "06", "07", "08", "09"]),
            11 => begins(&["070", "080", "090", "050", "0120", "015", "016", "017", "13", "14", "15", "16", "17", "18", "19"]),
            12 => begins(&["015", "016", "017", "0049", "0084"]),
            13 | 14 => begins(&["001", "0049", "0081", "0084", "0086", "00966"]),
            _ => false,
        };
    }
    let digits_fit = (8..=13).contains(&length) || (number.starts_with("001") && length <= 14);
    // A bracket belongs to an area code; hyphens and points make two to four groups, none of them as long as an id.
    let grouped = (2..=5).contains(&groups.len()) && groups.iter().all(|group| (1..=8).contains(group));
    let us = matches!(groups.as_slice(), [3, 3, 4]) || matches!(groups.as_slice(), [1..=3, 3, 3, 4]);
    let begins_so = number.starts_with('(') || digits.starts_with('0') || us || is_short_of_its_trunk_prefix(number, &groups);
    digits_fit && grouped && begins_so && !(number.contains('.') && number.matches('.').count() + 1 != groups.len())
}

/// `42-6212-9972`: a Japanese number without its zero.
fn is_short_of_its_trunk_prefix(number: &str, groups: &[usize]) -> bool {
    number.contains('-') && matches!(groups, [2 | 3, 4, 4])
}

/// An address of the internet protocol. Four small numbers (`1.4.12.3`) are a version of something rather than an address.
pub(super) fn is_ip(text: &str) -> bool {
    let text = text.split_once('/').map_or(text, |(address, _prefix)| address);
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            address.octets().iter().any(|octet| *octet >= 32) && address != Ipv4Addr::LOCALHOST && address != Ipv4Addr::BROADCAST
        }
        Ok(IpAddr::V6(address)) => address != Ipv6Addr::UNSPECIFIED && address != Ipv6Addr::LOCALHOST && text.len() > 4,
        Err(_) => false,
    }
}

/// `00:1b:44:11:3a:b7`, also with hyphens.
pub(super) fn is_mac(text: &str) -> bool {
    let parts = |separator: char| {
        let parts: Vec<&str> = text.split(separator).collect();
        parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    parts(':') || parts('-')
}

/// `123e4567-e89b-12d3-a456-426614174000`.
pub(super) fn is_uuid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    text.len() == 36 && lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// A number that could be a latitude or a longitude: in range, with at least three digits behind the point.
pub(super) fn is_degrees(text: &str) -> bool {
    let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    fraction >= 3 && text.len() <= 24 && text.parse::<f64>().is_ok_and(|degrees| (-180.0..=180.0).contains(&degrees))
}

/// `35.6895, 139.6917`.
pub(super) fn is_pair_of_degrees(text: &str) -> bool {
    text.split_once(',').is_some_and(|(one, two)| is_degrees(one.trim()) && is_degrees(two.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_mail_have_a_domain() {
        for good in ["mei.tanaka@example.com", "a+b@sub.example.co.jp", "ünal@exämple.de", "x_1@a-b.org", "a@b.xn--p1ai"] {
            assert!(is_email(good), "{good}");
        }
        for wrong in [
            "",
            "@",
            "a@b",
            "a@b.",
            "a@.b.c",
            "a@-b.com",
            "a b@c.de",
            "a@b@c.de",
            ".a@b.de",
            "a..b@c.de",
            "a@1.2",
            "@decorator.com",
            "a@b_c.de",
            "a@192.168.0.1",
        ] {
            assert!(!is_email(wrong), "{wrong}");
        }
    }

    #[test]
    fn numbers_of_telephones() {
        for good in
            ["+81355501234", "+81 3-5550-1234", "+49(0)2621 29972", "+1-565-369-0702", "+84 95 1454752", "+966 50 123 4567"]
        {
            assert_eq!(phone(good), Some(Phone::International), "{good}");
        }
        for good in [
            "090-1234-5678",
            "03-1234-5678",
            "0120-123-456",
            "42-6212-9972",
            "13812345678",
            "(724)315-4990",
            "226-521-2997x220",
            "001-732-824-5383x23640",
            "854.275.2772",
            "04 2621299",
            "05 3832 3640",
            "0501234567",
            "(03236) 40562",
            "030/1234567",
            "0912345678",
        ] {
            assert_eq!(phone(good), Some(Phone::National), "{good}");
        }
        for loose in ["4155551234", "1234567", "20231231", "978-3-16-148410-0", "123-45-6789"] {
            assert_eq!(phone(loose), Some(Phone::Digits), "{loose}");
        }
        for wrong in [
            "",
            "+",
            "+0123456789",
            "12",
            "1990-04-17",
            "17.04.1990",
            "1.2.3",
            "SKU-1234567",
            "+1+2345678",
            "+123456789012345678",
        ] {
            assert_eq!(phone(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn network_and_device() {
        assert!(is_ip("192.168.0.1") && is_ip("2001:db8::1") && !is_ip("10.0.0.0/8") && is_ip("203.0.113.0/24"));
        for wrong in ["1.2.3.4", "10.4.2.1", "127.0.0.1", "::", "::1", "256.1.1.1", "1.2.3", "2024.10.1.99", ""] {
            assert!(!is_ip(wrong), "{wrong}");
        }
        assert!(is_mac("00:1b:44:11:3a:b7") && is_mac("00-1B-44-11-3A-B7") && !is_mac("00:1b:44:11:3a") && !is_mac("12:34:56"));
        assert!(is_uuid("123e4567-e89b-12d3-a456-426614174000") && !is_uuid("123e4567e89b12d3a456426614174000"));
    }

    #[test]
    fn places_on_earth() {
        assert!(
            is_degrees("35.6895")
                && is_degrees("-122.41941")
                && !is_degrees("12.5")
                && !is_degrees("1250.755")
                && !is_degrees("nan")
        );
        assert!(is_pair_of_degrees("35.6895, 139.6917") && !is_pair_of_degrees("35.6895") && !is_pair_of_degrees("1,2"));
    }
}
