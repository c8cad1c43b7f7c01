//! The part of the tampered store that is about the life of keys: look-ups are counted and may be tampered with, the rest goes to
//! SQLite as it is.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bowline_store::{
    AgentKeyFilter, AgentKeyName, AgentKeyRecord, AgentKeyStatus, ApiKeyFilter, ApiKeyRecord, ChangedKey,
    KeyChange, KeyRotation, KeyStore, RegisterKey, RotatedKey, SequencerKeyRecord, StoreError,
};
use bowline_types::{AgentId, TenantId, Timestamp};
use bowline_ves::Hash;
use uuid::Uuid;

use crate::tampered::TamperedStore;

#[async_trait]
impl KeyStore for TamperedStore {
    async fn register_agent_key(&self, key: AgentKeyRecord) -> Result<RegisterKey, StoreError> {
        self.store.register_agent_key(key).await
    }

    async fn agent_key(
        &self,
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
    ) -> Result<Option<AgentKeyRecord>, StoreError> {
        self.key_look_ups.fetch_add(1, Ordering::SeqCst);
        if self.keys_away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("for the test".to_owned()));
        }
        let mut key = self.store.agent_key(tenant_id, agent_id, key_id).await?;
        if let Some(key) = key.as_mut().filter(|_| self.revoked.load(Ordering::SeqCst)) {
            key.status = AgentKeyStatus::Revoked;
        }
        Ok(key)
    }

    async fn put_api_key(&self, key: ApiKeyRecord) -> Result<(), StoreError> {
        self.store.put_api_key(key).await
    }

    async fn api_key(&self, key_hash: Hash) -> Result<Option<ApiKeyRecord>, StoreError> {
        self.store.api_key(key_hash).await
    }

    async fn register_sequencer_key(
        &self,
        sequencer_id: Uuid,
        public_key: [u8; 32],
        now: Timestamp,
    ) -> Result<SequencerKeyRecord, StoreError> {
        self.store.register_sequencer_key(sequencer_id, public_key, now).await
    }

    async fn sequencer_keys(&self) -> Result<Vec<SequencerKeyRecord>, StoreError> {
        self.store.sequencer_keys().await
    }

    async fn agent_keys(&self, filter: AgentKeyFilter) -> Result<Vec<AgentKeyRecord>, StoreError> {
        self.store.agent_keys(filter).await
    }

    async fn change_agent_key(
        &self,
        name: AgentKeyName,
        change: KeyChange,
        now: Timestamp,
    ) -> Result<ChangedKey, StoreError> {
        self.store.change_agent_key(name, change, now).await
    }

    async fn rotate_agent_key(&self, rotation: KeyRotation) -> Result<RotatedKey, StoreError> {
        self.store.rotate_agent_key(rotation).await
    }

    async fn api_keys(&self, filter: ApiKeyFilter) -> Result<Vec<ApiKeyRecord>, StoreError> {
        self.store.api_keys(filter).await
    }

    async fn revoke_api_key(
        &self,
        key_hash: Hash,
        now: Timestamp,
    ) -> Result<Option<ApiKeyRecord>, StoreError> {
        self.store.revoke_api_key(key_hash, now).await
    }
}
