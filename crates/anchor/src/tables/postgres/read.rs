//! What waits, what is under way and what is done.
//!
//! Young tables all look alike to the planner, so where a row is to be found by its key, the statement leaves no
//! other way: a lateral join with a limit.

use std::collections::HashMap;

use bowline_types::{BatchId, StreamId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use uuid::Uuid;

use super::rows::{Depth, TO_PRESENT, holds, is_anchored, is_pending, select_sends, send};
use crate::tables::records::{
    AnchorBacklog, AnchorFilter, AnchorRow, AnchorSend, AnchoredEnd, PendingStream,
};
use bowline_store::CommitmentRecord;
use bowline_store::tables::postgres::{
    COMMITMENT_COLUMNS, COMMITMENT_MARKS, commitment, hash, moment, signed, stream, unsigned,
};

pub(crate) async fn pending_streams(pool: &PgPool, limit: usize) -> sqlx::Result<Vec<PendingStream>> {
    let sql = format!(
        "SELECT tenant_id, store_id, count(*) AS count, min(committed_at) AS oldest FROM ves_commitments
         WHERE {} AND NOT EXISTS (SELECT 1 FROM anchor_blocks b
             WHERE b.tenant_id = ves_commitments.tenant_id AND b.store_id = ves_commitments.store_id)
         GROUP BY tenant_id, store_id ORDER BY oldest, tenant_id, store_id LIMIT $1",
        is_pending()
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(signed(limit as u64)).fetch_all(pool).await?;
    let pending = |row: &PgRow| {
        Ok(PendingStream {
            stream: stream(row)?,
            count: unsigned(row, "count")?,
            oldest: moment(row, "oldest")?,
        })
    };
    rows.iter().map(pending).collect()
}

pub(crate) async fn pending_of(
    pool: &PgPool,
    of: StreamId,
    limit: usize,
) -> sqlx::Result<Vec<CommitmentRecord>> {
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments
         WHERE tenant_id = $1 AND store_id = $2 AND {} ORDER BY chain_position LIMIT $3",
        is_pending()
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(of.tenant_id.uuid())
        .bind(of.store_id.uuid())
        .bind(signed(limit as u64))
        .fetch_all(pool)
        .await?;
    rows.iter().map(commitment).collect()
}

/// A commitment waits as long as the longest one before it in its chain: a clock that went back changes no order.
pub(crate) async fn pending(
    connection: &mut PgConnection,
    limit: usize,
) -> sqlx::Result<(Vec<CommitmentRecord>, u64)> {
    let is_pending = is_pending();
    let sql = format!("SELECT count(*) AS count FROM ves_commitments WHERE {is_pending}");
    let count = unsigned(&sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *connection).await?, "count")?;
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS}
         FROM (SELECT batch_id AS first_id, max(committed_at) OVER (
                          PARTITION BY tenant_id, store_id ORDER BY chain_position) AS waits
               FROM ves_commitments WHERE {is_pending}
               ORDER BY waits, tenant_id, store_id, chain_position LIMIT $1) first,
         LATERAL (SELECT * FROM ves_commitments c WHERE c.batch_id = first_id LIMIT 1) ves_commitments
         ORDER BY waits, tenant_id, store_id, chain_position"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(signed(limit as u64)).fetch_all(connection).await?;
    Ok((rows.iter().map(commitment).collect::<sqlx::Result<_>>()?, count))
}

/// Positions have no gaps, so the last ones say how many commitments there are; those without a mark are few.
pub(crate) async fn backlog(pool: &PgPool) -> sqlx::Result<AnchorBacklog> {
    let sql = format!(
        "SELECT (SELECT coalesce(sum(last.chain_position), 0)::bigint FROM streams s, LATERAL (
                     SELECT c.chain_position FROM ves_commitments c
                     WHERE c.tenant_id = s.tenant_id AND c.store_id = s.store_id
                     ORDER BY c.chain_position DESC LIMIT 1) last) AS made,
                (SELECT count(*) FROM anchor_sends s JOIN anchors a USING (send_id)
                 WHERE s.state IN ('open', 'mined') AND NOT a.void AND {TO_PRESENT}) AS under_way, left_over.*
         FROM (SELECT count(*) AS unmarked, count(*) FILTER (WHERE {}) AS pending, min(committed_at) AS oldest
               FROM ves_commitments WHERE anchored_at IS NULL) left_over",
        is_pending()
    );
    let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(pool).await?;
    Ok(AnchorBacklog {
        pending: unsigned(&row, "pending")?,
        under_way: unsigned(&row, "under_way")?,
        anchored: unsigned(&row, "made")?.saturating_sub(unsigned(&row, "unmarked")?),
        oldest: row.try_get::<Option<_>, _>("oldest")?.map(Timestamp::from_chrono),
    })
}

pub(crate) async fn live_sends(pool: &PgPool) -> sqlx::Result<Vec<AnchorSend>> {
    let to_present = TO_PRESENT.replace("a.", "s.");
    let rest = format!(
        "WHERE s.state IN ('open', 'mined') AND {to_present} ORDER BY s.nonce NULLS FIRST, s.created_at, s.send_id"
    );
    let sql = select_sends(Depth::Whole, &rest);
    sqlx::query(AssertSqlSafe(sql)).fetch_all(pool).await?.iter().map(send).collect()
}

pub(crate) async fn sends_of(pool: &PgPool, batch_id: BatchId) -> sqlx::Result<Vec<AnchorSend>> {
    let rest = "WHERE s.send_id IN (SELECT a.send_id FROM anchors a WHERE a.batch_id = $1)
                ORDER BY s.created_at, s.settled_at NULLS LAST, s.send_id";
    let sql = select_sends(Depth::Whole, rest);
    sqlx::query(AssertSqlSafe(sql)).bind(batch_id.uuid()).fetch_all(pool).await?.iter().map(send).collect()
}

pub(crate) async fn anchored_ends(
    pool: &PgPool,
    after: Option<StreamId>,
    limit: usize,
) -> sqlx::Result<Vec<AnchoredEnd>> {
    let sql = format!(
        "SELECT last.* FROM streams s, LATERAL (
             SELECT tenant_id, store_id, chain_position, batch_id, new_state_root FROM ves_commitments
             WHERE tenant_id = s.tenant_id AND store_id = s.store_id AND {}
             ORDER BY chain_position DESC LIMIT 1) last
         WHERE $1::uuid IS NULL OR (s.tenant_id, s.store_id) > ($1, $2)
         ORDER BY s.tenant_id, s.store_id LIMIT $3",
        is_anchored()
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(after.map(|stream| stream.tenant_id.uuid()))
        .bind(after.map(|stream| stream.store_id.uuid()))
        .bind(signed(limit as u64))
        .fetch_all(pool)
        .await?;
    let end = |row: &PgRow| {
        Ok(AnchoredEnd {
            stream: stream(row)?,
            position: unsigned(row, "chain_position")?,
            batch_id: BatchId::new(row.try_get("batch_id")?),
            state_root: hash(row, "new_state_root")?,
        })
    };
    rows.iter().map(end).collect()
}

pub(crate) async fn anchor_rows(
    connection: &mut PgConnection,
    filter: AnchorFilter,
) -> sqlx::Result<Vec<AnchorRow>> {
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS},
                (SELECT s.send_id FROM anchors a JOIN anchor_sends s USING (send_id)
                 WHERE a.batch_id = ves_commitments.batch_id AND {} LIMIT 1) AS held_by
         FROM ves_commitments WHERE tenant_id = $1 AND store_id = $2 AND chain_position > $3
         ORDER BY chain_position LIMIT $4",
        holds()
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(filter.stream.tenant_id.uuid())
        .bind(filter.stream.store_id.uuid())
        .bind(signed(filter.after))
        .bind(signed(filter.limit as u64))
        .fetch_all(&mut *connection)
        .await?;
    let held_by: Vec<Option<Uuid>> =
        rows.iter().map(|row| row.try_get("held_by")).collect::<sqlx::Result<_>>()?;
    let sends = outlines(connection, held_by.iter().flatten().copied().collect()).await?;
    let row = |(row, held_by): (&PgRow, Option<Uuid>)| {
        let held = held_by.and_then(|id| sends.get(&id));
        Ok(AnchorRow {
            commitment: commitment(row)?,
            send: held.map(|(send, _)| send.clone()),
            shared_by: held.map_or(0, |(_, shared_by)| *shared_by),
        })
    };
    rows.iter().zip(held_by).map(row).collect()
}

/// Sends by their ids, each with how many commitments its transaction carries: reports of one transaction are sends
/// of their own.
async fn outlines(
    connection: &mut PgConnection,
    ids: Vec<Uuid>,
) -> sqlx::Result<HashMap<Uuid, (AnchorSend, u64)>> {
    let rest = ", LATERAL (
             SELECT count(DISTINCT a.batch_id) AS shared_by FROM anchors a
             WHERE a.send_id = s.send_id OR a.send_id IN (
                 SELECT o.send_id FROM anchor_sends o WHERE o.tx_hash = s.tx_hash AND o.chain_id = s.chain_id)) shared
         WHERE s.send_id = ANY($1)";
    let sql = select_sends(Depth::Outline, rest).replacen("SELECT ", "SELECT shared.shared_by, ", 1);
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await?;
    let outline = |row: &PgRow| {
        let send = send(row)?;
        Ok((send.send_id, (send, unsigned(row, "shared_by")?)))
    };
    rows.iter().map(outline).collect()
}
