//! How far each chain is on the line: the checkpoint moves in the transaction that writes what it stands for.
//!
//! What a step may be, and which marks it leaves, is decided by `sources`; here are the rows.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bowline_types::{EvmHash, StoreId, StreamId, TenantId, Timestamp, chain_stream_name};
use bowline_ves::SequencerSigner;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use crate::events::sequencing::Source;
use crate::events::sqlite::append::{append_within, commit};
use crate::sources::records::{MARKS_MAX, check_step};
use crate::sqlite::SqliteStore;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{fixed, moment, signed, stream_no, unsigned};
use crate::{
    BlockMark, ChainAdvance, ChainCheckpoint, Changes, SourceStore, StoreError, VerifiedBatch, metrics,
};

#[async_trait]
impl SourceStore for SqliteStore {
    async fn append_from_chain(
        &self,
        advance: ChainAdvance,
        batch: VerifiedBatch,
        signer: Arc<SequencerSigner>,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.gate.pass().map_err(metrics::count_error)?;
        check_step(&advance, &batch)?;
        let (tail, heard) = (self.tail.clone(), self.changes.clone());
        let append = move |connection: &mut Connection| {
            let began = Instant::now();
            let count = batch.events.len();
            let head = append_step(connection, &heard, &advance, batch, &signer, now)?;
            metrics::record_append(began.elapsed(), count);
            tail.advance(advance.stream, head);
            Ok(head)
        };
        self.with_writer(append).await
    }

    async fn chain_checkpoint(&self, chain_id: u64) -> Result<Option<ChainCheckpoint>, StoreError> {
        self.with_reader(move |connection| Ok(checkpoint(connection, chain_id)?)).await
    }

    async fn chain_checkpoints(&self) -> Result<Vec<ChainCheckpoint>, StoreError> {
        let all = format!("{CHECKPOINTS} ORDER BY c.chain_id");
        self.with_reader(move |connection| {
            let mut statement = connection.prepare_cached(&all)?;
            let found = statement.query_map((), checkpoint_row)?.collect::<rusqlite::Result<_>>()?;
            Ok(found)
        })
        .await
    }

    async fn block_marks(&self, chain_id: u64) -> Result<Vec<BlockMark>, StoreError> {
        self.with_reader(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT number, hash, head FROM chain_blocks WHERE chain_id = ?1 ORDER BY number DESC",
            )?;
            let mark = |row: &Row<'_>| {
                Ok(BlockMark {
                    number: unsigned(row, 0)?,
                    hash: EvmHash::new(fixed(row, 1)?),
                    head: unsigned(row, 2)?,
                })
            };
            let found = statement.query_map([signed(chain_id)], mark)?.collect::<rusqlite::Result<_>>()?;
            Ok(found)
        })
        .await
    }
}

/// What [`checkpoint_row`] reads, in its order.
const CHECKPOINTS: &str =
    "SELECT c.chain_id, c.tenant_id, c.store_id, c.generation, c.updated_at, c.last_block_number, \
     c.last_block_hash, b.head FROM checkpoints c
     LEFT JOIN chain_blocks b ON b.chain_id = c.chain_id AND b.number = c.last_block_number";

fn checkpoint(connection: &Connection, chain_id: u64) -> rusqlite::Result<Option<ChainCheckpoint>> {
    connection
        .prepare_cached(&format!("{CHECKPOINTS} WHERE c.chain_id = ?1"))?
        .query_row([signed(chain_id)], checkpoint_row)
        .optional()
}

fn checkpoint_row(row: &Row<'_>) -> rusqlite::Result<ChainCheckpoint> {
    let has_block = row.get_ref(5)? != rusqlite::types::ValueRef::Null;
    let block = has_block.then(|| {
        Ok::<_, rusqlite::Error>(BlockMark {
            number: unsigned(row, 5)?,
            hash: EvmHash::new(fixed(row, 6)?),
            head: unsigned(row, 7)?,
        })
    });
    Ok(ChainCheckpoint {
        chain_id: unsigned(row, 0)?,
        stream: StreamId::new(TenantId::from_bytes(fixed(row, 1)?), StoreId::from_bytes(fixed(row, 2)?)),
        block: block.transpose()?,
        generation: unsigned(row, 3)?,
        updated_at: moment(row, 4)?,
    })
}

fn append_step(
    connection: &mut Connection,
    heard: &Changes,
    advance: &ChainAdvance,
    batch: VerifiedBatch,
    signer: &SequencerSigner,
    now: Timestamp,
) -> Result<u64, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let stored = checkpoint(&transaction, advance.chain_id)?;
    let place =
        stored.map_or((0, None), |stored| (stored.generation, stored.block.map(|b| (b.number, b.hash))));
    if place != advance.expected {
        return Err(StoreError::SourceMoved(advance.chain_id).into());
    }
    let head = head(&transaction, advance.stream)?;
    let count = batch.events.len() as u64;
    if count > 0 {
        append_within(&transaction, heard, batch, signer, now, Source::Chain)?;
    }
    name_stream(&transaction, advance)?;
    move_marks(&transaction, advance, head)?;
    move_checkpoint(&transaction, advance, now)?;
    commit(transaction)?;
    Ok(head + count)
}

fn head(transaction: &Transaction<'_>, stream: StreamId) -> rusqlite::Result<u64> {
    let Some(number) = stream_no(transaction, stream)? else { return Ok(0) };
    transaction
        .prepare_cached("SELECT current_sequence FROM sequence_counters WHERE stream_no = ?1")?
        .query_row([number], |row| unsigned(row, 0))
}

fn name_stream(transaction: &Transaction<'_>, advance: &ChainAdvance) -> rusqlite::Result<()> {
    let Some(number) = stream_no(transaction, advance.stream)? else { return Ok(()) };
    transaction
        .prepare_cached("UPDATE streams SET name = ?2 WHERE stream_no = ?1 AND name IS NOT ?2")?
        .execute((number, chain_stream_name(advance.chain_id)))
        .map(drop)
}

/// `head` is where the stream stood before the step.
fn move_marks(transaction: &Transaction<'_>, advance: &ChainAdvance, head: u64) -> rusqlite::Result<()> {
    let chain_id = signed(advance.chain_id);
    if let Some(above) = advance.forget_above {
        transaction.execute(
            "DELETE FROM chain_blocks WHERE chain_id = ?1 AND number > ?2",
            (chain_id, signed(above)),
        )?;
    }
    let mut insert =
        transaction.prepare_cached("INSERT OR REPLACE INTO chain_blocks VALUES (?1, ?2, ?3, ?4)")?;
    for (number, hash, count) in &advance.marks {
        insert.execute((chain_id, signed(*number), hash.as_bytes(), signed(head + count)))?;
    }
    transaction
        .prepare_cached(
            "DELETE FROM chain_blocks WHERE chain_id = ?1 AND number <=
                 (SELECT number FROM chain_blocks WHERE chain_id = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute((chain_id, MARKS_MAX))
        .map(drop)
}

/// The checkpoint is the highest mark.
fn move_checkpoint(
    transaction: &Transaction<'_>,
    advance: &ChainAdvance,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let stream = advance.stream;
    transaction
        .prepare_cached(
            "INSERT INTO checkpoints
             SELECT ?1, ?2, ?3, b.number, b.hash, ?4, ?5 FROM (SELECT 1) LEFT JOIN
                 (SELECT number, hash FROM chain_blocks WHERE chain_id = ?1 ORDER BY number DESC LIMIT 1) b WHERE true
             ON CONFLICT (chain_id) DO UPDATE SET tenant_id = excluded.tenant_id, store_id = excluded.store_id,
                 last_block_number = excluded.last_block_number, last_block_hash = excluded.last_block_hash,
                 generation = excluded.generation, updated_at = excluded.updated_at",
        )?
        .execute((
            signed(advance.chain_id),
            stream.tenant_id.as_bytes(),
            stream.store_id.as_bytes(),
            signed(advance.generation),
            now.micros(),
        ))
        .map(drop)
}
