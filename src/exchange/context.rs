//! What is known of an exchange so far, for its audit events and log lines. Names only, never a value.

use std::time::{Duration, Instant};

use crate::audit::{Event, Kind};
use crate::base::{CallerName, CollectionName, ExceptionId, Intent, PurposeName};
use crate::dialect::Documents;
use crate::metrics::RouteClass;

use super::State;
use super::admission::Held;
use super::log::About;
use super::span::Ids;

/// The names that go into events and logs.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Number of the exchange, unique in this process.
    pub exchange: u64,
    /// Who asks, once identified.
    pub caller: Option<CallerName>,
    /// The purpose granted; under an exception, its name in the policy.
    pub purpose: Option<PurposeName>,
    /// The version of the policy that allows it.
    pub policy: Option<u64>,
    /// The exception that is used.
    pub exception: Option<ExceptionId>,
    /// The protected collection, if it is one.
    pub collection: Option<CollectionName>,
    /// Method and route pattern; never the raw target (T14).
    pub route: Option<&'static str>,
    /// What the dialect made of the request.
    pub class: Option<RouteClass>,
    /// What it does to documents.
    pub intent: Option<Intent>,
    /// What it holds until its reply has left.
    pub(super) held: Held,
    /// The reply is a feed, which may last for days: it gives up its seat when its head leaves.
    pub(super) feed: bool,
    /// What its head says of itself.
    pub(super) about: About,
    /// When it began.
    pub(super) started: Option<Instant>,
    /// Which span it is, if anybody follows it.
    pub(super) span: Option<Ids>,
}

impl Context {
    /// Of an exchange of which nothing but its number is known.
    pub fn new(exchange: u64) -> Self {
        Self { exchange, ..Self::default() }
    }

    /// The number as the audit log writes it.
    pub fn number(&self) -> impl std::fmt::Display {
        let exchange = self.exchange;
        std::fmt::from_fn(move |out| write!(out, "{exchange:016x}"))
    }

    /// How long it has been going on.
    pub(super) fn took(&self) -> Duration {
        self.started.map(|started| started.elapsed()).unwrap_or_default()
    }

    /// Notes the collection and route of a classified request.
    pub(super) fn enter(&mut self, state: &State, documents: &Documents) {
        self.collection = state.collection_name(documents.collection);
        self.route = Some(documents.route);
        self.class = Some(RouteClass::Documents);
        self.intent = Some(documents.intent);
    }

    /// An event of this exchange, with nothing in it yet but the names.
    pub(super) fn event(&self, kind: Kind) -> Event {
        Event {
            caller: self.caller.clone(),
            purpose: self.purpose.clone(),
            policy: self.policy.filter(|_| matches!(kind, Kind::Write | Kind::Reveal)),
            exception: self.exception.clone(),
            collection: self.collection.clone(),
            route: self.route.map(str::to_owned),
            ..Event::new(kind, self.exchange)
        }
    }
}
