//! What is protected in one collection, and its plan: what to look for in a body, and what each thing found means.
//!
//! `config` makes a [`Collection`]; a [`Plan`] is compiled once per collection and row set of the dialect, and shared. Always holds: the
//! meaning of target `n` of the map is `meanings[n]`, field `n` of the plan is field `n` of the collection.

use std::sync::Arc;

use super::envelope::{Context, Suite};
use super::{Generalise, Index, Mask};
use crate::base::{Bind, CategoryName, CollectionName, FieldName, FieldPlace, RingName};
use crate::document::{BodyFacts, Found, Layout, Map, MapError, Role, Row, RowFacts, RowSet, Scope, Selector, Target};
use crate::keys::Rings;
use crate::purpose::CategoryId;
use crate::vault;

/// A protected collection as run. `config` makes it.
#[derive(Debug)]
pub struct Collection {
    /// Logical name; bound into what is stored.
    pub name: CollectionName,
    /// What values are bound to besides their field.
    pub bind: Bind,
    /// A clear value found in the database is refused; false while migrating.
    pub strict: bool,
    /// What a reply does with a value that does not authenticate.
    pub on_bad_value: OnBadValue,
    /// Where the id of a row stands (`$.id`, `$._id`).
    pub id: Selector,
    /// Who a row is about.
    pub subject: Subject,
    /// What is protected.
    pub fields: Vec<Field>,
}

/// What a reply does with a value that does not authenticate, or (where `strict`) is not sealed at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadValue {
    /// The whole reply is refused.
    Refuse,
    /// The member is left out and counted.
    Withhold,
}

/// Who a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Not said.
    None,
    /// `{id}`: the document's own id.
    DocumentId,
    /// The member that names the data subject.
    At(Selector),
}

/// How the values of a field are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// `seal`: equal values differ (suite `x`).
    Seal,
    /// `deterministic`: equal values are equal, in every document of the collection (suite `d`).
    Deterministic,
    /// `token`: in the vault, and a token in their place.
    Token(vault::Kind),
}

impl Protection {
    /// The suite of new values; None for a token, which is in none.
    pub(super) fn suite(&self) -> Option<Suite> {
        match self {
            Self::Seal => Some(Suite::X),
            Self::Deterministic => Some(Suite::D),
            Self::Token(_) => None,
        }
    }

    /// Are equal values stored equal, so that they can be found?
    pub fn shows_equality(&self) -> bool {
        match self {
            Self::Seal => false,
            Self::Deterministic => true,
            Self::Token(kind) => kind.consistent,
        }
    }
}

impl Collection {
    /// The first of its fields whose ring is not among these, so that nothing of the field can be opened or sealed.
    pub fn not_held<'c>(&'c self, keys: &Rings) -> Option<&'c Field> {
        self.fields.iter().find(|field| !keys.holds(&field.ring))
    }

    /// Some values of it are in the vault.
    pub fn has_tokens(&self) -> bool {
        self.fields.iter().any(|field| matches!(field.protection, Protection::Token(_)))
    }
}

/// A protected field.
#[derive(Debug)]
pub struct Field {
    /// Logical name; bound into what is stored.
    pub name: FieldName,
    /// Where its values stand, relative to a row.
    pub at: Selector,
    /// Controller, collection and field, for keys and context.
    pub place: FieldPlace,
    /// Which of the rings its keys are in.
    pub ring: RingName,
    /// Its category in the policy's table.
    pub category: CategoryId,
    /// The same by name, for messages.
    pub category_name: CategoryName,
    /// How new values are stored.
    pub protection: Protection,
    /// How level `masked` looks.
    pub mask: Mask,
    /// How level `generalised` looks; where None, that level shows nothing.
    pub generalise: Option<Generalise>,
    /// Bucket in bytes, 0 = none: sealed text is padded with spaces to a multiple of it. Deterministic values never are.
    pub pad: u16,
    /// True: `null` is sealed like any other value. Default false: it stays `null`, as it always does where values are deterministic.
    pub seal_null: bool,
    /// Who the value is about where it is not who the document is about: `$.guests[*].id`.
    pub subject: Option<Selector>,
    /// By what a database finds its values; the first is meant where a search says no other. None of a deterministic field.
    pub indexes: Vec<Index>,
}

/// The targets of a [`crate::document::Map`] for one collection and one row set, and what each means.
#[derive(Debug)]
pub struct Plan {
    /// What to look for.
    pub map: Arc<Map>,
    pub(super) fields: Vec<PlannedField>,
    meanings: Vec<Meaning>,
    /// Where documents stand, in the row set's order.
    positions: Vec<Selector>,
}

/// What does not change from body to body.
#[derive(Debug)]
pub(super) struct PlannedField {
    /// What suite `x` is bound to.
    pub(super) context: Context,
    /// What suite `d` is bound to.
    pub(super) deterministic: Context,
    /// True: may stand more than once in a row, so that its row key is worth keeping.
    pub(super) repeats: bool,
    /// How many wildcards the field's own subject selector has; None without one.
    pub(super) subject_wildcards: Option<usize>,
    /// Fields, this one included, whose way begins with the same step. A misfit on the way to one of them may hide them all.
    pub(super) neighbours: Vec<usize>,
}

/// What a target was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A value of the field with this index.
    Field(usize),
    /// Who a value of this field is about.
    FieldSubject(usize),
    /// A term, or a list of terms, of this field, by the index with this number.
    Index(usize, usize),
    Id,
    Subject,
    RowPeek(usize),
    BodyPeek(usize),
}

impl Plan {
    /// Compiles a plan.
    ///
    /// # Errors
    ///
    /// Every reason at once, each naming fields and selectors: selectors that overlap, a field that is the whole document, a subject that
    /// cannot be paired with its field, a bind that needs an id nobody names.
    pub fn compile(collection: &Collection, set: &RowSet) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let mut targets = Targets::default();
        let in_row = |at: &Selector| set.below.as_ref().map_or_else(|| at.clone(), |below| below.join(at));
        for (index, field) in collection.fields.iter().enumerate() {
            if field.at.is_root() {
                errors.push(format!("field {}: $ is the whole document; name a member", field.name));
            }
            if collection.bind == Bind::Subject && collection.subject == Subject::None && field.subject.is_none() {
                errors.push(format!(
                    "field {}: bind = \"subject\" needs `subject` at the collection (\"{{id}}\" or a selector) or at the field",
                    field.name
                ));
            }
            targets.add(
                &in_row(&field.at),
                Role::Value,
                Scope::Row,
                Meaning::Field(index),
                format!("field {} ({})", field.name, field.at),
            );
            if let Some(subject) = &field.subject {
                if let Err(reason) = pairs_with(subject, &field.at) {
                    errors.push(format!("field {}: subject {subject} cannot be paired with {}: {reason}", field.name, field.at));
                }
                let name = format!("the subject of field {} ({subject})", field.name);
                targets.add(&in_row(subject), Role::Peek, Scope::Row, Meaning::FieldSubject(index), name);
            }
            for (number, by) in field.indexes.iter().enumerate() {
                let name = format!("the index member of field {} ({})", field.name, by.at);
                targets.add(&in_row(&by.at), Role::Value, Scope::Row, Meaning::Index(index, number), name);
            }
        }
        targets.add(&in_row(&collection.id), Role::Peek, Scope::Row, Meaning::Id, format!("the id ({})", collection.id));
        single(&collection.id, "the id", &mut errors);
        if let Subject::At(subject) = &collection.subject {
            targets.add(&in_row(subject), Role::Peek, Scope::Row, Meaning::Subject, format!("the subject ({subject})"));
            single(subject, "the subject", &mut errors);
        }
        for (index, peek) in set.row_peeks.iter().enumerate() {
            targets.add(peek, Role::Peek, Scope::Row, Meaning::RowPeek(index), format!("{peek}, which the dialect reads"));
        }
        for (index, peek) in set.body_peeks.iter().enumerate() {
            targets.add(peek, Role::Peek, Scope::Body, Meaning::BodyPeek(index), format!("{peek}, which the dialect reads"));
        }
        if u16::try_from(targets.list.len()).is_err() {
            errors.push(format!("{} fields and members to read; at most {} can be told apart", targets.list.len(), u16::MAX));
        }
        let positions = set.rows.clone();
        let map = Map::compile(&set.rows, &targets.list);
        if let Err(overlaps) = &map {
            errors.extend(overlaps.iter().map(|overlap| targets.describe(overlap, &positions)));
        }
        match map {
            Ok(map) if errors.is_empty() => {
                let fields = collection.fields.iter().map(|field| PlannedField {
                    context: Context::new(&field.place, collection.bind),
                    deterministic: Context::deterministic(&field.place),
                    repeats: wildcards(&field.at).0 > 0,
                    subject_wildcards: field.subject.as_ref().map(|subject| wildcards(subject).0),
                    neighbours: neighbours(collection, field),
                });
                Ok(Self { map: Arc::new(map), fields: fields.collect(), meanings: targets.meanings, positions })
            }
            _ => Err(errors),
        }
    }

    /// Which targets of the map are fields, by their index.
    pub fn fields_among_targets(&self) -> Vec<bool> {
        self.meanings.iter().map(|meaning| matches!(meaning, Meaning::Field(_))).collect()
    }

    pub(super) fn meaning(&self, found: &Found) -> Option<Meaning> {
        self.meanings.get(usize::from(found.target)).copied()
    }

    /// Does the field say itself whom each of its values is about?
    pub(super) fn has_own_subject(&self, field: usize) -> bool {
        self.fields.get(field).is_some_and(|planned| planned.subject_wildcards.is_some())
    }

    /// Fields that a misfit on the way to this one may hide, itself among them.
    pub(super) fn neighbours(&self, field: usize) -> &[usize] {
        self.fields.get(field).map_or(&[], |planned| &planned.neighbours)
    }

    /// True for a row selector without wildcard (`$`, `$.data`): one document stands there, and the URL's id is its id.
    pub(super) fn is_sole_row(&self, set: u16) -> bool {
        self.positions.get(usize::from(set)).is_some_and(|row| wildcards(row).0 == 0)
    }

    /// Where documents may stand.
    pub(super) fn positions(&self) -> impl Iterator<Item = &Selector> {
        self.positions.iter()
    }

    /// Where documents may stand, for messages: `$ or $.items[*]`.
    pub(super) fn row_positions(&self) -> String {
        self.positions.iter().map(Selector::to_string).collect::<Vec<_>>().join(" or ")
    }
}

/// Reads a body's layout back into what the dialect asked for.
pub fn facts<'a>(plan: &Plan, bytes: &'a [u8], layout: &Layout) -> BodyFacts<'a> {
    let mut facts = BodyFacts { whole: bytes, ..BodyFacts::default() };
    let row = |row: &Row| RowFacts { whole: bytes.get(row.range.clone()).unwrap_or_default(), ..RowFacts::default() };
    facts.rows.extend(layout.rows.iter().map(row));
    for found in layout.found.iter().filter(|found| !found.misfit) {
        let Some(text) = bytes.get(found.value.clone()) else { continue };
        let row = found.row.and_then(|row| facts.rows.get_mut(usize::try_from(row).ok()?));
        match (plan.meaning(found), row) {
            (Some(Meaning::BodyPeek(index)), _) => facts.body.push((index, text)),
            (Some(Meaning::RowPeek(index)), Some(row)) => row.peeks.push((index, text)),
            (Some(Meaning::Id), Some(row)) => row.id = Some(text),
            (
                Some(
                    Meaning::Field(_)
                    | Meaning::FieldSubject(_)
                    | Meaning::Index(..)
                    | Meaning::Subject
                    | Meaning::RowPeek(_)
                    | Meaning::Id,
                )
                | None,
                _,
            ) => {}
        }
    }
    facts
}

/// Targets as they are gathered, with a name for messages.
#[derive(Default)]
struct Targets {
    list: Vec<Target>,
    meanings: Vec<Meaning>,
    names: Vec<String>,
}

impl Targets {
    fn add(&mut self, selector: &Selector, role: Role, scope: Scope, meaning: Meaning, name: String) {
        self.list.push(Target { selector: selector.clone(), role, scope });
        self.meanings.push(meaning);
        self.names.push(name);
    }

    fn name(&self, target: usize) -> &str {
        self.names.get(target).map_or("a target", String::as_str)
    }

    fn describe(&self, error: &MapError, positions: &[Selector]) -> String {
        match error {
            MapError::Overlap { first, second } if first == second => {
                format!(
                    "{} can match inside itself, by way of two row positions; name the rows or the field more exactly",
                    self.name(*first)
                )
            }
            MapError::Overlap { first, second } => {
                format!("{} and {} can match the same value; make the selectors disjoint", self.name(*first), self.name(*second))
            }
            MapError::RowInTarget { row, target } => {
                let row = positions.get(*row).map_or_else(|| "a row".to_owned(), Selector::to_string);
                format!(
                    "documents at {row} lie at or inside {}; a document cannot be part of a protected value",
                    self.name(*target)
                )
            }
            MapError::TooMany { .. } => error.to_string(),
        }
    }
}

/// The selector must name one member of a row.
fn single(selector: &Selector, what: &str, errors: &mut Vec<String>) {
    if selector.is_root() || wildcards(selector).0 > 0 {
        errors.push(format!("{what} ({selector}) must name one member of a document, without * and not $"));
    }
}

/// A field's own subject must be found by going the field's way up to the subject's last wildcard: `$.guests[*].name` and
/// `$.guests[*].id`. Then both carry the same wildcard positions.
fn pairs_with(subject: &Selector, field: &Selector) -> Result<(), &'static str> {
    let (text, (count, end)) = (subject.to_string(), wildcards(subject));
    let shared = text.get(..end).unwrap_or_default();
    if subject.is_root() {
        Err("$ is the whole document")
    } else if count > wildcards(field).0 || !field.to_string().starts_with(shared) {
        Err("they must share the path up to the subject's last *, as $.guests[*].name and $.guests[*].id do")
    } else {
        Ok(())
    }
}

fn neighbours(collection: &Collection, field: &Field) -> Vec<usize> {
    let own = first_step(&field.at);
    let meets = |other: &str| own == other || [own.as_str(), other].iter().any(|step| matches!(*step, ".*" | "[*]"));
    let others = collection.fields.iter().enumerate();
    others.filter(|(_, other)| meets(&first_step(&other.at))).map(|(index, _)| index).collect()
}

/// The text of a selector's first step.
fn first_step(selector: &Selector) -> String {
    let text = selector.to_string();
    let steps = text.strip_prefix('$').unwrap_or_default();
    let len = match steps.strip_prefix("[\"") {
        Some(rest) => 2 + quoted_len(rest) + 1,
        None => steps.char_indices().skip(1).find(|(_, c)| matches!(c, '.' | '[')).map_or(steps.len(), |(at, _)| at),
    };
    steps.get(..len).unwrap_or(steps).to_string()
}

/// How many wildcards a selector has, and where the last one ends in its text.
fn wildcards(selector: &Selector) -> (usize, usize) {
    let text = selector.to_string();
    let (mut count, mut end, mut at) = (0, 0, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(step) = ["[*]", ".*"].iter().find(|step| rest.starts_with(**step)) {
            count += 1;
            at += step.len();
            end = at;
        } else if rest.starts_with("[\"") {
            at += 2 + quoted_len(rest.get(2..).unwrap_or_default());
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    (count, end)
}

/// Length of the rest of a quoted name, with its closing quote.
fn quoted_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_quotes_may_look_like_wildcards() {
        let count = |text: &str| wildcards(&Selector::parse(text).unwrap()).0;
        assert_eq!(count(r#"$["a[*]\".*"].b[*].c"#), 1);
        assert_eq!(count("$.*[*].x[3]"), 2);
        assert_eq!(count("$.name"), 0);
    }

    #[test]
    fn first_steps_are_whole() {
        let first = |text: &str| first_step(&Selector::parse(text).unwrap());
        assert_eq!(first("$.guests[*].name"), ".guests");
        assert_eq!(first(r#"$["a.b"].c"#), r#"["a.b"]"#);
        assert_eq!(first("$.*.x"), ".*");
        assert_eq!(first("$[*]"), "[*]");
    }

    #[test]
    fn a_subject_must_go_its_fields_way() {
        let pair =
            |subject: &str, field: &str| pairs_with(&Selector::parse(subject).unwrap(), &Selector::parse(field).unwrap()).is_ok();
        assert!(pair("$.guests[*].id", "$.guests[*].name"));
        assert!(pair("$.guests[*].id", "$.guests[*].phones[*]"));
        assert!(pair("$.owner.id", "$.guests[*].name"));
        assert!(!pair("$.guests[*].ids[*]", "$.guests[*].name"));
        assert!(!pair("$.owners[*].id", "$.guests[*].name"));
        assert!(!pair("$", "$.name"));
    }
}
