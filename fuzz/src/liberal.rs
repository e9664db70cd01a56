//! Paths as the most careless server could read them: what must never lead past the proxy.

use unicode_normalization::UnicodeNormalization;

/// Undoes percent-encoding once; what is no escape stays.
pub fn decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let escape = text.get(at + 1..at + 3).filter(|_| text[at] == b'%').and_then(|digits| {
            let digits =
                std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
            u8::from_str_radix(digits, 16).ok()
        });
        out.push(escape.unwrap_or(text[at]));
        at += if escape.is_some() { 3 } else { 1 };
    }
    out
}

/// The segments of a path: escapes undone until none is left (three times at most), backslashes as slashes, path parameters cut off, no
/// empty and no dot segments, compatibility forms of characters as the characters, in one letter case.
pub fn segments(path: &str) -> Vec<String> {
    let mut bytes = path.as_bytes().to_vec();
    for _round in 0..3 {
        bytes = decode(&bytes);
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()),
        }
    }
    segments
}
