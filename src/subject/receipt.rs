//! What whoever records an entry gets: shaped as the consent record of ISO/IEC TS 27560:2023, in JSON.
//!
//! Always holds: it names the data subject as they were named, for it goes back to who named them; nothing of it is kept but the entry
//! itself, so the same entry gives the same receipt. Called by `app` and `cli/subject`.

use serde_json::{Value, json};

use super::entry::{About, Entry, Evidence, Recorder, Says, Under, What};
use super::ledger::Placed;
use crate::base::Controller;
use crate::purpose::{Policy, PurposeSpec};

/// The version of the shape.
const SCHEMA: &str = "sudare/receipt/v1";

/// The receipt of an entry.
pub fn receipt(controller: &Controller, policy: &Policy, entry: &Entry, placed: &Placed) -> Value {
    let (role, name) = match &entry.by {
        Recorder::Caller(name) => ("caller", name),
        Recorder::Operator(name) => ("operator", name),
    };
    let mut event = json!({
        "what": entry.what.says(),
        "recorded": time(placed.recorded_ms),
        "entity": { role: name },
    });
    if entry.at != 0 {
        put(&mut event, "at", time(entry.at).into());
    }
    if let Some(Evidence(text)) = evidence(&entry.what) {
        put(&mut event, "evidence", text.clone().into());
    }
    let mut receipt = json!({
        "record": {
            "schema": SCHEMA,
            "id": entry.id,
            "row": placed.row,
            "recorded_before": placed.again,
            "subject_known_before": !placed.first,
        },
        "policy": { "id": policy.id(), "version": policy.version() },
        "parties": { "controller": controller.as_str() },
        "events": [event],
    });
    if let Some(subject) = entry.what.subject() {
        put(&mut receipt, "subject", subject.as_str().into());
    }
    match &entry.what {
        What::Choice { about: About::Purpose(name), says, .. } => {
            let purpose = policy.purposes().iter().find(|purpose| purpose.name.as_str() == name);
            let mut processing = purpose.map_or_else(|| json!({ "purpose": name }), |purpose| processing(policy, purpose));
            put(&mut processing, "state", state(*says).into());
            put(&mut receipt, "processing", json!([processing]));
        }
        What::Choice { about: About::Recipient(name), says, .. } => {
            let kind = policy.spec().recipients.iter().find(|recipient| recipient.name.as_str() == name);
            let kind = kind.map(|recipient| recipient.kind.as_str());
            put(&mut receipt, "recipient", json!({ "name": name, "kind": kind, "state": state(*says) }));
        }
        What::Age { under, .. } => {
            let until = |under: &Under| json!({ "under": under.years, "until": under.until.map(time) });
            put(&mut receipt, "age", under.iter().map(until).collect());
        }
        What::Fact { name, holds, until, .. } => {
            put(&mut receipt, "fact", json!({ "name": name, "holds": holds, "until": until.map(time) }));
        }
        What::Told { version, .. } => put(&mut receipt, "told_of_version", (*version).into()),
        What::Accepted { version, .. } => put(&mut receipt, "accepted_version", (*version).into()),
        What::Exception { .. } => {}
    }
    receipt
}

/// The purpose as the policy has it.
fn processing(policy: &Policy, purpose: &PurposeSpec) -> Value {
    let listed = |name: &str| purpose.reveal.iter().any(|(category, ..)| category.as_str() == name || category.as_str() == "*");
    let categories: Vec<Value> = policy
        .categories()
        .iter()
        .filter(|category| listed(category.name.as_str()))
        .map(|category| json!({ "name": category.name.as_str(), "dpv": category.dpv }))
        .collect();
    let callers: Vec<&str> = purpose.callers.iter().map(crate::base::CallerName::as_str).collect();
    json!({
        "purpose": purpose.name.as_str(),
        "dpv": purpose.dpv,
        "lawful_basis": purpose.basis,
        "categories": categories,
        "by": callers,
    })
}

fn state(says: Says) -> &'static str {
    match says {
        Says::Given => "consent given",
        Says::Refused => "consent refused",
    }
}

fn evidence(what: &What) -> Option<&Evidence> {
    match what {
        What::Choice { evidence, .. }
        | What::Age { evidence, .. }
        | What::Fact { evidence, .. }
        | What::Told { evidence, .. }
        | What::Accepted { evidence, .. } => evidence.as_ref(),
        What::Exception { .. } => None,
    }
}

/// As in RFC 3339.
pub fn time(ms: u64) -> String {
    let stamp = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(|| format!("{ms} ms"), |stamp| stamp.to_string())
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}
