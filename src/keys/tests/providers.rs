//! Rings whose KEK a provider keeps: what hangs on it, what a lying one can do, limits, and moving from one KEK to another.

use std::sync::Mutex;
use std::time::Duration;

use super::super::custody::Standing;
use super::super::files::Step;
use super::super::files::fault::{dying_at, failing_at};
use super::super::kek::provider::{Binding, Wrapped};
use super::*;

/// Wraps by remembering: the binding and the root of each that it wrapped, and how it is to behave.
#[derive(Debug, Default)]
struct Memory {
    key: String,
    roots: Mutex<Vec<(Binding, [u8; 32])>>,
    mood: Mutex<Mood>,
    asked: Mutex<u32>,
}

#[derive(Debug, Default, Clone, PartialEq)]
enum Mood {
    #[default]
    Honest,
    Fails(ProviderError),
    /// Unwraps everything to this.
    Gives([u8; 32]),
    /// Says that it wrapped under another key.
    OtherKey,
}

impl Provider for Memory {
    fn name(&self) -> ProviderName {
        ProviderName::VaultTransit
    }
    fn key(&self) -> &str {
        &self.key
    }
    fn may_have_wrapped(&self, wrapped: &Wrapped) -> bool {
        wrapped.key == self.key
    }
    fn wrap(&self, binding: &Binding, root: &Secret) -> Result<Wrapped, ProviderError> {
        match self.mood.lock().unwrap().clone() {
            Mood::Fails(error) => return Err(error),
            Mood::OtherKey => return Ok(Wrapped { key: "transit/other".into(), root: "vault:v1:0".into() }),
            Mood::Honest | Mood::Gives(_) => {}
        }
        let mut roots = self.roots.lock().unwrap();
        roots.push((binding.clone(), *root.expose()));
        Ok(Wrapped { key: self.key.clone(), root: format!("vault:v1:{}", roots.len() - 1) })
    }
    fn unwrap(&self, binding: &Binding, wrapped: &Wrapped) -> Result<Secret, ProviderError> {
        *self.asked.lock().unwrap() += 1;
        match self.mood.lock().unwrap().clone() {
            Mood::Fails(error) => return Err(error),
            Mood::Gives(root) => return Ok(Secret::from_bytes(root)),
            Mood::Honest | Mood::OtherKey => {}
        }
        let number: usize = wrapped.root.rsplit(':').next().unwrap().parse().unwrap();
        let roots = self.roots.lock().unwrap();
        let found = roots.get(number).filter(|(bound, _)| bound == binding);
        found.map(|(_, root)| Secret::from_bytes(*root)).ok_or(ProviderError::NotOurs)
    }
}

impl Memory {
    fn of(key: &str) -> Arc<Self> {
        Arc::new(Self { key: key.into(), ..Self::default() })
    }

    fn feels(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }

    fn kek(self: &Arc<Self>) -> Kek {
        let limits = CustodyLimits { soft: Duration::from_secs(1), hard: Duration::from_secs(2), denied: Denied::Drops };
        Kek::Provider { provider: self.clone(), limits }
    }
}

fn outage() -> Mood {
    Mood::Fails(ProviderError::Outage("it cannot be asked: refused".into()))
}

fn entrusted() -> (tempfile::TempDir, Config, Arc<Memory>) {
    let (dir, memory) = (tempfile::tempdir().unwrap(), Memory::of("transit/sudare"));
    let config = Config { kek: memory.kek(), ..config(dir.path()) };
    init(&config, &["marketing".to_string()], &FixedClock::at(NOON)).unwrap();
    (dir, config, memory)
}

#[test]
fn a_ring_hangs_on_one_wrapped_root_and_each_opening_asks_once() {
    let (_dir, config, memory) = entrusted();
    assert_eq!((memory.roots.lock().unwrap().len(), memory.asked()), (1, 1), "init proves that it can be unwrapped");
    let json: serde_json::Value = serde_json::from_slice(&fs::read(&config.ring).unwrap()).unwrap();
    let kek = serde_json::json!({ "provider": "vault-transit", "key": "transit/sudare", "root": "vault:v1:0" });
    assert_eq!(json["kek"], kek);
    let ring = KeyRing::open(&config).unwrap();
    assert_eq!((memory.asked(), ring.versions().len()), (2, 5));
    rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap();
    assert_eq!((memory.asked(), memory.roots.lock().unwrap().len()), (3, 1), "a rotation wraps under the same root");
    assert!(matches!(ring.standing(), Some(Standing::Confirmed { .. })));
    assert!(KeyRing::ephemeral(Controller::new("shop"), &[]).unwrap().standing().is_none());
}

#[test]
fn a_root_of_another_controller_or_ring_opens_nothing() {
    let (dir, config, memory) = entrusted();
    let other = Config {
        name: RingName::main(),
        controller: Controller::new("market"),
        ring: dir.path().join("market/ring.json").into(),
        kek: memory.kek(),
        min_revision: 0,
    };
    init(&other, &[], &FixedClock::at(NOON)).unwrap();
    // Their root in our file: whoever holds the file can write that, and the provider refuses it.
    let ours = fs::read_to_string(&config.ring).unwrap();
    fs::write(&config.ring, ours.replace("vault:v1:0", "vault:v1:1")).unwrap();
    let error = said(dir.path(), &KeyRing::open(&config).unwrap_err());
    assert_eq!(
        error,
        "keys/ring.json: its KEK is the key \"transit/sudare\" of vault-transit, and it cannot unwrap what stands in the ring: that was wrapped under another key, or for another controller or ring, or was changed"
    );
    // A provider that does not look at the binding gives it, and then nothing of the ring opens under it.
    let theirs = memory.roots.lock().unwrap()[1].1;
    memory.feels(Mood::Gives(theirs));
    let error = said(dir.path(), &KeyRing::open(&config).unwrap_err());
    assert!(error.contains("its answer cannot be true: what it unwrapped does not open the rest of the ring"), "{error}");
    let foreign = Config { ring: other.ring.clone(), ..config };
    assert!(matches!(KeyRing::open(&foreign), Err(KeyError::Foreign { what: "controller", .. })));
}

#[test]
fn a_provider_that_lies_makes_no_ring_and_opens_none() {
    let (dir, memory) = (tempfile::tempdir().unwrap(), Memory::of("transit/sudare"));
    let config = Config { kek: memory.kek(), ..config(dir.path()) };
    for (mood, says) in [
        (Mood::OtherKey, "it wrapped the root under another key than was asked for"),
        (Mood::Gives([7; 32]), "it unwraps the root that it has just wrapped to something else"),
        (outage(), "it cannot be asked"),
        (Mood::Fails(ProviderError::Denied("permission denied".into())), "it refuses to use this key: permission denied"),
    ] {
        memory.feels(mood);
        let error = init(&config, &[], &FixedClock::at(NOON)).unwrap_err().to_string();
        assert!(error.contains(says) && !config.ring.exists(), "{error}");
    }
    memory.feels(Mood::Honest);
    init(&config, &[], &FixedClock::at(NOON)).unwrap();
    let sound = fs::read_to_string(&config.ring).unwrap();
    // Another key of the provider, in the file or in the configuration, is told before anybody is asked.
    let asked = memory.asked();
    let other = Config { kek: Memory::of("transit/other").kek(), ..config.clone() };
    assert_eq!(
        said(dir.path(), &KeyRing::open(&other).unwrap_err()),
        "keys/ring.json: wrapped under the key \"transit/sudare\", but the configuration names \"transit/other\": change `key` in [keys] kek"
    );
    assert_eq!(memory.asked(), asked);
    let file = Config { kek: Kek::File(dir.path().join("kek")), ..config.clone() };
    assert!(matches!(KeyRing::open(&file), Err(KeyError::OtherProvider { found: "vault-transit", configured: "file", .. })));
    // What no provider spells is refused as a file.
    fs::write(&config.ring, sound.replace("vault:v1:1", "vault v1")).unwrap();
    assert!(matches!(KeyRing::open(&config), Err(KeyError::Malformed { .. })));
}

#[test]
fn keys_are_dropped_whole_and_come_back() {
    let (_dir, config, memory) = entrusted();
    let ring = KeyRing::open(&config).unwrap();
    let name = place("customers", "name");
    let kid = ring.seal_key(&name).unwrap().kid;
    let upkeep = upkeep();
    assert!(ring.cache().entries > 0);
    memory.feels(outage());
    assert!(matches!(ring.confirm(), Err(KeyError::Provider { error: ProviderError::Outage(_), .. })));
    assert!(matches!(ring.standing(), Some(Standing::Unconfirmed { why: "outage", .. })));
    assert!(ring.seal_key(&name).is_ok(), "an outage alone takes nothing away");

    ring.drop_keys("the provider was away for too long");
    let every = [
        ring.seal_key(&name).err(),
        ring.open_key(kid, &name, Permit::Upkeep(&upkeep)).err(),
        ring.lookup_key(&name).err(),
        ring.lookup_keys(&name, Permit::Upkeep(&upkeep)).err(),
        ring.index_key(&name, "text").err(),
        ring.index_keys(&name, "text", Permit::Upkeep(&upkeep)).err(),
        ring.token_key("customers.name").err(),
        ring.fingerprint_keys("customers.name").err(),
    ];
    for error in every {
        assert!(matches!(error, Some(KeyError::Dropped("the provider was away for too long"))), "{error:?}");
    }
    assert!(ring.audit_keys().is_ok(), "refusals are recorded");
    assert!(ring.has_pseudonym_scope("marketing") && ring.versions().len() == 5 && ring.cache().entries == 0);
    assert_eq!(ring.standing(), Some(Standing::Dropped { why: "the provider was away for too long" }));

    assert!(ring.regain().is_err() && ring.seal_key(&name).is_err());
    memory.feels(Mood::Honest);
    assert_eq!(ring.regain().unwrap(), Regained::Whole);
    assert_eq!(ring.seal_key(&name).unwrap().kid, kid);
    assert!(matches!(ring.standing(), Some(Standing::Confirmed { .. })));
    // A ring that moved on meanwhile is not patched up: what was marked since must not come back.
    ring.drop_keys("again");
    rotate(&config, &LineName::Seal, &FixedClock::at(NOON)).unwrap();
    assert_eq!(ring.regain().unwrap(), Regained::MovedOn);
    assert!(ring.seal_key(&name).is_err());
}

#[test]
fn another_root_at_the_soft_limit_confirms_nothing() {
    let (_dir, config, memory) = entrusted();
    let ring = KeyRing::open(&config).unwrap();
    memory.feels(Mood::Gives([7; 32]));
    let error = ring.confirm().unwrap_err().to_string();
    assert!(error.contains("it unwraps the same root to something else than before"), "{error}");
    assert!(matches!(ring.standing(), Some(Standing::Unconfirmed { why: "lied", .. })));
    memory.feels(Mood::Honest);
    ring.confirm().unwrap();
    assert!(matches!(ring.standing(), Some(Standing::Confirmed { .. })));
}

#[test]
fn many_who_ask_at_once_are_one_flight() {
    let (_dir, config, memory) = entrusted();
    let ring = KeyRing::open(&config).unwrap();
    let before = memory.asked();
    let held = memory.roots.lock().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| ring.confirm().unwrap());
        }
        // All of them have asked by now, and one of them the provider.
        std::thread::sleep(Duration::from_millis(200));
        drop(held);
    });
    assert!(memory.asked() <= before + 2, "{} questions", memory.asked() - before);
}

fn changing(config: &Config, to: Kek) -> Config {
    Config { kek: Kek::Changing { from: Box::new(config.kek.clone()), to: Box::new(to) }, ..config.clone() }
}

fn change_kek(config: &Config, onto: Onto) -> Result<KekReport, KeyError> {
    Change { config, clock: &FixedClock::at(NOON + 1), at_revision: None }.change_kek_with(onto, CHEAP)
}

#[test]
fn a_ring_moves_between_all_kinds_of_kek_and_every_value_opens_on_the_way() {
    let (dir, config) = made();
    let name = place("customers", "name");
    let before = KeyRing::open(&config).unwrap();
    let value = sealed(&before.seal_key(&name).unwrap(), "Mei Tanaka");
    let first = fs::read(&config.ring).unwrap();
    let (one, two) = (Memory::of("transit/one"), Memory::of("transit/two"));
    let keks = [
        one.kek(),
        two.kek(),
        Kek::Passphrase { env: "CARGO_MANIFEST_PATH".into() },
        Kek::Passphrase { env: "CARGO_PKG_DESCRIPTION".into() },
        Kek::File(dir.path().join("keys/kek-2")),
        Kek::File(dir.path().join("keys/kek")),
    ];
    let mut at = config.clone();
    let mut secrets = Vec::new();
    for (number, kek) in keks.into_iter().enumerate() {
        let both = changing(&at, kek.clone());
        assert_eq!(KeyRing::open(&both).unwrap().revision(), at_revision(number), "before, under both");
        let report = change_kek(&both, Onto::Next).unwrap();
        assert_eq!((report.stayed, report.revision), (false, at_revision(number + 1)), "{report:?}");
        assert_eq!(report.kek_made, matches!(&kek, Kek::File(path) if path.ends_with("kek-2")), "{report:?}");
        let bytes = fs::read(&both.ring).unwrap();
        let again = change_kek(&both, Onto::Next).unwrap();
        assert_eq!((again.stayed, again.revision, again.kek_made), (true, at_revision(number + 1), false));
        assert_eq!(fs::read(&both.ring).unwrap(), bytes, "run again it writes nothing");
        for config in [&both, &Config { kek: kek.clone(), ..at.clone() }] {
            let ring = KeyRing::open(config).unwrap();
            let key = ring.open_key(before.seal_key(&name).unwrap().kid, &name, Permit::Upkeep(&upkeep())).unwrap();
            assert_eq!(opened(&key, &value).as_deref(), Some("Mei Tanaka"));
        }
        if !matches!((&at.kek, &kek), (Kek::File(_), Kek::File(_))) {
            assert!(KeyRing::open(&at).is_err(), "the old KEK alone opens nothing new");
        }
        at.kek = kek;
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        secrets.push(json["mac_key"].to_string());
    }
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 6, "each has a fresh root and MAC key");
    fs::write(&config.ring, first).unwrap();
    assert!(KeyRing::open(&config).is_ok(), "an old copy opens under the old KEK");
}

fn at_revision(number: usize) -> u64 {
    u64::try_from(number).unwrap() + 1
}

#[test]
fn what_the_new_kek_does_not_prove_leaves_the_old_ring() {
    let (_dir, config) = made();
    let bytes = fs::read(&config.ring).unwrap();
    let memory = Memory::of("transit/sudare");
    let both = changing(&config, memory.kek());
    for mood in [outage(), Mood::OtherKey, Mood::Gives([7; 32]), Mood::Fails(ProviderError::NotOurs)] {
        memory.feels(mood);
        assert!(matches!(change_kek(&both, Onto::Next), Err(KeyError::Provider { .. })));
        assert_eq!(fs::read(&config.ring).unwrap(), bytes);
    }
    assert!(matches!(change_kek(&config, Onto::Next), Err(KeyError::NoNextKek(_))));
    assert!(matches!(change_kek(&config, Onto::Same), Err(KeyError::NotRewrapped { provider: "file", .. })));
    memory.feels(Mood::Honest);
    change_kek(&both, Onto::Next).unwrap();
    let alone = Config { kek: memory.kek(), ..config };
    let wrapped = memory.roots.lock().unwrap().len();
    assert_eq!(change_kek(&alone, Onto::Same).unwrap().revision, 3);
    assert_eq!(memory.roots.lock().unwrap().len(), wrapped + 1, "a fresh root under the key as it is now");
}

#[test]
fn a_fault_at_any_step_of_a_change_leaves_the_old_ring_or_the_new_one() {
    for step in Step::ALL {
        for dies in [false, true] {
            let what = format!("{step:?}, dies: {dies}");
            let (_dir, config) = made();
            let memory = Memory::of("transit/sudare");
            let both = changing(&config, memory.kek());
            if dies {
                assert!(dying_at(step, || drop(change_kek(&both, Onto::Next))).is_some(), "{what}: never got there");
            } else {
                failing_at(step, || change_kek(&both, Onto::Next)).expect_err(&what);
            }
            let written = step == Step::SyncFolder;
            assert_eq!(KeyRing::open(&both).unwrap().revision(), 1 + u64::from(written), "{what}");
            assert_eq!(KeyRing::open(&config).is_ok(), !written, "{what}");
            assert_eq!(change_kek(&both, Onto::Next).unwrap().stayed, written, "{what}");
            assert_eq!(KeyRing::open(&Config { kek: memory.kek(), ..config }).unwrap().revision(), 2, "{what}");
        }
    }
}
