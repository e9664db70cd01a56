//! What each field tells whoever holds the database, and where a choice tells more than the data need.
//!
//! `sudare check` prints it once nothing is wrong. The words of the table are explained in `docs/threat-model.md`. Always holds: it reads the checked
//! settings and nothing else, so that it never holds a value. A new protection, or an index beside one, is one more arm in [`tells`].

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::base::Bind;
use crate::config::Settings;
use crate::field::{Field, Protection};
use crate::purpose::{CategorySpec, EVERY, Level, Nature, Policy, dpv};
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
    equality: &'static str,
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
    let hidden =
        Tells { stored: "", presence, length: String::new(), equality: "no", frequency: "no", format: "no", order: "no" };
    match &field.protection {
        Protection::Seal => {
            let length = if field.pad == 0 { "exact".to_owned() } else { format!("in steps of {}", field.pad) };
            Tells { stored: "seal", length, ..hidden }
        }
        Protection::Deterministic => Tells {
            stored: "deterministic",
            length: "exact".to_owned(),
            equality: "in the collection",
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
                equality: alike,
                frequency: if kind.consistent { "yes" } else { "no" },
                format: if shaped { "where digits stand" } else { "no" },
                ..hidden
            }
        }
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
                    "rest refuses queries by protected members, so nobody can search it: protect = \"seal\" would tell less"
                        .to_owned(),
                ),
                Search::ByNobody => notes.push(format!(
                    "no purpose sees {} clear, so nobody can search it: protect = \"seal\" would tell less",
                    field.category_name
                )),
            }
            if REPEATING.contains(&id) {
                notes.push(format!("{id} repeats in any population: how often a value occurs tells the common ones; seal it unless it must be searched"));
            }
        }
        Protection::Seal if field.pad == 0 && few => {
            notes.push(format!("{id} has few values, whose lengths may tell which it is: add pad = 32"));
        }
        Protection::Seal if field.pad == 0 && identifying => {
            notes.push("the exact length narrows down who it is: add pad = 32, or remove pad = \"none\"".to_owned());
        }
        Protection::Seal | Protection::Token(_) => {}
    }
    notes
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

/// Can anybody search by a deterministic field?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    Possible,
    NotByTheDialect,
    ByNobody,
}

fn search(settings: &Settings, field: &Field) -> Search {
    if settings.dialect.name() == "rest" {
        return Search::NotByTheDialect;
    }
    if is_seen_clear(&settings.policy, field.category_name.as_str()) { Search::Possible } else { Search::ByNobody }
}

/// A value may be searched for by those who see it clear.
fn is_seen_clear(policy: &Policy, category: &str) -> bool {
    policy.purposes().iter().any(|purpose| {
        let own = purpose.reveal.iter().find(|(name, ..)| name.as_str() == category);
        let level = own.or_else(|| purpose.reveal.iter().find(|(name, ..)| name.as_str() == EVERY)).map(|(_, level, _)| *level);
        level == Some(Level::Clear)
    })
}

/// For people.
pub(super) fn text(settings: &Settings, out: &mut dyn Write) -> io::Result<()> {
    let rows = rows(settings);
    writeln!(out, "What each field tells whoever holds the database ({EXPLAINED}):\n")?;
    let heads = ["collection", "field", "stored as", "presence", "length", "equality", "frequency", "format", "order"];
    let mut lines: Vec<Vec<String>> = vec![heads.iter().map(|head| (*head).to_owned()).collect()];
    lines.extend(rows.iter().map(|row| {
        let Tells { stored, presence, length, equality, frequency, format, order } = &row.tells;
        let cells =
            [row.collection, row.field.name.as_str(), stored, presence, length.as_str(), equality, frequency, format, order];
        cells.iter().map(|cell| (*cell).to_owned()).collect()
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
