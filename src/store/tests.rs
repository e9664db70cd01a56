//! High-water marks, and what becomes of a file that is not ours alone.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_mark_only_rises_and_survives_reopening() {
    let dir = folder();
    let path = dir.path().join("data/sudare.redb");
    {
        let store = Store::embedded(&path).unwrap();
        assert_eq!(store.high_water("ring:main:shop").unwrap(), 0);
        assert_eq!(store.raise_high_water("ring:main:shop", 7).unwrap(), 7);
        assert_eq!(store.raise_high_water("ring:main:shop", 3).unwrap(), 7, "a lower number is answered with the mark");
        assert_eq!(store.raise_high_water("ring:main:other", 1).unwrap(), 1);
    }
    let store = Store::embedded(&path).unwrap();
    assert_eq!(store.high_water("ring:main:shop").unwrap(), 7);
    assert_eq!(store.high_water("ring:main:other").unwrap(), 1);
    assert_eq!(store.high_water("unknown").unwrap(), 0);
}

#[test]
fn racing_raises_end_at_the_highest() {
    let dir = folder();
    let store = Arc::new(Store::embedded(&dir.path().join("s.redb")).unwrap());
    std::thread::scope(|scope| {
        for start in 0..4_u64 {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                for n in 1..=10_u64 {
                    let seen = n * 4 + start;
                    assert!(store.raise_high_water("r", seen).unwrap() >= seen);
                }
            });
        }
    });
    assert_eq!(store.high_water("r").unwrap(), 43);
}

#[test]
fn the_file_is_private_and_an_exposed_one_is_refused_with_the_remedy() {
    let dir = folder();
    let path = dir.path().join("s.redb");
    drop(Store::embedded(&path).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let said = Store::embedded(&path).unwrap_err().to_string();
    assert_eq!(said, format!("{0}: open to others (mode 0640): chmod 600 {0}", path.display()));
}

#[test]
fn a_second_holder_and_a_foreign_file_are_refused() {
    let dir = folder();
    let path = dir.path().join("s.redb");
    let held = Store::embedded(&path).unwrap();
    assert!(matches!(Store::embedded(&path), Err(StoreError::InUse(_))), "two holders");
    drop(held);
    fs::write(&path, b"this is not a database, whatever its name says").unwrap();
    assert!(matches!(Store::embedded(&path), Err(StoreError::Foreign(_))));
}
