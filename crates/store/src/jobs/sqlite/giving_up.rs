//! Waiting jobs that are given up: dead letters by rule, which somebody may have delivered again.
//!
//! It leaves alone what a worker has in hand, and what no circuit breaker bars at that moment and nobody has tried: a
//! barred job whose time has come is tried first.

use bowline_types::{TenantId, Timestamp};
use rusqlite::{Connection, Params, TransactionBehavior};

use super::rows::{JOB_COLUMNS, job};
use crate::JobRecord;
use crate::jobs::queueing::{BARRED_TOO_LONG, GIVEN_UP_MAX, tenant_queue_full};
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{fixed, signed};

/// Gives up the jobs that a query of ids names: `?1` is the moment, `?2` the reason.
fn give_up(connection: &Connection, which: &str, values: impl Params) -> rusqlite::Result<Vec<JobRecord>> {
    let sql = format!(
        "UPDATE action_jobs SET state = 'dead', ready = 0, handed_over = 0, ended_at = ?1,
             last_error = ?2 || coalesce('; before that: ' || last_error, '')
         WHERE job_id IN ({which}) RETURNING {JOB_COLUMNS}"
    );
    connection.prepare_cached(&sql)?.query_map(values, job)?.collect()
}

/// Whether a job waits behind an open breaker since before that moment.
pub(crate) fn is_any_barred(
    connection: &Connection,
    before: Timestamp,
    now: Timestamp,
) -> Result<bool, Failure> {
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM action_jobs WHERE state = 'waiting' AND barred_since < ?1
                            AND NOT ready AND due_at > ?2)",
        )?
        .query_row([before.micros(), now.micros()], |row| row.get(0))?)
}

pub(crate) fn barred(
    connection: &mut Connection,
    before: Timestamp,
    now: Timestamp,
) -> Result<Vec<JobRecord>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let given_up = give_up(
        &transaction,
        "SELECT job_id FROM action_jobs WHERE state = 'waiting' AND barred_since < ?3 AND NOT ready AND due_at > ?1
         ORDER BY barred_since LIMIT ?4",
        (now.micros(), BARRED_TOO_LONG, before.micros(), GIVEN_UP_MAX),
    )?;
    transaction.commit()?;
    Ok(given_up)
}

/// Tenants with more waiting jobs than that, and how many are too many.
pub(crate) fn crowded(connection: &Connection, waiting_max: u64) -> Result<Vec<(TenantId, i64)>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT tenant_id, count(*) - ?1 FROM action_jobs INDEXED BY action_jobs_due WHERE state = 'waiting'
         GROUP BY tenant_id HAVING count(*) > ?1",
    )?;
    let found = statement
        .query_map([signed(waiting_max)], |row| Ok((TenantId::from_bytes(fixed(row, 0)?), row.get(1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn excess(
    connection: &mut Connection,
    waiting_max: u64,
    now: Timestamp,
) -> Result<Vec<JobRecord>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut given_up = Vec::new();
    // Counted where nobody else writes: two that give up at the same time don't both give up the same number.
    for (tenant_id, excess) in crowded(&transaction, waiting_max)? {
        let left = GIVEN_UP_MAX.saturating_sub_unsigned(given_up.len() as u64);
        given_up.extend(give_up(
            &transaction,
            "SELECT job_id FROM action_jobs WHERE tenant_id = ?3 AND state = 'waiting'
                 AND (barred_since IS NOT NULL OR attempts > attempts_before)
                 AND (attempts > attempts_before OR (NOT ready AND due_at > ?1))
             ORDER BY created_at, job_id LIMIT ?4",
            (now.micros(), tenant_queue_full(waiting_max), tenant_id.as_bytes(), left.min(excess)),
        )?);
    }
    transaction.commit()?;
    Ok(given_up)
}
