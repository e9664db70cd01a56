//! The vault over a store in memory: what it promises of tokens, and what rows that were changed by hand do.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::testing::*;
use super::*;
use crate::base::Controller;
use crate::keys::{KeyRing, LineName, State};

fn kind(scope: &str, format: Format, consistent: bool) -> Kind {
    Kind { scope: Scope::named(scope), format, consistent }
}

fn wish(scope: &str, format: Format, text: &str) -> Wish {
    Wish { kind: kind(scope, format, true), json: format!("\"{text}\"").into_bytes(), text: text.to_owned(), subject: None }
}

fn opaque(text: &str) -> Wish {
    wish("ids", Format::Opaque, text)
}

fn about(subject: &str, wish: Wish) -> Wish {
    Wish { subject: Some(RecordId::from_text(subject).unwrap()), ..wish }
}

fn vault(rows: &Arc<Memory>, keys: &Arc<KeyRing>) -> Vault {
    Vault::new(rows.clone(), Arc::new(Arc::clone(keys).into()))
}

fn new() -> (Arc<Memory>, Vault) {
    let rows = Arc::new(Memory::default());
    let vault = vault(&rows, &ring("shop"));
    (rows, vault)
}

fn verifier() -> Verifier {
    Verifier::new(rings("shop"))
}

fn verifier_of(vault: &Vault) -> Verifier {
    Verifier::new(Arc::clone(&vault.keys))
}

async fn one(vault: &Vault, wish: Wish) -> String {
    vault.tokenise(&[wish]).await.unwrap().remove(0)
}

/// What a token stands for, by way of an opening that keeps house; what a grant opens, the tests of `exchange` show.
async fn opened(vault: &Vault, scope: &str, token: &str) -> Known {
    let upkeep = Upkeep::dangerous_for("a test");
    vault.detokenise(&[(Scope::named(scope), token.to_owned())], Permit::Upkeep(&upkeep)).await.unwrap().remove(0)
}

fn value(text: &str) -> Known {
    Known::Value(Zeroizing::new(format!("\"{text}\"").into_bytes()))
}

#[tokio::test]
async fn every_format_comes_back() {
    let (_, vault) = new();
    for (format, text, long) in [
        (Format::Opaque, "Jan Novák", 31),
        (Format::Digits, "4111-1111-1111-1111", 19),
        (Format::Email, "jan@mail.example", 40),
        (Format::Uuid, "6f1d1b1e-5a8d-4c55-9a54-0d3f5d0c1a11", 36),
    ] {
        let token = one(&vault, wish(format.as_str(), format, text)).await;
        assert_eq!(token.len(), long, "{token}");
        assert!(token != text && format.is_token(&token) != Some(false), "{token}");
        assert_eq!(format.is_reserved(&token), format != Format::Digits);
        assert_eq!(opened(&vault, format.as_str(), &token).await, value(text));
    }
}

/// A row that was computed apart from this code (Python, `cryptography`), with the keys of [`ring`] and the nonce of the first envelope vector:
/// what is stored opens in every release.
#[tokio::test]
async fn a_row_that_was_made_elsewhere_opens_and_is_sound() {
    let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
    let (rows, vault) = new();
    let row = Row {
        key: hex("0000000473686f70000000036964730000001f746f6b315f3030303030303030303030303030303030303030303030303030"),
        value: hex(concat!(
            "013034306732303831ddad866fd9fe2fa83ce976e6e0c9e33033c96a1887c3bd67",
            "65388675096c59e1a083bac365a6e3b0146d771c7da0e9008c206ddf8e1387cc13c221d83ce620d099e95a31628508fb"
        )),
        marks: vec![hex("30383130343067325377e08f6b607935216f872e541e6450f22b39ebe2945059dcc925c83357934d")],
    };
    assert_eq!(verifier().verify(&row), Ok(()));
    rows.change(Table::Token, vec![Change::Put(row)]).await.unwrap();
    assert_eq!(opened(&vault, "ids", "tok1_00000000000000000000000000").await, value("Mei Tanaka"));
    assert_eq!(one(&vault, about("c-1", opaque("Mei Tanaka"))).await, "tok1_00000000000000000000000000");
    let reference = hex("d60b0caaa0c38cf478ba28ba35c570bc");
    assert_eq!(rows.all(Table::TokenRef)[0].key.last_chunk::<16>().unwrap().as_slice(), reference);
}

#[tokio::test]
async fn equal_values_have_one_token_and_fresh_ones_never() {
    let (rows, vault) = new();
    let first = one(&vault, opaque("a")).await;
    assert_eq!(vault.tokenise(&[opaque("a"), opaque("b"), opaque("a")]).await.unwrap()[0], first);
    assert_eq!(rows.all(Table::Token).len(), 2);
    let fresh = || Wish { kind: kind("ids", Format::Opaque, false), ..opaque("a") };
    let tokens = vault.tokenise(&[fresh(), fresh()]).await.unwrap();
    assert!(tokens[0] != tokens[1] && !tokens.contains(&first));
    assert_eq!(opened(&vault, "ids", &tokens[1]).await, value("a"));
    assert!(rows.all(Table::Token).iter().all(|row| verifier().verify(row).is_ok()));
}

/// The issue's promise: a body with a hundred tokens is one call each way.
#[tokio::test]
async fn a_hundred_tokens_are_one_call_each_way() {
    let (rows, vault) = new();
    let wishes: Vec<Wish> = (0..100).map(|n| about(&format!("c-{n}"), opaque(&format!("value {n}")))).collect();
    let tokens = vault.tokenise(&wishes).await.unwrap();
    assert_eq!(rows.calls(), (1, 0, 0));
    let upkeep = Upkeep::dangerous_for("a test");
    let asked: Vec<_> = tokens.iter().map(|token| (Scope::named("ids"), token.clone())).collect();
    let known = vault.detokenise(&asked, Permit::Upkeep(&upkeep)).await.unwrap();
    assert_eq!(known[99], value("value 99"));
    assert_eq!(rows.calls(), (0, 1, 0));
    assert_eq!(vault.tokenise(&wishes).await.unwrap(), tokens);
    assert_eq!(rows.calls(), (1, 0, 0), "known values: their rows come with the answer");
    assert!(vault.tokenise(&[]).await.unwrap().is_empty());
    assert_eq!(rows.calls(), (0, 0, 0));
}

#[tokio::test]
async fn a_token_of_another_scope_or_controller_is_not_there() {
    let (rows, shop) = new();
    let market = vault(&rows, &ring("market"));
    let token = one(&shop, opaque("a")).await;
    assert_eq!(opened(&shop, "others", &token).await, Known::Not);
    assert_eq!(opened(&market, "ids", &token).await, Known::Not);
    assert_ne!(one(&shop, wish("others", Format::Opaque, "a")).await, token);
    assert_ne!(one(&market, opaque("a")).await, token);
    let foreign = rows
        .all(Table::Token)
        .iter()
        .filter(|row| Verifier::new(rings("market")).verify(row) == Err(Unsound::Controller))
        .count();
    assert_eq!(foreign, 2);
    let of_field = |field: &str| Scope::of_field(&CollectionName::new("customers"), &FieldName::new(field));
    assert_eq!(of_field("phone").as_str(), "customers.phone");
    assert_ne!(of_field("phone"), of_field("name"));
}

/// T1, of the store: nothing that is done to a row by hand makes it open as something else.
#[tokio::test]
async fn t1_a_row_that_was_edited_by_hand_does_not_open() {
    let (rows, vault) = new();
    let tokens = vault.tokenise(&[opaque("a"), opaque("b"), wish("others", Format::Opaque, "c")]).await.unwrap();
    let key = |token: &str, scope: &str| (Table::Token, row::key(&Controller::new("shop"), &Scope::named(scope), token));
    let (a, b, c) = (key(&tokens[0], "ids"), key(&tokens[1], "ids"), key(&tokens[2], "others"));
    let whole = rows.all(Table::Token);
    assert_eq!(opened(&vault, "ids", &tokens[0]).await, value("a"), "the control");
    let restore =
        || rows.edit(|rows| whole.iter().for_each(|row| drop(rows.insert((Table::Token, row.key.clone()), row.clone()))));

    // A value moved to another token, of the scope and of another one.
    for from in [&b, &c] {
        rows.edit(|rows| {
            let moved = rows[from].value.clone();
            rows.get_mut(&a).unwrap().value = moved;
        });
        assert_eq!(opened(&vault, "ids", &tokens[0]).await, Known::Bad);
        assert!(matches!(
            verifier().verify(&rows.all(Table::Token).into_iter().find(|row| row.key == a.1).unwrap()),
            Err(Unsound::Value)
        ));
        // The value is still known, but nobody gets its token before the row is put right.
        assert!(matches!(vault.tokenise(&[opaque("a")]).await, Err(VaultError::NotAuthentic { .. })));
        restore();
    }
    // Every bit.
    let bits = whole.iter().find(|row| row.key == a.1).unwrap().value.len() * 8;
    for bit in 0..bits {
        rows.edit(|rows| rows.get_mut(&a).unwrap().value[bit / 8] ^= 1 << (bit % 8));
        assert_eq!(opened(&vault, "ids", &tokens[0]).await, Known::Bad, "bit {bit}");
        restore();
    }
    for len in 0..bits / 8 {
        rows.edit(|rows| rows.get_mut(&a).unwrap().value.truncate(len));
        assert_eq!(opened(&vault, "ids", &tokens[0]).await, Known::Bad, "{len} bytes");
        restore();
    }
    // Marks that changed places: `b` would get the token of `a`.
    rows.edit(|rows| {
        let (of_a, of_b) = (rows[&a].marks.clone(), rows[&b].marks.clone());
        rows.get_mut(&a).unwrap().marks = of_b;
        rows.get_mut(&b).unwrap().marks = of_a;
    });
    assert!(matches!(vault.tokenise(&[opaque("b")]).await, Err(VaultError::NotAuthentic { .. })));
    let unsound = rows.all(Table::Token).iter().filter(|row| matches!(verifier().verify(row), Err(Unsound::Mark))).count();
    assert_eq!(unsound, 2);
    restore();
    rows.edit(|rows| rows.get_mut(&a).unwrap().marks.clear());
    let unmarked = rows.all(Table::Token).into_iter().find(|row| row.key == a.1).unwrap();
    assert!(matches!(verifier().verify(&unmarked), Err(Unsound::Unmarked)));
    for (key, value) in [(vec![], vec![]), (vec![0, 0, 0, 9], vec![1]), (crate::base::enc(&[b"shop", b"ids"]), vec![])] {
        assert!(matches!(verifier().verify(&Row { key, value, marks: vec![] }), Err(Unsound::Key)));
    }
}

/// A fresh row stays one: its kind is part of what is authenticated.
#[tokio::test]
async fn a_fresh_row_cannot_be_marked_as_known() {
    let (rows, vault) = new();
    let fresh = Wish { kind: kind("ids", Format::Opaque, false), ..opaque("a") };
    let token = one(&vault, fresh).await;
    let mark = row::marks(&ring("shop").fingerprint_keys("ids").unwrap(), b"\"a\"").remove(0);
    rows.edit(|rows| rows.values_mut().for_each(|row| row.marks = vec![mark.clone()]));
    assert!(matches!(verifier().verify(&rows.all(Table::Token)[0]), Err(Unsound::Mark)));
    rows.edit(|rows| rows.values_mut().for_each(|row| row.value[0] = 1));
    assert_eq!(opened(&vault, "ids", &token).await, Known::Bad);
}

#[tokio::test]
async fn two_vaults_that_race_on_a_value_make_one_token() {
    let rows = Arc::new(Memory::default());
    let vaults: Vec<Vault> = (0..4).map(|_| vault(&rows, &ring("shop"))).collect();
    let mut running = tokio::task::JoinSet::new();
    for n in 0..64 {
        let vault = vaults[n % 4].clone();
        running.spawn(async move { one(&vault, opaque("the same")).await });
    }
    let mut tokens = running.join_all().await;
    tokens.dedup();
    assert_eq!(tokens.len(), 1);
    assert_eq!(rows.all(Table::Token).len(), 1);
}

/// Nodes learn of a rotation one after the other. Of two that are one step apart, each recognises what the other one made.
#[tokio::test]
async fn a_value_keeps_its_token_before_while_and_after_the_lookup_line_is_rotated() {
    let rows = Arc::new(Memory::default());
    let at = |lookup: &[(u8, State)]| {
        let lines = lookup.iter().map(|(n, state)| (LineName::Lookup, *n, *state));
        let all: Vec<_> = lines.chain([(LineName::Token, 1, State::Active)]).collect();
        vault(&rows, &ring_of("shop", &all))
    };

    let steps = [
        at(&[(7, State::Active)]),
        at(&[(7, State::Active), (8, State::PreActive)]),
        at(&[(7, State::Deactivated), (8, State::Active)]),
    ];
    let mut tokens = Vec::new();
    for (number, one_node) in steps.iter().enumerate() {
        // Each makes one of its own, in either order with its neighbour.
        for other in steps.iter().skip(number.saturating_sub(1)).take(3) {
            let value = format!("made at {number}");
            let made = one(one_node, opaque(&value)).await;
            assert_eq!(one(other, opaque(&value)).await, made, "step {number}");
            tokens.push(made);
        }
    }
    assert_eq!(rows.all(Table::Token).len(), 3);
    for row in rows.all(Table::Token) {
        assert_eq!(verifier_of(&steps[2]).verify(&row), Ok(()));
    }
    // What was made when the new version was published carries its mark, and outlives the old one.
    let last = at(&[(8, State::Active)]);
    let made = one(&steps[1], opaque("later")).await;
    assert_eq!(one(&last, opaque("later")).await, made);
}

#[tokio::test]
async fn rows_of_an_older_token_version_open() {
    let rows = Arc::new(Memory::default());
    let at = |token: &[(u8, State)]| {
        let lines = token.iter().map(|(n, state)| (LineName::Token, *n, *state));
        let all: Vec<_> = lines.chain([(LineName::Lookup, 2, State::Active)]).collect();
        vault(&rows, &ring_of("shop", &all))
    };
    let before = one(&at(&[(7, State::Active)]), opaque("a")).await;
    let rotated = at(&[(7, State::Deactivated), (8, State::Active)]);
    assert_eq!(opened(&rotated, "ids", &before).await, value("a"));
    assert_eq!(one(&rotated, opaque("a")).await, before);
    let after = one(&rotated, opaque("b")).await;
    assert_eq!(opened(&at(&[(7, State::Active)]), "ids", &after).await, Known::Bad, "a node without the new version");
    assert_eq!(opened(&at(&[(7, State::Destroyed), (8, State::Active)]), "ids", &before).await, Known::Bad);
    assert_eq!(opened(&at(&[(7, State::Compromised), (8, State::Active)]), "ids", &before).await, value("a"), "for upkeep");
}

#[tokio::test]
async fn a_row_under_a_compromised_version_is_shown_to_nobody() {
    let rows = Arc::new(Memory::default());
    let at = |token: &[(u8, State)]| {
        let lines = token.iter().map(|(n, state)| (LineName::Token, *n, *state));
        let all: Vec<_> = lines.chain([(LineName::Lookup, 2, State::Active)]).collect();
        vault(&rows, &ring_of("shop", &all))
    };
    let before = one(&at(&[(7, State::Active)]), opaque("a")).await;
    let compromised = at(&[(7, State::Compromised), (8, State::Active)]);
    let policy = crate::purpose::Policy::compile(crate::purpose::tests::shop()).unwrap();
    let grant = policy.decide(&crate::base::CallerName::new("shipping"), Some("delivery"), 1_795_348_800_000).unwrap();
    let ask = async |vault: &Vault, token: &str| {
        let asked = [(Scope::named("ids"), token.to_owned())];
        vault.detokenise(&asked, Permit::Reveal(&grant)).await.unwrap().remove(0)
    };
    assert_eq!(ask(&compromised, &before).await, Known::Compromised(Kid::from_random([7; 5])));
    let other = one(&compromised, opaque("b")).await;
    assert_eq!(ask(&compromised, &other).await, value("b"));
    // Equal values keep their one token, so that writing one again does not free it from the old version: that takes a rewrap.
    assert_eq!(one(&compromised, opaque("a")).await, before);
}

#[tokio::test]
async fn a_format_that_runs_out_is_an_error_and_never_another_format() {
    let (rows, vault) = new();
    rows.full.store(true, Ordering::Relaxed);
    let error = vault.tokenise(&[wish("ids", Format::Digits, "12345678")]).await.unwrap_err();
    assert!(matches!(&error, VaultError::Exhausted { scope } if scope.as_str() == "ids"), "{error}");
    assert_eq!(rows.calls().0, usize::try_from(ATTEMPTS).unwrap());
    assert!(rows.all(Table::Token).is_empty());
}

#[tokio::test]
async fn a_value_that_its_format_has_no_token_for_is_refused_before_the_store_is_asked() {
    let (rows, vault) = new();
    for (format, text) in [
        (Format::Digits, "1234567"),
        (Format::Digits, "１２３４５６７８"),
        (Format::Email, "nobody"),
        (Format::Email, "a b@mail.example"),
        (Format::Email, "@mail.example"),
        (Format::Uuid, "6f1d1b1e5a8d4c559a540d3f5d0c1a11"),
        (Format::Uuid, "6f1d1b1e-5a8d-4c55-9a54-0d3f5d0c1a1g"),
        (Format::Uuid, ""),
    ] {
        let refused = vault.tokenise(&[opaque("fits"), wish("x", format, text)]).await.unwrap_err();
        assert!(matches!(refused, VaultError::Misfit { .. }), "{text}");
        assert!(text.len() < 2 || !refused.to_string().contains(text), "T13");
    }
    assert_eq!(rows.calls(), (0, 0, 0));
}

#[test]
fn tokens_are_known_at_sight_where_they_can_be() {
    let uuid = "00000000-0000-8000-8000-000000000000";
    for (format, text, token, reserved) in [
        (Format::Opaque, "tok1_00000000000000000000000000", Some(true), true),
        (Format::Opaque, "tok1_00000000000000000000000001", Some(false), true),
        (Format::Opaque, "tok1_", Some(false), true),
        (Format::Opaque, "TOK1_00000000000000000000000000", Some(false), false),
        (Format::Email, "00000000000000000000000000@token.invalid", Some(true), true),
        (Format::Email, "jan@Token.Invalid.", Some(false), true),
        (Format::Email, "jan@mail.example", Some(false), false),
        (Format::Uuid, uuid, Some(true), true),
        (Format::Uuid, "00000000-0000-4000-8000-000000000000", Some(false), false),
        (Format::Uuid, "00000000-0000-8000-0000-000000000000", Some(false), false),
        (Format::Digits, "12345678", None, false),
    ] {
        assert_eq!((format.is_token(text), format.is_reserved(text)), (token, reserved), "{text}");
    }
}

#[tokio::test]
async fn whoever_uses_a_token_is_counted_once_and_by_a_keyed_name() {
    let (rows, vault) = new();
    let wishes =
        [about("c-1", opaque("a")), about("c-2", opaque("a")), about("c-1", opaque("a")), opaque("a"), about("c-1", opaque("b"))];
    let tokens = vault.tokenise(&wishes).await.unwrap();
    assert_eq!(rows.calls(), (1, 0, 1), "one more for whom a claim has no room");
    one(&vault, about("c-3", opaque("a"))).await;
    let scope = Scope::named("ids");
    let mut of_a = vault.references(&scope, &tokens[0]).await.unwrap();
    let name = |subject: &str| vault.names_of(&RecordId::from_text(subject).unwrap()).unwrap()[0];
    let mut expected = vec![name("c-1"), name("c-2"), name("c-3")];
    of_a.sort_unstable();
    expected.sort_unstable();
    assert_eq!(of_a, expected);
    assert_eq!(vault.references(&scope, &tokens[4]).await.unwrap(), [name("c-1")]);
    let (_, other) = new();
    let market = self::vault(&rows, &ring("market"));
    assert_ne!(market.names_of(&RecordId::from_text("c-1").unwrap()).unwrap()[0], name("c-1"));
    assert!(other.references(&scope, &tokens[0]).await.unwrap().is_empty());
    // More than one page.
    let many: Vec<Wish> = (0..PAGE + 5).map(|n| about(&format!("s-{n}"), opaque("shared"))).collect();
    let shared = vault.tokenise(&many).await.unwrap().remove(0);
    assert_eq!(vault.references(&scope, &shared).await.unwrap().len(), PAGE + 5);
}

#[tokio::test]
async fn a_search_finds_the_token_of_a_known_value_and_makes_none() {
    let (rows, vault) = new();
    let token = one(&vault, opaque("a")).await;
    rows.calls();
    let asked = |text: &str, scope: &str| (Scope::named(scope), format!("\"{text}\"").into_bytes());
    let found = vault.find(&[asked("a", "ids"), asked("b", "ids"), asked("a", "others")]).await.unwrap();
    assert_eq!(found, [Some(token), None, None]);
    assert_eq!(rows.calls(), (0, 1, 1));
    assert_eq!(vault.find(&[asked("b", "ids")]).await.unwrap(), [None]);
    assert_eq!(rows.calls(), (0, 0, 1), "nothing is read where nothing is found");
    assert_eq!(rows.all(Table::Token).len(), 1);
}

/// T1, of a search: a mark that somebody moved leads to nobody else's documents, and brings no text of theirs into a query.
#[tokio::test]
async fn t1_a_search_is_not_led_astray_by_a_mark_that_was_moved() {
    let (rows, vault) = new();
    let tokens = vault.tokenise(&[opaque("a"), opaque("b"), wish("others", Format::Opaque, "a")]).await.unwrap();
    let asked = [(Scope::named("ids"), b"\"a\"".to_vec())];
    assert_eq!(vault.find(&asked).await.unwrap(), [Some(tokens[0].clone())], "the control");
    let whole = rows.all(Table::Token);
    let own = row::key(&Controller::new("shop"), &Scope::named("ids"), &tokens[0]);
    let marks = whole.iter().find(|row| row.key == own).unwrap().marks.clone();
    let key = |scope: &str, token: &str| row::key(&Controller::new("shop"), &Scope::named(scope), token);
    let injected = key("ids", r#"x","y"#);
    let elsewhere = [key("ids", &tokens[1]), key("others", &tokens[2]), injected.clone(), b"no key".to_vec()];
    for there in elsewhere {
        rows.edit(|rows| {
            rows.get_mut(&(Table::Token, own.clone())).unwrap().marks.clear();
            let value = whole.iter().find(|row| row.key == own).unwrap().value.clone();
            let moved = Row { key: there.clone(), value, marks: Vec::new() };
            rows.entry((Table::Token, there.clone())).or_insert(moved).marks.clone_from(&marks);
        });
        assert!(matches!(vault.find(&asked).await, Err(VaultError::NotAuthentic { .. })));
        rows.edit(|rows| {
            rows.clear();
            for row in &whole {
                rows.insert((Table::Token, row.key.clone()), row.clone());
            }
        });
    }
    // Put right, it is found again.
    assert_eq!(vault.find(&asked).await.unwrap(), [Some(tokens[0].clone())]);
}

#[tokio::test]
async fn a_store_that_fails_is_an_error() {
    let (rows, vault) = new();
    rows.down.store(true, Ordering::Relaxed);
    assert!(matches!(vault.tokenise(&[opaque("a")]).await, Err(VaultError::Store(_))));
    let upkeep = Upkeep::dangerous_for("a test");
    let asked = [(Scope::named("ids"), "tok1_".to_owned())];
    assert!(matches!(vault.detokenise(&asked, Permit::Upkeep(&upkeep)).await, Err(VaultError::Store(_))));
}

/// T13: what the store holds, and what is printed, has no value in it in any spelling.
#[tokio::test]
async fn t13_no_value_is_in_the_store_or_in_what_is_printed() {
    let canary = "mei.tanaka@canary.example";
    let spellings = |text: &str| {
        let hex = data_encoding::HEXLOWER.encode(text.as_bytes());
        let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let base64 = data_encoding::BASE64.encode(text.as_bytes()).trim_end_matches('=').to_owned();
        [text.as_bytes().to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes(), utf16, base64.into_bytes()]
    };
    let holds = |rows: &[Row]| {
        let all: Vec<u8> =
            rows.iter().flat_map(|row| [row.key.clone(), row.value.clone(), row.marks.concat()].concat()).collect();
        spellings(canary).iter().any(|spelling| all.windows(spelling.len()).any(|part| part == spelling))
    };
    let (rows, vault) = new();
    let wish = about(canary, wish("ids", Format::Email, canary));
    one(&vault, wish.clone()).await;
    let all = [rows.all(Table::Token), rows.all(Table::TokenRef)].concat();
    assert_eq!(all.len(), 2);
    assert!(!holds(&all));
    for planted in spellings(canary) {
        assert!(holds(&[all.clone(), vec![Row { key: planted, value: vec![], marks: vec![] }]].concat()), "the control");
    }
    assert!(!format!("{wish:?} {:?} {vault:?}", value(canary)).contains("canary"));
}

/// Rows of values of about the same length cannot be told apart by their own.
#[tokio::test]
async fn the_length_of_a_row_says_little_of_the_value() {
    let (rows, vault) = new();
    vault.tokenise(&[opaque("a"), opaque("abcdefghijklmnopqrstuvwxyz")]).await.unwrap();
    let lengths: Vec<usize> = rows.all(Table::Token).iter().map(|row| row.value.len()).collect();
    assert_eq!(lengths[0], lengths[1]);
}

proptest! {
    /// Whatever is tokenised comes back, each value by its own token.
    #[test]
    fn any_values_come_back(texts in proptest::collection::vec("\\PC{0,40}", 1..12), consistent in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_, vault) = new();
            let wishes: Vec<Wish> = texts
                .iter()
                .map(|text| Wish { kind: kind("ids", Format::Opaque, consistent), ..opaque(text) })
                .collect();
            let tokens = vault.tokenise(&wishes).await.unwrap();
            for (text, token) in texts.iter().zip(&tokens) {
                prop_assert_eq!(opened(&vault, "ids", token).await, value(text));
            }
            let (mut distinct, mut of_tokens) = (texts.clone(), tokens.clone());
            for list in [&mut distinct, &mut of_tokens] {
                list.sort();
                list.dedup();
            }
            prop_assert_eq!(of_tokens.len(), if consistent { distinct.len() } else { texts.len() });
            Ok(())
        })?;
    }
}
