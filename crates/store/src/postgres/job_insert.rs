//! Jobs come into the queue, and leave it when the chain takes their event back.
//!
//! What becomes of a job afterwards is not decided here.

use std::collections::BTreeMap;

use bowline_types::{TenantId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::signed;
use crate::NewJob;
use crate::trigger_records::EVENT_RETRACTED;

/// Jobs that one statement inserts: what one of them takes of memory on both sides.
const INSERTED_AT_ONCE_MAX: usize = 1_000;

/// Cancels the jobs of occurrences that the chain has taken back, if nobody has begun them.
pub(super) async fn cancel_retracted(
    connection: &mut PgConnection,
    occurrences: &[Uuid],
    now: Timestamp,
) -> sqlx::Result<()> {
    if occurrences.is_empty() {
        return Ok(());
    }
    // A job that a worker is just claiming is waited for, and has been begun then.
    sqlx::query(
        "UPDATE action_jobs SET state = 'cancelled', ended_at = $2, last_error = $3
         WHERE job_id IN (SELECT job_id FROM action_jobs WHERE occurrence = ANY($1) AND state = 'waiting'
             ORDER BY job_id FOR UPDATE)",
    )
    .bind(occurrences)
    .bind(now.to_chrono())
    .bind(EVENT_RETRACTED)
    .execute(connection)
    .await
    .map(drop)
}

/// Inserts jobs that are not there; one that a retraction cancelled waits again. Returns how many wait for it.
pub(super) async fn insert(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    now: Timestamp,
) -> sqlx::Result<u64> {
    if jobs.is_empty() {
        return Ok(0);
    }
    let mut tags = Tags::lock(connection, jobs).await?;
    let mut inserted = 0;
    for chunk in jobs.chunks(INSERTED_AT_ONCE_MAX) {
        let chunk_tags: Vec<i64> = chunk.iter().map(|job| tags.next(job.tenant_id)).collect();
        inserted += insert_chunk(connection, chunk, chunk_tags, now).await?;
    }
    tags.write(connection).await?;
    Ok(inserted)
}

async fn insert_chunk(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    tags: Vec<i64>,
    now: Timestamp,
) -> sqlx::Result<u64> {
    fn column<T>(jobs: &[NewJob], of: impl Fn(&NewJob) -> T) -> Vec<T> {
        jobs.iter().map(of).collect()
    }
    let inserted = sqlx::query(
        "INSERT INTO action_jobs AS j (job_id, tenant_id, trigger_id, action_id, action_type, priority,
             stream_tenant_id, stream_store_id, sequence_number, event_id, occurrence, event, state, ready, handed_over,
             tag, attempts, claim, due_at, created_at)
         SELECT DISTINCT ON (job_id) job_id, tenant_id, trigger_id, action_id, action_type, priority, stream_tenant_id,
             stream_store_id, sequence_number, event_id, occurrence, event, 'waiting', true, false, tag, 0, 0, $14, $14
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::integer[], $7::uuid[], $8::uuid[],
             $9::bigint[], $10::uuid[], $11::uuid[], $12::text[], $13::bigint[])
             AS n (job_id, tenant_id, trigger_id, action_id, action_type, priority, stream_tenant_id, stream_store_id,
                 sequence_number, event_id, occurrence, event, tag)
         ORDER BY job_id, tag
         ON CONFLICT (job_id) DO UPDATE SET state = 'waiting', ready = true, handed_over = false, tag = excluded.tag,
             due_at = excluded.due_at, ended_at = NULL, last_error = NULL, sequence_number = excluded.sequence_number,
             event_id = excluded.event_id, event = excluded.event
         WHERE j.state = 'cancelled' AND j.last_error = $15",
    )
    .bind(column(jobs, |j| j.job_id))
    .bind(column(jobs, |j| j.tenant_id.uuid()))
    .bind(column(jobs, |j| j.trigger_id))
    .bind(column(jobs, |j| j.action_id))
    .bind(column(jobs, |j| j.action_type.clone()))
    .bind(column(jobs, |j| j.priority))
    .bind(column(jobs, |j| j.stream.tenant_id.uuid()))
    .bind(column(jobs, |j| j.stream.store_id.uuid()))
    .bind(column(jobs, |j| signed(j.sequence_number)))
    .bind(column(jobs, |j| j.event_id.uuid()))
    .bind(column(jobs, |j| j.occurrence))
    .bind(column(jobs, |j| j.event.clone()))
    .bind(tags)
    .bind(now.to_chrono())
    .bind(EVENT_RETRACTED)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected())
}

/// The fair order: a job's tag is one more than the larger of its tenant's last tag and the one claimed last. The
/// tenants' rows are locked in their order until the transaction ends.
struct Tags {
    claimed: i64,
    last: BTreeMap<TenantId, i64>,
}

impl Tags {
    async fn lock(connection: &mut PgConnection, jobs: &[NewJob]) -> sqlx::Result<Self> {
        let mut tenants: Vec<Uuid> = jobs.iter().map(|job| job.tenant_id.uuid()).collect();
        tenants.sort_unstable();
        tenants.dedup();
        sqlx::query(
            "INSERT INTO job_tags SELECT t, 0 FROM UNNEST($1::uuid[]) AS t ORDER BY t ON CONFLICT DO NOTHING",
        )
        .bind(&tenants)
        .execute(&mut *connection)
        .await?;
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(
            "SELECT tenant_id, last_tag FROM job_tags WHERE tenant_id = ANY($1) ORDER BY tenant_id FOR UPDATE",
        )
        .bind(&tenants)
        .fetch_all(&mut *connection)
        .await?;
        let claimed: Option<i64> = sqlx::query_scalar("SELECT last_tag FROM job_tags WHERE tenant_id = $1")
            .bind(Uuid::nil())
            .fetch_optional(connection)
            .await?;
        let last = rows.into_iter().map(|(tenant, last)| (TenantId::new(tenant), last)).collect();
        Ok(Self { claimed: claimed.unwrap_or(0), last })
    }

    fn next(&mut self, tenant_id: TenantId) -> i64 {
        let last = self.last.entry(tenant_id).or_insert(0);
        *last = (*last).max(self.claimed) + 1;
        *last
    }

    async fn write(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        let (tenants, tags): (Vec<Uuid>, Vec<i64>) =
            self.last.into_iter().map(|(tenant, last)| (tenant.uuid(), last)).unzip();
        sqlx::query(
            "UPDATE job_tags t SET last_tag = n.last_tag
             FROM UNNEST($1::uuid[], $2::bigint[]) AS n (tenant_id, last_tag) WHERE t.tenant_id = n.tenant_id",
        )
        .bind(tenants)
        .bind(tags)
        .execute(connection)
        .await
        .map(drop)
    }
}
