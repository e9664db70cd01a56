//! What it takes to destroy a version: nothing hangs on it, for long enough, by two operators' word; and what each fault leaves.

mod faults;
mod rule;

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::base::{Controller, FixedClock, RingName};
use crate::crypto::{PublicKey, Secret};
use crate::keys::{
    Census, CollectionSeen, InDocuments, Kek, KeyRing, NotZero, StoreSeen, Successor, UnknownCount, VersionCount, init, keep,
    kept, rotate,
};

const NOON: u64 = 1_795_348_800_000; // 2026-11-22T12:00:00Z
const DAY: u64 = 86_400_000;
const WINDOW: u64 = 30 * DAY;

/// Faults for tests: of the thread that asks for them only.
pub(super) mod fault {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::super::{DestroyError, Step};

    thread_local! {
        static PLANNED: Cell<Option<(Step, bool)>> = const { Cell::new(None) };
    }

    pub(in super::super) fn reach(step: Step) -> Result<(), DestroyError> {
        match PLANNED.get().filter(|(at, _)| *at == step) {
            None => Ok(()),
            Some((_, false)) => Err(DestroyError::NotRecorded("no room".to_owned())),
            Some((_, true)) => std::panic::panic_any("killed"),
        }
    }

    pub(super) fn failing_at<T>(step: Step, run: impl FnOnce() -> T) -> T {
        PLANNED.set(Some((step, false)));
        let result = run();
        PLANNED.set(None);
        result
    }

    pub(super) fn dying_at(step: Step, run: impl FnOnce()) -> bool {
        PLANNED.set(Some((step, true)));
        let died = catch_unwind(AssertUnwindSafe(run)).is_err();
        PLANNED.set(None);
        died
    }
}

struct Shop {
    dir: tempfile::TempDir,
    config: Config,
    main: KeyRing,
    clock: FixedClock,
    operators: Vec<Operator>,
}

fn key(number: u8) -> SigningKey {
    SigningKey::new(&Secret::from_bytes([number; 32]))
}

fn operator(name: &str, number: u8) -> Operator {
    Operator { name: name.to_owned(), public: key(number).public() }
}

/// What was recorded.
type Events = Vec<(Stage, Vec<Kid>)>;

impl Shop {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            name: RingName::main(),
            controller: Controller::new("shop"),
            ring: dir.path().join("ring.json").into(),
            kek: Kek::File(dir.path().join("kek")),
            min_revision: 0,
        };
        let clock = FixedClock::at(NOON);
        init(&config, &["marketing".to_string()], &clock).unwrap();
        let operators = vec![operator("alice", 1), operator("bob", 2), operator("carol", 3)];
        let main = KeyRing::open(&config).unwrap();
        Self { dir, config, main, clock, operators }
    }

    fn destruction(&self) -> Destruction<'_> {
        let backups_kept = Duration::from_millis(WINDOW);
        Destruction { config: &self.config, main: &self.main, clock: &self.clock, operators: &self.operators, backups_kept }
    }

    /// Makes a line's Active version the one before.
    fn rotated(&self, line: &LineName) -> Kid {
        rotate(&self.config, line, &self.clock).unwrap().deactivated.unwrap()
    }

    fn versions(&self) -> Vec<VersionInfo> {
        KeyRing::open(&self.config).unwrap().versions()
    }

    fn state(&self, kid: Kid) -> State {
        self.versions().into_iter().find(|version| version.kid == kid).unwrap().state
    }

    /// A census now: nothing but what `change` puts into it.
    fn counted(&self, change: impl FnOnce(&mut Census)) {
        let ring = KeyRing::open(&self.config).unwrap();
        let now = self.clock.now_ms();
        let live = ring.versions().into_iter().filter(|version| version.state != State::Destroyed);
        let seen = CollectionSeen { collection: "customers".to_owned(), documents: 3, conflicts: 0, missing: None };
        let mut census = Census {
            revision: ring.revision(),
            begun: now,
            ended: now,
            collections: vec![seen],
            store: StoreSeen::default(),
            versions: live.map(|version| VersionCount::none(&version)).collect(),
            unknown: Vec::new(),
        };
        change(&mut census);
        keep(&self.config, &self.main, &census).unwrap();
    }

    fn nothing_hangs(&self) {
        self.counted(|_| {});
    }

    fn later(&self, ms: u64) {
        self.clock.set(self.clock.now_ms() + ms);
    }

    /// A version of a line that may be destroyed, with a request for it.
    fn ready(&self, line: &LineName) -> (Kid, Written) {
        let kid = self.rotated(line);
        self.later(1);
        self.nothing_hangs();
        self.later(WINDOW);
        self.nothing_hangs();
        (kid, self.destruction().request(&[kid]).unwrap())
    }

    fn check(&self, written: &Written, by: &[u8]) -> Result<Checked, DestroyError> {
        let signatures: Vec<_> =
            by.iter().map(|number| (format!("{number}.sig"), written.sign(&key(*number)).into_bytes())).collect();
        self.destruction().check(written.text.as_bytes(), &signatures)
    }

    fn approved(&self, written: &Written) -> Approved {
        match self.check(written, &[1, 2]).unwrap() {
            Checked::ToDo(approved) => approved,
            other @ (Checked::Unfinished(_) | Checked::Done(_)) => panic!("{other:?}"),
        }
    }

    fn audit(&self) -> (Kid, std::sync::Arc<SigningKey>) {
        let keys = KeyRing::open(&self.config).unwrap().audit_keys().unwrap();
        (keys[0].0, std::sync::Arc::clone(&keys[0].2))
    }

    /// As the command does it, from the beginning.
    fn run(&self, written: &Written, events: &mut Events) -> Result<DestroyReport, DestroyError> {
        self.run_with(written, events, &mut |_| {})
    }

    /// The same; `recorded` hears of each event that was recorded.
    fn run_with(
        &self,
        written: &Written,
        events: &mut Events,
        recorded: &mut dyn FnMut(Stage),
    ) -> Result<DestroyReport, DestroyError> {
        let (kid, signer) = self.audit();
        let mut record = |stage: Stage, noted: &Noted| {
            events.push((stage, noted.kids.clone()));
            recorded(stage);
            Ok(())
        };
        match self.check(written, &[1, 2])? {
            Checked::ToDo(approved) => {
                self.nothing_hangs();
                self.destruction().carry_out(&approved, (kid, &signer), &mut record)
            }
            Checked::Unfinished(approved) => self.destruction().finish(&approved, &mut record),
            Checked::Done(receipt) => Ok(DestroyReport { moved: vec![], signers: vec![], revision: 0, receipt }),
        }
    }

    fn verify(&self, path: &Path) -> Result<ReceiptReport, DestroyError> {
        verify_receipt(&self.config, &self.operators, &self.main, &fs::read(path).unwrap())
    }

    fn evidence(&self) -> Vec<String> {
        let folder = fs::read_dir(self.dir.path().join("ring.json.evidence")).unwrap();
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "census.jsonl.lock").collect();
        names.sort();
        names
    }
}

fn said<T: std::fmt::Debug>(result: Result<T, DestroyError>, kid: Kid) -> String {
    result.unwrap_err().to_string().replace(kid.as_str(), "KID")
}

#[test]
fn a_version_goes_by_two_operators_word_and_leaves_a_receipt() {
    let shop = Shop::new();
    let (kid, written) = shop.ready(&LineName::Seal);
    let before = fs::read_to_string(&shop.config.ring).unwrap();
    let mut events = Events::new();
    let report = shop.run(&written, &mut events).unwrap();
    assert_eq!((report.moved[0].from, report.moved[0].to, report.revision), (State::Deactivated, State::Destroyed, 3));
    assert_eq!(report.signers, ["alice", "bob"]);
    assert_eq!(events, [(Stage::Intended, vec![kid]), (Stage::Done, vec![kid])]);
    assert_eq!(shop.state(kid), State::Destroyed);
    // Its secret is gone from the file, also wrapped.
    let after = fs::read_to_string(&shop.config.ring).unwrap();
    let wrapped = |text: &str| text.matches("\"wrapped\"").count();
    assert_eq!(wrapped(&after) + 1, wrapped(&before));

    let found = shop.verify(&report.receipt).unwrap();
    assert!(found.is_sound() && found.census_kept && found.changed_operators.is_empty());
    assert_eq!(found.receipt.ring_sha256, crypto::sha256(after.as_bytes()));
    // Run again, it is done.
    let mut none = Events::new();
    assert_eq!(shop.run(&written, &mut none).unwrap().receipt, report.receipt);
    assert!(none.is_empty());
    assert_eq!(receipts(&shop.config).unwrap(), [report.receipt]);
}

#[test]
fn nothing_goes_while_something_hangs_on_it_or_may() {
    let shop = Shop::new();
    let kid = shop.rotated(&LineName::Lookup);
    let request = || said(shop.destruction().request(&[kid]), kid);
    let counted = |change: &dyn Fn(&mut VersionCount)| {
        shop.later(1);
        shop.counted(|census| change(census.versions.iter_mut().find(|count| count.kid == kid).unwrap()));
        request()
    };
    let why = |what: &str| format!("KID of line lookup is not destroyed: {what}");
    assert_eq!(request(), why("there is no census yet: run `sudare keys census`"));
    let hanging = why(
        "1 values, terms or rows hang on it by the last census: `sudare keys rewrap` seals them anew; then run `sudare keys census` again",
    );
    for found in [
        InDocuments { values: 1, ..InDocuments::default() },
        InDocuments { terms: 1, ..InDocuments::default() },
        InDocuments { elsewhere: 1, ..InDocuments::default() },
        InDocuments { conflicts: 1, ..InDocuments::default() },
    ] {
        assert_eq!(counted(&|count| count.documents.extend([("customers".to_owned(), found)])), hanging, "{found:?}");
    }
    assert_eq!(counted(&|count| count.fingerprints = 1), hanging);
    let again = "): see to that, then run `sudare keys census` again";
    for part in 0..2 {
        shop.later(1);
        shop.counted(|census| match part {
            0 => census.collections[0].missing = Some("not reached".to_owned()),
            _ => census.store.missing = Some("held".to_owned()),
        });
        let missing = ["customers: not reached", "the store: held"][part];
        assert_eq!(request(), why(&format!("the last census does not prove that nothing hangs on it ({missing}{again}")));
    }
    // What does not concern its line does not hold it up.
    let seal = shop.rotated(&LineName::Seal);
    shop.later(1);
    shop.counted(|census| census.store.missing = Some("held".to_owned()));
    assert!(matches!(shop.destruction().request(&[seal]), Err(DestroyError::TooSoon { .. })));
    // It has held for a moment, then for long enough.
    shop.later(1);
    shop.nothing_hangs();
    let from = shop.clock.now_ms();
    shop.later(WINDOW - 1);
    shop.nothing_hangs();
    let early = request();
    assert!(
        early.starts_with("KID of line lookup is not destroyed: nothing hangs on it since 2026-11-22T12:00:00.")
            && early.contains("kept for 30 days"),
        "{early}"
    );
    shop.later(1);
    assert_eq!(shop.clock.now_ms(), from + WINDOW);
    let written = shop.destruction().request(&[kid, kid]).unwrap();
    assert_eq!(written.request.versions.len(), 1, "named twice it is one");
    assert_eq!(written.request.versions[0].zero.unwrap().since, from);
    // A last census that is too old is not shown to those who sign.
    shop.later(WINDOW + DAY);
    assert!(said(shop.destruction().request(&[kid]), kid).starts_with("the last census ended 2026-12-22T"));
}

#[test]
fn the_time_begins_anew_when_something_was_found_and_not_when_something_was_missed() {
    let shop = Shop::new();
    let kid = shop.rotated(&LineName::Seal);
    let since = || shop.destruction().request(&[kid]).map(|written| written.request.versions[0].zero.unwrap().since);
    shop.later(1);
    shop.nothing_hangs();
    let first = shop.clock.now_ms();
    shop.later(10 * DAY);
    shop.counted(|census| census.collections[0].missing = Some("not reached".to_owned()));
    shop.later(WINDOW);
    shop.nothing_hangs();
    assert_eq!(since().unwrap(), first);
    shop.later(1);
    let found = |census: &mut Census| {
        let count = census.versions.iter_mut().find(|count| count.kid == kid).unwrap();
        count.documents.insert("customers".to_owned(), InDocuments { values: 2, ..InDocuments::default() });
    };
    shop.counted(found);
    shop.later(1);
    shop.nothing_hangs();
    assert!(matches!(since(), Err(DestroyError::TooSoon { .. })), "a backup was put back");
    // A partial census that did find something is as good.
    shop.later(WINDOW);
    shop.counted(|census| {
        found(census);
        census.collections[0].missing = Some("not reached".to_owned());
    });
    shop.later(1);
    shop.nothing_hangs();
    assert!(matches!(since(), Err(DestroyError::TooSoon { .. })));
}

#[test]
fn a_census_from_before_it_ceased_to_protect_counts_for_nothing() {
    let shop = Shop::new();
    let active = shop.versions().into_iter().find(|version| version.line == LineName::Seal).unwrap().kid;
    shop.nothing_hangs();
    shop.later(WINDOW);
    let kid = shop.rotated(&LineName::Seal);
    assert_eq!(kid, active);
    assert!(said(shop.destruction().request(&[kid]), kid).contains("it was active then"));
    // One that began while it was active, and ended after.
    shop.counted(|census| census.begun -= 5);
    assert!(said(shop.destruction().request(&[kid]), kid).contains("began before it ceased to protect"));
    shop.later(5);
    shop.nothing_hangs();
    assert!(matches!(shop.destruction().request(&[kid]), Err(DestroyError::TooSoon { .. })));
    // A clock that was set back leaves what was kept in the future, or out of order.
    shop.clock.set(shop.clock.now_ms() - 1);
    assert!(said(shop.destruction().request(&[kid]), kid).contains("lies in the future"));
}

#[test]
fn active_audit_and_destroyed_versions_are_not_destroyed_and_a_scope_needs_no_census() {
    let shop = Shop::new();
    let of = |line: &LineName| shop.versions().into_iter().find(|version| version.line == *line).unwrap().kid;
    let seal = of(&LineName::Seal);
    assert!(said(shop.destruction().request(&[seal]), seal).starts_with("KID is the active version of line seal"));
    let audit = shop.rotated(&LineName::Audit);
    assert!(matches!(shop.destruction().request(&[audit]), Err(DestroyError::AuditLine(kid)) if kid == audit));
    let nobody: Kid = "00000000".parse().unwrap();
    assert!(matches!(shop.destruction().request(&[nobody]), Err(DestroyError::Key(KeyError::NoSuchVersion(_)))));
    let marketing = LineName::pseudonym("marketing").unwrap();
    let scope = shop.rotated(&marketing);
    let written = shop.destruction().request(&[scope]).unwrap();
    assert_eq!(written.request.versions[0].zero, None);
    shop.run(&written, &mut Events::new()).unwrap();
    assert_eq!(shop.state(scope), State::Destroyed);
    assert!(matches!(shop.destruction().request(&[scope]), Err(DestroyError::Destroyed(kid)) if kid == scope));
    let few = Destruction { operators: &shop.operators[..1], ..shop.destruction() };
    assert!(matches!(few.request(&[seal]), Err(DestroyError::TooFewOperators(1))));
}

#[test]
fn a_pre_active_version_goes_as_the_others_do() {
    let shop = Shop::new();
    let change = Change { config: &shop.config, clock: &shop.clock, at_revision: None };
    let kid = change.publish(&LineName::Seal).unwrap().kid;
    assert!(matches!(shop.destruction().request(&[kid]), Err(DestroyError::NotZero { why: NotZero::NoCensus, .. })));
    shop.nothing_hangs();
    shop.later(WINDOW);
    shop.nothing_hangs();
    let written = shop.destruction().request(&[kid]).unwrap();
    shop.run(&written, &mut Events::new()).unwrap();
    assert_eq!(shop.state(kid), State::Destroyed);
}

#[test]
fn every_wrong_signature_is_refused_with_a_sentence() {
    let shop = Shop::new();
    let (kid, written) = shop.ready(&LineName::Seal);
    let signed = |number: u8| (format!("{number}.sig"), written.sign(&key(number)).into_bytes());
    let check = |signatures: &[(String, Vec<u8>)]| said(shop.destruction().check(written.text.as_bytes(), signatures), kid);
    assert!(check(&[]).starts_with("0 of 2 signatures"));
    assert!(check(&[signed(1)]).starts_with("1 of 2 signatures"));
    assert_eq!(check(&[signed(1), signed(1)]), "operator alice signed twice; it takes two different operators");
    assert!(check(&[signed(1), signed(9)]).starts_with("9.sig: signed with a key that no operator has (public_key = \""));
    let other = shop.destruction().request(&[kid]).unwrap();
    assert_ne!(other.hash, written.hash, "two requests are never one");
    let of_other = ("other.sig".to_owned(), other.sign(&key(2)).into_bytes());
    assert!(check(&[signed(1), of_other]).starts_with("other.sig: signs another request"));
    // The signature of one under the key of another.
    let mut forged = String::from_utf8(signed(2).1).unwrap();
    forged = forged.replace(&crypto::base64url(&key(2).public().0), &crypto::base64url(&key(3).public().0));
    assert!(check(&[signed(1), ("f.sig".to_owned(), forged.into_bytes())]).starts_with("f.sig: the signature does not fit"));
    for text in ["", "{}", "[]", &String::from_utf8(signed(2).1).unwrap().replace("signature/1", "signature/2")] {
        assert!(check(&[signed(1), ("x".to_owned(), text.as_bytes().to_vec())]).starts_with("x: not a signature"), "{text}");
    }
    // One key under two names: it cannot be told who signed.
    let twins = vec![operator("alice", 1), operator("also-alice", 1), operator("bob", 2)];
    let twins = Destruction { operators: &twins, ..shop.destruction() };
    let two = [signed(1), signed(2)];
    assert!(matches!(twins.check(written.text.as_bytes(), &two), Err(DestroyError::SharedKey { .. })));
    // A request that was changed has another hash.
    let changed = written.text.replace("\"expires\": \"2026", "\"expires\": \"2027");
    assert!(changed != written.text);
    assert!(matches!(shop.destruction().check(changed.as_bytes(), &two), Err(DestroyError::OtherRequest(_))));
    for text in ["", "{}", &written.text.replace("request/1", "request/2"), &written.text.replace("\"nonce\"", "\"nonse\"")] {
        assert!(matches!(shop.destruction().check(text.as_bytes(), &two), Err(DestroyError::NotARequest)), "{text}");
    }
    assert!(matches!(shop.destruction().check(written.text.as_bytes(), &two), Ok(Checked::ToDo(_))));
    assert!(shop.check(&written, &[1, 2, 3]).is_ok(), "three are two and one more");
    assert_eq!(shop.state(kid), State::Deactivated);
}

#[test]
fn an_old_request_is_void() {
    let shop = Shop::new();
    let (kid, written) = shop.ready(&LineName::Seal);
    shop.later(ms(VALID) - 1);
    let _: Approved = shop.approved(&written);
    shop.later(1);
    assert!(said(shop.check(&written, &[1, 2]), kid).starts_with("the request expired 2026-12-29T"));
    shop.nothing_hangs();
    let fresh = shop.destruction().request(&[kid]).unwrap();
    shop.clock.set(fresh.request.made - 1);
    assert!(matches!(shop.check(&fresh, &[1, 2]), Err(DestroyError::NotYet(_))));
    shop.clock.set(fresh.request.made);
    rotate(&shop.config, &LineName::Token, &shop.clock).unwrap();
    assert!(said(shop.check(&fresh, &[1, 2]), kid).contains("is for revision 2 of the ring, which is at 3"));
    // Of another controller.
    let other = Shop::new();
    other.clock.set(shop.clock.now_ms());
    let text = fresh.text.replace("\"controller\": \"shop\"", "\"controller\": \"market\"");
    let market = Written::read(text.as_bytes()).unwrap();
    assert!(matches!(other.check(&market, &[1, 2]), Err(DestroyError::Foreign { what: "controller", .. })));
    // Of another ring of the same names: the version is not there, or is another one.
    assert!(other.check(&fresh, &[1, 2]).is_err());
}

/// What is destroyed is what those who signed saw: a key with the same id is not enough, nor a longer list.
#[test]
fn a_request_that_does_not_say_what_the_ring_says_is_refused() {
    let shop = Shop::new();
    let (kid, written) = shop.ready(&LineName::Seal);
    let commitment = written.text.split("\"commitment\": \"").nth(1).unwrap().get(..64).unwrap();
    for text in [
        written.text.replace(commitment, &"0".repeat(64)),
        written.text.replace("\"state\": \"deactivated\"", "\"state\": \"compromised\""),
        written.text.replace("\"line\": \"seal\"", "\"line\": \"token\""),
    ] {
        assert_ne!(text, written.text);
        let changed = Written::read(text.as_bytes()).unwrap();
        assert!(matches!(shop.check(&changed, &[1, 2]), Err(DestroyError::OtherVersion(found)) if found == kid), "{text}");
    }
    // A shorter time than those who signed saw does not hasten it.
    let eager = Destruction { backups_kept: Duration::ZERO, ..shop.destruction() };
    shop.counted(|census| {
        let count = census.versions.iter_mut().find(|count| count.kid == kid).unwrap();
        count.rows = 1;
    });
    shop.later(1);
    shop.nothing_hangs();
    let signatures: Vec<_> = [1, 2].map(|number| (String::new(), written.sign(&key(number)).into_bytes())).into();
    assert!(matches!(eager.check(written.text.as_bytes(), &signatures), Err(DestroyError::TooSoon { days: 30, .. })));
}

#[test]
fn it_is_counted_anew_right_before() {
    let shop = Shop::new();
    let (kid, written) = shop.ready(&LineName::Seal);
    shop.later(5);
    let approved = shop.approved(&written);
    let (audit, signer) = shop.audit();
    let mut record = |_: Stage, _: &Noted| -> Result<(), String> { panic!("nothing is to be recorded") };
    let mut carry_out = || shop.destruction().carry_out(&approved, (audit, &signer), &mut record);
    shop.later(1);
    // None was made since, or one that found something.
    shop.counted(|census| census.begun -= 3);
    assert!(matches!(carry_out(), Err(DestroyError::Overtaken)));
    // By another configuration.
    shop.counted(|census| census.collections[0].collection = "others".to_owned());
    assert!(matches!(carry_out(), Err(DestroyError::NotCounted(name)) if name == "customers"));
    shop.counted(|census| census.versions.iter_mut().find(|count| count.kid == kid).unwrap().rows = 1);
    assert!(matches!(carry_out(), Err(DestroyError::NotZero { why: NotZero::Hanging(1), .. })));
    shop.counted(|census| census.collections[0].missing = Some("gone".to_owned()));
    assert!(matches!(carry_out(), Err(DestroyError::NotZero { why: NotZero::Unproved(_), .. })));
    shop.counted(|census| census.revision = 1);
    assert!(carry_out().is_err());
    // A change of the ring meanwhile.
    shop.nothing_hangs();
    rotate(&shop.config, &LineName::Seal, &shop.clock).unwrap();
    assert!(matches!(carry_out(), Err(DestroyError::Key(KeyError::MovedOn { .. }))));
    assert_eq!((shop.state(kid), shop.evidence()), (State::Deactivated, vec!["census.jsonl".to_owned()]));
}

#[test]
fn what_cannot_be_recorded_is_not_destroyed() {
    let shop = Shop::new();
    let (kid, written) = shop.ready(&LineName::Seal);
    let approved = shop.approved(&written);
    let (audit, signer) = shop.audit();
    shop.nothing_hangs();
    let mut full = |_: Stage, _: &Noted| Err("no room".to_owned());
    let error = shop.destruction().carry_out(&approved, (audit, &signer), &mut full).unwrap_err();
    assert_eq!(error.to_string(), "the audit log of operators cannot be written: no room: nothing is destroyed unrecorded");
    assert_eq!(shop.state(kid), State::Deactivated);
    let intent = receipts(&shop.config).unwrap().remove(0);
    assert_eq!(shop.verify(&intent).unwrap().still_there, [kid], "an intent is no receipt");
    let mut half = |stage: Stage, _: &Noted| if stage == Stage::Done { Err("no room".to_owned()) } else { Ok(()) };
    let error = shop.destruction().carry_out(&approved, (audit, &signer), &mut half).unwrap_err();
    assert!(error.to_string().starts_with("the keys are destroyed, but the audit log of operators"), "{error}");
    assert_eq!(shop.state(kid), State::Destroyed);
    assert!(shop.run(&written, &mut Events::new()).is_ok());
}

#[test]
fn a_receipt_cannot_be_changed_and_is_held_against_the_ring() {
    let shop = Shop::new();
    let backup = |shop: &Shop| fs::read(&shop.config.ring).unwrap();
    let (kid, written) = shop.ready(&LineName::Seal);
    let old = backup(&shop);
    let path = shop.run(&written, &mut Events::new()).unwrap().receipt;
    let text = fs::read(&path).unwrap();
    for at in 0..text.len() {
        let mut changed = text.clone();
        changed[at] ^= 1;
        assert!(Receipt::read(&changed).is_err(), "byte {at}");
        assert!(Receipt::read(&text[..at]).is_err(), "cut at {at}");
    }
    // An old ring that was put back has the key again.
    let new = backup(&shop);
    fs::write(&shop.config.ring, old).unwrap();
    assert_eq!(shop.verify(&path).unwrap().still_there, [kid]);
    fs::write(&shop.config.ring, new).unwrap();
    // Who has the audit key, but not two operators', makes no receipt; who has no audit key of the ring makes none that is believed.
    let (receipt, _) = Receipt::read(&text).unwrap();
    let (audit, signer) = shop.audit();
    let alone = Receipt { signatures: receipt.signatures[..1].to_vec(), ..receipt.clone() };
    assert!(Receipt::read(alone.sign(&signer).unwrap().as_bytes()).is_err());
    let twice = Receipt { signatures: vec![receipt.signatures[0].clone(); 2], ..receipt.clone() };
    assert!(Receipt::read(twice.sign(&signer).unwrap().as_bytes()).is_err());
    let stranger = Receipt { audit_public_key: key(9).public().0, ..receipt.clone() };
    let made_up = stranger.sign(&key(9)).unwrap();
    let found = verify_receipt(&shop.config, &shop.operators, &shop.main, made_up.as_bytes()).unwrap();
    assert!(found.unknown_signer && !found.is_sound());
    assert_eq!(receipt.audit_kid, audit);
    let renamed = vec![operator("alice", 1), operator("bob", 7)];
    let found = verify_receipt(&shop.config, &renamed, &shop.main, &text).unwrap();
    assert_eq!(found.changed_operators, ["bob"], "told, and no reason to doubt what was signed then");
    assert!(found.is_sound());
}

#[test]
fn kept_censuses_cannot_be_forged_cut_out_or_brought_from_elsewhere() {
    let shop = Shop::new();
    let path = shop.dir.path().join("ring.json.evidence/census.jsonl");
    for _ in 0..3 {
        shop.later(1);
        shop.counted(|census| census.unknown.push(UnknownCount { kid: "00000001".parse().unwrap(), collection: None, count: 7 }));
    }
    let whole = fs::read(&path).unwrap();
    let all = kept(&shop.config, &shop.main).unwrap();
    assert_eq!((all.len(), all[2].census.unknown[0].count), (3, 7));
    let bad = |bytes: &[u8], line: u64, what: &str| {
        fs::write(&path, bytes).unwrap();
        match kept(&shop.config, &shop.main) {
            Err(KeyError::ChangedEvidence { line: found, .. }) => assert_eq!(found, line, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    };
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    for at in (0..lines[0].len() - 1).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 2;
        bad(&changed, 1, "changed");
    }
    bad(&[lines[0], lines[2]].concat(), 2, "one cut out");
    bad(&[lines[1], lines[2]].concat(), 1, "the first cut off");
    bad(&[lines[0], lines[0]].concat(), 2, "one repeated");
    bad(b"{}\n", 1, "no census");
    let other = Shop::new();
    other.nothing_hangs();
    let foreign = fs::read(other.dir.path().join("ring.json.evidence/census.jsonl")).unwrap();
    bad(&foreign, 1, "of another ring");
    assert!(
        matches!(keep(&shop.config, &shop.main, &all[0].census), Err(KeyError::ChangedEvidence { .. })),
        "nothing is added to it"
    );
    // What a crash left unfinished was never kept, and gives way.
    for cut in [1, 40, lines[2].len() - 1] {
        fs::write(&path, &whole[..whole.len() - cut]).unwrap();
        assert_eq!(kept(&shop.config, &shop.main).unwrap().len(), 2);
    }
    keep(&shop.config, &shop.main, &all[2].census).unwrap();
    assert_eq!(fs::read(&path).unwrap(), whole);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn censuses_outlast_the_audit_version_and_count_for_nothing_once_it_is_compromised() {
    let mut shop = Shop::new();
    let kid = shop.rotated(&LineName::Seal);
    shop.later(1);
    shop.nothing_hangs();
    let audit = shop.rotated(&LineName::Audit);
    shop.main = KeyRing::open(&shop.config).unwrap();
    shop.later(WINDOW);
    shop.nothing_hangs();
    assert!(shop.destruction().request(&[kid]).is_ok(), "the old version still answers for the old census");
    let change = Change { config: &shop.config, clock: &shop.clock, at_revision: None };
    change.compromise(&[audit], Successor::MustBeThere).unwrap();
    shop.main = KeyRing::open(&shop.config).unwrap();
    assert!(
        matches!(shop.destruction().request(&[kid]), Err(DestroyError::TooSoon { .. })),
        "whoever knows it can have made that one up"
    );
}

#[test]
fn operator_keys_are_private_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alice.operator.pem");
    let public = make_operator(&path).unwrap();
    let read = operator_key(&path).unwrap();
    assert!(public.verify(b"x", &read.sign(b"x")) && public == read.public());
    assert!(matches!(make_operator(&path), Err(KeyError::Io { .. })));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----\n") && text.ends_with("-----END PRIVATE KEY-----\n"));
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    assert!(matches!(operator_key(&path), Err(DestroyError::Key(KeyError::Exposed { .. }))));
    let other = dir.path().join("other.pem");
    files::create_private(&other, b"no key").unwrap();
    let error = operator_key(&other).unwrap_err();
    assert!(
        error.to_string().ends_with("as `sudare keys operator` makes it") && !error.to_string().contains("no key"),
        "{error}"
    );
    assert!(matches!(operator_key(&PathBuf::from("/nowhere/x")), Err(DestroyError::Key(KeyError::Missing(_)))));
}

#[test]
fn a_compromised_version_goes_once_nothing_hangs_on_it() {
    let shop = Shop::new();
    let active = shop.versions().into_iter().find(|version| version.line == LineName::Seal).unwrap().kid;
    let change = Change { config: &shop.config, clock: &shop.clock, at_revision: None };
    change.compromise(&[active], Successor::Make).unwrap();
    shop.later(1);
    shop.nothing_hangs();
    shop.later(WINDOW);
    shop.nothing_hangs();
    let written = shop.destruction().request(&[active]).unwrap();
    assert_eq!(written.request.versions[0].state, State::Compromised);
    shop.run(&written, &mut Events::new()).unwrap();
    assert_eq!(shop.state(active), State::Destroyed);
    let _: PublicKey = shop.operators[0].public;
}
