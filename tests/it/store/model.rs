//! Both kinds against a model: calls by chance, with keys and marks that often meet.

use std::collections::{BTreeMap, BTreeSet};

use sudare::base::enc;
use sudare::store::{Change, Claim, Claimed, Row, Rows as _, StoreError, Table};

use super::suite::assert_fits;
use super::{Place, by_chance};

const T: Table = Table::Token;

/// What a store is to do, in the plainest way.
#[derive(Default)]
struct Model {
    rows: BTreeMap<Vec<u8>, Row>,
    links: BTreeSet<Vec<u8>>,
}

impl Model {
    fn named(&self, mark: &[u8]) -> Option<Vec<u8>> {
        self.rows.values().find(|row| row.marks.iter().any(|one| one == mark)).map(|row| row.key.clone())
    }

    /// `before` the call, as one transaction sees it.
    fn claim(&mut self, claim: &Claim) -> Claimed {
        let mut marks = claim.marks.clone();
        marks.sort();
        marks.dedup();
        let claimed = match marks.iter().find_map(|mark| self.named(mark)) {
            Some(key) => {
                let value = self.rows.get(&key).map(|row| row.value.clone()).unwrap_or_default();
                Claimed::Found { key, value }
            }
            None if self.rows.contains_key(&claim.key) => Claimed::Taken,
            None => {
                self.rows.insert(claim.key.clone(), Row { key: claim.key.clone(), value: claim.value.clone(), marks });
                Claimed::Made
            }
        };
        let key = match &claimed {
            Claimed::Made => Some(&claim.key),
            Claimed::Found { key, .. } => Some(key),
            Claimed::Taken => None,
        };
        if let (Some(key), Some((_, link))) = (key, &claim.link) {
            self.links.insert(enc(&[key, link]));
        }
        claimed
    }

    /// False if a mark names another row.
    fn change(&mut self, changes: &[Change]) -> bool {
        let mut last = BTreeMap::new();
        for change in changes {
            match change {
                Change::Put(row) => last.insert(row.key.clone(), Some(row.clone())),
                Change::Remove(key) => last.insert(key.clone(), None),
            };
        }
        let free = |mark: &Vec<u8>| self.named(mark).is_none_or(|key| last.contains_key(&key));
        if !last.values().flatten().flat_map(|row| &row.marks).all(free) {
            return false;
        }
        for (key, row) in last {
            match row {
                Some(mut row) => {
                    row.marks.sort();
                    self.rows.insert(key, row);
                }
                None => {
                    self.rows.remove(&key);
                }
            }
        }
        true
    }
}

fn few(what: &str, of: u64) -> Vec<u8> {
    enc(&[what.as_bytes(), &by_chance(of).to_be_bytes()])
}

/// Up to three marks that are nobody's else in this call.
fn marks(used: &mut Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut marks = Vec::new();
    for _ in 0..by_chance(4) {
        let mark = few("mark", 40);
        if !used.contains(&mark) {
            used.push(mark.clone());
            marks.push(mark);
        }
    }
    marks
}

async fn against_the_model(place: &Place, calls: u32) {
    let store = place.open();
    let mut model = Model::default();
    for call in 0..calls {
        let mut used = Vec::new();
        if by_chance(3) > 0 {
            let claims: Vec<Claim> = (0..by_chance(8))
                .map(|_| Claim {
                    key: few("key", 60),
                    value: few("value", 1 << 40),
                    marks: marks(&mut used),
                    link: (by_chance(2) == 0).then(|| (Table::TokenRef, few("link", 3))),
                })
                .collect();
            let answer = store.claim(T, claims.clone()).await.unwrap();
            let expected: Vec<Claimed> = claims.iter().map(|claim| model.claim(claim)).collect();
            assert_eq!(answer, expected, "call {call}");
        } else {
            let changes: Vec<Change> = (0..by_chance(6))
                .map(|_| match by_chance(2) {
                    0 => Change::Remove(few("key", 60)),
                    _ => Change::Put(Row { key: few("key", 60), value: few("value", 1 << 40), marks: marks(&mut used) }),
                })
                .collect();
            match store.change(T, changes.clone()).await {
                Ok(()) => assert!(model.change(&changes), "call {call}: a mark of another row was taken"),
                Err(StoreError::MarkTaken) => assert!(!model.change(&changes), "call {call}: a mark was free"),
                Err(other) => panic!("{other}"),
            }
        }
        if call % 20 == 0 || call + 1 == calls {
            let rows = store.list(T, Vec::new(), None, 1_000).await.unwrap();
            assert_eq!(rows, model.rows.values().cloned().collect::<Vec<_>>(), "call {call}");
            let links = store.list(Table::TokenRef, Vec::new(), None, 1_000).await.unwrap();
            assert!(links.iter().map(|row| &row.key).eq(model.links.iter()), "call {call}");
        }
    }
    // Rows that were removed leave their references, which are their owner's to remove.
    store.change(Table::TokenRef, model.links.into_iter().map(Change::Remove).collect()).await.unwrap();
    assert_fits(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redb_does_as_the_model_does() {
    against_the_model(&Place::redb().unwrap(), 400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_does_as_the_model_does() {
    let Some(place) = Place::postgres() else { return };
    against_the_model(&place, 400).await;
}
