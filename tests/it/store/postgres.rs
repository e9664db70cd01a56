//! PostgreSQL: the suite, and what only a server has: the network, TLS, accounts, other nodes, and errors of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use sudare::net::tls::{client::Client, pem};
use sudare::store::{
    Address, Change, Claimed, Config, Listening, Password, Place as Where, PostgresConfig, Rows as _, Store, StoreError, Table,
};
use zeroize::Zeroizing;

use super::server::{Database, PASSWORD};
use super::suite::{assert_fits, suite};
use super::wire::Wire;
use super::{Place, claim, key, row};

const T: Table = Table::Token;

suite!(Place::postgres);

fn open(config: PostgresConfig) -> Result<Store, StoreError> {
    Store::open(&Config::Postgres(Box::new(config)), None)
}

/// A store behind something that counts and cuts.
async fn behind_wire(database: &Database, change: impl FnOnce(&mut PostgresConfig)) -> (Store, Wire) {
    drop(open(database.config()).unwrap());
    let wire = Wire::to(database.server.port).await;
    let mut config = database.config();
    config.address.port = wire.address.port();
    change(&mut config);
    (open(config).unwrap(), wire)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_claims_are_one_round_trip() {
    let Some(database) = Database::new() else { return };
    let (store, wire) = behind_wire(&database, |config| config.pool = 1).await;
    let claims =
        |from: usize| (from..from + 100).map(|n| claim(&format!("k{n}"), &[&format!("m{n}"), &format!("n{n}")])).collect();
    let reads = || (0..100).map(|n| key(&format!("k{n}"))).collect::<Vec<_>>();
    let changes = |value: &str| (0..100).map(|n| Change::Put(row(&format!("k{n}"), value, &[&format!("m{n}")]))).collect();
    // The first of each kind is also prepared, once for a connection.
    store.claim(T, claims(0)).await.unwrap();
    store.read(T, reads()).await.unwrap();
    store.find(T, vec![b"m1".to_vec()]).await.unwrap();
    store.change(T, changes("new")).await.unwrap();
    wire.asked();
    store.claim(T, claims(100)).await.unwrap();
    assert_eq!(wire.asked(), 1, "100 new claims");
    store.claim(T, claims(50)).await.unwrap();
    assert_eq!(wire.asked(), 1, "100 claims, half of them found");
    assert_eq!(store.read(T, reads()).await.unwrap().len(), 100);
    assert_eq!(wire.asked(), 1, "100 rows read");
    store.find(T, (0..100).map(|n| format!("m{n}").into_bytes()).collect()).await.unwrap();
    assert_eq!(wire.asked(), 1, "100 marks looked up");
    // Seven messages leave at once, and their answers are waited for together.
    store.change(T, changes("newer")).await.unwrap();
    assert_eq!(wire.asked(), 7, "100 changes");
    assert_eq!(wire.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_made_on_empty_tables_look_rows_up() {
    let Some(database) = Database::new() else { return };
    // Nothing corrects a plan in between.
    drop(open(database.config()).unwrap());
    for table in ["sudare_token", "sudare_token_mark", "sudare_token_ref"] {
        database.sql(&format!("alter table {table} set (autovacuum_enabled = off)"));
    }
    let mut config = database.config();
    config.pool = 1;
    let store = open(config).unwrap();
    for call in 0..8 {
        store.claim(T, vec![claim(&format!("{call}"), &[&format!("m{call}")])]).await.unwrap();
    }
    let scanned = || database.number("select sum(seq_scan)::int8 from pg_stat_user_tables where relname like 'sudare_token%'");
    let before = scanned();
    for call in 0..20 {
        store.claim(T, (0..50).map(|n| claim(&format!("{call}-{n}"), &[&format!("m{call}-{n}")])).collect()).await.unwrap();
    }
    store.read(T, vec![key("1")]).await.unwrap();
    drop(store);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(scanned(), before, "a table was read whole");
    let looked_up = database.number("select sum(idx_scan)::int8 from pg_stat_user_tables where relname like 'sudare_token%'");
    assert!(looked_up > 1_000, "{looked_up}: the server counts what is looked up");
}

/// Lets the first `times` inserts of tokens fail in this way.
pub(super) fn fail(database: &Database, code: &str, times: i64) {
    database.sql(&format!(
        "create sequence if not exists failed; select setval('failed', 1, false);
create or replace function fail() returns trigger language plpgsql as $$ begin
  if nextval('failed') <= {times} then raise exception 'value hunter2 of {code}' using errcode = '{code}'; end if; return null;
end $$;
drop trigger if exists fail on sudare_token;
create trigger fail before insert on sudare_token for each statement execute function fail();"
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_broken_off_by_the_server_is_tried_again_within_bounds() {
    let Some(database) = Database::new() else { return };
    let store = open(database.config()).unwrap();
    for (n, code) in ["40001", "40P01", "23505"].iter().enumerate() {
        fail(&database, code, 3);
        let name = format!("k{n}");
        assert_eq!(store.claim(T, vec![claim(&name, &[&name])]).await.unwrap(), [Claimed::Made], "{code}");
        assert_eq!(database.number("select last_value from failed"), 4, "{code}: three attempts failed");
    }
    fail(&database, "40001", 2);
    store.change(T, vec![Change::Put(row("k0", "changed", &["k0"]))]).await.unwrap();
    assert_eq!(store.read(T, vec![key("k0")]).await.unwrap(), [Some(b"changed".to_vec())]);
    fail(&database, "40001", 1_000);
    let begun = Instant::now();
    let error = store.claim(T, vec![claim("never", &["never"])]).await.unwrap_err();
    assert!(matches!(error, StoreError::Contended(_, 10)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!(database.number("select last_value from failed"), 10);
    assert_eq!(store.find(T, vec![b"never".to_vec()]).await.unwrap(), [None]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_the_server_are_told_without_what_it_says() {
    let Some(database) = Database::new() else { return };
    let store = open(database.config()).unwrap();
    for (code, kind) in
        [("53100", "full"), ("42501", "refused"), ("25006", "refused"), ("57P01", "unreachable"), ("22021", "failed")]
    {
        fail(&database, code, 1_000);
        let error = store.claim(T, vec![claim("a", &["a"])]).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{code}: {error}");
        let said = format!("{error} {error:?}");
        assert!(!said.contains("hunter2") && !said.contains("value of"), "{said}");
        assert_eq!(database.number("select last_value from failed"), 1, "{code}: it is not tried again");
    }
    database.sql("drop trigger fail on sudare_token");
    assert_eq!(store.claim(T, vec![claim("a", &["a"])]).await.unwrap(), [Claimed::Made], "and then it works again");
    database.sql("drop table sudare_token");
    let error = store.read(T, vec![key("a")]).await.unwrap_err();
    assert!(error.to_string().contains("sudare store migrate"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_an_error_within_the_bound() {
    let Some(database) = Database::new() else { return };
    let (store, wire) = behind_wire(&database, |config| config.statement_timeout = Duration::from_millis(400)).await;
    store.claim(T, vec![claim("a", &["a"])]).await.unwrap();
    // The server itself ends a statement that waits for a lock.
    let held = database.name.clone();
    let parameters = format!("host=127.0.0.1 port={} user=sudare dbname={held}", database.server.port);
    let (locker, connection) = tokio_postgres::connect(&parameters, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    locker.batch_execute("begin; lock table sudare_token in access exclusive mode").await.unwrap();
    let begun = Instant::now();
    let error = store.read(T, vec![key("a")]).await.unwrap_err();
    assert!(matches!(error, StoreError::Slow(..)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    locker.batch_execute("rollback").await.unwrap();
    assert!(store.read(T, vec![key("a")]).await.unwrap()[0].is_some());
    // The network swallows everything: the wait ends here, and the connection is not used again.
    wire.stall();
    let begun = Instant::now();
    let error = store.read(T, vec![key("a")]).await.unwrap_err();
    assert!(matches!(error, StoreError::Slow(..)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    wire.pass();
    assert!(store.read(T, vec![key("a")]).await.unwrap()[0].is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_server_is_an_error_within_the_bound() {
    let Some(database) = Database::new() else { return };
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut config = database.config();
    config.address.port = closed;
    let error = open(config.clone()).unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(..)), "{error}");
    // Somebody takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config.address.port = silent.local_addr().unwrap().port();
    config.connect_timeout = Duration::from_millis(300);
    let begun = Instant::now();
    let error = open(config.clone()).unwrap_err();
    assert!(matches!(error, StoreError::Slow(..)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    config.address.place = Where::Folder("/nowhere".into());
    assert!(matches!(open(config).unwrap_err(), StoreError::Unreachable(..)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_find_no_connection_free_wait_no_longer_than_they_may() {
    let Some(database) = Database::new() else { return };
    let (store, wire) = behind_wire(&database, |config| {
        config.pool = 2;
        config.wait_timeout = Duration::from_millis(200);
        config.statement_timeout = Duration::from_secs(3);
    })
    .await;
    let store = Arc::new(store);
    store.read(T, vec![key("a")]).await.unwrap();
    wire.stall();
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.read(T, vec![key("a")]).await.unwrap_err() })
        })
        .collect();
    let mut kinds = Vec::new();
    for call in calls {
        kinds.push(call.await.unwrap().kind());
    }
    assert!(kinds.iter().filter(|kind| **kind == "busy").count() >= 8, "{kinds:?}");
    wire.pass();
    store.read(T, vec![key("a")]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_broke_is_replaced() {
    let Some(database) = Database::new() else { return };
    let (store, wire) = behind_wire(&database, |_| {}).await;
    store.claim(T, vec![claim("a", &["a"])]).await.unwrap();
    for round in 0..5 {
        if round % 2 == 0 {
            wire.cut();
        } else {
            database.sql(&format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}' and pid <> pg_backend_pid()",
                database.name
            ));
        }
        // What only reads is asked again by itself.
        assert!(store.read(T, vec![key("a")]).await.unwrap()[0].is_some(), "round {round}");
        let name = format!("k{round}");
        assert_eq!(store.claim(T, vec![claim(&name, &[&name])]).await.unwrap(), [Claimed::Made]);
    }
}

fn tls(folder: &Path, ca: &str, name: &str, client: Option<&str>) -> Client {
    let roots = pem::authorities(&folder.join(format!("{ca}-ca.pem"))).unwrap();
    let presented = client.map(|name| {
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        (pem::certificates(&file("pem")).unwrap(), pem::private_key(&file("key")).unwrap())
    });
    Client::new(roots, ServerName::try_from(name.to_owned()).unwrap(), presented, Vec::new()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t21_tls_is_verified() {
    let Some(database) = Database::new() else { return };
    let folder = &database.server.folder;
    let password = |text: &str| Some(Password::new(Zeroizing::new(text.to_owned())));
    let secured = |tls: Option<Client>, given: Option<Password>| {
        let mut config = database.config_at(&format!("secured@127.0.0.1:{}", database.server.port));
        (config.tls, config.password) = (tls, given);
        open(config)
    };
    let right = || Some(tls(folder, "right", "127.0.0.1", None));
    let store = secured(right(), password(PASSWORD)).unwrap();
    store.claim(T, vec![claim("a", &["a"])]).await.unwrap();
    let under_tls = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where ssl and usename = 'secured'";
    assert!(database.number(under_tls) > 0);
    // Another name of the certificate than the host has.
    drop(secured(Some(tls(folder, "right", "db.internal", None)), password(PASSWORD)).unwrap());
    for (tls, given, said) in [
        (Some(tls(folder, "wrong", "127.0.0.1", None)), PASSWORD, "no authority that is believed signed its certificate"),
        (Some(tls(folder, "right", "elsewhere.internal", None)), PASSWORD, "its certificate is not for elsewhere.internal"),
        (right(), "wrong horse", "it refuses the account secured"),
        // In clear the server does not want it.
        (None, PASSWORD, "it may want TLS"),
    ] {
        let error = secured(tls, password(given)).unwrap_err();
        assert!(matches!(error, StoreError::Refused(..)) && error.to_string().contains(said), "{said}: {error}");
        assert!(!error.to_string().contains("horse") && !error.to_string().contains("[upstream]"), "{error}");
    }
    // A server without TLS gets nothing in clear.
    let wire = Wire::to(1).await;
    let mut config = database.config();
    (config.tls, config.address.port, config.connect_timeout) = (right(), wire.address.port(), Duration::from_millis(500));
    assert!(open(config).is_err());
    assert_eq!(wire.asked(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_an_account() {
    let Some(database) = Database::new() else { return };
    let folder = &database.server.folder;
    let certified = |client: Option<&str>| {
        let mut config = database.config_at(&format!("certified@127.0.0.1:{}", database.server.port));
        config.tls = Some(tls(folder, "right", "127.0.0.1", client));
        open(config)
    };
    certified(Some("certified")).unwrap().claim(T, vec![claim("a", &[])]).await.unwrap();
    for other in [None, Some("other")] {
        let error = certified(other).unwrap_err();
        assert!(matches!(error, StoreError::Refused(..) | StoreError::Unreachable(..)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_leads_there_too() {
    let Some(database) = Database::new() else { return };
    let Database { name, server } = &database;
    let url = format!("postgres://sudare@/{name}?host={}&port={}", server.folder.display(), server.port);
    let store = open(PostgresConfig::new(Address::parse(&url).unwrap())).unwrap();
    assert_eq!(store.claim(T, vec![claim("a", &[])]).await.unwrap(), [Claimed::Made]);
    eprintln!("PostgreSQL {}", server.version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_names_and_rights_are_told_with_the_remedy() {
    let Some(database) = Database::new() else { return };
    let mut config = database.config();
    config.address.database = "absent".to_owned();
    let error = open(config).unwrap_err();
    assert!(matches!(error, StoreError::Refused(..)) && error.to_string().contains("it has no database absent"), "{error}");
    database.sql("create role limited login; revoke create on schema public from public");
    let limited = || database.config_at(&format!("limited@127.0.0.1:{}", database.server.port));
    let error = open(limited()).unwrap_err();
    assert!(matches!(error, StoreError::Refused(..)) && error.to_string().contains("grant it"), "{error}");
    // Once another account has made the tables, rights to their rows are enough.
    drop(open(database.config()).unwrap());
    database.sql("grant select, insert, update, delete on all tables in schema public to limited");
    let store = open(limited()).unwrap();
    store.claim(T, vec![claim("a", &["a"])]).await.unwrap();
    store.change(T, vec![Change::Remove(key("a"))]).await.unwrap();
    store.raise_high_water("ring", 2).unwrap();
    store.announce("ring").await.unwrap();
    database.sql("drop owned by limited; drop role limited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_make_one_schema() {
    for _ in 0..3 {
        let Some(database) = Database::new() else { return };
        let nodes: Vec<_> = (0..6)
            .map(|n| {
                let config = Config::Postgres(Box::new(database.config()));
                std::thread::spawn(move || if n % 2 == 0 { Store::open(&config, None) } else { Store::migrate(&config) })
            })
            .collect();
        for node in nodes {
            let store = node.join().unwrap().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(store.version().await.unwrap(), 3);
        }
    }
}

/// Word of a change, within this time.
async fn hear(one: &Store, other: &mut sudare::store::Changes, within: Duration) {
    let begun = Instant::now();
    one.announce("ring").await.unwrap();
    tokio::time::timeout(within, other.changed()).await.expect("in time").unwrap();
    assert!(begun.elapsed() < within);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn word_goes_round_at_once_and_also_when_the_listening_connection_is_killed() {
    let Some(database) = Database::new() else { return };
    let mut config = database.config();
    // So late that what comes in time was listened for.
    config.poll = Duration::from_secs(20);
    let (one, other) = (open(config.clone()).unwrap(), open(config).unwrap());
    let mut changes = other.watch("ring").await.unwrap();
    let listening = "select count(*) from pg_stat_activity where query = 'listen sudare' and datname = current_database()";
    let listens = async || {
        for _ in 0..200 {
            if database.number(listening) > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody listens");
    };
    listens().await;
    for _ in 0..3 {
        hear(&one, &mut changes, Duration::from_secs(5)).await;
    }
    database.sql(
        "select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen sudare' and datname = current_database()",
    );
    // Announced while nobody listens: seen by the look that follows the loss.
    hear(&one, &mut changes, Duration::from_secs(10)).await;
    listens().await;
    hear(&one, &mut changes, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_listen_word_goes_round_by_looking() {
    let Some(database) = Database::new() else { return };
    let mut config = database.config();
    (config.listen, config.poll) = (Listening::Off, Duration::from_millis(200));
    let (one, other) = (open(config.clone()).unwrap(), open(config).unwrap());
    let mut changes = other.watch("ring").await.unwrap();
    for _ in 0..3 {
        hear(&one, &mut changes, Duration::from_secs(5)).await;
    }
    assert_eq!(
        database.number("select count(*) from pg_stat_activity where query ilike 'listen%' and datname = current_database()"),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_isolation_level_racing_callers_agree() {
    let Some(database) = Database::new() else { return };
    // As distributed engines have it.
    database.sql(&format!("alter database {} set default_transaction_isolation = 'serializable'", database.name));
    let (one, other) = (Arc::new(open(database.config()).unwrap()), Arc::new(open(database.config()).unwrap()));
    let race = |store: Arc<Store>, who: &'static str| async move {
        let mut made = 0;
        for call in 0..20 {
            let claims = (0..5).map(|n| claim(&format!("{who}{call}-{n}"), &[&format!("m{call}-{n}")])).collect();
            made += store.claim(T, claims).await.unwrap().iter().filter(|claimed| **claimed == Claimed::Made).count();
        }
        made
    };
    let (ours, theirs) = tokio::join!(tokio::spawn(race(Arc::clone(&one), "a")), tokio::spawn(race(other, "b")));
    assert_eq!(ours.unwrap() + theirs.unwrap(), 100);
    assert_fits(&one).await;
}

/// A whole proxy on it: the mark of the ring, readiness, metrics, a reload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_keeps_its_marks_there() {
    use crate::support::{Setup, send};
    let Some(database) = Database::new() else { return };
    let url = format!("postgres://sudare@127.0.0.1:{}/{}", database.server.port, database.name);
    let mut proxy = Setup::embedded()
        .store(&format!("url = \"{url}\"\npool = 2\nstatement_timeout_ms = 20000\nconnect_timeout_ms = 20000"))
        .start()
        .await;
    assert_eq!(database.number("select mark from sudare_high_water"), 1);
    let running = proxy.running.as_ref().unwrap();
    let Some(sudare::config::Endpoint::Tcp(admin)) = running.admin().cloned() else { panic!("an admin listener") };
    let ready = send(admin, http::Method::GET, "/readyz", &[("accept", "application/json")], "").await.unwrap();
    assert!(ready.text().contains("\"store\""), "{}", ready.text());
    running.reload(&proxy.file).unwrap();
    // How it is reached waits for a restart; where it is cannot change.
    let text = std::fs::read_to_string(&proxy.file).unwrap();
    std::fs::write(&proxy.file, text.replace("pool = 2", "pool = 3")).unwrap();
    assert_eq!(running.reload(&proxy.file).unwrap(), ["[store] (how it is reached)"]);
    std::fs::write(
        &proxy.file,
        text.replace(&url, "redb:elsewhere.redb")
            .replace("pool = 2\nstatement_timeout_ms = 20000\nconnect_timeout_ms = 20000", ""),
    )
    .unwrap();
    assert!(running.reload(&proxy.file).unwrap_err().to_string().contains("[store] url"));
    std::fs::write(&proxy.file, text).unwrap();
    proxy.stop().await;
    // Another node has seen a newer ring: this one is refused wherever it starts.
    database.sql("update sudare_high_water set mark = 9");
    let error = sudare::app::start(sudare::config::load(&proxy.file).unwrap()).unwrap_err().to_string();
    assert!(error.contains('9'), "{error}");
}
