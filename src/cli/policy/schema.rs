//! The JSON Schema of `policy.toml`, for editors.
//!
//! Always holds (tests): its property names are the keys that `config` accepts. It says what an editor can check; `sudare check` says the
//! rest.

use std::io::{self, Write};

use serde_json::{Value, json};

use crate::purpose::{Always, Level, dpv};

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
                    "version": { "description": "Raised with every change that is published.", "type": "integer", "minimum": 1 },
                    "change": {
                        "description": "What a purpose with since waits for, person by person: nothing, that they were told, or their consent (the default).",
                        "enum": ["publication", "notice", "consent"]
                    },
                    "clauses": { "$ref": "#/$defs/clauses" }
                }
            },
            "fact": {
                "description": "What can be known of a person: a name, and in a sentence what is so when it holds.",
                "type": "object",
                "propertyNames": { "$ref": "#/$defs/name" },
                "additionalProperties": { "type": "string" }
            },
            "age": table("Facts that follow from a person's age.", "age"),
            "category": table("What the data are.", "category"),
            "purpose": table("Why data may be used. A category that reveal does not list is absent.", "purpose"),
            "recipient": table("Callers outside the controller, each with its own cap.", "recipient"),
            "limit": table("What narrows: where one of when holds, unless one of unless does, at most these levels are shown.", "limit"),
            "never": table("What is promised never to be done; a policy that would do it does not load.", "never"),
            "always": {
                "description": "What is promised for everything, whatever the purpose.",
                "type": "object",
                "propertyNames": { "$ref": "#/$defs/always-word" },
                "additionalProperties": { "$ref": "#/$defs/always" }
            },
            "exception": table("What opens: approved, dated, for named people and categories.", "exception"),
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
            "names": { "type": "array", "items": { "$ref": "#/$defs/name" }, "uniqueItems": true },
            "facts": {
                "description": "Names of facts: those of [fact] and [age], and those built in.",
                "anyOf": [{ "$ref": "#/$defs/name" }, { "$ref": "#/$defs/names" }]
            },
            "consent": {
                "description": "Are the people asked? opt-in: nothing before they said yes. opt-out: until they said no. Default none.",
                "enum": ["none", "opt-in", "opt-out"]
            },
            "kind": { "enum": ["processor", "controller", "joint-controller", "authority", "third-party"] },
            "source": {
                "description": "Where the values come from.",
                "enum": ["subject-form", "device", "own-records", "counterparty", "payment-body", "carrier", "partner", "self-published", "public-source"]
            },
            "always-word": { "enum": Always::ALL.iter().map(|what| what.as_str()).collect::<Vec<_>>() },
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
            "age": age(),
            "limit": limit(),
            "never": never(),
            "always": always(),
            "exception": exception(),
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
            "consent": { "$ref": "#/$defs/consent" },
            "needs": { "description": "All of these must hold of a person.", "$ref": "#/$defs/facts" },
            "since": { "description": "The policy version that brought it, if not the first.", "type": "integer", "minimum": 2 },
            "required": { "description": "Categories without which nothing new is stored.", "$ref": "#/$defs/names" },
            "source": { "$ref": "#/$defs/source" },
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
            "kind": { "description": "What it is to the controller.", "$ref": "#/$defs/kind" },
            "at_most": { "$ref": "#/$defs/levels" },
            "consent": { "$ref": "#/$defs/consent" },
            "needs": { "description": "All of these must hold of a person.", "$ref": "#/$defs/facts" },
            "country": { "description": "Where it is: two letters, ISO 3166-1.", "type": "string", "pattern": "^[A-Z]{2}$" },
            "clauses": { "$ref": "#/$defs/clauses" }
        }
    })
}

fn age() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["under"],
        "properties": {
            "under": { "description": "It holds of whoever is younger, in years.", "type": "integer", "minimum": 1, "maximum": 120 },
            "clauses": { "$ref": "#/$defs/clauses" }
        }
    })
}

fn limit() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["at_most"],
        "properties": {
            "when": { "description": "It applies where any of these holds. Without it: always.", "$ref": "#/$defs/facts" },
            "unless": { "description": "It does not apply where any of these holds.", "$ref": "#/$defs/facts" },
            "purposes": { "description": "Only for these purposes.", "$ref": "#/$defs/names" },
            "except": { "description": "Not for these purposes.", "$ref": "#/$defs/names" },
            "at_most": { "description": "What is absent here is not stored either.", "$ref": "#/$defs/levels", "minProperties": 1 },
            "clauses": { "$ref": "#/$defs/clauses" }
        }
    })
}

fn never() -> Value {
    json!({
        "description": "All that it names must come together.",
        "type": "object",
        "additionalProperties": false,
        "minProperties": 1,
        "required": [],
        "properties": {
            "purposes": { "description": "No purpose may be one of these, or a kind of it.", "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/purpose-id" } },
            "recipients": { "description": "Shown to no recipient of these kinds.", "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/kind" } },
            "categories": { "description": "These are not shown.", "$ref": "#/$defs/names" },
            "clauses": { "$ref": "#/$defs/clauses" }
        }
    })
}

fn always() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": [],
        "properties": { "clauses": { "$ref": "#/$defs/clauses" } }
    })
}

fn exception() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["callers", "reveal", "evidence", "approvers", "ttl", "tell_subject"],
        "properties": {
            "opens": {
                "description": "disclosure (the default) shows; collection lets data be stored without agreement and shows nothing.",
                "enum": ["disclosure", "collection"]
            },
            "dpv": { "$ref": "#/$defs/purpose-id" },
            "callers": { "description": "Who may use it.", "$ref": "#/$defs/names" },
            "reveal": { "description": "The most that it may open.", "$ref": "#/$defs/levels" },
            "evidence": { "description": "What must be on record.", "type": "array", "minItems": 1, "items": { "type": "string" } },
            "approvers": { "description": "How many must agree, none of them who asked.", "type": "integer", "minimum": 1, "maximum": 9 },
            "ttl": { "description": "For how long: 72h, 30d.", "type": "string", "pattern": "^[0-9]+[hd]$" },
            "tell_subject": { "description": "When the person is told.", "enum": ["before", "after", "withheld"] },
            "clauses": { "$ref": "#/$defs/clauses" }
        }
    })
}

fn test() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "properties": {
            "name": { "description": "What it shows.", "type": "string" },
            "ask": ask(),
            "expect": { "$ref": "#/$defs/levels", "minProperties": 1 },
            "search": {
                "description": "Exactly the categories by which it may search; left out, it is not looked at.",
                "$ref": "#/$defs/names"
            },
            "writes": { "description": "Exactly the categories it may store.", "$ref": "#/$defs/names" },
            "required": { "description": "Exactly the categories without which nothing new is stored.", "$ref": "#/$defs/names" },
            "scope": { "description": "Within what its pseudonyms are the same.", "$ref": "#/$defs/name" },
            "source": { "$ref": "#/$defs/source" },
            "always": { "description": "What must be promised for everything.", "type": "array", "items": { "$ref": "#/$defs/always-word" } },
            "forbidden": {
                "description": "A never must forbid this.",
                "type": "object",
                "additionalProperties": false,
                "required": [],
                "properties": {
                    "purpose": { "$ref": "#/$defs/purpose-id" },
                    "recipient": { "$ref": "#/$defs/kind" },
                    "category": { "$ref": "#/$defs/name" }
                }
            }
        }
    })
}

fn ask() -> Value {
    json!({
        "description": "A purpose with facts, or an exception as it was approved.",
        "type": "object",
        "additionalProperties": false,
        "required": ["caller"],
        "properties": {
            "caller": { "$ref": "#/$defs/name" },
            "purpose": { "$ref": "#/$defs/name" },
            "facts": { "description": "What holds of the person.", "$ref": "#/$defs/facts" },
            "age": { "description": "How old the person is, in years.", "type": "integer", "minimum": 0, "maximum": 120 },
            "holds": { "description": "The categories that the reply has; all without it.", "$ref": "#/$defs/names" },
            "exception": { "$ref": "#/$defs/name" },
            "categories": { "description": "What the exception was approved for.", "$ref": "#/$defs/names" },
            "evidence": { "description": "What is on record.", "type": "array", "items": { "type": "string" } },
            "approvers": { "description": "How many have agreed.", "type": "integer", "minimum": 0, "maximum": 9 },
            "hours": { "description": "Hours since.", "type": "integer", "minimum": 0 }
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
