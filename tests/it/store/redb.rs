//! The embedded kind: the suite, and what only a file has.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use sudare::store::{Config, Rows as _, Store, StoreError, Table};

use super::suite::suite;
use super::{Place, claim};

suite!(Place::redb);

#[tokio::test]
async fn a_file_of_an_earlier_release_keeps_its_marks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sudare.redb");
    {
        let database = ::redb::Database::create(&path).unwrap();
        let change = database.begin_write().unwrap();
        let table = ::redb::TableDefinition::<&str, u64>::new("high-water");
        change.open_table(table).unwrap().insert("ring:main:shop", 41).unwrap();
        change.commit().unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let store = Store::open(&Config::Embedded(path), None).unwrap();
    assert_eq!(store.version().await.unwrap(), 3);
    assert_eq!(store.high_water("ring:main:shop").unwrap(), 41);
    assert_eq!(store.claim(Table::Token, vec![claim("a", &[])]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_process_holds_the_file_and_nobody_else_reads_it() {
    let place = Place::redb().unwrap();
    let Config::Embedded(path) = place.config() else { unreachable!() };
    let absent = Store::existing(&place.config()).unwrap_err();
    assert!(matches!(absent, StoreError::Absent(_)) && !path.exists(), "{absent}");
    let store = place.open();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert!(matches!(Store::open(&place.config(), None), Err(StoreError::InUse(_))));
    // The file is free as soon as the handle is gone, whatever was under way.
    drop(store);
    drop(place.open());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Store::open(&place.config(), None), Err(StoreError::Exposed(_, 0o644))));
}

/// A limit of the system on the size of files stands for a full disk; the process lives on, reads, and writes once there is room.
#[test]
fn a_file_that_cannot_grow_is_an_error() {
    let place = Place::redb().unwrap();
    drop(place.open());
    let script = "trap '' XFSZ; ulimit -f 4096; exec \"$0\" --exact store::redb::writes_until_it_fails --nocapture";
    let out = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("SUDARE_TEST_STORE_FULL", place.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && said.contains("full as expected"), "{said}\n{}", String::from_utf8_lossy(&out.stderr));
}

/// No test of its own: see above.
#[tokio::test]
async fn writes_until_it_fails() {
    let Ok(url) = std::env::var("SUDARE_TEST_STORE_FULL") else { return };
    let store = Store::open(&super::named(&url), None).unwrap();
    let mut stored = 0;
    let error = loop {
        let mut claims: Vec<_> = (0..100).map(|n| claim(&format!("{stored}-{n}"), &[])).collect();
        for claim in &mut claims {
            claim.value = vec![7; 4_000];
        }
        match store.claim(Table::Token, claims).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 1_000);
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    let read = store.read(Table::Token, vec![super::key("0-0"), super::key(&format!("{stored}-0"))]).await.unwrap();
    assert!(read[0].is_some() && read[1].is_none());
    println!("full as expected");
}

#[test]
fn the_commands_tell_how_the_store_is() {
    let (_folder, file) = crate::support::Setup::embedded().files();
    let run = |words: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_sudare")).args(words).arg("-c").arg(&file).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (code, _, said) = run(&["store", "check"]);
    assert!(code == Some(1) && said.contains("there is no store"), "{said}");
    let (code, out, _) = run(&["store", "migrate"]);
    assert!(code == Some(0) && out.contains("schema version 3"), "{out}");
    let (code, out, _) = run(&["store", "check"]);
    assert!(code == Some(0) && out.contains("everything fits\n"), "{out}");
    let path = file.parent().unwrap().join("data/sudare.redb");
    {
        let database = ::redb::Database::open(&path).unwrap();
        let change = database.begin_write().unwrap();
        let marks = ::redb::TableDefinition::<&[u8], &[u8]>::new("token-mark");
        change.open_table(marks).unwrap().insert(b"hunter2".as_slice(), b"nobody".as_slice()).unwrap();
        change.commit().unwrap();
    }
    let (code, out, said) = run(&["store", "check"]);
    assert_eq!(code, Some(1));
    assert_eq!(said, "token: place 1: a mark names a row that is not there\n");
    assert!(out.contains("1 finding\n") && !out.contains("hunter2") && !out.contains("nobody"), "{out}");
}
