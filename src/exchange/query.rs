//! Searches and views: what the database is asked for a client, once it is known to show nothing that it should not.
//!
//! To find a document by a value is to see the value, so a search needs a purpose that sees the category clear, and what it finds is
//! recorded like a read. A view's definition is read and judged before it is asked, so that one written to the database directly is
//! judged, too.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::request::Session;
use super::{Collection, Error, Exchange, State, tokens};
use crate::base::limits::MAX_ROW_BYTES;
use crate::dialect::{Documents, Piece, Terms};
use crate::document::{self, Rules};
use crate::field::{self, ProtectedBody};
use crate::purpose::{Grant, Level, Permit};
use crate::upstream::Outgoing;

impl Exchange {
    /// Judges and rewrites a search. What it means for the reply is noted in `documents`.
    pub(super) async fn search(
        &self,
        state: &State,
        session: &Session,
        documents: &mut Documents,
        row_set: usize,
        body: &[u8],
    ) -> Result<Outgoing, Error> {
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(row_set).ok_or(Error::Internal("no such row set"))?;
        document::walk(&plan.map, Rules::request(), body).map_err(Error::RequestJson)?;
        let query = state.dialect.query(documents, body).map_err(Error::Dialect)?;
        let grant = self.fresh_grant(state, session)?;
        may_search(collection, &grant, &query.search.searched, "search by it", |level| level == Level::Clear)?;
        // An index has the order of the stored values, in which equal ones stand together.
        let (equal, other): (Vec<usize>, Vec<usize>) =
            query.presence.iter().partition(|field| shows_equality(collection, **field));
        let sees_equality = |level| matches!(level, Level::Clear | Level::Sealed);
        may_search(collection, &grant, &equal, "ask whether it is there", sees_equality)?;
        may_search(collection, &grant, &other, "ask whether it is there", |level| level != Level::Absent)?;
        // All tokens that are searched for are asked for at once.
        let mut of_piece = Vec::with_capacity(query.pieces.len());
        let mut asked = Vec::new();
        for piece in &query.pieces {
            let of_terms = match piece {
                Piece::Bytes(_) => None,
                Piece::Terms(terms) => {
                    tokens::searched(&collection.field_map, terms.member, &terms.values).map_err(Error::Term)?
                }
            };
            of_piece.push(of_terms.as_ref().map(Vec::len));
            asked.extend(of_terms.into_iter().flatten());
        }
        let mut found = self.tokens_found(state, &asked).await?.into_iter();
        let mut rewritten = Vec::with_capacity(body.len());
        for (piece, tokens) in query.pieces.into_iter().zip(of_piece) {
            match piece {
                Piece::Bytes(bytes) => rewritten.extend_from_slice(&bytes),
                Piece::Terms(terms) => {
                    let tokens = tokens.map(|count| found.by_ref().take(count).flatten().collect());
                    write_terms(state, collection, plan, &grant, &terms, tokens, &mut rewritten)?;
                }
            }
        }
        documents.search = query.search;
        let rewritten = Bytes::from(rewritten);
        let layout = document::walk(&plan.map, Rules::request(), &rewritten)
            .map_err(|_not_what_was_read| Error::Internal("a search was rewritten to something else"))?;
        Ok(Outgoing::Protected(ProtectedBody::without_documents(plan, &rewritten, &layout)?))
    }

    /// Reads the definition of the view that is asked, and judges it.
    pub(super) async fn judge_view(&self, state: &State, headers: &HeaderMap, documents: &mut Documents) -> Result<(), Error> {
        let Some(view) = &documents.view else { return Ok(()) };
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(view.row_set).ok_or(Error::Internal("no such row set"))?;
        let answer = self.ask(state, headers, plan, view.definition.clone(), MAX_ROW_BYTES).await?;
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
        Ok(())
    }
}

fn shows_equality(collection: &Collection, field: usize) -> bool {
    collection.field_map.fields.get(field).is_some_and(|field| field.protection.shows_equality())
}

/// Every field of the list is seen well enough.
fn may_search(
    collection: &Collection,
    grant: &Grant,
    fields: &[usize],
    what: &'static str,
    enough: impl Fn(Level) -> bool,
) -> Result<(), Error> {
    for field in fields {
        let field = collection.field_map.fields.get(*field).ok_or(Error::Internal("no such field"))?;
        let level = grant.level(field.category);
        if !enough(level) {
            let (purpose, category) = (grant.purpose().clone(), field.category_name.clone());
            return Err(Error::SearchRefused { purpose, category, level, what });
        }
    }
    Ok(())
}

/// Writes every form in which one of the values may be stored. `tokens` are those of the values, where they are stored as tokens; of a
/// value that is not known there is none, and no document has it.
fn write_terms(
    state: &State,
    collection: &Collection,
    plan: &field::Plan,
    grant: &Grant,
    terms: &Terms,
    tokens: Option<Vec<String>>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let mut forms: Vec<String> = Vec::new();
    for value in &terms.values {
        if value == b"null" {
            forms.push("null".to_owned());
            continue;
        }
        if tokens.is_some() {
            continue;
        }
        let stored =
            field::deterministic_terms(&collection.field_map, plan, &state.ring(), terms.member, value, Permit::Reveal(grant))
                .map_err(Error::Term)?;
        // Envelopes need no escapes.
        forms.extend(stored.iter().map(|envelope| format!("\"{envelope}\"")));
    }
    // Tokens need no escapes but in e-mail addresses and numbers of a shape, which have none that JSON would escape.
    forms.extend(tokens.into_iter().flatten().map(|token| format!("\"{token}\"")));
    match (forms.as_slice(), terms.alone) {
        ([form], Some(before)) => out.extend([before, form].concat().bytes()),
        _ => out.extend([terms.list.0, &forms.join(","), terms.list.1].concat().bytes()),
    }
    Ok(())
}
