//! The ledger of facts on this node: read whole before anything is served, then followed.
//!
//! Always holds: a ledger that is shorter than the store remembers, or that is not believed, is refused at start; while requests are served
//! it makes the facts stale, which the log tells once and `/readyz` as long as it lasts. Where the store is a file there is nobody to
//! follow. Called by [`super::Running`].

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::StartError;
use super::fleet::changed;
use crate::admin::Condition;
use crate::base::Clock;
use crate::config::Settings;
use crate::exchange::Exchange;
use crate::keys::Rings;
use crate::metrics::Facts as Counted;
use crate::purpose::{Policy, facts};
use crate::store::{Changes, Rows, Store};
use crate::subject::{AHEAD_MS, Ledger, LedgerError};

/// How often the ledger is read though nobody announced anything.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Longest time for one reading, so that a store that hangs is asked again.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// Opens the ledger and reads it whole. Blocks.
pub(super) fn open(
    settings: &Settings,
    keys: &Rings,
    rows: Arc<dyn Rows>,
    store: &Arc<Store>,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Ledger>, StartError> {
    let keys = keys.main().ledger_keys();
    let ledger = Ledger::new(settings.controller.clone(), rows, Some(Arc::clone(store)), keys, Arc::clone(clock));
    ledger.read_blocking()?;
    Ok(Arc::new(ledger))
}

/// Goes on reading until the end, where other nodes may write.
pub(super) fn follow(ledger: &Arc<Ledger>, store: &Store, tasks: &TaskTracker, end: CancellationToken) {
    if !store.is_shared() {
        return;
    }
    let ledger = Arc::clone(ledger);
    tasks.spawn(async move {
        tokio::select! {
            () = end.cancelled() => {}
            () = keep(&ledger) => {}
        }
    });
}

async fn keep(ledger: &Ledger) {
    let mut changes: Option<Changes> = None;
    let mut stale = false;
    loop {
        if changes.is_none() {
            changes = tokio::time::timeout(READ_WITHIN, ledger.watch()).await.ok().and_then(Result::ok).flatten();
        }
        let read = tokio::time::timeout(READ_WITHIN, ledger.read()).await;
        if ledger.is_stale() != stale {
            stale = !stale;
            tell(stale, ledger, read.ok().and_then(Result::err).as_ref());
        }
        tokio::select! {
            () = tokio::time::sleep(READ_EVERY) => {}
            () = changed(&mut changes) => {}
        }
    }
}

fn tell(stale: bool, ledger: &Ledger, error: Option<&LedgerError>) {
    if !stale {
        tracing::info!(row = ledger.last(), "the facts of data subjects are fresh again");
        return;
    }
    let why = error.map_or_else(|| "the store did not answer".to_owned(), ToString::to_string);
    tracing::error!(
        row = ledger.last(),
        why,
        "the facts of data subjects are stale: what turns on them is refused until they are fresh"
    );
}

/// For `/readyz`. Stale facts take a node out of service only if its policy asks for any.
pub(super) fn condition(exchange: &Exchange, ledger: &Ledger) -> Condition {
    let stale = match (ledger.fault(), ledger.lag_ms()) {
        (Some(fault), _) => Some(fault.to_string()),
        (None, None) => Some("the ledger was not read yet".to_owned()),
        (None, Some(lag)) if ledger.is_stale() => {
            Some(format!("the ledger was last read whole {} s ago: what turns on facts of people is refused", lag / 1000))
        }
        (None, Some(_fresh)) => None,
    };
    match stale {
        Some(why) if turns_on_people(&exchange.state().policy) => Condition::NotReady(why),
        Some(why) => Condition::Warning(why),
        None if ledger.clock_behind_ms() > AHEAD_MS => Condition::Warning(format!(
            "the newest row of the ledger was recorded {} s ahead of this machine's clock: set the clock that is wrong",
            ledger.clock_behind_ms() / 1000
        )),
        None => Condition::Ready,
    }
}

/// Does any grant of the policy turn on what is known of people?
fn turns_on_people(policy: &Policy) -> bool {
    let combined = policy.facts().id(facts::COMBINED);
    policy.callers().into_iter().any(|caller| {
        policy.purposes_of(caller).iter().any(|purpose| {
            let grant = policy.decide(caller, Some(purpose.as_str()), 0);
            grant.is_ok_and(|grant| grant.turns_on().any(|fact| Some(fact) != combined))
        })
    })
}

/// For the metrics.
pub(super) fn counted(ledger: &Ledger) -> Counted {
    Counted {
        entries: ledger.entries(),
        subjects: ledger.people().len(),
        lag: ledger.lag_ms().map(Duration::from_millis),
        stale: ledger.is_stale(),
    }
}
