//! Tests of the compiled policy: decisions, refusals, findings, explanations, and the properties that any policy must have.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

mod narrowing;

use super::*;
use crate::base::limits::GRANT_LIFETIME_MS;
use crate::base::{CallerName, CategoryName, Clock, ExceptionId, FixedClock, PurposeName, RecordId};

fn category(name: &str, line: Line) -> CategorySpec {
    CategorySpec {
        name: CategoryName::new(name),
        line,
        dpv: "pd:Name".to_owned(),
        nature: Nature::Identifying,
        mask: None,
        generalise: None,
        clauses: Vec::new(),
    }
}

fn levels(entries: &[(&str, Level)], line: Line) -> LevelList {
    entries.iter().map(|(name, level)| (CategoryName::new(name), *level, line)).collect()
}

fn purpose(name: &str, line: Line, dpv: &str, callers: &[&str], reveal: &[(&str, Level)]) -> PurposeSpec {
    PurposeSpec {
        name: PurposeName::new(name),
        line,
        dpv: Some(dpv.to_owned()),
        basis: Some("dpv:ContractPerformance".to_owned()),
        callers: callers.iter().map(|caller| CallerName::new(caller)).collect(),
        reveal: levels(reveal, line + 4),
        reveal_line: line + 4,
        writes: None,
        writes_line: 0,
        search: Vec::new(),
        search_line: 0,
        delete: false,
        terms: Terms::default(),
        collects: Collects::default(),
        clauses: vec![format!("clause-{name}")],
    }
}

fn recipient(name: &str, line: Line, at_most: &[(&str, Level)]) -> RecipientSpec {
    RecipientSpec {
        name: CallerName::new(name),
        line,
        kind: "processor".to_owned(),
        at_most: levels(at_most, line),
        terms: Terms::default(),
        country: None,
        clauses: vec![format!("clause-{name}")],
    }
}

fn never(name: &str, line: Line, purposes: &[&str]) -> NeverSpec {
    NeverSpec {
        name: name.to_owned(),
        line,
        purposes: purposes.iter().map(|id| (*id).to_owned()).collect(),
        ..NeverSpec::default()
    }
}

fn test(name: &str, line: Line, caller: &str, purpose: &str, expect: &[(&str, Level)]) -> TestSpec {
    let under = Under::Purpose { purpose: PurposeName::new(purpose), holds: None };
    let ask = Ask { caller: CallerName::new(caller), under, facts: Vec::new(), age: None };
    TestSpec { name: name.to_owned(), line, ask: Some(ask), expect: levels(expect, line + 3), ..TestSpec::default() }
}

/// The shop of the demo: four purposes, one recipient.
pub(crate) fn shop() -> PolicySpec {
    use Level::{Absent, Clear, Generalised, Masked, Pseudonym};
    PolicySpec {
        id: "shop".to_owned(),
        version: 3,
        categories: ["name", "address", "phone", "id-card"]
            .into_iter()
            .zip(4..)
            .map(|(name, line)| category(name, line))
            .collect(),
        purposes: vec![
            purpose(
                "delivery",
                10,
                "dpv:DeliveryOfGoods",
                &["shipping", "carrier"],
                &[("name", Clear), ("address", Clear), ("phone", Clear), ("id-card", Masked)],
            ),
            purpose("support", 20, "dpv:CustomerCare", &["helpdesk"], &[("name", Clear), ("phone", Masked)]),
            purpose("marketing", 30, "dpv:DirectMarketing", &["mailer"], &[("name", Masked)]),
            purpose(
                "statistics",
                40,
                "dpv:ServiceUsageAnalytics",
                &["analyst", "mailer"],
                &[("name", Pseudonym), ("address", Generalised)],
            ),
        ],
        recipients: vec![recipient("carrier", 50, &[("id-card", Absent), ("phone", Pseudonym)])],
        nevers: vec![never("sale", 60, &["dpv:SellDataToThirdParties"])],
        tests: vec![
            test("support sees a masked phone", 70, "helpdesk", "support", &[("phone", Masked), ("id-card", Absent)]),
            test("the carrier sees no id-card", 80, "carrier", "delivery", &[("id-card", Absent)]),
        ],
        ..PolicySpec::default()
    }
}

fn compiled(spec: PolicySpec) -> Policy {
    Policy::compile(spec).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

fn decide(policy: &Policy, caller: &str, declared: Option<&str>) -> Result<Grant, Refusal> {
    policy.decide(&CallerName::new(caller), declared, 1_000)
}

fn level(policy: &Policy, caller: &str, purpose: &str, category: &str) -> Level {
    decide(policy, caller, Some(purpose)).unwrap().level(policy.category(category).unwrap())
}

fn findings(spec: PolicySpec) -> Vec<String> {
    let errors = Policy::compile(spec).map(|_policy| ()).expect_err("must not compile");
    errors.iter().map(|error| format!("{}: {} | {}", error.line, error.message, error.remedy)).collect()
}

#[test]
fn a_purpose_is_declared_by_name_or_dpv_id_or_not_at_all() {
    let policy = compiled(shop());
    for declared in [Some("delivery"), Some("dpv:DeliveryOfGoods"), None] {
        let grant = decide(&policy, "shipping", declared).unwrap();
        assert_eq!((grant.purpose().as_str(), grant.caller().as_str(), grant.scope()), ("delivery", "shipping", "delivery"));
    }
    assert_eq!(decide(&policy, "mailer", Some("statistics")).unwrap().purpose().as_str(), "statistics");
}

#[test]
fn a_refusal_names_only_what_the_caller_may_use() {
    let policy = compiled(shop());
    let refused = |caller: &str, declared| decide(&policy, caller, declared).unwrap_err().to_string();
    assert_eq!(refused("helpdesk", Some("delivery")), "helpdesk may use support");
    assert_eq!(
        refused("mailer", None),
        "no purpose declared: add the header Data-Purpose (mailer may use marketing, statistics)"
    );
    assert_eq!(refused("stranger", Some("support")), "stranger may use no purpose");
    assert_eq!(refused("stranger", None), "stranger may use no purpose");
    // Compared exactly; a kind of a purpose is not the purpose.
    for wrong in ["Support", "support ", "", "dpv:CommunicationForCustomerCare", "dpv:customercare", "CustomerCare", "*"] {
        assert_eq!(refused("helpdesk", Some(wrong)), "helpdesk may use support", "{wrong:?}");
    }
}

#[test]
fn a_dpv_id_of_two_purposes_declares_neither() {
    let mut spec = shop();
    spec.purposes.push(purpose("returns", 65, "dpv:CustomerCare", &["helpdesk"], &[]));
    let policy = compiled(spec);
    assert_eq!(decide(&policy, "helpdesk", Some("returns")).unwrap().purpose().as_str(), "returns");
    assert_eq!(
        decide(&policy, "helpdesk", Some("dpv:CustomerCare")).unwrap_err().to_string(),
        "helpdesk may use support, returns (dpv:CustomerCare names more than one of them: declare one by its name)"
    );
    let warnings: Vec<&str> = policy.warnings().iter().map(|warning| warning.message.as_str()).collect();
    assert!(warnings.contains(&"helpdesk has two purposes that are dpv:CustomerCare (the other in line 20)"), "{warnings:?}");
}

#[test]
fn the_level_is_the_lower_bound_of_purpose_and_recipient() {
    let policy = compiled(shop());
    assert_eq!(level(&policy, "shipping", "delivery", "id-card"), Level::Masked);
    assert_eq!(level(&policy, "carrier", "delivery", "id-card"), Level::Absent);
    assert_eq!(level(&policy, "carrier", "delivery", "phone"), Level::Pseudonym);
    assert_eq!(level(&policy, "carrier", "delivery", "name"), Level::Clear);
    assert_eq!(level(&policy, "helpdesk", "support", "address"), Level::Absent);
    let grant = decide(&policy, "carrier", None).unwrap();
    assert_eq!(grant.scope(), "carrier");
    assert_eq!(grant.level(CategoryId(99)), Level::Absent);
    assert!(!grant.may_write(CategoryId(99)));
    assert_eq!(policy.pseudonym_scopes(), ["carrier", "statistics"]);
}

#[test]
fn a_star_stands_for_every_category_not_named_beside_it() {
    let mut spec = shop();
    spec.purposes[1].reveal = levels(&[("*", Level::Masked), ("id-card", Level::Absent)], 24);
    spec.recipients[0].at_most = levels(&[("*", Level::Absent), ("name", Level::Clear)], 50);
    let policy = compiled(spec);
    assert_eq!(level(&policy, "helpdesk", "support", "address"), Level::Masked);
    assert_eq!(level(&policy, "helpdesk", "support", "id-card"), Level::Absent);
    assert_eq!(decide(&policy, "carrier", None).unwrap().data_view(), "purpose=delivery, clear=(name)");
}

#[test]
fn data_view_is_a_structured_field_in_a_fixed_order() {
    let policy = compiled(shop());
    let view = |caller: &str, purpose: &str| decide(&policy, caller, Some(purpose)).unwrap().data_view().to_owned();
    assert_eq!(view("shipping", "delivery"), "purpose=delivery, clear=(name address phone), masked=(id-card)");
    assert_eq!(view("mailer", "marketing"), "purpose=marketing, masked=(name)");
    assert_eq!(view("analyst", "statistics"), "purpose=statistics, generalised=(address), pseudonym=(name)");
    let mut spec = shop();
    spec.purposes[2].reveal = levels(&[("name", Level::Absent), ("phone", Level::Sealed)], 34);
    let policy = compiled(spec);
    assert_eq!(decide(&policy, "mailer", Some("marketing")).unwrap().data_view(), "purpose=marketing, sealed=(phone)");
}

#[test]
fn writes_are_exactly_those_given_or_what_is_revealed_clear() {
    let names = |policy: &Policy, caller: &str| -> Vec<String> {
        let grant = decide(policy, caller, None).unwrap();
        let all = policy.categories().iter().map(|category| category.name.as_str());
        all.filter(|name| grant.may_write(policy.category(name).unwrap())).map(str::to_owned).collect()
    };
    let mut spec = shop();
    let policy = compiled(spec.clone());
    assert_eq!(names(&policy, "shipping"), ["name", "address", "phone"]);
    // The default follows the effective level, so a recipient's cap takes the right to write with it.
    assert_eq!(names(&policy, "carrier"), ["name", "address"]);
    assert!(!decide(&policy, "shipping", None).unwrap().may_delete());
    spec.purposes[0].writes = Some(Vec::new());
    spec.purposes[1].writes = Some(vec![CategoryName::new("id-card"), CategoryName::new("phone")]);
    spec.purposes[1].delete = true;
    let policy = compiled(spec);
    assert_eq!(names(&policy, "shipping"), Vec::<String>::new());
    assert_eq!(names(&policy, "helpdesk"), ["phone", "id-card"]);
    assert!(decide(&policy, "helpdesk", None).unwrap().may_delete());
}

#[test]
fn t19_a_grant_ends_after_its_lifetime_or_when_the_clock_goes_back() {
    let policy = compiled(shop());
    let clock = FixedClock::at(1_000_000);
    let grant = policy.decide(&CallerName::new("helpdesk"), None, clock.now_ms()).unwrap();
    for (now_ms, expired) in [
        (1_000_000, false),
        (1_000_000 + GRANT_LIFETIME_MS, false),
        (1_000_000 + GRANT_LIFETIME_MS + 1, true),
        (999_999, true),
        (0, true),
        (u64::MAX, true),
        (1_000_001, false),
    ] {
        clock.set(now_ms);
        assert_eq!(grant.expired(clock.now_ms()), expired, "{now_ms}");
    }
    assert_eq!(GRANT_LIFETIME_MS, 5_000);
}

#[test]
fn a_never_is_hit_through_every_kind_of_it() {
    let with = |id: &str, never_id: &str| {
        let mut spec = shop();
        spec.nevers = vec![never("line-crossed", 60, &[never_id])];
        spec.purposes = vec![purpose("plan", 10, id, &["a"], &[])];
        spec.recipients.clear();
        spec.tests.clear();
        spec
    };
    let hit = "10: purpose plan is dpv:SellDataToThirdParties, which never.line-crossed (line 60) forbids";
    assert_eq!(
        findings(with("dpv:SellDataToThirdParties", "dpv:SellDataToThirdParties")),
        [format!("{hit} | remove the purpose; a never is not opened by anything")]
    );
    assert_eq!(
        findings(with("dpv:RecruitmentTargetedAdvertising", "dpv:Marketing")),
        [
            "10: purpose plan is dpv:RecruitmentTargetedAdvertising, a kind of dpv:Marketing, which never.line-crossed (line 60) forbids \
          | remove the purpose; a never is not opened by anything"
        ]
    );
    let broader = compiled(with("dpv:SellProducts", "dpv:SellDataToThirdParties"));
    let warnings: Vec<&str> = broader.warnings().iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        warnings,
        [
            "purpose plan reveals nothing and writes nothing",
            "purpose plan is dpv:SellProducts, which includes dpv:SellDataToThirdParties that never.line-crossed (line 60) forbids",
        ]
    );
    assert_eq!(compiled(with("dpv:DeliveryOfGoods", "dpv:Marketing")).warnings().len(), 1);
}

#[test]
fn a_never_that_cannot_be_checked_is_a_finding() {
    let mut spec = shop();
    spec.purposes[0].dpv = None;
    spec.purposes[1].dpv = Some("acme:Care".to_owned());
    assert_eq!(
        findings(spec.clone()),
        [
            "10: purpose delivery has no dpv, so never.sale cannot be checked against it | give the purpose the dpv: id that fits it best",
            "20: purpose support is acme:Care, of which never.sale cannot know what it is a kind of | give the purpose the dpv: id that fits it best",
        ]
    );
    spec.nevers.clear();
    assert_eq!(decide(&compiled(spec), "helpdesk", Some("acme:Care")).unwrap().purpose().as_str(), "support");
}

#[test]
fn every_mistake_is_found_at_once() {
    let mut spec = shop();
    spec.categories.push(category("name", 8));
    spec.categories.push(CategorySpec { dpv: "Fax".to_owned(), ..category("Fax", 9) });
    spec.purposes[0].callers.push(CallerName::new("shipping"));
    spec.purposes[0].dpv = Some("dpv:DeliveryOfGood".to_owned());
    spec.purposes[1].reveal.push((CategoryName::new("fone"), Level::Clear, 25));
    spec.purposes[1].writes = Some(vec![CategoryName::new("mail")]);
    spec.purposes[1].writes_line = 26;
    spec.purposes.push(purpose("delivery", 45, "dpv:Purpose", &["Shipping"], &[]));
    spec.recipients.push(recipient("support", 51, &[("nmae", Level::Absent)]));
    spec.nevers = vec![never("sale", 60, &["dpv:SellData", "Marketing"]), never("sale", 61, &[])];
    spec.tests.push(test("the carrier sees no id-card", 90, "carier", "deliver", &[]));
    assert_eq!(
        findings(spec),
        [
            "8: category name stands here for the second time (first in line 4) | remove one, or give it another name",
            "9: category name \"Fax\" is not allowed | use a small letter, then small letters, digits and hyphens",
            "9: category Fax has the DPV id \"Fax\" | write it as prefix:Name, for instance pd:Name",
            "10: purpose delivery is dpv:DeliveryOfGood, which is not a purpose of DPV 2.3 | did you mean dpv:DeliveryOfGoods?",
            "10: in purpose delivery, caller shipping stands here for the second time (first in line 10) | remove one, or give it another name",
            "25: purpose support, reveal names the category fone, which [category] does not have | correct the name, or add the category",
            "26: purpose support, writes names the category mail, which [category] does not have | correct the name, or add the category",
            "45: purpose delivery is dpv:Purpose, which means any purpose | name what the data are used for",
            "45: caller name \"Shipping\" is not allowed | use a small letter, then small letters, digits and hyphens",
            "45: purpose delivery stands here for the second time (first in line 10) | remove one, or give it another name",
            "51: recipient support, at_most names the category nmae, which [category] does not have | correct the name, or add the category",
            "51: recipient support has the name of a purpose (line 20) | rename one: pseudonyms given to the recipient and for the purpose would be the same",
            "60: never.sale names dpv:SellData, which is not a purpose of DPV 2.3 | choose one from https://w3id.org/dpv/2.3#vocab-purposes",
            "60: never.sale names \"Marketing\" | write a DPV id, for instance dpv:SellDataToThirdParties",
            "61: never sale stands here for the second time (first in line 60) | remove one, or give it another name",
            "61: never.sale names nothing | list the DPV ids in purposes",
            "90: test \"the carrier sees no id-card\" asks for purpose deliver, which is not there | correct the name",
            "90: test \"the carrier sees no id-card\" asks as carier, which is a caller of no purpose | correct the name, or list it under a purpose's callers",
            "90: test \"the carrier sees no id-card\" expects nothing | list levels in expect, for instance expect = { name = \"clear\" }",
            "90: test \"the carrier sees no id-card\" stands here for the second time (first in line 80) | remove one, or give it another name",
        ]
    );
}

#[test]
fn what_is_odd_but_allowed_is_warned_of() {
    let mut spec = shop();
    spec.purposes.push(purpose("archive", 46, "dpv:RecordManagement", &[], &[("name", Level::Sealed)]));
    spec.recipients.push(recipient("broker", 52, &[]));
    let policy = compiled(spec);
    let warnings: Vec<String> = policy.warnings().iter().map(|warning| format!("{}: {warning}", warning.line)).collect();
    assert_eq!(warnings, ["46: nobody may use purpose archive", "52: recipient broker is a caller of no purpose"]);
    assert_eq!(policy.purposes_of(&CallerName::new("broker")), []);
    assert!(compiled(PolicySpec::default()).callers().is_empty());
}

#[test]
fn an_explanation_gives_every_rule_that_decided_or_narrowed() {
    let policy = compiled(shop());
    let said = |caller: &str, purpose: &str| -> Vec<String> {
        let explanation = policy.explain(&CallerName::new(caller), Some(purpose)).unwrap();
        let line = |category: &CategoryExplanation| {
            let rules: Vec<String> = category.rules.iter().map(|rule| format!("{} {}", rule.line, rule.says)).collect();
            format!("{} {}: {}", category.category, category.level, rules.join(" / "))
        };
        explanation.categories.iter().map(line).collect()
    };
    assert_eq!(
        said("helpdesk", "support"),
        [
            "name clear: 24 support reveals name \"clear\"",
            "address absent: 24 support does not list address",
            "phone masked: 24 support reveals phone \"masked\"",
            "id-card absent: 24 support does not list id-card",
        ]
    );
    assert_eq!(
        said("carrier", "delivery")[2..],
        [
            "phone pseudonym: 14 delivery reveals phone \"clear\" / 50 recipient carrier may see phone at most \"pseudonym\"",
            "id-card absent: 14 delivery reveals id-card \"masked\" / 50 recipient carrier may see id-card at most \"absent\"",
        ]
    );
    let mut spec = shop();
    spec.purposes[0].reveal = levels(&[("*", Level::Masked)], 14);
    let explanation = compiled(spec).explain(&CallerName::new("carrier"), None).unwrap();
    let rules: Vec<&str> = explanation.categories[2].rules.iter().map(|rule| rule.says.as_str()).collect();
    assert_eq!(
        rules,
        [
            "delivery reveals every other category (\"*\") \"masked\"",
            "recipient carrier may see phone at most \"pseudonym\"; \"masked\" and \"pseudonym\" share only \"sealed\"",
        ]
    );
    assert_eq!(explanation.recipient.as_deref(), Some("processor"));
    assert_eq!(explanation.clauses, ["clause-delivery", "clause-carrier"]);
}

#[test]
fn a_test_fails_where_the_policy_gives_another_level() {
    let mut spec = shop();
    spec.tests.push(test("wrong", 90, "helpdesk", "support", &[("*", Level::Absent), ("phone", Level::Masked)]));
    spec.tests.push(test("refused", 100, "helpdesk", "delivery", &[("name", Level::Absent)]));
    spec.tests.push(test("refused, but expected", 110, "helpdesk", "delivery", &[("name", Level::Clear)]));
    let outcomes = compiled(spec).run_tests();
    assert_eq!(outcomes.iter().map(TestOutcome::passed).collect::<Vec<_>>(), [true, true, false, true, false]);
    let [difference] = outcomes[2].differences.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!((difference.category.as_str(), difference.expected, difference.got), ("name", Level::Absent, Level::Clear));
    assert_eq!((difference.line, difference.rules[0].line), (93, 24));
    assert_eq!(outcomes[3].refusal.as_deref().unwrap(), "helpdesk may use support");
    assert_eq!((outcomes[4].differences[0].got, outcomes[4].differences[0].rules.len()), (Level::Absent, 0));
}

const CATEGORIES: [&str; 5] = ["name", "address", "phone", "id-card", "device"];
const CALLERS: [&str; 4] = ["shipping", "carrier", "helpdesk", "analyst"];
const DPV: [&str; 5] =
    ["dpv:DeliveryOfGoods", "dpv:CustomerCare", "dpv:Advertising", "dpv:TargetedAdvertising", "dpv:SellDataToThirdParties"];

fn any_levels() -> impl Strategy<Value = LevelList> {
    let names = subsequence([CATEGORIES.as_slice(), &["*"]].concat(), 0..=CATEGORIES.len() + 1);
    names.prop_flat_map(|names| {
        let count = names.len();
        prop::collection::vec(select(Level::ALL.to_vec()), count)
            .prop_map(move |found| names.iter().zip(found).map(|(name, level)| (CategoryName::new(name), level, 1)).collect())
    })
}

fn any_purpose(at: u32) -> impl Strategy<Value = PurposeSpec> {
    let writes = prop::option::of(subsequence(CATEGORIES.to_vec(), 0..=CATEGORIES.len()));
    (select(DPV.to_vec()), subsequence(CALLERS.to_vec(), 0..=CALLERS.len()), any_levels(), writes, any::<bool>()).prop_map(
        move |(dpv, callers, reveal, writes, delete)| PurposeSpec {
            reveal,
            writes: writes.map(|names| names.into_iter().map(CategoryName::new).collect()),
            delete,
            ..purpose(&format!("purpose-{at}"), at, dpv, &callers, &[])
        },
    )
}

fn any_policy() -> impl Strategy<Value = PolicySpec> {
    let purposes =
        (0..5_usize).prop_flat_map(|count| (0..count).map(|at| any_purpose(u32::try_from(at).unwrap())).collect::<Vec<_>>());
    let recipients = subsequence(CALLERS.to_vec(), 0..=2)
        .prop_flat_map(|names| names.into_iter().map(|name| any_levels().prop_map(move |caps| (name, caps))).collect::<Vec<_>>());
    (purposes, recipients).prop_map(|(purposes, recipients)| PolicySpec {
        categories: CATEGORIES.iter().map(|name| category(name, 1)).collect(),
        purposes,
        recipients: recipients.into_iter().map(|(name, at_most)| RecipientSpec { at_most, ..recipient(name, 1, &[]) }).collect(),
        ..PolicySpec::default()
    })
}

/// A change that may only narrow.
#[derive(Debug, Clone)]
enum Narrower {
    /// A cap, in a recipient's entry that is there or new.
    Cap(&'static str, &'static str, Level),
    Never(&'static str),
    /// Takes out the n-th line of `reveal` of the n-th purpose.
    Unreveal(usize, usize),
    Uncaller(usize, usize),
}

fn any_narrower() -> impl Strategy<Value = Narrower> {
    prop_oneof![
        (select(CALLERS.to_vec()), select([CATEGORIES.as_slice(), &["*"]].concat()), select(Level::ALL.to_vec()))
            .prop_map(|(caller, category, level)| Narrower::Cap(caller, category, level)),
        select(["dpv:Marketing", "dpv:SellDataToThirdParties", "dpv:CustomerManagement"].to_vec()).prop_map(Narrower::Never),
        (0..5_usize, 0..6_usize).prop_map(|(purpose, line)| Narrower::Unreveal(purpose, line)),
        (0..5_usize, 0..4_usize).prop_map(|(purpose, caller)| Narrower::Uncaller(purpose, caller)),
    ]
}

/// The narrowed policy, or None where the change would replace a rule instead of adding or removing one.
fn narrow(mut spec: PolicySpec, change: &Narrower) -> Option<PolicySpec> {
    match change {
        Narrower::Cap(caller, category, level) => {
            let entry = (CategoryName::new(category), *level, 1);
            match spec.recipients.iter_mut().find(|recipient| recipient.name.as_str() == *caller) {
                // An own entry beside `*` says what holds instead of it, so it may raise a cap; a second entry of one name may not stand.
                Some(found) if found.at_most.iter().any(|(name, _, _)| name.as_str() == *category || name.as_str() == EVERY) => {
                    return None;
                }
                Some(found) => found.at_most.push(entry),
                None => spec.recipients.push(RecipientSpec { at_most: vec![entry], ..recipient(caller, 1, &[]) }),
            }
        }
        Narrower::Never(id) => spec.nevers.push(never("added", 1, &[id])),
        Narrower::Unreveal(purpose, line) => {
            let reveal = &mut spec.purposes.get_mut(*purpose)?.reveal;
            // Taking out an own entry beside `*` would let `*` hold for it.
            if *line >= reveal.len()
                || (reveal[*line].0.as_str() != EVERY && reveal.iter().any(|(name, _, _)| name.as_str() == EVERY))
            {
                return None;
            }
            reveal.remove(*line);
        }
        Narrower::Uncaller(purpose, caller) => {
            let callers = &mut spec.purposes.get_mut(*purpose)?.callers;
            if *caller >= callers.len() {
                return None;
            }
            callers.remove(*caller);
        }
    }
    Some(spec)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn adding_a_cap_or_a_never_or_removing_a_reveal_never_reveals_more(spec in any_policy(), change in any_narrower()) {
        let Some(narrowed) = narrow(spec.clone(), &change) else { return Ok(()) };
        let before = compiled(spec);
        // A policy that a never refuses to load reveals nothing.
        let Ok(after) = Policy::compile(narrowed) else { return Ok(()) };
        for caller in CALLERS {
            for purpose in before.purposes() {
                let Ok(now) = decide(&after, caller, Some(purpose.name.as_str())) else { continue };
                let was = decide(&before, caller, Some(purpose.name.as_str())).expect("may be used after, so before");
                for id in (0_u16..).take(CATEGORIES.len()).map(CategoryId) {
                    prop_assert!(now.level(id).is_at_most(was.level(id)), "{change:?} {caller} {}", purpose.name);
                    prop_assert!(was.may_write(id) || !now.may_write(id), "{change:?} {caller} {}", purpose.name);
                }
                prop_assert!(was.may_delete() || !now.may_delete());
            }
        }
    }

    #[test]
    fn a_grant_says_the_same_in_every_way_it_can_be_asked(spec in any_policy()) {
        let policy = compiled(spec);
        let mut scopes = BTreeSet::new();
        for caller in CALLERS.map(CallerName::new) {
            for purpose in policy.purposes() {
                let declared = Some(purpose.name.as_str());
                let Ok(grant) = policy.decide(&caller, declared, 0) else {
                    prop_assert!(!purpose.callers.contains(&caller));
                    prop_assert!(policy.explain(&caller, declared).is_err());
                    continue;
                };
                prop_assert!(purpose.callers.contains(&caller));
                let explanation = policy.explain(&caller, declared).unwrap();
                let mut shown = 0;
                for (found, id) in explanation.categories.iter().zip(0_u16..) {
                    prop_assert_eq!(found.level, grant.level(CategoryId(id)));
                    prop_assert_eq!(found.writable, grant.may_write(CategoryId(id)));
                    prop_assert!(!found.rules.is_empty());
                    shown += usize::from(found.level != Level::Absent);
                    if found.level == Level::Pseudonym {
                        scopes.insert(grant.scope().to_owned());
                    }
                }
                // Each shown category stands exactly once in Data-View.
                let view = grant.data_view();
                prop_assert_eq!(view.matches(['(', ' ']).count() - view.matches(", ").count(), shown, "{}", view);
            }
        }
        prop_assert_eq!(policy.pseudonym_scopes(), scopes.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn no_text_of_a_header_is_a_purpose_unless_the_policy_says_so(text in ".{0,40}") {
        let policy = compiled(shop());
        if !["support", "dpv:CustomerCare"].contains(&text.as_str()) {
            prop_assert!(decide(&policy, "helpdesk", Some(&text)).is_err());
        }
    }
}

#[test]
fn a_purpose_searches_by_what_it_lists_and_by_what_it_sees_clear() {
    let mut spec = shop();
    let delivery = spec.purposes.iter_mut().find(|purpose| purpose.name.as_str() == "delivery").unwrap();
    delivery.search = vec![CategoryName::new("phone"), CategoryName::new("id-card")];
    let policy = Policy::compile(spec.clone()).unwrap();
    let may = |caller: &str, category: &str| {
        let grant = policy.decide(&CallerName::new(caller), Some("delivery"), 0).unwrap();
        grant.may_search(policy.category(category).unwrap())
    };
    // Seen masked, but listed; seen clear; neither.
    assert!(may("shipping", "id-card") && may("shipping", "name") && may("shipping", "phone"));
    let support = policy.decide(&CallerName::new("helpdesk"), None, 0).unwrap();
    assert!(!support.may_search(policy.category("phone").unwrap()), "seen masked and not listed");
    // The recipient is capped: to find by a value is to learn it.
    assert!(!may("carrier", "phone") && !may("carrier", "id-card") && may("carrier", "name"));
    // A right to search is a right like others: a reply under way ends where it goes.
    let without = Policy::compile(shop()).unwrap().decide(&CallerName::new("shipping"), Some("delivery"), 0).unwrap();
    let with = policy.decide(&CallerName::new("shipping"), Some("delivery"), 0).unwrap();
    assert!(!with.allows_the_same(&without));
    spec.purposes[0].search = vec![CategoryName::new("shoe-size"), CategoryName::new("name"), CategoryName::new("name")];
    let errors: Vec<String> = Policy::compile(spec).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(errors.iter().any(|error| error.contains("search") && error.contains("shoe-size")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("search") && error.contains("name")) && errors.len() == 2, "{errors:?}");
}
