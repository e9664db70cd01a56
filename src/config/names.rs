//! The shape of names and ids in both files: what a collection, field, caller, category, purpose, clause or DPV id may look like.
//!
//! Always holds: a name that passed is safe as a structured-field token, a metrics label and a file name. Used by the readers.

use super::report::{Draft, Report};
use super::tree::{Text, shorten};

/// Longest name, in bytes. Names are bound into what is stored and repeated in every audit event.
const MAX_NAME_BYTES: usize = 64;

/// Reports a name that is not `[a-z][a-z0-9-]*` of at most [`MAX_NAME_BYTES`]. `what` says what is named: `a caller`.
pub(super) fn check_name(report: &Report<'_>, name: &Text, what: &str) -> bool {
    let mut chars = name.value.chars();
    let begins = chars.next().is_some_and(|c| c.is_ascii_lowercase());
    let fits =
        begins && name.value.len() <= MAX_NAME_BYTES && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !fits {
        let mut draft = Draft::error(&name.span, format!("\"{}\" cannot be the name of {what}", shorten(&name.value)))
            .expected(format!("a-z, then a-z, 0-9 and -, at most {MAX_NAME_BYTES} characters"));
        let repaired = repair(&name.value);
        draft = match repaired {
            Some(better) => draft.remedy(format!("rename it, for example to \"{better}\"")),
            None => draft.remedy("rename it"),
        };
        report.push(draft);
    }
    fits
}

/// The name as it could be written.
fn repair(name: &str) -> Option<String> {
    let folded: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .skip_while(|c| !c.is_ascii_lowercase())
        .take(MAX_NAME_BYTES)
        .collect();
    let trimmed = folded.trim_end_matches('-');
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// Reports an id that is not `prefix:Name`, as in `dpv:DeliveryOfGoods`. `example` completes the finding.
pub(super) fn check_dpv(report: &Report<'_>, id: &Text, example: &str) -> bool {
    let fits = id.value.split_once(':').is_some_and(|(prefix, name)| {
        let prefix_fits = prefix.starts_with(|c: char| c.is_ascii_lowercase())
            && prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        let name_fits = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        prefix_fits && name_fits
    });
    if !fits {
        report.push(
            Draft::error(&id.span, format!("\"{}\" is not an id of the Data Privacy Vocabulary", shorten(&id.value)))
                .expected("prefix:Name")
                .remedy(format!("write it like \"{example}\"; the vocabulary is listed on https://w3id.org/dpv")),
        );
    }
    fits
}

/// Reports clause ids that are not of the shape `003-21`, and keeps the others.
pub(super) fn checked_clauses(report: &Report<'_>, clauses: Vec<Text>) -> Vec<String> {
    let digits = |text: &str, low: usize, high: usize| {
        (low..=high).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut kept: Vec<String> = Vec::new();
    for clause in clauses {
        if !clause.value.split_once('-').is_some_and(|(policy, number)| digits(policy, 3, 3) && digits(number, 2, 3)) {
            report.push(
                Draft::error(&clause.span, format!("\"{}\" is not the id of a clause", shorten(&clause.value)))
                    .expected("policy-clause, three digits and two or three")
                    .remedy("write it like \"003-21\": published policy 003, clause 21"),
            );
        } else if kept.contains(&clause.value) {
            report.push(
                Draft::error(&clause.span, format!("clause \"{}\" stands here twice", clause.value))
                    .remedy("keep one of the two"),
            );
        } else {
            kept.push(clause.value);
        }
    }
    kept
}
