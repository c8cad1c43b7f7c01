//! Commitments: inserted only at the end of their stream's chain, never changed and never deleted.
//!
//! An advisory lock a stream orders competing processes; the unique index is the last word.

use bowline_types::{BatchId, StreamId};
use bowline_ves::{Commitment, Hash};
use sqlx::{AssertSqlSafe, PgPool, Row};

use super::error::{refuse, refuse_commit};
use super::rows::{COMMITMENT_COLUMNS, commitment, hash, signed, unsigned};
use crate::records::beyond_head;
use crate::{CommitmentFilter, CommitmentOrigin, CommitmentRecord, InsertCommitment, StoreError};

pub(super) async fn insert(
    pool: &PgPool,
    new: &Commitment,
    upper_levels: &[u8],
    origin: CommitmentOrigin,
) -> Result<InsertCommitment, StoreError> {
    let mut transaction = pool.begin().await.map_err(|e| refuse(&e))?;
    let (tenant, store) = (new.stream.tenant_id.uuid(), new.stream.store_id.uuid());
    // Two processes may commit one stream at a time: the second waits here, and then sees the first's row.
    let key = i64::from_be_bytes(
        bowline_ves::stream_hash(new.stream).as_bytes().first_chunk().copied().unwrap_or_default(),
    );
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(key)
        .execute(&mut *transaction)
        .await
        .map_err(|e| refuse(&e))?;
    let last = sqlx::query(
        "SELECT sequence_end, new_state_root FROM ves_commitments
         WHERE tenant_id = $1 AND store_id = $2 ORDER BY sequence_start DESC LIMIT 1",
    )
    .bind(tenant)
    .bind(store)
    .fetch_optional(&mut *transaction)
    .await
    .map_err(|e| refuse(&e))?;
    let follows = match last {
        Some(row) => {
            let end = unsigned(&row, "sequence_end").map_err(|e| refuse(&e))?;
            let root = hash(&row, "new_state_root").map_err(|e| refuse(&e))?;
            end + 1 == new.sequence_start && root == new.prev_state_root
        }
        None => new.prev_state_root == Hash::ZERO,
    };
    if !follows {
        return Ok(InsertCommitment::Superseded);
    }
    let head: Option<i64> = sqlx::query_scalar(
        "SELECT current_sequence FROM sequence_counters WHERE tenant_id = $1 AND store_id = $2",
    )
    .bind(tenant)
    .bind(store)
    .fetch_optional(&mut *transaction)
    .await
    .map_err(|e| refuse(&e))?;
    let head = head.map_or(0, i64::unsigned_abs);
    if new.sequence_end > head {
        return Err(beyond_head(new, head));
    }
    let sql = format!(
        "INSERT INTO ves_commitments ({COMMITMENT_COLUMNS}, upper_levels)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(new.batch_id.uuid())
        .bind(tenant)
        .bind(store)
        .bind(i64::from(new.ves_version))
        .bind(i64::from(new.tree_depth))
        .bind(i64::from(new.leaf_count))
        .bind(i64::from(new.padded_leaf_count))
        .bind(&new.merkle_root.as_bytes()[..])
        .bind(&new.prev_state_root.as_bytes()[..])
        .bind(&new.new_state_root.as_bytes()[..])
        .bind(signed(new.sequence_start))
        .bind(signed(new.sequence_end))
        .bind(new.committed_at.to_chrono())
        .bind(origin.as_str())
        .bind(upper_levels)
        .execute(&mut *transaction)
        .await
        .map_err(|e| refuse(&e))?;
    transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    Ok(InsertCommitment::Inserted)
}

pub(super) async fn by_id(pool: &PgPool, batch_id: BatchId) -> Result<Option<CommitmentRecord>, StoreError> {
    let sql = format!("SELECT {COMMITMENT_COLUMNS} FROM ves_commitments WHERE batch_id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(batch_id.uuid()).fetch_optional(pool).await;
    row.map_err(|e| refuse(&e))?.as_ref().map(commitment).transpose().map_err(|e| refuse(&e))
}

pub(super) async fn last(pool: &PgPool, stream: StreamId) -> Result<Option<CommitmentRecord>, StoreError> {
    up_to(pool, stream, u64::MAX).await
}

pub(super) async fn covering(
    pool: &PgPool,
    stream: StreamId,
    sequence_number: u64,
) -> Result<Option<CommitmentRecord>, StoreError> {
    let found = up_to(pool, stream, sequence_number).await?;
    Ok(found.filter(|record| record.commitment.sequence_end >= sequence_number))
}

/// The last commitment that begins at `start` or before.
async fn up_to(pool: &PgPool, stream: StreamId, start: u64) -> Result<Option<CommitmentRecord>, StoreError> {
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS} FROM ves_commitments
         WHERE tenant_id = $1 AND store_id = $2 AND sequence_start <= $3 ORDER BY sequence_start DESC LIMIT 1"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(stream.tenant_id.uuid())
        .bind(stream.store_id.uuid())
        .bind(signed(start))
        .fetch_optional(pool)
        .await
        .map_err(|e| refuse(&e))?;
    row.as_ref().map(commitment).transpose().map_err(|e| refuse(&e))
}

pub(super) async fn list(
    pool: &PgPool,
    filter: CommitmentFilter,
) -> Result<Vec<CommitmentRecord>, StoreError> {
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS} FROM ves_commitments
         WHERE tenant_id = $1 AND store_id = $2 AND sequence_start >= $3 ORDER BY sequence_start LIMIT $4"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(filter.stream.tenant_id.uuid())
        .bind(filter.stream.store_id.uuid())
        .bind(signed(filter.from))
        .bind(signed(filter.limit as u64))
        .fetch_all(pool)
        .await
        .map_err(|e| refuse(&e))?;
    rows.iter().map(commitment).collect::<Result<_, _>>().map_err(|e| refuse(&e))
}

pub(super) async fn upper_levels(pool: &PgPool, batch_id: BatchId) -> Result<Option<Vec<u8>>, StoreError> {
    let row = sqlx::query("SELECT upper_levels FROM ves_commitments WHERE batch_id = $1")
        .bind(batch_id.uuid())
        .fetch_optional(pool)
        .await
        .map_err(|e| refuse(&e))?;
    row.map(|row| row.try_get("upper_levels")).transpose().map_err(|e| refuse(&e))
}
