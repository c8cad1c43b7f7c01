//! The part of the tampered store that is about the life of keys: it goes to SQLite as it is.

use async_trait::async_trait;
use bowline_store::{
    AgentKeyFilter, AgentKeyName, AgentKeyRecord, ApiKeyFilter, ApiKeyRecord, ChangedKey, KeyChange,
    KeyRotation, KeyStore, RotatedKey, StoreError,
};
use bowline_types::Timestamp;
use bowline_ves::Hash;

use crate::tampered::TamperedStore;

#[async_trait]
impl KeyStore for TamperedStore {
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
