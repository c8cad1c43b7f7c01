//! The closed set of reasons why one event of a batch is not taken, as clients and metrics see them.
//!
//! `reason` is what a client may match on and is never reworded; `message` is for a person and may be. This
//! file refuses to hold anything of the inside: no database text, no key material, no payload.

/// Why one event was rejected; the rest of its batch is not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub enum Rejection {
    /// A field is missing or has a value that it can't have; `field` is empty if it is no JSON object.
    MalformedEvent {
        /// The envelope field.
        field: &'static str,
        /// What was expected and what was found.
        problem: String,
    },
    /// `ves_version` is not 1.
    UnsupportedVersion {
        /// The version that was sent.
        found: u64,
    },
    /// `agent_signature_scheme` is not Ed25519.
    UnsupportedScheme {
        /// The scheme that was sent.
        scheme: u32,
    },
    /// An integer of the payload is not exact in a double, so its hash would not bind it.
    InexactNumber {
        /// The integer as it was sent.
        literal: String,
    },
    /// The payload is larger than the limit.
    PayloadTooLarge {
        /// Bytes of the payload as sent.
        bytes: usize,
        /// Bytes that one payload may have.
        max: usize,
    },
    /// `source_agent_id` is not the agent of the request.
    AgentMismatch,
    /// `payload_plain_hash` is not the hash of the payload.
    InvalidPayloadHash,
    /// `payload_cipher_hash` is not the hash of the encrypted payload.
    InvalidCipherHash,
    /// The agent's key is unknown, revoked, or not valid now.
    AgentKeyInvalid(
        /// Which of those it is.
        String,
    ),
    /// The signature is not the agent's over this event.
    InvalidSignature,
    /// Another event with this `event_id` is in the stream.
    DuplicateEventId,
    /// Another event with this `command_id` is in the stream.
    DuplicateCommandId,
    /// The entity is not at `base_version`.
    VersionConflict {
        /// The `base_version` that was sent.
        expected: u64,
        /// The version that the entity has.
        actual: u64,
    },
    /// The payload does not satisfy the schema of its event type.
    SchemaValidation {
        /// The payload field at fault, if it is one.
        field: Option<String>,
        /// Which rule it breaks, and where.
        problem: String,
    },
}

impl Rejection {
    /// Every label that `kind` can return: the bounded set for metrics.
    pub const KINDS: &'static [&'static str] = &[
        "malformed_event",
        "unsupported_version",
        "unsupported_signature_scheme",
        "inexact_number",
        "payload_too_large",
        "source_agent_mismatch",
        "invalid_payload_hash",
        "invalid_cipher_hash",
        "agent_key_invalid",
        "invalid_signature",
        "duplicate_event_id",
        "duplicate_command_id",
        "version_conflict",
        "schema_validation",
    ];

    /// The label without any detail, one of `KINDS`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::MalformedEvent { .. } => "malformed_event",
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::UnsupportedScheme { .. } => "unsupported_signature_scheme",
            Self::InexactNumber { .. } => "inexact_number",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::AgentMismatch => "source_agent_mismatch",
            Self::InvalidPayloadHash => "invalid_payload_hash",
            Self::InvalidCipherHash => "invalid_cipher_hash",
            Self::AgentKeyInvalid(_) => "agent_key_invalid",
            Self::InvalidSignature => "invalid_signature",
            Self::DuplicateEventId => "duplicate_event_id",
            Self::DuplicateCommandId => "duplicate_command_id",
            Self::VersionConflict { .. } => "version_conflict",
            Self::SchemaValidation { .. } => "schema_validation",
        }
    }

    /// The reason as it stands on the wire: the label, for some with a detail after a colon.
    pub fn reason(&self) -> String {
        match self {
            Self::AgentKeyInvalid(problem) => format!("agent_key_invalid: {problem}"),
            Self::VersionConflict { expected, actual } => {
                format!("version_conflict: expected {expected}, actual {actual}")
            }
            Self::SchemaValidation { field: Some(field), .. } => format!("schema_validation: {field}"),
            _ => self.kind().to_owned(),
        }
    }

    /// One sentence for a person: what is wrong and, where there is one, what to do.
    pub fn message(&self) -> String {
        match self {
            Self::MalformedEvent { field: "", problem } => format!("the event is malformed: {problem}"),
            Self::MalformedEvent { field, problem } => format!("{field}: {problem}"),
            Self::UnsupportedVersion { found } => format!("ves_version {found} is not supported; send 1"),
            Self::UnsupportedScheme { scheme } => {
                format!("signature scheme {scheme} is not supported; this sequencer takes Ed25519 (scheme 1)")
            }
            Self::InexactNumber { literal } => format!(
                "payload: the integer {literal} is not exact in an IEEE double, so the payload hash would not \
                 bind it; send it as a string"
            ),
            Self::PayloadTooLarge { bytes, max } => {
                format!("the payload has {bytes} bytes and may have {max}")
            }
            Self::AgentMismatch => "source_agent_id is not the agentId of the request".to_owned(),
            Self::InvalidPayloadHash => {
                "payload_plain_hash is not the hash of the payload's canonical JSON".to_owned()
            }
            Self::InvalidCipherHash => {
                "payload_cipher_hash is not the hash of the encrypted payload".to_owned()
            }
            Self::AgentKeyInvalid(problem) => format!("the agent's key is not valid: {problem}"),
            Self::InvalidSignature => {
                "signature verification failed: agent_signature is not that key's signature over this event"
                    .to_owned()
            }
            Self::DuplicateEventId => "the stream has another event with this event_id".to_owned(),
            Self::DuplicateCommandId => "the stream has another event with this command_id".to_owned(),
            Self::VersionConflict { expected, actual } => {
                format!("base_version is {expected} and the entity is at version {actual}")
            }
            Self::SchemaValidation { problem, .. } => problem.clone(),
        }
    }

    /// The envelope field at fault, where it is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::MalformedEvent { field: "", .. } => None,
            Self::MalformedEvent { field, .. } => Some(field),
            Self::UnsupportedVersion { .. } => Some("ves_version"),
            Self::UnsupportedScheme { .. } => Some("agent_signature_scheme"),
            Self::InexactNumber { .. } | Self::PayloadTooLarge { .. } => Some("payload"),
            Self::AgentMismatch => Some("source_agent_id"),
            Self::InvalidPayloadHash => Some("payload_plain_hash"),
            Self::InvalidCipherHash => Some("payload_cipher_hash"),
            Self::AgentKeyInvalid(_) => Some("agent_key_id"),
            Self::InvalidSignature => Some("agent_signature"),
            Self::DuplicateEventId => Some("event_id"),
            Self::DuplicateCommandId => Some("command_id"),
            Self::VersionConflict { .. } => Some("base_version"),
            Self::SchemaValidation { field, .. } => field.as_deref(),
        }
    }
}
