//! Circuit breakers before deliveries: one row each, decided under its lock.
//!
//! Triggers of the database raise the epoch when a state changes, so that an operator's UPDATE and the store's own
//! take the same way. What a delivery does to a breaker is decided elsewhere.

use std::collections::BTreeMap;

use bowline_types::Timestamp;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::rows::{BREAKER_COLUMNS, breaker, small};
use crate::jobs::breaking::{count, is_idle};
use crate::postgres::rows::unsigned;
use crate::{BreakerKey, BreakerRecord, BreakerReport, ChangeKind, Changes};

/// One of the two tables, and how its key is written.
#[derive(Debug, Clone, Copy)]
struct Table {
    name: &'static str,
    key: &'static str,
    kind: &'static str,
}

const TRIGGERS: Table = Table { name: "circuit_breaker_state", key: "trigger_id", kind: "uuid" };
const DESTINATIONS: Table = Table { name: "destination_breakers", key: "destination", kind: "text" };

impl Table {
    fn of(key: &BreakerKey) -> Self {
        match key {
            BreakerKey::Trigger(_) => TRIGGERS,
            BreakerKey::Destination(_) => DESTINATIONS,
        }
    }

    fn columns(self) -> String {
        format!("{}::text AS key, {BREAKER_COLUMNS}", self.key)
    }

    fn record(self, row: &PgRow) -> sqlx::Result<BreakerRecord> {
        let key: String = row.try_get("key")?;
        let key = match self.kind {
            "uuid" => BreakerKey::Trigger(
                Uuid::parse_str(&key)
                    .map_err(|e| crate::postgres::rows::corrupt("trigger_id", &e.to_string()))?,
            ),
            _ => BreakerKey::Destination(key),
        };
        breaker(row, key)
    }
}

/// A key as text, which PostgreSQL casts to the column's kind.
fn text(key: &BreakerKey) -> String {
    match key {
        BreakerKey::Trigger(id) => id.to_string(),
        BreakerKey::Destination(name) => name.clone(),
    }
}

/// The keys that each table holds.
fn by_table(keys: impl Iterator<Item = BreakerKey>) -> [(Table, Vec<String>); 2] {
    let (triggers, destinations): (Vec<_>, Vec<_>) =
        keys.partition(|key| matches!(key, BreakerKey::Trigger(_)));
    [(TRIGGERS, triggers), (DESTINATIONS, destinations)]
        .map(|(table, keys)| (table, keys.iter().map(text).collect()))
}

pub(crate) async fn list(pool: &PgPool, keys: Option<Vec<BreakerKey>>) -> sqlx::Result<Vec<BreakerRecord>> {
    let mut connection = pool.acquire().await?;
    let Some(keys) = keys else {
        let mut found = Vec::new();
        for table in [TRIGGERS, DESTINATIONS] {
            let sql = format!(
                "SELECT {} FROM {} WHERE state <> 'closed' ORDER BY {}",
                table.columns(),
                table.name,
                table.key
            );
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *connection).await?;
            for row in &rows {
                found.push(table.record(row)?);
            }
        }
        return Ok(found);
    };
    select(&mut connection, keys.into_iter(), "").await
}

/// Breakers by key, ascending; `lock` ends the query.
async fn select(
    connection: &mut PgConnection,
    keys: impl Iterator<Item = BreakerKey>,
    lock: &str,
) -> sqlx::Result<Vec<BreakerRecord>> {
    let mut found = Vec::new();
    for (table, keys) in by_table(keys) {
        if keys.is_empty() {
            continue;
        }
        let Table { name, key, kind } = table;
        let columns = table.columns();
        let sql = format!(
            "SELECT {columns} FROM {name} WHERE {key} = ANY($1::text[]::{kind}[]) ORDER BY {key} {lock}"
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(keys).fetch_all(&mut *connection).await?;
        for row in &rows {
            found.push(table.record(row)?);
        }
    }
    Ok(found)
}

pub(crate) async fn report(
    pool: &PgPool,
    changes: &Changes,
    reports: &[BreakerReport],
    now: Timestamp,
) -> sqlx::Result<Vec<BreakerRecord>> {
    let mut of_keys = BTreeMap::<&BreakerKey, Vec<&BreakerReport>>::new();
    for report in reports {
        of_keys.entry(&report.key).or_default().push(report);
    }
    let mut connection = pool.acquire().await?;
    let rows = select(&mut connection, of_keys.keys().map(|key| (*key).clone()), "").await?;
    // Most deliveries succeed, and then there is nothing to write.
    of_keys.retain(|key, reports| !is_idle(rows.iter().find(|row| row.key == **key), reports));
    if of_keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
    for (table, keys) in by_table(of_keys.keys().map(|key| (*key).clone())) {
        let Table { name, key, kind } = table;
        let sql = format!(
            "INSERT INTO {name} ({key}) SELECT k::{kind} FROM UNNEST($1::text[]) AS k ORDER BY k::{kind}
             ON CONFLICT DO NOTHING"
        );
        sqlx::query(AssertSqlSafe(sql)).bind(keys).execute(&mut *transaction).await?;
    }
    let keys = of_keys.keys().map(|key| (*key).clone());
    let held = select(&mut transaction, keys, "FOR UPDATE").await?;
    let mut turned = Vec::new();
    let mut written = Vec::new();
    for before in held {
        let Some(reports) = of_keys.get(&before.key) else { continue };
        let mut row = before.clone();
        reports.iter().for_each(|report| count(&mut row, report, now));
        if row.state != before.state {
            turned.push(row.clone());
        }
        written.push(row);
    }
    write(&mut transaction, &written).await?;
    let epoch = match turned.is_empty() {
        true => None,
        false => Some(epoch(&mut transaction).await?),
    };
    transaction.commit().await?;
    if let Some(epoch) = epoch {
        changes.observe(ChangeKind::BREAKERS, epoch);
    }
    Ok(turned)
}

async fn write(connection: &mut PgConnection, rows: &[BreakerRecord]) -> sqlx::Result<()> {
    for table in [TRIGGERS, DESTINATIONS] {
        let rows: Vec<_> = rows.iter().filter(|row| Table::of(&row.key).kind == table.kind).collect();
        if rows.is_empty() {
            continue;
        }
        let Table { name, key, kind } = table;
        let sql = format!(
            "UPDATE {name} b SET state = k.state, failure_count = k.failure_count, last_failure_at = k.last_failure_at,
                 opened_at = k.opened_at, probes = k.probes, failure_threshold = k.failure_threshold,
                 recovery_secs = k.recovery_secs, half_open_calls_max = k.half_open_calls_max
             FROM UNNEST($1::text[], $2::text[], $3::int[], $4::timestamptz[], $5::timestamptz[], $6::int[], $7::int[],
                         $8::int[], $9::int[])
                 AS k (key, state, failure_count, last_failure_at, opened_at, probes, failure_threshold, recovery_secs,
                       half_open_calls_max)
             WHERE b.{key} = k.key::{kind}"
        );
        let moments = |of: fn(&BreakerRecord) -> Option<Timestamp>| -> Vec<Option<DateTime<Utc>>> {
            rows.iter().map(|row| of(row).map(Timestamp::to_chrono)).collect()
        };
        let counts =
            |of: fn(&BreakerRecord) -> u32| -> Vec<i32> { rows.iter().map(|row| small(of(row))).collect() };
        sqlx::query(AssertSqlSafe(sql))
            .bind(rows.iter().map(|row| text(&row.key)).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.state.as_str()).collect::<Vec<_>>())
            .bind(counts(|row| row.failure_count))
            .bind(moments(|row| row.last_failure_at))
            .bind(moments(|row| row.opened_at))
            .bind(counts(|row| row.probes))
            .bind(counts(|row| row.settings.failure_threshold))
            .bind(counts(|row| row.settings.recovery_secs))
            .bind(counts(|row| row.settings.half_open_calls_max))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// The epoch as the transaction sees it.
async fn epoch(connection: &mut PgConnection) -> sqlx::Result<u64> {
    let query = sqlx::query("SELECT epoch FROM change_epochs WHERE kind = $1");
    unsigned(&query.bind(ChangeKind::BREAKERS.as_str()).fetch_one(connection).await?, "epoch")
}

pub(crate) async fn half_open(
    pool: &PgPool,
    changes: &Changes,
    now: Timestamp,
) -> sqlx::Result<Vec<BreakerRecord>> {
    let mut connection = pool.acquire().await?;
    let mut turned = Vec::new();
    for table in [TRIGGERS, DESTINATIONS] {
        let Table { name, key, .. } = table;
        let sql = format!(
            "UPDATE {name} SET state = 'half_open' WHERE {key} IN (
                 SELECT {key} FROM {name} WHERE state = 'open' AND state <> 'closed'
                     AND (opened_at IS NULL OR opened_at + recovery_secs * interval '1 second' <= $1)
                 ORDER BY {key} FOR UPDATE SKIP LOCKED)
             RETURNING {}",
            table.columns()
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(now.to_chrono()).fetch_all(&mut *connection).await?;
        for row in &rows {
            turned.push(table.record(row)?);
        }
    }
    if !turned.is_empty() {
        changes.observe(ChangeKind::BREAKERS, epoch(&mut connection).await?);
    }
    Ok(turned)
}

pub(crate) async fn take_probe(pool: &PgPool, key: &BreakerKey, now: Timestamp) -> sqlx::Result<bool> {
    let Table { name, key: column, kind } = Table::of(key);
    let is_stale = "probed_at + recovery_secs * interval '1 second' <= $2";
    let sql = format!(
        "UPDATE {name} SET probes = CASE WHEN {is_stale} THEN 1 ELSE probes + 1 END, probed_at = $2
         WHERE {column} = $1::{kind} AND state = 'half_open'
             AND (probes < greatest(half_open_calls_max, 1) OR {is_stale})"
    );
    let taken = sqlx::query(AssertSqlSafe(sql)).bind(text(key)).bind(now.to_chrono()).execute(pool).await?;
    Ok(taken.rows_affected() == 1)
}

pub(crate) async fn reset(pool: &PgPool, changes: &Changes, key: &BreakerKey) -> sqlx::Result<bool> {
    let Table { name, key: column, kind } = Table::of(key);
    let sql = format!(
        "UPDATE {name} SET state = 'closed', failure_count = 0
         WHERE {column} = $1::{kind} AND (state <> 'closed' OR failure_count > 0)"
    );
    let mut connection = pool.acquire().await?;
    let reset = sqlx::query(AssertSqlSafe(sql)).bind(text(key)).execute(&mut *connection).await?;
    if reset.rows_affected() == 0 {
        return Ok(false);
    }
    changes.observe(ChangeKind::BREAKERS, epoch(&mut connection).await?);
    Ok(true)
}
