//! Commitments: inserted only at the end of their stream's chain, never deleted, and never changed but for the
//! mark that says which correction replaces one.
//!
//! An advisory lock a stream orders competing processes; the unique index is the last word.

use async_trait::async_trait;
use bowline_types::{BatchId, StreamId};
use bowline_ves::{Commitment, Hash};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};

use crate::commitments::records::{beyond_head, corrects_nothing};
use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::{
    COMMITMENT_COLUMNS, COMMITMENT_MARKS, commitment as read_commitment, hash, signed, unsigned,
};
use crate::{
    ChainQuery, CommitmentFilter, CommitmentOrigin, CommitmentRecord, CommitmentStore, CorrectionStore,
    InsertCommitment, NewCorrection, StoreError,
};

pub(crate) async fn insert(
    pool: &PgPool,
    new: &Commitment,
    upper_levels: &[u8],
    origin: CommitmentOrigin,
) -> Result<InsertCommitment, StoreError> {
    let mut transaction = pool.begin().await.map_err(|e| refuse(&e))?;
    lock(&mut transaction, new.stream).await.map_err(|e| refuse(&e))?;
    let last = last_link(&mut transaction, new.stream).await.map_err(|e| refuse(&e))?;
    let (position, follows) = match &last {
        Some(last) => (
            last.position + 1,
            last.committed_end + 1 == new.sequence_start && last.state_root == new.prev_state_root,
        ),
        None => (1, new.prev_state_root == Hash::ZERO),
    };
    if !follows {
        return Ok(InsertCommitment::Superseded);
    }
    let head: Option<i64> = sqlx::query_scalar(
        "SELECT current_sequence FROM sequence_counters WHERE tenant_id = $1 AND store_id = $2",
    )
    .bind(new.stream.tenant_id.uuid())
    .bind(new.stream.store_id.uuid())
    .fetch_optional(&mut *transaction)
    .await
    .map_err(|e| refuse(&e))?;
    let head = head.map_or(0, i64::unsigned_abs);
    if new.sequence_end > head {
        return Err(beyond_head(new, head));
    }
    let row = NewRow { new, upper_levels, origin, position, reason: None };
    write(&mut transaction, &row).await.map_err(|e| refuse(&e))?;
    transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    Ok(InsertCommitment::Inserted)
}

/// Inserts a correction behind the last commitment, and marks what it corrects.
async fn insert_correction(pool: &PgPool, new: &NewCorrection) -> Result<InsertCommitment, StoreError> {
    let commitment = &new.commitment;
    let mut transaction = pool.begin().await.map_err(|e| refuse(&e))?;
    lock(&mut transaction, commitment.stream).await.map_err(|e| refuse(&e))?;
    let sql =
        format!("SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments WHERE batch_id = $1");
    let wrong = sqlx::query(AssertSqlSafe(sql))
        .bind(commitment.corrects.map(BatchId::uuid))
        .fetch_optional(&mut *transaction)
        .await
        .and_then(|row| row.as_ref().map(read_commitment).transpose())
        .map_err(|e| refuse(&e))?;
    let wrong = wrong.filter(|wrong| wrong.commitment.same_range(commitment));
    let wrong = wrong.ok_or_else(|| corrects_nothing(commitment))?;
    let last = last_link(&mut transaction, commitment.stream).await.map_err(|e| refuse(&e))?;
    let follows = last.filter(|last| last.state_root == commitment.prev_state_root);
    let (Some(last), None) = (follows, wrong.chain.corrected_by) else {
        return Ok(InsertCommitment::Superseded);
    };
    sqlx::query(
        "UPDATE ves_commitments
         SET metadata = coalesce(metadata, '{}') || jsonb_build_object('corrected_by', $2::text, 'reason', $3::text)
         WHERE batch_id = $1",
    )
    .bind(wrong.commitment.batch_id.uuid())
    .bind(commitment.batch_id.to_string())
    .bind(&new.reason)
    .execute(&mut *transaction)
    .await
    .map_err(|e| refuse(&e))?;
    let row = NewRow {
        new: commitment,
        upper_levels: &new.upper_levels,
        origin: new.origin,
        position: last.position + 1,
        reason: Some(&new.reason),
    };
    write(&mut transaction, &row).await.map_err(|e| refuse(&e))?;
    transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    Ok(InsertCommitment::Inserted)
}

/// Two processes may commit one stream at a time: the second waits here, and then sees the first's row.
async fn lock(connection: &mut PgConnection, stream: StreamId) -> sqlx::Result<()> {
    let key = bowline_ves::stream_hash(stream).as_bytes().first_chunk().copied().unwrap_or_default();
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(i64::from_be_bytes(key));
    lock.execute(connection).await.map(drop)
}

/// The end of a stream's chain.
struct LastLink {
    position: u64,
    state_root: Hash,
    /// The highest number under an ordinary commitment.
    committed_end: u64,
}

async fn last_link(connection: &mut PgConnection, stream: StreamId) -> sqlx::Result<Option<LastLink>> {
    let row = sqlx::query(
        "SELECT chain_position, new_state_root,
                (SELECT o.sequence_end FROM ves_commitments o
                 WHERE o.tenant_id = $1 AND o.store_id = $2 AND o.corrects IS NULL
                 ORDER BY o.sequence_start DESC LIMIT 1) AS committed_end
         FROM ves_commitments WHERE tenant_id = $1 AND store_id = $2 ORDER BY chain_position DESC LIMIT 1",
    )
    .bind(stream.tenant_id.uuid())
    .bind(stream.store_id.uuid())
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(LastLink {
            position: unsigned(&row, "chain_position")?,
            state_root: hash(&row, "new_state_root")?,
            committed_end: unsigned(&row, "committed_end")?,
        })
    })
    .transpose()
}

/// What is written of a commitment; with a reason it is a correction.
struct NewRow<'a> {
    new: &'a Commitment,
    upper_levels: &'a [u8],
    origin: CommitmentOrigin,
    position: u64,
    reason: Option<&'a str>,
}

async fn write(connection: &mut PgConnection, row: &NewRow<'_>) -> sqlx::Result<()> {
    let NewRow { new, upper_levels, origin, position, reason } = row;
    let sql = format!(
        "INSERT INTO ves_commitments ({COMMITMENT_COLUMNS}, upper_levels, metadata)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
                 CASE WHEN $15 IS NULL THEN NULL
                      ELSE jsonb_build_object('corrects', $15::uuid::text, 'reason', $18::text) END)"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(new.batch_id.uuid())
        .bind(new.stream.tenant_id.uuid())
        .bind(new.stream.store_id.uuid())
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
        .bind(new.corrects.map(BatchId::uuid))
        .bind(signed(*position))
        .bind(*upper_levels)
        .bind(*reason)
        .execute(connection)
        .await
        .map(drop)
}

/// The commitment of that id.
pub async fn by_id(pool: &PgPool, batch_id: BatchId) -> Result<Option<CommitmentRecord>, StoreError> {
    let sql =
        format!("SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments WHERE batch_id = $1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(batch_id.uuid()).fetch_optional(pool).await;
    row.map_err(|e| refuse(&e))?.as_ref().map(read_commitment).transpose().map_err(|e| refuse(&e))
}

pub(crate) async fn last(pool: &PgPool, stream: StreamId) -> Result<Option<CommitmentRecord>, StoreError> {
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments
         WHERE tenant_id = $1 AND store_id = $2 ORDER BY chain_position DESC LIMIT 1"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(stream.tenant_id.uuid())
        .bind(stream.store_id.uuid())
        .fetch_optional(pool)
        .await
        .map_err(|e| refuse(&e))?;
    row.as_ref().map(read_commitment).transpose().map_err(|e| refuse(&e))
}

pub(crate) async fn covering(
    pool: &PgPool,
    stream: StreamId,
    sequence_number: u64,
) -> Result<Option<CommitmentRecord>, StoreError> {
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments
         WHERE tenant_id = $1 AND store_id = $2 AND sequence_start <= $3
         ORDER BY sequence_start DESC, chain_position DESC LIMIT 1"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(stream.tenant_id.uuid())
        .bind(stream.store_id.uuid())
        .bind(signed(sequence_number))
        .fetch_optional(pool)
        .await
        .map_err(|e| refuse(&e))?;
    let found = row.as_ref().map(read_commitment).transpose().map_err(|e| refuse(&e))?;
    Ok(found.filter(|record| record.commitment.sequence_end >= sequence_number))
}

pub(crate) async fn list(
    pool: &PgPool,
    filter: CommitmentFilter,
) -> Result<Vec<CommitmentRecord>, StoreError> {
    let unanchored = if filter.unanchored_only { "AND anchored_at IS NULL" } else { "" };
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments
         WHERE tenant_id = $1 AND store_id = $2 AND sequence_start >= $3 {unanchored}
         ORDER BY sequence_start, chain_position LIMIT $4"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(filter.stream.tenant_id.uuid())
        .bind(filter.stream.store_id.uuid())
        .bind(signed(filter.from))
        .bind(signed(filter.limit as u64))
        .fetch_all(pool)
        .await
        .map_err(|e| refuse(&e))?;
    rows.iter().map(read_commitment).collect::<Result<_, _>>().map_err(|e| refuse(&e))
}

async fn chain(pool: &PgPool, query: ChainQuery) -> Result<Vec<CommitmentRecord>, StoreError> {
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments
         WHERE tenant_id = $1 AND store_id = $2 AND chain_position > $3 AND (NOT $4 OR corrects IS NOT NULL)
         ORDER BY chain_position LIMIT $5"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(query.stream.tenant_id.uuid())
        .bind(query.stream.store_id.uuid())
        .bind(signed(query.after))
        .bind(query.corrections_only)
        .bind(signed(query.limit as u64))
        .fetch_all(pool)
        .await
        .map_err(|e| refuse(&e))?;
    rows.iter().map(read_commitment).collect::<Result<_, _>>().map_err(|e| refuse(&e))
}

pub(crate) async fn upper_levels(pool: &PgPool, batch_id: BatchId) -> Result<Option<Vec<u8>>, StoreError> {
    let row = sqlx::query("SELECT upper_levels FROM ves_commitments WHERE batch_id = $1")
        .bind(batch_id.uuid())
        .fetch_optional(pool)
        .await
        .map_err(|e| refuse(&e))?;
    row.map(|row| row.try_get("upper_levels")).transpose().map_err(|e| refuse(&e))
}

#[async_trait]
impl CommitmentStore for PostgresStore {
    async fn insert_commitment(
        &self,
        commitment: Commitment,
        upper_levels: Vec<u8>,
        origin: CommitmentOrigin,
    ) -> Result<InsertCommitment, StoreError> {
        self.counted(insert(self.pool()?, &commitment, &upper_levels, origin).await)
    }

    async fn commitment(&self, batch_id: BatchId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.counted(by_id(self.pool()?, batch_id).await)
    }

    async fn last_commitment(&self, stream: StreamId) -> Result<Option<CommitmentRecord>, StoreError> {
        self.counted(last(self.pool()?, stream).await)
    }

    async fn commitment_covering(
        &self,
        stream: StreamId,
        sequence_number: u64,
    ) -> Result<Option<CommitmentRecord>, StoreError> {
        self.counted(covering(self.pool()?, stream, sequence_number).await)
    }

    async fn commitments(&self, filter: CommitmentFilter) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.counted(list(self.pool()?, filter).await)
    }

    async fn commitment_upper_levels(&self, batch_id: BatchId) -> Result<Option<Vec<u8>>, StoreError> {
        self.counted(upper_levels(self.pool()?, batch_id).await)
    }
}

#[async_trait]
impl CorrectionStore for PostgresStore {
    async fn insert_correction(&self, new: NewCorrection) -> Result<InsertCommitment, StoreError> {
        self.counted(insert_correction(self.pool()?, &new).await)
    }

    async fn chain(&self, query: ChainQuery) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.counted(chain(self.pool()?, query).await)
    }
}
