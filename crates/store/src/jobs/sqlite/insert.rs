//! Jobs come into the queue, and leave it when the chain takes their event back.
//!
//! What becomes of a job afterwards is not decided here.

use std::collections::HashMap;

use bowline_types::{TenantId, Timestamp};
use rusqlite::{OptionalExtension, Transaction};
use uuid::Uuid;

use crate::NewJob;
use crate::jobs::lanes::{Lanes, Place};
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::signed;
use crate::triggers::records::EVENT_RETRACTED;

/// Cancels the jobs of occurrences that the chain has taken back, if nobody has begun them.
pub(crate) fn cancel_retracted(
    transaction: &Transaction<'_>,
    occurrences: &[Uuid],
    now: Timestamp,
) -> Result<(), Failure> {
    let mut cancel = transaction.prepare_cached(
        "UPDATE action_jobs SET state = 'cancelled', ended_at = ?2, last_error = ?3
         WHERE occurrence = ?1 AND state = 'waiting'",
    )?;
    for occurrence in occurrences {
        cancel.execute((occurrence.as_bytes(), now.micros(), EVENT_RETRACTED))?;
    }
    Ok(())
}

/// Inserts jobs that are not there; one that a retraction cancelled waits again. Returns how many wait for it.
pub(crate) fn insert(transaction: &Transaction<'_>, jobs: &[NewJob], now: Timestamp) -> Result<u64, Failure> {
    let mut tags = Tags::new(transaction)?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO action_jobs (job_id, tenant_id, trigger_id, action_id, action_type, priority, stream_tenant_id,
             stream_store_id, sequence_number, event_id, occurrence, event, state, ready, handed_over, tag, attempts,
             claim, due_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'waiting', 1, 0, ?13, 0, 0, ?14, ?14)
         ON CONFLICT (job_id) DO UPDATE SET state = 'waiting', ready = 1, handed_over = 0, tag = excluded.tag,
             due_at = excluded.due_at, ended_at = NULL, last_error = NULL, sequence_number = excluded.sequence_number,
             event_id = excluded.event_id, event = excluded.event, barred_since = NULL
         WHERE action_jobs.state = 'cancelled' AND action_jobs.last_error = ?15",
    )?;
    let mut inserted = 0;
    for job in jobs {
        let place = tags.next(job.tenant_id, job.priority)?;
        let changed = insert.execute(rusqlite::params![
            job.job_id.as_bytes(),
            job.tenant_id.as_bytes(),
            job.trigger_id.as_bytes(),
            job.action_id.as_bytes(),
            job.action_type,
            job.priority,
            job.stream.tenant_id.as_bytes(),
            job.stream.store_id.as_bytes(),
            signed(job.sequence_number),
            job.event_id.as_bytes(),
            job.occurrence.as_bytes(),
            job.event,
            place.tag,
            now.micros(),
            EVENT_RETRACTED,
        ])?;
        if changed > 0 {
            tags.take(job.tenant_id, place);
            inserted += 1;
        }
    }
    tags.write()?;
    Ok(inserted)
}

/// Where tenants' next jobs go.
pub(crate) struct Tags<'t> {
    transaction: &'t Transaction<'t>,
    claimed: i64,
    lanes: HashMap<TenantId, Lanes>,
}

impl<'t> Tags<'t> {
    pub(crate) fn new(transaction: &'t Transaction<'t>) -> Result<Self, Failure> {
        let (claimed, _) = stored(transaction, TenantId::NIL)?;
        Ok(Self { transaction, claimed, lanes: HashMap::new() })
    }

    /// The place of the tenant's next job of that priority.
    pub(crate) fn next(&mut self, tenant_id: TenantId, priority: i32) -> Result<Place, Failure> {
        if let Some(lanes) = self.lanes.get(&tenant_id) {
            return Ok(lanes.next(priority));
        }
        let (last, text) = stored(self.transaction, tenant_id)?;
        let lanes = Lanes::read(&text, last, self.claimed);
        let place = lanes.next(priority);
        self.lanes.insert(tenant_id, lanes);
        Ok(place)
    }

    /// A job of the tenant has that place.
    pub(crate) fn take(&mut self, tenant_id: TenantId, place: Place) {
        if let Some(lanes) = self.lanes.get_mut(&tenant_id) {
            lanes.take(place);
        }
    }

    /// Keeps what was given.
    pub(crate) fn write(self) -> Result<(), Failure> {
        let mut write = self.transaction.prepare_cached(
            "INSERT OR REPLACE INTO job_tags (tenant_id, last_tag, lanes) VALUES (?1, ?2, ?3)",
        )?;
        for (tenant_id, lanes) in self.lanes {
            write.execute((tenant_id.as_bytes(), lanes.last_tag(), lanes.text()))?;
        }
        Ok(())
    }
}

fn stored(transaction: &Transaction<'_>, tenant_id: TenantId) -> Result<(i64, String), Failure> {
    let found = transaction
        .prepare_cached("SELECT last_tag, lanes FROM job_tags WHERE tenant_id = ?1")?
        .query_row([tenant_id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.unwrap_or_default())
}
