//! Reads `[backups]` and `[operator.*]`: how long a backup may come back, and who may sign for the destruction of keys.
//!
//! Always holds: no two operators have one key, for then one person could sign for two. Called by [`super::build`].

use std::time::Duration;

use super::names::check_name;
use super::report::Draft;
use super::tree::{Section, shorten};
use crate::crypto::{self, PublicKey};
use crate::keys::Operator;

/// How long backups are kept unless the file says otherwise.
const KEEP_DAYS: u64 = 30;
const SECONDS_OF_A_DAY: u64 = 86_400;

/// `[backups]`, optional: how long a backup of the database or the store may be put back after it was made.
pub(super) fn backups(root: &Section<'_>) -> Option<Duration> {
    let mut days = Some(KEEP_DAYS);
    if let Some(section) = root.optional("backups").map(|node| node.table()) {
        let section = section?;
        if let Some(node) = section.optional("keep_days") {
            days = node.integer(0..=36_500, "days");
            if days == Some(0) {
                section.report().push(
                    Draft::warning(
                        &node.span,
                        "`keep_days = 0` says that no backup is ever put back, so a key may be destroyed as soon as nothing hangs on it; a value in a backup, or one that a node with an older key ring is writing, is then lost",
                    )
                    .remedy("write for how many days backups of the database and of the store are kept, or remove the line for 30"),
                );
            }
        }
        section.finish();
    }
    days.map(|days| Duration::from_secs(days * SECONDS_OF_A_DAY))
}

/// Every `[operator.NAME]`, optional.
pub(super) fn operators(root: &Section<'_>) -> Option<Vec<Operator>> {
    let Some(node) = root.optional("operator") else { return Some(Vec::new()) };
    let table = node.table()?;
    let report = table.report();
    let mut operators: Vec<Operator> = Vec::new();
    let mut sound = true;
    for (name, node) in table.entries() {
        sound &= check_name(report, &name, "an operator");
        let Some(entry) = node.table_named(format!("[operator.{}]", shorten(&name.value))) else {
            sound = false;
            continue;
        };
        let key = entry.required("public_key", "public_key = \"…\", as `sudare keys operator NAME` prints it");
        let text = key.and_then(|node| node.text());
        entry.finish();
        let Some(text) = text else {
            sound = false;
            continue;
        };
        let bytes = crypto::from_base64url(text.value.as_bytes()).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let Some(bytes) = bytes else {
            sound = false;
            // Somebody may have pasted the private half.
            report.hide(&text.span);
            report.push(
                Draft::error(&text.span, format!("`public_key` in {} is not a public key", entry.title))
                    .expected("32 bytes as 43 characters of base64url text")
                    .remedy("paste the line that `sudare keys operator NAME` printed; the private key stays in its file"),
            );
            continue;
        };
        if let Some(twin) = operators.iter().find(|other| other.public.0 == bytes) {
            sound = false;
            report.push(
                Draft::error(
                    &text.span,
                    format!(
                        "operator \"{}\" has the same key as operator \"{}\", so one person could sign for two",
                        shorten(&name.value),
                        twin.name
                    ),
                )
                .remedy("give each operator a key of their own: `sudare keys operator NAME`"),
            );
        }
        operators.push(Operator { name: name.value, public: PublicKey(bytes) });
    }
    sound.then_some(operators)
}
