//! `sudare audit combined`: what callers may have put together from several replies, by the audit log.
//!
//! Always holds: the whole log is proved while it is read, and the answer ends with whether it is sound. JSON output is JSON Lines: one object
//! for each way in which something was put together, then the line of `verify`.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::audit::AuditCommandError;
use super::policy::Format;
use crate::audit::{self, Combinations, Combined, Filter, Source, VerifyError};
use crate::purpose::Policy;

/// Prints what may have been combined by replies at most `within_ms` apart. True if the log is sound.
///
/// # Errors
///
/// A log that cannot be read; output that cannot be written.
pub(super) fn combined(
    dir: &Path,
    keys: &[audit::Key],
    policy: &Policy,
    filter: &Filter,
    within_ms: i64,
    format: Format,
    out: &mut dyn Write,
) -> Result<bool, AuditCommandError> {
    let mut combinations = Combinations::of(policy, within_ms);
    let found = audit::report(dir, keys, filter, &mut |entry| combinations.add(entry));
    if let Err(VerifyError::Unreadable(error)) = found {
        return Err(error.into());
    }
    if format == Format::Table {
        if combinations.is_idle() {
            writeln!(
                out,
                "the policy has no limit with when = \"linkable-with-identifying\": nothing that is put together counts"
            )?;
        } else if combinations.found().next().is_none() {
            writeln!(out, "nobody was shown, in replies so close together, what the policy keeps apart")?;
        }
    }
    for (source, combined) in combinations.found() {
        match format {
            Format::Table => writeln!(out, "{}", sentence(source, combined))?,
            Format::Json => writeln!(out, "{}", as_json(source, combined))?,
        }
    }
    super::audit::outcome(found, format, out)
}

fn sentence(source: &Source, combined: &Combined) -> String {
    let Source { caller, limit, identifying_purpose, identifying, linkable_purpose, linkable } = source;
    let of = if combined.subjects == 1 { "1 data subject".to_owned() } else { format!("{} data subjects", combined.subjects) };
    format!(
        "{caller} may have put together, of {of}: {} (seen for {identifying_purpose}) with {} (seen for {linkable_purpose}), which \
         limit.{limit} keeps apart; first {}, last {}",
        identifying.join(", "),
        linkable.join(", "),
        combined.first,
        combined.last
    )
}

fn as_json(source: &Source, combined: &Combined) -> serde_json::Value {
    json!({
        "caller": source.caller,
        "limit": source.limit,
        "identifying": { "purpose": source.identifying_purpose, "categories": source.identifying },
        "linkable": { "purpose": source.linkable_purpose, "categories": source.linkable },
        "subjects": combined.subjects,
        "pseudonyms": combined.named,
        "first": combined.first,
        "last": combined.last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Entry;

    const POLICY: &str = r#"
policy = { id = "shop", version = 1 }
[category]
email  = { dpv = "pd:EmailAddress", nature = "identifying" }
device = { dpv = "pd:DeviceBased", nature = "linkable" }
[purpose.mailing]
callers = ["desk"]
reveal  = { email = "clear" }
[purpose.recommend]
callers = ["desk"]
reveal  = { email = "clear", device = "clear" }
[purpose.fraud]
callers = ["desk"]
reveal  = { email = "clear", device = "clear" }
[limit.combination]
when    = "linkable-with-identifying"
at_most = { device = "pseudonym" }
except  = ["fraud"]
"#;

    fn entry(second: u32, exchange: &str, purpose: &str, subjects: &[&str], shown: [(&str, &str); 1]) -> Entry {
        let [(level, category)] = shown;
        let line = json!({
            "seq": 1, "prev": "", "time": format!("2026-11-29T12:{:02}:{:02}Z", second / 60, second % 60), "kind": "reveal",
            "exchange": exchange, "caller": "desk", "purpose": purpose, "subjects": subjects, "shown": { level: { category: 1 } },
        });
        serde_json::from_value(line).unwrap()
    }

    fn look(entries: &[Entry]) -> Vec<(Source, Combined)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        std::fs::write(&path, POLICY).unwrap();
        let policy = crate::config::load_policy_file(&path).unwrap();
        let mut combinations = Combinations::of(&policy, 60_000);
        assert!(!combinations.is_idle());
        for entry in entries {
            combinations.add(entry);
        }
        combinations.found().map(|(source, combined)| (source.clone(), combined.clone())).collect()
    }

    #[test]
    fn two_replies_about_one_data_subject_are_found_in_either_order() {
        let email = entry(0, "e1", "mailing", &["a", "b"], [("clear", "email")]);
        let device = entry(30, "e2", "recommend", &["b", "c"], [("clear", "device")]);
        for entries in [[email.clone(), device.clone()], [device.clone(), email.clone()]] {
            let found = look(&entries);
            let (source, combined) = found.first().unwrap();
            assert_eq!((found.len(), combined.subjects, combined.named.as_slice()), (1, 1, &["b".to_owned()][..]));
            assert_eq!((source.identifying_purpose.as_str(), source.linkable_purpose.as_str()), ("mailing", "recommend"));
            assert_eq!((&source.identifying[..], &source.linkable[..]), (&["email".to_owned()][..], &["device".to_owned()][..]));
        }
    }

    #[test]
    fn what_the_limit_lets_stand_is_not_found() {
        let email = || entry(0, "e1", "mailing", &["a"], [("clear", "email")]);
        let other = |second, exchange, purpose, level| entry(second, exchange, purpose, &["a"], [(level, "device")]);
        for harmless in [
            other(30, "e1", "recommend", "clear"),
            other(30, "e2", "fraud", "clear"),
            other(30, "e2", "recommend", "pseudonym"),
            other(30, "e2", "recommend", "sealed"),
            other(61, "e2", "recommend", "clear"),
            entry(30, "e2", "recommend", &["b"], [("clear", "device")]),
        ] {
            assert!(look(&[email(), harmless.clone()]).is_empty(), "{harmless:?}");
        }
        assert!(
            look(&[entry(0, "e1", "mailing", &["a"], [("pseudonym", "email")]), other(1, "e2", "recommend", "clear")]).is_empty()
        );
        assert_eq!(look(&[email(), other(30, "e2", "recommend", "clear")]).len(), 1, "the control");
    }

    #[test]
    fn it_is_counted_by_data_subject_and_told_with_its_times() {
        let entries = [
            entry(0, "e1", "mailing", &["a"], [("masked", "email")]),
            entry(1, "e2", "recommend", &["a"], [("clear", "device")]),
            entry(2, "e3", "recommend", &["a"], [("clear", "device")]),
        ];
        let found = look(&entries);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].1.subjects, found[0].1.first.as_str(), found[0].1.last.as_str()),
            (1, "2026-11-29T12:00:01Z", "2026-11-29T12:00:02Z")
        );
    }
}
