//! The order of the ledger, what is sent again, stores that fail, rows that are not believed.

#![expect(clippy::disallowed_methods, reason = "tests wait for what they begin")]

use super::*;

/// Keys and values, as they are stored.
type All = BTreeMap<Vec<u8>, Vec<u8>>;

fn start() -> (Arc<Memory>, Arc<FixedClock>, Arc<Ledger>) {
    let (rows, clock) = (Arc::new(Memory::default()), Arc::new(FixedClock::at(NOW)));
    let ledger = ledger(&rows, &clock);
    (rows, clock, ledger)
}

/// How the choice stands.
fn stands(ledger: &Ledger, subject: &str) -> Option<Standing> {
    let (statements, ..) = ledger.people().all_of(&id(subject), NOW)?;
    statements.first().map(|statement| statement.standing)
}

#[tokio::test]
async fn what_is_appended_is_read_by_another_node() {
    let (rows, clock, one) = start();
    let other = ledger(&rows, &clock);
    assert!(other.is_stale() && other.lag_ms().is_none(), "it was never read");
    let placed = one.append(vec![given("1", "c-1", 5), refused("2", "c-2", 6)]).await.unwrap();
    assert_eq!(placed.iter().map(|placed| (placed.row, placed.again, placed.first)).collect::<Vec<_>>(), [(1, false, true); 2]);
    let placed = one.append(vec![refused("3", "c-1", 7)]).await.unwrap();
    assert!(placed.first().is_some_and(|placed| placed.row == 2 && !placed.first), "somebody was known");
    assert_eq!(stands(&other, "c-1"), None);
    other.read().await.unwrap();
    assert!(!other.is_stale());
    assert_eq!((other.last(), other.entries(), other.people().len()), (2, 3, 2));
    for ledger in [&one, &other] {
        assert_eq!((stands(ledger, "c-1"), stands(ledger, "c-2")), (Some(Standing::No), Some(Standing::No)));
    }
}

#[tokio::test]
async fn an_entry_sent_again_gets_its_first_receipt_and_changes_nothing() {
    let (rows, clock, one) = start();
    let first = one.append(vec![given("1", "c-1", 5)]).await.unwrap();
    one.append(vec![refused("2", "c-1", 6)]).await.unwrap();
    clock.set(NOW + 60_000);
    let other = ledger(&rows, &clock);
    other.read().await.unwrap();
    for ledger in [&one, &other] {
        // Also with another time, as a sender does that lets the ledger say when.
        for at in [5, 0, NOW] {
            let again = ledger.append(vec![given("1", "c-1", at)]).await.unwrap();
            let expected = first.iter().map(|placed| Placed { again: true, first: false, ..*placed }).collect::<Vec<_>>();
            assert_eq!(again, expected);
            assert_eq!((ledger.last(), stands(ledger, "c-1")), (2, Some(Standing::No)), "a replay opens nothing");
        }
    }
    // Twice in one call, and beside something new.
    let placed = one.append(vec![given("4", "c-4", 5), given("4", "c-4", 5), given("1", "c-1", 5)]).await.unwrap();
    assert_eq!(placed.iter().map(|placed| (placed.row, placed.again)).collect::<Vec<_>>(), [(3, false), (3, true), (1, true)]);
    assert_eq!(one.entries(), 3);
}

#[tokio::test]
async fn an_id_used_for_something_else_refuses_the_whole_call() {
    let (_rows, _clock, one) = start();
    one.append(vec![given("1", "c-1", 5)]).await.unwrap();
    let refused = one.append(vec![given("2", "c-2", 5), refused("1", "c-1", 6)]).await.unwrap_err();
    assert!(matches!(&refused, AppendError::Reused(places) if *places == [1]), "{refused}");
    assert_eq!((one.last(), stands(&one, "c-2")), (1, None));
    // Another recorder's 1 is another one.
    let theirs = Entry { by: Recorder::Caller("crm".to_owned()), ..self::refused("1", "c-1", 6) };
    one.append(vec![theirs]).await.unwrap();
    assert_eq!(stands(&one, "c-1"), Some(Standing::No));
}

#[tokio::test]
async fn a_clock_that_jumps_takes_nothing_back() {
    let (_rows, clock, one) = start();
    let ahead = one.append(vec![given("0", "c-1", NOW + AHEAD_MS + 1)]).await.unwrap_err();
    assert!(matches!(&ahead, AppendError::Ahead(places) if *places == [0]), "{ahead}");
    one.append(vec![given("1", "c-1", NOW + AHEAD_MS)]).await.unwrap();
    one.append(vec![given("2", "c-2", 0)]).await.unwrap();
    // An hour back: what is said now still comes behind what was said before.
    clock.set(NOW - 3_600_000);
    let placed = one.append(vec![refused("3", "c-2", 0)]).await.unwrap();
    assert!(placed.first().is_some_and(|placed| placed.recorded_ms == NOW));
    assert_eq!(stands(&one, "c-2"), Some(Standing::No));
    assert_eq!(one.clock_behind_ms(), 3_600_000);
}

#[tokio::test]
async fn two_nodes_append_at_once_and_nothing_is_lost_or_doubled() {
    let (rows, clock, one) = start();
    let other = ledger(&rows, &clock);
    let posts = (0..8).map(|task: u32| {
        let ledger = Arc::clone(if task.is_multiple_of(2) { &one } else { &other });
        tokio::spawn(async move {
            for n in 0..50 {
                let name = format!("{task}-{n}");
                ledger.append(vec![given(&name, &format!("c-{name}"), 5)]).await.unwrap();
            }
        })
    });
    for post in posts.collect::<Vec<_>>() {
        post.await.unwrap();
    }
    let fresh = ledger(&rows, &clock);
    fresh.read().await.unwrap();
    for ledger in [&one, &other, &fresh] {
        ledger.read().await.unwrap();
        assert_eq!((ledger.entries(), ledger.people().len(), ledger.last()), (400, 400, fresh.last()));
    }
    assert!((50..400).contains(&fresh.last()), "what waited was put into rows together: {}", fresh.last());
}

#[tokio::test]
async fn a_store_that_is_down_refuses_and_one_that_does_not_say_is_asked() {
    let (rows, clock, one) = start();
    one.append(vec![given("1", "c-1", 5)]).await.unwrap();
    rows.down.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(one.append(vec![refused("2", "c-1", 6)]).await, Err(AppendError::Ledger(LedgerError::Store(_)))));
    }
    assert_eq!(stands(&one, "c-1"), Some(Standing::Yes));
    rows.down.store(false, Ordering::SeqCst);
    // It takes place, and nobody hears of it.
    rows.untold.store(1, Ordering::SeqCst);
    assert!(one.append(vec![refused("2", "c-1", 6)]).await.is_err());
    let again = one.append(vec![refused("2", "c-1", 6), given("3", "c-3", 6)]).await.unwrap();
    assert_eq!(again.iter().map(|placed| (placed.row, placed.again)).collect::<Vec<_>>(), [(2, true), (3, false)]);
    assert_eq!(stands(&one, "c-1"), Some(Standing::No));
    let other = ledger(&rows, &clock);
    other.read().await.unwrap();
    assert_eq!(other.entries(), 3);
}

#[tokio::test]
async fn rows_that_are_not_as_they_were_written_are_not_believed() {
    let (rows, clock, one) = start();
    for n in 1..=4 {
        one.append(vec![given(&n.to_string(), "c-1", n)]).await.unwrap();
    }
    let whole = rows.rows.lock().unwrap().clone();
    let key = |number: u64| row::key(&controller(), number);
    let broken = async |edit: &dyn Fn(&mut All)| {
        rows.edit(|all| {
            all.clone_from(&whole);
            edit(all);
        });
        let fresh = ledger(&rows, &clock);
        let fault = fresh.read().await.unwrap_err().to_string();
        assert!(fresh.is_stale() && fresh.fault().is_some());
        assert!(fresh.append(vec![given("9", "c-9", 9)]).await.is_err(), "nothing is put behind it");
        fault
    };
    let fault = broken(&|all| all.get_mut(&key(2)).unwrap()[40] ^= 1).await;
    assert!(fault.contains("row 2: it does not open in its place"), "{fault}");
    let fault = broken(&|all| drop(all.remove(&key(2)))).await;
    assert!(fault.contains("row 2: it is missing"), "{fault}");
    let fault = broken(&|all| {
        let (two, three) = (all[&key(2)].clone(), all[&key(3)].clone());
        all.insert(key(2), three);
        all.insert(key(3), two);
    })
    .await;
    assert!(fault.contains("row 2: it does not open in its place"), "{fault}");
    let fault = broken(&|all| drop(all.insert(key(2), b"short".to_vec()))).await;
    assert!(fault.contains("row 2: it is too short to be a row"), "{fault}");
    // A row in its place that was made behind another one: what whoever holds the key could do.
    let keys = ring(&[7]).ledger_keys();
    let forged = row::seal(&keys[0], &controller(), 2, &[0; 32], NOW, vec![given("2", "c-1", 2)]).unwrap();
    let fault = broken(&|all| drop(all.insert(key(2), forged.clone()))).await;
    assert!(fault.contains("row 2: it does not follow on the row before it"), "{fault}");
    // And the control: as it was written it reads.
    rows.edit(|all| all.clone_from(&whole));
    ledger(&rows, &clock).read().await.unwrap();
}

#[tokio::test]
async fn a_ledger_that_is_replaced_under_a_node_is_noticed() {
    let (rows, _clock, one) = start();
    one.append(vec![given("1", "c-1", 5)]).await.unwrap();
    one.append(vec![refused("2", "c-1", 6)]).await.unwrap();
    one.read().await.unwrap();
    let whole = rows.rows.lock().unwrap().clone();
    rows.edit(|all| drop(all.pop_last()));
    let fault = one.read().await.unwrap_err();
    assert!(matches!(fault, LedgerError::Short { .. } | LedgerError::Row { .. }), "{fault}");
    assert!(one.is_stale(), "a withdrawal was taken away");
    rows.edit(|all| all.clone_from(&whole));
    one.read().await.unwrap();
    assert!(!one.is_stale());
    rows.edit(BTreeMap::clear);
    assert!(matches!(one.read().await, Err(LedgerError::Short { found: 0, newest: 2 })));
}

#[tokio::test]
async fn keys_follow_the_ring_and_controllers_do_not_meet() {
    let (rows, clock, _one) = start();
    let (old, new) = (ledger_of(controller(), &rows, &clock, &[7]), ledger_of(controller(), &rows, &clock, &[7, 8]));
    old.append(vec![given("1", "c-1", 5)]).await.unwrap();
    new.append(vec![refused("2", "c-1", 6)]).await.unwrap();
    let fault = old.read().await.unwrap_err().to_string();
    assert!(fault.contains("row 2: it is sealed under a key that this node does not have"), "{fault}");
    assert!(old.is_stale());
    old.take_keys(ring(&[7, 8]).ledger_keys());
    old.read().await.unwrap();
    assert!(!old.is_stale() && stands(&old, "c-1") == Some(Standing::No));
    let theirs = ledger_of(Controller::new("bank"), &rows, &clock, &[7]);
    theirs.read().await.unwrap();
    assert_eq!(theirs.last(), 0);
}

#[tokio::test]
async fn a_row_that_says_what_is_not_known_stops_the_reading() {
    let (rows, clock, _one) = start();
    let keys = ring(&[7]).ledger_keys();
    let sealed = row::seal(&keys[0], &controller(), 1, &[0; 32], NOW, vec![given("1", "c-1", 5)]).unwrap();
    let (kid, xaes) = &keys[0];
    let aad = crate::base::enc(&[b"sudare/ledger/v1", kid.as_bytes(), b"shop", &1_u64.to_be_bytes()]);
    let (head, mut text) = (sealed[..32].to_vec(), sealed[32..].to_vec());
    let (prefix, suffix): ([u8; 12], [u8; 12]) = (head[8..20].try_into().unwrap(), head[20..32].try_into().unwrap());
    let open = xaes.row_key(&prefix).open_in_place(&suffix, &aad, &mut text).unwrap().to_vec();
    let put = |from: &str, to: &str| {
        let mut changed = String::from_utf8(open.clone()).unwrap().replace(from, to).into_bytes();
        let tag = xaes.row_key(&prefix).seal_in_place(&suffix, &aad, &mut changed).unwrap();
        rows.edit(|all| drop(all.insert(row::key(&controller(), 1), [head.clone(), changed, tag.to_vec()].concat())));
        ledger(&rows, &clock)
    };
    put("xxxx", "").read().await.unwrap();
    for (from, to) in
        [("\"v\":1", "\"v\":2"), ("\"kind\":\"choice\"", "\"kind\":\"chance\""), ("\"says\"", "\"more\":1,\"says\"")]
    {
        let fault = put(from, to).read().await.unwrap_err().to_string();
        assert!(fault.contains("upgrade Sudare"), "{fault}");
    }
}
