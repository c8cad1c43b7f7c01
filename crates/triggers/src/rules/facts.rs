//! An event as rules see it.
//!
//! It refuses to guess: what a field is not is absent, and a chain's event without the fields of one is an error.

use bowline_store::StoredEvent;
use bowline_types::{TenantId, Timestamp, public_tenant};
use bowline_ves::Payload;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::LINE;
use super::decimal::Decimal;

/// The type, on the envelope, of an event that says that the chain took another one back.
const RETRACTED: &str = "Retracted";

/// Characters of an agent's name that count.
const SUBJECT_CHARS_MAX: usize = 128;

/// What rules may know of an event.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The payload's fields.
    pub(crate) fields: Map<String, Value>,
    /// The organization whose own stream it is; none of a chain's.
    pub(crate) tenant_id: Option<TenantId>,
    /// The chain.
    pub(crate) chain_id: Option<u64>,
    /// The registry; `line` on an organization's own stream.
    pub(crate) registry: String,
    /// The type.
    pub(crate) event_type: String,
    /// The agent, as text; empty if it has none.
    pub(crate) subject: String,
    /// Unix seconds at which it happened.
    pub(crate) happened_at: i64,
    /// What happened, whichever block it stands in.
    pub(crate) occurrence: Uuid,
    /// Whether it takes what happened back.
    pub(crate) retracts: bool,
}

impl Facts {
    /// The facts of an event on the line.
    ///
    /// # Errors
    /// A chain's event that no indexer writes.
    pub(crate) fn of(event: &StoredEvent) -> Result<Self, String> {
        let envelope = &event.envelope;
        let payload = match &envelope.payload {
            Payload::Plain(text) => serde_json::from_str(text).ok(),
            Payload::Encrypted(_) => None,
        };
        if envelope.stream.tenant_id == public_tenant() {
            let Some(Value::Object(fields)) = payload else {
                return Err("a chain's event whose payload is not an object".to_owned());
            };
            return Self::of_chain(fields, envelope.event_type == RETRACTED);
        }
        let mut fields = match payload {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let happened_at = event.receipt.sequenced_at.micros().div_euclid(1_000_000);
        fields.entry("agent_id").or_insert_with(|| envelope.source_agent_id.to_string().into());
        for (name, value) in [
            ("event_type", Value::from(envelope.event_type.as_str())),
            ("entity_type", envelope.entity_type.as_str().into()),
            ("entity_id", envelope.entity_id.as_str().into()),
            ("source_agent_id", envelope.source_agent_id.to_string().into()),
            ("registry", LINE.into()),
            ("timestamp", happened_at.into()),
        ] {
            fields.insert(name.to_owned(), value);
        }
        Ok(Self::of_line(fields, envelope.stream.tenant_id, happened_at, envelope.event_id.uuid()))
    }

    /// The facts of a payload that a user made up, for an organization.
    ///
    /// # Errors
    /// What it lacks.
    pub(crate) fn given(payload: Value, tenant_id: TenantId, now: Timestamp) -> Result<Self, String> {
        let Value::Object(fields) = payload else { return Err("is not an object".to_owned()) };
        if fields.get("registry").and_then(Value::as_str) == Some(LINE) {
            let seconds = fields.get("timestamp").and_then(Value::as_i64);
            let happened_at = seconds.unwrap_or_else(|| now.micros().div_euclid(1_000_000));
            return Ok(Self::of_line(fields, tenant_id, happened_at, Uuid::new_v4()));
        }
        let mut fields = fields;
        fields.entry("timestamp").or_insert_with(|| now.micros().div_euclid(1_000_000).into());
        fields.entry("occurrence").or_insert_with(|| Uuid::new_v4().to_string().into());
        let retracts = fields.contains_key("retracts");
        Self::of_chain(fields, retracts)
    }

    fn of_chain(fields: Map<String, Value>, retracts: bool) -> Result<Self, String> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let occurrence = text("occurrence").and_then(|id| Uuid::try_parse(&id).ok());
        Ok(Self {
            tenant_id: None,
            chain_id: fields.get("chain_id").and_then(Value::as_u64),
            registry: text("registry").ok_or("the payload names no registry")?,
            event_type: text("event_type").ok_or("the payload names no event_type")?,
            subject: fields.get("agent_id").and_then(subject).unwrap_or_default(),
            happened_at: fields
                .get("timestamp")
                .and_then(Value::as_i64)
                .ok_or("the payload has no timestamp")?,
            occurrence: occurrence.ok_or("the payload's occurrence is no UUID")?,
            retracts,
            fields,
        })
    }

    fn of_line(fields: Map<String, Value>, tenant_id: TenantId, happened_at: i64, occurrence: Uuid) -> Self {
        Self {
            tenant_id: Some(tenant_id),
            chain_id: None,
            registry: LINE.to_owned(),
            event_type: fields.get("event_type").and_then(spelled).unwrap_or_default(),
            subject: fields.get("agent_id").and_then(subject).unwrap_or_default(),
            happened_at,
            occurrence,
            retracts: false,
            fields,
        }
    }

    /// The value of a field; none if it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        let own = self.fields.get(name).filter(|value| !value.is_null());
        own.or_else(|| match name {
            // Old registries had whole scores; new ones have decimals, of which the score is the nearest number.
            "value" => self.fields.get("score").filter(|value| !value.is_null()),
            // The receiver of an agent owns it.
            "owner" if self.event_type == "Transfer" => self.fields.get("to"),
            _ => None,
        })
    }

    /// When it happened.
    pub(crate) fn moment(&self) -> Timestamp {
        Timestamp::from_micros(self.happened_at.saturating_mul(1_000_000))
    }
}

/// The number that a value is, exactly.
pub(crate) fn number(value: &Value) -> Option<Decimal> {
    match value {
        Value::Number(number) => Decimal::parse(&number.to_string()),
        Value::String(text) => Decimal::parse(text),
        _ => None,
    }
}

/// An agent as a key: what an organization writes there may be anything, and is cut to what a store can keep.
fn subject(value: &Value) -> Option<String> {
    let text = spelled(value)?;
    Some(text.chars().filter(|letter| !letter.is_control()).take(SUBJECT_CHARS_MAX).collect())
}

fn spelled(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
