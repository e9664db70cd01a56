//! What callers hand in at the admin listener: entries for the ledger of facts, and questions about one person.
//!
//! Always holds: only a caller with `records` is heard, and only for what it may record; a call is recorded whole or not at all; it is in the
//! ledger and in the audit log before it is answered; nothing that was sent stands in a log line. Called by `admin`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use http::StatusCode;
use serde_json::{Value, json};

use super::openings;
use crate::admin::{Answer, Desk, Handed};
use crate::audit::{self, Event, Kind};
use crate::base::{CallerName, Clock, RecordId};
use crate::caller::Presented;
use crate::crypto;
use crate::exchange::{Exchange, State};
use crate::subject::{self, About, AppendError, Entry, Fault, Ledger, LedgerError, Recorder, Standing, Statement, Topic};

/// What each caller may record.
pub(super) type Records = HashMap<CallerName, BTreeSet<String>>;

/// What is needed to take something in.
#[derive(Clone)]
pub(super) struct Taking {
    pub(super) exchange: Weak<Exchange>,
    /// Weak, for the listener must not keep a stopped proxy's files open.
    pub(super) ledger: Weak<Ledger>,
    pub(super) audit: audit::Log,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) records: Arc<ArcSwap<Records>>,
}

/// The desk of a running proxy.
pub(super) fn desk(taking: Taking) -> Desk {
    Arc::new(move |handed| {
        let taking = taking.clone();
        Box::pin(async move { taking.answer(handed).await.unwrap_or_else(|refused| refused) })
    })
}

impl Taking {
    async fn answer(&self, handed: Handed) -> Result<Answer, Answer> {
        let state = self.exchange.upgrade().map(|exchange| exchange.state());
        let state = state.ok_or_else(stopping)?;
        let known = matches!(handed.path.as_str(), "/facts" | "/facts/read" | "/exceptions" | "/exceptions/read");
        if !known {
            return Err(refusal(
                StatusCode::NOT_FOUND,
                "no-such-page",
                "POST /facts to record, /facts/read to ask about one person; /exceptions and /exceptions/read for exceptions",
            ));
        }
        let (caller, may) = self.who(&state, &handed)?;
        match handed.path.as_str() {
            "/facts/read" => self.read(&may, &handed),
            "/exceptions" => openings::record(self, &state, &may, &handed).await,
            "/exceptions/read" => openings::read(self, &may, &handed),
            _ => self.record(&state, &caller, &may, &handed).await,
        }
    }

    /// The ledger, as long as the proxy runs.
    pub(super) fn ledger(&self) -> Result<Arc<Ledger>, Answer> {
        self.ledger.upgrade().ok_or_else(stopping)
    }

    /// Who hands it in, and what they may record.
    fn who(&self, state: &State, handed: &Handed) -> Result<(CallerName, BTreeSet<String>), Answer> {
        let credentials: Vec<&[u8]> = handed.credentials.iter().map(Vec::as_slice).collect();
        let presented = Presented { credentials: &credentials, now_ms: self.clock.now_ms(), ..Presented::default() };
        let caller = state.callers.identify(&presented).map_err(|_unknown| {
            refusal(StatusCode::UNAUTHORIZED, "caller-unknown", "send Sudare-Credential of a caller of the configuration")
        })?;
        let may = self.records.load().get(&caller.name).cloned().unwrap_or_default();
        if may.is_empty() {
            let what = format!("{} may record nothing: give it `records` in its table of sudare.toml", caller.name);
            return Err(refusal(StatusCode::FORBIDDEN, "records-refused", &what));
        }
        Ok((caller.name, may))
    }

    async fn record(
        &self,
        state: &State,
        caller: &CallerName,
        may: &BTreeSet<String>,
        handed: &Handed,
    ) -> Result<Answer, Answer> {
        let objects = subject::objects(&handed.body).ok_or_else(|| {
            refusal(StatusCode::BAD_REQUEST, "malformed-json", "expected a JSON object, a list of them, or one on each line")
        })?;
        if objects.is_empty() || objects.len() > subject::MOST {
            let what = format!("expected 1 to {} entries, found {}: send them in parts", subject::MOST, objects.len());
            return Err(refusal(StatusCode::BAD_REQUEST, "malformed-json", &what));
        }
        let posted = objects.iter().enumerate().map(|(place, text)| subject::object(place, text)).collect();
        let by = Recorder::Caller(caller.to_string());
        let now_ms = self.clock.now_ms();
        let read = subject::read(posted, &state.policy, &by, Some(may), now_ms, new_id);
        let entries = read.map_err(|faults| refused_entries(&faults))?;
        let placed = self.ledger()?.append(entries.clone()).await.map_err(|error| not_placed(&error))?;
        let mut event = recorded(&entries);
        event.caller = Some(caller.clone());
        if let Err(error) = self.audit.record(event).await {
            tracing::error!(%error, "facts were recorded, and the audit log could not be written");
            let what = "recorded, but the audit log could not be written: send it again with the same ids once it can";
            return Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "audit-unavailable", what));
        }
        let controller = state.keys.main().controller();
        let receipts: Vec<Value> = entries
            .iter()
            .zip(&placed)
            .map(|(entry, placed)| subject::receipt(controller, &state.policy, entry, placed))
            .collect();
        let fresh = placed.iter().filter(|placed| !placed.again).count();
        let status = if fresh > 0 { StatusCode::CREATED } else { StatusCode::OK };
        Ok(Answer { status, json: json!({ "recorded": fresh, "receipts": receipts }) })
    }

    /// What is known of one person, as far as the caller may record it.
    fn read(&self, may: &BTreeSet<String>, handed: &Handed) -> Result<Answer, Answer> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Asked {
            subject: Value,
        }
        let malformed = || refusal(StatusCode::BAD_REQUEST, "malformed-json", "expected {\"subject\": ID}");
        let asked: Asked = serde_json::from_slice(&handed.body).map_err(|_quotes_values| malformed())?;
        let id = match &asked.subject {
            Value::String(text) => RecordId::from_text(text).ok(),
            Value::Number(number) => RecordId::from_number(&number.to_string()).ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let id = id.ok_or_else(malformed)?;
        let ledger = self.ledger()?;
        if ledger.is_stale() {
            return Err(refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "facts-stale",
                "this node may lack what another one has recorded",
            ));
        }
        Ok(Answer { status: StatusCode::OK, json: shown(&ledger, &id, self.clock.now_ms(), Some(may)) })
    }
}

/// What is known of one person; `may`: only of these kinds.
pub(crate) fn shown(ledger: &Ledger, id: &RecordId, now_ms: u64, may: Option<&BTreeSet<String>>) -> Value {
    let sees = |names: &[&str]| may.is_none_or(|may| names.iter().any(|name| may.contains(*name)));
    let known = ledger.people().all_of(id, now_ms);
    let is_known = known.is_some();
    let (statements, told, accepted) = known.unwrap_or_default();
    let one = |statement: &Statement| {
        let (kind, name, visible) = match &statement.topic {
            Topic::Choice(About::Purpose(name)) => ("purpose", Value::from(name.as_str()), sees(&["consent", "objection"])),
            Topic::Choice(About::Recipient(name)) => ("recipient", Value::from(name.as_str()), sees(&["consent", "objection"])),
            Topic::Under(years) => ("under", Value::from(*years), sees(&["age"])),
            Topic::Fact(name) => ("fact", Value::from(name.as_str()), sees(&[name])),
        };
        visible.then(|| {
            json!({
                kind: name,
                "holds": statement.standing == Standing::Yes,
                "at": subject::time(statement.at),
                "until": statement.until.map(subject::time),
                "row": statement.row,
            })
        })
    };
    let version = |version: u64| (version > 0 && sees(&["notice", "acceptance"])).then_some(version);
    json!({
        "subject": id.as_str(),
        "known": is_known,
        "statements": statements.iter().filter_map(one).collect::<Vec<_>>(),
        "told_of_version": version(told),
        "accepted_version": version(accepted),
    })
}

/// An event of what was recorded, without who did.
pub(crate) fn recorded(entries: &[Entry]) -> Event {
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for entry in entries {
        *counts.entry(entry.what.says()).or_default() += 1;
    }
    let subjects = entries.iter().filter_map(|entry| entry.what.subject().cloned()).collect();
    Event { subjects, recorded: counts.into_iter().collect(), ..Event::new(Kind::Fact, 0) }
}

/// A random id for an entry without one.
pub(crate) fn new_id() -> Option<String> {
    let bytes: [u8; 16] = crypto::random().ok()?;
    Some(format!("fa_{}", crypto::base32_crockford(&bytes)))
}

fn stopping() -> Answer {
    refusal(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the proxy stops")
}

fn refused_entries(faults: &[Fault]) -> Answer {
    let forbidden = faults.iter().any(|fault| fault.forbidden);
    let (status, code) = if forbidden {
        (StatusCode::FORBIDDEN, "records-refused")
    } else {
        (StatusCode::UNPROCESSABLE_ENTITY, "entries-refused")
    };
    let entries: Vec<Value> =
        faults.iter().map(|fault| json!({ "entry": fault.place, "member": fault.member, "message": fault.what })).collect();
    let mut answer = refusal(status, code, "nothing was recorded: correct each entry that is named, counted from 0");
    if let Some(object) = answer.json.as_object_mut() {
        object.insert("entries".to_owned(), entries.into());
    }
    answer
}

pub(super) fn not_placed(error: &AppendError) -> Answer {
    let places = |places: &[usize]| places.iter().map(|place| json!({ "entry": place })).collect::<Vec<_>>();
    let (status, code, entries) = match error {
        AppendError::Reused(at) => (StatusCode::CONFLICT, "id-reused", places(at)),
        AppendError::Ahead(at) => (StatusCode::UNPROCESSABLE_ENTITY, "entries-refused", places(at)),
        AppendError::Ledger(LedgerError::Full) => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", Vec::new()),
        AppendError::Ledger(_) => (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", Vec::new()),
    };
    let told = match error {
        AppendError::Ledger(LedgerError::Full) | AppendError::Reused(_) | AppendError::Ahead(_) => error.to_string(),
        AppendError::Ledger(why) => {
            tracing::error!(%why, "facts were not recorded");
            "the ledger could not be written, or did not say that it was: send it again with the same ids".to_owned()
        }
    };
    let mut answer = refusal(status, code, &told);
    if let (Some(object), false) = (answer.json.as_object_mut(), entries.is_empty()) {
        object.insert("entries".to_owned(), entries.into());
    }
    answer
}

pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer { status, json: json!({ "code": code, "message": message }) }
}
