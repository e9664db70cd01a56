//! What is printed of exceptions, for people and in JSON.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::keys::table::{columns, time};
use super::door::{Door, Recorded};
use super::{plural, standing};
use crate::purpose::{Opens, Tell};
use crate::subject::exception::{Asked, Case, Request, Signed, Standing, What};

/// What a request asks for, for somebody who is about to sign it.
pub(super) fn request(asked: &Asked, out: &mut dyn Write) -> io::Result<()> {
    words(&asked.request, out)
}

/// The same, of one that is recorded.
pub(super) fn asked(case: &Case, out: &mut dyn Write) -> io::Result<()> {
    words(case.request(), out)
}

fn words(request: &Request, out: &mut dyn Write) -> io::Result<()> {
    let categories = request.categories.join(", ");
    let people = plural(request.subjects.len(), "person", "people");
    let Request { exception, policy, policy_version, caller, collection, hours, approvers, asked_by, .. } = request;
    let opens = match request.opens {
        Opens::Disclosure => format!("{caller} may see {categories} of {people} in collection {collection}:"),
        Opens::Collection => format!(
            "{caller} may store {categories} of {people} in new documents of collection {collection}, without their agreement, and see nothing:"
        ),
    };
    writeln!(out, "This asks for exception {exception} of policy {policy}, version {policy_version}. For {hours} h {opens}")?;
    for id in &request.subjects {
        writeln!(out, "  {id}")?;
    }
    for (word, text) in &request.evidence {
        writeln!(out, "on record, {word}: {text}")?;
    }
    let told = match request.tell_subject {
        Tell::Before => "it opens once they were told",
        Tell::After => "they are told once it is over",
        Tell::Withheld => "they are not told until somebody releases it",
    };
    writeln!(
        out,
        "The time begins with the last thing it needs: {} beside {asked_by}, who asks; {told}.",
        plural(usize::from(*approvers), "operator", "operators")
    )?;
    writeln!(out, "Written {}, to be agreed to until {}", time(Some(request.made)), time(Some(request.expires)))
}

/// After an approval.
pub(super) fn agreed(recorded: &Recorded, door: &Door, out: &mut dyn Write) -> io::Result<()> {
    let Recorded { case, signer, standing } = recorded;
    let (have, needed) = (case.agreed(door.operators()), case.request().approvers);
    writeln!(out, "{signer} agrees: {have} of {needed}. {}", far(case, *standing))
}

/// After a note.
pub(super) fn noted(recorded: &Recorded, what: What, door: &Door, out: &mut dyn Write) -> io::Result<()> {
    let Recorded { case, signer, standing } = recorded;
    let id = case.id();
    match what {
        What::Revoke => writeln!(out, "{signer} revoked {id}: every node ends it within seconds, also for replies under way")?,
        What::Told => writeln!(out, "{signer} says that the people of {id} were told. {}", far(case, *standing))?,
        What::Review => writeln!(out, "{signer} says that what was done under {id} was looked at")?,
    }
    let due = due(case, door);
    if due.is_empty() { Ok(()) } else { writeln!(out, "Still to be done: {due}") }
}

/// How far it is, in a sentence.
fn far(case: &Case, standing: Standing) -> String {
    let request = case.request();
    match standing {
        Standing::Requested { .. } => "Nothing is open yet.".to_owned(),
        Standing::ToTell => {
            format!(
                "Nothing is open yet: the people are told first, then `sudare exception told {} --key FILE --reason TEXT`.",
                case.id()
            )
        }
        Standing::Open { until, .. } => {
            format!("Open until {}: {} sends Data-Purpose: {}", time(Some(until)), request.caller, case.id())
        }
        Standing::Void => "Void: somebody who signed is no operator of this configuration.".to_owned(),
        Standing::Lapsed => format!("It lapsed {}: too few agreed in time.", time(Some(request.expires))),
        Standing::Revoked { at, .. } => format!("It was revoked {}.", time(Some(at))),
        Standing::Over { at } => format!("It is over since {}.", time(Some(at))),
    }
}

fn due(case: &Case, door: &Door) -> String {
    let due: Vec<&str> = case.due(door.operators(), door.now()).into_iter().map(crate::subject::exception::Due::word).collect();
    due.join(", ")
}

/// Every exception, one a line.
pub(super) fn list(cases: &[Arc<Case>], door: &Door, out: &mut dyn Write) -> io::Result<()> {
    if cases.is_empty() {
        return writeln!(out, "no exception was ever asked for");
    }
    let rows: Vec<Vec<String>> = cases
        .iter()
        .map(|case| {
            let (request, standing) = (case.request(), standing(case, door));
            let due = due(case, door);
            vec![
                case.id().to_string(),
                request.exception.clone(),
                request.caller.clone(),
                standing.word().to_owned(),
                format!("{} of {}", case.agreed(door.operators()), request.approvers),
                time(ends(standing)),
                if due.is_empty() { "–".to_owned() } else { due },
            ]
        })
        .collect();
    columns(&["id", "exception", "caller", "state", "agreed", "until", "to be done"], &rows, out)
}

fn ends(standing: Standing) -> Option<u64> {
    match standing {
        Standing::Open { until, .. } => Some(until),
        Standing::Revoked { at, .. } | Standing::Over { at } => Some(at),
        Standing::Requested { .. } | Standing::ToTell | Standing::Void | Standing::Lapsed => None,
    }
}

/// All about one.
pub(super) fn show(case: &Case, door: &Door, out: &mut dyn Write) -> io::Result<()> {
    let standing = standing(case, door);
    writeln!(out, "{}: {}. {}", case.id(), standing.word(), far(case, standing))?;
    asked(case, out)?;
    let signed = |signed: &Signed| format!("{} {}", door.name_of(signed.key), time(Some(signed.at)));
    writeln!(out, "asked for by {}", signed(&case.asked_by()))?;
    for approval in case.approvals() {
        writeln!(out, "agreed: {}", signed(approval))?;
    }
    for what in [What::Told, What::Revoke, What::Review] {
        if let Some((by, reason)) = case.noted(what) {
            writeln!(out, "{}: {}: {reason}", what.done(), signed(by))?;
        }
    }
    let due = due(case, door);
    if due.is_empty() { Ok(()) } else { writeln!(out, "to be done: {due}") }
}

/// What a person whom it names may be told: what it was, on whose and what ground, from when to when. Nobody else's id, and no operator.
pub(super) fn explained(case: &Case, door: &Door) -> super::super::audit::Explained {
    let (request, standing) = (case.request(), standing(case, door));
    let evidence: Vec<String> = request.evidence.iter().map(|(word, text)| format!("{word}: {text}")).collect();
    let opened = match standing {
        Standing::Open { since, until } => Some((since, until)),
        Standing::Over { at } => Some((at.saturating_sub(u64::from(request.hours).saturating_mul(3_600_000)), at)),
        Standing::Requested { .. } | Standing::ToTell | Standing::Void | Standing::Lapsed | Standing::Revoked { .. } => None,
    };
    let revoked = case.noted(What::Revoke).map(|(by, _)| by.at);
    let when = match (opened, revoked) {
        (_, Some(at)) => format!("asked for {}, ended {}", time(Some(request.made)), time(Some(at))),
        (Some((since, until)), None) => format!("open from {} until {}", time(Some(since)), time(Some(until))),
        (None, None) => format!("asked for {}", time(Some(request.made))),
    };
    let categories = request.categories.join(", ");
    let text = format!(
        "{} is the exception {} for {}, of {categories} in {}, {when}; {}",
        case.id(),
        request.exception,
        request.caller,
        request.collection,
        evidence.join("; ")
    );
    let json = json!({
        "id": case.id().as_str(),
        "exception": request.exception,
        "opens": request.opens.as_str(),
        "caller": request.caller,
        "collection": request.collection,
        "categories": request.categories,
        "evidence": request.evidence,
        "asked": time(Some(request.made)),
        "from": opened.map(|(since, _)| time(Some(since))),
        "until": revoked.or(opened.map(|(_, until)| until)).map(|until| time(Some(until))),
    });
    super::super::audit::Explained { text, json }
}

/// A recorded step, for machines.
pub(super) fn taken_json(recorded: &Recorded, door: &Door, request: Option<&Path>, out: &mut dyn Write) -> io::Result<()> {
    let mut all = case_json(&recorded.case, door);
    if let Some(object) = all.as_object_mut() {
        object.insert("signer".to_owned(), recorded.signer.as_str().into());
        if let Some(request) = request {
            object.insert("request".to_owned(), request.display().to_string().into());
        }
    }
    writeln!(out, "{all:#}")
}

/// One exception, for machines.
pub(super) fn case_json(case: &Case, door: &Door) -> Value {
    let (request, standing) = (case.request(), standing(case, door));
    let signed = |signed: &Signed| json!({ "operator": door.name_of(signed.key), "at": time(Some(signed.at)) });
    let noted = |what| {
        case.noted(what).map(|(by, reason): &(Signed, String)| json!({ "operator": door.name_of(by.key), "at": time(Some(by.at)), "reason": reason }))
    };
    let due: Vec<&str> = case.due(door.operators(), door.now()).into_iter().map(crate::subject::exception::Due::word).collect();
    json!({
        "id": case.id().as_str(),
        "exception": request.exception,
        "opens": request.opens.as_str(),
        "caller": request.caller,
        "collection": request.collection,
        "categories": request.categories,
        "subjects": request.subjects,
        "evidence": request.evidence,
        "hours": request.hours,
        "approvers": request.approvers,
        "tell_subject": request.tell_subject.as_str(),
        "state": standing.word(),
        "until": ends(standing).map(|until| time(Some(until))),
        "asked": signed(&case.asked_by()),
        "agreed": case.approvals().iter().map(signed).collect::<Vec<_>>(),
        "told": noted(What::Told),
        "revoked": noted(What::Revoke),
        "reviewed": noted(What::Review),
        "due": due,
    })
}
