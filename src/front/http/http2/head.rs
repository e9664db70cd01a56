//! The head of a request as HTTP/1.1 would have brought it: one `Host`, the target in origin form, one `Cookie` (RFC 9113,
//! sections 8.2.3 and 8.3.1); or why it is refused.
//!
//! h2 has refused before: names that are no lower-case tokens, values with control characters, pseudo-header fields that are
//! unknown, missing, twice or late, connection-specific fields, `te` but for `trailers`, a length that is no number or
//! not that of the body, heads over the limit. `tests/it/http2.rs` sends each of them.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Uri, uri};

use crate::front::http::wire::{Reason, is_host, like};

/// Belongs to a connection, though RFC 9113 does not list it (RFC 7540, section 3.2.1).
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Brings a head into the form of HTTP/1.1.
pub(super) fn settle(parts: &mut Parts, most_headers: usize) -> Result<(), Reason> {
    if parts.headers.len() > most_headers {
        return Err(Reason::TooManyHeaders);
    }
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Reason::Method);
    }
    check_fields(&parts.headers)?;
    let uri::Parts { scheme, authority, path_and_query, .. } = std::mem::take(&mut parts.uri).into_parts();
    if scheme.is_some_and(|scheme| scheme != uri::Scheme::HTTP && scheme != uri::Scheme::HTTPS) {
        return Err(Reason::Scheme);
    }
    // What is classified and forwarded is the path; where it is for stands in Host.
    let target = path_and_query.filter(|target| target.as_str().starts_with('/') || target == "*");
    parts.uri = target.map(Uri::from).ok_or(Reason::RequestLine)?;
    settle_host(&mut parts.headers, authority.as_ref().map(uri::Authority::as_str))?;
    parts.headers.remove(HTTP2_SETTINGS);
    join_cookies(&mut parts.headers)
}

fn check_fields(headers: &HeaderMap) -> Result<(), Reason> {
    let mut lengths = 0;
    for (name, value) in headers {
        // HTTP/1.1 would take the white space off on the way, so the database would read another value than we did.
        if [value.as_bytes().first(), value.as_bytes().last()].into_iter().flatten().any(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(Reason::Padded);
        }
        match name.as_str().len() {
            14 if like(name.as_str(), "content-length")? => lengths += 1,
            17 => {
                like(name.as_str(), "transfer-encoding")?;
            }
            _ => {}
        }
    }
    if lengths > 1 { Err(Reason::LengthRepeated) } else { Ok(()) }
}

fn settle_host(headers: &mut HeaderMap, authority: Option<&str>) -> Result<(), Reason> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Reason::HostRepeated);
    }
    let authority = match (authority, host) {
        (None, None) => return Err(Reason::HostMissing),
        (None, Some(host)) => return if is_host(host.as_bytes()) { Ok(()) } else { Err(Reason::HostMalformed) },
        (Some(authority), None) => authority,
        (Some(authority), Some(host)) if host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()) => authority,
        (Some(_), Some(_)) => return Err(Reason::AuthorityDiffers),
    };
    // User information is none of these characters.
    if !is_host(authority.as_bytes()) {
        return Err(Reason::HostMalformed);
    }
    let host = HeaderValue::from_str(authority).map_err(|_not_visible| Reason::HostMalformed)?;
    headers.insert(header::HOST, host);
    Ok(())
}

/// HTTP/2 may send cookies one by one; whoever reads HTTP/1.1 expects one field.
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Reason> {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (crumbs.next(), crumbs.next()) else { return Ok(()) };
    let mut whole = first.as_bytes().to_vec();
    for crumb in headers.get_all(header::COOKIE).iter().skip(1) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    let whole = HeaderValue::from_maybe_shared(bytes::Bytes::from(whole)).map_err(|_control| Reason::FieldValue)?;
    headers.insert(header::COOKIE, whole);
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn settled(uri: &str, fields: &[(&str, &str)]) -> Result<Parts, Reason> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut parts = request.body(()).unwrap().into_parts().0;
        settle(&mut parts, 8).map(|()| parts)
    }

    #[test]
    fn a_head_looks_as_it_would_over_http_1_1() {
        let parts = settled("https://db.example/orders/7?a=b", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]).unwrap();
        assert_eq!(parts.uri, "/orders/7?a=b");
        assert!(parts.uri.authority().is_none() && parts.uri.scheme().is_none());
        assert_eq!(parts.headers.get_all("host").iter().collect::<Vec<_>>(), ["db.example"]);
        assert_eq!(parts.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        assert_eq!(settled("/orders", &[("host", "db.example")]).unwrap().headers["host"], "db.example");
        assert!(settled("http://DB.example/x", &[("host", "db.Example")]).is_ok(), "hosts are compared without case");
    }

    #[test]
    fn t10_what_has_two_readings_is_refused() {
        let many: Vec<_> = (0..9).map(|_| ("x", "y")).collect();
        for (uri, fields, reason) in [
            ("https://a/x", &[("host", "b")][..], Reason::AuthorityDiffers),
            ("https://a/x", &[("host", "a"), ("host", "a")], Reason::HostRepeated),
            ("/x", &[], Reason::HostMissing),
            ("/x", &[("host", "a, b")], Reason::HostMalformed),
            ("https://user@a/x", &[], Reason::HostMalformed),
            ("ftp://a/x", &[], Reason::Scheme),
            ("https://a/x", &[("content-length", "1"), ("content-length", "1")], Reason::LengthRepeated),
            ("https://a/x", &[("content_length", "1")], Reason::Lookalike),
            ("https://a/x", &[("transfer_encoding", "chunked")], Reason::Lookalike),
            ("https://a/x", &[("x", " y")], Reason::Padded),
            ("https://a/x", &[("x", "y\t")], Reason::Padded),
            ("https://a/x", &many, Reason::TooManyHeaders),
        ] {
            assert_eq!(settled(uri, fields).map(|_| ()), Err(reason), "{uri} {fields:?}");
        }
    }
}
