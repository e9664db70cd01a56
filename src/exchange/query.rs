//! Searches and views: what the database is asked for a client, once it is known to show nothing that it should not.
//!
//! To find a document by a value is to learn the value, so a search needs a purpose that sees the category clear, or that the policy lets
//! search by it; what it finds is recorded as if it were seen, and what was asked counts against the caller's budget. A view's definition is read and judged before it is asked, so that one written to the database directly is
//! judged, too.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::request::Session;
use super::{Collection, Error, Exchange, State, tokens};
use crate::base::Condition;
use crate::base::limits::MAX_ROW_BYTES;
use crate::dialect::{Documents, Piece, Query, Quote, Terms};
use crate::document::{self, Rules};
use crate::field::{self, Probe, ProtectedBody, Sought};
use crate::purpose::{Grant, Level, Permit, Row};
use crate::upstream::Outgoing;

impl Exchange {
    /// Judges and rewrites a search. What it means for the reply is noted in `documents`.
    pub(super) async fn search(
        &self,
        state: &State,
        session: &mut Session,
        documents: &mut Documents,
        row_set: usize,
        body: &[u8],
    ) -> Result<Outgoing, Error> {
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(row_set).ok_or(Error::Internal("no such row set"))?;
        document::walk(&plan.map, Rules::request(), body).map_err(Error::RequestJson)?;
        let query = state.dialect.query(documents, body).map_err(Error::Dialect)?;
        let rewritten = Bytes::from(self.written(state, session, documents, collection, plan, query).await?);
        let layout = document::walk(&plan.map, Rules::request(), &rewritten)
            .map_err(|_not_what_was_read| Error::Internal("a search was rewritten to something else"))?;
        Ok(Outgoing::Protected(ProtectedBody::without_documents(plan, &rewritten, &layout)?))
    }

    /// Writes a search that stands in the query of a target, in place of the client's (T14).
    pub(super) async fn look_up(
        &self,
        state: &State,
        session: &mut Session,
        documents: &mut Documents,
        target: &mut http::Uri,
    ) -> Result<(), Error> {
        let Some(query) = documents.lookup.take() else { return Ok(()) };
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(documents.reply).ok_or(Error::Internal("no such row set"))?;
        let written = self.written(state, session, documents, collection, plan, *query).await?;
        let path = target.path().to_owned();
        let text = String::from_utf8(written).map_err(|_never| Error::Internal("a search was written as something else"))?;
        *target = format!("{path}?{text}").parse().map_err(|_invalid| Error::Internal("a search made a target that is none"))?;
        Ok(())
    }

    /// Judges what a search asks for, and writes it for the database. What it means for the reply is noted in `documents` and `session`.
    async fn written(
        &self,
        state: &State,
        session: &mut Session,
        documents: &mut Documents,
        collection: &Collection,
        plan: &field::Plan,
        query: Query,
    ) -> Result<Vec<u8>, Error> {
        let grant = self.fresh_grant(state, session)?.grant;
        // Where rows differ, those that may not be found are left out of the reply; out of that of a view nothing can be left.
        let most = grant.at_most();
        let row = if documents.view.is_some() { grant.least() } else { &most };
        may_search(collection, &grant, row, &query.search.searched)?;
        // An index has the order of the stored values, in which equal ones stand together.
        let (equal, other): (Vec<usize>, Vec<usize>) =
            query.presence.iter().partition(|field| shows_equality(collection, **field));
        let sees_equality = |level| matches!(level, Level::Clear | Level::Sealed);
        may_ask(collection, &grant, &equal, sees_equality)?;
        may_ask(collection, &grant, &other, |level| level != Level::Absent)?;
        // Each value is a guess, right or not.
        let asked = query.pieces.iter().map(|piece| match piece {
            Piece::Terms(terms) => terms.values.iter().filter(|value| *value != b"null").count(),
            Piece::Bytes(_) => 0,
        });
        if !std::mem::replace(&mut session.counted, true) {
            state.gates.search(&session.caller.name, asked.sum())?;
        }
        // Before anything is looked up: without the ring of a field there is nothing to search for.
        for piece in &query.pieces {
            if let Piece::Terms(terms) = piece
                && terms.values.iter().any(|value| *value != b"null")
            {
                field::may_be_searched(&collection.field_map, &state.rings(), terms.member).map_err(Error::Term)?;
            }
        }
        // All tokens that are searched for are asked for at once.
        let mut of_piece = Vec::with_capacity(query.pieces.len());
        let mut asked = Vec::new();
        for piece in &query.pieces {
            let of_terms = match piece {
                Piece::Terms(terms) if terms.index.is_none() => {
                    tokens::searched(&collection.field_map, terms.member, &terms.values).map_err(Error::Term)?
                }
                Piece::Terms(_) | Piece::Bytes(_) => None,
            };
            of_piece.push(of_terms.as_ref().map(Vec::len));
            asked.extend(of_terms.into_iter().flatten());
        }
        let mut found = self.tokens_found(state, &asked).await?.into_iter();
        let (mut written, mut probes) = (Vec::new(), Vec::new());
        for (piece, tokens) in query.pieces.into_iter().zip(of_piece) {
            match piece {
                Piece::Bytes(bytes) => written.extend_from_slice(&bytes),
                Piece::Terms(terms) => {
                    let tokens: Option<Vec<String>> = tokens.map(|count| found.by_ref().take(count).flatten().collect());
                    probes.extend(write_terms(state, collection, plan, &grant, &terms, tokens.as_deref(), &mut written)?);
                }
            }
        }
        let leaves_out = grant.differs_by_row() && !query.search.searched.is_empty() && documents.view.is_none();
        let condition = query.search.condition.clone().or_else(|| leaves_out.then(|| Condition::All(Vec::new())));
        session.sought = condition.map(|condition| Sought::new(probes, condition));
        documents.search = query.search;
        Ok(written)
    }

    /// Reads the definition of the view that is asked, and judges it.
    pub(super) async fn judge_view(
        &self,
        state: &State,
        session: &mut Session,
        headers: &HeaderMap,
        target: &mut http::Uri,
        documents: &mut Documents,
    ) -> Result<(), Error> {
        let Some(view) = &documents.view else { return Ok(()) };
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(view.row_set).ok_or(Error::Internal("no such row set"))?;
        let answer = Box::pin(self.ask(state, headers, plan, view.definition.clone(), MAX_ROW_BYTES)).await?;
        let unreadable = |why: &str| Error::ReplyUnreadable { status: answer.status.as_u16(), why: why.to_owned() };
        let definition = match answer.status {
            StatusCode::OK => {
                document::walk(&plan.map, Rules::request(), &answer.body).map_err(|error| unreadable(&error.to_string()))?;
                Some(&answer.body[..])
            }
            // The database says so itself, in its own words.
            StatusCode::NOT_FOUND => None,
            _ => return Err(unreadable("it is not the definition of the view")),
        };
        documents.reply = state.dialect.judge_view(documents, definition).map_err(Error::Dialect)?;
        let search = state.dialect.view_lookup(documents, definition, target.query()).map_err(Error::Dialect)?;
        documents.lookup = search.map(Box::new);
        self.look_up(state, session, documents, target).await
    }
}

/// The target's path alone.
pub(super) fn without_query(target: &http::Uri) -> Result<http::Uri, Error> {
    target.path().parse().map_err(|_was_a_path| Error::Internal("a path is no target"))
}

fn shows_equality(collection: &Collection, field: usize) -> bool {
    collection.field_map.fields.get(field).is_some_and(|field| field.protection.shows_equality())
}

/// Every field of the list is seen clear in such a row, or the policy lets the purpose search by it.
fn may_search(collection: &Collection, grant: &Grant, row: &Row, fields: &[usize]) -> Result<(), Error> {
    check(collection, grant, fields, "search by it", |field| row.may_search(field.category))
}

/// Every field of the list is seen well enough to be told whether it is there.
fn may_ask(collection: &Collection, grant: &Grant, fields: &[usize], enough: impl Fn(Level) -> bool) -> Result<(), Error> {
    check(collection, grant, fields, "ask whether it is there", |field| enough(grant.level(field.category)))
}

fn check(
    collection: &Collection,
    grant: &Grant,
    fields: &[usize],
    what: &'static str,
    may: impl Fn(&field::Field) -> bool,
) -> Result<(), Error> {
    for field in fields {
        let field = collection.field_map.fields.get(*field).ok_or(Error::Internal("no such field"))?;
        if !may(field) {
            let (purpose, category, level) = (grant.purpose().clone(), field.category_name.clone(), grant.level(field.category));
            return Err(Error::SearchRefused { purpose, category, level, what });
        }
    }
    Ok(())
}

/// Writes every form in which one of the values may be stored. `tokens` are those of the values, where they are stored as tokens; of a
/// value that is not known there is none, and no document has it. Of a search by an index also gives what to compare with.
fn write_terms(
    state: &State,
    collection: &Collection,
    plan: &field::Plan,
    grant: &Grant,
    terms: &Terms,
    tokens: Option<&[String]>,
    out: &mut Vec<u8>,
) -> Result<Option<Probe>, Error> {
    let mut forms: Vec<String> = Vec::new();
    // Neither envelopes nor terms need escapes.
    let quoted = |form: &String| if terms.quote == Quote::Json { format!("\"{form}\"") } else { form.clone() };
    let mut probe = None;
    if let Some(index) = terms.index {
        let at = (terms.member, index);
        let asked = field::index_terms(&collection.field_map, &state.rings(), at, &terms.values, Permit::Reveal(grant));
        let asked = asked.map_err(Error::Term)?;
        forms.extend(asked.terms.iter().map(quoted));
        probe = Some(asked);
    }
    for value in terms.values.iter().filter(|_| terms.index.is_none()) {
        if value == b"null" {
            forms.push("null".to_owned());
            continue;
        }
        if tokens.is_some() {
            continue;
        }
        let stored =
            field::deterministic_terms(&collection.field_map, plan, &state.rings(), terms.member, value, Permit::Reveal(grant))
                .map_err(Error::Term)?;
        forms.extend(stored.iter().map(quoted));
    }
    // Tokens need no escapes but in e-mail addresses and numbers of a shape, which have none that JSON would escape.
    forms.extend(tokens.unwrap_or_default().iter().map(quoted));
    let between = match &terms.quote {
        Quote::Json => ",",
        Quote::Bare { between } => between,
    };
    match (forms.as_slice(), terms.alone) {
        ([form], Some(before)) => out.extend([before, form].concat().bytes()),
        _ => out.extend([terms.list.0, &forms.join(between), terms.list.1].concat().bytes()),
    }
    Ok(probe)
}
