//! Feeds: replies that last. What ends them besides the database and the client, and how one waits for them.
//!
//! A feed keeps the configuration it began with: its policy, its plans, its keys. So it ends as soon as another is in force, not
//! only when its grant has changed (T33): a value sealed under a key made since would not open in it. Clients of feeds connect
//! again and go on where they were, as they do when the database restarts.

use std::time::Instant;

use arc_swap::ArcSwap;
use http::Response;
use tokio_util::sync::CancellationToken;

use super::{Error, Exchange, State};
use crate::metrics::Counted;
use crate::upstream::{Outgoing, PassBody};

/// Ends feeds.
#[derive(Debug)]
pub(super) struct Feeds {
    all: CancellationToken,
    /// Of the configuration in force.
    current: ArcSwap<CancellationToken>,
}

impl Default for Feeds {
    fn default() -> Self {
        let all = CancellationToken::new();
        let current = ArcSwap::from_pointee(all.child_token());
        Self { all, current }
    }
}

impl Feeds {
    /// Tells a feed that begins now when it must end.
    pub(super) fn ends(&self) -> CancellationToken {
        self.current.load().as_ref().clone()
    }

    /// Ends those of the configuration that was in force.
    pub(super) fn end(&self) {
        self.current.swap(self.all.child_token().into()).cancel();
    }

    /// Ends all there are and will be.
    pub(super) fn end_all(&self) {
        self.all.cancel();
    }
}

impl Exchange {
    /// Lets another feed begin: half of all seats may be feeds, which give theirs up but not their memory.
    pub(super) fn feed(&self) -> Result<Counted, Error> {
        self.metrics.feed_begun(self.budget.seats() / 2).ok_or(Error::Overloaded("feeds"))
    }

    /// Asks the database for a feed, whose head may be long in coming.
    pub(super) async fn forward_feed(
        &self,
        state: &State,
        parts: http::request::Parts,
        body: Outgoing,
        ends: &CancellationToken,
    ) -> Result<Response<PassBody>, Error> {
        let started = Instant::now();
        tokio::select! {
            biased;
            () = ends.cancelled() => Err(Error::FeedEnded),
            outcome = state.upstream.feed(parts, body) => self.answered(state, started, outcome),
        }
    }
}
