//! Envelopes: one spelling each, and none that opens but the ones we wrote.

use std::sync::LazyLock;

use data_encoding::BASE64URL_NOPAD;
use sudare::base::{Bind, Kid, RecordId, enc};
use sudare::crypto::{Secret, XaesKey, hkdf};
use sudare::document::{Rules, walk};
use sudare::field::{Plan, open_envelope};
use sudare::keys::FieldKey;
use sudare::purpose::Level;

use super::scene::{COLLECTION, CONTROLLER, KID, SEAL_SECRET, Scene, place};

/// `"canary-1"` as field 0 of the document `c-1`.
const GENUINE: &str =
    "sdr1.x.7k3m9qpa.AQKzjv6S92tHBgsmfUI-NrKIv24DCM1CEAToaeklyZs5_XodeSaYVrkQssV0VS_aC5fzgo3EHDsWTz8rKUPFzeB2R7eLYYAP3g";

struct Stage {
    scene: Scene,
    plan: Plan,
    key: FieldKey,
}

// The ring inside caches subkeys and is shared freely.
static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let scene = Scene::read("f=$.name").unwrap();
    let plan = scene.plan().unwrap();
    let parts = ["sudare/v1", "seal", CONTROLLER, COLLECTION, "field-0"].map(str::as_bytes);
    let subkey = hkdf(&Secret::from_bytes(SEAL_SECRET), &enc(&parts));
    Stage { scene, plan, key: FieldKey { kid: KID.parse().unwrap(), xaes: XaesKey::new(&subkey) } }
});

impl Stage {
    /// What a reply shows of the text as a stored value, at one level.
    fn shown(&self, text: &str, level: Level) -> Option<Vec<u8>> {
        let body = format!("{{\"id\":\"c-1\",\"name\":{}}}", serde_json::to_string(text).unwrap());
        self.scene.reveal(&self.plan, body.as_bytes(), &[level; 6]).expect("JSON").ok().map(|shown| shown.bytes)
    }

    /// The value, if the text opens at its place; every way of opening must agree.
    fn opened(&self, text: &str) -> Option<Vec<u8>> {
        let id = RecordId::from_text("c-1").unwrap();
        let opened = open_envelope(&self.key, &place("field-0"), Bind::Subject, Some(&id), text).ok();
        let expected = opened.as_ref().map(|value| [b"{\"id\":\"c-1\",\"name\":", value.as_slice(), b"}"].concat());
        assert_eq!(self.shown(text, Level::Clear), expected);
        opened
    }

    /// True if it may be stored as it is; false if it is sealed like any other text, or refused.
    fn is_kept(&self, text: &str) -> bool {
        let body = format!("{{\"id\":\"c-1\",\"name\":{}}}", serde_json::to_string(text).unwrap());
        let layout = walk(&self.plan.map, Rules::request(), body.as_bytes()).unwrap();
        self.scene.protect(&self.plan, body.as_bytes(), &layout).is_ok_and(|stored| stored.body.into_bytes() == body)
    }
}

/// Input: a text as a stored value. One that does not begin with `sdr1.` is also a list of edits to a genuine envelope, two bytes each:
/// place, character.
pub fn envelope(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let stage = &*STAGE;
    check_spelling(stage, text);
    if input.len() <= 64 && !text.starts_with("sdr1.") {
        let mut changed = GENUINE.as_bytes().to_vec();
        for edit in input.as_chunks::<2>().0 {
            let place = usize::from(edit[0]) % changed.len();
            changed[place] = edit[1] & 0x7f;
        }
        check_spelling(stage, std::str::from_utf8(&changed).unwrap());
    }
}

fn check_spelling(stage: &Stage, text: &str) {
    let opened = stage.opened(text);
    assert_eq!(opened.is_some(), text == GENUINE, "only what we wrote opens");
    assert_eq!(stage.is_kept(text), text == GENUINE, "only what we wrote is kept");
    assert!(opened.is_none_or(|value| value == b"\"canary-1\""));
    // Shown sealed means spelled as an envelope; read by other code and written again it is the same.
    if stage.shown(text, Level::Sealed).is_some() {
        let [prefix, suite, kid, payload] = text.split('.').collect::<Vec<_>>()[..] else { panic!("not four parts") };
        let kid: Kid = kid.parse().expect("a key id");
        let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).expect("base64url in its one spelling");
        assert!(prefix == "sdr1" && suite == "x" && payload.len() >= 1 + 24 + 16 && payload[0] == 1);
        assert_eq!(format!("sdr1.x.{kid}.{}", BASE64URL_NOPAD.encode(&payload)), text);
    }
}
