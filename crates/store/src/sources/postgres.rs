//! How far each chain is on the line: the checkpoint moves in the transaction that writes what it stands for.
//!
//! The checkpoint's row is locked before the stream's counter, by everyone who indexes the chain, so that of two
//! processes one waits and then finds the checkpoint moved. What a step may be is decided by `sources`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bowline_types::{EvmHash, StreamId, Timestamp, chain_stream_name};
use bowline_ves::SequencerSigner;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _};

use crate::events::postgres::append::Append;
use crate::events::sequencing::Source;
use crate::metrics::record_append;
use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::{hash, moment, signed, stream, unsigned};
use crate::sources::records::{MARKS_MAX, check_step};
use crate::{BlockMark, ChainAdvance, ChainCheckpoint, ChangeKind, SourceStore, StoreError, VerifiedBatch};

#[async_trait]
impl SourceStore for PostgresStore {
    async fn append_from_chain(
        &self,
        advance: ChainAdvance,
        batch: VerifiedBatch,
        signer: Arc<SequencerSigner>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let began = Instant::now();
        check_step(&advance, &batch)?;
        let (batch, keys_epoch) = (Arc::new(batch.events), batch.keys_epoch);
        let append = Append { batch, keys_epoch, signer, now, source: Source::Chain };
        let appended = append_step(self.pool()?, &advance, &append).await;
        if let Err(StoreError::KeysChanged { epoch }) = &appended {
            self.changes.observe(ChangeKind::AGENT_KEYS, *epoch);
        }
        let head = self.counted(appended)?;
        record_append(began.elapsed(), append.batch.len());
        self.tell_planner(append.batch.len() as u64);
        self.tail.advance(advance.stream, head);
        Ok(head)
    }

    async fn chain_checkpoint(&self, chain_id: u64) -> Result<Option<ChainCheckpoint>, StoreError> {
        let sql = format!("{CHECKPOINTS} WHERE c.chain_id = $1");
        let found = sqlx::query(AssertSqlSafe(sql)).bind(signed(chain_id)).fetch_optional(self.pool()?).await;
        let found = found.and_then(|row| row.as_ref().map(checkpoint_row).transpose());
        self.counted(found.map_err(|e| refuse(&e)))
    }

    async fn chain_checkpoints(&self) -> Result<Vec<ChainCheckpoint>, StoreError> {
        let sql = format!("{CHECKPOINTS} ORDER BY c.chain_id");
        let found = sqlx::query(AssertSqlSafe(sql)).fetch_all(self.pool()?).await;
        let found = found.and_then(|rows| rows.iter().map(checkpoint_row).collect());
        self.counted(found.map_err(|e| refuse(&e)))
    }

    async fn block_marks(&self, chain_id: u64) -> Result<Vec<BlockMark>, StoreError> {
        let found = sqlx::query(
            "SELECT number, hash, head FROM chain_blocks WHERE chain_id = $1 ORDER BY number DESC",
        )
        .bind(signed(chain_id))
        .fetch_all(self.pool()?)
        .await;
        let mark = |row: &PgRow| {
            Ok(BlockMark {
                number: unsigned(row, "number")?,
                hash: evm_hash(row, "hash")?,
                head: unsigned(row, "head")?,
            })
        };
        let found = found.and_then(|rows| rows.iter().map(mark).collect());
        self.counted(found.map_err(|e| refuse(&e)))
    }
}

/// What [`checkpoint_row`] reads.
const CHECKPOINTS: &str =
    "SELECT c.chain_id, c.tenant_id, c.store_id, c.generation, c.updated_at, c.last_block_number, \
     c.last_block_hash, b.head FROM checkpoints c
     LEFT JOIN chain_blocks b ON b.chain_id = c.chain_id AND b.number = c.last_block_number";

fn evm_hash(row: &PgRow, column: &str) -> sqlx::Result<EvmHash> {
    hash(row, column).map(|hash| EvmHash::new(*hash.as_bytes()))
}

fn checkpoint_row(row: &PgRow) -> sqlx::Result<ChainCheckpoint> {
    let has_block = row.try_get::<Option<i64>, _>("last_block_number")?.is_some();
    let block = has_block.then(|| {
        Ok::<_, sqlx::Error>(BlockMark {
            number: unsigned(row, "last_block_number")?,
            hash: evm_hash(row, "last_block_hash")?,
            head: unsigned(row, "head")?,
        })
    });
    Ok(ChainCheckpoint {
        chain_id: unsigned(row, "chain_id")?,
        stream: stream(row)?,
        block: block.transpose()?,
        generation: unsigned(row, "generation")?,
        updated_at: moment(row, "updated_at")?,
    })
}

async fn append_step(pool: &PgPool, advance: &ChainAdvance, append: &Append) -> Result<u64, StoreError> {
    let streams: BTreeSet<StreamId> = append.batch.iter().map(|event| event.envelope.stream).collect();
    let mut transaction = pool.begin().await.map_err(|e| refuse(&e))?;
    let place = lock_checkpoint(&mut transaction, advance, append.now).await.map_err(|e| refuse(&e))?;
    if place != advance.expected {
        return Err(StoreError::SourceMoved(advance.chain_id));
    }
    if !streams.is_empty() && append.within(&mut transaction, &streams).await?.is_none() {
        transaction.rollback().await.map_err(|e| refuse(&e))?;
        append.make_streams(pool, &streams).await?;
        return Box::pin(append_step(pool, advance, append)).await;
    }
    let written = async {
        let head = head(&mut transaction, advance.stream).await?;
        let before = head.saturating_sub(append.batch.len() as u64);
        name_stream(&mut transaction, advance).await?;
        move_marks(&mut transaction, advance, before).await?;
        move_checkpoint(&mut transaction, advance, append.now).await?;
        Ok(head)
    };
    let head = written.await.map_err(|e: sqlx::Error| refuse(&e))?;
    transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    Ok(head)
}

/// Where the chain is: generation and block. Its row is made if there is none, and stays locked.
async fn lock_checkpoint(
    connection: &mut PgConnection,
    advance: &ChainAdvance,
    now: Timestamp,
) -> sqlx::Result<(u64, Option<(u64, EvmHash)>)> {
    sqlx::query(
        "INSERT INTO checkpoints (chain_id, tenant_id, store_id, generation, updated_at) VALUES ($1, $2, $3, 0, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(signed(advance.chain_id))
    .bind(advance.stream.tenant_id.uuid())
    .bind(advance.stream.store_id.uuid())
    .bind(now.to_chrono())
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query(
        "SELECT generation, last_block_number, last_block_hash FROM checkpoints WHERE chain_id = $1 FOR UPDATE",
    )
    .bind(signed(advance.chain_id))
    .fetch_one(connection)
    .await?;
    let block = match row.try_get::<Option<i64>, _>("last_block_number")? {
        Some(_) => Some((unsigned(&row, "last_block_number")?, evm_hash(&row, "last_block_hash")?)),
        None => None,
    };
    Ok((unsigned(&row, "generation")?, block))
}

/// Where the stream is, with this transaction's own events.
async fn head(connection: &mut PgConnection, stream: StreamId) -> sqlx::Result<u64> {
    let head: Option<i64> = sqlx::query_scalar(
        "SELECT current_sequence FROM sequence_counters WHERE tenant_id = $1 AND store_id = $2 FOR SHARE",
    )
    .bind(stream.tenant_id.uuid())
    .bind(stream.store_id.uuid())
    .fetch_optional(connection)
    .await?;
    Ok(head.unwrap_or_default().unsigned_abs())
}

async fn name_stream(connection: &mut PgConnection, advance: &ChainAdvance) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE streams SET name = $3 WHERE tenant_id = $1 AND store_id = $2 AND name IS DISTINCT FROM $3",
    )
    .bind(advance.stream.tenant_id.uuid())
    .bind(advance.stream.store_id.uuid())
    .bind(chain_stream_name(advance.chain_id))
    .execute(connection)
    .await
    .map(drop)
}

/// `head` is where the stream stood before the step.
async fn move_marks(connection: &mut PgConnection, advance: &ChainAdvance, head: u64) -> sqlx::Result<()> {
    let chain_id = signed(advance.chain_id);
    if let Some(above) = advance.forget_above {
        sqlx::query("DELETE FROM chain_blocks WHERE chain_id = $1 AND number > $2")
            .bind(chain_id)
            .bind(signed(above))
            .execute(&mut *connection)
            .await?;
    }
    let marks = &advance.marks;
    if marks.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO chain_blocks (chain_id, number, hash, head)
         SELECT $1, * FROM UNNEST($2::bigint[], $3::bytea[], $4::bigint[])
         ON CONFLICT (chain_id, number) DO UPDATE SET hash = excluded.hash, head = excluded.head",
    )
    .bind(chain_id)
    .bind(marks.iter().map(|mark| signed(mark.0)).collect::<Vec<_>>())
    .bind(marks.iter().map(|mark| &mark.1.as_bytes()[..]).collect::<Vec<_>>())
    .bind(marks.iter().map(|mark| signed(head + mark.2)).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "DELETE FROM chain_blocks WHERE chain_id = $1 AND number <=
             (SELECT number FROM chain_blocks WHERE chain_id = $1 ORDER BY number DESC LIMIT 1 OFFSET $2)",
    )
    .bind(chain_id)
    .bind(MARKS_MAX)
    .execute(connection)
    .await
    .map(drop)
}

/// The checkpoint is the highest mark.
async fn move_checkpoint(
    connection: &mut PgConnection,
    advance: &ChainAdvance,
    now: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE checkpoints SET tenant_id = $2, store_id = $3, generation = $4, updated_at = $5,
             (last_block_number, last_block_hash) =
                 (SELECT number, hash FROM chain_blocks WHERE chain_id = $1 ORDER BY number DESC LIMIT 1)
         WHERE chain_id = $1",
    )
    .bind(signed(advance.chain_id))
    .bind(advance.stream.tenant_id.uuid())
    .bind(advance.stream.store_id.uuid())
    .bind(signed(advance.generation))
    .bind(now.to_chrono())
    .execute(connection)
    .await
    .map(drop)
}
