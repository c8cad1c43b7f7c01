//! Dead letters: kept, listed, retried and swept, in statements whose number does not grow with the letters'.
//!
//! Whoever keeps letters holds an advisory lock, so that two processes don't fill the last place twice.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bowline_types::{EventId, LetterId, StreamId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::letters::records::{Arrived, LetterKey, Taken};
use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::{moment, signed, stream, unsigned};
use crate::{
    DeadLetter, DeadLetterStore, LetterAges, LetterFilter, LetterLimits, LetterOrder, LetterReason,
    LetterStatus, LettersKept, LettersSwept, NewDeadLetter, RetryEnd, StoreError,
};

/// Any number that no other user of the database takes for its advisory lock.
const LETTERS_LOCK: i64 = 0x626f_776c_696e_6502;

const COLUMNS: &str = "id, event_id, tenant_id, store_id, event_type, reason, status, error_message, retry_count, \
     max_retries, last_retry_at, created_at, coalesce(metadata, '{}')::text AS metadata, follower, sequence_number, \
     seen_count, last_seen_at, payload";

const MATCHES: &str = "($1::uuid IS NULL OR tenant_id = $1) AND (cardinality($2::uuid[]) = 0 OR store_id = ANY($2)) \
     AND ($3::text IS NULL OR reason = $3) AND ($4::text IS NULL OR status = $4) \
     AND ($5::text IS NULL OR follower = $5)";

/// What a letter becomes that is not being retried any more.
const AT_REST: &str = "CASE WHEN retry_count >= max_retries THEN 'failed' ELSE 'pending' END";

async fn keep(
    pool: &PgPool,
    letters: Vec<NewDeadLetter>,
    limits: LetterLimits,
    now: Timestamp,
) -> Result<LettersKept, StoreError> {
    let mut transaction = pool.begin().await.map_err(|e| refuse(&e))?;
    let kept = keep_locked(&mut transaction, letters, limits, now).await.map_err(|e| refuse(&e))?;
    transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    Ok(kept)
}

async fn keep_locked(
    connection: &mut PgConnection,
    letters: Vec<NewDeadLetter>,
    limits: LetterLimits,
    now: Timestamp,
) -> sqlx::Result<LettersKept> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LETTERS_LOCK).execute(&mut *connection).await?;
    let mut arrived = Arrived::of(letters);
    let known = known(connection, &arrived).await?;
    let streams = arrived.streams();
    let before = taken(connection, &streams).await?;
    let over = (before.letters + arrived.new_ones(&known, None)).saturating_sub(limits.total_max);
    // Bytes are never so short that it matters which of the resolved letters go.
    let over = if before.bytes >= limits.bytes_max { u64::MAX } else { over };
    evict(connection, None, over).await?;
    for stream in &streams {
        let held = before.streams.get(stream).copied().unwrap_or(0);
        let over = (held + arrived.new_ones(&known, Some(*stream))).saturating_sub(limits.stream_max);
        evict(connection, Some(*stream), over).await?;
    }
    let kept = arrived.fit(&known, taken(connection, &streams).await?, limits);
    write(connection, &arrived, limits.retries_max, now).await?;
    Ok(kept)
}

async fn known(connection: &mut PgConnection, arrived: &Arrived) -> sqlx::Result<HashSet<LetterKey>> {
    let letters = || arrived.letters.iter().map(|(letter, _)| letter);
    let rows = sqlx::query(
        "SELECT d.tenant_id, d.store_id, d.event_id, d.follower
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) AS k (tenant_id, store_id, event_id, follower)
         JOIN dead_letter_events d USING (tenant_id, store_id, event_id, follower)",
    )
    .bind(letters().map(|letter| letter.stream.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.stream.store_id.uuid()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.event_id.uuid()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.follower.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((stream(row)?, EventId::new(row.try_get("event_id")?), row.try_get("follower")?)))
        .collect()
}

async fn taken(connection: &mut PgConnection, streams: &[StreamId]) -> sqlx::Result<Taken> {
    let all = sqlx::query(
        "SELECT count(*) AS letters, coalesce(sum(payload_bytes), 0)::bigint AS bytes FROM dead_letter_events",
    )
    .fetch_one(&mut *connection)
    .await?;
    let rows = sqlx::query(
        "SELECT tenant_id, store_id, count(*) AS letters FROM dead_letter_events
         WHERE (tenant_id, store_id) IN (SELECT * FROM UNNEST($1::uuid[], $2::uuid[])) GROUP BY tenant_id, store_id",
    )
    .bind(streams.iter().map(|stream| stream.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(streams.iter().map(|stream| stream.store_id.uuid()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let of_streams = rows
        .iter()
        .map(|row| Ok((stream(row)?, unsigned(row, "letters")?)))
        .collect::<sqlx::Result<HashMap<_, _>>>()?;
    Ok(Taken { letters: unsigned(&all, "letters")?, bytes: unsigned(&all, "bytes")?, streams: of_streams })
}

/// Deletes so many of the resolved letters, the oldest first.
async fn evict(connection: &mut PgConnection, stream: Option<StreamId>, count: u64) -> sqlx::Result<()> {
    if count == 0 {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM dead_letter_events WHERE id IN (
             SELECT id FROM dead_letter_events
             WHERE status = 'resolved' AND ($1::uuid IS NULL OR (tenant_id = $1 AND store_id = $2))
             ORDER BY last_seen_at LIMIT $3)",
    )
    .bind(stream.map(|stream| stream.tenant_id.uuid()))
    .bind(stream.map(|stream| stream.store_id.uuid()))
    .bind(signed(count))
    .execute(connection)
    .await
    .map(drop)
}

/// One statement for all letters: each parameter is a column.
async fn write(
    connection: &mut PgConnection,
    arrived: &Arrived,
    retries_max: u32,
    now: Timestamp,
) -> sqlx::Result<()> {
    let letters = || arrived.letters.iter().map(|(letter, _)| letter);
    sqlx::query(
        "INSERT INTO dead_letter_events AS d (id, event_id, tenant_id, store_id, event_type, reason, error_message,
             follower, sequence_number, seen_count, payload, metadata, payload_bytes, max_retries, created_at,
             last_seen_at)
         SELECT k.id, k.event_id, k.tenant_id, k.store_id, k.event_type, k.reason, k.error_message, k.follower,
                k.sequence_number, k.seen_count, k.payload, k.metadata::jsonb, octet_length(k.payload), $13, $14, $14
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::bigint[], $10::integer[], $11::text[], $12::text[])
              AS k (id, event_id, tenant_id, store_id, event_type, reason, error_message, follower, sequence_number,
                    seen_count, payload, metadata)
         ON CONFLICT (tenant_id, store_id, event_id, follower) DO UPDATE SET
             event_type = excluded.event_type, reason = excluded.reason, error_message = excluded.error_message,
             status = CASE WHEN d.status = 'resolved' THEN 'pending' ELSE d.status END,
             metadata = excluded.metadata, seen_count = d.seen_count + excluded.seen_count,
             last_seen_at = excluded.last_seen_at, payload_bytes = excluded.payload_bytes, payload = excluded.payload
         -- Another agent's event of that id changes nothing, nor does any while the letter is tried again.
         WHERE d.status <> 'retrying'
           AND d.metadata->>'source_agent_id' IS NOT DISTINCT FROM excluded.metadata->>'source_agent_id'",
    )
    .bind(letters().map(|_| Uuid::new_v4()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.event_id.uuid()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.stream.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.stream.store_id.uuid()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.event_type.as_str()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.reason.as_str()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.error_message.as_str()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.follower.as_str()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.sequence_number.map(signed)).collect::<Vec<_>>())
    .bind(arrived.letters.iter().map(|(_, count)| small(*count)).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.payload.as_str()).collect::<Vec<_>>())
    .bind(letters().map(|letter| letter.metadata.as_str()).collect::<Vec<_>>())
    .bind(small(retries_max))
    .bind(now.to_chrono())
    .execute(connection)
    .await
    .map(drop)
}

async fn list(
    pool: &PgPool,
    filter: &LetterFilter,
    order: LetterOrder,
    limit: usize,
) -> sqlx::Result<Vec<DeadLetter>> {
    let (compare, mark, sort) = order.sql();
    let sql = format!(
        "SELECT {COLUMNS} FROM dead_letter_events
         WHERE {MATCHES} AND ($6::timestamptz IS NULL OR (created_at, id) {compare} ($6, $7))
         ORDER BY created_at {sort}, id {sort} LIMIT $8"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(filter.tenant_id.map(|id| id.uuid()))
        .bind(filter.store_ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .bind(filter.reason.map(LetterReason::as_str))
        .bind(filter.status.map(LetterStatus::as_str))
        .bind(filter.follower.as_deref())
        .bind(mark.map(|mark| mark.created_at.to_chrono()))
        .bind(mark.map(|mark| mark.id.uuid()))
        .bind(signed(limit as u64))
        .fetch_all(pool)
        .await?;
    rows.iter().map(letter).collect()
}

async fn one(pool: &PgPool, id: LetterId) -> sqlx::Result<Option<DeadLetter>> {
    let sql = format!("SELECT {COLUMNS} FROM dead_letter_events WHERE id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id.uuid()).fetch_optional(pool).await?;
    row.as_ref().map(letter).transpose()
}

async fn count(pool: &PgPool, filter: &LetterFilter) -> sqlx::Result<u64> {
    let sql = format!("SELECT count(*) AS letters FROM dead_letter_events WHERE {MATCHES}");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(filter.tenant_id.map(|id| id.uuid()))
        .bind(filter.store_ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .bind(filter.reason.map(LetterReason::as_str))
        .bind(filter.status.map(LetterStatus::as_str))
        .bind(filter.follower.as_deref())
        .fetch_one(pool)
        .await?;
    unsigned(&row, "letters")
}

async fn tally(pool: &PgPool) -> sqlx::Result<Vec<(LetterStatus, LetterReason, u64)>> {
    let sql = "SELECT status, reason, count(*) AS letters FROM dead_letter_events GROUP BY status, reason";
    let rows = sqlx::query(sql).fetch_all(pool).await?;
    rows.iter().map(|row| Ok((status(row)?, reason(row)?, unsigned(row, "letters")?))).collect()
}

async fn begin_retries(pool: &PgPool, ids: &[LetterId], now: Timestamp) -> sqlx::Result<Vec<DeadLetter>> {
    let sql = format!(
        "UPDATE dead_letter_events SET status = 'retrying', last_retry_at = $2
         WHERE id = ANY($1) AND status IN ('pending', 'failed') RETURNING {COLUMNS}"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .bind(now.to_chrono())
        .fetch_all(pool)
        .await?;
    let mut begun = rows.iter().map(letter).collect::<sqlx::Result<Vec<_>>>()?;
    // As they were asked for: events of one entity depend on their order.
    begun.sort_by_key(|letter| ids.iter().position(|id| *id == letter.id));
    Ok(begun)
}

async fn end_retries(pool: &PgPool, ends: &[(LetterId, RetryEnd)]) -> sqlx::Result<()> {
    let (mut taken, mut undone) = (Vec::new(), Vec::new());
    let (mut refused, mut reasons, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (id, end) in ends {
        match end {
            RetryEnd::Taken => taken.push(id.uuid()),
            RetryEnd::Undone => undone.push(id.uuid()),
            RetryEnd::Refused(reason, problem) => {
                refused.push(id.uuid());
                reasons.push(reason.as_str());
                problems.push(problem.as_str());
            }
        }
    }
    let mut transaction = pool.begin().await?;
    sqlx::query("DELETE FROM dead_letter_events WHERE id = ANY($1)")
        .bind(taken)
        .execute(&mut *transaction)
        .await?;
    let sql = format!("UPDATE dead_letter_events SET status = {AT_REST} WHERE id = ANY($1)");
    sqlx::query(AssertSqlSafe(sql)).bind(undone).execute(&mut *transaction).await?;
    sqlx::query(
        "UPDATE dead_letter_events d SET retry_count = d.retry_count + 1, reason = k.reason, error_message = k.problem,
             status = CASE WHEN d.retry_count + 1 >= d.max_retries THEN 'failed' ELSE 'pending' END
         FROM UNNEST($1::uuid[], $2::text[], $3::text[]) AS k (id, reason, problem) WHERE d.id = k.id",
    )
    .bind(refused)
    .bind(reasons)
    .bind(problems)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

async fn delete(pool: &PgPool, ids: &[LetterId]) -> sqlx::Result<u64> {
    let deleted = sqlx::query("DELETE FROM dead_letter_events WHERE id = ANY($1)")
        .bind(ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
        .execute(pool)
        .await?;
    Ok(deleted.rows_affected())
}

async fn sweep(pool: &PgPool, ages: LetterAges) -> sqlx::Result<LettersSwept> {
    let mut transaction = pool.begin().await?;
    let sql = format!(
        "UPDATE dead_letter_events SET status = {AT_REST}
         WHERE status = 'retrying' AND follower = '' AND last_retry_at < $1"
    );
    let freed = sqlx::query(AssertSqlSafe(sql))
        .bind(ages.retried_since.to_chrono())
        .execute(&mut *transaction)
        .await?;
    let resolved = sqlx::query(
        "UPDATE dead_letter_events d SET status = 'resolved', last_seen_at = $1
         WHERE d.follower = '' AND d.status IN ('pending', 'failed') AND EXISTS (
             SELECT 1 FROM ves_events e
             WHERE e.event_id = d.event_id AND e.tenant_id = d.tenant_id AND e.store_id = d.store_id)",
    )
    .bind(ages.now.to_chrono())
    .execute(&mut *transaction)
    .await?;
    let expired = sqlx::query(
        "DELETE FROM dead_letter_events WHERE last_seen_at < $1 OR (status = 'resolved' AND last_seen_at < $2)",
    )
    .bind(ages.kept_since.to_chrono())
    .bind(ages.resolved_since.to_chrono())
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(LettersSwept {
        resolved: resolved.rows_affected(),
        expired: expired.rows_affected(),
        freed: freed.rows_affected(),
    })
}

/// A number for an `integer` column.
fn small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn status(row: &PgRow) -> sqlx::Result<LetterStatus> {
    // A word of another version is shown as waiting: somebody is to look at it.
    Ok(LetterStatus::parse(row.try_get("status")?).unwrap_or(LetterStatus::Pending))
}

fn reason(row: &PgRow) -> sqlx::Result<LetterReason> {
    Ok(LetterReason::parse(row.try_get("reason")?).unwrap_or(LetterReason::Unknown))
}

fn letter(row: &PgRow) -> sqlx::Result<DeadLetter> {
    let count = |column| row.try_get::<i32, _>(column).map(i32::unsigned_abs);
    let letter = NewDeadLetter {
        event_id: EventId::new(row.try_get("event_id")?),
        stream: stream(row)?,
        event_type: row.try_get("event_type")?,
        reason: reason(row)?,
        error_message: row.try_get("error_message")?,
        follower: row.try_get("follower")?,
        sequence_number: row.try_get::<Option<i64>, _>("sequence_number")?.map(i64::unsigned_abs),
        payload: row.try_get("payload")?,
        metadata: row.try_get("metadata")?,
    };
    Ok(DeadLetter {
        id: LetterId::new(row.try_get("id")?),
        letter,
        status: status(row)?,
        retry_count: count("retry_count")?,
        max_retries: count("max_retries")?,
        last_retry_at: row.try_get::<Option<_>, _>("last_retry_at")?.map(Timestamp::from_chrono),
        created_at: moment(row, "created_at")?,
        seen_count: count("seen_count")?,
        last_seen_at: moment(row, "last_seen_at")?,
    })
}

#[async_trait]
impl DeadLetterStore for PostgresStore {
    async fn keep_letters(
        &self,
        letters: Vec<NewDeadLetter>,
        limits: LetterLimits,
        now: Timestamp,
    ) -> Result<LettersKept, StoreError> {
        self.counted(keep(self.pool()?, letters, limits, now).await)
    }

    async fn letters(
        &self,
        filter: LetterFilter,
        order: LetterOrder,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.counted(list(self.pool()?, &filter, order, limit).await.map_err(|e| refuse(&e)))
    }

    async fn letter(&self, id: LetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.counted(one(self.pool()?, id).await.map_err(|e| refuse(&e)))
    }

    async fn count_letters(&self, filter: LetterFilter) -> Result<u64, StoreError> {
        self.counted(count(self.pool()?, &filter).await.map_err(|e| refuse(&e)))
    }

    async fn tally_letters(&self) -> Result<Vec<(LetterStatus, LetterReason, u64)>, StoreError> {
        self.counted(tally(self.pool()?).await.map_err(|e| refuse(&e)))
    }

    async fn begin_retries(&self, ids: Vec<LetterId>, now: Timestamp) -> Result<Vec<DeadLetter>, StoreError> {
        self.counted(begin_retries(self.pool()?, &ids, now).await.map_err(|e| refuse_commit(&e)))
    }

    async fn end_retries(&self, ends: Vec<(LetterId, RetryEnd)>) -> Result<(), StoreError> {
        self.counted(end_retries(self.pool()?, &ends).await.map_err(|e| refuse_commit(&e)))
    }

    async fn delete_letters(&self, ids: Vec<LetterId>) -> Result<u64, StoreError> {
        self.counted(delete(self.pool()?, &ids).await.map_err(|e| refuse_commit(&e)))
    }

    async fn sweep_letters(&self, ages: LetterAges) -> Result<LettersSwept, StoreError> {
        self.counted(sweep(self.pool()?, ages).await.map_err(|e| refuse_commit(&e)))
    }
}
