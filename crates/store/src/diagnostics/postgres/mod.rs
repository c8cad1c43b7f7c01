//! Facts about a PostgreSQL store, for operators: statements that only read, each bounded.
//!
//! They run on a pooled connection for the node, and on a connection of their own that can't write for whoever
//! looks at a database from beside it.

mod actions;

use std::sync::Arc;

use async_trait::async_trait;
use bowline_runtime::Seen;
use bowline_types::{EventId, StreamId, TenantId, Timestamp};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::sync::Mutex;

use crate::Diagnostics;
use crate::StoreError;
use crate::diagnostics::records::{
    Activity, ChainFacts, ConnectionFacts, CounterLock, DeadLetterCount, DeadLetterFacts, IndexFacts,
    ROWS_MAX, STREAMS_MAX, SchemaFacts, Scope, StoreFacts, StreamFacts, TableFacts, TenantLoad,
    expected_indexes,
};
use crate::migrations::Schema;
use crate::postgres::PostgresStore;
use crate::postgres::error::refuse;
use crate::postgres::rows::{
    COMMITMENT_COLUMNS, COMMITMENT_MARKS, commitment, moment, signed, stream, unsigned,
};

/// Milliseconds that one statement of an inspector may run.
const STATEMENT_MS_MAX: u32 = 30_000;

/// Looks at a database from beside the nodes that use it, and can't write to it.
#[derive(Debug)]
pub struct PostgresInspector {
    connection: Mutex<PgConnection>,
    schema: Schema,
}

impl PostgresInspector {
    /// Connects; what the database holds may differ from `schema`, which says what should be there.
    ///
    /// # Errors
    /// The database can't be reached, or the URL is none.
    pub async fn connect(url: &str, schema: Schema) -> Result<Arc<dyn Diagnostics>, StoreError> {
        let parsed: Result<PgConnectOptions, sqlx::Error> = url.parse();
        let options = parsed.map_err(|e| StoreError::Internal(format!("the database URL: {e}")))?;
        let options = options.application_name("bowline-doctor").options([
            ("default_transaction_read_only", "on".to_owned()),
            ("statement_timeout", STATEMENT_MS_MAX.to_string()),
        ]);
        let connection = PgConnection::connect_with(&options).await.map_err(|e| refuse(&e))?;
        Ok(Arc::new(Self { connection: Mutex::new(connection), schema }))
    }
}

macro_rules! diagnostics {
    ($store:ty, $self:ident => $connection:expr) => {
        #[async_trait]
        impl Diagnostics for $store {
            async fn database_time(&self) -> Result<Timestamp, StoreError> {
                let $self = self;
                database_time(&mut *$connection).await.map_err(|e| refuse(&e))
            }

            async fn diagnose(&self, scope: Scope) -> Result<StoreFacts, StoreError> {
                let $self = self;
                Ok(diagnose(&mut *$connection, &$self.schema, scope).await)
            }

            async fn streams_of_event(&self, event_id: EventId) -> Result<Vec<StreamId>, StoreError> {
                let $self = self;
                streams_of_event(&mut *$connection, event_id).await.map_err(|e| refuse(&e))
            }

            async fn dead_letters_of_event(
                &self,
                event_id: EventId,
            ) -> Result<Vec<DeadLetterFacts>, StoreError> {
                let $self = self;
                dead_letters_of_event(&mut *$connection, event_id).await.map_err(|e| refuse(&e))
            }
        }
    };
}

diagnostics!(PostgresInspector, inspector => inspector.connection.lock().await);
diagnostics!(PostgresStore, store => store.counted(store.pool()?.acquire().await.map_err(|e| refuse(&e)))?);

async fn database_time(connection: &mut PgConnection) -> sqlx::Result<Timestamp> {
    let row = sqlx::query("SELECT clock_timestamp() AS now").fetch_one(connection).await?;
    moment(&row, "now")
}

async fn diagnose(connection: &mut PgConnection, known: &Schema, scope: Scope) -> StoreFacts {
    StoreFacts {
        engine: "postgres",
        schema: seen(schema(connection, known).await),
        streams: seen(streams(connection, scope.events_per_stream).await),
        chains: seen(chains(connection, scope.commitments_per_stream).await),
        dead_letters: seen(dead_letters(connection).await),
        tables: seen(tables(connection).await),
        indexes: seen(indexes(connection, known).await),
        connections: seen(connections(connection).await),
        activity: seen(activity(connection).await),
        counter_locks: seen(counter_locks(connection).await),
        busiest_tenants: seen(busiest_tenants(connection, scope.events_per_stream).await),
        sources: seen(actions::sources(connection).await),
        matching: seen(actions::matching(connection).await),
        actions: seen(actions::actions(connection).await),
        open_breakers: seen(actions::open_breakers(connection).await),
    }
}

fn seen<T>(fact: sqlx::Result<T>) -> Seen<T> {
    fact.map_err(|error| refuse(&error).to_string())
}

async fn schema(connection: &mut PgConnection, known: &Schema) -> sqlx::Result<SchemaFacts> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('schema_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    let found = match there {
        true => {
            sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM schema_migrations")
                .fetch_one(connection)
                .await?
        }
        false => 0,
    };
    Ok(SchemaFacts { found, known: known.version() })
}

/// One statement, so that counters and events are of one moment.
async fn streams(connection: &mut PgConnection, window: u64) -> sqlx::Result<Vec<StreamFacts>> {
    let rows = sqlx::query(
        "SELECT c.*, committed.upto AS committed, found.*,
                (SELECT e.sequenced_at FROM ves_events e
                 WHERE e.tenant_id = c.tenant_id AND e.store_id = c.store_id
                   AND e.sequence_number = committed.upto + 1) AS uncommitted_since
         FROM (SELECT tenant_id, store_id, current_sequence, updated_at,
                      greatest(current_sequence - $1 + 1, 1) AS looked_from
               FROM sequence_counters WHERE current_sequence > 0 ORDER BY updated_at DESC LIMIT $2) c,
         LATERAL (SELECT coalesce(max(m.sequence_end), 0) AS upto FROM ves_commitments m
                  WHERE m.tenant_id = c.tenant_id AND m.store_id = c.store_id) committed,
         LATERAL (SELECT count(*) AS present, coalesce(max(e.sequence_number), 0) AS last FROM ves_events e
                  WHERE e.tenant_id = c.tenant_id AND e.store_id = c.store_id
                    AND e.sequence_number >= c.looked_from) found",
    )
    .bind(signed(window.max(1)))
    .bind(i64::from(STREAMS_MAX))
    .fetch_all(&mut *connection)
    .await?;
    let mut streams = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut facts = stream_facts(row)?;
        if facts.present != facts.head + 1 - facts.looked_from || facts.last != facts.head {
            facts.gaps = gaps(connection, &facts).await?;
        }
        streams.push(facts);
    }
    Ok(streams)
}

fn stream_facts(row: &PgRow) -> sqlx::Result<StreamFacts> {
    let since: Option<chrono::DateTime<chrono::Utc>> = row.try_get("uncommitted_since")?;
    Ok(StreamFacts {
        stream: stream(row)?,
        head: unsigned(row, "current_sequence")?,
        committed: unsigned(row, "committed")?,
        updated_at: moment(row, "updated_at")?,
        uncommitted_since: since.map(Timestamp::from_chrono),
        looked_from: unsigned(row, "looked_from")?,
        present: unsigned(row, "present")?,
        last: unsigned(row, "last")?,
        gaps: Vec::new(),
    })
}

async fn gaps(connection: &mut PgConnection, facts: &StreamFacts) -> sqlx::Result<Vec<(u64, u64)>> {
    let rows = sqlx::query(
        "SELECT number + 1 AS first, next - 1 AS last FROM (
             SELECT number, lead(number, 1, $4 + 1) OVER (ORDER BY number) AS next FROM (
                 SELECT $3 - 1 AS number UNION ALL
                 SELECT sequence_number FROM ves_events
                 WHERE tenant_id = $1 AND store_id = $2 AND sequence_number BETWEEN $3 AND $4) AS numbers
         ) AS pairs WHERE next > number + 1 ORDER BY number LIMIT $5",
    )
    .bind(facts.stream.tenant_id.uuid())
    .bind(facts.stream.store_id.uuid())
    .bind(signed(facts.looked_from))
    .bind(signed(facts.head))
    .bind(i64::from(ROWS_MAX))
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((unsigned(row, "first")?, unsigned(row, "last")?))).collect()
}

async fn chains(connection: &mut PgConnection, count: u64) -> sqlx::Result<Vec<ChainFacts>> {
    let sql = format!(
        "SELECT last.* FROM (
             SELECT tenant_id AS tenant, store_id AS store FROM sequence_counters ORDER BY updated_at DESC LIMIT $2) s,
         LATERAL (SELECT {COMMITMENT_COLUMNS}, {COMMITMENT_MARKS} FROM ves_commitments
                  WHERE tenant_id = s.tenant AND store_id = s.store
                  ORDER BY chain_position DESC LIMIT $1) last
         ORDER BY last.tenant_id, last.store_id, last.chain_position"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(signed(count))
        .bind(i64::from(STREAMS_MAX))
        .fetch_all(connection)
        .await?;
    let mut chains: Vec<ChainFacts> = Vec::new();
    for row in &rows {
        let next = commitment(row)?;
        match chains.last_mut() {
            Some(chain)
                if chain
                    .commitments
                    .first()
                    .is_some_and(|first| first.commitment.stream == next.commitment.stream) =>
            {
                chain.commitments.push(next);
            }
            _ => chains.push(ChainFacts { commitments: vec![next], whole: false }),
        }
    }
    for chain in &mut chains {
        chain.whole = (chain.commitments.len() as u64) < count;
    }
    Ok(chains)
}

async fn dead_letters(connection: &mut PgConnection) -> sqlx::Result<Vec<DeadLetterCount>> {
    let rows = sqlx::query(
        "SELECT status, count(*) AS count, min(created_at) AS oldest FROM dead_letter_events GROUP BY status",
    )
    .fetch_all(connection)
    .await?;
    let count = |row: &PgRow| {
        let (status, oldest) = (row.try_get("status")?, moment(row, "oldest")?);
        Ok(DeadLetterCount { status, count: unsigned(row, "count")?, oldest: Some(oldest) })
    };
    rows.iter().map(count).collect()
}

async fn tables(connection: &mut PgConnection) -> sqlx::Result<Vec<TableFacts>> {
    let rows = sqlx::query(
        "SELECT s.relname::text AS name, s.n_live_tup, s.n_dead_tup, s.n_mod_since_analyze,
                pg_total_relation_size(s.relid) AS bytes, greatest(s.last_analyze, s.last_autoanalyze) AS analyzed_at
         FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
         WHERE s.schemaname = current_schema() AND c.relkind = 'r' ORDER BY bytes DESC LIMIT $1",
    )
    .bind(i64::from(ROWS_MAX))
    .fetch_all(connection)
    .await?;
    let table = |row: &PgRow| {
        let analyzed: Option<chrono::DateTime<chrono::Utc>> = row.try_get("analyzed_at")?;
        Ok(TableFacts {
            name: row.try_get("name")?,
            rows: unsigned(row, "n_live_tup")?,
            dead_rows: unsigned(row, "n_dead_tup")?,
            bytes: unsigned(row, "bytes")?,
            analyzed_at: analyzed.map(Timestamp::from_chrono),
            changed_rows: unsigned(row, "n_mod_since_analyze")?,
        })
    };
    rows.iter().map(table).collect()
}

async fn indexes(connection: &mut PgConnection, known: &Schema) -> sqlx::Result<Vec<IndexFacts>> {
    let rows = sqlx::query(
        "SELECT s.indexrelname::text AS name, s.relname::text AS tbl, s.idx_scan, pg_relation_size(s.indexrelid) AS bytes,
                i.indisvalid AND i.indisready AS usable, i.indisunique AS uniq
         FROM pg_stat_user_indexes s JOIN pg_index i USING (indexrelid)
         WHERE s.schemaname = current_schema() ORDER BY s.idx_scan DESC, s.indexrelname",
    )
    .fetch_all(connection)
    .await?;
    let index = |row: &PgRow| {
        Ok(IndexFacts {
            name: row.try_get("name")?,
            table: row.try_get("tbl")?,
            scans: Some(unsigned(row, "idx_scan")?),
            bytes: unsigned(row, "bytes")?,
            usable: row.try_get("usable")?,
            unique: row.try_get("uniq")?,
        })
    };
    let mut indexes = rows.iter().map(index).collect::<sqlx::Result<Vec<_>>>()?;
    for name in expected_indexes(known.migrations().map(|(_, migration)| migration.postgres)) {
        if !indexes.iter().any(|index| index.name == name) {
            indexes.push(IndexFacts {
                name,
                table: String::new(),
                scans: None,
                bytes: 0,
                usable: false,
                unique: false,
            });
        }
    }
    Ok(indexes)
}

async fn connections(connection: &mut PgConnection) -> sqlx::Result<ConnectionFacts> {
    let row = sqlx::query(
        "SELECT count(*) FILTER (WHERE backend_type = 'client backend') AS used,
                count(*) FILTER (WHERE backend_type = 'client backend' AND state = 'active'
                                 AND pid <> pg_backend_pid()) AS active,
                current_setting('max_connections')::bigint AS max,
                count(*) FILTER (WHERE datname = current_database() AND state = 'idle'
                                 AND state_change < now() - interval '10 minutes') AS long_idle
         FROM pg_stat_activity",
    )
    .fetch_one(connection)
    .await?;
    let (used, max) = (unsigned(&row, "used")?, unsigned(&row, "max")?);
    let (active, long_idle) = (unsigned(&row, "active")?, unsigned(&row, "long_idle")?);
    Ok(ConnectionFacts { used, active, max, long_idle })
}

async fn activity(connection: &mut PgConnection) -> sqlx::Result<Vec<Activity>> {
    let rows = sqlx::query(
        "SELECT pid, coalesce(application_name, '') AS application,
                extract(epoch FROM clock_timestamp() - coalesce(xact_start, query_start))::float8 AS secs,
                coalesce(wait_event_type = 'Lock', false) AS waits, pg_blocking_pids(pid) AS blocked_by,
                coalesce(left(regexp_replace(query, '\\s+', ' ', 'g'), 120), '') AS query
         FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
           AND backend_type = 'client backend'
         ORDER BY secs DESC NULLS LAST LIMIT $1",
    )
    .bind(i64::from(ROWS_MAX))
    .fetch_all(connection)
    .await?;
    let active = |row: &PgRow| {
        Ok(Activity {
            pid: row.try_get("pid")?,
            application: row.try_get("application")?,
            secs: row.try_get::<Option<f64>, _>("secs")?.unwrap_or(0.0),
            waits_for_lock: row.try_get("waits")?,
            blocked_by: row.try_get("blocked_by")?,
            query: row.try_get("query")?,
        })
    };
    rows.iter().map(active).collect()
}

/// The table's lock says who has touched a counter in this transaction, and so who may hold its row.
async fn counter_locks(connection: &mut PgConnection) -> sqlx::Result<Vec<CounterLock>> {
    let rows = sqlx::query(
        "SELECT a.pid, coalesce(a.application_name, '') AS application, bool_and(l.granted) AS granted,
                coalesce(extract(epoch FROM clock_timestamp() - max(a.xact_start)), 0)::float8 AS secs,
                (SELECT count(*) FROM pg_stat_activity w WHERE a.pid = ANY (pg_blocking_pids(w.pid))) AS blocks
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
         WHERE l.relation = to_regclass('sequence_counters') AND l.pid <> pg_backend_pid()
           AND l.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                          'ExclusiveLock', 'AccessExclusiveLock', 'ShareUpdateExclusiveLock')
         GROUP BY a.pid, a.application_name ORDER BY secs DESC LIMIT $1",
    )
    .bind(i64::from(ROWS_MAX))
    .fetch_all(connection)
    .await?;
    let lock = |row: &PgRow| {
        Ok(CounterLock {
            pid: row.try_get("pid")?,
            application: row.try_get("application")?,
            granted: row.try_get("granted")?,
            secs: row.try_get("secs")?,
            blocks: unsigned(row, "blocks")?,
        })
    };
    rows.iter().map(lock).collect()
}

/// The runbook's question, bounded: it reads the ends of the streams and not the whole table.
async fn busiest_tenants(connection: &mut PgConnection, window: u64) -> sqlx::Result<Vec<TenantLoad>> {
    let rows = sqlx::query(
        "SELECT c.tenant_id, sum(recent.events)::bigint AS events
         FROM (SELECT * FROM sequence_counters WHERE updated_at > now() - interval '1 hour'
               ORDER BY updated_at DESC LIMIT $2) c,
         LATERAL (SELECT count(*) AS events FROM ves_events e
                  WHERE e.tenant_id = c.tenant_id AND e.store_id = c.store_id
                    AND e.sequence_number > c.current_sequence - $1
                    AND e.sequenced_at > now() - interval '1 hour') recent
         GROUP BY c.tenant_id HAVING sum(recent.events) > 0 ORDER BY events DESC LIMIT 5",
    )
    .bind(signed(window.max(1)))
    .bind(i64::from(STREAMS_MAX))
    .fetch_all(connection)
    .await?;
    let load = |row: &PgRow| {
        let tenant_id = TenantId::new(row.try_get("tenant_id")?);
        Ok(TenantLoad { tenant_id, events: unsigned(row, "events")? })
    };
    rows.iter().map(load).collect()
}

async fn streams_of_event(connection: &mut PgConnection, event_id: EventId) -> sqlx::Result<Vec<StreamId>> {
    let rows = sqlx::query("SELECT tenant_id, store_id FROM ves_events WHERE event_id = $1 LIMIT $2")
        .bind(event_id.uuid())
        .bind(i64::from(ROWS_MAX))
        .fetch_all(connection)
        .await?;
    rows.iter().map(stream).collect()
}

async fn dead_letters_of_event(
    connection: &mut PgConnection,
    event_id: EventId,
) -> sqlx::Result<Vec<DeadLetterFacts>> {
    let rows = sqlx::query(
        "SELECT tenant_id, store_id, reason, status, error_message, retry_count, created_at
         FROM dead_letter_events WHERE event_id = $1 ORDER BY created_at LIMIT $2",
    )
    .bind(event_id.uuid())
    .bind(i64::from(ROWS_MAX))
    .fetch_all(connection)
    .await?;
    let letter = |row: &PgRow| {
        Ok(DeadLetterFacts {
            event_id,
            stream: stream(row)?,
            reason: row.try_get("reason")?,
            status: row.try_get("status")?,
            message: row.try_get("error_message")?,
            retries: row.try_get::<i32, _>("retry_count")?.unsigned_abs().into(),
            created_at: moment(row, "created_at")?,
        })
    };
    rows.iter().map(letter).collect()
}
