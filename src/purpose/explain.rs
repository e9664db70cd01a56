//! Why a caller sees what it sees: every level with the rules that decided or narrowed it.
//!
//! Always holds (test): the levels are those of the grant that [`Policy::decide`] gives, and of the row where the facts hold. Used by `policy explain` and by the
//! report of a failed policy test.

use super::check::at;
use super::facts::{self, Facts};
use super::policy::{Policy, Refusal, Said, said};
use super::rows::{limit_applies, touches};
use super::rules::{ChangeGate, Consent, LimitSpec, Terms};
use super::spec::{CategorySpec, EVERY, Line, PurposeSpec, RecipientSpec};
use super::{CategoryId, Level};
use crate::base::{CallerName, CategoryName, PurposeName};

/// What one caller sees and may do for one purpose, and why.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// Who asks.
    pub caller: CallerName,
    /// What for.
    pub purpose: PurposeName,
    /// Where the purpose stands.
    pub line: Line,
    /// The purpose's DPV id.
    pub dpv: Option<String>,
    /// Its legal basis.
    pub basis: Option<String>,
    /// `kind` of the recipient, if the caller is one.
    pub recipient: Option<String>,
    /// Where pseudonyms are stable: the recipient's name or the purpose's.
    pub scope: String,
    /// Every category, in the order of the file.
    pub categories: Vec<CategoryExplanation>,
    /// May documents be removed?
    pub delete: bool,
    /// Why the writable categories are those that they are.
    pub writes: Rule,
    /// Why the searchable ones are; None where they are those seen clear.
    pub searches: Option<Rule>,
    /// What it depends on, data subject by data subject, and whether that stands in the way now.
    pub conditions: Vec<Condition>,
    /// Categories without which nothing new is stored.
    pub required: Vec<CategoryName>,
    /// Where what it stores comes from.
    pub source: Option<String>,
    /// Clauses of the purpose, of the recipient, then of the limits that are about it.
    pub clauses: Vec<String>,
    /// The value of `Data-View` on a reply.
    pub data_view: String,
}

/// One category of an [`Explanation`].
#[derive(Debug, Clone)]
pub struct CategoryExplanation {
    /// Its name.
    pub category: CategoryName,
    /// The effective level.
    pub level: Level,
    /// The level of whom nothing that rows depend on is about.
    pub at_most: Level,
    /// The purpose names it, or everything.
    pub listed: bool,
    /// May a new value be stored?
    pub writable: bool,
    /// May documents be searched by a value, where a field allows it?
    pub searchable: bool,
    /// The rule that gives it (or its absence), then those that narrowed it.
    pub rules: Vec<Rule>,
}

/// One thing that rows depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The rule.
    pub rule: Rule,
    /// What it asks.
    pub asks: Asks,
    /// It stands in the way, given what is known.
    pub narrows: bool,
    /// In a word or two, for an overview: `consent`.
    pub short: String,
}

/// What a [`Condition`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Whether the data subject agreed, or said no.
    Consent,
    /// Whether a fact holds.
    Fact,
    /// Whether the data subject knows of, or agreed to, a new purpose.
    Change,
    /// Whether a limit applies.
    Limit,
}

/// What is known of the data subject and of the reply.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// What holds of the data subject.
    pub facts: Facts,
    /// The categories that the reply has; None: all.
    pub holds: Option<Vec<CategoryId>>,
}

/// One rule at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands in the policy file.
    pub line: Line,
    /// What it says, in words.
    pub says: String,
}

impl Policy {
    /// Explains what `caller` sees of somebody of whom nothing is known, for the purpose it declares; the same answer, and the same
    /// refusal, as [`Policy::decide`].
    ///
    /// # Errors
    ///
    /// The refusal that a request would get.
    pub fn explain(&self, caller: &CallerName, declared: Option<&str>) -> Result<Explanation, Refusal> {
        self.explain_for(caller, declared, &Circumstances::default())
    }

    /// As [`Policy::explain`], given what is known.
    ///
    /// # Errors
    ///
    /// The refusal that a request would get.
    pub fn explain_for(
        &self,
        caller: &CallerName,
        declared: Option<&str>,
        known: &Circumstances,
    ) -> Result<Explanation, Refusal> {
        let grant = self.decide(caller, declared, 0)?;
        let recipient = self.recipient(caller);
        let nothing = || Refusal::NotAllowed { caller: caller.clone(), allowed: "no purpose".to_owned() };
        let purpose = self.purposes().iter().find(|purpose| purpose.name == *grant.purpose()).ok_or_else(nothing)?;
        let every = || (0_u16..).take(self.categories().len()).map(CategoryId).collect();
        let combined = grant.combines(known.holds.clone().unwrap_or_else(every));
        let facts = match self.facts.id(facts::COMBINED).filter(|_| combined) {
            Some(fact) => known.facts.with(fact),
            None => known.facts,
        };
        let limits: Vec<&LimitSpec> = self.spec.limits.iter().filter(|limit| touches(&self.spec, limit, purpose)).collect();
        let mut conditions = self.asked(purpose, recipient, facts);
        let unmet: Vec<Rule> =
            conditions.iter().filter(|condition| condition.narrows).map(|condition| condition.rule.clone()).collect();
        let applying: Vec<&LimitSpec> = limits.iter().copied().filter(|limit| limit_applies(limit, &self.facts, facts)).collect();
        conditions.extend(limits.iter().filter(|limit| !limit.is_unconditional()).map(|limit| Condition {
            rule: Rule { line: limit.line, says: limit_says(limit) },
            asks: Asks::Limit,
            narrows: limit_applies(limit, &self.facts, facts),
            short: format!("limit.{}", limit.name),
        }));
        let (row, at_most) = (grant.row(facts), grant.at_most());
        let categories = self
            .categories()
            .iter()
            .zip(0_u16..)
            .map(|(category, id)| CategoryExplanation {
                category: category.name.clone(),
                level: row.level(CategoryId(id)),
                at_most: at_most.level(CategoryId(id)),
                listed: said(&purpose.reveal, &category.name).is_some(),
                writable: row.may_write(CategoryId(id)),
                searchable: row.may_search(CategoryId(id)),
                rules: rules(category, purpose, recipient, &unmet, &applying),
            })
            .collect();
        let of_limits = limits.iter().flat_map(|limit| &limit.clauses);
        let of_recipient = recipient.into_iter().flat_map(|recipient| &recipient.clauses);
        let mut clauses: Vec<String> = Vec::new();
        for clause in purpose.clauses.iter().chain(of_recipient).chain(of_limits) {
            if !clauses.contains(clause) {
                clauses.push(clause.clone());
            }
        }
        Ok(Explanation {
            caller: caller.clone(),
            purpose: purpose.name.clone(),
            line: purpose.line,
            dpv: purpose.dpv.clone(),
            basis: purpose.basis.clone(),
            recipient: recipient.map(|recipient| recipient.kind.clone()),
            scope: grant.scope().to_owned(),
            categories,
            delete: row.may_delete(),
            writes: writes(purpose),
            searches: searches(purpose, recipient),
            conditions,
            required: purpose.collects.required.clone(),
            source: purpose.collects.source.clone(),
            clauses,
            data_view: grant.data_view().to_owned(),
        })
    }

    /// What the purpose and the recipient ask of the data subject.
    fn asked(&self, purpose: &PurposeSpec, recipient: Option<&RecipientSpec>, facts: Facts) -> Vec<Condition> {
        let name = format!("purpose {}", purpose.name);
        let mut asked = self.terms(&name, purpose.line, &purpose.terms, (facts::CONSENT, facts::OBJECTION), facts);
        if let Some((version, line)) = purpose.terms.since {
            let needed = match self.spec.change.gate {
                ChangeGate::Publication => None,
                ChangeGate::Notice => Some(facts::told_of(version)),
                ChangeGate::Consent => Some(facts::CONSENT.to_owned()),
            };
            asked.extend(needed.map(|fact| Condition {
                rule: Rule {
                    line: at(line, purpose.line),
                    says: format!("{name} came with version {version} and sleeps until {fact} is on record"),
                },
                asks: Asks::Change,
                narrows: !self.holds(&fact, facts),
                short: fact,
            }));
        }
        if let Some(recipient) = recipient {
            let name = format!("recipient {}", recipient.name);
            let words = (facts::CONSENT_TO_RECIPIENT, facts::OBJECTION_TO_RECIPIENT);
            asked.extend(self.terms(&name, recipient.line, &recipient.terms, words, facts));
        }
        asked
    }

    fn terms(&self, whose: &str, line: Line, terms: &Terms, (yes, no): (&str, &str), facts: Facts) -> Vec<Condition> {
        let consent = at(terms.consent_line, line);
        let mut asked: Vec<Condition> = match terms.consent {
            Consent::None => Vec::new(),
            Consent::OptIn => vec![Condition {
                rule: Rule { line: consent, says: format!("{whose} is opt-in: it needs {yes} on record") },
                asks: Asks::Consent,
                narrows: !self.holds(yes, facts),
                short: yes.to_owned(),
            }],
            Consent::OptOut => vec![Condition {
                rule: Rule { line: consent, says: format!("{whose} is opt-out: it ends with {no} on record") },
                asks: Asks::Consent,
                narrows: self.holds(no, facts),
                short: format!("no {no}"),
            }],
        };
        asked.extend(terms.needs.iter().map(|(fact, own)| Condition {
            rule: Rule { line: at(*own, line), says: format!("{whose} needs {fact}{}", self.meaning(fact)) },
            asks: Asks::Fact,
            narrows: !self.holds(fact, facts),
            short: fact.clone(),
        }));
        asked
    }

    fn holds(&self, fact: &str, facts: Facts) -> bool {
        self.facts.id(fact).is_some_and(|fact| facts.has(fact))
    }

    /// What a declared fact means, as an addition to a sentence.
    fn meaning(&self, name: &str) -> String {
        self.spec.facts.iter().find(|fact| fact.name == name).map_or_else(String::new, |fact| format!(": {}", fact.means))
    }
}

/// A limit in one sentence.
fn limit_says(limit: &LimitSpec) -> String {
    let list = |names: &[(String, Line)]| names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" or ");
    let when = if limit.when.is_empty() { String::new() } else { format!(" when {}", list(&limit.when)) };
    let unless = if limit.unless.is_empty() { String::new() } else { format!(" unless {}", list(&limit.unless)) };
    let caps: Vec<String> = limit
        .at_most
        .iter()
        .map(|(name, level, _)| {
            let name = if name.as_str() == EVERY { "everything" } else { name.as_str() };
            format!("{name} at most \"{level}\"")
        })
        .collect();
    format!("limit.{}{when}{unless}: {}", limit.name, caps.join(", "))
}

fn rules(
    category: &CategorySpec,
    purpose: &PurposeSpec,
    recipient: Option<&RecipientSpec>,
    unmet: &[Rule],
    limits: &[&LimitSpec],
) -> Vec<Rule> {
    let name = &category.name;
    let Some(given) = said(&purpose.reveal, name) else {
        let line = at(purpose.reveal_line, purpose.line);
        return vec![Rule { line, says: format!("{} does not list {name}", purpose.name) }];
    };
    let mut rules = vec![Rule {
        line: at(given.line, purpose.line),
        says: format!("{} reveals {} \"{}\"", purpose.name, shown(given, name), given.level),
    }];
    rules.extend(unmet.iter().filter(|_| given.level != Level::Absent).cloned());
    let mut level = given.level;
    let mut narrow = |who: String, what: String, cap: Said, line: Line| {
        let next = level.meet(cap.level);
        if next != level {
            let says = format!("{who} {what} at most \"{}\"", cap.level);
            let both = format!("; \"{level}\" and \"{}\" share only \"{next}\"", cap.level);
            rules.push(Rule { line: at(cap.line, line), says: if next == cap.level { says } else { says + &both } });
        }
        level = next;
    };
    if let Some((recipient, cap)) = recipient.and_then(|recipient| Some((recipient, said(&recipient.at_most, name)?))) {
        narrow(format!("recipient {} may see", recipient.name), shown(cap, name), cap, recipient.line);
    }
    for limit in limits {
        if let Some(cap) = said(&limit.at_most, name) {
            let why = limit_reason(limit);
            narrow(format!("limit.{}{why} leaves", limit.name), name.to_string(), cap, limit.line);
        }
    }
    rules
}

fn limit_reason(limit: &LimitSpec) -> String {
    match (limit.when.is_empty(), limit.unless.is_empty()) {
        (true, true) => String::new(),
        (false, _) => {
            let names: Vec<&str> = limit.when.iter().map(|(name, _)| name.as_str()).collect();
            format!(" ({})", names.join(" or "))
        }
        (true, false) => {
            let names: Vec<&str> = limit.unless.iter().map(|(name, _)| name.as_str()).collect();
            format!(" (no {})", names.join(", no "))
        }
    }
}

fn shown(said: Said, category: &CategoryName) -> String {
    if said.by_star { format!("every other category (\"{EVERY}\")") } else { category.to_string() }
}

fn writes(purpose: &PurposeSpec) -> Rule {
    match &purpose.writes {
        Some(listed) if listed.is_empty() => {
            Rule { line: at(purpose.writes_line, purpose.line), says: format!("{} writes nothing", purpose.name) }
        }
        Some(_) => Rule { line: at(purpose.writes_line, purpose.line), says: format!("{} lists what it writes", purpose.name) },
        None => Rule {
            line: purpose.line,
            says: format!("{} does not say what it writes, so it writes what it sees clear", purpose.name),
        },
    }
}

fn searches(purpose: &PurposeSpec, recipient: Option<&RecipientSpec>) -> Option<Rule> {
    if purpose.search.is_empty() {
        return None;
    }
    let line = at(purpose.search_line, purpose.line);
    let capped = |name: &CategoryName| {
        recipient.and_then(|recipient| said(&recipient.at_most, name)).is_some_and(|cap| cap.level != Level::Clear)
    };
    let says = match recipient.filter(|_| purpose.search.iter().any(capped)) {
        Some(recipient) => {
            format!(
                "{} lists what it searches by; recipient {} does not by what it may not see clear",
                purpose.name, recipient.name
            )
        }
        None => format!("{} lists what it searches by, besides what it sees clear", purpose.name),
    };
    Some(Rule { line, says })
}
