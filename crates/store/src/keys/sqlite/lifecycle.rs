//! The keys' life on SQLite: rotation, revocation and validity of agent keys; lists and revocation of API
//! keys. What is decided about agent keys stands in `key_records`; here are the rows.
//!
//! The one writer also writes the appends, so each of them is wholly before a change or wholly after it.

use async_trait::async_trait;
use bowline_types::{AgentId, TenantId, Timestamp};
use bowline_ves::Hash;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use uuid::Uuid;

use crate::KeyStore;
use crate::changes::sqlite as changes;
use crate::keys::changes::{
    AgentKeyFilter, AgentKeyName, ApiKeyFilter, ChangedKey, KeyChange, KeyRotation, RotatedKey, changed,
    rotated,
};
use crate::keys::sqlite::{
    AGENT_KEY_COLUMNS, API_KEY_COLUMNS, agent_key, agent_key_row, api_key_row, insert_agent_key, put_api_key,
};
use crate::sqlite::SqliteStore;
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::signed;
use crate::{AgentKeyRecord, ApiKeyRecord, ChangeKind, Changes, RegisterKey, SequencerKeyRecord, StoreError};

#[async_trait]
impl KeyStore for SqliteStore {
    async fn register_agent_key(&self, key: AgentKeyRecord) -> Result<RegisterKey, StoreError> {
        self.with_writer(move |connection| super::register_agent_key(connection, &key)).await
    }

    async fn agent_key(
        &self,
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
    ) -> Result<Option<AgentKeyRecord>, StoreError> {
        self.with_reader(move |connection| super::agent_key(connection, tenant_id, agent_id, key_id)).await
    }

    async fn put_api_key(&self, key: ApiKeyRecord) -> Result<(), StoreError> {
        let heard = self.changes.clone();
        self.with_writer(move |connection| keep_api_key(connection, &heard, &key)).await
    }

    async fn api_key(&self, key_hash: Hash) -> Result<Option<ApiKeyRecord>, StoreError> {
        self.with_reader(move |connection| super::api_key(connection, key_hash)).await
    }

    async fn register_sequencer_key(
        &self,
        sequencer_id: Uuid,
        public_key: [u8; 32],
        now: Timestamp,
    ) -> Result<SequencerKeyRecord, StoreError> {
        let register = move |connection: &mut Connection| {
            super::register_sequencer_key(connection, sequencer_id, public_key, now)
        };
        self.with_writer(register).await
    }

    async fn sequencer_keys(&self) -> Result<Vec<SequencerKeyRecord>, StoreError> {
        self.with_reader(|connection| super::sequencer_keys(connection)).await
    }

    async fn agent_keys(&self, filter: AgentKeyFilter) -> Result<Vec<AgentKeyRecord>, StoreError> {
        self.with_reader(move |connection| list_agent_keys(connection, filter)).await
    }

    async fn change_agent_key(
        &self,
        name: AgentKeyName,
        change: KeyChange,
        now: Timestamp,
    ) -> Result<ChangedKey, StoreError> {
        let heard = self.changes.clone();
        self.with_writer(move |connection| change_agent_key(connection, &heard, name, change, now)).await
    }

    async fn rotate_agent_key(&self, rotation: KeyRotation) -> Result<RotatedKey, StoreError> {
        let heard = self.changes.clone();
        self.with_writer(move |connection| rotate_agent_key(connection, &heard, &rotation)).await
    }

    async fn api_keys(&self, filter: ApiKeyFilter) -> Result<Vec<ApiKeyRecord>, StoreError> {
        self.with_reader(move |connection| list_api_keys(connection, filter)).await
    }

    async fn revoke_api_key(
        &self,
        key_hash: Hash,
        now: Timestamp,
    ) -> Result<Option<ApiKeyRecord>, StoreError> {
        let heard = self.changes.clone();
        self.with_writer(move |connection| revoke_api_key(connection, &heard, key_hash, now)).await
    }
}

fn list_agent_keys(connection: &Connection, filter: AgentKeyFilter) -> Result<Vec<AgentKeyRecord>, Failure> {
    // The words that this binary does not know count as revoked, as they do in a row.
    let sql = format!(
        "SELECT {AGENT_KEY_COLUMNS} FROM agent_keys WHERE tenant_id = ?1 AND (?2 IS NULL OR agent_id = ?2)
           AND (?3 IS NULL OR ?3 = CASE WHEN status = 'active' AND valid_to < ?4 THEN 'expired'
                WHEN status IN ('active', 'expired') THEN status ELSE 'revoked' END)
         ORDER BY created_at, agent_id, key_id LIMIT ?5"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let keys = statement.query_map(
        (
            filter.tenant_id.as_bytes(),
            filter.agent_id.as_ref().map(AgentId::as_bytes),
            filter.status.map(|(status, _)| status.as_str()),
            filter.status.map(|(_, now)| now.micros()),
            signed(filter.limit as u64),
        ),
        agent_key_row,
    )?;
    Ok(keys.collect::<Result<_, _>>()?)
}

fn list_api_keys(connection: &Connection, filter: ApiKeyFilter) -> Result<Vec<ApiKeyRecord>, Failure> {
    let sql = format!(
        "SELECT {API_KEY_COLUMNS} FROM api_keys WHERE tenant_id = ?1 AND (?2 IS NULL OR agent_id = ?2)
           AND (?3 IS NULL OR key_hash BETWEEN ?3 AND ?4)
         ORDER BY created_at, key_hash LIMIT ?5"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let keys = statement.query_map(
        (
            filter.tenant_id.as_bytes(),
            filter.agent_id.as_ref().map(AgentId::as_bytes),
            filter.hashes.as_ref().map(|hashes| hashes.first.as_bytes()),
            filter.hashes.as_ref().map(|hashes| hashes.last.as_bytes()),
            signed(filter.limit as u64),
        ),
        api_key_row,
    )?;
    Ok(keys.collect::<Result<_, _>>()?)
}

fn change_agent_key(
    connection: &mut Connection,
    heard: &Changes,
    name: AgentKeyName,
    change: KeyChange,
    now: Timestamp,
) -> Result<ChangedKey, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let Some(key) = agent_key(&transaction, name.tenant_id, name.agent_id, name.key_id)? else {
        return Ok(ChangedKey::Unknown);
    };
    let outcome = changed(key, change, now);
    if let ChangedKey::Changed(key) = &outcome {
        write(&transaction, key)?;
        commit(transaction, heard, ChangeKind::AGENT_KEYS)?;
    }
    Ok(outcome)
}

fn rotate_agent_key(
    connection: &mut Connection,
    heard: &Changes,
    rotation: &KeyRotation,
) -> Result<RotatedKey, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let all = AgentKeyFilter::of(rotation.tenant_id, Some(rotation.agent_id), usize::MAX);
    let (insert, outcome) = rotated(&list_agent_keys(&transaction, all)?, rotation);
    let RotatedKey::Rotated { key, retired } = &outcome else { return Ok(outcome) };
    if insert {
        insert_agent_key(&transaction, key)?;
    }
    for key in retired {
        write(&transaction, key)?;
    }
    match retired.is_empty() {
        true => transaction.commit()?,
        false => commit(transaction, heard, ChangeKind::AGENT_KEYS)?,
    }
    Ok(outcome)
}

fn revoke_api_key(
    connection: &mut Connection,
    heard: &Changes,
    key_hash: Hash,
    now: Timestamp,
) -> Result<Option<ApiKeyRecord>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let sql = format!(
        "UPDATE api_keys SET active = 0, revoked_at = coalesce(revoked_at, ?2) WHERE key_hash = ?1
         RETURNING {API_KEY_COLUMNS}"
    );
    let key = transaction.query_row(&sql, (key_hash.as_bytes(), now.micros()), api_key_row).optional()?;
    if key.is_some() {
        commit(transaction, heard, ChangeKind::API_KEYS)?;
    }
    Ok(key)
}

/// Keeps an API key. Only where it replaces a record can a cached copy be wrong.
pub(crate) fn keep_api_key(
    connection: &mut Connection,
    heard: &Changes,
    key: &ApiKeyRecord,
) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match put_api_key(&transaction, key)? {
        true => commit(transaction, heard, ChangeKind::API_KEYS),
        false => Ok(transaction.commit()?),
    }
}

/// Writes what may change of a key.
fn write(transaction: &Transaction<'_>, key: &AgentKeyRecord) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE agent_keys SET status = ?4, valid_from = ?5, valid_to = ?6, revoked_at = ?7, revoked_reason = ?8
         WHERE tenant_id = ?1 AND agent_id = ?2 AND key_id = ?3",
        (
            key.tenant_id.as_bytes(),
            key.agent_id.as_bytes(),
            key.key_id,
            key.status.as_str(),
            key.valid_from.map(Timestamp::micros),
            key.valid_to.map(Timestamp::micros),
            key.revoked_at.map(Timestamp::micros),
            key.revoked_reason.as_deref(),
        ),
    )?;
    Ok(())
}

/// Raises the epoch, commits, and takes note of it.
fn commit(transaction: Transaction<'_>, heard: &Changes, kind: ChangeKind) -> Result<(), Failure> {
    let epoch = changes::bump(&transaction, kind)?;
    transaction.commit()?;
    heard.observe(kind, epoch);
    Ok(())
}
