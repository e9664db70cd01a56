//! For how long a ring may be used on the word of the provider that keeps its KEK.
//!
//! A provider's answer is good until the *soft limit*; then it is asked again whether it still unwraps the ring's root. As long as it
//! cannot be asked the ring goes on serving, until the *hard limit*: then its secrets are dropped, overwritten, and every use of them is
//! [`KeyError::Dropped`], which clients see as 503. Once the provider answers again, the same ring takes its secrets back.
//!
//! A ring under a file or a passphrase has no custody: nobody could take those back. Always holds: one question at a time for a ring
//! (T20), and whoever waited for it has its answer; an answer that is not the root that the ring was opened with confirms nothing.
//! The clock is the machine's monotonic one. Nothing here runs by itself: `app` asks, on threads that may block.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::kek::provider::{Binding, Provider, ProviderError, Wrapped};
use super::{Config, KeyError, kek};
use crate::crypto::{self, Secret};

/// How long an answer of the provider is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustodyLimits {
    /// After this it is asked again.
    pub soft: Duration,
    /// After this without an answer the keys are dropped.
    pub hard: Duration,
    /// What its refusal does.
    pub denied: Denied,
}

impl Default for CustodyLimits {
    fn default() -> Self {
        Self { soft: Duration::from_mins(15), hard: Duration::from_hours(1), denied: Denied::Drops }
    }
}

/// What it means that the provider refuses the key, rather than not answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Somebody took it away: the keys are dropped at once.
    Drops,
    /// The same as no answer: they are dropped at the hard limit.
    Waits,
}

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The provider's last answer was good.
    Confirmed {
        /// How long ago.
        ago: Duration,
    },
    /// Its last answer was not, or there was none; the ring goes on serving.
    Unconfirmed {
        /// A fixed word ([`ProviderError::as_str`]).
        why: &'static str,
        /// Since the last good answer.
        ago: Duration,
        /// Until the keys are dropped.
        left: Duration,
    },
    /// The keys are dropped.
    Dropped {
        /// In words.
        why: &'static str,
    },
}

/// The custody of one opened ring.
#[derive(Debug)]
pub struct Custody {
    config: Config,
    provider: Arc<dyn Provider>,
    binding: Binding,
    wrapped: Wrapped,
    /// SHA-256 of the root that it unwrapped when the ring was opened.
    commitment: [u8; 32],
    limits: CustodyLimits,
    state: Mutex<State>,
    /// Held while the provider is asked.
    flight: Mutex<()>,
}

#[derive(Debug)]
struct State {
    confirmed: Instant,
    trouble: Option<&'static str>,
    dropped: Option<&'static str>,
    /// The last answer, and when it came.
    last: Option<(Instant, Result<(), ProviderError>)>,
}

impl State {
    fn confirmed_now() -> Self {
        Self { confirmed: Instant::now(), trouble: None, dropped: None, last: None }
    }
}

/// What a custody is about: found out when the ring was opened.
pub(super) struct Entrusted {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) binding: Binding,
    pub(super) wrapped: Wrapped,
    pub(super) limits: CustodyLimits,
}

impl Custody {
    /// Of a ring whose root has just been unwrapped.
    pub(super) fn new(config: &Config, entrusted: Entrusted, root: &Secret) -> Self {
        let Entrusted { provider, binding, wrapped, limits } = entrusted;
        Self {
            config: config.clone(),
            provider,
            binding,
            wrapped,
            commitment: crypto::sha256(root.expose()),
            limits,
            state: Mutex::new(State::confirmed_now()),
            flight: Mutex::new(()),
        }
    }

    /// What the ring is opened with.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Its limits.
    pub fn limits(&self) -> CustodyLimits {
        self.limits
    }

    /// The provider's word.
    pub fn provider(&self) -> &'static str {
        self.provider.name().as_str()
    }

    /// How it stands now.
    pub fn standing(&self) -> Standing {
        let state = self.state();
        let ago = state.confirmed.elapsed();
        match (state.dropped, state.trouble) {
            (Some(why), _) => Standing::Dropped { why },
            (None, Some(why)) => Standing::Unconfirmed { why, ago, left: self.limits.hard.saturating_sub(ago) },
            (None, None) => Standing::Confirmed { ago },
        }
    }

    /// Asks the provider whether it still unwraps the ring's root, and compares what it gives. Blocks.
    ///
    /// # Errors
    ///
    /// [`KeyError::Provider`].
    pub(super) fn confirm(&self) -> Result<(), KeyError> {
        let asked = Instant::now();
        let _flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        // Who waited for another's question has its answer, whatever it was.
        let shared = self.state().last.as_ref().filter(|(answered, _)| *answered > asked).map(|(_, answer)| answer.clone());
        let answer = shared.unwrap_or_else(|| {
            let asked = Instant::now();
            let answer = self.ask();
            let mut state = self.state();
            match &answer {
                // The answer is as old as the question.
                Ok(()) => (state.confirmed, state.trouble) = (asked, None),
                Err(error) => state.trouble = Some(error.as_str()),
            }
            state.last = Some((Instant::now(), answer.clone()));
            answer
        });
        answer.map_err(|error| kek::failed(self.provider.as_ref(), self.config.ring.shown(), error))
    }

    fn ask(&self) -> Result<(), ProviderError> {
        let root = self.provider.unwrap(&self.binding, &self.wrapped)?;
        if crypto::constant_time_eq(&crypto::sha256(root.expose()), &self.commitment) {
            Ok(())
        } else {
            Err(ProviderError::Lied("it unwraps the same root to something else than before"))
        }
    }

    /// Keeps our access to the provider alive; says when to come again. Blocks.
    ///
    /// # Errors
    ///
    /// [`KeyError::Provider`].
    pub fn tend(&self) -> Result<Option<Duration>, KeyError> {
        self.provider.tend().map_err(|error| kek::failed(self.provider.as_ref(), self.config.ring.shown(), error))
    }

    pub(super) fn dropped(&self) -> Option<&'static str> {
        self.state().dropped
    }

    pub(super) fn drop_for(&self, why: &'static str) {
        self.state().dropped = Some(why);
    }

    /// It has just been opened anew, which took the provider's word.
    pub(super) fn regained(&self) {
        *self.state() = State::confirmed_now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
