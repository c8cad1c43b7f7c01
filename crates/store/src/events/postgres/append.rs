//! The write path: two statements a batch, each a transaction of its own, however many events it has; a new stream,
//! a replay and another process on the same stream cost a few more.
//!
//! The first reads, in one snapshot, the counters and what the streams know of the batch. The second locks the
//! counters in the order of their keys, and writes only if none has moved since: an unmoved counter means that no
//! event was added, so what was read still holds. If another process was faster, the batch is decided again, now
//! and for a while with the counters locked before anything is read. Each look-up is a lateral join with a limit,
//! which PostgreSQL can only answer by probing an index once an event.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bowline_types::{CommandId, EventId, StreamId, Timestamp};
use bowline_ves::{SequencerSigner, VerifiedEvent};
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _};
use uuid::Uuid;

use crate::events::records::{AppendReport, KnownEvent};
use crate::events::sequencing::{Counter, EntityKey, Known, Row, Sequenced, Source, entity_key, sequence};
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::listen::CHANNEL;
use crate::postgres::rows::{EVENT_COLUMNS, moment, signed, stored_event, stream, unsigned};
use crate::{ChangeKind, StoreError};

/// Appends that lock first after another process was seen on the same streams: a batch that is decided twice
/// is signed twice.
const LOCK_FIRST_APPENDS: u32 = 64;

/// What an append is made of.
pub(crate) struct Append {
    pub(crate) batch: Arc<Vec<VerifiedEvent>>,
    /// The agent keys' epoch that the batch was verified under.
    pub(crate) keys_epoch: u64,
    pub(crate) signer: Arc<SequencerSigner>,
    pub(crate) now: Timestamp,
    /// Whose events these are.
    pub(crate) source: Source,
}

/// Appends of which others were seen to be faster.
#[derive(Debug, Default)]
pub(crate) struct Contention {
    lock_first: AtomicU32,
}

impl Contention {
    fn is_expected(&self) -> bool {
        let one_less = |left: u32| left.checked_sub(1);
        self.lock_first.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    fn met(&self) {
        self.lock_first.store(LOCK_FIRST_APPENDS, Ordering::Relaxed);
    }
}

impl Append {
    pub(crate) async fn run(
        &self,
        pool: &PgPool,
        contention: &Contention,
    ) -> Result<AppendReport, StoreError> {
        let streams: BTreeSet<StreamId> = self.batch.iter().map(|e| e.envelope.stream).collect();
        if !contention.is_expected() {
            if let Some(report) = self.unlocked(pool, &streams).await? {
                return Ok(report);
            }
            contention.met();
        }
        self.locked(pool, &streams).await
    }

    /// None if another process appended to one of the streams meanwhile; nothing was written then.
    async fn unlocked(
        &self,
        pool: &PgPool,
        streams: &BTreeSet<StreamId>,
    ) -> Result<Option<AppendReport>, StoreError> {
        let mut connection = pool.acquire().await.map_err(|e| refuse(&e))?;
        let mut known =
            known(&mut connection, &self.batch, streams, self.source).await.map_err(|e| refuse(&e))?;
        if known.counters.len() < streams.len() {
            create_streams(&mut connection, streams, self.now).await.map_err(|e| refuse(&e))?;
            known = self::known(&mut connection, &self.batch, streams, self.source)
                .await
                .map_err(|e| refuse(&e))?;
        }
        let read = known.counters.clone();
        let sequenced = self.sequence(known).await?;
        match self.write(&mut connection, &sequenced, &read).await.map_err(|e| refuse_commit(&e))? {
            Written::All => Ok(Some(report(sequenced))),
            Written::KeysChanged { epoch } => Err(StoreError::KeysChanged { epoch }),
            Written::CounterMoved => Ok(None),
        }
    }

    /// Waits for the counters first, so that nobody can be faster.
    async fn locked(&self, pool: &PgPool, streams: &BTreeSet<StreamId>) -> Result<AppendReport, StoreError> {
        let mut transaction = pool.begin().await.map_err(|e| refuse(&e))?;
        let Some(report) = self.within(&mut transaction, streams).await? else {
            // Creating may wait for another process that creates the same stream, and that one may wait for a
            // counter which is locked here: so let go of them first.
            transaction.rollback().await.map_err(|e| refuse(&e))?;
            self.make_streams(pool, streams).await?;
            return Box::pin(self.locked(pool, streams)).await;
        };
        transaction.commit().await.map_err(|e| refuse_commit(&e))?;
        Ok(report)
    }

    /// Writes within the caller's transaction, with the counters locked; none if a stream is missing. Whoever gets an
    /// error rolls back.
    pub(crate) async fn within(
        &self,
        transaction: &mut PgConnection,
        streams: &BTreeSet<StreamId>,
    ) -> Result<Option<AppendReport>, StoreError> {
        if lock_counters(transaction, streams).await.map_err(|e| refuse(&e))? < streams.len() as u64 {
            return Ok(None);
        }
        let known = known(transaction, &self.batch, streams, self.source).await.map_err(|e| refuse(&e))?;
        let read = known.counters.clone();
        let sequenced = self.sequence(known).await?;
        match self.write(transaction, &sequenced, &read).await.map_err(|e| refuse(&e))? {
            Written::All => Ok(Some(report(sequenced))),
            Written::KeysChanged { epoch } => Err(StoreError::KeysChanged { epoch }),
            Written::CounterMoved => Err(StoreError::Internal("a locked counter moved".to_owned())),
        }
    }

    pub(crate) async fn make_streams(
        &self,
        pool: &PgPool,
        streams: &BTreeSet<StreamId>,
    ) -> Result<(), StoreError> {
        let mut connection = pool.acquire().await.map_err(|e| refuse(&e))?;
        create_streams(&mut connection, streams, self.now).await.map_err(|e| refuse(&e))
    }

    /// Decides and signs, away from the threads that serve connections.
    async fn sequence(&self, known: Known) -> Result<Sequenced, StoreError> {
        let (batch, signer, now) = (Arc::clone(&self.batch), Arc::clone(&self.signer), self.now);
        let source = self.source;
        tokio::task::spawn_blocking(move || sequence(&batch, known, &signer, now, source))
            .await
            .map_err(|e| StoreError::Internal(e.to_string()))?
    }
}

fn report(sequenced: Sequenced) -> AppendReport {
    let heads = sequenced.counters.iter().map(|(stream, counter)| (*stream, counter.current)).collect();
    AppendReport { outcomes: sequenced.outcomes, heads }
}

/// What one row of [`known`]'s statement tells.
mod kind {
    pub(crate) const COUNTER: i32 = 0;
    pub(crate) const EVENT: i32 = 1;
    pub(crate) const ENTITY: i32 = 2;
    pub(crate) const COMMAND: i32 = 3;
}

/// What the store holds of the things that the batch names, as of one moment. A chain's events are new, as the table's
/// index sees to.
async fn known(
    connection: &mut PgConnection,
    batch: &[VerifiedEvent],
    streams: &BTreeSet<StreamId>,
    source: Source,
) -> sqlx::Result<Known> {
    let (tenants, stores) = columns(streams);
    let entities: BTreeSet<EntityKey> = batch.iter().map(entity_key).collect();
    let entities: Vec<EntityKey> = entities.into_iter().collect();
    let commands: Vec<(StreamId, CommandId)> = batch
        .iter()
        .filter_map(|e| e.envelope.command_id.map(|command| (e.envelope.stream, command)))
        .collect();
    let sql = known_sql();
    let looked_up = if source == Source::Client { batch } else { &[] };
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(tenants)
        .bind(stores)
        .bind(looked_up.iter().map(|e| e.envelope.event_id.uuid()).collect::<Vec<_>>())
        .bind(looked_up.iter().map(|e| e.envelope.stream.tenant_id.uuid()).collect::<Vec<_>>())
        .bind(looked_up.iter().map(|e| e.envelope.stream.store_id.uuid()).collect::<Vec<_>>())
        .bind(entities.iter().map(|(s, _, _)| s.tenant_id.uuid()).collect::<Vec<_>>())
        .bind(entities.iter().map(|(s, _, _)| s.store_id.uuid()).collect::<Vec<_>>())
        .bind(entities.iter().map(|(_, entity_type, _)| entity_type.as_str()).collect::<Vec<_>>())
        .bind(entities.iter().map(|(_, _, entity_id)| entity_id.as_str()).collect::<Vec<_>>())
        .bind(commands.iter().map(|(_, command)| command.uuid()).collect::<Vec<_>>())
        .bind(commands.iter().map(|(stream, _)| stream.tenant_id.uuid()).collect::<Vec<_>>())
        .bind(commands.iter().map(|(stream, _)| stream.store_id.uuid()).collect::<Vec<_>>())
        .fetch_all(&mut *connection)
        .await?;
    let mut known = Known::default();
    let mut numbers = Vec::new();
    for row in &rows {
        // Ordinals count from 1.
        let index = usize::try_from(row.try_get::<i64, _>("ordinal")?).unwrap_or_default().wrapping_sub(1);
        match row.try_get("kind")? {
            kind::COUNTER => {
                let counter =
                    Counter { current: unsigned(row, "number")?, updated_at: moment(row, "updated_at")? };
                known.counters.insert(stream(row)?, counter);
            }
            kind::EVENT => {
                if let Some(event) = batch.get(index) {
                    numbers.push((event.envelope.stream, unsigned(row, "number")?));
                }
            }
            kind::ENTITY => {
                if let Some(entity) = entities.get(index) {
                    known.entity_versions.insert(entity.clone(), unsigned(row, "number")?);
                }
            }
            _ => {
                if let Some(command) = commands.get(index) {
                    known.commands.insert(*command, EventId::new(row.try_get("holder")?));
                }
            }
        }
    }
    if !numbers.is_empty() {
        known.events = known_events(connection, &numbers).await?;
    }
    Ok(known)
}

fn columns(streams: &BTreeSet<StreamId>) -> (Vec<Uuid>, Vec<Uuid>) {
    streams.iter().map(|s| (s.tenant_id.uuid(), s.store_id.uuid())).unzip()
}

/// How many of the streams have a counter, which is locked now.
async fn lock_counters(connection: &mut PgConnection, streams: &BTreeSet<StreamId>) -> sqlx::Result<u64> {
    let (tenants, stores) = columns(streams);
    sqlx::query(
        "SELECT 1 FROM sequence_counters
         WHERE (tenant_id, store_id) IN (SELECT * FROM UNNEST($1::uuid[], $2::uuid[]))
         ORDER BY tenant_id, store_id FOR UPDATE",
    )
    .bind(tenants)
    .bind(stores)
    .execute(connection)
    .await
    .map(|locked| locked.rows_affected())
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

/// The events of these numbers, which are there and never change.
async fn known_events(
    connection: &mut PgConnection,
    numbers: &[(StreamId, u64)],
) -> sqlx::Result<HashMap<(StreamId, EventId), KnownEvent>> {
    let sql = format!(
        "SELECT e.* FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[]) AS k (tenant_id, store_id, sequence_number)
         CROSS JOIN LATERAL (
             SELECT {EVENT_COLUMNS} FROM ves_events v
             WHERE v.tenant_id = k.tenant_id AND v.store_id = k.store_id AND v.sequence_number = k.sequence_number
             LIMIT 1) AS e"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(numbers.iter().map(|(stream, _)| stream.tenant_id.uuid()).collect::<Vec<_>>())
        .bind(numbers.iter().map(|(stream, _)| stream.store_id.uuid()).collect::<Vec<_>>())
        .bind(numbers.iter().map(|(_, number)| signed(*number)).collect::<Vec<_>>())
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

/// What became of the statement that writes.
enum Written {
    All,
    /// Nothing was written: a counter is not where it was read.
    CounterMoved,
    /// Nothing was written: the keys are not those that the batch was verified under.
    KeysChanged {
        epoch: u64,
    },
}

impl Append {
    /// Writes the rows and moves the counters if they still are where they were read, and if no agent key has changed.
    /// One statement: each parameter is a column. The epoch's row stays locked until the rows are committed, so the
    /// change of a key waits for them, and nothing that was verified before is written after it. It is locked after
    /// the counters: who waits for a counter keeps no key from being changed.
    async fn write(
        &self,
        connection: &mut PgConnection,
        sequenced: &Sequenced,
        read: &HashMap<StreamId, Counter>,
    ) -> sqlx::Result<Written> {
        let batch = &self.batch;
        fn column<'a, T>(rows: &'a [Row], value: impl Fn(&'a Row) -> T) -> Vec<T> {
            rows.iter().map(value).collect()
        }
        let rows = &sequenced.rows[..];
        if rows.is_empty() {
            return Ok(Written::All);
        }
        let event = |row: &Row| &batch[row.index];
        // Empty if nobody has asked for it yet.
        fn signature(row: &Row, index: usize) -> &[u8] {
            row.receipt.signatures.as_ref().map_or(&[], |both| both[index].as_bytes())
        }
        let moved: BTreeSet<StreamId> = rows.iter().map(|row| row.receipt.stream).collect();
        let counter =
            |counters: &HashMap<StreamId, Counter>, stream: &StreamId| counters.get(stream).copied();
        let counters: Vec<(StreamId, Counter, Counter)> = moved
            .iter()
            .filter_map(|s| Some((*s, counter(read, s)?, counter(&sequenced.counters, s)?)))
            .collect();
        if counters.len() != moved.len() {
            return Err(sqlx::Error::Protocol(
                "a stream was sequenced whose counter was not read".to_owned(),
            ));
        }
        let sql = write_sql();
        let written = sqlx::query(AssertSqlSafe(sql))
            .bind(column(rows, |r| r.receipt.stream.tenant_id.uuid()))
            .bind(column(rows, |r| r.receipt.stream.store_id.uuid()))
            .bind(column(rows, |r| signed(r.receipt.sequence_number)))
            .bind(column(rows, |r| r.receipt.event_id.uuid()))
            .bind(column(rows, |r| i64::from(event(r).envelope.ves_version)))
            .bind(column(rows, |r| event(r).envelope.source_agent_id.uuid()))
            .bind(column(rows, |r| i64::from(event(r).envelope.agent_key_id)))
            .bind(column(rows, |r| event(r).envelope.entity_type.as_str()))
            .bind(column(rows, |r| event(r).envelope.entity_id.as_str()))
            .bind(column(rows, |r| event(r).envelope.event_type.as_str()))
            .bind(column(rows, |r| event(r).envelope.created_at.as_str()))
            .bind(column(rows, |r| i16::from(event(r).envelope.payload.kind() != 0)))
            .bind(column(rows, |r| event(r).envelope.payload.text()))
            .bind(column(rows, |r| &event(r).envelope.payload_plain_hash.as_bytes()[..]))
            .bind(column(rows, |r| &event(r).envelope.payload_cipher_hash.as_bytes()[..]))
            .bind(column(rows, |r| &event(r).signing_hash.as_bytes()[..]))
            .bind(column(rows, |r| &event(r).envelope.agent_signature.as_bytes()[..]))
            .bind(column(rows, |r| event(r).envelope.agent_signature_scheme.map(i64::from)))
            .bind(column(rows, |r| event(r).envelope.command_id.map(CommandId::uuid)))
            .bind(column(rows, |r| event(r).envelope.base_version.map(signed)))
            .bind(column(rows, |r| signed(r.entity_version)))
            .bind(column(rows, |r| r.receipt.sequenced_at.to_chrono()))
            .bind(column(rows, |r| r.receipt.sequencer_id))
            .bind(column(rows, |r| i64::from(r.receipt.key_version)))
            .bind(column(rows, |r| &r.receipt.receipt_hash.as_bytes()[..]))
            .bind(column(rows, |r| signature(r, 0)))
            .bind(column(rows, |r| signature(r, 1)))
            .bind(column(rows, |r| -> DateTime<Utc> { event(r).created_at.to_chrono() }))
            .bind(column(rows, |r| &r.leaf.as_bytes()[..]))
            .bind(counters.iter().map(|(s, _, _)| s.tenant_id.uuid()).collect::<Vec<_>>())
            .bind(counters.iter().map(|(s, _, _)| s.store_id.uuid()).collect::<Vec<_>>())
            .bind(counters.iter().map(|(_, before, _)| signed(before.current)).collect::<Vec<_>>())
            .bind(counters.iter().map(|(_, _, after)| signed(after.current)).collect::<Vec<_>>())
            .bind(counters.iter().map(|(_, _, after)| after.updated_at.to_chrono()).collect::<Vec<_>>())
            .bind(CHANNEL)
            .bind(ChangeKind::AGENT_KEYS.as_str())
            .bind(signed(self.keys_epoch))
            .fetch_one(connection)
            .await?;
        let (epoch, moved) = (unsigned(&written, "epoch")?, unsigned(&written, "moved")?);
        Ok(match moved {
            _ if epoch > self.keys_epoch => Written::KeysChanged { epoch },
            0 => Written::CounterMoved,
            // The statement writes all or nothing; that it wrote is known, so this is a defect and no refusal.
            n if n == counters.len() as u64 => Written::All,
            n => return Err(sqlx::Error::Protocol(format!("{n} of {} counters moved", counters.len()))),
        })
    }
}

/// Reads what [`known`] asks for, in one snapshot.
fn known_sql() -> String {
    format!(
        "SELECT {counter} AS kind, 0::bigint AS ordinal, tenant_id, store_id, current_sequence AS number, updated_at,
                NULL::uuid AS holder
         FROM sequence_counters WHERE (tenant_id, store_id) IN (SELECT * FROM UNNEST($1::uuid[], $2::uuid[]))
         UNION ALL
         SELECT {event}, k.ordinal, NULL, NULL, e.sequence_number, NULL, NULL
         FROM UNNEST($3::uuid[], $4::uuid[], $5::uuid[]) WITH ORDINALITY AS k (event_id, tenant_id, store_id, ordinal)
         CROSS JOIN LATERAL (
             SELECT v.sequence_number FROM ves_events v
             WHERE v.event_id = k.event_id AND v.tenant_id = k.tenant_id AND v.store_id = k.store_id LIMIT 1) AS e
         UNION ALL
         SELECT {entity}, k.ordinal, NULL, NULL, e.entity_version, NULL, NULL
         FROM UNNEST($6::uuid[], $7::uuid[], $8::text[], $9::text[])
             WITH ORDINALITY AS k (tenant_id, store_id, entity_type, entity_id, ordinal)
         CROSS JOIN LATERAL (
             SELECT v.entity_version FROM ves_events v
             WHERE v.tenant_id = k.tenant_id AND v.store_id = k.store_id
               AND v.entity_type = k.entity_type AND v.entity_id = k.entity_id
             ORDER BY v.sequence_number DESC LIMIT 1) AS e
         UNION ALL
         SELECT {command}, k.ordinal, NULL, NULL, NULL, NULL, e.event_id
         FROM UNNEST($10::uuid[], $11::uuid[], $12::uuid[]) WITH ORDINALITY AS k (command_id, tenant_id, store_id, ordinal)
         CROSS JOIN LATERAL (
             SELECT v.event_id FROM ves_events v
             WHERE v.command_id = k.command_id AND v.tenant_id = k.tenant_id AND v.store_id = k.store_id LIMIT 1) AS e",
        counter = kind::COUNTER,
        event = kind::EVENT,
        entity = kind::ENTITY,
        command = kind::COMMAND,
    )
}

/// Writes the rows and moves the counters, or does nothing.
fn write_sql() -> String {
    format!(
        "WITH locked AS MATERIALIZED (
             SELECT c.tenant_id, c.store_id, n.head, n.moment, c.current_sequence = n.expected AS unmoved
             FROM UNNEST($30::uuid[], $31::uuid[], $32::bigint[], $33::bigint[], $34::timestamptz[])
                 AS n (tenant_id, store_id, expected, head, moment)
             JOIN sequence_counters c ON c.tenant_id = n.tenant_id AND c.store_id = n.store_id
             ORDER BY c.tenant_id, c.store_id FOR UPDATE OF c),
         keys AS MATERIALIZED (
             SELECT epoch FROM change_epochs WHERE kind = $36 AND (SELECT count(*) FROM locked) >= 0 FOR SHARE),
         verdict AS MATERIALIZED (
             SELECT (SELECT epoch FROM keys) <= $37
                 AND count(*) FILTER (WHERE unmoved) = cardinality($30::uuid[]) AS good FROM locked),
         added AS (
             INSERT INTO ves_events ({EVENT_COLUMNS}, created_at, leaf)
             SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::bigint[], $6::uuid[], $7::bigint[],
                 $8::text[], $9::text[], $10::text[], $11::text[], $12::smallint[], $13::text[], $14::bytea[], $15::bytea[],
                 $16::bytea[], $17::bytea[], $18::bigint[], $19::uuid[], $20::bigint[], $21::bigint[], $22::timestamptz[],
                 $23::uuid[], $24::bigint[], $25::bytea[], $26::bytea[], $27::bytea[], $28::timestamptz[], $29::bytea[])
             WHERE (SELECT good FROM verdict)),
         moved AS (
             UPDATE sequence_counters c SET current_sequence = l.head, updated_at = l.moment FROM locked l
             WHERE (SELECT good FROM verdict) AND c.tenant_id = l.tenant_id AND c.store_id = l.store_id
             RETURNING c.tenant_id, c.store_id, c.current_sequence),
         told AS MATERIALIZED (
             SELECT pg_notify($35, tenant_id || ' ' || store_id || ' ' || current_sequence) FROM moved)
         SELECT (SELECT epoch FROM keys) AS epoch, (SELECT count(*) FROM told) AS moved"
    )
}
