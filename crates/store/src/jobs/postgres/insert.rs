//! Jobs come into the queue, and leave it when the chain takes their event back.
//!
//! What becomes of a job afterwards is not decided here. Tags are locked before rows, and rows in the order of their ids.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bowline_types::{TenantId, Timestamp};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::NewJob;
use crate::jobs::lanes::Lanes;
use crate::postgres::rows::signed;
use crate::triggers::records::EVENT_RETRACTED;

/// Jobs that one statement inserts: what one of them takes of memory on both sides.
const INSERTED_AT_ONCE_MAX: usize = 1_000;

/// Cancels the jobs of occurrences that the chain has taken back, if nobody has begun them. The jobs that the same step
/// may bring back are locked with them: all in one order, and only what was locked then is cancelled.
pub(crate) async fn cancel_retracted(
    connection: &mut PgConnection,
    occurrences: &[Uuid],
    jobs: &[NewJob],
    now: Timestamp,
) -> sqlx::Result<()> {
    if occurrences.is_empty() {
        return Ok(());
    }
    // A job that a worker is just claiming is waited for, and has been begun then.
    let held: Vec<(Uuid, bool)> = sqlx::query_as(
        "SELECT job_id, occurrence = ANY($1) AND state = 'waiting' FROM action_jobs
         WHERE job_id = ANY($2) OR (occurrence = ANY($1) AND state = 'waiting')
         ORDER BY job_id FOR UPDATE",
    )
    .bind(occurrences)
    .bind(jobs.iter().map(|job| job.job_id).collect::<Vec<_>>())
    .fetch_all(&mut *connection)
    .await?;
    let gone: Vec<Uuid> = held.into_iter().filter_map(|(job_id, goes)| goes.then_some(job_id)).collect();
    sqlx::query(
        "UPDATE action_jobs SET state = 'cancelled', ended_at = $2, last_error = $3
         WHERE job_id = ANY($1) AND state = 'waiting'",
    )
    .bind(gone)
    .bind(now.to_chrono())
    .bind(EVENT_RETRACTED)
    .execute(connection)
    .await
    .map(drop)
}

/// Inserts jobs that are not there; one that a retraction cancelled waits again. Returns how many wait for it.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    mut tags: Tags,
    jobs: &[NewJob],
    now: Timestamp,
) -> sqlx::Result<u64> {
    if jobs.is_empty() {
        return Ok(0);
    }
    let mut present = present(connection, jobs).await?;
    let mut placed = Vec::new();
    for job in jobs {
        if present.insert(job.job_id) {
            placed.push((job, tags.next(job.tenant_id, job.priority)));
        }
    }
    placed.sort_by_key(|(job, _)| job.job_id);
    let mut inserted = 0;
    for chunk in placed.chunks(INSERTED_AT_ONCE_MAX) {
        inserted += insert_chunk(connection, chunk, now).await?;
    }
    tags.write(connection).await?;
    Ok(inserted)
}

/// Those of these jobs that are there and stay as they are: they take no tag from their tenants' next ones.
async fn present(connection: &mut PgConnection, jobs: &[NewJob]) -> sqlx::Result<HashSet<Uuid>> {
    let found: Vec<Uuid> = sqlx::query_scalar(
        "SELECT job_id FROM action_jobs WHERE job_id = ANY($1)
         AND (state <> 'cancelled' OR last_error IS DISTINCT FROM $2)",
    )
    .bind(jobs.iter().map(|job| job.job_id).collect::<Vec<_>>())
    .bind(EVENT_RETRACTED)
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().collect())
}

async fn insert_chunk(
    connection: &mut PgConnection,
    jobs: &[(&NewJob, i64)],
    now: Timestamp,
) -> sqlx::Result<u64> {
    fn column<T>(jobs: &[(&NewJob, i64)], of: impl Fn(&NewJob) -> T) -> Vec<T> {
        jobs.iter().map(|(job, _)| of(job)).collect()
    }
    let inserted = sqlx::query(
        "INSERT INTO action_jobs AS j (job_id, tenant_id, trigger_id, action_id, action_type, priority,
             stream_tenant_id, stream_store_id, sequence_number, event_id, occurrence, event, state, ready, handed_over,
             tag, attempts, claim, due_at, created_at)
         SELECT job_id, tenant_id, trigger_id, action_id, action_type, priority, stream_tenant_id,
             stream_store_id, sequence_number, event_id, occurrence, event, 'waiting', true, false, tag, 0, 0, $14, $14
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::integer[], $7::uuid[], $8::uuid[],
             $9::bigint[], $10::uuid[], $11::uuid[], $12::text[], $13::bigint[])
             AS n (job_id, tenant_id, trigger_id, action_id, action_type, priority, stream_tenant_id, stream_store_id,
                 sequence_number, event_id, occurrence, event, tag)
         ORDER BY job_id
         ON CONFLICT (job_id) DO UPDATE SET state = 'waiting', ready = true, handed_over = false, tag = excluded.tag,
             due_at = excluded.due_at, ended_at = NULL, last_error = NULL, sequence_number = excluded.sequence_number,
             event_id = excluded.event_id, event = excluded.event, barred_since = NULL
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
    .bind(jobs.iter().map(|(_, tag)| *tag).collect::<Vec<_>>())
    .bind(now.to_chrono())
    .bind(EVENT_RETRACTED)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected())
}

/// Where tenants' next jobs go. The tenants' rows are locked in their order until the transaction ends.
pub(crate) struct Tags(BTreeMap<TenantId, Lanes>);

impl Tags {
    /// Locks the tags of these tenants, before any row of a job.
    pub(crate) async fn lock(
        connection: &mut PgConnection,
        tenants: impl Iterator<Item = TenantId>,
    ) -> sqlx::Result<Self> {
        let tenants: BTreeSet<Uuid> = tenants.map(TenantId::uuid).collect();
        if tenants.is_empty() {
            return Ok(Self(BTreeMap::new()));
        }
        let tenants = Vec::from_iter(tenants);
        sqlx::query(
            "INSERT INTO job_tags (tenant_id, last_tag) SELECT t, 0 FROM UNNEST($1::uuid[]) AS t ORDER BY t
             ON CONFLICT DO NOTHING",
        )
        .bind(&tenants)
        .execute(&mut *connection)
        .await?;
        let rows: Vec<(Uuid, i64, String)> = sqlx::query_as(
            "SELECT tenant_id, last_tag, lanes FROM job_tags WHERE tenant_id = ANY($1)
             ORDER BY tenant_id FOR UPDATE",
        )
        .bind(&tenants)
        .fetch_all(&mut *connection)
        .await?;
        let claimed: Option<i64> = sqlx::query_scalar("SELECT last_tag FROM job_tags WHERE tenant_id = $1")
            .bind(Uuid::nil())
            .fetch_optional(connection)
            .await?;
        let claimed = claimed.unwrap_or(0);
        let lanes = |(tenant, last, text): (Uuid, i64, String)| {
            (TenantId::new(tenant), Lanes::read(&text, last, claimed))
        };
        Ok(Self(rows.into_iter().map(lanes).collect()))
    }

    /// The tag of a tenant's next job of that priority.
    pub(crate) fn next(&mut self, tenant_id: TenantId, priority: i32) -> i64 {
        let lanes = self.0.entry(tenant_id).or_insert_with(|| Lanes::read("", 0, 0));
        let place = lanes.next(priority);
        lanes.take(place);
        place.tag
    }

    /// Keeps what was given.
    pub(crate) async fn write(self, connection: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query(
            "UPDATE job_tags t SET last_tag = n.last_tag, lanes = n.lanes
             FROM UNNEST($1::uuid[], $2::bigint[], $3::text[]) AS n (tenant_id, last_tag, lanes)
             WHERE t.tenant_id = n.tenant_id",
        )
        .bind(self.0.keys().map(|tenant| tenant.uuid()).collect::<Vec<_>>())
        .bind(self.0.values().map(Lanes::last_tag).collect::<Vec<_>>())
        .bind(self.0.values().map(Lanes::text).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(drop)
    }
}
