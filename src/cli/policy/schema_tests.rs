//! The schema and the reader of the configuration know the same keys.

use super::schema;

/// The tables of a policy: where the schema has them.
const TABLES: [&str; 13] = [
    "",
    "/properties/policy",
    "/$defs/age",
    "/$defs/category",
    "/$defs/purpose",
    "/$defs/recipient",
    "/$defs/limit",
    "/$defs/never",
    "/$defs/always",
    "/$defs/exception",
    "/$defs/test",
    "/$defs/test/properties/forbidden",
    "/$defs/test/properties/ask",
];

/// A policy that uses every table with every key of the schema; into the tables for which `adds` says yes goes `key = 1`.
fn policy_text(key: &str, adds: impl Fn(&str) -> bool) -> String {
    let statement = |table: &str| if adds(table) { format!("{key} = 1") } else { String::new() };
    let inline = |table: &str| if adds(table) { format!(", {key} = 1") } else { String::new() };
    let [file, policy, age, category, purpose, recipient, limit, never, always, exception, test, forbidden, ask] = TABLES;
    format!(
        r#"
        {}
        policy = {{ id = "every-key", version = 2, change = "notice", clauses = ["003-71"]{} }}
        [fact]
        open-shipment = "a parcel is on its way"
        [age]
        minor = {{ under = 18, clauses = ["003-42"]{} }}
        [category]
        name = {{ dpv = "pd:Name", nature = "identifying", mask = "initials", generalise = "year", clauses = ["003-01"]{} }}
        [purpose.delivery]
        {}
        dpv = "dpv:DeliveryOfGoods"
        basis = "dpv:ContractPerformance"
        callers = ["carrier"]
        reveal = {{ name = "clear" }}
        writes = []
        search = ["name"]
        delete = false
        consent = "opt-in"
        needs = ["open-shipment"]
        since = 2
        required = []
        source = "subject-form"
        clauses = ["003-21"]
        [recipient]
        carrier = {{ kind = "processor", at_most = {{ name = "masked" }}, consent = "opt-in", needs = [], country = "HK", clauses = ["003-54"]{} }}
        [limit]
        minors = {{ when = "minor", unless = ["consent"], purposes = ["delivery"], except = [], at_most = {{ "*" = "absent" }}, clauses = []{} }}
        [never]
        sale = {{ purposes = ["dpv:SellDataToThirdParties"], recipients = ["third-party"], categories = ["name"], clauses = ["003-52"]{} }}
        [always]
        tls = {{ clauses = ["003-33"]{} }}
        [exception.demand]
        {}
        opens = "disclosure"
        dpv = "dpv:LegalCompliance"
        callers = ["carrier"]
        reveal = {{ name = "clear" }}
        evidence = ["law"]
        approvers = 2
        ttl = "72h"
        tell_subject = "after"
        clauses = ["003-60"]
        [[test]]
        {}
        name = "every key"
        expect = {{ name = "masked" }}
        search = []
        writes = []
        required = []
        scope = "carrier"
        source = "subject-form"
        always = ["tls"]
        forbidden = {{ purpose = "dpv:SellDataToThirdParties", recipient = "third-party", category = "name"{} }}
        ask = {{ caller = "carrier", purpose = "delivery", facts = [], age = 20, holds = [], exception = "demand", categories = [], evidence = [], approvers = 2, hours = 1{} }}
        "#,
        statement(file),
        inline(policy),
        inline(age),
        inline(category),
        statement(purpose),
        inline(recipient),
        inline(limit),
        inline(never),
        inline(always),
        statement(exception),
        statement(test),
        inline(forbidden),
        inline(ask),
    )
}

/// What `config` says about keys of the policy it does not accept: message and remedy.
fn refused_keys(text: &str) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), text).unwrap();
    let service = folder.path().join("sudare.toml");
    std::fs::write(&service, "policy = \"policy.toml\"\n").unwrap();
    let findings = crate::config::load(&service).expect_err("the service part is not complete");
    let about_keys =
        findings.iter().filter(|found| found.file.ends_with("policy.toml") && found.message.starts_with("unknown member"));
    about_keys.map(|found| (found.message.clone(), found.remedy.clone())).collect()
}

#[test]
fn the_schema_has_exactly_the_keys_that_the_configuration_accepts() {
    let schema = schema::document();
    let has = |table: &str, key: &str| schema.pointer(table).unwrap()["properties"].get(key).is_some();
    // Every key of the schema is accepted ...
    let text = policy_text("", |_| false);
    for key in TABLES.iter().flat_map(|table| schema.pointer(table).unwrap()["properties"].as_object().unwrap().keys()) {
        assert!(text.contains(key), "{key} is not tried");
    }
    assert_eq!(refused_keys(&text), []);
    // ... and every other key that the configuration knows of, in any table, is refused.
    let unknown = refused_keys(&policy_text("zzz", |_| true));
    assert_eq!(unknown.len(), TABLES.len(), "{unknown:?}");
    let known: std::collections::BTreeSet<&str> =
        unknown.iter().flat_map(|(_, remedy)| remedy.split_once("valid here: ").unwrap().1.split(", ")).collect();
    assert!(known.contains("reveal") && known.contains("facts"), "{known:?}");
    for key in known {
        let without = TABLES.iter().filter(|table| !has(table, key)).count();
        let refused = refused_keys(&policy_text(key, |table| !has(table, key)));
        let same = refused.iter().filter(|(message, _)| message.starts_with(&format!("unknown member `{key}`"))).count();
        assert_eq!(same, without, "{key}: {refused:?}");
    }
}
