//! Parsing and writing envelopes: what is lenient, what is refused and under which field's name.
//!
//! Whatever is parsed must survive being written and parsed again, the payload's bytes included.

use bowline_ves::{Envelope, Payload, Rejection};
use serde_json::{Value, json};

use crate::samples;
use crate::vectors::encrypted_envelope;

fn sample() -> Value {
    serde_json::from_str(&samples::envelope().to_json()).unwrap()
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut sample = sample();
    for (field, value) in changes {
        sample[*field] = value.clone();
    }
    sample
}

fn without(field: &str) -> Value {
    let mut sample = sample();
    sample.as_object_mut().unwrap().remove(field);
    sample
}

#[test]
fn envelopes_survive_their_json() {
    let mut full = samples::envelope();
    full.command_id = Some(samples::id("55555555-5555-5555-5555-555555555555"));
    full.base_version = Some(u64::MAX);
    full.agent_signature_scheme = Some(1);
    full.entity_id = "a \"quoted\"\n\u{1f600}\\ id".to_owned();
    for envelope in [samples::envelope(), full] {
        assert_eq!(Envelope::parse(&envelope.to_json()).unwrap(), envelope);
        let sequenced = envelope.sequenced_json(7, samples::moment());
        assert_eq!(Envelope::parse(&sequenced).unwrap(), envelope);
        let value: Value = serde_json::from_str(&sequenced).unwrap();
        assert_eq!(value["sequence_number"], 7);
        assert_eq!(value["sequenced_at"], "2025-01-01T00:00:00.123+00:00");
        assert_eq!(value["payload_plain_hash"], envelope.payload_plain_hash.prefixed());
    }
}

#[test]
fn the_payload_text_is_kept_and_written_on_one_line() {
    let text = "{ \"n\" : 1.50,\n\t\"n\":\r\n \"a\\nb\\u0000\" }";
    let json = sample().to_string().replace(r#"{"delta":100,"reason":"test"}"#, text);
    let envelope = Envelope::parse(&json).unwrap();
    assert_eq!(envelope.payload, Payload::Plain(text.into()));
    let written = envelope.sequenced_json(1, samples::moment());
    assert!(!written.contains(['\n', '\r']));
    assert!(written.contains("{ \"n\" : 1.50, \t\"n\":   \"a\\nb\\u0000\" }"));
    // An encrypted one likewise.
    let encrypted = encrypted_envelope();
    let written = encrypted.to_json();
    assert!(
        !written.contains('\n')
            && written.contains("\"payload_encrypted\":{")
            && !written.contains("\"payload\":")
    );
    let back = Envelope::parse(&written).unwrap();
    assert_eq!(back.payload.text(), encrypted.payload.text().replace('\n', " "));
}

#[test]
fn lenient_where_the_wire_rules_are() {
    let sample = samples::envelope();
    let hash = sample.payload_plain_hash.to_string().to_uppercase();
    let lenient = [
        with(&[
            ("payload_plain_hash", json!(hash)),
            ("agent_signature", json!(sample.agent_signature.to_string())),
        ]),
        with(&[
            ("unknown", json!([1])),
            ("sequence_number", json!("odd")),
            ("payload_encrypted", Value::Null),
        ]),
        with(&[
            ("command_id", Value::Null),
            ("base_version", Value::Null),
            ("agent_signature_scheme", Value::Null),
        ]),
        with(&[("event_id", json!("11111111111111111111111111111111"))]),
        without("payload_cipher_hash"),
    ];
    for json in lenient {
        assert_eq!(Envelope::parse(&json.to_string()).unwrap(), sample, "{json}");
    }
    let null = Envelope::parse(&with(&[("payload", Value::Null)]).to_string()).unwrap();
    assert_eq!(null.payload, Payload::Plain("null".into()));
    let escaped = samples::envelope().to_json().replace("\"Adjusted\"", "\"\\u0041djusted\"");
    assert_eq!(Envelope::parse(&escaped).unwrap(), sample);
}

#[test]
fn every_refusal_names_its_field() {
    let encrypted: Value = serde_json::from_str(&encrypted_envelope().to_json()).unwrap();
    let encrypted_with = |field: &str, value: Value| {
        let mut changed = encrypted.clone();
        changed[field] = value;
        changed
    };
    let cases = [
        ("ves_version", without("ves_version")),
        ("ves_version", with(&[("ves_version", json!("1"))])),
        ("event_id", with(&[("event_id", json!("order-17"))])),
        ("tenant_id", with(&[("tenant_id", json!(17))])),
        ("store_id", without("store_id")),
        ("source_agent_id", with(&[("source_agent_id", Value::Null)])),
        ("agent_key_id", with(&[("agent_key_id", json!(-1))])),
        ("agent_key_id", with(&[("agent_key_id", json!(4_294_967_296_u64))])),
        ("entity_type", with(&[("entity_type", json!(""))])),
        ("entity_type", with(&[("entity_type", json!("é".repeat(65)))])),
        ("entity_id", with(&[("entity_id", json!("x".repeat(513)))])),
        ("entity_id", with(&[("entity_id", json!("a\0"))])),
        ("event_type", with(&[("event_type", json!("x".repeat(257)))])),
        ("payload_kind", without("payload_kind")),
        ("payload_kind", with(&[("payload_kind", json!(2))])),
        ("payload", without("payload")),
        ("payload_encrypted", with(&[("payload_encrypted", json!({}))])),
        ("payload_encrypted", encrypted_with("payload_encrypted", Value::Null)),
        ("payload_encrypted", encrypted_with("payload_encrypted", json!({"enc_version": 3}))),
        ("payload", encrypted_with("payload", json!(1))),
        ("payload_cipher_hash", encrypted_with("payload_cipher_hash", Value::Null)),
        ("created_at", with(&[("created_at", json!("yesterday"))])),
        ("created_at", with(&[("created_at", json!("2025-01-01T00:00:00Z\0"))])),
        ("payload_plain_hash", with(&[("payload_plain_hash", json!("0xabc"))])),
        ("payload_cipher_hash", with(&[("payload_cipher_hash", json!("11".repeat(32)))])),
        ("agent_signature", with(&[("agent_signature", json!("zz".repeat(64)))])),
        ("agent_signature_scheme", with(&[("agent_signature_scheme", json!("ed25519"))])),
        ("command_id", with(&[("command_id", json!("x"))])),
        ("base_version", with(&[("base_version", json!(-1))])),
        ("base_version", with(&[("base_version", json!(1.5))])),
    ];
    for (field, json) in cases {
        let refused = Envelope::parse(&json.to_string()).unwrap_err();
        let Rejection::MalformedEvent { field: found, problem } = &refused.rejection else {
            panic!("{refused}")
        };
        assert_eq!(*found, field, "{problem}");
        assert!(!problem.is_empty() && problem.len() < 300, "{problem}");
        assert_eq!(refused.event_id.is_some(), field != "event_id" || json["event_id"].is_string());
    }
    // A null payload of an encrypted event is an absence.
    assert!(Envelope::parse(&encrypted_with("payload", Value::Null).to_string()).is_ok());
}

#[test]
fn version_and_scheme_come_before_what_other_versions_and_schemes_change() {
    let version = json!({"ves_version": 2, "event_id": "abc", "payload_kind": "odd"}).to_string();
    let refused = Envelope::parse(&version).unwrap_err();
    assert_eq!(
        (refused.rejection, refused.event_id.as_deref()),
        (Rejection::UnsupportedVersion { found: 2 }, Some("abc"))
    );
    let mut scheme = without("agent_signature");
    scheme["agent_signature_scheme"] = json!(2);
    let refused = Envelope::parse(&scheme.to_string()).unwrap_err();
    assert_eq!(refused.rejection, Rejection::UnsupportedScheme { scheme: 2 });
}

#[test]
fn what_is_no_object_is_refused_as_a_whole() {
    let twice = sample().to_string().replacen('{', "{\"event_id\":\"x\",", 1);
    for json in ["", "null", "[1]", "\"x\"", "{", "{\"a\":1}x", twice.as_str()] {
        let refused = Envelope::parse(json).unwrap_err();
        assert!(matches!(refused.rejection, Rejection::MalformedEvent { field: "", .. }), "{json}");
    }
}
