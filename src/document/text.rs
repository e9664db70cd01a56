//! JSON strings as text: reading one with its escapes, writing one with as few as possible.
//!
//! `field` reads and writes protected values with these, [`super::Selector`] its quoted names.

use std::borrow::Cow;

use super::scan::{self, Resume};

/// The text of a JSON string that is given with its quotes. Borrowed when nothing in it is escaped.
///
/// None if it is not exactly one well-formed string: bad UTF-8, lone surrogates, control characters and unknown escapes are refused.
pub fn unescape(string: &[u8]) -> Option<Cow<'_, str>> {
    if string.first() != Some(&b'"') {
        return None;
    }
    let mut resume = Resume::default();
    let end = scan::string(string, 0, &mut resume).ok().flatten()?;
    if end != string.len() {
        return None;
    }
    let inner = string.get(1..end.checked_sub(1)?)?;
    if resume.escaped() { unescape_inner(inner).map(Cow::Owned) } else { std::str::from_utf8(inner).ok().map(Cow::Borrowed) }
}

/// Appends `text` as a JSON string with its quotes. Escapes only what JSON demands: quote, backslash and control characters.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(text.len() + 2);
    out.push(b'"');
    for byte in text.bytes() {
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            0x00..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.extend([byte >> 4, byte & 15].iter().filter_map(|digit| HEX.get(usize::from(*digit))));
                continue;
            }
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', short]);
    }
    out.push(b'"');
}

/// The text between the quotes of a string that [`scan::string`] found well formed.
pub(super) fn unescape_inner(inner: &[u8]) -> Option<String> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at_checked(backslash)?;
        out.extend_from_slice(plain);
        let (character, length) = match *escape.get(1)? {
            b'b' => ('\u{8}', 2),
            b't' => ('\t', 2),
            b'n' => ('\n', 2),
            b'f' => ('\u{c}', 2),
            b'r' => ('\r', 2),
            b'u' => unicode_escape(escape)?,
            other => (char::from(other), 2),
        };
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = escape.get(length..)?;
    }
    out.extend_from_slice(rest);
    String::from_utf8(out).ok()
}

/// The character of a `\uXXXX` or a pair of them, and how many bytes it takes.
fn unicode_escape(escape: &[u8]) -> Option<(char, usize)> {
    let unit = |from: usize| u32::from_str_radix(std::str::from_utf8(escape.get(from..from + 4)?).ok()?, 16).ok();
    let first = unit(2)?;
    if (0xd800..0xdc00).contains(&first) {
        let second = unit(8)?.checked_sub(0xdc00)?;
        return Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second)?, 12));
    }
    Some((char::from_u32(first)?, 6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unescapes() {
        assert_eq!(unescape(br#""plain""#), Some(Cow::Borrowed("plain")));
        assert_eq!(unescape(br#""a\"\\\/\b\f\n\r\t\u006e\ud83d\ude00z""#).unwrap(), "a\"\\/\u{8}\u{c}\n\r\tn😀z");
        for bad in [
            &b""[..],
            b"\"",
            b"x",
            b"\"a",
            b"\"a\"b",
            b"\"\\x\"",
            b"\"\\ud800\"",
            b"\"\\udc00\"",
            b"\"\xff\"",
            b"\"\n\"",
            b" \"a\"",
            b"\"\\u00\"",
            b"\"\\\"",
        ] {
            assert_eq!(unescape(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn strings_are_written_as_serde_json_writes_them(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&text, &mut out);
            prop_assert_eq!(&out, &serde_json::to_vec(&text).unwrap());
            prop_assert_eq!(unescape(&out).unwrap(), text.as_str());
        }

        #[test]
        fn t7_strings_are_read_as_serde_json_reads_them(inner in "([a-z\"\\\\/u0-9dD8cCe\u{1}é😀]|\\\\u[0-9a-fA-FdD]{4}|\\\\[bfnrt\"]){0,12}") {
            let string = format!("\"{inner}\"");
            prop_assert_eq!(unescape(string.as_bytes()).map(Cow::into_owned), serde_json::from_str::<String>(&string).ok());
        }
    }
}
