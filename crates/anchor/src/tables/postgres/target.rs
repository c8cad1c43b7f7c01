//! The contract that anchors go to, and the streams that it refuses.
//! Whether an address is the right one is not known here, only which one was chosen.

use bowline_types::{BatchId, StreamId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgExecutor, Row};

use super::rows::{NO_MARK, address};
use crate::tables::outbox::{OTHER_TARGET, chain_column, no_stream};
use crate::tables::records::{AnchorBlock, AnchorTarget};
use bowline_store::StoreError;
use bowline_store::tables::postgres::refuse;
use bowline_store::tables::postgres::{moment, signed, stream, unsigned};

/// The one that was chosen last.
pub(crate) async fn present(executor: impl PgExecutor<'_>) -> sqlx::Result<Option<AnchorTarget>> {
    let row = sqlx::query("SELECT chain_id, contract FROM anchor_targets ORDER BY turn DESC LIMIT 1")
        .fetch_optional(executor)
        .await?;
    let target = |row: PgRow| {
        Ok(AnchorTarget { chain_id: unsigned(&row, "chain_id")?, contract: address(&row, "contract")? })
    };
    row.map(target).transpose()
}

/// Chooses it; returns whether another one was chosen before.
pub(crate) async fn choose(
    connection: &mut PgConnection,
    target: AnchorTarget,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let before = present(&mut *connection).await.map_err(|e| refuse(&e))?;
    if before == Some(target) {
        return Ok(false);
    }
    chain_column(target.chain_id)?;
    enter(connection, target, before, now).await.map_err(|e| refuse(&e))?;
    Ok(before.is_some())
}

async fn enter(
    connection: &mut PgConnection,
    target: AnchorTarget,
    before: Option<AnchorTarget>,
    now: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO anchor_targets (chain_id, contract, turn, chosen_at)
         SELECT $1, $2, coalesce(max(turn), 0) + 1, $3 FROM anchor_targets
         ON CONFLICT (chain_id, contract) DO UPDATE SET turn = excluded.turn, chosen_at = excluded.chosen_at",
    )
    .bind(signed(target.chain_id))
    .bind(&target.contract.as_bytes()[..])
    .bind(now.to_chrono())
    .execute(&mut *connection)
    .await?;
    // It writes every commitment that has a mark, once in a contract's life. Before the first one was chosen there
    // may be marks of anchors that somebody else made and reported.
    sqlx::raw_sql("SET LOCAL statement_timeout = 0").execute(&mut *connection).await?;
    leave(connection, before.unwrap_or(target), now).await?;
    arrive(connection, target).await
}

/// Voids what is under way to the old target, and takes every mark away.
async fn leave(connection: &mut PgConnection, old: AnchorTarget, now: Timestamp) -> sqlx::Result<()> {
    sqlx::query(
        "WITH voided AS (
             UPDATE anchor_sends SET state = 'void', reason = $3, settled_at = $4
             WHERE state IN ('open', 'mined') AND chain_id = $1 AND contract = $2 RETURNING send_id)
         UPDATE anchors SET void = true WHERE NOT void AND send_id IN (SELECT send_id FROM voided)",
    )
    .bind(signed(old.chain_id))
    .bind(&old.contract.as_bytes()[..])
    .bind(OTHER_TARGET)
    .bind(now.to_chrono())
    .execute(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM anchor_blocks").execute(&mut *connection).await?;
    let unmark = format!("UPDATE ves_commitments SET {NO_MARK} WHERE anchored_at IS NOT NULL");
    sqlx::query(AssertSqlSafe(unmark)).execute(connection).await.map(drop)
}

/// Marks what is anchored on the new target.
async fn arrive(connection: &mut PgConnection, new: AnchorTarget) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE ves_commitments SET chain_id = s.chain_id, chain_tx_hash = s.tx_hash,
             chain_block_number = s.block_number, anchored_at = s.settled_at
         FROM anchors a JOIN anchor_sends s USING (send_id)
         WHERE a.batch_id = ves_commitments.batch_id AND a.chain_id = $1 AND a.contract = $2 AND NOT a.void
           AND s.state = 'anchored'",
    )
    .bind(signed(new.chain_id))
    .bind(&new.contract.as_bytes()[..])
    .execute(connection)
    .await
    .map(drop)
}

pub(crate) async fn block(connection: &mut PgConnection, block: &AnchorBlock) -> Result<(), StoreError> {
    let row = sqlx::query(
        "WITH known AS (SELECT tenant_id, store_id FROM streams WHERE tenant_id = $1 AND store_id = $2),
              blocked AS (INSERT INTO anchor_blocks SELECT tenant_id, store_id, $3, $4, $5, $6 FROM known
                          ON CONFLICT DO NOTHING)
         SELECT 1 FROM known",
    )
    .bind(block.stream.tenant_id.uuid())
    .bind(block.stream.store_id.uuid())
    .bind(block.batch_id.uuid())
    .bind(&block.code)
    .bind(&block.message)
    .bind(block.since.to_chrono())
    .fetch_optional(connection)
    .await
    .map_err(|e| refuse(&e))?;
    row.map(drop).ok_or_else(|| no_stream(block))
}

/// Returns how many there were.
pub(crate) async fn unblock(connection: &mut PgConnection, of: Option<StreamId>) -> sqlx::Result<u64> {
    let removed =
        sqlx::query("DELETE FROM anchor_blocks WHERE $1::uuid IS NULL OR (tenant_id = $1 AND store_id = $2)")
            .bind(of.map(|stream| stream.tenant_id.uuid()))
            .bind(of.map(|stream| stream.store_id.uuid()))
            .execute(connection)
            .await?;
    Ok(removed.rows_affected())
}

pub(crate) async fn blocks(executor: impl PgExecutor<'_>, limit: usize) -> sqlx::Result<Vec<AnchorBlock>> {
    let rows = sqlx::query("SELECT * FROM anchor_blocks ORDER BY since, tenant_id, store_id LIMIT $1")
        .bind(signed(limit as u64))
        .fetch_all(executor)
        .await?;
    let block = |row: &PgRow| {
        Ok(AnchorBlock {
            stream: stream(row)?,
            batch_id: BatchId::new(row.try_get("batch_id")?),
            code: row.try_get("code")?,
            message: row.try_get("message")?,
            since: moment(row, "since")?,
        })
    };
    rows.iter().map(block).collect()
}
