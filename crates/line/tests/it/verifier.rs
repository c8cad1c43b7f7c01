//! Verification against the registered keys: every reason, at every size of batch, at every moment.
//!
//! Also the cache behind it: what it must find at once, what it may remember, and for how long.

use std::sync::atomic::Ordering;

use bowline_line::Judged;
use bowline_store::{AgentKeyRecord, AgentKeyStatus, KeyChange, KeyStore, RegisterKey, StoreError};
use bowline_types::{AgentId, StreamId};
use bowline_ves::{Envelope, Hash, Payload, SecretKey, Signature, sign_envelope};

use crate::events::{agent, agent_key, at, draft, envelope, new_stream};
use crate::support::{Line, soon, until};

const WRONG_KEY: u32 = 2;
const REVOKED_KEY: u32 = 3;
const EXPIRED_KEY: u32 = 4;
const EARLY_KEY: u32 = 5;
const LATE_KEY: u32 = 6;
const UNKNOWN_KEY: u32 = 7;

fn record(stream: StreamId, key_id: u32) -> AgentKeyRecord {
    AgentKeyRecord {
        tenant_id: stream.tenant_id,
        agent_id: agent(),
        key_id,
        public_key: agent_key().public().to_bytes(),
        status: AgentKeyStatus::Active,
        valid_from: None,
        valid_to: None,
        revoked_at: None,
        revoked_reason: None,
        created_at: at(0),
    }
}

async fn register(line: &Line, key: AgentKeyRecord) {
    assert_eq!(line.store.register_agent_key(key).await.unwrap(), RegisterKey::Created);
}

/// A line on which the agent's key 1 of the stream is registered.
async fn start(set: impl FnOnce(&mut bowline_line::Config)) -> (Line, StreamId) {
    let (line, stream) = (Line::with(set).await, new_stream());
    register(&line, record(stream, 1)).await;
    (line, stream)
}

fn signed_with(stream: StreamId, agent_key_id: u32) -> Envelope {
    sign_envelope(bowline_ves::Draft { agent_key_id, ..draft(stream) }, &agent_key()).unwrap()
}

fn changed(stream: StreamId, change: impl FnOnce(&mut Envelope)) -> Envelope {
    let mut envelope = envelope(stream);
    change(&mut envelope);
    envelope
}

fn flipped(signature: Signature) -> Signature {
    let mut bytes = *signature.as_bytes();
    bytes[40] ^= 1;
    Signature::new(bytes)
}

async fn judge(line: &Line, envelopes: Vec<Envelope>) -> Vec<Judged> {
    soon(line.handle.verifier.verify(envelopes)).await.unwrap().judged
}

/// `ok`, or the reason.
fn words(judged: &[Judged]) -> Vec<String> {
    judged
        .iter()
        .map(|j| j.as_ref().map_or_else(|rejection| rejection.reason(), |_| "ok".to_owned()))
        .collect()
}

async fn verdict(line: &Line, envelope: Envelope) -> String {
    words(&judge(line, vec![envelope]).await).remove(0)
}

/// One envelope of each kind with the beginning of its verdict.
fn gallery(stream: StreamId) -> Vec<(Envelope, &'static str)> {
    let foreign = SecretKey::from_seed([8; 32]);
    vec![
        (envelope(stream), "ok"),
        (changed(stream, |e| e.payload = Payload::Plain(r#"{"total":18}"#.into())), "invalid_payload_hash"),
        (changed(stream, |e| e.payload_plain_hash = Hash::new([1; 32])), "invalid_payload_hash"),
        (changed(stream, |e| e.payload_cipher_hash = Hash::new([1; 32])), "invalid_cipher_hash"),
        (envelope(stream), "ok"),
        (changed(stream, |e| e.entity_id = "o-2".to_owned()), "invalid_signature"),
        (changed(stream, |e| e.created_at = "2025-06-01T12:00:01Z".to_owned()), "invalid_signature"),
        (changed(stream, |e| e.agent_signature = flipped(e.agent_signature)), "invalid_signature"),
        (sign_envelope(draft(stream), &foreign).unwrap(), "invalid_signature"),
        (signed_with(stream, WRONG_KEY), "invalid_signature"),
        (envelope(stream), "ok"),
        (signed_with(stream, UNKNOWN_KEY), "agent_key_invalid: key 7 of agent"),
        (changed(stream, |e| e.source_agent_id = AgentId::random()), "agent_key_invalid: key 1 of agent"),
        (signed_with(new_stream(), 1), "agent_key_invalid: key 1 of agent"),
        (signed_with(stream, REVOKED_KEY), "agent_key_invalid: key 3 of agent"),
        (signed_with(stream, EXPIRED_KEY), "agent_key_invalid: key 4 of agent"),
        (signed_with(stream, EARLY_KEY), "agent_key_invalid: key 5 of agent"),
        (signed_with(stream, LATE_KEY), "agent_key_invalid: key 6 of agent"),
        (envelope(stream), "ok"),
    ]
}

#[tokio::test]
async fn every_fault_has_its_reason_and_verdicts_keep_the_order() {
    let (line, stream) = start(|_| ()).await;
    let foreign = SecretKey::from_seed([8; 32]).public().to_bytes();
    let key = |key_id| record(stream, key_id);
    register(&line, AgentKeyRecord { public_key: foreign, ..key(WRONG_KEY) }).await;
    register(&line, AgentKeyRecord { status: AgentKeyStatus::Expired, ..key(EXPIRED_KEY) }).await;
    register(&line, AgentKeyRecord { valid_from: Some(at(1)), ..key(EARLY_KEY) }).await;
    register(&line, AgentKeyRecord { valid_to: Some(at(-301)), ..key(LATE_KEY) }).await;
    // Bytes that were revoked are not registered any more, so this one comes last.
    register(&line, AgentKeyRecord { status: AgentKeyStatus::Revoked, ..key(REVOKED_KEY) }).await;

    let pieces: Vec<_> = (0..10).flat_map(|_| gallery(stream)).collect();
    // Up to two are judged by the caller, more by all cores.
    for size in [1, 2, 3, 19, 190] {
        for page in pieces[..pieces.len().min(10 * size)].chunks(size) {
            let judged = judge(&line, page.iter().map(|(envelope, _)| envelope.clone()).collect()).await;
            assert_eq!(judged.len(), page.len());
            for ((envelope, wanted), judged) in page.iter().zip(&judged) {
                let found = &words(std::slice::from_ref(judged))[0];
                assert!(found.starts_with(wanted), "{found} where {wanted} was due");
                assert!(judged.as_ref().map_or(true, |verified| verified.envelope == *envelope));
            }
        }
    }
    assert!(judge(&line, Vec::new()).await.is_empty());
}

#[tokio::test]
async fn a_key_is_valid_from_its_first_moment_to_its_last() {
    let (line, stream) = start(|_| ()).await;
    let key = AgentKeyRecord { valid_from: Some(at(10)), valid_to: Some(at(20)), ..record(stream, 9) };
    register(&line, key).await;
    let refused = |why: &str| format!("agent_key_invalid: key 9 of agent {} is not valid {why}", agent());
    let early = refused(&format!("yet, but from {}", at(10)));
    let late = refused(&format!("any more since {}, and created_at is not before that", at(20)));
    // The clock may also go back.
    for (seconds, wanted) in [(9, &*early), (10, "ok"), (20, "ok"), (21, &late), (15, "ok"), (0, &early)] {
        line.clock.set(at(seconds));
        assert_eq!(verdict(&line, signed_with(stream, 9)).await, wanted, "at {seconds}");
    }
    assert_eq!(line.store.key_look_ups.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_key_that_signs_often_decides_as_before() {
    let (line, stream) = start(|_| ()).await;
    let pair = [envelope(stream), changed(stream, |e| e.agent_signature = flipped(e.agent_signature))];
    let wanted = ["ok", "invalid_signature"];
    // The key is prepared somewhere in the middle of this, with batches of either kind around it.
    for _ in 0..60 {
        assert_eq!(words(&judge(&line, pair.to_vec()).await), wanted);
    }
    for _ in 0..4 {
        let many = pair.iter().cycle().take(60).cloned().collect();
        assert_eq!(words(&judge(&line, many).await), wanted.repeat(30));
    }
    // The small-order R of a forgery without any key: all zero but for the point.
    let weak = changed(stream, |e| {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        e.agent_signature = Signature::new(bytes);
    });
    assert_eq!(verdict(&line, weak).await, "invalid_signature");
    assert_eq!(line.store.key_look_ups.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_key_is_found_as_soon_as_it_is_registered() {
    let (line, stream) = start(|_| ()).await;
    let envelope = signed_with(stream, 9);
    let wanted = format!("agent_key_invalid: key 9 of agent {} is not registered", agent());
    for _ in 0..2 {
        assert_eq!(verdict(&line, envelope.clone()).await, wanted);
    }
    register(&line, record(stream, 9)).await;
    assert_eq!(verdict(&line, envelope).await, "ok");
}

#[tokio::test]
async fn a_cached_key_is_read_again_after_its_time_or_a_change_of_any_key() {
    let (line, stream) = start(|config| config.agent_key_ttl_secs = 3_600).await;
    assert_eq!(verdict(&line, envelope(stream)).await, "ok");
    line.store.revoked.store(true, Ordering::SeqCst);
    assert_eq!(verdict(&line, envelope(stream)).await, "ok");
    let other = AgentKeyRecord { public_key: [2; 32], ..record(stream, 2) };
    register(&line, other.clone()).await;
    assert_eq!(verdict(&line, envelope(stream)).await, "ok");
    line.store.change_agent_key(other.name(), KeyChange::Revoke { reason: None }, at(0)).await.unwrap();
    let revoked = format!("agent_key_invalid: key 1 of agent {} is revoked", agent());
    assert_eq!(verdict(&line, envelope(stream)).await, revoked);
    assert_eq!(line.store.key_look_ups.load(Ordering::SeqCst), 2);

    let (line, stream) = start(|config| config.agent_key_ttl_secs = 1).await;
    assert_eq!(verdict(&line, envelope(stream)).await, "ok");
    line.store.revoked.store(true, Ordering::SeqCst);
    until(revoked, async || verdict(&line, envelope(stream)).await).await;
    assert_eq!(line.store.key_look_ups.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_cache_that_is_too_small_only_costs_look_ups() {
    let (line, stream) = start(|config| config.agent_keys_cached_max = 2).await;
    for key_id in 2..=5 {
        register(&line, record(stream, key_id)).await;
    }
    let envelopes: Vec<_> = (1..=6).map(|key_id| signed_with(stream, key_id)).collect();
    for _ in 0..3 {
        let found = words(&judge(&line, envelopes.clone()).await);
        assert_eq!(found[..5], ["ok"; 5]);
        assert!(found[5].starts_with("agent_key_invalid"), "{found:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_judges_nobody() {
    let (line, stream) = start(|_| ()).await;
    assert_eq!(verdict(&line, envelope(stream)).await, "ok");
    line.store.keys_away.store(true, Ordering::SeqCst);
    assert_eq!(verdict(&line, envelope(stream)).await, "ok");
    let unknown = soon(line.handle.verifier.verify(vec![envelope(stream), signed_with(stream, 2)])).await;
    assert!(matches!(unknown, Err(StoreError::Unavailable(_))), "{unknown:?}");
}
