//! What is printed passes `sudare check`; wrong files are answered with what to do.

use super::*;
use crate::base::CallerName;
use crate::config::{self, templates};
use print::POLICY;
use proptest::prelude::*;

fn options(file: &Path, format: Form) -> Options {
    Options { file: file.to_owned(), collection: None, sample: None, least: 0.3, format }
}

fn printed(text: &[u8], format: Form) -> (Result<u8, String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("Customers 2024.jsonl");
    std::fs::write(&file, text).unwrap();
    let mut out = Vec::new();
    let code = run(&options(&file, format), &mut out).map_err(|trouble| format!("{} {}", trouble.code, trouble.sentence));
    (code, String::from_utf8(out).unwrap().replace(&folder.path().display().to_string(), "DIR"))
}

const CUSTOMER: &str = r#"{"id":"mei@example.com","name":"Mei Tanaka","email":"mei@example.com","Email":"mei@example.com","a\"b\u007f":"mei@example.com","phones":["+81355501234"],"電話":"03-1234-5678","gender":"f","id_card":"11010519491231002X","home":{"address":"Strohweg 57","plz":"21682"},"map":{"a@example.com":"+81355501234"},"email_ix":7,"ip":"203.0.113.7","ids":[[[[["11010519491231002X"]]]]],"geo":[139.6917,35.6895]}"#;

/// Puts both parts into files as a person would, and loads them.
fn load(toml: &str) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let (fields, categories) = toml.split_once(POLICY).unwrap();
    let credentials = [(CallerName::new("shop"), [1; 32])];
    let service = templates::service("127.0.0.1:0", "127.0.0.1:0", &credentials);
    let (head, _) = service.split_once("# Who may ask.").unwrap();
    let service = format!("{head}[caller.shop]\ncredential_sha256 = \"{}\"\n{fields}", "01".repeat(32));
    let purpose =
        "[purpose.registration]\ndpv = \"dpv:ServiceRegistration\"\ncallers = [\"shop\"]\nreveal = { \"*\" = \"clear\" }\n";
    let policy = format!("policy = {{ id = \"shop\", version = 1 }}\n{categories}{purpose}");
    std::fs::write(folder.path().join("sudare.toml"), &service).unwrap();
    std::fs::write(folder.path().join("policy.toml"), &policy).unwrap();
    let loaded =
        config::load(&folder.path().join("sudare.toml")).map_err(|findings| format!("{findings}\n{service}\n{policy}"))?;
    Ok(loaded.collections.iter().map(|collection| collection.field_map.fields.len()).sum())
}

#[test]
fn the_lines_pass_check() {
    let (code, toml) = printed(format!("{CUSTOMER}\n").repeat(30).as_bytes(), Form::Toml);
    assert_eq!(code, Ok(0));
    assert!(toml.contains("[collection.customers-2024]") && toml.contains("# $.id looks like email"), "{toml}");
    assert_eq!(load(&toml), Ok(13), "{toml}");
    // In a member at the top, also for what stands deeper; one that documents have is left to them.
    let all = [
        r#"email = { at = "$.email", category = "email", index = { at = "$.email_ixx", normalise = "email" } }"#,
        r#"phones = { at = "$.phones[*]", category = "phone", index = { at = "$.phones_ix", normalise = "phone" } }"#,
        r#"map = { at = "$.map.*", category = "phone", index = { at = "$.map_ix", normalise = "phone" } }"#,
        r#"id-card = { at = "$.id_card", category = "official-id", index = { at = "$.id_card_ix", normalise = ["text", "strip:-. /"] } }"#,
    ];
    for index in all {
        assert!(toml.contains(index), "{index} is not in {toml}");
    }
}

/// Names of members and of the file end no comment, act on no terminal and turn no line.
#[test]
fn hostile_names_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x\n[purpose.all]\u{1b}[2J\u{202e}.jsonl");
    std::fs::write(
        &file,
        "{\"id\":\"c-1\",\"e\u{202e}mail\":\"mei@example.com\",\"a\\u001b[2J\\n\":\"yu@example.com\"}\n".repeat(9),
    )
    .unwrap();
    for form in [Form::Table, Form::Toml, Form::Json] {
        let mut out = Vec::new();
        assert!(run(&options(&file, form), &mut out).is_ok());
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("mail"), "{text}");
        if form != Form::Json {
            assert!(!text.contains(['\u{1b}', '\u{202e}']) && !text.contains("\n[purpose"), "{text}");
        }
        if form == Form::Toml {
            assert_eq!(load(&text), Ok(2), "{text}");
        }
    }
}

#[test]
fn an_array_is_read_as_lines_are() {
    let (_, lines) = printed(format!("{CUSTOMER}\n").repeat(30).as_bytes(), Form::Json);
    let (_, array) = printed(format!(" [{}]", [CUSTOMER; 30].join(",\n")).as_bytes(), Form::Json);
    assert_eq!(lines, array);
    assert!(lines.contains("\"documents\": 30"), "{lines}");
}

#[test]
fn bad_lines_are_left_out_and_counted() {
    let (code, json) = printed(format!("{CUSTOMER}\n[]\n{{\n\n{CUSTOMER}").as_bytes(), Form::Json);
    assert_eq!(code, Ok(FAILED));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["documents"], &json["left_out"]), (&2.into(), &2.into()));
    let (code, table) = printed(b"[1,{\"a\":1}]", Form::Table);
    assert_eq!(code, Ok(FAILED));
    assert!(table.contains("1 document looked at, 1 left out.") && table.contains("Nothing in them looks personal"), "{table}");
}

#[test]
fn what_holds_no_document_is_answered_with_what_to_give() {
    for text in ["", "\n\n", "hello\n", "{\n  \"a\": 1\n}\n", "\u{feff}{}", "[]", "[1, 2]"] {
        let (code, out) = printed(text.as_bytes(), Form::Table);
        let told = code.unwrap_err();
        assert!(told.starts_with("2 ") && told.contains("JSON Lines") && out.is_empty(), "{text:?}: {told}");
    }
    let (code, _) = printed(b"[{\"a\":1},", Form::Table);
    assert!(code.unwrap_err().contains("begins as a JSON array, but cannot be read as one: the JSON text ends too early"));
    let mut out = Vec::new();
    let told = run(&options(Path::new("/nowhere/x.jsonl"), Form::Table), &mut out).err().unwrap().sentence;
    assert!(told.starts_with("/nowhere/x.jsonl cannot be read"), "{told}");
    let named = Options { collection: Some("My Shop".to_owned()), ..options(Path::new("x"), Form::Table) };
    let told = run(&named, &mut out).err().unwrap().sentence;
    assert!(told.contains("for example \"my-shop\""), "{told}");
    for wrong in ["", "x", "-0.1", "1.01", "nan"] {
        assert!(share(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the members are called, what is proposed passes `sudare check`, and shows no value.
    #[test]
    fn every_proposal_passes_check(names in proptest::collection::vec("\\PC{1,12}|[a-z_.\\[\\]\"']{1,8}|email|_phone", 1..6), depth in 0_usize..7) {
        let members: serde_json::Map<String, serde_json::Value> = names.iter().enumerate().map(|(at, name)| {
            let mut value = serde_json::Value::from(format!("CANARY{at}@example.com"));
            for level in 0..depth.min(at * 2) {
                value = if level % 2 == 0 { serde_json::json!([value]) } else { serde_json::json!({ name.as_str(): value }) };
            }
            (name.clone(), value)
        }).collect();
        let line = serde_json::Value::Object(members).to_string() + "\n";
        for format in [Form::Table, Form::Json, Form::Toml] {
            let (code, out) = printed(line.repeat(20).as_bytes(), format);
            prop_assert_eq!(code, Ok(0));
            prop_assert!(!out.contains("CANARY"), "{}", out);
            if format == Form::Toml && out.contains(" = { at = ") {
                let loaded = load(&out);
                prop_assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
            }
        }
    }
}
