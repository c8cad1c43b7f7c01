//! Makes a signed envelope of a draft: what an agent does before it sends.
//!
//! It applies the same shape rules as parsing, so what it returns is always taken back by `Envelope::parse`.
//! It refuses to choose ids or times, and to encrypt: an encrypted payload is the work of the agent's own
//! key management.

use bowline_types::{AgentId, CommandId, EventId, StreamId, Timestamp};

use crate::canonical::canonicalize;
use crate::check::{VerifiedEvent, payload_rejection};
use crate::envelope::{ENTITY_ID_BYTES_MAX, ENTITY_TYPE_BYTES_MAX, EVENT_TYPE_BYTES_MAX, Envelope, Payload};
use crate::fields::{check_label, malformed};
use crate::hash::{Hash, Signature};
use crate::keys::SecretKey;
use crate::preimage::{event_signing_hash, payload_plain_hash};
use crate::rejection::Rejection;

/// An event with a plain payload before it is hashed and signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Tenant and store.
    pub stream: StreamId,
    /// The event's name within its stream.
    pub event_id: EventId,
    /// The agent that signs.
    pub source_agent_id: AgentId,
    /// Which of the agent's keys signs.
    pub agent_key_id: u32,
    /// 1 to 128 bytes.
    pub entity_type: String,
    /// 1 to 512 bytes.
    pub entity_id: String,
    /// 1 to 256 bytes.
    pub event_type: String,
    /// RFC 3339, signed byte for byte.
    pub created_at: String,
    /// One JSON value.
    pub payload: Box<str>,
    /// The intent; not signed.
    pub command_id: Option<CommandId>,
    /// The entity version that was seen; not signed.
    pub base_version: Option<u64>,
}

/// Hashes and signs a draft. An error is the rejection that a sequencer would give.
pub fn sign_envelope(draft: Draft, key: &SecretKey) -> Result<Envelope, Rejection> {
    let (mut envelope, _) = hashed(draft)?;
    envelope.agent_signature = key.sign(event_signing_hash(&envelope).as_bytes());
    Ok(envelope)
}

/// Hashes and signs drafts, cheaper together. What is signed here needs no verification: the key is the signer's own.
pub fn sign_events(drafts: Vec<Draft>, key: &SecretKey) -> Result<Vec<VerifiedEvent>, Rejection> {
    let hashed: Vec<(Envelope, Timestamp)> = drafts.into_iter().map(hashed).collect::<Result<_, _>>()?;
    let hashes: Vec<Hash> = hashed.iter().map(|(envelope, _)| event_signing_hash(envelope)).collect();
    let signatures = key.sign_all(&hashes.iter().map(Hash::as_bytes).collect::<Vec<_>>());
    let together = hashed.into_iter().zip(hashes).zip(signatures);
    let signed = together.map(|(((mut envelope, created_at), signing_hash), signature)| {
        envelope.agent_signature = signature;
        VerifiedEvent { envelope, signing_hash, created_at }
    });
    Ok(signed.collect())
}

/// The envelope without its signature.
fn hashed(draft: Draft) -> Result<(Envelope, Timestamp), Rejection> {
    check_label("entity_type", &draft.entity_type, ENTITY_TYPE_BYTES_MAX)?;
    check_label("entity_id", &draft.entity_id, ENTITY_ID_BYTES_MAX)?;
    check_label("event_type", &draft.event_type, EVENT_TYPE_BYTES_MAX)?;
    let created_at =
        draft.created_at.parse::<Timestamp>().map_err(|e| malformed("created_at", e.to_string()))?;
    let canonical = canonicalize(&draft.payload).map_err(payload_rejection)?;
    let envelope = Envelope {
        ves_version: 1,
        event_id: draft.event_id,
        stream: draft.stream,
        source_agent_id: draft.source_agent_id,
        agent_key_id: draft.agent_key_id,
        entity_type: draft.entity_type,
        entity_id: draft.entity_id,
        event_type: draft.event_type,
        created_at: draft.created_at,
        // A parsed payload has no blanks around it either.
        payload: Payload::Plain(draft.payload.trim().into()),
        payload_plain_hash: payload_plain_hash(&canonical, None),
        payload_cipher_hash: Hash::ZERO,
        agent_signature: Signature::new([0; 64]),
        agent_signature_scheme: None,
        command_id: draft.command_id,
        base_version: draft.base_version,
    };
    Ok((envelope, created_at))
}
