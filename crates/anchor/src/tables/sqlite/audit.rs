//! Where marks and sends tell different things.

use bowline_types::{BatchId, StreamId};
use rusqlite::{Connection, Row};

use super::rows::{TO_PRESENT, holds};
use crate::tables::records::AnchorBreak;
use bowline_store::tables::sqlite::Failure;
use bowline_store::tables::sqlite::{fixed, signed, stream_columns, stream_no, unsigned};

/// Marks that no anchored send gave, and anchored sends whose commitments carry no mark.
pub(crate) fn breaks(
    connection: &Connection,
    of: Option<StreamId>,
    limit: usize,
) -> Result<Vec<AnchorBreak>, Failure> {
    let number = of.map(|stream| stream_no(connection, stream)).transpose()?;
    let marked = format!(
        "SELECT tenant_id, store_id, sequence_start, batch_id FROM ves_commitments JOIN streams USING (stream_no)
         WHERE anchored_at IS NOT NULL AND (NOT ?1 OR stream_no = ?2) AND NOT EXISTS (
             SELECT 1 FROM anchors a JOIN anchor_sends s USING (send_id)
             WHERE a.batch_id = ves_commitments.batch_id AND {} AND s.state = 'anchored'
               AND s.chain_id = ves_commitments.chain_id AND s.tx_hash IS ves_commitments.chain_tx_hash) LIMIT ?3",
        holds()
    );
    let unmarked = format!(
        "SELECT tenant_id, store_id, sequence_start, a.batch_id FROM anchors a JOIN anchor_sends s USING (send_id)
         LEFT JOIN ves_commitments c ON c.batch_id = a.batch_id LEFT JOIN streams USING (stream_no)
         WHERE a.void = 0 AND s.state = 'anchored' AND {TO_PRESENT} AND c.anchored_at IS NULL
           AND (NOT ?1 OR c.stream_no = ?2) LIMIT ?3"
    );
    let mut breaks = Vec::new();
    for (sql, is_marked) in [(marked, true), (unmarked, false)] {
        let mut statement = connection.prepare(&sql)?;
        let values = (of.is_some(), number.flatten(), signed(limit as u64));
        for found in statement.query_map(values, |row| anchor_break(row, is_marked))? {
            breaks.push(found?);
        }
    }
    Ok(breaks)
}

fn anchor_break(row: &Row<'_>, is_marked: bool) -> rusqlite::Result<AnchorBreak> {
    let is_there = row.get::<_, Option<i64>>(2)?.is_some();
    let place = is_there.then(|| Ok::<_, rusqlite::Error>((stream_columns(row, 0)?, unsigned(row, 2)?)));
    Ok(AnchorBreak { place: place.transpose()?, batch_id: BatchId::from_bytes(fixed(row, 3)?), is_marked })
}
