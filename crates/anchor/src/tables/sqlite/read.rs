//! What waits, what is under way and what is done.
//! Reads alone: what is found is bounded by the caller's limit, and nothing is changed.

use std::collections::HashMap;

use bowline_types::{BatchId, StreamId, Timestamp};
use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::rows::{Depth, TO_PRESENT, holds, is_pending, send, sends};
use crate::tables::records::{
    AnchorBacklog, AnchorFilter, AnchorRow, AnchorSend, AnchoredEnd, PendingStream,
};
use bowline_store::CommitmentRecord;
use bowline_store::tables::sqlite::Failure;
use bowline_store::tables::sqlite::{
    AFTER_MARKS, COMMITMENT_COLUMNS, COMMITMENT_MARKS, Fixed, commitment, fixed, hash, moment, signed,
    stream_columns, stream_no, unsigned,
};

pub(crate) fn pending_streams(connection: &Connection, limit: usize) -> Result<Vec<PendingStream>, Failure> {
    let sql = format!(
        "SELECT tenant_id, store_id, count, oldest FROM (
             SELECT stream_no, count(*) AS count, min(committed_at) AS oldest FROM ves_commitments
             WHERE {} AND stream_no NOT IN (SELECT stream_no FROM anchor_blocks) GROUP BY stream_no)
         JOIN streams USING (stream_no) ORDER BY oldest, tenant_id, store_id LIMIT ?1",
        is_pending()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map([signed(limit as u64)], |row| {
        Ok(PendingStream {
            stream: stream_columns(row, 0)?,
            count: unsigned(row, 2)?,
            oldest: moment(row, 3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn pending_of(
    connection: &Connection,
    stream: StreamId,
    limit: usize,
) -> Result<Vec<CommitmentRecord>, Failure> {
    let Some(number) = stream_no(connection, stream)? else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments
         WHERE stream_no = ?1 AND {} ORDER BY chain_position LIMIT ?2",
        is_pending()
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map((number, signed(limit as u64)), |row| commitment(row, stream))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A commitment waits as long as the longest one before it in its chain: a clock that went back changes no order.
pub(crate) fn pending(
    connection: &mut Connection,
    limit: usize,
) -> Result<(Vec<CommitmentRecord>, u64), Failure> {
    let transaction = connection.transaction()?;
    let is_pending = is_pending();
    let sql = format!("SELECT count(*) FROM ves_commitments WHERE {is_pending}");
    let count = transaction.prepare_cached(&sql)?.query_row((), |row| unsigned(row, 0))?;
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS}, tenant_id, store_id
         FROM (SELECT batch_id AS first_id, chain_position AS first_position,
                      max(committed_at) OVER (PARTITION BY stream_no ORDER BY chain_position) AS waits
               FROM ves_commitments WHERE {is_pending}
               ORDER BY waits, stream_no, chain_position LIMIT ?1)
         CROSS JOIN ves_commitments ON batch_id = first_id
         CROSS JOIN streams USING (stream_no) ORDER BY waits, stream_no, first_position"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let rows = statement.query_map([signed(limit as u64)], |row| {
        let stream = stream_columns(row, AFTER_MARKS)?;
        commitment(row, stream)
    })?;
    Ok((rows.collect::<Result<_, _>>()?, count))
}

/// Positions have no gaps, so the last ones say how many commitments there are; those without a mark are few.
pub(crate) fn backlog(connection: &Connection) -> Result<AnchorBacklog, Failure> {
    let sql = format!(
        "SELECT (SELECT coalesce(sum(length), 0) FROM (
                     SELECT (SELECT max(chain_position) FROM ves_commitments c WHERE c.stream_no = streams.stream_no)
                         AS length FROM streams)),
                unmarked, pending,
                (SELECT count(*) FROM anchor_sends s CROSS JOIN anchors a USING (send_id)
                 WHERE s.state IN ('open', 'mined') AND a.void = 0 AND {TO_PRESENT}),
                oldest
         FROM (SELECT count(*) AS unmarked, count(*) FILTER (WHERE {}) AS pending, min(committed_at) AS oldest
               FROM ves_commitments WHERE anchored_at IS NULL)",
        is_pending()
    );
    let backlog = |row: &Row<'_>| {
        Ok(AnchorBacklog {
            pending: unsigned(row, 2)?,
            under_way: unsigned(row, 3)?,
            anchored: unsigned(row, 0)?.saturating_sub(unsigned(row, 1)?),
            oldest: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_micros),
        })
    };
    Ok(connection.prepare_cached(&sql)?.query_row((), backlog)?)
}

pub(crate) fn live_sends(connection: &mut Connection) -> Result<Vec<AnchorSend>, Failure> {
    let transaction = connection.transaction()?;
    let sql = format!(
        "SELECT send_id FROM anchor_sends a WHERE state IN ('open', 'mined') AND {TO_PRESENT}
         ORDER BY nonce NULLS FIRST, created_at, send_id"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let ids = statement.query_map((), |row| row.get::<_, Fixed<16>>(0))?;
    sends(&transaction, ids)
}

pub(crate) fn sends_of(connection: &mut Connection, batch_id: BatchId) -> Result<Vec<AnchorSend>, Failure> {
    let transaction = connection.transaction()?;
    let mut statement = transaction.prepare_cached(
        "SELECT send_id FROM anchors JOIN anchor_sends USING (send_id) WHERE batch_id = ?1
         ORDER BY created_at, anchor_sends.rowid",
    )?;
    let ids = statement.query_map([batch_id.as_bytes()], |row| row.get::<_, Fixed<16>>(0))?;
    sends(&transaction, ids)
}

pub(crate) fn anchored_ends(
    connection: &Connection,
    after: Option<StreamId>,
    limit: usize,
) -> Result<Vec<AnchoredEnd>, Failure> {
    let sql = format!(
        "SELECT tenant_id, store_id, chain_position, batch_id, new_state_root FROM (
             SELECT tenant_id, store_id,
                    (SELECT batch_id FROM ves_commitments
                     WHERE stream_no = streams.stream_no AND anchored_at IS NOT NULL AND EXISTS (
                         SELECT 1 FROM anchors a
                         WHERE {TO_PRESENT} AND a.batch_id = ves_commitments.batch_id AND a.void = 0)
                     ORDER BY chain_position DESC LIMIT 1) AS last_id
             FROM streams WHERE (tenant_id, store_id) > (?1, ?2) OR ?3)
         JOIN ves_commitments ON batch_id = last_id ORDER BY tenant_id, store_id LIMIT ?4"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let (tenant, store) = after
        .map_or(([0; 16], [0; 16]), |stream| (*stream.tenant_id.as_bytes(), *stream.store_id.as_bytes()));
    let rows = statement.query_map((tenant, store, after.is_none(), signed(limit as u64)), |row| {
        Ok(AnchoredEnd {
            stream: stream_columns(row, 0)?,
            position: unsigned(row, 2)?,
            batch_id: BatchId::from_bytes(fixed(row, 3)?),
            state_root: hash(row, 4)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn anchor_rows(
    connection: &mut Connection,
    filter: AnchorFilter,
) -> Result<Vec<AnchorRow>, Failure> {
    let transaction = connection.transaction()?;
    let Some(number) = stream_no(&transaction, filter.stream)? else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS},
                (SELECT s.send_id FROM anchors a JOIN anchor_sends s USING (send_id)
                 WHERE a.batch_id = ves_commitments.batch_id AND {} LIMIT 1)
         FROM ves_commitments WHERE stream_no = ?1 AND chain_position > ?2 ORDER BY chain_position LIMIT ?3",
        holds()
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let page = (number, signed(filter.after), signed(filter.limit as u64));
    let found = statement.query_map(page, |row| {
        let held_by = row.get::<_, Option<Fixed<16>>>(AFTER_MARKS)?.map(|id| Uuid::from_bytes(id.0));
        Ok((commitment(row, filter.stream)?, held_by))
    })?;
    let mut known: HashMap<Uuid, (Option<AnchorSend>, u64)> = HashMap::new();
    let mut rows = Vec::new();
    for row in found {
        let (commitment, held_by) = row?;
        let (send, shared_by) = match held_by {
            None => (None, 0),
            Some(id) => match known.get(&id) {
                Some(known) => known.clone(),
                None => {
                    let read = (send(&transaction, id, Depth::Outline)?, shared_by(&transaction, id)?);
                    known.insert(id, read.clone());
                    read
                }
            },
        };
        rows.push(AnchorRow { commitment, send, shared_by });
    }
    Ok(rows)
}

/// How many commitments the send's transaction carries: reports of one transaction are sends of their own.
fn shared_by(connection: &Connection, send_id: Uuid) -> Result<u64, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT count(DISTINCT batch_id) FROM anchors WHERE send_id = ?1 OR send_id IN (
             SELECT other.send_id FROM anchor_sends s JOIN anchor_sends other
             ON other.tx_hash = s.tx_hash AND other.chain_id = s.chain_id WHERE s.send_id = ?1)",
    )?;
    Ok(statement.query_row([send_id.as_bytes()], |row| unsigned(row, 0))?)
}
