//! The contract of the keys' life: agent keys that rotate, change and are revoked, and API keys that are
//! listed and revoked.
//!
//! Every change that makes a cached copy wrong MUST raise the epoch of its kind in its own transaction.
//! Registering a key raises none: nobody caches that a key is not there.

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::Timestamp;
use bowline_ves::Hash;

use crate::key_records::{
    AgentKeyFilter, AgentKeyName, ApiKeyFilter, ChangedKey, KeyChange, KeyRotation, RotatedKey,
};
use crate::{AgentKeyRecord, ApiKeyRecord, StoreError};

/// Where keys live.
#[async_trait]
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// A tenant's agent keys that match, oldest first.
    async fn agent_keys(&self, filter: AgentKeyFilter) -> Result<Vec<AgentKeyRecord>, StoreError>;

    /// Changes one agent key.
    ///
    /// - A revoked key MUST stay as it is for ever; revoking it again changes nothing.
    /// - When this returns, no event is written any more that was verified under the key as it was before,
    ///   by whatever process (see [`LineStore::append`](crate::LineStore::append)).
    async fn change_agent_key(
        &self,
        name: AgentKeyName,
        change: KeyChange,
        now: Timestamp,
    ) -> Result<ChangedKey, StoreError>;

    /// Registers an agent's next key and retires the older ones, in one transaction. The same rotation again
    /// finds its key there and changes nothing more than the first one did.
    async fn rotate_agent_key(&self, rotation: KeyRotation) -> Result<RotatedKey, StoreError>;

    /// A tenant's API keys that match, oldest first; revoked and expired ones too.
    async fn api_keys(&self, filter: ApiKeyFilter) -> Result<Vec<ApiKeyRecord>, StoreError>;

    /// Revokes an API key for ever and returns it as it is then, with the moment of the first revocation;
    /// none if there is no such key.
    async fn revoke_api_key(
        &self,
        key_hash: Hash,
        now: Timestamp,
    ) -> Result<Option<ApiKeyRecord>, StoreError>;
}
