//! What a request target of the document store names.
//!
//! Always holds: a collection is 1 to 128 characters of `A-Z a-z 0-9 - _ .`; an id is UTF-8 after percent-decoding; anything
//! else is an error, never a guess.

use ::http::Uri;

use crate::base::limits::MAX_ID_BYTES;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    None,
    Collection { name: String, page: Page },
    Document { collection: String, id: String },
}

/// Which documents of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// At most so many; `None`: all.
    pub(super) limit: Option<u64>,
    /// Only ids after this one.
    pub(super) after: Option<String>,
    /// Only documents of which each of these members is one of its texts, or a list that holds one.
    pub(super) members: Vec<(String, Vec<String>)>,
}

/// Most texts that members of a list are compared with.
const MAX_TEXTS: usize = 256;

impl Target {
    /// Reads the path and the query. The error is a sentence for the client.
    pub(super) fn parse(uri: &Uri) -> Result<Self, &'static str> {
        let Some(path) = uri.path().strip_prefix('/') else { return Ok(Self::None) };
        let (collection, id) = match path.split_once('/') {
            None => (path, None),
            Some((collection, id)) => (collection, Some(id)),
        };
        if collection.is_empty() || id.is_some_and(|id| id.is_empty() || id.contains('/')) {
            return Ok(Self::None);
        }
        if collection.len() > 128
            || !collection.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        {
            return Err("the name of a collection has 1 to 128 letters, digits, - _ or .");
        }
        let name = collection.to_string();
        match id {
            Some(_) if uri.query().is_some_and(|query| !query.is_empty()) => Err("a document is read without a query"),
            Some(id) => Ok(Self::Document { collection: name, id: decode(id)? }),
            None => Ok(Self::Collection { name, page: Page::parse(uri.query().unwrap_or_default())? }),
        }
    }
}

impl Page {
    fn parse(query: &str) -> Result<Self, &'static str> {
        let mut page = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("limit", number) if page.limit.is_none() => {
                    let limit = number.parse().ok().filter(|limit| *limit > 0).ok_or("limit is a number from 1")?;
                    page.limit = Some(limit);
                }
                ("after", id) if page.after.is_none() => page.after = Some(decode(id)?),
                ("limit" | "after", _) => return Err("limit and after are given once"),
                (name, value) => {
                    let (name, value) = (decode(name)?, decode(value)?);
                    if name.starts_with('_') || name.contains(['[', ']', '.', '$']) {
                        return Err("a list knows limit, after, and members at the top of a document");
                    }
                    match page.members.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, texts)) => texts.push(value),
                        None => page.members.push((name, vec![value])),
                    }
                }
            }
        }
        if page.members.iter().map(|(_, texts)| texts.len()).sum::<usize>() > MAX_TEXTS {
            return Err("a list is asked for at most 256 texts of members");
        }
        Ok(page)
    }
}

fn decode(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "an id in a URL is percent-encoded UTF-8 of 1 to 512 bytes";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit =
                || rest.next().and_then(|byte| char::from(byte).to_digit(16)).and_then(|digit| u8::try_from(digit).ok());
            let (high, low) = digit().zip(digit()).ok_or(WRONG)?;
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    if bytes.is_empty() || bytes.len() > MAX_ID_BYTES {
        return Err(WRONG);
    }
    String::from_utf8(bytes).map_err(|_not_utf8| WRONG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::encode_segment;

    fn parse(target: &'static str) -> Result<Target, &'static str> {
        Target::parse(&Uri::from_static(target))
    }

    #[test]
    fn targets_name_collections_and_documents() {
        let collection = |limit, after: Option<&str>| Target::Collection {
            name: "customers".into(),
            page: Page { limit, after: after.map(Into::into), members: Vec::new() },
        };
        assert_eq!(parse("/customers"), Ok(collection(None, None)));
        assert_eq!(parse("/customers?limit=2&after=c%2F1"), Ok(collection(Some(2), Some("c/1"))));
        assert_eq!(parse("/customers/a%20b"), Ok(Target::Document { collection: "customers".into(), id: "a b".into() }));
        let Ok(Target::Collection { page, .. }) = parse("/customers?tier=gold&limit=1&tier=s%20lver&email_ix=ix1.a") else {
            panic!("a list")
        };
        let members = [("tier", vec!["gold", "s lver"]), ("email_ix", vec!["ix1.a"])];
        assert_eq!(page.members, members.map(|(name, texts)| (name.to_owned(), texts.into_iter().map(str::to_owned).collect())));
        for nothing in ["/", "/customers/", "/customers/1/2", "//1"] {
            assert_eq!(parse(nothing), Ok(Target::None), "{nothing}");
        }
        for wrong in [
            "/a%62c",
            "/customers/%ff",
            "/customers/%4",
            "/customers?limit=0",
            "/customers?limit=1&limit=2",
            "/customers?_fields=id",
            "/customers?tier=",
            "/customers?address.city=x",
            "/customers/1?rev=2",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn segments_come_back_as_they_went() {
        for id in ["c-1", "a/b c", "é%", "?#&="] {
            let encoded = encode_segment(id);
            assert!(encoded.is_ascii() && !encoded.contains(['/', ' ', '?', '#']));
            assert_eq!(decode(&encoded).unwrap(), id);
        }
        assert_eq!(encode_segment("a/é"), "a%2F%C3%A9");
    }
}
