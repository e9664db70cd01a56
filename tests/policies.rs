//! The five example policies: what `sudare policy` says of each, held to; and ten questions a privacy officer would ask.
//!
//! Always holds: every clause of the register is accounted for, none is unmapped, and every change to a rule is noticed by a test of the
//! policy. The counts stand here so that a change of one is seen.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use serde_json::Value;
use sudare::cli::policy::{
    CoverageFormat, CoverageOptions, DiffOptions, ExplainOptions, Format, TestOptions, coverage, diff, explain, test,
};
use sudare::config::{self, PolicyOnly};
use sudare::purpose::{Policy, Status};

const POLICIES: [&str; 5] = ["000", "001", "002", "003", "004"];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/policies").join(name)
}

fn loaded(name: &str) -> PolicyOnly {
    config::load_policy_only(&folder(name).join("sudare.toml")).map_err(|findings| format!("{name}: {findings}")).unwrap()
}

fn covered(name: &str, format: CoverageFormat) -> (bool, String) {
    let loaded = loaded(name);
    let mut out = Vec::new();
    let folder = folder(name);
    let options = CoverageOptions { file: "policy.toml", folder: &folder, seen: &[], format };
    let good = coverage(&loaded.policy, loaded.register.as_ref().unwrap(), &options, &mut out).unwrap();
    (good, String::from_utf8(out).unwrap())
}

fn document(name: &str) -> Value {
    serde_json::from_str(&covered(name, CoverageFormat::Json).1).unwrap()
}

#[test]
fn the_examples_have_nothing_to_find_and_pass_their_own_tests() {
    for name in POLICIES {
        let loaded = loaded(name);
        // Values that are kept only to be stored: passwords, and whatever else identifies.
        let about = |warning: &config::Finding| !warning.message.starts_with("no purpose reveals category");
        assert_eq!(loaded.warnings.iter().filter(|warning| about(warning)).count(), 0, "{name}: {}", loaded.warnings);
        let mut out = Vec::new();
        let options = TestOptions { file: "policy.toml", format: Format::Table };
        assert!(test(&loaded.policy, &options, &mut out).unwrap(), "{name}: {}", String::from_utf8(out).unwrap());
    }
}

/// Every clause, by status now, and by what it will be once what is known of data subjects is kept when requests are served.
#[test]
fn every_clause_of_the_five_is_accounted_for() {
    let mut all = (0, 0);
    let mut lines = Vec::new();
    for name in POLICIES {
        let document = document(name);
        let clauses = document["clauses"].as_array().unwrap();
        assert_eq!(clauses.len(), loaded(name).register.unwrap().clauses.len());
        let counts: Vec<String> =
            Status::ALL.iter().map(|status| format!("{} {}", document["counts"][status.as_str()], status.as_str())).collect();
        let then = clauses.iter().filter(|clause| clause["then"] == "rule and test").count();
        let tested = clauses.iter().filter(|clause| clause["status"] == "rule and test").count();
        all = (all.0 + tested, all.1 + then);
        lines.push(format!("{name}: {} clauses; {}; then {then}", clauses.len(), counts.join(", ")));
        let (tried, noticed) = (document["mutants"]["tried"].clone(), document["mutants"]["noticed"].clone());
        assert_eq!(tried, noticed, "{name}: {:#}", document["findings"]);
        let faults: Vec<&Value> =
            document["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] == "fault").collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
    lines.push(format!("rule and test: {} now, {} with what is known of data subjects", all.0, all.0 + all.1));
    insta::assert_snapshot!(lines.join("\n"));
}

/// Clauses that are wholly about what this work covers (`B01` to `B10`, `B21` …): those without a rule and a test, by id.
#[test]
fn the_clauses_in_scope_that_have_no_rule_and_test_are_listed() {
    let mut without = Vec::new();
    let mut in_scope = 0;
    for name in POLICIES {
        let register = loaded(name).register.unwrap();
        let document = document(name);
        for clause in document["clauses"].as_array().unwrap() {
            let own = register.clause(clause["id"].as_str().unwrap()).unwrap();
            if own.class != sudare::purpose::Class::Rule || !own.waits_for.is_empty() {
                continue;
            }
            in_scope += 1;
            if clause["status"] != "rule and test" && clause["then"] != "rule and test" {
                without.push(format!("{} {}", own.id, clause["status"]));
            }
        }
    }
    assert_eq!((in_scope, without), (146, Vec::new()));
}

/// The tests bite: a policy whose rule is gone is not covered any more.
#[test]
fn a_rule_taken_away_is_noticed() {
    let PolicyOnly { mut spec, register, .. } = loaded("004");
    let register = register.unwrap();
    let delivery = spec.purposes.iter_mut().find(|purpose| purpose.name.as_str() == "delivery").unwrap();
    delivery.terms.needs.clear();
    let policy = Policy::compile(spec.clone()).unwrap();
    assert_eq!(policy.run_tests().iter().filter(|outcome| !outcome.passed()).count(), 1);
    // Without its test, the rule is untested, and says how.
    spec.tests.retain(|test| test.name != "our shipping sees nothing without the buyer's word");
    spec.purposes.iter_mut().filter(|purpose| purpose.name.as_str() == "delivery").for_each(|purpose| {
        purpose.terms.needs.push(("acceptance".to_owned(), 1));
    });
    let policy = Policy::compile(spec.clone()).unwrap();
    let covered = sudare::purpose::cover(&policy, &register, &[], Vec::new());
    let says: Vec<&str> = covered.flaws.iter().map(|flaw| flaw.message.as_str()).collect();
    assert!(says.contains(&"no test notices purpose.delivery without needs acceptance"), "{says:#?}");
    let clause = covered.clauses.iter().find(|clause| clause.id == "004-14").unwrap();
    assert_eq!(clause.status, Status::RuleUntested);
    // Without the rule, the clause is kept by nothing.
    spec.always.retain(|rule| rule.what.as_str() != "tls");
    spec.tests.retain(|test| test.name != "nothing listens and nothing connects in clear");
    let covered = sudare::purpose::cover(&Policy::compile(spec).unwrap(), &register, &["resale".to_owned()], Vec::new());
    assert_eq!(covered.clauses.iter().find(|clause| clause.id == "004-03").unwrap().status, Status::Unmapped);
    assert!(covered.has_faults());
    let says: Vec<&str> = covered.flaws.iter().map(|flaw| flaw.message.as_str()).collect();
    assert!(says.contains(&"the audit log has seen the purpose resale, which the policy does not have"), "{says:#?}");
}

#[test]
fn the_page_stands_by_itself_and_every_clause_is_on_it() {
    for name in POLICIES {
        let (good, page) = covered(name, CoverageFormat::Html);
        assert!(good && page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
        for from_elsewhere in ["<script", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(from_elsewhere), "{name}: {from_elsewhere}");
        }
        let (_, markdown) = covered(name, CoverageFormat::Markdown);
        let (_, table) = covered(name, CoverageFormat::Table);
        for clause in &loaded(name).register.unwrap().clauses {
            assert!(page.contains(&format!("<td class=\"id\">{}</td>", clause.id)), "{}", clause.id);
            assert!(markdown.contains(&format!("\n| {} |", clause.id)) && table.contains(&format!("\n{}  ", clause.id)));
        }
    }
}

/// The published text is pinned by its hash, and not copied: where it is put beside the register, it is compared.
#[test]
fn a_published_text_that_changed_is_found() {
    let loaded = loaded("000");
    let mut register = loaded.register.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let said = |register: &sudare::purpose::Register| {
        let mut out = Vec::new();
        let options = CoverageOptions { file: "policy.toml", folder: folder.path(), seen: &[], format: CoverageFormat::Table };
        let good = coverage(&loaded.policy, register, &options, &mut out).unwrap();
        (good, String::from_utf8(out).unwrap())
    };
    assert!(said(&register).1.contains("is not there, so nobody can see here whether the published text changed"));
    std::fs::create_dir(folder.path().join("published")).unwrap();
    std::fs::write(folder.path().join(&register.file), "abc").unwrap();
    let (good, text) = said(&register);
    assert!(!good && text.contains("is not the text that the register was made from"), "{text}");
    register.sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_owned();
    let (good, text) = said(&register);
    assert!(good && !text.contains("published text:"), "{text}");
}

/// What a privacy officer asks, and is told.
#[test]
fn ten_questions_of_a_privacy_officer() {
    type Question =
        (&'static str, &'static str, &'static str, &'static str, &'static [&'static str], Option<u8>, &'static [&'static str]);
    const QUESTIONS: [Question; 10] = [
        ("What does support see of somebody without a ticket?", "003", "helpdesk", "support", &[], None, &[]),
        ("And with one?", "003", "helpdesk", "support", &["open-ticket"], None, &[]),
        ("What does the carrier get?", "003", "carrier", "delivery", &["open-shipment"], None, &[]),
        ("Why is the device only a pseudonym in a push?", "003", "pusher", "push", &["device-permission"], None, &[]),
        ("And if the push holds nothing but the device?", "003", "pusher", "push", &["device-permission"], None, &["device"]),
        ("May a child of twelve have an account?", "001", "account-service", "registration", &["adult-present"], Some(12), &[]),
        ("Who gets marketing?", "001", "mailer", "marketing", &["acceptance"], None, &[]),
        ("What of somebody who was not told of version 2?", "000", "shop", "buy-back", &[], None, &[]),
        ("May a partner of the platform see who never agreed?", "002", "marketing-partner", "partner-marketing", &[], None, &[]),
        ("May the carrier look into support?", "004", "carrier", "support", &["acceptance"], None, &[]),
    ];
    let mut answers = Vec::new();
    for (question, name, caller, purpose, facts, age, holds) in QUESTIONS {
        let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let (facts, holds) = (texts(facts), texts(holds));
        let options = ExplainOptions {
            file: "policy.toml",
            caller: Some(caller),
            purpose: Some(purpose),
            facts: &facts,
            age,
            holds: &holds,
            format: Format::Table,
        };
        let mut out = Vec::new();
        explain(&loaded(name).policy, &options, &mut out).unwrap();
        answers.push(format!("# {question}\n\n{}\n", String::from_utf8(out).unwrap()));
    }
    insta::assert_snapshot!(answers.concat());
}

/// Two versions of one policy, in words.
#[test]
fn what_callers_gain_and_lose_is_told() {
    let PolicyOnly { mut spec, policy: old, .. } = loaded("003");
    let said = |spec: &sudare::purpose::PolicySpec| {
        let mut out = Vec::new();
        let options = DiffOptions { old_file: "old.toml", new_file: "new.toml", format: Format::Table };
        let gains = diff(&old, &Policy::compile(spec.clone()).unwrap(), &options, &mut out).unwrap();
        (gains, String::from_utf8(out).unwrap())
    };
    assert_eq!(
        said(&spec),
        (false, "from marketplace-hk version 3 to marketplace-hk version 3\nnobody gains or loses anything\n".to_owned())
    );
    spec.version = 4;
    spec.tests.clear();
    let purpose = |spec: &mut sudare::purpose::PolicySpec, name: &str, change: &dyn Fn(&mut sudare::purpose::PurposeSpec)| {
        spec.purposes.iter_mut().filter(|purpose| purpose.name.as_str() == name).for_each(change);
    };
    purpose(&mut spec, "support", &|support| {
        support.terms.needs.clear();
        support.reveal.retain(|(name, ..)| name.as_str() != "payment");
        support.search.push(sudare::base::CategoryName::new("email"));
    });
    purpose(&mut spec, "push", &|push| push.terms.consent = sudare::purpose::Consent::OptIn);
    purpose(&mut spec, "analysis", &|analysis| analysis.callers.clear());
    spec.nevers.retain(|never| never.name != "passwords");
    spec.exceptions
        .iter_mut()
        .filter(|exception| exception.name == "rule-violation")
        .for_each(|exception| exception.approvers = 1);
    let (gains, text) = said(&spec);
    assert!(gains);
    insta::assert_snapshot!(text);
    // The other way round everything is the other way round.
    let mut out = Vec::new();
    let options = DiffOptions { old_file: "new.toml", new_file: "old.toml", format: Format::Json };
    diff(&Policy::compile(spec).unwrap(), &old, &options, &mut out).unwrap();
    let back: Value = serde_json::from_slice(&out).unwrap();
    let words = |word: &str| text.lines().filter(|line| line.starts_with(&format!("  {word}"))).count();
    assert_eq!((&back["gains"], &back["loses"]), (&Value::from(words("loses")), &Value::from(words("gains"))));
}

/// The register is read like the other files: every mistake at once, with the nearest name.
#[test]
fn a_register_is_checked_like_the_policy() {
    let from = folder("004");
    let read = |file: &str| std::fs::read_to_string(from.join(file)).unwrap();
    let found = |policy: String, register: String| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("sudare.toml"), read("sudare.toml")).unwrap();
        std::fs::write(folder.path().join("policy.toml"), policy).unwrap();
        std::fs::write(folder.path().join("clauses.toml"), register).unwrap();
        let findings = config::load_policy_only(&folder.path().join("sudare.toml")).map(|_loaded| ()).unwrap_err();
        let said = findings.iter().map(|finding| {
            let near = finding.nearest.as_ref().map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
            format!("{}{near}", finding.message)
        });
        said.collect::<Vec<_>>()
    };
    assert_eq!(
        found(read("policy.toml").replacen("\"004-24\"", "\"004-42\"", 1), read("clauses.toml")),
        ["there is no clause \"004-42\" in clauses.toml (did you mean 004-02?)"]
    );
    let register = read("clauses.toml")
        .replacen("kind = \"promise\", class = \"rule\"", "kind = \"promis\", class = \"rules\"", 1)
        .replacen("sha256    = \"", "sha256    = \"z", 1)
        .replacen("retention = [\"004-20\"", "retention = [\"004-99\"", 1)
        .replacen("\n004-03 = ", "\nfour = ", 1)
        .replacen("asks    = ", "ask     = ", 1);
    let said = found(read("policy.toml"), register);
    for part in [
        "not a SHA-256",
        "\"004-99\"",
        "\"promis\"",
        "\"rules\"",
        "\"four\" is not the id of a clause",
        "no clause \"004-03\"",
        "`ask`",
    ] {
        assert!(said.iter().any(|said| said.contains(part)), "{part}: {said:#?}");
    }
}

/// What tools read.
#[test]
fn the_document_has_the_members_that_tools_read() {
    let document = document("004");
    assert_eq!((&document["policy"], &document["version"]), (&Value::from("web-shop-vn"), &Value::from(1)));
    let clause = &document["clauses"][13];
    assert_eq!(clause["id"], "004-14");
    assert_eq!((&clause["status"], &clause["then"]), (&Value::from("rule and test"), &Value::Null));
    assert_eq!(clause["rules"], serde_json::json!(["purpose.delivery"]));
    assert_eq!(clause["tests"].as_array().unwrap().len(), 3);
    assert_eq!(clause["waits_for"], serde_json::json!([]));
    for finding in document["findings"].as_array().unwrap() {
        for member in ["kind", "severity", "line", "clauses", "message", "remedy"] {
            assert!(finding.get(member).is_some(), "{finding}");
        }
    }
}
