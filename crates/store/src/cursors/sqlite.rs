//! Cursors in SQLite.
//! The one writer orders the steps; a step that begins elsewhere is refused before anything is written.

use async_trait::async_trait;
use bowline_types::StreamId;
use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::SqliteStore;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{signed, stream_columns, stream_no, unsigned};
use crate::{CursorLag, CursorRecord, CursorStep, CursorStore, StoreError};

#[async_trait]
impl CursorStore for SqliteStore {
    async fn cursor(&self, follower: &str, stream: StreamId) -> Result<u64, StoreError> {
        let follower = follower.to_owned();
        self.with_reader(move |connection| stored(connection, &follower, stream)).await
    }

    async fn advance_cursor(&self, cursor: CursorRecord) -> Result<(), StoreError> {
        self.with_writer(move |connection| advance(connection, &cursor)).await
    }

    async fn lagging(
        &self,
        follower: &str,
        after: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<CursorLag>, StoreError> {
        let follower = follower.to_owned();
        self.with_reader(move |connection| lagging(connection, &follower, after, limit)).await
    }
}

pub(crate) fn stored(connection: &Connection, follower: &str, stream: StreamId) -> Result<u64, Failure> {
    let Some(number) = stream_no(connection, stream)? else { return Ok(0) };
    let found = connection
        .prepare_cached(
            "SELECT sequence_number FROM follower_cursors WHERE follower = ?1 AND stream_no = ?2",
        )?
        .query_row((follower, number), |row| unsigned(row, 0))
        .optional()?;
    Ok(found.unwrap_or(0))
}

pub(crate) fn advance(connection: &mut Connection, cursor: &CursorRecord) -> Result<(), Failure> {
    let Some(number) = stream_no(connection, cursor.stream)? else { return Ok(()) };
    connection
        .prepare_cached(
            "INSERT INTO follower_cursors VALUES (?1, ?2, ?3) ON CONFLICT (follower, stream_no)
             DO UPDATE SET sequence_number = max(sequence_number, excluded.sequence_number)",
        )?
        .execute((&cursor.follower, number, signed(cursor.sequence_number)))?;
    Ok(())
}

/// Moves a cursor from where a step begins to where it ends; refuses if it is elsewhere.
pub(crate) fn step(transaction: &Connection, step: &CursorStep) -> Result<(), Failure> {
    let Some(number) = stream_no(transaction, step.stream)? else {
        return Err(StoreError::Internal(format!("there is no stream {}", step.stream)).into());
    };
    let at = transaction
        .prepare_cached(
            "SELECT sequence_number FROM follower_cursors WHERE follower = ?1 AND stream_no = ?2",
        )?
        .query_row((step.follower, number), |row| unsigned(row, 0))
        .optional()?
        .unwrap_or(0);
    if at != step.from {
        return Err(StoreError::CursorMoved { at, expected: step.from }.into());
    }
    transaction.prepare_cached("INSERT OR REPLACE INTO follower_cursors VALUES (?1, ?2, ?3)")?.execute((
        step.follower,
        number,
        signed(step.to),
    ))?;
    Ok(())
}

fn lagging(
    connection: &Connection,
    follower: &str,
    after: Option<StreamId>,
    limit: usize,
) -> Result<Vec<CursorLag>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT s.tenant_id, s.store_id, coalesce(f.sequence_number, 0), c.current_sequence
         FROM sequence_counters c JOIN streams s USING (stream_no)
         LEFT JOIN follower_cursors f ON f.follower = ?1 AND f.stream_no = c.stream_no
         WHERE c.current_sequence > coalesce(f.sequence_number, 0)
             AND (?2 IS NULL OR (s.tenant_id, s.store_id) > (?2, ?3))
         ORDER BY s.tenant_id, s.store_id LIMIT ?4",
    )?;
    let ids = after.map(|stream| (*stream.tenant_id.as_bytes(), *stream.store_id.as_bytes()));
    let (tenant, store) = ids.unzip();
    let rows = statement.query_map((follower, tenant, store, signed(limit as u64)), |row| {
        Ok(CursorLag { stream: stream_columns(row, 0)?, cursor: unsigned(row, 2)?, head: unsigned(row, 3)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Forgets all cursors of a follower.
pub(crate) fn forget(connection: &Connection, follower: &str) -> Result<(), Failure> {
    connection.prepare_cached("DELETE FROM follower_cursors WHERE follower = ?1")?.execute([follower])?;
    Ok(())
}
