//! Sends: recorded, changed, reported, and the marks that follow from them.
//! Whether a change fits is decided by `outbox`, for both stores alike; nothing here asks a chain.

use bowline_types::{BatchId, EvmAddress, EvmHash, StreamId, Timestamp};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use uuid::Uuid;

use super::rows::{NO_MARK, TO_PRESENT, holds, word};
use super::target::present;
use crate::tables::outbox::{
    Reportable, answer, applies, chain_column, check_new, no_send, reported_send, unfit,
};
use crate::tables::records::{
    AnchorSend, AnchorTransaction, MinedAt, ReportOutcome, ReportedAnchor, SendChange, SendState,
};
use bowline_store::tables::postgres::refuse;
use bowline_store::tables::postgres::{COMMITMENT_COLUMNS, COMMITMENT_MARKS, commitment, evm_hash, signed};
use bowline_store::{AnchorMark, StoreError};

pub(crate) async fn record(connection: &mut PgConnection, send: &AnchorSend) -> Result<(), StoreError> {
    check_new(send, present(&mut *connection).await.map_err(|e| refuse(&e))?)?;
    let fit = lock_unmarked(connection, &send.batch_ids).await.map_err(|e| refuse(&e))?;
    if fit != send.batch_ids.len() as u64 {
        return Err(unfit(send, fit));
    }
    write(connection, send).await.map_err(|e| refuse(&e))
}

/// Locks those of the commitments that carry no mark; returns how many they are. Whoever reports an anchor waits.
async fn lock_unmarked(connection: &mut PgConnection, batch_ids: &[BatchId]) -> sqlx::Result<u64> {
    let rows = sqlx::query(
        "SELECT 1 FROM ves_commitments WHERE batch_id = ANY($1) AND anchored_at IS NULL
         ORDER BY batch_id FOR NO KEY UPDATE",
    )
    .bind(batch_ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    Ok(rows.len() as u64)
}

async fn write(connection: &mut PgConnection, send: &AnchorSend) -> sqlx::Result<()> {
    insert(connection, send).await?;
    for new in &send.transactions {
        sign(connection, send.send_id, new).await?;
    }
    sqlx::query(
        "INSERT INTO anchors SELECT $1, id, $3, $4, ordinal - 1, false
         FROM UNNEST($2::uuid[]) WITH ORDINALITY AS held (id, ordinal)",
    )
    .bind(send.send_id)
    .bind(send.batch_ids.iter().map(|id| id.uuid()).collect::<Vec<_>>())
    .bind(signed(send.target.chain_id))
    .bind(&send.target.contract.as_bytes()[..])
    .execute(connection)
    .await
    .map(drop)
}

async fn insert(connection: &mut PgConnection, send: &AnchorSend) -> sqlx::Result<()> {
    let mined = Mined::of(send.mined);
    sqlx::query(
        "INSERT INTO anchor_sends VALUES (
             $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(send.send_id)
    .bind(signed(send.target.chain_id))
    .bind(&send.target.contract.as_bytes()[..])
    .bind(send.origin.as_str())
    .bind(&send.sender.as_bytes()[..])
    .bind(send.nonce.map(signed))
    .bind(&send.call)
    .bind(signed(send.gas_limit))
    .bind(send.state.as_str())
    .bind(send.created_at.to_chrono())
    .bind(mined.tx_hash)
    .bind(mined.block_number)
    .bind(mined.block_hash)
    .bind(mined.gas_used)
    .bind(mined.gas_price)
    .bind(send.settled_at.map(Timestamp::to_chrono))
    .bind(&send.reason)
    .execute(connection)
    .await
    .map(drop)
}

/// Where a send was mined, as the columns have it.
struct Mined {
    tx_hash: Option<Vec<u8>>,
    block_number: Option<i64>,
    block_hash: Option<Vec<u8>>,
    gas_used: Option<i64>,
    gas_price: Option<String>,
}

impl Mined {
    fn of(at: Option<MinedAt>) -> Self {
        let bytes = |hash: EvmHash| hash.as_bytes().to_vec();
        Self {
            tx_hash: at.and_then(|at| at.tx_hash).map(bytes),
            block_number: at.map(|at| signed(at.block_number)),
            block_hash: at.and_then(|at| at.block_hash).map(bytes),
            gas_used: at.and_then(|at| at.gas_used).map(signed),
            gas_price: at.and_then(|at| at.gas_price).map(|price| price.to_string()),
        }
    }
}

async fn sign(connection: &mut PgConnection, send_id: Uuid, new: &AnchorTransaction) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO anchor_transactions
         SELECT $1, $2, count(*), $3, $4, $5, $6 FROM anchor_transactions WHERE send_id = $2",
    )
    .bind(&new.tx_hash.as_bytes()[..])
    .bind(send_id)
    .bind(&new.raw)
    .bind(new.fee_max.to_string())
    .bind(new.tip.to_string())
    .bind(new.recorded_at.to_chrono())
    .execute(connection)
    .await
    .map(drop)
}

pub(crate) async fn change(
    connection: &mut PgConnection,
    send_id: Uuid,
    change: &SendChange,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT state FROM anchor_sends WHERE send_id = $1 FOR NO KEY UPDATE")
        .bind(send_id)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|e| refuse(&e))?
        .ok_or_else(|| no_send(send_id))?;
    let state = word(&row, "state", SendState::parse).map_err(|e| refuse(&e))?;
    if !applies(send_id, state, change)? {
        return Ok(());
    }
    let changed = match change {
        SendChange::Replaced(new) => sign(connection, send_id, new).await,
        SendChange::Mined(at) => set_mined(connection, send_id, SendState::Mined, Some(*at)).await,
        SendChange::Reopened => set_mined(connection, send_id, SendState::Open, None).await,
        SendChange::Anchored => settle(connection, send_id, now).await,
        SendChange::Void(reason) => void(connection, send_id, reason, now).await,
    };
    changed.map_err(|e| refuse(&e))
}

async fn set_mined(
    connection: &mut PgConnection,
    send_id: Uuid,
    state: SendState,
    mined: Option<MinedAt>,
) -> sqlx::Result<()> {
    let mined = Mined::of(mined);
    sqlx::query(
        "UPDATE anchor_sends SET state = $2, tx_hash = $3, block_number = $4, block_hash = $5, gas_used = $6,
             gas_price = $7
         WHERE send_id = $1",
    )
    .bind(send_id)
    .bind(state.as_str())
    .bind(mined.tx_hash)
    .bind(mined.block_number)
    .bind(mined.block_hash)
    .bind(mined.gas_used)
    .bind(mined.gas_price)
    .execute(connection)
    .await
    .map(drop)
}

/// Marks its commitments, and drops what nobody will send again.
async fn settle(connection: &mut PgConnection, send_id: Uuid, now: Timestamp) -> sqlx::Result<()> {
    sqlx::query("UPDATE anchor_sends SET state = 'anchored', settled_at = $2, call = '' WHERE send_id = $1")
        .bind(send_id)
        .bind(now.to_chrono())
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM anchor_transactions WHERE send_id = $1")
        .bind(send_id)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE ves_commitments SET chain_id = s.chain_id, chain_tx_hash = s.tx_hash,
             chain_block_number = s.block_number, anchored_at = s.settled_at
         FROM anchor_sends s
         WHERE s.send_id = $1
           AND ves_commitments.batch_id IN (SELECT batch_id FROM anchors WHERE send_id = $1 AND NOT void)",
    )
    .bind(send_id)
    .execute(connection)
    .await
    .map(drop)
}

async fn void(
    connection: &mut PgConnection,
    send_id: Uuid,
    reason: &str,
    now: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query("UPDATE anchor_sends SET state = 'void', settled_at = $2, reason = $3 WHERE send_id = $1")
        .bind(send_id)
        .bind(now.to_chrono())
        .bind(reason)
        .execute(&mut *connection)
        .await?;
    // What it was stays to be seen; nobody sends its bytes again.
    for sql in [
        "UPDATE anchors SET void = true WHERE send_id = $1",
        "UPDATE anchor_sends SET call = '' WHERE send_id = $1",
        "UPDATE anchor_transactions SET raw = '' WHERE send_id = $1",
    ] {
        sqlx::query(sql).bind(send_id).execute(&mut *connection).await?;
    }
    Ok(())
}

/// What a chain has lost of a stream.
pub(crate) struct Lost<'a> {
    pub(crate) stream: StreamId,
    /// Everything behind this position.
    pub(crate) after: u64,
    pub(crate) reason: &'a str,
}

/// Takes marks away, and with them the rows that gave them.
pub(crate) async fn unmark(
    connection: &mut PgConnection,
    lost: &Lost<'_>,
    now: Timestamp,
) -> sqlx::Result<u64> {
    let marked = "tenant_id = $1 AND store_id = $2 AND chain_position > $3 AND anchored_at IS NOT NULL";
    let (tenant, store) = (lost.stream.tenant_id.uuid(), lost.stream.store_id.uuid());
    let after = signed(lost.after);
    let free = format!(
        "UPDATE anchors SET void = true WHERE (send_id, batch_id) IN (
             SELECT a.send_id, a.batch_id FROM ves_commitments JOIN anchors a USING (batch_id)
             JOIN anchor_sends s USING (send_id) WHERE {marked} AND {})",
        holds()
    );
    let free = sqlx::query(AssertSqlSafe(free)).bind(tenant).bind(store).bind(after);
    free.execute(&mut *connection).await?;
    let void = format!(
        "UPDATE anchor_sends SET state = 'void', reason = $4, settled_at = $5
         WHERE state = 'anchored' AND send_id IN (
             SELECT a.send_id FROM ves_commitments JOIN anchors a USING (batch_id) WHERE {marked} AND a.void)
         AND NOT EXISTS (SELECT 1 FROM anchors a WHERE a.send_id = anchor_sends.send_id AND NOT a.void)"
    );
    let void = sqlx::query(AssertSqlSafe(void)).bind(tenant).bind(store).bind(after);
    void.bind(lost.reason).bind(now.to_chrono()).execute(&mut *connection).await?;
    let unmark = format!("UPDATE ves_commitments SET {NO_MARK} WHERE {marked}");
    let unmark = sqlx::query(AssertSqlSafe(unmark)).bind(tenant).bind(store).bind(after);
    Ok(unmark.execute(connection).await?.rows_affected())
}

pub(crate) async fn report(
    connection: &mut PgConnection,
    report: &ReportedAnchor,
    now: Timestamp,
) -> Result<ReportOutcome, StoreError> {
    chain_column(report.chain_id)?;
    let Some(mark) = lock_mark(connection, report.batch_id).await.map_err(|e| refuse(&e))? else {
        return Ok(ReportOutcome::NoCommitment);
    };
    let known = reportable(connection, report, mark).await.map_err(|e| refuse(&e))?;
    if let Some(outcome) = answer(&known, report) {
        return Ok(outcome);
    }
    let is_new = known.earlier.is_none();
    write_report(connection, report, is_new, now).await.map_err(|e| refuse(&e))?;
    Ok(ReportOutcome::Recorded)
}

/// Locks a commitment and reads its mark; none if it is not there. The anchoring process waits.
async fn lock_mark(
    connection: &mut PgConnection,
    batch_id: BatchId,
) -> sqlx::Result<Option<Option<AnchorMark>>> {
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments WHERE batch_id = $1
         FOR NO KEY UPDATE"
    );
    let row = sqlx::query(AssertSqlSafe(sql)).bind(batch_id.uuid()).fetch_optional(connection).await?;
    row.map(|row| Ok(commitment(&row)?.anchor)).transpose()
}

async fn reportable(
    connection: &mut PgConnection,
    report: &ReportedAnchor,
    mark: Option<AnchorMark>,
) -> sqlx::Result<Reportable> {
    let held = format!(
        "SELECT EXISTS (SELECT 1 FROM anchors a WHERE a.batch_id = $1 AND NOT a.void AND {TO_PRESENT}) AS held"
    );
    let held =
        sqlx::query(AssertSqlSafe(held)).bind(report.batch_id.uuid()).fetch_one(&mut *connection).await?;
    let earlier = sqlx::query(
        "SELECT s.tx_hash FROM anchors a JOIN anchor_sends s USING (send_id)
         WHERE a.chain_id = $1 AND a.contract = $2 AND a.batch_id = $3 AND NOT a.void",
    )
    .bind(signed(report.chain_id))
    .bind(&EvmAddress::default().as_bytes()[..])
    .bind(report.batch_id.uuid())
    .fetch_optional(connection)
    .await?;
    Ok(Reportable {
        mark,
        // Without a target nothing is held.
        is_held: held.try_get("held")?,
        earlier: earlier.map(|row| evm_hash(&row, "tx_hash")).transpose()?,
    })
}

async fn write_report(
    connection: &mut PgConnection,
    report: &ReportedAnchor,
    is_new: bool,
    now: Timestamp,
) -> sqlx::Result<()> {
    if is_new {
        let send = reported_send(report, now);
        write(connection, &send).await?;
        sqlx::query(
            "UPDATE anchor_sends SET tx_hash = $2, block_number = $3, gas_used = $4 WHERE send_id = $1",
        )
        .bind(send.send_id)
        .bind(&report.tx_hash.as_bytes()[..])
        .bind(report.block_number.map(signed))
        .bind(report.gas_used.map(signed))
        .execute(&mut *connection)
        .await?;
    }
    sqlx::query(
        "UPDATE ves_commitments SET chain_id = $2, chain_tx_hash = $3, chain_block_number = $4, anchored_at = $5
         WHERE batch_id = $1",
    )
    .bind(report.batch_id.uuid())
    .bind(signed(report.chain_id))
    .bind(&report.tx_hash.as_bytes()[..])
    .bind(report.block_number.map(signed))
    .bind(now.to_chrono())
    .execute(connection)
    .await
    .map(drop)
}
