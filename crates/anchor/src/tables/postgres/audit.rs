//! Where marks and sends tell different things.

use bowline_types::{BatchId, StreamId};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::rows::{TO_PRESENT, holds};
use crate::tables::records::AnchorBreak;
use bowline_store::tables::postgres::{signed, stream, unsigned};

/// Marks that no anchored send gave, and anchored sends whose commitments carry no mark.
pub(crate) async fn breaks(
    connection: &mut PgConnection,
    of: Option<StreamId>,
    limit: usize,
) -> sqlx::Result<Vec<AnchorBreak>> {
    let of_stream =
        "($1::uuid IS NULL OR (ves_commitments.tenant_id = $1 AND ves_commitments.store_id = $2))";
    let what = "ves_commitments.tenant_id, ves_commitments.store_id, ves_commitments.sequence_start";
    let marked = format!(
        "SELECT {what}, ves_commitments.batch_id FROM ves_commitments
         WHERE anchored_at IS NOT NULL AND {of_stream} AND NOT EXISTS (
             SELECT 1 FROM anchors a JOIN anchor_sends s USING (send_id)
             WHERE a.batch_id = ves_commitments.batch_id AND {} AND s.state = 'anchored'
               AND s.chain_id = ves_commitments.chain_id
               AND s.tx_hash IS NOT DISTINCT FROM ves_commitments.chain_tx_hash) LIMIT $3",
        holds()
    );
    let unmarked = format!(
        "SELECT {what}, a.batch_id FROM anchors a JOIN anchor_sends s USING (send_id)
         LEFT JOIN ves_commitments ON ves_commitments.batch_id = a.batch_id
         WHERE NOT a.void AND s.state = 'anchored' AND {TO_PRESENT} AND ves_commitments.anchored_at IS NULL
           AND {of_stream} LIMIT $3"
    );
    let mut breaks = Vec::new();
    for (sql, is_marked) in [(marked, true), (unmarked, false)] {
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(of.map(|stream| stream.tenant_id.uuid()))
            .bind(of.map(|stream| stream.store_id.uuid()))
            .bind(signed(limit as u64))
            .fetch_all(&mut *connection)
            .await?;
        for row in &rows {
            breaks.push(anchor_break(row, is_marked)?);
        }
    }
    Ok(breaks)
}

fn anchor_break(row: &PgRow, is_marked: bool) -> sqlx::Result<AnchorBreak> {
    let is_there = row.try_get::<Option<i64>, _>("sequence_start")?.is_some();
    let place = is_there.then(|| Ok::<_, sqlx::Error>((stream(row)?, unsigned(row, "sequence_start")?)));
    Ok(AnchorBreak { place: place.transpose()?, batch_id: BatchId::new(row.try_get("batch_id")?), is_marked })
}
