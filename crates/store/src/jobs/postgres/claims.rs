//! Jobs into workers' hands and back: claims, reports, leases that run out.
//!
//! Workers of several processes skip each other's rows instead of waiting for them. What a report says counts only
//! under the job's last claim. Leases go by the server's clock, whatever workers' clocks say.

use std::time::Duration;

use bowline_types::Timestamp;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::rows::{JOB_COLUMNS, claimed, count, small};
use crate::changes::postgres::bump;
use crate::jobs::queueing::{
    LEASE_RAN_OUT, READIED_MAX, RECLAIMED_MAX, Wait, claim_order, kept_text, state_after,
};
use crate::postgres::rows::signed;
use crate::{AttemptRecord, ChangeKind, Changes, Claim, ClaimedJob, JobReport};

/// The server's moment, as a value that an index is searched with.
const SERVER_NOW: &str = "(SELECT clock_timestamp())";

/// What follows a choice of jobs `picked`: they are the worker's, and the highest tag that was claimed is kept. A claim
/// that finds that tag's row held by another one leaves it to that one.
const TAKE: &str = "claimed AS (
        UPDATE action_jobs j SET state = 'running', ready = false, handed_over = false, attempts = attempts + 1,
            claim = claim + 1, worker = $2, lease_until = clock_timestamp() + $3 * interval '1 microsecond'
        FROM picked WHERE j.job_id = picked.job_id RETURNING j.*),
    level AS (SELECT max(tag) AS tag FROM claimed HAVING count(*) > 0),
    raised AS (
        UPDATE job_tags t SET last_tag = level.tag FROM level
        WHERE t.tenant_id = (SELECT tenant_id FROM job_tags WHERE tenant_id = $4 FOR UPDATE SKIP LOCKED)
            AND t.last_tag < level.tag),
    made AS (
        INSERT INTO job_tags (tenant_id, last_tag) SELECT $4, tag FROM level
        WHERE NOT EXISTS (SELECT 1 FROM job_tags WHERE tenant_id = $4) ON CONFLICT DO NOTHING)";

/// Makes jobs ready whose time has come; returns how many.
pub(crate) async fn ready_what_is_due(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let readied = sqlx::query(
        "UPDATE action_jobs SET ready = true WHERE job_id IN (
             SELECT job_id FROM action_jobs WHERE state = 'waiting' AND NOT ready AND due_at <= $1
             ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(now)
    .bind(READIED_MAX)
    .execute(connection)
    .await?;
    Ok(readied.rows_affected())
}

pub(crate) async fn claim(
    pool: &PgPool,
    changes: &Changes,
    claim: &Claim,
    worker: &str,
    lease: Duration,
    now: Timestamp,
) -> sqlx::Result<Vec<ClaimedJob>> {
    let mut connection = pool.acquire().await?;
    let readied = ready_what_is_due(&mut connection, now.to_chrono()).await?;
    let jobs = take(&mut connection, claim, worker, lease).await?;
    if readied > jobs.len() as u64 {
        // The jobs are taken, whatever comes of the wake-up: others look by themselves soon.
        match bump(&mut connection, ChangeKind::JOBS).await {
            Ok(epoch) => changes.observe(ChangeKind::JOBS, epoch),
            Err(error) => {
                tracing::debug!(component = "store", %error, "Nobody was woken for jobs that are due")
            }
        }
    }
    Ok(jobs)
}

async fn take(
    connection: &mut PgConnection,
    claim: &Claim,
    worker: &str,
    lease: Duration,
) -> sqlx::Result<Vec<ClaimedJob>> {
    let which = match claim {
        Claim::Next { .. } => "ORDER BY tag, priority DESC, job_id LIMIT $1",
        Claim::These(_) => "AND job_id = ANY($1)",
    };
    let sql = format!(
        "WITH picked AS MATERIALIZED (
             SELECT job_id FROM action_jobs WHERE state = 'waiting' AND ready {which} FOR UPDATE SKIP LOCKED),
         {TAKE} SELECT {JOB_COLUMNS} FROM claimed"
    );
    let query = sqlx::query(AssertSqlSafe(sql));
    let query = match claim {
        Claim::Next { limit } => query.bind(signed(*limit as u64)),
        Claim::These(ids) => query.bind(ids),
    };
    let rows = query.bind(worker).bind(micros(lease)).bind(Uuid::nil()).fetch_all(connection).await?;
    let mut jobs = rows.iter().map(claimed).collect::<sqlx::Result<Vec<_>>>()?;
    jobs.sort_by_key(|claimed| claim_order(&claimed.job));
    Ok(jobs)
}

/// A lease's length for SQL.
fn micros(lease: Duration) -> i64 {
    i64::try_from(lease.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) async fn report(
    pool: &PgPool,
    changes: &Changes,
    reports: &[JobReport],
    now: Timestamp,
) -> sqlx::Result<Vec<Uuid>> {
    let is_due = |report: &JobReport| Wait::of(&report.end).due_at.is_some_and(|due_at| due_at <= now);
    let mut connection = pool.acquire().await?;
    if !reports.iter().any(is_due) {
        let rows = write(&mut connection, reports, now).await?;
        return rows.iter().map(|row| row.try_get("job_id")).collect();
    }
    let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
    let rows = write(&mut transaction, reports, now).await?;
    let mut epoch = None;
    for row in &rows {
        if row.try_get::<bool, _>("ready")? {
            epoch = Some(bump(&mut transaction, ChangeKind::JOBS).await?);
            break;
        }
    }
    transaction.commit().await?;
    if let Some(epoch) = epoch {
        changes.observe(ChangeKind::JOBS, epoch);
    }
    rows.iter().map(|row| row.try_get("job_id")).collect()
}

/// Writes reports and their attempts in one statement; returns the jobs that changed and whether they are ready.
async fn write(
    connection: &mut PgConnection,
    reports: &[JobReport],
    now: Timestamp,
) -> sqlx::Result<Vec<PgRow>> {
    let waits: Vec<Wait> = reports.iter().map(|report| Wait::of(&report.end)).collect();
    let attempts: Vec<&AttemptRecord> = reports.iter().filter_map(|report| report.attempt.as_ref()).collect();
    // The rows are locked in one order, so that two reports of the same jobs don't wait for each other.
    let query = sqlx::query(
        "WITH told AS (
             SELECT * FROM UNNEST($1::uuid[], $2::int[], $3::text[], $4::timestamptz[], $5::int[], $6::text[], $18::bool[])
                 AS k (job_id, claim, state, due_at, given_back, error, barred)),
         held AS MATERIALIZED (
             SELECT j.job_id FROM action_jobs j JOIN told k ON j.job_id = k.job_id AND j.claim = k.claim
             WHERE j.state = 'running' ORDER BY j.job_id FOR UPDATE OF j),
         kept AS (
             INSERT INTO action_results
             SELECT a.* FROM UNNEST($8::uuid[], $9::int[], $10::text[], $11::timestamptz[], $12::bigint[], $13::int[],
                     $14::text[], $15::text[], $16::text[], $17::text[]) AS a (job_id)
             WHERE EXISTS (SELECT 1 FROM action_jobs j WHERE j.job_id = a.job_id) ORDER BY a.job_id
             ON CONFLICT DO NOTHING)
         UPDATE action_jobs j SET state = k.state, ready = k.state = 'waiting' AND k.due_at <= $7, handed_over = false,
             worker = NULL, lease_until = NULL, attempts = greatest(j.attempts - k.given_back, 0),
             due_at = coalesce(k.due_at, j.due_at), last_error = coalesce(k.error, j.last_error),
             ended_at = CASE WHEN k.state = 'waiting' THEN NULL ELSE $7 END,
             barred_since = CASE WHEN k.barred
                 THEN coalesce(j.barred_since + greatest($7 - j.due_at, interval '0'), $7) END
         FROM told k JOIN held ON held.job_id = k.job_id
         WHERE j.job_id = k.job_id AND j.claim = k.claim RETURNING j.job_id, j.ready",
    )
    .bind(reports.iter().map(|report| report.job_id).collect::<Vec<_>>())
    .bind(reports.iter().map(|report| small(report.claim)).collect::<Vec<_>>())
    .bind(reports.iter().map(|report| state_after(&report.end).as_str()).collect::<Vec<_>>())
    .bind(waits.iter().map(|wait| wait.due_at.map(Timestamp::to_chrono)).collect::<Vec<_>>())
    .bind(waits.iter().map(|wait| i32::from(wait.is_given_back)).collect::<Vec<_>>())
    .bind(reports.iter().map(|report| report.error.as_deref().map(kept_text)).collect::<Vec<_>>())
    .bind(now.to_chrono())
    .bind(attempts.iter().map(|attempt| attempt.job_id).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| small(attempt.attempt)).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| attempt.status.as_str()).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| attempt.executed_at.to_chrono()).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| signed(attempt.duration_ms)).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| attempt.http_status.map(i32::from)).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| attempt.error_message.as_deref().map(kept_text)).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| attempt.response_data.as_deref().map(kept_text)).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| kept_text(&attempt.destination)).collect::<Vec<_>>())
    .bind(attempts.iter().map(|attempt| kept_text(&attempt.worker)).collect::<Vec<_>>())
    .bind(waits.iter().map(|wait| wait.is_barred).collect::<Vec<_>>());
    query.fetch_all(connection).await
}

pub(crate) async fn extend(
    pool: &PgPool,
    claims: &[(Uuid, u32)],
    lease: Duration,
) -> sqlx::Result<Vec<(Uuid, u32)>> {
    // A claim that was lost while this waited for its row is not among those that are held: the rows are as they are
    // once they are locked, not as they were when the statement began.
    let rows = sqlx::query(
        "WITH told AS (SELECT * FROM UNNEST($1::uuid[], $2::int[]) AS k (job_id, claim)),
         held AS MATERIALIZED (
             SELECT j.job_id, j.claim, j.lease_until FROM action_jobs j
             JOIN told k ON j.job_id = k.job_id AND j.claim = k.claim
             WHERE j.state = 'running' ORDER BY j.job_id FOR UPDATE OF j),
         extended AS (
             UPDATE action_jobs j SET lease_until = clock_timestamp() + $3 * interval '1 microsecond'
             FROM held WHERE j.job_id = held.job_id
                 AND held.lease_until <= clock_timestamp() + $3 / 2 * interval '1 microsecond')
         SELECT job_id, claim FROM held",
    )
    .bind(claims.iter().map(|(job_id, _)| *job_id).collect::<Vec<_>>())
    .bind(claims.iter().map(|(_, claim)| small(*claim)).collect::<Vec<_>>())
    .bind(micros(lease))
    .fetch_all(pool)
    .await?;
    rows.iter().map(|row| Ok((row.try_get("job_id")?, count(row, "claim")?))).collect()
}

pub(crate) async fn reclaim(pool: &PgPool, changes: &Changes, now: Timestamp) -> sqlx::Result<u64> {
    let mut transaction = pool.begin().await?;
    let sql = format!(
        "UPDATE action_jobs SET state = 'waiting', ready = true, handed_over = false, worker = NULL,
             lease_until = NULL, due_at = $1, last_error = $3, barred_since = NULL
         WHERE job_id IN (SELECT job_id FROM action_jobs WHERE state = 'running' AND lease_until <= {SERVER_NOW}
                          ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED)"
    );
    let reclaimed = sqlx::query(AssertSqlSafe(sql))
        .bind(now.to_chrono())
        .bind(RECLAIMED_MAX)
        .bind(LEASE_RAN_OUT)
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    if reclaimed > 0 {
        let epoch = bump(&mut transaction, ChangeKind::JOBS).await?;
        transaction.commit().await?;
        changes.observe(ChangeKind::JOBS, epoch);
    }
    Ok(reclaimed)
}
