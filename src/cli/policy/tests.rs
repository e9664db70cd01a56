//! What people see of `sudare policy`.

use super::*;
use crate::purpose::tests::shop;
use crate::purpose::{PolicySpec, Under};

fn compiled(spec: PolicySpec) -> Policy {
    Policy::compile(spec).unwrap()
}

fn explained(
    spec: PolicySpec,
    caller: Option<&str>,
    purpose: Option<&str>,
    format: Format,
) -> Result<String, PolicyCommandError> {
    let mut out = Vec::new();
    explain(
        &compiled(spec),
        &ExplainOptions { file: "policy.toml", caller, purpose, facts: &[], age: None, holds: &[], format },
        &mut out,
    )?;
    Ok(String::from_utf8(out).unwrap())
}

fn tested(spec: PolicySpec, format: Format) -> (bool, String) {
    let mut out = Vec::new();
    let passed = test(&compiled(spec), &TestOptions { file: "policy.toml", format }, &mut out).unwrap();
    (passed, String::from_utf8(out).unwrap())
}

#[test]
fn one_pair_is_explained_rule_by_rule() {
    insta::assert_snapshot!(explained(shop(), Some("helpdesk"), Some("support"), Format::Table).unwrap(), @r#"
    helpdesk for support (dpv:CustomerCare, basis dpv:ContractPerformance)
      name     clear   policy.toml:24  support reveals name "clear"
      address  absent  policy.toml:24  support does not list address
      phone    masked  policy.toml:24  support reveals phone "masked"
      id-card  absent  policy.toml:24  support does not list id-card

      writes   name  policy.toml:20  support does not say what it writes, so it writes what it sees clear
      deletes  no
      replies  Data-View: purpose=support, clear=(name), masked=(phone)
      clauses  clause-support
    "#);
    insta::assert_snapshot!(explained(shop(), Some("carrier"), Some("dpv:DeliveryOfGoods"), Format::Table).unwrap(), @r#"
    carrier for delivery (dpv:DeliveryOfGoods, basis dpv:ContractPerformance, carrier is a recipient: processor)
      name     clear      policy.toml:14  delivery reveals name "clear"
      address  clear      policy.toml:14  delivery reveals address "clear"
      phone    pseudonym  policy.toml:14  delivery reveals phone "clear"
                          policy.toml:50  recipient carrier may see phone at most "pseudonym"
      id-card  absent     policy.toml:14  delivery reveals id-card "masked"
                          policy.toml:50  recipient carrier may see id-card at most "absent"

      writes      name address  policy.toml:10  delivery does not say what it writes, so it writes what it sees clear
      deletes     no
      replies     Data-View: purpose=delivery, clear=(name address), pseudonym=(phone)
      pseudonyms  the same within carrier, unlinkable outside
      clauses     clause-delivery clause-carrier
    "#);
}

#[test]
fn a_pair_that_is_not_allowed_is_answered_with_the_refusal() {
    assert_eq!(
        explained(shop(), Some("helpdesk"), Some("delivery"), Format::Table).unwrap(),
        "helpdesk for delivery: refused. helpdesk may use support.\n"
    );
}

#[test]
fn without_a_caller_or_purpose_every_pair_is_shown() {
    insta::assert_snapshot!(explained(shop(), None, None, Format::Table).unwrap(), @r#"
    caller    purpose     name       address      phone      id-card  writes
    analyst   statistics  pseudonym  generalised  –          –        –
    carrier   delivery    clear      clear        pseudonym  –        name address
    helpdesk  support     clear      –            masked     –        name
    mailer    marketing   masked     –            –          –        –
    mailer    statistics  pseudonym  generalised  –          –        –
    shipping  delivery    clear      clear        clear      masked   name address phone
    "#);
    let two = explained(shop(), Some("mailer"), None, Format::Table).unwrap();
    assert!(two.contains("mailer for marketing") && two.contains("\n\nmailer for statistics"), "{two}");
    let two = explained(shop(), None, Some("delivery"), Format::Table).unwrap();
    assert!(two.contains("carrier for delivery") && two.contains("\n\nshipping for delivery"), "{two}");
}

#[test]
fn names_the_policy_does_not_have_are_wrong_usage() {
    let message = |caller, purpose| explained(shop(), caller, purpose, Format::Table).unwrap_err().to_string();
    assert_eq!(message(Some("help"), None), "the policy has no caller help; it has analyst, carrier, helpdesk, mailer, shipping");
    assert_eq!(
        message(None, Some("Support")),
        "the policy has no purpose Support; it has delivery, support, marketing, statistics"
    );
}

#[test]
fn the_answer_is_also_given_as_json() {
    let text = explained(shop(), Some("carrier"), Some("delivery"), Format::Json).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(all["file"], "policy.toml");
    let answer = &all["answers"][0];
    assert_eq!(
        answer["categories"][3],
        json!({
            "category": "id-card",
            "level": "absent",
            "at_most": "absent",
            "writable": false,
            "searchable": false,
            "rules": [
                { "line": 14, "says": "delivery reveals id-card \"masked\"" },
                { "line": 50, "says": "recipient carrier may see id-card at most \"absent\"" },
            ],
        })
    );
    assert_eq!(answer["data_view"], "purpose=delivery, clear=(name address), pseudonym=(phone)");
    let refused: Value =
        serde_json::from_str(&explained(shop(), Some("helpdesk"), Some("delivery"), Format::Json).unwrap()).unwrap();
    assert_eq!(refused["answers"][0]["refused"], "helpdesk may use support");
    let every: Value = serde_json::from_str(&explained(shop(), None, None, Format::Json).unwrap()).unwrap();
    assert_eq!(every["answers"].as_array().unwrap().len(), 6);
}

#[test]
fn what_a_purpose_may_search_by_is_explained_and_tested() {
    let mut spec = shop();
    let support = spec.purposes.iter_mut().find(|purpose| purpose.name.as_str() == "support").unwrap();
    (support.search, support.search_line) = (vec![CategoryName::new("address"), CategoryName::new("id-card")], 25);
    let text = explained(spec.clone(), Some("helpdesk"), Some("support"), Format::Table).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with("searches")).unwrap();
    assert!(
        line.contains("name address id-card") && line.contains("policy.toml:25  support lists what it searches by"),
        "{text}"
    );
    spec.tests.truncate(1);
    spec.tests[0].search = Some(vec![CategoryName::new("name"), CategoryName::new("address"), CategoryName::new("id-card")]);
    assert!(tested(spec.clone(), Format::Table).0);
    spec.tests[0].search = Some(vec![CategoryName::new("name"), CategoryName::new("phone")]);
    let (passed, text) = tested(spec, Format::Table);
    assert!(!passed);
    for said in
        ["address  expected no search, got one", "phone    expected a search, got none", "id-card  expected no search, got one"]
    {
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn tests_say_what_they_expected_and_which_rule_gave_the_rest() {
    assert_eq!(
        tested(shop(), Format::Table),
        (
            true,
            "ok      support sees a masked phone\nok      the carrier sees no id-card\n2 tests, 2 passed, 0 failed\n".to_owned()
        )
    );
    let mut spec = shop();
    spec.purposes[1].reveal[1].1 = Level::Clear;
    spec.recipients[0].at_most.clear();
    let mut other = spec.tests[0].clone();
    other.name = "helpdesk delivers".to_owned();
    other.line = 90;
    other.ask.as_mut().unwrap().under = Under::Purpose { purpose: PurposeName::new("delivery"), holds: None };
    spec.tests.push(other);
    let (passed, text) = tested(spec.clone(), Format::Table);
    assert!(!passed);
    insta::assert_snapshot!(text, @r#"
    FAILED  support sees a masked phone  policy.toml:70
            phone  expected masked, got clear  policy.toml:73  the test
                                               policy.toml:24  support reveals phone "clear"
    FAILED  the carrier sees no id-card  policy.toml:80
            id-card  expected absent, got masked  policy.toml:83  the test
                                                  policy.toml:14  delivery reveals id-card "masked"
    FAILED  helpdesk delivers  policy.toml:90
            phone  expected masked, got absent  policy.toml:73  the test
            the request is refused: helpdesk may use support
    3 tests, 0 passed, 3 failed
    "#);
    let (passed, text) = tested(spec, Format::Json);
    let all: Value = serde_json::from_str(&text).unwrap();
    assert!(!passed);
    assert_eq!((&all["passed"], &all["failed"]), (&json!(0), &json!(3)));
    assert_eq!(all["tests"][2]["refused"], "helpdesk may use support");
    let mut none = shop();
    none.tests.clear();
    assert_eq!(tested(none, Format::Table), (true, "no tests: add [[test]] tables to policy.toml\n".to_owned()));
}

#[test]
fn columns_are_counted_in_characters_not_bytes() {
    let rows = [
        vec!["–".to_owned(), "a".to_owned()],
        vec!["ab".to_owned(), "b".to_owned()],
        vec!["a long last cell widens nothing".to_owned()],
    ];
    let mut out = Vec::new();
    columns(" ", &rows, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), " –   a\n ab  b\n a long last cell widens nothing\n");
}

/// Every `$ref` of the schema, and every object with `properties`.
fn walk<'a>(value: &'a Value, refs: &mut Vec<&'a str>, objects: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            refs.extend(members.get("$ref").and_then(Value::as_str));
            if members.get("properties").is_some_and(Value::is_object) {
                objects.push(value);
            }
            members.values().for_each(|inner| walk(inner, refs, objects));
        }
        Value::Array(items) => items.iter().for_each(|inner| walk(inner, refs, objects)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_schema_is_closed_and_every_reference_leads_somewhere() {
    let mut out = Vec::new();
    schema(&mut out).unwrap();
    let schema: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let (mut refs, mut objects) = (Vec::new(), Vec::new());
    walk(&schema, &mut refs, &mut objects);
    assert!(refs.len() > 20);
    for reference in refs {
        assert!(schema.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
    assert_eq!(objects.len(), 13);
    for object in objects {
        assert_eq!(object["additionalProperties"], false, "{object}");
        for required in object["required"].as_array().unwrap() {
            assert!(object["properties"].get(required.as_str().unwrap()).is_some(), "{required}");
        }
    }
    for later in ["retention", "rights"] {
        assert!(!String::from_utf8_lossy(&out).contains(&format!("\"{later}\"")), "{later} does not work yet");
    }
}
