//! Reads `[caller.*]`: who may ask, and the one way each is known.
//!
//! Always holds: no two callers are known by the same thing, and what may be the secret itself (instead of its hash) is
//! never shown. Called by [`super::load`].

use std::collections::HashMap;

use super::limits::of_caller;
use super::listen::Sees;
use super::names::check_name;
use super::report::Draft;
use super::tree::{Node, Section, Text, shorten};
use crate::base::{CallerName, IssuerName};
use crate::caller::{Means, canonical_subject, check_spiffe};
use crate::exchange::CallerLimits;

/// The callers of the file.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Every name that stands in the file, right or wrong, so that it is not reported again where the policy uses it.
    pub(super) names: Vec<Text>,
    /// The callers without mistakes.
    pub(super) entries: Vec<(CallerName, Means)>,
    /// The `[caller]` tables could be read, so that the names are all there are.
    pub(super) known: bool,
    /// Limits of callers that have their own.
    pub(super) limits: Vec<(CallerName, CallerLimits)>,
    /// What callers may record of data subjects, of those that may: names of the policy, which `build` compares.
    pub(super) records: Vec<(CallerName, Vec<Text>)>,
}

/// What callers can be known by, as other tables have it.
#[derive(Clone, Copy)]
struct Around<'w> {
    /// What the listener tells of its clients.
    sees: Sees,
    /// Every `[jwt.NAME]`.
    issuers: &'w [Text],
}

/// Reads every `[caller.NAME]`. `sees`: what the listener tells of its clients; `issuers`: every `[jwt.NAME]`, right or wrong;
/// `limits`: those of `[limits.caller]`.
pub(super) fn read(root: &Section<'_>, sees: Sees, issuers: &[Text], limits: CallerLimits) -> Written {
    let around = Around { sees, issuers };
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
    // Where a caller stands that could be taken for another one, by what tells: each compared with all would be slow for many.
    let mut told: HashMap<Tells, usize> = HashMap::new();
    for (name, node) in table.entries() {
        let named = check_name(report, &name, "a caller");
        written.names.push(name.clone());
        if !node.is_table() {
            report.hide(&node.span);
        }
        let Some(entry) = node.table_named(format!("[caller.{}]", shorten(&name.value))) else { continue };
        for (key, value) in entry.entries() {
            if value.is_text() && !["uid", "spiffe", "subject"].contains(&key.value.as_str()) {
                report.hide(&value.span);
            }
        }
        let own = entry.optional_table("limits").and_then(|table| of_caller(&table, limits));
        written.limits.extend(own.map(|own| (CallerName::new(&name.value), own)));
        let records = entry.optional("records").and_then(|node| node.texts());
        written.records.extend(records.map(|records| (CallerName::new(&name.value), records)));
        let Some(means) = means(&entry, around) else { continue };
        let tells = tells(&means);
        let mut near = tells.iter().filter_map(|tells| written.entries.get(*told.get(tells)?));
        let twin = near.find_map(|(other, theirs)| Some((other, same(theirs, &means)?)));
        if let Some((other, what)) = twin {
            report.push(
                Draft::error(
                    &name.span,
                    format!("caller \"{}\" has {what} as caller \"{other}\", so they cannot be told apart", name.value),
                )
                .remedy(match means {
                    Means::Token { .. } => "let all callers of an issuer be known by one claim, each by a value of its own",
                    Means::CredentialSha256(_) | Means::Spiffe(_) | Means::Subject(_) | Means::Uid(_) => {
                        "give each caller a credential of its own: `sudare caller add NAME`"
                    }
                }),
            );
        } else if named {
            for tells in tells {
                told.entry(tells).or_insert(written.entries.len());
            }
            written.entries.push((CallerName::new(&name.value), means));
        }
    }
    written
}

/// One thing by which a caller is told from others: which kind, of which issuer if of any, and its bytes.
type Tells = (u8, String, Vec<u8>);

/// By what a caller is told. The first caller of an issuer says by which claim all of them are.
fn tells(means: &Means) -> Vec<Tells> {
    let one = |kind: u8, bytes: &[u8]| vec![(kind, String::new(), bytes.to_vec())];
    match means {
        Means::CredentialSha256(hash) => one(0, hash),
        Means::Spiffe(id) => one(1, id.as_bytes()),
        Means::Subject(subject) => one(2, subject.as_bytes()),
        Means::Uid(uid) => one(3, &uid.to_le_bytes()),
        Means::Token { issuer, equals, .. } => {
            vec![(4, issuer.to_string(), Vec::new()), (5, issuer.to_string(), equals.as_bytes().to_vec())]
        }
    }
}

/// What two callers have in common that tells who they are.
fn same(a: &Means, b: &Means) -> Option<&'static str> {
    match (a, b) {
        (Means::CredentialSha256(a), Means::CredentialSha256(b)) => (a == b).then_some("the same credential_sha256"),
        (Means::Spiffe(a), Means::Spiffe(b)) => (a == b).then_some("the same spiffe"),
        (Means::Subject(a), Means::Subject(b)) => (a == b).then_some("the same subject"),
        (Means::Uid(a), Means::Uid(b)) => (a == b).then_some("the same uid"),
        (Means::Token { issuer, claim, equals }, Means::Token { issuer: other, claim: its, equals: value }) => {
            // A token has many claims, so it could be that of two callers.
            let by_other_claims = (claim != its).then_some("another claim of the same issuer");
            by_other_claims.or((equals == value).then_some("the same claim")).filter(|_| issuer == other)
        }
        (Means::CredentialSha256(_) | Means::Spiffe(_) | Means::Subject(_) | Means::Uid(_) | Means::Token { .. }, _) => None,
    }
}

type Reader = fn(&Section<'_>, &Node<'_>, Around<'_>) -> Option<Means>;

/// The ways to be known, of which a caller has exactly one.
const WAYS: [(&str, Reader); 5] =
    [("credential_sha256", credential), ("jwt", token), ("spiffe", spiffe), ("subject", subject), ("uid", uid)];

fn means(entry: &Section<'_>, around: Around<'_>) -> Option<Means> {
    let report = entry.report();
    let ways: Vec<_> = WAYS.into_iter().filter_map(|(key, read)| Some((key, read, entry.optional(key)?))).collect();
    entry.finish();
    match ways.as_slice() {
        [(_, read, node)] => read(entry, node, around),
        [(one, ..), (other, _, node), ..] => {
            report.push(
                Draft::error(&node.span, format!("{} has both {one} and {other}", entry.title))
                    .remedy("keep exactly one way to know this caller"),
            );
            None
        }
        [] => {
            if !entry.has_unknown() {
                report.push(Draft::error(&entry.span, format!("{} does not say how the caller is known", entry.title)).remedy(
                    "add credential_sha256 = \"…\" (run `sudare caller add NAME`), jwt for a token, spiffe or subject for a client certificate, or uid = 1000 for a process on this machine",
                ));
            }
            None
        }
    }
}

fn credential(entry: &Section<'_>, node: &Node<'_>, _around: Around<'_>) -> Option<Means> {
    let text = node.text()?;
    let digest = data_encoding::HEXLOWER_PERMISSIVE.decode(text.value.as_bytes()).ok();
    let digest = digest.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    if digest.is_none() {
        let length = text.value.chars().count();
        let found = match length {
            64 => "holds a character that is not hexadecimal".to_owned(),
            _ => format!("has {length} characters"),
        };
        entry.report().push(
            Draft::error(&text.span, format!("credential_sha256 in {} {found}", entry.title))
                .expected("64 hexadecimal characters")
                .remedy("run `sudare caller add NAME`: it shows the secret once and prints this line; the secret itself never stands in the file"),
        );
    }
    digest.map(Means::CredentialSha256)
}

fn spiffe(entry: &Section<'_>, node: &Node<'_>, around: Around<'_>) -> Option<Means> {
    let text = node.text()?;
    if let Err(why) = check_spiffe(&text.value) {
        entry.report().push(
            Draft::error(&text.span, format!("\"{}\" is not the SPIFFE id of a caller: {why}", shorten(&text.value)))
                .expected("spiffe://trust-domain/path")
                .remedy(
                    "write it as the URI name of the caller's certificate has it, for example \"spiffe://shop.example/shipping\"",
                ),
        );
        return None;
    }
    with_certificate(entry, &text, around.sees).then(|| Means::Spiffe(text.value.into()))
}

fn subject(entry: &Section<'_>, node: &Node<'_>, around: Around<'_>) -> Option<Means> {
    let text = node.text()?;
    let canonical = canonical_subject(&text.value);
    if canonical.is_none() {
        entry.report().push(
            Draft::error(&text.span, format!("\"{}\" is not the subject of a certificate", shorten(&text.value)))
                .expected("names and values as RFC 4514 writes them, without spaces around \"=\" and \",\"")
                .remedy("write \"CN=shipping,O=Shop\"; `openssl x509 -in FILE -noout -subject -nameopt RFC2253` prints it"),
        );
    }
    canonical.filter(|_| with_certificate(entry, &text, around.sees)).map(Means::Subject)
}

/// The listener asks for client certificates, or it is reported that it does not.
fn with_certificate(entry: &Section<'_>, text: &Text, sees: Sees) -> bool {
    if !sees.certificates {
        entry.report().push(
            Draft::error(
                &text.span,
                format!("{} is known by its certificate, but Sudare does not ask for client certificates", entry.title),
            )
            .remedy(
                "name their authority in [listen]: tls = { certificate = \"…\", key = \"…\", client_ca = \"tls/clients.pem\" }",
            ),
        );
    }
    sees.certificates
}

fn uid(entry: &Section<'_>, node: &Node<'_>, around: Around<'_>) -> Option<Means> {
    let value = node.integer(0..=u64::from(u32::MAX) - 1, "")?;
    if !around.sees.uids {
        entry.report().push(
            Draft::warning(
                &node.span,
                format!("{} is known by uid, but Sudare listens on TCP, where no uid is seen", entry.title),
            )
            .remedy("set [listen] address = \"unix:…\", or give the caller a credential"),
        );
    }
    u32::try_from(value).ok().map(Means::Uid)
}

/// `jwt = { issuer = "idp", subject = "helpdesk" }`, or `{ issuer = "idp", claim = "client_id", equals = "helpdesk" }`.
fn token(entry: &Section<'_>, node: &Node<'_>, around: Around<'_>) -> Option<Means> {
    const EXAMPLE: &str =
        "write jwt = { issuer = \"idp\", subject = \"…\" } or { issuer = \"idp\", claim = \"client_id\", equals = \"…\" }";
    let report = node.report();
    if !node.is_table() {
        // It might be a token.
        report.hide(&node.span);
    }
    let section = node.table_named(format!("`jwt` in {}", entry.title))?;
    let issuer = section.required("issuer", "issuer = \"idp\": the name of a table [jwt.idp]").and_then(|node| node.text());
    let text = |key: &'static str| section.optional(key).map(|node| node.text());
    let (subject, claim, equals) = (text("subject"), text("claim"), text("equals"));
    section.finish();
    let issuer = issuer?;
    if !around.issuers.iter().any(|known| known.value == issuer.value) && !report.source.has_lost(&issuer.value) {
        let remedy = format!("add [jwt.{}], or name one that is there", shorten(&issuer.value));
        let names = around.issuers.iter().map(|known| known.value.as_str());
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
