//! The write path: one transaction a batch, whose round trips do not grow with the number of events.
//!
//! The counters are locked in the order of their keys, so two processes can't wait for each other; what is
//! read after that is read in a new snapshot, so it holds all that was written before. Each look-up is a lateral
//! join with a limit, which PostgreSQL can only answer by probing an index once an event.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bowline_types::{CommandId, EventId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{SequencerSigner, VerifiedEvent};
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Row as _, Transaction};
use uuid::Uuid;

use super::error::{refuse, refuse_commit};
use super::listen::CHANNEL;
use super::rows::{EVENT_COLUMNS, moment, signed, stored_event, stream, unsigned};
use crate::records::{AppendReport, CursorRecord, KnownEvent, VerifiedBatch};
use crate::sequencing::{Counter, EntityKey, Known, Row, entity_key, sequence};
use crate::{ChangeKind, Changes, StoreError};

pub(super) async fn append(
    pool: &PgPool,
    changes: &Changes,
    VerifiedBatch { events: batch, keys_epoch }: VerifiedBatch,
    signer: Arc<SequencerSigner>,
    now: Timestamp,
) -> Result<AppendReport, StoreError> {
    let streams: BTreeSet<StreamId> = batch.iter().map(|e| e.envelope.stream).collect();
    let (mut transaction, counters) = lock(pool, &streams, now).await.map_err(|e| refuse(&e))?;
    let known = known(&mut transaction, &batch, counters).await.map_err(|e| refuse(&e))?;
    let sequenced = tokio::task::spawn_blocking(move || sequence(batch, known, &signer, now))
        .await
        .map_err(|e| StoreError::Internal(e.to_string()))?;
    if sequenced.rows.is_empty() {
        transaction.rollback().await.map_err(|e| refuse(&e))?;
    } else {
        let written = write(&mut transaction, &sequenced.rows, &sequenced.counters).await;
        let epoch = written.map_err(|e| refuse(&e))?;
        if epoch > keys_epoch {
            transaction.rollback().await.map_err(|e| refuse(&e))?;
            changes.observe(ChangeKind::AgentKeys, epoch);
            return Err(StoreError::KeysChanged { epoch });
        }
        transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    }
    let heads = sequenced.counters.iter().map(|(stream, counter)| (*stream, counter.current)).collect();
    Ok(AppendReport { outcomes: sequenced.outcomes, heads })
}

/// Begins a transaction that holds the counters of all these streams.
async fn lock(
    pool: &PgPool,
    streams: &BTreeSet<StreamId>,
    now: Timestamp,
) -> sqlx::Result<(Transaction<'static, Postgres>, HashMap<StreamId, Counter>)> {
    let mut transaction = pool.begin().await?;
    let mut counters = lock_counters(&mut transaction, streams).await?;
    if counters.len() < streams.len() {
        // Creating may wait for another process that creates the same stream, and that one may wait for a
        // counter which is locked here: so let go of them first.
        transaction.rollback().await?;
        transaction = pool.begin().await?;
        create_streams(&mut transaction, streams, now).await?;
        counters = lock_counters(&mut transaction, streams).await?;
    }
    Ok((transaction, counters))
}

/// What the store holds of the things that the batch names.
async fn known(
    transaction: &mut Transaction<'_, Postgres>,
    batch: &[VerifiedEvent],
    counters: HashMap<StreamId, Counter>,
) -> sqlx::Result<Known> {
    let mut known = Known { counters, ..Known::default() };
    known.events = known_events(transaction, batch).await?;
    if batch.iter().any(|e| e.envelope.command_id.is_some()) {
        known.commands = known_commands(transaction, batch).await?;
    }
    known.entity_versions = entity_versions(transaction, batch).await?;
    Ok(known)
}

fn columns(streams: &BTreeSet<StreamId>) -> (Vec<Uuid>, Vec<Uuid>) {
    streams.iter().map(|s| (s.tenant_id.uuid(), s.store_id.uuid())).unzip()
}

async fn lock_counters(
    connection: &mut PgConnection,
    streams: &BTreeSet<StreamId>,
) -> sqlx::Result<HashMap<StreamId, Counter>> {
    let (tenants, stores) = columns(streams);
    let rows = sqlx::query(
        "SELECT tenant_id, store_id, current_sequence, updated_at FROM sequence_counters
         WHERE (tenant_id, store_id) IN (SELECT * FROM UNNEST($1::uuid[], $2::uuid[]))
         ORDER BY tenant_id, store_id FOR UPDATE",
    )
    .bind(tenants)
    .bind(stores)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let counter = Counter {
                current: unsigned(row, "current_sequence")?,
                updated_at: moment(row, "updated_at")?,
            };
            Ok((stream(row)?, counter))
        })
        .collect()
}

async fn create_streams(
    connection: &mut PgConnection,
    streams: &BTreeSet<StreamId>,
    now: Timestamp,
) -> sqlx::Result<()> {
    let (tenants, stores) = columns(streams);
    sqlx::query(
        "WITH named AS (SELECT * FROM UNNEST($1::uuid[], $2::uuid[]) AS s (tenant_id, store_id)),
         made AS (INSERT INTO streams (tenant_id, store_id, created_at)
                  SELECT tenant_id, store_id, $3 FROM named ORDER BY 1, 2 ON CONFLICT DO NOTHING)
         INSERT INTO sequence_counters (tenant_id, store_id, current_sequence, updated_at)
         SELECT tenant_id, store_id, 0, $3 FROM named ORDER BY 1, 2 ON CONFLICT DO NOTHING",
    )
    .bind(tenants)
    .bind(stores)
    .bind(now.to_chrono())
    .execute(connection)
    .await?;
    Ok(())
}

async fn known_events(
    connection: &mut PgConnection,
    batch: &[VerifiedEvent],
) -> sqlx::Result<HashMap<(StreamId, EventId), KnownEvent>> {
    let sql = format!(
        "SELECT e.* FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[]) AS k (event_id, tenant_id, store_id)
         CROSS JOIN LATERAL (
             SELECT {EVENT_COLUMNS} FROM ves_events v
             WHERE v.event_id = k.event_id AND v.tenant_id = k.tenant_id AND v.store_id = k.store_id LIMIT 1) AS e"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(batch.iter().map(|e| e.envelope.event_id.uuid()).collect::<Vec<_>>())
        .bind(batch.iter().map(|e| e.envelope.stream.tenant_id.uuid()).collect::<Vec<_>>())
        .bind(batch.iter().map(|e| e.envelope.stream.store_id.uuid()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
    let mut known = HashMap::with_capacity(rows.len());
    for row in &rows {
        let stored = stored_event(row)?;
        let event_id = stored.envelope.event_id;
        let event = KnownEvent {
            signing_hash: stored.signing_hash,
            signature: stored.envelope.agent_signature,
            receipt: stored.receipt,
        };
        known.insert((stored.envelope.stream, event_id), event);
    }
    Ok(known)
}

async fn known_commands(
    connection: &mut PgConnection,
    batch: &[VerifiedEvent],
) -> sqlx::Result<HashMap<(StreamId, CommandId), EventId>> {
    let named =
        || batch.iter().filter_map(|e| e.envelope.command_id.map(|command| (e.envelope.stream, command)));
    let rows = sqlx::query(
        "SELECT e.* FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[]) AS k (command_id, tenant_id, store_id)
         CROSS JOIN LATERAL (
             SELECT v.tenant_id, v.store_id, v.command_id, v.event_id FROM ves_events v
             WHERE v.command_id = k.command_id AND v.tenant_id = k.tenant_id AND v.store_id = k.store_id LIMIT 1) AS e",
    )
    .bind(named().map(|(_, command)| command.uuid()).collect::<Vec<_>>())
    .bind(named().map(|(stream, _)| stream.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(named().map(|(stream, _)| stream.store_id.uuid()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let command = CommandId::new(row.try_get("command_id")?);
            Ok(((stream(row)?, command), EventId::new(row.try_get("event_id")?)))
        })
        .collect()
}

async fn entity_versions(
    connection: &mut PgConnection,
    batch: &[VerifiedEvent],
) -> sqlx::Result<HashMap<EntityKey, u64>> {
    let named: BTreeSet<EntityKey> = batch.iter().map(entity_key).collect();
    let rows = sqlx::query(
        "SELECT k.tenant_id, k.store_id, k.entity_type, k.entity_id, v.entity_version
         FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS k (tenant_id, store_id, entity_type, entity_id)
         CROSS JOIN LATERAL (
             SELECT e.entity_version FROM ves_events e
             WHERE e.tenant_id = k.tenant_id AND e.store_id = k.store_id
               AND e.entity_type = k.entity_type AND e.entity_id = k.entity_id
             ORDER BY e.sequence_number DESC LIMIT 1) AS v",
    )
    .bind(named.iter().map(|(s, _, _)| s.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(named.iter().map(|(s, _, _)| s.store_id.uuid()).collect::<Vec<_>>())
    .bind(named.iter().map(|(_, entity_type, _)| entity_type.as_str()).collect::<Vec<_>>())
    .bind(named.iter().map(|(_, _, entity_id)| entity_id.as_str()).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let key = (stream(row)?, row.try_get("entity_type")?, row.try_get("entity_id")?);
            Ok((key, unsigned(row, "entity_version")?))
        })
        .collect()
}

/// Writes the rows and moves the counters; the epoch of the agent keys at that moment. It is read in the last
/// statement, after the counters were locked: whoever changes a key waits for the transactions that may have
/// read an older one (see `key_lifecycle`).
async fn write(
    connection: &mut PgConnection,
    rows: &[Row],
    counters: &HashMap<StreamId, Counter>,
) -> sqlx::Result<u64> {
    insert(connection, rows).await?;
    let moved: BTreeSet<StreamId> = rows.iter().map(|row| row.event.envelope.stream).collect();
    let counters: Vec<(StreamId, Counter)> =
        moved.iter().filter_map(|stream| counters.get(stream).map(|counter| (*stream, *counter))).collect();
    let moved = sqlx::query(
        "WITH moved AS (
             UPDATE sequence_counters c SET current_sequence = n.head, updated_at = n.moment
             FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[]) AS n (tenant_id, store_id, head, moment)
             WHERE c.tenant_id = n.tenant_id AND c.store_id = n.store_id
             RETURNING c.tenant_id, c.store_id, c.current_sequence)
         SELECT pg_notify($5, tenant_id || ' ' || store_id || ' ' || current_sequence),
             (SELECT epoch FROM change_epochs WHERE kind = $6) AS epoch FROM moved",
    )
    .bind(counters.iter().map(|(s, _)| s.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(counters.iter().map(|(s, _)| s.store_id.uuid()).collect::<Vec<_>>())
    .bind(counters.iter().map(|(_, c)| signed(c.current)).collect::<Vec<_>>())
    .bind(counters.iter().map(|(_, c)| c.updated_at.to_chrono()).collect::<Vec<_>>())
    .bind(CHANNEL)
    .bind(ChangeKind::AgentKeys.as_str())
    .fetch_all(connection)
    .await?;
    moved.first().map_or(Err(sqlx::Error::RowNotFound), |row| unsigned(row, "epoch"))
}

/// One statement for all rows: each parameter is a column.
async fn insert(connection: &mut PgConnection, rows: &[Row]) -> sqlx::Result<()> {
    fn column<'a, T>(rows: &'a [Row], value: impl Fn(&'a Row) -> T) -> Vec<T> {
        rows.iter().map(value).collect()
    }
    let sql = format!(
        "INSERT INTO ves_events ({EVENT_COLUMNS}, created_at, leaf)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::bigint[], $6::uuid[], $7::bigint[],
             $8::text[], $9::text[], $10::text[], $11::text[], $12::smallint[], $13::text[], $14::bytea[], $15::bytea[],
             $16::bytea[], $17::bytea[], $18::bigint[], $19::uuid[], $20::bigint[], $21::bigint[], $22::timestamptz[],
             $23::uuid[], $24::bigint[], $25::bytea[], $26::bytea[], $27::bytea[], $28::timestamptz[], $29::bytea[])"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(column(rows, |r| r.event.envelope.stream.tenant_id.uuid()))
        .bind(column(rows, |r| r.event.envelope.stream.store_id.uuid()))
        .bind(column(rows, |r| signed(r.receipt.sequence_number)))
        .bind(column(rows, |r| r.event.envelope.event_id.uuid()))
        .bind(column(rows, |r| i64::from(r.event.envelope.ves_version)))
        .bind(column(rows, |r| r.event.envelope.source_agent_id.uuid()))
        .bind(column(rows, |r| i64::from(r.event.envelope.agent_key_id)))
        .bind(column(rows, |r| r.event.envelope.entity_type.as_str()))
        .bind(column(rows, |r| r.event.envelope.entity_id.as_str()))
        .bind(column(rows, |r| r.event.envelope.event_type.as_str()))
        .bind(column(rows, |r| r.event.envelope.created_at.as_str()))
        .bind(column(rows, |r| i16::from(r.event.envelope.payload.kind() != 0)))
        .bind(column(rows, |r| r.event.envelope.payload.text()))
        .bind(column(rows, |r| &r.event.envelope.payload_plain_hash.as_bytes()[..]))
        .bind(column(rows, |r| &r.event.envelope.payload_cipher_hash.as_bytes()[..]))
        .bind(column(rows, |r| &r.event.signing_hash.as_bytes()[..]))
        .bind(column(rows, |r| &r.event.envelope.agent_signature.as_bytes()[..]))
        .bind(column(rows, |r| r.event.envelope.agent_signature_scheme.map(i64::from)))
        .bind(column(rows, |r| r.event.envelope.command_id.map(CommandId::uuid)))
        .bind(column(rows, |r| r.event.envelope.base_version.map(signed)))
        .bind(column(rows, |r| signed(r.entity_version)))
        .bind(column(rows, |r| r.receipt.sequenced_at.to_chrono()))
        .bind(column(rows, |r| r.receipt.sequencer_id))
        .bind(column(rows, |r| i64::from(r.receipt.key_version)))
        .bind(column(rows, |r| &r.receipt.receipt_hash.as_bytes()[..]))
        .bind(column(rows, |r| &r.receipt.signature.as_bytes()[..]))
        .bind(column(rows, |r| &r.receipt.attestation.as_bytes()[..]))
        .bind(column(rows, |r| -> DateTime<Utc> { r.event.created_at.to_chrono() }))
        .bind(column(rows, |r| &r.leaf.as_bytes()[..]))
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn advance_cursor(pool: &PgPool, cursor: &CursorRecord) -> Result<(), StoreError> {
    let (tenant, store): (TenantId, StoreId) = (cursor.stream.tenant_id, cursor.stream.store_id);
    sqlx::query(
        "INSERT INTO follower_cursors AS c
         SELECT $1::text, tenant_id, store_id, $4::bigint FROM sequence_counters
         WHERE tenant_id = $2 AND store_id = $3 AND current_sequence > 0
         ON CONFLICT (follower, tenant_id, store_id)
         DO UPDATE SET sequence_number = greatest(c.sequence_number, excluded.sequence_number)",
    )
    .bind(&cursor.follower)
    .bind(tenant.uuid())
    .bind(store.uuid())
    .bind(signed(cursor.sequence_number))
    .execute(pool)
    .await
    .map(drop)
    .map_err(|e| refuse_commit(&e))
}
