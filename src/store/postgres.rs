//! The PostgreSQL kind: one database for any number of nodes, also on distributed engines that speak its protocol.
//!
//! Always holds: a call is one transaction, and one round trip where nobody races; it takes place whole also if its caller goes away;
//! it waits no longer than the configured bounds; a transaction that the server broke off for a conflict is tried again, boundedly.
//! Connections live on a thread of their own, which is there only if this kind is in use; so `keys` may ask from where there is no
//! runtime. Called by [`super::Store`].

mod config;
mod connect;
mod fault;
mod feed;
mod nodes;
mod sql;
mod swap;

use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_core::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Error, Statement};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::rows::{self, Answer, Change, Claim, Claimed, Row, Rows, Swap, Swapped, Table};
use super::schema::{self, KNOWN, Opening};
use super::{Named, StoreError};
pub use config::{Address, AddressError, Config, Listening, Password, Place};
use connect::Connector;
use fault::Repeat;
pub(super) use feed::Feed;
use sql::Statements;

/// Times a transaction is tried at most.
const MOST_ATTEMPTS: u32 = 10;
/// So many times the bound of a statement, and it is not tried again.
const LONGEST: u32 = 3;
/// First wait before another attempt; doubled each time, half of it by chance.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
/// What the answer of a server that ends a statement itself may take longer than the statement.
const GRACE: Duration = Duration::from_millis(500);

/// The store.
#[derive(Debug)]
pub(super) struct Postgres {
    inner: Arc<Inner>,
    handle: Handle,
    #[expect(dead_code, reason = "ends the thread when dropped")]
    running: DropGuard,
}

/// What calls need, on the store's thread.
#[derive(Debug)]
struct Inner {
    at: String,
    config: Config,
    pool: Pool,
    statements: Vec<Statements>,
    feed: Feed,
}

impl Postgres {
    /// Connects, and looks at the schema; a database without one gets it. Blocks.
    pub(super) fn open(config: &Config, opening: Opening) -> Result<Self, StoreError> {
        let at = config.address.to_string();
        let failed = |why: String| StoreError::Failed(at.clone(), why);
        let running = CancellationToken::new();
        let handle = start_thread(running.clone()).map_err(|error| failed(format!("its thread cannot be started: {error}")))?;
        let running = running.drop_guard();
        let connector = Connector { tls: config.tls.clone(), statement_timeout: config.statement_timeout };
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(config.driver(), connector, recycling);
        let pool = Pool::builder(manager)
            .max_size(config.pool)
            .wait_timeout(Some(config.wait_timeout))
            .create_timeout(Some(config.connect_timeout))
            .recycle_timeout(Some(config.statement_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let statements = Table::ALL.iter().map(|table| Statements::of(*table)).collect();
        let inner = Arc::new(Inner { at, config: config.clone(), pool, statements, feed: Feed::default() });
        let store = Self { inner, handle, running };
        store.blocking(|inner| async move { inner.prepare(opening).await })?;
        Ok(store)
    }

    pub(super) fn at(&self) -> &str {
        &self.inner.at
    }

    /// Does it on the store's thread; it goes on there if the caller goes away, so that no connection is left in the middle.
    fn call<'a, T, F>(&'a self, work: impl FnOnce(Arc<Inner>) -> F + Send + 'a) -> Answer<'a, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        Box::pin(async move {
            let task = self.handle.spawn(work(Arc::clone(&self.inner)));
            task.await.unwrap_or_else(|_ended| Err(self.inner.failed("its thread has ended")))
        })
    }

    /// The same for who may block.
    fn blocking<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (answer, done) = std::sync::mpsc::sync_channel(1);
        let work = work(Arc::clone(&self.inner));
        self.handle.spawn(async move { drop(answer.send(work.await)) });
        done.recv().unwrap_or_else(|_ended| Err(self.inner.failed("its thread has ended")))
    }

    pub(super) fn version(&self) -> Answer<'_, u64> {
        self.call(|inner| async move { Ok(inner.version().await?.unwrap_or(0)) })
    }

    /// Answers if the server does.
    pub(super) fn reachable(&self) -> Answer<'_, ()> {
        self.call(|inner| async move { inner.version().await.map(|_version| ()) })
    }

    pub(super) fn high_water(&self, name: &str) -> Result<u64, StoreError> {
        let name = name.to_owned();
        self.blocking(|inner| async move { inner.high_water(name).await })
    }

    pub(super) fn raise_high_water(&self, name: &str, seen: u64) -> Result<u64, StoreError> {
        let name = name.to_owned();
        self.blocking(move |inner| async move {
            let mark = inner.high_water(name.clone()).await?;
            if mark >= seen { Ok(mark) } else { inner.raise(name, seen).await }
        })
    }

    pub(super) fn raise(&self, name: &str, seen: u64) -> Answer<'_, u64> {
        let name = name.to_owned();
        self.call(move |inner| async move { inner.raise(name, seen).await })
    }

    pub(super) fn high_waters(&self) -> Answer<'_, Vec<(String, u64)>> {
        self.call(|inner| async move {
            let rows = inner.query(Repeat::Always, sql::HIGH_WATERS, &[], Vec::new()).await?;
            rows.iter().map(|row| Ok((inner.column(row, 0)?, unsigned(inner.column(row, 1)?)))).collect()
        })
    }

    pub(super) fn marks(&self, table: Table, after: Option<Vec<u8>>, most: usize) -> Answer<'_, Vec<Named>> {
        self.call(move |inner| async move {
            let statements = inner.of(table)?;
            let statement = if after.is_some() { &statements.marks_after } else { &statements.marks_from };
            let parameters: Parameters = vec![Box::new(after.unwrap_or_default()), Box::new(limit(most))];
            let rows = inner.query(Repeat::Always, statement, &[Type::BYTEA, Type::INT8], parameters).await?;
            rows.iter().map(|row| Ok((inner.column(row, 0)?, inner.column(row, 1)?))).collect()
        })
    }
}

impl Rows for Postgres {
    fn claim(&self, table: Table, claims: Vec<Claim>) -> Answer<'_, Vec<Claimed>> {
        self.call(move |inner| async move { inner.claim(table, claims).await })
    }

    fn read(&self, table: Table, keys: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        self.call(move |inner| async move { inner.look_up(&inner.of(table)?.read, keys).await })
    }

    fn find(&self, table: Table, marks: Vec<Vec<u8>>) -> Answer<'_, Vec<Option<Vec<u8>>>> {
        self.call(move |inner| async move { inner.look_up(&inner.of(table)?.find, marks).await })
    }

    fn list(&self, table: Table, prefix: Vec<u8>, after: Option<Vec<u8>>, most: usize) -> Answer<'_, Vec<Row>> {
        self.call(move |inner| async move { inner.list(table, prefix, after, most).await })
    }

    fn change(&self, table: Table, changes: Vec<Change>) -> Answer<'_, ()> {
        self.call(move |inner| async move { inner.change(table, rows::checked_changes(changes)?).await })
    }

    fn swap(&self, table: Table, swaps: Vec<Swap>) -> Answer<'_, Vec<Swapped>> {
        self.call(move |inner| async move { inner.swap(table, rows::checked_swaps(swaps)?).await })
    }
}

/// Values of a statement.
type Parameters = Vec<Box<dyn ToSql + Sync + Send>>;

fn references(parameters: &Parameters) -> Vec<&(dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| -> &(dyn ToSql + Sync) { parameter.as_ref() }).collect()
}

impl Inner {
    fn failed(&self, why: &str) -> StoreError {
        StoreError::Failed(self.at.clone(), why.to_owned())
    }

    fn of(&self, table: Table) -> Result<&Statements, StoreError> {
        let found = self.statements.iter().find(|statements| statements.table == table);
        found.ok_or(StoreError::Misuse("a table that is not there"))
    }

    fn column<'a, T: tokio_postgres::types::FromSql<'a>>(
        &self,
        row: &'a tokio_postgres::Row,
        at: usize,
    ) -> Result<T, StoreError> {
        row.try_get(at).map_err(|_other| self.failed("a column of its tables is of another type"))
    }

    /// Does it on a connection, again where that is right.
    async fn run<T: Send>(
        &self,
        repeat: Repeat,
        attempt: impl for<'a> Fn(&'a Object) -> BoxFuture<'a, Result<T, Error>> + Send + Sync,
    ) -> Result<T, StoreError> {
        let mut pause = FIRST_PAUSE;
        let mut broken = false;
        let begun = Instant::now();
        for attempts in 1..=MOST_ATTEMPTS {
            let client = self.pool.get().await.map_err(|error| self.no_connection(error))?;
            let Ok(done) = tokio::time::timeout(self.config.statement_timeout + GRACE, attempt(&client)).await else {
                // Nobody knows what it still does: it is not used again.
                drop(Object::take(client));
                return Err(StoreError::Slow(self.at.clone(), self.config.statement_timeout));
            };
            let error = match done {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if error.as_db_error().is_none() {
                drop(Object::take(client));
            }
            // A server that breaks every connection is not asked ten times.
            if !repeat.applies(&error) || (error.is_closed() && broken) {
                return Err(self.fault(&error));
            }
            broken |= error.is_closed();
            if attempts == MOST_ATTEMPTS || begun.elapsed() > self.config.statement_timeout * LONGEST {
                return Err(StoreError::Contended(self.at.clone(), attempts));
            }
            tokio::time::sleep(pause.mul_f64(0.5 + chance() / 2.0)).await;
            pause *= 2;
        }
        Err(StoreError::Contended(self.at.clone(), MOST_ATTEMPTS))
    }

    /// One statement, whose types the caller knows, so that nothing is asked about them.
    async fn query(
        &self,
        repeat: Repeat,
        statement: &str,
        types: &[Type],
        parameters: Parameters,
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let asked = Arc::new((statement.to_owned(), types.to_vec(), parameters));
        self.run(repeat, move |client| {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let (statement, types, parameters) = &*asked;
                let prepared = client.prepare_typed_cached(statement, types).await?;
                client.query(&prepared, &references(parameters)).await
            })
        })
        .await
    }

    async fn look_up(&self, statement: &str, wanted: Vec<Vec<u8>>) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.query(Repeat::Always, statement, &[Type::BYTEA_ARRAY], vec![Box::new(wanted)]).await?;
        rows.iter().map(|row| self.column(row, 0)).collect()
    }

    async fn claim(&self, table: Table, claims: Vec<Claim>) -> Result<Vec<Claimed>, StoreError> {
        let claims = rows::checked_claims(table, claims)?;
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let linked = claims.iter().find_map(|claim| claim.link.as_ref().map(|(other, _)| *other));
        let statement = self.of(table)?.claim(linked).ok_or(StoreError::Misuse("a link into a table that is not there"))?;
        let (mut keys, mut values, mut links) = (Vec::new(), Vec::new(), Vec::new());
        let (mut owners, mut marks) = (Vec::new(), Vec::new());
        for (n, claim) in claims.into_iter().enumerate() {
            owners.extend(std::iter::repeat_n(ordinal(n), claim.marks.len()));
            marks.extend(claim.marks);
            keys.push(claim.key);
            values.push(claim.value);
            links.push(claim.link.map(|(_, link)| link));
        }
        let ordinals: Vec<i32> = (0..keys.len()).map(ordinal).collect();
        let types =
            [Type::INT4_ARRAY, Type::BYTEA_ARRAY, Type::BYTEA_ARRAY, Type::BYTEA_ARRAY, Type::INT4_ARRAY, Type::BYTEA_ARRAY];
        let parameters: Parameters =
            vec![Box::new(ordinals), Box::new(keys), Box::new(values), Box::new(links), Box::new(owners), Box::new(marks)];
        let rows = self.query(Repeat::LostRace, statement, &types, parameters).await?;
        let claimed = |row: &tokio_postgres::Row| {
            let (found, made): (Option<Vec<u8>>, bool) = (self.column(row, 0)?, self.column(row, 1)?);
            let held: Option<Vec<u8>> = self.column(row, 2)?;
            Ok(match (found, made) {
                (Some(key), _) => Claimed::Found { key, value: held.unwrap_or_default() },
                (None, true) => Claimed::Made,
                (None, false) => Claimed::Taken,
            })
        };
        rows.iter().map(claimed).collect()
    }

    async fn list(&self, table: Table, prefix: Vec<u8>, after: Option<Vec<u8>>, most: usize) -> Result<Vec<Row>, StoreError> {
        let statements = self.of(table)?;
        let end = end_of(&prefix);
        let (statement, from) = match after {
            Some(after) if after >= prefix => (&statements.list_after, after),
            Some(_) | None => (&statements.list_from, prefix),
        };
        let parameters: Parameters = vec![Box::new(from), Box::new(end), Box::new(limit(most))];
        let types = [Type::BYTEA, Type::BYTEA, Type::INT8];
        let rows = self.query(Repeat::Always, statement, &types, parameters).await?;
        let row = |row: &tokio_postgres::Row| {
            Ok(Row { key: self.column(row, 0)?, value: self.column(row, 1)?, marks: self.column(row, 2)? })
        };
        rows.iter().map(row).collect()
    }

    async fn change(&self, table: Table, changes: BTreeMap<Vec<u8>, Option<Row>>) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let statements = self.of(table)?;
        let keys: Vec<Vec<u8>> = changes.keys().cloned().collect();
        let (mut put, mut values) = (Vec::new(), Vec::new());
        let (mut owners, mut marks) = (Vec::new(), Vec::new());
        for (n, row) in changes.into_values().flatten().enumerate() {
            owners.extend(std::iter::repeat_n(ordinal(n), row.marks.len()));
            marks.extend(row.marks);
            put.push(row.key);
            values.push(row.value);
        }
        let ordinals: Vec<i32> = (0..put.len()).map(ordinal).collect();
        let asked = Arc::new(Changed { keys, ordinals, put, values, owners, marks });
        let texts =
            [&statements.hold, &statements.unmark, &statements.remove, &statements.put, &statements.mark].map(String::clone);
        let texts = Arc::new(texts);
        self.run(Repeat::Overwritten, move |client| {
            let (asked, texts) = (Arc::clone(&asked), Arc::clone(&texts));
            Box::pin(async move { asked.apply(client, &texts).await })
        })
        .await
    }

    async fn high_water(&self, name: String) -> Result<u64, StoreError> {
        let rows = self.query(Repeat::Always, sql::HIGH_WATER, &[Type::TEXT], vec![Box::new(name)]).await?;
        rows.first().map_or(Ok(0), |row| Ok(unsigned(self.column(row, 0)?)))
    }

    async fn raise(&self, name: String, seen: u64) -> Result<u64, StoreError> {
        let seen = i64::try_from(seen).map_err(|_larger| StoreError::Misuse("a mark beyond 2^63"))?;
        let parameters: Parameters = vec![Box::new(name), Box::new(seen)];
        let rows = self.query(Repeat::Always, sql::RAISE, &[Type::TEXT, Type::INT8], parameters).await?;
        rows.first().map_or_else(|| Err(self.failed("no answer")), |row| Ok(unsigned(self.column(row, 0)?)))
    }

    /// None where there is no schema.
    async fn version(&self) -> Result<Option<u64>, StoreError> {
        self.run(Repeat::Always, |client| {
            Box::pin(async move {
                match client.query_opt(sql::VERSION, &[]).await {
                    Ok(row) => row.map(|row| row.try_get(0).map(unsigned)).transpose(),
                    Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(None),
                    Err(error) => Err(error),
                }
            })
        })
        .await
    }

    async fn prepare(&self, opening: Opening) -> Result<(), StoreError> {
        if schema::is_ready(&self.at, self.version().await?, opening)? {
            return Ok(());
        }
        // One transaction, which others may run at the same time: what is there stays, and the version only rises.
        let script = format!("begin;\n{}{};\ncommit", sql::tables(), sql::SET_VERSION.replace("$1", &KNOWN.to_string()));
        self.run(Repeat::Tables, move |client| {
            let script = script.clone();
            Box::pin(async move {
                let done = client.batch_execute(&script).await;
                if done.is_err() {
                    client.batch_execute("rollback").await?;
                }
                done
            })
        })
        .await
    }
}

/// What `change` stores, in the shape of its statements.
struct Changed {
    keys: Vec<Vec<u8>>,
    ordinals: Vec<i32>,
    put: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
    owners: Vec<i32>,
    marks: Vec<Vec<u8>>,
}

impl Changed {
    /// All statements leave at once, so that they cost one round trip; after one that fails the others do nothing, and the last one,
    /// which would commit, undoes.
    async fn apply(&self, client: &Object, texts: &[String; 5]) -> Result<(), Error> {
        let [hold, unmark, remove, put, mark] = texts;
        let prepare = |text, types| client.prepare_typed_cached(text, types);
        let hold: Statement = prepare(hold, &[Type::BYTEA_ARRAY]).await?;
        let unmark = prepare(unmark, &[Type::BYTEA_ARRAY]).await?;
        let remove = prepare(remove, &[Type::BYTEA_ARRAY]).await?;
        let of_rows = [Type::INT4_ARRAY, Type::BYTEA_ARRAY, Type::BYTEA_ARRAY, Type::INT4_ARRAY, Type::BYTEA_ARRAY];
        let put = prepare(put, &of_rows).await?;
        let of_marks = [Type::INT4_ARRAY, Type::BYTEA_ARRAY, Type::INT4_ARRAY, Type::BYTEA_ARRAY];
        let mark = prepare(mark, &of_marks).await?;
        let keys: [&(dyn ToSql + Sync); 1] = [&self.keys];
        let rows: [&(dyn ToSql + Sync); 5] = [&self.ordinals, &self.put, &self.values, &self.owners, &self.marks];
        let marks: [&(dyn ToSql + Sync); 4] = [&self.ordinals, &self.put, &self.owners, &self.marks];
        let (begun, locked, unmarked, removed, put, marked, committed) = tokio::join!(
            client.batch_execute("begin"),
            client.execute(&hold, &keys),
            client.execute(&unmark, &keys),
            client.execute(&remove, &keys),
            client.execute(&put, &rows),
            client.execute(&mark, &marks),
            client.batch_execute("commit"),
        );
        begun?;
        for done in [locked, unmarked, removed, put, marked] {
            done?;
        }
        committed
    }
}

/// Starts the thread that the connections live on; it ends once `stop` is cancelled.
fn start_thread(stop: CancellationToken) -> std::io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name("store".into()).spawn(move || runtime.block_on(stop.cancelled()))?;
    Ok(handle)
}

/// The first key after all that begin with `prefix`; none if there is no such key.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

fn ordinal(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn limit(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A number in 0..1 that differs between nodes and times; not for secrets.
fn chance() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    f64::from(u32::try_from(bits >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(end_of(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(end_of(&[7, 0xff, 0xff]), Some(vec![8]));
        assert_eq!(end_of(&[0xff]), None);
        assert_eq!(end_of(b""), None);
    }

    #[test]
    fn chances_differ() {
        let (one, two) = (chance(), chance());
        assert!((0.0..=1.0).contains(&one) && (one - two).abs() > 0.0);
    }
}
