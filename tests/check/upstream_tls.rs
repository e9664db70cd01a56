//! `[upstream]` over TLS: what `check` says of its files, and of the limits beside it.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};

use super::*;

/// A folder of certificates: authorities good (`ca.pem`), expired (`old-ca.pem`), both (`bundle.pem`); pairs of ours good
/// (`ours`), expired (`old`), of another key (`other.key`).
fn with_certificates(service: &str) -> Folder {
    let folder = Folder::with(service, templates::POLICY);
    let tls = folder.0.path().join("tls");
    fs::create_dir(&tls).unwrap();
    let certificate = |name: &str, ca: bool, until: i32| {
        let mut params = CertificateParams::new(vec!["db.example.com".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(until, 1, 1);
        if ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let (good, expired) = (certificate("ca", true, 3000).0, certificate("old-ca", true, 2020).0);
    fs::write(tls.join("ca.pem"), &good).unwrap();
    fs::write(tls.join("old-ca.pem"), &expired).unwrap();
    fs::write(tls.join("bundle.pem"), expired + &good).unwrap();
    for (name, until) in [("ours", 3000), ("old", 2020), ("other", 3000)] {
        let (certificate, key) = certificate(name, false, until);
        fs::write(tls.join(format!("{name}.pem")), certificate).unwrap();
        fs::write(tls.join(format!("{name}.key")), key).unwrap();
    }
    fs::write(tls.join("broken.pem"), "-----BEGIN CERTIFICATE-----\nSECRET*SECRET\n-----END CERTIFICATE-----\n").unwrap();
    folder
}

fn over_tls(members: &str) -> String {
    service().replacen("\"embedded:data/documents.redb\"", &format!("\"https://db.example.com\"\n{members}"), 1)
}

#[test]
fn mistakes_in_tls_towards_the_database() {
    let mut all = String::new();
    for (title, members, expected) in [
        ("no such file", "tls = { ca = \"tls/absent.pem\" }", 1),
        ("a folder", "tls = { ca = \"tls\" }", 1),
        ("not PEM", "tls = { ca = \"policy.toml\" }", 1),
        ("broken PEM", "tls = { ca = \"tls/broken.pem\" }", 1),
        ("a key for a certificate", "tls = { ca = \"tls/ours.key\" }", 1),
        ("an expired authority", "tls = { ca = \"tls/old-ca.pem\" }", 1),
        ("an expired authority beside a good one", "tls = { ca = \"tls/bundle.pem\" }", 1),
        ("a certificate without its key", "tls = { ca = \"tls/ca.pem\", certificate = \"tls/ours.pem\" }", 1),
        ("a key without its certificate", "tls = { ca = \"tls/ca.pem\", key = \"tls/ours.key\" }", 1),
        ("the key of another", "tls = { ca = \"tls/ca.pem\", certificate = \"tls/ours.pem\", key = \"tls/other.key\" }", 1),
        (
            "certificate and key exchanged",
            "tls = { ca = \"tls/ca.pem\", certificate = \"tls/ours.key\", key = \"tls/ours.pem\" }",
            2,
        ),
        (
            "an expired certificate of ours",
            "tls = { ca = \"tls/ca.pem\", certificate = \"tls/old.pem\", key = \"tls/old.key\" }",
            1,
        ),
        ("a name that is none", "tls = { ca = \"tls/ca.pem\", server_name = \"db.example.com:5984\" }", 1),
        ("a switch that is not there", "tls = { ca = \"tls/ca.pem\", verify = false }", 1),
        ("not a table", "tls = false", 1),
        ("a file that is a number", "tls = { ca = 1 }", 1),
        (
            "everything at once",
            "tls = { ca = \"tls/absent.pem\", certificate = \"tls/absent.pem\", key = \"tls/absent.key\", server_name = \"a b\" }",
            4,
        ),
    ] {
        let folder = with_certificates(&over_tls(members));
        let (out, code) = folder.check(Format::Text);
        let (errors, count) = match folder.load() {
            Ok(settings) => (0, settings.warnings.len()),
            Err(findings) => (findings.errors(), findings.len()),
        };
        assert_eq!((count, code), (expected, if errors > 0 { 2 } else { 0 }), "{title}: {out}");
        assert!(!out.contains("SECRET") && !out.contains("PRIVATE"), "{title}: {out}");
        all = format!("{all}==== {title}\n{}\n\n", out.trim_end());
    }
    snapshot("upstream_tls", &all);
}

#[test]
fn mistakes_in_the_limits_of_the_database() {
    let database = "\"embedded:data/documents.redb\"";
    let with = |line: &str| format!("\"http://127.0.0.1:5984\"\n{line}");
    let beside = [with("tls = { ca = \"tls/ca.pem\" }"), "\"unix:db.sock\"\ntls = {}".to_owned()];
    let lines = [
        with("max_connections = 0"),
        with("circuit = { failures = -1 }"),
        with("circuit = { open_ms = 30001 }"),
        with("circuit = 10"),
        with("circuit = { failure = 10 }"),
    ];
    let cases: Vec<Case<'_>> = [
        ("tls beside http://", beside[0].as_str()),
        ("tls beside a socket", beside[1].as_str()),
        ("no connections", lines[0].as_str()),
        ("fewer than no failures", lines[1].as_str()),
        ("open for too long", lines[2].as_str()),
        ("a circuit that is a number", lines[3].as_str()),
        ("a member of the circuit is misspelled", lines[4].as_str()),
    ]
    .map(|(title, to)| (title, In::Service, database, to, 1))
    .into();
    snapshot("upstream_limits", &outputs(&cases));
}

#[test]
fn the_database_is_reached_as_the_file_says() {
    use std::time::Duration;
    use sudare::upstream::{Endpoint, circuit};
    let upstream = |members: &str| with_certificates(&over_tls(members)).load().unwrap().upstream;
    let pair = "certificate = \"tls/ours.pem\", key = \"tls/ours.key\"";
    let config = upstream(&format!(
        "tls = {{ ca = \"tls/ca.pem\", {pair} }}\nmax_connections = 7\ncircuit = {{ failures = 5, open_ms = 20 }}"
    ));
    let Endpoint::Http { authority, tls: Some(_), .. } = &config.endpoint else { panic!("{config:?}") };
    assert_eq!(authority, "db.example.com");
    assert_eq!(config.files().len(), 3);
    assert_eq!(config.max_connections, Some(7));
    assert_eq!(config.circuit, Some(circuit::Config { failures: 5, open: Duration::from_millis(20) }));
    assert!(!format!("{config:?}").contains("PRIVATE"));

    let config = upstream("tls = { ca = \"tls/bundle.pem\" }\ncircuit = { failures = 0 }");
    assert_eq!((config.max_connections, config.circuit), (None, None));
    let config = upstream("tls = { ca = \"tls/ca.pem\", server_name = \"10.0.0.1\" }");
    assert_eq!(config.circuit, Some(circuit::Config { failures: 10, open: Duration::from_secs(1) }));
}
