//! The store, both kinds held to one suite. A PostgreSQL server is started for it; without one its tests say that they were skipped,
//! unless `SUDARE_TEST_POSTGRES=required`.

mod copies;
mod facts;
mod fleet;
mod makers;
mod model;
mod outages;
mod postgres;
mod redb;
mod rings;
mod server;
mod suite;
mod wire;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use sudare::base::enc;
use sudare::store::{Address, Claim, Claimed, Config, PostgresConfig, Row, Store};

use server::Database;

/// Where a store of a test is.
pub(super) enum Place {
    Redb(tempfile::TempDir),
    Postgres(Database),
}

impl Place {
    /// A file that is not there yet.
    #[expect(clippy::unnecessary_wraps, reason = "as the other kind, which may be absent")]
    pub(super) fn redb() -> Option<Self> {
        Some(Self::Redb(tempfile::tempdir().unwrap()))
    }

    /// An empty database of its own; none if there is no server and none is required.
    pub(super) fn postgres() -> Option<Self> {
        Database::new().map(Self::Postgres)
    }

    pub(super) fn config(&self) -> Config {
        match self {
            Self::Redb(folder) => Config::Embedded(folder.path().join("s.redb")),
            Self::Postgres(database) => Config::Postgres(Box::new(database.config())),
        }
    }

    /// In one word.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Redb(_) => "redb",
            Self::Postgres(_) => "PostgreSQL",
        }
    }

    /// As operators write it.
    pub(super) fn url(&self) -> String {
        self.config().place()
    }

    pub(super) fn open(&self) -> Arc<Store> {
        Arc::new(Store::open(&self.config(), None).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Waits until nobody else is at it: a server finishes what a client that was killed had asked.
    pub(super) async fn quiet(&self) {
        let Self::Postgres(database) = self else { return };
        let others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        for _ in 0..600 {
            if database.number(others) == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("somebody is still connected");
    }

    /// Two nodes on one store; the embedded kind has one only, of which two callers have a hold.
    pub(super) fn two(&self) -> (Arc<Store>, Arc<Store>) {
        let one = self.open();
        let other = match self {
            Self::Redb(_) => Arc::clone(&one),
            Self::Postgres(_) => self.open(),
        };
        (one, other)
    }

    /// Writes another version of the schema. The store must be closed.
    pub(super) fn set_version(&self, version: u64) {
        match self {
            Self::Redb(folder) => {
                let database = ::redb::Database::open(folder.path().join("s.redb")).unwrap();
                let change = database.begin_write().unwrap();
                let table = ::redb::TableDefinition::<&str, u64>::new("schema");
                change.open_table(table).unwrap().insert("version", version).unwrap();
                change.commit().unwrap();
            }
            Self::Postgres(database) => database.sql(&format!("update sudare_schema set version = {version}")),
        }
    }

    /// Does by hand what no program does: the mark of `key` is taken away (with `from` rows), or the row itself (with `from` marks).
    pub(super) fn damage(&self, what: Damage) {
        match self {
            Self::Redb(folder) => {
                use ::redb::TableDefinition;
                type Rows<'a> = TableDefinition<'a, &'static [u8], (&'static [u8], Vec<&'static [u8]>)>;
                type Marks<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;
                let database = ::redb::Database::open(folder.path().join("s.redb")).unwrap();
                let change = database.begin_write().unwrap();
                {
                    let mut rows = change.open_table(Rows::new("token")).unwrap();
                    let mut marks = change.open_table(Marks::new("token-mark")).unwrap();
                    match what {
                        Damage::Unmark(mark) => drop(marks.remove(mark).unwrap()),
                        Damage::Mark(mark, key) => drop(marks.insert(mark, key).unwrap()),
                        Damage::Remove(key) => drop(rows.remove(key).unwrap()),
                    }
                }
                change.commit().unwrap();
            }
            Self::Postgres(database) => {
                let hex = |bytes: &[u8]| format!("'\\x{}'", data_encoding::HEXLOWER.encode(bytes));
                database.sql(&match what {
                    Damage::Unmark(mark) => format!("delete from sudare_token_mark where mark = {}", hex(mark)),
                    Damage::Mark(mark, key) => format!(
                        "insert into sudare_token_mark values ({}, {1}) on conflict (mark) do update set key = {1}",
                        hex(mark),
                        hex(key)
                    ),
                    Damage::Remove(key) => format!("delete from sudare_token where key = {}", hex(key)),
                });
            }
        }
    }
}

/// What an editor may do to tokens by hand.
#[derive(Clone, Copy)]
pub(super) enum Damage<'a> {
    /// Takes a mark away.
    Unmark(&'a [u8]),
    /// Lets a mark name this row.
    Mark(&'a [u8], &'a [u8]),
    /// Takes a row away, and leaves its marks.
    Remove(&'a [u8]),
}

/// A key as the vault makes them.
pub(super) fn key(name: &str) -> Vec<u8> {
    enc(&[b"scope", name.as_bytes()])
}

pub(super) fn holding(name: &str, value: &str) -> Claimed {
    Claimed::Found { key: key(name), value: value.as_bytes().to_vec() }
}

pub(super) fn claim(name: &str, marks: &[&str]) -> Claim {
    Claim {
        key: key(name),
        value: format!("value of {name}").into_bytes(),
        marks: marks.iter().map(|mark| mark.as_bytes().to_vec()).collect(),
        link: None,
    }
}

pub(super) fn row(name: &str, value: &str, marks: &[&str]) -> Row {
    Row { key: key(name), value: value.as_bytes().to_vec(), marks: marks.iter().map(|mark| mark.as_bytes().to_vec()).collect() }
}

/// Numbers that differ from run to run.
pub(super) fn by_chance(below: u64) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish() % below
}

/// What `sudare store check` says of the store of a configuration: its exit code, what it prints, and its findings.
pub(super) fn checked_by_command(file: &Path) -> (Option<i32>, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_sudare")).args(["store", "check", "-c"]).arg(file).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

/// Past the test harness, which would keep back what `eprintln` says.
#[expect(clippy::explicit_write, reason = "this is how it gets past")]
pub(super) fn tell(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stderr(), "{line}").unwrap();
}

/// The store that `text` names, for a process of its own.
fn named(text: &str) -> Config {
    match text.strip_prefix("redb:") {
        Some(path) => Config::Embedded(PathBuf::from(path)),
        None => Config::Postgres(Box::new(PostgresConfig::new(Address::parse(text).unwrap()))),
    }
}

/// No test of its own: the process that `kill -9` hits. Stores batches until then, and says which are stored.
#[test]
fn store_writer_of_redb_and_postgres() {
    use std::io::Write as _;
    let Ok(place) = std::env::var("SUDARE_TEST_STORE_WRITER") else { return };
    let (url, from) = place.split_once('|').unwrap();
    let first: u64 = from.parse().unwrap();
    let store = Store::open(&named(url), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nready").unwrap();
    for n in first.. {
        runtime.block_on(suite::write_batch(&store, n)).unwrap();
        writeln!(out, "stored {n}").unwrap();
        out.flush().unwrap();
    }
}
