//! Reads what a field says of its tokens: `format`, `consistent`, `scope`; and holds the fields of one scope to the same.
//!
//! Always holds: fields that share tokens make them alike; what has no meaning beside `protect = "token"` is refused. Called by
//! [`super::collections`].

use std::collections::HashMap;

use super::collections::Written;
use super::names::check_name;
use super::report::{Draft, Report};
use super::tree::{Node, Section, Text, shorten};
use crate::base::{CollectionName, FieldName, RingName};
use crate::field::Protection;
use crate::vault::{Format, Kind, Scope};

/// Members that only a token has.
const MEMBERS: [&str; 3] = ["format", "consistent", "scope"];

/// Is `protect` the word for tokens?
pub(super) fn is_meant(protect: &Node<'_>) -> bool {
    protect.is("token")
}

/// Reads the members of a token field.
pub(super) fn read(entry: &Section<'_>, collection: &Text, field: &Text, ring: Option<&Text>) -> Option<Kind> {
    let [format, consistent, scope] = MEMBERS.map(|member| entry.optional(member));
    let format = format.map_or(Some(Format::Opaque), |node| node.word(&Format::WORDS));
    let consistent = consistent.map_or(Some(true), |node| node.boolean());
    let scope = match scope {
        None => Some(Scope::of_field(&CollectionName::new(&collection.value), &FieldName::new(&field.value))),
        Some(node) => {
            node.text().filter(|name| check_name(entry.report(), name, "a scope of tokens")).map(|name| Scope::named(&name.value))
        }
    };
    let scope = scope.map(|scope| match ring {
        Some(ring) => scope.in_ring(RingName::new(&ring.value)),
        None => scope,
    });
    Some(Kind { scope: scope?, format: format?, consistent: consistent? })
}

/// Of a field that is protected otherwise: none of them is there.
pub(super) fn refuse(entry: &Section<'_>) {
    for (member, node) in MEMBERS.iter().filter_map(|member| Some((member, entry.optional(member)?))) {
        entry.report().push(
            Draft::error(&node.span, format!("`{member}` has a meaning only beside protect = \"token\""))
                .remedy("remove the line, or write protect = \"token\""),
        );
    }
}

/// What tokens show, and what does not go with them: `pad` and `seal_null`, given where they are asked for.
pub(super) fn judge(name: &Text, kind: &Kind, protect: &Node<'_>, pad: Option<Node<'_>>, seal_null: Option<Node<'_>>) {
    let report = protect.report();
    let name = shorten(&name.value);
    if let Some(pad) = pad {
        report.push(
            Draft::error(&pad.span, format!("field \"{name}\" is stored as a token, whose length says nothing of the value"))
                .remedy("remove `pad`"),
        );
    }
    if let Some(seal_null) = seal_null {
        report.push(
            Draft::error(&seal_null.span, format!("field \"{name}\" is stored as a token, and there is none for null"))
                .remedy("remove `seal_null`, so that null stays null, or write protect = \"seal\""),
        );
    }
    if kind.consistent {
        report.push(
            Draft::warning(
                &protect.span,
                format!("field \"{name}\" shows equality: whoever reads the database sees which documents share a value, and how often"),
            )
            .remedy("keep it if values must be found or joined by; otherwise write consistent = false"),
        );
    }
}

/// Fields that name one scope agree on what its tokens are.
pub(super) fn check_scopes(report: &Report<'_>, collections: &mut [Written]) {
    let mut first: HashMap<String, (Kind, String)> = HashMap::new();
    for collection in collections {
        let before = report.errors();
        for field in &collection.fields {
            let Protection::Token(kind) = &field.protection else { continue };
            let place = format!("{}.{}", collection.name.value, field.name.value);
            let Some((known, other)) = first.get(kind.scope.as_str()) else {
                first.insert(kind.scope.as_str().to_owned(), (kind.clone(), place));
                continue;
            };
            if known.scope.ring() != kind.scope.ring() {
                report.push(
                    Draft::error(
                        field.ring.as_ref().map_or(&field.name.span, |ring| &ring.span),
                        format!(
                            "field \"{}\" and {other} share the tokens of \"{}\", but not the key ring",
                            field.name.value, kind.scope
                        ),
                    )
                    .expected(format!("ring = \"{}\"", known.scope.ring()))
                    .remedy("write the same `ring` for both, or give one another `scope`"),
                );
                continue;
            }
            if known != kind {
                report.push(
                    Draft::error(
                        &field.name.span,
                        format!(
                            "field \"{}\" and {other} share the tokens of \"{}\", but not how they look",
                            field.name.value, kind.scope
                        ),
                    )
                    .expected(format!("format = \"{}\", consistent = {}", known.format.as_str(), known.consistent))
                    .remedy("write the same `format` and `consistent` for both, or give one another `scope`"),
                );
            }
        }
        collection.complete &= report.errors() == before;
    }
}
