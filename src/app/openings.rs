//! Steps of exceptions, handed in at the admin listener; and what the audit log says of a step.
//!
//! Always holds: it is the operator's signature that counts, not who hands it in; a step is in the ledger and in the audit log before it is
//! answered; what names people is answered only to a caller with `records = ["exception"]`. Called by `desk`, and by `cli/exception`.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::{Value, json};

use super::desk::{Taking, not_placed, refusal};
use crate::admin::{Answer, Handed};
use crate::audit::{Event, Kind};
use crate::base::{ExceptionId, PurposeName};
use crate::exchange::State;
use crate::subject::exception::{House, NotTaken, Step, Taken};

/// The word in `records` that lets a caller hand in steps, and read them.
pub(super) const RECORD: &str = "exception";

/// `POST /exceptions`: one step.
pub(super) async fn record(taking: &Taking, state: &State, may: &BTreeSet<String>, handed: &Handed) -> Result<Answer, Answer> {
    allowed(may)?;
    let malformed = |_quotes_values| {
        refusal(
            StatusCode::BAD_REQUEST,
            "malformed-json",
            "expected one step of an exception, as `sudare exception … --via` sends it",
        )
    };
    let step: Step = serde_json::from_slice(&handed.body).map_err(malformed)?;
    let collections: Vec<&str> = state.collections.iter().map(|collection| collection.field_map.name.as_str()).collect();
    let house = House {
        controller: state.keys.main().controller().as_str(),
        policy: &state.policy,
        collections: &collections,
        operators: &state.operators,
        now: taking.clock.now_ms(),
    };
    let taken = taking.ledger()?.take_step(step, &house).await.map_err(|why| refused(&why))?;
    if let Err(error) = taking.audit.record(event(&taken)).await {
        tracing::error!(%error, "a step of an exception was recorded, and the audit log could not be written");
        let what = "recorded, but the audit log could not be written: see `sudare exception show`";
        return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "audit-unavailable", what));
    }
    let json = json!({ "exception": taken.case.id().as_str(), "signer": taken.signer, "done": taken.done, "state": taken.standing.word() });
    Ok(Answer { status: StatusCode::CREATED, json })
}

/// `POST /exceptions/read`: every step, of all exceptions or of one.
pub(super) fn read(taking: &Taking, may: &BTreeSet<String>, handed: &Handed) -> Result<Answer, Answer> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        #[serde(default)]
        exception: Option<String>,
    }
    allowed(may)?;
    let malformed = || refusal(StatusCode::BAD_REQUEST, "malformed-json", "expected {} or {\"exception\": \"ex_…\"}");
    let asked: Asked = serde_json::from_slice(&handed.body).map_err(|_quotes_values| malformed())?;
    let id = asked.exception.map(|text| text.parse::<ExceptionId>()).transpose().map_err(|_no_id| malformed())?;
    let cases = taking.ledger()?.exceptions().cases();
    let wanted = cases.iter().filter(|case| id.as_ref().is_none_or(|id| case.id() == id));
    // In the order of cases, and in each in that of the ledger: whoever folds them comes to the same.
    let steps: Vec<Value> = wanted.flat_map(|case| case.steps()).map(|(at, step)| json!({ "at": at, "step": step })).collect();
    Ok(Answer { status: StatusCode::OK, json: json!({ "steps": steps }) })
}

/// What the audit log says of a step.
pub(crate) fn event(taken: &Taken) -> Event {
    let request = taken.case.request();
    Event {
        operator: Some(taken.signer.clone()),
        purpose: Some(PurposeName::new(&request.exception)),
        exception: Some(taken.case.id().clone()),
        subjects: request.record_ids(),
        code: Some(taken.done.to_owned()),
        ..Event::new(Kind::Exception, 0)
    }
}

fn allowed(may: &BTreeSet<String>) -> Result<(), Answer> {
    if may.contains(RECORD) {
        Ok(())
    } else {
        let what = "this caller may not hand in or read exceptions: add \"exception\" to its `records` in sudare.toml";
        Err(refusal(StatusCode::FORBIDDEN, "records-refused", what))
    }
}

fn refused(why: &NotTaken) -> Answer {
    match why {
        NotTaken::Ledger(error) => not_placed(error),
        NotTaken::Refused(_) => refusal(StatusCode::UNPROCESSABLE_ENTITY, "step-refused", &why.to_string()),
    }
}
