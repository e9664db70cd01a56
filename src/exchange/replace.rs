//! A write that can be judged only beside what it replaces: read what is stored, protect, send, so that no other write comes in between.
//!
//! Where the write itself names a revision, that revision is read, and the database compares it when the write comes. Otherwise the proxy
//! sends the `ETag` of what it read as `If-Match`; a 412 then says that nothing was written, so reading and sending again is no retry of a
//! write that may have been done (T29). Rows of a bulk write whose revision is gone are left out and answered as the database would.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request};
use http_body_util::{BodyExt as _, Full};
use serde_json::value::RawValue;

use super::admission::Growing;
use super::ask::Answer;
use super::request::{Allowed, Draft, Session, url_id};
use super::{Conflict, Context, Error, Exchange, State, encoding};
use crate::crypto;
use crate::dialect::{Documents, Guard, Head, RefusedCode, RequestBody};
use crate::field::{Before, Stored, WriteError};
use crate::upstream::{PassBody, UpstreamError};

/// How often what is stored is read, and the write sent, while others change it in between.
const ATTEMPTS: u32 = 4;
/// Longest wait before the second attempt, in milliseconds; twice as long before each one after it. The wait itself is random.
const FIRST_WAIT_MS: u32 = 8;
/// What is read may be this many times as long as a request body: sealed values are longer than clear ones, and the caller may have left
/// them out.
const ANSWER_TIMES: usize = 4;

/// What a write builds on.
enum Past<'s> {
    /// Documents: of each row of the write, the row of the answer. `etag` is set where the proxy guards them.
    Stored { stored: Box<Stored<'s>>, rows: Vec<(usize, usize)>, etag: Option<HeaderValue>, room: Growing },
    /// Nothing is there: the write creates.
    Nothing,
    /// Nothing that it needs to know.
    Unneeded,
    /// Revisions that are gone: rows of the write, with what a reply says of each.
    Gone(Vec<(usize, Vec<u8>)>),
}

impl Exchange {
    /// Sends a write beside what it replaces; returns the database's reply.
    pub(super) async fn replace(
        &self,
        state: &State,
        context: &Context,
        session: &Session,
        documents: &Documents,
        parts: request::Parts,
        draft: Draft<'_>,
    ) -> Result<Response<PassBody>, Error> {
        let named = names_a_state(&parts.headers);
        let mut bulk = Bulk::new(draft);
        let mut attempt = 1;
        loop {
            let allowed = self.fresh_grant(state, session)?;
            let mut send = parts.clone();
            let past = self.past(state, documents, &allowed, &parts, &bulk.draft).await?;
            let guarded = matches!(past, Past::Nothing | Past::Stored { etag: Some(_), .. });
            let protected = match past {
                Past::Gone(rows) => {
                    bulk.leave_out(state, documents, rows)?;
                    if bulk.places.is_empty() {
                        return Ok(reply_of(StatusCode::CREATED, bulk.reply(Vec::new())));
                    }
                    continue;
                }
                Past::Unneeded => self.seal(state, documents, &allowed, &bulk.draft, Before::default()).await?,
                Past::Nothing => {
                    send.headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
                    self.seal(state, documents, &allowed, &bulk.draft.creating(), Before::default()).await?
                }
                Past::Stored { stored, rows, etag, room: _until_sealed } => {
                    if let Some(etag) = etag {
                        send.headers.insert(header::IF_MATCH, etag);
                    }
                    let mut before = Before { now_ms: self.clock.now_ms(), ..Before::default() };
                    for (row, answer) in rows {
                        before.rows.resize(before.rows.len().max(row + 1), None);
                        if let Some(slot) = before.rows.get_mut(row) {
                            *slot = stored.row(answer);
                        }
                    }
                    self.seal(state, documents, &allowed, &bulk.draft, before).await?
                }
            };
            let outgoing = self.record_write(state, context, documents, protected).await?;
            let response = self.forward(state, send, outgoing).await?;
            // The condition was ours alone, and it failed: the database did nothing, and what is stored now decides.
            let overtaken = guarded && !named && response.status() == StatusCode::PRECONDITION_FAILED;
            if !overtaken {
                return bulk.answer(state, encoding::plain_reply(state, response)?).await;
            }
            if attempt == ATTEMPTS {
                return Err(Error::Conflict(Conflict::Contended));
            }
            wait_after(attempt).await?;
            attempt += 1;
        }
    }

    /// Reads what the rows that need it build on.
    async fn past<'s>(
        &self,
        state: &'s State,
        documents: &Documents,
        allowed: &Allowed,
        parts: &request::Parts,
        draft: &Draft<'s>,
    ) -> Result<Past<'s>, Error> {
        let needy = draft.needy(state, documents, &allowed.grant);
        if needy.is_empty() {
            return Ok(Past::Unneeded);
        }
        let plan = |index: usize| draft.collection.plans.get(index).ok_or(Error::Internal("no such row set"));
        let head = Head { method: &parts.method, path: parts.uri.path(), query: parts.uri.query(), headers: &parts.headers };
        let reading = match state.dialect.reading(documents, head, &draft.facts(), &needy) {
            Ok(reading) => reading,
            Err(refused) if refused.code == RefusedCode::WouldErase => {
                return Err(would_erase(state, documents, allowed, draft, refused.detail));
            }
            Err(refused) => return Err(Error::Dialect(refused)),
        };
        let max = state.limits.body_bytes.saturating_mul(ANSWER_TIMES);
        let Answer { status, headers, body, room } =
            self.ask(state, &parts.headers, plan(reading.no_rows)?, reading.ask.clone(), max).await?;
        let gone = |row: &(usize, &str)| {
            let text = state.dialect.conflict(documents, row.1).ok_or(Error::Conflict(Conflict::Revision))?;
            Ok::<_, Error>((row.0, text))
        };
        let wanted = || reading.wanted.iter().map(|wanted| (wanted.row, wanted.id.as_str()));
        match (status, reading.guard) {
            (StatusCode::OK, guard) => {
                let unreadable = |why: String| Error::ReplyUnreadable { status: status.as_u16(), why };
                let stored = Stored::read(plan(reading.row_set)?, body, url_id(documents)?.as_ref())
                    .map_err(|error| unreadable(error.to_string()))?;
                let answers = state.dialect.answers(&reading, &stored.facts());
                let missing: Vec<_> = wanted().zip(&answers).filter(|(_, answer)| answer.is_none()).map(|(row, _)| row).collect();
                if guard == Guard::Revision && !missing.is_empty() {
                    return Ok(Past::Gone(missing.iter().map(gone).collect::<Result<_, _>>()?));
                }
                if !missing.is_empty() {
                    return Err(unreadable("it does not hold the one document that was asked for".to_owned()));
                }
                let etag = match guard {
                    Guard::Revision => None,
                    Guard::Etag => {
                        let Some(etag) = strong_etag(&headers) else {
                            let remedy = "the database gives this document no strong ETag; name a member that it compares in `revision`, or send the whole document for a purpose that sees and writes all fields";
                            return Err(would_erase(state, documents, allowed, draft, remedy.to_owned()));
                        };
                        if !condition_holds(&parts.headers, &etag) || !unmodified(&parts.headers, &headers) {
                            return Err(Error::Conflict(Conflict::Condition));
                        }
                        Some(etag)
                    }
                };
                let stored = Box::new(stored);
                let rows = wanted().zip(answers).filter_map(|((row, _), answer)| Some((row, answer?))).collect();
                Ok(Past::Stored { stored, rows, etag, room })
            }
            (StatusCode::NOT_FOUND, Guard::Revision) => {
                Ok(Past::Gone(wanted().collect::<Vec<_>>().iter().map(gone).collect::<Result<_, _>>()?))
            }
            (StatusCode::NOT_FOUND, Guard::Etag) if parts.headers.contains_key(header::IF_MATCH) => {
                Err(Error::Conflict(Conflict::Condition))
            }
            (StatusCode::NOT_FOUND, Guard::Etag) if !matches!(documents.request, RequestBody::Patch { .. }) => Ok(Past::Nothing),
            (status, _) => Err(Error::NotRead { status: status.as_u16() }),
        }
    }
}

/// Why the write cannot be judged without what is stored, which cannot be read; with the remedy of who knows why.
fn would_erase(state: &State, documents: &Documents, allowed: &Allowed, draft: &Draft<'_>, detail: String) -> Error {
    match draft.seal(state, documents, allowed.rights(), &Before::default()) {
        Err(Error::Write(WriteError::WouldErase { purpose, category, reason, .. })) => {
            Error::Write(WriteError::WouldErase { purpose, category, reason, remedy: detail.into() })
        }
        Err(Error::Write(WriteError::SubjectMissing { field, bind, selector, .. })) => {
            Error::Write(WriteError::SubjectMissing { field, bind, selector, remedy: detail.into() })
        }
        Err(other) => other,
        Ok(_) => Error::Internal("a write that needs no look at what is stored was about to get one"),
    }
}

/// A write of perhaps many rows, some of which are left out.
struct Bulk<'s> {
    draft: Draft<'s>,
    /// Of each row of the draft, its place in the request.
    places: Vec<usize>,
    /// Place in the request of each row left out, and what the reply says of it.
    left_out: Vec<(usize, Vec<u8>)>,
}

impl<'s> Bulk<'s> {
    fn new(draft: Draft<'s>) -> Self {
        Self { places: (0..draft.rows.len()).collect(), draft, left_out: Vec::new() }
    }

    /// Takes rows out of the body, which is read anew without them.
    fn leave_out(&mut self, state: &'s State, documents: &Documents, gone: Vec<(usize, Vec<u8>)>) -> Result<(), Error> {
        let places = std::mem::take(&mut self.places);
        let mut stays = vec![true; places.len()];
        for (row, text) in gone {
            if let (Some(stay), Some(place)) = (stays.get_mut(row), places.get(row)) {
                *stay = false;
                self.left_out.push((*place, text));
            }
        }
        self.places = places.into_iter().zip(&stays).filter(|(_, stay)| **stay).map(|(place, _)| place).collect();
        if !self.places.is_empty() {
            self.draft = self.draft.without(state, documents, &stays)?;
        }
        Ok(())
    }

    /// The database's reply, with what it would say of the rows that it did not get.
    async fn answer(self, state: &State, response: Response<PassBody>) -> Result<Response<PassBody>, Error> {
        if self.left_out.is_empty() || !response.status().is_success() {
            return Ok(response);
        }
        let (parts, mut body) = response.into_parts();
        let unreadable = |why: &str| Error::ReplyUnreadable { status: parts.status.as_u16(), why: why.to_owned() };
        let deadline = tokio::time::Instant::now() + state.limits.total_timeout;
        let mut whole = BytesMut::new();
        loop {
            match tokio::time::timeout_at(deadline, body.frame()).await {
                Err(_elapsed) => return Err(Error::Upstream(UpstreamError::Timeout(state.limits.total_timeout))),
                Ok(None) => break,
                Ok(Some(Err(error))) => return Err(encoding::reply_error(parts.status.as_u16(), error)),
                Ok(Some(Ok(frame))) => whole.extend_from_slice(&frame.into_data().unwrap_or_default()),
            }
            if whole.len() > state.limits.body_bytes {
                return Err(unreadable("it is larger than what may be read at once"));
            }
        }
        let rows: Vec<&RawValue> = serde_json::from_slice(&whole).map_err(|_no_list| unreadable("it is no list of results"))?;
        if rows.len() != self.places.len() {
            return Err(unreadable("it has not one result for each document"));
        }
        let rows = rows.into_iter().map(|row| row.get().as_bytes().to_vec()).collect();
        let mut response = reply_of(parts.status, self.reply(rows));
        *response.headers_mut() = parts.headers;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        Ok(response)
    }

    /// What the database said of the rows it got, and what is said of the others, in the order of the request.
    fn reply(self, rows: Vec<Vec<u8>>) -> Vec<u8> {
        let mut all: Vec<(usize, Vec<u8>)> = self.places.into_iter().zip(rows).chain(self.left_out).collect();
        all.sort_by_key(|(place, _)| *place);
        let rows: Vec<Vec<u8>> = all.into_iter().map(|(_, text)| text).collect();
        [b"[".as_slice(), &rows.join(&b","[..]), b"]\n"].concat()
    }
}

fn reply_of(status: StatusCode, body: Vec<u8>) -> Response<PassBody> {
    let mut response = Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// True if the client itself says which state of the document it means to replace. `If-Match: *` says no more than that there is one.
fn names_a_state(headers: &HeaderMap) -> bool {
    headers.contains_key(header::IF_NONE_MATCH)
        || headers.contains_key(header::IF_UNMODIFIED_SINCE)
        || headers.get_all(header::IF_MATCH).iter().any(|value| value.as_bytes().trim_ascii() != b"*")
}

/// The entity tag, if it is one that tells bytes apart (RFC 9110 section 8.8.1).
fn strong_etag(headers: &HeaderMap) -> Option<HeaderValue> {
    let etag = headers.get(header::ETAG)?;
    let text = etag.as_bytes();
    (text.len() > 2 && text.starts_with(b"\"") && text.ends_with(b"\"")).then(|| etag.clone())
}

/// Does the client's `If-Match` hold for this tag? One that is not there holds for all.
fn condition_holds(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let mut tags = headers.get_all(header::IF_MATCH).iter().flat_map(|value| members(value.as_bytes())).peekable();
    tags.peek().is_none() || tags.any(|tag| tag == b"*" || tag == etag.as_bytes())
}

/// The members of a list of entity tags; a comma inside of one is part of it.
fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let apart = move |byte: &u8| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    };
    list.split(apart).map(<[u8]>::trim_ascii)
}

/// Does the client's `If-Unmodified-Since` hold for what was read? Beside the `If-Match` that we send no server looks at it (RFC 9110
/// section 13.1.4), so it is looked at here, and holds only for the very time that the database gave.
fn unmodified(asked: &HeaderMap, answer: &HeaderMap) -> bool {
    let since = asked.get(header::IF_UNMODIFIED_SINCE).filter(|_| !asked.contains_key(header::IF_MATCH));
    since.is_none_or(|since| answer.get(header::LAST_MODIFIED) == Some(since))
}

/// A random wait, so that writers that met once do not meet again.
async fn wait_after(attempt: u32) -> Result<(), Error> {
    let [random] = crypto::random::<1>().map_err(|error| Error::Keys(crate::keys::KeyError::from(error)))?;
    let longest = FIRST_WAIT_MS << attempt.min(8);
    let wait = u64::from(longest) * u64::from(random) / 255;
    tokio::time::sleep(Duration::from_millis(wait)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_a_strong_tag_guards() {
        let etag = |text| strong_etag(&headers(&[(header::ETAG, text)])).is_some();
        assert!(etag("\"1-abc\""));
        assert!(!etag("W/\"1-abc\"") && !etag("1-abc") && !etag("\"") && !etag("\"\""));
        assert!(strong_etag(&HeaderMap::new()).is_none());
    }

    #[test]
    fn conditions_of_the_client_are_kept() {
        let tag = HeaderValue::from_static("\"a\"");
        let holds = |text| condition_holds(&headers(&[(header::IF_MATCH, text)]), &tag);
        assert!(condition_holds(&HeaderMap::new(), &tag) && holds("*") && holds("\"b\", \"a\""));
        assert!(!holds("\"b\"") && !holds("W/\"a\"") && !holds(""));
        let comma = HeaderValue::from_static("\"a,b\"");
        let holds = |text| condition_holds(&headers(&[(header::IF_MATCH, text)]), &comma);
        assert!(holds("\"a,b\"") && holds("\"x\", \"a,b\"") && holds("\"x\",\"a,b\" ,\"y\"") && !holds("\"a\",\"b\""));
        let read = headers(&[(header::LAST_MODIFIED, "Sat, 21 Nov 2026 00:00:00 GMT")]);
        let since = |text| headers(&[(header::IF_UNMODIFIED_SINCE, text)]);
        assert!(unmodified(&HeaderMap::new(), &read) && unmodified(&since("Sat, 21 Nov 2026 00:00:00 GMT"), &read));
        assert!(!unmodified(&since("Fri, 20 Nov 2026 00:00:00 GMT"), &read) && !unmodified(&since("x"), &HeaderMap::new()));
        let names = |name, text| names_a_state(&headers(&[(name, text)]));
        assert!(names(header::IF_MATCH, "\"a\"") && names(header::IF_NONE_MATCH, "\"a\""));
        assert!(!names(header::IF_MATCH, "*") && !names_a_state(&HeaderMap::new()));
    }
}
