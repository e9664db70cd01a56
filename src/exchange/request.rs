//! The way in: a request body is checked whole, protected, recorded; only then does its first byte go upstream (T27).

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::audit::Kind;
use crate::base::{CallerName, Intent, RecordId};
use crate::dialect::{Documents, RequestBody};
use crate::document::{self, Rules};
use crate::field::{self, RowWrite};
use crate::metrics::Phase;
use crate::purpose::Grant;
use crate::upstream::{Outgoing, PassBody};
use crate::{crypto, keys};

use super::{Context, Error, Exchange, Limits, State, view};

/// Who asks, for what, and what that allows; kept while the reply streams.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) caller: CallerName,
    /// As the client declared it; decided again when the grant has expired.
    pub(super) declared: Option<String>,
    pub(super) grant: Grant,
}

impl Exchange {
    /// Reads, checks, protects and records a request body; what comes back may go to the database.
    pub(super) async fn protect(
        &self,
        state: &State,
        context: &Context,
        session: &Session,
        documents: &Documents,
        body: PassBody,
    ) -> Result<Outgoing, Error> {
        let bytes = read_whole(body, state.limits).await?;
        let row_set = match documents.request {
            RequestBody::None if bytes.is_empty() => {
                self.record_bodiless(context, documents).await?;
                return Ok(Outgoing::Empty);
            }
            RequestBody::None => return Err(Error::BodyUnexpected),
            RequestBody::Plain { .. } if bytes.is_empty() => return Ok(Outgoing::Empty),
            RequestBody::Plain { row_set } | RequestBody::Documents { row_set } => row_set,
        };
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(row_set).ok_or(Error::Internal("no such row set"))?;

        let started = std::time::Instant::now();
        let layout = document::walk(&plan.map, Rules::request(), &bytes).map_err(Error::RequestJson)?;
        let rows = {
            let facts = field::facts(plan, &bytes, &layout);
            let intents = state.dialect.judge(documents, &facts).map_err(Error::Dialect)?;
            if intents.iter().any(|row| row.made_elsewhere) {
                view::check_whole(state, documents.collection, &session.grant)?;
            }
            intents.into_iter().map(|row| row_write(row.intent, row.assign_id)).collect::<Result<Vec<_>, _>>()?
        };
        // The body may have taken long to arrive; what is written is decided by what holds now.
        let grant = self.fresh_grant(state, session)?;
        if rows.iter().any(|row| row.intent == Intent::Delete) && !grant.may_delete() {
            return Err(Error::DeleteRefused { purpose: grant.purpose().clone() });
        }
        if matches!(documents.request, RequestBody::Plain { .. }) {
            let removed = state.dialect.removed(documents, &bytes);
            if !removed.is_empty() {
                let mut event = context.event(Kind::Write);
                event.subjects = removed.iter().filter_map(|id| RecordId::from_text(id).ok()).collect();
                let _recorded = self.record(event).await?;
            }
            return Ok(Outgoing::Protected(field::ProtectedBody::without_documents(plan, &bytes, &layout)?));
        }
        let url_id = url_id(documents)?;
        let protected = field::protect(
            &collection.field_map,
            plan,
            &state.keys,
            &grant,
            &bytes,
            &layout,
            &rows,
            url_id.as_ref(),
            state.dialect.id_member(),
        )?;
        self.metrics.phase(Phase::Protect, started.elapsed());
        self.count(state, &collection.field_map.name, &protected.tally);

        let mut event = context.event(Kind::Write);
        event.subjects = protected.subjects;
        event.protected = protected
            .tally
            .protected
            .iter()
            .filter_map(|(category, count)| Some((state.category_name(*category)?, *count)))
            .collect();
        let _recorded = self.record(event).await?;
        Ok(Outgoing::Protected(protected.body))
    }

    /// A delete by URL carries no body, but it is a write like any other.
    async fn record_bodiless(&self, context: &Context, documents: &Documents) -> Result<(), Error> {
        if documents.intent == Intent::Read {
            return Ok(());
        }
        let mut event = context.event(Kind::Write);
        event.subjects.extend(url_id(documents)?);
        let _recorded = self.record(event).await?;
        Ok(())
    }

    /// The session's grant while it is young; after that what the policy in force now says, if it still says the same (T33).
    pub(super) fn fresh_grant(&self, state: &State, session: &Session) -> Result<Grant, Error> {
        let now_ms = self.clock.now_ms();
        if !session.grant.expired(now_ms) {
            return Ok(session.grant.clone());
        }
        let current = self.state.load();
        if !current.callers.names().contains(&&session.caller) {
            return Err(Error::GrantEnded);
        }
        let declared = session.declared.as_deref();
        let now_allowed = current.policy.decide(&session.caller, declared, now_ms).map_err(|_refused| Error::GrantEnded)?;
        if !now_allowed.allows_the_same(&session.grant) {
            return Err(Error::GrantEnded);
        }
        // Categories are indexed by the policy that the plans of this exchange were compiled for.
        state.policy.decide(&session.caller, declared, now_ms).map_err(|_refused| Error::GrantEnded)
    }
}

/// The document id of the URL, if the route has one.
pub(super) fn url_id(documents: &Documents) -> Result<Option<RecordId>, Error> {
    match &documents.url_id {
        None => Ok(None),
        Some(text) => {
            RecordId::from_text(text).map(Some).map_err(|_too_long| Error::Head("the id in the path is empty or over 512 bytes"))
        }
    }
}

fn row_write(intent: Intent, assign_id: bool) -> Result<RowWrite, Error> {
    let assigned_id = if assign_id {
        let random: [u8; 16] = crypto::random().map_err(|error| Error::Keys(keys::KeyError::from(error)))?;
        Some(random.iter().fold(String::with_capacity(32), |text, byte| text + &format!("{byte:02x}")))
    } else {
        None
    };
    Ok(RowWrite { intent, assigned_id })
}

/// Reads a body whole, within the limits: of its size, of the wait for each piece, and of the time in all.
async fn read_whole(mut body: PassBody, limits: Limits) -> Result<Bytes, Error> {
    let max = limits.body_bytes;
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(Error::BodyTooLarge { max });
    }
    let deadline = tokio::time::Instant::now() + limits.total_timeout;
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while !body.is_end_stream() {
        let patience = (tokio::time::Instant::now() + limits.body_timeout).min(deadline);
        let piece = match tokio::time::timeout_at(patience, body.frame()).await {
            Err(_elapsed) => return Err(Error::BodyTimeout { ms: limits.body_timeout.as_millis() }),
            Ok(None) => break,
            Ok(Some(Err(_broken))) => return Err(Error::BodyBroken),
            Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        };
        if first.len() + whole.len() + piece.len() > max {
            return Err(Error::BodyTooLarge { max });
        }
        if first.is_empty() && whole.is_empty() {
            // Most bodies come in one piece and are not copied.
            first = piece;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&piece);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
