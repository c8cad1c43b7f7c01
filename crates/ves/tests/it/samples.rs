//! Signed events, receipts and sequencers that the other modules share.
//!
//! All are deterministic: fixed ids, fixed seeds, a fixed moment. The base event is the one of the published
//! full signing test.

use bowline_types::{AgentId, EventId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{Draft, Envelope, SecretKey, SequencerSigner, sign_envelope};
use uuid::Uuid;

/// The seed of the first test vector of RFC 8032 §7.1.
pub(crate) const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

pub(crate) fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

pub(crate) fn stream() -> StreamId {
    StreamId::new(
        id::<TenantId>("00000000-0000-0000-0000-000000000001"),
        id::<StoreId>("00000000-0000-0000-0000-000000000002"),
    )
}

pub(crate) fn agent_id() -> AgentId {
    id("22222222-2222-2222-2222-222222222222")
}

pub(crate) fn agent_key() -> SecretKey {
    SecretKey::parse_hex(SEED).unwrap()
}

/// The event of the full signing test.
pub(crate) fn draft() -> Draft {
    Draft {
        stream: stream(),
        event_id: id("11111111-1111-1111-1111-111111111111"),
        source_agent_id: agent_id(),
        agent_key_id: 1,
        entity_type: "InventoryItem".to_owned(),
        entity_id: "WIDGET-001".to_owned(),
        event_type: "Adjusted".to_owned(),
        created_at: "2025-01-01T00:00:00Z".to_owned(),
        payload: r#"{"delta":100,"reason":"test"}"#.into(),
        command_id: None,
        base_version: None,
    }
}

pub(crate) fn envelope() -> Envelope {
    sign_envelope(draft(), &agent_key()).unwrap()
}

/// The event with number `n` of a made-up stream.
pub(crate) fn numbered(n: u64) -> Envelope {
    let event_id = EventId::new(Uuid::from_u128(u128::from(n) << 64 | 7));
    let payload = format!("{{\"n\": {n},\n \"b\":[1.50, null]}}").into();
    sign_envelope(Draft { event_id, payload, ..draft() }, &agent_key()).unwrap()
}

pub(crate) fn sequencer() -> SequencerSigner {
    SequencerSigner {
        sequencer_id: id("33333333-3333-3333-3333-333333333333"),
        key_version: 3,
        key: SecretKey::from_seed([9; 32]),
    }
}

pub(crate) fn moment() -> Timestamp {
    id("2025-01-01T00:00:00.123Z")
}
