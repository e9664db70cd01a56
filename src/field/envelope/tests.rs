//! That this release writes exactly what the golden vectors say; `tests/vectors.rs` opens them from outside.

use super::*;
use crate::base::{CollectionName, Controller, FieldName};
use crate::crypto::{Secret, XaesKey, hkdf};

fn text<'a>(vector: &'a serde_json::Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap()
}

fn hex<const N: usize>(text: &str) -> [u8; N] {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap()
}

#[test]
fn golden_vectors_are_written_the_same_way() {
    let file: serde_json::Value = serde_json::from_str(include_str!("../../../tests/vectors/v1/envelope-x.json")).unwrap();
    let secret: [u8; 32] = hex(text(&file, "version_secret_hex"));
    let kid: Kid = text(&file, "kid").parse().unwrap();
    let vectors = file["opens"].as_array().unwrap();
    assert!(vectors.len() >= 18);
    for vector in vectors {
        let names = ["controller", "collection", "field"].map(|name| text(vector, name));
        let place = FieldPlace {
            controller: Controller::new(names[0]),
            collection: CollectionName::new(names[1]),
            field: FieldName::new(names[2]),
        };
        let label = ["sudare/v1", "seal", names[0], names[1], names[2]].map(str::as_bytes);
        let key = XaesKey::new(&hkdf(&Secret::from_bytes(secret), &enc(&label)));
        let bind =
            *[Bind::Field, Bind::Subject, Bind::Document].iter().find(|bind| bind.as_str() == text(vector, "bind")).unwrap();
        let nonce: [u8; 24] = hex(text(vector, "nonce_hex"));
        let (prefix, suffix) = (nonce[..12].try_into().unwrap(), nonce[12..].try_into().unwrap());
        let context = Context::new(&place, bind);
        let (mut aad, mut room, mut out) = (Vec::new(), Vec::new(), b"before ".to_vec());
        let aad = context.aad(kid, vector["id"].as_str().unwrap_or_default(), &mut aad);
        let pad = u16::try_from(vector["pad"].as_u64().unwrap()).unwrap();
        let json = text(vector, "json").as_bytes();
        write(&key.row_key(&prefix), kid, bind, (&prefix, &suffix), aad, json, pad, &mut room, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!("before \"{}\"", text(vector, "envelope")),
            "{}",
            text(vector, "name")
        );
    }
}

#[test]
fn context_is_the_encoding_of_its_parts() {
    let place = FieldPlace {
        controller: Controller::new("shop"),
        collection: CollectionName::new("customers"),
        field: FieldName::new("name"),
    };
    let mut room = b"old".to_vec();
    let kid = Kid::from_text(b"7k3m9qpa").unwrap();
    assert_eq!(
        Context::new(&place, Bind::Subject).aad(kid, "c-1", &mut room),
        enc(&[b"sdr1", b"x", b"7k3m9qpa", b"shop", b"customers", b"name", &[1], b"c-1"])
    );
    assert_eq!(
        Context::new(&place, Bind::Field).aad(kid, "", &mut room),
        enc(&[b"sdr1", b"x", b"7k3m9qpa", b"shop", b"customers", b"name", &[0], b""])
    );
}

#[test]
fn suites_of_other_releases_are_named_as_such() {
    let parse = |text: &str| Envelope::parse(text).map(|envelope| envelope.kid.to_string());
    assert_eq!(parse("sdr1.x.7k3m9qpa.AAAA"), Ok("7k3m9qpa".to_string()));
    assert_eq!(Envelope::parse("sdr1.d.7k3m9qpa.AAAA").unwrap().suite, Suite::D);
    for suite in ["xs", "y", "X", "D", "dx"] {
        assert_eq!(parse(&format!("sdr1.{suite}.7k3m9qpa.AAAA")), Err(EnvelopeError::Suite), "{suite}");
    }
    for wrong in
        ["", "sdr1", "sdr1.", "sdr1.x", "sdr1.x.7k3m9qpa", "sdr1..7k3m9qpa.AAAA", "sdr2.x.7k3m9qpa.AAAA", "sdr1.x.7K3M9QPA.AAAA"]
    {
        assert_eq!(parse(wrong), Err(EnvelopeError::Malformed), "{wrong}");
    }
}

#[test]
fn a_changed_bind_is_told_apart_before_any_key_is_tried() {
    let text = format!("sdr1.x.7k3m9qpa.{}", crate::crypto::base64url(&[1; 41]));
    let decode = |bind| Envelope::parse(&text).unwrap().decode(bind, &mut Vec::new()).map(|_| ());
    assert_eq!(decode(Bind::Subject), Ok(()));
    assert_eq!(decode(Bind::Field), Err(EnvelopeError::Bind));
    assert_eq!(decode(Bind::Document), Err(EnvelopeError::Bind));
}

/// The same bytes under another id are another key: a tool that mixed them up must not be told that all is well.
#[test]
fn a_key_of_another_id_opens_nothing() {
    let place = FieldPlace {
        controller: Controller::new("shop"),
        collection: CollectionName::new("customers"),
        field: FieldName::new("name"),
    };
    let key = |kid: &str| FieldKey { kid: kid.parse().unwrap(), xaes: XaesKey::new(&Secret::from_bytes([1; 32])) };
    let (right, wrong) = (key("7k3m9qpa"), key("7k3m9qpb"));
    let (mut aad, mut room, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let context = Context::new(&place, Bind::Field);
    let aad = context.aad(right.kid, "", &mut aad);
    let row = right.xaes.row_key(&[2; 12]);
    write(&row, right.kid, Bind::Field, (&[2; 12], &[3; 12]), aad, b"\"x\"", 0, &mut room, &mut out).unwrap();
    let text: String = serde_json::from_slice(&out).unwrap();
    assert_eq!(open_envelope(&right, &place, Bind::Field, None, &text).unwrap(), b"\"x\"");
    assert_eq!(open_envelope(&wrong, &place, Bind::Field, None, &text), Err(OpenError));
}

/// Padding is spaces and nothing else.
#[test]
fn only_spaces_are_padding() {
    let place = FieldPlace {
        controller: Controller::new("shop"),
        collection: CollectionName::new("customers"),
        field: FieldName::new("name"),
    };
    let key = FieldKey { kid: "7k3m9qpa".parse().unwrap(), xaes: XaesKey::new(&Secret::from_bytes([1; 32])) };
    let context = Context::new(&place, Bind::Field);
    for (sealed, opens) in [("17", true), ("17  ", true), ("17\n", false), ("17\t ", false), ("17 \x0c", false), (" 17", false)] {
        let (mut aad, mut room, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let aad = context.aad(key.kid, "", &mut aad);
        let row = key.xaes.row_key(&[2; 12]);
        write(&row, key.kid, Bind::Field, (&[2; 12], &[3; 12]), aad, sealed.as_bytes(), 0, &mut room, &mut out).unwrap();
        let text: String = serde_json::from_slice(&out).unwrap();
        let opened = open_envelope(&key, &place, Bind::Field, None, &text);
        assert_eq!(opened.ok().as_deref(), opens.then_some(&b"17"[..]), "{sealed:?}");
    }
}
