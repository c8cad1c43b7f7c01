//! Agent keys, API keys and the sequencers' own public keys.
//!
//! Whether a key may be used at a moment is decided elsewhere; here are only its rows.

pub(crate) mod lifecycle;

use bowline_types::{AgentId, TenantId, Timestamp};
use bowline_ves::Hash;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::keys::records::{join_words, parse_scopes};
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::{hash, key, moment, small};
use crate::{AgentKeyRecord, AgentKeyStatus, ApiKeyRecord, RegisterKey, SequencerKeyRecord, StoreError};

pub(crate) const AGENT_KEY_COLUMNS: &str = "tenant_id, agent_id, key_id, public_key, status, valid_from, valid_to, \
     revoked_at, revoked_reason, created_at";

pub(crate) async fn register_agent_key(
    pool: &PgPool,
    key: &AgentKeyRecord,
) -> Result<RegisterKey, StoreError> {
    let mut connection = pool.acquire().await.map_err(|e| refuse(&e))?;
    if insert_agent_key(&mut connection, key).await.map_err(|e| refuse_commit(&e))? {
        return Ok(RegisterKey::Created);
    }
    drop(connection);
    Ok(match agent_key(pool, key.tenant_id, key.agent_id, key.key_id).await? {
        Some(known) if known.public_key != key.public_key => RegisterKey::Conflict,
        Some(known) if known.status != AgentKeyStatus::Revoked => RegisterKey::Unchanged,
        _ => RegisterKey::Revoked,
    })
}

/// Whether it was inserted: not if its id is taken, nor if its bytes were revoked.
pub(crate) async fn insert_agent_key(
    connection: &mut PgConnection,
    key: &AgentKeyRecord,
) -> sqlx::Result<bool> {
    let sql = format!(
        "INSERT INTO agent_keys ({AGENT_KEY_COLUMNS}) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
         WHERE NOT EXISTS (SELECT 1 FROM agent_keys WHERE tenant_id = $1 AND agent_id = $2 AND public_key = $4
             AND status NOT IN ('active', 'expired'))
         ON CONFLICT DO NOTHING"
    );
    let inserted = sqlx::query(AssertSqlSafe(sql))
        .bind(key.tenant_id.uuid())
        .bind(key.agent_id.uuid())
        .bind(i64::from(key.key_id))
        .bind(&key.public_key[..])
        .bind(key.status.as_str())
        .bind(key.valid_from.map(Timestamp::to_chrono))
        .bind(key.valid_to.map(Timestamp::to_chrono))
        .bind(key.revoked_at.map(Timestamp::to_chrono))
        .bind(key.revoked_reason.as_deref())
        .bind(key.created_at.to_chrono())
        .execute(connection)
        .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(crate) async fn agent_key(
    pool: &PgPool,
    tenant_id: TenantId,
    agent_id: AgentId,
    key_id: u32,
) -> Result<Option<AgentKeyRecord>, StoreError> {
    let sql = format!(
        "SELECT {AGENT_KEY_COLUMNS} FROM agent_keys WHERE tenant_id = $1 AND agent_id = $2 AND key_id = $3"
    );
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(tenant_id.uuid())
        .bind(agent_id.uuid())
        .bind(i64::from(key_id))
        .fetch_optional(pool)
        .await
        .map_err(|e| refuse(&e))?;
    row.as_ref().map(agent_key_row).transpose().map_err(|e| refuse(&e))
}

pub(crate) fn agent_key_row(row: &PgRow) -> sqlx::Result<AgentKeyRecord> {
    let status: String = row.try_get("status")?;
    let optional =
        |column| row.try_get::<Option<DateTime<Utc>>, _>(column).map(|m| m.map(Timestamp::from_chrono));
    Ok(AgentKeyRecord {
        tenant_id: TenantId::new(row.try_get("tenant_id")?),
        agent_id: AgentId::new(row.try_get("agent_id")?),
        key_id: small(row, "key_id")?,
        public_key: key(row, "public_key")?,
        // A word that this binary does not know must never let a key sign.
        status: AgentKeyStatus::parse(&status).unwrap_or(AgentKeyStatus::Revoked),
        valid_from: optional("valid_from")?,
        valid_to: optional("valid_to")?,
        revoked_at: optional("revoked_at")?,
        revoked_reason: row.try_get("revoked_reason")?,
        created_at: moment(row, "created_at")?,
    })
}

/// Keeps or replaces an API key; whether there was one of this hash.
pub(crate) async fn put_api_key(connection: &mut PgConnection, key: &ApiKeyRecord) -> sqlx::Result<bool> {
    let replaced = sqlx::query("SELECT 1 FROM api_keys WHERE key_hash = $1 FOR UPDATE")
        .bind(&key.key_hash.as_bytes()[..])
        .fetch_optional(&mut *connection)
        .await?;
    sqlx::query(
        "INSERT INTO api_keys (key_hash, tenant_id, agent_id, permissions, store_ids, active, created_at, expires_at,
             revoked_at, rate_limit)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (key_hash) DO UPDATE SET tenant_id = excluded.tenant_id, agent_id = excluded.agent_id,
             permissions = excluded.permissions, store_ids = excluded.store_ids, active = excluded.active,
             created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at,
             rate_limit = excluded.rate_limit",
    )
    .bind(&key.key_hash.as_bytes()[..])
    .bind(key.tenant_id.uuid())
    .bind(key.agent_id.map(AgentId::uuid))
    .bind(join_words(key.permissions.iter().map(|p| p.as_str())))
    .bind(join_words(key.store_ids.iter()))
    .bind(key.active)
    .bind(key.created_at.to_chrono())
    .bind(key.expires_at.map(Timestamp::to_chrono))
    .bind(key.revoked_at.map(Timestamp::to_chrono))
    .bind(key.rate_limit.map(i64::from))
    .execute(connection)
    .await?;
    Ok(replaced.is_some())
}

pub(crate) async fn api_key(pool: &PgPool, key_hash: Hash) -> Result<Option<ApiKeyRecord>, StoreError> {
    let row = sqlx::query("SELECT * FROM api_keys WHERE key_hash = $1")
        .bind(&key_hash.as_bytes()[..])
        .fetch_optional(pool)
        .await
        .map_err(|e| refuse(&e))?;
    row.as_ref().map(api_key_row).transpose().map_err(|e| refuse(&e))
}

pub(crate) fn api_key_row(row: &PgRow) -> sqlx::Result<ApiKeyRecord> {
    let scopes = parse_scopes(row.try_get("permissions")?, row.try_get("store_ids")?);
    let optional =
        |column| row.try_get::<Option<DateTime<Utc>>, _>(column).map(|m| m.map(Timestamp::from_chrono));
    Ok(ApiKeyRecord {
        key_hash: hash(row, "key_hash")?,
        tenant_id: TenantId::new(row.try_get("tenant_id")?),
        agent_id: row.try_get::<Option<_>, _>("agent_id")?.map(AgentId::new),
        active: scopes.is_some() && row.try_get("active")?,
        permissions: scopes.clone().unwrap_or_default().0,
        store_ids: scopes.unwrap_or_default().1,
        expires_at: optional("expires_at")?,
        revoked_at: optional("revoked_at")?,
        created_at: moment(row, "created_at")?,
        // A limit that this binary can't hold is the highest that it can.
        rate_limit: row
            .try_get::<Option<i64>, _>("rate_limit")?
            .map(|l| u32::try_from(l).unwrap_or(u32::MAX)),
    })
}

pub(crate) async fn register_sequencer_key(
    pool: &PgPool,
    sequencer_id: Uuid,
    public_key: [u8; 32],
    now: Timestamp,
) -> Result<SequencerKeyRecord, StoreError> {
    let find = "SELECT * FROM sequencer_keys WHERE sequencer_id = $1 AND public_key = $2";
    let known = sqlx::query(find).bind(sequencer_id).bind(&public_key[..]).fetch_optional(pool).await;
    let row = match known.map_err(|e| refuse(&e))? {
        Some(row) => row,
        None => {
            sqlx::query(
                "INSERT INTO sequencer_keys (sequencer_id, public_key, created_at) VALUES ($1, $2, $3)
                 ON CONFLICT DO NOTHING",
            )
            .bind(sequencer_id)
            .bind(&public_key[..])
            .bind(now.to_chrono())
            .execute(pool)
            .await
            .map_err(|e| refuse_commit(&e))?;
            let made = sqlx::query(find).bind(sequencer_id).bind(&public_key[..]).fetch_one(pool).await;
            made.map_err(|e| refuse(&e))?
        }
    };
    sequencer_key_row(&row).map_err(|e| refuse(&e))
}

pub(crate) async fn sequencer_keys(pool: &PgPool) -> Result<Vec<SequencerKeyRecord>, StoreError> {
    let rows = sqlx::query("SELECT * FROM sequencer_keys ORDER BY key_version").fetch_all(pool).await;
    rows.map_err(|e| refuse(&e))?
        .iter()
        .map(sequencer_key_row)
        .collect::<Result<_, _>>()
        .map_err(|e| refuse(&e))
}

pub(crate) fn sequencer_key_row(row: &PgRow) -> sqlx::Result<SequencerKeyRecord> {
    Ok(SequencerKeyRecord {
        key_version: small(row, "key_version")?,
        sequencer_id: row.try_get("sequencer_id")?,
        public_key: key(row, "public_key")?,
        created_at: moment(row, "created_at")?,
    })
}
