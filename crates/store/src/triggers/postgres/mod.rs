//! Rules, what they remember, and what was matched.
//!
//! A trigger is read with what belongs to it in one statement, so nobody sees half of a change.

pub(crate) mod matches;

use async_trait::async_trait;
use bowline_types::{EventId, StreamId, TenantId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::changes::postgres::bump;
use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::{corrupt, moment, optional, signed, stream, unsigned};
use crate::triggers::records::{DELETED_KEPT, TRIGGER_DELETED};
use crate::{
    ActionRecord, BreakerSettings, ChangeKind, Changes, ConditionRecord, MatchCommit, ProcessedEvent,
    PutTrigger, StateKey, StoreError, TriggerChange, TriggerFilter, TriggerRecord, TriggerStore,
};

const COLUMNS: &str = "t.trigger_id, t.tenant_id, t.name, t.description, t.chain_id, t.registry, t.enabled, \
     t.is_stateful, t.failure_threshold, t.recovery_secs, t.half_open_calls_max, t.created_at, t.updated_at, \
     t.revision, t.deleted_at IS NOT NULL AS deleted, c.*, a.*";

/// What belongs to a trigger, as arrays of equal length.
const PARTS: &str = "CROSS JOIN LATERAL (
         SELECT array_agg(p.condition_id ORDER BY p.ordinal) AS c_id, array_agg(p.condition_type ORDER BY p.ordinal) AS c_type,
             array_agg(p.field ORDER BY p.ordinal) AS c_field, array_agg(p.operator ORDER BY p.ordinal) AS c_operator,
             array_agg(p.value ORDER BY p.ordinal) AS c_value, array_agg(p.config ORDER BY p.ordinal) AS c_config
         FROM trigger_conditions p WHERE p.trigger_id = t.trigger_id) AS c
     CROSS JOIN LATERAL (
         SELECT array_agg(p.action_id ORDER BY p.ordinal) AS a_id, array_agg(p.action_type ORDER BY p.ordinal) AS a_type,
             array_agg(p.priority ORDER BY p.ordinal) AS a_priority, array_agg(p.config ORDER BY p.ordinal) AS a_config,
             array_agg(p.sealed ORDER BY p.ordinal) AS a_sealed
         FROM trigger_actions p WHERE p.trigger_id = t.trigger_id) AS a";

const MATCHES: &str = "t.deleted_at IS NULL AND ($1::uuid IS NULL OR t.tenant_id = $1) \
     AND ($2::boolean IS NULL OR t.enabled = $2) AND ($3::bigint IS NULL OR t.chain_id = $3)";

/// Deleted triggers that one deletion forgets at most.
const FORGOTTEN_MAX: i64 = 100;

async fn put(
    pool: &PgPool,
    changes: &Changes,
    trigger: &TriggerRecord,
    expected: Option<u64>,
    per_tenant_max: u64,
) -> Result<PutTrigger, StoreError> {
    let mut transaction = pool.begin().await.map_err(|e| refuse(&e))?;
    // Raised first: its row is locked until the commit, so whoever counts and compares does it alone.
    let revision = bump(&mut transaction, ChangeKind::TRIGGERS).await.map_err(|e| refuse(&e))?;
    let in_the_way = obstacle(&mut transaction, trigger, expected, per_tenant_max).await;
    if let Some(outcome) = in_the_way.map_err(|e| refuse(&e))? {
        return Ok(outcome);
    }
    write(&mut transaction, trigger, revision).await.map_err(|e| refuse(&e))?;
    transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    changes.observe(ChangeKind::TRIGGERS, revision);
    Ok(PutTrigger::Written(revision))
}

async fn obstacle(
    connection: &mut PgConnection,
    trigger: &TriggerRecord,
    expected: Option<u64>,
    per_tenant_max: u64,
) -> sqlx::Result<Option<PutTrigger>> {
    let found: Option<(Uuid, i64, bool)> =
        sqlx::query_as("SELECT tenant_id, revision, deleted_at IS NULL FROM triggers WHERE trigger_id = $1")
            .bind(trigger.trigger_id)
            .fetch_optional(&mut *connection)
            .await?;
    let found =
        found.map(|(tenant, revision, there)| (TenantId::new(tenant), revision.unsigned_abs(), there));
    match (expected, found) {
        (Some(expected), Some((tenant_id, revision, true))) if tenant_id == trigger.tenant_id => {
            Ok((revision != expected).then_some(PutTrigger::Changed(revision)))
        }
        (Some(_), _) => Ok(Some(PutTrigger::Absent)),
        (None, Some((_, revision, _))) => Ok(Some(PutTrigger::Changed(revision))),
        (None, None) => {
            let count: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM triggers WHERE tenant_id = $1 AND deleted_at IS NULL",
            )
            .bind(trigger.tenant_id.uuid())
            .fetch_one(connection)
            .await?;
            Ok((count >= signed(per_tenant_max)).then_some(PutTrigger::TooMany { max: per_tenant_max }))
        }
    }
}

async fn write(connection: &mut PgConnection, trigger: &TriggerRecord, revision: u64) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO triggers (trigger_id, tenant_id, name, description, chain_id, registry, enabled, is_stateful,
             failure_threshold, recovery_secs, half_open_calls_max, created_at, updated_at, revision)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (trigger_id) DO UPDATE SET name = excluded.name, description = excluded.description,
             chain_id = excluded.chain_id, registry = excluded.registry, enabled = excluded.enabled,
             is_stateful = excluded.is_stateful, failure_threshold = excluded.failure_threshold,
             recovery_secs = excluded.recovery_secs, half_open_calls_max = excluded.half_open_calls_max,
             created_at = excluded.created_at, updated_at = excluded.updated_at, revision = excluded.revision",
    )
    .bind(trigger.trigger_id)
    .bind(trigger.tenant_id.uuid())
    .bind(&trigger.name)
    .bind(&trigger.description)
    .bind(trigger.chain_id.map(signed))
    .bind(&trigger.registry)
    .bind(trigger.enabled)
    .bind(trigger.is_stateful)
    .bind(small(trigger.breaker.failure_threshold))
    .bind(small(trigger.breaker.recovery_secs))
    .bind(small(trigger.breaker.half_open_calls_max))
    .bind(trigger.created_at.to_chrono())
    .bind(trigger.updated_at.to_chrono())
    .bind(signed(revision))
    .execute(&mut *connection)
    .await?;
    for table in ["trigger_conditions", "trigger_actions"] {
        let sql = format!("DELETE FROM {table} WHERE trigger_id = $1");
        sqlx::query(AssertSqlSafe(sql)).bind(trigger.trigger_id).execute(&mut *connection).await?;
    }
    write_parts(connection, trigger).await?;
    // What conditions remembered that are not there any more.
    sqlx::query(
        "DELETE FROM trigger_state WHERE (trigger_id, condition_id, tenant_id, store_id, subject) IN (
             SELECT trigger_id, condition_id, tenant_id, store_id, subject FROM trigger_state
             WHERE trigger_id = $1
                 AND condition_id NOT IN (SELECT condition_id FROM trigger_conditions WHERE trigger_id = $1)
             ORDER BY trigger_id, condition_id, tenant_id, store_id, subject FOR UPDATE)",
    )
    .bind(trigger.trigger_id)
    .execute(connection)
    .await
    .map(drop)
}

async fn write_parts(connection: &mut PgConnection, trigger: &TriggerRecord) -> sqlx::Result<()> {
    let conditions = &trigger.conditions;
    sqlx::query(
        "INSERT INTO trigger_conditions
         SELECT $1, p.ordinal - 1, p.id, p.type, p.field, p.operator, p.value, p.config
         FROM UNNEST($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
             WITH ORDINALITY AS p (id, type, field, operator, value, config, ordinal)",
    )
    .bind(trigger.trigger_id)
    .bind(conditions.iter().map(|c| c.condition_id).collect::<Vec<_>>())
    .bind(conditions.iter().map(|c| c.condition_type.clone()).collect::<Vec<_>>())
    .bind(conditions.iter().map(|c| c.field.clone()).collect::<Vec<_>>())
    .bind(conditions.iter().map(|c| c.operator.clone()).collect::<Vec<_>>())
    .bind(conditions.iter().map(|c| c.value.clone()).collect::<Vec<_>>())
    .bind(conditions.iter().map(|c| c.config.clone()).collect::<Vec<_>>())
    .execute(&mut *connection)
    .await?;
    let actions = &trigger.actions;
    sqlx::query(
        "INSERT INTO trigger_actions
         SELECT $1, p.ordinal - 1, p.id, p.type, p.priority, p.config, p.sealed
         FROM UNNEST($2::uuid[], $3::text[], $4::integer[], $5::text[], $6::bytea[])
             WITH ORDINALITY AS p (id, type, priority, config, sealed, ordinal)",
    )
    .bind(trigger.trigger_id)
    .bind(actions.iter().map(|a| a.action_id).collect::<Vec<_>>())
    .bind(actions.iter().map(|a| a.action_type.clone()).collect::<Vec<_>>())
    .bind(actions.iter().map(|a| a.priority).collect::<Vec<_>>())
    .bind(actions.iter().map(|a| a.config.clone()).collect::<Vec<_>>())
    .bind(actions.iter().map(|a| a.sealed.clone()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

async fn delete(
    pool: &PgPool,
    changes: &Changes,
    tenant_id: TenantId,
    trigger_id: Uuid,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let mut transaction = pool.begin().await.map_err(|e| refuse(&e))?;
    let work = async {
        let revision = bump(&mut transaction, ChangeKind::TRIGGERS).await?;
        let deleted = sqlx::query(
            "UPDATE triggers SET deleted_at = $3, revision = $4
             WHERE trigger_id = $1 AND tenant_id = $2 AND deleted_at IS NULL",
        )
        .bind(trigger_id)
        .bind(tenant_id.uuid())
        .bind(now.to_chrono())
        .bind(signed(revision))
        .execute(&mut *transaction)
        .await?;
        if deleted.rows_affected() == 0 {
            return Ok(None);
        }
        // Rows that matching and workers write, too, are locked in the same order as there.
        sqlx::query(
            "SELECT 1 FROM trigger_state WHERE trigger_id = $1
             ORDER BY trigger_id, condition_id, tenant_id, store_id, subject FOR UPDATE",
        )
        .bind(trigger_id)
        .execute(&mut *transaction)
        .await?;
        for table in ["trigger_conditions", "trigger_actions", "trigger_state", "circuit_breaker_state"] {
            let sql = format!("DELETE FROM {table} WHERE trigger_id = $1");
            sqlx::query(AssertSqlSafe(sql)).bind(trigger_id).execute(&mut *transaction).await?;
        }
        sqlx::query(
            "UPDATE action_jobs SET state = 'cancelled', ended_at = $2, last_error = $3
             WHERE job_id IN (SELECT job_id FROM action_jobs WHERE trigger_id = $1 AND state = 'waiting'
                 ORDER BY job_id FOR UPDATE)",
        )
        .bind(trigger_id)
        .bind(now.to_chrono())
        .bind(TRIGGER_DELETED)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "DELETE FROM triggers WHERE trigger_id IN
             (SELECT trigger_id FROM triggers WHERE deleted_at < $1 LIMIT $2)",
        )
        .bind(Timestamp::from_micros(now.micros() - DELETED_KEPT).to_chrono())
        .bind(FORGOTTEN_MAX)
        .execute(&mut *transaction)
        .await?;
        Ok(Some((revision, bump(&mut transaction, ChangeKind::BREAKERS).await?)))
    };
    let done: Option<(u64, u64)> = work.await.map_err(|e: sqlx::Error| refuse(&e))?;
    let Some((revision, breakers)) = done else { return Ok(false) };
    transaction.commit().await.map_err(|e| refuse_commit(&e))?;
    changes.observe(ChangeKind::TRIGGERS, revision);
    changes.observe(ChangeKind::BREAKERS, breakers);
    Ok(true)
}

/// A number of at most 604,800.
fn small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn record(row: &PgRow) -> sqlx::Result<TriggerRecord> {
    let setting =
        |column: &str| u32::try_from(row.try_get::<i32, _>(column)?).map_err(|_| corrupt(column, "negative"));
    Ok(TriggerRecord {
        trigger_id: row.try_get("trigger_id")?,
        tenant_id: TenantId::new(row.try_get("tenant_id")?),
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        chain_id: optional(row, "chain_id")?,
        registry: row.try_get("registry")?,
        enabled: row.try_get("enabled")?,
        is_stateful: row.try_get("is_stateful")?,
        breaker: BreakerSettings {
            failure_threshold: setting("failure_threshold")?,
            recovery_secs: setting("recovery_secs")?,
            half_open_calls_max: setting("half_open_calls_max")?,
        },
        conditions: conditions(row)?,
        actions: actions(row)?,
        created_at: moment(row, "created_at")?,
        updated_at: moment(row, "updated_at")?,
        revision: unsigned(row, "revision")?,
    })
}

fn conditions(row: &PgRow) -> sqlx::Result<Vec<ConditionRecord>> {
    let Some(ids) = row.try_get::<Option<Vec<Uuid>>, _>("c_id")? else { return Ok(Vec::new()) };
    let types: Vec<String> = row.try_get("c_type")?;
    let mut texts = ["c_field", "c_operator", "c_value", "c_config"]
        .into_iter()
        .map(|column| row.try_get::<Vec<Option<String>>, _>(column).map(Vec::into_iter))
        .collect::<sqlx::Result<Vec<_>>>()?;
    let mut text = |column: usize| texts.get_mut(column).and_then(Iterator::next).flatten();
    let made = ids.into_iter().zip(types).map(|(condition_id, condition_type)| ConditionRecord {
        condition_id,
        condition_type,
        field: text(0),
        operator: text(1),
        value: text(2),
        config: text(3),
    });
    Ok(made.collect())
}

fn actions(row: &PgRow) -> sqlx::Result<Vec<ActionRecord>> {
    let Some(ids) = row.try_get::<Option<Vec<Uuid>>, _>("a_id")? else { return Ok(Vec::new()) };
    let types: Vec<String> = row.try_get("a_type")?;
    let priorities: Vec<i32> = row.try_get("a_priority")?;
    let configs: Vec<String> = row.try_get("a_config")?;
    let sealed: Vec<Option<Vec<u8>>> = row.try_get("a_sealed")?;
    let parts = ids.into_iter().zip(types).zip(priorities.into_iter().zip(configs.into_iter().zip(sealed)));
    let made = parts.map(|((action_id, action_type), (priority, (config, sealed)))| ActionRecord {
        action_id,
        action_type,
        priority,
        config,
        sealed,
    });
    Ok(made.collect())
}

async fn one(pool: &PgPool, trigger_id: Uuid) -> Result<Option<TriggerRecord>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM triggers t {PARTS} WHERE t.trigger_id = $1 AND t.deleted_at IS NULL");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(trigger_id).fetch_optional(pool).await;
    row.map_err(|e| refuse(&e))?.as_ref().map(record).transpose().map_err(|e| refuse(&e))
}

async fn list(pool: &PgPool, filter: &TriggerFilter) -> Result<(Vec<TriggerRecord>, u64), StoreError> {
    let (tenant, chain) = (filter.tenant_id.map(TenantId::uuid), filter.chain_id.map(signed));
    let count = format!("SELECT count(*) FROM triggers t WHERE {MATCHES}");
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(count))
        .bind(tenant)
        .bind(filter.enabled)
        .bind(chain)
        .fetch_one(pool)
        .await
        .map_err(|e| refuse(&e))?;
    let sql = format!(
        "SELECT {COLUMNS} FROM triggers t {PARTS} WHERE {MATCHES}
         ORDER BY t.created_at, t.trigger_id LIMIT $4 OFFSET $5"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(tenant)
        .bind(filter.enabled)
        .bind(chain)
        .bind(signed(filter.limit as u64))
        .bind(signed(filter.offset))
        .fetch_all(pool)
        .await
        .map_err(|e| refuse(&e))?;
    let records = rows.iter().map(record).collect::<sqlx::Result<_>>().map_err(|e| refuse(&e))?;
    Ok((records, count.unsigned_abs()))
}

async fn changes_after(pool: &PgPool, after: u64, limit: usize) -> Result<Vec<TriggerChange>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM triggers t {PARTS} WHERE t.revision > $1 ORDER BY t.revision LIMIT $2"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(signed(after))
        .bind(signed(limit as u64))
        .fetch_all(pool)
        .await
        .map_err(|e| refuse(&e))?;
    let change = |row: &PgRow| {
        let record = record(row)?;
        Ok(if row.try_get("deleted")? {
            TriggerChange::Deleted { trigger_id: record.trigger_id, revision: record.revision }
        } else {
            TriggerChange::Put(Box::new(record))
        })
    };
    rows.iter().map(change).collect::<sqlx::Result<_>>().map_err(|e| refuse(&e))
}

async fn state(pool: &PgPool, keys: Vec<StateKey>) -> Result<Vec<(StateKey, String)>, StoreError> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT k.ordinal, s.state_data
         FROM UNNEST($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[])
             WITH ORDINALITY AS k (trigger_id, condition_id, tenant_id, store_id, subject, ordinal)
         JOIN trigger_state s USING (trigger_id, condition_id, tenant_id, store_id, subject)",
    )
    .bind(keys.iter().map(|k| k.trigger_id).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.condition_id).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.stream.tenant_id.uuid()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.stream.store_id.uuid()).collect::<Vec<_>>())
    .bind(keys.iter().map(|k| k.subject.clone()).collect::<Vec<_>>())
    .fetch_all(pool)
    .await
    .map_err(|e| refuse(&e))?;
    let key = |ordinal: i64| usize::try_from(ordinal - 1).ok().and_then(|index| keys.get(index)).cloned();
    Ok(rows.into_iter().filter_map(|(ordinal, state)| Some((key(ordinal)?, state))).collect())
}

async fn state_of(
    pool: &PgPool,
    trigger_id: Uuid,
    limit: usize,
) -> Result<Vec<(StateKey, String, Timestamp)>, StoreError> {
    let rows = sqlx::query(
        "SELECT condition_id, tenant_id, store_id, subject, state_data, last_updated FROM trigger_state
         WHERE trigger_id = $1 ORDER BY condition_id, tenant_id, store_id, subject COLLATE \"C\" LIMIT $2",
    )
    .bind(trigger_id)
    .bind(signed(limit as u64))
    .fetch_all(pool)
    .await
    .map_err(|e| refuse(&e))?;
    let entry = |row: &PgRow| {
        let (condition_id, subject) = (row.try_get("condition_id")?, row.try_get("subject")?);
        let key = StateKey { trigger_id, condition_id, stream: stream(row)?, subject };
        Ok((key, row.try_get("state_data")?, moment(row, "last_updated")?))
    };
    rows.iter().map(entry).collect::<sqlx::Result<_>>().map_err(|e| refuse(&e))
}

#[async_trait]
impl TriggerStore for PostgresStore {
    async fn put_trigger(
        &self,
        trigger: TriggerRecord,
        expected: Option<u64>,
        per_tenant_max: u64,
    ) -> Result<PutTrigger, StoreError> {
        self.counted(put(self.pool()?, &self.changes, &trigger, expected, per_tenant_max).await)
    }

    async fn delete_trigger(
        &self,
        tenant_id: TenantId,
        trigger_id: Uuid,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.counted(delete(self.pool()?, &self.changes, tenant_id, trigger_id, now).await)
    }

    async fn trigger(&self, trigger_id: Uuid) -> Result<Option<TriggerRecord>, StoreError> {
        self.counted(one(self.pool()?, trigger_id).await)
    }

    async fn triggers(&self, filter: TriggerFilter) -> Result<(Vec<TriggerRecord>, u64), StoreError> {
        self.counted(list(self.pool()?, &filter).await)
    }

    async fn trigger_changes(&self, after: u64, limit: usize) -> Result<Vec<TriggerChange>, StoreError> {
        self.counted(changes_after(self.pool()?, after, limit).await)
    }

    async fn trigger_state(&self, keys: Vec<StateKey>) -> Result<Vec<(StateKey, String)>, StoreError> {
        self.counted(state(self.pool()?, keys).await)
    }

    async fn state_of_trigger(
        &self,
        trigger_id: Uuid,
        limit: usize,
    ) -> Result<Vec<(StateKey, String, Timestamp)>, StoreError> {
        self.counted(state_of(self.pool()?, trigger_id, limit).await)
    }

    async fn commit_matches(&self, step: MatchCommit, now: Timestamp) -> Result<(), StoreError> {
        self.counted(matches::commit(self.pool()?, &self.changes, &step, now).await)
    }

    async fn processed_event(
        &self,
        stream: StreamId,
        event_id: EventId,
    ) -> Result<Option<ProcessedEvent>, StoreError> {
        self.counted(matches::processed(self.pool()?, stream, event_id).await)
    }

    async fn forget_processed(&self, before: Timestamp, limit: u64) -> Result<u64, StoreError> {
        self.counted(matches::forget(self.pool()?, before, limit).await)
    }
}
