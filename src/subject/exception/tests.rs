//! Each state of an exception, each step that is refused, and the clock.

use std::collections::BTreeMap;

use super::text::{MAX_BYTES, hash};
use super::*;
use crate::base::{CallerName, RecordId};
use crate::crypto::{Secret, SigningKey};
use crate::keys::Operator;
use crate::purpose::tests::shop;
use crate::purpose::{CategoryId, ExceptionSpec, Known as _, Level, NeverSpec, Opens, Policy, PolicySpec, Tell};

const HOUR: u64 = 3_600_000;
const T0: u64 = 1_795_348_800_000;
const COLLECTIONS: &[&str] = &["customers", "orders"];

fn key(number: u8) -> SigningKey {
    SigningKey::new(&Secret::from_bytes([number; 32]))
}

fn operators(names: &[(&str, u8)]) -> Vec<Operator> {
    names.iter().map(|(name, number)| Operator { name: (*name).to_owned(), public: key(*number).public() }).collect()
}

fn spec() -> PolicySpec {
    use crate::base::CategoryName;
    let mut spec = shop();
    let reveal = |list: &[(&str, Level)]| list.iter().map(|(name, level)| (CategoryName::new(name), *level, 96)).collect();
    let demand = ExceptionSpec {
        name: "authority-demand".to_owned(),
        line: 95,
        dpv: Some("dpv:LegalCompliance".to_owned()),
        callers: vec![CallerName::new("legal")],
        reveal: reveal(&[("name", Level::Clear), ("address", Level::Clear), ("id-card", Level::Masked)]),
        evidence: vec!["case-number".to_owned(), "law".to_owned()],
        approvers: 2,
        ttl_hours: 72,
        tell_subject: Tell::After,
        ..ExceptionSpec::default()
    };
    let named = |name: &str, tell| ExceptionSpec { name: name.to_owned(), tell_subject: tell, ..demand.clone() };
    let alone = ExceptionSpec { approvers: 1, ttl_hours: 4, opens: Opens::Collection, ..named("vital-interest", Tell::After) };
    spec.exceptions = vec![demand.clone(), named("defence", Tell::Before), named("secret", Tell::Withheld), alone];
    spec
}

/// A house of four operators, a register, and a clock.
struct House4 {
    policy: Policy,
    operators: Vec<Operator>,
    register: Register,
    now: u64,
}

impl House4 {
    fn new() -> Self {
        let operators = operators(&[("anna", 1), ("bruno", 2), ("chen", 3), ("dora", 4)]);
        let policy = Policy::compile(spec()).unwrap_or_else(|errors| panic!("{errors:#?}"));
        Self { policy, operators, register: Register::default(), now: T0 }
    }

    fn wish(exception: &str) -> Wish {
        let evidence = [("case-number", "K-17/2026"), ("law", "Criminal Procedure Act 9")];
        Wish {
            controller: "shop".to_owned(),
            exception: exception.to_owned(),
            caller: "legal".to_owned(),
            collection: "customers".to_owned(),
            categories: vec!["name".to_owned(), "id-card".to_owned()],
            subjects: vec!["c-1".to_owned(), "c-2".to_owned()],
            evidence: evidence.iter().map(|(word, text)| ((*word).to_owned(), (*text).to_owned())).collect(),
            hours: Some(2),
            asked_by: "anna".to_owned(),
        }
    }

    fn admit(&self, step: &Step) -> Result<String, String> {
        let house = House {
            controller: "shop",
            policy: &self.policy,
            collections: COLLECTIONS,
            operators: &self.operators,
            now: self.now,
        };
        self.register.admit(step, &house).map_err(|wrong| wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))
    }

    /// Admits a step and folds it, as whoever records it does.
    fn take(&self, step: &Step) -> Result<String, String> {
        let who = self.admit(step)?;
        self.register.fold(self.now, step).unwrap();
        Ok(who)
    }

    /// Asked for by anna.
    fn asked(&self, exception: &str) -> Asked {
        let asked = Self::wish(exception).write(&self.policy, COLLECTIONS, self.now).unwrap();
        self.take(&request(&asked, 1)).unwrap();
        asked
    }

    fn standing(&self, asked: &Asked) -> Standing {
        self.register.case(&asked.id).unwrap().standing(&self.operators, self.register.see(self.now))
    }

    fn due(&self, asked: &Asked) -> Vec<Due> {
        self.register.case(&asked.id).unwrap().due(&self.operators, self.register.see(self.now))
    }

    fn note(&self, asked: &Asked, what: What, by: (&str, u8)) -> Step {
        let case = self.register.case(&asked.id).unwrap();
        let noted = Noted::new(&case, what, "the case was closed", by.0, self.now).unwrap();
        Step::Note { signature: Detached::sign(&noted.text, &key(by.1)), text: noted.text }
    }

    fn open(&self, asked: &Asked) -> Result<Use, String> {
        let caller = CallerName::new("legal");
        self.register.grant(&asked.id, &caller, &self.policy, &self.operators, self.now).map_err(|why| why.to_string())
    }
}

fn request(asked: &Asked, by: u8) -> Step {
    Step::Request { text: asked.text.clone(), signature: Detached::sign(&asked.text, &key(by)) }
}

fn approval(asked: &Asked, by: u8) -> Step {
    Step::Approval { exception: asked.id.clone(), signature: Detached::sign(&asked.text, &key(by)) }
}

#[test]
fn it_opens_with_the_last_signature_for_those_it_names_and_dies_on_the_millisecond() {
    let mut house = House4::new();
    let asked = house.asked("authority-demand");
    assert_eq!(house.standing(&asked), Standing::Requested { have: 0 });
    assert_eq!(house.open(&asked).unwrap_err(), format!("exception {} is requested", asked.id));
    house.now += HOUR;
    assert_eq!(house.take(&approval(&asked, 2)), Ok("bruno".to_owned()));
    assert_eq!(house.standing(&asked), Standing::Requested { have: 1 });
    house.now += HOUR;
    house.take(&approval(&asked, 3)).unwrap();
    let until = T0 + 4 * HOUR;
    assert_eq!(house.standing(&asked), Standing::Open { since: T0 + 2 * HOUR, until });
    let used = house.open(&asked).unwrap();
    assert_eq!((used.until, used.collection.as_str()), (until, "customers"));
    assert_eq!(used.grant.exception().map(|(id, _)| id.clone()), Some(asked.id.clone()));
    let level = |who: &str, category: u16| {
        let who = RecordId::from_text(who).unwrap();
        used.grant.row(used.named.facts(Some(&who))).level(CategoryId(category))
    };
    // name, address, phone, id-card: the address was not named.
    assert_eq!([0, 1, 2, 3].map(|at| level("c-1", at)), [Level::Clear, Level::Absent, Level::Absent, Level::Masked]);
    assert_eq!([0, 1, 2, 3].map(|at| level("c-9", at)), [Level::Absent; 4]);
    house.now = until - 1;
    assert!(house.open(&asked).is_ok() && house.register.still_open(&asked.id, &house.operators, house.now).is_ok());
    assert!(house.due(&asked).is_empty());
    house.now = until;
    assert_eq!(house.open(&asked).unwrap_err(), format!("exception {} is over", asked.id));
    assert_eq!(house.standing(&asked), Standing::Over { at: until });
    assert_eq!(house.due(&asked), [Due::Tell, Due::Review]);
    // A clock that goes back revives nothing.
    house.now = T0 + 3 * HOUR;
    assert!(house.open(&asked).is_err() && house.register.still_open(&asked.id, &house.operators, T0).is_err());
}

#[test]
fn an_id_tells_nobody_what_it_is() {
    let house = House4::new();
    let asked = house.asked("authority-demand");
    for by in [2, 3] {
        house.take(&approval(&asked, by)).unwrap();
    }
    let ask = |id: &crate::base::ExceptionId, caller: &str| {
        let caller = CallerName::new(caller);
        house.register.grant(id, &caller, &house.policy, &house.operators, house.now).unwrap_err().to_string()
    };
    let other: crate::base::ExceptionId = "ex_00000000000000000000000000".parse().unwrap();
    let theirs = ask(&asked.id, "helpdesk");
    assert_eq!(theirs.replace(asked.id.as_str(), "X"), ask(&other, "helpdesk").replace(other.as_str(), "X"));
    assert_eq!(theirs, format!("there is no exception {} for helpdesk", asked.id));
    let told = house.note(&asked, What::Told, ("bruno", 2));
    house.take(&told).unwrap();
    let noted = Noted::new(&house.register.case(&asked.id).unwrap(), What::Told, "K-17", "anna", T0).unwrap();
    let all = (request(&asked, 1), approval(&asked, 2), told, noted);
    for text in [format!("{:?}", house.register), format!("{:?}", house.open(&asked).unwrap()), format!("{all:?}")] {
        assert!(text.contains(asked.id.as_str()), "{text}");
        assert!(["c-1", "K-17", "Act 9", "was closed"].iter().all(|word| !text.contains(word)), "{text}");
    }
}

#[test]
fn nobody_agrees_to_their_own_request_or_twice_or_to_another() {
    let mut house = House4::new();
    let asked = house.asked("authority-demand");
    assert_eq!(house.take(&approval(&asked, 1)).unwrap_err(), "anna asked for it, so others have to agree");
    // Another key of hers is still hers.
    house.operators[0].public = key(9).public();
    assert_eq!(house.take(&approval(&asked, 9)).unwrap_err(), "anna asked for it, so others have to agree");
    house.operators[0].public = key(1).public();
    house.take(&approval(&asked, 2)).unwrap();
    assert_eq!(house.take(&approval(&asked, 2)).unwrap_err(), "bruno has agreed already; it takes another operator");
    // The same operator with a new key: neither signature counts beside the other.
    house.operators[1].public = key(8).public();
    house.take(&approval(&asked, 8)).unwrap();
    assert_eq!(house.standing(&asked).word(), "void");
    assert!(house.open(&asked).is_err());
    house.operators[1].public = key(2).public();

    // An approval of one request is none of another, nor of a changed one.
    let other = house.asked("authority-demand");
    let Step::Approval { signature, .. } = approval(&asked, 3) else { unreachable!() };
    let moved = Step::Approval { exception: other.id.clone(), signature: signature.clone() };
    assert!(house.admit(&moved).unwrap_err().starts_with("the signature is one of another text"), "{:?}", house.admit(&moved));
    assert!(matches!(house.register.fold(house.now, &moved), Err(ExceptionError::OtherText)));
    let changed = Asked::read(asked.text.replace("\"hours\": 2", "\"hours\": 72").as_bytes()).unwrap();
    assert_ne!(changed.id, asked.id);
    let forged = Step::Request { text: changed.text.clone(), signature: Detached::sign(&asked.text, &key(1)) };
    assert!(house.admit(&forged).unwrap_err().starts_with("the signature is one of another text"));
    assert!(house.register.fold(house.now, &forged).is_err() && house.register.case(&changed.id).is_none());
    // Strangers, and a request that says somebody else asks.
    assert!(house.admit(&approval(&other, 7)).unwrap_err().starts_with("signed with a key that no operator has"));
    assert_eq!(
        house.admit(&request(&changed, 2)).unwrap_err(),
        "it says that anna speaks, and is signed by bruno: sign what you say yourself"
    );
    assert_eq!(house.standing(&other), Standing::Requested { have: 0 });
}

#[test]
fn what_got_into_the_ledger_by_another_way_opens_nothing() {
    let house = House4::new();
    let asked = house.asked("authority-demand");
    // Her own approval, the same one twice, a stranger's: folded, not counted.
    for by in [1, 2, 2, 7] {
        house.register.fold(house.now, &approval(&asked, by)).unwrap();
    }
    assert!(house.open(&asked).is_err());
    assert_eq!(house.register.case(&asked.id).unwrap().agreed(&house.operators), 1);
    // A request of a stranger, with all the approvals that it needs.
    let mut wish = House4::wish("authority-demand");
    wish.asked_by = "mallory".to_owned();
    let asked = wish.write(&house.policy, COLLECTIONS, house.now).unwrap();
    house.register.fold(house.now, &request(&asked, 7)).unwrap();
    for by in [2, 3] {
        house.register.fold(house.now, &approval(&asked, by)).unwrap();
    }
    assert_eq!(house.standing(&asked), Standing::Void);
    // A step of which the signature was changed.
    let Step::Approval { exception, mut signature } = approval(&asked, 3) else { unreachable!() };
    let bent = signature.to_text().replacen("\"signature\": \"", "\"signature\": \"A", 1);
    assert!(Detached::read(bent.as_bytes()).is_none(), "not 64 bytes");
    signature.public_key = key(4).public().0;
    let step = Step::Approval { exception, signature };
    assert!(matches!(house.register.fold(house.now, &step), Err(ExceptionError::Forged)));
}

#[test]
fn an_operator_who_is_gone_vouches_for_nothing_and_nothing_is_revived() {
    let mut house = House4::new();
    let asked = house.asked("authority-demand");
    for by in [2, 3] {
        house.take(&approval(&asked, by)).unwrap();
    }
    assert!(house.open(&asked).is_ok());
    let bruno = house.operators.remove(1);
    assert_eq!(house.open(&asked).unwrap_err(), format!("exception {} is void", asked.id));
    // A third signature does not begin a new time.
    house.now += HOUR;
    house.register.fold(house.now, &approval(&asked, 4)).unwrap();
    assert_eq!(house.standing(&asked), Standing::Open { since: T0, until: T0 + 2 * HOUR });
    house.operators.push(bruno);
    house.now += HOUR;
    assert_eq!(house.standing(&asked), Standing::Over { at: T0 + 2 * HOUR });
}

#[test]
fn it_must_be_agreed_to_in_time() {
    let mut house = House4::new();
    let asked = house.asked("authority-demand");
    house.take(&approval(&asked, 2)).unwrap();
    house.now = asked.request.expires;
    assert!(house.admit(&approval(&asked, 3)).unwrap_err().starts_with("the request was not agreed to in time"));
    house.register.fold(house.now, &approval(&asked, 3)).unwrap();
    assert_eq!(house.standing(&asked), Standing::Lapsed);
    assert!(house.due(&asked).is_empty());
    // Nor is it recorded late, or from the future.
    let late = House4::wish("authority-demand").write(&house.policy, COLLECTIONS, T0).unwrap();
    assert!(house.admit(&request(&late, 1)).unwrap_err().starts_with("the request was not agreed to in time"));
    house.now = T0 - HOUR;
    assert!(house.admit(&request(&late, 1)).unwrap_err().starts_with("the request lies in the future"));
}

#[test]
fn it_is_revoked_once_and_for_all() {
    let mut house = House4::new();
    let asked = house.asked("authority-demand");
    for by in [2, 3] {
        house.take(&approval(&asked, by)).unwrap();
    }
    house.now += HOUR;
    assert!(house.open(&asked).is_ok());
    // Any operator may, also one who had nothing to do with it.
    house.take(&house.note(&asked, What::Revoke, ("dora", 4))).unwrap();
    assert_eq!(house.standing(&asked), Standing::Revoked { at: T0 + HOUR, was_open: true });
    assert!(house.open(&asked).is_err() && house.register.still_open(&asked.id, &house.operators, T0).is_err());
    assert_eq!(house.due(&asked), [Due::Tell, Due::Review]);
    assert!(house.admit(&house.note(&asked, What::Revoke, ("chen", 3))).unwrap_err().contains("was revoked already"));
    assert!(house.admit(&approval(&asked, 4)).unwrap_err().contains("is revoked: nothing can be done"));
    // Before it was agreed to: nothing was opened, so nothing is due.
    let other = house.asked("authority-demand");
    house.take(&house.note(&other, What::Revoke, ("anna", 1))).unwrap();
    assert_eq!(house.standing(&other), Standing::Revoked { at: house.now, was_open: false });
    assert!(house.due(&other).is_empty());
    assert!(house.admit(&approval(&other, 2)).is_err());
}

#[test]
fn who_must_be_told_before_is_told_before() {
    let mut house = House4::new();
    let asked = house.asked("defence");
    for by in [2, 3] {
        house.take(&approval(&asked, by)).unwrap();
    }
    assert_eq!(house.standing(&asked), Standing::ToTell);
    assert_eq!(house.open(&asked).unwrap_err(), format!("exception {} is to-tell", asked.id));
    house.now += HOUR;
    house.take(&house.note(&asked, What::Told, ("bruno", 2))).unwrap();
    assert_eq!(house.standing(&asked), Standing::Open { since: T0 + HOUR, until: T0 + 3 * HOUR });
    assert!(house.open(&asked).is_ok());
    assert!(house.register.case(&asked.id).unwrap().may_be_told(&house.operators, house.now));
    // A note that nobody signs who may.
    let other = house.asked("defence");
    for by in [2, 3] {
        house.take(&approval(&other, by)).unwrap();
    }
    assert!(house.admit(&house.note(&other, What::Told, ("mallory", 7))).is_err());
    house.register.fold(house.now, &house.note(&other, What::Told, ("mallory", 7))).unwrap();
    assert_eq!(house.standing(&other), Standing::Void);
}

#[test]
fn what_is_withheld_is_told_when_it_is_released_and_what_was_done_is_looked_at() {
    let mut house = House4::new();
    let (secret, after) = (house.asked("secret"), house.asked("authority-demand"));
    assert!(house.admit(&house.note(&secret, What::Told, ("bruno", 2))).unwrap_err().contains("nothing to tell"));
    for asked in [&secret, &after] {
        for by in [2, 3] {
            house.take(&approval(asked, by)).unwrap();
        }
    }
    let may = |house: &House4, asked: &Asked| house.register.case(&asked.id).unwrap().may_be_told(&house.operators, house.now);
    assert!(!may(&house, &secret) && !may(&house, &after));
    assert!(house.admit(&house.note(&after, What::Review, ("dora", 4))).unwrap_err().contains("is open"));
    house.now += 2 * HOUR;
    assert!(!may(&house, &secret) && may(&house, &after));
    assert_eq!((house.due(&secret), house.due(&after)), (vec![Due::Review], vec![Due::Tell, Due::Review]));
    house.take(&house.note(&secret, What::Told, ("bruno", 2))).unwrap();
    assert!(may(&house, &secret));
    assert!(house.admit(&house.note(&secret, What::Told, ("chen", 3))).unwrap_err().contains("was told already"));
    assert_eq!(
        house.admit(&house.note(&after, What::Review, ("anna", 1))).unwrap_err(),
        "anna asked for it, so somebody else looks at what was done"
    );
    house.take(&house.note(&after, What::Review, ("dora", 4))).unwrap();
    assert_eq!(house.due(&after), [Due::Tell]);
}

#[test]
fn one_operator_is_enough_where_the_policy_says_so() {
    let house = House4::new();
    let mut wish = House4::wish("vital-interest");
    wish.hours = None;
    let asked = wish.write(&house.policy, COLLECTIONS, house.now).unwrap();
    assert_eq!((asked.request.hours, asked.request.approvers), (4, 1), "what the policy says");
    house.take(&request(&asked, 1)).unwrap();
    house.take(&approval(&asked, 2)).unwrap();
    let used = house.open(&asked).unwrap();
    assert_eq!(used.grant.exception().map(|(_, opens)| opens), Some(Opens::Collection));
    assert!(house.admit(&approval(&asked, 3)).unwrap_err().starts_with("enough have agreed"));
}

#[test]
fn everything_that_is_wrong_with_a_request_is_said_at_once() {
    let house = House4::new();
    let ask = |change: &dyn Fn(&mut Wish)| {
        let mut wish = House4::wish("authority-demand");
        change(&mut wish);
        let wrong = wish.write(&house.policy, COLLECTIONS, house.now).unwrap_err();
        wrong.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let wrong = ask(&|wish| {
        wish.caller = "helpdesk".to_owned();
        wish.collection = "customer".to_owned();
        wish.hours = Some(73);
        wish.evidence = BTreeMap::from([("law".to_owned(), "two\nlines".to_owned()), ("mood".to_owned(), "bad".to_owned())]);
        wish.subjects = vec!["c-1".to_owned(), String::new(), "c-1".to_owned()];
        wish.categories = vec!["name".to_owned(), "nam".to_owned()];
    });
    assert_eq!(
        wrong,
        [
            "exception authority-demand is not for helpdesk; it is for legal",
            "there is no collection customer; there are customers, orders",
            "exception authority-demand needs on record: case-number. Give --evidence WORD=TEXT for each",
            "what is on record for law is empty, longer than 1,000 bytes, or of several lines",
            "exception authority-demand has no evidence mood; it asks for case-number, law",
            "exception authority-demand is open for at most 72 h; asked are 73",
            "the 2. --subject is no id of a person: 1 to 512 bytes, as it stands in documents",
            "a subject is named twice",
            "there is no category nam; there are name, address, phone, id-card",
        ]
    );
    let wrong = ask(&|wish| wish.exception = "demand".to_owned());
    assert_eq!(wrong, ["the policy has no exception demand; it has authority-demand, defence, secret, vital-interest"]);
    let wrong = ask(&|wish| wish.categories = vec!["phone".to_owned()]);
    assert_eq!(
        wrong,
        [
            "exception authority-demand does not open phone: leave it out, or see `sudare policy explain` and [never] in the policy"
        ]
    );
    let wrong = ask(&|wish| (wish.categories, wish.subjects) = (Vec::new(), Vec::new()));
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert_eq!(ask(&|wish| wish.subjects = (0..501).map(|at| at.to_string()).collect()).len(), 1);
}

#[test]
fn the_policy_in_force_is_asked_again_when_it_is_used() {
    let mut house = House4::new();
    let asked = house.asked("authority-demand");
    for by in [2, 3] {
        house.take(&approval(&asked, by)).unwrap();
    }
    let mut with = |change: &dyn Fn(&mut PolicySpec)| {
        let mut spec = spec();
        change(&mut spec);
        house.policy = Policy::compile(spec).unwrap_or_else(|errors| panic!("{errors:#?}"));
        house.open(&asked).map(|used| used.grant.data_view().to_owned())
    };
    let view = |rest: &str| Ok(format!("purpose=authority-demand, exception={}, {rest}", asked.id));
    assert_eq!(with(&|_| ()), view("clear=(name), masked=(id-card), per-row"));
    let gone = with(&|spec| drop(spec.exceptions.remove(0))).unwrap_err();
    assert!(gone.ends_with("there is no exception authority-demand"), "{gone}");
    assert!(with(&|spec| spec.exceptions[0].approvers = 3).unwrap_err().contains("needs 3 who agree, and has 2"));
    assert!(with(&|spec| spec.exceptions[0].ttl_hours = 1).unwrap_err().contains("is over: it is for 1 h"));
    assert!(with(&|spec| spec.exceptions[0].evidence.push("court".to_owned())).unwrap_err().contains("needs court on record"));
    assert!(with(&|spec| spec.exceptions[0].callers.clear()).unwrap_err().contains("is not for legal"));
    assert!(with(&|spec| spec.exceptions[0].tell_subject = Tell::Before).unwrap_err().contains("at another time"));
    // A never closes it, also after it was agreed to.
    let cards = |spec: &mut PolicySpec| {
        let name = || crate::base::CategoryName::new("id-card");
        spec.nevers.push(NeverSpec { name: "cards".to_owned(), line: 99, categories: vec![name()], ..NeverSpec::default() });
        for list in spec.purposes.iter_mut().map(|purpose| &mut purpose.reveal) {
            list.retain(|(category, ..)| *category != name());
        }
        for exception in &mut spec.exceptions {
            exception.reveal.retain(|(category, ..)| *category != name());
        }
        spec.tests.clear();
    };
    assert_eq!(with(&cards), view("clear=(name), per-row"));
}

#[test]
fn texts_and_steps_have_one_spelling_and_are_read_back() {
    let house = House4::new();
    let asked = house.asked("authority-demand");
    assert_eq!(Asked::read(asked.text.as_bytes()).unwrap(), asked);
    assert!(asked.id.as_str().starts_with("ex_") && !hash(&asked.text).is_empty());
    for by in [2, 3] {
        house.take(&approval(&asked, by)).unwrap();
    }
    let revoke = house.note(&asked, What::Revoke, ("anna", 1));
    let steps = [request(&asked, 1), approval(&asked, 2), approval(&asked, 3), revoke];
    let mut keys: Vec<String> = steps.iter().map(Step::key).collect();
    assert_eq!(steps.iter().map(Step::word).collect::<Vec<_>>(), ["requested", "approved", "approved", "revoked"]);
    keys.dedup();
    assert_eq!(keys.len(), 4);
    let register = Register::default();
    for step in &steps {
        assert_eq!(step.exception(), Some(asked.id.clone()));
        let text = serde_json::to_string(step).unwrap();
        let again: Step = serde_json::from_str(&text).unwrap();
        assert_eq!(&again, step);
        assert!(serde_json::from_str::<Step>(&text.replacen('{', "{\"more\":1,", 1)).is_err());
        register.fold(T0, &again).unwrap();
        // The same one twice is one.
        register.fold(T0 + HOUR, &again).unwrap();
    }
    assert_eq!(register.case(&asked.id).unwrap().standing(&house.operators, T0), Standing::Revoked { at: T0, was_open: true });
    for bad in [
        "",
        "{}",
        "null",
        &asked.text.replace("request/1", "request/2"),
        &asked.text.replace("\"c-1\"", "\"c-2\""),
        &asked.text.replace("11-29", "11-30"),
    ] {
        assert!(Asked::read(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Asked::read((asked.text.clone() + &" ".repeat(MAX_BYTES)).as_bytes()).is_err());
    let case = register.case(&asked.id).unwrap();
    for reason in ["", "  ", "two\nlines", &"x".repeat(1001)] {
        assert!(matches!(Noted::new(&case, What::Told, reason, "anna", T0), Err(ExceptionError::Reason)));
    }
    // Nobody can record an approval of what was never asked for.
    let register = Register::default();
    assert!(matches!(register.fold(T0, &approval(&asked, 2)), Err(ExceptionError::NoSuchCase(_))));
}
