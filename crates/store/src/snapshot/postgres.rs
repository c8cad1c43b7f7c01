//! One moment of a PostgreSQL database: a read-only transaction that sees nothing of what is committed later.
//!
//! It takes the locks of a reader alone, so nodes go on writing. Events are read by the primary key's index, and
//! counted in the table itself: a row that the index does not know is missing from the one and not the other.

use async_trait::async_trait;
use bowline_types::{AgentId, StreamId, TenantId};
use bowline_ves::Hash;
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::keys::postgres::sequencer_key_row;
use crate::migrations::{CORRECTIONS_SINCE, Schema};
use crate::postgres::applied_versions;
use crate::postgres::error::refuse;
use crate::postgres::rows::{
    COMMITMENT_COLUMNS, COMMITMENT_MARKS, EVENT_COLUMNS, commitment, hash, key, signed, stored_event, stream,
    unsigned,
};
use crate::snapshot::{
    CommitmentTrace, EngineProblem, EntityBreak, EventTrace, RepeatedId, Snapshot, SnapshotConnection,
    StreamTrace, Unreadable,
};
use crate::{CursorRecord, SequencerKeyRecord, StoreError};

/// What a connection needs whose statements run as long as they have to.
const UNHURRIED: &str = "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
     SET lock_timeout = '10s'; SET jit = off";

/// A transaction that sees one moment.
#[derive(Debug)]
pub struct PostgresSnapshot {
    connection: PgConnection,
    schema_version: i64,
}

impl PostgresSnapshot {
    /// Connects and fixes the moment. `application_name` is what `pg_stat_activity` shows.
    ///
    /// # Errors
    /// The database can't be reached, holds no store, or has a newer schema than this binary.
    pub async fn open(url: &str, application_name: &str, schema: &Schema) -> Result<Self, StoreError> {
        let mut connection = connect(url, application_name).await?;
        sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .execute(&mut connection)
            .await
            .map_err(|e| refuse(&e))?;
        let found = found_version(&mut connection).await.map_err(|e| refuse(&e))?;
        match found {
            0 => Err(StoreError::Internal("the database holds no store of an event line".to_owned())),
            found => {
                schema.refuse_newer(found)?;
                Ok(Self::of(connection, found))
            }
        }
    }

    /// Reads within the transaction that the connection is in, with what that one has written.
    pub(crate) fn of(connection: PgConnection, schema_version: i64) -> Self {
        Self { connection, schema_version }
    }

    pub(crate) fn set_schema_version(&mut self, schema_version: i64) {
        self.schema_version = schema_version;
    }

    pub(crate) fn client(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// A connection whose statements may take as long as they need.
pub(crate) async fn connect(url: &str, application_name: &str) -> Result<PgConnection, StoreError> {
    let options: PgConnectOptions =
        url.parse().map_err(|e: sqlx::Error| StoreError::Internal(format!("the database URL: {e}")))?;
    let options = options.application_name(application_name);
    let mut connection = PgConnection::connect_with(&options).await.map_err(|e| refuse(&e))?;
    sqlx::raw_sql(UNHURRIED).execute(&mut connection).await.map_err(|e| refuse(&e))?;
    Ok(connection)
}

/// The schema version of the tables on the search path; 0 if there are none.
async fn found_version(connection: &mut PgConnection) -> sqlx::Result<i64> {
    Ok(applied_versions(connection).await?.last().copied().unwrap_or(0))
}

/// The condition for one stream or for all, on `$1` and `$2`.
const OF_STREAM: &str = "($1::uuid IS NULL OR (tenant_id = $1 AND store_id = $2))";

#[async_trait]
impl Snapshot for PostgresSnapshot {
    fn engine(&self) -> &'static str {
        "postgres"
    }

    fn schema_version(&self) -> i64 {
        self.schema_version
    }

    async fn engine_problems(&mut self, limit: usize) -> Result<Vec<EngineProblem>, StoreError> {
        let connection = &mut self.connection;
        let Some(schema) = has_amcheck(connection).await.map_err(|e| refuse(&e))? else {
            return Ok(Vec::new());
        };
        let mut problems = check_indexes(connection, &schema).await.map_err(|e| refuse(&e))?;
        problems.truncate(limit);
        Ok(problems)
    }

    async fn streams(&mut self) -> Result<Vec<StreamTrace>, StoreError> {
        // The rows themselves and no index: what is read by the index later is compared with this.
        self.plan("enable_indexscan = off; SET LOCAL enable_indexonlyscan = off").await?;
        let rows = sqlx::query(
            "SELECT tenant_id, store_id, c.current_sequence, coalesce(e.last, 0) AS last_event,
                    coalesce(e.count, 0) AS rows
             FROM (SELECT tenant_id, store_id, max(sequence_number) AS last, count(*) AS count
                   FROM ves_events GROUP BY tenant_id, store_id) e
             FULL JOIN sequence_counters c USING (tenant_id, store_id)
             FULL JOIN streams USING (tenant_id, store_id) ORDER BY tenant_id, store_id",
        )
        .fetch_all(&mut self.connection)
        .await
        .map_err(|e| refuse(&e))?;
        self.plan("enable_indexscan = on; SET LOCAL enable_indexonlyscan = on").await?;
        rows.iter().map(stream_trace).collect::<sqlx::Result<_>>().map_err(|e| refuse(&e))
    }

    async fn events(
        &mut self,
        of: StreamId,
        from: u64,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Vec<EventTrace>, StoreError> {
        // The server counts the bytes, so that what does not fit is not sent.
        let sql = format!(
            "SELECT * FROM (
                 SELECT *, coalesce(sum(octet_length(payload)) OVER (
                     ORDER BY sequence_number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
                 FROM (SELECT {EVENT_COLUMNS}, leaf FROM ves_events
                       WHERE tenant_id = $1 AND store_id = $2 AND sequence_number >= $3
                       ORDER BY sequence_number LIMIT $4) AS page) AS counted
             WHERE bytes_before <= $5 ORDER BY sequence_number"
        );
        // Nothing but the primary key gives this order without sorting.
        self.plan("enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")
            .await?;
        let mut rows = sqlx::query(AssertSqlSafe(sql))
            .bind(of.tenant_id.uuid())
            .bind(of.store_id.uuid())
            .bind(signed(from))
            .bind(signed(limit as u64))
            .bind(signed(bytes_max as u64))
            .fetch(&mut self.connection);
        let mut traces = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(|e| refuse(&e))? {
            traces.push(event_trace(&row).map_err(|e| refuse(&e))?);
        }
        drop(rows);
        self.plan("enable_seqscan = on; SET LOCAL enable_bitmapscan = on; SET LOCAL enable_sort = on")
            .await?;
        Ok(traces)
    }

    async fn commitments(
        &mut self,
        of: StreamId,
        after: (u64, u64),
        limit: usize,
    ) -> Result<Vec<CommitmentTrace>, StoreError> {
        let what = "upper_levels FROM ves_commitments
             WHERE tenant_id = $1 AND store_id = $2 AND (sequence_start, chain_position) > ($3, $4)
             ORDER BY sequence_start, chain_position LIMIT $5";
        self.traces(of, what, after, limit).await
    }

    async fn chain(
        &mut self,
        of: StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<CommitmentTrace>, StoreError> {
        let what = "''::bytea AS upper_levels FROM ves_commitments
             WHERE tenant_id = $1 AND store_id = $2 AND $3::bigint = 0 AND chain_position > $4
             ORDER BY chain_position LIMIT $5";
        self.traces(of, what, (0, after), limit).await
    }

    async fn last_state_root(&mut self, of: StreamId) -> Result<Option<Hash>, StoreError> {
        // Before there were corrections, the chain's order was that of the numbers.
        let order = if self.schema_version < CORRECTIONS_SINCE { "sequence_start" } else { "chain_position" };
        let row = sqlx::query(AssertSqlSafe(format!(
            "SELECT new_state_root FROM ves_commitments WHERE tenant_id = $1 AND store_id = $2
             ORDER BY {order} DESC LIMIT 1"
        )))
        .bind(of.tenant_id.uuid())
        .bind(of.store_id.uuid())
        .fetch_optional(&mut self.connection)
        .await
        .map_err(|e| refuse(&e))?;
        row.map(|row| hash(&row, "new_state_root")).transpose().map_err(|e| refuse(&e))
    }

    async fn entity_breaks(
        &mut self,
        of: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<EntityBreak>, StoreError> {
        let sql = format!(
            "SELECT * FROM (
                 SELECT tenant_id, store_id, sequence_number, entity_type, entity_id, entity_version,
                        coalesce(lag(entity_version) OVER (
                            PARTITION BY tenant_id, store_id, entity_type, entity_id
                            ORDER BY sequence_number), 0) + 1 AS expected
                 FROM ves_events WHERE {OF_STREAM}) AS versions
             WHERE entity_version <> expected LIMIT $3"
        );
        let rows = self.rows_of(sql, of, limit).await?;
        rows.iter().map(entity_break).collect::<sqlx::Result<_>>().map_err(|e| refuse(&e))
    }

    async fn repeated_ids(
        &mut self,
        of: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<RepeatedId>, StoreError> {
        // The rows themselves and no index: the unique index is what is not taken on trust here.
        self.plan("enable_indexscan = off; SET LOCAL enable_indexonlyscan = off").await?;
        let mut repeated = Vec::new();
        for kind in ["event_id", "command_id"] {
            let sql = format!(
                "SELECT tenant_id, store_id, {kind} AS id, min(sequence_number) AS first,
                        max(sequence_number) AS last, count(*) AS count
                 FROM ves_events WHERE {kind} IS NOT NULL AND {OF_STREAM}
                 GROUP BY tenant_id, store_id, {kind} HAVING count(*) > 1 LIMIT $3"
            );
            for row in self.rows_of(sql, of, limit).await? {
                repeated.push(repeated_id(&row, kind).map_err(|e| refuse(&e))?);
            }
        }
        self.plan("enable_indexscan = on; SET LOCAL enable_indexonlyscan = on").await?;
        Ok(repeated)
    }

    fn connection(&mut self) -> SnapshotConnection<'_> {
        SnapshotConnection::Postgres(&mut self.connection)
    }

    async fn cursors(&mut self) -> Result<Vec<CursorRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM follower_cursors ORDER BY follower, tenant_id, store_id")
            .fetch_all(&mut self.connection)
            .await
            .map_err(|e| refuse(&e))?;
        let cursor = |row: &PgRow| {
            Ok(CursorRecord {
                follower: row.try_get("follower")?,
                stream: stream(row)?,
                sequence_number: row.try_get::<i64, _>("sequence_number")?.unsigned_abs(),
            })
        };
        rows.iter().map(cursor).collect::<sqlx::Result<_>>().map_err(|e| refuse(&e))
    }

    async fn agent_key(
        &mut self,
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
    ) -> Result<Option<[u8; 32]>, StoreError> {
        let row = sqlx::query(
            "SELECT public_key FROM agent_keys WHERE tenant_id = $1 AND agent_id = $2 AND key_id = $3",
        )
        .bind(tenant_id.uuid())
        .bind(agent_id.uuid())
        .bind(i64::from(key_id))
        .fetch_optional(&mut self.connection)
        .await
        .map_err(|e| refuse(&e))?;
        row.map(|row| key(&row, "public_key")).transpose().map_err(|e| refuse(&e))
    }

    async fn sequencer_keys(&mut self) -> Result<Vec<SequencerKeyRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM sequencer_keys ORDER BY key_version")
            .fetch_all(&mut self.connection)
            .await
            .map_err(|e| refuse(&e))?;
        rows.iter().map(sequencer_key_row).collect::<sqlx::Result<_>>().map_err(|e| refuse(&e))
    }
}

impl PostgresSnapshot {
    /// The rows of a statement on [`OF_STREAM`] with a limit.
    async fn rows_of(
        &mut self,
        sql: String,
        of: Option<StreamId>,
        limit: usize,
    ) -> Result<Vec<PgRow>, StoreError> {
        sqlx::query(AssertSqlSafe(sql))
            .bind(of.map(|stream| stream.tenant_id.uuid()))
            .bind(of.map(|stream| stream.store_id.uuid()))
            .bind(signed(limit as u64))
            .fetch_all(&mut self.connection)
            .await
            .map_err(|e| refuse(&e))
    }

    /// Tells the planner which ways are open to it, until the end of the transaction.
    async fn plan(&mut self, how: &str) -> Result<(), StoreError> {
        let set =
            sqlx::raw_sql(AssertSqlSafe(format!("SET LOCAL {how}"))).execute(&mut self.connection).await;
        set.map(drop).map_err(|e| refuse(&e))
    }
}

/// The schema of the extension that can check an index against its table, if it is installed and may be used.
async fn has_amcheck(connection: &mut PgConnection) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar(
        "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
         WHERE e.extname = 'amcheck'
           AND has_function_privilege(
               to_regprocedure(quote_ident(n.nspname) || '.bt_index_check(regclass, boolean)'), 'EXECUTE')",
    )
    .fetch_optional(connection)
    .await
}

/// Every index against its table. A check that fails ends its transaction, so each runs within a savepoint.
async fn check_indexes(connection: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<EngineProblem>> {
    let indexes: Vec<String> = sqlx::query_scalar(
        "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         JOIN pg_am a ON a.oid = c.relam
         WHERE a.amname = 'btree' AND c.relkind = 'i' AND i.indisvalid
           AND c.relnamespace = current_schema()::regnamespace ORDER BY 1",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut problems = Vec::new();
    for index in indexes {
        sqlx::raw_sql("SAVEPOINT index_check").execute(&mut *connection).await?;
        let sql = format!("SELECT {schema}.bt_index_check($1::regclass, true)");
        let checked = sqlx::query(AssertSqlSafe(sql)).bind(&index).execute(&mut *connection).await;
        if let Err(sqlx::Error::Database(error)) = checked {
            sqlx::raw_sql("ROLLBACK TO SAVEPOINT index_check").execute(&mut *connection).await?;
            let expected = format!("index {index} holds what its table holds");
            let found = error.message().to_owned();
            problems.push(EngineProblem { stream: None, check: "amcheck", expected, found });
        } else {
            checked?;
        }
    }
    Ok(problems)
}

fn stream_trace(row: &PgRow) -> sqlx::Result<StreamTrace> {
    let last_event = unsigned(row, "last_event")?;
    let counter: Option<i64> = row.try_get("current_sequence")?;
    Ok(StreamTrace {
        stream: stream(row)?,
        counter: counter.map(i64::unsigned_abs),
        last_event,
        last_leaf: last_event,
        rows: Some(unsigned(row, "rows")?),
    })
}

fn event_trace(row: &PgRow) -> sqlx::Result<EventTrace> {
    Ok(EventTrace {
        sequence_number: unsigned(row, "sequence_number")?,
        leaf: Hash::from_slice(row.try_get("leaf")?),
        event: stored_event(row).map_err(|error| Unreadable(error.to_string())),
    })
}

impl PostgresSnapshot {
    async fn traces(
        &mut self,
        of: StreamId,
        what: &str,
        after: (u64, u64),
        limit: usize,
    ) -> Result<Vec<CommitmentTrace>, StoreError> {
        let sql = format!("SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS}, {what}");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(of.tenant_id.uuid())
            .bind(of.store_id.uuid())
            .bind(signed(after.0))
            .bind(signed(after.1))
            .bind(signed(limit as u64))
            .fetch_all(&mut self.connection)
            .await
            .map_err(|e| refuse(&e))?;
        rows.iter().map(commitment_trace).collect::<sqlx::Result<_>>().map_err(|e| refuse(&e))
    }
}

fn commitment_trace(row: &PgRow) -> sqlx::Result<CommitmentTrace> {
    let whole = commitment(row).and_then(|record| Ok((record, row.try_get("upper_levels")?)));
    Ok(CommitmentTrace {
        sequence_start: row.try_get::<i64, _>("sequence_start")?.unsigned_abs(),
        chain_position: row.try_get::<i64, _>("chain_position")?.unsigned_abs(),
        commitment: whole.map_err(|error| Unreadable(error.to_string())),
    })
}

fn entity_break(row: &PgRow) -> sqlx::Result<EntityBreak> {
    Ok(EntityBreak {
        stream: stream(row)?,
        sequence_number: unsigned(row, "sequence_number")?,
        entity_type: row.try_get("entity_type")?,
        entity_id: row.try_get("entity_id")?,
        expected: row.try_get::<i64, _>("expected")?.unsigned_abs(),
        found: row.try_get("entity_version")?,
    })
}

fn repeated_id(row: &PgRow, kind: &'static str) -> sqlx::Result<RepeatedId> {
    Ok(RepeatedId {
        stream: stream(row)?,
        kind,
        id: row.try_get("id")?,
        first: unsigned(row, "first")?,
        last: unsigned(row, "last")?,
        count: unsigned(row, "count")?,
    })
}
