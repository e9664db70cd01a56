//! `sudare policy diff OLD NEW`: what each caller gains and loses between two versions of a policy.
//!
//! Always holds: two versions that decide alike print that nothing changes; what somebody gains is never left out.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{Format, columns};
use crate::base::CallerName;
use crate::purpose::{Change, Effect, Policy, diff as changes_of};

/// What `policy diff` was asked.
#[derive(Debug, Clone, Copy)]
pub struct DiffOptions<'a> {
    /// The older file, as the reader knows it.
    pub old_file: &'a str,
    /// The newer file.
    pub new_file: &'a str,
    /// How to print.
    pub format: Format,
}

/// Prints what changes. True if somebody gains something: exit code 1.
///
/// # Errors
///
/// Output that cannot be written.
pub fn diff(old: &Policy, new: &Policy, options: &DiffOptions<'_>, out: &mut dyn Write) -> io::Result<bool> {
    let changes = changes_of(old, new);
    let count = |effect| changes.iter().filter(|change| change.effect == effect).count();
    match options.format {
        Format::Json => {
            let end = |policy: &Policy, file: &str| json!({ "policy": policy.id(), "version": policy.version(), "file": file });
            let all = json!({
                "old": end(old, options.old_file),
                "new": end(new, options.new_file),
                "gains": count(Effect::Gains),
                "loses": count(Effect::Loses),
                "changes": changes.iter().map(change_json).collect::<Vec<_>>(),
            });
            writeln!(out, "{all:#}")?;
        }
        Format::Table => table(old, new, &changes, out)?,
    }
    Ok(count(Effect::Gains) > 0)
}

fn table(old: &Policy, new: &Policy, changes: &[Change], out: &mut dyn Write) -> io::Result<()> {
    let name = |policy: &Policy| format!("{} version {}", policy.id(), policy.version());
    writeln!(out, "from {} to {}", name(old), name(new))?;
    if old.version() == new.version() && !changes.is_empty() {
        writeln!(out, "note: both are version {}; a change that is published raises it", new.version())?;
    }
    if changes.is_empty() {
        return writeln!(out, "nobody gains or loses anything");
    }
    let mut before = None;
    for change in changes {
        let whose = match (&change.caller, &change.purpose) {
            (Some(caller), Some(purpose)) => format!("{caller} for {purpose}"),
            _ => "everybody".to_owned(),
        };
        if before.as_ref() != Some(&whose) {
            writeln!(out, "\n{whose}")?;
        }
        columns("  ", &[vec![format!("{:<7}", change.effect.as_str()), change.says.clone()]], out)?;
        before = Some(whose);
    }
    let count = |effect| changes.iter().filter(|change| change.effect == effect).count();
    let (gains, loses) = (count(Effect::Gains), count(Effect::Loses));
    let times = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    writeln!(
        out,
        "\n{}, {}, {}",
        times(gains, "gain"),
        if loses == 1 { "1 loss".to_owned() } else { format!("{loses} losses") },
        times(count(Effect::Changes), "other change")
    )
}

fn change_json(change: &Change) -> Value {
    json!({
        "caller": change.caller.as_ref().map(CallerName::as_str),
        "purpose": change.purpose,
        "effect": change.effect.as_str(),
        "says": change.says,
    })
}
