//! The proposal as a table, as JSON, and as lines of the two configuration files.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;

use serde_json::json;

use super::read::Read;
use super::{shown, thousands};
use crate::discover::{Category, Found, Paths, Proposal, Telling, WORTH_TELLING};
use crate::document::{Selector, Step};

/// Longest name of a field or collection.
const MAX_NAME: usize = 64;
/// Stands between the two files in `--format toml`.
pub(super) const POLICY: &str = "# ---- policy.toml ----";

/// What a proposal is printed with.
pub(super) struct Report<'r> {
    pub(super) file: &'r Path,
    pub(super) collection: &'r str,
    pub(super) least: f64,
    pub(super) read: &'r Read,
    pub(super) paths: &'r Paths,
}

impl Report<'_> {
    pub(super) fn table(&self, found: &Found, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<[String; 6]> = found.proposals.iter().map(row).collect();
        let heads = ["path", "category", "dpv", "protection", "confidence", "evidence"].map(str::to_owned);
        writeln!(out, "{}", self.summary())?;
        if rows.is_empty() {
            writeln!(out, "\nNothing in them looks personal with a confidence of {:.2} or more.", self.least)?;
        } else {
            writeln!(out)?;
            let all: Vec<&[String; 6]> = std::iter::once(&heads).chain(&rows).collect();
            let widths: Vec<usize> = (0..6)
                .map(|at| all.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max().unwrap_or(0))
                .collect();
            for row in all {
                let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
                writeln!(out, "{}", cells.join("  ").trim_end())?;
            }
        }
        writeln!(out)?;
        if found.below > 0 {
            writeln!(
                out,
                "{} below {:.2}: --least {WORTH_TELLING} shows more.",
                plural(found.below, "path lies", "paths lie"),
                self.least
            )?;
        }
        if found.too_deep > 0 {
            writeln!(
                out,
                "{} too many arrays or maps in one another for a selector.",
                plural(found.too_deep, "path goes through", "paths go through")
            )?;
        }
        writeln!(
            out,
            "This is a guess from names and values: read every line, and look for what is missing. Lines to paste: --format toml."
        )
    }

    fn summary(&self) -> String {
        let mut text = format!("{}: {} looked at", shown(self.file), count(self.paths.documents, "document"));
        if self.read.sampled {
            text.push_str(" (--sample)");
        }
        if self.read.bad > 0 {
            text = format!("{text}, {} left out", thousands(self.read.bad));
        }
        text + "."
    }

    pub(super) fn json(&self, found: &Found, out: &mut dyn Write) -> io::Result<()> {
        let proposals: Vec<serde_json::Value> = found.proposals.iter().map(proposal_json).collect();
        let all = json!({
            "file": shown(self.file),
            "documents": self.paths.documents,
            "left_out": self.read.bad,
            "values_at_paths_without_room": self.paths.left_out,
            "least": self.least,
            "below": found.below,
            "too_deep": found.too_deep,
            "proposals": proposals,
        });
        writeln!(out, "{all:#}")
    }

    pub(super) fn toml(&self, found: &Found, out: &mut dyn Write) -> io::Result<()> {
        let name = self.collection;
        writeln!(out, "# {} A guess: read every line, remove what is not personal, add what is missing.", self.summary())?;
        writeln!(
            out,
            "#\n# ---- sudare.toml ----\n# Samples do not say where documents stand nor who they are about: correct match, rows and subject."
        )?;
        writeln!(out, "[collection.{name}]\nmatch   = \"/{name}/{{id}}\"\nrows    = [\"$\", \"$[*]\"]\nsubject = \"{{id}}\"")?;
        writeln!(out, "[collection.{name}.field]")?;
        let mut taken = HashSet::new();
        let mut members = HashSet::new();
        let mut categories: Vec<Category> = Vec::new();
        for proposal in &found.proposals {
            let at = visible(&proposal.at);
            let because = format!("confidence {:.2}, {}", proposal.confidence, evidence(proposal));
            if let Some(why) = not_protected(&proposal.at) {
                writeln!(out, "# {at} looks like {}, but {why} ({because})", proposal.category.as_str())?;
                continue;
            }
            if !categories.contains(&proposal.category) {
                categories.push(proposal.category);
            }
            let field = field_name(proposal, &mut taken);
            let suggestion = proposal.category.suggestion();
            let pad = suggestion.pad.map(|pad| format!(", pad = {pad}")).unwrap_or_default();
            let index = suggestion.index.map(|steps| self.index(&field, steps, &mut members)).unwrap_or_default();
            if suggestion.index.is_some_and(|steps| steps.contains(&"phone")) {
                writeln!(
                    out,
                    "# Numbers without a country code are not found by \"phone\": name their region, such as \"phone:HK\"."
                )?;
            }
            writeln!(
                out,
                "{field} = {{ at = {}, category = \"{}\"{pad}{index} }} # {because}",
                quoted(&at),
                proposal.category.as_str()
            )?;
        }
        writeln!(out, "\n{POLICY}\n# What each purpose reveals of them is for the privacy officer to say.\n[category]")?;
        for category in categories {
            let suggestion = category.suggestion();
            let more = [("mask", suggestion.mask), ("generalise", suggestion.generalise)];
            let more: String = more.iter().filter_map(|(key, value)| Some(format!(", {key} = \"{}\"", (*value)?))).collect();
            writeln!(
                out,
                "{} = {{ dpv = \"{}\", nature = \"{}\"{more} }}",
                category.as_str(),
                category.dpv(),
                category.nature()
            )?;
        }
        Ok(())
    }

    /// `, index = { … }`, in a member at the top that no document has.
    fn index(&self, field: &str, steps: &[&str], members: &mut HashSet<String>) -> String {
        // Names of fields are letters, digits and hyphens, so that no two of them come out alike.
        let mut member = format!("{}_ix", field.replace('-', "_"));
        while self.paths.has_at_top(&member) || !members.insert(member.clone()) {
            member.push('x');
        }
        format!(", index = {{ at = \"$.{member}\", normalise = {} }}", normalise(steps))
    }
}

/// `"email"`, or a list of steps.
fn normalise(steps: &[&str]) -> String {
    let quoted: Vec<String> = steps.iter().map(|step| quoted(step)).collect();
    if let [step] = quoted.as_slice() { step.clone() } else { format!("[{}]", quoted.join(", ")) }
}

fn row(proposal: &Proposal) -> [String; 6] {
    let suggestion = proposal.category.suggestion();
    let parts = [("mask", suggestion.mask), ("generalise", suggestion.generalise)];
    let mut protection = "seal".to_owned();
    protection.extend(parts.iter().filter_map(|(key, value)| Some(format!(", {key} {}", (*value)?))));
    protection.extend(suggestion.index.map(|steps| format!(", index {}", steps.join("+"))));
    protection.extend(suggestion.pad.map(|pad| format!(", pad {pad}")));
    [
        visible(&proposal.at),
        proposal.category.as_str().to_owned(),
        proposal.category.dpv().to_owned(),
        protection,
        format!("{:.2}", proposal.confidence),
        evidence(proposal),
    ]
}

fn evidence(proposal: &Proposal) -> String {
    let counts = format!("{} of {} values", thousands(proposal.evidence.matched), thousands(proposal.evidence.seen));
    match proposal.evidence.name {
        None => counts,
        Some(Telling::Part) => counts + ", name in part",
        Some(Telling::Whole) => counts + ", name",
    }
}

fn proposal_json(proposal: &Proposal) -> serde_json::Value {
    let suggestion = proposal.category.suggestion();
    let name = proposal.evidence.name.map(|telling| if telling == Telling::Whole { "whole" } else { "part" });
    json!({
        "path": proposal.at.to_string(),
        "category": proposal.category.as_str(),
        "dpv": proposal.category.dpv(),
        "nature": proposal.category.nature(),
        "protect": "seal",
        "mask": suggestion.mask,
        "generalise": suggestion.generalise,
        "pad": suggestion.pad,
        "index": suggestion.index.map(|steps| if let [step] = steps { json!(step) } else { json!(steps) }),
        // Two digits: more would claim more than is known.
        "confidence": (proposal.confidence * 100.0).round() / 100.0,
        "evidence": { "seen": proposal.evidence.seen, "matched": proposal.evidence.matched, "name": name },
    })
}

/// A field's name, after its member or else its category; no two are alike.
fn field_name(proposal: &Proposal, taken: &mut HashSet<String>) -> String {
    let member = proposal.at.last_member().and_then(name_from);
    let name = member.unwrap_or_else(|| proposal.category.as_str().to_owned());
    let mut unique = name.clone();
    for number in 2.. {
        if taken.insert(unique.clone()) {
            break;
        }
        unique = format!("{}-{number}", name.get(..MAX_NAME - 8).unwrap_or(&name));
    }
    unique
}

/// Why no field can be made of it.
fn not_protected(at: &Selector) -> Option<&'static str> {
    match at.steps() {
        [Step::Member(name)] if matches!(&**name, "id" | "_id") => {
            Some("ids are not protected: use ids that say nothing about a person")
        }
        [Step::AnyMember, ..] => Some("a selector for it would name the document's id too: put such members into one object"),
        _ => None,
    }
}

/// May a collection or field have this name?
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= MAX_NAME
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The name as it may be written, if anything of it is left.
pub(super) fn name_from(text: &str) -> Option<String> {
    let lower: String = text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = lower.trim_start_matches(|c: char| !c.is_ascii_lowercase());
    let name = name.get(..MAX_NAME).unwrap_or(name).trim_end_matches('-');
    (!name.is_empty()).then(|| name.to_owned())
}

/// A path for people and comments: no name of a member may act on a terminal.
fn visible(at: &Selector) -> String {
    harmless(&at.to_string())
}

/// Without what acts on a terminal, ends a comment, or makes a line read otherwise than it is: a JSON escape stands there.
pub(super) fn harmless(text: &str) -> String {
    let acts = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|c| if acts(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() }).collect()
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    crate::document::write_string(text, &mut out);
    // JSON lets it stand, TOML does not.
    String::from_utf8_lossy(&out).replace('\u{7f}', "\\u007F")
}

fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(number), if number == 1 { "" } else { "s" })
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
