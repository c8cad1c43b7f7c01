//! Judging envelopes: every rejection has its case, its reason and its place in the order of checks.
//!
//! The reasons are compared as literal texts, because clients match on them.

use bowline_ves::{
    AgentPublicKey, Envelope, Hash, Payload, PreparedKey, Rejection, Signature, VerifyKey, sign_envelope,
    verify,
};

use crate::samples;
use crate::vectors::encrypted_envelope;

fn rejection(envelope: Envelope) -> Rejection {
    let key = samples::agent_key().public();
    let rejected = verify(envelope.clone(), Ok(&key)).unwrap_err();
    assert_eq!(rejected.envelope, envelope);
    rejected.rejection
}

#[test]
fn a_signed_event_is_verified_by_either_kind_of_key() {
    let public = samples::agent_key().public();
    let keys: [&dyn VerifyKey; 2] = [&public, &PreparedKey::new(public)];
    for envelope in [samples::envelope(), samples::numbered(3), encrypted_envelope()] {
        for key in keys {
            let verified = verify(envelope.clone(), Ok(key)).unwrap();
            assert_eq!(verified.signing_hash, bowline_ves::event_signing_hash(&envelope));
            assert_eq!(verified.created_at.to_string(), "2025-01-01T00:00:00+00:00");
            assert_eq!(verified.envelope, envelope);
        }
    }
}

#[test]
fn the_spelling_of_the_payload_is_free_and_its_value_is_not() {
    let respelled = Payload::Plain(r#" { "reason" : "te\u0073t", "delta": 1.00e2 } "#.into());
    let key = samples::agent_key().public();
    assert!(verify(Envelope { payload: respelled, ..samples::envelope() }, Ok(&key)).is_ok());
    let other = Payload::Plain(r#"{"delta":101,"reason":"test"}"#.into());
    assert_eq!(rejection(Envelope { payload: other, ..samples::envelope() }), Rejection::InvalidPayloadHash);
}

#[test]
fn every_signed_field_is_bound_by_the_signature() {
    let good = samples::envelope();
    let moved =
        bowline_types::StreamId::new(good.stream.tenant_id, bowline_types::StoreId::from_bytes([9; 16]));
    let changed = [
        Envelope { stream: moved, ..good.clone() },
        Envelope { event_id: bowline_types::EventId::from_bytes([9; 16]), ..good.clone() },
        Envelope { source_agent_id: bowline_types::AgentId::from_bytes([9; 16]), ..good.clone() },
        Envelope { agent_key_id: 2, ..good.clone() },
        Envelope { entity_type: "InventoryItem2".to_owned(), ..good.clone() },
        Envelope { entity_id: "2".to_owned(), ..good.clone() },
        Envelope { event_type: "2".to_owned(), ..good.clone() },
        Envelope { created_at: "2025-01-01T00:00:00.0Z".to_owned(), ..good.clone() },
        Envelope { agent_signature: Signature::new([0; 64]), ..good.clone() },
        // The parts of neighbouring texts cannot be shifted from one to the other.
        Envelope {
            entity_type: "InventoryItemW".to_owned(),
            entity_id: "IDGET-001".to_owned(),
            ..good.clone()
        },
    ];
    for envelope in changed {
        assert_eq!(rejection(envelope), Rejection::InvalidSignature);
    }
    // The intent and the base version are not signed.
    let free = Envelope {
        base_version: Some(4),
        command_id: Some(samples::id("11111111-1111-1111-1111-111111111112")),
        ..good
    };
    assert!(verify(free, Ok(&samples::agent_key().public())).is_ok());
}

#[test]
fn the_first_failing_check_gives_the_reason() {
    let bad_hash = Envelope { payload_plain_hash: Hash::ZERO, ..samples::envelope() };
    let scheme = Envelope { agent_signature_scheme: Some(2), ..bad_hash.clone() };
    assert_eq!(rejection(scheme), Rejection::UnsupportedScheme { scheme: 2 });
    let no_key = || Err::<&AgentPublicKey, _>("revoked".to_owned());
    assert_eq!(verify(bad_hash, no_key()).unwrap_err().rejection, Rejection::InvalidPayloadHash);
    let unknown = verify(samples::envelope(), no_key()).unwrap_err().rejection;
    assert_eq!(unknown.reason(), "agent_key_invalid: revoked");
    let cipher = Envelope { payload_cipher_hash: Hash::new([1; 32]), ..samples::envelope() };
    assert_eq!(rejection(cipher), Rejection::InvalidCipherHash);
    let cipher = Envelope { payload_cipher_hash: Hash::ZERO, ..encrypted_envelope() };
    assert_eq!(rejection(cipher), Rejection::InvalidCipherHash);
    // The plain hash of an encrypted payload is bound through the associated data.
    let plain = Envelope { payload_plain_hash: Hash::ZERO, ..encrypted_envelope() };
    assert_eq!(rejection(plain), Rejection::InvalidCipherHash);
    let inexact = Envelope { payload: Payload::Plain("[9007199254740993]".into()), ..samples::envelope() };
    assert_eq!(rejection(inexact), Rejection::InexactNumber { literal: "9007199254740993".to_owned() });
    let broken = Envelope { payload: Payload::Plain("[1e999]".into()), ..samples::envelope() };
    assert!(matches!(rejection(broken), Rejection::MalformedEvent { field: "payload", .. }));
}

#[test]
fn a_draft_that_no_sequencer_would_take_is_not_signed() {
    let key = samples::agent_key();
    let good = samples::draft();
    let cases = [
        (bowline_ves::Draft { entity_type: String::new(), ..good.clone() }, "malformed_event", "entity_type"),
        (bowline_ves::Draft { entity_id: "x".repeat(513), ..good.clone() }, "malformed_event", "entity_id"),
        (
            bowline_ves::Draft { event_type: "a\0b".to_owned(), ..good.clone() },
            "malformed_event",
            "event_type",
        ),
        (
            bowline_ves::Draft { created_at: "today".to_owned(), ..good.clone() },
            "malformed_event",
            "created_at",
        ),
        (bowline_ves::Draft { payload: "{".into(), ..good.clone() }, "malformed_event", "payload"),
        (bowline_ves::Draft { payload: "9007199254740993".into(), ..good }, "inexact_number", "payload"),
    ];
    for (draft, kind, field) in cases {
        let rejection = sign_envelope(draft, &key).unwrap_err();
        assert_eq!((rejection.kind(), rejection.field()), (kind, Some(field)));
    }
}

fn schema_validation(field: Option<&str>) -> Rejection {
    Rejection::SchemaValidation { field: field.map(str::to_owned), problem: "too few".to_owned() }
}

#[test]
fn reasons_are_the_words_that_clients_match_on() {
    let cases = [
        (Rejection::MalformedEvent { field: "", problem: "x".to_owned() }, "malformed_event"),
        (Rejection::UnsupportedVersion { found: 2 }, "unsupported_version"),
        (Rejection::UnsupportedScheme { scheme: 3 }, "unsupported_signature_scheme"),
        (Rejection::InexactNumber { literal: "1".to_owned() }, "inexact_number"),
        (Rejection::PayloadTooLarge { bytes: 2, max: 1 }, "payload_too_large"),
        (Rejection::AgentMismatch, "source_agent_mismatch"),
        (Rejection::InvalidPayloadHash, "invalid_payload_hash"),
        (Rejection::InvalidCipherHash, "invalid_cipher_hash"),
        (Rejection::AgentKeyInvalid("expired".to_owned()), "agent_key_invalid: expired"),
        (Rejection::InvalidSignature, "invalid_signature"),
        (Rejection::DuplicateEventId, "duplicate_event_id"),
        (Rejection::DuplicateCommandId, "duplicate_command_id"),
        (Rejection::VersionConflict { expected: 1, actual: 2 }, "version_conflict: expected 1, actual 2"),
        (schema_validation(Some("delta")), "schema_validation: delta"),
    ];
    assert_eq!(cases.len(), Rejection::KINDS.len());
    for ((rejection, reason), kind) in cases.iter().zip(Rejection::KINDS) {
        assert_eq!((rejection.reason().as_str(), rejection.kind()), (*reason, *kind));
        assert!(!rejection.message().is_empty());
    }
    assert_eq!(schema_validation(None).reason(), "schema_validation");
    assert!(Rejection::InvalidSignature.message().starts_with("signature verification failed"));
}
