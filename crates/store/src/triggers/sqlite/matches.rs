//! A step of matching: jobs, memory, marks and the cursor, in one transaction.
//!
//! The cursor is compared first, so of two services with the same step one finds that it moved.

use bowline_types::{EventId, StreamId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::changes::sqlite::bump;
use crate::cursors::{self, CursorStep};
use crate::events::sqlite::read;
use crate::jobs::sqlite::insert as job_insert;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{fixed, moment, signed, unsigned};
use crate::{ChangeKind, Changes, MatchCommit, ProcessedEvent};

pub(crate) fn commit(
    connection: &mut Connection,
    heard: &Changes,
    step: &MatchCommit,
    now: Timestamp,
) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let cursor = CursorStep { follower: step.follower, stream: step.stream, from: step.from, to: step.to };
    cursors::sqlite::step(&transaction, &cursor)?;
    remember(&transaction, step, now)?;
    job_insert::cancel_retracted(&transaction, &step.retracted, now)?;
    let inserted = job_insert::insert(&transaction, &step.jobs, now)?;
    mark(&transaction, step)?;
    let epoch = if inserted > 0 { Some(bump(&transaction, ChangeKind::JOBS)?) } else { None };
    transaction.commit()?;
    if let Some(epoch) = epoch {
        heard.observe(ChangeKind::JOBS, epoch);
    }
    Ok(())
}

fn remember(transaction: &Transaction<'_>, step: &MatchCommit, now: Timestamp) -> Result<(), Failure> {
    // A trigger that was deleted meanwhile remembers nothing.
    let mut keep = transaction.prepare_cached(
        "INSERT OR REPLACE INTO trigger_state SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
         WHERE EXISTS (SELECT 1 FROM trigger_conditions WHERE trigger_id = ?1 AND condition_id = ?2)",
    )?;
    let mut forget = transaction.prepare_cached(
        "DELETE FROM trigger_state
         WHERE trigger_id = ?1 AND condition_id = ?2 AND tenant_id = ?3 AND store_id = ?4 AND subject = ?5",
    )?;
    for (key, state) in &step.state {
        let (trigger, condition) = (key.trigger_id.as_bytes(), key.condition_id.as_bytes());
        let (tenant, store) = (key.stream.tenant_id, key.stream.store_id);
        let (tenant, store) = (tenant.as_bytes(), store.as_bytes());
        match state {
            Some(state) => {
                keep.execute((trigger, condition, tenant, store, &key.subject, state, now.micros()))?
            }
            None => forget.execute((trigger, condition, tenant, store, &key.subject))?,
        };
    }
    Ok(())
}

fn mark(transaction: &Transaction<'_>, step: &MatchCommit) -> Result<(), Failure> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO processed_events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
    )?;
    for event in &step.processed {
        insert.execute(rusqlite::params![
            step.stream.tenant_id.as_bytes(),
            step.stream.store_id.as_bytes(),
            signed(event.sequence_number),
            event.event_id.as_bytes(),
            event.processed_at.micros(),
            step.processor,
            signed(event.duration_us),
            event.triggers_matched,
            event.actions_enqueued,
            event.problem,
        ])?;
    }
    Ok(())
}

pub(crate) fn processed(
    connection: &mut Connection,
    stream: StreamId,
    event_id: EventId,
) -> Result<Option<ProcessedEvent>, Failure> {
    let Some(event) = read::event(connection, stream, event_id)? else { return Ok(None) };
    let number = signed(event.receipt.sequence_number);
    let found = connection
        .prepare_cached(
            "SELECT event_id, sequence_number, processed_at, processing_duration_us, triggers_matched,
                 actions_enqueued, problem FROM processed_events
             WHERE tenant_id = ?1 AND store_id = ?2 AND sequence_number = ?3",
        )?
        .query_row((stream.tenant_id.as_bytes(), stream.store_id.as_bytes(), number), |row| {
            Ok(ProcessedEvent {
                event_id: EventId::from_bytes(fixed(row, 0)?),
                sequence_number: unsigned(row, 1)?,
                processed_at: moment(row, 2)?,
                duration_us: unsigned(row, 3)?,
                triggers_matched: row.get(4)?,
                actions_enqueued: row.get(5)?,
                problem: row.get(6)?,
            })
        })
        .optional()?;
    Ok(found)
}

pub(crate) fn forget(connection: &mut Connection, before: Timestamp, limit: u64) -> Result<u64, Failure> {
    let forgotten = connection
        .prepare_cached(
            "DELETE FROM processed_events WHERE (tenant_id, store_id, sequence_number) IN
             (SELECT tenant_id, store_id, sequence_number FROM processed_events WHERE processed_at < ?1 LIMIT ?2)",
        )?
        .execute((before.micros(), signed(limit)))?;
    Ok(forgotten as u64)
}
