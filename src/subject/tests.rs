//! What the tests share: a store in memory, entries in short, a policy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::entry::{About, Entry, Recorder, Says, Subject, Under, What};
use super::*;
use crate::base::{CallerName, CategoryName, Controller, FixedClock, Kid, PurposeName, RecordId};
use crate::keys::{KeyRing, LineName, State};
use crate::purpose::{
    AgeSpec, CategorySpec, Collects, Consent, FactSpec, Level, LimitSpec, Nature, Policy, PolicySpec, PurposeSpec, RecipientSpec,
    Terms,
};
use crate::store::{Answer, Change, Claim, Claimed, Row, Rows, StoreError, Swap, Swapped, Table};

mod appending;
mod posting;
mod standing;

const NOW: u64 = 1_800_000_000_000;

/// Keeps rows in memory; fails as it is told.
#[derive(Debug, Default)]
struct Memory {
    rows: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    down: AtomicBool,
    /// The next so many claims take place, and are answered with an error.
    untold: AtomicU32,
}

impl Memory {
    fn edit(&self, edit: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) {
        edit(&mut self.rows.lock().unwrap());
    }

    fn down() -> StoreError {
        StoreError::Failed("memory".to_owned(), "down".to_owned())
    }
}

impl Rows for Memory {
    fn claim(&self, table: Table, claims: Vec<Claim>) -> Answer<'_, Vec<Claimed>> {
        assert_eq!(table, Table::Fact);
        if self.down.load(Ordering::SeqCst) {
            return Box::pin(async { Err(Self::down()) });
        }
        let mut rows = self.rows.lock().unwrap();
        let one = |claim: Claim| match rows.entry(claim.key) {
            std::collections::btree_map::Entry::Occupied(_) => Claimed::Taken,
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(claim.value);
                Claimed::Made
            }
        };
        let claimed = claims.into_iter().map(one).collect();
        let untold = self.untold.load(Ordering::SeqCst);
        if untold > 0 {
            self.untold.store(untold - 1, Ordering::SeqCst);
            return Box::pin(async { Err(Self::down()) });
        }
        Box::pin(async move {
            // So that two appenders meet.
            tokio::task::yield_now().await;
            Ok(claimed)
        })
    }

    fn list(&self, _table: Table, prefix: Vec<u8>, after: Option<Vec<u8>>, most: usize) -> Answer<'_, Vec<Row>> {
        if self.down.load(Ordering::SeqCst) {
            return Box::pin(async { Err(Self::down()) });
        }
        let rows = self.rows.lock().unwrap();
        let within =
            |(key, _): &(&Vec<u8>, &Vec<u8>)| key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after);
        let row = |(key, value): (&Vec<u8>, &Vec<u8>)| Row { key: key.clone(), value: value.clone(), marks: Vec::new() };
        let found = rows.iter().filter(within).take(most).map(row).collect();
        Box::pin(async move { Ok(found) })
    }

    fn read(&self, _table: Table, _keys: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        Box::pin(async { Err(StoreError::Misuse("not asked for here")) })
    }

    fn find(&self, _table: Table, _marks: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        Box::pin(async { Err(StoreError::Misuse("not asked for here")) })
    }

    fn change(&self, _table: Table, _changes: Vec<Change>) -> Answer<'_, ()> {
        Box::pin(async { Err(StoreError::Misuse("not asked for here")) })
    }

    fn swap(&self, _table: Table, _swaps: Vec<Swap>) -> Answer<'_, Vec<Swapped>> {
        Box::pin(async { Err(StoreError::Misuse("not asked for here")) })
    }
}

fn controller() -> Controller {
    Controller::new("shop")
}

fn kid(n: u8) -> Kid {
    Kid::from_random([n; 5])
}

/// A ring with these versions of the audit line; the last is Active.
fn ring(versions: &[u8]) -> KeyRing {
    let last = versions.last().copied();
    let version =
        |n: &u8| (LineName::Audit, kid(*n), if Some(*n) == last { State::Active } else { State::Deactivated }, [*n; 32]);
    KeyRing::with_versions(controller(), versions.iter().map(version).collect())
}

fn ledger(rows: &Arc<Memory>, clock: &Arc<FixedClock>) -> Arc<Ledger> {
    ledger_of(controller(), rows, clock, &[7])
}

fn ledger_of(controller: Controller, rows: &Arc<Memory>, clock: &Arc<FixedClock>, versions: &[u8]) -> Arc<Ledger> {
    let (rows, keys): (Arc<dyn Rows>, _) = (rows.clone(), ring(versions).ledger_keys());
    Arc::new(Ledger::new(controller, rows, None, keys, clock.clone()))
}

fn id(text: &str) -> RecordId {
    RecordId::from_text(text).unwrap()
}

fn entry(name: &str, at: u64, what: What) -> Entry {
    Entry { id: name.to_owned(), at, by: Recorder::Operator("ann".to_owned()), what }
}

fn choice(name: &str, subject: &str, purpose: &str, says: Says, at: u64) -> Entry {
    let about = About::Purpose(purpose.to_owned());
    entry(name, at, What::Choice { subject: Subject(id(subject)), about, says, evidence: None })
}

fn given(name: &str, subject: &str, at: u64) -> Entry {
    choice(name, subject, "recommend", Says::Given, at)
}

fn refused(name: &str, subject: &str, at: u64) -> Entry {
    choice(name, subject, "recommend", Says::Refused, at)
}

/// `recommend` for `shop-web` by opt-in and for the recipient `insurer` by opt-in; `support` needs `open-ticket`; minors are closed unless a
/// guardian agreed; a purpose of version 3 waits for notice.
fn policy() -> Policy {
    let caller = CallerName::new;
    let category = CategorySpec {
        name: CategoryName::new("name"),
        line: 1,
        dpv: "pd:Name".to_owned(),
        nature: Nature::Identifying,
        mask: None,
        generalise: None,
        clauses: Vec::new(),
    };
    let purpose = |name: &str, callers: &[&str], terms: Terms| PurposeSpec {
        name: PurposeName::new(name),
        line: 2,
        dpv: Some("dpv:CustomerCare".to_owned()),
        basis: Some("dpv:Consent".to_owned()),
        callers: callers.iter().map(|name| caller(name)).collect(),
        reveal: vec![(CategoryName::new("name"), Level::Clear, 3)],
        reveal_line: 3,
        writes: None,
        writes_line: 0,
        search: Vec::new(),
        search_line: 0,
        delete: false,
        terms,
        collects: Collects::default(),
        clauses: Vec::new(),
    };
    let opt_in = Terms { consent: Consent::OptIn, ..Terms::default() };
    let fact = |name: &str| FactSpec { name: name.to_owned(), line: 4, means: name.to_owned() };
    let age = |name: &str, under| AgeSpec { name: name.to_owned(), line: 5, under, clauses: Vec::new() };
    Policy::compile(PolicySpec {
        id: "shop".to_owned(),
        version: 3,
        change: crate::purpose::ChangeSpec { gate: crate::purpose::ChangeGate::Notice, ..Default::default() },
        facts: vec![fact("open-ticket"), fact("guardian-consent")],
        ages: vec![age("minor", 18), age("child", 13)],
        categories: vec![category],
        purposes: vec![
            purpose("recommend", &["shop-web", "insurer"], opt_in.clone()),
            purpose("support", &["helpdesk"], Terms { needs: vec![("open-ticket".to_owned(), 6)], ..Terms::default() }),
            purpose("news", &["mailer"], Terms { since: Some((3, 7)), ..Terms::default() }),
        ],
        recipients: vec![RecipientSpec {
            name: caller("insurer"),
            line: 8,
            kind: "third-party".to_owned(),
            at_most: Vec::new(),
            terms: opt_in,
            country: None,
            clauses: Vec::new(),
        }],
        limits: vec![LimitSpec {
            name: "minors".to_owned(),
            line: 9,
            when: vec![("minor".to_owned(), 9), ("age-unknown".to_owned(), 9)],
            unless: vec![("guardian-consent".to_owned(), 9)],
            purposes: vec![(PurposeName::new("support"), 9)],
            at_most: vec![(CategoryName::new("name"), Level::Absent, 9)],
            ..LimitSpec::default()
        }],
        ..PolicySpec::default()
    })
    .unwrap_or_else(|errors| panic!("{errors:?}"))
}
