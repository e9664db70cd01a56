//! Canonical request targets.

use http::Method;
use sudare::dialect::{MAX_TARGET_BYTES, canonical_target};

use super::liberal;

/// Input: a request target. What is accepted is what RFC 3986, section 6.2.2, and every careful reader would make of it.
pub fn target(input: &[u8]) {
    let Ok(uri) = http::Uri::try_from(input) else { return };
    for method in [Method::GET, Method::OPTIONS] {
        match canonical_target(&method, &uri) {
            Ok(target) => {
                assert!(uri.authority().is_none() && target.path == uri.path() && target.query == uri.query());
                assert!(target.path.len() + target.query.map_or(0, |query| query.len() + 1) <= MAX_TARGET_BYTES);
                if target.path == "*" {
                    assert!(method == Method::OPTIONS && target.query.is_none());
                } else {
                    check(target.path);
                }
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

fn check(path: &str) {
    assert_eq!(normalised(path), path, "another spelling is the canonical one");
    let segments: Vec<&str> = path.strip_prefix('/').expect("a path starts with a slash").split('/').collect();
    for (number, segment) in segments.iter().enumerate() {
        let decoded = liberal::decode(segment.as_bytes());
        assert!(!decoded.is_empty() || number + 1 == segments.len(), "an empty segment");
        assert!(decoded != b"." && decoded != b".." && !decoded.contains(&0));
        assert!(
            !segment.contains([';', '\\', '#', '?', '"', '<', '>', '[', ']', '^', '`', '{', '|', '}'])
                && segment.bytes().all(|byte| byte.is_ascii_graphic())
        );
    }
}

/// RFC 3986, section 6.2.2: case of escapes, needless escapes, dot segments; and one slash for two.
fn normalised(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some(c) = rest.chars().next() {
        let escape = rest.get(..3).filter(|_| c == '%').map(|escape| liberal::decode(escape.as_bytes()));
        match escape.as_deref() {
            Some([byte]) if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) => out.push(char::from(*byte)),
            Some([byte]) => out.push_str(&format!("%{byte:02X}")),
            _ => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        }
        rest = &rest[3..];
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut pieces = out.split('/').skip(1).peekable();
    while let Some(piece) = pieces.next() {
        match piece {
            "" if pieces.peek().is_some() => {}
            "." => {}
            ".." => drop(kept.pop()),
            piece => kept.push(piece),
        }
    }
    format!("/{}", kept.join("/"))
}
