//! Canonical request targets (T31): one spelling per resource, or no answer.
//!
//! A proxy that reads `/%63ustomers` as one route and a database that reads it as another protect nothing. So a target is
//! either in the one spelling that leaves no room, or refused; what is classified is byte for byte what is forwarded.
//! The front calls [`canonical_target`] before anything else looks at a request. The dialects use the helpers below to
//! see whether a target that is not protected only *looks* different from one that is.

use unicode_normalization::UnicodeNormalization;

/// Longest target, path and query together, in bytes.
pub const MAX_TARGET_BYTES: usize = 8 << 10;

/// A request target in its one spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Starts with `/`; or is `*`, with the method OPTIONS only.
    pub path: &'a str,
    /// What stands behind the first `?`, still escaped.
    pub query: Option<&'a str>,
}

/// Why a target is refused. Never holds the target, which may carry personal data (T14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// `http://host/path` or `host:port` (RFC 9112 3.2.2, 3.2.3).
    #[error("the request target names a host; send the path alone, and the host in the header Host")]
    NotOriginForm,
    /// Over [`MAX_TARGET_BYTES`].
    #[error(
        "the request target is longer than {MAX_TARGET_BYTES} bytes; send long lists of ids in a POST body where the API has one"
    )]
    TooLong,
    /// `*` with another method than OPTIONS (RFC 9112 3.2.4).
    #[error("the request target * goes with the method OPTIONS only; send a path")]
    Asterisk,
    /// The first character is not `/`.
    #[error("the path does not start with a slash")]
    NoSlash,
    /// `//` in the path.
    #[error("the path holds an empty segment (two slashes in a row); leave one out, or write %2F for a slash within an id")]
    EmptySegment,
    /// `.` or `..` as a whole segment.
    #[error("the path holds a segment that is one or two dots; send the path it would lead to")]
    DotSegment,
    /// A backslash in the path.
    #[error("the path holds a backslash; write a slash, or %5C for a backslash within an id")]
    Backslash,
    /// Path parameters are read differently by every server.
    #[error("the path holds a semicolon; write %3B for a semicolon within an id")]
    Semicolon,
    /// `#` is not sent in requests.
    #[error("the request target holds a number sign; write %23, or leave the fragment out")]
    Fragment,
    /// White space, control characters, DEL, bytes above 127.
    #[error(
        "the request target holds white space, a control character or a character outside ASCII; percent-encode its UTF-8 bytes"
    )]
    NotAscii,
    /// Something else that RFC 3986 does not let stand in a path.
    #[error("the path holds a character that must be percent-encoded in a path (RFC 3986, section 3.3)")]
    Character,
    /// `%` without two hexadecimal digits.
    #[error("the request target holds a percent sign without two hexadecimal digits; write %25 for the percent sign itself")]
    BadEscape,
    /// `%2f` for `%2F`.
    #[error("the path holds an escape with lower-case hexadecimal digits; write them in upper case (RFC 3986, section 2.1)")]
    LowerCaseEscape,
    /// `%61` for `a`.
    #[error(
        "the path escapes a letter, digit, hyphen, dot, underscore or tilde; write the character itself (RFC 3986, section 2.3)"
    )]
    NeedlessEscape,
    /// `%00`.
    #[error("the path holds the character NUL")]
    Nul,
}

/// Takes a request's target apart if it is in its one spelling.
///
/// Refused are: every form but the origin form and `*`; paths with empty or dot segments, backslashes, semicolons,
/// characters that RFC 3986 wants escaped; escapes that are broken, in lower case, or needless; NUL. In the query, where
/// no route is chosen, escapes need only be well formed.
///
/// # Errors
///
/// The first rule that the target breaks.
pub fn canonical_target<'a>(method: &http::Method, uri: &'a http::Uri) -> Result<Target<'a>, TargetError> {
    if uri.scheme().is_some() || uri.authority().is_some() {
        return Err(TargetError::NotOriginForm);
    }
    let target = Target { path: uri.path(), query: uri.query() };
    if target.path.len() + target.query.map_or(0, |query| query.len() + 1) > MAX_TARGET_BYTES {
        return Err(TargetError::TooLong);
    }
    if target.path != "*" {
        check_path(target.path)?;
    } else if method != http::Method::OPTIONS || target.query.is_some() {
        return Err(TargetError::Asterisk);
    }
    check_query(target.query.unwrap_or_default())?;
    Ok(target)
}

/// The rules for a path; also for the patterns of the configuration.
pub(super) fn check_path(path: &str) -> Result<(), TargetError> {
    let Some(inner) = path.strip_prefix('/') else { return Err(TargetError::NoSlash) };
    let mut segments = inner.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "" if segments.peek().is_some() => return Err(TargetError::EmptySegment),
            "." | ".." => return Err(TargetError::DotSegment),
            _ => check_segment(segment)?,
        }
    }
    Ok(())
}

fn check_segment(segment: &str) -> Result<(), TargetError> {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match escaped(bytes.next(), bytes.next())? {
                Escape { upper_case: false, .. } => return Err(TargetError::LowerCaseEscape),
                Escape { byte: 0, .. } => return Err(TargetError::Nul),
                Escape { byte, .. } if is_unreserved(byte) => return Err(TargetError::NeedlessEscape),
                Escape { .. } => {}
            },
            b'\\' => return Err(TargetError::Backslash),
            b';' => return Err(TargetError::Semicolon),
            b'#' => return Err(TargetError::Fragment),
            byte if !byte.is_ascii_graphic() => return Err(TargetError::NotAscii),
            // pchar of RFC 3986 3.3 without the semicolon.
            byte if is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte) => {}
            _ => return Err(TargetError::Character),
        }
    }
    Ok(())
}

fn check_query(query: &str) -> Result<(), TargetError> {
    let mut bytes = query.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                escaped(bytes.next(), bytes.next())?;
            }
            b'#' => return Err(TargetError::Fragment),
            byte if !byte.is_ascii_graphic() => return Err(TargetError::NotAscii),
            _ => {}
        }
    }
    Ok(())
}

struct Escape {
    byte: u8,
    upper_case: bool,
}

fn escaped(high: Option<u8>, low: Option<u8>) -> Result<Escape, TargetError> {
    let (Some(high), Some(low)) = (high, low) else { return Err(TargetError::BadEscape) };
    let (Some(high_bits), Some(low_bits)) = (hex_digit(high), hex_digit(low)) else { return Err(TargetError::BadEscape) };
    Ok(Escape { byte: high_bits << 4 | low_bits, upper_case: !high.is_ascii_lowercase() && !low.is_ascii_lowercase() })
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// RFC 3986 2.3: never needs an escape.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Undoes percent-encoding once. Broken escapes stay as they are.
pub(super) fn percent_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%'
            && let [high, low, tail @ ..] = tail
            && let Ok(escape) = escaped(Some(*high), Some(*low))
        {
            out.push(escape.byte);
            rest = tail;
        } else {
            out.push(byte);
        }
    }
    out
}

/// One segment of a path as the database will read it: `None` if its bytes are not UTF-8.
pub(super) fn decode_segment(segment: &str) -> Option<String> {
    String::from_utf8(percent_decode(segment)).ok()
}

/// The path as the most liberal server could read it: decoded until nothing changes, backslashes as slashes, no path
/// parameters, no empty or dot segments, one letter case. Two paths with the same loose segments may be the same resource.
///
/// Only for finding targets that come too close to a protected one; never for routing.
pub(super) fn loose_segments(path: &str) -> Vec<String> {
    let mut text = path.to_string();
    // Three rounds: once by the protocol, once more by a careless gateway, and one to notice that.
    for _round in 0..3 {
        if !text.contains('%') {
            break;
        }
        text = String::from_utf8_lossy(&percent_decode(&text)).into_owned();
    }
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split(['/', '\\']) {
        let segment = segment.split(';').next().unwrap_or_default();
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(fold_case(segment)),
        }
    }
    segments
}

/// One letter case and one form, also for characters that some server takes for an ASCII letter: the Kelvin sign and the long s have
/// one as their other case, full-width letters stand for one (NFKC).
pub(super) fn fold_case(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::*;

    fn refused(path: &str) -> Option<TargetError> {
        check_path(path).err()
    }

    #[test]
    fn t31_only_one_spelling_of_a_path_is_accepted() {
        for ok in [
            "/",
            "/customers",
            "/customers/",
            "/customers/c-1",
            "/a~b/_x.y",
            "/a%2Fb/c%20d",
            "/x/%C3%A9",
            "/a/b:c@d!$&'()*+,=",
            "/x/...",
            "/x/a..b",
            "/x/%25",
            "/x/%5C",
            "/x/%3B",
        ] {
            assert_eq!(refused(ok), None, "{ok}");
        }
        for (path, error) in [
            ("", TargetError::NoSlash),
            ("customers", TargetError::NoSlash),
            ("//customers", TargetError::EmptySegment),
            ("/customers//c-1", TargetError::EmptySegment),
            ("/customers//", TargetError::EmptySegment),
            ("/./customers", TargetError::DotSegment),
            ("/x/../customers", TargetError::DotSegment),
            ("/customers/..", TargetError::DotSegment),
            ("/x/%2E%2E/customers", TargetError::NeedlessEscape),
            ("/x/%2e%2e/customers", TargetError::LowerCaseEscape),
            ("/x/.%2E/customers", TargetError::NeedlessEscape),
            ("/%63ustomers", TargetError::NeedlessEscape),
            ("/customers/%7E", TargetError::NeedlessEscape),
            ("/customers/a%2fb", TargetError::LowerCaseEscape),
            ("/customers/%c3%a9", TargetError::LowerCaseEscape),
            ("/customers/%", TargetError::BadEscape),
            ("/customers/%4", TargetError::BadEscape),
            ("/customers/%zz", TargetError::BadEscape),
            ("/customers/%00", TargetError::Nul),
            ("/x\\customers", TargetError::Backslash),
            ("/customers;v=1", TargetError::Semicolon),
            ("/customers;/c-1", TargetError::Semicolon),
            ("/customers#c-1", TargetError::Fragment),
            ("/customers/a b", TargetError::NotAscii),
            ("/customers/a\tb", TargetError::NotAscii),
            ("/customers/\u{e9}", TargetError::NotAscii),
            ("/customers/\u{7f}", TargetError::NotAscii),
            ("/customers/{id}", TargetError::Character),
            ("/customers/a|b", TargetError::Character),
            ("/customers/\"x\"", TargetError::Character),
            ("/customers/[1]", TargetError::Character),
        ] {
            assert_eq!(refused(path), Some(error), "{path}");
        }
    }

    #[test]
    fn t31_absolute_and_authority_form_are_refused() {
        for uri in ["http://127.0.0.1/customers", "https://other/customers", "127.0.0.1:5984", "other.example"] {
            let uri: http::Uri = uri.parse().unwrap();
            assert_eq!(canonical_target(&Method::GET, &uri), Err(TargetError::NotOriginForm), "{uri}");
        }
        let uri: http::Uri = "*".parse().unwrap();
        assert_eq!(canonical_target(&Method::OPTIONS, &uri), Ok(Target { path: "*", query: None }));
        assert_eq!(canonical_target(&Method::GET, &uri), Err(TargetError::Asterisk));
    }

    #[test]
    fn t31_queries_need_only_be_well_formed() {
        let uri: http::Uri = "/db/_all_docs?startkey=%22a%22&x=%7e&y=a;b&z={a:1}&k=[1]".parse().unwrap();
        let target = canonical_target(&Method::GET, &uri).unwrap();
        assert_eq!((target.path, target.query), ("/db/_all_docs", Some("startkey=%22a%22&x=%7e&y=a;b&z={a:1}&k=[1]")));
        for (query, error) in [
            ("a=%", TargetError::BadEscape),
            ("a=%g0", TargetError::BadEscape),
            ("a=\u{e9}", TargetError::NotAscii),
            ("a=b c", TargetError::NotAscii),
            ("a=#b", TargetError::Fragment),
        ] {
            assert_eq!(check_query(query), Err(error), "{query}");
        }
        let long: http::Uri = format!("/db?q={}", "x".repeat(MAX_TARGET_BYTES)).parse().unwrap();
        assert_eq!(canonical_target(&Method::GET, &long), Err(TargetError::TooLong));
    }

    #[test]
    fn errors_name_the_remedy_and_never_the_target() {
        let uri: http::Uri = "/customers/mei.tanaka@example.com%".parse().unwrap();
        let error = canonical_target(&Method::GET, &uri).unwrap_err().to_string();
        assert!(error.contains("%25") && !error.contains("tanaka"), "{error}");
    }

    #[test]
    fn loose_segments_read_a_path_as_liberally_as_any_server() {
        let plain = vec!["customers".to_string(), "c-1".to_string()];
        for path in [
            "/customers/c-1",
            "//Customers//C-1/",
            "/%63ustomers/c-1",
            "/%2563ustomers/c-1",
            "/customers%2Fc-1",
            "/customers%5Cc-1",
            "/x/../customers;v=1/./c-1;w",
            "/CU\u{17f}TOMERS/c-1",
            "/cu%C5%BFtomers/c-1",
            "/%EF%BD%83ustomers/%EF%BC%A3-1",
        ] {
            assert_eq!(loose_segments(path), plain, "{path}");
        }
        assert_ne!(loose_segments("/customer/c-1"), plain);
    }

    proptest! {
        #[test]
        fn t31_an_accepted_path_decodes_back_to_itself(path in "/[a-c%./;0-9A-F~ ]{0,12}") {
            if check_path(&path).is_ok() {
                // Decoded, no segment steps up, vanishes or ends the text; nothing that needs no escape has one.
                let mut segments = path.split('/').skip(1).peekable();
                while let Some(segment) = segments.next() {
                    let decoded = percent_decode(segment);
                    prop_assert!(decoded != b"." && decoded != b".." && !decoded.contains(&0));
                    prop_assert!(!decoded.is_empty() || segments.peek().is_none());
                    let plain = decoded.iter().filter(|byte| is_unreserved(**byte)).count();
                    prop_assert!(segment.bytes().filter(|byte| is_unreserved(*byte)).count() >= plain);
                    prop_assert!(!segment.contains("%41") && !segment.contains("%2E"));
                }
            }
        }

        #[test]
        fn nothing_makes_the_checks_panic(text in ".{0,64}") {
            prop_assert!(loose_segments(&text).iter().all(|segment| !segment.is_empty()));
            // The query's rules are a part of the path's.
            prop_assert!(check_path(&text).is_err() || check_query(&text).is_ok());
        }
    }
}
