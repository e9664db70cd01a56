//! `sudare init`: makes what `check` finds good, shows credentials once, overwrites nothing.

use super::*;
use std::collections::BTreeMap;
use sudare::caller::Presented;

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn makes_what_check_finds_good_and_shows_credentials_once() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new/shop");
    let clock = FixedClock::at(1_763_800_000_000);
    let mut out = Vec::new();
    init::run(&dir, &clock, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();

    let credentials: Vec<&str> =
        out.lines().filter_map(|line| line.split_once("Sudare-Credential: ")).map(|(_, rest)| rest).collect();
    let whole: Vec<&&str> = credentials.iter().filter(|text| text.len() > 40 && !text.contains(' ')).collect();
    assert_eq!(whole.len(), 5, "{out}");
    let settings = config::load(&dir.join("sudare.toml")).unwrap();
    assert!(settings.warnings.is_empty(), "{}", settings.warnings);
    let made = files(&dir);
    for credential in whole {
        let caller =
            settings.callers.identify(&Presented { credentials: &[credential.as_bytes()], ..Presented::default() }).unwrap();
        let (name, secret) = credential.split_once('.').unwrap();
        assert_eq!(caller.name.as_str(), name);
        assert!(made.values().all(|bytes| !bytes.windows(secret.len()).any(|window| window == secret.as_bytes())), "{name}");
    }
    let ring = sudare::keys::KeyRing::open(&settings.keys).unwrap();
    assert!(ring.has_pseudonym_scope("statistics"));

    let mut checked = Vec::new();
    assert_eq!(check::run(&dir.join("sudare.toml"), Format::Text, &mut checked).unwrap(), 0);

    let mut shown = out.replace(&folder.path().display().to_string(), "DIR");
    for credential in credentials {
        if let Some((name, _)) = credential.split_once('.').filter(|_| !credential.contains(' ')) {
            shown = shown.replace(credential, &format!("{name}.SECRET"));
        }
    }
    snapshot("init", &shown);
}

#[test]
fn never_overwrites() {
    for there in ["sudare.toml", "policy.toml"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(there), "mine").unwrap();
        let mut out = Vec::new();
        let error = init::run(folder.path(), &FixedClock::at(0), &mut out).unwrap_err();
        assert!(matches!(&error, init::InitError::Exists(path) if path.ends_with(there)), "{error}");
        assert!(out.is_empty());
        let left = files(folder.path());
        assert_eq!(left.len(), 1);
        assert_eq!(left.values().next().unwrap(), b"mine");
    }
}
