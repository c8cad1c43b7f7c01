//! Rules, what they remember, and what was matched.
//!
//! A trigger is read with what belongs to it in one transaction, so nobody sees half of a change.

pub(crate) mod matches;

use async_trait::async_trait;
use bowline_types::{EventId, StreamId, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};
use uuid::Uuid;

use crate::changes::sqlite::bump;
use crate::sqlite::SqliteStore;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::{fixed, moment, optional, signed, stream_columns, unsigned};
use crate::triggers::records::{DELETED_KEPT, TRIGGER_DELETED};
use crate::{
    ActionRecord, BreakerSettings, ChangeKind, ConditionRecord, MatchCommit, ProcessedEvent, PutTrigger,
    StateKey, StoreError, TriggerChange, TriggerFilter, TriggerRecord, TriggerStore,
};

const COLUMNS: &str = "trigger_id, tenant_id, name, description, chain_id, registry, enabled, is_stateful, \
     failure_threshold, recovery_secs, half_open_calls_max, created_at, updated_at, revision, deleted_at";

const MATCHES: &str = "deleted_at IS NULL AND (?1 IS NULL OR tenant_id = ?1) AND (?2 IS NULL OR enabled = ?2) \
     AND (?3 IS NULL OR chain_id = ?3)";

/// Deleted triggers that one deletion forgets at most.
const FORGOTTEN_MAX: i64 = 100;

fn put(
    transaction: &Transaction<'_>,
    trigger: &TriggerRecord,
    expected: Option<u64>,
    per_tenant_max: u64,
) -> Result<PutTrigger, Failure> {
    let found = transaction
        .prepare_cached("SELECT tenant_id, revision, deleted_at IS NULL FROM triggers WHERE trigger_id = ?1")?
        .query_row([trigger.trigger_id.as_bytes()], |row| {
            Ok((TenantId::from_bytes(fixed(row, 0)?), unsigned(row, 1)?, row.get::<_, bool>(2)?))
        })
        .optional()?;
    match (expected, found) {
        (Some(expected), Some((tenant_id, revision, true))) if tenant_id == trigger.tenant_id => {
            if revision != expected {
                return Ok(PutTrigger::Changed(revision));
            }
        }
        (Some(_), _) => return Ok(PutTrigger::Absent),
        (None, Some((_, revision, _))) => return Ok(PutTrigger::Changed(revision)),
        (None, None) => {
            let count: i64 = transaction
                .prepare_cached("SELECT count(*) FROM triggers WHERE tenant_id = ?1 AND deleted_at IS NULL")?
                .query_row([trigger.tenant_id.as_bytes()], |row| row.get(0))?;
            if count >= signed(per_tenant_max) {
                return Ok(PutTrigger::TooMany { max: per_tenant_max });
            }
        }
    }
    let revision = bump(transaction, ChangeKind::TRIGGERS)?;
    write(transaction, trigger, revision)?;
    Ok(PutTrigger::Written(revision))
}

fn write(transaction: &Transaction<'_>, trigger: &TriggerRecord, revision: u64) -> Result<(), Failure> {
    let id = trigger.trigger_id.as_bytes();
    let sql = format!(
        "INSERT OR REPLACE INTO triggers ({COLUMNS})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, NULL)"
    );
    transaction.prepare_cached(&sql)?.execute(rusqlite::params![
        id,
        trigger.tenant_id.as_bytes(),
        trigger.name,
        trigger.description,
        trigger.chain_id.map(signed),
        trigger.registry,
        trigger.enabled,
        trigger.is_stateful,
        trigger.breaker.failure_threshold,
        trigger.breaker.recovery_secs,
        trigger.breaker.half_open_calls_max,
        trigger.created_at.micros(),
        trigger.updated_at.micros(),
        signed(revision),
    ])?;
    transaction.prepare_cached("DELETE FROM trigger_conditions WHERE trigger_id = ?1")?.execute([id])?;
    transaction.prepare_cached("DELETE FROM trigger_actions WHERE trigger_id = ?1")?.execute([id])?;
    let mut into_conditions = transaction
        .prepare_cached("INSERT INTO trigger_conditions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for (ordinal, c) in trigger.conditions.iter().enumerate() {
        into_conditions.execute(rusqlite::params![
            id,
            signed(ordinal as u64),
            c.condition_id.as_bytes(),
            c.condition_type,
            c.field,
            c.operator,
            c.value,
            c.config
        ])?;
    }
    let mut into_actions =
        transaction.prepare_cached("INSERT INTO trigger_actions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for (ordinal, a) in trigger.actions.iter().enumerate() {
        into_actions.execute(rusqlite::params![
            id,
            signed(ordinal as u64),
            a.action_id.as_bytes(),
            a.action_type,
            a.priority,
            a.config,
            a.sealed
        ])?;
    }
    // What conditions remembered that are not there any more.
    transaction
        .prepare_cached(
            "DELETE FROM trigger_state WHERE trigger_id = ?1
             AND condition_id NOT IN (SELECT condition_id FROM trigger_conditions WHERE trigger_id = ?1)",
        )?
        .execute([id])?;
    Ok(())
}

/// The epochs of triggers and of breakers afterwards; none if there is no such trigger.
fn delete(
    transaction: &Transaction<'_>,
    tenant_id: TenantId,
    trigger_id: Uuid,
    now: Timestamp,
) -> Result<Option<(u64, u64)>, Failure> {
    let id = trigger_id.as_bytes();
    let deleted = transaction
        .prepare_cached(
            "UPDATE triggers SET deleted_at = ?3 WHERE trigger_id = ?1 AND tenant_id = ?2 AND deleted_at IS NULL",
        )?
        .execute((id, tenant_id.as_bytes(), now.micros()))?;
    if deleted == 0 {
        return Ok(None);
    }
    for table in ["trigger_conditions", "trigger_actions", "trigger_state"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE trigger_id = ?1"), [id])?;
    }
    transaction
        .execute("DELETE FROM circuit_breaker_state WHERE trigger_id = ?1", [trigger_id.to_string()])?;
    transaction
        .prepare_cached(
            "UPDATE action_jobs SET state = 'cancelled', ended_at = ?2, last_error = ?3
             WHERE trigger_id = ?1 AND state = 'waiting'",
        )?
        .execute((id, now.micros(), TRIGGER_DELETED))?;
    transaction
        .prepare_cached(
            "DELETE FROM triggers WHERE trigger_id IN
             (SELECT trigger_id FROM triggers WHERE deleted_at < ?1 LIMIT ?2)",
        )?
        .execute((now.micros() - DELETED_KEPT, FORGOTTEN_MAX))?;
    let revision = bump(transaction, ChangeKind::TRIGGERS)?;
    transaction
        .prepare_cached("UPDATE triggers SET revision = ?2 WHERE trigger_id = ?1")?
        .execute((id, signed(revision)))?;
    Ok(Some((revision, bump(transaction, ChangeKind::BREAKERS)?)))
}

/// A trigger without conditions and actions, and whether it is deleted.
fn bare(row: &Row<'_>) -> rusqlite::Result<(TriggerRecord, bool)> {
    let record = TriggerRecord {
        trigger_id: Uuid::from_bytes(fixed(row, 0)?),
        tenant_id: TenantId::from_bytes(fixed(row, 1)?),
        name: row.get(2)?,
        description: row.get(3)?,
        chain_id: optional(row, 4)?,
        registry: row.get(5)?,
        enabled: row.get(6)?,
        is_stateful: row.get(7)?,
        breaker: BreakerSettings {
            failure_threshold: row.get(8)?,
            recovery_secs: row.get(9)?,
            half_open_calls_max: row.get(10)?,
        },
        conditions: Vec::new(),
        actions: Vec::new(),
        created_at: moment(row, 11)?,
        updated_at: moment(row, 12)?,
        revision: unsigned(row, 13)?,
    };
    Ok((record, row.get::<_, Option<i64>>(14)?.is_some()))
}

/// Reads what belongs to a trigger.
fn complete(connection: &Connection, record: &mut TriggerRecord) -> Result<(), Failure> {
    let id = record.trigger_id.as_bytes();
    let mut conditions = connection.prepare_cached(
        "SELECT condition_id, condition_type, field, operator, value, config FROM trigger_conditions
         WHERE trigger_id = ?1 ORDER BY ordinal",
    )?;
    let condition = |row: &Row<'_>| {
        Ok(ConditionRecord {
            condition_id: Uuid::from_bytes(fixed(row, 0)?),
            condition_type: row.get(1)?,
            field: row.get(2)?,
            operator: row.get(3)?,
            value: row.get(4)?,
            config: row.get(5)?,
        })
    };
    record.conditions = conditions.query_map([id], condition)?.collect::<Result<_, _>>()?;
    let mut actions = connection.prepare_cached(
        "SELECT action_id, action_type, priority, config, sealed FROM trigger_actions
         WHERE trigger_id = ?1 ORDER BY ordinal",
    )?;
    let action = |row: &Row<'_>| {
        Ok(ActionRecord {
            action_id: Uuid::from_bytes(fixed(row, 0)?),
            action_type: row.get(1)?,
            priority: row.get(2)?,
            config: row.get(3)?,
            sealed: row.get(4)?,
        })
    };
    record.actions = actions.query_map([id], action)?.collect::<Result<_, _>>()?;
    Ok(())
}

fn one(connection: &mut Connection, trigger_id: Uuid) -> Result<Option<TriggerRecord>, Failure> {
    let transaction = connection.transaction()?;
    let sql = format!("SELECT {COLUMNS} FROM triggers WHERE trigger_id = ?1 AND deleted_at IS NULL");
    let found = transaction.prepare_cached(&sql)?.query_row([trigger_id.as_bytes()], bare).optional()?;
    let Some((mut record, _)) = found else { return Ok(None) };
    complete(&transaction, &mut record)?;
    Ok(Some(record))
}

fn list(connection: &mut Connection, filter: &TriggerFilter) -> Result<(Vec<TriggerRecord>, u64), Failure> {
    let transaction = connection.transaction()?;
    let tenant = filter.tenant_id.as_ref().map(TenantId::as_bytes);
    let chain = filter.chain_id.map(signed);
    let count = transaction
        .prepare_cached(&format!("SELECT count(*) FROM triggers WHERE {MATCHES}"))?
        .query_row((tenant, filter.enabled, chain), |row| unsigned(row, 0))?;
    let sql = format!(
        "SELECT {COLUMNS} FROM triggers WHERE {MATCHES} ORDER BY created_at, trigger_id LIMIT ?4 OFFSET ?5"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let (limit, offset) = (signed(filter.limit as u64), signed(filter.offset));
    let mut records = statement
        .query_map((tenant, filter.enabled, chain, limit, offset), |row| Ok(bare(row)?.0))?
        .collect::<Result<Vec<_>, _>>()?;
    for record in &mut records {
        complete(&transaction, record)?;
    }
    Ok((records, count))
}

fn changes(connection: &mut Connection, after: u64, limit: usize) -> Result<Vec<TriggerChange>, Failure> {
    let transaction = connection.transaction()?;
    let sql = format!("SELECT {COLUMNS} FROM triggers WHERE revision > ?1 ORDER BY revision LIMIT ?2");
    let mut statement = transaction.prepare_cached(&sql)?;
    let rows = statement.query_map((signed(after), signed(limit as u64)), bare)?;
    let mut changes = Vec::new();
    for row in rows {
        let (mut record, deleted) = row?;
        changes.push(if deleted {
            TriggerChange::Deleted { trigger_id: record.trigger_id, revision: record.revision }
        } else {
            complete(&transaction, &mut record)?;
            TriggerChange::Put(Box::new(record))
        });
    }
    Ok(changes)
}

fn state(connection: &mut Connection, keys: Vec<StateKey>) -> Result<Vec<(StateKey, String)>, Failure> {
    let transaction = connection.transaction()?;
    let mut statement = transaction.prepare_cached(
        "SELECT state_data FROM trigger_state
         WHERE trigger_id = ?1 AND condition_id = ?2 AND tenant_id = ?3 AND store_id = ?4 AND subject = ?5",
    )?;
    let mut found = Vec::new();
    for key in keys {
        let (tenant, store) = (key.stream.tenant_id, key.stream.store_id);
        let columns = (
            key.trigger_id.as_bytes(),
            key.condition_id.as_bytes(),
            tenant.as_bytes(),
            store.as_bytes(),
            &key.subject,
        );
        if let Some(state) = statement.query_row(columns, |row| row.get(0)).optional()? {
            found.push((key, state));
        }
    }
    Ok(found)
}

fn state_of(
    connection: &Connection,
    trigger_id: Uuid,
    limit: usize,
) -> Result<Vec<(StateKey, String, Timestamp)>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT condition_id, tenant_id, store_id, subject, state_data, last_updated FROM trigger_state
         WHERE trigger_id = ?1 ORDER BY condition_id, tenant_id, store_id, subject LIMIT ?2",
    )?;
    let rows = statement.query_map((trigger_id.as_bytes(), signed(limit as u64)), |row| {
        let (condition_id, stream) = (Uuid::from_bytes(fixed(row, 0)?), stream_columns(row, 1)?);
        let key = StateKey { trigger_id, condition_id, stream, subject: row.get(3)? };
        Ok((key, row.get(4)?, moment(row, 5)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[async_trait]
impl TriggerStore for SqliteStore {
    async fn put_trigger(
        &self,
        trigger: TriggerRecord,
        expected: Option<u64>,
        per_tenant_max: u64,
    ) -> Result<PutTrigger, StoreError> {
        let heard = self.changes.clone();
        let change = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcome = put(&transaction, &trigger, expected, per_tenant_max)?;
            if let PutTrigger::Written(revision) = outcome {
                transaction.commit()?;
                heard.observe(ChangeKind::TRIGGERS, revision);
            }
            Ok(outcome)
        };
        self.with_writer(change).await
    }

    async fn delete_trigger(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let heard = self.changes.clone();
        let change = move |connection: &mut Connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let Some((triggers, breakers)) = delete(&transaction, tenant_id, trigger_id, now)? else {
                return Ok(false);
            };
            transaction.commit()?;
            heard.observe(ChangeKind::TRIGGERS, triggers);
            heard.observe(ChangeKind::BREAKERS, breakers);
            Ok(true)
        };
        self.with_writer(change).await
    }

    async fn trigger(&self, trigger_id: Uuid) -> Result<Option<TriggerRecord>, StoreError> {
        self.with_reader(move |connection| one(connection, trigger_id)).await
    }

    async fn triggers(&self, filter: TriggerFilter) -> Result<(Vec<TriggerRecord>, u64), StoreError> {
        self.with_reader(move |connection| list(connection, &filter)).await
    }

    async fn trigger_changes(&self, after: u64, limit: usize) -> Result<Vec<TriggerChange>, StoreError> {
        self.with_reader(move |connection| changes(connection, after, limit)).await
    }

    async fn trigger_state(&self, keys: Vec<StateKey>) -> Result<Vec<(StateKey, String)>, StoreError> {
        self.with_reader(move |connection| state(connection, keys)).await
    }

    async fn state_of_trigger(
        &self,
        trigger_id: Uuid,
        limit: usize,
    ) -> Result<Vec<(StateKey, String, Timestamp)>, StoreError> {
        self.with_reader(move |connection| state_of(connection, trigger_id, limit)).await
    }

    async fn commit_matches(&self, step: MatchCommit, now: Timestamp) -> Result<(), StoreError> {
        self.gate.pass().map_err(crate::metrics::count_error)?;
        let heard = self.changes.clone();
        self.with_writer(move |connection| matches::commit(connection, &heard, &step, now)).await
    }

    async fn processed_event(
        &self,
        stream: StreamId,
        event_id: EventId,
    ) -> Result<Option<ProcessedEvent>, StoreError> {
        self.with_reader(move |connection| matches::processed(connection, stream, event_id)).await
    }

    async fn forget_processed(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        self.with_writer(move |connection| matches::forget(connection, before, limit)).await
    }
}
