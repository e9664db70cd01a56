//! One request, from the wire to the database and back: the whole product on one page.
//!
//! classify → identify → decide → protect → forward → reveal → record. Every step is a module; this file is the order
//! in which they come, and nothing else may talk to the database. Always holds: a body goes upstream on a protected
//! collection only as [`crate::field::ProtectedBody`]; revealed bytes leave only with [`crate::audit::Recorded`].
//!
//! Called by `front`, which turns [`Error`] into a status and a body.

mod admission;
mod ask;
mod attachment;
mod body;
mod context;
mod encoding;
mod error;
mod exception;
mod feed;
mod guard;
mod headers;
mod heavy;
mod log;
mod newest;
mod query;
mod replace;
mod reply;
mod request;
mod span;
mod state;
mod tokens;
mod view;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{self, Kind};
use crate::base::{Clock, CollectionName};
use crate::caller::Caller;
use crate::dialect::{self, Documents, Flow, Head, RequestBody, Shape};
use crate::encoding::Coding;
use crate::field::{self, Tally};
use crate::metrics::{Metrics, Phase, RouteClass};
use crate::upstream::{BodyError, Outgoing, remove_hop_by_hop};

use admission::{Failures, Seldom, Strangers};
use body::{Arriving, Late, Pace};
use guard::Guard;
use heavy::Heavy;
use request::Checked;

/// How often a search is sent at most while the keys change under it.
const MOST_SEARCHES: u32 = 4;

pub use admission::{Budget, CallerLimits, Gates, network};
pub use body::ReplyBody;

pub use crate::audit::AuditError;
pub use crate::caller::{Certificate, Fault as TokenFault, Unknown as CallerUnknown};
pub use crate::dialect::RefusedCode;
pub use crate::document::WalkError;
pub use crate::encoding::CODINGS;
pub use crate::field::{RevealError, TermError, WriteError};
pub use crate::keys::KeyError;
pub use crate::purpose::Refusal as PolicyRefusal;
pub use crate::subject::exception::Closed as ExceptionClosed;
pub use crate::upstream::{PassBody, UpstreamError};
pub use crate::vault::VaultError;
pub use context::Context;
pub use error::{Conflict, Error, Failure};
pub use log::{RequestLog, Requests};
pub use newest::Newest;
pub use span::{Ids as SpanIds, Span, Spans};
pub use state::{Collection, Limits, State};

/// Who is on the other end of the connection: as the operating system, a trusted load balancer or a verified certificate
/// tells it, never the request. Cheap to clone: one for each request.
#[derive(Debug, Clone, Default)]
pub struct Peer {
    /// User id of the process on the other end of a Unix socket.
    pub uid: Option<u32>,
    /// Its IP address; for logs, and to count credentials that were refused. It makes nobody a caller.
    pub address: Option<IpAddr>,
    /// Its certificate, after the chain has been verified.
    pub certificate: Option<Arc<Certificate>>,
}

/// What is known of who asks, beside the credential in the head of the request.
#[derive(Debug)]
struct Asker {
    peer: Peer,
    /// `Authorization`, where it holds a token for us; it is no longer among the headers.
    token: Option<http::HeaderValue>,
}

/// Carries requests from the front to the database and back.
#[derive(Debug)]
pub struct Exchange {
    state: ArcSwap<State>,
    audit: audit::Log,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    number: AtomicU64,
    ids: log::RequestIds,
    feeds: feed::Feeds,
    /// Set before a drain: every reply asks its client to come back on another connection.
    leaving: AtomicBool,
    /// Who is told of requests that are over.
    spans: Option<Arc<dyn Spans>>,
    budget: Budget,
    failures: Failures,
    told: Seldom,
    strangers: Strangers,
    heavy: Heavy,
    guard: Guard,
}

impl Exchange {
    /// An exchange that starts with `state`. Tasks that stream replies run on `tasks`, so that a drain waits for them.
    /// Bodies under way share `budget`.
    pub fn new(
        state: State,
        audit: audit::Log,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        tasks: TaskTracker,
        budget: Budget,
    ) -> Self {
        let (number, feeds) = (AtomicU64::new(1), feed::Feeds::default());
        // Ids only have to differ from those of other processes; without randomness the time does.
        let ids = log::RequestIds::new(crate::crypto::random().unwrap_or_else(|_| {
            let [.., a, b, c, d] = clock.now_ms().to_be_bytes();
            [a, b, c, d]
        }));
        let state = ArcSwap::from_pointee(state);
        let (leaving, failures, told) = (AtomicBool::new(false), Failures::new(), Seldom::default());
        let strangers = Strangers::default();
        let (heavy, spans) = (Heavy::new(), None);
        let guard = Guard::new(Arc::clone(&metrics), audit.clone(), Arc::clone(&clock));
        Self {
            state,
            audit,
            metrics,
            clock,
            tasks,
            number,
            ids,
            feeds,
            leaving,
            spans,
            budget,
            failures,
            told,
            strangers,
            heavy,
            guard,
        }
    }

    /// The same, telling somebody of requests that are over.
    #[must_use]
    pub fn followed_by(self, spans: Option<Arc<dyn Spans>>) -> Self {
        Self { spans, ..self }
    }

    /// The configuration in force.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Puts a checked configuration in force, whole (T30). Exchanges under way keep the one they began with, but for its keys
    /// (`newest`); replies that still stream go on only while the new one grants the same (T33). Feeds end: their policy is the
    /// old one.
    pub fn replace_state(&self, state: State) {
        // First: nothing may be sealed under a version that an exchange under way does not find.
        state.bring_keys();
        self.state.store(Arc::new(state));
        self.feeds.end();
    }

    /// Ends the feeds under way and those that would begin, for a shutdown: of themselves they might never end.
    pub fn end_feeds(&self) {
        self.feeds.end_all();
    }

    /// Records what the leak guard has found since it last did, before the audit log is closed.
    pub fn record_leaks(&self) {
        self.guard.record();
    }

    /// From now on replies over HTTP/1.1 end their connections, so that clients that keep theirs move to another instance
    /// before this one closes them: a request that meets a closing connection could not always be sent again (T29).
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// True once [`Self::leave`] was called.
    pub fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Handles one request whose framing `front` has checked. The reply's body holds what the request held.
    pub async fn handle<B>(self: Arc<Self>, request: Request<B>, peer: Peer) -> Result<Response<ReplyBody>, Box<Failure>>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        // In this order, so that a feed cannot begin with a configuration whose feeds have been ended.
        let ends = self.feeds.ends();
        let state = self.state.load_full();
        let mut context = Context::new(self.number.fetch_add(1, Ordering::Relaxed));
        let limits = state.limits;
        let pace = Pace { piece: limits.body_timeout, bytes_per_second: limits.body_rate, total: limits.outside_timeout };
        let mut request = request.map(|body| Arriving::new(body, pace).boxed_unsync());
        self.receive(&mut context, &mut request, &peer);
        let Some(seat) = self.metrics.begun(limits.requests.min(self.budget.seats())) else {
            return Err(Box::new(Failure { error: Error::Overloaded("requests"), context }));
        };
        let requests = state.log;
        match self.steps(state, &mut context, request, peer, ends).await {
            Ok(mut response) => {
                let status = response.status().as_u16();
                self.metrics.request(context.class.unwrap_or(RouteClass::Unclassified), context.intent, status, "");
                self.stamp(&context, &mut response);
                let (held, feed) = (std::mem::take(&mut context.held), context.feed);
                let bounds = (!feed).then_some((seat, limits.outside_timeout));
                Ok(log::answered(context, response, requests, self.spans.as_ref()).map(|body| ReplyBody::new(body, held, bounds)))
            }
            Err(error) => Err(Box::new(Failure { error, context })),
        }
    }

    /// Notes what the head says of itself, gives the request an id, and takes trace context out that is none.
    fn receive(&self, context: &mut Context, request: &mut Request<PassBody>, peer: &Peer) {
        context.started = Some(Instant::now());
        let mut about = log::About::of(request.method(), request.version(), peer);
        about.bytes_in = request.body().size_hint().exact();
        self.metrics.protocol(request.version());
        let headers = request.headers_mut();
        let id = self.ids.of(headers, context.exchange);
        headers.insert(log::REQUEST_ID, id.clone());
        (about.request_id, about.trace) = (Some(id), log::trace(headers));
        if let Some(spans) = &self.spans {
            context.span = span::begin(&**spans, headers, about.trace.as_ref());
        }
        context.about = about;
    }

    /// Tells the client the request's id; while leaving, also that the connection ends with this reply.
    pub fn stamp<B>(&self, context: &Context, response: &mut Response<B>) {
        if let Some(id) = &context.about.request_id {
            response.headers_mut().insert(log::REQUEST_ID, id.clone());
        }
        if self.leaving() && context.about.version.is_none_or(|version| version <= http::Version::HTTP_11) {
            response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
        }
    }

    async fn steps(
        self: &Arc<Self>,
        state: Arc<State>,
        context: &mut Context,
        request: Request<PassBody>,
        peer: Peer,
        ends: CancellationToken,
    ) -> Result<Response<PassBody>, Error> {
        let (mut parts, body) = request.into_parts();
        headers::check(&parts.headers)?;
        headers::check_expectation(&parts.headers)?;
        let asker = Asker { peer, token: state.take_token(&mut parts.headers)? };
        let shape = {
            let target = dialect::canonical_target(&parts.method, &parts.uri)?;
            state.dialect.classify(Head {
                method: &parts.method,
                path: target.path,
                query: target.query,
                headers: &parts.headers,
            })
        };
        self.metrics.phase(Phase::Classify, context.took());
        match shape {
            Shape::Refused(refused) => {
                context.class = Some(RouteClass::Refused);
                context.collection = refused.collection.and_then(|index| state.collection_name(index));
                Err(Error::Dialect(refused))
            }
            Shape::Outside => {
                context.route = Some("outside");
                context.class = Some(RouteClass::Outside);
                self.pass(&state, context, parts, body, &asker).await
            }
            Shape::Neutral { collection } => {
                context.route = Some("neutral");
                context.class = Some(RouteClass::Neutral);
                context.collection = state.collection_name(collection);
                let bodiless = parts.method == http::Method::OPTIONS;
                if bodiless && !body.is_end_stream() {
                    return Err(Error::BodyUnexpected);
                }
                let mut parts = parts;
                if bodiless {
                    // Browsers ask before they search, with the value that is searched in the query (T14). Methods are the path's.
                    headers::strip_targets_as_sent(&mut parts.headers);
                    parts.uri = query::without_query(&parts.uri)?;
                }
                let mut response = self.pass(&state, context, parts, body, &asker).await?;
                if bodiless {
                    // What methods there are stands in the head; a body could be a document all the same (T5).
                    reply::empty(&mut response);
                }
                Ok(response)
            }
            Shape::Documents(mut documents) => {
                context.enter(&state, &documents);
                let started = Instant::now();
                let mut session = self.decide(&state, context, &documents, &parts.headers, &asker)?;
                self.metrics.phase(Phase::Decide, started.elapsed());
                let coding = if documents.request == RequestBody::None { None } else { encoding::of_request(&parts.headers)? };
                headers::prepare_documents(&mut parts.headers, parts.version, &documents, &state.purpose_header)?;
                let host = parts.headers.get(http::header::HOST).cloned();
                // In boxes, here and below: this future is moved to the heap for every request, and without them that is ten kilobytes
                // (docs/decisions/0037).
                let replied = self.ask_database(&state, context, &mut session, &mut documents, (parts, body, coding), &ends);
                let response = Box::pin(replied).await?;
                headers::check_redirect(response.status(), response.headers(), host.as_ref())?;
                Box::pin(self.reveal(state, context, session, documents, response, ends)).await
            }
            Shape::Attachment(attachment) => Box::pin(self.attachment(&state, context, &attachment, parts, body, &asker)).await,
        }
    }

    /// Protects what goes to the database, sends it, and waits for the head of the reply.
    ///
    /// A search is sent again if the keys changed meanwhile: what is under way finds nothing under a version that it was not asked for, and
    /// documents may have been written anew under one.
    async fn ask_database(
        &self,
        state: &State,
        context: &mut Context,
        session: &mut request::Session,
        documents: &mut Documents,
        (mut parts, body, coding): (http::request::Parts, PassBody, Option<Coding>),
        ends: &CancellationToken,
    ) -> Result<Response<PassBody>, Error> {
        let mut body = Some(body);
        let mut received = Bytes::new();
        let mut tries = MOST_SEARCHES;
        loop {
            tries -= 1;
            let asked_under = Arc::clone(&state.rings());
            let again = (tries > 0 && documents.may_search()).then(|| (documents.clone(), parts.clone()));
            self.look_up(state, session, documents, &mut parts.uri).await?;
            self.judge_view(state, session, &parts.headers, &mut parts.uri, documents).await?;
            if let Some(body) = body.take() {
                received = self.read_body(state, context, body, coding).await?;
            }
            let sent = if again.is_some() { received.clone() } else { std::mem::take(&mut received) };
            let checked = match documents.request {
                RequestBody::Query { row_set } => Checked::Ready(self.search(state, session, documents, row_set, &sent).await?),
                RequestBody::None | RequestBody::Plain { .. } | RequestBody::Patch { .. } | RequestBody::Documents { .. } => {
                    self.protect(state, context, session, documents, sent).await?
                }
            };
            let response = match checked {
                Checked::Ready(outgoing) => match documents.flow {
                    Flow::Whole => self.forward(state, parts, outgoing).await?,
                    Flow::Feed(_) => {
                        context.held.feed(self.feed()?);
                        return Box::pin(self.forward_feed(state, parts, outgoing, ends)).await;
                    }
                },
                Checked::Over(draft) => Box::pin(self.replace(state, context, session, documents, parts, draft)).await?,
            };
            match again {
                Some(again) if !documents.search.searched.is_empty() && !Arc::ptr_eq(&asked_under, &state.rings()) => {
                    (*documents, parts) = again;
                }
                _ => return Ok(response),
            }
        }
    }

    /// Streams a request that carries no protected documents, both ways untouched.
    async fn pass(
        &self,
        state: &State,
        context: &mut Context,
        mut parts: http::request::Parts,
        body: PassBody,
        asker: &Asker,
    ) -> Result<Response<PassBody>, Error> {
        // With `[upstream] auth` the proxy lends the database's own credential: to callers it knows, for looking at what a
        // protected collection is (counts, schema). Whatever else passes brings its own, or it would have the rights of an
        // administrator of the database (its configuration, its users, other databases).
        let looks = parts.method == Method::GET || parts.method == Method::HEAD;
        let lent = if state.lends_credential && looks && context.class == Some(RouteClass::Neutral) && body.is_end_stream() {
            match self.identify(state, context, &parts.headers, asker, self.clock.now_ms()) {
                Ok(_known) => true,
                Err(shed) if shed.is_shed() => return Err(shed),
                Err(_unknown) => false,
            }
        } else {
            false
        };
        headers::prepare_pass(&mut parts.headers, parts.version, &state.purpose_header);
        let outgoing = if lent { Outgoing::Empty } else { Outgoing::Passed(body) };
        let mut response = self.forward(state, parts, outgoing).await?;
        remove_hop_by_hop(response.headers_mut());
        Ok(response)
    }

    /// Asks the database.
    async fn forward(&self, state: &State, parts: http::request::Parts, body: Outgoing) -> Result<Response<PassBody>, Error> {
        let started = Instant::now();
        let outcome = state.upstream.send(parts, body).await;
        self.answered(state, started, outcome)
    }

    /// Counts how a request to the database went. (No future that takes another one: it would have room for it twice.)
    fn answered(
        &self,
        state: &State,
        started: Instant,
        outcome: Result<Response<PassBody>, UpstreamError>,
    ) -> Result<Response<PassBody>, Error> {
        self.metrics.upstream_circuit(state.upstream.circuit_open());
        match &outcome {
            Ok(_) => self.metrics.upstream_answered(started.elapsed()),
            Err(UpstreamError::Connect(..)) => self.metrics.upstream_failed("connect"),
            Err(UpstreamError::Tls(..)) => self.metrics.upstream_failed("tls"),
            Err(UpstreamError::CircuitOpen(_)) => self.metrics.upstream_failed("circuit-open"),
            Err(UpstreamError::Busy(_)) => self.metrics.upstream_failed("busy"),
            Err(UpstreamError::Timeout(_)) => self.metrics.upstream_failed("timeout"),
            Err(UpstreamError::Broken(_)) => self.metrics.upstream_failed("broken"),
            // The client broke off, not the database.
            Err(UpstreamError::RequestBody(why)) => return Err(self.body_broken(why, state)),
            Err(_) => self.metrics.upstream_failed("store"),
        }
        outcome.map_err(Error::Upstream)
    }

    /// The time by the proxy's clock.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Why a request body ended before its end.
    fn body_broken(&self, why: &BodyError, state: &State) -> Error {
        if !why.is::<Late>() {
            return Error::BodyBroken;
        }
        self.metrics.peer_given_up("body");
        Error::BodyTimeout { ms: state.limits.body_timeout.as_millis() }
    }

    /// Makes an event durable.
    async fn record(&self, event: audit::Event) -> Result<audit::Recorded, Error> {
        let started = Instant::now();
        let outcome = self.audit.record(event).await;
        match &outcome {
            Ok(_) => self.metrics.audit_committed(started.elapsed()),
            Err(_) => self.metrics.audit_failed(),
        }
        outcome.map_err(Error::Audit)
    }

    /// Counts what was done to the values of a window or a body.
    fn count(&self, state: &State, collection: &CollectionName, tally: &Tally) {
        for (category, level, count) in &tally.shown {
            if let Some((name, counters)) = state.category(*category) {
                self.metrics.values_shown(counters, name, level.as_str(), *count);
            }
        }
        for (category, count) in &tally.protected {
            if let Some((name, counters)) = state.category(*category) {
                self.metrics.values_protected(counters, name, *count);
            }
        }
        if tally.kept > 0 {
            self.metrics.values_kept(tally.kept);
        }
        if tally.clear_found > 0 {
            self.metrics.clear_found(collection, tally.clear_found);
        }
        if tally.bad > 0 {
            self.metrics.bad_values(collection, tally.bad);
        }
        if tally.strays > 0 {
            self.metrics.strays(collection, tally.strays);
        }
        if tally.not_held > 0 {
            self.metrics.values_not_held(collection, tally.not_held);
        }
        if tally.compromised > 0 {
            self.metrics.compromised_values(collection, tally.compromised);
        }
    }

    /// Counts the one value for which a reply was refused; no tally comes of such a reply.
    fn count_alarm(&self, context: &Context, code: &'static str) {
        match (&context.collection, code) {
            (Some(collection), "key-compromised") => self.metrics.compromised_values(collection, 1),
            (Some(collection), _) => self.metrics.bad_values(collection, 1),
            (None, _) => {}
        }
    }

    /// Who asks, and what the policy allows this request.
    fn decide(
        &self,
        state: &State,
        context: &mut Context,
        documents: &Documents,
        headers: &http::HeaderMap,
        asker: &Asker,
    ) -> Result<request::Session, Error> {
        let session = self.grant(state, context, headers, asker)?;
        let grant = &session.grant;
        let collection = state.collections.get(documents.collection).ok_or(Error::Internal("no such collection"))?;
        exception::check(grant, session.used.as_ref(), collection, documents)?;
        if documents.needs_whole_view {
            view::check_whole(state, documents.collection, grant)?;
        }
        // Of a delete that names no document, the body says which.
        if documents.intent == crate::base::Intent::Delete {
            let allowed = request::Allowed::now(state, grant.clone(), self.clock.now_ms())?;
            match request::url_id(documents)? {
                Some(id) => field::may_remove(&collection.field_map, allowed.rights(), Some(&id))?,
                None if grant.at_most().may_delete() => {}
                None => field::may_remove(&collection.field_map, grant, None)?,
            }
        }
        Ok(session)
    }

    /// Who asks, for what purpose, and what that allows.
    fn grant(
        &self,
        state: &State,
        context: &mut Context,
        headers: &http::HeaderMap,
        asker: &Asker,
    ) -> Result<request::Session, Error> {
        let now_ms = self.clock.now_ms();
        let caller = self.identify(state, context, headers, asker, now_ms)?;
        let declared = headers::purpose(headers, &state.purpose_header)?;
        let (grant, used) = request::decide(state, &caller, declared, now_ms)?;
        context.purpose = Some(grant.purpose().clone());
        context.exception = grant.exception().map(|(id, _)| id.clone());
        context.policy = Some(state.policy.version());
        state.facts_are_fresh(&grant)?;
        Ok(request::Session { caller, declared: declared.map(str::to_owned), grant, used, sought: None, counted: false })
    }

    /// Who asks; and may ask now, by the limits of that caller and of the address that it comes from.
    fn identify(
        &self,
        state: &State,
        context: &mut Context,
        headers: &http::HeaderMap,
        asker: &Asker,
        now_ms: u64,
    ) -> Result<Caller, Error> {
        let watched = state.limits.failures_per_minute.zip(asker.peer.address);
        if let Some((most, address)) = watched {
            self.failures.too_many(address, most, now_ms)?;
        }
        let caller = state.identify(headers, asker, now_ms).inspect_err(|unknown| {
            // An old token is no attempt at anything; a forged one is.
            let tried = matches!(unknown, CallerUnknown::Refused | CallerUnknown::Token { fault: TokenFault::Signature, .. });
            if let (true, Some((_, address))) = (tried, watched) {
                self.failures.count(address, now_ms);
            }
            if let CallerUnknown::Token { issuer, fault } = unknown {
                let reason = fault.as_str();
                self.metrics.token_refused(issuer, reason);
                tracing::info!(exchange = %context.number(), %issuer, reason, "a token was refused");
            }
        })?;
        context.caller = Some(caller.name.clone());
        if let Some(place) = state.gates.enter(&caller.name)? {
            context.held.place(place);
        }
        Ok(caller)
    }

    /// For a request that cannot even be read, because its connection has no memory for it.
    pub fn full(&self) -> Failure {
        let context = Context::new(self.number.fetch_add(1, Ordering::Relaxed));
        Failure { error: Error::Overloaded("memory"), context }
    }

    /// Counts a request that was turned away for there being too much ([`Error::is_shed`]), with the status `front` chose.
    pub fn shed(&self, error: &Error, context: &Context, status: u16, code: &'static str) {
        self.metrics.request(context.class.unwrap_or(RouteClass::Unclassified), context.intent, status, code);
        if let Error::RateLimited { limit, .. } = error {
            self.metrics.limited(limit);
        }
        if let Error::Overloaded(used_up) = error {
            self.metrics.shed(used_up);
            if self.told.due(self.clock.now_ms()) {
                tracing::warn!(used_up, "the proxy is at a limit and turns requests away; /metrics counts them");
            }
        }
    }

    /// Records what a request was refused for, with the status `front` chose. Waits for alarms only: a refusal shows nothing.
    pub async fn refused(&self, context: &Context, status: u16, code: &'static str, alarm: bool) {
        self.metrics.request(context.class.unwrap_or(RouteClass::Unclassified), context.intent, status, code);
        log::refused(context, status, code, self.state.load().log, self.spans.as_deref());
        let kind = if alarm { Kind::Alarm } else { Kind::Refused };
        if alarm {
            self.count_alarm(context, code);
        }
        let event = audit::Event { status: Some(status), code: Some(code.to_owned()), ..context.event(kind) };
        if alarm {
            if let Err(error) = self.record(event).await {
                tracing::error!(%error, "an alarm could not be recorded");
            }
        } else if context.caller.is_some() || self.strangers.is_recorded(self.clock.now_ms()) {
            self.audit.note(event);
        }
    }
}
