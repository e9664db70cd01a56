//! The JSON Schema of `policy.toml`, for editors.
//!
//! Always holds (tests): its property names are the keys that `config` accepts, and the tables that do not work yet are not in
//! it. It says what an editor can check; `sudare check` says the rest.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::purpose::{Level, dpv};

/// Prints the schema of `policy.toml`, draft 2020-12.
///
/// # Errors
///
/// Output that cannot be written.
pub fn schema(out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:#}", document())
}

/// The schema as a document.
pub(super) fn document() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sudare policy",
        "description": "Who may see what, for which purpose. Read by the privacy officer, enforced by the proxy.",
        "type": "object",
        "additionalProperties": false,
        "required": ["policy", "category", "purpose"],
        "properties": {
            "policy": {
                "description": "Which policy this is.",
                "type": "object",
                "additionalProperties": false,
                "required": ["id", "version"],
                "properties": {
                    "id": { "description": "Name of the policy.", "$ref": "#/$defs/name" },
                    "version": { "description": "Raised with every change that is published.", "type": "integer", "minimum": 1 }
                }
            },
            "category": table("What the data are.", "category"),
            "purpose": table("Why data may be used. A category that reveal does not list is absent.", "purpose"),
            "recipient": table("Callers outside the controller, each with its own cap.", "recipient"),
            "never": table("What is promised never to be done; a policy that would do it does not load.", "never"),
            "test": {
                "description": "What must come out; run by `sudare policy test`.",
                "type": "array",
                "items": { "$ref": "#/$defs/test" }
            }
        },
        "$defs": {
            "name": { "type": "string", "pattern": "^[a-z][a-z0-9-]*$", "maxLength": 64 },
            "id": { "type": "string", "pattern": "^[a-z][a-z0-9-]*:[A-Za-z0-9_-]+$" },
            "level": { "enum": words(&Level::ALL) },
            "levels": {
                "description": "A level per category; \"*\" stands for every category not named beside it.",
                "type": "object",
                "propertyNames": { "anyOf": [{ "$ref": "#/$defs/name" }, { "const": "*" }] },
                "additionalProperties": { "$ref": "#/$defs/level" }
            },
            "clauses": {
                "description": "Sentences of the published policy that this rule keeps.",
                "type": "array",
                "items": { "type": "string" }
            },
            "purpose-id": {
                "description": format!("Id of a purpose: of the Data Privacy Vocabulary {} (dpv:), or of your own vocabulary.", dpv::VERSION),
                "anyOf": [
                    { "enum": dpv::ids().collect::<Vec<_>>() },
                    { "$ref": "#/$defs/id", "not": { "pattern": "^dpv:" } }
                ]
            },
            "category": category(),
            "purpose": purpose(),
            "recipient": recipient(),
            "never": never(),
            "test": test()
        }
    })
}

fn category() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["dpv", "nature"],
        "properties": {
            "dpv": { "description": "Id of the personal data category, for instance pd:Name.", "$ref": "#/$defs/id" },
            "nature": { "description": "Does it name a person by itself, or only together with other data?", "enum": ["identifying", "linkable", "neither"] },
            "mask": { "description": "How masked looks, for instance keep-last:4.", "type": "string" },
            "generalise": { "description": "How generalised looks, for instance year or postcode-prefix:3.", "type": "string" },
            "clauses": { "$ref": "#/$defs/clauses" }
        }
    })
}

fn purpose() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["reveal"],
        "properties": {
            "dpv": { "$ref": "#/$defs/purpose-id" },
            "basis": { "description": "Legal basis, for instance dpv:ContractPerformance.", "$ref": "#/$defs/id" },
            "callers": { "description": "Who may declare it.", "type": "array", "items": { "$ref": "#/$defs/name" }, "uniqueItems": true },
            "reveal": { "$ref": "#/$defs/levels" },
            "writes": {
                "description": "Categories whose values may be stored anew: exactly these. Without it: those revealed clear.",
                "type": "array",
                "items": { "$ref": "#/$defs/name" },
                "uniqueItems": true
            },
            "search": {
                "description": "Categories by whose values documents may be searched, besides those revealed clear.",
                "type": "array",
                "items": { "$ref": "#/$defs/name" },
                "uniqueItems": true
            },
            "delete": { "description": "May documents be removed? Default false.", "type": "boolean" },
            "clauses": { "$ref": "#/$defs/clauses" }
        }
    })
}

fn recipient() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["kind"],
        "properties": {
            "kind": {
                "description": "What it is to the controller.",
                "enum": ["processor", "controller", "joint-controller", "authority", "third-party"]
            },
            "at_most": { "$ref": "#/$defs/levels" },
            "clauses": { "$ref": "#/$defs/clauses" }
        }
    })
}

fn never() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["purposes"],
        "properties": {
            "purposes": { "description": "No purpose may be one of these, or a kind of it.", "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/purpose-id" } },
            "clauses": { "$ref": "#/$defs/clauses" }
        }
    })
}

fn test() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name", "ask", "expect"],
        "properties": {
            "name": { "description": "What it shows.", "type": "string" },
            "ask": {
                "type": "object",
                "additionalProperties": false,
                "required": ["caller", "purpose"],
                "properties": {
                    "caller": { "$ref": "#/$defs/name" },
                    "purpose": { "$ref": "#/$defs/name" },
                    "facts": { "description": "Facts about the data subject; none are supported yet.", "type": "array", "maxItems": 0 }
                }
            },
            "expect": { "$ref": "#/$defs/levels", "minProperties": 1 },
            "search": {
                "description": "Exactly the categories by which it may search; left out, it is not looked at.",
                "type": "array",
                "items": { "$ref": "#/$defs/name" }
            }
        }
    })
}

fn table(description: &str, of: &str) -> Value {
    json!({
        "description": description,
        "type": "object",
        "propertyNames": { "$ref": "#/$defs/name" },
        "additionalProperties": { "$ref": format!("#/$defs/{of}") }
    })
}

fn words(levels: &[Level]) -> Vec<&'static str> {
    levels.iter().rev().map(|level| level.as_str()).collect()
}
