//! What a change of an agent's key does to events that are on their way: which are still taken, which are
//! refused and verified anew, and what that costs their neighbours.

use std::sync::atomic::Ordering;

use bowline_line::{AppendError, Verdicts};
use bowline_store::{
    AgentKeyName, AgentKeyRecord, AgentKeyStatus, ChangedKey, EventStore as _, KeyChange, KeyRotation,
    KeyStore, RegisterKey, Retire, RotatedKey, StoreError, VerifiedBatch,
};
use bowline_types::{Code, StreamId, Timestamp};
use bowline_ves::{Draft, Envelope, SecretKey, sign_envelope};
use tokio::task::JoinHandle;

use crate::events::{accepted, agent, agent_key, at, draft, new_stream};
use crate::support::{Line, hand_over_batch, soon};

fn name(stream: StreamId, key_id: u32) -> AgentKeyName {
    AgentKeyName { tenant_id: stream.tenant_id, agent_id: agent(), key_id }
}

/// A line on which the agent has a key 1 that ends at 100 seconds.
async fn start() -> (Line, StreamId) {
    let (line, stream) = (Line::with(|config| config.agent_key_ttl_secs = 3_600).await, new_stream());
    let key = AgentKeyRecord {
        tenant_id: stream.tenant_id,
        agent_id: agent(),
        key_id: 1,
        public_key: agent_key().public().to_bytes(),
        status: AgentKeyStatus::Active,
        valid_from: Some(at(-100)),
        valid_to: Some(at(100)),
        revoked_at: None,
        revoked_reason: None,
        created_at: at(-100),
    };
    assert_eq!(line.store.register_agent_key(key).await.unwrap(), RegisterKey::Created);
    (line, stream)
}

fn made_at(stream: StreamId, made: Timestamp) -> Envelope {
    sign_envelope(Draft { created_at: made.to_string(), ..draft(stream) }, &agent_key()).unwrap()
}

/// `ok`, or the reason without the key's name.
async fn verdict(line: &Line, envelope: Envelope) -> String {
    let judged = soon(line.handle.verifier.verify(vec![envelope])).await.unwrap().judged.remove(0);
    match judged {
        Ok(_) => "ok".to_owned(),
        Err(rejection) => {
            let prefix = format!("agent_key_invalid: key 1 of agent {} is ", agent());
            rejection.reason().strip_prefix(&prefix).map(str::to_owned).unwrap_or(rejection.reason())
        }
    }
}

async fn batch(line: &Line, envelopes: Vec<Envelope>) -> VerifiedBatch {
    let Verdicts { judged, keys_epoch } = soon(line.handle.verifier.verify(envelopes)).await.unwrap();
    VerifiedBatch { events: judged.into_iter().map(Result::unwrap).collect(), keys_epoch }
}

async fn revoke(line: &Line, stream: StreamId) {
    let revoked =
        line.store.change_agent_key(name(stream, 1), KeyChange::Revoke { reason: None }, line.now());
    assert!(matches!(revoked.await.unwrap(), ChangedKey::Changed(_)));
}

#[tokio::test]
async fn what_was_made_in_time_may_arrive_within_the_grace() {
    let (line, stream) = start().await;
    let end = at(100);
    let over = format!("not valid any more since {end}");
    let late = format!("{over}, and created_at is not before that");
    for (now, made, wanted) in [
        (100, 999, "ok"),
        (101, 100, "ok"),
        (400, 100, "ok"),
        (400, -100, "ok"),
        (400, 101, &late),
        (400, -101, &late),
        (401, 100, &over),
        (401, 0, &over),
    ] {
        line.clock.set(at(now));
        assert_eq!(
            verdict(&line, made_at(stream, at(made))).await,
            wanted,
            "made at {made}, arrived at {now}"
        );
    }
    line.clock.set(at(200));
    let mut unreadable = made_at(stream, at(0));
    unreadable.created_at = "yesterday".to_owned();
    assert!(verdict(&line, unreadable).await.starts_with("malformed_event"));
    // The whole way, in one batch with one that comes too late.
    let judged = soon(line.handle.verifier.verify(vec![
        made_at(stream, at(50)),
        made_at(stream, at(150)),
        made_at(stream, at(99)),
    ]));
    let judged = judged.await.unwrap().judged;
    assert_eq!(judged.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}

#[tokio::test]
async fn a_revoked_key_has_no_grace_whatever_an_event_says() {
    let (line, stream) = start().await;
    assert_eq!(verdict(&line, made_at(stream, at(0))).await, "ok");
    revoke(&line, stream).await;
    for made in [-100, -1, 0, 50, 100] {
        assert_eq!(verdict(&line, made_at(stream, at(made))).await, "revoked");
    }
    line.clock.set(at(150));
    assert_eq!(verdict(&line, made_at(stream, at(50))).await, "revoked");
    // The first look-up, and the one after the change: being revoked is remembered too.
    assert_eq!(line.store.key_look_ups.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_rotation_lets_both_keys_sign_for_its_overlap() {
    let (line, stream) = start().await;
    let next = SecretKey::from_seed([8; 32]);
    let by_next = || sign_envelope(Draft { agent_key_id: 2, ..draft(stream) }, &next).unwrap();
    assert_eq!(verdict(&line, made_at(stream, at(0))).await, "ok");
    let rotation = KeyRotation {
        tenant_id: stream.tenant_id,
        agent_id: agent(),
        key_id: None,
        public_key: next.public().to_bytes(),
        valid_to: None,
        old_key_id: None,
        retire: Retire::At(at(30)),
        now: at(0),
    };
    let rotated = line.store.rotate_agent_key(rotation).await.unwrap();
    assert!(matches!(rotated, RotatedKey::Rotated { key, .. } if key.key_id == 2));
    for now in [0, 30] {
        line.clock.set(at(now));
        assert_eq!(verdict(&line, made_at(stream, at(now))).await, "ok");
        assert_eq!(verdict(&line, by_next()).await, "ok");
    }
    line.clock.set(at(31));
    assert_eq!(verdict(&line, made_at(stream, at(30))).await, "ok");
    assert!(verdict(&line, made_at(stream, at(31))).await.starts_with("not valid any more"));
    assert_eq!(verdict(&line, by_next()).await, "ok");
}

#[tokio::test]
async fn a_batch_on_its_way_is_refused_and_then_judged_by_the_key_as_it_is() {
    let (line, stream) = start().await;
    let envelope = made_at(stream, at(0));
    let stale = batch(&line, vec![envelope.clone()]).await;
    revoke(&line, stream).await;
    let refused = soon(line.handle.appender.append(stale)).await.unwrap_err();
    assert!(matches!(refused, AppendError::Store(StoreError::KeysChanged { .. })), "{refused}");
    assert_eq!(refused.code(), Code::KeysChanged);
    assert_eq!(verdict(&line, envelope).await, "revoked");
    assert_eq!(line.store.head(stream).await.unwrap(), None);
}

#[tokio::test]
async fn news_that_are_lost_cost_nothing_but_the_append_itself() {
    let (line, stream) = start().await;
    line.store.deaf.store(true, Ordering::SeqCst);
    assert_eq!(verdict(&line, made_at(stream, at(0))).await, "ok");
    revoke(&line, stream).await;
    // This process has not heard, so verification still says yes; the store does not.
    let stale = batch(&line, vec![made_at(stream, at(0))]).await;
    let refused = soon(line.handle.appender.append(stale)).await.unwrap_err();
    assert!(matches!(refused, AppendError::Store(StoreError::KeysChanged { .. })), "{refused}");
    line.store.deaf.store(false, Ordering::SeqCst);
    assert_eq!(verdict(&line, made_at(stream, at(0))).await, "revoked");
    assert_eq!(line.store.head(stream).await.unwrap(), None);
}

#[tokio::test]
async fn in_a_group_only_who_was_verified_before_the_change_is_refused() {
    let (line, stream) = start().await;
    let neighbour = new_stream();
    let of = |stream| made_at(stream, at(0));
    for other in [neighbour] {
        let key = line.store.agent_key(stream.tenant_id, agent(), 1).await.unwrap().unwrap();
        let key = AgentKeyRecord { tenant_id: other.tenant_id, ..key };
        assert_eq!(line.store.register_agent_key(key).await.unwrap(), RegisterKey::Created);
    }
    let first = batch(&line, vec![of(neighbour)]).await;
    let stale = batch(&line, vec![of(stream), of(stream)]).await;
    // At the store's door, so that the next two share a group.
    line.store.hold_appends();
    let door = hand_over_batch(&line.handle.appender, first).await;
    line.store.appends_reach(1).await;
    revoke(&line, stream).await;
    let fresh = batch(&line, vec![of(neighbour)]).await;
    let stale = hand_over_batch(&line.handle.appender, stale).await;
    let fresh = hand_over_batch(&line.handle.appender, fresh).await;
    line.store.release_appends();
    let answer = async |answer: JoinHandle<Result<_, AppendError>>| soon(answer).await.unwrap();
    // It was at the door before the revocation and in the store after it.
    assert!(matches!(answer(door).await, Err(AppendError::Store(StoreError::KeysChanged { .. }))));
    assert!(matches!(answer(stale).await, Err(AppendError::Store(StoreError::KeysChanged { .. }))));
    assert_eq!(accepted(&answer(fresh).await.unwrap())[0].sequence_number, 1);
    assert_eq!(line.store.append_sizes(), [1, 3, 2, 1]);
    assert_eq!(line.store.head(stream).await.unwrap(), None);
}
