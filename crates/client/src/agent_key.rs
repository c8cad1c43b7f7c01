//! The call that registers an agent's public key, and the proof that its secret key is at hand.
//!
//! A secret key is only signed with; no call holds one.

use bowline_types::{AgentId, TenantId};
use bowline_ves::{AgentPublicKey, SecretKey, Signature, key_possession_hash};
use serde_json::json;

use crate::{ApiError, Call};

impl Call {
    /// Registers an agent's key with proof of its possession; the same again changes nothing.
    ///
    /// # Errors
    /// [`ApiError::Unwritable`], which these values can't cause.
    pub fn register_agent(
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
        key: &SecretKey,
    ) -> Result<Self, ApiError> {
        Self::register_agent_key(tenant_id, agent_id, key_id, (key.public(), Some(possession_proof(key))))
    }

    /// Registers an agent's public key, with the proof of its possession if there is one.
    ///
    /// # Errors
    /// [`ApiError::Unwritable`], which these values can't cause.
    pub fn register_agent_key(
        tenant_id: TenantId,
        agent_id: AgentId,
        key_id: u32,
        (public_key, proof): (AgentPublicKey, Option<Signature>),
    ) -> Result<Self, ApiError> {
        let body = json!({
            "tenantId": tenant_id, "agentId": agent_id, "keyId": key_id, "publicKey": public_key,
            "proofOfPossession": proof,
        });
        Self::post(&["api", "v1", "agents", "keys"], &body)
    }
}

/// The key's signature over SHA-256 of `VES_POP_V1` and its public half: 64 bytes.
pub fn possession_proof(key: &SecretKey) -> Signature {
    key.sign(key_possession_hash(&key.public().to_bytes()).as_bytes())
}
