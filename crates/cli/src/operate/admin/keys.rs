//! `rotate-keys` and `list-agent-keys`: agents' signing keys, directly in the database.
//!
//! A key id is bound to one key for ever; the next key gets the next id. The old one goes on being valid until it
//! is revoked, so that what is under way still verifies.

use bowline_runtime::{Clock as _, SystemClock};
use bowline_store::{
    AgentKeyFilter, AgentKeyRecord, AgentKeyStatus, KeyRotation, RegisterKey, Retire, RotatedKey,
};
use bowline_types::{AgentId, TenantId};
use bowline_ves::AgentPublicKey;
use clap::Args;
use serde_json::json;

use super::{Place, store_failed};
use crate::operate::direct::DirectStore;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// Keys on one list.
const KEYS_LISTED_MAX: usize = 10_000;

/// `rotate-keys`.
#[derive(Debug, Args)]
pub(super) struct RotateOptions {
    /// The agent's tenant
    #[arg(long, value_name = "UUID")]
    tenant_id: TenantId,
    /// The agent
    #[arg(long, value_name = "UUID")]
    agent_id: AgentId,
    /// The id of the new key; one that the agent has not used yet
    #[arg(long, value_name = "N")]
    new_key_id: u32,
    /// The new Ed25519 public key, 32 bytes of hex
    #[arg(long, value_name = "HEX", value_parser = AgentPublicKey::parse_hex)]
    public_key: AgentPublicKey,
    /// Revoke the agent's other keys as well
    #[arg(long)]
    revoke_old: bool,
}

/// `list-agent-keys`.
#[derive(Debug, Args)]
pub(super) struct ListOptions {
    /// The tenant
    #[arg(long, value_name = "UUID")]
    tenant_id: TenantId,
    /// Only of this agent
    #[arg(long, value_name = "UUID")]
    agent_id: Option<AgentId>,
}

pub(super) async fn rotate(place: &Place, direct: &DirectStore, options: RotateOptions) -> Outcome {
    let RotateOptions { tenant_id, agent_id, new_key_id, public_key, revoke_old } = options;
    if revoke_old {
        return revoke_and_register(place, direct, options).await;
    }
    let key = AgentKeyRecord {
        tenant_id,
        agent_id,
        key_id: new_key_id,
        public_key: public_key.to_bytes(),
        status: AgentKeyStatus::Active,
        valid_from: None,
        valid_to: None,
        created_at: SystemClock.now(),
        revoked_at: None,
        revoked_reason: None,
    };
    let registered = direct.store.register_agent_key(key).await.map_err(store_failed)?;
    let told = match registered {
        RegisterKey::Created => "registered",
        RegisterKey::Unchanged => "registered already",
        RegisterKey::Conflict => return Err(conflict(&options)),
        RegisterKey::Revoked => return Err(revoked(&options)),
    };
    match place.json {
        true => {
            let answer = json!({
                "tenant_id": tenant_id, "agent_id": agent_id, "key_id": new_key_id, "public_key": public_key,
                "created": registered == RegisterKey::Created,
            });
            output::line(&answer.to_string())?;
        }
        false => output::line(&format!("key {new_key_id} of agent {agent_id} is {told}"))?,
    }
    Ok(Exit::Done)
}

/// Registers the key and revokes the agent's others, in one transaction.
async fn revoke_and_register(place: &Place, direct: &DirectStore, options: RotateOptions) -> Outcome {
    let RotateOptions { tenant_id, agent_id, new_key_id, public_key, .. } = options;
    let rotation = KeyRotation {
        tenant_id,
        agent_id,
        key_id: Some(new_key_id),
        public_key: public_key.to_bytes(),
        valid_to: None,
        old_key_id: None,
        retire: Retire::Revoke { reason: Some(format!("replaced by key {new_key_id}")) },
        now: SystemClock.now(),
    };
    let retired = match direct.store.rotate_agent_key(rotation).await.map_err(store_failed)? {
        RotatedKey::Rotated { retired, .. } => retired,
        RotatedKey::Conflict(_) => return Err(conflict(&options)),
        RotatedKey::Revoked(_) => return Err(revoked(&options)),
        RotatedKey::Outdated(_) | RotatedKey::UnknownOld(_) => {
            return Err(Failure::no(format!("agent {agent_id} has a newer key than {new_key_id}"))
                .next("take the next id and a new key; `list-agent-keys` shows those that are used"));
        }
    };
    let retired: Vec<u32> = retired.iter().map(|key| key.key_id).collect();
    match place.json {
        true => {
            let answer = json!({
                "tenant_id": tenant_id, "agent_id": agent_id, "key_id": new_key_id, "public_key": public_key,
                "revoked": retired,
            });
            output::line(&answer.to_string())?;
        }
        false => {
            let revoked = retired.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            output::line(&format!("key {new_key_id} of agent {agent_id} is registered, revoked: {revoked}"))?;
        }
    }
    Ok(Exit::Done)
}

fn conflict(options: &RotateOptions) -> Failure {
    Failure::no(format!("agent {} has another key {}", options.agent_id, options.new_key_id))
        .next("take the next id; `list-agent-keys` shows those that are used")
}

fn revoked(options: &RotateOptions) -> Failure {
    Failure::no(format!("this key of agent {} was revoked", options.agent_id)).next("make a new key")
}

pub(super) async fn list(place: &Place, direct: &DirectStore, options: ListOptions) -> Outcome {
    let keys = direct
        .store
        .agent_keys(AgentKeyFilter::of(options.tenant_id, options.agent_id, KEYS_LISTED_MAX))
        .await;
    let keys = keys.map_err(store_failed)?;
    if place.json {
        let shown = keys.iter().map(|key| {
            json!({
                "tenant_id": key.tenant_id, "agent_id": key.agent_id, "key_id": key.key_id,
                "public_key": hex::encode(key.public_key), "status": key.status.as_str(),
                "valid_from": key.valid_from, "valid_to": key.valid_to, "created_at": key.created_at,
            })
        });
        output::line(&json!({ "count": keys.len(), "keys": shown.collect::<Vec<_>>() }).to_string())?;
        return Ok(Exit::Done);
    }
    if keys.is_empty() {
        output::talk("no agent of this tenant has a key");
        return Ok(Exit::Done);
    }
    let row = |key: &AgentKeyRecord| {
        let (agent, created) = (key.agent_id.to_string(), key.created_at.to_string());
        [agent, key.key_id.to_string(), key.status.as_str().to_owned(), created, hex::encode(key.public_key)]
    };
    output::table(["agent", "key", "status", "created at", "public key"], keys.iter().map(row))?;
    Ok(Exit::Done)
}
