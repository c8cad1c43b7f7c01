//! The contract of the keys' life: agent keys that rotate, change and are revoked, and API keys that are
//! listed and revoked.
//!
//! Every change that makes a cached copy wrong MUST raise the epoch of its kind in its own transaction.
//! Registering a key raises none: nobody caches that a key is not there.

pub(crate) mod changes;
pub(crate) mod postgres;
pub(crate) mod records;
pub(crate) mod sqlite;

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::{AgentId, TenantId, Timestamp};
use bowline_ves::Hash;
use uuid::Uuid;

use crate::keys::changes::{
    AgentKeyFilter, AgentKeyName, ApiKeyFilter, ChangedKey, KeyChange, KeyRotation, RotatedKey,
};
use crate::{AgentKeyRecord, ApiKeyRecord, RegisterKey, SequencerKeyRecord, StoreError};

/// Where keys live.
#[async_trait]
pub trait KeyStore: Debug + Send + Sync + 'static {
    /// Registers an agent's key; a key id is bound to one key for ever, and bytes that were revoked under any
    /// of the agent's ids are never registered again.
    async fn register_agent_key(&self, key: AgentKeyRecord) -> Result<RegisterKey, StoreError>;

    /// One agent key.
    async fn agent_key(
        &self,
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
    ) -> Result<Option<AgentKeyRecord>, StoreError>;

    /// Keeps an API key, or replaces the record of the same hash.
    async fn put_api_key(&self, key: ApiKeyRecord) -> Result<(), StoreError>;

    /// The API key of that hash.
    async fn api_key(&self, key_hash: Hash) -> Result<Option<ApiKeyRecord>, StoreError>;

    /// Makes a sequencer's public key known and returns its version: the same key always gets the same one.
    async fn register_sequencer_key(
        &self,
        sequencer_id: Uuid,
        public_key: [u8; 32],
        now: Timestamp,
    ) -> Result<SequencerKeyRecord, StoreError>;

    /// Every sequencer key that ever signed here, ascending by version.
    async fn sequencer_keys(&self) -> Result<Vec<SequencerKeyRecord>, StoreError>;

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
