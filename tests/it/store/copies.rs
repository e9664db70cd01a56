//! `sudare store copy`: between kinds, killed and run again, into what is not empty.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use sudare::base::enc;
use sudare::store::copy::{CopyError, copy};
use sudare::store::{Change, Claim, Row, Rows as _, Store, Table};

use super::suite::assert_fits;
use super::{Place, by_chance, claim};

const T: Table = Table::Token;

async fn fill(store: &Store, rows: usize) {
    for from in (0..rows).step_by(1_000) {
        let claims = (from..rows.min(from + 1_000)).map(|n| Claim {
            link: Some((Table::TokenRef, format!("subject {}", n % 7).into_bytes())),
            ..claim(&format!("k{n}"), &[&format!("m{n}")])
        });
        store.claim(T, claims.collect()).await.unwrap();
    }
    store.raise_high_water("ring:main:shop", 12).unwrap();
    store.raise_high_water("ring:main:other", 3).unwrap();
}

fn command(from: &Place, to: &Place) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sudare"));
    command.args(["store", "copy", &from.url(), &to.url()]);
    command
}

fn run(from: &Place, to: &Place) -> (Output, String, String) {
    let out = command(from, to).output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&out.stdout).into_owned(), String::from_utf8_lossy(&out.stderr).into_owned());
    (out, said, wrong)
}

async fn count(place: &Place) -> usize {
    place.open().list(T, Vec::new(), None, 1 << 20).await.unwrap().len()
}

/// Copies with a kill in between, then whole, then again.
async fn there(from: &Place, to: &Place, rows: usize) {
    fill(&from.open(), rows).await;
    let mut broken_off = false;
    for round in 0..30 {
        let mut child = command(from, to).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(30 + round * 20 + by_chance(60))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        to.quiet().await;
        let copied = count(to).await;
        broken_off |= copied > 0 && copied < rows;
        if broken_off && round > 1 || copied == rows {
            break;
        }
    }
    assert!(broken_off, "no copy was killed in the middle");
    let (out, said, wrong) = run(from, to);
    assert!(out.status.success(), "{wrong}");
    assert!(said.contains("hold the same, with 2 high-water marks; ") && said.contains("rows were there"), "{said}");
    let (one, other) = (from.open(), to.open());
    for table in Table::ALL {
        let all = async |store: &Store| store.list(*table, Vec::new(), None, 1 << 20).await.unwrap();
        assert_eq!(all(&one).await, all(&other).await);
    }
    assert_eq!(one.high_waters().await.unwrap(), other.high_waters().await.unwrap());
    assert_fits(&other).await;
    drop((one, other));
    // Once more there is nothing to do.
    assert!(run(from, to).0.status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redb_to_postgres_killed_in_between() {
    let (Some(from), Some(to)) = (Place::redb(), Place::postgres()) else { return };
    there(&from, &to, 8_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_to_redb_killed_in_between() {
    let (Some(from), Some(to)) = (Place::postgres(), Place::redb()) else { return };
    there(&from, &to, 8_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_holds_anything_else_is_refused_redb() {
    let from = Place::redb().unwrap();
    fill(&from.open(), 1_200).await;
    let source = from.open();
    let row = |key: &[u8], value: &str| Row { key: enc(&[b"scope", key]), value: value.as_bytes().to_vec(), marks: Vec::new() };
    let same = source.list(T, Vec::new(), None, 1).await.unwrap().remove(0);
    for (what, wrong) in [
        ("a row that the source has not", vec![row(b"zzz", "")]),
        ("another value", vec![Row { value: b"other".to_vec(), ..same.clone() }]),
        ("other marks", vec![Row { marks: vec![b"x".to_vec()], ..same.clone() }]),
        ("a row behind a gap", vec![same.clone(), source.list(T, Vec::new(), None, 3).await.unwrap().remove(2)]),
    ] {
        let to = Place::redb().unwrap();
        let target = to.open();
        target.change(T, wrong.into_iter().map(Change::Put).collect()).await.unwrap();
        let before = target.list(T, Vec::new(), None, 100).await.unwrap();
        let error = copy(&source, &target, &mut |_, _| {}).await.unwrap_err();
        assert!(matches!(error, CopyError::OtherRows { table: Table::Token, .. }), "{what}: {error}");
        assert_eq!(target.list(T, Vec::new(), None, 100).await.unwrap(), before, "{what}");
        assert!(!error.to_string().contains("zzz") && !error.to_string().contains("other\""), "{error}");
    }
    for (name, mark) in [("ring:main:shop", 13), ("ring:elsewhere", 1)] {
        let to = Place::redb().unwrap();
        let target = to.open();
        target.raise_high_water(name, mark).unwrap();
        let error = copy(&source, &target, &mut |_, _| {}).await.unwrap_err();
        assert!(matches!(error, CopyError::OtherMarks(_)), "{error}");
        assert_eq!(target.list(T, Vec::new(), None, 100).await.unwrap(), []);
    }
    drop(source);
    let (out, _, wrong) = run(&from, &from);
    assert!(out.status.code() == Some(2) && wrong.contains("this is the store to copy from, too"), "{wrong}");
    let absent = Place::redb().unwrap();
    let (out, _, wrong) = run(&absent, &from);
    assert!(out.status.code() == Some(1) && wrong.contains("there is no store"), "{wrong}");
}

#[test]
fn what_names_no_redb_or_postgres_is_refused() {
    for (from, said) in [
        ("data/sudare.redb", "a store is named by"),
        ("redb:", "needs a path"),
        ("postgres://sudare:hunter2@db/x", "a password stands in the URL"),
        ("postgres://sudare@db", "this is not the URL"),
        ("postgres://sudare@db/x?sslmode=disable", "parameters"),
        ("absent.toml", "there is no file absent.toml"),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_sudare")).args(["store", "copy", from, "redb:x"]).output().unwrap();
        let wrong = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.code() == Some(2) && wrong.contains(said) && !wrong.contains("hunter2"), "{from}: {wrong}");
    }
}
