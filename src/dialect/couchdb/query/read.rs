//! Reads the JSON of searches without touching it, and the paths they name members by. Parent: `query.rs`.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Refusal, malformed};
use crate::document::Step;

/// Largest body of a search.
const MAX_BYTES: usize = 1 << 20;

/// One step of a path as a search writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A member's name, or an element's number.
    Name(String),
    /// Any element of an array.
    Any,
}

/// The members of a body.
pub(super) fn whole(body: &[u8]) -> Result<Vec<(String, &RawValue)>, Refusal> {
    if body.len() > MAX_BYTES {
        return Err(malformed("a search has at most 1 MiB"));
    }
    serde_json::from_slice::<Object<'_>>(body).map(|object| object.0).map_err(|_other| malformed("the body must be an object"))
}

/// The members of an object, in order; `None` if it is another type.
pub(super) fn object(value: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    serde_json::from_str::<Object<'_>>(value.get()).ok().map(|object| object.0)
}

/// Names of members in a list of names and of objects `{"name": "asc"}`, or in one such object.
pub(super) fn names(value: &RawValue) -> Option<Vec<String>> {
    let of_object = |object: &serde_json::Map<String, Value>| {
        let directions = object.values().all(|direction| matches!(direction.as_str(), Some("asc" | "desc")));
        directions.then(|| object.keys().cloned().collect::<Vec<_>>())
    };
    match serde_json::from_str(value.get()).ok()? {
        Value::Object(object) => of_object(&object),
        Value::Array(list) => {
            let each = list.iter().map(|entry| match entry {
                Value::String(name) => Some(vec![name.clone()]),
                Value::Object(object) => of_object(object),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
            });
            each.collect::<Option<Vec<_>>>().map(|names| names.concat())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// `a.b` as its parts; `\\.` is a dot in a name, `\\$` a dollar sign that begins one. Databases read other backslashes differently.
pub(super) fn path(name: &str) -> Result<Vec<Part>, Refusal> {
    let mut parts = vec![String::new()];
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        let last = parts.last_mut().ok_or_else(|| malformed("a member's name cannot be read"))?;
        match c {
            '.' => parts.push(String::new()),
            '\\' => match chars.next() {
                Some(escaped @ ('.' | '$')) => last.push(escaped),
                _ => return Err(malformed("a backslash in a member's name stands only before a dot or a dollar sign")),
            },
            c => last.push(c),
        }
    }
    if parts.iter().any(String::is_empty) {
        return Err(malformed("a member's name is empty, or a dot stands at its end or beside another"));
    }
    Ok(parts.into_iter().map(Part::Name).collect())
}

/// May what stands at the path have to do with what the steps lead to? In doubt yes: databases differ in how they go through arrays.
pub(super) fn touches(path: &[Part], steps: &[Step]) -> bool {
    let (Some((part, parts)), Some((step, rest))) = (path.split_first(), steps.split_first()) else { return true };
    let both = || touches(parts, rest);
    match (part, step) {
        (Part::Name(name), Step::Member(member)) => **member == **name && both(),
        (Part::Name(name), Step::Element(_) | Step::AnyElement) => {
            touches(path, rest) || (name.bytes().all(|byte| byte.is_ascii_digit()) && both())
        }
        // An array where documents hold an object, or an array of arrays.
        (Part::Any, Step::Member(_) | Step::AnyMember) => touches(parts, steps),
        (Part::Name(_), Step::AnyMember) | (Part::Any, Step::Element(_) | Step::AnyElement) => both(),
    }
}

/// Does the path go the steps' way, as far as it goes?
pub(super) fn leads_to(path: &[Part], steps: &[Step]) -> bool {
    path.len() <= steps.len()
        && path.iter().zip(steps).all(|pair| match pair {
            (Part::Name(name), Step::Member(member)) => **member == **name,
            (Part::Name(_), Step::AnyMember) | (Part::Any, Step::AnyElement) => true,
            _ => false,
        })
}

pub(super) fn is_exactly(path: &[Part], steps: &[Step]) -> bool {
    path.len() == steps.len() && leads_to(path, steps)
}

/// An object as its members, in order, their values not read.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<'a>(std::marker::PhantomData<&'a RawValue>);
        impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
            type Value = Object<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'a>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members(std::marker::PhantomData))
    }
}
