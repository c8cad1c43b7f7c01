//! One moment of an SQLite file: a read transaction on a connection that can't write.
//!
//! In WAL mode a reader and the writer never wait for each other, also across processes, so neither the data
//! folder's lock nor a stopped node is needed. While the transaction lasts the write-ahead log can't be reused
//! and grows. A file on a medium that can't be written, without a log beside it, is read as it is.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bowline_types::{AgentId, StreamId, TenantId};
use bowline_ves::Hash;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row};
use uuid::Uuid;

use crate::keys::sqlite as keys;
use crate::migrations::{CORRECTIONS_SINCE, Schema};
use crate::snapshot::{
    CommitmentTrace, EngineProblem, EntityBreak, EventTrace, RepeatedId, Snapshot, SnapshotConnection,
    StreamTrace, Unreadable,
};
use crate::sqlite::found_version;
use crate::sqlite::pool::{Failure, refuse};
use crate::sqlite::rows::{
    AFTER_MARKS, COMMITMENT_COLUMNS, COMMITMENT_MARKS, EVENT_COLUMNS, Fixed, commitment, fixed, hash,
    position, sequence_of, signed, stored_event, stream_columns, stream_no, unsigned,
};
use crate::{CursorRecord, SequencerKeyRecord, StoreError};

/// A read transaction on a store's file.
#[derive(Debug)]
pub struct SqliteSnapshot {
    connection: Arc<Mutex<Connection>>,
    schema_version: i64,
}

impl SqliteSnapshot {
    /// Opens the file and fixes the moment.
    ///
    /// # Errors
    /// There is no such file, it is no store, or its schema is newer than this binary.
    pub async fn open(path: impl Into<PathBuf>, schema: &Schema) -> Result<Self, StoreError> {
        let path = path.into();
        let opened = tokio::task::spawn_blocking(move || {
            let connection = open_reading(&path)?;
            let found = found_version(&connection).map_err(|e| refuse(&e))?;
            Ok::<_, StoreError>((connection, found))
        });
        let (connection, found) = opened.await.map_err(|e| StoreError::Internal(e.to_string()))??;
        match found {
            0 => Err(StoreError::Internal("the file holds no store of an event line".to_owned())),
            found => {
                schema.refuse_newer(found)?;
                Ok(Self { connection: Arc::new(Mutex::new(connection)), schema_version: found })
            }
        }
    }

    /// Reads in the transaction.
    ///
    /// # Errors
    /// Those of `work`.
    pub async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let read = move || work(&connection.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(read).await;
        joined.map_err(|e| StoreError::Internal(e.to_string()))?.map_err(StoreError::from)
    }
}

pub(crate) fn open_reading(path: &Path) -> Result<Connection, StoreError> {
    match begin(path, false) {
        Err(error) if is_unwritable(&error) && !beside(path, "-wal").exists() => begin(path, true),
        opened => opened,
    }
    .map_err(|e| refuse(&e))
}

fn begin(path: &Path, immutable: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if immutable {
        Connection::open_with_flags(immutable_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        Connection::open_with_flags(path, flags)?
    };
    connection.execute_batch("PRAGMA busy_timeout = 10000; PRAGMA cache_size = -16384; BEGIN")?;
    // The first read is what fixes the moment.
    connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
    Ok(connection)
}

fn is_unwritable(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

/// A file's name as a URI, with what a URI would read otherwise escaped.
fn immutable_uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.push_str(&format!("%{byte:02X}")),
            _ => uri.push(char::from(byte)),
        }
    }
    uri + "?immutable=1"
}

/// The file of that ending beside a database.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    fn engine(&self) -> &'static str {
        "sqlite"
    }

    fn schema_version(&self) -> i64 {
        self.schema_version
    }

    async fn engine_problems(&mut self, limit: usize) -> Result<Vec<EngineProblem>, StoreError> {
        self.run(move |connection| engine_problems(connection, limit)).await
    }

    async fn streams(&mut self) -> Result<Vec<StreamTrace>, StoreError> {
        self.run(streams).await
    }

    async fn events(
        &mut self,
        stream: StreamId,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<EventTrace>, StoreError> {
        self.run(move |connection| events(connection, stream, from, limit, bytes_max)).await
    }

    async fn commitments(
        &mut self,
        stream: StreamId,
        after: (u64, u64),
        limit: usize,
    ) -> Result<Vec<CommitmentTrace>, StoreError> {
        let what = "upper_levels FROM ves_commitments WHERE stream_no = ?1 AND (sequence_start, chain_position) > (?2, ?3)
                    ORDER BY sequence_start, chain_position LIMIT ?4";
        self.run(move |connection| commitments(connection, stream, what, after, limit)).await
    }

    async fn chain(
        &mut self,
        stream: StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<CommitmentTrace>, StoreError> {
        let what = "x'' FROM ves_commitments WHERE stream_no = ?1 AND chain_position > ?3 AND ?2 = 0
                    ORDER BY chain_position LIMIT ?4";
        self.run(move |connection| commitments(connection, stream, what, (0, after), limit)).await
    }

    async fn last_state_root(&mut self, stream: StreamId) -> Result<Option<Hash>, StoreError> {
        let last = move |connection: &Connection| {
            let Some(number) = stream_no(connection, stream)? else { return Ok(None) };
            // Before there were corrections, the chain's order was that of the numbers.
            let is_older = found_version(connection)? < CORRECTIONS_SINCE;
            let order = if is_older { "sequence_start" } else { "chain_position" };
            let sql = format!(
                "SELECT new_state_root FROM ves_commitments WHERE stream_no = ?1 ORDER BY {order} DESC LIMIT 1"
            );
            Ok(connection.query_row(&sql, [number], |row| hash(row, 0)).optional()?)
        };
        self.run(last).await
    }

    async fn entity_breaks(
        &mut self,
        of: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<EntityBreak>, StoreError> {
        self.run(move |connection| entity_breaks(connection, of, limit)).await
    }

    async fn repeated_ids(
        &mut self,
        of: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<RepeatedId>, StoreError> {
        let both = move |connection: &Connection| {
            let mut found = repeated_ids(connection, "event_id", of, limit)?;
            found.extend(repeated_ids(connection, "command_id", of, limit)?);
            Ok(found)
        };
        self.run(both).await
    }

    fn connection(&mut self) -> SnapshotConnection<'_> {
        SnapshotConnection::Sqlite(self)
    }

    async fn cursors(&mut self) -> Result<Vec<CursorRecord>, StoreError> {
        self.run(cursors).await
    }

    async fn agent_key(
        &mut self,
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
    ) -> Result<Option<[u8; 32]>, StoreError> {
        let read = move |connection: &Connection| {
            let found = connection
                .prepare_cached(
                    "SELECT public_key FROM agent_keys WHERE tenant_id = ?1 AND agent_id = ?2 AND key_id = ?3",
                )?
                .query_row((tenant_id.as_bytes(), agent_id.as_bytes(), key_id), |row| fixed(row, 0))
                .optional()?;
            Ok(found)
        };
        self.run(read).await
    }

    async fn sequencer_keys(&mut self) -> Result<Vec<SequencerKeyRecord>, StoreError> {
        self.run(keys::sequencer_keys).await
    }
}

fn engine_problems(connection: &Connection, limit: usize) -> Result<Vec<EngineProblem>, Failure> {
    let mut problems = Vec::new();
    let mut add = |check, expected: &str, found| {
        problems.push(EngineProblem { stream: None, check, expected: expected.to_owned(), found });
    };
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({})", limit.max(1)))?;
    for said in statement.query_map((), |row| row.get::<_, String>(0))? {
        match said {
            Ok(said) if said == "ok" => {}
            Ok(said) => add("integrity_check", "ok", said),
            // A page that can't be read ends the check with an error, which is its finding.
            Err(error) => add("integrity_check", "ok", error.to_string()),
        }
    }
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        let (table, row_id, parent): (String, Option<i64>, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let found = format!("row {} of {table} refers to none", row_id.unwrap_or_default());
        add("foreign_key_check", &format!("a row of {parent}"), found);
    }
    for table in ["ves_events", "ves_leaves"] {
        // One look-up a stream: from each stream's number to the next higher one that has rows.
        let sql = format!(
            "WITH RECURSIVE present (no) AS (
                 SELECT min(position) >> 40 FROM {table}
                 UNION ALL
                 SELECT (SELECT min(position) >> 40 FROM {table} WHERE position >= (no + 1) << 40)
                 FROM present WHERE no IS NOT NULL)
             SELECT no FROM present WHERE no IS NOT NULL AND no NOT IN (SELECT stream_no FROM streams)"
        );
        let mut statement = connection.prepare(&sql)?;
        for no in statement.query_map((), |row| row.get::<_, i64>(0))? {
            add("streams", "a row of streams", format!("{table} has rows of stream number {}", no?));
        }
    }
    problems.truncate(limit);
    Ok(problems)
}

fn streams(connection: &Connection) -> Result<Vec<StreamTrace>, Failure> {
    let mut statement = connection.prepare(
        "SELECT s.tenant_id, s.store_id, c.current_sequence,
                coalesce((SELECT max(position) FROM ves_events
                          WHERE position BETWEEN s.stream_no << 40 AND (s.stream_no << 40) | 1099511627775), 0),
                coalesce((SELECT max(position) FROM ves_leaves
                          WHERE position BETWEEN s.stream_no << 40 AND (s.stream_no << 40) | 1099511627775), 0)
         FROM streams s LEFT JOIN sequence_counters c USING (stream_no) ORDER BY s.tenant_id, s.store_id",
    )?;
    let traces = statement.query_map((), |row| {
        Ok(StreamTrace {
            stream: stream_columns(row, 0)?,
            counter: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
            last_event: sequence_of(row.get(3)?),
            last_leaf: sequence_of(row.get(4)?),
            rows: None,
        })
    })?;
    Ok(traces.collect::<Result<_, _>>()?)
}

fn events(
    connection: &Connection,
    stream: StreamId,
    from: u64,
    limit: usize,
    bytes_max: usize,
) -> Result<Vec<EventTrace>, Failure> {
    /// The column after [`EVENT_COLUMNS`].
    const LEAF: usize = 25;
    let Some(number) = stream_no(connection, stream)? else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT {EVENT_COLUMNS}, leaf FROM ves_events LEFT JOIN ves_leaves USING (position)
         WHERE position BETWEEN ?1 AND ?2 ORDER BY position LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let (first, last) = (position(number, from), position(number, u64::MAX));
    let mut rows = statement.query((first, last, signed(limit as u64)))?;
    let (mut traces, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let event = stored_event(row, stream).map_err(|error| Unreadable(error.to_string()));
        bytes += event.as_ref().map_or(0, |event| event.envelope.payload.text().len());
        let leaf: Option<Vec<u8>> = row.get(LEAF)?;
        traces.push(EventTrace {
            sequence_number: sequence_of(row.get(0)?),
            leaf: leaf.and_then(|leaf| Hash::from_slice(&leaf)),
            event,
        });
        if bytes > bytes_max {
            break;
        }
    }
    Ok(traces)
}

fn commitments(
    connection: &Connection,
    stream: StreamId,
    what: &str,
    after: (u64, u64),
    limit: usize,
) -> Result<Vec<CommitmentTrace>, Failure> {
    /// The column after [`COMMITMENT_COLUMNS`] and [`COMMITMENT_MARKS`], and two of the former.
    const UPPER_LEVELS: usize = AFTER_MARKS;
    const SEQUENCE_START: usize = 8;
    const CHAIN_POSITION: usize = 13;
    let Some(number) = stream_no(connection, stream)? else { return Ok(Vec::new()) };
    let sql = format!("SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS}, {what}");
    let mut statement = connection.prepare_cached(&sql)?;
    let read = |row: &Row<'_>| {
        let whole = commitment(row, stream).and_then(|record| Ok((record, row.get(UPPER_LEVELS)?)));
        Ok(CommitmentTrace {
            sequence_start: row.get::<_, i64>(SEQUENCE_START)?.unsigned_abs(),
            chain_position: row.get::<_, i64>(CHAIN_POSITION)?.unsigned_abs(),
            commitment: whole.map_err(|error| Unreadable(error.to_string())),
        })
    };
    let bounds = (number, signed(after.0), signed(after.1), signed(limit as u64));
    let traces = statement.query_map(bounds, read)?;
    Ok(traces.collect::<Result<_, _>>()?)
}

/// The positions of a stream, or all.
fn positions(connection: &Connection, of: Option<StreamId>) -> Result<(i64, i64), Failure> {
    Ok(match of {
        Some(stream) => {
            let number = stream_no(connection, stream)?.unwrap_or(0);
            (position(number, 0), position(number, u64::MAX))
        }
        None => (0, i64::MAX),
    })
}

fn entity_breaks(
    connection: &Connection,
    of: Option<StreamId>,
    limit: usize,
) -> Result<Vec<EntityBreak>, Failure> {
    let (first, last) = positions(connection, of)?;
    let mut statement = connection.prepare(
        "SELECT s.tenant_id, s.store_id, v.position, v.entity_type, v.entity_id, v.before + 1, v.entity_version
         FROM (SELECT position, stream_no, entity_type, entity_id, entity_version,
                      coalesce(lag(entity_version) OVER (
                          PARTITION BY stream_no, entity_type, entity_id ORDER BY position), 0) AS before
               FROM ves_events WHERE position BETWEEN ?1 AND ?2) v
         JOIN streams s USING (stream_no)
         WHERE v.entity_version <> v.before + 1 LIMIT ?3",
    )?;
    let breaks = statement.query_map((first, last, signed(limit as u64)), |row| {
        Ok(EntityBreak {
            stream: stream_columns(row, 0)?,
            sequence_number: sequence_of(row.get(2)?),
            entity_type: row.get(3)?,
            entity_id: row.get(4)?,
            expected: row.get::<_, i64>(5)?.unsigned_abs(),
            found: row.get(6)?,
        })
    })?;
    Ok(breaks.collect::<Result<_, _>>()?)
}

fn repeated_ids(
    connection: &Connection,
    kind: &'static str,
    of: Option<StreamId>,
    limit: usize,
) -> Result<Vec<RepeatedId>, Failure> {
    let (first, last) = positions(connection, of)?;
    // The rows themselves and no index: the unique index is what is not taken on trust here.
    let sql = format!(
        "SELECT s.tenant_id, s.store_id, r.id, r.first, r.last, r.count
         FROM (SELECT position >> 40 AS stream_no, {kind} AS id, min(position) AS first, max(position) AS last,
                      count(*) AS count
               FROM ves_events NOT INDEXED WHERE {kind} IS NOT NULL AND position BETWEEN ?1 AND ?2
               GROUP BY 2, 1 HAVING count(*) > 1 LIMIT ?3) r
         JOIN streams s USING (stream_no)"
    );
    let mut statement = connection.prepare(&sql)?;
    let repeated = statement.query_map((first, last, signed(limit as u64)), |row| {
        Ok(RepeatedId {
            stream: stream_columns(row, 0)?,
            kind,
            id: Uuid::from_bytes(row.get::<_, Fixed<16>>(2)?.0),
            first: sequence_of(row.get(3)?),
            last: sequence_of(row.get(4)?),
            count: unsigned(row, 5)?,
        })
    })?;
    Ok(repeated.collect::<Result<_, _>>()?)
}

fn cursors(connection: &Connection) -> Result<Vec<CursorRecord>, Failure> {
    let mut statement = connection.prepare(
        "SELECT s.tenant_id, s.store_id, f.follower, f.sequence_number
         FROM follower_cursors f JOIN streams s USING (stream_no) ORDER BY f.follower, s.tenant_id, s.store_id",
    )?;
    let cursors = statement.query_map((), |row| {
        Ok(CursorRecord {
            stream: stream_columns(row, 0)?,
            follower: row.get(2)?,
            sequence_number: row.get::<_, i64>(3)?.unsigned_abs(),
        })
    })?;
    Ok(cursors.collect::<Result<_, _>>()?)
}
