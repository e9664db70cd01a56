//! Text as one segment of a path, or one value of a query.

/// Everything but unreserved characters percent-encoded (RFC 3986 section 2.3).
pub fn encode_segment(text: &str) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default().to_ascii_uppercase();
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::encode_segment;

    #[test]
    fn only_unreserved_characters_stand_for_themselves() {
        assert_eq!(encode_segment("aZ9-._~"), "aZ9-._~");
        assert_eq!(encode_segment("a/b c\u{e9}\0+%"), "a%2Fb%20c%C3%A9%00%2B%25");
    }
}
