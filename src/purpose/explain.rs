//! Why a caller sees what it sees: every level with the rules that decided or narrowed it.
//!
//! Always holds (test): the levels are those of the grant that [`Policy::decide`] gives. Used by `policy explain` and by the
//! report of a failed policy test.

use super::check::at;
use super::policy::{Policy, Refusal, Said, said};
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
    /// Clauses of the purpose, then of the recipient.
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
    /// May a new value be stored?
    pub writable: bool,
    /// May documents be searched by a value, where a field allows it?
    pub searchable: bool,
    /// The rule that gives it (or its absence), then those that narrowed it.
    pub rules: Vec<Rule>,
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
    /// Explains what `caller` sees for the purpose it declares; the same answer, and the same refusal, as [`Policy::decide`].
    ///
    /// # Errors
    ///
    /// The refusal that a request would get.
    pub fn explain(&self, caller: &CallerName, declared: Option<&str>) -> Result<Explanation, Refusal> {
        let grant = self.decide(caller, declared, 0)?;
        let recipient = self.recipient(caller);
        let nothing = || Refusal::NotAllowed { caller: caller.clone(), allowed: "no purpose".to_owned() };
        let purpose = self.purposes().iter().find(|purpose| purpose.name == *grant.purpose()).ok_or_else(nothing)?;
        let categories = self
            .categories()
            .iter()
            .zip(0_u16..)
            .map(|(category, id)| CategoryExplanation {
                category: category.name.clone(),
                level: grant.level(CategoryId(id)),
                writable: grant.may_write(CategoryId(id)),
                searchable: grant.may_search(CategoryId(id)),
                rules: rules(category, purpose, recipient),
            })
            .collect();
        Ok(Explanation {
            caller: caller.clone(),
            purpose: purpose.name.clone(),
            line: purpose.line,
            dpv: purpose.dpv.clone(),
            basis: purpose.basis.clone(),
            recipient: recipient.map(|recipient| recipient.kind.clone()),
            scope: grant.scope().to_owned(),
            categories,
            delete: grant.may_delete(),
            writes: writes(purpose),
            searches: searches(purpose, recipient),
            clauses: purpose
                .clauses
                .iter()
                .chain(recipient.into_iter().flat_map(|recipient| &recipient.clauses))
                .cloned()
                .collect(),
            data_view: grant.data_view().to_owned(),
        })
    }
}

fn rules(category: &CategorySpec, purpose: &PurposeSpec, recipient: Option<&RecipientSpec>) -> Vec<Rule> {
    let name = &category.name;
    let Some(given) = said(&purpose.reveal, name) else {
        let line = at(purpose.reveal_line, purpose.line);
        return vec![Rule { line, says: format!("{} does not list {name}", purpose.name) }];
    };
    let mut rules = vec![Rule {
        line: at(given.line, purpose.line),
        says: format!("{} reveals {} \"{}\"", purpose.name, shown(given, name), given.level),
    }];
    if let Some((recipient, cap)) = recipient.and_then(|recipient| Some((recipient, said(&recipient.at_most, name)?))) {
        let level = given.level.meet(cap.level);
        if level != given.level {
            let says = format!("recipient {} may see {} at most \"{}\"", recipient.name, shown(cap, name), cap.level);
            let both = format!("; \"{}\" and \"{}\" share only \"{level}\"", given.level, cap.level);
            rules.push(Rule { line: at(cap.line, recipient.line), says: if level == cap.level { says } else { says + &both } });
        }
    }
    rules
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
