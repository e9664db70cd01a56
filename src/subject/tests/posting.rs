//! What others send: every mistake at once, ages without a date of birth, receipts.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn read_all(body: &str, records: Option<&[&str]>) -> Result<Vec<Entry>, Vec<Fault>> {
    let posted = objects(body.as_bytes()).unwrap().iter().enumerate().map(|(place, text)| object(place, text)).collect();
    let records: Option<BTreeSet<String>> = records.map(|records| records.iter().map(|name| (*name).to_owned()).collect());
    read(posted, &policy(), &Recorder::Caller("crm".to_owned()), records.as_ref(), NOW, || Some("made".to_owned()))
}

fn faults(body: &Value) -> Vec<(&'static str, String)> {
    read_all(&body.to_string(), None).unwrap_err().into_iter().map(|fault| (fault.member, fault.what)).collect()
}

#[test]
fn an_object_a_list_and_lines_are_read() {
    let one = r#"{"subject":"c-1","record":"consent","purpose":"recommend"}"#;
    for (body, count) in [(one.to_owned(), 1), (format!("[{one},{one}]"), 2), (format!("{one}\n{one}\n\n{one}"), 3)] {
        assert_eq!(read_all(&body, None).unwrap().len(), count, "{body}");
    }
    for wrong in ["", "{", "[{]", "nonsense", "{\"a\":1} x"] {
        assert!(objects(wrong.as_bytes()).is_none_or(|objects| objects.is_empty()), "{wrong}");
    }
    // A number is an id as a document has it.
    let entries = read_all(r#"{"subject":17,"record":"withdrawal","purpose":"recommend","id":"x"}"#, None).unwrap();
    assert_eq!(
        entries,
        [choice("x", "17", "recommend", Says::Refused, 0)].map(|entry| Entry { by: Recorder::Caller("crm".to_owned()), ..entry })
    );
}

#[test]
fn every_mistake_is_told_at_once_and_no_value_is() {
    let found = faults(&json!([
        { "subject": "secret-1", "record": "consent", "purpose": "recomend" },
        { "subject": "", "record": "consnt" },
        { "record": "fact", "subject": "c", "fact": "open-tiket", "years": 3, "until": "tomorrow" },
        { "record": "notice", "subject": "c", "version": 4, "at": "secret-2" },
        { "record": "age", "subject": "c" },
        { "record": "objection", "subject": 1.5, "recipient": "insurer", "purpose": "support" },
        { "record": "consent", "subject": "c", "secret-3": 1 },
        { "record": "consent", "subject": "c", "version": "secret-4" },
        ["secret-5"],
        { "record": "fact", "subject": "c", "fact": "open-ticket", "holds": false, "until": "2030-01-01T00:00:00Z" },
        { "record": "acceptance", "subject": "c", "evidence": "s".repeat(1025), "id": "" },
    ]));
    let told = found.iter().map(|(member, what)| format!("{member}: {what}")).collect::<Vec<_>>().join("\n");
    for expected in [
        "purpose: the policy has no such purpose; did you mean \"recommend\"?",
        "subject: an id must not be empty",
        "record: expected one of consent, withdrawal, objection, age, notice, acceptance, fact; did you mean \"consent\"?",
        "fact: the policy declares no such fact; did you mean \"open-ticket\"?",
        "years: says nothing in a record of fact; leave it out",
        "version: expected 1 to 3, the version of the policy in force",
        "at: expected a time as in RFC 3339",
        "born: expected exactly one of born, years (0 to 130) and over",
        "subject: an id must be a string or an integer below 2^53",
        "purpose: expected a purpose, or a recipient, and not both",
        ": it has a member that is not known: see docs/subject.md",
        ": expected an object whose members have the types of docs/subject.md",
        "until: stands only with a fact that holds",
        "evidence: expected at most 1024 bytes",
        "id: expected 1 to 128 bytes",
    ] {
        assert!(told.contains(expected), "{expected}\nnot in\n{told}");
    }
    assert!(!told.contains("secret"), "{told}");
    let twice = read_all(r#"{"subject":"c","record":"consent","purpose":"recommend","purpose":"support"}"#, None).unwrap_err();
    assert!(twice.first().is_some_and(|fault| fault.what == "a member stands twice"), "{twice:?}");
}

#[test]
fn callers_record_what_they_are_listed_for() {
    let may = |record: &str, listed: &[&str]| {
        let more = match record {
            "age" => r#","over":18"#.to_owned(),
            "fact" => r#","fact":"open-ticket""#.to_owned(),
            "notice" | "acceptance" => String::new(),
            _ => r#","purpose":"recommend""#.to_owned(),
        };
        match read_all(&format!(r#"{{"subject":"c","record":"{record}"{more}}}"#), Some(listed)) {
            Ok(_) => true,
            Err(faults) => {
                assert!(faults.iter().all(|fault| fault.forbidden), "{faults:?}");
                false
            }
        }
    };
    for (record, needed) in [
        ("consent", "consent"),
        ("withdrawal", "consent"),
        ("objection", "objection"),
        ("age", "age"),
        ("notice", "notice"),
        ("acceptance", "acceptance"),
        ("fact", "open-ticket"),
    ] {
        assert!(may(record, &[needed]), "{record}");
        assert!(!may(record, &["guardian-consent"]) && !may(record, &[]), "{record}");
    }
}

fn under(body: &str) -> Vec<(u8, Option<String>)> {
    let entries = read_all(body, None).unwrap_or_else(|faults| panic!("{faults:?}"));
    let Some(Entry { what: What::Age { under, .. }, .. }) = entries.into_iter().next() else { panic!("no age") };
    under.into_iter().map(|under| (under.years, under.until.map(time))).collect()
}

#[test]
fn ages_are_derived_when_they_are_recorded() {
    let at = r#""subject":"c","record":"age","at":"2026-11-29T10:00:00Z""#;
    // Until the birthday has begun everywhere on Earth.
    let expected = [(13, None), (18, Some("2028-05-31T12:00:00Z".to_owned()))];
    assert_eq!(under(&format!(r#"{{{at},"born":"2010-05-31"}}"#)), expected);
    assert_eq!(under(&format!(r#"{{{at},"born":"2008-11-29"}}"#)), [(13, None), (18, Some("2026-11-29T12:00:00Z".to_owned()))]);
    assert_eq!(under(&format!(r#"{{{at},"born":"2008-11-28"}}"#)), [(13, None), (18, None)]);
    // Whoever is 16 may turn 18 in two years only.
    assert_eq!(under(&format!(r#"{{{at},"years":16}}"#)), [(13, None), (18, Some("2028-11-29T10:00:00Z".to_owned()))]);
    assert_eq!(under(&format!(r#"{{{at},"years":18}}"#)), [(13, None), (18, None)]);
    assert_eq!(under(&format!(r#"{{{at},"over":13}}"#)), [(13, None)], "18 stays unknown");
    assert_eq!(under(&format!(r#"{{{at},"over":20}}"#)), [(13, None), (18, None)]);
    // The 29th of February.
    assert_eq!(under(&format!(r#"{{{at},"born":"2012-02-29"}}"#)).last().unwrap().1.as_deref(), Some("2030-02-28T12:00:00Z"));
    for wrong in [r#""born":"2027-01-01""#, r#""born":"1800-01-01""#, r#""born":"31.5.2010""#, r#""years":131"#, r#""over":12"#] {
        assert!(read_all(&format!("{{{at},{wrong}}}"), None).is_err(), "{wrong}");
    }
    let kept = serde_json::to_string(&read_all(&format!(r#"{{{at},"born":"2010-05-31"}}"#), None).unwrap()).unwrap();
    assert!(!kept.contains("2010") && kept.contains("until"), "{kept}");
}

#[test]
fn a_receipt_says_what_was_agreed_to() {
    let placed = Placed { row: 7, recorded_ms: NOW, again: false, first: true };
    let receipt = receipt(&controller(), &policy(), &given("x-1", "c-1", NOW - 1), &placed);
    assert_eq!(
        receipt,
        json!({
            "record": { "schema": "sudare/receipt/v1", "id": "x-1", "row": 7, "recorded_before": false, "subject_known_before": false },
            "policy": { "id": "shop", "version": 3 },
            "parties": { "controller": "shop" },
            "subject": "c-1",
            "events": [{
                "what": "consent to recommend", "recorded": "2027-01-15T08:00:00Z", "at": "2027-01-15T07:59:59.999Z",
                "entity": { "operator": "ann" }
            }],
            "processing": [{
                "purpose": "recommend", "dpv": "dpv:CustomerCare", "lawful_basis": "dpv:Consent",
                "categories": [{ "name": "name", "dpv": "pd:Name" }], "by": ["shop-web", "insurer"], "state": "consent given"
            }],
        })
    );
}

#[test]
fn t13_debug_names_nobody() {
    let entry = Entry {
        what: What::Told { subject: Subject(id("secret")), version: 1, evidence: Some(Evidence("secret".to_owned())) },
        ..given("1", "c", 5)
    };
    let shown = format!("{entry:?}");
    assert!(!shown.contains("secret") && shown.contains("RecordId(6 bytes)"), "{shown}");
}
