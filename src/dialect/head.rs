//! What both dialects ask of a request's head: its parameters, its media type, headers that change what it means.
//!
//! Always holds: texts made here name headers, parameters of our own lists and members of the configuration, never
//! anything a client sent (T13). Called by the dialects only.

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RANGE};

use super::target::percent_decode;
use super::{Refused, RefusedCode};
use crate::base::PatchFormat;

/// Headers by which a client can make a server see another method than the one sent (T6).
const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
/// Query parameters that some frameworks read in the same way.
const OVERRIDE_PARAMETERS: [&str; 4] = ["_method", "x-http-method-override", "x-http-method", "x-method-override"];
/// Headers by which a client can make some servers see another target than the one sent (T31).
pub(super) const REWRITES: [&str; 4] = ["x-original-url", "x-rewrite-url", "x-original-uri", "x-override-url"];

/// A refusal for one collection.
pub(super) fn refused(collection: Option<usize>, code: RefusedCode, detail: impl Into<String>) -> Refused {
    Refused { collection, code, detail: detail.into() }
}

/// One parameter of a query, unescaped, `+` as a space; bytes that are not UTF-8 become U+FFFD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) value: String,
}

/// The parameters of a query in order. Also splits at `;`, as old form decoders do, so that nothing hides behind it.
pub(super) fn parameters(query: Option<&str>) -> Vec<Parameter> {
    let decode = |text: &str| String::from_utf8_lossy(&percent_decode(&text.replace('+', " "))).into_owned();
    query
        .unwrap_or_default()
        .split(['&', ';'])
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Parameter { name: decode(name), value: decode(value) }
        })
        .collect()
}

/// Refuses requests whose method means something else to the server than to us (T6).
pub(super) fn check_method_override(headers: &HeaderMap, parameters: &[Parameter]) -> Result<(), String> {
    if let Some(name) = OVERRIDES.iter().find(|name| all_spelled(headers, name).next().is_some()) {
        return Err(format!("the header {name} is not accepted on a protected collection; send the method itself"));
    }
    let named = |parameter: &Parameter, name: &str| parameter.name.trim().eq_ignore_ascii_case(name);
    match OVERRIDE_PARAMETERS.iter().find(|name| parameters.iter().any(|parameter| named(parameter, name))) {
        Some(name) => {
            Err(format!("the query parameter {name} is not accepted on a protected collection; send the method itself"))
        }
        None => Ok(()),
    }
}

/// The values of a header, also where it is spelled with underscores: servers that hand headers on as variables (CGI and its
/// heirs) read both as one.
pub(super) fn all_spelled<'h>(headers: &'h HeaderMap, name: &'static str) -> impl Iterator<Item = &'h HeaderValue> + use<'h> {
    let is = move |given: &HeaderName| given.as_str().len() == name.len() && given.as_str().replace('_', "-") == name;
    headers.iter().filter(move |(given, _)| is(given)).map(|(_, value)| value)
}

/// Refuses writes that ask the server to merge the documents into those that are there, as PostgREST's
/// `Prefer: resolution=merge-duplicates` does: a create would replace what its writer may not see (T26).
pub(super) fn check_merge(headers: &HeaderMap, parameters: &[Parameter]) -> Result<(), String> {
    let prefers = all_spelled(headers, "prefer").any(|value| {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        text.split([',', ';']).any(|preference| preference.split('=').next().unwrap_or_default().trim() == "resolution")
    });
    if prefers {
        return Err("Prefer: resolution=... could replace documents unseen; create with POST, replace with PUT".into());
    }
    match ["on_conflict", "upsert"].iter().find(|name| parameters.iter().any(|given| given.name.eq_ignore_ascii_case(name))) {
        Some(name) => {
            Err(format!("the query parameter {name} could replace documents unseen; create with POST, replace with PUT"))
        }
        None => Ok(()),
    }
}

/// Refuses ranges of bodies that are rewritten: their bytes are not the stored ones (T11).
pub(super) fn check_range(headers: &HeaderMap) -> Result<(), String> {
    if headers.contains_key(RANGE) {
        return Err(
            "ranges of protected documents cannot be served, their bytes differ from the stored ones; leave out the header Range"
                .into(),
        );
    }
    Ok(())
}

/// What a missing `Content-Type` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Untyped {
    /// Nothing that may be stored.
    Refuse,
    /// JSON, as the database itself would take it.
    IsJson,
}

/// Accepts a body that is plain JSON: one `Content-Type` of `application/json` or `application/…+json` other than the
/// patch formats (whose paths would be documents to us), in UTF-8 (T6). Its content coding is the exchange's to judge.
///
/// Returns whether the type was there.
///
/// # Errors
///
/// What was found and what to send, for 415.
pub(super) fn check_json_body(headers: &HeaderMap, untyped: Untyped) -> Result<bool, String> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (None, _) if untyped == Untyped::IsJson => Ok(false),
        (None, _) => Err("the request has no Content-Type; send application/json".into()),
        (Some(_), Some(_)) => Err("the request has two Content-Type headers; send one, application/json".into()),
        (Some(value), None) => is_plain_json(value).map(|()| true),
    }
}

/// The patch format of a body by its one `Content-Type`; `None` for any other type.
pub(super) fn patch_format(headers: &HeaderMap) -> Option<PatchFormat> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (value, None) = (types.next()?, types.next()) else { return None };
    let text = value.to_str().ok()?.to_ascii_lowercase();
    match text.split(';').next().unwrap_or_default().trim() {
        "application/merge-patch+json" => Some(PatchFormat::Merge),
        "application/json-patch+json" => Some(PatchFormat::Json),
        _ => None,
    }
}

/// Accepts the body of a PATCH: one of the two formats that say what they do, in UTF-8 (T6).
///
/// # Errors
///
/// What was found and what to send, for 415.
pub(super) fn check_patch_body(headers: &HeaderMap) -> Result<(), String> {
    if patch_format(headers).is_none() {
        return Err("servers differ in what PATCH does with a body of this type; send application/merge-patch+json (RFC 7396) or application/json-patch+json (RFC 6902)".into());
    }
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    check_charset(text.split(';').skip(1))
}

fn check_charset<'t>(parameters: impl Iterator<Item = &'t str>) -> Result<(), String> {
    for parameter in parameters {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.trim() == "charset" && value.trim().trim_matches('"') != "utf-8" {
            return Err("the body is declared in another character set; send JSON in UTF-8 (RFC 8259, section 8.1)".into());
        }
    }
    Ok(())
}

fn is_plain_json(value: &HeaderValue) -> Result<(), String> {
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut parts = text.split(';');
    let essence = parts.next().unwrap_or_default().trim();
    if matches!(essence, "application/merge-patch+json" | "application/json-patch+json") {
        return Err("a patch goes with the method PATCH; send the whole document as application/json".into());
    }
    if !is_json_type(essence) {
        return Err("the body is not declared as JSON; send it with Content-Type: application/json".into());
    }
    check_charset(parts)
}

fn is_json_type(essence: &str) -> bool {
    essence == "application/json"
        || essence.strip_prefix("application/").is_some_and(|subtype| {
            subtype.ends_with("+json")
                && subtype.len() > "+json".len()
                && !subtype.contains(|c: char| c.is_whitespace() || c == ',')
        })
}

/// The header to set so that the database answers in JSON: none if the client asked for nothing else.
pub(super) fn ask_for_json(headers: &HeaderMap) -> Option<(HeaderName, HeaderValue)> {
    let mut ranges = headers.get_all(ACCEPT).iter().flat_map(|value| value.to_str().unwrap_or("?").split(','));
    let all_json = ranges.all(|range| {
        let essence = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == "*/*" || essence == "application/*" || is_json_type(&essence)
    });
    (!all_json).then(json_accept)
}

/// `Accept: application/json`.
pub(super) fn json_accept() -> (HeaderName, HeaderValue) {
    (ACCEPT, HeaderValue::from_static("application/json"))
}

/// `Content-Type: application/json`.
pub(super) fn json_content_type() -> (HeaderName, HeaderValue) {
    (CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn parameters_are_split_and_unescaped() {
        let found = parameters(Some("a=1&b=%7B%22x%22%7D;c=x+y&&d&=e&%61=f=g"));
        let expected = [("a", "1"), ("b", "{\"x\"}"), ("c", "x y"), ("d", ""), ("", "e"), ("a", "f=g")];
        assert_eq!(found.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect::<Vec<_>>(), expected);
        assert!(parameters(None).is_empty());
    }

    #[test]
    fn t6_only_plain_json_is_a_body() {
        for ok in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/vnd.api+json",
            "application/ld+json; profile=x",
        ] {
            assert_eq!(check_json_body(&headers(&[("content-type", ok)]), Untyped::Refuse), Ok(true), "{ok}");
        }
        for wrong in [
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/related; boundary=x",
            "application/merge-patch+json",
            "application/json-patch+json; charset=utf-8",
            "application/json; charset=utf-16",
            "application/json, text/plain",
            "application/+json",
            "application/x-ndjson",
            "",
        ] {
            assert!(check_json_body(&headers(&[("content-type", wrong)]), Untyped::IsJson).is_err(), "{wrong}");
        }
        assert!(check_json_body(&HeaderMap::new(), Untyped::Refuse).is_err());
        assert_eq!(check_json_body(&HeaderMap::new(), Untyped::IsJson), Ok(false));
        let twice = headers(&[("content-type", "application/json"), ("content-type", "text/plain")]);
        assert!(check_json_body(&twice, Untyped::IsJson).is_err());
    }

    #[test]
    fn t6_every_method_override_is_seen() {
        for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
            assert!(check_method_override(&headers(&[(name, "DELETE")]), &[]).is_err(), "{name}");
        }
        for query in ["_method=DELETE", "a=1&_METHOD=put", "x=1;_method=x", "%5Fmethod=PUT", "X-HTTP-Method-Override=PUT"] {
            assert!(check_method_override(&HeaderMap::new(), &parameters(Some(query))).is_err(), "{query}");
        }
        assert!(check_method_override(&headers(&[("accept", "*/*")]), &parameters(Some("method=x&limit=3"))).is_ok());
    }

    #[test]
    fn replies_are_asked_for_in_json() {
        for fine in
            [None, Some("*/*"), Some("application/json"), Some("application/json, application/problem+json;q=0.9, */*;q=0.1")]
        {
            let map = fine.map_or_else(HeaderMap::new, |value| headers(&[("accept", value)]));
            assert_eq!(ask_for_json(&map), None, "{fine:?}");
        }
        for other in ["text/csv", "application/json, text/html", "multipart/related"] {
            assert_eq!(ask_for_json(&headers(&[("accept", other)])), Some(json_accept()), "{other}");
        }
    }
}
