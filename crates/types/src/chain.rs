//! The names of the streams that a node writes itself: an EVM chain's logs.
//!
//! They are UUIDs of version 5, so every node gives the same chain the same stream.

use std::sync::LazyLock;

use uuid::Uuid;

use crate::{AgentId, StoreId, StreamId, TenantId};

/// The namespace of all names of this module.
const NAMESPACE: Uuid = Uuid::from_u128(0x626f_776c_696e_6500_8000_6576_656e_7473);

fn named(name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// The tenant of the streams that belong to no organization: what is on them is public.
pub fn public_tenant() -> TenantId {
    static PUBLIC: LazyLock<TenantId> = LazyLock::new(|| TenantId::new(named("public")));
    *PUBLIC
}

/// The readable name of a chain's stream: `evm/84532`.
pub fn chain_stream_name(chain_id: u64) -> String {
    format!("evm/{chain_id}")
}

/// The stream of a chain's logs.
pub fn chain_stream(chain_id: u64) -> StreamId {
    let store_id = StoreId::new(named(&chain_stream_name(chain_id)));
    StreamId { tenant_id: public_tenant(), store_id }
}

/// The agent that signs what is written of a chain.
pub fn chain_agent(chain_id: u64) -> AgentId {
    AgentId::new(named(&format!("{}/indexer", chain_stream_name(chain_id))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_for_ever() {
        assert_eq!(public_tenant().to_string(), "cfb66e86-6bd9-53be-9a38-0395782ecbf3");
        assert_eq!(chain_stream(84532).store_id.to_string(), "471f19b8-0b6f-5599-8fc5-eb01e0f246ba");
        assert_eq!(chain_agent(84532).to_string(), "bbae8bf4-c428-52b8-837f-8399db000d69");
        assert_ne!(chain_stream(1), chain_stream(2));
    }
}
