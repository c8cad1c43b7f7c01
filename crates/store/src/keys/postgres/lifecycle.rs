//! The keys' life on PostgreSQL: rotation, revocation and validity of agent keys; lists and revocation of API
//! keys. What is decided about agent keys stands in `key_records`; here are the rows and their locks.
//!
//! A change of an agent key raises their epoch, whose row every append that writes holds shared until its commit.
//! So a change waits for what is being written, and nothing is written after it that was verified before.

use async_trait::async_trait;
use bowline_types::{AgentId, TenantId, Timestamp};
use bowline_ves::Hash;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use uuid::Uuid;

use crate::KeyStore;
use crate::changes::postgres as changes;
use crate::keys::changes::{
    AgentKeyFilter, AgentKeyName, ApiKeyFilter, ChangedKey, KeyChange, KeyRotation, RotatedKey, changed,
    rotated,
};
use crate::keys::postgres::{AGENT_KEY_COLUMNS, agent_key_row, api_key_row, insert_agent_key, put_api_key};
use crate::postgres::PostgresStore;
use crate::postgres::error::{refuse, refuse_commit};
use crate::postgres::rows::signed;
use crate::{AgentKeyRecord, ApiKeyRecord, ChangeKind, RegisterKey, SequencerKeyRecord, StoreError};

/// Times that a rotation without an id looks for the next one, against others that do the same.
const ROTATION_TRIES_MAX: usize = 5;

#[async_trait]
impl KeyStore for PostgresStore {
    async fn register_agent_key(&self, key: AgentKeyRecord) -> Result<RegisterKey, StoreError> {
        self.counted(super::register_agent_key(self.pool()?, &key).await)
    }

    async fn agent_key(
        &self,
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
    ) -> Result<Option<AgentKeyRecord>, StoreError> {
        self.counted(super::agent_key(self.pool()?, tenant_id, agent_id, key_id).await)
    }

    async fn put_api_key(&self, key: ApiKeyRecord) -> Result<(), StoreError> {
        self.counted(self.keep_api_key(&key).await)
    }

    async fn api_key(&self, key_hash: Hash) -> Result<Option<ApiKeyRecord>, StoreError> {
        self.counted(super::api_key(self.pool()?, key_hash).await)
    }

    async fn register_sequencer_key(
        &self,
        sequencer_id: Uuid,
        public_key: [u8; 32],
        now: Timestamp,
    ) -> Result<SequencerKeyRecord, StoreError> {
        self.counted(super::register_sequencer_key(self.pool()?, sequencer_id, public_key, now).await)
    }

    async fn sequencer_keys(&self) -> Result<Vec<SequencerKeyRecord>, StoreError> {
        self.counted(super::sequencer_keys(self.pool()?).await)
    }

    async fn agent_keys(&self, filter: AgentKeyFilter) -> Result<Vec<AgentKeyRecord>, StoreError> {
        let found = list_agent_keys(self.pool()?, filter).await;
        self.counted(found.map_err(|e| refuse(&e)))
    }

    async fn change_agent_key(
        &self,
        name: AgentKeyName,
        change: KeyChange,
        now: Timestamp,
    ) -> Result<ChangedKey, StoreError> {
        self.counted(self.change_key(name, change, now).await)
    }

    async fn rotate_agent_key(&self, rotation: KeyRotation) -> Result<RotatedKey, StoreError> {
        let mut outcome = self.rotate(&rotation).await;
        for _ in 1..ROTATION_TRIES_MAX {
            // Another rotation took the next id while this one waited for the agent's keys; there is one after it.
            match outcome {
                Ok(RotatedKey::Conflict(_)) if rotation.key_id.is_none() => {
                    outcome = self.rotate(&rotation).await
                }
                _ => break,
            }
        }
        self.counted(outcome)
    }

    async fn api_keys(&self, filter: ApiKeyFilter) -> Result<Vec<ApiKeyRecord>, StoreError> {
        let found = list_api_keys(self.pool()?, filter).await;
        self.counted(found.map_err(|e| refuse(&e)))
    }

    async fn revoke_api_key(
        &self,
        key_hash: Hash,
        now: Timestamp,
    ) -> Result<Option<ApiKeyRecord>, StoreError> {
        self.counted(self.revoke(key_hash, now).await)
    }
}

impl PostgresStore {
    async fn change_key(
        &self,
        name: AgentKeyName,
        change: KeyChange,
        now: Timestamp,
    ) -> Result<ChangedKey, StoreError> {
        let mut transaction = self.pool()?.begin().await.map_err(|e| refuse(&e))?;
        let locked =
            lock_agent_keys(&mut transaction, name.tenant_id, name.agent_id, Some(name.key_id)).await;
        let Some(key) = locked.map_err(|e| refuse(&e))?.pop() else { return Ok(ChangedKey::Unknown) };
        let outcome = changed(key, change, now);
        if let ChangedKey::Changed(key) = &outcome {
            let written = write(&mut transaction, std::slice::from_ref(key)).await;
            let epoch = written.map_err(|e| refuse(&e))?;
            transaction.commit().await.map_err(|e| refuse_commit(&e))?;
            self.changes.observe(ChangeKind::AGENT_KEYS, epoch);
        }
        Ok(outcome)
    }

    async fn rotate(&self, rotation: &KeyRotation) -> Result<RotatedKey, StoreError> {
        let mut transaction = self.pool()?.begin().await.map_err(|e| refuse(&e))?;
        let locked = lock_agent_keys(&mut transaction, rotation.tenant_id, rotation.agent_id, None).await;
        let (insert, outcome) = rotated(&locked.map_err(|e| refuse(&e))?, rotation);
        let RotatedKey::Rotated { key, retired } = &outcome else { return Ok(outcome) };
        // Somebody may have registered a key of that id since the others were locked.
        if insert && !insert_agent_key(&mut transaction, key).await.map_err(|e| refuse(&e))? {
            return Ok(RotatedKey::Conflict(key.key_id));
        }
        let epoch = match retired.is_empty() {
            true => None,
            false => Some(write(&mut transaction, retired).await.map_err(|e| refuse(&e))?),
        };
        transaction.commit().await.map_err(|e| refuse_commit(&e))?;
        if let Some(epoch) = epoch {
            self.changes.observe(ChangeKind::AGENT_KEYS, epoch);
        }
        Ok(outcome)
    }

    /// Keeps an API key. Only where it replaces a record can a cached copy be wrong.
    pub(crate) async fn keep_api_key(&self, key: &ApiKeyRecord) -> Result<(), StoreError> {
        let mut transaction = self.pool()?.begin().await.map_err(|e| refuse(&e))?;
        let replaced = put_api_key(&mut transaction, key).await.map_err(|e| refuse(&e))?;
        self.finish_api_key(transaction, replaced).await
    }

    async fn revoke(&self, key_hash: Hash, now: Timestamp) -> Result<Option<ApiKeyRecord>, StoreError> {
        let mut transaction = self.pool()?.begin().await.map_err(|e| refuse(&e))?;
        let row = sqlx::query(
            "UPDATE api_keys SET active = false, revoked_at = coalesce(revoked_at, $2) WHERE key_hash = $1 RETURNING *",
        )
        .bind(&key_hash.as_bytes()[..])
        .bind(now.to_chrono())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(|e| refuse(&e))?;
        let key = row.as_ref().map(api_key_row).transpose().map_err(|e| refuse(&e))?;
        self.finish_api_key(transaction, key.is_some()).await?;
        Ok(key)
    }

    async fn finish_api_key(
        &self,
        mut transaction: sqlx::Transaction<'_, sqlx::Postgres>,
        stale: bool,
    ) -> Result<(), StoreError> {
        let epoch = match stale {
            true => changes::bump(&mut transaction, ChangeKind::API_KEYS).await.map_err(|e| refuse(&e))?,
            false => 0,
        };
        transaction.commit().await.map_err(|e| refuse_commit(&e))?;
        self.changes.observe(ChangeKind::API_KEYS, epoch);
        Ok(())
    }
}

async fn list_agent_keys(pool: &PgPool, filter: AgentKeyFilter) -> sqlx::Result<Vec<AgentKeyRecord>> {
    // The words that this binary does not know count as revoked, as they do in a row.
    let sql = format!(
        "SELECT {AGENT_KEY_COLUMNS} FROM agent_keys WHERE tenant_id = $1 AND ($2::uuid IS NULL OR agent_id = $2)
           AND ($3::text IS NULL OR $3 = CASE WHEN status = 'active' AND valid_to < $4 THEN 'expired'
                WHEN status IN ('active', 'expired') THEN status ELSE 'revoked' END)
         ORDER BY created_at, agent_id, key_id LIMIT $5"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(filter.tenant_id.uuid())
        .bind(filter.agent_id.map(AgentId::uuid))
        .bind(filter.status.map(|(status, _)| status.as_str()))
        .bind(filter.status.map(|(_, now)| now.to_chrono()))
        .bind(signed(filter.limit as u64))
        .fetch_all(pool)
        .await?;
    rows.iter().map(agent_key_row).collect()
}

async fn list_api_keys(pool: &PgPool, filter: ApiKeyFilter) -> sqlx::Result<Vec<ApiKeyRecord>> {
    let rows = sqlx::query(
        "SELECT * FROM api_keys WHERE tenant_id = $1 AND ($2::uuid IS NULL OR agent_id = $2)
           AND ($3::bytea IS NULL OR key_hash BETWEEN $3 AND $4)
         ORDER BY created_at, key_hash LIMIT $5",
    )
    .bind(filter.tenant_id.uuid())
    .bind(filter.agent_id.map(AgentId::uuid))
    .bind(filter.hashes.map(|hashes| hashes.first.as_bytes().to_vec()))
    .bind(filter.hashes.map(|hashes| hashes.last.as_bytes().to_vec()))
    .bind(signed(filter.limit as u64))
    .fetch_all(pool)
    .await?;
    rows.iter().map(api_key_row).collect()
}

/// One of an agent's keys or all, locked in the order of their ids.
async fn lock_agent_keys(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    agent_id: AgentId,
    key_id: Option<u32>,
) -> sqlx::Result<Vec<AgentKeyRecord>> {
    let sql = format!(
        "SELECT {AGENT_KEY_COLUMNS} FROM agent_keys
         WHERE tenant_id = $1 AND agent_id = $2 AND ($3::bigint IS NULL OR key_id = $3) ORDER BY key_id FOR UPDATE"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(tenant_id.uuid())
        .bind(agent_id.uuid())
        .bind(key_id.map(i64::from))
        .fetch_all(connection)
        .await?;
    rows.iter().map(agent_key_row).collect()
}

/// Writes what may change of these keys, and raises the epoch.
async fn write(connection: &mut PgConnection, keys: &[AgentKeyRecord]) -> sqlx::Result<u64> {
    for key in keys {
        sqlx::query(
            "UPDATE agent_keys SET status = $4, valid_from = $5, valid_to = $6, revoked_at = $7, revoked_reason = $8
             WHERE tenant_id = $1 AND agent_id = $2 AND key_id = $3",
        )
        .bind(key.tenant_id.uuid())
        .bind(key.agent_id.uuid())
        .bind(i64::from(key.key_id))
        .bind(key.status.as_str())
        .bind(key.valid_from.map(Timestamp::to_chrono))
        .bind(key.valid_to.map(Timestamp::to_chrono))
        .bind(key.revoked_at.map(Timestamp::to_chrono))
        .bind(key.revoked_reason.as_deref())
        .execute(&mut *connection)
        .await?;
    }
    changes::bump(connection, ChangeKind::AGENT_KEYS).await
}
