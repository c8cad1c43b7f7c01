//! A step of matching: jobs, memory, marks and the cursor, in one transaction.
//!
//! The cursor's row is locked first, so of two processes with the same step one finds that it moved. Then come tags, what
//! conditions remember and jobs, each in its order: whoever else locks some of them does so in this order.

use bowline_types::{EventId, StreamId, Timestamp};
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::changes::postgres::bump;
use crate::cursors::{self, CursorStep};
use crate::jobs::postgres::insert::{self as job_insert, Tags};
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::{corrupt, moment, signed, unsigned};
use crate::{ChangeKind, Changes, MatchCommit, ProcessedEvent, StoreError};

pub(crate) async fn commit(
    pool: &PgPool,
    changes: &Changes,
    step: &MatchCommit,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await.map_err(|e| refuse(&e))?;
    let cursor = CursorStep { follower: step.follower, stream: step.stream, from: step.from, to: step.to };
    cursors::postgres::step(&mut transaction, &cursor).await?;
    let work = async {
        let tags = Tags::lock(&mut transaction, step.jobs.iter().map(|job| job.tenant_id)).await?;
        remember(&mut transaction, step, now).await?;
        mark(&mut transaction, step).await?;
        job_insert::cancel_retracted(&mut transaction, &step.retracted, &step.jobs, now).await?;
        let inserted = job_insert::insert(&mut transaction, tags, &step.jobs, now).await?;
        if inserted > 0 { bump(&mut transaction, ChangeKind::JOBS).await.map(Some) } else { Ok(None) }
    };
    let epoch = work.await.map_err(|e| refuse(&e))?;
    transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    if let Some(epoch) = epoch {
        changes.observe(ChangeKind::JOBS, epoch);
    }
    Ok(())
}

async fn remember(connection: &mut PgConnection, step: &MatchCommit, now: Timestamp) -> sqlx::Result<()> {
    if step.state.is_empty() {
        return Ok(());
    }
    let mut state: Vec<_> = step.state.iter().collect();
    state.sort_by_key(|(key, _)| (key.trigger_id, key.condition_id, &key.subject));
    let triggers: Vec<Uuid> = state.iter().map(|(key, _)| key.trigger_id).collect();
    let conditions: Vec<Uuid> = state.iter().map(|(key, _)| key.condition_id).collect();
    let subjects: Vec<&str> = state.iter().map(|(key, _)| key.subject.as_str()).collect();
    sqlx::query(
        "SELECT 1 FROM trigger_state s JOIN UNNEST($1::uuid[], $2::uuid[], $3::text[])
             AS k (trigger_id, condition_id, subject) USING (trigger_id, condition_id, subject)
         WHERE s.tenant_id = $4 AND s.store_id = $5
         ORDER BY s.trigger_id, s.condition_id, s.tenant_id, s.store_id, s.subject FOR UPDATE OF s",
    )
    .bind(&triggers)
    .bind(&conditions)
    .bind(&subjects)
    .bind(step.stream.tenant_id.uuid())
    .bind(step.stream.store_id.uuid())
    .execute(&mut *connection)
    .await?;
    // A trigger that was deleted meanwhile remembers nothing.
    sqlx::query(
        "WITH given AS (
             SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[])
                 AS k (trigger_id, condition_id, subject, state_data)),
         forgotten AS (
             DELETE FROM trigger_state s USING given k
             WHERE k.state_data IS NULL AND s.trigger_id = k.trigger_id AND s.condition_id = k.condition_id
               AND s.tenant_id = $5 AND s.store_id = $6 AND s.subject = k.subject)
         INSERT INTO trigger_state
         SELECT k.trigger_id, k.condition_id, $5, $6, k.subject, k.state_data, $7 FROM given k
         WHERE k.state_data IS NOT NULL AND EXISTS (
             SELECT 1 FROM trigger_conditions c WHERE c.trigger_id = k.trigger_id AND c.condition_id = k.condition_id)
         ORDER BY k.trigger_id, k.condition_id, k.subject
         ON CONFLICT (trigger_id, condition_id, tenant_id, store_id, subject)
         DO UPDATE SET state_data = excluded.state_data, last_updated = excluded.last_updated",
    )
    .bind(triggers)
    .bind(conditions)
    .bind(subjects)
    .bind(state.iter().map(|(_, state)| state.as_deref()).collect::<Vec<_>>())
    .bind(step.stream.tenant_id.uuid())
    .bind(step.stream.store_id.uuid())
    .bind(now.to_chrono())
    .execute(connection)
    .await
    .map(drop)
}

async fn mark(connection: &mut PgConnection, step: &MatchCommit) -> sqlx::Result<()> {
    if step.processed.is_empty() {
        return Ok(());
    }
    let events = &step.processed;
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    sqlx::query(
        "INSERT INTO processed_events
         SELECT $1, $2, p.number, p.event_id, p.at, $3, p.duration, p.matched, p.enqueued, p.problem
         FROM UNNEST($4::bigint[], $5::uuid[], $6::timestamptz[], $7::bigint[], $8::integer[], $9::integer[], $10::text[])
             AS p (number, event_id, at, duration, matched, enqueued, problem)
         ON CONFLICT DO NOTHING",
    )
    .bind(step.stream.tenant_id.uuid())
    .bind(step.stream.store_id.uuid())
    .bind(&step.processor)
    .bind(events.iter().map(|e| signed(e.sequence_number)).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.event_id.uuid()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.processed_at.to_chrono()).collect::<Vec<_>>())
    .bind(events.iter().map(|e| signed(e.duration_us)).collect::<Vec<_>>())
    .bind(events.iter().map(|e| count(e.triggers_matched)).collect::<Vec<_>>())
    .bind(events.iter().map(|e| count(e.actions_enqueued)).collect::<Vec<_>>())
    .bind(events.iter().map(|e| e.problem.clone()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

pub(crate) async fn processed(
    pool: &PgPool,
    stream: StreamId,
    event_id: EventId,
) -> Result<Option<ProcessedEvent>, StoreError> {
    let row = sqlx::query(
        "SELECT p.* FROM ves_events e JOIN processed_events p
             ON p.tenant_id = e.tenant_id AND p.store_id = e.store_id AND p.sequence_number = e.sequence_number
         WHERE e.event_id = $1 AND e.tenant_id = $2 AND e.store_id = $3",
    )
    .bind(event_id.uuid())
    .bind(stream.tenant_id.uuid())
    .bind(stream.store_id.uuid())
    .fetch_optional(pool)
    .await
    .map_err(|e| refuse(&e))?;
    let read = |row: sqlx::postgres::PgRow| {
        let count = |column: &str| {
            u32::try_from(row.try_get::<i32, _>(column)?).map_err(|_| corrupt(column, "negative"))
        };
        Ok(ProcessedEvent {
            event_id: EventId::new(row.try_get("event_id")?),
            sequence_number: unsigned(&row, "sequence_number")?,
            processed_at: moment(&row, "processed_at")?,
            duration_us: unsigned(&row, "processing_duration_us")?,
            triggers_matched: count("triggers_matched")?,
            actions_enqueued: count("actions_enqueued")?,
            problem: row.try_get("problem")?,
        })
    };
    row.map(read).transpose().map_err(|e: sqlx::Error| refuse(&e))
}

pub(crate) async fn forget(pool: &PgPool, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
    let forgotten = sqlx::query(
        "DELETE FROM processed_events WHERE (tenant_id, store_id, sequence_number) IN (
             SELECT tenant_id, store_id, sequence_number FROM processed_events WHERE processed_at < $1
             LIMIT $2 FOR UPDATE SKIP LOCKED)",
    )
    .bind(before.to_chrono())
    .bind(signed(limit))
    .execute(pool)
    .await
    .map_err(|e| refuse_commit(&e))?;
    Ok(forgotten.rows_affected())
}
