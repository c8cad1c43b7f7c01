//! Dead letters: kept, listed, retried and swept.
//!
//! Every change is one transaction on the thread that writes, so room is never given away twice.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bowline_types::{EventId, LetterId, StreamId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use crate::letters::records::{Arrived, LetterKey, Taken, store_list};
use crate::sqlite::SqliteStore;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{fixed, moment, signed, stream_columns, unsigned};
use crate::{
    DeadLetter, DeadLetterStore, LetterAges, LetterFilter, LetterLimits, LetterOrder, LetterReason,
    LetterStatus, LettersKept, LettersSwept, NewDeadLetter, RetryEnd, StoreError,
};

const COLUMNS: &str = "id, event_id, tenant_id, store_id, event_type, reason, status, error_message, retry_count, \
     max_retries, last_retry_at, created_at, coalesce(metadata, '{}'), follower, sequence_number, seen_count, \
     last_seen_at, payload";

const MATCHES: &str = "(?1 IS NULL OR tenant_id = ?1) AND (?2 = '' OR instr(?2, hex(store_id)) > 0) \
     AND (?3 IS NULL OR reason = ?3) AND (?4 IS NULL OR status = ?4) AND (?5 IS NULL OR follower = ?5)";

/// What a letter becomes that is not being retried any more.
const AT_REST: &str = "CASE WHEN retry_count >= max_retries THEN 'failed' ELSE 'pending' END";

fn keep(
    connection: &mut Connection,
    letters: Vec<NewDeadLetter>,
    limits: LetterLimits,
    now: Timestamp,
) -> Result<LettersKept, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut arrived = Arrived::of(letters);
    let known = known(&transaction, &arrived)?;
    let streams = arrived.streams();
    let before = taken(&transaction, &streams)?;
    let over = (before.letters + arrived.new_ones(&known, None)).saturating_sub(limits.total_max);
    // Bytes are never so short that it matters which of the resolved letters go.
    let over = if before.bytes >= limits.bytes_max { u64::MAX } else { over };
    evict(&transaction, None, over)?;
    for stream in &streams {
        let held = before.streams.get(stream).copied().unwrap_or(0);
        let over = (held + arrived.new_ones(&known, Some(*stream))).saturating_sub(limits.stream_max);
        evict(&transaction, Some(*stream), over)?;
    }
    let kept = arrived.fit(&known, taken(&transaction, &streams)?, limits);
    for (letter, count) in &arrived.letters {
        write(&transaction, letter, *count, limits.retries_max, now)?;
    }
    transaction.commit()?;
    Ok(kept)
}

fn known(transaction: &Transaction<'_>, arrived: &Arrived) -> Result<HashSet<LetterKey>, Failure> {
    let mut statement = transaction.prepare_cached(
        "SELECT 1 FROM dead_letter_events WHERE tenant_id = ?1 AND store_id = ?2 AND event_id = ?3 AND follower = ?4",
    )?;
    let mut known = HashSet::new();
    for (letter, _) in &arrived.letters {
        let (tenant, store) = (letter.stream.tenant_id, letter.stream.store_id);
        let key = (tenant.as_bytes(), store.as_bytes(), letter.event_id.as_bytes(), &letter.follower);
        if statement.exists(key)? {
            known.insert(letter.key());
        }
    }
    Ok(known)
}

fn taken(transaction: &Transaction<'_>, streams: &[StreamId]) -> Result<Taken, Failure> {
    let (letters, bytes) = transaction
        .prepare_cached("SELECT count(*), coalesce(sum(payload_bytes), 0) FROM dead_letter_events")?
        .query_row((), |row| Ok((unsigned(row, 0)?, unsigned(row, 1)?)))?;
    let mut of_streams = HashMap::new();
    for stream in streams {
        let held = transaction
            .prepare_cached("SELECT count(*) FROM dead_letter_events WHERE tenant_id = ?1 AND store_id = ?2")?
            .query_row((stream.tenant_id.as_bytes(), stream.store_id.as_bytes()), |row| unsigned(row, 0))?;
        of_streams.insert(*stream, held);
    }
    Ok(Taken { letters, bytes, streams: of_streams })
}

/// Deletes so many of the resolved letters, the oldest first.
fn evict(transaction: &Transaction<'_>, stream: Option<StreamId>, count: u64) -> Result<(), Failure> {
    if count > 0 {
        let (tenant, store) = (stream.map(|s| s.tenant_id), stream.map(|s| s.store_id));
        transaction
            .prepare_cached(
                "DELETE FROM dead_letter_events WHERE id IN (
                     SELECT id FROM dead_letter_events
                     WHERE status = 'resolved' AND (?1 IS NULL OR (tenant_id = ?1 AND store_id = ?2))
                     ORDER BY last_seen_at LIMIT ?3)",
            )?
            .execute((
                tenant.as_ref().map(|id| id.as_bytes()),
                store.as_ref().map(|id| id.as_bytes()),
                signed(count),
            ))?;
    }
    Ok(())
}

fn write(
    transaction: &Transaction<'_>,
    letter: &NewDeadLetter,
    count: u32,
    retries_max: u32,
    now: Timestamp,
) -> Result<(), Failure> {
    transaction
        .prepare_cached(
            "INSERT INTO dead_letter_events (id, event_id, tenant_id, store_id, event_type, reason, error_message,
                 max_retries, created_at, metadata, follower, sequence_number, seen_count, last_seen_at, payload_bytes,
                 payload)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?9, ?14, ?15)
             ON CONFLICT (tenant_id, store_id, event_id, follower) DO UPDATE SET
                 event_type = excluded.event_type, reason = excluded.reason, error_message = excluded.error_message,
                 status = CASE WHEN status = 'resolved' THEN 'pending' ELSE status END,
                 metadata = excluded.metadata, seen_count = seen_count + excluded.seen_count,
                 last_seen_at = excluded.last_seen_at, payload_bytes = excluded.payload_bytes,
                 payload = excluded.payload
             -- Another agent's event of that id changes nothing, nor does any while the letter is tried again.
             WHERE status <> 'retrying'
               AND json_extract(metadata, '$.source_agent_id') IS json_extract(excluded.metadata, '$.source_agent_id')",
        )?
        .execute(rusqlite::params![
            LetterId::random().as_bytes(),
            letter.event_id.as_bytes(),
            letter.stream.tenant_id.as_bytes(),
            letter.stream.store_id.as_bytes(),
            letter.event_type,
            letter.reason.as_str(),
            letter.error_message,
            retries_max,
            now.micros(),
            letter.metadata,
            letter.follower,
            letter.sequence_number.map(signed),
            count,
            signed(letter.payload.len() as u64),
            letter.payload,
        ])?;
    Ok(())
}

fn list(
    connection: &Connection,
    filter: &LetterFilter,
    order: LetterOrder,
    limit: usize,
) -> Result<Vec<DeadLetter>, Failure> {
    let (compare, mark, sort) = order.sql();
    let sql = format!(
        "SELECT {COLUMNS} FROM dead_letter_events
         WHERE {MATCHES} AND (?6 IS NULL OR (created_at, id) {compare} (?6, ?7))
         ORDER BY created_at {sort}, id {sort} LIMIT ?8"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let values = rusqlite::params![
        filter.tenant_id.as_ref().map(|id| id.as_bytes()),
        store_list(filter),
        filter.reason.map(LetterReason::as_str),
        filter.status.map(LetterStatus::as_str),
        filter.follower,
        mark.map(|mark| mark.created_at.micros()),
        mark.as_ref().map(|mark| mark.id.as_bytes()),
        signed(limit as u64),
    ];
    let rows = statement.query_map(values, letter)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn one(connection: &Connection, id: LetterId) -> Result<Option<DeadLetter>, Failure> {
    let sql = format!("SELECT {COLUMNS} FROM dead_letter_events WHERE id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.as_bytes()], letter).optional()?)
}

fn count(connection: &Connection, filter: &LetterFilter) -> Result<u64, Failure> {
    let sql = format!("SELECT count(*) FROM dead_letter_events WHERE {MATCHES}");
    let values = rusqlite::params![
        filter.tenant_id.as_ref().map(|id| id.as_bytes()),
        store_list(filter),
        filter.reason.map(LetterReason::as_str),
        filter.status.map(LetterStatus::as_str),
        filter.follower,
    ];
    Ok(connection.prepare_cached(&sql)?.query_row(values, |row| unsigned(row, 0))?)
}

fn tally(connection: &Connection) -> Result<Vec<(LetterStatus, LetterReason, u64)>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT status, reason, count(*) FROM dead_letter_events GROUP BY status, reason")?;
    let rows = statement.query_map((), |row| Ok((status(row, 0)?, reason(row, 1)?, unsigned(row, 2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn begin_retries(
    connection: &mut Connection,
    ids: &[LetterId],
    now: Timestamp,
) -> Result<Vec<DeadLetter>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut begun = Vec::with_capacity(ids.len());
    for id in ids {
        let changed = transaction
            .prepare_cached(
                "UPDATE dead_letter_events SET status = 'retrying', last_retry_at = ?2
                 WHERE id = ?1 AND status IN ('pending', 'failed')",
            )?
            .execute((id.as_bytes(), now.micros()))?;
        if changed == 1 {
            begun.extend(one(&transaction, *id)?);
        }
    }
    transaction.commit()?;
    Ok(begun)
}

fn end_retries(connection: &mut Connection, ends: &[(LetterId, RetryEnd)]) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (id, end) in ends {
        match end {
            RetryEnd::Taken => {
                transaction
                    .prepare_cached("DELETE FROM dead_letter_events WHERE id = ?1")?
                    .execute([id.as_bytes()])?;
            }
            RetryEnd::Refused(reason, problem) => {
                transaction
                    .prepare_cached(
                        "UPDATE dead_letter_events SET retry_count = retry_count + 1, reason = ?2, error_message = ?3,
                             status = CASE WHEN retry_count + 1 >= max_retries THEN 'failed' ELSE 'pending' END
                         WHERE id = ?1",
                    )?
                    .execute((id.as_bytes(), reason.as_str(), problem))?;
            }
            RetryEnd::Undone => {
                let sql = format!("UPDATE dead_letter_events SET status = {AT_REST} WHERE id = ?1");
                transaction.prepare_cached(&sql)?.execute([id.as_bytes()])?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn delete(connection: &mut Connection, ids: &[LetterId]) -> Result<u64, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut deleted = 0;
    for id in ids {
        let gone = transaction
            .prepare_cached("DELETE FROM dead_letter_events WHERE id = ?1")?
            .execute([id.as_bytes()])?;
        deleted += gone as u64;
    }
    transaction.commit()?;
    Ok(deleted)
}

fn sweep(connection: &mut Connection, ages: LetterAges) -> Result<LettersSwept, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let freed = transaction.execute(
        &format!(
            "UPDATE dead_letter_events SET status = {AT_REST}
             WHERE status = 'retrying' AND follower = '' AND last_retry_at < ?1"
        ),
        [ages.retried_since.micros()],
    )?;
    let resolved = transaction.execute(
        "UPDATE dead_letter_events AS d SET status = 'resolved', last_seen_at = ?1
         WHERE d.follower = '' AND d.status IN ('pending', 'failed') AND EXISTS (
             SELECT 1 FROM streams s JOIN ves_events e ON e.event_id = d.event_id AND e.stream_no = s.stream_no
             WHERE s.tenant_id = d.tenant_id AND s.store_id = d.store_id)",
        [ages.now.micros()],
    )?;
    let expired = transaction.execute(
        "DELETE FROM dead_letter_events
         WHERE last_seen_at < ?1 OR (status = 'resolved' AND last_seen_at < ?2)",
        (ages.kept_since.micros(), ages.resolved_since.micros()),
    )?;
    transaction.commit()?;
    Ok(LettersSwept { resolved: resolved as u64, expired: expired as u64, freed: freed as u64 })
}

fn status(row: &Row<'_>, column: usize) -> rusqlite::Result<LetterStatus> {
    // A word of another version is shown as waiting: somebody is to look at it.
    row.get::<_, String>(column).map(|word| LetterStatus::parse(&word).unwrap_or(LetterStatus::Pending))
}

fn reason(row: &Row<'_>, column: usize) -> rusqlite::Result<LetterReason> {
    row.get::<_, String>(column).map(|word| LetterReason::parse(&word).unwrap_or(LetterReason::Unknown))
}

fn letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let letter = NewDeadLetter {
        event_id: EventId::from_bytes(fixed(row, 1)?),
        stream: stream_columns(row, 2)?,
        event_type: row.get(4)?,
        reason: reason(row, 5)?,
        error_message: row.get(7)?,
        follower: row.get(13)?,
        sequence_number: row.get::<_, Option<i64>>(14)?.map(i64::unsigned_abs),
        payload: row.get(17)?,
        metadata: row.get(12)?,
    };
    Ok(DeadLetter {
        id: LetterId::from_bytes(fixed(row, 0)?),
        letter,
        status: status(row, 6)?,
        retry_count: row.get(8)?,
        max_retries: row.get(9)?,
        last_retry_at: row.get::<_, Option<i64>>(10)?.map(Timestamp::from_micros),
        created_at: moment(row, 11)?,
        seen_count: row.get(15)?,
        last_seen_at: moment(row, 16)?,
    })
}

#[async_trait]
impl DeadLetterStore for SqliteStore {
    async fn keep_letters(
        &self,
        letters: Vec<NewDeadLetter>,
        limits: LetterLimits,
        now: Timestamp,
    ) -> Result<LettersKept, StoreError> {
        self.with_writer(move |connection| keep(connection, letters, limits, now)).await
    }

    async fn letters(
        &self,
        filter: LetterFilter,
        order: LetterOrder,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.with_reader(move |connection| list(connection, &filter, order, limit)).await
    }

    async fn letter(&self, id: LetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.with_reader(move |connection| one(connection, id)).await
    }

    async fn count_letters(&self, filter: LetterFilter) -> Result<u64, StoreError> {
        self.with_reader(move |connection| count(connection, &filter)).await
    }

    async fn tally_letters(&self) -> Result<Vec<(LetterStatus, LetterReason, u64)>, StoreError> {
        self.with_reader(|connection| tally(connection)).await
    }

    async fn begin_retries(&self, ids: Vec<LetterId>, now: Timestamp) -> Result<Vec<DeadLetter>, StoreError> {
        self.with_writer(move |connection| begin_retries(connection, &ids, now)).await
    }

    async fn end_retries(&self, ends: Vec<(LetterId, RetryEnd)>) -> Result<(), StoreError> {
        self.with_writer(move |connection| end_retries(connection, &ends)).await
    }

    async fn delete_letters(&self, ids: Vec<LetterId>) -> Result<u64, StoreError> {
        self.with_writer(move |connection| delete(connection, &ids)).await
    }

    async fn sweep_letters(&self, ages: LetterAges) -> Result<LettersSwept, StoreError> {
        self.with_writer(move |connection| sweep(connection, ages)).await
    }
}
