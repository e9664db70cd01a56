//! The statements. Plain SQL that PostgreSQL and the engines that speak its protocol have in common: no advisory locks, sequences,
//! procedures, triggers or exclusion constraints.
//!
//! Rows are looked up in scalar subqueries, which are read by index one by one; joins are between what the call brought only.

use super::super::rows::Table;

/// Makes what today's version of the schema has; what is there stays. Version 2 added `sudare_node` and the table of
/// rings, version 3 that of facts.
pub(super) fn tables() -> String {
    let mut all = "create table if not exists sudare_schema (id int4 primary key, version int8 not null);
create table if not exists sudare_high_water (name text primary key, mark int8 not null);
create table if not exists sudare_topic (topic text primary key, count int8 not null);
create table if not exists sudare_node (
  node text primary key, started timestamptz not null, seen timestamptz not null, about bytea not null
);
"
    .to_owned();
    for table in Table::ALL {
        let (rows, marks) = (rows_of(*table), marks_of(*table));
        all.push_str("create table if not exists ");
        all.push_str(rows);
        all.push_str(" (key bytea primary key, value bytea not null, marks bytea[] not null);\ncreate table if not exists ");
        all.push_str(marks);
        all.push_str(" (mark bytea primary key, key bytea not null);\n");
    }
    all
}

pub(super) const VERSION: &str = "select version from sudare_schema where id = 1";
pub(super) const SET_VERSION: &str = "insert into sudare_schema (id, version) values (1, $1)
on conflict (id) do update set version = greatest(sudare_schema.version, excluded.version)";

pub(super) const HIGH_WATER: &str = "select mark from sudare_high_water where name = $1";
pub(super) const HIGH_WATERS: &str = "select name, mark from sudare_high_water order by name";
pub(super) const RAISE: &str = "insert into sudare_high_water (name, mark) values ($1, $2)
on conflict (name) do update set mark = greatest(sudare_high_water.mark, excluded.mark) returning mark";

pub(super) const ANNOUNCE: &str = "insert into sudare_topic (topic, count) values ($1, 1)
on conflict (topic) do update set count = sudare_topic.count + 1 returning count";
pub(super) const NOTIFY: &str = "select pg_notify('sudare', $1)";
pub(super) const LISTEN: &str = "listen sudare";
pub(super) const TOPICS: &str = "select topic, count from sudare_topic order by topic";

/// Times are the server's, of the moment a statement begins: what the clocks of nodes say does not matter.
pub(super) const BEAT: &str = "insert into sudare_node (node, started, seen, about) values ($1, now(), now(), $2)
on conflict (node) do update set seen = now(), about = excluded.about";
pub(super) const LEAVE: &str = "delete from sudare_node where node = $1";
pub(super) const NODES: &str =
    "select node, extract(epoch from now() - started)::float8, extract(epoch from now() - seen)::float8, about
from sudare_node order by started, node";
/// Those that nobody asks about any more.
pub(super) const FORGET: &str = "delete from sudare_node where seen < now() - interval '1 hour'";

/// One statement, which does all or nothing: the row becomes what it is to be if it is what was seen, and only then the mark of the name
/// `$4` rises to `$5` and the topic of the same name is announced. One row comes back if it was done. `$1` key, `$2` seen, `$3` new.
pub(super) fn supersede(table: Table, kind: Superseding) -> String {
    let rows = rows_of(table);
    let first = match kind {
        Superseding::Made => {
            format!("insert into {rows} (key, value, marks) values ($1, $3, '{{}}') on conflict (key) do nothing returning key")
        }
        Superseding::Replaced => format!("update {rows} set value = $3 where key = $1 and value = $2 returning key"),
        Superseding::Removed => format!("delete from {rows} where key = $1 and value = $2 returning key"),
    };
    format!(
        "with done as (
  {first}
), raised as (
  insert into sudare_high_water (name, mark) select $4, $5 from done
  on conflict (name) do update set mark = greatest(sudare_high_water.mark, excluded.mark)
), told as (
  insert into sudare_topic (topic, count) select $4, 1 from done
  on conflict (topic) do update set count = sudare_topic.count + 1
)
select key from done"
    )
}

/// What [`supersede`] does to the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Superseding {
    /// There was none.
    Made,
    /// Another one was there.
    Replaced,
    /// There is none any more.
    Removed,
}

/// Of one table.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) table: Table,
    pub(super) read: String,
    pub(super) find: String,
    pub(super) list_from: String,
    pub(super) list_after: String,
    pub(super) marks_from: String,
    pub(super) marks_after: String,
    pub(super) hold: String,
    pub(super) unmark: String,
    pub(super) remove: String,
    pub(super) put: String,
    pub(super) mark: String,
    pub(super) swap: String,
    /// With each other table as that of the links.
    claim: Vec<(Table, String)>,
}

impl Statements {
    pub(super) fn of(table: Table) -> Self {
        let (rows, marks) = (rows_of(table), marks_of(table));
        let list = |than: &str| {
            format!(
                "select key, value, marks from {rows} where key {than} $1 and ($2::bytea is null or key < $2) order by key limit $3"
            )
        };
        let page = |than: &str| format!("select mark, key from {marks} where mark {than} $1 order by mark limit $2");
        let others = Table::ALL.iter().filter(|other| **other != table);
        Self {
            table,
            read: format!(
                "select (select r.value from {rows} r where r.key = k.key) from unnest($1::bytea[]) with ordinality as k (key, n) order by k.n"
            ),
            find: format!(
                "select (select m.key from {marks} m where m.mark = k.mark) from unnest($1::bytea[]) with ordinality as k (mark, n) order by k.n"
            ),
            list_from: list(">="),
            list_after: list(">"),
            marks_from: page(">="),
            marks_after: page(">"),
            // The statements after it see what a swap that was faster has left: also the marks it made.
            hold: format!("select key from {rows} where key = any($1::bytea[]) order by key for update"),
            unmark: format!(
                "delete from {marks} where mark in (select unnest(r.marks) from {rows} r where r.key = any($1::bytea[]))"
            ),
            remove: format!("delete from {rows} where key = any($1::bytea[])"),
            put: format!(
                "insert into {rows} (key, value, marks) select w.key, w.value, coalesce(m.marks, '{{}}')
from unnest($1::int4[], $2::bytea[], $3::bytea[]) as w (n, key, value)
left join (select n, array_agg(mark order by mark) as marks from unnest($4::int4[], $5::bytea[]) as m (n, mark) group by n) m
on m.n = w.n order by w.key"
            ),
            mark: format!(
                "insert into {marks} (mark, key) select m.mark, w.key from unnest($1::int4[], $2::bytea[]) as w (n, key)
join unnest($3::int4[], $4::bytea[]) as m (n, mark) on m.n = w.n order by m.mark"
            ),
            swap: swap(table),
            claim: others.map(|other| (*other, claim(table, *other))).collect(),
        }
    }

    /// With links into this table, or into any if there are none.
    pub(super) fn claim(&self, links: Option<Table>) -> Option<&str> {
        let fits = |other: Table| links.is_none_or(|links| links == other);
        self.claim.iter().find(|(other, _)| fits(*other)).map(|(_, statement)| statement.as_str())
    }
}

/// One statement: what is found by its marks is reported, what is free is made. It is made without a word about conflicts, so that
/// whoever loses a race is told (23505), has changed nothing, and finds what the other made. In order of the bytes, so that two
/// callers wait for each other in one direction only.
fn claim(table: Table, other: Table) -> String {
    let (rows, marks, links) = (rows_of(table), marks_of(table), rows_of(other));
    // `enc` of two parts.
    let length = |part: &str| format!("decode(lpad(to_hex(octet_length({part})), 8, '0'), 'hex')");
    let (of_key, of_link) = (length("l.key"), length("l.link"));
    format!(
        "with wanted as (
  select w.n, w.key, w.value, w.link from unnest($1::int4[], $2::bytea[], $3::bytea[], $4::bytea[]) as w (n, key, value, link)
), named as (
  select m.n, m.mark, (select h.key from {marks} h where h.mark = m.mark) as holder
  from unnest($5::int4[], $6::bytea[]) as m (n, mark)
), found as (
  select distinct on (n) n, holder as key from named where holder is not null order by n, mark
), free as (
  select distinct on (w.key) w.n, w.key, w.value from wanted w left join found on found.n = w.n
  where found.n is null and (select r.key from {rows} r where r.key = w.key) is null
  order by w.key, w.n
), grouped as (
  select n, array_agg(mark order by mark) as marks from named group by n
), made as (
  insert into {rows} (key, value, marks)
  select free.key, free.value, coalesce(grouped.marks, '{{}}') from free left join grouped on grouped.n = free.n order by free.key
), marked as (
  insert into {marks} (mark, key) select named.mark, free.key from free join named on named.n = free.n order by named.mark
), linked as (
  select distinct {of_key} || l.key || {of_link} || l.link as key
  from (
    select coalesce(found.key, free.key) as key, w.link
    from wanted w left join found on found.n = w.n left join free on free.n = w.n where w.link is not null
  ) l where l.key is not null
), made_links as (
  insert into {links} (key, value, marks)
  select linked.key, ''::bytea, '{{}}'::bytea[] from linked
  where (select r.key from {links} r where r.key = linked.key) is null order by linked.key
  on conflict (key) do nothing
)
select found.key, free.n is not null, (select r.value from {rows} r where r.key = found.key) from wanted w left join found on found.n = w.n left join free on free.n = w.n order by w.n"
    )
}

/// One statement: what still is as it was seen is changed. A row that somebody changes at this very moment is waited for and then looked at
/// again by the update itself; a mark that somebody takes at this very moment is told (23505), and the next attempt sees it.
fn swap(table: Table) -> String {
    let (rows, marks) = (rows_of(table), marks_of(table));
    let grouped = |n: u8, mark: u8| {
        format!(
            "select n, array_agg(mark order by mark) as marks from unnest(${n}::int4[], ${mark}::bytea[]) as m (n, mark) group by n"
        )
    };
    let (before, after) = (grouped(5, 6), grouped(7, 8));
    format!(
        "with wanted as (
  select w.n, w.key, w.seen, w.value from unnest($1::int4[], $2::bytea[], $3::bytea[], $4::bytea[]) as w (n, key, seen, value)
), before as (
  {before}
), after as (
  {after}
), added as (
  select a.n, a.mark, (select h.key from {marks} h where h.mark = a.mark) as holder
  from unnest($7::int4[], $8::bytea[]) as a (n, mark)
), taken as (
  select distinct added.n from added join wanted on wanted.n = added.n where added.holder is not null and added.holder <> wanted.key
), swapped as (
  update {rows} r set value = w.value, marks = coalesce(after.marks, '{{}}')
  from wanted w left join before on before.n = w.n left join after on after.n = w.n left join taken on taken.n = w.n
  where r.key = any($2::bytea[]) and r.key = w.key and r.value = w.seen and r.marks = coalesce(before.marks, '{{}}') and taken.n is null
  returning w.n
), unmarked as (
  delete from {marks} where mark in (
    select b.mark from unnest($5::int4[], $6::bytea[]) as b (n, mark) join swapped on swapped.n = b.n
    left join added on added.n = b.n and added.mark = b.mark where added.n is null
  )
), marked as (
  insert into {marks} (mark, key)
  select added.mark, wanted.key from added join swapped on swapped.n = added.n join wanted on wanted.n = added.n
  where added.holder is null order by added.mark
)
select swapped.n is not null, taken.n is not null
from wanted w left join swapped on swapped.n = w.n left join taken on taken.n = w.n order by w.n"
    )
}

pub(super) fn rows_of(table: Table) -> &'static str {
    match table {
        Table::Token => "sudare_token",
        Table::TokenRef => "sudare_token_ref",
        Table::Ring => "sudare_ring",
        Table::Fact => "sudare_fact",
    }
}

fn marks_of(table: Table) -> &'static str {
    match table {
        Table::Token => "sudare_token_mark",
        Table::TokenRef => "sudare_token_ref_mark",
        Table::Ring => "sudare_ring_mark",
        Table::Fact => "sudare_fact_mark",
    }
}
