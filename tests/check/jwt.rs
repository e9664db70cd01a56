//! `[jwt.*]` and the callers known by tokens: every mistake is told, and what is right is taken.

use super::*;

/// A key set with one key, for `[jwt.idp] jwks = "keys.json"`.
const KEYS: &str =
    r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// An issuer and one caller of it, with these lines exchanged.
fn issuer(changes: &[(&str, &str)]) -> String {
    let mut text = r#"[jwt.idp]
issuer = "https://idp.example/"
audience = "sudare"
algorithms = ["EdDSA"]
jwks = "keys.json"
[caller.desk]
jwt = { issuer = "idp", subject = "desk" }
"#
    .to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    text
}

#[test]
fn issuers_that_are_right() {
    let url = ("\"keys.json\"", "\"http://127.0.0.1:1/jwks?p=1\"\nrefresh_s = 60\nstale_s = 120\ntimeout_ms = 1000");
    for changes in [
        vec![],
        vec![url],
        vec![(
            "\"sudare\"",
            "[\"sudare\", \"other\"]\nleeway_s = 0\nmax_lifetime_s = 600\ntyp = \"at+jwt\"\nbound = \"required\"",
        )],
        vec![("\"sudare\"", "\"sudare\"\npurpose_claim = \"https://shop.example/purpose\"\npurposes = \"from-policy\"")],
        vec![("subject = \"desk\"", "claim = \"client_id\", equals = \"desk\"")],
    ] {
        let folder = Folder::with(&(service() + &issuer(&changes)), templates::POLICY);
        fs::write(folder.0.path().join("keys.json"), KEYS).unwrap();
        let settings = folder.load().unwrap_or_else(|findings| panic!("{findings}"));
        assert_eq!(settings.fetched_keys.len(), usize::from(changes.contains(&url)));
        assert_eq!(settings.issuer_files.len(), usize::from(!changes.contains(&url)));
        assert!(settings.callers.take_tokens());
    }
    assert!(!Folder::with(&service(), templates::POLICY).load().unwrap().callers.take_tokens());
}

#[test]
fn mistakes_in_issuers() {
    let second = r#"jwt = { issuer = "idp", subject = "desk" }
[caller.desk2]
jwt = "#;
    let url = |rest: &str| format!("\"http://127.0.0.1:1/jwks\"{rest}");
    let cases: Vec<(&str, &str, String)> = vec![
        ("issuer is missing", "issuer = \"https://idp.example/\"", String::new()),
        ("audience is missing", "audience = \"sudare\"", String::new()),
        ("audience is empty", "\"sudare\"", "[]".into()),
        ("algorithms are missing", "algorithms = [\"EdDSA\"]", String::new()),
        ("no algorithm", "[\"EdDSA\"]", "[]".into()),
        ("a shared secret", "[\"EdDSA\"]", "[\"EdDSA\", \"HS256\"]".into()),
        ("no signature", "[\"EdDSA\"]", "[\"EdDSA\", \"none\"]".into()),
        ("a slip in an algorithm", "[\"EdDSA\"]", "[\"EDDSA\"]".into()),
        ("a curve that is not supported", "[\"EdDSA\"]", "[\"EdDSA\", \"ES512\"]".into()),
        ("jwks is missing", "jwks = \"keys.json\"", String::new()),
        ("no such file", "keys.json", "key.json".into()),
        ("a file without keys", "keys.json", "policy.toml".into()),
        ("keys of other algorithms", "[\"EdDSA\"]", "[\"RS256\"]".into()),
        ("keys over plain HTTP", "keys.json", "http://idp.example/jwks".into()),
        ("keys by another protocol", "keys.json", "ftp://idp.example/jwks".into()),
        ("a password in the URL", "keys.json", "https://admin:hunter2@idp.example/jwks".into()),
        ("a URL without a host", "keys.json", "https:///jwks".into()),
        ("an authority that is not there", "\"keys.json\"", "\"https://idp.example/jwks\"\nca = \"ca.pem\"".into()),
        ("an authority for plain HTTP", "\"keys.json\"", url("\nca = \"ca.pem\"")),
        ("a file is not fetched", "\"keys.json\"", "\"keys.json\"\nrefresh_s = 60\ntimeout_ms = 100".into()),
        ("too old too early", "\"keys.json\"", url("\nrefresh_s = 600\nstale_s = 60")),
        ("a clock that is far off", "\"sudare\"", "\"sudare\"\nleeway_s = 301".into()),
        ("bound to something", "\"sudare\"", "\"sudare\"\nbound = \"dpop\"".into()),
        ("purposes from somewhere", "\"sudare\"", "\"sudare\"\npurposes = \"from-anywhere\"".into()),
        ("a member nobody knows", "audience", "audience_s = 1\naudience".into()),
        ("a table where text should be", "[jwt.idp]", "[jwt]\nother = \"x\"\n[jwt.idp]".into()),
        (
            "a name with a capital letter",
            "[jwt.idp]",
            format!(
                "[jwt.Idp]\n{}[jwt.idp]",
                "issuer = \"x\"\naudience = \"y\"\nalgorithms = [\"EdDSA\"]\njwks = \"keys.json\"\n"
            ),
        ),
        (
            "two tables for one issuer",
            "[jwt.idp]",
            format!(
                "[jwt.twin]\n{}[jwt.idp]",
                "issuer = \"https://idp.example/\"\naudience = \"y\"\nalgorithms = [\"EdDSA\"]\njwks = \"keys.json\"\n"
            ),
        ),
        (
            "an issuer nobody is known by",
            "[jwt.idp]",
            format!(
                "[jwt.idle]\n{}[jwt.idp]",
                "issuer = \"https://idle.example/\"\naudience = \"y\"\nalgorithms = [\"EdDSA\"]\njwks = \"keys.json\"\n"
            ),
        ),
        ("an issuer that is not there", "issuer = \"idp\"", "issuer = \"ipd\"".into()),
        ("no claim", ", subject = \"desk\"", String::new()),
        ("a claim without its value", "subject = \"desk\"", "claim = \"client_id\"".into()),
        ("a subject and a claim", "subject = \"desk\"", "subject = \"desk\", claim = \"client_id\", equals = \"x\"".into()),
        ("a token in the file", "{ issuer = \"idp\", subject = \"desk\" }", "\"eyJhbGciOiJFZERTQSJ9.e30.c2lnbmF0dXJl\"".into()),
        ("a token and a uid", "[caller.desk]", "[caller.desk]\nuid = 7".into()),
        (
            "two with one subject",
            "jwt = { issuer = \"idp\", subject = \"desk\" }",
            format!("{second}{{ issuer = \"idp\", subject = \"desk\" }}"),
        ),
        (
            "two that one token could name",
            "jwt = { issuer = \"idp\", subject = \"desk\" }",
            format!("{second}{{ issuer = \"idp\", claim = \"azp\", equals = \"x\" }}"),
        ),
    ];
    let mut all = String::new();
    for (title, from, to) in &cases {
        let folder = Folder::with(&(service() + &issuer(&[(from, to)])), templates::POLICY);
        fs::write(folder.0.path().join("keys.json"), KEYS).unwrap();
        let (out, code) = folder.check(Format::Text);
        assert_eq!(code, if out.contains("error") { 2 } else { 0 }, "{title}");
        assert!(out.contains(" --> ") && out.contains("= help: "), "{title}: {out}");
        assert!(!out.contains("hunter2") && !out.contains("c2lnbmF0dXJl"), "{title}: {out}");
        all = format!("{all}==== {title}\n{}\n\n", out.trim_end());
    }
    snapshot("issuers", &all);
}
