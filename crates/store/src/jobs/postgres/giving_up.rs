//! Waiting jobs that are given up: dead letters by rule, which somebody may have delivered again.
//!
//! It leaves alone what a worker has in hand, and what no circuit breaker bars at that moment and nobody has tried: a
//! barred job whose time has come is tried first.

use bowline_types::Timestamp;
use sqlx::{AssertSqlSafe, PgPool};

use super::rows::{JOB_COLUMNS, job};
use crate::JobRecord;
use crate::jobs::queueing::{BARRED_TOO_LONG, GIVEN_UP_MAX, tenant_queue_full};
use crate::postgres::rows::signed;

/// What becomes of the jobs that a query of ids names: `$1` is the moment, `$2` the reason.
fn give_up(which: &str) -> String {
    format!(
        "UPDATE action_jobs SET state = 'dead', ready = false, handed_over = false, ended_at = $1,
             last_error = $2 || coalesce('; before that: ' || last_error, '')
         WHERE job_id IN ({which}) RETURNING {JOB_COLUMNS}"
    )
}

pub(crate) async fn barred(pool: &PgPool, before: Timestamp, now: Timestamp) -> sqlx::Result<Vec<JobRecord>> {
    let sql = give_up(
        "SELECT job_id FROM action_jobs WHERE state = 'waiting' AND barred_since < $3 AND NOT ready AND due_at > $1
         ORDER BY barred_since LIMIT $4 FOR UPDATE SKIP LOCKED",
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(now.to_chrono())
        .bind(BARRED_TOO_LONG)
        .bind(before.to_chrono())
        .bind(GIVEN_UP_MAX)
        .fetch_all(pool)
        .await?;
    rows.iter().map(job).collect()
}

pub(crate) async fn excess(pool: &PgPool, waiting_max: u64, now: Timestamp) -> sqlx::Result<Vec<JobRecord>> {
    let sql = give_up(
        "SELECT job_id FROM action_jobs
         WHERE state = 'waiting' AND (attempts > attempts_before OR (NOT ready AND due_at > $1)) AND job_id IN (
             SELECT stalled.job_id FROM (
                 SELECT tenant_id, count(*) - $3 AS excess FROM action_jobs WHERE state = 'waiting'
                 GROUP BY tenant_id HAVING count(*) > $3) AS crowded,
             LATERAL (
                 SELECT job_id FROM action_jobs j WHERE j.tenant_id = crowded.tenant_id AND state = 'waiting'
                     AND (barred_since IS NOT NULL OR attempts > attempts_before)
                     AND (attempts > attempts_before OR (NOT ready AND due_at > $1))
                 ORDER BY created_at, job_id LIMIT crowded.excess) AS stalled
             LIMIT $4)
         ORDER BY job_id FOR UPDATE SKIP LOCKED",
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(now.to_chrono())
        .bind(tenant_queue_full(waiting_max))
        .bind(signed(waiting_max))
        .bind(GIVEN_UP_MAX)
        .fetch_all(pool)
        .await?;
    rows.iter().map(job).collect()
}
