//! The way out: the database's reply is rewritten window by window; each window is recorded before it leaves (T25).
//!
//! The head of the reply is held back until the first window is ready, so that a value that does not authenticate is
//! an error with a status. After that an error resets the connection: a reply is never ended cleanly short (T27).

use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use http::{Response, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::sync::mpsc;

use crate::audit::{self, Kind, Recorded};
use crate::base::{CollectionName, RecordId};
use crate::dialect::Documents;
use crate::document::{Rules, Walker, Window};
use crate::field::{self, Found};
use crate::metrics::Phase;
use crate::purpose::Level;
use crate::upstream::{BodyError, PassBody, UpstreamError};

use super::request::{Session, url_id};
use super::{Context, Error, Exchange, State, headers};

/// One reply under way.
struct Reply {
    exchange: Arc<Exchange>,
    state: Arc<State>,
    context: Context,
    session: Session,
    documents: Documents,
    url_id: Option<RecordId>,
    status: u16,
    walker: Walker,
    body: PassBody,
    /// A byte of the body has come.
    begun: bool,
    ended: bool,
    deadline: tokio::time::Instant,
}

impl Exchange {
    /// Rewrites the database's reply under the session's grant.
    pub(super) async fn reveal(
        self: &Arc<Self>,
        state: Arc<State>,
        context: &Context,
        session: Session,
        documents: Documents,
        response: Response<PassBody>,
    ) -> Result<Response<PassBody>, Error> {
        let (mut parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        if let Some(coding) = parts.headers.get(header::CONTENT_ENCODING)
            && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Err(Error::ReplyUnreadable { status, why: "it is compressed, though identity was asked for".to_owned() });
        }
        headers::finish_documents(&mut parts.headers, session.grant.data_view(), &state.purpose_header);
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(documents.reply).ok_or(Error::Internal("no such row set"))?;
        let mut reply = Reply {
            exchange: Arc::clone(self),
            state: Arc::clone(&state),
            context: context.clone(),
            url_id: url_id(&documents)?,
            session,
            documents,
            status,
            walker: Walker::new(Arc::clone(&plan.map), Rules::reply()),
            begun: false,
            ended: body.is_end_stream(),
            deadline: tokio::time::Instant::now() + state.limits.total_timeout,
            body,
        };
        if reply.ended {
            reply.close(None);
            return Ok(Response::from_parts(parts, boxed(Empty::new())));
        }
        let first = match reply.next().await {
            Ok(first) => first,
            Err(error) => {
                reply.close(Some("reply-refused"));
                return Err(error);
            }
        };
        let first = first.unwrap_or_default();
        if reply.ended {
            // The usual case, one document: the length is known.
            match reply.next().await {
                Ok(None) => {
                    reply.close(None);
                    parts.headers.insert(header::CONTENT_LENGTH, first.len().into());
                    return Ok(Response::from_parts(parts, boxed(Full::new(first))));
                }
                Ok(Some(second)) => return Ok(Response::from_parts(parts, reply.stream(vec![first, second]))),
                Err(error) => {
                    reply.close(Some("reply-refused"));
                    return Err(error);
                }
            }
        }
        Ok(Response::from_parts(parts, reply.stream(vec![first])))
    }

    /// Makes durable what this window shows. A window that shows nothing personal needs no event of its own.
    async fn record_window(
        &self,
        state: &State,
        context: &Context,
        tally: &field::Tally,
        subjects: Vec<RecordId>,
    ) -> Result<Option<Recorded>, Error> {
        if tally.bad > 0 || tally.clear_found > 0 {
            let code = if tally.bad > 0 { "value-not-authentic" } else { "clear-value-found" };
            let alarm = audit::Event { code: Some(code.to_owned()), subjects: subjects.clone(), ..context.event(Kind::Alarm) };
            let _recorded = self.record(alarm).await?;
            tracing::error!(
                collection = context.collection.as_ref().map(CollectionName::as_str),
                code,
                "stored values are not as they should be"
            );
        }
        if tally.shown.iter().all(|(_, level, _)| *level == Level::Absent) {
            return Ok(None);
        }
        let mut event = context.event(Kind::Reveal);
        event.subjects = subjects;
        event.shown = tally
            .shown
            .iter()
            .filter(|(_, level, _)| *level != Level::Absent)
            .filter_map(|(category, level, count)| Some((state.category_name(*category)?, *level, *count)))
            .collect();
        Ok(Some(self.record(event).await?))
    }
}

impl Reply {
    /// The next window, revealed and recorded; `None` when the body is done.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(window) = self.walker.window() {
                return self.window(&window).await.map(Some);
            }
            if self.ended {
                return Ok(None);
            }
            let Ok(frame) = tokio::time::timeout_at(self.deadline, self.body.frame()).await else {
                return Err(Error::Upstream(UpstreamError::Timeout(self.state.limits.total_timeout)));
            };
            match frame {
                None => self.finish()?,
                Some(Err(error)) => {
                    return Err(Error::Upstream(UpstreamError::Broken(error.to_string())));
                }
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.begun |= !piece.is_empty();
                        self.walker.feed(&piece).map_err(|error| self.unreadable(&error))?;
                        if self.body.is_end_stream() {
                            self.finish()?;
                        }
                    }
                    // Trailers of the database are not forwarded (T10).
                }
            }
        }
    }

    /// The body has come to its end. An empty one is no JSON, but shows nothing either.
    fn finish(&mut self) -> Result<(), Error> {
        self.ended = true;
        if self.begun { self.walker.finish().map_err(|error| self.unreadable(&error)) } else { Ok(()) }
    }

    fn unreadable(&self, error: &crate::document::WalkError) -> Error {
        Error::ReplyUnreadable { status: self.status, why: error.to_string() }
    }

    async fn window(&mut self, window: &Window) -> Result<Bytes, Error> {
        let started = Instant::now();
        let grant = self.exchange.fresh_grant(&self.state, &self.session)?;
        self.session.grant = grant;
        let collection = self.state.collections.get(self.documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(self.documents.reply).ok_or(Error::Internal("no such row set"))?;
        let revealed = field::reveal_found(
            &collection.field_map,
            plan,
            &self.state.keys,
            &self.session.grant,
            &window.bytes,
            &window.layout,
            self.url_id.as_ref(),
            self.exchange.clock.now_ms(),
            Found { searched: &self.documents.search.searched, strip: &self.documents.search.strip },
        )?;
        self.exchange.metrics.phase(Phase::Reveal, started.elapsed());
        self.exchange.count(&self.state, &collection.field_map.name, &revealed.tally);
        let recorded = self.exchange.record_window(&self.state, &self.context, &revealed.tally, revealed.subjects).await?;
        Ok(leave(revealed.bytes, recorded))
    }

    /// The alarm of a value that does not authenticate, where the reply is already under way. Before that, `front` records it
    /// with the status it answers.
    fn alarm(&self, error: &Error) -> Option<audit::Event> {
        let Error::Reveal(reason) = error else { return None };
        let code = Some(reason.code()).filter(|code| *code == "value-not-authentic")?;
        Some(audit::Event { status: Some(self.status), code: Some(code.to_owned()), ..self.context.event(Kind::Alarm) })
    }

    /// Records how the exchange ended. Not waited for: it shows nothing.
    fn close(&self, code: Option<&str>) {
        let mut event = self.context.event(Kind::Close);
        event.status = Some(self.status);
        event.code = code.map(str::to_owned);
        self.exchange.audit.note(event);
    }

    /// Sends the windows that are ready, then the rest as it comes, on a task of its own.
    fn stream(mut self, ready: Vec<Bytes>) -> PassBody {
        let (sender, receiver) = mpsc::channel::<Piece>(1);
        let tasks = self.exchange.tasks.clone();
        tasks.spawn(async move {
            let code = self.send_all(&sender, ready).await;
            self.close(code);
        });
        http_body_util::StreamBody::new(Receiver { pieces: receiver, ended: false }).boxed_unsync()
    }

    async fn send_all(&mut self, sender: &mpsc::Sender<Piece>, ready: Vec<Bytes>) -> Option<&'static str> {
        let wait = self.state.limits.idle_timeout;
        let mut ready = ready.into_iter();
        loop {
            let next = match ready.next() {
                Some(bytes) => Ok(Some(bytes)),
                None => self.next().await,
            };
            let piece = match next {
                Ok(Some(bytes)) if bytes.is_empty() => continue,
                Ok(Some(bytes)) => Ok(Some(bytes)),
                Ok(None) => Ok(None),
                Err(error) => {
                    if let Some(alarm) = self.alarm(&error)
                        && let Err(error) = self.exchange.record(alarm).await
                    {
                        tracing::error!(%error, "an alarm could not be recorded");
                    }
                    tracing::warn!(exchange = self.context.exchange, %error, "a reply was broken off");
                    Err(BodyError::from(error))
                }
            };
            let (broken, last) = (piece.is_err(), matches!(piece, Ok(None)));
            let patience = (tokio::time::Instant::now() + wait).min(self.deadline);
            match tokio::time::timeout_at(patience, sender.send(piece)).await {
                Err(_elapsed) => return Some("client-too-slow"),
                Ok(Err(_gone)) => return Some("client-gone"),
                Ok(Ok(())) if broken => return Some("reply-broken-off"),
                Ok(Ok(())) if last => return None,
                Ok(Ok(())) => {}
            }
        }
    }
}

/// The one door through which revealed bytes leave: it takes the proof that they are recorded.
fn leave(bytes: Vec<u8>, _recorded: Option<Recorded>) -> Bytes {
    Bytes::from(bytes)
}

fn boxed<B>(body: B) -> PassBody
where
    B: http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    body.map_err(|never| match never {}).boxed_unsync()
}

/// Takes the body from a reply.
pub(super) fn empty(response: &mut Response<PassBody>) {
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = boxed(Empty::new());
}

/// Bytes that leave, or `None` for the end of a reply that is whole.
type Piece = Result<Option<Bytes>, BodyError>;

/// A channel as a stream of frames. Where the sender is gone before it has said that the reply is whole, the stream ends
/// with an error, so that the connection is reset (T27).
struct Receiver {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

impl futures_core::Stream for Receiver {
    type Item = Result<Frame<Bytes>, BodyError>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = std::task::ready!(self.pieces.poll_recv(cx));
        self.ended = !matches!(piece, Some(Ok(Some(_))));
        Poll::Ready(match piece {
            Some(Ok(Some(bytes))) => Some(Ok(Frame::data(bytes))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(BodyError::from("the reply was given up before it was whole"))),
        })
    }
}
