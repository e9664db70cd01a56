//! T22: what is refused, why, and that what is right is taken. Vectors of RFC 7515 (appendix A) and RFC 7520.

use serde_json::{Value, json};

use super::*;
use crate::caller::CallerConfigError::{NoIssuer, Same};
use crate::caller::{Callers, Means, Presented};

#[path = "../../../tests/it/support/issuer.rs"]
mod issuer;
use issuer::{RSA_N, Signer, b64, key_set};

const NOW_S: u64 = 1_800_000_000;
const ISS: &str = "https://idp.example/";
const ALL: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

fn issuer_of(keys: &str) -> Issuer {
    Issuer {
        name: IssuerName::new("idp"),
        issuer: ISS.into(),
        audience: vec!["sudare".into()],
        algorithms: ALL.to_vec(),
        leeway_s: 30,
        max_lifetime_s: None,
        typ: None,
        bound: Bound::Optional,
        purpose_claim: "purpose".into(),
        unnamed: Unnamed::Nothing,
        keys: Arc::new(IssuerKeys::fixed(KeySet::parse(keys.as_bytes(), &ALL).unwrap())),
    }
}

fn known_by(issuer: &str, equals: &str) -> Means {
    Means::Token { issuer: IssuerName::new(issuer), claim: "sub".into(), equals: equals.into() }
}

fn callers(issuers: Vec<Issuer>) -> Callers {
    let entries = issuers.iter().map(|issuer| {
        let name = if issuer.name.as_str() == "idp" { "helpdesk" } else { "other" };
        (CallerName::new(name), known_by(issuer.name.as_str(), "helpdesk"))
    });
    Callers::with_issuers(entries.collect(), issuers).unwrap()
}

fn ask(callers: &Callers, token: &str, certificate: Option<&Certificate>) -> Result<Caller, Unknown> {
    callers.identify(&Presented { token: Some(token), certificate, now_ms: NOW_S * 1000, ..Presented::default() })
}

fn fault(callers: &Callers, token: &str) -> Fault {
    match ask(callers, token, None) {
        Err(Unknown::Token { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

fn claims() -> Value {
    json!({
        "iss": ISS, "aud": "sudare", "sub": "helpdesk", "purpose": "support",
        "iat": NOW_S - 10, "nbf": NOW_S - 10, "exp": NOW_S + 300,
    })
}

/// The claims with some changed; null takes one away.
#[expect(clippy::needless_pass_by_value, reason = "it is written where it is called")]
fn with(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn one(alg: &'static str) -> (Signer, Callers) {
    let signer = Signer::new("k1", alg);
    let callers = callers(vec![issuer_of(&key_set(&[&signer]))]);
    (signer, callers)
}

#[test]
fn every_algorithm_verifies_its_own() {
    for alg in ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"] {
        let (signer, callers) = one(alg);
        let caller = ask(&callers, &signer.token(&claims()), None).unwrap_or_else(|error| panic!("{alg}: {error:?}"));
        assert_eq!((caller.name.as_str(), caller.how), ("helpdesk", How::Token));
        let vouched = caller.vouched.unwrap();
        assert_eq!(vouched.until_ms(), (NOW_S + 330) * 1000);
        assert_eq!(vouched.purposes().unwrap(), [Box::from("support")]);
    }
}

fn verified(jwk: &Value, alg: Algorithm, token: &str) -> bool {
    crate::crypto::verify_tokens_with_ring();
    let jwk: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk.clone()).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&jwk).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, alg).unwrap_or(false)
}

const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const FRODO: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";
const A2: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const A3: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const BILBO_N: &str = "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw";
const BILBO_RS256: &str = "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg";
const BILBO_PS384: &str = "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw";

fn bilbo(alg: &str) -> String {
    b64(format!(r#"{{"alg":"{alg}","kid":"bilbo.baggins@hobbiton.example"}}"#).as_bytes())
}

#[test]
fn rfc_7515_and_7520_signatures_verify_and_nothing_near_them() {
    let rsa = json!({"kty": "RSA", "n": RSA_N, "e": "AQAB"});
    let ec = json!({
        "kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let hobbit = json!({"kty": "RSA", "n": BILBO_N, "e": "AQAB"});
    let vectors = [
        (&rsa, Algorithm::RS256, format!("eyJhbGciOiJSUzI1NiJ9.{JOE}.{A2}")),
        (&ec, Algorithm::ES256, format!("eyJhbGciOiJFUzI1NiJ9.{JOE}.{A3}")),
        (&hobbit, Algorithm::RS256, format!("{}.{FRODO}.{BILBO_RS256}", bilbo("RS256"))),
        (&hobbit, Algorithm::PS384, format!("{}.{FRODO}.{BILBO_PS384}", bilbo("PS384"))),
    ];
    for (key, alg, token) in &vectors {
        assert!(verified(key, *alg, token), "{alg:?}");
        for other in ALL.into_iter().filter(|other| other != alg) {
            assert!(!verified(key, other, token), "{other:?} takes a signature of {alg:?}");
        }
        assert!(!verified(key, *alg, &token.replacen("eyJ", "eyK", 1)));
    }
    assert!(!verified(&hobbit, Algorithm::RS256, &vectors[0].2), "another key");
}

#[test]
fn t22_rfc_vectors_of_algorithms_that_are_not_supported_are_refused() {
    let joe =
        Issuer { issuer: "joe".into(), ..issuer_of(&json!({"keys": [{"kty": "RSA", "n": RSA_N, "e": "AQAB"}]}).to_string()) };
    let callers = callers(vec![joe]);
    // A.2 verifies, and then lacks what we require.
    assert_eq!(fault(&callers, &format!("eyJhbGciOiJSUzI1NiJ9.{JOE}.{A2}")), Fault::ClaimMissing);
    // A.1, HS256.
    assert_eq!(
        fault(&callers, &format!("eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")),
        Fault::Algorithm
    );
    // A.4, ES512; A.5, none.
    assert_eq!(fault(&callers, &format!("eyJhbGciOiJFUzUxMiJ9.{JOE}.{A3}")), Fault::Malformed);
    assert_eq!(fault(&callers, &format!("eyJhbGciOiJub25lIn0.{JOE}.")), Fault::Malformed);
}

#[test]
fn t22_no_algorithm_of_the_tokens_own_choice() {
    let (signer, callers) = one("RS256");
    let good = signer.token(&claims());
    let payload = good.split('.').nth(1).unwrap();
    for alg in ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "rs256", "RS256 ", "ES256K", "ES512", "dir"] {
        let header = b64(json!({"alg": alg, "kid": "k1"}).to_string().as_bytes());
        for signature in ["", "AAAA", good.rsplit('.').next().unwrap()] {
            let fault = fault(&callers, &format!("{header}.{payload}.{signature}"));
            assert!(matches!(fault, Fault::Malformed | Fault::Algorithm), "{alg}: {fault:?}");
        }
    }
    // The public key as a shared secret.
    let header = b64(br#"{"alg":"HS256","kid":"k1"}"#);
    let message = format!("{header}.{payload}");
    for secret in [RSA_N.as_bytes().to_vec(), crate::crypto::from_base64url(RSA_N.as_bytes()).unwrap(), Vec::new()] {
        let mac = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret), message.as_bytes());
        assert_eq!(fault(&callers, &format!("{message}.{}", b64(mac.as_ref()))), Fault::Algorithm);
    }
    // An algorithm that is allowed, of a key of another type.
    for alg in ["ES256", "ES384", "EdDSA"] {
        let other = Signer::new("k1", alg);
        assert_eq!(fault(&callers, &other.token(&claims())), Fault::Algorithm, "{alg}");
    }
    // One that the issuer's list lacks, though key and signature are right.
    let strict = callers_with(&key_set(&[&signer]), |issuer| issuer.algorithms = vec![Algorithm::PS256]);
    assert_eq!(fault(&strict, &good), Fault::Algorithm);
}

fn callers_with(keys: &str, change: impl Fn(&mut Issuer)) -> Callers {
    let mut issuer = issuer_of(keys);
    change(&mut issuer);
    callers(vec![issuer])
}

#[test]
fn t22_a_key_is_used_as_its_set_says() {
    let signer = Signer::new("k1", "RS256");
    let parse = |changes: Value| {
        let mut jwk = signer.jwk();
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes(), &ALL)
    };
    for good in [json!({"use": "sig"}), json!({"key_ops": ["verify"]}), json!({"alg": "RS256"}), json!({"x5c": ["AAAA"]})] {
        assert_eq!(parse(good.clone()).unwrap().len(), 1, "{good}");
    }
    for useless in [
        json!({"use": "enc"}),
        json!({"key_ops": ["encrypt"]}),
        json!({"key_ops": []}),
        json!({"alg": "RSA-OAEP"}),
        json!({"alg": "ES256"}),
        json!({"alg": "HS256"}),
        json!({"alg": "none"}),
        json!({"e": ""}),
        json!({"n": b64(&[0xff; 128])}),
        json!({"n": b64(&[&[0x7f][..], &[0xff; 255]].concat())}),
        json!({"n": b64(&[&[0][..], &[0xff; 256]].concat())}),
        json!({"n": b64(&[0xff; 1025])}),
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "EC", "crv": "secp256k1", "x": b64(&[1; 32]), "y": b64(&[1; 32])}),
        json!({"kty": "EC", "crv": "P-256", "x": b64(&[1; 31]), "y": b64(&[1; 32])}),
        json!({"kty": "OKP", "crv": "X25519", "x": b64(&[1; 32])}),
        json!({"kid": 5}),
    ] {
        assert_eq!(parse(useless.clone()).err(), Some(KeySetError::NoneUsable), "{useless}");
    }
    // `alg` of the key against that of the token.
    let mut jwk = signer.jwk();
    jwk["alg"] = json!("PS256");
    let callers = callers(vec![issuer_of(&json!({"keys": [jwk]}).to_string())]);
    assert_eq!(fault(&callers, &signer.token(&claims())), Fault::Algorithm);
    assert!(ask(&callers, &Signer::new("k1", "PS256").token(&claims()), None).is_ok());
}

#[test]
fn key_sets_that_are_none() {
    let key = Signer::new("k1", "EdDSA").jwk();
    let parse = |text: &str| KeySet::parse(text.as_bytes(), &ALL).err();
    for text in ["", "[]", "{}", "<html>no</html>", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#, "{\"keys\":[]} x"] {
        assert_eq!(parse(text), Some(KeySetError::NotKeys), "{text}");
    }
    assert_eq!(parse(r#"{"keys":[]}"#), Some(KeySetError::NoneUsable));
    assert_eq!(parse(&json!({"keys": [key, key]}).to_string()), Some(KeySetError::SameKid));
    assert_eq!(parse(&json!({"keys": vec![1; 101]}).to_string()), Some(KeySetError::TooMany));
    assert_eq!(parse(&format!("{}{}", " ".repeat(256 << 10), json!({"keys": [key]}))), Some(KeySetError::TooLarge));
    // Members that are not known are no fault, nor is a key that is not.
    let set = KeySet::parse(json!({"keys": [key, {"kty": "AKP"}, 7], "more": 1}).to_string().as_bytes(), &ALL).unwrap();
    assert_eq!((set.len(), set.ignored()), (1, 2));
    // One kid for two types of key is allowed (RFC 7517, section 4.5).
    let (ed, es) = (Signer::new("k", "EdDSA"), Signer::new("k", "ES256"));
    let callers = callers(vec![issuer_of(&key_set(&[&ed, &es]))]);
    for signer in [ed, es] {
        assert!(ask(&callers, &signer.token(&claims()), None).is_ok());
    }
}

#[test]
fn t22_a_kid_is_compared_and_nothing_else() {
    let (signer, callers) = one("ES256");
    for kid in ["", "K1", "k1 ", "../../etc/passwd", "k1' OR '1'='1", "k1\u{0}", "http://evil.example/jwks", &"k".repeat(4000)] {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        assert_eq!(fault(&callers, &signer.sign(&header, &claims().to_string())), Fault::UnknownKey, "{kid}");
    }
    let header = json!({"alg": "ES256", "kid": 1}).to_string();
    assert_eq!(fault(&callers, &signer.sign(&header, &claims().to_string())), Fault::Malformed);
    // Without one, only where there is no choice.
    let nameless = signer.sign(r#"{"alg":"ES256"}"#, &claims().to_string());
    assert!(ask(&callers, &nameless, None).is_ok());
    let other = Signer::new("k2", "ES256");
    let two = super::tests::callers(vec![issuer_of(&key_set(&[&signer, &other]))]);
    assert_eq!(fault(&two, &nameless), Fault::KeyNotNamed);
}

#[test]
fn an_unknown_kid_is_told_and_nothing_else_is() {
    let (signer, _) = one("ES256");
    let issuer = issuer_of(&key_set(&[&signer]));
    let told = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    issuer.keys.when_unknown(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    });
    let callers = callers(vec![issuer]);
    let stranger = Signer::new("k9", "ES256");
    assert_eq!(fault(&callers, &stranger.token(&claims())), Fault::UnknownKey);
    let forged = Signer::new("k1", "ES256");
    assert_eq!(fault(&callers, &forged.token(&claims())), Fault::Signature);
    assert_eq!(fault(&callers, &signer.token(&with(json!({"exp": 1})))), Fault::Expired);
    assert_eq!(told.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn t22_what_the_header_brings_along_is_not_used() {
    let (signer, callers) = one("ES256");
    let mallory = Signer::new("k1", "ES256");
    for brought in [
        json!({"jwk": mallory.jwk()}),
        json!({"jku": "http://127.0.0.1:1/jwks"}),
        json!({"x5u": "http://127.0.0.1:1/cert"}),
        json!({"x5c": ["AAAA"]}),
    ] {
        let mut header = json!({"alg": "ES256", "kid": "k1"});
        header.as_object_mut().unwrap().extend(brought.as_object().unwrap().clone());
        assert_eq!(fault(&callers, &mallory.sign(&header.to_string(), &claims().to_string())), Fault::Signature, "{brought}");
        assert!(ask(&callers, &signer.sign(&header.to_string(), &claims().to_string()), None).is_ok(), "{brought}");
    }
    for (asks, expected) in [
        (json!({"crit": ["exp"]}), Fault::Critical),
        (json!({"crit": []}), Fault::Critical),
        (json!({"b64": false}), Fault::Critical),
        (json!({"b64": false, "crit": ["b64"]}), Fault::Critical),
        (json!({"zip": "DEF"}), Fault::Critical),
        (json!({"enc": "A256GCM"}), Fault::Critical),
        (json!({"cty": "JWT"}), Fault::Type),
        (json!({"typ": "dpop+jwt"}), Fault::Type),
        (json!({"typ": "logout+jwt"}), Fault::Type),
    ] {
        let mut header = json!({"alg": "ES256", "kid": "k1"});
        header.as_object_mut().unwrap().extend(asks.as_object().unwrap().clone());
        assert_eq!(fault(&callers, &signer.sign(&header.to_string(), &claims().to_string())), expected, "{asks}");
    }
    for twice in [
        r#"{"alg":"ES256","alg":"none","kid":"k1"}"#,
        r#"{"alg":"none","alg":"ES256","kid":"k1"}"#,
        r#"{"alg":"ES256","kid":"k1","kid":"k2"}"#,
        r#"{"alg":"ES256","kid":"k1","typ":"JWT","typ":"JWT"}"#,
    ] {
        assert_eq!(fault(&callers, &signer.sign(twice, &claims().to_string())), Fault::Malformed, "{twice}");
    }
}

#[test]
fn the_type_of_a_token_where_one_is_asked_for() {
    let signer = Signer::new("k1", "ES256");
    let callers = callers_with(&key_set(&[&signer]), |issuer| issuer.typ = Some("at+jwt".into()));
    let asks = |typ: Value| {
        let mut header = json!({"alg": "ES256", "kid": "k1"});
        header["typ"] = typ;
        ask(&callers, &signer.sign(&header.to_string(), &claims().to_string()), None).is_ok()
    };
    assert!(asks(json!("at+jwt")) && asks(json!("application/at+jwt")) && asks(json!("AT+JWT")));
    assert!(!asks(json!("JWT")) && !asks(json!("at+jwt ")) && !asks(Value::Null));
}

#[test]
fn t22_every_claim_is_required_and_of_its_type() {
    let (signer, callers) = one("ES256");
    let refused = |changes: Value| fault(&callers, &signer.token(&with(changes)));
    for claim in ["aud", "exp", "nbf"] {
        assert_eq!(refused(json!({claim: null})), Fault::ClaimMissing, "{claim}");
    }
    for time in [
        json!("1900000000"),
        json!(1.9e9),
        json!(-1),
        json!(1e300),
        json!(true),
        json!([NOW_S]),
        json!({"at": 1}),
        json!(253_402_300_800_u64),
        json!(u64::MAX),
    ] {
        for claim in ["exp", "nbf", "iat"] {
            // The library stumbles over some of them itself.
            assert!(matches!(refused(json!({claim: time})), Fault::ClaimMalformed | Fault::Malformed), "{claim} {time}");
        }
    }
    // Null is there, but is no time. (It cannot be written with `with`.)
    let null = claims().to_string().replace(&format!("\"exp\":{}", NOW_S + 300), "\"exp\":null");
    assert_eq!(fault(&callers, &signer.sign(r#"{"alg":"ES256","kid":"k1"}"#, &null)), Fault::ClaimMalformed);
    for (aud, expected) in [
        (json!("other"), Fault::Audience),
        (json!("Sudare"), Fault::Audience),
        (json!(["other"]), Fault::Audience),
        (json!([]), Fault::Audience),
        (json!(["sudare", 5]), Fault::ClaimMalformed),
        (json!(5), Fault::ClaimMalformed),
        (json!({"sudare": 1}), Fault::ClaimMalformed),
    ] {
        assert_eq!(refused(json!({"aud": aud})), expected, "{aud}");
    }
    assert!(ask(&callers, &signer.token(&with(json!({"aud": ["other", "sudare"]}))), None).is_ok());
    assert_eq!(refused(json!({"sub": null})), Fault::NoCaller);
    assert_eq!(refused(json!({"sub": "Helpdesk"})), Fault::NoCaller);
    assert!(matches!(refused(json!({"sub": ["helpdesk"]})), Fault::ClaimMalformed | Fault::Malformed));
    for (token, why) in [
        (r#"{"iss":"https://idp.example/","iss":"https://idp.example/"}"#, "iss"),
        (r#"{"iss":"https://other.example/","iss":"https://idp.example/"}"#, "iss, another first"),
        (r#"{"iss":"https://idp.example/","exp":1,"exp":1900000000}"#, "exp"),
        (r#"{"iss":"https://idp.example/","cnf":{"a":1,"a":2}}"#, "deep inside"),
        (r#"{"iss":"https://idp.example/"} "#, "not a fault, but without claims"),
    ] {
        let expected = if why.starts_with("not") { Fault::ClaimMissing } else { Fault::Malformed };
        assert_eq!(fault(&callers, &signer.sign(r#"{"alg":"ES256","kid":"k1"}"#, token)), expected, "{why}");
    }
}

#[test]
fn times_are_those_of_the_clock_that_is_handed_in() {
    let (signer, callers) = one("ES256");
    let ok = |changes: Value| ask(&callers, &signer.token(&with(changes)), None);
    let fault_of = |changes: Value| fault(&callers, &signer.token(&with(changes)));
    assert!(ok(json!({"exp": NOW_S - 29})).is_ok());
    assert_eq!(fault_of(json!({"exp": NOW_S - 30})), Fault::Expired);
    assert_eq!(fault_of(json!({"exp": 0})), Fault::Expired);
    assert!(ok(json!({"nbf": NOW_S + 30})).is_ok());
    assert_eq!(fault_of(json!({"nbf": NOW_S + 31})), Fault::NotYet);
    assert!(ok(json!({"iat": null})).is_ok() && ok(json!({"iat": NOW_S + 30})).is_ok());
    assert_eq!(fault_of(json!({"iat": NOW_S + 31})), Fault::NotYet);
    let short = callers_with(&key_set(&[&signer]), |issuer| issuer.max_lifetime_s = Some(310));
    assert!(ask(&short, &signer.token(&claims()), None).is_ok());
    assert_eq!(fault(&short, &signer.token(&with(json!({"exp": NOW_S + 301})))), Fault::Lifetime);
    assert_eq!(fault(&short, &signer.token(&with(json!({"iat": null, "nbf": 0})))), Fault::Lifetime);
    // A clock before 1970 knows no token.
    let early = Presented { token: Some(&signer.token(&claims())), now_ms: 0, ..Presented::default() };
    assert!(callers.identify(&early).is_err());
}

#[test]
fn t22_a_key_of_one_issuer_is_none_of_another() {
    let (ours, theirs) = (Signer::new("k1", "ES256"), Signer::new("k1", "ES256"));
    let other =
        Issuer { name: IssuerName::new("other"), issuer: "https://other.example/".into(), ..issuer_of(&key_set(&[&theirs])) };
    let callers = callers(vec![issuer_of(&key_set(&[&ours])), other]);
    assert_eq!(ask(&callers, &ours.token(&claims()), None).unwrap().name.as_str(), "helpdesk");
    let of_theirs = with(json!({"iss": "https://other.example/"}));
    assert_eq!(ask(&callers, &theirs.token(&of_theirs), None).unwrap().name.as_str(), "other");
    assert_eq!(fault(&callers, &theirs.token(&claims())), Fault::Signature);
    assert_eq!(fault(&callers, &ours.token(&of_theirs)), Fault::Signature);
}

#[test]
fn t22_bytes_that_are_not_quite_a_token() {
    let (signer, callers) = one("ES256");
    let good = signer.token(&claims());
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let raw = crate::crypto::from_base64url(signature.as_bytes()).unwrap();
    let (r, s) = raw.split_at(32);
    let asn1 = |number: &[u8]| {
        let sign = if number[0] & 0x80 == 0 { vec![] } else { vec![0] };
        [vec![2, u8::try_from(number.len() + sign.len()).unwrap()], sign, number.to_vec()].concat()
    };
    let body = [asn1(r), asn1(s)].concat();
    let in_der = [vec![0x30, u8::try_from(body.len()).unwrap()], body].concat();
    let (most, last) = signature.split_at(signature.len() - 1);
    // 64 bytes end in a character with four bits that say nothing; another one there would be another spelling of the same bytes.
    let spelled = format!("{most}{}", char::from(last.as_bytes()[0] + 1));
    for (token, why) in [
        (format!("{good}."), "a dot more"),
        (format!("{good}.AAAA"), "a part more"),
        (format!("{good}="), "padding"),
        (format!("{good}=="), "padding"),
        (format!("{header}.{payload}.{spelled}"), "bits behind the end"),
        (format!("{header}.{payload}."), "no signature"),
        (format!("{header}.{payload}"), "no signature at all"),
        (format!("{header}.{payload}.{}", b64(&raw[..63])), "cut off"),
        (format!("{header}.{payload}.{}", b64(&[&raw[..], &[0]].concat())), "a byte more"),
        (format!("{header}.{payload}.{}", b64(&[0; 64])), "r = s = 0"),
        (format!("{header}.{payload}.{}", b64(&in_der)), "as ASN.1"),
        (format!("{header}.{payload}.{signature} "), "a space"),
        (format!("{header}.{payload}.\n{signature}"), "a line end"),
        (format!("{header} .{payload}.{signature}"), "a space inside"),
        (format!("{header}=.{payload}.{signature}"), "padding of the header"),
        (format!("{payload}.{payload}.{signature}"), "no header"),
        (format!(".{payload}.{signature}"), "an empty header"),
        (format!("{header}.{header}.{payload}.{signature}"), "four parts"),
        (format!("{header}..{payload}.{signature}.{signature}"), "a JWE"),
        (format!("{header}.{payload}=.{signature}"), "padding of the claims"),
        (format!("{header}.{}.{signature}", b64(format!("{} ", claims()).as_bytes())), "other claims"),
        (format!("{header}.{}.{signature}", b64(good.as_bytes())), "a token inside"),
        (String::new(), "nothing"),
        ("..".to_owned(), "dots"),
    ] {
        assert!(ask(&callers, &token, None).is_err(), "{why}");
    }
    for at in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(ask(&callers, &String::from_utf8(bytes).unwrap(), None).is_err(), "byte {at}");
    }
    let long = signer.token(&with(json!({"more": "x".repeat(9000)})));
    assert_eq!(fault(&callers, &long), Fault::TooLong);
    let deep = format!(r#"{{"iss":"{ISS}","deep":{}}}"#, "[".repeat(3000));
    assert!(ask(&callers, &signer.sign(r#"{"alg":"ES256","kid":"k1"}"#, &deep), None).is_err());
    assert!(ask(&callers, &good, None).is_ok(), "and this one is right");
}

#[test]
fn tokens_bound_to_a_certificate_need_that_certificate() {
    let signer = Signer::new("k1", "ES256");
    let certificate = Certificate { spiffe: None, subject: None, sha256: [7; 32] };
    let other = Certificate { sha256: [8; 32], ..certificate.clone() };
    let bound = signer.token(&with(json!({"cnf": {"x5t#S256": b64(&[7; 32])}})));
    let unbound = signer.token(&claims());
    let optional = callers_with(&key_set(&[&signer]), |_| {});
    let required = callers_with(&key_set(&[&signer]), |issuer| issuer.bound = Bound::Required);
    let fault_of = |callers: &Callers, token: &str, certificate: Option<&Certificate>| match ask(callers, token, certificate) {
        Ok(_) => None,
        Err(Unknown::Token { fault, .. }) => Some(fault),
        Err(other) => panic!("{other:?}"),
    };
    for callers in [&optional, &required] {
        assert_eq!(fault_of(callers, &bound, Some(&certificate)), None);
        assert_eq!(fault_of(callers, &bound, Some(&other)), Some(Fault::Certificate));
        assert_eq!(fault_of(callers, &bound, None), Some(Fault::Certificate));
    }
    assert_eq!(fault_of(&optional, &unbound, Some(&certificate)), None);
    assert_eq!(fault_of(&required, &unbound, Some(&certificate)), Some(Fault::NotBound));
    for (confirmation, expected) in [
        (json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}), Fault::Confirmation),
        (json!({"x5t#S256": b64(&[7; 32]), "jkt": "x"}), Fault::Confirmation),
        (json!({"x5t": "x"}), Fault::Confirmation),
        (json!({}), Fault::Confirmation),
        (json!({"x5t#S256": 5}), Fault::ClaimMalformed),
        (json!({"x5t#S256": ""}), Fault::Certificate),
        (json!({"x5t#S256": format!("{}=", b64(&[7; 32]))}), Fault::Certificate),
        (json!("x"), Fault::ClaimMalformed),
    ] {
        let token = signer.token(&with(json!({"cnf": confirmation})));
        assert_eq!(fault_of(&optional, &token, Some(&certificate)), Some(expected), "{confirmation}");
    }
}

#[test]
fn purposes_of_a_token() {
    let signer = Signer::new("k1", "ES256");
    let named = |callers: &Callers, changes: Value| -> Result<Option<Vec<String>>, Fault> {
        match ask(callers, &signer.token(&with(changes)), None) {
            Ok(caller) => Ok(caller.vouched.unwrap().purposes().map(|list| list.iter().map(ToString::to_string).collect())),
            Err(Unknown::Token { fault, .. }) => Err(fault),
            Err(other) => panic!("{other:?}"),
        }
    };
    let strict = callers_with(&key_set(&[&signer]), |_| {});
    let lax = callers_with(&key_set(&[&signer]), |issuer| issuer.unnamed = Unnamed::FromPolicy);
    let ours = |purposes: Value| json!({"type": "sudare_purpose", "purposes": purposes});
    for (changes, expected) in [
        (json!({"purpose": "support"}), vec!["support"]),
        (json!({"purpose": ["support", "delivery", "support"]}), vec!["support", "delivery"]),
        (json!({"purpose": []}), vec![]),
        (
            json!({"purpose": null, "scope": "openid dpv:CustomerCare profile dpv:DeliveryOfGoods"}),
            vec!["dpv:CustomerCare", "dpv:DeliveryOfGoods"],
        ),
        (json!({"purpose": null, "scp": ["dpv:CustomerCare", "support"]}), vec!["dpv:CustomerCare"]),
        (json!({"purpose": "support", "scope": "dpv:Marketing"}), vec!["support", "dpv:Marketing"]),
        (
            json!({"purpose": null, "authorization_details": [{"type": "other", "purposes": 5}, ours(json!(["support"]))]}),
            vec!["support"],
        ),
        (json!({"purpose": null, "authorization_details": [ours(json!([]))]}), vec![]),
    ] {
        for callers in [&strict, &lax] {
            assert_eq!(named(callers, changes.clone()).unwrap().unwrap(), expected, "{changes}");
        }
    }
    for silent in
        [json!({"purpose": null}), json!({"purpose": null, "scope": "openid support", "authorization_details": [{"type": "x"}]})]
    {
        assert_eq!(named(&strict, silent.clone()), Ok(Some(vec![])), "{silent}");
        assert_eq!(named(&lax, silent.clone()), Ok(None), "{silent}");
    }
    for wrong in [
        json!({"purpose": 5}),
        json!({"purpose": ["support", 5]}),
        json!({"purpose": {"support": true}}),
        json!({"scope": 5}),
        json!({"authorization_details": {}}),
        json!({"authorization_details": [ours(json!("support"))]}),
        json!({"authorization_details": [{"type": "sudare_purpose"}]}),
        json!({"authorization_details": [{"type": "sudare_purpose", "purposes": ["support"], "locations": ["https://x"]}]}),
    ] {
        assert_eq!(named(&strict, wrong.clone()), Err(Fault::ClaimMalformed), "{wrong}");
        assert_eq!(named(&lax, wrong.clone()), Err(Fault::ClaimMalformed), "{wrong}");
    }
}

#[test]
fn which_bearer_is_ours() {
    let (signer, callers) = one("ES256");
    let token = signer.token(&claims());
    let ours = |header: &str| callers.token_in(header.as_bytes()).map(str::to_owned);
    for header in [format!("Bearer {token}"), format!("bearer {token}"), format!("BEARER   {token} "), format!(" Bearer {token}")]
    {
        assert_eq!(ours(&header).as_deref(), Some(token.as_str()), "{header}");
    }
    let expired = signer.token(&with(json!({"exp": 1})));
    assert!(ours(&format!("Bearer {expired}")).is_some(), "nothing is verified yet");
    let twice = signer.sign("{}", r#"{"iss":"https://idp.example/","iss":"https://other.example/"}"#);
    assert!(ours(&format!("Bearer {twice}")).is_some());
    let others = signer.token(&with(json!({"iss": "https://other.example/"})));
    for header in [
        format!("Bearer {others}"),
        format!("Basic {token}"),
        token.clone(),
        "Bearer opaque".to_owned(),
        "Bearer".to_owned(),
        String::new(),
    ] {
        assert_eq!(ours(&header), None, "{header}");
    }
    assert_eq!(ask(&callers, &others, None), Err(Unknown::None));
    assert!(!Callers::default().take_tokens() && callers.take_tokens());
    let both = Presented { credentials: &[b"helpdesk.x"], token: Some(&token), now_ms: NOW_S * 1000, ..Presented::default() };
    assert_eq!(callers.identify(&both), Err(Unknown::Both));
    let uid = Callers::with_issuers(
        vec![(CallerName::new("helpdesk"), known_by("idp", "helpdesk")), (CallerName::new("local"), Means::Uid(7))],
        vec![issuer_of(&key_set(&[&signer]))],
    );
    let uid = uid.unwrap();
    let bad = Presented { uid: Some(7), token: Some(&expired), now_ms: NOW_S * 1000, ..Presented::default() };
    assert!(matches!(uid.identify(&bad), Err(Unknown::Token { fault: Fault::Expired, .. })), "not made good by the uid");
}

#[test]
fn t19_what_a_token_vouched_for_ends_with_its_time_its_key_and_its_caller() {
    let (signer, next) = (Signer::new("k1", "ES256"), Signer::new("k2", "ES256"));
    let issuer = issuer_of(&key_set(&[&signer]));
    let keys = Arc::clone(&issuer.keys);
    let ours = callers(vec![issuer.clone()]);
    let caller = ask(&ours, &signer.token(&claims()), None).unwrap();
    let later = |seconds: u64| (NOW_S + seconds) * 1000;
    assert!(ours.still_know(&caller, later(0)) && ours.still_know(&caller, later(330) - 1));
    assert!(!ours.still_know(&caller, later(330)));
    let set = |signers: &[&Signer]| Some(Arc::new(KeySet::parse(key_set(signers).as_bytes(), &ALL).unwrap()));
    keys.replace(set(&[&next, &signer]));
    assert!(ours.still_know(&caller, later(0)), "a key was added");
    keys.replace(set(&[&next]));
    assert!(!ours.still_know(&caller, later(0)), "its key was withdrawn");
    let impostor = Signer::new("k1", "ES256");
    keys.replace(set(&[&impostor]));
    assert!(!ours.still_know(&caller, later(0)), "another key took its name");
    keys.replace(None);
    assert!(!ours.still_know(&caller, later(0)), "its keys became too old");
    assert_eq!(fault(&ours, &signer.token(&claims())), Fault::NoKeys);
    keys.replace(set(&[&signer]));
    assert!(ours.still_know(&caller, later(0)));
    let renamed = Callers::with_issuers(vec![(CallerName::new("helpdesk"), known_by("idp", "somebody"))], vec![issuer]).unwrap();
    assert!(!renamed.still_know(&caller, later(0)), "the caller is known by another value now");
    assert!(!Callers::default().still_know(&caller, later(0)));
}

#[test]
fn callers_that_one_token_could_name_are_refused() {
    let signer = Signer::new("k1", "ES256");
    let issuer = || vec![issuer_of(&key_set(&[&signer]))];
    let name = CallerName::new;
    let token =
        |claim: &str, equals: &str| Means::Token { issuer: IssuerName::new("idp"), claim: claim.into(), equals: equals.into() };
    let pair = |a, b| Callers::with_issuers(vec![(name("a"), a), (name("b"), b)], issuer()).map(drop);
    assert_eq!(pair(token("sub", "x"), token("sub", "y")), Ok(()));
    assert_eq!(pair(token("sub", "x"), token("sub", "x")), Err(Same(name("a"), name("b"))));
    assert_eq!(pair(token("sub", "x"), token("client_id", "y")), Err(Same(name("a"), name("b"))));
    assert_eq!(Callers::new(vec![(name("a"), token("sub", "x"))]).map(drop), Err(NoIssuer(name("a"))));
}

#[test]
fn t13_nothing_of_a_token_is_shown() {
    let (signer, callers) = one("ES256");
    let token = signer.token(&with(json!({"sub": "helpdesk", "canary": "kanarie-0001"})));
    let caller = ask(&callers, &token, None).unwrap();
    let refused = ask(&callers, &signer.token(&with(json!({"sub": "kanarie-0001"}))), None).unwrap_err();
    let shown = format!("{caller:?} {refused:?} {refused} {callers:?}");
    assert!(!shown.contains("kanarie") && !shown.contains("eyJ"), "{shown}");
}
