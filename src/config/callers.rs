//! Reads `[caller.*]`: who may ask, and the one way each is known.
//!
//! Always holds: no two callers are known by the same thing, and what may be the secret itself (instead of its hash) is
//! never shown. Called by [`super::load`].

use super::names::check_name;
use super::report::Draft;
use super::tree::{Node, Section, Text, shorten};
use crate::base::{CallerName, IssuerName};
use crate::caller::Means;

/// The callers of the file.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Every name that stands in the file, right or wrong, so that it is not reported again where the policy uses it.
    pub(super) names: Vec<Text>,
    /// The callers without mistakes.
    pub(super) entries: Vec<(CallerName, Means)>,
    /// The `[caller]` tables could be read, so that the names are all there are.
    pub(super) known: bool,
}

const LATER: &str = "this way to know a caller is not built in yet; use credential_sha256, jwt or uid";

/// Reads every `[caller.NAME]`. `over_unix`: the listener is a Unix socket, or could not be read. `issuers`: every `[jwt.NAME]`.
pub(super) fn read(root: &Section<'_>, over_unix: bool, issuers: &[Text]) -> Written {
    let mut written = Written::default();
    let Some(table) = root.required_table("caller", "[caller.NAME] with credential_sha256: run `sudare caller add NAME`") else {
        return written;
    };
    let report = root.report();
    written.known = true;
    if table.entries().is_empty() {
        report.push(
            Draft::error(&table.span, "there is no caller, so nobody could ask for anything")
                .remedy("run `sudare caller add NAME` and paste the lines it prints"),
        );
    }
    for (name, node) in table.entries() {
        let named = check_name(report, &name, "a caller");
        written.names.push(name.clone());
        if !node.is_table() {
            report.hide(&node.span);
        }
        let Some(entry) = node.table_named(format!("[caller.{}]", shorten(&name.value))) else { continue };
        for (key, value) in entry.entries() {
            if value.is_text() && !["uid", "spiffe"].contains(&key.value.as_str()) {
                report.hide(&value.span);
            }
        }
        let Some(means) = means(&entry, over_unix, issuers) else { continue };
        let twin = written.entries.iter().find(|(_, other)| same(other, &means));
        if let Some((other, _)) = twin {
            let what = match means {
                Means::CredentialSha256(_) => "the same credential_sha256",
                Means::Uid(_) => "the same uid",
                Means::Token { .. } => "tokens of the same issuer with the same claim, or with another claim,",
            };
            report.push(
                Draft::error(
                    &name.span,
                    format!("caller \"{}\" has {what} as caller \"{other}\", so they cannot be told apart", name.value),
                )
                .remedy(match means {
                    Means::Token { .. } => "let all callers of an issuer be known by one claim, each by a value of its own",
                    Means::CredentialSha256(_) | Means::Uid(_) => {
                        "give each caller a credential of its own: `sudare caller add NAME`"
                    }
                }),
            );
        } else if named {
            written.entries.push((CallerName::new(&name.value), means));
        }
    }
    written
}

fn same(a: &Means, b: &Means) -> bool {
    match (a, b) {
        (Means::CredentialSha256(a), Means::CredentialSha256(b)) => a == b,
        (Means::Uid(a), Means::Uid(b)) => a == b,
        // A token with two claims could be that of two callers.
        (Means::Token { issuer, claim, equals }, Means::Token { issuer: other, claim: its, equals: value }) => {
            issuer == other && (claim != its || equals == value)
        }
        (Means::CredentialSha256(_) | Means::Uid(_) | Means::Token { .. }, _) => false,
    }
}

fn means(entry: &Section<'_>, over_unix: bool, issuers: &[Text]) -> Option<Means> {
    let report = entry.report();
    let hash = entry.optional("credential_sha256");
    let uid = entry.optional("uid");
    let token = entry.optional("jwt");
    let later = ["spiffe", "certificate", "subject"];
    let has_later = later.iter().any(|key| entry.has(key));
    entry.refuse_later(&later.map(|key| (key, LATER)));
    entry.finish();
    if let Some(node) = &token {
        if hash.is_some() || uid.is_some() {
            report.push(
                Draft::error(&node.span, format!("{} has `jwt` and another way to be known", entry.title))
                    .remedy("keep exactly one way to know this caller"),
            );
            return None;
        }
        return by_token(node, &entry.title, issuers);
    }
    match (hash, uid) {
        (Some(_), Some(uid)) => {
            report.push(
                Draft::error(&uid.span, format!("{} has both credential_sha256 and uid", entry.title))
                    .remedy("keep exactly one way to know this caller"),
            );
            None
        }
        (Some(hash), None) => {
            let text = hash.text()?;
            let digest = data_encoding::HEXLOWER_PERMISSIVE.decode(text.value.as_bytes()).ok();
            let digest = digest.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
            if digest.is_none() {
                let length = text.value.chars().count();
                let found = match length {
                    64 => "holds a character that is not hexadecimal".to_owned(),
                    _ => format!("has {length} characters"),
                };
                report.push(
                    Draft::error(&text.span, format!("credential_sha256 in {} {found}", entry.title))
                        .expected("64 hexadecimal characters")
                        .remedy("run `sudare caller add NAME`: it shows the secret once and prints this line; the secret itself never stands in the file"),
                );
            }
            digest.map(Means::CredentialSha256)
        }
        (None, Some(uid)) => {
            let value = uid.integer(0..=u64::from(u32::MAX) - 1, "")?;
            if !over_unix {
                report.push(
                    Draft::warning(
                        &uid.span,
                        format!("{} is known by uid, but Sudare listens on TCP, where no uid is seen", entry.title),
                    )
                    .remedy("set [listen] address = \"unix:…\", or give the caller a credential"),
                );
            }
            u32::try_from(value).ok().map(Means::Uid)
        }
        (None, None) => {
            if !has_later && !entry.has_unknown() {
                report.push(Draft::error(&entry.span, format!("{} does not say how the caller is known", entry.title)).remedy(
                    "add credential_sha256 = \"…\" (run `sudare caller add NAME`), or uid = 1000 for a process on this machine",
                ));
            }
            None
        }
    }
}

/// `jwt = { issuer = "idp", subject = "helpdesk" }`, or `{ issuer = "idp", claim = "client_id", equals = "helpdesk" }`.
fn by_token(node: &Node<'_>, title: &str, issuers: &[Text]) -> Option<Means> {
    const EXAMPLE: &str =
        "write jwt = { issuer = \"idp\", subject = \"…\" } or { issuer = \"idp\", claim = \"client_id\", equals = \"…\" }";
    let report = node.report();
    if !node.is_table() {
        // It might be a token.
        report.hide(&node.span);
    }
    let section = node.table_named(format!("`jwt` in {title}"))?;
    let issuer = section.required("issuer", "issuer = \"idp\": the name of a table [jwt.idp]").and_then(|node| node.text());
    let text = |key: &'static str| section.optional(key).map(|node| node.text());
    let (subject, claim, equals) = (text("subject"), text("claim"), text("equals"));
    section.finish();
    let issuer = issuer?;
    if !issuers.iter().any(|known| known.value == issuer.value) && !report.source.has_lost(&issuer.value) {
        let remedy = format!("add [jwt.{}], or name one that is there", shorten(&issuer.value));
        let names = issuers.iter().map(|known| known.value.as_str());
        report.push(
            Draft::error(&issuer.span, format!("there is no issuer \"{}\"", shorten(&issuer.value)))
                .near(&issuer.value, names)
                .remedy(remedy),
        );
        return None;
    }
    let (claim, equals) = match (subject, claim, equals) {
        (Some(subject), None, None) => ("sub".to_owned(), subject?.value),
        (None, Some(claim), Some(equals)) => (claim?.value, equals?.value),
        _ => {
            if !section.has_unknown() {
                report.push(
                    Draft::error(&section.span, format!("{} does not name one claim and its value", section.title))
                        .remedy(EXAMPLE),
                );
            }
            return None;
        }
    };
    Some(Means::Token { issuer: IssuerName::new(&issuer.value), claim: claim.into(), equals: equals.into() })
}
