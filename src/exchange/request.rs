//! The way in: a request body is checked whole, protected, recorded; only then does its first byte go upstream (T27).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::audit::{self, Kind};
use crate::base::{Intent, RecordId};
use crate::caller::Caller;
use crate::dialect::{Documents, RequestBody};
use crate::document::{self, Layout, Rules};
use crate::field::{self, Before, Patched, Plan, Protected, RowWrite, WriteError};
use crate::metrics::Phase;
use crate::purpose::{Grant, Known, Rights};
use crate::upstream::{Outgoing, PassBody};
use crate::{crypto, keys};

use super::admission::{Growing, REQUEST_TIMES};
use super::body::Late;
use super::exception::Used;
use super::{Collection, Context, Error, Exchange, State, exception, view};

/// Who asks, for what, and what that allows; kept while the reply streams.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) caller: Caller,
    /// As the client declared it; decided again when the grant has expired.
    pub(super) declared: Option<String>,
    pub(super) grant: Grant,
    /// The exception that is used in place of a purpose.
    pub(super) used: Option<Used>,
    /// What a search by an index asks for: the reply is compared with it.
    pub(super) sought: Option<field::Sought>,
    /// What it searches for counts against the caller's budget already.
    pub(super) counted: bool,
}

/// What a request is allowed, and what is known of the people it is about, as of one moment.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    pub(super) grant: Grant,
    /// None where no row turns on it.
    known: Option<Arc<dyn Known>>,
}

impl Allowed {
    /// # Errors
    ///
    /// [`Error::FactsStale`].
    pub(super) fn now(state: &State, grant: Grant, now_ms: u64) -> Result<Self, Error> {
        let known = if grant.differs_by_row() { Some(state.known(&grant, now_ms)?) } else { None };
        Ok(Self { grant, known })
    }

    /// Row by row.
    pub(super) fn rights(&self) -> Rights<'_> {
        match &self.known {
            Some(known) => Rights::new(&self.grant, &**known),
            None => Rights::from(&self.grant),
        }
    }
}

/// A request body that was checked.
pub(super) enum Checked<'s> {
    /// It may go to the database.
    Ready(Outgoing),
    /// It can be judged only beside what it replaces.
    Over(Draft<'s>),
}

/// A body with documents before it is protected.
pub(super) struct Draft<'s> {
    pub(super) collection: &'s Collection,
    pub(super) plan: &'s Plan,
    pub(super) bytes: Bytes,
    pub(super) layout: Layout,
    pub(super) rows: Vec<RowWrite>,
    /// Some row is a revision that was made in another database.
    pub(super) made_elsewhere: bool,
    /// It stores what acts on the documents of others.
    pub(super) defines: bool,
}

impl<'s> Draft<'s> {
    /// Walks a body and asks the dialect what its rows do.
    pub(super) fn read(state: &'s State, documents: &Documents, row_set: usize, bytes: Bytes) -> Result<Self, Error> {
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(row_set).ok_or(Error::Internal("no such row set"))?;
        let layout = document::walk(&plan.map, Rules::request(), &bytes).map_err(Error::RequestJson)?;
        let facts = field::facts(plan, &bytes, &layout);
        let intents = state.dialect.judge(documents, &facts).map_err(Error::Dialect)?;
        let made_elsewhere = intents.iter().any(|row| row.made_elsewhere);
        let defines = intents.iter().any(|row| row.defines);
        let rows = intents.into_iter().map(|row| row_write(row.intent, row.assign_id)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { collection, plan, bytes, layout, rows, made_elsewhere, defines })
    }

    /// What the dialect reads of it.
    pub(super) fn facts(&self) -> document::BodyFacts<'_> {
        field::facts(self.plan, &self.bytes, &self.layout)
    }

    /// The same, of documents that are not there yet.
    pub(super) fn creating(&self) -> Self {
        let create = |row: &RowWrite| RowWrite { intent: Intent::Create, ..row.clone() };
        Self { rows: self.rows.iter().map(create).collect(), bytes: self.bytes.clone(), layout: self.layout.clone(), ..*self }
    }

    /// The same without the rows that do not stay, of which there is at least one. Rows are elements of one list.
    pub(super) fn without(&self, state: &'s State, documents: &Documents, stays: &[bool]) -> Result<Self, Error> {
        let RequestBody::Documents { row_set } = documents.request else {
            return Err(Error::Internal("rows of a body without documents"));
        };
        let text = |range: std::ops::Range<usize>| self.bytes.get(range).ok_or(Error::Internal("rows outside of the body"));
        let (mut out, mut last) = (Vec::with_capacity(self.bytes.len()), None);
        for (row, stays) in self.layout.rows.iter().zip(stays) {
            match last {
                None => out.extend_from_slice(text(0..row.range.start)?),
                // The comma before it, with its white space.
                Some(last) if *stays && out.last() == Some(&b'}') => out.extend_from_slice(text(last..row.range.start)?),
                Some(_) => {}
            }
            if *stays {
                out.extend_from_slice(text(row.range.clone())?);
            }
            last = Some(row.range.end);
        }
        out.extend_from_slice(text(last.unwrap_or(0)..self.bytes.len())?);
        Self::read(state, documents, row_set, Bytes::from(out))
    }

    /// Protects it, beside what it replaces or patches.
    pub(super) fn seal(
        &self,
        state: &State,
        documents: &Documents,
        rights: Rights<'_>,
        before: &Before<'_>,
    ) -> Result<Protected, Error> {
        state.standing.may_protect().map_err(Error::Outdated)?;
        if let RequestBody::Patch { format, .. } = documents.request {
            let Self { collection, plan, bytes, layout, .. } = self;
            let id = url_id(documents)?.ok_or(Error::Internal("a patch without an id"))?;
            let stored = before.rows.first().copied().flatten();
            let of = Patched {
                id: &id,
                subject: stored.and_then(|stored| stored.subject(&collection.field_map)),
                tokens: before.tokens,
            };
            return Ok(field::protect_patch(&collection.field_map, plan, &state.rings(), rights, format, bytes, layout, of)?);
        }
        Ok(field::protect_over(
            &self.collection.field_map,
            self.plan,
            &state.rings(),
            rights,
            &self.bytes,
            &self.layout,
            &self.rows,
            url_id(documents)?.as_ref(),
            state.dialect.id_member(),
            before,
        )?)
    }

    /// The rows that can be judged only beside what they replace. A patch that comes to be asked about has one.
    pub(super) fn needy(&self, state: &State, documents: &Documents, grant: &Grant) -> Vec<usize> {
        if matches!(documents.request, RequestBody::Patch { .. }) {
            return vec![0];
        }
        let Self { collection, plan, bytes, layout, rows, .. } = self;
        field::rows_that_need_the_stored(&collection.field_map, plan, &state.rings(), grant, bytes, layout, rows)
    }
}

impl Exchange {
    /// Checks a request body; what may go to the database as it stands is protected and recorded.
    pub(super) async fn protect<'s>(
        &self,
        state: &'s State,
        context: &Context,
        session: &Session,
        documents: &Documents,
        bytes: Bytes,
    ) -> Result<Checked<'s>, Error> {
        let row_set = match documents.request {
            RequestBody::None if bytes.is_empty() => {
                self.record_bodiless(context, documents).await?;
                return Ok(Checked::Ready(Outgoing::Empty));
            }
            RequestBody::None => return Err(Error::BodyUnexpected),
            RequestBody::Plain { .. } if bytes.is_empty() && documents.intent == Intent::Read => {
                return Ok(Checked::Ready(Outgoing::Empty));
            }
            RequestBody::Query { .. } => return Err(Error::Internal("a search that was not rewritten")),
            RequestBody::Plain { row_set } | RequestBody::Documents { row_set } | RequestBody::Patch { row_set, .. } => row_set,
        };
        let started = std::time::Instant::now();
        let length = bytes.len();
        let draft = self.heavy.work(length, || Draft::read(state, documents, row_set, bytes)).await?;
        if draft.made_elsewhere {
            view::check_whole(state, documents.collection, &session.grant)?;
        }
        // The body may have taken long to arrive; what is written is decided by what holds now.
        let allowed = self.fresh_grant(state, session)?;
        let grant = &allowed.grant;
        for row in &draft.rows {
            exception::check_row(grant, row.intent)?;
        }
        if draft.defines {
            view::check_writer(draft.collection, grant, "design documents or indexes")?;
        }
        if matches!(documents.request, RequestBody::Plain { .. }) {
            let removed: Vec<RecordId> =
                state.dialect.removed(documents, &draft.bytes).iter().filter_map(|id| RecordId::from_text(id).ok()).collect();
            if draft.rows.iter().any(|row| row.intent == Intent::Delete) || documents.intent == Intent::Delete {
                // What is removed without being named may be about anybody.
                let nobody = [None];
                let named: Vec<Option<&RecordId>> = removed.iter().map(Some).collect();
                for id in if named.is_empty() && documents.url_id.is_none() { &nobody[..] } else { &named } {
                    field::may_remove(&draft.collection.field_map, allowed.rights(), *id)?;
                }
            }
            if removed.is_empty() {
                self.record_bodiless(context, documents).await?;
            } else {
                let mut event = context.event(Kind::Write);
                event.subjects = removed;
                let _recorded = self.record(event).await?;
            }
            let body = field::ProtectedBody::without_documents(draft.plan, &draft.bytes, &draft.layout)?;
            return Ok(Checked::Ready(Outgoing::Protected(body)));
        }
        let protected = if matches!(documents.request, RequestBody::Patch { .. }) {
            match self.seal(state, documents, &allowed, &draft, Before::default()).await {
                // The stored document says whom it is about.
                Err(Error::Write(WriteError::SubjectMissing { .. }))
                    if field::patch_needs_subject(&draft.collection.field_map) || grant.differs_by_row() =>
                {
                    return Ok(Checked::Over(draft));
                }
                judged => judged?,
            }
        } else if draft.made_elsewhere || draft.needy(state, documents, grant).is_empty() {
            // A revision made elsewhere replaces nothing that could be compared with: what it cannot do alone is refused.
            self.seal(state, documents, &allowed, &draft, Before::default()).await?
        } else {
            return Ok(Checked::Over(draft));
        };
        self.metrics.phase(Phase::Protect, started.elapsed());
        Ok(Checked::Ready(self.record_write(state, context, documents, protected).await?))
    }

    /// Records a write before its first byte goes to the database.
    pub(super) async fn record_write(
        &self,
        state: &State,
        context: &Context,
        documents: &Documents,
        protected: Protected,
    ) -> Result<Outgoing, Error> {
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        self.count(state, &collection.field_map.name, &protected.tally);
        if protected.tally.compromised > 0 {
            // The write is not refused for it: what it carries on is as unreadable afterwards as it was before.
            let code = Some("key-compromised".to_owned());
            let alarm = audit::Event { code, subjects: protected.subjects.clone(), ..context.event(Kind::Alarm) };
            let _recorded = self.record(alarm).await?;
        }
        let mut event = context.event(Kind::Write);
        event.subjects = protected.subjects;
        event.kept = protected.tally.kept;
        event.protected = protected
            .tally
            .protected
            .iter()
            .filter_map(|(category, count)| Some((state.category_name(*category)?, *count)))
            .collect();
        let _recorded = self.record(event).await?;
        self.guard.written(state, documents, &protected.body);
        Ok(Outgoing::Protected(protected.body))
    }

    /// A delete by URL carries no documents, nor does a design document or an index, but they are writes like any other.
    async fn record_bodiless(&self, context: &Context, documents: &Documents) -> Result<(), Error> {
        if documents.intent == Intent::Read {
            return Ok(());
        }
        let mut event = context.event(Kind::Write);
        if documents.request == RequestBody::None {
            event.subjects.extend(url_id(documents)?);
        }
        let _recorded = self.record(event).await?;
        Ok(())
    }

    /// The session's grant while it is young; after that what the policy in force now says, if it still says the same (T33). A
    /// token's end is the grant's, however young that is, and so is an exception's.
    pub(super) fn fresh_grant(&self, state: &State, session: &Session) -> Result<Allowed, Error> {
        let now_ms = self.clock.now_ms();
        let caller = &session.caller;
        if caller.vouched.as_ref().is_some_and(|vouched| now_ms >= vouched.until_ms()) {
            return Err(Error::GrantEnded);
        }
        // Also of a young one: what a person has withdrawn holds within the same bound for whoever has begun.
        state.facts_are_fresh(&session.grant)?;
        let current = self.state.load();
        current.still_open(&session.grant, now_ms).map_err(|_closed| Error::GrantEnded)?;
        if !session.grant.expired(now_ms) {
            return Allowed::now(state, session.grant.clone(), now_ms);
        }
        if !current.callers.still_know(caller, now_ms) {
            return Err(Error::GrantEnded);
        }
        let declared = session.declared.as_deref();
        let (now_allowed, _) = decide(&current, caller, declared, now_ms).map_err(|_refused| Error::GrantEnded)?;
        if !now_allowed.allows_the_same(&session.grant) {
            return Err(Error::GrantEnded);
        }
        // Categories are indexed by the policy that the plans of this exchange were compiled for.
        let (grant, _) = decide(state, caller, declared, now_ms).map_err(|_refused| Error::GrantEnded)?;
        Allowed::now(state, grant, now_ms)
    }
}

/// What the policy allows a caller, among the purposes that its token names; or what an exception does that it declares.
pub(super) fn decide(
    state: &State,
    caller: &Caller,
    declared: Option<&str>,
    now_ms: u64,
) -> Result<(Grant, Option<Used>), Error> {
    if let Some((grant, used)) = state.exception(caller, declared, now_ms)? {
        return Ok((grant, Some(used)));
    }
    let named = caller.vouched.as_ref().and_then(|vouched| vouched.purposes());
    Ok((state.policy.decide_among(&caller.name, named, declared, now_ms)?, None))
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

impl Exchange {
    /// Reads a body whole, within the limits: of its size, of the room there is, and of the time in all.
    pub(super) async fn read_whole(&self, state: &State, context: &Context, body: PassBody) -> Result<Bytes, Error> {
        let limits = &state.limits;
        match tokio::time::timeout(limits.total_timeout, self.collected(state, context, body)).await {
            Ok(read) => read,
            Err(_elapsed) => Err(self.body_broken(&Late.into(), state)),
        }
    }

    async fn collected(&self, state: &State, context: &Context, mut body: PassBody) -> Result<Bytes, Error> {
        let max = state.limits.body_bytes;
        let length = body.size_hint();
        if length.lower() > u64::try_from(max).unwrap_or(u64::MAX) {
            return Err(Error::BodyTooLarge { max });
        }
        let length = length.exact().and_then(|length| usize::try_from(length).ok());
        let mut room = Growing::new(REQUEST_TIMES);
        room.grow_exactly(length.unwrap_or(0), &self.budget).await?;
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        while !body.is_end_stream() {
            let piece = match body.frame().await {
                None => break,
                Some(Err(broken)) => return Err(self.body_broken(&broken, state)),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            let bytes = first.len() + whole.len() + piece.len();
            if bytes > max {
                return Err(Error::BodyTooLarge { max });
            }
            room.grow(bytes, &self.budget).await?;
            if first.is_empty() && whole.is_empty() {
                // Most bodies come in one piece and are not copied.
                first = piece;
            } else {
                whole.reserve(length.map_or(0, |length| length.saturating_sub(whole.len())));
                whole.extend_from_slice(&std::mem::take(&mut first));
                whole.extend_from_slice(&piece);
            }
        }
        context.held.room(room);
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    }
}
