//! What each field tells whoever holds the database, and where a choice tells more than the data need.
//!
//! `sudare check` prints it once nothing is wrong. The words of the table are explained in `docs/threat-model.md`. Always holds: it reads the checked
//! settings and nothing else, so that it never holds a value. A new protection is one more arm in [`tells`].

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::base::{Bind, CallerName, PurposeName};
use crate::config::Settings;
use crate::field::{Field, Protection};
use crate::normalise::Step;
use crate::purpose::{CategoryId, CategorySpec, Nature, Policy, dpv};
use crate::vault;

/// Where the words are explained.
const EXPLAINED: &str = "docs/threat-model.md#what-the-database-learns";
/// Personal data that repeat in any population, so that how often an equal value occurs tells the common ones.
const REPEATING: &[&str] =
    &["pd:Name", "pd:FirstName", "pd:LastName", "pd:GivenName", "pd:FamilyName", "pd:BirthDate", "pd:PostalCode", "pd:City"];

/// One field's row.
struct Row<'s> {
    collection: &'s str,
    field: &'s Field,
    tells: Tells,
    notes: Vec<String>,
    of_collection: Option<&'static str>,
}

/// What the stored form shows. Each word stands in the table of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tells {
    /// How the value is stored, as the file says it.
    stored: &'static str,
    /// That there is a value, and whether it is null.
    presence: &'static str,
    /// How long it is.
    length: String,
    /// Which values are equal.
    equality: String,
    /// How often an equal value occurs.
    frequency: &'static str,
    /// How it is written.
    format: &'static str,
    /// Which of two is greater.
    order: &'static str,
}

/// What the stored form of a field's values shows.
fn tells(field: &Field) -> Tells {
    let presence = if field.seal_null { "yes" } else { "yes, null too" };
    // No protection keeps the order of values.
    let hidden = Tells {
        stored: "",
        presence,
        length: String::new(),
        equality: "no".to_owned(),
        frequency: "no",
        format: "no",
        order: "no",
    };
    match &field.protection {
        Protection::Seal => {
            let length = if field.pad == 0 { "exact".to_owned() } else { format!("in steps of {}", field.pad) };
            let sealed = Tells { stored: "seal", length, ..hidden };
            if field.indexes.is_empty() { sealed } else { indexed(field, sealed) }
        }
        Protection::Deterministic => Tells {
            stored: "deterministic",
            length: "exact".to_owned(),
            equality: "in the collection".to_owned(),
            frequency: "yes",
            ..hidden
        },
        Protection::Token(kind) => {
            let shaped = kind.format == vault::Format::Digits;
            let alike = match (kind.consistent, kind.scope.is_of_a_field()) {
                (false, _) => "no",
                (true, true) => "in the collection",
                (true, false) => "in the scope",
            };
            Tells {
                stored: "token",
                length: if shaped { "exact" } else { "no" }.to_owned(),
                equality: alike.to_owned(),
                frequency: if kind.consistent { "yes" } else { "no" },
                format: if shaped { "where digits stand" } else { "no" },
                ..hidden
            }
        }
    }
}

/// What the terms beside a sealed value add.
fn indexed(field: &Field, sealed: Tells) -> Tells {
    let mut compared: Vec<String> = Vec::new();
    for index in &field.indexes {
        let parts: Vec<String> = index.normaliser().steps().iter().filter_map(part).collect();
        let what = if parts.is_empty() { "normalised".to_owned() } else { parts.join(" of ") };
        if !compared.contains(&what) {
            compared.push(what);
        }
    }
    Tells {
        stored: "seal, index",
        // A null has no term, also where it is sealed.
        presence: "yes, null too",
        equality: format!("in the collection ({})", compared.join("; ")),
        frequency: "yes",
        // What the chain has no form for has no term.
        format: "whether it has a form",
        ..sealed
    }
}

/// The part of a value that a step of a chain leaves, if it leaves a part.
fn part(step: &Step) -> Option<String> {
    match step {
        Step::Prefix(count) => Some(format!("first {count}")),
        Step::Suffix(count) => Some(format!("last {count}")),
        Step::Text
        | Step::Email
        | Step::Phone(_)
        | Step::Digits
        | Step::Date
        | Step::Nfc
        | Step::Nfkc
        | Step::Casefold
        | Step::Trim
        | Step::Collapse
        | Step::Strip(_) => None,
    }
}

/// Where another choice would tell less at no cost.
fn notes(field: &Field, category: Option<&CategorySpec>, search: Search) -> Vec<String> {
    let mut notes = Vec::new();
    let few = category.is_some_and(|category| dpv::has_few_values(&category.dpv));
    let identifying = category.is_some_and(|category| category.nature == Nature::Identifying);
    let id = category.map_or("its category", |category| category.dpv.as_str());
    match &field.protection {
        Protection::Token(kind) if kind.consistent && REPEATING.contains(&id) => {
            notes.push(format!(
                "{id} repeats in any population: how often a token occurs tells the common values; write consistent = false unless it must be found or joined"
            ));
        }
        Protection::Deterministic => {
            match search {
                Search::Possible => {}
                Search::NotByTheDialect => notes.push(
                    "rest does not search by deterministic values: protect = \"seal\" would tell less, and with an `index` it could be searched"
                        .to_owned(),
                ),
                Search::ByNobody => notes.push(format!(
                    "no purpose sees {0} clear or lists it in `search`, so nobody can search it: protect = \"seal\" would tell less",
                    field.category_name
                )),
            }
            if REPEATING.contains(&id) {
                notes.push(format!("{id} repeats in any population: how often a value occurs tells the common ones; seal it unless it must be searched"));
            }
        }
        Protection::Seal | Protection::Token(_) => {}
    }
    if !field.indexes.is_empty() {
        of_index(field, id, search, &mut notes);
    }
    if field.protection == Protection::Seal && field.pad == 0 {
        if few {
            notes.push(format!("{id} has few values, whose lengths may tell which it is: add pad = 32"));
        } else if identifying {
            notes.push("the exact length narrows down who it is: add pad = 32, or remove pad = \"none\"".to_owned());
        }
    }
    notes
}

/// Where an index tells more than it helps.
fn of_index(field: &Field, id: &str, search: Search, notes: &mut Vec<String>) {
    if search == Search::ByNobody {
        notes.push(format!(
            "no purpose sees {} clear or lists it in `search`, so nobody can search it: without its index it would tell less",
            field.category_name
        ));
    }
    let of_a_part = field.indexes.iter().any(|index| index.normaliser().steps().iter().any(|step| part(step).is_some()));
    if of_a_part {
        notes.push(
            "parts of values repeat: how often a term of one occurs tells the common ones; keep only indexes that are searched by"
                .to_owned(),
        );
    } else if REPEATING.contains(&id) {
        notes.push(format!(
            "{id} repeats in any population: how often a term occurs tells the common values; remove the index unless it must be searched"
        ));
    }
}

/// What goes for every field of a collection.
fn of_collection(bind: Bind) -> Option<&'static str> {
    let movable = "bind = \"field\": whoever writes to the database can move a value to another document unnoticed";
    (bind == Bind::Field).then_some(movable)
}

fn rows(settings: &Settings) -> Vec<Row<'_>> {
    let fields = settings.collections.iter().flat_map(|collection| {
        let map = &collection.field_map;
        map.fields.iter().map(move |field| (map, field))
    });
    fields
        .map(|(map, field)| {
            let category = settings.policy.categories().get(usize::from(field.category.0));
            let search = search(settings, field);
            Row {
                collection: map.name.as_str(),
                field,
                tells: tells(field),
                notes: notes(field, category, search),
                of_collection: of_collection(map.bind),
            }
        })
        .collect()
}

/// Can anybody search by a deterministic field, or one with an index?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    Possible,
    NotByTheDialect,
    ByNobody,
}

fn search(settings: &Settings, field: &Field) -> Search {
    if field.indexes.is_empty() && settings.dialect.name() == "rest" {
        return Search::NotByTheDialect;
    }
    if may_be_searched(&settings.policy, field.category) { Search::Possible } else { Search::ByNobody }
}

/// Some caller may search by it for some purpose: one that shows it clear, or lists it in `search`.
fn may_be_searched(policy: &Policy, category: CategoryId) -> bool {
    let searches = |caller: &CallerName, purpose: &PurposeName| {
        policy.decide(caller, Some(purpose.as_str()), 0).is_ok_and(|grant| grant.may_search(category))
    };
    policy.purposes().iter().any(|purpose| purpose.callers.iter().any(|caller| searches(caller, &purpose.name)))
}

/// For people.
pub(super) fn text(settings: &Settings, out: &mut dyn Write) -> io::Result<()> {
    let rows = rows(settings);
    writeln!(out, "What each field tells whoever holds the database ({EXPLAINED}):\n")?;
    let mut heads = vec!["collection", "field", "stored as", "presence", "length", "equality", "frequency", "format", "order"];
    // With one ring there is nothing to tell apart.
    let several = !settings.other_rings.is_empty();
    if several {
        heads.push("ring");
    }
    let mut lines: Vec<Vec<String>> = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| {
        let Tells { stored, presence, length, equality, frequency, format, order } = &row.tells;
        let cells = [row.collection, row.field.name.as_str(), stored, presence, length, equality, frequency, format, order];
        let ring = several.then(|| row.field.ring.as_str());
        cells.iter().copied().chain(ring).map(str::to_owned).collect()
    }));
    let width = |at: usize| lines.iter().filter_map(|line| line.get(at)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    for collection in settings.collections.iter().map(|collection| &collection.field_map) {
        if let Some(note) = of_collection(collection.bind) {
            writeln!(out, "\n{}: {note}.", collection.name)?;
        }
    }
    for row in rows.iter().filter(|row| !row.notes.is_empty()) {
        for note in &row.notes {
            writeln!(out, "\n{}.{}: {note}.", row.collection, row.field.name)?;
        }
    }
    Ok(())
}

/// For tools: an array with an object per field.
pub(super) fn to_json(settings: &Settings) -> Value {
    let row = |row: &Row<'_>| {
        json!({
            "collection": row.collection,
            "field": row.field.name.as_str(),
            "at": row.field.at.to_string(),
            "category": row.field.category_name.as_str(),
            "ring": row.field.ring.as_str(),
            "stored": row.tells.stored,
            "presence": row.tells.presence,
            "length": row.tells.length,
            "equality": row.tells.equality,
            "frequency": row.tells.frequency,
            "format": row.tells.format,
            "order": row.tells.order,
            "notes": row.notes.iter().map(String::as_str).chain(row.of_collection).collect::<Vec<_>>(),
        })
    };
    rows(settings).iter().map(row).collect()
}
