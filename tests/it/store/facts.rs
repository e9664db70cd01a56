//! The ledger of facts over both kinds of store: two appenders at once, what other nodes learn and when, a server that is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sudare::base::{Controller, Kid, RecordId, SystemClock};
use sudare::keys::{KeyRing, LineName, State};
use sudare::store::{Rows, Store, Table};
use sudare::subject::{About, Entry, Ledger, Recorder, Says, Standing, Subject, What};

use super::Place;
use super::server::Database;

fn ledger(store: Arc<Store>) -> Arc<Ledger> {
    let controller = Controller::new("shop");
    let version = (LineName::Audit, Kid::from_random([7; 5]), State::Active, [7; 32]);
    let keys = KeyRing::with_versions(controller.clone(), vec![version]).ledger_keys();
    let rows: Arc<dyn Rows> = store.clone();
    Arc::new(Ledger::new(controller, rows, Some(store), keys, Arc::new(SystemClock)))
}

fn choice(id: &str, subject: &str, says: Says) -> Entry {
    let subject = Subject(RecordId::from_text(subject).unwrap());
    let about = About::Purpose("recommend".to_owned());
    let what = What::Choice { subject, about, says, evidence: None };
    Entry { id: id.to_owned(), at: 0, by: Recorder::Caller("crm".to_owned()), what }
}

fn stands(ledger: &Ledger, subject: &str) -> Option<Standing> {
    let now = u64::MAX - 1;
    let (statements, ..) = ledger.people().all_of(&RecordId::from_text(subject).unwrap(), now)?;
    statements.first().map(|statement| statement.standing)
}

/// Thousands of entries from two nodes: none is lost, none is there twice, and whoever reads has the same order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_append_thousands_of_entries_at_once() {
    const EACH: usize = 1_500;
    for place in [Place::redb(), Place::postgres()].into_iter().flatten() {
        let (one, other) = place.two();
        let store = Arc::clone(&other);
        // Of a file there is one holder, and so one ledger.
        let one = ledger(one);
        let other = if place.kind() == "redb" { Arc::clone(&one) } else { ledger(other) };
        let begun = Instant::now();
        let tasks = (0..8_usize).map(|task| {
            let ledger = Arc::clone(if task % 2 == 0 { &one } else { &other });
            tokio::spawn(async move {
                let mut last = 0;
                for n in (0..EACH).filter(|n| n % 4 == task / 2) {
                    let name = format!("{}-{n}", task % 2);
                    let placed = ledger.append(vec![choice(&name, &name, Says::Given)]).await.unwrap();
                    assert!(!placed[0].again && placed[0].row > last, "later entries stand later");
                    last = placed[0].row;
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let took = begun.elapsed();
        let fresh = ledger(store);
        fresh.read().await.unwrap();
        for ledger in [&one, &other, &fresh] {
            ledger.read().await.unwrap();
            let all = u64::try_from(2 * EACH).unwrap();
            assert_eq!(
                (ledger.entries(), ledger.people().len(), ledger.last()),
                (all, 2 * EACH, fresh.last()),
                "{}",
                place.kind()
            );
        }
        println!("{}: {} entries in {} rows, {took:?}", place.kind(), 2 * EACH, fresh.last());
    }
}

/// What one node records, another that follows has at once, and by itself within its poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_is_told_and_a_server_that_is_away_makes_facts_stale() {
    let Some(database) = Database::alone() else { return };
    let place = Place::Postgres(database);
    let (one, other) = place.two();
    let (one, other) = (ledger(one), ledger(other));
    one.read().await.unwrap();
    other.read().await.unwrap();
    let mut changes = other.watch().await.unwrap().unwrap();
    one.append(vec![choice("1", "c-1", Says::Given)]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), changes.changed()).await.unwrap().unwrap();
    other.read().await.unwrap();
    assert_eq!(stands(&other, "c-1"), Some(Standing::Yes));
    assert!(!other.is_stale() && other.lag_ms().unwrap() < 5_000);
    let Place::Postgres(database) = &place else { panic!("PostgreSQL") };
    database.server.stop();
    assert!(one.append(vec![choice("2", "c-1", Says::Refused)]).await.is_err(), "the store is away");
    let begun = Instant::now();
    while !other.is_stale() {
        assert!(other.read().await.is_err());
        assert!(begun.elapsed() < Duration::from_secs(7), "it does not go stale");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(other.fault().is_none(), "that is no fault of the ledger");
    database.server.start();
    one.append(vec![choice("2", "c-1", Says::Refused)]).await.unwrap();
    other.read().await.unwrap();
    assert!(!other.is_stale() && stands(&other, "c-1") == Some(Standing::No));
    let rows = place.open().list(Table::Fact, Vec::new(), None, 10).await.unwrap();
    assert_eq!(rows.len(), 2);
}
