//! Facts about chains, matching and deliveries in PostgreSQL: statements that only read, each bounded.
//!
//! They judge nothing. Counts stop at a limit, and attempts are looked at for the newest jobs of each kind alone, so that a
//! queue of millions is answered for as soon as any other.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::diagnostics::records::{
    ActionFacts, COUNTED_MAX, DELIVERED_MINUTES, DestinationFacts, JOBS_LOOKED_AT_MAX, MATCHED_MINUTES,
    MATCHER, MatchingFacts, OpenBreaker, ROWS_MAX, SourceFacts,
};
use crate::postgres::rows::{moment, unsigned};
use bowline_types::Timestamp;

pub(crate) async fn sources(connection: &mut PgConnection) -> sqlx::Result<Vec<SourceFacts>> {
    let rows = sqlx::query(
        "SELECT chain_id, last_block_number, generation, updated_at FROM checkpoints ORDER BY chain_id LIMIT $1",
    )
    .bind(i64::from(ROWS_MAX))
    .fetch_all(connection)
    .await?;
    let source = |row: &PgRow| {
        Ok(SourceFacts {
            chain_id: unsigned(row, "chain_id")?,
            block: row.try_get::<Option<i64>, _>("last_block_number")?.map(i64::unsigned_abs),
            generation: unsigned(row, "generation")?,
            updated_at: moment(row, "updated_at")?,
        })
    };
    rows.iter().map(source).collect()
}

pub(crate) async fn matching(connection: &mut PgConnection) -> sqlx::Result<MatchingFacts> {
    let row = sqlx::query(
        "WITH followed AS (
             SELECT tenant_id, store_id FROM checkpoints
             UNION SELECT tenant_id, store_id FROM follower_cursors WHERE follower = $1)
         SELECT (SELECT count(*) FROM triggers WHERE enabled AND deleted_at IS NULL) AS triggers,
                (SELECT coalesce(sum(greatest(c.current_sequence - coalesce(f.sequence_number, 0), 0)), 0)::bigint
                 FROM followed JOIN sequence_counters c USING (tenant_id, store_id)
                 LEFT JOIN follower_cursors f
                   ON f.follower = $1 AND f.tenant_id = c.tenant_id AND f.store_id = c.store_id) AS behind,
                (SELECT max(processed_at) FROM processed_events) AS last_at,
                (SELECT count(*) FROM (SELECT 1 FROM processed_events
                    WHERE processed_at > now() - make_interval(mins => $2) LIMIT $3) recent) AS matched,
                (SELECT count(*) FROM (SELECT problem FROM processed_events
                    WHERE processed_at > now() - interval '1 hour' LIMIT $3) recent
                 WHERE problem IS NOT NULL) AS set_aside",
    )
    .bind(MATCHER)
    .bind(i32::try_from(MATCHED_MINUTES).unwrap_or(i32::MAX))
    .bind(i64::from(COUNTED_MAX))
    .fetch_one(connection)
    .await?;
    Ok(MatchingFacts {
        triggers: unsigned(&row, "triggers")?,
        behind_events: unsigned(&row, "behind")?,
        last_at: at(&row, "last_at")?,
        matched: unsigned(&row, "matched")?,
        set_aside: unsigned(&row, "set_aside")?,
    })
}

pub(crate) async fn actions(connection: &mut PgConnection) -> sqlx::Result<ActionFacts> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM (SELECT 1 FROM action_jobs WHERE state = 'waiting' LIMIT $1) j) AS waiting,
                (SELECT count(*) FROM (SELECT 1 FROM action_jobs WHERE state = 'running' LIMIT $1) j) AS running,
                (SELECT count(*) FROM (SELECT 1 FROM action_jobs WHERE state = 'dead' LIMIT $1) j) AS dead,
                (SELECT min(due_at) FROM action_jobs WHERE state = 'waiting' AND due_at <= now()) AS oldest",
    )
    .bind(i64::from(COUNTED_MAX))
    .fetch_one(&mut *connection)
    .await?;
    Ok(ActionFacts {
        waiting: unsigned(&row, "waiting")?,
        running: unsigned(&row, "running")?,
        dead: unsigned(&row, "dead")?,
        oldest_due_at: at(&row, "oldest")?,
        attempts: attempts(connection).await?,
    })
}

/// Of the jobs that ended last, died last or are to be tried again.
async fn attempts(connection: &mut PgConnection) -> sqlx::Result<Vec<DestinationFacts>> {
    let rows = sqlx::query(
        "WITH jobs AS (
             (SELECT job_id FROM action_jobs WHERE state IN ('succeeded', 'cancelled')
              ORDER BY ended_at DESC LIMIT $1)
             UNION (SELECT job_id FROM action_jobs WHERE state = 'dead' ORDER BY created_at DESC, job_id DESC LIMIT $1)
             UNION (SELECT job_id FROM action_jobs WHERE state = 'waiting' AND NOT ready LIMIT $1))
         SELECT destination, count(*) AS attempts, count(*) FILTER (WHERE status <> 'success') AS failed,
                max(error_message) AS error
         FROM jobs JOIN action_results USING (job_id)
         WHERE executed_at > now() - make_interval(mins => $2)
         GROUP BY destination ORDER BY failed DESC, attempts DESC LIMIT $3",
    )
    .bind(i64::from(JOBS_LOOKED_AT_MAX))
    .bind(i32::try_from(DELIVERED_MINUTES).unwrap_or(i32::MAX))
    .bind(i64::from(ROWS_MAX))
    .fetch_all(connection)
    .await?;
    let destination = |row: &PgRow| {
        Ok(DestinationFacts {
            destination: row.try_get("destination")?,
            attempts: unsigned(row, "attempts")?,
            failed: unsigned(row, "failed")?,
            error: row.try_get("error")?,
        })
    };
    rows.iter().map(destination).collect()
}

pub(crate) async fn open_breakers(connection: &mut PgConnection) -> sqlx::Result<Vec<OpenBreaker>> {
    let of_triggers = sqlx::query(
        "SELECT trigger_id, state, failure_count::bigint AS failures, last_failure_at FROM circuit_breaker_state
         WHERE state <> 'closed' ORDER BY last_failure_at DESC NULLS LAST LIMIT $1",
    );
    let mut breakers = Vec::new();
    for row in of_triggers.bind(i64::from(ROWS_MAX)).fetch_all(&mut *connection).await? {
        let name = row.try_get::<Uuid, _>("trigger_id")?.to_string();
        breakers.push(breaker(&row, "trigger", name)?);
    }
    let of_destinations = sqlx::query(
        "SELECT destination, state, failure_count::bigint AS failures, last_failure_at FROM destination_breakers
         WHERE state <> 'closed' ORDER BY last_failure_at DESC NULLS LAST LIMIT $1",
    );
    for row in of_destinations.bind(i64::from(ROWS_MAX)).fetch_all(connection).await? {
        let name = row.try_get("destination")?;
        breakers.push(breaker(&row, "destination", name)?);
    }
    Ok(breakers)
}

fn breaker(row: &PgRow, kind: &'static str, name: String) -> sqlx::Result<OpenBreaker> {
    Ok(OpenBreaker {
        kind,
        name,
        state: row.try_get("state")?,
        failure_count: unsigned(row, "failures")?,
        last_failure_at: at(row, "last_failure_at")?,
    })
}

fn at(row: &PgRow, column: &str) -> sqlx::Result<Option<Timestamp>> {
    Ok(row.try_get::<Option<DateTime<Utc>>, _>(column)?.map(Timestamp::from_chrono))
}
