//! What every store must do, whatever keeps it. `suite!` makes a test of each function for one kind.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sudare::base::enc;
use sudare::store::check::{Counted, Finding, Verify, check};
use sudare::store::{Change, Claim, Claimed, MAX_KEY_BYTES, Row, Rows as _, Store, StoreError, Swap, Swapped, Table};

use super::{Damage, Place, by_chance, claim, holding, key, row};

const T: Table = Table::Token;

/// A test of each function of the suite, on the store that `$place` gives.
macro_rules! suite {
    ($place:path) => {
        $crate::store::suite::suite! { $place:
            claims_are_made_found_and_taken, marks_are_taken_all_or_none, racing_callers_make_one_row_each,
            racing_callers_with_several_marks_agree, links_are_there_with_their_rows, rows_are_read_in_the_order_asked,
            lists_page_by_prefix, changes_put_and_remove, racing_changes_of_one_row_take_place, a_mark_of_another_row_is_refused, swaps_take_place_only_on_what_was_seen,
            racing_swaps_and_changes_lose_nothing, mistakes_of_the_caller_are_refused,
            what_is_stored_outlives_the_handle, ten_thousand_claims_are_one_call, any_bytes_are_a_key, high_water_only_rises,
            migrating_twice_changes_nothing, other_schemas_are_refused, word_goes_round, killed_writers_lose_nothing,
            a_caller_that_goes_away_leaves_nothing_half_done, check_finds_what_does_not_fit, check_asks_who_knows_values,
            a_vault_makes_one_token_of_one_value
        }
    };
    ($place:path: $($name:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(place) = $place() {
                    $crate::store::suite::$name(&place).await;
                }
            }
        )*
    };
}
pub(super) use suite;

pub(super) async fn claims_are_made_found_and_taken(place: &Place) {
    let store = place.open();
    let made = store.claim(T, vec![claim("a", &["m"]), claim("b", &[])]).await.unwrap();
    assert_eq!(made, [Claimed::Made, Claimed::Made]);
    let again = vec![claim("c", &["m"]), claim("b", &["n"]), claim("d", &["o"]), claim("d", &["p"]), claim("e", &[])];
    let answer = store.claim(T, again).await.unwrap();
    assert_eq!(answer, [holding("a", "value of a"), Claimed::Taken, Claimed::Made, Claimed::Taken, Claimed::Made]);
    // What was taken has left no mark, and what was found is as it was.
    let found = store.find(T, vec![b"n".to_vec(), b"p".to_vec(), b"m".to_vec()]).await.unwrap();
    assert_eq!(found, [None, None, Some(key("a"))]);
    assert_eq!(store.read(T, vec![key("a"), key("c")]).await.unwrap(), [Some(b"value of a".to_vec()), None]);
    // A key in use does not matter where a mark names a row.
    assert_eq!(store.claim(T, vec![claim("b", &["m"])]).await.unwrap(), [holding("a", "value of a")]);
    assert_eq!(store.claim(T, Vec::new()).await.unwrap(), []);
}

pub(super) async fn marks_are_taken_all_or_none(place: &Place) {
    let store = place.open();
    store.claim(T, vec![claim("a", &["one", "two"])]).await.unwrap();
    // Found by its second mark; the third is not taken for it.
    assert_eq!(store.claim(T, vec![claim("b", &["two", "three"])]).await.unwrap(), [holding("a", "value of a")]);
    assert_eq!(store.claim(T, vec![claim("c", &["three"])]).await.unwrap(), [Claimed::Made]);
    // Its marks name two rows: the first of them in order of the bytes answers.
    assert_eq!(store.claim(T, vec![claim("d", &["two", "three"])]).await.unwrap(), [holding("c", "value of c")]);
    let rows = store.list(T, Vec::new(), None, 10).await.unwrap();
    assert_eq!(rows, [row("a", "value of a", &["one", "two"]), row("c", "value of c", &["three"])]);
    // The same mark twice in one claim is one mark.
    assert_eq!(store.claim(T, vec![claim("e", &["x", "x"])]).await.unwrap(), [Claimed::Made]);
    assert_fits(&store).await;
}

pub(super) async fn racing_callers_make_one_row_each(place: &Place) {
    let (one, other) = place.two();
    let calls = 20;
    let race = |store: Arc<Store>, who: &'static str| async move {
        let mut answers = Vec::new();
        for call in 0..calls {
            let claims = (0..10).map(|n| claim(&format!("{who}-{call}-{n}"), &[&format!("mark-{call}-{n}")]));
            // In another order each time, which must not matter.
            let mut claims: Vec<Claim> = claims.collect();
            if (call % 2 == 0) == (who == "one") {
                claims.reverse();
            }
            answers.extend(store.claim(T, claims).await.unwrap());
        }
        answers
    };
    let (ours, theirs) =
        tokio::join!(tokio::spawn(race(Arc::clone(&one), "one")), tokio::spawn(race(Arc::clone(&other), "other")));
    let all: Vec<Claimed> = ours.unwrap().into_iter().chain(theirs.unwrap()).collect();
    assert_eq!(all.iter().filter(|claimed| **claimed == Claimed::Made).count(), 200);
    assert_eq!(all.iter().filter(|claimed| matches!(claimed, Claimed::Found { .. })).count(), 200);
    assert_eq!(one.list(T, Vec::new(), None, 1_000).await.unwrap().len(), 200);
    assert_fits(&other).await;
}

pub(super) async fn racing_callers_with_several_marks_agree(place: &Place) {
    let (one, other) = place.two();
    let calls: Vec<_> = (0..40)
        .map(|n| {
            let store = Arc::clone(if n % 2 == 0 { &one } else { &other });
            // All want a row of mark "hot"; each has a mark and a link of its own, too.
            let mut claim = claim(&format!("k{n}"), &["hot", &format!("own-{n}")]);
            claim.link = Some((Table::TokenRef, format!("s{n}").into_bytes()));
            tokio::spawn(async move { store.claim(T, vec![claim]).await.unwrap().remove(0) })
        })
        .collect();
    let mut made = 0;
    for call in calls {
        made += u32::from(call.await.unwrap() == Claimed::Made);
    }
    assert_eq!(made, 1);
    let rows = one.list(T, Vec::new(), None, 10).await.unwrap();
    assert_eq!((rows.len(), rows[0].marks.len()), (1, 2));
    let links = one.list(Table::TokenRef, Vec::new(), None, 100).await.unwrap();
    assert_eq!(links.len(), 40, "everybody's link is there");
    assert_fits(&one).await;
}

pub(super) async fn links_are_there_with_their_rows(place: &Place) {
    let store = place.open();
    let linked = |name: &str, marks: &[&str], link: &str| Claim {
        link: Some((Table::TokenRef, link.as_bytes().to_vec())),
        ..claim(name, marks)
    };
    store.claim(T, vec![linked("a", &["m"], "mei")]).await.unwrap();
    // Found again for another person, and for the same one; made without; taken.
    let claims = vec![linked("x", &["m"], "ken"), claim("b", &["n"]), linked("b2", &["o"], "mei"), linked("a", &["p"], "eve")];
    let answer = store.claim(T, claims).await.unwrap();
    assert_eq!(answer, [holding("a", "value of a"), Claimed::Made, Claimed::Made, Claimed::Taken]);
    assert_eq!(store.claim(T, vec![linked("y", &["m"], "mei")]).await.unwrap(), [holding("a", "value of a")]);
    let links = store.list(Table::TokenRef, Vec::new(), None, 10).await.unwrap();
    let link = |name: &str, link: &str| Row { key: enc(&[&key(name), link.as_bytes()]), value: Vec::new(), marks: Vec::new() };
    let mut expected = vec![link("a", "mei"), link("a", "ken"), link("b2", "mei")];
    expected.sort_by(|one, two| one.key.cmp(&two.key));
    assert_eq!(links, expected);
    // Who asks whom a row is about lists by its key.
    assert_eq!(store.list(Table::TokenRef, enc(&[&key("a")]), None, 10).await.unwrap().len(), 2);
    // A row of which the reference went is found with a new one.
    store.change(Table::TokenRef, vec![Change::Remove(link("a", "mei").key)]).await.unwrap();
    store.claim(T, vec![linked("z", &["m"], "mei")]).await.unwrap();
    assert_eq!(store.list(Table::TokenRef, enc(&[&key("a")]), None, 10).await.unwrap().len(), 2);
    assert_fits(&store).await;
}

pub(super) async fn rows_are_read_in_the_order_asked(place: &Place) {
    let store = place.open();
    store.claim(T, (0..50).map(|n| claim(&format!("k{n}"), &[&format!("m{n}")])).collect()).await.unwrap();
    let asked = ["k7", "absent", "k3", "k7", "k49"];
    let values = store.read(T, asked.iter().map(|name| key(name)).collect()).await.unwrap();
    let value = |name: &str| Some(format!("value of {name}").into_bytes());
    assert_eq!(values, [value("k7"), None, value("k3"), value("k7"), value("k49")]);
    let marks = ["m9", "m1", "absent", "m1"];
    let found = store.find(T, marks.iter().map(|mark| mark.as_bytes().to_vec()).collect()).await.unwrap();
    assert_eq!(found, [Some(key("k9")), Some(key("k1")), None, Some(key("k1"))]);
    assert_eq!(store.read(T, Vec::new()).await.unwrap(), []);
    assert_eq!(store.find(T, Vec::new()).await.unwrap(), []);
    // Another table has other rows.
    assert_eq!(store.read(Table::TokenRef, vec![key("k7")]).await.unwrap(), [None]);
}

pub(super) async fn lists_page_by_prefix(place: &Place) {
    let store = place.open();
    let put = |key: &[u8]| Change::Put(Row { key: key.to_vec(), value: key.to_vec(), marks: vec![key.to_vec()] });
    let keys: [&[u8]; 8] = [b"", b"a", b"a\0", b"ab", b"ab\xff", b"ab\xff\xff", b"ac", b"\xff\xff"];
    store.change(T, keys.iter().map(|key| put(key)).collect()).await.unwrap();
    let list = async |prefix: &[u8], after: Option<&[u8]>, most| {
        let rows = store.list(T, prefix.to_vec(), after.map(<[u8]>::to_vec), most).await.unwrap();
        rows.into_iter().map(|row| row.key).collect::<Vec<_>>()
    };
    assert_eq!(list(b"", None, 100).await, keys);
    assert_eq!(list(b"ab", None, 100).await, keys[3..6]);
    assert_eq!(list(b"ab\xff", None, 100).await, keys[4..6]);
    assert_eq!(list(b"\xff", None, 100).await, keys[7..]);
    assert_eq!(list(b"ab", Some(b"ab"), 1).await, keys[4..5]);
    assert_eq!(list(b"ab", Some(b"ab\xff\xff"), 9).await, keys[..0]);
    assert_eq!(list(b"ab", Some(b"a"), 2).await, keys[3..5], "after what stands before the prefix: from its beginning");
    assert_eq!(list(b"ab", Some(b"b"), 9).await, keys[..0]);
    assert_eq!(list(b"", Some(b""), 2).await, keys[1..3]);
    assert_eq!(list(b"", None, 0).await, keys[..0]);
    assert_eq!(list(b"nothing", None, 9).await, keys[..0]);
}

pub(super) async fn changes_put_and_remove(place: &Place) {
    let store = place.open();
    store.claim(T, vec![claim("a", &["m", "n"]), claim("b", &["o"])]).await.unwrap();
    let changes = vec![
        Change::Put(row("a", "new", &["n", "x"])),
        Change::Put(row("c", "first", &["y"])),
        Change::Put(row("c", "last", &["z"])),
        Change::Remove(key("b")),
        Change::Remove(key("absent")),
    ];
    store.change(T, changes).await.unwrap();
    let rows = store.list(T, Vec::new(), None, 10).await.unwrap();
    assert_eq!(rows, [row("a", "new", &["n", "x"]), row("c", "last", &["z"])]);
    let found = store.find(T, ["m", "n", "o", "x", "y", "z"].map(|mark| mark.as_bytes().to_vec()).to_vec()).await.unwrap();
    assert_eq!(found, [None, Some(key("a")), None, Some(key("a")), None, Some(key("c"))]);
    // A mark moves from one row of a call to another.
    let changes = vec![Change::Remove(key("c")), Change::Put(row("d", "d", &["z", "n"])), Change::Put(row("a", "a", &["y"]))];
    store.change(T, changes).await.unwrap();
    assert_eq!(store.list(T, Vec::new(), None, 10).await.unwrap(), [row("a", "a", &["y"]), row("d", "d", &["n", "z"])]);
    assert_eq!(store.claim(T, vec![claim("e", &["n"])]).await.unwrap(), [holding("d", "d")]);
    store.change(T, Vec::new()).await.unwrap();
    assert_fits(&store).await;
}

/// As of two bodies in which the same people share a value.
pub(super) async fn racing_changes_of_one_row_take_place(place: &Place) {
    let (one, other) = place.two();
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..60 {
        let store = Arc::clone(if n % 2 == 0 { &one } else { &other });
        let mut rows = vec![Change::Put(row("shared", "", &[])), Change::Put(row(&format!("own-{n}"), "", &[]))];
        if n % 3 == 0 {
            rows.push(Change::Put(row("another", "", &[])));
        }
        calls.spawn(async move { store.change(Table::TokenRef, rows).await });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap().unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(one.list(Table::TokenRef, Vec::new(), None, 100).await.unwrap().len(), 62);
}

pub(super) async fn a_mark_of_another_row_is_refused(place: &Place) {
    let store = place.open();
    store.claim(T, vec![claim("a", &["m"])]).await.unwrap();
    let changes = vec![Change::Remove(key("absent")), Change::Put(row("b", "b", &["free"])), Change::Put(row("c", "c", &["m"]))];
    let error = store.change(T, changes).await.unwrap_err();
    assert!(matches!(error, StoreError::MarkTaken), "{error}");
    assert_eq!(store.list(T, Vec::new(), None, 10).await.unwrap(), [row("a", "value of a", &["m"])]);
    assert_eq!(store.find(T, vec![b"free".to_vec()]).await.unwrap(), [None]);
    assert_fits(&store).await;
}

pub(super) async fn swaps_take_place_only_on_what_was_seen(place: &Place) {
    let store = place.open();
    store.claim(T, vec![claim("a", &["m", "n"]), claim("b", &["o"]), claim("c", &[]), claim("d", &["p"])]).await.unwrap();
    let marks = |marks: &[&str]| marks.iter().map(|mark| mark.as_bytes().to_vec()).collect::<Vec<_>>();
    let swap = |seen: Row, value: &str, to: &[&str]| Swap { seen, value: value.as_bytes().to_vec(), marks: marks(to) };
    let answer = store
        .swap(
            T,
            vec![
                // A mark stays, one goes, one comes; in another order.
                swap(row("a", "value of a", &["n", "m"]), "new", &["x", "n"]),
                swap(row("b", "value of another", &["o"]), "new", &["y"]),
                swap(row("c", "value of c", &["never"]), "new", &[]),
                swap(row("gone", "value of gone", &[]), "new", &["z"]),
                swap(row("d", "value of d", &["p"]), "new", &["o"]),
            ],
        )
        .await
        .unwrap();
    assert_eq!(answer, [Swapped::Done, Swapped::Changed, Swapped::Changed, Swapped::Changed, Swapped::MarkTaken]);
    let rows = store.list(T, Vec::new(), None, 10).await.unwrap();
    let others = [row("b", "value of b", &["o"]), row("c", "value of c", &[]), row("d", "value of d", &["p"])];
    assert_eq!(rows[0], row("a", "new", &["n", "x"]));
    assert_eq!(rows[1..], others);
    let found = store.find(T, marks(&["m", "n", "x", "y", "z", "o", "p"])).await.unwrap();
    assert_eq!(found, [None, Some(key("a")), Some(key("a")), None, None, Some(key("b")), Some(key("d"))]);
    // Again, on what was seen first: somebody was faster.
    assert_eq!(store.swap(T, vec![swap(row("a", "value of a", &["m", "n"]), "late", &[])]).await.unwrap(), [Swapped::Changed]);
    // All marks go, and come back.
    assert_eq!(store.swap(T, vec![swap(row("a", "new", &["n", "x"]), "bare", &[])]).await.unwrap(), [Swapped::Done]);
    assert_eq!(store.swap(T, vec![swap(row("a", "bare", &[]), "bare", &["m"])]).await.unwrap(), [Swapped::Done]);
    assert_eq!(store.swap(T, Vec::new()).await.unwrap(), []);
    for wrong in [
        vec![swap(row("b", "value of b", &["o"]), "", &["q"]), swap(row("d", "value of d", &["p"]), "", &["q"])],
        vec![swap(row("b", "value of b", &["o"]), "", &[]), swap(row("b", "value of b", &["o"]), "", &[])],
        vec![Swap { marks: vec![vec![7; MAX_KEY_BYTES + 1]], ..swap(row("b", "value of b", &["o"]), "", &[]) }],
    ] {
        assert!(matches!(store.swap(T, wrong).await, Err(StoreError::Misuse(_))));
    }
    assert_fits(&store).await;
}

/// Sweeps that meet each other, writers, and whoever removes rows: of each row somebody's whole version is there, or none.
pub(super) async fn racing_swaps_and_changes_lose_nothing(place: &Place) {
    let (one, other) = place.two();
    one.claim(T, (0..40).map(|n| claim(&format!("k{n:02}"), &[&format!("m{n:02}")])).collect()).await.unwrap();
    let sweep = |store: Arc<Store>, who: usize| async move {
        let mut done = 0;
        for round in 0..10 {
            let mut rows = store.list(T, Vec::new(), None, 100).await.unwrap();
            if (who + round).is_multiple_of(2) {
                rows.reverse();
            }
            let swaps = rows.into_iter().map(|seen| {
                let value = [&seen.value[..], b"+"].concat();
                let marks = vec![seen.marks[0].clone(), format!("{who}-{round}-{}", by_chance(u64::MAX)).into_bytes()];
                Swap { seen, value, marks }
            });
            let answer = store.swap(T, swaps.collect()).await.unwrap();
            done += answer.iter().filter(|swapped| **swapped == Swapped::Done).count();
        }
        done
    };
    let removes = async {
        for n in 0..10 {
            other.change(T, vec![Change::Remove(key(&format!("k{n:02}")))]).await.unwrap();
        }
    };
    let (ours, theirs, ()) =
        tokio::join!(tokio::spawn(sweep(Arc::clone(&one), 0)), tokio::spawn(sweep(Arc::clone(&other), 1)), removes);
    let rows = one.list(T, Vec::new(), None, 100).await.unwrap();
    assert_eq!(rows.len(), 30, "what was removed stays so");
    let pluses: usize = rows.iter().map(|row| row.value.len() - "value of k00".len()).sum();
    let done = ours.unwrap() + theirs.unwrap();
    assert!(pluses <= done && done > 0 && rows.iter().all(|row| row.marks.len() == 2), "{pluses} of {done}");
    assert_fits(&other).await;
}

pub(super) async fn mistakes_of_the_caller_are_refused(place: &Place) {
    let store = place.open();
    let long = vec![7; MAX_KEY_BYTES + 1];
    let link = |table, link: &[u8]| Claim { link: Some((table, link.to_vec())), ..claim("a", &[]) };
    let wrong = [
        vec![Claim { key: long.clone(), ..claim("a", &[]) }],
        vec![Claim { marks: vec![long.clone()], ..claim("a", &[]) }],
        vec![link(Table::TokenRef, &long)],
        vec![link(T, b"own table")],
        vec![claim("a", &["m", "n"]), claim("b", &["n"])],
    ];
    for claims in wrong {
        let error = store.claim(T, claims).await.unwrap_err();
        assert!(matches!(error, StoreError::Misuse(_)), "{error}");
    }
    let wrong = [
        vec![Change::Put(Row { marks: vec![long.clone()], ..row("a", "", &[]) })],
        vec![Change::Put(row("a", "", &["m"])), Change::Put(row("b", "", &["m"]))],
        vec![Change::Remove(vec![7; 3 * MAX_KEY_BYTES])],
    ];
    for changes in wrong {
        let error = store.change(T, changes).await.unwrap_err();
        assert!(matches!(error, StoreError::Misuse(_)), "{error}");
    }
    assert_eq!(store.list(T, Vec::new(), None, 10).await.unwrap(), []);
    // What is long, but not too long, is kept, also as the key of a link.
    let longest = vec![0xff; MAX_KEY_BYTES];
    let claim = Claim {
        key: longest.clone(),
        value: Vec::new(),
        marks: vec![longest.clone()],
        link: Some((Table::TokenRef, longest.clone())),
    };
    assert_eq!(store.claim(T, vec![claim]).await.unwrap(), [Claimed::Made]);
    let link = enc(&[&longest, &longest]);
    assert_eq!(store.read(Table::TokenRef, vec![link.clone()]).await.unwrap(), [Some(Vec::new())]);
    store.change(Table::TokenRef, vec![Change::Remove(link)]).await.unwrap();
}

pub(super) async fn what_is_stored_outlives_the_handle(place: &Place) {
    let store = place.open();
    store.claim(T, (0..100).map(|n| claim(&format!("k{n}"), &[&format!("m{n}")])).collect()).await.unwrap();
    store.change(T, vec![Change::Remove(key("k1"))]).await.unwrap();
    store.raise_high_water("ring", 3).unwrap();
    drop(store);
    let store = place.open();
    assert_eq!(store.list(T, Vec::new(), None, 1_000).await.unwrap().len(), 99);
    assert_eq!(store.claim(T, vec![claim("new", &["m5"])]).await.unwrap(), [holding("k5", "value of k5")]);
    assert_eq!(store.high_water("ring").unwrap(), 3);
}

pub(super) async fn ten_thousand_claims_are_one_call(place: &Place) {
    let store = place.open();
    let claims = |who: &str| -> Vec<Claim> {
        (0..10_000).map(|n| claim(&format!("{who}{n}"), &[&format!("m{n}"), &format!("n{n}")])).collect()
    };
    let answer = store.claim(T, claims("a")).await.unwrap();
    assert!(answer.iter().all(|claimed| *claimed == Claimed::Made) && answer.len() == 10_000);
    let answer = store.claim(T, claims("b")).await.unwrap();
    for (n, claimed) in answer.iter().enumerate() {
        assert_eq!(*claimed, holding(&format!("a{n}"), &format!("value of a{n}")));
    }
    let values = store.read(T, (0..10_000).map(|n| key(&format!("a{n}"))).collect()).await.unwrap();
    assert!(values.iter().all(Option::is_some));
}

pub(super) async fn any_bytes_are_a_key(place: &Place) {
    let store = place.open();
    let odd: [&[u8]; 8] =
        [b"", b"\0", b"\0\0", b"a\0b", b"\\x00", b"'; drop table sudare_token; --", b"\xff\xfe", "é\u{0}".as_bytes()];
    let claims = odd.iter().map(|bytes| Claim {
        key: bytes.to_vec(),
        value: bytes.repeat(3),
        marks: vec![bytes.to_vec()],
        link: Some((Table::TokenRef, bytes.to_vec())),
    });
    assert_eq!(store.claim(T, claims.collect()).await.unwrap(), vec![Claimed::Made; 8]);
    let keys: Vec<Vec<u8>> = odd.iter().map(|bytes| bytes.to_vec()).collect();
    let values = store.read(T, keys.clone()).await.unwrap();
    assert_eq!(values, odd.iter().map(|bytes| Some(bytes.repeat(3))).collect::<Vec<_>>());
    assert_eq!(store.find(T, keys.clone()).await.unwrap(), keys.iter().cloned().map(Some).collect::<Vec<_>>());
    let links = store.read(Table::TokenRef, odd.iter().map(|bytes| enc(&[bytes, bytes])).collect()).await.unwrap();
    assert_eq!(links, vec![Some(Vec::new()); 8]);
    let listed: BTreeSet<Vec<u8>> = store.list(T, Vec::new(), None, 10).await.unwrap().into_iter().map(|row| row.key).collect();
    assert_eq!(listed, keys.into_iter().collect());
}

pub(super) async fn high_water_only_rises(place: &Place) {
    let (one, other) = place.two();
    assert_eq!(one.high_water("ring:main:shop").unwrap(), 0);
    assert_eq!(one.raise_high_water("ring:main:shop", 7).unwrap(), 7);
    assert_eq!(other.raise_high_water("ring:main:shop", 3).unwrap(), 7, "a lower number is answered with the mark");
    assert_eq!(other.high_water("ring:main:shop").unwrap(), 7);
    let races: Vec<_> = (0..4_u64)
        .map(|start| {
            let store = Arc::clone(if start % 2 == 0 { &one } else { &other });
            tokio::task::spawn_blocking(move || {
                for n in 1..=10 {
                    let seen = n * 4 + start;
                    assert!(store.raise_high_water("r", seen).unwrap() >= seen);
                }
            })
        })
        .collect();
    for race in races {
        race.await.unwrap();
    }
    assert_eq!(one.high_water("r").unwrap(), 43);
    let all = one.high_waters().await.unwrap();
    assert_eq!(all, [("r".to_owned(), 43), ("ring:main:shop".to_owned(), 7)]);
}

pub(super) async fn migrating_twice_changes_nothing(place: &Place) {
    // A store that is not there is made.
    let store = Store::migrate(&place.config()).unwrap();
    assert_eq!(store.version().await.unwrap(), 3);
    store.claim(T, vec![claim("a", &["m"])]).await.unwrap();
    drop(store);
    place.set_version(0);
    for _ in 0..2 {
        let store = Store::migrate(&place.config()).unwrap();
        assert_eq!(store.version().await.unwrap(), 3);
        assert_eq!(store.list(T, Vec::new(), None, 10).await.unwrap().len(), 1);
    }
    assert_eq!(place.open().version().await.unwrap(), 3);
}

pub(super) async fn other_schemas_are_refused(place: &Place) {
    drop(place.open());
    place.set_version(4);
    for opened in [Store::open(&place.config(), None), Store::migrate(&place.config()), Store::existing(&place.config())] {
        let error = opened.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 4, known: 3, .. }), "{error}");
        assert!(error.to_string().ends_with("upgrade Sudare"), "{error}");
    }
    place.set_version(0);
    for opened in [Store::open(&place.config(), None), Store::existing(&place.config())] {
        let error = opened.unwrap_err();
        assert!(matches!(error, StoreError::Older { found: 0, known: 3, .. }), "{error}");
        assert!(error.to_string().ends_with("run `sudare store migrate`"), "{error}");
    }
    drop(Store::migrate(&place.config()).unwrap());
    drop(place.open());
}

pub(super) async fn word_goes_round(place: &Place) {
    let (one, other) = place.two();
    one.announce("ring").await.unwrap();
    let mut ring = other.watch("ring").await.unwrap();
    let mut rest = other.watch("policy").await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(300), ring.changed()).await;
    assert!(quiet.is_err(), "what was announced before is no news");
    for _ in 0..3 {
        one.announce("ring").await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), ring.changed()).await.expect("in time").unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_millis(300), rest.changed()).await.is_err(), "another topic");
    other.announce("policy").await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), rest.changed()).await.expect("one's own, too").unwrap();
}

/// Batch `n` of a writer: ten rows, a link each, and a change of an earlier one.
pub(super) async fn write_batch(store: &Store, n: u64) -> Result<(), StoreError> {
    let claims = (0..10).map(|m| Claim {
        link: Some((Table::TokenRef, b"someone".to_vec())),
        ..claim(&format!("{n:06}-{m}-{}", by_chance(u64::MAX)), &[&format!("{n:06}-{m}")])
    });
    let made = store.claim(T, claims.collect()).await?;
    assert!(made.iter().all(|claimed| *claimed != Claimed::Taken));
    Ok(())
}

/// `kill -9` of the process that writes, again and again: what it said is stored is there once, and no batch is there in part.
pub(super) async fn killed_writers_lose_nothing(place: &Place) {
    drop(place.open());
    let mut first = 0;
    let mut acknowledged = 0;
    for _ in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::store_writer_of_redb_and_postgres", "--nocapture", "--test-threads=1"])
            .env("SUDARE_TEST_STORE_WRITER", format!("{}|{first}", place.url()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().any(|line| line.unwrap() == "ready"), "the writer did not start");
        tokio::time::sleep(Duration::from_millis(20 + by_chance(130))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        place.quiet().await;
        let said: Vec<u64> = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("stored ")?.parse().ok()).collect();
        acknowledged += said.len();
        let last = said.last().copied();
        let store = place.open();
        let rows = all_rows(&store).await;
        let mut batches = std::collections::BTreeMap::<String, usize>::new();
        for row in &rows {
            let mark = String::from_utf8(row.marks[0].clone()).unwrap();
            *batches.entry(mark.split('-').next().unwrap().to_owned()).or_default() += 1;
        }
        assert!(batches.values().all(|rows| *rows == 10), "a batch is there in part, or twice: {batches:?}");
        let stored = u64::try_from(batches.len()).unwrap();
        assert!(stored >= last.map_or(0, |last| last + 1), "{stored} batches, but {last:?} was said to be stored");
        assert_eq!(store.list(Table::TokenRef, Vec::new(), None, 1 << 20).await.unwrap().len(), rows.len());
        assert_fits(&store).await;
        // The last one may be stored without a word; it is begun again, and found.
        first = stored.saturating_sub(1);
    }
    assert!(acknowledged > 10, "only {acknowledged} batches: the writers hardly ran");
}

async fn all_rows(store: &Store) -> Vec<Row> {
    store.list(T, Vec::new(), None, 1 << 20).await.unwrap()
}

pub(super) async fn a_caller_that_goes_away_leaves_nothing_half_done(place: &Place) {
    let store = place.open();
    for n in 0..20_u64 {
        let claims = (0..50).map(|m| claim(&format!("{n}-{m}"), &[&format!("{n}-{m}")])).collect();
        let call = store.claim(T, claims);
        drop(tokio::time::timeout(Duration::from_micros(by_chance(3_000)), call).await);
    }
    // Whatever is still under way comes to its end.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let rows = all_rows(&store).await;
    assert_eq!(rows.len() % 50, 0, "{} rows", rows.len());
    assert_eq!(store.claim(T, vec![claim("after", &["after"])]).await.unwrap(), [Claimed::Made]);
    assert_fits(&store).await;
}

pub(super) async fn check_finds_what_does_not_fit(place: &Place) {
    let store = place.open();
    let link = |name: &str, marks: &[&str]| Claim { link: Some((Table::TokenRef, b"mei".to_vec())), ..claim(name, marks) };
    store.claim(T, vec![link("a", &["1"]), link("b", &["2"]), link("c", &["3", "4"]), claim("d", &["5"])]).await.unwrap();
    let counted = assert_fits(&store).await;
    let count = |table, rows, marks| Counted { table, rows, marks };
    let empty = [Table::Ring, Table::Fact].map(|table| count(table, 0, 0));
    assert_eq!(counted, [[count(T, 4, 5), count(Table::TokenRef, 3, 0)], empty].concat());
    drop(store);
    place.damage(Damage::Unmark(b"1"));
    place.damage(Damage::Remove(&key("b")));
    place.damage(Damage::Mark(b"4", &key("d")));
    place.damage(Damage::Mark(b"6", &key("a")));
    let store = place.open();
    store.change(T, vec![Change::Put(Row { key: b"no key".to_vec(), value: Vec::new(), marks: Vec::new() })]).await.unwrap();
    let (findings, _) = checked(&store, None).await;
    let finding = |table, place, what| Finding { table, place, what };
    let mut expected = vec![
        finding(T, 1, "a mark of it is not there"),
        finding(T, 2, "a mark of it names another row"),
        finding(T, 4, "its key is not parts with their lengths"),
        finding(T, 1, "a mark names a row that is not there"),
        finding(Table::TokenRef, 2, "the row that it links to is not there"),
    ];
    // The row "no key" stands last or first by its bytes; the marks are 2, 3, 4, 5, 6.
    let strange =
        [finding(T, 3, "a mark names a row that does not have it"), finding(T, 5, "a mark names a row that does not have it")];
    expected.extend(strange);
    for finding in &expected {
        assert!(findings.contains(finding), "{finding:?} is not in {findings:#?}");
    }
    assert_eq!(findings.len(), expected.len(), "{findings:#?}");
}

pub(super) async fn check_asks_who_knows_values(place: &Place) {
    struct Knows;
    impl Verify for Knows {
        fn verify(&self, table: Table, row: &Row) -> Result<(), &'static str> {
            if table == T && row.value == b"value of b" { Err("its value does not open") } else { Ok(()) }
        }
    }
    let store = place.open();
    store.claim(T, vec![claim("a", &[]), claim("b", &[]), claim("c", &[])]).await.unwrap();
    let (findings, _) = checked(&store, Some(&Knows)).await;
    assert_eq!(findings, [Finding { table: T, place: 2, what: "its value does not open" }]);
}

async fn checked(store: &Store, verify: Option<&dyn Verify>) -> (Vec<Finding>, Vec<Counted>) {
    let mut findings = Vec::new();
    let counted = check(store, verify, &mut |finding| findings.push(finding)).await.unwrap();
    (findings, counted)
}

/// Marks and rows and links fit.
pub(super) async fn assert_fits(store: &Store) -> Vec<Counted> {
    let (findings, counted) = checked(store, None).await;
    assert_eq!(findings, []);
    counted
}

/// The vault over this store: callers that race on one value agree, and every row is sound.
pub(super) async fn a_vault_makes_one_token_of_one_value(place: &Place) {
    use sudare::base::{Controller, RecordId};
    use sudare::keys::{KeyRing, Rings};
    use sudare::purpose::{Permit, Upkeep};
    use sudare::vault::{Format, Kind, Known, Scope, Vault, Verifier, Wish};
    let store: Arc<Store> = place.open();
    let keys: Arc<Rings> = KeyRing::ephemeral(Controller::new("shop"), &[]).unwrap().into();
    let vaults = [0, 1].map(|_| Vault::new(store.clone(), Arc::clone(&keys)));
    let kind = Kind { scope: Scope::named("ids"), format: Format::Digits, consistent: true };
    let wish = |n: usize| {
        let text = format!("+81 90 0000 {n:04}");
        let subject = Some(RecordId::from_text(&format!("c-{n}")).unwrap());
        Wish { kind: kind.clone(), json: format!("\"{text}\"").into_bytes(), text, subject }
    };
    let wishes: Vec<Wish> = (0..100).map(wish).collect();
    let mut running = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (vault, mut wishes) = (vaults[caller % 2].clone(), wishes.clone());
        running.spawn(async move {
            // Each in another order.
            wishes.rotate_left(caller * 7);
            let mut tokens = vault.tokenise(&wishes).await.unwrap();
            tokens.rotate_right(caller * 7);
            tokens
        });
    }
    let all = running.join_all().await;
    assert!(all.iter().all(|tokens| *tokens == all[0]));
    assert_eq!(all[0].iter().collect::<BTreeSet<_>>().len(), 100);
    let asked: Vec<_> = all[0].iter().map(|token| (kind.scope.clone(), token.clone())).collect();
    let upkeep = Upkeep::dangerous_for("a test");
    let known = vaults[1].detokenise(&asked, Permit::Upkeep(&upkeep)).await.unwrap();
    for (known, wish) in known.iter().zip(&wishes) {
        assert!(matches!(known, Known::Value(json) if **json == wish.json));
    }
    assert_eq!(vaults[0].references(&kind.scope, &all[0][7]).await.unwrap().len(), 1);
    let mut findings = Vec::new();
    let counted = check(&store, Some(&Verifier::new(keys)), &mut |finding| findings.push(finding)).await.unwrap();
    assert_eq!((counted[0].rows, counted[0].marks, counted[1].rows), (100, 100, 100));
    assert!(findings.is_empty(), "{findings:?}");
}
