//! Jobs come into the queue, and leave it when the chain takes their event back.
//!
//! What becomes of a job afterwards is not decided here.

use std::collections::HashMap;

use bowline_types::{TenantId, Timestamp};
use rusqlite::{OptionalExtension, Transaction};
use uuid::Uuid;

use super::pool::Failure;
use super::rows::signed;
use crate::NewJob;
use crate::trigger_records::EVENT_RETRACTED;

/// Cancels the jobs of occurrences that the chain has taken back, if nobody has begun them.
pub(super) fn cancel_retracted(
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
pub(super) fn insert(transaction: &Transaction<'_>, jobs: &[NewJob], now: Timestamp) -> Result<u64, Failure> {
    let mut tags = Tags::new(transaction)?;
    let mut insert = transaction.prepare_cached(
        "INSERT INTO action_jobs (job_id, tenant_id, trigger_id, action_id, action_type, priority, stream_tenant_id,
             stream_store_id, sequence_number, event_id, occurrence, event, state, ready, handed_over, tag, attempts,
             claim, due_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 'waiting', 1, 0, ?13, 0, 0, ?14, ?14)
         ON CONFLICT (job_id) DO UPDATE SET state = 'waiting', ready = 1, handed_over = 0, tag = excluded.tag,
             due_at = excluded.due_at, ended_at = NULL, last_error = NULL, sequence_number = excluded.sequence_number,
             event_id = excluded.event_id, event = excluded.event
         WHERE action_jobs.state = 'cancelled' AND action_jobs.last_error = ?15",
    )?;
    let mut inserted = 0;
    for job in jobs {
        let tag = tags.next(job.tenant_id)?;
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
            tag,
            now.micros(),
            EVENT_RETRACTED,
        ])?;
        if changed > 0 {
            tags.take(job.tenant_id, tag);
            inserted += 1;
        }
    }
    tags.write()?;
    Ok(inserted)
}

/// The fair order: a job's tag is one more than the larger of its tenant's last tag and the one claimed last.
pub(super) struct Tags<'t> {
    transaction: &'t Transaction<'t>,
    claimed: i64,
    last: HashMap<TenantId, i64>,
}

impl<'t> Tags<'t> {
    pub(super) fn new(transaction: &'t Transaction<'t>) -> Result<Self, Failure> {
        let claimed = stored(transaction, TenantId::NIL)?;
        Ok(Self { transaction, claimed, last: HashMap::new() })
    }

    /// The tag that the tenant's next job gets.
    pub(super) fn next(&mut self, tenant_id: TenantId) -> Result<i64, Failure> {
        let last = match self.last.get(&tenant_id) {
            Some(last) => *last,
            None => {
                let last = stored(self.transaction, tenant_id)?;
                self.last.insert(tenant_id, last);
                last
            }
        };
        Ok(last.max(self.claimed) + 1)
    }

    pub(super) fn take(&mut self, tenant_id: TenantId, tag: i64) {
        self.last.insert(tenant_id, tag);
    }

    pub(super) fn write(self) -> Result<(), Failure> {
        let mut write = self.transaction.prepare_cached("INSERT OR REPLACE INTO job_tags VALUES (?1, ?2)")?;
        for (tenant_id, last) in self.last {
            write.execute((tenant_id.as_bytes(), last))?;
        }
        Ok(())
    }
}

fn stored(transaction: &Transaction<'_>, tenant_id: TenantId) -> Result<i64, Failure> {
    let found = transaction
        .prepare_cached("SELECT last_tag FROM job_tags WHERE tenant_id = ?1")?
        .query_row([tenant_id.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(found.unwrap_or(0))
}
