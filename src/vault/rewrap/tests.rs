//! Rows under old versions, made anew in a store in memory.

use std::sync::Arc;

use super::super::testing::*;
use super::super::{Format, Kind, Known, Verifier, Wish};
use super::*;
use crate::keys::State;

const BOTH: Which = Which { token: true, lookup: true };

/// Token versions 1 and 11, lookup versions 2 and 12.
fn ring_in(token: [State; 2], lookup: [State; 2]) -> Arc<Rings> {
    let versions = [
        (LineName::Token, 1, token[0]),
        (LineName::Token, 11, token[1]),
        (LineName::Lookup, 2, lookup[0]),
        (LineName::Lookup, 12, lookup[1]),
    ];
    let present = versions.into_iter().filter(|(_, _, state)| *state != State::Destroyed);
    rings_of("shop", &present.collect::<Vec<_>>())
}

fn before() -> Arc<Rings> {
    rings_of("shop", &[(LineName::Token, 1, State::Active), (LineName::Lookup, 2, State::Active)])
}

fn after() -> Arc<Rings> {
    ring_in([State::Deactivated, State::Active], [State::Deactivated, State::Active])
}

fn wish(text: &str, consistent: bool) -> Wish {
    let kind = Kind { scope: Scope::named("ids"), format: Format::Opaque, consistent };
    Wish { kind, json: format!("\"{text}\"").into_bytes(), text: text.to_owned(), subject: None }
}

fn vault(rows: &Arc<Memory>, keys: Arc<Rings>) -> Vault {
    Vault::new(rows.clone(), keys)
}

/// Three consistent values and a fresh one, made with the first versions.
async fn filled() -> (Arc<Memory>, Vec<String>) {
    let rows = Arc::new(Memory::default());
    let wishes: Vec<Wish> = [("Mei", true), ("Ken", true), ("Ana", true), ("Mei", false)].map(|(text, c)| wish(text, c)).to_vec();
    let tokens = vault(&rows, before()).tokenise(&wishes).await.unwrap();
    (rows, tokens)
}

async fn all(vault: &Vault, most: usize, which: Which) -> Rewrapped {
    let mut done = Rewrapped::default();
    let mut after = None;
    loop {
        let renewal = vault.rewrap(None, after, most, which).await.unwrap();
        after = renewal.next();
        let page = renewal.write().await.unwrap();
        done.rows += page.rows;
        done.anew += page.anew;
        done.changed += page.changed;
        done.told.extend(page.told);
        for (hangs, count) in page.hung {
            *done.hung.entry(hangs).or_default() += count;
        }
        if after.is_none() {
            return done;
        }
    }
}

async fn opened(vault: &Vault, tokens: &[String]) -> Vec<Known> {
    let asked: Vec<_> = tokens.iter().map(|token| (Scope::named("ids"), token.clone())).collect();
    let upkeep = Upkeep::dangerous_for("a test");
    vault.detokenise(&asked, Permit::Upkeep(&upkeep)).await.unwrap()
}

fn is(known: &Known, text: &str) -> bool {
    matches!(known, Known::Value(json) if **json == format!("\"{text}\"").into_bytes())
}

#[tokio::test]
async fn rows_are_sealed_and_marked_anew_and_tokens_stay() {
    let (rows, tokens) = filled().await;
    let vault = vault(&rows, after());
    let done = all(&vault, 2, BOTH).await;
    assert_eq!((done.rows, done.anew, done.changed, done.told.len(), done.hung.len()), (4, 4, 0, 0, 2));
    let known = opened(&vault, &tokens).await;
    assert!(known.iter().zip(["Mei", "Ken", "Ana", "Mei"]).all(|(known, text)| is(known, text)));
    for row in rows.all(Table::Token) {
        assert_eq!(row::kid_of(&row.value), Some(kid(11)));
        let kids: HashSet<Kid> = row.marks.iter().filter_map(|mark| row::kid_of_mark(mark)).collect();
        assert!(kids.is_empty() || kids == HashSet::from([kid(2), kid(12)]), "marked for nodes on either side");
        Verifier::new(after()).verify(&row).unwrap();
    }
    // The next one finds nothing to do, and equal values go on having equal tokens, also for a node that has not heard of the new versions.
    assert_eq!(all(&vault, 100, BOTH).await.anew, 0);
    assert_eq!(vault.tokenise(&[wish("Mei", true)]).await.unwrap()[0], tokens[0]);
    let alone = ring_in([State::Destroyed, State::Active], [State::Destroyed, State::Active]);
    let alone = vault.with(alone);
    assert_eq!(alone.tokenise(&[wish("Ken", true)]).await.unwrap()[0], tokens[1], "nothing hangs on the old versions");
    assert_eq!(alone.find(&[(Scope::named("ids"), b"\"Ana\"".to_vec())]).await.unwrap()[0].as_ref(), Some(&tokens[2]));
}

#[tokio::test]
async fn only_the_chosen_line_changes_and_counting_changes_nothing() {
    let (rows, _) = filled().await;
    let vault = vault(&rows, after());
    let stored = rows.all(Table::Token);
    let counted = vault.rewrap(None, None, 100, BOTH).await.unwrap().count();
    assert_eq!((counted.anew, counted.rows), (4, 4));
    let counted = vault.rewrap(Some(&Scope::named("ids")), None, 100, BOTH).await.unwrap().count();
    assert_eq!(counted.hung, BTreeMap::from([((LineName::Token, kid(1)), 4), ((LineName::Lookup, kid(2)), 3)]));
    assert_eq!(vault.rewrap(Some(&Scope::named("id")), None, 100, BOTH).await.unwrap().count().rows, 0);
    assert!(rows.all(Table::Token) == stored, "counting writes nothing");
    all(&vault, 100, Which { token: true, lookup: false }).await;
    let marks = |rows: &[Row]| rows.iter().map(|row| row.marks.clone()).collect::<Vec<_>>();
    assert!(marks(&rows.all(Table::Token)) == marks(&stored));
    let sealed = rows.all(Table::Token);
    all(&vault, 100, Which { token: false, lookup: true }).await;
    assert!(rows.all(Table::Token).iter().zip(&sealed).all(|(now, then)| now.value == then.value));
    assert_eq!(all(&vault, 100, BOTH).await.anew, 0);
}

#[tokio::test]
async fn a_row_that_was_changed_or_removed_meanwhile_is_left() {
    let (rows, tokens) = filled().await;
    let vault = vault(&rows, after());
    let renewal = vault.rewrap(None, None, 100, BOTH).await.unwrap();
    let mut keys: Vec<Vec<u8>> = Vec::new();
    rows.edit(|all| {
        keys = all.keys().map(|(_, key)| key.clone()).collect();
        all.remove(&(Table::Token, keys[0].clone()));
        all.get_mut(&(Table::Token, keys[1].clone())).unwrap().value[40] ^= 1;
    });
    let done = renewal.write().await.unwrap();
    assert_eq!((done.anew, done.changed), (2, 2));
    assert_eq!(rows.all(Table::Token).len(), 3, "what is gone stays gone");
    // The one that was changed by hand does not open any more; it is told by its token, and left.
    let done = all(&vault, 100, BOTH).await;
    assert_eq!((done.anew, done.told.len(), done.told[0].trouble), (0, 1, Trouble::NotAuthentic));
    assert!(tokens.contains(&done.told[0].token) && done.told[0].scope == "ids");
    assert!(done.hung.values().sum::<u64>() > 0);
}

#[tokio::test]
async fn t1_rows_that_were_moved_or_marked_as_others_are_left_and_told() {
    let (rows, _) = filled().await;
    let vault = vault(&rows, after());
    rows.edit(|all| {
        let marked: Vec<_> = all.iter().filter(|(_, row)| !row.marks.is_empty()).map(|(key, _)| key.clone()).collect();
        let (one, other) = (all[&marked[0]].clone(), all[&marked[1]].clone());
        all.get_mut(&marked[0]).unwrap().marks = other.marks;
        all.get_mut(&marked[1]).unwrap().value = one.value;
        let strange = Row { key: enc(&[b"shop", b"ids"]), value: vec![1; 80], marks: Vec::new() };
        all.insert((Table::Token, strange.key.clone()), strange);
    });
    let stored = rows.all(Table::Token);
    let done = all(&vault, 100, BOTH).await;
    let mut troubles: Vec<Trouble> = done.told.iter().map(|told| told.trouble).collect();
    troubles.sort_by_key(|trouble| format!("{trouble:?}"));
    assert_eq!(troubles, [Trouble::Mark, Trouble::NotAuthentic, Trouble::NotAuthentic]);
    assert_eq!(done.anew, 2);
    let left = rows.all(Table::Token).into_iter().filter(|row| stored.contains(row)).count();
    assert_eq!(left, 3, "byte for byte");
}

#[tokio::test]
async fn compromised_rows_are_told_before_they_are_written() {
    let (rows, tokens) = filled().await;
    let vault = vault(&rows, ring_in([State::Compromised, State::Active], [State::Active, State::PreActive]));
    let renewal = vault.rewrap(None, None, 100, BOTH).await.unwrap();
    assert_eq!(renewal.told().len(), 4);
    assert!(renewal.told().iter().all(|told| told.trouble == Trouble::Compromised(kid(1)) && tokens.contains(&told.token)));
    assert_eq!(renewal.write().await.unwrap().anew, 4);
    assert!(is(&opened(&vault, &tokens).await[0], "Mei"));
    assert!(rows.all(Table::Token).iter().all(|row| row::kid_of(&row.value) == Some(kid(11))));
}

#[tokio::test]
async fn a_second_token_of_a_value_goes_on_standing_for_it() {
    let (rows, tokens) = filled().await;
    // The lookup version is lost; somebody writes the value again and gets another token.
    let lost = ring_in([State::Active, State::PreActive], [State::Compromised, State::Active]);
    let vault = vault(&rows, lost.clone());
    let second = vault.tokenise(&[wish("Mei", true)]).await.unwrap().remove(0);
    assert_ne!(second, tokens[0]);
    let done = all(&vault, 100, BOTH).await;
    let told: Vec<_> = done.told.iter().map(|told| (told.token.as_str(), told.trouble)).collect();
    assert_eq!(told, [(tokens[0].as_str(), Trouble::Second)]);
    assert!(opened(&vault, &[tokens[0].clone(), second.clone()]).await.iter().all(|known| is(known, "Mei")));
    assert_eq!(vault.tokenise(&[wish("Mei", true), wish("Ken", true)]).await.unwrap(), [second, tokens[1].clone()]);
    for row in rows.all(Table::Token) {
        Verifier::new(lost.clone()).verify(&row).unwrap();
        assert!(row.marks.iter().all(|mark| row::kid_of_mark(mark) == Some(kid(12))), "marks of the lost version are gone");
    }
    assert_eq!(all(&vault, 100, BOTH).await.anew, 0);
}

#[tokio::test]
async fn two_rows_of_one_page_that_want_one_mark_are_settled() {
    let rows = Arc::new(Memory::default());
    // Each made while the other's version was no one's.
    let with = |lookup: u8| rings_of("shop", &[(LineName::Token, 1, State::Active), (LineName::Lookup, lookup, State::Active)]);
    let one = vault(&rows, with(2)).tokenise(&[wish("Mei", true)]).await.unwrap().remove(0);
    let two = vault(&rows, with(12)).tokenise(&[wish("Mei", true)]).await.unwrap().remove(0);
    let three = [(LineName::Token, 1, State::Active), (LineName::Lookup, 22, State::Active)];
    let lookups = [(LineName::Lookup, 2, State::Deactivated), (LineName::Lookup, 12, State::Deactivated)];
    let vault = vault(&rows, rings_of("shop", &[three.as_slice(), lookups.as_slice()].concat()));
    for _ in 0..3 {
        all(&vault, 100, BOTH).await;
    }
    assert!(opened(&vault, &[one.clone(), two.clone()]).await.iter().all(|known| is(known, "Mei")));
    let found = vault.find(&[(Scope::named("ids"), b"\"Mei\"".to_vec())]).await.unwrap().remove(0).unwrap();
    assert!(found == one || found == two);
    assert_eq!(all(&vault, 100, BOTH).await.anew, 0);
}

#[tokio::test]
async fn a_store_that_is_down_is_an_error_and_nothing_is_lost() {
    let (rows, tokens) = filled().await;
    let vault = vault(&rows, after());
    let renewal = vault.rewrap(None, None, 100, BOTH).await.unwrap();
    rows.down.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(renewal.write().await.is_err());
    assert!(vault.rewrap(None, None, 100, BOTH).await.is_err());
    rows.down.store(false, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(all(&vault, 100, BOTH).await.anew, 4);
    assert!(is(&opened(&vault, &tokens).await[1], "Ken"));
}

#[tokio::test]
async fn rows_of_each_ring_are_made_anew_under_that_ring_and_those_of_a_ring_that_is_not_held_are_left() {
    use crate::base::RingName;
    use crate::keys::Rings;
    let identity = || RingName::new("identity");
    let group = |token: [State; 2], lookup: [State; 2]| {
        let versions = [(21, LineName::Token, token[0]), (31, LineName::Token, token[1])].into_iter();
        let versions = versions.chain([(22, LineName::Lookup, lookup[0]), (32, LineName::Lookup, lookup[1])]);
        let versions = versions.map(|(n, line, state)| (line, kid(n), state, [n; 32])).collect();
        KeyRing::with_versions(crate::base::Controller::new("shop"), versions).named(identity())
    };
    let main = |states: [State; 2]| {
        let lines = [(LineName::Token, 1), (LineName::Lookup, 2)].map(|(line, n)| (line, kid(n), states[0], [n; 32]));
        let newer = [(LineName::Token, 11), (LineName::Lookup, 12)].map(|(line, n)| (line, kid(n), states[1], [n; 32]));
        KeyRing::with_versions(crate::base::Controller::new("shop"), lines.into_iter().chain(newer).collect())
    };
    let (first, second) = ([State::Active, State::PreActive], [State::Deactivated, State::Active]);
    let rings =
        |of_main, of_group| Arc::new(Rings::of_rings(main(of_main), vec![group(of_group, of_group)], Vec::new()).unwrap());
    let rows = Arc::new(Memory::default());
    let scopes = [Scope::named("ids"), Scope::named("phones").in_ring(identity())];
    let wishes =
        scopes.clone().map(|scope| Wish { kind: Kind { scope, format: Format::Opaque, consistent: true }, ..wish("Mei", true) });
    let tokens = vault(&rows, rings(first, first)).tokenise(&wishes).await.unwrap();

    // Who is not given the ring leaves what is of it, and accuses nobody.
    let alone = Arc::new(Rings::of_rings(main(second), Vec::new(), vec![identity()]).unwrap());
    let done = all(&vault(&rows, alone), 100, BOTH).await;
    assert_eq!((done.rows, done.anew, done.told.len()), (2, 1, 0));
    let done = all(&vault(&rows, rings(second, second)), 100, BOTH).await;
    assert_eq!((done.anew, done.told.len()), (1, 0));
    assert_eq!(
        done.hung.keys().cloned().collect::<Vec<_>>(),
        [(LineName::Token, kid(21))],
        "marked under both versions from the first"
    );
    let vault = vault(&rows, rings(second, second));
    for row in rows.all(Table::Token) {
        Verifier::new(rings(second, second)).verify(&row).unwrap();
    }
    assert_eq!(vault.tokenise(&wishes).await.unwrap(), tokens, "equal values go on having equal tokens");
    let counted = vault.count_rows(&mut |_| {}).await.unwrap();
    assert_eq!(counted.sealed.into_keys().collect::<HashSet<_>>(), HashSet::from([kid(11), kid(31)]));
    assert_eq!(counted.found_by.into_keys().collect::<HashSet<_>>(), HashSet::from([kid(12), kid(32)]));
}
