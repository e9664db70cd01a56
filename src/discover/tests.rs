//! Documents as a whole: paths, maps, bounds, and that nothing of a value comes out.

use proptest::prelude::*;

use super::paths::is_value;
use super::*;

fn paths(documents: &[&str]) -> Paths {
    let mut paths = Paths::default();
    for document in documents {
        paths.add(document.as_bytes()).unwrap();
    }
    paths.settle();
    paths
}

fn proposed(paths: &Paths, least: f64) -> Vec<(String, Category)> {
    propose(paths, least).proposals.iter().map(|proposal| (proposal.at.to_string(), proposal.category)).collect()
}

#[test]
fn a_customer_is_mapped_by_name_and_by_value() {
    let customer = r#"{"id":"c-1","name":"Mei Tanaka","email":"mei@example.com","phones":["+81355501234","+81355501235"],"a b":"mei@example.com",
        "home":{"street":"Strohweg 57","city":"Höxter","plz":"21682","geo":{"type":"Point","coordinates":[139.6917,35.6895]}},
        "birth":"1990-04-17","gender":"f","national_id":"11010519491231002X","iban":"DE89370400440532013000","last_ip":"203.0.113.7",
        "tier":"gold","created":"2023-05-11T09:31:22Z","version":"1.4.12.3","email_verified":true,"lat":35.6895,"lng":139.6917,"product_name":"Desk Lamp"}"#;
    let documents = [customer; 30];
    let expected = [
        ("$.name", Category::Name),
        ("$.email", Category::Email),
        ("$.phones[*]", Category::Phone),
        ("$[\"a b\"]", Category::Email),
        ("$.home.street", Category::Address),
        ("$.home.plz", Category::Postcode),
        ("$.home.geo.coordinates", Category::Coordinates),
        ("$.birth", Category::BirthDate),
        ("$.gender", Category::Gender),
        ("$.national_id", Category::OfficialId),
        ("$.iban", Category::BankAccount),
        ("$.last_ip", Category::Ip),
        ("$.lat", Category::Coordinates),
        ("$.lng", Category::Coordinates),
    ];
    assert_eq!(proposed(&paths(&documents), 0.6), expected.map(|(at, category)| (at.to_owned(), category)));
}

#[test]
fn names_that_are_data_become_any_member() {
    let many: Vec<String> = (0..300).map(|n| format!(r#"{{"by":{{"k{n}x{}":{{"mail":"a{n}@example.com"}}}}}}"#, n * 7)).collect();
    let documents: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(proposed(&paths(&documents), 0.6), [("$.by.*.mail".to_owned(), Category::Email)]);
    let few: Vec<&str> = documents.iter().take(60).copied().collect();
    assert_eq!(proposed(&paths(&few), 0.6), [("$.by.*.mail".to_owned(), Category::Email)]);
    let personal = paths(&[r#"{"by":{"mei@example.com":"+81355501234","bob@example.com":"+81355501235"}}"#; 9]);
    assert_eq!(proposed(&personal, 0.6), [("$.by.*".to_owned(), Category::Phone)]);
    for name in ["mei@example.com", "+81355501234", "1990-04-17", "203.0.113.7", "12", "Mei Tanaka"] {
        assert!(is_value(name), "{name}");
    }
    for name in ["email", "f1", "address2", "First Name", "名前", "金额", "Order Number"] {
        assert!(!is_value(name), "{name}");
    }
}

#[test]
fn one_value_is_little_evidence_and_chance_is_none() {
    assert_eq!(proposed(&paths(&[r#"{"f1":"mei@example.com"}"#]), 0.6), []);
    assert_eq!(proposed(&paths(&[r#"{"f1":"mei@example.com"}"#; 4]), 0.6).len(), 1);
    // One number in ten passes the check of a card's number or an id's.
    let numbers: Vec<String> = (0..500_u64)
        .map(|n| format!(r#"{{"f1":{},"f2":"{}"}}"#, 4_000_000_000_000_000 + n * 7_777, 100_000_000_000 + n * 999))
        .collect();
    let documents: Vec<&str> = numbers.iter().map(String::as_str).collect();
    assert_eq!(proposed(&paths(&documents), 0.3), []);
}

#[test]
fn what_is_no_document_is_refused_and_not_counted() {
    let mut paths = Paths::default();
    for wrong in ["", "[]", "1", "null", "{", r#"{"a":1,"a":2}"#, "{\"a\":\"\u{1}\"}", r#"{"a":1}{"b":2}"#, "\u{feff}{}"] {
        assert_eq!(paths.add(wrong.as_bytes()), Err(NotADocument), "{wrong}");
    }
    let deep = "{\"a\":".repeat(5000) + "1" + &"}".repeat(5000);
    assert_eq!(paths.add(deep.as_bytes()), Err(NotADocument));
    assert_eq!(paths.documents, 0);
}

#[test]
fn paths_are_bounded() {
    let mut paths = Paths::default();
    for n in 0..100 {
        let inner: Vec<String> = (0..100).map(|m| format!("\"a{m}\":\"x\"")).collect();
        paths.add(format!("{{\"o{n}\":{{{}}}}}", inner.join(",")).as_bytes()).unwrap();
    }
    assert!(paths.left_out > 50, "{}", paths.left_out);
}

/// What names and values are made of; a canary stands in each value.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![
        "CANARY[0-9]{1,9}",
        "CANARY[0-9]{3}@example\\.com",
        "\\+8135550[0-9]{4}",
        "Mei CANARY[a-z]{1,5}",
        "\\PC{0,20}",
        "[0-9]{10,18}",
    ];
    let leaf =
        prop_oneof![text.prop_map(serde_json::Value::from), any::<i64>().prop_map(Into::into), any::<f64>().prop_map(Into::into)];
    let name = prop_oneof!["[a-z]{1,4}", "email|phone|name|address|f1", "CANARY[0-9]{5}@example\\.com"];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// No document makes it panic, no value comes out, and proposals never overlap.
    #[test]
    fn only_counts_come_out(documents in proptest::collection::vec(value(), 1..8), least in 0.0..1.0) {
        let mut paths = Paths::default();
        for document in &documents {
            let _refused = paths.add(document.to_string().as_bytes());
        }
        paths.settle();
        let found = propose(&paths, least);
        let printed = format!("{found:?}{paths:?}");
        prop_assert!(!printed.contains("CANARY"), "{printed}");
        let targets: Vec<crate::document::Target> = found.proposals.iter().map(|proposal| crate::document::Target {
            selector: proposal.at.clone(),
            role: crate::document::Role::Value,
            scope: crate::document::Scope::Row,
        }).collect();
        let root = crate::document::Selector::parse("$").unwrap();
        prop_assert!(crate::document::Map::compile(&[root], &targets).is_ok(), "{found:?}");
    }
}

/// The scan of the property above finds something that is there to be found.
#[test]
fn a_planted_value_would_be_seen() {
    let paths = paths(&[r#"{"CANARY":"mei@example.com"}"#; 4]);
    assert!(format!("{:?}", propose(&paths, 0.5)).contains("CANARY"));
}
