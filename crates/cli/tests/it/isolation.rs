//! One bad event of a batch is rejected by itself, with its place, its field and a stable reason; its neighbours
//! are taken as if it had not been there.
//!
//! Every rejection is also counted under its reason, since a dropped event that nobody counts is lost to operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::author::{Author, assert_dense};
use crate::site::Site;

/// The limit on a payload that the node of this test has.
const PAYLOAD_BYTES_MAX: usize = 4_096;

/// A bad event, the beginning of the reason that it is rejected for, and the field that is to blame.
struct Bad {
    event: String,
    reason: &'static str,
    field: Option<&'static str>,
}

/// A good event with some fields replaced, or left out where the value is null.
fn changed(author: &Author, fields: Value) -> String {
    let mut event: Value = serde_json::from_str(&author.event("{\"a\":1}")).unwrap();
    for (name, value) in fields.as_object().unwrap() {
        event[name] = value.clone();
        if value.is_null() {
            event.as_object_mut().unwrap().remove(name);
        }
    }
    event.to_string()
}

/// The text that was sent as the event's id, if it was one.
fn sent_id(event: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Sent {
        event_id: String,
    }
    serde_json::from_str::<Sent>(event).ok().map(|sent| sent.event_id)
}

fn malformed(author: &Author) -> Vec<Bad> {
    let cases = [
        ("event_id", json!({"event_id": "order-17"})),
        ("event_id", json!({"event_id": null})),
        ("tenant_id", json!({"tenant_id": 17})),
        ("agent_key_id", json!({"agent_key_id": -1})),
        ("entity_type", json!({"entity_type": "x".repeat(129)})),
        ("entity_type", json!({"entity_type": ""})),
        ("entity_id", json!({"entity_id": "a\u{0}b"})),
        ("entity_id", json!({"entity_id": "é".repeat(257)})),
        ("event_type", json!({"event_type": "x".repeat(257)})),
        ("created_at", json!({"created_at": "yesterday"})),
        ("payload", json!({"payload": null})),
        ("payload_encrypted", json!({"payload": null, "payload_kind": 1})),
        ("payload_encrypted", json!({"payload_encrypted": {}})),
        (
            "payload_encrypted",
            json!({"payload": null, "payload_kind": 1, "payload_encrypted": {"aead": "ROT13"}}),
        ),
        ("payload_kind", json!({"payload_kind": 2})),
        ("payload_plain_hash", json!({"payload_plain_hash": "0xzz"})),
        ("payload_cipher_hash", json!({"payload_cipher_hash": "11".repeat(32)})),
        ("agent_signature", json!({"agent_signature": "0x12"})),
        ("agent_signature", json!({"agent_signature": null})),
        ("command_id", json!({"command_id": "again"})),
        ("base_version", json!({"base_version": 1.5})),
    ];
    let one = |(field, fields)| Bad {
        event: changed(author, fields),
        reason: "malformed_event",
        field: Some(field),
    };
    let mut bad: Vec<Bad> = cases.into_iter().map(one).collect();
    for event in ["17", "null", "[]", "\"{}\""].map(str::to_owned) {
        bad.push(Bad { event, reason: "malformed_event", field: None });
    }
    // JSON that a parser passes over, and that has no canonical form.
    let deep = format!("{}{}", "[".repeat(1_500), "]".repeat(1_500));
    for payload in [&deep, r#""\ud800""#, "1e999"] {
        let event = author.event("\"marked\"").replace("\"marked\"", payload);
        bad.push(Bad { event, reason: "malformed_event", field: Some("payload") });
    }
    bad
}

fn wrong(author: &Author) -> Vec<Bad> {
    let one = |reason, field, event| Bad { event, reason, field: Some(field) };
    let stranger = Author::of(author.stream);
    let other_key = author.sign(bowline_ves::Draft { agent_key_id: 9, ..author.draft("1") });
    let large = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX));
    let inexact = author.event("{\"n\":9007199254740992}").replace("9007199254740992", "9007199254740993");
    let signed = author.event("2");
    let signature =
        serde_json::from_str::<Value>(&signed).unwrap()["agent_signature"].as_str().unwrap().to_owned();
    let last = if signature.ends_with('0') { "1" } else { "0" };
    let flipped = format!("{}{last}", &signature[..signature.len() - 1]);
    vec![
        one("unsupported_version", "ves_version", changed(author, json!({"ves_version": 2}))),
        one(
            "unsupported_signature_scheme",
            "agent_signature_scheme",
            changed(author, json!({"agent_signature_scheme": 2})),
        ),
        one(
            "unsupported_signature_scheme",
            "agent_signature_scheme",
            changed(author, json!({"agent_signature_scheme": 3, "agent_signature": null})),
        ),
        one(
            "invalid_payload_hash",
            "payload_plain_hash",
            changed(author, json!({"payload_plain_hash": "ab".repeat(32)})),
        ),
        one("invalid_payload_hash", "payload_plain_hash", changed(author, json!({"payload": {"a": 2}}))),
        one("inexact_number", "payload", inexact),
        one("source_agent_mismatch", "source_agent_id", stranger.event("3")),
        one("agent_key_invalid: ", "agent_key_id", other_key),
        one("invalid_signature", "agent_signature", signed.replace(&signature, &flipped)),
        one("invalid_signature", "agent_signature", changed(author, json!({"entity_id": "another"}))),
        one("payload_too_large", "payload", author.event(&large)),
    ]
}

pub(crate) async fn a_bad_event_never_harms_its_neighbours(site: Arc<Site>) {
    let node = site.node("data").env("MAX_EVENT_PAYLOAD_SIZE", &PAYLOAD_BYTES_MAX.to_string()).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let mut bad = malformed(&author);
    bad.extend(wrong(&author));
    // Good ones stand around each bad one; the first has what a database could not hold as text.
    let mut good = vec![author.event("{\"text\":\"a\\u0000b\"}")];
    let mut batch = good.clone();
    for bad in &bad {
        batch.push(bad.event.clone());
        good.push(author.event(&format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX - 2))));
        batch.extend(good.last().cloned());
    }
    let ingested = author.ingest(&api, &batch).await;
    assert_eq!(ingested.events_accepted, good.len() as u64, "{:?}", ingested.rejections);
    assert_eq!(ingested.events_rejected, bad.len() as u64);
    assert_eq!(ingested.rejections.len(), bad.len());
    let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
    for (at, (rejected, bad)) in ingested.rejections.iter().zip(&bad).enumerate() {
        assert_eq!(rejected.index, 2 * at + 1);
        assert!(rejected.reason.starts_with(bad.reason), "{rejected:?} of {}", bad.event);
        assert_eq!(rejected.field.as_deref(), bad.field, "{rejected:?} of {}", bad.event);
        assert!(!rejected.message.is_empty());
        assert_eq!(rejected.event_id, sent_id(&bad.event), "of {}", bad.event);
        *counted.entry(bad.reason.trim_end_matches(": ")).or_default() += 1;
    }
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    assert_eq!(stored.len(), good.len());
    for (stored, good) in stored.iter().zip(&good) {
        assert!(stored.text.starts_with(good.strip_suffix('}').unwrap()), "{}", stored.text);
    }
    let metrics = api.get("/metrics").await.text;
    for (reason, count) in counted {
        let line = format!("sequencer_events_rejected{{reason=\"{reason}\"}} {count}");
        assert!(metrics.lines().any(|found| found == line), "no `{line}` in\n{metrics}");
    }
}
