//! What is done to jobs beside delivering them: handing over, counting, listing, delivering again, deleting.
//! Claims and reports are in `claims`; whatever is done here leaves a running job alone.

use bowline_types::{TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params_from_iter};
use uuid::Uuid;

use super::claims::{commit, is_any_due, ready_what_is_due};
use super::rows::{ATTEMPT_COLUMNS, JOB_COLUMNS, attempt, fits, job, uuid};
use crate::jobs::queueing::{COUNTED_MAX, ENDED, in_order_of_claims, redelivered};
use crate::jobs::sqlite::insert::Tags;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::signed;
use crate::{AttemptRecord, Changes, JobFilter, JobRecord, QueueDepth};

pub(crate) fn hand_over(
    connection: &mut Connection,
    changes: &Changes,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<JobRecord>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let readied = ready_what_is_due(&transaction, now)?;
    let sql = format!(
        "UPDATE action_jobs SET handed_over = 1, handed_at = ?2 WHERE job_id IN (
             SELECT job_id FROM action_jobs WHERE state = 'waiting' AND ready AND NOT handed_over
             ORDER BY tag, priority DESC, job_id LIMIT ?1) RETURNING {JOB_COLUMNS}"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let handed = statement.query_map((signed(limit as u64), now.micros()), job)?;
    let mut handed = handed.collect::<rusqlite::Result<Vec<_>>>()?;
    drop(statement);
    if readied > 0 || !handed.is_empty() {
        commit(transaction, changes, readied > handed.len())?;
    }
    in_order_of_claims(&mut handed);
    Ok(handed)
}

pub(crate) fn take_back(
    connection: &mut Connection,
    changes: &Changes,
    jobs: Option<Vec<Uuid>>,
) -> Result<u64, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let taken = match jobs {
        None => transaction
            .execute("UPDATE action_jobs SET handed_over = 0 WHERE state = 'waiting' AND handed_over", ())?,
        Some(jobs) => {
            let mut statement = transaction.prepare_cached(
                "UPDATE action_jobs SET handed_over = 0 WHERE job_id = ?1 AND state = 'waiting' AND handed_over",
            )?;
            let mut taken = 0;
            for job_id in jobs {
                taken += statement.execute([job_id.as_bytes()])?;
            }
            taken
        }
    };
    commit(transaction, changes, taken > 0)?;
    Ok(taken as u64)
}

pub(crate) fn handed(
    connection: &Connection,
    before: Timestamp,
    after: Option<(Timestamp, Uuid)>,
    limit: usize,
) -> Result<Vec<(Timestamp, Uuid)>, Failure> {
    let (handed_at, job_id) = after.unwrap_or((Timestamp::from_micros(i64::MIN), Uuid::nil()));
    let mut statement = connection.prepare_cached(
        "SELECT handed_at, job_id FROM action_jobs WHERE state = 'waiting' AND handed_over
         AND handed_at < ?1 AND (handed_at, job_id) > (?2, ?3) ORDER BY handed_at, job_id LIMIT ?4",
    )?;
    let rows = statement
        .query_map((before.micros(), handed_at.micros(), job_id.as_bytes(), signed(limit as u64)), |row| {
            Ok((Timestamp::from_micros(row.get(0)?), uuid(row, 1)?))
        })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn still_handed(connection: &Connection, jobs: &[Uuid]) -> Result<Vec<Uuid>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM action_jobs WHERE job_id = ?1 AND state = 'waiting' AND handed_over)",
    )?;
    let mut still = Vec::new();
    for job_id in jobs {
        if statement.query_row([job_id.as_bytes()], |row| row.get(0))? {
            still.push(*job_id);
        }
    }
    Ok(still)
}

/// Makes jobs ready whose time has come, and wakes whoever waits for them.
pub(crate) fn ready(connection: &mut Connection, changes: &Changes, now: Timestamp) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let readied = ready_what_is_due(&transaction, now)?;
    commit(transaction, changes, readied > 0)
}

/// How full the queue is, and whether something is due that is not ready yet.
pub(crate) fn depth(connection: &Connection, now: Timestamp) -> Result<(QueueDepth, bool), Failure> {
    let counted = |condition: &str| -> rusqlite::Result<u64> {
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM action_jobs WHERE {condition} AND ?1 IS NOT NULL LIMIT {COUNTED_MAX})"
        );
        let count: i64 = connection.prepare_cached(&sql)?.query_row([now.micros()], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    };
    let oldest = |ready: &str| -> rusqlite::Result<Option<i64>> {
        let sql = format!(
            "SELECT due_at FROM action_jobs WHERE state = 'waiting' AND ready = {ready} AND due_at <= ?1
             ORDER BY due_at LIMIT 1"
        );
        connection.prepare_cached(&sql)?.query_row([now.micros()], |row| row.get(0)).optional()
    };
    let (ready, delayed) =
        (counted("state = 'waiting' AND ready = 1")?, counted("state = 'waiting' AND ready = 0")?);
    let due_delayed = counted("state = 'waiting' AND ready = 0 AND due_at <= ?1")?;
    let counted_max = COUNTED_MAX.unsigned_abs();
    let depth = QueueDepth {
        waiting: (ready + delayed).min(counted_max),
        due: (ready + due_delayed).min(counted_max),
        running: counted("state = 'running'")?,
        dead: counted("state = 'dead'")?,
        oldest_due_at: [oldest("1")?, oldest("0")?].into_iter().flatten().min().map(Timestamp::from_micros),
    };
    Ok((depth, is_any_due(connection, now)?))
}

pub(crate) fn list(connection: &Connection, filter: &JobFilter) -> Result<Vec<JobRecord>, Failure> {
    let (condition, values) = fits(filter);
    let sql = format!("SELECT {JOB_COLUMNS} FROM action_jobs WHERE {condition}");
    let mut statement = connection.prepare_cached(&sql)?;
    let jobs = statement.query_map(params_from_iter(values), job)?;
    Ok(jobs.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn attempts(connection: &Connection, job_id: Uuid) -> Result<Vec<AttemptRecord>, Failure> {
    let sql = format!("SELECT {ATTEMPT_COLUMNS} FROM action_results WHERE job_id = ?1 ORDER BY attempt");
    let mut statement = connection.prepare_cached(&sql)?;
    let attempts = statement.query_map([job_id.as_bytes()], attempt)?;
    Ok(attempts.collect::<rusqlite::Result<_>>()?)
}

pub(crate) fn redeliver(
    connection: &mut Connection,
    changes: &Changes,
    filter: &JobFilter,
    now: Timestamp,
) -> Result<Vec<Uuid>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (condition, values) = fits(filter);
    let states = redelivered(filter);
    let sql = format!(
        "SELECT job_id, tenant_id, priority FROM action_jobs WHERE state IN ({states}) AND {condition}"
    );
    let mut statement = transaction.prepare(&sql)?;
    let found = statement.query_map(params_from_iter(values), |row| {
        Ok((uuid(row, 0)?, TenantId::new(uuid(row, 1)?), row.get(2)?))
    })?;
    let mut found = found.collect::<rusqlite::Result<Vec<(Uuid, TenantId, i32)>>>()?;
    drop(statement);
    // The oldest one goes first again.
    found.reverse();
    let mut tags = Tags::new(&transaction)?;
    let mut write = transaction.prepare_cached(
        "UPDATE action_jobs SET state = 'waiting', ready = 1, handed_over = 0, due_at = ?2, tag = ?3,
             attempts_before = attempts, ended_at = NULL, barred_since = NULL WHERE job_id = ?1",
    )?;
    for (job_id, tenant_id, priority) in &found {
        let place = tags.next(*tenant_id, *priority)?;
        write.execute((job_id.as_bytes(), now.micros(), place.tag))?;
        tags.take(*tenant_id, place);
    }
    drop(write);
    tags.write()?;
    commit(transaction, changes, !found.is_empty())?;
    Ok(found.into_iter().map(|(job_id, ..)| job_id).collect())
}

pub(crate) fn purge(connection: &mut Connection, filter: &JobFilter) -> Result<Vec<Uuid>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (condition, values) = fits(filter);
    let sql = format!(
        "DELETE FROM action_jobs WHERE job_id IN (
             SELECT job_id FROM action_jobs WHERE state IN ({ENDED}) AND {condition}) RETURNING job_id"
    );
    let mut statement = transaction.prepare(&sql)?;
    let gone = statement.query_map(params_from_iter(values), |row| uuid(row, 0))?;
    let gone = gone.collect::<rusqlite::Result<Vec<_>>>()?;
    drop(statement);
    forget_attempts(&transaction, &gone)?;
    transaction.commit()?;
    Ok(gone)
}

fn forget_attempts(transaction: &Transaction<'_>, jobs: &[Uuid]) -> Result<(), Failure> {
    let mut statement = transaction.prepare_cached("DELETE FROM action_results WHERE job_id = ?1")?;
    for job_id in jobs {
        statement.execute([job_id.as_bytes()])?;
    }
    Ok(())
}

/// Deletes what ended before a moment: of a kind, in the order of one of its indexes.
pub(crate) fn forget(
    connection: &mut Connection,
    [kind, order]: [&str; 2],
    before: Timestamp,
    limit: u64,
) -> Result<u64, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut statement = transaction.prepare_cached(&format!(
        "DELETE FROM action_jobs WHERE job_id IN (
             SELECT job_id FROM action_jobs WHERE {kind} AND {order} < ?1 AND ended_at < ?1
             ORDER BY {order} LIMIT ?2) RETURNING job_id"
    ))?;
    let gone = statement.query_map((before.micros(), signed(limit)), |row| uuid(row, 0))?;
    let gone = gone.collect::<rusqlite::Result<Vec<_>>>()?;
    drop(statement);
    forget_attempts(&transaction, &gone)?;
    transaction.commit()?;
    Ok(gone.len() as u64)
}
