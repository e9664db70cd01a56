//! What is counted, where it is counted, and what cannot be hidden from the count.

use super::super::testing::*;
use super::*;
use crate::document::{RowSet, Rules, walk};

const A: &str = "7k3m9qpa";
const B: &str = "00000001";

fn kid(text: &str) -> Kid {
    text.parse().unwrap()
}

/// By key: values, terms, elsewhere.
type ByKey = Vec<(String, [u64; 3])>;

fn counted(body: &str) -> Vec<(Option<usize>, ByKey)> {
    let set = RowSet { rows: vec![selector("$.rows[*].doc")], row_peeks: vec![], body_peeks: vec![], below: None };
    let plan = Plan::compile(&customers(), &set).unwrap();
    let layout = walk(&plan.map, Rules::reply(), body.as_bytes()).unwrap();
    let of = |found: &Hanging| [found.values, found.terms, found.elsewhere];
    let rows = hanging(&plan, body.as_bytes(), &layout).into_iter();
    rows.map(|row| (row.row, row.by_key.iter().map(|(kid, found)| (kid.to_string(), of(found))).collect())).collect()
}

#[test]
fn values_are_told_from_copies_of_them_elsewhere() {
    let body = format!(
        r#"{{"rows":[{{"id":"a","doc":{{"id":"a","name":"sdr1.x.{A}.AAAA","phones":["sdr1.x.{B}.AAAA","sdr1.x.{A}.AAAA"],
        "copy":"sdr1.x.{A}.AAAA","note":"see sdr1.d.{B}.AA and ix1.{B}.abcd","sdr1.x.{A}.name":1}}}},
        {{"id":"b","doc":{{"id":"b","name":"none","address":{{"in":"sdr1.x.{B}.AAAA"}}}}}},
        {{"id":"c","doc":null,"left":"sdr1.xs.{A}.AAAA"}}]}}"#
    );
    assert_eq!(
        counted(&body),
        [
            (Some(0), vec![(B.to_owned(), [1, 0, 2]), (A.to_owned(), [2, 0, 2])]),
            (Some(1), vec![(B.to_owned(), [0, 0, 1])]),
            (None, vec![(A.to_owned(), [0, 0, 1])]),
        ]
    );
}

#[test]
fn what_is_escaped_or_stands_in_a_text_in_a_text_is_counted() {
    for text in [
        format!(r#""\u0073dr1.x.{A}.AAAA""#),
        format!(r#""sdr1\u002ex\u002E{A}.AAAA""#),
        format!(r#""{{\"deep\":\"sdr1.x.{A}.AAAA\"}}""#),
        format!("prefix-sdr1.x.{A}.AAAA"),
        format!("sdr1.later.{A}."),
        format!("ix1.{A}.abcd"),
        format!("\\u00zz sdr1.x.{A}.AAAA \\u00"),
    ] {
        assert_eq!(anywhere(text.as_bytes()).get(&kid(A)).map(|found| found.elsewhere), Some(1), "{text}");
    }
    // What only begins like one names no key.
    for text in [
        "sdr1.",
        "sdr1.x.7k3m9qp",
        "sdr1.x.7K3M9QPA.AA",
        "sdr1.x.7k3m9qpaAA",
        "sdr1..........",
        "ix1.7k3m9qpa",
        "ix1.i.",
        "tok1_7k3m9qpa",
    ] {
        assert!(anywhere(text.as_bytes()).is_empty(), "{text}");
    }
}

#[test]
fn a_term_is_counted_at_its_member() {
    let body = format!(r#"{{"rows":[{{"doc":{{"id":"a","name":"sdr1.x.{A}.AAAA"}}}}]}}"#);
    assert_eq!(counted(&body)[0].1, [(A.to_owned(), [1, 0, 0])]);
    let mut collection = customers();
    collection.fields[0].indexes = vec![super::super::index::tests::index("$.name_ix", &["text"], 64)];
    let set = RowSet { rows: vec![selector("$")], row_peeks: vec![], body_peeks: vec![], below: None };
    let plan = Plan::compile(&collection, &set).unwrap();
    let body =
        format!(r#"{{"id":"a","name":"sdr1.x.{A}.AAAA","name_ix":["ix1.{B}.abcd","ix1.{A}.abcd"],"other":"ix1.{B}.abcd"}}"#);
    let layout = walk(&plan.map, Rules::reply(), body.as_bytes()).unwrap();
    let row = hanging(&plan, body.as_bytes(), &layout).remove(0);
    assert_eq!(row.by_key[&kid(A)], Hanging { values: 1, terms: 1, elsewhere: 0 });
    assert_eq!(row.by_key[&kid(B)], Hanging { values: 0, terms: 1, elsewhere: 1 });
}
