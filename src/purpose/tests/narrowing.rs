//! What narrows, what opens and what never does; and the properties of any policy with all of it.

use std::hint::black_box;
use std::time::Instant;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::check::forbids;
use super::*;

const FACTS: [&str; 3] = ["open-ticket", "guardian-consent", "vip"];
/// Every fact that a row of the random policies may depend on.
const KNOWN: [&str; 8] =
    ["open-ticket", "guardian-consent", "vip", "minor", "consent", "objection", "consent-to-recipient", "objection-to-recipient"];

fn fact(name: &str) -> FactSpec {
    FactSpec { name: name.to_owned(), line: 2, means: format!("{name} holds") }
}

fn named(names: &[&str], line: Line) -> Vec<(String, Line)> {
    names.iter().map(|name| ((*name).to_owned(), line)).collect()
}

fn limit(name: &str, line: Line, when: &[&str], unless: &[&str], at_most: &[(&str, Level)]) -> LimitSpec {
    LimitSpec {
        name: name.to_owned(),
        line,
        when: named(when, line),
        unless: named(unless, line),
        at_most: levels(at_most, line),
        clauses: vec![format!("clause-{name}")],
        ..LimitSpec::default()
    }
}

fn demand() -> ExceptionSpec {
    ExceptionSpec {
        name: "authority-demand".to_owned(),
        line: 95,
        dpv: Some("dpv:LegalCompliance".to_owned()),
        callers: vec![CallerName::new("helpdesk")],
        reveal: levels(&[("*", Level::Clear), ("id-card", Level::Masked)], 96),
        evidence: vec!["case-number".to_owned(), "law".to_owned()],
        approvers: 2,
        ttl_hours: 72,
        ..ExceptionSpec::default()
    }
}

/// The shop with a ticket for support, consent for marketing, minors, a combination, and a demand of an authority.
fn full_shop() -> PolicySpec {
    let mut spec = shop();
    spec.facts = FACTS.iter().map(|name| fact(name)).collect();
    spec.ages = vec![AgeSpec { name: "minor".to_owned(), line: 3, under: 18, clauses: Vec::new() }];
    let device = CategorySpec { nature: Nature::Linkable, ..category("device", 8) };
    spec.categories.push(device);
    spec.purposes[1].terms.needs = named(&["open-ticket"], 22);
    spec.purposes[1].reveal.push((CategoryName::new("device"), Level::Clear, 24));
    spec.purposes[2].terms.consent = Consent::OptIn;
    spec.purposes[3].terms.consent = Consent::OptOut;
    spec.recipients[0].terms.consent = Consent::OptIn;
    let mut minors = limit("minors", 52, &["minor"], &["guardian-consent"], &[("*", Level::Absent)]);
    minors.except = vec![(PurposeName::new("delivery"), 52)];
    spec.limits = vec![minors, limit("combination", 56, &[facts::COMBINED], &[], &[("device", Level::Pseudonym)])];
    spec.exceptions = vec![demand()];
    spec
}

fn known(policy: &Policy, names: &[&str]) -> Facts {
    names.iter().filter_map(|name| policy.facts().id(name)).fold(Facts::NONE, Facts::with)
}

fn row_level(policy: &Policy, caller: &str, purpose: &str, names: &[&str], category: &str) -> Level {
    decide(policy, caller, Some(purpose)).unwrap().row(known(policy, names)).level(policy.category(category).unwrap())
}

#[test]
fn a_purpose_sleeps_until_its_terms_are_met() {
    let policy = compiled(full_shop());
    let support = |names: &[&str]| row_level(&policy, "helpdesk", "support", names, "name");
    assert_eq!((support(&[]), support(&["open-ticket"]), support(&["vip"])), (Level::Absent, Level::Clear, Level::Absent));
    let marketing = |names: &[&str]| row_level(&policy, "mailer", "marketing", names, "name");
    assert_eq!(
        (marketing(&[]), marketing(&["consent"]), marketing(&["acceptance"])),
        (Level::Absent, Level::Masked, Level::Absent)
    );
    let statistics = |names: &[&str]| row_level(&policy, "analyst", "statistics", names, "name");
    assert_eq!((statistics(&[]), statistics(&["objection"])), (Level::Pseudonym, Level::Absent));
    // The recipient's own term is about the recipient only.
    let delivery = |caller, names: &[&str]| row_level(&policy, caller, "delivery", names, "name");
    assert_eq!((delivery("carrier", &[]), delivery("carrier", &["consent-to-recipient"])), (Level::Absent, Level::Clear));
    assert_eq!(delivery("shipping", &[]), Level::Clear);
    let grant = decide(&policy, "helpdesk", Some("support")).unwrap();
    assert!(
        !grant.row(Facts::NONE).may_write(CategoryId(0)) && grant.row(known(&policy, &["open-ticket"])).may_write(CategoryId(0))
    );
}

#[test]
fn what_a_grant_says_where_rows_differ_is_the_least_of_them() {
    let policy = compiled(full_shop());
    let grant = decide(&policy, "helpdesk", Some("support")).unwrap();
    assert!(grant.differs_by_row());
    assert_eq!((grant.level(CategoryId(0)), grant.may_write(CategoryId(0))), (Level::Absent, false));
    assert_eq!(grant.data_view(), "purpose=support, clear=(name device), masked=(phone), per-row");
    assert_eq!(grant.at_most().level(CategoryId(0)), Level::Clear);
    // Delivery by the shop's own people depends on nothing.
    let grant = decide(&policy, "shipping", Some("delivery")).unwrap();
    assert!(!grant.differs_by_row() && !grant.data_view().contains("per-row"));
    assert_eq!(grant.row(known(&policy, &["minor"])).level(CategoryId(0)), Level::Clear);
}

#[test]
fn a_limit_applies_when_and_unless() {
    let policy = compiled(full_shop());
    let ticket = |more: &str| row_level(&policy, "helpdesk", "support", &["open-ticket", "minor", more], "name");
    assert_eq!((ticket("vip"), ticket("guardian-consent")), (Level::Absent, Level::Clear));
    // What a limit leaves absent is not stored either, though writes lists it.
    let mut spec = full_shop();
    spec.purposes[1].writes = Some(vec![CategoryName::new("name"), CategoryName::new("phone")]);
    let policy = compiled(spec);
    let grant = decide(&policy, "helpdesk", Some("support")).unwrap();
    let may = |names: &[&str]| grant.row(known(&policy, names)).may_write(CategoryId(2));
    assert!(may(&["open-ticket"]) && !may(&["open-ticket", "minor"]));
}

#[test]
fn linkable_beside_identifying_falls() {
    let policy = compiled(full_shop());
    let grant = decide(&policy, "helpdesk", Some("support")).unwrap();
    let (name, address, device) = (CategoryId(0), CategoryId(1), policy.category("device").unwrap());
    assert!(grant.combines([name, device]) && !grant.combines([device]) && !grant.combines([name]));
    assert!(!grant.combines([address, device]), "the purpose does not reveal the address");
    assert!(!grant.combines([CategoryId(99)]));
    assert_eq!(row_level(&policy, "helpdesk", "support", &["open-ticket"], "device"), Level::Clear);
    assert_eq!(row_level(&policy, "helpdesk", "support", &["open-ticket", facts::COMBINED], "device"), Level::Pseudonym);
    let explained = |holds: Option<Vec<CategoryId>>| {
        let circumstances = Circumstances { facts: known(&policy, &["open-ticket"]), holds };
        policy.explain_for(&CallerName::new("helpdesk"), Some("support"), &circumstances).unwrap()
    };
    assert_eq!(explained(None).categories[4].level, Level::Pseudonym);
    assert_eq!(explained(Some(vec![device])).categories[4].level, Level::Clear);
    assert_eq!(policy.pseudonym_scopes(), ["carrier", "statistics", "support"]);
}

#[test]
fn a_purpose_of_a_later_version_waits_for_what_the_change_says() {
    let with = |gate| {
        let mut spec = shop();
        spec.change = ChangeSpec { gate, line: 1, clauses: Vec::new() };
        spec.purposes[0].terms.since = Some((3, 11));
        compiled(spec)
    };
    let name = |gate, names: &[&str]| row_level(&with(gate), "shipping", "delivery", names, "name");
    assert_eq!(name(ChangeGate::Publication, &[]), Level::Clear);
    assert_eq!((name(ChangeGate::Notice, &[]), name(ChangeGate::Notice, &["told-of-version-3"])), (Level::Absent, Level::Clear));
    assert_eq!(name(ChangeGate::Notice, &["told-of-version-2"]), Level::Absent);
    assert_eq!(
        (name(ChangeGate::Consent, &["told-of-version-3"]), name(ChangeGate::Consent, &["consent"])),
        (Level::Absent, Level::Clear)
    );
}

#[test]
fn an_exception_opens_what_was_approved_and_no_more() {
    let policy = compiled(full_shop());
    let helpdesk = CallerName::new("helpdesk");
    let categories = [CategoryName::new("name"), CategoryName::new("id-card")];
    let evidence = ["law".to_owned(), "case-number".to_owned()];
    let good = Opening {
        caller: &helpdesk,
        exception: "authority-demand",
        categories: &categories,
        evidence: &evidence,
        approvers: 2,
        hours: 72,
    };
    let opened = policy.open(&good).unwrap();
    let shown: Vec<Level> = (0..5).map(|id| opened.level(CategoryId(id))).collect();
    assert_eq!(shown, [Level::Clear, Level::Absent, Level::Absent, Level::Masked, Level::Absent]);
    assert!(!opened.may_collect(CategoryId(0)));
    let refused = |opening: Opening<'_>| policy.open(&opening).unwrap_err().to_string();
    assert_eq!(refused(Opening { exception: "demand", ..good }), "there is no exception demand");
    assert_eq!(refused(Opening { caller: &CallerName::new("mailer"), ..good }), "exception authority-demand is not for mailer");
    assert_eq!(refused(Opening { evidence: &evidence[..1], ..good }), "exception authority-demand needs case-number on record");
    assert_eq!(refused(Opening { approvers: 1, ..good }), "exception authority-demand needs 2 who agree, and has 1");
    assert_eq!(refused(Opening { hours: 73, ..good }), "exception authority-demand is over: it is for 72 h");
    // To let data be collected is another thing than to show them.
    let mut spec = full_shop();
    spec.exceptions[0].opens = Opens::Collection;
    let opened = compiled(spec).open(&good).unwrap();
    assert!((0..5).all(|id| opened.level(CategoryId(id)) == Level::Absent));
    assert_eq!((0..5).map(|id| opened.may_collect(CategoryId(id))).collect::<Vec<_>>(), [true, false, false, true, false]);
}

#[test]
fn the_grant_of_an_exception_shows_those_whom_it_names_and_does_nothing_else() {
    let policy = compiled(full_shop());
    let helpdesk = CallerName::new("helpdesk");
    let categories = [CategoryName::new("name"), CategoryName::new("id-card")];
    let evidence = ["law".to_owned(), "case-number".to_owned()];
    let id: ExceptionId = "ex_01234567890abcdefghjkmnpqr".parse().unwrap();
    let opening = Opening {
        caller: &helpdesk,
        exception: "authority-demand",
        categories: &categories,
        evidence: &evidence,
        approvers: 2,
        hours: 72,
    };
    let person = |id: &str| RecordId::from_text(id).unwrap();
    let named = Named::new([person("c-1"), person("c-2")]);
    let grant = policy.decide_exception(&id, &opening, 1_000).unwrap();
    assert_eq!(
        grant.data_view(),
        "purpose=authority-demand, exception=ex_01234567890abcdefghjkmnpqr, clear=(name), masked=(id-card), per-row"
    );
    assert_eq!(grant.exception(), Some((&id, Opens::Disclosure)));
    assert_eq!((grant.scope(), grant.purpose().as_str()), ("authority-demand", "authority-demand"));
    assert!(grant.differs_by_row() && grant.turns_on().count() == 1, "a node that is behind must not use it");
    let all: Vec<CategoryId> = (0..5).map(CategoryId).collect();
    let shown = |who: Option<&RecordId>| all.iter().map(|id| grant.row(named.facts(who)).level(*id)).collect::<Vec<_>>();
    assert_eq!(shown(Some(&person("c-2"))), [Level::Clear, Level::Absent, Level::Absent, Level::Masked, Level::Absent]);
    assert_eq!(shown(Some(&person("c-3"))), [Level::Absent; 5]);
    assert_eq!(shown(None), [Level::Absent; 5]);
    for row in [grant.row(named.facts(Some(&person("c-1")))), &grant.at_most()] {
        assert!(!row.may_delete() && all.iter().all(|id| !row.may_write(*id) && !row.may_search(*id)));
    }
    assert!(all.iter().all(|id| grant.level(*id) == Level::Absent && !grant.may_write(*id)) && !grant.may_delete());
    // Another exception of the same rule is not the same grant.
    let other = policy.decide_exception(&"ex_z1234567890abcdefghjkmnpqr".parse().unwrap(), &opening, 1_000).unwrap();
    assert!(grant.allows_the_same(&grant.clone()) && !grant.allows_the_same(&other));
    // To let data be collected is another thing than to show them.
    let mut spec = full_shop();
    spec.exceptions[0].opens = Opens::Collection;
    let grant = compiled(spec).decide_exception(&id, &opening, 1_000).unwrap();
    assert_eq!(grant.data_view(), "purpose=authority-demand, exception=ex_01234567890abcdefghjkmnpqr, per-row");
    let row = grant.row(named.facts(Some(&person("c-1"))));
    assert!(all.iter().all(|id| row.level(*id) == Level::Absent && !row.may_search(*id)));
    assert_eq!(all.iter().map(|id| row.may_write(*id)).collect::<Vec<_>>(), [true, false, false, true, false]);
    assert!(all.iter().all(|id| !grant.row(named.facts(Some(&person("c-3")))).may_write(*id)));
}

#[test]
fn an_exception_has_pseudonyms_of_its_own() {
    let mut spec = full_shop();
    spec.exceptions[0].reveal = levels(&[("name", Level::Pseudonym)], 96);
    spec.exceptions[0].callers.push(CallerName::new("carrier"));
    let policy = compiled(spec);
    let scopes = policy.pseudonym_scopes();
    assert!(
        ["authority-demand", "carrier", "statistics"].iter().all(|scope| scopes.contains(&(*scope).to_owned())),
        "{scopes:?}"
    );
    assert!(!compiled(full_shop()).pseudonym_scopes().contains(&"authority-demand".to_owned()));
}

#[test]
fn a_never_binds_categories_recipients_and_exceptions() {
    let mut spec = full_shop();
    spec.nevers = vec![
        NeverSpec { categories: vec![CategoryName::new("id-card")], ..never("cards", 60, &[]) },
        NeverSpec { recipients: vec!["processor".to_owned()], ..never("outside", 61, &["dpv:RequestedServiceProvision"]) },
        NeverSpec { recipients: vec!["third-party".to_owned()], ..never("marketing-by-others", 62, &["dpv:Marketing"]) },
    ];
    assert_eq!(
        findings(spec.clone()),
        [
            "10: purpose delivery shows id-card, which never.cards (line 60) forbids | make id-card absent there; a never is not opened by anything",
            "10: purpose delivery shows name to carrier, which never.outside (line 61) forbids | make name absent there; a never is not opened by anything",
            "95: exception.authority-demand opens what never.cards (line 60) forbids | write id-card = \"absent\" in its reveal; a never is not opened by anything",
        ]
    );
    spec.nevers.remove(1);
    spec.purposes[0].reveal.pop();
    spec.exceptions[0].reveal = levels(&[("*", Level::Clear), ("id-card", Level::Absent)], 96);
    compiled(spec.clone());
    spec.exceptions[0].dpv = Some("dpv:SellInsightsFromData".to_owned());
    spec.nevers = vec![never("sale", 60, &["dpv:SellProducts"])];
    assert_eq!(
        findings(spec),
        [
            "95: exception.authority-demand opens what never.sale (line 60) forbids | remove the exception; a never is not opened by anything"
        ]
    );
}

#[test]
fn every_mistake_in_what_narrows_and_opens_is_found_at_once() {
    let mut spec = full_shop();
    spec.facts.push(fact("consent"));
    spec.facts.push(fact("vip"));
    spec.purposes[0].terms =
        Terms { needs: named(&["open-tiket", facts::COMBINED], 12), since: Some((4, 13)), ..Terms::default() };
    spec.purposes[0].collects.required = vec![CategoryName::new("id-card")];
    spec.limits.push(limit("lost", 57, &["minor"], &["minor"], &[("name", Level::Absent)]));
    let mut nobody = limit("nobody", 58, &["vip"], &[facts::COMBINED], &[("nmae", Level::Absent)]);
    nobody.purposes = vec![(PurposeName::new("delivery"), 58), (PurposeName::new("deliver"), 58)];
    nobody.except = vec![(PurposeName::new("delivery"), 58)];
    spec.limits.push(nobody);
    spec.limits.push(limit("empty", 59, &[], &[], &[]));
    let hollow = ExceptionSpec {
        name: "support".to_owned(),
        line: 97,
        callers: vec![CallerName::new("x")],
        approvers: 1,
        ..ExceptionSpec::default()
    };
    spec.exceptions.push(hollow);
    spec.tests.push(TestSpec {
        name: "of nobody".to_owned(),
        line: 99,
        expect: levels(&[("name", Level::Clear)], 99),
        ..TestSpec::default()
    });
    let mut wrong = test("wrong facts", 100, "helpdesk", "support", &[("name", Level::Clear)]);
    wrong.ask.as_mut().unwrap().facts = named(&["tiket", facts::COMBINED, "told-of-version-2"], 101);
    spec.tests.push(wrong);
    assert_eq!(
        findings(spec),
        [
            "2: the fact consent is built in | remove it; it may be used without being declared",
            "2: fact vip stands here for the second time (first in line 2) | remove one, or give it another name",
            "10: purpose delivery, required lists id-card, which it may not write | add it to writes, or do not require it",
            "12: purpose delivery, needs names the fact open-tiket, which [fact] does not have | correct the name, or declare the fact",
            "12: purpose delivery needs linkable-with-identifying, which only narrows | use it in when of a limit",
            "13: purpose delivery is there since version 4, and the policy is version 3 | name the version that brought it, 2 or later; remove it for what was there from the start",
            "57: limit.lost is never reached: every fact in when is also in unless | remove the fact from one of the two",
            "58: limit.nobody names the purpose deliver, which is not there | correct the name",
            "58: limit.nobody does not apply where linkable-with-identifying holds, so a fuller reply would show more | use it in when",
            "58: limit.nobody, at_most names the category nmae, which [category] does not have | correct the name, or add the category",
            "58: limit.nobody is never reached: it is left with no purpose | correct purposes and except, or remove the limit",
            "59: limit.empty narrows nothing | list levels in at_most, for instance { \"*\" = \"absent\" }",
            "97: exception.support has the name of a purpose (line 20) | rename one: who reads the audit log must not take one for the other",
            "97: exception.support has no dpv: id, so never.sale cannot be checked against it | give it the dpv: id that fits it best, for instance dpv:LegalCompliance",
            "97: exception.support opens nothing | list in reveal the most that it may open",
            "97: exception.support asks for nothing on record | list in evidence what must be written down, for instance [\"case-number\", \"law\"]",
            "99: test \"of nobody\" expects something of nobody | add ask = { caller = \"…\", purpose = \"…\" }",
            "101: test \"wrong facts\" names the fact tiket, which [fact] does not have | correct the name, or declare the fact",
            "101: test \"wrong facts\" sets linkable-with-identifying, which follows from what the reply holds | list the categories of the reply in holds",
            "101: test \"wrong facts\" names the fact told-of-version-2, and no purpose came with that version | correct the version, or give the purpose that came with it its since",
        ]
    );
}

#[test]
fn more_facts_than_rows_can_be_looked_up_by_are_refused() {
    let mut spec = shop();
    let names: Vec<String> = (0..13).map(|at| format!("fact-{at}")).collect();
    spec.facts = names.iter().map(|name| fact(name)).collect();
    spec.purposes[1].terms.needs = names.iter().map(|name| (name.clone(), 21)).collect();
    assert_eq!(
        findings(spec.clone()),
        [
            "20: purpose support depends on 13 facts, and 12 are the most it can | join facts, or say with purposes or except which limits are not about it"
        ]
    );
    spec.purposes[1].terms.needs.pop();
    let policy = compiled(spec);
    assert!(policy.warnings().iter().any(|warning| warning.message == "no rule asks for the fact fact-12"));
    let all: Vec<&str> = names[..12].iter().map(String::as_str).collect();
    assert_eq!(row_level(&policy, "helpdesk", "support", &all, "name"), Level::Clear);
    assert_eq!(row_level(&policy, "helpdesk", "support", &all[1..], "name"), Level::Absent);
}

fn any_terms() -> impl Strategy<Value = Terms> {
    (select(vec![Consent::None, Consent::None, Consent::OptIn, Consent::OptOut]), subsequence(FACTS.to_vec(), 0..=1))
        .prop_map(|(consent, needs)| Terms { consent, needs: named(&needs, 1), ..Terms::default() })
}

fn any_limit(name: &'static str) -> impl Strategy<Value = LimitSpec> {
    let when = subsequence(vec!["open-ticket", "vip", "minor", "consent", facts::COMBINED], 0..=2);
    let unless = subsequence(vec!["guardian-consent", "objection"], 0..=1);
    let purposes = subsequence(vec!["purpose-0", "purpose-1", "purpose-2"], 0..=2);
    (when, unless, purposes, any::<bool>(), any_levels()).prop_map(move |(when, unless, purposes, only, at_most)| {
        let purposes: Vec<(PurposeName, Line)> = purposes.iter().map(|name| (PurposeName::new(name), 1)).collect();
        let (purposes, except) = if only { (purposes, Vec::new()) } else { (Vec::new(), purposes) };
        LimitSpec { purposes, except, at_most, ..limit(name, 1, &when, &unless, &[]) }
    })
}

fn any_never(name: &'static str) -> impl Strategy<Value = NeverSpec> {
    let purposes = subsequence(vec!["dpv:Marketing", "dpv:SellProducts", "dpv:LegalCompliance"], 0..=1);
    let recipients = subsequence(vec!["processor"], 0..=1);
    (purposes, recipients, subsequence(CATEGORIES.to_vec(), 0..=2)).prop_map(move |(purposes, recipients, categories)| {
        NeverSpec {
            recipients: recipients.iter().map(|kind| (*kind).to_owned()).collect(),
            categories: categories.into_iter().map(CategoryName::new).collect(),
            ..never(name, 1, &purposes)
        }
    })
}

fn any_exception() -> impl Strategy<Value = ExceptionSpec> {
    (
        any_levels(),
        select(vec!["dpv:LegalCompliance", "dpv:TargetedAdvertising", "dpv:DisputeManagement"]),
        subsequence(CALLERS.to_vec(), 0..=2),
    )
        .prop_map(|(reveal, dpv, callers)| ExceptionSpec {
            reveal,
            dpv: Some(dpv.to_owned()),
            callers: callers.into_iter().map(CallerName::new).collect(),
            ..demand()
        })
}

/// Random policies with everything; not all of them load.
fn any_full() -> impl Strategy<Value = PolicySpec> {
    let natures = prop::collection::vec(select(vec![Nature::Identifying, Nature::Linkable, Nature::Neither]), CATEGORIES.len());
    let limits = (prop::option::of(any_limit("first")), prop::option::of(any_limit("second")));
    let nevers = prop::option::weighted(0.3, any_never("kept"));
    let terms = prop::collection::vec(any_terms(), 8);
    (any_policy(), natures, limits, nevers, any_exception(), terms).prop_map(
        |(mut spec, natures, limits, never, exception, terms)| {
            spec.version = 3;
            for (category, nature) in spec.categories.iter_mut().zip(natures) {
                category.nature = nature;
            }
            spec.facts = FACTS.iter().map(|name| fact(name)).collect();
            spec.ages = vec![AgeSpec { name: "minor".to_owned(), line: 1, under: 18, clauses: Vec::new() }];
            let mut terms = terms.into_iter();
            for (purpose, terms) in spec.purposes.iter_mut().zip(terms.by_ref()) {
                purpose.terms = terms;
            }
            for (recipient, terms) in spec.recipients.iter_mut().zip(terms.by_ref()) {
                recipient.terms = terms;
            }
            spec.limits = limits.0.into_iter().chain(limits.1).collect();
            spec.nevers = never.into_iter().collect();
            spec.exceptions = vec![exception];
            spec
        },
    )
}

/// A rule that is not a purpose and not an exception, or another term.
#[derive(Debug, Clone)]
enum Rule {
    Limit(LimitSpec),
    Never(NeverSpec),
    Always(Always),
    Fact,
    Age(u8),
    Ask(usize, Terms),
    AskRecipient(usize, Terms),
    Since(usize),
}

fn any_rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        4 => any_limit("added").prop_map(Rule::Limit),
        2 => any_never("added").prop_map(Rule::Never),
        1 => select(Always::ALL.to_vec()).prop_map(Rule::Always),
        1 => Just(Rule::Fact),
        1 => (1..100_u8).prop_map(Rule::Age),
        2 => (0..5_usize, any_terms()).prop_map(|(at, terms)| Rule::Ask(at, terms)),
        2 => (0..2_usize, any_terms()).prop_map(|(at, terms)| Rule::AskRecipient(at, terms)),
        1 => (0..5_usize).prop_map(Rule::Since),
    ]
}

/// Adds terms to terms; consent is asked for only where nobody was asked.
fn join(own: &mut Terms, more: &Terms) {
    if own.consent == Consent::None {
        own.consent = more.consent;
    }
    let new = more.needs.iter().filter(|(name, _)| own.needs.iter().all(|(known, _)| known != name)).cloned().collect::<Vec<_>>();
    own.needs.extend(new);
}

fn add(mut spec: PolicySpec, rule: &Rule) -> PolicySpec {
    match rule {
        Rule::Limit(limit) => spec.limits.push(limit.clone()),
        Rule::Never(never) => spec.nevers.push(never.clone()),
        Rule::Always(what) => spec.always.push(AlwaysSpec { what: *what, line: 1, clauses: Vec::new() }),
        Rule::Fact => spec.facts.insert(0, fact("added")),
        Rule::Age(under) => {
            spec.ages.insert(0, AgeSpec { name: "younger".to_owned(), line: 1, under: *under, clauses: Vec::new() });
        }
        Rule::Ask(at, terms) => spec.purposes.get_mut(*at).into_iter().for_each(|purpose| join(&mut purpose.terms, terms)),
        Rule::AskRecipient(at, terms) => {
            spec.recipients.get_mut(*at).into_iter().for_each(|recipient| join(&mut recipient.terms, terms));
        }
        Rule::Since(at) => spec.purposes.get_mut(*at).into_iter().for_each(|purpose| purpose.terms.since = Some((2, 1))),
    }
    spec
}

fn any_ids() -> impl Strategy<Value = Vec<CategoryId>> {
    subsequence((0_u16..5).map(CategoryId).collect::<Vec<_>>(), 0..=5)
}

/// What one row shows, with the combination that follows from what the reply holds.
fn shown<'g>(policy: &Policy, grant: &'g Grant, names: &[&str], held: &[CategoryId]) -> &'g Row {
    let combined = grant.combines(held.iter().copied());
    let facts = known(policy, names);
    grant.row(if combined { facts.with(policy.facts().id(facts::COMBINED).unwrap()) } else { facts })
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 200_000, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn adding_a_rule_that_is_no_purpose_and_no_exception_never_reveals_more(
        spec in any_full(), rule in any_rule(), names in subsequence(KNOWN.to_vec(), 0..=KNOWN.len()), held in any_ids(),
    ) {
        let Ok(before) = Policy::compile(spec.clone()) else { return Err(TestCaseError::reject("does not load")) };
        // A policy that does not load shows nothing.
        let Ok(after) = Policy::compile(add(spec, &rule)) else { return Ok(()) };
        for caller in CALLERS {
            for purpose in before.purposes() {
                let Ok(now) = decide(&after, caller, Some(purpose.name.as_str())) else { continue };
                let was = decide(&before, caller, Some(purpose.name.as_str())).expect("may be used after, so before");
                let (is, had) = (shown(&after, &now, &names, &held), shown(&before, &was, &names, &held));
                for id in (0_u16..).take(CATEGORIES.len()).map(CategoryId) {
                    prop_assert!(is.level(id).is_at_most(had.level(id)), "{rule:?} {caller} {}", purpose.name);
                    prop_assert!(had.may_write(id) || !is.may_write(id), "{rule:?} {caller} {}", purpose.name);
                    prop_assert!(had.may_search(id) || !is.may_search(id), "{rule:?} {caller} {}", purpose.name);
                    prop_assert!(now.level(id).is_at_most(was.level(id)));
                }
                prop_assert!(had.may_delete() || !is.may_delete());
            }
        }
    }

    #[test]
    fn a_row_is_between_the_least_and_the_most_and_is_what_is_explained(
        spec in any_full(), names in subsequence(KNOWN.to_vec(), 0..=KNOWN.len()), held in any_ids(),
    ) {
        let Ok(policy) = Policy::compile(spec) else { return Err(TestCaseError::reject("does not load")) };
        for caller in CALLERS {
            for purpose in policy.purposes() {
                let Ok(grant) = decide(&policy, caller, Some(purpose.name.as_str())) else { continue };
                let row = shown(&policy, &grant, &names, &held);
                let most = grant.at_most();
                let circumstances = Circumstances { facts: known(&policy, &names), holds: Some(held.clone()) };
                let explained =
                    policy.explain_for(&CallerName::new(caller), Some(purpose.name.as_str()), &circumstances).unwrap();
                for (found, id) in explained.categories.iter().zip((0_u16..).map(CategoryId)) {
                    prop_assert!(grant.level(id).is_at_most(row.level(id)) && row.level(id).is_at_most(most.level(id)));
                    prop_assert!(row.may_write(id) || !grant.may_write(id));
                    prop_assert_eq!((found.level, found.at_most), (row.level(id), most.level(id)));
                    prop_assert_eq!((found.writable, found.searchable), (row.may_write(id), row.may_search(id)));
                    // Whatever is less than what the purpose reveals has a second rule that says why.
                    let revealed = super::super::policy::said(&purpose.reveal, &found.category).map_or(Level::Absent, |said| said.level);
                    prop_assert_eq!(found.rules.len() > 1, revealed != Level::Absent && (found.level != revealed), "{:?}", found);
                    if row.level(id) == Level::Pseudonym {
                        prop_assert!(policy.pseudonym_scopes().iter().any(|scope| scope == grant.scope()));
                    }
                }
                let narrows = explained.conditions.iter().any(|condition| condition.narrows);
                prop_assert!(grant.differs_by_row() || !narrows || explained.conditions.is_empty());
            }
        }
    }

    #[test]
    fn no_exception_opens_what_a_never_closes(spec in any_full(), other in any_never("added")) {
        let mut spec = spec;
        spec.nevers.push(other);
        // Also where nobody checked.
        for policy in [Policy::compile(spec.clone()).ok(), Some(Policy::assemble(spec.clone(), Vec::new()))].into_iter().flatten() {
            for exception in &policy.spec().exceptions {
                let every: Vec<CategoryName> = CATEGORIES.map(CategoryName::new).to_vec();
                for caller in &exception.callers {
                    let opening = Opening { caller, exception: &exception.name, categories: &every, evidence: &exception.evidence, approvers: 2, hours: 1 };
                    let opened = policy.open(&opening).unwrap();
                    let kind = policy.recipient(caller).map(|recipient| recipient.kind.as_str());
                    for (category, id) in every.iter().zip((0_u16..).map(CategoryId)) {
                        let closed = policy.spec().nevers.iter().any(|never| forbids(never, exception.dpv.as_deref(), kind, Some(category)));
                        prop_assert!(!closed || (opened.level(id) == Level::Absent && !opened.may_collect(id)));
                    }
                }
            }
        }
    }
}

/// Not a test of the build machine's speed: it prints what a row costs as rules grow (S6). `cargo test --release -- --ignored row_costs`.
#[test]
#[ignore = "measures"]
fn what_a_row_costs() {
    for rules in [1_usize, 10, 100, 1_000] {
        let mut spec = full_shop();
        for at in 0..rules {
            let when = [FACTS[at % 3], "minor"];
            spec.limits.push(limit(&format!("limit-{at}"), 1, &when[..=at % 2], &[], &[("phone", Level::Masked)]));
        }
        let policy = compiled(spec);
        let grant = decide(&policy, "helpdesk", Some("support")).unwrap();
        let facts: Vec<Facts> = (0..64).map(|bits| Facts::of_bits(bits * 0x91)).collect();
        let held = [CategoryId(0), CategoryId(2), CategoryId(4)];
        let time = |mut call: Box<dyn FnMut(usize)>| {
            // A million: nanoseconds of one are thousandths of a second of all.
            const ROUNDS: usize = 1_000_000;
            let start = Instant::now();
            (0..ROUNDS).for_each(&mut call);
            start.elapsed().as_secs_f64() * 1_000.0
        };
        let (one, many) = (grant.clone(), facts.clone());
        let look_up = time(Box::new(move |at| {
            black_box(one.row(many[at % 64]).level(CategoryId(0)));
        }));
        let combined = policy.facts().id(facts::COMBINED).unwrap();
        let combine = time(Box::new(move |at| {
            let known = facts[at % 64];
            let known = if grant.combines(held) { known.with(combined) } else { known };
            black_box(grant.row(known).level(CategoryId(0)));
        }));
        println!("{rules} limits: {look_up:.1} ns a row, {combine:.1} ns with the combination");
    }
}
