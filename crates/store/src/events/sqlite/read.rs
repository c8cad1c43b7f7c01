//! The read path: pages of events, heads, leaves and cursors.
//!
//! Every statement has a limit; filters are part of the statement, so no page is empty with more behind it.

use bowline_types::{EventId, StreamId};
use bowline_ves::Hash;
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension};

use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{
    EVENT_COLUMNS, hash, moment, position, signed, stored_event, stream_columns, stream_no, unsigned,
};
use crate::{Page, ReadQuery, StoreError, StoredEvent, StreamHead};

pub(crate) fn page(connection: &Connection, query: &ReadQuery) -> Result<Page, Failure> {
    let Some(number) = stream_no(connection, query.stream)? else { return Ok(Page::default()) };
    let first = position(number, query.from);
    let last = position(number, query.to.unwrap_or(u64::MAX));
    // One more than asked for tells whether there is a next page.
    let limit = signed((query.limit as u64).saturating_add(1));
    let mut sql = format!("SELECT {EVENT_COLUMNS} FROM ves_events WHERE position BETWEEN ?1 AND ?2");
    let mut values: Vec<&dyn ToSql> = vec![&first, &last, &limit];
    let mut filter = |condition: &str, value| {
        values.push(value);
        sql.push_str(&format!(" AND {condition} = ?{}", values.len()));
    };
    // Naming the stream's column lets SQLite use the index that begins with it.
    if query.entity.is_some() || query.event_type.is_some() {
        filter("stream_no", &number as &dyn ToSql);
    }
    if let Some(entity) = &query.entity {
        filter("entity_type", &entity.entity_type);
        if let Some(entity_id) = &entity.entity_id {
            filter("entity_id", entity_id);
        }
    }
    if let Some(event_type) = &query.event_type {
        filter("event_type", event_type);
    }
    sql.push_str(" ORDER BY position LIMIT ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(values.as_slice())?;
    let mut page = Page::default();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let event = stored_event(row, query.stream)?;
        if page.events.len() == query.limit || bytes > query.bytes_max {
            page.next = Some(event.receipt.sequence_number);
            break;
        }
        bytes += event.envelope.payload.text().len();
        page.events.push(event);
    }
    Ok(page)
}

pub(crate) fn event(
    connection: &Connection,
    stream: StreamId,
    event_id: EventId,
) -> Result<Option<StoredEvent>, Failure> {
    let Some(number) = stream_no(connection, stream)? else { return Ok(None) };
    let sql = format!("SELECT {EVENT_COLUMNS} FROM ves_events WHERE event_id = ?1 AND stream_no = ?2");
    let found = connection
        .prepare_cached(&sql)?
        .query_row((event_id.as_bytes(), number), |row| stored_event(row, stream))
        .optional()?;
    Ok(found)
}

const HEADS: &str = "SELECT s.tenant_id, s.store_id, c.current_sequence, \
     coalesce((SELECT max(sequence_end) FROM ves_commitments m WHERE m.stream_no = s.stream_no), 0), c.updated_at \
     FROM streams s JOIN sequence_counters c USING (stream_no)";

pub(crate) fn head(connection: &Connection, stream: StreamId) -> Result<Option<StreamHead>, Failure> {
    let sql = format!("{HEADS} WHERE s.tenant_id = ?1 AND s.store_id = ?2");
    let found = connection
        .prepare_cached(&sql)?
        .query_row((stream.tenant_id.as_bytes(), stream.store_id.as_bytes()), stream_head)
        .optional()?;
    Ok(found)
}

pub(crate) fn streams(connection: &Connection) -> Result<Vec<StreamHead>, Failure> {
    let sql = format!("{HEADS} ORDER BY s.tenant_id, s.store_id");
    let mut statement = connection.prepare_cached(&sql)?;
    let heads = statement.query_map((), stream_head)?.collect::<Result<_, _>>()?;
    Ok(heads)
}

fn stream_head(row: &rusqlite::Row<'_>) -> rusqlite::Result<StreamHead> {
    Ok(StreamHead {
        stream: stream_columns(row, 0)?,
        head: unsigned(row, 2)?,
        committed: unsigned(row, 3)?,
        updated_at: moment(row, 4)?,
    })
}

pub(crate) fn leaves(
    connection: &Connection,
    stream: StreamId,
    start: u64,
    end: u64,
) -> Result<Vec<Hash>, Failure> {
    let number = stream_no(connection, stream)?.unwrap_or(0);
    let mut statement = connection
        .prepare_cached("SELECT leaf FROM ves_leaves WHERE position BETWEEN ?1 AND ?2 ORDER BY position")?;
    let expected = end.checked_sub(start).map_or(0, |span| span.saturating_add(1));
    let mut leaves = Vec::with_capacity(usize::try_from(expected).unwrap_or(0).min(1 << 20));
    let mut rows = statement.query((position(number, start), position(number, end)))?;
    while let Some(row) = rows.next()? {
        leaves.push(hash(row, 0)?);
    }
    if leaves.len() as u64 != expected {
        let found = leaves.len();
        let problem =
            format!("{found} of the {expected} leaves {start} to {end} of stream {stream} are stored");
        return Err(StoreError::Internal(problem).into());
    }
    Ok(leaves)
}
