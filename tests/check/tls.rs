//! `[listen] tls` and the callers known by certificates: what is wrong with files and members, said at once.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, IsCa, KeyIdMethod, KeyPair,
    SerialNumber, date_time_ymd,
};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use sudare::base::{Clock as _, SystemClock};

/// Certificates and keys, good and bad, in the folder of a case.
fn certificates(folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let issue = |name: &str, change: &dyn Fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        write(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    };
    issue("server", &|_| ());
    issue("expired", &|params| params.not_after = date_time_ymd(2024, 1, 1));
    issue("early", &|params| params.not_before = date_time_ymd(4000, 1, 1));
    issue("clients", &|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    // In the last tenth of its life: 100 days are over, 5 are to come.
    issue("late", &|params| {
        let (day, now) = (Duration::from_hours(24), Duration::from_millis(SystemClock.now_ms()));
        let now = date_time_ymd(1970, 1, 1) + now;
        (params.not_before, params.not_after) = (now - 100 * day, now + 5 * day);
    });
    issue("open", &|_| ());
    fs::set_permissions(folder.join("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let issuer = CertifiedIssuer::self_signed(CertificateParams::default(), KeyPair::generate().unwrap()).unwrap();
    for (name, year) in [("crl.pem", 4000), ("overdue.pem", 2024)] {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2023, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        write(name, &list.signed_by(&issuer).unwrap().pem().unwrap());
    }
    write("broken.pem", "-----BEGIN CERTIFICATE-----\nc2VjcmV0IGNhbmFyeQ==\n");
    write("empty.pem", "");
}

const TLS: &str = "tls = { certificate = \"server.pem\", key = \"server.key\" }";
const MUTUAL: &str = "tls = { certificate = \"server.pem\", key = \"server.key\", client_ca = \"clients.pem\" }";

/// Title, the line in `[listen]`, what `shop` is known by, findings.
type Case<'a> = (&'a str, &'a str, &'a str, usize);

fn outputs(cases: &[Case<'_>]) -> String {
    const SHOP: &str = "credential_sha256 = \"0101010101010101010101010101010101010101010101010101010101010101\"";
    let mut all = String::new();
    for (title, line, known_by, expected) in cases {
        let known_by = if known_by.is_empty() { SHOP } else { known_by };
        let text = service().replacen("[listen]", &format!("[listen]\n{line}"), 1).replacen(SHOP, known_by, 1);
        let folder = Folder::with(&text, templates::POLICY);
        certificates(folder.0.path());
        let (out, code) = folder.check(Format::Text);
        let (errors, count) = match folder.load() {
            Ok(settings) => (0, settings.warnings.len()),
            Err(findings) => (findings.errors(), findings.len()),
        };
        assert_eq!((code, count), (if errors > 0 { 2 } else { 0 }, *expected), "{title}: {out}");
        assert!(!out.contains("canary") && !out.contains("c2VjcmV0"), "{title}: {out}");
        all = format!("{all}==== {title}\n{}\n\n", out.trim_end());
    }
    all
}

#[test]
fn mistakes_in_tls() {
    let server = |certificate: &str, key: &str| format!("tls = {{ certificate = \"{certificate}\", key = \"{key}\" }}");
    let clients = |members: &str| format!("tls = {{ certificate = \"server.pem\", key = \"server.key\", {members} }}");
    let subject = "subject = \"CN=shop, O=Shop\"";
    #[rustfmt::skip]
    let cases: &[Case<'_>] = &[
        ("good", TLS, "", 0),
        ("good, with clients", &clients("client_ca = \"clients.pem\", clients = \"optional\""), "", 0),
        ("not a table", "tls = true", "", 1),
        ("no key", "tls = { certificate = \"server.pem\" }", "", 1),
        ("an unknown member", &clients("min_version = \"1.3\""), "", 1),
        ("a certificate that is not there", &server("servr.pem", "server.key"), "", 1),
        ("a broken certificate and an empty key", &server("broken.pem", "empty.pem"), "", 2),
        ("a key in the place of the certificate", &server("server.key", "server.key"), "", 1),
        ("the key itself in the file", "tls = { certificate = \"server.pem\", key = \"-----BEGIN PRIVATE KEY-----\\nc2VjcmV0IGNhbmFyeQ==\" }", "", 1),
        ("the key of another certificate", &server("server.pem", "clients.key"), "", 1),
        ("an expired certificate", &server("expired.pem", "expired.key"), "", 1),
        ("a certificate from the future", &server("early.pem", "early.key"), "", 1),
        ("a key that everybody can read", &server("open.pem", "open.key"), "", 1),
        ("authorities that are not there", &clients("client_ca = \"client.pem\""), "", 1),
        ("a list of revocations that is none", &clients("client_ca = \"clients.pem\", client_crl = \"clients.pem\""), "", 1),
        ("a list of revocations", &clients("client_ca = \"clients.pem\", client_crl = \"crl.pem\""), "", 0),
        ("a list of revocations that is overdue", &clients("client_ca = \"clients.pem\", client_crl = \"overdue.pem\""), "", 1),
        ("clients in another word", &clients("client_ca = \"clients.pem\", clients = \"maybe\""), "", 1),
        ("clients without authorities", &clients("clients = \"optional\", client_crl = \"clients.pem\""), "", 3),
        ("a caller by SPIFFE id", MUTUAL, "spiffe = \"spiffe://shop.example/shop\"", 0),
        ("a caller by subject", MUTUAL, "subject = \"CN=shop,O=Shop\"", 0),
        ("a caller by SPIFFE id, without client_ca", TLS, "spiffe = \"spiffe://shop.example/shop\"", 1),
        ("a caller by subject, without client_ca", TLS, "subject = \"CN=shop,O=Shop\"", 1),
        ("a SPIFFE id with a port", MUTUAL, "spiffe = \"spiffe://shop.example:8443/shop\"", 1),
        ("a SPIFFE id of nobody", MUTUAL, "spiffe = \"spiffe://shop.example\"", 1),
        ("a subject with spaces", MUTUAL, subject, 1),
        ("known by id and subject", MUTUAL, "spiffe = \"spiffe://shop.example/shop\"\nsubject = \"CN=shop\"", 1),
        ("two with one id", MUTUAL, "spiffe = \"spiffe://a/b\"\n[caller.twin]\nspiffe = \"spiffe://a/b\"", 1),
        ("two with one subject, written in two ways", MUTUAL, "subject = \"CN=a,O=b\"\n[caller.twin]\nsubject = \"cn=a,2.5.4.10=b\"", 1),
    ];
    snapshot("tls", &outputs(cases));
}

#[test]
fn a_certificate_that_ends_soon_is_a_warning() {
    let line = TLS.replace("server.", "late.");
    let folder = Folder::with(&service().replacen("[listen]", &format!("[listen]\n{line}"), 1), templates::POLICY);
    certificates(folder.0.path());
    let warnings = folder.load().unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings}");
    assert!(warnings.to_string().contains("late.pem: the certificate holds until 2"), "{warnings}");
}

#[test]
fn tls_over_a_unix_socket_is_refused() {
    let text = service().replacen("\"127.0.0.1:8080\"", "\"unix:run/s\"", 1).replacen("[listen]", &format!("[listen]\n{TLS}"), 1);
    let folder = Folder::with(&text, templates::POLICY);
    certificates(folder.0.path());
    let findings = folder.load().unwrap_err();
    assert_eq!(findings.len(), 1, "{findings}");
    assert!(findings.to_string().contains("`tls` on a Unix socket"), "{findings}");
}

#[test]
fn with_tls_other_machines_may_connect_and_the_files_are_told() {
    let text =
        service().replacen("\"127.0.0.1:8080\"", "\"0.0.0.0:8080\"", 1).replacen("[listen]", &format!("[listen]\n{MUTUAL}"), 1);
    let folder = Folder::with(&text, templates::POLICY);
    certificates(folder.0.path());
    let settings = folder.load().unwrap();
    assert!(settings.warnings.is_empty(), "{}", settings.warnings);
    let names: Vec<_> = settings.listen.files().iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(names, ["server.pem", "server.key", "clients.pem"]);
}

#[test]
fn the_policy_alone_needs_no_certificates() {
    let folder = Folder::with(&service().replacen("[listen]", &format!("[listen]\n{MUTUAL}"), 1), templates::POLICY);
    config::load_policy_only(&folder.file()).unwrap();
    assert_eq!(folder.load().unwrap_err().errors(), 3, "each file is looked for");
}
