//! Header fields of one connection (RFC 9110 section 7.6.1): never forwarded, in either direction.

use http::header::{self, HeaderMap, HeaderName};

static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Takes them away, and those that `Connection` names.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> = named
        .flat_map(|text| text.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        // Framing and routing are never a matter of one hop, whatever the other side says: a reply would lose its end (T10).
        .filter(|name| name != header::CONTENT_LENGTH && name != header::HOST)
        .collect();
    for name in named {
        headers.remove(name);
    }
    remove_all(headers, &HOP_BY_HOP);
}

/// Takes fields away of which hardly ever one is there: looks through those that are, for to ask for each costs more.
pub fn remove_all(headers: &mut HeaderMap, names: &[HeaderName]) {
    if headers.keys().any(|name| names.contains(name)) {
        for name in names {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn t10_what_belongs_to_one_connection_goes_and_framing_stays() {
        let mut sent = headers(&[
            ("host", "db"),
            ("content-length", "3"),
            ("connection", "close, x-once , content-length,host,not a name"),
            ("x-once", "1"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "websocket"),
            ("x-stays", "1"),
        ]);
        remove_hop_by_hop(&mut sent);
        assert_eq!(sent, headers(&[("host", "db"), ("content-length", "3"), ("x-stays", "1")]));
        let before = sent.clone();
        remove_hop_by_hop(&mut sent);
        assert_eq!(sent, before);
    }
}
