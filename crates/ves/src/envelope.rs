//! The event envelope: what an agent signs and sends, parsed with one error per field and written back.
//!
//! A parsed envelope has the right shape: version 1, ids, lengths, a payload that fits its kind, a time. The
//! payload and `created_at` are kept as the bytes that were sent, since hashes and signatures cover those.
//! This file refuses to check hashes and signatures (`check.rs` does) and to give an event its number.

use bowline_types::{
    AgentId, CommandId, EventId, ParseTimestampError, StoreId, StreamId, TenantId, Timestamp,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::encrypted::EncryptedPayload;
use crate::fields::{self, Field, malformed, shown};
use crate::hash::{Hash, Signature};
use crate::rejection::Rejection;
use crate::wire::{ObjectWriter, into_text};

/// Bytes that `entity_type` may have.
pub(crate) const ENTITY_TYPE_BYTES_MAX: usize = 128;
/// Bytes that `entity_id` may have.
pub(crate) const ENTITY_ID_BYTES_MAX: usize = 512;
/// Bytes that `event_type` may have.
pub(crate) const EVENT_TYPE_BYTES_MAX: usize = 256;

/// One signed event as the agent sent it.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The version of the byte rules; 1.
    pub ves_version: u32,
    /// Chosen by the client; names the event within its stream.
    pub event_id: EventId,
    /// Tenant and store.
    pub stream: StreamId,
    /// The agent that signed.
    pub source_agent_id: AgentId,
    /// Which of the agent's keys signed.
    pub agent_key_id: u32,
    /// 1 to 128 bytes.
    pub entity_type: String,
    /// 1 to 512 bytes.
    pub entity_id: String,
    /// 1 to 256 bytes.
    pub event_type: String,
    /// RFC 3339, signed byte for byte; never used for order.
    pub created_at: String,
    /// Plain or encrypted.
    pub payload: Payload,
    /// Over the canonical JSON of the payload.
    pub payload_plain_hash: Hash,
    /// Over the encrypted payload; zero if it is plain.
    pub payload_cipher_hash: Hash,
    /// Over the event signing hash.
    pub agent_signature: Signature,
    /// Absent, 0 or 1: Ed25519.
    pub agent_signature_scheme: Option<u32>,
    /// The client's intent; not signed.
    pub command_id: Option<CommandId>,
    /// The entity version that the client saw; not signed.
    pub base_version: Option<u64>,
}

/// A payload as the JSON text that was sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Kind 0: any JSON value, `null` included.
    Plain(Box<str>),
    /// Kind 1: the object of VES-ENC-1.
    Encrypted(Box<str>),
}

impl Payload {
    /// The number that is signed: 0 plain, 1 encrypted.
    pub fn kind(&self) -> u32 {
        match self {
            Self::Plain(_) => 0,
            Self::Encrypted(_) => 1,
        }
    }

    /// The JSON text as sent.
    pub fn text(&self) -> &str {
        match self {
            Self::Plain(text) | Self::Encrypted(text) => text,
        }
    }
}

/// A text that is not an envelope of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rejection}")]
pub struct Malformed {
    /// The event's id as far as it could be read: a string of at most a few dozen characters, not
    /// necessarily a UUID.
    pub event_id: Option<String>,
    /// `MalformedEvent`, `UnsupportedVersion` or `UnsupportedScheme`.
    pub rejection: Rejection,
}

/// The envelope as it stands on the wire, each field still raw. Unknown fields are ignored.
#[derive(Deserialize)]
struct RawEnvelope<'a> {
    #[serde(borrow)]
    ves_version: Field<'a>,
    event_id: Field<'a>,
    tenant_id: Field<'a>,
    store_id: Field<'a>,
    source_agent_id: Field<'a>,
    agent_key_id: Field<'a>,
    entity_type: Field<'a>,
    entity_id: Field<'a>,
    event_type: Field<'a>,
    created_at: Field<'a>,
    payload_kind: Field<'a>,
    // A payload of `null` is a value and not an absence.
    #[serde(default, borrow, deserialize_with = "present")]
    payload: Field<'a>,
    payload_encrypted: Field<'a>,
    payload_plain_hash: Field<'a>,
    payload_cipher_hash: Field<'a>,
    agent_signature: Field<'a>,
    agent_signature_scheme: Field<'a>,
    command_id: Field<'a>,
    base_version: Field<'a>,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Field<'a>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Envelope {
    /// Parses one JSON object. Fields that are not part of an envelope are ignored, `sequence_number` and
    /// `sequenced_at` among them.
    ///
    /// The order of the checks is: version, ids, lengths, kind and payload, structure of an encrypted
    /// payload, `created_at`, hashes, signature scheme, signature, `command_id`, `base_version`.
    pub fn parse(json: &str) -> Result<Self, Malformed> {
        // serde_json would also take an array of the fields in order.
        let first = json.trim_start_matches([' ', '\t', '\n', '\r']);
        if !first.starts_with('{') {
            let problem = format!("expected a JSON object, found {}", shown(first));
            return Err(Malformed { event_id: None, rejection: malformed("", problem) });
        }
        let raw: RawEnvelope<'_> = serde_json::from_str(json)
            .map_err(|e| Malformed { event_id: None, rejection: malformed("", e.to_string()) })?;
        raw.convert().map_err(|rejection| {
            let event_id = fields::text("event_id", "a UUID", raw.event_id).ok();
            Malformed { event_id: event_id.map(|id| shown(&id)), rejection }
        })
    }

    /// When the agent says that the event was made.
    pub fn created_at_timestamp(&self) -> Result<Timestamp, ParseTimestampError> {
        self.created_at.parse()
    }

    /// The envelope as one line of JSON, the payload as it was sent save that line breaks between its tokens
    /// become blanks; hashes and signature with `0x`.
    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(self.json_bytes_about());
        let mut object = ObjectWriter::new(&mut out);
        self.write_fields(&mut object);
        object.finish();
        into_text(out)
    }

    /// `to_json` with `sequence_number` and `sequenced_at` after the envelope's own fields.
    pub fn sequenced_json(&self, sequence_number: u64, sequenced_at: Timestamp) -> String {
        let mut out = Vec::with_capacity(self.json_bytes_about());
        self.write_sequenced_json(&mut out, sequence_number, sequenced_at);
        into_text(out)
    }

    /// Appends what `sequenced_json` returns to `out`.
    pub fn write_sequenced_json(&self, out: &mut Vec<u8>, sequence_number: u64, sequenced_at: Timestamp) {
        let mut object = ObjectWriter::new(out);
        self.write_fields(&mut object);
        object.number("sequence_number", sequence_number);
        object.plain("sequenced_at", sequenced_at);
        object.finish();
    }

    fn json_bytes_about(&self) -> usize {
        // The fixed fields take about 900 bytes.
        1024 + self.payload.text().len()
            + self.entity_id.len()
            + self.entity_type.len()
            + self.event_type.len()
    }

    fn write_fields(&self, object: &mut ObjectWriter<'_>) {
        object.number("ves_version", u64::from(self.ves_version));
        object.plain("event_id", self.event_id);
        object.plain("tenant_id", self.stream.tenant_id);
        object.plain("store_id", self.stream.store_id);
        object.plain("source_agent_id", self.source_agent_id);
        object.number("agent_key_id", u64::from(self.agent_key_id));
        object.string("entity_type", &self.entity_type);
        object.string("entity_id", &self.entity_id);
        object.string("event_type", &self.event_type);
        object.string("created_at", &self.created_at);
        object.number("payload_kind", u64::from(self.payload.kind()));
        match &self.payload {
            Payload::Plain(text) => object.raw("payload", text),
            Payload::Encrypted(text) => object.raw("payload_encrypted", text),
        }
        object.prefixed_hex("payload_plain_hash", self.payload_plain_hash.as_bytes());
        object.prefixed_hex("payload_cipher_hash", self.payload_cipher_hash.as_bytes());
        object.prefixed_hex("agent_signature", self.agent_signature.as_bytes());
        if let Some(scheme) = self.agent_signature_scheme {
            object.number("agent_signature_scheme", u64::from(scheme));
        }
        if let Some(command_id) = self.command_id {
            object.plain("command_id", command_id);
        }
        if let Some(base_version) = self.base_version {
            object.number("base_version", base_version);
        }
    }
}

/// Whether `scheme` stands for Ed25519: absent, 0 or 1.
pub(crate) fn check_scheme(scheme: Option<u32>) -> Result<(), Rejection> {
    match scheme {
        None | Some(0 | 1) => Ok(()),
        Some(scheme) => Err(Rejection::UnsupportedScheme { scheme }),
    }
}

impl RawEnvelope<'_> {
    fn convert(&self) -> Result<Envelope, Rejection> {
        let ves_version = self.version()?;
        let event_id: EventId = fields::parsed("event_id", "a UUID", self.event_id)?;
        let tenant_id: TenantId = fields::parsed("tenant_id", "a UUID", self.tenant_id)?;
        let store_id: StoreId = fields::parsed("store_id", "a UUID", self.store_id)?;
        let source_agent_id: AgentId = fields::parsed("source_agent_id", "a UUID", self.source_agent_id)?;
        let agent_key_id =
            fields::integer("agent_key_id", "an integer from 0 to 4294967295", self.agent_key_id)?;
        let entity_type = label("entity_type", self.entity_type, ENTITY_TYPE_BYTES_MAX)?;
        let entity_id = label("entity_id", self.entity_id, ENTITY_ID_BYTES_MAX)?;
        let event_type = label("event_type", self.event_type, EVENT_TYPE_BYTES_MAX)?;
        let payload = self.payload()?;
        let created_at = self.created_at()?;
        let payload_plain_hash =
            fields::hex("payload_plain_hash", "32 bytes of hex", self.payload_plain_hash, Hash::parse_hex)?;
        let payload_cipher_hash = self.cipher_hash(&payload)?;
        let agent_signature_scheme = self.scheme()?;
        let agent_signature =
            fields::hex("agent_signature", "64 bytes of hex", self.agent_signature, Signature::parse_hex)?;
        Ok(Envelope {
            ves_version,
            event_id,
            stream: StreamId::new(tenant_id, store_id),
            source_agent_id,
            agent_key_id,
            entity_type,
            entity_id,
            event_type,
            created_at,
            payload,
            payload_plain_hash,
            payload_cipher_hash,
            agent_signature,
            agent_signature_scheme,
            command_id: optional(self.command_id, |raw| fields::parsed("command_id", "a UUID", raw))?,
            base_version: optional(self.base_version, |raw| {
                fields::integer("base_version", "a non-negative integer", raw)
            })?,
        })
    }

    fn version(&self) -> Result<u32, Rejection> {
        match fields::integer::<u64>("ves_version", "the integer 1", self.ves_version)? {
            1 => Ok(1),
            found => Err(Rejection::UnsupportedVersion { found }),
        }
    }

    fn payload(&self) -> Result<Payload, Rejection> {
        let kind: u64 = fields::integer("payload_kind", "0 (plain) or 1 (encrypted)", self.payload_kind)?;
        match (kind, self.payload, self.payload_encrypted) {
            (0, _, Some(_)) => Err(malformed("payload_encrypted", "must be absent if payload_kind is 0")),
            (0, None, None) => Err(malformed("payload", "must be present if payload_kind is 0")),
            (0, Some(plain), None) => Ok(Payload::Plain(plain.get().into())),
            (1, Some(plain), _) if plain.get() != "null" => {
                Err(malformed("payload", "must be absent if payload_kind is 1"))
            }
            (1, _, None) => Err(malformed("payload_encrypted", "must be present if payload_kind is 1")),
            (1, _, Some(encrypted)) => {
                EncryptedPayload::parse(encrypted.get())
                    .map_err(|problem| malformed("payload_encrypted", problem.to_string()))?;
                Ok(Payload::Encrypted(encrypted.get().into()))
            }
            (found, _, _) => {
                Err(malformed("payload_kind", format!("expected 0 (plain) or 1 (encrypted), found {found}")))
            }
        }
    }

    fn created_at(&self) -> Result<String, Rejection> {
        let text = fields::text("created_at", "an RFC 3339 time", self.created_at)?;
        fields::check_no_nul("created_at", &text)?;
        text.parse::<Timestamp>().map_err(|problem| malformed("created_at", problem.to_string()))?;
        Ok(text.into_owned())
    }

    fn cipher_hash(&self, payload: &Payload) -> Result<Hash, Rejection> {
        let parse = |raw| fields::hex("payload_cipher_hash", "32 bytes of hex", raw, Hash::parse_hex);
        match payload {
            Payload::Encrypted(_) => parse(self.payload_cipher_hash),
            Payload::Plain(_) => match optional(self.payload_cipher_hash, parse)? {
                None | Some(Hash::ZERO) => Ok(Hash::ZERO),
                Some(_) => Err(malformed("payload_cipher_hash", "must be zero if payload_kind is 0")),
            },
        }
    }

    /// The scheme comes before the signature, because other schemes do not send one in this field.
    fn scheme(&self) -> Result<Option<u32>, Rejection> {
        let scheme = optional(self.agent_signature_scheme, |raw| {
            fields::integer("agent_signature_scheme", "an integer", raw)
        })?;
        check_scheme(scheme)?;
        Ok(scheme)
    }
}

fn label(field: &'static str, raw: Field<'_>, max: usize) -> Result<String, Rejection> {
    let text = fields::text(field, "a string", raw)?;
    fields::check_label(field, &text, max)?;
    Ok(text.into_owned())
}

fn optional<'a, T>(
    raw: Field<'a>,
    convert: impl FnOnce(Field<'a>) -> Result<T, Rejection>,
) -> Result<Option<T>, Rejection> {
    if raw.is_none() { Ok(None) } else { convert(raw).map(Some) }
}
