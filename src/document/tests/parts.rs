//! Parts of a walked text: against what serde_json reads.

use proptest::prelude::*;
use serde_json::Value;
use std::ops::Range;

use super::model::json;
use crate::document::{elements, member, members};

/// Goes down every container and compares with what serde_json reads.
fn same(text: &str, span: Range<usize>, value: &Value) {
    assert_eq!(serde_json::from_str::<Value>(&text[span.clone()]).unwrap(), *value);
    let bytes = text.as_bytes();
    match value {
        Value::Object(map) => {
            let found: Vec<_> = members(bytes, span).collect();
            assert_eq!(found.len(), map.len());
            for member in &found {
                same(text, member.value.clone(), &map[&*member.name]);
            }
        }
        Value::Array(list) => {
            let found: Vec<_> = elements(bytes, span).collect();
            assert_eq!(found.len(), list.len());
            for (found, value) in found.iter().zip(list) {
                same(text, found.clone(), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            assert_eq!(members(bytes, span.clone()).count(), 0);
            assert_eq!(elements(bytes, span).count(), 0);
        }
    }
}

#[test]
fn parts_are_found_with_any_white_space() {
    let text = " { \"a\" : [ 1 ,\"x]\\\"\" , [ ] , {} ] , \"n\\u0061me\":-1.5e3,\"\": { \"b\":null } } ";
    same(text, 1..text.len() - 1, &serde_json::from_str(text).unwrap());
    assert_eq!(member(text.as_bytes(), 1..text.len(), "name").map(|span| &text[span]), Some("-1.5e3"));
    assert_eq!(member(text.as_bytes(), 1..text.len(), "b"), None);
}

proptest! {
    #[test]
    fn parts_are_those_serde_json_sees(json in json(), style in prop::collection::vec(any::<u8>(), 0..40)) {
        let text = String::from_utf8(json.text(&style)).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let start = text.len() - text.trim_start().len();
        same(&text, start..text.trim_end().len(), &value);
    }

    #[test]
    fn other_texts_end(text in "[\\[\\]{},: \"\\\\a0]{0,40}") {
        let bytes = text.as_bytes();
        prop_assert!(members(bytes, 0..bytes.len()).take(100).count() < 100);
        prop_assert!(elements(bytes, 0..bytes.len()).take(100).count() < 100);
    }
}
