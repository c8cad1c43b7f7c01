//! What is done to jobs beside delivering them: handing over, counting, listing, delivering again, deleting.
//! Claims and reports are in `claims`; whatever is done here leaves a running job alone. Rows are locked in the order of
//! their ids, after the tags, as everywhere: nobody waits for somebody who waits for him.

use std::collections::HashSet;

use bowline_types::{TenantId, Timestamp};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::claims::ready_what_is_due;
use super::rows::{JOB_COLUMNS, attempt, filtered, fits, job};
use crate::changes::postgres::bump;
use crate::jobs::postgres::insert::Tags;
use crate::jobs::queueing::{COUNTED_MAX, ENDED, in_order_of_claims, redelivered};
use crate::postgres::rows::{moment, signed, unsigned};
use crate::{AttemptRecord, ChangeKind, Changes, JobFilter, JobRecord, QueueDepth};

/// Raises the epoch of jobs in a transaction of its own.
async fn wake(connection: &mut PgConnection, changes: &Changes) -> sqlx::Result<()> {
    let epoch = bump(connection, ChangeKind::JOBS).await?;
    changes.observe(ChangeKind::JOBS, epoch);
    Ok(())
}

pub(crate) async fn hand_over(
    pool: &PgPool,
    changes: &Changes,
    limit: usize,
    now: Timestamp,
) -> sqlx::Result<Vec<JobRecord>> {
    let mut connection = pool.acquire().await?;
    let readied = ready_what_is_due(&mut connection, now.to_chrono()).await?;
    let sql = format!(
        "UPDATE action_jobs SET handed_over = true, handed_at = $2 WHERE job_id IN (
             SELECT job_id FROM action_jobs WHERE state = 'waiting' AND ready AND NOT handed_over
             ORDER BY tag, priority DESC, job_id LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING {JOB_COLUMNS}"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(signed(limit as u64))
        .bind(now.to_chrono())
        .fetch_all(&mut *connection)
        .await?;
    if readied > rows.len() as u64 {
        wake(&mut connection, changes).await?;
    }
    let mut jobs = rows.iter().map(job).collect::<sqlx::Result<Vec<_>>>()?;
    in_order_of_claims(&mut jobs);
    Ok(jobs)
}

pub(crate) async fn take_back(pool: &PgPool, changes: &Changes, jobs: Option<&[Uuid]>) -> sqlx::Result<u64> {
    let mut transaction = pool.begin().await?;
    let taken = sqlx::query(match jobs {
        Some(_) => {
            "UPDATE action_jobs SET handed_over = false WHERE job_id IN (
                 SELECT job_id FROM action_jobs WHERE job_id = ANY($1) AND state = 'waiting' AND handed_over
                 ORDER BY job_id FOR UPDATE)"
        }
        None => {
            "UPDATE action_jobs SET handed_over = false WHERE job_id IN (
                 SELECT job_id FROM action_jobs WHERE $1::uuid[] IS NULL AND state = 'waiting' AND handed_over
                 ORDER BY job_id FOR UPDATE)"
        }
    });
    let taken = taken.bind(jobs).execute(&mut *transaction).await?.rows_affected();
    if taken > 0 {
        let epoch = bump(&mut transaction, ChangeKind::JOBS).await?;
        transaction.commit().await?;
        changes.observe(ChangeKind::JOBS, epoch);
    }
    Ok(taken)
}

pub(crate) async fn handed(
    pool: &PgPool,
    before: Timestamp,
    after: Option<(Timestamp, Uuid)>,
    limit: usize,
) -> sqlx::Result<Vec<(Timestamp, Uuid)>> {
    let (handed_at, job_id) = after.unwrap_or((Timestamp::from_micros(0), Uuid::nil()));
    let rows = sqlx::query(
        "SELECT handed_at, job_id FROM action_jobs WHERE state = 'waiting' AND handed_over
         AND handed_at < $1 AND (handed_at, job_id) > ($2, $3) ORDER BY handed_at, job_id LIMIT $4",
    )
    .bind(before.to_chrono())
    .bind(handed_at.to_chrono())
    .bind(job_id)
    .bind(signed(limit as u64))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((moment(row, "handed_at")?, row.try_get("job_id")?))).collect()
}

pub(crate) async fn still_handed(pool: &PgPool, jobs: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar(
        "SELECT job_id FROM action_jobs WHERE job_id = ANY($1) AND state = 'waiting' AND handed_over",
    )
    .bind(jobs)
    .fetch_all(pool)
    .await
}

pub(crate) async fn depth(pool: &PgPool, changes: &Changes, now: Timestamp) -> sqlx::Result<QueueDepth> {
    let mut connection = pool.acquire().await?;
    if ready_what_is_due(&mut connection, now.to_chrono()).await? > 0 {
        wake(&mut connection, changes).await?;
    }
    let counted = |condition: &str| {
        format!(
            "(SELECT count(*) FROM (SELECT 1 FROM action_jobs WHERE {condition} LIMIT {COUNTED_MAX}) AS counted)"
        )
    };
    let oldest = |ready: &str| {
        format!(
            "(SELECT due_at FROM action_jobs WHERE state = 'waiting' AND {ready} AND due_at <= $1
              ORDER BY due_at LIMIT 1)"
        )
    };
    let sql = format!(
        "SELECT {} AS ready, {} AS delayed, {} AS due_delayed, {} AS running, {} AS dead,
                least({}, {}) AS oldest_due_at",
        counted("state = 'waiting' AND ready"),
        counted("state = 'waiting' AND NOT ready"),
        counted("state = 'waiting' AND NOT ready AND due_at <= $1"),
        counted("state = 'running'"),
        counted("state = 'dead'"),
        oldest("ready"),
        oldest("NOT ready"),
    );
    let row = sqlx::query(AssertSqlSafe(sql)).bind(now.to_chrono()).fetch_one(&mut *connection).await?;
    let (ready, delayed) = (unsigned(&row, "ready")?, unsigned(&row, "delayed")?);
    let counted_max = COUNTED_MAX.unsigned_abs();
    Ok(QueueDepth {
        waiting: (ready + delayed).min(counted_max),
        due: (ready + unsigned(&row, "due_delayed")?).min(counted_max),
        running: unsigned(&row, "running")?,
        dead: unsigned(&row, "dead")?,
        oldest_due_at: row.try_get::<Option<_>, _>("oldest_due_at")?.map(Timestamp::from_chrono),
    })
}

pub(crate) async fn list(pool: &PgPool, filter: &JobFilter) -> sqlx::Result<Vec<JobRecord>> {
    let sql = format!("SELECT {JOB_COLUMNS} FROM action_jobs WHERE {}", fits(filter));
    filtered(sql, filter).fetch_all(pool).await?.iter().map(job).collect()
}

pub(crate) async fn attempts(pool: &PgPool, job_id: Uuid) -> sqlx::Result<Vec<AttemptRecord>> {
    let query = sqlx::query("SELECT * FROM action_results WHERE job_id = $1 ORDER BY attempt").bind(job_id);
    query.fetch_all(pool).await?.iter().map(attempt).collect()
}

pub(crate) async fn redeliver(
    pool: &PgPool,
    changes: &Changes,
    filter: &JobFilter,
    now: Timestamp,
) -> sqlx::Result<Vec<Uuid>> {
    let mut transaction = pool.begin().await?;
    let states = redelivered(filter);
    let sql = format!(
        "SELECT job_id, tenant_id, priority FROM action_jobs WHERE state IN ({states}) AND {}",
        fits(filter)
    );
    let rows = filtered(sql, filter).fetch_all(&mut *transaction).await?;
    // The oldest one goes first again.
    let found = rows.iter().rev().map(|row| {
        Ok((row.try_get("job_id")?, TenantId::new(row.try_get("tenant_id")?), row.try_get("priority")?))
    });
    let found = found.collect::<sqlx::Result<Vec<(Uuid, TenantId, i32)>>>()?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let mut tags = Tags::lock(&mut transaction, found.iter().map(|(_, tenant_id, _)| *tenant_id)).await?;
    let sql = format!(
        "SELECT job_id FROM action_jobs WHERE job_id = ANY($1) AND state IN ({states})
         ORDER BY job_id FOR UPDATE SKIP LOCKED"
    );
    let held: HashSet<Uuid> = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(found.iter().map(|(job_id, ..)| *job_id).collect::<Vec<_>>())
        .fetch_all(&mut *transaction)
        .await?
        .into_iter()
        .collect();
    let again = found.into_iter().filter(|(job_id, ..)| held.contains(job_id));
    let (ids, new_tags): (Vec<Uuid>, Vec<i64>) =
        again.map(|(job_id, tenant_id, priority)| (job_id, tags.next(tenant_id, priority))).unzip();
    if ids.is_empty() {
        return Ok(ids);
    }
    sqlx::query(
        "UPDATE action_jobs j SET state = 'waiting', ready = true, handed_over = false, due_at = $3, tag = k.tag,
             attempts_before = attempts, ended_at = NULL, barred_since = NULL
         FROM UNNEST($1::uuid[], $2::bigint[]) AS k (job_id, tag) WHERE j.job_id = k.job_id",
    )
    .bind(&ids)
    .bind(new_tags)
    .bind(now.to_chrono())
    .execute(&mut *transaction)
    .await?;
    tags.write(&mut transaction).await?;
    let epoch = bump(&mut transaction, ChangeKind::JOBS).await?;
    transaction.commit().await?;
    changes.observe(ChangeKind::JOBS, epoch);
    Ok(ids)
}

pub(crate) async fn purge(pool: &PgPool, filter: &JobFilter) -> sqlx::Result<Vec<Uuid>> {
    let sql = format!(
        "WITH gone AS (
             DELETE FROM action_jobs WHERE job_id IN (
                 SELECT job_id FROM action_jobs WHERE state IN ({ENDED}) AND {} FOR UPDATE SKIP LOCKED)
             RETURNING job_id),
         forgotten AS (DELETE FROM action_results r USING gone WHERE r.job_id = gone.job_id)
         SELECT job_id FROM gone",
        fits(filter)
    );
    let rows = filtered(sql, filter).fetch_all(pool).await?;
    rows.iter().map(|row| row.try_get("job_id")).collect()
}

/// Deletes what ended before a moment: of a kind, in the order of one of its indexes.
pub(crate) async fn forget(
    pool: &PgPool,
    [kind, order]: [&str; 2],
    before: Timestamp,
    limit: u64,
) -> sqlx::Result<u64> {
    let sql = format!(
        "WITH gone AS (
             DELETE FROM action_jobs WHERE job_id IN (
                 SELECT job_id FROM action_jobs WHERE {kind} AND {order} < $1 AND ended_at < $1
                 ORDER BY {order} LIMIT $2 FOR UPDATE SKIP LOCKED)
             RETURNING job_id),
         forgotten AS (DELETE FROM action_results r USING gone WHERE r.job_id = gone.job_id)
         SELECT count(*) FROM gone"
    );
    let gone: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
        .bind(before.to_chrono())
        .bind(signed(limit))
        .fetch_one(pool)
        .await?;
    Ok(gone.unsigned_abs())
}
