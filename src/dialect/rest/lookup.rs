//! Searches in the query of a collection: `?email=Mei@Example.org`, by a field with an index (T14).
//!
//! The parameter goes out as the index member and its terms, in the spelling that the API knows; every other parameter leaves as it
//! came. Parent: `rest.rs`.
//!
//! Always holds: the value of a search never stands in what is sent; a parameter that could be read as a search in another way is refused.

use super::super::head::{self, Parameter};
use super::super::names::names_any;
use super::super::{MemberIndex, Piece, Query, Quote, RefusedCode, Route, TermSpelling, Terms};
use crate::base::Condition;
use crate::document::write_string;

/// Most values that one search asks for: every one of them is a guess (T16).
const MAX_VALUES: usize = 30;
/// Words in the names of parameters that ask for some members only. Without the one that was searched every document would be left out as one
/// that does not have the value.
#[rustfmt::skip] // one name a line would hide the rest
const PROJECTING: &[&str] = &[
    "attributes", "column", "columns", "exclude", "field", "fields", "omit", "only", "pick", "project", "projection", "properties", "select",
];

/// By which parameters the documents of a collection are searched.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    list: Vec<Lookup>,
    spelling: TermSpelling,
}

#[derive(Debug)]
struct Lookup {
    member: usize,
    index: usize,
    by: MemberIndex,
}

type Refusal = (RefusedCode, String);

impl Lookups {
    pub(super) fn new(route: &Route) -> Self {
        let list = route.protected.iter().enumerate().flat_map(|(member, protected)| {
            protected.indexes.iter().enumerate().map(move |(index, by)| Lookup { member, index, by: by.clone() })
        });
        Self { list: list.collect(), spelling: route.terms }
    }

    /// Is this the name of a search?
    pub(super) fn is_one(&self, name: &str) -> bool {
        self.list.iter().any(|lookup| lookup.by.param == name)
    }

    /// The search in a query, if there is one.
    ///
    /// # Errors
    ///
    /// Too many values, several where the API could not be asked for any of them, or the API's own operators.
    pub(super) fn read(&self, query: Option<&str>) -> Result<Option<Query>, Refusal> {
        let parameters = head::parameters(query);
        if !parameters.iter().any(|parameter| self.is_one(&parameter.name)) {
            return Ok(None);
        }
        let refused = |detail: String| (RefusedCode::NotSearchable, detail);
        let text = query.unwrap_or_default();
        if text.contains(';') {
            return Err(refused(
                "a search has its parameters between &, not ;, which some servers take for a part of a value".into(),
            ));
        }
        let mut found = Query::default();
        let (mut conditions, mut asked) = (Vec::new(), Vec::new());
        let mut count = 0;
        for (number, (piece, parameter)) in pieces(text).zip(&parameters).enumerate() {
            let before = if number > 0 { "&" } else { "" };
            let Some(lookup) = self.list.iter().find(|lookup| lookup.by.param == parameter.name) else {
                if names_any(&parameter.name, PROJECTING) {
                    let number = number + 1;
                    return Err(refused(format!(
                        "the query parameter number {number} asks for parts of documents, but what is found is compared with what was searched; leave it out"
                    )));
                }
                found.pieces.push(Piece::Bytes([before, piece].concat().into_bytes()));
                continue;
            };
            let again = (lookup.member, lookup.index);
            if asked.contains(&again) {
                continue;
            }
            asked.push(again);
            let same: Vec<&Parameter> = parameters.iter().filter(|other| other.name == parameter.name).collect();
            if pieces(text).zip(&parameters).any(|(piece, other)| other.name == parameter.name && begins_with_plus(piece)) {
                // Cut off like any space, it would leave another number, which would be searched and not found.
                let name = &lookup.by.param;
                return Err(refused(format!(
                    "the value of {name} begins with +, which is read as a space in a query; write %2B"
                )));
            }
            count += same.len();
            if count > MAX_VALUES {
                return Err(refused(format!("a search asks for at most {MAX_VALUES} values; send several")));
            }
            if same.len() > 1 && self.spelling == TermSpelling::PostgRest {
                return Err(refused(format!("{} stands twice, which asks for what has both values", lookup.by.param)));
            }
            let values = same.into_iter().map(|parameter| self.value(lookup, parameter)).collect::<Result<Vec<_>, _>>()?;
            let (name, open, between, close) = self.spelled(&lookup.by);
            found.pieces.push(Piece::Bytes(format!("{before}{name}{open}").into_bytes()));
            let quote = Quote::Bare { between };
            found.pieces.push(Piece::Terms(Terms {
                member: lookup.member,
                index: Some(lookup.index),
                values,
                quote,
                alone: None,
                list: ("", close),
            }));
            conditions.push(Condition::Term(conditions.len()));
            if !found.search.searched.contains(&lookup.member) {
                found.search.searched.push(lookup.member);
            }
        }
        found.search.condition = Some(Condition::All(conditions));
        Ok(Some(found))
    }

    /// The value of one parameter as JSON text.
    fn value(&self, lookup: &Lookup, parameter: &Parameter) -> Result<Vec<u8>, Refusal> {
        let refused = |detail: String| Err((RefusedCode::NotSearchable, detail));
        let name = &lookup.by.param;
        if parameter.value.contains(char::REPLACEMENT_CHARACTER) {
            return refused(format!("the value of {name} is not UTF-8"));
        }
        let value = match self.spelling {
            TermSpelling::PostgRest => match parameter.value.strip_prefix("eq.") {
                Some(value) => value,
                None => return refused(format!("only equality can be searched: {name}=eq.VALUE")),
            },
            TermSpelling::Repeat | TermSpelling::Comma | TermSpelling::Kinto => &parameter.value,
        };
        let mut text = Vec::new();
        write_string(value, &mut text);
        Ok(text)
    }

    /// The name of the parameter with its sign, and what stands before, between and behind the terms.
    fn spelled(&self, by: &MemberIndex) -> (String, &'static str, String, &'static str) {
        let member = crate::base::encode_segment(&by.member);
        match (self.spelling, by.list) {
            (TermSpelling::Repeat, _) => (format!("{member}="), "", format!("&{member}="), ""),
            (TermSpelling::Comma, _) => (format!("{member}="), "", ",".to_owned(), ""),
            (TermSpelling::PostgRest, false) => (format!("{member}="), "in.(", ",".to_owned(), ")"),
            (TermSpelling::PostgRest, true) => (format!("{member}="), "ov.%7B", ",".to_owned(), "%7D"),
            (TermSpelling::Kinto, false) => (format!("in_{member}="), "", ",".to_owned(), ""),
            (TermSpelling::Kinto, true) => (format!("contains_any_{member}="), "%5B%22", "%22,%22".to_owned(), "%22%5D"),
        }
    }
}

/// The parameters as they stand.
fn pieces(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|piece| !piece.is_empty())
}

fn begins_with_plus(piece: &str) -> bool {
    piece.split_once('=').is_some_and(|(_, value)| value.strip_prefix("eq.").unwrap_or(value).starts_with('+'))
}
