//! The way out: the database's reply is rewritten window by window; each window is recorded before it leaves (T25).
//!
//! The head of the reply is held back until the first window is ready, so that a value that does not authenticate is
//! an error with a status. After that an error resets the connection: a reply is never ended cleanly short (T27).
//!
//! A feed does not wait for windows to fill: when the database pauses, what is whole leaves, and a head whose rows are long in
//! coming leaves without them, for its status is known.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Empty, Full};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Kind, Recorded};
use crate::base::{CollectionName, Intent, RecordId};
use crate::dialect::{Documents, Flow};
use crate::document::{Framing, Rules, Walker, Window};
use crate::field::{self, Extent, Found};
use crate::metrics::Phase;
use crate::purpose::Level;
use crate::upstream::{BodyError, PassBody, UpstreamError};

use super::admission::{Growing, STREAM_BYTES, WINDOW_TIMES};
use super::request::{Session, url_id};
use super::{Context, Error, Exchange, State, encoding, headers, tokens, view};

/// A feed that says nothing for so long has paused: what is whole leaves. Rows that come in a rush share a window, and an event.
const PAUSE: Duration = Duration::from_millis(10);
/// The head of a feed waits so long for its first bytes, so that what is wrong with them may still become a status.
const HEAD_PATIENCE: Duration = Duration::from_millis(500);

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
    room: Growing,
    /// What came since the last window.
    fed: usize,
    /// A byte of the body has come.
    begun: bool,
    ended: bool,
    /// None for a feed, which lasts as long as the database and the client keep it.
    deadline: Option<tokio::time::Instant>,
    /// What ends a feed from outside; None for other replies.
    ends: Option<CancellationToken>,
    /// When the caller's token ends, or the exception that it uses, for a feed.
    token_ends: Option<tokio::time::Instant>,
    /// Whether the next window may be all there is.
    extent: Extent,
    /// The walker may hold what could leave.
    held: bool,
    /// How long the head of a feed waits for its first bytes; None once it is sent, and for other replies.
    head_waits: Option<Duration>,
}

/// What comes next of a reply.
enum Next {
    Bytes(Bytes),
    /// A feed is silent, and its head still waits.
    Silence,
    End,
}

impl Exchange {
    /// Rewrites the database's reply under the session's grant.
    pub(super) async fn reveal(
        self: &Arc<Self>,
        state: Arc<State>,
        context: &mut Context,
        session: Session,
        documents: Documents,
        response: Response<PassBody>,
        ends: CancellationToken,
    ) -> Result<Response<PassBody>, Error> {
        let (mut parts, body) = encoding::plain_reply(&state, response)?.into_parts();
        let status = parts.status.as_u16();
        if parts.status == StatusCode::NOT_MODIFIED {
            // No condition of a read reaches the database (T11), so this is an answer to nothing.
            return Err(Error::ReplyUnreadable {
                status,
                why: "it says that nothing has changed, which was not asked".to_owned(),
            });
        }
        headers::finish_documents(&mut parts.headers, session.grant.data_view(), &state.purpose_header);
        if session.sought.is_some() {
            headers::drop_terms(&mut parts.headers);
        }
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(documents.reply).ok_or(Error::Internal("no such row set"))?;
        // What the database has against a feed it says in one text.
        let feed = match documents.flow {
            Flow::Feed(framing) if parts.status.is_success() => Some(framing),
            Flow::Feed(_) | Flow::Whole => None,
        };
        context.feed = feed.is_some();
        let rules = Rules { framing: feed.unwrap_or(Framing::Document), ..Rules::reply() };
        let token = session.caller.vouched.as_ref().map(|vouched| vouched.until_ms());
        let exception = session.used.as_ref().map(|used| used.until);
        let token_ends = token.into_iter().chain(exception).min().and_then(|until_ms| {
            let left = Duration::from_millis(until_ms.saturating_sub(self.clock.now_ms()));
            tokio::time::Instant::now().checked_add(left)
        });
        let mut room = Growing::new(WINDOW_TIMES);
        if documents.intent != Intent::Read {
            // What a write did is told in any case, or it would be done twice.
            room.overdraw();
        }
        let mut reply = Reply {
            exchange: Arc::clone(self),
            state: Arc::clone(&state),
            context: context.clone(),
            url_id: url_id(&documents)?,
            session,
            documents,
            status,
            walker: Walker::new(Arc::clone(&plan.map), rules),
            room,
            fed: 0,
            begun: false,
            ended: body.is_end_stream(),
            deadline: feed.is_none().then(|| tokio::time::Instant::now() + state.limits.total_timeout),
            ends: feed.map(|_| ends),
            token_ends: feed.and(token_ends),
            extent: Extent::Whole,
            held: false,
            head_waits: feed.map(|_| HEAD_PATIENCE),
            body,
        };
        if reply.ended {
            reply.close(None);
            return Ok(Response::from_parts(parts, boxed(Empty::new())));
        }
        let first = match reply.next().await {
            Ok(Next::Bytes(first)) => first,
            Ok(Next::Silence | Next::End) => Bytes::new(),
            Err(error) => {
                reply.close(Some("reply-refused"));
                return Err(error);
            }
        };
        if reply.ended {
            // The usual case, one document: the length is known.
            match reply.next().await {
                Ok(Next::Silence | Next::End) => {
                    reply.close(None);
                    context.held.room(reply.room);
                    parts.headers.insert(header::CONTENT_LENGTH, first.len().into());
                    return Ok(Response::from_parts(parts, boxed(Full::new(first))));
                }
                Ok(Next::Bytes(second)) => return Ok(Response::from_parts(parts, reply.stream(vec![first, second]))),
                Err(error) => {
                    reply.close(Some("reply-refused"));
                    return Err(error);
                }
            }
        }
        if feed.is_none()
            && let Err(error) = reply.room.grow_exactly(STREAM_BYTES / WINDOW_TIMES, &self.budget).await
        {
            reply.close(Some("reply-refused"));
            return Err(error);
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
        let migrating = state
            .collections
            .iter()
            .any(|collection| !collection.field_map.strict && Some(&collection.field_map.name) == context.collection.as_ref());
        // While migrating a clear value is what is expected: it is counted, and named in what is recorded of the window.
        if tally.bad > 0 || (tally.clear_found > 0 && !migrating) {
            let code = if tally.bad > 0 { "value-not-authentic" } else { "clear-value-found" };
            let alarm = audit::Event { code: Some(code.to_owned()), subjects: subjects.clone(), ..context.event(Kind::Alarm) };
            let _recorded = self.record(alarm).await?;
            tracing::error!(
                collection = context.collection.as_ref().map(CollectionName::as_str),
                code,
                "stored values are not as they should be"
            );
        }
        if tally.compromised > 0 {
            let code = "key-compromised";
            let alarm = audit::Event { code: Some(code.to_owned()), subjects: subjects.clone(), ..context.event(Kind::Alarm) };
            let _recorded = self.record(alarm).await?;
            tracing::error!(
                collection = context.collection.as_ref().map(CollectionName::as_str),
                code,
                "stored values hang on a compromised key"
            );
        }
        let strayed = (tally.strays > 0).then(|| "stray-term".to_owned());
        if tally.shown.iter().all(|(_, level, _)| *level == Level::Absent) && strayed.is_none() {
            return Ok(None);
        }
        let mut event = context.event(Kind::Reveal);
        event.subjects = subjects;
        event.code = (migrating && tally.clear_found > 0).then(|| "clear-value-found".to_owned()).or(strayed);
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
    /// The next window, revealed and recorded.
    async fn next(&mut self) -> Result<Next, Error> {
        let Some(ends) = self.ends.clone() else { return self.next_window().await };
        let token_ends = self.token_ends;
        tokio::select! {
            biased;
            () = ends.cancelled() => Err(Error::FeedEnded),
            // Also of a feed that says nothing, of which no window is decided.
            () = tokio::time::sleep_until(token_ends.unwrap_or_else(tokio::time::Instant::now)), if token_ends.is_some() => {
                Err(Error::GrantEnded)
            }
            next = self.next_window() => next,
        }
    }

    async fn next_window(&mut self) -> Result<Next, Error> {
        loop {
            if let Some(window) = self.walker.window() {
                self.fed = self.fed.saturating_sub(window.bytes.len());
                return self.window(&window).await.map(Next::Bytes);
            }
            if self.ended {
                return Ok(Next::End);
            }
            let Ok(frame) = within(self.wait(), self.body.frame()).await else {
                if self.deadline.is_some() {
                    return Err(Error::Upstream(UpstreamError::Timeout(self.state.limits.total_timeout)));
                }
                if !std::mem::take(&mut self.held) {
                    return Ok(Next::Silence);
                }
                match self.walker.flush() {
                    Some(window) => return self.window(&window).await.map(Next::Bytes),
                    None => continue,
                }
            };
            match frame {
                None => self.finish()?,
                Some(Err(error)) => return Err(encoding::reply_error(self.status, error)),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        self.begun |= !piece.is_empty();
                        self.held = true;
                        self.fed += piece.len();
                        self.room.grow(self.fed, &self.exchange.budget).await?;
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

    /// Until when the next piece is waited for; None for ever, or rather as long as the database may be silent.
    fn wait(&self) -> Option<tokio::time::Instant> {
        let now = tokio::time::Instant::now();
        match self.deadline {
            Some(deadline) => Some(deadline),
            None if self.held => Some(now + PAUSE),
            None => self.head_waits.map(|patience| now + patience),
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
        let allowed = self.exchange.fresh_grant(&self.state, &self.session)?;
        self.session.grant = allowed.grant.clone();
        // What was handed out before, or is to come, may be about the same people.
        let whole = std::mem::replace(&mut self.extent, Extent::Part) == Extent::Whole && self.ended && self.walker.is_through();
        let collection = self.state.collections.get(self.documents.collection).ok_or(Error::Internal("no such collection"))?;
        let plan = collection.plans.get(self.documents.reply).ok_or(Error::Internal("no such row set"))?;
        let tokens = if collection.field_map.has_tokens() {
            let (state, grant) = (&self.state, &self.session.grant);
            let known = self.exchange.tokens_shown(state, &collection.field_map, plan, grant, &window.bytes, &window.layout);
            let known = known.await?;
            // Tokens are short, and what they stand for may not be.
            let more = field::bytes_shown(&collection.field_map, plan, &window.bytes, &window.layout, &known);
            if more > tokens::MOST_BYTES {
                return Err(tokens::too_much());
            }
            self.room.grow(self.fed + window.bytes.len() + more, &self.exchange.budget).await?;
            Some(known)
        } else {
            None
        };
        let revealed = field::reveal_found(
            &collection.field_map,
            plan,
            &self.state.rings(),
            allowed.rights(),
            &window.bytes,
            &window.layout,
            self.url_id.as_ref(),
            self.exchange.clock.now_ms(),
            Found {
                searched: &self.documents.search.searched,
                strip: &self.documents.search.strip,
                strip_fields: &self.documents.search.strip_members,
                tokens: tokens.as_ref(),
                // What the database has against a search is no list of documents.
                sought: self.session.sought.as_ref().filter(|_| (200..300).contains(&self.status)),
                extent: if whole { Extent::Whole } else { Extent::Part },
            },
        )?;
        self.exchange.metrics.phase(Phase::Reveal, started.elapsed());
        self.exchange.count(&self.state, &collection.field_map.name, &revealed.tally);
        let recorded = self.exchange.record_window(&self.state, &self.context, &revealed.tally, revealed.subjects).await?;
        self.check_copy(&collection.field_map, &revealed.tally)?;
        Ok(leave(revealed.bytes, recorded))
    }

    /// A value that was left out of a whole copy would be erased when the copy is written back.
    fn check_copy(&self, collection: &field::Collection, tally: &field::Tally) -> Result<(), Error> {
        if !self.documents.needs_whole_view {
            return Ok(());
        }
        let level = view::check_whole(&self.state, self.documents.collection, &self.session.grant)?;
        let clear_left_out = tally.clear_found > 0 && (collection.strict || level == Level::Sealed);
        if tally.bad > 0 || tally.compromised > 0 || tally.not_held > 0 || clear_left_out {
            Err(Error::CopyNotWhole)
        } else {
            Ok(())
        }
    }

    /// The alarm of a value that does not authenticate, where the reply is already under way. Before that, `front` records it
    /// with the status it answers.
    fn alarm(&self, error: &Error) -> Option<audit::Event> {
        let Error::Reveal(reason) = error else { return None };
        let code = Some(reason.code()).filter(|code| matches!(*code, "value-not-authentic" | "key-compromised"))?;
        self.exchange.count_alarm(&self.context, code);
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
            // An idle feed whose client is gone would keep the database busy until it says something.
            let feed = self.ends.is_some();
            let code = tokio::select! {
                code = self.send_all(&sender, ready) => code,
                () = sender.closed(), if feed => Some("client-gone"),
            };
            self.close(code);
        });
        http_body_util::StreamBody::new(Receiver { pieces: receiver, ended: false }).boxed_unsync()
    }

    async fn send_all(&mut self, sender: &mpsc::Sender<Piece>, ready: Vec<Bytes>) -> Option<&'static str> {
        self.head_waits = None;
        // A reply that has begun goes on, only later, so that no client gets half of one.
        self.room.overdraw();
        let wait = self.state.limits.write_timeout;
        let mut ready = ready.into_iter();
        let mut ended_from_outside = false;
        loop {
            let next = match ready.next() {
                Some(bytes) => Ok(Next::Bytes(bytes)),
                None => self.next().await,
            };
            let piece = match next {
                Ok(Next::Silence) => continue,
                Ok(Next::Bytes(bytes)) if bytes.is_empty() => continue,
                Ok(Next::Bytes(bytes)) => Ok(Some(bytes)),
                Ok(Next::End) => Ok(None),
                Err(error) => {
                    ended_from_outside = matches!(error, Error::FeedEnded);
                    if let Some(alarm) = self.alarm(&error)
                        && let Err(error) = self.exchange.record(alarm).await
                    {
                        tracing::error!(%error, "an alarm could not be recorded");
                    }
                    if ended_from_outside {
                        tracing::info!(exchange = %self.context.number(), "a feed was ended");
                    } else {
                        tracing::warn!(exchange = %self.context.number(), %error, "a reply was broken off");
                    }
                    Err(BodyError::from(error))
                }
            };
            let (broken, last) = (piece.is_err(), matches!(piece, Ok(None)));
            let patience = tokio::time::Instant::now() + wait;
            let patience = self.deadline.map_or(patience, |deadline| deadline.min(patience));
            match tokio::time::timeout_at(patience, sender.send(piece)).await {
                Err(_elapsed) => {
                    self.exchange.metrics.peer_given_up("reply");
                    return Some("client-too-slow");
                }
                Ok(Err(_gone)) => return Some("client-gone"),
                Ok(Ok(())) if ended_from_outside => return Some("feed-ended"),
                Ok(Ok(())) if broken => return Some("reply-broken-off"),
                Ok(Ok(())) if last => return None,
                Ok(Ok(())) => {}
            }
        }
    }
}

async fn within<F: Future>(until: Option<tokio::time::Instant>, future: F) -> Result<F::Output, tokio::time::error::Elapsed> {
    match until {
        Some(until) => tokio::time::timeout_at(until, future).await,
        None => Ok(future.await),
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
