//! One configuration as run: built whole by `app`, swapped whole (T30).

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;

use crate::base::{CategoryName, CollectionName};
use crate::caller::{Caller, Callers, Presented, Unknown};
use crate::dialect::Dialect;
use crate::field;
use crate::keys::fleet::Standing;
use crate::keys::{Operator, Rings};
use crate::metrics::OfCategory;
use crate::purpose::{CategoryId, Grant, Known, Policy, facts};
use crate::store::Rows;
use crate::subject::{Ledger, Question};
use crate::upstream::Upstream;

use super::{Asker, Error, Gates, Newest, RequestLog, headers};

/// Everything one exchange needs to know.
#[derive(Debug)]
pub struct State {
    /// How the database's API carries documents.
    pub dialect: Arc<dyn Dialect>,
    /// In the order of the dialect's routes.
    pub collections: Vec<Collection>,
    /// Who may see what.
    pub policy: Arc<Policy>,
    /// Counters of the policy's categories.
    pub counters: Vec<OfCategory>,
    /// Who may ask.
    pub callers: Callers,
    /// The rings it was built with, each of one revision. What is used is the newest.
    pub keys: Arc<Rings>,
    /// Keeps what tokens stand for; with the newest keys it is the vault.
    pub store: Arc<dyn Rows>,
    /// What is known of data subjects.
    pub ledger: Arc<Ledger>,
    /// Who may sign for exceptions.
    pub operators: Vec<Operator>,
    /// The newest rings, whatever this one was built with.
    pub newest: Newest,
    /// Whether it is new enough to protect under.
    pub standing: Arc<Standing>,
    /// The database.
    pub upstream: Upstream,
    /// True if `[upstream] auth` is set.
    pub lends_credential: bool,
    /// Name of the header that declares the purpose.
    pub purpose_header: http::HeaderName,
    /// Bounds on bodies and time.
    pub limits: Limits,
    /// Bounds on single callers.
    pub gates: Gates,
    /// Which requests are written down.
    pub log: RequestLog,
    /// How many of a thousand written documents the leak guard looks at.
    pub leak_guard_per_mille: u16,
}

/// A protected collection with the plan of each of the dialect's row sets.
#[derive(Debug)]
pub struct Collection {
    /// Fields, binding, strictness.
    pub field_map: field::Collection,
    /// One per row set.
    pub plans: Vec<field::Plan>,
}

/// Bounds of one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest request body on a protected collection, in bytes.
    pub body_bytes: usize,
    /// Most bytes that a compressed body may come to for each one that came.
    pub decompress_ratio: usize,
    /// Longest wait for the next piece of a request body.
    pub body_timeout: Duration,
    /// Beyond that, a body has a second for so many bytes of it that came; 0 for as long as it likes.
    pub body_rate: u32,
    /// Longest time an exchange on a protected collection may take, from its head to the end of the reply.
    pub total_timeout: Duration,
    /// Longest time any other exchange may take.
    pub outside_timeout: Duration,
    /// Longest time a client may leave a piece of a reply unread.
    pub write_timeout: Duration,
    /// Requests under way at a time.
    pub requests: usize,
    /// Refused credentials a minute from one address; after that it is not listened to.
    pub failures_per_minute: Option<NonZeroU32>,
}

impl State {
    /// Name of the collection at an index of the dialect's routes.
    pub(super) fn collection_name(&self, index: usize) -> Option<CollectionName> {
        self.collections.get(index).map(|collection| collection.field_map.name.clone())
    }

    /// Name of a category for the audit.
    pub(super) fn category_name(&self, id: CategoryId) -> Option<CategoryName> {
        self.policy.categories().get(usize::from(id.0)).map(|category| category.name.clone())
    }

    /// The name of a category, and its counters.
    pub(super) fn category(&self, id: CategoryId) -> Option<(&CategoryName, &OfCategory)> {
        let at = usize::from(id.0);
        self.policy.categories().get(at).map(|category| &category.name).zip(self.counters.get(at))
    }

    /// Says what holds of data subjects for a grant of this policy, from now on: asked for with each grant, and kept no longer than it.
    ///
    /// # Errors
    ///
    /// [`Error::FactsStale`]: it turns on what is known of people, and this node may lack what another one has recorded.
    pub fn known(&self, grant: &Grant, now_ms: u64) -> Result<Arc<dyn Known>, Error> {
        self.facts_are_fresh(grant)?;
        if let Some((id, _)) = grant.exception() {
            // Of people it knows only whether it names them.
            return Ok(self.ledger.exceptions().named(id));
        }
        Ok(Arc::new(Question::new(self.ledger.people(), &self.policy, grant, now_ms)))
    }

    /// Does the grant turn on nothing that this node may not know?
    pub(super) fn facts_are_fresh(&self, grant: &Grant) -> Result<(), Error> {
        if !grant.differs_by_row() || !self.ledger.is_stale() {
            return Ok(());
        }
        let combined = self.policy.facts().id(facts::COMBINED);
        if grant.turns_on().any(|fact| Some(fact) != combined) { Err(Error::FactsStale) } else { Ok(()) }
    }

    /// Takes the token from the head of a request, if it says to be from one of our issuers: it is ours, and nobody else is to
    /// see it. What else `Authorization` may hold is for the database.
    pub(super) fn take_token(&self, headers: &mut http::HeaderMap) -> Result<Option<HeaderValue>, Error> {
        if !self.callers.take_tokens() {
            return Ok(None);
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(first) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Error::Head("there are two Authorization headers; send one"));
        }
        if self.callers.token_in(first.as_bytes()).is_none() {
            return Ok(None);
        }
        Ok(headers.remove(AUTHORIZATION))
    }

    /// Who asks. Only the credential header, a token of ours and what is known of the connection's other end count;
    /// forwarded-identity headers are never read.
    pub(super) fn identify(&self, headers: &http::HeaderMap, asker: &Asker, now_ms: u64) -> Result<Caller, Unknown> {
        let credentials: Vec<&[u8]> = headers.get_all(headers::CREDENTIAL).iter().map(HeaderValue::as_bytes).collect();
        self.callers.identify(&Presented {
            credentials: &credentials,
            uid: asker.peer.uid,
            certificate: asker.peer.certificate.as_deref(),
            token: asker.token.as_ref().and_then(|value| self.callers.token_in(value.as_bytes())),
            now_ms,
        })
    }
}
