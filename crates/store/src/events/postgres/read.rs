//! The read path: pages of events, heads, leaves and cursors.
//!
//! Every statement has a limit; filters are part of the statement, so no page is empty with more behind it.

use bowline_types::{EventId, StreamId};
use bowline_ves::Hash;
use futures_util::TryStreamExt;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Postgres, QueryBuilder};

use crate::postgres::error::refuse;
use crate::postgres::rows::{EVENT_COLUMNS, moment, signed, stored_event, stream, unsigned};
use crate::{Page, ReadQuery, StoreError, StoredEvent, StreamHead};

/// Leaves that one statement returns, so that no answer exceeds a few megabytes.
const LEAVES_PER_STATEMENT: u64 = 100_000;

pub(crate) async fn page(pool: &PgPool, query: &ReadQuery) -> Result<Page, StoreError> {
    // The server counts the bytes too: what does not fit on the page is not sent, save the one event that
    // tells where the next page begins.
    let mut sql = QueryBuilder::<Postgres>::new(format!(
        "SELECT * FROM (
             SELECT *, coalesce(sum(octet_length(payload)) OVER (
                 ORDER BY sequence_number ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING), 0) AS bytes_before
             FROM (SELECT {EVENT_COLUMNS} FROM ves_events WHERE tenant_id = "
    ));
    sql.push_bind(query.stream.tenant_id.uuid())
        .push(" AND store_id = ")
        .push_bind(query.stream.store_id.uuid());
    sql.push(" AND sequence_number >= ").push_bind(signed(query.from));
    if let Some(to) = query.to {
        sql.push(" AND sequence_number <= ").push_bind(signed(to));
    }
    if let Some(entity) = &query.entity {
        sql.push(" AND entity_type = ").push_bind(&entity.entity_type);
        if let Some(entity_id) = &entity.entity_id {
            sql.push(" AND entity_id = ").push_bind(entity_id);
        }
    }
    if let Some(event_type) = &query.event_type {
        sql.push(" AND event_type = ").push_bind(event_type);
    }
    // One more than asked for tells whether there is a next page.
    sql.push(" ORDER BY sequence_number LIMIT ").push_bind(signed((query.limit as u64).saturating_add(1)));
    sql.push(") AS page) AS counted WHERE bytes_before <= ").push_bind(signed(query.bytes_max as u64));
    sql.push(" ORDER BY sequence_number");
    let mut page = Page::default();
    let mut bytes = 0;
    let mut rows = sql.build().fetch(pool);
    while let Some(row) = rows.try_next().await.map_err(|e| refuse(&e))? {
        let event = stored_event(&row).map_err(|e| refuse(&e))?;
        if page.events.len() == query.limit || bytes > query.bytes_max {
            page.next = Some(event.receipt.sequence_number);
            break;
        }
        bytes += event.envelope.payload.text().len();
        page.events.push(event);
    }
    Ok(page)
}

pub(crate) async fn event(
    pool: &PgPool,
    stream: StreamId,
    event_id: EventId,
) -> Result<Option<StoredEvent>, StoreError> {
    let sql = format!(
        "SELECT {EVENT_COLUMNS} FROM ves_events WHERE event_id = $1 AND tenant_id = $2 AND store_id = $3"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(event_id.uuid())
        .bind(stream.tenant_id.uuid())
        .bind(stream.store_id.uuid())
        .fetch_optional(pool)
        .await
        .map_err(|e| refuse(&e))?;
    row.as_ref().map(stored_event).transpose().map_err(|e| refuse(&e))
}

pub(crate) async fn head(pool: &PgPool, of: StreamId) -> Result<Option<StreamHead>, StoreError> {
    let row = sqlx::query(
        "SELECT c.tenant_id, c.store_id, c.current_sequence, c.updated_at,
                coalesce((SELECT max(m.sequence_end) FROM ves_commitments m
                          WHERE m.tenant_id = c.tenant_id AND m.store_id = c.store_id), 0) AS committed
         FROM sequence_counters c WHERE c.tenant_id = $1 AND c.store_id = $2 AND c.current_sequence > 0",
    )
    .bind(of.tenant_id.uuid())
    .bind(of.store_id.uuid())
    .fetch_optional(pool)
    .await
    .map_err(|e| refuse(&e))?;
    row.as_ref().map(stream_head).transpose().map_err(|e| refuse(&e))
}

pub(crate) async fn streams(pool: &PgPool) -> Result<Vec<StreamHead>, StoreError> {
    let rows = sqlx::query(
        "SELECT c.tenant_id, c.store_id, c.current_sequence, c.updated_at,
                coalesce((SELECT max(m.sequence_end) FROM ves_commitments m
                          WHERE m.tenant_id = c.tenant_id AND m.store_id = c.store_id), 0) AS committed
         FROM sequence_counters c WHERE c.current_sequence > 0 ORDER BY c.tenant_id, c.store_id",
    )
    .fetch_all(pool)
    .await
    .map_err(|e| refuse(&e))?;
    rows.iter().map(stream_head).collect::<Result<_, _>>().map_err(|e| refuse(&e))
}

fn stream_head(row: &PgRow) -> sqlx::Result<StreamHead> {
    Ok(StreamHead {
        stream: stream(row)?,
        head: unsigned(row, "current_sequence")?,
        committed: unsigned(row, "committed")?,
        updated_at: moment(row, "updated_at")?,
    })
}

pub(crate) async fn leaves(
    pool: &PgPool,
    of: StreamId,
    start: u64,
    end: u64,
) -> Result<Vec<Hash>, StoreError> {
    let mut leaves = Vec::new();
    let mut first = start;
    while first <= end {
        let last = end.min(first.saturating_add(LEAVES_PER_STATEMENT - 1));
        let bytes: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT string_agg(leaf, ''::bytea ORDER BY sequence_number) FROM ves_events
             WHERE tenant_id = $1 AND store_id = $2 AND sequence_number BETWEEN $3 AND $4",
        )
        .bind(of.tenant_id.uuid())
        .bind(of.store_id.uuid())
        .bind(signed(first))
        .bind(signed(last))
        .fetch_one(pool)
        .await
        .map_err(|e| refuse(&e))?;
        let bytes = bytes.unwrap_or_default();
        leaves.extend(bytes.as_chunks::<32>().0.iter().copied().map(Hash::new));
        let expected = (last - start).saturating_add(1);
        if leaves.len() as u64 != expected {
            let found = leaves.len();
            let problem =
                format!("{found} of the {expected} leaves {start} to {last} of stream {of} are stored");
            return Err(StoreError::Internal(problem));
        }
        first = last + 1;
    }
    Ok(leaves)
}
