//! Facts about an embedded store, for operators: statements that only read, each bounded.
//!
//! They run on a reading connection of the node, or on one of an inspector that opened the file read-only. What
//! only a server has, such as locks between processes, is said not to be there.

mod actions;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bowline_runtime::Seen;
use bowline_types::{EventId, StreamId, Timestamp};
use rusqlite::{Connection, OpenFlags, Row, params};

use crate::Diagnostics;
use crate::StoreError;
use crate::diagnostics::records::{
    ChainFacts, DeadLetterCount, DeadLetterFacts, IndexFacts, ROWS_MAX, STREAMS_MAX, SchemaFacts, Scope,
    StoreFacts, StreamFacts, TableFacts, TenantLoad, expected_indexes,
};
use crate::migrations::Schema;
use crate::sqlite::SqliteStore;
use crate::sqlite::found_version;
use crate::sqlite::pool::{Failure, refuse};
use crate::sqlite::rows::{
    COMMITMENT_COLUMNS, COMMITMENT_MARKS, commitment, moment, position, sequence_of, signed, stream_columns,
    unsigned,
};

/// Why a server's facts are not there.
const NO_SERVER: &str =
    "the embedded store is one file with one writer: it has no server and no locks between processes";

/// Microseconds of an hour.
const HOUR: i64 = 3_600 * 1_000_000;

/// Looks at a database file beside the node that uses it, and can't write to it.
#[derive(Debug)]
pub struct SqliteInspector {
    path: PathBuf,
    schema: Schema,
}

impl SqliteInspector {
    /// Opens the file; what it holds may differ from `schema`, which says what should be there.
    ///
    /// # Errors
    /// The file is not there, or can't be read.
    pub async fn open(path: &Path, schema: Schema) -> Result<Arc<dyn Diagnostics>, StoreError> {
        let inspector = Self { path: path.to_owned(), schema };
        inspector.run(|connection| Ok(connection.query_row("SELECT 1", (), |_| Ok(()))?)).await?;
        Ok(Arc::new(inspector))
    }

    async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        let path = self.path.clone();
        let read = move || {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut connection = Connection::open_with_flags(path, flags).map_err(|e| refuse(&e))?;
            connection.execute_batch("PRAGMA busy_timeout = 10000").map_err(|e| refuse(&e))?;
            work(&mut connection).map_err(StoreError::from)
        };
        tokio::task::spawn_blocking(read).await.map_err(|e| StoreError::Internal(e.to_string()))?
    }
}

macro_rules! diagnostics {
    ($store:ty, $reader:ident) => {
        #[async_trait]
        impl Diagnostics for $store {
            async fn database_time(&self) -> Result<Timestamp, StoreError> {
                self.$reader(|connection| Ok(database_time(connection)?)).await
            }

            async fn diagnose(&self, scope: Scope) -> Result<StoreFacts, StoreError> {
                let schema = self.schema.clone();
                self.$reader(move |connection| Ok(diagnose(connection, &schema, scope))).await
            }

            async fn streams_of_event(&self, event_id: EventId) -> Result<Vec<StreamId>, StoreError> {
                self.$reader(move |connection| Ok(streams_of_event(connection, event_id)?)).await
            }

            async fn dead_letters_of_event(
                &self,
                event_id: EventId,
            ) -> Result<Vec<DeadLetterFacts>, StoreError> {
                self.$reader(move |connection| Ok(dead_letters_of_event(connection, event_id)?)).await
            }
        }
    };
}

diagnostics!(SqliteInspector, run);
diagnostics!(SqliteStore, with_reader);

fn database_time(connection: &Connection) -> rusqlite::Result<Timestamp> {
    // The finest that SQLite tells are milliseconds.
    let millis: f64 =
        connection.query_row("SELECT (julianday('now') - 2440587.5) * 86400000.0", (), |row| row.get(0))?;
    Ok(Timestamp::from_micros((millis * 1_000.0) as i64))
}

fn diagnose(connection: &mut Connection, known: &Schema, scope: Scope) -> StoreFacts {
    let none = || NO_SERVER.to_owned();
    StoreFacts {
        engine: "sqlite",
        schema: seen(schema(connection, known)),
        streams: seen(streams(connection, scope.events_per_stream)),
        chains: seen(chains(connection, scope.commitments_per_stream)),
        dead_letters: seen(dead_letters(connection)),
        tables: seen(tables(connection)),
        indexes: seen(indexes(connection, known)),
        connections: Err(none()),
        activity: Err(none()),
        counter_locks: Err(none()),
        busiest_tenants: seen(busiest_tenants(connection, scope.events_per_stream)),
        sources: seen(actions::sources(connection)),
        matching: seen(actions::matching(connection)),
        actions: seen(actions::actions(connection)),
        open_breakers: seen(actions::open_breakers(connection)),
    }
}

fn seen<T>(fact: rusqlite::Result<T>) -> Seen<T> {
    fact.map_err(|error| refuse(&error).to_string())
}

fn schema(connection: &Connection, known: &Schema) -> rusqlite::Result<SchemaFacts> {
    Ok(SchemaFacts { found: found_version(connection)?, known: known.version() })
}

/// The streams that grew last: number, id, head, time.
fn counters(connection: &Connection) -> rusqlite::Result<Vec<(i64, StreamId, u64, Timestamp)>> {
    let mut statement = connection.prepare(
        "SELECT c.stream_no, s.tenant_id, s.store_id, c.current_sequence, c.updated_at
         FROM sequence_counters c JOIN streams s USING (stream_no)
         WHERE c.current_sequence > 0 ORDER BY c.updated_at DESC LIMIT ?1",
    )?;
    let counter =
        |row: &Row<'_>| Ok((row.get(0)?, stream_columns(row, 1)?, unsigned(row, 3)?, moment(row, 4)?));
    statement.query_map([STREAMS_MAX], counter)?.collect()
}

/// In one transaction, so that counters and events are of one moment.
fn streams(connection: &mut Connection, window: u64) -> rusqlite::Result<Vec<StreamFacts>> {
    let moment_of_all = connection.transaction()?;
    let mut streams = Vec::new();
    for (number, stream, head, updated_at) in counters(&moment_of_all)? {
        let looked_from = head.saturating_sub(window.max(1) - 1).max(1);
        let (first, end) = (position(number, looked_from), position(number, u64::MAX));
        let (present, last) = moment_of_all.query_row(
            "SELECT count(*), coalesce(max(position), 0) FROM ves_events WHERE position BETWEEN ?1 AND ?2",
            (first, end),
            |row| Ok((unsigned(row, 0)?, sequence_of(row.get(1)?))),
        )?;
        let committed = moment_of_all.query_row(
            "SELECT coalesce(max(sequence_end), 0) FROM ves_commitments WHERE stream_no = ?1",
            [number],
            |row| unsigned(row, 0),
        )?;
        let since: Option<i64> = moment_of_all.query_row(
            "SELECT (SELECT sequenced_at FROM ves_events WHERE position = ?1)",
            [position(number, committed + 1)],
            |row| row.get(0),
        )?;
        let whole = present == head + 1 - looked_from && last == head;
        let gaps = if whole { Vec::new() } else { gaps(&moment_of_all, number, looked_from, head)? };
        let uncommitted_since = since.map(Timestamp::from_micros);
        streams.push(StreamFacts {
            stream,
            head,
            committed,
            updated_at,
            uncommitted_since,
            looked_from,
            present,
            last,
            gaps,
        });
    }
    Ok(streams)
}

fn gaps(connection: &Connection, number: i64, from: u64, head: u64) -> rusqlite::Result<Vec<(u64, u64)>> {
    let mut statement = connection.prepare(
        "SELECT number + 1, next - 1 FROM (
             SELECT number, lead(number, 1, ?2 + 1) OVER (ORDER BY number) AS next FROM (
                 SELECT ?1 - 1 AS number UNION ALL
                 SELECT position FROM ves_events WHERE position BETWEEN ?1 AND ?2))
         WHERE next > number + 1 ORDER BY number LIMIT ?3",
    )?;
    let gap = |row: &Row<'_>| Ok((sequence_of(row.get(0)?), sequence_of(row.get(1)?)));
    let rows = statement.query_map((position(number, from), position(number, head), ROWS_MAX), gap)?;
    rows.collect()
}

fn chains(connection: &Connection, count: u64) -> rusqlite::Result<Vec<ChainFacts>> {
    let sql = format!(
        "SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments WHERE stream_no = ?1
         ORDER BY chain_position DESC LIMIT ?2"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut chains = Vec::new();
    for (number, stream, ..) in counters(connection)? {
        let rows = statement.query_map((number, signed(count)), |row| commitment(row, stream))?;
        let mut commitments = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        commitments.reverse();
        if !commitments.is_empty() {
            let whole = (commitments.len() as u64) < count;
            chains.push(ChainFacts { commitments, whole });
        }
    }
    Ok(chains)
}

fn dead_letters(connection: &Connection) -> rusqlite::Result<Vec<DeadLetterCount>> {
    let mut statement = connection
        .prepare("SELECT status, count(*), min(created_at) FROM dead_letter_events GROUP BY status")?;
    let count = |row: &Row<'_>| {
        let oldest = Some(moment(row, 2)?);
        Ok(DeadLetterCount { status: row.get(0)?, count: unsigned(row, 1)?, oldest })
    };
    statement.query_map((), count)?.collect()
}

/// Rows are not counted, for that would read the whole file; its size is that of all tables together.
fn tables(connection: &Connection) -> rusqlite::Result<Vec<TableFacts>> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), (), |row| unsigned(row, 0));
    let (page, pages, free) = (pragma("page_size")?, pragma("page_count")?, pragma("freelist_count")?);
    let file = TableFacts {
        name: "(file)".to_owned(),
        rows: pages,
        dead_rows: free,
        bytes: pages * page,
        analyzed_at: None,
        changed_rows: 0,
    };
    let mut statement = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")?;
    let named = |row: &Row<'_>| {
        Ok(TableFacts {
            name: row.get(0)?,
            rows: 0,
            dead_rows: 0,
            bytes: 0,
            analyzed_at: None,
            changed_rows: 0,
        })
    };
    let rows = statement.query_map((), named)?;
    std::iter::once(Ok(file)).chain(rows).collect()
}

fn indexes(connection: &Connection, known: &Schema) -> rusqlite::Result<Vec<IndexFacts>> {
    let mut statement = connection.prepare("SELECT name, tbl_name, sql LIKE '%UNIQUE%' FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")?;
    let index = |row: &Row<'_>| {
        let (name, table, unique) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(IndexFacts { name, table, scans: None, bytes: 0, usable: true, unique })
    };
    let mut indexes = statement.query_map((), index)?.collect::<rusqlite::Result<Vec<_>>>()?;
    for name in expected_indexes(known.migrations().map(|(_, migration)| migration.sqlite)) {
        if !indexes.iter().any(|index| index.name == name) {
            let table = String::new();
            indexes.push(IndexFacts { name, table, scans: None, bytes: 0, usable: false, unique: false });
        }
    }
    Ok(indexes)
}

fn busiest_tenants(connection: &Connection, window: u64) -> rusqlite::Result<Vec<TenantLoad>> {
    let since = database_time(connection)?.micros() - HOUR;
    let mut loads: Vec<TenantLoad> = Vec::new();
    for (number, stream, head, updated_at) in counters(connection)? {
        if updated_at.micros() <= since {
            continue;
        }
        let first = position(number, head.saturating_sub(window.max(1) - 1).max(1));
        let events = connection.query_row(
            "SELECT count(*) FROM ves_events WHERE position BETWEEN ?1 AND ?2 AND sequenced_at > ?3",
            params![first, position(number, head), since],
            |row| unsigned(row, 0),
        )?;
        match loads.iter_mut().find(|load| load.tenant_id == stream.tenant_id) {
            Some(load) => load.events += events,
            None => loads.push(TenantLoad { tenant_id: stream.tenant_id, events }),
        }
    }
    loads.retain(|load| load.events > 0);
    loads.sort_by_key(|load| std::cmp::Reverse(load.events));
    loads.truncate(5);
    Ok(loads)
}

fn streams_of_event(connection: &Connection, event_id: EventId) -> rusqlite::Result<Vec<StreamId>> {
    let mut statement = connection.prepare_cached(
        "SELECT s.tenant_id, s.store_id FROM ves_events e JOIN streams s ON s.stream_no = e.position >> 40
         WHERE e.event_id = ?1 LIMIT ?2",
    )?;
    statement.query_map(params![event_id.as_bytes(), ROWS_MAX], |row| stream_columns(row, 0))?.collect()
}

fn dead_letters_of_event(
    connection: &Connection,
    event_id: EventId,
) -> rusqlite::Result<Vec<DeadLetterFacts>> {
    let mut statement = connection.prepare_cached(
        "SELECT tenant_id, store_id, reason, status, error_message, retry_count, created_at
         FROM dead_letter_events WHERE event_id = ?1 ORDER BY created_at LIMIT ?2",
    )?;
    let letter = |row: &Row<'_>| {
        Ok(DeadLetterFacts {
            event_id,
            stream: stream_columns(row, 0)?,
            reason: row.get(2)?,
            status: row.get(3)?,
            message: row.get(4)?,
            retries: unsigned(row, 5)?,
            created_at: moment(row, 6)?,
        })
    };
    statement.query_map(params![event_id.as_bytes(), ROWS_MAX], letter)?.collect()
}
