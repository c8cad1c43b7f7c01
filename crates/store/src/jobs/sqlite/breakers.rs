//! Circuit breakers before deliveries: one row each.
//!
//! Triggers of the database raise the epoch when a state changes, so that an operator's UPDATE and the store's own
//! take the same way. What a delivery does to a breaker is decided elsewhere.

use std::collections::BTreeMap;

use bowline_types::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params_from_iter};

use super::rows::{BREAKER_COLUMNS, breaker, trigger_key};
use crate::changes::sqlite as changes;
use crate::jobs::breaking::{count, is_idle, untouched};
use crate::sqlite::pool::Failure;
use crate::{BreakerKey, BreakerRecord, BreakerReport, ChangeKind, Changes};

/// Microseconds in a second, as SQL says it.
const SECOND: &str = "1000000";

/// One of the two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Triggers,
    Destinations,
}

impl Table {
    const ALL: [Self; 2] = [Self::Triggers, Self::Destinations];

    fn of(key: &BreakerKey) -> Self {
        match key {
            BreakerKey::Trigger(_) => Self::Triggers,
            BreakerKey::Destination(_) => Self::Destinations,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Triggers => "circuit_breaker_state",
            Self::Destinations => "destination_breakers",
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Triggers => "trigger_id",
            Self::Destinations => "destination",
        }
    }

    fn columns(self) -> String {
        format!("{}, {BREAKER_COLUMNS}", self.key())
    }

    fn record(self, row: &Row<'_>) -> rusqlite::Result<BreakerRecord> {
        let key = match self {
            Self::Triggers => trigger_key(row)?,
            Self::Destinations => BreakerKey::Destination(row.get(0)?),
        };
        breaker(row, key)
    }
}

fn text(key: &BreakerKey) -> String {
    match key {
        BreakerKey::Trigger(id) => id.to_string(),
        BreakerKey::Destination(name) => name.clone(),
    }
}

pub(crate) fn list(
    connection: &Connection,
    keys: Option<Vec<BreakerKey>>,
) -> Result<Vec<BreakerRecord>, Failure> {
    let mut found = Vec::new();
    if let Some(keys) = keys {
        for key in keys {
            found.extend(one(connection, &key)?);
        }
        return Ok(found);
    }
    for table in Table::ALL {
        let (columns, name, key) = (table.columns(), table.name(), table.key());
        let sql = format!("SELECT {columns} FROM {name} WHERE state <> 'closed' ORDER BY {key}");
        let mut statement = connection.prepare_cached(&sql)?;
        for row in statement.query_map((), |row| table.record(row))? {
            found.push(row?);
        }
    }
    Ok(found)
}

fn one(connection: &Connection, key: &BreakerKey) -> rusqlite::Result<Option<BreakerRecord>> {
    let table = Table::of(key);
    let sql = format!("SELECT {} FROM {} WHERE {} = ?1", table.columns(), table.name(), table.key());
    connection.prepare_cached(&sql)?.query_row([text(key)], |row| table.record(row)).optional()
}

pub(crate) fn report(
    connection: &mut Connection,
    known: &Changes,
    reports: &[BreakerReport],
    now: Timestamp,
) -> Result<Vec<BreakerRecord>, Failure> {
    let mut of_keys = BTreeMap::<&BreakerKey, Vec<&BreakerReport>>::new();
    for report in reports {
        of_keys.entry(&report.key).or_default().push(report);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (mut turned, mut is_written) = (Vec::new(), false);
    for (key, reports) in of_keys {
        let before = one(&transaction, key)?;
        if is_idle(before.as_ref(), &reports) {
            continue;
        }
        let Some(first) = reports.first() else { continue };
        let before = before.unwrap_or_else(|| untouched(first));
        let mut row = before.clone();
        reports.iter().for_each(|report| count(&mut row, report, now));
        write(&transaction, &row)?;
        is_written = true;
        if row.state != before.state {
            turned.push(row);
        }
    }
    if is_written {
        commit(transaction, known)?;
    }
    Ok(turned)
}

/// Commits, and takes note of the epoch that the database's triggers may have raised.
fn commit(transaction: Transaction<'_>, known: &Changes) -> Result<(), Failure> {
    let epoch = changes::read(&transaction, ChangeKind::BREAKERS)?;
    transaction.commit()?;
    known.observe(ChangeKind::BREAKERS, epoch);
    Ok(())
}

fn write(transaction: &Transaction<'_>, row: &BreakerRecord) -> Result<(), Failure> {
    let table = Table::of(&row.key);
    let (name, key) = (table.name(), table.key());
    let mut add = transaction
        .prepare_cached(&format!("INSERT INTO {name} ({key}) VALUES (?1) ON CONFLICT DO NOTHING"))?;
    add.execute([text(&row.key)])?;
    let sql = format!(
        "UPDATE {name} SET state = ?2, failure_count = ?3, last_failure_at = ?4, opened_at = ?5, probes = ?6,
             failure_threshold = ?7, recovery_secs = ?8, half_open_calls_max = ?9 WHERE {key} = ?1"
    );
    transaction.prepare_cached(&sql)?.execute((
        text(&row.key),
        row.state.as_str(),
        row.failure_count,
        row.last_failure_at.map(Timestamp::micros),
        row.opened_at.map(Timestamp::micros),
        row.probes,
        row.settings.failure_threshold,
        row.settings.recovery_secs,
        row.settings.half_open_calls_max,
    ))?;
    Ok(())
}

/// The epochs are read besides: an operator may have changed something past the store.
pub(crate) fn half_open(
    connection: &mut Connection,
    known: &Changes,
    now: Timestamp,
) -> Result<Vec<BreakerRecord>, Failure> {
    let mut turned = Vec::new();
    for table in Table::ALL {
        let (columns, name) = (table.columns(), table.name());
        let sql = format!(
            "SELECT {columns} FROM {name} WHERE state = 'open' AND state <> 'closed'
             AND coalesce(opened_at, 0) + recovery_secs * {SECOND} <= ?1"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        for row in statement.query_map([now.micros()], |row| table.record(row))? {
            turned.push(row?);
        }
    }
    if !turned.is_empty() {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for row in &mut turned {
            let table = Table::of(&row.key);
            let sql = format!(
                "UPDATE {} SET state = 'half_open' WHERE {} = ?1 AND state = 'open' RETURNING {}",
                table.name(),
                table.key(),
                table.columns()
            );
            let mut statement = transaction.prepare_cached(&sql)?;
            if let Some(now_half_open) =
                statement.query_row([text(&row.key)], |row| table.record(row)).optional()?
            {
                *row = now_half_open;
            }
        }
        transaction.commit()?;
    }
    changes::load(connection, known)?;
    Ok(turned)
}

pub(crate) fn take_probe(
    connection: &mut Connection,
    key: &BreakerKey,
    now: Timestamp,
) -> Result<bool, Failure> {
    let table = Table::of(key);
    let is_stale = format!("probed_at + recovery_secs * {SECOND} <= ?2");
    let sql = format!(
        "UPDATE {} SET probes = CASE WHEN {is_stale} THEN 1 ELSE probes + 1 END, probed_at = ?2
         WHERE {} = ?1 AND state = 'half_open' AND (probes < max(half_open_calls_max, 1) OR {is_stale})",
        table.name(),
        table.key()
    );
    let values = [Value::Text(text(key)), Value::Integer(now.micros())];
    Ok(connection.prepare_cached(&sql)?.execute(params_from_iter(values))? == 1)
}

pub(crate) fn reset(connection: &mut Connection, known: &Changes, key: &BreakerKey) -> Result<bool, Failure> {
    let table = Table::of(key);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = format!(
        "UPDATE {} SET state = 'closed', failure_count = 0
         WHERE {} = ?1 AND (state <> 'closed' OR failure_count > 0)",
        table.name(),
        table.key()
    );
    let reset = transaction.prepare_cached(&sql)?.execute([text(key)])?;
    commit(transaction, known)?;
    Ok(reset == 1)
}
