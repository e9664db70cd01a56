//! A first implementation over `serde_json::Value`, kept only to be measured against.

use serde_json::Value;
use sudare::base::{Bind, Kid, enc};
use sudare::crypto::{base64url, from_base64url, random};
use sudare::field::Field;
use sudare::keys::FieldKey;
use sudare::purpose::Permit;

use super::Scene;

/// The same with a `Value` in between, as one would write it first: kept only to be measured against. Seals with our cryptography, in our
/// format, with one draw of randomness a document; checks nothing that [`Scene::protect`] checks (duplicate names, permission, misfits).
pub(crate) struct Baseline<'s> {
    scene: &'s Scene,
    stored: Vec<u8>,
}

impl<'s> Baseline<'s> {
    pub(crate) fn new(scene: &'s Scene) -> Self {
        let mut baseline = Self { scene, stored: Vec::new() };
        baseline.stored = baseline.protect();
        // Members come back in the order of a `Value`, not in that of the document.
        assert_eq!(baseline.reveal(), scene.round_trip());
        baseline
    }

    fn aad(field: &Field, key: &FieldKey, id: &str) -> Vec<u8> {
        let place = &field.place;
        let names = [place.controller.as_str(), place.collection.as_str(), place.field.as_str()].map(str::as_bytes);
        let [controller, collection, name] = names;
        enc(&[b"sdr1", b"x", key.kid.as_bytes(), controller, collection, name, &[Bind::Subject.byte()], id.as_bytes()])
    }

    pub(crate) fn protect(&self) -> Vec<u8> {
        let mut value: Value = serde_json::from_slice(&self.scene.clear).unwrap();
        let nonce: [u8; 24] = random().unwrap();
        let (prefix, suffix) = nonce.split_first_chunk::<12>().unwrap();
        let mut suffix: [u8; 12] = suffix.try_into().unwrap();
        let id = value["id"].as_str().unwrap().to_owned();
        for field in &self.scene.collection.fields {
            let Some(member) = value.get_mut(field.name.as_str()) else { continue };
            let key = self.scene.ring.main().seal_key(&field.place).unwrap();
            let mut text = serde_json::to_vec(member).unwrap();
            text.resize(text.len().next_multiple_of(32), b' ');
            suffix[11] = suffix[11].wrapping_add(1);
            let tag = key.xaes.row_key(prefix).seal_in_place(&suffix, &Self::aad(field, &key, &id), &mut text).unwrap();
            let payload = [&[Bind::Subject.byte()][..], &prefix[..], &suffix[..], &text[..], &tag[..]].concat();
            *member = Value::String(format!("sdr1.x.{}.{}", key.kid, base64url(&payload)));
        }
        serde_json::to_vec(&value).unwrap()
    }

    pub(crate) fn reveal(&self) -> Vec<u8> {
        let mut value: Value = serde_json::from_slice(&self.stored).unwrap();
        let id = value["id"].as_str().unwrap().to_owned();
        for field in &self.scene.collection.fields {
            let Some(member) = value.get_mut(field.name.as_str()) else { continue };
            let (head, payload) = member.as_str().unwrap().rsplit_once('.').unwrap();
            let kid = Kid::from_text(head.rsplit_once('.').unwrap().1.as_bytes()).unwrap();
            let key = self.scene.ring.main().open_key(kid, &field.place, Permit::Reveal(&self.scene.grant)).unwrap();
            let mut payload = from_base64url(payload.as_bytes()).unwrap();
            let (head, sealed) = payload.split_first_chunk_mut::<25>().unwrap();
            let prefix = head[1..13].first_chunk::<12>().unwrap();
            let suffix = head[13..].first_chunk::<12>().unwrap();
            let opened = key.xaes.row_key(prefix).open_in_place(suffix, &Self::aad(field, &key, &id), sealed).unwrap();
            *member = serde_json::from_slice(opened).unwrap();
        }
        serde_json::to_vec(&value).unwrap()
    }
}
