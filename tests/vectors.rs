//! Golden vectors: what an earlier release stored or showed, this release opens and shows; what was refused stays refused.
//!
//! The files in `tests/vectors/v1` were computed apart from this code (HKDF, AES, AES-GCM and AES-SIV of other libraries) and are never edited: stored
//! data cannot be taken back. A new format gets a new file. `docs/format.md` says what they mean.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a vector that does not read is a failed test")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use serde::Deserialize;
use sudare::base::{
    Bind, CallerName, CategoryName, CollectionName, Controller, FieldName, FieldPlace, Intent, Kid, PurposeName, RecordId,
    RingName, enc,
};
use sudare::crypto::{MacKey, Secret, SivKey, XaesKey, base32_crockford, hkdf};
use sudare::document::{RowSet, Rules, Selector, walk};
use sudare::field::{
    Collection, Field, Index, Mask, OnBadValue, Plan, Protection, RevealError, RowWrite, Subject, open_deterministic_envelope,
    open_envelope, protect, reveal,
};
use sudare::keys::kek::provider::{Binding, Wrapped};
use sudare::keys::{self, Config, FieldKey, Kek, KeyRing, LineName, LookupKey, Rings, Standing, State};
use sudare::normalise::Normaliser;
use sudare::purpose::{CategoryId, CategorySpec, Collects, Grant, Level, Nature, Policy, PolicySpec, PurposeSpec, Terms};

#[derive(Deserialize)]
struct Envelopes {
    kid: String,
    version_secret_hex: String,
    opens: Vec<Sealed>,
    refused: Vec<Sealed>,
}

#[derive(Deserialize)]
struct Sealed {
    name: String,
    controller: String,
    collection: String,
    field: String,
    bind: String,
    id: Option<String>,
    envelope: String,
    /// What opens; not in refused ones.
    json: Option<String>,
}

#[derive(Deserialize)]
struct Deterministic {
    kid: String,
    version_secret_hex: String,
    opens: Vec<Stored>,
    refused: Vec<Stored>,
}

#[derive(Deserialize)]
struct Stored {
    name: String,
    controller: String,
    collection: String,
    field: String,
    envelope: String,
    /// What was written, and what opens; not in refused ones.
    sent: Option<String>,
    json: Option<String>,
}

#[derive(Deserialize)]
struct Pseudonyms {
    controller: String,
    version_secret_hex: String,
    #[serde(rename = "pseudonyms")]
    list: Vec<Shown>,
}

#[derive(Deserialize)]
struct Shown {
    name: String,
    scope: String,
    field: String,
    json: String,
    #[serde(rename = "pseudonym")]
    expected: String,
}

fn secret(hex: &str) -> [u8; 32] {
    HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
}

fn envelopes() -> Envelopes {
    serde_json::from_str(include_str!("vectors/v1/envelope-x.json")).unwrap()
}

impl Sealed {
    fn bind(&self) -> Bind {
        *[Bind::Field, Bind::Subject, Bind::Document].iter().find(|bind| bind.as_str() == self.bind).unwrap()
    }

    fn place(&self) -> FieldPlace {
        FieldPlace {
            controller: Controller::new(&self.controller),
            collection: CollectionName::new(&self.collection),
            field: FieldName::new(&self.field),
        }
    }

    /// Opens with a key derived here, step by step as the format says.
    fn open(&self, of: &Envelopes) -> Option<String> {
        let parts = ["sudare/v1", "seal", &self.controller, &self.collection, &self.field].map(str::as_bytes);
        let subkey = hkdf(&Secret::from_bytes(secret(&of.version_secret_hex)), &enc(&parts));
        let key = FieldKey { kid: of.kid.parse().unwrap(), xaes: XaesKey::new(&subkey) };
        let id = self.id.as_deref().map(|id| RecordId::from_text(id).unwrap());
        let opened = open_envelope(&key, &self.place(), self.bind(), id.as_ref(), &self.envelope).ok()?;
        Some(String::from_utf8(opened).unwrap())
    }

    /// Opens the way a reply is revealed, with a ring's own derivation.
    fn reveal(&self, of: &Envelopes) -> Result<String, RevealError> {
        let kid: Kid = of.kid.parse().unwrap();
        let versions = vec![(LineName::Seal, kid, State::Active, secret(&of.version_secret_hex))];
        let ring = KeyRing::with_versions(Controller::new(&self.controller), versions).into();
        let value = serde_json::to_string(&self.envelope).unwrap();
        reveal_one(&ring, &collection(self.place(), self.bind(), true), &grant("view", Level::Clear), self.id.as_deref(), &value)
    }
}

impl Stored {
    fn place(&self) -> FieldPlace {
        FieldPlace {
            controller: Controller::new(&self.controller),
            collection: CollectionName::new(&self.collection),
            field: FieldName::new(&self.field),
        }
    }

    /// The field is deterministic; its collection binds to the data subject, which must not matter.
    fn collection(&self) -> Collection {
        let mut collection = collection(self.place(), Bind::Subject, true);
        collection.fields.iter_mut().for_each(|field| {
            field.protection = Protection::Deterministic;
            field.seal_null = false;
        });
        collection
    }

    fn ring(&self, of: &Deterministic) -> Rings {
        let versions = vec![(LineName::Lookup, of.kid.parse().unwrap(), State::Active, secret(&of.version_secret_hex))];
        KeyRing::with_versions(Controller::new(&self.controller), versions).into()
    }

    /// Opens with a key derived here, step by step as the format says.
    fn open(&self, of: &Deterministic) -> Option<String> {
        let parts = ["sudare/v1", "deterministic", &self.controller, &self.collection, &self.field].map(str::as_bytes);
        let siv = SivKey::derive(&Secret::from_bytes(secret(&of.version_secret_hex)), &enc(&parts));
        let key = LookupKey { kid: of.kid.parse().unwrap(), siv };
        let opened = open_deterministic_envelope(&key, &self.place(), &self.envelope).ok()?;
        Some(String::from_utf8(opened).unwrap())
    }

    /// Opens the way a reply is revealed, in a document of any id.
    fn reveal(&self, of: &Deterministic, id: Option<&str>) -> Result<String, RevealError> {
        let value = serde_json::to_string(&self.envelope).unwrap();
        reveal_one(&self.ring(of), &self.collection(), &grant("view", Level::Clear), id, &value)
    }

    /// Stores what was sent the way a request is protected.
    fn store(&self, of: &Deterministic) -> String {
        let collection = self.collection();
        let rows = RowSet { rows: vec![Selector::parse("$").unwrap()], ..RowSet::default() };
        let plan = Plan::compile(&collection, &rows).unwrap();
        let body = Bytes::from(format!("{{\"value\":{}}}", self.sent.as_deref().unwrap()));
        let layout = walk(&plan.map, Rules::request(), &body).unwrap();
        let rows = [RowWrite { intent: Intent::Create, assigned_id: None }];
        let grant = grant("view", Level::Clear);
        let stored = protect(&collection, &plan, &self.ring(of), &grant, &body, &layout, &rows, None, "id").unwrap();
        let stored: serde_json::Value = serde_json::from_slice(&stored.body.into_bytes()).unwrap();
        stored.get("value").and_then(serde_json::Value::as_str).unwrap().to_string()
    }
}

fn collection(place: FieldPlace, bind: Bind, strict: bool) -> Collection {
    let field = Field {
        name: place.field.clone(),
        at: Selector::parse("$.value").unwrap(),
        place: place.clone(),
        ring: RingName::main(),
        category: CategoryId(0),
        category_name: CategoryName::new("name"),
        protection: Protection::Seal,
        mask: Mask::All,
        generalise: None,
        pad: 0,
        seal_null: true,
        subject: None,
        indexes: Vec::new(),
    };
    Collection {
        name: place.collection,
        bind,
        strict,
        on_bad_value: OnBadValue::Refuse,
        id: Selector::parse("$.id").unwrap(),
        subject: Subject::DocumentId,
        fields: vec![field],
    }
}

fn grant(purpose: &str, level: Level) -> Grant {
    let caller = CallerName::new("tester");
    let category = CategorySpec {
        name: CategoryName::new("name"),
        line: 1,
        dpv: "pd:Name".to_string(),
        nature: Nature::Identifying,
        mask: None,
        generalise: None,
        clauses: vec![],
    };
    let purpose = PurposeSpec {
        name: PurposeName::new(purpose),
        line: 1,
        dpv: None,
        basis: None,
        callers: vec![caller.clone()],
        reveal: vec![(CategoryName::new("name"), level, 1)],
        reveal_line: 1,
        writes: None,
        writes_line: 1,
        search: Vec::new(),
        search_line: 0,
        delete: false,
        terms: Terms::default(),
        collects: Collects::default(),
        clauses: vec![],
    };
    let spec = PolicySpec {
        id: "vectors".to_string(),
        version: 1,
        categories: vec![category],
        purposes: vec![purpose],
        ..PolicySpec::default()
    };
    Policy::compile(spec).unwrap().decide(&caller, None, 0).unwrap()
}

/// The shown JSON text of the one value of a document.
fn reveal_one(
    ring: &Rings,
    collection: &Collection,
    grant: &Grant,
    id: Option<&str>,
    value: &str,
) -> Result<String, RevealError> {
    let rows = RowSet { rows: vec![Selector::parse("$").unwrap()], ..RowSet::default() };
    let plan = Plan::compile(collection, &rows).unwrap();
    let id = id.map_or_else(|| "null".to_string(), |id| serde_json::to_string(id).unwrap());
    let head = format!("{{\"id\":{id},\"value\":");
    let body = format!("{head}{value}}}");
    let layout = walk(&plan.map, Rules::reply(), body.as_bytes()).unwrap();
    let shown = reveal(collection, &plan, ring, grant, body.as_bytes(), &layout, None, 0)?.bytes;
    let shown = String::from_utf8(shown).unwrap();
    Ok(shown.strip_prefix(&head).unwrap().strip_suffix('}').unwrap().to_string())
}

#[test]
fn every_stored_value_opens() {
    let vectors = envelopes();
    assert!(vectors.opens.len() >= 18);
    for sealed in &vectors.opens {
        assert_eq!(sealed.open(&vectors), sealed.json, "{}", sealed.name);
        assert_eq!(sealed.reveal(&vectors).ok(), sealed.json, "{}", sealed.name);
    }
}

#[test]
fn every_refused_envelope_stays_refused() {
    let vectors = envelopes();
    assert!(vectors.refused.len() >= 37);
    for sealed in &vectors.refused {
        assert_eq!(sealed.open(&vectors), None, "{}", sealed.name);
        assert_eq!(sealed.reveal(&vectors).unwrap_err().code(), "value-not-authentic", "{}", sealed.name);
    }
}

#[test]
fn every_deterministic_value_is_stored_the_same_and_opens() {
    let vectors: Deterministic = serde_json::from_str(include_str!("vectors/v1/envelope-d.json")).unwrap();
    assert!(vectors.opens.len() >= 25);
    for stored in &vectors.opens {
        assert_eq!(stored.store(&vectors), stored.envelope, "{}", stored.name);
        assert_eq!(stored.open(&vectors), stored.json, "{}", stored.name);
        for id in [None, Some("c-1"), Some("c-2")] {
            assert_eq!(stored.reveal(&vectors, id).ok(), stored.json, "{}", stored.name);
        }
    }
}

#[test]
fn every_refused_deterministic_envelope_stays_refused() {
    let vectors: Deterministic = serde_json::from_str(include_str!("vectors/v1/envelope-d.json")).unwrap();
    assert!(vectors.refused.len() >= 57);
    for stored in &vectors.refused {
        assert_eq!(stored.open(&vectors), None, "{}", stored.name);
        assert_eq!(stored.reveal(&vectors, Some("c-1")).unwrap_err().code(), "value-not-authentic", "{}", stored.name);
    }
}

#[test]
fn every_pseudonym_is_the_same() {
    let vectors: Pseudonyms = serde_json::from_str(include_str!("vectors/v1/pseudonym.json")).unwrap();
    assert!(vectors.list.len() >= 9);
    let controller = Controller::new(&vectors.controller);
    for one in &vectors.list {
        let line = LineName::pseudonym(&one.scope).unwrap();
        let versions = vec![(line, "00000000".parse().unwrap(), State::Active, secret(&vectors.version_secret_hex))];
        let ring = KeyRing::with_versions(controller.clone(), versions).into();
        let place = FieldPlace {
            controller: controller.clone(),
            collection: CollectionName::new("customers"),
            field: FieldName::new(&one.field),
        };
        // A clear value while migrating: the pseudonym does not depend on how a value is stored.
        let shown =
            reveal_one(&ring, &collection(place, Bind::Field, false), &grant(&one.scope, Level::Pseudonym), None, &one.json);
        assert_eq!(shown.unwrap(), format!("\"{}\"", one.expected), "{}", one.name);
    }
}

#[derive(Deserialize)]
struct RingOfGroup {
    controller: String,
    ring: String,
    kek: String,
    manifest: String,
    revision: u64,
    collection: String,
    values: Vec<OfRing>,
}

#[derive(Deserialize)]
struct OfRing {
    field: String,
    id: String,
    json: String,
    envelope: String,
}

#[test]
fn a_ring_of_a_field_group_opens_under_its_name_and_its_values_at_its_fields() {
    let of: RingOfGroup = serde_json::from_str(include_str!("vectors/v1/ring-identity.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ring, kek) = (folder.path().join("ring.json"), folder.path().join("kek"));
    std::fs::write(&ring, &of.manifest).unwrap();
    std::fs::write(&kek, &of.kek).unwrap();
    std::fs::set_permissions(&kek, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let controller = Controller::new(&of.controller);
    let (name, kek) = (RingName::new(&of.ring), Kek::File(kek));
    let config = Config { controller: controller.clone(), name: name.clone(), ring: ring.into(), kek, min_revision: of.revision };
    let opened = KeyRing::open(&config).unwrap();
    assert_eq!((opened.revision(), opened.versions().len()), (of.revision, 4));
    let as_main = KeyRing::open(&Config { name: RingName::main(), ..config }).unwrap_err().to_string();
    assert!(as_main.contains("belongs to ring \"identity\", not \"main\""), "{as_main}");

    let main = KeyRing::with_versions(controller.clone(), Vec::new());
    let rings = Rings::of_rings(main, vec![opened], Vec::new()).unwrap();
    assert!(of.values.len() >= 3);
    for value in &of.values {
        let place = FieldPlace {
            controller: controller.clone(),
            collection: CollectionName::new(&of.collection),
            field: FieldName::new(&value.field),
        };
        let at = |ring: &RingName| {
            let mut collection = collection(place.clone(), Bind::Subject, true);
            collection.fields[0].ring = ring.clone();
            if value.envelope.starts_with("sdr1.d.") {
                (collection.fields[0].protection, collection.fields[0].seal_null) = (Protection::Deterministic, false);
            }
            let text = serde_json::to_string(&value.envelope).unwrap();
            reveal_one(&rings, &collection, &grant("view", Level::Clear), Some(&value.id), &text)
        };
        assert_eq!(at(&name).unwrap(), value.json, "{}", value.field);
        assert_eq!(at(&RingName::main()).unwrap_err().code(), "value-not-authentic", "{}", value.field);
    }
}

#[derive(Deserialize)]
struct IndexVectors {
    kid: String,
    version_secret_hex: String,
    terms: Vec<Vector>,
    no_term: Vec<NoTerm>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    controller: String,
    collection: String,
    field: String,
    normalise: Vec<String>,
    bits: u16,
    json: String,
    normalised: String,
    term: String,
}

#[derive(Deserialize)]
struct NoTerm {
    name: String,
    normalise: Vec<String>,
    json: String,
}

/// One field with one index, and what a write stores in its index member.
fn stored_term(ring: &Rings, place: FieldPlace, steps: &[String], bits: u16, json: &str) -> Option<String> {
    let normaliser = Normaliser::new(steps.iter().map(|step| step.parse().unwrap()).collect()).unwrap();
    let mut collection = collection(place, Bind::Field, true);
    collection.fields[0].indexes = vec![Index::new(Selector::parse("$.ix").unwrap(), normaliser, bits).unwrap()];
    let rows = RowSet { rows: vec![Selector::parse("$").unwrap()], ..RowSet::default() };
    let plan = Plan::compile(&collection, &rows).unwrap();
    let body = Bytes::from(format!("{{\"value\":{json}}}"));
    let layout = walk(&plan.map, Rules::request(), &body).unwrap();
    let rows = [RowWrite { intent: Intent::Create, assigned_id: None }];
    let stored = protect(&collection, &plan, ring, &grant("view", Level::Clear), &body, &layout, &rows, None, "id").unwrap();
    let stored: serde_json::Value = serde_json::from_slice(&stored.body.into_bytes()).unwrap();
    stored.get("ix").and_then(serde_json::Value::as_str).map(str::to_owned)
}

#[test]
fn terms_of_search_indexes_are_those_of_the_vectors() {
    let of: IndexVectors = serde_json::from_str(include_str!("vectors/v1/index.json")).unwrap();
    let ring = |controller: &str| {
        let lines = [LineName::Lookup, LineName::Seal].into_iter().zip([of.kid.as_str(), "sea10000"]);
        let version = |(line, kid): (LineName, &str)| (line, kid.parse().unwrap(), State::Active, secret(&of.version_secret_hex));
        Rings::from(KeyRing::with_versions(Controller::new(controller), lines.map(version).collect()))
    };
    let place = |controller: &str, collection: &str, field: &str| FieldPlace {
        controller: Controller::new(controller),
        collection: CollectionName::new(collection),
        field: FieldName::new(field),
    };
    let distinct: std::collections::HashSet<&str> = of.terms.iter().map(|term| term.term.as_str()).collect();
    assert!(distinct.len() > 12, "the vectors tell things apart");
    for term in &of.terms {
        let place = place(&term.controller, &term.collection, &term.field);
        // The normaliser's text, and the key derived here, step by step as the format says.
        let steps = term.normalise.iter().map(|step| step.parse().unwrap()).collect();
        let normaliser = Normaliser::new(steps).unwrap();
        if let Ok(text) = serde_json::from_str::<String>(&term.json) {
            assert_eq!(normaliser.apply(&text).as_deref(), Ok(term.normalised.as_str()), "{}", term.name);
        }
        let parts = ["sudare/v1", "index", &term.controller, &term.collection, &term.field, normaliser.id()].map(str::as_bytes);
        let key = MacKey::new(&hkdf(&Secret::from_bytes(secret(&of.version_secret_hex)), &enc(&parts)));
        let cut = &key.mac(term.normalised.as_bytes())[..usize::from(term.bits / 8)];
        assert_eq!(format!("ix1.{}.{}", of.kid, base32_crockford(cut)), term.term, "{}", term.name);
        // And as a write does it.
        let stored = stored_term(&ring(&term.controller), place, &term.normalise, term.bits, &term.json);
        assert_eq!(stored.as_deref(), Some(term.term.as_str()), "{}", term.name);
    }
    for none in &of.no_term {
        let stored = stored_term(&ring("shop"), place("shop", "customers", "x"), &none.normalise, 64, &none.json);
        assert_eq!(stored, None, "{}", none.name);
    }
}

/// A ring under a provider, made by another program (Python's `cryptography`) from `docs/format.md` alone.
#[test]
fn a_ring_whose_root_a_provider_has_wrapped_opens() {
    #[derive(Debug)]
    struct Golden;
    impl keys::Provider for Golden {
        fn name(&self) -> keys::ProviderName {
            keys::ProviderName::VaultTransit
        }
        fn key(&self) -> &'static str {
            "transit/sudare"
        }
        fn may_have_wrapped(&self, wrapped: &Wrapped) -> bool {
            wrapped.key == self.key()
        }
        fn wrap(&self, _: &Binding, _: &Secret) -> Result<Wrapped, keys::ProviderError> {
            Err(keys::ProviderError::NotOurs)
        }
        fn unwrap(&self, binding: &Binding, wrapped: &Wrapped) -> Result<Secret, keys::ProviderError> {
            let bound = "0000000d7375646172652d72696e672f3100000004726f6f740000000473686f70000000046d61696e";
            assert_eq!(HEXLOWER.encode(&binding.aad()), bound);
            assert_eq!(wrapped.root, "vault:v1:8SDd3WHDOjf7mq69CyCqYjBXAiQQAVZRkFM13ok481zoCmHnSeDX9vyf7w==");
            Ok(Secret::from_bytes(std::array::from_fn(|at| u8::try_from(at).unwrap())))
        }
    }
    let config = keys::Config {
        name: RingName::main(),
        controller: Controller::new("shop"),
        ring: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/v1/ring-vault-transit.json").into(),
        kek: keys::Kek::Provider { provider: Arc::new(Golden), limits: keys::CustodyLimits::default() },
        min_revision: 1,
    };
    let report = keys::verify(&config).unwrap();
    assert!(report.sound() && report.versions.len() == 5, "{report:?}");
    assert_eq!(KeyRing::open(&config).unwrap().revision(), 1);
}

#[derive(Deserialize)]
struct Destroyed {
    kek: String,
    ring: String,
    census: String,
    census_hashes: Vec<String>,
    request: String,
    request_hash: String,
    keys: std::collections::BTreeMap<String, String>,
    signatures: std::collections::BTreeMap<String, String>,
    receipt: String,
}

/// A ring of which a version was destroyed, with all that is kept of it.
#[test]
fn what_is_kept_of_a_destroyed_key_is_believed_by_every_release() {
    let vector: Destroyed = serde_json::from_str(include_str!("vectors/v1/destroy.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let config = keys::Config {
        name: RingName::main(),
        controller: Controller::new("shop"),
        ring: write("ring.json", &vector.ring).into(),
        kek: keys::Kek::File(write("kek", &vector.kek)),
        min_revision: 0,
    };
    let list = write("ring.json.evidence/census.jsonl", &vector.census);
    let ring = KeyRing::open(&config).unwrap();

    let kept = keys::kept(&config, &ring).unwrap();
    let hashes: Vec<String> = kept.iter().map(|kept| HEXLOWER.encode(&kept.hash)).collect();
    assert_eq!(hashes, vector.census_hashes);
    let (line, kid): (LineName, Kid) = (LineName::Seal, "7k3m9qpa".parse().unwrap());
    let standings: Vec<_> = kept.iter().map(|kept| kept.census.standing(&line, kid)).collect();
    assert_eq!(standings, [Standing::Hanging(4), Standing::Zero, Standing::Zero, Standing::Zero]);
    // Written again by this release, a list begins with the very same bytes.
    std::fs::remove_file(&list).unwrap();
    for kept in &kept {
        keys::keep(&config, &ring, &kept.census).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&list).unwrap(), vector.census);

    let written = keys::Written::read(vector.request.as_bytes()).unwrap();
    assert_eq!((written.hash_text(), written.request.versions[0].kid), (vector.request_hash, kid));
    let mut operators = Vec::new();
    for (name, pem) in &vector.keys {
        let key = keys::operator_key(&write(name, pem)).unwrap();
        assert_eq!(&written.sign(&key), &vector.signatures[name], "Ed25519 gives one signature");
        operators.push(keys::Operator { name: name.clone(), public: key.public() });
    }

    let report = keys::verify_receipt(&config, &operators, &ring, vector.receipt.as_bytes()).unwrap();
    assert!(report.is_sound() && report.census_kept && report.changed_operators.is_empty(), "{report:?}");
    assert_eq!(HEXLOWER.encode(&report.receipt.ring_sha256), HEXLOWER.encode(&sudare::crypto::sha256(vector.ring.as_bytes())));
    // Refused: a receipt, a census and a request of which one character is another.
    let changed = vector.receipt.replace("\"revision\": 3", "\"revision\": 4");
    assert!(keys::verify_receipt(&config, &operators, &ring, changed.as_bytes()).is_err());
    assert!(keys::Written::read(vector.request.replace("request/1", "request/2").as_bytes()).is_err());
    std::fs::write(&list, vector.census.replacen("\"rows\":2", "\"rows\":3", 1)).unwrap();
    assert!(keys::kept(&config, &ring).is_err());
}

#[derive(Deserialize)]
struct LedgerRows {
    kid: String,
    version_secret_hex: String,
    controller: String,
    now_ms: u64,
    rows: Vec<LedgerRow>,
}

#[derive(Deserialize)]
struct LedgerRow {
    key_hex: String,
    value_hex: String,
}

/// Every kind of entry that is about a person, in rows that follow on each other.
#[tokio::test]
async fn the_ledger_of_facts_reads() {
    use sudare::store::{Change, Row, Rows, Store, Table};
    use sudare::subject::{About, Ledger, Standing, Topic};
    let vector: LedgerRows = serde_json::from_str(include_str!("vectors/v1/ledger.json")).unwrap();
    let secret = HEXLOWER.decode(vector.version_secret_hex.as_bytes()).unwrap().try_into().unwrap();
    let controller = Controller::new(&vector.controller);
    let kid: Kid = vector.kid.parse().unwrap();
    let ring = KeyRing::with_versions(controller.clone(), vec![(LineName::Audit, kid, State::Active, secret)]);
    let clock = Arc::new(sudare::base::FixedClock::at(vector.now_ms));
    let open = async |edit: &dyn Fn(&mut Vec<Row>)| {
        let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
        let mut rows: Vec<Row> =
            vector.rows.iter().map(|row| Row { key: hex(&row.key_hex), value: hex(&row.value_hex), marks: Vec::new() }).collect();
        edit(&mut rows);
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::embedded(&folder.path().join("s.redb")).unwrap());
        store.change(Table::Fact, rows.into_iter().map(Change::Put).collect()).await.unwrap();
        let rows: Arc<dyn Rows> = store.clone();
        let ledger = Ledger::new(controller.clone(), rows, Some(store), ring.ledger_keys(), clock.clone());
        ledger.read().await.map(|()| ledger)
    };
    let ledger = open(&|_as_they_are| {}).await.unwrap();
    assert_eq!((ledger.last(), ledger.entries()), (3, 7));
    let of = |subject: &str| {
        let (statements, told, accepted) = ledger.people().all_of(&RecordId::from_text(subject).unwrap(), vector.now_ms).unwrap();
        let stands: Vec<_> =
            statements.into_iter().map(|statement| (statement.topic, statement.standing, statement.row)).collect();
        (stands, told, accepted)
    };
    let choice = |about| Topic::Choice(about);
    let ticket = || Topic::Fact("open-ticket".to_owned());
    assert_eq!(
        of("c-1"),
        (
            vec![
                (choice(About::Purpose("recommend".to_owned())), Standing::Yes, 1),
                (choice(About::Recipient("insurer".to_owned())), Standing::No, 1),
                (ticket(), Standing::Yes, 3)
            ],
            3,
            2
        )
    );
    assert_eq!(of("c-2"), (vec![(ticket(), Standing::No, 3)], 0, 0));
    assert_eq!(of("高橋"), (vec![(Topic::Under(13), Standing::No, 2), (Topic::Under(18), Standing::Yes, 2)], 0, 0));
    // Refused: a bit that is another one, a row that is gone, two that changed places.
    let refused = async |edit: &dyn Fn(&mut Vec<Row>)| open(edit).await.unwrap_err().to_string();
    assert!(refused(&|rows| rows[1].value[60] ^= 1).await.contains("row 2: it does not open in its place"));
    assert!(refused(&|rows| drop(rows.remove(0))).await.contains("row 1: it is missing"));
    let swapped = refused(&|rows| {
        let value = rows[1].value.clone();
        rows[1].value = std::mem::replace(&mut rows[2].value, value);
    });
    assert!(swapped.await.contains("row 2: it does not open in its place"));
}

#[derive(Deserialize)]
struct Exceptions {
    id: String,
    operators: std::collections::BTreeMap<String, String>,
    open_until: u64,
    steps: Vec<Stepped>,
    refused: Vec<String>,
}

#[derive(Deserialize)]
struct Stepped {
    at: u64,
    step: String,
    state: String,
}

#[test]
fn steps_of_an_exception_are_believed_by_every_release() {
    use sudare::subject::exception::{Register, Standing, Step};
    let vector: Exceptions = serde_json::from_str(include_str!("vectors/v1/exception.json")).unwrap();
    let public = |text: &String| sudare::crypto::from_base64url(text.as_bytes()).unwrap().try_into().unwrap();
    let operators: Vec<keys::Operator> = vector
        .operators
        .iter()
        .map(|(name, key)| keys::Operator { name: name.clone(), public: sudare::crypto::PublicKey(public(key)) })
        .collect();
    let register = Register::default();
    let id = vector.id.parse().unwrap();
    for Stepped { at, step, state } in &vector.steps {
        let read: Step = serde_json::from_str(step).unwrap();
        assert_eq!(&serde_json::to_string(&read).unwrap(), step, "written again, the very same bytes");
        register.fold(*at, &read).unwrap();
        let standing = register.case(&id).unwrap().standing(&operators, *at);
        assert_eq!(standing.word(), state);
        if let Standing::Open { until, .. } = standing {
            assert_eq!(until, vector.open_until);
        }
    }
    for step in &vector.refused {
        // As JSON each of them is a step.
        assert!(register.fold(vector.open_until, &serde_json::from_str(step).unwrap()).is_err(), "{step}");
    }
}
