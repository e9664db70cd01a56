//! Header rules: what is ours, what belongs to one hop, what a rewritten body makes untrue (T10, T11, T12).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version};

use crate::base::Intent;
use crate::dialect::Documents;
use crate::upstream::{remove_all, remove_hop_by_hop};

use super::Error;

/// Carries the caller's credential; ours, never forwarded.
pub(super) const CREDENTIAL: HeaderName = HeaderName::from_static("sudare-credential");
/// Tells the reader what the grant allows at most.
pub(super) const DATA_VIEW: HeaderName = HeaderName::from_static("data-view");

/// Say something of the body's bytes, which we change.
static ABOUT_BYTES: [HeaderName; 11] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("want-digest"),
    HeaderName::from_static("want-content-digest"),
    HeaderName::from_static("want-repr-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("x-amz-crc32"),
    HeaderName::from_static("x-amz-content-sha256"),
];

/// Refuses a `Connection` header that would make us strip an end-to-end header after it was used for a decision (T10).
pub(super) fn check(headers: &HeaderMap) -> Result<(), Error> {
    for value in headers.get_all(header::CONNECTION) {
        let Ok(text) = value.to_str() else {
            return Err(Error::Head("the Connection header holds bytes that are not text"));
        };
        for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let known = ["close", "keep-alive", "te", "proxy-connection"].iter().any(|name| option.eq_ignore_ascii_case(name));
            if !known {
                return Err(Error::Head("the Connection header may name only close, keep-alive and te"));
            }
        }
    }
    Ok(())
}

/// Refuses what a client expects of us that we do not know (RFC 9110, section 10.1.1).
pub(super) fn check_expectation(headers: &HeaderMap) -> Result<(), Error> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get_all(header::EXPECT).iter().all(known) { Ok(()) } else { Err(Error::Expectation) }
}

/// The purpose declared in the header; `None` if it is absent.
pub(super) fn purpose<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::Head("the purpose is declared twice; send one header"));
    }
    match first.to_str().map(str::trim) {
        Ok(text) if !text.is_empty() && !text.contains(',') => Ok(Some(text)),
        _ => Err(Error::Head("the purpose must be one name, e.g. Data-Purpose: delivery")),
    }
}

/// Gateways in front of the proxy say in these what they were asked. There the query stands as the client sent it (T14).
const TARGETS_AS_SENT: [&str; 7] = [
    "x-original-url",
    "x-rewrite-url",
    "x-original-uri",
    "x-override-url",
    "x-forwarded-uri",
    "x-envoy-original-path",
    "x-waws-unencoded-url",
];

/// Takes the target as a gateway got it from the head; what the proxy asks for stands in its own.
pub(super) fn strip_targets_as_sent(headers: &mut HeaderMap) {
    // As servers spell variables, which read both as one.
    let is_one = |name: &HeaderName| TARGETS_AS_SENT.contains(&name.as_str().replace('_', "-").as_str());
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_one(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn strip_ours(headers: &mut HeaderMap, version: Version, purpose_header: &HeaderName) {
    headers.remove(CREDENTIAL);
    headers.remove(purpose_header);
    remove_hop_by_hop(headers);
    // What we received, not what we send on (RFC 9110, section 7.6.3).
    let via = match version {
        Version::HTTP_2 => "2.0 sudare",
        Version::HTTP_10 => "1.0 sudare",
        _ => "1.1 sudare",
    };
    headers.append(header::VIA, HeaderValue::from_static(via));
}

/// Makes the head of a passed-through request ready to forward.
pub(super) fn prepare_pass(headers: &mut HeaderMap, version: Version, purpose_header: &HeaderName) {
    strip_ours(headers, version, purpose_header);
    headers.remove(header::EXPECT);
}

/// Makes the head of a request to documents ready to forward.
pub(super) fn prepare_documents(
    headers: &mut HeaderMap,
    version: Version,
    documents: &Documents,
    purpose_header: &HeaderName,
) -> Result<(), Error> {
    if headers.contains_key(header::RANGE) {
        return Err(Error::Head("ranges of protected documents cannot be served; ask without Range"));
    }
    strip_ours(headers, version, purpose_header);
    strip_targets_as_sent(headers);
    remove_all(headers, &ABOUT_BYTES);
    headers.remove(header::EXPECT);
    headers.remove(header::IF_RANGE);
    headers.remove(header::IF_MODIFIED_SINCE);
    if documents.intent == Intent::Read {
        // The entity tag is that of the stored bytes: right for compare-and-swap, wrong for telling whether a view is unchanged.
        headers.remove(header::IF_NONE_MATCH);
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for (name, value) in &documents.set_headers {
        headers.insert(name, value.clone());
    }
    Ok(())
}

/// Makes the head of a reply to documents ready to send: what it says of the body's bytes is gone, nobody may store it.
pub(super) fn finish_documents(headers: &mut HeaderMap, data_view: &str, purpose_header: &HeaderName) {
    remove_hop_by_hop(headers);
    remove_all(headers, &ABOUT_BYTES);
    headers.remove(header::ACCEPT_RANGES);
    headers.remove(header::CONTENT_RANGE);
    forbid_caches(headers, purpose_header);
    if let Ok(view) = HeaderValue::from_str(data_view) {
        headers.insert(DATA_VIEW, view);
    }
}

/// Makes the head of a reply with an attachment ready to send: its bytes are the stored ones, but not everybody's.
pub(super) fn finish_attachment(headers: &mut HeaderMap, purpose_header: &HeaderName) {
    remove_hop_by_hop(headers);
    forbid_caches(headers, purpose_header);
}

fn forbid_caches(headers: &mut HeaderMap, purpose_header: &HeaderName) {
    headers.remove(header::AGE);
    headers.remove(header::EXPIRES);
    // Shared caches prefer these to Cache-Control where they are there (RFC 9213, and products before it).
    let targeted: Vec<HeaderName> = headers.keys().filter(|name| speaks_to_caches(name)).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.append(header::VARY, HeaderValue::from_static("authorization, sudare-credential"));
    if let Ok(name) = HeaderValue::from_str(purpose_header.as_str()) {
        headers.append(header::VARY, name);
    }
}

fn speaks_to_caches(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.ends_with("cache-control") || matches!(name, "surrogate-control" | "x-accel-expires" | "edge-control")
}

/// Refuses a reply that would send the client to another server: it would repeat its clear body, or its credential, there,
/// past the proxy. `host` is the client's `Host`, which databases use for addresses of their own.
pub(super) fn check_redirect(status: StatusCode, headers: &HeaderMap, host: Option<&HeaderValue>) -> Result<(), Error> {
    if !status.is_redirection() || headers.get_all(header::LOCATION).iter().all(|location| leads_back(location, host)) {
        return Ok(());
    }
    Err(Error::ReplyUnreadable { status: status.as_u16(), why: "it redirects to another server".to_owned() })
}

/// True for a path, for a relative reference, and for an address with the client's own authority.
fn leads_back(location: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let Ok(location) = location.to_str() else { return false };
    // Browsers drop tabs and read a backslash as a slash.
    if location.contains(|c: char| c == '\\' || !c.is_ascii_graphic()) || location.starts_with("//") {
        return false;
    }
    let Some((scheme, rest)) = location.split_once(':') else { return true };
    if scheme.contains(['/', '?', '#']) {
        return true;
    }
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next());
    let host = host.and_then(|host| host.to_str().ok());
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
        && authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

/// Links to the next page of a search may hold it as it was sent, terms and all. They lead nowhere for the client: no query names terms.
pub(super) fn drop_terms(headers: &mut HeaderMap) {
    let holds = |value: &HeaderValue| memchr::memmem::find(value.as_bytes(), b"ix1.").is_some();
    let names: Vec<HeaderName> = headers.iter().filter(|(_, value)| holds(value)).map(|(name, _)| name.clone()).collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn t10_connection_may_not_name_headers_that_decide() {
        for allowed in ["close", "keep-alive, TE", "Keep-Alive", ""] {
            assert!(check(&headers(&[("connection", allowed)])).is_ok(), "{allowed}");
        }
        for refused in ["if-none-match", "close, data-purpose", "sudare-credential", "upgrade", "content-length"] {
            assert!(check(&headers(&[("connection", refused)])).is_err(), "{refused}");
        }
    }

    #[test]
    fn t6_a_purpose_is_declared_once_or_refused() {
        let name = HeaderName::from_static("data-purpose");
        assert_eq!(purpose(&headers(&[]), &name).unwrap(), None);
        assert_eq!(purpose(&headers(&[("data-purpose", " delivery ")]), &name).unwrap(), Some("delivery"));
        for wrong in ["", "a, b", ","] {
            assert!(purpose(&headers(&[("data-purpose", wrong)]), &name).is_err(), "{wrong}");
        }
        let mut twice = headers(&[("data-purpose", "delivery")]);
        twice.append(&name, HeaderValue::from_static("delivery"));
        assert!(purpose(&twice, &name).is_err());
    }

    #[test]
    fn t11_a_rewritten_reply_says_nothing_of_the_old_bytes() {
        let mut reply = headers(&[
            ("content-length", "12"),
            ("etag", "\"1-abc\""),
            ("digest", "x"),
            ("content-md5", "x"),
            ("x-amz-crc32", "1"),
            ("accept-ranges", "bytes"),
            ("connection", "keep-alive, x-hop"),
            ("x-hop", "1"),
        ]);
        finish_documents(&mut reply, "purpose=delivery", &HeaderName::from_static("data-purpose"));
        assert_eq!(reply.get("etag").unwrap(), "\"1-abc\"");
        for gone in ["content-length", "digest", "content-md5", "x-amz-crc32", "accept-ranges", "connection", "x-hop"] {
            assert!(!reply.contains_key(gone), "{gone}");
        }
    }

    #[test]
    fn t12_a_revealed_reply_is_never_stored() {
        let mut reply = headers(&[("cache-control", "public, max-age=60"), ("expires", "tomorrow"), ("age", "3")]);
        finish_documents(&mut reply, "purpose=delivery, clear=(name)", &HeaderName::from_static("data-purpose"));
        assert_eq!(reply.get_all("cache-control").iter().collect::<Vec<_>>(), ["no-store"]);
        let vary: Vec<_> = reply.get_all("vary").iter().collect();
        assert_eq!(vary, ["authorization, sudare-credential", "data-purpose"]);
        assert_eq!(reply.get("data-view").unwrap(), "purpose=delivery, clear=(name)");
        assert!(!reply.contains_key("expires") && !reply.contains_key("age"));
    }
}
