//! What one line of input means: a whole event, or a payload for the event types of the flags.
//!
//! The payload stays the text that was read, because its hash is over the value as written. It refuses to
//! guess: an object that has all four fields of an event and one of the wrong type is an error.

use std::borrow::Cow;
use std::collections::HashMap;
use std::str::FromStr;

use bowline_types::{CommandId, EventId};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What a line that is a payload lacks.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub(crate) event_type: String,
    pub(crate) entity_type: String,
    /// Which field of the payload is the entity id; `None`: the line number is.
    pub(crate) entity_id_field: Option<String>,
}

/// One line as an event that is not signed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineEvent {
    pub(crate) event_id: Option<EventId>,
    pub(crate) event_type: String,
    pub(crate) entity_type: String,
    pub(crate) entity_id: String,
    pub(crate) created_at: Option<String>,
    pub(crate) payload: Box<str>,
    pub(crate) command_id: Option<CommandId>,
    pub(crate) base_version: Option<u64>,
}

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow)]
    event_type: Option<&'a RawValue>,
    entity_type: Option<&'a RawValue>,
    entity_id: Option<&'a RawValue>,
    // A payload of `null` is a payload.
    #[serde(default, borrow, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    event_id: Option<&'a RawValue>,
    created_at: Option<&'a RawValue>,
    command_id: Option<&'a RawValue>,
    base_version: Option<&'a RawValue>,
}

fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one line that is not blank; `number` counts from 1.
pub(crate) fn interpret(text: &str, number: u64, defaults: &Defaults) -> Result<LineEvent, String> {
    let value: &RawValue = serde_json::from_str(text).map_err(not_json)?;
    let text = value.get();
    // serde_json would also take an array for the fields in order.
    if text.starts_with('{') {
        let shape: Shape<'_> = serde_json::from_str(text).map_err(not_json)?;
        if let Some(event) = shape.event()? {
            return Ok(event);
        }
    }
    let entity_id = match &defaults.entity_id_field {
        Some(field) => entity_id(text, field)?,
        None => number.to_string(),
    };
    Ok(LineEvent {
        event_id: None,
        event_type: defaults.event_type.clone(),
        entity_type: defaults.entity_type.clone(),
        entity_id,
        created_at: None,
        payload: text.into(),
        command_id: None,
        base_version: None,
    })
}

/// What is wrong with the text; its line is known to the caller, so the parser's "line 1" would mislead.
fn not_json(error: serde_json::Error) -> String {
    let text = error.to_string();
    let problem = text.split(" at line ").next().unwrap_or(&text);
    format!("not usable as JSON: {problem}, at column {}", error.column())
}

impl Shape<'_> {
    /// The event, if all four fields are there.
    fn event(&self) -> Result<Option<LineEvent>, String> {
        let (Some(event_type), Some(entity_type), Some(entity_id), Some(payload)) =
            (self.event_type, self.entity_type, self.entity_id, self.payload)
        else {
            return Ok(None);
        };
        Ok(Some(LineEvent {
            event_id: optional("event_id", self.event_id, id)?,
            event_type: string("event_type", event_type)?,
            entity_type: string("entity_type", entity_type)?,
            entity_id: string("entity_id", entity_id)?,
            created_at: optional("created_at", self.created_at, string)?,
            payload: payload.get().into(),
            command_id: optional("command_id", self.command_id, id)?,
            base_version: optional("base_version", self.base_version, |name, raw| {
                serde_json::from_str(raw.get()).map_err(|error| format!("{name}: {error}"))
            })?,
        }))
    }
}

fn optional<'a, T>(
    name: &str,
    raw: Option<&'a RawValue>,
    read: impl FnOnce(&str, &'a RawValue) -> Result<T, String>,
) -> Result<Option<T>, String> {
    raw.map(|raw| read(name, raw)).transpose()
}

fn string(name: &str, raw: &RawValue) -> Result<String, String> {
    serde_json::from_str(raw.get()).map_err(|_| format!("{name} must be a string"))
}

fn id<T: FromStr<Err: std::fmt::Display>>(name: &str, raw: &RawValue) -> Result<T, String> {
    string(name, raw)?.parse().map_err(|error| format!("{name}: {error}"))
}

/// The value of a payload's field as an entity id: a string, or the text of a number or a boolean.
fn entity_id(payload: &str, field: &str) -> Result<String, String> {
    let fields: HashMap<Cow<'_, str>, &RawValue> = match payload.starts_with('{') {
        true => serde_json::from_str(payload).map_err(not_json)?,
        false => {
            return Err(format!("the payload is no object, so it has no field `{field}` for the entity id"));
        }
    };
    let raw =
        fields.get(field).ok_or_else(|| format!("the payload has no field `{field}` for the entity id"))?;
    match raw.get().as_bytes() {
        [b'"', ..] => string(field, raw),
        [b'{' | b'[', ..] | b"null" => {
            Err(format!("`{field}` must be a string or a number to be the entity id"))
        }
        _ => Ok(raw.get().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(field: Option<&str>) -> Defaults {
        Defaults {
            event_type: "line.appended".to_owned(),
            entity_type: "line".to_owned(),
            entity_id_field: field.map(str::to_owned),
        }
    }

    fn read(text: &str) -> Result<LineEvent, String> {
        interpret(text, 7, &defaults(None))
    }

    #[test]
    fn a_whole_event_gives_its_own_fields() {
        let event = read(
            r#"{"event_type":"order.created","entity_type":"order","entity_id":"o-1","payload":{"amount":1.50},
                "created_at":"2025-01-01T00:00:00Z","base_version":3,"event_id":"64527dd3-a654-4410-9327-e58a1492ce77",
                "sequence_number":9}"#,
        )
        .unwrap();
        assert_eq!((event.event_type.as_str(), event.entity_id.as_str()), ("order.created", "o-1"));
        assert_eq!(&*event.payload, r#"{"amount":1.50}"#);
        assert_eq!((event.base_version, event.command_id), (Some(3), None));
        assert_eq!(event.event_id.unwrap().to_string(), "64527dd3-a654-4410-9327-e58a1492ce77");
    }

    #[test]
    fn everything_else_is_a_payload_as_written() {
        for text in [r#"{"a": 1.0}"#, "[1,2]", "null", "\"x\"", "12", r#"{"event_type":"x","payload":1}"#] {
            let event = read(&format!("  {text}\r\n")).unwrap();
            assert_eq!((&*event.payload, event.entity_id.as_str()), (text, "7"));
            assert_eq!((event.event_type.as_str(), event.entity_type.as_str()), ("line.appended", "line"));
        }
        let null = r#"{"event_type":"t","entity_type":"e","entity_id":"i","payload":null}"#;
        assert_eq!((&*read(null).unwrap().payload, read(null).unwrap().entity_id.as_str()), ("null", "i"));
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        let broken =
            read(r#"{"event_type":1,"entity_type":"e","entity_id":"i","payload":null}"#).unwrap_err();
        assert_eq!(broken, "event_type must be a string");
        let bad_id = r#"{"event_type":"t","entity_type":"e","entity_id":"i","payload":1,"event_id":"17"}"#;
        assert!(read(bad_id).unwrap_err().contains("`17` is not a UUID"));
        assert!(read(r#"{"a":1"#).is_err() && read("{} {}").is_err());
        assert_eq!(read("{oops").unwrap_err(), "not usable as JSON: key must be a string, at column 2");
    }

    #[test]
    fn an_entity_id_can_come_from_the_payload() {
        let read = |text: &str| interpret(text, 7, &defaults(Some("id"))).map(|event| event.entity_id);
        assert_eq!(read(r#"{"x":1,"id":"o-1"}"#).unwrap(), "o-1");
        assert_eq!(read(r#"{"id":12}"#).unwrap(), "12");
        for bad in ["{}", "5", r#"{"id":null}"#, r#"{"id":[1]}"#] {
            assert!(read(bad).unwrap_err().contains("id"), "{bad}");
        }
    }
}
