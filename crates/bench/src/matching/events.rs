//! The events of `bowline-bench match`: feedback as an indexer writes it and a store returns it, of one agent each.
//!
//! Nothing looks at hashes and signatures of an event that is matched, so these are no real ones.

use bowline_store::{StoredEvent, StoredReceipt};
use bowline_types::{EventId, StreamId, Timestamp, chain_agent, chain_stream};
use bowline_ves::{Envelope, Hash, Payload, Signature};
use serde_json::json;
use uuid::Uuid;

/// The chain.
pub(super) const CHAIN: u64 = 84_532;

/// Spreads events over agents: an odd number near 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The address that belongs to an agent.
pub(super) fn address(agent: u64) -> String {
    format!("0x{:040x}", u128::from(agent.wrapping_mul(SPREAD)) << 32 | u128::from(agent))
}

/// The endpoint that belongs to an agent.
pub(super) fn endpoint(agent: u64) -> String {
    format!("https://agent-{agent}.example/mcp")
}

/// The first tag of an agent's feedback; others have it too.
pub(super) fn quality(agent: u64) -> String {
    format!("quality-{}", agent % 50)
}

/// The second tag of an agent's feedback, which is its own.
pub(super) fn skill(agent: u64) -> String {
    format!("skill-{agent}")
}

/// The event of that number, of one of so many agents.
pub(super) fn event(number: u64, agents: u64) -> StoredEvent {
    let agent = (number.wrapping_mul(SPREAD) >> 20) % agents.max(1);
    let stream = chain_stream(CHAIN);
    let event_id = EventId::new(Uuid::from_u128(u128::from(number)));
    let hash = Hash::new([7; 32]);
    let signature = Signature::new([7; 64]);
    StoredEvent {
        envelope: envelope(number, agent, stream, event_id, signature),
        signing_hash: hash,
        entity_version: 1,
        receipt: StoredReceipt {
            sequencer_id: Uuid::nil(),
            stream,
            event_id,
            sequence_number: number + 1,
            sequenced_at: Timestamp::from_micros(1_750_000_000_000_000),
            receipt_hash: hash,
            key_version: 1,
            signatures: None,
        },
    }
}

fn envelope(number: u64, agent: u64, stream: StreamId, event_id: EventId, signature: Signature) -> Envelope {
    let hash =
        |salt: u64| format!("0x{:064x}", u128::from(number.wrapping_mul(SPREAD)) << 64 | u128::from(salt));
    let value = number % 100;
    let payload = json!({
        "chain_id": CHAIN, "block_number": 30_000_000 + number / 10, "block_hash": hash(number / 10),
        "timestamp": 1_750_000_000 + number, "transaction_hash": hash(1), "log_index": number % 10,
        "address": "0x8004b12f4c2b42d00c46479e859c92e39044c930", "registry": "reputation",
        "event_type": "NewFeedback", "occurrence": Uuid::from_u128(u128::from(number)).to_string(),
        "agent_id": agent.to_string(), "client_address": address(agent), "feedback_index": number.to_string(),
        "value": format!("{value}.5"), "value_raw": format!("{value}50"), "value_decimals": 2,
        "score": value as f64 + 0.5, "tag1": quality(agent), "tag2": skill(agent), "endpoint": endpoint(agent),
        "file_uri": "ipfs://bafybeihhal5hlbylkibniig6j72wdrm7lr4nf6z47natleh2jkyosrg7di", "file_hash": hash(2),
    });
    Envelope {
        ves_version: 1,
        event_id,
        stream,
        source_agent_id: chain_agent(CHAIN),
        agent_key_id: 1,
        entity_type: "agent".to_owned(),
        entity_id: agent.to_string(),
        event_type: "NewFeedback".to_owned(),
        created_at: "2025-06-15T15:06:40Z".to_owned(),
        payload: Payload::Plain(payload.to_string().into()),
        payload_plain_hash: Hash::new([7; 32]),
        payload_cipher_hash: Hash::new([0; 32]),
        agent_signature: signature,
        agent_signature_scheme: None,
        command_id: None,
        base_version: None,
    }
}
